"""What README and documentation show: their code, their tables, and a project with the quick start's DAG and test."""

from __future__ import annotations

import itertools
import re
import textwrap
from pathlib import Path

from tests.support.project import PROJECT

README = (PROJECT / "README.md").read_text()

#: The pages by their names, the documentation's first: it has in full what the README may have in short.
PAGES = {
    **{path.stem: path.read_text() for path in sorted((PROJECT / "docs").glob("*.md"))},
    "CONTRIBUTING": (PROJECT / "CONTRIBUTING.md").read_text(),
    "README": README,
}

QUICK_START = PAGES["quick-start"]


def blocks(page: str, language: str) -> list[str]:
    """Return the code blocks of a page in a language."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```", PAGES[page], re.DOTALL | re.MULTILINE)
    return [textwrap.dedent(text) for _, text in found]


def kind(block: str) -> str:
    """
    Return what a block of Python is, which says how it is tested: a test, a DAG, a task's parameters, or a piece.

    A comparison with another package's code can't run without that one, and has a test of its own.
    """
    if block.startswith("# before"):
        return "comparison"
    if "def test_" in block:
        return "test"
    if "with DAG(" in block:
        return "DAG"
    return "parameters" if re.match(r"Synapse\w+\(|@task\.", block) else "piece"


def shown(wanted: str) -> list[tuple[str, str]]:
    """Return page and text of all blocks of Python of a kind; of equal ones the first alone."""
    found = {block: page for page in reversed(PAGES) for block in blocks(page, "python") if kind(block) == wanted}
    return [(page, block) for block, page in reversed(found.items())]


def parameters(name: str) -> str:
    """Return the first block that shows a task with all its parameters."""
    return next(block for _, block in shown("parameters") if block.startswith(f"{name}("))


def code(language: str) -> list[str]:
    """Return the code blocks of a language in all pages."""
    return list(dict.fromkeys(block for page in PAGES for block in blocks(page, language)))


def table(first_heading: str) -> list[list[str]]:
    """Return the rows of the first table with that first heading, without the marks of Markdown."""
    text = next(text for text in PAGES.values() if f"| {first_heading} |" in text)
    lines = text[text.index(f"| {first_heading} |") :].splitlines()[2:]
    rows = itertools.takewhile(lambda line: line.startswith("|"), lines)
    return [[cell.strip().replace("**", "") for cell in row.strip("|").split("|")] for row in rows]


def shown_dag() -> str:
    """Return the DAG that the quick start shows."""
    (dag,) = (block for block in blocks("quick-start", "python") if kind(block) == "DAG")
    return dag


def shown_test() -> str:
    """Return the test of that DAG."""
    (test,) = (block for block in blocks("testing", "python") if kind(block) == "test" and "dag.test()" in block)
    return test


def shown_test_of_a_task() -> str:
    """Return the test of one task."""
    (test,) = (block for block in blocks("testing", "python") if "run_task" in block)
    return test


def write_project(folder: Path) -> dict[str, str]:
    """Write DAG and test as a user has them, and return the environment that tells Airflow where the DAG is."""
    (folder / "dags").mkdir(parents=True)
    (folder / "dags" / "spark_session.py").write_text(shown_dag())
    (folder / "test_spark_session.py").write_text(shown_test())
    (folder / "test_one_task.py").write_text(shown_test_of_a_task())
    return {"AIRFLOW__CORE__DAGS_FOLDER": str(folder / "dags")}
