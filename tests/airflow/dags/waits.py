"""A DAG for each mode, with a task for each ending and each reaction; and one for what starts in the triggerer."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from airflow_provider_synapse_livy.sensors.spark_batch import SynapseSparkBatchSensor
from airflow_provider_synapse_livy.sensors.spark_session import SynapseSparkSessionSensor
from tests.airflow.outcomes import ENDINGS, LOST_AND_FOUND_TIMEOUT, MODES, POKE_INTERVAL, REACTIONS
from tests.airflow.recording import RecordedSensor

try:
    from airflow.sdk import DAG, task
except ImportError:  # Airflow 2
    from airflow.decorators import task
    from airflow.models.dag import DAG


class RecordedSessionSensor(RecordedSensor, SynapseSparkSessionSensor):
    """Waits for a session."""


class RecordedBatchSensor(RecordedSensor, SynapseSparkBatchSensor):
    """Waits for a batch job."""


COMMON: dict[str, Any] = {"poke_interval": POKE_INTERVAL, "timeout": 300.0, "retry_delay": timedelta(seconds=1)}


def wait(task_id: str, pool: str, *options: Mapping[str, Any], is_batch: bool = False) -> None:
    """Wait for the session, or the batch job, of a pool; of the options, the last ones count."""
    merged = {name: value for some in (COMMON, *options) for name, value in some.items()}
    if is_batch:
        RecordedBatchSensor(task_id=task_id, batch_id=12, spark_pool_name=pool, **merged)
    else:
        RecordedSessionSensor(task_id=task_id, session_id=12, spark_pool_name=pool, **merged)


for mode, where in MODES.items():
    with DAG(f"waits_{mode}", schedule=None):
        for name, ending in ENDINGS.items():
            for reaction, options in REACTIONS.items():
                pool = f"{name}.{reaction}.{mode}"
                wait(f"{name}.{reaction}", pool, where, ending.options, options, is_batch=ending.is_batch)
        lost = {"timeout": LOST_AND_FOUND_TIMEOUT, "retries": 20, "retry_delay": timedelta(seconds=5)}
        wait("lost_and_found", f"lost_and_found.{mode}", where, lost)


STARTED = COMMON | {"start_from_trigger": True, "target_states": ["idle"]}

with DAG("starts", schedule=None, params={"session_id": 0}):

    @task
    def make_id() -> int:
        """Return an id, as a task that creates a session would."""
        return 12

    made = make_id()
    ids: dict[str, Any] = {
        "param": "{{ params.session_id }}",
        "macro": "{{ dag_run.conf['session_id'] | int }}",
        "pulled_by_map_index": "{{ ti.xcom_pull(task_ids='make_id', map_indexes=-1) }}",
        "pulled": "{{ ti.xcom_pull(task_ids='make_id') }}",
        "xcom_arg": made,
    }
    for name, session_id in ids.items():
        sensor = RecordedSessionSensor(
            task_id=name, session_id=session_id, spark_pool_name=f"idle_reached.{name}.starts", **STARTED
        )
        made >> sensor
    RecordedSessionSensor.partial(task_id="mapped", spark_pool_name="idle_reached.mapped.starts", **STARTED).expand(
        session_id=[12, "12"]
    )
    for name, pool in {"ended": "idle_reached.ended.starts", "ended_badly": "failed.ended_badly.starts"}.items():
        wait(name, pool, STARTED, {"end_from_trigger": True})
    wait("cleared", "idle_then_gone.starts", STARTED)
