"""How an identity gets a token: its credential, one request to the token's issuer, and what a refusal means."""

from __future__ import annotations

import importlib
import inspect
import logging
import math
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import closing, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from airflow_provider_synapse_livy.connection.clouds import CLOUDS
from airflow_provider_synapse_livy.connection.fields import is_pem
from airflow_provider_synapse_livy.connection.identity import AUTH_METHODS, AuthType, Identity, is_token
from airflow_provider_synapse_livy.connection.network import authority_url
from airflow_provider_synapse_livy.livy.errors import (
    SynapseLivyAuthenticationError,
    SynapseLivyConfigurationError,
    SynapseLivyError,
    SynapseLivyUnavailableError,
    error_message,
)
from airflow_provider_synapse_livy.livy.responses import LivyResponse, one_line
from airflow_provider_synapse_livy.livy.retry_after import announced_words, retry_after
from airflow_provider_synapse_livy.transport.failures import connection_error, exception_chain

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken, TokenCredential

__all__ = ["AADSTS_REMEDIES", "request_token"]

#: azure-identity logs each request in a dozen lines, at a level that Airflow shows in the task's log.
_http_log = logging.getLogger(f"{__name__}.http")
_http_log.setLevel(logging.WARNING)

#: The longest line of an issuer's own words that an error repeats.
_MAX_QUOTE = 1000

#: What helps against the refusals of Microsoft Entra ID that a connection can be wrong about, by their codes.
AADSTS_REMEDIES: dict[str, str] = {
    "AADSTS90002": "correct the tenant id, or the cloud: there is no such tenant in it.",
    "AADSTS900023": "correct the tenant id: it is neither a GUID nor a domain.",
    "AADSTS700016": "correct the client id, or the tenant id: the application is not in that tenant.",
    "AADSTS7000215": "write the secret's value, not its id, into the client secret.",
    "AADSTS7000222": "make a new client secret: this one has expired.",
    "AADSTS700027": "upload the certificate to the application, or renew it if it has expired.",
    "AADSTS700024": "check that this machine's clock is right, and the federated token fresh.",
    "AADSTS700211": "add a federated credential with this issuer to the application.",
    "AADSTS700213": "add a federated credential with this subject to the application.",
    "AADSTS500011": "check that scope and cloud are the workspace's: the tenant knows no such resource.",
    "AADSTS53003": "ask who administers the tenant: a conditional access policy blocks the identity.",
}


class _CredentialError(ValueError):
    """What a credential class of the user's own is wrong about, and what to do about it."""

    def __init__(self, problem: str, fix: str) -> None:
        super().__init__(problem)
        self.fix = fix


def request_token(identity: Identity) -> AccessToken:
    """
    Return a token from the identity's issuer. One request is sent; retries are decided elsewhere.

    :param identity: who signs in, and how.
    :raises SynapseLivyError: the kind that fits, if there is none.
    """
    last = _LastRequest()
    try:
        # A credential lives for one request: its own cache would return the very token that was refused.
        credential = _CREDENTIALS[identity.auth_type](identity, last)
        with closing(cast("Any", credential)) if hasattr(credential, "close") else nullcontext():
            return _checked(credential.get_token(identity.scope))
    except SynapseLivyError:
        raise
    except Exception as error:  # noqa: BLE001  (whatever a credential raises, there is no token)
        raise _to_error(error, identity, last) from None


def _checked(result: Any) -> AccessToken:
    """Return the token if it is one, of azure-core's kind or not. What is none is not quoted: it may hold one."""
    if is_token(getattr(result, "token", None)) and isinstance(getattr(result, "expires_on", None), int | float):
        return cast("AccessToken", result)
    problem = "It is no AccessToken, or has characters that no token has, such as spaces or line breaks."
    raise _CredentialError(problem, "return an azure.core.credentials.AccessToken from get_token.")


@dataclass
class _LastRequest:
    """The last request that a credential sent, and its response, if there was one."""

    url: str = ""
    response: LivyResponse | None = None

    def sent(self, request: Any) -> None:
        self.url, self.response = request.http_request.url, None

    def answered(self, response: Any) -> None:
        self.response = _without_body(response.http_response.status_code, response.http_response)


