"""What a task learns from its earlier runs, for every order of retries, clearings and reschedules."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from types import ModuleType, SimpleNamespace

import pytest

from airflow_provider_synapse_livy.airflow_compat import task_state

BEGINNING = datetime(2025, 3, 1, tzinfo=UTC)


class Task:
    """
    A task as Airflow counts and keeps it. A run begins each minute, and ends in what happens to the task.

    :param retries: the task's own option.
    :param happenings: what ended each run before the present one: reschedule, retry or clear.
    """

    def __init__(self, retries, happenings=()):
        self.task = SimpleNamespace(retries=retries)
        self.dag_id, self.task_id, self.run_id, self.map_index = "dag", "wait", "run", -1
        self.try_number, self.max_tries = 1, retries or 0
        self.start_date = BEGINNING
        self.reschedules = []
        self.ended_tries = {}
        for happening in happenings:
            getattr(self, happening)()
            self.start_date += timedelta(minutes=1)

    def reschedule(self):
        """Go on with the same try."""
        self.reschedules.append((self.try_number, self.start_date))

    def retry(self):
        """Begin the next try of this life; what is kept of the last one is the start of its last run."""
        self.ended_tries[self.try_number] = self.start_date
        self.try_number += 1

    def clear(self):
        """Begin the next life."""
        self.max_tries = self.try_number + (self.task.retries or 0)
        self.retry()


class TaskOfAirflow3(Task):
    """A task instance that knows of its reschedules, as in Airflow 3."""

    def get_first_reschedule_date(self, context):
        """Return when the first run of this try began, if it was rescheduled."""
        return next((start for number, start in self.reschedules if number == self.try_number), None)


class Store:
    """Airflow 3.3's store of one task, which outlives its lives."""

    def __init__(self):
        self.values = {}

    def get(self, key):
        """Return a value."""
        return self.values.get(key)

    def set(self, key, value):
        """Keep a JSON value."""
        self.values[key] = json.loads(json.dumps(value))


class BrokenStore:
    """A store that is out of order."""

    def get(self, key):
        """Fail."""
        raise RuntimeError("no store")

    set = get


def minute(number):
    """Return the start of a run, counted from 0."""
    return None if number is None else (BEGINNING + timedelta(minutes=number)).timestamp()


#: retries, what happened before this run; the number of the first try of this life, the run that this life began
#: with as Airflow 2's database has it, and as Airflow 3 before 3.3 has it: None if it is this run, or unknown.
LIVES = [
    (0, "", 1, None, None),
    (None, "", 1, None, None),
    (2, "", 1, None, None),
    (0, "reschedule", 1, 0, 0),
    (2, "reschedule reschedule", 1, 0, 0),
    (2, "retry", 1, 0, None),
    (2, "retry retry", 1, 0, None),
    (2, "reschedule retry", 1, 0, None),
    (2, "reschedule reschedule retry reschedule", 1, 0, 3),
    (2, "retry reschedule", 1, 0, 1),
    (2, "retry retry reschedule reschedule", 1, 0, 2),
    (0, "clear", 2, None, None),
    (2, "clear", 2, None, None),
    (2, "reschedule clear", 2, None, None),
    (2, "retry clear", 3, None, None),
    (2, "retry retry clear", 4, None, None),
    (2, "clear clear", 3, None, None),
    (0, "clear reschedule", 2, 1, 1),
    (0, "reschedule clear reschedule", 2, 2, 2),
    (2, "clear retry", 2, 1, None),
    (2, "reschedule retry clear reschedule retry", 3, 3, None),
    (2, "retry clear retry reschedule", 3, 2, 3),
    (2, "retry clear clear reschedule retry retry reschedule", 4, 3, 6),
]
columns = pytest.mark.parametrize(("retries", "happenings", "first_try", "in_database", "on_worker"), LIVES)


@columns
def test_first_try_of_a_life(retries, happenings, first_try, in_database, on_worker):
    """Each clearing begins a new life, and neither a retry nor a reschedule does."""
    assert task_state._first_try(Task(retries, happenings.split())) == first_try


@columns
def test_start_of_a_life_on_airflow_3(retries, happenings, first_try, in_database, on_worker):
    """Airflow 3 knows when a try began that was rescheduled, and nothing of the tries before."""
    task = TaskOfAirflow3(retries, happenings.split())
    assert task_state.first_started_at({"ti": task}) == minute(on_worker)


@columns
def test_start_of_a_life_on_airflow_2(database, retries, happenings, first_try, in_database, on_worker):
    """Airflow 2 knows of all runs, so the first one of this life is found, whatever happened since."""
    task = database(Task(retries, happenings.split()))
    assert task_state.first_started_at({"ti": task}) == minute(in_database)


