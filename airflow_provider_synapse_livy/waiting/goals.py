"""What is waited for, and what a record means for the wait: its verdict."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from enum import StrEnum
from functools import lru_cache
from typing import Any, Generic, Protocol, TypeVar

from airflow_provider_synapse_livy.livy.error_codes import error_code_fix
from airflow_provider_synapse_livy.livy.errors import SynapseLivyConfigurationError, error_message
from airflow_provider_synapse_livy.livy.responses import one_line
from airflow_provider_synapse_livy.models import LivyState, SparkJob, SparkSession, SparkSessionResultType

__all__ = ["Goal", "JobGoal", "SessionGoal", "Verdict", "Waitable", "accepted", "known_names", "result_to_add"]

R_contra = TypeVar("R_contra", contravariant=True)
J_contra = TypeVar("J_contra", bound=SparkJob, contravariant=True)

#: How many characters the target states may take up in a message.
_MAX_STATES = 24


class Verdict(StrEnum):
    """What a record means for the wait."""

    PENDING = "pending"
    SUCCESS = "success"
    FAILURE = "failure"
    TIMEOUT = "timeout"


class Waitable(Protocol):
    """What a record must tell to be waited for. ``str()`` names it in messages."""

    @property
    def id(self) -> int:
        """Its number."""

    @property
    def phase(self) -> str:
        """What it is doing, in words that follow "is"."""

    @property
    def ending(self) -> str:
        """How it ended, in words that follow its name."""

    @property
    def is_finished(self) -> bool:
        """Whether it has ended."""

    @property
    def is_settling(self) -> bool:
        """Whether it has ended, but its final result is not known yet."""

    @property
    def lifetime(self) -> timedelta | None:
        """How long it lasted, if it has ended."""

    def durations(self) -> Mapping[str, timedelta]:
        """Return how long each phase took that the service has timed."""

    def details(self) -> Iterator[str]:
        """Return the lines of a failure message that say what the service told."""

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""


class Goal(Protocol[R_contra]):
    """What is waited for. Its fields are JSON values, so that it can move to another process."""

    def evaluate(self, record: R_contra, *, settled: bool = False) -> Verdict:
        """
        Return whether the wait is over. Success needs proof, failure needs an end, and all else is pending.

        :param record: the record as it was last seen.
        :param settled: whether to take the end as it stands though its final result is not known yet.
        """

    def describe(self) -> str:
        """Return what is waited for, in words that follow "has"."""

    def hint(self, record: R_contra) -> str:
        """Return what to do about an end that is not the goal, and which parameter would accept it."""

    def timeout_hint(self, record: R_contra, option: str) -> str:
        """Return what to do about a wait that ran out of time, which the task's option limits."""

    def advice(self) -> str:
        """Return what those should know who wait for this, empty if there is nothing."""


class JobGoal(Generic[J_contra]):
    """
    What is waited for in a session or a batch job: the end, with a result that is accepted.

    A subclass is a dataclass that has the accepted results.
    """

    __slots__ = ()

    accepted_results: frozenset[str]

    def evaluate(self, record: J_contra, *, settled: bool = False) -> Verdict:
        """
        Return whether the wait is over.

        :param record: the job as it was last seen.
        :param settled: whether to take the end as it stands though Synapse has not reported its result yet.
        """
        if self._is_reached(record):
            return Verdict.SUCCESS
        if not record.is_finished or (record.is_settling and not settled):
            return Verdict.PENDING
        return Verdict.SUCCESS if self._accepts(record) else Verdict.FAILURE

    def _is_reached(self, record: J_contra) -> bool:  # noqa: ARG002  (a session's may be, while it lives)
        """Return whether the goal is reached, whatever the end may be."""
        return False

    def _accepts(self, record: J_contra) -> bool:
        """Return whether an end is a success."""
        return record.outcome in self.accepted_results

    def describe(self) -> str:
        """Return what is waited for, in words that follow "has"."""
        return "ended"

    def hint(self, record: J_contra) -> str:
        """
        Return what to do about an end that is not the goal, and which parameter would accept it.

        :param record: the job that ended.
        """
        if advice := self._remedy(record):
            pass
        elif record.outcome is SparkSessionResultType.CANCELLED:
            advice = "find out who cancelled it."
        elif known := _known_remedy(record):
            return known
        else:
            advice = "see the details below and in Synapse Studio."
        accepting = self._accepting(record)
        return f"{advice} To treat this as success, {accepting}." if accepting else advice

    def _remedy(self, record: J_contra) -> str:  # noqa: ARG002  (each kind has its own)
        """Return what to do about an end that only this kind of job has; empty if it is none."""
        return ""

    def _accepting(self, record: J_contra) -> str | None:
        """Return how to accept the end; None where nothing would."""
        return result_to_add(record)

    def timeout_hint(self, record: J_contra, option: str) -> str:  # noqa: ARG002  (a session tells more)
        """
        Return what to do about a wait that ran out of time.

        :param record: the job as it was last seen.
        :param option: the task's option that limits the wait.
        """
        return f"raise {option} if it only needs more time."

    def advice(self) -> str:
        """Return what those should know who wait for this: nothing."""
        return ""


