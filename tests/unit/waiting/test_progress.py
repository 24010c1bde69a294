"""The phases of a wait and how long each took, in words."""

from __future__ import annotations

from datetime import timedelta

import pytest

from airflow_provider_synapse_livy.waiting.progress import (
    PhaseStart,
    format_duration,
    format_history,
    shortened,
    time_breakdown,
)

CODE = {"running": timedelta(seconds=11)}
TIMED = {"queued": timedelta(seconds=15.5), "acquiring nodes": timedelta(seconds=4)}


def history(*phases):
    """Return a history of these phases and the seconds at which they began."""
    return [PhaseStart(*phase) for phase in phases]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-1, ""),
        (0, ""),
        (0.04, "0 s"),
        (0.5, "0.5 s"),
        (2.0, "2 s"),
        (9.94, "9.9 s"),
        (9.95, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (61, "1 min 1 s"),
        (3600, "1 h"),
        (3725, "1 h 2 min 5 s"),
        (90000, "25 h"),
    ],
)
def test_durations(seconds, words):
    """A duration is given in hours, minutes and seconds, with a tenth only below ten seconds."""
    assert format_duration(timedelta(seconds=seconds)) == words


@pytest.mark.parametrize(
    ("phases", "timed", "line"),
    [
        ([("queued", 0)], {}, "queued"),
        ([("queued", 0)], TIMED, "acquiring nodes 4 s → queued"),
        ([("idle", 0)], TIMED, "queued 16 s → acquiring nodes 4 s → idle"),
        ([("starting", 0), ("idle", 32)], TIMED, "queued 16 s → acquiring nodes 4 s → starting → idle"),
        ([("queued", 0), ("busy", 9), ("idle", 32)], TIMED, "queued 16 s → acquiring nodes 4 s → busy 23 s → idle"),
        ([("queued", 0), ("idle", 20), ("busy", 25)], {}, "queued → idle 5 s → busy"),
        ([("waiting", 0), ("running", 9), ("available", 20)], CODE, "waiting → running 11 s → available"),
    ],
)  # fmt: skip
def test_history(phases, timed, line):
    """Phases that are over have the service's time, else the wait's own; the first one that it saw has none."""
    assert format_history(history(*phases), timed) == line


@pytest.mark.parametrize(
    ("phases", "timed", "line"),
    [
        ([("idle", 0)], {}, "idle 1 min 40 s"),
        ([("idle", 0)], TIMED, "queued 16 s, acquiring nodes 4 s, idle 1 min 40 s"),
        ([("idle", 0), ("busy", 10), ("idle", 30), ("busy", 60)], {}, "idle 40 s, busy 1 min"),
        ([("idle", 100)], {}, ""),
    ],
)
def test_breakdown(phases, timed, line):
    """The breakdown sums up each phase, whatever came in between, the first and the last as the wait saw them."""
    assert time_breakdown(history(*phases), timed, 100.0) == line


def test_histories_stay_short():
    """A history keeps the last phases, and sums up what came before as earlier, from the same beginning."""
    phases = []
    for second in range(20):
        phases = shortened([*phases, PhaseStart(("idle", "busy")[second % 2], float(second))])
        assert len(phases) <= 8
    assert phases[0] == ("earlier", 0.0)
    assert phases[-1] == ("busy", 19.0)
    assert time_breakdown(phases, {}, 20.0) == "earlier 13 s, busy 4 s, idle 3 s"


def test_short_histories_stay_as_they_are():
    """A history of up to eight phases is not touched."""
    phases = history(*((str(n), float(n)) for n in range(8)))
    assert shortened(phases) is phases
