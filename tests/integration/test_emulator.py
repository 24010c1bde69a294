"""The local Synapse: it answers as recordings of the live service do, to the real clients."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from datetime import datetime

import pytest
import requests
from azure.identity import ClientSecretCredential
from azure.synapse.spark import SparkClient
from azure.synapse.spark.models import SparkSessionOptions

from airflow_provider_synapse_livy.emulator import SCENARIOS, SynapseEmulator
from airflow_provider_synapse_livy.emulator.entra import CLIENT_ID, CLIENT_SECRET, STATIC_TOKEN, TENANT_ID
from airflow_provider_synapse_livy.emulator.sessions import timestamp
from airflow_provider_synapse_livy.models import SparkSession
from airflow_provider_synapse_livy.waiting.wait import Wait, WaitRules

VERSION = "livyApi/versions/2020-12-01"


def call(emulator, method, path, *, version=VERSION, token=STATIC_TOKEN, **kwargs):
    """Send a request to the emulator."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return requests.request(
        method, f"{emulator.url}/{version}/sparkPools/{path}", headers=headers, timeout=10, **kwargs
    )


def record(emulator, scenario, age, *, pool="etl"):
    """Give the record of a session that is so many seconds old."""
    session_id = emulator.create_session(pool, scenario, age=age)
    return call(emulator, "GET", f"{pool}/sessions/{session_id}?detailed=true").json()


STAGES = [
    # scenario, age in seconds, then state, result, scheduler, plugin; the numbers are those of the table of states
    ("becomes_idle", 5, "not_started", "Uncertain", "Queued", "Preparation"),  # 1
    ("becomes_idle", 21, "not_started", "Uncertain", "Scheduled", "ResourceAcquisition"),  # 2
    ("becomes_idle", 30, "starting", "Uncertain", "Scheduled", "Monitoring"),  # 3
    ("becomes_idle", 70, "idle", "Uncertain", "Scheduled", "Monitoring"),  # 4
    ("becomes_idle", 1000, "idle", "Uncertain", "Scheduled", "Monitoring"),
    ("becomes_idle", 2000, "dead", "Failed", "Ended", "Ended"),
    ("dies_while_running", 80, "busy", "Uncertain", "Scheduled", "Monitoring"),  # 5
    ("dies_while_running", 110, "dead", "Uncertain", "Scheduled", "Cleanup"),  # 6
    ("dies_while_running", 140, "dead", "Failed", "Ended", "Ended"),  # 7
    ("idles_out", 130, "dead", "Uncertain", "Scheduled", "Cleanup"),
    ("idles_out", 160, "dead", "Failed", "Ended", "Ended"),
    ("cancelled_while_idle", 85, "idle", "Uncertain", "Scheduled", "Monitoring"),
    ("cancelled_while_idle", 100, "killed", "Uncertain", "Scheduled", "Cleanup"),
    ("cancelled_while_idle", 130, "killed", "Cancelled", "Ended", "Ended"),  # 8
    ("fails_to_start", 60, "error", "Uncertain", "Scheduled", "Cleanup"),
    ("fails_to_start", 90, "error", "Failed", "Ended", "Ended"),  # 9
    ("cancelled_while_queued", 60, "error", "Cancelled", "Ended", "Ended"),  # 10
    ("unknown_state", 50, "hibernating", "Uncertain", "Scheduled", "Monitoring"),
    ("unknown_state", 70, "idle", "Uncertain", "Scheduled", "Monitoring"),
    ("slow", 500, "not_started", "Uncertain", "Queued", "Preparation"),
    ("slow", 1000, "idle", "Uncertain", "Scheduled", "Monitoring"),
    ("flaky", 70, "idle", "Uncertain", "Scheduled", "Monitoring"),
]


@pytest.mark.parametrize(("scenario", "age", "state", "result", "scheduler", "plugin"), STAGES)
def test_stages(synapse, scenario, age, state, result, scheduler, plugin):
    """Each scenario goes through the states that the live service shows, in its proportions."""
    session_id = synapse.create_session("etl", scenario, age=age)
    body = synapse.server.pools.find("etl", session_id).record(time.time())
    session = SparkSession.from_dict(body)
    assert (session.state, session.result) == (state, result)
    assert session.state == session.livy_info.current_state
    assert (session.scheduler_info.current_state, session.plugin_info.current_state) == (scheduler, plugin)


