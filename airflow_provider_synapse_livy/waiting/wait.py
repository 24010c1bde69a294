"""
Waiting for a Spark session: what it is waited for, when the wait is over, and in which words.

All modes of the sensor decide here. A :class:`Wait` is told what each look at the session showed and says what to
do next; it neither sleeps nor asks anybody, so a task, a rescheduled task and a trigger use it alike.
"""

from __future__ import annotations

import logging
import time
import zlib
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from functools import lru_cache
from itertools import pairwise
from typing import Any

from airflow_provider_synapse_livy.livy.errors import SynapseLivyConfigurationError
from airflow_provider_synapse_livy.livy.responses import Snapshot
from airflow_provider_synapse_livy.models import (
    LivyState,
    PluginCurrentState,
    SchedulerCurrentState,
    SparkServiceError,
    SparkSession,
    SparkSessionResultType,
)
from airflow_provider_synapse_livy.transport.retry import RETRY_SECONDS

__all__ = ["SETTLE_TIMEOUT", "Verdict", "Wait", "WaitRules", "describe_failure", "describe_timeout", "judge"]

_log = logging.getLogger(__name__)

#: Seconds to wait for the final result of Synapse, once a session has ended for Livy; up to 31 were seen.
SETTLE_TIMEOUT = 60.0

_SETTLE_INTERVAL = 5.0

#: How many changes one line of the log goes back; a session may turn busy and idle for days.
_LONGEST_TRAIL = 8


class Verdict(StrEnum):
    """What a look at the session means for the wait."""

    WAIT = "wait"
    SUCCESS = "success"
    FAILURE = "failure"
    TIMEOUT = "timeout"


@dataclass(frozen=True, slots=True)
class WaitRules:
    """
    What is waited for.

    :param target_states: the Livy states to wait for, None to wait for the session's end.
    :param accepted_results: with which results the end is a success.
    :param accept_idle_timeout: whether an end by idle timeout is one, too.
    """

    target_states: frozenset[str] | None
    accepted_results: frozenset[str]
    accept_idle_timeout: bool

    @classmethod
    def checked(
        cls,
        target_states: Collection[str] | None,
        accepted_results: Collection[str],
        accept_idle_timeout: bool,
    ) -> WaitRules:
        """
        Check what a task was given. A misspelt state would be waited for until the timeout.

        :param target_states: the Livy states to wait for; one may stand alone.
        :param accepted_results: the results to accept; one may stand alone.
        :param accept_idle_timeout: whether to accept an idle timeout.
        :raises SynapseLivyConfigurationError: if there is no such state or result.
        """
        results = _names(
            "accepted_results", accepted_results, frozenset(SparkSessionResultType) - {SparkSessionResultType.UNCERTAIN}
        )
        states = None if target_states is None else _names("target_states", target_states, frozenset(LivyState))
        return _shared_rules(states, results, accept_idle_timeout)


#: Equal rules are made once: a triggerer may hold thousands of waits for the same.
_shared_rules = lru_cache(WaitRules)


def _names(parameter: str, given: Collection[str] | None, known: Collection[str]) -> frozenset[str]:
    names = frozenset([given] if isinstance(given, str) else given or ())
    if names and names <= set(known):
        return names
    raise SynapseLivyConfigurationError(
        f"{parameter}={given!r}: write at least one of {', '.join(sorted(known))}, and no other."
    )


def judge(session: SparkSession, rules: WaitRules, *, settled: bool = False) -> Verdict:
    """
    Decide whether the wait is over. Success needs proof, failure needs an end, and all else waits.

    :param session: the session as it was last seen.
    :param rules: what is waited for.
    :param settled: whether to take the end as it stands though Synapse has not said its result yet.
    """
    if _reached(session, rules):
        return Verdict.SUCCESS
    if not session.is_finished or (session.is_settling and not settled):
        return Verdict.WAIT
    return Verdict.SUCCESS if _accepted(session, rules) else Verdict.FAILURE


def _reached(session: SparkSession, rules: WaitRules) -> bool:
    """See whether the session is where it is waited for. Idle it must be for good: about to be cancelled won't do."""
    state = session.state
    if not isinstance(state, LivyState) or state not in (rules.target_states or ()):
        return False
    if state is LivyState.IDLE:
        return session.is_ready
    return state.is_final or not session.is_finished


