"""A function runs in the session with its arguments, and its result is the task's: on a worker and deferred alike."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json

import pytest

from airflow_provider_synapse_livy.airflow_compat.sdk import BaseOperator, TaskDeferred
from airflow_provider_synapse_livy.decorators.synapse_pyspark import synapse_pyspark_task
from airflow_provider_synapse_livy.emulator import SynapseEmulator
from airflow_provider_synapse_livy.exceptions import SparkStatementFailedError, SparkStatementLostError
from airflow_provider_synapse_livy.hooks.synapse_livy import SynapseLivyHook
from airflow_provider_synapse_livy.livy.errors import SynapseLivyConfigurationError
from tests.support import sample_statements as samples
from tests.support.task_runner import TaskInstance, context_of, event_of, made_again, run_task

OF_THE_DAG = 7


def add(a: int, b: pytest.Item = 2) -> pytest.Item:
    """Print, and return a sum."""
    print("adding")  # noqa: T201
    return {"sum": a + b}


def uses_the_dag(a):
    """Use what the session does not have."""
    return a + OF_THE_DAG


def ds_alone(ds):
    """Take what Airflow would give to other decorators."""
    return ds


@pytest.fixture
def synapse(connect, short_pauses):
    """Return a local Synapse with an idle session."""
    with SynapseEmulator(time_scale=0.01) as emulator:
        connect(emulator.airflow_connection("etl"))
        emulator.create_session("etl", age=100)
        yield emulator


@pytest.fixture(params=[False, True], ids=["on a worker", "deferred"])
def run(request):
    """Return a function that runs a decorated function as a task, in each place where it can wait."""

    def run(function, *args, task_instance=None, options=None, **kwargs):
        options = {"session_id": 0, "poll_interval": 0.1, "deferrable": request.param} | (options or {})
        decorated = synapse_pyspark_task(**options)(function)

        def make():
            operator = decorated(*args, **kwargs).operator
            assert isinstance(operator, BaseOperator)
            return operator

        return run_task(make, task_instance or TaskInstance(function.__name__))

    return run


def ran(code):
    """Run code as a session would, and return what it prints."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(code, {})
    return printed.getvalue().rstrip("\n")


def sent(synapse):
    """Return the code of the session's first statement."""
    return synapse.statements("etl", 0)[0]["code"]


def test_function(synapse, run, caplog, capsys):
    """The function's source and arguments are what runs there, and what it prints as its result is returned."""
    caplog.set_level("INFO")
    result = {"sum": 3, "nan": float("nan")}
    text = "adding\n\nairflow_task_result=" + json.dumps(result)
    synapse.answer_statement(contains="def add(a, b = 2):", output=samples.ok(text), seconds=10)
    assert run(add, 1) == {"sum": 3, "nan": "NaN"}
    assert ran(sent(synapse)) == 'adding\n\nairflow_task_result={"sum": 3}'
    log = caplog.text + capsys.readouterr().out
    assert "The code has printed:\nadding" in log
    assert "airflow_task_result" not in log


def test_result_that_is_missing(synapse, run):
    """A function that has run, but whose result is not there, is not run again."""
    synapse.answer_statement(contains="add", output=samples.ok("adding"), seconds=1)
    with pytest.raises(SparkStatementLostError, match="has run, but its output has no result of add"):
        run(add, 1)


def test_later_try_reads_the_result(synapse, run):
    """A later try finds the function's run of an earlier one, and returns its result."""
    synapse.answer_statement(contains="add", output=samples.ok("airflow_task_result=5"), seconds=1)
    assert run(add, 1) == 5
    assert run(add, 1, task_instance=TaskInstance("add", try_number=2)) == 5
    assert len(synapse.statements("etl", 0)) == 1


def test_error_of_the_function(synapse, run):
    """The function's error is the task's, and such a task leaves no XCom as its result."""
    synapse.answer_statement(contains="add", output=samples.error("ValueError", "boom"), seconds=1)
    task_instance = TaskInstance("add")
    with pytest.raises(SparkStatementFailedError, match="failed with ValueError: boom"):
        run(add, 1, task_instance=task_instance)
    assert "return_value" not in task_instance.xcoms


@pytest.mark.parametrize(
    ("function", "args", "words"),
    [
        (uses_the_dag, (1,), r"uses_the_dag\(\) uses OF_THE_DAG of the DAG's file"),
        (add, (object(),), r"add\(\) gets a as object, which is not JSON"),
        (add, ({"x": [{1: 2}]},), r"add\(\) gets a as dict, which is not JSON"),
        (ds_alone, (), r"ds_alone\(\) can't be called so: missing a required argument: 'ds'"),
    ],
)
def test_what_is_refused(synapse, run, function, args, words):
    """What can't run elsewhere, or can't be sent, is refused with the reason before any request."""
    with pytest.raises(SynapseLivyConfigurationError, match=words):
        run(function, *args)
    assert synapse.recorded_requests == []


def test_multiple_outputs_and_names_of_files(synapse, run):
    """An argument that looks like the name of a file is sent as it is."""
    synapse.answer_statement(contains="add", output=samples.ok('airflow_task_result={"a": 1}'), seconds=1)
    assert run(add, "load.py", options={"multiple_outputs": True}) == {"a": 1}
    assert '"load.py"' in sent(synapse)


def with_default(x, ds=None):
    """Have a parameter that Airflow fills in for other decorators."""
    return [x, ds]


def test_context_of_airflow(synapse, run):
    """A parameter that Airflow fills in elsewhere is refused if nobody has passed it, rather than None in silence."""
    with pytest.raises(
        SynapseLivyConfigurationError, match=r"with_default\(\) gets no ds: Airflow's context stays here"
    ):
        run(with_default, 1)
    assert synapse.recorded_requests == []
    synapse.answer_statement(contains="with_default", output=samples.ok("airflow_task_result=[1, 2]"), seconds=1)
    assert run(with_default, 1, ds="2030-01-01") == [1, 2]


def test_result_that_is_lost_and_that_nobody_gets(synapse):
    """Where nobody gets the result, that it is lost before the task resumes is no failure, as for the operator."""
    synapse.answer_statement(contains="add", output=samples.ok("airflow_task_result=5"), seconds=1000)

    def make():
        options = {"session_id": 0, "poll_interval": 0.1, "deferrable": True, "do_xcom_push": False}
        return synapse_pyspark_task(**options)(add)(1).operator

    context = context_of(TaskInstance("add"))
    with pytest.raises(TaskDeferred) as caught:
        make().execute(context)
    synapse.advance(1000)
    event = asyncio.run(event_of(made_again(caught.value)))
    synapse.cancel_session("etl", 0)
    synapse.advance(1000)
    assert SynapseLivyHook().get_spark_session(0).state == "killed"
    assert make().resume_execution("execute_complete", {"event": event}, context) is None


@pytest.mark.parametrize("option", ["kind", "code"])
def test_other_languages_are_refused(option):
    """A function is Python, so the decorator takes neither a kind nor code, and says so when the DAG is parsed."""
    decorated = synapse_pyspark_task(session_id=0, **{option: "sql"})(uses_the_dag)
    with pytest.raises(SynapseLivyConfigurationError, match=f"@task.synapse_pyspark takes no {option}.\nFix: leave it"):
        decorated(1)


def test_kind_of_the_dag_is_not_that_of_a_function():
    """A kind among the default arguments of a DAG is that of its other tasks."""
    decorated = synapse_pyspark_task(session_id=0, default_args={"kind": "sql"})(uses_the_dag)
    assert decorated(1).operator.kind == "pyspark"
