"""The operators that run, read and cancel a Spark batch job of Azure Synapse."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, ClassVar

from airflow_provider_synapse_livy.exceptions import SparkBatchJobCancellationError, SparkBatchJobFailedError
from airflow_provider_synapse_livy.livy.options import SparkBatchJobOptions, SparkJobOptions
from airflow_provider_synapse_livy.operators.spark_jobs import (
    READ_FIELDS,
    WAIT_FIELDS,
    CancelJobOperator,
    CreateJobOperator,
    GetJobOperator,
)
from airflow_provider_synapse_livy.operators.waiting import in_one_order
from airflow_provider_synapse_livy.triggers.spark_batch import SynapseSparkBatchTrigger
from airflow_provider_synapse_livy.waiting.operator_goals import EndedBatchGoal, RunGoal

__all__ = ["SynapseCancelSparkBatchOperator", "SynapseGetSparkBatchOperator", "SynapseRunSparkBatchOperator"]


class SynapseGetSparkBatchOperator(GetJobOperator):
    """
    Read a Spark batch job of Azure Synapse and push it to XCom.

    The XCom is a dict under the names of the documentation page; ``SparkBatchJob.from_dict`` returns the typed job that
    it describes.

    Source: `Spark Batch - Get Spark Batch Job
    <https://learn.microsoft.com/rest/api/synapse/data-plane/spark-batch/get-spark-batch-job>`__

    :param batch_id: the job's id in the pool, from 0 up: a number, digits, or a job's dict, which may name the pool as
        well (templated).
    :param spark_pool_name: the Spark pool; None for the connection's (templated).
    :param detailed: whether to ask for everything; otherwise the response has little but id, application, state
        and log: no result.
    :param livy_api_version: the version of the Livy API; None for the connection's (templated).
    :param synapse_livy_conn_id: the id of the Airflow connection to the workspace (templated).
    :raises SynapseLivyError: if it can't be read. The kinds are in
        :mod:`airflow_provider_synapse_livy.exceptions`.
    """

    trigger_class = SynapseSparkBatchTrigger

    template_fields: Sequence[str] = ("batch_id", *READ_FIELDS)

    def __init__(self, *, batch_id: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.batch_id = batch_id


class SynapseRunSparkBatchOperator(CreateJobOperator):
    """
    Run a program as a Spark batch job of Azure Synapse, and wait until it has ended.

    It is a success only if Synapse says that it has ``Succeeded``. The task returns the job, a dict under the names of
    the documentation page; as soon as the job exists, its id is in the XCom ``batch_id``.

    One run of the task has one job, whatever is lost: its name and tags carry a key of the task, by which a later try
    finds it again. What has succeeded meanwhile is not run again; what has failed is, by a retry. A job that the task
    does not wait for to its end, since the task failed, was killed or timed out, is cancelled by the task itself.

    Source: `Spark Batch - Create Spark Batch Job
    <https://learn.microsoft.com/rest/api/synapse/data-plane/spark-batch/create-spark-batch-job>`__

    All parameters are templated but ``wait_for_completion``, ``deferrable``, ``cancel_on_kill`` and OpenLineage's.

    :param file: the address of the program: a jar, or a ``.py`` file.
    :param class_name: the jar's main class.
    :param args: the program's arguments. They are in the UI and in XCom: pass secrets in ``conf``, or let the program
        read them from a vault.
    :param wait_for_completion: whether to wait until the job has ended; otherwise the task hands on a job that is just
        being started.
    :param poll_interval: seconds, or how long, between two polls.
    :param timeout: seconds, or how long, to wait until the job has ended; then it is cancelled.
    :param kwargs: the other parameters are those of ``SynapseCreateSparkSessionOperator``: the five sizes, which are
        asked for, ``name``, ``conf``, ``tags``, ``jars``, ``py_files``, ``files``, ``archives``, ``artifact_id``, and
        how to wait.
    :raises SparkBatchJobFailedError: if the job failed, was cancelled, or had not ended in time.
    :raises SynapseLivyError: if it can't be created or read. The kinds are in
        :mod:`airflow_provider_synapse_livy.exceptions`.
    """

    trigger_class = SynapseSparkBatchTrigger
    options_class: ClassVar[type[SparkJobOptions]] = SparkBatchJobOptions
    failed_error = SparkBatchJobFailedError
    timeout_error = SparkBatchJobFailedError

    accepted_results = ("Succeeded",)
    #: The id of the job, once it is known.
    batch_id: int | None = None

    template_fields: Sequence[str] = (*SparkBatchJobOptions.model_fields, *WAIT_FIELDS)
    template_fields_renderers: ClassVar[dict[str, str]] = {
        **CreateJobOperator.template_fields_renderers,
        "args": "json",
    }

    def __init__(
        self,
        *,
        file: str,
        class_name: str | None = None,
        args: Sequence[Any] | None = None,
        wait_for_completion: bool = True,
        poll_interval: timedelta | float = 30.0,
        timeout: timedelta | float = 24 * 3600.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(poll_interval=poll_interval, timeout=timeout, **kwargs)
        self.file = file
        self.class_name = class_name
        self.args = in_one_order(args)
        self.wait_for_completion = wait_for_completion

    @property
    def _waits(self) -> bool:
        return self.wait_for_completion

    @property
    def _goal(self) -> RunGoal:
        return RunGoal(frozenset(self.accepted_results))


class SynapseCancelSparkBatchOperator(CancelJobOperator):
    """
    Cancel a Spark batch job of Azure Synapse, and wait until it has ended.

    A job that has ended, is gone, or was never created is a success, and cancelling twice does no harm. Only the job
    that the task is told by its id is cancelled. The task returns the job as it ended.

    Source: `Spark Batch - Cancel Spark Batch Job
    <https://learn.microsoft.com/rest/api/synapse/data-plane/spark-batch/cancel-spark-batch-job>`__

    All parameters are templated but ``wait_for_termination`` and ``deferrable``.

    :param batch_id: the job's id in the pool: a number, digits, or the job's dict, such as the output of the task that
        created it, which names the pool as well. None for a job that was never created.
    :param spark_pool_name: the Spark pool; None for the one that the job's dict names, or the connection's.
    :param wait_for_termination: whether to wait until the job has ended.
    :param poll_interval: seconds, or how long, between two polls.
    :param timeout: seconds, or how long, to wait until the job has ended.
    :param deferrable: whether to wait in the triggerer, without a worker's slot; Airflow's
        ``[operators] default_deferrable`` by default.
    :param livy_api_version: the version of the Livy API; None for the connection's.
    :param synapse_livy_conn_id: the id of the Airflow connection to the workspace.
    :raises SparkBatchJobCancellationError: if the job has not ended in time; it may still cost money.
    :raises SynapseLivyError: if it can't be cancelled or read. The kinds are in
        :mod:`airflow_provider_synapse_livy.exceptions`.
    """

    trigger_class = SynapseSparkBatchTrigger
    failed_error = SparkBatchJobCancellationError
    timeout_error = SparkBatchJobCancellationError

    accepted_results = ("Succeeded", "Failed", "Cancelled")

    template_fields: Sequence[str] = ("batch_id", *WAIT_FIELDS)

    def __init__(self, *, batch_id: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.batch_id = batch_id

    @property
    def _goal(self) -> EndedBatchGoal:
        return EndedBatchGoal(frozenset(self.accepted_results))
