"""
The scenarios: when the record of an emulated session changes, and how.

Times and durations are in emulated seconds, unless stated otherwise. The durations of the phases are those of
recordings of the live service.

Where a scenario is not about the idle timeout, the timeout is an hour of real time, whatever the time scale is. Else a
session would idle out within seconds of becoming idle, before a person has triggered a DAG.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = [
    "APPLICATION",
    "DEAD_ERROR",
    "DEATHS",
    "DEFAULT_SCENARIO",
    "FINAL_STATES",
    "INTERPRETER_ERROR",
    "NOW",
    "RESULT_SECONDS",
    "SCENARIOS",
    "Scenario",
    "Transition",
    "cancellation_request",
    "cancellation_transitions",
    "end_transitions",
    "idle_timeout_transitions",
    "livy_change",
    "queue_transitions",
    "startup_transitions",
    "state_transitions",
]

#: Livy's states in which a session has ended.
FINAL_STATES = ("dead", "killed", "error", "success")

#: Placeholder for a value in a change: the timestamp of the transition.
NOW = object()

#: Placeholder for a change: the fields of the record that are set once the Spark application runs.
APPLICATION = object()

#: From the creation of the session until it is scheduled.
_QUEUE_SECONDS = 15.8
#: From the start of the resource acquisition to its end.
_ACQUISITION_SECONDS = 4.2
#: From the submission to Livy until the session is idle.
_STARTUP_SECONDS = 32.0
#: From idle to the idle timeout, in real seconds, where the scenario is not about the timeout.
_REAL_IDLE_TIMEOUT_SECONDS = 3600.0
#: From Livy's final state to the clean-up.
_CLEANUP_SECONDS = 2.0
#: From Livy's final state to the final result.
RESULT_SECONDS = 31.0
#: From a DELETE request to Livy's final state, if the Spark application had not started.
_CANCELLATION_SECONDS = 3.0
#: From a DELETE request until Livy shuts a running session down, and until its final state: for two to five seconds
#: after the request, the live service was seen to answer "idle".
_SHUTDOWN_SECONDS = 2.0
_KILL_SECONDS = 5.0


@dataclass(frozen=True)
class Transition:
    """
    A change of a session's record at a given time.

    :param at: seconds since the creation of the session (in a :class:`Scenario`) or since the epoch.
    :param changes: the new values of fields; a dictionary is merged into the record's dictionary of that name.
    """

    at: float
    changes: Mapping[str, Any]


@dataclass(frozen=True)
class Scenario:
    """
    What happens to a session that is neither cancelled nor kept alive.

    :param description: what the session does, for ``--help`` and the README; completes "A session that ...".
    :param transitions: the transitions in the order of their times, which count from the session's creation.
    :param idle_timeout: time from the last transition to the idle timeout.
    :param real_idle_timeout: the same in real seconds, which the time scale does not change. A session without either
        has no idle timeout.
    :param flaky: fail every other GET of the session.
    :param refuses_to_end: a cancellation is accepted, and has no effect.
    """

    description: str
    transitions: tuple[Transition, ...]
    idle_timeout: float | None = None
    real_idle_timeout: float | None = None
    flaky: bool = False
    refuses_to_end: bool = False

    def idle_timeout_in_real_seconds(self, time_scale: float) -> float | None:
        """Return the real seconds from the last transition to the idle timeout; None if there is no idle timeout."""
        if self.real_idle_timeout is not None:
            return self.real_idle_timeout
        return None if self.idle_timeout is None else self.idle_timeout * time_scale


def livy_change(state: str, stamp: str | None = None) -> dict[str, Any]:
    """
    Return the changes that set Livy's state, which the record has in two places that always agree.

    :param stamp: the timestamp to set in ``livyInfo``, if any.
    """
    return {"state": state, "livyInfo": {"currentState": state} | ({stamp: NOW} if stamp else {})}


_CLEANUP = {"pluginInfo": {"currentState": "Cleanup", "cleanupStartedAt": NOW}}


def queue_transitions(until: float) -> Iterator[Transition]:
    """
    Yield the transitions from creation to the acquisition of nodes.

    :param until: when the job is scheduled.
    """
    yield Transition(0.2, {"schedulerInfo": {"queuedAt": NOW}})
    yield Transition(until, {"schedulerInfo": {"currentState": "Scheduled", "scheduledAt": NOW}})
    yield Transition(until + 2.0, {"pluginInfo": {"preparationStartedAt": NOW}})
    acquisition = {"currentState": "ResourceAcquisition", "resourceAcquisitionStartedAt": NOW}
    yield Transition(until + 4.0, {"pluginInfo": acquisition})


def startup_transitions(
    queue: float = _QUEUE_SECONDS, acquisition: float = _ACQUISITION_SECONDS, startup: float = _STARTUP_SECONDS
) -> Iterator[Transition]:
    """
    Yield the transitions from creation to idle.

    :param queue: seconds until the session is scheduled.
    :param acquisition: seconds for acquiring nodes, from four seconds later on.
    :param startup: seconds from then until it is idle.
    """
    yield from queue_transitions(queue)
    submitted = queue + 4.0 + acquisition
    yield Transition(submitted, {"pluginInfo": {"currentState": "Submission", "submissionStartedAt": NOW}})
    yield Transition(submitted + 0.1, livy_change("starting", "startingAt") | {"application": APPLICATION})
    yield Transition(submitted + 2.1, {"pluginInfo": {"currentState": "Monitoring", "monitoringStartedAt": NOW}})
    yield Transition(submitted + startup, livy_change("idle", "idleAt"))


def state_transitions(
    at: float, state: str, *, startup: Iterable[Transition] = (), stamp: str | None = None
) -> Iterator[Transition]:
    """
    Yield what a session goes through at once, so that it has a state of Livy without having waited for it.

    :param at: time of all transitions.
    :param startup: how its Spark application starts, which it does now if the state needs one.
    :param stamp: the timestamp of that state, if the live service sets one.
    """
    if state not in ("not_started", *FINAL_STATES):
        yield from (Transition(at, transition.changes) for transition in startup)
    yield Transition(at, livy_change(state, stamp))


def end_transitions(
    at: float,
    state: str,
    result: str,
    *,
    error: tuple[str, str, str] | None = None,
    idle_timed_out: bool = False,
    cancelled: bool = False,
    scale: float = 1.0,
    result_seconds: float = RESULT_SECONDS,
) -> Iterator[Transition]:
    """
    Yield the transitions of a session's end: Livy's final state, the clean-up, then the final result.

    :param at: time of Livy's final state.
    :param state: Livy's final state.
    :param result: the final result.
    :param error: source, code and message of the error, if any.
    :param idle_timed_out: mark the session as ended by its idle timeout.
    :param cancelled: leave the clean-up out, as that of a cancelled session began with the request.
    :param scale: factor for the durations after ``at``.
    :param result_seconds: from Livy's final state to the final result.
    """
    # Of the timestamps of final states, the live service sets only deadAt.
    yield Transition(at, livy_change(state, "deadAt" if state == "dead" else None))
    if not cancelled:
        yield Transition(at + min(_CLEANUP_SECONDS, result_seconds) * scale, _CLEANUP)
    final: dict[str, Any] = {
        "result": result,
        "schedulerInfo": {"currentState": "Ended", "endedAt": NOW},
        "pluginInfo": {"currentState": "Ended"},
    }
    if error:
        source, code, message = error
        final["errorInfo"] = [{"message": message, "errorCode": code, "source": source}]
    if idle_timed_out:
        final["appInfo"] = {"isSessionTimedOut": "true"}
    yield Transition(at + result_seconds * scale, final)


def idle_timeout_transitions(at: float, scale: float) -> Iterator[Transition]:
    """
    Yield the transitions of a session's end by its idle timeout.

    :param at: time at which the idle timeout expires.
    :param scale: factor for the durations after ``at``.
    """
    error = ("Unknown", "LIVY_JOB_TIMED_OUT", "Job failed during run time with state=[dead].")
    yield from end_transitions(at, "dead", "Failed", error=error, idle_timed_out=True, scale=scale)


def cancellation_request(at: float) -> Transition:
    """Return what a DELETE request changes at once, also where a session refuses to end."""
    return Transition(at, {"schedulerInfo": {"cancellationRequestedAt": NOW}})


def cancellation_transitions(
    at: float, *, started: bool, scale: float = 1.0, result_seconds: float = RESULT_SECONDS, shuts_down: bool = True
) -> Iterator[Transition]:
    """
    Yield the transitions of a session's cancellation, from the request to the final result.

    That a running session is ``shutting_down`` for a while is taken from Apache Livy, and the state is in Synapse's
    documentation; no recording has it. In recordings of killed sessions ``shuttingDownAt`` is null, so it is here.

    :param at: time of the request.
    :param started: whether the Spark application had started; Livy's final state is then ``killed``, else ``error``.
    :param scale: factor for the durations after ``at``.
    :param result_seconds: from Livy's final state to the final result.
    :param shuts_down: whether it has that state, as sessions have and batch jobs have not.
    """
    yield cancellation_request(at)
    yield Transition(at, _CLEANUP)
    if started and shuts_down:
        yield Transition(at + _SHUTDOWN_SECONDS * scale, livy_change("shutting_down"))
    state, duration = ("killed", _KILL_SECONDS) if started else ("error", _CANCELLATION_SECONDS)
    ended_at = at + duration * scale
    yield from end_transitions(ended_at, state, "Cancelled", cancelled=True, scale=scale, result_seconds=result_seconds)


_IDLE_AT = _QUEUE_SECONDS + 4.0 + _ACQUISITION_SECONDS + _STARTUP_SECONDS
_CAPACITY_ERROR = (
    "User",
    "AVAILABLE_COMPUTE_CAPACITY_EXCEEDED",
    "Your Spark job requested 24 vcores. However, the workspace only has 12 vcores available.",
)
_WORKSPACE_CAPACITY_ERROR = (
    "User",
    "MAXIMUM_WORKSPACE_CAPACITY_EXCEEDED",
    "Your Spark job requested 24 vcores. However, the workspace only has 12 vcores available out of quota of 50.",
)
# Of this error, code and message are public, but not the source.
_CLUSTER_ERROR = (
    "System",
    "CLUSTER_CREATION_TIMED_OUT",
    "Attempt=[1]/[3]Cluster was in terminal state=[Cancelled] before it reached 'Ready' state.",
)
DEAD_ERROR = ("Dependency", "LIVY_JOB_STATE_DEAD", "Job failed during run time with state=[dead].")
# Made like DEAD_ERROR, as no recording has a session whose interpreter died.
INTERPRETER_ERROR = ("Dependency", "LIVY_JOB_STATE_ERROR", "Job failed during run time with state=[error].")
#: The error of a session by the state in which it has failed.
DEATHS = {"dead": DEAD_ERROR, "error": INTERPRETER_ERROR}

DEFAULT_SCENARIO = "becomes_idle"

#: All scenarios by name.
SCENARIOS: dict[str, Scenario] = {
    DEFAULT_SCENARIO: Scenario(
        "is idle in about a minute; idle timeout 1 h of real time later",
        tuple(startup_transitions()),
        real_idle_timeout=_REAL_IDLE_TIMEOUT_SECONDS,
    ),
    "idles_out": Scenario(
        "is idle in about a minute; idle timeout 1 min later",
        tuple(startup_transitions()),
        idle_timeout=60.0,
    ),
    "fails_to_start": Scenario(
        "fails while acquiring nodes, for lack of capacity",
        (
            *queue_transitions(_QUEUE_SECONDS),
            *end_transitions(_QUEUE_SECONDS + 30.0, "error", "Failed", error=_CAPACITY_ERROR),
        ),
    ),
    "capacity_exceeded": Scenario(
        "fails once it is scheduled, as all vcores are in use",
        (
            *queue_transitions(_QUEUE_SECONDS),
            *end_transitions(_QUEUE_SECONDS + 6.0, "error", "Failed", error=_WORKSPACE_CAPACITY_ERROR),
        ),
    ),
    "cluster_times_out": Scenario(
        "fails after 5 min of acquiring nodes, as no cluster got ready",
        (
            *queue_transitions(_QUEUE_SECONDS),
            *end_transitions(_QUEUE_SECONDS + 304.0, "error", "Failed", error=_CLUSTER_ERROR),
        ),
    ),
    "dies_while_running": Scenario(
        "is idle, then busy after 10 s, and dead 30 s later",
        (
            *startup_transitions(),
            Transition(_IDLE_AT + 10.0, livy_change("busy", "busyAt")),
            *end_transitions(_IDLE_AT + 40.0, "dead", "Failed", error=DEAD_ERROR),
        ),
    ),
    "cancelled_while_queued": Scenario(
        "is cancelled after 8 s in the queue: error/Cancelled",
        (Transition(0.2, {"schedulerInfo": {"queuedAt": NOW}}), *cancellation_transitions(8.0, started=False)),
    ),
    "cancelled_while_idle": Scenario(
        "is idle, and cancelled 30 s later: killed/Cancelled",
        (*startup_transitions(), *cancellation_transitions(_IDLE_AT + 30.0, started=True)),
    ),
    # An operator reported such a session, which only the deletion of its pool ended; no recording has one.
    "refuses_to_end": Scenario(
        "is idle in about a minute; no DELETE ends it",
        tuple(startup_transitions()),
        refuses_to_end=True,
    ),
    "unknown_state": Scenario(
        "has an undocumented state before it becomes idle",
        tuple(
            sorted(
                (*startup_transitions(), Transition(_IDLE_AT - 15.0, livy_change("hibernating"))),
                key=lambda transition: transition.at,
            )
        ),
        real_idle_timeout=_REAL_IDLE_TIMEOUT_SECONDS,
    ),
    "slow": Scenario(
        "is queued for 10 minutes, then takes 5 to start",
        tuple(startup_transitions(queue=600.0, acquisition=60.0, startup=240.0)),
        real_idle_timeout=_REAL_IDLE_TIMEOUT_SECONDS,
    ),
    "flaky": Scenario(
        "becomes idle; every other GET fails (503/429/500/reset)",
        tuple(startup_transitions()),
        real_idle_timeout=_REAL_IDLE_TIMEOUT_SECONDS,
        flaky=True,
    ),
}
