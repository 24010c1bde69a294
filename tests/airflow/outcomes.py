"""
How a wait for a Spark session, or for a batch job, can end, and what Airflow has to make of it: the same in every mode.

The DAGs of this folder, the server that they ask and the test all read this table. It needs no Airflow.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.support import sample_batches as batches
from tests.support import sample_sessions as samples

#: The options of the sensor that each mode is given. What starts in the triggerer defers from a worker before 3.3.
MODES: dict[str, dict[str, Any]] = {
    "poke": {"mode": "poke"},
    "reschedule": {"mode": "reschedule"},
    "deferrable": {"deferrable": True},
    "start_from_trigger": {"start_from_trigger": True},
}

#: The options that change what becomes of an error; the table has a column for each.
REACTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "soft_fail": {"soft_fail": True},
    "never_fail": {"never_fail": True},
    "retries": {"retries": 2},
}

#: Long enough for Airflow to notice that a worker has left before a trigger fires; else it may fail the task
#: on a busy machine (apache/airflow#71580).
POKE_INTERVAL = 6.0


class Answer(NamedTuple):
    """What the server answers from a number of seconds after the first look at a session."""

    after: float
    status: int
    body: bytes
    headers: Mapping[str, str] = {}


@dataclass(frozen=True)
class Ending:
    """
    How a wait ends.

    :param answers: what the looks at the session show, by time.
    :param becomes: the task's state and number of tries, for each of the reactions.
    :param options: further options of the sensor.
    :param error: the name of the error's class, None for a success.
    :param words: a part of its message.
    :param is_batch: whether a batch job is waited for.
    """

    answers: tuple[Answer, ...]
    becomes: str
    options: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None
    words: str = ""
    is_batch: bool = False

    def expected(self, reaction: str) -> str:
        """Return the state and the number of tries that the task ends with."""
        return self.becomes.split()[list(REACTIONS).index(reaction)]


def _shows(*states: tuple[float, dict[str, Any]], first: dict[str, Any] = samples.NOT_STARTED) -> tuple[Answer, ...]:
    """Show a session in the queue, then in these states."""
    return tuple(Answer(after, 200, json.dumps(body).encode()) for after, body in ((0.0, first), *states))


def _shows_batch(*states: tuple[float, dict[str, Any]]) -> tuple[Answer, ...]:
    """Show a batch job in the queue, then in these states."""
    return _shows(*states, first=batches.NOT_STARTED)


def _fails(status: int, body: bytes = b"", **headers: str) -> tuple[Answer, ...]:
    """Show a session in the queue, then fail for good."""
    return (*_shows(), Answer(5.0, status, body, headers))


_SUCCESS = "success/1 success/1 success/1 success/1"
_BAD_END = "failed/1 skipped/1 skipped/1 failed/1"
_ERROR = "failed/1 failed/1 skipped/1 failed/3"
_READY: dict[str, Any] = {"target_states": ["idle"]}

ENDINGS = {
    "idle_reached": Ending(_shows((5, samples.STARTING), (11, samples.IDLE)), _SUCCESS, _READY),
    "succeeded": Ending(_shows((5, samples.SUCCEEDED)), _SUCCESS),
    "cancelled_accepted": Ending(_shows((5, samples.KILLED)), _SUCCESS, {"accepted_results": ["Cancelled"]}),
    "unknown_then_idle": Ending(
        _shows((5, samples.session(state="hibernating")), (11, samples.IDLE)), _SUCCESS, _READY
    ),
    "failed": Ending(_shows((5, samples.DEAD)), _BAD_END, {}, "SparkSessionFailedError", "LIVY_JOB_STATE_DEAD"),
    "cancelled": Ending(_shows((5, samples.KILLED)), _BAD_END, {}, "SparkSessionFailedError", "was cancelled"),
    "idled_out": Ending(_shows((5, samples.IDLED_OUT)), _BAD_END, _READY, "SparkSessionFailedError", "idled out"),
    "settles": Ending(
        _shows((5, samples.settling("error")), (25, samples.CANCELLED_IN_QUEUE)),
        _BAD_END,
        {},
        "SparkSessionFailedError",
        "Livy state error, result Cancelled",
    ),
    "timeout": Ending(_shows(), _BAD_END, {"timeout": 15.0}, "SparkSessionTimeoutError", "timeout of 15 s"),
    "unauthorized": Ending(_fails(401), _ERROR, {}, "SynapseLivyAuthenticationError", "Synapse answered 401"),
    "forbidden": Ending(_fails(403), _ERROR, {}, "SynapseLivyPermissionError", "Synapse Compute Operator"),
    "not_found": Ending(_fails(404), _ERROR, {}, "SparkSessionNotFoundError", "Synapse answered 404"),
    "unavailable": Ending(
        _fails(503, **{"Retry-After": "100000"}), _ERROR, {}, "SynapseLivyUnavailableError", "Synapse answered 503"
    ),
    "batch_succeeded": Ending(
        _shows_batch((5, batches.RUNNING), (11, batches.SETTLING), (16, batches.SUCCEEDED)), _SUCCESS, is_batch=True
    ),
    "batch_failed": Ending(
        _shows_batch((5, batches.FAILED)), _BAD_END, {}, "SparkBatchJobEndedError", "LIVY_JOB_FAILED", is_batch=True
    ),
    "malformed": Ending(_fails(200, b"[]"), _ERROR, {}, "SynapseLivyResponseError", "is not a Spark session"),
}

#: A session that can't be found for a while, after which nothing comes of it: a retry goes on with the first deadline.
FOUND_AFTER = 40.0
LOST_AND_FOUND = (*_shows(), Answer(5.0, 404, b""), Answer(FOUND_AFTER, 200, json.dumps(samples.NOT_STARTED).encode()))
LOST_AND_FOUND_TIMEOUT = 60.0

#: A session that is ready in a task's first life, and gone when the task is cleared and runs again.
IDLE_THEN_GONE = (Answer(0.0, 200, json.dumps(samples.IDLE).encode()), Answer(20.0, 404, b""))

ANSWERS = {name: ending.answers for name, ending in ENDINGS.items()} | {
    "idle_then_gone": IDLE_THEN_GONE,
    "lost_and_found": LOST_AND_FOUND,
}
