"""The sensor: every test body here runs in all of its modes."""

from __future__ import annotations

import inspect
import logging
import re
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from airflow_provider_synapse_livy.airflow_compat.sdk import (
    AirflowFailException,
    AirflowRescheduleException,
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferred,
)
from airflow_provider_synapse_livy.airflow_compat.versions import STARTS_FROM_TRIGGER
from airflow_provider_synapse_livy.exceptions import (
    InvalidIdError,
    SparkSessionFailedError,
    SparkSessionNotFoundError,
    SparkSessionTimeoutError,
    SynapseLivyAuthenticationError,
    SynapseLivyConfigurationError,
    SynapseLivyError,
    SynapseLivyPermissionError,
    SynapseLivyResponseError,
    SynapseLivyUnavailableError,
)
from airflow_provider_synapse_livy.models import SparkSession
from airflow_provider_synapse_livy.sensors.base import LivySensor
from airflow_provider_synapse_livy.sensors.spark_session import SynapseSparkSessionSensor
from airflow_provider_synapse_livy.triggers.base import LivyTrigger
from airflow_provider_synapse_livy.triggers.spark_session import SynapseSparkSessionTrigger
from tests.support import sample_sessions as samples
from tests.support.connections import airflow_connection
from tests.support.fast_loop import run_fast
from tests.support.scripted_server import ScriptedServer, http
from tests.support.sensor_runner import MODES, TaskInstance, make_sensor, run

ALL_MODES = pytest.mark.parametrize("mode", MODES)


def ok(body):
    """Return a good response."""
    return http(200, body, x_ms_activity_id="activity-1")


@pytest.fixture
def serve(monkeypatch):
    """Return a function that runs the sensor against a server with a script of responses."""

    def start(mode, *script, **options):
        with ScriptedServer(*script) as server:
            monkeypatch.setenv("AIRFLOW_CONN_SYNAPSE_LIVY_DEFAULT", airflow_connection(server.url))
            return run(mode, **options)

    return start


QUEUED = ok(samples.NOT_STARTED)
UNKNOWN = ok(samples.session(state="hibernating"))
UNAVAILABLE = http(503, Retry_After="100000")
READY = {"target_states": {"idle"}}
IDLE = SparkSession.from_dict(samples.IDLE).to_dict()

# What the polls show, the options, then the state of the task: plain, with soft_fail, with never_fail; and the error.
OUTCOMES = {
    "ready at once": ([ok(samples.IDLE)], READY, "success success success", None),
    "ready": ([QUEUED, ok(samples.IDLE)], READY, "success success success", None),
    "unknown state, then ready": ([UNKNOWN, UNKNOWN, ok(samples.IDLE)], READY, "success success success", None),
    "succeeded": ([QUEUED, ok(samples.SUCCEEDED)], {}, "success success success", None),
    "cancelled, accepted": ([QUEUED, ok(samples.KILLED)], {"accepted_results": ["Cancelled"]}, "success " * 3, None),
    "idled out, accepted": ([QUEUED, ok(samples.IDLED_OUT)], {"accept_idle_timeout": True}, "success " * 3, None),
    "dead at once": ([ok(samples.DEAD)], {}, "failed skipped skipped", SparkSessionFailedError),
    "failed": ([QUEUED, ok(samples.DEAD)], {}, "failed skipped skipped", SparkSessionFailedError),
    "cancelled": ([QUEUED, ok(samples.KILLED)], {}, "failed skipped skipped", SparkSessionFailedError),
    "idled out": ([QUEUED, ok(samples.IDLED_OUT)], {}, "failed skipped skipped", SparkSessionFailedError),
    "ended before it was ready": (
        [QUEUED, ok(samples.KILLED)],
        READY,
        "failed skipped skipped",
        SparkSessionFailedError,
    ),
    "settles": (
        [QUEUED, ok(samples.settling("error")), ok(samples.settling("error")), ok(samples.CANCELLED_IN_QUEUE)],
        {"accepted_results": ["Cancelled"]},
        "success success success",
        None,
    ),
    "timeout": ([QUEUED], {"timeout": 0.1}, "failed skipped skipped", SparkSessionTimeoutError),
    "401": ([QUEUED, http(401)], {}, "up_for_retry up_for_retry skipped", SynapseLivyAuthenticationError),
    "403": ([QUEUED, http(403)], {}, "up_for_retry up_for_retry skipped", SynapseLivyPermissionError),
    "404": ([QUEUED, http(404)], {}, "up_for_retry up_for_retry skipped", SparkSessionNotFoundError),
    "503 for good": ([QUEUED, UNAVAILABLE], {}, "up_for_retry up_for_retry skipped", SynapseLivyUnavailableError),
    "malformed": ([QUEUED, http(200, b"[]")], {}, "up_for_retry up_for_retry skipped", SynapseLivyResponseError),
    "404 at once": ([http(404)], {}, "up_for_retry up_for_retry skipped", SparkSessionNotFoundError),
}


