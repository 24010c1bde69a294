"""The links from a task to its session."""

from __future__ import annotations

import contextlib

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_synapse_livy.exceptions import SparkSessionNotFoundError, SynapseLivyConfigurationError
from airflow_provider_synapse_livy.links import (
    LINKS_KEY,
    SPARK_SESSION_LINKS,
    DriverLogLink,
    SparkUiLink,
    SynapseStudioLink,
    session_links,
)
from airflow_provider_synapse_livy.models import SparkSession
from airflow_provider_synapse_livy.operators.spark_session import SynapseGetSparkSessionOperator
from airflow_provider_synapse_livy.sensors.spark_session import SynapseSparkSessionSensor
from tests.support import sample_sessions as samples
from tests.support.connections import connection
from tests.support.sensor_runner import MODES, TaskInstance, make_sensor

RESOURCE_ID = "/subscriptions/s/resourceGroups/r g/providers/Microsoft.Synapse/workspaces/ws"


def links(body, host="ws", **extra):
    """Give the links of a session."""
    return session_links(SparkSession.from_dict(body), connection(host=host, extra={"tenantId": "t"} | extra))


def test_spark_ui_and_driver_log():
    """Spark UI and driver's log are those that the session tells."""
    assert links(samples.IDLE) == {
        "Spark UI": samples.IDLE["appInfo"]["sparkUiUrl"],
        "Driver log": samples.IDLE["appInfo"]["driverLogUrl"],
    }


@pytest.mark.parametrize(
    "url",
    [
        None,
        "",
        5,
        "http://web.azuresynapse.net/sparkui/x",
        "http://53e52930712f:8088/proxy/application_1/",
        "https://53e52930712f:8088/proxy/application_1/",
        "https://web.azuresynapse.net.evil.example/sparkui",
        "javascript:alert(1)",
        "https://[",
    ],
)
def test_addresses_that_lead_nowhere_are_no_links(url):
    """Old sessions have addresses of nodes in their cluster, and some have none; there is no link then."""
    assert links(samples.session(appInfo={"sparkUiUrl": url, "driverLogUrl": url})) == {}
    assert links(samples.session(appInfo=None)) == {}


@pytest.mark.parametrize(
    ("host", "studio"),
    [
        ("ws", "web.azuresynapse.net"),
        ("ws.dev.azuresynapse.azure.cn", "web.azuresynapse.azure.cn"),
        ("ws.dev.azuresynapse.usgovcloudapi.net", "web.azuresynapse.usgovcloudapi.net"),
    ],
)
def test_studio(host, studio):
    """With the workspace's resource id, there is a link to the session's page in the Studio of its cloud."""
    body = samples.session(name="a b/c", appInfo=None)
    workspace = "%2Fsubscriptions%2Fs%2FresourceGroups%2Fr+g%2Fproviders%2FMicrosoft.Synapse%2Fworkspaces%2Fws"
    assert links(body, host, workspace_resource_id=RESOURCE_ID) == {
        "Synapse Studio": f"https://{studio}/en/monitoring/sparkapplication/a%20b%2Fc"
        f"?workspace={workspace}&livyId=12&sparkPoolName=etl"
    }


@pytest.mark.parametrize("missing", ["name", "sparkPoolName"])
def test_no_studio_without_its_parts(missing):
    """Where a part of the page's address is not known, there is no link."""
    assert links(samples.session(appInfo=None, **{missing: None}), workspace_resource_id=RESOURCE_ID) == {}


@pytest.mark.parametrize(
    "value", ["ws", "/subscriptions/s", RESOURCE_ID + "/bigDataPools/etl", "https://portal.azure.com"]
)
def test_resource_ids_that_are_none(value):
    """What is no resource id of a workspace is refused."""
    with pytest.raises(SynapseLivyConfigurationError, match="workspace_resource_id.*/subscriptions/<id>"):
        links(samples.IDLE, workspace_resource_id=value)


