"""One wait's subscription to a record, from its first poll to its end."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar
from weakref import WeakKeyDictionary

from airflow_provider_synapse_livy.connection.synapse_livy import SynapseLivyConnection
from airflow_provider_synapse_livy.livy.errors import (
    SynapseLivyAuthenticationError,
    SynapseLivyError,
    SynapseLivyUnavailableError,
    error_message,
)
from airflow_provider_synapse_livy.livy.requests import LivyRequest
from airflow_provider_synapse_livy.livy.resources import Resource, pool_name, validated_id
from airflow_provider_synapse_livy.livy.responses import Record, Snapshot
from airflow_provider_synapse_livy.polling.polls import MAX_ATTEMPT_SECONDS
from airflow_provider_synapse_livy.transport.retry import Retries

if TYPE_CHECKING:
    from airflow_provider_synapse_livy.polling.poller import Poller
    from airflow_provider_synapse_livy.polling.polls import PolledRecord

__all__ = ["Watch"]

R = TypeVar("R", bound=Record)
T = TypeVar("T")

_pollers: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[object, Poller]] = WeakKeyDictionary()


class Watch(Generic[R]):
    """
    Polls one record for one wait. All watches of a pool on an event loop share their requests.

    It subscribes with the first poll, and again with the next one after an error, since the connection may have been
    corrected. The first watch of a pool starts its polling, and the last to close stops it.

    :param connect: returns the connection; anew, and not one that is kept, if its argument is true.
    :param resource: what is polled.
    :param ids: the ids that lead to the record, its own last.
    :param spark_pool_name: the Spark pool; None for the connection's.
    :param livy_api_version: the version of the Livy API; None for the connection's.
    :param is_connection_proved: whether the connection was read before, so that reading it is retried if it fails.
    """

    __slots__ = (
        "_changes", "_connect", "_ids", "_is_connection_proved", "_livy_api_version", "_poller", "_record", "_resource",
        "_spark_pool_name", "connection",
    )  # fmt: skip

    connection: SynapseLivyConnection | None
    _poller: Poller | None
    _record: PolledRecord

    def __init__(
        self,
        connect: Callable[[bool], Awaitable[SynapseLivyConnection]],
        resource: Resource[R],
        *ids: object,
        spark_pool_name: str | None = None,
        livy_api_version: str | None = None,
        is_connection_proved: bool = False,
    ) -> None:
        self._connect = connect
        self._resource = resource
        self._ids = ids
        self._spark_pool_name = spark_pool_name
        self._livy_api_version = livy_api_version
        self._is_connection_proved = is_connection_proved
        self._changes = 0
        self._poller = None
        self.connection = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def poll(
        self,
        *,
        after: float = 0.0,
        retry_timeout: float = 0.0,
        only_changes_for: float = 0.0,
        last_after: float | None = None,
    ) -> Snapshot[R]:
        """
        Return a snapshot of the record, within so many seconds: sooner if it changes, or if others poll just before.

        :param after: when to poll at the latest, in seconds from now.
        :param retry_timeout: for how many seconds from then on to retry while the service announces nothing.
        :param only_changes_for: for how many seconds from now to return only when the record changes.
        :param last_after: up to how many seconds from now a pause may lead that the service asks for; None for as
            long as it is retried.
        :raises SynapseLivyError: if there is none.
        """
        last_at = asyncio.get_running_loop().time() + (after + retry_timeout if last_after is None else last_after)
        if self._poller is None:
            # The polls of others don't count before the first: a task must have been deferred for a while.
            await asyncio.sleep(after)
            after = 0.0
            self._poller = await self._subscribe(await self._read_connection_in_time(retry_timeout))
        try:
            try:
                snapshot, self._changes = await self._poll(
                    self._poller, after, retry_timeout, only_changes_for, last_at
                )
            except SynapseLivyAuthenticationError:
                if not (poller := await self._subscribe_anew(retry_timeout)):
                    raise
                snapshot, self._changes = await self._poll(poller, 0.0, retry_timeout, 0.0, last_at)
        except Exception:
            await self.close()
            raise
        return snapshot

    def claim(self, interval: float) -> bool:
        """
        Return whether to do now what is to be done for the record every so many seconds, by one of all its watches.

        :param interval: how many seconds.
        """
        return self._poller is not None and self._record.claim(asyncio.get_running_loop().time(), interval)

    async def cancel(self, *, retry_timeout: float = 20.0) -> None:
        """
        Cancel the record; that it is gone is no error.

        :param retry_timeout: for how many seconds to retry while the service announces nothing.
        :raises SynapseLivyError: if it can't be cancelled.
        """
        with suppress(self._resource.not_found):
            await self.send(self._resource.cancel, retry_timeout=retry_timeout)

    async def not_found(self, error: SynapseLivyError) -> SynapseLivyError:
        """
        Return the error for an id that is nobody's, or one that says whose it is: ids of siblings get mixed up.

        :param error: the error for an id that is nobody's.
        """
        sibling = self._resource.sibling and self._resource.sibling()
        if sibling is None:
            return error
        try:
            snapshot = await self.send(sibling.get)
        except SynapseLivyError:  # which says less than the first
            return error
        return self._resource.mistaken_for(sibling, error, snapshot.record)

    async def send(self, make: Callable[..., LivyRequest[T]], *, retry_timeout: float = 0.0) -> T:
        """
        Send a request about the record, and return what its response means.

        :param make: returns the request, given the pool and the ids that lead to the record.
        :param retry_timeout: for how many seconds to retry while the service announces nothing.
        :raises SynapseLivyError: if it does not succeed.
        """
        connection = await self._read_connection_in_time(retry_timeout)
        module = await asyncio.to_thread(
            importlib.import_module, "airflow_provider_synapse_livy.transport.async_client"
        )
        pool = connection.pool(pool_name(self._spark_pool_name, self._ids), self._livy_api_version)
        request = make(pool, *self._ids)
        retries = Retries(retry_timeout, retry_timeout, request)
        async with module.shared_client(connection) as client:
            while True:
                try:
                    return await client.send(request)  # type: ignore[no-any-return]
                except SynapseLivyError as error:
                    await asyncio.sleep(retries.pause_after(error))

    def _poll(
        self, poller: Poller, after: float, retry_timeout: float, only_changes_for: float, last_at: float
    ) -> Awaitable[tuple[Snapshot[R], int]]:
        if self._changes != self._record.changes:  # there was one that this wait has not been told of
            only_changes_for = 0.0
        return poller.poll(
            self._record,
            after=after,
            retry_timeout=retry_timeout,
            only_changes_for=only_changes_for,
            last_after=max(0.0, last_at - asyncio.get_running_loop().time()),
        )

    async def _read_connection_in_time(self, retry_timeout: float) -> SynapseLivyConnection:
        """Read the connection, for no longer than a poll may take: a secrets backend may hang."""
        try:
            async with asyncio.timeout(retry_timeout + MAX_ATTEMPT_SECONDS):
                return await self._read_connection(retry_timeout)
        except TimeoutError:
            event = f"{self._resource.noun} {self._ids[-1]}: Airflow's connection could not be read in time."
            raise SynapseLivyUnavailableError(
                error_message(event, "check whether the secrets backend hangs.")
            ) from None

    async def _read_connection(self, retry_timeout: float) -> SynapseLivyConnection:
        """Read the connection; one that was read before may fail to be read for as long as Synapse may be away."""
        retries = Retries(retry_timeout)
        while True:
            try:
                connection = await self._connect(False)
            except SynapseLivyUnavailableError as error:
                if not self._is_connection_proved:
                    raise
                await asyncio.sleep(retries.pause_after(error))
            else:
                self._is_connection_proved = True
                return connection

    async def _subscribe(self, connection: SynapseLivyConnection) -> Poller:
        # Off the event loop, which would stand still for a quarter of a second: this loads aiohttp.
        module = await asyncio.to_thread(importlib.import_module, "airflow_provider_synapse_livy.polling.poller")
        *parent_ids, record_id = (validated_id(value, self._resource.noun) for value in self._ids)
        pool = connection.pool(pool_name(self._spark_pool_name, self._ids), self._livy_api_version)
        key = module.PollerKey(connection, pool, self._resource, tuple(parent_ids))
        key.request(record_id)  # raises what is wrong with the parts of the path
        pollers = _pollers.setdefault(asyncio.get_running_loop(), {})
        poller: Any = pollers.get(key)
        if poller is None or poller.has_ended:
            poller = pollers[key] = module.Poller(key)
        self.connection = connection
        self._record = poller.subscribe(record_id)
        self._changes = -1  # so that the first poll is told whatever it shows
        return poller  # type: ignore[no-any-return]

    async def _subscribe_anew(self, retry_timeout: float) -> Poller | None:
        """After a refused identity, subscribe with the connection as it is now; None if it is the same."""
        refused = self.connection
        await self.close()
        try:
            async with asyncio.timeout(retry_timeout + MAX_ATTEMPT_SECONDS):
                connection = await self._connect(True)
        except (SynapseLivyError, TimeoutError):  # which say less than the refusal
            return None
        if connection == refused:
            return None
        self._poller = await self._subscribe(connection)
        return self._poller

    async def close(self) -> None:
        """Wait no longer."""
        poller, self._poller = self._poller, None
        if poller is None or not poller.unsubscribe(self._record):
            return
        pollers = _pollers[asyncio.get_running_loop()]
        for key in [key for key, other in pollers.items() if other is poller]:
            del pollers[key]
        await poller.close()
