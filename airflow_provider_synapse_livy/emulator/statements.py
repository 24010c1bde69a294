"""
The statements of a session: which runs when, what comes of it, and what it does to the session.

In the recordings of Synapse, statements wait or run, and none has ended. From there are their fields, and the answer to
a cancellation. All else is Apache Livy's, as recorded from Livy 0.9 or read in its source: the queue, the end of a
statement and its output, the last 100, what a cancellation does, and what is left when the interpreter dies.

As the record of a session, that of a statement is computed for a given time. All times are in seconds since the epoch,
unless stated otherwise; a time that never comes is infinite.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from airflow_provider_synapse_livy.emulator.creation import json_object
from airflow_provider_synapse_livy.emulator.scenarios import (
    DEAD_ERROR,
    INTERPRETER_ERROR,
    Transition,
    end_transitions,
    livy_change,
)

__all__ = [
    "INTERPRETER_DIED",
    "KINDS",
    "NOTHING_FOLDED",
    "UNSCRIPTED",
    "Fold",
    "LiveRun",
    "Script",
    "Statement",
    "cancellation_seconds",
    "folded",
    "free_times",
    "statement_fields",
    "statement_records",
    "statement_transitions",
]

#: The kinds in Synapse's specification, one more that Microsoft's clients send, and one more of Livy.
KINDS = ("spark", "pyspark", "dotnetspark", "sql", "csharp", "sparkr")

#: How many statements of a session can be read; older ones are forgotten.
_KEPT = 100
#: From a request until its statement runs, in emulated seconds: the answer to the request always says "waiting".
_START_SECONDS = 0.2
#: From a cancellation until the Spark job that a statement runs has ended.
_JOB_CANCELLATION_SECONDS = 0.1
#: How long Livy waits for a statement to end that was cancelled.
_CANCELLATION_TIMEOUT_SECONDS = 30.0
#: The least of that in real seconds where Spark is real: however fast a session ages, Spark needs some time.
_LEAST_CANCELLATION_TIMEOUT = 5.0

_EMPTY_TEXT = {"status": "ok", "data": {"text/plain": ""}}
INTERPRETER_DIED = {"status": "error", "ename": "Error", "evalue": "Interpreter died:\n", "traceback": []}

Victim = Literal["interpreter", "driver"]


@dataclass(frozen=True)
class Script:
    """
    What a statement does.

    :param contains: the text in the code of a statement that has this script.
    :param output: its output, to which ``execution_count`` is added; None for an empty text, or for what Livy says of
        an interpreter that died.
    :param seconds: how long it runs, in emulated seconds.
    :param ignores_cancel: whether it runs on when it is cancelled, as Python does that waits for no Spark job.
    :param kills: what dies when it has run.
    """

    contains: str
    output: Mapping[str, Any] | None = None
    seconds: float = 1.0
    ignores_cancel: bool = False
    kills: Victim | None = None

    @property
    def answer(self) -> Mapping[str, Any]:
        """The output, also of a script that has none of its own."""
        if self.output is not None:
            return self.output
        return INTERPRETER_DIED if self.kills == "interpreter" else _EMPTY_TEXT


#: What a statement does that no script is for.
UNSCRIPTED = Script("")
#: What all statements do in a session whose interpreter has died.
_IN_VAIN = Script("", INTERPRETER_DIED, seconds=0.0)


@dataclass
class LiveRun:
    """
    What is known so far of a statement that a real Spark runs.

    :param kind: the kind of its code.
    :param started_at: when it began to run.
    :param ended_at: when its code ended.
    :param output: its output, once its code has ended.
    :param progress: which part of its Spark tasks has run, from 0 to 1.
    """

    kind: str
    started_at: float = math.inf
    ended_at: float = math.inf
    output: Mapping[str, Any] | None = None
    progress: float = 0.0

    def end(self, now: float, output: Mapping[str, Any]) -> None:
        """Note that the code has ended, or that it can't be run at all."""
        self.output = output
        self.ended_at = now
        self.started_at = min(self.started_at, now)


@dataclass
class Statement:
    """
    One statement: the request that created it, and the request that cancelled it.

    :param id: its number in the session, from 0.
    :param script: what it does.
    :param posted_at: time of the request that created it.
    :param cancelled_at: time of the request that cancelled it; None if that came too late, or never.
    :param live: what a real Spark does with it, instead of the script.
    """

    id: int
    code: str
    script: Script
    posted_at: float
    cancelled_at: float | None = None
    live: LiveRun | None = None


