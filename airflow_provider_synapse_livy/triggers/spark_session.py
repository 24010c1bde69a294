"""The trigger that waits for a Spark session of Azure Synapse, and the event that it ends with."""

from __future__ import annotations

import asyncio
import reprlib
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Self

from airflow.providers.common.compat.sdk import XCom
from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_synapse_livy.exceptions import SynapseLivyError, SynapseLivyResponseError
from airflow_provider_synapse_livy.hooks.synapse_livy import SparkSessionReader, SynapseLivyHook
from airflow_provider_synapse_livy.links import RETURN_VALUE, end_of_task_xcoms
from airflow_provider_synapse_livy.livy.responses import Snapshot, validate_session_id
from airflow_provider_synapse_livy.models import SparkSession
from airflow_provider_synapse_livy.waiting.wait import SETTLE_TIMEOUT, Verdict, Wait, WaitRules

__all__ = ["BACKSTOP", "BEGIN_ON_WORKER", "SynapseSparkSessionTrigger", "TriggerResult", "read_event"]

#: The event of a task that was started here, but has to begin on a worker.
BEGIN_ON_WORKER = {"begin": "on a worker"}

#: How much longer than the sensor's own timeout Airflow may let the trigger live: a backstop, in case it hangs.
BACKSTOP = timedelta(minutes=5)


