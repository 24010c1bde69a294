"""Code runs once in a session, its error is the task's, and a session that ends takes nothing along in silence."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from aiohttp import web

from airflow_provider_synapse_livy.airflow_compat.sdk import AirflowException, AirflowFailException, TaskDeferred
from airflow_provider_synapse_livy.emulator import SynapseEmulator
from airflow_provider_synapse_livy.emulator.faults import Faults
from airflow_provider_synapse_livy.exceptions import (
    InvalidIdError,
    SparkSessionFailedError,
    SparkSessionNotFoundError,
    SparkStatementEndedError,
    SparkStatementFailedError,
    SparkStatementLostError,
    SparkStatementTimeoutError,
    SynapseLivyConfigurationError,
    SynapseLivyError,
)
from airflow_provider_synapse_livy.hooks.synapse_livy import SynapseLivyHook
from airflow_provider_synapse_livy.sensors.spark_statement import SynapseSparkStatementSensor
from airflow_provider_synapse_livy.triggers import spark_statement as spark_statement_trigger
from airflow_provider_synapse_livy.waiting import keep_alive
from tests.support import sample_statements as samples
from tests.support.statement_tasks import operator, states
from tests.support.task_runner import TaskInstance, WorkerDied, context_of, event_of, made_again, run_task

BOOM = samples.error("ValueError", "boom", samples.HEAD, "ValueError: boom\n")


pytestmark = pytest.mark.usefixtures("short_pauses")


@pytest.fixture
def synapse(connect):
    """Return a local Synapse with an idle session, in which some code has scripted ends."""
    with SynapseEmulator(time_scale=0.01) as emulator:
        connect(emulator.airflow_connection("etl"))
        emulator.create_session("etl", age=100)
        emulator.answer_statement(contains="count", output=samples.ok("42"), seconds=10)
        emulator.answer_statement(contains="boom", output=BOOM, seconds=10)
        emulator.answer_statement(contains="never", seconds=1_000_000)
        emulator.answer_statement(contains="die", seconds=20, kills="driver")
        yield emulator


def test_output(synapse, run_code):
    """The task returns the statement with its output; its id is in XCom as soon as it is known."""
    task_instance = TaskInstance("run")
    statement = run_code("df.count()", task_instance)
    assert (statement["id"], statement["state"], statement["output"]["data"]) == (0, "available", {"text/plain": "42"})
    assert task_instance.xcoms["statement_id"] == 0


def test_links_of_code_that_ends_at_once(synapse, run_code):
    """The links to the session are there also if the first poll of the code is its last."""
    synapse.answer_statement(contains="quick", output=samples.ok("1"), seconds=0)
    task_instance = TaskInstance("run")
    run_code("quick()", task_instance)
    assert "Spark UI" in task_instance.xcoms["spark_session_links"]


def test_error_of_the_code(synapse, run_code):
    """The code's error is the task's, with the end of its traceback, and Airflow may retry it."""
    with pytest.raises(
        SparkStatementFailedError, match=r"^Statement 0 failed with ValueError: boom\.\nFix: "
    ) as caught:
        run_code("boom()")
    assert "Traceback (last lines):\n  Traceback (most recent call last):\n  ValueError: boom" in str(caught.value)
    assert not isinstance(caught.value, AirflowFailException)


@pytest.mark.parametrize("fault", [0, 200, 503])
def test_lost_response(synapse, run_code, fault):
    """Code that was taken, but not answered or not readably, is found in the session and not sent again."""
    synapse.fail_after(fault)
    assert run_code("df.count()")["output"]["data"] == {"text/plain": "42"}
    assert len(states(synapse)) == 1


@pytest.mark.parametrize("fault", [0, 503])
def test_lost_request(synapse, run_code, fault):
    """Where the session shows twice that it has no such code, the request is sent again."""
    synapse.fail_next(fault)
    run_code("df.count()")
    assert len(states(synapse)) == 1


def dying(task_instance):
    """Let the worker die right before it notes the id of its statement."""

    def die(key, value):
        raise WorkerDied

    task_instance.xcom_push = die
    return task_instance


@pytest.mark.parametrize("has_ended", [True, False])
def test_worker_that_dies(synapse, run_code, has_ended):
    """Code that a lost worker has sent is read by the next try, not run again, whether or not it has ended."""
    with pytest.raises(WorkerDied):
        run_code("df.count()", dying(TaskInstance("run")), cancel_on_kill=False)
    if has_ended:
        hook = SynapseLivyHook()
        while not hook.get_spark_statement(0, 0).is_finished:
            pass
    assert run_code("df.count()", TaskInstance("run", try_number=2))["id"] == 0
    assert len(states(synapse)) == 1


def test_retry_of_code_that_failed(synapse, run_code):
    """A retry after a failure of the code runs it again, as a retry should; so does a clearing."""
    with pytest.raises(SparkStatementFailedError):
        run_code("boom()")
    with pytest.raises(SparkStatementFailedError, match="Statement 1"):
        run_code("boom()", TaskInstance("run", try_number=2))
    run_code("df.count()", TaskInstance("run", try_number=3, max_tries=3))
    assert run_code("df.count()", TaskInstance("run", try_number=4, max_tries=4))["id"] == 3


def test_run_that_is_made_again(synapse, run_code):
    """A run that was deleted and made again has another key, so that no retry adopts a success of the first one."""
    run_code("df.count()")
    again = TaskInstance("run", try_number=2, run_began=datetime.now(UTC))
    assert run_code("df.count()", again)["id"] == 1


@pytest.mark.parametrize("is_response_lost", [False, True])
def test_success_before_a_failure(synapse, run_code, is_response_lost):
    """Since the try before this one has failed, what had succeeded before that is not this task's success."""
    run_code("df.count()")
    with pytest.raises(SparkStatementFailedError):
        run_code("boom()")
    if is_response_lost:
        synapse.fail_after(503)
    assert run_code("df.count()", TaskInstance("run", try_number=2))["id"] == 2


