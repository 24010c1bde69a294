"""The sensor: every test body here runs in all of its modes."""

from __future__ import annotations

import inspect
import logging
import re
import time
from datetime import UTC, datetime, timedelta

import pytest
from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferred,
)

from airflow_provider_synapse_livy.airflow_compat.task_state import STARTS_FROM_TRIGGER, AirflowRescheduleException
from airflow_provider_synapse_livy.exceptions import (
    InvalidSparkSessionIdError,
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
from airflow_provider_synapse_livy.sensors.spark_session import SynapseSparkSessionSensor
from airflow_provider_synapse_livy.triggers.spark_session import SynapseSparkSessionTrigger
from tests.support import sample_sessions as samples
from tests.support.connections import airflow_connection
from tests.support.scripted_server import ScriptedServer, http
from tests.support.sensor_runner import MODES, TaskInstance, make_sensor, run

ALL_MODES = pytest.mark.parametrize("mode", MODES)


def ok(body):
    """Write a good answer."""
    return http(200, body, x_ms_activity_id="activity-1")


@pytest.fixture
def serve(monkeypatch):
    """Give a function that runs the sensor against a server with a script of answers."""

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

# What the looks show, the options, then the state of the task: plain, with soft_fail, with never_fail; and the error.
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
        assert all(str(outcome.error).startswith(f"Skipped, because {option} is set: ") for outcome in outcomes)
    elif error:
        assert {type(outcome.error) for outcome in outcomes} == {error}


@ALL_MODES
def test_modes_are_what_they_say(serve, mode):
    """Poke mode stays on the worker; the others leave it as soon as there is something to wait for."""
    outcome = serve(mode, QUEUED, QUEUED, ok(samples.IDLE), **READY)
    assert outcome.ways == {"poke": 0, "reschedule": 2}.get(mode, 1)


@ALL_MODES
def test_nothing_to_wait_for_needs_no_deferral(serve, mode):
    """The session is looked at before the task leaves the worker, so one that is ready costs no detour."""
    outcome = serve(mode, ok(samples.IDLE), **READY)
    starts_elsewhere = STARTS_FROM_TRIGGER and mode == "start_from_trigger"
    assert (outcome.state, outcome.ways) == ("success", int(starts_elsewhere))


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
    assert (failed.session, failed.activity_id) == (SparkSession.from_dict(samples.DEAD), "activity-1")
    gone = serve(mode, QUEUED, http(404, {"code": "NotFound"}, x_ms_activity_id="activity-2")).error
    assert (gone.status, gone.code, gone.activity_id) == (404, "NotFound", "activity-2")


@ALL_MODES
def test_last_look_is_at_the_deadline(serve, mode):
    """There is a last look at the deadline, and none after it: a session that is ready by then is a success."""
    looks = [QUEUED, ok(samples.IDLE)]
    outcome = serve(mode, *looks, **READY, poke_interval=60, timeout=2)
    assert outcome.state == "success"


@ALL_MODES
def test_settling_is_stayed_for(serve, mode):
    """A session that settles is looked at again within seconds, also if a poke_interval is an hour."""
    script = [ok(samples.settling("dead")), ok(samples.DEAD)]
    outcome = serve(mode, *script, poke_interval=3600, timeout=7200)
    assert (outcome.state, outcome.ways) == ("failed", int(STARTS_FROM_TRIGGER and mode == "start_from_trigger"))


@ALL_MODES
def test_poke_interval_is_kept(serve, mode):
    """In every mode, poke_interval passes between two looks."""
    began = time.monotonic()
    serve(mode, QUEUED, QUEUED, ok(samples.IDLE), **READY, poke_interval=0.3)
    assert time.monotonic() - began >= 0.6


@ALL_MODES
def test_parameters_are_used(monkeypatch, mode):
    """Connection, pool and version of the sensor are used for every look, in every mode."""
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
    """With silent_fail an error is logged, and the next look may still succeed."""
    outcome = serve(mode, QUEUED, http(403), ok(samples.IDLE), **READY, silent_fail=True)
    assert outcome.state == "success"


@ALL_MODES
def test_silent_fail_covers_the_connection(mode):
    """A connection that is not there (yet) is forgiven as well."""
    outcome = run(mode, synapse_livy_conn_id="nowhere", timeout=0.1, silent_fail=True)
    assert (outcome.state, type(outcome.error)) == ("failed", SparkSessionTimeoutError)


@ALL_MODES
def test_silent_fail_ends_at_the_timeout(serve, mode):
    """If no look ever succeeds, silent_fail ends in the timeout, which says so."""
    outcome = serve(mode, http(403), timeout=0.1, silent_fail=True)
    assert (outcome.state, type(outcome.error)) == ("failed", SparkSessionTimeoutError)
    assert "could not be read once" in str(outcome.error)


@ALL_MODES
def test_changes_are_logged_once(serve, mode, caplog, capfd):
    """The log has one line for each change of state, in every mode."""
    caplog.set_level(logging.INFO)
    serve(mode, QUEUED, QUEUED, QUEUED, ok(samples.STARTING), ok(samples.STARTING), ok(samples.IDLE), **READY)
    logged = caplog.text or capfd.readouterr().out  # Airflow 3 logs past the standard library
    lines = re.findall(r"Spark session 12 in pool etl: (.*?)\s*(?:\[|$)", logged, re.MULTILINE)
    *changes, account = lines
    assert [line.rpartition(" → ")[2] for line in changes] == ["queued", "starting", "idle"]
    assert re.fullmatch(r"success after a wait of .*queued 16 s, acquiring nodes 4 s, starting .* s\.", account)


BAD_INPUTS = [
    ({"session_id": None}, InvalidSparkSessionIdError),
    ({"session_id": "None"}, InvalidSparkSessionIdError),
    ({"target_states": ["Idle"]}, SynapseLivyConfigurationError),
    ({"accepted_results": ["Success"]}, SynapseLivyConfigurationError),
    ({"synapse_livy_conn_id": "nowhere"}, SynapseLivyConfigurationError),
]


@ALL_MODES
@pytest.mark.parametrize(("options", "error"), BAD_INPUTS)
@pytest.mark.parametrize("soft_fail", [True, False])
def test_bad_input_is_an_error_before_any_request(serve, mode, options, error, soft_fail):
    """What can't work fails at once in every mode, and soft_fail does not hide it."""
    outcome = serve(mode, ok(samples.IDLE), **options, soft_fail=soft_fail)
    assert (outcome.state, type(outcome.error)) == ("up_for_retry", error)


@ALL_MODES
def test_ids_may_be_text(serve, mode):
    """Templates render ids as text."""
    assert serve(mode, QUEUED, ok(samples.IDLE), session_id="12", **READY).state == "success"


@ALL_MODES
def test_id_zero(serve, mode):
    """The first session of a pool has the id 0, which is an id like any other."""
    body = samples.session(id=0)
    assert serve(mode, ok(body | {"state": "busy"}), ok(body), session_id=0, **READY).state == "success"


def test_unreachable_workspace_does_not_outlast_the_timeout(connect):
    """However long a look may try again, it does not go beyond the sensor's timeout."""
    with ScriptedServer(b"") as gone:
        url = gone.url
    connect(airflow_connection(url))
    began = time.monotonic()
    assert {run(mode, timeout=1).state for mode in MODES} == {"up_for_retry"}
    assert time.monotonic() - began < 30


def test_context_may_be_empty(connect, synapse):
    """A unit test of a DAG may call execute without a context, and learns the true cause of a failure."""
    connect(synapse.airflow_connection("etl"))
    session_id = synapse.create_session("etl", "idles_out", age=200)
    with pytest.raises(SparkSessionFailedError, match="idled out"):
        make_sensor("poke", session_id=session_id).execute({})


class BrokenStore:
    """A memory of the task that fails."""

    def get(self, key):
        """Fail."""
        raise RuntimeError("no memory")

    set = get


def test_memory_is_not_worth_a_failure(connect, synapse):
    """What the sensor notes for a better log may be lost, but must not fail the wait."""
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
    parameters = inspect.signature(SynapseSparkSessionSensor).parameters
    defaults = {name: parameter.default for name, parameter in parameters.items() if name != "kwargs"}
    assert defaults == {
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
    with pytest.raises(TaskDeferred) as deferral:
        sensor.execute({"ti": TaskInstance()})
    _, kwargs = deferral.value.trigger.serialize()
    ((_, since),) = kwargs["trail"]
    assert kwargs == {
        "session_id": session_id,
        "synapse_livy_conn_id": "synapse_livy_default",
        "spark_pool_name": "etl",
        "livy_api_version": "2019-11-01-preview",
        "target_states": ["busy", "idle"],
        "accepted_results": ["Failed"],
        "accept_idle_timeout": True,
        "deadline": pytest.approx(since + 100, abs=1),
        "timeout": 100.0,
        "poke_interval": 7.0,
        "exponential_backoff": True,
        "max_wait": 9.0,
        "settle_timeout": 120.0,
        "silent_fail": True,
        "end_from_trigger": STARTS_FROM_TRIGGER,
        "trail": [["queued", since]],
    }
    assert set(kwargs) == set(inspect.signature(SynapseSparkSessionTrigger).parameters)
    assert deferral.value.timeout.total_seconds() == pytest.approx(400, abs=1)


def test_poke_looks_once(connect, synapse):
    """Called by itself, poke looks once, and says whether the wait is over."""
    connect(synapse.airflow_connection("etl"))
    waiting, ready = synapse.create_session("etl"), synapse.create_session("etl", age=70)
    assert not make_sensor("poke", session_id=waiting, **READY).poke({"ti": TaskInstance()})
    poked = make_sensor("poke", session_id=ready, **READY).poke({"ti": TaskInstance()})
    assert (bool(poked), poked.xcom_value["state"]) == (True, "idle")
    with pytest.raises(AirflowFailException, match="before it was seen idle"):
        make_sensor("poke", session_id=synapse.create_session("etl", "idles_out", age=200), **READY).poke(
            {"ti": TaskInstance()}
        )


GOOD_EVENT = {"verdict": "success", "session": IDLE, "activity_id": None, "links": {}}
ERROR = SynapseLivyError("words").to_dict()

MALFORMED_EVENTS = [
    None,
    {},
    [],
    "success",
    True,
    {"status": "success"},
    GOOD_EVENT | {"verdict": "splendid"},
    GOOD_EVENT | {"verdict": "wait"},
    GOOD_EVENT | {"verdict": None},
    GOOD_EVENT | {"session": None},
    GOOD_EVENT | {"session": samples.session(id=13)},
    GOOD_EVENT | {"verdict": "timeout", "session": samples.session(id=13)},
    GOOD_EVENT | {"links": None},
    GOOD_EVENT | {"session": {}},
    GOOD_EVENT | {"session": {"id": 12}},
    GOOD_EVENT | {"session": samples.NOT_STARTED},
    GOOD_EVENT | {"session": samples.DEAD},
    GOOD_EVENT | {"session": "idle"},
    GOOD_EVENT | {"verdict": "failure"},
    {"verdict": "success"},
    {"error": {}},
    {"error": "words"},
    {"error": ERROR | {"kind": "Exception"}},
    {"error": {"kind": "SynapseLivyError"}},
]


@pytest.mark.parametrize("event", MALFORMED_EVENTS, ids=repr)
@pytest.mark.parametrize("soft_fail", [True, False])
def test_malformed_events_are_errors(event, soft_fail):
    """Whatever a trigger sends but proof of a success is an error, never a success and never a skip."""
    sensor = make_sensor("deferrable", **READY, soft_fail=soft_fail)
    with pytest.raises(SynapseLivyResponseError, match="event"):
        sensor.resume_execution("execute_complete", {"event": event}, {"ti": TaskInstance()})


def test_missing_event_is_an_error():
    """Airflow may resume a task without any event."""
    with pytest.raises(SynapseLivyResponseError, match="event None"):
        make_sensor("deferrable").resume_execution("execute_complete", None, {"ti": TaskInstance()})


TRIGGER_TIMEOUT = ("__fail__", {"error": "Trigger timeout"})


@pytest.mark.parametrize(("soft_fail", "error"), [(False, AirflowSensorTimeout), (True, AirflowSkipException)])
def test_airflows_own_deferral_timeout_is_a_timeout(connect, synapse, soft_fail, error):
    """If Airflow gives the trigger up, that is the sensor's timeout, with the session in XCom."""
    connect(synapse.airflow_connection("etl"))
    task_instance = TaskInstance()
    sensor = make_sensor("deferrable", session_id=synapse.create_session("etl"), **READY, soft_fail=soft_fail)
    with pytest.raises(error, match="had not been idle within the sensor's timeout"):
        sensor.resume_execution(*TRIGGER_TIMEOUT, {"ti": task_instance})
    assert task_instance.xcoms["return_value"]["state"] == "not_started"


def test_last_look_after_a_deferral_timeout_may_succeed(connect, synapse):
    """What the triggerer did not see, the last look does."""
    connect(synapse.airflow_connection("etl"))
    sensor = make_sensor("deferrable", session_id=synapse.create_session("etl", age=70), **READY)
    assert sensor.resume_execution(*TRIGGER_TIMEOUT, {"ti": TaskInstance()})["state"] == "idle"


def test_cut_short(connect, synapse):
    """If Airflow ends a deferral for execution_timeout, the words name that, and not the sensor's timeout."""
    connect(synapse.airflow_connection("etl"))
    task_instance = TaskInstance()
    task_instance.start_date = datetime.now(UTC) - timedelta(seconds=10)
    limits = {"timeout": 3600, "execution_timeout": timedelta(seconds=10)}
    sensor = make_sensor("deferrable", session_id=synapse.create_session("etl"), **READY, **limits)
    with pytest.raises(SparkSessionTimeoutError, match="within the sensor's execution_timeout of 10 s.*") as caught:
        sensor.resume_execution(*TRIGGER_TIMEOUT, {"ti": task_instance})
    assert str(caught.value).endswith("raise the sensor's execution_timeout.")


def test_crashed_trigger_is_an_error_even_with_soft_fail():
    """A trigger that crashed says nothing about the session, so soft_fail does not skip the task."""
    sensor = make_sensor("deferrable", soft_fail=True)
    with pytest.raises(Exception, match="Trigger failure"):
        sensor.resume_execution("__fail__", {"error": "Trigger failure"}, {"ti": TaskInstance()})