def _accepted(session: SparkSession, rules: WaitRules) -> bool:
    if rules.target_states is not None:
        return False
    return session.outcome in rules.accepted_results or (rules.accept_idle_timeout and session.idle_timed_out)


@dataclass(slots=True)
class Wait:
    """
    One wait for one session.

    :param rules: what is waited for.
    :param began: when the first look was, in seconds since the epoch.
    :param timeout: how many seconds after that the wait ends.
    :param poke_interval: seconds between two looks.
    :param exponential_backoff: whether the interval grows, to twice its length with each look.
    :param max_wait: how many seconds it grows to at the most; None for no bound.
    :param trail: where the session stood, and since when, as far as an earlier process of this wait has seen it.
    :param settle_timeout: for how many seconds to wait for the result of a session that has ended.
    :param silent_fail: whether a look that fails is logged and forgiven.
    :param log: the task's log, which gets a line at each change of the session.
    """

    rules: WaitRules
    began: float
    timeout: float
    poke_interval: float
    exponential_backoff: bool = False
    max_wait: float | None = None
    settle_timeout: float = SETTLE_TIMEOUT
    silent_fail: bool = False
    trail: list[tuple[str, float]] = field(default_factory=list)
    log: Any = _log
    pause: float = field(default=0.0, init=False)
    _seen: tuple[bytes, str | None] | None = field(default=None, init=False)
    _settling_since: float | None = field(default=None, init=False)
    _made_at: float = field(default_factory=time.time, init=False)
    _made_at_monotonic: float = field(default_factory=time.monotonic, init=False)

    def now(self) -> float:
        """
        Tell the time, in seconds since the epoch, by a clock that is never set while a process waits.

        The time of the day is needed for what another process must understand. But it may be set forward or back,
        which must neither end a wait nor draw it out.
        """
        return self._made_at + time.monotonic() - self._made_at_monotonic

    @property
    def deadline(self) -> float:
        """When the wait ends, in seconds since the epoch."""
        return self.began + self.timeout

    @property
    def seen(self) -> Snapshot | None:
        """The last good look. It is kept small: a triggerer may hold thousands of waits."""
        if self._seen is None:
            return None
        packed, activity_id = self._seen
        return Snapshot(SparkSession.from_json(zlib.decompress(packed)), activity_id)

    def quiet(self, now: float) -> float:
        """
        Tell for how many seconds nothing is to be decided, as long as the session does not change.

        :param now: the time, in seconds since the epoch.
        """
        is_steady = self._seen is not None and not self.exponential_backoff and not self.is_settling
        return self.deadline - now if is_steady else 0.0

    @property
    def is_settling(self) -> bool:
        """Whether the session has ended and only its result is waited for."""
        return self._settling_since is not None

    def patience(self, now: float) -> float:
        """
        Tell for how many seconds one look may try: never beyond the deadline, where the last one is a single try.

        :param now: when it begins, in seconds since the epoch.
        """
        return max(0.0, min(RETRY_SECONDS, self.deadline - now))

    @contextmanager
    def forgiving(self) -> Iterator[None]:
        """Let a look fail, if ``silent_fail`` is set: it is logged, and the wait goes on without it."""
        try:
            yield
        except Exception:
            if not self.silent_fail:
                raise
            self.log.exception("This look at the Spark session failed; as silent_fail is set, the wait goes on.")

    def observe(self, answer: Snapshot | None, now: float) -> Verdict:
        """
        Take in a look at the session, keep it as :attr:`seen`, and say what to do.

        If that is to wait, :attr:`pause` seconds should pass until the next look. They never lead beyond the
        deadline, so that the last look is right there.

        :param answer: what the look showed, None if it failed and was forgiven.
        :param now: when it was, in seconds since the epoch.
        """
        verdict = self._take_in(answer, now) if answer else Verdict.WAIT
        if verdict is Verdict.WAIT and now >= self.deadline:
            verdict = Verdict.TIMEOUT
        if verdict is Verdict.WAIT:
            self.pause = min(self._interval(now), self.deadline - now)
        elif seen := self.seen:
            self.log.info("%s: %s", seen.session, self._account(seen.session, verdict, now))
        return verdict

    def _take_in(self, answer: Snapshot, now: float) -> Verdict:
        packed = zlib.compress(answer.session.model_dump_json(by_alias=True).encode(), level=1)
        self._seen = packed, answer.activity_id
        self._note(answer.session, now)
        return judge(answer.session, self.rules, settled=self._has_settled(answer.session, now))

    def _interval(self, now: float) -> float:
        if self._settling_since is not None:
            return min(_SETTLE_INTERVAL, self.poke_interval)
        # One interval more than has passed doubles it each time: 1, 2, 4, ... without a count to carry along.
        grown = self.poke_interval + (now - self.began if self.exponential_backoff else 0)
        return min(grown, self.max_wait) if self.max_wait else grown

    def _has_settled(self, session: SparkSession, now: float) -> bool:
        if not session.is_settling:
            self._settling_since = None
            return True
        if self._settling_since is None:
            self._settling_since = now
        return now >= min(self._settling_since + self.settle_timeout, self.deadline)

    def _note(self, session: SparkSession, now: float) -> None:
        """Tell of a change, once: the way of the session so far, and how long each step took."""
        phase = _phase(session)
        if self.trail and self.trail[-1][0] == phase:
            return
        self.trail = _shortened([*self.trail, (phase, now)])
        self.log.info("%s: %s", session, _way(session, self.trail))

    def _account(self, session: SparkSession, verdict: Verdict, now: float) -> str:
        """Say at the end where the time went."""
        spent: defaultdict[str, timedelta] = defaultdict(timedelta)
        for name, took in _steps(session, [*self.trail, ("", now)], first_as_seen=True):
            spent[name] += took
        times = ", ".join(f"{name} {_duration(took)}" for name, took in spent.items() if took)
        waited = _duration(timedelta(seconds=now - self.began)) or "0 s"
        return f"{verdict} after a wait of {waited}. Where the session's time went: {times or 'not known'}."


