"""What is waited for in a batch job: its end, with Synapse's own word for how it was."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache

from airflow_provider_synapse_livy.models import SparkBatchJob
from airflow_provider_synapse_livy.waiting.goals import JobGoal, accepted, result_to_add

__all__ = ["BatchGoal"]


@dataclass(frozen=True, slots=True)
class BatchGoal(JobGoal[SparkBatchJob]):
    """
    The end of a batch job.

    Livy's state alone is no proof: a job that is never said to have ended as ``Succeeded`` has not.

    :param accepted_results: with which results the end is a success.
    """

    accepted_results: frozenset[str]

    @classmethod
    def validated(cls, accepted_results: Collection[str]) -> BatchGoal:
        """
        Return the goal that a task was given.

        :param accepted_results: the results to accept; one may stand alone.
        :raises SynapseLivyConfigurationError: if there is no such result.
        """
        return _shared_goal(accepted(accepted_results))

    def _accepts(self, record: SparkBatchJob) -> bool:
        return record.result in self.accepted_results

    def _remedy(self, record: SparkBatchJob) -> str:
        return "" if record.is_proved else "check what it has written before you run it again: it may have succeeded."

    def _accepting(self, record: SparkBatchJob) -> str | None:
        return result_to_add(record) if record.is_proved else None


#: Equal goals are made once: a triggerer may hold thousands of waits for the same.
_shared_goal = lru_cache(BatchGoal)
