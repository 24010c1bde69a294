"""Tables, connections and commands of README and documentation are true. What they show runs in an integration test."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import re
import shlex
import sys
import tomllib
from types import SimpleNamespace
from unittest import mock

import pytest
from airflow import DAG
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from airflow_provider_synapse_livy import exceptions
from airflow_provider_synapse_livy.connection.form import CONNECTION_FIELDS, UI_FIELD_BEHAVIOUR
from airflow_provider_synapse_livy.connection.identity import AuthType
from airflow_provider_synapse_livy.connection.synapse_livy import SynapseLivyConnection
from airflow_provider_synapse_livy.emulator import SCENARIOS
from airflow_provider_synapse_livy.emulator import __main__ as emulator_command
from airflow_provider_synapse_livy.emulator.batches import BATCH_SCENARIOS
from airflow_provider_synapse_livy.livy import statuses
from airflow_provider_synapse_livy.livy.errors import SynapseLivyError
from airflow_provider_synapse_livy.livy.requests import Pool
from airflow_provider_synapse_livy.livy.resources import SPARK_SESSION
from airflow_provider_synapse_livy.livy.responses import LivyResponse
from airflow_provider_synapse_livy.models import SparkSession
from airflow_provider_synapse_livy.operators.spark_batch import SynapseRunSparkBatchOperator
from airflow_provider_synapse_livy.operators.spark_session import SynapseCreateSparkSessionOperator
from airflow_provider_synapse_livy.sensors.spark_session import SynapseSparkSessionSensor
from airflow_provider_synapse_livy.transport import failures
from airflow_provider_synapse_livy.transport.entra import AADSTS_REMEDIES
from airflow_provider_synapse_livy.waiting.goals import SessionGoal
from tests.support import sample_sessions as samples
from tests.support.connections import Fields
from tests.support.project import PROJECT
from tests.support.readme import PAGES, README, blocks, code, kind, parameters, shown, shown_dag, table

SIZES = ("driver_memory", "driver_cores", "executor_memory", "executor_cores", "num_executors")

SHOWN_CONNECTIONS = sorted(
    {shown for text in PAGES.values() for shown in re.findall(r"AIRFLOW_CONN_(\w+)='(.*?)'", text, re.DOTALL)}
)


def read_connection(text):
    """Read a connection as the README shows it."""
    fields = json.loads(text.replace("emulator-ca.pem", DEFAULT_CA_BUNDLE_PATH).replace("<token>", "token"))
    assert fields.pop("conn_type") == "synapse_livy"
    return SynapseLivyConnection.from_airflow(Fields(**{"login": None, "password": None} | fields), fields["extra"])


@pytest.mark.parametrize(("name", "text"), SHOWN_CONNECTIONS)
def test_connections_are_accepted(name, text):
    """The connections that the pages show can be read, and have the kind of identity that they are named for."""
    read = read_connection(text)
    assert read.spark_pool_name == "sparkpool"
    if name != "SYNAPSE_LIVY_DEFAULT":
        assert name == f"SYNAPSE_{read.identity.auth_type.name}"


def test_every_identity_is_shown():
    """There is a connection, and a row of the table, for every kind of identity."""
    names = {name for name, _ in SHOWN_CONNECTIONS}
    assert names == {"SYNAPSE_LIVY_DEFAULT"} | {f"SYNAPSE_{kind.name}" for kind in AuthType}
    assert {row[0].strip("`") for row in table("Identity (`auth_type`)")} == set(AuthType)


SOURCES = "".join(path.read_text() for path in (PROJECT / "airflow_provider_synapse_livy").rglob("*.py"))
MESSAGES = [part for row in table("Step") for part in re.findall(r"`(.*?)`", row[1])]


@pytest.mark.parametrize("part", MESSAGES)
def test_table_of_messages(part):
    """What the table of troubleshooting quotes is in the words of the package, or is a code that Microsoft gives."""
    words, _, status = part.partition("answered ")
    if status:
        assert int(status) in statuses._STATUS_RULES
    elif needing := re.fullmatch(r"(\w+) needs", words):
        assert needing[1] in list(AuthType)
    elif giving := re.fullmatch(r"gave no token \((\w+)\)", words):
        assert giving[1] in list(AuthType)
    else:
        assert words in SOURCES


def test_table_of_messages_is_whole():
    """The table has every code with a remedy, every way that connections fail, and the step of each is one."""
    assert {part for part in MESSAGES if part.startswith("AADSTS")} == set(AADSTS_REMEDIES)
    kinds = (*failures._FAILURES, failures._BROKEN_OFF, failures._NO_TLS, failures._UNTRUSTED, failures._WRONG_NAME)
    events = [kind.event for kind in (*kinds, *failures._BAD_CERTIFICATES.values())] + [failures._THROUGH_PROXY]
    for event in events:
        assert any(part in event for part in MESSAGES), event
    assert {step for row in table("Step") for step in row[0].split(", ")} == {"Settings", "Token", "Synapse"}


ANY_OTHER = ("running", "recovering", "shutting_down", "hibernating")
ENDS = {
    "accepted_results has Failed": {"accepted_results": ["Failed"]},
    "accepted_results has Cancelled": {"accepted_results": ["Cancelled"]},
    "it idled out and accept_idle_timeout=True": {"accept_idle_timeout": True},
}


def goal(**changes):
    """Return the goal that a task was given."""
    given = {"target_states": None, "accepted_results": ["Succeeded"], "accept_idle_timeout": False}
    return SessionGoal.validated(**given | changes)


def verdict(words):
    """Translate the README's words for a verdict."""
    return {"waits": "pending", "succeeds": "success", "fails": "failure"}[re.match(r"\w+", words)[0]]


