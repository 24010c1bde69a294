"""What Airflow asks about this package whenever it starts, so this module imports nothing but data."""

from __future__ import annotations

from typing import Any

from airflow_provider_synapse_livy import __version__
from airflow_provider_synapse_livy.connection.form import CONNECTION_FIELDS, UI_FIELD_BEHAVIOUR

__all__ = ["get_provider_info"]


def get_provider_info() -> dict[str, Any]:
    """Return the description of this package for Airflow, as ``airflow/provider.yaml.schema.json`` wants it."""
    package = "airflow_provider_synapse_livy"
    integration = "Azure Synapse Livy"
    return {
        "package-name": "airflow-provider-synapse-livy",
        "name": integration,
        "description": "Create, use, await and cancel Livy Spark sessions and batch jobs of Azure Synapse Analytics.",
        "versions": [__version__],
        "state": "ready",
        "build-system": "hatchling",
        "integrations": [
            {
                "integration-name": integration,
                "external-doc-url": "https://learn.microsoft.com/rest/api/synapse/data-plane/spark-session",
                # These two stand in the sources alone, as for Airflow's own providers.
                "how-to-guide": [
                    f"/docs/{page}.md" for page in ("sessions", "sensor", "statements", "batches", "hook")
                ],
                "logo": "/integration-logos/synapse-livy.svg",
                "tags": ["azure"],
            }
        ],
        "hooks": [{"integration-name": integration, "python-modules": [f"{package}.hooks.synapse_livy"]}],
        "operators": [{"integration-name": integration, "python-modules": _modules("operators")}],
        "sensors": [{"integration-name": integration, "python-modules": _modules("sensors")}],
        "triggers": [{"integration-name": integration, "python-modules": _modules("triggers")}],
        "task-decorators": [
            {"name": "synapse_pyspark", "class-name": f"{package}.decorators.synapse_pyspark.synapse_pyspark_task"}
        ],
        "extra-links": [f"{package}.links.{name}" for name in ("SparkUiLink", "DriverLogLink", "SynapseStudioLink")],
        "connection-types": [
            {
                "connection-type": "synapse_livy",
                "hook-class-name": f"{package}.hooks.synapse_livy.SynapseLivyHook",
                "hook-name": integration,
                "conn-fields": CONNECTION_FIELDS,
                "ui-field-behaviour": UI_FIELD_BEHAVIOUR,
            }
        ],
    }


def _modules(folder: str) -> list[str]:
    names = ("spark_batch", "spark_session", "spark_statement")
    return [f"airflow_provider_synapse_livy.{folder}.{name}" for name in names]
