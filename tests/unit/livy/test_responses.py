"""The API file: requests as they are built, answers as they are understood. No network."""

from __future__ import annotations

import json
import socket
import ssl
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from urllib.parse import unquote, urlsplit

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from airflow_provider_synapse_livy.exceptions import (
    InvalidSparkSessionIdError,
    SparkSessionNotFoundError,
    SynapseLivyAuthenticationError,
    SynapseLivyConfigurationError,
    SynapseLivyPermissionError,
    SynapseLivyResponseError,
    SynapseLivyUnavailableError,
)
from airflow_provider_synapse_livy.livy.responses import (
    LivyResponse,
    connection_error,
    list_spark_sessions_request,
    read_spark_session,
    read_spark_session_list,
    spark_session_request,
    validate_session_id,
)
from airflow_provider_synapse_livy.models import SparkSession
from tests.support import sample_sessions as samples

ENDPOINT = "https://ws.dev.azuresynapse.net"
ACTIVITY_ID = "0f0e0d0c-0b0a-0908-0706-050403020100"


def request_for(session_id=12, **changes):
    """Build the request for a session."""
    parts = {"endpoint": ENDPOINT, "spark_pool_name": "etl", "livy_api_version": "2020-12-01"}
    return spark_session_request(session_id=session_id, **parts | changes)


def read(body, status=200, **headers):
    """Read an answer to the request for session 12."""
    raw = body if isinstance(body, bytes) else samples.as_json(body)
    return read_spark_session(request_for(), LivyResponse(status, {"X-MS-Activity-Id": ACTIVITY_ID} | headers, raw))


@pytest.mark.parametrize("given", [0, 12, "0", "12", " 12\n", 2**31 - 1])
def test_session_ids(given):
    """A whole number is an id, 0 too, and so is one in digits, as templates render it."""
    assert validate_session_id(given) == int(given)


