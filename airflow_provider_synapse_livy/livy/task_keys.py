"""
The key by which a task finds again what it has created, since the service knows no other way.

The Livy API has no idempotency key, and names need not be unique: a request whose response was lost may have created
something, and sent again it creates a second one. So each creation carries a key of its task, in name and tags, which
the list of the pool shows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

__all__ = ["KEY_TAG", "carries_key", "task_key", "with_key"]

#: The name of the tag that holds the key.
KEY_TAG = "airflow_task_key"

#: How many characters of a given name are kept, since the longest name that the service takes is not documented.
_MAX_NAME = 100


def task_key(*parts: object) -> str:
    """
    Return the key of one life of a task in one run: the same for all its tries, another one after a clearing.

    :param parts: what makes it unique: DAG, run, task, map index, life.
    """
    return hashlib.sha256(json.dumps([str(part) for part in parts]).encode()).hexdigest()[:16]


def with_key(body: Mapping[str, Any], key: str) -> dict[str, Any]:
    """
    Return what to create with the key in its name and tags.

    :param body: what to create, under the documented names.
    :param key: the key.
    """
    name = str(body["name"])[:_MAX_NAME]
    return {**body, "name": f"{name}_{key}", "tags": {**(body.get("tags") or {}), KEY_TAG: key}}


def carries_key(item: Mapping[str, Any], key: str) -> bool:
    """
    Return whether an item of a list was created with a key.

    :param item: the item, under the documented names.
    :param key: the key.
    """
    tags = item.get("tags")
    return str(item.get("name")).endswith(f"_{key}") or (isinstance(tags, Mapping) and tags.get(KEY_TAG) == key)
