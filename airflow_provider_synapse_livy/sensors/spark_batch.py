"""The sensor that waits for a Spark batch job of Azure Synapse."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_synapse_livy.exceptions import SparkBatchJobEndedError, SparkBatchJobTimeoutError
from airflow_provider_synapse_livy.hooks.synapse_livy import SynapseLivyHook
from airflow_provider_synapse_livy.links import SPARK_SESSION_LINKS
from airflow_provider_synapse_livy.operators.waiting import in_one_order
from airflow_provider_synapse_livy.sensors.base import LivySensor
from airflow_provider_synapse_livy.triggers.spark_batch import SynapseSparkBatchTrigger

if TYPE_CHECKING:
    from airflow_provider_synapse_livy.airflow_compat.sdk import BaseOperatorLink

__all__ = ["SynapseSparkBatchSensor"]


class SynapseSparkBatchSensor(LivySensor):
    """
    Wait for the end of a Spark batch job of Azure Synapse, which is a success if its result is an accepted one.

    The outcome is the same in poke, reschedule and deferrable mode. The task returns the job, and so pushes it to XCom,
    as a dict under the names of the documentation page; it is there as well when the task fails.

    The sensor never cancels the job.

    Source: `Spark Batch - Get Spark Batch Job
    <https://learn.microsoft.com/rest/api/synapse/data-plane/spark-batch/get-spark-batch-job>`__

    :param batch_id: the job's id in the pool, from 0 up: a number, digits, or a job's dict (templated).
    :param spark_pool_name: the Spark pool; None for the one that the job's dict names, or the connection's (templated).
    :param accepted_results: with which results the end is a success: any of ``Succeeded``, ``Failed`` and ``Cancelled``
        (templated).
    :param synapse_livy_conn_id: the id of the Airflow connection to the workspace (templated).
    :param kwargs: the other parameters are those of ``SynapseSparkSessionSensor``, but for what it waits for.
    :raises SparkBatchJobEndedError: if the job ended in another way.
    :raises SparkBatchJobTimeoutError: if the sensor's ``timeout`` passed first.
    :raises SynapseLivyError: if the job can't be read. The kinds are in
        :mod:`airflow_provider_synapse_livy.exceptions`.
    """

    trigger_class = SynapseSparkBatchTrigger
    failed_error = SparkBatchJobEndedError
    timeout_error = SparkBatchJobTimeoutError

    template_fields: Sequence[str] = (
        "batch_id",
        "spark_pool_name",
        "accepted_results",
        "livy_api_version",
        "synapse_livy_conn_id",
    )
    operator_extra_links: Collection[BaseOperatorLink] = SPARK_SESSION_LINKS

    def __init__(
        self,
        *,
        batch_id: Any,
        accepted_results: Collection[str] = ("Succeeded",),
        synapse_livy_conn_id: str = SynapseLivyHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(synapse_livy_conn_id=synapse_livy_conn_id, **kwargs)
        self.batch_id = batch_id
        self.accepted_results = in_one_order(accepted_results)
        self._check_constants()
        self._prepare_start_from_trigger()