@pytest.mark.parametrize(
    ("given", "cause"),
    [
        (None, "gave nothing"),
        ("None", "gave nothing"),
        ("", "gave nothing"),
        (True, "another kind"),
        (False, "another kind"),
        (1.5, "another kind"),
        (12.0, "another kind"),
        (-1, "was not created"),
        ("-1", "was not created"),
        (2**31, "too large"),
        (str(2**31), "too large"),
        ("9" * 50, "too large"),
        ("1; DROP", "Only digits"),
        ("1/../2", "Only digits"),
        ("٣", "Only digits"),
        ("{{ ti.xcom_pull('create') }}", "not rendered"),
        ({"id": 12}, r"take its \['id'\]"),
        ([12], "expand"),
        (b"12", "Only digits"),
        ("x" * 10_000, "Only digits"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_is_no_session_id(given, cause):
    """Anything else is refused before any request, and the message names the likely cause."""
    with pytest.raises(InvalidSparkSessionIdError, match=cause) as caught:
        request_for(given)
    assert len(str(caught.value)) < 1000


def test_request():
    """The address is the documented one."""
    request = request_for()
    path = "livyApi/versions/2020-12-01/sparkPools/etl/sessions/12"
    assert request.url == f"{ENDPOINT}/{path}?detailed=true"
    assert request.subject == "Spark session 12 in pool etl"
    assert request_for(detailed=False).url == f"{ENDPOINT}/{path}?detailed=false"


HOSTILE_NAMES = [
    "a/b",
    "../etl",
    "a?b",
    "a#b",
    "%2e%2e",
    "%2F",
    "a b",
    "ü",
    "a\r\nHost: x",
    "..%2f",
    "a\\b",
    "@x",
    ":x",
]


@pytest.mark.parametrize("name", HOSTILE_NAMES)
@pytest.mark.parametrize("part", ["spark_pool_name", "livy_api_version"])
def test_path_parts_stay_one_part(part, name):
    """Whatever a name holds, it stays one part of the path, which a server reads as that very name."""
    url = urlsplit(request_for(**{part: name}).url)
    parts = [unquote(quoted) for quoted in url.path.split("/")]
    assert (url.netloc, len(parts), parts[5 if part == "spark_pool_name" else 3]) == (
        "ws.dev.azuresynapse.net",
        8,
        name,
    )


@pytest.mark.parametrize("name", ["", " ", ".", "..", "None", None, 5])
@pytest.mark.parametrize("part", ["spark_pool_name", "livy_api_version"])
def test_path_parts_that_no_quoting_holds_are_refused(part, name):
    """Dots would lead out of the path, and nothing is no name."""
    with pytest.raises(SynapseLivyConfigurationError, match=part):
        request_for(**{part: name})


def test_answer_with_the_session():
    """The answer gives the session, and the id under which Microsoft's support finds the request."""
    session, activity_id, _ = read(samples.IDLE)
    assert (session.id, session.state, activity_id) == (12, "idle", ACTIVITY_ID)


def test_plain_answer():
    """The plain form is a session too."""
    assert read(samples.PLAIN).session.result is None


NESTED = {"error": {"code": "Unauthorized", "message": "The principal lacks the permission."}}
TRACE = {"TraceId": "x", "Message": "The HTTP status code of the response was not expected (400)."}
STACK_TRACE = {"error": {"code": "UnknownError", "message": json.dumps({"ExceptionDetail": "at Foo.Bar()\r\n" * 400})}}


@pytest.mark.parametrize(
    ("status", "body", "error", "code", "words"),
    [
        pytest.param(400, TRACE, SynapseLivyResponseError, None, "was not expected .400..*livy_api_version", id="400"),
        pytest.param(
            401,
            {"code": "InvalidTokenAuthenticationAudience", "message": "Audience validation failed."},
            SynapseLivyAuthenticationError,
            "InvalidTokenAuthenticationAudience",
            "Audience validation failed.*tenant and cloud",
            id="401 audience",
        ),
        pytest.param(
            403, NESTED, SynapseLivyPermissionError, "Unauthorized", "Synapse Compute Operator", id="403 role"
        ),
        pytest.param(
            403,
            {"code": "ClientIpAddressNotAuthorized", "message": "Client Ip address : 192.0.2.1"},
            SynapseLivyPermissionError,
            "ClientIpAddressNotAuthorized",
            "192.0.2.1.*firewall",
            id="403 firewall",
        ),
        pytest.param(
            404, {"code": "NotFound", "message": "gone"}, SparkSessionNotFoundError, "NotFound", "gone", id="404 flat"
        ),
        pytest.param(
            404,
            {"error": {"code": "NotFound", "message": "gone"}},
            SparkSessionNotFoundError,
            "NotFound",
            "gone",
            id="404 nested",
        ),
        pytest.param(
            404,
            {"code": "NotFound", "message": "gone", "error": None},
            SparkSessionNotFoundError,
            "NotFound",
            "gone",
            id="404 null error",
        ),
        pytest.param(
            404, {"code": 404, "error": "gone"}, SparkSessionNotFoundError, "404", "gone", id="404 error in a string"
        ),
        pytest.param(
            404,
            {"Error": {"CODE": "X", "Message": "gone"}},
            SparkSessionNotFoundError,
            "X",
            "gone",
            id="404 other case",
        ),
        pytest.param(408, b"", SynapseLivyUnavailableError, None, "an empty body", id="408"),
        pytest.param(
            429, b"Your request has hit the limit", SynapseLivyUnavailableError, None, "has hit the limit", id="429"
        ),
        pytest.param(500, STACK_TRACE, SynapseLivyUnavailableError, "UnknownError", "ExceptionDetail", id="500"),
        pytest.param(
            502,
            b"<!doctype html><title>Bad\n Gateway</title>",
            SynapseLivyUnavailableError,
            None,
            "an HTML page, 'Bad",
            id="502 HTML",
        ),
        pytest.param(503, b"<html></html>", SynapseLivyUnavailableError, None, "an HTML page", id="503 HTML"),
        pytest.param(504, b"\xff\xfe", SynapseLivyUnavailableError, None, "504", id="504 not UTF-8"),
        pytest.param(500, b'"just text"', SynapseLivyUnavailableError, None, "just text", id="500 string"),
        pytest.param(500, b"[1, 2]", SynapseLivyUnavailableError, None, "1, 2", id="500 list"),
        pytest.param(500, b'{"error": 5, "message": null}', SynapseLivyUnavailableError, None, "5", id="500 odd"),
        pytest.param(409, b"{}", SynapseLivyUnavailableError, None, "is being changed", id="409"),
        pytest.param(423, b"{}", SynapseLivyUnavailableError, None, "is locked", id="423"),
        pytest.param(430, b"{}", SynapseLivyUnavailableError, None, "limits are reached", id="430"),
        pytest.param(204, b"", SynapseLivyResponseError, None, "an empty body", id="204"),
        pytest.param(418, b"short and stout", SynapseLivyResponseError, None, "short and stout", id="unknown status"),
    ],
)
def test_errors(status, body, error, code, words):
    """Every status means one kind of error; its message has the subject, the status, the service's words, a remedy."""
    with pytest.raises(
        error, match=rf"(?s)Spark session 12 in pool etl: Synapse answered {status} .*{words}"
    ) as caught:
        read(body, status)
    assert (caught.value.status, caught.value.code, caught.value.activity_id) == (status, code, ACTIVITY_ID)
    assert ACTIVITY_ID in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert "\n" not in str(caught.value)


def test_redirects_are_errors():
    """A redirect is named, and not followed, since it would carry the token along."""
    with pytest.raises(SynapseLivyResponseError, match="302 .*redirect, .*, to https://elsewhere.example") as caught:
        read(b"", 302, location="https://elsewhere.example/" + "x" * 10_000)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param(b"<html><title>Log in</title>", "not JSON .an HTML page, 'Log in'", id="HTML"),
        pytest.param(b'{"id": NaN}', "not JSON", id="NaN"),
        pytest.param(b"idle", "not JSON .idle", id="text"),
        pytest.param(b"503 Service Unavailable", "not JSON .503 Service", id="text that begins like JSON"),
        pytest.param(b"null", "not a Spark session .see the whole", id="null"),
        pytest.param(b"[]", "not a Spark session .see the whole", id="list"),
        pytest.param(b'{"id": "x", "log": 1}', "not a Spark session .see id, log", id="wrong types"),
        pytest.param(samples.as_json(samples.session(id=13)), "with the session 13 instead", id="another session"),
        pytest.param(samples.as_json(samples.session(jobType="SparkBatch")), "Spark batch job", id="batch"),
    ],
)
def test_answers_that_are_no_session(body, words):
    """A 200 without the session that was asked for is an error that says what came instead, and never a session."""
    with pytest.raises(SynapseLivyResponseError, match=words) as caught:
        read(body)
    assert (caught.value.status, caught.value.activity_id) == (200, ACTIVITY_ID)


@pytest.mark.parametrize("length", [0, 1, 2, 700, len(samples.as_json(samples.IDLE)) - 1])
def test_answers_that_are_cut_short(length):
    """Half an answer may come whole the next time, so it counts as a connection that broke."""
    with pytest.raises(SynapseLivyUnavailableError, match="broke the connection off") as caught:
        read(samples.as_json(samples.IDLE)[:length])
    assert (caught.value.status, caught.value.activity_id) == (200, ACTIVITY_ID)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("1", 1),
        ("120", 120),
        (timedelta(minutes=1), 60),
        (timedelta(hours=-1), None),
        ("0", None),
        ("-5", None),
        ("soon", None),
        ("", None),
        ("Wed, 99 Foo 2025", None),
    ],
)
def test_retry_after(value, seconds):
    """Retry-After is understood in seconds and as a date; what is past or nonsense counts as not asked."""
    if isinstance(value, timedelta):
        value = format_datetime(datetime.now(UTC) + value, usegmt=True)
    with pytest.raises(SynapseLivyUnavailableError) as caught:
        read(b"", 429, **{"Retry-After": value})
    assert caught.value.retry_after == (seconds and pytest.approx(seconds, abs=10))


