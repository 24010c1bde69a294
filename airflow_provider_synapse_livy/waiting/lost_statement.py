"""What is said of a statement whose outcome can't be known, since its session has ended or has forgotten it."""

from __future__ import annotations

from typing import Any

from airflow_provider_synapse_livy.livy.errors import (
    SparkSessionNotFoundError,
    SparkStatementNotFoundError,
    SynapseLivyResponseError,
    error_message,
)
from airflow_provider_synapse_livy.livy.responses import Snapshot

__all__ = ["describe_loss", "may_mean_loss"]


def may_mean_loss(error: BaseException | None) -> bool:
    """
    Return whether an error of a poll may mean that the session has ended: Livy answers 400 then, and 404 later.

    :param error: what the poll ended with.
    """
    if isinstance(error, SparkStatementNotFoundError | SparkSessionNotFoundError):
        return True
    return isinstance(error, SynapseLivyResponseError) and error.status == 400


def describe_loss(name: str, session: Snapshot[Any] | None) -> str:
    """
    Return that the outcome of a statement can't be known, and why.

    :param name: the statement's name.
    :param session: the session, if that has ended.
    """
    fix = "check what the code has written before you run it again: it may have run."
    if session is None:
        return error_message(f"{name} is gone, and with it what came of it.", fix)
    record = session.record
    return error_message(
        f"{name}: its session {record.ending} before it was done.", fix, str(record), *record.details()
    )
