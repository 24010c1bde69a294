"""The emulated Microsoft Entra ID: one application in one tenant, and the tokens it was given."""

from __future__ import annotations

import base64
import json
import time
import uuid
from typing import Any

__all__ = ["CLIENT_ID", "CLIENT_SECRET", "STATIC_TOKEN", "TENANT_ID", "WORKLOAD_SUBJECT", "Entra"]

TENANT_ID = "emulator-tenant"
CLIENT_ID = "emulator-client"
CLIENT_SECRET = "emulator-secret"

#: The subject of the federated tokens that the application takes for its own.
WORKLOAD_SUBJECT = "emulator-workload"

#: A token that is always good, for clients that can't ask for one.
STATIC_TOKEN = "emulator-token"

#: The object id of the application in its tenant.
OBJECT_ID = str(uuid.UUID(int=0xE))

_AUDIENCES = (
    "https://dev.azuresynapse.net",
    "https://dev.azuresynapse.azure.cn",
    "https://dev.azuresynapse.usgovcloudapi.net",
)


class Entra:
    """
    Issues tokens, and knows them again. What it was asked for, secrets and all, is in ``forms``.

    :param token_lifetime: how many seconds a token is good.
    """

    def __init__(self, token_lifetime: float) -> None:
        self._token_lifetime = token_lifetime
        self._audiences: dict[str, tuple[str, float]] = {}
        self.issued = 0
        self.forms: list[dict[str, Any]] = []

    @staticmethod
    def openid_configuration(base_url: str, tenant: str) -> tuple[int, dict[str, Any]]:
        """
        Describe a tenant's endpoints: with the answer's status and body.

        :param base_url: the emulator's address.
        :param tenant: the tenant.
        """
        if tenant != TENANT_ID:
            return _no_tenant(tenant)
        return 200, {
            "issuer": f"{base_url}/{tenant}/v2.0",
            "authorization_endpoint": f"{base_url}/{tenant}/oauth2/v2.0/authorize",
            "token_endpoint": f"{base_url}/{tenant}/oauth2/v2.0/token",
        }

    def token(self, tenant: str, form: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """
        Answer the request for a token: with its status and body.

        :param tenant: the tenant in the request's path.
        :param form: the request's form.
        """
        self.forms.append(form)
        if tenant != TENANT_ID:
            return _no_tenant(tenant)
        if form.get("client_id") != CLIENT_ID:
            words = f"AADSTS700016: Application '{form.get('client_id')}' was not found in the directory."
            return _refusal(400, "unauthorized_client", words)
        if form.get("client_secret") != CLIENT_SECRET and not _is_accepted(form.get("client_assertion")):
            kind = "assertion" if "client_assertion" in form else "secret"
            words = f"AADSTS7000215: Invalid client {kind} provided for app '{CLIENT_ID}'."
            return _refusal(401, "invalid_client", words)
        audience = str(form.get("scope")).removesuffix("/.default")
        token = self._issue(audience)
        return 200, {"token_type": "Bearer", "expires_in": int(self._token_lifetime), "access_token": token}

    def _issue(self, audience: str) -> str:
        now = time.time()
        self.issued += 1
        claims = {
            "aud": audience,
            "tid": TENANT_ID,
            "appid": CLIENT_ID,
            "oid": OBJECT_ID,
            "iat": int(now),
            "exp": int(now + self._token_lifetime),
            "uti": uuid.uuid4().hex,
        }
        token = ".".join(_base64(json.dumps(part).encode()) for part in ({"alg": "none", "typ": "JWT"}, claims)) + "."
        self._audiences[token] = (audience, now + self._token_lifetime)
        return token

    def refusal(self, authorization: str | None) -> tuple[str, str] | None:
        """
        Give code and words of what is wrong with an ``Authorization`` header, None if nothing is.

        :param authorization: the header.
        """
        kind, _, token = (authorization or "").partition(" ")
        if kind != "Bearer" or not token:
            return "AuthenticationFailed", "Token Authentication failed: the request has no bearer token."
        if token == STATIC_TOKEN:
            return None
        audience, good_until = self._audiences.get(token, ("", 0.0))
        if time.time() >= good_until:
            return "AuthenticationFailed", "Token Authentication failed: the token is unknown or has expired."
        if audience not in _AUDIENCES:
            words = "Token Authentication failed with SecurityTokenInvalidAudienceException - IDX10214."
            return "InvalidTokenAuthenticationAudience", words
        return None

    def revoke_all(self) -> None:
        """Forget all tokens that were issued."""
        self._audiences.clear()


def _is_accepted(assertion: Any) -> bool:
    """Tell whether an assertion is the application's own, by certificate, or its workload's. Nothing is verified."""
    try:
        claims = json.loads(base64.urlsafe_b64decode(str(assertion).split(".")[1] + "=="))
        return claims["sub"] in (CLIENT_ID, WORKLOAD_SUBJECT) and claims["exp"] > time.time()
    except (IndexError, KeyError, TypeError, ValueError):
        return False


def _no_tenant(tenant: str) -> tuple[int, dict[str, Any]]:
    return _refusal(400, "invalid_tenant", f"AADSTS90002: Tenant '{tenant}' not found.")


def _refusal(status: int, error: str, description: str) -> tuple[int, dict[str, Any]]:
    return status, {"error": error, "error_description": description, "correlation_id": str(uuid.uuid4())}


def _base64(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()
