"""How fast an event loop may ask a workspace: a limit that all who ask it there share."""

from __future__ import annotations

import asyncio
from weakref import WeakKeyDictionary, WeakValueDictionary

from airflow_provider_synapse_livy.livy.errors import SynapseLivyUnavailableError
from airflow_provider_synapse_livy.transport.retry import RETRY_SECONDS

__all__ = ["REQUESTS_PER_SECOND", "RateLimit", "workspace_limit"]

#: Half of what Synapse answers, so that another triggerer, the workers and people have their share.
REQUESTS_PER_SECOND = 100.0

#: How many requests may come at once after a quiet time.
_BURST = 10


class RateLimit:
    """
    Spaces requests to one workspace, and stops them all when it asks for a pause.

    :param rate: how many requests a second.
    """

    def __init__(self, rate: float = REQUESTS_PER_SECOND) -> None:
        self._rate = rate
        self._last_turn = 0.0
        self._held_until = 0.0

    async def turn(self, subject: str) -> None:
        """
        Wait for the turn of a request.

        :param subject: what is asked for, in the words that begin an error message.
        :raises SynapseLivyUnavailableError: if the workspace has asked for a pause, which is not waited for here.
        """
        loop = asyncio.get_running_loop()
        self._last_turn = max(self._last_turn, loop.time() - _BURST / self._rate) + 1 / self._rate
        if (pause := self._last_turn - loop.time()) > 0:
            await asyncio.sleep(pause)
        if (left := self._held_until - loop.time()) > 0:
            raise SynapseLivyUnavailableError(
                f"{subject}: Synapse answered 429 to another request, and asks for a pause of {left:.1f} s. "
                "The workspace is asked too often; use a longer poke_interval.",
                status=429,
                retry_after=left,
            )

    def hold(self, seconds: float) -> None:
        """
        Let no request pass for a while.

        :param seconds: how long; no longer than anybody would wait.
        """
        until = asyncio.get_running_loop().time() + min(seconds, RETRY_SECONDS)
        self._held_until = max(self._held_until, until)


_limits: WeakKeyDictionary[asyncio.AbstractEventLoop, WeakValueDictionary[str, RateLimit]] = WeakKeyDictionary()


def workspace_limit(endpoint: str) -> RateLimit:
    """
    Give the limit that the running event loop has for a workspace, whichever connections lead there.

    :param endpoint: the workspace's development endpoint.
    """
    limits = _limits.setdefault(asyncio.get_running_loop(), WeakValueDictionary())
    return limits.setdefault(endpoint, RateLimit())
