"""The README's DAG and the example, whose code a real Spark runs."""

from __future__ import annotations

import pytest

from tests.integration.test_fixture import run_pytest
from tests.support.project import PROJECT
from tests.support.readme import shown_dag

TEST = """
import pytest

from dags.example_synapse_spark_session import create
from dags.spark_session import dag

example = create.dag


@pytest.mark.synapse_livy(spark=True)
@pytest.mark.parametrize("dag", [dag, example], ids=lambda dag: dag.dag_id)
def test_dag(synapse_livy_emulator, dag):
    assert dag.test().state == "success"
    outputs = [record["output"] for record in synapse_livy_emulator.statements("sparkpool", 0)]
    print("outputs:", outputs)
    assert {output["status"] for output in outputs} == {"ok"}
    synapse_livy_emulator.assert_nothing_runs()
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """Run both DAGs with ``dag.test()`` in a new folder; return exit code and output."""
    # Starting Airflow and creating its database may take longer than a test is given, so this is no part of one.
    folder = tmp_path_factory.mktemp("newcomer") / "project"
    (folder / "dags").mkdir(parents=True)
    (folder / "dags" / "spark_session.py").write_text(shown_dag())
    example = "example_synapse_spark_session.py"
    (folder / "dags" / example).write_text((PROJECT / "example_dags" / example).read_text())
    (folder / "test_dags.py").write_text(TEST)
    return run_pytest(folder, PYTEST_ADDOPTS="-rP")  # show what tests that pass print


def test_dags(ran):
    """Both DAGs succeed, and the numbers in their outputs are those that Spark has computed."""
    code, output = ran
    assert (code, "2 passed" in output) == (0, True), output
    (counted, example) = [line for line in output.splitlines() if line.startswith("outputs:")]
    assert "'text/plain': '3'" in counted
    assert "1000" in example