@pytest.fixture
def database(monkeypatch):
    """Return a function that puts a task into the place of Airflow 2's metadata database."""

    class Query:
        def __init__(self, task):
            self.task = task

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def query(self, column):
            assert column == "the column start_date"
            return self

        def filter_by(self, try_number, **key):
            assert key == {"dag_id": "dag", "task_id": "wait", "run_id": "run", "map_index": -1}
            return SimpleNamespace(scalar=lambda: self.task.ended_tries.get(try_number))

    def define(task):
        def first_rescheduled_run(try_number, **_):
            return next((start for number, start in task.reschedules if number >= try_number), None)

        modules = {
            "airflow.models": {},
            "airflow.models.taskinstancehistory": {
                "TaskInstanceHistory": SimpleNamespace(start_date="the column start_date")
            },
            "airflow.sensors": {},
            "airflow.sensors.base": {"_orig_start_date": first_rescheduled_run},
            "airflow.utils.session": {"create_session": lambda: Query(task)},
        }
        for name, attributes in modules.items():
            module = ModuleType(name)
            vars(module).update(attributes)
            monkeypatch.setitem(sys.modules, name, module)
        return task

    return define


STATE = {"started_at": 5.0, "history": [["queued", 5.0], ["idle", 8.0]]}


@pytest.mark.parametrize(
    ("retries", "before", "after", "loaded"),
    [
        (0, "", "", STATE),
        (0, "", "reschedule", STATE),
        (2, "retry", "reschedule reschedule", STATE),
        (2, "", "retry", {"started_at": 5.0}),
        (2, "reschedule", "retry retry reschedule", {"started_at": 5.0}),
        (2, "", "clear", {}),
        (2, "reschedule", "reschedule clear", {}),
        (2, "", "retry clear", {}),
        (2, "clear", "retry", {"started_at": 5.0}),
        (2, "clear", "clear", {}),
    ],
)
def test_saved_state_holds_for_its_life_and_its_try(retries, before, after, loaded):
    """A retry gets only the start of the wait, and a cleared task gets nothing."""
    store = Store()
    saved_by = Task(retries, before.split())
    history = [("queued", 5.0), ("idle", 8.0)]
    task_state.save_wait_state({"ti": saved_by, "task_state_store": store}, started_at=5.0, history=history)
    loaded_by = Task(retries, [*before.split(), *after.split()])
    state = task_state.load_wait_state({"ti": loaded_by, "task_state_store": store})
    assert {name: value for name, value in state.items() if name in STATE} == loaded


@pytest.mark.parametrize("store", [{}, {"task_state_store": None}, {"task_state_store": Store()}])
def test_nothing_saved_is_an_empty_state(store):
    """Before Airflow 3.3, and in a task's first run, the state is empty."""
    assert task_state.load_wait_state({"ti": Task(0)} | store) == {}


def test_state_is_lost_before_airflow_3_3():
    """Saving a state where there is no store is no error."""
    task_state.save_wait_state({"ti": Task(0)}, started_at=5.0, history=[])


@pytest.mark.parametrize("value", ["text", 5, ["a list"], {"first_try": 1}, {"first_try": 1, "try_number": 7}])
def test_foreign_state_is_ignored(value):
    """A value in the store that this package has not written does not fail the task."""
    store = Store()
    store.set("synapse_livy_wait", value)
    assert task_state.load_wait_state({"ti": Task(0), "task_state_store": store}) == {}


def test_broken_store_does_not_fail_the_task():
    """A store that raises costs the state, and nothing else."""
    context = {"ti": Task(0), "task_state_store": BrokenStore()}
    task_state.save_wait_state(context, started_at=5.0, history=[])
    assert task_state.load_wait_state(context) == {}


def test_start_in_the_triggerer_is_saved_for_retries():
    """What starts in the triggerer has its start saved once it comes to a worker, and a retry does not change it."""
    store = Store()
    task_state.save_start({"ti": Task(1), "task_state_store": store})
    retried = {"ti": Task(1, ["retry"]), "task_state_store": store}
    task_state.save_start(retried)
    assert task_state.load_wait_state(retried) == {"started_at": minute(0)}


def test_start_is_not_saved_if_it_is_unknown():
    """A task instance without a start saves nothing."""
    store = Store()
    task = Task(1)
    task.start_date = None
    task_state.save_start({"ti": task, "task_state_store": store})
    assert store.values == {}


def test_try_started_at():
    """A try began when Airflow says so, in seconds since the epoch, if it says so."""
    assert task_state.try_started_at({"ti": Task(0)}) == BEGINNING.timestamp()
    assert task_state.try_started_at({"ti": SimpleNamespace()}) is None


def test_delete_xcom(monkeypatch):
    """The XCom is deleted of this task instance, and of no other."""
    from airflow_provider_synapse_livy.airflow_compat import sdk

    deleted = []
    monkeypatch.setattr(sdk, "XCom", SimpleNamespace(delete=lambda **key: deleted.append(key)))
    task_state.delete_xcom({"ti": Task(0)}, "return_value")
    assert deleted == [
        {"key": "return_value", "dag_id": "dag", "task_id": "wait", "run_id": "run", "map_index": -1},
    ]


def test_xcom_that_can_not_be_deleted_does_not_fail_the_task():
    """What is wrong with XComs, as with this task instance, is logged."""
    task_state.delete_xcom({"ti": SimpleNamespace()}, "return_value")
