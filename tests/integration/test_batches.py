"""
One task run has one batch job, whatever is lost, and leaves none behind; only Synapse's own word makes it a success.

What batch jobs share with sessions is tried in ``test_creation``; here is what could differ, and each crash point once.
"""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import threading
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
import requests

from airflow_provider_synapse_livy.airflow_compat.kills import TaskStanding
from airflow_provider_synapse_livy.airflow_compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowRescheduleException,
    TaskDeferred,
)
from airflow_provider_synapse_livy.airflow_compat.versions import AIRFLOW_VERSION, STARTS_FROM_TRIGGER
from airflow_provider_synapse_livy.emulator import SynapseEmulator
from airflow_provider_synapse_livy.emulator.batches import BATCH_SCENARIOS
from airflow_provider_synapse_livy.emulator.entra import STATIC_TOKEN
from airflow_provider_synapse_livy.exceptions import (
    SparkBatchJobCancellationError,
    SparkBatchJobEndedError,
    SparkBatchJobFailedError,
    SparkBatchJobNotFoundError,
    SparkBatchJobTimeoutError,
    SparkSessionNotFoundError,
    SynapseLivyConfigurationError,
    SynapseLivyError,
)
from airflow_provider_synapse_livy.hooks.synapse_livy import SynapseLivyHook
from airflow_provider_synapse_livy.livy.task_keys import KEY_TAG
from airflow_provider_synapse_livy.models import SparkBatchJob, SparkBatchJobOptions
from airflow_provider_synapse_livy.operators import creation
from airflow_provider_synapse_livy.operators.spark_batch import (
    SynapseCancelSparkBatchOperator,
    SynapseGetSparkBatchOperator,
    SynapseRunSparkBatchOperator,
)
from airflow_provider_synapse_livy.operators.spark_session import SynapseCancelSparkSessionOperator
from airflow_provider_synapse_livy.sensors.spark_batch import SynapseSparkBatchSensor
from airflow_provider_synapse_livy.sensors.spark_session import SynapseSparkSessionSensor
from airflow_provider_synapse_livy.triggers import base
from airflow_provider_synapse_livy.triggers.spark_batch import SynapseSparkBatchTrigger
from tests.support.sample_options import SIZES
from tests.support.task_runner import TaskInstance, WorkerDied, context_of, dying, event_of, made_again, run_task

FILE = "abfss://data@account.dfs.core.windows.net/count.py"
PLACES = {"on a worker": False, "deferred": True}

pytestmark = pytest.mark.usefixtures("short_pauses")


@pytest.fixture
def synapse(connect):
    """Return a local Synapse whose batch jobs have succeeded after an eighth of a second."""
    with SynapseEmulator(time_scale=0.002) as emulator:
        connect(emulator.airflow_connection("etl"))
        yield emulator


@pytest.fixture(params=PLACES.values(), ids=PLACES)
def deferrable(request):
    """Return whether the task waits in the triggerer."""
    return request.param


@pytest.fixture
def run(deferrable):
    """Return a function that runs a try of the task, in each place where it can wait."""

    def run_one(task_instance=None, scenario=None, **options):
        return run_task(
            lambda: operator(scenario, deferrable=deferrable, **options), task_instance or TaskInstance("run")
        )

    return run_one


class HastyOperator(SynapseRunSparkBatchOperator):
    """The operator, which waits for a fifth of a second for the result of a job that has ended."""

    @property
    def _wait_options(self):
        return dataclasses.replace(super()._wait_options, settle_timeout=0.2)


def operator(scenario=None, kind=SynapseRunSparkBatchOperator, **options):
    """Return the operator, whose job has a scenario."""
    tags = {"tags": {"emulator.scenario": scenario}} if scenario else {}
    return kind(task_id="run", **{**SIZES, "file": FILE, "poll_interval": 0.05, **tags, **options})


def results(synapse):
    """Return how each job of the pool has ended, or is about to."""
    return [
        "cancelling" if job["result"] == "Uncertain" and job["schedulerInfo"]["cancellationRequestedAt"] else
        job["result"] for job in synapse.batches("etl")
    ]  # fmt: skip


