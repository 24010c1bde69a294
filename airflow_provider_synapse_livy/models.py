"""
The documented ``SparkSession`` and ``SparkBatchJob`` of Azure Synapse, as typed and frozen models.

Attributes carry the documented names in snake_case, the JSON carries the documented names themselves.
Every model is open where the service is: undocumented fields are kept, a value that an enumeration does not
know stays the string it was, and nothing but ``id`` is required. Timestamps stay the text that Synapse sent,
with up to seven fraction digits; :meth:`datetime.datetime.fromisoformat` reads it.

A value of another type than documented stays as it came and is logged once, so an attribute may hold any JSON value.
Five fields are exceptions, because they decide how a wait ends: ``id``, ``state``, ``result``,
``schedulerInfo.cancellationRequestedAt`` and ``appInfo.isSessionTimedOut``. They must be as documented.

Sources: `Spark Session - Get Spark Session
<https://learn.microsoft.com/rest/api/synapse/data-plane/spark-session/get-spark-session>`__, `Spark Batch - Get Spark
Batch Job <https://learn.microsoft.com/rest/api/synapse/data-plane/spark-batch/get-spark-batch-job>`__, and recordings
of the live service where it answers otherwise.
"""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar

from airflow_provider_synapse_livy.livy.documented import Documented, Lenient, Text
from airflow_provider_synapse_livy.livy.options import SparkBatchJobOptions, SparkSessionOptions
from airflow_provider_synapse_livy.livy.spark_jobs import (
    LivyState,
    PluginCurrentState,
    SchedulerCurrentState,
    SparkErrorSource,
    SparkJob,
    SparkJobType,
    SparkRequest,
    SparkScheduler,
    SparkServiceError,
    SparkServicePlugin,
    SparkSessionResultType,
    between,
)
from airflow_provider_synapse_livy.livy.statements import LivyStatementState, SparkStatement, SparkStatementOutput

__all__ = [
    "LivyState",
    "LivyStatementState",
    "PluginCurrentState",
    "SchedulerCurrentState",
    "SparkBatchJob",
    "SparkBatchJobOptions",
    "SparkBatchJobState",
    "SparkErrorSource",
    "SparkJob",
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


class SparkSessionState(Documented):
    """
    ``livyInfo``: Livy's own record of the session.

    Rely on ``startingAt`` and ``idleAt``, the first time that it was idle, alone: ``killedAt``, ``errorAt`` and
    ``notStartedAt`` are null even for sessions that were killed or failed, and short busy phases are missed.
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


class SparkSession(SparkJob):
    """
    A Livy Spark session of a Synapse Spark pool, as one response described it.

    Its other fields are those of :class:`SparkJob`.

    :param livy_info: Livy's own record; see its warning about times.
    """

    noun: ClassVar[str] = "Spark session"

    livy_info: Lenient[SparkSessionState | None] = None

    @property
    def is_ready(self) -> bool:
        """Whether the session takes statements now: idle, not finished, and not being cancelled."""
        return self.state == LivyState.IDLE and not self.is_finished and not self.is_cancelling

    @property
    def idle_timed_out(self) -> bool:
        """Whether Synapse ended the session because nothing ran in it during its idle timeout."""
        return str((self.app_info or {}).get("isSessionTimedOut")).lower() == "true"

    @property
    def ending(self) -> str:
        """How the session ended, in words that follow its name."""
        return "idled out, so Synapse stopped it" if self.idle_timed_out else super().ending

    def durations(self) -> dict[str, timedelta]:
        """Return how long each phase took that the service has timed, by the names of :attr:`phase`."""
        livy = self.livy_info if isinstance(self.livy_info, SparkSessionState) else SparkSessionState()
        started = between(livy.starting_at, livy.idle_at)
        return super().durations() | ({} if started is None else {"starting": started})


class SparkBatchJobState(Documented):
    """``livyInfo``: Livy's own record of the batch job. ``killedAt`` and ``notStartedAt`` were never seen to be set."""

    not_started_at: Text = None
    starting_at: Text = None
    running_at: Text = None
    dead_at: Text = None
    success_at: Text = None
    killed_at: Text = None
    recovering_at: Text = None
    current_state: Text = None
    job_creation_request: Lenient[SparkRequest | None] = None


class SparkBatchJob(SparkJob):
    """
    A Spark batch job of a Synapse Spark pool, as one response described it: it runs one program, and ends by itself.

    Its other fields are those of :class:`SparkJob`.

    :param livy_info: Livy's own record.
    """

    noun: ClassVar[str] = "Spark batch job"

    livy_info: Lenient[SparkBatchJobState | None] = None

    @property
    def is_settling(self) -> bool:
        """Whether the job has ended for Livy, but Synapse has not closed it yet: ``Ended`` comes a second later."""
        scheduler = self.scheduler_info and self.scheduler_info.current_state
        return super().is_settling or (self.is_finished and scheduler not in (None, SchedulerCurrentState.ENDED))

    @property
    def is_proved(self) -> bool:
        """Whether Synapse has said how the job ended."""
        return super().is_finished and not super().is_settling

    @property
    def has_succeeded(self) -> bool:
        """Whether there is proof that the program has run to its end without an error: Synapse's own result."""
        return self.result == SparkSessionResultType.SUCCEEDED

    @property
    def ending(self) -> str:
        """How the job ended, in words that follow its name."""
        if self.has_succeeded:
            return "succeeded"
        return "ended without a known result" if self.state == LivyState.SUCCESS else super().ending

    def durations(self) -> dict[str, timedelta]:
        """Return how long each phase took that the service has timed, by the names of :attr:`phase`."""
        livy = self.livy_info if isinstance(self.livy_info, SparkBatchJobState) else SparkBatchJobState()
        scheduler = self.scheduler_info if self.is_finished else None  # of a cancelled job it alone tells the end
        ended_at = livy.success_at or livy.dead_at or livy.killed_at or (scheduler and scheduler.ended_at)
        timed = {
            "starting": between(livy.starting_at, livy.running_at),
            "running": between(livy.running_at, ended_at),
        }
        return super().durations() | {phase: took for phase, took in timed.items() if took is not None}