def _without_body(status: int, response: Any) -> LivyResponse:
    """Return the status and headers of a response, whichever HTTP library it is from."""
    headers = getattr(response, "headers", None)
    pairs = headers.items() if isinstance(headers, Mapping) else ()
    return LivyResponse(status, {str(name): str(value) for name, value in pairs}, b"")


def _options(identity: Identity, last: _LastRequest) -> dict[str, Any]:
    """Return the options of all of azure-identity's credentials that send requests of their own."""
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


class _ReadyMadeToken:
    """The credential for a token from elsewhere: there is no other to be had, so it never expires here."""

    def __init__(self, token: str) -> None:
        self._token = token

    def get_token(self, *_scopes: str, **_options: Any) -> AccessToken:
        from azure.core.credentials import AccessToken

        return AccessToken(self._token, sys.maxsize)


def _ready_made_token(identity: Identity, _last: _LastRequest) -> TokenCredential:
    return _ReadyMadeToken(identity.secret)


def _client_secret(identity: Identity, last: _LastRequest) -> TokenCredential:
    from azure.identity import ClientSecretCredential

    options = _options(identity, last)
    return ClientSecretCredential(identity.tenant_id, identity.client_id, identity.secret, **options)


def _client_certificate(identity: Identity, last: _LastRequest) -> TokenCredential:
    from azure.identity import CertificateCredential

    key = identity.certificate
    where: dict[str, Any] = {"certificate_data": key.encode()} if is_pem(key) else {"certificate_path": key}
    return CertificateCredential(
        identity.tenant_id,
        identity.client_id,
        password=identity.certificate_password or None,
        send_certificate_chain=identity.send_certificate_chain,
        **where,
        **_options(identity, last),
    )


def _managed_identity(identity: Identity, last: _LastRequest) -> TokenCredential:
    from azure.identity import ManagedIdentityCredential

    return ManagedIdentityCredential(client_id=identity.client_id or None, **_options(identity, last))


def _workload_identity(identity: Identity, last: _LastRequest) -> TokenCredential:
    from azure.identity import WorkloadIdentityCredential

    return WorkloadIdentityCredential(
        tenant_id=identity.tenant_id,
        client_id=identity.client_id,
        token_file_path=identity.federated_credential_file,
        **_options(identity, last),
    )


def _azure_cli(identity: Identity, _last: _LastRequest) -> TokenCredential:
    from azure.identity import AzureCliCredential

    return AzureCliCredential(tenant_id=identity.tenant_id, process_timeout=math.ceil(identity.network.timeout))


def _default(identity: Identity, last: _LastRequest) -> TokenCredential:
    """Build the chain. An id that is None would keep it from reading the environment's, so none is passed then."""
    from azure.identity import DefaultAzureCredential

    ids = {"managed_identity_client_id": identity.client_id, "workload_identity_tenant_id": identity.tenant_id}
    return DefaultAzureCredential(**{name: value for name, value in ids.items() if value}, **_options(identity, last))


def _custom(identity: Identity, _last: _LastRequest) -> TokenCredential:
    """Call what a dotted path names; worker and triggerer must both be able to import it."""
    module, _, name = identity.credential.replace(":", ".").rpartition(".")
    try:
        factory = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        fix = "name what every worker and triggerer can import, as package.module.name."
        raise _CredentialError(f"{error}.", fix) from error
    if not callable(factory):
        raise _CredentialError("It can't be called.", "name a class, or a function that returns a credential.")
    credential = factory()
    get_token = getattr(credential, "get_token", None)
    if get_token is None or inspect.iscoroutinefunction(get_token):
        problem = f"It returned {type(credential).__name__}, which has no get_token that works without await."
        raise _CredentialError(problem, "return a credential such as those of azure.identity (not azure.identity.aio).")
    return cast("TokenCredential", credential)


#: The one place where an identity becomes a credential, for workers and triggerers alike.
_CREDENTIALS: dict[AuthType, Callable[[Identity, _LastRequest], TokenCredential]] = {
    AuthType.CLIENT_SECRET: _client_secret,
    AuthType.CLIENT_CERTIFICATE: _client_certificate,
    AuthType.MANAGED_IDENTITY: _managed_identity,
    AuthType.WORKLOAD_IDENTITY: _workload_identity,
    AuthType.AZURE_CLI: _azure_cli,
    AuthType.DEFAULT: _default,
    AuthType.TOKEN: _ready_made_token,
    AuthType.CUSTOM: _custom,
}


