"""The trigger by itself."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from airflow_provider_synapse_livy.transport import async_client
from airflow_provider_synapse_livy.triggers.spark_session import SynapseSparkSessionTrigger
from tests.support.fast_loop import run_fast

OPTIONS = {"timeout": 30.0, "poke_interval": 0.01}


def make_trigger(**changes):
    """Return a trigger that waits until a session is idle."""
    parameters = {
        "session_id": 0,
        "synapse_livy_conn_id": "synapse_livy_default",
        "spark_pool_name": None,
        "livy_api_version": None,
        "target_states": ["idle"],
        "accepted_results": ["Succeeded"],
        "accept_idle_timeout": False,
        "deadline": time.time() + 30,
        "options": OPTIONS,
    }
    return SynapseSparkSessionTrigger(**parameters | changes)


async def events(trigger):
    """Run a trigger to its end, and return the payloads of its events."""
    return [event.payload async for event in trigger.run()]


def test_serialization():
    """A trigger can be made again from what it serializes, which is JSON."""
    path, kwargs = make_trigger(
        history=[("queued", 1.0)], options=OPTIONS | {"silent_fail": True, "max_wait": 7.0}
    ).serialize()
    assert path == "airflow_provider_synapse_livy.triggers.spark_session.SynapseSparkSessionTrigger"
    again = SynapseSparkSessionTrigger(**json.loads(json.dumps(kwargs)))
    assert again.serialize() == (path, kwargs)


def test_one_event(connect, fast_synapse):
    """A wait that ends has one event."""
    connect(fast_synapse.airflow_connection("etl"))
    session_id = fast_synapse.create_session("etl")
    (event,) = asyncio.run(events(make_trigger(session_id=session_id)))
    assert (event["verdict"], event["record"]["state"]) == ("success", "idle")


def test_unexpected_errors_become_events():
    """Even what nobody foresaw reaches the task as an error, since Airflow could turn an exception into a skip."""
    (event,) = asyncio.run(events(make_trigger(options=OPTIONS | {"poke_interval": "soon"})))
    assert event["error"]["kind"] == "SynapseLivyError"
    message = event["error"]["message"]
    assert message.startswith("The wait for Spark session 0 broke off.\nFix: ")
    assert "\nTypeError: " in message


def test_restart_keeps_the_deadline(connect, synapse):
    """A trigger that is made again, as after a restart of the triggerer, ends when the first would have."""
    connect(synapse.airflow_connection("etl"))
    trigger = make_trigger(session_id=synapse.create_session("etl"), deadline=time.time() - 5)
    (event,) = asyncio.run(events(trigger))
    assert (event["verdict"], event["record"]["state"]) == ("timeout", "not_started")


def test_first_pause_ends_at_the_deadline(connect, synapse):
    """A poke_interval beyond the deadline does not delay the last poll."""
    connect(synapse.airflow_connection("etl"))
    trigger = make_trigger(
        session_id=synapse.create_session("etl"),
        deadline=time.time() + 0.2,
        options={"timeout": 3600.0, "poke_interval": 3600.0},
    )
    (event,) = asyncio.run(asyncio.wait_for(events(trigger), timeout=30))
    assert event["verdict"] == "timeout"


def test_cancelled_trigger_closes_its_client(connect, synapse):
    """When Airflow stops a trigger, nothing stays open, and the session is not touched."""
    connect(synapse.airflow_connection("etl"))
    session_id = synapse.create_session("etl")
    before = len(synapse.recorded_requests)

    async def scenario():
        task = asyncio.create_task(events(make_trigger(session_id=session_id)))
        while not synapse.recorded_requests[before:]:
            assert not task.done(), task
            await asyncio.sleep(0.01)
        assert any(clients for clients in async_client._shared.values())
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert not any(clients for clients in async_client._shared.values())

    asyncio.run(asyncio.wait_for(scenario(), timeout=30))
    assert synapse.server.pools.find("etl", session_id).cancelled_at is None


def test_triggers_share_a_client(connect, fast_synapse):
    """Many waits on one loop use one client."""
    connect(fast_synapse.airflow_connection("etl"))
    ids = [fast_synapse.create_session("etl") for _ in range(20)]
    most = 0

    async def watch():
        nonlocal most
        while True:
            most = max(most, sum(len(clients) for clients in async_client._shared.values()))
            await asyncio.sleep(0.001)

    async def scenario():
        watcher = asyncio.create_task(watch())
        ended = await asyncio.gather(*(events(make_trigger(session_id=session_id)) for session_id in ids))
        watcher.cancel()
        return ended

    assert {event["verdict"] for (event,) in asyncio.run(scenario())} == {"success"}
    assert most == 1


def test_silent_fail_reads_a_corrected_connection(connect, fast_synapse):
    """A wait with silent_fail reads the connection again after an error, so that it can be corrected meanwhile."""
    session_id = fast_synapse.create_session("etl", age=60)

    def refused():
        return any("/forbidden/" in request.path for request in fast_synapse.recorded_requests)

    async def scenario():
        connect(fast_synapse.airflow_connection("forbidden"))
        trigger = make_trigger(session_id=session_id, options=OPTIONS | {"silent_fail": True, "poke_interval": 1.0})
        waiting = asyncio.create_task(events(trigger))
        while not refused():
            await asyncio.sleep(0.1)
        assert not waiting.done()
        connect(fast_synapse.airflow_connection("etl"))
        return await waiting

    (event,) = run_fast(scenario())
    assert event["verdict"] == "success"


def test_unchanged_session_is_still_known_at_the_end(connect, synapse):
    """A session that never changes is in the event of a timeout, as the last poll showed it."""
    connect(synapse.airflow_connection("etl"))
    session_id = synapse.create_session("etl", age=70)
    trigger = make_trigger(session_id=session_id, target_states=["dead"], deadline=time.time() + 0.3)
    (event,) = asyncio.run(events(trigger))
    assert (event["verdict"], event["record"]["state"]) == ("timeout", "idle")
    assert event["activity_id"]


@pytest.mark.parametrize("field", ["session_id", "target_states", "accepted_results"])
def test_nonsense_parameters_become_events(connect, synapse, field):
    """Parameters that were tampered with end the wait with an error."""
    connect(synapse.airflow_connection("etl"))
    (event,) = asyncio.run(events(make_trigger(**{field: "nonsense"})))
    assert event["error"]["kind"].endswith("Error")
