"""
One task run creates one session, whatever is lost, and leaves none behind.

The crash points are here within one process; ``tests/airflow`` has them with real processes that are killed.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import threading
import time

import pytest
from aiohttp import web
from local_airflow import wait_for

from airflow_provider_synapse_livy.airflow_compat.kills import TaskStanding
from airflow_provider_synapse_livy.airflow_compat.sdk import AirflowException, AirflowFailException, TaskDeferred
from airflow_provider_synapse_livy.emulator import SynapseEmulator
from airflow_provider_synapse_livy.emulator.faults import Faults
from airflow_provider_synapse_livy.emulator.scenarios import SCENARIOS
from airflow_provider_synapse_livy.exceptions import (
    SparkSessionCreationError,
    SynapseLivyConfigurationError,
    SynapseLivyError,
    SynapseLivyUnavailableError,
)
from airflow_provider_synapse_livy.livy.task_keys import KEY_TAG
from airflow_provider_synapse_livy.operators import creation
from airflow_provider_synapse_livy.operators.spark_session import SynapseCreateSparkSessionOperator
from airflow_provider_synapse_livy.transport.sync_client import LivyClient
from airflow_provider_synapse_livy.triggers import base
from tests.support.connections import airflow_connection
from tests.support.sample_options import SIZES
from tests.support.scripted_server import ScriptedServer, http
from tests.support.task_runner import TaskInstance, WorkerDied, context_of, dying, event_of, made_again, run_task

PLACES = {"on a worker": False, "deferred": True}

pytestmark = pytest.mark.usefixtures("short_pauses")


@pytest.fixture(params=["newest_first", "oldest_first"])
def synapse(request, connect):
    """Return a local Synapse whose sessions are ready within a second, for each order of its list."""
    with SynapseEmulator(time_scale=0.002, list_order=request.param) as emulator:
        connect(emulator.airflow_connection("etl"))
        yield emulator


@pytest.fixture
def one_synapse(connect):
    """Return a local Synapse whose sessions are ready within a second."""
    with SynapseEmulator(time_scale=0.002) as emulator:
        connect(emulator.airflow_connection("etl"))
        yield emulator


@pytest.fixture(params=PLACES.values(), ids=PLACES)
def create(request):
    """Return a function that runs a try of the task, in each place where it can wait."""

    def run(task_instance=None, **options):
        def make():
            return operator(deferrable=request.param, **options)

        return run_task(make, task_instance or TaskInstance())

    return run


def operator(**options):
    """Return the operator."""
    return SynapseCreateSparkSessionOperator(task_id="create", **{**SIZES, "poll_interval": 0.1, **options})


def ids(synapse):
    """Return the ids of the sessions that live, and of those that have ended or are about to."""
    lives, ended = [], []
    for session in synapse.sessions("etl"):
        is_over = session["result"] != "Uncertain" or session["schedulerInfo"]["cancellationRequestedAt"]
        (ended if is_over else lives).append(session["id"])
    return lives, ended


def posts(synapse):
    """Return how many requests to create were sent."""
    return sum(request.method == "POST" and request.path.endswith("/sessions") for request in synapse.recorded_requests)


@pytest.mark.parametrize("fault", [0, 200, 503])
def test_lost_response(synapse, create, fault):
    """A session whose creation was done, but not answered or not readably, is found again and not created twice."""
    others = [synapse.create_session("etl", name="dag-create") for _ in range(30)]
    synapse.fail_after(fault)
    task_instance = TaskInstance()
    session = create(task_instance)
    assert session["state"] == "idle"
    assert session["id"] == task_instance.xcoms["session_id"] == 30
    assert posts(synapse) == 1
    assert ids(synapse) == ([*others, 30], [])


@pytest.mark.parametrize("fault", [0, 500, 503])
def test_lost_request(one_synapse, create, fault):
    """Where the list shows twice that nothing was created, the request is sent again."""
    one_synapse.fail_next(fault)
    assert create()["id"] == 0
    assert ids(one_synapse) == ([0], [])


def test_request_that_is_always_lost(connect, create):
    """The request is sent three times at the most, each time after two searches; then the task fails with its error."""
    nothing = http(200, {"from": 0, "total": 0, "sessions": []})
    with ScriptedServer(*[http(503), nothing, nothing] * 3) as server:
        connect(airflow_connection(server.url))
        with pytest.raises(SynapseLivyUnavailableError, match="New Spark session in pool etl: Synapse answered 503"):
            create()
    # The last two are the search of a task that fails for what it may leave behind.
    assert [line.split()[0] for line in server.requests] == [*["POST", "GET", "GET"] * 3, "GET", "GET"]


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        ({"spark_pool_name": "missing"}, 400, "Spark Compute not Found"),
        ({"spark_pool_name": "quota"}, 400, "vcores"),
        ({"spark_pool_name": "small", "num_executors": 50}, 400, "when the compute has a capacity"),
        ({"spark_pool_name": "forbidden"}, 403, "Synapse Compute Operator"),
    ],
)
def test_refusal(one_synapse, create, options, status, words):
    """What the service refuses is not created, so it is neither looked for nor sent again, and its words are kept."""
    with pytest.raises(SynapseLivyError, match=words) as caught:
        create(**options)
    assert caught.value.status == status
    assert [request.method for request in one_synapse.recorded_requests] == ["POST"]


@pytest.mark.parametrize(
    "options", [{"driver_memory": "28"}, {"conf": {"a": None}}, {"name": " "}, {"poll_interval": "soon"}]
)
def test_wrong_option(one_synapse, create, options):
    """A wrong option is named before anything is sent."""
    with pytest.raises(SynapseLivyConfigurationError, match=f"^{next(iter(options))}"):
        create(**options)
    assert one_synapse.recorded_requests == []


def test_throttled_request_is_sent_again(one_synapse, create):
    """A request that certainly was not processed is sent again without a search."""
    one_synapse.fail_next(429)
    create()
    assert [request.method for request in one_synapse.recorded_requests[:2]] == ["POST", "POST"]
    assert ids(one_synapse) == ([0], [])


class ThrottledOnce(Faults):
    """The service refuses the first creation, and asks to come back in five minutes."""

    has_refused = False

    def before_work(self, request, rate_limit):
        """Answer that."""
        if request.method != "POST" or self.has_refused:
            return None
        self.has_refused = True
        return web.Response(status=429, headers={"Retry-After": "300"})


def test_announced_pause_of_a_creation(monkeypatch, one_synapse, create):
    """A creation that is refused for five minutes is made after them, as the task's timeout allows."""
    pauses = []
    monkeypatch.setitem(LivyClient.__init__.__kwdefaults__, "sleep", pauses.append)
    one_synapse.server.faults = ThrottledOnce()
    create()
    assert 300 in [round(pause) for pause in pauses]
    assert ids(one_synapse) == ([0], [])


