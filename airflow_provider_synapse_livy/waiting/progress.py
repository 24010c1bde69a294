"""How a wait goes, for the task's log: the phases so far, and how long each took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from itertools import pairwise
from typing import NamedTuple

__all__ = ["PhaseStart", "format_duration", "format_history", "shortened", "time_breakdown"]

#: How many phases one line of the log goes back; a session may turn busy and idle for days.
_MAX_PHASES = 8


class PhaseStart(NamedTuple):
    """
    The beginning of a phase, as a wait has seen it.

    :param phase: what the thing was doing.
    :param at: since when, in seconds since the epoch.
    """

    phase: str
    at: float


def format_history(history: Sequence[PhaseStart], timed: Mapping[str, timedelta]) -> str:
    """
    Return the phases so far in a line: those that are over with their durations, the present one without.

    :param history: the phases that the wait has seen.
    :param timed: how long phases took, as the service has timed them.
    """
    over = [f"{phase} {format_duration(took)}".strip() for phase, took in _phases_over(history, timed)]
    return " → ".join([*over, history[-1].phase])


def time_breakdown(history: Sequence[PhaseStart], timed: Mapping[str, timedelta], now: float) -> str:
    """
    Return where the time went, for the line at the end of a wait.

    :param history: the phases that the wait has seen.
    :param timed: how long phases took, as the service has timed them.
    :param now: the time, in seconds since the epoch.
    """
    spent: dict[str, timedelta] = {}
    for phase, took in _phases_over([*history, PhaseStart("", now)], timed, first_as_seen=True):
        spent[phase] = spent.get(phase, timedelta()) + took
    return ", ".join(f"{phase} {format_duration(took)}" for phase, took in spent.items() if took)


def _phases_over(
    history: Sequence[PhaseStart], timed: Mapping[str, timedelta], *, first_as_seen: bool = False
) -> list[tuple[str, timedelta]]:
    """
    Return the phases that are over: with the service's time, or where it has not timed them, with that of the wait.

    How long the first one had lasted when the wait began is not known, so it has no time, unless what was seen will do.
    """
    phases = [(phase, took) for phase, took in timed.items() if phase != history[-1].phase]
    known = {phase for phase, _ in phases}
    first_known = min((index for index, start in enumerate(history) if start.phase in known), default=0)
    before: list[tuple[str, timedelta]] = []
    after: list[tuple[str, timedelta]] = []
    for index, (start, end) in enumerate(pairwise(history)):
        if start.phase not in known:
            seconds = end.at - start.at if index or first_as_seen else 0.0
            (before if index < first_known else after).append((start.phase, timedelta(seconds=seconds)))
    return [*before, *phases, *after]


def shortened(history: list[PhaseStart]) -> list[PhaseStart]:
    """
    Return a history of bounded length: what came before is summed up as earlier.

    :param history: the phases that the wait has seen.
    """
    if len(history) <= _MAX_PHASES:
        return history
    return [PhaseStart("earlier", history[0].at), *history[2:]]


def format_duration(span: timedelta) -> str:
    """
    Return a duration in words, empty if there is none.

    :param span: the duration.
    """
    seconds = span.total_seconds()
    if seconds <= 0:
        return ""
    if seconds < 9.95:  # above, a tenth would be noise
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "min"), (rest, "s"))
    return " ".join(f"{number} {unit}" for number, unit in parts if number)
