"""The schedule of a pool's polls: which requests it plans, and who gets which answer. No server, no clock."""

from __future__ import annotations

import math
from concurrent.futures import Future
from itertools import pairwise

import pytest

from airflow_provider_synapse_livy.exceptions import (
    SparkSessionNotFoundError,
    SynapseLivyAuthenticationError,
    SynapseLivyConfigurationError,
    SynapseLivyError,
    SynapseLivyPermissionError,
    SynapseLivyResponseError,
)
from airflow_provider_synapse_livy.polling.health import LIST_BACKOFF_SECONDS
from airflow_provider_synapse_livy.polling.polls import LIST_THRESHOLD, PendingPoll
from airflow_provider_synapse_livy.polling.schedule import MAX_CONCURRENT_GETS, PollSchedule
from tests.unit.polling.things import MAX_ATTEMPT, Waits, numbers_of, page, snapshot, thing, unavailable

MANY = range(20)


def listed(numbers, state="busy"):
    """Return the items of a list."""
    return [thing(number, state) for number in numbers]


def outage(numbers=MANY, *, error=None, **options):
    """Return waits whose list failed at 0, and the trial after it as well, and their answers."""
    waits = Waits()
    answers = waits.polls(numbers, **options)
    waits.schedule.fail(waits.plan(0).listing, error or unavailable(), 0)
    if error is None:
        fail_trial(waits, 0)
    return waits, answers


def fail_trial(waits, now, error=None):
    """Let the one request that tries for all fail, and return the record that it was for."""
    listing, (trial,) = waits.plan(now)
    assert listing is None
    waits.schedule.fail(trial, error or unavailable(), now)
    return numbers_of([trial])[0]


# Who is answered


def test_change_is_told_to_every_subscriber():
    """A change answers every poll of the record, whether or not it is due."""
    waits = Waits()
    first = waits.poll(1)
    waits.land(waits.plan(0).singles, 0)
    assert (first.state, first.changes) == ("busy", 1)
    due, not_due = waits.poll(1, after=5), waits.poll(1, after=100)
    waits.land(waits.plan(5).singles, 5, state="idle")
    assert (due.state, not_due.state) == ("idle", "idle")
    assert (due.changes, not_due.changes) == (2, 2)


def test_unchanged_record_answers_those_whose_poll_is_due():
    """What has not changed answers the polls that are due, or nearly, and no other."""
    waits = Waits()
    waits.poll(1)
    waits.land(waits.plan(0).singles, 0)
    due, nearly_due, not_due = waits.poll(1, after=5), waits.poll(1, after=8), waits.poll(1, after=100)
    waits.land(waits.plan(5).singles, 5)
    assert (due.done(), nearly_due.done(), not_due.done()) == (True, True, False)
    assert due.changes == 1


def test_poll_that_shows_nothing_new_is_repeated_until_its_end():
    """A poll for changes alone is made again each interval, and is answered at its end in any case, not before."""
    waits = Waits(jitter=lambda least, _: least)
    waits.poll(1)
    waits.fly_all(0)
    answer = waits.poll(1, after=5, only_changes_for=12)
    times = []
    while not answer.done():
        now = waits.schedule.next_wake()
        if waits.fly_all(now):
            times.append(now)
    assert times == [5, 10, 12]
    assert answer.changes == 1


def test_change_ends_a_poll_for_changes_alone():
    """A poll for changes alone is answered as soon as there is one."""
    waits = Waits(jitter=lambda least, _: least)
    waits.poll(1)
    waits.fly_all(0)
    answer = waits.poll(1, after=5, only_changes_for=100)
    waits.fly_all(5)
    assert not answer.done()
    waits.fly_all(10, state="idle")
    assert answer.state == "idle"


def test_page_answers_those_who_are_on_it_though_it_was_not_read_for_them():
    """A change that a page shows is told to a wait whose poll is not due for long."""
    waits = Waits()
    waits.poll(99)
    waits.fly_all(0)
    bystander = waits.poll(99, after=1000)
    waits.polls(range(10))
    waits.read_list(waits.plan(0).listing, [*listed(range(10)), thing(99, "idle")], 0)
    assert bystander.state == "idle"


def test_last_poll_is_not_made_early():
    """A poll for changes alone is answered at its end and not in the list of others that is read just before it."""
    waits = Waits(jitter=lambda least, _: least)
    waits.polls([*MANY, 99])
    waits.fly_all(0, listed([*MANY, 99]))
    last = waits.poll(99, after=10, only_changes_for=10)
    waits.polls(MANY, after=9)
    waits.fly_all(9, listed([*MANY, 99]))
    assert not last.done()
    assert waits.schedule.next_wake() == 10
    assert waits.fly_all(10, listed([*MANY, 99])) == [99]
    assert last.done()


def test_poll_that_is_due_before_others_is_made_alone():
    """A poll that is due while those of others are far off is made when it is due, and the others are left alone."""
    waits = Waits()
    waits.polls(MANY, after=10)
    hasty = waits.poll(99, after=0.3, retry_timeout=0)
    assert waits.schedule.next_wake() == 0.3
    assert waits.fly_all(0.3) == [99]
    assert hasty.done()


