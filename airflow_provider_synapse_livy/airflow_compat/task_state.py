"""
What a task remembers from one of its runs to the next: when its wait began, and the phases that it has logged.

Airflow numbers the tries of a task through all of its lives, and keeps two numbers of each task instance:
``try_number``, and ``max_tries``, which a clearing sets to ``try_number + retries``. With ``retries=1``:

.. code-block:: text

                  first life                        second life
               ╭───────────┴────────────╮        ╭───────┴───────╮
    try_number 1                2                3
    runs       ├─run─┤ ├─run─┤  ├─run─┤          ├─run─┤ ├─run─┤
                     │       │        │                │       │
                reschedule  fails  succeeds,      reschedule  succeeds
                                   is cleared
    max_tries  1 (= retries)                     3 (= 2 + retries)
    first try  1 - retries + 1 = 1               3 - retries + 1 = 3

- A reschedule or a deferral ends a run, and the next one goes on with the same try.
- A retry begins the next try of the same life. The wait goes on: it began with the first try of the life.
- A clearing begins the next life, and a new wait. Clearing a task while it runs is different: Airflow before 3.1 counts
  it as a retry, also for its own sensors.

How much of that a run can learn depends on Airflow's version:

- 3.3 and newer: ``task_state_store`` outlives runs, tries and lives, so all that :func:`save_wait_state` has written.
- 3.0 to 3.2: when the first run of a try began, if that ended in a reschedule. A retry begins its wait anew.
- 2: the runs of all tries are in the metadata database, which tasks may read.
"""

from __future__ import annotations

import logging
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_provider_synapse_livy.airflow_compat.sdk import Context

__all__ = [
    "delete_xcom",
    "first_started_at",
    "is_first_of_life",
    "is_later_try",
    "key_of_instance",
    "load_wait_state",
    "pull_own_xcom",
    "run_started_at",
    "save_start",
    "save_wait_state",
    "try_started_at",
]

log = logging.getLogger(__name__)

_STATE_KEY = "synapse_livy_wait"


def _first_try(task_instance: Any) -> int:
    """
    Return the number of the first try of this life.

    Airflow has no name for it, but computes it so for its own sensors. It is wrong, there as here, while a DAG's
    ``retries`` differ from those that the task was created or last cleared with.
    """
    return int((task_instance.max_tries or 0) - (task_instance.task.retries or 0) + 1)


def _life(context: Context) -> dict[str, Any]:
    """Return what identifies this life and this try."""
    task_instance: Any = context["ti"]
    return {"first_try": _first_try(task_instance), "try_number": task_instance.try_number}


def first_started_at(context: Context) -> float | None:
    """
    Return the time, in seconds since the epoch, at which this life began; None if it began with this run.

    It is for where :func:`load_wait_state` has nothing. Airflow 3 knows it of rescheduled tries alone, and returns
    None for other retries.

    :param context: the task's context.
    """
    task_instance: Any = context["ti"]
    if hasattr(task_instance, "get_first_reschedule_date"):
        first = task_instance.get_first_reschedule_date(context)
    else:
        first = _start_in_database(task_instance, _first_try(task_instance))
    return first.timestamp() if first else None


def _start_in_database(task_instance: Any, first_try: int) -> datetime | None:
    """
    Return when the first run of a life began, from the metadata database of Airflow 2.

    Of a try that has ended, the database has the start of its last run; of each reschedule, the start of the run that
    it ended, and Airflow's function returns the first of them from ``first_try`` on. So the earlier of the two is the
    first run's, whether or not the first try was rescheduled.
    """
    from airflow.models.taskinstancehistory import TaskInstanceHistory
    from airflow.sensors.base import _orig_start_date
    from airflow.utils.session import create_session

    key = key_of_instance(task_instance)
    starts: list[datetime | None] = [_orig_start_date(**key, try_number=first_try)]
    if task_instance.try_number != first_try:
        with create_session() as session:
            tries = session.query(TaskInstanceHistory.start_date).filter_by(**key, try_number=first_try)
            starts.append(tries.scalar())
    return min((start for start in starts if start), default=None)


def try_started_at(context: Context) -> float | None:
    """
    Return the time, in seconds since the epoch, at which this try began; a deferral goes on with the same try.

    It is for tasks that defer alone: after a reschedule it is when the present run began.

    :param context: the task's context.
    """
    started: datetime | None = getattr(context["ti"], "start_date", None)
    return started.timestamp() if started else None


