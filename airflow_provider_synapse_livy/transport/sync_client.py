"""A worker's HTTP client for one workspace, over requests."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError
from urllib3.util.connection import is_connection_dropped
from urllib3.util.response import assert_header_parsing

from airflow_provider_synapse_livy.connection.network import Network
from airflow_provider_synapse_livy.connection.synapse_livy import SynapseLivyConnection
from airflow_provider_synapse_livy.livy.errors import SynapseLivyError
from airflow_provider_synapse_livy.livy.requests import REQUEST_HEADERS, LivyRequest
from airflow_provider_synapse_livy.livy.responses import LivyResponse
from airflow_provider_synapse_livy.transport.failures import (
    MalformedResponseError,
    checked_headers,
    connection_error,
    is_cut_off,
)
from airflow_provider_synapse_livy.transport.retry import Retries
from airflow_provider_synapse_livy.transport.tokens import TokenCache, token_cache

__all__ = ["LivyClient"]

_CHUNK_BYTES = 65536

T = TypeVar("T")


class LivyClient:
    """
    Sends requests to one workspace, with the connection's identity.

    :param connection: the workspace and the identity.
    :param sleep: waits between two attempts.
    """

    def __init__(self, connection: SynapseLivyConnection, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._tokens = token_cache(connection.identity)
        self._network = connection.network
        self._sleep = sleep
        proxy = connection.network.proxy(connection.endpoint)
        self.session = requests.Session()
        # The connection has decided for both transports what the environment may decide.
        self.session.trust_env = False
        self.session.proxies = dict.fromkeys(("http", "https"), proxy) if proxy else {}
        self.session.auth = _BearerToken(connection.endpoint, self._tokens)
        self.session.headers["Accept"] = REQUEST_HEADERS["Accept"]
        for prefix in ("https://", "http://"):
            self.session.mount(prefix, _Adapter(connection.network))

    def send(self, request: LivyRequest[T], *, retry_timeout: float = 0.0, longest_announced: float | None = None) -> T:
        """
        Send a request, again if it fails for a reason that may pass, and return what its response means.

        :param request: the request.
        :param retry_timeout: for how many seconds to retry while the service does not say when to come back.
        :param longest_announced: up to how many seconds from now a pause may lead that the service asks for; None for
            ``retry_timeout``.
        :raises SynapseLivyError: if no attempt succeeds; the error of the last one.
        """
        longest = retry_timeout if longest_announced is None else longest_announced
        retries = Retries(retry_timeout, longest, request)
        while True:
            try:
                return self._attempt(request)
            except SynapseLivyError as error:
                self._sleep(retries.pause_after(error))

    def _attempt(self, request: LivyRequest[T]) -> T:
        token = self._tokens.get()
        response = self._send_once(request, token)
        if response.status == 401:  # which never has been processed
            response = self._send_once(request, self._tokens.renew(rejected=token))
        return request.read(response)

    def _send_once(self, request: LivyRequest[T], token: str) -> LivyResponse:
        # Not by session.send: it reads the whole body of a redirect, and the address in it, even if not to follow it.
        # Nor prepared by the session, whose care for cookies and for the settings of each request takes as long again.
        headers = {**self.session.headers, **REQUEST_HEADERS, "Authorization": f"Bearer {token}"}
        if request.body is not None:
            headers["Content-Type"] = "application/json"
        prepared = requests.Request(request.method, request.url, headers=headers, data=request.body).prepare()
        timeout = max(self._network.timeout, request.min_timeout)
        try:
            with self._response(prepared, request.is_idempotent, timeout) as response:
                first = _read_headers(response)
                body = _read_body(response, request.max_body_bytes, time.monotonic() + timeout)
                return LivyResponse(response.status_code, first, body, request.max_body_bytes)
        except (requests.RequestException, HTTPError, TimeoutError, MalformedResponseError) as error:
            raise connection_error(request.subject, request.url, error, self._network) from None

    def _response(self, prepared: requests.PreparedRequest, is_idempotent: bool, timeout: float) -> requests.Response:
        """Return the beginning of the response. That a connection was cut while it was idle does not count as a try."""
        url = prepared.url or ""
        adapter = cast("_Adapter", self.session.get_adapter(url))
        timeouts = (self._network.timeout, timeout)
        send = partial(adapter.send, prepared, stream=True, timeout=timeouts, proxies=self.session.proxies)
        may_be_cut_off = is_idempotent and adapter.has_idle_connection(url)
        try:
            return send()
        except requests.ConnectionError as error:
            if not (may_be_cut_off and is_cut_off(error)):
                raise
        adapter.close()  # with all connections that were idle, so that the next one is new; it can be used further
        return send()


def _read_headers(response: requests.Response) -> dict[str, str]:
    """Return the headers, if aiohttp's parser would take them as well: http.client's passes over what it can't read."""
    if HTTPStatus.SWITCHING_PROTOCOLS < response.status_code < HTTPStatus.OK:
        raise MalformedResponseError(f"the status is {response.status_code}, which is not the end of a response")
    raw: Any = response.raw
    assert_header_parsing(raw._original_response.msg)  # noqa: SLF001  (requests uses it as well)
    return checked_headers(raw.headers.iteritems())


def _read_body(response: requests.Response, max_bytes: int, deadline: float) -> bytes:
    """Read the body. The timeout of a socket holds for each piece, so a body that trickles would take for ever."""
    body = bytearray()
    while len(body) <= max_bytes and (chunk := response.raw.read1(_CHUNK_BYTES, decode_content=False)):
        body += chunk
        if time.monotonic() > deadline:
            raise TimeoutError("timed out")
    return bytes(body[: max_bytes + 1])


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
    """Return what two addresses have in common that lead to the same server."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"https": 443, "http": 80}.get(parts.scheme)


class _Adapter(HTTPAdapter):
    """Sets what a session of requests has no setting of its own for, or one that the environment overrules."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self._network = network

    def has_idle_connection(self, url: str) -> bool:
        """Return whether a request to an address will be sent on a connection that another one has left open."""
        managers: list[Any] = [self.poolmanager, *self.proxy_manager.values()]
        pools = [manager.pools.get(key) for manager in managers for key in manager.pools.keys()]  # noqa: SIM118
        idle = [connection for pool in pools if pool and pool.is_same_host(url) for connection in pool.pool.queue]
        return any(connection and not is_connection_dropped(connection) for connection in idle)

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        kwargs["verify"] = self._network.ca_bundle
        kwargs["timeout"] = kwargs.get("timeout") or self._network.timeout
        return super().send(request, *args, **kwargs)
