"""What operators wait for in a Spark session: as sensors do, with remedies of their own."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_provider_synapse_livy.models import SparkSession
from airflow_provider_synapse_livy.waiting.goals import SessionGoal

__all__ = ["EndedGoal", "ReadyGoal"]


@dataclass(frozen=True, slots=True)
class ReadyGoal(SessionGoal):
    """That a session which the task has created is ready."""

    def _accepting(self, session: SparkSession) -> str | None:  # noqa: ARG002  (no parameter would accept it)
        return None


@dataclass(frozen=True, slots=True)
class EndedGoal(SessionGoal):
    """That a session which was cancelled has ended."""

    def timeout_hint(self, record: SparkSession, option: str) -> str:  # noqa: ARG002  (more time would not help)
        """
        Return what to do about a session that does not end.

        :param record: the session as it was last seen.
        :param option: the task's option that limits the wait.
        """
        return "cancel it in Synapse Studio, or ask Azure's support: it may still cost money."
