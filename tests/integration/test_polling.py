"""Looking at a pool for all who wait on a loop: how few requests that takes, and that nobody is forgotten."""

from __future__ import annotations

import asyncio
import gc
import json
import random
import re
import time
from collections import Counter

import pytest
from aiohttp import web

from airflow_provider_synapse_livy.emulator.tls import server_context
from airflow_provider_synapse_livy.exceptions import (
    SparkSessionNotFoundError,
    SynapseLivyAuthenticationError,
    SynapseLivyError,
    SynapseLivyUnavailableError,
)
from airflow_provider_synapse_livy.polling import poller as polling
from airflow_provider_synapse_livy.polling.poller import Watch
from airflow_provider_synapse_livy.transport import async_client as aiohttp_client
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
        """Give a session as it stands."""
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


def always(status, body=None, **headers):
    """Make a fault that lasts."""

    async def answer(_):
        return web.json_response(body or {}, status=status, headers=headers)

    return answer


def to(workspace, **extra):
    """Give a connection to a workspace."""
    return to_server(workspace.url, **extra)


async def wait(connection, session_id, state="idle", *, pool="etl", interval=0.2, retry_timeout=20.0, quiet=0.0):
    """Wait for a state as a trigger does, and give the answer that showed it."""
    async with Watch(connection, pool, "2020-12-01", session_id) as watch:
        after, told = 0.0, 0
        while True:
            answer = await watch.look(after=after, retry_timeout=patience, quiet=quiet if told else 0.0)
            told += 1
            if answer.record.state == state:
                return answer
            after = interval


async def waiting(connection, ids, **options):
    """Start to wait for sessions, and give the tasks when all have looked for a while."""
    tasks = [asyncio.create_task(wait(connection, session_id, **options)) for session_id in ids]
    await asyncio.sleep(0.8)
    return tasks


