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
    ├── SynapseLivyResponseError             an answer that the documentation does not know
    ├── SparkSessionFailedError            the session ended badly; also an AirflowFailException
    └── SparkSessionTimeoutError           the wait ran out of time; also an AirflowSensorTimeout

Only the last two are Airflow's as well, because of what Airflow makes of it: a session that ended badly
cannot revive, so no retry is spent on it, and ``soft_fail`` skips the task, as it does on a timeout. The
others fail the task in every mode, may be retried, and are never hidden by ``soft_fail``.
"""

from __future__ import annotations

from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSensorTimeout

from airflow_provider_synapse_livy.livy.errors import (
    InvalidSparkSessionIdError,
    SparkSessionNotFoundError,
    SynapseLivyAuthenticationError,
    SynapseLivyConfigurationError,
    SynapseLivyError,
    SynapseLivyPermissionError,
    SynapseLivyResponseError,
    SynapseLivyUnavailableError,
)

__all__ = [
    "InvalidSparkSessionIdError",
    "SparkSessionFailedError",
    "SparkSessionNotFoundError",
    "SparkSessionTimeoutError",
    "SynapseLivyAuthenticationError",
    "SynapseLivyConfigurationError",
    "SynapseLivyError",
    "SynapseLivyPermissionError",
    "SynapseLivyResponseError",
    "SynapseLivyUnavailableError",
]


class SparkSessionFailedError(SynapseLivyError, AirflowFailException):
    """The session ended, and not in a way that the task accepts. It cannot revive, so no retry is spent on it."""


class SparkSessionTimeoutError(SynapseLivyError, AirflowSensorTimeout):
    """The session was not where the task waits for it when the sensor's ``timeout`` had passed."""
