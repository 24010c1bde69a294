"""
Tokens of Microsoft Entra ID: where they come from, and how all of a process share them.

azure-identity does not hold back callers that come together: a thousand of them on one cold credential make a
thousand requests for a token. So a process has one :class:`TokenSource` for each identity, and a lock in it.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_synapse_livy.api import broken_connection, causes
from airflow_provider_synapse_livy.connection import CLOUDS, AuthType, Identity, is_loopback
from airflow_provider_synapse_livy.exceptions import (
    SynapseLivyAuthenticationError,
    SynapseLivyConfigurationError,
    SynapseLivyError,
    SynapseLivyUnavailableError,
)

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken
    from azure.identity import ClientSecretCredential, DefaultAzureCredential

__all__ = ["TokenSource", "token_source"]

#: azure-identity tells of each request in a dozen lines, at a level that Airflow shows in the task's log.
_http_log = logging.getLogger(f"{__name__}.http")
_http_log.setLevel(logging.WARNING)

#: Seconds before its end at which a token is replaced, or half its life if that is shorter.
_REFRESH_EARLY = 300.0


class TokenSource:
    """
    Gives the bearer token of one identity, and renews it once for all who ask.

    :param identity: who asks.
    """

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._lock = threading.Lock()
        self._held: _HeldToken | None = None

    def peek(self) -> str | None:
        """Give the token if it is still good, without ever waiting; None where :meth:`get` would ask for one."""
        held = self._held
        return held.token if held and time.time() < held.refresh_at else None

    def get(self) -> str:
        """
        Give a token that is good, asking for a new one if need be. May wait for the network.

        :raises SynapseLivyAuthenticationError: if Microsoft Entra ID refuses.
        :raises SynapseLivyUnavailableError: if it does not answer.
        :raises SynapseLivyConfigurationError: if its certificate is not trusted.
        """
        with self._lock:
            return self.peek() or self._fetch()

    def renew(self, rejected: str) -> str:
        """
        Give another token than the one that Synapse refused. May wait for the network, and raises like :meth:`get`.

        :param rejected: the refused token. If it was replaced meanwhile, the new one is given at once.
        """
        with self._lock:
            token = self.peek()
            return self._fetch() if token in (None, rejected) else token

    def _fetch(self) -> str:
        access_token = _request_token(self._identity)
        now = time.time()
        life = access_token.expires_on - now
        self._held = _HeldToken(access_token.token, now + life - min(_REFRESH_EARLY, life / 2))
        return access_token.token


class _HeldToken(NamedTuple):
    token: str
    refresh_at: float


_sources: dict[Identity, TokenSource] = {}
_sources_lock = threading.Lock()


def token_source(identity: Identity) -> TokenSource:
    """
    Give the one source of tokens that this process has for an identity.

    :param identity: who asks.
    """
    with _sources_lock:
        return _sources.setdefault(identity, TokenSource(identity))


class _ReadyMadeToken:
    """The credential for a token that somebody else obtained: there is no other to be had, so it never ages here."""

    def __init__(self, token: str) -> None:
        self._token = token

    def get_token(self, *_scopes: str) -> AccessToken:
        from azure.core.credentials import AccessToken

        return AccessToken(self._token, sys.maxsize)

    def close(self) -> None:
        """There is nothing to close."""


def _ready_made_token(identity: Identity, _options: dict[str, Any]) -> _ReadyMadeToken:
    return _ReadyMadeToken(identity.secret)


def _client_secret(identity: Identity, options: dict[str, Any]) -> ClientSecretCredential:
    from azure.identity import ClientSecretCredential

    return ClientSecretCredential(identity.tenant_id, identity.client_id, identity.secret, **options)


def _default(_identity: Identity, options: dict[str, Any]) -> DefaultAzureCredential:
    from azure.identity import DefaultAzureCredential

    return DefaultAzureCredential(**options)


#: The one place where a kind of identity becomes a credential of azure-identity's.
_CREDENTIALS: dict[AuthType, Callable[[Identity, dict[str, Any]], Any]] = {
    AuthType.CLIENT_SECRET: _client_secret,
    AuthType.DEFAULT: _default,
    AuthType.TOKEN: _ready_made_token,
}


def _request_token(identity: Identity) -> AccessToken:
    """Ask Microsoft Entra ID once; when to ask again is decided where all retries are."""
    statuses: list[int] = []
    options = {
        "authority": identity.authority,
        # An authority that is not Microsoft's own, as in an air-gapped cloud, can't be looked up at Microsoft's.
        "disable_instance_discovery": identity.authority not in {cloud.authority for cloud in CLOUDS},
        "connection_verify": identity.network.ca_bundle,
        "connection_timeout": identity.network.timeout,
        "read_timeout": identity.network.timeout,
        "use_env_settings": not is_loopback(_url(identity.authority)),  # which proxy to use, if any
        "retry_total": 0,
        "raw_response_hook": lambda response: statuses.append(response.http_response.status_code),
        "logger": _http_log,
    }
    try:
        # A credential lives for one request: its own cache would hand out the very token that was refused.
        with closing(_CREDENTIALS[identity.auth_type](identity, options)) as credential:
            token: AccessToken = credential.get_token(identity.scope)
    except Exception as error:  # noqa: BLE001  (whatever a credential raises, there is no token)
        raise _explained(error, identity, statuses[-1] if statuses else None) from None
    return token


def _explained(error: Exception, identity: Identity, status: int | None) -> SynapseLivyError:
    """Say what azure-identity could not do. Its messages name tenants, clients and codes, but no secrets."""
    subject = "The token for Synapse"
    words = f"Microsoft Entra ID at {identity.authority} gave no token ({identity.auth_type}): "
    words += " ".join(str(error).split())
    if isinstance(error, ValueError):  # what azure-identity does not even send
        return SynapseLivyConfigurationError(words)
    if status is None and (broken := _broken_connection(error)):
        return broken_connection(subject, _url(identity.authority), broken)
    kind = SynapseLivyUnavailableError if _is_outage(status) else SynapseLivyAuthenticationError
    return kind(words, status=status)


def _url(authority: str) -> str:
    return authority if "://" in authority else f"https://{authority}"


def _broken_connection(error: Exception) -> BaseException | None:
    """Look for a broken connection among the causes, since azure-identity wraps it as a failed authentication."""
    from azure.core.exceptions import ServiceRequestError, ServiceResponseError

    broken = (cause for cause in causes(error) if isinstance(cause, ServiceRequestError | ServiceResponseError))
    return next((cause.inner_exception for cause in broken), None)


def _is_outage(status: int | None) -> bool:
    return status is not None and (status in (408, 429) or status >= 500)