@pytest.mark.parametrize(("interval", "jittered"), [(0.0, 0.0), (0.5, 0.5), (1.0, 1.0), (10.0, 9.5)])
def test_short_intervals_are_kept(interval, jittered):
    """An interval is shortened by at most a twentieth, and not at all if it is short, as before a deadline."""
    waits = Waits()
    waits.plan(0)
    assert waits.schedule.jittered(interval) == jittered


# List or single


@pytest.mark.parametrize("count", range(1, LIST_THRESHOLD + 1))
def test_few_are_read_singly(count):
    """Up to three records are read singly, so that the response is about the record alone."""
    waits = Waits()
    waits.polls(range(count))
    listing, singles = waits.plan(0)
    assert listing is None
    assert numbers_of(singles) == list(range(count))


def test_many_are_read_by_list():
    """From four records on, one page of the list answers all."""
    waits = Waits()
    answers = waits.polls(range(LIST_THRESHOLD + 1))
    listing, singles = waits.plan(0)
    assert numbers_of([listing]) == [0, 1, 2, 3]
    assert not singles
    assert waits.read_list(listing, listed(MANY), 0) == 1
    assert all(answer.done() for answer in answers)


def test_many_waits_cost_few_requests():
    """A hundred waits in one interval take the five pages that hold their records, and no single request."""
    waits = Waits()
    numbers = range(100)
    answers = waits.polls(numbers)
    listing = waits.plan(0).listing
    assert waits.read_list(listing, listed(numbers), 0) == 5
    assert all(answer.done() for answer in answers)
    assert waits.sends_nothing(0)


def test_waits_for_one_record_share_its_requests():
    """Ten waits for the same record cost what one does."""
    waits = Waits()
    answers = [waits.poll(7) for _ in range(10)]
    listing, singles = waits.plan(0)
    assert (listing, len(singles)) == (None, 1)
    waits.land(singles, 0)
    assert all(answer.done() for answer in answers)


def test_without_a_list_all_are_read_singly():
    """Of what there is no list of, three at a time are read, in the order in which they became due."""
    waits = Waits(has_list=False)
    answers = waits.polls(MANY)
    listing, singles = waits.plan(0)
    assert listing is None
    assert numbers_of(singles) == [0, 1, 2]
    assert waits.sends_nothing(0)
    waits.land(singles[:1], 0)
    assert numbers_of(waits.plan(0).singles) == [3]
    waits.land(singles[1:], 0)
    waits.fly_all(0)
    assert sum(answer.done() for answer in answers) == 19  # the one under way has no answer yet


def test_polls_that_are_near_join_the_list():
    """Polls that are due within half their interval are made with those that are due, so that waits fall into step."""
    waits = Waits()
    answers = [waits.poll(number, after=10 + number / 10) for number in MANY]
    listing = waits.plan(10).listing
    assert numbers_of([listing]) == list(MANY)
    waits.read_list(listing, listed(MANY), 10)
    assert all(answer.done() for answer in answers)


def test_polls_that_are_far_off_do_not_join_the_list():
    """Polls that are due later than in half their interval are not made with those that are due."""
    waits = Waits()
    waits.polls(MANY, after=10)
    far = waits.poll(99, after=100)
    listing = waits.plan(10).listing
    assert 99 not in numbers_of([listing])
    waits.read_list(listing, listed(MANY), 10)
    assert not far.done()
    assert waits.fly_all(100) == [99]


INCOMPLETE = {"incomplete": True}, {"unreadable": True}


@pytest.mark.parametrize("fields", INCOMPLETE, ids=lambda fields: next(iter(fields)))
def test_incomplete_item_is_read_singly_before_it_is_told(fields):
    """An item of the list that does not have all, or can't be read, answers nobody: a single request does."""
    waits = Waits()
    answers = waits.polls(MANY)
    items = [thing(5, "idle", **fields) if number == 5 else thing(number) for number in MANY]
    waits.read_list(waits.plan(0).listing, items, 0)
    assert [answer.done() for answer in answers].count(False) == 1
    listing, singles = waits.plan(0)
    assert listing is None
    assert waits.land(singles, 0, state="starting") == [5]
    assert answers[5].state == "starting"


def test_change_that_an_incomplete_item_shows_is_not_lost():
    """A change that an incomplete item shows is told by the next page that has it in full."""
    waits, some = Waits(), range(10)
    waits.polls([*some, 99])
    waits.fly_all(0, listed([*some, 99]))
    bystander = waits.poll(99, after=1000, only_changes_for=5000)
    waits.polls(some, after=1)
    waits.fly_all(1, [*listed(some), thing(99, "idle", incomplete=True)])
    assert not bystander.done()
    waits.polls(some, 1, after=1)
    waits.fly_all(2, [*listed(some), thing(99, "idle")])
    assert bystander.state == "idle"


