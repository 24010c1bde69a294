"""The errors that need no Airflow. :mod:`airflow_provider_synapse_livy.exceptions` has the whole tree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from airflow_provider_synapse_livy.models import SparkSession

__all__ = [
    "InvalidSparkSessionIdError",
    "SparkSessionNotFoundError",
    "SynapseLivyAuthenticationError",
    "SynapseLivyConfigurationError",
    "SynapseLivyError",
    "SynapseLivyPermissionError",
    "SynapseLivyResponseError",
    "SynapseLivyUnavailableError",
]


class SynapseLivyError(Exception):
    """
    Any error of this package.

    :param message: the thing, the event and the remedy, for a person.
    :param status: the HTTP status, where Synapse answered.
    :param code: the service's own code of the error, where it gave one.
    :param activity_id: the ``x-ms-activity-id`` of the answer, which Microsoft's support asks for.
    :param session: the session as it was last seen, where it was.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        activity_id: str | None = None,
        session: SparkSession | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.activity_id = activity_id
        self.session = session

    _kinds: ClassVar[dict[str, type[SynapseLivyError]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        SynapseLivyError._kinds[cls.__name__] = cls

    def to_dict(self) -> dict[str, Any]:
        """Give the error as JSON values, so that it can leave the triggerer. The session travels by itself."""
        return {
            "kind": type(self).__name__,
            "message": str(self),
            "status": self.status,
            "code": self.code,
            "activity_id": self.activity_id,
        }

    @staticmethod
    def from_dict(fields: Mapping[str, Any]) -> SynapseLivyError:
        """
        Make the error again that :meth:`to_dict` has written.

        :param fields: what it has written.
        :raises ValueError: if there is no such error.
        """
        kind = SynapseLivyError._kinds.get(fields["kind"], SynapseLivyError)
        if kind.__name__ != fields["kind"]:
            raise ValueError(f"there is no error {fields['kind']!r}")
        return kind(fields["message"], status=fields["status"], code=fields["code"], activity_id=fields["activity_id"])


class SynapseLivyConfigurationError(SynapseLivyError):
    """The Airflow connection, or an argument, is wrong; nothing was sent, or nothing could be."""


class InvalidSparkSessionIdError(SynapseLivyConfigurationError):
    """What was given as a session id is none; nothing was sent."""


class SynapseLivyAuthenticationError(SynapseLivyError):
    """Microsoft Entra ID gave no token, or Synapse refused the token (401)."""


class SynapseLivyPermissionError(SynapseLivyError):
    """Synapse knows who asks and refuses: a role is missing, or the workspace's firewall is closed (403)."""


class SparkSessionNotFoundError(SynapseLivyError):
    """The pool has no such session, or the workspace no such pool (404)."""


class SynapseLivyUnavailableError(SynapseLivyError):
    """
    Synapse or Microsoft Entra ID did not answer, or with a status of trouble that passes. Trying again may help.

    :param retry_after: seconds that the service asked to wait, where it did.
    """

    def __init__(self, message: str, *, retry_after: float | None = None, **details: Any) -> None:
        super().__init__(message, **details)
        self.retry_after = retry_after


class SynapseLivyResponseError(SynapseLivyError):
    """Synapse, or something in its place, gave an answer that is not documented."""