@pytest.mark.parametrize("option", [None, "soft_fail", "never_fail"])
@pytest.mark.parametrize(("script", "options", "states", "error"), OUTCOMES.values(), ids=OUTCOMES)
def test_outcome_is_the_same_in_all_modes(serve, script, options, states, error, option):
    """The same session ends the task in the same state, with the same XCom and the same words, in every mode."""
    outcomes = [serve(mode, *script, **options, **({option: True} if option else {})) for mode in MODES]
    expected = states.split()[[None, "soft_fail", "never_fail"].index(option)]
    assert [outcome.state for outcome in outcomes] == [expected] * len(MODES)
    assert all(outcome.returned == outcomes[0].returned for outcome in outcomes)
    assert len({re.sub(r":\d+", "", str(outcome.error)) for outcome in outcomes}) == 1
    if expected == "skipped":
        assert all(str(outcome.error).startswith(f"Skipped, because {option} is set.\n") for outcome in outcomes)
    elif error:
        assert {type(outcome.error) for outcome in outcomes} == {error}


@ALL_MODES
def test_modes_are_what_they_say(serve, mode):
    """Poke mode stays on the worker; the others leave it as soon as there is something to wait for."""
    outcome = serve(mode, QUEUED, QUEUED, ok(samples.IDLE), **READY)
    assert outcome.departures == {"poke": 0, "reschedule": 2}.get(mode, 1)


@ALL_MODES
def test_nothing_to_wait_for_needs_no_deferral(serve, mode):
    """The first poll is made before the task leaves the worker, so a session that is ready takes no deferral."""
    outcome = serve(mode, ok(samples.IDLE), **READY)
    starts_elsewhere = STARTS_FROM_TRIGGER and mode == "start_from_trigger"
    assert (outcome.state, outcome.departures) == ("success", int(starts_elsewhere))


@ALL_MODES
def test_session_is_returned(serve, mode):
    """What the task returns is the session's dict."""
    assert serve(mode, QUEUED, ok(samples.IDLE), **READY).returned == IDLE


@ALL_MODES
def test_session_is_in_xcom_even_if_the_task_fails(serve, mode):
    """The last session that was seen is in XCom after a bad end and after a timeout, too."""
    failed = serve(mode, QUEUED, ok(samples.DEAD))
    assert failed.returned == SparkSession.from_dict(samples.DEAD).to_dict()
    late = serve(mode, QUEUED, timeout=0.1)
    assert late.returned == SparkSession.from_dict(samples.NOT_STARTED).to_dict()


@ALL_MODES
def test_xcom_can_be_declined(serve, mode):
    """With do_xcom_push=False nothing is pushed on a failure either."""
    outcome = serve(mode, QUEUED, ok(samples.DEAD), do_xcom_push=False)
    assert (outcome.state, outcome.returned) == ("failed", None)


@ALL_MODES
def test_errors_carry_what_is_known(serve, mode):
    """A failure carries the session and the activity id; an error of the service its status and code."""
    failed = serve(mode, QUEUED, ok(samples.DEAD)).error
    assert (failed.record, failed.activity_id) == (SparkSession.from_dict(samples.DEAD), "activity-1")
    gone = serve(mode, QUEUED, http(404, {"code": "NotFound"}, x_ms_activity_id="activity-2")).error
    assert (gone.status, gone.code, gone.activity_id) == (404, "NotFound", "activity-2")