_QUEUED, _ACQUIRING = "queued", "acquiring nodes"


def _phase(session: SparkSession) -> str:
    """Name where the session stands, a little finer than its Livy state does."""
    if session.is_finished:
        return f"{session.state}, result pending" if session.is_settling else f"{session.state}, {session.result}"
    if session.is_cancelling:
        return "being cancelled"
    if session.state == LivyState.NOT_STARTED:
        return _early_phase(session)
    return str(session.state) if session.state in set(LivyState) else f"{session.state} (unknown, waiting on)"


def _early_phase(session: SparkSession) -> str:
    scheduler = session.scheduler_info and session.scheduler_info.current_state
    plugin = session.plugin_info and session.plugin_info.current_state
    if scheduler != SchedulerCurrentState.SCHEDULED:
        return _QUEUED
    before_nodes = (PluginCurrentState.PREPARATION, PluginCurrentState.QUEUED, PluginCurrentState.RESOURCE_ACQUISITION)
    return _ACQUIRING if plugin in before_nodes else "starting"


def _way(session: SparkSession, trail: Sequence[tuple[str, float]]) -> str:
    """Write the way of a session so far, and how long each step took."""
    steps = [f"{name} {_duration(took)}".strip() for name, took in _steps(session, trail)]
    return " → ".join([*steps, trail[-1][0]])


def _steps(
    session: SparkSession, trail: Sequence[tuple[str, float]], *, first_as_seen: bool = False
) -> list[tuple[str, timedelta]]:
    """
    Give the steps that are over: as the service timed the early ones, and as we saw the later ones.

    How long the first one had lasted when we came, we did not see, so it has no time, unless what we saw will do.
    """
    timed = {_QUEUED: session.queue_duration, _ACQUIRING: session.acquisition_duration}
    current, _ = trail[-1]
    steps = [(name, took) for name, took in timed.items() if took is not None and name != current]
    early = {name for name, _ in steps}
    for index, ((name, since), (_, until)) in enumerate(pairwise(trail)):
        if name not in early:
            steps.append((name, timedelta(seconds=until - since if index or first_as_seen else 0)))
    return steps


def _shortened(trail: list[tuple[str, float]]) -> list[tuple[str, float]]:
    """Keep a trail short: what was before is summed up as earlier."""
    if len(trail) <= _LONGEST_TRAIL:
        return trail
    return [("earlier", trail[0][1]), *trail[2:]]


