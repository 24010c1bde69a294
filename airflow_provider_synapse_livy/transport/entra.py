"""How an identity gets a token: its credential, one request to Microsoft Entra ID, and what a refusal means."""

from __future__ import annotations

import importlib
import inspect
import logging
import math
import re
import sys
from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from airflow_provider_synapse_livy.connection.clouds import CLOUDS
from airflow_provider_synapse_livy.connection.identity import AuthType, Identity, authority_url, is_pem, is_token
from airflow_provider_synapse_livy.livy.errors import (
    SynapseLivyAuthenticationError,
    SynapseLivyConfigurationError,
    SynapseLivyError,
    SynapseLivyUnavailableError,
)
from airflow_provider_synapse_livy.livy.responses import causes

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken, TokenCredential

__all__ = ["AADSTS_REMEDIES", "request_token"]

#: azure-identity tells of each request in a dozen lines, at a level that Airflow shows in the task's log.
_http_log = logging.getLogger(f"{__name__}.http")
_http_log.setLevel(logging.WARNING)


class _ReadyMadeToken:
    """The credential for a token that somebody else obtained: there is no other to be had, so it never ages here."""

    def __init__(self, token: str) -> None:
        self._token = token

    def get_token(self, *_scopes: str, **_options: Any) -> AccessToken:
        from azure.core.credentials import AccessToken

        return AccessToken(self._token, sys.maxsize)


def _ready_made_token(identity: Identity, _options: dict[str, Any]) -> TokenCredential:
    return _ReadyMadeToken(identity.secret)


def _client_secret(identity: Identity, options: dict[str, Any]) -> TokenCredential:
    from azure.identity import ClientSecretCredential

    return ClientSecretCredential(identity.tenant_id, identity.client_id, identity.secret, **options)


def _client_certificate(identity: Identity, options: dict[str, Any]) -> TokenCredential:
    from azure.identity import CertificateCredential

    key = identity.certificate
    where = {"certificate_data": key.encode()} if is_pem(key) else {"certificate_path": key}
    return CertificateCredential(
        identity.tenant_id,
        identity.client_id,
        password=identity.certificate_password or None,
        send_certificate_chain=identity.send_certificate_chain,
        **cast("dict[str, Any]", where),
        **options,
    )


def _managed_identity(identity: Identity, options: dict[str, Any]) -> TokenCredential:
    from azure.identity import ManagedIdentityCredential

    return ManagedIdentityCredential(client_id=identity.client_id or None, **options)


def _workload_identity(identity: Identity, options: dict[str, Any]) -> TokenCredential:
    from azure.identity import WorkloadIdentityCredential

    return WorkloadIdentityCredential(
        tenant_id=identity.tenant_id,
        client_id=identity.client_id,
        token_file_path=identity.federated_credential_file,
        **options,
    )


def _azure_cli(identity: Identity, _options: dict[str, Any]) -> TokenCredential:
    from azure.identity import AzureCliCredential

    return AzureCliCredential(tenant_id=identity.tenant_id, process_timeout=math.ceil(identity.network.timeout))


def _default(identity: Identity, options: dict[str, Any]) -> TokenCredential:
    """Make the chain. An id that is None would keep it from reading the environment's, so none is given then."""
    from azure.identity import DefaultAzureCredential

    ids = {"managed_identity_client_id": identity.client_id, "workload_identity_tenant_id": identity.tenant_id}
    return DefaultAzureCredential(**{name: value for name, value in ids.items() if value}, **options)


def _custom(identity: Identity, _options: dict[str, Any]) -> TokenCredential:
    """Call what a dotted path names; worker and triggerer must both be able to import it."""
    module, _, name = identity.credential.replace(":", ".").rpartition(".")
    try:
        make = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"{error}. Name what every worker and triggerer can import: package.module.name.") from error
    if not callable(make):
        raise ValueError("it can't be called. Name a class, or a function that gives a credential.")  # noqa: TRY004
    credential = make()
    get_token = getattr(credential, "get_token", None)
    if get_token is None or inspect.iscoroutinefunction(get_token):
        raise ValueError(
            f"it gave {type(credential).__name__}, which has no get_token that can be called without await. "
            "It must give a credential such as those of azure.identity."
        )
    return cast("TokenCredential", credential)


#: The one place where a kind of identity becomes a credential, for workers and triggerers alike.
_CREDENTIALS: dict[AuthType, Callable[[Identity, dict[str, Any]], TokenCredential]] = {
    AuthType.CLIENT_SECRET: _client_secret,
    AuthType.CLIENT_CERTIFICATE: _client_certificate,
    AuthType.MANAGED_IDENTITY: _managed_identity,
    AuthType.WORKLOAD_IDENTITY: _workload_identity,
    AuthType.AZURE_CLI: _azure_cli,
    AuthType.DEFAULT: _default,
    AuthType.TOKEN: _ready_made_token,
    AuthType.CUSTOM: _custom,
}

#: Who gives the token, where that is not Microsoft Entra ID itself.
_TOKEN_ISSUERS: dict[AuthType, str] = {
    AuthType.MANAGED_IDENTITY: "The managed identity's endpoint on this machine",
    AuthType.AZURE_CLI: "The Azure CLI",
    AuthType.DEFAULT: "DefaultAzureCredential",
}

