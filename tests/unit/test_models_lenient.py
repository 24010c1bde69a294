"""Fields of another type than documented: kept where nothing depends on them, refused where a wait's end does."""

from __future__ import annotations

import json
import logging
import warnings

import pytest

from airflow_provider_synapse_livy.exceptions import InvalidIdError, SparkSessionNotFoundError, SynapseLivyResponseError
from airflow_provider_synapse_livy.links import session_links
from airflow_provider_synapse_livy.livy import documented
from airflow_provider_synapse_livy.livy.requests import Pool
from airflow_provider_synapse_livy.livy.resources import SPARK_SESSION, validated_id
from airflow_provider_synapse_livy.livy.responses import LivyResponse
from airflow_provider_synapse_livy.models import SparkSession
from tests.support import sample_sessions as samples
from tests.support.connections import connection

READ = SPARK_SESSION.get(Pool("https://ws.dev.azuresynapse.net", "etl"), 12).read

#: Values of every JSON type; each documented type refuses some of them.
VALUES = [5, 0.5, 2.0, "2", True, [], [1, None], ["a", None, 1], {}, {"a": [None, 1e3]}, [{"message": 5}, "x"]]


@pytest.fixture(autouse=True)
def _nothing_logged_yet(monkeypatch):
    """Begin each test as a new process does."""
    monkeypatch.setattr(documented, "_logged", set())


def request_of(**fields):
    """Return a session whose request for creation has these fields."""
    return samples.session(livyInfo={"jobCreationRequest": fields})


def read(body):
    """Return the session that a response to the request for session 12 holds."""
    return READ(LivyResponse(200, {"x-ms-activity-id": "activity-1"}, json.dumps(body).encode())).record


@pytest.mark.parametrize(
    ("body", "logged"),
    [
        pytest.param(samples.session(tags=[]), "SparkSession.tags", id="tags"),
        pytest.param(samples.session(artifactId=5), "SparkSession.artifactId", id="artifactId"),
        pytest.param(request_of(driverCores=0.5), "SparkRequest.driverCores", id="driverCores"),
        pytest.param(request_of(driverCores=4.0), "SparkRequest.driverCores", id="a whole number with a point"),
        pytest.param(request_of(driverCores=True), "SparkRequest.driverCores", id="a boolean"),
        pytest.param(request_of(numExecutors="2"), "SparkRequest.numExecutors", id="numExecutors"),
        pytest.param(request_of(args=[1, None]), "SparkRequest.args", id="args"),
        pytest.param(samples.session(livyInfo=[]), "SparkSession.livyInfo", id="livyInfo"),
        pytest.param(samples.session(pluginInfo="x"), "SparkSession.pluginInfo", id="pluginInfo"),
        pytest.param(samples.session(log="all in one"), "SparkSession.log", id="log"),
        pytest.param(samples.session(errorInfo={"code": 5}), "SparkSession.errorInfo", id="errorInfo"),
        pytest.param(samples.session(jobType=[1]), "SparkSession.jobType", id="jobType"),
        pytest.param(
            samples.session(schedulerInfo=samples.scheduler(currentState=5)), "SparkScheduler.currentState", id="enum"
        ),
    ],
)
def test_other_type_is_kept(body, logged, caplog):
    """A value of another type than documented is given back as it came, and its field is logged."""
    session = read(body)
    written = session.to_dict()
    assert {name: written[name] for name in body if name != "livyInfo"} == {
        name: value for name, value in body.items() if name != "livyInfo"
    }
    if isinstance(asked := (body["livyInfo"] or {"jobCreationRequest": None}), dict) and asked["jobCreationRequest"]:
        kept = written["livyInfo"]["jobCreationRequest"]
        for name, value in asked["jobCreationRequest"].items():
            assert (kept[name], type(kept[name])) == (value, type(value))
    assert SparkSession.from_dict(json.loads(json.dumps(written))) == session
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [logged]


@pytest.mark.parametrize("value", VALUES, ids=repr)
@pytest.mark.parametrize(
    "name", sorted(set(samples.IDLE) - {"id", "state", "result", "schedulerInfo", "appInfo", "registeredSources"})
)
def test_no_other_field_ends_a_wait(name, value):
    """Whatever type a field has that no decision depends on, the session can be read, written and described."""
    session = read(samples.DEAD | {name: value})
    assert json.loads(json.dumps(session.to_dict())) == session.to_dict()
    assert all(isinstance(line, str) for line in session.details())
    assert all(isinstance(text, str) for text in (str(session), session.phase, session.ending))
    assert len(session.durations()) <= 4
    assert session.is_finished