def test_list_is_read_once_at_a_time_and_latecomers_take_the_rest():
    """Polls that become due while the list is read get their answer from its remaining pages."""
    waits = Waits()
    numbers = range(60)
    waits.polls(range(40))
    listing = waits.plan(0).listing
    schedule = waits.schedule
    schedule.take_page(listing, page(listed(range(20))), 1)
    late = waits.polls(range(40, 60), 1)
    assert waits.sends_nothing(1)
    assert schedule.wants_page(listing, 1)
    schedule.take_page(listing, page(listed(range(40, 60))), 2)
    assert all(answer.done() for answer in late)
    assert schedule.wants_page(listing, 2)
    schedule.take_page(listing, page(listed(range(20, 40)), is_last=True), 3)
    schedule.land_list(listing, 3)
    assert waits.sends_nothing(3)
    assert len(numbers) == 60


def test_latecomer_whose_page_had_passed_is_polled_next():
    """A poll that became due after its page had been read is made when the list ends."""
    waits = Waits()
    waits.polls(range(20, 40))
    listing = waits.plan(0).listing
    waits.schedule.take_page(listing, page(listed(range(20))), 1)
    late = waits.poll(3, 1)
    waits.plan(1)
    waits.schedule.take_page(listing, page(listed(range(20, 40)), is_last=True), 2)
    waits.schedule.land_list(listing, 2)
    assert not late.done()
    assert waits.fly_all(2) == [3]
    assert late.done()


def test_list_that_does_not_pay_rests():
    """A list that answers few polls is left alone for a minute, and what it did not have is read singly."""
    waits = Waits()
    waits.polls(MANY)
    listing = waits.plan(0).listing
    assert waits.read_list(listing, listed(range(1000, 1040)), 0) <= 3
    assert sorted(waits.fly_all(0)) == list(MANY)
    for now in (5, LIST_BACKOFF_SECONDS - 1):
        waits.polls(MANY, now)
        listing, singles = waits.plan(now)
        assert listing is None
        waits.land(singles, now)
        waits.fly_all(now)
    waits.polls(MANY, LIST_BACKOFF_SECONDS)
    assert waits.plan(LIST_BACKOFF_SECONDS).listing


def test_list_at_rest_is_tried_when_twice_as_many_wait():
    """A list that did not pay is tried before its minute is over if twice as many wait, since it may pay now."""
    waits = Waits()
    waits.polls(MANY)
    waits.fly_all(0)
    waits.polls(range(39), 1)
    assert waits.plan(1).listing is None
    waits.fly_all(1)
    waits.polls(range(40), 2)
    assert len(waits.plan(2).listing.records) >= 30


def test_record_that_is_not_listed_rests():
    """A record that a list did not have is read singly for a minute, and is then looked for in the list again."""
    waits = Waits()
    answers = waits.polls([*MANY, 99])
    waits.read_list(waits.plan(0).listing, listed(MANY), 0)
    assert not answers[-1].done()
    assert waits.fly_all(0) == [99]
    waits.polls([*MANY, 99], 5)
    listing, singles = waits.plan(5)
    assert 99 not in listing.records
    assert numbers_of(singles) == [99]
    waits.read_list(listing, listed(MANY), 5)
    waits.land(singles, 5)
    waits.polls([*MANY, 99], LIST_BACKOFF_SECONDS)
    assert 99 in waits.plan(LIST_BACKOFF_SECONDS).listing.records


def test_unlisted_record_is_read_singly_beside_a_list_under_way():
    """A record that rests from the list does not wait for one that is being read."""
    waits = Waits()
    waits.polls([*MANY, 99])
    waits.fly_all(0, listed(MANY))
    waits.polls(MANY, 5)
    assert waits.plan(5).listing
    waits.poll(99, 5)
    assert numbers_of(waits.plan(5).singles) == [99]


@pytest.mark.parametrize(("waiting", "most"), [(20, 3), (100, 11)])
def test_pages_stop_when_they_do_not_pay(waiting, most):
    """The list is read no further than it answers three polls a page, but for one page in ten waits."""
    waits = Waits()
    waits.polls(range(waiting))
    pages = waits.read_list(waits.plan(0).listing, listed(range(1000, 9000)), 0)
    assert 2 <= pages <= most + 1


def test_pages_go_on_while_they_pay():
    """The list is read on, however long it is, as long as its pages answer polls."""
    waits = Waits()
    numbers = range(2000)
    answers = waits.polls(numbers)
    assert waits.read_list(waits.plan(0).listing, listed(numbers), 0) == 100
    assert all(answer.done() for answer in answers)


def test_pages_end_when_nobody_waits_for_them():
    """The list is read no further than to the last record that is looked for."""
    waits = Waits()
    waits.polls(MANY)
    assert waits.read_list(waits.plan(0).listing, listed(range(1000)), 0) == 1


def test_page_that_comes_again_does_not_pay():
    """A service that sends the same page whatever was asked for is asked a few times, and not without end."""
    waits = Waits()
    waits.polls([*MANY, 99])
    listing = waits.plan(0).listing
    while waits.schedule.wants_page(listing, 0):
        waits.schedule.take_page(listing, page(listed(MANY)), 0)
        assert listing.pages <= 12


