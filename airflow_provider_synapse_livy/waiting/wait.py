"""
One wait: its deadline, its interval, and what it makes of each snapshot.

A :class:`Wait` is told what each poll showed and says what to do next. It neither sleeps nor sends anything, so a
task, a rescheduled task and a trigger use it alike.
"""

from __future__ import annotations

import json
import logging
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any, Generic, TypeVar

from airflow_provider_synapse_livy.livy.responses import Snapshot
from airflow_provider_synapse_livy.waiting.goals import Goal, Verdict
from airflow_provider_synapse_livy.waiting.progress import (
    PhaseStart,
    format_duration,
    format_history,
    shortened,
    time_breakdown,
)

__all__ = ["RETRY_TIMEOUT", "SETTLE_TIMEOUT", "Wait", "WaitOptions"]

R = TypeVar("R", bound=Any)

_log = logging.getLogger(__name__)

#: For how many seconds a poll is retried while the service does not say when to come back.
RETRY_TIMEOUT = 180.0

#: Seconds to wait for the final result of Synapse, once a session has ended for Livy; up to 31 were seen.
SETTLE_TIMEOUT = 60.0

SETTLE_INTERVAL = 5.0

#: How far back zlib looks, in bytes.
_ZLIB_WINDOW = 2**15

#: Of each kind of record, the first that was kept, as JSON. Others are much like it, and are packed as what differs.
_samples: dict[type, bytes] = {}


