"""The verdict on a session, the course of a wait, and the words about both. No network, no clock."""

from __future__ import annotations

import logging

import pytest

from airflow_provider_synapse_livy.exceptions import SynapseLivyConfigurationError
from airflow_provider_synapse_livy.livy.responses import Snapshot
from airflow_provider_synapse_livy.models import SparkSession
from airflow_provider_synapse_livy.waiting.wait import (
    SETTLE_TIMEOUT,
    Verdict,
    Wait,
    WaitRules,
    describe_failure,
    describe_timeout,
    judge,
)
from tests.support import sample_sessions as samples

WAIT, SUCCESS, FAILURE, TIMEOUT = Verdict


def rules(target_states=None, accepted_results=("Succeeded",), *, accept_idle_timeout=False):
    """Make rules as a task would."""
    return WaitRules.checked(target_states, accepted_results, accept_idle_timeout)


def answer(body):
    """Give a look at a session."""
    return Snapshot(SparkSession.from_dict(body), "activity-1")


CANCELLING = samples.session(schedulerInfo=samples.scheduler(cancellationRequestedAt="2025-03-01T08:10:00+00:00"))
END, IDLE, ACCEPT_CANCELLED, ACCEPT_IDLE_TIMEOUT = (
    rules(),
    rules({"idle"}),
    rules(accepted_results={"Succeeded", "Cancelled"}),
    rules(accept_idle_timeout=True),
)

VERDICTS = [
    # what was seen, then the verdict of a wait for: the end, idle, the end or a cancellation, or an idle timeout
    ("queued", samples.NOT_STARTED, WAIT, WAIT, WAIT, WAIT),
    ("acquiring", samples.ACQUIRING, WAIT, WAIT, WAIT, WAIT),
    ("starting", samples.STARTING, WAIT, WAIT, WAIT, WAIT),
    ("idle", samples.IDLE, WAIT, SUCCESS, WAIT, WAIT),
    ("idle, about to be cancelled", CANCELLING, WAIT, WAIT, WAIT, WAIT),
    ("busy", samples.BUSY, WAIT, WAIT, WAIT, WAIT),
    ("unknown state", samples.session(state="hibernating"), WAIT, WAIT, WAIT, WAIT),
    ("no state at all", {"id": 12}, WAIT, WAIT, WAIT, WAIT),
    ("dead, settling", samples.settling("dead"), WAIT, WAIT, WAIT, WAIT),
    ("killed, settling", samples.settling("killed"), WAIT, WAIT, WAIT, WAIT),
    ("success, settling", samples.settling("success"), WAIT, WAIT, WAIT, WAIT),
    ("dead", samples.DEAD, FAILURE, FAILURE, FAILURE, FAILURE),
    ("killed", samples.KILLED, FAILURE, FAILURE, SUCCESS, FAILURE),
    ("error, failed", samples.FAILED_TO_START, FAILURE, FAILURE, FAILURE, FAILURE),
    ("error, cancelled", samples.CANCELLED_IN_QUEUE, FAILURE, FAILURE, SUCCESS, FAILURE),
    ("idled out", samples.IDLED_OUT, FAILURE, FAILURE, FAILURE, SUCCESS),
    ("success", samples.SUCCEEDED, SUCCESS, FAILURE, SUCCESS, SUCCESS),
    ("idle, but failed", samples.session(result="Failed"), FAILURE, FAILURE, FAILURE, FAILURE),
    ("documented sample", samples.DOCUMENTED_SAMPLE, FAILURE, FAILURE, FAILURE, FAILURE),
]


@pytest.mark.parametrize(
    ("body", "expected"), [(*row[1:2], row[2:]) for row in VERDICTS], ids=[row[0] for row in VERDICTS]
)
def test_verdicts(body, expected):
    """Success needs proof, failure needs an end, and all else waits."""
    session = SparkSession.from_dict(body)
    assert tuple(judge(session, r) for r in (END, IDLE, ACCEPT_CANCELLED, ACCEPT_IDLE_TIMEOUT)) == expected


@pytest.mark.parametrize(
    ("state", "expected"),
    [("dead", FAILURE), ("killed", FAILURE), ("error", FAILURE), ("success", SUCCESS)],
)
def test_verdict_without_a_final_result(state, expected):
    """Where Synapse never says its result, the final Livy state speaks, as in Microsoft's own client."""
    assert judge(SparkSession.from_dict(samples.settling(state)), END, settled=True) is expected


def test_states_on_the_way_out_can_be_targets():
    """That a cancellation was requested spoils readiness alone: the states that follow can be waited for."""
    body = CANCELLING | {"state": "shutting_down"}
    assert judge(SparkSession.from_dict(body), rules({"shutting_down"})) is SUCCESS


