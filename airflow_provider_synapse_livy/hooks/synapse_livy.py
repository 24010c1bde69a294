"""The hook for the Livy API of Azure Synapse."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.connection import get_async_connection, get_async_extra_dejson
from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook

from airflow_provider_synapse_livy.airflow_compat import connection_turn
from airflow_provider_synapse_livy.api import (
    SparkSessionAnswer,
    SparkSessionRequest,
    read_spark_session,
)
from airflow_provider_synapse_livy.connection import SynapseLivyConnection
from airflow_provider_synapse_livy.connection_test import ConnectionTest
from airflow_provider_synapse_livy.exceptions import SynapseLivyConfigurationError
from airflow_provider_synapse_livy.get_provider_info import CONNECTION_FIELDS, UI_FIELD_BEHAVIOUR
from airflow_provider_synapse_livy.links import session_links
from airflow_provider_synapse_livy.retry import RETRY_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import requests

    from airflow_provider_synapse_livy.aiohttp_client import AsyncLivyClient
    from airflow_provider_synapse_livy.models import SparkSession
    from airflow_provider_synapse_livy.requests_client import LivyClient

__all__ = ["SparkSessionReader", "SynapseLivyHook"]


@dataclass(frozen=True)
class SparkSessionReader:
    """
    Reads one Spark session from an event loop.

    :param client: what the event loop shares for the connection.
    :param request: the request for the session.
    :param connection: the connection.
    """

    client: AsyncLivyClient
    request: SparkSessionRequest
    connection: SynapseLivyConnection

    async def read(self, *, patience: float = RETRY_SECONDS) -> SparkSessionAnswer:
        """
        Read the session.

        :param patience: for how many seconds to try again what may pass.
        :raises SynapseLivyError: if there is no good answer.
        """
        return await self.client.call(self.request, read_spark_session, patience=patience)

    def links(self, session: SparkSession) -> dict[str, str]:
        """
        Give the addresses of the links from a task to its session, by the links' names.

        :param session: the session.
        """
        return session_links(session, self.connection)


class SynapseLivyHook(BaseHook):
    """
    Reads the Livy Spark sessions of an Azure Synapse workspace.

    Source: `Spark Session - Get Spark Session
    <https://learn.microsoft.com/rest/api/synapse/data-plane/spark-session/get-spark-session>`__

    :param synapse_livy_conn_id: the id of the Airflow connection to the workspace.
    :param spark_pool_name: the Spark pool; None for the connection's.
    :param livy_api_version: the version of the Livy API; None for the connection's, which is ``2020-12-01`` unless
        it names another.
    """

    conn_name_attr = "synapse_livy_conn_id"
    default_conn_name = "synapse_livy_default"
    conn_type = "synapse_livy"
    hook_name = "Azure Synapse Livy"

    def __init__(
        self,
        synapse_livy_conn_id: str = default_conn_name,
        *,
        spark_pool_name: str | None = None,
        livy_api_version: str | None = None,
    ) -> None:
        super().__init__()
        self.synapse_livy_conn_id = synapse_livy_conn_id
        self.spark_pool_name = spark_pool_name
        self.livy_api_version = livy_api_version

    def get_spark_session(self, session_id: int | str, *, detailed: bool = True) -> SparkSession:
        """
        Read a Spark session.

        :param session_id: the session's id in the pool, from 0 up, as a number or in digits.
        :param detailed: whether to ask for everything; otherwise the answer has little but id, application, state
            and log.
        :raises SynapseLivyError: if there is no good answer. The kinds are in
            :mod:`airflow_provider_synapse_livy.exceptions`.
        """
        return self.read(session_id, detailed=detailed).session

    def read(self, session_id: object, *, detailed: bool = True, patience: float = RETRY_SECONDS) -> SparkSessionAnswer:
        """
        Read a Spark session, and the activity id under which Microsoft's support finds the request.

        :param session_id: as for :meth:`get_spark_session`.
        :param detailed: likewise.
        :param patience: for how many seconds to try again what may pass.
        :raises SynapseLivyError: likewise.
        """
        request = self._request(self._connection, session_id, detailed)
        return self._client.call(request, read_spark_session, patience=patience)

    def links(self, session: SparkSession) -> dict[str, str]:
        """
        Give the addresses of the links from a task to its session, by the links' names.

        :param session: the session.
        :raises SynapseLivyConfigurationError: if the connection can't work.
        """
        return session_links(session, self._connection)

    @asynccontextmanager
    async def async_reader(self, session_id: object) -> AsyncIterator[SparkSessionReader]:
        """
        Lend what reads one Spark session from an event loop, as :meth:`read` does in a task.

        All readers of a loop share one client for each connection; the last to leave closes it.

        :param session_id: as for :meth:`get_spark_session`.
        :raises SynapseLivyError: likewise.
        """
        from airflow_provider_synapse_livy.aiohttp_client import shared_client

        connection = await self._read_connection_async()
        request = self._request(connection, session_id)
        async with shared_client(connection) as client:
            yield SparkSessionReader(client, request, connection)

    def get_conn(self) -> requests.Session:
        """
        Give a requests session that authenticates what it sends to the workspace, and nothing else.

        :raises SynapseLivyConfigurationError: if the connection can't work.
        """
        return self._client.session

    def test_connection(self) -> tuple[bool, str]:
        """
        Try the connection with one real request: for a list of one session of its pool, or for a token alone.

        :return: whether it worked, and who got in, or which step broke.
        """
        # The button tests under an id of its own, which would mean nothing to who reads the words.
        unnamed = f"Connection {self.synapse_livy_conn_id}: "
        trial = ConnectionTest(lambda: self._connection, self.spark_pool_name, self.livy_api_version)
        worked, words = trial.run()
        words = words.replace(unnamed, "")
        self.log.info("The test of the connection %s: %s", "succeeded" if worked else "failed", words)
        return worked, words

    def _request(
        self, connection: SynapseLivyConnection, session_id: object, detailed: bool = True
    ) -> SparkSessionRequest:
        return connection.spark_session_request(
            session_id,
            spark_pool_name=self.spark_pool_name,
            livy_api_version=self.livy_api_version,
            detailed=detailed,
        )

    @cached_property
    def _client(self) -> LivyClient:
        from airflow_provider_synapse_livy.requests_client import LivyClient

        return LivyClient(self._connection)

    @cached_property
    def _connection(self) -> SynapseLivyConnection:
        try:
            connection = self.get_connection(self.synapse_livy_conn_id)
        except AirflowNotFoundException as error:
            raise self._no_connection(error) from None
        return SynapseLivyConnection.from_airflow(connection, connection.extra_dejson)

    async def _read_connection_async(self) -> SynapseLivyConnection:
        async with connection_turn():
            try:
                connection = await get_async_connection(self.synapse_livy_conn_id, hook=self)
            except AirflowNotFoundException as error:
                raise self._no_connection(error) from None
            extra = await get_async_extra_dejson(connection)
        return await asyncio.to_thread(SynapseLivyConnection.from_airflow, connection, extra)

    def _no_connection(self, error: Exception) -> SynapseLivyConfigurationError:
        return SynapseLivyConfigurationError(
            f"Airflow has no connection {self.synapse_livy_conn_id!r} ({error}). Add one of the type "
            f"{self.hook_name}, or name another in {self.conn_name_attr}."
        )

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Make the widgets that Airflow before 3.2 asks for; later versions read the provider info alone."""
        from airflow_provider_synapse_livy.airflow_compat import form_widget

        return {name: form_widget(**field) for name, field in CONNECTION_FIELDS.items()}

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Give the provider info's field behaviour under the names that Airflow before 3.2 knows it by."""
        return {key.replace("-", "_"): value for key, value in UI_FIELD_BEHAVIOUR.items()}
