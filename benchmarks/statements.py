"""Measure in one process what waiting for statements costs: many in few sessions, in one pool."""

from __future__ import annotations

from typing import Any

import aiohttp

from benchmarks.cost import CostSetup, measure_waits
from benchmarks.designs import STATEMENT_SESSIONS, statement_of
from benchmarks.runner import StandaloneRunner, run_measurement


async def _measure(setup: CostSetup, runner: StandaloneRunner, control: aiohttp.ClientSession) -> dict[str, Any]:
    await control.post("/bench/statements", json={"n": setup.n, "sessions": STATEMENT_SESSIONS})

    async def finish(at: dict[int, float]) -> None:
        names = {"{}-{}".format(*statement_of(number)): time for number, time in at.items()}
        await control.post("/bench/available", json=names)

    return await measure_waits(setup, runner, control, finish)


if __name__ == "__main__":
    run_measurement(CostSetup, _measure)