def test_pages_in_vain_do_not_speak_against_the_first_ones():
    """A list whose first pages answer all but two polls is used again, though many pages were read for the two."""
    waits = Waits()
    waits.polls([*range(40), 77, 78])
    assert waits.read_list(waits.plan(0).listing, listed([*range(40), *range(1000, 9000)]), 0) > 10
    assert sorted(waits.fly_all(0)) == [77, 78]
    waits.polls([*range(40), 77, 78], 5)
    listing, singles = waits.plan(5)
    assert sorted(numbers_of(singles)) == [77, 78]
    assert waits.read_list(listing, listed([*range(40), *range(1000, 9000)]), 5) == 2


def test_pages_of_a_slow_list_end_after_a_minute():
    """A list that takes longer than a minute is read no further, though its pages answer polls."""
    waits = Waits()
    waits.polls(range(100))
    listing = waits.plan(0).listing
    waits.schedule.take_page(listing, page(listed(MANY)), 59)
    assert waits.schedule.wants_page(listing, 59)
    assert not waits.schedule.wants_page(listing, 60)


@pytest.mark.parametrize("has_list", [True, False])
def test_at_most_three_are_read_singly_at_once(has_list):
    """However many must be read singly, three are under way at once."""
    waits = Waits(has_list=has_list)
    waits.polls(MANY)
    flying = []
    if has_list:
        waits.read_list(waits.plan(0).listing, [], 0)
    for _ in MANY:
        flying += waits.plan(0).singles
        assert len(flying) <= MAX_CONCURRENT_GETS
        waits.land([flying.pop(0)], 0)
    assert not flying


def test_slow_single_does_not_hold_up_its_list():
    """A record that is being read singly may still be answered by a page meanwhile, and is read once."""
    waits = Waits()
    slow = waits.poll(1)
    (single,) = waits.plan(0).singles
    waits.polls(range(2, 22))
    listing, singles = waits.plan(1)
    assert 1 not in listing.records
    waits.read_list(listing, listed(range(22)), 1)
    assert not singles
    waits.land([single], 2)
    assert slow.done()
    assert waits.sends_nothing(2)


# Nobody waits beyond their limit


def hang_list(waits):
    """Let the list hang."""
    answers = waits.polls(MANY, retry_timeout=30, last_after=30)
    assert waits.plan(0).listing
    return answers


def hang_single(waits):
    """Let a single request hang."""
    answers = waits.polls([1], retry_timeout=30, last_after=30)
    assert len(waits.plan(0).singles) == 1
    return answers


def hang_all_slots(waits):
    """Let all requests that may be under way hang, so that others get no turn."""
    answers = waits.polls(range(3), retry_timeout=30, last_after=30)
    assert len(waits.plan(0).singles) == 3
    answers += waits.polls(range(3, 6), retry_timeout=30, last_after=30)
    waits.plan(0)
    return answers


def hang_trial(waits):
    """Let the request hang that tries for all while the pool fails."""
    answers = waits.polls(MANY, retry_timeout=30, last_after=30)
    waits.schedule.fail(waits.plan(0).listing, unavailable(), 0)
    assert len(waits.plan(0).singles) == 1
    return answers


def pause_pool(waits):
    """Have the service ask for a pause that ends just within the time, and then fail for good."""
    answers = waits.polls(MANY, retry_timeout=30, last_after=30)
    waits.schedule.fail(waits.plan(0).listing, unavailable(429, 29), 0, resume_at=29)
    return answers


HANGS = (hang_list, hang_single, hang_all_slots, hang_trial, pause_pool)


@pytest.mark.parametrize("hang", HANGS, ids=lambda hang: hang.__name__)
def test_nobody_waits_beyond_their_limit(hang):
    """Whatever hangs, each poll is answered when its time and one attempt's are over, without anything happening."""
    waits = Waits()
    answers = hang(waits)
    now = 0.0
    while any(not answer.done() for answer in answers):
        now = waits.schedule.next_wake()
        assert now <= 30 + MAX_ATTEMPT
        waits.plan(now)
    assert all(answer.error for answer in answers)


def test_attempt_under_way_may_still_bring_the_answer():
    """A poll whose time is over waits for the attempt that is under way."""
    waits = Waits()
    answer = waits.poll(1, retry_timeout=0)
    (single,) = waits.plan(0).singles
    waits.plan(MAX_ATTEMPT - 1)
    assert not answer.done()
    waits.land([single], MAX_ATTEMPT - 1)
    assert answer.state == "busy"


def test_error_of_a_hang_says_what_did_not_respond():
    """A poll that got no response ends with an error that names its record and says what to do."""
    waits = Waits()
    answer = waits.poll(7, retry_timeout=30)
    waits.plan(0)
    waits.plan(30 + MAX_ATTEMPT)
    event, fix = str(answer.error).splitlines()
    assert event == "Thing 7: Synapse did not respond in the time that there was."
    assert fix.startswith("Fix: ")
    assert answer.error.may_have_been_processed


def test_next_wake_is_never_while_nobody_waits():
    """Where nobody waits there is nothing to wake up for."""
    waits = Waits()
    assert waits.schedule.next_wake() == math.inf
    waits.poll(1)
    waits.fly_all(0)
    waits.fly_all(1000)
    assert waits.schedule.next_wake() == math.inf