class SynapseSparkSessionTrigger(BaseTrigger):
    """
    Wait for a Spark session, and end with one event that says how the wait ended.

    The parameters are JSON values, so that the trigger can move to another triggerer, which keeps the deadline.
    If a task has deferred to it, it looks first after one ``poke_interval``, since the task has looked just before.
    If the task starts with it, it looks at once.

    :param session_id: the session's id.
    :param synapse_livy_conn_id: the id of the Airflow connection to the workspace.
    :param spark_pool_name: the Spark pool; None for the connection's.
    :param livy_api_version: the version of the Livy API; None for the connection's.
    :param target_states: the Livy states to wait for; None to wait for the end.
    :param accepted_results: with which results the end is a success.
    :param accept_idle_timeout: whether an end by idle timeout is one, too.
    :param deadline: when the wait ends, in seconds since the epoch; None if the task starts with this trigger.
    :param timeout: how many seconds the wait is given in all.
    :param poke_interval: seconds between two looks.
    :param exponential_backoff: whether the interval grows with each look.
    :param max_wait: how many seconds it grows to at the most; None for no bound.
    :param settle_timeout: for how many seconds to wait for the result of a session that has ended.
    :param silent_fail: whether to log errors and go on looking, rather than to end with them.
    :param end_from_trigger: whether to end the task from here if it succeeds, without a worker (Airflow 3.3).
    :param trail: where the session stood, and since when, as far as the task has seen and told.
    """

    def __init__(
        self,
        *,
        session_id: int,
        synapse_livy_conn_id: str,
        spark_pool_name: str | None,
        livy_api_version: str | None,
        target_states: Sequence[str] | None,
        accepted_results: Sequence[str],
        accept_idle_timeout: bool,
        deadline: float | None,
        timeout: float,
        poke_interval: float,
        exponential_backoff: bool = False,
        max_wait: float | None = None,
        settle_timeout: float = SETTLE_TIMEOUT,
        silent_fail: bool = False,
        end_from_trigger: bool = False,
        trail: Sequence[tuple[str, float]] = (),
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's
        self.session_id = session_id
        self.synapse_livy_conn_id = synapse_livy_conn_id
        self.spark_pool_name = spark_pool_name
        self.livy_api_version = livy_api_version
        self.target_states = target_states
        self.accepted_results = accepted_results
        self.accept_idle_timeout = accept_idle_timeout
        self.deadline = deadline
        self.timeout = timeout
        self.poke_interval = poke_interval
        self.exponential_backoff = exponential_backoff
        self.max_wait = max_wait
        self.settle_timeout = settle_timeout
        self.silent_fail = silent_fail
        self.end_from_trigger = end_from_trigger
        self.trail = trail
        self._renders = True

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Give what another triggerer needs to go on with this wait."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "session_id": self.session_id,
                "synapse_livy_conn_id": self.synapse_livy_conn_id,
                "spark_pool_name": self.spark_pool_name,
                "livy_api_version": self.livy_api_version,
                "target_states": self.target_states,
                "accepted_results": self.accepted_results,
                "accept_idle_timeout": self.accept_idle_timeout,
                "deadline": self.deadline,
                "timeout": self.timeout,
                "poke_interval": self.poke_interval,
                "exponential_backoff": self.exponential_backoff,
                "max_wait": self.max_wait,
                "settle_timeout": self.settle_timeout,
                "silent_fail": self.silent_fail,
                "end_from_trigger": self.end_from_trigger,
                "trail": [list(step) for step in self.trail],
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and give the one event. Errors become events, too: Airflow would turn an exception into a skip."""
        event: TriggerEvent | None = None
        try:
            if self.deadline is None and not self._can_begin():
                event = TriggerEvent(BEGIN_ON_WORKER)
            else:
                async with self._reader() as reader:
                    event = await self._end_of_wait(reader)
        except SynapseLivyError as error:
            event = event or self._event({"error": error.to_dict()})
        except Exception as error:  # whatever it is, the task must learn of it
            self.log.exception("The wait for Spark session %s broke off.", self.session_id)
            words = f"The wait for Spark session {self.session_id} broke off: {type(error).__name__}: {error}"
            event = event or self._event({"error": SynapseLivyError(words).to_dict()})
        yield event

    def get_template_env(self, dag: Any = None) -> Any:
        """
        Give what the templates of a task that starts here are rendered with; a misspelt name must not pass for nothing.

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
            self._renders = False
            self.log.warning("The templates can't be rendered here, so the task begins on a worker.", exc_info=True)

    def _can_begin(self) -> bool:
        """
        Tell whether a task that was started here can begin here.

        A later try can't: only a worker can load_wait_state when the first one began. Nor can a task that its DAG has changed
        since, as Airflow gives it without its templates rendered.
        """
        instance: Any = self.task_instance
        return self._renders and self.task is not None and bool(instance.try_number == 1)

    async def _end_of_wait(self, reader: _Reader) -> TriggerEvent:
        verdict, seen = await self._wait(reader)
        links = await self._links(seen.session, reader) if seen else {}
        if verdict is Verdict.SUCCESS and seen and self.end_from_trigger:
            event = await self._end(seen.session, links)
            if event:
                return event
        return self._event(_payload(verdict, seen, links))

    def _event(self, payload: dict[str, Any]) -> TriggerEvent:
        return TriggerEvent(payload | {"try_number": getattr(self.task_instance, "try_number", None)})

    async def _links(self, session: SparkSession, reader: _Reader) -> dict[str, str]:
        """Give the links, which are not worth a failure."""
        try:
            return (await reader.open()).links(session)
        except Exception:
            self.log.warning("The links to the Spark session can't be made.", exc_info=True)
            return {}

    def _reader(self) -> _Reader:
        hook = SynapseLivyHook(
            self.synapse_livy_conn_id,
            spark_pool_name=self.spark_pool_name,
            livy_api_version=self.livy_api_version,
        )
        return _Reader(hook, self.session_id)

    async def _wait(self, reader: _Reader) -> tuple[Verdict, Snapshot | None]:
        wait = self._new_wait()
        if self.deadline is not None:
            wait.pause = max(0.0, min(self.poke_interval, self.deadline - wait.now()))
        while (verdict := await self._look(reader, wait)) is Verdict.WAIT:
            pass
        return verdict, wait.seen

    def _new_wait(self) -> Wait:
        validate_session_id(self.session_id)
        return Wait(
            WaitRules.checked(self.target_states, self.accepted_results, self.accept_idle_timeout),
            began=self._began(),
            timeout=self.timeout,
            poke_interval=self.poke_interval,
            exponential_backoff=self.exponential_backoff,
            max_wait=self.max_wait,
            settle_timeout=self.settle_timeout,
            silent_fail=self.silent_fail,
            trail=[(phase, since) for phase, since in self.trail],
            log=self.log,
        )

    def _began(self) -> float:
        """
        Tell when the wait began; a restart of the triggerer does not begin it anew.

        Airflow does not tell when it started the task here, but when it would stop it, from which that follows.
        """
        if self.deadline is not None:
            return self.deadline - self.timeout
        stopped_at: datetime | None = getattr(self, "timeout_after", None)
        if stopped_at is None:
            return time.time()
        task: Any = self.task
        longest = timedelta(seconds=self.timeout) + BACKSTOP
        return (stopped_at - min(longest, task.execution_timeout or longest)).timestamp()

    async def _look(self, reader: _Reader, wait: Wait) -> Verdict:
        answer = None
        with wait.forgiving():
            answer = await reader.read(wait)
        return wait.observe(answer, wait.now())

    async def _end(self, session: SparkSession, links: dict[str, str]) -> TriggerEvent | None:
        """End the task from here; if that can't be, the task ends on a worker as usual."""
        try:
            for key, value in end_of_task_xcoms(session, links).items():
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


class _Reader:
    """
    Opens the hook's reader with the first look, so that silent_fail covers the reading of the connection, too.

    After an error it is opened anew: the connection may have been corrected.
    """

    __slots__ = ("_hook", "_opened", "_session_id")

    def __init__(self, hook: SynapseLivyHook, session_id: object) -> None:
        self._hook = hook
        self._session_id = session_id
        self._opened: SparkSessionReader | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        opened, self._opened = self._opened, None
        if opened:
            await opened.close()

    async def read(self, wait: Wait) -> Snapshot:
        pause = wait.pause
        if self._opened is None:
            # Others' looks don't count before the first: a task must have been deferred for a while when it goes on.
            await asyncio.sleep(pause)
            pause = 0.0
        try:
            reader = await self.open()
            now = wait.now()
            return await reader.read(after=pause, patience=wait.patience(now + pause), quiet=wait.quiet(now))
        except Exception:
            await self.__aexit__()
            raise

    async def open(self) -> SparkSessionReader:
        if self._opened is None:
            self._opened = await self._hook.open_reader(self._session_id)
        return self._opened


class TriggerResult(NamedTuple):
    """
    How a wait in the triggerer ended.

    :param verdict: how.
    :param answer: the last look at the session, if there was a good one.
    :param links: the addresses of the session's links, by their names.
    """

    verdict: Verdict
    answer: Snapshot | None
    links: Mapping[str, str]


def _payload(verdict: Verdict, seen: Snapshot | None, links: Mapping[str, str]) -> dict[str, Any]:
    session, activity_id = seen[:2] if seen else (None, None)
    return {
        "verdict": str(verdict),
        "session": session.to_dict() if session else None,
        "activity_id": activity_id,
        "links": dict(links),
    }


def read_event(event: Any) -> TriggerResult:
    """
    Read the event of a :class:`SynapseSparkSessionTrigger`: how the wait ended, and the session as last seen.

    Anything can stand in an event, even nothing, and none of it may pass for a success.

    :param event: the event's payload.
    :raises SynapseLivyError: the error that ended the wait, if one did, or one that says what is wrong with the event.
    """
    try:
        error = event.get("error")
        if error is None:
            return _ended(event)
        ended_by = SynapseLivyError.from_dict(error)
    except (AttributeError, KeyError, TypeError, ValueError) as problem:
        raise SynapseLivyResponseError(
            f"The trigger's event {reprlib.repr(event)} is not one of a Spark session "
            f"({type(problem).__name__}: {problem}). Clear the task to wait again."
        ) from None
    raise ended_by


def _ended(event: Mapping[str, Any]) -> TriggerResult:
    verdict = Verdict(event["verdict"])
    if verdict is Verdict.WAIT:
        raise ValueError("a wait that goes on has no event")
    links = dict(event["links"])
    if event["session"] is None:
        return TriggerResult(verdict, None, links)
    return TriggerResult(verdict, Snapshot(SparkSession.from_dict(event["session"]), event["activity_id"]), links)
