"""
The exceptions of this package, by what to do about them.

.. code-block:: text

    SynapseLivyError
    ├── SynapseLivyConfigurationError      the connection or an argument is wrong: correct it
    │   └── InvalidIdError                 a value is not an id: check the template that rendered it
    ├── SynapseLivyAuthenticationError     no token, or Synapse refused it (401): check the identity
    ├── SynapseLivyPermissionError         the identity lacks a role, or the firewall is closed (403)
    ├── SparkSessionNotFoundError          no such session or pool (404)
    ├── SparkBatchJobNotFoundError         no such batch job or pool (404)
    ├── SparkStatementNotFoundError        no such statement in the session (404)
    ├── SynapseLivyUnavailableError        no response, or a temporary failure: it was retried for minutes
    ├── SynapseLivyResponseError           a response that the Livy API does not document
    ├── SparkSessionCreationError          the session ended, or was not ready in time: a retry creates another
    ├── SparkSessionCancellationError      the session has not ended in time, and may still cost money
    ├── SparkSessionFailedError            the session failed; also an AirflowFailException
    ├── SparkSessionTimeoutError           the wait timed out; also an AirflowSensorTimeout
    ├── SparkBatchJobFailedError           the job failed, was cancelled, or took too long: a retry runs another
    │   └── SparkBatchJobEndedError        the same for a sensor; also an AirflowFailException
    ├── SparkBatchJobCancellationError     the job has not ended in time, and may still cost money
    ├── SparkBatchJobTimeoutError          the wait timed out; also an AirflowSensorTimeout
    ├── SparkStatementFailedError          the code failed, or was cancelled: correct the code
    │   └── SparkStatementEndedError       the same for a sensor; also an AirflowFailException
    ├── SparkStatementLostError            whether the code ran can't be known; also an AirflowFailException
    └── SparkStatementTimeoutError         the wait timed out; also an AirflowSensorTimeout

Those that are Airflow's exceptions as well are not retried, since what has ended can't recover, and ``soft_fail`` skips
the task, as it does on a timeout. All others fail the task in every mode, are retried if the task has ``retries``, and
``soft_fail`` does not apply to them.
"""

from __future__ import annotations

from airflow_provider_synapse_livy.airflow_compat.sdk import AirflowFailException, AirflowSensorTimeout
from airflow_provider_synapse_livy.livy.errors import (
    InvalidIdError,
    SparkBatchJobNotFoundError,
    SparkSessionNotFoundError,
    SparkStatementNotFoundError,
    SynapseLivyAuthenticationError,
    SynapseLivyConfigurationError,
    SynapseLivyError,
    SynapseLivyPermissionError,
    SynapseLivyResponseError,
    SynapseLivyUnavailableError,
)

__all__ = [
    "InvalidIdError",
    "SparkBatchJobCancellationError",
    "SparkBatchJobEndedError",
    "SparkBatchJobFailedError",
    "SparkBatchJobNotFoundError",
    "SparkBatchJobTimeoutError",
    "SparkSessionCancellationError",
    "SparkSessionCreationError",
    "SparkSessionFailedError",
    "SparkSessionNotFoundError",
    "SparkSessionTimeoutError",
    "SparkStatementEndedError",
    "SparkStatementFailedError",
    "SparkStatementLostError",
    "SparkStatementNotFoundError",
    "SparkStatementTimeoutError",
    "SynapseLivyAuthenticationError",
    "SynapseLivyConfigurationError",
    "SynapseLivyError",
    "SynapseLivyPermissionError",
    "SynapseLivyResponseError",
    "SynapseLivyUnavailableError",
]


class SparkSessionCreationError(SynapseLivyError):
    """A session that a task has created has ended, or was not ready in time. A retry of the task creates another."""


class SparkSessionCancellationError(SynapseLivyError):
    """A session that was cancelled has not ended in time, and may still cost money."""


class SparkSessionFailedError(SynapseLivyError, AirflowFailException):
    """The session ended in a way that the task does not accept. It can't recover, so the task is not retried."""


class SparkSessionTimeoutError(SynapseLivyError, AirflowSensorTimeout):
    """The sensor's ``timeout`` passed before the session had reached what the task waits for."""


class SparkBatchJobFailedError(SynapseLivyError):
    """A batch job failed, was cancelled, or had not ended in time. A retry of the task that ran it runs another."""


class SparkBatchJobEndedError(SparkBatchJobFailedError, AirflowFailException):
    """A batch job ended in a way that a sensor does not accept. It can't recover, so the task is not retried."""


class SparkBatchJobCancellationError(SynapseLivyError):
    """A batch job that was cancelled has not ended in time, and may still cost money."""


class SparkBatchJobTimeoutError(SynapseLivyError, AirflowSensorTimeout):
    """The sensor's ``timeout`` passed before the batch job had ended."""


class SparkStatementFailedError(SynapseLivyError):
    """The code failed, or was cancelled. A retry of the task that ran it runs it again."""


class SparkStatementEndedError(SparkStatementFailedError, AirflowFailException):
    """A statement that a sensor waits for has failed or was cancelled. It can't recover, so the task is not retried."""


class SparkStatementLostError(SynapseLivyError, AirflowFailException):
    """Whether the code has run can't be known: its session has ended, or its output is gone. It is not run again."""

    is_final = True


class SparkStatementTimeoutError(SynapseLivyError, AirflowSensorTimeout):
    """The task's ``timeout`` passed before the statement had ended."""
