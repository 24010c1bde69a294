"""What a trigger makes of its parameters, before any request."""

from __future__ import annotations

import time

import pytest

from airflow_provider_synapse_livy.polling.polls import MAX_ATTEMPT_SECONDS
from airflow_provider_synapse_livy.triggers.base import BACKSTOP
from airflow_provider_synapse_livy.triggers.spark_session import SynapseSparkSessionTrigger


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
    wait = trigger(first_poll_at=time.time() + first_poll_at)._new_wait()
    assert wait.next_delay == pytest.approx(delay, abs=2)


def test_backstop_is_later_than_any_attempt():
    """Airflow's own limit comes after the last attempt, however long the connection's timeout is."""
    assert BACKSTOP.total_seconds() > MAX_ATTEMPT_SECONDS


def test_waits_share_a_logger():
    """All waits log with one logger: one for each would be most of what a wait takes in a triggerer."""
    assert trigger()._new_wait().log is trigger()._new_wait().log is SynapseSparkSessionTrigger.logger()
