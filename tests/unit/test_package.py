"""The package as Airflow and Python see it: provider info, connection form, imports, public names."""

from __future__ import annotations

import ast
import importlib
import inspect
import itertools
import json
import pkgutil
import subprocess
import sys
from importlib.metadata import entry_points, version
from importlib.resources import files

import jsonschema
import pytest

import airflow_provider_synapse_livy
from airflow_provider_synapse_livy.connection.clouds import CLOUDS
from airflow_provider_synapse_livy.connection.form import CONNECTION_FIELDS, UI_FIELD_BEHAVIOUR
from airflow_provider_synapse_livy.connection.identity import AUTO, AuthType
from airflow_provider_synapse_livy.get_provider_info import get_provider_info
from airflow_provider_synapse_livy.hooks.synapse_livy import SynapseLivyHook
from airflow_provider_synapse_livy.links import SPARK_SESSION_LINKS

MODULES = [
    module.name
    for module in pkgutil.walk_packages(airflow_provider_synapse_livy.__path__, "airflow_provider_synapse_livy.")
    if not module.name.endswith("__main__")
]


def schema(name):
    """Return one of Airflow's JSON schemas."""
    return json.loads(files("airflow").joinpath(name).read_text())


def test_entry_point():
    """Airflow finds the provider by its entry point, under the name of the distribution."""
    (found,) = (e for e in entry_points(group="apache_airflow_provider") if "synapse_livy" in e.value)
    assert found.load() is get_provider_info
    assert get_provider_info()["package-name"] == "airflow-provider-synapse-livy" == found.dist.name


def test_provider_info_at_run_time():
    """The provider info is valid by the schema that Airflow checks at run time."""
    jsonschema.validate(get_provider_info(), schema("provider_info.schema.json"))


def test_provider_info_in_full():
    """The provider info is valid by Airflow's stricter schema, too, which nothing checks at run time."""
    full = schema("provider.yaml.schema.json")
    if "conn-fields" not in json.dumps(full):
        pytest.skip("Airflow 3.2 brought the schema of the fields")
    full["required"].remove("source-date-epoch")  # only Airflow's own build knows one
    jsonschema.validate(get_provider_info(), full)


def test_version():
    """The provider info, the package and the distribution have the same version."""
    assert airflow_provider_synapse_livy.__version__ == version("airflow-provider-synapse-livy")
    assert get_provider_info()["versions"] == [airflow_provider_synapse_livy.__version__]


def test_named_modules_and_classes_exist():
    """Every module and class that the provider info names can be imported."""
    info = get_provider_info()
    for part in ("hooks", "operators", "sensors", "triggers"):
        for module in info[part][0]["python-modules"]:
            importlib.import_module(module)
    links = [path.rpartition(".") for path in info["extra-links"]]
    assert [type(link) for link in SPARK_SESSION_LINKS] == [
        getattr(importlib.import_module(module), name) for module, _, name in links
    ]
    (connection_type,) = info["connection-types"]
    module, _, name = connection_type["hook-class-name"].rpartition(".")
    assert getattr(importlib.import_module(module), name) is SynapseLivyHook
    assert (connection_type["connection-type"], connection_type["hook-name"]) == (
        SynapseLivyHook.conn_type,
        SynapseLivyHook.hook_name,
    )
    assert connection_type["conn-fields"] is CONNECTION_FIELDS
    assert connection_type["ui-field-behaviour"] is UI_FIELD_BEHAVIOUR


def test_choices_in_the_form_are_those_that_work():
    """The drop-downs of the form offer exactly the auth types and the clouds that exist."""
    assert CONNECTION_FIELDS["auth_type"]["schema"]["enum"] == [AUTO, *AuthType]
    assert CONNECTION_FIELDS["cloud_environment"]["schema"]["enum"] == [cloud.name for cloud in CLOUDS]


@pytest.mark.parametrize("name", CONNECTION_FIELDS)
def test_fields_explain_themselves(name):
    """Every field has a label and a help text, and may stay blank, which Airflow saves as null."""
    field = CONNECTION_FIELDS[name]
    assert field["label"]
    assert field["description"].endswith(".")
    assert "null" in field["schema"]["type"]


def test_port_stays_visible():
    """The form shows the port, without which the Test button of Airflow 3.3.1 and 3.3.2 does not work."""
    assert "port" not in UI_FIELD_BEHAVIOUR["hidden-fields"]
    assert UI_FIELD_BEHAVIOUR["placeholders"]["port"].startswith("443 ")