def test_every_scenario_is_tried():
    """No scenario is left out of the stages above."""
    assert {row[0] for row in STAGES} == set(SCENARIOS)


def test_durations_are_the_recorded_ones(synapse):
    """A session queues for about 16 seconds, gets nodes within 4 and is handed over within 2."""
    session = SparkSession.from_dict(record(synapse, "becomes_idle", 70))
    durations = (session.queue_duration, session.acquisition_duration, session.start_duration)
    assert [round(duration.total_seconds(), 1) for duration in durations] == [15.8, 4.2, 2.1]


def test_record_of_a_new_session(synapse):
    """What is not known yet is null, and errorInfo is not there at all."""
    body = record(synapse, "becomes_idle", 0)
    assert [name for name, value in body.items() if value is None] == [
        "name",
        "appId",
        "appInfo",
        "log",
        "registeredSources",
    ]
    assert "errorInfo" not in body
    assert set(body["pluginInfo"].values()) == {None, "Preparation"}


def test_record_of_an_idle_timeout(synapse):
    """An idle timeout is marked by a string, and has the service's error."""
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
    """A killed session has no killedAt, as with the live service, and no error."""
    body = record(synapse, "cancelled_while_idle", 130)
    assert body["livyInfo"]["killedAt"] is None
    assert body["schedulerInfo"]["cancellationRequestedAt"]
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
    """A timestamp has up to seven digits of a fraction, without zeros at the end, and the offset +00:00."""
    assert timestamp(at) == text
    assert datetime.fromisoformat(text).timestamp() == pytest.approx(at, abs=1e-5)


def test_sessions_are_numbered_from_zero_in_each_pool(synapse):
    """A pool counts its sessions from 0."""
    numbers = [call(synapse, "POST", f"{pool}/sessions", json={}).json()["id"] for pool in ("one", "two", "one")]
    assert numbers == [0, 0, 1]


def test_headers(synapse):
    """A single session comes with its record in headers, with American times, and 1/1/0001 for what is unset."""
    answer = call(synapse, "POST", "etl/sessions?detailed=true", json={"name": "x"})
    uuid = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert re.fullmatch(uuid, answer.headers["x-ms-activity-id"])
    assert re.fullmatch(uuid, answer.headers["x-ms-request-id"])
    assert answer.headers["x-ms-job-result"] == "Uncertain"
    assert answer.headers["x-ms-job-scheduled-on"] == "1/1/0001 12:00:00 AM +00:00"
    assert answer.headers["x-ms-job-ended-on"] == ""
    assert re.fullmatch(r"\d+/\d+/\d{4} \d+:\d\d:\d\d [AP]M \+00:00", answer.headers["x-ms-job-submitted-on"])


def test_plain_form(synapse):
    """Without detailed=true a session is little more than its state."""
    session_id = synapse.create_session("etl", age=70)
    body = call(synapse, "GET", f"etl/sessions/{session_id}").json()
    assert list(body) == ["id", "appId", "appInfo", "state", "log", "registeredSources"]


def test_cancellation_is_asynchronous(synapse):
    """A DELETE answers 200 with nothing; the session is idle for another moment, but asked to end."""
    session_id = synapse.create_session("etl", age=70)
    answer = call(synapse, "DELETE", f"etl/sessions/{session_id}")
    assert (answer.status_code, answer.content) == (200, b"")
    body = call(synapse, "GET", f"etl/sessions/{session_id}?detailed=true").json()
    assert (body["state"], body["result"]) == ("idle", "Uncertain")
    assert body["schedulerInfo"]["cancellationRequestedAt"]


@pytest.mark.parametrize(("age", "state"), [(5, "error"), (30, "killed"), (70, "killed")])
def test_cancellation_ends_a_session(synapse, age, state):
    """A session that is cancelled ends as killed, or as error if it had not started; either is a cancellation."""
    session = synapse.server.pools.find("etl", synapse.create_session("etl", age=age))
    now = time.time()
    synapse.cancel_session("etl", session.id)
    settling, ended = session.record(now + 10), session.record(now + 60)
    assert (settling["state"], settling["result"]) == (state, "Uncertain")
    assert (ended["state"], ended["result"]) == (state, "Cancelled")


