"""Polling for all who wait on an event loop, against a real server. What the schedule decides: tests/unit/polling."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import json
import re
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from aiohttp import web

from airflow_provider_synapse_livy.emulator.tls import server_context
from airflow_provider_synapse_livy.exceptions import (
    SparkSessionNotFoundError,
    SynapseLivyAuthenticationError,
    SynapseLivyConfigurationError,
    SynapseLivyError,
    SynapseLivyUnavailableError,
)
from airflow_provider_synapse_livy.livy.resources import SPARK_SESSION
from airflow_provider_synapse_livy.polling import poller, watch
from airflow_provider_synapse_livy.polling.schedule import PollSchedule
from airflow_provider_synapse_livy.polling.watch import Watch
from airflow_provider_synapse_livy.transport import async_client
from airflow_provider_synapse_livy.transport.rate_limit import REQUESTS_PER_SECOND
from tests.support import sample_sessions as samples
from tests.support.connections import connection, to_emulator, to_server
from tests.support.scripted_server import ScriptedServer, nothing

LIST = re.compile(r"/sparkPools/(?P<pool>[^/]+)/sessions$")
SINGLE = re.compile(r"/sparkPools/(?P<pool>[^/]+)/sessions/(?P<id>\d+)$")


class Workspace:
    """
    A workspace whose sessions, order and faults a test sets as it likes, on the test's own loop.

    :param ids: the sessions of its pools, in the order in which they are listed.
    """

    def __init__(self, ids=()):
        self.ids = list(ids)
        self.states = {}
        self.changes = {}
        self.asked = Counter()
        self.times = []
        self.on_list = None
        self.on_single = None
        self.closing = asyncio.Event()

    async def __aenter__(self):
        self._runner = web.ServerRunner(web.Server(self._answer, access_log=None), shutdown_timeout=0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_):
        self.closing.set()
        await self._runner.cleanup()

    def body(self, session_id):
        """Return a session as it stands."""
        return samples.session(
            id=session_id, state=self.states.get(session_id, "busy"), **self.changes.get(session_id, {})
        )

    async def _answer(self, request):
        kind = "list" if LIST.search(request.path) else "single"
        pool = (LIST.search(request.path) or SINGLE.search(request.path))["pool"]
        self.asked[kind] += 1
        self.asked[pool] += 1
        self.times.append(time.monotonic())
        fault = self.on_list if kind == "list" else self.on_single
        if fault and (response := await fault(request)) is not None:
            return response
        if kind == "single":
            return self._reply(self.body(int(SINGLE.search(request.path)["id"])))
        start, size = int(request.query["from"]), int(request.query["size"])
        page = [self.body(session_id) for session_id in self.ids[start : start + min(size, 20)]]
        return self._reply({"from": start, "total": len(page), "sessions": page})

    def _reply(self, body):
        return web.json_response(body, headers={"x-ms-activity-id": f"activity-{sum(self.asked.values())}"})


def always(status, **headers):
    """Return a fault that lasts."""

    async def answer(_):
        return web.json_response({}, status=status, headers=headers)

    return answer


def to(workspace, **extra):
    """Return a connection to a workspace."""
    return to_server(workspace.url, **extra)


def watch_session(livy_connection, session_id, *, pool="etl", resource=SPARK_SESSION):
    """Return a watch of a session, over a connection that never changes."""

    async def connect(_):
        return livy_connection

    return Watch(connect, resource, session_id, spark_pool_name=pool)


async def until(condition):
    """Return when a condition holds; the scenario's timeout is the limit."""
    while not condition():
        await asyncio.sleep(0.005)


