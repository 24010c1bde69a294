"""The course of one wait: its deadline, its interval, settling, and its lines in the log."""

from __future__ import annotations

import json
import logging
import tracemalloc

import pytest

from airflow_provider_synapse_livy.livy.responses import Snapshot
from airflow_provider_synapse_livy.models import SparkSession
from airflow_provider_synapse_livy.waiting.goals import SessionGoal, Verdict
from airflow_provider_synapse_livy.waiting.progress import PhaseStart
from airflow_provider_synapse_livy.waiting.wait import RETRY_TIMEOUT, SETTLE_TIMEOUT, Wait, WaitOptions
from tests.support import sample_sessions as samples

PENDING, SUCCESS, FAILURE, TIMEOUT = Verdict
END = SessionGoal.validated(None, ["Succeeded"], False)
IDLE = SessionGoal.validated(["idle"], ["Succeeded"], False)
CANCELLING = samples.session(schedulerInfo=samples.scheduler(cancellationRequestedAt="2025-03-01T08:10:00+00:00"))


def snapshot(body):
    """Return a snapshot of a session."""
    return Snapshot(SparkSession.from_dict(body), "activity-1")


def wait_for(goal, history=(), **options):
    """Begin a wait at second 1000."""
    given = WaitOptions(**{"timeout": 100.0, "poke_interval": 30.0} | options)
    return Wait(goal, given, started_at=1000.0, history=[PhaseStart(*phase) for phase in history])


def test_delays_never_lead_beyond_the_deadline():
    """The last poll is right at the deadline: it may still succeed, else the wait has timed out."""
    wait = wait_for(IDLE)
    for now, delay in ((1000.0, 30.0), (1060.0, 30.0), (1090.0, 10.0)):
        assert (wait.observe(snapshot(samples.STARTING), now), wait.next_delay) == (PENDING, delay)
    assert wait.observe(snapshot(samples.STARTING), 1100.0) is TIMEOUT
    assert wait.observe(snapshot(samples.IDLE), 1100.0) is SUCCESS


def test_time_left():
    """The time left ends at the deadline and is never negative."""
    wait = wait_for(IDLE)
    assert wait.deadline == 1100.0
    assert [wait.time_left(now) for now in (1000.0, 1099.0, 1100.0, 2000.0)] == [100.0, 1.0, 0.0, 0.0]


def test_retries_end_with_the_wait():
    """One poll is retried for three minutes at the most, and never beyond the deadline."""
    assert RETRY_TIMEOUT == 180.0
    wait = wait_for(IDLE, timeout=1000.0)
    assert [wait.retry_timeout(now) for now in (1000.0, 1900.0, 2000.0, 2100.0)] == [180.0, 100.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("seen", "options", "expected"),
    [
        (None, {}, 0.0),
        (samples.STARTING, {}, 60.0),
        (samples.STARTING, {"exponential_backoff": True}, 0.0),
        (samples.settling("dead"), {}, 0.0),
    ],
)
def test_when_only_changes_matter(seen, options, expected):
    """Until the deadline only a change matters, unless nothing was seen, the interval grows, or the end settles."""
    wait = wait_for(END, **options)
    wait.observe(seen and snapshot(seen), 1000.0)
    assert wait.only_changes_for(1040.0) == expected


def test_exponential_backoff():
    """With exponential_backoff the delays double, up to max_wait."""
    wait = wait_for(IDLE, timeout=1000.0, exponential_backoff=True, max_wait=150.0)
    now, delays = 1000.0, []
    for _ in range(5):
        wait.observe(snapshot(samples.STARTING), now)
        delays.append(wait.next_delay)
        now += wait.next_delay
    assert delays == [30.0, 60.0, 120.0, 150.0, 150.0]


def test_settling_is_waited_for():
    """Between the end for Livy and the final result, the wait polls again soon, and then knows the cause."""
    wait = wait_for(END)
    assert wait.observe(snapshot(samples.settling("error")), 1000.0) is PENDING
    assert wait.is_settling
    assert wait.next_delay == 5.0
    assert wait.observe(snapshot(samples.CANCELLED_IN_QUEUE), 1005.0) is FAILURE
    assert not wait.is_settling


def test_short_intervals_are_kept_while_settling():
    """A poke_interval that is shorter than the one for settling is kept."""
    wait = wait_for(END, poke_interval=2.0)
    wait.observe(snapshot(samples.settling("error")), 1000.0)
    assert wait.next_delay == 2.0


