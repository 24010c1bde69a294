"""Python code as Livy's interpreter runs it, without Spark. What was recorded from Livy, tests/spark runs."""

from __future__ import annotations

import sys

import pytest

from airflow_provider_synapse_livy.emulator.spark.python_code import new_namespace, run_python


@pytest.fixture
def run(monkeypatch):
    """Return a function that runs code in a namespace of the test, and returns its output."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])  # which is put back afterwards
    namespace = new_namespace()
    return lambda code: run_python(code, namespace)


TEXTS = [
    ("1\n2", "2"),
    ("None", ""),
    ("x = 1; x", "1"),
    ("print('a', end='')\nprint('b')\n\n", "ab"),
    ("for i in range(2): print(i)", "0\n1"),
    ("def f():\n    return __name__\nf()", "'__main__'"),
    ("'é😀'", "'é😀'"),
    ("# nothing", ""),
    ("a = [3]\n%json a\nprint('last')", "last"),
    ("5 % 3", "2"),
    ("def f(x: int): pass\nf.__annotations__", "{'x': <class 'int'>}"),
    ("class A: x: int\nprint(A.__annotations__)\ndef f(x: int): pass", "{'x': <class 'int'>}"),
]


@pytest.mark.parametrize(("code", "text"), TEXTS)
def test_texts(run, code, text):
    """The output has what was printed, and the value of the last expression, without newlines at its end."""
    assert run(code) == {"status": "ok", "data": {"text/plain": text}}


def test_names_are_kept(run):
    """What code defines is there for the code after it, also if it has failed in the end."""
    run("x = 5\n1/0")
    assert run("x")["data"]["text/plain"] == "5"


ERRORS = [
    # code, then name and words of the error, and the lines of its traceback between headline and error
    ("raise KeyError('k')", "KeyError", "'k'", 0),
    ("def f(): g()\ndef g(): h()\nf()", "NameError", "name 'h' is not defined", 2),
    ("import sys; sys.exit('bye')", "SystemExit", "bye", 0),
    ("raise KeyboardInterrupt", "KeyboardInterrupt", "", 0),
    ("try:\n    1/0\nexcept Exception:\n    raise ValueError('second')", "ValueError", "second", 0),
    ("class MyError(Exception): pass\nraise MyError('mine')", "MyError", "mine", 0),
    ("t = [1, 'a']\n%table t", "TypeError", "table rows have different types", 0),
]


@pytest.mark.parametrize(("code", "ename", "evalue", "frames"), ERRORS)
def test_errors(run, code, ename, evalue, frames):
    """An error has name, words and traceback: functions of the code are in it, the code's own line is not."""
    output = run(code)
    assert (output["status"], output["ename"], output["evalue"]) == ("error", ename, evalue)
    first, *middle, last = output["traceback"]
    assert (first, len(middle)) == ("Traceback (most recent call last):\n", frames)
    assert last.rpartition(".")[2].startswith(ename)


NO_PYTHON = ["if", "x = (\n%json x", "return 1", "\0", "%json\nif"]


@pytest.mark.parametrize("code", NO_PYTHON)
def test_code_that_is_no_python(run, code):
    """Code that is no Python fails, and no part of it runs."""
    assert run(f"z = 1\n{code}")["ename"] in ("SyntaxError", "ValueError")


def test_part_that_is_no_python(run):
    """If a part between magics is no Python, no other part has run."""
    run("print('never')\nz = 1\n%json z\nif")
    assert run("z")["ename"] == "NameError"


def test_unknown_magic(run):
    """A magic that does not exist fails, and says which."""
    assert run("%run x")["evalue"] == "unknown magic command 'run'"


@pytest.mark.parametrize("magic", ["json", "table", "matplot"])
def test_magic_of_a_name_that_does_not_exist(run, magic):
    """As recorded, a magic of a missing variable is ok, and has Livy's reply about the error as its data."""
    output = run(f"%{magic} nothing")
    assert (output["status"], output["data"]["msg_type"]) == ("ok", "execute_reply")
    assert output["data"]["content"]["evalue"] == "'nothing'"


def test_printed_beside_a_magic(run):
    """What was printed before a magic is beside its data."""
    assert run("v = {'a': 1}\nprint('p')\n%json v")["data"] == {"application/json": {"a": 1}, "text/plain": "p"}


def test_picture(run):
    """The magic of a plot returns its current figure as PNG, and nothing besides."""
    plot = """
class Figure:
    def savefig(self, file, format):
        file.write(format.encode())

class plt:
    gcf = Figure
"""
    assert run(f"{plot}\n%matplot plt")["data"] == {"image/png": "cG5n"}
