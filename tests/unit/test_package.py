"""The package as Airflow and Python see it: provider info, form, imports, surface."""

from __future__ import annotations

import importlib
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
from airflow_provider_synapse_livy.connection.identity import AUTO, AuthType
from airflow_provider_synapse_livy.get_provider_info import CONNECTION_FIELDS, UI_FIELD_BEHAVIOUR, get_provider_info
from airflow_provider_synapse_livy.hooks.synapse_livy import SynapseLivyHook
from airflow_provider_synapse_livy.links import SPARK_SESSION_LINKS

MODULES = [
    module.name
    for module in pkgutil.walk_packages(airflow_provider_synapse_livy.__path__, "airflow_provider_synapse_livy.")
    if not module.name.endswith("__main__")
]


def schema(name):
    """Read one of Airflow's schemas."""
    return json.loads(files("airflow").joinpath(name).read_text())


def test_entry_point():
    """Airflow finds the provider, under the name of the distribution."""
    (found,) = (e for e in entry_points(group="apache_airflow_provider") if "synapse_livy" in e.value)
    assert found.load() is get_provider_info
    assert get_provider_info()["package-name"] == "airflow-provider-synapse-livy" == found.dist.name


def test_provider_info_at_run_time():
    """The provider info is what Airflow's schema for it wants."""
    jsonschema.validate(get_provider_info(), schema("provider_info.schema.json"))


def test_provider_info_in_full():
    """Airflow's stricter schema, which no Airflow checks at run time, finds nothing wrong with its parts either."""
    full = schema("provider.yaml.schema.json")
    if "conn-fields" not in json.dumps(full):
        pytest.skip("Airflow 3.2 brought the schema of the fields")
    full["required"].remove("source-date-epoch")  # only Airflow's own build knows one
    jsonschema.validate(get_provider_info(), full)


def test_version():
    """The version stands in one place."""
    assert airflow_provider_synapse_livy.__version__ == version("airflow-provider-synapse-livy")
    assert get_provider_info()["versions"] == [airflow_provider_synapse_livy.__version__]


def test_named_modules_and_classes_exist():
    """What the provider info names can be imported."""
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


def test_choices_in_the_form_are_those_that_work():
    """The drop-downs offer the kinds of identity, and the clouds, that there are."""
    assert CONNECTION_FIELDS["auth_type"]["schema"]["enum"] == [AUTO, *AuthType]
    assert CONNECTION_FIELDS["cloud_environment"]["schema"]["enum"] == [cloud.name for cloud in CLOUDS]


@pytest.mark.parametrize("name", CONNECTION_FIELDS)
def test_fields_explain_themselves(name):
    """Every field has a label, help, and may stay blank, which Airflow saves as null."""
    field = CONNECTION_FIELDS[name]
    assert field["label"]
    assert field["description"].endswith(".")
    assert "null" in field["schema"]["type"]


SECRETS = {"certificate_private_key", "certificate_password", "proxies"}


def test_secret_fields_are_masked():
    """Airflow masks extra fields by their names: those that hold secrets, and no others."""
    try:
        from airflow.sdk._shared import secrets_masker
    except ImportError:  # before Airflow 3.1
        from airflow.utils.log import secrets_masker
    masked = {name for name in CONNECTION_FIELDS if secrets_masker.should_hide_value_for_key(name)}
    assert masked == SECRETS
    typed = {name for name, field in CONNECTION_FIELDS.items() if field["schema"].get("format") == "password"}
    assert typed <= SECRETS


def test_form_of_older_airflow_is_the_same():
    """The widgets for Airflow before 3.2 are made from the same fields."""
    pytest.importorskip("flask_appbuilder")
    widgets = SynapseLivyHook.get_connection_form_widgets()
    assert list(widgets) == list(CONNECTION_FIELDS)
    for name, widget in widgets.items():
        help_text = str(widget.kwargs["description"])
        assert help_text.startswith(CONNECTION_FIELDS[name]["description"])
        assert all(choice in help_text for choice in CONNECTION_FIELDS[name]["schema"].get("enum", []))
    kinds = {name: widget.field_class.__name__ for name, widget in widgets.items()}
    assert {name for name, kind in kinds.items() if kind == "BooleanField"} == {
        "send_certificate_chain", "allow_custom_host"
    }  # fmt: skip
    assert {name for name, kind in kinds.items() if kind == "PasswordField"} == SECRETS


@pytest.mark.filterwarnings("ignore:Timer and timing metrics")
def test_secrets_survive_the_form_of_airflow_2():
    """What Airflow 2's form shows of a secret is what makes Airflow keep the secret, when the form comes back."""
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


LIST_FORM = """
from airflow.providers_manager import ProvidersManager
manager = ProvidersManager()
print(*(name for name in manager.connection_form_widgets if "synapse_livy" in name))
assert manager.field_behaviours["synapse_livy"]
"""


