"""Lets the statements of one session run in its Spark, one after the other, and notes what becomes of them."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from airflow_provider_synapse_livy.emulator.spark.outputs import error_output
from airflow_provider_synapse_livy.emulator.statements import INTERPRETER_DIED, LiveRun, Statement

if TYPE_CHECKING:
    from airflow_provider_synapse_livy.emulator.sessions import EmulatedSession
    from airflow_provider_synapse_livy.emulator.spark.process import InterpreterProcess

__all__ = ["SparkRunner"]

#: The kinds that run.
_OFFERED_KINDS = ("pyspark", "sql")


class SparkRunner:
    """
    The Spark of one session. The first statement starts it.

    Its methods may be called from any thread; what they change is read by others without a lock: of the facts about a
    run, the time that makes them count is written last.

    :param session: the session.
    :param clock: returns the time, in seconds since the epoch.
    """

    def __init__(self, session: EmulatedSession, clock: Callable[[], float]) -> None:
        self._session, self._clock = session, clock
        self._lock = threading.RLock()
        self._process: InterpreterProcess | None = None
        self._is_ready = False
        self._has_died = False
        self._is_closed = False
        self._failure = ""
        self._current: LiveRun | None = None

    @property
    def pid(self) -> int | None:
        """The number of the interpreter's process; None if there is none."""
        process = self._process
        return process.pid if process else None

    def pump(self) -> None:
        """Run the next statement, if it is time for that. Called whenever something has changed, and now and then."""
        with self._lock:
            while not self._is_closed and self._current is None and (statement := self._next()):
                assert statement.live is not None  # noqa: S101, for mypy
                if not self._begin(statement, statement.live):
                    return

    def cancel(self, statement: Statement, seconds: float) -> None:
        """
        Cancel a statement, and its Spark jobs if it runs.

        :param seconds: for how long to cancel jobs, as it may start more.
        """
        with self._lock:
            statement.cancelled_at = self._clock()
            if self._process and statement.live is not None and statement.live is self._current:
                self._process.cancel(statement.id, seconds)

    def close(self) -> None:
        """End the interpreter, if there is one, and run no more statements."""
        with self._lock:
            self._is_closed = True
            process = self._process
        if process:
            process.close()

    def _next(self) -> Statement | None:
        """Return the next statement, if all before it have ended."""
        now = self._clock()
        for statement, frees_at in self._session.statement_ends():
            if statement.live and statement.live.started_at == math.inf and statement.cancelled_at is None:
                return statement
            if frees_at > now:
                return None
        return None

    def _begin(self, statement: Statement, live: LiveRun) -> bool:
        """Begin with a statement; return whether the next one may be looked for."""
        if self._has_died:
            live.end(self._clock(), INTERPRETER_DIED)
        elif live.kind not in _OFFERED_KINDS:
            live.end(self._clock(), _not_offered(live.kind))
        elif self._process is None:
            return not self._start_interpreter()
        elif not self._is_ready:
            return False
        else:
            self._current = live
            live.started_at = self._clock()
            self._process.run(statement.id, live.kind, statement.code)
        return True

    def _start_interpreter(self) -> bool:
        """Start the interpreter; if the system does not let us, let the statement that waits for it fail."""
        from airflow_provider_synapse_livy.emulator.spark.process import InterpreterProcess

        options = self._session.options
        try:
            self._process = InterpreterProcess(
                str(options.get("name")), options.get("conf") or {}, on_event=self._on_event, on_end=self._on_end
            )
        except OSError as error:
            self._fail_to_start(str(error))
        return self._process is not None

    def _on_event(self, event: dict[str, Any]) -> None:
        with self._lock:
            if self._is_closed:
                return
            if "ready" in event:
                self._is_ready = True
            elif "failed" in event:
                self._failure = event["failed"]
            elif "jvm" in event:
                self._session.die("dead", self._clock())
            elif self._current and "progress" in event:
                self._current.progress = event["progress"]
            elif self._current and "output" in event:
                self._current.end(self._clock(), event["output"])
                self._current = None
        self.pump()

    def _on_end(self, log: str) -> None:
        with self._lock:
            if self._is_closed:
                return
            process, self._process = self._process, None
            if self._is_ready:
                self._die(log)
            else:
                self._fail_to_start(self._failure or log)
            self.pump()  # before others learn that the session has ended, and close this
        if process:
            process.close()

    def _die(self, log: str) -> None:
        """End with the interpreter: the statement that runs answers so, and so do all that wait."""
        if self._current:
            self._current.end(self._clock(), {**INTERPRETER_DIED, "evalue": f"{INTERPRETER_DIED['evalue']}{log}"})
            self._current = None
        self._has_died = True
        self._session.die("error", self._clock())

    def _fail_to_start(self, reason: str) -> None:
        """Let the statement that waits for Spark fail; the next one tries again."""
        statement = self._next()
        if statement and statement.live:
            output = error_output("InterpreterError", f"Fail to start interpreter: {reason}")
            statement.live.end(self._clock(), output)


def _not_offered(kind: str) -> dict[str, Any]:
    reason = f"the emulator runs statements of the kinds {' and '.join(_OFFERED_KINDS)}, and not {kind}"
    return error_output("InterpreterError", f"Fail to start interpreter: {reason}")