@pytest.mark.parametrize(
    ("options", "settled_at"),
    [({"timeout": 1000.0}, SETTLE_TIMEOUT), ({"timeout": 20.0}, 20.0), ({"settle_timeout": 10.0}, 10.0)],
)
def test_settling_is_bounded(options, settled_at):
    """A result that never comes is waited for no longer than settle_timeout, nor beyond the deadline."""
    wait = wait_for(END, **options)
    assert wait.observe(snapshot(samples.settling("dead")), 1000.0) is PENDING
    assert wait.observe(snapshot(samples.settling("dead")), 1000.0 + settled_at - 1) is PENDING
    assert wait.observe(snapshot(samples.settling("dead")), 1000.0 + settled_at) is FAILURE


def test_tolerated_failures_are_pending():
    """A poll that failed and was tolerated is no verdict, but does not stop the clock."""
    wait = wait_for(END)
    assert (wait.observe(None, 1000.0), wait.next_delay) == (PENDING, 30.0)
    assert wait.observe(None, 1100.0) is TIMEOUT


@pytest.mark.parametrize("silent_fail", [True, False])
def test_silent_fail_tolerates_errors(caplog, silent_fail):
    """Only with silent_fail an error is logged and passed over."""
    wait = wait_for(END, silent_fail=silent_fail)
    if silent_fail:
        with wait.tolerating_errors():
            raise OSError("gone")
        assert caplog.messages == ["This poll failed. The wait goes on, because silent_fail is set."]
        assert "OSError: gone" in caplog.text
    else:
        with pytest.raises(OSError, match="gone"), wait.tolerating_errors():
            raise OSError("gone")


def test_last_snapshot():
    """The last snapshot is kept whole, unknown fields included; a poll that failed does not remove it."""
    wait = wait_for(END)
    assert wait.last_snapshot is None
    seen = snapshot(samples.SESSIONS["unknown names"])
    wait.observe(seen, 1000.0)
    wait.observe(None, 1030.0)
    assert wait.last_snapshot == seen


@pytest.mark.parametrize("step", [1, -1])
def test_last_snapshots_do_not_mix(monkeypatch, step):
    """Each wait gets its own last snapshot back, however alike or large the records are that others have kept."""
    monkeypatch.setattr("airflow_provider_synapse_livy.waiting.wait._samples", {})
    large = samples.session(log=[str(number) for number in range(20_000)])
    seen = [snapshot(body) for body in [samples.IDLE, large, *samples.SESSIONS.values()][::step]]
    waits = [wait_for(END) for _ in seen]
    for wait, one in zip(waits, seen, strict=True):
        wait.observe(one, 1000.0)
    assert [wait.last_snapshot for wait in waits] == seen


def test_waits_take_little_memory(caplog):
    """A wait takes less than a kilobyte, its last snapshot included, since a triggerer may hold thousands of them."""
    caplog.set_level(logging.WARNING)  # pytest keeps the lines
    count = 200
    seen = [snapshot(samples.session(id=number, name=f"session {number}")) for number in range(count)]
    wait_for(IDLE).observe(seen[0], 1000.0)
    tracemalloc.start()
    waits = [wait_for(IDLE) for _ in seen]
    for wait, one in zip(waits, seen, strict=True):
        wait.observe(one, 1000.0)
    ours = tracemalloc.Filter(True, "*/airflow_provider_synapse_livy/*")  # and not what other threads do meanwhile
    taken = sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces([ours]).traces)
    tracemalloc.stop()
    assert taken / count < 1024


def test_clock_that_is_set_does_not_matter(monkeypatch):
    """Once a wait has begun, its time goes on by the monotonic clock, whatever the time of the day is set to."""
    wait = wait_for(END)
    began = wait.now()
    monkeypatch.setattr("time.time", lambda: 0.0)
    assert 0 <= wait.now() - began < 3600


def test_options_move_as_json():
    """The options of a wait are the same after a trip through JSON."""
    options = WaitOptions(timeout=60.0, poke_interval=5.0, max_wait=None, silent_fail=True)
    assert WaitOptions(**json.loads(json.dumps(options.to_dict()))) == options


def log_of(caplog, *polls):
    """Return the lines that a wait logs for some polls, without the session's name."""
    caplog.set_level(logging.INFO)
    wait = wait_for(END, timeout=10_000.0)
    for now, body in polls:
        wait.observe(snapshot(body), now)
    name = "Spark session 12 in pool etl"
    assert all(record.message.startswith((f"{name}: ", f"{name} is ")) for record in caplog.records)
    return [record.message.removeprefix(name).removeprefix(": ").strip() for record in caplog.records]


