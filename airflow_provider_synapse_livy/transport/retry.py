"""
When a request is sent again: one description, which tenacity runs for both the worker and the triggerer.

What may be retried is decided where answers are read (:mod:`~airflow_provider_synapse_livy.livy.responses`) and where
connections break (the transports): whatever ends as a :class:`SynapseLivyUnavailableError` is, all else is not.
"""

from __future__ import annotations

import logging
from typing import Any

from tenacity import RetryCallState, retry_if_exception_type, stop_before_delay, wait_random_exponential

from airflow_provider_synapse_livy.livy.errors import SynapseLivyUnavailableError

__all__ = ["RETRY_SECONDS", "retry_description"]

log = logging.getLogger(__name__)

#: How many seconds may be spent on one request, with all its retries and the pauses between them. There is no bound
#: of their number: where each fails at once, it would be reached long before an outage of a minute is over.
RETRY_SECONDS = 180.0

#: Longer each time, and at random, so that those who failed together do not come back together.
_pause_unasked = wait_random_exponential(multiplier=0.5, max=30, min=0.1)


def _pause(retry_state: RetryCallState) -> float:
    """Pause as long as ``Retry-After`` asks for, if it does, and longer if asking so often has not helped."""
    error = retry_state.outcome.exception() if retry_state.outcome else None
    return max(getattr(error, "retry_after", None) or 0.0, _pause_unasked(retry_state))


def _log_retry(retry_state: RetryCallState) -> None:
    error = retry_state.outcome.exception() if retry_state.outcome else None
    log.warning("%s Trying again in %.1f s.", error, retry_state.upcoming_sleep)


def retry_description(seconds: float = RETRY_SECONDS) -> dict[str, Any]:
    """
    Describe the retries, as keyword arguments of ``tenacity.Retrying`` and ``tenacity.AsyncRetrying``.

    A pause that would lead beyond ``seconds`` is not begun, however long ``Retry-After`` asks for: the last
    error is raised at once.

    :param seconds: how many seconds to spend.
    """
    return {
        "retry": retry_if_exception_type(SynapseLivyUnavailableError),
        "stop": stop_before_delay(seconds),
        "wait": _pause,
        "before_sleep": _log_retry,
        "reraise": True,
    }
