"""
Measure how fast the local Synapse answers: 200 sessions, 2,000 statements, 200 requests per second, on one core.

The requests are sent at fixed times, however late the answers are, and each latency counts from the time at which its
request was due. So an answer that blocks others counts for all of them.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.runner import percentile

SESSIONS, STATEMENTS, REQUESTS_PER_SECOND = 200, 2000, 200
_POOLS = 4
_SECONDS = 30

_HEADERS = {"Authorization": "Bearer emulator-token"}
_STATEMENT = {"code": "spark.range(5).count()", "kind": "pyspark"}

#: How many of twenty requests are of each kind: polls for the most part, as of waits.
_MIX = {"session": 8, "statement": 6, "sessions": 2, "statements": 2, "run": 1, "cancel": 1}


@contextmanager
def _emulator() -> Iterator[tuple[int, str]]:
    """Run the emulator on one core; yield its process id and URL."""
    module = "airflow_provider_synapse_livy.emulator"
    options = ["--port", "0", "--time-scale", "0.001", "--rate-limit", "1000000"]
    with subprocess.Popen([sys.executable, "-m", module, *options], stdout=subprocess.PIPE, text=True) as process:
        try:
            os.sched_setaffinity(process.pid, {max(os.sched_getaffinity(0))})
            assert process.stdout is not None
            found = re.search(r"http://\S+", process.stdout.readline())
            assert found is not None
            yield process.pid, found[0]
        finally:
            process.kill()


def _sessions(number: int) -> str:
    return f"/livyApi/versions/2020-12-01/sparkPools/pool{number % _POOLS}/sessions"


def _request(kind: str, choose: random.Random) -> tuple[str, str, Any]:
    """Return method, path and body of a request of a kind."""
    number = choose.randrange(SESSIONS)
    session = f"{_sessions(number)}/{number // _POOLS}"
    statement = f"{session}/statements/{choose.randrange(STATEMENTS // SESSIONS)}"
    return {
        "session": ("GET", f"{session}?detailed=true", None),
        "statement": ("GET", statement, None),
        "sessions": ("GET", f"{_sessions(number)}?detailed=true&size=20", None),
        "statements": ("GET", f"{session}/statements", None),
        "run": ("POST", f"{session}/statements", _STATEMENT),
        "cancel": ("POST", f"{statement}/cancel", None),
    }[kind]


async def _send(client: aiohttp.ClientSession, method: str, path: str, body: Any) -> None:
    async with client.request(method, path, json=body) as response:
        await response.read()
        response.raise_for_status()


async def _fill(client: aiohttp.ClientSession) -> None:
    """Create all sessions, and when they are idle all statements."""
    for number in range(SESSIONS):
        await _send(client, "POST", _sessions(number), {"name": f"session {number}"})
    await asyncio.sleep(1)
    for number in itertools.islice(itertools.cycle(range(SESSIONS)), STATEMENTS):
        await _send(client, "POST", f"{_sessions(number)}/{number // _POOLS}/statements", _STATEMENT)


async def _measure(url: str) -> list[tuple[str, float]]:
    """Return the kind and the latency in milliseconds of each request."""
    choose = random.Random(1)
    kinds = choose.choices(list(_MIX), list(_MIX.values()), k=_SECONDS * REQUESTS_PER_SECOND)
    async with aiohttp.ClientSession(url, headers=_HEADERS) as client:
        await _fill(client)
        began = time.perf_counter() + 0.5

        async def timed(number: int, kind: str) -> tuple[str, float]:
            due = began + number / REQUESTS_PER_SECOND
            await asyncio.sleep(due - time.perf_counter())
            await _send(client, *_request(kind, choose))
            return kind, 1000 * (time.perf_counter() - due)

        return await asyncio.gather(*(timed(number, kind) for number, kind in enumerate(kinds)))


def main() -> None:
    """Print the measurements as JSON."""
    with _emulator() as (pid, url):
        measured = asyncio.run(_measure(url))
        cpu = sum(map(int, _stat(pid)[13:15])) / os.sysconf("SC_CLK_TCK")
    latencies = sorted(latency for _, latency in measured)
    by_kind = {kind: percentile(sorted(ms for name, ms in measured if name == kind), 99) for kind in _MIX}
    result = {
        "p50": percentile(latencies, 50),
        "p99": percentile(latencies, 99),
        "most": latencies[-1],
        "cpu": cpu,
        "by_kind": by_kind,
    }
    print(json.dumps(result))


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().split()


if __name__ == "__main__":
    main()
