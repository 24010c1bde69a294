"""What a trigger that is cancelled does: before Airflow 3.3 it has to find out whether a user has ended its task."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Coroutine
from typing import Any

from airflow_provider_synapse_livy.airflow_compat.connections import run_in_airflow_thread
from airflow_provider_synapse_livy.airflow_compat.versions import AIRFLOW_VERSION

__all__ = ["TRIGGERS_ARE_KILLED", "despite_cancellation", "was_ended_by_user"]

log = logging.getLogger(__name__)

#: Whether Airflow calls a trigger's ``on_kill`` when a user ends its task, and only then.
TRIGGERS_ARE_KILLED = AIRFLOW_VERSION >= (3, 3)

_DEFERRED = "deferred"

#: For how many seconds a trigger that is cancelled goes on; Airflow 3.3 gives its ``on_kill`` 30.
_MAX_SECONDS = 25.0


async def despite_cancellation(work: Coroutine[Any, Any, None]) -> None:
    """
    Do the last work of a trigger. Until a cancelled trigger has ended, Airflow cancels it again about each second.

    :param work: the work.
    """
    task = asyncio.create_task(work)
    deadline = time.monotonic() + _MAX_SECONDS
    while not task.done() and (left := deadline - time.monotonic()) > 0:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([task], timeout=left)
    task.cancel()  # which does nothing to what is done
    await task


async def was_ended_by_user(task_instance: Any) -> bool:
    """
    Return whether a trigger was cancelled since its task is no longer deferred: a user has marked or cleared it.

    A triggerer that stops cancels its triggers as well, and leaves the task deferred for another one. In doubt, it is
    taken for that.

    :param task_instance: the task instance of the trigger.
    """
    try:
        state = await run_in_airflow_thread(_state_of, task_instance)
    except Exception:
        log.warning("Whether a user has ended the task is not known. Nothing is cancelled.", exc_info=True)
        return False
    return state != _DEFERRED


def _state_of(task_instance: Any) -> str:
    """Return the state of a task: by the triggerer's channel to the API server, or in Airflow 2 from the database."""
    key = {name: getattr(task_instance, name) for name in ("dag_id", "run_id", "task_id", "map_index")}
    if AIRFLOW_VERSION < (3, 0):
        return _state_in_database(key)
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    states = RuntimeTaskInstance.get_task_states(
        dag_id=key["dag_id"], task_ids=[key["task_id"]], run_ids=[key["run_id"]], map_index=key["map_index"]
    )
    # By run, then by task; a mapped task has its index after its name. One that was cleared has no state.
    by_task = states.get(key["run_id"], {})
    return str(next(iter(by_task.values()), None))


def _state_in_database(key: dict[str, Any]) -> str:
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session

    with create_session() as session:
        return str(session.query(TaskInstance.state).filter_by(**key).scalar())
