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
)
from airflow_provider_synapse_livy.livy.responses import Page, Snapshot
from airflow_provider_synapse_livy.polling.health import LIST_BACKOFF_SECONDS, ListUse, Outage, crash, no_response
from airflow_provider_synapse_livy.polling.polls import (
    LIST_THRESHOLD,
    DueRecords,
    ExpiryQueue,
    Flight,
    PendingPoll,
    Plan,
    PolledRecord,
)

__all__ = ["MAX_CONCURRENT_GETS", "PollSchedule"]

#: How many records of one pool may be read singly at once, beside its list.
MAX_CONCURRENT_GETS = 3

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
        self._due = DueRecords()
        self._expiries = ExpiryQueue()
        self._flights: set[Flight] = set()
        self._list_flight: Flight | None = None
        self._list = ListUse()
        self._outage = Outage(jitter)

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
            self._due.remove(record)
        return not self._records

    def add(self, record: PolledRecord, poll: PendingPoll) -> None:
        """Plan a poll."""
        record.polls.append(poll)
        self._expiries.push(poll.expires_at, record, poll)
        self._due.push(record, poll.due_at)

    def fail_all(self, make_error: Callable[[], Exception]) -> None:
        """Answer every poll with an error."""
        for record in self._records.values():
            record.answer_with_error(record.polls, make_error)

    def jittered(self, interval: float) -> float:
        """Return an interval, a little shorter; short ones, as before a deadline, are kept."""
        return interval * (1 - self._early) if interval > 1 else interval

    def next_wake(self) -> float:
        """Return when :meth:`plan` is to be called next."""
        due_at = self._due.next_at()
        if self._outage.error is not None:
            due_at = math.inf if self._flights else max(self._outage.retry_at, 0.0 if self._due.has_ready else due_at)
        return min(self._expiries.next_at(), due_at)

    def plan(self, now: float) -> Plan:
        """Return what to send now."""
        self._due.collect(now)
        plan = self._plan_requests(now) if self._outage.error is None else self._plan_trial(now)
        self._early = self._jitter(0, _JITTER)
        self._expire(now)
        return plan

    def _plan_trial(self, now: float) -> Plan:
        """While the pool fails, one request at a time tries for all: for the record that was tried longest ago."""
        if self._flights or now < self._outage.retry_at:
            return Plan(None, [])
        due = self._due.all(now)
        return Plan(None, [self._take_off([min(due, key=lambda record: record.tried_at)], now)] if due else [])

    def _plan_requests(self, now: float) -> Plan:
        listing = None
        if self._list_flight:
            for record in list(self._due.ready.values()):  # all those that may be listed
                self._board(record, self._list_flight, self._list_flight.late)
        elif self._due.ready and self._uses_list(now) and (near := self._due.near(now)):
            listing = self._list_flight = self._take_off(near, now, is_list=True)
        singles: list[Flight] = []
        free = MAX_CONCURRENT_GETS - sum(not flight.is_list for flight in self._flights)
        while len(singles) < free and (first := self._due.first(now)):
            singles.append(self._take_off([first], now))
        return Plan(listing, singles)

    def _uses_list(self, now: float) -> bool:
        return self._has_list and not self._list.is_backing_off(now, len(self._records))

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
        self._due.remove(record)

    def land(self, flight: Flight, snapshot: Snapshot[Any], now: float) -> None:
        """Take the response to a single request."""
        self._recover(now)
        for record in flight.records.values():
            record.backoff = None
            self._publish(record, snapshot.digest, lambda: snapshot, now)
        self._end(flight)

    def wants_page(self, flight: Flight, now: float) -> bool:
        """Return whether to read the next page of the list: as long as somebody waits for it, and it is worthwhile."""
        return bool(flight.records) and flight.is_worthwhile(now, len(self._records))

    def take_page(self, flight: Flight, page: Page[Any], now: float) -> None:
        """Take a page of the list: each record that is on it gets its answer, whether or not it was asked for."""
        flight.pages += 1
        self._recover(now)
        found = set()
        for key in page.items.keys() & self._records.keys():
            record = self._records[key]
            if record.flight not in (None, flight):  # it is being read singly
                found.add(key)
            elif self._publish_item(record, page, now):
                found.add(key)
                if flight.records.pop(key, None) or flight.late.pop(key, None):
                    self._release(record)
        if not found <= flight.found:
            flight.found |= found
            flight.useful_pages = flight.pages

    def _publish_item(self, record: PolledRecord, page: Page[Any], now: float) -> bool:
        key: Any = record.key
        try:
            return self._publish(record, page.digest(key), lambda: page.read(key), now)
        except Exception as error:  # noqa: BLE001  (what one record breaks is not the pool's)
            self._answer_crash(record, error)
            return True

    def land_list(self, flight: Flight, now: float) -> None:
        """Note that the list was read as far as was worthwhile; what was not found in it is read singly."""
        # Pages that were read in vain at the end are not the list's fault: what they were read for is not in it.
        if len(flight.found) > flight.useful_pages * LIST_THRESHOLD:
            self._list.failures = 0
            for record in flight.records.values():
                record.unlisted_until = now + LIST_BACKOFF_SECONDS
        else:
            self._list.back_off(now, len(self._records))
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
            self._list.failures += 1
            self._outage.suspect(error, now)
            self._suspend(flight, error, now)
        else:
            if not flight.is_list:
                self._list.failures = 0  # which the outage explains
            self._outage.fail(flight, error, now, resume_at)
            self._suspend(flight, error, now)

    def break_off(self, flight: Flight, error: Exception, now: float) -> None:
        """Take an error that nobody foresaw: one record's ends its own wait, and the list is not used for a while."""
        if flight.is_list:
            self._list.back_off(now, len(self._records))
        else:
            for record in flight.records.values():
                self._answer_crash(record, error)
        self._end(flight)

    def _fail_for_good(self, flight: Flight, error: SynapseLivyError, now: float) -> None:
        self._recover(now)
        if flight.is_list and not isinstance(error, SynapseLivyAuthenticationError | SynapseLivyConfigurationError):
            self._list.back_off(now, len(self._records))  # the records may fare better singly
        else:
            for record in flight.passengers():
                record.answer_with_error(record.due_polls(now), lambda: error)
        self._end(flight)

    def _suspend(self, flight: Flight, error: SynapseLivyError, now: float) -> None:
        records = [*flight.passengers(), *self._due.all(now)]
        for record in records:
            record.answer_with_error(self._outage.hopeless(record, now), lambda: error)
        self._end(flight)
        for record in records:  # while requests succeeded, they were given the time of one attempt more
            for poll in record.due_polls(now):
                self._expiries.push(self._limit(record, poll), record, poll)

    def _recover(self, now: float) -> None:
        """Go on for all, after a response."""
        if not self._outage.end(now):
            return
        if self._list.failures > 1:
            self._list.back_off(now, len(self._records))
        elif self._list.failures:
            intervals = (poll.interval for record in self._due.all(now) for poll in record.polls)
            self._list.fail_once(now, min(intervals, default=0.0) / 2)

    def _end(self, flight: Flight) -> None:
        self._flights.discard(flight)
        if flight is self._list_flight:
            self._list_flight = None
        for record in flight.passengers():
            self._release(record)

    def _release(self, record: PolledRecord) -> None:
        record.flight = None
        self._due.push(record)

    def _publish(self, record: PolledRecord, digest: int, read: Callable[[], Snapshot[Any] | None], now: float) -> bool:
        if not record.publish(digest, read, now, self.jittered):
            return False
        self._due.remove(record)
        self._due.push(record)
        return True

    def _answer_crash(self, record: PolledRecord, cause: Exception) -> None:
        record.answer_with_error(record.polls, lambda: crash(self._title(record.key), cause))

    def _expire(self, now: float) -> None:
        """Answer the polls whose time is over with an error."""
        for record, poll in self._expiries.pop(until=now):
            if (limit := self._limit(record, poll)) > now:
                self._expiries.push(limit, record, poll)
            else:
                error = self._outage.error or no_response(self._title(record.key))
                record.answer_with_error([poll], lambda error=error: error)  # type: ignore[misc]

    def _limit(self, record: PolledRecord, poll: PendingPoll) -> float:
        return self._outage.limit(record, poll, self._max_attempt_seconds)
