"""The two transports as production uses them: a worker's client, and a triggerer's watch. One test body runs both."""

from __future__ import annotations

from collections.abc import Callable

from airflow_provider_synapse_livy.livy.resources import SPARK_SESSION
from airflow_provider_synapse_livy.polling.watch import Watch
from airflow_provider_synapse_livy.transport.sync_client import LivyClient
from airflow_provider_synapse_livy.waiting.wait import RETRY_TIMEOUT
from tests.support.fast_loop import run_fast


class Worker:
    """Reads sessions as a task does. Its pauses are only written down."""

    name = "worker"

    def __init__(self) -> None:
        self.pauses: list[float] = []
        self.while_pausing: Callable[[], object] = lambda: None

    def pause(self, seconds):
        """Write a pause down."""
        self.pauses.append(seconds)
        self.while_pausing()

    def read(self, livy_connection, session_id=12, *, pool=None, retry_timeout=RETRY_TIMEOUT):
        """Return a snapshot of a session."""
        client = LivyClient(livy_connection, sleep=self.pause)
        with client.session:
            request = SPARK_SESSION.get(livy_connection.pool(pool), session_id)
            return client.send(request, retry_timeout=retry_timeout)


class Triggerer:
    """Reads sessions as a trigger does, on an event loop whose clock runs fast."""

    name = "triggerer"

    def read(self, livy_connection, session_id=12, *, pool=None, retry_timeout=RETRY_TIMEOUT):
        """Return a snapshot of a session."""

        async def connect(anew):
            return livy_connection

        async def read():
            async with Watch(connect, SPARK_SESSION, session_id, spark_pool_name=pool) as watch:
                return await watch.poll(retry_timeout=retry_timeout)

        return run_fast(read())


TRANSPORTS = (Worker, Triggerer)
