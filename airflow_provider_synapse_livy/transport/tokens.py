"""
The tokens of this process: one for each identity, shared by all who use it.

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

#: Seconds after which an early refresh that failed is tried again, or half of what is left if that is shorter.
_RETRY_EARLY = 30.0


class TokenCache:
    """
    The bearer token of one identity, renewed once for all callers.

    :param identity: who signs in, and how.
    """

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        # Reentrant, since Airflow calls on_kill from a signal's handler, in the midst of whatever the task does.
        self._lock = threading.RLock()
        self._held: _HeldToken | None = None

    def fresh_token(self) -> str | None:
        """Return the cached token, None if there is none or it is time to replace it. Never waits."""
        held = self._held
        return held.token if held and time.time() < held.refresh_at else None

    def usable_token(self) -> str | None:
        """Return the cached token while it is valid, even if a refresh is due; None if there is none. Never waits."""
        held = self._held
        return held.token if held and time.time() < held.expires_at else None

    def get(self) -> str:
        """
        Return a valid token, and request one if need be. May wait for the network.

        A token is replaced early. Callers that come while that is under way get the old one, which is still valid, and
        so do all if the early refresh fails.

        :raises SynapseLivyAuthenticationError: if the issuer refuses.
        :raises SynapseLivyUnavailableError: if it does not answer, or with a status that may pass.
        :raises SynapseLivyConfigurationError: if the credential can't work, or the issuer's certificate is not trusted.
        """
        old = self._held
        if old is None or time.time() >= old.expires_at:
            with self._lock:
                return self.fresh_token() or self._fetch()
        if not self._lock.acquire(blocking=False):
            return old.token
        try:
            return self.fresh_token() or self._refresh(old)
        finally:
            self._lock.release()

    def renew(self, rejected: str) -> str:
        """
        Return another token than the one that Synapse rejected. May wait for the network, and raises like :meth:`get`.

        :param rejected: the rejected token. If it was replaced in the meantime, the new one is returned at once.
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

    def _refresh(self, old: _HeldToken) -> str:
        """Return a new token, or the old one if there is none: the next early refresh is after a pause."""
        try:
            return self._fetch()
        except SynapseLivyError as error:
            left = old.expires_at - time.time()
            log.warning("The early token refresh failed. The old token is valid for another %.0f s.\n%s", left, error)
            pause = max(_RETRY_EARLY, getattr(error, "retry_after", None) or 0.0)
            self._held = old._replace(refresh_at=time.time() + min(pause, left / 2))
            return old.token


class _HeldToken(NamedTuple):
    token: str
    refresh_at: float
    expires_at: float


#: By what is not secret of an identity: a changed secret replaces the old one, which is kept no longer.
_caches: dict[Identity, tuple[Identity, TokenCache]] = {}
_caches_lock = threading.Lock()


def token_cache(identity: Identity) -> TokenCache:
    """
    Return the one cache that this process has for an identity.

    An identity whose secret or certificate has changed gets a new one, which takes the place of the old.

    :param identity: who signs in, and how.
    """
    key = identity.without_secrets()
    with _caches_lock:
        known, cache = _caches.get(key, (None, None))
        if cache is None or known != identity:
            cache = TokenCache(identity)
            _caches[key] = identity, cache
        return cache
