"""The designs that are compared: for each, its trigger, with what it takes to wait for one session."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_synapse_livy.emulator.entra import CLIENT_ID, CLIENT_SECRET, STATIC_TOKEN, TENANT_ID
from benchmarks.service import BATCHES_OF_POOL

INTERVAL = 5.0
_LONG = 3600.0
_SCOPE = "https://dev.azuresynapse.net/.default"


@dataclass(frozen=True)
class Design:
    """
    A way to wait.

    :param title: what the table calls it.
    :param trigger: the path of the trigger's class.
    :param kwargs: makes the trigger's parameters, of the service's address, the pool and the session's id.
    """

    title: str
    trigger: str
    kwargs: Callable[[str, str, int], dict[str, Any]]


def connections(url: str, ca_file: str) -> dict[str, str]:
    """Give the Airflow connections of all designs, as environment variables."""
    host, port = urlsplit(url).hostname, urlsplit(url).port
    principal = {"login": CLIENT_ID, "password": CLIENT_SECRET}
    ours = {"tenantId": TENANT_ID, "authority": url, "verify": ca_file}
    livy = {"Authorization": f"Bearer {STATIC_TOKEN}"}
    return {
        "AIRFLOW_CONN_OURS": json.dumps({"conn_type": "synapse_livy", "host": url, "extra": ours} | principal),
        "AIRFLOW_CONN_AZURE": json.dumps(
            {"conn_type": "azure_synapse", "host": url, "extra": {"tenantId": TENANT_ID}} | principal
        ),
        "AIRFLOW_CONN_LIVY": json.dumps(
            {"conn_type": "livy", "schema": "https", "host": host, "port": port, "extra": livy}
        ),
        "AZURE_AUTHORITY_HOST": url.removeprefix("https://"),
        "SSL_CERT_FILE": ca_file,
    }


def _ours(_: str, pool: str, session_id: int) -> dict[str, Any]:
    return {
        "session_id": session_id,
        "synapse_livy_conn_id": "ours",
        "spark_pool_name": pool,
        "livy_api_version": None,
        "target_states": ["idle"],
        "accepted_results": ["Succeeded"],
        "accept_idle_timeout": False,
        "deadline": time.time() + _LONG,
        "timeout": _LONG,
        "poke_interval": INTERVAL,
    }


def _azure(url: str, pool: str, session_id: int) -> dict[str, Any]:
    return {
        "run_id": f"{pool}-{session_id}",
        "azure_synapse_conn_id": "azure",
        "azure_synapse_workspace_dev_endpoint": url,
        "end_time": time.time() + _LONG,
        "check_interval": int(INTERVAL),
    }


def _livy(_: str, pool: str, session_id: int) -> dict[str, Any]:
    batch_id = int(pool.removeprefix("pool")) * BATCHES_OF_POOL + session_id
    return {"batch_id": batch_id, "spark_params": {}, "livy_conn_id": "livy", "polling_interval": int(INTERVAL)}


def _plain(url: str, pool: str, session_id: int) -> dict[str, Any]:
    return {"url": url, "pool": pool, "session_id": session_id}


class _Waiting(BaseTrigger):
    """What the hand-written designs have in common: a loop around one GET."""

    def __init__(self, url: str, pool: str, session_id: int) -> None:
        super().__init__()
        self.url = url
        self.pool = pool
        self.session_id = session_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Give what makes the trigger again."""
        path = f"{type(self).__module__}.{type(self).__qualname__}"
        return path, {"url": self.url, "pool": self.pool, "session_id": self.session_id}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait until the session is idle."""
        while await self.state() != "idle":
            await asyncio.sleep(INTERVAL)
        yield TriggerEvent({"session_id": self.session_id})

    async def state(self) -> str:
        """Ask for the session's state."""
        raise NotImplementedError


class SdkTrigger(_Waiting):
    """A client of azure-synapse-spark for each trigger, which is how its documentation shows it."""

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait with a client of its own."""
        from azure.identity.aio import ClientSecretCredential
        from azure.synapse.spark.aio import SparkClient

        async with (
            ClientSecretCredential(TENANT_ID, CLIENT_ID, CLIENT_SECRET) as credential,
            SparkClient(credential, self.url, self.pool) as self.client,
        ):
            async for event in super().run():
                yield event

    async def state(self) -> str:
        """Ask until there is an answer."""
        from azure.core.exceptions import AzureError

        while True:
            try:
                session = await self.client.spark_session.get_spark_session(self.session_id, detailed=True)
            except AzureError:
                await asyncio.sleep(1)
            else:
                return session.state


class AiohttpTrigger(_Waiting):
    """The honest rival: one client and one token for all triggers, and a plain loop."""

    _client: Any = None

    async def state(self) -> str:
        """Ask until there is an answer, pausing for as long as a 429 says."""
        client = await self._shared()
        path = f"/livyApi/versions/2020-12-01/sparkPools/{self.pool}/sessions/{self.session_id}"
        while True:
            async with client.get(f"{self.url}{path}", params={"detailed": "true"}) as response:
                if response.status == 200:
                    return (await response.json())["state"]
                pause = float(response.headers.get("Retry-After", 1))
            await asyncio.sleep(pause)

    async def _shared(self) -> Any:
        if AiohttpTrigger._client is None:
            AiohttpTrigger._client = asyncio.ensure_future(self._open())
        return await AiohttpTrigger._client

    async def _open(self) -> Any:
        import aiohttp
        from azure.identity.aio import ClientSecretCredential

        async with ClientSecretCredential(TENANT_ID, CLIENT_ID, CLIENT_SECRET) as credential:
            token = await credential.get_token(_SCOPE)
        return aiohttp.ClientSession(headers={"Authorization": f"Bearer {token.token}"})


class SleepingTrigger(_Waiting):
    """The floor: what a trigger costs that asks nobody. It can detect nothing."""

    async def state(self) -> str:
        """Know nothing."""
        return "unknown"


def _named(trigger: type[BaseTrigger]) -> str:
    return f"{trigger.__module__}.{trigger.__qualname__}"


DESIGNS = {
    "ours": Design(
        "this package", "airflow_provider_synapse_livy.triggers.spark_session.SynapseSparkSessionTrigger", _ours
    ),
    "azure": Design(
        "AzureSynapsePipelineTrigger",
        "airflow.providers.microsoft.azure.triggers.synapse.AzureSynapsePipelineTrigger",
        _azure,
    ),
    "livy": Design("LivyTrigger", "airflow.providers.apache.livy.triggers.livy.LivyTrigger", _livy),
    "sdk": Design("azure-synapse-spark, a client each", _named(SdkTrigger), _plain),
    "aiohttp": Design("aiohttp, shared client", _named(AiohttpTrigger), _plain),
    "floor": Design("nothing but sleep", _named(SleepingTrigger), _plain),
}