def test_cancelling_what_has_ended_changes_nothing(synapse):
    """A second DELETE, or one that comes too late, is answered and forgotten."""
    session = synapse.server.pools.find("etl", synapse.create_session("etl", "idles_out", age=200))
    before = session.record(time.time())
    assert call(synapse, "DELETE", f"etl/sessions/{session.id}").status_code == 200
    assert session.record(time.time() + 100) == before


def test_reset_timeout(synapse):
    """PUT reset-timeout begins the idle timeout anew."""
    session = synapse.server.pools.find("etl", synapse.create_session("etl", "idles_out", age=110))
    now = time.time()
    assert session.record(now + 20)["state"] == "dead"
    answer = call(synapse, "PUT", f"etl/sessions/{session.id}/reset-timeout")
    assert (answer.status_code, answer.content) == (200, b"")
    assert session.record(now + 20)["state"] == "idle"
    assert session.record(now + 70)["state"] == "dead"


def test_reset_timeout_revives_nobody(synapse):
    """A session that has ended does not mind a reset."""
    session = synapse.server.pools.find("etl", synapse.create_session("etl", "idles_out", age=200))
    assert call(synapse, "PUT", f"etl/sessions/{session.id}/reset-timeout").status_code == 200
    assert session.record(time.time())["state"] == "dead"


def test_list(synapse):
    """A list has at most 20 sessions, the newest first; total counts those of the answer; the ended ones stay."""
    for age in range(25):
        synapse.create_session("listed", age=100 * age)
    first = call(synapse, "GET", "listed/sessions?detailed=true").json()
    assert (first["from"], first["total"], [s["id"] for s in first["sessions"]]) == (0, 20, list(range(24, 4, -1)))
    last = call(synapse, "GET", "listed/sessions?from=20&size=100").json()
    assert (last["from"], last["total"], [s["id"] for s in last["sessions"]]) == (20, 5, [4, 3, 2, 1, 0])
    assert list(last["sessions"][0]) == ["id", "appId", "appInfo", "state", "log", "registeredSources"]


REFUSALS = [
    ("GET", "etl/sessions/99999", 404, {"code": "NotFound", "error": None}),
    ("GET", "etl/sessions/one", 404, {"code": "NotFound", "error": None}),
    ("GET", "etl/sessions/²", 404, {"code": "NotFound", "error": None}),
    ("DELETE", "etl/sessions/99999", 404, {"code": "NotFound", "error": None}),
    ("PUT", "etl/sessions/99999/reset-timeout", 404, {"code": "NotFound", "error": None}),
    ("GET", "firewalled/sessions/0", 403, {"code": "ClientIpAddressNotAuthorized"}),
]


@pytest.mark.parametrize(("method", "path", "status", "body"), REFUSALS)
def test_refusals(synapse, method, path, status, body):
    """What is not there, or closed, is refused in the service's flat shape."""
    answer = call(synapse, method, path)
    assert (answer.status_code, answer.json() | body) == (status, answer.json())
    assert answer.headers["x-ms-activity-id"]


@pytest.mark.parametrize(("pool", "status", "code"), [("forbidden", 403, "Unauthorized"), ("missing", 404, "NotFound")])
def test_nested_refusals(synapse, pool, status, code):
    """A missing role and a missing pool are refused in the service's nested shape."""
    answer = call(synapse, "GET", f"{pool}/sessions")
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


@pytest.mark.parametrize(
    ("path", "kwargs"),
    [
        ("etl/sessions", {"data": b"no json"}),
        ("etl/sessions", {"json": []}),
        ("etl/sessions", {"json": {"tags": {"emulator.scenario": "nonsense"}}}),
        ("etl/sessions", {"json": {"tags": {"emulator.scenario": []}}}),
        ("etl/sessions", {"json": {}, "version": "livyApi/versions/1999-01-01"}),
    ],
)
def test_bad_requests(synapse, path, kwargs):
    """A request that is not understood, or names a scenario that does not exist, is refused as the Livy path does."""
    answer = call(synapse, "POST", path, **kwargs)
    assert (answer.status_code, set(answer.json())) == (400, {"TraceId", "Message"})