@dataclass(frozen=True, slots=True)
class SessionGoal(JobGoal[SparkSession]):
    """
    What is waited for in a Spark session.

    :param target_states: the Livy states to wait for; None to wait for the session's end.
    :param accepted_results: with which results the end is a success.
    :param accept_idle_timeout: whether an end by idle timeout is a success, too.
    """

    target_states: frozenset[str] | None
    accepted_results: frozenset[str]
    accept_idle_timeout: bool

    @classmethod
    def validated(
        cls,
        target_states: Collection[str] | None,
        accepted_results: Collection[str],
        accept_idle_timeout: bool,
    ) -> SessionGoal:
        """
        Return the goal that a task was given. A misspelt state would be waited for until the timeout.

        :param target_states: the Livy states to wait for; one may stand alone.
        :param accepted_results: the results to accept; one may stand alone.
        :param accept_idle_timeout: whether to accept an idle timeout.
        :raises SynapseLivyConfigurationError: if there is no such state or result.
        """
        results = accepted(accepted_results)
        states = None if target_states is None else known_names("target_states", target_states, list(LivyState))
        return _shared_goal(states, results, accept_idle_timeout)

    def _is_reached(self, record: SparkSession) -> bool:
        """Return whether the session is in a target state. An idle session that is being cancelled is not ready."""
        state = record.state
        if not isinstance(state, LivyState) or state not in (self.target_states or ()):
            return False
        if state is LivyState.IDLE:
            return record.is_ready
        return state.is_final or not record.is_finished

    def _accepts(self, record: SparkSession) -> bool:
        if self.target_states is not None:
            return False
        return record.outcome in self.accepted_results or (self.accept_idle_timeout and record.idle_timed_out)

    def describe(self) -> str:
        """Return what is waited for, in words that follow "has"."""
        if self.target_states is None:
            return "ended"
        states = " or ".join(sorted(self.target_states))
        return f"been {states}" if len(states) <= _MAX_STATES else "been in a target state"

    def _remedy(self, record: SparkSession) -> str:
        return "use it sooner, or create it with a longer idle timeout." if record.idle_timed_out else ""

    def timeout_hint(self, record: SparkSession, option: str) -> str:
        """
        Return what to do about a wait that ran out of time.

        :param record: the session as it was last seen.
        :param option: the task's option that limits the wait.
        """
        if self.target_states is None and record.state in (LivyState.IDLE, LivyState.BUSY):
            return 'set target_states={"idle"} to wait until it is ready; a session does not end by itself.'
        return JobGoal.timeout_hint(self, record, option)

    def advice(self) -> str:
        """Return what those should know who wait for the end of a session with the default results."""
        if self.target_states is None and self.accepted_results == {SparkSessionResultType.SUCCEEDED}:
            return (
                "Sessions end as Cancelled or by idle timeout, hardly ever as Succeeded. "
                'To wait until the session is ready, set target_states={"idle"}.'
            )
        return ""

    def _accepting(self, record: SparkSession) -> str | None:
        """Return how to accept the end of a session; None where its state is not one that can be waited for."""
        if self.target_states is not None:
            is_target = isinstance(record.state, LivyState) and record.state.is_final
            return f"add {str(record.state)!r} to target_states" if is_target else None
        return "set accept_idle_timeout=True" if record.idle_timed_out else result_to_add(record)


#: Equal goals are made once: a triggerer may hold thousands of waits for the same.
_shared_goal = lru_cache(SessionGoal)


def _known_remedy(job: SparkJob) -> str | None:
    errors = job.error_info if isinstance(job.error_info, tuple) else ()
    return error_code_fix(error.error_code for error in errors)


def result_to_add(job: SparkJob) -> str:
    """
    Return how to accept the end of a job by its result.

    :param job: the job.
    """
    return f"add {str(job.outcome)!r} to accepted_results"


def accepted(accepted_results: Collection[str]) -> frozenset[str]:
    """
    Return the results that a task accepts.

    :param accepted_results: the results as they were given; one may stand alone.
    :raises SynapseLivyConfigurationError: if there is no such result.
    """
    final = [result for result in SparkSessionResultType if result is not SparkSessionResultType.UNCERTAIN]
    return known_names("accepted_results", accepted_results, final)


def known_names(parameter: str, given: object, known: Collection[str]) -> frozenset[str]:
    """
    Return the names that a parameter was given, as the service spells them, whatever their letter case.

    :param parameter: the parameter's name.
    :param given: the names as they were given; one may stand alone.
    :param known: the names that there are.
    :raises SynapseLivyConfigurationError: if there is no such name, or none was given.
    """
    spelled = {name.lower(): name for name in known}
    is_one = isinstance(given, str) or not isinstance(given, Collection)
    values: Collection[object] = () if given is None else [given] if is_one else given  # type: ignore[assignment]
    names = [str(name).strip() for name in values]
    wrong = sorted(name for name in names if name.lower() not in spelled)
    if names and not wrong:
        return frozenset(spelled[name.lower()] for name in names)
    event = f"{parameter}={one_line(repr(given), 60)} is invalid." if names else f"{parameter} is empty."
    close = [close for name in wrong for close in _close_matches(name, known)]
    fix = f"did you mean {str(close[0])!r}?" if close else "use one or more of the valid values."
    raise SynapseLivyConfigurationError(error_message(event, fix, f"Valid values: {', '.join(sorted(known))}."))


def _close_matches(name: str, known: Collection[str]) -> list[str]:
    # With the same first letter: else "ready" would be close to dead.
    by_lower = {one.lower(): one for one in known if one[:1].lower() == name[:1].lower()}
    return [by_lower[match] for match in get_close_matches(name.lower(), by_lower, n=1)]
