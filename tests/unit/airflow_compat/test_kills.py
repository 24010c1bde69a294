"""Whether a user has ended a deferred task, and not a triggerer that stops or lost its trigger to another one."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from airflow_provider_synapse_livy.airflow_compat import kills

INSTANCE = SimpleNamespace(dag_id="dag", run_id="run", task_id="task", map_index=-1)


def ended(monkeypatch, state, return_value=None):
    """Return what is found out about a task that Airflow says to be in a state, with that return value."""
    monkeypatch.setattr(kills, "_state_of", lambda _: state)
    monkeypatch.setattr(kills, "XCom", SimpleNamespace(get_one=lambda **_: return_value))
    return asyncio.run(kills.was_ended_by_user(INSTANCE))


@pytest.mark.parametrize("state", ["failed", "skipped", "removed", "None"])
def test_marked_or_cleared(monkeypatch, state):
    """A task that was marked or cleared was ended by a user."""
    assert ended(monkeypatch, state)


@pytest.mark.parametrize("state", ["deferred", "scheduled", "queued", "running", "up_for_retry"])
def test_triggerer_that_stops_or_is_replaced(monkeypatch, state):
    """A task that is still deferred, or goes on, was not: another triggerer has its trigger, or has sent its event."""
    assert not ended(monkeypatch, state)


@pytest.mark.parametrize(("return_value", "by_user"), [(None, True), ({"id": 0}, False)])
def test_success(monkeypatch, return_value, by_user):
    """A success that has handed something on is the task's own; one that has not was marked."""
    assert ended(monkeypatch, "success", return_value) is by_user


def test_what_cannot_be_found_out(monkeypatch):
    """If Airflow does not tell, nothing was ended: a session that lives costs less than one that is lost."""
    monkeypatch.setattr(kills, "_state_of", lambda _: 1 / 0)
    assert not asyncio.run(kills.was_ended_by_user(INSTANCE))