def _to_error(error: Exception, identity: Identity, last: _LastRequest) -> SynapseLivyError:
    """Return what a credential's error means. azure-identity's words name tenants and clients, but no secrets."""
    response = last.response or _response(error)
    if response is None and (broken := _broken_connection(error)):
        return _connection_error(identity, last.url, broken)
    words = _words(error)
    code = next(iter(re.findall(r"AADSTS\d+", words)), None)
    fix = AUTH_METHODS[identity.auth_type].refused_fix
    details: dict[str, Any] = {"status": response.status if response else None, "code": code}
    if _is_transient(error, identity, last.url, details["status"]):
        pause = retry_after(response) if response else None
        message = _message(identity, f"if it lasts, {fix}", words, pause=pause, **details)
        return SynapseLivyUnavailableError(message, retry_after=pause, **details)
    message = _message(identity, getattr(error, "fix", None) or AADSTS_REMEDIES.get(code or "", fix), words, **details)
    if isinstance(error, ValueError | OSError) and response is None:  # what is not even sent
        return SynapseLivyConfigurationError(message)
    return SynapseLivyAuthenticationError(message, **details)


def _connection_error(identity: Identity, url: str, error: BaseException) -> SynapseLivyError:
    """Return what a broken connection to the issuer means; the request to Synapse itself was not sent yet."""
    url = url or authority_url(identity.authority)
    broken = connection_error("The token for Synapse", url, error, identity.network)
    broken.may_have_been_processed = False
    return broken


def _message(
    identity: Identity, fix: str, words: str, *, status: int | None, code: str | None, pause: float | None = None
) -> str:
    """Return the words of an error: who gave no token, what the answer was, what to do, what the issuer says."""
    method = AUTH_METHODS[identity.auth_type]
    answer = f": it answered {status}" if status else ""
    event = f"{method.issuer} gave no token ({identity.auth_type}){answer}{f' ({code})' if code else ''}."
    where = method.asked_at.format(identity)
    says = (one_line(line, _MAX_QUOTE) for line in words.splitlines())
    return error_message(event, fix, *says, announced_words(pause), where)


def _response(error: Exception) -> LivyResponse | None:
    """Return the response that an error of azure-core carries: those of a custom credential are not seen here."""
    status = getattr(error, "status_code", None)
    return _without_body(status, getattr(error, "response", None)) if isinstance(status, int) else None


def _words(error: Exception) -> str:
    """Return an error's words, or those of Microsoft Entra ID, which MSAL leaves out if it refuses the tenant."""
    words = str(error).strip() or type(error).__name__
    refusals = (re.search(r'AADSTS\d+: [^"\\\r\n]*', str(cause)) for cause in exception_chain(error))
    refusal = None if "AADSTS" in words else next(filter(None, refusals), None)
    return refusal[0] if refusal else words


def _broken_connection(error: Exception) -> BaseException | None:
    """Return the broken connection among the causes, since azure-identity wraps it as a failed authentication."""
    from azure.core.exceptions import ServiceRequestError, ServiceResponseError

    kinds = (ServiceRequestError, ServiceResponseError)
    return next((cause.inner_exception for cause in exception_chain(error) if isinstance(cause, kinds)), None)


def _is_transient(error: Exception, identity: Identity, url: str, status: int | None) -> bool:
    """Return whether another request for the token may succeed."""
    import requests

    if status is None:
        # A chain of credentials keeps no causes. If its last request was for the authority, that credential is in use.
        is_unanswered = urlsplit(url).netloc == urlsplit(authority_url(identity.authority)).netloc
        return is_unanswered or isinstance(error, requests.ConnectionError | requests.Timeout | ConnectionError)
    # While a machine is updated, its endpoint for managed identities says that it is not there.
    absent = (404, 410) if identity.auth_type is AuthType.MANAGED_IDENTITY else ()
    return status in (408, 429, *absent) or status >= 500
