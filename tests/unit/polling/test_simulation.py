"""What a pool's polls cost, and how soon changes are seen, in simulated time: in health, outages, hangs and chaos."""

from __future__ import annotations

import random
from functools import partial
from itertools import pairwise

import hypothesis
import hypothesis.strategies as st
import pytest

from airflow_provider_synapse_livy.exceptions import (
    SparkSessionNotFoundError,
    SynapseLivyAuthenticationError,
    SynapseLivyResponseError,
)
from tests.unit.polling.simulation import CLIENT_TIMEOUT, LATENCY, Simulation
from tests.unit.polling.things import unavailable

WAITS = range(300)
INTERVAL = 5.0
QUIET = {"only_changes_for": 3600.0}
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


def down(_, retry_after=None):
    """Fail at once, as a service that is down."""
    return LATENCY, unavailable(503, retry_after)


def hang(_):
    """Send no response until the client breaks the request off."""
    return CLIENT_TIMEOUT, unavailable(None)


def healthy(_):
    """Respond."""
    return


def after_outage(fault, *, listed=WAITS, outage=120.0):
    """Return a pool of 300 waits in health for a minute, and then in an outage, at whose end all records change."""
    pool = Simulation(listed)
    pool.wait_for(WAITS, INTERVAL, retry_timeout=600.0, **QUIET)
    pool.run_until(60)
    pool.fault = fault
    pool.run_until(60 + outage)
    pool.fault = healthy
    pool.states = dict.fromkeys(WAITS, "idle")
    return pool


def rate(pool, start, end):
    """Return how many requests a second were sent."""
    return len(pool.requests_between(start, end)) / (end - start)


def test_health_costs_a_page_for_twenty_polls():
    """Three hundred waits at an interval of five seconds cost three pages a second, and no single request."""
    pool = Simulation(WAITS)
    pool.wait_for(WAITS, INTERVAL, **QUIET)
    pool.run_until(125)
    requests = pool.requests_between(5, 125)
    assert 120 * 15 / 5 * 0.9 <= len(requests) <= 120 * 15 / 5 * 1.15
    assert all(request.is_list for request in requests)


def test_waits_that_begin_one_by_one_fall_into_step():
    """Waits that began at different times are polled together before long."""
    pool = Simulation(range(20))
    for number in range(20):
        pool.at(number / 4, partial(pool.wait_for, [number], INTERVAL))
    pool.run_until(30)
    pool.run_until(130)
    assert len(pool.requests_between(30, 130)) <= 100 / INTERVAL * 2


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_every_change_is_seen_in_whatever_order(order):
    """Whatever the list holds, and in which order, every wait sees its record change within an interval or so."""
    ids = list(range(60))
    pool = Simulation(order(ids))
    pool.wait_for(ids, INTERVAL, **QUIET)
    pool.run_until(20)
    pool.states = dict.fromkeys(ids[:30], "idle")
    pool.run_until(20 + INTERVAL + 1)
    assert [wait.state for wait in pool.waits] == ["idle"] * 30 + ["busy"] * 30
    assert pool.most_in_flight <= [3, 1]


@pytest.mark.parametrize("change", ["shuffles", "grows"])
def test_list_that_changes_while_it_is_read_hides_nobody(change):
    """A list in another order with each page, or with new records in front, hides no change for long."""
    ids = list(range(60))
    pool = Simulation(ids)

    def disturb(request):
        if request.is_list and change == "shuffles":
            random.Random(request.at).shuffle(pool.listed)
        elif request.is_list:
            pool.listed.insert(0, 1000 + len(pool.listed))

    pool.fault = disturb
    pool.wait_for(ids, INTERVAL, **QUIET)
    pool.run_until(20)
    pool.states = dict.fromkeys(ids, "idle")
    pool.run_until(20 + 2 * INTERVAL)
    assert {wait.state for wait in pool.waits} == {"idle"}


def test_few_unlisted_records_do_not_cost_the_others_their_list():
    """A few records that are far down the list are read singly, and the others by its first pages, as without them."""
    pool = Simulation([*range(40), *range(10_000, 15_000)])
    pool.wait_for([*range(40), 77, 78], INTERVAL, **QUIET)
    pool.run_until(120)
    pages = [request for request in pool.requests if request.is_list]
    singles = [request for request in pool.requests if not request.is_list]
    assert len(pages) <= 2 * 1.15 * 120 / INTERVAL + 50  # two for the forty, and some in vain each minute
    assert len(singles) <= 2 * 1.15 * 120 / INTERVAL + 50


