"""
Reading a connection on an event loop, once for all that ask for it within seconds.

A look-up takes a triggerer about 0.1 s. They run one after the other, since Airflow 3.0 to 3.2.1 mixes up the results
of those that run at the same time (apache/airflow#66412), and after a restart all triggers ask at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from weakref import ReferenceType, WeakKeyDictionary, ref

from airflow.providers.common.compat.connection import get_async_connection, get_async_extra_dejson

__all__ = ["read_connection"]

C = TypeVar("C")

_Parse = Callable[[Any, Mapping[str, Any]], C]
_Key = tuple[str, _Parse[Any]]


#: For how many seconds a result is shared, unless a caller says otherwise.
_MAX_AGE = 5.0


@dataclass(frozen=True, eq=False)
class _Lookup:
    began_at: float
    connection: Any


_recent: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[_Key, _Lookup]] = WeakKeyDictionary()

#: The locks are held weakly, too: one that was waited for refers to its loop, and would keep it, and its secrets.
_locks: WeakKeyDictionary[asyncio.AbstractEventLoop, ReferenceType[asyncio.Lock]] = WeakKeyDictionary()


async def read_connection(
    conn_id: str, parse: Callable[[Any, Mapping[str, Any]], C], *, max_age: float = _MAX_AGE
) -> C:
    """
    Read an Airflow connection without blocking the event loop.

    :param conn_id: the id of the Airflow connection.
    :param parse: returns what the connection means, given it and its deserialized extra, which may be any JSON value;
        called in a thread. Its results are shared, so it must be the same function for all that can share them.
    :param max_age: share a result whose look-up began at most this many seconds before; 0 to read the connection anew.
    :raises AirflowNotFoundException: if Airflow has no such connection.
    """
    loop = asyncio.get_running_loop()
    oldest = loop.time() - max_age
    recent = _recent.setdefault(loop, {})
    key = (conn_id, parse)
    async with _lookup_lock(loop):
        lookup = recent.get(key)
        if lookup is None or lookup.began_at < oldest:
            began_at = loop.time()
            lookup = recent[key] = _Lookup(began_at, await _look_up(conn_id, parse))
            loop.call_later(max(max_age, _MAX_AGE), _drop, recent, key, lookup)
    result: C = lookup.connection
    return result


def _lookup_lock(loop: asyncio.AbstractEventLoop) -> asyncio.Lock:
    known = _locks.get(loop)
    lock = known() if known else None
    if lock is None:
        lock = asyncio.Lock()
        _locks[loop] = ref(lock)
    return lock


async def _look_up(conn_id: str, parse: _Parse[C]) -> C:
    connection = await get_async_connection(conn_id)
    extra = await get_async_extra_dejson(connection)
    return await asyncio.to_thread(parse, connection, extra)


def _drop(recent: dict[_Key, _Lookup], key: _Key, lookup: _Lookup) -> None:
    """Forget what was read, so that a secret is not kept for longer than it is shared."""
    if recent.get(key) is lookup:
        del recent[key]
