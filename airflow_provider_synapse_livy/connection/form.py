"""
The fields and help texts of Airflow's connection form, as data.

They are declared here once: Airflow 3.2 and newer read them from the provider info, and the hook builds the widgets
for older versions from them. Airflow imports this module whenever it starts, so it imports nothing else.
"""

from __future__ import annotations

from typing import Any

__all__ = ["CONNECTION_FIELDS", "UI_FIELD_BEHAVIOUR"]

_TEXT: dict[str, Any] = {"type": ["string", "null"]}
_SECRET: dict[str, Any] = {"type": ["string", "null"], "format": "password"}
_SWITCH: dict[str, Any] = {"type": ["boolean", "null"]}


def _field(label: str, description: str, schema: dict[str, Any] = _TEXT) -> dict[str, Any]:
    return {"label": label, "description": description, "schema": schema}


def _choice(*values: str) -> dict[str, Any]:
    return {"type": ["string", "null"], "enum": list(values)}


#: The fields that Airflow has no standard field for, the most used first. Airflow masks an extra field by its name
#: alone, so the name of each secret contains "password", "private_key" or "proxies".
CONNECTION_FIELDS: dict[str, dict[str, Any]] = {
    "tenantId": _field(
        "Tenant ID", "The directory (tenant) ID of the identity. Azure portal > Microsoft Entra ID > Overview."
    ),
    "spark_pool_name": _field(
        "Spark pool", "The pool for tasks that name none. Synapse Studio > Manage > Apache Spark pools."
    ),
    "auth_type": _field(
        "Authentication",
        "How to sign in. Blank or auto: chosen from the fields you fill in (the task log says which).",
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
        "Only needed if the host is just the workspace's name and the workspace is not in the public cloud.",
        _choice("AzurePublicCloud", "AzureChinaCloud", "AzureUSGovernment"),
    ),
    "certificate_path": _field(
        "Certificate file",
        "Path to a PEM or PKCS12 file with certificate and private key, on every worker and triggerer.",
    ),
    "certificate_private_key": _field(
        "Certificate and private key",
        "Both in PEM format, instead of a file. The Client secret field accepts them too. Line breaks may be missing.",
        _SECRET,
    ),
    "certificate_password": _field(
        "Certificate password", "The password of the private key, if it is encrypted.", _SECRET
    ),
    "send_certificate_chain": _field(
        "Send certificate chain",
        "Sends the certificate with each token request, for subject name and issuer authentication.",
        _SWITCH,
    ),
    "managed_identity_client_id": _field(
        "Managed identity client ID",
        "The client ID of a user-assigned managed identity. Azure portal > Managed Identities > Overview.",
    ),
    "workload_identity_tenant_id": _field(
        "Workload identity tenant ID", "The tenant of a workload identity, if Tenant ID is blank."
    ),
    "federated_credential_file": _field(
        "Federated credential file",
        "Path to the federated token of a workload identity. Blank: AZURE_FEDERATED_TOKEN_FILE.",
    ),
    "credential": _field(
        "Credential class",
        "Dotted path to a class or function that returns a TokenCredential, importable by workers and triggerers.",
    ),
    "livy_api_version": _field("Livy API version", "The version of the Livy API. Blank: 2020-12-01."),
    "workspace_resource_id": _field(
        "Workspace resource ID", "Needed for links to Synapse Studio. Azure portal > the workspace > Properties."
    ),
    "proxies": _field(
        "Proxy",
        "The proxy for Microsoft Entra ID and Synapse, such as http://proxy.example:3128. Blank: the environment's.",
    ),
    "proxy_password": _field(
        "Proxy password", "Keeps the password out of the address: http://user@proxy.example:3128 in Proxy.", _SECRET
    ),
    "verify": _field(
        "CA bundle",
        "Path to a file or folder of CA certificates to trust instead of the usual ones. false: trust any certificate.",
    ),
    "timeout": _field(
        "Timeout",
        "Seconds to wait for a connection, and then for the response. Blank: 30.",
        {"type": ["number", "null"], "minimum": 0.1},
    ),
    "endpoint_suffix": _field(
        "Endpoint suffix",
        "For an air-gapped cloud: what follows the workspace's name in its development endpoint.",
    ),
    "authority": _field("Authority", "The host of Microsoft Entra ID. Blank: the one of the workspace's cloud."),
    "scope": _field("Scope", "The scope to request tokens for. Blank: Synapse in the workspace's cloud."),
    "allow_custom_host": _field(
        "Allow custom host",
        "Allows sending tokens for Synapse to a host outside Microsoft's clouds, such as a gateway.",
        _SWITCH,
    ),
}

#: What becomes of the standard fields. The port stays visible: the Test button of Airflow 3.3.1 and 3.3.2 needs one.
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
        "login": "application (client) ID (Azure portal > Microsoft Entra ID > App registrations)",
        "password": "client secret, certificate with private key as PEM, or token",
    },
}
