"""
What the Test button checks, step by step, and the text that it shows.

Airflow shows the text verbatim: a line for the result, a second one for the fix if there is one, then the details.
"""

from __future__ import annotations

import base64
import json
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_provider_synapse_livy.connection.identity import AuthType
from airflow_provider_synapse_livy.connection.synapse_livy import SynapseLivyConnection
from airflow_provider_synapse_livy.livy.errors import SynapseLivyError, error_message
from airflow_provider_synapse_livy.livy.requests import Pool
from airflow_provider_synapse_livy.livy.resources import SPARK_SESSION
from airflow_provider_synapse_livy.transport.failures import exception_chain
from airflow_provider_synapse_livy.transport.tokens import token_cache

__all__ = ["ConnectionCheck"]

#: How long the first line may be, so that the fix in the second one is seen.
_MAX_FIRST_LINE = 119

#: The claims of a token that identify its bearer, and what to call them.
_ID_CLAIMS = {"oid": "object id", "tid": "tenant"}


@dataclass
class ConnectionCheck:
    """
    Checks a connection with one real request: for a list of one session of its pool, or for a token alone.

    :param read: returns the connection.
    :param spark_pool_name: the Spark pool; None for the connection's.
    :param livy_api_version: the version of the Livy API; None for the connection's.
    """

    read: Callable[[], SynapseLivyConnection]
    spark_pool_name: str | None = None
    livy_api_version: str | None = None
    _step: str = ""
    _token: str = ""

    def run(self) -> tuple[bool, str]:
        """
        Check the connection. Nothing is raised, whatever the connection holds.

        :return: whether it works, and the text: who has signed in where, or which step failed and how to fix it.
        """
        try:
            return True, self._check()
        except SynapseLivyError as error:
            return False, "\n".join(filter(None, (self._at_step(str(error)), self._token_audience(error))))
        except Exception as error:  # noqa: BLE001  (Airflow's own model of a connection refuses some as well)
            return False, self._at_step(_unforeseen(error))

    def _check(self) -> str:
        self._step = "Settings"
        connection = self.read()
        has_pool = not (self.spark_pool_name is None and connection.spark_pool_name is None)
        pool = None
        # Having a ready-made token proves nothing, so without a pool to use it on this is an error.
        if has_pool or connection.identity.auth_type is AuthType.TOKEN:
            pool = connection.pool(self.spark_pool_name, self.livy_api_version)
        self._step = "Token"
        self._token = token_cache(connection.identity).get()
        evidence = (
            f"Workspace: {connection.endpoint} ({connection.cloud.name}).",
            f"Signed in as: {_bearer(self._token)}.",
        )
        if pool is None:
            event = "Microsoft Entra ID issued a token. Synapse was not checked: the connection names no Spark pool."
            return error_message(event, 'fill in the field "Spark pool" to check the workspace as well.', *evidence)
        self._step = "Synapse"
        _list_sessions(connection, pool)
        return error_message(f"Synapse listed the Spark sessions of pool {pool.name}.", "", *evidence)

    def _at_step(self, message: str) -> str:
        """Return a message with the step before it. If the first line gets too long, its whole text comes last."""
        event, *others = message.split("\n")
        room = _MAX_FIRST_LINE - len(f"{self._step}: ")
        if len(event) > room:
            others.append(event)
            event = _shortened(event, room)
        return "\n".join((f"{self._step}: {event}", *others))

    def _token_audience(self, error: SynapseLivyError) -> str:
        """Return what the token is for if Synapse refused it: that shows a wrong cloud or tenant."""
        claims = _claims(self._token)
        if error.status != 401 or "aud" not in claims:
            return ""
        tenant = f", issued by the tenant {claims['tid']}" if "tid" in claims else ""
        return f"The token is for {claims['aud']}{tenant}."


def _shortened(event: str, longest: int) -> str:
    """Return an event without its subject, which the step tells, and without its middle if it is still too long."""
    event = event.partition(": ")[2] or event
    begin = longest // 3
    return event if len(event) <= longest else f"{event[:begin]}...{event[begin + 3 - longest :]}"


def _unforeseen(error: Exception) -> str:
    """Return words for an error of Airflow or a library. Its own may quote what the connection holds: a secret."""
    causes = " from ".join(type(cause).__name__ for cause in exception_chain(error))
    event = f"the check broke off with {causes}."
    fix = "correct the connection, above all extra, which must be a JSON object, or the secrets backend it comes from."
    where = traceback.extract_tb(error.__traceback__)[-1:]
    places = (f"It was raised in {Path(frame.filename).name}, line {frame.lineno}, in {frame.name}." for frame in where)
    return error_message(event, fix, *places)


def _list_sessions(connection: SynapseLivyConnection, pool: Pool) -> None:
    """Request a list of one session, once: somebody waits in front of the button."""
    from airflow_provider_synapse_livy.transport.sync_client import LivyClient

    client = LivyClient(connection)
    with client.session:
        client.send(SPARK_SESSION.page(pool, size=1, detailed=False), retry_timeout=0)


def _bearer(token: str) -> str:
    """Return whom a token was issued to, as far as it says."""
    claims = _claims(token)
    user = claims.get("upn") or claims.get("unique_name")
    application = claims.get("appid") or claims.get("azp")
    if not (user or application):
        who = "unknown, the token does not say"
    else:
        who = f"the user {user}" if user else f"the application {application}"
    ids = ", ".join(f"{name} {claims[claim]}" for claim, name in _ID_CLAIMS.items() if claim in claims)
    return f"{who} ({ids})" if ids else who


def _claims(token: str) -> dict[str, Any]:
    """Return the claims of a token. Microsoft does not promise their form, so only text may depend on them."""
    try:
        claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    except (IndexError, ValueError):
        return {}
    return claims if isinstance(claims, dict) else {}
