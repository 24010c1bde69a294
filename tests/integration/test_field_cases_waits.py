"""Small things that went wrong in waits, in every mode that can meet them."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import logging
from types import SimpleNamespace

import pytest

from airflow_provider_synapse_livy.airflow_compat.sdk import BaseHook, TaskDeferred
from airflow_provider_synapse_livy.exceptions import (
    SynapseLivyAuthenticationError,
    SynapseLivyConfigurationError,
    SynapseLivyError,
)
from airflow_provider_synapse_livy.hooks.synapse_livy import SynapseLivyHook
from airflow_provider_synapse_livy.links import LINKS_KEY
from airflow_provider_synapse_livy.livy.resources import SPARK_SESSION
from airflow_provider_synapse_livy.sensors.spark_statement import SynapseSparkStatementSensor
from airflow_provider_synapse_livy.triggers import base
from airflow_provider_synapse_livy.triggers.base import BEGIN_ON_WORKER
from tests.support import sample_sessions as samples
from tests.support.connections import airflow_connection
from tests.support.scripted_server import ScriptedServer, http
from tests.support.sensor_runner import MODES, TaskInstance, make_sensor, run

READY = {"target_states": {"idle"}}
QUEUED = http(200, samples.NOT_STARTED)
IDLE = http(200, samples.IDLE)


@pytest.mark.parametrize("mode", MODES)
def test_log_begins_with_what_is_waited_for(mode, monkeypatch, caplog, capsys):
    """The first line of a wait's log says what it waits for, and that sessions hardly ever end as Succeeded."""
    with ScriptedServer(QUEUED, http(200, samples.KILLED)) as server, caplog.at_level(logging.INFO):
        monkeypatch.setenv("AIRFLOW_CONN_SYNAPSE_LIVY_DEFAULT", airflow_connection(server.url))
        run(mode)
    log = caplog.text + capsys.readouterr().out  # Airflow 2 and 3 log in different ways
    first = next(line for line in log.splitlines() if "Spark session 12" in line)
    assert "Waiting until Spark session 12 has ended, for 30 s at the most." in first
    assert "hardly ever as Succeeded" in log


def test_timeout_on_an_idle_session_says_what_to_wait_for(monkeypatch):
    """A wait for the end of a session that is idle ends with the hint to wait for idle."""
    with ScriptedServer(IDLE) as server:
        monkeypatch.setenv("AIRFLOW_CONN_SYNAPSE_LIVY_DEFAULT", airflow_connection(server.url))
        outcome = run("poke", timeout=0.05)
    assert str(outcome.error).splitlines()[1].startswith('Fix: set target_states={"idle"}')


def test_poke_by_itself_waits_for_the_final_result(monkeypatch):
    """poke() on a session that is settling returns its final result, and waits no longer than settle_timeout."""
    script = [http(200, samples.settling("error"))] * 2 + [http(200, samples.CANCELLED_IN_QUEUE)]
    with ScriptedServer(*script) as server:
        monkeypatch.setenv("AIRFLOW_CONN_SYNAPSE_LIVY_DEFAULT", airflow_connection(server.url))
        result = make_sensor("poke", accepted_results=["Cancelled"]).poke({})
        assert (result.is_done, result.xcom_value["result"]) == (True, "Cancelled")
    with ScriptedServer(script[0]) as server:
        monkeypatch.setenv("AIRFLOW_CONN_SYNAPSE_LIVY_DEFAULT", airflow_connection(server.url))
        assert make_sensor("poke", accepted_results=["Failed"], settle_timeout=0).poke({}).is_done


def test_links_are_pushed_with_the_first_poll_that_shows_them(monkeypatch):
    """The links are in XCom as soon as the application is known, not only when the wait ends."""
    task_instance = TaskInstance()
    seen = []

    def remember_links(connection):
        seen.append(dict(task_instance.xcoms.get(LINKS_KEY, {})))
        connection.sendall(IDLE)

    with ScriptedServer(QUEUED, http(200, samples.session(state="busy")), remember_links) as server:
        monkeypatch.setenv("AIRFLOW_CONN_SYNAPSE_LIVY_DEFAULT", airflow_connection(server.url))
        make_sensor("poke", **READY).execute({"ti": task_instance})
    assert "Spark UI" in seen[0]