@dataclass(frozen=True, slots=True)
class WaitOptions:
    """
    How to wait. All values are JSON values, so that they can move to another process.

    :param timeout: how many seconds the wait is given in all.
    :param poke_interval: seconds between two polls.
    :param exponential_backoff: whether the interval grows, to twice its length with each poll.
    :param max_wait: how many seconds it grows to at the most; None for no bound.
    :param settle_timeout: for how many seconds to wait for the final result of what has ended.
    :param silent_fail: whether a poll that fails is logged, and the wait goes on.
    """

    timeout: float
    poke_interval: float
    exponential_backoff: bool = False
    max_wait: float | None = None
    settle_timeout: float = SETTLE_TIMEOUT
    silent_fail: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the options as JSON values, the arguments to make them from again."""
        return asdict(self)


@dataclass(slots=True)
class Wait(Generic[R]):
    """
    One wait for one thing.

    :param goal: what is waited for.
    :param options: how to wait.
    :param started_at: when the first poll was, in seconds since the epoch.
    :param history: the phases that an earlier process of this wait has seen.
    :param log: the task's log, which gets a line at each change of phase.
    """

    goal: Goal[R]
    options: WaitOptions
    started_at: float
    history: list[PhaseStart] = field(default_factory=list)
    log: Any = _log
    next_delay: float = field(default=0.0, init=False)
    _last: tuple[Any, bytes, str | None] | None = field(default=None, init=False)
    _settling_since: float | None = field(default=None, init=False)
    _made_at: float = field(default_factory=time.time, init=False)
    _made_at_monotonic: float = field(default_factory=time.monotonic, init=False)

    def now(self) -> float:
        """
        Return the time, in seconds since the epoch, by a clock that is never set while a process waits.

        Another process must understand it, so it counts from the epoch. But a clock that is set forward or back must
        neither end a wait nor draw it out.
        """
        return self._made_at + time.monotonic() - self._made_at_monotonic

    @property
    def deadline(self) -> float:
        """When the wait ends, in seconds since the epoch."""
        return self.started_at + self.options.timeout

    @property
    def last_snapshot(self) -> Snapshot[R] | None:
        """The last snapshot. It is kept packed: a triggerer may hold thousands of waits."""
        if self._last is None:
            return None
        model, packed, activity_id = self._last
        return Snapshot(_unpack(model, packed), activity_id)

    @property
    def is_settling(self) -> bool:
        """Whether the thing has ended and only its final result is waited for."""
        return self._settling_since is not None

    def time_left(self, now: float) -> float:
        """
        Return how many seconds are left until the deadline.

        :param now: the time, in seconds since the epoch.
        """
        return max(0.0, self.deadline - now)

    def retry_timeout(self, now: float) -> float:
        """
        Return for how many seconds one poll may be retried: never beyond the deadline, where the last one is made once.

        :param now: when it begins, in seconds since the epoch.
        """
        return min(RETRY_TIMEOUT, self.time_left(now))

    def only_changes_for(self, now: float) -> float:
        """
        Return for how many seconds there is nothing to decide as long as nothing changes.

        :param now: the time, in seconds since the epoch.
        """
        is_steady = self._last is not None and not self.options.exponential_backoff and not self.is_settling
        return self.time_left(now) if is_steady else 0.0

    def announce(self, subject: str) -> None:
        """
        Log what is waited for, and for how long.

        :param subject: what is waited for, by its name.
        """
        limit = format_duration(timedelta(seconds=self.options.timeout)) or "0 s"
        self.log.info("Waiting until %s has %s, for %s at the most.", subject, self.goal.describe(), limit)
        if advice := self.goal.advice():
            self.log.info("%s", advice)

    @contextmanager
    def tolerating_errors(self) -> Iterator[None]:
        """Log an error of a poll and go on, if ``silent_fail`` is set, but for one after which nothing can change."""
        try:
            yield
        except Exception as error:
            if not self.options.silent_fail or getattr(error, "is_final", False):
                raise
            self.log.exception("This poll failed. The wait goes on, because silent_fail is set.")

    def observe(self, snapshot: Snapshot[R] | None, now: float) -> Verdict:
        """
        Take in a poll's snapshot, keep it as :attr:`last_snapshot`, and return what it means for the wait.

        If that is to wait, :attr:`next_delay` is how many seconds to wait until the next poll. It never leads beyond
        the deadline, so that the last poll is right there.

        :param snapshot: what the poll showed; None if it failed and that was tolerated.
        :param now: when it was, in seconds since the epoch.
        """
        verdict = self._take_in(snapshot, now) if snapshot else Verdict.PENDING
        if verdict is Verdict.PENDING and now >= self.deadline:
            verdict = Verdict.TIMEOUT
        if verdict is Verdict.PENDING:
            self.next_delay = min(self._interval(now), self.deadline - now)
        elif last := self.last_snapshot:
            self._log_end(last.record, now)
        return verdict

    def _take_in(self, snapshot: Snapshot[R], now: float) -> Verdict:
        record = snapshot.record
        self._last = type(record), _pack(record), snapshot.activity_id
        self._log_change(record, now)
        return self.goal.evaluate(record, settled=self._has_settled(record, now))

    def _interval(self, now: float) -> float:
        options = self.options
        if self._settling_since is not None:
            return min(SETTLE_INTERVAL, options.poke_interval)
        # One interval more than has passed doubles it each time: 1, 2, 4, ... without a count to carry along.
        grown = options.poke_interval + (now - self.started_at if options.exponential_backoff else 0)
        return min(grown, options.max_wait) if options.max_wait else grown

    def _has_settled(self, record: R, now: float) -> bool:
        if not record.is_settling:
            self._settling_since = None
            return True
        if self._settling_since is None:
            self._settling_since = now
        return now >= min(self._settling_since + self.options.settle_timeout, self.deadline)

    def _log_change(self, record: R, now: float) -> None:
        """Log each change of phase once, with the phases so far and their durations."""
        if self.history and self.history[-1].phase == record.phase:
            return
        self.history = shortened([*self.history, PhaseStart(record.phase, now)])
        self.log.info("%s: %s", record, format_history(self.history, record.durations()))

    def _log_end(self, record: R, now: float) -> None:
        waited = format_duration(timedelta(seconds=now - self.started_at)) or "0 s"
        breakdown = time_breakdown(self.history, record.durations(), now)
        self.log.info("%s is %s. Waited %s%s.", record, record.phase, waited, f" ({breakdown})" if breakdown else "")


def _pack(record: Any) -> bytes:
    text = json.dumps(record.to_dict()).encode()
    sample = _samples.setdefault(type(record), text[-_ZLIB_WINDOW:])
    packer = zlib.compressobj(level=1, zdict=sample)
    return packer.compress(text) + packer.flush()


def _unpack(model: Any, packed: bytes) -> Any:
    text = zlib.decompressobj(zdict=_samples[model]).decompress(packed)
    return model.from_dict(json.loads(text))
