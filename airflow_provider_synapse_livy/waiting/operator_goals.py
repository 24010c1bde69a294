"""What operators wait for in Spark sessions and batch jobs: as sensors do, with remedies of their own."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_provider_synapse_livy.models import SparkBatchJob, SparkJob
from airflow_provider_synapse_livy.waiting.batch_goal import BatchGoal
from airflow_provider_synapse_livy.waiting.goals import SessionGoal

__all__ = ["EndedBatchGoal", "EndedGoal", "ReadyGoal", "RunGoal"]


class _OfCreator:
    """What a task waits for that has created the job: no parameter of it would accept another end."""

    __slots__ = ()

    def _accepting(self, record: SparkJob) -> str | None:  # noqa: ARG002
        return None


class _OfCanceller:
    """What a task waits for that has cancelled the job: more time would not help."""

    __slots__ = ()

    def timeout_hint(self, record: SparkJob, option: str) -> str:  # noqa: ARG002
        """
        Return what to do about a job that does not end.

        :param record: the job as it was last seen.
        :param option: the task's option that limits the wait.
        """
        return "cancel it in Synapse Studio, or ask Azure's support: it may still cost money."


@dataclass(frozen=True, slots=True)
class ReadyGoal(_OfCreator, SessionGoal):
    """That a session which the task has created is ready."""


@dataclass(frozen=True, slots=True)
class EndedGoal(_OfCanceller, SessionGoal):
    """That a session which was cancelled has ended."""


@dataclass(frozen=True, slots=True)
class RunGoal(_OfCreator, BatchGoal):
    """That a batch job which the task has created has run without an error."""


@dataclass(frozen=True, slots=True)
class EndedBatchGoal(_OfCanceller, BatchGoal):
    """That a batch job which was cancelled has ended, however that was."""

    def _accepts(self, record: SparkBatchJob) -> bool:
        return record.is_finished
