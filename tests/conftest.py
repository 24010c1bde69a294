"""What many tests share: Airflow in a folder of its own, and a local Synapse."""

from __future__ import annotations

import os
from importlib.metadata import version

import hypothesis
import pytest

from airflow_provider_synapse_livy.emulator import SynapseEmulator
from tests.support.project import PROJECT
from tests.support.transports import TRANSPORTS

# How long an example takes says more of the machine than of the code.
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("untimed")

# Airflow reads its environment when it is imported, which happens later than this.
for name in [name for name in os.environ if name.startswith("AIRFLOW")]:
    del os.environ[name]
# Each Airflow has a home of its own: their databases differ.
os.environ["AIRFLOW_HOME"] = str(PROJECT / ".airflow" / f"tests-{version('apache-airflow')}")
os.environ["AIRFLOW__CORE__DAGS_FOLDER"] = str(PROJECT / "example_dags")
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"


@pytest.fixture(scope="session")
def synapse():
    """Return a local Synapse over plain http whose sessions age in real time, so that they hold still for a test."""
    with SynapseEmulator(time_scale=1) as emulator:
        yield emulator


@pytest.fixture(scope="session")
def tls_synapse():
    """Return a local Synapse over https, with the token endpoint that azure-identity asks."""
    with SynapseEmulator(tls=True, time_scale=1) as emulator:
        yield emulator


@pytest.fixture(scope="session")
def fast_synapse():
    """Return a local Synapse whose sessions are ready within a second."""
    with SynapseEmulator(time_scale=0.01) as emulator:
        yield emulator


@pytest.fixture
def connect(monkeypatch):
    """Return a function that defines the default connection, in the way of Airflow's environment variables."""

    def define(connection: str) -> None:
        monkeypatch.setenv("AIRFLOW_CONN_SYNAPSE_LIVY_DEFAULT", connection)

    return define


@pytest.fixture(params=TRANSPORTS, ids=lambda kind: kind.name)
def transport(request):
    """Return one of the two transports to Synapse."""
    return request.param()
