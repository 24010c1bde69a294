"""The emulated sessions: the JSON record of a session at a given time, and the sessions of each Spark pool."""

from __future__ import annotations

import copy
import itertools
import math
import threading
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar

from airflow_provider_synapse_livy.emulator.scenarios import (
    APPLICATION,
    NOW,
    RESULT_SECONDS,
    Scenario,
    Transition,
    cancellation_request,
    cancellation_transitions,
    idle_timeout_transitions,
)
from airflow_provider_synapse_livy.emulator.statements import (
    Script,
    Statement,
    statement_records,
    statement_transitions,
)

__all__ = ["EmulatedSession", "Pools", "timestamp"]

#: The fields of a request to create a session that its record repeats.
_REQUEST_FIELDS = ("name", "file", "className", "args", "jars", "files", "pyFiles", "archives", "conf")
_SIZE_FIELDS = ("driverMemory", "driverCores", "executorMemory", "executorCores", "numExecutors")


def timestamp(at: float) -> str:
    """
    Format a time as the service does: in UTC, with up to seven decimal places of the seconds and no trailing zeros.

    :param at: seconds since the epoch.
    """
    seconds, fraction = divmod(round(at * 10_000_000), 10_000_000)
    digits = f".{fraction:07}".rstrip("0").rstrip(".")
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}{digits}+00:00"


