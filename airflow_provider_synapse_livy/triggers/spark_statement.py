"""The trigger that waits for a statement of a Spark session."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from airflow_provider_synapse_livy.airflow_compat.sdk import TriggerEvent
from airflow_provider_synapse_livy.exceptions import SparkStatementLostError
from airflow_provider_synapse_livy.livy.errors import SparkStatementNotFoundError, SynapseLivyError
from airflow_provider_synapse_livy.livy.resources import SPARK_SESSION, SPARK_STATEMENT
from airflow_provider_synapse_livy.livy.responses import Snapshot
from airflow_provider_synapse_livy.models import SparkSession
from airflow_provider_synapse_livy.polling.watch import Watch
from airflow_provider_synapse_livy.triggers.base import LivyTrigger
from airflow_provider_synapse_livy.waiting.lost_statement import describe_loss, may_mean_loss
from airflow_provider_synapse_livy.waiting.statement_goal import StatementGoal
from airflow_provider_synapse_livy.waiting.wait import RETRY_TIMEOUT, Wait

__all__ = ["SynapseSparkStatementTrigger"]

#: Seconds between two resets of the session's idle timeout, which was seen to be ten minutes at the least.
_KEEP_ALIVE_INTERVAL = 240.0


class SynapseSparkStatementTrigger(LivyTrigger):
    """
    Wait for a statement of a Spark session, while the session lives, whose idle timeout does not pass meanwhile.

    :param session_id: the session's id in the pool.
    :param statement_id: the statement's id in the session.
    :param kwargs: the other parameters are those of :class:`~airflow_provider_synapse_livy.triggers.base.LivyTrigger`.
    """

    resource = SPARK_STATEMENT
    id_fields = ("session_id", "statement_id")
    goal_fields = ()

    def __init__(self, *, session_id: int, statement_id: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.session_id = session_id
        self.statement_id = statement_id
        self._end_of_session: asyncio.Task[Snapshot[Any]] | None = None
        self._keep_alive_at = time.monotonic() + _KEEP_ALIVE_INTERVAL

    @classmethod
    def goal(cls, **fields: Any) -> StatementGoal:  # noqa: ARG003  (there is one goal)
        """
        Return the goal.

        :param fields: none.
        """
        return StatementGoal()

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and yield the one event."""
        self._end_of_session = asyncio.create_task(self._watch_session())
        try:
            async for event in super().run():
                yield event
        finally:
            await _stop(self._end_of_session)

    async def _poll(self, watch: Watch[Any], wait: Wait[Any]) -> Snapshot[Any]:
        """Return a snapshot of the statement; raise what is known if its session ends first."""
        session = self._end_of_session
        poll = asyncio.ensure_future(super()._poll(watch, wait))
        try:
            await asyncio.wait({poll, session} if session else {poll}, return_when=asyncio.FIRST_COMPLETED)
            if poll.done() and not (poll.exception() and may_mean_loss(poll.exception())):
                return poll.result()
            return await self._last_word(watch, poll, session)
        finally:
            await _stop(poll)

    async def _last_word(
        self, watch: Watch[Any], poll: asyncio.Future[Snapshot[Any]], session: asyncio.Task[Snapshot[Any]] | None
    ) -> Snapshot[Any]:
        """Return the statement if it had ended before its session did, or raise that it is lost."""
        error = poll.exception() if poll.done() else None
        if error is None:
            await _stop(poll)  # a watch makes one poll at a time
            with suppress(SynapseLivyError):
                snapshot: Snapshot[Any] = await watch.poll()
                if snapshot.record.is_finished and not snapshot.record.is_settling:
                    return snapshot
        ended = await self._ended_session() if error or session is None else session.result()
        if error and ended is None and not isinstance(error, SparkStatementNotFoundError):
            raise error
        name = self.resource.name(*self._ids())
        raise SparkStatementLostError(describe_loss(name, ended), activity_id=ended.activity_id if ended else None)

    async def _ended_session(self) -> Snapshot[Any] | None:
        """Return the session if it has ended, None if it lives or is not known."""
        async with self._hook().watch(SPARK_SESSION, self.session_id) as watch:
            with suppress(SynapseLivyError):
                snapshot = await watch.poll(retry_timeout=RETRY_TIMEOUT)
                return snapshot if snapshot.record.is_finished else None
        return None

    async def _watch_session(self) -> Snapshot[Any]:
        """Return the session when it has ended, and keep it from idling out until then."""
        async with self._hook().watch(SPARK_SESSION, self.session_id) as watch:
            while True:
                try:
                    snapshot = await watch.poll(
                        after=float(self.options["poke_interval"]),
                        retry_timeout=RETRY_TIMEOUT,
                        only_changes_for=_KEEP_ALIVE_INTERVAL,
                    )
                except SynapseLivyError as error:  # the statement's own poll says what is to be done about it
                    self.logger().info("%s.", error.event)
                    await asyncio.sleep(_KEEP_ALIVE_INTERVAL)
                    continue
                if snapshot.record.is_finished and not snapshot.record.is_settling:
                    return snapshot
                await self._show_links(snapshot.record, watch, is_over=False)
                await self._keep_alive(watch)

    async def _keep_alive(self, watch: Watch[Any]) -> None:
        """Begin the session's idle timeout anew, every few minutes, which is worth no failure."""
        now = time.monotonic()
        if now < self._keep_alive_at:
            return
        self._keep_alive_at = now + _KEEP_ALIVE_INTERVAL
        try:
            await watch.send(SPARK_SESSION.reset_timeout)
        except SynapseLivyError as error:
            self.logger().info("The session's idle timeout could not be reset: %s.", error.event)

    async def _show_links(self, record: Any, watch: Watch[Any], *, is_over: bool) -> None:
        if isinstance(record, SparkSession):  # a statement has no links of its own
            await super()._show_links(record, watch, is_over=is_over)

    def _fields(self, record: Any) -> dict[str, Any]:
        """Return what proves the end alone: neither code nor output, since Airflow logs the event."""
        status = record.output.status if record.output is not None else None
        return {"id": record.id, "state": record.state, "output": {"status": status} if record.output else None}


async def _stop(task: asyncio.Future[Any]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError, Exception):
        await task
