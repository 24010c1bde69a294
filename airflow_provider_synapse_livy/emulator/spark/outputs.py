"""
What a statement answers, in Livy's form: errors, and values as JSON, table or picture.

Tables and their types are those of the recordings of Apache Livy, and of its ``%table`` where these have none.
"""

from __future__ import annotations

import base64
import datetime as dt
import io
import math
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

__all__ = ["Output", "error_output", "picture", "plain_value", "sql_table", "table"]

#: The JSON object ``output`` of a statement, without its ``execution_count``.
Output = dict[str, Any]

TABLE_MIME = "application/vnd.livy.table.v1+json"
JSON_MIME = "application/json"

#: The type of a column by the class of its values; the first that fits counts, as a bool is an int as well.
_COLUMN_TYPES: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (type(None), "NULL_TYPE"),
    (bool, "BOOLEAN_TYPE"),
    (int, "INT_TYPE"),
    (float, "DOUBLE_TYPE"),
    (str, "STRING_TYPE"),
    (dt.datetime, "TIMESTAMP_TYPE"),
    (dt.date, "DATE_TYPE"),
    (Decimal, "DECIMAL_TYPE"),
    ((list, tuple), "ARRAY_TYPE"),
    (dict, "MAP_TYPE"),
)


def error_output(ename: str, evalue: str, traceback: Iterable[str] = ()) -> Output:
    """Return the output of a statement that has failed."""
    return {"status": "error", "ename": ename, "evalue": evalue, "traceback": list(traceback)}


def table(value: Any) -> Output:
    """
    Return the data of ``%table``: a list of rows, each a list, a dict, a Spark row or a single value.

    :raises TypeError: if a column has values of several types.
    """
    columns: dict[Any, dict[str, str]] = {}
    data = []
    for row in value if isinstance(value, list | tuple) else [value]:
        cells = list(_cells(row))
        for name, cell in cells:
            _note_column(columns, name, cell)
        data.append([_table_value(cell) for _, cell in cells])
    return {TABLE_MIME: {"headers": [columns[name] for name in sorted(columns)], "data": data}}


def _cells(row: Any) -> Iterable[tuple[Any, Any]]:
    if hasattr(row, "asDict"):  # a row of Spark, which is a tuple as well
        row = row.asDict()
    if isinstance(row, dict):
        return sorted(row.items())
    return enumerate(row if isinstance(row, list | tuple) else [row])


def _note_column(columns: dict[Any, dict[str, str]], name: Any, cell: Any) -> None:
    kind = _column_type(cell)
    column = columns.setdefault(name, {"name": str(name), "type": kind})
    if column["type"] == "NULL_TYPE":
        column["type"] = kind
    elif kind not in ("NULL_TYPE", column["type"]):
        raise TypeError("table rows have different types")


def _column_type(cell: Any) -> str:
    return next((name for kind, name in _COLUMN_TYPES if isinstance(cell, kind)), "STRING_TYPE")


def _table_value(cell: Any) -> Any:
    is_json = isinstance(cell, bool | int | float | str | list | tuple | dict | None)
    return cell if is_json else str(cell)


def picture(plot: Any) -> Output:
    """Return the data of ``%matplot``: the current figure of ``matplotlib.pyplot`` as PNG."""
    png = io.BytesIO()
    plot.gcf().savefig(png, format="png")
    return {"image/png": base64.b64encode(png.getvalue()).decode()}


def sql_table(schema: Mapping[str, Any], rows: Iterable[Iterable[Any]]) -> Output:
    """
    Return the data of a statement of the kind ``sql``.

    :param schema: the JSON of the schema of its result.
    """
    return {JSON_MIME: {"schema": dict(schema), "data": [[plain_value(value) for value in row] for row in rows]}}


def plain_value(value: Any) -> Any:
    """Return a value of a row as JSON holds it: decimals are numbers, times are text, rows and maps are objects."""
    if hasattr(value, "asDict"):
        value = value.asDict()
    if isinstance(value, Mapping):
        return {str(key): plain_value(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | bytes | bytearray):
        return [plain_value(inner) for inner in value]
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dt.date):  # datetimes are dates
        return value.isoformat()
    return value if isinstance(value, bool | int | float | str | None) else str(value)