@pytest.mark.parametrize("value", VALUES, ids=repr)
@pytest.mark.parametrize(
    ("info", "name"),
    [
        *(("pluginInfo", name) for name in samples.plugin()),
        *(("schedulerInfo", name) for name in samples.scheduler() if name != "cancellationRequestedAt"),
        ("livyInfo", "currentState"),
    ],
)
def test_no_other_field_below_ends_a_wait(info, name, value):
    """The same goes for the fields of the parts: a time that is none only leaves a duration out."""
    session = read(samples.ACQUIRING | {info: (samples.ACQUIRING[info] or {}) | {name: value}})
    assert session.to_dict()[info][name] == value
    assert isinstance(session.phase, str)
    assert all(isinstance(line, str) for line in session.details())
    assert len(session.durations()) <= 4


def test_writing_does_not_warn():
    """A kept value is no surprise to pydantic either, whichever way the session is written."""
    session = read(request_of(driverCores="4", args="x"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert session.model_dump()["livy_info"]["job_creation_request"]["driver_cores"] == "4"
        assert '"driverCores":"4"' in session.model_dump_json(by_alias=True)


def test_field_is_logged_once(caplog):
    """However often a field has another type, a process logs it once; another field is logged as well."""
    for _ in range(3):
        read(samples.session(tags=[]))
        read(samples.session(tags=5, artifactId=5))
    fields = [record.getMessage().split(":")[0] for record in caplog.records]
    assert fields == ["SparkSession.tags", "SparkSession.artifactId"]
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


def test_log_does_not_quote_the_value(caplog):
    """The log names the field and the type, not the value, which may be a secret of a job."""
    read(request_of(conf="s3cr3t-value"))
    assert "SparkRequest.conf" in caplog.text
    assert "(str)" in caplog.text
    assert "s3cr3t-value" not in caplog.text


@pytest.mark.parametrize("body", samples.SESSIONS.values(), ids=samples.SESSIONS)
def test_documented_responses_log_nothing(body, caplog):
    """What the service sends today has the documented types, unknown names and fields included."""
    SparkSession.from_dict(body)
    assert caplog.records == []


def test_what_is_no_json_is_refused():
    """A field may hold any JSON value, and nothing else, since the session goes to XCom."""
    with pytest.raises(ValueError, match="name"):
        SparkSession.from_dict({"id": 1, "name": object()})


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"id": "12"}, "id"),
        ({"id": 12.0}, "id"),
        ({"id": True}, "id"),
        ({"id": None}, "id"),
        ({"state": 5}, "state"),
        ({"state": ["idle"]}, "state"),
        ({"result": {}}, "result"),
        ({"result": True}, "result"),
        ({"schedulerInfo": []}, "schedulerInfo"),
        ({"schedulerInfo": {"cancellationRequestedAt": 1740816000}}, "schedulerInfo.cancellationRequestedAt"),
        ({"schedulerInfo": {"cancellationRequestedAt": False}}, "schedulerInfo.cancellationRequestedAt"),
        ({"appInfo": "x"}, "appInfo"),
        ({"appInfo": {"isSessionTimedOut": 1}}, "appInfo.isSessionTimedOut"),
        ({"appInfo": {"isSessionTimedOut": []}}, "appInfo.isSessionTimedOut"),
    ],
)
def test_decisive_field_of_another_form(changes, field):
    """Where a decision depends on a field, the error says that the form is another, names the field, and no proxy."""
    with pytest.raises(SynapseLivyResponseError) as caught:
        read(samples.session(**changes))
    assert str(caught.value).split("\n") == [
        "Spark session 12 in pool etl: Synapse's response 200 has another form than documented.",
        "Fix: report this to the makers of this package: Synapse sent a field in another form than documented.",
        f"Wrong fields: {field}.",
        "Activity id: activity-1",
    ]


@pytest.mark.parametrize("flag", ["true", "false", "", True, False, None])
def test_idle_timeout_flag(flag):
    """A text or a boolean says whether the session idled out; null says that it did not."""
    session = read(samples.session(appInfo={"isSessionTimedOut": flag}))
    assert session.idle_timed_out is (str(flag).lower() == "true")