def _duration(span: timedelta) -> str:
    seconds = span.total_seconds()
    if seconds <= 0:
        return ""
    if seconds < 9.95:  # above, a tenth would be noise
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "min"), (rest, "s"))
    return " ".join(f"{number} {unit}" for number, unit in parts if number) or "0 s"


def describe_failure(answer: Snapshot, rules: WaitRules) -> str:
    """
    Say why a session that has ended does not count as a success: the thing, the event, the causes, the remedy.

    :param answer: the last look at it.
    :param rules: what was waited for.
    """
    session = answer.session
    missed = "" if rules.target_states is None else f" before it was seen {_or(rules.target_states)}"
    event = f"{session} {_end(session)}{missed} ({_states(session)})."
    return "\n".join([event, *_evidence(answer), _remedy(session, rules)])


def describe_timeout(answer: Snapshot | None, rules: WaitRules, option: str, seconds: float) -> str:
    """
    Say that the wait ran out of time.

    :param answer: the last look at the session, if there was a good one.
    :param rules: what was waited for.
    :param option: the sensor's option that limits the wait.
    :param seconds: to how many seconds it does.
    """
    goal = "ended" if rules.target_states is None else f"been {_or(rules.target_states)}"
    limit = f"{option} of {_duration(timedelta(seconds=seconds)) or '0 s'}"
    if answer is None:
        return f"The Spark session could not be read once within the sensor's {limit}. See the log for why."
    session = answer.session
    event = f"{session} had not {goal} within the sensor's {limit} ({_states(session)})."
    return "\n".join([event, *_evidence(answer), f"If it only needs longer, raise the sensor's {option}."])


def _states(session: SparkSession) -> str:
    return f"Livy state {session.state}, result {session.result}"


def _end(session: SparkSession) -> str:
    if session.idle_timed_out:
        return "idled out: nothing ran on it for its idle timeout, so Synapse stopped it"
    ends = {SparkSessionResultType.CANCELLED: "was cancelled", SparkSessionResultType.FAILED: "failed"}
    return ends.get(session.outcome or SparkSessionResultType.UNCERTAIN, "ended")


def _evidence(answer: Snapshot) -> Iterator[str]:
    """Give what the service told, a line for each kind that there is."""
    session = answer.session
    yield from (f"Error: {_error(error)}" for error in session.error_info or ())
    if times := _times(session):
        yield f"Times: {times}."
    info = session.app_info or {}
    facts = {"application": session.app_id, "activity id": answer.activity_id, "Spark UI": info.get("sparkUiUrl")}
    if named := [f"{name} {value}" for name, value in facts.items() if value]:
        yield f"For support: {', '.join(named)}."
    if lines := [line.strip() for line in session.log or () if line.strip()]:
        yield "Last lines of the driver's log:\n" + "\n".join(f"  {line}" for line in lines)


def _error(error: SparkServiceError) -> str:
    return ": ".join(filter(None, (error.source, error.error_code, error.message)))


def _times(session: SparkSession) -> str:
    times = {
        "queued": session.queue_duration,
        "acquired nodes in": session.acquisition_duration,
        "started in": session.start_duration,
        "lasted in all": session.lifetime,
    }
    return ", ".join(f"{name} {_duration(took) or '0 s'}" for name, took in times.items() if took is not None)


def _remedy(session: SparkSession, rules: WaitRules) -> str:
    """Say what to look at, and which parameter of the sensor would take this end for a success."""
    if session.idle_timed_out:
        advice = "Give it work sooner, or create it with a longer idle timeout."
    elif session.outcome is SparkSessionResultType.CANCELLED:
        advice = "See who cancelled it: a person, a pipeline, or a task's clean-up."
    else:
        advice = "The cause is in what is quoted above, and in the session's page in Synapse Studio."
    return f"{advice} To take such an end for a success, set {_accepting(session, rules)}."


def _accepting(session: SparkSession, rules: WaitRules) -> str:
    if rules.target_states is not None:
        return f"target_states={sorted({*rules.target_states, str(session.state)})}"
    if session.idle_timed_out:
        return "accept_idle_timeout=True"
    return f"accepted_results={sorted({*rules.accepted_results, str(session.outcome)})}"


def _or(names: Collection[str]) -> str:
    return " or ".join(sorted(names))