async def cancel(tasks):
    """Stop waiting."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def run(scenario):
    """Run a scenario, and see that it leaves nothing open and nobody waiting for ever."""

    async def watched():
        async with asyncio.timeout(30):
            result = await scenario()
        assert not any(polling._pollers.get(asyncio.get_running_loop(), {}).values())
        assert not any(aiohttp_client._shared.get(asyncio.get_running_loop(), {}).values())
        return result

    return asyncio.run(watched())


ORDERS = {
    "oldest first": lambda ids: ids,
    "newest first": lambda ids: ids[::-1],
    "shuffled": lambda ids: random.Random(1).sample(ids, len(ids)),
    "after thousands of ended ones": lambda ids: [*range(10_000, 15_000), *ids],
    "before thousands of ended ones": lambda ids: [*ids, *range(10_000, 15_000)],
    "between others": lambda ids: [number for pair in zip(ids, range(10_000, 20_000), strict=False) for number in pair],
    "not listed": lambda _: range(10_000, 10_040),
    "empty": lambda _: [],
}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_every_change_is_seen_in_whatever_order(order):
    """Whatever the list holds, and in which order, each wait sees its own session change, and no other."""
    ids = list(range(60))

    async def scenario():
        async with Workspace(order(ids)) as workspace:
            tasks = await waiting(to(workspace), ids, interval=0.5)
            workspace.states = dict.fromkeys(ids[:30], "idle")
            answers = await asyncio.gather(*tasks[:30])
            assert [answer.record.id for answer in answers] == ids[:30]
            assert not any(task.done() for task in tasks[30:])
            await cancel(tasks)

    run(scenario)


def test_every_change_is_seen_though_pages_are_shuffled():
    """A list that comes in another order each time hides nobody for long."""
    ids = list(range(60))

    async def scenario():
        async with Workspace(ids) as workspace:

            async def shuffle(_):
                random.shuffle(workspace.ids)

            workspace.on_list = shuffle
            tasks = await waiting(to(workspace), ids)
            workspace.states = dict.fromkeys(ids, "idle")
            await asyncio.gather(*tasks)

    run(scenario)


def test_sessions_that_appear_while_paging_hide_nobody():
    """New sessions shift the pages while they are read; each wait sees its session all the same."""
    ids = list(range(60))

    async def scenario():
        async with Workspace(ids) as workspace:

            async def grow(_):
                workspace.ids.insert(0, 1000 + len(workspace.ids))

            workspace.on_list = grow
            tasks = await waiting(to(workspace), ids)
            workspace.states = dict.fromkeys(ids, "idle")
            await asyncio.gather(*tasks)

    run(scenario)


def test_many_waits_cost_few_requests():
    """A hundred waits in one interval take the five pages that hold their sessions, not a hundred requests."""
    ids = list(range(100))

    async def scenario():
        async with Workspace(ids) as workspace:
            tasks = await waiting(to(workspace), ids, interval=0.5)
            workspace.asked.clear()
            await asyncio.sleep(2)
            await cancel(tasks)
            assert workspace.asked["single"] == 0
            assert 10 <= workspace.asked["list"] <= 30

    run(scenario)


def test_list_is_read_once_at_a_time():
    """Waits that come while the list is read take what is still to come of it, and start no reading of their own."""
    ids = list(range(200))

    async def scenario():
        async with Workspace(ids) as workspace:
            under_way = [0, 0]

            async def slow(_):
                under_way[0] += 1
                under_way[1] = max(under_way)
                await asyncio.sleep(0.05)
                under_way[0] -= 1

            workspace.on_list = slow
            connection, tasks = to(workspace), []
            for session_id in ids:
                tasks.append(asyncio.create_task(wait(connection, session_id, interval=0.5)))
                await asyncio.sleep(0.005)
            await asyncio.sleep(1)
            workspace.states = dict.fromkeys(ids, "idle")
            await asyncio.gather(*tasks)
            assert under_way[1] == 1

    run(scenario)


def test_waits_that_come_one_by_one_are_brought_in_step():
    """Waits that began at different times look together before long."""
    ids = list(range(20))

    async def scenario():
        async with Workspace(ids) as workspace:
            tasks = []
            for session_id in ids:
                tasks.append(asyncio.create_task(wait(to(workspace), session_id, interval=0.5)))
                await asyncio.sleep(0.025)
            await asyncio.sleep(1)
            workspace.asked.clear()
            await asyncio.sleep(2)
            await cancel(tasks)
            assert sum(workspace.asked[kind] for kind in ("single", "list")) <= 10

    run(scenario)


def test_few_waits_read_singly():
    """Up to three sessions are read by themselves, so that the answer is the session's own."""

    async def scenario():
        async with Workspace(range(100)) as workspace:
            await cancel(await waiting(to(workspace), [0, 50, 99]))
            assert workspace.asked["list"] == 0

    run(scenario)


def test_waits_for_one_session_share_its_looks():
    """Ten waits for the same session cost what one does."""

    async def scenario():
        async with Workspace([7]) as workspace:
            tasks = await waiting(to(workspace), [7] * 10)
            workspace.states = {7: "idle"}
            await asyncio.gather(*tasks)
            assert workspace.asked["list"] == 0
            assert workspace.asked["single"] <= 10

    run(scenario)


@pytest.mark.parametrize("status", [400, 403, 404, 500, 503])
def test_list_that_fails_is_done_without(status):
    """If the list can't be had, the sessions are read singly, and the list is left alone for a while."""
    ids = list(range(20))

    async def scenario():
        async with Workspace(ids) as workspace:
            workspace.on_list = always(status)
            tasks = await waiting(to(workspace), ids, interval=0.5)
            workspace.states = dict.fromkeys(ids, "idle")
            await asyncio.gather(*tasks)
            assert workspace.asked["list"] <= 3

    run(scenario)


def test_list_that_does_not_pay_is_tried_again(monkeypatch):
    """A list that did not pay gets another chance later."""
    monkeypatch.setattr(polling, "_SECOND_CHANCE", 1.0)
    ids = list(range(20))

    async def scenario():
        async with Workspace() as workspace:
            tasks = await waiting(to(workspace), ids)
            tried = workspace.asked["list"]
            workspace.ids = ids
            await asyncio.sleep(1.5)
            workspace.asked.clear()
            await asyncio.sleep(0.6)
            await cancel(tasks)
            assert tried <= 3
            assert workspace.asked["list"] >= 2
            assert workspace.asked["single"] == 0

    run(scenario)


