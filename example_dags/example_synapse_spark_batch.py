"""
Run programs as Spark batch jobs of Azure Synapse, to their end or until a task cancels them, and wait for others' jobs.

The connection is ``synapse_livy_default``, and names the Spark pool.
"""

from __future__ import annotations

from datetime import timedelta

from airflow import DAG

from airflow_provider_synapse_livy.operators.spark_batch import (
    SynapseCancelSparkBatchOperator,
    SynapseGetSparkBatchOperator,
    SynapseRunSparkBatchOperator,
)
from airflow_provider_synapse_livy.sensors.spark_batch import SynapseSparkBatchSensor

JOBS = "abfss://jobs@account.dfs.core.windows.net"

SIZES = {"driver_memory": "28g", "driver_cores": 4, "executor_memory": "28g", "executor_cores": 4, "num_executors": 2}

with DAG("example_synapse_spark_batch", schedule=None, params={"batch_id": 0}, tags=["synapse", "example"]):
    # A retry goes on with the job of the first try, unless that has failed; what has succeeded is not run again.
    count = SynapseRunSparkBatchOperator(
        task_id="count",
        file=f"{JOBS}/count.py",
        args=["--day", "{{ ds }}"],
        deferrable=True,
        timeout=timedelta(hours=2),
        retries=2,
        **SIZES,
    )
    # A job that a pipeline of Synapse has started, for example.
    wait = SynapseSparkBatchSensor(
        task_id="wait",
        batch_id="{{ params.batch_id }}",
        accepted_results=("Succeeded", "Cancelled"),
        deferrable=True,
    )
    # A job that does not end by itself, such as one that reads a stream: the next tasks do not wait for its end.
    stream = SynapseRunSparkBatchOperator(
        task_id="stream",
        file=f"{JOBS}/stream.py",
        wait_for_completion=False,
        **SIZES,
    )
    read = SynapseGetSparkBatchOperator(task_id="read", batch_id=stream.output)
    # A teardown runs also if the work has failed, and does not hide that.
    cancel = SynapseCancelSparkBatchOperator(task_id="cancel", batch_id=stream.output, deferrable=True)
    wait >> count
    stream >> read >> cancel.as_teardown(setups=stream)
