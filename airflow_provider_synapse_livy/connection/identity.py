"""Who asks for a token: the kinds of identity, what each needs, and how a connection says which it is."""

from __future__ import annotations

import logging
import os
import re
import textwrap
from dataclasses import dataclass, field
from enum import StrEnum

from airflow_provider_synapse_livy.connection.fields import ConnectionFields
from airflow_provider_synapse_livy.connection.network import Network, is_loopback
from airflow_provider_synapse_livy.connection.workspace import Workspace

__all__ = ["AUTO", "AuthType", "Identity", "authority_url", "is_pem", "is_token", "read_identity"]

log = logging.getLogger(__name__)

#: The value of ``auth_type`` by which what else is filled in tells the kind of identity; the same as none.
AUTO = "auto"


class AuthType(StrEnum):
    """How the identity proves itself: the other values of the connection's ``auth_type``."""

    CLIENT_SECRET = "client_secret"
    CLIENT_CERTIFICATE = "client_certificate"
    MANAGED_IDENTITY = "managed_identity"
    WORKLOAD_IDENTITY = "workload_identity"
    AZURE_CLI = "azure_cli"
    DEFAULT = "default"
    TOKEN = "token"
    CUSTOM = "custom"


@dataclass(frozen=True)
class Identity:
    """
    Who asks for a token, and where. What a kind of identity does not use is empty.

    :param auth_type: how the identity proves itself.
    :param scope: what the token is for.
    :param authority: the host of Microsoft Entra ID.
    :param network: how to reach it.
    :param tenant_id: the tenant.
    :param client_id: the application's client id, or the managed identity's.
    :param secret: the client secret, or the ready-made token.
    :param certificate: the certificate and its private key as PEM, or the file that holds them.
    :param certificate_password: what the private key is encrypted with.
    :param send_certificate_chain: whether to send the certificate along, for those that are trusted by their issuer.
    :param federated_credential_file: the file with the token that another identity provider has written.
    :param credential: the dotted path to what gives a credential.
    """

    auth_type: AuthType
    scope: str
    authority: str
    network: Network
    tenant_id: str = ""
    client_id: str = ""
    secret: str = field(default="", repr=False)
    certificate: str = field(default="", repr=False)
    certificate_password: str = field(default="", repr=False)
    send_certificate_chain: bool = False
    federated_credential_file: str = ""
    credential: str = ""


def read_identity(fields: ConnectionFields, workspace: Workspace, network: Network) -> Identity:
    """
    Read who asks, and see that what the kind of identity needs is there.

    :param fields: the connection's fields.
    :param workspace: where the token will go.
    :param network: how to reach Microsoft Entra ID.
    :raises SynapseLivyConfigurationError: if something is missing, or the token may not go there.
    """
    return _Reader(fields).identity(workspace, network)