def load_wait_state(context: Context) -> Mapping[str, Any]:
    """
    Return what earlier runs of this life have saved; empty if nothing was saved, or it can't be read.

    After a retry it has ``started_at`` alone: what else was saved holds for the try that saved it.

    :param context: the task's context.
    """
    store: Any = context.get("task_state_store")
    try:
        state = (store.get(_STATE_KEY) if store else None) or {}
        life = _life(context) if state else {}
        if state.get("first_try") != life.get("first_try"):
            return {}
        return state if state.get("try_number") == life.get("try_number") else {"started_at": state["started_at"]}
    except Exception:  # losing it costs a better log, and a retry's knowledge of when its wait began
        log.warning("The task's saved state can't be read, so the wait begins anew.", exc_info=True)
        return {}


def save_wait_state(context: Context, *, started_at: float, history: Sequence[tuple[str, float]]) -> None:
    """
    Save the state of the wait for later runs of this task. Before Airflow 3.3 it is lost.

    :param context: the task's context.
    :param started_at: when the wait began, in seconds since the epoch; later tries of this life get it, too.
    :param history: the phases that the session was seen in, each with the time since when; for this try alone.
    """
    store: Any = context.get("task_state_store")
    try:
        if store:
            state = {"started_at": started_at, "history": [list(step) for step in history]}
            store.set(_STATE_KEY, _life(context) | state)
    except Exception:
        log.warning("The state of the wait can't be saved.", exc_info=True)


def save_start(context: Context) -> None:
    """
    Save for retries when this task started, if it started in the triggerer, which has no ``task_state_store``.

    :param context: the task's context, when it comes from the triggerer to a worker for the first time.
    """
    started = try_started_at(context)
    if started and not load_wait_state(context):
        save_wait_state(context, started_at=started, history=())


def key_of_instance(task_instance: Any) -> dict[str, Any]:
    """
    Return what identifies a task instance in the metadata database and among the XComs, but for its try.

    :param task_instance: the task instance.
    """
    return {name: getattr(task_instance, name) for name in ("dag_id", "task_id", "run_id", "map_index")}


def is_later_try(context: Context) -> bool:
    """
    Return whether this is not the first try of the task, in whichever of its lives.

    :param context: the task's context; in unit tests of DAGs it has no task instance.
    """
    return int(getattr(context.get("ti"), "try_number", 1)) > 1


def is_first_of_life(context: Context) -> bool:
    """
    Return whether no earlier try of this life of the task can have done anything.

    :param context: the task's context; in unit tests of DAGs it has no task instance.
    """
    task_instance: Any = context.get("ti")
    return task_instance is None or int(task_instance.try_number) <= _first_try(task_instance)


def run_started_at(context: Context) -> datetime | None:
    """
    Return when the DAG run started, None where the context does not tell.

    :param context: the task's context.
    """
    started: datetime | None = getattr(context.get("dag_run"), "start_date", None)
    return started


def first_started_at_earliest(context: Context) -> datetime | None:
    """
    Return before when no life of the task can have begun; None where the context does not tell.

    A user who clears a run as a whole changes its start, but not when it was due (Airflow 3) or what it is about.

    :param context: the task's context.
    """
    run = context.get("dag_run")
    if not getattr(run, "clear_number", 0):
        return run_started_at(context)
    due: datetime | None = getattr(run, "run_after", None) or getattr(run, "data_interval_end", None)
    return due


def pull_own_xcom(context: Context, key: str) -> Any:
    """
    Return an XCom that this task has pushed before a deferral, None if there is none.

    :param context: the task's context.
    :param key: the XCom's key.
    """
    task_instance: Any = context.get("ti")
    if task_instance is None:
        return None
    return task_instance.xcom_pull(task_ids=task_instance.task_id, key=key, map_indexes=task_instance.map_index)


def delete_xcom(context: Context, key: str) -> None:
    """
    Delete an XCom that an earlier life of this task has pushed.

    Airflow deletes them before a task starts on a worker, but not if it starts in the triggerer.

    :param context: the task's context.
    :param key: the XCom's key.
    """
    from airflow_provider_synapse_livy.airflow_compat.sdk import XCom

    task_instance: Any = context["ti"]
    try:
        task = key_of_instance(task_instance)
        XCom.delete(key=key, **task)
    except Exception:
        log.warning("The XCom %s of an earlier run can't be deleted.", key, exc_info=True)