def test_operators_have_the_links():
    """Sensor and operator offer all links, under the names that people see."""
    for operator in (SynapseSparkSessionSensor, SynapseGetSparkSessionOperator):
        assert operator.operator_extra_links is SPARK_SESSION_LINKS
    assert [link.name for link in SPARK_SESSION_LINKS] == ["Spark UI", "Driver log", "Synapse Studio"]
    assert [SparkUiLink, DriverLogLink, SynapseStudioLink] == [type(link) for link in SPARK_SESSION_LINKS]


def pushed(run):
    """Give the links that a task leaves."""
    task_instance = TaskInstance()
    with contextlib.suppress(Exception, TaskDeferred):
        run({"ti": task_instance})
    return task_instance.xcoms[LINKS_KEY]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("scenario", "age"), [("becomes_idle", 70), ("idles_out", 200), ("cancelled_while_idle", 70)])
def test_sensor_leaves_links_however_it_goes_on(connect, synapse, mode, scenario, age):
    """After a success, a failure, a deferral and a rescheduling alike, the links are in XCom."""
    connect(synapse.airflow_connection("etl"))
    session_id = synapse.create_session("etl", scenario, age=age)
    sensor = make_sensor(mode, session_id=session_id, target_states={"busy"}, timeout=0.01)
    assert set(pushed(sensor.execute)) == {"Spark UI", "Driver log"}


def test_sensor_leaves_links_after_a_deferral(connect, synapse):
    """A deferred task that comes back leaves the links of the session in the event."""
    connect(synapse.airflow_connection("etl"))
    sensor = make_sensor("deferrable", target_states={"idle"})
    event = {"verdict": "success", "session": samples.IDLE, "activity_id": None, "links": {"Spark UI": "https://x"}}
    found = pushed(lambda context: sensor.resume_execution("execute_complete", {"event": event}, context))
    assert found == event["links"]


def test_ended_wait_needs_no_connection(connect):
    """What the triggerer has proved stands, also if the worker can't read the connection any more."""
    sensor = make_sensor("deferrable", synapse_livy_conn_id="gone", target_states={"idle"})
    event = {"verdict": "success", "session": samples.IDLE, "activity_id": None, "links": {}}
    returned = sensor.resume_execution("execute_complete", {"event": event}, {"ti": TaskInstance()})
    assert returned["state"] == "idle"


class NoXComs(TaskInstance):
    """A task whose XComs can't be written."""

    def xcom_push(self, key, value):
        """Fail."""
        raise RuntimeError("no XCom")


@pytest.mark.parametrize("mode", MODES)
def test_links_are_not_worth_a_failure(connect, synapse, mode):
    """If the links can't be kept, the task ends as it would with them."""
    connect(synapse.airflow_connection("etl"))
    sensor = make_sensor(mode, session_id=99_999)
    with pytest.raises(SparkSessionNotFoundError):
        sensor.execute({"ti": NoXComs()})


@pytest.mark.parametrize("mode", MODES)
def test_no_links_are_left_as_such(connect, synapse, mode):
    """If the session can't be read there are no links, which must be said: Airflow calls a missing XCom an error."""
    connect(synapse.airflow_connection("etl"))
    assert pushed(make_sensor(mode, session_id=99_999).execute) == {}


def test_operator_leaves_links(connect, synapse):
    """The operator leaves links, too, and says if there are none."""
    connect(synapse.airflow_connection("etl"))
    session_id = synapse.create_session("etl", age=70)
    operator = SynapseGetSparkSessionOperator(task_id="read", session_id=session_id)
    assert set(pushed(operator.execute)) == {"Spark UI", "Driver log"}
    missing = SynapseGetSparkSessionOperator(task_id="read", session_id=99_999)
    task_instance = TaskInstance()
    with pytest.raises(SparkSessionNotFoundError):
        missing.execute({"ti": task_instance})
    assert task_instance.xcoms == {LINKS_KEY: {}}
