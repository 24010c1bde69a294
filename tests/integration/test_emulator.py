"""The emulator: its responses match recordings of the live service, and Microsoft's own client can use it."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys
import time
from datetime import datetime

import pytest
import requests
from azure.core.exceptions import HttpResponseError
from azure.identity import ClientSecretCredential
from azure.synapse.spark import SparkClient
from azure.synapse.spark.models import SparkSessionOptions

from airflow_provider_synapse_livy import __version__
from airflow_provider_synapse_livy.emulator import SCENARIOS, SynapseEmulator
from airflow_provider_synapse_livy.emulator.__main__ import main
from airflow_provider_synapse_livy.emulator.entra import CLIENT_ID, CLIENT_SECRET, STATIC_TOKEN, TENANT_ID
from airflow_provider_synapse_livy.emulator.server import SynapseServer
from airflow_provider_synapse_livy.emulator.sessions import timestamp
from airflow_provider_synapse_livy.livy.responses import Snapshot
from airflow_provider_synapse_livy.models import SparkSession
from airflow_provider_synapse_livy.waiting.goals import SessionGoal
from airflow_provider_synapse_livy.waiting.wait import Wait, WaitOptions

VERSION = "livyApi/versions/2020-12-01"

#: The least that creates a session.
NAMED = {"name": "mine"}


def call(emulator, method, path, *, version=VERSION, token=STATIC_TOKEN, **kwargs):
    """Send a request to the emulator and return the response."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return requests.request(
        method, f"{emulator.url}/{version}/sparkPools/{path}", headers=headers, timeout=10, **kwargs
    )


def record(emulator, scenario, age, *, pool="etl"):
    """Return the record of a new session whose age is given in emulated seconds."""
    session_id = emulator.create_session(pool, scenario, age=age)
    return call(emulator, "GET", f"{pool}/sessions/{session_id}?detailed=true").json()


STAGES = [
    # scenario, age in emulated seconds, then state, result, scheduler state, plugin state
    # The trailing numbers count the combinations of states that the live service shows.
    ("becomes_idle", 5, "not_started", "Uncertain", "Queued", "Preparation"),  # 1
    ("becomes_idle", 21, "not_started", "Uncertain", "Scheduled", "ResourceAcquisition"),  # 2
    ("becomes_idle", 30, "starting", "Uncertain", "Scheduled", "Monitoring"),  # 3
    ("becomes_idle", 70, "idle", "Uncertain", "Scheduled", "Monitoring"),  # 4
    ("becomes_idle", 1000, "idle", "Uncertain", "Scheduled", "Monitoring"),
    ("becomes_idle", 3600, "idle", "Uncertain", "Scheduled", "Monitoring"),
    ("becomes_idle", 3700, "dead", "Failed", "Ended", "Ended"),
    ("dies_while_running", 80, "busy", "Uncertain", "Scheduled", "Monitoring"),  # 5
    ("dies_while_running", 110, "dead", "Uncertain", "Scheduled", "Cleanup"),  # 6
    ("dies_while_running", 140, "dead", "Failed", "Ended", "Ended"),  # 7
    ("idles_out", 130, "dead", "Uncertain", "Scheduled", "Cleanup"),
    ("idles_out", 160, "dead", "Failed", "Ended", "Ended"),
    ("cancelled_while_idle", 85, "idle", "Uncertain", "Scheduled", "Monitoring"),
    ("cancelled_while_idle", 90, "shutting_down", "Uncertain", "Scheduled", "Cleanup"),
    ("cancelled_while_idle", 100, "killed", "Uncertain", "Scheduled", "Cleanup"),
    ("cancelled_while_idle", 130, "killed", "Cancelled", "Ended", "Ended"),  # 8
    ("fails_to_start", 60, "error", "Uncertain", "Scheduled", "Cleanup"),
    ("fails_to_start", 90, "error", "Failed", "Ended", "Ended"),  # 9
    ("capacity_exceeded", 18, "not_started", "Uncertain", "Scheduled", "Preparation"),
    ("capacity_exceeded", 30, "error", "Uncertain", "Scheduled", "Cleanup"),
    ("capacity_exceeded", 60, "error", "Failed", "Ended", "Ended"),
    ("cluster_times_out", 300, "not_started", "Uncertain", "Scheduled", "ResourceAcquisition"),
    ("cluster_times_out", 360, "error", "Failed", "Ended", "Ended"),
    ("refuses_to_end", 70, "idle", "Uncertain", "Scheduled", "Monitoring"),
    ("refuses_to_end", 100_000, "idle", "Uncertain", "Scheduled", "Monitoring"),
    ("cancelled_while_queued", 60, "error", "Cancelled", "Ended", "Ended"),  # 10
    ("unknown_state", 50, "hibernating", "Uncertain", "Scheduled", "Monitoring"),
    ("unknown_state", 70, "idle", "Uncertain", "Scheduled", "Monitoring"),
    ("slow", 500, "not_started", "Uncertain", "Queued", "Preparation"),
    ("slow", 1000, "idle", "Uncertain", "Scheduled", "Monitoring"),
    ("flaky", 70, "idle", "Uncertain", "Scheduled", "Monitoring"),
]


@pytest.mark.parametrize(("scenario", "age", "state", "result", "scheduler", "plugin"), STAGES)
def test_stages(synapse, scenario, age, state, result, scheduler, plugin):
    """At each age, a scenario's session has the states that the live service reports at that age."""
    session_id = synapse.create_session("etl", scenario, age=age)
    body = synapse.server.pools.find("etl", session_id).record(time.time())
    session = SparkSession.from_dict(body)
    assert (session.state, session.result) == (state, result)
    assert session.state == session.livy_info.current_state
    assert (session.scheduler_info.current_state, session.plugin_info.current_state) == (scheduler, plugin)


def test_every_scenario_has_a_stage():
    """Every scenario occurs in ``STAGES``."""
    assert {row[0] for row in STAGES} == set(SCENARIOS)


