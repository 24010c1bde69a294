"""The trigger that waits for a Spark batch job of Azure Synapse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow_provider_synapse_livy.livy.resources import SPARK_BATCH
from airflow_provider_synapse_livy.triggers.base import LivyTrigger
from airflow_provider_synapse_livy.waiting.batch_goal import BatchGoal

__all__ = ["SynapseSparkBatchTrigger"]


class SynapseSparkBatchTrigger(LivyTrigger):
    """
    Wait for the end of a Spark batch job, and end with one event that says how the wait ended.

    The other parameters are those of :class:`~airflow_provider_synapse_livy.triggers.base.LivyTrigger`.

    :param batch_id: the job's id.
    :param accepted_results: with which results the end is a success.
    """

    resource = SPARK_BATCH
    id_fields = ("batch_id",)
    goal_fields = ("accepted_results",)

    def __init__(self, *, batch_id: int, accepted_results: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.batch_id = batch_id
        self.accepted_results = accepted_results

    @classmethod
    def goal(cls, **fields: Any) -> BatchGoal:
        """
        Return the goal that the parameters describe.

        :param fields: ``accepted_results``.
        :raises SynapseLivyConfigurationError: if there is no such result.
        """
        return BatchGoal.validated(**fields)
