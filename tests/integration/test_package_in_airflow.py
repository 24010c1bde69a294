"""The package in an Airflow of its own process: the form, and what an import loads."""

from __future__ import annotations

import subprocess
import sys

import pytest

from airflow_provider_synapse_livy.airflow_compat.versions import AIRFLOW_VERSION
from airflow_provider_synapse_livy.connection.form import CONNECTION_FIELDS

LIST_FORM = """
from airflow.providers_manager import ProvidersManager
manager = ProvidersManager()
print(manager.providers["airflow-provider-synapse-livy"].data.get("documentation-url"))
print(*(name for name in manager.connection_form_widgets if "synapse_livy" in name))
assert manager.field_behaviours["synapse_livy"]
"""


def test_airflow_takes_the_whole_form():
    """Airflow accepts every field of the form, of which it would show none if it refused one, and knows our pages."""
    if (3, 0) <= AIRFLOW_VERSION < (3, 2):
        pytest.importorskip("flask_appbuilder")  # which these come without, and then they ask the hook nothing
    run = subprocess.run([sys.executable, "-c", LIST_FORM], capture_output=True, text=True, check=False)
    documentation, form = run.stdout.split("\n")[-3:-1]
    assert form.split() == [f"extra__synapse_livy__{name}" for name in CONNECTION_FIELDS], run.stderr
    if AIRFLOW_VERSION >= (3, 3):
        assert documentation.startswith("https://airflow-provider-synapse-livy.")
    assert "SynapseLivyHook" not in run.stderr


def loaded_by(statement):
    """Return the names of the modules that a new Python has loaded after a statement."""
    program = f"{statement}\nimport sys\nprint(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(run.stdout.split("\n")[-2].split())


def test_dag_files_and_triggerer_load_no_http():
    """Importing sensor, operator and trigger imports no HTTP library and no azure package besides Airflow's own."""
    heavy = {"azure", "msal", "aiohttp", "requests"}
    airflow = "airflow_provider_synapse_livy.airflow_compat.sdk"
    before = loaded_by(f"from {airflow} import BaseSensorOperator, BaseHook, conf")
    parts = (f"airflow_provider_synapse_livy.{part}.spark_session" for part in ("sensors", "operators", "triggers"))
    after = loaded_by(f"import {', '.join(parts)}")
    assert (after & heavy) - before == set()
