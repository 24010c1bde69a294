"""Every option of the sensor does in all modes what it does in one."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime, timedelta

import pytest

from airflow_provider_synapse_livy.airflow_compat.sdk import BaseSensorOperator, TaskDeferred
from airflow_provider_synapse_livy.sensors.base import LivySensor
from airflow_provider_synapse_livy.sensors.spark_session import SynapseSparkSessionSensor
from airflow_provider_synapse_livy.waiting.wait import WaitOptions
from tests.support import sample_sessions as samples
from tests.support.connections import airflow_connection
from tests.support.scripted_server import ScriptedServer, http
from tests.support.sensor_runner import MODES, make_sensor, run, started_trigger
from tests.support.task_runner import made_again


def ok(body):
    """Return a response with a record."""
    return http(200, body)


QUEUED = ok(samples.NOT_STARTED)
READY = {"target_states": {"idle"}}
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
}

#: Options that say when a wait polls, and the field of :class:`WaitOptions` that each becomes; what follows from these
#: is in tests/unit/waiting/test_wait.py, where no clock decides.
TIMES = {
    "timeout": (timedelta(seconds=7), 7.0),
    "poke_interval": (timedelta(seconds=2.5), 2.5),
    "exponential_backoff": (True, True),
    "max_wait": (timedelta(seconds=9), 9.0),
    "settle_timeout": (timedelta(seconds=11), 11.0),
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


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("option", "value", "expected"), [(name, *row) for name, row in TIMES.items()], ids=TIMES)
def test_option_reaches_the_wait_in_every_mode(connect, mode, option, value, expected):
    """An option that says when to poll is the wait's own in every mode, also where that begins in another process."""
    default, changed = (getattr(wait_of(connect, mode, **options).options, option) for options in ({}, {option: value}))
    assert (default, changed) == (getattr(WaitOptions(**DEFAULTS), option), expected)


#: The options of the runner's sensor.
DEFAULTS = {"timeout": 30, "poke_interval": 0.01}


def wait_of(connect, mode, **options):
    """Return the wait of a sensor that has left the worker, if its mode says so."""
    sensor = make_sensor(mode, **READY, **options)
    if sensor.start_from_trigger:
        start = sensor.start_trigger_args
        return started_trigger(start.trigger_kwargs, sensor, datetime.now(UTC) + start.timeout)._new_wait()
    if not sensor.deferrable:
        return sensor._new_wait(0.0)
    with ScriptedServer(QUEUED) as server:
        connect(airflow_connection(server.url))
        with pytest.raises(TaskDeferred) as deferred:
            sensor.execute({})
    return made_again(deferred.value)._new_wait()


def test_every_option_is_tried():
    """No option of the sensor's, or of Airflow's sensors, is left out above."""
    classes = (SynapseSparkSessionSensor, LivySensor, BaseSensorOperator)
    options = {name for one in classes for name in inspect.signature(one).parameters}
    assert set(OPTIONS) | set(TIMES) | PLACES == options - {"kwargs"}
