"""The record of a statement, as a real Livy sends it: what it means, and that nothing of it is lost."""

from __future__ import annotations

import pytest

from airflow_provider_synapse_livy.models import SparkStatement
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
