"""What holds for any response, tried with thousands of made-up ones: no foreign error, no success without proof."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_synapse_livy.exceptions import InvalidIdError, SynapseLivyError, SynapseLivyUnavailableError
from airflow_provider_synapse_livy.livy.requests import Pool
from airflow_provider_synapse_livy.livy.resources import SPARK_SESSION, validated_id
from airflow_provider_synapse_livy.livy.responses import LivyResponse, Snapshot
from airflow_provider_synapse_livy.models import LivyState, SparkSession, SparkSessionResultType
from airflow_provider_synapse_livy.triggers.base import read_event
from airflow_provider_synapse_livy.waiting.goals import SessionGoal, Verdict
from airflow_provider_synapse_livy.waiting.messages import describe_failure, describe_timeout
from airflow_provider_synapse_livy.waiting.wait import Wait, WaitOptions
from tests.support import sample_sessions as samples

POOL = Pool("https://ws.dev.azuresynapse.net", "etl")
REQUEST = SPARK_SESSION.get(POOL, 12)
LIST = SPARK_SESSION.page(POOL, size=1)
WEEK = 7 * 24 * 3600

# The same examples each time: nobody can mend what fails only now and then.
examples = settings(max_examples=150, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
TELLING = st.sampled_from(
    [*LivyState, *SparkSessionResultType, "true", "True", True, "SparkBatch", "idle ", 12, "12", 12.0, 1e999, [], {}]
)
JSON = st.recursive(
    SCALARS | TELLING,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)
HEADERS = st.dictionaries(
    st.sampled_from(["x-ms-activity-id", "Retry-After", "Date", "Location", "Content-Encoding"]),
    st.text() | st.sampled_from(["gzip", "9" * 400, "-1", "Wed, 21 Oct 2015 07:28:00 GMT", "\udcff"]),
)
STATUSES = st.integers(100, 999) | st.just(200)
GOALS = st.builds(
    SessionGoal,
    target_states=st.sampled_from([None, frozenset({LivyState.IDLE}), frozenset(LivyState)])
    | st.frozensets(st.sampled_from(LivyState), min_size=1),
    accepted_results=st.frozensets(st.sampled_from(["Succeeded", "Failed", "Cancelled"]), min_size=1),
    accept_idle_timeout=st.booleans(),
)


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths to everything in a body."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, below in inner for found in paths(below, (*path, key)))][0 if path else 1 :]


#: What a verdict depends on, and where it stands in a body.
DECISIVE = [
    *((("state",), state) for state in LivyState),
    *((("result",), result) for result in SparkSessionResultType),
    (("schedulerInfo", "cancellationRequestedAt"), "2025-03-01T08:29:30+00:00"),
    (("appInfo", "isSessionTimedOut"), "true"),
]


def anywhere(body: dict[str, Any]) -> st.SearchStrategy[tuple[tuple[Any, ...], Any]]:
    """Return a path in a body, and anything to put there."""
    return st.tuples(st.sampled_from(paths(body)), TELLING | JSON)


@st.composite
def mutated(draw):
    """Return a body of the live service, some of whose fields have become something else."""
    body = copy.deepcopy(draw(st.sampled_from(list(samples.SESSIONS.values())))) | {"id": 12}
    for at, value in draw(st.lists(st.sampled_from(DECISIVE) | anywhere(body), min_size=1, max_size=4)):
        *path, last = at
        place = body
        try:
            for key in path:
                place = place[key]
            place[last] = value
        except (TypeError, KeyError, IndexError):
            pass  # an earlier change took the place away
    return body


def read(body: bytes, status: int = 200, headers: Any = None) -> Snapshot[SparkSession] | None:
    """Read a response, and check the error that says what is wrong with it; None if something is."""
    response = LivyResponse(status, headers or {}, body)
    try:
        page = LIST.read(response)
        for session_id in page.items:
            assert page.digest(session_id) == getattr(page.read(session_id), "digest", page.digest(session_id))
    except SynapseLivyError as error:
        check_error(error)
    try:
        return REQUEST.read(response)
    except SynapseLivyError as error:
        check_error(error)
        return None


def check_error(error: SynapseLivyError) -> None:
    """Check that an error has the form of all messages, can be shown and stored, and asks for no silly pause."""
    first, second, *_ = str(error).split("\n")
    assert re.match("(The list of )?Spark session", first)
    assert len(first) < 120
    assert second.startswith("Fix: ")
    assert len(str(error)) < 2000
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", str(error))
    json.dumps(error.to_dict(), ensure_ascii=False).encode()
    assert 0 < (getattr(error, "retry_after", None) or 1) <= WEEK


def is_proof(session: dict[str, Any], goal: SessionGoal) -> bool:
    """Return, straight from the README's table, whether a session is what is waited for."""
    state, result = session.get("state"), session.get("result")
    ends = {"success": "Succeeded", "dead": "Failed", "error": "Failed", "killed": "Cancelled"}
    has_result = result in ("Succeeded", "Failed", "Cancelled")
    if goal.target_states is None:
        if not has_result and state not in ends:
            return False
        idled_out = str((session.get("appInfo") or {}).get("isSessionTimedOut")).lower() == "true"
        outcome = result if has_result else ends[state]
        return outcome in goal.accepted_results or (goal.accept_idle_timeout and idled_out)
    is_cancelling = bool((session.get("schedulerInfo") or {}).get("cancellationRequestedAt"))
    if state not in goal.target_states:
        return False
    return state in ends or (not has_result and not (state == "idle" and is_cancelling))


