"""Tasks that run within a test, through a deferral, without scheduler, triggerer and database."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace

import pytest

from airflow_provider_synapse_livy.airflow_compat.sdk import AirflowSkipException, BaseOperator
from airflow_provider_synapse_livy.exceptions import SparkSessionFailedError
from airflow_provider_synapse_livy.operators.spark_session import (
    SynapseCancelSparkSessionOperator,
    SynapseCreateSparkSessionOperator,
)
from airflow_provider_synapse_livy.sensors.spark_session import SynapseSparkSessionSensor
from airflow_provider_synapse_livy.testing import FakeTaskInstance, run_task, short_intervals
from tests.support.project import PROJECT

SIZES = {"driver_memory": "4g", "driver_cores": 4, "executor_memory": "4g", "executor_cores": 4, "num_executors": 1}

#: What a test without a DAG uses: no database is made.
pytestmark = pytest.mark.synapse_livy(database=False, time_scale=1)


def sensor(**options):
    """Return a sensor that waits in the triggerer until a session is idle."""
    options = {"target_states": {"idle"}, "deferrable": True} | options
    return SynapseSparkSessionSensor(task_id="wait", session_id=0, **options)


def test_deferred_sensor(synapse_livy_emulator):
    """A sensor defers, and ends as soon as the time that the test puts forward lets the session be idle."""
    synapse_livy_emulator.create_session("sparkpool")
    deferred = []
    ti = FakeTaskInstance()
    returned = run_task(
        sensor(),
        while_deferred=lambda: deferred.append(synapse_livy_emulator.advance(60)),
        task_instance=ti,
    )
    assert (len(deferred), returned["state"]) == (1, "idle")
    assert synapse_livy_emulator.requests("sparkpool", 0)


def test_sensor_that_need_not_defer(synapse_livy_emulator):
    """A sensor whose session is ready does not defer."""
    synapse_livy_emulator.create_session("sparkpool", age=60)
    run_task(sensor(), while_deferred=lambda: pytest.fail("it deferred"))


def test_sensor_that_fails(synapse_livy_emulator):
    """What a task raises after its deferral is raised, as a worker would see it."""
    synapse_livy_emulator.create_session("sparkpool", age=60)
    with pytest.raises(SparkSessionFailedError, match="LIVY_JOB_STATE_DEAD"):
        run_task(sensor(target_states=None), while_deferred=lambda: synapse_livy_emulator.finish("sparkpool", 0))


def test_sensor_that_is_skipped(synapse_livy_emulator):
    """A sensor with ``soft_fail`` raises what skips its task."""
    synapse_livy_emulator.create_session("sparkpool", age=60)
    with pytest.raises(AirflowSkipException):
        run_task(
            sensor(target_states=None, soft_fail=True),
            while_deferred=lambda: synapse_livy_emulator.finish("sparkpool", 0, state="killed"),
        )


def test_deferred_operators(synapse_livy_emulator):
    """An operator creates a session and defers until it is ready; its XComs are at hand; another one cancels it."""
    ti = FakeTaskInstance("create")
    create = SynapseCreateSparkSessionOperator(task_id="create", deferrable=True, **SIZES)
    created = run_task(create, while_deferred=lambda: synapse_livy_emulator.advance(60), task_instance=ti)
    assert (created["state"], ti.xcoms["session_id"]) == ("idle", created["id"])
    cancel = SynapseCancelSparkSessionOperator(task_id="cancel", session_id=created, deferrable=True)
    run_task(cancel, while_deferred=lambda: synapse_livy_emulator.advance(60))
    assert synapse_livy_emulator.sessions()[0]["result"] == "Cancelled"
    synapse_livy_emulator.assert_nothing_runs()


def test_deferral_that_does_not_end(synapse_livy_emulator):
    """A trigger that does not end in time raises a TimeoutError that says what to do."""
    synapse_livy_emulator.create_session("sparkpool")
    with pytest.raises(TimeoutError, match="Task wait: still deferred after 0.2 s.\nFix: let the session get on"):
        run_task(sensor(), timeout=0.2)


class Other(BaseOperator):
    """An operator that is not of this package, and polls."""

    poll_interval = 60

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.poll_interval = 60


def test_short_intervals():
    """Tasks of this package poll often for a while, also mapped ones; other tasks are left alone."""
    mapped = SynapseSparkSessionSensor.partial(task_id="mapped", poke_interval=60).expand(session_id=[1, 2])
    tasks = [sensor(), mapped, Other(task_id="other")]
    operator = SynapseCancelSparkSessionOperator(task_id="cancel", session_id=1)

    def intervals():
        return [
            tasks[0].poke_interval,
            mapped.partial_kwargs["poke_interval"],
            tasks[2].poll_interval,
            operator.poll_interval,
        ]

    before = intervals()
    with short_intervals([*tasks, operator], 0.5):
        assert intervals() == [0.5, 0.5, 60, 0.5]
    assert intervals() == before


def fake_dag():
    """Return what looks like a DAG with one task."""
    return SimpleNamespace(task_dict={"wait": sensor()})


class Proxy:
    """Knows nothing of itself outside of a request, as some libraries' objects."""

    def __getattr__(self, name):
        raise RuntimeError("outside of a request")


dag, dags, by_name, task, proxy = fake_dag(), [fake_dag()], {"mine": fake_dag()}, sensor(), Proxy()
module = ModuleType("mine")
module.__file__, module.inner = str(PROJECT / "dags" / "mine.py"), ModuleType("inner")
module.inner.__file__, module.inner.dags, module.inner.outer = module.__file__, (fake_dag(),), module
foreign = ModuleType("foreign")
foreign.__file__, foreign.dag = str(PROJECT / ".venv" / "site-packages" / "foreign.py"), fake_dag()


def test_tasks_of_the_test_file(synapse_livy_emulator):
    """While the fixture is used, the tasks poll often that a test file names, with their DAGs, lists and modules."""
    found = [dag, *dags, *by_name.values(), *module.inner.dags]
    assert [one.task_dict["wait"].poke_interval for one in found] == [0.1] * 4
    assert task.poke_interval == 0.1
    assert foreign.dag.task_dict["wait"].poke_interval == 10


@pytest.mark.synapse_livy(poll_interval=None)
def test_tasks_that_are_left_alone(synapse_livy_emulator):
    """With the option ``poll_interval=None``, tasks keep their intervals."""
    assert dag.task_dict["wait"].poke_interval == 10