class Waits:
    """Waits as a triggerer has them: each polls its session until that is idle."""

    def __init__(self, livy_connection, **options):
        self.connection = livy_connection
        self.options = {"interval": 0.05, "retry_timeout": 20.0, "pool": "etl", "resource": SPARK_SESSION} | options
        self.polled = Counter()
        self.tasks = []

    def begin(self, ids, **options):
        """Begin to wait for sessions, and return the tasks."""
        tasks = [asyncio.create_task(self.wait(number, **self.options | options)) for number in ids]
        self.tasks += tasks
        return tasks

    async def begin_and_poll(self, ids, **options):
        """Begin to wait for sessions, and return the tasks when each has polled its session a few times."""
        tasks = self.begin(ids, **options)
        await until(lambda: all(self.polled[number] >= 3 for number in ids))
        return tasks

    async def wait(self, number, *, interval, retry_timeout, pool, resource):
        """Return the snapshot of a session that is idle."""
        async with watch_session(self.connection, number, pool=pool, resource=resource) as watch:
            snapshot = await watch.poll(retry_timeout=retry_timeout)
            while snapshot.record.state != "idle":
                self.polled[number] += 1
                snapshot = await watch.poll(after=interval, retry_timeout=retry_timeout)
            return snapshot

    async def cancel(self):
        """Wait no more."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def errors(tasks):
    """Return the errors that tasks end with."""
    return await asyncio.gather(*tasks, return_exceptions=True)


def run(scenario):
    """Run a scenario, and check that it leaves nothing open and nobody waiting for ever."""

    async def watched():
        async with asyncio.timeout(30):
            result = await scenario()
        assert not any(watch._pollers.get(asyncio.get_running_loop(), {}).values())
        assert not any(async_client._shared.get(asyncio.get_running_loop(), {}).values())
        return result

    return asyncio.run(watched())


def test_many_waits_are_answered_by_list():
    """Waits whose sessions fill several pages each get their own session, with the activity id of its page."""
    ids = list(range(60))

    async def scenario():
        async with Workspace([*range(1000, 1010), *ids]) as workspace:
            waits = Waits(to(workspace))
            await waits.begin_and_poll(ids)
            assert workspace.asked["single"] <= 6  # the first to come may be few
            workspace.states = dict.fromkeys(ids[:30], "idle")
            snapshots = await asyncio.gather(*waits.tasks[:30])
            assert [snapshot.record.id for snapshot in snapshots] == ids[:30]
            assert len({snapshot.activity_id for snapshot in snapshots}) <= 4  # pages, and not sessions
            assert snapshots[0].activity_id.startswith("activity-")
            assert not any(task.done() for task in waits.tasks[30:])
            await waits.cancel()

    run(scenario)


def test_waits_for_one_session_share_its_polls():
    """Ten waits for the same session cost no more requests than one does."""

    async def scenario():
        async with Workspace([7]) as workspace:
            waits = Waits(to(workspace))
            await waits.begin_and_poll([7] * 10)
            assert workspace.asked["list"] == 0
            assert workspace.asked["single"] <= waits.polled[7] / 10 + 10  # not in step at first
            workspace.states = {7: "idle"}
            await asyncio.gather(*waits.tasks)

    run(scenario)


@pytest.mark.parametrize("status", [400, 403, 404, 500, 503])
def test_list_that_fails_is_done_without(status):
    """If the list can't be had, the sessions are read singly, and the list is left alone for a while."""
    ids = list(range(20))

    async def scenario():
        async with Workspace(ids) as workspace:
            workspace.on_list = always(status)
            waits = Waits(to(workspace))
            await waits.begin_and_poll(ids)
            workspace.states = dict.fromkeys(ids, "idle")
            await asyncio.gather(*waits.tasks)
            assert 1 <= workspace.asked["list"] <= 3

    run(scenario)


INCOMPLETE = {
    "no result": {"result": None},
    "no scheduler": {"schedulerInfo": None},
    "no plugin": {"pluginInfo": None},
    "failed, but no error": {"state": "dead", "result": "Failed"},
    "infinite": {"tags": {"a": "INFINITE"}},
    "unreadable": {"id": 5, "state": ["?"]},
}


@pytest.mark.parametrize("changes", INCOMPLETE.values(), ids=INCOMPLETE)
def test_item_that_lacks_something_is_confirmed(changes):
    """What the list has in part only is read singly before any wait gets it."""
    ids = list(range(20))

    async def scenario():
        async with Workspace(ids) as workspace:

            async def lacking(request):
                listed = ids if request.query["from"] == "0" else []
                items = [workspace.body(number) | (changes if number == 5 else {}) for number in listed]
                page = json.dumps({"sessions": items, "total": len(items)}).replace('"INFINITE"', "1e999")
                return web.Response(text=page, content_type="application/json")

            workspace.on_list = lacking
            waits = Waits(to(workspace))
            await waits.begin_and_poll(ids)
            workspace.changes = {5: {"result": "Succeeded"}}
            workspace.states = {5: "idle"}
            snapshot = await waits.tasks[5]
            assert (snapshot.record.result, snapshot.record.tags) == ("Succeeded", {})
            assert snapshot.record.scheduler_info
            assert snapshot.record.plugin_info
            await waits.cancel()

    run(scenario)


