"""
What can happen to an emulated session, as tables of moments and what changes in its record at each.

The times are those of recordings of the live service, in seconds, before any scaling.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["DEFAULT_SCENARIO", "NOW", "SCENARIOS", "Moment", "Scenario", "cancellation", "ending"]

#: Stands in a change for the time of its moment.
NOW = object()

#: Stands in a change for what is known of the application once it runs.
APPLICATION = object()

_QUEUED = 15.8
_NODES = 4.2
_START = 32.0
_IDLE_TIMEOUT = 1200.0

#: From the end for Livy to the clean-up, and to the final result.
_CLEANUP = 2.0
_SETTLED = 31.0

#: From a DELETE to the end for Livy.
_CANCELLATION = 3.0


@dataclass(frozen=True)
class Moment:
    """
    A time at which the record of a session changes.

    :param at: the time, in seconds.
    :param changes: what changes, nested as the record is.
    """

    at: float
    changes: Mapping[str, Any]


@dataclass(frozen=True)
class Scenario:
    """
    What happens to a session if nobody intervenes.

    :param about: what happens, in a sentence.
    :param moments: when and how its record changes, counted from its creation.
    :param idle_timeout: after how many idle seconds it is stopped; None if it ends otherwise.
    :param flaky: whether reading it fails every other time.
    """

    about: str
    moments: tuple[Moment, ...]
    idle_timeout: float | None = None
    flaky: bool = False


def _livy(state: str, stamp: str | None = None) -> dict[str, Any]:
    """Livy's state stands in two places, which agree always."""
    return {"state": state, "livyInfo": {"currentState": state} | ({stamp: NOW} if stamp else {})}


def _queue(until: float) -> Iterator[Moment]:
    yield Moment(0.2, {"schedulerInfo": {"queuedAt": NOW}})
    yield Moment(until, {"schedulerInfo": {"currentState": "Scheduled", "scheduledAt": NOW}})
    yield Moment(until + 2.0, {"pluginInfo": {"preparationStartedAt": NOW}})
    acquisition = {"currentState": "ResourceAcquisition", "resourceAcquisitionStartedAt": NOW}
    yield Moment(until + 4.0, {"pluginInfo": acquisition})


def _start(queued: float = _QUEUED, nodes: float = _NODES, start: float = _START) -> Iterator[Moment]:
    """A session's way from the queue until it is idle."""
    yield from _queue(queued)
    submitted = queued + 4.0 + nodes
    yield Moment(submitted, {"pluginInfo": {"currentState": "Submission", "submissionStartedAt": NOW}})
    yield Moment(submitted + 0.1, _livy("starting", "startingAt") | {"application": APPLICATION})
    yield Moment(submitted + 2.1, {"pluginInfo": {"currentState": "Monitoring", "monitoringStartedAt": NOW}})
    yield Moment(submitted + start, _livy("idle", "idleAt"))


def ending(
    at: float,
    state: str,
    result: str,
    *,
    error: tuple[str, str, str] | None = None,
    idled_out: bool = False,
    scale: float = 1.0,
) -> Iterator[Moment]:
    """
    A session's end: for Livy first, then for the plugin, and half a minute later for Synapse.

    :param at: when it ends for Livy.
    :param state: Livy's final state.
    :param result: the final result.
    :param error: source, code and message of the error, where there is one.
    :param idled_out: whether it ends because nothing ran on it.
    :param scale: what the times after ``at`` are multiplied with.
    """
    # Of the stamps for ends, the live service sets only this one.
    yield Moment(at, _livy(state, "deadAt" if state == "dead" else None))
    cleanup = {"currentState": "Cleanup", "cleanupStartedAt": NOW}
    yield Moment(at + _CLEANUP * scale, {"pluginInfo": cleanup})
    final: dict[str, Any] = {
        "result": result,
        "schedulerInfo": {"currentState": "Ended", "endedAt": NOW},
        "pluginInfo": {"currentState": "Ended"},
    }
    if error:
        source, code, message = error
        final["errorInfo"] = [{"message": message, "errorCode": code, "source": source}]
    if idled_out:
        final["appInfo"] = {"isSessionTimedOut": "true"}
    yield Moment(at + _SETTLED * scale, final)


