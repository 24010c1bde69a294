"""What the operators of Spark sessions and batch jobs share: how one is created, read and cancelled."""

from __future__ import annotations

import re
import time
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
from airflow_provider_synapse_livy.hooks.synapse_livy import SynapseLivyHook
from airflow_provider_synapse_livy.links import SPARK_SESSION_LINKS, push_links
from airflow_provider_synapse_livy.livy.options import SparkJobOptions
from airflow_provider_synapse_livy.livy.secrets import masked, secrets_in, without_secrets
from airflow_provider_synapse_livy.operators.owning import OwningOperator
from airflow_provider_synapse_livy.operators.waiting import WaitingOperator, in_one_order, seconds_until
from airflow_provider_synapse_livy.triggers.base import LivyTrigger
from airflow_provider_synapse_livy.waiting.goals import Verdict

if TYPE_CHECKING:
    from airflow_provider_synapse_livy.airflow_compat.sdk import BaseOperatorLink, Context
    from airflow_provider_synapse_livy.livy.responses import Snapshot
    from airflow_provider_synapse_livy.models import SparkJob

__all__ = ["READ_FIELDS", "WAIT_FIELDS", "CancelJobOperator", "CreateJobOperator", "GetJobOperator", "is_another"]

#: The templated parameters of all operators, and of those that wait.
READ_FIELDS = ("spark_pool_name", "livy_api_version", "synapse_livy_conn_id")
WAIT_FIELDS = ("spark_pool_name", "poll_interval", "timeout", "livy_api_version", "synapse_livy_conn_id")


