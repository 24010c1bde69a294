"""
The documented ``SparkSession`` of Azure Synapse, as typed and frozen models.

Attributes carry the documented names in snake_case, the JSON carries the documented names themselves.
Every model is open where the service is: fields that are not documented are kept, a value that an
enumeration does not know stays the string it was, and nothing but ``id`` is required. Timestamps stay the
text that Synapse sent, with up to seven fraction digits; :meth:`datetime.datetime.fromisoformat` reads it.

Source: `Spark Session - Get Spark Session
<https://learn.microsoft.com/rest/api/synapse/data-plane/spark-session/get-spark-session>`__, and recordings
of the live service where it answers otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, FailFast, Field, JsonValue
from pydantic.alias_generators import to_camel

from airflow_provider_synapse_livy.livy.strict_json import read_json, storable

__all__ = [
    "LivyState",
    "PluginCurrentState",
    "SchedulerCurrentState",
    "SparkErrorSource",
    "SparkJobType",
    "SparkRequest",
    "SparkScheduler",
    "SparkServiceError",
    "SparkServicePlugin",
    "SparkSession",
    "SparkSessionResultType",
    "SparkSessionState",
]


class LivyState(StrEnum):
    """``LivyStates``: what Livy says of the session."""

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
        """Whether Livy has nothing more to say of a session in this state."""
        return self in _RESULT_OF_FINAL_STATE


class SparkSessionResultType(StrEnum):
    """What Synapse says became of the session; ``Uncertain`` as long as it lives, never a verdict."""

    UNCERTAIN = "Uncertain"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    CANCELLED = "Cancelled"


class SparkJobType(StrEnum):
    """The kind of Spark job that the record describes."""

    SPARK_BATCH = "SparkBatch"
    SPARK_SESSION = "SparkSession"


class SparkErrorSource(StrEnum):
    """Who, in the eyes of Synapse, caused an error."""

    SYSTEM = "System"
    USER = "User"
    UNKNOWN = "Unknown"
    DEPENDENCY = "Dependency"


class PluginCurrentState(StrEnum):
    """Where the Synapse plugin is in bringing the session up or down."""

    PREPARATION = "Preparation"
    RESOURCE_ACQUISITION = "ResourceAcquisition"
    QUEUED = "Queued"
    SUBMISSION = "Submission"
    MONITORING = "Monitoring"
    CLEANUP = "Cleanup"
    ENDED = "Ended"


class SchedulerCurrentState(StrEnum):
    """Where the session stands with the scheduler of the pool."""

    QUEUED = "Queued"
    SCHEDULED = "Scheduled"
    ENDED = "Ended"


#: The result that a final Livy state stands for where Synapse gave none. Only a result tells a cancellation
#: from a failure in ``error``, so a result always goes first.
_RESULT_OF_FINAL_STATE: dict[str, SparkSessionResultType] = {
    LivyState.SUCCESS: SparkSessionResultType.SUCCEEDED,
    LivyState.DEAD: SparkSessionResultType.FAILED,
    LivyState.ERROR: SparkSessionResultType.FAILED,
    LivyState.KILLED: SparkSessionResultType.CANCELLED,
}

#: The results that are verdicts.
_FINAL_RESULTS = frozenset(_RESULT_OF_FINAL_STATE.values())

#: Marks an enumeration that the service may extend: a known value becomes its member, any other stays text.
_OPEN = Field(union_mode="left_to_right")

#: Marks a list in which a null, which says nothing, makes nothing unreadable.
_NULLS_LEFT_OUT = BeforeValidator(
    lambda entries: [entry for entry in entries if entry is not None] if isinstance(entries, list) else entries
)


class _FailFast(FailFast):
    """Has a list's first wrong entry end its validation: an error for each of a million would take gigabytes."""

    __hash__ = object.__hash__  # which a part of a union needs


_Texts = Annotated[Annotated[tuple[str, ...], _FailFast()] | None, _NULLS_LEFT_OUT]


