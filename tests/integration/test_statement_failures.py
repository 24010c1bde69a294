"""What fails on the way to a statement's end neither runs its code again, nor cancels it, nor waits for ever."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import timedelta

import pytest
from aiohttp import web

from airflow_provider_synapse_livy.airflow_compat.sdk import AirflowRescheduleException, TaskDeferred
from airflow_provider_synapse_livy.emulator import SynapseEmulator
from airflow_provider_synapse_livy.emulator.faults import Faults
from airflow_provider_synapse_livy.exceptions import (
    SparkSessionFailedError,
    SparkStatementFailedError,
    SparkStatementLostError,
    SparkStatementTimeoutError,
    SynapseLivyConfigurationError,
    SynapseLivyError,
    SynapseLivyPermissionError,
    SynapseLivyUnavailableError,
)
from airflow_provider_synapse_livy.hooks import synapse_livy
from airflow_provider_synapse_livy.hooks.synapse_livy import SynapseLivyHook
from airflow_provider_synapse_livy.sensors.spark_statement import SynapseSparkStatementSensor
from airflow_provider_synapse_livy.transport.sync_client import LivyClient
from airflow_provider_synapse_livy.triggers.spark_statement import SynapseSparkStatementTrigger
from tests.support import sample_sessions
from tests.support import sample_statements as samples
from tests.support.sensor_runner import TaskStateStore
from tests.support.statement_tasks import operator, states
from tests.support.task_runner import TaskInstance, WorkerDied, context_of, dying, event_of, made_again


class Answers(Faults):
    """The service answers some requests otherwise, once or for ever."""

    def __init__(self, method, path, *answers, ever=False, after=0):
        super().__init__()
        self.wanted, self.answers, self.ever, self.count, self.after = (method, path), list(answers), ever, 0, after

    def before_work(self, request, rate_limit):
        """Answer a request that is meant."""
        method, path = self.wanted
        if request.method != method or not request.path.endswith(path) or not self.answers:
            return None
        self.count += 1
        if self.count <= self.after:
            return None
        answer = self.answers[0] if self.ever else self.answers.pop(0)
        if callable(answer):
            answer = answer()
        status, body, *headers = answer
        return web.Response(status=status, text=body, headers=headers[0] if headers else {})


FORBIDDEN = (403, "")
JETTY = (500, "<html><title>Error 500</title>")
NOT_RUNNING = (400, '{"Message": "Session 0 is not running."}')
LATER = (429, "", {"Retry-After": "300"})


pytestmark = pytest.mark.usefixtures("short_pauses")


@pytest.fixture
def synapse(connect):
    """Return a local Synapse with an idle session, in which some code has scripted ends."""
    with SynapseEmulator(time_scale=0.01) as emulator:
        connect(emulator.airflow_connection("etl"))
        emulator.create_session("etl", age=100)
        emulator.answer_statement(contains="count", output=samples.ok("42"), seconds=10)
        emulator.answer_statement(contains="boom", output=samples.error("ValueError", "boom"), seconds=10)
        emulator.answer_statement(contains="never", seconds=1_000_000)
        yield emulator


@pytest.fixture
def no_retries(monkeypatch):
    """Let no request be sent again for what may pass."""
    monkeypatch.setattr(synapse_livy, "RETRY_TIMEOUT", 0.0)
    monkeypatch.setitem(SynapseLivyHook.read.__kwdefaults__, "retry_timeout", 0.0)


@pytest.fixture
def pauses(monkeypatch):
    """Return the pauses between two attempts of a request, which are not made."""
    made = []
    monkeypatch.setitem(LivyClient.__init__.__kwdefaults__, "sleep", made.append)
    return made


@pytest.mark.parametrize("cancel_on_kill", [True, False])
def test_poll_that_fails(synapse, run_code, cancel_on_kill):
    """Code goes on when a poll of it has failed, and the next try reads the same statement."""
    synapse.answer_statement(contains="held", output=samples.ok("42"), seconds=1000)
    synapse.server.faults = Answers("GET", "/statements/0", FORBIDDEN, after=1)  # the first poll is the worker's
    with pytest.raises(SynapseLivyPermissionError) as caught:
        run_code("held()", cancel_on_kill=cancel_on_kill)
    assert not hasattr(caught.value, "__notes__")
    assert states(synapse) == ["running"]
    synapse.advance(1000)
    assert run_code("held()", TaskInstance("run", try_number=2), cancel_on_kill=cancel_on_kill)["id"] == 0
    assert states(synapse) == ["available"]


def test_poll_that_fails_in_the_last_try(synapse, run_code):
    """Where no later try goes on with code that still runs, the error says so."""
    synapse.server.faults = Answers("GET", "/statements/0", FORBIDDEN, after=1)
    with pytest.raises(SynapseLivyPermissionError) as caught:
        run_code("never()", TaskInstance("run", try_number=2))
    assert states(synapse) == ["running"]
    (note,) = caught.value.__notes__
    assert note.startswith("Statement 0 of Spark session 0 may still run, and keep its session busy.\nFix: ")


def test_timeout_of_code_that_is_kept(synapse, run_code):
    """A timeout cancels no code where the task is told to leave it alone, and the error says that it runs on."""
    with pytest.raises(SparkStatementTimeoutError) as caught:
        run_code("never()", timeout=0.3, cancel_on_kill=False)
    assert states(synapse) == ["running"]
    assert "Statement 0 of Spark session 0 may still run" in caught.value.__notes__[0]


def test_execution_timeout_in_an_outage(synapse):
    """If the last poll of a task whose execution_timeout has passed fails, its code is cancelled all the same."""
    context = context_of(TaskInstance("run"))
    options = {"code": "never()", "deferrable": True, "execution_timeout": timedelta(seconds=5)}
    with pytest.raises(TaskDeferred):
        operator(**options).execute(context)
    synapse.server.faults = Answers("GET", "/statements/0", FORBIDDEN)
    with pytest.raises(SynapseLivyPermissionError):
        operator(**options).resume_execution("__fail__", {"error": "Trigger timeout", "traceback": None}, context)
    assert states(synapse) != ["running"]


def resumed_when_done(synapse, verdict, record):
    """Resume a task whose code has run to its end since its trigger has ended with an event."""
    synapse.answer_statement(contains="held", output=samples.ok("42"), seconds=1000)
    context = context_of(TaskInstance("run"))
    with pytest.raises(TaskDeferred):
        operator(code="held()", deferrable=True).execute(context)
    synapse.advance(1000)
    event = {"resource": "statement", "verdict": verdict, "record": record, "activity_id": None, "links": {}}
    return operator(code="held()").resume_execution("execute_complete", {"event": event}, context)


def test_output_that_comes_after_the_last_poll(synapse):
    """If the output is there when the task reads it, though the trigger has given up on it, the code has succeeded."""
    record = samples.statement("available") | {"code": None, "output": None}
    assert resumed_when_done(synapse, "failure", record)["output"]["data"] == {"text/plain": "42"}


def test_code_that_failed_by_itself(synapse, run_code):
    """An error of the code itself leaves nothing behind that would have to be told."""
    with pytest.raises(SparkStatementFailedError) as caught:
        run_code("boom()", TaskInstance("run", try_number=2))
    assert not hasattr(caught.value, "__notes__")


@pytest.mark.parametrize("answer", [JETTY, (200, '{"statements": 5}')])
def test_list_that_can_not_be_read(synapse, run_code, no_retries, answer):
    """Where the session can be read and its list can't, code that may have been sent is lost, and nothing else said."""
    with pytest.raises(WorkerDied):
        run_code("df.count()", dying(TaskInstance("run")), cancel_on_kill=False)
    synapse.server.faults = Answers("GET", "/statements", answer, ever=True)
    words = "^The statements of Spark session 0 can't be listed, and the code may be among them.\nFix: check what"
    with pytest.raises(SparkStatementLostError, match=words) as caught:
        run_code("df.count()", TaskInstance("run", try_number=2))
    assert not hasattr(caught.value, "__notes__")
    assert len(states(synapse)) == 1