@ALL_MODES
def test_last_poll_is_at_the_deadline(serve, mode):
    """The last poll is at the deadline, however long the interval: a session that is ready by then is a success."""
    outcome = serve(mode, QUEUED, ok(samples.IDLE), **READY, poke_interval=3600, timeout=1)
    assert outcome.state == "success"


@ALL_MODES
def test_settling_keeps_the_task(serve, mode, monkeypatch):
    """A session that settles is polled again within seconds, and the task stays, also if a poke_interval is an hour."""
    pauses = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    script = [ok(samples.settling("dead")), ok(samples.DEAD)]
    outcome = serve(mode, *script, poke_interval=3600, timeout=7200, run_loop=run_fast)
    starts_elsewhere = STARTS_FROM_TRIGGER and mode == "start_from_trigger"
    assert (outcome.state, outcome.departures) == ("failed", int(starts_elsewhere))
    assert pauses == ([] if starts_elsewhere else [5.0])


@ALL_MODES
def test_poke_interval_is_kept(monkeypatch, mode):
    """In every mode, poke_interval passes between two polls."""
    with ScriptedServer(QUEUED, QUEUED, ok(samples.IDLE)) as server:
        monkeypatch.setenv("AIRFLOW_CONN_SYNAPSE_LIVY_DEFAULT", airflow_connection(server.url))
        run(mode, **READY, poke_interval=0.2)
    gaps = [later - earlier for earlier, later in pairwise(server.times)]
    assert len(gaps) == 2
    assert min(gaps) >= 0.2


@ALL_MODES
def test_parameters_are_used(monkeypatch, mode):
    """Connection, pool and version of the sensor are used for every poll, in every mode."""
    with ScriptedServer(QUEUED, QUEUED, ok(samples.IDLE)) as server:
        monkeypatch.setenv("AIRFLOW_CONN_OTHER", airflow_connection(server.url))
        options = {
            "spark_pool_name": "adhoc",
            "livy_api_version": "2022-02-22-preview",
            "synapse_livy_conn_id": "other",
        }
        assert run(mode, **options, **READY).state == "success"
    paths = {request.split()[1] for request in server.requests}
    assert paths == {"/livyApi/versions/2022-02-22-preview/sparkPools/adhoc/sessions/12?detailed=true"}
    assert len(server.requests) == 3


@ALL_MODES
def test_silent_fail_goes_on(serve, mode):
    """With silent_fail an error is logged, and the next poll may still succeed."""
    outcome = serve(mode, QUEUED, http(403), ok(samples.IDLE), **READY, silent_fail=True)
    assert outcome.state == "success"


@ALL_MODES
def test_silent_fail_covers_the_connection(mode):
    """With silent_fail, a connection that does not exist (yet) does not end the wait either."""
    outcome = run(mode, synapse_livy_conn_id="nowhere", timeout=0.1, silent_fail=True)
    assert (outcome.state, type(outcome.error)) == ("failed", SparkSessionTimeoutError)


@ALL_MODES
def test_silent_fail_ends_at_the_timeout(serve, mode):
    """If no poll ever succeeds, a wait with silent_fail ends in the timeout, which says so."""
    outcome = serve(mode, http(403), timeout=0.1, silent_fail=True)
    assert (outcome.state, type(outcome.error)) == ("failed", SparkSessionTimeoutError)
    assert "could not be read once" in str(outcome.error)


@ALL_MODES
def test_changes_are_logged_once(serve, mode, caplog, capfd):
    """The log has one line for each change of phase, and one for the end, in every mode."""
    caplog.set_level(logging.INFO)
    serve(mode, QUEUED, QUEUED, QUEUED, ok(samples.STARTING), ok(samples.STARTING), ok(samples.IDLE), **READY)
    texts = (caplog.text, capfd.readouterr().out)  # Airflow 3 logs past the standard library
    logged = max(texts, key=lambda text: text.count("Spark session 12"))
    changes = re.findall(r"Spark session 12 in pool etl: (.*?)\s*(?:\[|$)", logged, re.MULTILINE)
    assert [line.rpartition(" → ")[2] for line in changes] == ["queued", "starting", "idle"]
    (end,) = re.findall(r"Spark session 12 in pool etl is (.*?)\s*(?:\[|$)", logged, re.MULTILINE)
    assert re.fullmatch(r"idle\. Waited .* s \(queued 16 s, acquiring nodes 4 s, .*starting .* s\)\.", end)


