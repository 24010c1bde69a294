"""A triggerer's HTTP client for one workspace, over aiohttp. One attempt at a request: retries are the poller's."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from airflow_provider_synapse_livy.connection.synapse_livy import SynapseLivyConnection
from airflow_provider_synapse_livy.livy.requests import REQUEST_HEADERS, LivyRequest
from airflow_provider_synapse_livy.livy.responses import LivyResponse
from airflow_provider_synapse_livy.transport.failures import (
    MAX_HEADER_BYTES,
    MalformedResponseError,
    checked_headers,
    connection_error,
    is_cut_off,
)
from airflow_provider_synapse_livy.transport.tokens import token_cache

__all__ = ["AsyncLivyClient", "shared_client"]

_CHUNK_BYTES = 65536

#: From how many bytes on a response is read in a thread.
_LARGE_BODY_BYTES = 2**19

T = TypeVar("T")


class AsyncLivyClient:
    """
    Sends requests to one workspace, with the connection's identity. Belongs to the event loop that opened it.

    :param connection: the workspace and the identity.
    :param session: the open connections to the workspace.
    :param threads: for what blocks: token requests and look-ups of names.
    """

    def __init__(
        self, connection: SynapseLivyConnection, session: aiohttp.ClientSession, threads: ThreadPoolExecutor
    ) -> None:
        self._tokens = token_cache(connection.identity)
        self._network = connection.network
        self._session = session
        self._threads = threads
        self._renewal: asyncio.Future[str] | None = None

    @classmethod
    async def open(cls, connection: SynapseLivyConnection) -> AsyncLivyClient:
        """
        Return a client on the running event loop; certificates and proxies are read in a thread.

        :param connection: the workspace and the identity.
        """
        network = connection.network
        # Threads of its own: a token endpoint or a resolver that hangs holds up this connection alone.
        threads = ThreadPoolExecutor(2, thread_name_prefix="synapse-livy")
        session = aiohttp.ClientSession(
            # No limit here: of those who share the client, one that hangs must not use up what the others need.
            connector=aiohttp.TCPConnector(
                limit=0, ssl=await asyncio.to_thread(network.ssl_context), resolver=_Resolver(threads)
            ),
            # As in a worker: once for the connection, and once for the whole response.
            timeout=_timeout(network.timeout, network.timeout),
            headers=REQUEST_HEADERS,
            auto_decompress=False,
            max_line_size=MAX_HEADER_BYTES,
            max_field_size=MAX_HEADER_BYTES,
            trace_configs=[_trace_of_connections()],
            cookie_jar=aiohttp.DummyCookieJar(),  # a worker keeps none either
            proxy=await asyncio.to_thread(network.proxy, connection.endpoint),
        )
        return cls(connection, session, threads)

    async def close(self) -> None:
        """Close the connections to the workspace."""
        if self._renewal:
            self._renewal.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)
        await self._session.close()

    async def send(self, request: LivyRequest[T]) -> T:
        """
        Send a request once, or a second time if Synapse refuses the token, and return what its response means.

        :param request: the request.
        :raises SynapseLivyError: the kind that fits, if it does not succeed.
        """
        token = await self.authenticate()
        response = await self._send_once(request, token)
        if response.status == 401:  # which never has been processed
            response = await self._send_once(request, await self._other_token(token))
        if len(response.body) > _LARGE_BODY_BYTES:  # the event loop would stand still meanwhile
            return await asyncio.to_thread(request.read, response)
        return request.read(response)

    async def authenticate(self) -> str:
        """
        Return a valid token. Those who come while one is requested share its result, which may be an error.

        A token is replaced early, and nobody waits for that.

        :raises SynapseLivyError: if there is none.
        """
        if token := self._tokens.fresh_token():
            return token
        renewal = self._renew(self._tokens.get)
        if token := self._tokens.usable_token():
            return token
        return await asyncio.shield(renewal)

    async def _other_token(self, rejected: str) -> str:
        """Return another token than the one that Synapse refused, which is what a request under way may still bring."""
        renew = partial(self._tokens.renew, rejected)
        token = await asyncio.shield(self._renew(renew))
        return token if token != rejected else await asyncio.shield(self._renew(renew))

    def _renew(self, ask: Callable[[], str]) -> asyncio.Future[str]:
        if self._renewal is None or self._renewal.done():
            self._renewal = asyncio.get_running_loop().run_in_executor(self._threads, ask)
            self._renewal.add_done_callback(_retrieve_exception)
        return self._renewal

    async def _send_once(self, request: LivyRequest[Any], token: str) -> LivyResponse:
        sent = {"Authorization": f"Bearer {token}"}
        if request.body is not None:
            sent["Content-Type"] = "application/json"
        while True:
            used = _UsedConnection()
            try:
                async with self._session.request(
                    request.method,
                    request.url,
                    data=request.body,
                    headers=sent,
                    timeout=_timeout(self._network.timeout, max(self._network.timeout, request.min_timeout)),
                    allow_redirects=False,
                    trace_request_ctx=used,
                ) as response:
                    used.was_idle = False  # or it was at least not cut
                    headers, longest = _read_headers(response), request.max_body_bytes
                    return LivyResponse(response.status, headers, await _read_body(response, longest), longest)
            except (aiohttp.ClientError, TimeoutError, MalformedResponseError) as error:
                # That a connection was cut while it was idle does not count as a try. aiohttp knows that, but for GET
                # alone, and its next one may be idle, too. Each of them fails only once, so a new one comes in the end.
                if request.is_idempotent and used.was_idle and is_cut_off(error):
                    continue
                raise connection_error(request.subject, request.url, error, self._network) from None


def _timeout(connect: float, response: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(connect + response, sock_connect=connect, sock_read=response)


@dataclass
class _UsedConnection:
    """The connection that a request was sent on, the last one if aiohttp has sent it twice."""

    was_idle: bool = False


def _trace_of_connections() -> aiohttp.TraceConfig:
    """Return what notes whether a request is sent on a connection that another one has left open."""

    def note(was_idle: bool) -> Any:
        async def on_connection(_session: Any, context: Any, _params: Any) -> None:
            context.trace_request_ctx.was_idle = was_idle

        return on_connection

    trace = aiohttp.TraceConfig()
    trace.on_connection_reuseconn.append(note(True))
    trace.on_connection_create_start.append(note(False))
    return trace


def _read_headers(response: aiohttp.ClientResponse) -> dict[str, str]:
    """Return the headers, if http.client would take the response as well."""
    if response.version is not None and response.version.major != 1:
        raise MalformedResponseError(f"the protocol is HTTP/{response.version.major}")
    return checked_headers(response.headers.items())


def _retrieve_exception(future: asyncio.Future[str]) -> None:
    """Retrieve an error that nobody may be waiting for, so that asyncio does not log it as never retrieved."""
    if not future.cancelled():
        future.exception()


async def _read_body(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    body = bytearray()
    while len(body) <= max_bytes and (chunk := await response.content.read(_CHUNK_BYTES)):
        body += chunk
    return bytes(body[: max_bytes + 1])


class _Resolver(AbstractResolver):
    """Looks names up in the client's own threads. aiohttp's resolver takes those that the whole process shares."""

    def __init__(self, threads: ThreadPoolExecutor) -> None:
        self._threads = threads

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        look_up = partial(socket.getaddrinfo, host, port, family, socket.SOCK_STREAM)
        addresses = await asyncio.get_running_loop().run_in_executor(self._threads, look_up)
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=int(address[1]),
                family=found,
                proto=proto,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for found, _, proto, _, address in addresses
        ]

    async def close(self) -> None:
        """Close nothing: the threads are the client's."""


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