def idle_timeout(at: float, scale: float) -> Iterator[Moment]:
    """
    A session's end after its idle timeout.

    :param at: when the timeout has passed.
    :param scale: what the times after ``at`` are multiplied with.
    """
    error = ("Unknown", "LIVY_JOB_TIMED_OUT", "Job failed during run time with state=[dead].")
    yield from ending(at, "dead", "Failed", error=error, idled_out=True, scale=scale)


def cancellation(at: float, *, started: bool, scale: float = 1.0) -> Iterator[Moment]:
    """
    A session's end after somebody asked for it: ``killed``, or ``error`` for one that had not started.

    :param at: when it was asked for.
    :param started: whether Livy had it already.
    :param scale: what the times after ``at`` are multiplied with.
    """
    yield Moment(at, {"schedulerInfo": {"cancellationRequestedAt": NOW}})
    state = "killed" if started else "error"
    yield from ending(at + _CANCELLATION * scale, state, "Cancelled", scale=scale)


_IDLE = _QUEUED + 4.0 + _NODES + _START
_NO_CAPACITY = (
    "User",
    "AVAILABLE_COMPUTE_CAPACITY_EXCEEDED",
    "Your Spark job requested 24 vcores. However, the workspace only has 12 vcores available.",
)
_DIED = ("Dependency", "LIVY_JOB_STATE_DEAD", "Job failed during run time with state=[dead].")

DEFAULT_SCENARIO = "becomes_idle"

#: The scenarios by name.
SCENARIOS: dict[str, Scenario] = {
    DEFAULT_SCENARIO: Scenario(
        "is idle after about a minute, and idles out 20 minutes later",
        tuple(_start()),
        idle_timeout=_IDLE_TIMEOUT,
    ),
    "idles_out": Scenario(
        "is idle after about a minute, and idles out one minute later",
        tuple(_start()),
        idle_timeout=60.0,
    ),
    "fails_to_start": Scenario(
        "fails while it acquires nodes, for lack of capacity",
        (*_queue(_QUEUED), *ending(_QUEUED + 30.0, "error", "Failed", error=_NO_CAPACITY)),
    ),
    "dies_while_running": Scenario(
        "is idle, busy after 10 seconds, and dead 30 seconds later",
        (
            *_start(),
            Moment(_IDLE + 10.0, _livy("busy", "busyAt")),
            *ending(_IDLE + 40.0, "dead", "Failed", error=_DIED),
        ),
    ),
    "cancelled_while_queued": Scenario(
        "is cancelled in the queue after 8 seconds, and ends as error/Cancelled",
        (Moment(0.2, {"schedulerInfo": {"queuedAt": NOW}}), *cancellation(8.0, started=False)),
    ),
    "cancelled_while_idle": Scenario(
        "is idle, and cancelled 30 seconds later",
        (*_start(), *cancellation(_IDLE + 30.0, started=True)),
    ),
    "unknown_state": Scenario(
        "goes through a state that no documentation knows before it is idle",
        tuple(
            sorted((*_start(), Moment(_IDLE - 15.0, _livy("hibernating"))), key=lambda moment: moment.at),
        ),
        idle_timeout=_IDLE_TIMEOUT,
    ),
    "slow": Scenario(
        "is queued for 10 minutes and takes 5 to start",
        tuple(_start(queued=600.0, nodes=60.0, start=240.0)),
        idle_timeout=_IDLE_TIMEOUT,
    ),
    "flaky": Scenario(
        "becomes idle, but every other GET fails: 503, 429, 500, a reset connection",
        tuple(_start()),
        idle_timeout=_IDLE_TIMEOUT,
        flaky=True,
    ),
}
