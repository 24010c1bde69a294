"""
Wait until a Spark session that somebody else has created is ready, read it, and wait for its end.

Trigger it with the session's id and Spark pool; the connection is ``synapse_livy_default``.
"""

from __future__ import annotations

from datetime import timedelta

from airflow import DAG

from airflow_provider_synapse_livy.operators.spark_session import SynapseGetSparkSessionOperator
from airflow_provider_synapse_livy.sensors.spark_session import SynapseSparkSessionSensor

with DAG(
    "example_synapse_spark_session_of_others",
    schedule=None,
    params={"session_id": 0, "spark_pool_name": "sparkpool"},
    default_args={"spark_pool_name": "{{ params.spark_pool_name }}"},
    tags=["synapse", "example"],
):
    # Uses a worker slot, which is fine for a wait of a minute. Fails at once if the session ends instead.
    wait_until_ready = SynapseSparkSessionSensor(
        task_id="wait_until_ready",
        session_id="{{ params.session_id }}",
        target_states={"idle"},
        poke_interval=1,
        timeout=timedelta(minutes=10),
    )
    # Pushes the session to XCom for the following tasks: a dict with the names of Microsoft's documentation.
    read_session = SynapseGetSparkSessionOperator(
        task_id="read_session",
        session_id="{{ params.session_id }}",
    )
    # Waits in the triggerer without a worker slot, so it may take hours. A cancellation is a success here.
    wait_for_end = SynapseSparkSessionSensor(
        task_id="wait_for_end",
        session_id="{{ params.session_id }}",
        accepted_results={"Succeeded", "Cancelled"},
        deferrable=True,
        poke_interval=2,
        timeout=timedelta(hours=12),
    )
    wait_until_ready >> read_session >> wait_for_end