def fill(synapse, count):
    """Have the session run so much other code that it has forgotten what was before."""
    synapse.answer_statement(contains="other", seconds=0)
    hook = SynapseLivyHook()
    for _ in range(count):
        hook.create_spark_statement(0, "other()")


def test_code_that_the_session_has_forgotten(synapse, run_code):
    """Where a lost worker may have sent code, and the session has forgotten so much, it is not sent again."""
    with pytest.raises(WorkerDied):
        run_code("df.count()", dying(TaskInstance("run")), cancel_on_kill=False)
    fill(synapse, 101)
    with pytest.raises(SparkStatementLostError, match="has forgotten its first 2 statements, and the code may be"):
        run_code("df.count()", TaskInstance("run", try_number=2))
    assert len(states(synapse)) == 100
    cleared = TaskInstance("run", try_number=3, max_tries=3)  # a user who has checked that clears it
    assert run_code("df.count()", cleared)["output"]["data"] == {"text/plain": "42"}


class Gone(Faults):
    """The pool knows nothing of the session any more."""

    def before_work(self, request, rate_limit):
        """Answer what asks for it."""
        return web.json_response("Session '0' not found.", status=404)


@pytest.mark.parametrize(
    ("is_gone", "words"), [(False, ": its session was cancelled"), (True, " is gone, and with it")]
)
def test_session_that_ended_between_two_tries(synapse, run_code, is_gone, words):
    """Code that a lost worker may have sent to a session that has ended since may have run, so it is not sent again."""
    with pytest.raises(WorkerDied):
        run_code("df.count()", dying(TaskInstance("run")), cancel_on_kill=False)
    end(synapse, is_gone=is_gone)
    event = f"^Code that this task may have sent to Spark session 0{words}.*\nFix: check what the code has written"
    with pytest.raises(SparkStatementLostError, match=event):
        run_code("df.count()", TaskInstance("run", try_number=2))


@pytest.mark.parametrize(("try_number", "error"), [(1, SparkSessionNotFoundError), (2, SparkStatementLostError)])
def test_pool_that_was_made_anew(synapse, run_code, try_number, error):
    """Code is not sent to another session that has the id by now; if an earlier try may have sent it, it is lost."""
    session = SynapseLivyHook().get_spark_session(0).to_dict()
    assert run_code("df.count()", session_id=session)["id"] == 0
    before = session | {"schedulerInfo": session["schedulerInfo"] | {"submittedAt": "2020-01-01T00:00:00Z"}}
    with pytest.raises(error, match="^Spark session 0 in pool etl is another one by now: the pool was made anew"):
        run_code("other()", TaskInstance("run", try_number=try_number), session_id=before)
    assert len(states(synapse)) == 1