def test_final_states_can_be_targets():
    """A wait for a final state succeeds as soon as Livy says it, without waiting for the result."""
    assert judge(SparkSession.from_dict(samples.settling("killed")), rules({"killed"})) is SUCCESS


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"target_states": {"Idle"}}, "target_states=.*busy, dead, error, idle"),
        ({"target_states": []}, "at least one"),
        ({"target_states": ["idle", None]}, "target_states"),
        ({"accepted_results": ["Success"]}, "accepted_results=.*Cancelled, Failed, Succeeded"),
        ({"accepted_results": ["Uncertain"]}, "accepted_results"),
        ({"accepted_results": ()}, "at least one"),
        ({"accepted_results": None}, "at least one"),
    ],
)
def test_misspelt_goals_are_refused(given, words):
    """A state or result that does not exist would be waited for in vain, so it is refused, with those that do."""
    with pytest.raises(SynapseLivyConfigurationError, match=words):
        rules(**given)


def test_one_goal_may_stand_alone():
    """A single name need not be in a list; its letters are not taken for names."""
    assert rules("idle", "Failed") == rules({"idle"}, {"Failed"})


def wait_for(goal, **changes):
    """Begin a wait at second 1000."""
    return Wait(goal, **{"began": 1000.0, "timeout": 100.0, "poke_interval": 30.0} | changes)


def test_pauses_never_lead_beyond_the_deadline():
    """The last look is right at the deadline: it may still succeed, else the wait has timed out."""
    wait = wait_for(IDLE)
    for now, pause in ((1000.0, 30.0), (1060.0, 30.0), (1090.0, 10.0)):
        assert (wait.observe(answer(samples.STARTING), now), wait.pause) == (WAIT, pause)
    assert wait.observe(answer(samples.STARTING), 1100.0) is TIMEOUT
    assert wait.observe(answer(samples.IDLE), 1100.0) is SUCCESS


def test_patience_ends_with_the_wait():
    """One look tries again for three minutes at the most, and never beyond the deadline."""
    wait = wait_for(IDLE, timeout=1000.0)
    assert [wait.patience(now) for now in (1000.0, 1900.0, 2000.0, 2100.0)] == [180.0, 100.0, 0.0, 0.0]


def test_exponential_backoff():
    """With exponential_backoff the pauses double, up to max_wait."""
    wait = wait_for(IDLE, timeout=1000.0, exponential_backoff=True, max_wait=150.0)
    now, pauses = 1000.0, []
    for _ in range(5):
        wait.observe(answer(samples.STARTING), now)
        pauses.append(wait.pause)
        now += wait.pause
    assert pauses == [30.0, 60.0, 120.0, 150.0, 150.0]


def test_settling_is_waited_for():
    """Between the end for Livy and the final result, the wait looks again soon, and then knows the cause."""
    wait = wait_for(END)
    assert wait.observe(answer(samples.settling("error")), 1000.0) is WAIT
    assert wait.is_settling
    assert wait.pause == 5.0
    assert wait.observe(answer(samples.CANCELLED_IN_QUEUE), 1005.0) is FAILURE
    assert not wait.is_settling


@pytest.mark.parametrize(("timeout", "settled_at"), [(1000.0, SETTLE_TIMEOUT), (20.0, 20.0)])
def test_settling_is_bounded(timeout, settled_at):
    """A result that never comes is waited for no longer than the settle window, nor beyond the deadline."""
    wait = wait_for(END, timeout=timeout)
    assert wait.observe(answer(samples.settling("dead")), 1000.0) is WAIT
    assert wait.observe(answer(samples.settling("dead")), 1000.0 + settled_at - 1) is WAIT
    assert wait.observe(answer(samples.settling("dead")), 1000.0 + settled_at) is FAILURE


def test_forgiven_looks_wait():
    """A look that failed and was forgiven is no verdict, but does not stop the clock."""
    wait = wait_for(END)
    assert (wait.observe(None, 1000.0), wait.pause) == (WAIT, 30.0)
    assert wait.observe(None, 1100.0) is TIMEOUT


@pytest.mark.parametrize("silent_fail", [True, False])
def test_silent_fail_forgives(caplog, silent_fail):
    """Only with silent_fail an error is logged and passed over."""
    wait = wait_for(END, silent_fail=silent_fail)
    if silent_fail:
        with wait.forgiving():
            raise OSError("gone")
        assert "OSError: gone" in caplog.text
    else:
        with pytest.raises(OSError, match="gone"), wait.forgiving():
            raise OSError("gone")


