"""What all triggers of this package share: they wait for one record, and end with one event that says how it went."""

from __future__ import annotations

import asyncio
import reprlib
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar, NamedTuple

from airflow_provider_synapse_livy.airflow_compat.connections import run_in_airflow_thread
from airflow_provider_synapse_livy.airflow_compat.kills import TRIGGERS_ARE_KILLED, run_to_its_end, standing_of
from airflow_provider_synapse_livy.airflow_compat.sdk import BaseTrigger, TriggerEvent, XCom
from airflow_provider_synapse_livy.airflow_compat.task_state import key_of_instance
from airflow_provider_synapse_livy.hooks.synapse_livy import SynapseLivyHook
from airflow_provider_synapse_livy.links import RETURN_VALUE, link_xcoms, session_links
from airflow_provider_synapse_livy.livy.errors import SynapseLivyError, SynapseLivyResponseError, error_message
from airflow_provider_synapse_livy.livy.resources import Resource
from airflow_provider_synapse_livy.livy.responses import Snapshot, one_line
from airflow_provider_synapse_livy.livy.secrets import without_secrets
from airflow_provider_synapse_livy.polling.polls import MAX_ATTEMPT_SECONDS
from airflow_provider_synapse_livy.polling.watch import Watch
from airflow_provider_synapse_livy.waiting.goals import Goal, Verdict
from airflow_provider_synapse_livy.waiting.progress import PhaseStart
from airflow_provider_synapse_livy.waiting.wait import Wait, WaitOptions

__all__ = ["BACKSTOP", "BEGIN_ON_WORKER", "LivyTrigger", "TriggerResult", "links_of_event", "read_event"]

#: The event of a task that was started in the triggerer, but has to begin on a worker.
BEGIN_ON_WORKER = {"begin": "on a worker"}

#: How much longer than the task's own timeout Airflow may let the trigger live: a backstop, in case it hangs. The last
#: attempt, which may begin right before the timeout, has ended by then.
BACKSTOP = timedelta(seconds=MAX_ATTEMPT_SECONDS + 60)

#: Airflow may fail a task whose trigger fires within about five seconds of the deferral (apache/airflow#71580).
_RACE_SECONDS = 5.0

#: Seconds to find out whether a record is ready whose task is no longer deferred.
_LAST_POLL_SECONDS = 5.0