@pytest.mark.parametrize("fault", [None, 0, 503])
def test_worker_that_dies_before_it_notes_the_id(synapse, create, fault):
    """The next try goes on with the session that the lost worker has created, whatever it knew of it."""
    if fault is not None:
        synapse.fail_after(fault)
    with pytest.raises(WorkerDied):
        create(dying(TaskInstance()), cancel_on_kill=False)
    assert create(TaskInstance(try_number=2))["id"] == 0
    assert (ids(synapse), posts(synapse)) == (([0], []), 1)


def test_first_try_of_another_life(one_synapse, create):
    """A task that was cleared creates another session: its first life has handed the first one on."""
    assert create(TaskInstance())["id"] == 0
    assert create(TaskInstance(try_number=2, max_tries=2))["id"] == 1
    assert ids(one_synapse) == ([0, 1], [])


@pytest.mark.parametrize("change", [{"task_id": "other"}, {"run_id": "other"}, {"dag_id": "other"}, {"map_index": 3}])
def test_other_tasks_have_other_sessions(one_synapse, create, change):
    """A retry of one task does not take the session of another."""
    assert create(TaskInstance())["id"] == 0
    assert create(TaskInstance(try_number=2, **change))["id"] == 1


def test_session_of_a_run_that_was_deleted(synapse, create):
    """A session with this task's key that is older than the run is another run's of the same name, and lives on."""
    key = create(TaskInstance())["tags"][KEY_TAG]
    synapse.recreate_pool("etl")
    old = synapse.create_session("etl", age=1800 / 0.005, name=f"dag-create_{key}", tags={KEY_TAG: key})
    assert create(TaskInstance(try_number=2))["id"] == old + 1
    assert ids(synapse) == ([old, old + 1], [])