BAD_INPUTS = [
    ({"session_id": None}, InvalidIdError),
    ({"session_id": "None"}, InvalidIdError),
    ({"target_states": ["ready"]}, SynapseLivyConfigurationError),
    ({"accepted_results": ["Success"]}, SynapseLivyConfigurationError),
    ({"synapse_livy_conn_id": "nowhere"}, SynapseLivyConfigurationError),
]


@ALL_MODES
@pytest.mark.parametrize(("options", "error"), BAD_INPUTS)
@pytest.mark.parametrize("soft_fail", [True, False])
def test_bad_input_is_an_error_before_any_request(serve, mode, options, error, soft_fail):
    """What can't work fails at once in every mode, and soft_fail does not hide it."""
    requests = []
    outcome = serve(mode, requests.append, **options, soft_fail=soft_fail)
    assert (outcome.state, type(outcome.error)) == ("up_for_retry", error)
    assert requests == []


@ALL_MODES
def test_ids_may_be_text(serve, mode):
    """Templates render ids as text."""
    assert serve(mode, QUEUED, ok(samples.IDLE), session_id="12", **READY).state == "success"


@ALL_MODES
def test_id_zero(serve, mode):
    """The first session of a pool has the id 0, which is an id like any other."""
    body = samples.session(id=0)
    assert serve(mode, ok(body | {"state": "busy"}), ok(body), session_id=0, **READY).state == "success"


@ALL_MODES
def test_unreachable_workspace_does_not_outlast_the_timeout(connect, mode, caplog):
    """A poll is not retried beyond the sensor's timeout, at which the wait ends with the error."""
    with ScriptedServer(b"") as gone:
        url = gone.url
    connect(airflow_connection(url))
    outcome = run(mode, timeout=0.5)  # if polls were retried for minutes, the test's own limit would pass
    assert (outcome.state, type(outcome.error)) == ("up_for_retry", SynapseLivyUnavailableError)
    assert "retrying" in caplog.text


def test_context_may_be_empty(connect, synapse):
    """A unit test of a DAG may call execute without a context, and learns the true cause of a failure."""
    connect(synapse.airflow_connection("etl"))
    session_id = synapse.create_session("etl", "idles_out", age=200)
    with pytest.raises(SparkSessionFailedError, match="idle"):
        make_sensor("poke", session_id=session_id).execute({})


class BrokenStore:
    """A store of the task's state that fails."""

    def get(self, key):
        """Fail."""
        raise RuntimeError("no store")

    set = get


def test_broken_store_does_not_fail_the_wait(connect, synapse):
    """What the sensor keeps for a better log may be lost, but must not fail the wait."""
    connect(synapse.airflow_connection("etl"))
    task_instance = TaskInstance()
    task_instance.first_reschedule = datetime.now(UTC)
    with pytest.raises(AirflowRescheduleException):
        make_sensor("reschedule", session_id=synapse.create_session("etl")).execute(
            {"ti": task_instance, "task_state_store": BrokenStore()}
        )


def test_template_fields_exist():
    """Every field that a DAG author would template can be, and is an attribute."""
    assert set(SynapseSparkSessionSensor.template_fields) == {
        "session_id", "spark_pool_name", "target_states", "accepted_results", "livy_api_version", "synapse_livy_conn_id"
    }  # fmt: skip
    sensor = make_sensor("poke")
    assert all(hasattr(sensor, name) for name in sensor.template_fields)


def test_signature():
    """The parameters and their defaults are the promised ones."""
    parameters = dict(inspect.signature(LivySensor).parameters)
    parameters |= inspect.signature(SynapseSparkSessionSensor).parameters
    defaults = {name: parameter.default for name, parameter in parameters.items() if name != "kwargs"}
    assert defaults == {
        "mode": "poke",
        "poke_interval": None,
        "session_id": inspect.Parameter.empty,
        "spark_pool_name": None,
        "target_states": None,
        "accepted_results": ("Succeeded",),
        "accept_idle_timeout": False,
        "livy_api_version": None,
        "synapse_livy_conn_id": "synapse_livy_default",
        "deferrable": False,
        "settle_timeout": 60.0,
        "start_from_trigger": False,
        "end_from_trigger": False,
    }


