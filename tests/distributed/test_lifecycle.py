"""
Creations and batch jobs in a distributed Airflow, of which parts die: no session twice, none left behind, none lost.

A double is a second session of one task run, an orphan one that its task has left running or that somebody else has
cancelled, and a lost one is a task that ends without its session.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from datetime import datetime
from types import SimpleNamespace

import psutil
import pytest
from aiohttp import web
from local_airflow import wait_for

from airflow_provider_synapse_livy.emulator.batches import BATCH_SCENARIOS
from airflow_provider_synapse_livy.emulator.scenarios import SCENARIOS
from tests.distributed.conftest import HOME
from tests.distributed.watching import instances, wait_until_asked, wait_until_ended

pytestmark = pytest.mark.distributed

POOLS = ("etl", "ml", "reports")

#: A pool in which answers are lost.
LOSSY = "lossy"

#: The scenario of a session that is not ready before the test lets it be.
HELD = "slow"


@pytest.fixture(autouse=True)
def bystanders(synapse):
    """Have sessions in all pools that no task has created, one with another task's key, and check that they live on."""
    tags = {}, {"airflow_task_key": "0123456789abcdef"}
    others = [(pool, synapse.create_session(pool, tags=these)) for pool in (*POOLS, LOSSY) for these in tags]
    yield
    cancelled = [other for other in others if not synapse.server.pools.find(*other).is_left_alone(time.time())]
    for other in others:
        synapse.cancel_session(*other)
    assert cancelled == []


@pytest.fixture
def clock():
    """Return a function that tells the seconds since the test began."""
    began = time.monotonic()
    return lambda: round(time.monotonic() - began)


def start(airflow, dag_id, count, scenario=HELD, pools=POOLS, **deaths):
    """Start a run with so many creations, in all pools."""
    kinds = zip(range(count), itertools.cycle(pools), itertools.cycle(deaths.get("deaths", [None])), strict=False)
    asked = [{"pool": pool, "scenario": scenario} | ({"death": death} if death else {}) for _, pool, death in kinds]
    return SimpleNamespace(dag_id=dag_id, run_id=airflow.trigger(dag_id, {"sessions": asked}), asked=asked)


def created(synapse, run):
    """Return the sessions that the tasks of a run have created, by map index."""
    found = {index: [] for index in range(len(run.asked))}
    for session in synapse.server.pools.sessions():
        tags = session.options["tags"]
        if tags.get("test.run") == run.run_id:
            found[int(tags["test.index"])].append(session)
    return found


def all_created(synapse, run):
    """Return all sessions of a run."""
    return list(itertools.chain.from_iterable(created(synapse, run).values()))


def wait_until_all(airflow, run, state, *, task_id="life.create", only=None, timeout=240):
    """Wait until a task's instances are in a state, all or those of some indexes."""
    wanted = set(range(len(run.asked))) if only is None else set(only)

    def look():
        states = {index: task["state"] for index, task in instances(airflow, run, task_id).items()}
        return all(states.get(index) == state for index in wanted) or None

    try:
        wait_for(look, f"all being {state}", timeout=timeout, interval=2)
    except TimeoutError:
        raise AssertionError(Counter(task["state"] for task in instances(airflow, run, task_id).values())) from None


def wait_until_deferred(airflow, synapse, run):
    """Wait until all creations of a run have left their workers, and their sessions are polled by a triggerer."""
    wait_until_all(airflow, run, "deferred")
    wait_until_polled(synapse, run)


def wait_until_polled(synapse, run, only=None, kind="sessions"):
    """Wait until the sessions, or batch jobs, of a run are polled from now on, all or those of some indexes."""
    sessions = created(synapse, run)
    wait_until_asked(synapse, [(s.id, s.pool, None) for i in only or sessions for s in sessions[i]], kind=kind)


def let_be_ready(synapse, run, only=None):
    """Let the sessions of a run be ready now, all or those of some indexes."""
    sessions = created(synapse, run)
    for session in (session for index in only or sessions for session in sessions[index]):
        session.scenario = SCENARIOS["becomes_idle"]


def none_is_cancelled(synapse, run, only=None):
    """Return whether nobody has cancelled the sessions of a run, all or those of some indexes."""
    sessions = created(synapse, run)
    return all(session.cancelled_at is None for index in only or sessions for session in sessions[index])