def test_sessions_beyond_the_pages_are_read_singly():
    """A few sessions that are not in the list are read by themselves, without reading all of it each time."""
    ids = list(range(40))

    async def scenario():
        async with Workspace([*ids, *range(10_000, 15_000)]) as workspace:
            tasks = await waiting(to(workspace), [*ids, 77, 78])
            workspace.asked.clear()
            workspace.states = {77: "idle", 78: "idle"}
            await asyncio.gather(*tasks[-2:])
            await cancel(tasks)
            assert workspace.asked["list"] < 50  # of 252 pages

    run(scenario)


INCOMPLETE = {
    "no result": {"result": None},
    "no scheduler": {"schedulerInfo": None},
    "failed, but no error": {"state": "dead", "result": "Failed"},
    "infinite": {"tags": {"a": "INFINITE"}},
    "unreadable": {"livyInfo": "?"},
}


@pytest.mark.parametrize("changes", INCOMPLETE.values(), ids=INCOMPLETE)
def test_item_that_lacks_something_is_confirmed(changes):
    """What the list tells in part only is asked for singly before anybody hears of it."""
    ids = list(range(20))

    async def scenario():
        async with Workspace(ids) as workspace:

            async def lacking(_):
                items = [workspace.body(number) | (changes if number == 5 else {}) for number in ids]
                page = json.dumps({"sessions": items, "total": 20}).replace('"INFINITE"', "1e999")
                return web.Response(text=page, content_type="application/json")

            workspace.on_list = lacking
            tasks = await waiting(to(workspace), ids)
            workspace.changes = {5: {"result": "Succeeded"}}
            workspace.states = {5: "idle"}
            answer = await tasks[5]
            assert (answer.record.result, answer.record.tags) == ("Succeeded", {})
            assert answer.record.scheduler_info
            await cancel(tasks)

    run(scenario)


def test_activity_id_is_of_the_answer():
    """The activity id is that of the answer that showed the session, a page of the list included."""
    ids = list(range(20))

    async def scenario():
        async with Workspace(ids) as workspace:
            tasks = await waiting(to(workspace), ids)
            workspace.states = dict.fromkeys(ids, "idle")
            answers = await asyncio.gather(*tasks)
            assert len({answer.activity_id for answer in answers}) == 1
            assert answers[0].activity_id.startswith("activity-")

    run(scenario)


def test_quiet_looks_tell_of_changes_alone():
    """A wait with nothing to decide is not told what it knows, but of a change at once, and at the end in any case."""

    async def scenario():
        async with Workspace([1]) as workspace, Watch(to(workspace), "etl", "2020-12-01", 1) as watch:
            await watch.look(after=0, retry_timeout=1)
            began = time.monotonic()
            await watch.look(after=0.1, retry_timeout=1, quiet=0.6)
            assert 0.55 <= time.monotonic() - began < 1
            assert workspace.asked["single"] >= 5
            look = asyncio.create_task(watch.look(after=0.1, retry_timeout=1, quiet=20))
            await asyncio.sleep(0.3)
            workspace.states = {1: "idle"}
            assert (await asyncio.wait_for(look, 1)).record.state == "idle"

    run(scenario)


def test_change_that_was_missed_is_told_next():
    """A change that is seen while a wait is not looking is told with its next look, even if that is a quiet one."""

    async def scenario():
        async with Workspace([1]) as workspace:
            connection = to(workspace)
            async with (
                Watch(connection, "etl", "2020-12-01", 1) as one,
                Watch(connection, "etl", "2020-12-01", 1) as two,
            ):
                await asyncio.gather(one.look(after=0, retry_timeout=1), two.look(after=0, retry_timeout=1))
                workspace.states = {1: "idle"}
                await two.look(after=0, retry_timeout=1)
                told = await asyncio.wait_for(one.look(after=0.1, retry_timeout=1, quiet=20), 1)
                assert told.record.state == "idle"

    run(scenario)


