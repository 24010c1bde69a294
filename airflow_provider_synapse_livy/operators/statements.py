"""What an operator and a sensor that wait for a statement share: the session it runs in, and what is told of it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from airflow_provider_synapse_livy.exceptions import SparkStatementLostError, SparkStatementTimeoutError
from airflow_provider_synapse_livy.hooks.session_guard import SessionGuard
from airflow_provider_synapse_livy.livy.errors import SynapseLivyError
from airflow_provider_synapse_livy.livy.outputs import fields_for_xcom, log_printed
from airflow_provider_synapse_livy.livy.resources import SPARK_SESSION, validated_id
from airflow_provider_synapse_livy.livy.responses import Snapshot
from airflow_provider_synapse_livy.livy.statements import count_ahead
from airflow_provider_synapse_livy.models import LivyStatementState, SparkStatement
from airflow_provider_synapse_livy.operators.waiting import WaitingMixin
from airflow_provider_synapse_livy.triggers.spark_statement import SynapseSparkStatementTrigger
from airflow_provider_synapse_livy.waiting.goals import Verdict
from airflow_provider_synapse_livy.waiting.keep_alive import is_keep_alive_due
from airflow_provider_synapse_livy.waiting.lost_statement import describe_lost_output, may_mean_loss
from airflow_provider_synapse_livy.waiting.messages import describe_failure
from airflow_provider_synapse_livy.waiting.wait import SETTLE_INTERVAL, Wait

if TYPE_CHECKING:
    from airflow_provider_synapse_livy.airflow_compat.sdk import Context

__all__ = ["StatementMixin"]


class StatementMixin(WaitingMixin):
    """Waits for a statement, as long as its session lives."""

    trigger_class = SynapseSparkStatementTrigger
    timeout_error = SparkStatementTimeoutError

    session_id: Any
    output_limit: int
    #: Whether the log has the statement's place in the session's queue.
    _has_logged_queue = False
    #: What looks after the session in a wait, and that wait.
    _guard: SessionGuard | None = None
    _guarded: Wait[Any] | None = None
    #: When this process has polled last, in seconds since the epoch.
    _polled_at: float | None = None

    def _poll(self, context: Context, wait: Wait[Any]) -> Verdict:
        poll = super()._poll
        if self._guard is None or self._guarded is not wait:
            self._guard, self._guarded = self._new_guard(context, wait), wait
            # A run before this one has logged it, where the task remembers what that has seen.
            self._has_logged_queue |= any(phase.phase == LivyStatementState.WAITING for phase in wait.history)
        verdict = self._guard.poll(lambda: poll(context, wait))
        if verdict is Verdict.PENDING and self._guard.is_settling:
            wait.next_delay = min(wait.next_delay, SETTLE_INTERVAL)
        if verdict is Verdict.PENDING and wait.last_snapshot:
            self._log_queue(wait.last_snapshot.record)
            self._keep_alive(wait)
        return verdict

    def _leave_worker(self, context: Context, wait: Wait[Any]) -> None:
        """Leave the worker, but for the seconds until the final result of a session that has ended is there."""
        if not (self._guard and self._guard.is_settling):
            super()._leave_worker(context, wait)

    def _new_guard(self, context: Context, wait: Wait[Any]) -> SessionGuard:
        show = super()._show_links
        return SessionGuard(
            lambda: self._read_session(wait),
            self._subject,
            self.log,
            lambda session: show(context, self._hook.links(session.record)),
            wait.options.settle_timeout,
        )

    def _log_queue(self, statement: SparkStatement) -> None:
        """Log once how many others the statement waits for, if it does."""
        if self._has_logged_queue or statement.state != LivyStatementState.WAITING:
            return
        self._has_logged_queue = True
        with suppress(SynapseLivyError):
            if ahead := count_ahead(self._hook.get_spark_statements(self.session_id), statement.id):
                self.log.info("%s waits behind %d %s.", self._subject, ahead, "other" if ahead == 1 else "others")

    def _keep_alive(self, wait: Wait[Any]) -> None:
        """Begin the session's idle timeout anew, every few minutes; a failure of that does no harm."""
        now = wait.now()
        last, self._polled_at = self._polled_at or now - wait.next_delay, now
        if not is_keep_alive_due(now - wait.started_at, now - last):
            return
        try:
            self._hook.reset_spark_session_timeout(self.session_id)
        except SynapseLivyError as error:
            self.log.info("The session's idle timeout could not be reset: %s.", error.event)

    def _read_session(self, wait: Wait[Any]) -> Snapshot[Any]:
        now = wait.now()
        return self._hook.read(
            SPARK_SESSION,
            validated_id(self.session_id, SPARK_SESSION.noun),
            retry_timeout=wait.retry_timeout(now),
            longest_announced=wait.time_left(now),
        )

    def _show_links(self, context: Context, links: Mapping[str, str]) -> None:
        """Show the session's links; a statement has none of its own."""
        if links:
            super()._show_links(context, links)

    def _show_session(self, context: Context) -> None:
        """Show the session's links if no poll has, since the code had ended by the first one."""
        if not self._links:
            with suppress(SynapseLivyError):
                session = self._hook.read(
                    SPARK_SESSION, validated_id(self.session_id, SPARK_SESSION.noun), retry_timeout=0.0
                )
                self._show_links(context, self._hook.links(session.record))

    def _finish(self, context: Context, verdict: Verdict, snapshot: Snapshot[Any] | None) -> dict[str, Any]:
        self._show_session(context)
        snapshot = self._with_output(snapshot)
        if snapshot and verdict is not Verdict.SUCCESS:  # it may have ended, or its output come, since
            now = self._goal.evaluate(snapshot.record, settled=verdict is Verdict.FAILURE)
            verdict = verdict if now is Verdict.PENDING else now
        if snapshot:
            log_printed(self._printed(snapshot.record), self.log)
        if verdict is Verdict.FAILURE and snapshot and snapshot.record.is_settling:  # it has run, but how is not known
            self._push_record(context, snapshot)
            raise SparkStatementLostError(describe_failure(snapshot, self._goal), record=snapshot.record)
        return super()._finish(context, verdict, snapshot)

    def _printed(self, record: SparkStatement) -> str:
        """Return what of the output goes to the log."""
        return record.text

    def _with_output(self, snapshot: Snapshot[Any] | None) -> Snapshot[Any] | None:
        """Return the statement with its output, which the event of a trigger leaves out, since Airflow logs that."""
        if snapshot is None or snapshot.record.code is not None:
            return snapshot
        try:
            return self._hook.read(self.trigger_class.resource, *self._ids())
        except SynapseLivyError as error:
            if snapshot.record.has_succeeded:
                self._miss_output(error)
            return snapshot

    def _miss_output(self, error: SynapseLivyError) -> None:
        """Raise that the output of code that ran is lost, or log it if nobody gets it anyway."""
        if not self.do_xcom_push:
            self.log.warning("The output is lost: %s.", error.event)
            return
        if not may_mean_loss(error):
            raise error  # a retry finds the code, and reads it
        raise SparkStatementLostError(describe_lost_output(self._subject, error), activity_id=error.activity_id)

    def _trigger_kwargs(self) -> dict[str, Any]:
        return super()._trigger_kwargs() | {"output_limit": self.output_limit}

    def _fields(self, record: Any) -> dict[str, Any]:
        return fields_for_xcom(record.to_dict(), self.output_limit, self.log)