def test_poll_for_changes_alone_returns_with_a_change():
    """A poll for changes alone goes on while nothing changes, and returns with the change."""

    async def scenario():
        async with Workspace([1]) as workspace, watch_session(to(workspace), 1) as one:
            await one.poll()
            poll = asyncio.create_task(one.poll(after=0.05, retry_timeout=1, only_changes_for=25))
            await until(lambda: workspace.asked["single"] >= 5)
            assert not poll.done()
            workspace.states = {1: "idle"}
            assert (await poll).record.state == "idle"

    run(scenario)


def test_poll_for_changes_alone_returns_at_its_end():
    """A poll for changes alone returns what has not changed when its time is over, and no sooner."""

    async def scenario():
        async with Workspace([1]) as workspace, watch_session(to(workspace), 1) as one:
            await one.poll()
            began = time.monotonic()
            assert (await one.poll(after=0.05, retry_timeout=1, only_changes_for=0.4)).record.state == "busy"
            assert time.monotonic() - began >= 0.39
            assert workspace.asked["single"] >= 3

    run(scenario)


def test_change_between_two_polls_is_told_with_the_next():
    """A change that is seen while a wait does not poll answers its next poll, even if that is for changes alone."""

    async def scenario():
        async with Workspace([1]) as workspace:
            livy_connection = to(workspace)
            async with watch_session(livy_connection, 1) as one, watch_session(livy_connection, 1) as two:
                await asyncio.gather(one.poll(), two.poll())
                workspace.states = {1: "idle"}
                await two.poll()
                missed = await asyncio.wait_for(one.poll(after=0.05, retry_timeout=1, only_changes_for=3600), 10)
                assert missed.record.state == "idle"

    run(scenario)


def test_first_poll_of_a_subscription_is_answered():
    """A wait that subscribes again is told what its first poll shows, even if that is for changes alone."""

    async def scenario():
        async with Workspace([1]) as workspace:
            livy_connection = to(workspace)
            async with watch_session(livy_connection, 1) as one, watch_session(livy_connection, 1) as two:
                await asyncio.gather(one.poll(), two.poll())
                await two.close()
                asked = workspace.asked["single"]
                told = await asyncio.wait_for(two.poll(retry_timeout=1, only_changes_for=3600), 10)
                assert told.record.state == "busy"
                assert workspace.asked["single"] - asked <= 2

    run(scenario)


def test_connection_that_can_not_be_read_again_leaves_the_refusal():
    """If the connection can't be read after a refused identity, the wait ends with the refusal."""

    async def scenario():
        async with Workspace([1]) as workspace:
            workspace.on_single = always(401)
            calls = []

            async def connect(anew):
                calls.append(anew)
                if anew:
                    raise SynapseLivyUnavailableError("Airflow can't read the connection.")
                return to(workspace)

            async with Watch(connect, SPARK_SESSION, 1, spark_pool_name="etl") as one:
                with pytest.raises(SynapseLivyAuthenticationError, match="answered 401"):
                    await one.poll(retry_timeout=1)
            assert calls == [False, True]

    run(scenario)


def test_errors_reach_those_whom_they_concern():
    """A session that is gone ends its own wait, with the error that a request for it alone gives."""
    ids = list(range(20))

    async def gone(request):
        return web.json_response({"code": "NotFound"}, status=404) if request.path.endswith("/77") else None

    async def scenario():
        async with Workspace(ids) as workspace:
            workspace.on_single = gone
            waits = Waits(to(workspace))
            waits.begin([*ids, 77])
            with pytest.raises(SparkSessionNotFoundError, match="^Spark session 77 in pool etl: .*404"):
                await waits.tasks[-1]
            await until(lambda: all(waits.polled[number] for number in ids))
            assert not any(task.done() for task in waits.tasks[:-1])
            await waits.cancel()

    run(scenario)


def test_refused_identity_is_not_tried_for_each_session():
    """If Synapse refuses the token, it does so for all sessions: all who wait get the error, after few requests."""
    ids = list(range(50))

    async def scenario():
        async with Workspace(ids) as workspace:
            workspace.on_list = workspace.on_single = always(401)
            ended = await errors(Waits(to(workspace)).begin(ids))
            assert {type(error) for error in ended} == {SynapseLivyAuthenticationError}
            assert sum(workspace.asked[kind] for kind in ("single", "list")) <= 6

    run(scenario)