@dataclass(frozen=True)
class Fold:
    """
    The oldest statements of a session, which need not be looked at any more.

    :param count: how many they are.
    :param free_at: when the last of them was out of the way.
    """

    count: int = 0
    free_at: float = 0.0


NOTHING_FOLDED = Fold()


@dataclass(frozen=True)
class _Run:
    """
    When a statement runs, and how it ends.

    :param ends_at: when it has its final state.
    :param code_ends_at: when its output is there, and the next statement may run.
    :param kills: what dies when its code ends.
    """

    starts_at: float
    ends_at: float
    code_ends_at: float
    final_state: str
    output: Mapping[str, Any] | None
    kills: Victim | None = None

    @property
    def is_skipped(self) -> bool:
        """Whether it was cancelled before it ran."""
        return self.starts_at == math.inf and self.final_state == "cancelled"

    @property
    def settled_at(self) -> float:
        """When nothing comes of it any more."""
        return self.ends_at if self.is_skipped else max(self.ends_at, self.code_ends_at)


def statement_fields(body: bytes) -> tuple[str, str | None]:
    """
    Return code and kind of a request to create a statement. Other fields do no harm, as in that of a session.

    :param body: the body of the request.
    :raises ValueError: if it is no JSON object, has no code, or one of the two is no string. The words are our own.
    """
    fields = {name.lower(): value for name, value in json_object(body).items()}
    code, kind = fields.get("code"), fields.get("kind")
    if code is None:
        raise ValueError("The field 'code' is required.")
    for name, value in (("code", code), ("kind", kind)):
        if not isinstance(value, str | None):
            raise ValueError(f"The field '{name}' must be a string.")  # noqa: TRY004, its caller handles one kind of error
    return code, kind


def folded(statements: Sequence[Statement], fold: Fold, now: float, scale: float) -> Fold:
    """
    Return a fold of more statements: they have settled and are forgotten, and what is seen a later one decides.

    :param statements: all statements of a session, oldest first.
    :param fold: what is folded so far.
    :param now: the time; earlier ones can't be asked about any more.
    :param scale: real seconds per emulated second.
    """
    forgotten = len(statements) - _KEPT - fold.count
    if forgotten <= _KEPT:  # not for a few of them each time
        return fold
    free_at = fold.free_at
    for count, (_, run) in enumerate(itertools.islice(_runs(statements, scale, fold), forgotten), fold.count):
        if run.kills or run.settled_at > now:
            break
        if run.starts_at != math.inf:
            fold, free_at = Fold(count, free_at), run.code_ends_at
    return fold


def statement_records(
    statements: Sequence[Statement], now: float, scale: float, fold: Fold, *, only: int | None = None
) -> list[dict[str, Any]]:
    """
    Return the JSON records of the last 100 statements at the time ``now``, oldest first.

    :param statements: all statements of a session, oldest first.
    :param scale: real seconds per emulated second.
    :param fold: what is folded of them.
    :param only: the number of the one statement whose record is wanted.
    """
    kept = list(_runs(statements, scale, fold))[-_KEPT:]
    return [_record(statement, run, now) for statement, run in kept if only in (None, statement.id)]


def statement_transitions(statements: Sequence[Statement], scale: float, fold: Fold) -> Iterator[Transition]:
    """
    Yield what the statements of a session do to it: it is busy while one runs, and ends if one kills it.

    In recordings ``idleAt`` is older than ``busyAt``, also long after the statement: it is set once.

    :param statements: all statements of the session, oldest first.
    :param scale: real seconds per emulated second.
    :param fold: what is folded of them.
    """
    for statement, run in _runs(statements, scale, fold):
        if run.starts_at == math.inf:
            if statement.live and statement.cancelled_at is None:
                yield Transition(math.inf, {})  # it will be busy: its idle timeout has not begun
            continue
        yield Transition(run.starts_at, livy_change("busy", "busyAt"))
        if run.kills == "driver":
            yield from end_transitions(run.code_ends_at, "dead", "Failed", error=DEAD_ERROR, scale=scale)
            return
        if run.kills == "interpreter":
            yield from end_transitions(run.code_ends_at, "error", "Failed", error=INTERPRETER_ERROR, scale=scale)
            return
        yield Transition(run.code_ends_at, livy_change("idle"))


def _record(statement: Statement, run: _Run, now: float) -> dict[str, Any]:
    has_output = now >= run.ends_at and now >= run.code_ends_at and run.output is not None
    record = {
        "id": statement.id,
        "code": statement.code,
        "state": _state(statement, run, now),
        "sourceId": "default",
        "output": _output(statement.id, run.output or {}) if has_output else None,
    }
    return record | _livy_fields(statement.live, run, now) if statement.live else record