def test_list_that_can_not_be_read_before_the_code(synapse, run_code, no_retries):
    """Where no try can have sent the code, a list that can't be read is an error as any, which notes no code."""
    synapse.server.faults = Answers("GET", "/statements", JETTY, ever=True)
    with pytest.raises(SynapseLivyUnavailableError, match="answered 500") as caught:
        run_code("df.count()", TaskInstance("run", try_number=3, max_tries=3))
    assert not hasattr(caught.value, "__notes__")


class Dead(Faults):
    """The session dies under its code, which was running before; what is said of that afterwards, one by one."""

    def __init__(self, session, *statements):
        super().__init__()
        self.session, self.statements, self.is_over = session, list(statements), False

    def before_work(self, request, rate_limit):
        """Answer for session and statement."""
        if request.method == "GET" and request.path.endswith("/sessions/0"):
            self.is_over = True
            return web.json_response(self.session | {"id": 0})
        if request.method == "GET" and request.path.endswith("/statements/0"):
            given = self.statements.pop(0) if self.is_over and self.statements else samples.statement("running")
            return given if isinstance(given, web.Response) else web.json_response(given)
        return None


@pytest.mark.parametrize("mode", [{"deferrable": True}, {"mode": "poke"}, {"mode": "reschedule"}], ids=str)
@pytest.mark.parametrize("silent_fail", [True, False])
def test_sensor_whose_session_dies(synapse, mode, silent_fail):
    """The death of the session ends a sensor's wait, in every mode, whether or not failures are passed over."""
    SynapseLivyHook().create_spark_statement(0, "never()")
    synapse.server.faults = Dead(sample_sessions.DEAD)
    with pytest.raises(SparkStatementLostError, match="its session failed before it was done"):
        run_sensor(silent_fail=silent_fail, **mode)


