"""The operator that runs code in a Spark session of Azure Synapse."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_synapse_livy.airflow_compat.sdk import AirflowFailException, AirflowSensorTimeout
from airflow_provider_synapse_livy.airflow_compat.task_state import is_first_of_life, run_started_at
from airflow_provider_synapse_livy.exceptions import (
    SparkSessionFailedError,
    SparkStatementFailedError,
    SparkStatementLostError,
    SparkStatementTimeoutError,
)
from airflow_provider_synapse_livy.links import SPARK_SESSION_LINKS
from airflow_provider_synapse_livy.livy.code_keys import key_in_code, with_key_in_code
from airflow_provider_synapse_livy.livy.errors import (
    SparkSessionNotFoundError,
    SynapseLivyConfigurationError,
    SynapseLivyError,
    SynapseLivyResponseError,
    error_message,
)
from airflow_provider_synapse_livy.livy.kinds import livy_kind
from airflow_provider_synapse_livy.livy.outputs import OUTPUT_LIMIT, checked_limit
from airflow_provider_synapse_livy.livy.resources import SPARK_SESSION, validated_id
from airflow_provider_synapse_livy.livy.responses import Page, Snapshot
from airflow_provider_synapse_livy.models import LivyStatementState, SparkStatement
from airflow_provider_synapse_livy.operators.creation import Creation
from airflow_provider_synapse_livy.operators.owning import OwningOperator
from airflow_provider_synapse_livy.operators.spark_jobs import WAIT_FIELDS, is_another
from airflow_provider_synapse_livy.operators.statements import StatementMixin
from airflow_provider_synapse_livy.operators.waiting import is_constant, seconds_until
from airflow_provider_synapse_livy.waiting.goals import Verdict
from airflow_provider_synapse_livy.waiting.lost_statement import (
    describe_forgotten,
    describe_loss,
    describe_other_session,
    describe_refusal,
    describe_unlistable,
    is_over,
    is_unlistable,
    may_mean_loss,
)
from airflow_provider_synapse_livy.waiting.messages import describe_timeout
from airflow_provider_synapse_livy.waiting.operator_goals import ReadyGoal
from airflow_provider_synapse_livy.waiting.progress import PhaseStart
from airflow_provider_synapse_livy.waiting.statement_goal import STAYS_BUSY
from airflow_provider_synapse_livy.waiting.wait import Wait

if TYPE_CHECKING:
    from airflow_provider_synapse_livy.airflow_compat.sdk import BaseOperatorLink, Context

__all__ = ["SynapseRunSparkStatementOperator"]

#: How long a request may be, in bytes: Azure's documented limit, less the comment with the key.
_MAX_BODY_BYTES = 99_000


class SynapseRunSparkStatementOperator(StatementMixin, OwningOperator):
    """
    Run code in a Livy Spark session of Azure Synapse, and return what came of it.

    The task returns the statement, a dict under the names of the documentation page, with its output, cut to
    ``output_limit``; what the code has printed is in the task's log as well. It fails with the code's error and the end
    of its traceback.

    Code is never sent twice by one try: a comment in its first lines carries a key of the task, by which a try whose
    request was lost, and each later try, finds it in the session. Code that ran is read, not run again; after a failure
    of the code, a retry runs it again. Where it can't be known whether the code ran, the task fails and is not retried.
    Where only a poll has failed, the code runs on, and the next try goes on with it.

    Source: `Spark Session - Create Spark Statement
    <https://learn.microsoft.com/rest/api/synapse/data-plane/spark-session/create-spark-statement>`__

    All parameters are templated but ``deferrable``, ``cancel_on_kill`` and ``output_limit``; ``code`` may be the path
    of a file that ends in ``.py``, ``.sql``, ``.scala`` or ``.cs``.

    :param session_id: the session's id in the pool: a number, digits, or a session's dict, such as the output of the
        task that created it, which names the pool as well.
    :param code: the code.
    :param kind: its language: ``pyspark``, ``spark`` (Scala), ``sql`` (one query), ``dotnetspark``, ``csharp`` or
        ``sparkr``.
    :param spark_pool_name: the Spark pool; None for the one that the session's dict names, or the connection's.
    :param poll_interval: seconds, or how long, between two polls.
    :param timeout: seconds, or how long, to wait until the session has taken the code and run it; then it is cancelled,
        if ``cancel_on_kill`` is set.
    :param deferrable: whether to wait in the triggerer, without a worker's slot, once the session has taken the code;
        until then the task waits on the worker. Airflow's ``[operators] default_deferrable`` by default.
    :param cancel_on_kill: whether to cancel the statement, never the session, if the task is killed, or runs out of
        time, or if a user marks or clears it while it waits. Python between two of Spark's jobs can't be interrupted.
    :param output_limit: how many characters of the output go to XCom.
    :param livy_api_version: the version of the Livy API; None for the connection's.
    :param synapse_livy_conn_id: the id of the Airflow connection to the workspace.
    :raises SparkStatementFailedError: if the code failed, or was cancelled.
    :raises SparkStatementLostError: if it can't be known whether it ran.
    :raises SparkStatementTimeoutError: if it had not run in time.
    :raises SynapseLivyError: if it can't be sent or read. The kinds are in
        :mod:`airflow_provider_synapse_livy.exceptions`.
    """

    failed_error = SparkStatementFailedError
    ends_other_lives = False

    #: The id of the statement, once it is known.
    statement_id: int | None = None

    template_fields: Sequence[str] = ("session_id", "code", "kind", *WAIT_FIELDS)
    template_ext: Sequence[str] = (".py", ".sql", ".scala", ".cs")
    template_fields_renderers: ClassVar[dict[str, str]] = {"code": "python"}
    operator_extra_links: Collection[BaseOperatorLink] = SPARK_SESSION_LINKS
    ui_color = "#fbf3d0"

    def __init__(
        self,
        *,
        session_id: Any,
        code: str,
        kind: str = "pyspark",
        poll_interval: timedelta | float = 5.0,
        timeout: timedelta | float = 6 * 3600.0,
        output_limit: int = OUTPUT_LIMIT,
        **kwargs: Any,
    ) -> None:
        super().__init__(poll_interval=poll_interval, timeout=timeout, **kwargs)
        self.session_id = session_id
        self.code = code
        self.kind = kind
        self.output_limit = checked_limit(output_limit)
        if is_constant(kind):
            livy_kind(kind)

    @property
    def _waits(self) -> bool:
        return True

    def _body(self, context: Context) -> dict[str, Any]:  # noqa: ARG002  (sessions name their task)
        if not isinstance(self.code, str) or not self.code.strip():
            raise SynapseLivyConfigurationError(error_message("code is empty.", "pass the code, or its file."))
        body = {"code": self.code, "kind": livy_kind(self.kind)}
        if len(json.dumps(body)) > _MAX_BODY_BYTES:
            fix = "put what is long in storage, or into a library of the session."
            raise SynapseLivyConfigurationError(error_message("code has more than 99 kB as JSON.", fix))
        return body

    def _key_parts(self, context: Context) -> list[object]:
        """
        Add when the run began: statements do not tell when they were sent, and a run may be deleted and made again.

        Airflow begins a run anew, and so changes that, only when a user clears or queues it as a whole.
        """
        began = run_started_at(context)
        return [*super()._key_parts(context), began and began.timestamp()]

    def _creation_with(self, key: str, context: Context) -> Creation:
        task_instance: Any = context.get("ti")
        try_number = getattr(task_instance, "try_number", 1)
        return _StatementCreation(
            self._hook,
            self.trigger_class.resource,
            key,
            run_started_at(context),
            self.log,
            parent_ids=(validated_id(self.session_id, SPARK_SESSION.noun),),
            session=self.session_id,
            try_number=try_number,
            is_first_of_life=is_first_of_life(context),
            is_last_try=try_number > (getattr(task_instance, "max_tries", 0) or 0),
            deadline=time.monotonic() + self._wait_options.timeout,
            ready_within=self._wait_options.timeout,
            interval=self._wait_options.poke_interval,
            on_session=lambda session: self._show_links(context, self._hook.links(session)),
        )

    def _new_wait(self, started_at: float, history: list[PhaseStart] | None = None) -> Wait[Any]:
        """Begin the wait before the session took the code: what that took is part of the timeout."""
        waited = self._creation.waited if isinstance(self._creation, _StatementCreation) else 0.0
        return super()._new_wait(started_at - waited, history)

    def _poll(self, context: Context, wait: Wait[Any]) -> Verdict:
        try:
            verdict = super()._poll(context, wait)
        except SynapseLivyError:
            self._is_out_of_time |= wait.time_left(wait.now()) <= 0
            raise
        if wait.last_snapshot and isinstance(self._creation, _StatementCreation):
            self._creation.note(wait.last_snapshot.record)
        return verdict

    def _is_to_end_own(self, error: Exception) -> bool:
        """Return whether to cancel the code: not for a poll that failed, after which a later try goes on with it."""
        is_out_of_time = self._is_out_of_time or isinstance(error, SparkStatementTimeoutError)
        return self.cancel_on_kill and (self._is_killed or is_out_of_time)

    def _end_own(self, creation: Creation, error: BaseException) -> None:
        """Cancel the code, unless its session has ended, or has forgotten it."""
        if not isinstance(error, SparkStatementLostError):
            super()._end_own(creation, error)

    def _leave_own(self, creation: Creation, error: Exception) -> None:
        """Log that the code still runs, if it does; note it on the error, if no later try reads its result."""
        is_known = isinstance(error, SparkStatementLostError | SparkStatementFailedError)
        if is_known or not isinstance(creation, _StatementCreation) or not (name := creation.left_running()):
            return
        is_final = isinstance(error, AirflowFailException | AirflowSensorTimeout)
        if creation.is_last_try or is_final:
            self._note_alive(name, creation, error)
        else:
            self.log.warning("%s may still run. The next try goes on with it.", name)


@dataclass
class _StatementCreation(Creation):
    """
    The creation of a statement, whose key stands in its code, with the number of the try.

    :param session: what was given as the session's id.
    :param try_number: the number of the task's try.
    :param is_first_of_life: whether no earlier try can have sent the code.
    :param is_last_try: whether Airflow does not retry the task if this try fails.
    :param ready_within: for how many seconds to wait until the session takes code.
    :param interval: seconds between two looks at a session that does not.
    :param waited: for how many seconds the session has let this try wait until it took the code.
    :param has_sent: whether this try has sent code, whatever came of it.
    :param begun: the ids of statements that were seen to run.
    :param on_session: is told of the session that does not take code.
    """

    session: Any = None
    try_number: int = 1
    is_first_of_life: bool = True
    is_last_try: bool = True
    ready_within: float = 0.0
    interval: float = 5.0
    waited: float = 0.0
    has_sent: bool = False
    begun: set[int] = field(default_factory=set)
    on_session: Callable[[Any], None] = lambda _: None

    def marked(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return {**body, "code": with_key_in_code(body["code"], body["kind"], self.key, self.try_number)}

    def key_of(self, item: Mapping[str, Any]) -> str | None:
        found = key_in_code(item.get("code"))
        return found[0] if found and found[1] <= self.try_number else None

    def find_or_create(self, body: Mapping[str, Any], *, may_exist: bool) -> Any:
        """Send the code, unless an earlier try has, or may have, so long ago that the session has forgotten it."""
        self.may_exist = may_exist
        self._raise_if_another()
        if self._is_at_stake:
            self._raise_if_forgotten()
        return super().find_or_create(body, may_exist=may_exist)

    def _raise_if_another(self) -> None:
        """Raise that the session whose dict was given is no more, if its pool was made anew and has another by now."""
        if not (isinstance(self.session, Mapping) and self.session.get("schedulerInfo")):
            return
        try:
            session = self.hook.read(SPARK_SESSION, *self.parent_ids)
        except SparkSessionNotFoundError:
            if self._is_at_stake:
                self._raise_if_ended()
            raise
        if is_another(session.record, self.session):
            kind = SparkStatementLostError if self._is_at_stake else SparkSessionNotFoundError
            raise kind(describe_other_session(session, may_have_run=self._is_at_stake))

    def take_up(self) -> None:
        """Go on with what an earlier run of this try has sent."""
        self.has_sent = True
        super().take_up()

    @property
    def _is_at_stake(self) -> bool:
        """Whether this life of the task may have sent code that is not found."""
        return self.may_exist and (self.has_sent or not self.is_first_of_life)

    def _pages(self) -> Iterator[Page[Any]]:
        """Return the session's statements; raise that code is lost if they went with their session."""
        try:
            yield from super()._pages()
        except SynapseLivyError as error:
            if self._is_at_stake and (may_mean_loss(error) or is_unlistable(error)):
                self._raise_if_ended(error)
            raise

    def _raise_if_ended(self, error: SynapseLivyError | None = None) -> None:
        """
        Raise that what came of the code can't be known, if its session has ended or is gone.

        :param error: why its statements can't be listed, if they can't. If it can be read, that may last.
        """
        session = None
        try:
            session = self.hook.read(SPARK_SESSION, *self.parent_ids)
        except SparkSessionNotFoundError:
            pass
        except SynapseLivyError:
            return
        if session is None or is_over(session.record):
            name = f"Code that this task may have sent to {SPARK_SESSION.name(*self.parent_ids)}"
            raise SparkStatementLostError(describe_loss(name, session))
        if error and is_unlistable(error):
            words = describe_unlistable(SPARK_SESSION.name(*self.parent_ids), error)
            raise SparkStatementLostError(words, activity_id=error.activity_id)

    def left_running(self) -> str:
        """Return the name of the code that this task has sent, and that may still run; empty if there is none."""
        if self.own_id is None:
            name = SPARK_SESSION.name(*self.parent_ids)
            return f"Code that this task may have sent to {name}" if self._is_at_stake else ""
        try:
            record = self.hook.read(self.resource, *self.parent_ids, self.own_id, retry_timeout=0.0).record
        except self.resource.not_found:
            return ""
        except SynapseLivyError:
            return self.name(self.own_id)
        return "" if record.is_finished else self.name(self.own_id)

    def _search(self, passed_over: Collection[int] = ()) -> list[Any]:
        """Return the statements with this task's key, but for what had succeeded before an earlier try failed."""
        found = super()._search()
        last_failure = max((record.id for record in found if self._has_failed_before(record)), default=0)
        kept = [record for record in found if not record.has_succeeded or record.id >= last_failure]
        return [record for record in kept if record.id not in passed_over]

    def _has_failed_before(self, statement: SparkStatement) -> bool:
        """Return whether code has ended with an error of its own, so that an earlier try has failed."""
        mark = key_in_code(statement.code)
        is_cancelled = statement.state == LivyStatementState.CANCELLED
        has_failed = statement.is_finished and not (statement.has_succeeded or statement.is_settling or is_cancelled)
        return has_failed and mark is not None and mark[1] < self.try_number

    def _raise_if_forgotten(self) -> None:
        items = [item for page in self._pages() for item in page.items.values()]
        first = min((item["id"] for item in items), default=0)
        if first > 0 and not any(self.key_of(item) == self.key for item in items):
            raise SparkStatementLostError(describe_forgotten(SPARK_SESSION.name(*self.parent_ids), first))

    def send(self, body: Mapping[str, Any]) -> Any:
        """Send the code; where the session does not take it yet, which is a definite refusal, wait until it does."""
        self.has_sent = True
        began = time.monotonic() - self.waited
        while True:
            self._raise_if_stopped()
            try:
                return super().send(body)
            except SynapseLivyResponseError as refusal:
                if refusal.status != 400 or "is not running" not in str(refusal):
                    raise
                self._wait_until_ready(began + self.ready_within)
            finally:
                self.waited = time.monotonic() - began

    def _raise_if_stopped(self) -> None:
        if self.is_stopped:
            raise SynapseLivyError(error_message("No code was sent: the task was killed."))

    def _end(self, record_id: int, timeout: float) -> bool:
        """Cancel the statement, and return whether it has ended; it has if its session has."""
        try:
            has_ended = super()._end(record_id, timeout)
            may_run_on = has_ended and self._read(record_id).may_run_on and record_id in self.begun
            if may_run_on and self._is_busy():
                self.log.warning(STAYS_BUSY, self.name(record_id))
        except SynapseLivyResponseError as error:
            if not may_mean_loss(error):
                raise
            return True
        else:
            return has_ended

    def _read(self, record_id: int) -> Any:
        record = super()._read(record_id)
        self.note(record)
        return record

    def note(self, record: SparkStatement) -> None:
        """
        Note whether a statement's code has begun to run, which is not to be seen any more once it is cancelled.

        :param record: the statement.
        """
        if record.has_begun:
            self.begun.add(record.id)

    def _read_session(self, deadline: float) -> Snapshot[Any]:
        """Return the session; an error says that the code was refused before."""
        try:
            return self.hook.read(SPARK_SESSION, *self.parent_ids, longest_announced=seconds_until(deadline))
        except SynapseLivyError as error:
            error.may_have_been_processed = False
            raise

    def _is_busy(self) -> bool:
        return bool(self.hook.read(SPARK_SESSION, *self.parent_ids).record.phase == "busy")

    def _wait_until_ready(self, deadline: float) -> None:
        self._raise_if_stopped()
        session = self._read_session(deadline)
        self.on_session(session.record)
        if is_over(session.record):
            raise SparkSessionFailedError(describe_refusal(session), record=session.record)
        if time.monotonic() > deadline:
            goal = ReadyGoal(frozenset({"idle"}), frozenset({"Succeeded"}), False)
            raise SparkStatementTimeoutError(
                describe_timeout(session, goal, "timeout", self.ready_within), record=session.record
            )
        self.log.info("%s is %s, and takes no code yet.", session.record, session.record.phase)
        self.sleep(self.interval)
