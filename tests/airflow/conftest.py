"""What the tests with a real Airflow share: one run of all DAGs, whose traces the tests look at."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from airflow import __version__ as airflow_version

from tests.airflow.outcomes import MODES
from tests.airflow.services import RealAirflow, postgres
from tests.airflow.synapse import TimedSynapse
from tests.support.connections import airflow_connection
from tests.support.project import PROJECT

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="session")
def synapse():
    """Return the server that all DAGs ask."""
    with TimedSynapse() as server:
        yield server


@pytest.fixture(scope="session")
def airflow(synapse, tmp_path_factory):
    """Return an Airflow that has run all DAGs to their ends."""
    errors = tmp_path_factory.mktemp("errors")
    env = {
        "AIRFLOW_CONN_SYNAPSE_LIVY_DEFAULT": airflow_connection(synapse.url),
        "MATRIX_ERRORS": str(errors),
        "PYTHONPATH": str(PROJECT),
    }
    home = Path(os.environ["AIRFLOW_HOME"]).with_name(f"matrix-{airflow_version}")
    home.parent.mkdir(exist_ok=True)
    with postgres(home.with_name("postgres.log")) as database:
        airflow = RealAirflow(home, HERE / "dags", database, env)
        airflow.errors = errors
        with airflow.running():
            dags = [f"waits_{mode}" for mode in MODES]
            airflow.run_dags(*dags, "starts", conf={"session_id": 12}, timeout=1500)
            airflow.clear("starts", "cleared", timeout=300)
        yield airflow
