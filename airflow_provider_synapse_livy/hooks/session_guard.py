"""What becomes of a wait for a statement when its session ends, or can't be read any more."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from airflow_provider_synapse_livy.exceptions import SparkStatementLostError
from airflow_provider_synapse_livy.livy.errors import SynapseLivyError
from airflow_provider_synapse_livy.livy.responses import Snapshot
from airflow_provider_synapse_livy.waiting.goals import Verdict
from airflow_provider_synapse_livy.waiting.lost_statement import describe_loss, is_lost, may_mean_loss
from airflow_provider_synapse_livy.waiting.wait import SETTLE_TIMEOUT

__all__ = ["SessionGuard", "Settling"]


class Settling:
    """
    Whether a session has ended for good: with its final result, or without it when that has not come in time.

    :param timeout: for how many seconds to wait for it.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self.since: float | None = None

    def has_ended(self, session: Any) -> bool:
        """
        Return whether the session has ended, and no more is to be learnt of it.

        :param session: the session's record.
        """
        if not session.is_finished:
            self.since = None
            return False
        now = time.monotonic()
        self.since = now if self.since is None else self.since
        return not session.is_settling or now >= self.since + self._timeout


class SessionGuard:
    """
    Polls a statement as long as its session lives, and says what is known when that has ended.

    :param read_session: returns a snapshot of the session.
    :param name: the statement's name in messages.
    :param log: what is told of a session that can't be read.
    :param on_session: is told of each snapshot of the session.
    :param settle_timeout: for how many seconds to wait for the final result of a session that has ended.
    """

    def __init__(
        self,
        read_session: Callable[[], Snapshot[Any]],
        name: str,
        log: Any,
        on_session: Callable[[Snapshot[Any]], None] = lambda _: None,
        settle_timeout: float = SETTLE_TIMEOUT,
    ) -> None:
        self._read_session = read_session
        self._name = name
        self._log = log
        self._on_session = on_session
        self._settling = Settling(settle_timeout)

    def poll(self, poll: Callable[[], Verdict]) -> Verdict:
        """
        Return the verdict of a poll, if the session lives or the statement had ended before it.

        :param poll: polls the statement.
        :raises SparkStatementLostError: if what came of the code can't be known.
        :raises SynapseLivyError: that of the poll.
        """
        try:
            verdict = poll()
        except SynapseLivyError as error:
            if may_mean_loss(error):
                self._raise_if_lost(error)
            raise
        return self._last_word(poll) if verdict is Verdict.PENDING else verdict

    def _last_word(self, poll: Callable[[], Verdict]) -> Verdict:
        try:
            session = self._read_session()
        except SynapseLivyError as error:  # the statement's own poll says what is to be done about it
            self._log.info("%s.", error.event)
            return Verdict.PENDING
        self._on_session(session)
        if not self._settling.has_ended(session.record):
            return Verdict.PENDING
        verdict = Verdict.PENDING
        with suppress(SynapseLivyError):
            verdict = poll()
        if verdict is Verdict.PENDING:
            raise SparkStatementLostError(describe_loss(self._name, session), activity_id=session.activity_id)
        return verdict

    @property
    def is_settling(self) -> bool:
        """Whether the session has ended, and its final result alone is waited for."""
        return self._settling.since is not None

    def _raise_if_lost(self, error: SynapseLivyError) -> None:
        session = None
        with suppress(SynapseLivyError):
            session = self._read_session()
        if is_lost(error, session):
            activity_id = session.activity_id if session else error.activity_id
            raise SparkStatementLostError(describe_loss(self._name, session, error), activity_id=activity_id)