# Failures of the list


def test_failing_list_gets_one_trial_then_singles():
    """After the list fails, one record is tried; if that works, the list alone is broken, and all are read singly."""
    waits = Waits()
    answers = waits.polls(MANY, after=5)
    waits.schedule.fail(waits.plan(5).listing, unavailable(), 5)
    listing, (trial,) = waits.plan(5)
    assert listing is None
    assert waits.sends_nothing(5)
    waits.land([trial], 5)
    listing, singles = waits.plan(5)
    assert listing is None
    assert len(singles) == 3
    waits.land(singles, 5)
    waits.fly_all(5)
    assert all(answer.done() for answer in answers)


def test_list_that_failed_once_is_read_again_next_interval():
    """A list that failed once is read again with the next polls."""
    waits = Waits()
    waits.polls(MANY, after=5)
    waits.schedule.fail(waits.plan(5).listing, unavailable(), 5)
    assert sorted(waits.fly_all(5)) == list(MANY)
    answers = waits.polls(MANY, 5, after=5)
    assert waits.fly_all(10, listed(MANY)) == []
    assert all(answer.done() for answer in answers)


def test_list_that_fails_with_the_interval_still_running_is_not_read_for_the_same_polls():
    """The polls for which the list failed are made singly, and not by another list in the same interval."""
    waits = Waits()
    waits.polls(MANY, after=10)
    waits.schedule.fail(waits.plan(10).listing, unavailable(), 10)
    waits.land(waits.plan(10).singles, 10)
    assert waits.plan(11).listing is None


def test_list_that_fails_twice_rests():
    """A list that fails with two intervals in a row is left alone for a minute."""
    waits = Waits()
    for now in (5, 10):
        waits.polls(MANY, now - 5, after=5)
        waits.schedule.fail(waits.plan(now).listing, unavailable(), now)
        waits.fly_all(now)
    for now in (15, 10 + LIST_BACKOFF_SECONDS - 1):
        waits.polls(MANY, now - 5, after=5)
        assert sorted(waits.fly_all(now, listed(MANY))) == list(MANY)
    waits.polls(MANY, 5 + LIST_BACKOFF_SECONDS, after=5)
    assert waits.fly_all(10 + LIST_BACKOFF_SECONDS, listed(MANY)) == []


def test_success_in_between_forgives_the_list():
    """A list that fails now and then, but not twice in a row, does not rest."""
    waits = Waits()
    for now in (5, 15, 25):
        waits.polls(MANY, now - 5, after=5)
        waits.schedule.fail(waits.plan(now).listing, unavailable(), now)
        waits.fly_all(now)
        waits.polls(MANY, now, after=5)
        assert waits.fly_all(now + 5, listed(MANY)) == []


LASTING = [SynapseLivyResponseError, SynapseLivyPermissionError, SparkSessionNotFoundError, SynapseLivyError]


@pytest.mark.parametrize("kind", LASTING)
def test_list_that_fails_for_good_rests_and_all_are_read_singly(kind):
    """A list that fails for a reason that does not pass is done without: the records may fare better singly."""
    waits = Waits()
    answers = waits.polls(MANY)
    waits.schedule.fail(waits.plan(0).listing, kind("It is wrong."), 0)
    assert not any(answer.done() for answer in answers)
    assert sorted(waits.fly_all(0)) == list(MANY)
    waits.polls(MANY, 5)
    assert waits.plan(5).listing is None


@pytest.mark.parametrize("kind", [SynapseLivyAuthenticationError, SynapseLivyConfigurationError])
def test_error_that_is_everyones_ends_all_polls_of_the_list(kind):
    """If Synapse refuses the identity, or the connection can't work, each poll ends with that, after one request."""
    waits = Waits()
    answers = waits.polls(MANY)
    error = kind("It is refused.")
    waits.schedule.fail(waits.plan(0).listing, error, 0)
    assert [answer.error for answer in answers] == [error] * len(MANY)
    assert waits.sends_nothing(0)


def test_error_that_is_one_records_ends_its_polls_alone():
    """A record that is gone ends its own polls, and no other's."""
    waits = Waits()
    gone, there = waits.poll(1), waits.poll(2)
    first, second = waits.plan(0).singles
    error = SparkSessionNotFoundError("It is gone.")
    waits.schedule.fail(first, error, 0)
    waits.land([second], 0)
    assert gone.error is error
    assert there.state == "busy"


# Outages


def test_outage_is_tried_by_one_request_at_a_time_with_growing_pauses():
    """While the pool fails, one request at a time tries for all, at pauses that grow to the interval of the waits."""
    waits, answers = outage(after=0, retry_timeout=3600)
    waits.polls(MANY, after=8, retry_timeout=3600)
    times = [waits.schedule.next_wake()]
    while len(times) < 8:
        now = times[-1]
        assert waits.sends_nothing(now - 0.01)
        fail_trial(waits, now)
        assert waits.sends_nothing(now)
        times.append(waits.schedule.next_wake())
    pauses = [later - sooner for sooner, later in pairwise(times)]
    assert pauses == sorted(pauses)
    assert times[0] == 0.5
    assert max(pauses) <= 1.0  # as the polls that are due have no interval
    assert not any(answer.done() for answer in answers)


