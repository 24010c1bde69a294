"""Failures and timeouts of a wait in words."""

from __future__ import annotations

import pytest

from airflow_provider_synapse_livy.livy.responses import Snapshot
from airflow_provider_synapse_livy.models import LivyState, SparkSession
from airflow_provider_synapse_livy.waiting.goals import SessionGoal
from airflow_provider_synapse_livy.waiting.messages import describe_failure, describe_timeout
from tests.support import sample_sessions as samples


def goal(target_states=None, accepted_results=("Succeeded",)):
    """Return the goal that a task was given."""
    return SessionGoal.validated(target_states, accepted_results, False)


def snapshot(body):
    """Return a snapshot of a session."""
    return Snapshot(SparkSession.from_dict(body), "activity-1")


TWO_ERRORS = samples.error_info("CODE_ONE", "User") + samples.error_info("CODE_TWO", "System")

FAILURES = [
    pytest.param(
        samples.DEAD | {"errorInfo": TWO_ERRORS},
        goal(),
        """\
Spark session 12 in pool etl failed.
Fix: see the details below and in Synapse Studio. To treat this as success, add 'Failed' to accepted_results.
Livy state dead, result Failed.
Error: User: CODE_ONE: Job failed during run time with state=[dead].
Error: System: CODE_TWO: Job failed during run time with state=[dead].
Application: application_1740816000000_0013
Spark UI: https://web.azuresynapse.net/sparkui/x/workspaces/ws/sparkpools/etl/sessions/12
Last lines of the driver's log:
  stdout:
  stderr:
  Something was logged
  YARN Diagnostics:
Times: queued 16 s, acquiring nodes 4 s, submitting 2.1 s, starting 33 s, in all 30 min.
Activity id: activity-1""",
        id="died",
    ),
    pytest.param(
        samples.IDLED_OUT | {"log": None, "pluginInfo": None, "appInfo": {"isSessionTimedOut": "true"}},
        goal(accepted_results={"Succeeded", "Cancelled"}),
        """\
Spark session 12 in pool etl idled out, so Synapse stopped it.
Fix: use it sooner, or create it with a longer idle timeout. To treat this as success, set accept_idle_timeout=True.
Livy state dead, result Failed.
Error: Unknown: LIVY_JOB_TIMED_OUT: Job failed during run time with state=[dead].
Application: application_1740816000000_0013
Times: queued 16 s, starting 33 s, in all 30 min.
Activity id: activity-1""",
        id="idled out",
    ),
    pytest.param(
        samples.CANCELLED_IN_QUEUE | {"schedulerInfo": None, "pluginInfo": None},
        goal({"idle", "busy"}),
        """\
Spark session 12 in pool etl was cancelled before it had been busy or idle.
Fix: find out who cancelled it. To treat this as success, add 'error' to target_states.
Livy state error, result Cancelled.
Activity id: activity-1""",
        id="cancelled before it was idle",
    ),
    pytest.param(
        {"id": 3, "state": "success", "result": "Succeeded", "sparkPoolName": "etl"},
        goal({"idle"}),
        """\
Spark session 3 in pool etl ended before it had been idle.
Fix: see the details below and in Synapse Studio. To treat this as success, add 'success' to target_states.
Livy state success, result Succeeded.
Activity id: activity-1""",
        id="succeeded before it was idle",
    ),
]


@pytest.mark.parametrize(("body", "one", "message"), FAILURES)
def test_failures(body, one, message):
    """A failure says what ended and how, what to do, and every cause and link that the service gave."""
    assert describe_failure(snapshot(body), one) == message


def test_timeout():
    """A timeout says what was waited for, for how long, what helps, and where the session stood."""
    assert describe_timeout(snapshot(samples.BUSY | {"log": None}), goal({"idle"}), "timeout", 5400.0) == (
        """\
Spark session 12 in pool etl had not been idle within the task's timeout of 1 h 30 min.
Fix: raise timeout if it only needs more time.
It is busy.
Livy state busy, result Uncertain.
Application: application_1740816000000_0013
Spark UI: https://web.azuresynapse.net/sparkui/x/workspaces/ws/sparkpools/etl/sessions/12
Times: queued 16 s, acquiring nodes 4 s, submitting 2.1 s, starting 33 s.
Activity id: activity-1"""
    )


@pytest.mark.parametrize(
    ("body", "one", "option", "seconds", "event", "fix"),
    [
        (samples.STARTING, goal(), "timeout", 0.5, "ended within the task's timeout of 0.5 s.", "raise timeout"),
        (samples.IDLE, goal(), "timeout", 0.0, "ended within the task's timeout of 0 s.", 'set target_states={"idle"}'),
        (samples.BUSY, goal(), "timeout", 9.0, "ended within the task's timeout of 9 s.", 'set target_states={"idle"}'),
        (
            samples.NOT_STARTED,
            goal({"idle"}),
            "execution_timeout",
            60.0,
            "been idle within the task's execution_timeout of 1 min.",
            "raise execution_timeout",
        ),
        (
            samples.NOT_STARTED,
            goal(set(LivyState) - {"not_started"}),
            "timeout",
            60.0,
            "been in a target state within the task's timeout of 1 min.",
            "raise timeout",
        ),
    ],
)
def test_what_helps_after_a_timeout(body, one, option, seconds, event, fix):
    """A timeout names the option that limits the wait; a session that is ready does not end by waiting longer."""
    first, second, *_ = describe_timeout(snapshot(body), one, option, seconds).splitlines()
    assert first == f"Spark session 12 in pool etl had not {event}"
    assert second.startswith(f"Fix: {fix}")


def test_timeout_without_a_snapshot():
    """A wait whose polls all failed names the session by its id, and leads to the errors in the log."""
    assert describe_timeout(None, goal(), "timeout", 60.0, "Spark session 12") == (
        "Spark session 12 could not be read once within the task's timeout of 1 min.\n"
        "Fix: see the errors above in this log."
    )
