"""A distributed Airflow, and what it must survive: nothing is lost, nothing is invented, nothing leaks."""

from __future__ import annotations

import itertools
import time

import psutil
import pytest
from local_airflow import wait_for

from tests.distributed.conftest import TIME_SCALE
from tests.distributed.watching import is_asked, wait_until_asked, wait_until_ended

pytestmark = pytest.mark.distributed

POOLS = ("etl", "ml", "reports")

#: What happens to the sessions, the state of a task that waits for them to be idle, and the session's then.
ENDS = {
    "becomes_idle": ("success", "idle", "Uncertain"),
    "fails_to_start": ("failed", "error", "Failed"),
    "cancelled_while_queued": ("failed", "error", "Cancelled"),
}


def create(synapse, count, scenarios=("becomes_idle",), **options):
    """Create sessions in several pools, and give where they are and what happens to them."""
    kinds = zip(range(count), itertools.cycle(POOLS), itertools.cycle(scenarios), strict=False)
    return [(synapse.create_session(pool, scenario, **options), pool, scenario) for _, pool, scenario in kinds]


def conf(sessions):
    """Write sessions as the run's conf holds them."""
    return [{"session_id": number, "spark_pool_name": pool} for number, pool, _ in sessions]


def held(synapse, count):
    """Create sessions that stay in the queue until they are released."""
    return create(synapse, count, age=-1_000_000)


def release(synapse, sessions):
    """Let sessions be idle now."""
    for number, pool, _ in sessions:
        synapse.server.pools.find(pool, number).created_at = time.time() - 70 * TIME_SCALE


def none_was_cancelled(synapse, sessions):
    """Return whether all sessions live on as they would have without us."""
    found = (synapse.server.pools.find(pool, number) for number, pool, _ in sessions)
    return all(session.cancelled_at is None for session in found)


def check(airflow, dag_id, run_id, states, waits):
    """Check that each wait ended as its session did, with that session in XCom."""
    wrong = []
    for (task_id, map_index), (number, pool, scenario) in waits.items():
        task_state, state, result = ENDS[scenario]
        session = airflow.session(dag_id, run_id, task_id, map_index)
        told = tuple(session[name] for name in ("id", "sparkPoolName", "state", "result"))
        seen = (states[task_id, map_index], *told)
        if seen != (task_state, number, pool, state, result):
            wrong.append((task_id, map_index, scenario, seen))
    assert wrong == []


def test_every_wait_ends_as_its_session_does(airflow, synapse):
    """Two hundred waits of all kinds, mapped ones too, in three pools: each outcome and each XCom is right."""
    kinds = {kind: create(synapse, 50, list(ENDS)) for kind in ("poke", "reschedule", "deferrable", "from_trigger")}
    asked = {kind: conf(sessions) for kind, sessions in kinds.items()}
    from_trigger = airflow.trigger("from_trigger", asked)
    mapped = airflow.trigger("waits", asked)
    states = wait_until_ended(airflow, "waits", mapped, 600)
    for kind in ("poke", "reschedule", "deferrable"):
        check(airflow, "waits", mapped, states, {(kind, index): session for index, session in enumerate(kinds[kind])})
    states = wait_until_ended(airflow, "from_trigger", from_trigger, 300)
    assert len(states) == 50
    waits = {(f"wait_{index}", -1): session for index, session in enumerate(kinds["from_trigger"])}
    check(airflow, "from_trigger", from_trigger, states, waits)
    assert all(none_was_cancelled(synapse, sessions) for sessions in kinds.values())


def test_triggerers_that_die(airflow, synapse):
    """The waits of a triggerer that is killed go on in the other one, once each; and back again."""
    sessions = held(synapse, 20)
    run_id = airflow.trigger("waits", {"deferrable": conf(sessions)})
    wait_until_asked(synapse, sessions, 3)
    for dying in ("triggerer-1", "triggerer-2"):
        airflow.kill(dying)
        time.sleep(20)  # until the other one may have noticed
        wait_until_asked(synapse, sessions)
        synapse.server.recorded_requests.clear()
        time.sleep(20)
        asked = is_asked(synapse, sessions)
        assert len(asked) == 20
        assert max(asked.values()) <= 12, "some are waited for twice"
        airflow.start(dying)
        wait_for(lambda: airflow.triggerers() == 2 or None, "both triggerers", timeout=120)
    release(synapse, sessions)
    states = wait_until_ended(airflow, "waits", run_id, 180)
    check(airflow, "waits", run_id, states, {("deferrable", i): session for i, session in enumerate(sessions)})
    assert none_was_cancelled(synapse, sessions)


def test_workers_that_die(airflow, synapse):
    """The retry of a task whose worker was killed goes on with its wait: it ends when the first try would have."""
    sessions = held(synapse, 1)
    run_id = airflow.trigger("retried", conf(sessions)[0])
    wait_until_asked(synapse, sessions)
    began = time.monotonic()
    workers = [part for part in ("worker-1", "worker-2") if runs_a_task(airflow, part)]
    assert len(workers) == 1
    airflow.kill(workers[0])
    states = wait_until_ended(airflow, "retried", run_id, 240)
    took = time.monotonic() - began
    assert states["wait", -1] == "failed"
    assert 60 < took < 115, "the timeout is 90 s, and the death is noticed after 30"
    assert "is queued. Waited 1 min 3" in "\n".join(airflow.log("retried", run_id, "wait", 2))
    airflow.start(workers[0])
    assert none_was_cancelled(synapse, sessions)


def runs_a_task(airflow, part):
    """Return whether a worker has a task."""
    pool = psutil.Process(airflow.processes[part].pid).children()
    return any(process.children() for process in pool)


def test_outages(airflow, synapse):
    """Waits survive restarts of PostgreSQL and Redis, and a minute without Synapse or Entra; later they say why."""
    sessions = held(synapse, 24)
    deferred, poked = sessions[:20], sessions[20:]
    run_id = airflow.trigger("waits", {"deferrable": conf(deferred), "poke": conf(poked)})
    lost = airflow.trigger("unreachable", {})
    wait_until_asked(synapse, sessions)
    synapse.gates.livy.shut()
    time.sleep(60)
    synapse.gates.livy.open()
    synapse.gates.entra.shut()
    time.sleep(60)
    synapse.gates.entra.open()
    airflow.restart_service("redis", down=5)
    airflow.restart_service("postgres", down=5)
    time.sleep(10)
    airflow.revive()
    wait_until_asked(synapse, sessions)
    release(synapse, sessions)
    states = wait_until_ended(airflow, "waits", run_id, 300)
    waits = {("deferrable", index): session for index, session in enumerate(deferred)}
    waits |= {("poke", index): session for index, session in enumerate(poked)}
    check(airflow, "waits", run_id, states, waits)
    assert wait_until_ended(airflow, "unreachable", lost, 240)["wait", -1] == "failed"
    assert "refused the connection" in "\n".join(airflow.log("unreachable", lost, "wait"))
    assert none_was_cancelled(synapse, sessions)