def test_success(synapse, run):
    """The task returns the job that has succeeded; its id is in XCom, and what it was told is what was asked for."""
    task_instance = TaskInstance("run")
    job = run(task_instance, class_name="Main", args=["--day", "{{ ds }}", 3], conf={"spark.x": 1})
    assert (job["id"], job["state"], job["result"], job["jobType"]) == (0, "success", "Succeeded", "SparkBatch")
    assert task_instance.xcoms["batch_id"] == 0
    assert "Spark UI" in task_instance.xcoms["spark_session_links"]
    request = job["livyInfo"]["jobCreationRequest"]
    assert (request["file"], request["className"]) == (FILE, "Main")
    assert request["args"] == ["--day", "{{ ds }}", "3"]


@pytest.mark.parametrize("fault", [0, 200, 503])
def test_lost_response(synapse, run, fault):
    """A job whose creation was done, but not answered or not readably, is found again and not created twice."""
    synapse.create_session("etl", name="dag-run")
    synapse.create_batch("etl", "runs_on", name="dag-run")
    synapse.fail_after(fault)
    assert run()["id"] == 2
    assert results(synapse) == ["Uncertain", "Succeeded"]


def test_lost_request(synapse, run):
    """Where the list shows twice that nothing was created, the request is sent again."""
    synapse.fail_next(503)
    assert run()["result"] == "Succeeded"
    assert results(synapse) == ["Succeeded"]


@pytest.mark.parametrize("ends_meanwhile", [False, True])
def test_worker_that_dies_before_it_notes_the_id(synapse, run, ends_meanwhile):
    """The next try goes on with the job of the lost worker, and does not run again what has succeeded meanwhile."""
    with pytest.raises(WorkerDied):
        run(dying(TaskInstance("run")), cancel_on_kill=False)
    if ends_meanwhile:
        SynapseSparkBatchSensor(task_id="wait", batch_id=0, poke_interval=0.05).execute(
            context_of(TaskInstance("wait"))
        )
    assert run(TaskInstance("run", try_number=2))["result"] == "Succeeded"
    assert results(synapse) == ["Succeeded"]


def test_retry_after_a_failure(synapse, run):
    """What has failed is run again by a retry, and by nothing else."""
    with pytest.raises(SparkBatchJobFailedError, match="LIVY_JOB_FAILED") as caught:
        run(scenario="fails")
    assert not isinstance(caught.value, AirflowFailException)
    assert "No YARN application is found with tag" in str(caught.value)
    assert "accepted_results" not in str(caught.value)
    assert run(TaskInstance("run", try_number=2))["id"] == 1
    assert results(synapse) == ["Failed", "Succeeded"]


def test_clearing(synapse, run):
    """A task that was cleared runs a job of its own, and ends what its earlier life had left running."""
    assert run()["id"] == 0
    assert run(TaskInstance("run", try_number=2, max_tries=2))["id"] == 1
    with pytest.raises(WorkerDied):
        run(dying(TaskInstance("run", try_number=3, max_tries=3)), "runs_on", cancel_on_kill=False)
    assert run(TaskInstance("run", try_number=4, max_tries=4))["id"] == 3
    assert results(synapse)[:2] == ["Succeeded", "Succeeded"]
    synapse.assert_nothing_runs()


def test_clearing_of_a_run_that_has_ended(synapse, run):
    """A cleared task ends the job of its lost life also if its whole run was set back, so that it begins anew."""
    with pytest.raises(WorkerDied):
        run(dying(TaskInstance("run")), "runs_on", cancel_on_kill=False)
    synapse.advance(3600)
    later = datetime.now(UTC) + timedelta(hours=1)
    cleared = TaskInstance("run", try_number=2, max_tries=2, run_began=later, run_cleared=1)
    assert run(cleared)["id"] == 1
    assert results(synapse) == ["Cancelled", "Succeeded"]


def test_clearing_reads_no_more_of_the_list_than_the_run(synapse, run):
    """A task of a cleared run looks for what earlier lives have left no further back than when the run was due."""
    for number in range(60):
        synapse.create_batch("etl", "succeeds", age=7_200_000 - 1000 * number)
    cleared = TaskInstance("run", try_number=2, max_tries=2, run_cleared=1)
    assert run(cleared)["id"] == 60
    pages = [request for request in synapse.recorded_requests if request.path.endswith("/batches")]
    assert len([request for request in pages if request.method == "GET"]) <= 4  # once for others, twice for its own


