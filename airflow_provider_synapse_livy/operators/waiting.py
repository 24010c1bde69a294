"""How a task waits for one record: in the task itself, or deferred to a trigger, with the same end in both."""

from __future__ import annotations

import reprlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_synapse_livy.airflow_compat.sdk import BaseOperator, conf
from airflow_provider_synapse_livy.airflow_compat.task_state import (
    delete_xcom,
    first_started_at,
    load_wait_state,
    save_wait_state,
    try_started_at,
)
from airflow_provider_synapse_livy.airflow_compat.versions import is_deferral_timeout, is_of_earlier_try
from airflow_provider_synapse_livy.hooks.synapse_livy import SynapseLivyHook
from airflow_provider_synapse_livy.links import RETURN_VALUE, has_links, push_links
from airflow_provider_synapse_livy.livy.errors import (
    SynapseLivyConfigurationError,
    SynapseLivyError,
    SynapseLivyResponseError,
    error_message,
)
from airflow_provider_synapse_livy.livy.resources import pool_name
from airflow_provider_synapse_livy.livy.responses import Snapshot, one_line
from airflow_provider_synapse_livy.livy.secrets import without_secrets
from airflow_provider_synapse_livy.triggers.base import (
    BACKSTOP,
    BEGIN_ON_WORKER,
    LivyTrigger,
    links_of_event,
    read_event,
)
from airflow_provider_synapse_livy.waiting.goals import Goal, Verdict
from airflow_provider_synapse_livy.waiting.messages import describe_failure, describe_timeout
from airflow_provider_synapse_livy.waiting.progress import PhaseStart
from airflow_provider_synapse_livy.waiting.wait import Wait, WaitOptions

if TYPE_CHECKING:
    from airflow_provider_synapse_livy.airflow_compat.sdk import Context

__all__ = [
    "WaitingMixin",
    "WaitingOperator",
    "in_one_order",
    "is_constant",
    "number_of_seconds",
    "seconds",
    "seconds_until",
]

#: The longest time span in seconds: a hundred years. Airflow makes a date of when it is over.
_MAX_SECONDS = 100 * 365 * 24 * 3600.0