def test_pauses_of_an_outage_are_no_longer_than_the_interval():
    """The pauses grow up to the interval of the waits, so that every change is seen within one after the outage."""
    waits = Waits()
    waits.polls(MANY, after=8, retry_timeout=3600)
    waits.schedule.fail(waits.plan(8).listing, unavailable(), 8)
    now, pauses = 8.0, []
    for _ in range(10):
        fail_trial(waits, now)
        pauses.append(waits.schedule.next_wake() - now)
        now += pauses[-1]
    assert pauses[:4] == [0.5, 1, 2, 4]
    assert pauses[4:] == [8] * 6


def test_pauses_of_an_outage_are_no_longer_than_half_a_minute():
    """However rarely the waits poll, the pool is tried every half minute."""
    waits = Waits()
    waits.polls(MANY, after=600, retry_timeout=3600)
    waits.schedule.fail(waits.plan(600).listing, unavailable(), 600)
    now = 600.0
    for _ in range(12):
        fail_trial(waits, now)
        pause = waits.schedule.next_wake() - now
        now += pause
    assert pause == 30


def test_trial_is_for_the_record_that_was_tried_longest_ago():
    """While the pool fails, the trials go round, so that one record that always fails does not stop the others."""
    waits, _ = outage(range(5), retry_timeout=3600)
    tried = [fail_trial(waits, waits.schedule.next_wake()) for _ in range(10)]
    assert set(tried) == set(range(5))


def test_requests_under_way_at_the_beginning_of_an_outage_count_once():
    """Three requests that fail together make the pause grow once, not three times."""
    waits = Waits(has_list=False)
    waits.polls(MANY, retry_timeout=3600)
    for flight in waits.plan(0).singles:
        waits.schedule.fail(flight, unavailable(), 1)
    assert waits.schedule.next_wake() == 1.5
    fail_trial(waits, 1.5)
    assert waits.schedule.next_wake() == 2.5


@pytest.mark.parametrize("status", [429, 503])
def test_announced_pause_is_kept(status):
    """After a Retry-After nothing is sent before it has passed, and then one request, however many wait."""
    waits, _ = outage(range(300), error=unavailable(status, 20))
    waits.polls(range(300, 320), 1)
    for now in (1, 10, 19.9):
        assert waits.sends_nothing(now)
        assert waits.schedule.next_wake() == 20
    listing, singles = waits.plan(20)
    assert listing is None
    assert len(singles) == 1


def test_outage_ends_a_poll_at_its_own_time_with_the_last_error():
    """A poll that has no time left ends with the last error when its time is over, and not before."""
    error = unavailable()
    waits, hasty = outage(retry_timeout=10)
    patient = waits.polls(MANY, retry_timeout=1000)
    while (now := waits.schedule.next_wake()) < 10:
        assert not any(answer.done() for answer in hasty)
        fail_trial(waits, now, error)
    waits.plan(10)
    done = [answer for answer in hasty if answer.done()]
    assert len(done) >= len(MANY) - 1  # but for the one that is being tried
    assert {answer.error for answer in done} == {error}
    assert not any(answer.done() for answer in patient)


def test_poll_without_time_ends_with_its_first_error():
    """A poll that may not be retried ends when its attempt fails."""
    waits, answers = outage(retry_timeout=0, last_after=0)
    waits.plan(0)
    assert all(answer.error.status == 503 for answer in answers)
    assert waits.sends_nothing(1000)


def test_list_that_fails_ends_no_poll_before_the_trial():
    """A poll that may not be retried still gets its single request after the list has failed."""
    waits = Waits()
    answers = waits.polls(MANY, retry_timeout=0, last_after=0)
    waits.schedule.fail(waits.plan(0).listing, unavailable(), 0)
    waits.fly_all(0)
    assert all(answer.state == "busy" for answer in answers)


def test_announced_pauses_do_not_use_up_the_time_of_a_poll():
    """The time that the service asks for is not the poll's: after the pause it is retried as long as without."""
    waits, answers = outage(error=unavailable(503, 100), retry_timeout=30, last_after=3600)
    fail_trial(waits, 100, unavailable())
    while (now := waits.schedule.next_wake()) < 130:
        fail_trial(waits, now)
        assert not any(answer.done() for answer in answers)
    waits.plan(now)
    assert sum(answer.done() for answer in answers) >= len(MANY) - 1


def test_announced_pause_beyond_the_last_time_ends_polls_at_once():
    """A pause that leads beyond a poll's last time ends it at once, and others go on."""
    waits = Waits()
    hasty = waits.polls(range(10), last_after=50)
    patient = waits.polls(range(10, 20), last_after=500)
    error = unavailable(429, 100)
    waits.schedule.fail(waits.plan(0).listing, error, 0, resume_at=100)
    assert {answer.error for answer in hasty} == {error}
    assert not any(answer.done() for answer in patient)


