"""The sensor that waits for a statement in a Spark session of Azure Synapse."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_synapse_livy.exceptions import SparkStatementEndedError
from airflow_provider_synapse_livy.hooks.synapse_livy import SynapseLivyHook
from airflow_provider_synapse_livy.links import SPARK_SESSION_LINKS
from airflow_provider_synapse_livy.livy.outputs import OUTPUT_LIMIT, checked_limit
from airflow_provider_synapse_livy.operators.spark_jobs import READ_FIELDS
from airflow_provider_synapse_livy.operators.statements import StatementMixin
from airflow_provider_synapse_livy.sensors.base import LivySensor

if TYPE_CHECKING:
    from airflow_provider_synapse_livy.airflow_compat.sdk import BaseOperatorLink

__all__ = ["SynapseSparkStatementSensor"]


class SynapseSparkStatementSensor(StatementMixin, LivySensor):
    """
    Wait until code has run in a Livy Spark session of Azure Synapse.

    The outcome is the same in poke, reschedule and deferrable mode: a success if the code ran without an error. The
    sensor never cancels the statement.

    Source: `Spark Session - Get Spark Statement
    <https://learn.microsoft.com/rest/api/synapse/data-plane/spark-session/get-spark-statement>`__

    :param session_id: the session's id in the pool: a number, digits, or a session's dict (templated).
    :param statement_id: the statement's id in the session, from 0 up (templated).
    :param spark_pool_name: the Spark pool; None for the one that the session's dict names, or the connection's
        (templated).
    :param output_limit: how many characters of the output go to XCom.
    :param livy_api_version: the version of the Livy API; None for the connection's (templated).
    :param synapse_livy_conn_id: the id of the Airflow connection to the workspace (templated).
    :param kwargs: the other parameters are those of ``SynapseSparkSessionSensor``, but for what it waits for.
    :raises SparkStatementEndedError: if the code failed, or was cancelled.
    :raises SparkStatementLostError: if it can't be known whether it ran.
    :raises SparkStatementTimeoutError: if the sensor's ``timeout`` passed first.
    :raises SynapseLivyError: if the statement can't be read. The kinds are in
        :mod:`airflow_provider_synapse_livy.exceptions`.
    """

    failed_error = SparkStatementEndedError

    template_fields: Sequence[str] = ("session_id", "statement_id", *READ_FIELDS)
    operator_extra_links: Collection[BaseOperatorLink] = SPARK_SESSION_LINKS

    def __init__(
        self,
        *,
        session_id: Any,
        statement_id: int | str,
        output_limit: int = OUTPUT_LIMIT,
        synapse_livy_conn_id: str = SynapseLivyHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(synapse_livy_conn_id=synapse_livy_conn_id, **kwargs)
        self.session_id = session_id
        self.statement_id = statement_id
        self.output_limit = checked_limit(output_limit)
        self._prepare_start_from_trigger()