def test_job_of_an_earlier_life_that_is_gone(synapse, run):
    """What is gone right after its cancellation is no error."""
    with pytest.raises(WorkerDied):
        run(dying(TaskInstance("run")), "runs_on", cancel_on_kill=False)
    find, asked = synapse.server.pools.find, []

    def find_once(*args):
        asked.append(args)
        return find(*args) if len(asked) != 2 else None  # the DELETE, then the look at what has become of it

    synapse.server.pools.find = find_once
    assert run(TaskInstance("run", try_number=2, max_tries=2))["id"] == 1


def test_job_that_is_being_cancelled(synapse, run):
    """While the job of an earlier try is being cancelled, no other is created, which might write the same."""
    with pytest.raises(WorkerDied):
        run(dying(TaskInstance("run")), "refuses_to_end", cancel_on_kill=False)
    synapse.cancel_batch("etl", 0)
    find, jobs = synapse.server.pools.find, []

    def find_and_end(*args):
        jobs.append(len(synapse.batches("etl")))
        if len(jobs) == 3:
            synapse.server.pools.find = find
            synapse.finish("etl", 0, state="killed", result="Cancelled")
        return find(*args)

    synapse.server.pools.find = find_and_end
    assert run(TaskInstance("run", try_number=2))["id"] == 1
    assert results(synapse) == ["Cancelled", "Succeeded"]
    assert jobs == [1, 1, 1]


def test_job_that_is_cancelled_and_runs_on(synapse, run, monkeypatch):
    """If the cancelled job of an earlier try does not end, the task fails, and no second one is created."""
    monkeypatch.setattr(creation, "_END_TIMEOUT", 0.1)
    with pytest.raises(WorkerDied):
        run(dying(TaskInstance("run")), "refuses_to_end", cancel_on_kill=False)
    synapse.cancel_batch("etl", 0)
    with pytest.raises(SynapseLivyError, match=r"was cancelled and has not ended, so no other is created"):
        run(TaskInstance("run", try_number=2))
    assert len(synapse.batches("etl")) == 1


def test_job_of_another_airflow(synapse, run, monkeypatch):
    """Two Airflows with the same DAG may share a pool: neither takes up, nor cancels, what the other has created."""
    with pytest.raises(WorkerDied):
        run(dying(TaskInstance("run")), "runs_on", cancel_on_kill=False)
    monkeypatch.setenv(f"AIRFLOW__{'API' if AIRFLOW_VERSION >= (3, 0) else 'WEBSERVER'}__BASE_URL", "https://other")
    for task_instance in (TaskInstance("run", try_number=2), TaskInstance("run", try_number=3, max_tries=3)):
        assert run(task_instance)["result"] == "Succeeded"
    assert results(synapse) == ["Uncertain", "Succeeded", "Succeeded"]


@pytest.mark.parametrize(("cancel_on_kill", "result"), [(True, "Cancelled"), (False, "Uncertain")])
def test_execution_timeout_of_a_deferred_task(synapse, cancel_on_kill, result):
    """A deferral that execution_timeout ends is treated as on a worker: the job lives on if the task is told so."""
    task_instance = TaskInstance("run")
    options = {"deferrable": True, "cancel_on_kill": cancel_on_kill, "execution_timeout": timedelta(seconds=5)}
    with pytest.raises(TaskDeferred):
        operator("runs_on", **options).execute(context_of(task_instance))
    timeout = {"error": "Trigger timeout", "traceback": None}
    with pytest.raises(SparkBatchJobFailedError, match="the task's execution_timeout of 5 s"):
        operator("runs_on", **options).resume_execution("__fail__", timeout, context_of(task_instance))
    assert results(synapse) == [result]


FAILURES = {
    "failure": ({}, "fails", "Spark batch job 0 in pool etl failed."),
    "capacity": ({}, "capacity_exceeded", "Fix: ask for fewer executors"),
    "cancellation in the queue": ({}, "cancelled_while_queued", "was cancelled"),
    "cancellation": ({}, "cancelled_while_running", "was cancelled"),
    "timeout": ({"timeout": 0.2}, "runs_on", "had not ended within the task's timeout of 0.2 s"),
}


