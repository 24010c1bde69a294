"""
Runs an operator as Airflow does, but within the test: what is deferred is written as JSON, read again, and resumed.

``tests/airflow`` has the same in real Airflows.
"""

from __future__ import annotations

import asyncio
import importlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from airflow_provider_synapse_livy.airflow_compat.sdk import BaseOperator, TaskDeferred

#: When the run of all tasks began; an attribute of a task instance may say otherwise.
_RUN_BEGAN = datetime.now(UTC) - timedelta(minutes=1)


class TaskInstance:
    """What the operators use of Airflow's task instance; its XComs must be JSON."""

    def __init__(self, task_id: str = "create", **changes: Any) -> None:
        self.dag_id, self.run_id, self.task_id, self.map_index = "dag", "run", task_id, -1
        self.try_number, self.max_tries = 1, 1
        self.task = SimpleNamespace(retries=1)
        self.start_date = datetime.now(UTC)
        self.xcoms: dict[str, Any] = {}
        self.__dict__.update(changes)

    def get_first_reschedule_date(self, context: Any) -> None:
        """Return when the task ran first: it was not rescheduled."""

    def xcom_push(self, key: str, value: Any) -> None:
        """Keep an XCom."""
        self.xcoms[key] = json.loads(json.dumps(value, allow_nan=False))

    def xcom_pull(self, task_ids: str, key: str, map_indexes: int) -> Any:
        """Return an XCom of this task."""
        assert (task_ids, map_indexes) == (self.task_id, self.map_index)
        return self.xcoms.get(key)


class WorkerDied(BaseException):
    """
    What a worker that is killed at once looks like from within, in a task that cancels nothing when it is killed.

    ``tests/airflow`` and ``tests/distributed`` have workers that are killed.
    """


def dying(task_instance: TaskInstance) -> TaskInstance:
    """Let the worker die right before it notes the id of what it has created."""

    def die(key: str, value: Any) -> None:
        raise WorkerDied

    task_instance.xcom_push = die  # type: ignore[method-assign]
    return task_instance


def context_of(task_instance: TaskInstance, **more: Any) -> Any:
    """
    Return the context of a task whose run began a minute before the tests, and was never set back.

    ``run_began`` and ``run_cleared`` of the task instance may say otherwise.
    """
    began = getattr(task_instance, "run_began", _RUN_BEGAN)
    run = {"start_date": began, "run_after": _RUN_BEGAN, "clear_number": getattr(task_instance, "run_cleared", 0)}
    return {"ti": task_instance, "dag_run": SimpleNamespace(**run), **more}


def run_task(
    make: Callable[[], BaseOperator], task_instance: TaskInstance, *, run_loop: Callable[[Any], Any] = asyncio.run
) -> Any:
    """
    Run one try of a task to its end, and return what it returns.

    :param make: returns the operator; it is made anew after a deferral, as on another worker.
    :param task_instance: the task instance.
    :param run_loop: runs a coroutine on the event loop of the triggerer.
    """
    context = context_of(task_instance)
    try:
        return make().execute(context)
    except TaskDeferred as deferral:
        event = run_loop(event_of(made_again(deferral)))
        return make().resume_execution(deferral.method_name, {"event": event}, context)


def made_again(deferral: TaskDeferred) -> Any:
    """Return the trigger of a deferral as a triggerer makes it, from what the metadata database keeps."""
    path, kwargs = deferral.trigger.serialize()
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)(**json.loads(json.dumps(kwargs)))


async def event_of(trigger: Any) -> Any:
    """Run a trigger to its end, and return its one event as JSON brings it back."""
    (event,) = [event async for event in trigger.run()]
    return json.loads(json.dumps(event.payload))
