"""
What Spark sessions and batch jobs share: a record says of both where they are, and how they ended, in the same words.

:mod:`airflow_provider_synapse_livy.models` has the two, and says what holds for all models.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    AfterValidator,
    Field,
    JsonValue,
    ValidationError,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from airflow_provider_synapse_livy.livy.documented import (
    NULLS_LEFT_OUT,
    Documented,
    FailFastItems,
    JsonObject,
    Lenient,
    Number,
    Text,
    Texts,
)
from airflow_provider_synapse_livy.livy.strict_json import read_json, storable

__all__ = [
    "LivyState",
    "PluginCurrentState",
    "SchedulerCurrentState",
    "SparkErrorSource",
    "SparkJob",
    "SparkJobType",
    "SparkRequest",
    "SparkScheduler",
    "SparkServiceError",
    "SparkServicePlugin",
    "SparkSessionResultType",
    "between",
]


class LivyState(StrEnum):
    """``LivyStates``: the state that Livy reports."""

    NOT_STARTED = "not_started"
    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"
    RUNNING = "running"
    RECOVERING = "recovering"
    SHUTTING_DOWN = "shutting_down"
    SUCCESS = "success"
    DEAD = "dead"
    ERROR = "error"
    KILLED = "killed"

    @property
    def is_final(self) -> bool:
        """Whether a job never leaves this state."""
        return self in _RESULT_OF_FINAL_STATE


class SparkSessionResultType(StrEnum):
    """The result that Synapse reports. While a job is running, it is always ``Uncertain``."""

    UNCERTAIN = "Uncertain"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    CANCELLED = "Cancelled"


class SparkJobType(StrEnum):
    """The kind of Spark job that a record describes."""

    SPARK_BATCH = "SparkBatch"
    SPARK_SESSION = "SparkSession"


class SparkErrorSource(StrEnum):
    """Who caused an error, as Synapse sees it."""

    SYSTEM = "System"
    USER = "User"
    UNKNOWN = "Unknown"
    DEPENDENCY = "Dependency"


class PluginCurrentState(StrEnum):
    """The step at which the Synapse plugin is, from preparing the job to cleaning up after it."""

    PREPARATION = "Preparation"
    RESOURCE_ACQUISITION = "ResourceAcquisition"
    QUEUED = "Queued"
    SUBMISSION = "Submission"
    MONITORING = "Monitoring"
    CLEANUP = "Cleanup"
    ENDED = "Ended"


class SchedulerCurrentState(StrEnum):
    """The job's state in the pool's scheduler."""

    QUEUED = "Queued"
    SCHEDULED = "Scheduled"
    ENDED = "Ended"


#: The result that a final Livy state stands for where Synapse gave none. In ``error``, only a result tells a
#: cancellation from a failure, so a result always goes first.
_RESULT_OF_FINAL_STATE: dict[str, SparkSessionResultType] = {
    LivyState.SUCCESS: SparkSessionResultType.SUCCEEDED,
    LivyState.DEAD: SparkSessionResultType.FAILED,
    LivyState.ERROR: SparkSessionResultType.FAILED,
    LivyState.KILLED: SparkSessionResultType.CANCELLED,
}

#: The results of jobs that have ended.
_FINAL_RESULTS = frozenset(_RESULT_OF_FINAL_STATE.values())

#: What a job is doing before Livy reports a state of its own, by the step of the Synapse plugin.
_PHASE_OF_PLUGIN: dict[str, str] = {
    PluginCurrentState.PREPARATION: "acquiring nodes",
    PluginCurrentState.QUEUED: "acquiring nodes",
    PluginCurrentState.RESOURCE_ACQUISITION: "acquiring nodes",
    PluginCurrentState.SUBMISSION: "submitting",
}

_ENDINGS: dict[str, str] = {
    SparkSessionResultType.CANCELLED: "was cancelled",
    SparkSessionResultType.FAILED: "failed",
}

#: Marks an enumeration that the service may extend: a known value becomes its member, any other stays a string.
_OPEN = Field(union_mode="left_to_right")


class SparkServiceError(Documented):
    """
    One entry of ``errorInfo``.

    The codes are open text and depend on a setting of the workspace: show them, never branch on them.
    """

    message: Text = None
    error_code: Text = None
    source: Lenient[SparkErrorSource | str | None] = None


class SparkRequest(Documented):
    """The request that created the job."""

    name: Text = None
    file: Text = None
    class_name: Text = None
    args: Texts = None
    jars: Texts = None
    files: Texts = None
    py_files: Texts = None
    archives: Texts = None
    conf: JsonObject = None
    driver_memory: Text = None
    driver_cores: Number = None
    executor_memory: Text = None
    executor_cores: Number = None
    num_executors: Number = None


class SparkScheduler(Documented):
    """``schedulerInfo``: when the pool's scheduler queued, started and ended the job."""

    submitted_at: Text = None
    queued_at: Text = None
    scheduled_at: Text = None
    ended_at: Text = None
    cancellation_requested_at: str | None = None
    current_state: Lenient[SchedulerCurrentState | str | None] = None


