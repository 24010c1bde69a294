"""One task run has one session, or batch job, and leaves none behind, whatever dies or is lost: in a real Airflow."""

from __future__ import annotations

import re
import time
from types import SimpleNamespace

import pytest
from local_airflow import wait_for

from tests.airflow import lives
from tests.airflow.conftest import SECRETS
from tests.airflow.lives import CASES, HELD_BACK, MODES, pool_of
from tests.airflow.services import VERSION, as_they_wait, read_all
from tests.support.secrets_search import find_secrets

LIVES = {name: life.on_airflow_3_0() if VERSION == (3, 0) else life for name, life in lives.LIVES.items()}

#: The lives in which a user ends the task.
ENDED_BY_USER = [(name, mode) for name, mode in CASES if LIVES[name].user]

#: What ends alike in both modes, and says so.
ALIKE = [name for name, life in LIVES.items() if life.is_alike]

RESTARTED = pool_of("restarts", "deferred")


@pytest.fixture(scope="session")
def story(real_airflow, lifecycle_synapse):
    """Return what the lives have left: users have ended some of the tasks, and two triggerers have ended."""
    story = SimpleNamespace(airflow=real_airflow, synapse=lifecycle_synapse)
    dags = [f"{kind}_{mode}" for mode in MODES for kind in ("lives", "teardown", "twice")]
    real_airflow.start(*dags, "mapped", conf={})
    act_as_users(story)
    if VERSION == (3, 0):
        wait_for(lambda: is_ended(cleared_while_running(story)) or None, "the killing of a cleared task", timeout=120)
        real_airflow.user_marks("lives_worker", "cleared_running", "failed")
    real_airflow.wait_for_ends(timeout=600)
    for mode in MODES:
        real_airflow.user_clears(f"twice_{mode}", "twice", "end")
    real_airflow.start("restarts", conf={})
    real_airflow.restart_triggerers(lambda: polls(story, RESTARTED))
    (session,) = lifecycle_synapse.created(RESTARTED)
    story.was_cancelled = session["schedulerInfo"]["cancellationRequestedAt"] is not None
    lifecycle_synapse.make_ready(RESTARTED, session["id"])
    real_airflow.wait_for_ends(timeout=300)
    expected = to_live_on(story)
    deadline = time.monotonic() + 60  # a user's word counts at once, and the session is cancelled seconds later
    while (left := lifecycle_synapse.left_alone()) != expected and time.monotonic() < deadline:
        time.sleep(1)
    story.left_alone, story.expected = left, expected
    return story


def act_as_users(story):
    """End each task that a user ends, as soon as it waits: its session was polled in the task and in the triggerer."""
    for name, mode in as_they_wait(ENDED_BY_USER, lambda case: waits(story, *case)):
        life, pool = LIVES[name], pool_of(name, mode)
        story.airflow.user_ends(f"lives_{mode}", name, life.user)
        if life.answer == HELD_BACK:
            time.sleep(3)  # the task has been told to end by now
            story.synapse.faults.released.add(pool)


def cleared_while_running(story):
    """Return the first session of the task that is cleared while it runs."""
    return story.synapse.created(pool_of("cleared_running", "worker"))[0]


def waits(story, name, mode):
    """Return whether a task waits: in the triggerer if it is deferred."""
    created = story.synapse.created(pool_of(name, mode))
    return bool(created) and (LIVES[name].answer == HELD_BACK or polls(story, pool_of(name, mode)) >= 2)


def polls(story, pool):
    """Return how often the first session of a pool's task was polled."""
    created = story.synapse.created(pool)
    requests = story.synapse.requests(pool, created[0]["id"]) if created else []
    return sum(request.method == "GET" for request in requests)


def to_live_on(story):
    """Return pool and id of the sessions that are to live in the end, others' included."""
    pools = [RESTARTED, *(pool_of(name, mode) for name, mode in CASES if LIVES[name].lives_on)]
    last = {(pool, record["id"]) for pool in pools for record in story.synapse.created(pool)[-1:]}
    return story.synapse.bystanders | last


@pytest.fixture(scope="session")
def tasks(story):
    """Return the state and the number of tries of each task."""
    return {key[:2]: state for key, state in story.airflow.tasks().items()}


@pytest.fixture(scope="session")
def xcoms(story):
    """Return the XComs of each task."""
    return {key[:2]: read_all(left) for key, left in story.airflow.xcoms().items()}


def error(story, name, mode):
    """Return class and words of the error that a task ended with, without what differs between two sessions."""
    kind, words = story.airflow.error(f"lives_{mode}", name)
    words = words.replace(f".{mode}", "")
    return kind, re.sub(r"[\da-f]{8}-[\da-f-]{27}|\b(etl_)?[\da-f]{16}-\d+\b|\d+(\.\d+)?", "n", words)


def key_of(record):
    """Return the key that a session carries in its name."""
    return re.fullmatch(r"etl_([0-9a-f]{16}-\d+)", record["name"])[1]


def is_ended(record):
    """Return whether a session, or a batch job, has ended, or its cancellation was asked for."""
    return (
        record["state"] in {"dead", "killed", "error", "success"} or record["schedulerInfo"]["cancellationRequestedAt"]
    )


@pytest.mark.parametrize(("name", "mode"), CASES)
def test_state_and_tries(tasks, name, mode):
    """The task ends in the promised state, after the promised number of tries."""
    assert tasks[f"lives_{mode}", name] == LIVES[name].becomes


@pytest.mark.parametrize(("name", "mode"), CASES)
def test_never_two_sessions(story, name, mode):
    """A task run has one session, whatever is lost or killed; only one that has ended is followed by another."""
    created = story.synapse.created(pool_of(name, mode))
    assert len(created) == LIVES[name].sessions
    assert all(is_ended(record) for record in created[:-1])


