"""
The documented ``SparkStatement``: code that runs in a Spark session, and what came of it.

Synapse was never recorded with an output, so what is said of outputs is what a real Apache Livy sends.

Source: `Spark Session - Get Spark Statement
<https://learn.microsoft.com/rest/api/synapse/data-plane/spark-session/get-spark-statement>`__
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import Field

from airflow_provider_synapse_livy.livy.documented import Documented, JsonObject, Lenient, Number, Text, Texts
from airflow_provider_synapse_livy.livy.strict_json import storable, storable_number

__all__ = ["LivyStatementState", "SparkStatement", "SparkStatementOutput", "count_ahead"]

#: How many characters of the error's name and message stand in the first line of a message.
_MAX_WORDS = 40

#: How many of the last lines of a traceback a message shows, and how many characters of each.
_MAX_TRACEBACK = 20
_MAX_LINE = 500

#: How many characters of the error's message stand in the lines below the first.
_MAX_EVALUE = 2000

#: In how many steps of its progress a statement is told to run on.
_STEPS = 4


class LivyStatementState(StrEnum):
    """``LivyStatementStates``: the state of a statement. Livy itself never says ``error``: see the output's status."""

    WAITING = "waiting"
    RUNNING = "running"
    AVAILABLE = "available"
    ERROR = "error"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether a statement never leaves this state."""
        return self in (LivyStatementState.AVAILABLE, LivyStatementState.ERROR, LivyStatementState.CANCELLED)


#: The states of a statement whose code has begun to run.
_BEGUN = (
    LivyStatementState.RUNNING,
    LivyStatementState.CANCELLING,
    LivyStatementState.AVAILABLE,
    LivyStatementState.ERROR,
)


class SparkStatementOutput(Documented):
    """
    What came of a statement.

    :param status: ``ok`` or ``error``.
    :param execution_count: the statement's number.
    :param data: the result by its MIME type: ``text/plain`` for what was printed and for the last expression,
        ``application/json`` for SQL and ``%json``.
    :param ename: the name of the error, such as ``ValueError``.
    :param evalue: the error's message.
    :param traceback: the lines of the traceback, as the interpreter wrote them.
    """

    status: str | None = None
    execution_count: Annotated[Number, Field(alias="execution_count")] = None
    data: JsonObject = None
    ename: Text = None
    evalue: Text = None
    traceback: Texts = None

    @property
    def is_ok(self) -> bool:
        """Whether the code ran without an error. A magic that failed was seen with its error within an ``ok``."""
        return self.status == "ok" and not self._magic_error

    @property
    def error(self) -> SparkStatementOutput | None:
        """The error: this output itself, or the one that is within it."""
        if inner := self._magic_error:
            return SparkStatementOutput.model_validate(inner)
        return self if self.status == "error" else None

    @property
    def traceback_lines(self) -> list[str]:
        """The lines of the traceback. Python's come with their ends, those of SQL and Scala without."""
        pieces = self.traceback if isinstance(self.traceback, tuple) else ()
        text = "\n".join(str(piece).strip("\n") for piece in pieces)
        return [line for line in text.splitlines() if line.strip()]

    @property
    def _magic_error(self) -> dict[str, Any]:
        content = self.data.get("content") if isinstance(self.data, dict) else None
        return content if isinstance(content, dict) and content.get("status") == "error" else {}


