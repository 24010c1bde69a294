"""The emulated Microsoft Entra ID: issues tokens to the one application of its one tenant, and checks them."""

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

#: The subject of the federated tokens that the application accepts instead of its secret.
WORKLOAD_SUBJECT = "emulator-workload"

#: A token that never expires, for clients that cannot request one.
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
    Issues tokens and checks the tokens of requests.

    ``issued`` counts the tokens issued; ``forms`` has the form of every token request, including its secrets.

    :param token_lifetime: real seconds until an issued token expires.
    """

    def __init__(self, token_lifetime: float) -> None:
        self._token_lifetime = token_lifetime
        self._tokens: dict[str, tuple[str, float]] = {}  # token -> audience, time of expiry
        self.issued = 0
        self.forms: list[dict[str, Any]] = []

    @staticmethod
    def openid_configuration(base_url: str, tenant: str) -> tuple[int, dict[str, Any]]:
        """Return HTTP status and body of a tenant's OpenID configuration, which names its endpoints."""
        if tenant != TENANT_ID:
            return _unknown_tenant(tenant)
        return 200, {
            "issuer": f"{base_url}/{tenant}/v2.0",
            "authorization_endpoint": f"{base_url}/{tenant}/oauth2/v2.0/authorize",
            "token_endpoint": f"{base_url}/{tenant}/oauth2/v2.0/token",
        }

    def token(self, tenant: str, form: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Return HTTP status and body of the response to a token request with this form."""
        self.forms.append(form)
        if tenant != TENANT_ID:
            return _unknown_tenant(tenant)
        if form.get("client_id") != CLIENT_ID:
            description = f"AADSTS700016: Application '{form.get('client_id')}' was not found in the directory."
            return _error_response(400, "unauthorized_client", description)
        if form.get("client_secret") != CLIENT_SECRET and not _is_valid_assertion(form.get("client_assertion")):
            kind = "assertion" if "client_assertion" in form else "secret"
            description = f"AADSTS7000215: Invalid client {kind} provided for app '{CLIENT_ID}'."
            return _error_response(401, "invalid_client", description)
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
        token = (
            ".".join(_base64url(json.dumps(part).encode()) for part in ({"alg": "none", "typ": "JWT"}, claims)) + "."
        )
        self._tokens[token] = (audience, now + self._token_lifetime)
        return token

    def authorization_error(self, authorization: str | None) -> tuple[str, str] | None:
        """Return error code and message for an ``Authorization`` header, or None if its token is valid."""
        scheme, _, token = (authorization or "").partition(" ")
        if scheme != "Bearer" or not token:
            return "AuthenticationFailed", "Token Authentication failed: the request has no bearer token."
        if token == STATIC_TOKEN:
            return None
        audience, expires_at = self._tokens.get(token, ("", 0.0))
        if time.time() >= expires_at:
            return "AuthenticationFailed", "Token Authentication failed: the token is unknown or has expired."
        if audience not in _AUDIENCES:
            message = "Token Authentication failed with SecurityTokenInvalidAudienceException - IDX10214."
            return "InvalidTokenAuthenticationAudience", message
        return None

    def revoke_all(self) -> None:
        """Revoke all tokens issued so far."""
        self._tokens.clear()


def _is_valid_assertion(assertion: Any) -> bool:
    """Check subject and expiry of a client assertion (certificate) or federated token; not its signature."""
    try:
        claims = json.loads(base64.urlsafe_b64decode(str(assertion).split(".")[1] + "=="))
        return claims["sub"] in (CLIENT_ID, WORKLOAD_SUBJECT) and claims["exp"] > time.time()
    except (IndexError, KeyError, TypeError, ValueError):
        return False


def _unknown_tenant(tenant: str) -> tuple[int, dict[str, Any]]:
    return _error_response(400, "invalid_tenant", f"AADSTS90002: Tenant '{tenant}' not found.")


def _error_response(status: int, error: str, description: str) -> tuple[int, dict[str, Any]]:
    return status, {"error": error, "error_description": description, "correlation_id": str(uuid.uuid4())}


def _base64url(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()