@pytest.mark.parametrize("scenario", ["becomes_idle", "unknown_state", "slow", "flaky"])
@pytest.mark.parametrize("time_scale", [0.001, 0.05, 1])
def test_a_session_stays_usable_for_an_hour(scenario, time_scale):
    """If a scenario is not about the idle timeout, a session stays idle for an hour of real time at any time scale."""
    server = SynapseServer(time_scale=time_scale, rate_limit=200, token_lifetime=3600)
    session = server.create_session("etl", {"tags": {"emulator.scenario": scenario}})
    startup = session.scenario.transitions[-1].at * time_scale
    before, after = (session.record(session.created_at + startup + 3600 + seconds) for seconds in (-1, 1))
    assert (before["state"], after["state"]) == ("idle", "dead")
    session.reset_timeout(session.created_at + startup + 1800)
    assert session.record(session.created_at + startup + 3600 + 1)["state"] == "idle"


@pytest.mark.parametrize("time_scale", [0.001, 0.05, 1])
def test_the_idle_timeout_to_look_at_is_scaled(time_scale):
    """A session of the scenario ``idles_out`` idles out after one minute of emulated time."""
    server = SynapseServer(time_scale=time_scale, rate_limit=200, token_lifetime=3600)
    session = server.create_session("etl", {"tags": {"emulator.scenario": "idles_out"}})
    startup = session.scenario.transitions[-1].at
    before, after = (session.record(session.created_at + (startup + age) * time_scale) for age in (59, 61))
    assert (before["state"], after["state"]) == ("idle", "dead")


def test_durations_are_the_recorded_ones(synapse):
    """A session is queued for 15.8 s, acquires nodes in 4.2 s and starts in 2.1 s, as recorded."""
    session = SparkSession.from_dict(record(synapse, "becomes_idle", 70))
    durations = (session.queue_duration, session.acquisition_duration, session.start_duration)
    assert [round(duration.total_seconds(), 1) for duration in durations] == [15.8, 4.2, 2.1]


def test_record_of_a_new_session(synapse):
    """In the record of a new session, unknown values are null, and errorInfo is missing."""
    body = record(synapse, "becomes_idle", 0)
    assert [name for name, value in body.items() if value is None] == [
        "appId",
        "appInfo",
        "log",
        "registeredSources",
    ]
    assert "errorInfo" not in body
    assert set(body["pluginInfo"].values()) == {None, "Preparation"}


def test_record_of_an_idle_timeout(synapse):
    """After an idle timeout, isSessionTimedOut is the string "true", and errorInfo has LIVY_JOB_TIMED_OUT."""
    body = record(synapse, "idles_out", 160)
    assert body["appInfo"]["isSessionTimedOut"] == "true"
    assert body["errorInfo"] == [
        {
            "message": "Job failed during run time with state=[dead].",
            "errorCode": "LIVY_JOB_TIMED_OUT",
            "source": "Unknown",
        }
    ]
    assert body["livyInfo"]["deadAt"]


def test_record_of_a_cancellation(synapse):
    """The record of a killed session has neither killedAt nor errorInfo; the clean-up began with the request."""
    body = record(synapse, "cancelled_while_idle", 130)
    assert body["livyInfo"]["killedAt"] is None
    assert body["schedulerInfo"]["cancellationRequestedAt"] == body["pluginInfo"]["cleanupStartedAt"] is not None
    assert "errorInfo" not in body


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (1_740_393_705.5, "2025-02-24T10:41:45.5+00:00"),
        (1_740_393_705.0, "2025-02-24T10:41:45+00:00"),
        (1_740_393_705.6711288, "2025-02-24T10:41:45.6711288+00:00"),
        (1_740_393_705.0004, "2025-02-24T10:41:45.0004+00:00"),
    ],
)
def test_timestamps(at, text):
    """A timestamp has up to seven decimal places, no trailing zeros, and the offset +00:00."""
    assert timestamp(at) == text
    assert datetime.fromisoformat(text).timestamp() == pytest.approx(at, abs=1e-5)


def test_sessions_are_numbered_from_zero_in_each_pool(synapse):
    """Each pool numbers its sessions from 0."""
    numbers = [call(synapse, "POST", f"{pool}/sessions", json=NAMED).json()["id"] for pool in ("one", "two", "one")]
    assert numbers == [0, 0, 1]


def test_headers(synapse):
    """A response for one session repeats the record in headers, with times in US format and 1/1/0001 if unset."""
    response = call(synapse, "POST", "etl/sessions?detailed=true", json={"name": "x"})
    uuid = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    assert response.headers["content-type"] == "application/json; charset=utf-8"
    assert re.fullmatch(uuid, response.headers["x-ms-activity-id"])
    assert re.fullmatch(uuid, response.headers["x-ms-request-id"])
    assert response.headers["x-ms-job-result"] == "Uncertain"
    assert response.headers["x-ms-job-scheduled-on"] == "1/1/0001 12:00:00 AM +00:00"
    assert response.headers["x-ms-job-ended-on"] == ""
    assert re.fullmatch(r"\d+/\d+/\d{4} \d+:\d\d:\d\d [AP]M \+00:00", response.headers["x-ms-job-submitted-on"])


def test_record_without_details(synapse):
    """Without detailed=true a record has six fields only."""
    session_id = synapse.create_session("etl", age=70)
    body = call(synapse, "GET", f"etl/sessions/{session_id}").json()
    assert list(body) == ["id", "appId", "appInfo", "state", "log", "registeredSources"]


def test_cancellation_is_asynchronous(synapse):
    """A DELETE answers 200 without a body and sets cancellationRequestedAt; the session stays idle for a while."""
    session = synapse.server.pools.find("etl", synapse.create_session("etl", age=70))
    response = call(synapse, "DELETE", f"etl/sessions/{session.id}")
    assert (response.status_code, response.content) == (200, b"")
    body = session.record(session.cancelled_at + 1)
    assert (body["state"], body["result"]) == ("idle", "Uncertain")
    assert body["schedulerInfo"]["cancellationRequestedAt"] == timestamp(session.cancelled_at)


