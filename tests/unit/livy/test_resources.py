"""What there is to ask Livy for: ids, the requests for one record and for a page of the list."""

from __future__ import annotations

import dataclasses

import pytest

from airflow_provider_synapse_livy.livy.errors import (
    InvalidIdError,
    SparkSessionNotFoundError,
    SynapseLivyConfigurationError,
)
from airflow_provider_synapse_livy.livy.requests import Pool
from airflow_provider_synapse_livy.livy.resources import (
    MAX_PAGE_SIZE,
    SPARK_SESSION,
    SPARK_STATEMENT,
    Listing,
    pool_name,
    validated_id,
)
from airflow_provider_synapse_livy.livy.responses import LivyResponse
from airflow_provider_synapse_livy.models import SparkSession
from tests.support import sample_sessions as samples

POOL = Pool("https://ws.dev.azuresynapse.net", "etl")
SESSIONS = f"{POOL.url}/sessions"

#: A resource below another, whose list has one page alone, and that the service describes in one way only.
STATEMENT = dataclasses.replace(
    SPARK_SESSION,
    noun="statement",
    title="Statement {1} of Spark session {0}",
    path="sessions/{}/statements/{}",
    listing=Listing("sessions/{}/statements", "statements", lambda _: True, page_size=None),
    has_details=False,
)


@pytest.mark.parametrize("given", [0, 12, "0", "12", " 12\n", "007", 2**31 - 1])
def test_ids(given):
    """A whole number is an id, 0 too, and so is one in digits, as templates render it; or a record's dict has it."""
    assert validated_id(given, "Spark session") == int(given)
    assert validated_id({"id": given}, "Spark session") == int(given)


