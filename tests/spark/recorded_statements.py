"""
What Apache Livy 0.9 with Spark 3.5 answered to statements of the kinds ``pyspark`` and ``sql``, recorded in 2026.

Left out are the requests that Livy refused, and its kinds ``spark`` and ``sparkr``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Recorded:
    """
    A statement.

    :param states: the states that were seen, from the answer to the request on; some passed between two polls.
    :param output: its output, without ``execution_count``; of a long one, which was not kept, its status alone.
    :param cancel: when it was cancelled: while it was ``waiting``, or when it had been ``running`` for a while.
    """

    code: str
    states: str
    output: dict[str, Any] | None
    kind: str = "pyspark"
    cancel: str | None = None


def text(value: str) -> dict[str, Any]:
    """Return the output of a statement that prints."""
    return {"status": "ok", "data": {"text/plain": value}}


def error(ename: str, evalue: str, *traceback: str) -> dict[str, Any]:
    """Return the output of a statement that fails."""
    return {"status": "error", "ename": ename, "evalue": evalue, "traceback": list(traceback)}


HEADLINE = "Traceback (most recent call last):\n"
FAILED = {"status": "error"}
ROW_OF_SQL = {
    "schema": {
        "type": "struct",
        "fields": [
            {"name": "a", "type": "integer", "nullable": False, "metadata": {}},
            {"name": "b", "type": "string", "nullable": False, "metadata": {}},
        ],
    },
    "data": [[1, "x"]],
}


def table(names: str, types: str, *data: list[Any]) -> dict[str, Any]:
    """Return the output of ``%table``."""
    columns = zip(names.split(), types.split(), strict=True)
    headers = [{"name": name, "type": f"{kind}_TYPE"} for name, kind in columns]
    return {"status": "ok", "data": {"application/vnd.livy.table.v1+json": {"headers": headers, "data": [*data]}}}


_MISSING_PLOT = {
    "msg_type": "execute_reply",
    "content": {"ename": "KeyError", "evalue": "'plt'", "traceback": ["KeyError: 'plt'\n"], "status": "error"},
}

#: Statements of one session, in this order.
STATEMENTS = [
    Recorded("1+1", "waiting available", text("2")),
    Recorded("print('hi')\n'x'", "running available", text("hi\n'x'")),
    Recorded("x = 3", "waiting available", text("")),
    Recorded(
        "1/0",
        "waiting running available",
        error("ZeroDivisionError", "division by zero", HEADLINE, "ZeroDivisionError: division by zero\n"),
    ),
    Recorded(
        "def f():\n    raise ValueError('boom')\nf()",
        "waiting available",
        error("ValueError", "boom", HEADLINE, '  File "<stdin>", line 2, in f\n', "ValueError: boom\n"),
    ),
    Recorded(
        "if",
        "waiting available",
        error(
            "SyntaxError",
            "invalid syntax (<stdin>, line 1)",
            '  File "<stdin>", line 1\n',
            "    if\n",
            "      ^\n",
            "SyntaxError: invalid syntax\n",
        ),
    ),
    Recorded(
        "d={'a':[1,2]}\n%json d", "waiting available", {"status": "ok", "data": {"application/json": {"a": [1, 2]}}}
    ),
    Recorded("df=[(1,'a'),(2,'b')]\n%table df", "waiting available", table("0 1", "INT STRING", [1, "a"], [2, "b"])),
    Recorded("import sys; print('err', file=sys.stderr); print('out')", "waiting running available", text("out\nerr")),
    Recorded("spark.range(5).count()", "waiting running available", text("5")),
    Recorded(
        "spark.range(3).show()",
        "waiting running available",
        text("+---+\n| id|\n+---+\n|  0|\n|  1|\n|  2|\n+---+"),
    ),
    Recorded(
        "select 1 as a, 'x' as b",
        "waiting running available",
        {"status": "ok", "data": {"application/json": ROW_OF_SQL}},
        kind="sql",
    ),
    Recorded("select bad from nowhere", "waiting running available", FAILED, kind="sql"),
    Recorded("", "waiting available", text("")),
    Recorded("import time; time.sleep(2); 'slept'", "waiting running available", text("'slept'")),
    Recorded("sc.parallelize(range(4)).map(lambda x: 1//0).collect()", "waiting running available", FAILED),
    # Recorded with range(300): what matters is that it ends before the 30 seconds that Livy waits for it.
    Recorded(
        "import time\nfor i in range(30): time.sleep(0.1)", "waiting cancelling cancelled", text(""), cancel="running"
    ),
    Recorded(
        "import time\nsc.parallelize(range(1),1).map(lambda x: time.sleep(30)).collect()",
        "waiting cancelling cancelled",
        FAILED,
        cancel="running",
    ),
    Recorded("import time; time.sleep(3); 'a'", "waiting available", text("'a'")),
    Recorded("'b'", "waiting cancelled", None, cancel="waiting"),
    Recorded("import time; time.sleep(0.5)", "running available", text("")),
    Recorded("print('x'*5_000_000)", "waiting running available", {"status": "ok"}),
    Recorded(
        "%matplot plt",
        "waiting available",
        {"status": "ok", "data": _MISSING_PLOT},
    ),
    Recorded("float('nan')", "waiting available", text("nan")),
    Recorded(
        "t=[{'a':1,'b':None},{'a':2,'b':1.5}]\n%table t",
        "waiting available",
        table("a b", "INT DOUBLE", [1, None], [2, 1.5]),
    ),
    Recorded("'first'", "waiting running available", text("'first'")),
    Recorded(
        "import sys; sys.exit(3)",
        "waiting running available",
        error("SystemExit", "3", HEADLINE, "SystemExit: 3\n"),
    ),
    Recorded("spark.stop()", "waiting running available", text("")),
    Recorded(
        "spark.range(2).count()",
        "waiting available",
        error(
            "AttributeError",
            "'NoneType' object has no attribute 'sc'",
            HEADLINE,
            "AttributeError: 'NoneType' object has no attribute 'sc'\n",
        ),
    ),
]
