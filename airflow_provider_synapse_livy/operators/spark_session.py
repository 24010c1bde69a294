"""The operators that create, read and cancel a Spark session of Azure Synapse."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, ClassVar

from airflow_provider_synapse_livy.exceptions import SparkSessionCancellationError, SparkSessionCreationError
from airflow_provider_synapse_livy.livy.options import SparkJobOptions, SparkSessionOptions
from airflow_provider_synapse_livy.operators.spark_jobs import (
    READ_FIELDS,
    WAIT_FIELDS,
    CancelJobOperator,
    CreateJobOperator,
    GetJobOperator,
)
from airflow_provider_synapse_livy.triggers.spark_session import SynapseSparkSessionTrigger
from airflow_provider_synapse_livy.waiting.operator_goals import EndedGoal, ReadyGoal

__all__ = [
    "SynapseCancelSparkSessionOperator",
    "SynapseCreateSparkSessionOperator",
    "SynapseGetSparkSessionOperator",
]


class SynapseGetSparkSessionOperator(GetJobOperator):
    """
    Read a Livy Spark session of Azure Synapse and push it to XCom.

    The XCom is a dict under the names of the documentation page; ``SparkSession.from_dict`` returns the typed session
    that it describes.

    Source: `Spark Session - Get Spark Session
    <https://learn.microsoft.com/rest/api/synapse/data-plane/spark-session/get-spark-session>`__

    :param session_id: the session's id in the pool, from 0 up: a number, digits, or a session's dict, which may name
        the pool as well (templated).
    :param spark_pool_name: the Spark pool; None for the connection's (templated).
    :param detailed: whether to ask for everything; otherwise the response has little but id, application, state
        and log.
    :param livy_api_version: the version of the Livy API; None for the connection's (templated).
    :param synapse_livy_conn_id: the id of the Airflow connection to the workspace (templated).
    :raises SynapseLivyError: if it can't be read. The kinds are in
        :mod:`airflow_provider_synapse_livy.exceptions`.
    """

    trigger_class = SynapseSparkSessionTrigger

    template_fields: Sequence[str] = ("session_id", *READ_FIELDS)

    def __init__(self, *, session_id: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.session_id = session_id


class SynapseCreateSparkSessionOperator(CreateJobOperator):
    """
    Create a Livy Spark session of Azure Synapse, wait until it is ready, and hand it on.

    The task returns the session, a dict under the names of the documentation page, that the other tasks take as their
    ``session_id``; as soon as the session exists, its id is in the XCom ``session_id``. Cancel it in the end with
    :class:`SynapseCancelSparkSessionOperator`, as a teardown.

    One run of the task has one session, whatever is lost: its name and tags carry a key of the task, by which a later
    try finds it again. A session that the task could not hand on, since it failed, was killed or timed out, is
    cancelled by the task itself.

    Source: `Spark Session - Create Spark Session
    <https://learn.microsoft.com/rest/api/synapse/data-plane/spark-session/create-spark-session>`__

    All parameters are templated but ``wait_for_ready``, ``deferrable``, ``cancel_on_kill`` and OpenLineage's.

    :param driver_memory: the driver's memory, such as ``28g``.
    :param driver_cores: the driver's cores.
    :param executor_memory: the memory of each executor, such as ``28g``.
    :param executor_cores: the cores of each executor.
    :param num_executors: how many executors.
    :param name: the session's name, to which the task's key is added; None for one of DAG and task.
    :param spark_pool_name: the Spark pool; None for the connection's.
    :param conf: Spark's settings, texts by their names. They are not logged, and what looks like a secret is masked.
    :param tags: tags of the session, texts by their names.
    :param jars: the addresses of jar files in storage.
    :param py_files: the addresses of Python files in storage.
    :param files: the addresses of other files in storage.
    :param archives: the addresses of archives in storage.
    :param artifact_id: the Synapse artifact that the session belongs to.
    :param wait_for_ready: whether to wait until the session is idle; otherwise the task hands on a session that is
        just being started.
    :param poll_interval: seconds, or how long, between two polls.
    :param timeout: seconds, or how long, to wait until the session is ready; then it is cancelled.
    :param deferrable: whether to wait in the triggerer, without a worker's slot; Airflow's
        ``[operators] default_deferrable`` by default.
    :param cancel_on_kill: whether to cancel the session, too, if the task is killed, or if a user marks or clears it
        while it waits.
    :param livy_api_version: the version of the Livy API; None for the connection's.
    :param synapse_livy_conn_id: the id of the Airflow connection to the workspace.
    :param openlineage_inject_parent_job_info: whether to tell Spark's OpenLineage listener of this task; Airflow's
        ``[openlineage] spark_inject_parent_job_info`` by default.
    :param openlineage_inject_transport_info: whether to tell it where to send its events; Airflow's
        ``[openlineage] spark_inject_transport_info`` by default.
    :raises SparkSessionCreationError: if the session ended before it was ready, or was not ready in time.
    :raises SynapseLivyError: if it can't be created or read. The kinds are in
        :mod:`airflow_provider_synapse_livy.exceptions`.
    """

    trigger_class = SynapseSparkSessionTrigger
    options_class: ClassVar[type[SparkJobOptions]] = SparkSessionOptions
    failed_error = SparkSessionCreationError
    timeout_error = SparkSessionCreationError

    target_states = ("idle",)
    accepted_results = ("Succeeded",)
    accept_idle_timeout = False
    #: The id of the session, once it is known.
    session_id: int | None = None

    template_fields: Sequence[str] = (*SparkSessionOptions.model_fields, *WAIT_FIELDS)

    def __init__(
        self,
        *,
        wait_for_ready: bool = True,
        poll_interval: timedelta | float = 10.0,
        timeout: timedelta | float = 3600.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(poll_interval=poll_interval, timeout=timeout, **kwargs)
        self.wait_for_ready = wait_for_ready

    @property
    def _waits(self) -> bool:
        return self.wait_for_ready

    @property
    def _goal(self) -> ReadyGoal:
        return ReadyGoal(frozenset(self.target_states), frozenset(self.accepted_results), self.accept_idle_timeout)


class SynapseCancelSparkSessionOperator(CancelJobOperator):
    """
    Cancel a Livy Spark session of Azure Synapse, and wait until it has ended. Made for ``.as_teardown(setups=create)``.

    A session that has ended, is gone, or was never created is a success, and cancelling twice does no harm. Only the
    session that the task is told by its id is cancelled. The task returns the session as it ended.

    Source: `Spark Session - Cancel Spark Session
    <https://learn.microsoft.com/rest/api/synapse/data-plane/spark-session/cancel-spark-session>`__

    All parameters are templated but ``wait_for_termination`` and ``deferrable``.

    :param session_id: the session's id in the pool: a number, digits, or the session's dict, such as the output of the
        task that created it, which names the pool as well. None for a session that was never created.
    :param spark_pool_name: the Spark pool; None for the one that the session's dict names, or the connection's.
    :param wait_for_termination: whether to wait until the session has ended, which takes about half a minute.
    :param poll_interval: seconds, or how long, between two polls.
    :param timeout: seconds, or how long, to wait until the session has ended.
    :param deferrable: whether to wait in the triggerer, without a worker's slot; Airflow's
        ``[operators] default_deferrable`` by default.
    :param livy_api_version: the version of the Livy API; None for the connection's.
    :param synapse_livy_conn_id: the id of the Airflow connection to the workspace.
    :raises SparkSessionCancellationError: if the session has not ended in time; it may still cost money.
    :raises SynapseLivyError: if it can't be cancelled or read. The kinds are in
        :mod:`airflow_provider_synapse_livy.exceptions`.
    """

    trigger_class = SynapseSparkSessionTrigger
    failed_error = SparkSessionCancellationError
    timeout_error = SparkSessionCancellationError

    target_states = None
    accepted_results = ("Succeeded", "Failed", "Cancelled")
    accept_idle_timeout = True

    template_fields: Sequence[str] = ("session_id", *WAIT_FIELDS)

    def __init__(self, *, session_id: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.session_id = session_id

    @property
    def _goal(self) -> EndedGoal:
        return EndedGoal(None, frozenset(self.accepted_results), self.accept_idle_timeout)
