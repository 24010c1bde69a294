"""The sensor that waits for a Spark session of Azure Synapse."""

from __future__ import annotations

import reprlib
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    BaseSensorOperator,
    PokeReturnValue,
    conf,
)
from airflow.triggers.base import StartTriggerArgs

from airflow_provider_synapse_livy.airflow_compat.task_state import (
    STARTS_FROM_TRIGGER,
    AirflowRescheduleException,
    delete_xcom,
    first_started_at,
    is_deferral_timeout,
    is_of_earlier_try,
    load_wait_state,
    save_start,
    save_wait_state,
    try_started_at,
)
from airflow_provider_synapse_livy.airflow_compat.trigger_templates import can_be_rendered_in_triggerer
from airflow_provider_synapse_livy.exceptions import (
    SparkSessionFailedError,
    SparkSessionTimeoutError,
    SynapseLivyResponseError,
)
from airflow_provider_synapse_livy.hooks.synapse_livy import SynapseLivyHook
from airflow_provider_synapse_livy.links import RETURN_VALUE, SPARK_SESSION_LINKS, push_links
from airflow_provider_synapse_livy.livy.responses import Snapshot, validate_session_id
from airflow_provider_synapse_livy.triggers.spark_session import (
    BACKSTOP,
    BEGIN_ON_WORKER,
    SynapseSparkSessionTrigger,
    read_event,
)
from airflow_provider_synapse_livy.waiting.wait import (
    SETTLE_TIMEOUT,
    Verdict,
    Wait,
    WaitRules,
    describe_failure,
    describe_timeout,
    judge,
)

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperatorLink, Context

