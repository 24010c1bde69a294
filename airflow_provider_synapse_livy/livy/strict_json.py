"""
JSON that means one thing to everybody who reads it.

JSON leaves open what a name means that stands twice in one object, and how large a number may be, so two readers
could see two sessions in one answer, or hand on what the next one can't hold. Here all of that is refused.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any

from pydantic_core import from_json

__all__ = ["AmbiguousJsonError", "check_numbers", "is_cut_short", "read_json", "without_nul"]

#: What fits into 64 bits. Airflow's workers and triggerers can't pass larger integers on to the API server.
_INTEGERS = range(-(2**63), 2**63)


class AmbiguousJsonError(ValueError):
    """The text is JSON by its grammar, but readers differ in what it means."""


def read_json(text: bytes | str) -> Any:
    """
    Read JSON text.

    :param text: the text, UTF-8 if it is bytes.
    :raises AmbiguousJsonError: if it has a name twice in one object, or a number that is too large.
    :raises ValueError: if it is no JSON. ``NaN`` is none, nor is what is nested deeper than 200.
    """
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    raw = without_nul(raw)
    value = from_json(raw, allow_inf_nan=False)
    check_numbers(value)
    json.loads(raw, object_pairs_hook=_check_names)  # which the faster parser has no hook for
    return value


def without_nul(text: bytes) -> bytes:
    r"""
    Put U+FFFD in the place of ``\u0000``, for PostgreSQL refuses that, and with it the XCom that it stands in.

    :param text: JSON text.
    """
    return text.replace(rb"\u0000", rb"\ufffd")


def _check_names(pairs: Iterable[tuple[str, Any]]) -> None:
    seen = set()
    for name, _ in pairs:
        if name in seen:
            raise AmbiguousJsonError(f"the name {name!r} stands twice in one object")
        seen.add(name)


def check_numbers(value: Any) -> None:
    """
    Look for numbers that not all readers of JSON can hold: integers of more than 64 bits, and infinite ones.

    :param value: what was read from JSON; to a parser, 1e999 is infinite.
    :raises AmbiguousJsonError: if there is one.
    """
    left = [value]
    while left:
        value = left.pop()
        if isinstance(value, float) and not math.isfinite(value):
            raise AmbiguousJsonError("infinite numbers are no JSON values")
        if isinstance(value, int) and value not in _INTEGERS:
            raise AmbiguousJsonError("a number has more than 64 bits")
        if isinstance(value, list):
            left.extend(value)
        elif isinstance(value, dict):
            left.extend(value.values())


def is_cut_short(text: bytes) -> bool:
    """
    Tell whether a text is the beginning of a JSON object, or nothing: what HTTP libraries do not all notice.

    :param text: the text.
    """
    try:
        from_json(text, allow_inf_nan=False, allow_partial=True)
    except ValueError:
        return not text.strip()
    return text.lstrip().startswith(b"{") and not _is_whole(text)


def _is_whole(text: bytes) -> bool:
    try:
        from_json(text, allow_inf_nan=False)
    except ValueError:
        return False
    return True