class WaitingMixin:
    """
    Waits for one record, as an operator of Airflow.

    A concrete class names its trigger, whose ``resource``, ``id_fields`` and ``goal_fields`` say what is waited for,
    and has an attribute for each of these fields.
    """

    #: The trigger that the task defers to.
    trigger_class: ClassVar[type[LivyTrigger]]
    #: The errors for an end that is not the goal, and for a wait that ran out of time.
    failed_error: ClassVar[type[SynapseLivyError]]
    timeout_error: ClassVar[type[SynapseLivyError]]

    #: Where the record was last known to be found in a browser.
    _links: Mapping[str, str] = MappingProxyType({})
    #: Whether this run has seen the record, so that it knows the links, also that there are none.
    _has_seen_record = False
    #: Whether the task's execution_timeout has ended the wait.
    _is_out_of_time = False
    #: Whether an earlier run of this task has read the connection.
    _is_connection_proved = False

    synapse_livy_conn_id: str
    spark_pool_name: str | None
    livy_api_version: str | None
    deferrable: bool
    timeout: float
    execution_timeout: timedelta | None
    do_xcom_push: bool
    log: Any
    defer: Any

    @property
    def _wait_options(self) -> WaitOptions:
        raise NotImplementedError

    @property
    def _goal(self) -> Goal[Any]:
        return self.trigger_class.goal(**{name: getattr(self, name) for name in self.trigger_class.goal_fields})

    @cached_property
    def _hook(self) -> SynapseLivyHook:
        return SynapseLivyHook(
            self.synapse_livy_conn_id,
            spark_pool_name=self._pool_name,
            livy_api_version=self.livy_api_version,
            is_connection_proved=self._is_connection_proved,
        )

    def _ids(self) -> list[int]:
        trigger = self.trigger_class
        return trigger.resource.validated_ids(getattr(self, name) for name in trigger.id_fields)

    @property
    def _pool_name(self) -> str | None:
        """The pool that the task is told, or that the record's dict names which it is told as an id."""
        return pool_name(self.spark_pool_name, [getattr(self, name) for name in self.trigger_class.id_fields])

    def _check_constants(self) -> None:
        """
        Check the goal when the DAG is parsed, unless it is to be rendered.

        :raises SynapseLivyConfigurationError: if there is no such goal.
        """
        fields = [getattr(self, name) for name in self.trigger_class.goal_fields]
        if all(map(is_constant, fields)):
            _ = self._goal

    def execute_complete(self, context: Context, event: Any = None) -> dict[str, Any]:
        """
        End the task as the trigger's event says.

        :param context: Airflow's context of the task.
        :param event: the event.
        """
        if event == BEGIN_ON_WORKER or is_of_earlier_try(event, context):
            self.log.info("The wait begins on a worker.")
            delete_xcom(context, RETURN_VALUE)
            return self._begin_on_worker(context)
        self._trust_connection()  # which the run that deferred has read, or the triggerer
        self._links = links_of_event(event)  # also of one that is about an error
        verdict, snapshot, self._links = read_event(event, self.trigger_class.resource)
        self._has_seen_record = snapshot is not None
        if not self._is_proved(verdict, snapshot):
            what = f"The trigger's event says {verdict}, but its {self.trigger_class.resource.noun} does not."
            message = error_message(what, "clear the task to wait again.", f"Event: {reprlib.repr(event)}")
            raise SynapseLivyResponseError(message)
        return self._finish(context, verdict, snapshot)

    def _trust_connection(self) -> None:
        """From now on, take a secrets backend that fails for an outage: the connection was read before."""
        self._is_connection_proved = True
        if hook := self.__dict__.get("_hook"):  # made before, for what the task answers for
            hook.is_connection_proved = True

    def _is_proved(self, verdict: Verdict, snapshot: Snapshot[Any] | None) -> bool:
        """Return whether an event's record is the one that was waited for, and has the end that the event says."""
        if snapshot is None:
            return verdict is Verdict.TIMEOUT
        if snapshot.record.id != self._ids()[-1]:
            return False
        return verdict is Verdict.TIMEOUT or self._goal.evaluate(snapshot.record, settled=True) is verdict

    def _begin_on_worker(self, context: Context) -> dict[str, Any]:
        return self._wait(context)

    def _wait(self, context: Context) -> dict[str, Any]:
        wait = self._begin(context)
        while (verdict := self._poll(context, wait)) is Verdict.PENDING:
            if not wait.is_settling:  # for those seconds the task stays
                self._leave_worker(context, wait)
            time.sleep(wait.next_delay)
        return self._finish(context, verdict, wait.last_snapshot)

    def _begin(self, context: Context) -> Wait[Any]:
        """Begin the wait, or go on with the one that an earlier run of this task began."""
        if "ti" not in context:  # as in unit tests of DAGs
            return self._new_wait(time.time())
        state = load_wait_state(context)
        started_at = state.get("started_at") or first_started_at(context)
        self._is_connection_proved = started_at is not None
        wait = self._new_wait(started_at or time.time(), [PhaseStart(*phase) for phase in state.get("history", ())])
        if not started_at:
            wait.announce(self._subject)
        if not state:
            save_wait_state(context, started_at=wait.started_at, history=wait.history)
        return wait

    @property
    def _subject(self) -> str:
        return self.trigger_class.resource.name(*self._ids())

    def _new_wait(self, started_at: float, history: list[PhaseStart] | None = None) -> Wait[Any]:
        self._ids()  # raises what is wrong with them
        return Wait(self._goal, self._wait_options, started_at, history or [], self.log)

    def _poll(self, context: Context, wait: Wait[Any]) -> Verdict:
        snapshot = None
        with wait.tolerating_errors():
            now = wait.now()
            snapshot = self._hook.read(
                self.trigger_class.resource,
                *self._ids(),
                retry_timeout=wait.retry_timeout(now),
                longest_announced=wait.time_left(now),
            )
            self._show_links(context, self._hook.links(snapshot.record))
        return wait.observe(snapshot, wait.now())

    def _show_links(self, context: Context, links: Mapping[str, str]) -> None:
        """Push the links as soon as they are known."""
        self._has_seen_record = True
        if links != self._links:
            self._links = links
            push_links(context, links)

    def _leave_links(self, context: Context, *, keep_known: bool) -> None:
        """
        Push the links as the task ends, also if there are none.

        :param context: Airflow's context of the task.
        :param keep_known: whether to keep those that were pushed before a deferral, or by the triggerer since, if this
            run knows of none.
        """
        if self._has_seen_record or self._links or not (keep_known and has_links(context)):
            push_links(context, self._links)

    def _leave_worker(self, context: Context, wait: Wait[Any]) -> None:  # noqa: ARG002  (a sensor reschedules, too)
        """Leave the worker until the next poll, if the task's mode says so."""
        if self.deferrable:
            self._defer(wait)

    def _defer(self, wait: Wait[Any]) -> None:
        ids = dict(zip(self.trigger_class.id_fields, self._ids(), strict=True))
        values = (
            self._trigger_kwargs()
            | ids
            | {
                "spark_pool_name": self._pool_name,
                "deadline": wait.deadline,
                "first_poll_at": wait.now() + wait.next_delay,
                "links": dict(self._links),
                "history": [list(phase) for phase in wait.history],
            }
        )
        self.defer(
            trigger=self.trigger_class(**values),
            method_name=self.execute_complete.__name__,
            timeout=timedelta(seconds=wait.time_left(wait.now())) + BACKSTOP,
        )

    def _trigger_kwargs(self) -> dict[str, Any]:
        """Return what the trigger needs to know of the task, as it stands, templates included."""
        trigger = self.trigger_class
        fields = {name: _json(getattr(self, name)) for name in (*trigger.id_fields, *trigger.goal_fields)}
        return fields | {
            "synapse_livy_conn_id": self.synapse_livy_conn_id,
            "spark_pool_name": self.spark_pool_name,
            "livy_api_version": self.livy_api_version,
            "deadline": None,
            "options": self._wait_options.to_dict(),
        }

    def _resumed(self, resume: Callable[[], Any], context: Context) -> Any:
        """Go on after a deferral, or end a wait whose deferral Airflow has ended."""
        try:
            return resume()
        except Exception as error:
            if not is_deferral_timeout(error):
                raise
            self.log.warning(
                "Airflow has ended the deferral, for execution_timeout or since no triggerer reported in time. "
                "Polling for the last time."
            )
            return self._poll_for_the_last_time(context)

    def _started_at(self, context: Context) -> float | None:
        """Return when the wait of an earlier run began."""
        return load_wait_state(context).get("started_at") or first_started_at(context) or try_started_at(context)

    def _poll_for_the_last_time(self, context: Context) -> dict[str, Any]:
        """End a wait that Airflow has ended, at its own limit or at the task's execution_timeout, with a last poll."""
        self._trust_connection()  # which the run that deferred has read
        wait = self._new_wait(self._started_at(context) or time.time() - self._wait_options.timeout)
        try:
            verdict = self._poll(context, wait)
        except SynapseLivyError:
            self._is_out_of_time |= wait.time_left(wait.now()) > 0
            raise
        if verdict is Verdict.PENDING:  # time is left of the task's own timeout
            self._is_out_of_time = True
            raise self._timed_out("execution_timeout", seconds(self.execution_timeout), wait.last_snapshot, context)
        return self._finish(context, verdict, wait.last_snapshot)

    def _finish(self, context: Context, verdict: Verdict, snapshot: Snapshot[Any] | None) -> dict[str, Any]:
        """Return the record, or raise the one error that fits."""
        if snapshot is None or verdict is Verdict.TIMEOUT:
            raise self._timed_out("timeout", self._wait_options.timeout, snapshot, context)
        if verdict is Verdict.SUCCESS:
            return self._fields(snapshot.record)
        self._push_record(context, snapshot)
        message = describe_failure(snapshot, self._goal)
        raise self.failed_error(message, record=snapshot.record, activity_id=snapshot.activity_id)

    def _timed_out(
        self, option: str, limit: float | None, snapshot: Snapshot[Any] | None, context: Context
    ) -> SynapseLivyError:
        self._push_record(context, snapshot)
        message = describe_timeout(snapshot, self._goal, option, limit or 0.0, self._subject)
        record, activity_id = snapshot[:2] if snapshot else (None, None)
        return self.timeout_error(message, record=record, activity_id=activity_id)

    def _fields(self, record: Any) -> dict[str, Any]:
        """Return what the task tells of a record in XCom."""
        return without_secrets(record.to_dict())

    def _push_record(self, context: Context, snapshot: Snapshot[Any] | None) -> None:
        """Push the record of a task that fails, which returns nothing."""
        task_instance = context.get("ti")  # which unit tests of DAGs leave out
        if snapshot and task_instance and self.do_xcom_push:
            task_instance.xcom_push(key=RETURN_VALUE, value=self._fields(snapshot.record))