@pytest.mark.parametrize(("options", "scenario", "words"), FAILURES.values(), ids=FAILURES)
def test_failure_leaves_nothing(synapse, run, options, scenario, words):
    """A job that fails, or takes too long, fails the task with the cause in words, and does not run on."""
    task_instance = TaskInstance("run")
    with pytest.raises(SparkBatchJobFailedError, match=words):
        run(task_instance, scenario, **options)
    assert task_instance.xcoms["batch_id"] == task_instance.xcoms["return_value"]["id"] == 0
    synapse.assert_nothing_runs()


def test_job_that_is_never_closed(synapse, deferrable, monkeypatch):
    """What Livy calls a success is none until Synapse says so, and is not run again either."""
    monkeypatch.setattr(creation.Creation, "cancel", None)  # nothing is cancelled, nor waited for, that has ended
    for try_number in (1, 2):
        with pytest.raises(SparkBatchJobFailedError, match="ended without a known result") as caught:
            run_task(
                lambda: operator("never_closed", deferrable=deferrable, kind=HastyOperator),
                TaskInstance("run", try_number=try_number),
            )
        assert "it may have succeeded" in str(caught.value)
        assert not hasattr(caught.value, "__notes__")
    assert results(synapse) == ["Uncertain"]


def test_job_that_nobody_waits_for(synapse, run):
    """Without wait_for_completion the task hands on a job that is just being started."""
    job = run(scenario="runs_on", wait_for_completion=False)
    assert (job["id"], job["state"]) == (0, "not_started")
    assert results(synapse) == ["Uncertain"]


@pytest.mark.parametrize("options", [{"file": None}, {"driver_memory": "28"}, {"args": {"a": 1}}, {"timeout": "soon"}])
def test_wrong_option(synapse, run, options):
    """A wrong option is named before anything is sent."""
    with pytest.raises(SynapseLivyConfigurationError, match=f"^{next(iter(options))}"):
        run(**options)
    assert synapse.recorded_requests == []


def test_task_that_is_killed(synapse):
    """A task that is killed while it waits cancels its job, id 0 as well."""
    task = operator("runs_on")
    kill = threading.Thread(target=task.on_kill)
    find = synapse.server.pools.find

    def find_and_kill(*args):
        if kill.ident is None:  # at the first poll
            kill.start()
        return find(*args)

    synapse.server.pools.find = find_and_kill
    with pytest.raises(AirflowException, match="The task was killed, so Spark batch job 0 is cancelled"):
        task.execute(context_of(TaskInstance("run")))
    kill.join()
    synapse.assert_nothing_runs()


#: What has become of a deferred task, what its job does, and what becomes of that when the trigger is killed.
STANDINGS = {
    "marked failed": (TaskStanding("failed", 0), "runs_on", "cancelling"),
    "cleared": (TaskStanding("None", 0), "runs_on", "cancelling"),
    "with another triggerer": (TaskStanding("deferred", 0), "runs_on", "Uncertain"),
    "resumed": (TaskStanding("running", 0), "succeeds", "Succeeded"),
}


@pytest.mark.parametrize(("standing", "scenario", "result"), STANDINGS.values(), ids=STANDINGS)
def test_trigger_that_is_killed(synapse, monkeypatch, standing, scenario, result):
    """The trigger of a task that a user has ended cancels its job, and leaves it alone if the task goes on."""

    async def standing_of(task_instance, key):
        assert key == "batch_id"
        return standing

    with pytest.raises(TaskDeferred) as caught:
        operator("runs_on", deferrable=True).execute(context_of(TaskInstance("run")))
    monkeypatch.setattr(base, "standing_of", standing_of)
    job = synapse.server.pools.find("etl", 0)
    job.scenario = BATCH_SCENARIOS[scenario]
    while scenario == "succeeds" and synapse.batches("etl")[0]["result"] == "Uncertain":
        asyncio.run(asyncio.sleep(0.02))
    asyncio.run(made_again(caught.value).on_kill())
    assert results(synapse)[0].replace("Cancelled", "cancelling") == result


def test_task_that_goes_on_without_its_xcom(synapse):
    """If the id that was noted is lost, a task that goes on after a deferral finds the job that has succeeded."""
    task_instance = TaskInstance("run")
    context = context_of(task_instance)
    with pytest.raises(TaskDeferred) as caught:
        operator(deferrable=True).execute(context)
    event = asyncio.run(event_of(made_again(caught.value)))
    task_instance.xcoms.clear()
    assert operator(deferrable=True).resume_execution("execute_complete", {"event": event}, context)["id"] == 0


