"""
Sends what the schedule of a pool plans, on behalf of every wait on this event loop.

A thousand waits cost what fifty did: a page of the list answers twenty. How a wait goes on is decided by each wait for
itself (``waiting/``), and which request is sent when by the schedule; here is the I/O between the two.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

from airflow_provider_synapse_livy.connection.synapse_livy import SynapseLivyConnection
from airflow_provider_synapse_livy.livy.errors import SynapseLivyError, SynapseLivyUnavailableError, error_message
from airflow_provider_synapse_livy.livy.requests import LivyRequest, Pool
from airflow_provider_synapse_livy.livy.resources import Resource
from airflow_provider_synapse_livy.livy.responses import MAX_BODY_BYTES, Snapshot, one_line
from airflow_provider_synapse_livy.polling.polls import MAX_ATTEMPT_SECONDS, Flight, PendingPoll, PolledRecord
from airflow_provider_synapse_livy.polling.schedule import PollSchedule
from airflow_provider_synapse_livy.transport.async_client import AsyncLivyClient, shared_client
from airflow_provider_synapse_livy.transport.rate_limit import workspace_limit

__all__ = ["Poller", "PollerKey"]

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Seconds to wait for other polls when one is due at once.
_COALESCE_SECONDS = 0.02


class PollerKey(NamedTuple):
    """
    What the polls of one poller have in common.

    :param connection: the workspace and the identity.
    :param pool: the Spark pool.
    :param resource: what is polled.
    :param parent_ids: the ids that lead to the records, before their own.
    """

    connection: SynapseLivyConnection
    pool: Pool
    resource: Resource[Any]
    parent_ids: tuple[int, ...]

    def request(self, record_id: int) -> LivyRequest[Snapshot[Any]]:
        """Return the request for one record."""
        return self.resource.get(self.pool, *self.parent_ids, record_id)


class Poller:
    """
    Polls the records of one pool. Belongs to the event loop on which it runs.

    :param key: what is polled, and where.
    """

    def __init__(self, key: PollerKey) -> None:
        self._key = key
        self._limit = workspace_limit(key.connection.endpoint)
        self._queue = asyncio.Lock()
        self._schedule = PollSchedule(
            lambda record_id: key.request(record_id).subject,
            has_list=key.resource.listing is not None,
            # A token and a response, and a connection for each.
            max_attempt_seconds=min(MAX_ATTEMPT_SECONDS, 4 * key.connection.network.timeout),
        )
        self._wake = asyncio.Event()
        self._wake_at = math.inf
        self._has_logged_failure = False
        # Not in the context of a task, since it outlives the first one, whose log is in the context.
        self._run_task = asyncio.create_task(self._run(), context=contextvars.Context())
        self._run_task.add_done_callback(self._fail_all)

    @property
    def has_ended(self) -> bool:
        """Whether it polls no more."""
        return self._run_task.done()

    def subscribe(self, record_id: int) -> PolledRecord:
        """Return the record of an id, for one more subscriber."""
        return self._schedule.subscribe(record_id)

    def unsubscribe(self, record: PolledRecord) -> bool:
        """Forget a subscriber, and return whether it was the last of all."""
        return self._schedule.unsubscribe(record)

    async def close(self) -> None:
        """Stop, and close what is open."""
        self._run_task.cancel()
        await asyncio.wait([self._run_task])

    async def poll(
        self, record: PolledRecord, *, after: float, retry_timeout: float, only_changes_for: float, last_after: float
    ) -> tuple[Snapshot[Any], int]:
        """
        Return a snapshot of a record, and how often it was seen to change until then.

        :param record: the record.
        :param after: when to poll at the latest, in seconds from now.
        :param retry_timeout: for how many seconds from then on to retry while the service announces nothing.
        :param only_changes_for: for how many seconds from now to return only when the record changes.
        :param last_after: up to how many seconds from now a pause may lead that the service asks for.
        :raises SynapseLivyError: if there is none.
        """
        if self.has_ended:
            raise self._why_it_ended()
        loop = asyncio.get_running_loop()
        now = loop.time()
        waiter: asyncio.Future[tuple[Snapshot[Any], int]] = loop.create_future()
        due_at = now + max(self._schedule.jittered(after), _COALESCE_SECONDS)
        poll = PendingPoll(waiter, due_at, after, now + only_changes_for, retry_timeout, now + last_after)
        self._schedule.add(record, poll)
        if due_at < self._wake_at:
            self._wake.set()
        try:
            return await waiter
        finally:
            record.remove(poll)

    async def _run(self) -> None:
        async with shared_client(self._key.connection) as client, asyncio.TaskGroup() as tasks:
            while True:
                await self._sleep_until_due()
                plan = self._schedule.plan(self._now())
                if plan.listing:
                    tasks.create_task(self._fly(plan.listing, self._read_list, client))
                for flight in plan.singles:
                    tasks.create_task(self._fly(flight, self._read_one, client))

    async def _sleep_until_due(self) -> None:
        self._wake.clear()
        self._wake_at = self._schedule.next_wake()
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._wake_at):
                await self._wake.wait()

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    async def _fly(
        self, flight: Flight, read: Callable[[AsyncLivyClient, Flight], Awaitable[None]], client: AsyncLivyClient
    ) -> None:
        """Make a flight of the schedule, and report how it ended."""
        try:
            if await self._ensure_token(flight, client):
                await read(client, flight)
        except SynapseLivyError as error:
            self._log_failure_once(error)
            self._schedule.fail(flight, error, self._now(), resume_at=self._limit.resumes_at)
        except Exception as error:
            log.exception("%s: a poll broke off.", self._key.resource.noun)
            self._schedule.break_off(flight, error, self._now())
        finally:
            self._wake.set()

    async def _ensure_token(self, flight: Flight, client: AsyncLivyClient) -> bool:
        """Get a token first, which fails for the whole pool, and return whether there is one."""
        try:
            await client.authenticate()
        except SynapseLivyError as error:
            self._log_failure_once(error)
            self._schedule.fail(flight, error, self._now(), is_pools=True)
            return False
        return True

    async def _read_list(self, client: AsyncLivyClient, flight: Flight) -> None:
        key, listing = self._key, self._key.resource.listing
        while listing and self._schedule.wants_page(flight, self._now()):
            start = flight.pages * (listing.page_size or 0)
            # A list of long outputs is not worth it: they come with each poll, and not when one has ended alone.
            request = key.resource.page(key.pool, *key.parent_ids, start=start, max_body_bytes=MAX_BODY_BYTES)
            page = await self._send(client, request)
            self._schedule.take_page(flight, page, self._now())
            if page.is_last:
                break
        self._schedule.land_list(flight, self._now())

    async def _read_one(self, client: AsyncLivyClient, flight: Flight) -> None:
        (record_id,) = flight.records
        snapshot = await self._send(client, self._key.request(record_id))  # type: ignore[arg-type]
        self._schedule.land(flight, snapshot, self._now())

    async def _send(self, client: AsyncLivyClient, request: LivyRequest[T]) -> T:
        """Send a request when it is its turn, one at a time, so that one pool does not take all the turns."""
        async with self._queue:
            await self._limit.acquire(request.subject)
        with self._limit.attempt():
            result = await client.send(request)
        self._has_logged_failure = False
        return result

    def _log_failure_once(self, error: SynapseLivyError) -> None:
        """Log that polls fail, once until one succeeds: not for each that is retried."""
        if isinstance(error, SynapseLivyUnavailableError) and not self._has_logged_failure:
            log.warning("%s, retrying for all waits of the pool.", error.event)
            self._has_logged_failure = True

    def _fail_all(self, _: object) -> None:
        """Answer all polls, however polling ends: nobody must go on waiting for it."""
        self._schedule.fail_all(self._why_it_ended)

    def _why_it_ended(self) -> SynapseLivyError:
        cause = None if self._run_task.cancelled() else self._run_task.exception()
        while isinstance(cause, BaseExceptionGroup):
            cause = cause.exceptions[0]
        if isinstance(cause, SynapseLivyError):  # before anything was sent, as for a proxy that can't be used
            return cause
        event = f"The polling of Spark pool {self._key.pool.name} {'broke off' if cause else 'was stopped'}."
        why = one_line(f"{type(cause).__name__}: {cause}") if cause else ""
        error = SynapseLivyError(error_message(event, "see the triggerer's log.", why))
        error.__cause__ = cause
        return error