def test_list_request():
    """The request for a list is the documented one as well."""
    request = list_spark_sessions_request(
        endpoint=ENDPOINT, spark_pool_name="etl", livy_api_version="2020-12-01", size=1
    )
    path = "livyApi/versions/2020-12-01/sparkPools/etl/sessions"
    assert request.url == f"{ENDPOINT}/{path}?from=0&size=1&detailed=false"
    read_spark_session_list(request, LivyResponse(200, {}, b'{"from": 0, "total": 0, "sessions": []}'))


def page(items, size=20, **fields):
    """Read a page with these items."""
    request = list_spark_sessions_request(
        endpoint=ENDPOINT, spark_pool_name="etl", livy_api_version="2020-12-01", start=40, size=size, detailed=True
    )
    assert request.url.endswith(f"/sessions?from=40&size={size}&detailed=true")
    answer = LivyResponse(200, {"x-ms-activity-id": "activity-1"}, samples.as_json({"sessions": items} | fields))
    return read_spark_session_list(request, answer)


def test_page():
    """A page gives the sessions that say all, by their ids; what is no session makes the others no less readable."""
    others = [samples.PLAIN, {"id": 1}, {"id": "x"}, None, 7, samples.session(id=2, jobType="SparkBatch")]
    found = page([samples.session(id=9), *others, samples.DEAD])
    read = {session_id: found.read(session_id) for session_id in found.items}
    assert {session_id: answer.session for session_id, answer in read.items() if answer} == {
        9: SparkSession.from_dict(samples.session(id=9)),
        12: SparkSession.from_dict(samples.DEAD),
    }
    assert {answer.activity_id for answer in read.values() if answer} == {"activity-1"}


