"""The hook's methods for code that runs in a session."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from airflow_provider_synapse_livy.exceptions import (
    SparkStatementFailedError,
    SparkStatementLostError,
    SparkStatementTimeoutError,
)
from airflow_provider_synapse_livy.hooks.session_guard import SessionGuard
from airflow_provider_synapse_livy.livy.errors import SynapseLivyConfigurationError, error_message
from airflow_provider_synapse_livy.livy.kinds import livy_kind
from airflow_provider_synapse_livy.livy.resources import SPARK_SESSION, SPARK_STATEMENT, Resource, validated_id
from airflow_provider_synapse_livy.livy.responses import one_line
from airflow_provider_synapse_livy.models import SparkStatement
from airflow_provider_synapse_livy.waiting.goals import Verdict
from airflow_provider_synapse_livy.waiting.messages import describe_failure, describe_timeout
from airflow_provider_synapse_livy.waiting.statement_goal import StatementGoal
from airflow_provider_synapse_livy.waiting.wait import Wait, WaitOptions

__all__ = ["StatementsMixin"]


class StatementsMixin:
    """What a hook does with the statements of a session."""

    log: Any
    read: Any
    cancel: Any
    _send: Any

    def create_spark_statement(self, session_id: object, code: str, kind: str = "pyspark") -> SparkStatement:
        """
        Run code in a session, and return its statement as it is then: waiting for its turn.

        A refusal that may pass is retried for up to three minutes. An error whose ``may_have_been_processed`` is true
        may have started the code, so it is not sent again.

        Source: `Spark Session - Create Spark Statement
        <https://learn.microsoft.com/rest/api/synapse/data-plane/spark-session/create-spark-statement>`__

        :param session_id: the session's id in the pool: a number, digits, or its dict.
        :param code: the code.
        :param kind: its language: ``pyspark``, ``spark`` (Scala), ``sql``, ``dotnetspark``, ``csharp`` or
            ``sparkr``.
        :raises SynapseLivyError: if it is refused, or it is not known whether it was started.
        """
        parent = validated_id(session_id, SPARK_SESSION.noun)
        body = {"code": code, "kind": livy_kind(kind)}
        created = self._send((session_id,), lambda pool: SPARK_STATEMENT.create(pool, parent, body=body))
        return created.record  # type: ignore[no-any-return]

    def get_spark_statement(self, session_id: object, statement_id: object) -> SparkStatement:
        """
        Return a statement of a session, with its output if it has run.

        :param session_id: the session's id in the pool: a number, digits, or its dict.
        :param statement_id: the statement's id in the session, from 0 up.
        :raises SparkStatementNotFoundError: if there is none: a session keeps its last 100 statements.
        :raises SynapseLivyError: as for :meth:`get_spark_session`.
        """
        return self.read(SPARK_STATEMENT, session_id, statement_id).record  # type: ignore[no-any-return]

    def get_spark_statements(self, session_id: object) -> Iterator[SparkStatement]:
        """
        Return the statements that a session has kept, with their outputs.

        :param session_id: the session's id in the pool: a number, digits, or its dict.
        :raises SynapseLivyError: as for :meth:`get_spark_session`.
        """
        parent = validated_id(session_id, SPARK_SESSION.noun)
        yield from self._send((session_id,), lambda pool: SPARK_STATEMENT.page(pool, parent)).records()

    def cancel_spark_statement(self, session_id: object, statement_id: object) -> None:
        """
        Cancel a statement. Spark's jobs end at once; Python between two of them runs on, and keeps the session busy.

        :param session_id: the session's id in the pool: a number, digits, or its dict.
        :param statement_id: the statement's id in the session, from 0 up.
        :raises SynapseLivyError: as for :meth:`get_spark_session`.
        """
        self.cancel(SPARK_STATEMENT, session_id, statement_id)

    def run_spark_statement(
        self,
        session_id: object,
        code: str,
        kind: str = "pyspark",
        *,
        poll_interval: timedelta | float = 5.0,
        timeout: timedelta | float = 6 * 3600.0,
    ) -> SparkStatement:
        """
        Run code in a session, wait until it has run, and return its statement with the output.

        Code that has not run in time is left to run. ``SynapseRunSparkStatementOperator`` cancels it, and finds code
        again whose request was lost.

        :param session_id: the session's id in the pool: a number, digits, or its dict.
        :param code: the code.
        :param kind: its language, as for :meth:`create_spark_statement`.
        :param poll_interval: seconds, or how long, between two polls.
        :param timeout: seconds, or how long, to wait in all.
        :raises SparkStatementFailedError: if the code failed, or was cancelled.
        :raises SparkStatementLostError: if it can't be known whether it ran.
        :raises SparkStatementTimeoutError: if it had not run in time.
        :raises SynapseLivyError: as for :meth:`create_spark_statement`.
        """
        parent = validated_id(session_id, SPARK_SESSION.noun)
        options = WaitOptions(
            timeout=_seconds(timeout, "timeout"), poke_interval=_seconds(poll_interval, "poll_interval")
        )
        statement = self.create_spark_statement(session_id, code, kind)
        wait: Wait[Any] = Wait(StatementGoal(), options, time.time(), log=self.log)
        name = SPARK_STATEMENT.name(parent, statement.id)
        guard = SessionGuard(lambda: self._read_within(wait, SPARK_SESSION, session_id), name, self.log)
        while (verdict := guard.poll(lambda: self._observe(wait, session_id, statement.id))) is Verdict.PENDING:
            time.sleep(wait.next_delay)
        return _outcome(verdict, wait)

    def _observe(self, wait: Wait[Any], session_id: object, statement_id: int) -> Verdict:
        return wait.observe(self._read_within(wait, SPARK_STATEMENT, session_id, statement_id), wait.now())

    def _read_within(self, wait: Wait[Any], resource: Resource[Any], *ids: object) -> Any:
        now = wait.now()
        return self.read(resource, *ids, retry_timeout=wait.retry_timeout(now), longest_announced=wait.time_left(now))


def _outcome(verdict: Verdict, wait: Wait[Any]) -> SparkStatement:
    """Return the statement, or raise the one error that fits."""
    snapshot: Any = wait.last_snapshot  # there is one, since each verdict is about one
    record: SparkStatement = snapshot.record
    if verdict is Verdict.SUCCESS:
        return record
    details: dict[str, Any] = {"record": record, "activity_id": snapshot.activity_id}
    if verdict is Verdict.TIMEOUT:
        raise SparkStatementTimeoutError(
            describe_timeout(snapshot, wait.goal, "timeout", wait.options.timeout), **details
        )
    kind = SparkStatementLostError if record.is_settling else SparkStatementFailedError
    raise kind(describe_failure(snapshot, wait.goal), **details)


def _seconds(time_span: Any, parameter: str) -> float:
    """Return a time span in seconds, or raise what is wrong with it."""
    seconds = time_span.total_seconds() if isinstance(time_span, timedelta) else time_span
    if isinstance(seconds, int | float) and 0 <= seconds < math.inf:
        return float(seconds)
    event = f"{parameter}={one_line(repr(time_span), 60)} is not a number of seconds."
    raise SynapseLivyConfigurationError(error_message(event, "pass seconds, or a timedelta."))