@pytest.mark.parametrize(
    ("given", "cause"),
    [
        (None, "rendered to nothing"),
        ("None", "rendered to nothing"),
        ("", "rendered to nothing"),
        (True, "whole number that the service returned"),
        (False, "whole number that the service returned"),
        (1.5, "whole number that the service returned"),
        (12.0, "whole number that the service returned"),
        (-1, "was not created"),
        ("-1", "was not created"),
        (2**31, "too large"),
        (str(2**31), "too large"),
        ("9" * 50, "too large"),
        ("1; DROP", "digits only"),
        ("1/../2", "digits only"),
        ("٣", "digits only"),
        ("{{ ti.xcom_pull('create') }}", "not rendered"),
        ({"id": None}, "rendered to nothing"),
        ({"state": "idle"}, "rendered to nothing"),
        (str({"id": 12}), "by .output of the task"),
        ([12], "expand"),
        ((12,), "expand"),
        ({12}, "expand"),
        (b"12", "digits only"),
        ("x" * 10_000, "digits only"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_is_not_an_id(given, cause):
    """Anything else is refused before any request, and the message names the likely cause."""
    with pytest.raises(InvalidIdError, match=f"is not the id of a Spark session.\nFix: .*{cause}") as caught:
        SPARK_SESSION.get(POOL, given)
    assert len(str(caught.value)) < 1000


def test_request_for_a_session():
    """The address of a session is the documented one, and messages name it by its id and pool."""
    request = SPARK_SESSION.get(POOL, 12)
    assert request.url == f"{SESSIONS}/12?detailed=true"
    assert request.subject == "Spark session 12 in pool etl"
    assert SPARK_SESSION.get(POOL, "12", detailed=False).url == f"{SESSIONS}/12?detailed=false"


def test_request_for_a_page():
    """The address of a page is the documented one, with at most as many items as a page may have."""
    page = SPARK_SESSION.page(POOL, start=40, size=1, detailed=False)
    assert page.url == f"{SESSIONS}?from=40&size=1&detailed=false"
    assert page.subject == "The list of Spark sessions in pool etl"
    assert SPARK_SESSION.page(POOL).url == f"{SESSIONS}?from=0&size={MAX_PAGE_SIZE}&detailed=true"
    assert MAX_PAGE_SIZE == 20


def test_subject_of_statements():
    """What is said of a session's list of statements, or of a new one, names the session."""
    assert SPARK_STATEMENT.page(POOL, 3).subject == "The list of statements of Spark session 3 in pool etl"
    assert SPARK_STATEMENT.create(POOL, 3, body={}).subject == "New statement of Spark session 3 in pool etl"


def test_request_that_creates():
    """A creation is sent once, brings its body as JSON, and waits for its response for a minute."""
    request = SPARK_SESSION.create(POOL, body={"name": "ä"})
    assert (request.method, request.url, request.body) == ("POST", f"{SESSIONS}?detailed=true", b'{"name": "\\u00e4"}')
    assert (request.is_idempotent, request.min_timeout) == (False, 60.0)
    assert request.subject == "New Spark session in pool etl"


@pytest.mark.parametrize(
    ("build", "method", "path"),
    [(SPARK_SESSION.cancel, "DELETE", "/12"), (SPARK_SESSION.reset_timeout, "PUT", "/12/reset-timeout")],
)
def test_requests_that_change_a_session(build, method, path):
    """A cancellation and a reset of the idle timeout may be sent twice, and their responses need no body."""
    request = build(POOL, 12)
    assert (request.method, request.url, request.is_idempotent) == (method, SESSIONS + path, True)
    assert request.read(LivyResponse(200, {}, b"")) is None
    with pytest.raises(SparkSessionNotFoundError, match="Spark session 12 in pool etl: Synapse answered 404"):
        request.read(LivyResponse(404, {}, b""))


@pytest.mark.parametrize(
    ("given", "ids", "pool"),
    [
        (None, [12, {"id": 3, "sparkPoolName": "ml"}], "ml"),
        ("ml", [{"id": 3, "sparkPoolName": "ML"}], "ml"),
        ("etl", [12, {"id": 3}], "etl"),
        (None, [12, "3", {"id": 3}, {"sparkPoolName": None}, None], None),
        ("", [{"id": 3, "sparkPoolName": "ml"}], ""),
        (" ", [12], " "),
        (5, [{"id": 3, "sparkPoolName": "ml"}], 5),
    ],
)
def test_pool_that_a_session_names(given, ids, pool):
    """A session that is given as an id names its pool as well, unless one is told, even one that will be refused."""
    assert pool_name(given, ids) == pool


def test_requests_for_what_stands_below_another():
    """A record below another has both ids in its address, and its list may have one page alone."""
    request = STATEMENT.get(POOL, 12, 3)
    assert (request.url, request.subject) == (
        f"{SESSIONS}/12/statements/3",
        "Statement 3 of Spark session 12 in pool etl",
    )
    assert STATEMENT.page(POOL, 12).url == f"{SESSIONS}/12/statements"


def test_ids_of_all_levels_are_validated():
    """Each id that leads to a record is checked, not only its own."""
    with pytest.raises(InvalidIdError, match="'../1' is not the id of a statement"):
        STATEMENT.get(POOL, "../1", 3)


def test_resource_without_a_list():
    """Asking for a page of what has no list is an error of the caller's."""
    with pytest.raises(ValueError, match="no list of Spark sessions"):
        dataclasses.replace(SPARK_SESSION, listing=None).page(POOL)


def test_pools_that_cannot_stand_in_a_path_have_no_requests():
    """A request for a page checks the pool's name as well as one for a record does."""
    for build in (lambda pool: SPARK_SESSION.get(pool, 1), SPARK_SESSION.page):
        with pytest.raises(SynapseLivyConfigurationError, match="spark_pool_name"):
            build(Pool(POOL.endpoint, ".."))


def test_subjects_are_one_short_line():
    """A pool's name that holds line breaks or has no end does not spoil the first line of messages."""
    subject = SPARK_SESSION.get(Pool(POOL.endpoint, "a\r\nHost: " + "x" * 1000), 12).subject
    assert subject.startswith("Spark session 12 in pool a Host: xxx")
    assert len(subject) < 100


@pytest.mark.parametrize(
    ("body", "is_complete"),
    [
        (samples.NOT_STARTED, True),
        (samples.IDLE, True),
        (samples.settling("dead"), True),
        (samples.KILLED, True),
        (samples.DEAD, True),
        (samples.DEAD | {"errorInfo": None}, False),
        (samples.DEAD | {"errorInfo": []}, False),
        (samples.PLAIN, False),
        (samples.session(state=None), False),
        (samples.session(result=None), False),
        (samples.session(schedulerInfo=None), False),
        (samples.session(pluginInfo=None), False),
        (samples.session(jobType="SparkBatch"), False),
    ],
)
def test_when_an_item_of_a_list_is_complete(body, is_complete):
    """An item that lacks state, result, scheduler, plugin or the errors of a failure can't stand for the record."""
    assert SPARK_SESSION.listing.is_complete(SparkSession.from_dict(body)) is is_complete


def test_requests_read_their_responses():
    """A request reads the response to it: for one record, and for a page of the list."""
    snapshot = SPARK_SESSION.get(POOL, 12).read(LivyResponse(200, {}, samples.as_json(samples.IDLE)))
    assert snapshot.record == SparkSession.from_dict(samples.IDLE)
    page = SPARK_SESSION.page(POOL).read(LivyResponse(200, {}, samples.as_json({"sessions": [samples.IDLE]})))
    assert page.read(12).record == snapshot.record
