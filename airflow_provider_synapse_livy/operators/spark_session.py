"""The operators that create, read and cancel a Spark session of Azure Synapse."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_synapse_livy.airflow_compat.openlineage import (
    injects_parent_job_info,
    injects_transport_info,
    with_openlineage,
)
from airflow_provider_synapse_livy.airflow_compat.sdk import BaseOperator
from airflow_provider_synapse_livy.airflow_compat.task_state import is_later_try
from airflow_provider_synapse_livy.airflow_compat.versions import mask_secret
from airflow_provider_synapse_livy.exceptions import (
    SparkSessionCancellationError,
    SparkSessionCreationError,
    SparkSessionNotFoundError,
)
from airflow_provider_synapse_livy.hooks.synapse_livy import SynapseLivyHook
from airflow_provider_synapse_livy.links import SPARK_SESSION_LINKS, push_links
from airflow_provider_synapse_livy.livy.options import SparkSessionOptions
from airflow_provider_synapse_livy.livy.secrets import masked, secrets_in, without_secrets
from airflow_provider_synapse_livy.operators.owning import OwningOperator
from airflow_provider_synapse_livy.operators.waiting import WaitingOperator
from airflow_provider_synapse_livy.triggers.spark_session import SynapseSparkSessionTrigger
from airflow_provider_synapse_livy.waiting.operator_goals import EndedGoal, ReadyGoal

if TYPE_CHECKING:
    from airflow_provider_synapse_livy.airflow_compat.sdk import BaseOperatorLink, Context
    from airflow_provider_synapse_livy.models import SparkSession

__all__ = [
    "SynapseCancelSparkSessionOperator",
    "SynapseCreateSparkSessionOperator",
    "SynapseGetSparkSessionOperator",
]

#: What a session is created with, by the names of parameters.
_OPTIONS = tuple(SparkSessionOptions.model_fields)

#: The templated parameters of all operators that wait.
_WAIT_FIELDS = ("spark_pool_name", "poll_interval", "timeout", "livy_api_version", "synapse_livy_conn_id")


class SynapseGetSparkSessionOperator(BaseOperator):
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

    template_fields: Sequence[str] = ("session_id", "spark_pool_name", "livy_api_version", "synapse_livy_conn_id")
    operator_extra_links: Collection[BaseOperatorLink] = SPARK_SESSION_LINKS
    ui_color = "#d6e9f5"

    def __init__(
        self,
        *,
        session_id: Any,
        spark_pool_name: str | None = None,
        detailed: bool = True,
        livy_api_version: str | None = None,
        synapse_livy_conn_id: str = SynapseLivyHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.session_id = session_id
        self.spark_pool_name = spark_pool_name
        self.detailed = detailed
        self.livy_api_version = livy_api_version
        self.synapse_livy_conn_id = synapse_livy_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        """
        Return the session.

        :param context: Airflow's context of the task.
        """
        hook = SynapseLivyHook(
            self.synapse_livy_conn_id,
            spark_pool_name=self.spark_pool_name,
            livy_api_version=self.livy_api_version,
        )
        links: dict[str, str] = {}
        try:
            session = hook.get_spark_session(self.session_id, detailed=self.detailed)
            links = hook.links(session)
        finally:
            push_links(context, links)
        self.log.info("%s is %s.", session, session.state)
        return without_secrets(session.to_dict())


class SynapseCreateSparkSessionOperator(OwningOperator):
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
    failed_error = SparkSessionCreationError
    timeout_error = SparkSessionCreationError

    target_states = ("idle",)
    accepted_results = ("Succeeded",)
    accept_idle_timeout = False
    #: The id of the session, once it is known.
    session_id: int | None = None
    #: The rendered ``conf``, and what Airflow is shown of it.
    _settings: Any = None
    _shown_settings: Any = None

    template_fields: Sequence[str] = (*_OPTIONS, *_WAIT_FIELDS)
    template_fields_renderers: ClassVar[dict[str, str]] = {"conf": "json", "tags": "json"}
    operator_extra_links: Collection[BaseOperatorLink] = SPARK_SESSION_LINKS
    ui_color = "#d6f5d9"

    def __init__(
        self,
        *,
        driver_memory: str,
        driver_cores: int | str,
        executor_memory: str,
        executor_cores: int | str,
        num_executors: int | str,
        name: str | None = None,
        conf: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        jars: Sequence[str] | None = None,
        py_files: Sequence[str] | None = None,
        files: Sequence[str] | None = None,
        archives: Sequence[str] | None = None,
        artifact_id: str | None = None,
        wait_for_ready: bool = True,
        poll_interval: timedelta | float = 10.0,
        timeout: timedelta | float = 3600.0,
        openlineage_inject_parent_job_info: bool = injects_parent_job_info(),
        openlineage_inject_transport_info: bool = injects_transport_info(),
        **kwargs: Any,
    ) -> None:
        super().__init__(poll_interval=poll_interval, timeout=timeout, **kwargs)
        self.driver_memory = driver_memory
        self.driver_cores = driver_cores
        self.executor_memory = executor_memory
        self.executor_cores = executor_cores
        self.num_executors = num_executors
        self.name = name
        self.conf = conf
        self.tags = tags
        self.jars = jars
        self.py_files = py_files
        self.files = files
        self.archives = archives
        self.artifact_id = artifact_id
        self.wait_for_ready = wait_for_ready
        self.openlineage_inject_parent_job_info = openlineage_inject_parent_job_info
        self.openlineage_inject_transport_info = openlineage_inject_transport_info

    @property
    def _waits(self) -> bool:
        return self.wait_for_ready

    @property
    def _goal(self) -> ReadyGoal:
        return ReadyGoal(frozenset(self.target_states), frozenset(self.accepted_results), self.accept_idle_timeout)

    def _do_render_template_fields(self, *args: Any, **kwargs: Any) -> None:
        """
        Render the templates, of a mapped task as well, and show Airflow no value of ``conf`` that looks like a secret.

        Airflow 3.0 logs what it is shown and keeps it in its database, of what it has been told to mask regardless.
        """
        try:
            super()._do_render_template_fields(*args, **kwargs)
        finally:
            self._mask_secrets(self.conf)
            if isinstance(self.conf, Mapping):
                if self.conf != self._shown_settings:  # else they are rendered for the second time
                    self._settings, self._shown_settings = self.conf, masked(self.conf)
                self.conf = self._shown_settings

    def _mask_secrets(self, settings: Any) -> None:
        for secret in secrets_in(settings) if isinstance(settings, Mapping) else ():
            mask_secret(secret)

    def _body(self, context: Context) -> dict[str, Any]:
        options = {name: getattr(self, name) for name in _OPTIONS} | {"name": self.name or _default_name(context)}
        options["conf"] = self.conf if self._settings is None else self._settings
        settings = SparkSessionOptions.validated(**options).conf
        with_lineage = with_openlineage(
            settings or {},
            context,
            parent_job=self.openlineage_inject_parent_job_info,
            transport=self.openlineage_inject_transport_info,
        )
        self._mask_secrets(with_lineage)
        checked = SparkSessionOptions.validated(**options | {"conf": with_lineage or None})
        self.log.info(
            "Creating a session: driver %s cores, %s; %s executors of %s cores, %s.",
            checked.driver_cores,
            checked.driver_memory,
            checked.num_executors,
            checked.executor_cores,
            checked.executor_memory,
        )
        return checked.to_body()


class SynapseCancelSparkSessionOperator(WaitingOperator):
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

    template_fields: Sequence[str] = ("session_id", *_WAIT_FIELDS)
    operator_extra_links: Collection[BaseOperatorLink] = SPARK_SESSION_LINKS
    ui_color = "#f5dcd6"

    def __init__(
        self,
        *,
        session_id: Any,
        wait_for_termination: bool = True,
        poll_interval: timedelta | float = 10.0,
        timeout: timedelta | float = 600.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(poll_interval=poll_interval, timeout=timeout, **kwargs)
        self.session_id = session_id
        self.wait_for_termination = wait_for_termination

    def execute(self, context: Context) -> dict[str, Any] | None:
        """
        Cancel the session.

        :param context: Airflow's context of the task.
        """
        if self.session_id in (None, "", "None"):
            self.log.info("There is no session to cancel: none was created.")
            return None
        with self._leaving_links(context), self._gone_is_a_success():
            record = self._hook.get_spark_session(self.session_id)
            if _is_another(record, self.session_id):
                self.log.info("%s is another one by now: the pool was made anew. Nothing is cancelled.", record)
                return None
            self._show_links(context, self._hook.links(record))
            if record.is_finished and not record.is_settling:
                self.log.info("%s has ended already.", record)
                return without_secrets(record.to_dict())
            # A cancellation was seen to have no effect, so a later try sends it again.
            if not record.is_finished and (is_later_try(context) or not record.is_cancelling):
                self._hook.cancel_spark_session(self.session_id)
                self.log.info("Cancelled %s, which was %s.", record, record.phase)
            return self._wait(context) if self.wait_for_termination else without_secrets(record.to_dict())
        return None

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """
        Go on after a deferral: a session that is gone by then has ended.

        :param next_method: the method to go on with.
        :param next_kwargs: what to call it with.
        :param context: Airflow's context of the task.
        """
        with self._gone_is_a_success():
            return super().resume_execution(next_method, next_kwargs, context)
        return None

    @property
    def _goal(self) -> EndedGoal:
        return EndedGoal(None, frozenset(self.accepted_results), self.accept_idle_timeout)

    @contextmanager
    def _gone_is_a_success(self) -> Iterator[None]:
        try:
            yield
        except SparkSessionNotFoundError as error:
            self.log.info("%s. There is nothing to cancel.", error.event)


def _is_another(session: SparkSession, given: Any) -> bool:
    """
    Return whether a session is another one than its dict describes: a pool that is made anew counts ids from 0.

    :param session: the session that has the id now.
    :param given: what was given as its id: it tells more than the id if it is a session's dict.
    """
    before = given.get("schedulerInfo") if isinstance(given, Mapping) else None
    submitted = before.get("submittedAt") if isinstance(before, Mapping) else None
    now = session.scheduler_info.submitted_at if session.scheduler_info else None
    return bool(submitted and now) and submitted != now


def _default_name(context: Context) -> str:
    task_instance: Any = context.get("ti")
    names = (getattr(task_instance, name, None) for name in ("dag_id", "task_id"))
    return re.sub(r"[^A-Za-z0-9_-]", "_", "-".join(filter(None, names))) or "airflow"