@pytest.mark.parametrize(
    ("age", "states"),
    [
        (5, ["not_started", "not_started", "error", "error"]),
        (30, ["starting", "shutting_down", "killed", "killed"]),
        (70, ["idle", "shutting_down", "killed", "killed"]),
    ],
)
def test_cancellation_ends_a_session(synapse, age, states):
    """A cancelled session shuts down and is killed, or is an error if it had not started; the result comes later."""
    session = synapse.server.pools.find("etl", synapse.create_session("etl", age=age))
    synapse.cancel_session("etl", session.id)
    records = [session.record(session.cancelled_at + seconds) for seconds in (1, 2.5, 10, 60)]
    assert [record["state"] for record in records] == states
    assert [record["result"] for record in records] == ["Uncertain"] * 3 + ["Cancelled"]
    assert {record["livyInfo"]["shuttingDownAt"] for record in records} == {None}


@pytest.mark.parametrize(("age", "later", "state"), [(5, 10, "not_started"), (5, 200, "idle"), (70, 100_000, "idle")])
def test_session_that_refuses_to_end(synapse, age, later, state):
    """A session of the scenario ``refuses_to_end`` notes its cancellation, and goes on as if there had been none."""
    session = synapse.server.pools.find("etl", synapse.create_session("etl", "refuses_to_end", age=age))
    assert call(synapse, "DELETE", f"etl/sessions/{session.id}").status_code == 200
    body = session.record(session.cancelled_at + later)
    assert (body["state"], body["result"], body["schedulerInfo"]["endedAt"]) == (state, "Uncertain", None)
    assert body["schedulerInfo"]["cancellationRequestedAt"] == timestamp(session.cancelled_at)


@pytest.mark.parametrize(
    ("scenario", "code"),
    [
        ("fails_to_start", "AVAILABLE_COMPUTE_CAPACITY_EXCEEDED"),
        ("capacity_exceeded", "MAXIMUM_WORKSPACE_CAPACITY_EXCEEDED"),
        ("cluster_times_out", "CLUSTER_CREATION_TIMED_OUT"),
        ("dies_while_running", "LIVY_JOB_STATE_DEAD"),
    ],
)
def test_error_info(synapse, scenario, code):
    """A session that fails says why in errorInfo, with the codes of the live service."""
    (error,) = record(synapse, scenario, 400)["errorInfo"]
    assert error["errorCode"] == code
    assert error["source"] in ("Dependency", "System", "Unknown", "User")


def test_cancelling_an_ended_session_changes_nothing(synapse):
    """A DELETE of a session that has ended answers 200 and does not change its record."""
    session = synapse.server.pools.find("etl", synapse.create_session("etl", "idles_out", age=200))
    before = session.record(time.time())
    assert call(synapse, "DELETE", f"etl/sessions/{session.id}").status_code == 200
    assert session.record(time.time() + 100) == before


def test_reset_timeout(synapse):
    """A PUT of reset-timeout restarts the idle timeout."""
    session = synapse.server.pools.find("etl", synapse.create_session("etl", "idles_out", age=110))
    now = time.time()
    assert session.record(now + 20)["state"] == "dead"
    response = call(synapse, "PUT", f"etl/sessions/{session.id}/reset-timeout")
    assert (response.status_code, response.content) == (200, b"")
    assert session.record(now + 20)["state"] == "idle"
    assert session.record(now + 70)["state"] == "dead"


def test_reset_timeout_of_an_ended_session_changes_nothing(synapse):
    """A PUT of reset-timeout for a session that has ended answers 200 and does not change its state."""
    session = synapse.server.pools.find("etl", synapse.create_session("etl", "idles_out", age=200))
    assert call(synapse, "PUT", f"etl/sessions/{session.id}/reset-timeout").status_code == 200
    assert session.record(time.time())["state"] == "dead"


@pytest.mark.parametrize(("list_order", "step"), [("newest_first", -1), ("oldest_first", 1)])
def test_list(list_order, step):
    """A list has up to 20 sessions, in one of the recorded orders, also ended ones; total counts those in it."""
    ids = list(range(25))[::step]
    with SynapseEmulator(list_order=list_order) as synapse:
        for age in range(25):
            synapse.create_session("listed", "idles_out", age=100 * age)
        first = call(synapse, "GET", "listed/sessions?detailed=true").json()
        last = call(synapse, "GET", "listed/sessions?from=20&size=20").json()
        part = call(synapse, "GET", "listed/sessions?from=3&size=2").json()
    assert (first["from"], first["total"], [s["id"] for s in first["sessions"]]) == (0, 20, ids[:20])
    assert (last["from"], last["total"], [s["id"] for s in last["sessions"]]) == (20, 5, ids[20:])
    assert (part["from"], part["total"], [s["id"] for s in part["sessions"]]) == (3, 2, ids[3:5])
    assert list(last["sessions"][0]) == ["id", "appId", "appInfo", "state", "log", "registeredSources"]
    assert "dead" in [session["state"] for session in first["sessions"]]


def test_unknown_list_order():
    """An order that does not exist raises a ValueError that lists those that do."""
    with pytest.raises(ValueError, match="list_order 'by name': there is no such order") as raised:
        SynapseEmulator(list_order="by name")
    assert str(raised.value).splitlines()[1] == "Fix: use one of these orders: newest_first, oldest_first."


FLAT_ERRORS = [
    ("GET", "etl/sessions/99999", 404, {"code": "NotFound", "error": None}),
    ("GET", "etl/sessions/one", 404, {"code": "NotFound", "error": None}),
    ("GET", "etl/sessions/²", 404, {"code": "NotFound", "error": None}),
    ("DELETE", "etl/sessions/99999", 404, {"code": "NotFound", "error": None}),
    ("PUT", "etl/sessions/99999/reset-timeout", 404, {"code": "NotFound", "error": None}),
    ("GET", "firewalled/sessions/0", 403, {"code": "ClientIpAddressNotAuthorized"}),
]