def test_outage_gets_one_request_a_second_at_the_most():
    """A total outage of two minutes draws at most a request a second, however many wait."""
    pool = after_outage(down)
    assert 0 < rate(pool, 60, 180) <= 1
    assert not any(wait.errors for wait in pool.waits)


def test_outage_from_the_start_gets_few_requests():
    """An outage that is there when the waits begin draws at most a request a second, but for the first few."""
    pool = Simulation(WAITS)
    pool.fault = down
    pool.wait_for(WAITS, INTERVAL, retry_timeout=600.0)
    pool.run_until(120)
    assert rate(pool, 0, 10) <= 2
    assert rate(pool, 10, 120) <= 1.4  # as first polls have no interval yet, pauses are a second at the most


def test_outage_with_retry_after_gets_fewer_requests():
    """An outage whose responses say when to come back gets a request then, one in twenty seconds."""
    pool = after_outage(partial(down, retry_after=20.0))
    assert 0 < rate(pool, 60, 180) <= 0.1
    requests = pool.requests_between(61, 180)
    assert all(later.at - sooner.at >= 20 for sooner, later in pairwise(requests))


def test_throttled_workspace_gets_few_requests():
    """A 429 stops all requests until the workspace goes on, and then one tries."""
    pool = after_outage(lambda _: (LATENCY, unavailable(429, 20.0)))
    assert 0 < rate(pool, 60, 180) <= 0.1


@pytest.mark.parametrize("listed", [(), range(1000, 1040)])
def test_outage_of_a_pool_whose_list_is_of_no_use_gets_as_few(listed):
    """A pool whose records are read singly, and which then fails, draws at most a request a second."""
    pool = after_outage(down, listed=listed)
    assert 0 < rate(pool, 60, 180) <= 1


def test_hang_has_four_requests_under_way_at_the_most():
    """While nothing responds, a list and three single requests are under way at the most, and few are begun."""
    pool = after_outage(hang, outage=600.0)
    assert sum(pool.most_in_flight) <= 4
    assert 0 < rate(pool, 60, 660) <= 0.2


OUTAGES = {
    "down": down,
    "retry after 2": partial(down, retry_after=2.0),
    "throttled": lambda _: (LATENCY, unavailable(429, 2.0)),
    "list alone": lambda request: down(request) if request.is_list else None,
    "singles alone": lambda request: None if request.is_list else down(request),
    "every other": lambda request: down(request) if int(request.at * 50) % 2 else None,
}


@pytest.mark.parametrize("fault", OUTAGES.values(), ids=OUTAGES)
def test_after_an_outage_every_change_is_seen_within_an_interval(fault):
    """When an outage is over, each wait sees the change of its record within one interval and a second."""
    pool = after_outage(fault)
    pool.run_until(180 + INTERVAL + 1)
    assert {wait.state for wait in pool.waits} == {"idle"}


def test_polls_of_an_outage_end_at_their_own_time():
    """In an outage that lasts, each poll ends with an error at its own time, a trial's later at the most."""
    pool = Simulation(WAITS)
    pool.wait_for(range(150), INTERVAL, retry_timeout=30.0, last_after=60.0)
    pool.wait_for(range(150, 300), INTERVAL, retry_timeout=90.0, last_after=120.0)
    pool.run_until(20)
    pool.fault = down
    pool.run_until(20 + 130)
    for wait in pool.waits:
        time = 30 if wait.number < 150 else 90
        first, error = wait.errors[0]
        assert 20 + time <= first <= 20 + INTERVAL + time + 1
        assert error.status == 503


def test_record_that_always_fails_does_not_stop_the_others():
    """A few records that the service always answers 503 for cost little, and all others see their changes."""
    broken = {3, 77, 250}
    pool = Simulation([number for number in WAITS if number not in broken])
    pool.fault = lambda request: down(request) if request.number in broken else None
    pool.wait_for(WAITS, INTERVAL, **QUIET)
    pool.run_until(120)
    assert rate(pool, 60, 120) <= 3 * 1.15 + 2
    pool.states = dict.fromkeys(WAITS, "idle")
    pool.run_until(120 + INTERVAL + 2)
    assert {wait.number for wait in pool.waits if wait.state != "idle"} == broken


