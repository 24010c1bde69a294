"""The sensor that waits for a Spark session of Azure Synapse."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    BaseSensorOperator,
    PokeReturnValue,
    conf,
)

from airflow_provider_synapse_livy.airflow_compat import (
    AirflowRescheduleException,
    first_poke_time,
    is_deferral_timeout,
    recall,
    remember,
)
from airflow_provider_synapse_livy.api import SparkSessionAnswer, validate_session_id
from airflow_provider_synapse_livy.exceptions import (
    SparkSessionFailedError,
    SparkSessionTimeoutError,
    SynapseLivyAnswerError,
)
from airflow_provider_synapse_livy.hooks.synapse_livy import SynapseLivyHook
from airflow_provider_synapse_livy.triggers.spark_session import SynapseSparkSessionTrigger, read_event
from airflow_provider_synapse_livy.waiting import (
    Verdict,
    Wait,
    WaitRules,
    describe_failure,
    describe_timeout,
    judge,
)

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

__all__ = ["SynapseSparkSessionSensor"]

#: Where Airflow keeps what a task returns. Its own constant would load the metadata database's models.
_RETURN_VALUE = "return_value"

#: How much longer than the sensor's own timeout Airflow may let the trigger live: a backstop, in case it hangs.
_BACKSTOP = timedelta(minutes=5)


class SynapseSparkSessionSensor(BaseSensorOperator):
    """
    Wait for a Livy Spark session of Azure Synapse: for a state such as ``idle``, or for its end.

    The outcome is the same in poke, reschedule and deferrable mode. The session is returned, and so in XCom, as a
    dict under the names of the documentation page; it is there as well when the task fails.

    With ``target_states`` the sensor succeeds as soon as the session is in one of them, and fails if it ends
    instead. Without, it waits for the end, which is a success if the result is one of ``accepted_results``. Note
    that sessions hardly ever end as ``Succeeded``: they are cancelled, or idle out.

    The sensor never cancels the session.

    Source: `Spark Session - Get Spark Session
    <https://learn.microsoft.com/rest/api/synapse/data-plane/spark-session/get-spark-session>`__

    :param session_id: the session's id in the pool, from 0 up (templated).
    :param spark_pool_name: the Spark pool; None for the connection's (templated).
    :param target_states: the Livy states to wait for, such as ``{"idle"}``; None to wait for the end (templated).
    :param accepted_results: in a wait for the end, with which results it is a success: any of ``Succeeded``,
        ``Failed`` and ``Cancelled`` (templated).
    :param accept_idle_timeout: in a wait for the end, whether it is a success as well if Synapse ended the session
        because nothing ran on it.
    :param livy_api_version: the version of the Livy API; None for the connection's (templated).
    :param synapse_livy_conn_id: the id of the Airflow connection to the workspace (templated).
    :param deferrable: whether to wait in the triggerer, without a worker's slot; Airflow's
        ``[operators] default_deferrable`` by default.
    :raises SparkSessionFailedError: if the session ended in another way.
    :raises SparkSessionTimeoutError: if the sensor's ``timeout`` passed first.
    :raises SynapseLivyError: if the session can't be read. The kinds are in
        :mod:`airflow_provider_synapse_livy.exceptions`.
    """

    template_fields: Sequence[str] = (
        "session_id",
        "spark_pool_name",
        "target_states",
        "accepted_results",
        "livy_api_version",
        "synapse_livy_conn_id",
    )

    def __init__(
        self,
        *,
        session_id: int | str,
        spark_pool_name: str | None = None,
        target_states: Collection[str] | None = None,
        accepted_results: Collection[str] = ("Succeeded",),
        accept_idle_timeout: bool = False,
        livy_api_version: str | None = None,
        synapse_livy_conn_id: str = SynapseLivyHook.default_conn_name,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.session_id = session_id
        self.spark_pool_name = spark_pool_name
        self.target_states = target_states
        self.accepted_results = accepted_results
        self.accept_idle_timeout = accept_idle_timeout
        self.livy_api_version = livy_api_version
        self.synapse_livy_conn_id = synapse_livy_conn_id
        self.deferrable = deferrable

    def execute(self, context: Context) -> dict[str, Any]:
        """
        Wait for the session, here or in the triggerer.

        :param context: Airflow's context of the task.
        """
        with self._one_outcome():
            wait = self._begin(context)
            while (verdict := self._look(wait)) is Verdict.WAIT:
                self._hand_over(context, wait)
                time.sleep(wait.pause)
            return self._conclude(context, verdict, wait.seen)

    def poke(self, context: Context) -> PokeReturnValue:
        """
        Look at the session once.

        :param context: Airflow's context of the task.
        """
        wait = self._begin(context)
        verdict = self._look(wait)
        if verdict is Verdict.WAIT:
            return PokeReturnValue(is_done=False)
        return PokeReturnValue(is_done=True, xcom_value=self._conclude(context, verdict, wait.seen))

    def execute_complete(self, context: Context, event: Any = None) -> dict[str, Any]:
        """
        End the task as the trigger's event says.

        :param context: Airflow's context of the task.
        :param event: the event.
        """
        verdict, answer = read_event(event)
        claimed = verdict in (Verdict.SUCCESS, Verdict.FAILURE)
        if claimed and (answer is None or judge(answer.session, self._rules, settled=True) is not verdict):
            raise SynapseLivyAnswerError(f"The trigger's event says {verdict}, but its session does not: {event!r}")
        return self._conclude(context, verdict, answer)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """
        Go on after a deferral, with the same rule of outcomes as :meth:`execute`.

        The rule of ``BaseSensorOperator`` is passed over: it differs between Airflow's versions, and lets
        ``soft_fail`` hide errors that it does not hide in the other modes.

        :param next_method: the method to go on with.
        :param next_kwargs: what to call it with.
        :param context: Airflow's context of the task.
        """
        with self._one_outcome():
            try:
                return super(BaseSensorOperator, self).resume_execution(next_method, next_kwargs, context)
            except Exception as error:
                if not is_deferral_timeout(error):
                    raise
                self.log.warning("The triggerer has not reported in time: is one running? Looking for the last time.")
                return self._last_look(context)

    @contextmanager
    def _one_outcome(self) -> Iterator[None]:
        """Make of an error the same state of the task in every mode."""
        try:
            yield
        except (AirflowSkipException, AirflowRescheduleException):
            raise
        except (AirflowSensorTimeout, AirflowFailException) as error:
            self._raise_or_skip(error, skip=self.soft_fail or self.never_fail)
        except Exception as error:  # noqa: BLE001  (never_fail forgives everything)
            self._raise_or_skip(error, skip=self.never_fail)

    def _raise_or_skip(self, error: Exception, *, skip: bool) -> NoReturn:
        if skip:
            option = "soft_fail" if self.soft_fail else "never_fail"
            raise AirflowSkipException(f"Skipped, because {option} is set: {error}") from error
        raise error

    @property
    def _rules(self) -> WaitRules:
        return WaitRules.checked(self.target_states, self.accepted_results, self.accept_idle_timeout)

    @cached_property
    def _hook(self) -> SynapseLivyHook:
        return SynapseLivyHook(
            self.synapse_livy_conn_id,
            spark_pool_name=self.spark_pool_name,
            livy_api_version=self.livy_api_version,
        )

    def _begin(self, context: Context) -> Wait:
        """Begin the wait, or go on with the one that a rescheduled task began earlier."""
        earlier = first_poke_time(context) if self.reschedule else None
        trail = recall(context) if earlier else None
        return self._new_wait(earlier or time.time(), trail or ())

    def _last_look(self, context: Context) -> dict[str, Any]:
        """End a wait whose time is over as its last look would have."""
        wait = self._new_wait(began=time.time() - self.timeout)
        return self._conclude(context, self._look(wait), wait.seen)

    def _new_wait(self, began: float, trail: Iterable[tuple[str, float]] = ()) -> Wait:
        validate_session_id(self.session_id)
        return Wait(
            self._rules,
            began=began,
            timeout=self.timeout,
            poke_interval=self.poke_interval,
            exponential_backoff=self.exponential_backoff,
            max_wait=self.max_wait.total_seconds() if self.max_wait else None,
            silent_fail=self.silent_fail,
            trail=[(phase, since) for phase, since in trail],
            log=self.log,
        )

    def _look(self, wait: Wait) -> Verdict:
        answer = None
        with wait.forgiving():
            answer = self._hook.read(self.session_id, patience=wait.patience(time.time()))
        return wait.observe(answer, time.time())

    def _hand_over(self, context: Context, wait: Wait) -> None:
        """Leave the worker, if the mode says so; but not for the seconds until a session's result is there."""
        if wait.is_settling:
            return
        if self.deferrable:
            self._defer(wait)
        if self.reschedule:
            remember(context, [list(step) for step in wait.trail])
            raise AirflowRescheduleException(datetime.now(UTC) + timedelta(seconds=wait.pause))

    def _defer(self, wait: Wait) -> None:
        self.defer(
            trigger=SynapseSparkSessionTrigger(
                session_id=validate_session_id(self.session_id),
                synapse_livy_conn_id=self.synapse_livy_conn_id,
                spark_pool_name=self.spark_pool_name,
                livy_api_version=self.livy_api_version,
                target_states=None if wait.rules.target_states is None else sorted(wait.rules.target_states),
                accepted_results=sorted(wait.rules.accepted_results),
                accept_idle_timeout=self.accept_idle_timeout,
                deadline=wait.deadline,
                timeout=wait.timeout,
                poke_interval=wait.poke_interval,
                exponential_backoff=wait.exponential_backoff,
                max_wait=wait.max_wait,
                silent_fail=self.silent_fail,
                trail=wait.trail,
            ),
            method_name=self.execute_complete.__name__,
            timeout=timedelta(seconds=wait.deadline - time.time()) + _BACKSTOP,
        )

    def _conclude(self, context: Context, verdict: Verdict, answer: SparkSessionAnswer | None) -> dict[str, Any]:
        """End the task: with the session, or with the one error that fits, and the session in XCom all the same."""
        session, activity_id = answer or (None, None)
        if verdict is Verdict.SUCCESS and session:
            return session.to_dict()
        task_instance = context.get("ti")  # which unit tests of DAGs leave out
        if session and task_instance and self.do_xcom_push:
            task_instance.xcom_push(key=_RETURN_VALUE, value=session.to_dict())
        if verdict is Verdict.FAILURE and answer:
            raise SparkSessionFailedError(
                describe_failure(answer, self._rules), session=session, activity_id=activity_id
            )
        raise SparkSessionTimeoutError(
            describe_timeout(answer, self._rules, self.timeout), session=session, activity_id=activity_id
        )
