"""
``make demo`` and ``make ui``: a real Airflow creates a Spark session of the local Synapse, runs code in it, cancels it.

Everything runs on the loopback address, and lives in ``.airflow/demo``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from local_airflow import LocalAirflow, wait_for

from airflow_provider_synapse_livy.emulator import SynapseEmulator
from airflow_provider_synapse_livy.emulator.entra import CLIENT_ID, CLIENT_SECRET, TENANT_ID

PROJECT = Path(__file__).resolve().parent.parent
HOME = PROJECT / ".airflow" / "demo"
DAG_ID = "example_synapse_spark_session"
POOL = "sparkpool"

#: There is no such workspace; the link to Synapse Studio needs one.
WORKSPACE_RESOURCE_ID = (
    "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/demo"
    "/providers/Microsoft.Synapse/workspaces/emulator"
)

#: Slow enough to watch: a session is ready in about 17 seconds.
TIME_SCALE = 0.3

#: What the local Synapse says to the code of the DAG if it has no Spark: what the code prints, and its result.
ANSWERS = {
    "saveAsTable": "",
    "def count": "counting orders\n\nairflow_task_result=1000",
}

_began = time.monotonic()


def say(line: str = "") -> None:
    """Print a line, with the time since the start."""
    print(f"[{time.monotonic() - _began:5.1f} s] {line}" if line else "", flush=True)


@contextlib.contextmanager
def emulator(*, spark: bool) -> Iterator[SynapseEmulator]:
    """Run the emulator, which runs the code of the DAG in a real Spark, or knows what that would say."""
    with SynapseEmulator(tls=True, time_scale=TIME_SCALE, spark=spark) as synapse:
        for code, text in ({} if spark else ANSWERS).items():
            output = {"status": "ok", "data": {"text/plain": text}}
            synapse.answer_statement(contains=code, output=output, seconds=20)
        has = (
            "has a real Spark in it"
            if spark
            else "has no Spark (SPARK=1 takes one, which needs Java): it is told what to say"
        )
        say(f"The local Synapse listens at {synapse.url}, and {has}.")
        yield synapse


def connection(synapse: SynapseEmulator) -> dict[str, Any]:
    """Describe the connection to the emulator, with a client secret, as for the real Synapse."""
    host, port = synapse.url.rsplit(":", 1)
    extra = {
        "tenantId": TENANT_ID,
        "spark_pool_name": POOL,
        "authority": synapse.url,
        "verify": str(synapse.ca_file),
        "workspace_resource_id": WORKSPACE_RESOURCE_ID,
    }
    return {
        "conn_type": "synapse_livy",
        "host": host,
        "port": int(port),
        "login": CLIENT_ID,
        "password": CLIENT_SECRET,
        "extra": json.dumps(extra),
    }


def show_log(airflow: LocalAirflow, run_id: str, task_id: str) -> None:
    """Print the lines of the task's log that are about the session and the code."""
    say(f"The log of {task_id}:")
    for line in airflow.log(DAG_ID, run_id, task_id):
        if line.startswith(("Spark session", "Statement", "Waiting until", "Creat", "Cancel", "The code")):
            print(textwrap.indent(line, "    "))


def show_xcom(airflow: LocalAirflow, run_id: str, task_id: str) -> None:
    """Print what the task has pushed to XCom, without the empty fields."""
    value = airflow.xcom(DAG_ID, run_id, task_id)
    say(f"The XCom of {task_id}, without empty fields:")
    print(textwrap.indent(json.dumps(_filled(value), indent=2), "    "))


def _filled(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _filled(inner) for name, inner in value.items() if inner not in (None, {})}
    return value


_STATES_IN_WORDS = {"success": "has succeeded", "deferred": "is deferred: it waits in the triggerer"}


def wait_for_task(airflow: LocalAirflow, run_id: str, task_id: str, *wanted: str) -> None:
    """Wait until a task has one of the wanted states; raise an error if it ends in another."""

    def state_if_wanted() -> str | None:
        state = airflow.task_states(DAG_ID, run_id).get(task_id)
        if state in ("failed", "upstream_failed", "skipped") and state not in wanted:
            log = "\n".join(airflow.log(DAG_ID, run_id, task_id))
            raise RuntimeError(f"{task_id} is {state}:\n{log}")
        return state if state in wanted else None

    reached = wait_for(state_if_wanted, f"the state {' or '.join(wanted)} of {task_id}", timeout=90)
    say(f"{task_id} {_STATES_IN_WORDS[reached]}.")


def play(airflow: LocalAirflow, *, spark: bool) -> None:
    """Let the DAG create a session, run code in it, and cancel it."""
    run_id = airflow.trigger(DAG_ID, {})
    say(f"Triggered the DAG {DAG_ID}. Its first task creates a Spark session, and waits until that is ready.")
    wait_for_task(airflow, run_id, "create", "deferred", "success")
    wait_for_task(airflow, run_id, "create", "success")
    for task_id in ("load", "count", "cancel"):
        wait_for_task(airflow, run_id, task_id, "success")
    say()
    for task_id in ("create", "load", "count", "cancel"):
        show_log(airflow, run_id, task_id)
    for task_id in ("load", "count"):
        show_xcom(airflow, run_id, task_id)
    if spark:
        say(f"Spark counted {airflow.xcom(DAG_ID, run_id, 'count'):,} rows.")
    ended = airflow.xcom(DAG_ID, run_id, "cancel")
    say(f"The session was cancelled as a teardown: its state is {ended['state']}, its result {ended['result']}.")


def stay_open(airflow: LocalAirflow) -> None:
    """Keep the UI open until the process is interrupted."""
    say(f"Airflow's UI is at {airflow.url}. It needs no password. Ctrl-C stops it.")
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    stop.wait()


def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ui", action="store_true", help="keep Airflow's UI open afterwards")
    parser.add_argument("--spark", action="store_true", help="run the code in a real Spark, which needs Java")
    arguments = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):  # else whatever was started would outlive us
        signal.signal(number, lambda *_: sys.exit("Received a signal. Stopped Airflow and the emulator."))
    with emulator(spark=arguments.spark) as synapse:
        say("Starting Airflow: scheduler, DAG processor, triggerer and API server.")
        with LocalAirflow(HOME, PROJECT / "example_dags") as airflow:
            say("Airflow is ready.")
            airflow.add_connection("synapse_livy_default", **connection(synapse))
            play(airflow, spark=arguments.spark)
            if arguments.ui:
                stay_open(airflow)
    say("Stopped Airflow and the emulator.")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("Interrupted. Stopped Airflow and the emulator.")
