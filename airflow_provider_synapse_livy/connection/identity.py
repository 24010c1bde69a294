"""Who signs in, and how: one table of what each auth type needs, where it is written, and who issues the token."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import NamedTuple

from airflow_provider_synapse_livy.connection.fields import ConnectionFields, is_pem
from airflow_provider_synapse_livy.connection.network import Network, authority_url, is_loopback
from airflow_provider_synapse_livy.connection.workspace import Workspace

__all__ = [
    "AUTH_METHODS",
    "AUTO",
    "AuthMethod",
    "AuthType",
    "Identity",
    "Value",
    "is_token",
    "read_identity",
]

log = logging.getLogger(__name__)

#: The value of ``auth_type`` that leaves the choice to the fields that are filled in; the same as none.
AUTO = "auto"


class AuthType(StrEnum):
    """How an identity signs in: the other values of the connection's ``auth_type``."""

    CLIENT_SECRET = "client_secret"
    CLIENT_CERTIFICATE = "client_certificate"
    MANAGED_IDENTITY = "managed_identity"
    WORKLOAD_IDENTITY = "workload_identity"
    AZURE_CLI = "azure_cli"
    DEFAULT = "default"
    TOKEN = "token"
    CUSTOM = "custom"


class Value(NamedTuple):
    """
    A value that an identity uses.

    :param sources: where it is found, in the terms of :meth:`ConnectionFields.find`.
    :param what: what it is, in words, if the auth type can't do without it.
    :param fix: where to write it.
    """

    sources: tuple[str, ...]
    what: str = ""
    fix: str = ""


@dataclass(frozen=True)
class AuthMethod:
    """
    What the package knows of one auth type.

    :param values: the values that it uses, by their names in :class:`Identity`.
    :param refused_fix: what to do if the issuer refuses the token.
    :param issuer: who issues the token.
    :param asked_at: where that is, with a ``{}`` for the identity; empty if the issuer's name tells.
    :param is_inferred_from: whether the fields that are filled in mean this type; None if ``auth_type`` has to say so.
    :param inferred_because: why they do, in words.
    :param asks_authority: whether the token is asked for at the authority and nowhere else.
    """

    values: Mapping[str, Value]
    refused_fix: str
    issuer: str = "Microsoft Entra ID"
    asked_at: str = "It was asked at {0.authority}."
    is_inferred_from: Callable[[ConnectionFields], object] | None = None
    inferred_because: str = ""
    asks_authority: bool = False


@dataclass(frozen=True)
class Identity:
    """
    Who signs in, how, and where. What an auth type does not use is empty.

    :param auth_type: how the identity signs in.
    :param scope: the scope of the token.
    :param authority: the host of Microsoft Entra ID.
    :param network: how to reach it.
    :param tenant_id: the tenant.
    :param client_id: the application's client id, or the managed identity's.
    :param secret: the client secret, or the ready-made token.
    :param certificate: the certificate and its private key as PEM, or the file that holds them.
    :param certificate_password: what the private key is encrypted with.
    :param send_certificate_chain: whether to send the certificate along, for those that are trusted by their issuer.
    :param federated_credential_file: the file with the token that another identity provider has written.
    :param credential: the dotted path to a credential class, or to a function that returns a credential.
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

    def secrets(self) -> set[str]:
        """Return what the identity proves itself with; the name of a certificate's file is no secret."""
        certificate = self.certificate if is_pem(self.certificate) else ""
        return {self.secret, certificate, self.certificate_password} - {""}

    def without_secrets(self) -> Identity:
        """Return the identity without what it proves itself with, and without proxies, which may hold a password."""
        network = replace(self.network, proxies=None)
        return replace(self, network=network, secret="", certificate="", certificate_password="")


