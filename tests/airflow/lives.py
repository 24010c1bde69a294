"""
What can happen to a task that creates a Spark session, or runs a batch job, and what becomes of both: in every mode.

The DAGs of this folder and the test both read this table. It needs no Airflow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

#: Where a task waits, and the options of the operator for it.
MODES: dict[str, dict[str, Any]] = {"worker": {"deferrable": False}, "deferred": {"deferrable": True}}

#: The ids of what a task creates, as XComs, by the kind of it.
SESSION, BATCH = "session_id", "batch_id"

#: The scenario of a session that never gets ready, and of a batch job that never ends: of these tests' emulator alone.
ENDLESS = "endless"

#: The name of all sessions, those that the tasks have nothing to do with included.
NAME = "etl"

#: How the answer to a request that creates a session is lost, after the session was created.
BROKEN, UNAVAILABLE, UNREADABLE = 0, 503, 200

#: Instead of an answer, the worker is killed with -9.
KILLED = "killed"

#: Not the creation, but the cancellation fails, twice, before it is done; Airflow cancels the trigger again meanwhile.
OVERLOADED = "overloaded"

#: The answer comes when the test says so.
HELD_BACK = "held back"


@dataclass(frozen=True)
class Life:
    """
    What happens to a task, and what becomes of it.

    :param becomes: the task's state and number of tries in the end.
    :param scenario: what becomes of the session of the first try; those of later ones are ready soon.
    :param options: further options of the operator.
    :param answer: what becomes of the answer to the first request that creates a session; None for nothing.
    :param crash: where the worker is killed with -9 in the first try; at ``failing`` it raises an error.
    :param user: what a user makes of the task while it waits.
    :param sessions: how many sessions are created in all.
    :param error: the name of the error's class, None for a success.
    :param words: a part of its message.
    :param keeps: whether the last session lives on though it is not handed on.
    :param modes: the modes that it can happen in.
    :param kind: whether the task creates sessions or batch jobs, as the name of their ids.
    """

    becomes: str = "success/1"
    scenario: str = "becomes_idle"
    options: Mapping[str, Any] = field(default_factory=dict)
    answer: int | str | None = None
    crash: str | None = None
    user: str | None = None
    sessions: int = 1
    error: str | None = None
    words: str = ""
    keeps: bool = False
    modes: tuple[str, ...] = tuple(MODES)
    kind: str = SESSION

    @property
    def hands_on(self) -> bool:
        """Whether a session is handed on to other tasks: not where a user has taken the task's word for it."""
        return self.becomes.startswith("success") and self.user != "success"

    @property
    def lives_on(self) -> bool:
        """Whether the last session is to live in the end; a batch job has ended by then."""
        return (self.hands_on and self.kind == SESSION) or self.keeps

    def on_airflow_3_0(self) -> Life:
        """
        Return what becomes of the task on Airflow 3.0.

        It does not retry a task whose process was killed with -9, so nobody is left who could cancel its session. A
        task that is cleared while it runs is killed, and never restarted; the test marks it failed.
        """
        if self.answer == KILLED or self.crash not in (None, "failing"):
            return replace(self, becomes="failed/1", keeps=True)
        if self.user == "clear" and self.modes == ("worker",):
            return replace(self, becomes="failed/1", sessions=1)
        return self


def _killed(**details: Any) -> Life:
    """Kill the worker with -9 in the first try; the second one goes on."""
    return Life(becomes="success/2", options={"retries": 1}, **details)


LIVES = {
    "plain": Life(),
    "not_waited_for": Life(options={"wait_for_ready": False}),
    # Never two: the session is created, and the answer is lost.
    "broken_answer": Life(answer=BROKEN),
    "unavailable_answer": Life(answer=UNAVAILABLE),
    "unreadable_answer": Life(answer=UNREADABLE),
    # Never two: the worker is killed with -9, each time a step later.
    "killed_before_answer": _killed(answer=KILLED),
    "killed_before_noted": _killed(crash="answered"),
    "killed_when_noted": _killed(crash="noted"),
    "killed_waiting": _killed(crash="waiting"),
    "killed_resuming": _killed(crash="resuming", modes=("deferred",)),
    "killed_finishing": _killed(crash="finishing"),
    # Never an orphan: the wait fails.
    "fails_to_start": Life(
        "failed/1", "fails_to_start", error="SparkSessionCreationError", words="AVAILABLE_COMPUTE_CAPACITY_EXCEEDED"
    ),
    "cancelled": Life("failed/1", "cancelled_while_queued", error="SparkSessionCreationError", words="was cancelled"),
    "timeout": Life("failed/1", ENDLESS, {"timeout": 12.0}, error="SparkSessionCreationError", words="timeout of 12 s"),
    # Airflow 3 has no execution_timeout for what is deferred.
    "execution_timeout": Life("failed/1", ENDLESS, {"execution_timeout": timedelta(seconds=12)}, modes=("worker",)),
    "retried_failure": Life("success/2", "fails_to_start", {"retries": 1}, sessions=2),
    "retried": Life("success/2", options={"retries": 1}, crash="failing", sessions=2),
    # Never an orphan: a user ends the task.
    "marked_failed": Life("failed/1", ENDLESS, user="failed"),
    "marked_success": Life("success/1", ENDLESS, user="success"),
    "cleared": Life("success/2", ENDLESS, user="clear", sessions=2, modes=("deferred",)),
    "cleared_running": Life("success/2", ENDLESS, user="clear", sessions=2, modes=("worker",)),
    "marked_failed_in_request": Life("failed/1", ENDLESS, answer=HELD_BACK, user="failed", modes=("worker",)),
    "marked_failed_in_overload": Life("failed/1", ENDLESS, answer=OVERLOADED, user="failed", modes=("deferred",)),
    # Airflow is told to leave it alone.
    "kept": Life("failed/1", ENDLESS, {"cancel_on_kill": False}, user="failed", keeps=True),
}

#: Of the same lives those of batch jobs, which differ where a job ends by itself.
_BATCH_ERROR = {"error": "SparkBatchJobFailedError"}
_BATCH_LIVES = {
    **{
        name: replace(LIVES[name], scenario="succeeds")
        for name in (
            "plain", "broken_answer", "killed_before_answer", "killed_before_noted", "killed_when_noted",
            "killed_waiting", "killed_resuming", "killed_finishing", "retried",
        )
    },
    **{
        name: LIVES[name]
        for name in (
            "execution_timeout", "marked_failed", "marked_success", "cleared", "cleared_running",
            "marked_failed_in_request", "kept",
        )
    },
    "not_waited_for": Life(scenario=ENDLESS, options={"wait_for_completion": False}, keeps=True),
    "fails": Life("failed/1", "fails", words="LIVY_JOB_FAILED", **_BATCH_ERROR),
    "cancelled": Life("failed/1", "cancelled_while_running", words="was cancelled", **_BATCH_ERROR),
    "timeout": replace(LIVES["timeout"], **_BATCH_ERROR),
    "retried_failure": Life("success/2", "fails", {"retries": 1}, sessions=2),
}  # fmt: skip
LIVES |= {f"batch_{name}": replace(life, kind=BATCH) for name, life in _BATCH_LIVES.items()}

CASES = [(name, mode) for name, life in LIVES.items() for mode in life.modes]


def pool_of(name: str, mode: str) -> str:
    """Return the pool of a task, which has it for itself, but for sessions that it has nothing to do with."""
    return f"{name}.{mode}"