def test_links_are_pushed_from_the_triggerer_while_the_wait_goes_on(monkeypatch):
    """A deferred wait shows its links as soon as the application is known, and once."""
    pushed = []

    class Recorder:
        @staticmethod
        def set(**xcom):
            pushed.append((xcom["key"], xcom["value"], len(server.requests)))

    async def end(trigger):
        return [event.payload async for event in trigger.run()]

    monkeypatch.setattr(base, "XCom", Recorder)
    busy = http(200, samples.session(state="busy"))
    with ScriptedServer(QUEUED, busy, http(200, samples.session(state="busy", log=["more"])), IDLE) as server:
        monkeypatch.setenv("AIRFLOW_CONN_SYNAPSE_LIVY_DEFAULT", airflow_connection(server.url))
        with pytest.raises(TaskDeferred) as deferred:
            make_sensor("deferrable", **READY).execute({})
        trigger = deferred.value.trigger
        trigger.task_instance = SimpleNamespace(
            dag_id="dag", task_id="wait", run_id="run", map_index=-1, try_number=1, task=None
        )
        (payload,) = asyncio.run(end(trigger))
    assert {key for key, _, _ in pushed} >= {LINKS_KEY}
    assert [(sorted(value), requests) for key, value, requests in pushed if key == LINKS_KEY] == [
        (sorted(payload["links"]), 2)
    ]


@pytest.mark.parametrize("mode", ["reschedule", "deferrable"])
def test_secrets_backend_that_fails_does_not_end_a_wait_that_has_begun(mode, monkeypatch, caplog):
    """A wait that has read its connection survives that it can't be read again for a while."""
    variable = "AIRFLOW_CONN_SYNAPSE_LIVY_DEFAULT"
    with ScriptedServer(None, IDLE) as server:

        def seal(connection):
            monkeypatch.delenv(variable)
            connection.sendall(QUEUED)

        def unseal(record):
            if "retrying in" in record.getMessage():
                monkeypatch.setenv(variable, airflow_connection(server.url))
            return True

        server.script[0] = seal
        monkeypatch.setenv(variable, airflow_connection(server.url))
        monkeypatch.setattr(caplog.handler, "filters", [unseal])
        outcome = run(mode, **READY)
    assert outcome.state == "success"
    assert "has no connection 'synapse_livy_default', retrying in" in caplog.text


def test_unrendered_task_is_rendered_when_it_is_resumed(monkeypatch):
    """A task that Airflow resumes without rendering it, as 2.11's ``tasks test`` does, ends as it should."""
    with ScriptedServer(QUEUED, IDLE) as server:
        monkeypatch.setenv("AIRFLOW_CONN_SYNAPSE_LIVY_DEFAULT", airflow_connection(server.url))
        sensor = make_sensor("deferrable", session_id="{{ params.session_id }}", **READY)
        event = {
            "resource": "Spark session", "verdict": "success", "record": samples.IDLE, "activity_id": None, "links": {},
        }  # fmt: skip
        context = {"params": {"session_id": 12}, "ti": TaskInstance()}
        assert sensor.resume_execution("execute_complete", {"event": event}, context)["id"] == 12


@pytest.mark.parametrize("mode", MODES)
def test_rotated_secret_does_not_end_a_wait(mode, monkeypatch):
    """After a refused identity the connection is read again before the wait gives up."""
    variable = "AIRFLOW_CONN_SYNAPSE_LIVY_DEFAULT"
    with ScriptedServer(QUEUED, None, http(401), IDLE) as server:

        def rotate(connection):
            fields = json.loads(airflow_connection(server.url)) | {"password": "another-token"}
            monkeypatch.setenv(variable, json.dumps(fields))
            connection.sendall(http(401))

        server.script[1] = rotate
        monkeypatch.setenv(variable, airflow_connection(server.url))
        outcome = run(mode, **READY)
        assert server.tokens[-1] == "another-token"
    assert outcome.state == "success"


def test_refused_identity_that_was_not_changed_ends_the_wait(monkeypatch):
    """If the connection is the same as before, a refused identity is an error."""
    with ScriptedServer(QUEUED, http(401)) as server:
        monkeypatch.setenv("AIRFLOW_CONN_SYNAPSE_LIVY_DEFAULT", airflow_connection(server.url))
        outcome = run("deferrable", **READY)
    assert type(outcome.error) is SynapseLivyAuthenticationError


