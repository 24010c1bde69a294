"""
What a trigger does when it is cancelled: whether a user has ended its task, it has to find out itself.

Airflow 3.3 says so by calling ``on_kill``. It calls that with the same words when a triggerer that was slow for longer
than ``triggerer_health_check_threshold`` has lost the trigger to another one, where it goes on. And it breaks
``on_kill`` off after a second, since it cancels a trigger anew until it has ended.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, NamedTuple

from airflow_provider_synapse_livy.airflow_compat.connections import run_in_airflow_thread
from airflow_provider_synapse_livy.airflow_compat.sdk import XCom
from airflow_provider_synapse_livy.airflow_compat.task_state import key_of_instance
from airflow_provider_synapse_livy.airflow_compat.versions import AIRFLOW_VERSION

__all__ = ["TRIGGERS_ARE_KILLED", "TaskStanding", "run_to_its_end", "standing_of"]

log = logging.getLogger(__name__)

#: Whether Airflow calls a trigger's ``on_kill``.
TRIGGERS_ARE_KILLED = AIRFLOW_VERSION >= (3, 3)

_DEFERRED = "deferred"

#: The states of a task that its trigger's event has taken back to a worker, or that was cleared.
_GONE_ON = ("scheduled", "queued", "running", "success")

#: What runs to its end; an event loop alone would not keep it.
_running: set[asyncio.Task[None]] = set()


class TaskStanding(NamedTuple):
    """
    What has become of a trigger's task.

    :param state: its state by now.
    :param noted: the id that it has noted in XCom, where the state alone does not say enough.
    """

    state: str
    noted: Any

    def is_deferred(self, record_id: object) -> bool:
        """
        Return whether the task still waits for a record: another triggerer does so for it.

        :param record_id: the record's id. A task that was cleared meanwhile, and waits again, has noted another one.
        """
        return self.state == _DEFERRED and self.noted in (None, record_id)

    def may_have_gone_on(self, record_id: object) -> bool:
        """
        Return whether the task may have been told by another triggerer that a record is ready.

        :param record_id: the record's id.
        """
        return self.state in _GONE_ON and self.noted == record_id


async def standing_of(task_instance: Any, key: str) -> TaskStanding | None:
    """
    Return what has become of the task of a trigger that was cancelled; None if that can't be known.

    :param task_instance: the task instance of the trigger.
    :param key: the XCom key of the id that the task has noted.
    """
    try:
        return await run_in_airflow_thread(_standing_of, task_instance, key)
    except Exception:
        log.warning("What has become of the task is not known.", exc_info=True)
        return None


def _standing_of(task_instance: Any, key: str) -> TaskStanding:
    task = key_of_instance(task_instance)
    state = _state_of(task)
    return TaskStanding(state, XCom.get_one(key=key, **task) if state in (_DEFERRED, *_GONE_ON) else None)


async def run_to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """
    Run something to its end, however often the trigger is cancelled meanwhile.

    :param work: what to run; it must end in time.
    """
    task = asyncio.ensure_future(work)
    _running.add(task)
    task.add_done_callback(_running.discard)
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():  # the event loop itself ends
                raise


def _state_of(key: dict[str, Any]) -> str:
    """Return the state of a task: by the triggerer's channel to the API server, or in Airflow 2 from the database."""
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