@pytest.mark.parametrize("mode", [{"deferrable": True}, {"mode": "poke"}, {"mode": "reschedule"}], ids=str)
def test_session_whose_result_never_comes(synapse, mode):
    """A session that is dead for Livy, and never for Synapse, ends the wait for its code as well."""
    SynapseLivyHook().create_spark_statement(0, "never()")
    synapse.server.faults = Dead(sample_sessions.settling("dead"))
    with pytest.raises(SparkStatementLostError, match="its session failed before it was done"):
        run_sensor(settle_timeout=0.3, timeout=30, **mode)


@pytest.mark.parametrize("mode", [{"deferrable": True}, {"mode": "reschedule"}], ids=str)
def test_session_that_settles_keeps_a_worker_for_seconds(synapse, monkeypatch, mode):
    """While the result of a dead session is waited for, the next poll comes within seconds, not an interval later."""
    SynapseLivyHook().create_spark_statement(0, "never()")
    synapse.server.faults = Dead(sample_sessions.settling("dead"))
    slept = []

    def sleep(seconds):
        slept.append(seconds)
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", sleep)
    sensor = SynapseSparkStatementSensor(task_id="wait", session_id=0, statement_id=0, poke_interval=3600, **mode)
    with pytest.raises(KeyboardInterrupt):
        sensor.execute(context_of(TaskInstance("wait"), task_state_store=TaskStateStore()))
    assert slept == [5.0]


def run_sensor(**options):
    """Run a sensor through its deferral and its reschedules."""
    context = context_of(TaskInstance("wait"), task_state_store=TaskStateStore())

    def make():
        return SynapseSparkStatementSensor(task_id="wait", session_id=0, statement_id=0, poke_interval=0.1, **options)

    for _ in range(100):
        try:
            return run_in(make, context)
        except AirflowRescheduleException:
            continue
    raise AssertionError("it never ends")


def run_in(make, context):
    """Run a task in a context until it ends, or leaves the worker for a while."""
    try:
        return make().execute(context)
    except TaskDeferred as deferral:
        event = asyncio.run(event_of(made_again(deferral)))
        return make().resume_execution(deferral.method_name, {"event": event}, context)


@pytest.mark.parametrize("status", [500, 503])
def test_end_that_is_read_at_a_later_attempt(synapse, status):
    """Code that had ended before its session is no loss for some requests that failed right then."""
    SynapseLivyHook().create_spark_statement(0, "never()")
    ended = samples.statement(output=samples.ok("42"))
    synapse.server.faults = Dead(sample_sessions.DEAD, *(web.Response(status=status) for _ in range(2)), ended, ended)
    assert asyncio.run(event_of(trigger()))["verdict"] == "success"


@pytest.mark.parametrize(
    ("options", "session"),
    [({"silent_fail": True}, sample_sessions.DEAD), ({"settle_timeout": 0.3}, sample_sessions.settling("dead"))],
    ids=["silent_fail", "no result"],
)
def test_session_that_dies_in_the_triggerer(synapse, options, session):
    """The death of the session ends a trigger's wait, though failures are passed over, or the result never comes."""
    SynapseLivyHook().create_spark_statement(0, "never()")
    synapse.server.faults = Dead(session)
    error = asyncio.run(event_of(trigger(**options)))["error"]
    assert error["kind"] == "SparkStatementLostError"
    assert "its session failed before it was done" in error["message"]


