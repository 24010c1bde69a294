"""The two transports as production uses them: a worker's client, and a triggerer's watch. One test body runs both."""

from __future__ import annotations

import time
from unittest import mock

from airflow_provider_synapse_livy.livy.resources import SPARK_SESSION
from airflow_provider_synapse_livy.polling.watch import Watch
from airflow_provider_synapse_livy.transport.sync_client import LivyClient
from airflow_provider_synapse_livy.waiting.wait import RETRY_TIMEOUT
from tests.support.fast_loop import SPEED, run_fast

#: A timeout that a local server keeps however busy the machine is, in seconds of the clock on the wall.
_SHORT = 0.3


class Worker:
    """
    Reads sessions as a task does.

    It does not pause: the pauses are recorded, and its clock is set forward by them.
    """

    name = "worker"
    #: A short timeout for one attempt, in the seconds that this transport counts.
    short_timeout = _SHORT

    def __init__(self) -> None:
        self.pauses: list[float] = []

    def read(self, livy_connection, session_id=12, *, pool=None, retry_timeout=RETRY_TIMEOUT):
        """Return a snapshot of a session."""
        now = time.monotonic

        def monotonic() -> float:
            return now() + sum(self.pauses)

        client = LivyClient(livy_connection, sleep=self.pauses.append)
        with client.session, mock.patch("time.monotonic", monotonic):
            request = SPARK_SESSION.get(livy_connection.pool(pool), session_id)
            return client.send(request, retry_timeout=retry_timeout)


class Triggerer:
    """Reads sessions as a trigger does, on an event loop whose clock runs fast."""

    name = "triggerer"
    short_timeout = _SHORT * SPEED

    def read(self, livy_connection, session_id=12, *, pool=None, retry_timeout=RETRY_TIMEOUT):
        """Return a snapshot of a session."""

        async def connect(anew):
            return livy_connection

        async def read():
            async with Watch(connect, SPARK_SESSION, session_id, spark_pool_name=pool) as watch:
                return await watch.poll(retry_timeout=retry_timeout)

        return run_fast(read())


TRANSPORTS = (Worker, Triggerer)