@dataclass
class EmulatedSession:
    """
    One session: the request that created it, and the requests that changed it since.

    Its record is computed from these for a given time. All times are in seconds since the epoch.

    :param id: its number in the pool, from 0.
    :param options: the JSON body of the request that created it.
    :param time_scale: real seconds per emulated second.
    :param submitter_id: object id of the application that created it.
    :param cancelled_at: time of the DELETE request, if any.
    :param timeout_reset_at: time of the last request to reset the idle timeout.
    :param read_count: number of GET requests for this session.
    :param statements: all its statements, oldest first.
    """

    #: What the record calls it, and the times that Livy notes of it.
    job_type: ClassVar[str] = "SparkSession"
    livy_stamps: ClassVar[tuple[str, ...]] = (
        "notStarted", "starting", "idle", "dead", "shuttingDown", "killed", "recovering", "busy", "error"
    )  # fmt: skip
    #: The fields of a record without ``detailed=true``.
    basic_fields: ClassVar[tuple[str, ...]] = ("id", "appId", "appInfo", "state", "log", "registeredSources")
    #: From Livy's final state to the final result of what was cancelled.
    result_seconds: ClassVar[float] = RESULT_SECONDS

    id: int
    pool: str
    workspace: str
    options: Mapping[str, Any]
    scenario: Scenario
    created_at: float
    time_scale: float
    submitter_id: str
    cancelled_at: float | None = None
    timeout_reset_at: float = 0.0
    read_count: int = field(default=0)
    statements: list[Statement] = field(default_factory=list)

    def cancel(self, now: float) -> None:
        """Cancel the session, unless it has ended or its cancellation was requested before."""
        if self.is_left_alone(now):
            self.cancelled_at = now

    def reset_timeout(self, now: float) -> None:
        """Restart the idle timeout, unless the session has ended."""
        if not self._has_ended(now):
            self.timeout_reset_at = now

    def is_left_alone(self, now: float) -> bool:
        """Return whether the session has neither ended, nor has its cancellation been requested."""
        return self.record(now)["schedulerInfo"]["cancellationRequestedAt"] is None and not self._has_ended(now)

    def _has_ended(self, now: float) -> bool:
        return self.record(now)["state"] in _FINAL_STATES

    def takes_statements(self, now: float) -> bool:
        """Return whether the session runs, and its cancellation, which begins with the clean-up, was not requested."""
        record = self.record(now)
        return record["state"] in ("idle", "busy") and record["pluginInfo"]["currentState"] == "Monitoring"

    def add_statement(self, code: str, script: Script, now: float) -> dict[str, Any]:
        """Put a statement at the end of the queue, and return its record."""
        self.statements.append(Statement(len(self.statements), code, script, posted_at=now))
        return self.statement_records(now)[-1]

    def cancel_statement(self, number: int, now: float) -> None:
        """Cancel a statement, unless it does not exist, has ended or was cancelled before."""
        if any(r["id"] == number and r["state"] in ("waiting", "running") for r in self.statement_records(now)):
            self.statements[number].cancelled_at = now

    def statement_records(self, now: float) -> list[dict[str, Any]]:
        """Return the records of the last 100 statements at the time ``now``, or at the end of the session before it."""
        return statement_records(self.statements, min(now, self._statements_lost_at()), self.time_scale)

    def has_lost_statements(self, now: float) -> bool:
        """Return whether nobody can read the statements any more, because the session has ended."""
        return now >= self._statements_lost_at()

    def _statements_lost_at(self) -> float:
        # A session whose interpreter died keeps them for a while: Livy still answers, until the cluster is gone.
        lost = (t.at for t in self._transitions() if _is_end(t, "shutting_down", "dead", "killed") or _is_result(t))
        return next(lost, math.inf)

    def record(self, now: float, *, detailed: bool = True) -> dict[str, Any]:
        """
        Return the session's JSON record at the time ``now``.

        :param detailed: include all fields, as the query ``detailed=true`` does.
        """
        record = self._initial_record()
        for transition in self._transitions():
            if transition.at <= now:
                self._apply(transition, record)
        return record if detailed else {name: record[name] for name in self.basic_fields}

    def _transitions(self) -> list[Transition]:
        """Return all transitions, given the requests so far, with times in seconds since the epoch."""
        scale = self.time_scale
        planned = [Transition(self.created_at + t.at * scale, t.changes) for t in self.scenario.transitions]
        transitions = _until_first_end(planned, list(statement_transitions(self.statements, scale)))
        idle_timeout = self.scenario.idle_timeout_in_real_seconds(scale)
        if idle_timeout is not None and _end(transitions) == math.inf:
            idle_since = max(transitions[-1].at, self.timeout_reset_at)
            transitions += idle_timeout_transitions(idle_since + idle_timeout, scale)
        if self.cancelled_at is not None and self.scenario.refuses_to_end:
            transitions = sorted([*transitions, cancellation_request(self.cancelled_at)], key=lambda t: t.at)
        elif self.cancelled_at is not None:
            transitions = [transition for transition in transitions if transition.at <= (self.cancelled_at or 0)]
            started = any(transition.changes.get("application") for transition in transitions)
            transitions += cancellation_transitions(
                self.cancelled_at, started=started, scale=scale, result_seconds=self.result_seconds
            )
        return transitions

    def _apply(self, transition: Transition, record: dict[str, Any]) -> None:
        for name, change in transition.changes.items():
            if change is APPLICATION:
                record.update(self._application())
            elif isinstance(change, dict):
                stamped = {k: timestamp(transition.at) if v is NOW else v for k, v in change.items()}
                record[name] = (record[name] or {}) | stamped
            else:
                record[name] = copy.deepcopy(change)

    def _application(self) -> dict[str, Any]:
        app_id = f"application_{round(self.created_at * 1000)}_{self.id + 1:04}"
        application_path = f"sessions/{self.id}/applications/{app_id}"
        path = f"workspaces/{self.workspace}/sparkpools/{self.pool}/{application_path}"
        base_url = f"https://web.azuresynapse.net/sparkui/{uuid.UUID(int=self.id)}"
        return {
            "appId": app_id,
            "appInfo": {
                "sparkUiUrl": f"{base_url}/{path}",
                "impulseErrorCode": None,
                "isStreamingQueryExists": None,
                "impulseClassification": None,
                "impulseTsg": None,
                "isSessionTimedOut": "false",
                "driverLogUrl": f"{base_url}/api/v1/{path}/driverlog/stderr",
            },
            "log": ["stdout: ", "\nstderr: ", "26/01/01 00:00:00 INFO ContextHandler: Started", "\nYARN Diagnostics: "],
            "registeredSources": ["default"],
        }

    def _initial_record(self) -> dict[str, Any]:
        requested = {
            name: self.options[name] for name in (*_REQUEST_FIELDS, *_SIZE_FIELDS) if self.options.get(name) is not None
        }
        steps = ("preparation", "resourceAcquisition", "submission", "monitoring", "cleanup")
        return {
            "livyInfo": {
                **{f"{stamp}At": None for stamp in self.livy_stamps},
                "currentState": "not_started",
                "jobCreationRequest": {"conf": {}} | requested,
            },
            "name": self.options.get("name"),
            "workspaceName": self.workspace,
            "computeName": self.pool,
            "sparkPoolName": self.pool,
            "submitterId": self.submitter_id,
            "artifactId": self.options.get("artifactId") or "Livy",
            "jobType": self.job_type,
            "result": "Uncertain",
            "schedulerInfo": {
                "submittedAt": timestamp(self.created_at),
                "queuedAt": None,
                "scheduledAt": None,
                "endedAt": None,
                "cancellationRequestedAt": None,
                "currentState": "Queued",
            },
            "pluginInfo": {**{f"{step}StartedAt": None for step in steps}, "currentState": "Preparation"},
            "tags": dict(self.options.get("tags") or {}),
            "id": self.id,
            "appId": None,
            "appInfo": None,
            "state": "not_started",
            "log": None,
            "registeredSources": None,
        }


