"""How the tests watch what goes on: the requests for sessions, and the tasks of a run."""

from __future__ import annotations

from collections import Counter

import requests
from local_airflow import wait_for


def is_asked(synapse, sessions, kind="sessions"):
    """Count how often sessions, or batch jobs, were asked for, by themselves or by the first page of the list."""
    asked = Counter(request.path.rpartition("/sparkPools")[2] for request in synapse.recorded_requests)
    counts = {
        (pool, number): asked[f"/{pool}/{kind}/{number}"] + asked[f"/{pool}/{kind}"] for number, pool, _ in sessions
    }
    return {session: count for session, count in counts.items() if count}


def wait_until_asked(synapse, sessions, times=2, timeout=180, kind="sessions"):
    """Wait until each session, or batch job, was asked for so often from now on."""
    synapse.server.recorded_requests.clear()

    def look():
        asked = is_asked(synapse, sessions, kind)
        return (len(asked) == len(sessions) and min(asked.values()) >= times) or None

    wait_for(look, "all being waited for", timeout=timeout)


def wait_until_ended(airflow, dag_id, run_id, timeout):
    """Wait for the end of a run, and give the states of its tasks."""

    def look():
        airflow.revive()
        try:
            states = airflow.states(dag_id, run_id)
        except (requests.RequestException, RuntimeError):  # the API server is down
            return None
        over = {"success", "failed", "skipped", "upstream_failed"}
        return states if states and set(states.values()) <= over else None

    try:
        return wait_for(look, f"the end of {dag_id}", timeout=timeout, interval=3)
    except TimeoutError:
        raise AssertionError(f"not over: {Counter(airflow.states(dag_id, run_id).values())}") from None


def instances(airflow, run, task_id):
    """Return the instances of a run's mapped task, by map index; none before they are mapped."""
    path = f"dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances"
    found = airflow.call("GET", path, params={"limit": 1000})["task_instances"]
    return {task["map_index"]: task for task in found if task["task_id"] == task_id and task["map_index"] >= 0}
