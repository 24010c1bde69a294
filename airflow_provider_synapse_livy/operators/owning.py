"""How an operator creates what it waits for, and answers for it until it has handed it on."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_synapse_livy.airflow_compat.sdk import AirflowException
from airflow_provider_synapse_livy.airflow_compat.task_state import pull_own_xcom, run_started_at
from airflow_provider_synapse_livy.livy.errors import error_message
from airflow_provider_synapse_livy.livy.task_keys import task_key
from airflow_provider_synapse_livy.operators.creation import Creation
from airflow_provider_synapse_livy.operators.waiting import WaitingOperator

if TYPE_CHECKING:
    from airflow_provider_synapse_livy.airflow_compat.sdk import Context

__all__ = ["OwningOperator"]

#: Seconds to wait, in a task that is killed, until Synapse has taken the cancellation.
_KILL_TIMEOUT = 20.0


class OwningOperator(WaitingOperator):
    """
    Creates one thing, waits for it, and hands it on by returning it.

    Until then the thing is this task's own: if the task fails, the thing is cancelled, and if the task is killed, too,
    where ``cancel_on_kill`` is set. What a worker that was lost has created is found by its key, in the next try.

    :param cancel_on_kill: whether to cancel what was created when the task is killed, or marked by a user.
    """

    #: The XCom key of the id, which is pushed as soon as it is known.
    id_key: ClassVar[str]

    def __init__(self, *, cancel_on_kill: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.cancel_on_kill = cancel_on_kill
        self._creation: Creation | None = None
        self._own_id: int | None = None
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
        with self._answering_for_it():
            self._creation = self._new_creation(context)
            task_instance: Any = context.get("ti")
            record = self._creation.find_or_create(body, may_exist=getattr(task_instance, "try_number", 1) > 1)
            self._own(record.id)
            if task_instance:
                task_instance.xcom_push(key=self.id_key, value=record.id)
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
        with self._answering_for_it():
            self._creation = self._new_creation(context)
            known = pull_own_xcom(context, self.id_key)
            for number in [known] if known is not None else [record.id for record in self._creation.active()]:
                self._own(number)
            return super().resume_execution(next_method, next_kwargs, context)

    def on_kill(self) -> None:
        """Cancel what was created, if its id is known; if not, the task does when its request has been answered."""
        self._is_killed = True
        if self.cancel_on_kill and self._creation and self._own_id is not None:
            self._creation.cancel(self._own_id, retry_timeout=_KILL_TIMEOUT)
            self.log.info("The task was killed, so %s is cancelled.", self._subject)

    def _new_creation(self, context: Context) -> Creation:
        task_instance: Any = context.get("ti")
        parts = ("dag_id", "run_id", "task_id", "map_index", "max_tries")
        # max_tries tells the lives of a task apart: a clearing raises it, and a change of the DAG's retries does not.
        key = task_key(*(getattr(task_instance, name, uuid.uuid4()) for name in parts))
        return self._creation_with(key, context)

    def _creation_with(self, key: str, context: Context) -> Creation:
        return Creation(self._hook, self.trigger_class.resource, key, run_started_at(context), self.log)

    def _own(self, record_id: int) -> None:
        self._own_id = record_id
        setattr(self, self.trigger_class.id_fields[-1], record_id)

    def _raise_if_killed(self) -> None:
        """End the task if it was killed while its request was under way (Airflow 3 goes on after ``on_kill``)."""
        if self._is_killed and self.cancel_on_kill:
            raise AirflowException(f"The task was killed, so {self._subject} is cancelled.")

    @contextmanager
    def _answering_for_it(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._cancel_all(error)
            raise
        except BaseException as error:  # a deferral, too
            if self._is_killed and self.cancel_on_kill:
                self._cancel_all(error)
            raise

    def _cancel_all(self, error: BaseException) -> None:
        """Cancel what this task has created and not handed on, and note on the error what may still cost money."""
        noun = self.trigger_class.resource.noun
        what = self._subject if self._own_id is not None else f"A {noun} that this task may have created"
        try:
            alive = self._end_all()
        except Exception as problem:
            self.log.exception("%s could not be cancelled.", what)
            alive = [f"{what} ({type(problem).__name__})"]
        if alive:
            event = f"{', '.join(alive)} may still run, and cost money."
            message = error_message(event, "cancel it in Synapse Studio > Monitor > Apache Spark applications.")
            self.log.error("%s", message)
            error.add_note(message)

    def _end_all(self) -> list[str]:
        """End what this task has created, and return the names of what has not ended in time."""
        creation = self._creation
        if creation is None:
            return []
        own_ids = [self._own_id] if self._own_id is not None else []
        if not own_ids and creation.may_exist:
            own_ids = [record.id for record in creation.active()]
        names = {number: creation.name(number) for number in own_ids}
        for name in names.values():
            self.log.info("%s was not handed on, so this task ends it.", name)
        return [name for number, name in names.items() if not creation.end(number)]

    def _trigger_kwargs(self) -> dict[str, Any]:
        return super()._trigger_kwargs() | {"cancel_on_kill": self.cancel_on_kill}

    def _begin_on_worker(self, context: Context) -> dict[str, Any]:
        return self.execute(context)
