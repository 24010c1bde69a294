"""The tokens of a process: when they are kept, replaced and shared. The credentials are of the user's own kind."""

from __future__ import annotations

import dataclasses
import gc
import weakref

import pytest

from airflow_provider_synapse_livy.connection.identity import AuthType, Identity
from airflow_provider_synapse_livy.connection.network import Network
from airflow_provider_synapse_livy.livy.errors import SynapseLivyAuthenticationError, SynapseLivyUnavailableError
from airflow_provider_synapse_livy.transport import tokens as tokens_module
from airflow_provider_synapse_livy.transport.tokens import TokenCache, token_cache
from tests.unit.transport import credentials

NETWORK = Network(ca_bundle=True, timeout=30.0)
START = 1_000_000.0


def identity(name="Counting", auth_type=AuthType.CUSTOM, **fields):
    """Return an identity whose credential is one of the tests'."""
    custom = {"credential": f"{credentials.__name__}.{name}"} if auth_type is AuthType.CUSTOM else {}
    return Identity(auth_type, "https://dev.azuresynapse.net/.default", "login.example", NETWORK, **custom | fields)


@pytest.fixture(autouse=True)
def _credentials_of_one_test(monkeypatch):
    """Reset what the credentials count."""
    monkeypatch.setattr(credentials.Counting, "requests", 0)
    monkeypatch.setattr(credentials.Refused, "response", None)


@pytest.fixture
def clock(monkeypatch):
    """Return a clock that a test sets."""

    class Clock:
        now = START

    monkeypatch.setattr("time.time", lambda: Clock.now)
    return Clock


@pytest.mark.parametrize(("lifetime", "early"), [(3600, 300), (60, 30), (600, 300), (599, 299.5)])
def test_token_is_replaced_early(monkeypatch, clock, lifetime, early):
    """A token is replaced five minutes before its end, or at half its life if that is shorter."""
    monkeypatch.setattr(credentials.Counting, "lifetime", lifetime)
    cache = TokenCache(identity())
    assert (cache.fresh_token(), cache.usable_token()) == (None, None)
    assert cache.get() == cache.get() == "token-1"
    clock.now = START + lifetime - early - 0.1
    assert cache.fresh_token() == cache.get() == "token-1"
    clock.now += 0.2
    assert (cache.fresh_token(), cache.usable_token()) == (None, "token-1")
    assert cache.get() == "token-2"


def test_expired_token_is_not_usable(clock):
    """After its end a token is neither fresh nor usable."""
    cache = TokenCache(identity())
    cache.get()
    clock.now = START + 3600
    assert (cache.fresh_token(), cache.usable_token()) == (None, None)
    assert cache.get() == "token-2"


@pytest.mark.parametrize(("retry_after", "pause"), [(None, 30.0), ("8", 30.0), ("45", 45.0), ("1000", 100.0)])
def test_early_refresh_that_fails(clock, caplog, retry_after, pause):
    """After an early refresh that failed the old token is used, and the next is after a pause, Retry-After at least."""
    cache = TokenCache(identity("Refused"))
    cache.get()
    credentials.Refused.response = credentials.Response(503, {"Retry-After": retry_after} if retry_after else {})
    clock.now = START + 3400
    assert cache.get() == cache.fresh_token() == "token-1"
    (warning,) = (record.getMessage() for record in caplog.records)
    assert warning.startswith("The early token refresh failed. The old token is valid for another 200 s.\n")
    assert "it answered 503" in warning
    clock.now += pause - 0.1
    assert cache.fresh_token() == "token-1"
    clock.now += 0.2
    assert cache.fresh_token() is None
    credentials.Refused.response = None
    assert cache.get() == "token-2"


def test_no_token_and_no_refresh(clock):
    """Once the old token has expired, what keeps a new one away is raised."""
    cache = TokenCache(identity("Refused"))
    cache.get()
    credentials.Refused.response = credentials.Response(503, {})
    clock.now = START + 3600
    with pytest.raises(SynapseLivyUnavailableError, match="it answered 503"):
        cache.get()


def test_renewal_replaces_the_rejected_token_only():
    """A rejected token is renewed once: a caller that was rejected with the same one gets the new one."""
    cache = TokenCache(identity())
    rejected = cache.get()
    assert cache.renew(rejected) == "token-2"
    assert cache.renew(rejected) == "token-2"
    assert cache.renew("token-2") == "token-3"


@pytest.mark.parametrize("header", ["Retry-After", "retry-after"])
@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_pause_that_an_issuer_asks_for(status, header):
    """The pause that an issuer asks for, and its status, are in the error and in its message."""
    credentials.Refused.response = credentials.Response(status, {header: "8"})
    words = f"(?s)class gave no token .custom.: it answered {status}\\.\nFix: if it lasts, .*s0me.*to wait 8 s.*Refused"
    with pytest.raises(SynapseLivyUnavailableError, match=words) as caught:
        TokenCache(identity("Refused")).get()
    assert (caught.value.status, caught.value.retry_after) == (status, 8)
    assert not caught.value.may_have_been_processed


@pytest.mark.parametrize("headers", [None, {}, "text", {"Retry-After": "soon"}])
def test_no_pause(headers):
    """Without a pause that can be read, whatever the headers are, the error has none."""
    credentials.Refused.response = credentials.Response(503, headers)
    with pytest.raises(SynapseLivyUnavailableError, match="it answered 503\\.\nFix: ") as caught:
        TokenCache(identity("Refused")).get()
    assert caught.value.retry_after is None


def test_refusal_for_good():
    """A refusal with any other status is an authentication error with the issuer's own words, line by line."""
    credentials.Refused.response = credentials.Response(403, {"Retry-After": "8"})
    words = "(?s)it answered 403\\.\nFix: correct the credential class.*\ns0me words\nand more of them\nIt is .*d.$"
    with pytest.raises(SynapseLivyAuthenticationError, match=words):
        TokenCache(identity("Refused")).get()


def test_one_cache_for_an_identity():
    """A process has one cache for an identity, and another for each other identity."""
    one = identity(auth_type=AuthType.CLIENT_SECRET, tenant_id="t", client_id="c", secret="s")
    assert token_cache(one) is token_cache(dataclasses.replace(one))
    assert token_cache(one) is not token_cache(dataclasses.replace(one, client_id="another"))
    assert token_cache(one) is token_cache(dataclasses.replace(one))


@pytest.mark.parametrize("name", ["secret", "certificate", "certificate_password"])
def test_changed_secret_replaces_the_old_one(name):
    """An identity whose secret or certificate has changed gets a new cache, and the old secret is kept no longer."""
    old = identity(auth_type=AuthType.CLIENT_SECRET, client_id=f"changes its {name}", **{name: "s3cr3t-of-before"})
    cache = weakref.ref(token_cache(old))
    new = token_cache(dataclasses.replace(old, **{name: "another"}))
    assert new is token_cache(dataclasses.replace(old, **{name: "another"}))
    gc.collect()
    assert cache() is None
    held = [getattr(known, name) for known, _ in tokens_module._caches.values()]
    assert "s3cr3t-of-before" not in held
    assert all("s3cr3t-of-before" not in str(dataclasses.asdict(key)) for key in tokens_module._caches)
