"""The key by which a task finds its own code again in a session."""

from __future__ import annotations

import pytest

from airflow_provider_synapse_livy.livy.code_keys import key_in_code, with_key_in_code

CODE = {
    "pyspark": ("print(1)\nprint(2)", "# airflow_task_key=k3y.2\nprint(1)\nprint(2)"),
    "PySpark": ("x", "# airflow_task_key=k3y.2\nx"),
    "sql": ("select 1", "-- airflow_task_key=k3y.2\nselect 1"),
    "spark": ("val x = 1", "// airflow_task_key=k3y.2\nval x = 1"),
    "dotnetspark": ("var x = 1;", "// airflow_task_key=k3y.2\nvar x = 1;"),
    "unknown": ("x", "# airflow_task_key=k3y.2\nx"),
}


@pytest.mark.parametrize(("kind", "code", "marked"), [(kind, *pair) for kind, pair in CODE.items()])
def test_comment_fits_the_kind(kind, code, marked):
    """The key stands in a comment of the language, in the first line, and is found again."""
    assert with_key_in_code(code, kind, "k3y", 2) == marked
    assert key_in_code(marked) == ("k3y", 2)


@pytest.mark.parametrize(
    ("code", "marked"),
    [
        ("%%sql\nselect 1", "%%sql\n# airflow_task_key=k3y.1\nselect 1"),
        ("%json d", "%json d\n# airflow_task_key=k3y.1\n"),
        ("  %table t\n", "  %table t\n# airflow_task_key=k3y.1\n"),
    ],
)
def test_magic_stays_first(code, marked):
    """A magic has to be in the first line, so the comment comes after it."""
    assert with_key_in_code(code, "pyspark", "k3y", 1) == marked
    assert key_in_code(marked) == ("k3y", 1)


@pytest.mark.parametrize(
    "code",
    [
        "print(1)",
        "print('# airflow_task_key=k3y.1')",
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
