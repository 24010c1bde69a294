"""A wait ends the same way in every mode, in a real Airflow: scheduler, triggerer and workers."""

from __future__ import annotations

import json
import re

import pytest

from tests.airflow.outcomes import ENDINGS, FOUND_AFTER, MODES, REACTIONS
from tests.airflow.services import VERSION

STARTS = VERSION >= (3, 3)

CELLS = [(ending, reaction) for ending in ENDINGS for reaction in REACTIONS]


@pytest.fixture(scope="session")
def tasks(airflow):
    """Return the state and the number of tries of each task."""
    return airflow.tasks()


@pytest.fixture(scope="session")
def xcoms(airflow):
    """Return the XComs of each task, as they stand in the database."""
    return airflow.xcoms()


@pytest.fixture(scope="session")
def error(airflow):
    """Return a function that reads what a task ended with, without what differs between two waits."""

    def read(dag, task):
        kind, words = airflow.error(dag, task)
        return kind, re.sub(r"127\.0\.0\.1:\d+", "host", words.replace(f".{dag.removeprefix('waits_')}", ""))

    return read


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("ending", "reaction"), CELLS)
def test_state_and_tries(tasks, ending, reaction, mode):
    """The task ends in the promised state, after the promised number of tries."""
    assert tasks[f"waits_{mode}", f"{ending}.{reaction}", -1] == ENDINGS[ending].expected(reaction)


@pytest.mark.parametrize(("ending", "reaction"), CELLS)
def test_words(error, ending, reaction):
    """The error says the same in every mode, and what it should."""
    (kind, words), *others = [error(f"waits_{mode}", f"{ending}.{reaction}") for mode in MODES]
    assert others == [(kind, words)] * 3
    skipped = ENDINGS[ending].expected(reaction).startswith("skipped")
    assert kind == ("AirflowSkipException" if skipped else ENDINGS[ending].error)
    assert ENDINGS[ending].words in words


@pytest.mark.parametrize(("ending", "reaction"), CELLS)
def test_xcom(xcoms, ending, reaction):
    """What a task leaves is the same in every mode, byte for byte; also if it fails."""
    left, *others = [xcoms.get((f"waits_{mode}", f"{ending}.{reaction}", -1), {}) for mode in MODES]
    assert others == [left] * 3
    error = ENDINGS[ending].error
    seen = error is None or error.endswith(("FailedError", "EndedError", "TimeoutError"))
    assert ("return_value" in left) is seen
    app_info = (json.loads(left["return_value"])["appInfo"] if seen else None) or {}
    links = {"Spark UI": app_info.get("sparkUiUrl"), "Driver log": app_info.get("driverLogUrl")}
    assert json.loads(left["spark_session_links"]) == {name: url for name, url in links.items() if url}
    if VERSION >= (3, 0):  # whose UI shows what each link has left
        assert [
            json.loads(left[f"_link_{kind}"]) for kind in ("SparkUiLink", "DriverLogLink", "SynapseStudioLink")
        ] == [
            *(url or "" for url in links.values()),
            "",
        ]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("ending", "reaction"), CELLS)
def test_place(synapse, ending, reaction, mode):
    """Each mode waits where it says: what is deferred leaves the worker, what starts in the triggerer needs none."""
    askers = {"poke": {"worker"}, "reschedule": {"worker"}, "deferrable": {"worker", "triggerer"}}
    retried = not ENDINGS[ending].expected(reaction).endswith("/1")
    started = {"triggerer"} if STARTS and not retried else askers["deferrable"]
    assert synapse.askers[f"{ending}.{reaction}.{mode}"] == askers.get(mode, started)


