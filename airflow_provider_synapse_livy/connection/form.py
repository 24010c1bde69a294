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

_IDENTITY = "Identity"
_NETWORK = "Network"
_ADVANCED = "Advanced"


def _field(label: str, description: str, schema: dict[str, Any] = _TEXT, *, group: str = "") -> dict[str, Any]:
    """Return a field. A group is a section of the form, which Airflow reads from the schema."""
    section = {"section": group} if group else {}
    return {"label": label, "description": description, "schema": schema | section}


def _choice(*values: str) -> dict[str, Any]:
    return {"type": ["string", "null"], "enum": list(values)}


#: The fields that Airflow has no standard field for: what nearly every connection needs, then group by group, the most
#: used first. Airflow masks an extra field by its name alone, so the name of each secret contains "password",
#: "private_key" or "proxies".
CONNECTION_FIELDS: dict[str, dict[str, Any]] = {
    "tenantId": _field("Tenant ID", "Directory (tenant) ID. Azure portal > Microsoft Entra ID > Overview."),
    "spark_pool_name": _field(
        "Spark pool", "Used by tasks that name no pool. Synapse Studio > Manage > Apache Spark pools."
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
    "certificate_path": _field(
        "Certificate file",
        "Path to a PEM or PKCS12 file with certificate and private key, on every worker and triggerer.",
        group=_IDENTITY,
    ),
    "certificate_private_key": _field(
        "Certificate and private key",
        "Both as PEM text, instead of a file. The field Client secret takes them as well.",
        _SECRET,
        group=_IDENTITY,
    ),
    "certificate_password": _field(
        "Certificate password", "Only if the private key is encrypted.", _SECRET, group=_IDENTITY
    ),
    "send_certificate_chain": _field(
        "Send certificate chain",
        "Needed if the application trusts the certificate by its subject name and issuer.",
        _SWITCH,
        group=_IDENTITY,
    ),
    "managed_identity_client_id": _field(
        "Managed identity client ID",
        "Of a user-assigned managed identity. Azure portal > Managed Identities > Overview.",
        group=_IDENTITY,
    ),
    "federated_credential_file": _field(
        "Federated credential file",
        "Path to the token of a workload identity. Blank: the file that AZURE_FEDERATED_TOKEN_FILE names.",
        group=_IDENTITY,
    ),
    "workload_identity_tenant_id": _field(
        "Workload identity tenant ID", "Only if Tenant ID is blank.", group=_IDENTITY
    ),
    "credential": _field(
        "Credential class",
        "Dotted path to your own class or function that returns a TokenCredential.",
        group=_IDENTITY,
    ),
    "proxies": _field(
        "Proxy",
        "For Microsoft Entra ID and Synapse, such as http://proxy.example:3128. Blank: the environment's.",
        group=_NETWORK,
    ),
    "proxy_password": _field(
        "Proxy password",
        "Only if Proxy has a user without one: http://user@proxy.example:3128.",
        _SECRET,
        group=_NETWORK,
    ),
    "verify": _field(
        "CA bundle",
        "Path to a file or folder of CA certificates to trust instead of the usual ones. false: trust any certificate.",
        group=_NETWORK,
    ),
    "timeout": _field(
        "Timeout",
        "Seconds to wait for a connection, and again for the response. Blank: 30.",
        {"type": ["number", "null"], "minimum": 0.1},
        group=_NETWORK,
    ),
    "workspace_resource_id": _field(
        "Workspace resource ID",
        "For links to Synapse Studio. Azure portal > the workspace > Properties > Resource ID.",
        group=_ADVANCED,
    ),
    "livy_api_version": _field("Livy API version", "Blank: 2020-12-01.", group=_ADVANCED),
    "cloud_environment": _field(
        "Cloud",
        "Only if the host is just a workspace's name, and the workspace is not in the public cloud.",
        _choice("AzurePublicCloud", "AzureChinaCloud", "AzureUSGovernment"),
        group=_ADVANCED,
    ),
    "endpoint_suffix": _field(
        "Endpoint suffix",
        "For an air-gapped cloud: what follows the workspace's name in its development endpoint.",
        group=_ADVANCED,
    ),
    "authority": _field(
        "Authority", "The host of Microsoft Entra ID. Blank: that of the workspace's cloud.", group=_ADVANCED
    ),
    "scope": _field(
        "Scope", "The scope of the token. Blank: that of Synapse in the workspace's cloud.", group=_ADVANCED
    ),
    "allow_custom_host": _field(
        "Allow custom host",
        "Allows sending tokens for Synapse to a host outside Microsoft's clouds, such as a gateway.",
        _SWITCH,
        group=_ADVANCED,
    ),
}

#: What becomes of the standard fields. The port stays visible: Airflow 3.3.1 and 3.3.2 refuse to test a connection
#: without one, before this package is asked, so the field itself must say it.
UI_FIELD_BEHAVIOUR: dict[str, Any] = {
    "hidden-fields": ["schema", "extra"],
    "relabeling": {
        "host": "Workspace development endpoint",
        "port": "Port",
        "login": "Client ID",
        "password": "Client secret",
    },
    "placeholders": {
        "host": "https://myworkspace.dev.azuresynapse.net",
        "port": '443 (if blank, Test may say "Bad Request")',
        "login": "Application (client) ID",
        "password": "Secret, certificate with key as PEM, or token",
    },
}