def tell(caplog, *looks):
    """Give the lines that a wait logs of some looks, without what they all begin with."""
    caplog.set_level(logging.INFO)
    wait = wait_for(END, timeout=10_000.0)
    for now, body in looks:
        wait.observe(answer(body), now)
    assert all(record.message.startswith("Spark session 12 in pool etl: ") for record in caplog.records)
    return [record.message.partition(": ")[2] for record in caplog.records]


def test_each_change_is_told_once(caplog):
    """The log has a line for each change, with the way so far and how long each step took, and none for other looks."""
    looks = [
        (1000.0, samples.NOT_STARTED),
        (1005.0, samples.NOT_STARTED),
        (1017.0, samples.ACQUIRING),
        (1022.0, samples.STARTING),
        (1030.0, samples.STARTING),
        (1054.0, samples.IDLE),
        (1060.0, samples.IDLE),
    ]
    assert tell(caplog, *looks) == [
        "queued",
        "queued 16 s → acquiring nodes",
        "queued 16 s → acquiring nodes 4 s → starting",
        "queued 16 s → acquiring nodes 4 s → starting 32 s → idle",
    ]


def test_first_look_tells_what_it_missed(caplog):
    """Steps that were over before the first look are told as the service timed them."""
    assert tell(caplog, (1000.0, samples.IDLE)) == ["queued 16 s → acquiring nodes 4 s → idle"]


def test_ends_are_told(caplog):
    """The end is told with the time that it took to settle."""
    looks = [(1000.0, samples.NOT_STARTED), (4725.0, samples.settling("error")), (4745.0, samples.CANCELLED_IN_QUEUE)]
    *_, end, account = tell(caplog, *looks)
    assert end.endswith("error, result pending 20 s → error, Cancelled")
    assert account == (
        "failure after a wait of 1 h 2 min 25 s. Where the session's time went: "
        "queued 16 s, acquiring nodes 4 s, error, result pending 20 s."
    )


def test_account_sums_up(caplog):
    """The account at the end sums up how long the session was in each state, whatever came in between."""
    states = [samples.STARTING, samples.IDLE, samples.BUSY, samples.IDLE, samples.BUSY]
    looks = [(1000.0 + 60 * n, body) for n, body in enumerate(states)] + [(2000.0, samples.KILLED)]
    assert tell(caplog, *looks)[-1] == (
        "failure after a wait of 16 min 40 s. Where the session's time went: "
        "queued 16 s, acquiring nodes 4 s, starting 1 min, idle 2 min, busy 13 min 40 s."
    )


def test_account_of_a_long_wait(caplog):
    """What is too long ago for the trail is accounted for as a whole."""
    looks = [(1000.0 + 10 * n, (samples.IDLE, samples.BUSY)[n % 2]) for n in range(20)] + [(1200.0, samples.KILLED)]
    assert tell(caplog, *looks)[-1].endswith("earlier 2 min 20 s, idle 30 s, busy 30 s.")


def test_account_of_a_timeout(caplog):
    """A wait that runs out of time accounts for it, too."""
    looks = [(1000.0, samples.STARTING), (2000.0, samples.IDLE), (11_000.0, samples.IDLE)]
    assert tell(caplog, *looks)[-1] == (
        "timeout after a wait of 2 h 46 min 40 s. Where the session's time went: "
        "queued 16 s, acquiring nodes 4 s, starting 16 min 40 s, idle 2 h 30 min."
    )


def test_states_nobody_knows_are_told(caplog):
    """An unknown state is waited on, and the log says so, once."""
    looks = [(1000.0, samples.session(state="hibernating")), (1010.0, samples.session(state="hibernating"))]
    assert [line.rpartition(" → ")[2] for line in tell(caplog, *looks)] == ["hibernating (unknown, waiting on)"]


def test_cancellation_on_its_way_is_told(caplog):
    """A session that somebody asked to cancel is not called idle any more."""
    assert tell(caplog, (1000.0, CANCELLING))[0].endswith("being cancelled")


def test_lines_stay_short(caplog):
    """A session that turns busy and idle for days does not make the lines of the log ever longer."""
    looks = [(1000.0 + n, (samples.IDLE, samples.BUSY)[n % 2]) for n in range(100)]
    assert max(map(len, tell(caplog, *looks))) < 200


def test_wait_goes_on_with_what_was_told(caplog):
    """A wait that goes on in another process does not tell again what was told, and knows since when."""
    caplog.set_level(logging.INFO)
    wait = wait_for(END, trail=[("queued", 900.0), ("idle", 990.0)])
    wait.observe(answer(samples.IDLE), 1000.0)
    assert not caplog.records
    wait.observe(answer(samples.BUSY), 1010.0)
    assert caplog.messages == ["Spark session 12 in pool etl: queued 16 s → acquiring nodes 4 s → idle 20 s → busy"]


