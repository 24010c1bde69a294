"""The hook for the Livy API of Azure Synapse."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_synapse_livy.airflow_compat.connections import read_connection
from airflow_provider_synapse_livy.airflow_compat.sdk import AirflowNotFoundException, BaseHook
from airflow_provider_synapse_livy.airflow_compat.versions import mask_secret
from airflow_provider_synapse_livy.connection.form import CONNECTION_FIELDS, UI_FIELD_BEHAVIOUR
from airflow_provider_synapse_livy.connection.synapse_livy import SynapseLivyConnection
from airflow_provider_synapse_livy.hooks.batches import BatchesMixin, in_states
from airflow_provider_synapse_livy.hooks.connection_check import ConnectionCheck
from airflow_provider_synapse_livy.hooks.statements import StatementsMixin
from airflow_provider_synapse_livy.links import session_links
from airflow_provider_synapse_livy.livy.errors import (
    SynapseLivyAuthenticationError,
    SynapseLivyConfigurationError,
    SynapseLivyError,
    SynapseLivyUnavailableError,
    error_message,
)
from airflow_provider_synapse_livy.livy.requests import LivyRequest, Pool, any_request
from airflow_provider_synapse_livy.livy.resources import (
    MAX_PAGE_SIZE,
    SPARK_SESSION,
    Resource,
    pool_name,
)
from airflow_provider_synapse_livy.livy.responses import Page, Record, Snapshot, one_line
from airflow_provider_synapse_livy.polling.watch import Watch
from airflow_provider_synapse_livy.transport.retry import Retries
from airflow_provider_synapse_livy.waiting.wait import RETRY_TIMEOUT

if TYPE_CHECKING:
    import requests

    from airflow_provider_synapse_livy.models import SparkJob, SparkSession, SparkSessionOptions
    from airflow_provider_synapse_livy.transport.sync_client import LivyClient

__all__ = ["SynapseLivyHook"]

R = TypeVar("R", bound=Record)
T = TypeVar("T")


class SynapseLivyHook(BatchesMixin, StatementsMixin, BaseHook):
    """
    Creates, reads and cancels the Livy Spark sessions and batch jobs of an Azure Synapse workspace.

    Source: `Spark Session - Get Spark Session
    <https://learn.microsoft.com/rest/api/synapse/data-plane/spark-session/get-spark-session>`__

    :param synapse_livy_conn_id: the id of the Airflow connection to the workspace.
    :param spark_pool_name: the Spark pool; None for the connection's.
    :param livy_api_version: the version of the Livy API; None for the connection's, which is ``2020-12-01`` unless
        it names another.
    :param is_connection_proved: whether the connection was read before, so that a secrets backend that fails now is
        an outage, and retried like one.
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
        is_connection_proved: bool = False,
    ) -> None:
        super().__init__()
        self.is_connection_proved = is_connection_proved
        self.synapse_livy_conn_id = str(synapse_livy_conn_id).strip()  # as rendered, it may have white space around it
        self.spark_pool_name = spark_pool_name
        self.livy_api_version = livy_api_version

    def get_spark_session(self, session_id: object, *, detailed: bool = True) -> SparkSession:
        """
        Return a Spark session.

        What may pass is retried for up to three minutes.

        :param session_id: the session's id in the pool, from 0 up: a number, digits, or a session's dict, which may
            name the pool as well.
        :param detailed: whether to ask for everything; otherwise the response has little but id, application, state
            and log.
        :raises SynapseLivyError: if it can't be read. The kinds are in
            :mod:`airflow_provider_synapse_livy.exceptions`.
        """
        return self.read(SPARK_SESSION, session_id, detailed=detailed).record

    def get_spark_sessions(
        self, *, states: Collection[str] | None = None, detailed: bool = True
    ) -> Iterator[SparkSession]:
        """
        Return the pool's Spark sessions, in the service's order, those that ended long ago included.

        It asks for pages of twenty as they are needed.

        :param states: only sessions in these Livy states, such as ``{"idle"}``; None for all.
        :raises SynapseLivyConfigurationError: at once, if there is no such state.
        :param detailed: as for :meth:`get_spark_session`.
        :raises SynapseLivyError: as for :meth:`get_spark_session`.
        """
        return in_states(self.pages(SPARK_SESSION, detailed=detailed), states)

    def create_spark_session(self, options: SparkSessionOptions) -> SparkSession:
        """
        Create a Spark session, and return it as it is then: not started.

        A refusal that may pass is retried for up to three minutes. An error whose ``may_have_been_processed`` is true
        may have created the session: look for its name in :meth:`get_spark_sessions` before you try again, since the
        service creates another one for each request. ``SynapseCreateSparkSessionOperator`` does.

        Source: `Spark Session - Create Spark Session
        <https://learn.microsoft.com/rest/api/synapse/data-plane/spark-session/create-spark-session>`__

        :param options: what to create.
        :raises SynapseLivyError: if it is refused, or it is not known whether it was created.
        """
        return self.create(SPARK_SESSION, body=options.to_body()).record

    def cancel_spark_session(self, session_id: object) -> None:
        """
        Cancel a Spark session. It has ended about half a minute later; cancelling twice does no harm.

        Source: `Spark Session - Cancel Spark Session
        <https://learn.microsoft.com/rest/api/synapse/data-plane/spark-session/cancel-spark-session>`__

        :param session_id: the session's id in the pool: a number, digits, or its dict.
        :raises SparkSessionNotFoundError: if there is no such session.
        :raises SynapseLivyError: as for :meth:`get_spark_session`.
        """
        self.cancel(SPARK_SESSION, session_id)

    def reset_spark_session_timeout(self, session_id: object) -> None:
        """
        Begin a Spark session's idle timeout anew, so that it is kept for a while longer.

        Source: `Spark Session - Reset Spark Session Timeout
        <https://learn.microsoft.com/rest/api/synapse/data-plane/spark-session/reset-spark-session-timeout>`__

        :param session_id: the session's id in the pool: a number, digits, or its dict.
        :raises SynapseLivyError: as for :meth:`get_spark_session`.
        """
        self._send((session_id,), lambda pool: SPARK_SESSION.reset_timeout(pool, session_id))  # type: ignore[arg-type]

    def request(self, method: str, path: str, json: Any = None) -> Any:
        """
        Send a request that this package has no method for, and return the JSON of its response, None if it is empty.

        What may pass is retried for up to three minutes, a POST only if the service has certainly not processed it.

        :param method: the HTTP method.
        :param path: the path below the pool, such as ``sessions/3/statements``; with a slash in front, the path below
            the workspace's endpoint.
        :param json: what to send as JSON; None to send nothing.
        :raises SynapseLivyError: if it does not succeed. The kinds are in
            :mod:`airflow_provider_synapse_livy.exceptions`.
        """
        return self._send((), lambda pool: any_request(pool, method, path, json))

    def create(
        self,
        resource: Resource[R],
        *parent_ids: int,
        body: Mapping[str, Any],
        longest_announced: float | None = None,
    ) -> Snapshot[R]:
        """
        Create a record, with one request that may have an effect.

        :param resource: what to create.
        :param parent_ids: the ids that lead to the list of them.
        :param body: what to create, under the documented names.
        :param longest_announced: as for :meth:`read`.
        :raises SynapseLivyError: as for :meth:`create_spark_session`.
        """
        times = (RETRY_TIMEOUT, longest_announced)
        return self._send(parent_ids, lambda pool: resource.create(pool, *parent_ids, body=body), times)

    def cancel(
        self,
        resource: Resource[R],
        *ids: object,
        retry_timeout: float = RETRY_TIMEOUT,
        longest_announced: float | None = None,
    ) -> None:
        """
        Cancel a record.

        :param resource: what to cancel.
        :param ids: the ids that lead to the record, its own last.
        :param retry_timeout: for how many seconds to retry while the service does not say when to come back.
        :param longest_announced: as for :meth:`read`.
        :raises SynapseLivyError: as for :meth:`cancel_spark_session`.
        """
        times = (retry_timeout, longest_announced)
        self._send(ids, lambda pool: resource.cancel(pool, *ids), times)  # type: ignore[arg-type]

    def pages(
        self,
        resource: Resource[R],
        *parent_ids: int,
        detailed: bool = True,
        longest_announced: float | None = None,
    ) -> Iterator[Page[R]]:
        """
        Return the pages of a list, asked for as they are needed; none has an item that an earlier one had.

        :param resource: what the list is of.
        :param parent_ids: the ids that lead to the list.
        :param detailed: as for :meth:`get_spark_session`.
        :param longest_announced: as for :meth:`read`, for each page.
        :raises SynapseLivyError: as for :meth:`get_spark_session`.
        """
        times = (RETRY_TIMEOUT, longest_announced)
        seen: set[int] = set()
        for start in itertools.count(0, MAX_PAGE_SIZE):
            read = partial(resource.page, start=start, detailed=detailed)
            page = self._send(parent_ids, lambda pool, read=read: read(pool, *parent_ids), times)  # type: ignore[misc]
            # What was created meanwhile has moved the others on.
            new = {number: item for number, item in page.items.items() if number not in seen}
            seen |= new.keys()
            yield dataclasses.replace(page, items=new)
            if page.is_last:
                return

    def read(
        self,
        resource: Resource[R],
        *ids: object,
        detailed: bool = True,
        retry_timeout: float = RETRY_TIMEOUT,
        longest_announced: float | None = None,
    ) -> Snapshot[R]:
        """
        Return a snapshot of a record, with the activity id by which Microsoft's support finds the request.

        :param resource: what to read.
        :param ids: the ids that lead to the record, its own last.
        :param detailed: as for :meth:`get_spark_session`.
        :param retry_timeout: for how many seconds to retry while the service does not say when to come back.
        :param longest_announced: up to how many seconds from now a pause may lead that the service asks for; None for
            ``retry_timeout``.
        :raises SynapseLivyError: as for :meth:`get_spark_session`.
        """
        times = (retry_timeout, longest_announced)
        try:
            return self._send(ids, lambda pool: resource.get(pool, *ids, detailed=detailed), times)  # type: ignore[arg-type]
        except resource.not_found as error:
            raise self._not_found(resource, ids, error) from None

    def _not_found(self, resource: Resource[R], ids: Sequence[object], error: SynapseLivyError) -> SynapseLivyError:
        """Return the error for an id that is nobody's, or one that says whose it is: ids of siblings get mixed up."""
        sibling = resource.sibling and resource.sibling()
        if sibling is None:
            return error
        try:
            record = self._send(ids, lambda pool: sibling.get(pool, *ids), (0.0, 0.0)).record  # type: ignore[arg-type]
        except SynapseLivyError:  # which says less than the first
            return error
        return resource.mistaken_for(sibling, error, record)

    def _send(
        self,
        ids: Sequence[object],
        make: Callable[[Pool], LivyRequest[T]],
        times: tuple[float, float | None] = (RETRY_TIMEOUT, None),
    ) -> T:
        """Send a request to the pool; after a refused identity once more, if the connection is another one by now."""
        try:
            return self._send_once(ids, make, times)
        except SynapseLivyAuthenticationError:
            if not self._reconnect():
                raise
            return self._send_once(ids, make, times)

    def _send_once(
        self, ids: Sequence[object], make: Callable[[Pool], LivyRequest[T]], times: tuple[float, float | None]
    ) -> T:
        name = pool_name(self.spark_pool_name, ids)
        request = make(self._connect(times[0]).pool(name, self.livy_api_version))
        return self._client.send(request, retry_timeout=times[0], longest_announced=times[1])

    def _reconnect(self) -> bool:
        """After a refused identity, read the connection again; return whether it is another one."""
        refused = self._connection
        try:
            self._connection = self._read_connection()
        except SynapseLivyError:
            return False
        self.__dict__.pop("_client", None)
        return self._connection != refused

    def watch(self, resource: Resource[R], *ids: object) -> Watch[R]:
        """
        Return what polls a record from an event loop, as :meth:`read` does in a task; to be closed by the caller.

        All watches of an event loop share their requests, and one client for each connection.

        :param resource: what to poll.
        :param ids: the ids that lead to the record, its own last.
        """
        return Watch(
            self._connect_async,
            resource,
            *ids,
            spark_pool_name=self.spark_pool_name,
            livy_api_version=self.livy_api_version,
            is_connection_proved=self.is_connection_proved,
        )

    def twin(self) -> SynapseLivyHook:
        """Return a hook for the same pool with an HTTP client of its own, for use while this one is in use."""
        twin = SynapseLivyHook(
            self.synapse_livy_conn_id,
            spark_pool_name=self.spark_pool_name,
            livy_api_version=self.livy_api_version,
            is_connection_proved=self.is_connection_proved,
        )
        if "_connection" in self.__dict__:
            twin._connection = self._connection
        return twin

    def links(self, session: SparkJob) -> dict[str, str]:
        """
        Return the addresses of the links from a task to its session or batch job, by the links' names.

        :param session: the session or batch job.
        :raises SynapseLivyConfigurationError: if the connection can't work.
        """
        return session_links(session, self._connection)

    def get_conn(self) -> requests.Session:
        """
        Return a requests session that authenticates what it sends to the workspace, and nothing else.

        :raises SynapseLivyConfigurationError: if the connection can't work.
        """
        return self._client.session

    def test_connection(self) -> tuple[bool, str]:
        """
        Test the connection with one real request: for a list of one session of its pool, or for a token alone.

        :return: whether it worked, and who signed in, or which step failed.
        """
        # The button tests under an id of its own, which would mean nothing to who reads the words.
        unnamed = f"Connection {self.synapse_livy_conn_id}: "
        check = ConnectionCheck(lambda: self._connection, self.spark_pool_name, self.livy_api_version)
        worked, words = check.run()
        words = words.replace(unnamed, "")
        self.log.info("The test of the connection %s: %s", "succeeded" if worked else "failed", words)
        return worked, words

    @cached_property
    def _client(self) -> LivyClient:
        from airflow_provider_synapse_livy.transport.sync_client import LivyClient

        return LivyClient(self._connection)

    @cached_property
    def _connection(self) -> SynapseLivyConnection:
        return self._read_connection()

    def _connect(self, retry_timeout: float) -> SynapseLivyConnection:
        """Return the connection. Where it is known to have worked, reading it is retried, as a request is."""
        if self.is_connection_proved and "_connection" not in self.__dict__:
            retries = Retries(retry_timeout)
            while True:
                try:
                    self._connection = self._read_connection()
                    break
                except SynapseLivyUnavailableError as error:
                    time.sleep(retries.pause_after(error))
        return self._connection

    def _read_connection(self) -> SynapseLivyConnection:
        try:
            connection = self.get_connection(self.synapse_livy_conn_id)
            extra = connection.extra_dejson
        except Exception as error:  # noqa: BLE001  (whatever a secrets backend raises)
            raise self._unreadable(error) from None
        return _parsed(connection, extra)

    async def _connect_async(self, anew: bool) -> SynapseLivyConnection:
        """Read the connection on an event loop; those who come together share what the first of them has read."""
        options = {"max_age": 0.0} if anew else {}
        try:
            connection = await read_connection(self.synapse_livy_conn_id, _parsed, **options)
        except SynapseLivyError:
            raise
        except Exception as error:  # noqa: BLE001  (whatever a secrets backend raises)
            raise self._unreadable(error) from None
        self.is_connection_proved = True
        return connection

    def _unreadable(self, error: Exception) -> SynapseLivyError:
        """Return the error for a connection that can't be read: an outage, if it could be read before."""
        if isinstance(error, AirflowNotFoundException):
            event = f"Airflow has no connection {self.synapse_livy_conn_id!r}."
            fix = f"add one of the type {self.hook_name}, or name another in {self.conn_name_attr}."
            cause = one_line(str(error))
        else:
            event = f"Airflow can't read the connection {self.synapse_livy_conn_id!r}."
            fix = "check the secrets backend, and the fields of the connection."
            cause = f"It raised {type(error).__name__}, whose words may hold a secret."
        kind = SynapseLivyUnavailableError if self.is_connection_proved else SynapseLivyConfigurationError
        return kind(error_message(event, fix, cause))

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the widgets that Airflow before 3.2 asks for; later versions read the provider info alone."""
        from airflow_provider_synapse_livy.airflow_compat.form_widgets import form_widget

        return {name: form_widget(name, **field) for name, field in CONNECTION_FIELDS.items()}

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return the provider info's field behaviour under the names that Airflow before 3.2 knows it by."""
        return {key.replace("-", "_"): value for key, value in UI_FIELD_BEHAVIOUR.items()}


def _parsed(connection: Any, extra: Any) -> SynapseLivyConnection:
    """Parse an Airflow connection, and have all its secrets masked, of which each patch of Airflow masks others."""
    parsed = SynapseLivyConnection.from_airflow(connection, extra)
    for secret in parsed.network.passwords() | parsed.identity.secrets():
        mask_secret(secret)
    return parsed
