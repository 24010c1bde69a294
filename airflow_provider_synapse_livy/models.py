"""
The documented ``SparkSession`` of Azure Synapse, as typed and frozen models.

Attributes carry the documented names in snake_case, the JSON carries the documented names themselves.
Every model is open where the service is: undocumented fields are kept, a value that an enumeration does not
know stays the string it was, and nothing but ``id`` is required. Timestamps stay the text that Synapse sent,
with up to seven fraction digits; :meth:`datetime.datetime.fromisoformat` reads it.

A value of another type than documented stays as it came and is logged once, so an attribute may hold any JSON value.
Five fields are exceptions, because they decide how a wait ends: ``id``, ``state``, ``result``,
``schedulerInfo.cancellationRequestedAt`` and ``appInfo.isSessionTimedOut``. They must be as documented.

Source: `Spark Session - Get Spark Session
<https://learn.microsoft.com/rest/api/synapse/data-plane/spark-session/get-spark-session>`__, and recordings
of the live service where it answers otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Self

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
from airflow_provider_synapse_livy.livy.options import SparkSessionOptions
from airflow_provider_synapse_livy.livy.statements import LivyStatementState, SparkStatement, SparkStatementOutput
from airflow_provider_synapse_livy.livy.strict_json import read_json, storable

__all__ = [
    "LivyState",
    "LivyStatementState",
    "PluginCurrentState",
    "SchedulerCurrentState",
    "SparkErrorSource",
    "SparkJobType",
    "SparkRequest",
    "SparkScheduler",
    "SparkServiceError",
    "SparkServicePlugin",
    "SparkSession",
    "SparkSessionOptions",
    "SparkSessionResultType",
    "SparkSessionState",
    "SparkStatement",
    "SparkStatementOutput",
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
        """Whether a session never leaves this state."""
        return self in _RESULT_OF_FINAL_STATE


class SparkSessionResultType(StrEnum):
    """The result that Synapse reports. While a session is running, it is always ``Uncertain``."""

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
    """The step at which the Synapse plugin is, from preparing the session to cleaning up after it."""

    PREPARATION = "Preparation"
    RESOURCE_ACQUISITION = "ResourceAcquisition"
    QUEUED = "Queued"
    SUBMISSION = "Submission"
    MONITORING = "Monitoring"
    CLEANUP = "Cleanup"
    ENDED = "Ended"


class SchedulerCurrentState(StrEnum):
    """The session's state in the pool's scheduler."""

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

#: The results of sessions that have ended.
_FINAL_RESULTS = frozenset(_RESULT_OF_FINAL_STATE.values())

#: What a session is doing before Livy reports a state of its own, by the step of the Synapse plugin.
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
    """The request that created the session."""

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


class SparkSessionState(Documented):
    """
    ``livyInfo``: Livy's own record of the session.

    Do not rely on its times: ``killedAt``, ``errorAt`` and ``notStartedAt`` are null even for sessions that were
    killed or failed, ``idleAt`` is the first time only, and short busy phases are missed.
    """

    not_started_at: Text = None
    starting_at: Text = None
    idle_at: Text = None
    busy_at: Text = None
    shutting_down_at: Text = None
    dead_at: Text = None
    error_at: Text = None
    killed_at: Text = None
    recovering_at: Text = None
    current_state: Text = None
    job_creation_request: Lenient[SparkRequest | None] = None


class SparkScheduler(Documented):
    """``schedulerInfo``: when the pool's scheduler queued, started and ended the session."""

    submitted_at: Text = None
    queued_at: Text = None
    scheduled_at: Text = None
    ended_at: Text = None
    cancellation_requested_at: str | None = None
    current_state: Lenient[SchedulerCurrentState | str | None] = None


class SparkServicePlugin(Documented):
    """``pluginInfo``: when each step from preparing the session to cleaning up began."""

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


