"""The designs to compare: for each, its trigger class and the parameters with which it waits for one session."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from airflow.triggers.base import BaseTrigger, TriggerEvent

from benchmarks.service import BATCH_IDS_PER_POOL, CLIENT_ID, CLIENT_SECRET, STATIC_TOKEN, TENANT_ID

#: Seconds between two polls of a session, in all designs.
POLL_INTERVAL = 5.0

#: In how many sessions the statements are that are waited for.
STATEMENT_SESSIONS = 50

_TIMEOUT = 3600.0
_SCOPE = "https://dev.azuresynapse.net/.default"


@dataclass(frozen=True)
class Design:
    """
    A way to wait for a session.

    :param title: the design's name in the tables.
    :param trigger: the path of the trigger class.
    :param kwargs: builds the trigger's parameters from the service's URL, the pool and the session's id.
    """

    title: str
    trigger: str
    kwargs: Callable[[str, str, int], dict[str, Any]]


def connections(url: str, ca_file: str) -> dict[str, str]:
    """Return the environment variables with the Airflow connections of all designs."""
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


def _our_kwargs(_: str, pool: str, session_id: int) -> dict[str, Any]:
    options = {"timeout": _TIMEOUT, "poke_interval": POLL_INTERVAL}
    return {
        "session_id": session_id,
        "synapse_livy_conn_id": "ours",
        "spark_pool_name": pool,
        "livy_api_version": None,
        "target_states": ["idle"],
        "accepted_results": ["Succeeded"],
        "accept_idle_timeout": False,
        "deadline": time.time() + _TIMEOUT,
        **(options if _takes_flat_options() else {"options": options}),
    }


def _batch_kwargs(url: str, pool: str, batch_id: int) -> dict[str, Any]:
    kwargs = _our_kwargs(url, pool, batch_id)
    return {"batch_id": batch_id} | {
        name: value
        for name, value in kwargs.items()
        if name not in ("session_id", "target_states", "accept_idle_timeout")
    }


def _takes_flat_options() -> bool:
    """Return whether the trigger is of the package before it had options of its own, as ``--before`` may name it."""
    module, _, name = _OUR_TRIGGER.rpartition(".")
    return "timeout" in inspect.signature(getattr(importlib.import_module(module), name)).parameters


def statement_of(number: int) -> tuple[int, int]:
    """Return session and number of the statement that a trigger waits for."""
    return number % STATEMENT_SESSIONS, number // STATEMENT_SESSIONS


def _our_statement_kwargs(_: str, pool: str, number: int) -> dict[str, Any]:
    session_id, statement_id = statement_of(number)
    return {
        "session_id": session_id,
        "statement_id": statement_id,
        "synapse_livy_conn_id": "ours",
        "spark_pool_name": pool,
        "livy_api_version": None,
        "deadline": time.time() + _TIMEOUT,
        "options": {"timeout": _TIMEOUT, "poke_interval": POLL_INTERVAL},
    }


def _azure_kwargs(url: str, pool: str, session_id: int) -> dict[str, Any]:
    return {
        "run_id": f"{pool}-{session_id}",
        "azure_synapse_conn_id": "azure",
        "azure_synapse_workspace_dev_endpoint": url,
        "end_time": time.time() + _TIMEOUT,
        "check_interval": int(POLL_INTERVAL),
    }


def _livy_kwargs(_: str, pool: str, session_id: int) -> dict[str, Any]:
    batch_id = int(pool.removeprefix("pool")) * BATCH_IDS_PER_POOL + session_id
    return {"batch_id": batch_id, "spark_params": {}, "livy_conn_id": "livy", "polling_interval": int(POLL_INTERVAL)}


def _plain_kwargs(url: str, pool: str, session_id: int) -> dict[str, Any]:
    return {"url": url, "pool": pool, "session_id": session_id}


class _PollingTrigger(BaseTrigger):
    """The base of the hand-written designs: a loop around one GET."""

    def __init__(self, url: str, pool: str, session_id: int) -> None:
        super().__init__()
        self.url = url
        self.pool = pool
        self.session_id = session_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the parameters."""
        path = f"{type(self).__module__}.{type(self).__qualname__}"
        return path, {"url": self.url, "pool": self.pool, "session_id": self.session_id}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait until the session is idle."""
        while await self.state() != "idle":
            await asyncio.sleep(POLL_INTERVAL)
        yield TriggerEvent({"session_id": self.session_id})

    async def state(self) -> str:
        """Return the session's state."""
        raise NotImplementedError


