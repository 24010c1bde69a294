"""OpenLineage's settings for Spark come from Airflow's own provider, where that is installed; nothing needs it."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from airflow_provider_synapse_livy.airflow_compat.openlineage import with_openlineage

SETTINGS = {"spark.x": "y"}


@pytest.fixture
def provider(monkeypatch):
    """Install a stand-in for the module of Airflow's provider, whose functions add a setting each."""
    spark = ModuleType("airflow.providers.openlineage.utils.spark")
    spark.inject_parent_job_information_into_spark_properties = lambda settings, _: settings | {"parent": "1"}
    spark.inject_transport_information_into_spark_properties = lambda settings, _: settings | {"transport": "1"}
    utils = ModuleType("airflow.providers.openlineage.utils")
    utils.spark = spark
    monkeypatch.setitem(sys.modules, "airflow.providers.openlineage", ModuleType("airflow.providers.openlineage"))
    monkeypatch.setitem(sys.modules, "airflow.providers.openlineage.utils", utils)
    monkeypatch.setitem(sys.modules, "airflow.providers.openlineage.utils.spark", spark)


@pytest.mark.usefixtures("provider")
@pytest.mark.parametrize(
    ("parent_job", "transport", "added"),
    [
        (False, False, {}),
        (True, False, {"parent": "1"}),
        (False, True, {"transport": "1"}),
        (True, True, {"parent": "1", "transport": "1"}),
    ],
)
def test_what_is_asked_for_is_added(parent_job, transport, added):
    """Each of the two is added if it is asked for, and the settings that were given stay."""
    settings = with_openlineage(SETTINGS, {}, parent_job=parent_job, transport=transport)
    assert settings == SETTINGS | added
    assert SETTINGS == {"spark.x": "y"}


def test_without_the_provider(monkeypatch, caplog):
    """Where the provider is not installed, the log says so, and the session is created without."""
    monkeypatch.setitem(sys.modules, "airflow.providers.openlineage.utils", None)
    assert with_openlineage(SETTINGS, {}, parent_job=True, transport=True) == SETTINGS
    assert "apache-airflow-providers-openlineage is not installed" in caplog.text
