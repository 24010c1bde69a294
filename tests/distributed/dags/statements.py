"""Code in sessions, a statement for each that the run's conf names; the workers of some die after they have sent it."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, task

from airflow_provider_synapse_livy.operators.spark_statement import SynapseRunSparkStatementOperator

#: Where a task leaves a file when its worker dies.
DEATHS = Path(os.environ["AIRFLOW_HOME"]) / "deaths"


class DyingOperator(SynapseRunSparkStatementOperator):
    """
    Sends code, and may die between the answer and the first note of it, once in its life.

    :param death: ``process`` kills the process that runs the task, ``worker`` also Celery's process above it; empty for
        no death.
    """

    template_fields: Sequence[str] = (*SynapseRunSparkStatementOperator.template_fields, "death")

    def __init__(self, *, death: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.death = death
        self._file = DEATHS / "nobody"

    def execute(self, context: Any) -> dict[str, Any]:
        """Send the code."""
        instance = context["ti"]
        self._file = DEATHS / f"{instance.run_id}.{instance.map_index}"
        return super().execute(context)

    def _set_id(self, record_id: int | None) -> None:
        """Die before it is noted that the statement is there."""
        DEATHS.mkdir(exist_ok=True)
        if self.death and not self._file.exists():
            self._file.write_text(str(record_id))
            if self.death == "worker":
                os.kill(os.getppid(), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
        super()._set_id(record_id)


@task
def asked(**context: Any) -> list[dict[str, Any]]:
    """Return what the run's conf asks for: session, code and death of each task."""
    return context["dag_run"].conf["statements"]


with DAG("code", max_active_tasks=1000, max_active_runs=10):
    DyingOperator.partial(
        task_id="run",
        spark_pool_name="code",
        poll_interval=2,
        timeout=900,
        deferrable=True,
        retries=2,
        retry_delay=timedelta(seconds=1),
    ).expand_kwargs(asked())