def check_end(airflow, synapse, run, timeout=300):
    """Check at the end of a run that each task has had one session from its creation to its teardown; count them."""
    states = wait_until_ended(airflow, run.dag_id, run.run_id, timeout)
    sessions, cancels = created(synapse, run), instances(airflow, run, "life.cancel")
    wrong = [(index, state) for index, state in states.items() if state != "success"]
    doubles, orphans, lost = 0, 0, len({index for (_, index), _ in wrong})
    for index, asked in enumerate(run.asked):
        doubles += max(0, len(sessions[index]) - 1)
        lost += not sessions[index]
        for session in sessions[index]:
            began = datetime.fromisoformat(cancels[index]["start_date"]).timestamp()
            if session.cancelled_at is None or session.cancelled_at < began:
                orphans += 1
                wrong.append((index, "the teardown began at", began, "cancelled at", session.cancelled_at))
        handed_on = airflow.session(run.dag_id, run.run_id, "life.create", index)
        used = airflow.session(run.dag_id, run.run_id, "life.use", index)
        mine = [(asked["pool"], session.id) for session in sessions[index]]
        for record in (handed_on, used):
            told = (record["sparkPoolName"], record["id"], record["state"])
            if mine != [told[:2]] or told[2] != "idle":
                wrong.append((index, mine, told))
    keys = [session.options["tags"]["airflow_task_key"] for session in all_created(synapse, run)]
    assert (wrong, doubles, orphans, lost) == ([], 0, 0, 0)
    assert len(set(keys)) == len(keys) == len(run.asked)
    tries = Counter(task["try_number"] for task in instances(airflow, run, "life.create").values())
    return {
        "tasks": len(run.asked), "sessions": len(keys), "doubles": doubles, "orphans": orphans, "lost": lost,
        "tries": dict(sorted(tries.items())),
    }  # fmt: skip


def triggerers_of(airflow, run):
    """Return which triggerer has the wait of each of a run's creations, by map index."""
    found = instances(airflow, run, "life.create")
    return {index: task["triggerer_job"] and task["triggerer_job"]["id"] for index, task in found.items()}


def test_triggerer_that_dies(airflow, synapse, figures, clock):
    """Fifty deferred creations, one of whose two triggerers is killed, go on in the other with their own sessions."""
    run = start(airflow, "sessions", 50)
    wait_until_deferred(airflow, synapse, run)
    moved = 0
    for dying in ("triggerer-1", "triggerer-2"):  # on a busy machine, one of them may have all
        before = triggerers_of(airflow, run)
        airflow.kill(dying)
        time.sleep(20)  # until the other one may have noticed
        wait_until_polled(synapse, run)
        after = triggerers_of(airflow, run)
        moved += sum(before[index] != after[index] for index in before)
        assert none_is_cancelled(synapse, run)
        airflow.start(dying)
        wait_for(lambda: airflow.triggerers() == 2 or None, "both triggerers", timeout=120)
        if moved:
            break
    assert moved
    let_be_ready(synapse, run)
    figures(**check_end(airflow, synapse, run, 400), moved=moved, seconds=clock())


def test_triggerer_that_stands_still(airflow, synapse, figures, clock):
    """A triggerer that stands still, and has lost its creations to the other one when it goes on, cancels nothing."""
    run = start(airflow, "sessions", 20)
    ready, others = range(10), range(10, 20)
    wait_until_deferred(airflow, synapse, run)
    process = psutil.Process(airflow.processes["triggerer-1"].pid)
    group = [process, *process.children(recursive=True)]
    for member in group:
        member.suspend()
    time.sleep(20)
    wait_until_polled(synapse, run)
    let_be_ready(synapse, run, ready)
    wait_until_all(airflow, run, "success", only=ready)
    for member in group:
        member.resume()
    time.sleep(15)
    assert none_is_cancelled(synapse, run, others)
    let_be_ready(synapse, run)
    figures(**check_end(airflow, synapse, run), seconds=clock())


def test_workers_that_die_before_they_note_the_session(airflow, synapse, figures, clock):
    """Twenty creations whose worker is killed between the answer and the note go on with the same session."""
    run = start(airflow, "dying_creations", 20, "becomes_idle", deaths=("process", "worker", "machine"))
    deaths = HOME / "deaths"
    wait_for(lambda: len(list(deaths.glob(f"{run.run_id}.*"))) == 20 or None, "twenty deaths", timeout=240)
    for worker in ("worker-1", "worker-2"):
        airflow.kill(worker)
        airflow.start(worker)
    counted = check_end(airflow, synapse, run)
    assert 1 not in counted["tries"]
    for index, sessions in created(synapse, run).items():
        assert [str(session.id) for session in sessions] == [(deaths / f"{run.run_id}.{index}").read_text()]
    figures(**counted, seconds=clock())


