"""What all triggers of this package share: they wait for one record, and end with one event that says how it went."""

from __future__ import annotations

import asyncio
import reprlib
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar, NamedTuple

from airflow.providers.common.compat.sdk import XCom
from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_synapse_livy.hooks.synapse_livy import SynapseLivyHook
from airflow_provider_synapse_livy.links import RETURN_VALUE, end_of_task_xcoms, session_links
from airflow_provider_synapse_livy.livy.errors import SynapseLivyError, SynapseLivyResponseError, error_message
from airflow_provider_synapse_livy.livy.resources import Resource, validated_id
from airflow_provider_synapse_livy.livy.responses import Snapshot
from airflow_provider_synapse_livy.polling.watch import Watch
from airflow_provider_synapse_livy.waiting.goals import Goal, Verdict
from airflow_provider_synapse_livy.waiting.progress import PhaseStart
from airflow_provider_synapse_livy.waiting.wait import Wait, WaitOptions

__all__ = ["BACKSTOP", "BEGIN_ON_WORKER", "LivyTrigger", "TriggerResult", "read_event"]

#: The event of a task that was started in the triggerer, but has to begin on a worker.
BEGIN_ON_WORKER = {"begin": "on a worker"}

#: How much longer than the task's own timeout Airflow may let the trigger live: a backstop, in case it hangs.
BACKSTOP = timedelta(minutes=5)


