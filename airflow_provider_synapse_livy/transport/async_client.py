"""The triggerer's way to Synapse, over aiohttp. Waits on one event loop share a client for each connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar
from weakref import WeakKeyDictionary

import aiohttp
from tenacity import AsyncRetrying

from airflow_provider_synapse_livy.connection.synapse_livy import SynapseLivyConnection
from airflow_provider_synapse_livy.livy.responses import (
    MAX_BODY_BYTES,
    REQUEST_HEADERS,
    LivyRequest,
    LivyResponse,
)
from airflow_provider_synapse_livy.transport.retry import RETRY_SECONDS, retry_description
from airflow_provider_synapse_livy.transport.tokens import token_cache

__all__ = ["AsyncLivyClient", "shared_client"]

_PIECE = 65536

_Request = TypeVar("_Request", bound=LivyRequest)
_Result = TypeVar("_Result")


class AsyncLivyClient:
    """
    Sends requests to one workspace, with the connection's identity. Belongs to the event loop that opened it.

    :param connection: the workspace and the identity.
    :param session: the pool of connections to the workspace.
    :param sleep: pauses between two tries.
    """

    def __init__(
        self,
        connection: SynapseLivyConnection,
        session: aiohttp.ClientSession,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._tokens = token_cache(connection.identity)
        self._network = connection.network
        self._session = session
        self._sleep = sleep
        # A thread of its own for what blocks: a token endpoint that hangs holds up this connection alone.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="synapse-livy-token")
        self._renewal: asyncio.Future[str] | None = None

    @classmethod
    async def open(
        cls, connection: SynapseLivyConnection, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> AsyncLivyClient:
        """
        Make a client on the running event loop; certificates and proxies are read in a thread.

        :param connection: the workspace and the identity.
        :param sleep: pauses between two tries.
        """
        network = connection.network
        session = aiohttp.ClientSession(
            # No limit here: of those who share the client, one that hangs must not use up what the others need.
            connector=aiohttp.TCPConnector(limit=0, ssl=await asyncio.to_thread(network.ssl_context)),
            # As in a worker: once for the connection, and once for the whole answer.
            timeout=aiohttp.ClientTimeout(2 * network.timeout, sock_connect=network.timeout, sock_read=network.timeout),
            headers=REQUEST_HEADERS,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),  # a worker keeps none either
            proxy=await asyncio.to_thread(network.proxy, connection.endpoint),
        )
        return cls(connection, session, sleep)

    async def close(self) -> None:
        """Close the connections to the workspace."""
        if self._renewal:
            self._renewal.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)
        await self._session.close()

    async def call(
        self,
        request: _Request,
        read: Callable[[_Request, LivyResponse], _Result],
        *,
        patience: float = RETRY_SECONDS,
    ) -> _Result:
        """
        Send a request, as often as it takes, and give what its answer means.

        :param request: the request.
        :param read: reads the answer, and raises what is wrong with it.
        :param patience: for how many seconds to try.
        :raises SynapseLivyError: if there is no good answer.
        """
        retrying = AsyncRetrying(sleep=self._sleep, **retry_description(patience))
        return await retrying(self._attempt, request, read)

    async def _attempt(self, request: _Request, read: Callable[[_Request, LivyResponse], _Result]) -> _Result:
        token = await self.authenticate()
        answer = await self._send(request, token)
        if answer.status == 401:
            answer = await self._send(request, await self._another_than(token))
        return read(request, answer)

    async def authenticate(self) -> str:
        """
        Give a token that is good. Who come while one is asked for share the answer, which may be that there is none.

        A token is replaced early, and nobody waits for that.

        :raises SynapseLivyError: if there is none.
        """
        if token := self._tokens.fresh_token():
            return token
        renewal = self._renew(self._tokens.get)
        if token := self._tokens.usable_token():
            return token
        return await asyncio.shield(renewal)

    async def _another_than(self, rejected: str) -> str:
        """Give another token than the one that Synapse refused, which is what a request under way may still bring."""
        renew = partial(self._tokens.renew, rejected)
        token = await asyncio.shield(self._renew(renew))
        return token if token != rejected else await asyncio.shield(self._renew(renew))

    def _renew(self, ask: Callable[[], str]) -> asyncio.Future[str]:
        if self._renewal is None or self._renewal.done():
            self._renewal = asyncio.get_running_loop().run_in_executor(self._thread, ask)
            self._renewal.add_done_callback(_note_exception)
        return self._renewal

    async def _send(self, request: LivyRequest, token: str) -> LivyResponse:
        headers = {"Authorization": f"Bearer {token}"}
        try:
            async with self._session.get(request.url, headers=headers, allow_redirects=False) as response:
                return LivyResponse(response.status, response.headers, await _read_body(response))
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._network.connection_error(request.subject, request.url, error) from None


def _note_exception(future: asyncio.Future[str]) -> None:
    """Take note of an error that nobody may be waiting for, so that asyncio does not log it as forgotten."""
    if not future.cancelled():
        future.exception()


async def _read_body(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    while len(body) <= MAX_BODY_BYTES and (piece := await response.content.read(_PIECE)):
        body += piece
    return bytes(body[: MAX_BODY_BYTES + 1])


@dataclass
class _Shared:
    client: asyncio.Task[AsyncLivyClient]
    users: int = 0


_shared: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[SynapseLivyConnection, _Shared]] = WeakKeyDictionary()


@asynccontextmanager
async def shared_client(connection: SynapseLivyConnection) -> AsyncIterator[AsyncLivyClient]:
    """
    Lend the client that all waits of this event loop share for a connection; the last to leave closes it.

    :param connection: the workspace and the identity.
    """
    clients = _shared.setdefault(asyncio.get_running_loop(), {})
    shared = clients.get(connection)
    if shared is None:
        shared = clients[connection] = _Shared(asyncio.create_task(AsyncLivyClient.open(connection)))
    shared.users += 1
    try:
        yield await asyncio.shield(shared.client)
    finally:
        shared.users -= 1
        if not shared.users:
            del clients[connection]
            await (await shared.client).close()