class WaitingOperator(WaitingMixin, BaseOperator):
    """
    Acts on one record, and waits for what becomes of it, in the task itself or deferred.

    :param spark_pool_name: the Spark pool; None for the connection's.
    :param poll_interval: seconds, or how long, between two polls.
    :param timeout: seconds, or how long, to wait in all.
    :param deferrable: whether to wait in the triggerer, without a worker's slot.
    :param livy_api_version: the version of the Livy API; None for the connection's.
    :param synapse_livy_conn_id: the id of the Airflow connection to the workspace.
    """

    def __init__(
        self,
        *,
        poll_interval: timedelta | float,
        timeout: timedelta | float,
        spark_pool_name: str | None = None,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        livy_api_version: str | None = None,
        synapse_livy_conn_id: str = SynapseLivyHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.spark_pool_name = spark_pool_name
        self.poll_interval = poll_interval
        self.timeout = timeout  # type: ignore[assignment]  # a sensor's is in seconds
        self.deferrable = deferrable
        self.livy_api_version = livy_api_version
        self.synapse_livy_conn_id = synapse_livy_conn_id

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """
        Go on after a deferral, with the same outcomes as :meth:`execute`.

        :param next_method: the method to go on with.
        :param next_kwargs: what to call it with.
        :param context: Airflow's context of the task.
        """
        resume = super().resume_execution
        with self._leaving_links(context, keep_known=True):
            return self._resumed(lambda: resume(next_method, next_kwargs, context), context)

    @contextmanager
    def _leaving_links(self, context: Context, *, keep_known: bool = False) -> Iterator[None]:
        """Push the links however the task ends, also if there are none: Airflow asks for them."""
        try:
            yield
        finally:
            self._leave_links(context, keep_known=keep_known)

    def _begin(self, context: Context) -> Wait[Any]:  # noqa: ARG002  (a sensor's goes on over retries)
        wait = self._new_wait(time.time())
        wait.announce(self._subject)
        return wait

    def _started_at(self, context: Context) -> float | None:
        return try_started_at(context)

    @property
    def _wait_options(self) -> WaitOptions:
        return WaitOptions(
            timeout=number_of_seconds(self.timeout, "timeout"),
            poke_interval=number_of_seconds(self.poll_interval, "poll_interval"),
        )


def seconds(time_span: timedelta | float | None) -> float | None:
    """
    Return a time span in seconds.

    :param time_span: the time span, or its seconds, or None.
    """
    return time_span.total_seconds() if isinstance(time_span, timedelta) else time_span


def number_of_seconds(time_span: Any, parameter: str) -> float:
    """
    Return a time span in seconds, as it was given or rendered.

    :param time_span: the time span, or its seconds, also as text.
    :param parameter: the name of the parameter that it is.
    :raises SynapseLivyConfigurationError: if it is none, or too long for a date to follow from it.
    """
    try:
        number = float(seconds(time_span))  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = -1.0
    if 0 <= number <= _MAX_SECONDS:
        return number
    what = "is too long" if number > _MAX_SECONDS else "is not a number of seconds"
    event = f"{parameter}={one_line(repr(time_span), 60)} {what}."
    raise SynapseLivyConfigurationError(error_message(event, "pass seconds, or a timedelta, up to a hundred years."))


def seconds_until(deadline: float) -> float:
    """
    Return the seconds until a time, 0 if it has passed.

    :param deadline: the time, by the monotonic clock.
    """
    return max(0.0, deadline - time.monotonic())


def in_one_order(values: Any) -> Any:
    """
    Return a set's values in one order: it has another in each process, and with it Airflow a new version of the DAG.

    :param values: the values as they were given; what is no set is returned as it is.
    """
    return sorted(values, key=str) if isinstance(values, set | frozenset) else values


def is_constant(value: Any) -> bool:
    """
    Return whether a value is what it will be when the task runs: neither a template nor an XCom.

    :param value: what a parameter was given.
    """
    if isinstance(value, str):
        return "{{" not in value and "{%" not in value
    if isinstance(value, list | tuple | set | frozenset):
        return all(map(is_constant, value))
    return value is None or isinstance(value, bool | int | float)


def _json(names: Any) -> Any:
    """Return a list of any collection of names; templates stay as they are."""
    return sorted(names, key=str) if isinstance(names, set | frozenset | tuple) else names
