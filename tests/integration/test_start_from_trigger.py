"""Waits that begin, and end, in the triggerer. A real scheduler and triggerer run them in tests/airflow."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from airflow import DAG

from airflow_provider_synapse_livy.airflow_compat.sdk import TaskDeferred
from airflow_provider_synapse_livy.airflow_compat.versions import STARTS_FROM_TRIGGER
from airflow_provider_synapse_livy.exceptions import SparkSessionNotFoundError
from airflow_provider_synapse_livy.triggers.base import BEGIN_ON_WORKER
from airflow_provider_synapse_livy.triggers.spark_session import SynapseSparkSessionTrigger
from tests.integration.test_trigger import events, make_trigger
from tests.support import sample_sessions as samples
from tests.support.sensor_runner import TaskInstance, TaskStateStore, make_sensor, started_trigger

PULLED = "{{ ti.xcom_pull('create') }}"
PULLED_BY_INDEX = "{{ ti.xcom_pull('create', map_indexes=-1) }}"

needs_start = pytest.mark.skipif(not STARTS_FROM_TRIGGER, reason="no task starts in the triggerer before Airflow 3.3")


def starts(**options):
    """Return whether a sensor starts in the triggerer."""
    return make_sensor("start_from_trigger", **options).start_from_trigger


@needs_start
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, True),
        ({"session_id": 0}, True),
        ({"session_id": "{{ params.id }}"}, True),
        ({"session_id": PULLED_BY_INDEX}, True),
        ({"session_id": PULLED}, False),
        ({"spark_pool_name": PULLED}, False),
        ({"target_states": ["idle", PULLED]}, False),
        ({"target_states": {"idle"}}, True),
        ({"session_id": SimpleNamespace(output="an XComArg")}, False),
        ({"session_id": "{{ ti.xcom_pull('create', map_indexes=None) }}"}, False),
        ({"session_id": PULLED_BY_INDEX + PULLED}, False),
        ({"session_id": "{{ ti.xcom_pull('a', map_indexes=-1) ~ ti.xcom_pull('b') }}"}, False),
        ({"session_id": "{{ ti.get_ti_count(dag_id='x') }}"}, False),
        ({"spark_pool_name": "etl{{ a_macro_of_the_dag }}"}, False),
        ({"spark_pool_name": "{{ params.pool | a_filter_of_the_dag }}"}, False),
        ({"spark_pool_name": "{{ params.pool | lower }}-{{ ds }}"}, True),
        ({"spark_pool_name": "{{ triggering_asset_events }}"}, False),
        ({"spark_pool_name": "{{ unclosed"}, False),
        ({"dag": DAG("native", schedule=None, render_template_as_native_obj=True)}, False),
        ({"dag": DAG("text", schedule=None)}, True),
    ],
)
def test_starts_where_the_triggerer_can_render(options, expected):
    """A task starts in the triggerer if that can render all of its templates."""
    assert starts(**options) is expected


@pytest.mark.skipif(STARTS_FROM_TRIGGER, reason="Airflow 3.3 can")
def test_older_airflow_starts_nothing():
    """Before Airflow 3.3, no task starts in the triggerer, but it still defers."""
    sensor = make_sensor("start_from_trigger")
    assert (sensor.start_from_trigger, sensor.deferrable) == (False, True)


@needs_start
def test_arguments_are_json_and_the_triggers_own():
    """The scheduler is given JSON, and just the parameters of the trigger."""
    sensor = make_sensor("start_from_trigger", target_states={"idle", "busy"}, max_wait=timedelta(minutes=1))
    kwargs = sensor.start_trigger_args.trigger_kwargs
    assert json.loads(json.dumps(kwargs)) == kwargs
    of_others = {"history", "first_poll_at", "links", "cancel_on_kill"}  # a sensor owns nothing that it would cancel
    expected = set(SynapseSparkSessionTrigger(**kwargs).serialize()[1]) - of_others
    assert set(kwargs) == expected
    assert (kwargs["target_states"], kwargs["options"]["max_wait"]) == (["busy", "idle"], 60.0)


@needs_start
@pytest.mark.parametrize(("execution_timeout", "given"), [(None, 30 + 300), (timedelta(seconds=10), 10)])
def test_start_follows_from_when_airflow_would_stop_it(connect, synapse, execution_timeout, given):
    """The wait began when the scheduler started it, which a restarted triggerer learns from when it would end."""
    connect(synapse.airflow_connection("etl"))
    sensor = make_sensor("start_from_trigger", execution_timeout=execution_timeout)
    kwargs = sensor.start_trigger_args.trigger_kwargs | {"session_id": synapse.create_session("etl")}
    began = datetime.now(UTC) - timedelta(seconds=31)
    trigger = started_trigger(kwargs, sensor, began + timedelta(seconds=given))
    (event,) = asyncio.run(asyncio.wait_for(events(trigger), timeout=20))
    assert event["verdict"] == "timeout"


def run_started(try_number=1, **options):
    """Start a sensor in the triggerer, and return the event."""
    sensor = make_sensor("start_from_trigger", **options)
    kwargs = sensor.start_trigger_args.trigger_kwargs
    trigger = started_trigger(kwargs, sensor, datetime.now(UTC) + sensor.start_trigger_args.timeout, try_number)
    (event,) = asyncio.run(events(trigger))
    return event


@needs_start
@pytest.mark.parametrize("retries", [0, 2])
def test_first_try_begins_in_the_triggerer(connect, retries, synapse):
    """The first try polls the session there, whether or not others may follow."""
    connect(synapse.airflow_connection("missing"))
    assert run_started(retries=retries)["error"]["kind"] == "SparkSessionNotFoundError"


@needs_start
def test_later_try_begins_on_a_worker():
    """A retry that starts in the triggerer goes to a worker at once, and so does the first try after a clearing."""
    assert run_started(try_number=2) == BEGIN_ON_WORKER


@needs_start
@pytest.mark.parametrize("name", ["session_id", "spark_pool_name"])
def test_what_can_not_be_rendered_begins_on_a_worker(name):
    """A misspelt parameter is not rendered as nothing: it would name another pool, or the wrong session."""
    assert run_started(**{name: "1{{ params.mispelt }}"}) == BEGIN_ON_WORKER


@needs_start
def test_templates_are_rendered(connect, synapse):
    """The triggerer renders the templates that it can render."""
    connect(synapse.airflow_connection("etl"))
    event = run_started(session_id="99{{ params.id }}")
    assert "Spark session 9912 in pool etl" in event["error"]["message"]


@needs_start
def test_changed_task_begins_on_a_worker():
    """If the DAG was changed while the task waits, a restarted triggerer has no task and no templates."""
    trigger = make_trigger(deadline=None)
    trigger.task_instance = SimpleNamespace(task_id="wait", try_number=1)
    assert asyncio.run(events(trigger)) == [BEGIN_ON_WORKER]


@needs_start
def test_retry_keeps_the_deadline(connect, synapse):
    """A retry defers with what the first try, which began in the triggerer, has left of the timeout."""
    connect(synapse.airflow_connection("etl"))
    session_id = synapse.create_session("etl")
    task_instance = TaskInstance()
    task_instance.max_tries = task_instance.task.retries = 1
    began = time.time()
    task_instance.start_date = datetime.now(UTC) - timedelta(seconds=20)
    context = {"ti": task_instance, "task_state_store": TaskStateStore()}
    options = {"session_id": session_id, "target_states": ["idle"], "retries": 1}
    failed = {"error": SparkSessionNotFoundError("It is not there.").to_dict()}
    with pytest.raises(SparkSessionNotFoundError):
        make_sensor("start_from_trigger", **options).resume_execution("execute_complete", {"event": failed}, context)
    task_instance.try_number, task_instance.start_date = 2, datetime.now(UTC)
    sensor = make_sensor("start_from_trigger", **options)
    with pytest.raises(TaskDeferred) as deferral:
        sensor.resume_execution("execute_complete", {"event": BEGIN_ON_WORKER}, context)
    # Twenty of the thirty seconds had passed before the first try failed.
    assert began + 10 <= deferral.value.trigger.deadline <= time.time() + 10


@needs_start
@pytest.mark.parametrize(
    "obstacle",
    [
        {"on_success_callback": print},
        {"on_execute_callback": print},
        {"pre_execute": print},
        {"post_execute": print},
        {"outlets": ["a dataset"]},
        {"do_xcom_push": False},
        {"multiple_outputs": True},
    ],
)
def test_what_airflow_leaves_out_keeps_the_end_on_a_worker(obstacle):
    """A task with callbacks or outlets, which an end in the triggerer would leave out, ends on a worker."""
    for options, expected in (({}, True), (obstacle, False)):
        sensor = make_sensor("start_from_trigger", end_from_trigger=True, **options)
        assert sensor.start_trigger_args.trigger_kwargs["end_from_trigger"] is expected


def test_end_falls_back_to_a_worker(connect, synapse):
    """If the triggerer can't push the XComs, as here without Airflow's supervisor, the task ends on a worker."""
    connect(synapse.airflow_connection("etl"))
    session_id = synapse.create_session("etl", age=70)
    (event,) = asyncio.run(events(make_trigger(session_id=session_id, end_from_trigger=True)))
    assert (event["verdict"], event["record"]["state"]) == ("success", samples.IDLE["state"])
