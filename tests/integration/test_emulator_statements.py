"""The emulator's statements: Synapse's fields, Livy's queue; Microsoft's own client can use them."""

from __future__ import annotations

import pytest
from azure.core.exceptions import HttpResponseError
from azure.synapse.spark.models import SparkStatementOptions

from airflow_provider_synapse_livy.emulator import SynapseEmulator
from airflow_provider_synapse_livy.emulator.statements import Script
from tests.integration.test_emulator import NAMED, answer, call, real_client

#: What a statement prints that no script is for.
EMPTY = {"status": "ok", "execution_count": 0, "data": {"text/plain": ""}}

#: Scripts by the text that selects them. They run for ten seconds if they do not say otherwise.
SCRIPTS = {
    "five": {"output": {"status": "ok", "data": {"text/plain": "5"}}},
    "1/0": {"output": {"status": "error", "ename": "ZeroDivisionError", "evalue": "division by zero", "traceback": []}},
    "loop": {"output": {"status": "ok", "data": {"text/plain": "done"}}, "ignores_cancel": True},
    "long": {"seconds": 100, "ignores_cancel": True},
    "ever": {"seconds": 100_000},
    "exit": {"kills": "interpreter"},
    "halt": {"kills": "driver"},
}


@pytest.fixture(scope="module")
def scripted():
    """Return a local Synapse whose sessions age in real time, with all scripts."""
    with SynapseEmulator(time_scale=1) as synapse:
        for contains, script in SCRIPTS.items():
            synapse.answer_statement(contains=contains, **{"seconds": 10} | script)
        yield synapse


def post(synapse, session_id, code="1+1", *, kind="pyspark", **kwargs):
    """Send the request that creates a statement, and return the response."""
    kwargs = kwargs or {"json": {"code": code, "kind": kind}}
    return call(synapse, "POST", f"etl/sessions/{session_id}/statements", **kwargs)


def busy_session(synapse, *codes):
    """Return an idle session that got statements at one time, and that time."""
    session = synapse.server.pools.find("etl", synapse.create_session("etl", age=70))
    for code in codes:
        assert post(synapse, session.id, code).status_code == 200
    start = session.statements[0].posted_at
    for statement in session.statements:
        statement.posted_at = start
    return session, start


def age(session, seconds):
    """Move all requests for statements of a session into the past."""
    for statement in session.statements:
        statement.posted_at -= seconds
        if statement.cancelled_at is not None:
            statement.cancelled_at -= seconds


def states(session, at):
    """Return the states of a session's statements, and its own, at a time."""
    return [*(record["state"] for record in session.statement_records(at)), session.record(at)["state"]]


def test_created_statement(scripted):
    """A new statement waits, with the fields of Synapse; each session numbers its statements from 0."""
    session_ids = [scripted.create_session("etl", age=70) for _ in range(2)]
    created = [post(scripted, session_id, "print('hi')\n").json() for session_id in (*session_ids, session_ids[0])]
    assert created[0] == {"id": 0, "code": "print('hi')\n", "state": "waiting", "sourceId": "default", "output": None}
    assert [statement["id"] for statement in created] == [0, 0, 1]


TIMELINES = [
    # codes of statements sent at once; pairs of seconds after that and the states of the statements and the session
    (["1+1"], [(0, "waiting idle"), (1, "running busy"), (1.3, "available idle")]),
    (["five"], [(0, "waiting idle"), (1, "running busy"), (10, "running busy"), (10.3, "available idle")]),
    (["1/0"], [(10, "running busy"), (10.3, "available idle")]),
    (["five", "1/0"], [(1, "running waiting busy"), (11, "available running busy"), (21, "available available idle")]),
    (["exit"], [(10, "running busy"), (11, "available error"), (41, "available error")]),
    (["exit", "five"], [(10, "running waiting busy"), (11, "available available error")]),
    (["halt", "five"], [(10, "running waiting busy"), (11, "running waiting dead"), (99, "running waiting dead")]),
]