def trigger(**options):
    """Return the trigger of a wait that has just begun."""
    return SynapseSparkStatementTrigger(
        session_id=0,
        statement_id=0,
        synapse_livy_conn_id="synapse_livy_default",
        spark_pool_name=None,
        livy_api_version=None,
        deadline=time.time() + 600,
        options={"timeout": 600, "poke_interval": 0.1, **options},
    )


class Outputs(Faults):
    """The service answers with another output."""

    def __init__(self, output):
        super().__init__()
        self.output = output

    def after_work(self, request, response, rate_limit):
        """Answer with it, once there is one."""
        fields = json.loads(response.text or "{}") if request.path.endswith("/statements/0") else {}
        is_over = request.method == "GET" and fields.get("state") == "available"
        return web.json_response(fields | {"output": self.output}) if is_over else response


@pytest.mark.parametrize("output", [{}, {"status": "abort"}, {"status": "OK", "data": {"text/plain": "1"}}])
def test_output_that_tells_nothing(synapse, run_code, output):
    """An output that is neither a success nor an error is an unknown outcome, which is not run again."""
    synapse.server.faults = Outputs(output)
    with pytest.raises(SparkStatementLostError, match=r"^Statement 0 ended without a known output\.\nFix: check what"):
        run_code("df.count()", timeout=1.0)


def test_session_that_was_cancelled_when_it_was_idle(synapse, run_code):
    """A session that has ended takes no code; the task says how it ended, and leads to it."""
    synapse.create_session("etl", "cancelled_while_idle", age=1000)
    task_instance = TaskInstance("run")
    with pytest.raises(SparkSessionFailedError, match=r"^Spark session 1 .*was cancelled, and takes no code\.\nFix: "):
        run_code("df.count()", task_instance, session_id=1)
    assert "Spark UI" in task_instance.xcoms["spark_session_links"]


@pytest.mark.parametrize("cancel_on_kill", [True, False])
def test_killed_task_sends_nothing_more(synapse, cancel_on_kill):
    """A task that is killed while the session takes no code yet sends none afterwards."""
    task = operator(cancel_on_kill=cancel_on_kill)

    def kill():
        task.on_kill()
        return NOT_RUNNING

    synapse.server.faults = Answers("POST", "/statements", kill)
    with pytest.raises(SynapseLivyError, match="^No code was sent: the task was killed"):
        task.execute(context_of(TaskInstance("run")))
    assert states(synapse) == []


def test_killed_task_sends_nothing_after_a_look(synapse):
    """A task that is killed between a look at its session and the next request sends none."""
    task = operator(cancel_on_kill=False, poll_interval=0)
    synapse.server.faults = Answers("POST", "/statements", NOT_RUNNING)
    look = synapse.server.faults.before_work

    def killing(request, rate_limit):
        if request.path.endswith("/sessions/0"):
            task.on_kill()
        return look(request, rate_limit)

    synapse.server.faults.before_work = killing
    with pytest.raises(SynapseLivyError, match="^No code was sent: the task was killed"):
        task.execute(context_of(TaskInstance("run")))
    assert states(synapse) == []


@pytest.mark.parametrize(
    "options",
    [{"output_limit": None}, {"output_limit": "100"}, {"kind": None}, {"kind": ""}],
    ids=str,
)
def test_wrong_parameters(options):
    """A parameter that can't be right is refused when the DAG is parsed."""
    with pytest.raises(SynapseLivyConfigurationError, match=f"^{next(iter(options))}=.* is no"):
        operator(**options)


def test_wrong_limit_of_a_sensor():
    """A sensor refuses an output_limit that is no number, too."""
    with pytest.raises(SynapseLivyConfigurationError, match="output_limit='x' is not a number of characters"):
        SynapseSparkStatementSensor(task_id="wait", session_id=0, statement_id=0, output_limit="x")


