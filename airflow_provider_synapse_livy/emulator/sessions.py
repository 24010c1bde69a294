"""The emulated sessions: the JSON record of a session at a given time, and the sessions of each Spark pool."""

from __future__ import annotations

import copy
import itertools
import threading
import uuid
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from airflow_provider_synapse_livy.emulator.scenarios import (
    APPLICATION,
    NOW,
    Scenario,
    Transition,
    cancellation_request,
    cancellation_transitions,
    idle_timeout_transitions,
)

__all__ = ["EmulatedSession", "Pools", "timestamp"]

#: The fields of a record without ``detailed=true``.
_BASIC_FIELDS = ("id", "appId", "appInfo", "state", "log", "registeredSources")
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
    """

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

    def record(self, now: float, *, detailed: bool = True) -> dict[str, Any]:
        """
        Return the session's JSON record at the time ``now``.

        :param detailed: include all fields, as the query ``detailed=true`` does.
        """
        record = self._initial_record()
        for transition in self._transitions():
            if transition.at <= now:
                self._apply(transition, record)
        return record if detailed else {name: record[name] for name in _BASIC_FIELDS}

    def _transitions(self) -> list[Transition]:
        """Return all transitions, given the requests so far, with times in seconds since the epoch."""
        scale = self.time_scale
        transitions = [Transition(self.created_at + t.at * scale, t.changes) for t in self.scenario.transitions]
        idle_timeout = self.scenario.idle_timeout_in_real_seconds(scale)
        if idle_timeout is not None:
            idle_since = max(transitions[-1].at, self.timeout_reset_at)
            transitions += idle_timeout_transitions(idle_since + idle_timeout, scale)
        if self.cancelled_at is not None and self.scenario.refuses_to_end:
            transitions = sorted([*transitions, cancellation_request(self.cancelled_at)], key=lambda t: t.at)
        elif self.cancelled_at is not None:
            transitions = [transition for transition in transitions if transition.at <= (self.cancelled_at or 0)]
            started = any(transition.changes.get("application") for transition in transitions)
            transitions += cancellation_transitions(self.cancelled_at, started=started, scale=scale)
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
        stamps = ("notStarted", "starting", "idle", "dead", "shuttingDown", "killed", "recovering", "busy", "error")
        steps = ("preparation", "resourceAcquisition", "submission", "monitoring", "cleanup")
        return {
            "livyInfo": {
                **{f"{stamp}At": None for stamp in stamps},
                "currentState": "not_started",
                "jobCreationRequest": {"conf": {}} | requested,
            },
            "name": self.options.get("name"),
            "workspaceName": self.workspace,
            "computeName": self.pool,
            "sparkPoolName": self.pool,
            "submitterId": self.submitter_id,
            "artifactId": self.options.get("artifactId") or "Livy",
            "jobType": "SparkSession",
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


class Pools:
    """The sessions of a workspace by Spark pool. A pool exists as soon as it is named, and counts ids from 0."""

    def __init__(self) -> None:
        self._sessions: dict[str, dict[int, EmulatedSession]] = defaultdict(dict)
        self._next_ids: dict[str, itertools.count[int]] = defaultdict(itertools.count)
        self._lock = threading.Lock()

    def create(self, pool: str, **details: Any) -> EmulatedSession:
        """
        Create a session in a pool.

        :param details: all other fields of :class:`EmulatedSession` but ``id``.
        """
        with self._lock:
            session = EmulatedSession(id=next(self._next_ids[pool]), pool=pool, **details)
            self._sessions[pool][session.id] = session
        return session

    def find(self, pool: str, session_id: int) -> EmulatedSession | None:
        """Return a session, or None if it does not exist; sessions that have ended are kept."""
        with self._lock:
            return self._sessions[pool].get(session_id)

    def sessions(self, pool: str | None = None) -> list[EmulatedSession]:
        """
        Return all sessions, oldest first in each pool.

        :param pool: return the sessions of this pool only.
        """
        with self._lock:
            pools = self._sessions.values() if pool is None else [self._sessions[pool]]
            return [session for sessions in pools for session in sessions.values()]

    def page(self, pool: str, start: int, size: int, *, newest_first: bool) -> list[EmulatedSession]:
        """
        Return one page of a pool's sessions.

        :param start: number of sessions to skip.
        :param size: maximum number of sessions to return.
        :param newest_first: whether to begin with the newest session or with the oldest.
        """
        sessions = self.sessions(pool)
        return sessions[:: -1 if newest_first else 1][start : start + size]

    def recreate(self, pool: str) -> None:
        """Forget a pool's sessions and their ids."""
        with self._lock:
            self._sessions.pop(pool, None)
            self._next_ids.pop(pool, None)
