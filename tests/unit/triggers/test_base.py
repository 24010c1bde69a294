"""What a trigger makes of its parameters, before any request."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace

import pytest

from airflow_provider_synapse_livy.airflow_compat.sdk import TaskDeferred
from airflow_provider_synapse_livy.livy.resources import SPARK_SESSION
from airflow_provider_synapse_livy.polling.poller import Poller, PollerKey
from airflow_provider_synapse_livy.sensors.spark_session import SynapseSparkSessionSensor
from airflow_provider_synapse_livy.triggers.spark_session import SynapseSparkSessionTrigger
from tests.support.connections import connection


def trigger(**changes):
    """Return a trigger to which a task has deferred."""
    options = {"timeout": 7200, "poke_interval": 3600}
    fields = {
        "session_id": 12,
        "target_states": ["idle"],
        "accepted_results": ["Succeeded"],
        "accept_idle_timeout": False,
        "synapse_livy_conn_id": "synapse_livy_default",
        "spark_pool_name": None,
        "livy_api_version": None,
        "deadline": time.time() + 7200,
        "options": options,
    }
    return SynapseSparkSessionTrigger(**fields | changes)


def test_serialized_parameters_make_the_same_trigger():
    """What another triggerer gets makes a trigger with the same parameters."""
    _, fields = trigger(
        history=[("queued", 1.0)], links={"Spark UI": "https://web.example"}, first_poll_at=5.0
    ).serialize()
    again = SynapseSparkSessionTrigger(**fields)
    assert again.serialize()[1] == fields


@pytest.mark.parametrize(
    ("first_poll_at", "delay"),
    [
        pytest.param(600, 600, id="the first triggerer"),
        pytest.param(-600, 3000, id="restarted ten minutes after the first poll"),
        pytest.param(-3600 - 600, 3000, id="restarted ten minutes after the second poll"),
        pytest.param(-3599, 5, id="restarted right before a poll"),
    ],
)
def test_restart_delays_no_poll(first_poll_at, delay):
    """After a restart of the triggerer the next poll is made when it was due, not a whole interval later."""
    now = 1_000_000.0
    wait = SimpleNamespace(now=lambda: now, options=SimpleNamespace(poke_interval=3600))
    assert trigger(first_poll_at=now + first_poll_at)._delay_of_first_poll(wait) == delay


def test_wait_begins_with_the_delay_of_its_first_poll():
    """A wait that goes on after a deferral polls when the task said, and at its deadline at the latest."""
    assert 5 < trigger(first_poll_at=time.time() + 600)._new_wait().next_delay <= 600
    assert trigger(first_poll_at=time.time() + 600, deadline=time.time() - 1)._new_wait().next_delay == 0


@pytest.mark.parametrize("timeout", [1, 30, 75, 76, 3600, 86_400])
def test_backstop_is_later_than_any_attempt(timeout):
    """Airflow's own limit comes after the last attempt, whatever timeout a connection may have."""

    async def longest_attempt():
        livy_connection = connection(extra={"tenantId": "t", "timeout": timeout})
        poller = Poller(PollerKey(livy_connection, livy_connection.pool("etl"), SPARK_SESSION, ()))
        await poller.close()
        return poller._schedule._max_attempt_seconds

    last_attempt = asyncio.run(longest_attempt())
    assert last_attempt >= min(4 * timeout, 240)  # a connection and a response each, for the token and the request
    # The attempt begins at the deadline at the latest, and there is a minute to spare for the event to arrive.
    assert _deferral_timeout(deadline_in=0) >= last_attempt + 60


def _deferral_timeout(deadline_in):
    """Return after how many seconds Airflow ends the deferral of a task whose deadline is in so many."""
    sensor = SynapseSparkSessionSensor(task_id="wait", session_id=12, deferrable=True, timeout=deadline_in)
    wait = sensor._new_wait(time.time())
    with pytest.raises(TaskDeferred) as deferred:
        sensor._defer(wait)
    return deferred.value.timeout.total_seconds()


def test_waits_share_a_logger():
    """All waits log with one logger: one for each would be most of what a wait takes in a triggerer."""
    assert trigger()._new_wait().log is trigger()._new_wait().log is SynapseSparkSessionTrigger.logger()