FAULTS = {
    "healthy": healthy,
    "down": down,
    "down, retry after": partial(down, retry_after=20.0),
    "down, retry after long": partial(down, retry_after=100.0),
    "throttled": lambda _: (LATENCY, unavailable(429, 5.0)),
    "hangs": hang,
    "slow": lambda request: (3.0, unavailable()) if int(request.at) % 7 == 0 else None,
    "list down": OUTAGES["list alone"],
    "list hangs": lambda request: hang(request) if request.is_list else None,
    "list forbidden": lambda request: (LATENCY, SynapseLivyResponseError("It is wrong.")) if request.is_list else None,
    "list crashes": lambda request: (LATENCY, ZeroDivisionError()) if request.is_list else None,
    "singles down": OUTAGES["singles alone"],
    "singles hang": lambda request: None if request.is_list else hang(request),
    "some gone": lambda request: (LATENCY, SparkSessionNotFoundError("Gone.")) if request.number in (1, 2) else None,
    "some down": lambda request: down(request) if request.number in (3, 4) else None,
    "some crash": lambda request: (LATENCY, ZeroDivisionError()) if request.number in (5, 6) else None,
    "refused": lambda _: (LATENCY, SynapseLivyAuthenticationError("Refused.")),
    "every other down": OUTAGES["every other"],
}
PHASE = st.tuples(st.sampled_from(sorted(FAULTS)), st.floats(0.1, 90))


@hypothesis.given(
    phases=st.lists(PHASE, min_size=1, max_size=6),
    groups=st.lists(
        st.tuples(
            st.integers(1, 30),
            st.sampled_from([0.5, 5.0, 60.0]),
            st.sampled_from([0.0, 30.0, 180.0]),
            st.sampled_from([0.0, 100.0]),
        ),
        min_size=1,
        max_size=3,
    ),
    listed=st.integers(0, 60),
    has_list=st.booleans(),
    seed=st.integers(0, 99),
)
@hypothesis.settings(max_examples=6)
def test_chaos_leaves_nobody_behind(phases, groups, listed, has_list, seed):
    """
    Whatever fails in whichever order, each poll is answered by its limit and few requests are under way.

    Once all is well again, every wait sees the change of its record.
    """
    pool = Simulation(range(listed), seed=seed, has_list=has_list)
    first = 0
    for count, interval, retry_timeout, only_changes_for in groups:
        options = {"retry_timeout": retry_timeout, "last_after": retry_timeout + 50}
        pool.wait_for(range(first, first + count), interval, only_changes_for=only_changes_for, **options)
        first += count
    for name, seconds in phases:
        pool.fault = FAULTS[name]
        pool.run_until(pool.now + seconds)
    pool.fault = healthy
    pool.states = dict.fromkeys(range(first), "idle")
    pool.run_until(pool.now + 240)  # what hangs, the longest pause, and the longest interval
    assert {wait.state for wait in pool.waits} == {"idle"}
    assert pool.most_in_flight[False] <= 3
    assert pool.most_in_flight[True] <= 1


@hypothesis.given(
    name=st.sampled_from(["down", "down, retry after", "throttled", "hangs"]),
    count=st.integers(4, 300),
    interval=st.sampled_from([1.0, 5.0, 60.0]),
    listed=st.integers(0, 300),
    has_list=st.booleans(),
    seed=st.integers(0, 99),
)
@hypothesis.settings(max_examples=8)
def test_outage_draws_few_requests_however_the_pool_is(name, count, interval, listed, has_list, seed):
    """However many wait, by list or singly and at whichever interval, an outage draws two requests a second at most."""
    pool = Simulation(range(listed), seed=seed, has_list=has_list)
    pool.wait_for(range(count), interval, retry_timeout=180.0, **QUIET)
    pool.run_until(60)
    pool.fault = FAULTS[name]
    pool.run_until(180)
    assert rate(pool, 70, 180) <= 2