__all__ = ["SynapseSparkSessionSensor"]


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
    :param settle_timeout: once the session has ended for Livy, for how many seconds, or how long, to wait for the
        result that Synapse gives it; up to 31 seconds were seen.
    :param start_from_trigger: whether to wait in the triggerer from the start, so that no worker's slot is taken until
        the wait ends. Needs Airflow 3.3; before, for mapped tasks, for any but a first try, and for templates that the
        triggerer renders otherwise than a worker, the task defers from a worker, and its log says why.
    :param end_from_trigger: whether to end the task in the triggerer if it succeeds, so that no worker's slot is taken
        at the end either. Needs Airflow 3.3, and a task without what Airflow passes over then: callbacks, hooks,
        outlets and ``multiple_outputs``.
    :raises SparkSessionFailedError: if the session ended in another way.
    :raises SparkSessionTimeoutError: if the sensor's ``timeout`` passed first.
    :raises SynapseLivyError: if the session can't be read. The kinds are in
        :mod:`airflow_provider_synapse_livy.exceptions`.
    """

    #: Where the session was last known to be found in a browser.
    _links: Mapping[str, str] = MappingProxyType({})

    template_fields: Sequence[str] = (
        "session_id",
        "spark_pool_name",
        "target_states",
        "accepted_results",
        "livy_api_version",
        "synapse_livy_conn_id",
    )

    operator_extra_links: Collection[BaseOperatorLink] = SPARK_SESSION_LINKS

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
        settle_timeout: timedelta | float = SETTLE_TIMEOUT,
        start_from_trigger: bool = False,
        end_from_trigger: bool = False,
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
        self.deferrable = deferrable or start_from_trigger
        self.settle_timeout = settle_timeout
        self.end_from_trigger = end_from_trigger
        self._why_not_from_trigger: str | None = None
        if start_from_trigger:
            self._ask_to_start_from_trigger()

    def execute(self, context: Context) -> dict[str, Any]:
        """
        Wait for the session, here or in the triggerer.

        :param context: Airflow's context of the task.
        """
        with self._one_outcome(context):
            self._tell_obstacles()
            return self._wait(context)

    def poke(self, context: Context) -> PokeReturnValue:
        """
        Look at the session once.

        :param context: Airflow's context of the task.
        """
        wait = self._new_wait(time.time())
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
        if event == BEGIN_ON_WORKER or is_of_earlier_try(event, context):
            self.log.info("The wait begins on a worker.")
            delete_xcom(context, RETURN_VALUE)
            return self._wait(context)
        verdict, answer, self._links = read_event(event)
        if not self._is_proved(verdict, answer):
            raise SynapseLivyResponseError(
                f"The trigger's event says {verdict}, but its session does not: {reprlib.repr(event)}"
            )
        return self._conclude(context, verdict, answer)

    def _is_proved(self, verdict: Verdict, answer: Snapshot | None) -> bool:
        """See whether an event's session is the one that was waited for, and where the event says it is."""
        if answer is None:
            return verdict is Verdict.TIMEOUT
        if answer.session.id != validate_session_id(self.session_id):
            return False
        return verdict is Verdict.TIMEOUT or judge(answer.session, self._rules, settled=True) is verdict

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """
        Go on after a deferral, with the same rule of outcomes as :meth:`execute`.

        The rule of ``BaseSensorOperator`` is passed over: it differs between Airflow's versions, and lets
        ``soft_fail`` hide errors that it does not hide in the other modes.

        :param next_method: the method to go on with.
        :param next_kwargs: what to call it with.
        :param context: Airflow's context of the task.
        """
        with self._one_outcome(context):
            if self.start_from_trigger and self.retries:
                save_start(context)
            try:
                return super(BaseSensorOperator, self).resume_execution(next_method, next_kwargs, context)
            except Exception as error:
                if not is_deferral_timeout(error):
                    raise
                self.log.warning(
                    "Airflow has ended the deferral, for execution_timeout or since no triggerer reported in time. "
                    "Looking for the last time."
                )
                return self._last_look(context)

    @contextmanager
    def _one_outcome(self, context: Context) -> Iterator[None]:
        """Make of an error the same state of the task in every mode, and leave the links, however it ends."""
        try:
            yield
        except (AirflowSkipException, AirflowRescheduleException):
            raise
        except (AirflowSensorTimeout, AirflowFailException) as error:
            self._raise_or_skip(error, skip=self.soft_fail or self.never_fail)
        except Exception as error:  # noqa: BLE001  (never_fail forgives everything)
            self._raise_or_skip(error, skip=self.never_fail)
        finally:
            push_links(context, self._links)

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

    def _wait(self, context: Context) -> dict[str, Any]:
        wait = self._begin(context)
        while (verdict := self._look(wait)) is Verdict.WAIT:
            self._hand_over(context, wait)
            time.sleep(wait.pause)
        return self._conclude(context, verdict, wait.seen)

    def _begin(self, context: Context) -> Wait:
        """Begin the wait, or go on with the one that an earlier run of this task began."""
        if "ti" not in context:  # as in unit tests of DAGs
            return self._new_wait(time.time())
        memory = load_wait_state(context)
        wait = self._new_wait(
            memory.get("began") or first_started_at(context) or time.time(),
            [(phase, since) for phase, since in memory.get("trail", ())],
        )
        if not memory:
            save_wait_state(context, began=wait.began, trail=wait.trail)
        return wait

    def _last_look(self, context: Context) -> dict[str, Any]:
        """End a wait that Airflow has ended, at its own limit or at the task's execution_timeout, with a last look."""
        began = load_wait_state(context).get("began") or first_started_at(context) or try_started_at(context)
        wait = self._new_wait(began or time.time() - self.timeout)
        verdict = self._look(wait)
        if verdict is Verdict.WAIT:  # time is left of the sensor's own timeout
            return self._conclude(context, Verdict.TIMEOUT, wait.seen, cut_short=True)
        return self._conclude(context, verdict, wait.seen)

    def _new_wait(self, began: float, trail: Sequence[tuple[str, float]] = ()) -> Wait:
        validate_session_id(self.session_id)
        return Wait(
            self._rules,
            began=began,
            timeout=self.timeout,
            poke_interval=self.poke_interval,
            exponential_backoff=self.exponential_backoff,
            max_wait=_seconds(self.max_wait),
            settle_timeout=_seconds(self.settle_timeout) or 0.0,
            silent_fail=self.silent_fail,
            trail=list(trail),
            log=self.log,
        )

    def _look(self, wait: Wait) -> Verdict:
        answer = None
        with wait.forgiving():
            answer = self._hook.read(self.session_id, patience=wait.patience(wait.now()))
            self._links = self._hook.links(answer.session)
        return wait.observe(answer, wait.now())

    def _hand_over(self, context: Context, wait: Wait) -> None:
        """Leave the worker, if the mode says so; but not for the seconds until a session's result is there."""
        if wait.is_settling:
            return
        if self.deferrable:
            self._defer(wait)
        if self.reschedule:
            save_wait_state(context, began=wait.began, trail=wait.trail)
            raise AirflowRescheduleException(datetime.now(UTC) + timedelta(seconds=wait.pause))

    def _defer(self, wait: Wait) -> None:
        self.defer(
            trigger=SynapseSparkSessionTrigger(
                **self._trigger_kwargs()
                | {
                    "session_id": validate_session_id(self.session_id),
                    "target_states": None if wait.rules.target_states is None else sorted(wait.rules.target_states),
                    "accepted_results": sorted(wait.rules.accepted_results),
                    "deadline": wait.deadline,
                    "trail": wait.trail,
                }
            ),
            method_name=self.execute_complete.__name__,
            timeout=timedelta(seconds=wait.deadline - wait.now()) + BACKSTOP,
        )

    def _ask_to_start_from_trigger(self) -> None:
        """Have the scheduler start the task in the triggerer, which renders the templates; or note why not."""
        obstacle = self._obstacle_to_start()
        if obstacle is None:
            self.start_from_trigger = True
            self.start_trigger_args = self._start_trigger_args()
        # If the task is started on a worker all the same, it is for a reason that only Airflow knows.
        self._why_not_from_trigger = obstacle or "Airflow starts no mapped tasks there, and none in dag.test()"

    def _start_trigger_args(self) -> StartTriggerArgs:
        return StartTriggerArgs(
            trigger_cls=f"{SynapseSparkSessionTrigger.__module__}.{SynapseSparkSessionTrigger.__qualname__}",
            trigger_kwargs=self._trigger_kwargs(),
            next_method=self.execute_complete.__name__,
            timeout=timedelta(seconds=self.timeout) + BACKSTOP,
        )

    def _trigger_kwargs(self) -> dict[str, Any]:
        """Give what the trigger needs to know of the sensor, as it stands, templates included."""
        return {
            "session_id": self.session_id,
            "synapse_livy_conn_id": self.synapse_livy_conn_id,
            "spark_pool_name": self.spark_pool_name,
            "livy_api_version": self.livy_api_version,
            "target_states": _json(self.target_states),
            "accepted_results": _json(self.accepted_results),
            "accept_idle_timeout": self.accept_idle_timeout,
            "deadline": None,
            "timeout": self.timeout,
            "poke_interval": self.poke_interval,
            "exponential_backoff": self.exponential_backoff,
            "max_wait": _seconds(self.max_wait),
            "settle_timeout": _seconds(self.settle_timeout),
            "silent_fail": self.silent_fail,
            "end_from_trigger": self.end_from_trigger and self._obstacle_to_end() is None,
        }

    def _obstacle_to_start(self) -> str | None:
        """Find what keeps the task from starting in the triggerer, where it asked to."""
        if not STARTS_FROM_TRIGGER:
            return "Airflow before 3.3 can't do that"
        if self.has_dag() and self.dag.render_template_as_native_obj:  # type: ignore[no-untyped-call]  # Airflow's
            return "the triggerer renders text alone, the DAG asks for native objects"
        for name in self.template_fields:
            if not can_be_rendered_in_triggerer(getattr(self, name)):
                return f"the triggerer can't render {name} as a worker does"
        return None

    def _obstacle_to_end(self) -> str | None:
        """Find what keeps the task from ending in the triggerer, where it asked to."""
        obstacles = {
            "Airflow before 3.3 can't do that": not STARTS_FROM_TRIGGER,
            "its callbacks and hooks would not be called": any(
                (self.on_success_callback, self.on_execute_callback, self._pre_execute_hook, self._post_execute_hook)
            ),
            "its outlets would not be updated": bool(self.outlets),
            "do_xcom_push is off": not self.do_xcom_push,
            "multiple_outputs would not be pushed": bool(getattr(self, "multiple_outputs", False)),
        }
        return next((words for words, stands in obstacles.items() if stands), None)

    def _tell_obstacles(self) -> None:
        """Say once why a task that asked to start or end in the triggerer does so on a worker."""
        if self._why_not_from_trigger:
            why = self._why_not_from_trigger
            self.log.info("start_from_trigger: the task starts on a worker, and defers from there: %s.", why)
        if self.end_from_trigger and (obstacle := self._obstacle_to_end()):
            self.log.info("end_from_trigger: the task ends on a worker: %s.", obstacle)

    def _conclude(
        self, context: Context, verdict: Verdict, answer: Snapshot | None, *, cut_short: bool = False
    ) -> dict[str, Any]:
        """End the task: with the session, or with the one error that fits, and the session in XCom all the same."""
        session, activity_id = answer[:2] if answer else (None, None)
        if verdict is Verdict.SUCCESS and session:
            return session.to_dict()
        task_instance = context.get("ti")  # which unit tests of DAGs leave out
        if session and task_instance and self.do_xcom_push:
            task_instance.xcom_push(key=RETURN_VALUE, value=session.to_dict())
        if verdict is Verdict.FAILURE and answer:
            raise SparkSessionFailedError(
                describe_failure(answer, self._rules), session=session, activity_id=activity_id
            )
        limit = ("execution_timeout", self.execution_timeout) if cut_short else ("timeout", self.timeout)
        raise SparkSessionTimeoutError(
            describe_timeout(answer, self._rules, limit[0], _seconds(limit[1]) or 0.0),
            session=session,
            activity_id=activity_id,
        )


def _seconds(time_span: timedelta | float | None) -> float | None:
    return time_span.total_seconds() if isinstance(time_span, timedelta) else time_span


def _json(names: Any) -> Any:
    """Make a list of names of any collection of them; templates, of course, stay."""
    return sorted(names) if isinstance(names, set | frozenset | tuple) else names
