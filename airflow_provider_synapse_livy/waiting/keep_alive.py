"""How often a session's idle timeout is begun anew while a task waits for code in it."""

from __future__ import annotations

__all__ = ["KEEP_ALIVE_INTERVAL", "is_keep_alive_due"]

#: Seconds between two resets of the session's idle timeout, which was seen to be ten minutes at the least.
KEEP_ALIVE_INTERVAL = 240.0


def is_keep_alive_due(waited: float, since_last_poll: float) -> bool:
    """
    Return whether it is to be begun anew now, which needs no memory of when it was: a task may run anew for each poll.

    :param waited: how many seconds the wait has lasted.
    :param since_last_poll: how many seconds ago the last poll was.
    """
    return waited // KEEP_ALIVE_INTERVAL > max(0.0, waited - since_last_poll) // KEEP_ALIVE_INTERVAL
