"""Which Airflow this is, and the names, exceptions and events that differ with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow import __version__

from airflow_provider_synapse_livy.airflow_compat.sdk import TaskDeferralError, conf

try:  # Airflow 3.1 and newer
    from airflow.sdk.log import mask_secret
except ImportError:
    try:  # Airflow 3.0
        from airflow.sdk.execution_time.secrets_masker import mask_secret  # type: ignore[no-redef]
    except ImportError:  # Airflow 2
        from airflow.utils.log.secrets_masker import mask_secret  # type: ignore[import-not-found, no-redef]

if TYPE_CHECKING:
    from airflow_provider_synapse_livy.airflow_compat.sdk import Context

__all__ = [
    "AIRFLOW_VERSION",
    "STARTS_FROM_TRIGGER",
    "base_url",
    "has_listeners",
    "is_deferral_timeout",
    "is_of_earlier_try",
    "mask_secret",
]

#: The major and minor version of Airflow.
AIRFLOW_VERSION = tuple(int(part) for part in __version__.split(".")[:2])

#: Whether a task can start, and end, in the triggerer. Airflow 3.3 is the first to render the trigger's templates;
#: 2.11 and 3.0 start it with the templates unrendered, 3.1 and 3.2 start the task on a worker regardless.
STARTS_FROM_TRIGGER = AIRFLOW_VERSION >= (3, 3)


def base_url() -> str:
    """Return the address of this Airflow's UI, as far as it is set, which is the same for all its workers."""
    section = "api" if AIRFLOW_VERSION >= (3, 0) else "webserver"
    return str(conf.get(section, "base_url", fallback="") or "").rstrip("/")


def has_listeners() -> bool:
    """Return whether a plugin, such as OpenLineage's, listens to tasks (Airflow 3.3, where a task may end unheard)."""
    from airflow.sdk.listener import get_listener_manager

    return bool(get_listener_manager().has_listeners)


def is_deferral_timeout(error: Exception) -> bool:
    """
    Return whether an error means that Airflow ended a deferral, because the timeout given to ``defer`` had passed.

    Airflow 3 has an exception for it, which is no subclass of ``TaskDeferralError``; Airflow 2 has only the message.

    :param error: what a resumed task was given.
    """
    if isinstance(error, TaskDeferralError):
        return str(error) == "Trigger timeout"
    return type(error).__name__ == "TaskDeferralTimeout"


def is_of_earlier_try(event: Any, context: Context) -> bool:
    """
    Return whether a trigger's event ended an earlier try.

    Airflow 3.0 resumes a retry with that event, instead of executing the task anew.

    :param event: the event's payload.
    :param context: the task's context.
    """
    try_number = event.get("try_number") if isinstance(event, dict) else None
    return AIRFLOW_VERSION == (3, 0) and try_number is not None and try_number != context["ti"].try_number
