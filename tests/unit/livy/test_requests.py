"""What one request to the Livy API is: its address, and whether it may be sent again."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from airflow_provider_synapse_livy.livy.errors import (
    SparkSessionNotFoundError,
    SynapseLivyAuthenticationError,
    SynapseLivyConfigurationError,
    SynapseLivyPermissionError,
    SynapseLivyResponseError,
    SynapseLivyUnavailableError,
)
from airflow_provider_synapse_livy.livy.requests import DEFAULT_LIVY_API_VERSION, LivyRequest, Pool
from airflow_provider_synapse_livy.livy.resources import SPARK_SESSION

ENDPOINT = "https://ws.dev.azuresynapse.net"

HOSTILE_NAMES = [
    "a/b",
    "../etl",
    "a?b",
    "a#b",
    "%2e%2e",
    "%2F",
    "a b",
    "ü",
    "a\r\nHost: x",
    "..%2f",
    "a\\b",
    "@x",
    ":x",
]
PARTS = pytest.mark.parametrize("part", ["name", "livy_api_version"])


def url_of(**parts):
    """Return the address of a session in a pool, with some of the pool's parts changed."""
    return SPARK_SESSION.get(Pool(**{"endpoint": ENDPOINT, "name": "etl"} | parts), 12).url


def test_url_of_a_pool():
    """A pool's address names the version of the API and the pool, as documented."""
    assert DEFAULT_LIVY_API_VERSION == "2020-12-01"
    assert Pool(ENDPOINT, "etl").url == f"{ENDPOINT}/livyApi/versions/2020-12-01/sparkPools/etl"
    assert Pool(ENDPOINT, "etl", "2019-11-01-preview").url == (
        f"{ENDPOINT}/livyApi/versions/2019-11-01-preview/sparkPools/etl"
    )


@pytest.mark.parametrize("name", HOSTILE_NAMES)
@PARTS
def test_path_parts_stay_one_part(part, name):
    """Whatever a name holds, it stays one part of the path, which a server reads as that very name."""
    url = urlsplit(url_of(**{part: name}))
    parts = [unquote(quoted) for quoted in url.path.split("/")]
    assert (url.netloc, len(parts), parts[5 if part == "name" else 3]) == ("ws.dev.azuresynapse.net", 8, name)


@pytest.mark.parametrize(
    "name", ["", " ", ".", "..", ". .", "None", None, 5, "\ud800", ["etl"] * 1000], ids=lambda name: ascii(name)[:10]
)
@PARTS
def test_path_parts_that_no_quoting_holds_are_refused(part, name):
    """Dots would lead out of the path, and nothing is no name, so the message says which option to set."""
    option = "spark_pool_name" if part == "name" else part
    with pytest.raises(SynapseLivyConfigurationError, match=rf"^{option}=.* is not a name\.\nFix: set {option} on"):
        url_of(**{part: name})


@given(pool=st.one_of(st.text(), st.text("./%\\?#2eEfF;@: \n\ud800")), version=st.text("./%?#2eE-"))
def test_no_path_part_escapes(pool, version):
    """Whatever is given as pool and version stays one part of the path each, in the eyes of both HTTP libraries."""
    try:
        url = url_of(name=pool, livy_api_version=version)
    except SynapseLivyConfigurationError:
        return
    sent = [str(requests.Request("GET", url).prepare().url), str(URL(url))]
    for parts in map(urlsplit, sent):
        assert f"{parts.scheme}://{parts.netloc}" == ENDPOINT
        assert [unquote(part) for part in parts.path.split("/")] == [
            "", "livyApi", "versions", version, "sparkPools", pool, "sessions", "12"
        ]  # fmt: skip
        assert parts.query == "detailed=true"
        assert not parts.fragment


#: How an attempt ended; whether a request may be sent again that is idempotent, and one that is not.
ATTEMPTS = [
    (SynapseLivyUnavailableError("x"), True, True),
    (SynapseLivyUnavailableError("x", may_have_been_processed=True), True, False),
    (SynapseLivyAuthenticationError("x"), False, False),
    (SynapseLivyConfigurationError("x"), False, False),
    (SynapseLivyPermissionError("x"), False, False),
    (SparkSessionNotFoundError("x"), False, False),
    (SynapseLivyResponseError("x"), False, False),
    (SynapseLivyResponseError("x", may_have_been_processed=True), False, False),
]


@pytest.mark.parametrize(("error", "idempotent", "other"), ATTEMPTS, ids=lambda value: type(value).__name__)
def test_what_may_be_sent_again(error, idempotent, other):
    """A failure that may pass is retried, unless the request was perhaps processed and is not idempotent."""
    for is_idempotent, expected in ((True, idempotent), (False, other)):
        request = LivyRequest("POST", ENDPOINT, "A new thing", lambda _: None, b"{}", is_idempotent)
        assert request.may_be_sent_again(error) is expected


def test_requests_are_idempotent_by_default():
    """A request that only reads has no body, and may be sent twice."""
    request = SPARK_SESSION.get(Pool(ENDPOINT, "etl"), 12)
    assert (request.method, request.body, request.is_idempotent) == ("GET", None, True)