_TENANT = Value(
    ("tenantId",),
    "the tenant id",
    'write it into the field "Tenant ID" (extra "tenantId"); Azure portal > Microsoft Entra ID > Overview shows it.',
)
_CLIENT = Value(
    ("login",),
    "the application's client id",
    'write it into the field "Client ID" (login); Azure portal > App registrations shows it.',
)
_SECRET = Value(
    ("password",),
    "a client secret",
    'write it into the field "Client secret" (password); Azure portal > App registrations makes one.',
)
_CERTIFICATE = Value(
    ("certificate_path", "pem"),
    "a certificate with its private key",
    'name their file in "Certificate file" (extra "certificate_path"), or write them as PEM into "Client secret".',
)
_FEDERATED_FILE = Value(
    ("federated_credential_file", "AZURE_FEDERATED_TOKEN_FILE"),
    "the file with the federated token",
    'name it in "Federated credential file" (extra "federated_credential_file") or AZURE_FEDERATED_TOKEN_FILE.',
)
_TOKEN = Value(("password",), "a bearer token", 'write it into the field "Client secret" (password).')
_CREDENTIAL = Value(
    ("credential",), "the dotted path to a credential", 'write it into "Credential class" (extra "credential").'
)
_PRINCIPAL = {"tenant_id": _TENANT, "client_id": _CLIENT}


def _is_secret_given(fields: ConnectionFields) -> bool:
    """Return whether a secret is meant; half of one is an error, but the azure provider ignores it."""
    halves = (fields.login, fields.password)
    return all(halves) if fields.connection.conn_type == "azure_synapse" else any(halves)


#: What there is to know of each auth type. The order is the one in which the fields that are filled in decide.
AUTH_METHODS: dict[AuthType, AuthMethod] = {
    AuthType.CUSTOM: AuthMethod(
        {"credential": _CREDENTIAL},
        "correct the credential class, or what it signs in with.",
        issuer="The credential class",
        asked_at="It is {0.credential}.",
        is_inferred_from=lambda fields: fields.text("credential"),
        inferred_because="a credential class is named",
    ),
    AuthType.WORKLOAD_IDENTITY: AuthMethod(
        {
            "tenant_id": _TENANT._replace(sources=("tenantId", "workload_identity_tenant_id", "AZURE_TENANT_ID")),
            "client_id": _CLIENT._replace(sources=("login", "managed_identity_client_id", "AZURE_CLIENT_ID")),
            "federated_credential_file": _FEDERATED_FILE,
        },
        "compare tenant id, client id and the federated token with the application's registration.",
        is_inferred_from=lambda fields: fields.text("federated_credential_file"),
        inferred_because="a federated credential file is named",
        asks_authority=True,
    ),
    AuthType.CLIENT_CERTIFICATE: AuthMethod(
        _PRINCIPAL | {"certificate": _CERTIFICATE, "certificate_password": Value(("certificate_password",))},
        "compare tenant id, client id and certificate with the application's registration.",
        is_inferred_from=lambda fields: fields.find(*_CERTIFICATE.sources),
        inferred_because="a certificate is filled in",
        asks_authority=True,
    ),
    AuthType.CLIENT_SECRET: AuthMethod(
        _PRINCIPAL | {"secret": _SECRET},
        "compare tenant id, client id and client secret with the application's registration.",
        is_inferred_from=_is_secret_given,
        inferred_because="a client id or a client secret is filled in",
        asks_authority=True,
    ),
    AuthType.DEFAULT: AuthMethod(
        # The chain itself reads what the environment says.
        {
            "tenant_id": Value(("workload_identity_tenant_id",)),
            "client_id": Value(("managed_identity_client_id",)),
        },
        "fill in the connection's credentials, or give this machine an identity.",
        issuer="DefaultAzureCredential",
        asked_at="",
        is_inferred_from=lambda _: True,
        inferred_because="neither a client secret nor a certificate nor another credential is filled in",
    ),
    AuthType.MANAGED_IDENTITY: AuthMethod(
        {"client_id": Value(("managed_identity_client_id", "login"))},
        "give this machine the managed identity, or correct its client id.",
        issuer="The managed identity's endpoint on this machine",
        asked_at="",
    ),
    AuthType.AZURE_CLI: AuthMethod(
        {"tenant_id": Value(("tenantId",))},
        "run az login as the user that runs Airflow, or choose another auth_type.",
        issuer="The Azure CLI",
        asked_at="",
    ),
    AuthType.TOKEN: AuthMethod({"secret": _TOKEN}, "write another bearer token.", issuer="The connection", asked_at=""),
}


