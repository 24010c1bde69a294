"""
Measure what one batch job costs a worker: the operator of this package, and that of Airflow's own Azure provider.

Both wait for the same job with the same interval. The seconds of a worker are those in which its slot is taken.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

from benchmarks.designs import POLL_INTERVAL
from benchmarks.service import SECONDS_IN_NAME
from benchmarks.worker_side import sdk_client, service_url

#: For how many seconds each job runs, and how many jobs are measured.
RUN_SECONDS = 60.0
JOBS = 3

_SIZES = {"driver_memory": "28g", "driver_cores": 4, "executor_memory": "28g", "executor_cores": 4}
_FILE = "abfss://jobs@account.dfs.core.windows.net/count.py"


class _Slot:
    """Adds up how long a worker's slot is taken, and the CPU time that is used in it."""

    def __init__(self) -> None:
        self.seconds = self.cpu = 0.0

    def run(self, work: Callable[[], Any]) -> Any:
        """Return what the work returns, done in the slot."""
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            return work()
        finally:
            self.seconds += time.perf_counter() - wall
            self.cpu += time.process_time() - cpu


def _run_ours(name: str, slot: _Slot) -> None:
    from airflow_provider_synapse_livy.airflow_compat.sdk import TaskDeferred
    from airflow_provider_synapse_livy.operators.spark_batch import SynapseRunSparkBatchOperator

    def operator() -> Any:
        options: dict[str, Any] = {"synapse_livy_conn_id": "ours", "spark_pool_name": "pool0", "deferrable": True}
        return SynapseRunSparkBatchOperator(
            task_id="run", file=_FILE, name=name, num_executors=2, poll_interval=POLL_INTERVAL, **_SIZES, **options
        )

    context: Any = {}
    try:
        slot.run(lambda: operator().execute(context))
    except TaskDeferred as deferral:
        event = asyncio.run(_first_event(deferral.trigger))
        task = operator()
        task.batch_id = event["record"]["id"]  # which Airflow brings back by XCom
        slot.run(lambda: task.execute_complete(context, event))


async def _first_event(trigger: Any) -> Any:
    async for event in trigger.run():
        return event.payload
    raise AssertionError("unreachable")


def _run_azure(url: str, name: str, slot: _Slot) -> None:
    from airflow.providers.microsoft.azure.operators.synapse import AzureSynapseRunSparkBatchOperator
    from azure.synapse.spark.models import SparkBatchJobOptions

    payload = SparkBatchJobOptions(name=name, file=_FILE, executor_count=2, **_SIZES)
    operator = AzureSynapseRunSparkBatchOperator(
        task_id="run", azure_synapse_conn_id="azure", spark_pool="pool0", payload=payload,
        check_interval=int(POLL_INTERVAL),
    )  # fmt: skip
    operator.hook._conn = sdk_client(url)  # noqa: SLF001  (its own asks Microsoft about the service)
    task_instance = SimpleNamespace(xcom_push=lambda **_: None)
    slot.run(lambda: operator.execute({"ti": task_instance}))


def _measured(run: Callable[[str, _Slot], None], url: str) -> dict[str, float]:
    """Return what one job costs, on average; the first one, which loads the modules, is not counted."""
    import requests

    def answered() -> int:
        counters = requests.get(f"{url}/bench/counters", timeout=10).json()
        return int(counters.get("answered", 0))

    run(f"{SECONDS_IN_NAME}1", _Slot())
    before, slot = answered(), _Slot()
    for _ in range(JOBS):
        run(f"{SECONDS_IN_NAME}{RUN_SECONDS}", slot)
    return {
        "slot_seconds": slot.seconds / JOBS,
        "cpu_seconds": slot.cpu / JOBS,
        "requests": (answered() - before) / JOBS,
    }


def main() -> None:
    """Print the measurements as JSON."""
    url = service_url()
    logging.disable(logging.WARNING)
    ways = {"ours": _run_ours, "azure": partial(_run_azure, url)}
    result = {name: _measured(run, url) for name, run in ways.items()}
    print(json.dumps({"run_seconds": RUN_SECONDS, **result}))


if __name__ == "__main__":
    main()