class _Documented(BaseModel):
    """What all models share: documented names as aliases, nothing unknown dropped, nothing changed later."""

    model_config = ConfigDict(alias_generator=to_camel, extra="allow", frozen=True)
    __pydantic_extra__: dict[str, JsonValue]


class SparkServiceError(_Documented):
    """
    One entry of ``errorInfo``.

    The codes are open text and depend on a setting of the workspace: show them, never decide by them.
    """

    message: str | None = None
    error_code: str | None = None
    source: Annotated[SparkErrorSource | str | None, _OPEN] = None


class SparkRequest(_Documented):
    """What was asked for when the session was created."""

    name: str | None = None
    file: str | None = None
    class_name: str | None = None
    args: _Texts = None
    jars: _Texts = None
    files: _Texts = None
    py_files: _Texts = None
    archives: _Texts = None
    conf: dict[str, JsonValue] | None = None
    driver_memory: str | None = None
    driver_cores: int | None = None
    executor_memory: str | None = None
    executor_cores: int | None = None
    num_executors: int | None = None


class SparkSessionState(_Documented):
    """
    ``livyInfo``: Livy's own record of the session.

    Its times are not to be relied on: ``killedAt``, ``errorAt`` and ``notStartedAt`` are null even for sessions
    that were killed or failed, ``idleAt`` is the first time only, and short busy phases are missed.
    """

    not_started_at: str | None = None
    starting_at: str | None = None
    idle_at: str | None = None
    busy_at: str | None = None
    shutting_down_at: str | None = None
    dead_at: str | None = None
    error_at: str | None = None
    killed_at: str | None = None
    recovering_at: str | None = None
    current_state: str | None = None
    job_creation_request: SparkRequest | None = None


class SparkScheduler(_Documented):
    """``schedulerInfo``: when the pool's scheduler took the session in, let it go and saw it end."""

    submitted_at: str | None = None
    queued_at: str | None = None
    scheduled_at: str | None = None
    ended_at: str | None = None
    cancellation_requested_at: str | None = None
    current_state: Annotated[SchedulerCurrentState | str | None, _OPEN] = None


class SparkServicePlugin(_Documented):
    """``pluginInfo``: when the steps of bringing the session up and down began."""

    preparation_started_at: str | None = None
    resource_acquisition_started_at: str | None = None
    submission_started_at: str | None = None
    monitoring_started_at: str | None = None
    cleanup_started_at: str | None = None
    current_state: Annotated[PluginCurrentState | str | None, _OPEN] = None