def test_refused_identity_has_the_connection_read_anew():
    """After a refused identity the connection is read anew, and the poll goes on with it if it was corrected."""

    async def refuse_the_old(request):
        return web.json_response({}, status=401) if "old" in request.headers["Authorization"] else None

    async def scenario():
        async with Workspace([1]) as workspace:
            workspace.on_single = refuse_the_old
            readings = []

            async def connect(anew):
                readings.append(anew)
                extra = {"auth_type": "token", "spark_pool_name": "etl"}
                password = "new-token" if anew else "old-token"
                return connection(host=workspace.url, login=None, password=password, extra=extra)

            async with Watch(connect, SPARK_SESSION, 1) as one:
                assert (await one.poll()).record.id == 1
            assert readings == [False, True]

    run(scenario)


@pytest.mark.parametrize("is_proved", [True, False])
def test_connection_that_was_read_before_may_fail_to_be_read(is_proved):
    """A connection that a task has used is read again if that fails; one that nobody has read yet is not."""

    async def scenario():
        async with Workspace([1]) as workspace:
            readings = []

            async def connect(anew):
                readings.append(anew)
                if len(readings) == 1:
                    raise SynapseLivyUnavailableError("The connection can't be read.")
                return to(workspace)

            async with Watch(connect, SPARK_SESSION, 1, is_connection_proved=is_proved) as one:
                if is_proved:
                    assert (await one.poll(retry_timeout=20)).record.id == 1
                else:
                    with pytest.raises(SynapseLivyUnavailableError, match="can't be read"):
                        await one.poll(retry_timeout=20)
            assert len(readings) == 1 + is_proved

    run(scenario)


def test_error_has_the_next_poll_subscribe_again():
    """A watch whose poll failed polls again when asked to, as a wait does that tolerates errors."""

    async def scenario():
        async with Workspace([1]) as workspace, watch_session(to(workspace), 1) as one:
            workspace.on_single = always(503)
            with pytest.raises(SynapseLivyUnavailableError, match="answered 503"):
                await one.poll()
            workspace.on_single = None
            assert (await one.poll()).record.id == 1

    run(scenario)


@pytest.mark.parametrize("wrong", [{"session_id": "x"}, {"pool": ".."}], ids=lambda wrong: next(iter(wrong)))
def test_what_can_not_be_asked_for_is_an_error_at_once(wrong):
    """An id that is none, and a pool that can't stand in a path, are errors before anything is sent."""

    async def scenario():
        async with Workspace([1]) as workspace:
            values = {"session_id": 1, "pool": "etl"} | wrong
            async with watch_session(to(workspace), values["session_id"], pool=values["pool"]) as one:
                with pytest.raises(SynapseLivyConfigurationError):
                    await one.poll()
            assert not workspace.asked

    run(scenario)


def test_outage_is_survived_by_those_who_have_the_time():
    """When all fails for a while, those whose time is over get the error, and the others go on after it."""
    ids = list(range(10))

    async def scenario():
        async with Workspace(ids) as workspace:
            workspace.on_list = workspace.on_single = always(503)
            waits = Waits(to(workspace))
            patient = waits.begin(ids)
            ended = await errors(waits.begin(ids[:5], retry_timeout=0.3))
            assert {type(error) for error in ended} == {SynapseLivyUnavailableError}
            assert not any(task.done() for task in patient)
            workspace.on_list = workspace.on_single = None
            workspace.states = dict.fromkeys(ids, "idle")
            await asyncio.gather(*patient)

    run(scenario)


def test_token_that_is_not_to_be_had_is_asked_for_once_for_all(tmp_path):
    """While the token endpoint hangs, all who wait share its requests, and end when their time is over."""

    async def scenario():
        ca_file = tmp_path / "ca.pem"
        with ScriptedServer(nothing, tls=server_context(ca_file, "127.0.0.1")) as entra:
            extra = {"tenantId": "t", "authority": entra.url, "verify": str(ca_file), "timeout": 1}
            extra |= {"spark_pool_name": "etl"}
            hung = connection(host="https://127.0.0.1:1", login="hung", extra=extra)
            ended = await errors(Waits(hung, retry_timeout=0.5).begin(range(100)))
        assert {type(error) for error in ended} == {SynapseLivyUnavailableError}
        assert {"The token for Synapse" in str(error) for error in ended} == {True}
        assert len(entra.requests) <= 3

    run(scenario)


