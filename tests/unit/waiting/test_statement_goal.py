"""When the wait for a statement is over, and what is said then."""

from __future__ import annotations

import pytest

from airflow_provider_synapse_livy.livy.errors import (
    SparkSessionNotFoundError,
    SparkStatementNotFoundError,
    SynapseLivyResponseError,
    SynapseLivyUnavailableError,
)
from airflow_provider_synapse_livy.livy.responses import Snapshot
from airflow_provider_synapse_livy.models import SparkSession, SparkStatement
from airflow_provider_synapse_livy.waiting.goals import Verdict
from airflow_provider_synapse_livy.waiting.lost_statement import describe_loss, is_lost, is_unlistable, may_mean_loss
from airflow_provider_synapse_livy.waiting.messages import describe_failure, describe_timeout
from airflow_provider_synapse_livy.waiting.statement_goal import StatementGoal
from tests.support import sample_sessions
from tests.support import sample_statements as samples

GOAL = StatementGoal()


@pytest.mark.parametrize(("record", "has_succeeded", "ending"), samples.RECORDED.values(), ids=samples.RECORDED)
def test_verdict(record, has_succeeded, ending):
    """There is no success without proof; an output that is missing is waited for, until it has settled."""
    statement = SparkStatement.from_dict(record)
    verdict = Verdict.SUCCESS if has_succeeded else Verdict.FAILURE
    assert GOAL.evaluate(statement, settled=True) is verdict
    assert GOAL.evaluate(statement) is (Verdict.PENDING if "without" in ending else verdict)


@pytest.mark.parametrize("record", samples.RUNNING, ids=lambda record: record["state"])
def test_what_runs_is_waited_for(record):
    """A statement that has not ended is waited for, in an unknown state too."""
    assert GOAL.evaluate(SparkStatement.from_dict(record), settled=True) is Verdict.PENDING


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("error", "correct the code"),
        ("cancelled in Python", "find out who cancelled it"),
        ("no output", "check what the code has written"),
        ("unknown status", "check what the code has written"),
    ],
)
def test_failure_in_words(name, fix):
    """A failure names the statement and its error in the first line, and what to do about it in the second."""
    record, _, ending = samples.RECORDED[name]
    first, second, *_ = describe_failure(Snapshot(SparkStatement.from_dict(record), None), GOAL).split("\n")
    assert first == f"Statement 0 {ending}."
    assert second.startswith(f"Fix: {fix}")


@pytest.mark.parametrize(("state", "fix"), [("waiting", "waits for its turn"), ("running", "only needs more time")])
def test_timeout_in_words(state, fix):
    """A timeout says whether the code ran at all."""
    snapshot = Snapshot(SparkStatement.from_dict(samples.statement(state)), None)
    words = describe_timeout(snapshot, GOAL, "timeout", 60.0)
    assert words.startswith("Statement 0 had not ended within the task's timeout of 1 min.")
    assert fix in words


@pytest.mark.parametrize(
    ("error", "is_loss"),
    [
        (SparkStatementNotFoundError("x"), True),
        (SparkSessionNotFoundError("x"), True),
        (SynapseLivyResponseError("x", status=400), True),
        (SynapseLivyResponseError("x", status=200), False),
        (SynapseLivyUnavailableError("x", status=500), True),
        (SynapseLivyUnavailableError("x", status=503), False),
        (SynapseLivyUnavailableError("x"), False),
        (None, False),
    ],
)
def test_what_may_mean_a_loss(error, is_loss):
    """Livy answers 400, and later 404, for a statement of a session that has ended, and 500 for an odd output."""
    assert may_mean_loss(error) is is_loss


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (SynapseLivyUnavailableError("x", status=500), True),
        (SynapseLivyResponseError("x", status=200), True),
        (SynapseLivyUnavailableError("x", status=503), False),
        (SynapseLivyUnavailableError("x"), False),
        (SynapseLivyResponseError("x", status=400), False),
    ],
)
def test_list_that_never_comes(error, expected):
    """A list is a 500 for good if one output can't be encoded, and too long to read if there is too much of them."""
    assert is_unlistable(error) is expected


def test_loss_in_words():
    """The loss is told with the session's own failure, and says that the code may have run."""
    words = describe_loss(
        "Statement 3 of Spark session 12", Snapshot(SparkSession.from_dict(sample_sessions.DEAD), None)
    )
    first, second, *rest = words.split("\n")
    assert first == "Statement 3 of Spark session 12: its session failed before it was done."
    assert second == "Fix: check what the code has written before you run it again: it may have run."
    assert any("LIVY_JOB_STATE_DEAD" in line for line in rest)
    assert describe_loss("Statement 3", None).startswith("Statement 3 is gone, and with it what came of it.")
    error = SynapseLivyUnavailableError("Statement 3: Synapse answered 500.\nFix: wait.", status=500)
    words = describe_loss("Statement 3", Snapshot(SparkSession.from_dict(sample_sessions.IDLE), None), error)
    assert words.startswith("Statement 3 can't be read, and its session can.\nFix: check what the code has written")
    assert words.endswith("Statement 3: Synapse answered 500.\nFix: wait.")


@pytest.mark.parametrize(
    ("error", "session", "lost"),
    [
        (SparkStatementNotFoundError("x"), None, True),
        (SparkSessionNotFoundError("x"), None, False),
        (SynapseLivyResponseError("x", status=400), sample_sessions.IDLE, False),
        (SynapseLivyResponseError("x", status=400), sample_sessions.DEAD, True),
        (SynapseLivyUnavailableError("x", status=500), sample_sessions.IDLE, True),
        (SynapseLivyUnavailableError("x", status=500), None, False),
    ],
)
def test_what_is_lost(error, session, lost):
    """Code is lost with its session, if it is forgotten, or if it alone can't be read; not if nothing can be read."""
    snapshot = Snapshot(SparkSession.from_dict(session), None) if session else None
    assert is_lost(error, snapshot) is lost
