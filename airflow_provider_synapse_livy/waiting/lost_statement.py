"""What is said of a statement whose outcome can't be known, since its session has ended or has forgotten it."""

from __future__ import annotations

from typing import Any

from airflow_provider_synapse_livy.livy.errors import (
    SparkSessionNotFoundError,
    SparkStatementNotFoundError,
    SynapseLivyError,
    SynapseLivyResponseError,
    SynapseLivyUnavailableError,
    error_message,
)
from airflow_provider_synapse_livy.livy.responses import Snapshot

__all__ = [
    "describe_forgotten",
    "describe_loss",
    "describe_lost_output",
    "describe_other_session",
    "describe_refusal",
    "describe_unlistable",
    "is_lost",
    "is_over",
    "is_unlistable",
    "may_mean_loss",
]


def may_mean_loss(error: BaseException | None) -> bool:
    """
    Return whether an error of a poll may mean that what came of the code can't be known any more.

    Of a session that has ended, Livy answers 400, and later 404; for an output that it can't encode, always 500, as an
    HTML page.

    :param error: what the poll ended with.
    """
    if isinstance(error, SparkStatementNotFoundError | SparkSessionNotFoundError):
        return True
    if isinstance(error, SynapseLivyUnavailableError):
        return error.status == 500
    return isinstance(error, SynapseLivyResponseError) and error.status == 400


def is_lost(error: BaseException, session: Snapshot[Any] | None) -> bool:
    """
    Return whether an error of a poll means that what came of the code can't be known.

    :param error: an error that may mean so.
    :param session: the session, as it was read right after; None if it could not be read.
    """
    if isinstance(error, SparkStatementNotFoundError):
        return True
    if session is None:
        return False
    # While the session can be read, it is not the service that is away.
    return isinstance(error, SynapseLivyUnavailableError) or is_over(session.record)


def is_unlistable(error: SynapseLivyError) -> bool:
    """
    Return whether the statements of a session may never be listed any more, if the session itself can be read.

    One output that Livy can't encode makes its list a 500 for good, and all outputs together may be too long to read.

    :param error: what the request for the list ended with.
    """
    if isinstance(error, SynapseLivyUnavailableError):
        return error.status == 500 and not error.code
    return isinstance(error, SynapseLivyResponseError) and error.status == 200


def describe_unlistable(session_name: str, error: SynapseLivyError) -> str:
    """
    Return that an earlier try may have sent the code, and that the session's list can't tell.

    :param session_name: the session's name.
    :param error: what the request for the list ended with.
    """
    return error_message(
        f"The statements of {session_name} can't be listed, and the code may be among them.",
        "check what the code has written, and run it again in another session: it may have run.",
        "The session itself can be read: one output that can't be encoded is enough, or too much output in all.",
        *str(error).splitlines(),
    )


def describe_refusal(session: Snapshot[Any]) -> str:
    """
    Return why a session that has ended took no code.

    :param session: the session.
    """
    record = session.record
    ending = "is being cancelled" if record.is_cancelling else record.ending
    fix = "create a session, and pass its output: no code was sent to this one."
    return error_message(f"{record} {ending}, and takes no code.", fix, *record.details())


def describe_forgotten(session_name: str, count: int) -> str:
    """
    Return that an earlier try may have sent the code, though the session's list does not show it any more.

    :param session_name: the session's name.
    :param count: how many of its first statements it has forgotten.
    """
    return error_message(
        f"{session_name} has forgotten its first {count} statements, and the code may be among them.",
        "check what the code has written, and clear the task to run it in any case: it may have run.",
        "A session keeps its last 100 statements.",
    )


def describe_other_session(session: Snapshot[Any], *, may_have_run: bool) -> str:
    """
    Return that a session's id is another one's by now.

    :param session: the session that has the id now.
    :param may_have_run: whether an earlier try may have sent the code to the session that had it before.
    """
    fix = "create a session, and pass its output: no code was sent to this one."
    if may_have_run:
        fix = "check what the code has written before you run it again: it may have run in the one before."
    return error_message(f"{session.record} is another one by now: the pool was made anew.", fix)


def describe_lost_output(name: str, error: SynapseLivyError) -> str:
    """
    Return that code has run without an error, though its output can't be read any more.

    :param name: the statement's name.
    :param error: why it can't be read.
    """
    fix = "don't run it again for what it has written; keep the session until its tasks have ended."
    return error_message(f"{name} ran, and its output is lost.", fix, *str(error).splitlines())


def describe_loss(name: str, session: Snapshot[Any] | None, error: SynapseLivyError | None = None) -> str:
    """
    Return that the outcome of a statement can't be known, and why.

    :param name: the statement's name.
    :param session: the session, if it could be read.
    :param error: the error of the statement's poll, if that is why.
    """
    fix = "check what the code has written before you run it again: it may have run."
    if session is None or not is_over(session.record):
        if error is None or isinstance(error, SparkStatementNotFoundError):
            return error_message(f"{name} is gone, and with it what came of it.", fix)
        return error_message(f"{name} can't be read, and its session can.", fix, *str(error).splitlines())
    record = session.record
    ending = "was cancelled" if record.is_cancelling else record.ending
    return error_message(f"{name}: its session {ending} before it was done.", fix, str(record), *record.details())


def is_over(session: Any) -> bool:
    """
    Return whether a session runs no code any more: it has ended, or is being cancelled, which takes it seconds.

    :param session: the session's record.
    """
    return bool(session.is_finished or session.is_cancelling)