def test_session_that_ended_before_the_code(synapse, run_code):
    """Where no try can have sent the code, a session that has ended is an error as any, and names the session."""
    end(synapse)
    cleared = TaskInstance("run", try_number=3, max_tries=3)
    with pytest.raises(SynapseLivyError, match="^The list of statements of Spark session 0 in pool etl") as caught:
        run_code("df.count()", cleared)
    assert not isinstance(caught.value, AirflowFailException)


def end(synapse, *, is_gone=False):
    """End the session, and have its statements lost with it."""
    synapse.cancel_session("etl", 0)
    with suppress(SynapseLivyError):
        while True:
            list(SynapseLivyHook().get_spark_statements(0))
    synapse.server.faults = Gone() if is_gone else synapse.server.faults


def test_output_that_does_not_come(synapse, run_code):
    """Where a statement is available and stays without an output, whether the code ran well can't be known."""
    synapse.server.faults = NoOutputs()
    with pytest.raises(SparkStatementLostError, match=r"^Statement 0 ended without a known output\."):
        run_code("df.count()", timeout=1.0)


class NoOutputs(Faults):
    """The service leaves the output out."""

    def after_work(self, request, response, rate_limit):
        """Answer without it."""
        if request.method == "GET" and request.path.endswith("/statements/0"):
            return web.json_response(json.loads(response.text) | {"output": None})
        return response


def test_session_that_is_not_ready(synapse, run_code):
    """Code waits until its session takes it: that it does not yet is a definite refusal."""
    number = synapse.create_session("etl")
    assert run_code("df.count()", session_id={"id": number, "sparkPoolName": "etl"})["output"]["data"] == {
        "text/plain": "42"
    }


def test_time_until_the_session_is_ready(synapse):
    """What a session lets its code wait until it takes it is part of the timeout, which does not begin anew then."""
    began = time.time()
    number = synapse.create_session("etl", age=-50)
    task = operator(code="never()", session_id=number, timeout=3600, deferrable=True)
    with pytest.raises(TaskDeferred) as caught:
        task.execute(context_of(TaskInstance("run")))
    took = time.time() - began
    assert caught.value.trigger.deadline < began + 3600 + took / 2


def test_session_that_has_ended(synapse, run_code):
    """A session that has ended takes no code; the task says how it ended."""
    synapse.create_session("etl", "cancelled_while_idle", age=1000)
    with pytest.raises(SparkSessionFailedError, match="was cancelled"):
        run_code("df.count()", session_id=1)


def test_session_that_dies_under_the_code(synapse, run_code):
    """If the session dies, whether the code ran can't be known: the task says so with the session's end, for good."""
    with pytest.raises(SparkStatementLostError, match="Statement 0 of Spark session 0: its session failed") as caught:
        run_code("die()")
    assert "Fix: check what the code has written before you run it again" in str(caught.value)
    assert not hasattr(caught.value, "__notes__")


def test_timeout_cancels_the_statement(synapse, run_code):
    """Code that has not run in time is cancelled, and its session lives on."""
    with pytest.raises(SparkStatementTimeoutError, match="Statement 0 had not ended within the task's timeout"):
        run_code("never()", timeout=0.3)
    assert states(synapse) == ["cancelled"]
    assert SynapseLivyHook().get_spark_session(0).is_ready


def test_killed_task_cancels_the_statement(synapse):
    """A task that is killed while its code runs cancels it, and not the session."""
    task = operator(code="never()")
    push = TaskInstance("run")
    push.xcom_push = lambda key, value: task.on_kill()
    with pytest.raises(AirflowException, match="The task was killed, so Statement 0 of Spark session 0 is cancelled"):
        task.execute(context_of(push))
    assert states(synapse) == ["cancelled"]
    assert SynapseLivyHook().get_spark_session(0).is_ready


def test_code_that_can_not_be_interrupted(synapse, run_code, caplog, capsys):
    """Where a cancellation leaves Python running, the log says that the session stays busy."""
    synapse.answer_statement(contains="stubborn", seconds=500, ignores_cancel=True)
    with pytest.raises(SparkStatementTimeoutError):
        run_code("stubborn()", timeout=0.3)
    assert states(synapse) == ["cancelled"]
    assert "Statement 0 of Spark session 0 is cancelled, but its code runs on" in caplog.text + capsys.readouterr().out