def test_poll_that_comes_in_a_pause_ends_at_its_own_time():
    """A poll that comes while a pause is under way that it has no time for ends when its time is over."""
    waits, _ = outage(error=unavailable(503, 15), last_after=20, retry_timeout=20)
    hasty = waits.poll(0, 1, retry_timeout=0.5, last_after=0.5)
    waits.plan(1)
    waits.plan(1.4)
    assert not hasty.done()
    assert waits.schedule.next_wake() <= 1.5
    waits.plan(1.5)
    assert hasty.error.status == 503


@pytest.mark.parametrize("is_list", [True, False])
def test_pause_of_the_workspace_is_the_pools(is_list):
    """While the whole workspace is paused the pool sends nothing, and it is not the list's fault."""
    waits = Waits(has_list=is_list)
    answers = waits.polls(MANY)
    listing, singles = waits.plan(0)
    for flight in (listing, *singles):
        if flight:
            waits.schedule.fail(flight, unavailable(429), 0, resume_at=7)
    assert waits.schedule.next_wake() == 7
    assert waits.sends_nothing(6.9)
    assert len(waits.plan(7).singles) == 1
    assert not any(answer.done() for answer in answers)


def test_failure_about_the_token_is_the_pools():
    """A token that is not to be had for the list is not the list's fault: no single request is sent before a pause."""
    waits = Waits()
    waits.polls(MANY)
    waits.schedule.fail(waits.plan(0).listing, unavailable(None), 0, is_pools=True)
    assert waits.sends_nothing(0)
    assert waits.schedule.next_wake() == 0.5


def test_record_that_always_fails_does_not_stop_the_others():
    """One record that Synapse always answers 503 for is retried in growing pauses, and the others get their answers."""
    waits = Waits(has_list=False)
    broken = waits.poll(0, -5, after=5, retry_timeout=100, last_after=105)
    answered, failed = 0, 0
    waiting = dict(zip(range(1, 6), waits.polls(range(1, 6)), strict=True))
    while not broken.done():
        now = waits.schedule.next_wake()
        for flight in waits.plan(now).singles:
            if numbers_of([flight]) == [0]:
                failed += 1
                waits.schedule.fail(flight, unavailable(), now)
            else:
                waits.land([flight], now)
        for number, answer in waiting.items():
            if answer.done():
                answered += 1
                waiting[number] = waits.poll(number, now, after=5)
    assert broken.error.status == 503
    assert now <= 100 + MAX_ATTEMPT
    assert answered >= 5 * 100 / 5 * 0.9
    assert failed <= 30


def test_after_an_outage_all_are_polled_at_once():
    """The first success ends the pauses of all: what is due is read without delay, by list."""
    waits, answers = outage(retry_timeout=3600)
    for _ in range(5):
        fail_trial(waits, waits.schedule.next_wake())
    now = waits.schedule.next_wake()
    (trial,) = waits.plan(now).singles
    waits.land([trial], now)
    assert waits.plan(now).listing
    assert sum(answer.done() for answer in answers) == 1


def test_next_outage_begins_with_short_pauses():
    """After a success the pauses begin short again."""
    waits, _ = outage(retry_timeout=3600)
    for _ in range(5):
        fail_trial(waits, waits.schedule.next_wake())
    now = waits.schedule.next_wake()
    waits.fly_all(now, listed(MANY))
    waits.polls(MANY, now)
    waits.schedule.fail(waits.plan(now).listing, unavailable(), now)
    fail_trial(waits, now)
    assert waits.schedule.next_wake() == now + 0.5


# What nobody foresaw


def test_record_that_breaks_something_ends_its_own_wait():
    """An error that nobody foresaw ends the polls of the record that it is about, with its cause."""
    waits = Waits()
    broken, other = waits.poll(1), waits.poll(2)
    first, second = waits.plan(0).singles
    cause = ZeroDivisionError("a bug")
    waits.schedule.break_off(first, cause, 0)
    waits.land([second], 0)
    assert str(broken.error).startswith("Thing 1: polling broke off.\nFix: ")
    assert broken.error.__cause__ is cause
    assert other.state == "busy"


def test_item_that_breaks_something_ends_its_own_wait():
    """An item of a page that breaks something ends the polls of its record, and the rest of the page is used."""
    waits = Waits()
    answers = waits.polls(MANY)
    items = [thing(5, breaks=True) if number == 5 else thing(number) for number in MANY]
    waits.read_list(waits.plan(0).listing, items, 0)
    assert isinstance(answers[5].error, SynapseLivyError)
    assert isinstance(answers[5].error.__cause__, ZeroDivisionError)
    assert all(answer.state == "busy" for number, answer in enumerate(answers) if number != 5)


def test_list_that_breaks_something_is_done_without():
    """If the list breaks something, it rests, and the records are read singly."""
    waits = Waits()
    answers = waits.polls(MANY)
    waits.schedule.break_off(waits.plan(0).listing, ZeroDivisionError(), 0)
    assert sorted(waits.fly_all(0)) == list(MANY)
    assert all(answer.state == "busy" for answer in answers)
    waits.polls(MANY, 5)
    assert waits.plan(5).listing is None


