"""What the tests with a real Airflow share: one run of all DAGs, whose traces the tests look at."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from airflow import __version__ as airflow_version

from tests.airflow.lives import CASES, LIVES, pool_of
from tests.airflow.lives import MODES as TWO
from tests.airflow.outcomes import MODES
from tests.airflow.pools import LifecycleSynapse, StatementSynapse
from tests.airflow.services import RealAirflow, postgres
from tests.airflow.statement_lives import CASES as CODE_CASES
from tests.airflow.statement_lives import LIVES as CODE_LIVES
from tests.airflow.statement_lives import pool_of as code_pool_of
from tests.airflow.synapse import TimedSynapse
from tests.support.connections import airflow_connection
from tests.support.project import PROJECT

#: The values of two of Spark's settings, which Airflow has no reason to mask.
SECRETS = ("hunter2222", "correct-horse-battery")

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="session")
def synapse():
    """Return the server that all DAGs ask."""
    with TimedSynapse() as server:
        yield server


@pytest.fixture(scope="session")
def lifecycle_synapse(tmp_path_factory):
    """Return the emulator that creates the sessions of the lifecycle's DAGs."""
    notes = tmp_path_factory.mktemp("notes")
    answers = {pool_of(name, mode): LIVES[name].answer for name, mode in CASES if LIVES[name].answer is not None}
    others = [
        pool_of("mapped", "worker"),
        pool_of("restarts", "deferred"),
        *(pool_of(name, mode) for name in ("teardown", "twice") for mode in TWO),
    ]
    with LifecycleSynapse(answers, [*(pool_of(*case) for case in CASES), *others], notes) as emulator:
        emulator.notes = notes
        yield emulator


@pytest.fixture(scope="session")
def statement_synapse(lifecycle_synapse):
    """Return the emulator in whose sessions the tasks run code."""
    answers = {code_pool_of(*case): CODE_LIVES[case[0]].answer for case in CODE_CASES}
    others = [code_pool_of(name, mode) for name in ("function", "refused") for mode in TWO]
    others += [code_pool_of("sensor", "all"), code_pool_of("restarts", "deferred")]
    answers = {pool: answer for pool, answer in answers.items() if answer is not None}
    pools = [*(code_pool_of(*case) for case in CODE_CASES), *others]
    with StatementSynapse(answers, pools, lifecycle_synapse.notes) as emulator:
        yield emulator


@pytest.fixture(scope="session")
def real_airflow(synapse, lifecycle_synapse, statement_synapse, tmp_path_factory):
    """Return an Airflow that runs, and has run nothing yet."""
    errors = tmp_path_factory.mktemp("errors")
    env = {
        "AIRFLOW_CONN_SYNAPSE_LIVY_DEFAULT": airflow_connection(synapse.url),
        "AIRFLOW_CONN_LIFECYCLE": lifecycle_synapse.airflow_connection("nobodys"),
        "AIRFLOW_CONN_STATEMENTS": statement_synapse.airflow_connection("nobodys"),
        "AIRFLOW_VAR_SPARK_SETTING": SECRETS[0],
        "AIRFLOW_VAR_SPARK_OTHER_SETTING": SECRETS[1],
        "LIFECYCLE_NOTES": str(lifecycle_synapse.notes),
        "PYTHONPATH": str(PROJECT),
    }
    home = Path(os.environ["AIRFLOW_HOME"]).with_name(f"matrix-{airflow_version}")
    home.parent.mkdir(exist_ok=True)
    with postgres(home.with_name("postgres.log")) as database:
        airflow = RealAirflow(home, HERE / "dags", database, env, errors)
        with airflow.running():
            yield airflow


@pytest.fixture(scope="session")
def airflow(real_airflow):
    """Return an Airflow that has run all DAGs of waits to their ends."""
    dags = [f"waits_{mode}" for mode in MODES]
    real_airflow.run_dags(*dags, "starts", conf={"session_id": 12}, timeout=1500)
    real_airflow.clear("starts", "cleared", timeout=300)
    return real_airflow