def test_several_sessions_of_one_task(synapse, create):
    """Of several sessions that carry the task's key, it goes on with the lowest, and cancels the others alone."""
    foreign = synapse.create_session("etl", name="dag-create")
    key = create(TaskInstance())["tags"][KEY_TAG]
    by_name = synapse.create_session("etl", name=f"dag-create_{key}", tags={})
    by_tag = synapse.create_session("etl", name="renamed", tags={KEY_TAG: key})
    assert create(TaskInstance(try_number=2))["id"] == 1
    assert ids(synapse) == ([foreign, 1], [by_name, by_tag])


def test_session_that_has_ended_is_not_taken(one_synapse, create):
    """A retry does not go on with a session that has ended or is being cancelled, and creates another."""
    create(TaskInstance())
    one_synapse.cancel_session("etl", 0)
    assert create(TaskInstance(try_number=2))["id"] == 1


def test_search_reads_all_pages(synapse, create):
    """The session is found among hundreds, of which the newest came later."""
    with pytest.raises(WorkerDied):
        create(dying(TaskInstance()), cancel_on_kill=False)
    for _ in range(100):
        synapse.create_session("etl")
    assert create(TaskInstance(try_number=2))["id"] == 0


FAILURES = {
    "timeout": ({"timeout": 0.2}, "slow", SparkSessionCreationError, "had not been idle within the task's timeout"),
    "failure": ({}, "fails_to_start", SparkSessionCreationError, "AVAILABLE_COMPUTE_CAPACITY_EXCEEDED"),
    "cancellation": ({}, "cancelled_while_queued", SparkSessionCreationError, "was cancelled before it had been idle"),
}


@pytest.mark.parametrize(("options", "scenario", "error", "words"), FAILURES.values(), ids=FAILURES)
def test_failed_wait_leaves_no_session(one_synapse, create, options, scenario, error, words):
    """A session that could not be handed on is ended by the task that created it; its id is in XCom all the same."""
    task_instance = TaskInstance()
    with pytest.raises(error, match=words):
        create(task_instance, tags={"emulator.scenario": scenario}, **options)
    assert task_instance.xcoms["session_id"] == 0
    assert task_instance.xcoms["spark_session_links"] == {}  # Airflow asks for them, also if there are none
    assert [session["result"] for session in one_synapse.sessions("etl")] != ["Uncertain"]
    one_synapse.assert_nothing_runs()


def test_session_that_does_not_end(connect, create, monkeypatch):
    """When a cancelled session does not end, the error says which one may still cost money."""
    monkeypatch.setattr(creation.Creation.end_own, "__kwdefaults__", {"timeout": 0.2})
    with SynapseEmulator(time_scale=1) as synapse:
        connect(synapse.airflow_connection("etl"))
        with pytest.raises(SparkSessionCreationError) as caught:
            create(timeout=0.2, tags={"emulator.scenario": "refuses_to_end"})
    (note,) = caught.value.__notes__
    assert note.split("\n") == [
        "Spark session 0 may still run, and cost money.",
        "Fix: cancel it in Synapse Studio > Monitor > Apache Spark applications.",
    ]


def test_service_that_refuses_the_cancellation(one_synapse, create):
    """When the cancellation fails, the error of the wait stays, with a note of what may still cost money."""
    one_synapse.fail_after(200, 403)  # the response to the creation is cut off, the one to the cancellation a refusal
    with pytest.raises(SparkSessionCreationError) as caught:
        create(timeout=0.2, tags={"emulator.scenario": "slow"})
    (note,) = caught.value.__notes__
    assert note.startswith("Spark session 0 (SynapseLivyPermissionError) may still run, and cost money.")


