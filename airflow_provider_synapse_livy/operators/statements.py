"""What an operator and a sensor that wait for a statement share: the session it runs in, and what is told of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from airflow_provider_synapse_livy.exceptions import SparkStatementLostError, SparkStatementTimeoutError
from airflow_provider_synapse_livy.livy.errors import SparkStatementNotFoundError, SynapseLivyError
from airflow_provider_synapse_livy.livy.resources import SPARK_SESSION, validated_id
from airflow_provider_synapse_livy.livy.responses import Snapshot
from airflow_provider_synapse_livy.operators.waiting import WaitingMixin
from airflow_provider_synapse_livy.triggers.spark_statement import SynapseSparkStatementTrigger
from airflow_provider_synapse_livy.waiting.goals import Verdict
from airflow_provider_synapse_livy.waiting.lost_statement import describe_loss, may_mean_loss
from airflow_provider_synapse_livy.waiting.wait import Wait

if TYPE_CHECKING:
    from airflow_provider_synapse_livy.airflow_compat.sdk import Context

__all__ = ["OUTPUT_LIMIT", "StatementMixin", "bounded"]

#: How many characters of a statement's output go to XCom by default.
OUTPUT_LIMIT = 48_000

#: How many characters of what the code has printed go to the task's log.
_LOG_LIMIT = 10_000


class StatementMixin(WaitingMixin):
    """Waits for a statement, as long as its session lives."""

    trigger_class = SynapseSparkStatementTrigger
    timeout_error = SparkStatementTimeoutError

    session_id: Any
    output_limit: int

    def _poll(self, context: Context, wait: Wait[Any]) -> Verdict:
        try:
            verdict = super()._poll(context, wait)
        except SynapseLivyError as error:
            if may_mean_loss(error):
                self._raise_if_lost(error)
            raise
        if verdict is Verdict.PENDING:
            session = self._read_session()
            super()._show_links(context, self._hook.links(session.record))
            if session.record.is_finished and not session.record.is_settling:
                return self._last_word(context, wait, session)
        return verdict

    def _last_word(self, context: Context, wait: Wait[Any], session: Snapshot[Any]) -> Verdict:
        """Return the verdict if the statement had ended before its session did, or raise that it is lost."""
        verdict = Verdict.PENDING
        with suppress(SynapseLivyError):
            verdict = super()._poll(context, wait)
        if verdict is Verdict.PENDING:
            raise SparkStatementLostError(describe_loss(self._subject, session), activity_id=session.activity_id)
        return verdict

    def _raise_if_lost(self, error: SynapseLivyError) -> None:
        session = None
        with suppress(SynapseLivyError):
            session = self._read_session()
        if session and session.record.is_finished:
            raise SparkStatementLostError(describe_loss(self._subject, session), activity_id=session.activity_id)
        if isinstance(error, SparkStatementNotFoundError):
            raise SparkStatementLostError(describe_loss(self._subject, None), activity_id=error.activity_id)

    def _read_session(self) -> Snapshot[Any]:
        return self._hook.read(SPARK_SESSION, validated_id(self.session_id, SPARK_SESSION.noun))

    def _show_links(self, context: Context, links: Mapping[str, str]) -> None:
        """Show the session's links; a statement has none of its own."""
        if links:
            super()._show_links(context, links)

    def _finish(self, context: Context, verdict: Verdict, snapshot: Snapshot[Any] | None) -> dict[str, Any]:
        snapshot = self._with_output(snapshot)
        if snapshot and (text := snapshot.record.text):
            self.log.info("The code has printed:\n%s", _cut(text, _LOG_LIMIT))
        return super()._finish(context, verdict, snapshot)

    def _with_output(self, snapshot: Snapshot[Any] | None) -> Snapshot[Any] | None:
        """Return the statement with its output, which the event of a trigger leaves out, since Airflow logs that."""
        if snapshot is None or snapshot.record.code is not None:
            return snapshot
        try:
            return self._hook.read(self.trigger_class.resource, *self._ids())
        except SynapseLivyError as error:
            self.log.warning("The output is lost: %s.", error.event)
            return snapshot

    def _fields(self, record: Any) -> dict[str, Any]:
        fields, is_cut = bounded(record.to_dict(), self.output_limit)
        if is_cut:
            self.log.warning("The output is cut to %s characters (output_limit).", self.output_limit)
        return fields


def bounded(fields: dict[str, Any], limit: int) -> tuple[dict[str, Any], bool]:
    """
    Return a statement's dict with an output of a bounded length, and whether that was cut.

    Text keeps its beginning. What is no text can't be cut, and is left out where it is too long.

    :param fields: the dict, under the documented names.
    :param limit: how many characters the output may have.
    """
    output = fields.get("output")
    data = output.get("data") if isinstance(output, dict) else None
    if not isinstance(output, dict) or not isinstance(data, dict) or sum(map(_length, data.values())) <= limit:
        return fields, False
    kept: dict[str, Any] = {}
    for kind, value in data.items():
        if isinstance(value, str):
            kept[kind] = _cut(value, max(0, limit))
            limit -= len(kept[kind])
        elif _length(value) <= limit:
            kept[kind] = value
            limit -= _length(value)
    return {**fields, "output": {**output, "data": kept}}, True


def _length(value: Any) -> int:
    return len(value) if isinstance(value, str) else len(json.dumps(value))


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}\n... ({len(text) - limit} more characters)"
