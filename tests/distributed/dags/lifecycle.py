"""Sessions from creation to cancellation, and batch jobs, for each that the run's conf names; some workers die."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, task, task_group

from airflow_provider_synapse_livy.operators.owning import OwningOperator
from airflow_provider_synapse_livy.operators.spark_batch import SynapseRunSparkBatchOperator
from airflow_provider_synapse_livy.operators.spark_session import (
    SynapseCancelSparkSessionOperator,
    SynapseCreateSparkSessionOperator,
    SynapseGetSparkSessionOperator,
)

#: Where a creation leaves a file when its worker dies.
DEATHS = Path(os.environ["AIRFLOW_HOME"]) / "deaths"

SIZE: dict[str, Any] = {
    "driver_memory": "4g",
    "driver_cores": 1,
    "executor_memory": "4g",
    "executor_cores": 1,
    "num_executors": 2,
}
WAIT: dict[str, Any] = {"poll_interval": 2, "timeout": 900, "deferrable": True}
RETRIES: dict[str, Any] = {"retries": 2, "retry_delay": timedelta(seconds=1)}


class Dying(OwningOperator):
    """
    Creates something, and dies between the answer and the first note of it, once in its life.

    :param death: ``process`` kills the process that runs the task, ``worker`` also Celery's process above it, which
        reports its end; ``machine`` stands still until somebody kills the whole worker.
    """

    def __init__(self, *, death: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.death = death
        self._file = DEATHS / "nobody"

    def execute(self, context: Any) -> dict[str, Any]:
        """Create it."""
        instance = context["ti"]
        self._file = DEATHS / f"{instance.run_id}.{instance.map_index}"
        return super().execute(context)

    def _set_id(self, record_id: int | None) -> None:
        """Die before it is noted that it is there."""
        DEATHS.mkdir(exist_ok=True)
        if not self._file.exists():
            self._file.write_text(str(record_id))
            if self.death == "machine":
                time.sleep(300)
            if self.death == "worker":
                os.kill(os.getppid(), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
        super()._set_id(record_id)


class DyingOperator(Dying, SynapseCreateSparkSessionOperator):
    """Creates a session."""

    template_fields: Sequence[str] = (*SynapseCreateSparkSessionOperator.template_fields, "death")


class DyingBatchOperator(Dying, SynapseRunSparkBatchOperator):
    """Runs a batch job."""

    template_fields: Sequence[str] = (*SynapseRunSparkBatchOperator.template_fields, "death")


@task
def asked(**context: Any) -> list[dict[str, Any]]:
    """Return what the run's conf asks for: pool and scenario of each session, and the death of its creation."""
    return context["dag_run"].conf["sessions"]


def tags(scenario: Any) -> dict[str, Any]:
    """Return tags by which the test finds a task's sessions, whatever the operator adds to them."""
    return {"emulator.scenario": scenario, "test.run": "{{ run_id }}", "test.index": "{{ ti.map_index }}"}


def use_and_cancel(created: Any) -> None:
    """Use what was created, and cancel it, whatever has become of that."""
    use = SynapseGetSparkSessionOperator(task_id="use", session_id=created.output, **RETRIES)
    cancel = SynapseCancelSparkSessionOperator(
        task_id="cancel", session_id=created.output, wait_for_termination=False, **WAIT, **RETRIES
    )
    created >> use >> cancel.as_teardown(setups=created)


with DAG("sessions", max_active_tasks=1000, max_active_runs=10):

    @task_group
    def life(pool: Any, scenario: Any) -> None:
        """Create one session, use it, and cancel it."""
        use_and_cancel(
            SynapseCreateSparkSessionOperator(
                task_id="create", spark_pool_name=pool, tags=tags(scenario), **SIZE, **WAIT, **RETRIES
            )
        )

    life.expand_kwargs(asked())

with DAG("dying_creations", max_active_tasks=1000):

    @task_group(group_id="life")
    def dying_life(pool: Any, scenario: Any, death: Any) -> None:
        """Create one session, the worker of which dies, use it, and cancel it."""
        use_and_cancel(
            DyingOperator(
                task_id="create", spark_pool_name=pool, tags=tags(scenario), death=death, **SIZE, **WAIT, **RETRIES
            )
        )

    dying_life.expand_kwargs(asked())

with DAG("dying_batches", max_active_tasks=1000):

    @task_group(group_id="life")
    def dying_batch(pool: Any, scenario: Any, death: Any) -> None:
        """Run one batch job, the worker of which dies."""
        DyingBatchOperator(
            task_id="run",
            file="abfss://jobs@account/count.py",
            spark_pool_name=pool,
            tags=tags(scenario),
            death=death,
            **SIZE,
            **WAIT,
            **RETRIES,
        )

    dying_batch.expand_kwargs(asked())