def test_digest():
    """What tells a change is the same in a page as in a look at the session alone, and another for another state."""
    alone = read_spark_session(request_for(9), LivyResponse(200, {}, samples.as_json(samples.session(id=9))))
    assert page([samples.session(id=9)]).digest(9) == alone.digest
    assert page([samples.session(id=9, state="busy")]).digest(9) != alone.digest


@pytest.mark.parametrize(
    ("items", "fields", "is_last"),
    [(2, {"total": 2}, False), (2, {}, False), (1, {"total": 1}, True), (1, {}, True), (0, {"total": 2}, True)],
)
def test_last_page(items, fields, is_last):
    """The list goes on while a page is full; an empty one is the last, whatever it says."""
    assert page([samples.IDLE] * items, size=2, **fields).is_last is is_last


@pytest.mark.parametrize("body", [b"null", b"[]", b"{}", b'{"sessions": null}'])
def test_answers_that_are_no_list(body):
    """What is no list of sessions is an error."""
    request = list_spark_sessions_request(
        endpoint=ENDPOINT, spark_pool_name="etl", livy_api_version="2020-12-01", size=1
    )
    with pytest.raises(SynapseLivyResponseError, match="not a list of sessions"):
        read_spark_session_list(request, LivyResponse(200, {}, body))


def wrapped(cause: Exception) -> Exception:
    """Give an error as an HTTP library raises it, with the true cause two steps down."""
    inner, outer = OSError("inner"), RuntimeError("outer")
    inner.__context__ = cause
    outer.__cause__ = inner
    return outer


@pytest.mark.parametrize(
    ("cause", "error", "words"),
    [
        (ssl.SSLCertVerificationError(1, "x"), SynapseLivyConfigurationError, "certificate of .* not trusted.*verify"),
        (socket.gaierror(-2, "x"), SynapseLivyUnavailableError, "can't be resolved"),
        (TimeoutError("x"), SynapseLivyUnavailableError, "did not answer in time"),
        (ConnectionRefusedError("x"), SynapseLivyUnavailableError, "refused the connection"),
        (ConnectionResetError("x"), SynapseLivyUnavailableError, "broke the connection off"),
        (ValueError("x"), SynapseLivyUnavailableError, "broke the connection off"),
    ],
    ids=repr,
)
def test_broken_connections(cause, error, words):
    """A connection that breaks may mend, and is tried again, but for a certificate that is not trusted."""
    caught = connection_error("Spark session 12 in pool etl", f"{ENDPOINT}/livyApi", wrapped(cause))
    assert type(caught) is error
    assert str(caught).startswith("Spark session 12 in pool etl: ")
    assert f"{ENDPOINT} " in str(caught).replace(":", " ").replace("https ", "https:")
    with pytest.raises(error, match=words):
        raise caught


@given(pool=st.one_of(st.text(), st.text("./%\\?#2eEfF;@: \n\ud800")), version=st.text("./%?#2eE-"))
def test_no_path_part_escapes(pool, version):
    """Whatever is given as pool and version stays one part of the path each, in the eyes of both HTTP libraries."""
    try:
        url = spark_session_request(
            endpoint=ENDPOINT, spark_pool_name=pool, livy_api_version=version, session_id=12
        ).url
    except SynapseLivyConfigurationError:
        return
    sent = [str(requests.Request("GET", url).prepare().url), str(URL(url))]
    for parts in map(urlsplit, sent):
        assert f"{parts.scheme}://{parts.netloc}" == ENDPOINT
        assert [unquote(part) for part in parts.path.split("/")] == [
            "", "livyApi", "versions", version, "sparkPools", pool, "sessions", "12"
        ]  # fmt: skip
        assert parts.query == "detailed=true"
        assert not parts.fragment