#: What helps against the refusals of Microsoft Entra ID that a connection can be wrong about, by their codes.
AADSTS_REMEDIES: dict[str, str] = {
    "AADSTS90002": "Correct the tenant id, or the cloud: there is no such tenant in it.",
    "AADSTS900023": "Correct the tenant id: it is neither a GUID nor a domain.",
    "AADSTS700016": "Correct the client id, or the tenant id: the application is not in that tenant.",
    "AADSTS7000215": "Write the secret's value, not its id, into the client secret.",
    "AADSTS7000222": "Make a new client secret: this one has expired.",
    "AADSTS700027": "Upload the certificate to the application, or renew it if it has expired.",
    "AADSTS700024": "See whether this machine's clock is right, and the federated token fresh.",
    "AADSTS700211": "Add a federated credential with this issuer to the application.",
    "AADSTS700213": "Add a federated credential with this subject to the application.",
    "AADSTS500011": "See whether scope and cloud are the workspace's: the tenant knows no such resource.",
    "AADSTS53003": "Ask who administers the tenant: a conditional access policy blocks the identity.",
}


def request_token(identity: Identity) -> AccessToken:
    """
    Ask for a token, once; when to ask again is decided where all retries are.

    :param identity: who asks.
    :raises SynapseLivyError: the kind that fits, if there is none.
    """
    last = _LastRequest()
    try:
        # A credential lives for one request: its own cache would hand out the very token that was refused.
        credential = _CREDENTIALS[identity.auth_type](identity, _options(identity, last))
        with closing(cast("Any", credential)) if hasattr(credential, "close") else nullcontext():
            return _checked(credential.get_token(identity.scope))
    except Exception as error:  # noqa: BLE001  (whatever a credential raises, there is no token)
        raise _to_error(error, identity, last) from None


def _checked(given: Any) -> AccessToken:
    """See that a credential gave a token, of its own kind or ours. What is none is not quoted: it may hold one."""
    if is_token(getattr(given, "token", None)) and isinstance(getattr(given, "expires_on", None), int | float):
        return cast("AccessToken", given)
    raise ValueError("it is no AccessToken, or has spaces, line breaks or other characters that no token has.")


@dataclass
class _LastRequest:
    """The last request that a credential sent, and the answer's status if there was one."""

    url: str = ""
    status: int | None = None

    def sent(self, request: Any) -> None:
        self.url, self.status = request.http_request.url, None

    def answered(self, response: Any) -> None:
        self.status = response.http_response.status_code


def _options(identity: Identity, last: _LastRequest) -> dict[str, Any]:
    """Give the options of all of azure-identity's credentials that send requests of their own."""
    network = identity.network
    proxy = network.proxy(authority_url(identity.authority))
    return {
        "authority": identity.authority,
        # An authority that is not Microsoft's own, as in an air-gapped cloud, can't be looked up at Microsoft's.
        "disable_instance_discovery": identity.authority not in {cloud.authority for cloud in CLOUDS},
        "connection_verify": network.ca_bundle,
        "connection_timeout": network.timeout,
        "read_timeout": network.timeout,
        # What the environment may decide is decided already. Managed identities answer on http, without a proxy.
        "use_env_settings": False,
        "proxies": {"https": proxy} if proxy else None,
        "retry_total": 0,
        "raw_request_hook": last.sent,
        "raw_response_hook": last.answered,
        "logger": _http_log,
    }


def _to_error(error: Exception, identity: Identity, last: _LastRequest) -> SynapseLivyError:
    """Say what a credential could not do. azure-identity's messages name tenants, clients and codes, but no secrets."""
    giver = _TOKEN_ISSUERS.get(identity.auth_type, identity.credential or f"Microsoft Entra ID at {identity.authority}")
    words = _words(error)
    code = next(iter(re.findall(r"AADSTS\d+", words)), None)
    message = f"{giver} gave no token ({identity.auth_type}): {words} {AADSTS_REMEDIES.get(code or '', '')}".rstrip()
    status = last.status or _status(error)
    if status is None and (broken := _broken_connection(error)):
        url = last.url or authority_url(identity.authority)
        return identity.network.connection_error("The token for Synapse", url, broken)
    if _is_transient(error, identity, last.url, status):
        return SynapseLivyUnavailableError(message, status=status, code=code)
    if isinstance(error, ValueError | OSError) and status is None:  # what is not even sent
        return SynapseLivyConfigurationError(message)
    return SynapseLivyAuthenticationError(message, status=status, code=code)


def _status(error: Exception) -> int | None:
    """Give the status that an error of azure-core carries: credentials of one's own do not tell us what they send."""
    status = getattr(error, "status_code", None)
    return status if isinstance(status, int) else None


def _words(error: Exception) -> str:
    """Give an error's words, or those of Microsoft Entra ID, which MSAL leaves out if it refuses the tenant."""
    words = " ".join(str(error).split()) or type(error).__name__
    refusals = (re.search(r'AADSTS\d+: [^"\\\r\n]*', str(cause)) for cause in causes(error))
    refusal = None if "AADSTS" in words else next(filter(None, refusals), None)
    return refusal[0] if refusal else words


def _broken_connection(error: Exception) -> BaseException | None:
    """Look for a broken connection among the causes, since azure-identity wraps it as a failed authentication."""
    from azure.core.exceptions import ServiceRequestError, ServiceResponseError

    broken = (cause for cause in causes(error) if isinstance(cause, ServiceRequestError | ServiceResponseError))
    return next((cause.inner_exception for cause in broken), None)


def _is_transient(error: Exception, identity: Identity, url: str, status: int | None) -> bool:
    """Tell whether what kept a token away may pass."""
    import requests

    if status is None:
        # A chain of credentials keeps none of its causes. Of those it tries, one that asks the authority is in use.
        is_unanswered = urlsplit(url).netloc == urlsplit(authority_url(identity.authority)).netloc
        return is_unanswered or isinstance(error, requests.ConnectionError | requests.Timeout | ConnectionError)
    # While a machine is updated, its endpoint for managed identities says that it is not there.
    absent = (404, 410) if identity.auth_type is AuthType.MANAGED_IDENTITY else ()
    return status in (408, 429, *absent) or status >= 500
