"""
The key by which a task finds again what it has created, since the service knows no other way.

The Livy API has no idempotency key, and names need not be unique: a request whose response was lost may have created
something, and sent again it creates a second one. So each creation carries a key of its task, in name and tags, which
the list of the pool shows.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

__all__ = ["KEY_TAG", "is_of_same_task", "key_of", "task_key", "with_key"]

#: The name of the tag that holds the key.
KEY_TAG = "airflow_task_key"

_KEY = re.compile(r"_([0-9a-f]{16}-[0-9]+)$")

#: How many characters of a given name are kept, since the longest name that the service takes is not documented.
_MAX_NAME = 100


def task_key(*parts: object, life: int) -> str:
    """
    Return the key of one life of a task in one run: the same for all its tries, another one after a clearing.

    :param parts: what makes the task unique: DAG, run, task, map index.
    :param life: a number that tells its lives apart.
    """
    digest = hashlib.sha256(json.dumps([str(part) for part in parts]).encode()).hexdigest()
    return f"{digest[:16]}-{life}"


def with_key(body: Mapping[str, Any], key: str) -> dict[str, Any]:
    """
    Return what to create with the key in its name and tags.

    :param body: what to create, under the documented names.
    :param key: the key.
    """
    name = str(body["name"])[:_MAX_NAME]
    return {**body, "name": f"{name}_{key}", "tags": {**(body.get("tags") or {}), KEY_TAG: key}}


def key_of(item: Mapping[str, Any]) -> str | None:
    """
    Return the key that an item of a list was created with; None if it has none.

    :param item: the item, under the documented names.
    """
    tags = item.get("tags")
    tag = tags.get(KEY_TAG) if isinstance(tags, Mapping) else None
    found = _KEY.search(str(item.get("name")))
    return tag if isinstance(tag, str) else found and found[1]


def is_of_same_task(key: str | None, other: str) -> bool:
    """
    Return whether two keys are of the same task in the same run, in whichever of its lives.

    :param key: one key, if there is one.
    :param other: the other key.
    """
    return key is not None and key.rpartition("-")[0] == other.rpartition("-")[0]
