"""Whether a user has ended a task that is deferred, which its trigger has to find out."""

from __future__ import annotations

import logging
from typing import Any

from airflow_provider_synapse_livy.airflow_compat.connections import run_in_airflow_thread
from airflow_provider_synapse_livy.airflow_compat.sdk import XCom
from airflow_provider_synapse_livy.airflow_compat.versions import AIRFLOW_VERSION

__all__ = ["TRIGGERS_ARE_KILLED", "was_ended_by_user"]

log = logging.getLogger(__name__)

#: Whether Airflow calls a trigger's ``on_kill`` when a user ends its task. It does so as well when another triggerer
#: has taken the trigger over.
TRIGGERS_ARE_KILLED = AIRFLOW_VERSION >= (3, 3)

#: The states that a task has when a user has marked or cleared it, and no other way leads to them from a deferral that
#: still has its trigger. A cleared task that is scheduled again looks like one that goes on: its next life cleans up.
_ENDED_BY_USER = ("failed", "skipped", "removed", "None")


async def was_ended_by_user(task_instance: Any) -> bool:
    """
    Return whether a trigger was cancelled since a user has marked or cleared its task.

    Airflow cancels triggers as well when a triggerer stops, or finds that another has taken them over: then the task is
    still deferred, or has gone on with the other's event. In doubt, nothing was ended.

    :param task_instance: the task instance of the trigger.
    """
    try:
        return await run_in_airflow_thread(_was_ended, task_instance)
    except Exception:
        log.warning("Whether a user has ended the task is not known. Nothing is cancelled.", exc_info=True)
        return False


def _was_ended(task_instance: Any) -> bool:
    state = _state_of(task_instance)
    if state == "success":  # marked, or with another triggerer's event, which has handed something on
        return _return_value(task_instance) is None
    return state in _ENDED_BY_USER


def _return_value(task_instance: Any) -> Any:
    key = {name: getattr(task_instance, name) for name in ("dag_id", "run_id", "task_id", "map_index")}
    return XCom.get_one(key="return_value", **key)


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
