"""
Run a program as a Spark batch job of Azure Synapse, and wait for a job that somebody else has started.

The connection is ``synapse_livy_default``, and names the Spark pool.
"""

from __future__ import annotations

from datetime import timedelta

from airflow import DAG

from airflow_provider_synapse_livy.operators.spark_batch import SynapseRunSparkBatchOperator
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
    wait >> count
