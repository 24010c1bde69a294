"""The trigger that waits for a Spark session of Azure Synapse, and the event that it ends with."""

from __future__ import annotations

import asyncio
import reprlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_synapse_livy.api import SparkSessionAnswer
from airflow_provider_synapse_livy.exceptions import SynapseLivyAnswerError, SynapseLivyError
from airflow_provider_synapse_livy.hooks.synapse_livy import SynapseLivyHook
from airflow_provider_synapse_livy.models import SparkSession
from airflow_provider_synapse_livy.waiting import Verdict, Wait, WaitRules

__all__ = ["SynapseSparkSessionTrigger", "read_event"]


class SynapseSparkSessionTrigger(BaseTrigger):
    """
    Wait for a Spark session, and end with one event that says how the wait ended.

    The parameters are JSON values, so that the trigger can move to another triggerer, which keeps the deadline.
    It looks first after one ``poke_interval``, since the task has looked just before.

    :param session_id: the session's id.
    :param synapse_livy_conn_id: the id of the Airflow connection to the workspace.
    :param spark_pool_name: the Spark pool; None for the connection's.
    :param livy_api_version: the version of the Livy API; None for the connection's.
    :param target_states: the Livy states to wait for; None to wait for the end.
    :param accepted_results: with which results the end is a success.
    :param accept_idle_timeout: whether an end by idle timeout is one, too.
    :param deadline: when the wait ends, in seconds since the epoch.
    :param timeout: how many seconds the wait was given in all.
    :param poke_interval: seconds between two looks.
    :param exponential_backoff: whether the interval grows with each look.
    :param max_wait: how many seconds it grows to at the most; None for no bound.
    :param silent_fail: whether to log errors and go on looking, rather than to end with them.
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
        deadline: float,
        timeout: float,
        poke_interval: float,
        exponential_backoff: bool = False,
        max_wait: float | None = None,
        silent_fail: bool = False,
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
        self.silent_fail = silent_fail
        self.trail = trail

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
                "silent_fail": self.silent_fail,
                "trail": [list(step) for step in self.trail],
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and give the one event. Errors become events, too: Airflow would turn an exception into a skip."""
        try:
            event = await self._wait()
        except SynapseLivyError as error:
            event = {"error": error.to_dict()}
        except Exception as error:  # whatever it is, the task must learn of it
            self.log.exception("The wait for Spark session %s broke off.", self.session_id)
            words = f"The wait for Spark session {self.session_id} broke off: {type(error).__name__}: {error}"
            event = {"error": SynapseLivyError(words).to_dict()}
        yield TriggerEvent(event)

    async def _wait(self) -> dict[str, Any]:
        wait = self._new_wait()
        await asyncio.sleep(max(0.0, min(self.poke_interval, self.deadline - time.time())))
        hook = SynapseLivyHook(
            self.synapse_livy_conn_id,
            spark_pool_name=self.spark_pool_name,
            livy_api_version=self.livy_api_version,
        )
        async with _Reader(hook, self.session_id) as reader:
            while (verdict := await self._look(reader, wait)) is Verdict.WAIT:  # noqa: ASYNC110  (not an event's job)
                await asyncio.sleep(wait.pause)
        session, activity_id = wait.seen or (None, None)
        seen = session.to_dict() if session else None
        return {"verdict": str(verdict), "session": seen, "activity_id": activity_id}

    def _new_wait(self) -> Wait:
        return Wait(
            WaitRules.checked(self.target_states, self.accepted_results, self.accept_idle_timeout),
            began=self.deadline - self.timeout,
            timeout=self.timeout,
            poke_interval=self.poke_interval,
            exponential_backoff=self.exponential_backoff,
            max_wait=self.max_wait,
            silent_fail=self.silent_fail,
            trail=[(phase, since) for phase, since in self.trail],
            log=self.log,
        )

    async def _look(self, reader: _Reader, wait: Wait) -> Verdict:
        answer = None
        with wait.forgiving():
            answer = await reader.read(wait.patience(time.time()))
        return wait.observe(answer, time.time())


class _Reader(AsyncExitStack):
    """Reads the session; takes up its share of the client with the first look, so that silent_fail covers that too."""

    def __init__(self, hook: SynapseLivyHook, session_id: object) -> None:
        super().__init__()
        self._hook = hook
        self._session_id = session_id
        self._read: Callable[..., Awaitable[SparkSessionAnswer]] | None = None

    async def read(self, patience: float) -> SparkSessionAnswer:
        if self._read is None:
            self._read = await self.enter_async_context(self._hook.async_reader(self._session_id))
        return await self._read(patience=patience)


def read_event(event: Any) -> tuple[Verdict, SparkSessionAnswer | None]:
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
        raise SynapseLivyAnswerError(
            f"The trigger's event {reprlib.repr(event)} is not one of a Spark session "
            f"({type(problem).__name__}: {problem}). Clear the task to wait again."
        ) from None
    raise ended_by


def _ended(event: Mapping[str, Any]) -> tuple[Verdict, SparkSessionAnswer | None]:
    verdict = Verdict(event["verdict"])
    if verdict is Verdict.WAIT:
        raise ValueError("a wait that goes on has no event")
    if event["session"] is None:
        return verdict, None
    return verdict, SparkSessionAnswer(SparkSession.from_dict(event["session"]), event["activity_id"])
