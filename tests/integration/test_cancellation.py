"""A session is cancelled by its id, until it has ended; what is gone, or was never there, is a success."""

from __future__ import annotations

import pytest

from airflow_provider_synapse_livy.emulator import SynapseEmulator
from airflow_provider_synapse_livy.exceptions import (
    InvalidIdError,
    SparkSessionCancellationError,
    SynapseLivyConfigurationError,
    SynapseLivyError,
    SynapseLivyPermissionError,
    SynapseLivyUnavailableError,
)
from airflow_provider_synapse_livy.operators.spark_session import (
    SynapseCancelSparkSessionOperator,
    SynapseGetSparkSessionOperator,
)
from airflow_provider_synapse_livy.sensors.spark_session import SynapseSparkSessionSensor
from airflow_provider_synapse_livy.transport.sync_client import LivyClient
from tests.support import sample_sessions as samples
from tests.support.connections import airflow_connection
from tests.support.scripted_server import ScriptedServer, http
from tests.support.task_runner import TaskInstance, context_of, run_task


@pytest.fixture
def synapse(connect):
    """Return a local Synapse whose sessions end a third of a second after they are cancelled."""
    with SynapseEmulator(time_scale=0.003) as emulator:
        connect(emulator.airflow_connection("etl"))
        yield emulator


@pytest.fixture(params=[False, True], ids=["on a worker", "deferred"])
def cancel(request):
    """Return a function that runs the task, in each place where it can wait."""

    def run(session_id, **options):
        def make():
            return SynapseCancelSparkSessionOperator(
                task_id="cancel", session_id=session_id, deferrable=request.param, **{"poll_interval": 0.1, **options}
            )

        return run_task(make, TaskInstance("cancel"))

    return run


def deletions(synapse):
    """Return how many requests to cancel were sent."""
    return sum(request.method == "DELETE" for request in synapse.recorded_requests)


@pytest.mark.parametrize("form", [int, str, lambda number: {"id": number}, lambda number: f" {number}\n"])
def test_session_is_cancelled_until_it_has_ended(synapse, cancel, form):
    """The session is cancelled by its id in any form, and only that one; the task returns how it ended."""
    other = synapse.create_session("etl", age=60)
    ours = synapse.create_session("etl", age=60)
    ended = cancel(form(ours))
    assert (ended["id"], ended["state"], ended["result"]) == (ours, "killed", "Cancelled")
    assert synapse.sessions("etl")[other]["schedulerInfo"]["cancellationRequestedAt"] is None


def test_session_of_another_pool(synapse, cancel):
    """A session's dict names its pool as well, for every task that takes one."""
    synapse.create_session("etl", age=60)
    synapse.create_session("ml", age=60)
    session = synapse.sessions("ml")[0]
    for task in (
        SynapseGetSparkSessionOperator(task_id="get", session_id=session),
        SynapseSparkSessionSensor(task_id="wait", session_id=session, target_states={"idle"}),
    ):
        assert task.execute(context_of(TaskInstance()))["sparkPoolName"] == "ml"
    assert cancel(session)["sparkPoolName"] == "ml"
    assert synapse.sessions("etl")[0]["result"] == "Uncertain"


@pytest.mark.parametrize("nothing", [None, "", "None"])
def test_session_that_was_never_created(synapse, cancel, nothing):
    """Where the task that creates has created nothing, there is nothing to cancel."""
    assert cancel(nothing) is None
    assert synapse.recorded_requests == []


def test_session_that_is_gone(synapse, cancel):
    """A session that the pool does not know is a success."""
    assert cancel(7) is None
    assert deletions(synapse) == 0


def test_session_that_is_gone_while_it_is_waited_for(synapse, cancel, monkeypatch):
    """A session whose pool is deleted after the cancellation is a success, wherever the task waits."""
    synapse.create_session("etl", age=60)
    find = synapse.server.pools.find
    polls = []

    def find_for_a_while(pool, number):
        polls.append(number)
        # The first poll, the cancellation, the poll before a wait.
        return find(pool, number) if len(polls) < 4 else None

    synapse.server.pools.find = find_for_a_while
    assert cancel(0) is None
    assert len(polls) == 5  # the last one is for a batch job with the id


def test_contradicting_pools(synapse, cancel):
    """A session's dict and a pool that contradict each other are refused before any request."""
    with pytest.raises(SynapseLivyConfigurationError, match="The record is in pool ml, and spark_pool_name is etl"):
        cancel({"id": 0, "sparkPoolName": "ml"}, spark_pool_name="etl")
    assert synapse.recorded_requests == []