class SparkStatement(Documented):
    """
    Code that runs in a Spark session, as one response described it.

    :param id: the statement's number in its session; 0 is a real one.
    :param code: the code, as it was sent.
    :param state: the state; one unknown to :class:`LivyStatementState` stays a string and means *not finished*.
    :param output: what came of it; None until it has run.
    :param progress: how much of it has run, from 0 to 1 (Livy's; Synapse was not seen to send it).
    :param started: when it began to run, in milliseconds since the epoch, 0 if it has not (Livy's).
    :param completed: when it had run, in the same way (Livy's).
    :param source_id: where it came from.
    """

    id: Annotated[int, Field(strict=True, ge=0)]
    code: Text = None
    state: Annotated[LivyStatementState | str | None, Field(union_mode="left_to_right")] = None
    output: SparkStatementOutput | None = None
    progress: Lenient[float | None] = None
    started: Number = None
    completed: Number = None
    source_id: Text = None

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """
        Return the statement that a dict with the documented names describes, such as an XCom of this package.

        :param fields: the dict.
        :raises ValueError: if it is not a statement.
        """
        return cls.model_validate(storable(fields, storable_number))

    def __str__(self) -> str:
        """Return the statement's name in logs and messages."""
        return f"Statement {self.id}"

    def to_dict(self) -> dict[str, Any]:
        """Return a dict of JSON values: all documented names, and the unknown ones as they came."""
        return self.model_dump(mode="json", by_alias=True)

    def without_output(self) -> SparkStatement:
        """Return the statement with as much of its output as verdict and message need, and without the code."""
        output = self.output
        if output is None or output.is_ok:
            kept = output and SparkStatementOutput(status="ok")
            return self.model_copy(update={"code": None, "output": kept})
        error = output.error or output
        kept = SparkStatementOutput(
            status="error" if output.error else output.status and _cut(output.status, _MAX_WORDS),
            ename=error.ename and _cut(str(error.ename), _MAX_LINE),
            evalue=error.evalue and _cut(str(error.evalue), _MAX_EVALUE + 1),
            traceback=tuple(_cut(line, _MAX_LINE + 1) + "\n" for line in error.traceback_lines[-_MAX_TRACEBACK:]),
        )
        return self.model_copy(update={"code": None, "output": kept})

    @property
    def is_finished(self) -> bool:
        """Whether the statement has run, or was cancelled. Code may still run after a cancellation."""
        return isinstance(self.state, LivyStatementState) and self.state.is_final

    @property
    def is_settling(self) -> bool:
        """Whether the statement has run, but no output tells yet how it went, which takes a moment."""
        is_told = self.output is not None and (self.output.is_ok or self.output.error is not None)
        return self.state == LivyStatementState.AVAILABLE and not is_told

    @property
    def is_cancelling(self) -> bool:
        """Whether the statement is being cancelled, and has not ended yet."""
        return self.state == LivyStatementState.CANCELLING

    @property
    def has_begun(self) -> bool:
        """Whether this shows that the code has begun to run; a statement that was cancelled seldom does."""
        return self.state in _BEGUN or (isinstance(self.started, int) and self.started > 0)

    @property
    def may_run_on(self) -> bool:
        """Whether code that had begun may run on after its cancellation: Livy has given up waiting for its end."""
        return self.state == LivyStatementState.CANCELLED and self.output is None

    @property
    def has_succeeded(self) -> bool:
        """Whether there is proof that the code has run to its end without an error."""
        return self.state == LivyStatementState.AVAILABLE and self.output is not None and self.output.is_ok

    @property
    def phase(self) -> str:
        """What the statement is doing: waiting, running, running (25 %), available, ..."""
        progress = self.progress if isinstance(self.progress, float) and math.isfinite(self.progress) else 0.0
        step = int(progress * _STEPS) * 100 // _STEPS
        return f"running ({step} %)" if self.state == LivyStatementState.RUNNING and 0 < step < 100 else str(self.state)

    @property
    def ending(self) -> str:
        """How the statement ended, in words that follow its name."""
        if self.state == LivyStatementState.CANCELLED:
            return "was cancelled"
        if self.has_succeeded:
            return "succeeded"
        if error := self.output and self.output.error:
            return f"failed with {_short(error.ename) or 'an error'}: {_short(error.evalue)}".rstrip(": ")
        return "failed" if self.state == LivyStatementState.ERROR else "ended without a known output"

    @property
    def text(self) -> str:
        """What the code has printed, and the value of its last expression; empty if there is none."""
        data = self.output.data if self.output is not None else None
        value = data.get("text/plain") if isinstance(data, dict) else None
        return value if isinstance(value, str) else ""

    def durations(self) -> dict[str, timedelta]:
        """Return how long the statement ran, if it was timed."""
        if self.started and self.completed and isinstance(self.started, int) and isinstance(self.completed, int):
            return {"running": timedelta(milliseconds=self.completed - self.started)}
        return {}

    @property
    def lifetime(self) -> timedelta | None:
        """How long the statement lasted, which is not known beyond :meth:`durations`."""
        return None

    def details(self) -> Iterator[str]:
        """Return the lines of a failure message that say what the interpreter told: the error, and its traceback."""
        yield f"State {self.state}."
        error = self.output and (self.output.error or self.output)
        if not error:
            return
        if error.ename or error.evalue:
            yield f"Error: {error.ename}: {_cut(' '.join(str(error.evalue or '').split()), _MAX_EVALUE)}"
        if lines := [_cut(line, _MAX_LINE) for line in error.traceback_lines]:
            yield "\n".join(("Traceback (last lines):", *(f"  {line}" for line in lines[-_MAX_TRACEBACK:])))


def count_ahead(statements: Iterable[SparkStatement], statement_id: int) -> int:
    """
    Return how many statements have to end before one is run: a session runs one at a time, in their order.

    :param statements: the statements of the session.
    :param statement_id: the id of the one that waits.
    """
    return sum(statement.id < statement_id and not statement.is_finished for statement in statements)


def _short(text: Any) -> str:
    """Return the first line of a text, short enough for the first line of a message."""
    return _cut(str(text or "").strip().partition("\n")[0], _MAX_WORDS)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[:longest] + "..."
