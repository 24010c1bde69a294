"""The tree of exceptions."""

from __future__ import annotations

import json
import pickle

import pytest

from airflow_provider_synapse_livy import exceptions
from airflow_provider_synapse_livy.airflow_compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
)
from airflow_provider_synapse_livy.exceptions import (
    SparkBatchJobEndedError,
    SparkBatchJobTimeoutError,
    SparkSessionFailedError,
    SparkSessionTimeoutError,
    SparkStatementEndedError,
    SparkStatementLostError,
    SparkStatementTimeoutError,
    SynapseLivyError,
    SynapseLivyUnavailableError,
)
from airflow_provider_synapse_livy.models import SparkSession
from tests.support import sample_sessions as samples

KINDS = [getattr(exceptions, name) for name in exceptions.__all__]
AIRFLOWS = {
    SparkBatchJobEndedError: AirflowFailException,
    SparkBatchJobTimeoutError: AirflowSensorTimeout,
    SparkSessionFailedError: AirflowFailException,
    SparkSessionTimeoutError: AirflowSensorTimeout,
    SparkStatementEndedError: AirflowFailException,
    SparkStatementLostError: AirflowFailException,
    SparkStatementTimeoutError: AirflowSensorTimeout,
}


def test_tree_in_the_docstring_is_whole():
    """The tree in the docstring shows every exception, and no other."""
    drawn = {word for line in exceptions.__doc__.splitlines() for word in line.split() if word.endswith("Error")}
    assert drawn == set(exceptions.__all__)


@pytest.mark.parametrize("kind", KINDS)
def test_all_are_ours(kind):
    """Catching the base class catches every exception of the package."""
    assert issubclass(kind, SynapseLivyError)


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_airflow_must_treat_specially_is_airflows(kind):
    """Only ends for good, and timeouts, are Airflow's exceptions too, so soft_fail applies to nothing else."""
    assert issubclass(kind, AirflowException) is (kind in AIRFLOWS)
    assert issubclass(kind, AIRFLOWS.get(kind, SynapseLivyError))


@pytest.mark.parametrize("kind", KINDS)
def test_all_survive_pickling(kind):
    """An exception keeps its type, message and attributes when Airflow passes it to another process."""
    details = {"status": 418, "code": "Teapot", "activity_id": "a-b", "may_have_been_processed": True}
    error = kind("words", record=SparkSession.from_dict(samples.DEAD), **details)
    assert details.items() <= vars(error).items()
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (kind, "words", vars(error))


def test_retry_after_survives_pickling():
    """The pause that the service asked for is kept, too."""
    again = pickle.loads(pickle.dumps(SynapseLivyUnavailableError("words", retry_after=3.5)))
    assert again.retry_after == 3.5


@pytest.mark.parametrize("kind", KINDS)
def test_all_leave_the_triggerer_as_json(kind):
    """An exception that leaves the triggerer in an event is the same again on the worker; the record is not in it."""
    error = kind("words", status=404, code="NotFound", activity_id="a-b", may_have_been_processed=True)
    again = SynapseLivyError.from_dict(json.loads(json.dumps(error.to_dict())))
    assert (type(again), str(again), vars(again)) == (kind, "words", vars(error))


@pytest.mark.parametrize("kind", ["Mapping", "Exception", "nonsense", None, "SynapseLivyError2"])
def test_only_our_errors_are_made_from_json(kind):
    """An event can name only the exceptions of this package; any other name is a ValueError."""
    with pytest.raises(ValueError, match="there is no error"):
        SynapseLivyError.from_dict(SynapseLivyError("words").to_dict() | {"kind": kind})


def test_unknown_names_are_attribute_errors():
    """A name that the module does not have is an AttributeError."""
    with pytest.raises(AttributeError, match="nonsense"):
        exceptions.nonsense  # noqa: B018
