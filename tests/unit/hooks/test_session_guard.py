"""How long a session that has ended is waited for to tell how."""

from __future__ import annotations

import logging

import pytest

from airflow_provider_synapse_livy.exceptions import SparkStatementLostError
from airflow_provider_synapse_livy.hooks.session_guard import SessionGuard, Settling
from airflow_provider_synapse_livy.livy.responses import Snapshot
from airflow_provider_synapse_livy.models import SparkSession
from airflow_provider_synapse_livy.waiting.goals import Verdict
from tests.support import sample_sessions as samples

SETTLING = SparkSession.from_dict(samples.settling("dead"))


def guard(timeout):
    """Return a guard of a session whose result never comes."""
    log = logging.getLogger(__name__)
    return SessionGuard(lambda: Snapshot(SETTLING, None), "Statement 0", log, settle_timeout=timeout)


def test_result_that_never_comes():
    """A session that has ended without a result ends the wait for its code, with what is known."""
    with pytest.raises(SparkStatementLostError, match="^Statement 0: its session failed before it was done"):
        guard(0.0).poll(lambda: Verdict.PENDING)


def test_result_that_may_come():
    """The result of a session that has just ended is waited for."""
    waiting = guard(1000.0)
    assert not waiting.is_settling
    assert waiting.poll(lambda: Verdict.PENDING) is Verdict.PENDING
    assert waiting.is_settling


def test_session_that_lives_again():
    """A session that turns out to live is waited for anew when it ends."""
    settling = Settling(1000.0)
    assert not settling.has_ended(SETTLING)
    assert not settling.has_ended(SparkSession.from_dict(samples.IDLE))
    assert settling.since is None
    assert settling.has_ended(SparkSession.from_dict(samples.DEAD))
