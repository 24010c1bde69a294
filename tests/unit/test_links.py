"""The links from a task to its Spark session."""

from __future__ import annotations

import json

import pytest

from airflow_provider_synapse_livy import links
from airflow_provider_synapse_livy.exceptions import SynapseLivyConfigurationError
from airflow_provider_synapse_livy.links import (
    LINKS_KEY,
    SPARK_SESSION_LINKS,
    DriverLogLink,
    SparkUiLink,
    SynapseStudioLink,
    link_xcoms,
    push_links,
    session_links,
)
from airflow_provider_synapse_livy.models import SparkSession
from tests.support import sample_sessions as samples
from tests.support.connections import connection

RESOURCE_ID = "/subscriptions/s/resourceGroups/r g/providers/Microsoft.Synapse/workspaces/ws"


def links_of(body, host="ws", **extra):
    """Return the links of a session."""
    return session_links(SparkSession.from_dict(body), connection(host=host, extra={"tenantId": "t"} | extra))


def test_spark_ui_and_driver_log():
    """The links to Spark UI and driver log are the URLs in the session's record."""
    assert links_of(samples.IDLE) == {
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
def test_unreachable_urls_are_no_links(url):
    """A URL outside Synapse Studio, such as a node inside the cluster of an old session, gets no link."""
    assert links_of(samples.session(appInfo={"sparkUiUrl": url, "driverLogUrl": url})) == {}
    assert links_of(samples.session(appInfo=None)) == {}


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
    assert links_of(body, host, workspace_resource_id=RESOURCE_ID) == {
        "Synapse Studio": f"https://{studio}/en/monitoring/sparkapplication/a%20b%2Fc"
        f"?workspace={workspace}&livyId=12&sparkPoolName=etl"
    }


@pytest.mark.parametrize("missing", ["name", "sparkPoolName"])
def test_no_studio_without_its_parts(missing):
    """If a part of the page's URL is unknown, there is no link to Synapse Studio."""
    assert links_of(samples.session(appInfo=None, **{missing: None}), workspace_resource_id=RESOURCE_ID) == {}


@pytest.mark.parametrize(
    "value", ["ws", "/subscriptions/s", RESOURCE_ID + "/bigDataPools/etl", "https://portal.azure.com"]
)
def test_invalid_resource_ids_are_refused(value):
    """A value that is not the resource id of a workspace is refused, with the form that it should have."""
    with pytest.raises(SynapseLivyConfigurationError, match="(?s)workspace_resource_id.*/subscriptions/<id>"):
        links_of(samples.IDLE, workspace_resource_id=value)


def test_operators_have_the_links():
    """Sensor and operator offer all links, under the names that users see."""
    from airflow_provider_synapse_livy.operators.spark_session import SynapseGetSparkSessionOperator
    from airflow_provider_synapse_livy.sensors.spark_session import SynapseSparkSessionSensor

    for operator in (SynapseSparkSessionSensor, SynapseGetSparkSessionOperator):
        assert operator.operator_extra_links is SPARK_SESSION_LINKS
    assert [link.name for link in SPARK_SESSION_LINKS] == ["Spark UI", "Driver log", "Synapse Studio"]
    assert [SparkUiLink, DriverLogLink, SynapseStudioLink] == [type(link) for link in SPARK_SESSION_LINKS]


@pytest.mark.parametrize(
    ("xcom", "urls"),
    [
        ({"Spark UI": "https://a", "Driver log": "https://b"}, ["https://a", "https://b", ""]),
        ({}, ["", "", ""]),
        (None, ["", "", ""]),
    ],
)
def test_airflow_gets_the_urls_from_xcom(monkeypatch, xcom, urls):
    """A link's URL is what the task has pushed under the link's name, and empty if it has pushed none."""

    class XComs:
        @staticmethod
        def get_value(*, ti_key, key):
            return {("the task instance", LINKS_KEY): xcom}[ti_key, key]

    monkeypatch.setattr(links, "XCom", XComs)
    assert [link.get_link(None, ti_key="the task instance") for link in SPARK_SESSION_LINKS] == urls


class TaskInstance:
    """Keeps XComs, or fails to."""

    def __init__(self, error=None):
        self.error = error
        self.xcoms = {}

    def xcom_push(self, key, value):
        """Keep an XCom."""
        if self.error:
            raise self.error
        self.xcoms[key] = value


@pytest.mark.parametrize("urls", [{"Spark UI": "https://a"}, {}])
def test_links_are_pushed_also_if_there_are_none(urls):
    """No links are pushed as such, since Airflow logs an error if the XCom is missing."""
    task_instance = TaskInstance()
    push_links({"ti": task_instance}, urls)
    assert task_instance.xcoms == {LINKS_KEY: urls}


@pytest.mark.parametrize("context", [{}, {"ti": TaskInstance(RuntimeError("no XCom"))}])
def test_failed_push_does_not_fail_the_task(context):
    """Links that can't be pushed, or have no task instance to be pushed by, are no error."""
    push_links(context, {"Spark UI": "https://a"})


def test_xcoms_of_a_task_that_is_in_the_triggerer():
    """The XComs are JSON: the links, and the one that Airflow 3 reads for each link, empty or not."""
    xcoms = link_xcoms({"Spark UI": "https://a"})
    assert xcoms == {
        LINKS_KEY: {"Spark UI": "https://a"},
        **{
            link.xcom_key: "https://a" if isinstance(link, SparkUiLink) else ""
            for link in SPARK_SESSION_LINKS
            if hasattr(link, "xcom_key")  # as Airflow 3 has it
        },
    }
    assert json.loads(json.dumps(xcoms)) == xcoms
