"""The models: what they accept, what they return, and what they know of a session."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from pydantic import ValidationError

from airflow_provider_synapse_livy.models import (
    LivyState,
    SparkErrorSource,
    SparkJobType,
    SparkSession,
    SparkSessionResultType,
)
from tests.support import sample_sessions as samples

CANCELLING = samples.session(schedulerInfo=samples.scheduler(cancellationRequestedAt="2025-03-01T08:10:00+00:00"))
ALL_SESSIONS = pytest.mark.parametrize("body", samples.SESSIONS.values(), ids=samples.SESSIONS)


@ALL_SESSIONS
def test_to_dict_keeps_all_that_was_sent(body):
    """Nothing that the service sends is lost or changed on its way to XCom, unknown fields and last digits included."""
    assert samples.is_part_of(body, SparkSession.from_json(samples.as_json(body)).to_dict())


@ALL_SESSIONS
def test_to_dict_holds_json_values_only(body):
    """The dict passes through JSON unchanged, since that is what XCom does with it."""
    written = SparkSession.from_dict(body).to_dict()
    assert samples.is_part_of(json.loads(json.dumps(written, allow_nan=False)), written)


@ALL_SESSIONS
def test_session_survives_its_dict(body):
    """A session read from the dict of another equals it."""
    session = SparkSession.from_dict(body)
    assert SparkSession.from_dict(session.to_dict()) == session


def test_to_dict_has_every_documented_name():
    """The shape of the dict does not depend on what the service left out, so that templates can rely on it."""
    assert set(SparkSession.from_dict({"id": 1}).to_dict()) == set(samples.DOCUMENTED_SAMPLE)


def test_nulls_in_lists_are_left_out():
    """A null among the entries of a list says nothing, and makes nothing unreadable."""
    request = {"args": [None, "a"], "jars": [None], "files": [], "pyFiles": None}
    body = samples.session(log=[None, "line"], errorInfo=[None], livyInfo={"jobCreationRequest": request})
    session = SparkSession.from_dict(body)
    assert (session.log, session.error_info) == (("line",), ())
    asked = session.livy_info.job_creation_request
    assert (asked.args, asked.jars, asked.files, asked.py_files) == (("a",), (), (), None)


def test_name():
    """A session is named by its id and its pool, if the response has the pool."""
    assert str(SparkSession.from_dict(samples.IDLE)) == "Spark session 12 in pool etl"
    assert str(SparkSession.from_dict(samples.PLAIN)) == "Spark session 12"


def test_attributes_are_the_documented_names_in_snake_case():
    """Nested objects are models, and enumerations are members."""
    session = SparkSession.from_dict(samples.DEAD)
    assert session.app_id == "application_1740816000000_0013"
    assert session.error_info[0].error_code == "LIVY_JOB_STATE_DEAD"
    assert session.error_info[0].source is SparkErrorSource.DEPENDENCY
    assert session.livy_info.job_creation_request.driver_cores == 4
    assert session.plugin_info.cleanup_started_at == "2025-03-01T08:29:30+00:00"
    assert session.state is LivyState.DEAD
    assert session.result is SparkSessionResultType.FAILED
    assert session.job_type is SparkJobType.SPARK_SESSION


def test_unknown_names_stay_text():
    """A state or result that the service invents later is kept as it is, and means that the session is not finished."""
    session = SparkSession.from_dict(samples.SESSIONS["unknown names"])
    assert (session.state, session.result) == ("hibernating", "Perhaps")
    assert not session.is_finished
    assert session.novelty == {"a": [1, None]}


def test_sessions_are_frozen():
    """A session is what one response described, and can't be changed later."""
    with pytest.raises(ValidationError, match="frozen"):
        SparkSession.from_dict(samples.IDLE).state = "dead"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("null", id="null"),
        pytest.param("[]", id="list"),
        pytest.param('"idle"', id="string"),
        pytest.param("{}", id="no id"),
        pytest.param('{"id": null}', id="null id"),
        pytest.param('{"id": "12"}', id="id in a string"),
        pytest.param('{"id": true}', id="boolean id"),
        pytest.param('{"id": -1}', id="negative id"),
        pytest.param('{"id": 1, "appInfo": {"a": NaN}}', id="not a number"),
        pytest.param('{"id": 1, "novelty": [{"a": 1e999}]}', id="infinite"),
        pytest.param('{"id": 1, "state": 5}', id="number for the state"),
        pytest.param('{"id": 1, "result": ["Failed"]}', id="list for the result"),
        pytest.param('{"id": 1, "schedulerInfo": []}', id="list for an object that decides"),
        pytest.param('{"id": 1, "schedulerInfo": {"cancellationRequestedAt": true}}', id="boolean for a time"),
        pytest.param('{"id": 1, "appInfo": {"isSessionTimedOut": 1}}', id="number for a flag"),
        pytest.param('{"id": 1', id="cut off"),
        pytest.param('{"id": 1, "x": ' + "[" * 10_000, id="endless nesting"),
        pytest.param(b'{"id": 1, "name": "\xff"}', id="not UTF-8"),
    ],
)
def test_what_is_no_session_is_a_value_error(text):
    """Anything but a session raises ValueError, and nothing else."""
    with pytest.raises(ValueError):  # noqa: PT011  (its kind is the rule)
        SparkSession.from_json(text)


