"""
A pool, its waits and its poller in simulated time: thousands of requests in a second, and none of them is sent.

The waits and the sending follow ``polling/watch.py`` and ``polling/poller.py``; the service does what a test says.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any

from airflow_provider_synapse_livy.livy.errors import SynapseLivyError, SynapseLivyUnavailableError
from airflow_provider_synapse_livy.polling.polls import Flight, PendingPoll, PolledRecord
from airflow_provider_synapse_livy.polling.schedule import PollSchedule
from tests.unit.polling.things import MAX_ATTEMPT, PAGE_SIZE, page, snapshot, thing

#: How long a request takes that gets a response, and one that hangs until the client breaks it off.
LATENCY, CLIENT_TIMEOUT = 0.02, 60.0


@dataclass(frozen=True)
class Request:
    """
    A request that is sent.

    :param at: when.
    :param number: the record that it is for; None for a page of the list.
    """

    at: float
    number: int | None = None

    @property
    def is_list(self) -> bool:
        """Whether it reads the list."""
        return self.number is None


#: What goes wrong with a request, and after how long; None for nothing.
Fault = Callable[[Request], tuple[float, Exception] | None]


class Wait:
    """A wait for one record: it has one poll under way at any time, and goes on after an error."""

    def __init__(self, simulation: Simulation, number: int, interval: float, options: dict[str, float]) -> None:
        self.simulation = simulation
        self.number = number
        self.interval = interval
        self.options = options
        self.record: PolledRecord = simulation.schedule.subscribe(number)
        self.state: str | None = None
        self.errors: list[tuple[float, Exception]] = []
        self.limit = math.inf
        self._changes = 0
        self.poll(0.0)

    def poll(self, after: float) -> None:
        """Poll once more."""
        now, options = self.simulation.now, self.options
        only_changes_for = options.get("only_changes_for", 0.0) if self._changes == self.record.changes else 0.0
        retry_timeout, last_after = options.get("retry_timeout", 180.0), options.get("last_after", 3600.0)
        due_at = now + max(self.simulation.schedule.jittered(after), 0.02)
        answer: Future[Any] = Future()
        poll = PendingPoll(answer, due_at, after, now + only_changes_for, retry_timeout, now + last_after)
        self.limit = max(due_at + retry_timeout, now + only_changes_for, now + last_after) + MAX_ATTEMPT
        answer.add_done_callback(lambda answer: self.simulation.answered.append((self, answer)))
        self.simulation.schedule.add(self.record, poll)

    def take(self, answer: Future[Any]) -> None:
        """Take the answer to the poll, and poll again after the interval."""
        if error := answer.exception():
            self.errors.append((self.simulation.now, error))  # type: ignore[arg-type]
        else:
            found, self._changes = answer.result()
            self.state = found.record.fields["state"]
        self.poll(self.interval)


class Simulation:
    """
    A pool whose records and faults a test sets as it likes.

    :param listed: the records in the list, in its order.
    :param seed: of what is random.
    :param has_list: whether there is a list.
    """

    def __init__(self, listed: Iterable[int] = (), *, seed: int = 1, has_list: bool = True) -> None:
        self.now = 0.0
        self.listed = list(listed)
        self.states: dict[int, str] = {}
        self.fault: Fault = lambda _: None
        self.requests: list[Request] = []
        self.waits: list[Wait] = []
        self.answered: list[tuple[Wait, Future[Any]]] = []
        self.most_in_flight = [0, 0]
        self._in_flight = [0, 0]
        self._workspace_paused_until = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()
        jitter = random.Random(seed).uniform
        self.schedule = PollSchedule(
            "Thing {}".format, has_list=has_list, max_attempt_seconds=MAX_ATTEMPT, jitter=jitter
        )

    def wait_for(self, numbers: Iterable[int], interval: float = 5.0, **options: float) -> None:
        """Begin to wait for records."""
        self.waits += [Wait(self, number, interval, options) for number in numbers]

    def at(self, time: float, action: Callable[[], None]) -> None:
        """Do something at a time."""
        heapq.heappush(self._events, (time, next(self._count), action))

    def run_until(self, end: float) -> None:
        """Let time pass. Nobody must be left to wait for ever, nor the schedule wake up without end."""
        steps_in_place = 0
        while True:
            wake_at = self.schedule.next_wake()
            assert wake_at < math.inf or self._events or not self.waits, "nobody would ever wake up again"
            at = min(wake_at, self._events[0][0] if self._events else math.inf)
            if at > end:
                self.now = end
                return
            steps_in_place = steps_in_place + 1 if at <= self.now else 0
            assert steps_in_place < 5000, "the schedule wakes up without end"
            self.now = max(self.now, at)
            while self._events and self._events[0][0] <= self.now:
                heapq.heappop(self._events)[2]()
            self._send_plan()
            self._continue_waits()

    def requests_between(self, start: float, end: float) -> list[Request]:
        """Return the requests of a span of time."""
        return [request for request in self.requests if start <= request.at < end]

    def _send_plan(self) -> None:
        listing, singles = self.schedule.plan(self.now)
        for flight in filter(None, (listing, *singles)):
            self._in_flight[flight.is_list] += 1
            self.most_in_flight = [max(pair) for pair in zip(self._in_flight, self.most_in_flight, strict=True)]
        if listing:
            self._read_page(listing)
        for flight in singles:
            (number,) = flight.records
            self._send(flight, Request(self.now, number), partial(self._land, flight, number))

    def _continue_waits(self) -> None:
        while self.answered:
            wait, answer = self.answered.pop()
            assert self.now <= wait.limit + 1, "somebody waited beyond their limit"
            wait.take(answer)
        assert all(self.now <= wait.limit + 1 for wait in self.waits), "somebody waits beyond their limit"

    def _send(self, flight: Flight, request: Request, succeed: Callable[[], None]) -> None:
        if self.now < self._workspace_paused_until:
            error = SynapseLivyUnavailableError("Not sent.", status=429)
            self.at(self.now, lambda: self._fail(flight, error))
            return
        self.requests.append(request)
        delay, error = self.fault(request) or (LATENCY, None)
        self.at(self.now + delay, lambda: self._fail(flight, error) if error else succeed())

    def _fail(self, flight: Flight, error: Exception) -> None:
        if not isinstance(error, SynapseLivyError):
            self.schedule.break_off(flight, error, self.now)
        else:
            if getattr(error, "status", None) == 429:
                pause = error.retry_after or 1.0  # type: ignore[attr-defined]
                self._workspace_paused_until = max(self._workspace_paused_until, self.now + pause)
            self.schedule.fail(flight, error, self.now, resume_at=self._workspace_paused_until)
        self._in_flight[flight.is_list] -= 1

    def _land(self, flight: Flight, number: int) -> None:
        self.schedule.land(flight, snapshot(number, self.states.get(number, "busy")), self.now)
        self._in_flight[False] -= 1

    def _read_page(self, flight: Flight) -> None:
        if self.schedule.wants_page(flight, self.now):
            self._send(flight, Request(self.now), lambda: self._take_page(flight))
        else:
            self._land_list(flight)

    def _take_page(self, flight: Flight) -> None:
        start = flight.pages * PAGE_SIZE
        numbers = self.listed[start : start + PAGE_SIZE]
        items = [thing(number, self.states.get(number, "busy")) for number in numbers]
        self.schedule.take_page(flight, page(items), self.now)
        if len(numbers) < PAGE_SIZE:
            self._land_list(flight)
        else:
            self._read_page(flight)

    def _land_list(self, flight: Flight) -> None:
        self.schedule.land_list(flight, self.now)
        self._in_flight[True] -= 1
