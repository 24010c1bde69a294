"""Outputs that are large, odd or can't be read break nothing, on a worker and deferred alike."""

from __future__ import annotations

import json

import pytest
from aiohttp import web

from airflow_provider_synapse_livy.emulator import SynapseEmulator
from airflow_provider_synapse_livy.emulator.faults import Faults
from airflow_provider_synapse_livy.exceptions import SparkStatementLostError
from airflow_provider_synapse_livy.hooks.synapse_livy import SynapseLivyHook
from airflow_provider_synapse_livy.sensors.spark_statement import SynapseSparkStatementSensor
from tests.support import sample_statements as samples

MEGABYTES = 5_000_000


@pytest.fixture
def synapse(connect, short_pauses):
    """Return a local Synapse with an idle session."""
    with SynapseEmulator(time_scale=0.01) as emulator:
        connect(emulator.airflow_connection("etl"))
        emulator.create_session("etl", age=100)
        yield emulator


def test_megabytes(synapse, run_code, caplog, capsys):
    """Five megabytes of output are read, cut for XCom, and their beginning alone is in the log."""
    synapse.answer_statement(contains="x", output=samples.ok("y" * MEGABYTES), seconds=1)
    caplog.set_level("INFO")
    text = run_code("x")["output"]["data"]["text/plain"]
    assert text == "y" * 48_000 + f"\n... ({MEGABYTES - 48_000} more characters)"
    log = caplog.text + capsys.readouterr().out
    assert "y" * 10_000 + f"\n... ({MEGABYTES - 10_000} more characters)" in log
    assert "y" * 10_001 not in log


def test_megabytes_of_an_error(synapse, run_code):
    """An error of five megabytes is told with its beginning, and the lines of its traceback with theirs."""
    error = samples.error("ValueError", "y" * MEGABYTES, samples.HEAD, "z" * MEGABYTES + "\n")
    synapse.answer_statement(contains="x", output=error, seconds=1)
    with pytest.raises(Exception, match=r"^Statement 0 failed with ValueError: y{40}\.\.\.\.\n") as caught:
        run_code("x")
    assert len(str(caught.value)) < 4_000


def test_numbers_that_airflow_can_not_store(synapse, run_code):
    """NaN, infinity and integers of more than 64 bits come as text, smaller ones as numbers."""
    table = {"headers": [], "data": [[float("nan"), float("-inf"), 2**53 + 1, 10**37]]}
    synapse.answer_statement(contains="x", output=samples.ok(table, "application/vnd.livy.table.v1+json"))
    data = run_code("x")["output"]["data"]["application/vnd.livy.table.v1+json"]["data"]
    assert data == [["NaN", "-Infinity", 2**53 + 1, str(10**37)]]


class UnencodableOutput(Faults):
    """The service can't encode the output, so it answers for the statement with a page of Jetty's."""

    def before_work(self, request, rate_limit):
        """Answer what asks for statements."""
        if request.method == "GET" and "/statements" in request.path:
            return web.Response(text="<html><title>Error 500</title></html>", status=500, content_type="text/html")
        return None


def test_output_that_can_not_be_encoded(synapse, run_code):
    """A statement that can't be read while its session can is lost, with the reason, and the task is not retried."""
    synapse.server.faults = UnencodableOutput()
    with pytest.raises(SparkStatementLostError, match=r"^Statement 0 of Spark session 0 can't be read") as caught:
        run_code("x", timeout=1.0)
    assert "Fix: check what the code has written before you run it again" in str(caught.value)
    assert "Synapse answered 500" in str(caught.value)


def test_sensor_that_ends_in_the_triggerer(synapse, caplog, capsys):
    """What a sensor leaves that ends in the triggerer is bounded as well, which the log says."""
    synapse.answer_statement(contains="x", output=samples.ok("y" * 100))
    SynapseLivyHook().create_spark_statement(0, "x")
    sensor = SynapseSparkStatementSensor(task_id="wait", session_id=0, statement_id=0, output_limit=10)
    trigger = sensor.trigger_class(**sensor._trigger_kwargs())
    assert trigger.serialize()[1]["output_limit"] == 10
    kept = trigger._xcom(SynapseLivyHook().get_spark_statement(0, 0).model_copy())
    assert len(json.dumps(kept)) < 1000
    assert "The output is cut to 10 characters (output_limit)." in caplog.text + capsys.readouterr().out


def test_hook_waits(synapse):
    """The hook's method runs code and returns it with its whole output."""
    synapse.answer_statement(contains="x", output=samples.ok("y" * 100_000), seconds=10)
    assert SynapseLivyHook().run_spark_statement(0, "x", poll_interval=0.1).text == "y" * 100_000