@pytest.mark.parametrize(("method", "path", "status", "body"), FLAT_ERRORS)
def test_flat_errors(synapse, method, path, status, body):
    """A missing session and a closed firewall get a JSON error with code and message at the top level."""
    response = call(synapse, method, path)
    assert (response.status_code, response.json() | body) == (status, response.json())
    assert response.headers["x-ms-activity-id"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"{VERSION}/sparkPools/etl/sessions/0/log"),
        ("DELETE", f"{VERSION}/sparkPools/etl/sessions/0/statements/0"),
        ("PUT", f"{VERSION}/sparkPools/etl/batches/0/reset-timeout"),
        ("PATCH", f"{VERSION}/sparkPools/etl/sessions/0"),
        ("GET", "livyApi/versions"),
        ("GET", "pipelines/mine"),
        ("GET", ""),
    ],
)
def test_what_is_not_emulated(synapse, method, path):
    """A request for what is not emulated gets a 404 in the service's form, which says so, and is recorded."""
    headers = {"Authorization": f"Bearer {STATIC_TOKEN}"}
    response = requests.request(method, f"{synapse.url}/{path}", headers=headers, timeout=10)
    assert (response.status_code, response.json()["code"], response.json()["error"]) == (404, "NotFound", None)
    assert f"does not emulate {method} /{path}. " in response.json()["message"]
    assert "emulates nothing of Synapse besides" in response.json()["message"]
    assert (method, f"/{path}", 404) in synapse.recorded_requests


def test_what_is_not_emulated_requires_a_token(synapse):
    """A request to the Livy API gets a 401 without a token, also for what is not emulated."""
    assert requests.get(f"{synapse.url}/{VERSION}/sparkPools/etl/batches", timeout=10).status_code == 401


@pytest.mark.parametrize(("pool", "status", "code"), [("forbidden", 403, "Unauthorized"), ("missing", 404, "NotFound")])
def test_nested_errors(synapse, pool, status, code):
    """A missing role and a missing pool get a JSON error with code and message inside "error"."""
    response = call(synapse, "GET", f"{pool}/sessions")
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)


INVALID_CREATIONS = [
    # fields beside the name, or the whole body; what the message says
    (b"no json", "The request body is not JSON: "),
    (b"", "The request body is not JSON: "),
    (b"\xff", "The request body is not JSON: "),
    (b"[" * 50_000, "The request body is not JSON: "),
    (b"[]", "The request body is not a JSON object."),
    (b"{}", "The field 'name' is required."),
    (b'{"Name": null}', "The field 'name' is required."),
    ({"name": " "}, "The field 'name' must be a string that is not empty."),
    ({"name": 5}, "The field 'name' must be a string that is not empty."),
    ({"driverMemory": 28}, "The field 'driverMemory' must be a string such as \"28g\"."),
    ({"executorMemory": "28"}, "The field 'executorMemory' must be a string such as \"28g\"."),
    ({"executorMemory": "0g"}, "The field 'executorMemory' must be a string such as \"28g\"."),
    ({"driverCores": "4"}, "The field 'driverCores' must be a whole number of at least 1."),
    ({"DRIVERCORES": 0}, "The field 'driverCores' must be a whole number of at least 1."),
    ({"executorCores": True}, "The field 'executorCores' must be a whole number of at least 1."),
    ({"numExecutors": 2.0}, "The field 'numExecutors' must be a whole number of at least 1."),
    ({"numExecutors": 2**31}, "The field 'numExecutors' must be a whole number of at least 1."),
    ({"conf": {"spark.x": 1}}, "The field 'conf' must be an object whose values are strings."),
    ({"conf": []}, "The field 'conf' must be an object whose values are strings."),
    ({"tags": {"a": None}}, "The field 'tags' must be an object whose values are strings."),
    ({"tags": {"emulator.scenario": []}}, "The field 'tags' must be an object whose values are strings."),
    ({"tags": {"emulator.scenario": "nonsense"}}, "there is no scenario 'nonsense', but becomes_idle, "),
    ({"jars": "one.jar"}, "The field 'jars' must be a list of strings."),
    ({"artifactId": 5}, "The field 'artifactId' must be a string."),
]


@pytest.mark.parametrize(("body", "message"), INVALID_CREATIONS)
def test_invalid_creations(synapse, body, message):
    """A creation without a name, or with a field of another type, gets a 400 of Livy, and creates nothing."""
    sent = {"data": body} if isinstance(body, bytes) else {"json": NAMED | body}
    response = call(synapse, "POST", "refused/sessions", **sent)
    assert (response.status_code, set(response.json())) == (400, {"TraceId", "Message"})
    livys = "The HTTP status code of the response was not expected (400).\n\nStatus: 400\nResponse: \n"
    assert response.json()["Message"].startswith(livys + message)
    assert call(synapse, "GET", "refused/sessions").json()["total"] == 0


def test_unknown_version(synapse):
    """A request with an API version that does not exist gets a 400 with TraceId and Message."""
    response = call(synapse, "POST", "etl/sessions", json=NAMED, version="livyApi/versions/1999-01-01")
    assert (response.status_code, set(response.json())) == (400, {"TraceId", "Message"})


FULL = {
    "name": "all fields",
    "driverMemory": "4G",
    "driverCores": 4,
    "executorMemory": "28g",
    "executorCores": 4,
    "numExecutors": 1,
    "conf": {"spark.Mixed": "Case"},
    "jars": ["abfss://one.jar"],
}


@pytest.mark.parametrize("change_case", [str, str.lower, str.upper])
def test_names_of_fields(synapse, change_case):
    """The names of fields are matched without regard to case; the record has them as they are documented."""
    sent = {change_case(name): value for name, value in FULL.items()}
    body = call(synapse, "POST", "etl/sessions?detailed=true", json=sent).json()
    assert (body["name"], body["livyInfo"]["jobCreationRequest"]) == ("all fields", FULL)


def test_fields_that_do_no_harm(synapse):
    """Fields that are null, and fields that the service does not know, are accepted and do not come back."""
    nulls = dict.fromkeys(("tags", "conf", "jars", "driverCores", "driverMemory", "artifactId"))
    sent = NAMED | nulls | {"kind": "pyspark", "heartbeatTimeoutInSecond": 0}
    body = call(synapse, "POST", "etl/sessions?detailed=true", json=sent).json()
    assert (body["tags"], body["artifactId"]) == ({}, "Livy")
    assert body["livyInfo"]["jobCreationRequest"] == NAMED | {"conf": {}}


