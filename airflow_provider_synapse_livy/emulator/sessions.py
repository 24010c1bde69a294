"""Emulated sessions: what a session's record says at any time, and the pools that hold them."""

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
    Moment,
    Scenario,
    cancellation,
    idle_timeout,
)

__all__ = ["EmulatedSession", "Pools", "timestamp"]

_PLAIN_FIELDS = ("id", "appId", "appInfo", "state", "log", "registeredSources")
_OPTIONS = ("name", "file", "className", "args", "jars", "files", "pyFiles", "archives", "conf")
_SIZES = ("driverMemory", "driverCores", "executorMemory", "executorCores", "numExecutors")


def timestamp(at: float) -> str:
    """
    Write a time as the service does: in UTC, with up to seven digits of a fraction and no zeros at its end.

    :param at: seconds since the epoch.
    """
    seconds, fraction = divmod(round(at * 10_000_000), 10_000_000)
    digits = f".{fraction:07}".rstrip("0").rstrip(".")
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}{digits}+00:00"


@dataclass
class EmulatedSession:
    """
    One session: what was asked for, and what has been done to it since. All else follows from the time.

    :param id: its number in the pool.
    :param pool: its pool.
    :param workspace: its workspace.
    :param options: the body of the request that created it.
    :param scenario: what happens to it.
    :param created_at: when it was created, in seconds since the epoch.
    :param time_scale: how long an emulated second lasts.
    :param submitter_id: who created it.
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
    touched_at: float = 0.0
    reads: int = field(default=0)

    def cancel(self, now: float) -> None:
        """
        Ask for its end, as a DELETE does; one that has ended, or was asked before, does not mind.

        :param now: when that is.
        """
        if self.record(now)["schedulerInfo"]["cancellationRequestedAt"] is None and not self._has_ended(now):
            self.cancelled_at = now

    def reset_timeout(self, now: float) -> None:
        """
        Begin its idle timeout anew; one that has ended stays so.

        :param now: when that is.
        """
        if not self._has_ended(now):
            self.touched_at = now

    def _has_ended(self, now: float) -> bool:
        return self.record(now)["state"] in _FINAL_STATES

    def record(self, now: float, *, detailed: bool = True) -> dict[str, Any]:
        """
        Give its record as the service would.

        :param now: when that is.
        :param detailed: whether to give all of it.
        """
        record = self._initial_record()
        for moment in self._moments():
            if moment.at <= now:
                self._apply(moment, record)
        return record if detailed else {name: record[name] for name in _PLAIN_FIELDS}

    def _moments(self) -> list[Moment]:
        """Lay out its life as it stands now, in seconds since the epoch."""
        scale = self.time_scale
        moments = [Moment(self.created_at + m.at * scale, m.changes) for m in self.scenario.moments]
        if self.scenario.idle_timeout is not None:
            idle_since = max(moments[-1].at, self.touched_at)
            moments += idle_timeout(idle_since + self.scenario.idle_timeout * scale, scale)
        if self.cancelled_at is not None:
            moments = [moment for moment in moments if moment.at <= (self.cancelled_at or 0)]
            started = any(moment.changes.get("application") for moment in moments)
            moments += cancellation(self.cancelled_at, started=started, scale=scale)
        return moments

    def _apply(self, moment: Moment, record: dict[str, Any]) -> None:
        for name, change in moment.changes.items():
            if change is APPLICATION:
                record.update(self._application())
            elif isinstance(change, dict):
                stamped = {k: timestamp(moment.at) if v is NOW else v for k, v in change.items()}
                record[name] = (record[name] or {}) | stamped
            else:
                record[name] = copy.deepcopy(change)

    def _application(self) -> dict[str, Any]:
        app_id = f"application_{round(self.created_at * 1000)}_{self.id + 1:04}"
        page = f"sessions/{self.id}/applications/{app_id}"
        path = f"workspaces/{self.workspace}/sparkpools/{self.pool}/{page}"
        studio = f"https://web.azuresynapse.net/sparkui/{uuid.UUID(int=self.id)}"
        return {
            "appId": app_id,
            "appInfo": {
                "sparkUiUrl": f"{studio}/{path}",
                "impulseErrorCode": None,
                "isStreamingQueryExists": None,
                "impulseClassification": None,
                "impulseTsg": None,
                "isSessionTimedOut": "false",
                "driverLogUrl": f"{studio}/api/v1/{path}/driverlog/stderr",
            },
            "log": ["stdout: ", "\nstderr: ", "26/01/01 00:00:00 INFO ContextHandler: Started", "\nYARN Diagnostics: "],
            "registeredSources": ["default"],
        }

    def _initial_record(self) -> dict[str, Any]:
        asked = {name: self.options[name] for name in (*_OPTIONS, *_SIZES) if self.options.get(name) is not None}
        stamps = ("notStarted", "starting", "idle", "dead", "shuttingDown", "killed", "recovering", "busy", "error")
        steps = ("preparation", "resourceAcquisition", "submission", "monitoring", "cleanup")
        return {
            "livyInfo": {
                **{f"{stamp}At": None for stamp in stamps},
                "currentState": "not_started",
                "jobCreationRequest": {"conf": {}} | asked,
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
    """The Spark pools of a workspace. A pool exists as soon as somebody names it, and numbers its sessions from 0."""

    def __init__(self) -> None:
        self._sessions: dict[str, dict[int, EmulatedSession]] = defaultdict(dict)
        self._numbers: dict[str, itertools.count[int]] = defaultdict(itertools.count)
        self._lock = threading.Lock()

    def create(self, pool: str, **details: Any) -> EmulatedSession:
        """
        Create a session.

        :param pool: its pool.
        :param details: what else :class:`EmulatedSession` takes.
        """
        with self._lock:
            session = EmulatedSession(id=next(self._numbers[pool]), pool=pool, **details)
            self._sessions[pool][session.id] = session
        return session

    def find(self, pool: str, session_id: int) -> EmulatedSession | None:
        """
        Find a session; those that have ended stay.

        :param pool: its pool.
        :param session_id: its number.
        """
        return self._sessions[pool].get(session_id)

    def page(self, pool: str, start: int, size: int) -> list[EmulatedSession]:
        """
        Give a page of a pool's sessions, the newest first.

        :param pool: the pool.
        :param start: how many to pass over.
        :param size: how many to give at the most.
        """
        with self._lock:
            newest_first = list(reversed(self._sessions[pool].values()))
        return newest_first[start : start + size]
