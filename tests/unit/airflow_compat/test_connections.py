"""Connections that are read on an event loop."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
import weakref

import pytest

from airflow_provider_synapse_livy.airflow_compat import connections
from airflow_provider_synapse_livy.airflow_compat.connections import read_connection
from airflow_provider_synapse_livy.airflow_compat.sdk import AirflowNotFoundException

VARIABLE = "AIRFLOW_CONN_WORKSPACE"


@pytest.fixture
def define(monkeypatch):
    """Return a function that defines the connection, as JSON."""

    def define(extra, **fields):
        monkeypatch.setenv(VARIABLE, json.dumps({"conn_type": "synapse_livy", "extra": extra} | fields))

    define({"pool": "etl"}, host="ws")
    return define


class Parser:
    """Parses connections, and counts them."""

    def __init__(self):
        self.count = 0

    def __call__(self, connection, extra):
        """Return what is read of a connection."""
        self.count += 1
        return connection.host, extra


def test_connection_is_parsed(define):
    """What the parser returns for the connection and its extra is returned."""
    assert asyncio.run(read_connection("workspace", Parser())) == ("ws", {"pool": "etl"})


def test_parser_runs_in_a_thread(define):
    """A parser that reads files does not block the event loop."""
    thread = asyncio.run(read_connection("workspace", lambda *_: threading.current_thread()))
    assert thread is not threading.main_thread()


@pytest.mark.parametrize("extra", [["a list"], 5, True, None])
def test_extra_that_is_no_object_reaches_the_parser(define, monkeypatch, extra):
    """An extra that is JSON but no object is for the parser to refuse, in its own words."""
    monkeypatch.setenv(VARIABLE, f"synapse-livy://ws/?__extra__={json.dumps(extra)}")
    try:
        read = asyncio.run(read_connection("workspace", Parser()))
    except AirflowNotFoundException:
        pytest.skip("this Airflow refuses it itself")
    assert read == ("ws", extra)


def test_missing_connection_is_airflows_error():
    """A connection that Airflow does not have is Airflow's own error."""
    with pytest.raises(AirflowNotFoundException):
        asyncio.run(read_connection("nowhere", Parser()))


def test_error_of_the_parser_is_raised_and_not_shared(define):
    """A connection that could not be parsed is read again by the next: it may have been corrected."""

    def parse(connection, extra):
        if connection.host == "ws":
            raise ValueError("wrong host")
        return connection.host

    async def scenario():
        with pytest.raises(ValueError, match="wrong host"):
            await read_connection("workspace", parse)
        define({}, host="other")
        return await read_connection("workspace", parse)

    assert asyncio.run(scenario()) == "other"


def test_those_who_come_together_share_one_look_up(define):
    """Triggers that ask at the same time, and soon after, share what the first of them has read."""
    parse = Parser()

    async def scenario():
        together = await asyncio.gather(*(read_connection("workspace", parse) for _ in range(5)))
        return {id(result) for result in [*together, await read_connection("workspace", parse)]}

    assert len(asyncio.run(scenario())) == 1
    assert parse.count == 1


def test_other_parsers_share_nothing(define):
    """A result is shared only by those who would parse the connection alike."""

    async def scenario():
        await read_connection("workspace", Parser())
        return await read_connection("workspace", lambda *_: "another")

    assert asyncio.run(scenario()) == "another"


def test_max_age_zero_reads_anew(define):
    """With max_age=0 an edited connection is seen at once, and is then shared with all others."""
    parse = Parser()

    async def scenario():
        await read_connection("workspace", parse)
        define({"pool": "adhoc"}, host="ws")
        before = await read_connection("workspace", parse)
        anew = await read_connection("workspace", parse, max_age=0)
        return before[1]["pool"], anew[1]["pool"]

    assert asyncio.run(scenario()) == ("etl", "adhoc")


def test_reading_anew_together_is_no_storm(define):
    """Those who want it read anew at the same time share a look-up that began after they had asked."""
    parse = Parser()

    async def scenario():
        await read_connection("workspace", parse)
        await asyncio.gather(*(read_connection("workspace", parse, max_age=0) for _ in range(20)))

    asyncio.run(scenario())
    assert parse.count <= 3


class Loop(asyncio.SelectorEventLoop):
    """An event loop whose time can be put forward."""

    ahead = 0.0

    def time(self):
        """Return the time."""
        return super().time() + self.ahead


def test_results_are_shared_for_seconds_only(define):
    """After max_age seconds the connection is read again, and what was read before is not kept."""
    parse = Parser()

    class Connection:
        pass

    async def scenario():
        loop = asyncio.get_running_loop()
        secret = weakref.ref(await read_connection("workspace", lambda *_: Connection()))
        await read_connection("workspace", parse)
        loop.ahead = 4.9
        await read_connection("workspace", parse)
        assert (parse.count, secret() is not None) == (1, True)
        loop.ahead = 5.1
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        gc.collect()
        assert secret() is None
        await read_connection("workspace", parse)
        assert parse.count == 2

    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(scenario())


@pytest.fixture
def look_up(monkeypatch):
    """Return a function that replaces Airflow's look-up of a connection."""

    def replace(get_connection):
        async def get_extra(connection):
            return {}

        monkeypatch.setattr(connections, "_get_connection", get_connection)
        monkeypatch.setattr(connections, "_get_extra", get_extra)

    return replace


def as_it_is(connection, extra):
    """Return the connection."""
    return connection


def test_look_ups_run_one_after_the_other(look_up):
    """Airflow 3.0 to 3.2.1 mixes up the results of look-ups that run at the same time, so none do."""
    running = set()

    async def get_connection(conn_id):
        assert running == set()
        running.add(conn_id)
        await asyncio.sleep(0)
        running.remove(conn_id)
        return conn_id

    look_up(get_connection)

    async def scenario():
        return await asyncio.gather(*(read_connection(name, as_it_is) for name in "abc"))

    assert asyncio.run(scenario()) == ["a", "b", "c"]


def test_cancelled_look_up_lets_the_next_one_go_on(look_up):
    """A trigger that is cancelled while it looks its connection up holds up no other."""
    started = []

    async def get_connection(conn_id):
        started.append(conn_id)
        if len(started) == 1:
            await asyncio.Event().wait()
        return conn_id

    look_up(get_connection)

    async def scenario():
        first, second = (asyncio.create_task(read_connection("workspace", as_it_is)) for _ in range(2))
        while not started:
            await asyncio.sleep(0)
        first.cancel()
        return await asyncio.wait_for(second, timeout=10)

    assert asyncio.run(scenario()) == "workspace"


def test_nothing_keeps_an_event_loop(look_up):
    """A loop that has ended goes, with all that was read on it, even if look-ups had to wait for one another."""

    async def get_connection(conn_id):
        return conn_id

    look_up(get_connection)

    async def scenario():
        await asyncio.gather(*(read_connection(name, as_it_is) for name in "abc"))
        return weakref.ref(asyncio.get_running_loop())

    loop = asyncio.run(scenario())
    gc.collect()
    assert loop() is None
