"""
Wait until code that somebody else has sent to a Spark session has run.

Trigger it with the ids of session and statement, and the Spark pool; the connection is ``synapse_livy_default``.
"""

from __future__ import annotations

from datetime import timedelta

from airflow import DAG

from airflow_provider_synapse_livy.sensors.spark_statement import SynapseSparkStatementSensor

with DAG(
    "example_synapse_spark_statement_of_others",
    schedule=None,
    params={"session_id": 0, "statement_id": 0, "spark_pool_name": "sparkpool"},
    tags=["synapse", "example"],
):
    # Returns the statement with its output, or fails with the code's error and the end of its traceback.
    SynapseSparkStatementSensor(
        task_id="wait_for_code",
        session_id="{{ params.session_id }}",
        statement_id="{{ params.statement_id }}",
        spark_pool_name="{{ params.spark_pool_name }}",
        deferrable=True,
        timeout=timedelta(hours=6),
    )