def test_form_is_in_groups():
    """What nearly every connection needs comes first; then come the groups, each of them once and in one piece."""
    groups = [field["schema"].get("section") for field in CONNECTION_FIELDS.values()]
    assert [group for group, _ in itertools.groupby(groups)] == [None, "Identity", "Network", "Advanced"]


def test_texts_of_the_form_fit():
    """Labels and placeholders are as long as the form shows them, and a help text is a line or two."""
    labels = [field["label"] for field in CONNECTION_FIELDS.values()]
    assert max(map(len, [*labels, *UI_FIELD_BEHAVIOUR["relabeling"].values()])) <= 30
    assert max(map(len, UI_FIELD_BEHAVIOUR["placeholders"].values())) <= 46
    assert max(len(field["description"]) for field in CONNECTION_FIELDS.values()) <= 120


SECRETS = {"certificate_private_key", "certificate_password", "proxy_password"}


def test_secret_fields_are_masked():
    """Airflow, which masks extra fields by their names, masks those that hold secrets, whatever its patch."""
    try:
        from airflow.sdk._shared import secrets_masker
    except ImportError:
        try:  # Airflow 3.0
            from airflow.sdk.execution_time import secrets_masker
        except ImportError:  # Airflow 2
            from airflow.utils.log import secrets_masker
    masked = {name for name in CONNECTION_FIELDS if secrets_masker.should_hide_value_for_key(name)}
    assert masked - {"proxies"} == SECRETS  # which not every patch masks, and which needs to hold no secret
    typed = {name for name, field in CONNECTION_FIELDS.items() if field["schema"].get("format") == "password"}
    assert typed <= SECRETS


def test_form_of_older_airflow_is_the_same():
    """The form of Airflow before 3.2 has the same fields, with the same help texts."""
    pytest.importorskip("flask_appbuilder")
    widgets = SynapseLivyHook.get_connection_form_widgets()
    assert list(widgets) == list(CONNECTION_FIELDS)
    for name, widget in widgets.items():
        help_text = str(widget.kwargs["description"])
        field = CONNECTION_FIELDS[name]
        assert help_text.startswith(field["description"])
        assert str(widget.args[0]) == ": ".join(filter(None, (field["schema"].get("section"), field["label"])))
        assert all(choice in help_text for choice in field["schema"].get("enum", []))
    kinds = {name: widget.field_class.__name__ for name, widget in widgets.items()}
    assert {name for name, kind in kinds.items() if kind == "BooleanField"} == {
        "send_certificate_chain", "allow_custom_host"
    }  # fmt: skip
    assert {name for name, kind in kinds.items() if kind == "PasswordField"} == SECRETS | {"proxies"}


@pytest.mark.filterwarnings("ignore:Timer and timing metrics")
def test_secrets_survive_the_form_of_airflow_2():
    """Airflow 2's form shows a secret as the placeholder that makes Airflow keep the secret when it is saved."""
    wtforms = pytest.importorskip("wtforms")
    pytest.importorskip("flask_appbuilder")
    from airflow.www.views import SENSITIVE_FIELD_PLACEHOLDER

    class Form(wtforms.Form):
        filled = SynapseLivyHook.get_connection_form_widgets()["certificate_password"]
        blank = SynapseLivyHook.get_connection_form_widgets()["certificate_private_key"]
        proxies = SynapseLivyHook.get_connection_form_widgets()["proxies"]

    form = Form(data={"filled": "s3cr3t-value", "blank": "", "proxies": {"https": "http://proxy.example:1"}})
    shown = {field.name: field() for field in form}
    assert f'value="{SENSITIVE_FIELD_PLACEHOLDER}"' in shown["filled"]
    assert f'value="{SENSITIVE_FIELD_PLACEHOLDER}"' in shown["proxies"]
    assert 'value=""' in shown["blank"]
    assert "s3cr3t-value" not in "".join(shown.values())


def test_field_behaviour_of_older_airflow_is_the_same():
    """The standard fields look the same in the form of Airflow before 3.2."""
    assert SynapseLivyHook.get_ui_field_behaviour() == {
        "hidden_fields": UI_FIELD_BEHAVIOUR["hidden-fields"],
        "relabeling": UI_FIELD_BEHAVIOUR["relabeling"],
        "placeholders": UI_FIELD_BEHAVIOUR["placeholders"],
    }


def loaded_by(statement):
    """Return the names of the modules that a new Python has loaded after a statement."""
    program = f"{statement}\nimport sys\nprint(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(run.stdout.split("\n")[-2].split())


