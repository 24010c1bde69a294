"""How the tasks of the DAGs write down the error that they end with."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from airflow_provider_synapse_livy.sensors.base import LivySensor


@contextlib.contextmanager
def recorded(task: Any) -> Iterator[None]:
    """
    Write down the error that a task's run ends with.

    :param task: the operator.
    """
    try:
        yield
    except Exception as error:
        if type(error).__name__ != "AirflowRescheduleException":
            record = json.dumps([type(error).__name__, str(error)])
            (Path(os.environ["MATRIX_ERRORS"]) / f"{task.dag_id}.{task.task_id}.json").write_text(record)
        raise


class RecordedSensor(LivySensor):
    """A sensor, which writes down the error that it ends with."""

    def execute(self, context: Any) -> Any:
        """Record the error."""
        with recorded(self):
            return super().execute(context)

    def resume_execution(self, next_method: str, next_kwargs: Any, context: Any) -> Any:
        """Record the error."""
        with recorded(self):
            return super().resume_execution(next_method, next_kwargs, context)