@pytest.mark.parametrize(
    ("body", "finished", "settling", "outcome"),
    [
        pytest.param(samples.NOT_STARTED, False, False, None, id="1 queued"),
        pytest.param(samples.ACQUIRING, False, False, None, id="2 acquiring"),
        pytest.param(samples.STARTING, False, False, None, id="3 starting"),
        pytest.param(samples.IDLE, False, False, None, id="4 idle"),
        pytest.param(samples.BUSY, False, False, None, id="5 busy"),
        pytest.param(samples.session(state="shutting_down"), False, False, None, id="shutting down"),
        pytest.param(samples.session(state="recovering"), False, False, None, id="recovering"),
        pytest.param(samples.settling("dead"), True, True, "Failed", id="6 dead, settling"),
        pytest.param(samples.settling("error"), True, True, "Failed", id="6 error, settling"),
        pytest.param(samples.settling("killed"), True, True, "Cancelled", id="6 killed, settling"),
        pytest.param(samples.settling("success"), True, True, "Succeeded", id="6 success, settling"),
        pytest.param(samples.DEAD, True, False, "Failed", id="7 dead"),
        pytest.param(samples.KILLED, True, False, "Cancelled", id="8 killed"),
        pytest.param(samples.FAILED_TO_START, True, False, "Failed", id="9 error, failed"),
        pytest.param(samples.CANCELLED_IN_QUEUE, True, False, "Cancelled", id="10 error, cancelled"),
        pytest.param(samples.SUCCEEDED, True, False, "Succeeded", id="11 success"),
        pytest.param(samples.session(result="Failed"), True, False, "Failed", id="idle, but failed"),
        pytest.param(samples.DOCUMENTED_SAMPLE, True, False, "Failed", id="unknown state, but failed"),
        pytest.param({"id": 1, "state": "dead"}, True, True, "Failed", id="plain, dead"),
        pytest.param(samples.session(state="hibernating"), False, False, None, id="unknown state"),
        pytest.param({"id": 1}, False, False, None, id="no state"),
    ],
)
def test_end_of_a_session(body, finished, settling, outcome):
    """The result decides whether and how a session has ended, else its Livy state; Uncertain is never a verdict."""
    session = SparkSession.from_dict(body)
    assert (session.is_finished, session.is_settling, session.outcome) == (finished, settling, outcome)