def test_rendered_kind(synapse):
    """A kind that is rendered is checked before the code is sent, which gets it as Livy spells it."""
    task = operator(kind="{{ kind }}")
    task.kind = " "
    with pytest.raises(SynapseLivyConfigurationError, match="kind=' ' is no kind of code"):
        task.execute(context_of(TaskInstance("run")))
    assert synapse.recorded_requests == []
    task.kind = " Python"
    assert task.execute(context_of(TaskInstance("run")))["output"]["data"] == {"text/plain": "42"}


def test_kind_that_livy_refuses(synapse, run_code):
    """Livy's 500 for a kind that it does not know is no outage: the request is not made again."""
    refused = (500, '"java.lang.IllegalArgumentException: Invalid kind: sparkr\\n\\tat org.apache"')
    synapse.server.faults = Answers("POST", "/statements", refused, ever=True)
    with pytest.raises(SynapseLivyError, match="Fix: use one of pyspark"):
        run_code("df.count()", kind="sparkr")
    assert synapse.server.faults.count == 1


@pytest.mark.parametrize("options", [{"timeout": None}, {"timeout": "60"}, {"poll_interval": None}, {"timeout": -1}])
def test_wrong_times_of_the_hook(synapse, options):
    """What the hook's wait can't be given is refused before the code is sent."""
    with pytest.raises(SynapseLivyConfigurationError, match=f"^{next(iter(options))}=.* is not a number of seconds"):
        SynapseLivyHook().run_spark_statement(0, "df.count()", **options)
    assert synapse.recorded_requests == []


def test_announced_pause_of_the_hook(synapse, pauses):
    """The hook's wait lasts as long as the service asks for, within its timeout."""
    synapse.server.faults = Answers("GET", "/statements/0", LATER)
    assert SynapseLivyHook().run_spark_statement(0, "df.count()", poll_interval=0.1).text == "42"
    assert [round(pause) for pause in pauses] == [300]


@pytest.mark.parametrize(("method", "path"), [("POST", "/statements"), ("GET", "/sessions/0")])
def test_announced_pause_before_the_code(synapse, pauses, method, path):
    """Code, and the look at a session before it, wait as long as the service asks for, within the task's timeout."""
    answers = Answers(method, path, LATER)
    refusals = Answers("POST", "/statements", NOT_RUNNING)
    synapse.server.faults = answers
    if method == "GET":
        first = answers.before_work
        answers.before_work = lambda *args: first(*args) or refusals.before_work(*args)
    assert operator().execute(context_of(TaskInstance("run")))["output"]["data"] == {"text/plain": "42"}
    assert 300 in [round(pause) for pause in pauses]
    assert len(states(synapse)) == 1


def test_session_that_can_not_be_looked_at(synapse, no_retries):
    """Code that was refused was not sent, though its session can't be looked at then."""
    answers, outage = Answers("POST", "/statements", NOT_RUNNING), Answers("GET", "/sessions/0", (503, ""), ever=True)
    first = answers.before_work
    answers.before_work = lambda *args: first(*args) or outage.before_work(*args)
    synapse.server.faults = answers
    task = operator()
    with pytest.raises(SynapseLivyUnavailableError) as caught:
        task.execute(context_of(TaskInstance("run", try_number=2, max_tries=1)))
    assert not caught.value.may_have_been_processed
    assert [request.method for request in synapse.recorded_requests].count("POST") == 1


def test_end_that_is_seen_after_a_timeout(synapse):
    """Code that has ended between the trigger's timeout and the task's last look has ended, and not timed out."""
    record = samples.statement("running") | {"code": None}
    assert resumed_when_done(synapse, "timeout", record)["output"]["data"] == {"text/plain": "42"}


def test_queue_is_told_once(synapse, caplog, capsys):
    """A sensor that is rescheduled says once behind how many others its code waits, where Airflow remembers it."""
    caplog.set_level("INFO")
    hook = SynapseLivyHook()
    hook.create_spark_statement(0, "never()")
    hook.create_spark_statement(0, "df.count()")
    context = context_of(TaskInstance("wait"), task_state_store=TaskStateStore())
    for _ in range(2):
        with pytest.raises(AirflowRescheduleException):
            SynapseSparkStatementSensor(
                task_id="wait", session_id=0, statement_id=1, poke_interval=60, mode="reschedule"
            ).execute(context)
    logs = (caplog.text, capsys.readouterr().out)  # which of them has it depends on Airflow's version; or both have
    assert max(log.count("waits behind 1 other.") for log in logs) == 1