def test_look_at_the_deadline_is_in_time():
    """A look that is due sooner than others' is made when it is due, and the others are left alone."""
    ids = list(range(20))

    async def scenario():
        async with Workspace(ids) as workspace:
            tasks = await waiting(to(workspace), ids, interval=10)
            workspace.asked.clear()
            began = time.monotonic()
            async with Watch(to(workspace), "etl", "2020-12-01", 99) as watch:
                await watch.look(after=0.3, retry_timeout=0)
            assert 0.3 <= time.monotonic() - began < 0.6
            assert (workspace.asked["single"], workspace.asked["list"]) == (1, 0)
            await cancel(tasks)

    run(scenario)


def test_errors_reach_those_whom_they_concern():
    """A session that is gone ends its own wait, with the error that a look at it alone gives."""
    ids = list(range(20))

    async def gone(request):
        return web.json_response({"code": "NotFound"}, status=404) if request.path.endswith("/77") else None

    async def scenario():
        async with Workspace(ids) as workspace:
            workspace.on_single = gone
            tasks = await waiting(to(workspace), [*ids, 77])
            with pytest.raises(SparkSessionNotFoundError, match="Spark session 77 in pool etl: .*404"):
                await tasks[-1]
            assert not any(task.done() for task in tasks[:-1])
            await cancel(tasks)

    run(scenario)


def test_refused_identity_is_not_tried_for_each_session():
    """If Synapse refuses the token, it does so for all sessions: all who wait are told, after few requests."""
    ids = list(range(50))

    async def scenario():
        async with Workspace(ids) as workspace:
            workspace.on_list = workspace.on_single = always(401)
            ended = await asyncio.gather(*(wait(to(workspace), number) for number in ids), return_exceptions=True)
            assert {type(error) for error in ended} == {SynapseLivyAuthenticationError}
            assert sum(workspace.asked[kind] for kind in ("single", "list")) <= 4

    run(scenario)


def test_each_wait_has_its_own_patience():
    """When all fails for a while, those whose time is up get the error, and the others go on."""
    ids = list(range(10))

    async def scenario():
        async with Workspace(ids) as workspace:
            workspace.on_list = workspace.on_single = always(503)
            hasty = [asyncio.create_task(wait(to(workspace), number, retry_timeout=0.5)) for number in ids[:5]]
            patient = [asyncio.create_task(wait(to(workspace), number, retry_timeout=20)) for number in ids]
            ended = await asyncio.gather(*hasty, return_exceptions=True)
            assert {type(error) for error in ended} == {SynapseLivyUnavailableError}
            assert not any(task.done() for task in patient)
            workspace.on_list = workspace.on_single = None
            workspace.states = dict.fromkeys(ids, "idle")
            await asyncio.gather(*patient)

    run(scenario)


def test_who_comes_between_two_tries_has_its_own_patience():
    """A wait that comes while the next try at its session is far off is not held up beyond its own time."""

    async def scenario():
        async with Workspace([1]) as workspace:
            workspace.on_single = always(503, **{"Retry-After": "15"})
            patient = asyncio.create_task(wait(to(workspace), 1, retry_timeout=20))
            await asyncio.sleep(0.3)
            hasty = wait(to(workspace), 1, retry_timeout=0.5)
            with pytest.raises(SynapseLivyUnavailableError, match="answered 503"):
                await asyncio.wait_for(hasty, 5)
            assert not patient.done()
            await cancel([patient])

    run(scenario)


def test_list_that_is_throttled_for_good_ends_the_waits():
    """If only the list is throttled, and never ceases to be, the waits end when their time is up, with that error."""

    async def scenario():
        async with Workspace(range(20)) as workspace:
            workspace.on_list = always(429, **{"Retry-After": "1"})
            ended = await asyncio.gather(
                *(wait(to(workspace), number, retry_timeout=3) for number in range(20)), return_exceptions=True
            )
            assert {error.status for error in ended} == {429}

    run(scenario)


