"""What is shown and kept of a statement's output, which has no bound of its own: in XCom, and in a task's log."""

from __future__ import annotations

import json
from itertools import takewhile
from typing import Any

from airflow_provider_synapse_livy.livy.errors import SynapseLivyConfigurationError, error_message
from airflow_provider_synapse_livy.livy.responses import one_line

__all__ = ["OUTPUT_LIMIT", "bounded", "checked_limit", "fields_for_xcom", "log_printed", "shortened_text"]

#: How many characters of a statement's output go to XCom by default.
OUTPUT_LIMIT = 48_000

#: How many characters of what the code has printed go to the task's log.
_LOG_LIMIT = 10_000


def checked_limit(limit: Any) -> int:
    """
    Return how many characters of an output go to XCom.

    :param limit: what was given.
    :raises SynapseLivyConfigurationError: if it is no such number.
    """
    if isinstance(limit, int) and not isinstance(limit, bool) and limit >= 0:
        return limit
    event = f"output_limit={one_line(repr(limit), 60)} is not a number of characters."
    raise SynapseLivyConfigurationError(error_message(event, "pass a whole number from 0 up."))


def log_printed(text: str, log: Any) -> None:
    """
    Log what the code has printed, if anything.

    :param text: what it has printed.
    :param log: the task's log.
    """
    if text:
        log.info("The code has printed:\n%s", shortened_text(text, _LOG_LIMIT))


def fields_for_xcom(fields: dict[str, Any], limit: int, log: Any) -> dict[str, Any]:
    """
    Return a statement's dict as :func:`bounded` does, and log if that was cut.

    :param fields: the dict, under the documented names.
    :param limit: how many characters the output may have.
    :param log: the task's log.
    """
    kept, is_cut = bounded(fields, limit)
    if is_cut:
        log.warning("The output is cut to %s characters (output_limit).", limit)
    return kept


def bounded(fields: dict[str, Any], limit: int) -> tuple[dict[str, Any], bool]:
    """
    Return a statement's dict with an output of a bounded length, and whether that was cut.

    Text keeps its beginning, and a traceback its end. What is no text can't be cut, and is left out if it is too long.

    :param fields: the dict, under the documented names.
    :param limit: how many characters the output may have.
    """
    output = fields.get("output")
    if not isinstance(output, dict):
        return fields, False
    cutter = _Cutter(max(0, limit))
    kept = {name: cutter.cut_field(name, value) for name, value in output.items()}
    return ({**fields, "output": kept}, True) if cutter.has_cut else (fields, False)


def shortened_text(text: str, limit: int) -> str:
    """
    Return a text of a bounded length, which says how much of it was left out.

    :param text: the text.
    :param limit: how many characters it may have.
    """
    return text if len(text) <= limit else f"{text[:limit]}\n... ({len(text) - limit} more characters)"


class _Cutter:
    """Cuts values one after the other, so that all of them together have a bounded length."""

    def __init__(self, limit: int) -> None:
        self.has_cut = False
        self._left = limit

    def cut_field(self, name: str, value: Any) -> Any:
        """Return as much of a field of the output as there is room for."""
        if name == "data" and isinstance(value, dict):
            return {kind: self._cut(part) for kind, part in value.items() if isinstance(part, str) or self._fits(part)}
        if name == "traceback" and isinstance(value, list):
            return [self._cut(line) for line in takewhile(self._fits, reversed(value))][::-1]
        return self._cut(value) if name in ("data", "evalue", "traceback") else value

    def _fits(self, value: Any) -> bool:
        fits = _length(value) <= self._left
        self.has_cut = self.has_cut or not fits
        return fits

    def _cut(self, value: Any) -> Any:
        if value is None or self._fits(value):
            self._left -= _length(value) if value is not None else 0
            return value
        if not isinstance(value, str):
            return None
        kept, self._left = value[: self._left], 0
        return f"{kept}\n... ({len(value) - len(kept)} more characters)"


def _length(value: Any) -> int:
    return len(value) if isinstance(value, str) else len(json.dumps(value))