@pytest.mark.parametrize(("token", "code"), [(None, "AuthenticationFailed"), ("made-up", "AuthenticationFailed")])
def test_nobody_comes_in_without_a_token(synapse, token, code):
    """Without a token, or with one that nobody issued, the answer is 401."""
    answer = call(synapse, "GET", "etl/sessions/0", token=token)
    assert (answer.status_code, answer.json()["code"]) == (401, code)
    assert "x-ms-activity-id" not in answer.headers


def test_pages_that_do_not_exist(synapse):
    """A page is asked for with numbers."""
    assert call(synapse, "GET", "etl/sessions?from=one").status_code == 400
    assert call(synapse, "GET", "nobody/sessions?from=-5").json()["sessions"] == []


def token_for(synapse, scope):
    """Get a token for some scope."""
    url = f"{synapse.url}/{TENANT_ID}/oauth2/v2.0/token"
    form = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "scope": scope}
    return requests.post(url, data=form, timeout=10).json()["access_token"]


def test_tokens_are_for_one_audience(synapse):
    """A token that was issued for another service is not taken."""
    good = token_for(synapse, "https://dev.azuresynapse.net/.default")
    assert call(synapse, "GET", "etl/sessions", token=good).status_code == 200
    answer = call(synapse, "GET", "etl/sessions", token=token_for(synapse, "https://management.azure.com/.default"))
    assert (answer.status_code, answer.json()["code"]) == (401, "InvalidTokenAuthenticationAudience")


def test_tokens_end():
    """A token is good for as long as was said."""
    with SynapseEmulator(token_lifetime=0) as synapse:
        expired = token_for(synapse, "https://dev.azuresynapse.net/.default")
        assert call(synapse, "GET", "etl/sessions", token=expired).status_code == 401


