"""The statements of a session of which many have settled: what is seen of them is the same, and costs less."""

from __future__ import annotations

import random

import pytest

from airflow_provider_synapse_livy.emulator.server import SynapseServer
from airflow_provider_synapse_livy.emulator.statements import (
    NOTHING_FOLDED,
    Script,
    Statement,
    folded,
    free_times,
    statement_records,
    statement_transitions,
)

SCALE = 0.1


def statements(seed, number=400):
    """Return statements of all lengths, of which some wait, and some are cancelled before, while or after they run."""
    chance, at, made = random.Random(seed), 1000.0, []
    for count in range(number):
        at += chance.choice([0.0, 0.1, 3.0])
        script = Script("", seconds=chance.choice([0.0, 1.0, 20.0]), ignores_cancel=chance.random() < 0.5)
        cancelled_at = at + chance.choice([0.0, 0.1, 1.0, 5.0]) if chance.random() < 0.3 else None
        made.append(Statement(count, "1", script, at, cancelled_at))
    return made


def outcome(made, fold, now):
    """Return what is seen of a session and its statements, and when the next one may run."""
    state = {}
    for transition in sorted(statement_transitions(made, SCALE, fold), key=lambda transition: transition.at):
        for name, change in transition.changes.items() if transition.at <= now else ():
            state[name] = {**state.get(name, {}), **change} if isinstance(change, dict) else change
    return state, statement_records(made, now, SCALE, fold), list(free_times(made, SCALE, fold))[-100:]


@pytest.mark.parametrize("seed", range(10))
def test_folded_statements(seed):
    """What has settled and is forgotten can be left out, bit by bit, without a difference in what is seen."""
    made = statements(seed)
    fold = NOTHING_FOLDED
    for count, statement in enumerate(made, 1):
        fold = folded(made[:count], fold, statement.posted_at, SCALE)
        if count % 50 == 0:
            assert outcome(made[:count], fold, statement.posted_at) == outcome(
                made[:count], NOTHING_FOLDED, statement.posted_at
            )
    late = folded(made, fold, made[-1].posted_at + 10_000, SCALE)
    assert outcome(made, late, 20_000) == outcome(made, NOTHING_FOLDED, 20_000)
    assert len(made) - late.count < 210


def test_statements_that_wait():
    """Statements that have not settled are not left out, however many wait, nor is one that kills its session."""
    waiting = [Statement(number, "1", Script("", seconds=100), 1000.0) for number in range(1000)]
    assert folded(waiting, NOTHING_FOLDED, 1001.0, SCALE) == NOTHING_FOLDED
    waiting[0] = Statement(0, "1", Script("", kills="interpreter"), 1000.0)
    assert folded(waiting, NOTHING_FOLDED, 1e9, SCALE) == NOTHING_FOLDED


def test_work_of_a_session():
    """However many statements a session has had, of no more than some 200 it is computed what is seen."""
    server = SynapseServer(time_scale=SCALE, rate_limit=1, token_lifetime=1.0)
    session = server.create_session("etl", {}, age=60)
    for number in range(1000):
        session.statements.append(Statement(number, "1", Script(""), 1000.0 + number))
    session.record(1e9)
    assert len(list(session.statement_ends())) < 210
    assert [record["id"] for record in session.statement_records(1e9)] == list(range(900, 1000))
