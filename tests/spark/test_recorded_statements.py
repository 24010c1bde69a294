"""Each statement that was recorded from Apache Livy ends in the local Synapse as there."""

from __future__ import annotations

import math

import pytest

from tests.spark.conftest import states_over_time, wait_for
from tests.spark.recorded_statements import STATEMENTS

#: All that a statement may go through.
PATHS = ("waiting running available", "waiting running cancelling cancelled", "waiting cancelled")


@pytest.fixture(scope="module")
def outcomes(tester):
    """Run all statements in one session, and return the session, and each statement with its final record by code."""
    session = tester.session()
    tester.run(session, "sc.parallelize(range(2), 2).map(lambda x: x).collect()")  # starts the workers
    return session, {recorded.code: run(tester, session, recorded) for recorded in STATEMENTS}


def run(tester, session, recorded):
    """Run a statement to its end, and cancel it where that was recorded; return it and its final record."""
    if recorded.cancel == "waiting":
        tester.post(session, "import time; time.sleep(2)")  # for which it waits
    number = tester.post(session, recorded.code, recorded.kind)
    if recorded.cancel:
        wait_for(lambda: tester.state(session, number) == recorded.cancel)
        tester.cancel(session, number)
    return session.statements[number], tester.ended(session, number)


def is_part(part, whole):
    """Return whether the words of a text occur in another in this order."""
    rest = iter(whole.split())
    return all(word in rest for word in part.split())


@pytest.mark.parametrize("recorded", STATEMENTS, ids=lambda recorded: recorded.code[:40])
def test_states(outcomes, recorded):
    """A statement goes through the states of one path, on which all that were recorded are, in their order."""
    session, found = outcomes
    statement, _ = found[recorded.code]
    path = " ".join(states_over_time(statement, session))
    assert path in PATHS
    assert is_part(recorded.states, path)


@pytest.mark.parametrize("recorded", STATEMENTS, ids=lambda recorded: recorded.code[:40])
def test_outputs(outcomes, recorded):
    """A statement has the recorded output; of a traceback, the lines of Spark's own files aside."""
    _, record = outcomes[1][recorded.code]
    output = record["output"]
    if recorded.output is None:
        assert output is None
        return
    assert output.pop("execution_count") == record["id"]
    if "traceback" in recorded.output:
        output["traceback"] = [line for line in output["traceback"] if "site-packages" not in line]
    assert {name: output[name] for name in recorded.output} == recorded.output


@pytest.mark.parametrize(
    ("code", "ename", "words"),
    [
        ("select bad from nowhere", "Error", "TABLE_OR_VIEW_NOT_FOUND"),
        ("sc.parallelize(range(4)).map(lambda x: 1//0).collect()", "Py4JJavaError", "ZeroDivisionError"),
        ("import time\nsc.parallelize(range(1),1).map(lambda x: time.sleep(30)).collect()", "", "cancelled part of"),
    ],
)
def test_long_errors(outcomes, code, ename, words):
    """An error of Spark has the name that Livy gives it, Spark's words and a traceback."""
    _, record = outcomes[1][code]
    output = record["output"]
    assert output["ename"].startswith(ename)
    assert words in output["evalue"]
    assert output["traceback"]


def test_long_output(outcomes):
    """An output of five million characters comes whole."""
    _, record = outcomes[1]["print('x'*5_000_000)"]
    assert record["output"]["data"] == {"text/plain": "x" * 5_000_000}


def test_fields_of_livy(outcomes):
    """A statement that has ended has its times, and all of its progress; one that never ran has not started."""
    for statement, record in outcomes[1].values():
        assert record["progress"] == 1.0
        assert (record["started"] > 0) == (statement.live.started_at < float("inf"))
        assert record["completed"] >= record["started"]


def test_session_is_busy_meanwhile(outcomes):
    """The session is busy from the start of a statement to its end."""
    session, found = outcomes
    for statement, _ in found.values():
        if statement.live.started_at < float("inf"):
            times = (statement.live.started_at, math.nextafter(statement.live.ended_at, 0), statement.live.ended_at)
            assert [session.record(at)["state"] for at in times] == ["busy", "busy", "idle"]
