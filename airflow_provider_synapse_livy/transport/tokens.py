"""
Tokens of Microsoft Entra ID, and how all of a process share them.

azure-identity does not hold back callers that come together: a thousand of them on one cold credential make a
thousand requests for a token. So a process has one :class:`TokenCache` for each identity, and a lock in it.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import NamedTuple

from airflow_provider_synapse_livy.connection.identity import Identity
from airflow_provider_synapse_livy.livy.errors import SynapseLivyError
from airflow_provider_synapse_livy.transport.entra import request_token

__all__ = ["TokenCache", "token_cache"]

log = logging.getLogger(__name__)

#: Seconds before its end at which a token is replaced, or half its life if that is shorter.
_REFRESH_EARLY = 300.0

#: Seconds after which an early replacement that failed is tried again, or half of what is left if that is shorter.
_RETRY_EARLY = 30.0


class TokenCache:
    """
    Gives the bearer token of one identity, and renews it once for all who ask.

    :param identity: who asks.
    """

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._lock = threading.Lock()
        self._held: _HeldToken | None = None

    def fresh_token(self) -> str | None:
        """Give the token if it is still good, without ever waiting; None where :meth:`get` would ask for one."""
        held = self._held
        return held.token if held and time.time() < held.refresh_at else None

    def usable_token(self) -> str | None:
        """Give the token that there is while it is good, even if it is time for a new one; None if there is none."""
        held = self._held
        return held.token if held and time.time() < held.expires_at else None

    def get(self) -> str:
        """
        Give a token that is good, asking for a new one if need be. May wait for the network.

        A token is replaced early. Who comes while that is under way gets the old one, which is good still, and so do
        all if there is no new one to be had just now.

        :raises SynapseLivyAuthenticationError: if Microsoft Entra ID refuses.
        :raises SynapseLivyUnavailableError: if it does not answer.
        :raises SynapseLivyConfigurationError: if its certificate is not trusted.
        """
        old = self._held
        if old is None or time.time() >= old.expires_at:
            with self._lock:
                return self.fresh_token() or self._fetch()
        if not self._lock.acquire(blocking=False):
            return old.token
        try:
            return self.fresh_token() or self._fetch_early(old)
        finally:
            self._lock.release()

    def renew(self, rejected: str) -> str:
        """
        Give another token than the one that Synapse refused. May wait for the network, and raises like :meth:`get`.

        :param rejected: the refused token. If it was replaced meanwhile, the new one is given at once.
        """
        with self._lock:
            token = self.fresh_token()
            return self._fetch() if token in (None, rejected) else token

    def _fetch(self) -> str:
        access_token = request_token(self._identity)
        now = time.time()
        life = access_token.expires_on - now
        self._held = _HeldToken(access_token.token, now + life - min(_REFRESH_EARLY, life / 2), now + life)
        return access_token.token

    def _fetch_early(self, old: _HeldToken) -> str:
        try:
            return self._fetch()
        except SynapseLivyError as error:
            left = old.expires_at - time.time()
            log.warning("%s The token at hand is good for another %.0f s.", error, left)
            self._held = old._replace(refresh_at=time.time() + min(_RETRY_EARLY, left / 2))
            return old.token


class _HeldToken(NamedTuple):
    token: str
    refresh_at: float
    expires_at: float


_sources: dict[Identity, TokenCache] = {}
_sources_lock = threading.Lock()


def token_cache(identity: Identity) -> TokenCache:
    """
    Give the one source of tokens that this process has for an identity.

    :param identity: who asks.
    """
    with _sources_lock:
        return _sources.setdefault(identity, TokenCache(identity))
