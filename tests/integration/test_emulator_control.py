"""What a test does to the emulator's time and sessions: advance, set_state, finish, scenarios of its own."""

from __future__ import annotations

import pytest

from airflow_provider_synapse_livy.emulator import (
    BATCH_SCENARIOS,
    SCENARIOS,
    Scenario,
    SynapseEmulator,
    Transition,
    end_transitions,
    livy_change,
    startup_transitions,
)
from tests.integration.test_emulator import NAMED, answer, call


@pytest.fixture
def held():
    """Return a local Synapse whose time hardly moves by itself."""
    with SynapseEmulator(time_scale=1) as synapse:
        yield synapse


def seen(synapse, session_id=0):
    """Return state, result and plugin state of a session."""
    record = call(synapse, "GET", f"etl/sessions/{session_id}?detailed=true").json()
    return record["state"], record["result"], record["pluginInfo"]["currentState"]


def test_advance(held):
    """The clock is put forward by emulated seconds, for all sessions."""
    for age in (0, 50):
        held.create_session("etl", age=age)
    held.advance(10)
    assert [record["state"] for record in held.sessions()] == ["not_started", "idle"]
    held.advance(50)
    assert [record["state"] for record in held.sessions()] == ["idle", "idle"]


def test_advance_to_the_end_of_a_statement(held):
    """A statement that a script answers ends when the clock is put forward to its end."""
    held.create_session("etl", age=60)
    held.answer_statement(contains="", seconds=100)
    call(held, "POST", "etl/sessions/0/statements", json={"code": "1", "kind": "sql"})
    states = []
    for _ in range(3):
        states.append(held.statements("etl", 0)[0]["state"])
        held.advance(51)
    assert states == ["waiting", "running", "available"]


@pytest.mark.parametrize(
    ("seconds", "what"), [("-1", "time does not run back"), ("nan", "that is no time"), ("inf", "that is no time")]
)
def test_time_that_there_is_not(held, seconds, what):
    """A negative number of seconds, or one that is no number, raises a ValueError that says so."""
    with pytest.raises(ValueError, match=rf"^advance\({seconds}\): {what}\.\nFix: pass 0 or more seconds\."):
        held.advance(float(seconds))
    assert held.create_session("etl") == 0


@pytest.mark.parametrize("state", ["busy", "starting", "idle", "not_started", "hibernating"])
def test_set_state(held, state):
    """A session keeps the state that a test sets, whatever its scenario had planned."""
    held.create_session("etl", "dies_while_running")
    held.set_state("etl", 0, state)
    before = seen(held)
    held.advance(100_000)
    plugin = "Preparation" if state == "not_started" else "Monitoring"
    assert before == seen(held) == (state, "Uncertain", plugin)


def test_set_state_starts_the_application(held):
    """A session that is idle because a test has set it has an application, times, and runs statements."""
    held.create_session("etl")
    held.set_state("etl", 0, "idle")
    (record,) = held.sessions("etl")
    assert record["appId"]
    assert record["livyInfo"]["idleAt"]
    assert record["schedulerInfo"]["currentState"] == "Scheduled"
    assert answer(held, "POST", "etl/sessions/0/statements", json={"code": "1", "kind": "sql"}) == 200
    held.advance(0.5)
    assert seen(held)[0] == "busy"


@pytest.mark.parametrize("posted", ["before", "after"])
def test_set_state_stays_when_a_statement_ends(held, posted):
    """A session that a test has made busy stays so when a statement ends; one that it has made idle runs statements."""
    statement = {"json": {"code": "1", "kind": "sql"}}
    held.create_session("etl", age=60)
    steps = [lambda: call(held, "POST", "etl/sessions/0/statements", **statement), lambda: held.advance(0.5)]
    for step in [*steps, lambda: held.set_state("etl", 0, "busy")][:: 1 if posted == "before" else -1]:
        step()
    if posted == "after":
        held.advance(0.5)
    held.advance(10)
    assert (held.statements("etl", 0)[0]["state"], seen(held)[0]) == ("available", "busy")
    held.set_state("etl", 0, "idle")
    call(held, "POST", "etl/sessions/0/statements", **statement)
    held.advance(0.5)
    assert seen(held)[0] == "busy"
    held.advance(10)
    assert seen(held)[0] == "idle"


def test_statement_that_kills_after_set_state(held):
    """A statement that kills its session ends it, also if a test has set its state."""
    held.create_session("etl", age=60)
    held.set_state("etl", 0, "busy")
    held.answer_statement(contains="", kills="driver")
    call(held, "POST", "etl/sessions/0/statements", json={"code": "1", "kind": "sql"})
    held.advance(40)
    assert seen(held)[:2] == ("dead", "Failed")


