"""
JSON that Airflow and PostgreSQL can hold.

The grammar allows more than they take: ``NaN``, infinite numbers, integers of more than 64 bits, and the characters
NUL and half a pair of surrogates, which PostgreSQL refuses together with the XCom that they stand in.

What code in a session returns may have such numbers by right, so there they are kept as text, as Jackson writes them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from pydantic_core import from_json

__all__ = ["BYTE_ORDER_MARK", "is_truncated", "read_json", "storable", "storable_number"]

#: What fits into 64 bits. Airflow's workers and triggerers can't pass larger integers on to the API server.
_INTEGERS = range(-(2**63), 2**63)

#: What PostgreSQL does not store.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")

#: What some services write before their JSON, though its grammar has no place for it.
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def read_json(text: bytes, *, numbers_as_text: bool = False) -> Any:
    """
    Return the value of JSON text.

    :param text: UTF-8, with or without a byte order mark.
    :param numbers_as_text: whether to return numbers that can't be stored, and NaN, as text.
    :raises ValueError: if it is not JSON, is nested deeper than 200, or holds a number that can't be stored.
    """
    document = from_json(text.removeprefix(BYTE_ORDER_MARK), allow_inf_nan=numbers_as_text)
    return storable(document, storable_number) if numbers_as_text else storable(document)


def _refuse_number(value: float) -> float:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("it holds an infinite number")
    if isinstance(value, int) and value not in _INTEGERS:
        raise ValueError("it holds a number of more than 64 bits")
    return value


def storable_number(value: float) -> float | str:
    """
    Return a number, as text if it can't be stored: ``NaN``, ``Infinity``, or the digits of a long integer.

    :param value: the number.
    """
    if isinstance(value, float) and not math.isfinite(value):
        return {math.inf: "Infinity", -math.inf: "-Infinity"}.get(value, "NaN")
    return value if isinstance(value, float) or value in _INTEGERS else str(value)


def storable(value: Any, number: Callable[[float], Any] = _refuse_number) -> Any:
    """
    Return a JSON value with U+FFFD in the place of each NUL, and of each half of a pair of surrogates.

    :param value: what was read from JSON; to a parser, 1e999 is infinite.
    :param number: returns what becomes of a number; those that can't be stored are refused.
    :raises ValueError: if it holds an infinite number, or an integer of more than 64 bits.
    """
    if isinstance(value, str):
        return _UNSTORABLE.sub("\ufffd", value)
    if isinstance(value, list):
        return [storable(item, number) for item in value]
    if isinstance(value, dict):
        return {storable(key): storable(item, number) for key, item in value.items()}
    return number(value) if isinstance(value, float | int) else value


def is_truncated(text: bytes) -> bool:
    """
    Return whether a text is the beginning of a JSON object, or nothing: HTTP libraries do not all notice that.

    :param text: the text, which :func:`read_json` could not read.
    """
    beginning = text.removeprefix(BYTE_ORDER_MARK).lstrip()
    if not beginning:
        return True
    try:
        from_json(beginning, allow_inf_nan=False, allow_partial=True)
    except ValueError:
        return False
    return beginning.startswith(b"{") and not _is_whole(beginning)


def _is_whole(text: bytes) -> bool:
    try:
        from_json(text, allow_inf_nan=False)
    except ValueError:
        return False
    return True
