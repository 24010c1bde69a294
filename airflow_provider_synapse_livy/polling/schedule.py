"""
Which polls are due, and whether by list or singly: a state machine without I/O, asyncio or clock.

The schedule is told the time and returns a plan, and is told how each flight of the plan ended. Its rules:

- A page of the list answers twenty polls at once, so many polls go by list, and few go singly. What the service
  promises of the list is little: a record that is not found in it in good time, or not in full, is read singly.
- A change is told to every subscriber, an unchanged record only to those whose poll is due.
- A failure that may pass is a fact about the pool. After one, a single request at a time tries for all, with a growing
  pause or the one that the service asks for. If it succeeds after the list had failed, the list alone is broken.
- Each poll has a time by which it is answered, if only with an error, whatever hangs.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Hashable, Iterable
from typing import Any

from airflow_provider_synapse_livy.livy.errors import (
    SynapseLivyAuthenticationError,
    SynapseLivyConfigurationError,
    SynapseLivyError,
    SynapseLivyUnavailableError,
    error_message,
)
from airflow_provider_synapse_livy.livy.responses import Page, Snapshot
from airflow_provider_synapse_livy.polling.polls import DueQueue, ExpiryQueue, Flight, PendingPoll, Plan, PolledRecord
from airflow_provider_synapse_livy.transport.retry import MAX_PAUSE, Backoff, announced_pause

__all__ = ["LIST_REST", "LIST_THRESHOLD", "MAX_CONCURRENT_GETS", "PollSchedule"]

#: Up to so many records are read singly. A page of the list costs about as much as that.
LIST_THRESHOLD = 3

#: How many records of one pool may be read singly at once, beside its list.
MAX_CONCURRENT_GETS = 3

#: Seconds after which a list that was of no use, and a record that was not in it, get another chance.
LIST_REST = 60.0

#: Seconds after which the rest of a long list, or of a slow one, is not read: its records would wait for too long.
_MAX_LIST_SECONDS = 60.0

#: By which part of its interval a poll may come early, at random, so that many triggerers do not poll in step.
_JITTER = 0.05


class PollSchedule:
    """
    Plans the polls of one pool's records.

    :param title: returns the name of a record in messages, by its key.
    :param has_list: whether there is a list.
    :param max_attempt_seconds: how many seconds one attempt may take, with all that belongs to it.
    :param jitter: returns a number between two others.
    """

    def __init__(
        self,
        title: Callable[[Any], str],
        *,
        has_list: bool,
        max_attempt_seconds: float,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._title = title
        self._has_list = has_list
        self._max_attempt_seconds = max_attempt_seconds
        self._jitter = jitter
        self._early = 0.0
        self._records: dict[Hashable, PolledRecord] = {}
        self._due = DueQueue()
        self._ready: dict[Hashable, PolledRecord] = {}  # due, and not in flight yet
        self._expiries = ExpiryQueue()
        self._flights: set[Flight] = set()
        self._list_flight: Flight | None = None
        self._list_failures = 0
        self._list_again_at = 0.0
        self._list_again_for = 0.0
        self._backoff = Backoff(jitter)
        self._last_error: SynapseLivyError | None = None  # until a response comes, one request at a time tries for all
        self._is_down = False  # and so long, if it was not the list alone that failed
        self._failed_at = -math.inf
        self._retry_at = 0.0

    def subscribe(self, key: Hashable) -> PolledRecord:
        """Return the record of a key, for one more subscriber."""
        record = self._records.setdefault(key, PolledRecord(key))
        record.subscriber_count += 1
        return record

    def unsubscribe(self, record: PolledRecord) -> bool:
        """Forget a subscriber, and return whether it was the last of all."""
        record.subscriber_count -= 1
        if not record.subscriber_count:
            del self._records[record.key]
            self._ready.pop(record.key, None)
        return not self._records

    def add(self, record: PolledRecord, poll: PendingPoll) -> None:
        """Plan a poll."""
        record.polls.append(poll)
        self._expiries.push(poll.expires_at, record, poll)
        self._enqueue(record)

    def fail_all(self, make_error: Callable[[], Exception]) -> None:
        """Answer every poll with an error of its own."""
        for record in self._records.values():
            record.answer_with_error(record.polls, make_error)

    def jittered(self, interval: float) -> float:
        """Return an interval, a little shorter; short ones, as before a deadline, are kept."""
        return interval * (1 - self._early) if interval > 1 else interval

    def next_wake(self) -> float:
        """Return when :meth:`plan` is to be called next."""
        due_at = self._due.next_at()
        if self._last_error is not None:
            due_at = math.inf if self._flights else max(self._retry_at, 0.0 if self._ready else due_at)
        return min(self._expiries.next_at(), due_at)

    def plan(self, now: float) -> Plan:
        """Return what to send now."""
        for record in self._due.pop(until=now):
            self._ready[record.key] = record
        plan = self._plan_requests(now) if self._last_error is None else self._plan_trial(now)
        self._expire(now)
        self._early = self._jitter(0, _JITTER)
        return plan

    def _plan_trial(self, now: float) -> Plan:
        """While the pool fails, one request at a time tries for all: for the record that was tried longest ago."""
        if self._flights or now < self._retry_at:
            return Plan(None, [])
        due = self._due_of_ready(now)
        return Plan(None, [self._take_off([min(due, key=lambda record: record.tried_at)], now)] if due else [])

    def _plan_requests(self, now: float) -> Plan:
        listing = None
        if self._list_flight:
            for record in list(self._ready.values()):
                if record.unlisted_until <= now:
                    self._board(record, self._list_flight, self._list_flight.late)
        elif self._ready and self._has_list and not self._is_list_at_rest(now) and (near := self._near(now)):
            listing = self._list_flight = self._take_off(near, now, is_list=True)
        singles: list[Flight] = []
        free = MAX_CONCURRENT_GETS - sum(not flight.is_list for flight in self._flights)
        while len(singles) < free and (first := self._first_due(now)):
            singles.append(self._take_off([first], now))
        return Plan(listing, singles)

    def _is_list_at_rest(self, now: float) -> bool:
        return now < self._list_again_at and len(self._records) < self._list_again_for

    def _near(self, now: float) -> list[PolledRecord]:
        """Return the records to look for in the list, those included that may come early; none if they are few."""
        due = self._due_of_ready(now)
        windows = (poll.interval / 2 for record in due for poll in record.due_polls(now))
        early = list(self._due.pop(until=now + max(windows, default=0.0)))
        listable = [record for record in (*due, *early) if record.unlisted_until <= now and record.may_come_early(now)]
        near = listable if len(listable) > LIST_THRESHOLD else []
        chosen = {record.key for record in near}
        for record in early:
            if record.key not in chosen:
                self._enqueue(record)
        return near

    def _first_due(self, now: float) -> PolledRecord | None:
        """Return the record that has been ready for longest, without looking at all."""
        while self._ready:
            key, record = next(iter(self._ready.items()))
            if record.due_at <= now:
                return record
            del self._ready[key]  # its poll was answered meanwhile
            self._enqueue(record)
        return None

    def _due_of_ready(self, now: float) -> list[PolledRecord]:
        for record in [record for record in self._ready.values() if record.due_at > now]:
            del self._ready[record.key]
            self._enqueue(record)
        return list(self._ready.values())

    def _take_off(self, records: Iterable[PolledRecord], now: float, *, is_list: bool = False) -> Flight:
        flight = Flight(now, is_list)
        self._flights.add(flight)
        for record in records:
            record.tried_at = now
            self._board(record, flight, flight.records)
        return flight

    def _board(self, record: PolledRecord, flight: Flight, passengers: dict[Hashable, PolledRecord]) -> None:
        record.flight = flight
        passengers[record.key] = record
        self._ready.pop(record.key, None)

    def land(self, flight: Flight, snapshot: Snapshot[Any], now: float) -> None:
        """Take the response to a single request."""
        self._recover(now)
        for record in flight.records.values():
            record.backoff = None
            self._publish(record, snapshot.digest, lambda: snapshot, now)
        self._end(flight)

    def wants_page(self, flight: Flight, now: float) -> bool:
        """Return whether to read the next page of the list: as long as that pays."""
        spare = 1 + len(self._records) // 10
        pays = (flight.pages - spare) * LIST_THRESHOLD <= flight.found
        return bool(flight.records) and pays and now < flight.started_at + _MAX_LIST_SECONDS

    def take_page(self, flight: Flight, page: Page[Any], now: float) -> None:
        """Take a page of the list: each record that is on it gets its answer, whether or not it was looked for."""
        flight.pages += 1
        self._recover(now)
        for key in page.items.keys() & self._records.keys():
            record = self._records[key]
            if record.flight not in (None, flight):  # it is being read singly
                flight.found += 1
            elif self._publish_item(record, page, now):
                flight.found += 1
                if flight.records.pop(key, None) or flight.late.pop(key, None):
                    self._release(record)

    def _publish_item(self, record: PolledRecord, page: Page[Any], now: float) -> bool:
        key: Any = record.key
        try:
            return self._publish(record, page.digest(key), lambda: page.read(key), now)
        except Exception as error:  # noqa: BLE001  (what one record breaks is not the pool's)
            self._answer_crash(record, error)
            return True

    def land_list(self, flight: Flight, now: float) -> None:
        """Note that the list was read as far as that paid; what was not found in it is read singly."""
        if flight.found > flight.pages * LIST_THRESHOLD:
            self._list_failures = 0
            for record in flight.records.values():
                record.unlisted_until = now + LIST_REST
        else:
            self._rest_list(now)
        self._end(flight)

    def fail(
        self, flight: Flight, error: SynapseLivyError, now: float, *, is_pools: bool = False, resume_at: float = 0.0
    ) -> None:
        """
        Take the error that a flight ended with, and decide whom it concerns: the record, the list or the pool.

        :param flight: the flight.
        :param error: the error.
        :param now: the time.
        :param is_pools: whether the error can't be one record's or the list's, as one about the token.
        :param resume_at: until when the whole workspace is paused.
        """
        if not isinstance(error, SynapseLivyUnavailableError):
            self._fail_for_good(flight, error, now)
        elif flight.is_list and not is_pools and resume_at <= now:
            self._list_failures += 1
            self._suspend(flight, error, now, pause=announced_pause(error))
        else:
            self._fail_pool(flight, error, now, resume_at)

    def break_off(self, flight: Flight, error: Exception, now: float) -> None:
        """Take an error that nobody foresaw: one record's ends its own wait, and the list is done without."""
        if flight.is_list:
            self._rest_list(now)
        else:
            for record in flight.records.values():
                self._answer_crash(record, error)
        self._end(flight)

    def _fail_for_good(self, flight: Flight, error: SynapseLivyError, now: float) -> None:
        self._recover(now)
        is_everyones = isinstance(error, SynapseLivyAuthenticationError | SynapseLivyConfigurationError)
        if flight.is_list and not is_everyones:
            self._rest_list(now)  # the records may fare better singly
        else:
            for record in flight.passengers():
                record.answer_with_error(record.due_polls(now), lambda: error)
        self._end(flight)

    def _fail_pool(self, flight: Flight, error: SynapseLivyError, now: float, resume_at: float) -> None:
        """Try again later. A flight that started before the last failure shows nothing new."""
        intervals = (poll.interval for record in flight.passengers() for poll in record.polls)
        # Short enough for every change to be seen within one interval after an outage.
        longest = min(MAX_PAUSE, max(1.0, min(intervals, default=1.0)))
        pause = announced_pause(error)
        if resume_at > now:
            pause = resume_at - now
        elif flight.started_at >= self._failed_at:
            pause = self._backoff.pause_after(error, longest)
        if not flight.is_list:
            self._list_failures = 0  # which the outage explains
            for record in flight.records.values():
                record.backoff = record.backoff or Backoff(self._jitter)
                record.retry_at = now + max(pause, record.backoff.pause_after(error, longest))
        self._is_down = True
        self._suspend(flight, error, now, pause)

    def _suspend(self, flight: Flight, error: SynapseLivyError, now: float, pause: float) -> None:
        self._last_error = error
        self._failed_at = now
        self._retry_at = max(self._retry_at, now + pause)
        announced = announced_pause(error)
        for record in (*flight.passengers(), *self._ready.values()):
            due = record.due_polls(now)
            for poll in due if announced else ():  # the time that the service asks for is not the poll's
                poll.expires_at = max(poll.expires_at, min(now + announced + poll.retry_timeout, poll.last_at))
            hopeless = [p for p in due if p.last_at < now + announced or (self._is_down and p.expires_at <= now)]
            record.answer_with_error(hopeless, lambda: error)
        self._end(flight)

    def _recover(self, now: float) -> None:
        """Go on for all, after a response."""
        if self._last_error is None:
            return
        self._last_error = None
        self._is_down = False
        self._retry_at = now
        self._backoff.reset()
        if self._list_failures > 1:
            self._rest_list(now)
        elif self._list_failures:  # it may have passed when the list is needed next
            intervals = (poll.interval for record in self._ready.values() for poll in record.polls)
            self._list_again_at, self._list_again_for = now + min(intervals, default=0.0) / 2, math.inf

    def _rest_list(self, now: float) -> None:
        self._list_again_at = now + LIST_REST
        self._list_again_for = 2 * len(self._records)  # with so many it may pay after all

    def _end(self, flight: Flight) -> None:
        self._flights.discard(flight)
        if flight is self._list_flight:
            self._list_flight = None
        for record in flight.passengers():
            self._release(record)

    def _release(self, record: PolledRecord) -> None:
        record.flight = None
        self._enqueue(record)

    def _enqueue(self, record: PolledRecord) -> None:
        if record.flight is None and record.subscriber_count and record.key not in self._ready:
            self._due.push(record)

    def _publish(self, record: PolledRecord, digest: int, read: Callable[[], Snapshot[Any] | None], now: float) -> bool:
        """
        Answer those whose poll is due, and all if the record has changed.

        :param record: the record.
        :param digest: the hash of its description.
        :param read: returns the snapshot, None if the record must be read singly; only called if it is to be told.
        :param now: when it was seen.
        :return: whether it could be told.
        """
        is_change = digest != record.digest
        told = [poll for poll in record.polls if is_change or not self._may_stay_quiet(poll, now)]
        if told or is_change:
            snapshot = read()
            if snapshot is None:
                return False
            record.changes += is_change
            record.answer(told, snapshot)
        record.digest = digest
        record.retry_at = 0.0
        self._ready.pop(record.key, None)
        self._enqueue(record)
        return True

    def _may_stay_quiet(self, poll: PendingPoll, now: float) -> bool:
        """Return whether an unchanged record need not be told: the poll is not due, or is repeated instead."""
        return poll.early_at > now or poll.repeat(now, self.jittered(poll.interval))

    def _answer_crash(self, record: PolledRecord, cause: Exception) -> None:
        def make_error() -> Exception:
            event = f"{self._title(record.key)}: polling broke off: {type(cause).__name__}: {cause}"
            error = SynapseLivyError(error_message(event, "report it, with the traceback: this is a bug."))
            error.__cause__ = cause
            return error

        record.answer_with_error(record.polls, make_error)

    def _expire(self, now: float) -> None:
        """Answer the polls whose time is over with an error."""
        for record, poll in self._expiries.pop(until=now):
            limit = self._limit(record, poll)
            if limit > now:
                self._expiries.push(limit, record, poll)
            else:
                error = self._last_error or self._no_response(record)
                record.answer_with_error([poll], lambda error=error: error)  # type: ignore[misc]

    def _limit(self, record: PolledRecord, poll: PendingPoll) -> float:
        if not self._is_down or record.flight:  # an attempt under way, or soon, may still bring an answer
            return poll.expires_at + self._max_attempt_seconds
        is_announced = announced_pause(self._last_error) and self._retry_at <= poll.last_at
        return max(poll.expires_at, self._retry_at + poll.retry_timeout) if is_announced else poll.expires_at

    def _no_response(self, record: PolledRecord) -> SynapseLivyError:
        event = f"{self._title(record.key)}: Synapse did not respond in the time that there was."
        return SynapseLivyUnavailableError(
            error_message(event, "check whether Synapse hangs, or raise the task's timeout."),
            may_have_been_processed=True,
        )
