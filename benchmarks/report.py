"""The table and the picture of a benchmark's results."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.designs import DESIGNS

_COLUMNS = {
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
    "broke off": lambda cell: f"{cell['broken']:.0f}",
}

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
    Write ``table.md`` and ``cost.png``.

    :param report: the results.
    :param folder: where to write.
    :return: the table.
    """
    text = "\n".join([_machine(), *_tables(report["cells"]), *_worker(report["worker"])])
    (folder / "table.md").write_text(text)
    _draw(report["cells"], folder / "cost.png")
    return text


def _machine() -> str:
    cpu = next(
        line.partition(": ")[2] for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    )
    versions = ", ".join(f"{name} {version(name)}" for name in _VERSIONS)
    machine = f"{os.cpu_count()} x {cpu}, load {os.getloadavg()[2]:.1f}"
    return f"{datetime.now(UTC):%Y-%m-%d}; {machine}; Python {platform.python_version()}, {versions}."


def _tables(cells: list[dict[str, Any]]) -> list[str]:
    lines = []
    for n, pools in dict.fromkeys((cell["n"], cell["pools"]) for cell in cells):
        here = {cell["design"]: cell for cell in cells if (cell["n"], cell["pools"]) == (n, pools)}
        lines += [
            "",
            f"**{n:,} sessions in {pools} pools**",
            "",
            _row("design", *_COLUMNS),
            _row(*["---"] * (1 + len(_COLUMNS))),
        ]
        lines += [_row(DESIGNS[name].title, *(show(cell) for show in _COLUMNS.values())) for name, cell in here.items()]
        if "ours" in here:
            lines += ["", *(_ratio(here["ours"], cell) for name, cell in here.items() if name not in ("ours", "floor"))]
    return lines


def _ratio(ours: dict[str, Any], peer: dict[str, Any]) -> str:
    parts = [f"{word} 1/{peer[key] / ours[key]:.1f}" for word, key in _RATIOS.items() if ours[key] and peer[key]]
    return f"- Of {DESIGNS[peer['design']].title}: {', '.join(parts)}."


def _row(*values: str) -> str:
    return f"| {' | '.join(values)} |"


def _worker(worker: dict[str, Any]) -> list[str]:
    loaded = ", ".join(worker["loaded"]) or "none"
    return [
        "",
        _row("on a worker, CPU", "this package", "the neighbour", "ratio"),
        _row("---", "---", "---", "---"),
        _row("one look; azure-synapse-spark", *_milliseconds(worker["look"], worker["sdk_look"])),
        _row("import; azure's synapse operators", *_milliseconds(worker["import"], worker["azure_import"])),
        "",
        f"Of azure, aiohttp and requests, the sensor's module loads {loaded}.",
    ]


def _milliseconds(ours: float, theirs: float) -> tuple[str, str, str]:
    return f"{ours:.1f} ms", f"{theirs:.1f} ms", f"{ours / theirs:.2f}"


def _draw(cells: list[dict[str, Any]], file: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(11, 4.2))
    for axis, key, label in zip(axes, ("cpu", "requests"), ("CPU of one core, %", "requests/s"), strict=True):
        for name, design in DESIGNS.items():
            points = sorted((c["n"], c[key]) for c in cells if c["design"] == name and c["pools"] == 4 and c[key])
            if points:
                axis.plot(*zip(*points, strict=True), marker="o", label=design.title)
        axis.set(xscale="log", yscale="log", xlabel="waiting sessions, in 4 pools", ylabel=label)
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(file, dpi=120)
