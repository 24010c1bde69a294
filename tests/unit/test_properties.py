"""What holds for any answer, tried with thousands of made-up ones: no foreign error, no success without proof."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, fields, given
from hypothesis import strategies as st

from airflow_provider_synapse_livy.exceptions import (
    InvalidSparkSessionIdError,
    SynapseLivyError,
    SynapseLivyUnavailableError,
)
from airflow_provider_synapse_livy.livy.responses import (
    LivyResponse,
    Snapshot,
    list_spark_sessions_request,
    read_spark_session,
    read_spark_session_list,
    spark_session_request,
    validate_session_id,
)
from airflow_provider_synapse_livy.models import LivyState, SparkSession, SparkSessionResultType
from airflow_provider_synapse_livy.triggers.spark_session import read_event
from airflow_provider_synapse_livy.waiting.wait import (
    Verdict,
    Wait,
    WaitRules,
    describe_failure,
    describe_timeout,
    judge,
)
from tests.support import sample_sessions as samples

PARTS = {"endpoint": "https://ws.dev.azuresynapse.net", "spark_pool_name": "etl", "livy_api_version": "2020-12-01"}
REQUEST = spark_session_request(session_id=12, **PARTS)
LIST = list_spark_sessions_request(size=1, **PARTS)
WEEK = 7 * 24 * 3600

# The same examples each time: a test that fails now and then tells nobody what to mend.
examples = fields(max_examples=300, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))

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
RULES = st.builds(
    WaitRules,
    target_states=st.sampled_from([None, frozenset({LivyState.IDLE}), frozenset(LivyState)])
    | st.frozensets(st.sampled_from(LivyState), min_size=1),
    accepted_results=st.frozensets(st.sampled_from(["Succeeded", "Failed", "Cancelled"]), min_size=1),
    accept_idle_timeout=st.booleans(),
)


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Give the ways to everything in a body."""
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
    """Give a place in a body, and anything to put there."""
    return st.tuples(st.sampled_from(paths(body)), TELLING | JSON)


@st.composite
def mutated(draw):
    """Give a body of the live service, some of whose fields have become something else, or are gone."""
    body = copy.deepcopy(draw(st.sampled_from(list(samples.SESSIONS.values())))) | {"id": 12}
    for way, value in draw(st.lists(st.sampled_from(DECISIVE) | anywhere(body), min_size=1, max_size=4)):
        *path, last = way
        place = body
        try:
            for key in path:
                place = place[key]
            place[last] = value
        except (TypeError, KeyError, IndexError):
            pass  # an earlier change took the place away
    return body


def read(body: bytes, status: int = 200, headers: Any = None) -> Snapshot | None:
    """Read an answer, and see that whatever is wrong with it is told decently; None if something is."""
    answer = LivyResponse(status, headers or {}, body)
    try:
        page = read_spark_session_list(LIST, answer)
        for session_id in page.items:
            assert page.digest(session_id) == getattr(page.read(session_id), "digest", page.digest(session_id))
    except SynapseLivyError as error:
        check_error(error)
    try:
        return read_spark_session(REQUEST, answer)
    except SynapseLivyError as error:
        check_error(error)
        return None


def check_error(error: SynapseLivyError) -> None:
    """See that an error can be shown and stored, and asks for no silly pause."""
    assert re.match("(The )?Spark session", str(error))
    assert len(str(error)) < 2000
    assert not re.search(r"[\x00-\x1f]", str(error))
    json.dumps(error.to_dict(), ensure_ascii=False).encode()
    assert 0 < (getattr(error, "retry_after", None) or 1) <= WEEK