@pytest.mark.parametrize(("name", "mode"), [case for case in CASES if LIVES[case[0]].succeeds])
def test_hands_on_its_own_session(story, xcoms, name, mode):
    """
    What a successful task hands on is the session that it has created, alive, and found again where need was.

    A batch job that it has waited for has succeeded.
    """
    session = story.synapse.created(pool_of(name, mode))[-1]
    left = xcoms[f"lives_{mode}", name]
    life = LIVES[name]
    assert (left[life.kind], left["return_value"]["id"]) == (session["id"], session["id"])
    if life.lives_on:
        assert not is_ended(session)
    else:
        assert left["return_value"]["result"] == session["result"] == "Succeeded"


@pytest.mark.parametrize(("name", "mode"), CASES)
def test_never_an_orphan(story, name, mode):
    """A session that the task has not handed on is cancelled, unless it has ended by itself, or is to be left alone."""
    created = story.synapse.created(pool_of(name, mode))
    alive = [record["id"] for record in created if not is_ended(record)]
    assert len(alive) == LIVES[name].lives_on


def test_bystanders_live_on(story):
    """No session is ever cancelled, nor even read, that the task has not created."""
    assert story.synapse.bystanders <= story.left_alone
    assert [story.synapse.requests(*one) for one in story.synapse.bystanders if story.synapse.requests(*one)] == []


def test_nothing_else_runs(story):
    """In the end nothing runs but what was handed on, and what was there before."""
    assert story.left_alone == story.expected
    for pool, session_id in story.expected:
        story.synapse.end(pool, session_id)
    story.synapse.assert_nothing_runs()


@pytest.mark.parametrize("name", ALIKE)
def test_words(story, name):
    """The error has the same class and the same words in both modes, and says what it should."""
    here, there = (error(story, name, mode) for mode in MODES)
    life = LIVES[name]
    assert here == there
    if life.error:
        assert here[0] == life.error
        assert re.sub(r"\d+", "n", life.words) in here[1]


@pytest.mark.parametrize("name", ALIKE)
def test_xcom(xcoms, name):
    """What a task leaves is the same in both modes, but for the times; also if it fails."""
    here, there = (xcoms[f"lives_{mode}", name] for mode in MODES)
    assert without_what_differs(here) == without_what_differs(there)
    assert LIVES[name].kind in here


def without_what_differs(value):
    """Return an XCom without the times, pools and keys of one session, and what is made of them."""
    if isinstance(value, dict):
        return {key: without_what_differs(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_what_differs(item) for item in value]
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.+]+|application_\d+|\b(etl_)?[\da-f]{16}-\d+\b", "?", str(value))
    return re.sub(r"\.(worker|deferred)", "", text)


@pytest.mark.parametrize("mode", MODES)
def test_teardown_cancels_though_the_work_has_failed(story, tasks, mode):
    """The teardown ends the session that was handed on, and does not hide that the work has failed."""
    dag = f"teardown_{mode}"
    assert (tasks[dag, "teardown"], tasks[dag, "work"], tasks[dag, "cancel"]) == ("success/1", "failed/1", "success/1")
    assert story.airflow.rows(f"SELECT state FROM dag_run WHERE dag_id = '{dag}'") == [("failed",)]
    (session,) = story.synapse.created(pool_of("teardown", mode))
    assert (session["state"], session["result"]) == ("killed", "Cancelled")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("task", ["cancel_again", "cancel_gone", "cancel_none"])
def test_cancelling_what_has_ended_is_a_success(tasks, task, mode):
    """To cancel a session twice, or one that is gone, or none, is a success."""
    assert tasks[f"teardown_{mode}", task] == "success/1"


@pytest.mark.parametrize("mode", MODES)
def test_cleared_task_creates_another_session(story, tasks, xcoms, mode):
    """A finished task that is cleared creates a session anew, with another key, and hands that on."""
    dag = f"twice_{mode}"
    assert (tasks[dag, "twice"], tasks[dag, "end"]) == ("success/2", "success/2")
    first, second = story.synapse.created(pool_of("twice", mode))
    assert key_of(first) != key_of(second)
    assert xcoms[dag, "twice"]["session_id"] == second["id"]
    assert (first["result"], second["result"]) == ("Cancelled", "Cancelled")


def test_mapped_tasks_have_sessions_of_their_own(story):
    """Each of the tasks that one is mapped to has a session with another key."""
    rows = story.airflow.rows("SELECT task_id, map_index, state FROM task_instance WHERE dag_id = 'mapped'")
    assert sorted(rows) == [(task, index, "success") for task in ("cancel", "mapped") for index in (0, 1)]
    first, second = story.synapse.created(pool_of("mapped", "worker"))
    assert key_of(first) != key_of(second)
    assert (first["result"], second["result"]) == ("Cancelled", "Cancelled")


def test_triggerer_restart_cancels_nothing(story, tasks):
    """A triggerer that is killed, or stopped, cancels nothing, and the next one goes on with the wait."""
    assert not story.was_cancelled
    assert tasks["restarts", "restarts"] == "success/1"
    assert len(story.synapse.created(RESTARTED)) == 1


def test_secret_in_conf_is_nowhere(story):
    """A secret in the session's settings is in no log, no XCom, no rendered field: nowhere in Airflow."""
    assert find_secrets(SECRETS, database=story.airflow.database, folders=[story.airflow.home]) == []
    settings = story.synapse.created(pool_of("plain", "worker"))[0]["livyInfo"]["jobCreationRequest"]["conf"]
    assert (settings["spark.my.password"], settings["spark.hadoop.fs.azure.account.key.data"]) == SECRETS