def seen_batch(synapse):
    """Return the record of a batch job, as its API shows it."""
    return call(synapse, "GET", "etl/batches/0?detailed=true").json()


@pytest.mark.parametrize("state", ["not_started", "starting", "running", "hibernating"])
def test_set_state_of_a_batch_job(held, state):
    """A batch job keeps the state that a test sets, and has what a job in that state has."""
    held.create_batch("etl")
    held.set_state("etl", 0, state)
    before = seen_batch(held)
    held.advance(100_000)
    assert seen_batch(held) == before
    assert (before["state"], before["result"]) == (state, "Uncertain")
    assert (before["appId"] is None) == (state == "not_started")
    assert "idleAt" not in before["livyInfo"]


@pytest.mark.parametrize(
    ("state", "result", "code"),
    [
        ("success", "Succeeded", None),
        ("dead", "Failed", "LIVY_JOB_FAILED"),
        ("error", "Failed", "LIVY_JOB_STATE_ERROR"),
        ("killed", "Cancelled", None),
    ],
)
def test_finish_of_a_batch_job(held, state, result, code):
    """A batch job ends at once, with the result, the error and the timestamp that go with its state."""
    held.create_batch("etl", age=40)
    held.finish("etl", 0, state=state)
    record = seen_batch(held)
    errors = record.get("errorInfo") or [{"errorCode": None}]
    assert (record["state"], record["result"], errors[0]["errorCode"]) == (state, result, code)
    assert [record["livyInfo"][f"{name}At"] is not None for name in ("dead", "success")] == [
        state == "dead",
        state == "success",
    ]
    assert held.assert_nothing_runs() is None


@pytest.mark.parametrize("create", ["create_session", "create_batch"])
def test_what_has_ended(held, create):
    """What has its result can't be ended again, or get another state: a ValueError says so."""
    noun = "Session" if create == "create_session" else "Batch job"
    getattr(held, create)("etl")
    held.finish("etl", 0)
    message = f"^{noun} 0 in pool etl: it has ended, with the result Failed.\nFix: decide what becomes of it before"
    with pytest.raises(ValueError, match=message):
        held.finish("etl", 0, state="success")
    with pytest.raises(ValueError, match=message):
        held.set_state("etl", 0, "busy")


def test_set_state_keeps_what_there_is(held):
    """A session that has started keeps its application and the times of its start."""
    held.create_session("etl", age=60)
    before = held.sessions("etl")[0]
    held.set_state("etl", 0, "busy")
    after = held.sessions("etl")[0]
    assert after["appId"] == before["appId"]
    assert after["livyInfo"]["startingAt"] == before["livyInfo"]["startingAt"]


def test_final_state_without_a_result(held):
    """In a final state that a test sets, the result stays uncertain until the test ends the session."""
    held.create_session("etl", age=60)
    held.set_state("etl", 0, "dead")
    held.advance(1000)
    assert seen(held)[:2] == ("dead", "Uncertain")
    held.finish("etl", 0)
    assert seen(held)[:2] == ("dead", "Failed")


@pytest.mark.parametrize(
    ("end", "outcome"),
    [
        ({}, ("dead", "Failed", "LIVY_JOB_STATE_DEAD")),
        ({"state": "error"}, ("error", "Failed", "LIVY_JOB_STATE_ERROR")),
        ({"state": "killed"}, ("killed", "Cancelled", None)),
        ({"state": "success"}, ("success", "Succeeded", None)),
        ({"state": "error", "result": "Cancelled"}, ("error", "Cancelled", None)),
        ({"error": {"errorCode": "MINE", "message": "too small"}}, ("dead", "Failed", "MINE")),
    ],
)
def test_finish(held, end, outcome):
    """A session ends at once, with the result and the error that go with its state, or those that a test names."""
    held.create_session("etl", age=60)
    held.finish("etl", 0, **end)
    (record,) = held.sessions("etl")
    errors = record.get("errorInfo") or [{"errorCode": None}]
    assert (record["state"], record["result"], errors[0]["errorCode"]) == outcome
    assert record["schedulerInfo"]["currentState"] == record["pluginInfo"]["currentState"] == "Ended"
    assert held.assert_nothing_runs() is None


def test_finish_after_a_cancellation(held):
    """A session that is shutting down ends when a test ends it; one that was ended can't be cancelled."""
    for _ in range(2):
        held.create_session("etl", age=60)
    held.cancel_session("etl", 0)
    held.advance(3)
    assert seen(held, 0)[0] == "shutting_down"
    for session_id in (0, 1):
        held.finish("etl", session_id, state="success")
    held.cancel_session("etl", 1)
    held.advance(100)
    assert [seen(held, session_id) for session_id in (0, 1)] == [("success", "Succeeded", "Ended")] * 2