def test_failure_of_a_task_that_goes_on_without_its_xcom(synapse):
    """If the id that was noted is lost, a task that goes on after a deferral still tells why its job has failed."""
    task_instance = TaskInstance("run")
    context = context_of(task_instance)
    with pytest.raises(TaskDeferred) as caught:
        operator("fails", deferrable=True).execute(context)
    event = asyncio.run(event_of(made_again(caught.value)))
    task_instance.xcoms.clear()
    with pytest.raises(SparkBatchJobFailedError, match="LIVY_JOB_FAILED"):
        operator("fails", deferrable=True).resume_execution("execute_complete", {"event": event}, context)


def test_all_but_flags_are_templated():
    """Every parameter is templated but those that are flags, and all are those that are promised."""
    flags = {
        "wait_for_completion", "deferrable", "cancel_on_kill",
        "openlineage_inject_parent_job_info", "openlineage_inject_transport_info",
    }  # fmt: skip
    names = {
        name for one in SynapseRunSparkBatchOperator.__mro__[:5] for name in inspect.signature(one.__init__).parameters
    }
    assert set(SynapseRunSparkBatchOperator.template_fields) == names - flags - {
        "self",
        "args",
        "kwargs",
        "task_id",
    } | {"args"}


def sensor(mode, **options):
    """Return the sensor, in a mode or deferrable."""
    where = {"deferrable": True} if mode == "deferrable" else {"mode": mode}
    return SynapseSparkBatchSensor(task_id="wait", poke_interval=0.05, timeout=30, **where, **options)


@pytest.mark.parametrize("mode", ["poke", "deferrable"])
def test_sensor(synapse, mode):
    """The sensor waits for an accepted result, fails for good with any other, and cancels nothing."""
    ids = [synapse.create_batch("etl", name) for name in ("succeeds", "fails", "runs_on")]
    wait = lambda number, **options: run_task(lambda: sensor(mode, batch_id=number, **options), TaskInstance("wait"))  # noqa: E731
    assert wait(ids[0])["result"] == "Succeeded"
    assert wait({"id": ids[1]}, accepted_results={"Failed"})["result"] == "Failed"
    with pytest.raises(SparkBatchJobEndedError, match="add 'Failed' to accepted_results"):
        wait(str(ids[1]))
    with pytest.raises(SparkBatchJobTimeoutError):
        SynapseSparkBatchSensor(task_id="wait", batch_id=ids[2], poke_interval=0.05, timeout=0.1).execute(
            context_of(TaskInstance("wait"))
        )
    assert results(synapse) == ["Succeeded", "Failed", "Uncertain"]


def test_sensor_that_leaves_its_worker(synapse):
    """In reschedule mode a job that runs frees the worker; to start in the triggerer, the sensor names its trigger."""
    synapse.create_batch("etl", "runs_on")
    with pytest.raises(AirflowRescheduleException):
        sensor("reschedule", batch_id=0).execute(context_of(TaskInstance("wait")))
    if not STARTS_FROM_TRIGGER:
        return
    starts = SynapseSparkBatchSensor(task_id="wait", batch_id="{{ params.id }}", start_from_trigger=True)
    trigger = starts.start_trigger_args
    assert trigger.trigger_cls.endswith(".triggers.spark_batch.SynapseSparkBatchTrigger")
    assert SynapseSparkBatchTrigger(**trigger.trigger_kwargs).batch_id == "{{ params.id }}"


@pytest.mark.parametrize("mode", ["poke", "deferrable"])
def test_ids_that_are_mixed_up(synapse, mode):
    """A batch job's id given to a session's sensor is told as such, and the other way round."""
    session, batch = synapse.create_session("etl", age=100), synapse.create_batch("etl", "runs_on", age=100)
    where = {"deferrable": True} if mode == "deferrable" else {"mode": mode}
    with pytest.raises(SparkSessionNotFoundError) as mixed:
        run_task(
            lambda: SynapseSparkSessionSensor(task_id="wait", session_id=batch, poke_interval=0.05, **where),
            TaskInstance("wait"),
        )
    assert str(mixed.value).startswith("Spark session 1: there is none, 1 is the id of a Spark batch job.\n")
    assert "Spark batch job 1 in pool etl is running." in str(mixed.value)
    with pytest.raises(SparkBatchJobNotFoundError, match="0 is the id of a Spark session"):
        run_task(lambda: sensor(mode, batch_id=session), TaskInstance("wait"))
    with pytest.raises(
        SparkBatchJobNotFoundError, match=r"pool etl: Synapse answered 404.*\nFix: .*Sessions have other"
    ):
        run_task(lambda: sensor(mode, batch_id=7), TaskInstance("wait"))


