"""The trigger that waits for a statement of a Spark session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from airflow_provider_synapse_livy.airflow_compat.sdk import TriggerEvent
from airflow_provider_synapse_livy.exceptions import SparkStatementLostError
from airflow_provider_synapse_livy.hooks.session_guard import Settling
from airflow_provider_synapse_livy.livy.errors import SynapseLivyError
from airflow_provider_synapse_livy.livy.outputs import OUTPUT_LIMIT, fields_for_xcom, log_printed
from airflow_provider_synapse_livy.livy.resources import SPARK_SESSION, SPARK_STATEMENT
from airflow_provider_synapse_livy.livy.responses import Snapshot
from airflow_provider_synapse_livy.models import SparkSession
from airflow_provider_synapse_livy.polling.watch import Watch
from airflow_provider_synapse_livy.triggers.base import LivyTrigger
from airflow_provider_synapse_livy.waiting.keep_alive import KEEP_ALIVE_INTERVAL
from airflow_provider_synapse_livy.waiting.lost_statement import describe_loss, is_lost, may_mean_loss
from airflow_provider_synapse_livy.waiting.statement_goal import STAYS_BUSY, StatementGoal
from airflow_provider_synapse_livy.waiting.wait import RETRY_TIMEOUT, SETTLE_INTERVAL, SETTLE_TIMEOUT, Wait

__all__ = ["SynapseSparkStatementTrigger"]


class SynapseSparkStatementTrigger(LivyTrigger):
    """
    Wait for a statement of a Spark session, while the session lives, whose idle timeout does not pass meanwhile.

    :param session_id: the session's id in the pool.
    :param statement_id: the statement's id in the session.
    :param output_limit: how many characters of the output go to XCom, if the task ends here.
    :param kwargs: the other parameters are those of :class:`~airflow_provider_synapse_livy.triggers.base.LivyTrigger`.
    """

    resource = SPARK_STATEMENT
    id_fields = ("session_id", "statement_id")
    goal_fields = ()
    more_fields = ("output_limit",)
    #: Livy waits for half a minute for Python that was cancelled to end.
    _end_timeout = 45.0

    def __init__(self, *, session_id: int, statement_id: int, output_limit: int = OUTPUT_LIMIT, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.session_id = session_id
        self.statement_id = statement_id
        self.output_limit = output_limit
        #: Whether the code was seen to run, by the task before it deferred or here.
        self._has_begun = any(str(phase[0]).startswith(("running", "cancelling")) for phase in self.history)
        self._end_of_session: asyncio.Task[Snapshot[Any]] | None = None

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
                return self._as_needed(poll.result())
            return self._as_needed(await self._last_word(watch, poll, session, wait.retry_timeout(wait.now())))
        finally:
            await _stop(poll)

    async def _last_word(
        self,
        watch: Watch[Any],
        poll: asyncio.Future[Snapshot[Any]],
        session: asyncio.Task[Snapshot[Any]] | None,
        retry_timeout: float,
    ) -> Snapshot[Any]:
        """Return the statement if it had ended before its session did, or raise that it is lost."""
        error = poll.exception() if poll.done() else None
        if error is None:
            await _stop(poll)  # a watch makes one poll at a time
            with suppress(SynapseLivyError):
                snapshot: Snapshot[Any] = await watch.poll(retry_timeout=retry_timeout)
                if snapshot.record.is_finished and not snapshot.record.is_settling:
                    return snapshot
        last = await self._read_session() if error or session is None else session.result()
        if error and not is_lost(error, last):
            raise error
        words = describe_loss(self.resource.name(*self._ids()), last, error)  # type: ignore[arg-type]
        raise SparkStatementLostError(words, activity_id=last.activity_id if last else None)

    async def _read_session(self) -> Snapshot[Any] | None:
        """Return the session; None if it can't be read."""
        async with self._hook().watch(SPARK_SESSION, self.session_id) as watch:
            with suppress(SynapseLivyError):
                return await watch.poll(retry_timeout=RETRY_TIMEOUT)
        return None

    def _as_needed(self, snapshot: Snapshot[Any]) -> Snapshot[Any]:
        """Return a snapshot without output and code, which only a task that ends here has use for."""
        self._note(snapshot.record)
        if self.end_from_trigger:
            return snapshot
        return snapshot._replace(record=snapshot.record.without_output())

    async def _watch_session(self) -> Snapshot[Any]:
        """Return the session when it has ended, and keep it from idling out until then."""
        async with self._hook().watch(SPARK_SESSION, self.session_id) as watch:
            interval = float(self.options["poke_interval"])
            settling = Settling(float(self.options.get("settle_timeout", SETTLE_TIMEOUT)))
            while True:
                quiet = KEEP_ALIVE_INTERVAL if settling.since is None else 0.0
                try:
                    snapshot = await watch.poll(after=interval, retry_timeout=RETRY_TIMEOUT, only_changes_for=quiet)
                except SynapseLivyError as error:  # the statement's own poll says what is to be done about it
                    self.logger().info("%s.", error.event)
                    await asyncio.sleep(interval)
                    continue
                if settling.has_ended(snapshot.record):
                    return snapshot
                if settling.since is not None:
                    interval = min(interval, SETTLE_INTERVAL)
                await self._show_links(snapshot.record, watch, is_over=False)
                if settling.since is None:
                    await self._keep_alive(watch)

    async def _keep_alive(self, watch: Watch[Any]) -> None:
        """Begin the session's idle timeout anew, every few minutes, once for all of its statements."""
        if not watch.claim(KEEP_ALIVE_INTERVAL):
            return
        try:
            await watch.send(SPARK_SESSION.reset_timeout)
        except SynapseLivyError as error:
            self.logger().info("The session's idle timeout could not be reset: %s.", error.event)

    async def _show_links(self, record: Any, watch: Watch[Any], *, is_over: bool) -> None:
        if isinstance(record, SparkSession):  # a statement has no links of its own
            await super()._show_links(record, watch, is_over=is_over)

    def _note(self, record: Any) -> None:
        self._has_begun = self._has_begun or record.has_begun

    async def _log_what_goes_on(self, record: Any) -> None:
        """Log that the session stays busy, if the code could not be interrupted."""
        self._note(record)
        session = await self._read_session() if record.may_run_on and self._has_begun else None
        if session and session.record.phase == "busy":
            self.log.warning(STAYS_BUSY, self.resource.name(*self._ids()))

    def _xcom(self, record: Any) -> dict[str, Any]:
        log_printed(record.text, self.log)
        return fields_for_xcom(record.to_dict(), self.output_limit, self.log)

    def _fields(self, record: Any) -> dict[str, Any]:
        """Return proof of the end, and the error: neither code nor what was printed, since Airflow logs the event."""
        fields = record.without_output().to_dict()
        kept = {name: fields[name] for name in ("id", "state", "output", "started", "completed")}
        output = {name: value for name, value in (kept["output"] or {}).items() if value is not None}
        return kept | {"output": output or None}


async def _stop(task: asyncio.Future[Any]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError, Exception):
        await task