def test_deferral(connect, synapse):
    """The trigger is given JSON values alone, what a wait needs of the sensor's options, and an absolute deadline."""
    connect(synapse.airflow_connection("etl"))
    session_id = synapse.create_session("etl")
    sensor = make_sensor(
        "deferrable",
        session_id=str(session_id),
        spark_pool_name="etl",
        target_states=("idle", "busy"),
        accepted_results={"Failed"},
        accept_idle_timeout=True,
        livy_api_version="2019-11-01-preview",
        timeout=100,
        poke_interval=7,
        exponential_backoff=True,
        max_wait=9,
        silent_fail=True,
        settle_timeout=timedelta(minutes=2),
        end_from_trigger=True,
    )
    began = time.time()
    with pytest.raises(TaskDeferred) as deferral:
        sensor.execute({"ti": TaskInstance()})
    ended = time.time()
    _, kwargs = deferral.value.trigger.serialize()
    ((_, since),) = kwargs["history"]
    assert began + 100 <= kwargs["deadline"] <= ended + 100
    assert began + 7 <= kwargs["first_poll_at"] <= ended + 9  # max_wait, however long the first poll took
    assert 400 - (ended - began) <= deferral.value.timeout.total_seconds() <= 400
    assert kwargs == {
        "session_id": session_id,
        "synapse_livy_conn_id": "synapse_livy_default",
        "spark_pool_name": "etl",
        "livy_api_version": "2019-11-01-preview",
        "cancel_on_kill": False,
        "target_states": ["busy", "idle"],
        "accepted_results": ["Failed"],
        "accept_idle_timeout": True,
        "deadline": kwargs["deadline"],
        "options": {
            "timeout": 100.0,
            "poke_interval": 7.0,
            "exponential_backoff": True,
            "max_wait": 9.0,
            "settle_timeout": 120.0,
            "silent_fail": True,
        },
        "end_from_trigger": STARTS_FROM_TRIGGER,
        "history": [["queued", since]],
        "first_poll_at": kwargs["first_poll_at"],
        "links": {},
    }
    parameters = {*inspect.signature(SynapseSparkSessionTrigger).parameters, *inspect.signature(LivyTrigger).parameters}
    assert set(kwargs) == parameters - {"kwargs"}


def test_poke_polls_once(connect, synapse):
    """Called by itself, poke polls once, and returns whether the wait is over."""
    connect(synapse.airflow_connection("etl"))
    waiting, ready = synapse.create_session("etl"), synapse.create_session("etl", age=70)
    assert not make_sensor("poke", session_id=waiting, **READY).poke({"ti": TaskInstance()})
    poked = make_sensor("poke", session_id=ready, **READY).poke({"ti": TaskInstance()})
    assert (bool(poked), poked.xcom_value["state"]) == (True, "idle")
    with pytest.raises(AirflowFailException, match="before it had been idle"):
        make_sensor("poke", session_id=synapse.create_session("etl", "idles_out", age=200), **READY).poke(
            {"ti": TaskInstance()}
        )


GOOD_EVENT = {
    "resource": "Spark session",
    "verdict": "success",
    "record": IDLE,
    "activity_id": None,
    "links": {},
}
ERROR = SynapseLivyError("words").to_dict()

MALFORMED_EVENTS = [
    None,
    {},
    [],
    "success",
    True,
    {"status": "success"},
    GOOD_EVENT | {"verdict": "splendid"},
    GOOD_EVENT | {"verdict": "pending"},
    GOOD_EVENT | {"resource": "Spark batch job"},
    GOOD_EVENT | {"resource": None},
    GOOD_EVENT | {"verdict": None},
    GOOD_EVENT | {"record": None},
    GOOD_EVENT | {"record": samples.session(id=13)},
    GOOD_EVENT | {"verdict": "timeout", "record": samples.session(id=13)},
    GOOD_EVENT | {"links": None},
    GOOD_EVENT | {"record": {}},
    GOOD_EVENT | {"record": {"id": 12}},
    GOOD_EVENT | {"record": samples.NOT_STARTED},
    GOOD_EVENT | {"record": samples.DEAD},
    GOOD_EVENT | {"record": "idle"},
    GOOD_EVENT | {"verdict": "failure"},
    {"verdict": "success"},
    {"error": {}},
    {"error": "words"},
    {"error": ERROR | {"kind": "Exception"}},
    {"error": {"kind": "SynapseLivyError"}},
]