def test_airflow_takes_the_whole_form():
    """Airflow itself accepts every field. It shows none if it likes not one of them."""
    run = subprocess.run([sys.executable, "-c", LIST_FORM], capture_output=True, text=True, check=False)
    assert run.stdout.split("\n")[-2].split() == [f"extra__synapse_livy__{name}" for name in CONNECTION_FIELDS], (
        run.stderr
    )
    assert "SynapseLivyHook" not in run.stderr


def test_field_behaviour_of_older_airflow_is_the_same():
    """The behaviour of the standard fields is the same under the names of Airflow before 3.2."""
    assert SynapseLivyHook.get_ui_field_behaviour() == {
        "hidden_fields": UI_FIELD_BEHAVIOUR["hidden-fields"],
        "relabeling": UI_FIELD_BEHAVIOUR["relabeling"],
        "placeholders": UI_FIELD_BEHAVIOUR["placeholders"],
    }


def loaded_by(statement):
    """Give the modules that a fresh Python has loaded after a statement."""
    program = f"{statement}\nimport sys\nprint(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(run.stdout.split("\n")[-2].split())


LIGHT = [
    "",
    ".get_provider_info",
    ".models",
    ".livy.errors",
    ".livy.responses",
    ".livy.strict_json",
    ".waiting.wait",
    ".transport.retry",
    ".transport.rate_limit",
    ".polling.poller",
    ".connection.synapse_livy",
    ".emulator",
]


@pytest.mark.parametrize("module", LIGHT)
def test_modules_without_airflow(module):
    """What has nothing to do with Airflow does not load it, which would take seconds."""
    assert "airflow" not in loaded_by(f"import airflow_provider_synapse_livy{module}")


def test_provider_info_loads_nothing():
    """Airflow asks every provider for its info at its start, so that must cost nothing."""
    loaded = loaded_by("import airflow_provider_synapse_livy.get_provider_info")
    ours = {name for name in loaded if name.startswith("airflow")}
    assert ours == {"airflow_provider_synapse_livy", "airflow_provider_synapse_livy.get_provider_info"}


def test_pytest_plugin_loads_nothing():
    """Pytest loads the plugin in every project that has the package, so that must cost nothing."""
    (found,) = (e for e in entry_points(group="pytest11") if "synapse_livy" in e.value)
    loaded = loaded_by(f"import {found.value}") - loaded_by("import pytest")
    assert loaded == {"airflow_provider_synapse_livy", "airflow_provider_synapse_livy.pytest_plugin"}


def test_dag_files_and_triggerer_load_no_http():
    """Importing sensor, operator and trigger loads no HTTP library and no azure that Airflow has not loaded itself."""
    heavy = {"azure", "msal", "aiohttp", "requests"}
    before = loaded_by("from airflow.providers.common.compat.sdk import BaseSensorOperator, BaseHook, conf")
    parts = (f"airflow_provider_synapse_livy.{part}.spark_session" for part in ("sensors", "operators", "triggers"))
    after = loaded_by(f"import {', '.join(parts)}")
    assert (after & heavy) - before == set()


PACKAGES = ["hooks", "operators", "sensors", "triggers"]


@pytest.mark.parametrize("name", [name for name in MODULES if name.rpartition(".")[2] not in PACKAGES])
def test_surface_is_written_down(name):
    """Every module lists its names, and has them."""
    module = importlib.import_module(name)
    assert module.__all__
    assert [public for public in module.__all__ if not hasattr(module, public)] == []


SURFACE = {
    "hooks.synapse_livy": ["SparkSessionReader", "SynapseLivyHook"],
    "operators.spark_session": ["SynapseGetSparkSessionOperator"],
    "sensors.spark_session": ["SynapseSparkSessionSensor"],
    "triggers.spark_session": ["BACKSTOP", "BEGIN_ON_WORKER", "Ended", "SynapseSparkSessionTrigger", "read_event"],
    "emulator": ["SCENARIOS", "SynapseEmulator"],
    "models": [
        "LivyState",
        "PluginCurrentState",
        "SchedulerCurrentState",
        "SparkErrorSource",
        "SparkJobType",
        "SparkRequest",
        "SparkScheduler",
        "SparkServiceError",
        "SparkServicePlugin",
        "SparkSession",
        "SparkSessionResultType",
        "SparkSessionState",
    ],
}


@pytest.mark.parametrize(("name", "names"), SURFACE.items())
def test_surface_for_users(name, names):
    """What users import stays."""
    assert importlib.import_module(f"airflow_provider_synapse_livy.{name}").__all__ == names


def test_types_are_shipped():
    """Type checkers of users see our annotations."""
    assert files("airflow_provider_synapse_livy").joinpath("py.typed").is_file()