@pytest.mark.parametrize(("size", "status"), [(100_000, 200), (100_001, 413), (1_000_000, 413), (2_000_000, 413)])
def test_large_creations(synapse, size, status):
    """A creation of more than 100 kBytes gets a 413."""
    head, tail = b'{"name": "large", "conf": {"x": "', b'"}}'
    body = head + b"x" * (size - len(head + tail)) + tail
    response = call(synapse, "POST", "etl/sessions", data=body)
    assert (response.status_code, "Message" in response.json()) == (status, status == 413)


def test_session_without_a_name(synapse):
    """A session that a test creates without a name gets one, as every session of the service has."""
    named, unnamed = synapse.create_session("etl", name="mine"), synapse.create_session("etl")
    sessions = (synapse.server.pools.find("etl", session_id) for session_id in (named, unnamed))
    assert [session.record(time.time())["name"] for session in sessions] == ["mine", "emulated"]


def test_creation_in_a_missing_pool(synapse):
    """A creation in a pool that does not exist gets a 400, which other requests do not, with words of the service."""
    response = call(synapse, "POST", "missing/sessions", json=NAMED)
    assert (response.status_code, response.json()["Message"]) == (400, "Spark Compute not Found")


NO_VCORES = (
    "InvalidHttpRequestToLivy: Your Spark job requested 12 vcores. However, the workspace has a 0 core limit. "
    "Try reducing the numbers of vcores requested or increasing your vcore quota."
)
TOO_FEW_VCORES = "Job was submitted with resources=[16] when the compute has a capacity of=[12]"


@pytest.mark.parametrize(
    ("pool", "sizes", "refusal"),
    [
        ("quota", {}, NO_VCORES),
        ("quota", {"driverCores": 4, "executorCores": 8, "numExecutors": 1}, NO_VCORES),
        ("small", {}, None),
        ("small", {"numExecutors": 3}, TOO_FEW_VCORES),
        ("small", {"driverCores": 8}, TOO_FEW_VCORES),
        ("etl", {"numExecutors": 1000}, None),
    ],
)
def test_sizes_that_a_pool_refuses(synapse, pool, sizes, refusal):
    """A session with more vcores than workspace or pool may have is refused, in the words of the service."""
    response = call(synapse, "POST", f"{pool}/sessions", json=NAMED | sizes)
    assert response.status_code == (400 if refusal else 200)
    assert (refusal or '"state"') in response.text


@pytest.mark.parametrize(("executors", "status"), [(11, 200), (12, 400)])
def test_vcore_limit(executors, status):
    """With ``vcore_limit``, no session may have more vcores, whatever runs beside it."""
    sizes = {"driverCores": 4, "executorCores": 4, "numExecutors": executors}
    with SynapseEmulator(vcore_limit=48) as synapse:
        responses = [call(synapse, "POST", "etl/sessions", json=NAMED | sizes) for _ in range(2)]
    assert [response.status_code for response in responses] == [status] * 2


@pytest.mark.parametrize(("token", "code"), [(None, "AuthenticationFailed"), ("made-up", "AuthenticationFailed")])
def test_a_valid_token_is_required(synapse, token, code):
    """A request without a token, or with an unknown one, gets a 401."""
    response = call(synapse, "GET", "etl/sessions/0", token=token)
    assert (response.status_code, response.json()["code"]) == (401, code)
    assert "x-ms-activity-id" not in response.headers


def test_invalid_pages(synapse):
    """A page that is not given in integers, or larger than 20, gets a 400; negative integers count as 0."""
    for query in ("from=one", "size=many", "size=21"):
        assert set(call(synapse, "GET", f"etl/sessions?{query}").json()) == {"TraceId", "Message"}
    for _ in range(2):
        synapse.create_session("pages")
    assert [call(synapse, "GET", f"pages/sessions?{q}").json()["total"] for q in ("from=-5", "size=-1")] == [2, 0]


def token_for(synapse, scope):
    """Request a token for a scope and return it."""
    url = f"{synapse.url}/{TENANT_ID}/oauth2/v2.0/token"
    form = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "scope": scope}
    return requests.post(url, data=form, timeout=10).json()["access_token"]


def test_tokens_are_for_one_audience(synapse):
    """A token issued for another service gets a 401."""
    good = token_for(synapse, "https://dev.azuresynapse.net/.default")
    assert call(synapse, "GET", "etl/sessions", token=good).status_code == 200
    response = call(synapse, "GET", "etl/sessions", token=token_for(synapse, "https://management.azure.com/.default"))
    assert (response.status_code, response.json()["code"]) == (401, "InvalidTokenAuthenticationAudience")


def test_tokens_expire():
    """An issued token gets a 401 after its lifetime."""
    with SynapseEmulator(token_lifetime=0) as synapse:
        expired = token_for(synapse, "https://dev.azuresynapse.net/.default")
        assert call(synapse, "GET", "etl/sessions", token=expired).status_code == 401


def test_rate_limit():
    """Requests beyond the rate limit get a 429 with Retry-After."""
    with SynapseEmulator(rate_limit=3) as synapse:
        responses = [call(synapse, "GET", "etl/sessions") for _ in range(4)]
    assert [response.status_code for response in responses] == [200, 200, 200, 429]
    assert responses[-1].headers["Retry-After"] == "1"
    assert "layered throttling rate-limit of 3 per 1 second(s)" in responses[-1].text


def test_flaky_sessions(synapse):
    """Every other read of a flaky session fails, with 503, 429, 500 and a closed connection in turn."""
    session_id = synapse.create_session("etl", "flaky", age=70)
    statuses = []
    for _ in range(8):
        try:
            statuses.append(call(synapse, "GET", f"etl/sessions/{session_id}").status_code)
        except requests.ConnectionError:
            statuses.append("closed")
    assert statuses == [503, 200, 429, 200, 500, 200, "closed", 200]


def test_requests_are_recorded():
    """Each request is recorded with its method, path and status."""
    with SynapseEmulator() as synapse:
        session_id = synapse.create_session("etl")
        call(synapse, "GET", f"etl/sessions/{session_id}")
        assert synapse.recorded_requests == [("GET", f"/{VERSION}/sparkPools/etl/sessions/0", 200)]