class SparkSession(_Documented):
    """
    A Livy Spark session of a Synapse Spark pool, as the service described it in one answer.

    :param id: the session's number in its pool; 0 is a real one.
    :param name: the name given at creation.
    :param state: what Livy says; a state unknown to :class:`LivyState` stays text and means *not finished*.
    :param result: what Synapse says; ``Uncertain`` while the session lives. Absent from plain answers.
    :param app_id: the YARN application id, once there is one.
    :param app_info: links (``sparkUiUrl``, ``driverLogUrl``) and marks, whose booleans are the strings
        ``"true"`` and ``"false"``.
    :param log: the last ten or so lines of the driver's log.
    :param error_info: what went wrong; absent unless something did.
    :param livy_info: Livy's own record. See its warning about times.
    :param scheduler_info: the pool scheduler's record.
    :param plugin_info: the record of the session's coming up and down.
    :param workspace_name: the Synapse workspace.
    :param spark_pool_name: the Spark pool.
    :param submitter_name: who created the session; absent for service principals.
    :param submitter_id: the object id of who created it.
    :param artifact_id: the Synapse artifact that it belongs to.
    :param job_type: ``SparkSession``, or ``SparkBatch`` for a batch job.
    :param tags: the tags given at creation.
    """

    id: Annotated[int, Field(strict=True, ge=0)]
    name: str | None = None
    state: Annotated[LivyState | str | None, _OPEN] = None
    result: Annotated[SparkSessionResultType | str | None, _OPEN] = None
    app_id: str | None = None
    app_info: dict[str, JsonValue] | None = None
    log: _Texts = None
    error_info: Annotated[Annotated[tuple[SparkServiceError, ...], _FailFast()] | None, _NULLS_LEFT_OUT] = None
    livy_info: SparkSessionState | None = None
    scheduler_info: SparkScheduler | None = None
    plugin_info: SparkServicePlugin | None = None
    workspace_name: str | None = None
    spark_pool_name: str | None = None
    submitter_name: str | None = None
    submitter_id: str | None = None
    artifact_id: str | None = None
    job_type: Annotated[SparkJobType | str | None, _OPEN] = None
    tags: dict[str, JsonValue] | None = None

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
        """Name the session as people do, in logs and messages."""
        return f"Spark session {self.id}" + (f" in pool {self.spark_pool_name}" if self.spark_pool_name else "")

    def to_dict(self) -> dict[str, Any]:
        """Give a dict of JSON values under the documented names, all of them, and the unknown ones as they came."""
        return self.model_dump(mode="json", by_alias=True)

    @property
    def is_finished(self) -> bool:
        """Whether the session has ended, by its result or else by its Livy state."""
        return self.result in _FINAL_RESULTS or self.state in _RESULT_OF_FINAL_STATE

    @property
    def is_settling(self) -> bool:
        """
        Whether the session has ended for Livy, but Synapse has not yet said with what result.

        Result and ``errorInfo`` follow within about half a minute. A plain answer has no result at all, so there
        every finished session looks like this.
        """
        return self.is_finished and self.result not in _FINAL_RESULTS

    @property
    def is_ready(self) -> bool:
        """Whether the session takes statements now: idle, not finished, and nobody has asked to cancel it."""
        return self.state == LivyState.IDLE and not self.is_finished and not self.is_cancelling

    @property
    def is_cancelling(self) -> bool:
        """Whether the session still lives although its cancellation was requested."""
        requested = self.scheduler_info and self.scheduler_info.cancellation_requested_at
        return bool(requested) and not self.is_finished

    @property
    def outcome(self) -> SparkSessionResultType | None:
        """
        What became of a finished session, None for one that lives.

        The result decides, so ``error``/``Cancelled`` is a cancellation. Without a final result the Livy state
        speaks, which may still change while the session :attr:`is_settling`.
        """
        if self.result in _FINAL_RESULTS:
            return SparkSessionResultType(self.result)
        return _RESULT_OF_FINAL_STATE.get(self.state or "")

    @property
    def idle_timed_out(self) -> bool:
        """Whether Synapse ended the session because nothing ran on it for its idle timeout."""
        return str((self.app_info or {}).get("isSessionTimedOut")).lower() == "true"

    @property
    def queue_duration(self) -> timedelta | None:
        """How long the session waited in the pool's queue."""
        scheduler = self.scheduler_info or SparkScheduler()
        return _between(scheduler.submitted_at, scheduler.scheduled_at)

    @property
    def acquisition_duration(self) -> timedelta | None:
        """How long it took to get the session's nodes."""
        plugin = self.plugin_info or SparkServicePlugin()
        return _between(plugin.resource_acquisition_started_at, plugin.submission_started_at)

    @property
    def start_duration(self) -> timedelta | None:
        """How long it took to hand the session to Livy on its nodes."""
        plugin = self.plugin_info or SparkServicePlugin()
        return _between(plugin.submission_started_at, plugin.monitoring_started_at)

    @property
    def lifetime(self) -> timedelta | None:
        """How long the session lasted in all, from its submission to its end."""
        scheduler = self.scheduler_info or SparkScheduler()
        return _between(scheduler.submitted_at, scheduler.ended_at)


def _between(start: str | None, end: str | None) -> timedelta | None:
    """Give the time from one of the service's timestamps to another, None where one is missing or is none."""
    try:
        return datetime.fromisoformat(end or "") - datetime.fromisoformat(start or "")
    except (ValueError, TypeError):
        return None