def read_identity(fields: ConnectionFields, workspace: Workspace, network: Network) -> Identity:
    """
    Read who signs in, and check that what the auth type needs is there.

    :param fields: the connection's fields.
    :param workspace: where the token will be sent.
    :param network: how to reach Microsoft Entra ID.
    :raises SynapseLivyConfigurationError: if something is missing, or the token may not be sent there.
    """
    auth_type = _auth_type(fields)
    found = {name: _find(fields, auth_type, value) for name, value in AUTH_METHODS[auth_type].values.items()}
    _check_destination(fields, workspace, auth_type)
    if auth_type is AuthType.TOKEN and not is_token(fields.password):
        event = "the bearer token has characters that no token has, such as spaces or line breaks."
        raise fields.error(event, 'write the token alone into the field "Client secret" (password).')
    chain = auth_type is AuthType.CLIENT_CERTIFICATE and fields.flag("send_certificate_chain")
    return Identity(auth_type, workspace.scope, workspace.authority, network, send_certificate_chain=chain, **found)


def _auth_type(fields: ConnectionFields) -> AuthType:
    name = fields.text("auth_type")
    if name in (None, AUTO):
        return _inferred(fields)
    try:
        return AuthType(name)
    except ValueError:
        names = ", ".join((AUTO, *AuthType))
        raise fields.wrong_extra("auth_type", "use one of the valid values.", f"Valid values: {names}.") from None


def _inferred(fields: ConnectionFields) -> AuthType:
    """Return the auth type that the fields that are filled in mean, and log it."""
    certificate = fields.text("certificate_path") or fields.text("certificate_private_key")
    if fields.password and not is_pem(fields.password) and certificate:
        raise fields.error(
            "a client secret and a certificate are filled in.",
            'name the one to use in the extra "auth_type".',
            'The password of a certificate is the extra "certificate_password".',
        )
    meant = ((key, row) for key, row in AUTH_METHODS.items() if row.is_inferred_from and row.is_inferred_from(fields))
    auth_type, method = next(meant)
    conn_id = fields.connection.conn_id
    log.info("Connection %s: auth_type is %s, because %s.", conn_id, auth_type, method.inferred_because)
    return auth_type


def _find(fields: ConnectionFields, auth_type: AuthType, value: Value) -> str:
    found = fields.find(*value.sources)
    if value.what and not found:
        raise fields.error(f"{auth_type} needs {value.what}.", value.fix)
    return found


def _check_destination(fields: ConnectionFields, workspace: Workspace, auth_type: AuthType) -> None:
    """
    Check that the token may be sent to the workspace.

    Only an identity that can't get a token that is good elsewhere may ask for one for a host outside Microsoft's
    clouds: with the emulator's own authority, or with a ready-made token, which was meant for it.
    """
    local = is_loopback(workspace.endpoint) and is_loopback(authority_url(workspace.authority))
    own = local and AUTH_METHODS[auth_type].asks_authority
    if workspace.is_trusted or own or auth_type is AuthType.TOKEN:
        return
    audience = workspace.scope.removesuffix("/.default")
    raise fields.error(
        "the host is outside Microsoft's clouds.",
        'correct the host; if this one is meant, set the extra "allow_custom_host" to true.',
        f"{auth_type} would send {workspace.endpoint} a token for {audience}.",
    )


def is_token(value: object) -> bool:
    """
    Return whether a value can stand in a header as a bearer token. HTTP libraries quote in their errors what can't.

    :param value: the value.
    """
    return isinstance(value, str) and re.fullmatch(r"[!-~]+", value) is not None
