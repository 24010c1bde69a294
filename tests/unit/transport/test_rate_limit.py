"""How fast an event loop may send requests to a workspace, and when not at all; on a loop whose time is made up."""

from __future__ import annotations

import asyncio
import gc

import pytest

from airflow_provider_synapse_livy.exceptions import (
    SynapseLivyPermissionError,
    SynapseLivyResponseError,
    SynapseLivyUnavailableError,
)
from airflow_provider_synapse_livy.transport.rate_limit import REQUESTS_PER_SECOND, RateLimit, workspace_limit
from tests.support.fast_loop import run_at_once


def throttled():
    """Return the error that a 429 means."""
    return SynapseLivyUnavailableError("It: Synapse answered 429.", status=429, retry_after=7.0)


def unreachable():
    """Return the error that a refused connection means."""
    return SynapseLivyUnavailableError("It: the host refused the connection.")


def now():
    """Return the loop's time."""
    return asyncio.get_running_loop().time()


async def send(limit, error=None):
    """Send a request that succeeds, or ends with an error."""
    await limit.acquire("Spark session 12")
    try:
        with limit.attempt():
            if error:
                raise error
    except SynapseLivyUnavailableError:
        pass


def test_requests_are_spaced():
    """Many requests at once are sent no faster than the limit allows, but for a few."""

    async def scenario():
        limit, began = RateLimit(), now()
        for _ in range(300):
            await send(limit)
        return now() - began

    assert 290 / REQUESTS_PER_SECOND - 0.1 <= run_at_once(scenario()) <= 300 / REQUESTS_PER_SECOND


def test_time_without_requests_is_not_saved_up():
    """However long nothing was sent, only a few requests may go at once after it."""

    async def scenario():
        limit = RateLimit()
        await asyncio.sleep(3600)
        began = now()
        for _ in range(100):
            await send(limit)
        return now() - began

    assert run_at_once(scenario()) >= 0.85


@pytest.mark.parametrize("make_error", [throttled, unreachable])
def test_failure_of_the_workspace_stops_all_requests(make_error):
    """After a 429, and while the host can't be reached, nothing is sent, and the error says what the cause is."""

    async def scenario():
        limit = RateLimit()
        await send(limit, make_error())
        assert limit.resumes_at > now()
        with pytest.raises(SynapseLivyUnavailableError) as caught:
            await limit.acquire("Spark session 12")
        return caught.value

    refused = run_at_once(scenario())
    assert str(refused).startswith("Spark session 12: ")
    assert f"Cause: {make_error().event}." in str(refused)
    assert refused.status == make_error().status
    assert not refused.may_have_been_processed


def test_announced_pause_is_kept():
    """After a 429 the workspace is paused for as long as it asks for, and then goes on."""

    async def scenario():
        limit, began = RateLimit(), now()
        await send(limit, throttled())
        assert limit.resumes_at == pytest.approx(began + 7, abs=0.1)
        await asyncio.sleep(6.9)
        with pytest.raises(SynapseLivyUnavailableError) as caught:
            await limit.acquire("Spark session 12")
        assert caught.value.retry_after == pytest.approx(0.1, abs=0.05)
        await asyncio.sleep(0.2)
        await send(limit)
        assert limit.resumes_at <= now()

    run_at_once(scenario())


def test_pauses_of_an_unreachable_host_grow_to_a_few_seconds():
    """A host that can't be reached is tried again after growing pauses of five seconds at the most."""

    async def scenario():
        limit, pauses = RateLimit(), []
        for _ in range(10):
            await send(limit, unreachable())
            pauses.append(limit.resumes_at - now())
            await asyncio.sleep(pauses[-1] + 0.001)
        await send(limit)
        await send(limit, unreachable())
        return [*pauses, limit.resumes_at - now()]

    *pauses, after_success = run_at_once(scenario())
    assert pauses[0] <= 0.5
    assert all(2.5 <= pause <= 5 for pause in pauses[5:])
    assert after_success <= 0.5


def test_one_request_tries_for_all_after_a_pause():
    """When a pause is over, one request is sent; the others are not, until it has succeeded."""

    async def scenario():
        limit = RateLimit()
        await send(limit, throttled())
        await asyncio.sleep(7.1)
        await limit.acquire("Spark session 1")
        with limit.attempt():
            with pytest.raises(SynapseLivyUnavailableError):
                await limit.acquire("Spark session 2")
            assert limit.resumes_at == pytest.approx(now() + 1)
        await limit.acquire("Spark session 2")

    run_at_once(scenario())


NOT_THE_WORKSPACES = {
    "503": SynapseLivyUnavailableError("It.", status=503, may_have_been_processed=True),
    "timeout": SynapseLivyUnavailableError("It.", may_have_been_processed=True),
}


@pytest.mark.parametrize("error", NOT_THE_WORKSPACES.values(), ids=NOT_THE_WORKSPACES)
def test_failure_of_a_pool_stops_no_other(error):
    """A status that is the pool's, or a response that does not come, does not pause the workspace."""

    async def scenario():
        limit = RateLimit()
        await send(limit, error)
        assert limit.resumes_at <= now()
        await limit.acquire("Spark session 12")

    run_at_once(scenario())


@pytest.mark.parametrize("error", [SynapseLivyPermissionError, SynapseLivyResponseError, ZeroDivisionError])
def test_attempt_that_ends_in_any_way_ends_its_trial(error):
    """The request that tries for all lets the others go on, however it ends."""

    async def scenario():
        limit = RateLimit()
        await send(limit, throttled())
        await asyncio.sleep(7.1)
        await limit.acquire("Spark session 1")
        with pytest.raises(error), limit.attempt():
            raise error("It.")
        await limit.acquire("Spark session 2")

    run_at_once(scenario())


def test_late_success_does_not_end_a_pause():
    """A request that was under way when the workspace was paused does not end the pause with its success."""

    async def scenario():
        limit = RateLimit()
        await limit.acquire("Spark session 1")
        with limit.attempt():
            await send(limit, throttled())
        with pytest.raises(SynapseLivyUnavailableError):
            await limit.acquire("Spark session 2")

    run_at_once(scenario())


def test_limit_is_the_workspaces():
    """All who ask for a workspace's limit on one event loop get the same one, and it is gone when they are."""

    async def scenario():
        one, same, other = (workspace_limit(f"https://{name}") for name in ("one", "one", "other"))
        assert one is same
        assert one is not other
        await send(one, throttled())
        assert same.resumes_at > now()
        await other.acquire("Spark session 12")
        del one, same
        gc.collect()
        await workspace_limit("https://one").acquire("Spark session 12")

    run_at_once(scenario())
