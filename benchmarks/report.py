"""The tables and the picture of a benchmark's results."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.designs import DESIGNS, STATEMENT_SESSIONS
from benchmarks.fault import FAULTS, MAX_RECOVERY_SECONDS

_Cell = dict[str, Any]


def _rate(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}" if value >= 1 or not value else f"{value:.2f}"


def _recovery_time(cell: _Cell, key: str) -> str:
    if cell["failed"] == cell["n"]:
        return "-"
    # Those that did not notice in time are later than all that did.
    noticed = cell["n"] - cell["failed"] - cell["failed_later"] - cell["unaware"]
    if (key == "all" and cell["unaware"]) or noticed <= cell["unaware"]:
        return f"more than {MAX_RECOVERY_SECONDS:.0f} s"
    return f"{cell[key]:.1f} s"


_COST_COLUMNS = {
    "CPU of one core": lambda cell: f"{cell['cpu']:.1f} %",
    "requests/s": lambda cell: f"{cell['requests']:.0f}" if cell["requests"] >= 10 else f"{cell['requests']:.1f}",
    "429s": lambda cell: f"{cell['throttled']:.0f}",
    "connections": lambda cell: f"{cell['connections']:.0f}",
    "token requests": lambda cell: f"{cell['tokens']:.0f}",
    "MB per 1,000": lambda cell: "-" if cell["memory"] is None else f"{cell['memory']:.0f}",
    "detection p50 / p99": lambda cell: (
        f"{cell['p50']:.1f} / {cell['p99']:.1f} s" if cell["p50"] == cell["p50"] else "-"
    ),
    "loop lag p99": lambda cell: f"{cell['lag']:.0f} ms",
    "waits failed": lambda cell: f"{cell['failed']:.0f}",
}

_FAULT_COLUMNS = {
    "requests/s before": lambda cell: _rate(cell["before"]),
    "requests/s during": lambda cell: _rate(cell["during"]),
    "most in flight": lambda cell: "-" if cell["max_in_flight"] is None else f"{cell['max_in_flight']:.0f}",
    "waits failed": lambda cell: f"{cell['failed']:.0f}",
    "failed after it": lambda cell: f"{cell['failed_later']:.0f}",
    "half noticed after": lambda cell: _recovery_time(cell, "half"),
    "all noticed after": lambda cell: _recovery_time(cell, "all"),
}

#: The number of waits whose cost is compared with that of 1,000.
_MANY = 5000

_RATIOS = {"CPU": "cpu", "requests/s": "requests", "connections": "connections", "memory": "memory"}

_VERSIONS = (
    "apache-airflow",
    "apache-airflow-providers-microsoft-azure",
    "apache-airflow-providers-apache-livy",
    "azure-synapse-spark",
    "aiohttp",
)


def write_report(report: dict[str, Any], folder: Path) -> str:
    """
    Write ``table.md``, and ``cost.png`` if the cost was measured.

    :return: the content of ``table.md``.
    """
    lines = [_machine(), *_cost_tables(report["cost"]), *_scaling_table(report["cost"])]
    lines += _fault_tables(report["faults"])
    if cells := report["statements"]:
        title = f"{cells[0]['n']:,} waits for statements in {STATEMENT_SESSIONS} sessions of one pool"
        lines += ["", f"**{title}**", *_table(_COST_COLUMNS, cells)]
    if report["worker"]:
        lines += _worker_table(report["worker"])
    if report["batches"]:
        lines += _batches_table(report["batches"])
    if report["emulator"]:
        lines += _emulator_table(report["emulator"])
    text = "\n".join(lines)
    (folder / "table.md").write_text(text)
    if report["cost"]:
        _draw(report["cost"], folder / "cost.png")
    return text


def _machine() -> str:
    cpu = next(
        line.partition(": ")[2] for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    )
    versions = ", ".join(f"{name} {version(name)}" for name in _VERSIONS)
    machine = f"{os.cpu_count()} x {cpu}, load {os.getloadavg()[2]:.1f}"
    return f"{datetime.now(UTC):%Y-%m-%d}; {machine}; Python {platform.python_version()}, {versions}."


def _table(columns: dict[str, Any], cells: list[_Cell]) -> list[str]:
    rows = [_row(DESIGNS[cell["design"]].title, *(show(cell) for show in columns.values())) for cell in cells]
    return ["", _row("design", *columns), _row(*["---"] * (1 + len(columns))), *rows]


def _row(*values: str) -> str:
    return f"| {' | '.join(values)} |"


def _cost_tables(cells: list[_Cell]) -> list[str]:
    lines = []
    for n, pools in dict.fromkeys((cell["n"], cell["pools"]) for cell in cells):
        here = {cell["design"]: cell for cell in cells if (cell["n"], cell["pools"]) == (n, pools)}
        lines += ["", f"**{n:,} waits in {pools} pools**", *_table(_COST_COLUMNS, list(here.values()))]
        if "ours" in here and here.keys() - {"ours", "floor"}:
            lines += [
                "",
                *(_ratios(here["ours"], cell) for name, cell in here.items() if name not in ("ours", "floor")),
            ]
    return lines


def _ratios(ours: _Cell, other: _Cell) -> str:
    parts = [f"{name} 1/{other[key] / ours[key]:.1f}" for name, key in _RATIOS.items() if ours[key] and other[key]]
    return f"- This package relative to {DESIGNS[other['design']].title}: {', '.join(parts)}."


def _scaling_table(cells: list[_Cell]) -> list[str]:
    """Compare this package with triggers that only sleep, and what one of 5,000 waits costs with one of 1,000."""
    by_key = {(cell["design"], cell["n"], cell["pools"]): cell for cell in cells}
    rows, growth = [], []
    for (design, n, pools), cell in by_key.items():
        floor = by_key.get(("floor", n, pools))
        if design not in ("before", "ours") or n < 1000 or not floor:
            continue
        cpu, memory = (f"{cell[key] / floor[key]:.2f}" for key in ("cpu", "memory"))
        each, floor_each = (f"{c['cpu'] / n * 10_000:.0f} µs/s" for c in (cell, floor))
        rows.append(_row(f"{n:,} in {pools} pools", DESIGNS[design].title, each, floor_each, cpu, memory))
    for design in ("before", "ours"):
        few, many = (by_key.get((design, n, 4)) for n in (1000, _MANY))
        few_floor, many_floor = (by_key.get(("floor", n, 4)) for n in (1000, _MANY))
        if few and many and few_floor and many_floor:
            whole = many["cpu"] / few["cpu"] * 1000 / _MANY
            # The runner itself costs something, however few triggers it has; what remains is the design's own cost.
            own = (many["cpu"] - many_floor["cpu"]) / (few["cpu"] - few_floor["cpu"]) * 1000 / _MANY
            growth.append(
                f"- CPU of each wait, {DESIGNS[design].title}: {whole:.2f} times as much at {_MANY:,} as at 1,000; "
                f"without what one that only sleeps costs, {own:.2f} times."
            )
    header = ("waits", "design", "CPU of each wait", "of one that only sleeps", "CPU ratio", "memory ratio")
    table = ["", "**Beside triggers that only sleep**", "", _row(*header), _row(*["---"] * len(header)), *rows]
    return [*(table if rows else ()), *(("", *growth) if growth else ())]


def _fault_tables(cells: list[_Cell]) -> list[str]:
    lines = []
    for fault, n, seconds in dict.fromkeys((cell["fault"], cell["n"], cell["seconds"]) for cell in cells):
        title = f"{FAULTS[fault].title.format(seconds=seconds)}; {n:,} waits in one pool"
        lines += ["", f"**{title}**", *_table(_FAULT_COLUMNS, [cell for cell in cells if cell["fault"] == fault])]
    return lines


def _worker_table(worker: dict[str, Any]) -> list[str]:
    loaded = ", ".join(worker["loaded"]) or "none"
    return [
        "",
        _row("on a worker, CPU", "this package", "the other", "ratio"),
        _row("---", "---", "---", "---"),
        _row("one poll; azure-synapse-spark", *_milliseconds(worker["poll"], worker["sdk_poll"])),
        _row("import; azure's synapse operators", *_milliseconds(worker["import"], worker["azure_import"])),
        "",
        f"Of azure, aiohttp and requests, the sensor's module imports {loaded}.",
    ]


def _batches_table(batches: dict[str, Any]) -> list[str]:
    """Compare waits for batch jobs with those for sessions, and what a job takes of a worker with two operators."""
    jobs, seconds = batches["waits"][0]["n"], batches["run_seconds"]
    header = (f"a batch job of {seconds:.0f} s", "worker's slot", "CPU of the worker", "requests", f"slots of {jobs:,}")
    titles = {"ours": "SynapseRunSparkBatchOperator, deferrable", "azure": "AzureSynapseRunSparkBatchOperator"}
    rows = [
        _row(
            title,
            f"{batches[name]['slot_seconds']:.2f} s",
            f"{batches[name]['cpu_seconds']:.2f} s",
            f"{batches[name]['requests']:.1f}",
            f"{jobs * batches[name]['slot_seconds'] / seconds:.0f}",
        )
        for name, title in titles.items()
    ]
    return [
        "",
        f"**{jobs:,} waits for sessions, and for batch jobs**",
        *_table(_COST_COLUMNS, batches["waits"]),
        "",
        _row(*header),
        _row(*["---"] * len(header)),
        *rows,
    ]


def _emulator_table(emulator: dict[str, Any]) -> list[str]:
    from benchmarks.emulator import REQUESTS_PER_SECOND, SESSIONS, STATEMENTS

    load = f"{SESSIONS} sessions, {STATEMENTS:,} statements, {REQUESTS_PER_SECOND} requests/s"
    rows = {"all": emulator["p99"], **emulator["by_kind"]}
    return [
        "",
        f"**The local Synapse on one core; {load}**",
        "",
        _row("requests", "p99"),
        _row("---", "---"),
        *(_row(kind, f"{latency:.1f} ms") for kind, latency in rows.items()),
        "",
        f"Half of the answers took less than {emulator['p50']:.1f} ms, and none more than {emulator['most']:.0f} ms.",
    ]


def _milliseconds(ours: float, theirs: float) -> tuple[str, str, str]:
    return f"{ours:.1f} ms", f"{theirs:.1f} ms", f"{ours / theirs:.2f}"


def _draw(cells: list[_Cell], file: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(11, 4.2))
    for axis, key, label in zip(axes, ("cpu", "requests"), ("CPU of one core, %", "requests/s"), strict=True):
        for name, design in DESIGNS.items():
            points = sorted((c["n"], c[key]) for c in cells if c["design"] == name and c["pools"] == 4 and c[key])
            if points:
                axis.plot(*zip(*points, strict=True), marker="o", label=design.title)
        axis.set(xscale="log", yscale="log", xlabel="waits, in 4 pools", ylabel=label)
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(file, dpi=120)
