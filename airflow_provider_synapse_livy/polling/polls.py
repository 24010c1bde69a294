"""What the schedule is about: polls, the records that they are for, the flights that answer them, and their queues."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from airflow_provider_synapse_livy.livy.responses import Snapshot
from airflow_provider_synapse_livy.transport.retry import Backoff

__all__ = [
    "LIST_THRESHOLD",
    "MAX_ATTEMPT_SECONDS",
    "DueRecords",
    "ExpiryQueue",
    "Flight",
    "PendingPoll",
    "Plan",
    "PolledRecord",
    "Waiter",
]

#: Up to so many records are read singly. A page of the list costs about as much as that.
LIST_THRESHOLD = 3

#: Seconds after which the rest of a long list, or of a slow one, is not read: its records would wait for too long.
_MAX_LIST_SECONDS = 60.0

#: How many seconds one attempt may take at the most, with all that belongs to it, whatever the connection's timeout.
MAX_ATTEMPT_SECONDS = 240.0


class Waiter(Protocol):
    """Who waits for a poll: a future, of asyncio or another."""

    def done(self) -> bool:
        """Return whether it has an answer, or waits no longer."""

    def set_result(self, result: Any, /) -> None:
        """Take the snapshot, and how often the record was seen to change until then."""

    def set_exception(self, exception: Any, /) -> None:
        """Take an error."""


@dataclass(slots=True, eq=False)
class PendingPoll:
    """
    A poll that a subscriber waits for. All times are of the shell's clock, in seconds.

    :param waiter: who waits for it.
    :param due_at: when it is to be made.
    :param interval: how many seconds later the next one is, if this one shows nothing new.
    :param notify_at: until when what has not changed need not be told.
    :param retry_timeout: for how many seconds after it is due it is retried, while the service announces nothing.
    :param last_at: up to when a pause may lead that the service asks for.
    """

    waiter: Waiter | None
    due_at: float
    interval: float
    notify_at: float
    retry_timeout: float
    last_at: float
    expires_at: float = field(init=False)
    checked_at: float = field(default=math.inf, init=False)

    def __post_init__(self) -> None:
        self.expires_at = self.due_at + self.retry_timeout

    @property
    def early_at(self) -> float:
        """From when on it may be made, if others are made then."""
        return self.due_at - self.interval / 2

    def is_postponed(self, now: float, jittered: Callable[[float], float]) -> bool:
        """Return whether it waits on if nothing has changed: it is not due, or is due again after an interval."""
        if self.early_at > now:
            return True
        if now >= self.notify_at:
            return False
        self.due_at = min(now + jittered(self.interval), self.notify_at)
        self.expires_at = min(self.due_at + self.retry_timeout, self.notify_at)
        return True


class PolledRecord:
    """
    A record that is waited for, by one or more.

    :param key: its key in the schedule.
    """

    __slots__ = (
        "backoff", "changes", "claimed_until", "digest", "flight", "key", "polls", "queued_at", "retry_at",
        "subscriber_count", "tried_at", "unlisted_until",
    )  # fmt: skip

    def __init__(self, key: Hashable) -> None:
        self.key = key
        self.polls: list[PendingPoll] = []
        self.digest = 0
        self.changes = 0
        self.claimed_until: float | None = None
        self.subscriber_count = 0
        self.flight: Flight | None = None
        self.queued_at = math.inf
        self.unlisted_until = 0.0
        self.backoff: Backoff | None = None
        self.retry_at = 0.0
        self.tried_at = -math.inf

    @property
    def due_at(self) -> float:
        """When its next poll is to be made; never, if there is none."""
        return max(min((poll.due_at for poll in self.polls), default=math.inf), self.retry_at)

    def claim(self, now: float, interval: float) -> bool:
        """Return whether it is time for what is to be done every so many seconds, by one subscriber for all."""
        if self.claimed_until is not None and now < self.claimed_until:
            return False
        is_first, self.claimed_until = self.claimed_until is None, now + interval
        return not is_first

    def may_come_early(self, now: float) -> bool:
        """Return whether a poll may be made now, if others are made."""
        return self.retry_at <= now and any(poll.early_at <= now for poll in self.polls)

    def due_polls(self, now: float) -> list[PendingPoll]:
        """Return the polls that are due."""
        return [poll for poll in self.polls if poll.due_at <= now]

    def publish(
        self,
        digest: int,
        read: Callable[[], Snapshot[Any] | None],
        now: float,
        jittered: Callable[[float], float],
    ) -> bool:
        """
        Answer those whose poll is due, and all if the record has changed.

        :param digest: the hash of its description.
        :param read: returns the snapshot, None if the record must be read singly; only called if it is to be told.
        :param now: when it was seen.
        :param jittered: returns an interval, a little shorter.
        :return: whether it could be told.
        """
        is_change = digest != self.digest
        told = [poll for poll in self.polls if is_change or not poll.is_postponed(now, jittered)]
        if told or is_change:
            snapshot = read()
            if snapshot is None:
                return False
            self.changes += is_change
            for waiter in self._take(told):
                waiter.set_result((snapshot, self.changes))
        self.digest = digest
        self.retry_at = 0.0
        return True

    def answer_with_error(self, polls: Iterable[PendingPoll], make_error: Callable[[], Exception]) -> None:
        """Answer polls with an error, made for each."""
        for waiter in self._take(polls):
            waiter.set_exception(make_error())

    def remove(self, poll: PendingPoll) -> None:
        """Forget a poll, whether or not it was answered."""
        if poll in self.polls:
            self.polls.remove(poll)
            poll.waiter = None  # which holds the answer, while the poll stays in the queue of expiries

    def _take(self, polls: Iterable[PendingPoll]) -> Iterator[Waiter]:
        for poll in list(polls):
            waiter = poll.waiter
            if poll in self.polls:
                self.remove(poll)
                if waiter and not waiter.done():
                    yield waiter


@dataclass(slots=True, eq=False)
class Flight:
    """
    A single request under way, or all those that read a list.

    :param started_at: when it was planned.
    :param is_list: whether it reads the list.
    :param records: the records that it was planned for, and has not answered yet.
    :param late: the records that joined while the list was being read, for the rest of it.
    :param pages: how many pages have been read.
    :param found: the records that were on them.
    :param useful_pages: how many pages there were up to the last one that had a record not found before.
    """

    started_at: float
    is_list: bool
    records: dict[Hashable, PolledRecord] = field(default_factory=dict)
    late: dict[Hashable, PolledRecord] = field(default_factory=dict)
    pages: int = 0
    found: set[Hashable] = field(default_factory=set)
    useful_pages: int = 0

    def is_worthwhile(self, now: float, record_count: int) -> bool:
        """Return whether reading the list answers more polls than as many single requests would, and in good time."""
        spare = 1 + record_count // 10
        return (self.pages - spare) * LIST_THRESHOLD <= len(self.found) and now < self.started_at + _MAX_LIST_SECONDS

    def passengers(self) -> list[PolledRecord]:
        """Return all records that wait for it."""
        return [*self.records.values(), *self.late.values()]


class Plan(NamedTuple):
    """
    What to send now.

    :param listing: a flight that reads the list, if one is to begin.
    :param singles: flights for one record each.
    """

    listing: Flight | None
    singles: list[Flight]


class DueRecords:
    """
    The records by the time at which they are due.

    What is due becomes *ready*, and stays so until it boards a flight or its polls are answered. An entry of the queue
    that was overtaken is dropped when its turn comes.
    """

    def __init__(self) -> None:
        self.ready: dict[Hashable, PolledRecord] = {}
        self._unlisted: dict[Hashable, PolledRecord] = {}  # ready as well, but to be read singly
        self._heap: list[tuple[float, int, PolledRecord]] = []
        self._count = itertools.count()

    def next_at(self) -> float:
        """Return when the next record becomes ready, or something is to be dropped."""
        return self._heap[0][0] if self._heap else math.inf

    @property
    def has_ready(self) -> bool:
        """Whether a record is ready."""
        return bool(self.ready or self._unlisted)

    def push(self, record: PolledRecord, due_at: float | None = None) -> None:
        """
        Queue a record, unless it is in flight, ready, or queued for that time or an earlier one.

        :param record: the record.
        :param due_at: when the poll is due that was just added to it; None for its next poll.
        """
        if record.flight or not record.subscriber_count or self._is_ready(record):
            return
        at = record.due_at if due_at is None else max(due_at, record.retry_at)
        if at < record.queued_at:
            record.queued_at = at
            heapq.heappush(self._heap, (at, next(self._count), record))

    def _is_ready(self, record: PolledRecord) -> bool:
        return record in (self.ready.get(record.key), self._unlisted.get(record.key))

    def remove(self, record: PolledRecord) -> None:
        """Take a record out of those that are ready; not another one that has its key by now."""
        for ready in (self.ready, self._unlisted):
            if ready.get(record.key) is record:
                del ready[record.key]

    def collect(self, now: float) -> None:
        """Make those ready that are due."""
        for record in self.pop(now):
            ready = self.ready if record.unlisted_until <= now else self._unlisted
            ready[record.key] = record

    def pop(self, until: float) -> Iterator[PolledRecord]:
        """Yield the records that are due until a time, in their order, and forget them."""
        while self._heap and self._heap[0][0] <= until:
            due_at, _, record = heapq.heappop(self._heap)
            if due_at == record.queued_at:
                record.queued_at = math.inf
                if record.flight is None and record.subscriber_count:
                    yield record

    def first(self, now: float) -> PolledRecord | None:
        """Return the record that has been ready for longest, in constant time."""
        firsts = [first for ready in (self.ready, self._unlisted) if (first := self._first_of(ready, now))]
        return min(firsts, key=lambda record: record.due_at, default=None)

    def _first_of(self, ready: dict[Hashable, PolledRecord], now: float) -> PolledRecord | None:
        while ready:
            record = next(iter(ready.values()))
            if record.due_at <= now:
                return record
            self._return(record)
        return None

    def all(self, now: float) -> list[PolledRecord]:
        """Return the records that are ready."""
        records = [*self.ready.values(), *self._unlisted.values()]
        for record in records:
            if record.due_at > now:
                self._return(record)
        return [*self.ready.values(), *self._unlisted.values()]

    def near(self, now: float) -> list[PolledRecord]:
        """Return the records to look for in the list, those included that may come early; none if they are few."""
        if not self.ready:
            return []
        due = [record for record in self.all(now) if record.unlisted_until <= now]
        windows = (poll.interval / 2 for record in due for poll in record.due_polls(now))
        early = list(self.pop(until=now + max(windows, default=0.0)))
        listable = [record for record in (*due, *early) if record.unlisted_until <= now and record.may_come_early(now)]
        near = listable if len(listable) > LIST_THRESHOLD else []
        chosen = {record.key for record in near}
        for record in early:
            if record.key not in chosen:
                self.push(record)
        return near

    def _return(self, record: PolledRecord) -> None:
        """Queue a record again whose polls were answered meanwhile."""
        self.remove(record)
        self.push(record)


class ExpiryQueue:
    """
    The polls by the time at which it must be checked whether they have waited too long.

    A poll that is repeated expires later than its entry says, so each entry is checked when its turn comes, and not
    with each repetition.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, PolledRecord, PendingPoll]] = []
        self._count = itertools.count()

    def next_at(self) -> float:
        """Return when the next poll is to be checked."""
        return self._heap[0][0] if self._heap else math.inf

    def push(self, at: float, record: PolledRecord, poll: PendingPoll) -> None:
        """Queue a poll for its check, unless it is queued for that time or an earlier one."""
        if at < poll.checked_at:
            poll.checked_at = at
            heapq.heappush(self._heap, (at, next(self._count), record, poll))

    def pop(self, until: float) -> Iterator[tuple[PolledRecord, PendingPoll]]:
        """Yield the polls to check that still wait."""
        while self._heap and self._heap[0][0] <= until:
            at, _, record, poll = heapq.heappop(self._heap)
            if at == poll.checked_at:
                poll.checked_at = math.inf
                if poll in record.polls:
                    yield record, poll