def test_cancellation_of_the_other_kind(synapse):
    """To cancel a session by the id of a batch job is an error that says so, and nothing is cancelled."""
    synapse.create_batch("etl", "runs_on")
    for given in (0, synapse.batches("etl")[0]):
        with pytest.raises(SparkSessionNotFoundError, match=r"0 is the id of a Spark batch job\."):
            SynapseCancelSparkSessionOperator(task_id="cancel", session_id=given).execute({})
    assert results(synapse) == ["Uncertain"]


def test_cancellation_after_the_pool_was_made_anew(synapse):
    """A session whose id is a batch job's by now is gone, which is a success: its dict tells that it is another one."""
    synapse.create_session("etl", age=100)
    (session,) = synapse.sessions("etl")
    synapse.recreate_pool("etl")
    synapse.create_batch("etl", "runs_on")
    assert SynapseCancelSparkSessionOperator(task_id="cancel", session_id=session).execute({}) is None
    assert results(synapse) == ["Uncertain"]


def cancel(batch_id, deferrable, **options):
    """Cancel a job."""
    return run_task(
        lambda: SynapseCancelSparkBatchOperator(
            task_id="cancel", batch_id=batch_id, deferrable=deferrable, poll_interval=0.05, **options
        ),
        TaskInstance("cancel"),
    )


def test_cancellation(synapse, deferrable):
    """A job is cancelled until it has ended, and only that one; what has ended, or is gone, is a success."""
    synapse.create_batch("etl", "runs_on", age=50)
    synapse.create_batch("etl", "runs_on", age=50)
    assert (cancel(1, deferrable)["state"], results(synapse)) == ("killed", ["Uncertain", "Cancelled"])
    assert cancel(synapse.batches("etl")[1], deferrable)["result"] == "Cancelled"
    assert cancel(None, deferrable) is cancel(" None\n", deferrable) is cancel(7, deferrable) is None
    assert sum(request.method == "DELETE" for request in synapse.recorded_requests) == 1


@pytest.mark.parametrize("event_says", ["failure", "success"])
def test_cancelled_job_without_a_result(synapse, event_says):
    """A deferred cancellation is done, as on a worker, when the job has ended, though its result never comes."""
    synapse.create_batch("etl", "refuses_to_end", age=50)
    task_instance = TaskInstance("cancel")
    context = context_of(task_instance)
    make = partial(SynapseCancelSparkBatchOperator, task_id="cancel", batch_id=0, deferrable=True, poll_interval=0.05)
    with pytest.raises(TaskDeferred):
        make().execute(context)
    record = synapse.batches("etl")[0] | {"state": "killed", "result": "Uncertain"}
    event = {"resource": "Spark batch job", "verdict": event_says, "record": record, "activity_id": None, "links": {}}
    assert make().resume_execution("execute_complete", {"event": event}, context)["state"] == "killed"


def test_job_that_does_not_end(synapse, deferrable):
    """When the job does not end, the error says that it may still cost money."""
    synapse.create_batch("etl", "refuses_to_end", age=50)
    with pytest.raises(SparkBatchJobCancellationError, match=r"(?s)had not ended.*Fix: .*it may still cost money"):
        cancel(0, deferrable, timeout=0.2)


def test_reading(synapse):
    """The operator pushes a job to XCom, in whatever state it is, and the hook lists, creates and cancels them."""
    synapse.create_session("etl")
    synapse.create_batch("etl", "runs_on", age=50)
    hook = SynapseLivyHook()
    made = hook.create_spark_batch_job(SparkBatchJobOptions.validated(name="n", file=FILE, **SIZES))
    assert [job.id for job in hook.get_spark_batch_jobs()] == [made.id, 1] == [2, 1]
    assert [job.id for job in hook.get_spark_batch_jobs(states={"running"})] == [1]
    assert [session.id for session in hook.get_spark_sessions()] == [0]
    hook.cancel_spark_batch_job(made.id)
    assert hook.get_spark_batch_job("2").is_cancelling or hook.get_spark_batch_job(2).is_finished
    assert hook.get_spark_batch_job(1, detailed=False).result is None
    assert SynapseGetSparkBatchOperator(task_id="get", batch_id=1).execute({})["state"] == "running"


