"""
When a request is sent again, and after which pause.

*What* may be sent again is decided where responses are read and connections break: a
:class:`~airflow_provider_synapse_livy.livy.errors.SynapseLivyUnavailableError` may pass, all else lasts, and
:meth:`~airflow_provider_synapse_livy.livy.requests.LivyRequest.may_be_sent_again` knows whether it could do harm.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_synapse_livy.livy.errors import SynapseLivyError
from airflow_provider_synapse_livy.livy.requests import LivyRequest

__all__ = ["MAX_PAUSE", "Backoff", "Retries", "announced_pause"]

log = logging.getLogger(__name__)

#: The longest pause between two attempts, in seconds, unless the service asks for a longer one.
MAX_PAUSE = 30.0

_FIRST_PAUSE = 0.5


def announced_pause(error: SynapseLivyError | None) -> float:
    """
    Return how many seconds the service asked to wait, 0 if it did not.

    :param error: what the last attempt ended with.
    """
    return getattr(error, "retry_after", None) or 0.0


@dataclass(slots=True)
class Backoff:
    """
    Pauses between attempts that fail: longer each time, and at random, so that those who failed together part.

    :param jitter: returns a number between two others.
    """

    jitter: Callable[[float, float], float] = random.uniform
    failures: int = 0

    def pause_after(self, error: SynapseLivyError, longest: float = MAX_PAUSE) -> float:
        """
        Count a failure, and return how many seconds to wait: at least as long as the service asks for.

        :param error: what the attempt ended with.
        :param longest: how long to wait at the most if the service does not ask for longer.
        """
        grown = min(longest, _FIRST_PAUSE * 2 ** min(self.failures, 16))
        self.failures += 1
        return max(announced_pause(error), self.jitter(grown / 2, grown))

    def reset(self) -> None:
        """Begin with short pauses again, after an attempt that succeeded."""
        self.failures = 0


@dataclass(slots=True)
class Retries:
    """
    The retries of one request, or of something else that may fail for a while.

    :param retry_timeout: for how many seconds to retry while the service does not say when to come back.
    :param longest_announced: up to how many seconds from the first attempt an announced pause may lead.
    :param request: the request, if it is one.
    """

    retry_timeout: float
    longest_announced: float = 0.0
    request: LivyRequest[Any] | None = None
    _backoff: Backoff = field(default_factory=Backoff, init=False)
    _began: float = field(default_factory=time.monotonic, init=False)
    _announced: float = field(default=0.0, init=False)

    def pause_after(self, error: SynapseLivyError) -> float:
        """
        Return how many seconds to wait before the next attempt, which is made at the end of the time at the latest.

        :param error: what the last attempt ended with.
        :raises SynapseLivyError: that error, if there is no next attempt.
        """
        passed = time.monotonic() - self._began
        if self.request and not self.request.may_be_sent_again(error):
            raise error
        pause = self._backoff.pause_after(error)
        if announced_pause(error):
            if passed + pause > self.longest_announced:
                raise error
            self._announced += pause
        else:
            left = self.retry_timeout - (passed - self._announced)
            if left <= 0:
                raise error
            pause = min(pause, left)
        log.warning("%s, retrying in %.1f s.", error.event, pause)
        return pause
