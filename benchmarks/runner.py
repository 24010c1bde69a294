"""Airflow's own trigger runner without its supervisor, so that one process can measure one design's triggers."""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import ssl
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from statistics import quantiles
from types import SimpleNamespace
from typing import Any, TypeVar, get_type_hints

import aiohttp
from airflow.executors.workloads import RunTrigger
from airflow.jobs.triggerer_job_runner import TriggerRunner, messages
from airflow.models.trigger import Trigger
from airflow.sdk.log import configure_logging

from benchmarks.designs import DESIGNS


@dataclass
class Setup:
    """
    What to measure; each field is an option of the command line.

    :param design: the design's name.
    :param n: how many triggers to run, each waiting for a session of its own.
    :param pools: over how many Spark pools the sessions are spread.
    :param url: the service's URL.
    :param ca_file: the file with the service's certificate.
    """

    design: str
    n: int
    pools: int
    url: str
    ca_file: str

    def workload(self, number: int) -> RunTrigger:
        """Build the message with which the supervisor starts a trigger."""
        design = DESIGNS[self.design]
        kwargs = design.kwargs(self.url, f"pool{number % self.pools}", number // self.pools)
        return RunTrigger(id=number, classpath=design.trigger, encrypted_kwargs=Trigger.encrypt_kwargs(kwargs))


_Setup = TypeVar("_Setup", bound=Setup)


@dataclass
class Outcomes:
    """
    How triggers ended so far; as for Airflow, a trigger's first event counts.

    :param succeeded_at: when each trigger saw its session become idle, in seconds since the epoch.
    :param failed: the triggers that ended with an error event or an exception.
    """

    succeeded_at: dict[int, float] = field(default_factory=dict)
    failed: set[int] = field(default_factory=set)

    def add(self, trigger_id: int, *, success: bool) -> None:
        """Record how a trigger ended."""
        if trigger_id in self.succeeded_at or trigger_id in self.failed:
            return
        if success:
            self.succeeded_at[trigger_id] = time.time()
        else:
            self.failed.add(trigger_id)


class _Events(deque[Any]):
    """The runner's queue of events, which records them."""

    def __init__(self, outcomes: Outcomes) -> None:
        super().__init__()
        self._outcomes = outcomes

    def append(self, entry: Any) -> None:
        self._outcomes.add(entry.trigger_id, success=_is_success(entry.event.payload))
        super().append(entry)


class _Failures(deque[Any]):
    """The runner's queue of triggers that ended with an exception, which records them."""

    def __init__(self, outcomes: Outcomes) -> None:
        super().__init__()
        self._outcomes = outcomes

    def append(self, entry: Any) -> None:
        self._outcomes.add(entry[0], success=False)
        super().append(entry)


def _is_success(payload: dict[str, Any]) -> bool:
    """Return whether an event of any design means success."""
    return payload.get("verdict", "success") == payload.get("status", "success") == "success" and "error" not in payload


class StandaloneRunner(TriggerRunner):
    """Airflow's trigger runner, which gets its triggers from :meth:`start` instead of a supervisor."""

    def __init__(self) -> None:
        super().__init__()
        self.outcomes = Outcomes()
        self.events = _Events(self.outcomes)
        self.failed_triggers = _Failures(self.outcomes)
        self._to_start: list[RunTrigger] = []

    def start(self, triggers: list[RunTrigger]) -> None:
        """Start more triggers in the next turn of the runner's loop."""
        self._to_start += triggers

    async def init_comms(self) -> None:
        """Replace the connection to the supervisor."""
        nothing_to_read = asyncio.create_task(asyncio.Event().wait())
        self.comms_decoder = SimpleNamespace(_reader_task=nothing_to_read)

    async def asend(self, _: messages.TriggerStateChanges) -> messages.TriggerStateSync:
        """Respond as the supervisor does: with the triggers to start."""
        to_start, self._to_start = self._to_start, []
        return messages.TriggerStateSync(to_create=to_start, to_cancel=set())


async def read_counters(control: aiohttp.ClientSession) -> dict[str, int]:
    """Return the service's counters."""
    async with control.get("/bench/counters") as response:
        counters: dict[str, int] = await response.json()
        return counters


def percentile(values: list[float], percent: int) -> float:
    """Return a percentile of the values; NaN if there are none."""
    if not values:
        return math.nan
    return quantiles(values, n=100, method="inclusive")[percent - 1] if len(values) > 1 else values[0]


def run_measurement(
    setup_class: type[_Setup],
    measure: Callable[[_Setup, StandaloneRunner, aiohttp.ClientSession], Awaitable[dict[str, Any]]],
) -> None:
    """Read the setup from the command line, run the measurement, and print its result as JSON."""
    parser = argparse.ArgumentParser()
    types = get_type_hints(setup_class)
    for name in (f.name for f in fields(setup_class)):
        parser.add_argument(f"--{name.replace('_', '-')}", type=types[name], required=True)
    setup = setup_class(**vars(parser.parse_args()))
    # As in a triggerer, the log is written as JSON.
    configure_logging(json_output=True, output=Path(os.devnull).open("wb"), sending_to_supervisor=True)
    result = asyncio.run(_run(setup, measure))
    sys.__stdout__.write(json.dumps(result) + "\n")


async def _run(
    setup: _Setup, measure: Callable[[_Setup, StandaloneRunner, aiohttp.ClientSession], Awaitable[dict[str, Any]]]
) -> dict[str, Any]:
    context = ssl.create_default_context(cafile=setup.ca_file)
    connector = aiohttp.TCPConnector(ssl=context)
    async with aiohttp.ClientSession(setup.url, connector=connector, raise_for_status=True) as control:
        runner = StandaloneRunner()
        running = asyncio.create_task(runner.arun())
        result = await measure(setup, runner, control)
        running.cancel()
        return result
