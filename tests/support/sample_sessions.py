"""Answers in the shapes of the live service, made for these tests."""

from __future__ import annotations

import json
from typing import Any


def session(**changes: Any) -> dict[str, Any]:
    """Return the detailed body of an idle session, with some of its fields changed; ``...`` removes one."""
    body = {
        "livyInfo": {
            "notStartedAt": None,
            "startingAt": "2025-03-01T08:00:20.1234567+00:00",
            "idleAt": "2025-03-01T08:00:52.9+00:00",
            "deadAt": None,
            "shuttingDownAt": None,
            "killedAt": None,
            "recoveringAt": None,
            "busyAt": None,
            "errorAt": None,
            "currentState": "idle",
            "jobCreationRequest": {
                "name": "nightly",
                "conf": {"spark.a": "1"},
                "driverMemory": "28g",
                "driverCores": 4,
            },
        },
        "name": "nightly",
        "workspaceName": "ws",
        "computeName": "etl",
        "sparkPoolName": "etl",
        "submitterName": "someone@example.com",
        "submitterId": "11111111-2222-3333-4444-555555555555",
        "artifactId": "Livy",
        "jobType": "SparkSession",
        "result": "Uncertain",
        "schedulerInfo": {
            "submittedAt": "2025-03-01T08:00:00.0000000+00:00",
            "queuedAt": "2025-03-01T08:00:00.25+00:00",
            "scheduledAt": "2025-03-01T08:00:15.5+00:00",
            "endedAt": None,
            "cancellationRequestedAt": None,
            "currentState": "Scheduled",
        },
        "pluginInfo": {
            "preparationStartedAt": "2025-03-01T08:00:15.6+00:00",
            "resourceAcquisitionStartedAt": "2025-03-01T08:00:16+00:00",
            "submissionStartedAt": "2025-03-01T08:00:20+00:00",
            "monitoringStartedAt": "2025-03-01T08:00:22.1234+00:00",
            "cleanupStartedAt": None,
            "currentState": "Monitoring",
        },
        "tags": {},
        "id": 12,
        "appId": "application_1740816000000_0013",
        "appInfo": {
            "sparkUiUrl": "https://web.azuresynapse.net/sparkui/x/workspaces/ws/sparkpools/etl/sessions/12",
            "impulseErrorCode": None,
            "isSessionTimedOut": "false",
            "driverLogUrl": "https://web.azuresynapse.net/sparkui/x/driverlog/stderr",
        },
        "state": "idle",
        "log": ["stdout: ", "\nstderr: ", "Something was logged", "\nYARN Diagnostics: "],
        "registeredSources": ["default"],
    } | changes
    return {name: value for name, value in body.items() if value is not ...}


def scheduler(**changes: Any) -> dict[str, Any]:
    """Return a ``schedulerInfo``, with some of its fields changed."""
    return session()["schedulerInfo"] | changes


def plugin(**changes: Any) -> dict[str, Any]:
    """Return a ``pluginInfo``, with some of its fields changed."""
    return session()["pluginInfo"] | changes


def livy(**changes: Any) -> dict[str, Any]:
    """Return a ``livyInfo``, with some of its fields changed."""
    return session()["livyInfo"] | changes


NOT_STARTED = session(
    state="not_started",
    livyInfo=livy(startingAt=None, idleAt=None, currentState="not_started"),
    appId=None,
    appInfo=None,
    log=None,
    registeredSources=None,
    schedulerInfo=scheduler(scheduledAt=None, currentState="Queued"),
    pluginInfo=dict.fromkeys(plugin()) | {"currentState": "Preparation"},
)
ACQUIRING = NOT_STARTED | {
    "schedulerInfo": scheduler(),
    "pluginInfo": plugin(submissionStartedAt=None, monitoringStartedAt=None, currentState="ResourceAcquisition"),
}
STARTING = session(state="starting", livyInfo=livy(idleAt=None, currentState="starting"))
IDLE = session()
BUSY = session(state="busy")

_ENDED = scheduler(endedAt="2025-03-01T08:30:00+00:00", currentState="Ended")
_CLEANED = plugin(cleanupStartedAt="2025-03-01T08:29:30+00:00", currentState="Ended")