def is_proof(session: dict[str, Any], rules: WaitRules) -> bool:
    """Tell, straight from the README's table, whether a session is what is waited for."""
    state, result = session.get("state"), session.get("result")
    ends = {"success": "Succeeded", "dead": "Failed", "error": "Failed", "killed": "Cancelled"}
    has_result = result in ("Succeeded", "Failed", "Cancelled")
    if rules.target_states is None:
        if not has_result and state not in ends:
            return False
        idled_out = str((session.get("appInfo") or {}).get("isSessionTimedOut")).lower() == "true"
        outcome = result if has_result else ends[state]
        return outcome in rules.accepted_results or (rules.accept_idle_timeout and idled_out)
    is_cancelling = bool((session.get("schedulerInfo") or {}).get("cancellationRequestedAt"))
    if state not in rules.target_states:
        return False
    return state in ends or (not has_result and not (state == "idle" and is_cancelling))


def check(answer: Snapshot, rules: WaitRules) -> None:
    """See that a session is judged as the README says, and that all that is made of it can be stored and shown."""
    session = answer.session
    assert session.id == 12
    stored = json.dumps(session.to_dict(), allow_nan=False)
    stored.encode()
    assert r"\u0000" not in stored  # which PostgreSQL refuses
    assert SparkSession.from_dict(json.loads(stored)) == session
    for settled in (False, True):
        if judge(session, rules, settled=settled) is Verdict.SUCCESS:
            assert is_proof(json.loads(stored), rules)
    assert judge(session, rules, settled=True) is not Verdict.SUCCESS or is_proof(session.to_dict(), rules)
    wait = Wait(rules, began=0.0, timeout=100.0, poke_interval=10.0)
    assert (wait.observe(answer, 50.0) is Verdict.SUCCESS) <= is_proof(session.to_dict(), rules)
    for told in (describe_failure(answer, rules), describe_timeout(answer, rules, "timeout", 100.0), str(session)):
        told.encode()


@examples
@given(STATUSES, HEADERS, st.binary())
def test_any_bytes(status, headers, body):
    """Whatever comes, it is an error of ours."""
    assert read(body, status, headers) is None


@examples
@given(STATUSES, HEADERS, JSON)
def test_any_json(status, headers, body):
    """Any JSON that is no session with the right id is an error of ours, whatever the status."""
    answer = read(json.dumps(body).encode(), status, headers)
    assert answer is None or (status, answer.session.id) == (200, 12)


@fields(examples, max_examples=1000)
@given(mutated(), RULES)
def test_mutations_of_real_answers(body, rules):
    """What is still a session is judged as the README says: there is no success without proof."""
    if answer := read(json.dumps(body).encode()):
        check(answer, rules)


@examples
@given(st.sampled_from(list(samples.SESSIONS.values())), st.data())
def test_damaged_bytes(body, data):
    """A real answer with a byte changed, cut out or doubled, or with its end missing, is no success without proof."""
    raw = bytearray(json.dumps(body | {"id": 12}).encode())
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at : at + data.draw(st.integers(0, 40))] = data.draw(st.binary(max_size=3))
    if answer := read(bytes(raw)):
        check(answer, data.draw(RULES))


@examples
@given(st.sampled_from(list(samples.SESSIONS.values())), st.data())
def test_cut_answers(body, data):
    """Half an answer is no session, and is asked for again."""
    raw = json.dumps(body | {"id": 12}).encode()
    half = raw[: data.draw(st.integers(0, len(raw) - 1))]
    with pytest.raises(SynapseLivyUnavailableError):
        read_spark_session(REQUEST, LivyResponse(200, {}, half))


@examples
@given(JSON | st.fixed_dictionaries({"verdict": st.sampled_from(list(Verdict)) | JSON, "session": mutated() | JSON}))
def test_any_event(event):
    """Whatever stands in a trigger's event, it is read, or an error of ours."""
    try:
        verdict, _ = read_event(event)
    except SynapseLivyError:
        return
    assert verdict is not Verdict.WAIT


@examples
@given(JSON | st.integers() | st.text("0123456789- \n"))
def test_any_session_id(given_id):
    """Whatever a template renders to, it is an id in the range of ids, or refused as none."""
    try:
        number = validate_session_id(given_id)
    except InvalidSparkSessionIdError:
        return
    assert 0 <= number < 2**31