@pytest.mark.parametrize(
    ("body", "event", "evidence"),
    [
        ([], "is not a Spark session", "It is not a JSON object."),
        (None, "is not a Spark session", "It is not a JSON object."),
        (samples.session(id=...), "is not a Spark session", "Wrong fields: id."),
        ({"message": "blocked"}, "is not a Spark session", "Wrong fields: id."),
        ("<html>", "is not a Spark session", "It is not a JSON object."),
    ],
)
def test_something_else_than_synapse(body, event, evidence):
    """What has no resemblance to a session comes from something else than Synapse, and the fix says so."""
    with pytest.raises(SynapseLivyResponseError) as caught:
        read(body)
    first, fix, third, _ = str(caught.value).split("\n")
    assert event in first
    assert "check the host and any proxy in between" in fix
    assert third == evidence


def test_batch_job():
    """The record of a batch job is not taken for a session, and the fix says what reads batch jobs."""
    with pytest.raises(SynapseLivyResponseError) as caught:
        read(samples.session(jobType="SparkBatch"))
    event, fix, _ = str(caught.value).split("\n")
    assert event.endswith("describes a Spark batch job, not a Spark session.")
    assert fix == "Fix: wait for it with SynapseSparkBatchSensor, or pass the id of a Spark session."
    assert "proxy" not in fix
    assert max(len(event), len(fix)) <= 120


def test_session_that_is_not_found():
    """The fix for 404 mentions that batch jobs have other ids; that for the list of sessions does not."""
    requests = (
        SPARK_SESSION.get(Pool("https://ws.dev.azuresynapse.net", "etl"), 12),
        SPARK_SESSION.page(Pool("https://ws.dev.azuresynapse.net", "etl")),
    )
    fixes = []
    for request in requests:
        with pytest.raises(SparkSessionNotFoundError) as caught:
            request.read(LivyResponse(404, {}, b""))
        fixes.append(str(caught.value).split("\n")[1])
    assert all("check the id, and that the pool exists" in fix for fix in fixes)
    assert ["Batch jobs have other ids." in fix for fix in fixes] == [True, False]
    assert max(map(len, fixes)) < 120


def test_list_item_of_another_form():
    """An item of a list is kept as leniently; one that can't be decided upon is left to a request of its own."""
    items = [
        samples.session(id=1, tags=[]),
        samples.session(id=2, state=5),
        samples.session(id=3, schedulerInfo=[]),
        samples.session(id=4, pluginInfo="x"),
    ]
    request = SPARK_SESSION.page(Pool("https://ws.dev.azuresynapse.net", "etl"))
    page = request.read(LivyResponse(200, {}, samples.as_json({"sessions": items})))
    assert [page.read(number) is not None for number in page.items] == [True, False, False, True]


@pytest.mark.parametrize("value", ["12\n", " 12 ", "\t12\r\n"])
def test_white_space_around_an_id(value):
    """An id may carry white space around it, as templates leave it."""
    assert validated_id(value, "Spark session") == 12


@pytest.mark.parametrize(("value", "cause"), [(" None\n", "rendered to nothing"), (" \n", "rendered to nothing")])
def test_white_space_around_no_id(value, cause):
    """The likely cause is found behind white space, too."""
    with pytest.raises(InvalidIdError, match=cause):
        validated_id(value, "Spark session")


@pytest.mark.parametrize("value", VALUES, ids=repr)
@pytest.mark.parametrize("name", ["name", "sparkPoolName"])
def test_links_of_odd_fields(name, value):
    """A name of another type does not break the links, which are made while a session is waited for."""
    resource_id = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Synapse/workspaces/ws"
    livy_connection = connection(extra={"tenantId": "tenant", "workspace_resource_id": resource_id})
    links = session_links(read(samples.session(**{name: value})), livy_connection)
    assert ("Synapse Studio" in links) is bool(value)
    assert all(isinstance(url, str) for url in links.values())


def test_body_of_200_000_wrong_lines_is_read():
    """A long list of another type is passed over at its first wrong entry, and its lines are not put into a message."""
    session = read(samples.DEAD | {"log": ["a", *[1] * 200_000]})
    assert len(session.log) == 200_001
    assert max(map(len, session.details())) < 1000