@pytest.mark.parametrize(("codes", "timeline"), TIMELINES)
def test_queue(scripted, codes, timeline):
    """Statements wait, run one at a time in their order, and end; meanwhile the session is busy, or dies of them."""
    session, start = busy_session(scripted, *codes)
    assert [(after, " ".join(states(session, start + after))) for after, _ in timeline] == timeline


DIED = {"status": "error", "execution_count": 0, "ename": "Error", "evalue": "Interpreter died:\n", "traceback": []}
OUTPUTS = [
    ("1+1", EMPTY),
    ("fifty", EMPTY),
    ("x = five()", EMPTY | {"data": {"text/plain": "5"}}),
    ("1/0", {"execution_count": 0, **SCRIPTS["1/0"]["output"]}),
    ("exit", DIED),
    ("halt", None),
]


@pytest.mark.parametrize(("code", "output"), OUTPUTS)
def test_outputs(scripted, code, output):
    """A statement has the output of the script whose text is in its code, else an empty text, and no output before."""
    session, start = busy_session(scripted, code)
    outputs = [session.statement_records(start + seconds)[0]["output"] for seconds in (1, 11)]
    assert outputs == [None, output]


def test_outputs_after_the_interpreter_died(scripted):
    """Statements that wait when the interpreter dies all answer that it died."""
    session, start = busy_session(scripted, "exit", "five", "1/0")
    outputs = [record["output"] for record in session.statement_records(start + 11)]
    assert outputs == [DIED | {"execution_count": number} for number in range(3)]


def test_later_scripts_win(synapse_livy_emulator):
    """Of several scripts for a code the one that was added last counts, for statements sent after it."""
    session_id = synapse_livy_emulator.create_session("etl", age=70)
    for text in ("general", "special"):
        synapse_livy_emulator.answer_statement(contains="" if text == "general" else "1+1", output={"text": text})
        post(synapse_livy_emulator, session_id)
    post(synapse_livy_emulator, session_id, "2+2")
    session = synapse_livy_emulator.server.pools.find("etl", session_id)
    outputs = [record["output"]["text"] for record in session.statement_records(session.statements[0].posted_at + 60)]
    assert outputs == ["general", "special", "general"]


def test_script_that_kills_something_else(synapse):
    """A script that kills what no statement can kill raises a ValueError that says what one can."""
    with pytest.raises(ValueError, match="kills 'cluster': no statement kills that") as raised:
        synapse.answer_statement(contains="x", kills="cluster")
    assert str(raised.value).splitlines()[1] == "Fix: use one of interpreter, driver."


CANCELLATIONS = [
    # codes; number of the cancelled statement and when; pairs of seconds and states
    (["five", "1+1"], 0, 5, [(5.05, "cancelling waiting busy"), (5.2, "cancelled running busy")]),
    (["five", "1+1"], 1, 5, [(5, "running cancelled busy"), (11, "available cancelled idle")]),
    (["five", "1+1"], 0, 0.1, [(0.1, "cancelled waiting idle"), (0.3, "cancelled running busy")]),
    (["five"], 0, 11, [(11, "available idle"), (12, "available idle")]),
    (["loop", "1+1"], 0, 5, [(10, "cancelling waiting busy"), (10.3, "cancelled running busy")]),
    (["exit"], 0, 5, [(5.2, "cancelled idle"), (12, "cancelled idle")]),
]


@pytest.mark.parametrize(("codes", "number", "after", "timeline"), CANCELLATIONS)
def test_cancellation(scripted, codes, number, after, timeline):
    """A cancelled statement ends at once if it waits, soon if it runs a Spark job, with its code if it is Python."""
    session, start = busy_session(scripted, *codes)
    session.cancel_statement(number, start + after)
    assert [(seconds, " ".join(states(session, start + seconds))) for seconds, _ in timeline] == timeline


def test_cancellation_of_long_python(scripted):
    """A cancelled loop is ``cancelled`` after 30 s, but runs on: the session stays busy, and the output comes late."""
    session, start = busy_session(scripted, "long", "1+1")
    session.cancel_statement(0, start + 5)
    session.cancel_statement(0, start + 20)  # which starts no new 30 seconds
    timeline = [(34.9, "cancelling waiting busy"), (35.1, "cancelled waiting busy"), (101, "cancelled running busy")]
    assert [(after, " ".join(states(session, start + after))) for after, _ in timeline] == timeline
    assert [session.statement_records(start + after)[0]["output"] for after in (36, 101)] == [None, EMPTY]


