"""Reading responses: a record, a page of a list, an error body in all its shapes, ``Retry-After``."""

from __future__ import annotations

import gzip
import json
import re
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from airflow_provider_synapse_livy.livy.errors import (
    SparkSessionNotFoundError,
    SynapseLivyAuthenticationError,
    SynapseLivyPermissionError,
    SynapseLivyResponseError,
    SynapseLivyUnavailableError,
)
from airflow_provider_synapse_livy.livy.requests import Pool
from airflow_provider_synapse_livy.livy.resources import SPARK_SESSION
from airflow_provider_synapse_livy.livy.responses import MAX_BODY_BYTES, LivyResponse, one_line
from airflow_provider_synapse_livy.livy.retry_after import retry_after
from airflow_provider_synapse_livy.models import SparkSession
from tests.support import sample_sessions as samples

POOL = Pool("https://ws.dev.azuresynapse.net", "etl")
ACTIVITY_ID = "0f0e0d0c-0b0a-0908-0706-050403020100"
IDLE = samples.as_json(samples.IDLE)
GZIP = gzip.compress(IDLE, mtime=0)


def read(body, status=200, **headers):
    """Read a response to the request for session 12."""
    raw = body if isinstance(body, bytes) else samples.as_json(body)
    response = LivyResponse(status, {"X-MS-Activity-Id": ACTIVITY_ID} | headers, raw)
    return SPARK_SESSION.get(POOL, 12).read(response)


def page(body, *, size=20, **headers):
    """Read a response to the request for a page of the list."""
    raw = body if isinstance(body, bytes) else samples.as_json(body)
    response = LivyResponse(200, {"x-ms-activity-id": ACTIVITY_ID} | headers, raw)
    return SPARK_SESSION.page(POOL, start=40, size=size).read(response)


def test_record():
    """The response gives the session, and the id under which Microsoft's support finds the request."""
    session, activity_id, _ = read(samples.IDLE)
    assert (session.id, session.state, activity_id) == (12, "idle", ACTIVITY_ID)
    assert session == SparkSession.from_dict(samples.IDLE)


def test_plain_record():
    """The plain form is a session too."""
    assert read(samples.PLAIN).record.result is None


def test_record_without_activity_id():
    """A response that names no activity id has none, and its errors have no such line."""
    request = SPARK_SESSION.get(POOL, 12)
    assert request.read(LivyResponse(200, {}, IDLE)).activity_id is None
    with pytest.raises(SparkSessionNotFoundError) as caught:
        request.read(LivyResponse(404, {}, b""))
    assert caught.value.activity_id is None
    assert "ctivity id" not in str(caught.value)


NESTED = {"error": {"code": "Unauthorized", "message": "The principal lacks the permission."}}
TRACE = {"TraceId": "x", "Message": "The HTTP status code of the response was not expected (400)."}
STACK_TRACE = {"error": {"code": "UnknownError", "message": json.dumps({"ExceptionDetail": "at Foo.Bar()\r\n" * 400})}}
AUDIENCE = {"code": "InvalidTokenAuthenticationAudience", "message": "Audience validation failed."}
FIREWALL = {"code": "ClientIpAddressNotAuthorized", "message": "Client Ip address : 192.0.2.1"}
EMPTY = "The body is empty."