def test_announced_pause_holds_for_the_workspace():
    """After a 429 nobody asks the workspace again before Retry-After has passed, whatever the pool."""

    async def scenario():
        async with Workspace(range(10)) as workspace:
            answered = []

            async def throttle(_):
                answered.append(time.monotonic())
                return web.json_response({}, status=429, headers={"Retry-After": "1"})

            workspace.on_list = workspace.on_single = throttle
            waits = Waits(to(workspace))
            for pool in ("one", "two"):
                waits.begin(range(10), pool=pool)
            await until(lambda: answered)
            await asyncio.sleep(0.3)
            workspace.on_list = workspace.on_single = None
            workspace.states = dict.fromkeys(range(10), "idle")
            await asyncio.gather(*waits.tasks)
            in_the_pause = [at for at in workspace.times if at < answered[0] + 0.99]
            assert len(in_the_pause) <= 8  # two pools, each with a list and three single requests under way at the most
            assert len(workspace.times) > len(in_the_pause)

    run(scenario)


def test_pause_beyond_the_time_given_is_an_error():
    """A pause that nobody has the time for ends the waits at once."""

    async def scenario():
        async with Workspace(range(10)) as workspace:
            workspace.on_list = workspace.on_single = always(429, **{"Retry-After": "100000"})
            ended = await errors(Waits(to(workspace)).begin(range(10)))
            assert {error.status for error in ended} == {429}

    run(scenario)


def test_list_that_is_throttled_for_good_ends_the_waits():
    """If only the list is throttled, and never ceases to be, the waits go on singly, or end with that error."""

    async def scenario():
        async with Workspace(range(20)) as workspace:
            workspace.on_list = always(429, **{"Retry-After": "1"})
            waits = Waits(to(workspace), retry_timeout=2)
            waits.begin(range(20))
            workspace.states = dict.fromkeys(range(20), "idle")
            ended = await errors(waits.tasks)
            assert all(getattr(end, "status", None) == 429 or end.record.state == "idle" for end in ended)

    run(scenario)


def test_singles_keep_to_the_rate():
    """Where the list is of no use, the requests are spaced, far below what Synapse answers."""

    async def scenario():
        async with Workspace() as workspace:
            waits = Waits(to(workspace), interval=0.01)
            waits.begin(range(150))
            await until(lambda: len(workspace.times) >= 80)
            await waits.cancel()
            return workspace.times[:80]

    times = run(scenario)
    assert times[-1] - times[0] >= (80 - 10 - 5) / REQUESTS_PER_SECOND


@pytest.mark.parametrize("hung", ["list", "single"])
def test_pool_that_hangs_delays_no_other(hung):
    """A pool that does not respond takes nothing from the other pools of its workspace."""
    ids = list(range(30))

    async def scenario():
        async with Workspace(ids) as workspace:

            async def hang(request):
                if "/bad/" in request.path:
                    await workspace.closing.wait()

            if hung == "list":
                workspace.on_list = hang
            workspace.on_single = hang
            waits = Waits(to(workspace))
            waits.begin(range(1000, 1200), pool="bad")
            await until(lambda: workspace.asked["bad"] >= (1 if hung == "list" else 3))
            tasks = await waits.begin_and_poll(ids)
            workspace.states = dict.fromkeys(ids, "idle")
            await asyncio.gather(*tasks)
            in_flight = workspace.asked["bad"]
            await waits.cancel()
            assert in_flight <= (4 if hung == "list" else 20)  # the list responds, but has none of them

    run(scenario)


def test_name_that_is_not_resolved_holds_up_no_other_workspace(monkeypatch):
    """Look-ups of names that hang, however many, do not delay the polls of a workspace whose name resolves."""
    released = threading.Event()
    hung = set()
    resolve = socket.getaddrinfo

    def getaddrinfo(host, *args, **kwargs):
        if str(host).endswith(".azuresynapse.net"):
            hung.add(host)
            released.wait(60)
            raise socket.gaierror("released")
        return resolve(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    hosts = [f"https://ws{number}.dev.azuresynapse.net" for number in range(4)]

    async def scenario():
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(2))  # so that four would use it up
        async with Workspace([1]) as workspace:
            stuck = [waits for host in hosts if (waits := Waits(to_server(host))).begin([1])]
            await until(lambda: len(hung) == len(hosts))
            waits = Waits(to_server(workspace.url.replace("127.0.0.1", "localhost")))
            await waits.begin_and_poll([1])
            workspace.states = {1: "idle"}
            assert (await waits.tasks[0]).record.id == 1
            assert not any(task.done() for others in stuck for task in others.tasks)
            for others in stuck:
                await others.cancel()

    try:
        run(scenario)
    finally:
        released.set()


