"""The README: what it shows works, and its tables are true."""

from __future__ import annotations

import inspect
import itertools
import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from airflow_provider_synapse_livy import exceptions
from airflow_provider_synapse_livy.connection.synapse_livy import AuthType, SynapseLivyConnection
from airflow_provider_synapse_livy.emulator import SCENARIOS
from airflow_provider_synapse_livy.get_provider_info import CONNECTION_FIELDS, UI_FIELD_BEHAVIOUR
from airflow_provider_synapse_livy.livy import responses as api
from airflow_provider_synapse_livy.livy.responses import LivyResponse, read_spark_session
from airflow_provider_synapse_livy.models import SparkSession
from airflow_provider_synapse_livy.sensors.spark_session import SynapseSparkSessionSensor
from airflow_provider_synapse_livy.transport.entra import AADSTS_REMEDIES
from airflow_provider_synapse_livy.waiting.wait import WaitRules, judge
from tests.support import sample_sessions as samples
from tests.support.connections import Fields, to_server
from tests.support.project import PROJECT

README = (PROJECT / "README.md").read_text()


def code(language):
    """Give the code blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def table(first_heading):
    """Give the rows of the table with that first heading, without the marks of Markdown."""
    lines = README[README.index(f"| {first_heading} |") :].splitlines()[2:]
    rows = itertools.takewhile(lambda line: line.startswith("|"), lines)
    return [[cell.strip().replace("**", "") for cell in row.strip("|").split("|")] for row in rows]


def environment(**changes):
    """Give the environment for an Airflow command."""
    return {name: value for name, value in os.environ.items() if name != "AIRFLOW__CORE__DAGS_FOLDER"} | changes


def airflow(*arguments, env):
    """Run an Airflow command."""
    command = [sys.executable, "-m", "airflow", *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=180)


def shown_dag():
    """Give the DAG that the README shows."""
    (dag,) = (block for block in code("python") if "with DAG" in block)
    return dag


def shown_test():
    """Give the test of it that the README shows."""
    (test,) = (block for block in code("python") if "def test_" in block)
    return test


def write_project(folder):
    """Write DAG and test as a user has them, and give the environment that tells Airflow where the DAG is."""
    (folder / "dags").mkdir(parents=True)
    (folder / "dags" / "spark_session.py").write_text(shown_dag())
    (folder / "test_spark_session.py").write_text(shown_test())
    return {"AIRFLOW__CORE__DAGS_FOLDER": str(folder / "dags")}


def test_dag_runs(tmp_path, synapse):
    """The README's DAG, as it stands there, runs in Airflow and ends well, and is short."""
    dag = shown_dag()
    assert len([line for line in dag.splitlines() if line]) < 20
    dags = tmp_path / "dags"
    dags.mkdir()
    (dags / "dag.py").write_text(dag)
    session_id = synapse.create_session("etl", age=70)
    env = environment(
        AIRFLOW_HOME=str(tmp_path / "home"),
        AIRFLOW__CORE__DAGS_FOLDER=str(dags),
        AIRFLOW_CONN_SYNAPSE_LIVY_DEFAULT=synapse.airflow_connection("etl"),
    )
    migrated = airflow("db", "migrate", env=env)
    assert migrated.returncode == 0, migrated.stderr
    conf = json.dumps({"session_id": session_id})
    run = airflow("dags", "test", "spark_session", "--conf", conf, env=env)
    told = run.stdout + run.stderr
    assert run.returncode == 0, told
    assert "state=success" in told
    assert f"Spark session {session_id} in pool etl: queued 16 s → acquiring nodes 4.2 s → idle" in told
    shutil.rmtree(tmp_path / "home")


@pytest.mark.parametrize("path", sorted((PROJECT / "example_dags").glob("*.py")), ids=lambda path: path.stem)
def test_example_dags_can_be_imported(path):
    """Every example is a DAG file that can be imported."""
    run = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


SHOWN_CONNECTIONS = re.findall(r"AIRFLOW_CONN_(\w+)='(.*?)'", README, re.DOTALL)


def read_connection(text):
    """Read a connection as the README shows it."""
    fields = json.loads(text.replace("emulator-ca.pem", DEFAULT_CA_BUNDLE_PATH).replace("<token>", "token"))
    assert fields.pop("conn_type") == "synapse_livy"
    return SynapseLivyConnection.from_airflow(Fields(**{"login": None, "password": None} | fields), fields["extra"])


@pytest.mark.parametrize(("name", "text"), SHOWN_CONNECTIONS)
def test_connections_are_accepted(name, text):
    """The connections that the README shows can be read, and have the kind of identity that they are named for."""
    read = read_connection(text)
    assert read.spark_pool_name == "etl"
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
        assert int(status) in api._MEANING
    elif needing := re.fullmatch(r"(\w+) needs", words):
        assert needing[1] in list(AuthType)
    elif giving := re.fullmatch(r"gave no token \((\w+)\)", words):
        assert giving[1] in list(AuthType)
    else:
        assert words in SOURCES


