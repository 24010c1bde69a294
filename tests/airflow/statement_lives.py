"""
What can happen to a task that runs code in a Spark session, and what becomes of task, code and session.

The DAGs of this folder and the test both read this table. It needs no Airflow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tests.airflow.lives import BROKEN, KILLED, MODES, UNAVAILABLE, UNREADABLE

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


@dataclass(frozen=True)
class StatementLife:
    """
    What happens to a task, and what becomes of it.

    :param code: what it runs in the first try; a later one counts.
    :param becomes: the task's state and number of tries in the end.
    :param options: further options of the operator.
    :param answer: what becomes of the answer to the request that sends the code; None for nothing.
    :param crash: where the worker is killed with -9 in the first try; at ``failing`` it raises an error.
    :param user: what a user makes of the task while it waits.
    :param states: the states of its statements in the end.
    :param error: the name of the error's class, None for a success.
    :param words: a part of its message.
    :param session: the state of the session in the end.
    :param leaves_off: whether the task ends in the midst of what it does.
    :param modes: the modes that it can happen in.
    """

    code: str = "count"
    becomes: str = "success/1"
    options: Mapping[str, Any] = field(default_factory=dict)
    answer: int | str | None = None
    crash: str | None = None
    user: str | None = None
    states: tuple[str, ...] = ("available",)
    error: str | None = None
    words: str = ""
    session: str = "idle"
    leaves_off: bool = False
    modes: tuple[str, ...] = tuple(MODES)

    def on_airflow_3_0(self) -> StatementLife:
        """
        Return what becomes of the task on Airflow 3.0.

        It does not retry a task whose process was killed with -9. A task that is cleared while it runs is killed, and
        never restarted; the test marks it failed.
        """
        if self.answer == KILLED or self.crash not in (None, "failing"):
            return replace(self, becomes="failed/1", leaves_off=True)
        if self.user == "clear" and self.modes == ("worker",):
            return replace(self, becomes="failed/1", states=self.states[:1])
        return self


def _killed(**details: Any) -> StatementLife:
    """Kill the worker with -9 in the first try; the second one reads what the first one has run."""
    return StatementLife(becomes="success/2", options={"retries": 1}, **details)


_ONCE: dict[str, Any] = {"options": {"retries": 1}}

LIVES = {
    "plain": StatementLife(),
    # Never twice: the code is sent, and the answer is lost.
    "broken_answer": StatementLife(answer=BROKEN),
    "unavailable_answer": StatementLife(answer=UNAVAILABLE),
    "unreadable_answer": StatementLife(answer=UNREADABLE),
    # Never twice: the worker is killed with -9, each time a step later.
    "killed_before_answer": _killed(answer=KILLED),
    "killed_before_noted": _killed(crash="answered"),
    "killed_when_noted": _killed(crash="noted"),
    "killed_waiting": _killed(crash="waiting"),
    "killed_resuming": _killed(crash="resuming", modes=("deferred",)),
    "killed_finishing": _killed(crash="finishing"),
    # A failure of the code is the task's, and a retry runs it again.
    "code_fails": StatementLife("boom", "failed/1", error="SparkStatementFailedError", words="ValueError: boom"),
    "code_is_retried": StatementLife(
        "boom", "success/2", states=("available", "available"), **_ONCE
    ),
    # What can't be known is not tried again.
    "session_dies": StatementLife(
        "die", "failed/1", states=("running",), error="SparkStatementLostError", words="its session failed",
        session="dead", **_ONCE,
    ),
    "interpreter_dies": StatementLife(
        "crash", "failed/1", {"poll_interval": 1.0}, error="SparkStatementFailedError", words="Interpreter died",
        session="error",
    ),
    # A cancellation is the statement's, never the session's.
    "timeout": StatementLife(
        "never", "failed/1", {"timeout": 12.0}, states=("cancelled",), error="SparkStatementTimeoutError",
        words="timeout of 12 s",
    ),
    "stubborn_timeout": StatementLife(
        "stubborn", "failed/1", {"timeout": 12.0}, states=("cancelled",), error="SparkStatementTimeoutError",
        words="timeout of 12 s", session="busy",
    ),
    "retried": StatementLife(
        "never", "success/2", crash="failing", states=("cancelled", "available"), **_ONCE
    ),
    "marked_failed": StatementLife("never", "failed/1", user="failed", states=("cancelled",)),
    "marked_success": StatementLife("never", "success/1", user="success", states=("cancelled",)),
    "cleared": StatementLife(
        "never", "success/2", user="clear", states=("cancelled", "available"), modes=("deferred",)
    ),
    "cleared_running": StatementLife(
        "never", "success/2", user="clear", states=("cancelled", "available"), modes=("worker",)
    ),
    "kept": StatementLife(
        "never", "failed/1", {"cancel_on_kill": False}, user="failed", states=("running",), session="busy"
    ),
}  # fmt: skip

CASES = [(name, mode) for name, life in LIVES.items() for mode in life.modes]


def pool_of(name: str, mode: str) -> str:
    """Return the pool of a task, which has it and its session for itself."""
    return f"code_{name}.{mode}"