class SparkSession(Documented):
    """
    A Livy Spark session of a Synapse Spark pool, as one response described it.

    :param id: the session's number in its pool; 0 is a real one.
    :param name: the name given at creation.
    :param state: the Livy state; one unknown to :class:`LivyState` stays a string and means *not finished*.
    :param result: the result; ``Uncertain`` while the session is running. Absent from plain responses.
    :param app_id: the YARN application id, once there is one.
    :param app_info: links (``sparkUiUrl``, ``driverLogUrl``) and flags, which are the strings ``"true"`` and
        ``"false"``.
    :param log: the last ten or so lines of the driver's log.
    :param error_info: the errors; absent unless there is one.
    :param livy_info: Livy's own record; see its warning about times.
    :param scheduler_info: the pool scheduler's record.
    :param plugin_info: the steps from preparing the session to cleaning up.
    :param workspace_name: the Synapse workspace.
    :param spark_pool_name: the Spark pool.
    :param submitter_name: who created the session; absent for service principals.
    :param submitter_id: the object id of its creator.
    :param artifact_id: the Synapse artifact it belongs to.
    :param job_type: ``SparkSession``, or ``SparkBatch`` for a batch job.
    :param tags: the tags given at creation.
    """

    id: Annotated[int, Field(strict=True, ge=0)]
    name: Text = None
    state: Annotated[LivyState | str | None, _OPEN] = None
    result: Annotated[SparkSessionResultType | str | None, _OPEN] = None
    app_id: Text = None
    app_info: Annotated[dict[str, JsonValue] | None, AfterValidator(_with_flag)] = None
    log: Texts = None
    error_info: Lenient[Annotated[tuple[SparkServiceError, ...], FailFastItems(), NULLS_LEFT_OUT] | None] = None
    livy_info: Lenient[SparkSessionState | None] = None
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
        Return the session that JSON text describes.

        :param body: the JSON text.
        :raises ValueError: if it is not JSON, or not a session.
        """
        return cls.model_validate(read_json(body.encode() if isinstance(body, str) else body))

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """
        Return the session that a dict with the documented names describes, such as an XCom of this package.

        :param fields: the dict.
        :raises ValueError: if it is not a session.
        """
        return cls.model_validate(storable(fields))

    def __str__(self) -> str:
        """Return the session's name in logs and messages."""
        pool = self.spark_pool_name
        return f"Spark session {self.id}" + (f" in pool {pool}" if pool and isinstance(pool, str) else "")

    def to_dict(self) -> dict[str, Any]:
        """Return a dict of JSON values: all documented names, and the unknown ones as they came."""
        return self.model_dump(mode="json", by_alias=True)

    @property
    def is_finished(self) -> bool:
        """Whether the session has ended, by its result or else by its Livy state."""
        return self.result in _FINAL_RESULTS or self.state in _RESULT_OF_FINAL_STATE

    @property
    def is_settling(self) -> bool:
        """
        Whether the session has ended for Livy, but Synapse has not reported its result yet.

        Result and ``errorInfo`` follow within about half a minute. A plain response has no result, so with it every
        finished session looks like this.
        """
        return self.is_finished and self.result not in _FINAL_RESULTS

    @property
    def is_ready(self) -> bool:
        """Whether the session takes statements now: idle, not finished, and not being cancelled."""
        return self.state == LivyState.IDLE and not self.is_finished and not self.is_cancelling

    @property
    def is_cancelling(self) -> bool:
        """Whether the session's cancellation was requested, and it has not ended yet."""
        requested = self.scheduler_info and self.scheduler_info.cancellation_requested_at
        return bool(requested) and not self.is_finished

    @property
    def outcome(self) -> SparkSessionResultType | None:
        """
        The result of a finished session, None for one that is running.

        Synapse's result decides, so ``error``/``Cancelled`` is a cancellation. Without a final result the Livy state
        stands for one, which may still change while the session :attr:`is_settling`.
        """
        if self.result in _FINAL_RESULTS:
            return SparkSessionResultType(self.result)
        return _RESULT_OF_FINAL_STATE.get(self.state or "")

    @property
    def idle_timed_out(self) -> bool:
        """Whether Synapse ended the session because nothing ran in it during its idle timeout."""
        return str((self.app_info or {}).get("isSessionTimedOut")).lower() == "true"

    @property
    def phase(self) -> str:
        """What the session is doing, a little finer than its Livy state: queued, acquiring nodes, idle, ..."""
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
        """How the session ended, in words that follow its name."""
        if self.idle_timed_out:
            return "idled out, so Synapse stopped it"
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
        """How long the session waited in the pool's queue."""
        scheduler = self.scheduler_info or SparkScheduler()
        return _between(scheduler.submitted_at, scheduler.scheduled_at)

    @property
    def acquisition_duration(self) -> timedelta | None:
        """How long it took to get the session's nodes."""
        return _between(self._plugin.resource_acquisition_started_at, self._plugin.submission_started_at)

    @property
    def start_duration(self) -> timedelta | None:
        """How long it took to submit the session to Livy on its nodes."""
        return _between(self._plugin.submission_started_at, self._plugin.monitoring_started_at)

    @property
    def _plugin(self) -> SparkServicePlugin:
        """The steps from preparing the session to cleaning up, none of them known if the response did not tell."""
        return self.plugin_info if isinstance(self.plugin_info, SparkServicePlugin) else SparkServicePlugin()

    @property
    def lifetime(self) -> timedelta | None:
        """How long the session lasted, from its submission to its end."""
        scheduler = self.scheduler_info or SparkScheduler()
        return _between(scheduler.submitted_at, scheduler.ended_at)


def _between(start: Any, end: Any) -> timedelta | None:
    """Return the time from one of the service's timestamps to another, None where one is missing or is none."""
    try:
        return datetime.fromisoformat(end or "") - datetime.fromisoformat(start or "")
    except (ValueError, TypeError):
        return None
