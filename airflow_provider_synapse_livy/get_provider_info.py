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

_TEXT: dict[str, Any] = {"type": ["string", "null"]}
_SECRET: dict[str, Any] = {"type": ["string", "null"], "format": "password"}
_SWITCH: dict[str, Any] = {"type": ["boolean", "null"]}


def _field(label: str, description: str, schema: dict[str, Any] = _TEXT) -> dict[str, Any]:
    return {"label": label, "description": description, "schema": schema}


def _choice(*values: str) -> dict[str, Any]:
    return {"type": ["string", "null"], "enum": list(values)}


#: The fields of the connection form that Airflow has no standard field for, those first that most will fill in.
#: Airflow masks an extra field by its name alone, so what is secret has "password", "private_key" or "proxies" in it.
CONNECTION_FIELDS: dict[str, dict[str, Any]] = {
    "tenantId": _field(
        "Tenant ID", "The directory (tenant) id of the identity. Azure portal > Microsoft Entra ID > Overview."
    ),
    "spark_pool_name": _field(
        "Spark pool", "The pool to use where a task names none. Synapse Studio > Manage > Apache Spark pools."
    ),
    "auth_type": _field(
        "Authentication",
        "How the identity proves itself. Left blank or auto: what is filled in tells, and the task's log says which.",
        _choice(
            "auto",
            "client_secret",
            "client_certificate",
            "managed_identity",
            "workload_identity",
            "azure_cli",
            "default",
            "token",
            "custom",
        ),
    ),
    "cloud_environment": _field(
        "Cloud",
        "Only needed if the host is the workspace's name alone, and not in the public cloud.",
        _choice("AzurePublicCloud", "AzureChinaCloud", "AzureUSGovernment"),
    ),
    "certificate_path": _field(
        "Certificate file",
        "A PEM or PKCS12 file with certificate and private key, on every worker and triggerer.",
    ),
    "certificate_private_key": _field(
        "Certificate and private key",
        "Both as PEM, instead of a file; the field Client secret takes them as well. Line breaks may be missing.",
        _SECRET,
    ),
    "certificate_password": _field(
        "Certificate password", "What the private key is encrypted with, if at all.", _SECRET
    ),
    "send_certificate_chain": _field(
        "Send certificate chain",
        "Sends the certificate along, for an application that trusts its subject name and issuer.",
        _SWITCH,
    ),
    "managed_identity_client_id": _field(
        "Managed identity client ID",
        "The client id of a user-assigned managed identity. Azure portal > Managed Identities > Overview.",
    ),
    "workload_identity_tenant_id": _field(
        "Workload identity tenant ID", "The tenant of a workload identity, if Tenant ID is blank."
    ),
    "federated_credential_file": _field(
        "Federated credential file",
        "The file with the federated token of a workload identity; AZURE_FEDERATED_TOKEN_FILE if left blank.",
    ),
    "credential": _field(
        "Credential class",
        "The dotted path to a class or function that gives a TokenCredential; workers and triggerers import it.",
    ),
    "livy_api_version": _field("Livy API version", "The version of the Livy API; 2020-12-01 if left blank."),
    "workspace_resource_id": _field(
        "Workspace resource ID", "For links to Synapse Studio. Azure portal > the workspace > Properties."
    ),
    "proxies": _field(
        "Proxy",
        "The proxy to Microsoft Entra ID and Synapse, http://proxy.example:3128; the environment's if left blank.",
    ),
    "verify": _field(
        "CA bundle", "A file or folder of CA certificates to trust instead of the usual ones; false trusts any."
    ),
    "timeout": _field(
        "Timeout",
        "Seconds to wait for a connection, and as long again for the answer; 30 if left blank.",
        {"type": ["number", "null"], "minimum": 0.1},
    ),
    "endpoint_suffix": _field(
        "Endpoint suffix",
        "For an air-gapped cloud: what follows the workspace's name in its development endpoint.",
    ),
    "authority": _field(
        "Authority", "The host of Microsoft Entra ID, where it is not the one of the workspace's cloud."
    ),
    "scope": _field("Scope", "What a token is asked for, where it is not the Synapse of the workspace's cloud."),
    "allow_custom_host": _field(
        "Allow custom host",
        "Lets a host outside Microsoft's clouds, such as a gateway, receive tokens that are good for Synapse.",
        _SWITCH,
    ),
}

#: What becomes of the standard fields. The port stays in sight: Airflow 3.3.1 and 3.3.2 test no connection without one.
UI_FIELD_BEHAVIOUR: dict[str, Any] = {
    "hidden-fields": ["schema", "extra"],
    "relabeling": {
        "host": "Workspace development endpoint",
        "port": "Port (443; the Test button of Airflow 3.3 needs it)",
        "login": "Client ID",
        "password": "Client secret",
    },
    "placeholders": {
        "host": "https://<workspace>.dev.azuresynapse.net (Azure portal > the workspace > Overview)",
        "port": "443",
        "login": "application (client) id (Azure portal > Microsoft Entra ID > App registrations)",
        "password": "client secret, certificate with private key as PEM, or token",
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
