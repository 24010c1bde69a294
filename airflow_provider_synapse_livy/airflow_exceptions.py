"""The two errors that are Airflow's as well. :mod:`airflow_provider_synapse_livy.exceptions` has the tree."""

from __future__ import annotations

from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSensorTimeout

from airflow_provider_synapse_livy.exceptions import SynapseLivyError

__all__ = ["SparkSessionFailedError", "SparkSessionTimeoutError"]


class SparkSessionFailedError(SynapseLivyError, AirflowFailException):
    """The session ended, and not in a way that the task accepts. It cannot revive, so no retry is spent on it."""


class SparkSessionTimeoutError(SynapseLivyError, AirflowSensorTimeout):
    """The session was not where the task waits for it when the sensor's ``timeout`` had passed."""
