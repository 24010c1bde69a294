"""Sessions from creation to cancellation, and batch jobs, for each that the run's conf names; some workers die."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, task, task_group

from airflow_provider_synapse_livy.operators.spark_batch import SynapseRunSparkBatchOperator
from airflow_provider_synapse_livy.operators.spark_session import (
    SynapseCancelSparkSessionOperator,
    SynapseCreateSparkSessionOperator,
    SynapseGetSparkSessionOperator,
)
from tests.distributed.dying import Dying

SIZE: dict[str, Any] = {
    "driver_memory": "4g",
    "driver_cores": 1,
    "executor_memory": "4g",
    "executor_cores": 1,
    "num_executors": 2,
}
WAIT: dict[str, Any] = {"poll_interval": 2, "timeout": 900, "deferrable": True}
RETRIES: dict[str, Any] = {"retries": 2, "retry_delay": timedelta(seconds=1)}


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
