"""
Run the benchmark: one process for each measurement, then the tables and the picture.

The rows are *cost* (CPU, memory and requests of each design at each number of waits), *outage*, *outage-retry-after*,
*outage-no-list* and *hang* (300 waits of one pool while the service fails, and after it), *statements* (1,000 waits for
code in 50 sessions), *worker* (a task on a worker), *batches* (1,000 waits for batch jobs beside as many for sessions,
and what one job takes of a worker, here and with Airflow's own Azure provider), and *emulator* (how fast the local
Synapse answers). Examples of ``make bench ARGS="..."``:

.. code-block:: text

    outage hang                                                      only these rows, 10 minutes
    statements                                                       only this one, 4 minutes
    outage hang --designs ours                                       this package alone, 5 minutes
    cost --designs ours,floor --n 1000,5000 --pools 4                what a wait costs beside one that only sleeps
    outage hang cost --designs ours --n 1000 --pools 4 --before DIR  this package beside its version in folder DIR

Without arguments it takes more than an hour.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import PACKAGE_FOLDER_VARIABLE

_PROJECT = Path(__file__).resolve().parent.parent
_RATE_LIMIT = 200
_DESIGNS = ("ours", "azure", "livy", "sdk", "aiohttp", "floor")
_FAULTS = ("outage", "outage-retry-after", "outage-no-list", "hang")
_ROWS = ("cost", *_FAULTS, "statements", "worker", "batches", "emulator")

#: The designs that wait for statements, and how many.
_STATEMENT_DESIGNS = ("statements", "statements-aiohttp")
_STATEMENTS = 1000

#: The designs of this package, by what they wait for.
_KINDS = ("ours", "batches")

#: At this number of waits the other designs are overloaded; they are measured only once, to show that.
_OVERLOAD = 5000


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", nargs="*", metavar="row", help=f"which rows: {', '.join(_ROWS)} (default: all)")
    parser.add_argument("--designs", default=",".join(_DESIGNS), help="which designs (default: %(default)s)")
    parser.add_argument("--before", type=Path, metavar="DIR", help="also measure the package as it is in this folder")
    parser.add_argument("--n", default="1,10,100,1000,5000", help="cost: how many waits (default: %(default)s)")
    parser.add_argument("--pools", default="4,40", help="cost: in how many pools (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=3, help="cost: runs, of which the median counts (%(default)s)")
    parser.add_argument("--waits", type=int, default=300, help="faults: how many waits (default: %(default)s)")
    parser.add_argument("--outage-seconds", type=float, default=30, help="how long outages last (%(default)s)")
    # After 180 s the retries of one poll end in version 0.1, and with them its limit of requests in flight.
    parser.add_argument("--hang-seconds", type=float, default=150, help="how long the hang lasts (%(default)s)")
    parser.add_argument("--fault-runs", type=int, default=1, help="faults: runs, of which the median counts")
    parser.add_argument("--output", type=Path, default=_PROJECT / ".airflow" / "bench", help="where to write")
    arguments = parser.parse_args()
    arguments.rows = arguments.rows or list(_ROWS)
    if unknown := set(arguments.rows) - set(_ROWS):
        parser.error(f"unknown row {', '.join(sorted(unknown))}; choose from {', '.join(_ROWS)}")
    arguments.designs = arguments.designs.split(",")
    if arguments.before:
        arguments.before = arguments.before.resolve()
        arguments.designs.insert(0, "before")
    return arguments


def _cost_cells(arguments: argparse.Namespace) -> Iterator[tuple[str, int, int, int]]:
    """Yield design, waits, pools and runs. With 40 pools only this package and the plain loop are measured."""
    numbers, pools = (value.split(",") for value in (arguments.n, arguments.pools))
    for p, n, design in itertools.product(map(int, pools), map(int, numbers), arguments.designs):
        if p == 40 and (n < 1000 or design not in ("before", "ours", "aiohttp")):
            continue
        # The figures that others are compared with are measured several times.
        several = n == 1000 or design in ("before", "ours", "floor") or (n == 1 and design == "aiohttp")
        yield design, n, p, arguments.runs if several and p == 4 else 1


def _cost_options(n: int) -> dict[str, Any]:
    """Return how long to measure: 1,000 triggers with a client for each take half a minute to settle."""
    settle = 10 if n < 1000 else 30 if n < _OVERLOAD else 50
    return {"settle": settle, "window": 20, "idle": min(n, 100)}


@contextmanager
def _service() -> Iterator[tuple[str, str]]:
    """Run the service; yield its URL and the file with its certificate."""
    with tempfile.TemporaryDirectory(prefix="synapse-livy-bench-") as folder:
        ca_file = f"{folder}/ca.pem"
        command = [sys.executable, "-m", "benchmarks.service", "--ca-file", ca_file, "--rate-limit", str(_RATE_LIMIT)]
        with subprocess.Popen(command, cwd=_PROJECT, stdout=subprocess.PIPE, text=True) as process:
            try:
                yield process.stdout.readline().strip(), ca_file
            finally:
                process.kill()


def _environment(home: Path) -> dict[str, str]:
    """Return an environment in which Airflow has a home of its own and needs no database."""
    from cryptography.fernet import Fernet

    clean = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    return clean | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__FERNET_KEY": Fernet.generate_key().decode(),
    }


def _measure(module: str, arguments: argparse.Namespace, options: dict[str, Any]) -> dict[str, Any]:
    """Run a measurement in a process of its own, with a service of its own, and return its result."""
    from benchmarks.designs import connections

    with _service() as (url, ca_file):
        environment = _environment(arguments.output) | connections(url, ca_file)
        if options.get("design") == "before":
            environment[PACKAGE_FOLDER_VARIABLE] = str(arguments.before)
        options = options | {"url": url, "ca-file": ca_file}
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        return _run(module, words, environment)


def _run(module: str, words: list[str], environment: dict[str, str]) -> dict[str, Any]:
    """Run a measurement in a process of its own, and return its result."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *words]
    run = subprocess.run(command, cwd=_PROJECT, env=environment, capture_output=True, text=True, check=False)
    if run.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{run.stderr[-3000:]}")
    result: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return result


