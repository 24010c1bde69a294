"""Waits of every kind, for sessions that the run's conf names."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, task

from airflow_provider_synapse_livy.sensors.spark_session import SynapseSparkSessionSensor

READY: dict[str, Any] = {"target_states": ["idle"], "poke_interval": 2, "timeout": 900}

#: How many tasks of :func:`from_trigger` there are; tasks that start in the triggerer can't be mapped.
FROM_TRIGGER = 50


def sessions(kind: str) -> Any:
    """Return the sessions that a kind of task is mapped over."""

    @task(task_id=f"{kind}_sessions")
    def read(**context: Any) -> list[dict[str, Any]]:
        return context["dag_run"].conf.get(kind, [])

    return read()


with DAG("waits", max_active_tasks=1000, max_active_runs=10):
    SynapseSparkSessionSensor.partial(task_id="poke", **READY).expand_kwargs(sessions("poke"))
    # A task that is rescheduled must not be due again before the scheduler has heard that its last look has ended: it
    # would be failed for that (apache/airflow#71580).
    SynapseSparkSessionSensor.partial(
        task_id="reschedule", mode="reschedule", **READY | {"poke_interval": 20}
    ).expand_kwargs(sessions("reschedule"))
    SynapseSparkSessionSensor.partial(task_id="deferrable", deferrable=True, **READY).expand_kwargs(
        sessions("deferrable")
    )

with DAG("from_trigger", max_active_tasks=1000):
    for number in range(FROM_TRIGGER):
        place = f"dag_run.conf['from_trigger'][{number}]"
        SynapseSparkSessionSensor(
            task_id=f"wait_{number}",
            session_id=f"{{{{ {place}['session_id'] }}}}",
            spark_pool_name=f"{{{{ {place}['spark_pool_name'] }}}}",
            start_from_trigger=True,
            **READY,
        )

with DAG("retried"):
    SynapseSparkSessionSensor(
        task_id="wait",
        session_id="{{ dag_run.conf['session_id'] }}",
        target_states=["idle"],
        poke_interval=2,
        timeout=90,
        retries=1,
        retry_delay=timedelta(seconds=1),
    )

with DAG("unreachable"):
    SynapseSparkSessionSensor(
        task_id="wait",
        session_id=0,
        synapse_livy_conn_id="nobody_there",
        target_states=["idle"],
        poke_interval=2,
        timeout=900,
        deferrable=True,
    )
