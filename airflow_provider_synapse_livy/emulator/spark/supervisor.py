"""Looks after the Sparks of all sessions: lets statements run when it is their turn, and ends what has no session."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from airflow_provider_synapse_livy.emulator.clock import Clock
from airflow_provider_synapse_livy.emulator.spark.requirements import check_requirements
from airflow_provider_synapse_livy.emulator.spark.runner import SparkRunner

if TYPE_CHECKING:
    from airflow_provider_synapse_livy.emulator.sessions import EmulatedSession

__all__ = ["SparkSupervisor"]

#: Seconds between two looks at all sessions.
_INTERVAL = 0.1


class SparkSupervisor:
    """
    The Sparks of all sessions.

    :param clock: the emulator's clock.
    :param exists: returns whether a session still exists; a pool that is made anew forgets its own.
    :raises MissingRequirementError: if Java or pyspark is not installed.
    """

    def __init__(self, clock: Clock, exists: Callable[[EmulatedSession], bool]) -> None:
        check_requirements()
        self._clock, self._exists = clock, exists
        self._sessions: list[EmulatedSession] = []
        self._closing: set[asyncio.Future[Any]] = set()

    def attach(self, session: EmulatedSession) -> None:
        """Give a session a Spark of its own, which its first statement will start."""
        session.runner = SparkRunner(session, self._clock.now)
        self._sessions.append(session)

    async def lifespan(self, _: object) -> AsyncIterator[None]:
        """Look after all sessions while a server runs, and leave no process behind: a ``cleanup_ctx`` of aiohttp."""
        task = asyncio.create_task(self._watch())
        yield
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await asyncio.gather(*self._closing)
        await asyncio.to_thread(self._close_all)

    async def _watch(self) -> None:
        while True:
            for session in list(self._sessions):
                self._look_after(session)
            await asyncio.sleep(_INTERVAL)

    def _look_after(self, session: EmulatedSession) -> None:
        if session.runner is None:
            return
        if self._exists(session) and not session.is_shut_down(self._clock.now()):
            session.runner.pump()
            return
        self._sessions.remove(session)
        closing = asyncio.ensure_future(asyncio.to_thread(session.runner.close))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    def _close_all(self) -> None:
        runners = [session.runner for session in self._sessions if session.runner]
        with ThreadPoolExecutor(max_workers=max(1, len(runners))) as pool:
            list(pool.map(lambda runner: runner.close(), runners))