@pytest.mark.parametrize("cancel_on_kill", [True, False])
def test_task_that_is_killed_while_it_waits(one_synapse, cancel_on_kill):
    """A task that is killed cancels its session, unless it is told not to; a retry then goes on with it."""
    task = operator(cancel_on_kill=cancel_on_kill)
    kill = threading.Thread(target=task.on_kill)
    find = one_synapse.server.pools.find

    def find_and_kill(*args):
        if kill.ident is None:  # at the first poll
            kill.start()
        return find(*args)

    one_synapse.server.pools.find = find_and_kill
    context = context_of(TaskInstance())
    if cancel_on_kill:
        with pytest.raises(AirflowException, match="The task was killed, so Spark session 0 is cancelled"):
            task.execute(context)
        one_synapse.assert_nothing_runs()
    else:
        assert task.execute(context)["state"] == "idle"
    kill.join()


def test_task_that_is_killed_while_its_request_is_under_way(one_synapse):
    """Airflow 3 lets a task go on after its on_kill: what it creates then is cancelled at once."""
    task = operator()
    create_session = one_synapse.server.create_session

    def create_and_kill(*args, **kwargs):
        task.on_kill()
        return create_session(*args, **kwargs)

    one_synapse.server.create_session = create_and_kill
    with pytest.raises(AirflowException, match="The task was killed, so Spark session 0 is cancelled"):
        task.execute(context_of(TaskInstance()))
    one_synapse.assert_nothing_runs()


def test_task_that_is_killed_before_its_request(one_synapse):
    """A task that is killed during a search creates nothing afterwards."""
    task = operator()
    one_synapse.server.pools.page = lambda *_, **__: task.on_kill() or []
    with pytest.raises(SynapseLivyError, match="No Spark session was created: the task was killed"):
        task.execute(context_of(TaskInstance(try_number=2)))
    assert posts(one_synapse) == 0


def test_signal_that_interrupts_the_request(one_synapse):
    """Airflow 2 breaks a task off in the midst of its request: what that has created is found and cancelled."""
    create_session = one_synapse.server.create_session

    def create_and_kill(*args, **kwargs):
        session = create_session(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGUSR1)
        time.sleep(0.5)  # the answer comes too late
        return session

    def break_off(*_):
        raise WorkerDied

    one_synapse.server.create_session = create_and_kill
    before = signal.signal(signal.SIGUSR1, break_off)
    try:
        with pytest.raises(WorkerDied):
            operator().execute(context_of(TaskInstance()))
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert len(one_synapse.sessions("etl")) == 1
    one_synapse.assert_nothing_runs()


def test_session_of_a_life_that_was_cleared_while_it_waited(one_synapse, create):
    """The next life cancels what an earlier one had not handed on, and leaves alone what it had."""
    with pytest.raises(WorkerDied):
        create(dying(TaskInstance()), cancel_on_kill=False, tags={"emulator.scenario": "slow"})
    assert create(TaskInstance(try_number=2, max_tries=2))["id"] == 1
    assert ids(one_synapse) == ([1], [0])
    assert create(TaskInstance(try_number=3, max_tries=3))["id"] == 2
    assert ids(one_synapse) == ([1, 2], [0])


def test_second_search_is_made_while_nothing_lives(one_synapse, create, monkeypatch):
    """What has ended does not keep a later try from looking for its session a second time."""
    create(TaskInstance())
    one_synapse.cancel_session("etl", 0)
    pages, page = [], one_synapse.server.pools.page

    def late(*args, **kwargs):
        pages.append(args)
        if len(pages) == 3:  # after the search for other lives, and the first one for this
            key = one_synapse.sessions("etl")[0]["tags"][KEY_TAG]
            one_synapse.create_session("etl", name=f"dag-create_{key}")
        return page(*args, **kwargs)

    one_synapse.server.pools.page = late
    assert create(TaskInstance(try_number=3))["id"] == 1


def deferral_of(**options):
    """Return the deferral of a task whose session is in the queue."""
    with pytest.raises(TaskDeferred) as caught:
        operator(deferrable=True, tags={"emulator.scenario": "slow"}, **options).execute(context_of(TaskInstance()))
    return caught.value


#: What a user does to a deferred task: its state by then, and the id that it has noted.
ENDED_BY_USER = {
    "failed": TaskStanding("failed", 0),
    "success": TaskStanding("success", 0),
    "cleared": TaskStanding("None", 0),
    "cleared and queued": TaskStanding("queued", 0),
    "cleared and running": TaskStanding("running", None),
    "cleared and deferred again": TaskStanding("deferred", 1),
}