def test_crash_reaches_all_who_wait(monkeypatch):
    """If polling breaks off for a reason that nobody foresaw, each wait gets an error of its own with the cause."""

    async def scenario():
        async with Workspace(range(10)) as workspace:
            waits = Waits(to(workspace))
            await waits.begin_and_poll(range(10))
            monkeypatch.setattr(PollSchedule, "plan", lambda *_: 1 / 0)
            ended = await errors(waits.tasks)
            assert len({id(error) for error in ended}) == 10
            for error in ended:
                assert isinstance(error, SynapseLivyError)
                assert "pool etl broke off.\nFix: " in str(error)
                assert "ZeroDivisionError" in str(error)
                assert isinstance(error.__cause__, ZeroDivisionError)

    run(scenario)


def test_those_who_come_after_a_crash_start_anew(monkeypatch):
    """A wait that begins after the others have crashed is not drawn in."""

    async def scenario():
        async with Workspace(range(10)) as workspace, watch_session(to(workspace), 1) as crashed:
            with monkeypatch.context() as patch:
                patch.setattr(PollSchedule, "plan", lambda *_: 1 / 0)
                for _ in range(2):
                    with pytest.raises(SynapseLivyError, match="ZeroDivisionError"):
                        await crashed.poll()
            workspace.states = {2: "idle"}
            (task,) = Waits(to(workspace)).begin([2])
            assert (await task).record.id == 2

    run(scenario)


def test_record_that_breaks_something_ends_its_own_wait(caplog):
    """A session whose response breaks something ends its own wait, with the traceback in the log, and no other."""
    broken = dataclasses.replace(SPARK_SESSION, problem=lambda session: 1 / 0 if session.id == 2 else None)

    async def scenario():
        async with Workspace(range(10)) as workspace:
            waits = Waits(to(workspace), resource=broken)
            waits.begin([1, 2, 3])
            with pytest.raises(
                SynapseLivyError, match="(?s)^Spark session 2 in pool etl: polling broke off\\..*ZeroDivision"
            ):
                await waits.tasks[1]
            workspace.states = {1: "idle", 3: "idle"}
            await asyncio.gather(waits.tasks[0], waits.tasks[2])

    run(scenario)
    assert "ZeroDivisionError" in caplog.text


def test_last_to_leave_closes_everything():
    """Whoever waits, however the waits end: when the last is gone, nothing runs and nothing is open."""

    async def scenario():
        async with Workspace(range(10)) as workspace:
            waits = Waits(to(workspace))
            await waits.begin_and_poll(range(10))
            for task in waits.tasks[:9]:
                task.cancel()
            await errors(waits.tasks[:9])
            assert len(watch._pollers[asyncio.get_running_loop()]) == 1
            await waits.cancel()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            assert not [task for task in others if "polling" in repr(task)]

    run(scenario)


def test_shutdown_in_the_middle_leaves_nothing(synapse):
    """When the loop ends with everybody waiting, as in a triggerer's shutdown, all is closed."""
    ids = [synapse.create_session("shutdown") for _ in range(10)]

    async def scenario():
        await Waits(to_emulator(synapse), pool="shutdown", interval=0.2).begin_and_poll(ids)

    asyncio.run(scenario())
    gc.collect()  # what was left open would warn, and warnings are errors


def test_outage_is_logged_once(caplog):
    """An outage is one line in the log for a pool, however many wait and however often they are polled."""

    async def scenario():
        async with Workspace(range(30)) as workspace:
            workspace.on_list = workspace.on_single = always(503)
            waits = Waits(to(workspace))
            waits.begin(range(30))
            await until(lambda: workspace.asked["single"] >= 4)
            await waits.cancel()

    run(scenario)
    levels = [record.levelname for record in caplog.records if record.name == poller.__name__]
    assert levels == ["WARNING"]


def test_next_outage_is_logged_again(caplog):
    """When a pool fails again after it had recovered, that is a line of its own in the log."""

    async def scenario():
        async with Workspace([1]) as workspace:
            waits = Waits(to(workspace))
            waits.begin([1])
            for _ in range(2):
                before, workspace.on_single = workspace.asked["single"], always(503)
                await until(lambda before=before: workspace.asked["single"] >= before + 2)
                before, workspace.on_single = waits.polled[1], None
                await until(lambda before=before: waits.polled[1] >= before + 2)
            await waits.cancel()

    run(scenario)
    assert len([record for record in caplog.records if record.name == poller.__name__]) == 2
