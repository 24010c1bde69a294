"""The hook for the Livy API of Azure Synapse."""

from __future__ import annotations

import asyncio
import importlib
import math
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from airflow.providers.common.compat.connection import get_async_connection, get_async_extra_dejson
from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook

from airflow_provider_synapse_livy.airflow_compat.task_state import connection_lookup_lock
from airflow_provider_synapse_livy.connection.synapse_livy import SynapseLivyConnection
from airflow_provider_synapse_livy.exceptions import SynapseLivyConfigurationError
from airflow_provider_synapse_livy.get_provider_info import CONNECTION_FIELDS, UI_FIELD_BEHAVIOUR
from airflow_provider_synapse_livy.hooks.connection_check import ConnectionCheck
from airflow_provider_synapse_livy.links import session_links
from airflow_provider_synapse_livy.livy.responses import (
    Snapshot,
    SparkSessionRequest,
    read_spark_session,
)
from airflow_provider_synapse_livy.transport.retry import RETRY_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import requests

    from airflow_provider_synapse_livy.models import SparkSession
    from airflow_provider_synapse_livy.polling.poller import Watch
    from airflow_provider_synapse_livy.transport.sync_client import LivyClient

__all__ = ["SparkSessionReader", "SynapseLivyHook"]


#: For how many seconds a connection that was read on an event loop is good for others on it. Each look-up takes a
#: triggerer about 0.1 s, one after the other, and after its restart all its triggers come at once.
_SECONDS_KNOWN = 5.0

_connections: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, tuple[float, SynapseLivyConnection]]] = (
    WeakKeyDictionary()
)


@dataclass(frozen=True, slots=True)
class SparkSessionReader:
    """
    Reads one Spark session from an event loop.

    :param watch: the share in the looks of all who wait.
    :param connection: the connection.
    """

    watch: Watch
    connection: SynapseLivyConnection

    async def read(self, *, after: float = 0.0, patience: float = RETRY_SECONDS, quiet: float = 0.0) -> Snapshot:
        """
        Read the session, within so many seconds: sooner if it is seen to change, or if others look just before.

        :param after: when to look at the latest, in seconds from now.
        :param patience: for how many seconds from then on to try again what may pass.
        :param quiet: for how many seconds from now it is looked at in the same interval without telling, as long as
            it does not change.
        :raises SynapseLivyError: if there is no good answer.
        """
        return await self.watch.look(after=after, patience=patience, quiet=quiet)

    async def close(self) -> None:
        """Have no more to do with the session."""
        await self.watch.close()

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

    def read(self, session_id: object, *, detailed: bool = True, patience: float = RETRY_SECONDS) -> Snapshot:
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

        All readers of a loop share the looks at a pool, and one client for each connection; the last to leave
        closes it.

        :param session_id: as for :meth:`get_spark_session`.
        :raises SynapseLivyError: likewise.
        """
        reader = await self.open_reader(session_id)
        try:
            yield reader
        finally:
            await reader.close()

    async def open_reader(self, session_id: object) -> SparkSessionReader:
        """
        Give what :meth:`async_reader` lends, to be closed by the caller: for waits, which are many and must be small.

        :param session_id: as for :meth:`get_spark_session`.
        :raises SynapseLivyError: likewise.
        """
        # Off the loop, which would stand still for a quarter of a second.
        polling = await asyncio.to_thread(importlib.import_module, "airflow_provider_synapse_livy.polling.poller")
        connection = await self._read_connection_async()
        pool = connection.pool(self.spark_pool_name)
        version = connection.livy_api_version if self.livy_api_version is None else self.livy_api_version
        watch: Watch = polling.Watch(connection, pool, version, session_id)
        watch.open()
        return SparkSessionReader(watch, connection)

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
        trial = ConnectionCheck(lambda: self._connection, self.spark_pool_name, self.livy_api_version)
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
        from airflow_provider_synapse_livy.transport.sync_client import LivyClient

        return LivyClient(self._connection)

    @cached_property
    def _connection(self) -> SynapseLivyConnection:
        try:
            connection = self.get_connection(self.synapse_livy_conn_id)
        except AirflowNotFoundException as error:
            raise self._no_connection(error) from None
        return SynapseLivyConnection.from_airflow(connection, connection.extra_dejson)

    async def _read_connection_async(self) -> SynapseLivyConnection:
        """Read the connection; those who come together share what the first of them has read."""
        loop = asyncio.get_running_loop()
        async with connection_lookup_lock():
            known = _connections.setdefault(loop, {})
            read_at, connection = known.get(self.synapse_livy_conn_id, (-math.inf, None))
            if connection is None or loop.time() > read_at + _SECONDS_KNOWN:
                connection = await self._look_connection_up()
                known[self.synapse_livy_conn_id] = loop.time(), connection
        return connection

    async def _look_connection_up(self) -> SynapseLivyConnection:
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
        from airflow_provider_synapse_livy.airflow_compat.task_state import form_widget

        return {name: form_widget(name, **field) for name, field in CONNECTION_FIELDS.items()}

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Give the provider info's field behaviour under the names that Airflow before 3.2 knows it by."""
        return {key.replace("-", "_"): value for key, value in UI_FIELD_BEHAVIOUR.items()}