class LivyTrigger(BaseTrigger):
    """
    Wait for one record, and end with one event that says how the wait ended.

    The parameters are JSON values, so that the trigger can move to another triggerer, which keeps the deadline.
    If a task has deferred to it, it polls first after one interval, since the task has polled just before. If the
    task starts with it, it polls at once.

    :param synapse_livy_conn_id: the id of the Airflow connection to the workspace.
    :param spark_pool_name: the Spark pool; None for the connection's.
    :param livy_api_version: the version of the Livy API; None for the connection's.
    :param deadline: when the wait ends, in seconds since the epoch; None if the task starts with this trigger.
    :param options: how to wait, the arguments of :class:`~airflow_provider_synapse_livy.waiting.wait.WaitOptions`.
    :param end_from_trigger: whether to end the task from here if it succeeds, without a worker (Airflow 3.3).
    :param history: the phases that the task has seen and logged, each with the time at which it began.
    """

    #: What is waited for.
    resource: ClassVar[Resource[Any]]
    #: The parameters that lead to the record, its own id last.
    id_fields: ClassVar[Sequence[str]]
    #: The parameters that say what the goal is.
    goal_fields: ClassVar[Sequence[str]]

    def __init__(
        self,
        *,
        synapse_livy_conn_id: str,
        spark_pool_name: str | None,
        livy_api_version: str | None,
        deadline: float | None,
        options: Mapping[str, Any],
        end_from_trigger: bool = False,
        history: Sequence[Sequence[Any]] = (),
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's
        self.synapse_livy_conn_id = synapse_livy_conn_id
        self.spark_pool_name = spark_pool_name
        self.livy_api_version = livy_api_version
        self.deadline = deadline
        self.options = dict(options)
        self.end_from_trigger = end_from_trigger
        self.history = [list(phase) for phase in history]
        self._is_rendered = True

    @classmethod
    def goal(cls, **fields: Any) -> Goal[Any]:
        """
        Return the goal that the parameters describe.

        :param fields: the values of :attr:`goal_fields`.
        :raises SynapseLivyConfigurationError: if there is no such goal.
        """
        raise NotImplementedError

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what another triggerer needs to go on with this wait."""
        common = (
            "synapse_livy_conn_id", "spark_pool_name", "livy_api_version", "deadline", "options", "end_from_trigger",
            "history",
        )  # fmt: skip
        fields = (*self.id_fields, *self.goal_fields, *common)
        path = f"{type(self).__module__}.{type(self).__qualname__}"
        return path, {name: getattr(self, name) for name in fields}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and yield the one event. Errors become events, too: Airflow would turn an exception into a skip."""
        watch = self._watch()
        try:
            event = await self._event_of_wait(watch)
        except SynapseLivyError as error:
            event = self._event({"error": error.to_dict()})
        except Exception as error:  # whatever it is, the task must learn of it
            self.log.exception("The wait broke off.")
            message = f"The wait for {self.resource.noun} {self._ids()[-1]} broke off: {type(error).__name__}: {error}"
            event = self._event({"error": SynapseLivyError(message).to_dict()})
        finally:
            await watch.close()
        yield event

    def get_template_env(self, dag: Any = None) -> Any:
        """
        Return what the templates of a task that starts here are rendered with; a misspelt name is an error.

        :param dag: the DAG, which Airflow does not give.
        """
        from jinja2 import StrictUndefined

        environment = super().get_template_env(dag)
        environment.undefined = StrictUndefined
        return environment

    def render_template_fields(self, context: Any, jinja_env: Any = None) -> None:
        """
        Render the templates of a task that starts here; if one can't be, the task begins on a worker, which may.

        :param context: Airflow's context of the task.
        :param jinja_env: what to render with.
        """
        try:
            super().render_template_fields(context, jinja_env)
        except Exception:
            self._is_rendered = False
            self.log.warning("The templates can't be rendered here, so the task begins on a worker.", exc_info=True)

    def _ids(self) -> list[object]:
        return [getattr(self, name) for name in self.id_fields]

    def _watch(self) -> Watch[Any]:
        hook = SynapseLivyHook(
            self.synapse_livy_conn_id, spark_pool_name=self.spark_pool_name, livy_api_version=self.livy_api_version
        )
        return hook.watch(self.resource, *self._ids())

    async def _event_of_wait(self, watch: Watch[Any]) -> TriggerEvent:
        if self.deadline is None and not self._can_begin():
            return TriggerEvent(BEGIN_ON_WORKER)
        wait = self._new_wait()
        verdict = Verdict.PENDING
        while verdict is Verdict.PENDING:
            snapshot = None
            with wait.tolerating_errors():
                now = wait.now()
                snapshot = await watch.poll(
                    after=wait.next_delay,
                    retry_timeout=wait.retry_timeout(now + wait.next_delay),
                    only_changes_for=wait.only_changes_for(now),
                    last_after=wait.time_left(now),
                )
            verdict = wait.observe(snapshot, wait.now())
        return await self._event_of_verdict(verdict, wait.last_snapshot, watch)

    async def _event_of_verdict(
        self, verdict: Verdict, snapshot: Snapshot[Any] | None, watch: Watch[Any]
    ) -> TriggerEvent:
        links = self._links(snapshot, watch)
        if verdict is Verdict.SUCCESS and snapshot and self.end_from_trigger:
            event = await self._end_task(snapshot, links)
            if event:
                return event
        return self._event(TriggerResult(verdict, snapshot, links).to_dict(self.resource))

    def _can_begin(self) -> bool:
        """
        Return whether a task that was started here can begin here.

        A later try can't: only a worker knows when the first one began. Nor can a task that its DAG has changed since,
        as Airflow passes it without its templates rendered.
        """
        instance: Any = self.task_instance
        return self._is_rendered and self.task is not None and bool(instance.try_number == 1)

    def _event(self, payload: dict[str, Any]) -> TriggerEvent:
        return TriggerEvent(payload | {"try_number": getattr(self.task_instance, "try_number", None)})

    def _links(self, snapshot: Snapshot[Any] | None, watch: Watch[Any]) -> dict[str, str]:
        """Return the links, which are not worth a failure."""
        if snapshot is None or watch.connection is None:
            return {}
        try:
            return session_links(snapshot.record, watch.connection)
        except Exception:
            self.log.warning("The links to the Spark session can't be made.", exc_info=True)
            return {}

    def _new_wait(self) -> Wait[Any]:
        for value in self._ids():
            validated_id(value, self.resource.noun)
        wait: Wait[Any] = Wait(
            self.goal(**{name: getattr(self, name) for name in self.goal_fields}),
            WaitOptions(**self.options),
            started_at=self._started_at(),
            history=[PhaseStart(*phase) for phase in self.history],
            log=self.log,
        )
        if self.deadline is not None:
            wait.next_delay = min(wait.options.poke_interval, wait.time_left(wait.now()))
        return wait

    def _started_at(self) -> float:
        """
        Return when the wait began; a restart of the triggerer does not begin it anew.

        Airflow does not tell when it started the task here, but when it would stop it, from which that follows.
        """
        timeout = self.options["timeout"]
        if self.deadline is not None:
            return float(self.deadline - timeout)
        stopped_at: datetime | None = getattr(self, "timeout_after", None)
        if stopped_at is None:
            return time.time()
        task: Any = self.task
        longest = timedelta(seconds=timeout) + BACKSTOP
        return (stopped_at - min(longest, task.execution_timeout or longest)).timestamp()

    async def _end_task(self, snapshot: Snapshot[Any], links: Mapping[str, str]) -> TriggerEvent | None:
        """End the task from here; if that can't be, the task ends on a worker as usual."""
        try:
            for key, value in end_of_task_xcoms(snapshot.record, links).items():
                await asyncio.to_thread(self._push_xcom, key, value)
            from airflow.triggers.base import TaskSuccessEvent

            return TaskSuccessEvent()
        except Exception:
            self.log.exception("The task can't be ended from the triggerer. It ends on a worker.")
            return None

    def _push_xcom(self, key: str, value: Any) -> None:
        """Push an XCom. The event's own way for that encodes values twice (Airflow 3.0 to 3.3.2)."""
        instance: Any = self.task_instance
        ids = {name: getattr(instance, name) for name in ("dag_id", "task_id", "run_id", "map_index")}
        # Tasks that are mapped over what this one returns need to know its length.
        XCom.set(key=key, value=value, _mapped_length=len(value) if key == RETURN_VALUE else None, **ids)


class TriggerResult(NamedTuple):
    """
    How a wait in the triggerer ended.

    :param verdict: how.
    :param snapshot: the last snapshot, if there was one.
    :param links: the addresses of the record's links, by their names.
    """

    verdict: Verdict
    snapshot: Snapshot[Any] | None
    links: Mapping[str, str]

    def to_dict(self, resource: Resource[Any]) -> dict[str, Any]:
        """Return it as JSON values, the payload of an event."""
        return {
            "resource": resource.noun,
            "verdict": str(self.verdict),
            "record": self.snapshot.record.to_dict() if self.snapshot else None,
            "activity_id": self.snapshot.activity_id if self.snapshot else None,
            "links": dict(self.links),
        }


def read_event(event: Any, resource: Resource[Any]) -> TriggerResult:
    """
    Return how the wait ended that a trigger's event is about.

    Anything can stand in an event, even nothing, and none of it may pass for a success.

    :param event: the event's payload.
    :param resource: what was waited for.
    :raises SynapseLivyError: the error that ended the wait, if one did, or one that says what is wrong with the event.
    """
    try:
        error = event.get("error")
        if error is None:
            return _result(event, resource)
        ended_by = SynapseLivyError.from_dict(error)
    except (AttributeError, KeyError, TypeError, ValueError) as problem:
        what = f"The trigger's event is not one of a {resource.noun} ({type(problem).__name__}: {problem})."
        message = error_message(what, "clear the task to wait again.", f"Event: {reprlib.repr(event)}")
        raise SynapseLivyResponseError(message) from None
    raise ended_by


def _result(event: Mapping[str, Any], resource: Resource[Any]) -> TriggerResult:
    if event["resource"] != resource.noun:
        raise ValueError(f"it is about a {event['resource']}")
    verdict = Verdict(event["verdict"])
    if verdict is Verdict.PENDING:
        raise ValueError("a wait that goes on has no event")
    fields, links = event["record"], dict(event["links"])
    snapshot = None if fields is None else Snapshot(resource.model.from_dict(fields), event["activity_id"])
    return TriggerResult(verdict, snapshot, links)
