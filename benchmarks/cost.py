"""Measure in one process what waiting costs: CPU, memory and requests of one design at one number of triggers."""

from __future__ import annotations

import asyncio
import gc
import math
import os
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.designs import POLL_INTERVAL
from benchmarks.runner import Setup, StandaloneRunner, percentile, read_counters, run_measurement

#: Brings waits to their ends at given times.
Finish = Callable[[dict[int, float]], Awaitable[None]]

#: Seconds after which a change that no trigger has noticed counts as noticed.
_MAX_DETECTION_SECONDS = 40.0


@dataclass
class CostSetup(Setup):
    """
    What to measure.

    :param settle: seconds in which the triggers start and settle, before anything is measured.
    :param window: seconds for which CPU and requests are measured, while no session changes.
    :param idle: how many sessions then become idle, to measure how late the triggers notice.
    """

    settle: float
    window: float
    idle: int


class _LoopLag:
    """Measures how late the event loop wakes a task, in seconds."""

    def __init__(self) -> None:
        self.samples: list[float] = []

    async def run(self) -> None:
        while True:
            asleep_at = time.perf_counter()
            await asyncio.sleep(0.05)
            self.samples.append(time.perf_counter() - asleep_at - 0.05)


async def _measure(setup: CostSetup, runner: StandaloneRunner, control: aiohttp.ClientSession) -> dict[str, Any]:
    await control.post("/bench/sessions", json={"n": setup.n, "pools": setup.pools, "listed": True})

    async def finish(at: dict[int, float]) -> None:
        names = {f"pool{number % setup.pools}-{number // setup.pools}": time for number, time in at.items()}
        await control.post("/bench/idle", json=names)

    return await measure_waits(setup, runner, control, finish)


async def measure_waits(
    setup: CostSetup, runner: StandaloneRunner, control: aiohttp.ClientSession, finish: Finish
) -> dict[str, Any]:
    """Measure triggers while nothing changes, and then how late they notice what does."""
    runner.start([setup.workload(0)])
    await asyncio.sleep(POLL_INTERVAL + 3)  # the modules that the first trigger imports are not counted
    memory = _resident_memory()
    batches = int(setup.settle / 2)  # one each second, since tasks are not all deferred at once
    for first in range(1, batches + 1):
        runner.start([setup.workload(number) for number in range(first, setup.n, batches)])
        await asyncio.sleep(1)
    await asyncio.sleep(setup.settle / 2)
    memory = _resident_memory() - memory
    lag = _LoopLag()
    measuring_lag = asyncio.create_task(lag.run())
    before = await read_counters(control)
    cpu, wall = time.process_time(), time.perf_counter()
    await asyncio.sleep(setup.window)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    after = await read_counters(control)
    detection_times = await _detection_times(setup, runner, finish)
    measuring_lag.cancel()
    total = await read_counters(control)
    return {
        "cpu": 100 * cpu / wall,
        "requests": (after.get("answered", 0) - before.get("answered", 0)) / wall,
        "throttled": total.get("throttled", 0),
        "connections": total.get("connections", 0),
        "tokens": total.get("tokens", 0),
        "memory": memory / setup.n * 1000 if setup.n >= 100 else None,
        "lag": 1000 * percentile(lag.samples, 99),
        "failed": len(runner.outcomes.failed),
        "p50": percentile(detection_times, 50),
        "p99": percentile(detection_times, 99),
    }


async def _detection_times(setup: CostSetup, runner: StandaloneRunner, finish: Finish) -> list[float]:
    """Let waits come to an end at random times within two intervals; return how late their triggers noticed."""
    if setup.design == "floor":
        return [math.nan]
    now = time.time()
    chosen = random.sample(range(setup.n), setup.idle)
    idle_at = {number: now + 1 + random.uniform(0, 2 * POLL_INTERVAL) for number in chosen}
    await finish(idle_at)
    noticed_at, failed = runner.outcomes.succeeded_at, runner.outcomes.failed
    while (
        idle_at.keys() - noticed_at.keys() - failed and time.time() < now + 2 * POLL_INTERVAL + _MAX_DETECTION_SECONDS
    ):
        await asyncio.sleep(0.1)
    end = time.time()
    return [noticed_at.get(number, end) - at for number, at in idle_at.items() if number not in failed]


def _resident_memory() -> float:
    """Return the resident memory of this process, in MB."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    run_measurement(CostSetup, _measure)