def test_rate_limit():
    """More requests a second than allowed are answered 429, with the time to wait."""
    with SynapseEmulator(rate_limit=3) as synapse:
        answers = [call(synapse, "GET", "etl/sessions") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert answers[-1].headers["Retry-After"] == "1"
    assert "layered throttling rate-limit of 3 per 1 second(s)" in answers[-1].text


def test_flaky_sessions(synapse):
    """A flaky session fails every other time, each time in another transport."""
    session_id = synapse.create_session("etl", "flaky", age=70)
    statuses = []
    for _ in range(8):
        try:
            statuses.append(call(synapse, "GET", f"etl/sessions/{session_id}").status_code)
        except requests.ConnectionError:
            statuses.append("broken")
    assert statuses == [503, 200, 429, 200, 500, 200, "broken", 200]


def test_requests_are_remembered():
    """A test can see what the emulator was asked."""
    with SynapseEmulator() as synapse:
        session_id = synapse.create_session("etl")
        call(synapse, "GET", f"etl/sessions/{session_id}")
        assert synapse.seen == [("GET", f"/{VERSION}/sparkPools/etl/sessions/0", 200)]


def test_scenarios_that_do_not_exist(synapse):
    """A misspelt scenario is refused, with those that exist."""
    with pytest.raises(ValueError, match="no scenario 'idle_out', but becomes_idle, idles_out"):
        synapse.create_session("etl", "idle_out")


def test_cancelling_what_does_not_exist(synapse):
    """A test that cancels a session that was never created has a mistake, and is told."""
    with pytest.raises(LookupError, match="pool etl has no session 99999"):
        synapse.cancel_session("etl", 99999)


def test_real_client(tls_synapse):
    """Microsoft's own client creates, reads, lists, resets and cancels a session, with its own credential."""
    credential = ClientSecretCredential(
        TENANT_ID,
        CLIENT_ID,
        CLIENT_SECRET,
        authority=tls_synapse.url,
        disable_instance_discovery=True,
        connection_verify=str(tls_synapse.ca_file),
    )
    client = SparkClient(credential, tls_synapse.url, "real", connection_verify=str(tls_synapse.ca_file))
    with credential, client:
        options = SparkSessionOptions(name="from the real client", tags={"a": "b"}, executor_count=2, conf={"x": "1"})
        created = client.spark_session.create_spark_session(options, detailed=True)
        assert (created.name, created.state, created.result, created.tags) == (
            "from the real client", "not_started", "Uncertain", {"a": "b"}
        )  # fmt: skip
        assert created.livy_info.job_creation_request.executor_count == 2
        read = client.spark_session.get_spark_session(created.id, detailed=True)
        assert read.scheduler.submitted_at == created.scheduler.submitted_at
        listed = client.spark_session.get_spark_sessions(detailed=True)
        assert [session.id for session in listed.sessions] == [created.id]
        assert client.spark_session.reset_spark_session_timeout(created.id) is None
        assert client.spark_session.cancel_spark_session(created.id) is None
        cancelled = client.spark_session.get_spark_session(created.id, detailed=True)
        assert cancelled.scheduler.cancellation_requested_at


def test_wait_sees_every_step(synapse):
    """A wait that looks often enough sees the steps in their order."""
    session = synapse.server.pools.find("etl", synapse.create_session("etl", "idles_out"))
    wait = Wait(WaitRules.checked(None, ["Succeeded"], False), began=0, timeout=1e12, poke_interval=1)
    for second in range(200):
        now = session.created_at + second
        read = SparkSession.from_dict(session.record(now))
        wait._note(read, now)
    steps = [phase for phase, _ in wait.trail]
    assert steps == ["queued", "acquiring nodes", "starting", "idle", "dead, result pending", "dead, Failed"]


def run_emulator(*arguments):
    """Run the emulator as a command."""
    command = [sys.executable, "-m", "airflow_provider_synapse_livy.emulator", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("tls", [True, False])
def test_command(tmp_path, number, tls):
    """The command prints one line when it is ready, serves, and stops cleanly when asked to."""
    ca_file = tmp_path / "ca.pem"
    arguments = ["--tls", "--ca-file", str(ca_file)] if tls else []
    with run_emulator("--port", "0", *arguments) as process:
        ready = process.stdout.readline()
        url = re.search(r"ready at (https?://127\.0\.0\.1:\d+)", ready)[1]
        headers = {"Authorization": f"Bearer {STATIC_TOKEN}"}
        verify = str(ca_file) if tls else None
        with requests.Session() as http:
            assert http.post(
                f"{url}/{VERSION}/sparkPools/etl/sessions", json={}, headers=headers, verify=verify, timeout=10
            ).ok
            process.send_signal(number)
            assert process.wait(timeout=10) == 0
        assert process.stdout.read() == ""


def test_command_that_can_not_start(synapse):
    """What keeps the emulator from starting is one line, and an exit code."""
    port = synapse.url.rpartition(":")[2]
    with run_emulator("--port", port) as process:
        (line,) = process.stdout.read().splitlines()
    assert process.returncode == 1
    assert line.startswith("The Synapse emulator can't start: ")
    with run_emulator("--time-scale", "0") as process:
        assert "--time-scale must be more than 0" in process.stdout.read()
    assert process.returncode == 2


def test_help_lists_the_scenarios():
    """The help names every scenario, and how to be let in."""
    with run_emulator("--help") as process:
        text = process.stdout.read()
    assert [name for name in SCENARIOS if f"\n  {name} " not in text] == []
    for word in (STATIC_TOKEN, TENANT_ID, CLIENT_ID, CLIENT_SECRET, "emulator.scenario"):
        assert word in text


def test_trouble_can_be_ordered(synapse_livy_emulator):
    """The next answers are those that a test asks for; then all is as before, and the requests can be looked at."""
    session_id = synapse_livy_emulator.create_session("etl")
    synapse_livy_emulator.answer_next(0, 500, 429)
    headers = {"Authorization": "Bearer emulator-token"}
    url = f"{synapse_livy_emulator.url}/livyApi/versions/2020-12-01/sparkPools/etl/sessions/{session_id}"
    with pytest.raises(requests.ConnectionError):
        requests.get(url, headers=headers, timeout=5)
    answers = [requests.get(url, headers=headers, timeout=5) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [500, 429, 200]
    assert answers[1].headers["Retry-After"] == "1"
    seen = synapse_livy_emulator.requests("etl", session_id)
    assert [(request.method, request.status) for request in seen] == [("GET", status) for status in (0, 500, 429, 200)]