LIGHT = [
    "",
    ".get_provider_info",
    ".models",
    ".livy.resources",
    ".livy.errors",
    ".waiting.wait",
    ".transport.retry",
    ".transport.rate_limit",
    ".polling.schedule",
    ".polling.watch",
    ".connection.synapse_livy",
    ".connection.form",
    ".emulator",
]


def test_modules_without_airflow():
    """A module that needs no Airflow does not import it, which would take seconds."""
    check = "importlib.import_module(name); print('airflow' in sys.modules)"
    program = f"import importlib, sys\nfor name in sys.argv[1:]: {check}"
    names = [f"airflow_provider_synapse_livy{module}" for module in LIGHT]
    run = subprocess.run([sys.executable, "-c", program, *names], capture_output=True, text=True, check=True)
    assert dict(zip(names, run.stdout.split(), strict=True)) == dict.fromkeys(names, "False")


def test_provider_info_loads_nothing():
    """Airflow imports every provider's info when it starts, so that imports nothing but the form's data."""
    before = loaded_by("from __future__ import annotations; import typing")
    loaded = loaded_by("import airflow_provider_synapse_livy.get_provider_info") - before
    package = "airflow_provider_synapse_livy"
    assert loaded == {
        package,
        *(f"{package}.{name}" for name in ("connection", "connection.form", "get_provider_info")),
    }


def test_pytest_plugin_loads_nothing():
    """Pytest imports the plugin in every project that has the package, so that imports nothing else."""
    (found,) = (e for e in entry_points(group="pytest11") if "synapse_livy" in e.value)
    loaded = loaded_by(f"import {found.value}") - loaded_by("import pytest")
    assert loaded == {"airflow_provider_synapse_livy", "airflow_provider_synapse_livy.pytest_plugin"}


def is_docstring_only(module):
    """Return whether a package's ``__init__`` has a docstring and nothing else."""
    body = ast.parse(inspect.getsource(module)).body
    return hasattr(module, "__path__") and len(body) == 1 and ast.get_docstring(ast.Module(body, [])) is not None


@pytest.mark.parametrize("name", MODULES)
def test_surface_is_written_down(name):
    """Every module lists its public names and has them, unless it is a package that only explains what is in it."""
    module = importlib.import_module(name)
    if is_docstring_only(module):
        return
    assert module.__all__
    assert [public for public in module.__all__ if not hasattr(module, public)] == []


SURFACE = {
    "hooks.synapse_livy": ["SynapseLivyHook"],
    "operators.spark_session": [
        "SynapseCancelSparkSessionOperator",
        "SynapseCreateSparkSessionOperator",
        "SynapseGetSparkSessionOperator",
    ],
    "sensors.spark_session": ["SynapseSparkSessionSensor"],
    "triggers.spark_session": ["SynapseSparkSessionTrigger"],
    "operators.spark_statement": ["SynapseRunSparkStatementOperator"],
    "sensors.spark_statement": ["SynapseSparkStatementSensor"],
    "triggers.spark_statement": ["SynapseSparkStatementTrigger"],
    "emulator": [
        "BATCH_SCENARIOS",
        "NOW",
        "SCENARIOS",
        "Scenario",
        "SynapseEmulator",
        "Transition",
        "end_transitions",
        "livy_change",
        "startup_transitions",
    ],
    "testing": ["POLL_INTERVAL", "FakeTaskInstance", "run_task", "short_intervals"],
    "models": [
        "LivyState",
        "LivyStatementState",
        "PluginCurrentState",
        "SchedulerCurrentState",
        "SparkBatchJob",
        "SparkBatchJobOptions",
        "SparkBatchJobState",
        "SparkErrorSource",
        "SparkJob",
        "SparkJobType",
        "SparkRequest",
        "SparkScheduler",
        "SparkServiceError",
        "SparkServicePlugin",
        "SparkSession",
        "SparkSessionOptions",
        "SparkSessionResultType",
        "SparkSessionState",
        "SparkStatement",
        "SparkStatementOutput",
    ],
}


@pytest.mark.parametrize(("name", "names"), SURFACE.items())
def test_surface_for_users(name, names):
    """The modules that users import offer these names, and no others."""
    assert importlib.import_module(f"airflow_provider_synapse_livy.{name}").__all__ == names


def test_types_are_shipped():
    """Type checkers use the package's annotations, since py.typed is shipped."""
    assert files("airflow_provider_synapse_livy").joinpath("py.typed").is_file()