@pytest.mark.parametrize(
    ("status", "body", "error", "code", "words"),
    [
        pytest.param(
            400, TRACE, SynapseLivyResponseError, None, "livy_api_version.*Synapse says: .*not expected .400.", id="400"
        ),
        pytest.param(
            401,
            AUDIENCE,
            SynapseLivyAuthenticationError,
            "InvalidTokenAuthenticationAudience",
            "tenant and cloud.*Synapse says: Audience validation failed.",
            id="401 audience",
        ),
        pytest.param(
            403,
            NESTED,
            SynapseLivyPermissionError,
            "Unauthorized",
            "Synapse Compute Operator.*Synapse says: The principal lacks the permission.",
            id="403 role",
        ),
        pytest.param(
            403,
            FIREWALL,
            SynapseLivyPermissionError,
            "ClientIpAddressNotAuthorized",
            "firewall.*Synapse says: Client Ip address : 192.0.2.1",
            id="403 firewall",
        ),
        pytest.param(
            404,
            {"code": "NotFound", "message": "gone"},
            SparkSessionNotFoundError,
            "NotFound",
            "Synapse says: gone",
            id="404 flat",
        ),
        pytest.param(
            404,
            {"error": {"code": "NotFound", "message": "gone"}},
            SparkSessionNotFoundError,
            "NotFound",
            "Synapse says: gone",
            id="404 nested",
        ),
        pytest.param(
            404,
            {"code": "NotFound", "message": "gone", "error": None},
            SparkSessionNotFoundError,
            "NotFound",
            "Synapse says: gone",
            id="404 null error",
        ),
        pytest.param(
            404,
            {"code": 404, "error": "gone"},
            SparkSessionNotFoundError,
            "404",
            "Synapse says: gone",
            id="404 error in a string",
        ),
        pytest.param(
            404,
            {"Error": {"CODE": "X", "Message": "gone"}},
            SparkSessionNotFoundError,
            "X",
            "Synapse says: gone",
            id="404 other case",
        ),
        pytest.param(408, b"", SynapseLivyUnavailableError, None, EMPTY, id="408"),
        pytest.param(
            429,
            b"Your request has hit the limit",
            SynapseLivyUnavailableError,
            None,
            "The body begins: Your request has hit the limit",
            id="429",
        ),
        pytest.param(500, STACK_TRACE, SynapseLivyUnavailableError, "UnknownError", "ExceptionDetail", id="500"),
        pytest.param(
            502,
            b"<!doctype html><title>Bad\n Gateway</title>",
            SynapseLivyUnavailableError,
            None,
            "The body is an HTML page, 'Bad Gateway'.",
            id="502 HTML",
        ),
        pytest.param(
            503, b"<html></html>", SynapseLivyUnavailableError, None, "The body is an HTML page.", id="503 HTML"
        ),
        pytest.param(504, b"\xff\xfe", SynapseLivyUnavailableError, None, "The body begins: \ufffd", id="504 no UTF-8"),
        pytest.param(500, b'"just text"', SynapseLivyUnavailableError, None, 'begins: "just text"', id="500 string"),
        pytest.param(500, b"[1, 2]", SynapseLivyUnavailableError, None, r"begins: \[1, 2\]", id="500 list"),
        pytest.param(500, b'{"error": 5, "message": null}', SynapseLivyUnavailableError, None, "says: 5", id="500 odd"),
        pytest.param(409, b"{}", SynapseLivyUnavailableError, None, "what changes the pool", id="409"),
        pytest.param(423, b"{}", SynapseLivyUnavailableError, None, "who locked the pool", id="423"),
        pytest.param(430, b"{}", SynapseLivyUnavailableError, None, "limits are reached", id="430"),
        pytest.param(204, b"", SynapseLivyResponseError, None, EMPTY, id="204"),
        pytest.param(418, b"short and stout", SynapseLivyResponseError, None, "short and stout", id="unknown status"),
    ],
)
def test_errors(status, body, error, code, words):
    """Whatever shape an error has, the message has the subject, the status, a fix, and the service's own words."""
    with pytest.raises(
        error, match=rf"(?s)^Spark session 12 in pool etl: Synapse answered {status}.*{words}"
    ) as caught:
        read(body, status)
    assert (caught.value.status, caught.value.code, caught.value.activity_id) == (status, code, ACTIVITY_ID)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"Spark session 12 in pool etl: Synapse answered {status}{f' ({code})' if code else ''}."
    assert lines[1].startswith("Fix: ")
    assert lines[-1] == f"Activity id: {ACTIVITY_ID}"
    assert len(lines) <= 4
    assert len(str(caught.value)) < 1000


def test_bodies_of_errors_are_decompressed():
    """The words of an error are read from a compressed body, and one that is damaged does not hide the status."""
    with pytest.raises(SparkSessionNotFoundError, match="Synapse says: gone"):
        read(gzip.compress(b'{"message": "gone"}'), 404, **{"Content-Encoding": "gzip"})
    with pytest.raises(SparkSessionNotFoundError, match="The body can't be decompressed: it is not gzip"):
        read(b"no gzip", 404, **{"Content-Encoding": "gzip"})


