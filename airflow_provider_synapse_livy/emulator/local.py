"""The emulator inside another process: a thread with a server on the loopback address."""

from __future__ import annotations

import asyncio
import json
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from airflow_provider_synapse_livy.emulator.entra import CLIENT_ID, CLIENT_SECRET, STATIC_TOKEN, TENANT_ID
from airflow_provider_synapse_livy.emulator.scenarios import DEFAULT_SCENARIO
from airflow_provider_synapse_livy.emulator.server import SCENARIO_TAG, Seen, SynapseServer

__all__ = ["SynapseEmulator", "serve", "stop_serving"]


async def serve(server: SynapseServer, host: str, port: int, *, ca_file: Path | None) -> tuple[web.AppRunner, str]:
    """
    Serve the emulator on the running event loop, until the runner is cleaned up.

    :param server: the emulator.
    :param host: the address to listen on.
    :param port: the port; 0 for any that is free.
    :param ca_file: where to write the certificate to trust; None to serve plain http.
    :return: the runner, and the address.
    """
    context = None
    if ca_file:
        from airflow_provider_synapse_livy.emulator.tls import server_context

        context = server_context(ca_file, host)
    runner = web.AppRunner(server.application(), access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, host, port, ssl_context=context).start()
    bound_port = runner.addresses[0][1]
    shown_host = f"[{host}]" if ":" in host else host
    return runner, f"{'https' if context else 'http'}://{shown_host}:{bound_port}"


async def stop_serving(runner: web.AppRunner) -> None:
    """
    Stop serving at once. A TLS connection would else wait half a minute for its client to say goodbye.

    :param runner: what :func:`serve` gave.
    """
    for connection in runner.server.connections if runner.server else ():
        if connection.transport:
            connection.transport.abort()
    await runner.cleanup()
    await asyncio.sleep(0)  # the transports close on the next turn of the loop


class SynapseEmulator:
    """
    A local Synapse for a test, from ``with`` to its end.

    .. code-block:: python

        with SynapseEmulator(time_scale=0.01) as synapse:
            session_id = synapse.create_session("etl", "idles_out")
            os.environ["AIRFLOW_CONN_SYNAPSE_LIVY_DEFAULT"] = synapse.airflow_connection("etl")

    :param tls: whether to serve https, and with it the token endpoint that azure-identity asks.
    :param time_scale: how long an emulated second lasts; 0.01 makes a session ready in about half a second.
    :param rate_limit: how many requests a second are answered before it answers 429.
    :param token_lifetime: how many seconds a token is good.
    """

    def __init__(
        self,
        *,
        tls: bool = False,
        time_scale: float = 0.01,
        rate_limit: int = 200,
        token_lifetime: float = 3600.0,
    ) -> None:
        self.server = SynapseServer(time_scale=time_scale, rate_limit=rate_limit, token_lifetime=token_lifetime)
        self.url = ""
        self._folder = tempfile.TemporaryDirectory(prefix="synapse-livy-emulator-") if tls else None
        self.ca_file = Path(self._folder.name) / "ca.pem" if self._folder else None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="synapse-livy-emulator", daemon=True)
        self._runner: web.AppRunner | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        serving = asyncio.run_coroutine_threadsafe(serve(self.server, "127.0.0.1", 0, ca_file=self.ca_file), self._loop)
        try:
            self._runner, self.url = serving.result()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._runner:
            asyncio.run_coroutine_threadsafe(stop_serving(self._runner), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        if self._folder:
            self._folder.cleanup()

    def create_session(self, pool: str, scenario: str = DEFAULT_SCENARIO, *, age: float = 0.0, **options: Any) -> int:
        """
        Create a session, and give its id.

        :param pool: its Spark pool.
        :param scenario: what happens to it, by name.
        :param age: how many emulated seconds of its life are over already; 60 for one that has just become idle.
        :param options: what else the body of the request to create it would hold.
        :raises ValueError: if there is no such scenario.
        """
        return self.server.create_session(pool, {"tags": {SCENARIO_TAG: scenario}, **options}, age=age).id

    def answer_next(self, *statuses: int) -> None:
        """
        Answer the next requests with these statuses instead, as a Synapse in trouble does; then go on as before.

        :param statuses: the HTTP statuses; 0 breaks the connection off.
        """
        self.server.troubles.extend(statuses)

    def cancel_session(self, pool: str, session_id: int) -> None:
        """
        Ask for a session's end, as somebody else might.

        :param pool: its Spark pool.
        :param session_id: its id.
        """
        session = self.server.pools.find(pool, session_id)
        if session is None:
            raise LookupError(f"pool {pool} has no session {session_id}")
        session.cancel(time.time())

    def airflow_connection(self, spark_pool_name: str | None = None, **extra: Any) -> str:
        """
        Give an Airflow connection to the emulator, as JSON for an ``AIRFLOW_CONN_...`` variable.

        :param spark_pool_name: the pool to write into it.
        :param extra: extra fields to add or replace.
        """
        common = {"spark_pool_name": spark_pool_name, **extra}
        connection: dict[str, Any] = {"conn_type": "synapse_livy", "host": self.url}
        if self.ca_file:
            authority = {"tenantId": TENANT_ID, "authority": self.url, "verify": str(self.ca_file)}
            connection |= {"login": CLIENT_ID, "password": CLIENT_SECRET, "extra": authority | common}
        else:
            connection |= {"password": STATIC_TOKEN, "extra": {"auth_type": "token"} | common}
        return json.dumps(connection)

    def requests(self, pool: str, session_id: int) -> list[Seen]:
        """
        Give the requests for one session so far, in order: with method, path and the status of the answer.

        :param pool: its Spark pool.
        :param session_id: its id.
        """
        return [seen for seen in self.seen if seen.path.endswith(f"/sparkPools/{pool}/sessions/{session_id}")]

    @property
    def seen(self) -> list[Seen]:
        """The requests so far, the last ten thousand of them."""
        return list(self.server.seen)
