"""What each HTTP status means: the error, the fix, whether it may pass, whether the request may have been processed."""

from __future__ import annotations

import pytest

from airflow_provider_synapse_livy.livy.errors import (
    SparkSessionNotFoundError,
    SynapseLivyAuthenticationError,
    SynapseLivyError,
    SynapseLivyPermissionError,
    SynapseLivyResponseError,
    SynapseLivyUnavailableError,
)
from airflow_provider_synapse_livy.livy.requests import Pool
from airflow_provider_synapse_livy.livy.resources import SPARK_SESSION
from airflow_provider_synapse_livy.livy.responses import LivyResponse
from airflow_provider_synapse_livy.livy.statuses import FIREWALL_CODE, UNDOCUMENTED_FIX, status_rule

#: The status; the error, whether the request may have been processed, and a part of the fix.
STATUSES = {
    400: (SynapseLivyResponseError, False, "check livy_api_version and spark_pool_name"),
    401: (SynapseLivyAuthenticationError, False, "check the identity's tenant and cloud"),
    403: (SynapseLivyPermissionError, False, '"Synapse Compute Operator"'),
    404: (SparkSessionNotFoundError, False, "Synapse Studio > Manage > Apache Spark pools"),
    408: (SynapseLivyUnavailableError, True, "Azure's status page"),
    409: (SynapseLivyUnavailableError, True, "what changes the pool or workspace"),
    423: (SynapseLivyUnavailableError, True, "who locked the pool or workspace"),
    429: (SynapseLivyUnavailableError, False, "use longer intervals, or fewer tasks"),
    430: (SynapseLivyUnavailableError, False, "Spark's limits are reached"),
}
SERVER_ERROR = (SynapseLivyUnavailableError, True, "Azure's status page")
UNKNOWN = (SynapseLivyResponseError, True, "check the host and any proxy in between")

#: Every status but 200, the only one that ever holds a record.
ALL = [status for status in range(100, 1000) if status != 200]


def expected(status):
    """Return what a status means by the tables above."""
    return STATUSES.get(status, SERVER_ERROR if status >= 500 else UNKNOWN)


def error_of(status, body=b""):
    """Return the error that a response with a status is read as."""
    with pytest.raises(SynapseLivyError) as caught:
        SPARK_SESSION.get(Pool("https://ws", "etl"), 12).read(LivyResponse(status, {}, body))
    return caught.value


def test_meaning_of_each_status():
    """Every status means one kind of error with one fix, and what no table names is not retried below 500."""
    for status in ALL:
        kind, may_have_been_processed, fix = expected(status)
        error = error_of(status)
        first, second = str(error).splitlines()[:2]
        assert type(error) is kind, status
        assert error.status == status
        assert error.may_have_been_processed is may_have_been_processed, status
        assert first == f"Spark session 12 in pool etl: Synapse answered {status}."
        assert second.startswith("Fix: "), status
        assert fix in second, status


def test_statuses_that_are_retried():
    """Only 408, 409, 423, 429, 430 and those from 500 up may pass: they are what is sent again."""
    request = SPARK_SESSION.get(Pool("https://ws", "etl"), 12)
    retried = {status for status in ALL if request.may_be_sent_again(error_of(status))}
    assert retried == {408, 409, 423, 429, 430, *range(500, 1000)}


@pytest.mark.parametrize("status", [403, 401, 500])
def test_closed_firewall(status):
    """The code of a closed firewall has a fix of its own, which has nothing to do with roles."""
    error = error_of(status, b'{"code": "ClientIpAddressNotAuthorized", "message": "Client Ip address : 192.0.2.1"}')
    assert type(error) is SynapseLivyPermissionError
    assert f"answered {status} ({FIREWALL_CODE})." in str(error)
    assert "Fix: allow this address in the workspace's firewall" in str(error)
    assert "192.0.2.1" in str(error)
    assert "Compute Operator" not in str(error)


def test_unknown_kind():
    """Livy's 500 for code of a kind that it does not know is a refusal for good, which names the kinds."""
    words = (
        b'"java.util.concurrent.ExecutionException: java.lang.IllegalArgumentException: Invalid kind: python\\n\\tat"'
    )
    error = error_of(500, words)
    assert type(error) is SynapseLivyResponseError
    assert not error.may_have_been_processed
    assert "Fix: use one of pyspark, spark (Scala), sql, dotnetspark, csharp, sparkr as kind." in str(error)


def test_not_found_is_up_to_the_resource():
    """404 leaves the error to what was asked for, since each kind of thing has its own."""
    assert status_rule(404, None).error is None
    assert status_rule(418, None).fix == UNDOCUMENTED_FIX
