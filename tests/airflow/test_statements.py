"""Code runs once in a session, whatever dies or is lost, and a cancellation is the code's alone: in a real Airflow."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace

import pytest
from local_airflow import wait_for

from tests.airflow import statement_lives
from tests.airflow.lives import MODES
from tests.airflow.services import VERSION, as_they_wait, read_all
from tests.airflow.statement_lives import CASES, CODE, SENSOR_MODES, pool_of

LIVES = {name: life.on_airflow_3_0() if VERSION == (3, 0) else life for name, life in statement_lives.LIVES.items()}

#: The lives in which a user ends the task.
ENDED_BY_USER = [(name, mode) for name, mode in CASES if LIVES[name].user]

RESTARTED = pool_of("restarts", "deferred")


#: What ends alike in both modes, and says so.
ALIKE = [name for name, life in LIVES.items() if life.is_alike]


@pytest.fixture(scope="session")
def story(real_airflow, statement_synapse):
    """Return what the lives have left: users have ended some of the tasks, and two triggerers have ended."""
    story = SimpleNamespace(airflow=real_airflow, synapse=statement_synapse)
    for code in ("count", "boom"):
        statement_synapse.post(pool_of("sensor", "all"), f"{code}()")
    real_airflow.start(
        *(f"{dag}_{mode}" for mode in MODES for dag in ("code", "function")),
        *(f"code_sensor_{mode}" for mode in SENSOR_MODES),
        conf={},
    )
    # Its code was polled in the task and in the triggerer.
    for name, mode in as_they_wait(ENDED_BY_USER, lambda case: polls(story, pool_of(*case)) >= 2):
        real_airflow.user_ends(f"code_{mode}", name, LIVES[name].user)
    if VERSION == (3, 0):
        wait_for(lambda: has_ended(story, "cleared_running", "worker"), "the killing of a cleared task", timeout=120)
        real_airflow.user_marks("code_worker", "cleared_running", "failed")
    real_airflow.wait_for_ends(timeout=600)
    real_airflow.start("code_restarts", conf={})
    real_airflow.restart_triggerers(lambda: polls(story, RESTARTED))
    story.states_before_the_end = states(story, RESTARTED)
    real_airflow.user_marks("code_restarts", "restarts", "success")
    real_airflow.wait_for_ends(timeout=300)
    wait_for(lambda: all(has_settled(story, *case) for case in CASES) or None, "the last cancellations", timeout=90)
    return story


def polls(story, pool):
    """Return how often the first statement of a pool's session was polled."""
    end = f"/sparkPools/{pool}/sessions/0/statements/0"
    return sum(request.method == "GET" and request.path.endswith(end) for request in story.synapse.recorded_requests)


def states(story, pool):
    """Return the states of the statements of a pool's session, oldest first."""
    return tuple(statement["state"] for statement in story.synapse.statements(pool, 0))


def has_ended(story, name, mode):
    """Return True if the first statement of a task has ended, else None."""
    return states(story, pool_of(name, mode))[:1] == ("cancelled",) or None


def has_settled(story, name, mode):
    """Return whether the statements of a task have the states that they are to have."""
    return states(story, pool_of(name, mode)) == LIVES[name].states


@pytest.fixture(scope="session")
def tasks(story):
    """Return the state and the number of tries of each task."""
    return {key[:2]: state for key, state in story.airflow.tasks().items()}


@pytest.fixture(scope="session")
def xcoms(story):
    """Return the XComs of each task."""
    return {key[:2]: read_all(left) for key, left in story.airflow.xcoms().items()}


def error(story, dag, task):
    """Return class and words of the error that a task ended with, without what differs between two sessions."""
    kind, words = story.airflow.error(dag, task)
    if kind == "SparkStatementLostError":  # the evidence is the session's, whose result comes seconds after its end
        words = "\n".join(words.splitlines()[:2])
    words = re.sub(r"\.(worker|deferred)\b", "", words)
    return kind, re.sub(r"[\da-f]{8}-[\da-f-]{27}|\d+(\.\d+)?", "n", words)


@pytest.mark.parametrize(("name", "mode"), CASES)
def test_state_and_tries(tasks, name, mode):
    """The task ends in the promised state, after the promised number of tries."""
    assert tasks[f"code_{mode}", name] == LIVES[name].becomes


@pytest.mark.parametrize(("name", "mode"), CASES)
def test_never_twice(story, name, mode):
    """Code that ran, or may have run, is not sent again: each try of code that fails has one statement."""
    assert states(story, pool_of(name, mode)) == LIVES[name].states


@pytest.mark.parametrize(("name", "mode"), CASES)
def test_session_lives_on(story, name, mode):
    """Whatever becomes of a task, it never cancels the session; what ends it is the code."""
    (session,) = story.synapse.sessions(pool_of(name, mode))
    assert session["state"] == LIVES[name].session
    assert session["schedulerInfo"]["cancellationRequestedAt"] is None