@pytest.mark.parametrize(("state", "result", "means", "idle", "end"), table("Livy state"))
def test_table_of_outcomes(state, result, means, idle, end):
    """Each row of the table of outcomes is what the verdict is, its exceptions included."""
    states = ANY_OTHER if state.startswith("any other") else re.findall(r"`(\w+)`", state)
    for name in states:
        timed_out = {"isSessionTimedOut": "true" if "idled out" in means else "false"}
        session = SparkSession.from_dict(samples.session(state=name, result=result.strip("`"), appInfo=timed_out))
        assert goal(target_states={"idle"}).evaluate(session) == verdict(idle)
        assert goal().evaluate(session) == verdict(end)
        for words, accepting in ENDS.items():
            one = goal(**accepting)
            accepted = words in end.replace("`", "") or result.strip("`") in one.accepted_results
            assert (one.evaluate(session) == "success") is accepted


@pytest.mark.parametrize(("name", "_when", "_helps", "retried", "soft_fail"), table("Error"))
def test_table_of_errors(name, _when, _helps, retried, soft_fail):
    """What the table says of retries and soft_fail follows from the kind of the error."""
    kind = getattr(exceptions, name.strip("`"))
    airflows = {base.__name__ for base in inspect.getmro(kind)}
    ends_the_task = bool(airflows & {"AirflowFailException", "AirflowSensorTimeout"})
    assert retried.startswith("no") is ends_the_task
    assert (soft_fail == "skipped") is ends_the_task


def test_table_of_errors_is_whole():
    """The table has every error but the base."""
    assert {row[0].strip("`") for row in table("Error")} == set(exceptions.__all__) - {"SynapseLivyError"}


def test_table_of_what_is_retried():
    """A status is retried if the table says so, and any that it does not name is not."""
    again = {row[0]: row[1] for row in table("What came")}
    named = {int(n) for came, answer in again.items() if answer == "yes" for n in re.findall(r"\b\d{3}\b", came)}
    retried = {status for status in range(201, 1000) if is_retried(status)}
    assert retried - set(range(500, 1000)) == named - {500, 599}
    assert set(range(500, 600)) <= retried
    assert again["other statuses"] == "no"