def test_code_that_has_not_begun(synapse, run_code, caplog, capsys):
    """Code that is cancelled before its turn does not run on; what has ended by itself is not said to be ended."""
    caplog.set_level("INFO")
    SynapseLivyHook().create_spark_statement(0, "never()")
    with pytest.raises(SparkStatementTimeoutError):
        run_code("df.count()", timeout=0.3)
    log = caplog.text + capsys.readouterr().out
    assert "its code runs on" not in log
    assert "Statement 1 of Spark session 0 was not handed on, so this task ends it." in log
    SynapseLivyHook().cancel_spark_statement(0, 0)
    caplog.clear()
    with pytest.raises(SparkStatementFailedError):
        run_code("boom()")
    assert "was not handed on" not in caplog.text + capsys.readouterr().out


def test_queue(synapse, run_code, caplog, capsys):
    """Code that waits for its turn says behind how many others."""
    for code in ("never()", "df.count()"):
        SynapseLivyHook().create_spark_statement(0, code)
    with pytest.raises(SparkStatementTimeoutError, match="waits for its turn"):
        run_code("df.count()", timeout=0.5)
    assert "Statement 2 of Spark session 0 waits behind 2 others." in caplog.text + capsys.readouterr().out


@pytest.mark.parametrize("fault", [None, 503])
def test_session_is_kept_alive(synapse, run_code, monkeypatch, fault):
    """While code waits or runs, the session's idle timeout is begun anew, and a failure of that does no harm."""
    for module in (keep_alive, spark_statement_trigger):
        monkeypatch.setattr(module, "KEEP_ALIVE_INTERVAL", 0.3)
    synapse.server.faults = ResetsFail() if fault else synapse.server.faults
    synapse.answer_statement(contains="long", output=samples.ok("42"), seconds=200)
    assert run_code("long()")["output"]["data"] == {"text/plain": "42"}
    assert [request for request in synapse.recorded_requests if request.path.endswith("/reset-timeout")]


class SessionFails(Faults):
    """The service answers for the session itself with an error, and for its statements as ever."""

    def __init__(self, status):
        super().__init__()
        self.status = status

    def before_work(self, request, rate_limit):
        """Answer what asks for the session."""
        return web.Response(status=self.status) if request.path.endswith("/sessions/0") else None


@pytest.mark.parametrize("status", [403, 503])
def test_session_that_can_not_be_read(synapse, run_code, status):
    """A session that can't be read ends no wait for its code, nor does trying again take longer than that may."""
    synapse.server.faults = SessionFails(status)
    assert run_code("df.count()", timeout=1.0)["output"]["data"] == {"text/plain": "42"}
    if status == 403:
        hook = SynapseLivyHook()
        assert hook.run_spark_statement(0, "df.count()", poll_interval=0.1, timeout=5).text == "42"


class ResetsFail(Faults):
    """The service refuses to begin an idle timeout anew."""

    def before_work(self, request, rate_limit):
        """Answer what asks for that."""
        return web.Response(status=403) if request.path.endswith("/reset-timeout") else None


def test_output_is_cut_for_xcom(synapse, run_code, caplog, capsys):
    """More output than output_limit is cut, which the log says; what was printed is there."""
    synapse.answer_statement(contains="long", output=samples.ok("x" * 100), seconds=1)
    caplog.set_level("INFO")
    assert run_code("long()", output_limit=10)["output"]["data"] == {
        "text/plain": "xxxxxxxxxx\n... (90 more characters)"
    }
    log = caplog.text + capsys.readouterr().out
    assert "x" * 100 in log
    assert "The output is cut to 10 characters" in log


def test_event_has_neither_code_nor_output(synapse):
    """The event of the trigger, which Airflow logs, has the end of the statement alone."""
    with pytest.raises(TaskDeferred) as caught:
        operator(code="df.count() # s3cr3t", deferrable=True).execute(context_of(TaskInstance("run")))
    event = asyncio.run(event_of(made_again(caught.value)))
    assert {name: value for name, value in event["record"].items() if value is not None} == {
        "id": 0,
        "state": "available",
        "output": {"status": "ok"},
    }
    assert "s3cr3t" not in json.dumps(event)


