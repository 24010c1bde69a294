"""
What can go wrong, by what to do about it.

.. code-block:: text

    SynapseLivyError
    ├── SynapseLivyConfigurationError      the connection or an argument is wrong: correct it
    │   └── InvalidSparkSessionIdError     what was given is no session id: look at what rendered it
    ├── SynapseLivyAuthenticationError     no token, or Synapse refused it (401): look at the identity
    ├── SynapseLivyPermissionError         the identity or the address is not allowed in (403)
    ├── SparkSessionNotFoundError          no such session or pool (404)
    ├── SynapseLivyUnavailableError        no answer, or one of trouble that passes, for minutes: try later
    ├── SynapseLivyAnswerError             an answer that the documentation does not know
    ├── SparkSessionFailedError            the session ended badly; also an AirflowFailException
    └── SparkSessionTimeoutError           the wait ran out of time; also an AirflowSensorTimeout

Only the last two are Airflow's as well, because of what Airflow makes of it: a session that ended badly
cannot revive, so no retry is spent on it, and ``soft_fail`` skips the task, as it does on a timeout. The
others fail the task in every mode, may be retried, and are never hidden by ``soft_fail``.

This module loads without Airflow, whose import takes seconds; the last two are looked up when asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_synapse_livy.airflow_exceptions import SparkSessionFailedError, SparkSessionTimeoutError
    from airflow_provider_synapse_livy.models import SparkSession

__all__ = [
    "InvalidSparkSessionIdError",
    "SparkSessionFailedError",
    "SparkSessionNotFoundError",
    "SparkSessionTimeoutError",
    "SynapseLivyAnswerError",
    "SynapseLivyAuthenticationError",
    "SynapseLivyConfigurationError",
    "SynapseLivyError",
    "SynapseLivyPermissionError",
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
        kind = globals().get(fields["kind"])
        if not (isinstance(kind, type) and issubclass(kind, SynapseLivyError)):
            raise ValueError(f"there is no error {fields['kind']!r}")  # noqa: TRY004  (it is the value that is wrong)
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


class SynapseLivyAnswerError(SynapseLivyError):
    """Synapse, or something in its place, gave an answer that is not documented."""


def __getattr__(name: str) -> Any:
    if name in ("SparkSessionFailedError", "SparkSessionTimeoutError"):
        from airflow_provider_synapse_livy import airflow_exceptions

        return getattr(airflow_exceptions, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
