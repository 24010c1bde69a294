"""
What can happen to a task that creates a Spark session, or runs a batch job, and what becomes of both: in every mode.

The DAGs of this folder and the test both read this table. It needs no Airflow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Self, TypeVar

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


@dataclass(frozen=True, kw_only=True)
class Life:
    """
    What happens to a task, and what becomes of it.

    :param becomes: the task's state and number of tries in the end.
    :param options: further options of the operator.
    :param answer: what becomes of the answer to the first request that creates something; None for nothing.
    :param crash: where the worker is killed with -9 in the first try; at ``failing`` it raises an error.
    :param user: what a user makes of the task while it waits.
    :param error: the name of the error's class, None for a success.
    :param words: a part of its message.
    :param leaves_off: whether the task ends in the midst of what it does.
    :param modes: the modes that it can happen in.
    """

    becomes: str = "success/1"
    options: Mapping[str, Any] = field(default_factory=dict)
    answer: int | str | None = None
    crash: str | None = None
    user: str | None = None
    error: str | None = None
    words: str = ""
    leaves_off: bool = False
    modes: tuple[str, ...] = tuple(MODES)

    @property
    def succeeds(self) -> bool:
        """Whether the task comes to a success of its own: not where a user has taken its word for it."""
        return self.becomes.startswith("success") and self.user != "success"

    @property
    def is_alike(self) -> bool:
        """Whether it ends alike in both modes, and says so."""
        return self.modes == tuple(MODES) and not self.user and not self.leaves_off

    def on_airflow_3_0(self) -> Self:
        """
        Return what becomes of the task on Airflow 3.0.

        It does not retry a task whose process was killed with -9, so nobody is left who could go on. A task that is
        cleared while it runs is killed, and never restarted; the test marks it failed.
        """
        if self.answer == KILLED or self.crash not in (None, "failing"):
            return replace(self, becomes="failed/1", leaves_off=True)
        if self.user == "clear" and self.modes == ("worker",):
            return replace(self.without_second_try(), becomes="failed/1")
        return self

    def without_second_try(self) -> Self:
        """Return the life of a task that has one try alone."""
        raise NotImplementedError


L = TypeVar("L", bound=Life)


@dataclass(frozen=True, kw_only=True)
class SessionLife(Life):
    """
    What happens to a task that creates a session, or runs a batch job.

    :param scenario: what becomes of the session of the first try; those of later ones are ready soon.
    :param sessions: how many sessions are created in all.
    :param keeps: whether the last session lives on though it is not handed on.
    :param kind: whether the task creates sessions or batch jobs, as the name of their ids.
    """

    scenario: str = "becomes_idle"
    sessions: int = 1
    keeps: bool = False
    kind: str = SESSION

    @property
    def lives_on(self) -> bool:
        """Whether the last session is to live in the end; a batch job ends by itself."""
        return ((self.succeeds or self.leaves_off) and self.kind == SESSION) or self.keeps

    def without_second_try(self) -> Self:
        """Return the life with one session."""
        return replace(self, sessions=1)


def never_two(kind: type[L]) -> dict[str, L]:
    """Return the lives of a kind in which a task could do twice what it is to do once."""

    def killed(**details: Any) -> L:
        """Kill the worker with -9 in the first try; the second one goes on."""
        return kind(becomes="success/2", options={"retries": 1}, **details)

    return {
        # It is done, and the answer is lost.
        "broken_answer": kind(answer=BROKEN),
        "unavailable_answer": kind(answer=UNAVAILABLE),
        "unreadable_answer": kind(answer=UNREADABLE),
        # The worker is killed with -9, each time a step later.
        "killed_before_answer": killed(answer=KILLED),
        "killed_before_noted": killed(crash="answered"),
        "killed_when_noted": killed(crash="noted"),
        "killed_waiting": killed(crash="waiting"),
        "killed_resuming": killed(crash="resuming", modes=("deferred",)),
        "killed_finishing": killed(crash="finishing"),
    }


LIVES = {
    "plain": SessionLife(),
    "not_waited_for": SessionLife(options={"wait_for_ready": False}),
    **never_two(SessionLife),
    # Never an orphan: the wait fails.
    "fails_to_start": SessionLife(
        becomes="failed/1",
        scenario="fails_to_start",
        error="SparkSessionCreationError",
        words="AVAILABLE_COMPUTE_CAPACITY_EXCEEDED",
    ),
    "cancelled": SessionLife(
        becomes="failed/1", scenario="cancelled_while_queued", error="SparkSessionCreationError", words="was cancelled"
    ),
    "timeout": SessionLife(
        becomes="failed/1",
        scenario=ENDLESS,
        options={"timeout": 12.0},
        error="SparkSessionCreationError",
        words="timeout of 12 s",
    ),
    # Airflow 3 has no execution_timeout for what is deferred.
    "execution_timeout": SessionLife(
        becomes="failed/1", scenario=ENDLESS, options={"execution_timeout": timedelta(seconds=12)}, modes=("worker",)
    ),
    "retried_failure": SessionLife(becomes="success/2", scenario="fails_to_start", options={"retries": 1}, sessions=2),
    "retried": SessionLife(becomes="success/2", options={"retries": 1}, crash="failing", sessions=2),
    # Never an orphan: a user ends the task.
    "marked_failed": SessionLife(becomes="failed/1", scenario=ENDLESS, user="failed"),
    "marked_success": SessionLife(becomes="success/1", scenario=ENDLESS, user="success"),
    "cleared": SessionLife(becomes="success/2", scenario=ENDLESS, user="clear", sessions=2, modes=("deferred",)),
    "cleared_running": SessionLife(becomes="success/2", scenario=ENDLESS, user="clear", sessions=2, modes=("worker",)),
    "marked_failed_in_request": SessionLife(
        becomes="failed/1", scenario=ENDLESS, answer=HELD_BACK, user="failed", modes=("worker",)
    ),
    "marked_failed_in_overload": SessionLife(
        becomes="failed/1", scenario=ENDLESS, answer=OVERLOADED, user="failed", modes=("deferred",)
    ),
    # Airflow is told to leave it alone.
    "kept": SessionLife(
        becomes="failed/1", scenario=ENDLESS, options={"cancel_on_kill": False}, user="failed", keeps=True
    ),
}

#: Of the same lives those of batch jobs, which differ where a job ends by itself.
_BATCH_ERROR = {"error": "SparkBatchJobFailedError"}
_SUCCEEDING = (
    "plain", "broken_answer", "killed_before_answer", "killed_before_noted", "killed_when_noted",
    "killed_waiting", "killed_resuming", "killed_finishing", "retried",
)  # fmt: skip
_ENDLESS = (
    "execution_timeout", "marked_failed", "marked_success", "cleared", "cleared_running",
    "marked_failed_in_request", "kept",
)  # fmt: skip
_BATCH_LIVES = {
    **{name: replace(LIVES[name], scenario="succeeds") for name in _SUCCEEDING},
    **{name: LIVES[name] for name in _ENDLESS},
    "not_waited_for": SessionLife(scenario=ENDLESS, options={"wait_for_completion": False}, keeps=True),
    "fails": SessionLife(becomes="failed/1", scenario="fails", words="LIVY_JOB_FAILED", **_BATCH_ERROR),
    "cancelled": SessionLife(
        becomes="failed/1", scenario="cancelled_while_running", words="was cancelled", **_BATCH_ERROR
    ),
    "timeout": replace(LIVES["timeout"], **_BATCH_ERROR),
    "retried_failure": SessionLife(becomes="success/2", scenario="fails", options={"retries": 1}, sessions=2),
}
LIVES |= {f"batch_{name}": replace(life, kind=BATCH) for name, life in _BATCH_LIVES.items()}

CASES = [(name, mode) for name, life in LIVES.items() for mode in life.modes]


def pool_of(name: str, mode: str) -> str:
    """Return the pool of a task, which has it for itself, but for sessions that it has nothing to do with."""
    return f"{name}.{mode}"
