"""
``make soak``: hundreds of deferred waits at once, and a Synapse that fails one request in five.

The waits run as in a triggerer, on one event loop, through the package's own trigger. The figures at the end must
show no wait that ended otherwise than its session did, and nothing left open.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import random
import resource
import sys
import time
from collections import Counter, deque
from pathlib import Path

from airflow_provider_synapse_livy.emulator import SynapseEmulator
from airflow_provider_synapse_livy.triggers.spark_session import SynapseSparkSessionTrigger

#: What happens to the sessions, and how a wait for idle then ends.
ENDS = {"becomes_idle": "success", "fails_to_start": "failure", "cancelled_while_queued": "failure"}

#: Statuses, and 0 for a connection that is broken off.
FAULTS = (0, 0, 0, 408, 409, 423, 429, 430, 500, 502, 503, 504)
SHARE = 0.2


class RandomFaults(deque[int]):
    """Has a fault for one request in five, at random."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.requests = self.injected = 0
        self._random = random.Random(seed)

    def __bool__(self) -> bool:
        self.requests += 1
        return self._random.random() < SHARE

    def popleft(self) -> int:
        """Give the fault."""
        self.injected += 1
        return self._random.choice(FAULTS)


def trigger(session_id: int, timeout: float) -> SynapseSparkSessionTrigger:
    """Make the trigger of a wait for idle."""
    return SynapseSparkSessionTrigger(
        session_id=session_id,
        synapse_livy_conn_id="synapse_livy_default",
        spark_pool_name="etl",
        livy_api_version=None,
        target_states=["idle"],
        accepted_results=["Succeeded"],
        accept_idle_timeout=False,
        deadline=time.time() + timeout,
        timeout=timeout,
        poke_interval=5.0,
    )


async def wait(session_id: int, scenario: str) -> str:
    """Wait, and tell whether the wait ended as it must."""
    await asyncio.sleep(random.random() * 5)
    async for event in trigger(session_id, 600).run():
        verdict = event.payload.get("verdict") or f"error {event.payload['error']['message']}"
        session = event.payload.get("session") or {"id": session_id}
        right = verdict == ENDS[scenario] and session["id"] == session_id
        return "right" if right else f"wrong: {scenario} ended as {verdict}"
    return "wrong: no event"


async def play(emulator: SynapseEmulator, count: int) -> Counter[str]:
    """Let all waits run."""
    scenarios = [list(ENDS)[number % len(ENDS)] for number in range(count)]
    waits = [wait(emulator.create_session("etl", scenario), scenario) for scenario in scenarios]
    return Counter(await asyncio.gather(*waits))


def descriptors() -> int:
    """Count the open descriptors of this process."""
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))


def main() -> None:
    """Run the soak."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--waits", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    with SynapseEmulator(time_scale=1.0, rate_limit=100_000) as emulator:
        os.environ["AIRFLOW_CONN_SYNAPSE_LIVY_DEFAULT"] = emulator.airflow_connection("etl")
        asyncio.run(play(emulator, 5))  # what is loaded once is no growth
        opened, memory = descriptors(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        emulator.server.injected_faults = faults = RandomFaults(arguments.seed)
        began = time.monotonic()
        ends = asyncio.run(play(emulator, arguments.waits))
        took = time.monotonic() - began
        time.sleep(1)  # the emulator closes its ends
        leaked = descriptors() - opened
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) / 1024
    wrong = arguments.waits - ends["right"]
    print(f"waits right {ends['right']}, wrong {wrong}, in {took:.0f} s")
    print(f"requests {faults.requests}, faults injected {faults.injected}")
    print(f"leaked descriptors {leaked}, memory grown by {grown:.1f} MB at the most")
    for words, count in ends.items():
        if words != "right":
            print(f"{count} x {words}")
    sys.exit(bool(wrong or leaked > 0))


if __name__ == "__main__":
    main()
