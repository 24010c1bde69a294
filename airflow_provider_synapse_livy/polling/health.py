"""How a pool fares: whether it fails as a whole, and whether its list is of use. No clock: times are passed in."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from airflow_provider_synapse_livy.livy.errors import SynapseLivyError, SynapseLivyUnavailableError, error_message
from airflow_provider_synapse_livy.livy.responses import one_line
from airflow_provider_synapse_livy.polling.polls import Flight, PendingPoll, PolledRecord
from airflow_provider_synapse_livy.transport.retry import MAX_PAUSE, Backoff, announced_pause

__all__ = ["LIST_BACKOFF_SECONDS", "ListUse", "Outage", "crash", "no_response"]

#: Seconds after which a list that was of no use, and a record that was not in it, get another chance.
LIST_BACKOFF_SECONDS = 60.0


class Outage:
    """
    The failure of a pool. While there is one, one request at a time tries for all.

    :param jitter: returns a number between two others.
    """

    def __init__(self, jitter: Callable[[float, float], float]) -> None:
        self._jitter = jitter
        self._backoff = Backoff(jitter)
        self._failed_at = -math.inf
        #: What the last request ended with; None as long as requests succeed.
        self.error: SynapseLivyError | None = None
        #: Whether a single request has failed as well: before, it may be the list alone.
        self.is_down = False
        #: When the next request may be sent.
        self.retry_at = 0.0
        #: When the last response came.
        self.responded_at = -math.inf

    def suspect(self, error: SynapseLivyError, now: float) -> None:
        """Take note that the list failed; one single request shows whether it is the list alone."""
        self._suspend(error, now, announced_pause(error))

    def fail(self, flight: Flight, error: SynapseLivyError, now: float, resume_at: float) -> None:
        """
        Take note that the pool failed, and plan the next request.

        :param flight: the flight that failed.
        :param error: what it ended with.
        :param now: the time.
        :param resume_at: until when the whole workspace is paused.
        """
        self.is_down = True
        longest = _longest_pause(flight)
        pause = announced_pause(error)
        if resume_at > now:
            pause = resume_at - now
        elif flight.started_at >= self._failed_at:  # one that started before the last failure shows nothing new
            pause = self._backoff.pause_after(error, longest)
        for record in flight.records.values() if not flight.is_list else ():
            record.backoff = record.backoff or Backoff(self._jitter)
            record.retry_at = now + max(pause, record.backoff.pause_after(error, longest))
        self._suspend(error, now, pause)

    def _suspend(self, error: SynapseLivyError, now: float, pause: float) -> None:
        self.error = error
        self._failed_at = now
        self.retry_at = max(self.retry_at, now + pause)

    def end(self, now: float) -> bool:
        """Go on for all, after a response; return whether there was an outage."""
        self.responded_at = now
        if self.error is None:
            return False
        self.error = None
        self.is_down = False
        self.retry_at = now
        self._backoff.reset()
        return True

    def hopeless(self, record: PolledRecord, now: float) -> list[PendingPoll]:
        """Return the polls that can't be answered any more: their time is over before the next request."""
        announced = announced_pause(self.error)
        due = record.due_polls(now)
        for poll in due if announced else ():  # the time that the service asks for is not the poll's
            poll.expires_at = max(poll.expires_at, min(now + announced + poll.retry_timeout, poll.last_at))
        return [poll for poll in due if poll.last_at < now + announced or (self.is_down and poll.expires_at <= now)]

    def limit(self, record: PolledRecord, poll: PendingPoll, max_attempt_seconds: float) -> float:
        """Return by when a poll must be answered, if only with an error."""
        is_too_late = self.error is not None and self.retry_at > max(poll.expires_at, poll.last_at)
        if record.flight or not (self.is_down or is_too_late):  # an attempt under way, or soon, may bring an answer
            limit = poll.expires_at + max_attempt_seconds
            # While it stands in a queue that moves, it is not Synapse that does not respond.
            is_queued = not record.flight and record.tried_at < poll.due_at
            since = record.flight.started_at if record.flight else self.responded_at if is_queued else -math.inf
            return max(limit, min(poll.last_at, since + max_attempt_seconds))
        is_announced = announced_pause(self.error) and self.retry_at <= poll.last_at
        return max(poll.expires_at, self.retry_at + poll.retry_timeout) if is_announced else poll.expires_at


def _longest_pause(flight: Flight) -> float:
    """Return how long a pause may be for every change to be seen within one interval after an outage."""
    intervals = (poll.interval for record in flight.passengers() for poll in record.polls)
    return min(MAX_PAUSE, max(1.0, min(intervals, default=1.0)))


@dataclass(slots=True)
class ListUse:
    """Whether a pool's list is worth its requests."""

    failures: int = 0
    _again_at: float = 0.0
    _again_for: float = 0.0

    def is_backing_off(self, now: float, record_count: int) -> bool:
        """Return whether not to use the list for now."""
        return now < self._again_at and record_count < self._again_for

    def back_off(self, now: float, record_count: int) -> None:
        """Do not use the list for a while; with twice as many records it may be worthwhile after all."""
        self._again_at, self._again_for = now + LIST_BACKOFF_SECONDS, 2 * record_count

    def fail_once(self, now: float, seconds: float) -> None:
        """Do not use the list this time: what made it fail may have passed when it is needed next."""
        self._again_at, self._again_for = now + seconds, math.inf


def no_response(title: str) -> SynapseLivyError:
    """Return the error for a poll that was given no answer in its time."""
    event = f"{title}: Synapse did not respond in the time that there was."
    fix = "check whether Synapse hangs, or raise the task's timeout."
    return SynapseLivyUnavailableError(error_message(event, fix), may_have_been_processed=True)


def crash(title: str, cause: Exception) -> SynapseLivyError:
    """Return the error for a poll that something unforeseen has ended."""
    fix = "report it, with the traceback in the triggerer's log: this is a bug."
    why = one_line(f"{type(cause).__name__}: {cause}")
    error = SynapseLivyError(error_message(f"{title}: polling broke off.", fix, why))
    error.__cause__ = cause
    return error