def test_good_event_is_a_success():
    """The event that the malformed ones are made from is a success."""
    sensor = make_sensor("deferrable", **READY)
    resumed = sensor.resume_execution("execute_complete", {"event": GOOD_EVENT}, {"ti": TaskInstance()})
    assert resumed == IDLE


@pytest.mark.parametrize("event", MALFORMED_EVENTS, ids=repr)
@pytest.mark.parametrize("soft_fail", [True, False])
def test_malformed_events_are_errors(event, soft_fail):
    """Whatever a trigger sends but proof of a success is an error, never a success and never a skip."""
    sensor = make_sensor("deferrable", **READY, soft_fail=soft_fail)
    with pytest.raises(SynapseLivyResponseError, match="event"):
        sensor.resume_execution("execute_complete", {"event": event}, {"ti": TaskInstance()})


def test_missing_event_is_an_error():
    """Airflow may resume a task without any event."""
    with pytest.raises(SynapseLivyResponseError, match=r"(?s)event.*None"):
        make_sensor("deferrable").resume_execution("execute_complete", None, {"ti": TaskInstance()})


TRIGGER_TIMEOUT = ("__fail__", {"error": "Trigger timeout"})


@pytest.mark.parametrize(("soft_fail", "error"), [(False, AirflowSensorTimeout), (True, AirflowSkipException)])
def test_airflows_own_deferral_timeout_is_a_timeout(connect, synapse, soft_fail, error):
    """If Airflow ends the deferral, that is the sensor's timeout, with the session in XCom."""
    connect(synapse.airflow_connection("etl"))
    task_instance = TaskInstance()
    sensor = make_sensor("deferrable", session_id=synapse.create_session("etl"), **READY, soft_fail=soft_fail)
    with pytest.raises(error, match="had not been idle within the task's timeout"):
        sensor.resume_execution(*TRIGGER_TIMEOUT, {"ti": task_instance})
    assert task_instance.xcoms["return_value"]["state"] == "not_started"


def test_last_poll_after_a_deferral_timeout_may_succeed(connect, synapse):
    """A session that turned ready unseen by the triggerer is seen by the last poll."""
    connect(synapse.airflow_connection("etl"))
    sensor = make_sensor("deferrable", session_id=synapse.create_session("etl", age=70), **READY)
    assert sensor.resume_execution(*TRIGGER_TIMEOUT, {"ti": TaskInstance()})["state"] == "idle"


def test_execution_timeout_of_a_deferral(connect, synapse):
    """If Airflow ends a deferral for execution_timeout, the words name that, and not the sensor's timeout."""
    connect(synapse.airflow_connection("etl"))
    task_instance = TaskInstance()
    task_instance.start_date = datetime.now(UTC) - timedelta(seconds=10)
    limits = {"timeout": 3600, "execution_timeout": timedelta(seconds=10)}
    sensor = make_sensor("deferrable", session_id=synapse.create_session("etl"), **READY, **limits)
    with pytest.raises(SparkSessionTimeoutError, match="within the task's execution_timeout of 10 s") as caught:
        sensor.resume_execution(*TRIGGER_TIMEOUT, {"ti": task_instance})
    assert str(caught.value).split("\n")[1].startswith("Fix: raise execution_timeout")


def test_crashed_trigger_is_an_error_even_with_soft_fail():
    """A trigger that crashed says nothing about the session, so soft_fail does not skip the task."""
    sensor = make_sensor("deferrable", soft_fail=True)
    with pytest.raises(Exception, match="Trigger failure"):
        sensor.resume_execution("__fail__", {"error": "Trigger failure"}, {"ti": TaskInstance()})
