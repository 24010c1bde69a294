"""What the README shows, run as a user would: its DAG, its test of it, and the example DAGs."""

from __future__ import annotations

import json
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
def test_dag_runs(tmp_path, synapse):
    """The README's DAG, as it stands there, runs in Airflow and ends well, and is short."""
    dag = shown_dag()
    assert len([line for line in dag.splitlines() if line]) < 20
    dags = tmp_path / "dags"
    dags.mkdir()
    (dags / "dag.py").write_text(dag)
    session_id = synapse.create_session("etl", age=70)
    env = environment(
        AIRFLOW_HOME=str(tmp_path / "home"),
        AIRFLOW__CORE__DAGS_FOLDER=str(dags),
        AIRFLOW_CONN_SYNAPSE_LIVY_DEFAULT=synapse.airflow_connection("etl"),
    )
    migrated = airflow("db", "migrate", env=env)
    assert migrated.returncode == 0, migrated.stderr
    conf = json.dumps({"session_id": session_id})
    run = airflow("dags", "test", "spark_session", "--conf", conf, env=env)
    output = run.stdout + run.stderr
    assert run.returncode == 0, output
    assert "state=success" in output
    assert f"Spark session {session_id} in pool etl: queued 16 s → acquiring nodes 4.2 s → " in output
    assert "→ idle" in output
    shutil.rmtree(tmp_path / "home")


@pytest.mark.parametrize("path", sorted((PROJECT / "example_dags").glob("*.py")), ids=lambda path: path.stem)
def test_example_dags_can_be_imported(path):
    """Every example is a DAG file that can be imported."""
    run = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, check=False, timeout=60)
    assert run.returncode == 0, run.stderr


def test_test_of_a_dag_is_short():
    """The test of a DAG that the README shows is short; test_fixture and test_wheel run it."""
    assert len([line for line in shown_test().splitlines() if line]) <= 15
