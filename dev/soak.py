"""
``make soak``: hundreds of deferred waits while one request in five fails, and for 20 seconds every request.

The waits run on one event loop through the package's own trigger, as in a triggerer. Between them and the emulator is
a proxy that causes the failures. The soak fails if a wait did not end as its session did, or if a file descriptor is
still open at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import os
import random
import resource
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Self

import aiohttp
from aiohttp import web

from airflow_provider_synapse_livy.emulator import SynapseEmulator
from airflow_provider_synapse_livy.triggers.spark_session import SynapseSparkSessionTrigger

#: The scenarios of the sessions, and how a wait for idle ends in each.
EXPECTED_VERDICTS = {"becomes_idle": "success", "fails_to_start": "failure", "cancelled_while_queued": "failure"}

#: HTTP statuses; 0 stands for a broken connection.
FAULTS = (0, 0, 0, 408, 409, 423, 429, 430, 500, 502, 503, 504)
FAULT_SHARE = 0.2

#: Seconds from the start of the waits to the outage: most sessions change in it, or just before or after it.
OUTAGE_AT = 30.0
OUTAGE_SECONDS = 20.0


class FaultyProxy:
    """
    Forwards GET requests to the emulator, from ``with`` to its end, and fails some of them once told to.

    :param target: the emulator's URL.
    :param seed: the seed of the random faults.
    """

    def __init__(self, target: str, seed: int) -> None:
        self.url = ""
        self.fault_share = 0.0
        self.is_out = False
        self.requests = self.faults = 0
        self._target = target
        self._random = random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=[self._serve()], daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._started.wait(timeout=10):
            raise RuntimeError("the proxy did not start")
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()

    async def _serve(self) -> None:
        app = web.Application()
        app.router.add_get("/{path:.*}", self._handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        # Connections to the emulator are not kept, so that they do not count as leaked descriptors.
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as self._client:
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            self._started.set()
            await self._stop.wait()
            await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.Response:
        self.requests += 1
        if self.is_out:
            return web.json_response({"error": {"code": "ServiceUnavailable"}}, status=503)
        if self._random.random() < self.fault_share:
            self.faults += 1
            return _fault(self._random.choice(FAULTS), request)
        headers = {"Authorization": request.headers["Authorization"]}
        async with self._client.get(f"{self._target}{request.rel_url}", headers=headers) as response:
            return web.Response(body=await response.read(), status=response.status, content_type=response.content_type)


def _fault(status: int, request: web.Request) -> web.Response:
    if status == 0:
        if request.transport is not None:
            request.transport.abort()
        return web.Response()
    headers = {"Retry-After": "1"} if status == 429 else {}
    return web.json_response({"error": {"code": "Injected"}}, status=status, headers=headers)


class Outage:
    """
    An outage of the proxy, and its requests per second before and in it.

    :param proxy: the proxy.
    """

    def __init__(self, proxy: FaultyProxy) -> None:
        self._proxy = proxy
        self.rate_before = self.rate_during = 0.0

    async def run(self) -> None:
        """Wait until it is time for the outage, then until it is over."""
        self.rate_before = await self._requests_per_second(OUTAGE_AT)
        self._proxy.is_out = True
        self.rate_during = await self._requests_per_second(OUTAGE_SECONDS)
        self._proxy.is_out = False

    async def _requests_per_second(self, seconds: float) -> float:
        requests = self._proxy.requests
        await asyncio.sleep(seconds)
        return (self._proxy.requests - requests) / seconds


def build_trigger(session_id: int, timeout: float) -> SynapseSparkSessionTrigger:
    """Build the trigger of a wait for idle."""
    return SynapseSparkSessionTrigger(
        session_id=session_id,
        synapse_livy_conn_id="synapse_livy_default",
        spark_pool_name="etl",
        livy_api_version=None,
        target_states=["idle"],
        accepted_results=["Succeeded"],
        accept_idle_timeout=False,
        deadline=time.time() + timeout,
        options={"timeout": timeout, "poke_interval": 5.0},
    )


async def wait(session_id: int, scenario: str) -> str:
    """Wait for a session; return ``right`` if the wait ended as it must, or else a sentence that says how it ended."""
    await asyncio.sleep(random.random() * 5)
    async for event in build_trigger(session_id, 600).run():
        verdict = event.payload.get("verdict") or f"error {event.payload['error']['message']}"
        session = event.payload.get("record") or {"id": session_id}
        is_right = verdict == EXPECTED_VERDICTS[scenario] and session["id"] == session_id
        return "right" if is_right else f"wrong: {scenario} ended as {verdict}"
    return "wrong: no event"


async def run_waits(emulator: SynapseEmulator, count: int, outage: Outage | None = None) -> Counter[str]:
    """Run so many waits, with an outage meanwhile; return how many ended in which way."""
    scenarios = [list(EXPECTED_VERDICTS)[number % len(EXPECTED_VERDICTS)] for number in range(count)]
    waits = [wait(emulator.create_session("etl", scenario), scenario) for scenario in scenarios]
    async with asyncio.TaskGroup() as tasks:
        if outage:
            tasks.create_task(outage.run())
        ends = await asyncio.gather(*waits)
    return Counter(ends)


def silence_logs() -> None:
    """Leave out the log below errors, which has a line for each change of each session."""
    logging.disable(logging.WARNING)
    with suppress(ImportError):  # Airflow 2 has no structlog
        import structlog

        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))


def open_descriptors() -> int:
    """Return the number of open file descriptors of this process."""
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))


def peak_memory() -> float:
    """Return the largest resident memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Run the soak, and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--waits", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    silence_logs()
    with (
        SynapseEmulator(time_scale=1.0, rate_limit=100_000) as emulator,
        FaultyProxy(emulator.url, arguments.seed) as proxy,
    ):
        connection = json.loads(emulator.airflow_connection("etl")) | {"host": proxy.url}
        os.environ["AIRFLOW_CONN_SYNAPSE_LIVY_DEFAULT"] = json.dumps(connection)
        asyncio.run(run_waits(emulator, 5))  # what is loaded only once is not growth
        descriptors, memory = open_descriptors(), peak_memory()
        proxy.requests, proxy.fault_share = 0, FAULT_SHARE
        outage = Outage(proxy)
        started_at = time.monotonic()
        ends = asyncio.run(run_waits(emulator, arguments.waits, outage))
        seconds = time.monotonic() - started_at
        time.sleep(1)  # until the proxy and the emulator have closed their connections
        leaked = open_descriptors() - descriptors
        grown = peak_memory() - memory
    wrong = arguments.waits - ends["right"]
    print(f"waits: {ends['right']} right, {wrong} wrong, in {seconds:.0f} s")
    print(f"requests: {proxy.requests}, of which {proxy.faults} failed at random")
    print(f"outage of {OUTAGE_SECONDS:.0f} s: {outage.rate_during:.1f} requests/s, before it {outage.rate_before:.1f}")
    print(f"leaked descriptors: {leaked}; memory grew by {grown:.1f} MB at most")
    for end, count in ends.items():
        if end != "right":
            print(f"{count} x {end}")
    sys.exit(bool(wrong or leaked > 0))


if __name__ == "__main__":
    main()