def test_redirects_are_errors():
    """A redirect is named, and not followed, since it would carry the token along."""
    words = "answered 302(?s:.*)It redirects to https://elsewhere.example/x+"
    with pytest.raises(SynapseLivyResponseError, match=words) as caught:
        read(b"", 302, location="https://elsewhere.example/" + "x" * 10_000)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("body", "problem", "evidence"),
    [
        pytest.param(b"<html><title>Log in</title>", "is not JSON", "The body is an HTML page, 'Log in'.", id="HTML"),
        pytest.param(b'{"id": NaN}', "is not JSON", "The parser says: ", id="NaN"),
        pytest.param(b"idle", "is not JSON", "The body begins: idle", id="text"),
        pytest.param(b"503 Service Unavailable", "is not JSON", "begins: 503 Service", id="text that begins like JSON"),
        pytest.param(b"null", "is not a Spark session", "It is not a JSON object.", id="null"),
        pytest.param(b"[]", "is not a Spark session", "It is not a JSON object.", id="list"),
        pytest.param(b'"x"', "is not a Spark session", "It is not a JSON object.", id="string"),
        pytest.param(b'{"id": "x", "state": 1}', "has another form", "Wrong fields: id, state.", id="wrong types"),
        pytest.param(
            samples.as_json(samples.session(id=13)), "is about Spark session 13 instead", "", id="another one"
        ),
        pytest.param(
            samples.as_json(samples.session(jobType="SparkBatch")), "describes a Spark batch job", "", id="batch"
        ),
    ],
)
def test_responses_that_are_not_the_record(body, problem, evidence):
    """A 200 without the session that was asked for is an error that says what came instead, and never a session."""
    with pytest.raises(SynapseLivyResponseError, match=f"(?s)Synapse's response 200 {problem}.*{evidence}") as caught:
        read(body)
    assert (caught.value.status, caught.value.activity_id) == (200, ACTIVITY_ID)
    assert caught.value.may_have_been_processed


@pytest.mark.parametrize("encoding", [None, "gzip", "x-gzip", " GZip"])
def test_decompression(encoding):
    """A gzip body is decompressed, whatever the letter case of its encoding, and no other was asked for."""
    body = gzip.compress(IDLE) if encoding else IDLE
    assert read(body, **({"content-encoding": encoding} if encoding else {})).record.state == "idle"
    with pytest.raises(SynapseLivyResponseError, match="is not JSON"):
        read(gzip.compress(IDLE), **{"content-encoding": "br"})


def test_byte_order_marks():
    """A UTF-8 byte order mark before the JSON is passed over, for a record, a page and an error."""
    mark = b"\xef\xbb\xbf"
    assert read(mark + IDLE).record.state == "idle"
    assert page(mark + samples.as_json({"sessions": [samples.IDLE]})).read(12).record.state == "idle"
    with pytest.raises(SparkSessionNotFoundError, match="Synapse says: gone"):
        read(mark + b'{"message": "gone"}', 404)


@pytest.mark.parametrize("length", [0, 1, 2, 700, len(IDLE) - 1])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_truncated_responses(mark, length):
    """A response that ends too early may come whole the next time, so it is retried."""
    with pytest.raises(SynapseLivyUnavailableError, match=r"Synapse's response 200 ended too early\.\nFix: ") as caught:
        read(mark + IDLE[:length])
    assert (caught.value.status, caught.value.activity_id) == (200, ACTIVITY_ID)
    assert caught.value.may_have_been_processed


@pytest.mark.parametrize(
    "body",
    [GZIP[:-9], GZIP[:-100], GZIP[:5], b"", b"no gzip"],
    ids=["without its end", "without 100 bytes", "5 bytes", "nothing", "garbage"],
)
def test_truncated_gzip(body):
    """Gzip that has no end, or is damaged, counts as a response that ended too early."""
    with pytest.raises(SynapseLivyUnavailableError, match="ended too early"):
        read(body, **{"Content-Encoding": "gzip"})


@pytest.mark.parametrize("compress", [False, True])
def test_bodies_that_are_too_large(compress):
    """A body of more than 4 MB is an error, compressed or not, and one of just 4 MB is read."""
    assert MAX_BODY_BYTES == 4 * 1024 * 1024
    for padding, is_read in ((0, True), (1, False)):
        body = b" " * (MAX_BODY_BYTES - len(IDLE) + padding) + IDLE
        headers = {"Content-Encoding": "gzip"} if compress else {}
        raw = gzip.compress(body, 1) if compress else body
        if is_read:
            assert read(raw, **headers).record.id == 12
            continue
        with pytest.raises(SynapseLivyResponseError, match="has more than 4 MB"):
            read(raw, **headers)
        with pytest.raises(SynapseLivyResponseError, match="has more than 4 MB"):
            page(raw, **headers)