TWO_ERRORS = samples.error_info("CODE_ONE", "User") + samples.error_info("CODE_TWO", "System")

FAILURES = [
    pytest.param(
        samples.DEAD | {"errorInfo": TWO_ERRORS},
        END,
        """\
Spark session 12 in pool etl failed (Livy state dead, result Failed).
Error: User: CODE_ONE: Job failed during run time with state=[dead].
Error: System: CODE_TWO: Job failed during run time with state=[dead].
Times: queued 16 s, acquired nodes in 4 s, started in 2.1 s, lasted in all 30 min.
For support: application application_1740816000000_0013, activity id activity-1, Spark UI \
https://web.azuresynapse.net/sparkui/x/workspaces/ws/sparkpools/etl/sessions/12.
Last lines of the driver's log:
  stdout:
  stderr:
  Something was logged
  YARN Diagnostics:
The cause is in what is quoted above, and in the session's page in Synapse Studio. To take such an end for a success, \
set accepted_results=['Failed', 'Succeeded'].""",
        id="died",
    ),
    pytest.param(
        samples.IDLED_OUT | {"log": None, "pluginInfo": None, "appInfo": {"isSessionTimedOut": "true"}},
        ACCEPT_CANCELLED,
        """\
Spark session 12 in pool etl idled out: nothing ran on it for its idle timeout, so Synapse stopped it \
(Livy state dead, result Failed).
Error: Unknown: LIVY_JOB_TIMED_OUT: Job failed during run time with state=[dead].
Times: queued 16 s, lasted in all 30 min.
For support: application application_1740816000000_0013, activity id activity-1.
Give it work sooner, or create it with a longer idle timeout. To take such an end for a success, \
set accept_idle_timeout=True.""",
        id="idled out",
    ),
    pytest.param(
        samples.CANCELLED_IN_QUEUE | {"schedulerInfo": None, "pluginInfo": None},
        rules({"idle", "busy"}),
        """\
Spark session 12 in pool etl was cancelled before it was seen busy or idle (Livy state error, result Cancelled).
For support: activity id activity-1.
See who cancelled it: a person, a pipeline, or a task's clean-up. To take such an end for a success, \
set target_states=['busy', 'error', 'idle'].""",
        id="cancelled before it was idle",
    ),
    pytest.param(
        {"id": 3, "state": "success", "result": "Succeeded", "sparkPoolName": "etl"},
        IDLE,
        """\
Spark session 3 in pool etl ended before it was seen idle (Livy state success, result Succeeded).
For support: activity id activity-1.
The cause is in what is quoted above, and in the session's page in Synapse Studio. To take such an end for a success, \
set target_states=['idle', 'success'].""",
        id="succeeded before it was idle",
    ),
]


@pytest.mark.parametrize(("body", "goal", "words"), FAILURES)
def test_failures_in_words(body, goal, words):
    """A failure says what ended and how, every cause that the service gave, and which parameter would accept it."""
    assert describe_failure(answer(body), goal) == words


def test_parameter_that_a_failure_names_accepts_it():
    """Following the advice of the message helps."""
    for body in (samples.DEAD, samples.KILLED, samples.CANCELLED_IN_QUEUE, samples.IDLED_OUT, samples.SUCCEEDED):
        for goal in (END, IDLE, ACCEPT_CANCELLED):
            if judge(SparkSession.from_dict(body), goal) is FAILURE:
                advice = describe_failure(answer(body), goal).rpartition("set ")[2].removesuffix(".")
                given = {"target_states": None, "accepted_results": goal.accepted_results, "accept_idle_timeout": False}
                exec(advice, {}, given)
                assert judge(SparkSession.from_dict(body), WaitRules.checked(**given)) is SUCCESS


def test_timeouts_in_words():
    """A timeout says what was waited for, for how long, and where the session stood."""
    words = describe_timeout(answer(samples.BUSY), IDLE, "timeout", 5400.0)
    assert words.splitlines()[0] == (
        "Spark session 12 in pool etl had not been idle within the sensor's timeout of 1 h 30 min "
        "(Livy state busy, result Uncertain)."
    )
    assert describe_timeout(answer(samples.BUSY), END, "timeout", 0.5).startswith(
        "Spark session 12 in pool etl had not ended within the sensor's timeout of 0.5 s"
    )
    assert "could not be read once" in describe_timeout(None, END, "timeout", 60.0)
