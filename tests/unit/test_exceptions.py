"""The tree of exceptions."""

from __future__ import annotations

import pickle

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException, AirflowSensorTimeout

from airflow_provider_synapse_livy import exceptions
from airflow_provider_synapse_livy.exceptions import (
    SparkSessionFailedError,
    SparkSessionNotFoundError,
    SparkSessionTimeoutError,
    SynapseLivyError,
    SynapseLivyUnavailableError,
)
from airflow_provider_synapse_livy.models import SparkSession
from tests.support import sample_sessions as samples

KINDS = [getattr(exceptions, name) for name in exceptions.__all__]
AIRFLOWS = {SparkSessionFailedError: AirflowFailException, SparkSessionTimeoutError: AirflowSensorTimeout}


def test_tree_in_the_docstring_is_whole():
    """The tree that is drawn for readers has every exception, and no other."""
    drawn = {word for line in exceptions.__doc__.splitlines() for word in line.split() if word.endswith("Error")}
    assert drawn == set(exceptions.__all__)


@pytest.mark.parametrize("kind", KINDS)
def test_all_are_ours(kind):
    """Whoever catches the base catches all."""
    assert issubclass(kind, SynapseLivyError)


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_airflow_must_treat_specially_is_airflows(kind):
    """A bad end is not retried, a timeout is one; all else is not Airflow's, so that soft_fail can't hide it."""
    assert issubclass(kind, AirflowException) is (kind in AIRFLOWS)
    assert issubclass(kind, AIRFLOWS.get(kind, SynapseLivyError))


@pytest.mark.parametrize("kind", KINDS)
def test_all_survive_pickling(kind):
    """Airflow's processes hand exceptions to one another; nothing of them may be lost."""
    session = SparkSession.from_dict(samples.DEAD)
    error = kind("words", status=418, code="Teapot", activity_id="a-b", session=session)
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (kind, "words", vars(error))


def test_retry_after_survives_pickling():
    """What the service asked to wait survives, too."""
    again = pickle.loads(pickle.dumps(SynapseLivyUnavailableError("words", retry_after=3.5)))
    assert again.retry_after == 3.5


def test_errors_leave_the_triggerer_as_json():
    """An error is the same again after its way through the trigger's event."""
    error = SparkSessionNotFoundError("words", status=404, code="NotFound", activity_id="a-b")
    again = SynapseLivyError.from_dict(error.to_dict())
    assert (type(again), str(again), vars(again)) == (SparkSessionNotFoundError, "words", vars(error))


@pytest.mark.parametrize("kind", ["Mapping", "Exception", "nonsense", None, "SynapseLivyError2"])
def test_only_our_errors_are_made_from_json(kind):
    """What an event calls an error makes one of ours, or ValueError."""
    with pytest.raises(ValueError, match="there is no error"):
        SynapseLivyError.from_dict(SynapseLivyError("words").to_dict() | {"kind": kind})


def test_unknown_names_are_attribute_errors():
    """The module has the names that it lists, and no others."""
    with pytest.raises(AttributeError, match="nonsense"):
        exceptions.nonsense  # noqa: B018