def test_unknown_scenario(synapse):
    """An unknown scenario raises a ValueError that names it and lists all scenarios."""
    with pytest.raises(ValueError, match="Scenario 'idle_out': there is no such scenario") as raised:
        synapse.create_session("etl", "idle_out")
    assert str(raised.value).splitlines()[1:] == ["Fix: use one of these scenarios:", ", ".join(SCENARIOS)]


def test_cancelling_an_unknown_session(synapse):
    """Cancelling an unknown session raises a LookupError that names session and pool."""
    with pytest.raises(LookupError, match="Session 99999 in pool etl: there is no such session.\nFix: "):
        synapse.cancel_session("etl", 99999)


@contextlib.contextmanager
def real_client(emulator, pool):
    """Yield the sessions of a pool in Microsoft's client, with Microsoft's credential."""
    verify = str(emulator.ca_file)
    authority = {"authority": emulator.url, "disable_instance_discovery": True, "connection_verify": verify}
    credential = ClientSecretCredential(TENANT_ID, CLIENT_ID, CLIENT_SECRET, **authority)
    with credential, SparkClient(credential, emulator.url, pool, connection_verify=verify) as client:
        yield client.spark_session


REAL_OPTIONS = SparkSessionOptions(
    name="from the real client",
    tags={"a": "b"},
    configuration={"x": "1"},
    driver_memory="28g",
    driver_cores=4,
    executor_memory="56g",
    executor_cores=8,
    executor_count=2,
)


def test_real_client(tls_synapse):
    """Microsoft's client and credential can create, read, list, reset and cancel a session."""
    with real_client(tls_synapse, "real") as sessions:
        created = sessions.create_spark_session(REAL_OPTIONS, detailed=True)
        assert (created.name, created.state, created.result, created.tags) == (
            "from the real client", "not_started", "Uncertain", {"a": "b"}
        )  # fmt: skip
        request = created.livy_info.job_creation_request
        assert (request.driver_memory, request.driver_cores) == ("28g", 4)
        assert (request.executor_memory, request.executor_cores, request.executor_count) == ("56g", 8, 2)
        assert request.configuration == {"x": "1"}
        read = sessions.get_spark_session(created.id, detailed=True)
        assert read.scheduler.submitted_at == created.scheduler.submitted_at
        listed = sessions.get_spark_sessions(from_parameter=0, size=20, detailed=True)
        assert [session.id for session in listed.sessions] == [created.id]
        assert sessions.reset_spark_session_timeout(created.id) is None
        assert sessions.cancel_spark_session(created.id) is None
        cancelled = sessions.get_spark_session(created.id, detailed=True)
        assert cancelled.scheduler.cancellation_requested_at


@pytest.mark.parametrize(
    ("pool", "message"),
    [("missing", "Spark Compute not Found"), ("quota", "requested 20 vcores"), ("small", "resources=[20]")],
)
def test_refusals_of_a_real_client(tls_synapse, pool, message):
    """Microsoft's client raises its own error where a session is refused, with the words of the refusal."""
    with real_client(tls_synapse, pool) as sessions:
        with pytest.raises(HttpResponseError) as raised:
            sessions.create_spark_session(REAL_OPTIONS)
        assert raised.value.status_code == 400
        assert message in json.loads(raised.value.response.text())["Message"]


def test_lost_answer_to_a_real_client(tls_synapse):
    """Microsoft's client repeats a creation that got a 503, and so creates a session of which it does not know."""
    with real_client(tls_synapse, "repeated") as sessions:
        tls_synapse.fail_after(503)
        known = sessions.create_spark_session(REAL_OPTIONS)
    assert [session["id"] for session in tls_synapse.sessions("repeated")] == [0, known.id] == [0, 1]


def test_wait_sees_every_step(synapse):
    """A wait that reads the session every second records all phases in their order."""
    session = synapse.server.pools.find("etl", synapse.create_session("etl", "idles_out"))
    goal = SessionGoal.validated(None, ["Succeeded"], False)
    wait = Wait(goal, WaitOptions(timeout=1e12, poke_interval=1), started_at=0)
    for second in range(200):
        now = session.created_at + second
        wait.observe(Snapshot(SparkSession.from_dict(session.record(now)), activity_id=None), now)
    steps = [phase for phase, _ in wait.history]
    startup = ["queued", "acquiring nodes", "submitting", "starting", "idle"]
    assert steps == [*startup, "dead (result pending)", "dead (Failed)"]


@contextlib.contextmanager
def run_emulator(*arguments, **options):
    """Start the emulator as a command and yield the process; if a test fails meanwhile, kill it."""
    command = [sys.executable, "-m", "airflow_provider_synapse_livy.emulator", *arguments]
    options |= {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, **options) as process:
        try:
            yield process
        except BaseException:
            process.kill()
            raise


def run_in_shell(script, folder):
    """Run lines in a shell that stops at the first error, and return what they print."""
    run = subprocess.run(["sh", "-ec", script], cwd=folder, capture_output=True, text=True, check=False, timeout=30)
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("tls", [True, False])
def test_command(tmp_path, signal_number, tls):
    """
    The command prints what to paste into a shell, serves requests, and exits with 0 on SIGINT and SIGTERM.

    What it prints works in any folder, and if the path of the certificate has spaces and quotes.
    """
    (folder := tmp_path / "it's here").mkdir()
    arguments = ["--tls", "--ca-file", "ca.pem"] if tls else []
    with run_emulator("--port", "0", *arguments, cwd=folder) as process:
        lines = list(iter(lambda: process.stdout.readline().rstrip("\n"), "Ctrl-C stops the emulator."))
        url = re.search(r"ready at (https?://127\.0\.0\.1:\d+)", lines[0])[1]
        (export,) = (line for line in lines if line.startswith("export "))
        (curl,) = (line for line in lines if line.startswith("curl "))
        connection = json.loads(run_in_shell(f"{export}\nprintenv AIRFLOW_CONN_SYNAPSE_LIVY_DEFAULT", tmp_path))
        assert (connection["host"], connection["extra"]["spark_pool_name"]) == (url, "sparkpool")
        verify = connection["extra"].get("verify")
        assert verify == (str(folder / "ca.pem") if tls else None)
        assert [json.loads(run_in_shell(curl, tmp_path))["id"] for _ in range(2)] == [0, 1]
        with requests.Session() as http:  # a connection that is kept open does not delay the end
            http.headers["Authorization"] = f"Bearer {STATIC_TOKEN}"
            sessions = http.get(f"{url}/{VERSION}/sparkPools/sparkpool/sessions", verify=verify, timeout=10)
            assert sessions.json()["total"] == 2
            process.send_signal(signal_number)
            assert process.wait(timeout=10) == 0
        assert process.stdout.read().strip() == ""