def is_retried(status):
    """Return whether a request is sent again after a response with a status."""
    request = SPARK_SESSION.get(Pool("https://ws", "sparkpool"), 12)
    with pytest.raises(SynapseLivyError) as caught:
        request.read(LivyResponse(status, {}, b""))
    return request.may_be_sent_again(caught.value)


def test_table_of_connection_fields_is_whole():
    """The table has every field of the form, with its label."""
    labels = {name: field["label"] for name, field in CONNECTION_FIELDS.items()}
    labels |= UI_FIELD_BEHAVIOUR["relabeling"]
    assert {row[1].strip("`"): row[0] for row in table("Field")} == labels


def test_table_of_scenarios_is_whole():
    """The table has every scenario, in the words of the command's help."""
    assert {row[0].strip("`"): row[1] for row in table("Scenario")} == {n: s.description for n, s in SCENARIOS.items()}


def test_table_of_batch_scenarios_is_whole():
    """The same holds for the scenarios of batch jobs."""
    shown = {row[0].strip("`"): row[1] for row in table("Batch scenario")}
    assert shown == {name: scenario.description for name, scenario in BATCH_SCENARIOS.items()}


def test_batch_operator_takes_what_is_shown():
    """The parameters that the README shows are those that the operator for batch jobs has, with their defaults."""
    (shown,) = (block for block in code("python") if block.startswith("SynapseRunSparkBatchOperator("))
    given = eval(shown.replace("SynapseRunSparkBatchOperator(", "dict("))
    plain = SynapseRunSparkBatchOperator(task_id="plain", file="f", **{name: given[name] for name in SIZES})
    for name in set(given) - {"task_id", "file", "args", "conf", "deferrable", *SIZES}:
        assert given[name] == getattr(plain, name), name
    text = "".join(PAGES.values())
    assert all(f"`{name}`" in text or name in shown for name in set(plain.template_fields) - {"livy_api_version"})


def test_operator_takes_what_is_shown():
    """The parameters that are shown are those that the operator has, but for the others of its files."""
    given = eval(parameters("SynapseCreateSparkSessionOperator").replace("SynapseCreateSparkSessionOperator(", "dict("))
    operator = SynapseCreateSparkSessionOperator(**given)
    plain = SynapseCreateSparkSessionOperator(task_id="plain", **{name: given[name] for name in SIZES})
    for name in set(given) - {"task_id", "conf", "deferrable", *SIZES}:
        assert given[name] == getattr(plain, name) == getattr(operator, name), name
    assert set(given) >= set(SIZES) | {"conf", "name", "tags", "wait_for_ready", "timeout", "cancel_on_kill"}


def test_sensor_takes_what_is_shown():
    """The parameters that are shown exist, with the defaults that are shown."""
    shown_sensor = parameters("SynapseSparkSessionSensor").replace("SynapseSparkSessionSensor(", "dict(")
    given = eval(shown_sensor, {"create": SimpleNamespace(output=4)})
    sensor = SynapseSparkSessionSensor(**given)
    defaults = inspect.signature(SynapseSparkSessionSensor).parameters
    for name in ("spark_pool_name", "target_states", "accepted_results", "accept_idle_timeout", "livy_api_version"):
        assert given[name] == defaults[name].default == getattr(sensor, name)
    plain = SynapseSparkSessionSensor(task_id="plain", session_id=1)
    for name in ("poke_interval", "settle_timeout", "end_from_trigger", "synapse_livy_conn_id"):
        assert given[name] == getattr(plain, name), name


PUBLIC_MODULES = [
    f"airflow_provider_synapse_livy.{folder}.{module.name}"
    for folder in ("operators", "sensors")
    for module in pkgutil.iter_modules([str(PROJECT / "airflow_provider_synapse_livy" / folder)])
]