@pytest.mark.parametrize(
    ("body", "ready"),
    [
        pytest.param(samples.IDLE, True, id="idle"),
        pytest.param(samples.BUSY, False, id="busy"),
        pytest.param(samples.STARTING, False, id="starting"),
        pytest.param(samples.DEAD, False, id="dead"),
        pytest.param(samples.session(result="Failed"), False, id="idle, but failed"),
        pytest.param(
            samples.session(schedulerInfo=samples.scheduler(cancellationRequestedAt="2025-03-01T08:10:00+00:00")),
            False,
            id="idle, but about to be cancelled",
        ),
        pytest.param({"id": 1, "state": "idle"}, True, id="plain, idle"),
    ],
)
def test_readiness(body, ready):
    """A session is ready if it is idle and will stay so."""
    assert SparkSession.from_dict(body).is_ready is ready


@pytest.mark.parametrize(
    ("mark", "timed_out"),
    [("true", True), ("True", True), (True, True), ("false", False), (False, False), (None, False), ("", False)],
)
def test_idle_timeout_is_read_from_its_mark(mark, timed_out):
    """Only isSessionTimedOut, a boolean in a string, means an idle timeout; error codes are open text."""
    body = samples.ended(
        "dead", "Failed", appInfo={"isSessionTimedOut": mark}, errorInfo=samples.error_info("LIVY_JOB_TIMED_OUT")
    )
    assert SparkSession.from_dict(body).idle_timed_out is timed_out


def test_durations_come_from_scheduler_and_plugin():
    """Livy's own times are not used, as they are not to be relied on."""
    session = SparkSession.from_dict(samples.DEAD | {"livyInfo": None})
    assert session.queue_duration == timedelta(seconds=15.5)
    assert session.acquisition_duration == timedelta(seconds=4)
    assert session.start_duration == timedelta(seconds=2.1234)
    assert session.lifetime == timedelta(minutes=30)


@pytest.mark.parametrize("stamp", [None, "", "1/1/0001 12:00:00 AM +00:00", "2025-03-01T08:00:00"])
def test_durations_do_without_odd_timestamps(stamp):
    """A timestamp that is missing, unset or unlike the others leaves a duration out, and nothing else."""
    session = SparkSession.from_dict(samples.session(schedulerInfo=samples.scheduler(scheduledAt=stamp)))
    assert session.queue_duration is None
    assert session.acquisition_duration == timedelta(seconds=4)


@pytest.mark.parametrize(
    ("body", "phase"),
    [
        (samples.NOT_STARTED, "queued"),
        (samples.NOT_STARTED | {"schedulerInfo": None}, "queued"),
        (samples.ACQUIRING, "acquiring nodes"),
        (samples.ACQUIRING | {"pluginInfo": samples.plugin(currentState="Preparation")}, "acquiring nodes"),
        (samples.ACQUIRING | {"pluginInfo": samples.plugin(currentState="Queued")}, "acquiring nodes"),
        (samples.ACQUIRING | {"pluginInfo": samples.plugin(currentState="Submission")}, "submitting"),
        (samples.ACQUIRING | {"pluginInfo": samples.plugin(currentState="Monitoring")}, "starting"),
        (samples.ACQUIRING | {"pluginInfo": samples.plugin(currentState="Dreaming")}, "starting"),
        (samples.ACQUIRING | {"pluginInfo": None}, "starting"),
        (samples.STARTING, "starting"),
        (samples.IDLE, "idle"),
        (samples.BUSY, "busy"),
        (samples.session(state="shutting_down"), "shutting_down"),
        (CANCELLING, "being cancelled"),
        (samples.session(state="hibernating"), "hibernating (unknown, waiting on)"),
        ({"id": 1}, "None (unknown, waiting on)"),
        (samples.settling("dead"), "dead (result pending)"),
        (samples.DEAD, "dead (Failed)"),
        (samples.CANCELLED_IN_QUEUE, "error (Cancelled)"),
        (CANCELLING | {"state": "killed", "result": "Cancelled"}, "killed (Cancelled)"),
    ],
    ids=str,
)
def test_phases(body, phase):
    """A phase says what a session is doing, a little finer than its Livy state, and how it ended."""
    assert SparkSession.from_dict(body).phase == phase


