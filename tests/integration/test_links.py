"""The links that sensor and operator leave, however they end; what a link is stands in tests/unit/test_links.py."""

from __future__ import annotations

import contextlib

import pytest

from airflow_provider_synapse_livy.airflow_compat.sdk import TaskDeferred
from airflow_provider_synapse_livy.exceptions import SparkSessionNotFoundError, SynapseLivyPermissionError
from airflow_provider_synapse_livy.links import LINKS_KEY
from airflow_provider_synapse_livy.operators.spark_session import (
    SynapseCancelSparkSessionOperator,
    SynapseGetSparkSessionOperator,
)
from airflow_provider_synapse_livy.sensors.spark_session import SynapseSparkSessionSensor
from tests.support import sample_sessions as samples
from tests.support.connections import airflow_connection
from tests.support.scripted_server import ScriptedServer, http
from tests.support.sensor_runner import MODES, TaskInstance, make_sensor


def pushed(run):
    """Return the links that a task pushes."""
    task_instance = TaskInstance()
    with contextlib.suppress(Exception, TaskDeferred):
        run({"ti": task_instance})
    return task_instance.xcoms[LINKS_KEY]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("scenario", "age"), [("becomes_idle", 70), ("idles_out", 200), ("cancelled_while_idle", 70)])
def test_sensor_leaves_links_however_it_goes_on(connect, synapse, mode, scenario, age):
    """The links are in XCom after a success, a failure, a deferral and a reschedule."""
    connect(synapse.airflow_connection("etl"))
    session_id = synapse.create_session("etl", scenario, age=age)
    sensor = make_sensor(mode, session_id=session_id, target_states={"busy"}, timeout=0.01)
    assert set(pushed(sensor.execute)) == {"Spark UI", "Driver log"}


def test_sensor_leaves_links_after_a_deferral(connect, synapse):
    """A task that resumes after a deferral pushes the links in the trigger's event."""
    connect(synapse.airflow_connection("etl"))
    sensor = make_sensor("deferrable", target_states={"idle"})
    event = {
        "resource": "Spark session",
        "verdict": "success",
        "record": samples.IDLE,
        "activity_id": None,
        "links": {"Spark UI": "https://x"},
    }
    found = pushed(lambda context: sensor.resume_execution("execute_complete", {"event": event}, context))
    assert found == event["links"]


class Resumed(TaskInstance):
    """A task instance of a task that has deferred, with the XComs that were pushed until then."""

    task_id, map_index = "wait", -1

    def xcom_pull(self, task_ids, key, map_indexes):
        """Return an XCom of this task."""
        assert (task_ids, map_indexes) == (self.task_id, self.map_index)
        return self.xcoms.get(key)


@pytest.mark.parametrize("kind", [SynapseSparkSessionSensor, SynapseCancelSparkSessionOperator])
@pytest.mark.parametrize("known", [{"Spark UI": "https://a"}, {}, None])
def test_links_that_are_known_are_kept(connect, kind, known):
    """A task whose last poll fails after a deferral keeps the known links, and leaves none only if there are none."""
    task_instance = Resumed()
    if known is not None:
        task_instance.xcoms[LINKS_KEY] = known
    with ScriptedServer(http(403)) as server:
        connect(airflow_connection(server.url))
        task = kind(task_id="wait", session_id=12, timeout=60, deferrable=True)
        with pytest.raises(SynapseLivyPermissionError):
            task.resume_execution("__fail__", {"error": "Trigger timeout"}, {"ti": task_instance})
    assert task_instance.xcoms[LINKS_KEY] == (known or {})


def test_links_are_those_of_the_end():
    """A record that has lost its links, such as one whose start was cancelled, leaves none after a deferral as well."""
    task_instance = Resumed()
    task_instance.xcoms[LINKS_KEY] = {"Spark UI": "https://a"}
    sensor = make_sensor("deferrable", target_states=None, accepted_results={"Cancelled"})
    event = {
        "resource": "Spark session",
        "verdict": "success",
        "record": samples.CANCELLED_IN_QUEUE,
        "activity_id": None,
        "links": {},
    }
    sensor.resume_execution("execute_complete", {"event": event}, {"ti": task_instance})
    assert task_instance.xcoms[LINKS_KEY] == {}


def test_ended_wait_needs_no_connection(connect):
    """A task whose wait ended in the triggerer succeeds without reading the connection again."""
    sensor = make_sensor("deferrable", synapse_livy_conn_id="gone", target_states={"idle"})
    event = {
        "resource": "Spark session",
        "verdict": "success",
        "record": samples.IDLE,
        "activity_id": None,
        "links": {},
    }
    returned = sensor.resume_execution("execute_complete", {"event": event}, {"ti": TaskInstance()})
    assert returned["state"] == "idle"


class NoXComs(TaskInstance):
    """A task instance that can't push XComs."""

    def xcom_push(self, key, value):
        """Fail."""
        raise RuntimeError("no XCom")


@pytest.mark.parametrize("mode", MODES)
def test_links_are_not_worth_a_failure(connect, synapse, mode):
    """If the links can't be pushed, the task ends as it would with them."""
    connect(synapse.airflow_connection("etl"))
    sensor = make_sensor(mode, session_id=99_999)
    with pytest.raises(SparkSessionNotFoundError):
        sensor.execute({"ti": NoXComs()})


@pytest.mark.parametrize("mode", MODES)
def test_no_links_are_left_as_such(connect, synapse, mode):
    """If the session can't be read, an empty XCom is pushed, since Airflow logs an error if it is missing."""
    connect(synapse.airflow_connection("etl"))
    assert pushed(make_sensor(mode, session_id=99_999).execute) == {}


def test_operator_leaves_links(connect, synapse):
    """The operator pushes links, too, and an empty XCom if there are none."""
    connect(synapse.airflow_connection("etl"))
    session_id = synapse.create_session("etl", age=70)
    operator = SynapseGetSparkSessionOperator(task_id="read", session_id=session_id)
    assert set(pushed(operator.execute)) == {"Spark UI", "Driver log"}
    missing = SynapseGetSparkSessionOperator(task_id="read", session_id=99_999)
    task_instance = TaskInstance()
    with pytest.raises(SparkSessionNotFoundError):
        missing.execute({"ti": task_instance})
    assert task_instance.xcoms == {LINKS_KEY: {}}