@pytest.mark.parametrize(("after", "ename"), [(0.1, None), (5, "Error")])
def test_output_of_a_cancelled_statement(scripted, after, ename):
    """A statement that is cancelled while it waits has no output; that of a cancelled Spark job says so."""
    session, start = busy_session(scripted, "five")
    session.cancel_statement(0, start + after)
    output = session.statement_records(start + 12)[0]["output"] or {"ename": None, "evalue": "cancelled"}
    assert (output["ename"], "cancelled" in output["evalue"]) == (ename, True)


@pytest.mark.parametrize("number", [0, 1, "x", 99])
def test_answer_to_a_cancellation(scripted, number):
    """A cancellation gets the same answer for a statement that runs or has ended, and for one that does not exist."""
    session, _ = busy_session(scripted, "1+1", "ever")
    age(session, 60)
    response = call(scripted, "POST", f"etl/sessions/{session.id}/statements/{number}/cancel")
    assert (response.status_code, response.json()) == (200, {"msg": "canceled"})
    assert [statement.cancelled_at is not None for statement in session.statements] == [False, number == 1]


def test_list(scripted):
    """A list has all statements, oldest first, as single reads show them; a session without statements has none."""
    session, _ = busy_session(scripted, "five", "1/0")
    age(session, 60)
    path = f"etl/sessions/{session.id}/statements"
    read = [call(scripted, "GET", f"{path}/{number}").json() for number in range(2)]
    assert call(scripted, "GET", path).json() == {"total_statements": 2, "statements": read}
    empty = scripted.create_session("etl")
    assert call(scripted, "GET", f"etl/sessions/{empty}/statements").json() == {"total_statements": 0, "statements": []}


def test_last_hundred(scripted):
    """The last 100 statements are kept, whatever their state: an older one is not found; numbers go on."""
    session, start = busy_session(scripted, "five")
    for code in range(103):
        session.add_statement(str(code), session.statements[0].script, start)
    path = f"etl/sessions/{session.id}/statements"
    assert [record["id"] for record in call(scripted, "GET", path).json()["statements"]] == list(range(4, 104))
    assert [call(scripted, "GET", f"{path}/{number}").status_code for number in (3, 4, 103)] == [404, 200, 200]
    assert states(session, start + 1040.3) == ["available"] * 100 + ["idle"]


@pytest.mark.parametrize("number", ["0", "x", "²", "-1"])
def test_missing_statement(scripted, number):
    """A statement that does not exist gets a 404 in the form of the service's for a session, and names itself."""
    session_id = scripted.create_session("etl", age=70)
    response = call(scripted, "GET", f"etl/sessions/{session_id}/statements/{number}")
    assert (response.status_code, response.json()["code"], response.json()["error"]) == (404, "NotFound", None)
    assert response.json()["message"] == f"Statement {number} was not found in session {session_id} in pool etl."


STATEMENT_REQUESTS = [("GET", ""), ("POST", ""), ("GET", "/0"), ("POST", "/0/cancel")]


@pytest.mark.parametrize(("method", "path"), STATEMENT_REQUESTS)
@pytest.mark.parametrize("session_id", ["99999", "x"])
def test_missing_session(scripted, method, path, session_id):
    """A request for the statements of a session that does not exist gets the 404 of that session."""
    response = call(scripted, method, f"etl/sessions/{session_id}/statements{path}", json={"code": "", "kind": "sql"})
    message = f"Spark session {session_id} was not found in pool etl."
    assert (response.status_code, response.json()["message"]) == (404, message)


NOT_RUNNING = [
    # scenario, age, then the states of scheduler, plugin and Livy that the refusal names
    ("becomes_idle", 5, "Queued", "Preparation", "not_started"),
    ("becomes_idle", 30, "Scheduled", "Monitoring", "starting"),
    ("dies_while_running", 110, "Scheduled", "Cleanup", "dead"),
    ("cancelled_while_idle", 86.5, "Scheduled", "Cleanup", "idle"),
    ("cancelled_while_idle", 89, "Scheduled", "Cleanup", "shutting_down"),
    ("cancelled_while_idle", 130, "Ended", "Ended", "killed"),
    ("fails_to_start", 90, "Ended", "Ended", "error"),
]


