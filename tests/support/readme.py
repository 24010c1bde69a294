"""What the README shows: its code, its tables, and a project with its DAG and test."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

from tests.support.project import PROJECT

README = (PROJECT / "README.md").read_text()


def code(language: str) -> list[str]:
    """Return the code blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def table(first_heading: str) -> list[list[str]]:
    """Return the rows of the table with that first heading, without the marks of Markdown."""
    lines = README[README.index(f"| {first_heading} |") :].splitlines()[2:]
    rows = itertools.takewhile(lambda line: line.startswith("|"), lines)
    return [[cell.strip().replace("**", "") for cell in row.strip("|").split("|")] for row in rows]


def shown_dag() -> str:
    """Return the DAG that the README shows."""
    (dag,) = (block for block in code("python") if "with DAG" in block)
    return dag


def shown_test() -> str:
    """Return the test of the DAG that the README shows."""
    (test,) = (block for block in code("python") if "def test_" in block and "dag.test()" in block)
    return test


def shown_test_of_a_task() -> str:
    """Return the test of one task that the README shows."""
    (test,) = (block for block in code("python") if "run_task" in block)
    return test


def write_project(folder: Path) -> dict[str, str]:
    """Write DAG and test as a user has them, and return the environment that tells Airflow where the DAG is."""
    (folder / "dags").mkdir(parents=True)
    (folder / "dags" / "spark_session.py").write_text(shown_dag())
    (folder / "test_spark_session.py").write_text(shown_test())
    (folder / "test_one_task.py").write_text(shown_test_of_a_task())
    return {"AIRFLOW__CORE__DAGS_FOLDER": str(folder / "dags")}
