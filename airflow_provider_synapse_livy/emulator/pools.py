"""The Spark pools of the local Synapse: the sessions and batch jobs of each, which are numbered together."""

from __future__ import annotations

import itertools
import threading
from collections import defaultdict
from typing import Any

from airflow_provider_synapse_livy.emulator.sessions import EmulatedSession

__all__ = ["Pools"]


class Pools:
    """
    The sessions and batch jobs of a workspace by Spark pool.

    A pool exists as soon as it is named, and counts ids from 0, of sessions and batch jobs together.
    """

    def __init__(self) -> None:
        self._sessions: dict[str, dict[int, EmulatedSession]] = defaultdict(dict)
        self._next_ids: dict[str, itertools.count[int]] = defaultdict(itertools.count)
        self._lock = threading.Lock()

    def create(self, pool: str, kind: type[EmulatedSession] = EmulatedSession, **details: Any) -> EmulatedSession:
        """
        Create a session, or a batch job, in a pool.

        :param kind: the class of what is created.
        :param details: all other fields of :class:`EmulatedSession` but ``id``.
        """
        with self._lock:
            session = kind(id=next(self._next_ids[pool]), pool=pool, **details)
            self._sessions[pool][session.id] = session
        return session

    def find(self, pool: str, number: int) -> EmulatedSession | None:
        """Return a session, or a batch job, or None if it does not exist; those that have ended are kept."""
        with self._lock:
            return self._sessions[pool].get(number)

    def has(self, session: EmulatedSession) -> bool:
        """Return whether this very session exists, and not another one of its number in a pool that was made anew."""
        return self.find(session.pool, session.id) is session

    def sessions(self, pool: str | None = None, kind: type[EmulatedSession] | None = None) -> list[EmulatedSession]:
        """
        Return all sessions and batch jobs, oldest first in each pool.

        :param pool: return those of this pool only.
        :param kind: return those of this class only.
        """
        with self._lock:
            pools = self._sessions.values() if pool is None else [self._sessions[pool]]
            return [one for sessions in pools for one in sessions.values() if kind in (None, type(one))]

    def page(
        self,
        pool: str,
        start: int,
        size: int,
        *,
        newest_first: bool,
        kind: type[EmulatedSession] = EmulatedSession,
    ) -> list[EmulatedSession]:
        """
        Return one page of a pool's sessions, or of its batch jobs.

        :param start: number of sessions to skip.
        :param size: maximum number of sessions to return.
        :param newest_first: whether to begin with the newest session or with the oldest.
        :param kind: the class of what is listed.
        """
        sessions = self.sessions(pool, kind)
        return sessions[:: -1 if newest_first else 1][start : start + size]

    def recreate(self, pool: str) -> None:
        """Forget a pool's sessions and their ids."""
        with self._lock:
            self._sessions.pop(pool, None)
            self._next_ids.pop(pool, None)
