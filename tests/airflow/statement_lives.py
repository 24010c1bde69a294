"""
What can happen to a task that runs code in a Spark session, and what becomes of task, code and session.

The DAGs of this folder and the test both read this table. It needs no Airflow.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

from tests.airflow.lives import Life, never_two

#: What code does, by what is in it: its output, how many emulated seconds it runs, and further options of the script.
CODE: dict[str, dict[str, Any]] = {
    "count": {"output": {"status": "ok", "data": {"text/plain": "42"}}, "seconds": 120},
    "boom": {
        "output": {
            "status": "error",
            "ename": "ValueError",
            "evalue": "boom",
            "traceback": ["Traceback (most recent call last):\n", "ValueError: boom\n"],
        },
        "seconds": 120,
    },
    "never": {"seconds": 1_000_000},
    "stubborn": {"seconds": 1_000_000, "ignores_cancel": True},
    "die": {"seconds": 120, "kills": "driver"},
    "crash": {"seconds": 120, "kills": "interpreter"},
    "add": {"output": {"status": "ok", "data": {"text/plain": "\nairflow_task_result=[1, 2]"}}, "seconds": 120},
}

#: The modes of the sensor.
SENSOR_MODES: dict[str, dict[str, Any]] = {
    "poke": {"mode": "poke"},
    "reschedule": {"mode": "reschedule"},
    "deferrable": {"deferrable": True},
    "start_from_trigger": {"start_from_trigger": True},
}


@dataclass(frozen=True, kw_only=True)
class StatementLife(Life):
    """
    What happens to a task that runs code.

    :param code: what it runs in the first try; a later one counts.
    :param states: the states of its statements in the end.
    :param session: the state of the session in the end.
    """

    code: str = "count"
    states: tuple[str, ...] = ("available",)
    session: str = "idle"

    def without_second_try(self) -> Self:
        """Return the life with one statement."""
        return replace(self, states=self.states[:1])


_ONCE: dict[str, Any] = {"options": {"retries": 1}}

LIVES = {
    "plain": StatementLife(),
    **never_two(StatementLife),
    # A failure of the code is the task's, and a retry runs it again.
    "code_fails": StatementLife(
        code="boom",
        becomes="failed/1",
        error="SparkStatementFailedError",
        words="ValueError: boom",
    ),
    "code_is_retried": StatementLife(code="boom", becomes="success/2", states=("available", "available"), **_ONCE),
    # What can't be known is not tried again.
    "session_dies": StatementLife(
        code="die",
        becomes="failed/1",
        states=("running",),
        error="SparkStatementLostError",
        words="its session failed",
        session="dead",
        **_ONCE,
    ),
    "interpreter_dies": StatementLife(
        code="crash",
        becomes="failed/1",
        options={"poll_interval": 1.0},
        error="SparkStatementFailedError",
        words="Interpreter died",
        session="error",
    ),
    # A cancellation is the statement's, never the session's.
    "timeout": StatementLife(
        code="never",
        becomes="failed/1",
        options={"timeout": 12.0},
        states=("cancelled",),
        error="SparkStatementTimeoutError",
        words="timeout of 12 s",
    ),
    "stubborn_timeout": StatementLife(
        code="stubborn",
        becomes="failed/1",
        options={"timeout": 12.0},
        states=("cancelled",),
        error="SparkStatementTimeoutError",
        words="timeout of 12 s",
        session="busy",
    ),
    # A poll that fails is no failure of the code, so the next try goes on with it.
    "retried": StatementLife(becomes="success/2", crash="failing", **_ONCE),
    "marked_failed": StatementLife(code="never", becomes="failed/1", user="failed", states=("cancelled",)),
    "marked_success": StatementLife(code="never", becomes="success/1", user="success", states=("cancelled",)),
    "cleared": StatementLife(
        code="never", becomes="success/2", user="clear", states=("cancelled", "available"), modes=("deferred",)
    ),
    "cleared_running": StatementLife(
        code="never", becomes="success/2", user="clear", states=("cancelled", "available"), modes=("worker",)
    ),
    "kept": StatementLife(
        code="never",
        becomes="failed/1",
        options={"cancel_on_kill": False},
        user="failed",
        states=("running",),
        session="busy",
    ),
}

CASES = [(name, mode) for name, life in LIVES.items() for mode in life.modes]


def pool_of(name: str, mode: str) -> str:
    """Return the pool of a task, which has it and its session for itself."""
    return f"code_{name}.{mode}"
