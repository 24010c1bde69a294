"""Statements as a real Apache Livy described them: what was sent, and what came of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def statement(state: str = "available", output: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    """Return a statement's record."""
    return {"id": 0, "code": "1+1", "state": state, "output": output, "sourceId": "default", **fields}


def ok(data: Any = "", mime: str = "text/plain") -> dict[str, Any]:
    """Return the output of code that ran without an error."""
    return {"status": "ok", "execution_count": 0, "data": {mime: data}}


def error(ename: str, evalue: str, *traceback: str) -> dict[str, Any]:
    """Return the output of code that failed."""
    return {"status": "error", "execution_count": 0, "ename": ename, "evalue": evalue, "traceback": list(traceback)}


HEAD = "Traceback (most recent call last):\n"
SCHEMA = {"type": "struct", "fields": [{"name": "a", "type": "integer", "nullable": False, "metadata": {}}]}

#: What was sent; then whether it is a success, and how its ending is said.
RECORDED: dict[str, tuple[dict[str, Any], bool, str]] = {
    "expression": (statement(output=ok("2"), progress=1.0, started=1000, completed=1003), True, "succeeded"),
    "assignment": (statement(output=ok("")), True, "succeeded"),
    "printed": (statement(output=ok("hi\n'x'")), True, "succeeded"),
    "stderr": (statement(output=ok("out\nerr")), True, "succeeded"),
    "scala": (statement(output=ok("x: Int = 2\n")), True, "succeeded"),
    "json": (statement(output=ok({"a": [1, 2]}, "application/json")), True, "succeeded"),
    "sql": (statement(output=ok({"schema": SCHEMA, "data": [[1]]}, "application/json")), True, "succeeded"),
    "table": (
        statement(
            output=ok(
                {"headers": [{"name": "0", "type": "LONG_TYPE"}], "data": [[9_007_199_254_740_993]]},
                "application/vnd.livy.table.v1+json",
            )
        ),
        True,
        "succeeded",
    ),
    "nan": (statement(output=ok("nan")), True, "succeeded"),
    "error": (
        statement(output=error("ZeroDivisionError", "division by zero", HEAD, "ZeroDivisionError: division by zero\n")),
        False,
        "failed with ZeroDivisionError: division by zero",
    ),
    "error in a function": (
        statement(output=error("ValueError", "boom", HEAD, '  File "<stdin>", line 2, in f\n', "ValueError: boom\n")),
        False,
        "failed with ValueError: boom",
    ),
    "syntax": (
        statement(output=error("SyntaxError", "invalid syntax (<stdin>, line 1)", "    if\n", "SyntaxError: ...\n")),
        False,
        "failed with SyntaxError: invalid syntax (<stdin>, line 1)",
    ),
    "error in SQL": (
        statement(
            output=error("Error", "Table or view not found: x", "org.apache.spark.sql.A", "\tat b", "\tat c\n\tat d")
        ),
        False,
        "failed with Error: Table or view not found: x",
    ),
    "exit": (statement(output=error("SystemExit", "3", HEAD, "SystemExit: 3\n")), False, "failed with SystemExit: 3"),
    "died": (statement(output=error("Error", "Interpreter died:\n", "")), False, "failed with Error: Interpreter died"),
    "no interpreter": (
        statement(output=error("InterpreterError", "Fail to start interpreter")),
        False,
        "failed with InterpreterError: Fail to start interpreter",
    ),
    "magic that failed": (
        statement(
            output={
                "status": "ok",
                "execution_count": 2,
                "data": {
                    "msg_type": "execute_reply",
                    "content": {
                        "ename": "KeyError",
                        "evalue": "'plt'",
                        "traceback": ["KeyError: 'plt'\n"],
                        "status": "error",
                    },
                },
            }
        ),
        False,
        "failed with KeyError: 'plt'",
    ),
    "cancelled in Python": (statement("cancelled"), False, "was cancelled"),
    "cancelled, but ended": (statement("cancelled", ok()), False, "was cancelled"),
    "cancelled in Spark": (
        statement("cancelled", error("Error", "Job 4 cancelled part of cancelled job group 22")),
        False,
        "was cancelled",
    ),
    "error by the documentation": (statement("error"), False, "failed"),
    "no output": (statement(), False, "ended without a known output"),
    "empty output": (statement(output={}), False, "ended without a known output"),
    "unknown status": (statement(output={"status": "abort"}), False, "ended without a known output"),
    "status in other letters": (statement(output=ok("2") | {"status": "OK"}), False, "ended without a known output"),
}

#: What has not ended.
RUNNING = [statement(state) for state in ("waiting", "running", "cancelling", "hibernating")]


def all_recorded() -> list[dict[str, Any]]:
    """
    Return what a real Apache Livy 0.9 said of 34 statements, and Synapse and Livy's own tests of others.

    Each has its kind, the states that it was seen in, its last record, and whether and how that has ended. Long
    outputs are left out.
    """
    return json.loads(Path(__file__).with_name("recorded_statements.json").read_text())  # type: ignore[no-any-return]
