"""Failures and timeouts of a wait in words: the thing, the event, the fix, the evidence."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from airflow_provider_synapse_livy.livy.errors import error_message
from airflow_provider_synapse_livy.livy.responses import Snapshot
from airflow_provider_synapse_livy.waiting.goals import Goal, Waitable
from airflow_provider_synapse_livy.waiting.progress import format_duration

__all__ = ["describe_failure", "describe_timeout"]


def describe_failure(snapshot: Snapshot[Any], goal: Goal[Any]) -> str:
    """
    Return why an end is not the goal.

    :param snapshot: the last snapshot.
    :param goal: what was waited for.
    """
    record: Waitable = snapshot.record
    missed = "" if goal.describe() == "ended" else f" before it had {goal.describe()}"
    return error_message(f"{record} {record.ending}{missed}.", goal.hint(record), *_evidence(snapshot))


def describe_timeout(
    snapshot: Snapshot[Any] | None, goal: Goal[Any], option: str, seconds: float, subject: str = "The record"
) -> str:
    """
    Return what a wait that ran out of time had seen.

    :param snapshot: the last snapshot; None if there was none.
    :param goal: what was waited for.
    :param option: the task's option that limits the wait.
    :param seconds: how long that is, in seconds.
    :param subject: what was waited for, in words; for a wait without a snapshot.
    """
    limit = f"{option} of {format_duration(timedelta(seconds=seconds)) or '0 s'}"
    if snapshot is None:
        event = f"{subject} could not be read once within the task's {limit}."
        return error_message(event, "see the errors above in this log.")
    record: Waitable = snapshot.record
    event = f"{record} had not {goal.describe()} within the task's {limit}."
    return error_message(event, goal.timeout_hint(record, option), f"It is {record.phase}.", *_evidence(snapshot))


def _evidence(snapshot: Snapshot[Any]) -> Iterator[str]:
    record: Waitable = snapshot.record
    yield from record.details()
    spent = dict(record.durations())
    if record.lifetime is not None:
        spent["in all"] = record.lifetime
    if times := ", ".join(f"{phase} {format_duration(took) or '0 s'}" for phase, took in spent.items()):
        yield f"Times: {times}."
    if snapshot.activity_id:
        yield f"Activity id: {snapshot.activity_id}"
