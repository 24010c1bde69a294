"""The page for those who come from other operators names all of their parameters, and only parameters of ours."""

from __future__ import annotations

import re

import pytest

from airflow_provider_synapse_livy.operators import spark_batch, spark_session, spark_statement
from airflow_provider_synapse_livy.sensors import spark_batch as batch_sensor
from tests.support.project import PROJECT
from tests.support.sample_options import SIZES

PAGE = (PROJECT / "docs" / "coming-from.md").read_text()

#: All parameters of the others, in the versions that the page names.
THEIRS = {
    "AzureSynapseRunSparkBatchOperator": {
        "azure_synapse_conn_id", "wait_for_termination", "spark_pool", "payload", "timeout", "check_interval"
    },
    "Field of `payload`": {
        "name", "file", "tags", "artifact_id", "class_name", "arguments", "jars", "python_files", "files", "archives",
        "configuration", "driver_memory", "driver_cores", "executor_memory", "executor_cores", "executor_count",
    },
    "LivyOperator": {
        "file", "class_name", "args", "conf", "jars", "py_files", "files", "driver_memory", "driver_cores",
        "executor_memory", "executor_cores", "num_executors", "archives", "queue", "name", "proxy_user", "livy_conn_id",
        "livy_conn_auth_type", "livy_endpoint_prefix", "polling_interval", "extra_options", "extra_headers",
        "retry_args", "deferrable", "openlineage_inject_parent_job_info", "openlineage_inject_transport_info",
        "durable",
    },
    "LivySensor": {"batch_id", "livy_conn_id", "livy_conn_auth_type", "extra_options", "endpoint_prefix"},
    "MSFabricLivyBatchOperator": {
        "fabric_conn_id", "workspace_id", "lakehouse_id", "file", "class_name", "name", "py_files", "jars", "files",
        "args", "num_executors", "executor_cores", "executor_memory", "driver_cores", "driver_memory", "conf",
        "job_params", "timeout", "check_interval", "deferrable", "wait_for_termination", "api_host", "scope",
        "link_base_url",
    },
}  # fmt: skip


def rows(heading):
    """Return the rows of the table with that first heading."""
    lines = PAGE[PAGE.index(f"| {heading} |") :].splitlines()[2:]
    return [line.strip("|").split("|") for line in lines[: next(i for i, line in enumerate(lines) if line[:1] != "|")]]


def names(text):
    """Return the names that stand in marks of code."""
    return set(re.findall(r"`(\w+)`", text))


@pytest.mark.parametrize("heading", THEIRS)
def test_all_parameters_are_in_the_table(heading):
    """Each parameter of the other operator has a place in its table."""
    assert THEIRS[heading] <= {name for row in rows(heading) for name in names(row[0])}


@pytest.mark.parametrize("heading", THEIRS)
def test_ours_exist(heading):
    """Each name in the column of ours is an attribute of our operator or sensor."""
    if heading == "LivySensor":
        ours = batch_sensor.SynapseSparkBatchSensor(task_id="wait", batch_id=1)
    else:
        ours = spark_batch.SynapseRunSparkBatchOperator(task_id="run", file="f", **SIZES)
    for row in rows(heading):
        for name in names(row[1]):
            assert hasattr(ours, name), name


def test_classes_exist():
    """The classes of ours that the page names exist."""
    modules = (spark_batch, spark_session, spark_statement, batch_sensor)
    known = {name for module in modules for name in module.__all__} | {"SynapseSparkSessionSensor"}
    assert set(re.findall(r"\bSynapse\w+(?:Operator|Sensor)\b", PAGE)) <= known