def test_cancelling_twice(synapse, cancel):
    """Cancelling a session that has ended sends nothing, and returns it as it ended."""
    synapse.create_session("etl", age=60)
    assert cancel(0) == cancel(0)
    assert deletions(synapse) == 1


def test_session_that_is_being_cancelled(synapse, cancel):
    """A session that somebody else has just cancelled is waited for, and not cancelled again."""
    synapse.create_session("etl", age=60)
    synapse.cancel_session("etl", 0)
    assert cancel(0)["result"] == "Cancelled"
    assert deletions(synapse) == 0


def test_another_session_with_the_same_id(synapse, cancel):
    """When the pool was made anew since, the session that has the id now is another's, and lives on."""
    synapse.create_session("etl", age=60)
    session = synapse.sessions("etl")[0]
    synapse.recreate_pool("etl")
    synapse.create_session("etl", age=30)
    assert cancel(session) is None
    assert deletions(synapse) == 0


def test_session_that_does_not_end(synapse, cancel):
    """When the session does not end, the error says that it may still cost money."""
    synapse.create_session("etl", "refuses_to_end", age=60)
    with pytest.raises(
        SparkSessionCancellationError, match=r"(?s)had not ended within.*Fix: .*it may still cost money"
    ):
        cancel(0, timeout=0.3)


def test_termination_that_nobody_waits_for(synapse, cancel):
    """Without wait_for_termination the task ends when the cancellation was requested."""
    synapse.create_session("etl", age=60)
    assert cancel(0, wait_for_termination=False)["result"] == "Uncertain"
    assert deletions(synapse) == 1


@pytest.mark.parametrize("wrong", [-1, "x", True, {"id": "x"}, 2**31])
def test_what_is_no_id(synapse, cancel, wrong):
    """What is no id is refused before any request."""
    with pytest.raises(InvalidIdError):
        cancel(wrong)
    assert synapse.recorded_requests == []


def test_refusal(synapse, cancel):
    """A refusal fails the task: the session may live on."""
    with pytest.raises(SynapseLivyPermissionError):
        cancel(0, spark_pool_name="forbidden")


ALIVE, ENDED = http(200, samples.IDLE), http(200, samples.KILLED)


def cancel_at(script, connect, **options):
    """Cancel a session at a server with a script, and return its requests and what the task returned."""
    with ScriptedServer(*script) as server:
        connect(airflow_connection(server.url))
        task = SynapseCancelSparkSessionOperator(task_id="cancel", session_id=12, poll_interval=0, **options)
        try:
            returned = task.execute(context_of(TaskInstance("cancel")))
        except SynapseLivyError as error:
            returned = error
    return [request.split()[0] for request in server.requests], returned


@pytest.mark.parametrize("status", [429, 503])
def test_announced_pause_does_not_end_a_teardown(connect, monkeypatch, status):
    """While the task's own timeout allows, a pause that the service asks for ends no cancellation."""
    pauses = []
    monkeypatch.setitem(LivyClient.__init__.__kwdefaults__, "sleep", pauses.append)
    away = http(status, Retry_After="300")
    methods, returned = cancel_at([away, ALIVE, away, http(200), away, ENDED], connect, timeout=3600)
    assert (methods, returned["state"]) == (["GET", "GET", "DELETE", "DELETE", "GET", "GET"], "killed")
    assert pauses == [300.0] * 3
    methods, error = cancel_at([away], connect, timeout=60)
    assert (methods, type(error), error.retry_after) == (["GET"], SynapseLivyUnavailableError, 300.0)


@pytest.mark.parametrize("option", ["timeout", "poll_interval"])
@pytest.mark.parametrize("value", ["soon", -1, 1e300, None, 10**400, "inf"])
def test_wrong_time_span_is_an_error_before_anything_is_sent(connect, option, value):
    """A time span that is none, or endless, is an error before the session is read or cancelled."""
    options = {"session_id": 12, "task_id": "cancel", option: value}
    with ScriptedServer(ALIVE) as server:
        connect(airflow_connection(server.url))
        with pytest.raises(
            SynapseLivyConfigurationError, match=f"{option}=.* is (not a number|too long).*\nFix: pass "
        ):
            SynapseCancelSparkSessionOperator(**options).execute(context_of(TaskInstance("cancel")))
    assert server.requests == []