_FINAL_STATES = ("dead", "killed", "error", "success")


def _is_end(transition: Transition, *states: str) -> bool:
    return transition.changes.get("state") in (states or ("shutting_down", *_FINAL_STATES))


def _is_result(transition: Transition) -> bool:
    return "result" in transition.changes


def _end(transitions: Iterable[Transition]) -> float:
    """Return when a session ends; infinity if it does not."""
    return next((transition.at for transition in transitions if _is_end(transition)), math.inf)


def _until_first_end(planned: list[Transition], caused: list[Transition]) -> list[Transition]:
    """
    Return all transitions of a session by time. What ends it first has the last word.

    :param planned: the transitions of its scenario.
    :param caused: those that its statements cause.
    """
    if _end(caused) < _end(planned):
        planned = [transition for transition in planned if transition.at < _end(caused)]
    else:
        caused = [transition for transition in caused if transition.at < _end(planned)]
    return sorted([*planned, *caused], key=lambda transition: transition.at)


class Pools:
    """
    The sessions and batch jobs of a workspace by Spark pool.

    A pool exists as soon as it is named, and counts ids from 0, of sessions and batch jobs together.
    """

    def __init__(self) -> None:
        self._sessions: dict[str, dict[int, EmulatedSession]] = defaultdict(dict)
        self._next_ids: dict[str, itertools.count[int]] = defaultdict(itertools.count)
        self._lock = threading.Lock()

    def create(self, pool: str, kind: type[EmulatedSession] = EmulatedSession, **details: Any) -> EmulatedSession:
        """
        Create a session, or a batch job, in a pool.

        :param kind: the class of what is created.
        :param details: all other fields of :class:`EmulatedSession` but ``id``.
        """
        with self._lock:
            session = kind(id=next(self._next_ids[pool]), pool=pool, **details)
            self._sessions[pool][session.id] = session
        return session

    def find(self, pool: str, number: int) -> EmulatedSession | None:
        """Return a session, or a batch job, or None if it does not exist; those that have ended are kept."""
        with self._lock:
            return self._sessions[pool].get(number)

    def sessions(self, pool: str | None = None, kind: type[EmulatedSession] | None = None) -> list[EmulatedSession]:
        """
        Return all sessions and batch jobs, oldest first in each pool.

        :param pool: return those of this pool only.
        :param kind: return those of this class only.
        """
        with self._lock:
            pools = self._sessions.values() if pool is None else [self._sessions[pool]]
            return [one for sessions in pools for one in sessions.values() if kind in (None, type(one))]

    def page(
        self,
        pool: str,
        start: int,
        size: int,
        *,
        newest_first: bool,
        kind: type[EmulatedSession] = EmulatedSession,
    ) -> list[EmulatedSession]:
        """
        Return one page of a pool's sessions, or of its batch jobs.

        :param start: number of sessions to skip.
        :param size: maximum number of sessions to return.
        :param newest_first: whether to begin with the newest session or with the oldest.
        :param kind: the class of what is listed.
        """
        sessions = self.sessions(pool, kind)
        return sessions[:: -1 if newest_first else 1][start : start + size]

    def recreate(self, pool: str) -> None:
        """Forget a pool's sessions and their ids."""
        with self._lock:
            self._sessions.pop(pool, None)
            self._next_ids.pop(pool, None)
