"""The worker's way to Synapse, over requests."""

from __future__ import annotations

import http.client
import io
import socket
import time
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from tenacity import Retrying
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import ConnectionPool
from urllib3.exceptions import HTTPError

from airflow_provider_synapse_livy.connection.synapse_livy import Network, SynapseLivyConnection
from airflow_provider_synapse_livy.livy.responses import (
    MAX_BODY_BYTES,
    REQUEST_HEADERS,
    LivyRequest,
    LivyResponse,
)
from airflow_provider_synapse_livy.transport.retry import RETRY_SECONDS, retry_description
from airflow_provider_synapse_livy.transport.tokens import TokenCache, token_cache

__all__ = ["LivyClient"]

_PIECE = 65536

_Request = TypeVar("_Request", bound=LivyRequest)
_Result = TypeVar("_Result")


class LivyClient:
    """
    Sends requests to one workspace, with the connection's identity.

    :param connection: the workspace and the identity.
    :param sleep: pauses between two tries.
    """

    def __init__(self, connection: SynapseLivyConnection, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._tokens = token_cache(connection.identity)
        self._network = connection.network
        self._sleep = sleep
        proxy = connection.network.proxy(connection.endpoint)
        self.session = requests.Session()
        self.session.trust_env = (
            False  # what the environment may decide, the connection has decided for both transports
        )
        self.session.proxies = dict.fromkeys(("http", "https"), proxy) if proxy else {}
        self.session.auth = _BearerToken(connection.endpoint, self._tokens)
        self.session.headers["Accept"] = REQUEST_HEADERS["Accept"]
        for prefix in ("https://", "http://"):
            self.session.mount(prefix, _Adapter(connection.network))

    def call(
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
        retrying = Retrying(sleep=self._sleep, **retry_description(patience))
        result: _Result = retrying(self._attempt, request, read)
        return result

    def _attempt(self, request: _Request, read: Callable[[_Request, LivyResponse], _Result]) -> _Result:
        token = self._tokens.get()
        answer = self._send(request)
        if answer.status == 401:
            self._tokens.renew(rejected=token)
            answer = self._send(request)
        return read(request, answer)

    def _send(self, request: LivyRequest) -> LivyResponse:
        # Not by session.send: it reads the whole body of a redirect, and the address in it, even if not to follow it.
        # Nor prepared by the session, whose care for cookies and for the settings of each request takes as long again.
        headers = {**self.session.headers, **REQUEST_HEADERS}
        prepared = requests.Request("GET", request.url, headers=headers, auth=self.session.auth).prepare()
        adapter = self.session.get_adapter(request.url)
        try:
            with adapter.send(prepared, stream=True, proxies=self.session.proxies) as response:
                return LivyResponse(response.status_code, response.headers, _read_body(response))
        except (requests.RequestException, HTTPError) as error:
            raise self._network.connection_error(request.subject, request.url, error) from None


def _read_body(response: requests.Response) -> bytes:
    body = bytearray()
    while len(body) <= MAX_BODY_BYTES and (piece := response.raw.read(_PIECE, decode_content=False)):
        body += piece
    return bytes(body[: MAX_BODY_BYTES + 1])


class _BearerToken(requests.auth.AuthBase):
    """Adds the token to requests that go to the workspace, and to no other."""

    def __init__(self, endpoint: str, tokens: TokenCache) -> None:
        self._origin = _origin(endpoint)
        self._tokens = tokens

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if _origin(request.url or "") == self._origin:
            request.headers["Authorization"] = f"Bearer {self._tokens.get()}"
        return request


def _origin(url: str) -> tuple[str, str | None, int | None]:
    """Give what two addresses must have in common to lead to the same server."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"https": 443, "http": 80}.get(parts.scheme)


class _Adapter(HTTPAdapter):
    """Sets what a session of requests has no setting of its own for, or one that others overrule."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self._network = network

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        kwargs["verify"] = self._network.ca_bundle
        kwargs["timeout"] = kwargs.get("timeout") or self._network.timeout
        return super().send(request, *args, **kwargs)

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> ConnectionPool:
        pool = super().get_connection_with_tls_context(*args, **kwargs)
        pool.ConnectionCls = _PUNCTUAL.get(pool.ConnectionCls, pool.ConnectionCls)  # type: ignore[attr-defined]
        return pool


class _Response(http.client.HTTPResponse):
    """Takes the timeout for the whole answer, headers included. By itself it holds for each piece, so for ever."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        if (timeout := sock.gettimeout()) is not None:
            self.fp = io.BufferedReader(_UntilDeadline(self.fp.detach(), sock, time.monotonic() + timeout))


class _UntilDeadline(io.RawIOBase):
    def __init__(self, raw: io.RawIOBase, sock: socket.socket, deadline: float) -> None:
        self._raw = raw
        self._sock = sock
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self._sock.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Connection(HTTPConnection):
    response_class = _Response


class _TlsConnection(HTTPSConnection):
    response_class = _Response


_PUNCTUAL = {HTTPConnection: _Connection, HTTPSConnection: _TlsConnection}