def test_decompression_is_bounded():
    """A small body that would decompress to a huge one is decompressed up to the limit and no further."""
    bomb = gzip.compress(b"\0" * (MAX_BODY_BYTES * 8), 9)
    assert len(bomb) < 100_000
    assert len(LivyResponse(200, {"Content-Encoding": "gzip"}, bomb).decompressed()) == MAX_BODY_BYTES + 1


NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def http_date(**after):
    """Return a date that is so long after the one in the response's ``Date`` header."""
    return format_datetime(NOW + timedelta(**after), usegmt=True)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "1"}, 1),
        ({"Retry-After": "120"}, 120),
        ({"retry-after": " 120 "}, 120),
        ({"Retry-After": "2.5"}, 2.5),
        ({"Retry-After": "0.25"}, 0.25),
        ({"Retry-After": http_date(minutes=1)}, 60),
        ({"Retry-After": http_date(hours=-1)}, None),
        ({"Retry-After": "0"}, None),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "1e3"}, None),
        ({"Retry-After": "5 s"}, None),
        ({"Retry-After": "٣"}, None),
        ({"Retry-After": "inf"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": ""}, None),
        ({"Retry-After": "Wed, 99 Foo 2025"}, None),
        ({"Retry-After": "604800"}, 604800),
        ({"Retry-After": "604801"}, None),
        ({"Retry-After": "9" * 400}, None),
        ({"Retry-After": http_date(days=8)}, None),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"x-ms-retry-after-ms": "250"}, 0.25),
        ({"X-MS-Retry-After-MS": "250.5"}, 0.2505),
        ({"x-ms-retry-after-ms": "1500", "Retry-After": "2"}, 1.5),
        ({"retry-after-ms": "900", "x-ms-retry-after-ms": "1500"}, 0.9),
        ({"retry-after-ms": "0", "Retry-After": "2"}, 2),
        ({"retry-after-ms": "nonsense", "x-ms-retry-after-ms": "-1", "Retry-After": "2"}, 2),
        ({}, None),
    ],
    ids=str,
)
def test_retry_after(headers, seconds):
    """Each header and form is understood; what is past, nonsense or beyond a week counts as not asked."""
    response = LivyResponse(429, {"Date": http_date()} | headers, b"")
    assert retry_after(response) == (seconds and pytest.approx(seconds))
    with pytest.raises(SynapseLivyUnavailableError) as caught:
        SPARK_SESSION.get(POOL, 12).read(response)
    assert caught.value.retry_after == retry_after(response)


@pytest.mark.parametrize("date", [None, "nonsense", ""])
def test_retry_after_by_our_own_clock(date):
    """Where the service does not show its clock, a date is compared with ours."""
    later = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    headers = {"Retry-After": later} | ({} if date is None else {"Date": date})
    assert retry_after(LivyResponse(503, headers, b"")) == pytest.approx(3600, abs=60)


def test_errors_that_last_have_no_retry_after():
    """An error that will be the same again does not say when to come back, even if the response does."""
    with pytest.raises(SparkSessionNotFoundError) as caught:
        read(b"", 404, **{"Retry-After": "5"})
    assert not hasattr(caught.value, "retry_after")


def test_page():
    """A page gives the complete records by their ids; what is not a record makes the others no less readable."""
    others = [samples.PLAIN, {"id": 1}, {"id": "x"}, None, 7, samples.session(id=2, jobType="SparkBatch")]
    found = page({"sessions": [samples.session(id=9), *others, samples.DEAD]})
    snapshots = {session_id: found.read(session_id) for session_id in found.items}
    assert {session_id: snapshot.record for session_id, snapshot in snapshots.items() if snapshot} == {
        9: SparkSession.from_dict(samples.session(id=9)),
        12: SparkSession.from_dict(samples.DEAD),
    }
    assert {snapshot.activity_id for snapshot in snapshots.values() if snapshot} == {ACTIVITY_ID}


@pytest.mark.parametrize("value", ["NaN", "1e999", "18446744073709551616"])
def test_items_that_cannot_be_stored(value):
    """An item with a number that can't be stored is not read from the list; the others are."""
    odd = samples.as_json(samples.session(id=9, novelty="X")).replace(b'"X"', value.encode())
    found = page(b'{"sessions": [%s, %s]}' % (odd, IDLE))
    assert found.read(9) is None
    assert found.read(12).record.state == "idle"


