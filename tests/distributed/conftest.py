"""The one distributed Airflow of all tests of this folder, and the local Synapse behind its gates."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from local_airflow import free_ports

from airflow_provider_synapse_livy.emulator import SynapseEmulator
from airflow_provider_synapse_livy.emulator.entra import CLIENT_ID, CLIENT_SECRET, TENANT_ID
from tests.distributed.cluster import Cluster, Gate
from tests.support.project import PROJECT

HOME = PROJECT / ".airflow" / "distributed"
DAGS = Path(__file__).with_name("dags")

#: A session is ready after half a minute, and idles out ten minutes later, when all have been waited for.
TIME_SCALE = 0.5

_FIGURES: list[str] = []


@pytest.fixture(scope="session")
def synapse():
    """Return a local Synapse over https, whose tokens last half a minute, behind a gate for each of its sides."""
    with SynapseEmulator(tls=True, time_scale=TIME_SCALE, token_lifetime=30, rate_limit=200) as emulator:
        target = int(emulator.url.rpartition(":")[2])
        gates = SimpleNamespace(livy=Gate(target), entra=Gate(target))
        gates.livy.open()
        gates.entra.open()
        emulator.gates = gates
        yield emulator
        gates.livy.shut()
        gates.entra.shut()


@pytest.fixture(scope="session")
def airflow(synapse):
    """Return the distributed Airflow, with a connection to the local Synapse."""
    with Cluster(HOME, DAGS) as cluster:
        add_connection(cluster, synapse, "synapse_livy_default", synapse.gates.livy.port)
        add_connection(cluster, synapse, "nobody_there", free_ports(1)[0])
        yield cluster


def add_connection(cluster, synapse, name, port):
    """Add a connection with a client secret."""
    authority = f"https://127.0.0.1:{synapse.gates.entra.port}"
    extra = {"tenantId": TENANT_ID, "authority": authority, "verify": str(synapse.ca_file), "spark_pool_name": "etl"}
    cluster.add_connection(
        name,
        conn_type="synapse_livy",
        host="https://127.0.0.1",
        port=port,
        login=CLIENT_ID,
        password=CLIENT_SECRET,
        extra=json.dumps(extra),
    )


@pytest.fixture
def figures(request):
    """Return a function that shows a test's figures after all tests."""

    def show(**values):
        _FIGURES.append(f"{request.node.name}: {', '.join(f'{name} {value}' for name, value in values.items())}")

    return show


def pytest_terminal_summary(terminalreporter):
    """Show the figures of all tests."""
    if _FIGURES:
        terminalreporter.section("figures")
    for line in _FIGURES:
        terminalreporter.write_line(line)
