"""What is waited for in a Spark session, and what a record means for the wait."""

from __future__ import annotations

import pytest

from airflow_provider_synapse_livy.livy.errors import SynapseLivyConfigurationError
from airflow_provider_synapse_livy.models import LivyState, SparkSession
from airflow_provider_synapse_livy.waiting.goals import SessionGoal, Verdict
from tests.support import sample_sessions as samples

PENDING, SUCCESS, FAILURE, TIMEOUT = Verdict


def goal(target_states=None, accepted_results=("Succeeded",), *, accept_idle_timeout=False):
    """Return the goal that a task was given."""
    return SessionGoal.validated(target_states, accepted_results, accept_idle_timeout)


CANCELLING = samples.session(schedulerInfo=samples.scheduler(cancellationRequestedAt="2025-03-01T08:10:00+00:00"))
END, IDLE, ACCEPT_CANCELLED, ACCEPT_IDLE_TIMEOUT = (
    goal(),
    goal({"idle"}),
    goal(accepted_results={"Succeeded", "Cancelled"}),
    goal(accept_idle_timeout=True),
)

VERDICTS = [
    # what was seen, then the verdict of a wait for: the end, idle, the end or a cancellation, or an idle timeout
    ("queued", samples.NOT_STARTED, PENDING, PENDING, PENDING, PENDING),
    ("acquiring", samples.ACQUIRING, PENDING, PENDING, PENDING, PENDING),
    ("starting", samples.STARTING, PENDING, PENDING, PENDING, PENDING),
    ("idle", samples.IDLE, PENDING, SUCCESS, PENDING, PENDING),
    ("idle, about to be cancelled", CANCELLING, PENDING, PENDING, PENDING, PENDING),
    ("busy", samples.BUSY, PENDING, PENDING, PENDING, PENDING),
    ("unknown state", samples.session(state="hibernating"), PENDING, PENDING, PENDING, PENDING),
    ("no state at all", {"id": 12}, PENDING, PENDING, PENDING, PENDING),
    ("dead, settling", samples.settling("dead"), PENDING, PENDING, PENDING, PENDING),
    ("killed, settling", samples.settling("killed"), PENDING, PENDING, PENDING, PENDING),
    ("success, settling", samples.settling("success"), PENDING, PENDING, PENDING, PENDING),
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
    """Success needs proof, failure needs an end, and all else is pending."""
    session = SparkSession.from_dict(body)
    goals = (END, IDLE, ACCEPT_CANCELLED, ACCEPT_IDLE_TIMEOUT)
    assert tuple(one.evaluate(session) for one in goals) == expected


@pytest.mark.parametrize(
    ("state", "expected"),
    [("dead", FAILURE), ("killed", FAILURE), ("error", FAILURE), ("success", SUCCESS)],
)
def test_verdict_without_a_final_result(state, expected):
    """If Synapse never reports its result, the final Livy state decides, as in Microsoft's own client."""
    session = SparkSession.from_dict(samples.settling(state))
    assert END.evaluate(session) is PENDING
    assert END.evaluate(session, settled=True) is expected


def test_states_on_the_way_out_can_be_targets():
    """A requested cancellation makes a session not ready, but the states that follow can be waited for."""
    body = CANCELLING | {"state": "shutting_down"}
    assert goal({"shutting_down"}).evaluate(SparkSession.from_dict(body)) is SUCCESS


def test_final_states_can_be_targets():
    """A wait for a final state succeeds as soon as Livy reports it, without waiting for the result."""
    assert goal({"killed"}).evaluate(SparkSession.from_dict(samples.settling("killed"))) is SUCCESS


STATES = "busy, dead, error, idle, killed, not_started, recovering, running, shutting_down, starting, success"


RESULTS = "Cancelled, Failed, Succeeded"
SUCCEEDED = "did you mean 'Succeeded'?"
USE_VALID = "use one or more of the valid values."


@pytest.mark.parametrize(
    ("given", "event", "fix", "valid"),
    [
        ({"target_states": "idel"}, "target_states='idel' is invalid.", "did you mean 'idle'?", STATES),
        ({"target_states": {"ready"}}, "target_states={'ready'} is invalid.", USE_VALID, STATES),
        ({"target_states": []}, "target_states is empty.", USE_VALID, STATES),
        ({"target_states": ""}, "target_states='' is invalid.", USE_VALID, STATES),
        ({"target_states": ["idle", None]}, "target_states=['idle', None] is invalid.", USE_VALID, STATES),
        ({"accepted_results": ["Success"]}, "accepted_results=['Success'] is invalid.", SUCCEEDED, RESULTS),
        ({"accepted_results": ["Uncertain"]}, "accepted_results=['Uncertain'] is invalid.", USE_VALID, RESULTS),
        ({"accepted_results": ()}, "accepted_results is empty.", USE_VALID, RESULTS),
        ({"accepted_results": None}, "accepted_results is empty.", USE_VALID, RESULTS),
    ],
    ids=str,
)  # fmt: skip
def test_misspelt_goals_are_refused(given, event, fix, valid):
    """A state or result that does not exist would be waited for in vain, so it is refused, with those that do."""
    with pytest.raises(SynapseLivyConfigurationError) as caught:
        goal(**given)
    assert str(caught.value).splitlines() == [event, f"Fix: {fix}", f"Valid values: {valid}."]


@pytest.mark.parametrize("given", ["IDLE", {"Idle"}, [" idle "]])
def test_letter_case_of_names_does_not_matter(given):
    """A state or result may be written in any letter case, and becomes the service's own name."""
    assert goal(given) == goal({"idle"})
    assert goal(None, ["SUCCEEDED"]) == goal(None, ["Succeeded"])


def test_one_name_may_stand_alone():
    """A single name need not be in a list; its letters are not taken for names."""
    assert goal("idle", "Failed") == goal({"idle"}, {"Failed"})


def test_equal_goals_are_one_object():
    """Equal goals are made once, since a triggerer may hold thousands of waits for the same."""
    assert goal(["idle", "busy"]) is goal({"busy", "idle"})


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (END, "ended"),
        (IDLE, "been idle"),
        (goal({"idle", "busy"}), "been busy or idle"),
        (goal(set(LivyState)), "been in a target state"),
    ],
)
def test_goals_in_words(one, words):
    """A goal is described in words that follow "has", which stay short however many states there are."""
    assert one.describe() == words