@pytest.mark.parametrize(("scenario", "age", "scheduler", "plugin", "livy"), NOT_RUNNING)
def test_session_that_is_not_running(scenario, age, scheduler, plugin, livy):
    """A statement for a session that is not ready, being cancelled or has ended gets a 400 in the service's words."""
    with SynapseEmulator(time_scale=1000) as synapse:  # so that the session stays as old as that
        session_id = synapse.create_session("etl", scenario, age=age)
        response = post(synapse, session_id)
        assert synapse.statements("etl", session_id) == []
    assert (response.status_code, set(response.json())) == (400, {"TraceId", "Message"})
    assert response.json()["Message"] == (
        f"Session {session_id} of workspace emulator on pool etl is not running. It is either completed or not fully "
        f"yet ready. Scheduler state : {scheduler}. Plugin state : {plugin}. Livy state : {livy}."
    )


@pytest.mark.parametrize(
    ("code", "after", "lost"),
    [("five", 9999, False), ("exit", 11, False), ("exit", 42, True), ("halt", 10, False), ("halt", 11, True)],
)
def test_when_statements_are_lost(scripted, code, after, lost):
    """Statements are lost with the driver; with the interpreter they are lost when the session has its result."""
    session, start = busy_session(scripted, code)
    session.timeout_reset_at = start + 9999
    assert session.has_lost_statements(start + after) == lost


@pytest.mark.parametrize(("code", "lost"), [("five", False), ("exit", True), ("halt", True)])
def test_statements_of_a_session_that_died(scripted, code, lost):
    """Lost statements get a 400 in Livy's words, and no new one is accepted; the test that asks still sees them."""
    session, _ = busy_session(scripted, code)
    age(session, 60)
    asked = [(method, path) for method, path in STATEMENT_REQUESTS if path or method == "GET"]
    responses = [call(scripted, method, f"etl/sessions/{session.id}/statements{path}") for method, path in asked]
    assert {response.status_code for response in responses} == {400 if lost else 200}
    assert all("requirement failed: Session isn't active." in response.text for response in responses) == lost
    assert post(scripted, session.id).status_code == (200 if code == "five" else 400)
    assert scripted.statements("etl", session.id)[0]["code"] == code


@pytest.mark.parametrize(
    ("code", "state", "error"), [("exit", "error", "LIVY_JOB_STATE_ERROR"), ("halt", "dead", "LIVY_JOB_STATE_DEAD")]
)
def test_session_killed_by_a_statement(scripted, code, state, error):
    """A session whose interpreter or driver died ends as failed, with the reason; what it was to do later is void."""
    session, start = busy_session(scripted, code)
    after, later = (session.record(start + seconds) for seconds in (45, 10_000))
    assert (after["state"], after["result"], after["schedulerInfo"]["currentState"]) == (state, "Failed", "Ended")
    assert [info["errorCode"] for info in after["errorInfo"]] == [error]
    assert later == after


def test_statements_stop_with_their_session(scripted):
    """When a session ends, a statement stays as it was; the session does not become idle by its end."""
    session = scripted.server.pools.find("etl", scripted.create_session("etl", "dies_while_running"))
    end = next(t.at for t in session._transitions() if t.changes.get("state") == "dead")
    session.add_statement("five", Script("", seconds=10), end - 5)
    assert [states(session, end + seconds) for seconds in (-1, 1, 100)] == [
        ["running", "busy"],
        ["running", "dead"],
        ["running", "dead"],
    ]


def test_statements_of_a_cancelled_session(scripted):
    """A cancelled session shuts down although a statement runs, and is killed."""
    session, start = busy_session(scripted, "loop")
    session.cancel(start + 5)
    assert [states(session, start + seconds) for seconds in (6, 7.5, 20, 100)] == [
        ["running", "busy"],
        ["running", "shutting_down"],
        ["running", "killed"],
        ["running", "killed"],
    ]


