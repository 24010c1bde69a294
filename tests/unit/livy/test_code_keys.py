"""The key by which a task finds its own code again in a session."""

from __future__ import annotations

import pytest

from airflow_provider_synapse_livy.emulator.spark.python_code import run_python
from airflow_provider_synapse_livy.livy.code_keys import key_in_code, with_key_in_code

CODE = {
    "pyspark": ("print(1)\nprint(2)", "# airflow_task_key=k3y.2\nprint(1)\nprint(2)"),
    "PySpark": ("x", "# airflow_task_key=k3y.2\nx"),
    "sql": ("select 1", "-- airflow_task_key=k3y.2\nselect 1"),
    "spark": ("val x = 1", "// airflow_task_key=k3y.2\nval x = 1"),
    "dotnetspark": ("var x = 1;", "// airflow_task_key=k3y.2\nvar x = 1;"),
    "SparkDotNet": ("var x = 1;", "// airflow_task_key=k3y.2\nvar x = 1;"),
    "CSharp": ("var x = 1;", "// airflow_task_key=k3y.2\nvar x = 1;"),
    "unknown": ("x", "# airflow_task_key=k3y.2\nx"),
}


@pytest.mark.parametrize(("kind", "code", "marked"), [(kind, *pair) for kind, pair in CODE.items()])
def test_comment_fits_the_kind(kind, code, marked):
    """The key stands in a comment of the language, in the first line, and is found again."""
    assert with_key_in_code(code, kind, "k3y", 2) == marked
    assert key_in_code(marked) == ("k3y", 2)


MAGICS = {
    "cell": ("pyspark", "%%sql\nselect 1", "%%sql\n{}select 1"),
    "unknown": ("pyspark", "%pip install x", "%pip install x\n{}"),
    "continued": ("pyspark", "%pip install \\\n  x\ny", "%pip install \\\n  x\n{}y"),
    "continued to the end": ("pyspark", "%pip install \\", "%pip install \\\n\n{}"),
    "of Scala": ("spark", "\n \n%json d", "%json d\n{}"),
    "of Scala, with more": ("scala", "%table t\nval x = 1", "%table t\n{}val x = 1"),
}


@pytest.mark.parametrize(("kind", "code", "marked"), MAGICS.values(), ids=MAGICS)
def test_magic_stays_first(kind, code, marked):
    """A magic has to be in the first line, so the comment comes after it, and after the lines that continue it."""
    comment = f"{'#' if kind == 'pyspark' else '//'} airflow_task_key=k3y.1\n"
    assert with_key_in_code(code, kind, "k3y", 1) == marked.format(comment)
    assert key_in_code(marked.format(comment)) == ("k3y", 1)


@pytest.mark.parametrize("magic", ["%json d", "%table d", "%json missing", "d = [2]\n%json d"])
@pytest.mark.parametrize("kind", ["pyspark", "PySpark", "python"])
def test_output_of_a_magic_is_kept(kind, magic):
    """What Livy's magics for Python bring is the output of the code, with a key as without one."""
    marked = with_key_in_code(magic, kind, "k3y", 1)
    assert run_python(marked, {"d": [[1]]}) == run_python(magic, {"d": [[1]]})
    assert key_in_code(marked) == ("k3y", 1)


@pytest.mark.parametrize(
    "code",
    [
        "print(1)",
        "print('# airflow_task_key=k3y.1')",
        "x\n# airflow_task_key=k3y.1",
        "x\ny\n# airflow_task_key=k3y.1",
        "# airflow_task_key=k3y",
        "# airflow_task_key=.1",
        "",
        None,
        5,
    ],
)
def test_code_without_a_key(code):
    """Code of others has no key, nor has code that has one further down, or in a text."""
    assert key_in_code(code) is None