def _medians(results: list[dict[str, Any]]) -> dict[str, Any]:
    known = {name: [r[name] for r in results if r[name] is not None] for name in results[0]}
    return {name: median(values) if values else None for name, values in known.items()}


def _measure_cost(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    for design, n, pools, runs in _cost_cells(arguments):
        options = {"design": design, "n": n, "pools": pools} | _cost_options(n)
        results = [_measure("cost", arguments, options) for _ in range(runs)]
        yield {"design": design, "n": n, "pools": pools, "runs": runs} | _medians(results)


def _measure_statements(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    for design in _STATEMENT_DESIGNS:
        options = {"design": design, "n": _STATEMENTS, "pools": 1} | _cost_options(_STATEMENTS)
        yield {"design": design, "n": _STATEMENTS, "pools": 1} | _measure("statements", arguments, options)


def _measure_batches(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Measure waits for sessions and for batch jobs in turns, so that both have the same neighbours."""
    options = {"n": 1000, "pools": 4} | _cost_options(1000)
    runs = [
        [_measure("cost", arguments, {"design": design} | options) for design in _KINDS] for _ in range(arguments.runs)
    ]
    for design, results in zip(_KINDS, zip(*runs, strict=True), strict=True):
        yield {"design": design, "n": 1000, "pools": 4, "runs": arguments.runs} | _medians(list(results))


def _measure_fault(fault: str, arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Measure all designs in a fault. In a hang no process has anything to do, so all designs hang at once."""
    seconds = arguments.hang_seconds if fault == "hang" else arguments.outage_seconds
    ours_only = fault == "outage-no-list"  # no other design reads the list
    designs = [d for d in arguments.designs if d in ("before", "ours") or not (d == "floor" or ours_only)]

    def measure(design: str) -> dict[str, Any]:
        options = {"design": design, "n": arguments.waits, "pools": 1, "fault": fault, "seconds": seconds}
        results = [_measure("fault", arguments, options) for _ in range(arguments.fault_runs)]
        return {"fault": fault, "design": design, "n": arguments.waits, "seconds": seconds} | _medians(results)

    with ThreadPoolExecutor(len(_DESIGNS) if fault == "hang" else 1) as threads:
        yield from threads.map(measure, designs)


def main() -> None:
    """Measure the rows, and write the report."""
    arguments = _parse_arguments()
    arguments.output = arguments.output.resolve()
    arguments.output.mkdir(parents=True, exist_ok=True)
    os.environ |= _environment(arguments.output)
    report: dict[str, Any] = {
        "cost": [],
        "faults": [],
        "statements": [],
        "worker": None,
        "batches": None,
        "emulator": None,
    }
    measures = {"cost": _measure_cost, "statements": _measure_statements}
    for row in (row for row in _ROWS if row in arguments.rows):
        if row == "worker":
            report["worker"] = _measure("worker_side", arguments, {})
            continue
        if row == "emulator":
            report["emulator"] = _run("emulator", [], dict(os.environ))
            continue
        if row == "batches":
            report["batches"] = {"waits": list(_measure_batches(arguments))} | _measure("batches", arguments, {})
            continue
        measure = measures.get(row, partial(_measure_fault, row))
        for cell in measure(arguments):
            report[row if row in measures else "faults"].append(cell)
            print(json.dumps(cell), flush=True)
    (arguments.output / "results.json").write_text(json.dumps(report, indent=1))

    from benchmarks.report import write_report

    print(write_report(report, arguments.output))


if __name__ == "__main__":
    main()
