"""What is waited for in a batch job, and what a record means for the wait."""

from __future__ import annotations

import pytest

from airflow_provider_synapse_livy.livy.errors import SynapseLivyConfigurationError
from airflow_provider_synapse_livy.livy.responses import Snapshot
from airflow_provider_synapse_livy.models import SparkBatchJob
from airflow_provider_synapse_livy.waiting.batch_goal import BatchGoal
from airflow_provider_synapse_livy.waiting.goals import Verdict
from airflow_provider_synapse_livy.waiting.messages import describe_failure, describe_timeout
from airflow_provider_synapse_livy.waiting.operator_goals import EndedBatchGoal, RunGoal
from tests.support import sample_batches as samples

PENDING, SUCCESS, FAILURE, TIMEOUT = Verdict

END = BatchGoal.validated("Succeeded")
ANY_END = BatchGoal.validated(["succeeded", "FAILED", " Cancelled "])
ENDED = EndedBatchGoal(frozenset())

VERDICTS = [
    # what was seen, then the verdict of a wait for success, and for any end, and the same once it has settled
    ("not started", samples.NOT_STARTED, (PENDING, PENDING), (PENDING, PENDING)),
    ("starting", samples.STARTING, (PENDING, PENDING), (PENDING, PENDING)),
    ("running", samples.RUNNING, (PENDING, PENDING), (PENDING, PENDING)),
    ("plain", samples.PLAIN, (PENDING, PENDING), (PENDING, PENDING)),
    ("unknown names", samples.BATCHES["unknown names"], (PENDING, PENDING), (PENDING, PENDING)),
    ("success, no result", samples.SETTLING, (PENDING, PENDING), (FAILURE, FAILURE)),
    ("success, not closed", samples.NOT_CLOSED, (PENDING, PENDING), (SUCCESS, SUCCESS)),
    ("succeeded", samples.SUCCEEDED, (SUCCESS, SUCCESS), (SUCCESS, SUCCESS)),
    ("dead, no result", samples.SETTLING | {"state": "dead"}, (PENDING, PENDING), (FAILURE, FAILURE)),
    ("failed", samples.FAILED, (FAILURE, SUCCESS), (FAILURE, SUCCESS)),
    ("success, but failed", samples.SUCCEEDED | {"result": "Failed"}, (FAILURE, SUCCESS), (FAILURE, SUCCESS)),
    ("killed", samples.KILLED, (FAILURE, SUCCESS), (FAILURE, SUCCESS)),
    ("cancelled in queue", samples.CANCELLED_IN_QUEUE, (FAILURE, SUCCESS), (FAILURE, SUCCESS)),
]


@pytest.mark.parametrize(("body", "now", "settled"), [row[1:] for row in VERDICTS], ids=[row[0] for row in VERDICTS])
def test_verdicts(body, now, settled):
    """Success needs Synapse's own word, and Livy's state alone is never enough."""
    job = SparkBatchJob.from_dict(body)
    assert tuple(goal.evaluate(job) for goal in (END, ANY_END)) == now
    assert tuple(goal.evaluate(job, settled=True) for goal in (END, ANY_END)) == settled


def test_cancelled_job_has_ended_however_that_was():
    """Who has cancelled a job needs no result of it."""
    assert ENDED.evaluate(SparkBatchJob.from_dict(samples.SETTLING), settled=True) is SUCCESS
    assert ENDED.evaluate(SparkBatchJob.from_dict(samples.RUNNING), settled=True) is PENDING


@pytest.mark.parametrize("wrong", ["Success", ["Uncertain"], [], None])
def test_misspelt_results_are_refused(wrong):
    """A result that does not exist would be waited for in vain, so it is refused."""
    with pytest.raises(SynapseLivyConfigurationError, match="^accepted_results"):
        BatchGoal.validated(wrong)


ADD = "To treat this as success, add '{}' to accepted_results."
SEE = "see the details below and in Synapse Studio."
WORDS = [
    (END, samples.FAILED, "failed.", f"{SEE} {ADD.format('Failed')}"),
    (RunGoal(frozenset()), samples.FAILED, "failed.", SEE),
    (END, samples.KILLED, "was cancelled.", f"find out who cancelled it. {ADD.format('Cancelled')}"),
    (
        END,
        samples.SETTLING,
        "ended without a known result.",
        "check what it has written before you run it again: it may have succeeded.",
    ),
]


@pytest.mark.parametrize(("goal", "body", "ending", "fix"), WORDS)
def test_failure_in_words(goal, body, ending, fix):
    """The first line says how the job ended, the second what to do; errors, the log's tail and durations follow."""
    lines = describe_failure(Snapshot(SparkBatchJob.from_dict(body), "a-b"), goal).split("\n")
    assert lines[:2] == [f"Spark batch job 12 in pool etl {ending}", f"Fix: {fix}"]
    assert lines[-1] == "Activity id: a-b"
    if body is samples.FAILED:
        assert "Error: Dependency: LIVY_JOB_FAILED: Job failed during run time with state=[dead]." in lines
        assert "  No YARN application is found with tag livy-batch-0-7v8dgkxr in 300 seconds." in lines
        assert lines[-2].endswith("starting 25 s, running 24 s, in all 1 min 11 s.")


def test_timeouts_in_words():
    """A wait that ran out of time says what to raise; one for the end of a cancelled job, that it may cost money."""
    snapshot = Snapshot(SparkBatchJob.from_dict(samples.RUNNING), "a-b")
    assert "Fix: raise timeout if it only needs more time.\nIt is running." in describe_timeout(
        snapshot, END, "timeout", 9
    )
    assert "it may still cost money" in describe_timeout(snapshot, ENDED, "timeout", 9)
