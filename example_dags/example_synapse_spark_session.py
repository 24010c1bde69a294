"""
Create a Spark session of Azure Synapse, run code in it, and cancel it, whatever becomes of the work.

The connection is ``synapse_livy_default``, and names the Spark pool.
"""

from __future__ import annotations

try:
    from airflow.sdk import DAG, task
except ImportError:  # Airflow 2
    from airflow.decorators import task
    from airflow.models.dag import DAG

from airflow_provider_synapse_livy.operators.spark_session import (
    SynapseCancelSparkSessionOperator,
    SynapseCreateSparkSessionOperator,
)
from airflow_provider_synapse_livy.operators.spark_statement import SynapseRunSparkStatementOperator

with DAG("example_synapse_spark_session", schedule=None, tags=["synapse", "example"]):
    # Waits until the session is idle, in the triggerer, so it takes no worker slot. A retry goes on with the session.
    create = SynapseCreateSparkSessionOperator(
        task_id="create",
        driver_memory="28g",
        driver_cores=4,
        executor_memory="28g",
        executor_cores=4,
        num_executors=2,
        deferrable=True,
    )
    # What create returns is the session_id of all others. The code could be a file, such as load.py.
    load = SynapseRunSparkStatementOperator(
        task_id="load",
        session_id=create.output,
        code="spark.range(1000).write.mode('overwrite').saveAsTable('orders')",
        deferrable=True,
    )

    # Runs in the session, and returns the number.
    @task.synapse_pyspark(session_id=create.output, deferrable=True)
    def count(table: str) -> int:
        """Count the rows of a table."""
        print(f"counting {table}")  # it goes to the task's log
        return spark.table(table).count()  # the session's spark

    # A teardown runs also if the work has failed, and does not hide that.
    cancel = SynapseCancelSparkSessionOperator(task_id="cancel", session_id=create.output, deferrable=True)
    create >> load >> count("orders") >> cancel.as_teardown(setups=create)