def test_table_of_messages_is_whole():
    """The table has every code with a remedy, every way that connections break, and the step of each is one."""
    assert {part for part in MESSAGES if part.startswith("AADSTS")} == set(AADSTS_REMEDIES)
    for _, words in api._BREAKS:
        assert any(part in words for part in MESSAGES)
    assert {step for row in table("Step") for step in row[0].split(", ")} == {"Settings", "Token", "Synapse"}


ANY_OTHER = ("running", "recovering", "shutting_down", "hibernating")
ENDS = {
    "accepted_results has Failed": {"accepted_results": ["Failed"]},
    "accepted_results has Cancelled": {"accepted_results": ["Cancelled"]},
    "it idled out and accept_idle_timeout=True": {"accept_idle_timeout": True},
}


def rules(**changes):
    """Make rules as a task would."""
    given = {"target_states": None, "accepted_results": ["Succeeded"], "accept_idle_timeout": False}
    return WaitRules.checked(**given | changes)


def verdict(words):
    """Translate the README's words for a verdict."""
    return {"waits": "wait", "succeeds": "success", "fails": "failure"}[re.match(r"\w+", words)[0]]


@pytest.mark.parametrize(("state", "result", "means", "idle", "end"), table("Livy state"))
def test_table_of_outcomes(state, result, means, idle, end):
    """Each row of the table of outcomes is what the verdict is, its exceptions included."""
    states = ANY_OTHER if state.startswith("any other") else re.findall(r"`(\w+)`", state)
    for name in states:
        timed_out = {"isSessionTimedOut": "true" if "idled out" in means else "false"}
        session = SparkSession.from_dict(samples.session(state=name, result=result.strip("`"), appInfo=timed_out))
        assert judge(session, rules(target_states={"idle"})) == verdict(idle)
        assert judge(session, rules()) == verdict(end)
        for words, accepting in ENDS.items():
            rule = rules(**accepting)
            accepted = words in end.replace("`", "") or result.strip("`") in rule.accepted_results
            assert (judge(session, rule) == "success") is accepted


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


def test_table_of_what_is_tried_again():
    """A status is tried again if the table says so, and any that it does not name is not."""
    again = {row[0]: row[1] for row in table("What came")}
    named = {int(n) for came, tried in again.items() if tried == "yes" for n in re.findall(r"\b\d{3}\b", came)}
    retried = {status for status in range(201, 1000) if fails_for_now(status)}
    assert retried - set(range(500, 1000)) == named - {500, 599}
    assert set(range(500, 600)) <= retried
    assert again["other statuses"] == "no"


def fails_for_now(status):
    """Tell whether an answer with a status is tried again."""
    request = to_server("http://127.0.0.1:9").spark_session_request(12)
    with pytest.raises(exceptions.SynapseLivyError) as caught:
        read_spark_session(request, LivyResponse(status, {}, b""))
    return isinstance(caught.value, exceptions.SynapseLivyUnavailableError)


def test_table_of_connection_fields_is_whole():
    """The table has every field of the form, with its label."""
    labels = {name: field["label"] for name, field in CONNECTION_FIELDS.items()}
    labels |= UI_FIELD_BEHAVIOUR["relabeling"]
    assert {row[1].strip("`"): row[0] for row in table("Field")} == labels


def test_table_of_scenarios_is_whole():
    """The table has every scenario, in the words of the command's help."""
    assert {row[0].strip("`"): row[1] for row in table("Scenario")} == {n: s.description for n, s in SCENARIOS.items()}


def test_test_of_a_dag(tmp_path):
    """The test of a DAG that the README shows passes, and is short."""
    assert len([line for line in shown_test().splitlines() if line]) <= 15
    env = write_project(tmp_path) | environment(AIRFLOW_HOME=str(tmp_path / "home"))
    migrated = airflow("db", "migrate", env=env)
    assert migrated.returncode == 0, migrated.stderr
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    run = subprocess.run(command, env=env, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=180)
    assert "2 passed" in run.stdout, run.stdout + run.stderr
    shutil.rmtree(tmp_path / "home")


def test_sensor_takes_what_is_shown():
    """The parameters that the README shows exist, with the defaults that it shows."""
    (shown,) = (block for block in code("python") if block.startswith("SynapseSparkSessionSensor("))
    given = eval(shown.replace("SynapseSparkSessionSensor(", "dict("))
    sensor = SynapseSparkSessionSensor(**given)
    defaults = inspect.signature(SynapseSparkSessionSensor).parameters
    for name in ("spark_pool_name", "target_states", "accepted_results", "accept_idle_timeout", "livy_api_version"):
        assert given[name] == defaults[name].default == getattr(sensor, name)