def test_event_of_an_error_has_its_words(synapse):
    """The event of code that failed has the error, so that the task can tell it though its session is gone by then."""
    context = context_of(TaskInstance("run"))
    with pytest.raises(TaskDeferred) as caught:
        operator(code="boom() # s3cr3t", deferrable=True).execute(context)
    event = asyncio.run(event_of(made_again(caught.value)))
    synapse.cancel_session("etl", 0)
    with pytest.raises(SparkStatementFailedError, match="failed with ValueError: boom") as failure:
        operator(code="boom()").resume_execution("execute_complete", {"event": event}, context)
    assert "Traceback (most recent call last):\n  ValueError: boom" in str(failure.value)
    assert "s3cr3t" not in json.dumps(event)


@pytest.mark.parametrize("do_xcom_push", [True, False])
def test_output_that_is_lost_before_the_task_resumes(synapse, do_xcom_push, caplog, capsys):
    """A success without its output is a failure for good, unless nobody gets the output."""
    context = context_of(TaskInstance("run"))
    with pytest.raises(TaskDeferred) as caught:
        operator(code="df.count()", deferrable=True).execute(context)
    event = asyncio.run(event_of(made_again(caught.value)))
    end(synapse)
    task = operator(code="df.count()", do_xcom_push=do_xcom_push)
    if do_xcom_push:
        with pytest.raises(
            SparkStatementLostError, match="^Statement 0 of Spark session 0 ran, and its output is lost"
        ):
            task.resume_execution("execute_complete", {"event": event}, context)
    else:
        assert task.resume_execution("execute_complete", {"event": event}, context)["state"] == "available"
        assert "The output is lost: " in caplog.text + capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"code": " "}, "code is empty"),
        ({"code": "x" * 100_000}, "more than 99 kB"),
        ({"code": "\u20ac" * 17_000}, "more than 99 kB as JSON"),
        ({"code": None}, "code is empty"),
    ],
)
def test_wrong_code(synapse, options, words):
    """Code that can't be sent is refused before any request."""
    with pytest.raises(SynapseLivyConfigurationError, match=words):
        operator(**options).execute(context_of(TaskInstance("run")))
    assert synapse.recorded_requests == []


@pytest.mark.parametrize("options", [{"mode": "poke"}, {"deferrable": True}], ids=["poke", "deferrable"])
@pytest.mark.parametrize(("code", "error"), [("df.count()", None), ("boom()", SparkStatementEndedError)])
def test_sensor(synapse, options, code, error):
    """The sensor waits for code that others have sent, with the same end in its modes, and never retries a failure."""
    SynapseLivyHook().create_spark_statement(0, code)

    def make():
        return SynapseSparkStatementSensor(task_id="wait", session_id=0, statement_id="0", poke_interval=0.1, **options)

    if error is None:
        assert run_task(make, TaskInstance("wait"))["output"]["data"] == {"text/plain": "42"}
    else:
        with pytest.raises(error, match="ValueError: boom"):
            run_task(make, TaskInstance("wait"))


@pytest.mark.parametrize(
    ("ids", "noun"), [({"session_id": "None"}, "Spark session"), ({"statement_id": "None"}, "statement")]
)
def test_wrong_id(synapse, ids, noun):
    """What is no id is told by the name of the thing that it should be the id of."""
    sensor = SynapseSparkStatementSensor(task_id="wait", **{"session_id": 0, "statement_id": 0} | ids)
    with pytest.raises(InvalidIdError, match=f"^'None' is not the id of a {noun}\\."):
        sensor.execute(context_of(TaskInstance("wait")))


def test_hook(synapse):
    """The hook's methods send, list, read and cancel code."""
    hook = SynapseLivyHook()
    first = hook.create_spark_statement(0, "never()")
    second = hook.create_spark_statement({"id": 0}, "select 1", kind="sql")
    assert (first.id, second.id, second.phase) == (0, 1, "waiting")
    assert [statement.code for statement in hook.get_spark_statements(0)] == ["never()", "select 1"]
    hook.cancel_spark_statement(0, 1)
    assert hook.get_spark_statement("0", "1").ending == "was cancelled"
