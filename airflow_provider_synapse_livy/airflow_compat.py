"""What differs between the supported versions of Airflow, each difference with its reason, and nowhere else."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

try:  # Airflow 3.2 moved them here, and warns about the old place.
    from airflow.sdk.exceptions import AirflowRescheduleException, TaskDeferralError
except ImportError:
    from airflow.exceptions import AirflowRescheduleException, TaskDeferralError  # type: ignore[no-redef]

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

__all__ = ["AirflowRescheduleException", "first_poke_time", "is_deferral_timeout", "recall", "remember"]

log = logging.getLogger(__name__)

_MEMORY_KEY = "synapse_livy_wait"


def first_poke_time(context: Context) -> float | None:
    """
    Give the time, in seconds since the epoch, at which a rescheduled sensor poked first; None if it pokes first now.

    Airflow 3 asks the API server for it, Airflow 2 has only the metadata database, which it lets tasks read.

    :param context: Airflow's context of the task.
    """
    task_instance = context["ti"]
    if hasattr(task_instance, "get_first_reschedule_date"):
        first = task_instance.get_first_reschedule_date(context)
    else:
        from airflow.sensors.base import _orig_start_date

        first_try = (task_instance.max_tries or 0) - (task_instance.task.retries or 0) + 1
        first = _orig_start_date(
            dag_id=task_instance.dag_id,
            task_id=task_instance.task_id,
            run_id=task_instance.run_id,
            map_index=task_instance.map_index,
            try_number=first_try,
        )
    return first.timestamp() if first else None


def is_deferral_timeout(error: Exception) -> bool:
    """
    Tell whether an error means that Airflow itself gave up a deferred task, for the time that ``defer`` was given.

    Airflow 3 has an exception for it, Airflow 2 only its words.

    :param error: the error.
    """
    if isinstance(error, TaskDeferralError):
        return "timeout" in str(error).lower()
    return type(error).__name__ == "TaskDeferralTimeout"


def recall(context: Context) -> Any:
    """
    Give what an earlier run of this task has left with :func:`remember`, None where there is nothing.

    :param context: Airflow's context of the task.
    """
    store: Any = context.get("task_state_store")
    try:
        return store.get(_MEMORY_KEY) if store else None
    except Exception:  # a better log is not worth a failed wait
        log.warning("What this task noted before its last run can't be read.", exc_info=True)
        return None


def remember(context: Context, value: Any) -> None:
    """
    Leave something for the next run of this task. Airflow before 3.3 has no place for it, so there it is lost.

    :param context: Airflow's context of the task.
    :param value: JSON values.
    """
    store: Any = context.get("task_state_store")
    try:
        if store:
            store.set(_MEMORY_KEY, value)
    except Exception:  # a better log is not worth a failed wait
        log.warning("What this task has noted for its next run can't be kept.", exc_info=True)