def test_fault_of_one_page_does_not_cost_the_list():
    """A page that fails once has the sessions read singly that once, and the list is used again after it."""
    ids = list(range(20))

    async def scenario():
        async with Workspace(ids) as workspace:
            workspace.on_list = always(503)
            tasks = [asyncio.create_task(wait(to(workspace), number, interval=0.3)) for number in ids]
            while not workspace.asked["single"]:
                await asyncio.sleep(0.01)
            workspace.on_list = None
            await asyncio.sleep(1)
            await cancel(tasks)
            assert workspace.asked["single"] == 20
            assert workspace.asked["list"] >= 3

    run(scenario)


def test_list_that_is_slow_keeps_nobody_beyond_its_time():
    """Whoever is on the last pages of a slow list gets an error when its time is up, and not when they are read."""
    near, far = list(range(80)), list(range(80, 100))

    async def scenario():
        async with Workspace([*near, *range(10_000, 10_520), *far]) as workspace:

            async def slow(_):
                await asyncio.sleep(0.25)

            workspace.on_list = slow
            connection = to(workspace, timeout=0.3)
            tasks = [
                asyncio.create_task(wait(connection, number, interval=30, retry_timeout=0.5)) for number in near + far
            ]
            await asyncio.wait(tasks[80:], timeout=4)
            assert all("no answer in the time that there was" in str(task.exception()) for task in tasks[80:])
            assert not any(task.done() for task in tasks[:80])
            await cancel(tasks)

    run(scenario)


def test_token_that_is_not_to_be_had_is_asked_for_once_for_all(tmp_path):
    """While the token endpoint hangs, all who wait share its requests, and end when their time is up."""

    async def scenario():
        ca_file = tmp_path / "ca.pem"
        with ScriptedServer(nothing, tls=server_context(ca_file, "127.0.0.1")) as entra:
            extra = {"tenantId": "t", "authority": entra.url, "verify": str(ca_file), "timeout": 1}
            hung = connection(host="https://127.0.0.1:1", login="hung", extra=extra)
            ended = await asyncio.gather(
                *(wait(hung, number, retry_timeout=2) for number in range(100)), return_exceptions=True
            )
        assert {type(error) for error in ended} == {SynapseLivyUnavailableError}
        assert {"The token for Synapse" in str(error) for error in ended} == {True}
        assert len(entra.requests) <= 3

    run(scenario)


def test_pause_that_is_asked_for_holds_for_the_workspace():
    """After a 429 nobody asks the workspace again before Retry-After has passed, whatever the pool."""

    async def scenario():
        async with Workspace(range(10)) as workspace:
            workspace.on_list = workspace.on_single = always(429, Retry_After="1", **{"Retry-After": "1"})
            tasks = [
                asyncio.create_task(wait(to(workspace), number, pool=pool, retry_timeout=20))
                for number in range(10)
                for pool in ("one", "two")
            ]
            await asyncio.sleep(0.5)
            workspace.on_list = workspace.on_single = None
            workspace.states = dict.fromkeys(range(10), "idle")
            await asyncio.gather(*tasks)
            gaps = [later - sooner for sooner, later in zip(workspace.times, workspace.times[1:], strict=False)]
            assert workspace.times[-1] - workspace.times[0] >= 1
            assert max(gaps) >= 0.9
            assert gaps.index(max(gaps)) < 4  # so many may have been under way

    run(scenario)


def test_pause_beyond_the_time_given_is_an_error():
    """A pause that nobody has the time for ends the waits at once."""

    async def scenario():
        async with Workspace(range(10)) as workspace:
            workspace.on_list = workspace.on_single = always(429, **{"Retry-After": "100000"})
            ended = await asyncio.gather(*(wait(to(workspace), n) for n in range(10)), return_exceptions=True)
            assert {error.status for error in ended} == {429}

    run(scenario)


