"""
For tests of DAGs: run a task of this package within the test, also through a deferral, and let tasks poll often.

.. code-block:: python

    @pytest.mark.synapse_livy(database=False)
    def test_wait(synapse_livy_emulator):
        session_id = synapse_livy_emulator.create_session("sparkpool")
        sensor = SynapseSparkSessionSensor(
            task_id="wait", session_id=session_id, target_states="idle", deferrable=True
        )
        run_task(sensor, while_deferred=lambda: synapse_livy_emulator.advance(60))

There is no scheduler, no triggerer and no database: connections come from ``AIRFLOW_CONN_...`` variables, and templates
are not rendered. Airflow itself is imported when a function is called.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_synapse_livy.airflow_compat.sdk import BaseOperator, TaskDeferred

__all__ = ["POLL_INTERVAL", "FakeTaskInstance", "run_task", "short_intervals"]

#: Seconds between two polls of the local Synapse, which does not mind.
POLL_INTERVAL = 0.1

_PACKAGE = __name__.partition(".")[0]
_INTERVALS = ("poke_interval", "poll_interval")


class FakeTaskInstance:
    """
    What the tasks of this package use of Airflow's task instance. It is the first try of one that may be tried twice.

    :param task_id: the id of the task.
    """

    def __init__(self, task_id: str = "task") -> None:
        self.dag_id, self.run_id, self.task_id, self.map_index = "dag", "run", task_id, -1
        self.try_number, self.max_tries = 1, 1
        self.task = SimpleNamespace(retries=1)
        self.start_date = datetime.now(UTC)
        self.xcoms: dict[str, Any] = {}

    def get_first_reschedule_date(self, _: Any) -> datetime | None:
        """Return when the task ran first: it was not rescheduled."""
        return None

    def xcom_push(self, key: str, value: Any) -> None:
        """Keep an XCom in ``xcoms``; it must be JSON."""
        self.xcoms[key] = json.loads(json.dumps(value, allow_nan=False))

    def xcom_pull(self, *, key: str = "return_value", **_: Any) -> Any:
        """Return an XCom of this task; those of others are not known."""
        return self.xcoms.get(key)


def run_task(
    task: BaseOperator,
    *,
    while_deferred: Callable[[], object] | None = None,
    timeout: float = 30.0,
    task_instance: FakeTaskInstance | None = None,
) -> Any:
    """
    Run one try of a task, and return what it returns. Where it defers, run its trigger and go on with the event.

    The task polls every 0.1 s. What it raises is what a worker would see, such as ``AirflowSkipException``.

    :param task: a sensor or operator, or any other task that defers.
    :param while_deferred: called each time when the task has been deferred, before its trigger runs.
    :param timeout: real seconds that a trigger may take.
    :param task_instance: the task instance, to read ``xcoms`` from afterwards.
    :raises TimeoutError: if a trigger takes longer than that.
    """
    from airflow_provider_synapse_livy.airflow_compat.sdk import TaskDeferred

    ti = task_instance or FakeTaskInstance(task.task_id)
    context: Any = {"ti": ti, "task_instance": ti, "task": task, "dag_run": SimpleNamespace(start_date=ti.start_date)}
    step: Callable[[], Any] = lambda: task.execute(context)  # noqa: E731
    with short_intervals([task]):
        while True:
            try:
                return step()
            except TaskDeferred as deferral:
                step = _resumption(task, deferral, context, while_deferred, timeout)


def _resumption(
    task: BaseOperator,
    deferral: TaskDeferred,
    context: Any,
    while_deferred: Callable[[], object] | None,
    timeout: float,
) -> Callable[[], Any]:
    """Run a deferral's trigger to its event, and return what the task goes on with."""
    if while_deferred:
        while_deferred()
    try:
        event = asyncio.run(asyncio.wait_for(_first_event(_deserialized(deferral)), timeout))
    except TimeoutError as error:
        fix = "let the session get on with advance() or finish(), or raise the timeout of run_task()."
        raise TimeoutError(f"Task {task.task_id}: still deferred after {timeout:g} s.\nFix: {fix}") from error
    kwargs = {**(deferral.kwargs or {}), "event": event}
    return lambda: task.resume_execution(deferral.method_name, kwargs, context)


def _deserialized(deferral: TaskDeferred) -> Any:
    """Return the trigger of a deferral as a triggerer makes it, from what the metadata database keeps."""
    path, kwargs = deferral.trigger.serialize()
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)(**json.loads(json.dumps(kwargs)))


async def _first_event(trigger: Any) -> Any:
    async with contextlib.aclosing(trigger.run()) as events:
        async for event in events:
            return json.loads(json.dumps(event.payload))
    raise RuntimeError(f"{type(trigger).__name__} ended without an event.\nFix: let its run() yield one.")


@contextlib.contextmanager
def short_intervals(tasks: Iterable[Any], seconds: float = POLL_INTERVAL) -> Iterator[None]:
    """
    Let the tasks of this package poll often during a ``with`` block; others are left alone.

    :param tasks: tasks, such as ``dag.tasks``.
    :param seconds: the seconds between two polls.
    """
    with contextlib.ExitStack() as restoring:
        for task in tasks:
            mapped = getattr(task, "partial_kwargs", None)  # a mapped task is made from these when it runs
            kind = type(task) if mapped is None else getattr(task, "operator_class", None)
            if any(base.__module__.split(".")[0] == _PACKAGE for base in getattr(kind, "__mro__", ())):
                _shorten(vars(task) if mapped is None else mapped, seconds, restoring)
        yield


def _shorten(values: dict[str, Any], seconds: float, restoring: contextlib.ExitStack) -> None:
    for name in _INTERVALS:
        if name in values:
            restoring.callback(values.__setitem__, name, values[name])
            values[name] = seconds
