"""The errors that need no Airflow. :mod:`airflow_provider_synapse_livy.exceptions` has the whole tree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

__all__ = [
    "InvalidIdError",
    "SparkBatchJobNotFoundError",
    "SparkSessionNotFoundError",
    "SparkStatementNotFoundError",
    "SynapseLivyAuthenticationError",
    "SynapseLivyConfigurationError",
    "SynapseLivyError",
    "SynapseLivyPermissionError",
    "SynapseLivyResponseError",
    "SynapseLivyUnavailableError",
    "error_message",
]


def error_message(event: str, fix: str = "", *evidence: str | None) -> str:
    """
    Return an error's message: the thing and the event, what to do about it, and the evidence, a line each.

    Airflow's log view does not wrap lines, so ``event`` and ``fix`` stay short and the service's own words follow.

    :param event: the thing and what happened to it, in under 120 characters.
    :param fix: what to do about it; left out if empty.
    :param evidence: lines that support it; empty ones are left out.
    """
    return "\n".join(filter(None, (event, fix and f"Fix: {fix}", *evidence)))


class SynapseLivyError(Exception):
    """
    Any error of this package.

    :param message: the thing and the event, the fix, the evidence; a line each.
    :param status: the HTTP status of the response, if there was one.
    :param code: the service's own error code, if it gave one.
    :param activity_id: the ``x-ms-activity-id`` of the response, which Microsoft's support asks for.
    :param record: the record, such as a Spark session, as it was last seen.
    :param may_have_been_processed: whether the service may have done what the request asked for.
    """

    #: Whether it tells of what can't change any more, so that no wait goes on after it.
    is_final: ClassVar[bool] = False

    _kinds: ClassVar[dict[str, type[SynapseLivyError]]] = {}

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        activity_id: str | None = None,
        record: Any = None,
        may_have_been_processed: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.activity_id = activity_id
        self.record = record
        self.may_have_been_processed = may_have_been_processed

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        SynapseLivyError._kinds[cls.__name__] = cls

    @property
    def event(self) -> str:
        """The first line of the message: the thing and what happened to it, without the full stop."""
        return str(self).partition("\n")[0].removesuffix(".")

    def to_dict(self) -> dict[str, Any]:
        """Return the error as JSON values, so that it can leave the triggerer. The record travels by itself."""
        return {
            "kind": type(self).__name__,
            "message": str(self),
            "status": self.status,
            "code": self.code,
            "activity_id": self.activity_id,
            "may_have_been_processed": self.may_have_been_processed,
        }

    @staticmethod
    def from_dict(fields: Mapping[str, Any]) -> SynapseLivyError:
        """
        Return the error that :meth:`to_dict` wrote.

        :param fields: what it wrote.
        :raises ValueError: if there is no such error.
        """
        values = dict(fields)
        kind = SynapseLivyError._kinds.get(values["kind"], SynapseLivyError)
        if kind.__name__ != values.pop("kind"):
            raise ValueError(f"there is no error {fields['kind']!r}")
        return kind(values.pop("message"), **values)


class SynapseLivyConfigurationError(SynapseLivyError):
    """The Airflow connection or an argument is wrong; nothing was sent, or nothing could be."""


class InvalidIdError(SynapseLivyConfigurationError):
    """A value that was given as an id is none; nothing was sent."""


class SynapseLivyAuthenticationError(SynapseLivyError):
    """Microsoft Entra ID issued no token, or Synapse refused the token (401)."""


class SynapseLivyPermissionError(SynapseLivyError):
    """Synapse knows the identity and refuses it: a role is missing, or the workspace's firewall is closed (403)."""


class SparkSessionNotFoundError(SynapseLivyError):
    """The pool has no such session, or the workspace no such pool (404)."""


class SparkBatchJobNotFoundError(SynapseLivyError):
    """The pool has no such batch job, or the workspace no such pool (404)."""


class SparkStatementNotFoundError(SynapseLivyError):
    """The session has no such statement any more, or never had, or there is no such session (404)."""


class SynapseLivyUnavailableError(SynapseLivyError):
    """
    Synapse or Microsoft Entra ID did not respond, or with a status that may pass. Another attempt may succeed.

    :param retry_after: seconds that the service asked to wait, if it did.
    """

    def __init__(self, message: str, *, retry_after: float | None = None, **details: Any) -> None:
        super().__init__(message, **details)
        self.retry_after = retry_after


class SynapseLivyResponseError(SynapseLivyError):
    """Synapse, or something in its place, sent a response that is not documented."""