def ended(state: str, result: str, **changes: Any) -> dict[str, Any]:
    """Return the detailed body of a session that has ended."""
    return session(state=state, result=result, schedulerInfo=_ENDED, pluginInfo=_CLEANED, **changes)


def settling(state: str) -> dict[str, Any]:
    """Return the detailed body of a session that has ended for Livy, but not yet for Synapse."""
    return session(state=state, result="Uncertain", pluginInfo=plugin(currentState="Cleanup"))


def error_info(code: str = "LIVY_JOB_STATE_DEAD", source: str = "Dependency") -> list[dict[str, str]]:
    """Return an ``errorInfo`` of one entry."""
    return [{"message": "Job failed during run time with state=[dead].", "errorCode": code, "source": source}]


KILLED = ended("killed", "Cancelled")
DEAD = ended("dead", "Failed", errorInfo=error_info())
IDLED_OUT = ended(
    "dead",
    "Failed",
    errorInfo=error_info("LIVY_JOB_TIMED_OUT", "Unknown"),
    appInfo=IDLE["appInfo"] | {"isSessionTimedOut": "true"},
)
FAILED_TO_START = ended(
    "error",
    "Failed",
    livyInfo=livy(startingAt=None, idleAt=None),
    appId=None,
    appInfo=None,
    log=None,
    errorInfo=error_info("NO_CAPACITY", "User"),
)
CANCELLED_IN_QUEUE = ended(
    "error", "Cancelled", livyInfo=livy(startingAt=None, idleAt=None), appId=None, appInfo=None, log=None
)
SUCCEEDED = ended("success", "Succeeded")

#: The sample answer of Microsoft's documentation page, which knows a state that the page itself does not list.
DOCUMENTED_SAMPLE = {
    "livyInfo": None,
    "name": "jobname",
    "workspaceName": "myWorkspace",
    "sparkPoolName": "mySparkPool",
    "submitterName": "thetime",
    "submitterId": "thesubmitterid",
    "artifactId": "fill in here",
    "jobType": "SparkSession",
    "result": "Failed",
    "schedulerInfo": None,
    "pluginInfo": None,
    "errorInfo": [],
    "tags": None,
    "id": 1,
    "appId": "fill in here",
    "appInfo": None,
    "state": "the state",
    "log": [],
}

PLAIN = {name: IDLE[name] for name in ("id", "appId", "appInfo", "state", "log", "registeredSources")}

#: Every kind of body that is a session, by a name for the test's title.
SESSIONS: dict[str, dict[str, Any]] = {
    "not started": NOT_STARTED,
    "acquiring": ACQUIRING,
    "starting": STARTING,
    "idle": IDLE,
    "busy": BUSY,
    "settling": settling("dead"),
    "killed": KILLED,
    "dead": DEAD,
    "idled out": IDLED_OUT,
    "failed to start": FAILED_TO_START,
    "cancelled in queue": CANCELLED_IN_QUEUE,
    "succeeded": SUCCEEDED,
    "documented sample": DOCUMENTED_SAMPLE,
    "plain": PLAIN,
    "nothing but an id": {"id": 0},
    "nulls everywhere": dict.fromkeys(IDLE) | {"id": 7},
    "nulls one level down": session(
        livyInfo=dict.fromkeys(IDLE["livyInfo"]),
        schedulerInfo=dict.fromkeys(scheduler()),
        pluginInfo=dict.fromkeys(plugin()),
        appInfo=dict.fromkeys(IDLE["appInfo"]),
        errorInfo=[{"message": None, "errorCode": None, "source": None}],
    ),
    "unknown names": session(state="hibernating", result="Perhaps", jobType="SparkDream", novelty={"a": [1, None]}),
}


def as_json(body: Any) -> bytes:
    """Write a body as it goes over the wire."""
    return json.dumps(body).encode()


def is_part_of(part: Any, whole: Any) -> bool:
    """Return whether all of a JSON value is part of another, unchanged."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(name in whole and is_part_of(part[name], whole[name]) for name in part)
    if isinstance(part, list):
        return len(part) == len(whole) and all(map(is_part_of, part, whole))
    return part == whole and type(part) is type(whole)