def test_idle_timeout_after_a_statement(scripted):
    """The idle timeout starts when the last statement has ended."""
    session = scripted.server.pools.find("etl", scripted.create_session("etl", "idles_out", age=70))
    start = session.created_at + 70
    session.add_statement("five", Script("", seconds=10), start)
    assert [session.record(start + seconds)["state"] for seconds in (60, 70, 70.3)] == ["idle", "idle", "dead"]


def test_stamps_of_a_busy_session(scripted):
    """``busyAt`` is set when a statement runs; ``idleAt`` stays what it was, as in recordings."""
    session, start = busy_session(scripted, "five")
    before, after = (session.record(start + seconds)["livyInfo"] for seconds in (0, 60))
    assert (before["busyAt"], after["idleAt"], after["currentState"]) == (None, before["idleAt"], "idle")
    assert after["idleAt"] < after["busyAt"]


INVALID = [
    (b"no json", 400, "The request body is not JSON: "),
    (b"[]", 400, "The request body is not a JSON object."),
    ({"kind": "sql"}, 400, "The field 'code' is required."),
    ({"code": 1, "kind": "sql"}, 400, "The field 'code' must be a string."),
    ({"code": "", "kind": []}, 400, "The field 'kind' must be a string."),
    ({"code": ""}, 500, "java.lang.IllegalArgumentException: Invalid kind: None"),
    ({"code": "", "kind": "nokind"}, 500, "java.lang.IllegalArgumentException: Invalid kind: nokind"),
]


@pytest.mark.parametrize(("body", "status", "reason"), INVALID)
def test_invalid_statements(scripted, body, status, reason):
    """A statement without code gets a 400, one without a known kind a 500 as from Livy; neither creates one."""
    session_id = scripted.create_session("etl", age=70)
    response = post(scripted, session_id, **({"data": body} if isinstance(body, bytes) else {"json": body}))
    assert (response.status_code, set(response.json())) == (status, {"TraceId", "Message"})
    head = f"The HTTP status code of the response was not expected ({status}).\n\nStatus: {status}\nResponse: \n"
    assert response.json()["Message"].startswith(head + reason)
    assert scripted.statements("etl", session_id) == []


@pytest.mark.parametrize("kind", ["spark", "pyspark", "dotnetspark", "sql", "csharp", "sparkr"])
def test_kinds(scripted, kind):
    """Statements of all kinds run in one session; names of fields match without regard to case, others do no harm."""
    session_id = scripted.create_session("etl", age=70)
    sent = [{"code": "", "kind": kind}, {"Code": "", "Kind": kind}, {"code": "", "kind": kind, "other": 1}]
    assert [post(scripted, session_id, json=body).json()["id"] for body in sent] == [0, 1, 2]


@pytest.mark.parametrize(("size", "status"), [(100_000, 200), (100_001, 413), (2_000_000, 413)])
def test_large_statements(scripted, size, status):
    """A statement of more than 100 kBytes gets a 413."""
    head, tail = b'{"kind": "sql", "code": "', b'"}'
    session_id = scripted.create_session("etl", age=70)
    response = post(scripted, session_id, data=head + b"x" * (size - len(head + tail)) + tail)
    assert (response.status_code, len(scripted.statements("etl", session_id))) == (status, int(status == 200))


@pytest.mark.parametrize(("status", "answered"), [(0, "closed"), (503, 503), (200, "unreadable")])
def test_lost_answers(synapse_livy_emulator, status, answered):
    """``fail_after()`` creates or cancels the statement and spoils the answer, once; reads pass it by."""
    path = f"etl/sessions/{synapse_livy_emulator.create_session('etl', age=70)}/statements"
    synapse_livy_emulator.answer_statement(contains="", seconds=10_000)
    body = {"code": "", "kind": "sql"}
    asked = [("GET", path), ("POST", path), ("GET", f"{path}/0"), ("POST", f"{path}/0/cancel"), ("GET", path)]
    synapse_livy_emulator.fail_after(status, status)
    answers = [answer(synapse_livy_emulator, method, url, json=body) for method, url in asked]
    assert answers == [200, answered, 200, answered, 200]
    (statement,) = synapse_livy_emulator.server.pools.find("etl", 0).statements
    assert statement.cancelled_at is not None