@pytest.mark.parametrize(
    ("body", "ending"),
    [
        (samples.DEAD, "failed"),
        (samples.FAILED_TO_START, "failed"),
        (samples.KILLED, "was cancelled"),
        (samples.CANCELLED_IN_QUEUE, "was cancelled"),
        (samples.settling("killed"), "was cancelled"),
        (samples.IDLED_OUT, "idled out, so Synapse stopped it"),
        (samples.SUCCEEDED, "ended"),
    ],
)
def test_endings(body, ending):
    """An ending completes the sentence that begins with the session's name."""
    assert SparkSession.from_dict(body).ending == ending


@pytest.mark.parametrize(
    ("body", "durations"),
    [
        (
            samples.DEAD,
            {
                "queued": timedelta(seconds=15.5),
                "acquiring nodes": timedelta(seconds=4),
                "submitting": timedelta(seconds=2.1234),
                "starting": timedelta(seconds=32.776544),
            },
        ),
        (samples.ACQUIRING, {"queued": timedelta(seconds=15.5)}),
        (samples.NOT_STARTED, {}),
        (samples.PLAIN, {}),
    ],
)
def test_durations_are_named_as_the_phases(body, durations):
    """Each phase that the service has timed has its duration, in the order of the phases; others have none."""
    assert list(SparkSession.from_dict(body).durations().items()) == list(durations.items())


@pytest.mark.parametrize(
    ("body", "lines"),
    [
        (
            samples.DEAD,
            [
                "Livy state dead, result Failed.",
                "Error: Dependency: LIVY_JOB_STATE_DEAD: Job failed during run time with state=[dead].",
                "Application: application_1740816000000_0013",
                "Spark UI: https://web.azuresynapse.net/sparkui/x/workspaces/ws/sparkpools/etl/sessions/12",
                "Last lines of the driver's log:",
                "  stdout:",
                "  stderr:",
                "  Something was logged",
                "  YARN Diagnostics:",
            ],
        ),
        (
            samples.CANCELLED_IN_QUEUE | {"errorInfo": [{"message": "a"}, {"errorCode": "B"}, {}]},
            ["Livy state error, result Cancelled.", "Error: a", "Error: B", "Error: "],
        ),
        ({"id": 1}, ["Livy state None, result None."]),
        ({"id": 1, "state": "dead", "log": ["", " \n"]}, ["Livy state dead, result None."]),
    ],
)
def test_details(body, lines):
    """The details are the states, every error, the application and the log, each only where the service has it."""
    assert "\n".join(SparkSession.from_dict(body).details()).split("\n") == lines


ODD = {
    "name": 5,
    "appId": ["a"],
    "log": "all in one",
    "errorInfo": "none",
    "livyInfo": [],
    "pluginInfo": "done",
    "sparkPoolName": 7,
    "jobType": 5,
    "tags": [1],
}


@pytest.mark.parametrize("name", ODD)
def test_fields_of_another_type_than_documented_are_kept(name):
    """A field that decides nothing stays as it came if it has another type, and the rest is read as usual."""
    session = SparkSession.from_dict(samples.DEAD | {name: ODD[name]})
    assert session.to_dict()[name] == ODD[name]
    assert session.outcome is SparkSessionResultType.FAILED
    texts = (str(session), session.phase, session.ending, *session.details())
    assert texts[1:3] == ("dead (Failed)", "failed")
    assert "sessions/12" in "".join(texts)
    assert session.durations().keys() <= {"queued", "acquiring nodes", "submitting", "starting"}
    assert session.lifetime == timedelta(minutes=30)