def test_batch_jobs_whose_workers_and_triggerer_die(airflow, synapse, figures, clock):
    """Twelve batch jobs, each of whose workers is killed before it notes the job, then a triggerer: one job each."""
    run = start(airflow, "dying_batches", 12, "runs_on", deaths=("process", "worker"))
    wait_until_all(airflow, run, "deferred", task_id="life.run")
    wait_until_polled(synapse, run, kind="batches")
    airflow.kill("triggerer-1")
    time.sleep(20)  # until the other one may have noticed
    wait_until_polled(synapse, run, kind="batches")
    assert none_is_cancelled(synapse, run)
    airflow.start("triggerer-1")
    wait_for(lambda: airflow.triggerers() == 2 or None, "both triggerers", timeout=120)
    for job in all_created(synapse, run):
        job.scenario = BATCH_SCENARIOS["succeeds"]
    states = wait_until_ended(airflow, run.dag_id, run.run_id, 300)
    jobs = created(synapse, run)
    assert {states["life.run", index] for index in jobs} == {"success"}
    assert Counter(map(len, jobs.values())) == {1: 12}
    tries = Counter(task["try_number"] for task in instances(airflow, run, "life.run").values())
    assert 1 not in tries
    for index, (job,) in jobs.items():
        returned = airflow.session(run.dag_id, run.run_id, "life.run", index)
        assert (returned["id"], returned["result"]) == (job.id, "Succeeded")
    figures(tasks=12, jobs=12, doubles=0, orphans=0, lost=0, tries=dict(sorted(tries.items())), seconds=clock())


def test_outage_at_creation(airflow, synapse, figures, clock, monkeypatch):
    """Creations that begin while the service is away, or whose answer was lost right before, have one session each."""
    answer = synapse.server.faults.before_work

    def before_work(request, rate_limit):
        reads = request.method == "GET" and request.match_info.get("pool") == LOSSY
        return web.Response(status=503) if reads else answer(request, rate_limit)

    with monkeypatch.context() as patched:  # so that none finds its session again before the outage
        patched.setattr(synapse.server.faults, "before_work", before_work)
        synapse.fail_after(503, 0, 503, 0)
        lossy = start(airflow, "sessions", 4, "becomes_idle", [LOSSY])
        wait_for(lambda: len(all_created(synapse, lossy)) == 4 or None, "four lost answers", timeout=120)
        synapse.gates.livy.shut()
    shut_at = time.monotonic()
    run = start(airflow, "sessions", 20, "becomes_idle")
    wait_until_all(airflow, run, "running")
    time.sleep(max(0.0, shut_at + 60 - time.monotonic()))
    assert all(task["state"] == "running" for task in instances(airflow, run, "life.create").values())
    assert len(all_created(synapse, run)) == 0
    assert len(all_created(synapse, lossy)) == 4
    away = round(time.monotonic() - shut_at)
    synapse.gates.livy.open()
    figures(**check_end(airflow, synapse, run), lossy=check_end(airflow, synapse, lossy), away=away, seconds=clock())


def test_users_who_mark_waiting_creations_failed(airflow, synapse, figures, clock):
    """Triggers cancel the sessions of twenty deferred creations that a user marks failed, and no others."""
    run = start(airflow, "sessions", 20)
    neighbours = start(airflow, "sessions", 3)
    wait_until_deferred(airflow, synapse, run)
    wait_until_deferred(airflow, synapse, neighbours)
    for index in range(20):
        path = f"dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances/life.create/{index}"
        airflow.call("PATCH", path, json={"new_state": "failed"})
    sessions = all_created(synapse, run)
    wait_for(lambda: all(session.cancelled_at for session in sessions) or None, "all being cancelled", timeout=90)
    marked = clock()
    states = wait_until_ended(airflow, run.dag_id, run.run_id, 120)
    assert {states["life.create", index] for index in range(20)} == {"failed"}
    assert {task["try_number"] for task in instances(airflow, run, "life.create").values()} == {1}
    assert "success" not in {states[task, index] for task in ("life.use", "life.cancel") for index in range(20)}
    assert none_is_cancelled(synapse, neighbours)
    let_be_ready(synapse, neighbours)
    check_end(airflow, synapse, neighbours)
    found = Counter(map(len, created(synapse, run).values()))
    assert found == {1: 20}
    orphans = sum(session.is_left_alone(time.time()) for session in all_created(synapse, run))
    assert orphans == 0
    figures(tasks=20, sessions=20, doubles=0, orphans=0, lost=0, cancelled_after=marked, seconds=clock())