def sealed(monkeypatch, failures):
    """Let reading the connection fail so many times, and return how often it was read."""
    reads = []
    read = BaseHook.get_connection

    def get_connection(conn_id):
        reads.append(conn_id)
        if len(reads) <= failures:
            raise RuntimeError("the vault is sealed")
        return read(conn_id)

    monkeypatch.setattr(SynapseLivyHook, "get_connection", staticmethod(get_connection))
    monkeypatch.setattr("time.sleep", lambda _: None)
    return reads


STATEMENT = {"id": 0, "state": "available", "output": {"status": "ok", "execution_count": 0, "data": {}}}


def test_secrets_backend_that_fails_after_a_deferral(monkeypatch):
    """A task that resumes after a deferral survives that its connection can't be read at first."""
    event = {"resource": "statement", "verdict": "success", "record": STATEMENT, "activity_id": None, "links": {}}
    with ScriptedServer(http(200, STATEMENT | {"code": "1"})) as server:
        monkeypatch.setenv("AIRFLOW_CONN_SYNAPSE_LIVY_DEFAULT", airflow_connection(server.url))
        reads = sealed(monkeypatch, 4)
        sensor = SynapseSparkStatementSensor(task_id="wait", session_id=12, statement_id=0, deferrable=True)
        returned = sensor.resume_execution("execute_complete", {"event": event}, {"ti": TaskInstance()})
    assert (returned["state"], len(reads)) == ("available", 5)


def test_secrets_backend_that_fails_before_a_wait_has_begun(monkeypatch):
    """A task that begins on a worker, though it started in the triggerer, has not read its connection before."""
    reads = sealed(monkeypatch, 4)
    with pytest.raises(SynapseLivyConfigurationError, match="can't read the connection"):
        make_sensor("deferrable").resume_execution(
            "execute_complete", {"event": BEGIN_ON_WORKER}, {"ti": TaskInstance()}
        )
    assert len(reads) == 1


PROXY = {"https": "http://ada:s3cr3t%2Fone@proxy.example:3128", "http": "http://bob@proxy.example:3128"}


@pytest.mark.parametrize("is_async", [False, True])
def test_secrets_of_a_connection_are_masked(monkeypatch, is_async):
    """Once a connection is read, no log line shows one of its secrets, as it is written or as it is used."""
    secrets = ["s3cr3t%2Fone", "s3cr3t/one", "s3cr3t/two", "s3cr3t%2Ftwo", "s3cr3t-three"]
    extra = {
        "proxies": PROXY, "proxy_password": "s3cr3t/two", "tenantId": "t", "authority": "http://127.0.0.1:9",
        "certificate_private_key": "-----BEGIN PRIVATE KEY-----\nczNjcjN0\n-----END PRIVATE KEY-----\n",
        "certificate_password": "s3cr3t-three", "spark_pool_name": "etl",
    }  # fmt: skip
    fields = {"conn_type": "synapse_livy", "host": "http://127.0.0.1:9", "login": "client", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_SYNAPSE_LIVY_DEFAULT", json.dumps(fields))
    monkeypatch.setattr(secrets_masker(), "patterns", set())
    monkeypatch.setattr(secrets_masker(), "replacer", None)
    secrets.append(extra["certificate_private_key"])
    assert secrets_masker().redact(" ".join(secrets)) == " ".join(secrets)
    if is_async:
        asyncio.run(read_by_trigger())
    else:
        SynapseLivyHook().get_conn()
    shown = str(secrets_masker().redact(f"Seen: {' '.join(secrets)}."))
    assert ("s3cr3t" in shown, "czNjcjN0" in shown) == (False, False)


async def read_by_trigger():
    """Read the connection as a trigger does; there is no server to poll."""
    async with SynapseLivyHook().watch(SPARK_SESSION, 12) as watch:
        with contextlib.suppress(SynapseLivyError):
            await watch.poll()


def secrets_masker():
    """Return what masks secrets in the log of a task, wherever this Airflow has it."""
    names = ("airflow.sdk._shared.secrets_masker", "airflow.sdk.execution_time.secrets_masker")
    for name in (*names, "airflow.utils.log.secrets_masker"):
        with contextlib.suppress(ImportError, AttributeError):
            return importlib.import_module(name)._secrets_masker()
    raise LookupError("no masker")