#: What Airflow tells a trigger in the same words: the task goes on, and another triggerer has its wait.
GOES_ON = {
    "deferred": (TaskStanding("deferred", 0), "slow"),
    "deferred, its note is lost": (TaskStanding("deferred", None), "slow"),
    "not known": (None, "slow"),
    "resumed": (TaskStanding("queued", 0), "becomes_idle"),
    "resumed and running": (TaskStanding("running", 0), "becomes_idle"),
    "resumed and successful": (TaskStanding("success", 0), "becomes_idle"),
}


def killed(monkeypatch, synapse, standing, scenario="slow", **options):
    """Have a deferred task's trigger be told that it is killed, and return the ids of what lives and what has ended."""

    async def standing_of(task_instance, key):
        assert key == "session_id"
        return standing

    trigger = made_again(deferral_of(**options))
    monkeypatch.setattr(base, "standing_of", standing_of)
    synapse.server.pools.find("etl", 0).scenario = SCENARIOS[scenario]
    wait_for(lambda: synapse.sessions("etl")[0]["state"] == "idle" or scenario == "slow" or None, "it", timeout=30)
    asyncio.run(trigger.on_kill())
    return ids(synapse)


@pytest.mark.parametrize("standing", ENDED_BY_USER.values(), ids=ENDED_BY_USER)
def test_deferred_task_that_a_user_ends(monkeypatch, one_synapse, standing):
    """The trigger of a deferred task that a user has ended cancels its session."""
    assert killed(monkeypatch, one_synapse, standing) == ([], [0])


def test_kill_that_is_broken_off(monkeypatch, one_synapse):
    """Airflow 3.3 cancels a trigger anew every second until it has ended: the cancellation is sent all the same."""

    async def standing_of(task_instance, key):
        await asyncio.sleep(0.3)
        return ENDED_BY_USER["failed"]

    async def kill(trigger):
        kill = asyncio.ensure_future(trigger.on_kill())
        for _ in range(5):
            await asyncio.sleep(0.05)
            kill.cancel("user-action")
        await asyncio.wait_for(kill, timeout=30)

    monkeypatch.setattr(base, "standing_of", standing_of)
    asyncio.run(kill(made_again(deferral_of())))
    assert ids(one_synapse) == ([], [0])


def test_deferred_task_that_keeps_its_session(monkeypatch, one_synapse):
    """The trigger cancels nothing if the task is told not to."""
    assert killed(monkeypatch, one_synapse, ENDED_BY_USER["failed"], cancel_on_kill=False) == ([0], [])


@pytest.mark.parametrize(("standing", "scenario"), GOES_ON.values(), ids=GOES_ON)
def test_trigger_that_has_moved_to_another_triggerer(monkeypatch, one_synapse, standing, scenario):
    """A triggerer that was slow, and has lost a deferred task to another one, cancels nothing that the task needs."""
    assert killed(monkeypatch, one_synapse, standing, scenario) == ([0], [])


def test_trigger_whose_task_can_not_be_asked_for(one_synapse, caplog):
    """If Airflow does not tell what has become of the task, nothing is cancelled, and the log says so."""
    asyncio.run(made_again(deferral_of()).on_kill())
    assert ids(one_synapse) == ([0], [])
    assert "What has become of the task is not known" in caplog.text


def resumed_without_xcom():
    """Return the context and the event of a task that goes on after a deferral, and whose XComs are lost."""
    task_instance = TaskInstance()
    context = context_of(task_instance)
    with pytest.raises(TaskDeferred) as caught:
        operator(deferrable=True).execute(context)
    event = asyncio.run(event_of(made_again(caught.value)))
    task_instance.xcoms.clear()
    return context, event


def test_task_that_goes_on_without_its_xcom(one_synapse):
    """If the id that was noted is lost, a task that goes on after a deferral finds its session by the key."""
    context, event = resumed_without_xcom()
    session = operator(deferrable=True).resume_execution("execute_complete", {"event": event}, context)
    assert session["id"] == 0