class SdkTrigger(_PollingTrigger):
    """Has its own client of azure-synapse-spark, as that library's documentation shows it."""

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait until the session is idle, with a client of its own."""
        from azure.identity.aio import ClientSecretCredential
        from azure.synapse.spark.aio import SparkClient

        async with (
            ClientSecretCredential(TENANT_ID, CLIENT_ID, CLIENT_SECRET) as credential,
            SparkClient(credential, self.url, self.pool) as self.client,
        ):
            async for event in super().run():
                yield event

    async def state(self) -> str:
        """Return the session's state, trying again a second after each error."""
        from azure.core.exceptions import AzureError

        while True:
            try:
                session = await self.client.spark_session.get_spark_session(self.session_id, detailed=True)
            except AzureError:
                await asyncio.sleep(1)
            else:
                return session.state


class AiohttpTrigger(_PollingTrigger):
    """A plain loop like one would write it by hand, with one client and one token for all triggers."""

    _client: Any = None

    def path(self) -> str:
        """Return the path below the pool's."""
        return f"sessions/{self.session_id}?detailed=true"

    async def state(self) -> str:
        """Return the state, trying again after each bad response when ``Retry-After`` says, or in 1 s."""
        client = await self._shared_client()
        url = f"{self.url}/livyApi/versions/2020-12-01/sparkPools/{self.pool}/{self.path()}"
        while True:
            async with client.get(url) as response:
                if response.status == 200:
                    return (await response.json())["state"]
                delay = float(response.headers.get("Retry-After", 1))
            await asyncio.sleep(delay)

    async def _shared_client(self) -> Any:
        if AiohttpTrigger._client is None:
            AiohttpTrigger._client = asyncio.ensure_future(self._open_client())
        return await AiohttpTrigger._client

    async def _open_client(self) -> Any:
        import aiohttp
        from azure.identity.aio import ClientSecretCredential

        async with ClientSecretCredential(TENANT_ID, CLIENT_ID, CLIENT_SECRET) as credential:
            token = await credential.get_token(_SCOPE)
        return aiohttp.ClientSession(headers={"Authorization": f"Bearer {token.token}"})


class AiohttpStatementTrigger(AiohttpTrigger):
    """The same loop, for a statement."""

    def path(self) -> str:
        """Return the path of the statement."""
        return "sessions/{}/statements/{}".format(*statement_of(self.session_id))

    async def state(self) -> str:
        """Return idle when the statement is available."""
        return "idle" if await super().state() == "available" else "running"


class SleepingTrigger(_PollingTrigger):
    """Sends no request at all: the least that any trigger costs."""

    async def state(self) -> str:
        """Return no state that ends the wait."""
        return "unknown"


def _class_path(trigger: type[BaseTrigger]) -> str:
    return f"{trigger.__module__}.{trigger.__qualname__}"


_OUR_TRIGGER = "airflow_provider_synapse_livy.triggers.spark_session.SynapseSparkSessionTrigger"
_OUR_BATCH_TRIGGER = "airflow_provider_synapse_livy.triggers.spark_batch.SynapseSparkBatchTrigger"

_OUR_STATEMENT_TRIGGER = "airflow_provider_synapse_livy.triggers.spark_statement.SynapseSparkStatementTrigger"

DESIGNS = {
    "before": Design("this package, before", _OUR_TRIGGER, _our_kwargs),
    "ours": Design("this package", _OUR_TRIGGER, _our_kwargs),
    "batches": Design("this package, batch jobs", _OUR_BATCH_TRIGGER, _batch_kwargs),
    "azure": Design(
        "AzureSynapsePipelineTrigger",
        "airflow.providers.microsoft.azure.triggers.synapse.AzureSynapsePipelineTrigger",
        _azure_kwargs,
    ),
    "livy": Design("LivyTrigger", "airflow.providers.apache.livy.triggers.livy.LivyTrigger", _livy_kwargs),
    "sdk": Design("azure-synapse-spark, a client for each", _class_path(SdkTrigger), _plain_kwargs),
    "aiohttp": Design("a plain loop, one shared aiohttp client", _class_path(AiohttpTrigger), _plain_kwargs),
    "statements": Design("this package", _OUR_STATEMENT_TRIGGER, _our_statement_kwargs),
    "statements-aiohttp": Design(
        "a plain loop, one shared aiohttp client", _class_path(AiohttpStatementTrigger), _plain_kwargs
    ),
    "floor": Design("triggers that only sleep", _class_path(SleepingTrigger), _plain_kwargs),
}