def test_each_poll_gets_an_error_of_its_own():
    """When polling ends, each poll gets an error of its own, since raising one adds to its traceback."""
    waits = Waits()
    answers = waits.polls([1, 2, 2])
    waits.plan(0)
    waits.schedule.fail_all(lambda: SynapseLivyError("The end."))
    assert len({id(answer.error) for answer in answers}) == 3


# Those who leave


def test_last_subscriber_is_the_last_of_all():
    """The schedule knows when nobody is left."""
    waits = Waits()
    first, second, other = waits.subscribe(1), waits.subscribe(1), waits.subscribe(2)
    assert [waits.schedule.unsubscribe(record) for record in (first, other, second)] == [False, False, True]


@pytest.mark.parametrize("count", [1, 20])
def test_record_that_is_left_is_not_polled(count):
    """A record that nobody subscribes to is not read, though a poll of it was planned."""
    waits = Waits()
    waits.polls(range(count))
    waits.poll(99)
    for number in range(count):
        waits.schedule.unsubscribe(waits.records[number])
    assert waits.fly_all(0) == [99]


@pytest.mark.parametrize("ends", ["success", "failure", "crash"])
def test_leaving_while_a_request_is_under_way(ends):
    """A request whose only subscriber left ends without harm, and who comes back meanwhile gets an answer."""
    waits = Waits()
    waits.poll(1)
    waits.poll(2, after=1000)
    (flight,) = waits.plan(0).singles
    waits.schedule.unsubscribe(waits.records.pop(1))
    back = waits.poll(1, 1)
    again = waits.plan(1).singles
    match ends:
        case "success":
            waits.schedule.land(flight, snapshot(1), 2)
        case "failure":
            waits.schedule.fail(flight, unavailable(), 2)
        case "crash":
            waits.schedule.break_off(flight, ZeroDivisionError(), 2)
    assert not back.done()
    assert waits.land(again, 3) == [1]
    assert back.state == "busy"
    assert waits.sends_nothing(4)


def test_leaving_while_the_list_is_under_way():
    """A list whose subscribers left or changed ends without harm, and answers those who are there."""
    waits = Waits()
    waits.polls(MANY)
    listing = waits.plan(0).listing
    for number in range(10):
        waits.schedule.unsubscribe(waits.records.pop(number))
    back = waits.poll(3, 1)
    waits.plan(1)
    waits.read_list(listing, listed(MANY), 2)
    assert back.state == "busy"
    assert waits.sends_nothing(2)


def test_wait_that_gave_up_is_left_alone():
    """A poll that its wait has cancelled is not answered, which would be an error."""
    waits = Waits()
    gone, there = waits.poll(1), waits.poll(1)
    gone.cancel()
    waits.fly_all(0)
    assert there.done()


def test_landing_of_a_departed_record_leaves_its_successor_alone():
    """A request for a record that everybody has left does not take away the poll of those who came after."""
    schedule = PollSchedule(str, has_list=False, max_attempt_seconds=120, jitter=lambda low, high: high)
    left = schedule.subscribe(1)
    schedule.add(left, poll_at(0.0))
    (flight,) = schedule.plan(0.0).singles
    schedule.unsubscribe(left)
    come = schedule.subscribe(1)
    schedule.add(come, poll_at(1.0))
    for number in range(2, 5):  # which take all places
        schedule.add(schedule.subscribe(number), poll_at(1.0))
    schedule.plan(1.0)
    schedule.land(flight, snapshot(1), 2.0)
    assert any(come.key in other.records for other in schedule.plan(2.0).singles) or come.flight


def test_queue_that_moves_expires_nobody():
    """A poll that only waits for its turn is not told that Synapse does not respond, as long as responses come."""
    schedule = PollSchedule(str, has_list=False, max_attempt_seconds=120, jitter=lambda low, high: high)
    polls = [poll_at(0.0, retry_timeout=180.0) for _ in range(100)]
    for number, poll in enumerate(polls):
        schedule.add(schedule.subscribe(number), poll)
    waiters = [poll.waiter for poll in polls]
    flights, now = list(schedule.plan(0.0).singles), 0.0
    while flights:
        now += 20
        schedule.land(flights.pop(0), snapshot(1), now)
        flights += schedule.plan(now).singles
    assert now > 1000
    assert [waiter.exception() for waiter in waiters] == [None] * 100


def test_answered_polls_keep_no_answers():
    """A poll that was answered does not hold its snapshot until it would have expired."""
    schedule = PollSchedule(str, has_list=False, max_attempt_seconds=120, jitter=lambda low, high: high)
    poll = poll_at(0.0, retry_timeout=180.0)
    schedule.add(schedule.subscribe(1), poll)
    (flight,) = schedule.plan(0.0).singles
    schedule.land(flight, snapshot(1), 1.0)
    assert poll.waiter is None


def poll_at(due_at, retry_timeout=180.0):
    """Return a poll of a wait that lasts for days."""
    return PendingPoll(Future(), due_at, 5.0, 0.0, retry_timeout, 1e6)