CHECK, CANCELLED = "see the details below and in Synapse Studio.", "find out who cancelled it."
IDLED_OUT = "use it sooner, or create it with a longer idle timeout."
ACCEPT = "To treat this as success,"


@pytest.mark.parametrize(
    ("one", "body", "hint"),
    [
        (END, samples.DEAD, f"{CHECK} {ACCEPT} add 'Failed' to accepted_results."),
        (END, samples.KILLED, f"{CANCELLED} {ACCEPT} add 'Cancelled' to accepted_results."),
        (IDLE, samples.KILLED, f"{CANCELLED} {ACCEPT} add 'killed' to target_states."),
        (END, samples.IDLED_OUT, f"{IDLED_OUT} {ACCEPT} set accept_idle_timeout=True."),
        (IDLE, samples.DOCUMENTED_SAMPLE, CHECK),
        (IDLE, samples.session(result="Failed"), CHECK),
    ],
    ids=str,
)  # fmt: skip
def test_hints(one, body, hint):
    """A hint says what to do about an end, and which parameter would accept it, if one would."""
    assert one.hint(SparkSession.from_dict(body)) == hint


@pytest.mark.parametrize("body", [row[1] for row in VERDICTS], ids=[row[0] for row in VERDICTS])
@pytest.mark.parametrize("one", [END, IDLE, ACCEPT_CANCELLED], ids=["end", "idle", "accept cancelled"])
def test_following_the_hint_helps(one, body):
    """With the parameter that the hint names, the same end is a success; a hint without one names none that would."""
    session = SparkSession.from_dict(body)
    if one.evaluate(session) is not FAILURE:
        return
    _, _, advice = one.hint(session).partition("To treat this as success, ")
    given = {"target_states": one.target_states, "accepted_results": one.accepted_results, "accept_idle_timeout": False}
    match advice.removesuffix(".").split():
        case ["add", value, "to", parameter]:
            given[parameter] |= {value.strip("'")}
        case ["set", "accept_idle_timeout=True"]:
            given["accept_idle_timeout"] = True
        case []:
            given["target_states"] = set(LivyState)
            assert SessionGoal.validated(**given).evaluate(session) is FAILURE
            return
    assert SessionGoal.validated(**given).evaluate(session) is SUCCESS
