"""The emulator inside a Python process: in a thread, listening on the loopback address."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import re
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, get_args

from aiohttp import web

from airflow_provider_synapse_livy.emulator.batches import DEFAULT_BATCH_SCENARIO, EmulatedBatch
from airflow_provider_synapse_livy.emulator.entra import CLIENT_ID, CLIENT_SECRET, STATIC_TOKEN, TENANT_ID
from airflow_provider_synapse_livy.emulator.scenarios import DEFAULT_SCENARIO, FINAL_STATES, Scenario
from airflow_provider_synapse_livy.emulator.server import NEWEST_FIRST, SCENARIO_TAG, RecordedRequest, SynapseServer
from airflow_provider_synapse_livy.emulator.sessions import EmulatedSession
from airflow_provider_synapse_livy.emulator.statements import Script, Victim

__all__ = ["DEFAULT_POOL", "SynapseEmulator", "airflow_connection", "serve", "stop_serving"]

#: The Spark pool of examples. Airflow would warn of a shorter name in every task's log: it masks the values of a
#: connection's extra by their names, and says of each value of less than five characters that it is too short to mask.
DEFAULT_POOL = "sparkpool"

#: Addresses that mean "all of this machine", and the one to reach them at.
_LOOPBACK_ADDRESSES = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


#: The result that goes with each final state.
_RESULTS = {"dead": "Failed", "error": "Failed", "killed": "Cancelled", "success": "Succeeded"}


async def serve(server: SynapseServer, host: str, port: int, *, ca_file: Path | None) -> tuple[web.AppRunner, str]:
    """
    Start serving the emulator on the running event loop; end it with :func:`stop_serving`.

    :param host: address to listen on.
    :param port: port to listen on; 0 for any free one.
    :param ca_file: file to write the certificate to, for clients to trust; None to serve plain http.
    :return: the runner, and the URL at which this machine reaches the server.
    """
    context = None
    if ca_file:
        from airflow_provider_synapse_livy.emulator.tls import server_context

        context = server_context(ca_file, host)
    runner = web.AppRunner(server.application(), access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, host, port, ssl_context=context).start()
    bound_port = runner.addresses[0][1]
    url_host = _LOOPBACK_ADDRESSES.get(host, host)
    url_host = f"[{url_host}]" if ":" in url_host else url_host
    return runner, f"{'https' if context else 'http'}://{url_host}:{bound_port}"


async def stop_serving(runner: web.AppRunner) -> None:
    """Close all connections at once and stop serving."""
    # Without abort(), a TLS connection would wait up to 30 seconds for the client's part of the TLS shutdown.
    for connection in runner.server.connections if runner.server else ():
        if connection.transport:
            connection.transport.abort()
    await runner.cleanup()
    await asyncio.sleep(0)  # aborted transports close on the next iteration of the event loop


def airflow_connection(url: str, *, ca_file: Path | None, spark_pool_name: str | None = None, **extra: Any) -> str:
    """
    Return an Airflow connection to an emulator, as JSON for an ``AIRFLOW_CONN_...`` variable.

    :param url: the URL of the emulator.
    :param ca_file: the file with its certificate; None if it serves plain http.
    :param spark_pool_name: the connection's Spark pool.
    :param extra: fields to add to, or replace in, the connection's extra.
    """
    common = {"spark_pool_name": spark_pool_name, **extra}
    connection: dict[str, Any] = {"conn_type": "synapse_livy", "host": url}
    if ca_file:
        authority = {"tenantId": TENANT_ID, "authority": url, "verify": str(ca_file)}
        connection |= {"login": CLIENT_ID, "password": CLIENT_SECRET, "extra": authority | common}
    else:
        connection |= {"password": STATIC_TOKEN, "extra": {"auth_type": "token"} | common}
    return json.dumps(connection)


class SynapseEmulator:
    """
    A local Synapse for a test. It serves from the start of its ``with`` block to the end.

    .. code-block:: python

        with SynapseEmulator(time_scale=0.01) as synapse:
            session_id = synapse.create_session("sparkpool", "idles_out")
            os.environ["AIRFLOW_CONN_SYNAPSE_LIVY_DEFAULT"] = synapse.airflow_connection("sparkpool")

    :param tls: serve https, which azure-identity requires of the token endpoint; ``ca_file`` is then the certificate
        that clients must trust.
    :param time_scale: real seconds per emulated second; with 0.01, a session is idle after about half a second.
    :param rate_limit: requests per second; further ones get 429.
    :param token_lifetime: real seconds until an issued token expires.
    :param vcore_limit: the vcores of the workspace: a request for a larger session gets 400; None for no limit.
    :param list_order: ``newest_first``, as lists were recorded in 2025, or ``oldest_first``, as in 2019 to 2021.
    :param spark: run statements that have no script in a real Spark, which needs Java and the extra ``[spark]``.
    :param scenarios: further scenarios by name, which the tag of a request, :meth:`create_session` and
        :meth:`create_batch` may choose.
    :raises ValueError: if there is no such order.
    :raises MissingRequirementError: with ``spark``, if Java or pyspark is not installed.
    """

    def __init__(
        self,
        *,
        tls: bool = False,
        time_scale: float = 0.01,
        rate_limit: int = 200,
        token_lifetime: float = 3600.0,
        vcore_limit: int | None = None,
        list_order: str = NEWEST_FIRST,
        spark: bool = False,
        scenarios: Mapping[str, Scenario] | None = None,
    ) -> None:
        self.server = SynapseServer(
            time_scale=time_scale,
            rate_limit=rate_limit,
            token_lifetime=token_lifetime,
            vcore_limit=vcore_limit,
            list_order=list_order,
            spark=spark,
            scenarios=scenarios,
        )
        self.url = ""
        self._temp_dir = tempfile.TemporaryDirectory(prefix="synapse-livy-emulator-") if tls else None
        self.ca_file = Path(self._temp_dir.name) / "ca.pem" if self._temp_dir else None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="synapse-livy-emulator", daemon=True)
        self._runner: web.AppRunner | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        started = asyncio.run_coroutine_threadsafe(serve(self.server, "127.0.0.1", 0, ca_file=self.ca_file), self._loop)
        try:
            self._runner, self.url = started.result()
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
        if self._temp_dir:
            self._temp_dir.cleanup()

    def create_session(self, pool: str, scenario: str = DEFAULT_SCENARIO, *, age: float = 0.0, **options: Any) -> int:
        """
        Create a session and return its id. Unlike a POST request, this checks neither the pool nor the options.

        :param scenario: a key of ``SCENARIOS``, or of the scenarios that this emulator was given.
        :param age: how long ago it was created, in emulated seconds; 60 for a session that has just become idle.
        :param options: other fields of the JSON body that would create it; ``tags`` replaces the scenario; without a
            ``name`` it is "emulated".
        :raises ValueError: if there is no such scenario.
        """
        return self.server.create_session(pool, _with_scenario(options, scenario, self.server.scenarios), age=age).id

    def create_batch(
        self, pool: str, scenario: str = DEFAULT_BATCH_SCENARIO, *, age: float = 0.0, **options: Any
    ) -> int:
        """
        Create a batch job and return its id, as :meth:`create_session` does a session: ids are counted together.

        :param scenario: a key of ``BATCH_SCENARIOS``, or of the scenarios that this emulator was given.
        :param age: how long ago it was created, in emulated seconds; 40 for a job that has just begun to run.
        :param options: other fields of the JSON body that would create it.
        :raises ValueError: if there is no such scenario.
        """
        options = _with_scenario(options, scenario, self.server.batch_scenarios)
        return self.server.create_batch(pool, options, age=age).id

    def fail_next(self, *statuses: int) -> None:
        """
        Answer the next Livy requests with these HTTP statuses, one each, and later ones as usual.

        :param statuses: HTTP statuses; 0 closes the connection without a response.
        """
        self.server.faults.before.extend(statuses)

    def fail_after(self, *statuses: int) -> None:
        """
        Do what the next POST and DELETE requests ask for, but answer them with these HTTP statuses, one each.

        So a session is created or cancelled, and the client does not learn of it. A request that does not get as far as
        that, such as one that :meth:`fail_next` answers, leaves the status to the next.

        :param statuses: HTTP statuses; 0 closes the connection without a response; 200 cuts the body of the answer off
            in the middle, so that it cannot be read.
        """
        self.server.faults.after.extend(statuses)

    @contextlib.contextmanager
    def outage(self, status: int = 503) -> Iterator[None]:
        """
        Take the service away during a ``with`` block: no Livy request is processed. Sessions go on, and so do tokens.

        :param status: the HTTP status of all answers; 0 closes the connections without a response.
        """
        before, self.server.faults.outage = self.server.faults.outage, status
        try:
            yield
        finally:
            self.server.faults.outage = before

    def cancel_session(self, pool: str, session_id: int) -> None:
        """
        Cancel a session, as a DELETE request does.

        :raises LookupError: if there is no such session.
        """
        self._session(pool, session_id).cancel(self.server.clock.now())

    def cancel_batch(self, pool: str, batch_id: int) -> None:
        """
        Cancel a batch job, as a DELETE request does.

        :raises LookupError: if there is no such job.
        """
        self._session(pool, batch_id, EmulatedBatch).cancel(self.server.clock.now())

    def _session(self, pool: str, session_id: int, kind: type[EmulatedSession] = EmulatedSession) -> EmulatedSession:
        session = self.server.pools.find(pool, session_id)
        if session is None or type(session) is not kind:
            what = f"{kind.noun.capitalize()} {session_id} in pool {pool}: there is no such {kind.noun}."
            made = "create_batch" if kind is EmulatedBatch else "create_session"
            raise LookupError(f"{what}\nFix: pass the pool and the id of a {kind.noun} that {made}() returned.")
        return session

    def _undecided(self, pool: str, job_id: int) -> EmulatedSession:
        """
        Return a session or a batch job, which are numbered together.

        :raises LookupError: if there is none.
        :raises ValueError: if it has its result.
        """
        job = self.server.pools.find(pool, job_id) or self._session(pool, job_id)
        record = job.record(self.server.clock.now())
        if record["schedulerInfo"]["currentState"] == "Ended":
            what = f"{job.noun.capitalize()} {job_id} in pool {pool}: it has ended, with the result {record['result']}."
            raise ValueError(f"{what}\nFix: decide what becomes of it before that, or create another one.")
        return job

    def advance(self, seconds: float) -> None:
        """
        Put the clock forward, for all sessions and their statements. A real Spark does not run faster for it.

        :param seconds: emulated seconds, as all durations of scenarios; 60 make a new session idle.
        :raises ValueError: if that is less than 0, as time does not run back, or no number.
        """
        if not 0 <= seconds < math.inf:
            what = "time does not run back" if seconds < 0 else "that is no time"
            raise ValueError(f"advance({seconds:g}): {what}.\nFix: pass 0 or more seconds.")
        self.server.clock.advance(seconds * self.server.time_scale)

    def set_state(self, pool: str, session_id: int, state: str) -> None:
        """
        Set Livy's state of a session or a batch job. It keeps it, whatever was planned, and has no idle timeout now.

        It can still be cancelled. A session takes statements while it is idle or busy; if it is idle, it is busy while
        one runs. In a final state the result stays ``Uncertain`` until :meth:`finish` is called.

        :param session_id: the id of the session or the batch job.
        :param state: any text, such as ``busy``.
        :raises LookupError: if there is none.
        :raises ValueError: if it has its result.
        """
        self._undecided(pool, session_id).hold(state, self.server.clock.now())

    def finish(
        self,
        pool: str,
        session_id: int,
        *,
        state: str = "dead",
        result: str | None = None,
        error: Mapping[str, str] | None = None,
    ) -> None:
        """
        End a session or a batch job, with its result at once.

        :param session_id: the id of the session or the batch job.
        :param state: Livy's final state: ``dead``, ``error``, ``killed`` or ``success``.
        :param result: ``Failed``, ``Cancelled``, ``Succeeded`` or any other; by default what goes with the state.
        :param error: ``source``, ``errorCode`` and ``message`` of its error; by default what the service says of one in
            that state that has failed.
        :raises LookupError: if there is none.
        :raises ValueError: if the state is not final, or if it has its result.
        """
        if state not in FINAL_STATES:
            raise ValueError(f"state {state!r}: no session ends so.\nFix: use one of {', '.join(FINAL_STATES)}.")
        job = self._undecided(pool, session_id)
        result = result or _RESULTS[state]
        told = job.deaths.get(state) if result == "Failed" else None
        if error is not None:
            told = error.get("source", "User"), error.get("errorCode", ""), error.get("message", "")
        job.finish(state, result, told, self.server.clock.now())

    def recreate_pool(self, pool: str) -> None:
        """Delete a pool and create it again: it forgets its sessions, and numbers new ones from 0."""
        self.server.pools.recreate(pool)

    def sessions(self, pool: str | None = None) -> list[dict[str, Any]]:
        """
        Return the records of all sessions as ``detailed=true`` shows them, oldest first in each pool.

        :param pool: return the sessions of this pool only.
        """
        return self._records(pool, EmulatedSession)

    def batches(self, pool: str | None = None) -> list[dict[str, Any]]:
        """
        Return the records of all batch jobs, as :meth:`sessions` does of sessions.

        :param pool: return the batch jobs of this pool only.
        """
        return self._records(pool, EmulatedBatch)

    def _records(self, pool: str | None, kind: type[EmulatedSession]) -> list[dict[str, Any]]:
        now = self.server.clock.now()
        return [one.record(now) for one in self.server.pools.sessions(pool, kind)]

    def answer_statement(
        self,
        *,
        contains: str,
        output: Mapping[str, Any] | None = None,
        seconds: float = 1.0,
        ignores_cancel: bool = False,
        kills: Victim | None = None,
    ) -> None:
        """
        Set what statements do whose code contains a text, from now on. Of several such scripts the last one counts.

        A statement without a script runs for a second, and its output is an empty text.

        :param contains: the text; an empty one is in every code.
        :param output: the statement's ``output``: ``status``, and either ``data`` or ``ename``, ``evalue`` and
            ``traceback``; ``execution_count`` is added. Without one it is an empty text, or what Livy says of an
            interpreter that died.
        :param seconds: how long the statement runs, in emulated seconds.
        :param ignores_cancel: run on when it is cancelled, as a loop in Python does. Else it ends soon, as a Spark job.
        :param kills: ``interpreter`` or ``driver``: what dies when the statement has run. The session is then ``error``
            and its statements answer "Interpreter died", or ``dead`` and its statements are lost.
        :raises ValueError: if ``kills`` is anything else.
        """
        if kills is not None and kills not in get_args(Victim):
            raise ValueError(
                f"kills {kills!r}: no statement kills that.\nFix: use one of {', '.join(get_args(Victim))}."
            )
        script = Script(contains, output, seconds, ignores_cancel, kills)
        self.server.scripts = (script, *self.server.scripts)

    def statements(self, pool: str, session_id: int) -> list[dict[str, Any]]:
        """
        Return the records of a session's last 100 statements, oldest first, also of a session that has ended.

        :raises LookupError: if there is no such session.
        """
        return self._session(pool, session_id).statement_records(self.server.clock.now())

    def assert_nothing_runs(self) -> None:
        """
        Check that no session and no batch job was left alone: each has ended, or its cancellation was requested.

        :raises AssertionError: if there are others; it names their pools and ids.
        """
        now = self.server.clock.now()
        left = [session for session in self.server.pools.sessions() if session.is_left_alone(now)]
        if left:
            names = "\n".join(f"{s.id} in pool {s.pool} ({s.record(now)['state']})" for s in left)
            fix = "cancel each one that the test creates, also when a task fails or is killed."
            raise AssertionError(
                f"Sessions and batch jobs that run, and that nobody has cancelled:\n{names}\nFix: {fix}"
            )

    def airflow_connection(self, spark_pool_name: str | None = None, **extra: Any) -> str:
        """
        Return an Airflow connection to the emulator, as JSON for an ``AIRFLOW_CONN_...`` variable.

        :param spark_pool_name: the connection's Spark pool.
        :param extra: fields to add to, or replace in, the connection's extra.
        """
        return airflow_connection(self.url, ca_file=self.ca_file, spark_pool_name=spark_pool_name, **extra)

    def requests(self, pool: str | None = None, session_id: int | None = None) -> list[RecordedRequest]:
        """
        Return the last 10,000 requests, oldest first.

        :param pool: only those for this pool: its sessions, their statements, and its batch jobs.
        :param session_id: only those for this session or batch job itself, to read or to cancel it.
        """
        if pool is None:
            return self.recorded_requests
        number = "" if session_id is None else f"/{session_id}"
        path = re.compile(rf"/sparkPools/{re.escape(pool)}/(sessions|batches){number}{'$' if number else '(/|$)'}")
        return [request for request in self.recorded_requests if path.search(request.path)]

    @property
    def recorded_requests(self) -> list[RecordedRequest]:
        """The last 10,000 requests of all kinds, oldest first."""
        return list(self.server.recorded_requests)


def _with_scenario(options: dict[str, Any], scenario: str, scenarios: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of what is created, with the tag that chooses its scenario, unless they have tags."""
    # The server checks the scenario as well, but its message is part of an HTTP response, and stays as it is.
    if "tags" not in options and scenario not in scenarios:
        fix = f"use one of these scenarios:\n{', '.join(scenarios)}"
        raise ValueError(f"Scenario {scenario!r}: there is no such scenario.\nFix: {fix}")
    return {"tags": {SCENARIO_TAG: scenario}, **options}
