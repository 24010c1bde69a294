"""
One measurement, in a process of its own: so many triggers of one design, in Airflow's own trigger runner.

Beside the runner a socket's other end is missing: what the supervisor would say is said here.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import math
import os
import random
import ssl
import sys
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from types import SimpleNamespace
from typing import Any

import aiohttp
from airflow.executors.workloads import RunTrigger
from airflow.jobs.triggerer_job_runner import TriggerRunner, messages
from airflow.models.trigger import Trigger
from airflow.sdk.log import configure_logging

from benchmarks.designs import DESIGNS, INTERVAL

#: How long a detection may take before it is given up, in seconds.
_LATEST = 40.0


class _Events(deque[Any]):
    """The runner's queue of events, which notes when each came."""

    def __init__(self) -> None:
        super().__init__()
        self.at: dict[int, float] = {}
        self.broken: dict[int, float] = {}

    def append(self, entry: Any) -> None:
        (self.at if _is_good(entry.event.payload) else self.broken)[entry.trigger_id] = time.time()
        super().append(entry)


def _is_good(payload: dict[str, Any]) -> bool:
    """Tell whether a trigger has ended as it should, in the words of any of them."""
    return payload.get("verdict", "success") == payload.get("status", "success") == "success" and "error" not in payload


class _Runner(TriggerRunner):
    """Airflow's runner, given its triggers by :meth:`give` instead of a supervisor."""

    def __init__(self) -> None:
        super().__init__()
        self.events = _Events()
        self._given: list[RunTrigger] = []

    def give(self, triggers: list[RunTrigger]) -> None:
        """Let it start more triggers with its next turn."""
        self._given += triggers

    async def init_comms(self) -> None:
        """Connect to nobody."""
        silence = asyncio.create_task(asyncio.Event().wait())
        self.comms_decoder = SimpleNamespace(_reader_task=silence)

    async def asend(self, _: messages.TriggerStateChanges) -> messages.TriggerStateSync:
        """Answer as the supervisor does: with what is to be started."""
        given, self._given = self._given, []
        return messages.TriggerStateSync(to_create=given, to_cancel=set())


@dataclass
class _Plan:
    design: str
    n: int
    pools: int
    url: str
    ca_file: str
    settle: float
    window: float
    ready: int

    def workload(self, number: int) -> RunTrigger:
        """Write what the supervisor would send for one trigger."""
        design = DESIGNS[self.design]
        kwargs = design.kwargs(self.url, f"pool{number % self.pools}", number // self.pools)
        return RunTrigger(id=number, classpath=design.trigger, encrypted_kwargs=Trigger.encrypt_kwargs(kwargs))


class _Lag:
    """Measures how late the event loop is."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    async def run(self) -> None:
        while True:
            asleep = time.perf_counter()
            await asyncio.sleep(0.05)
            self.seen.append(time.perf_counter() - asleep - 0.05)


async def _measure(plan: _Plan) -> dict[str, Any]:
    context = ssl.create_default_context(cafile=plan.ca_file)
    async with aiohttp.ClientSession(plan.url, connector=aiohttp.TCPConnector(ssl=context)) as control:
        await control.post("/bench/sessions", json={"n": plan.n, "pools": plan.pools})
        runner = _Runner()
        running = asyncio.create_task(runner.arun())
        result = await _observe(plan, runner, control)
        running.cancel()
        return result


async def _observe(plan: _Plan, runner: _Runner, control: aiohttp.ClientSession) -> dict[str, Any]:
    runner.give([plan.workload(0)])
    await asyncio.sleep(INTERVAL + 3)  # what the first trigger loads is not charged to the others
    memory = _resident()
    arrivals = int(plan.settle / 2)  # one lot each second: tasks are not deferred all at once
    for share in (range(first, plan.n, arrivals) for first in range(1, arrivals + 1)):
        runner.give([plan.workload(number) for number in share])
        await asyncio.sleep(1)
    await asyncio.sleep(plan.settle / 2)
    grown = _resident() - memory
    lag = _Lag()
    watching = asyncio.create_task(lag.run())
    before = await _counts(control)
    cpu, wall = time.process_time(), time.perf_counter()
    await asyncio.sleep(plan.window)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    after = await _counts(control)
    late = await _late(plan, runner, control)
    watching.cancel()
    total = await _counts(control)
    return {
        "cpu": 100 * cpu / wall,
        "requests": (after.get("answered", 0) - before.get("answered", 0)) / wall,
        "throttled": total.get("throttled", 0),
        "connections": total.get("connections", 0),
        "tokens": total["tokens"],
        "memory": grown / plan.n * 1000 if plan.n >= 100 else None,
        "lag": 1000 * _percentile(lag.seen, 99),
        "broken": len(runner.events.broken),
        "p50": _percentile(late, 50),
        "p99": _percentile(late, 99),
    }


async def _late(plan: _Plan, runner: _Runner, control: aiohttp.ClientSession) -> list[float]:
    """Let some sessions turn ready, at random over two intervals, and see how late their triggers notice."""
    if plan.design == "floor":
        return [math.nan]
    now = time.time()
    chosen = random.sample(range(plan.n), plan.ready)
    ready_at = {number: now + 1 + random.uniform(0, 2 * INTERVAL) for number in chosen}
    names = {f"pool{n % plan.pools}-{n // plan.pools}": at for n, at in ready_at.items()}
    await control.post("/bench/ready", json=names)
    seen = runner.events.at
    while not seen.keys() >= ready_at.keys() and time.time() < now + 2 * INTERVAL + _LATEST:
        await asyncio.sleep(0.1)
    end = time.time()  # one that was not noticed counts as noticed now
    return [seen.get(number, end) - at for number, at in ready_at.items() if number not in runner.events.broken]


async def _counts(control: aiohttp.ClientSession) -> dict[str, int]:
    async with control.get("/bench/counts") as answer:
        counts: dict[str, int] = await answer.json()
        return counts


def _resident() -> float:
    """Give the resident memory of this process, in MB."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _percentile(values: list[float], percent: int) -> float:
    return (
        quantiles(values, n=100, method="inclusive")[percent - 1]
        if len(values) > 1
        else values[0]
        if values
        else math.nan
    )


def main() -> None:
    """Measure, and print the result as JSON."""
    parser = argparse.ArgumentParser()
    for name, field in _Plan.__annotations__.items():
        kind = {"int": int, "float": float}.get(str(field), str)
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, required=True)
    plan = _Plan(**vars(parser.parse_args()))
    # A triggerer writes its log as JSON into a socket.
    configure_logging(json_output=True, output=Path(os.devnull).open("wb"), sending_to_supervisor=True)
    result = asyncio.run(_measure(plan))
    sys.__stdout__.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
