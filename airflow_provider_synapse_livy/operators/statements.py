"""What an operator and a sensor that wait for a statement share: the session it runs in, and what is told of it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from airflow_provider_synapse_livy.exceptions import SparkStatementTimeoutError
from airflow_provider_synapse_livy.hooks.session_guard import SessionGuard
from airflow_provider_synapse_livy.livy.errors import SynapseLivyError
from airflow_provider_synapse_livy.livy.outputs import LOG_LIMIT, bounded, shortened_text
from airflow_provider_synapse_livy.livy.resources import SPARK_SESSION, validated_id
from airflow_provider_synapse_livy.livy.responses import Snapshot
from airflow_provider_synapse_livy.livy.statements import count_ahead
from airflow_provider_synapse_livy.models import LivyStatementState, SparkStatement
from airflow_provider_synapse_livy.operators.waiting import WaitingMixin
from airflow_provider_synapse_livy.triggers.spark_statement import SynapseSparkStatementTrigger
from airflow_provider_synapse_livy.waiting.goals import Verdict
from airflow_provider_synapse_livy.waiting.keep_alive import is_keep_alive_due
from airflow_provider_synapse_livy.waiting.wait import Wait

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

    def _poll(self, context: Context, wait: Wait[Any]) -> Verdict:
        poll = super()._poll
        verdict = self._guard(context).poll(lambda: poll(context, wait))
        if verdict is Verdict.PENDING and wait.last_snapshot:
            self._log_queue(wait.last_snapshot.record)
            if is_keep_alive_due(wait.now() - wait.started_at, wait.next_delay):
                self._keep_alive()
        return verdict

    def _guard(self, context: Context) -> SessionGuard:
        show = super()._show_links
        return SessionGuard(
            self._read_session, self._subject, lambda session: show(context, self._hook.links(session.record))
        )

    def _log_queue(self, statement: SparkStatement) -> None:
        """Log once how many others the statement waits for, if it does."""
        if self._has_logged_queue or statement.state != LivyStatementState.WAITING:
            return
        self._has_logged_queue = True
        with suppress(SynapseLivyError):
            if ahead := count_ahead(self._hook.get_spark_statements(self.session_id), statement.id):
                self.log.info("%s waits behind %d %s.", self._subject, ahead, "other" if ahead == 1 else "others")

    def _keep_alive(self) -> None:
        try:
            self._hook.reset_spark_session_timeout(self.session_id)
        except SynapseLivyError as error:
            self.log.info("The session's idle timeout could not be reset: %s.", error.event)

    def _read_session(self) -> Snapshot[Any]:
        return self._hook.read(SPARK_SESSION, validated_id(self.session_id, SPARK_SESSION.noun))

    def _show_links(self, context: Context, links: Mapping[str, str]) -> None:
        """Show the session's links; a statement has none of its own."""
        if links:
            super()._show_links(context, links)

    def _finish(self, context: Context, verdict: Verdict, snapshot: Snapshot[Any] | None) -> dict[str, Any]:
        snapshot = self._with_output(snapshot)
        if snapshot and (text := self._printed(snapshot.record)):
            self.log.info("The code has printed:\n%s", shortened_text(text, LOG_LIMIT))
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
                self.log.warning("The output is lost: %s.", error.event)
            return snapshot

    def _trigger_kwargs(self) -> dict[str, Any]:
        return super()._trigger_kwargs() | {"output_limit": self.output_limit}

    def _fields(self, record: Any) -> dict[str, Any]:
        fields, is_cut = bounded(record.to_dict(), self.output_limit)
        if is_cut:
            self.log.warning("The output is cut to %s characters (output_limit).", self.output_limit)
        return fields
