"""What is waited for in a statement: that its code has run, with proof that it did so without an error."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_provider_synapse_livy.models import LivyStatementState, SparkStatement
from airflow_provider_synapse_livy.waiting.goals import Verdict

__all__ = ["STAYS_BUSY", "StatementGoal"]

#: What is logged of a statement that is cancelled, but for its code.
STAYS_BUSY = (
    "%s is cancelled, but its code runs on: Python between two Spark jobs can't be interrupted. "
    "The session stays busy until it has ended."
)


@dataclass(frozen=True, slots=True)
class StatementGoal:
    """That the code has run. There is one kind of success: ``available``, with an output whose status is ``ok``."""

    def evaluate(self, record: SparkStatement, *, settled: bool = False) -> Verdict:
        """
        Return whether the wait is over. An unknown state waits, and an output that does not come is no success.

        :param record: the statement as it was last seen.
        :param settled: whether to take an end as it stands though there is no output.
        """
        if record.has_succeeded:
            return Verdict.SUCCESS
        if not record.is_finished or (record.is_settling and not settled):
            return Verdict.PENDING
        return Verdict.FAILURE

    def describe(self) -> str:
        """Return what is waited for, in words that follow "has"."""
        return "ended"

    def hint(self, record: SparkStatement) -> str:
        """
        Return what to do about an end that is no success.

        :param record: the statement that ended.
        """
        if record.state == LivyStatementState.CANCELLED:
            return "find out who cancelled it. Python between two Spark jobs may still run."
        if record.is_settling:
            return "check what the code has written before you run it again: it may have run."
        return "correct the code: the error and the end of its traceback are below."

    def timeout_hint(self, record: SparkStatement, option: str) -> str:
        """
        Return what to do about a wait that ran out of time.

        :param record: the statement as it was last seen.
        :param option: the task's option that limits the wait.
        """
        if record.state == LivyStatementState.WAITING:
            return f"raise {option}, or use another session: the code waits for its turn."
        return f"raise {option} if it only needs more time."

    def advice(self) -> str:
        """Return what those should know who wait for a statement: nothing."""
        return ""
