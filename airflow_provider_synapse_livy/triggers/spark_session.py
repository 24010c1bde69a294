"""The trigger that waits for a Spark session of Azure Synapse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from airflow_provider_synapse_livy.livy.resources import SPARK_SESSION, Resource
from airflow_provider_synapse_livy.models import SparkSession
from airflow_provider_synapse_livy.triggers.base import LivyTrigger
from airflow_provider_synapse_livy.waiting.goals import SessionGoal

__all__ = ["SynapseSparkSessionTrigger"]


class SynapseSparkSessionTrigger(LivyTrigger):
    """
    Wait for a Spark session, and end with one event that says how the wait ended.

    The other parameters are those of :class:`~airflow_provider_synapse_livy.triggers.base.LivyTrigger`.

    :param session_id: the session's id.
    :param target_states: the Livy states to wait for; None to wait for the end.
    :param accepted_results: with which results the end is a success.
    :param accept_idle_timeout: whether an end by idle timeout is a success, too.
    """

    resource: ClassVar[Resource[SparkSession]] = SPARK_SESSION
    id_fields = ("session_id",)
    goal_fields = ("target_states", "accepted_results", "accept_idle_timeout")

    def __init__(
        self,
        *,
        session_id: int,
        target_states: Sequence[str] | None,
        accepted_results: Sequence[str],
        accept_idle_timeout: bool,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.session_id = session_id
        self.target_states = target_states
        self.accepted_results = accepted_results
        self.accept_idle_timeout = accept_idle_timeout

    @classmethod
    def goal(cls, **fields: Any) -> SessionGoal:
        """
        Return the goal that the parameters describe.

        :param fields: ``target_states``, ``accepted_results`` and ``accept_idle_timeout``.
        :raises SynapseLivyConfigurationError: if there is no such state or result.
        """
        return SessionGoal.validated(**fields)
