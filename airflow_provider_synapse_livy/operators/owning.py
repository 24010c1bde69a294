"""How an operator creates what it waits for, and answers for it until it has handed it on."""

from __future__ import annotations

import dataclasses
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_synapse_livy.airflow_compat.sdk import AirflowException, AirflowRescheduleException, TaskDeferred
from airflow_provider_synapse_livy.airflow_compat.task_state import (
    first_started_at_earliest,
    is_later_try,
    pull_own_xcom,
    run_started_at,
)
from airflow_provider_synapse_livy.airflow_compat.versions import base_url
from airflow_provider_synapse_livy.livy.errors import error_message
from airflow_provider_synapse_livy.livy.task_keys import task_key
from airflow_provider_synapse_livy.operators.creation import Creation
from airflow_provider_synapse_livy.operators.waiting import WaitingOperator
from airflow_provider_synapse_livy.waiting.goals import Verdict
from airflow_provider_synapse_livy.waiting.wait import RETRY_TIMEOUT, Wait

if TYPE_CHECKING:
    from airflow_provider_synapse_livy.airflow_compat.sdk import Context

__all__ = ["OwningOperator"]

#: For how many seconds a task that is killed retries the cancellation.
_KILL_TIMEOUT = 20.0


class OwningOperator(WaitingOperator):
    """
    Creates one thing, waits for it, and hands it on by returning it.

    Until then the thing is this task's own: if the task fails, the thing is cancelled, and if the task is killed, too,
    where ``cancel_on_kill`` is set. What a worker that was lost has created is found by its key, in the next try.

    :param cancel_on_kill: whether to cancel what was created when the task is killed, or marked by a user.
    """

    #: Whether to cancel what earlier lives of the task have left before it was ready.
    ends_other_lives: ClassVar[bool] = True

    def __init__(self, *, cancel_on_kill: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.cancel_on_kill = cancel_on_kill
        self._creation: Creation | None = None
        self._is_killed = False

    def _body(self, context: Context) -> dict[str, Any]:
        """Return what to create, under the documented names, checked."""
        raise NotImplementedError

    @property
    def _waits(self) -> bool:
        """Whether to wait for what was created."""
        raise NotImplementedError

    def execute(self, context: Context) -> dict[str, Any]:
        """
        Create it, or find what an earlier try has created, and wait for it.

        :param context: Airflow's context of the task.
        """
        body = self._body(context)
        _ = self._wait_options, self._goal  # raise what is wrong with them before anything is created
        task_instance: Any = context.get("ti")
        is_later = is_later_try(context)
        with self._leaving_links(context), self._answering_for_it(context) as creation:
            if self._waits and is_later and self.ends_other_lives:
                creation.end_other_lives()
            record = creation.find_or_create(body, may_exist=is_later)
            self._set_id(record.id)
            if task_instance:
                task_instance.xcom_push(key=self._id_field, value=record.id)
            self._raise_if_killed()
            if self._waits:
                return self._wait(context)
            self._show_links(context, self._hook.links(record))
            return self._fields(record)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """
        Go on after a deferral, and answer for what was created before it.

        :param next_method: the method to go on with.
        :param next_kwargs: what to call it with.
        :param context: Airflow's context of the task.
        """
        with self._answering_for_it(context) as creation:
            creation.may_exist = True
            creation.own_id = pull_own_xcom(context, self._id_field)
            if creation.own_id is None:
                creation.take_up()
            self._set_id(creation.own_id)
            return super().resume_execution(next_method, next_kwargs, context)

    def on_kill(self) -> None:
        """
        Cancel what was created, if its id is known; if not, the task does when its request has been answered.

        Airflow 3 calls this in the midst of whatever the task does, goes on with that, and ends the process five
        seconds later.
        """
        self._is_killed = True
        creation = self._creation
        if creation is None:
            return
        creation.is_stopped = True
        if creation.own_id is None or not self.cancel_on_kill:
            return
        name = creation.name(creation.own_id)
        try:
            twin = dataclasses.replace(creation, hook=creation.hook.twin())
            twin.cancel(creation.own_id, retry_timeout=_KILL_TIMEOUT)
        except Exception:
            harm = creation.resource.harm
            self.log.exception("The task was killed, and %s could not be cancelled. It may still %s.", name, harm)
        else:
            self.log.info("The task was killed, so %s is cancelled.", name)

    def _new_creation(self, context: Context) -> Creation:
        task_instance: Any = context.get("ti")
        # A clearing sets max_tries to the number of the last try and the retries from then on, so it tells the lives of
        # a task apart, unless the DAG's retries were lowered in between. It outlasts a change of them within a life.
        key = task_key(*self._key_parts(context), life=getattr(task_instance, "max_tries", 0) or 0)
        return self._creation_with(key, context)

    def _key_parts(self, context: Context) -> list[object]:
        """Return what makes the task unique, and is the same for all its tries: two Airflows may share DAG and pool."""
        task_instance: Any = context.get("ti")
        return [base_url()] + [
            getattr(task_instance, name, uuid.uuid4()) for name in ("dag_id", "run_id", "task_id", "map_index")
        ]

    def _creation_with(self, key: str, context: Context) -> Creation:
        return Creation(
            self._hook,
            self.trigger_class.resource,
            key,
            run_started_at(context),
            self.log,
            lives_since=first_started_at_earliest(context),
            deadline=time.monotonic() + max(self._wait_options.timeout, RETRY_TIMEOUT) if self._waits else None,
        )

    @property
    def _id_field(self) -> str:
        """The name of the id, as a parameter of the trigger and as the XCom that is pushed as soon as it is known."""
        return self.trigger_class.id_fields[-1]

    def _set_id(self, record_id: int | None) -> None:
        setattr(self, self._id_field, record_id)

    def _poll(self, context: Context, wait: Wait[Any]) -> Verdict:
        self._raise_if_killed()
        return super()._poll(context, wait)

    def _raise_if_killed(self) -> None:
        """End the task if it was killed: Airflow 3 goes on after ``on_kill``."""
        if self._is_killed and self.cancel_on_kill:
            raise AirflowException(f"The task was killed, so {self._subject} is cancelled.")

    @contextmanager
    def _answering_for_it(self, context: Context) -> Iterator[Creation]:
        """End what was created and not handed on, however the task ends, but for a deferral."""
        creation = self._creation = self._new_creation(context)
        try:
            yield creation
        except (TaskDeferred, AirflowRescheduleException):
            raise
        except Exception as error:
            if self._is_to_end_own(error):
                self._end_own(creation, error)
            else:
                self._leave_own(creation, error)
            raise
        except BaseException as error:  # a signal, or execution_timeout, after which Airflow calls on_kill
            if self.cancel_on_kill:
                self._end_own(creation, error)
            raise

    def _is_to_end_own(self, error: Exception) -> bool:  # noqa: ARG002  (code runs on after some errors)
        """Return whether to end what this task has created, since the task ends with an error."""
        return self.cancel_on_kill or not self._is_out_of_time

    def _leave_own(self, creation: Creation, error: Exception) -> None:
        """Note on the error what runs on: nothing, usually."""

    def _end_own(self, creation: Creation, error: BaseException) -> None:
        """End what this task has created, and note on the error what may still cost money."""
        try:
            alive = creation.end_own()
        except Exception as problem:
            noun = creation.resource.noun
            own_id = creation.own_id
            what = f"A {noun} that this task may have created" if own_id is None else creation.name(own_id)
            self.log.exception("%s could not be cancelled.", what)
            alive = [f"{what} ({type(problem).__name__})"]
        if alive:
            self._note_alive(", ".join(alive), creation, error)

    def _note_alive(self, names: str, creation: Creation, error: BaseException) -> None:
        message = error_message(f"{names} may still run, and {creation.resource.harm}.", creation.resource.harm_fix)
        self.log.error("%s", message)
        error.add_note(message)

    def _trigger_kwargs(self) -> dict[str, Any]:
        return super()._trigger_kwargs() | {"cancel_on_kill": self.cancel_on_kill}

    def _begin_on_worker(self, context: Context) -> dict[str, Any]:
        return self.execute(context)