def check(snapshot: Snapshot[SparkSession], goal: SessionGoal) -> None:
    """Check that a verdict is what the README says, and that all that is made of a session can be stored and shown."""
    session = snapshot.record
    assert session.id == 12
    stored = json.dumps(session.to_dict(), allow_nan=False)
    stored.encode()
    assert "\x00" not in str(session.to_dict())  # which PostgreSQL refuses
    assert SparkSession.from_dict(json.loads(stored)) == session
    for settled in (False, True):
        if goal.evaluate(session, settled=settled) is Verdict.SUCCESS:
            assert is_proof(json.loads(stored), goal)
    wait = Wait(goal, WaitOptions(timeout=100.0, poke_interval=10.0), started_at=0.0)
    assert (wait.observe(snapshot, 50.0) is Verdict.SUCCESS) <= is_proof(session.to_dict(), goal)
    for message in (describe_failure(snapshot, goal), describe_timeout(snapshot, goal, "timeout", 100.0)):
        message.encode()
        assert message.split("\n")[1].startswith("Fix: ")


@examples
@given(STATUSES, HEADERS, st.binary())
def test_any_bytes(status, headers, body):
    """Whatever bytes come, they are an error of this package."""
    assert read(body, status, headers) is None


@examples
@given(STATUSES, HEADERS, JSON)
def test_any_json(status, headers, body):
    """Any JSON that is not a session with the right id is an error of this package, whatever the status."""
    snapshot = read(json.dumps(body).encode(), status, headers)
    assert snapshot is None or (status, snapshot.record.id) == (200, 12)


@settings(examples, max_examples=250)
@given(mutated(), GOALS)
def test_mutations_of_real_responses(body, goal):
    """What is still a session has the verdict that the README says: there is no success without proof."""
    if snapshot := read(json.dumps(body).encode()):
        check(snapshot, goal)


@examples
@given(st.sampled_from(list(samples.SESSIONS.values())), st.data())
def test_damaged_bytes(body, data):
    """A real response with a byte changed, cut out or doubled, or without its end, is no success without proof."""
    raw = bytearray(json.dumps(body | {"id": 12}).encode())
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at : at + data.draw(st.integers(0, 40))] = data.draw(st.binary(max_size=3))
    if snapshot := read(bytes(raw)):
        check(snapshot, data.draw(GOALS))


@examples
@given(st.sampled_from(list(samples.SESSIONS.values())), st.data())
def test_truncated_responses(body, data):
    """Half a response is not a session, and the request may be sent again."""
    raw = json.dumps(body | {"id": 12}).encode()
    half = raw[: data.draw(st.integers(0, len(raw) - 1))]
    with pytest.raises(SynapseLivyUnavailableError) as caught:
        REQUEST.read(LivyResponse(200, {}, half))
    assert REQUEST.may_be_sent_again(caught.value)


EVENTS = st.fixed_dictionaries(
    {
        "resource": st.just("Spark session") | JSON,
        "verdict": st.sampled_from(list(Verdict)) | JSON,
        "record": mutated() | JSON,
        "activity_id": st.none() | st.text(),
        "links": st.just({}) | JSON,
    }
)


@examples
@given(JSON | EVENTS)
def test_any_event(event):
    """Whatever stands in a trigger's event, it is read, or an error of this package whose first line is short."""
    try:
        verdict, _, _ = read_event(event, SPARK_SESSION)
    except SynapseLivyError as error:
        first, second, *_ = str(error).split("\n")
        assert len(first) < 120
        assert second.startswith("Fix: ")
        return
    assert verdict is not Verdict.PENDING


@examples
@given(JSON | st.integers() | st.text("0123456789- \n"))
def test_any_id(given_id):
    """Whatever a template renders to, it is an id in the range of ids, or refused as none."""
    try:
        number = validated_id(given_id, "Spark session")
    except InvalidIdError as error:
        first, second, *_ = str(error).split("\n")
        assert max(len(first), len(second)) < 120
        return
    assert 0 <= number < 2**31