class SparkServicePlugin(Documented):
    """``pluginInfo``: when each step from preparing the job to cleaning up began."""

    preparation_started_at: Text = None
    resource_acquisition_started_at: Text = None
    submission_started_at: Text = None
    monitoring_started_at: Text = None
    cleanup_started_at: Text = None
    current_state: Lenient[PluginCurrentState | str | None] = None


def _with_flag(app_info: dict[str, JsonValue] | None) -> dict[str, JsonValue] | None:
    """Return ``appInfo`` if the flag in it that decides how a session has ended can be read."""
    flag = (app_info or {}).get("isSessionTimedOut")
    if flag is None or isinstance(flag, bool | str):
        return app_info
    problem = PydanticCustomError("flag_type", 'it should be "true" or "false"')
    error = InitErrorDetails(type=problem, loc=("isSessionTimedOut",), input=flag)
    raise ValidationError.from_exception_data("appInfo", [error])


class SparkJob(Documented):
    """
    What Livy runs on a Synapse Spark pool, as one response described it: what sessions and batch jobs have in common.

    :param id: its number in its pool; 0 is a real one. Sessions and batch jobs are numbered together.
    :param name: the name given at creation.
    :param state: the Livy state; one unknown to :class:`LivyState` stays a string and means *not finished*.
    :param result: the result; ``Uncertain`` while it is running. Absent from plain responses.
    :param app_id: the YARN application id, once there is one.
    :param app_info: links (``sparkUiUrl``, ``driverLogUrl``) and flags, which are the strings ``"true"`` and
        ``"false"``.
    :param log: the last ten or so lines of the driver's log; of a batch job, of ``spark-submit`` alone.
    :param error_info: the errors; absent unless there is one.
    :param scheduler_info: the pool scheduler's record.
    :param plugin_info: the steps from preparing it to cleaning up.
    :param workspace_name: the Synapse workspace.
    :param spark_pool_name: the Spark pool.
    :param submitter_name: who created it; absent for service principals.
    :param submitter_id: the object id of its creator.
    :param artifact_id: the Synapse artifact it belongs to.
    :param job_type: ``SparkSession``, or ``SparkBatch`` for a batch job.
    :param tags: the tags given at creation.
    """

    #: What one is called in messages.
    noun: ClassVar[str]

    id: Annotated[int, Field(strict=True, ge=0)]
    name: Text = None
    state: Annotated[LivyState | str | None, _OPEN] = None
    result: Annotated[SparkSessionResultType | str | None, _OPEN] = None
    app_id: Text = None
    app_info: Annotated[dict[str, JsonValue] | None, AfterValidator(_with_flag)] = None
    log: Texts = None
    error_info: Lenient[Annotated[tuple[SparkServiceError, ...], FailFastItems(), NULLS_LEFT_OUT] | None] = None
    scheduler_info: SparkScheduler | None = None
    plugin_info: Lenient[SparkServicePlugin | None] = None
    workspace_name: Text = None
    spark_pool_name: Text = None
    submitter_name: Text = None
    submitter_id: Text = None
    artifact_id: Text = None
    job_type: Lenient[SparkJobType | str | None] = None
    tags: JsonObject = None

    @classmethod
    def from_json(cls, body: bytes | str) -> Self:
        """
        Return the job that JSON text describes.

        :param body: the JSON text.
        :raises ValueError: if it is not JSON, or not a job of this kind.
        """
        return cls.model_validate(read_json(body.encode() if isinstance(body, str) else body))

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """
        Return the job that a dict with the documented names describes, such as an XCom of this package.

        :param fields: the dict.
        :raises ValueError: if it is not a job of this kind.
        """
        return cls.model_validate(storable(fields))

    def __str__(self) -> str:
        """Return the job's name in logs and messages."""
        pool = self.spark_pool_name
        return f"{self.noun} {self.id}" + (f" in pool {pool}" if pool and isinstance(pool, str) else "")

    def to_dict(self) -> dict[str, Any]:
        """Return a dict of JSON values: all documented names, and the unknown ones as they came."""
        return self.model_dump(mode="json", by_alias=True)

    @property
    def is_finished(self) -> bool:
        """Whether the job has ended, by its result or else by its Livy state."""
        return self.result in _FINAL_RESULTS or self.state in _RESULT_OF_FINAL_STATE

    @property
    def is_settling(self) -> bool:
        """
        Whether the job has ended for Livy, but Synapse has not reported its result yet.

        Result and ``errorInfo`` follow within about half a minute. A plain response has no result, so with it every
        finished job looks like this.
        """
        return self.is_finished and self.result not in _FINAL_RESULTS

    @property
    def is_cancelling(self) -> bool:
        """Whether the job's cancellation was requested, and it has not ended yet."""
        requested = self.scheduler_info and self.scheduler_info.cancellation_requested_at
        return bool(requested) and not self.is_finished

    @property
    def outcome(self) -> SparkSessionResultType | None:
        """
        The result of a finished job, None for one that is running.

        Synapse's result decides, so ``error``/``Cancelled`` is a cancellation. Without a final result the Livy state
        stands for one, which may still change while the job :attr:`is_settling`.
        """
        if self.result in _FINAL_RESULTS:
            return SparkSessionResultType(self.result)
        return _RESULT_OF_FINAL_STATE.get(self.state or "")

    @property
    def phase(self) -> str:
        """What the job is doing, a little finer than its Livy state: queued, acquiring nodes, idle, ..."""
        if self.is_finished:
            return f"{self.state} ({'result pending' if self.is_settling else self.result})"
        if self.is_cancelling:
            return "being cancelled"
        if self.state == LivyState.NOT_STARTED:
            return self._phase_before_livy()
        return str(self.state) if self.state in set(LivyState) else f"{self.state} (unknown, waiting on)"

    def _phase_before_livy(self) -> str:
        scheduler = self.scheduler_info and self.scheduler_info.current_state
        if scheduler != SchedulerCurrentState.SCHEDULED:
            return "queued"
        return _PHASE_OF_PLUGIN.get(str(self._plugin.current_state), "starting")

    @property
    def ending(self) -> str:
        """How the job ended, in words that follow its name."""
        return _ENDINGS.get(self.outcome or "", "ended")

    def durations(self) -> dict[str, timedelta]:
        """Return how long each phase took that the service has timed, by the names of :attr:`phase`."""
        timed = {
            "queued": self.queue_duration,
            "acquiring nodes": self.acquisition_duration,
            "submitting": self.start_duration,
        }
        return {phase: took for phase, took in timed.items() if took is not None}

    def details(self) -> Iterator[str]:
        """Return the lines of a failure message that say what the service told: states, errors, links, log."""
        yield f"Livy state {self.state}, result {self.result}."
        for error in self.error_info if isinstance(self.error_info, tuple) else ():
            yield f"Error: {': '.join(str(part) for part in (error.source, error.error_code, error.message) if part)}"
        if self.app_id:
            yield f"Application: {self.app_id}"
        if url := (self.app_info or {}).get("sparkUiUrl"):
            yield f"Spark UI: {url}"
        if lines := [line.strip() for line in (self.log if isinstance(self.log, tuple) else ()) if line.strip()]:
            yield "\n".join(("Last lines of the driver's log:", *(f"  {line}" for line in lines)))

    @property
    def queue_duration(self) -> timedelta | None:
        """How long the job waited in the pool's queue."""
        scheduler = self.scheduler_info or SparkScheduler()
        return between(scheduler.submitted_at, scheduler.scheduled_at)

    @property
    def acquisition_duration(self) -> timedelta | None:
        """How long it took to get the job's nodes."""
        return between(self._plugin.resource_acquisition_started_at, self._plugin.submission_started_at)

    @property
    def start_duration(self) -> timedelta | None:
        """How long it took to submit the job to Livy on its nodes."""
        return between(self._plugin.submission_started_at, self._plugin.monitoring_started_at)

    @property
    def _plugin(self) -> SparkServicePlugin:
        """The steps from preparing the job to cleaning up, none of them known if the response did not tell."""
        return self.plugin_info if isinstance(self.plugin_info, SparkServicePlugin) else SparkServicePlugin()

    @property
    def lifetime(self) -> timedelta | None:
        """How long the job lasted, from its submission to its end."""
        scheduler = self.scheduler_info or SparkScheduler()
        return between(scheduler.submitted_at, scheduler.ended_at)


def between(start: Any, end: Any) -> timedelta | None:
    """
    Return the time from one of the service's timestamps to another, None where one is missing or is none.

    :param start: the earlier one.
    :param end: the later one.
    """
    try:
        return datetime.fromisoformat(end or "") - datetime.fromisoformat(start or "")
    except (ValueError, TypeError):
        return None
