"""The two ways to Synapse, the worker's and the triggerer's, so that one test body runs through both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from airflow_provider_synapse_livy.livy.responses import read_spark_session
from airflow_provider_synapse_livy.transport.async_client import AsyncLivyClient
from airflow_provider_synapse_livy.transport.retry import RETRY_SECONDS
from airflow_provider_synapse_livy.transport.sync_client import LivyClient


class Worker:
    """Reads sessions as a task does. Its pauses are only written down."""

    name = "requests"

    def __init__(self) -> None:
        self.pauses: list[float] = []
        self.while_pausing: Callable[[], object] = lambda: None

    def pause(self, seconds):
        """Write a pause down."""
        self.pauses.append(seconds)
        self.while_pausing()

    def read(self, livy_connection, session_id=12, *, pool=None, patience=RETRY_SECONDS):
        """Read a session."""
        client = LivyClient(livy_connection, sleep=self.pause)
        with client.session:
            request = livy_connection.spark_session_request(session_id, spark_pool_name=pool)
            return client.call(request, read_spark_session, patience=patience)


class Triggerer(Worker):
    """Reads sessions as a trigger does."""

    name = "aiohttp"

    async def sleep(self, seconds):
        """Write a pause down."""
        self.pause(seconds)

    def read(self, livy_connection, session_id=12, *, pool=None, patience=RETRY_SECONDS):
        """Read a session on an event loop of its own."""

        async def read():
            client = await AsyncLivyClient.open(livy_connection, sleep=self.sleep)
            try:
                request = livy_connection.spark_session_request(session_id, spark_pool_name=pool)
                return await client.call(request, read_spark_session, patience=patience)
            finally:
                await client.close()

        return asyncio.run(read())


WAYS = (Worker, Triggerer)