@dataclass(frozen=True)
class _Reader:
    """Reads the fields that say who asks."""

    fields: ConnectionFields

    def identity(self, workspace: Workspace, network: Network) -> Identity:
        auth_type = self.auth_type()
        values = {name: self.value(name, auth_type) for name in _USES[auth_type]}
        for name, where in _NEEDED.get(auth_type, {}).items():
            if not values[name]:
                raise self.fields.error(f"{auth_type} needs {where}")
        self.check_destination(workspace, auth_type)
        self.check_token(auth_type)
        chain = auth_type is AuthType.CLIENT_CERTIFICATE and self.fields.flag("send_certificate_chain")
        return Identity(
            auth_type, workspace.scope, workspace.authority, network, send_certificate_chain=chain, **values
        )

    def auth_type(self) -> AuthType:
        name = self.fields.text("auth_type")
        if name in (None, AUTO):
            return self.chosen()
        try:
            return AuthType(name)
        except ValueError:
            names = ", ".join((AUTO, *AuthType))
            raise self.fields.error(f'the extra "auth_type" is {name!r}. Write one of {names}.') from None

    def chosen(self) -> AuthType:
        """Choose the kind of identity by what is filled in, and say so."""
        password = self.fields.password
        certificate = self.fields.text("certificate_path") or self.fields.text("certificate_private_key")
        if password and not is_pem(password) and certificate:
            raise self.fields.error(
                'a client secret and a certificate are filled in. Say which to use in the extra "auth_type". '
                'The password of a certificate is the extra "certificate_password".'
            )
        filled = {
            AuthType.CUSTOM: self.fields.text("credential"),
            AuthType.WORKLOAD_IDENTITY: self.fields.text("federated_credential_file"),
            AuthType.CLIENT_CERTIFICATE: self.certificate(),
            AuthType.CLIENT_SECRET: self.has_secret(),
        }
        auth_type = next((kind for kind, value in filled.items() if value), AuthType.DEFAULT)
        log.info(
            "Connection %s: auth_type is %s, because %s.",
            self.fields.connection.conn_id, auth_type, _INFERRED_BECAUSE[auth_type],
        )  # fmt: skip
        return auth_type

    def has_secret(self) -> bool:
        """Tell whether a secret is meant; half of one is an error, but to the azure provider as good as none."""
        halves = (self.fields.login, self.fields.password)
        return all(halves) if self.fields.connection.conn_type == "azure_synapse" else any(halves)

    def value(self, name: str, auth_type: AuthType) -> str:
        """Give what a kind of identity uses, from the fields, and for workload identities from the environment."""
        match name:
            case "secret":
                return self.fields.password
            case "certificate":
                return self.certificate()
            case "tenant_id" | "client_id":
                return self.id(name, auth_type)
            case "federated_credential_file":
                return self.fields.text(name) or os.environ.get("AZURE_FEDERATED_TOKEN_FILE", "")
            case _:
                return self.fields.text(name) or ""

    def id(self, name: str, auth_type: AuthType) -> str:
        fields = {
            "tenantId": self.fields.text("tenantId"),
            "workload_identity_tenant_id": self.fields.text("workload_identity_tenant_id"),
            "login": self.fields.login,
            "managed_identity_client_id": self.fields.text("managed_identity_client_id"),
            "AZURE_TENANT_ID": os.environ.get("AZURE_TENANT_ID"),
            "AZURE_CLIENT_ID": os.environ.get("AZURE_CLIENT_ID"),
        }
        return next((value for source in _IDS[auth_type][name] if (value := fields[source])), "")

    def certificate(self) -> str:
        """Give the file of the certificate, or the certificate that stands in the connection itself."""
        if path := self.fields.text("certificate_path"):
            return path
        extra = self.fields.text("certificate_private_key")
        if extra and not is_pem(extra):
            raise self.fields.error(
                'the extra "certificate_private_key" is no PEM, which has lines such as -----BEGIN CERTIFICATE-----. '
                'A file is named in the extra "certificate_path".'
            )
        pem = extra or self.fields.password
        return _with_line_breaks(pem) if is_pem(pem) else ""

    def check_destination(self, workspace: Workspace, auth_type: AuthType) -> None:
        """
        See that the token may go to the workspace.

        Only who can't get a token that is good elsewhere may ask for one for a host outside Microsoft's clouds: with
        the emulator's own authority, or with a ready-made token, which was meant for it.
        """
        own = is_loopback(workspace.endpoint) and is_loopback(authority_url(workspace.authority))
        if workspace.is_trusted or auth_type is AuthType.TOKEN or (own and auth_type in _ASK_THE_AUTHORITY):
            return
        raise self.fields.error(
            f"the host {workspace.endpoint} is outside Microsoft's clouds, and {auth_type} would send it a token for "
            f"{workspace.scope.removesuffix('/.default')}. If that is what you want, set the extra "
            '"allow_custom_host" to true.'
        )

    def check_token(self, auth_type: AuthType) -> None:
        if auth_type is AuthType.TOKEN and not is_token(self.fields.password):
            raise self.fields.error("the bearer token has spaces, line breaks or other characters that no token has.")


def authority_url(authority: str) -> str:
    """
    Give the address of an authority, which may be a bare host.

    :param authority: the host of Microsoft Entra ID.
    """
    return authority if "://" in authority else f"https://{authority}"


def is_pem(text: str) -> bool:
    """
    Tell a certificate or key from a secret or the name of a file.

    :param text: what it may be.
    """
    return "-----BEGIN " in text


def is_token(value: object) -> bool:
    """
    Tell whether something can stand in a header as a bearer token. HTTP libraries quote in their errors what can't.

    :param value: what it may be.
    """
    return isinstance(value, str) and re.fullmatch(r"[!-~]+", value) is not None


def _with_line_breaks(pem: str) -> str:
    """Put the line breaks back that a form's one line, or JSON's escapes, took away."""
    blocks = re.findall(r"-----BEGIN ([A-Z0-9 ]+)-----(.*?)-----END \1-----", pem.replace("\\n", "\n"), re.DOTALL)
    if not blocks or any(":" in body for _, body in blocks):  # headers of an old kind of key, which can't be mended
        return pem
    return "".join(
        f"-----BEGIN {name}-----\n{textwrap.fill(''.join(body.split()), 64)}\n-----END {name}-----\n"
        for name, body in blocks
    )


