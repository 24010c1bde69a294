"""Code in sessions, a statement for each that the run's conf names; the workers of some die after they have sent it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, task

from airflow_provider_synapse_livy.operators.spark_statement import SynapseRunSparkStatementOperator
from tests.distributed.dying import Dying


class DyingOperator(Dying, SynapseRunSparkStatementOperator):
    """Sends code."""

    template_fields: Sequence[str] = (*SynapseRunSparkStatementOperator.template_fields, "death")


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