@pytest.mark.parametrize(("method", "path"), STATEMENT_REQUESTS)
def test_failures_and_outages(synapse_livy_emulator, method, path):
    """``fail_next()`` and ``outage()`` refuse requests for statements, and nothing is done."""
    synapse_livy_emulator.answer_statement(contains="", seconds=10_000)
    session, _ = busy_session(synapse_livy_emulator, "1+1")
    request = (method, f"etl/sessions/{session.id}/statements{path}")
    synapse_livy_emulator.fail_next(500)
    assert answer(synapse_livy_emulator, *request) == 500
    with synapse_livy_emulator.outage():
        assert answer(synapse_livy_emulator, *request) == 503
    assert [statement.cancelled_at for statement in session.statements] == [None]


def test_statements_of_a_test(synapse_livy_emulator):
    """``statements()`` returns the records of one session's statements, oldest first, as a read shows them."""
    session, _ = busy_session(synapse_livy_emulator, "one", "two")
    age(session, 60)
    found = synapse_livy_emulator.statements("etl", session.id)
    assert [statement["code"] for statement in found] == ["one", "two"]
    assert call(synapse_livy_emulator, "GET", f"etl/sessions/{session.id}/statements").json()["statements"] == found
    with pytest.raises(LookupError, match="Session 99999 in pool etl: there is no such session.\nFix: "):
        synapse_livy_emulator.statements("etl", 99999)


def test_real_client(tls_synapse):
    """Microsoft's client can create, read, list and cancel statements, and reads their outputs."""
    session_id = tls_synapse.create_session("statements", age=70)
    session = tls_synapse.server.pools.find("statements", session_id)
    error = {"status": "error", "ename": "NameError", "evalue": "name 'x' is not defined", "traceback": ["line\n"]}
    tls_synapse.answer_statement(contains="real client", seconds=1000)
    tls_synapse.answer_statement(contains="real client, x", seconds=1000, output=error)
    codes = ["# real client, 1", "# real client, x", "# real client, 2"]
    with real_client(tls_synapse, "statements") as client:
        for code in codes:
            created = client.create_spark_statement(session_id, SparkStatementOptions(code=code, kind="pyspark"))
            assert (created.state, created.output) == ("waiting", None)
        assert client.cancel_spark_statement(session_id, 2).message == "canceled"
        age(session, 3000)
        read = [client.get_spark_statement(session_id, number) for number in range(3)]
        listed = client.get_spark_statements(session_id)
        with pytest.raises(HttpResponseError) as raised:
            client.get_spark_statement(session_id, 3)
    assert [statement.state for statement in read] == ["available", "available", "cancelled"]
    assert (read[0].output.execution_count, read[0].output.data) == (0, {"text/plain": ""})
    output = read[1].output
    assert (output.error_name, output.error_value, output.traceback) == ("NameError", error["evalue"], ["line\n"])
    assert (listed.total, [statement.code for statement in listed.statements]) == (3, codes)
    assert raised.value.status_code == 404


@pytest.mark.parametrize(
    ("pool", "method", "status"),
    [("forbidden", "GET", 403), ("firewalled", "GET", 403), ("missing", "GET", 404), ("missing", "POST", 400)],
)
def test_pools_that_answer_errors(scripted, pool, method, status):
    """A pool that refuses requests for sessions refuses those for statements in the same words."""
    responses = [call(scripted, method, f"{pool}/{path}") for path in ("sessions", "sessions/0/statements")]
    assert [response.status_code for response in responses] == [status] * 2
    assert len({str(response.json() | {"TraceId": ""}) for response in responses}) == 1


def test_new_sessions_have_no_statements(scripted):
    """A session that a request created has statements as soon as it is idle, and none of another session."""
    created = call(scripted, "POST", "etl/sessions", json=NAMED).json()["id"]
    assert post(scripted, created).status_code == 400
    scripted.server.pools.find("etl", created).created_at -= 70
    assert post(scripted, created).json()["id"] == 0
