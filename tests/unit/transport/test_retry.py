"""When a request is sent again, and after which pause; the clock is made up."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest

from airflow_provider_synapse_livy.exceptions import (
    SparkSessionNotFoundError,
    SynapseLivyAuthenticationError,
    SynapseLivyConfigurationError,
    SynapseLivyError,
    SynapseLivyPermissionError,
    SynapseLivyResponseError,
    SynapseLivyUnavailableError,
)
from airflow_provider_synapse_livy.livy.requests import LivyRequest
from airflow_provider_synapse_livy.transport import retry
from airflow_provider_synapse_livy.transport.retry import MAX_PAUSE, Backoff, Retries, announced_pause

GET = LivyRequest("GET", "http://localhost", "It", lambda response: response)
POST = LivyRequest("POST", "http://localhost", "It", lambda response: response, b"{}", is_idempotent=False)
UNAVAILABLE = SynapseLivyUnavailableError("It: Synapse answered 503.", status=503)


@pytest.fixture
def clock(monkeypatch):
    """Return a clock that a test sets."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(retry, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def begin(clock, retry_timeout, longest_announced, request):
    """Return the retries of a request whose first attempt begins now."""
    retries = Retries(retry_timeout, longest_announced, request)
    retries._began = clock.now  # its default is bound to the real clock
    return retries


@pytest.mark.parametrize(
    ("error", "pause"),
    [
        (None, 0.0),
        (SynapseLivyError("It."), 0.0),
        (UNAVAILABLE, 0.0),
        (SynapseLivyUnavailableError("It.", retry_after=7.5), 7.5),
    ],
)
def test_announced_pause_is_what_the_service_asked_for(error, pause):
    """The pause is as long as the service asked for, 0 if it did not."""
    assert announced_pause(error) == pause


def test_pauses_grow_to_half_a_minute():
    """Each pause is twice as long as the one before, up to half a minute, for however many failures."""
    backoff = Backoff(lambda _, most: most)
    assert [backoff.pause_after(UNAVAILABLE) for _ in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    backoff.failures = 10_000
    assert backoff.pause_after(UNAVAILABLE) == MAX_PAUSE


def test_pauses_are_random():
    """A pause is at least half of what it may be, and differs, so that those who failed together part."""
    pauses = {Backoff().pause_after(UNAVAILABLE) for _ in range(50)}
    assert len(pauses) > 10
    assert all(0.25 <= pause <= 0.5 for pause in pauses)


def test_longest_pause_can_be_chosen():
    """Whoever needs to come back sooner sets the longest pause, which an announced one may exceed."""
    backoff = Backoff(lambda _, most: most, failures=10)
    assert backoff.pause_after(UNAVAILABLE, 5) == 5
    assert backoff.pause_after(SynapseLivyUnavailableError("It.", retry_after=300), 5) == 300


def test_announced_pause_is_a_least_one():
    """A short announced pause does not shorten a pause that has grown."""
    backoff = Backoff(lambda _, most: most, failures=10)
    assert backoff.pause_after(SynapseLivyUnavailableError("It.", retry_after=0.1)) == MAX_PAUSE


def test_pauses_begin_short_after_a_success():
    """After a success the pauses begin again."""
    backoff = Backoff(lambda _, most: most, failures=10)
    backoff.reset()
    assert backoff.pause_after(UNAVAILABLE) == 0.5


LASTING = (
    SynapseLivyAuthenticationError, SynapseLivyConfigurationError, SynapseLivyError, SynapseLivyPermissionError,
    SynapseLivyResponseError, SparkSessionNotFoundError,
)  # fmt: skip


@pytest.mark.parametrize("kind", LASTING)
@pytest.mark.parametrize("request_", [GET, POST], ids=["GET", "POST"])
def test_what_lasts_is_not_retried(clock, kind, request_):
    """An error that will be the same next time is raised at once."""
    error = kind("It is wrong.")
    with pytest.raises(kind) as caught:
        begin(clock, 180, 180, request_).pause_after(error)
    assert caught.value is error


@pytest.mark.parametrize(
    ("request_", "may_have_been_processed", "is_retried"),
    [(GET, True, True), (GET, False, True), (POST, False, True), (POST, True, False)],
)
def test_what_may_have_been_processed_is_sent_twice_only_if_it_may_be(
    clock, request_, may_have_been_processed, is_retried
):
    """A request that must not be sent twice is not retried if the service may have done what it asks for."""
    error = SynapseLivyUnavailableError("It.", may_have_been_processed=may_have_been_processed)
    retries = begin(clock, 180, 180, request_)
    if is_retried:
        assert retries.pause_after(error) > 0
    else:
        with pytest.raises(SynapseLivyUnavailableError):
            retries.pause_after(error)


def attempts(clock, retries, error=UNAVAILABLE):
    """Return the times of the attempts, from the first on, until the error is raised."""
    began = clock.now
    times = [0.0]
    while len(times) < 1000:
        try:
            clock.now += retries.pause_after(error)
        except SynapseLivyUnavailableError:
            return times
        times.append(clock.now - began)
    raise AssertionError("there is no end")


@pytest.mark.parametrize("retry_timeout", [0, 1, 60, 180])
def test_retries_are_bounded_by_time(clock, retry_timeout):
    """The last attempt is made exactly at the end of the time, whose number does not count."""
    times = attempts(clock, begin(clock, retry_timeout, retry_timeout, GET))
    assert times[-1] == pytest.approx(retry_timeout)
    assert (len(times) > 5) == (retry_timeout >= 60)


def test_announced_pauses_do_not_use_up_the_time(clock):
    """The time that the service asks for is not the request's: after it there is as much time as before."""
    retries = begin(clock, 10, 1000, GET)
    clock.now += retries.pause_after(SynapseLivyUnavailableError("It.", retry_after=100))
    assert attempts(clock, retries)[-1] == pytest.approx(10)


def test_announced_pauses_are_bounded(clock):
    """An announced pause that leads beyond the time for such pauses is not begun; one that leads to it is."""
    retries = begin(clock, 10, 100, GET)
    assert retries.pause_after(SynapseLivyUnavailableError("It.", retry_after=60)) == 60
    clock.now += 60
    with pytest.raises(SynapseLivyUnavailableError):
        retries.pause_after(SynapseLivyUnavailableError("It.", retry_after=41))
    assert retries.pause_after(SynapseLivyUnavailableError("It.", retry_after=39)) == 39


def test_each_retry_is_logged(clock, caplog):
    """Each retry is a line in the log, with its reason and the pause."""
    error = SynapseLivyUnavailableError("It: Synapse answered 429.\nFix: x", retry_after=7)
    begin(clock, 180, 180, GET).pause_after(error)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == "It: Synapse answered 429, retrying in 7.0 s."


def test_last_error_is_raised_without_a_line_in_the_log(clock, caplog):
    """An error that is raised is not logged as well."""
    with pytest.raises(SynapseLivyUnavailableError):
        begin(clock, 0, 0, GET).pause_after(UNAVAILABLE)
    assert not caplog.records


def test_retries_of_what_is_no_request(clock):
    """What is no request may always be done again, until the time is over."""
    error = SynapseLivyUnavailableError("It.", may_have_been_processed=True)
    assert attempts(clock, begin(clock, 10, 0, None), error)[-1] == pytest.approx(10)
