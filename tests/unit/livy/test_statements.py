"""The record of a statement, as a real Livy sends it: what it means, and that nothing of it is lost."""

from __future__ import annotations

import pytest

from airflow_provider_synapse_livy.livy.statements import count_ahead
from airflow_provider_synapse_livy.models import SparkStatement
from airflow_provider_synapse_livy.waiting.goals import Verdict
from airflow_provider_synapse_livy.waiting.statement_goal import StatementGoal
from tests.support import sample_statements as samples


@pytest.mark.parametrize(("record", "has_succeeded", "ending"), samples.RECORDED.values(), ids=samples.RECORDED)
def test_recorded_statements(record, has_succeeded, ending):
    """Only code that has ended with an output whose status is ok has succeeded; all else says how it ended."""
    statement = SparkStatement.from_dict(record)
    assert (statement.is_finished, statement.has_succeeded, statement.ending) == (True, has_succeeded, ending)


@pytest.mark.parametrize("record", samples.RUNNING, ids=lambda record: record["state"])
def test_statements_that_run(record):
    """A statement in any other state, an unknown one too, has not ended."""
    statement = SparkStatement.from_dict(record)
    assert (statement.is_finished, statement.has_succeeded, statement.phase) == (False, False, record["state"])


@pytest.mark.parametrize("record", [record for record, *_ in samples.RECORDED.values()] + samples.RUNNING)
def test_nothing_is_lost(record):
    """A statement's dict has all that came, and comes back as the same statement."""
    statement = SparkStatement.from_dict(record | {"unknown": {"x": [1]}})
    fields = statement.to_dict()
    output = fields.pop("output")
    assert {name: fields[name] for name in record if name != "output"} == {**record, "unknown": None} | {
        "output": None
    } or fields["unknown"] == {"x": [1]}
    given = record["output"]
    assert (output is None) == (given is None)
    assert given is None or {name: output[name] for name in given} == given
    assert SparkStatement.from_dict(statement.to_dict()) == statement


@pytest.mark.parametrize("recorded", samples.all_recorded(), ids=lambda recorded: str(recorded["last"].get("code")))
def test_every_recorded_statement(recorded):
    """Whatever a real Livy or Synapse said of a statement is read, kept as it came, and has the verdict that it had."""
    record = recorded["last"]
    statement = SparkStatement.from_dict(record)
    fields = statement.to_dict()
    assert {name: value for name, value in fields.items() if name in record and name != "output"} == {
        name: value for name, value in record.items() if name != "output"
    }
    assert {name: (fields["output"] or {}).get(name) for name in record["output"] or {}} == (record["output"] or {})
    assert statement.is_finished is recorded["is_finished"]
    assert (statement.ending if statement.is_finished else None) == recorded["ending"]
    assert statement.has_succeeded is (recorded["ending"] == "succeeded")
    verdict = {None: Verdict.PENDING, "succeeded": Verdict.SUCCESS}.get(recorded["ending"], Verdict.FAILURE)
    assert StatementGoal().evaluate(statement) is verdict


@pytest.mark.parametrize("recorded", samples.all_recorded(), ids=lambda recorded: str(recorded["last"].get("code")))
def test_states_on_the_way(recorded):
    """The states that a statement was seen in before its end are waited for."""
    before = [state for state in recorded["states"] if state not in ("available", "cancelled")]
    on_the_way = [SparkStatement.from_dict(samples.statement(state)) for state in before]
    assert {StatementGoal().evaluate(statement) for statement in on_the_way} <= {Verdict.PENDING}


@pytest.mark.parametrize(
    ("progress", "phase"),
    [(0.0, "running"), (0.24, "running"), (0.25, "running (25 %)"), (0.8, "running (75 %)"), (1.0, "running")],
)
def test_progress(progress, phase):
    """Where Livy tells how much of the code has run, the log has it in quarters."""
    assert SparkStatement.from_dict(samples.statement("running", progress=progress)).phase == phase


def test_verdict_needs_no_output():
    """What a trigger keeps of a statement has the same verdict, and neither code nor output."""
    for recorded in samples.all_recorded():
        statement = SparkStatement.from_dict(recorded["last"])
        kept = statement.without_output()
        assert StatementGoal().evaluate(kept) is StatementGoal().evaluate(statement)
        assert kept.code is None
        assert kept.output is None or not kept.output.data


def test_queue():
    """A session runs one statement at a time, in their order."""
    states = ["available", "running", "waiting", "cancelled", "waiting", "waiting"]
    statements = [SparkStatement.from_dict(samples.statement(state, id=number)) for number, state in enumerate(states)]
    assert [count_ahead(statements, number) for number in (1, 2, 4)] == [0, 1, 2]


def test_durations():
    """Livy times a statement in milliseconds, and says 0 where it does not know."""
    timed = SparkStatement.from_dict(samples.statement(started=1000, completed=2500))
    assert timed.durations()["running"].total_seconds() == 1.5
    assert SparkStatement.from_dict(samples.statement(started=0, completed=0)).durations() == {}
    assert SparkStatement.from_dict(samples.statement(started=1000, completed=None)).durations() == {}


def test_details_have_the_end_of_the_traceback():
    """The details name the error and show the last twenty lines of the traceback, as Python wrote them."""
    lines = [f'  File "<stdin>", line {number}, in f\n' for number in range(30)]
    output = samples.error("ValueError", "boom", samples.HEAD, *lines, "ValueError: boom\n")
    state, error, traceback = SparkStatement.from_dict(samples.statement(output=output)).details()
    assert (state, error) == ("State available.", "Error: ValueError: boom")
    shown = traceback.split("\n")
    assert shown[0] == "Traceback (last lines):"
    assert shown[-2:] == ['    File "<stdin>", line 29, in f', "  ValueError: boom"]
    assert len(shown) == 21


def test_lines_of_sql():
    """The lines of a traceback without ends, as SQL's are, are lines of their own, and pieces of several stay whole."""
    record, *_ = samples.RECORDED["error in SQL"]
    *_, traceback = SparkStatement.from_dict(record).details()
    assert traceback.split("\n") == [
        "Traceback (last lines):",
        "  org.apache.spark.sql.A",
        *(f"  \tat {x}" for x in "bcd"),
    ]


@pytest.mark.parametrize("pieces", [[f"line {n}" for n in range(30)], ["\n".join(f"{n}" * 300 for n in range(30))]])
def test_details_need_no_output(pieces):
    """What a trigger keeps of a statement tells its error in the same words, however the traceback is cut in pieces."""
    for record in (samples.RECORDED["error in SQL"][0], samples.statement(output=samples.error("E", "e", *pieces))):
        statement = SparkStatement.from_dict(record)
        assert [*statement.without_output().details()] == [*statement.details()]


@pytest.mark.parametrize("progress", ["NaN", "Infinity", float("nan"), float("-inf")])
def test_progress_that_is_no_number(progress):
    """A progress that is no finite number is none."""
    assert SparkStatement.from_dict(samples.statement("running", progress=progress)).phase == "running"


@pytest.mark.parametrize(
    ("record", "text"),
    [
        (samples.statement(output=samples.ok("hi")), "hi"),
        (samples.statement(output=samples.ok({"a": 1}, "application/json")), ""),
        (samples.statement(output=samples.error("E", "e")), ""),
        (samples.statement("running"), ""),
    ],
)
def test_text(record, text):
    """The text is what was printed; other outputs have none."""
    assert SparkStatement.from_dict(record).text == text