def test_cancellation_after_set_state(held):
    """A session whose state a test has set can still be cancelled."""
    held.create_session("etl")
    held.set_state("etl", 0, "busy")
    held.advance(1)
    call(held, "DELETE", "etl/sessions/0")
    held.advance(40)
    assert seen(held) == ("killed", "Cancelled", "Ended")


@pytest.mark.parametrize(("call_it", "fix"), [("set_state", "pass the pool"), ("finish", "pass the pool")])
def test_sessions_that_do_not_exist(held, call_it, fix):
    """A session that does not exist raises a LookupError that says what to pass."""
    arguments = ("busy",) if call_it == "set_state" else ()
    with pytest.raises(LookupError, match=f"Session 7 in pool etl: there is no such session.\nFix: {fix}"):
        getattr(held, call_it)("etl", 7, *arguments)


def test_end_that_is_none(held):
    """A state that is not final raises a ValueError that names those that are."""
    held.create_session("etl")
    with pytest.raises(ValueError, match="^state 'idle': no session ends so.\nFix: use one of dead, killed, error, "):
        held.finish("etl", 0, state="idle")


MINE = Scenario(
    "is busy from the start, and fails",
    (
        *startup_transitions(queue=1, acquisition=1, startup=1),
        Transition(10, livy_change("busy", "busyAt")),
        *end_transitions(20, "dead", "Failed", error=("User", "MINE", "It was too small.")),
    ),
)


def test_scenario_of_a_test():
    """A session follows a scenario that a test has made up, also where the tag of a request names it."""
    with SynapseEmulator(time_scale=1, scenarios={"mine": MINE}) as synapse:
        synapse.create_session("etl", "mine")
        call(synapse, "POST", "etl/sessions", json=NAMED | {"tags": {"emulator.scenario": "mine"}})
        states = []
        for _ in range(3):
            synapse.advance(8)
            states.append({record["state"] for record in synapse.sessions("etl")})
        synapse.advance(40)
        errors = {record["errorInfo"][0]["errorCode"] for record in synapse.sessions("etl")}
    assert states == [{"idle"}, {"busy"}, {"dead"}]
    assert errors == {"MINE"}
    assert "mine" not in SCENARIOS


BATCH = Scenario("is dead at once", tuple(end_transitions(1, "dead", "Failed", error=("User", "MINE", "No."))))


def test_batch_scenario_of_a_test():
    """A batch job follows a scenario that a test has made up, also where the tag of a request names it."""
    with SynapseEmulator(time_scale=1, scenarios={"mine": BATCH}) as synapse:
        synapse.create_batch("etl", "mine")
        tagged = NAMED | {"file": "abfss://it.py", "tags": {"emulator.scenario": "mine"}}
        call(synapse, "POST", "etl/batches", json=tagged)
        synapse.advance(100)
        errors = [record["errorInfo"][0]["errorCode"] for record in synapse.batches("etl")]
    assert errors == ["MINE", "MINE"]
    assert "mine" not in BATCH_SCENARIOS


def test_requests_for_batch_jobs(held):
    """The requests for a batch job are told as those for a session are."""
    held.create_batch("etl")
    for path in ("etl/batches", "etl/batches/0", "etl/batches/01", "etl2/batches/0"):
        call(held, "GET", path)
    assert [request.path.partition("/sparkPools/")[2] for request in held.requests("etl")] == [
        "etl/batches",
        "etl/batches/0",
        "etl/batches/01",
    ]
    assert len(held.requests("etl", 0)) == 1


def test_all_sessions_and_requests(held):
    """Without a pool, the sessions and the requests of all pools are returned; with one, those of that pool."""
    for pool in ("etl", "etl2"):
        held.create_session(pool, age=60)
        call(held, "GET", f"{pool}/sessions")
        call(held, "GET", f"{pool}/sessions/0/statements")
        call(held, "DELETE", f"{pool}/sessions/0")
    assert [record["sparkPoolName"] for record in held.sessions()] == ["etl", "etl2"]
    assert len(held.requests()) == 6
    assert [request.path.partition("sparkPools/")[2] for request in held.requests("etl")] == [
        "etl/sessions",
        "etl/sessions/0/statements",
        "etl/sessions/0",
    ]
    assert [request.method for request in held.requests("etl", 0)] == ["DELETE"]


@pytest.mark.parametrize("java", [True, False])
def test_spark_without_java(monkeypatch, tmp_path, java):
    """Without Java, or a JAVA_HOME that has none, a real Spark is refused with what to install."""
    if java:
        monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    else:
        monkeypatch.delenv("JAVA_HOME", raising=False)
        monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="^Spark needs Java.*, which this machine does not have.\nFix: apt-get"):
        SynapseEmulator(spark=True)
