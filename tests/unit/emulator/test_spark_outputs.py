"""Values as Livy's tables and results of SQL show them."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pytest

from airflow_provider_synapse_livy.emulator.spark.outputs import plain_value, sql_table, table


class Row(tuple):
    """What a row of Spark is: a tuple that knows its names."""

    __slots__ = ()

    def asDict(self):  # noqa: N802, Spark's name
        """Return the values by name."""
        return dict(zip(("a", "b"), self, strict=True))


TABLES = [
    # value, then columns with their types, and rows
    ([], {}, []),
    (5, {"0": "INT"}, [[5]]),
    ([1, 2.5][:1], {"0": "INT"}, [[1]]),
    ([Row((1, "x"))], {"a": "INT", "b": "STRING"}, [[1, "x"]]),
    ([{"b": True, "a": None}, {"a": 2}], {"a": "INT", "b": "BOOLEAN"}, [[None, True], [2]]),
    ([(None,), (None,)], {"0": "NULL"}, [[None], [None]]),
    ([([1], {"k": 1})], {"0": "ARRAY", "1": "MAP"}, [[[1], {"k": 1}]]),
    (
        [(dt.date(2026, 1, 2), dt.datetime(2026, 1, 2, 3, tzinfo=dt.UTC), Decimal("1.50"))],
        {"0": "DATE", "1": "TIMESTAMP", "2": "DECIMAL"},
        [["2026-01-02", "2026-01-02 03:00:00+00:00", "1.50"]],
    ),
    ([(1,), ({2},)][1:], {"0": "STRING"}, [["{2}"]]),
]


@pytest.mark.parametrize(("value", "columns", "rows"), TABLES)
def test_table(value, columns, rows):
    """A table has a header for each column, in the order of their names, with the type of its first value."""
    (shown,) = table(value).values()
    assert {header["name"]: header["type"].removesuffix("_TYPE") for header in shown["headers"]} == columns
    assert shown["data"] == rows


def test_table_with_several_types():
    """A column with values of several types raises a TypeError."""
    with pytest.raises(TypeError, match="table rows have different types"):
        table([(1,), (None,), ("x",)])


VALUES = [
    (None, None),
    (True, True),
    (1.5, 1.5),
    (float("nan"), None),
    (float("inf"), None),
    (Decimal("12.00"), 12),
    (Decimal("1.25"), 1.25),
    (dt.date(2026, 1, 2), "2026-01-02"),
    (dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC), "2026-01-02T03:04:05+00:00"),
    (bytearray(b"ab"), [97, 98]),
    (Row((1, [Decimal(2)])), {"a": 1, "b": [2]}),
    ({1: dt.date(2026, 1, 2)}, {"1": "2026-01-02"}),
    (dt.timedelta(days=1), "1 day, 0:00:00"),
]


@pytest.mark.parametrize(("value", "plain"), VALUES)
def test_values_of_sql(value, plain):
    """A value in a result of SQL is JSON, whatever its type is in Spark."""
    assert plain_value(value) == plain


def test_result_of_sql():
    """A result of SQL has the schema and the rows as lists."""
    assert sql_table({"type": "struct"}, [(1, "x")]) == {
        "application/json": {"schema": {"type": "struct"}, "data": [[1, "x"]]}
    }
