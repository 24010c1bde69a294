"""
The request that creates a session or a batch job: what its body must be, and how large one may be.

What the service requires is in its specification; that it matches the names of fields without regard to case is deduced
from clients in use. Which words it refuses a wrong field with is not public: those here are the emulator's own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from aiohttp import web

from airflow_provider_synapse_livy.emulator.errors import (
    QUOTA_POOL,
    SMALL_POOL,
    pool_capacity_exceeded,
    vcore_quota_exceeded,
)

__all__ = ["DEFAULT_NAME", "MAX_REQUEST_BYTES", "SMALL_POOL_VCORES", "creation_options", "json_object", "size_error"]

#: The name of a session that a test creates without one.
DEFAULT_NAME = "emulated"

#: The documented limit of 100 kBytes.
MAX_REQUEST_BYTES = 100_000

#: How many vcores the pool ``small`` holds.
SMALL_POOL_VCORES = 12

#: The sizes of a session that was created without them. Those of the service are not public.
_DEFAULT_SIZES = {"driverCores": 4, "executorCores": 4, "numExecutors": 2}


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and value.strip() != ""


def _is_memory(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[1-9][0-9]*[kmgt]b?", value, re.IGNORECASE) is not None


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value < 2**31


def _is_list_of_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_map_of_texts(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(item, str) for item in value.values())


_Rule = tuple[Callable[[Any], bool], str]

_NAME: _Rule = (_is_name, "a string that is not empty")
_TEXT: _Rule = (_is_text, "a string")
_MEMORY: _Rule = (_is_memory, 'a string such as "28g"')
_COUNT: _Rule = (_is_count, "a whole number of at least 1")
_TEXTS: _Rule = (_is_list_of_texts, "a list of strings")
_TEXT_MAP: _Rule = (_is_map_of_texts, "an object whose values are strings")

#: What each field must be. All but the name, and the file of a batch job, may be missing or null.
_RULES: dict[str, _Rule] = {
    "name": _NAME,
    "file": _NAME,
    **dict.fromkeys(("artifactId", "className"), _TEXT),
    **dict.fromkeys(("driverMemory", "executorMemory"), _MEMORY),
    **dict.fromkeys(("driverCores", "executorCores", "numExecutors"), _COUNT),
    **dict.fromkeys(("args", "jars", "pyFiles", "files", "archives"), _TEXTS),
    **dict.fromkeys(("conf", "tags"), _TEXT_MAP),
}
_NAMES_BY_LOWER_CASE: Mapping[str, str] = {name.lower(): name for name in _RULES}


def json_object(body: bytes) -> dict[str, Any]:
    """
    Return the JSON object in the body of a request.

    :raises ValueError: if it is no JSON, or no object.
    """
    try:
        decoded = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"The request body is not JSON: {error}") from error
    if not isinstance(decoded, dict):
        raise ValueError("The request body is not a JSON object.")  # noqa: TRY004, its caller handles one kind of error
    return decoded


def creation_options(body: bytes, required: Collection[str] = ("name",)) -> dict[str, Any]:
    """
    Return the fields of a request that creates, by their documented names; unknown fields stay, and do no harm.

    :param body: the body of the request.
    :param required: the fields that must not be missing.
    :raises ValueError: if it is no JSON object, or a field is not what it must be.
    """
    options = {_NAMES_BY_LOWER_CASE.get(name.lower(), name): value for name, value in json_object(body).items()}
    for name in required:
        if options.get(name) is None:
            raise ValueError(f"The field '{name}' is required.")
    for name, (is_valid, what) in _RULES.items():
        if options.get(name) is not None and not is_valid(options[name]):
            raise ValueError(f"The field '{name}' must be {what}.")
    return options


def size_error(pool: str, options: Mapping[str, Any], vcore_limit: int | None) -> web.Response | None:
    """
    Return the response to a request for a session that is too large, or None if it is not.

    Only the session itself counts, and not what else runs: the service accepts a session for which there is no room at
    the moment, and it fails later, as in the scenario ``capacity_exceeded``.

    :param options: the fields of the request.
    :param vcore_limit: the vcores of the workspace; None for no limit.
    """
    sizes = {name: options.get(name) or default for name, default in _DEFAULT_SIZES.items()}
    requested = sizes["driverCores"] + sizes["numExecutors"] * sizes["executorCores"]
    limit = 0 if pool == QUOTA_POOL else vcore_limit
    if limit is not None and requested > limit:
        return vcore_quota_exceeded(requested, limit)
    if pool == SMALL_POOL and requested > SMALL_POOL_VCORES:
        return pool_capacity_exceeded(requested, SMALL_POOL_VCORES)
    return None