class GetJobOperator(BaseOperator):
    """
    Read a session or a batch job, and push it to XCom.

    :param spark_pool_name: the Spark pool; None for the connection's.
    :param detailed: whether to ask for everything.
    :param livy_api_version: the version of the Livy API; None for the connection's.
    :param synapse_livy_conn_id: the id of the Airflow connection to the workspace.
    """

    #: The trigger that waits for what is read, which names it and its id.
    trigger_class: ClassVar[type[LivyTrigger]]

    operator_extra_links: Collection[BaseOperatorLink] = SPARK_SESSION_LINKS
    ui_color = "#d6e9f5"

    def __init__(
        self,
        *,
        spark_pool_name: str | None = None,
        detailed: bool = True,
        livy_api_version: str | None = None,
        synapse_livy_conn_id: str = SynapseLivyHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.spark_pool_name = spark_pool_name
        self.detailed = detailed
        self.livy_api_version = livy_api_version
        self.synapse_livy_conn_id = synapse_livy_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        """
        Return the record.

        :param context: Airflow's context of the task.
        """
        hook = SynapseLivyHook(
            self.synapse_livy_conn_id,
            spark_pool_name=self.spark_pool_name,
            livy_api_version=self.livy_api_version,
        )
        record_id = getattr(self, self.trigger_class.id_fields[-1])
        links: dict[str, str] = {}
        try:
            record: SparkJob = hook.read(self.trigger_class.resource, record_id, detailed=self.detailed).record
            links = hook.links(record)
        finally:
            push_links(context, links)
        self.log.info("%s is %s.", record, record.state)
        return without_secrets(record.to_dict())


class CreateJobOperator(OwningOperator):
    """
    Create a session or a batch job, and wait for what it is created for.

    The parameters are described at :class:`SynapseCreateSparkSessionOperator
    <airflow_provider_synapse_livy.operators.spark_session.SynapseCreateSparkSessionOperator>`.
    """

    #: What it is created with.
    options_class: ClassVar[type[SparkJobOptions]]

    #: The rendered ``conf``, and what Airflow is shown of it.
    _settings: Any = None
    _shown_settings: Any = None

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
        conf: Mapping[str, Any] | None = None,
        tags: Mapping[str, Any] | None = None,
        jars: Sequence[str] | None = None,
        py_files: Sequence[str] | None = None,
        files: Sequence[str] | None = None,
        archives: Sequence[str] | None = None,
        artifact_id: str | None = None,
        openlineage_inject_parent_job_info: bool = injects_parent_job_info(),
        openlineage_inject_transport_info: bool = injects_transport_info(),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.driver_memory = driver_memory
        self.driver_cores = driver_cores
        self.executor_memory = executor_memory
        self.executor_cores = executor_cores
        self.num_executors = num_executors
        self.name = name
        self.conf = conf
        self.tags = tags
        self.jars = in_one_order(jars)
        self.py_files = in_one_order(py_files)
        self.files = in_one_order(files)
        self.archives = in_one_order(archives)
        self.artifact_id = artifact_id
        self.openlineage_inject_parent_job_info = openlineage_inject_parent_job_info
        self.openlineage_inject_transport_info = openlineage_inject_transport_info

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
        kind = self.options_class
        options = {name: getattr(self, name) for name in kind.model_fields}
        options["name"] = self.name or _default_name(context)
        options["conf"] = self.conf if self._settings is None else self._settings
        settings = kind.validated(**options).conf
        with_lineage = with_openlineage(
            settings or {},
            context,
            parent_job=self.openlineage_inject_parent_job_info,
            transport=self.openlineage_inject_transport_info,
        )
        self._mask_secrets(with_lineage)
        checked = kind.validated(**options | {"conf": with_lineage or None})
        self.log.info(
            "Creating a %s: driver %s cores, %s; %s executors of %s cores, %s.",
            kind.noun,
            checked.driver_cores,
            checked.driver_memory,
            checked.num_executors,
            checked.executor_cores,
            checked.executor_memory,
        )
        return checked.to_body()


class CancelJobOperator(WaitingOperator):
    """
    Cancel a session or a batch job, and wait until it has ended.

    The other parameters are those of :class:`~airflow_provider_synapse_livy.operators.waiting.WaitingOperator`.

    :param wait_for_termination: whether to wait until it has ended.
    """

    operator_extra_links: Collection[BaseOperatorLink] = SPARK_SESSION_LINKS
    ui_color = "#f5dcd6"

    def __init__(
        self,
        *,
        wait_for_termination: bool = True,
        poll_interval: timedelta | float = 10.0,
        timeout: timedelta | float = 600.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(poll_interval=poll_interval, timeout=timeout, **kwargs)
        self.wait_for_termination = wait_for_termination

    def execute(self, context: Context) -> dict[str, Any] | None:
        """
        Cancel it.

        :param context: Airflow's context of the task.
        """
        resource, given = self.trigger_class.resource, getattr(self, self.trigger_class.id_fields[-1])
        if (given.strip() if isinstance(given, str) else given) in (None, "", "None"):
            self.log.info("There is no %s to cancel: none was created.", resource.noun)
            return None
        deadline = time.monotonic() + self._wait_options.timeout  # raises what is wrong with it before anything is sent
        with self._leaving_links(context), self._gone_is_a_success():
            record: SparkJob = self._hook.read(resource, given, longest_announced=seconds_until(deadline)).record
            if is_another(record, given):
                self.log.info("%s is another one by now: the pool was made anew. Nothing is cancelled.", record)
                return None
            self._show_links(context, self._hook.links(record))
            if record.is_finished and not record.is_settling:
                self.log.info("%s has ended already.", record)
                return without_secrets(record.to_dict())
            # A cancellation was seen to have no effect, so a later try sends it again.
            if not record.is_finished and (is_later_try(context) or not record.is_cancelling):
                self._hook.cancel(resource, given, longest_announced=seconds_until(deadline))
                self.log.info("Cancelled %s, which was %s.", record, record.phase)
            return self._wait(context) if self.wait_for_termination else without_secrets(record.to_dict())
        return None

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """
        Go on after a deferral: what is gone by then has ended.

        :param next_method: the method to go on with.
        :param next_kwargs: what to call it with.
        :param context: Airflow's context of the task.
        """
        with self._gone_is_a_success():
            return super().resume_execution(next_method, next_kwargs, context)
        return None

    def _is_proved(self, verdict: Verdict, snapshot: Snapshot[Any] | None) -> bool:
        return super()._is_proved(self._own_verdict(verdict, snapshot), snapshot)

    def _finish(self, context: Context, verdict: Verdict, snapshot: Snapshot[Any] | None) -> dict[str, Any]:
        return super()._finish(context, self._own_verdict(verdict, snapshot), snapshot)

    def _own_verdict(self, verdict: Verdict, snapshot: Snapshot[Any] | None) -> Verdict:
        """Return the verdict, on an end that the trigger did not accept as well: a canceller needs no result."""
        if snapshot is None or verdict is not Verdict.FAILURE:
            return verdict
        own = self._goal.evaluate(snapshot.record, settled=True)
        return own if own is Verdict.SUCCESS else verdict

    @contextmanager
    def _gone_is_a_success(self) -> Iterator[None]:
        given = getattr(self, self.trigger_class.id_fields[-1])
        try:
            yield
        except self.trigger_class.resource.not_found as error:
            if error.record is not None and not is_another(error.record, given):
                raise  # it is the sibling's: a batch job's instead of a session's, or the reverse
            self.log.info("%s. There is nothing to cancel.", error.event)


def is_another(job: SparkJob, given: Any) -> bool:
    """
    Return whether a job is another one than its dict describes: a pool that is made anew counts ids from 0.

    :param job: the job that has the id now.
    :param given: what was given as its id: it tells more than the id if it is a job's dict.
    """
    before = given.get("schedulerInfo") if isinstance(given, Mapping) else None
    submitted = before.get("submittedAt") if isinstance(before, Mapping) else None
    now = job.scheduler_info.submitted_at if job.scheduler_info else None
    return bool(submitted and now) and submitted != now


def _default_name(context: Context) -> str:
    task_instance: Any = context.get("ti")
    names = (getattr(task_instance, name, None) for name in ("dag_id", "task_id"))
    return re.sub(r"[^A-Za-z0-9_-]", "_", "-".join(filter(None, names))) or "airflow"