@pytest.mark.parametrize(
    ("host", "url_host"), [("0.0.0.0", "127.0.0.1"), ("127.0.0.1", "127.0.0.1"), ("localhost", "localhost")]
)
def test_printed_address(host, url_host):
    """If the emulator listens on all addresses, it prints the loopback address: a connection without TLS needs it."""
    with run_emulator("--port", "0", "--host", host) as process:
        ready = process.stdout.readline()
        process.terminate()
    assert re.search(r"http://([\w.]+):\d+$", ready.strip())[1] == url_host


def test_log_of_requests():
    """With ``--log-requests``, each request is a line: time, method, path as sent, and status."""
    with run_emulator("--port", "0", "--log-requests") as process:
        url = process.stdout.readline().split(" at ")[1].strip()
        requests.get(f"{url}/{VERSION}/sparkPools/a%0Ab/sessions?detailed=true", timeout=10)
        requests.get(f"{url}/nothing", timeout=10)
        process.terminate()
        logged = [line for line in process.stdout.read().splitlines() if re.match(r"\d\d:\d\d:\d\d ", line)]
    assert [line[9:] for line in logged] == [
        f"GET /{VERSION}/sparkPools/a%0Ab/sessions?detailed=true 401",
        "GET /nothing 404",
    ]


def test_log_of_a_closed_connection(caplog):
    """A request whose connection the emulator closes is logged as such."""
    with SynapseEmulator() as synapse, caplog.at_level("DEBUG", "airflow_provider_synapse_livy.emulator"):
        synapse.fail_next(0)
        with pytest.raises(requests.ConnectionError):
            call(synapse, "GET", "etl/sessions")
    assert f"GET /{VERSION}/sparkPools/etl/sessions connection closed" in caplog.messages


def test_version_of_the_command():
    """``--version`` prints the version of the package."""
    with run_emulator("--version") as process:
        assert process.stdout.read() == f"synapse-livy-emulator {__version__}\n"


def test_console_script(monkeypatch, capsys):
    """As a console script, the command calls itself by that name."""
    monkeypatch.setattr(sys, "argv", ["/usr/bin/synapse-livy-emulator", "--help"])
    with pytest.raises(SystemExit) as exited:
        main()
    assert exited.value.code == 0
    assert capsys.readouterr().out.startswith("usage: synapse-livy-emulator [options]")


def output_of_failure(*arguments):
    """Run the emulator until it exits; return its exit code and its output, which must be two lines."""
    with run_emulator(*arguments) as process:
        event, fix = process.stdout.read().splitlines()
    return process.returncode, event, fix


def test_command_that_cannot_start(synapse, tmp_path):
    """If the emulator cannot start, it prints the reason and a fix, one line each, and exits with 1."""
    address = synapse.url.removeprefix("http://")
    code, event, fix = output_of_failure("--port", address.rpartition(":")[2])
    assert (code, event) == (1, f"Synapse emulator: cannot listen on {address}: address already in use")
    assert fix.startswith("Fix: set --host ")
    code, event, _ = output_of_failure("--port", "65536")
    assert (code, event) == (1, "Synapse emulator: cannot listen on 127.0.0.1:65536: port must be 0-65535.")
    ca_file = tmp_path / "missing" / "ca.pem"
    code, event, fix = output_of_failure("--port", "0", "--tls", "--ca-file", str(ca_file))
    assert (code, event) == (1, f"Synapse emulator: cannot write {ca_file}: No such file or directory")
    assert fix.startswith("Fix: set --ca-file ")


def test_wrong_arguments_of_the_command():
    """A wrong argument prints its name and a fix, one line each, and exits with 2."""
    for scale in ("0", "nan"):
        code, event, fix = output_of_failure("--time-scale", scale)
        assert (code, event) == (2, f"--time-scale {scale}: must be a number and more than 0.")
        assert fix.startswith("Fix: use 1 ")
    code, event, fix = output_of_failure("--port", "one")
    assert (code, event) == (2, "--port: invalid int value: 'one'")
    assert fix == "Fix: see the options with python -m airflow_provider_synapse_livy.emulator --help"


def test_help_lists_the_scenarios():
    """The help lists every scenario, the names and secrets to sign in with, and what the time scale leaves alone."""
    with run_emulator("--help") as process:
        text = process.stdout.read()
    assert [name for name in SCENARIOS if f"\n  {name} " not in text] == []
    for word in (STATIC_TOKEN, TENANT_ID, CLIENT_ID, CLIENT_SECRET, "emulator.scenario"):
        assert word in text
    assert "an hour of real time with any\ntime scale" in text


def test_injected_faults(synapse_livy_emulator):
    """``fail_next()`` sets the statuses of the next responses only, and they are recorded like others."""
    session_id = synapse_livy_emulator.create_session("etl")
    synapse_livy_emulator.fail_next(0, 500, 429)
    headers = {"Authorization": "Bearer emulator-token"}
    url = f"{synapse_livy_emulator.url}/livyApi/versions/2020-12-01/sparkPools/etl/sessions/{session_id}"
    with pytest.raises(requests.ConnectionError):
        requests.get(url, headers=headers, timeout=5)
    responses = [requests.get(url, headers=headers, timeout=5) for _ in range(3)]
    assert [response.status_code for response in responses] == [500, 429, 200]
    assert responses[1].headers["Retry-After"] == "1"
    recorded = synapse_livy_emulator.requests("etl", session_id)
    assert [(request.method, request.status) for request in recorded] == [
        ("GET", status) for status in (0, 500, 429, 200)
    ]