@pytest.mark.parametrize(("name", "mode"), [case for case in CASES if LIVES[case[0]].succeeds])
def test_result(xcoms, name, mode):
    """The task returns the statement that ran last, with its output, and has noted its id."""
    left = xcoms[f"code_{mode}", name]
    last = len(LIVES[name].states) - 1
    assert (left["return_value"]["id"], left["statement_id"]) == (last, last)
    assert left["return_value"]["output"]["data"] == {"text/plain": "42"}


# What a session whose interpreter has died tells of its statements, it tells for seconds alone.
TOLD_FOR_LONG = [name for name in ALIKE if name != "interpreter_dies"]


@pytest.mark.parametrize("name", TOLD_FOR_LONG)
def test_words(story, name):
    """The error has the same class and the same words in both modes, and says what it should."""
    here, there = (error(story, f"code_{mode}", name) for mode in MODES)
    assert here == there
    if LIVES[name].error:
        assert here[0] == LIVES[name].error
        assert re.sub(r"\d+", "n", LIVES[name].words) in here[1]


@pytest.mark.parametrize("mode", MODES)
def test_interpreter_that_dies(story, mode):
    """Code whose interpreter died has failed, or can't be known to have: it depends on what was seen in time."""
    kind, _ = error(story, f"code_{mode}", "interpreter_dies")
    assert kind in ("SparkStatementFailedError", "SparkStatementLostError")


@pytest.mark.parametrize("name", TOLD_FOR_LONG)
def test_xcom(xcoms, name):
    """What a task leaves is the same in both modes, also if it fails."""
    here, there = ({**xcoms[f"code_{mode}", name]} for mode in MODES)
    assert without_keys(here) == without_keys(there)


def without_keys(value):
    """Return an XCom without the keys of tasks, and what differs between two sessions."""
    text = re.sub(r"airflow_task_key=[\da-f-]+\.\d+|application_\d+_\d+", "?", json.dumps(value, sort_keys=True))
    return re.sub(r"\.(worker|deferred)\b|[\da-f]{8}-[\da-f-]{27}", "", text)


@pytest.mark.parametrize("mode", MODES)
def test_log_and_links(story, xcoms, mode):
    """The log has what the code printed and none of the code, and the task leads to the session's Spark UI."""
    log = story.airflow.log(f"code_{mode}", "plain")
    assert "The code has printed:" in log
    assert "Statement 0: " in log
    assert xcoms[f"code_{mode}", "plain"]["spark_session_links"]["Spark UI"].startswith("http")
    assert "may still run" not in log


@pytest.mark.parametrize("mode", MODES)
def test_log_of_code_that_runs_on(story, mode):
    """Where the code can't be interrupted, the log says that the session stays busy."""
    assert "The session stays busy until it has ended." in story.airflow.log(f"code_{mode}", "stubborn_timeout")


@pytest.mark.parametrize("mode", MODES)
def test_function(story, tasks, xcoms, mode):
    """A function runs in the session, and its result is the task's; one that uses the DAG's file is refused."""
    dag = f"function_{mode}"
    assert (tasks[dag, "add"], tasks[dag, "check"], tasks[dag, "refused"]) == ("success/1", "success/1", "failed/1")
    assert xcoms[dag, "add"]["return_value"] == [1, 2]
    (statement,) = story.synapse.statements(pool_of("function", mode), 0)
    assert "def add(day, more=2):" in statement["code"]
    assert story.synapse.statements(pool_of("refused", mode), 0) == []
    log = story.airflow.log(dag, "refused")
    assert "refused() uses pool_of of the DAG's file, which stays here" in log
    assert "cannot be called outside" not in log + story.airflow.log(dag, "add")


@pytest.mark.parametrize("mode", SENSOR_MODES)
def test_sensor(story, tasks, xcoms, mode):
    """The sensor ends alike in all modes, and never retries: what the code came to, and that code is gone."""
    dag = f"code_sensor_{mode}"
    assert (tasks[dag, "count"], tasks[dag, "boom"], tasks[dag, "gone"]) == ("success/1", "failed/1", "failed/1")
    assert xcoms[dag, "count"] | links(xcoms[dag, "count"]) == xcoms["code_sensor_poke", "count"] | links(
        xcoms["code_sensor_poke", "count"]
    )
    assert xcoms[dag, "count"]["return_value"]["output"]["data"] == {"text/plain": "42"}
    for code, kind in (("boom", "SparkStatementEndedError"), ("gone", "SparkStatementLostError")):
        assert error(story, dag, code) == error(story, "code_sensor_poke", code)
        assert error(story, dag, code)[0] == kind


def links(left):
    """Return what is not compared: a sensor that ends at its first poll has not seen the session."""
    return {key: None for key in left if "link" in key}


def test_triggerer_restart_cancels_nothing(story, tasks):
    """A triggerer that is killed, or stopped, cancels nothing, and the next one goes on with the wait."""
    assert story.states_before_the_end == ("running",)
    assert tasks["code_restarts", "restarts"] == "success/1"


def test_scripts_are_all_used():
    """Each script of the table is a life's, a sensor's or a function's."""
    assert {life.code for life in LIVES.values()} | {"add"} == set(CODE)
