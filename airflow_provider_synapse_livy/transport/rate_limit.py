"""
How fast an event loop may send requests to a workspace: one limit, shared by all its pools and connections.

Two failures are the workspace's, whichever pool meets them: 429, and a host that can't be reached. Both stop the
requests of all pools; when their pause is over, one request tries for all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary, WeakValueDictionary

from airflow_provider_synapse_livy.livy.errors import SynapseLivyError, SynapseLivyUnavailableError, error_message
from airflow_provider_synapse_livy.transport.retry import Backoff

__all__ = ["REQUESTS_PER_SECOND", "RateLimit", "workspace_limit"]

#: Half of what Synapse allows, so that another triggerer, the workers and people have their share.
REQUESTS_PER_SECOND = 100.0

#: How many requests may be sent at once after a time without any.
_BURST = 10

#: The longest pause, in seconds, between two attempts at a workspace that can't be reached.
_MAX_PAUSE = 5.0

#: How many seconds those who meet a pause wait, while one request tries for all.
_WHILE_TRYING = 1.0


class RateLimit:
    """
    Spaces the requests to one workspace, and pauses them all while it refuses them or can't be reached.

    :param rate: how many requests a second.
    """

    def __init__(self, rate: float = REQUESTS_PER_SECOND) -> None:
        self._rate = rate
        self._last_slot = 0.0
        self._paused_until = 0.0
        self._backoff = Backoff()
        self._cause: SynapseLivyError | None = None
        self._is_trying = False
        self._trial_is_sent = False

    @property
    def resumes_at(self) -> float:
        """Until when nothing may be sent, by the event loop's clock; in the past, if anything may."""
        trying_until = asyncio.get_running_loop().time() + _WHILE_TRYING if self._is_trying else 0.0
        return max(self._paused_until, trying_until)

    async def acquire(self, subject: str) -> None:
        """
        Wait for the turn of a request.

        :param subject: what is asked for, in the words that begin an error message.
        :raises SynapseLivyUnavailableError: if the workspace is paused.
        """
        loop = asyncio.get_running_loop()
        self._last_slot = max(self._last_slot, loop.time() - _BURST / self._rate) + 1 / self._rate
        if (delay := self._last_slot - loop.time()) > 0:
            await asyncio.sleep(delay)
        if self._cause is not None and (self._is_trying or self._paused_until > loop.time()):
            raise _not_sent(subject, self._cause, self.resumes_at - loop.time())
        self._is_trying = self._cause is not None

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Take note of how a request ends that is sent in the context, right after :meth:`acquire`."""
        is_trial = self._is_trying and not self._trial_is_sent
        self._trial_is_sent |= is_trial
        try:
            yield
        except SynapseLivyUnavailableError as error:
            if error.status == 429 or (error.status is None and not error.may_have_been_processed):
                self._pause(error)
            else:
                self._resume()
            raise
        except SynapseLivyError:
            self._resume()
            raise
        else:
            self._resume()
        finally:
            if is_trial:
                self._is_trying = self._trial_is_sent = False

    def _pause(self, error: SynapseLivyUnavailableError) -> None:
        self._cause = error
        pause = self._backoff.pause_after(error, _MAX_PAUSE)
        self._paused_until = max(self._paused_until, asyncio.get_running_loop().time() + pause)

    def _resume(self) -> None:
        if self._paused_until <= asyncio.get_running_loop().time():
            self._cause = None
            self._backoff.reset()


def _not_sent(subject: str, cause: SynapseLivyError, pause: float) -> SynapseLivyUnavailableError:
    evidence = f"Nothing was sent, for another {pause:.1f} s. Cause: {cause.event}."
    if cause.status == 429:
        event = f"{subject}: Synapse answered 429 to another request of this workspace."
        fix = "use a longer poke_interval: the workspace gets too many requests."
        message = error_message(event, fix, evidence)
        return SynapseLivyUnavailableError(message, status=429, retry_after=pause)
    message = error_message(f"{subject}: the workspace can't be reached.", "see the cause below.", evidence)
    return SynapseLivyUnavailableError(message)


_limits: WeakKeyDictionary[asyncio.AbstractEventLoop, WeakValueDictionary[str, RateLimit]] = WeakKeyDictionary()


def workspace_limit(endpoint: str) -> RateLimit:
    """
    Return the limit that the running event loop has for a workspace, whichever connections lead there.

    :param endpoint: the workspace's development endpoint.
    """
    limits = _limits.setdefault(asyncio.get_running_loop(), WeakValueDictionary())
    return limits.setdefault(endpoint, RateLimit())
