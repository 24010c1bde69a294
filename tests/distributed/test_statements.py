"""Code in a distributed Airflow, of which parts die: no code twice, none lost, and no session cancelled."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from types import SimpleNamespace

import pytest
from local_airflow import wait_for

from airflow_provider_synapse_livy.emulator.statements import Script
from tests.distributed.watching import instances, wait_until_ended

pytestmark = pytest.mark.distributed

POOL = "code"

OUTPUT = {"status": "ok", "data": {"text/plain": "42"}}

#: Seconds for which the service is away.
AWAY = 60


@pytest.fixture(autouse=True)
def sessions(synapse):
    """Have ten idle sessions, and check that nobody cancels them."""
    numbers = [synapse.create_session(POOL, age=100) for _ in range(10)]
    synapse.answer_statement(contains="held", output=OUTPUT, seconds=1_000_000)
    synapse.answer_statement(contains="short", output=OUTPUT, seconds=10)
    yield numbers
    cancelled = [n for n in numbers if not synapse.server.pools.find(POOL, n).is_left_alone(time.time())]
    for number in numbers:
        synapse.cancel_session(POOL, number)
    assert cancelled == []


def start(airflow, sessions, count, code, deaths=("",)):
    """Start a run with so many statements, spread over the sessions."""
    kinds = zip(range(count), itertools.cycle(sessions), itertools.cycle(deaths), strict=False)
    asked = [{"session_id": session, "code": f"{code}({n})", "death": death} for n, session, death in kinds]
    return SimpleNamespace(dag_id="code", run_id=airflow.trigger("code", {"statements": asked}), count=count)


def wait_until_deferred(airflow, run):
    """Wait until all have sent their code, and are deferred."""

    def look():
        return (
            Counter(task["state"] for task in instances(airflow, run, "run").values())["deferred"] == run.count or None
        )

    wait_for(look, "all being deferred", timeout=300, interval=2)


def polls(synapse):
    """Return how often statements were asked for: by list, or singly where a busy machine was slow to answer a list."""
    return sum(r.method == "GET" and "/statements" in r.path for r in synapse.recorded_requests)


def wait_until_polled(synapse):
    """Wait until statements are polled from now on."""
    before = polls(synapse)
    wait_for(lambda: polls(synapse) >= before + 20 or None, "the polls' going on", timeout=180)


def let_end(synapse, sessions):
    """Let all code have run."""
    for statement in (s for n in sessions for s in synapse.server.pools.find(POOL, n).statements):
        statement.script = Script("", OUTPUT, seconds=0.1)


def check_end(airflow, synapse, run, sessions):
    """Check at the end of a run that each task has run its code once, and has its output; count what there was."""
    states = wait_until_ended(airflow, "code", run.run_id, 400)
    codes = [s.code.rpartition("\n")[2] for n in sessions for s in synapse.server.pools.find(POOL, n).statements]
    wrong = [(index, state) for (_, index), state in states.items() if state != "success"]
    for index in range(run.count):
        left = airflow.session("code", run.run_id, "run", index)
        if left["output"]["data"] != OUTPUT["data"] or not left["code"].endswith(f"({index})"):
            wrong.append((index, left))
    doubles = {code: count for code, count in Counter(codes).items() if count > 1}
    assert (wrong, doubles, len(codes)) == ([], {}, run.count)
    tries = Counter(task["try_number"] for task in instances(airflow, run, "run").values())
    return {"tasks": run.count, "statements": len(codes), "doubles": 0, "tries": dict(sorted(tries.items()))}


def test_triggerer_that_dies(airflow, synapse, sessions, figures):
    """Fifty deferred statements, one of whose two triggerers is killed, go on in the other with their own code."""
    run = start(airflow, sessions, 50, "held")
    wait_until_deferred(airflow, run)
    wait_until_polled(synapse)
    for dying in ("triggerer-1", "triggerer-2"):  # on a busy machine, one of them may have all
        airflow.kill(dying)
        time.sleep(20)  # until the other one may have noticed
        wait_until_polled(synapse)
        airflow.start(dying)
        wait_for(lambda: airflow.triggerers() == 2 or None, "both triggerers", timeout=120)
    let_end(synapse, sessions)
    figures(**check_end(airflow, synapse, run, sessions))


def test_service_that_is_away(airflow, synapse, sessions, figures):
    """While the service is away for a minute, fifty waits for code go on."""
    run = start(airflow, sessions, 50, "held")
    wait_until_deferred(airflow, run)
    wait_until_polled(synapse)
    synapse.gates.livy.shut()
    time.sleep(AWAY)
    let_end(synapse, sessions)
    synapse.gates.livy.open()
    figures(**check_end(airflow, synapse, run, sessions))


def test_workers_that_die_between_answer_and_note(airflow, synapse, sessions, figures):
    """Code whose worker dies before it has noted that the code was sent is found by the next try."""
    run = start(airflow, sessions, 10, "short", deaths=["process", "worker"])
    figures(**check_end(airflow, synapse, run, sessions))
