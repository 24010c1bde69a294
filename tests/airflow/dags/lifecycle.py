"""A DAG for each mode, with a task for each life; one with setup, work and teardown; one whose triggerer is killed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow_provider_synapse_livy.operators.spark_batch import SynapseRunSparkBatchOperator
from airflow_provider_synapse_livy.operators.spark_session import (
    SynapseCancelSparkSessionOperator,
    SynapseCreateSparkSessionOperator,
)
from tests.airflow.lives import BATCH, ENDLESS, LIVES, MODES, NAME, pool_of
from tests.airflow.mortal import mortal

try:
    from airflow.sdk import DAG, task
except ImportError:  # Airflow 2
    from airflow.decorators import task
    from airflow.models.dag import DAG

COMMON: dict[str, Any] = {"synapse_livy_conn_id": "lifecycle", "poll_interval": 5.0, "timeout": 300.0}

#: Two settings are secrets by their names, one of which means nothing to Airflow; nor do the variables' names.
CREATION: dict[str, Any] = COMMON | {
    "driver_memory": "4g",
    "driver_cores": 1,
    "executor_memory": "4g",
    "executor_cores": 1,
    "num_executors": "{{ 1 + 1 }}",
    "name": NAME,
    "conf": {
        "spark.my.password": "{{ var.value.spark_setting }}",
        "spark.hadoop.fs.azure.account.key.data": "{{ var.value.spark_other_setting }}",
        "spark.my.size": "12",
    },
    "retry_delay": timedelta(seconds=1),
}


MortalOperator = mortal(SynapseCreateSparkSessionOperator)
MortalBatchOperator = mortal(SynapseRunSparkBatchOperator)


def run(task_id: str, mode: str, scenario: str, crash: str | None = None, **options: Any) -> Any:
    """Run a batch job in a pool of its own; that of a later try succeeds soon."""
    tags = {"emulator.scenario": f"{{{{ '{scenario}' if ti.try_number == 1 else 'succeeds' }}}}"}
    pool = pool_of(task_id, mode)
    given = CREATION | MODES[mode] | options
    operator = MortalBatchOperator(task_id=task_id, spark_pool_name=pool, tags=tags, file="abfss://c@a/job.py", **given)
    operator.crash = crash
    return operator


def create(task_id: str, mode: str, scenario: str, crash: str | None = None, **options: Any) -> Any:
    """Create a session in a pool of its own; that of a later try is ready soon."""
    tags = {"emulator.scenario": f"{{{{ '{scenario}' if ti.try_number == 1 else 'becomes_idle' }}}}"}
    operator = MortalOperator(
        task_id=task_id, spark_pool_name=pool_of(task_id, mode), tags=tags, **CREATION | MODES[mode] | options
    )
    operator.crash = crash
    return operator


def cancel(task_id: str, mode: str, session_id: Any, **options: Any) -> SynapseCancelSparkSessionOperator:
    """Cancel a session."""
    return SynapseCancelSparkSessionOperator(task_id=task_id, session_id=session_id, **COMMON | MODES[mode] | options)


for mode in MODES:
    with DAG(f"lives_{mode}", schedule=None):
        for name, life in LIVES.items():
            if mode in life.modes:
                begin = run if life.kind == BATCH else create
                begin(name, mode, life.scenario, crash=life.crash, **life.options)

    with DAG(f"teardown_{mode}", schedule=None):

        @task
        def work() -> None:
            """Fail, as work with a session may."""
            raise RuntimeError("the work has failed")

        created = create("teardown", mode, "becomes_idle")
        first = cancel("cancel", mode, created.output).as_teardown(setups=created)
        pool = {"spark_pool_name": pool_of("teardown", mode)}
        again = cancel("cancel_again", mode, created.output["session_id"], **pool).as_teardown(setups=created)
        created >> work() >> first >> again
        cancel("cancel_gone", mode, 99, **pool)
        cancel("cancel_none", mode, None)

    with DAG(f"twice_{mode}", schedule=None):
        created = create("twice", mode, "becomes_idle", retries=1)
        created >> cancel("end", mode, created.output).as_teardown(setups=created)

with DAG("mapped", schedule=None):
    sizes = CREATION | {"spark_pool_name": pool_of("mapped", "worker")}
    del sizes["num_executors"]
    created = MortalOperator.partial(task_id="mapped", **sizes).expand(num_executors=[1, 2])
    SynapseCancelSparkSessionOperator.partial(task_id="cancel", **COMMON).expand(session_id=created.output)

with DAG("restarts", schedule=None):
    create("restarts", "deferred", ENDLESS)
