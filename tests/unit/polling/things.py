"""Records, pages, errors and polls for tests of the schedule, which has no server and no clock."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from airflow_provider_synapse_livy.exceptions import SynapseLivyUnavailableError
from airflow_provider_synapse_livy.livy.responses import Page, Snapshot
from airflow_provider_synapse_livy.polling.polls import Flight, PendingPoll, Plan, PolledRecord
from airflow_provider_synapse_livy.polling.schedule import PollSchedule

#: How many seconds one attempt may take in these tests.
MAX_ATTEMPT = 120.0

PAGE_SIZE = 20


@dataclass(frozen=True)
class Thing:
    """A record: its fields are whatever a test gives it."""

    fields: Mapping[str, Any]

    @classmethod
    def from_dict(cls, fields):
        """Return the record of a dict; one that is ``unreadable`` is none."""
        if "unreadable" in fields:
            raise ValueError("unreadable")
        if "breaks" in fields:
            raise ZeroDivisionError("a bug")
        return cls(fields)

    @property
    def id(self):
        """The record's number."""
        return self.fields["id"]


def thing(number: int, state: str = "busy", **fields: Any) -> dict[str, Any]:
    """Return the description of a record; it is complete unless a field says otherwise."""
    return {"id": number, "state": state, **fields}


def page(items: Iterable[dict[str, Any]], *, is_last: bool = False) -> Page[Thing]:
    """Return a page of the list."""
    by_id = {item["id"]: item for item in items}
    return Page(by_id, is_last, "activity", Thing, lambda record: "incomplete" not in record.fields)


def snapshot(number: int, state: str = "busy", **fields: Any) -> Snapshot[Thing]:
    """Return the snapshot that a single request brings."""
    item = thing(number, state, **fields)
    return Snapshot(Thing(item), "activity", page([item]).digest(number))


def unavailable(status: int | None = 503, retry_after: float | None = None) -> SynapseLivyUnavailableError:
    """Return an error that may pass."""
    return SynapseLivyUnavailableError(f"It: Synapse answered {status}.", status=status, retry_after=retry_after)


class Answer(Future):
    """What a poll is answered with: a future that no event loop is needed for."""

    @property
    def state(self):
        """The state of the record in the snapshot."""
        return self.result(timeout=0)[0].record.fields["state"]

    @property
    def changes(self):
        """How often the record was seen to change."""
        return self.result(timeout=0)[1]

    @property
    def error(self):
        """The error that it is, if it is one."""
        return self.exception(timeout=0)


class Waits:
    """The waits of one pool, in front of its schedule."""

    def __init__(self, *, has_list: bool = True, jitter: Callable[[float, float], float] = lambda _, most: most):
        self.schedule = PollSchedule(
            "Thing {}".format, has_list=has_list, max_attempt_seconds=MAX_ATTEMPT, jitter=jitter
        )
        self.records: dict[int, PolledRecord] = {}

    def subscribe(self, number: int) -> PolledRecord:
        """Subscribe to a record."""
        self.records[number] = self.schedule.subscribe(number)
        return self.records[number]

    def poll(
        self,
        number: int,
        now: float = 0.0,
        *,
        after: float = 0.0,
        retry_timeout: float = 180.0,
        only_changes_for: float = 0.0,
        last_after: float = 3600.0,
    ) -> Answer:
        """Add a poll of a record as a poller does, and return what its answer will be."""
        record = self.records.get(number) or self.subscribe(number)
        answer = Answer()
        times = (now + after, after, now + only_changes_for, retry_timeout, now + last_after)
        self.schedule.add(record, PendingPoll(answer, *times))
        return answer

    def polls(self, numbers: Iterable[int], now: float = 0.0, **options: float) -> list[Answer]:
        """Add a poll for each of several records."""
        return [self.poll(number, now, **options) for number in numbers]

    def plan(self, now: float) -> Plan:
        """Return the plan."""
        return self.schedule.plan(now)

    def sends_nothing(self, now: float) -> bool:
        """Plan, and return whether nothing is to be sent."""
        plan = self.plan(now)
        return not plan.listing and not plan.singles

    def read_list(self, flight: Flight, items: list[dict[str, Any]], now: float) -> int:
        """Read the list, which has these items, as a poller does, and return how many pages that took."""
        while self.schedule.wants_page(flight, now):
            start = flight.pages * PAGE_SIZE
            end = start + PAGE_SIZE
            self.schedule.take_page(flight, page(items[start:end], is_last=end > len(items)), now)
            if end > len(items):
                break
        self.schedule.land_list(flight, now)
        return flight.pages

    def land(self, flights: Iterable[Flight], now: float, state: str = "busy") -> list[int]:
        """Let single requests succeed, and return the records that they were for."""
        numbers = []
        for flight in flights:
            (number,) = flight.records
            numbers.append(number)
            self.schedule.land(flight, snapshot(number, state), now)
        return numbers

    def fly_all(self, now: float, items: list[dict[str, Any]] = (), state: str = "busy") -> list[int]:
        """Send what is planned until nothing is, all with success, and return the records that were read singly."""
        singles: list[int] = []
        for _ in range(1000):
            plan = self.plan(now)
            if plan.listing:
                self.read_list(plan.listing, list(items), now)
            singles += self.land(plan.singles, now, state)
            if not plan.listing and not plan.singles:
                return singles
        raise AssertionError("the schedule plans without end")


def numbers_of(flights: Iterable[Flight]) -> list[int]:
    """Return the records that flights are for."""
    return [number for flight in flights for number in flight.records]
