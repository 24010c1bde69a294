"""
What Airflow asks about this package: its parts, and the form of its connection.

Airflow imports this module whenever it starts, so it imports nothing of weight. The fields of the form are
declared here once: Airflow 3.2 and later read them from the provider info, and the hook makes the widgets that
older versions ask for from the same data.
"""

from __future__ import annotations

from typing import Any

from airflow_provider_synapse_livy import __version__

__all__ = ["CONNECTION_FIELDS", "UI_FIELD_BEHAVIOUR", "get_provider_info"]

#: The fields of the connection form that Airflow has no standard field for.
CONNECTION_FIELDS: dict[str, dict[str, Any]] = {
    "tenantId": {
        "label": "Tenant ID",
        "description": "The directory (tenant) id of the identity. Azure portal > Microsoft Entra ID > Overview.",
        "schema": {"type": ["string", "null"]},
    },
    "spark_pool_name": {
        "label": "Spark pool",
        "description": "The pool to use where a task names none. Synapse Studio > Manage > Apache Spark pools.",
        "schema": {"type": ["string", "null"]},
    },
    "auth_type": {
        "label": "Authentication",
        "description": (
            "client_secret: client id, client secret and tenant id. default: what the machine offers "
            "(DefaultAzureCredential). token: a bearer token in the client secret's place. "
            "Left blank: client_secret if any of its fields is filled in, else default."
        ),
        "schema": {"type": ["string", "null"], "enum": ["client_secret", "default", "token"]},
    },
    "livy_api_version": {
        "label": "Livy API version",
        "description": "The version of the Livy API; 2020-12-01 if left blank.",
        "schema": {"type": ["string", "null"]},
    },
    "verify": {
        "label": "CA bundle",
        "description": "A file or folder of CA certificates to trust instead of the usual ones; false trusts any.",
        "schema": {"type": ["string", "null"]},
    },
    "timeout": {
        "label": "Timeout",
        "description": "Seconds to wait for a connection, and for each piece of an answer; 30 if left blank.",
        "schema": {"type": ["number", "null"], "minimum": 0.1},
    },
    "workspace_resource_id": {
        "label": "Workspace resource ID",
        "description": "For links to Synapse Studio. Azure portal > the workspace > Properties.",
        "schema": {"type": ["string", "null"]},
    },
    "authority": {
        "label": "Authority",
        "description": "The host of Microsoft Entra ID, where it is not the one of the workspace's cloud.",
        "schema": {"type": ["string", "null"]},
    },
}

#: What becomes of the standard fields.
UI_FIELD_BEHAVIOUR: dict[str, Any] = {
    "hidden-fields": ["schema", "extra"],
    "relabeling": {
        "host": "Workspace development endpoint",
        "login": "Client ID",
        "password": "Client secret",
    },
    "placeholders": {
        "host": "https://<workspace>.dev.azuresynapse.net",
        "port": "443",
        "login": "application (client) id",
        "password": "client secret",
    },
}


def get_provider_info() -> dict[str, Any]:
    """Describe this package to Airflow, in the form of ``airflow/provider.yaml.schema.json``."""
    package = "airflow_provider_synapse_livy"
    integration = "Azure Synapse Livy"
    return {
        "package-name": "airflow-provider-synapse-livy",
        "name": integration,
        "description": "Wait for and read the Livy Spark sessions of Azure Synapse Analytics.",
        "versions": [__version__],
        "state": "ready",
        "integrations": [
            {
                "integration-name": integration,
                "external-doc-url": "https://learn.microsoft.com/rest/api/synapse/data-plane/spark-session",
                "tags": ["azure"],
            }
        ],
        "hooks": [{"integration-name": integration, "python-modules": [f"{package}.hooks.synapse_livy"]}],
        "operators": [{"integration-name": integration, "python-modules": [f"{package}.operators.spark_session"]}],
        "sensors": [{"integration-name": integration, "python-modules": [f"{package}.sensors.spark_session"]}],
        "triggers": [{"integration-name": integration, "python-modules": [f"{package}.triggers.spark_session"]}],
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
