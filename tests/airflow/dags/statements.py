"""A DAG for each mode, with a task for each life of code; one for the sensor, and one whose triggerer is killed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow_provider_synapse_livy.decorators.synapse_pyspark import synapse_pyspark_task
from airflow_provider_synapse_livy.operators.spark_statement import SynapseRunSparkStatementOperator
from airflow_provider_synapse_livy.sensors.spark_statement import SynapseSparkStatementSensor
from tests.airflow.lives import MODES
from tests.airflow.mortal import mortal
from tests.airflow.recording import RecordedSensor
from tests.airflow.statement_lives import LIVES, SENSOR_MODES, pool_of

try:
    from airflow.sdk import DAG, task
except ImportError:  # Airflow 2
    from airflow.decorators import task
    from airflow.models.dag import DAG

COMMON: dict[str, Any] = {
    "synapse_livy_conn_id": "statements",
    "session_id": 0,
    "timeout": 300.0,
    "retry_delay": timedelta(seconds=1),
}


MortalOperator = mortal(SynapseRunSparkStatementOperator)


class RecordedStatementSensor(RecordedSensor, SynapseSparkStatementSensor):
    """Waits for code."""


def run(task_id: str, mode: str, code: str, crash: str | None = None, **options: Any) -> None:
    """Run code in the session of a pool of its own; that of a later try counts."""
    operator = MortalOperator(
        task_id=task_id,
        code=f"{{{{ '{code}' if ti.try_number == 1 else 'count' }}}}()",
        spark_pool_name=pool_of(task_id, mode),
        **COMMON | {"poll_interval": 5.0} | MODES[mode] | options,
    )
    operator.crash = crash


for mode in MODES:
    with DAG(f"code_{mode}", schedule=None):
        for name, life in LIVES.items():
            if mode in life.modes:
                run(name, mode, life.code, crash=life.crash, **life.options)

    with DAG(f"function_{mode}", schedule=None):
        decorator: Any = task
        options = COMMON | MODES[mode] | {"poll_interval": 5.0}

        @decorator.synapse_pyspark(spark_pool_name=pool_of("function", mode), **options)
        def add(day, more=2):
            """Return a list of what it gets."""
            return [day, more]

        @synapse_pyspark_task(spark_pool_name=pool_of("refused", mode), **options)
        def refused():
            """Use what the session does not have."""
            return pool_of("refused", "")

        @task
        def check(value: Any) -> None:
            """Check what the function has returned."""
            if value != [1, 2]:
                raise ValueError(f"the function has returned {value!r}")

        check(add("{{ ds if ds is defined else 1 }}"))
        refused()

for name, where in SENSOR_MODES.items():
    with DAG(f"code_sensor_{name}", schedule=None):
        for code, statement_id in (("count", 0), ("boom", 1), ("gone", 9)):
            RecordedStatementSensor(
                task_id=code,
                statement_id=statement_id,
                spark_pool_name=pool_of("sensor", "all"),
                poke_interval=6.0,
                **COMMON | where,
            )

with DAG("code_restarts", schedule=None):
    run("restarts", "deferred", "never")
