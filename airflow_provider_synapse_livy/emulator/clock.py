"""The clock of the emulator, which a test may put forward."""

from __future__ import annotations

import time

__all__ = ["Clock"]


class Clock:
    """Shows the time, in seconds since the epoch, and what it was put forward."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def now(self) -> float:
        """Return the time."""
        return time.time() + self._ahead

    def advance(self, seconds: float) -> None:
        """
        Put the clock forward.

        :param seconds: real seconds, at least 0.
        """
        self._ahead += seconds