@pytest.mark.parametrize("mode", MODES)
def test_timeout_goes_on_through_retries(airflow, synapse, tasks, error, mode):
    """A retry has what the first try has left of the timeout: the wait that ends is as long as there were looks."""
    assert tasks[f"waits_{mode}", "lost_and_found", -1].startswith("failed/")
    assert error(f"waits_{mode}", "lost_and_found")[0] == "SparkSessionTimeoutError"
    hours, minutes, seconds = re.findall(
        r"Waited (?:(\d+) h ?)?(?:(\d+) min ?)?(?:([\d.]+) s)?",
        airflow.log(f"waits_{mode}", "lost_and_found"),
    )[-1]
    waited = 3600 * int(hours or 0) + 60 * int(minutes or 0) + float(seconds or 0)
    may_begin_anew = (3, 0) <= VERSION < (3, 3)  # where a task has no memory
    assert synapse.last_look[f"lost_and_found.{mode}"] - waited < FOUND_AFTER / 2 or may_begin_anew


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("ending", [name for name in ENDINGS if ENDINGS[name].error is None])
def test_log(airflow, ending, mode):
    """Each change of what is waited for is told in the log, in every mode, and at the end where the time went."""
    log = airflow.log(f"waits_{mode}", f"{ending}.plain")
    subject = f"Spark {'batch job' if ENDINGS[ending].is_batch else 'session'} 12 in pool etl"
    assert f"{subject}: queued" in log
    # Airflow 3 sometimes loses the last lines of a trigger's log, its own among them.
    cut_off = mode in ("deferrable", "start_from_trigger") and VERSION >= (3, 0) and "Trigger fired event" not in log
    assert cut_off or re.search(subject + r" is .+\. Waited .+\(queued 16 s", log)


#: Where a task looks at its session: at the end, one that is to end in the triggerer needs no worker.
PLACES = {
    "param": {"triggerer"},
    "macro": {"triggerer"},
    "pulled_by_map_index": {"triggerer"},
    "pulled": {"worker", "triggerer"},
    "xcom_arg": {"worker", "triggerer"},
    "mapped": {"worker", "triggerer"},
    "ended": {"triggerer"},
    "ended_badly": {"triggerer"},
}


@pytest.mark.parametrize(("name", "places"), PLACES.items())
def test_start_from_trigger(synapse, tasks, name, places):
    """Where the triggerer can render the id, the task starts there; elsewhere it falls back to a worker."""
    indexes = (0, 1) if name == "mapped" else (-1,)
    assert {tasks["starts", name, index] for index in indexes} == {"failed/1" if name == "ended_badly" else "success/1"}
    ending = "failed" if name == "ended_badly" else "idle_reached"
    assert synapse.askers[f"{ending}.{name}.starts"] == (places if STARTS else {"worker", "triggerer"})


@pytest.mark.parametrize("name", [name for name, places in PLACES.items() if "worker" in places or not STARTS])
def test_fallback_is_told_once(airflow, name):
    """A task that was to start in the triggerer and did not says why, in one line."""
    logs = airflow.log("starts", name).count("start_from_trigger: the task starts on a worker")
    assert logs == (2 if name == "mapped" else 1)


def test_cleared_task_leaves_nothing_of_its_first_life(synapse, tasks, xcoms):
    """What a task has returned before it was cleared is gone, though it fails the second time."""
    assert tasks["starts", "cleared", -1] == "failed/2"
    assert "return_value" not in xcoms["starts", "cleared", -1]
    assert "worker" in synapse.askers["idle_then_gone.starts"]


@pytest.mark.skipif(not STARTS, reason="no task ends in the triggerer before Airflow 3.3")
def test_end_from_trigger_needs_no_worker(airflow, xcoms):
    """A task that starts and ends well in the triggerer takes no worker's slot, and leaves the same XComs."""
    workers = dict(airflow.rows("SELECT task_id, pid FROM task_instance WHERE dag_id = 'starts'"))
    assert workers["ended"] is None
    assert workers["ended_badly"] is not None
    assert xcoms["starts", "ended", -1] == xcoms["waits_poke", "idle_reached.plain", -1]