def test_task_that_goes_on_without_its_xcom_and_without_the_service(one_synapse):
    """If neither the XCom nor the list can be read, the error says that something may still cost money."""
    context, event = resumed_without_xcom()
    one_synapse.server.pools.page = None
    with pytest.raises(SynapseLivyError) as failed:
        operator(deferrable=True, spark_pool_name="forbidden").resume_execution(
            "execute_complete", {"event": event}, context
        )
    (note,) = failed.value.__notes__
    assert note.startswith("A Spark session that this task may have created")


def test_failure_of_a_creation_can_be_retried(one_synapse, create):
    """Airflow retries a creation that failed, since the next try creates another session."""
    with pytest.raises(SparkSessionCreationError, match="Fix: ask for fewer executors") as caught:
        create(tags={"emulator.scenario": "fails_to_start"})
    assert not isinstance(caught.value, AirflowFailException)
    assert "target_states" not in str(caught.value)


def test_session_that_nobody_waits_for(one_synapse, create):
    """Without wait_for_ready the task hands on a session that is just being started."""
    session = create(wait_for_ready=False)
    assert (session["id"], session["state"]) == (0, "not_started")


def test_secret_settings_stay_with_the_service(one_synapse, create, caplog, capsys):
    """Settings that look like secrets reach the service, and neither XCom nor log; sizes are logged, settings not."""
    caplog.set_level("DEBUG")
    task_instance = TaskInstance()
    create(task_instance, conf={"spark.my.password": "hunter2222", "spark.x": "v1s1ble"}, name="mine")
    stored = one_synapse.sessions("etl")[0]["livyInfo"]["jobCreationRequest"]["conf"]
    assert stored == {"spark.my.password": "hunter2222", "spark.x": "v1s1ble"}
    log = caplog.text + capsys.readouterr().out  # the task's log is in one or the other, by the version of Airflow
    assert "hunter2222" not in str(task_instance.xcoms) + log
    assert "v1s1ble" not in log
    assert "driver 4 cores, 28g; 2 executors of 4 cores, 28g" in log


def test_rendered_secret_is_not_shown_to_airflow(one_synapse):
    """What Airflow keeps as the rendered conf has no secret, the session has; also if it is rendered twice."""
    conf = {"spark.hadoop.fs.azure.account.key.data": "{{ key }}", "spark.x": "{{ 1 + 1 }}"}
    task = operator(conf=conf)
    context = context_of(TaskInstance(), key="hunter2222")
    for _ in range(2):
        task.render_template_fields(context)
        assert task.conf == {"spark.hadoop.fs.azure.account.key.data": "***", "spark.x": "2"}
    task.execute(context)
    stored = one_synapse.sessions("etl")[0]["livyInfo"]["jobCreationRequest"]["conf"]
    assert stored == {"spark.hadoop.fs.azure.account.key.data": "hunter2222", "spark.x": "2"}


def test_all_but_flags_are_templated():
    """Every parameter is templated but those that are flags."""
    flags = {
        "wait_for_ready", "deferrable", "cancel_on_kill",
        "openlineage_inject_parent_job_info", "openlineage_inject_transport_info",
    }  # fmt: skip
    names = {
        name
        for one in SynapseCreateSparkSessionOperator.__mro__[:5]
        for name in inspect.signature(one.__init__).parameters
    }
    assert set(SynapseCreateSparkSessionOperator.template_fields) == names - flags - {
        "self",
        "args",
        "kwargs",
        "task_id",
    }


def test_secret_settings_are_not_shown_by_airflow(one_synapse):
    """What Airflow keeps and shows of the rendered parameters has no secret, also of a mapped task; Synapse gets it."""
    task = operator(conf={"spark.my.password": "{{ word }}", "spark.x": "{{ word }}"})
    for _ in range(2):  # a task that is resumed is rendered again
        task._do_render_template_fields(task, ["conf"], {"word": "hunter2222"}, task.get_template_env(), set())
        assert task.conf == {"spark.my.password": "***", "spark.x": "***"}
    task.execute(context_of(TaskInstance()))
    stored = one_synapse.sessions("etl")[0]["livyInfo"]["jobCreationRequest"]["conf"]
    assert stored == {"spark.my.password": "hunter2222", "spark.x": "hunter2222"}