#: Seconds between two polls of what was cancelled.
_END_INTERVAL = 2.0


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
    :param first_poll_at: when the first poll is to be made, in seconds since the epoch; with ``deadline``.
    :param links: the URLs of the links that the task has pushed.
    :param options: how to wait, the arguments of :class:`~airflow_provider_synapse_livy.waiting.wait.WaitOptions`.
    :param end_from_trigger: whether to end the task from here if it succeeds, without a worker (Airflow 3.3).
    :param history: the phases that the task has seen and logged, each with the time at which it began.
    :param cancel_on_kill: whether to cancel the record if a user ends the task: what its task has created.
    """

    #: What is waited for.
    resource: ClassVar[Resource[Any]]
    #: The parameters that lead to the record, its own id last.
    id_fields: ClassVar[Sequence[str]]
    #: The parameters that say what the goal is.
    goal_fields: ClassVar[Sequence[str]]
    #: Further parameters.
    more_fields: ClassVar[Sequence[str]] = ()
    #: For how many seconds the end of what was cancelled is waited for.
    _end_timeout: ClassVar[float] = 25.0

    def __init__(
        self,
        *,
        synapse_livy_conn_id: str,
        spark_pool_name: str | None,
        livy_api_version: str | None,
        deadline: float | None,
        options: Mapping[str, Any],
        first_poll_at: float | None = None,
        links: Mapping[str, str] | None = None,
        end_from_trigger: bool = False,
        history: Sequence[Sequence[Any]] = (),
        cancel_on_kill: bool = False,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's
        self.synapse_livy_conn_id = synapse_livy_conn_id
        self.spark_pool_name = spark_pool_name
        self.livy_api_version = livy_api_version
        self.deadline = deadline
        self.options = dict(options)
        self.first_poll_at = first_poll_at
        self.links = dict(links or {})
        self.end_from_trigger = end_from_trigger
        self.history = [list(phase) for phase in history]
        self.cancel_on_kill = cancel_on_kill
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
            "synapse_livy_conn_id", "spark_pool_name", "livy_api_version", "deadline", "options", "first_poll_at",
            "links", "end_from_trigger", "history", "cancel_on_kill",
        )  # fmt: skip
        fields = (*self.id_fields, *self.goal_fields, *self.more_fields, *common)
        path = f"{type(self).__module__}.{type(self).__qualname__}"
        return path, {name: getattr(self, name) for name in fields}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and yield the one event. Errors become events, too: Airflow would turn an exception into a skip."""
        watch = self._watch()
        try:
            event = await self._event_of_wait(watch)
        except asyncio.CancelledError:
            if not TRIGGERS_ARE_KILLED:
                await self.on_kill()
            raise
        except self.resource.not_found as error:
            event = self._event({"error": (await watch.not_found(error)).to_dict()})
        except SynapseLivyError as error:
            event = self._event(self._error(error))
        except Exception as error:  # whatever it is, the task must learn of it
            self.log.exception("The wait broke off.")
            what = f"The wait for {self.resource.noun} {one_line(str(self._ids()[-1]), 40)} broke off."
            why = one_line(f"{type(error).__name__}: {error}")
            message = error_message(what, "see the traceback in the triggerer's log.", why)
            event = self._event(self._error(SynapseLivyError(message)))
        finally:
            await watch.close()
        yield event

    async def on_kill(self) -> None:
        """
        Cancel the record, if the task has created it and a user has ended the task.

        A triggerer that stops, or that was slow and has lost the trigger to another one, leaves the task to that. In
        doubt, it is taken for such a one. Airflow 3.3 calls this in all but the first case.
        """
        if self.cancel_on_kill:
            await run_to_its_end(self._cancel_if_ended_by_user())

    async def _cancel_if_ended_by_user(self) -> None:
        name = self.resource.name(*self._ids())
        try:
            if await self._goes_on_elsewhere():
                self.log.info("The task of %s goes on without this triggerer. Nothing is cancelled.", name)
                return
            async with asyncio.timeout(self._end_timeout), self._watch() as watch:
                await watch.cancel()
                self.log.info("A user has ended the task, so %s is cancelled.", name)
                while not (snapshot := await watch.poll(after=_END_INTERVAL)).record.is_finished:
                    self._note(snapshot.record)
                await self._log_what_goes_on(snapshot.record)
        except self.resource.not_found:
            self.log.info("%s is gone.", name)
        except TimeoutError:
            self.log.warning("%s was not seen to end. It may still %s.", name, self.resource.harm)
        except Exception:
            self.log.exception("%s could not be cancelled. It may still %s.", name, self.resource.harm)

    def _note(self, record: Any) -> None:
        """Note what a record shows that it won't show when it has ended: nothing, usually."""

    async def _log_what_goes_on(self, record: Any) -> None:
        """Log what a cancellation has not ended: nothing, usually."""

    async def _goes_on_elsewhere(self) -> bool:
        """Return whether this trigger was cancelled though no user has ended its task."""
        record_id = self._ids()[-1]
        standing = await standing_of(self.task_instance, self.id_fields[-1])
        if standing is None or standing.is_deferred(record_id):
            return True
        return standing.may_have_gone_on(record_id) and await self._has_reached_goal()

    async def _has_reached_goal(self) -> bool:
        try:
            async with self._watch() as watch:
                snapshot = await watch.poll(retry_timeout=_LAST_POLL_SECONDS, last_after=_LAST_POLL_SECONDS)
        except SynapseLivyError:
            return False
        return self._own_goal().evaluate(snapshot.record, settled=True) is Verdict.SUCCESS

    def _own_goal(self) -> Goal[Any]:
        return self.goal(**{name: getattr(self, name) for name in self.goal_fields})

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
        return self._hook().watch(self.resource, *self._ids())

    def _hook(self) -> SynapseLivyHook:
        return SynapseLivyHook(
            self.synapse_livy_conn_id,
            spark_pool_name=self.spark_pool_name,
            livy_api_version=self.livy_api_version,
            is_connection_proved=self.deadline is not None,  # by the task that deferred
        )

    async def _event_of_wait(self, watch: Watch[Any]) -> TriggerEvent:
        if self.deadline is None and not self._can_begin():
            return TriggerEvent(BEGIN_ON_WORKER)
        wait = self._new_wait()
        verdict = Verdict.PENDING
        while verdict is Verdict.PENDING:
            snapshot = None
            with wait.tolerating_errors():
                snapshot = await self._poll(watch, wait)
            verdict = wait.observe(snapshot, wait.now())
            if snapshot:
                await self._show_links(snapshot.record, watch, is_over=verdict is not Verdict.PENDING)
        snapshot = wait.last_snapshot
        if verdict is Verdict.SUCCESS and snapshot and self.end_from_trigger and await self._push_end(snapshot):
            from airflow.triggers.base import TaskSuccessEvent

            return TaskSuccessEvent()
        return self._event(TriggerResult(verdict, snapshot, self.links).to_dict(self.resource, self._fields))

    async def _poll(self, watch: Watch[Any], wait: Wait[Any]) -> Snapshot[Any]:
        now = wait.now()
        return await watch.poll(
            after=wait.next_delay,
            retry_timeout=wait.retry_timeout(now + wait.next_delay),
            only_changes_for=wait.only_changes_for(now),
            last_after=wait.time_left(now),
        )

    def _fields(self, record: Any) -> dict[str, Any]:
        """Return what the event tells of a record, which Airflow logs and keeps in its database."""
        return without_secrets(record.to_dict())

    def _can_begin(self) -> bool:
        """
        Return whether a task that was started here can begin here.

        A later try can't: only a worker knows when the first one began. Nor can a task that its DAG has changed since,
        as Airflow passes it without its templates rendered.
        """
        instance: Any = self.task_instance
        return self._is_rendered and self.task is not None and bool(instance.try_number == 1)

    def _error(self, error: SynapseLivyError) -> dict[str, Any]:
        return {"error": error.to_dict(), "links": dict(self.links)}

    def _event(self, payload: dict[str, Any]) -> TriggerEvent:
        return TriggerEvent(payload | {"try_number": getattr(self.task_instance, "try_number", None)})

    async def _show_links(self, record: Any, watch: Watch[Any], *, is_over: bool) -> None:
        """Push the links as soon as they are known, which is worth no failure; at the end, the task does."""
        try:
            links = session_links(record, watch.connection) if watch.connection else self.links
            if links == self.links:
                return
            self.links = links
            if not is_over and self.task_instance is not None:
                await run_in_airflow_thread(self._push_xcoms, link_xcoms(links))
        except Exception:
            self.log.warning("The links could not be pushed to XCom.", exc_info=True)

    def _new_wait(self) -> Wait[Any]:
        self.resource.validated_ids(self._ids())  # raises what is wrong with them
        wait: Wait[Any] = Wait(
            self._own_goal(),
            WaitOptions(**self.options),
            started_at=self._started_at(),
            history=[PhaseStart(*phase) for phase in self.history],
            log=self.logger(),  # the class's, since one for each wait would take a kilobyte
        )
        if self.deadline is None:  # the task starts here
            wait.announce(self.resource.name(*self._ids()))
        else:
            wait.next_delay = min(self._delay_of_first_poll(wait), wait.time_left(wait.now()))
        return wait

    def _delay_of_first_poll(self, wait: Wait[Any]) -> float:
        """Return how many seconds to wait for the poll that is due next: a restart of the triggerer delays none."""
        interval = wait.options.poke_interval
        if self.first_poll_at is None or interval <= 0:
            return interval
        late = wait.now() - self.first_poll_at
        return max(-late if late <= 0 else interval - late % interval, min(interval, _RACE_SECONDS))

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

    async def _push_end(self, snapshot: Snapshot[Any]) -> bool:
        """Push all XComs of a task that ends here; return whether that worked, else the task ends on a worker."""
        try:
            xcoms = {RETURN_VALUE: self._xcom(snapshot.record), **link_xcoms(self.links)}
            await run_in_airflow_thread(self._push_xcoms, xcoms)
        except Exception:
            self.log.exception("The task can't be ended from the triggerer. It ends on a worker.")
            return False
        return True

    def _xcom(self, record: Any) -> dict[str, Any]:
        """Return what a task that ends here tells of a record in XCom."""
        return without_secrets(record.to_dict())

    def _push_xcoms(self, xcoms: Mapping[str, Any]) -> None:
        """Push XComs. The event's own way for that encodes values twice (Airflow 3.0 to 3.3.2)."""
        ids = key_of_instance(self.task_instance)
        for key, value in xcoms.items():
            # Tasks that are mapped over what this one returns need to know its length.
            length = {"_mapped_length": len(value)} if key == RETURN_VALUE else {}
            XCom.set(key=key, value=value, **length, **ids)


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

    def to_dict(self, resource: Resource[Any], fields: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        """
        Return it as JSON values, the payload of an event.

        :param resource: what was waited for.
        :param fields: returns what the event tells of the record.
        """
        return {
            "resource": resource.noun,
            "verdict": str(self.verdict),
            "record": fields(self.snapshot.record) if self.snapshot else None,
            "activity_id": self.snapshot.activity_id if self.snapshot else None,
            "links": dict(self.links),
        }


def links_of_event(event: Any) -> Mapping[str, str]:
    """
    Return the addresses of the links that a trigger has found, whatever it ended with.

    :param event: the event's payload; anything can stand in it.
    """
    links = event.get("links") if isinstance(event, Mapping) else None
    known = links.items() if isinstance(links, Mapping) else ()
    return {name: url for name, url in known if isinstance(name, str) and isinstance(url, str)}


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
        what = f"The trigger's event does not describe the wait for a {resource.noun}."
        why = one_line(f"{type(problem).__name__}: {problem}")
        message = error_message(what, "clear the task to wait again.", why, f"Event: {reprlib.repr(event)}")
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
