"""What the Test button tries, step by step, and what it says: who got in, or which step broke."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from airflow_provider_synapse_livy.connection.synapse_livy import AuthType, SynapseLivyConnection
from airflow_provider_synapse_livy.exceptions import SynapseLivyError
from airflow_provider_synapse_livy.livy.responses import list_spark_sessions_request, read_spark_session_list
from airflow_provider_synapse_livy.transport.tokens import token_cache

__all__ = ["ConnectionCheck"]


@dataclass
class ConnectionCheck:
    """
    Tries a connection with one real request: for a list of one session of its pool, or for a token alone.

    :param read: reads the connection.
    :param spark_pool_name: the Spark pool; None for the connection's.
    :param livy_api_version: the version of the Livy API; None for the connection's.
    """

    read: Callable[[], SynapseLivyConnection]
    spark_pool_name: str | None
    livy_api_version: str | None
    step: str = ""
    token: str = ""

    def run(self) -> tuple[bool, str]:
        """
        Try it.

        :return: whether it worked, and who got in, or which step broke.
        """
        try:
            return True, self._try()
        except SynapseLivyError as error:
            return False, f"{self.step}: {error}{self._token_told(error)}"

    def _try(self) -> str:
        self.step = "Settings"
        connection = self.read()
        if connection.identity.auth_type is AuthType.TOKEN:  # which to have proves nothing, without a pool to try it on
            connection.pool(self.spark_pool_name)
        self.step = "Token"
        self.token = token_cache(connection.identity).get()
        where = f"{connection.endpoint} ({connection.cloud.name})"
        pool = self.spark_pool_name or connection.spark_pool_name
        if pool is None:
            return (
                f"Microsoft Entra ID gave a token to {_bearer(self.token)}. Whether {where} takes it was not tried, "
                "as the connection names no Spark pool."
            )
        self.step = "Synapse"
        self._try_list(connection, pool)
        return f"{where} listed the sessions of the Spark pool {pool} for {_bearer(self.token)}."

    def _try_list(self, connection: SynapseLivyConnection, pool: str) -> None:
        """Ask for a list of one. Whoever presses the button waits for it: what may pass later is told now."""
        from airflow_provider_synapse_livy.transport.sync_client import LivyClient

        request = list_spark_sessions_request(
            endpoint=connection.endpoint,
            spark_pool_name=pool,
            livy_api_version=self.livy_api_version or connection.livy_api_version,
            size=1,
        )
        client = LivyClient(connection)
        with client.session:
            client.call(request, read_spark_session_list, patience=0)

    def _token_told(self, error: SynapseLivyError) -> str:
        """Say of a token that Synapse refused what tells a wrong cloud or tenant from a right one."""
        claims = _claims(self.token)
        if error.status != 401 or "aud" not in claims:
            return ""
        return f" The token is for {claims['aud']}, and of the tenant {claims.get('tid')}."


def _bearer(token: str) -> str:
    """Say who a token speaks for, as far as it tells."""
    claims = _claims(token)
    user = claims.get("upn") or claims.get("unique_name")
    application = claims.get("appid") or claims.get("azp")
    who = f"the user {user}" if user else f"the application {application}" if application else _NOBODY
    ids = ", ".join(f"{name} {claims[key]}" for key, name in _IDS.items() if key in claims)
    return f"{who} ({ids})" if ids else who


_NOBODY = "the bearer of a token that does not tell who that is"
_IDS = {"oid": "object id", "tid": "tenant"}


def _claims(token: str) -> dict[str, Any]:
    """Read what a token says of itself. Microsoft promises nothing of its form, so nothing but words depends on it."""
    try:
        claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    except (IndexError, ValueError):
        return {}
    return claims if isinstance(claims, dict) else {}
