"""What the README shows, run as a user would: its DAG, its test of it, and the example DAGs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from tests.support.project import PROJECT
from tests.support.readme import shown_dag, shown_test


def environment(**changes):
    """Return the environment for an Airflow command."""
    return {name: value for name, value in os.environ.items() if name != "AIRFLOW__CORE__DAGS_FOLDER"} | changes


def airflow(*arguments, env):
    """Run an Airflow command."""
    command = [sys.executable, "-m", "airflow", *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=180)


@pytest.mark.wheel
def test_dag_runs(tmp_path, fast_synapse):
    """The README's DAG, as it stands there, runs in Airflow and ends well, leaves nothing behind, and is short."""
    dag = shown_dag()
    assert len([line for line in dag.splitlines() if line]) < 20
    dags = tmp_path / "dags"
    dags.mkdir()
    (dags / "dag.py").write_text(dag)
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


@pytest.mark.parametrize("path", sorted((PROJECT / "example_dags").glob("*.py")), ids=lambda path: path.stem)
def test_example_dags_can_be_imported(path):
    """Every example is a DAG file that can be imported."""
    run = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, check=False, timeout=60)
    assert run.returncode == 0, run.stderr


def test_test_of_a_dag_is_short():
    """The test of a DAG that the README shows is short; test_fixture and test_wheel run it."""
    assert len([line for line in shown_test().splitlines() if line]) <= 18
