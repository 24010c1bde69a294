"""OpenLineage's settings for Spark, by the functions of Airflow's own provider, where that is installed."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_synapse_livy.airflow_compat.sdk import conf

if TYPE_CHECKING:
    from airflow_provider_synapse_livy.airflow_compat.sdk import Context

__all__ = ["injects_parent_job_info", "injects_transport_info", "with_openlineage"]

log = logging.getLogger(__name__)


def injects_parent_job_info() -> bool:
    """Return whether Airflow is set to tell Spark of the task that starts it."""
    return bool(conf.getboolean("openlineage", "spark_inject_parent_job_info", fallback=False))


def injects_transport_info() -> bool:
    """Return whether Airflow is set to tell Spark where to send OpenLineage's events."""
    return bool(conf.getboolean("openlineage", "spark_inject_transport_info", fallback=False))


def with_openlineage(
    settings: Mapping[str, str], context: Context, *, parent_job: bool, transport: bool
) -> dict[str, Any]:
    """
    Return Spark's settings with those that OpenLineage's listener needs.

    :param settings: Spark's settings.
    :param context: the task's context.
    :param parent_job: whether to add what tells of this task.
    :param transport: whether to add where events are sent.
    """
    result = dict(settings)
    if not (parent_job or transport):
        return result
    try:
        from airflow.providers.openlineage.utils import spark
    except ImportError:
        log.warning("OpenLineage's settings can't be added: apache-airflow-providers-openlineage is not installed.")
        return result
    if parent_job:
        result = spark.inject_parent_job_information_into_spark_properties(result, context)
    if transport:
        result = spark.inject_transport_information_into_spark_properties(result, context)
    return result
