"""The emulated sessions: the JSON record of a session at a given time."""

from __future__ import annotations

import copy
import math
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar, Literal, Protocol

from airflow_provider_synapse_livy.emulator.scenarios import (
    APPLICATION,
    DEATHS,
    FINAL_STATES,
    NOW,
    RESULT_SECONDS,
    Scenario,
    Transition,
    cancellation_request,
    cancellation_transitions,
    end_transitions,
    idle_timeout_transitions,
    startup_transitions,
    state_transitions,
)
from airflow_provider_synapse_livy.emulator.statements import (
    NOTHING_FOLDED,
    Fold,
    LiveRun,
    Script,
    Statement,
    cancellation_seconds,
    folded,
    free_times,
    statement_records,
    statement_transitions,
)

__all__ = ["EmulatedSession", "timestamp"]

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


class StatementRunner(Protocol):
    """Runs the statements of a session that no script answers."""

    def pump(self) -> None:
        """Run the next statement, if it is time for that."""

    def cancel(self, statement: Statement, seconds: float) -> None:
        """Cancel a statement, and for some real seconds what it has started."""

    def close(self) -> None:
        """End what runs."""


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
    :param fold: which of its statements need not be looked at any more.
    :param interventions: what became of it that its scenario did not plan; what was planned for later is void.
    :param held_at: from when on its statements don't change its state; infinity if they do.
    :param runner: runs its statements; None if scripts answer all of them.
    """

    #: What messages and the record call it, and the times that Livy notes of it.
    noun: ClassVar[str] = "session"
    job_type: ClassVar[str] = "SparkSession"
    livy_stamps: ClassVar[tuple[str, ...]] = (
        "notStarted", "starting", "idle", "dead", "shuttingDown", "killed", "recovering", "busy", "error"
    )  # fmt: skip
    #: The states of Livy whose times the live service notes.
    stamped_states: ClassVar[tuple[str, ...]] = ("starting", "idle", "busy", "dead")
    #: Source, code and message of the error by the state in which it has failed.
    deaths: ClassVar[Mapping[str, tuple[str, str, str]]] = DEATHS
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
    fold: Fold = NOTHING_FOLDED
    interventions: list[Transition] = field(default_factory=list)
    held_at: float = math.inf
    runner: StatementRunner | None = None

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
        return self.record(now)["state"] in FINAL_STATES

    def is_shut_down(self, now: float) -> bool:
        """Return whether the session has ended, or is shutting down, so that nothing runs in it."""
        return self.record(now)["state"] in ("shutting_down", *FINAL_STATES)

    def intervene(self, now: float, transitions: Iterable[Transition]) -> None:
        """Let something happen to the session, instead of what was planned for later."""
        self.interventions = [*(t for t in self.interventions if t.at <= now), *transitions]

    def hold(self, state: str, now: float) -> None:
        """Set Livy's state, which stays until the session is cancelled or ended or, if it is idle, a statement runs."""
        startup = () if self.record(now)["appId"] else self.startup()
        self.intervene(now, state_transitions(now, state, startup=startup, stamp=self._stamp(state)))
        self.held_at = math.inf if state == "idle" else now

    def startup(self) -> Iterable[Transition]:
        """Return how its Spark application starts."""
        return startup_transitions()

    def _stamp(self, state: str) -> str | None:
        return f"{state}At" if state in self.stamped_states else None

    def finish(self, state: str, result: str, error: tuple[str, str, str] | None, now: float) -> None:
        """
        End the session, with its result at once.

        :param error: source, code and message of the error, if any.
        """
        end = end_transitions(now, state, result, error=error, scale=0.0)
        self.intervene(now, [*state_transitions(now, state, stamp=self._stamp(state)), *end])

    def die(self, state: Literal["dead", "error"], now: float) -> None:
        """End the session as when its driver or its interpreter has died, unless it has ended before."""
        if not self.is_shut_down(now):
            error = DEATHS[state]
            self.intervene(now, end_transitions(now, state, "Failed", error=error, scale=self.time_scale))

    def takes_statements(self, now: float) -> bool:
        """Return whether the session runs, and its cancellation, which begins with the clean-up, was not requested."""
        record = self.record(now)
        return record["state"] in ("idle", "busy") and record["pluginInfo"]["currentState"] == "Monitoring"

    def add_statement(self, code: str, script: Script, now: float, *, live_kind: str | None = None) -> dict[str, Any]:
        """
        Put a statement at the end of the queue, and return its record.

        :param live_kind: the kind of its code, if the session's runner is to run it instead of the script.
        """
        live = LiveRun(live_kind) if live_kind and self.runner else None
        self.statements.append(Statement(len(self.statements), code, script, posted_at=now, live=live))
        return self.statement_records(now, only=len(self.statements) - 1)[0]

    def cancel_statement(self, number: int, now: float) -> None:
        """Cancel a statement, unless it does not exist, has ended or was cancelled before."""
        if not any(r["state"] in ("waiting", "running") for r in self.statement_records(now, only=number)):
            return
        if self.runner:
            self.runner.cancel(self.statements[number], cancellation_seconds(self.time_scale))
        else:
            self.statements[number].cancelled_at = now

    def statement_ends(self) -> Iterator[tuple[Statement, float]]:
        """Yield each statement with the time from which on the next one may run."""
        return free_times(self.statements, self.time_scale, self.fold)

    def statement_records(self, now: float, *, only: int | None = None) -> list[dict[str, Any]]:
        """
        Return the records of the last 100 statements at the time ``now``, or at the end of the session before it.

        :param only: the number of the one statement whose record is wanted.
        """
        self._fold(now)
        at = min(now, self._statements_lost_at())
        return statement_records(self.statements, at, self.time_scale, self.fold, only=only)

    def _fold(self, now: float) -> None:
        self.fold = folded(self.statements, self.fold, now, self.time_scale)

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
        self._fold(now)
        record = self._initial_record()
        for transition in self._transitions():
            if transition.at <= now:
                self._apply(transition, record)
        return record if detailed else self.basic(record)

    def basic(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Return what of its record is shown without ``detailed=true``."""
        return {name: record[name] for name in self.basic_fields}

    def _transitions(self) -> list[Transition]:
        """Return all transitions, given the requests so far, with times in seconds since the epoch."""
        caused = statement_transitions(self.statements, self.time_scale, self.fold)
        caused = (t for t in caused if t.at < self.held_at or t.changes.get("state") not in ("busy", "idle"))
        transitions = _until_first_end(self._planned(), list(caused))
        transitions += self._idle_timeout(transitions)
        return transitions if self.cancelled_at is None else self._cancelled(transitions, self.cancelled_at)

    def _planned(self) -> list[Transition]:
        """Return what the scenario plans, up to the first intervention, and the interventions."""
        planned = [Transition(self.created_at + t.at * self.time_scale, t.changes) for t in self.scenario.transitions]
        if not self.interventions:
            return planned
        return [t for t in planned if t.at < self.interventions[0].at] + self.interventions

    def _idle_timeout(self, transitions: list[Transition]) -> Iterable[Transition]:
        """Return the end by the idle timeout; none where there is no timeout, an earlier end or an intervention."""
        timeout = self.scenario.idle_timeout_in_real_seconds(self.time_scale)
        if timeout is None or self.interventions or _end(transitions) != math.inf:
            return ()
        idle_since = max(transitions[-1].at, self.timeout_reset_at)
        return idle_timeout_transitions(idle_since + timeout, self.time_scale)

    def _cancelled(self, transitions: list[Transition], cancelled_at: float) -> list[Transition]:
        """Return what becomes of a session that was cancelled; what intervenes later has the last word."""
        if self.scenario.refuses_to_end:
            return sorted([*transitions, cancellation_request(cancelled_at)], key=lambda t: t.at)
        kept = [transition for transition in transitions if transition.at <= cancelled_at]
        started = any(transition.changes.get("application") for transition in kept)
        kept += cancellation_transitions(
            cancelled_at,
            started=started,
            scale=self.time_scale,
            result_seconds=self.result_seconds,
            shuts_down="shuttingDown" in self.livy_stamps,
        )
        later = [transition for transition in self.interventions if transition.at > cancelled_at]
        return [t for t in kept if not later or t.at < later[0].at] + later

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


def _is_end(transition: Transition, *states: str) -> bool:
    return transition.changes.get("state") in (states or ("shutting_down", *FINAL_STATES))


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
    elif _end(planned) < math.inf:
        caused = [transition for transition in caused if transition.at < _end(planned)]
    return sorted([*planned, *caused], key=lambda transition: transition.at)
