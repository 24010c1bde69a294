"""Every option of the sensor does in all modes what it does in one."""

from __future__ import annotations

import inspect
from datetime import timedelta

import pytest

from airflow_provider_synapse_livy.airflow_compat.sdk import BaseSensorOperator
from airflow_provider_synapse_livy.sensors.base import LivySensor
from airflow_provider_synapse_livy.sensors.spark_session import SynapseSparkSessionSensor
from tests.support import sample_sessions as samples
from tests.support.connections import airflow_connection
from tests.support.scripted_server import ScriptedServer, http
from tests.support.sensor_runner import MODES, run


def ok(body):
    """Return a response with a record."""
    return http(200, body)


QUEUED = ok(samples.NOT_STARTED)
READY = {"target_states": {"idle"}}
GROWING = READY | {"timeout": 6, "poke_interval": 0.2}
SETTLING = [QUEUED, *[ok(samples.settling("error"))] * 2, ok(samples.CANCELLED_IN_QUEUE)]

# Each option: what the polls show, other options, the option's value; then how the task ends without it, and with it.
OPTIONS = {
    "session_id": ([QUEUED, ok(samples.IDLE)], READY, "None", "success", "up_for_retry"),
    "spark_pool_name": ([QUEUED, ok(samples.IDLE)], READY, "..", "success", "up_for_retry"),
    "livy_api_version": ([QUEUED, ok(samples.IDLE)], READY, "..", "success", "up_for_retry"),
    "synapse_livy_conn_id": ([QUEUED, ok(samples.IDLE)], READY, "nowhere", "success", "up_for_retry"),
    "target_states": ([QUEUED, ok(samples.IDLE), ok(samples.KILLED)], {}, "idle", "failed", "success"),
    "accepted_results": ([QUEUED, ok(samples.KILLED)], {}, "Cancelled", "failed", "success"),
    "accept_idle_timeout": ([QUEUED, ok(samples.IDLED_OUT)], {}, True, "failed", "success"),
    "settle_timeout": (SETTLING, {"accepted_results": "Cancelled"}, 0, "success", "failed"),
    "timeout": ([QUEUED] * 30 + [ok(samples.IDLE)], READY, timedelta(seconds=0.1), "success", "failed"),
    "soft_fail": ([QUEUED, ok(samples.KILLED)], {}, True, "failed", "skipped"),
    "never_fail": ([QUEUED, http(404)], {}, True, "up_for_retry", "skipped"),
    "silent_fail": ([QUEUED, http(404), ok(samples.IDLE)], READY, True, "up_for_retry", "success"),
    "poke_interval": ([QUEUED] * 3 + [ok(samples.IDLE)], READY | {"timeout": 3}, 2.5, "success", "failed"),
    # In six seconds an interval that grows from 0.2 makes six polls, and one that stays as it is thirty, or on a
    # busy machine at least the nine that it takes.
    "exponential_backoff": ([QUEUED] * 8 + [ok(samples.IDLE)], GROWING, True, "success", "failed"),
    "max_wait": (
        [QUEUED] * 8 + [ok(samples.IDLE)],
        GROWING | {"exponential_backoff": True},
        0.01,
        "failed",
        "success",
    ),
}

#: Options that choose where the wait happens, and must not change how it ends.
PLACES = {"deferrable", "mode", "start_from_trigger", "end_from_trigger"}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("script", "others", "value", "without", "with_it"), OPTIONS.values(), ids=OPTIONS)
def test_option_changes_the_outcome_in_every_mode(monkeypatch, request, script, others, value, without, with_it, mode):
    """An option that changes how a wait ends does so in every mode."""
    option = request.node.callspec.id.split("-")[0]
    outcomes = []
    for options in (others, others | {option: value}):
        with ScriptedServer(*script) as server:
            monkeypatch.setenv("AIRFLOW_CONN_SYNAPSE_LIVY_DEFAULT", airflow_connection(server.url))
            outcomes.append(run(mode, **options).state)
    assert outcomes == [without, with_it]


def test_every_option_is_tried():
    """No option of the sensor's, or of Airflow's sensors, is left out above."""
    classes = (SynapseSparkSessionSensor, LivySensor, BaseSensorOperator)
    options = {name for one in classes for name in inspect.signature(one).parameters}
    assert set(OPTIONS) | PLACES == options - {"kwargs"}