def answer(emulator, method, path, **kwargs):
    """Send a request and return the status; "closed" if there is no response, "unreadable" if its JSON is no JSON."""
    try:
        response = call(emulator, method, path, **kwargs)
        if response.content and "json" in response.headers["content-type"]:
            response.json()
    except requests.JSONDecodeError:
        return "unreadable"
    except requests.ConnectionError:
        return "closed"
    return response.status_code


@pytest.mark.parametrize(("status", "answered"), [(0, "closed"), (503, 503), (429, 429), (200, "unreadable")])
def test_a_lost_answer_to_a_creation(synapse_livy_emulator, status, answered):
    """``fail_after()`` creates the session and spoils the answer, of the next creation only."""
    synapse_livy_emulator.fail_after(status)
    creations = [answer(synapse_livy_emulator, "POST", "etl/sessions?detailed=true", json=NAMED) for _ in range(2)]
    assert creations == [answered, 200]
    assert call(synapse_livy_emulator, "GET", "etl/sessions").json()["total"] == 2
    recorded = [(request.method, request.status) for request in synapse_livy_emulator.recorded_requests]
    assert recorded[0] == ("POST", status)


@pytest.mark.parametrize(("status", "answered"), [(0, "closed"), (503, 503), (200, 200)])
def test_a_lost_answer_to_a_cancellation(synapse_livy_emulator, status, answered):
    """``fail_after()`` cancels the session and spoils the answer; an answer without a body cannot be cut off."""
    session_id = synapse_livy_emulator.create_session("etl", age=70)
    synapse_livy_emulator.fail_after(status)
    assert answer(synapse_livy_emulator, "DELETE", f"etl/sessions/{session_id}") == answered
    assert synapse_livy_emulator.server.pools.find("etl", session_id).cancelled_at


def test_answers_that_are_not_lost(synapse_livy_emulator):
    """``fail_after()`` is for requests that create or cancel: reads pass it by, and so does what is refused before."""
    session_id = synapse_livy_emulator.create_session("etl")
    synapse_livy_emulator.fail_next(500)
    synapse_livy_emulator.fail_after(503)
    path = f"etl/sessions/{session_id}"
    asked = [("DELETE", path), ("GET", path), ("GET", "etl/sessions"), ("PUT", f"{path}/reset-timeout")]
    asked += [("POST", "forbidden/sessions"), ("DELETE", path), ("DELETE", path)]
    statuses = [answer(synapse_livy_emulator, method, path) for method, path in asked]
    assert statuses == [500, 200, 200, 200, 403, 503, 200]


@pytest.mark.parametrize(("status", "answered"), [(503, 503), (0, "closed")])
def test_outage(synapse_livy_emulator, status, answered):
    """In an outage no Livy request is processed, whatever its token, and faults wait; afterwards all is as before."""
    session_id = synapse_livy_emulator.create_session("etl")
    path = f"etl/sessions/{session_id}"
    synapse_livy_emulator.fail_next(500)
    with synapse_livy_emulator.outage(status):
        asked = [("GET", path), ("DELETE", path), ("POST", "etl/sessions"), ("GET", "forbidden/sessions")]
        assert {answer(synapse_livy_emulator, *request) for request in asked} == {answered}
        assert token_for(synapse_livy_emulator, "https://dev.azuresynapse.net/.default")
    assert [answer(synapse_livy_emulator, "GET", path) for _ in range(2)] == [500, 200]
    assert synapse_livy_emulator.server.pools.find("etl", session_id).cancelled_at is None


def test_sessions_of_a_pool(synapse_livy_emulator):
    """``sessions()`` returns the records of one pool's sessions, oldest first, as a read shows them."""
    for pool, name in [("etl", "one"), ("adhoc", "other"), ("etl", "two")]:
        call(synapse_livy_emulator, "POST", f"{pool}/sessions", json={"name": name})
    found = synapse_livy_emulator.sessions("etl")
    assert [(session["id"], session["name"]) for session in found] == [(0, "one"), (1, "two")]
    read = call(synapse_livy_emulator, "GET", "etl/sessions/0?detailed=true").json()
    assert set(found[0]) == set(read)
    assert synapse_livy_emulator.sessions("nobody") == []


def test_nothing_runs(synapse_livy_emulator):
    """``assert_nothing_runs()`` accepts sessions that have ended or are being cancelled, and names all others."""
    synapse_livy_emulator.assert_nothing_runs()
    synapse_livy_emulator.create_session("etl", "idles_out", age=1000)
    synapse_livy_emulator.create_session("etl", "cancelled_while_idle", age=87)
    for scenario in ("becomes_idle", "refuses_to_end"):
        synapse_livy_emulator.cancel_session("etl", synapse_livy_emulator.create_session("etl", scenario, age=70))
    synapse_livy_emulator.assert_nothing_runs()
    synapse_livy_emulator.create_session("etl", age=70)
    synapse_livy_emulator.create_session("adhoc", "slow")
    with pytest.raises(AssertionError) as raised:
        synapse_livy_emulator.assert_nothing_runs()
    event, *named, fix = str(raised.value).splitlines()
    assert event == "Sessions and batch jobs that run, and that nobody has cancelled:"
    assert named == ["4 in pool etl (idle)", "0 in pool adhoc (not_started)"]
    assert fix.startswith("Fix: cancel each one ")


def test_recreated_pool(synapse_livy_emulator):
    """A pool that was deleted and created again has no sessions, and counts from 0 again; other pools stay."""
    for pool in ("etl", "etl", "adhoc"):
        synapse_livy_emulator.create_session(pool)
    synapse_livy_emulator.recreate_pool("etl")
    assert call(synapse_livy_emulator, "GET", "etl/sessions/0").status_code == 404
    created = [call(synapse_livy_emulator, "POST", f"{pool}/sessions", json=NAMED) for pool in ("etl", "adhoc")]
    assert [response.json()["id"] for response in created] == [0, 1]
    assert len(synapse_livy_emulator.sessions("etl")) == 1
