"""What differs between the supported versions of Airflow, each difference with its reason, and nowhere else."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from airflow import __version__ as airflow_version

try:  # Airflow 3.2 moved them here, and warns about the old place.
    from airflow.sdk.exceptions import AirflowRescheduleException, TaskDeferralError
except ImportError:
    from airflow.exceptions import AirflowRescheduleException, TaskDeferralError  # type: ignore[no-redef]

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from airflow.providers.common.compat.sdk import Context

__all__ = [
    "STARTS_FROM_TRIGGER",
    "AirflowRescheduleException",
    "connection_lookup_lock",
    "delete_xcom",
    "first_started_at",
    "form_widget",
    "is_deferral_timeout",
    "is_of_earlier_try",
    "load_wait_state",
    "save_start",
    "save_wait_state",
    "try_started_at",
]

log = logging.getLogger(__name__)

_VERSION = tuple(int(part) for part in airflow_version.split(".")[:2])

#: Whether a task can begin, and end, in the triggerer. Airflow 3.3 is the first to render the trigger's templates;
#: 2.11 and 3.0 would start it with the templates as they stand, 3.1 and 3.2 start it on a worker regardless.
STARTS_FROM_TRIGGER = _VERSION >= (3, 3)

_MEMORY_KEY = "synapse_livy_wait"

_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


@asynccontextmanager
async def connection_lookup_lock() -> AsyncIterator[None]:
    """
    Let one trigger after the other look up its connection.

    Airflow 3.0 to 3.2.1 mixes up the answers of look-ups that run at the same time (apache/airflow#66412).
    """
    async with _turns.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
        yield


def _first_try(task_instance: Any) -> int:
    """
    Give the number of the first try of this life of a task: each clearing begins a new life, retries go on with it.

    Airflow has no name for it, but the number follows from what it does have. (Clearing a task while it runs counts as
    a retry; Airflow's own sensors see it so, too.)
    """
    return int((task_instance.max_tries or 0) - (task_instance.task.retries or 0) + 1)


def _life(context: Context) -> dict[str, Any]:
    """Tell the lives and tries of a task apart."""
    task_instance: Any = context["ti"]
    return {"first_try": _first_try(task_instance), "try_number": task_instance.try_number}


def first_started_at(context: Context) -> float | None:
    """
    Give the time, in seconds since the epoch, at which this task began, if that was in an earlier run of it.

    It is asked for where :func:`load_wait_state` knows nothing. Airflow 2 has all earlier runs in the metadata database, which
    it lets tasks read. Airflow 3 tells of rescheduled runs alone, so there, before 3.3, a retry begins anew.

    :param context: Airflow's context of the task.
    """
    task_instance: Any = context["ti"]
    if hasattr(task_instance, "get_first_reschedule_date"):
        first = task_instance.get_first_reschedule_date(context)
    else:
        first = _start_in_database(task_instance, _first_try(task_instance))
    return first.timestamp() if first else None


def _start_in_database(task_instance: Any, first_try: int) -> datetime | None:
    from airflow.models.taskinstancehistory import TaskInstanceHistory
    from airflow.sensors.base import _orig_start_date
    from airflow.utils.session import create_session

    key = {name: getattr(task_instance, name) for name in ("dag_id", "task_id", "run_id", "map_index")}
    rescheduled: datetime | None = _orig_start_date(**key, try_number=first_try)
    if rescheduled or task_instance.try_number == first_try:
        return rescheduled
    with create_session() as session:
        tries = session.query(TaskInstanceHistory.start_date).filter_by(**key, try_number=first_try)
        start: datetime | None = tries.scalar()
    return start


def is_deferral_timeout(error: Exception) -> bool:
    """
    Tell whether an error means that Airflow itself gave up a deferred task, for the time that ``defer`` was given.

    Airflow 3 has an exception for it, Airflow 2 only its words.

    :param error: the error.
    """
    if isinstance(error, TaskDeferralError):
        return str(error) == "Trigger timeout"
    return type(error).__name__ == "TaskDeferralTimeout"


def is_of_earlier_try(event: Any, context: Context) -> bool:
    """
    Tell whether a trigger's event ended the try before: Airflow 3.0 resumes a retry with it, instead of beginning anew.

    :param event: the event.
    :param context: Airflow's context of the task.
    """
    told = event.get("try_number") if isinstance(event, dict) else None
    return _VERSION == (3, 0) and told is not None and told != context["ti"].try_number


def load_wait_state(context: Context) -> Mapping[str, Any]:
    """
    Give what earlier runs of this task have left with :func:`save_wait_state`; what belongs to one try, to that try alone.

    :param context: Airflow's context of the task.
    """
    store: Any = context.get("task_state_store")
    try:
        memory = (store.get(_MEMORY_KEY) if store else None) or {}
        life = _life(context) if memory else {}
        if memory.get("first_try") != life.get("first_try"):
            return {}
        return memory if memory.get("try_number") == life.get("try_number") else {"began": memory["began"]}
    except Exception:  # what is forgotten costs a better log, and a retry's knowledge of its beginning
        log.warning("What this task noted before can't be read.", exc_info=True)
        return {}


def save_wait_state(context: Context, *, began: float, trail: list[tuple[str, float]]) -> None:
    """
    Leave something for later runs of this task. Airflow before 3.3 has no place for it, so there it is lost.

    :param context: Airflow's context of the task.
    :param began: when the wait began; holds for retries, too.
    :param trail: where the session stood, and since when; holds for this try.
    """
    store: Any = context.get("task_state_store")
    try:
        if store:
            store.set(_MEMORY_KEY, {**_life(context), "began": began, "trail": [list(step) for step in trail]})
    except Exception:
        log.warning("What this task has noted can't be kept.", exc_info=True)


def delete_xcom(context: Context, key: str) -> None:
    """
    Delete what an earlier life of this task has left: if a task starts in the triggerer, Airflow itself does not.

    :param context: Airflow's context of the task.
    :param key: the XCom's key.
    """
    from airflow.providers.common.compat.sdk import XCom

    task_instance: Any = context["ti"]
    try:
        task = {name: getattr(task_instance, name) for name in ("dag_id", "task_id", "run_id", "map_index")}
        XCom.delete(key=key, **task)
    except Exception:
        log.warning("What an earlier run of this task has left can't be deleted.", exc_info=True)


def save_start(context: Context) -> None:
    """
    Leave for retries when this task started in the triggerer, which itself has no memory (Airflow 3.3).

    :param context: Airflow's context of the task.
    """
    started = try_started_at(context)
    if started and not load_wait_state(context):
        save_wait_state(context, began=started, trail=[])


def try_started_at(context: Context) -> float | None:
    """
    Give the time, in seconds since the epoch, at which this try began; a deferral does not begin it anew.

    :param context: Airflow's context of the task.
    """
    started: datetime | None = getattr(context["ti"], "start_date", None)
    return started.timestamp() if started else None


#: What Airflow 2's form shows in the place of a secret; where it comes back, Airflow keeps what it had.
_SECRET_PLACEHOLDER = "RATHER_LONG_SENSITIVE_FIELD_PLACEHOLDER"

#: Extra fields that hold a secret at times. Airflow 2's form knows a secret by its widget, later ones by its name.
_MAY_BE_SECRET = ("proxies",)


def form_widget(name: str, *, label: str, description: str, schema: Mapping[str, Any]) -> Any:
    """
    Make what Airflow before 3.2 shows a field of the connection form with; later versions read the provider info.

    Airflow 2.11 shows no form at all if it has a drop-down, so the help of a choice names what there is to choose from.

    :param name: the field's name.
    :param label: its label.
    :param description: its help.
    :param schema: the JSON schema of its value.
    """
    from flask_appbuilder.fieldwidgets import BS3PasswordFieldWidget, BS3TextFieldWidget
    from wtforms import BooleanField, PasswordField, StringField

    if "enum" in schema:
        description += f" One of {', '.join(schema['enum'])}."
    if "boolean" in schema["type"]:
        return BooleanField(label, description=description)
    if schema.get("format") == "password" or name in _MAY_BE_SECRET:
        return PasswordField(label, description=description, widget=_kept_secret(BS3PasswordFieldWidget))
    return StringField(label, description=description, widget=BS3TextFieldWidget())


def _kept_secret(password_widget: Any) -> Any:
    """Have a secret survive a form that is saved: a password field of WTForms comes back empty, which deletes it."""

    class KeptSecretWidget(password_widget):  # type: ignore[misc]
        def __call__(self, field: Any, **kwargs: Any) -> Any:
            return super().__call__(field, **kwargs | {"value": _SECRET_PLACEHOLDER if field.data else ""})

    widget = KeptSecretWidget()
    widget.hide_value = False  # which WTForms sets when a widget is made
    return widget
