"""
The whole benchmark: every design at every number of triggers, one process for each, then the table and the picture.

``make bench`` takes more than an hour; ``make bench ARGS="--designs ours,aiohttp --n 1000 --runs 1"`` a few minutes.
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
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.report import write_report

_FOLDER = Path(__file__).resolve().parent
_PROJECT = _FOLDER.parent
_RATE_LIMIT = 200
_DESIGNS = ("ours", "azure", "livy", "sdk", "aiohttp", "floor")

#: The peers drown at this number; they are measured once, to show it.
_DROWNING = 5000


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--designs", default=",".join(_DESIGNS), help="which designs (default: %(default)s)")
    parser.add_argument("--n", default="1,10,100,1000,5000", help="how many sessions (default: %(default)s)")
    parser.add_argument("--pools", default="4,40", help="in how many pools (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=3, help="how often; medians are shown (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=_PROJECT / ".airflow" / "bench", help="where to write")
    return parser.parse_args()


def _cells(arguments: argparse.Namespace) -> Iterator[tuple[str, int, int, int]]:
    """Give design, number, pools and runs. Many pools are for this package and for many sessions alone."""
    designs, numbers, pools = (value.split(",") for value in (arguments.designs, arguments.n, arguments.pools))
    for p, n, design in itertools.product(map(int, pools), map(int, numbers), designs):
        if p == 40 and (n < 1000 or design not in ("ours", "aiohttp")):
            continue
        often = n == 1000 or design == "ours" or (n == 1 and design == "aiohttp")  # what the others are held against
        yield design, n, p, arguments.runs if often and p == 4 else 1


def _times(n: int) -> list[str]:
    """Give all the time to settle that they need: at 1,000, an own client for each takes half a minute."""
    settle, window = (10, 20) if n < 1000 else (30, 20) if n < _DROWNING else (50, 20)
    return ["--settle", str(settle), "--window", str(window), "--ready", str(min(n, 100))]


@contextmanager
def _service() -> Iterator[tuple[str, str]]:
    """Run the service, and give its address and the file with its certificate."""
    with tempfile.TemporaryDirectory(prefix="synapse-livy-bench-") as folder:
        ca_file = f"{folder}/ca.pem"
        command = [sys.executable, "-m", "benchmarks.service", "--ca-file", ca_file, "--rate-limit", str(_RATE_LIMIT)]
        with subprocess.Popen(command, cwd=_PROJECT, stdout=subprocess.PIPE, text=True) as process:
            try:
                yield process.stdout.readline().strip(), ca_file
            finally:
                process.kill()


def _environment(home: Path) -> dict[str, str]:
    """Give an environment in which Airflow has a home of its own and needs no database."""
    from cryptography.fernet import Fernet

    clean = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    return clean | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__FERNET_KEY": Fernet.generate_key().decode(),
    }


def _run(module: str, arguments: list[str], environment: dict[str, str]) -> dict[str, Any]:
    """Run a measurement in a process of its own, and give what it prints last."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *arguments]
    run = subprocess.run(command, cwd=_PROJECT, env=environment, capture_output=True, text=True, check=False)
    if run.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{run.stderr[-3000:]}")
    return json.loads(run.stdout.splitlines()[-1])


def _measure(design: str, n: int, pools: int, home: Path) -> dict[str, Any]:
    from benchmarks.designs import connections

    with _service() as (url, ca_file):
        arguments = ["--design", design, "--n", str(n), "--pools", str(pools), "--url", url, "--ca-file", ca_file]
        return _run("cell", [*arguments, *_times(n)], _environment(home) | connections(url, ca_file))


def _median(results: list[dict[str, Any]]) -> dict[str, Any]:
    known = {name: [r[name] for r in results if r[name] is not None] for name in results[0]}
    return {name: median(values) if values else None for name, values in known.items()}


def _worker_side(home: Path) -> dict[str, Any]:
    from benchmarks.designs import connections

    with _service() as (url, ca_file):
        arguments = ["--url", url, "--ca-file", ca_file]
        return _run("worker_side", arguments, _environment(home) | connections(url, ca_file))


def main() -> None:
    """Measure all that was asked for."""
    arguments = _arguments()
    arguments.output = arguments.output.resolve()
    arguments.output.mkdir(parents=True, exist_ok=True)
    os.environ |= _environment(arguments.output)
    cells = []
    for design, n, pools, runs in _cells(arguments):
        results = [_measure(design, n, pools, arguments.output) for _ in range(runs)]
        cells.append({"design": design, "n": n, "pools": pools, "runs": runs, **_median(results)})
        print(json.dumps(cells[-1]), flush=True)
    report = {"cells": cells, "worker": _worker_side(arguments.output)}
    (arguments.output / "results.json").write_text(json.dumps(report, indent=1))
    print(write_report(report, arguments.output))


if __name__ == "__main__":
    main()