def _livy_fields(live: LiveRun, run: _Run, now: float) -> dict[str, Any]:
    """Return the fields that Livy has besides, which no recording of Synapse shows: times are in milliseconds."""
    has_ended = now >= run.ends_at
    return {
        "progress": 1.0 if has_ended else live.progress,
        "started": round(run.starts_at * 1000) if now >= run.starts_at else 0,
        "completed": round(run.ends_at * 1000) if has_ended else 0,
    }


def _state(statement: Statement, run: _Run, now: float) -> str:
    if now >= run.ends_at:
        return run.final_state
    if now < run.starts_at:
        return "waiting"
    is_cancelled = statement.cancelled_at is not None and now >= statement.cancelled_at
    return "cancelling" if is_cancelled else "running"


def _output(statement_id: int, output: Mapping[str, Any]) -> dict[str, Any]:
    return {"status": "ok", "execution_count": statement_id, **copy.deepcopy(dict(output))}


def free_times(statements: Sequence[Statement], scale: float, fold: Fold) -> Iterator[tuple[Statement, float]]:
    """
    Yield each statement with the time from which on it is in nobody's way; infinity if that is not known yet.

    :param statements: all statements of a session, oldest first.
    :param scale: real seconds per emulated second.
    :param fold: what is folded of them.
    """
    for statement, run in _runs(statements, scale, fold):
        yield statement, run.ends_at if run.is_skipped else run.code_ends_at


def cancellation_seconds(scale: float) -> float:
    """Return for how many real seconds a real Spark is asked to cancel the jobs of a statement."""
    return max(_CANCELLATION_TIMEOUT_SECONDS * scale, _LEAST_CANCELLATION_TIMEOUT)


def _runs(statements: Sequence[Statement], scale: float, fold: Fold) -> Iterator[tuple[Statement, _Run]]:
    """Yield each statement that is not folded with its run: one at a time, first in, first out."""
    free_at, died = fold.free_at, False
    for statement in itertools.islice(statements, fold.count, None):
        ready_at = max(statement.posted_at + _START_SECONDS * scale, free_at)
        starts_at = statement.live.started_at if statement.live else ready_at
        if statement.cancelled_at is not None and statement.cancelled_at < starts_at:
            yield statement, _Run(math.inf, statement.cancelled_at, math.inf, "cancelled", None)
            continue
        if statement.live:
            run = _live_run(statement, statement.live, scale)
        else:
            run = _run(replace(statement, script=_IN_VAIN) if died else statement, ready_at, scale)
        yield statement, run
        free_at = math.inf if run.kills == "driver" else run.code_ends_at
        died = died or run.kills == "interpreter"


def _live_run(statement: Statement, live: LiveRun, scale: float) -> _Run:
    """Return what is known of the run of a statement in a real Spark."""
    if statement.cancelled_at is None:
        return _Run(live.started_at, live.ended_at, live.ended_at, "available", live.output)
    ends_at = min(statement.cancelled_at + cancellation_seconds(scale), live.ended_at)
    return _Run(live.started_at, ends_at, live.ended_at, "cancelled", live.output)


def _run(statement: Statement, starts_at: float, scale: float) -> _Run:
    """Return the run of a statement that starts at the given time; the driver's death leaves it running."""
    script, cancelled_at = statement.script, statement.cancelled_at
    code_ends_at = starts_at + script.seconds * scale
    if cancelled_at is None:
        ends_at = math.inf if script.kills == "driver" else code_ends_at
        return _Run(starts_at, ends_at, code_ends_at, "available", script.answer, script.kills)
    if script.ignores_cancel:
        ends_at = min(cancelled_at + _CANCELLATION_TIMEOUT_SECONDS * scale, code_ends_at)
        return _Run(starts_at, ends_at, code_ends_at, "cancelled", script.answer, script.kills)
    ends_at = min(cancelled_at + _JOB_CANCELLATION_SECONDS * scale, code_ends_at)
    return _Run(starts_at, ends_at, ends_at, "cancelled", _cancelled_job(statement.id))


def _cancelled_job(number: int) -> dict[str, Any]:
    reason = f"Job {number} cancelled part of cancelled job group {number}"
    return {
        "status": "error",
        "ename": "Error",
        "evalue": f"org.apache.spark.SparkException: {reason}",
        "traceback": [],
    }
