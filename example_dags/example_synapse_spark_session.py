"""
Create a Spark session of Azure Synapse, use it, and cancel it, whatever becomes of the work.

The connection is ``synapse_livy_default``, and names the Spark pool.
"""

from __future__ import annotations

from airflow import DAG

from airflow_provider_synapse_livy.operators.spark_session import (
    SynapseCancelSparkSessionOperator,
    SynapseCreateSparkSessionOperator,
    SynapseGetSparkSessionOperator,
)

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
    # Stands for the work: what create returns is the session_id of all others.
    use = SynapseGetSparkSessionOperator(task_id="use", session_id=create.output)
    # A teardown runs also if the work has failed, and does not hide that.
    cancel = SynapseCancelSparkSessionOperator(task_id="cancel", session_id=create.output, deferrable=True)
    create >> use >> cancel.as_teardown(setups=create)