def test_singles_keep_to_the_rate():
    """Where the list is of no use, the requests are spaced, far below what Synapse answers."""
    ids = list(range(150))

    async def scenario():
        async with Workspace() as workspace:
            await cancel(await waiting(to(workspace), ids, interval=0.1))
            fullest = max(sum(start <= at < start + 0.5 for at in workspace.times) for start in workspace.times)
            assert fullest <= 0.5 * 100 + 15

    run(scenario)


@pytest.mark.parametrize("hung", ["list", "single"])
def test_pool_that_hangs_delays_no_other(hung):
    """A pool that gives no answer takes nothing from the other pools of its workspace."""
    ids = list(range(30))

    async def scenario():
        async with Workspace(ids) as workspace:

            async def hang(request):
                if "/bad/" in request.path:
                    await workspace.closing.wait()

            if hung == "list":
                workspace.on_list = hang
            workspace.on_single = hang
            connection = to(workspace)
            stuck = [asyncio.create_task(wait(connection, number, pool="bad")) for number in range(200)]
            await asyncio.sleep(0.3)
            tasks = await waiting(connection, ids)
            workspace.states = dict.fromkeys(ids, "idle")
            await asyncio.wait_for(asyncio.gather(*tasks), 1)
            await cancel(stuck)

    run(scenario)


def test_crash_reaches_all_who_wait(monkeypatch):
    """If looking breaks off for a reason that nobody foresaw, each wait gets an error with its cause."""

    async def scenario():
        async with Workspace(range(10)) as workspace:
            tasks = await waiting(to(workspace), range(10))
            monkeypatch.setattr(polling.PoolPoller, "_choose_for_list", lambda *_: 1 / 0)
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            assert len({id(error) for error in ended}) == 10
            for error in ended:
                assert isinstance(error, SynapseLivyError)
                assert "pool etl broke off: ZeroDivisionError" in str(error)
                assert isinstance(error.__cause__, ZeroDivisionError)

    run(scenario)


def test_those_who_come_after_a_crash_start_anew(monkeypatch):
    """A wait that begins after the others have crashed is not drawn in."""

    async def scenario():
        async with Workspace(range(10)) as workspace, Watch(to(workspace), "etl", "2020-12-01", 1) as crashed:
            with monkeypatch.context() as patch:
                patch.setattr(polling.PoolPoller, "_choose_for_list", lambda *_: 1 / 0)
                for _ in range(2):
                    with pytest.raises(SynapseLivyError, match="ZeroDivisionError"):
                        await crashed.look(after=0, retry_timeout=1)
            workspace.states = {2: "idle"}
            assert (await wait(to(workspace), 2)).record.id == 2

    run(scenario)


def test_last_to_leave_closes_everything():
    """Whoever waits, however the waits end: when the last is gone, nothing runs and nothing is open."""

    async def scenario():
        async with Workspace(range(10)) as workspace:
            tasks = await waiting(to(workspace), range(10))
            await cancel(tasks[:9])
            assert len(polling._pollers[asyncio.get_running_loop()]) == 1
            await cancel(tasks)
            others = asyncio.all_tasks() - {asyncio.current_task()}
            assert not [task for task in others if "polling" in repr(task)]

    run(scenario)


def test_shutdown_in_the_middle_leaves_nothing(synapse):
    """When the loop ends with everybody waiting, as in a triggerer's shutdown, all is closed."""
    ids = [synapse.create_session("shutdown") for _ in range(10)]

    async def scenario():
        await waiting(to_emulator(synapse), ids, pool="shutdown")

    asyncio.run(scenario())
    gc.collect()  # what was left open would warn, and warnings are errors


def test_trouble_is_logged_once(caplog):
    """An outage is one line in the log for a pool, however many look and however often."""

    async def scenario():
        async with Workspace(range(30)) as workspace:
            workspace.on_list = workspace.on_single = always(503)
            await cancel(await waiting(to(workspace), range(30)))

    run(scenario)
    levels = [record.levelname for record in caplog.records if record.name == polling.__name__]
    assert levels.count("WARNING") == 1
    assert len(levels) <= 2
