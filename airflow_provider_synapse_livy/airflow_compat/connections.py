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

from airflow_provider_synapse_livy.airflow_compat.sdk import BaseHook

__all__ = ["read_connection", "run_in_airflow_thread"]

C = TypeVar("C")
T = TypeVar("T")

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


async def run_in_airflow_thread(function: Callable[..., T], *args: Any) -> T:
    """
    Run a function that talks to Airflow, in a thread, one after the other, and return its result.

    It must be a thread of asgiref's: from any other, Airflow 3.0 and 3.1 send the question from an event loop that is
    not the triggerer's, which breaks the channel that all triggers share.

    :param function: the function.
    :param args: its arguments.
    """
    from asgiref.sync import sync_to_async

    async with _lookup_lock(asyncio.get_running_loop()):
        return await sync_to_async(function)(*args)


def _lookup_lock(loop: asyncio.AbstractEventLoop) -> asyncio.Lock:
    known = _locks.get(loop)
    lock = known() if known else None
    if lock is None:
        lock = asyncio.Lock()
        _locks[loop] = ref(lock)
    return lock


async def _look_up(conn_id: str, parse: _Parse[C]) -> C:
    connection = await _get_connection(conn_id)
    extra = await _get_extra(connection)
    return await asyncio.to_thread(parse, connection, extra)


def _drop(recent: dict[_Key, _Lookup], key: _Key, lookup: _Lookup) -> None:
    """Forget what was read, so that a secret is not kept for longer than it is shared."""
    if recent.get(key) is lookup:
        del recent[key]


async def _get_connection(conn_id: str) -> Any:
    """
    Look a connection up.

    Airflow 2.11 and 3.0 have nothing for it on an event loop. 3.1 to 3.3.1 have, but mask the connection's secrets with
    a synchronous call, which fails if anything else on the loop talks to Airflow at that time; there the synchronous
    look-up runs in a thread. It must be a thread of asgiref's: Airflow 3 sends the question from the loop that waits
    for it, which it finds by asgiref.
    """
    if _masks_asynchronously():
        return await BaseHook.aget_connection(conn_id)
    from asgiref.sync import sync_to_async

    return await sync_to_async(BaseHook.get_connection)(conn_id)


async def _get_extra(connection: Any) -> Any:
    """Return a connection's extra: to read it makes Airflow mask its secrets, as in a look-up."""
    if hasattr(connection, "aextra_dejson"):
        return await connection.aextra_dejson()
    from asgiref.sync import sync_to_async

    return await sync_to_async(lambda: connection.extra_dejson)()


def _masks_asynchronously() -> bool:
    """Return whether Airflow masks secrets without a synchronous call, as 3.3.2 and newer do."""
    try:
        from airflow.sdk import Connection
    except ImportError:
        return False
    return hasattr(Connection, "aextra_dejson")