#: The fields of a batch job's record, and of Livy's part of it, as the live service sent them in 2021.
RECORD = {
    "livyInfo", "name", "workspaceName", "computeName", "sparkPoolName", "submitterId", "artifactId", "jobType",
    "result", "schedulerInfo", "pluginInfo", "tags", "id", "appId", "appInfo", "state", "log",
}  # fmt: skip
LIVY = {"notStartedAt", "startingAt", "runningAt", "deadAt", "successAt", "killedAt", "recoveringAt"}


def call(synapse, method, path, **body):
    """Send a request to the local Synapse, and return its response."""
    url = f"{synapse.url}/livyApi/versions/2020-12-01/sparkPools/etl/{path}"
    headers = {"Authorization": f"Bearer {STATIC_TOKEN}"}
    return requests.request(method, url, json=body or None, headers=headers, timeout=10)


def test_emulated_records(synapse):
    """The local Synapse answers with the fields, the order of ids, and the times of the recordings."""
    assert call(synapse, "POST", "batches", name="n").json()["Message"].endswith("The field 'file' is required.")
    plain = call(synapse, "POST", "batches", name="n", file=FILE)
    assert plain.json() == {"id": 0, "appId": None, "appInfo": None, "state": "not_started", "log": None}
    assert plain.headers["x-ms-job-type"] == "SparkServiceBatch"
    assert call(synapse, "POST", "sessions", name="n").json()["id"] == 1
    synapse.create_batch("etl", "fails", age=1000)
    synapse.create_batch("etl", "succeeds", age=1000)
    failed, succeeded = (call(synapse, "GET", f"batches/{number}?detailed=true").json() for number in (2, 3))
    assert set(succeeded) == RECORD
    assert set(succeeded["livyInfo"]) == LIVY | {"currentState", "jobCreationRequest"}
    assert (failed["state"], failed["result"], set(failed)) == ("dead", "Failed", RECORD | {"errorInfo"})
    assert failed["log"][-1].startswith("No YARN application is found")
    job = SparkBatchJob.from_dict(succeeded)
    assert job.durations()["running"] / 0.002 == pytest.approx(timedelta(seconds=24.2), rel=0.05)
    listed = call(synapse, "GET", "batches").json()
    assert [item["id"] for item in listed["sessions"]] == [3, 2, 0]
    assert (call(synapse, "GET", "sessions/3").status_code, call(synapse, "GET", "batches/1").status_code) == (404, 404)
    assert cancelled_states(synapse) == ["running", "killed"]
    for pool, number in (("etl", 1), ("adhoc", 0)):
        with pytest.raises(LookupError, match=f"Batch job {number} in pool {pool}: there is no such batch job"):
            synapse.cancel_batch(pool, number)
    with pytest.raises(ValueError, match="Scenario 'becomes_idle': there is no such scenario"):
        synapse.create_batch("etl", "becomes_idle")


def cancelled_states(synapse):
    """Return the states of a job that is cancelled while it runs, second by second."""
    number = synapse.create_batch("other", "runs_on", age=50)
    synapse.cancel_batch("other", number)
    job = synapse.server.pools.find("other", number)
    records = (job.record(job.cancelled_at + seconds * job.time_scale) for seconds in range(60))
    return list(dict.fromkeys(record["state"] for record in records))


def test_secret_settings_stay_with_the_service(synapse, run):
    """Settings that look like secrets reach the service, and no XCom."""
    task_instance = TaskInstance("run")
    run(task_instance, conf={"spark.my.password": "hunter2222"})
    (job,) = synapse.batches("etl")
    assert job["livyInfo"]["jobCreationRequest"]["conf"] == {"spark.my.password": "hunter2222"}
    assert job["tags"][KEY_TAG] in job["name"]
    assert "hunter2222" not in str(task_instance.xcoms)
