"""When the service asks to come back, as its responses say in several headers."""

from __future__ import annotations

import re
import time
from email.utils import parsedate_to_datetime
from typing import Protocol

__all__ = ["announced_words", "retry_after"]

#: The longest ``Retry-After`` that is believed, in seconds: a week.
_MAX_RETRY_AFTER = 7 * 24 * 3600.0


class _Response(Protocol):
    def header(self, name: str) -> str | None:
        """Return the value of a header."""


#: The headers that say when to come back, and how many seconds their unit has; Azure's own are more exact.
_RETRY_AFTER_HEADERS = {"retry-after-ms": 0.001, "x-ms-retry-after-ms": 0.001, "retry-after": 1.0}


def retry_after(response: _Response) -> float | None:
    """
    Return how many seconds the service asks to wait; None where it does not, or for longer than is sensible.

    :param response: a response of Synapse or of a token's issuer.
    """
    for name, unit in _RETRY_AFTER_HEADERS.items():
        value = (response.header(name) or "").strip()
        is_number = re.fullmatch(r"[0-9]+(\.[0-9]+)?", value)
        seconds = float(value) * unit if is_number else _seconds_until(value, response.header("date"))
        if seconds is not None and 0 < seconds <= _MAX_RETRY_AFTER:
            return seconds
    return None


def announced_words(seconds: float | None) -> str:
    """
    Return a line about the pause that a service asks for, empty if it asks for none.

    :param seconds: how many seconds that is.
    """
    if not seconds:
        return ""
    return f"It asks to wait {seconds:g} s. A task that waits does so for as long as its timeout allows."


def _seconds_until(date: str, service_date: str | None) -> float | None:
    """Return how far off a date is by the service's own clock, where it shows it, as ours may be wrong."""
    at, now = _timestamp(date), _timestamp(service_date or "")
    return None if at is None else at - (time.time() if now is None else now)


def _timestamp(date: str) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