def test_each_change_is_logged_once(caplog):
    """The log has a line for each change of phase, with the phases so far and their durations, and no other line."""
    polls = [
        (1000.0, samples.NOT_STARTED),
        (1005.0, samples.NOT_STARTED),
        (1017.0, samples.ACQUIRING),
        (1022.0, samples.STARTING),
        (1030.0, samples.STARTING),
        (1054.0, samples.IDLE),
        (1060.0, samples.IDLE),
    ]
    assert log_of(caplog, *polls) == [
        "queued",
        "queued 16 s → acquiring nodes",
        "queued 16 s → acquiring nodes 4 s → submitting 2.1 s → starting",
        "queued 16 s → acquiring nodes 4 s → submitting 2.1 s → starting 33 s → idle",
    ]


def test_first_poll_shows_what_it_missed(caplog):
    """Phases that were over before the first poll are logged as the service timed them."""
    assert log_of(caplog, (1000.0, samples.IDLE)) == [
        "queued 16 s → acquiring nodes 4 s → submitting 2.1 s → starting 33 s → idle",
    ]


def test_end_is_logged(caplog):
    """The end is logged with the time that it took to settle, and the last line has the wait and its phases."""
    polls = [(1000.0, samples.NOT_STARTED), (4725.0, samples.settling("error")), (4745.0, samples.CANCELLED_IN_QUEUE)]
    *_, end, summary = log_of(caplog, *polls)
    assert end.endswith("error (result pending) 20 s → error (Cancelled)")
    assert summary == (
        "is error (Cancelled). Waited 1 h 2 min 25 s "
        "(queued 16 s, acquiring nodes 4 s, submitting 2.1 s, error (result pending) 20 s)."
    )


def test_summary_sums_up(caplog):
    """The last line sums up how long the session was in each phase, whatever came in between."""
    states = [samples.STARTING, samples.IDLE, samples.BUSY, samples.IDLE, samples.BUSY]
    polls = [(1000.0 + 60 * n, body) for n, body in enumerate(states)] + [(2000.0, samples.KILLED)]
    assert log_of(caplog, *polls)[-1] == (
        "is killed (Cancelled). Waited 16 min 40 s "
        "(queued 16 s, acquiring nodes 4 s, submitting 2.1 s, starting 33 s, idle 2 min, busy 13 min 40 s)."
    )


def test_summary_of_a_long_wait(caplog):
    """What is too long ago for the history is summed up as a whole."""
    polls = [(1000.0 + 10 * n, (samples.IDLE, samples.BUSY)[n % 2]) for n in range(20)] + [(1200.0, samples.KILLED)]
    assert log_of(caplog, *polls)[-1].endswith("earlier 2 min 20 s, idle 30 s, busy 30 s).")


def test_summary_of_a_timeout(caplog):
    """A wait that runs out of time logs where the time went, too."""
    polls = [(1000.0, samples.STARTING), (2000.0, samples.IDLE), (11_000.0, samples.IDLE)]
    assert log_of(caplog, *polls)[-1] == (
        "is idle. Waited 2 h 46 min 40 s "
        "(queued 16 s, acquiring nodes 4 s, submitting 2.1 s, starting 33 s, idle 2 h 30 min)."
    )


def test_summary_without_times(caplog):
    """A wait that ends with its first poll, of a session that the service has not timed, has no times to log."""
    assert log_of(caplog, (1000.0, samples.DOCUMENTED_SAMPLE | {"id": 12, "sparkPoolName": "etl"}))[-1] == (
        "is the state (Failed). Waited 0 s."
    )


def test_unknown_states_are_logged(caplog):
    """An unknown state is waited on, and the log says so, once."""
    polls = [(1000.0, samples.session(state="hibernating")), (1010.0, samples.session(state="hibernating"))]
    assert [line.rpartition(" → ")[2] for line in log_of(caplog, *polls)] == ["hibernating (unknown, waiting on)"]


def test_requested_cancellations_are_logged(caplog):
    """A session whose cancellation was requested is not called idle any more."""
    assert log_of(caplog, (1000.0, CANCELLING))[0].endswith("being cancelled")


def test_lines_stay_short(caplog):
    """A session that turns busy and idle for days does not make the lines of the log ever longer."""
    polls = [(1000.0 + n, (samples.IDLE, samples.BUSY)[n % 2]) for n in range(100)]
    assert max(map(len, log_of(caplog, *polls))) < 200


def test_wait_goes_on_in_another_process(caplog):
    """A wait that goes on in another process does not log again what was logged, and knows since when."""
    caplog.set_level(logging.INFO)
    wait = wait_for(END, history=[("queued", 900.0), ("idle", 990.0)])
    wait.observe(snapshot(samples.IDLE), 1000.0)
    assert not caplog.records
    wait.observe(snapshot(samples.BUSY), 1010.0)
    assert caplog.messages == [
        (
            "Spark session 12 in pool etl: "
            "queued 16 s → acquiring nodes 4 s → submitting 2.1 s → starting 33 s → idle 20 s → busy"
        )
    ]