def test_digest():
    """The digest of a record is the same in a page as in a response of its own, and changes with the record."""
    alone = SPARK_SESSION.get(POOL, 9).read(LivyResponse(200, {}, samples.as_json(samples.session(id=9))))
    assert page({"sessions": [samples.session(id=9)]}).digest(9) == alone.digest
    assert page({"sessions": [samples.session(id=9)]}).read(9).digest == alone.digest
    assert page({"sessions": [samples.session(id=9, state="busy")]}).digest(9) != alone.digest


@pytest.mark.parametrize(
    ("items", "fields", "is_last"),
    [
        (2, {"total": 2}, False),
        (2, {}, False),
        (2, {"total": None}, False),
        (1, {"total": 1}, True),
        (1, {}, True),
        (0, {"total": 2}, True),
    ],
)
def test_last_page(items, fields, is_last):
    """The list goes on while a page is full; an empty one is the last, whatever it says."""
    assert page({"sessions": [samples.IDLE] * items} | fields, size=2).is_last is is_last


@pytest.mark.parametrize("body", [b"", b'{"sessions": [', b'{"sessions": [{"code": "secret'])
def test_truncated_lists(body):
    """A list that ends too early may come whole the next time, so it is retried, as a record is."""
    with pytest.raises(SynapseLivyUnavailableError, match="Synapse's response 200 ended too early"):
        page(body)


@pytest.mark.parametrize(
    "body", [b'{"code" "s3cr3t"}', b'\xef\xbb\xbf [{"code": "s3cr3t"},]', b'{"code": "s3cr3t", NaN}']
)
@pytest.mark.parametrize("reader", [read, page])
def test_code_is_not_quoted(reader, body):
    """What begins like JSON, and can't be read, is not quoted: it may hold the code of any task."""
    with pytest.raises(SynapseLivyResponseError, match="The body begins like JSON") as caught:
        reader(body)
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        b"null",
        b"[]",
        b"{}",
        b"5",
        b'{"sessions": null}',
        b'{"sessions": 5}',
        b'{"sessions": "none"}',
        b'{"sessions": {"12": {"id": 12}}}',
        b"<html>",
    ],
)
def test_responses_that_are_not_a_list(body):
    """What is not a list of sessions is an error, and never an empty list."""
    with pytest.raises(
        SynapseLivyResponseError, match="^The list of .* pool etl: Synapse's response 200 is not a list"
    ):
        page(body)


def test_missing_pools():
    """For the list, 404 means that the workspace has no such pool."""
    with pytest.raises(
        SparkSessionNotFoundError, match="^The list of Spark sessions in pool etl: Synapse answered 404"
    ):
        SPARK_SESSION.page(POOL).read(LivyResponse(404, {}, b""))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a\r\n  b\tc", "a b c"),
        ("\x00a\x1b[31mb\x7f", "a [31mb"),
        ("x" * 401, "x" * 400 + "..."),
        ("x" * 400, "x" * 400),
    ],
)
def test_one_line(text, line):
    """A quoted text is one line without control characters, and is cut if it is too long."""
    assert one_line(text) == line


def test_headers():
    """A header's name may have any letter case, and its value becomes a short line that can be stored."""
    response = LivyResponse(200, {"X-Ms-Activity-Id": "a\x00b\udcff" + "c" * 1000}, b"")
    assert re.fullmatch(r"a b\?c+\.\.\.", response.activity_id)
    assert len(response.activity_id) < 500
    assert response.header("location") is None


@pytest.mark.parametrize(("value", "words"), [("5000", "It asks to wait 5000 s."), ("1.5", "It asks to wait 1.5 s.")])
def test_pause_that_is_asked_for_is_told(value, words):
    """A refusal that asks to wait tells for how long, and that only a longer timeout of the task allows it."""
    response = LivyResponse(503, {"Retry-After": value}, b"")
    with pytest.raises(SynapseLivyUnavailableError) as caught:
        SPARK_SESSION.get(Pool("https://ws", "etl"), 12).read(response)
    assert f"\n{words} A task that waits does so for as long as its timeout allows." in str(caught.value)
    assert caught.value.event == "Spark session 12 in pool etl: Synapse answered 503"