#: The kinds of identity that get their token at the authority, and nowhere else.
_ASK_THE_AUTHORITY = (AuthType.CLIENT_SECRET, AuthType.CLIENT_CERTIFICATE, AuthType.WORKLOAD_IDENTITY)

#: What each kind of identity uses; it needs all that :data:`_NEEDED` says where to find.
_USES: dict[AuthType, tuple[str, ...]] = {
    AuthType.CLIENT_SECRET: ("tenant_id", "client_id", "secret"),
    AuthType.CLIENT_CERTIFICATE: ("tenant_id", "client_id", "certificate", "certificate_password"),
    AuthType.MANAGED_IDENTITY: ("client_id",),
    AuthType.WORKLOAD_IDENTITY: ("tenant_id", "client_id", "federated_credential_file"),
    AuthType.AZURE_CLI: ("tenant_id",),
    AuthType.DEFAULT: ("tenant_id", "client_id"),
    AuthType.TOKEN: ("secret",),
    AuthType.CUSTOM: ("credential",),
}

_PRINCIPAL: dict[str, tuple[str, ...]] = {"tenant_id": ("tenantId",), "client_id": ("login",)}

#: Where each kind of identity finds its ids, the first that is filled in.
_IDS: dict[AuthType, dict[str, tuple[str, ...]]] = {
    AuthType.CLIENT_SECRET: _PRINCIPAL,
    AuthType.CLIENT_CERTIFICATE: _PRINCIPAL,
    AuthType.MANAGED_IDENTITY: {"client_id": ("managed_identity_client_id", "login")},
    AuthType.WORKLOAD_IDENTITY: {
        "tenant_id": ("tenantId", "workload_identity_tenant_id", "AZURE_TENANT_ID"),
        "client_id": ("login", "managed_identity_client_id", "AZURE_CLIENT_ID"),
    },
    AuthType.AZURE_CLI: {"tenant_id": ("tenantId",)},
    # What the environment says, the chain reads itself.
    AuthType.DEFAULT: {
        "tenant_id": ("workload_identity_tenant_id",),
        "client_id": ("managed_identity_client_id",),
    },
}

_TENANT = (
    'the tenant id. Write it into the field "Tenant ID" (extra "tenantId"); '
    "Azure portal > Microsoft Entra ID > Overview shows it."
)
_CLIENT = (
    'the application\'s client id. Write it into the field "Client ID" (login); '
    "Azure portal > Microsoft Entra ID > App registrations shows it."
)
_SECRET = (
    'a client secret. Write it into the field "Client secret" (password); '
    "make one in Azure portal > App registrations > Certificates & secrets."
)
_CERTIFICATE = (
    'a certificate with its private key. Name their file in the field "Certificate file" (extra '
    '"certificate_path"), or write them as PEM into the field "Client secret" (password).'
)
_FEDERATED = (
    'the file with the federated token. Name it in the field "Federated credential file" (extra '
    '"federated_credential_file"), or in AZURE_FEDERATED_TOKEN_FILE, as the webhook of AKS does.'
)
_TOKEN = 'a bearer token. Write it into the field "Client secret" (password).'
_CREDENTIAL = (
    'the dotted path to what gives a credential. Write it into the field "Credential class" (extra "credential").'
)

#: What each kind of identity can't do without, and where it is written.
_NEEDED: dict[AuthType, dict[str, str]] = {
    AuthType.CLIENT_SECRET: {"tenant_id": _TENANT, "client_id": _CLIENT, "secret": _SECRET},
    AuthType.CLIENT_CERTIFICATE: {"tenant_id": _TENANT, "client_id": _CLIENT, "certificate": _CERTIFICATE},
    AuthType.WORKLOAD_IDENTITY: {"tenant_id": _TENANT, "client_id": _CLIENT, "federated_credential_file": _FEDERATED},
    AuthType.TOKEN: {"secret": _TOKEN},
    AuthType.CUSTOM: {"credential": _CREDENTIAL},
}

#: Why each kind of identity that is chosen by what is filled in is the one.
_INFERRED_BECAUSE: dict[AuthType, str] = {
    AuthType.CUSTOM: "a credential class is named",
    AuthType.WORKLOAD_IDENTITY: "a federated credential file is named",
    AuthType.CLIENT_CERTIFICATE: "a certificate is filled in",
    AuthType.CLIENT_SECRET: "a client id or a client secret is filled in",
    AuthType.DEFAULT: "neither a client secret nor a certificate nor another credential is filled in",
}
