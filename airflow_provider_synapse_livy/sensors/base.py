"""What all sensors of this package share: one outcome in every mode, and tasks that begin and end in the triggerer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow_provider_synapse_livy.airflow_compat.sdk import (
    AirflowFailException,
    AirflowRescheduleException,
    AirflowSensorTimeout,
    AirflowSkipException,
    BaseSensorOperator,
    PokeReturnValue,
    StartTriggerArgs,
    conf,
)
from airflow_provider_synapse_livy.airflow_compat.task_state import save_start, save_wait_state
from airflow_provider_synapse_livy.airflow_compat.trigger_templates import can_be_rendered_in_triggerer
from airflow_provider_synapse_livy.airflow_compat.versions import STARTS_FROM_TRIGGER, has_listeners
from airflow_provider_synapse_livy.operators.waiting import WaitingMixin, number_of_seconds, seconds
from airflow_provider_synapse_livy.triggers.base import BACKSTOP
from airflow_provider_synapse_livy.waiting.goals import Verdict
from airflow_provider_synapse_livy.waiting.wait import SETTLE_TIMEOUT, Wait, WaitOptions

if TYPE_CHECKING:
    from airflow_provider_synapse_livy.airflow_compat.sdk import Context

__all__ = ["LivySensor"]

#: Seconds between two polls by default. Airflow's own 60 would waste half a minute of a paid cluster at each wait.
_POKE_INTERVAL = 10.0

#: The same in reschedule mode, where each poll starts a worker.
_RESCHEDULE_INTERVAL = 60.0

#: Below this, Airflow may fail a rescheduled task: it is due again before its worker has ended (apache/airflow#71580).
_MIN_RESCHEDULE_INTERVAL = 15.0


class LivySensor(WaitingMixin, BaseSensorOperator):
    """
    Wait for one record, with the same outcome in poke, reschedule and deferrable mode.

    :param spark_pool_name: the Spark pool; None for the connection's.
    :param livy_api_version: the version of the Livy API; None for the connection's.
    :param synapse_livy_conn_id: the id of the Airflow connection to the workspace.
    :param deferrable: whether to wait in the triggerer.
    :param poke_interval: seconds, or how long, between two polls; 10 seconds by default, 60 in reschedule mode.
    :param settle_timeout: for how many seconds, or how long, to wait for the final result of what has ended.
    :param start_from_trigger: whether to wait in the triggerer from the start.
    :param end_from_trigger: whether to end the task in the triggerer if it succeeds.
    """

    def __init__(
        self,
        *,
        synapse_livy_conn_id: str,
        spark_pool_name: str | None = None,
        livy_api_version: str | None = None,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        mode: str = "poke",
        poke_interval: timedelta | float | None = None,
        settle_timeout: timedelta | float = SETTLE_TIMEOUT,
        start_from_trigger: bool = False,
        end_from_trigger: bool = False,
        **kwargs: Any,
    ) -> None:
        if poke_interval is None:
            poke_interval = _RESCHEDULE_INTERVAL if mode == "reschedule" else _POKE_INTERVAL
        super().__init__(mode=mode, poke_interval=poke_interval, **kwargs)
        self.synapse_livy_conn_id = synapse_livy_conn_id
        self.spark_pool_name = spark_pool_name
        self.livy_api_version = livy_api_version
        self.deferrable = deferrable or start_from_trigger
        self.settle_timeout = settle_timeout
        number_of_seconds(settle_timeout, "settle_timeout")  # raises what is wrong with it
        self._asks_to_start_from_trigger = start_from_trigger
        self._asks_to_end_from_trigger = end_from_trigger
        self._fallback_reason: str | None = None
        # Airflow 3.3 refuses a DAG that has a task with this attribute where there are listeners.
        self.end_from_trigger = end_from_trigger and self._cannot_end_from_trigger_because() is None
        if self.reschedule and not self.deferrable and self.poke_interval < _MIN_RESCHEDULE_INTERVAL:
            self.log.warning(
                "poke_interval is %g s in reschedule mode. Airflow may fail a task that is due again before its "
                "worker has ended: use %g s or more.",
                self.poke_interval,
                _MIN_RESCHEDULE_INTERVAL,
            )

    def execute(self, context: Context) -> dict[str, Any]:
        """
        Wait for the record, here or in the triggerer.

        :param context: Airflow's context of the task.
        """
        with self._map_outcome(context):
            self._log_fallback_reasons()
            if self._is_poke_overridden:
                return super().execute(context)  # type: ignore[no-any-return]  # Airflow's own loop, which calls it
            return self._wait(context)

    @property
    def _is_poke_overridden(self) -> bool:
        return type(self).poke is not LivySensor.poke

    def poke(self, context: Context) -> PokeReturnValue | bool:
        """
        Poll the record once; more often for the seconds until the final result of what has ended is there.

        A subclass that overrides it decides itself when the wait is over, and waits on a worker.

        :param context: Airflow's context of the task.
        """
        wait = self._new_wait(time.time())
        while (verdict := self._poll(context, wait)) is Verdict.PENDING:
            if not wait.is_settling:
                return PokeReturnValue(is_done=False)
            time.sleep(wait.next_delay)
        return PokeReturnValue(is_done=True, xcom_value=self._finish(context, verdict, wait.last_snapshot))

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """
        Go on after a deferral, with the same outcomes as :meth:`execute`.

        The rule of ``BaseSensorOperator`` is passed over: it differs between Airflow's versions, and lets
        ``soft_fail`` hide errors that it does not hide in the other modes.

        :param next_method: the method to go on with.
        :param next_kwargs: what to call it with.
        :param context: Airflow's context of the task.
        """
        with self._map_outcome(context, keep_links=True):
            self._render_if_unrendered(context)
            if self.start_from_trigger and self.retries:
                save_start(context)
            resume = super(BaseSensorOperator, self).resume_execution
            return self._resumed(lambda: resume(next_method, next_kwargs, context), context)

    def _render_if_unrendered(self, context: Context) -> None:
        """Render the templates of a task that ``airflow tasks test`` resumes without (Airflow 2.11)."""
        ids = (getattr(self, name) for name in self.trigger_class.id_fields)
        if any(isinstance(value, str) and "{{" in value for value in ids):
            self.render_template_fields(context)

    @contextmanager
    def _map_outcome(self, context: Context, *, keep_links: bool = False) -> Iterator[None]:
        """Map an error to the same state of the task in every mode, and push the links, however it ends."""
        try:
            yield
        except (AirflowSkipException, AirflowRescheduleException):
            raise
        except (AirflowSensorTimeout, AirflowFailException) as error:
            self._raise_or_skip(error, skip=self.soft_fail or self.never_fail)
        except Exception as error:  # noqa: BLE001  (never_fail covers everything)
            self._raise_or_skip(error, skip=self.never_fail)
        finally:
            self._leave_links(context, keep_known=keep_links)

    def _raise_or_skip(self, error: Exception, *, skip: bool) -> NoReturn:
        if skip:
            option = "soft_fail" if self.soft_fail else "never_fail"
            raise AirflowSkipException(f"Skipped, because {option} is set.\n{error}") from error
        raise error

    @property
    def _wait_options(self) -> WaitOptions:
        return WaitOptions(
            timeout=self.timeout,
            poke_interval=self.poke_interval,
            exponential_backoff=self.exponential_backoff,
            max_wait=seconds(self.max_wait),
            settle_timeout=number_of_seconds(self.settle_timeout, "settle_timeout"),
            silent_fail=self.silent_fail,
        )

    def _leave_worker(self, context: Context, wait: Wait[Any]) -> None:
        super()._leave_worker(context, wait)
        if self.reschedule:
            save_wait_state(context, started_at=wait.started_at, history=wait.history)
            raise AirflowRescheduleException(datetime.now(UTC) + timedelta(seconds=wait.next_delay))

    def _trigger_kwargs(self) -> dict[str, Any]:
        ends_here = self._asks_to_end_from_trigger and self._cannot_end_from_trigger_because() is None
        return super()._trigger_kwargs() | {"end_from_trigger": ends_here}

    def _prepare_start_from_trigger(self) -> None:
        """Ask the scheduler to start the task in the triggerer, if the task is to; once all attributes are set."""
        if not self._asks_to_start_from_trigger:
            return
        self._fallback_reason = self._cannot_start_from_trigger_because()
        if self._fallback_reason is None:
            self.start_from_trigger = True
            self.start_trigger_args = self._start_trigger_args()

    def _start_trigger_args(self) -> StartTriggerArgs:
        return StartTriggerArgs(
            trigger_cls=f"{self.trigger_class.__module__}.{self.trigger_class.__qualname__}",
            trigger_kwargs=self._trigger_kwargs(),
            next_method=self.execute_complete.__name__,
            timeout=timedelta(seconds=self.timeout) + BACKSTOP,
        )

    def _cannot_start_from_trigger_because(self) -> str | None:
        """Return what keeps the task from starting in the triggerer."""
        if not STARTS_FROM_TRIGGER:
            return "Airflow before 3.3 can't do that"
        if self._is_poke_overridden:
            return "its poke() is overridden, which only a worker calls"
        if self.has_dag() and self.dag.render_template_as_native_obj:  # type: ignore[no-untyped-call]  # Airflow's
            return "the triggerer renders text alone, the DAG asks for native objects"
        for name in self.template_fields:
            if not can_be_rendered_in_triggerer(getattr(self, name)):
                return f"the triggerer can't render {name} as a worker does"
        return None

    def _cannot_end_from_trigger_because(self) -> str | None:
        """Return what keeps the task from ending in the triggerer."""
        reasons = {
            "Airflow before 3.3 can't do that": not STARTS_FROM_TRIGGER,
            "its callbacks and hooks would not be called": any(
                (self.on_success_callback, self.on_execute_callback, self._pre_execute_hook, self._post_execute_hook)
            ),
            "its listeners would not be called": STARTS_FROM_TRIGGER and has_listeners(),
            "its outlets would not be updated": bool(self.outlets),
            "do_xcom_push is off": not self.do_xcom_push,
            "multiple_outputs would not be pushed": bool(getattr(self, "multiple_outputs", False)),
        }
        return next((words for words, holds in reasons.items() if holds), None)

    def _log_fallback_reasons(self) -> None:
        """Log why a task that asked to start or end in the triggerer does so on a worker."""
        if self._is_poke_overridden and self.deferrable:
            self.log.info("The task waits on a worker: its poke() is overridden, which the triggerer can't call.")
        elif self._asks_to_start_from_trigger:
            # If the task runs here though there was no reason, there is one that only Airflow knows.
            reason = self._fallback_reason or "Airflow starts no mapped tasks there, and none in dag.test()"
            self.log.info("start_from_trigger: the task starts on a worker, and defers from there: %s.", reason)
        if self._asks_to_end_from_trigger and (why := self._cannot_end_from_trigger_because()):
            self.log.info("end_from_trigger: the task ends on a worker: %s.", why)
