"""Nothing that a wait does blocks the triggerer's event loop, on which all other waits run."""

from __future__ import annotations

import asyncio
import json
import threading
import time

from airflow.secrets import BaseSecretsBackend

from airflow_provider_synapse_livy.emulator.tls import server_context
from tests.integration.test_trigger import events, make_trigger
from tests.support.scripted_server import ScriptedServer, http


class Watchdog:
    """
    Lets something slow wait for proof that the event loop is still running.

    However slow the machine, the loop runs if nothing blocks it; if something does, there is no proof.
    """

    proofs: list[bool]

    def __init__(self) -> None:
        self.proofs = []
        self._turned = threading.Semaphore(0)

    def hang(self) -> None:
        """Take as long as the loop needs for twenty turns; called off the loop. The limit is for a failed test."""
        while self._turned.acquire(blocking=False):
            pass
        self.proofs.append(all(self._turned.acquire(timeout=10) for _ in range(20)))

    async def watch(self, trigger):
        """Run a trigger on a loop whose turns are counted."""
        counting = asyncio.create_task(self._count())
        try:
            return await events(trigger)
        finally:
            counting.cancel()

    async def _count(self) -> None:
        while True:
            self._turned.release()
            await asyncio.sleep(0.001)


def test_token_endpoint_hangs(connect, tmp_path):
    """While Microsoft Entra ID delays the token of a wait, the loop runs."""
    watchdog = Watchdog()

    def hang(connection):
        watchdog.hang()
        connection.sendall(http(400, {"error": "invalid_client", "error_description": "AADSTS7000215"}))

    ca_file = tmp_path / "ca.pem"
    with ScriptedServer(hang, tls=server_context(ca_file, "127.0.0.1")) as entra:
        extra = {"tenantId": "tenant", "authority": entra.url, "verify": str(ca_file), "spark_pool_name": "etl"}
        fields = {"conn_type": "synapse_livy", "host": entra.url, "login": "hung", "password": "s3cr3t", "extra": extra}
        connect(json.dumps(fields))
        (event,) = asyncio.run(watchdog.watch(make_trigger()))
    assert event["error"]["kind"] == "SynapseLivyAuthenticationError"
    assert watchdog.proofs
    assert all(watchdog.proofs)


class SlowSecrets(BaseSecretsBackend):
    """A secrets backend that takes its time, as one behind a network does, and knows nothing."""

    watchdog: Watchdog

    def get_connection(self, conn_id, team_name=None):
        """Look a connection up, slowly if it is this test's: Airflow keeps a backend for all tests that follow."""
        if conn_id == "far_away":
            self.watchdog.hang()


def test_connection_is_read(monkeypatch):
    """While a secrets backend looks a connection up, the loop runs."""
    monkeypatch.setenv("AIRFLOW__SECRETS__BACKEND", f"{SlowSecrets.__module__}.{SlowSecrets.__qualname__}")
    SlowSecrets.watchdog = watchdog = Watchdog()
    (event,) = asyncio.run(watchdog.watch(make_trigger(synapse_livy_conn_id="far_away", deadline=time.time())))
    assert event["error"]["kind"] == "SynapseLivyUnavailableError"  # the task has read the connection before
    assert watchdog.proofs
    assert all(watchdog.proofs)
