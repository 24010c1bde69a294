"""The triggerer's way to Synapse, over aiohttp. Waits on one event loop share a client for each connection."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import aiohttp
from requests.utils import get_environ_proxies, select_proxy
from tenacity import AsyncRetrying

from airflow_provider_synapse_livy.api import LivyAnswer, LivyRequest, broken_connection
from airflow_provider_synapse_livy.connection import SynapseLivyConnection
from airflow_provider_synapse_livy.credentials import token_source
from airflow_provider_synapse_livy.exceptions import SynapseLivyConfigurationError, SynapseLivyError
from airflow_provider_synapse_livy.retry import retry_description

__all__ = ["AsyncLivyClient", "shared_client"]

_TIMEOUT = aiohttp.ClientTimeout(connect=30, sock_connect=30, sock_read=30)  # seconds

_Request = TypeVar("_Request", bound=LivyRequest)
_Result = TypeVar("_Result")


class AsyncLivyClient:
    """
    Sends requests to one workspace, with the connection's identity. Belongs to the event loop that opened it.

    :param connection: the workspace and the identity.
    :param session: the pool of connections to the workspace.
    :param retry: keyword arguments of ``tenacity.AsyncRetrying``.
    """

    def __init__(
        self,
        connection: SynapseLivyConnection,
        session: aiohttp.ClientSession,
        retry: Mapping[str, Any] | None = None,
    ) -> None:
        self._tokens = token_source(connection.identity)
        self._session = session
        self._retry = retry_description() if retry is None else retry
        # A thread of its own for what blocks: a token endpoint that hangs holds up this connection alone.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="synapse-livy-token")

    @classmethod
    async def open(
        cls, connection: SynapseLivyConnection, *, retry: Mapping[str, Any] | None = None
    ) -> AsyncLivyClient:
        """
        Make a client on the running event loop; certificates and proxies are read in a thread.

        :param connection: the workspace and the identity.
        :param retry: keyword arguments of ``tenacity.AsyncRetrying``.
        """
        trusted, proxy = await asyncio.to_thread(_network, connection)
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=trusted),
            timeout=_TIMEOUT,
            headers={"Accept": "application/json"},
            proxy=proxy,
        )
        return cls(connection, session, retry)

    async def close(self) -> None:
        """Close the connections to the workspace."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        await self._session.close()

    async def call(self, request: _Request, read: Callable[[_Request, LivyAnswer], _Result]) -> _Result:
        """
        Send a request, as often as it takes, and give what its answer means.

        :param request: the request.
        :param read: reads the answer, and raises what is wrong with it.
        :raises SynapseLivyError: if there is no good answer.
        """
        return await AsyncRetrying(**self._retry)(self._attempt, request, read)

    async def _attempt(self, request: _Request, read: Callable[[_Request, LivyAnswer], _Result]) -> _Result:
        token = self._tokens.peek() or await self._in_thread(self._tokens.get)
        answer = await self._send(request, token)
        if answer.status == 401:
            token = await self._in_thread(self._tokens.renew, token)
            answer = await self._send(request, token)
        return read(request, answer)

    async def _in_thread(self, function: Callable[..., str], *args: str) -> str:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *args)

    async def _send(self, request: LivyRequest, token: str) -> LivyAnswer:
        headers = {"Authorization": f"Bearer {token}"}
        try:
            async with self._session.get(request.url, headers=headers, allow_redirects=False) as response:
                return LivyAnswer(response.status, response.headers, await response.read())
        except (aiohttp.ClientError, TimeoutError) as error:
            raise broken_connection(request.subject, error) from None


def _network(connection: SynapseLivyConnection) -> tuple[ssl.SSLContext | bool, str | None]:
    """Find the certificates to trust, and the proxy to use by the rules of requests, so that both paths agree."""
    proxy = select_proxy(connection.endpoint, get_environ_proxies(connection.endpoint))
    if connection.ca_file is False:
        return False, proxy
    try:
        return ssl.create_default_context(cafile=str(connection.ca_file)), proxy
    except OSError as error:
        raise SynapseLivyConfigurationError(
            f"Connection {connection.conn_id}: {connection.ca_file} holds no certificates ({error})."
        ) from None


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
            with suppress(SynapseLivyError):  # whoever waited for it to open has seen why it did not
                await (await shared.client).close()