@pytest.mark.parametrize(("page", "block"), shown("parameters"), ids=lambda text: text.split("(")[0])
def test_tasks_take_what_is_shown(page, block):
    """The tasks that are shown with their parameters can be made."""
    modules = map(importlib.import_module, PUBLIC_MODULES)
    # Without __name__, by which a report of coverage would take what is shown for a part of the package.
    names = {name: value for module in modules for name, value in vars(module).items() if not name.startswith("__")}
    try:
        from airflow.sdk import task
    except ImportError:  # Airflow 2
        from airflow.decorators import task
    with DAG("shown", schedule=None) as dag:
        exec(compile(block, page, "exec"), names | {"create": SimpleNamespace(output=4), "task": task})
    assert dag.tasks


def test_dag_is_the_same_everywhere():
    """README and quick start show the same DAG, and it is short."""
    assert shown_dag() in blocks("README", "python")
    assert len([line for line in shown_dag().splitlines() if line]) < 20


def accepts_pip(words):
    """Return whether what is to be installed is this package, with an extra that it has."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    found = re.fullmatch(rf"'?{project['name']}(\[(\w+)\])?'?", words[-1])
    return words[:2] == ["pip", "install"] and found and (found[2] is None or found[2] in extras)


def accepts_make(words):
    """Return whether make has the target."""
    return re.search(rf"^{words[1]}:", (PROJECT / "Makefile").read_text(), re.MULTILINE)


def accepts_emulator(words):
    """Return whether the emulator takes the options."""
    with mock.patch.object(sys, "argv", [words[0], *words[1:]]):
        return emulator_command._parse_arguments()


def accepts_airflow(words):
    """Return whether Airflow has the command, and takes the arguments."""
    from airflow.cli.cli_parser import get_parser

    return get_parser().parse_args(words[1:])


def accepts_python(words):
    """Return whether what a Python of ours is to run exists."""
    return (PROJECT / words[3]).is_file()


#: How the first word of a command is checked. Curl and exports are tested with the emulator and as connections.
ACCEPTS = {
    "pip": accepts_pip,
    "make": accepts_make,
    "synapse-livy-emulator": accepts_emulator,
    "airflow": accepts_airflow,
    ".venv/airflow-3.3/bin/python": accepts_python,
    "export": lambda words: "=" in words[1],
    "curl": lambda words: any("http://127.0.0.1:8998/" in word for word in words),
}

COMMANDS = sorted(
    {
        (page, command)
        for page in PAGES
        for block in blocks(page, "bash")
        for command in re.findall(r"(?:[^\n']|'[^']*')+", re.sub(r"(^|\s)#.*", "", block.replace("\\\n", " ")))
    }
)


@pytest.mark.parametrize(("page", "command"), COMMANDS, ids=lambda text: text[:40])
def test_commands_are_accepted(page, command):
    """Every command that a page shows is one that exists, with options that it takes."""
    words = shlex.split(command, comments=True)
    assert not words or ACCEPTS[words[0]](words), command


def test_every_block_is_of_a_kind_that_is_tested():
    """Code is shown as Python or as commands, which tests run; all other blocks show output or come from elsewhere."""
    for page, text in PAGES.items():
        languages = set(re.findall(r"^ *```(\S+)\n", text, re.MULTILINE))
        assert languages <= {"python", "bash", "text", "{toctree}", "{eval-rst}"}, page
    compared = {page for page in PAGES if any(kind(block) == "comparison" for block in blocks(page, "python"))}
    assert compared <= {"coming-from"}


def test_links_of_the_readme_lead_to_files():
    """What the README links to in the project exists; of the documentation, make docs checks that."""
    for target in re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", README):
        assert (PROJECT / target).exists(), target


def test_files_that_the_architecture_names_exist():
    """The page on the architecture names the files that there are to change."""
    for _, files in table("To change"):
        for path in re.findall(r"`(.+?)`", files):
            assert (PROJECT / "airflow_provider_synapse_livy" / path).is_file(), path
