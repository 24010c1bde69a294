"""What README and documentation show, run as a user would: DAGs, pieces of code, and the example DAGs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest

from airflow_provider_synapse_livy.emulator import SynapseEmulator
from tests.support import sample_sessions as samples
from tests.support.project import PROJECT
from tests.support.readme import PAGES, blocks, kind, shown, shown_dag, shown_test


def environment(**changes):
    """Return the environment for an Airflow command."""
    return {name: value for name, value in os.environ.items() if name != "AIRFLOW__CORE__DAGS_FOLDER"} | changes


def airflow(*arguments, env):
    """Run an Airflow command."""
    command = [sys.executable, "-m", "airflow", *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=180)


@pytest.mark.wheel
def test_dag_runs(tmp_path, fast_synapse):
    """The README's DAG, as it stands there, runs in Airflow and ends well, and leaves nothing behind."""
    dags = tmp_path / "dags"
    dags.mkdir()
    (dags / "dag.py").write_text(shown_dag())
    env = environment(
        AIRFLOW_HOME=str(tmp_path / "home"),
        AIRFLOW__CORE__DAGS_FOLDER=str(dags),
        AIRFLOW_CONN_SYNAPSE_LIVY_DEFAULT=fast_synapse.airflow_connection("readme"),
    )
    migrated = airflow("db", "migrate", env=env)
    assert migrated.returncode == 0, migrated.stderr
    run = airflow("dags", "test", "spark_session", env=env)
    output = run.stdout + run.stderr
    assert run.returncode == 0, output
    assert "state=success" in output
    assert "Spark session 0 in pool readme: queued 0.2 s → acquiring nodes" in output
    (session,) = fast_synapse.sessions("readme")
    assert (session["state"], session["result"]) == ("killed", "Cancelled")
    shutil.rmtree(tmp_path / "home")


#: Imports DAG files, in one process as Airflow takes long to start.
IMPORT = """
import runpy, sys
for path in sys.argv[1:]:
    runpy.run_path(path)
    print("imported", path)
"""


def test_example_dags_can_be_imported():
    """Every example is a DAG file that can be imported."""
    paths = sorted(map(str, (PROJECT / "example_dags").glob("*.py")))
    run = subprocess.run(
        [sys.executable, "-c", IMPORT, *paths], capture_output=True, text=True, check=False, timeout=60
    )
    assert run.returncode == 0, run.stderr
    assert re.findall(r"^imported (.*)$", run.stdout, re.MULTILINE) == paths


def test_test_of_a_dag_is_short():
    """The test of a DAG that the README shows is short; test_fixture and test_wheel run it."""
    assert len([line for line in shown_test().splitlines() if line]) <= 18


#: Runs DAG files one after the other, with polls as often as a fast local Synapse makes sense of.
RUN = """
import importlib.util, sys

for path in sys.argv[1:]:
    print("begin", path)
    spec = importlib.util.spec_from_file_location("shown", path)
    module = sys.modules["shown"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for task in module.dag.tasks:
        kwargs = getattr(task, "partial_kwargs", None)
        kwargs.update(poll_interval=0.5) if kwargs is not None else setattr(task, "poll_interval", 0.5)
    print("ended as", module.dag.test().state, flush=True)
"""


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """Run all DAGs that are shown, in one process as Airflow takes long to start; return what each has printed."""
    folder = tmp_path_factory.mktemp("dags")
    paths = [folder / f"{number}.py" for number, _ in enumerate(shown("DAG"))]
    for path, (_, block) in zip(paths, shown("DAG"), strict=True):
        path.write_text(block)
    with SynapseEmulator(time_scale=0.01) as synapse:
        env = environment(
            AIRFLOW_HOME=str(folder / "home"),
            AIRFLOW__CORE__DAGS_FOLDER=str(folder),
            AIRFLOW__CORE__LOAD_EXAMPLES="False",
            AIRFLOW_CONN_SYNAPSE_LIVY_DEFAULT=synapse.airflow_connection("sparkpool"),
        )
        assert airflow("db", "migrate", env=env).returncode == 0
        command = [sys.executable, "-c", RUN, *map(str, paths)]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        run = subprocess.run(command, env=env, check=False, timeout=480, **streams)
        assert run.returncode == 0, run.stdout
        synapse.assert_nothing_runs()
    return dict(zip((block for _, block in shown("DAG")), run.stdout.split("begin ")[1:], strict=True))


@pytest.mark.docs
@pytest.mark.parametrize(
    "block", [block for _, block in shown("DAG")], ids=lambda block: re.search(r'DAG\("(\w+)', block)[1]
)
def test_dags_run(outputs, block):
    """Each DAG that a page shows runs to its end in Airflow, and leaves no session behind."""
    output = outputs[block]
    if "alert" in block:
        assert "ended as failed" in output
        assert re.search(r"ALERT: Spark session 404404 .* Fix: .* \(activity id [0-9a-f-]{36}\)", output), output
    else:
        assert "ended as success" in output, output


#: Pages whose pieces of code run in the order in which they stand there.
WITH_PIECES = [page for page in PAGES if any(kind(block) == "piece" for block in blocks(page, "python"))]

CLAIM = re.compile(r"^(\S.*?)  # (True|False|[A-Z]\w+\.[A-Z]+)$", re.MULTILINE)


def context():
    """Return a task's context whose XComs are a session that is idle, and one that was cancelled."""
    records = {"use": samples.IDLE, "ended": samples.session(state="killed", result="Cancelled")}
    return {"ti": SimpleNamespace(xcom_pull=records.__getitem__)}


def in_words(value):
    """Return a value as a comment beside it says it."""
    return str(value) if isinstance(value, bool) else f"{type(value).__name__}.{value.name}"


@pytest.mark.parametrize("page", WITH_PIECES)
def test_pieces_run(connect, page):
    """The pieces of code on a page run one after the other, and what stands beside an expression is its value."""
    with SynapseEmulator(time_scale=0.01) as synapse:
        connect(synapse.airflow_connection("sparkpool"))
        for _ in range(5):
            synapse.create_session("sparkpool", age=60)
        names = {"context": context(), "synapse_livy_emulator": synapse}
        for block in (block for block in blocks(page, "python") if kind(block) == "piece"):
            exec(compile(block, page, "exec"), names)
            for expression, value in CLAIM.findall(block):
                assert in_words(eval(expression, names)) == value, expression
