"""Batch jobs in the shapes of the live service: those of 2021 and 2019, made for these tests."""

from __future__ import annotations

from typing import Any

from tests.support import sample_sessions as sessions

_STAMPS = ("notStartedAt", "startingAt", "runningAt", "deadAt", "successAt", "killedAt", "recoveringAt")


def batch(**changes: Any) -> dict[str, Any]:
    """Return the detailed body of a batch job that runs, with some of its fields changed; ``...`` removes one."""
    times = {"startingAt": "2025-03-01T08:00:20.1234567+00:00", "runningAt": "2025-03-01T08:00:45.5+00:00"}
    request = {"name": "count", "file": "abfss://c@a.dfs.core.windows.net/count.jar", "className": "C", "args": ["a"]}
    livy = dict.fromkeys(_STAMPS) | times | {"currentState": "running", "jobCreationRequest": request | {"conf": {}}}
    fields = {"name": "count", "jobType": "SparkBatch", "state": "running", "livyInfo": livy, "registeredSources": ...}
    return sessions.session(**fields | changes)


def ended(state: str, result: str, *, stamp: str | None = None, **changes: Any) -> dict[str, Any]:
    """Return the detailed body of a batch job that has ended, with the time that Livy notes of it."""
    livy = batch()["livyInfo"] | {"currentState": state} | ({stamp: "2025-03-01T08:01:10+00:00"} if stamp else {})
    scheduler = sessions.scheduler(endedAt="2025-03-01T08:01:11.3+00:00", currentState="Ended")
    plugin = sessions.plugin(cleanupStartedAt="2025-03-01T08:01:10.1+00:00", currentState="Ended")
    fields = {"state": state, "result": result, "livyInfo": livy, "schedulerInfo": scheduler, "pluginInfo": plugin}
    return batch(**fields | changes)


NOT_STARTED = sessions.NOT_STARTED | {"jobType": "SparkBatch", "livyInfo": batch()["livyInfo"]}
RUNNING = batch()
STARTING = batch(
    state="starting", appId=None, appInfo={"driverLogUrl": None, "sparkUiUrl": None, "isSessionTimedOut": None}
)
SUCCEEDED = ended("success", "Succeeded", stamp="successAt")
FAILED = ended(
    "dead",
    "Failed",
    stamp="deadAt",
    errorInfo=sessions.error_info("LIVY_JOB_FAILED"),
    log=["\nYARN Diagnostics: ", "No YARN application is found with tag livy-batch-0-7v8dgkxr in 300 seconds."],
)
CANCELLED_IN_QUEUE = ended("error", "Cancelled", appId=None, appInfo=None, log=None)
KILLED = ended("killed", "Cancelled")
#: Livy says that it has ended, Synapse does not yet.
SETTLING = batch(state="success", pluginInfo=sessions.plugin(currentState="Cleanup"))
NOT_CLOSED = SUCCEEDED | {"schedulerInfo": sessions.scheduler()}
PLAIN = {name: RUNNING[name] for name in ("id", "appId", "appInfo", "state", "log")}

#: Every kind of body that is a batch job, by a name for the test's title.
BATCHES: dict[str, dict[str, Any]] = {
    "not started": NOT_STARTED,
    "starting": STARTING,
    "running": RUNNING,
    "succeeded": SUCCEEDED,
    "failed": FAILED,
    "cancelled in queue": CANCELLED_IN_QUEUE,
    "killed": KILLED,
    "settling": SETTLING,
    "not closed": NOT_CLOSED,
    "plain": PLAIN,
    "nothing but an id": {"id": 0},
    "nulls everywhere": dict.fromkeys(RUNNING) | {"id": 7},
    "unknown names": batch(state="hibernating", result="Perhaps", jobType="SparkDream", novelty={"a": [1, None]}),
}
