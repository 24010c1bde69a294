"""Measure in one process what one design does while the service fails, and after it has recovered."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass
from statistics import median
from typing import Any

import aiohttp

from benchmarks.designs import POLL_INTERVAL
from benchmarks.runner import Setup, StandaloneRunner, read_counters, run_measurement

#: Seconds after the recovery in which the triggers must have noticed that their sessions are idle.
MAX_RECOVERY_SECONDS = 60.0

#: Seconds for which requests are counted before the fault.
_BASELINE_SECONDS = 10.0


@dataclass(frozen=True)
class Fault:
    """
    A way in which the service fails.

    :param title: a sentence for the report, with the placeholder ``seconds``.
    :param kind: ``outage`` or ``hang``.
    :param retry_after: the value of the header ``Retry-After`` in an outage.
    :param listed: whether the pool's list holds the sessions.
    """

    title: str
    kind: str
    retry_after: int | None = None
    listed: bool = True


FAULTS = {
    "outage": Fault("Outage: for {seconds:.0f} s each request is answered with 503", "outage"),
    "outage-retry-after": Fault(
        "Outage: for {seconds:.0f} s each request is answered with 503 and Retry-After: 20", "outage", retry_after=20
    ),
    "outage-no-list": Fault(
        "Outage: for {seconds:.0f} s each request is answered with 503, in a pool whose list lacks the sessions",
        "outage",
        listed=False,
    ),
    "hang": Fault("Hang: for {seconds:.0f} s requests are accepted and not answered", "hang"),
}


@dataclass
class FaultSetup(Setup):
    """
    What to measure.

    :param fault: the fault's name.
    :param seconds: how long it lasts.
    """

    fault: str
    seconds: float


async def _measure(setup: FaultSetup, runner: StandaloneRunner, control: aiohttp.ClientSession) -> dict[str, Any]:
    fault = FAULTS[setup.fault]
    await control.post("/bench/sessions", json={"n": setup.n, "pools": setup.pools, "listed": fault.listed})
    await _start_triggers(setup, runner)
    before = await _requests_per_second(control, _BASELINE_SECONDS)
    await control.post("/bench/fault", json={"kind": fault.kind, "retry_after": fault.retry_after})
    during = await _requests_per_second(control, setup.seconds)
    max_in_flight = (await read_counters(control))["max_in_flight"]
    failed = len(runner.outcomes.failed)
    async with control.post("/bench/idle", json={}) as response:
        recovered_at: float = await response.json()
    await control.post("/bench/fault", json={"kind": None})
    detection_times = await _detection_times(setup, runner, recovered_at)
    return {
        "before": before,
        "during": during,
        "max_in_flight": max_in_flight if fault.kind == "hang" else None,
        "failed": failed,
        "failed_later": len(runner.outcomes.failed) - failed,
        "unaware": setup.n - len(runner.outcomes.failed) - len(detection_times),
        "half": median(detection_times) if detection_times else math.nan,
        "all": max(detection_times, default=math.nan),
    }


async def _start_triggers(setup: FaultSetup, runner: StandaloneRunner) -> None:
    """Start one trigger, then the others spread over one interval, and wait until each has polled."""
    runner.start([setup.workload(0)])
    await asyncio.sleep(POLL_INTERVAL + 1)
    batches = int(POLL_INTERVAL)
    for first in range(1, batches + 1):
        runner.start([setup.workload(number) for number in range(first, setup.n, batches)])
        await asyncio.sleep(1)
    await asyncio.sleep(POLL_INTERVAL + 1)


async def _requests_per_second(control: aiohttp.ClientSession, seconds: float) -> float:
    """Count for so many seconds the requests that the service receives, whatever it does with them."""
    count, began = (await read_counters(control)).get("requests", 0), time.perf_counter()
    await asyncio.sleep(seconds)
    return ((await read_counters(control)).get("requests", 0) - count) / (time.perf_counter() - began)


async def _detection_times(setup: FaultSetup, runner: StandaloneRunner, recovered_at: float) -> list[float]:
    """Return for each trigger that noticed in time how many seconds after the recovery that was."""
    outcomes = runner.outcomes
    while (
        len(outcomes.succeeded_at) + len(outcomes.failed) < setup.n
        and time.time() < recovered_at + MAX_RECOVERY_SECONDS
    ):
        await asyncio.sleep(0.1)
    return [at - recovered_at for at in outcomes.succeeded_at.values()]


if __name__ == "__main__":
    run_measurement(FaultSetup, _measure)
