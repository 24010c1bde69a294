"""The connection form and the Test button of a real Airflow, in a real browser."""

from __future__ import annotations

import json
import os
import sqlite3

import pytest
from local_airflow import LocalAirflow, wait_for
from playwright.sync_api import sync_playwright

from airflow_provider_synapse_livy.emulator import SynapseEmulator
from airflow_provider_synapse_livy.emulator.entra import CLIENT_ID, CLIENT_SECRET, OBJECT_ID, TENANT_ID
from airflow_provider_synapse_livy.hooks.synapse_livy import SynapseLivyHook
from tests.support.project import PROJECT
from tests.support.secrets_search import EMULATOR_TOKEN, find_secrets
from tests.ui.connections_page import ConnectionsPage

HOME = PROJECT / ".airflow" / "ui"
DAG_ID = "example_synapse_spark_session_of_others"
CHROMIUM = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture(scope="module")
def synapse():
    """Return a local Synapse with a token endpoint, whose sessions are ready within seconds."""
    with SynapseEmulator(tls=True, time_scale=0.05) as emulator:
        yield emulator


@pytest.fixture(scope="module")
def airflow():
    """Return a real Airflow that logs at level DEBUG, so that a leaked secret would be found."""
    env = {"AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG"}
    with LocalAirflow(HOME, PROJECT / "example_dags", env) as local:
        yield local


@pytest.fixture
def connections(airflow, request):
    """Return the connections page in a browser, which takes a screenshot of each step."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"), args=CHROMIUM
        )
        page = browser.new_page(viewport={"width": 1280, "height": 1400}, locale="en-US")
        page.set_default_timeout(30_000)
        yield ConnectionsPage(page, airflow.url, HOME / request.node.name)
        browser.close()


def stored(connection_id):
    """Return the fields of a connection in Airflow's database, without null, which the form writes for blank ones."""
    with sqlite3.connect(HOME / "airflow.db") as database:
        columns = "host, port, login, password, extra"
        row = database.execute(f"select {columns} from connection where conn_id = ?", [connection_id]).fetchone()
    extra = {name: value for name, value in json.loads(row[-1]).items() if value is not None}
    return *row[:-1], extra


def test_connection_from_the_form_to_the_dag(connections, airflow, synapse):
    """A connection is added, tested, broken and corrected in the UI; a DAG then uses it, and no secret leaks."""
    host, port = synapse.url.rsplit(":", 1)
    good = {
        "host": host,
        "port": port,
        "login": CLIENT_ID,
        "password": CLIENT_SECRET,
        "tenantId": TENANT_ID,
        "spark_pool_name": "etl",
        "authority": synapse.url,
        "verify": str(synapse.ca_file),
    }
    name = SynapseLivyHook.default_conn_name
    connections.add(name, SynapseLivyHook.hook_name, good)
    text = connections.test(name)
    assert text.startswith("Test Connection Successful")
    assert "Synapse listed the Spark sessions of pool etl." in text
    assert f"Workspace: {synapse.url} (AzurePublicCloud)." in text
    assert f"Signed in as: the application {CLIENT_ID} (object id {OBJECT_ID}, tenant {TENANT_ID})." in text

    for field, value, pattern in (
        ("password", "a-wrong-secret", "Token: .*Fix: .*AADSTS7000215: Invalid client secret"),
        ("spark_pool_name", "missing", "Synapse: .*pool missing: Synapse answered 404.*Fix: .*that the pool exists"),
        ("host", "https://ws.dev.azuresynapse.ne", "Settings: the host is not the development endpoint.*Fix: "),
    ):
        connections.edit(name, {field: value})
        connections.expect_failure(name, pattern)
        connections.edit(name, {field: good[field]})
    assert connections.test(name).startswith("Test Connection Successful")

    session_id = synapse.create_session("etl")
    run_id = airflow.trigger(DAG_ID, {"session_id": session_id, "spark_pool_name": "etl"})
    wait_for(
        lambda: airflow.task_states(DAG_ID, run_id).get("wait_for_end") == "deferred" or None, "the wait", timeout=120
    )
    synapse.cancel_session("etl", session_id)
    wait_for(
        lambda: airflow.task_states(DAG_ID, run_id).get("wait_for_end") == "success" or None, "the end", timeout=120
    )
    secrets = [CLIENT_SECRET, "a-wrong-secret", EMULATOR_TOKEN]
    assert find_secrets(secrets, database=f"sqlite:///{HOME / 'airflow.db'}", folders=[HOME]) == []


def test_editing_loses_nothing(connections, airflow):
    """A connection that was created elsewhere keeps all fields when it is edited, secrets too."""
    extra = {
        "tenantId": "tenant",
        "subscriptionId": "from the azure provider",
        "certificate_private_key": "-----BEGIN PRIVATE KEY-----\nkey\n-----END PRIVATE KEY-----",
        "certificate_password": "open",
        "proxies": "http://user:password@proxy.example:3128",
        "send_certificate_chain": True,
        "timeout": 12.5,
        "cloud_environment": "AzureChinaCloud",
        "auth_type": "client_certificate",
    }
    fields = {"host": "ws", "port": 443, "login": "client", "password": "unused"}
    airflow.add_connection("made_elsewhere", conn_type="synapse_livy", extra=json.dumps(extra), **fields)
    # Airflow shows only the extra fields that the connection has, so no other can be edited.
    connections.edit("made_elsewhere", {"description": "edited", "tenantId": "another"})
    assert stored("made_elsewhere") == (*fields.values(), extra | {"tenantId": "another"})
