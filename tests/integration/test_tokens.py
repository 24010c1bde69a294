"""Tokens of real azure-identity credentials, from the local Synapse's token endpoint and from broken ones."""

from __future__ import annotations

import asyncio
import logging
import threading
import time

import pytest

from airflow_provider_synapse_livy.emulator import SynapseEmulator
from airflow_provider_synapse_livy.emulator.entra import CLIENT_ID, CLIENT_SECRET, TENANT_ID, Entra
from airflow_provider_synapse_livy.emulator.tls import server_context
from airflow_provider_synapse_livy.exceptions import (
    SynapseLivyAuthenticationError,
    SynapseLivyConfigurationError,
    SynapseLivyError,
    SynapseLivyUnavailableError,
)
from airflow_provider_synapse_livy.transport.async_client import AsyncLivyClient
from airflow_provider_synapse_livy.transport.tokens import TokenCache, token_cache
from tests.support.connections import connection, to_emulator
from tests.support.scripted_server import ScriptedServer, http, nothing, reset
from tests.support.sensor_runner import run


def service_principal(emulator, *, login=CLIENT_ID, password=CLIENT_SECRET, **extra):
    """Return the identity of a client secret at the local token endpoint."""
    known = {"tenantId": TENANT_ID, "authority": emulator.url, "verify": str(emulator.ca_file)}
    return connection(host=emulator.url, login=login, password=password, extra=known | extra).identity


def test_client_secret(tls_synapse):
    """A client secret gets a token that Synapse takes."""
    token = TokenCache(service_principal(tls_synapse)).get()
    assert tls_synapse.server.entra.authorization_error(f"Bearer {token}") is None


def test_default_chain(tls_synapse, monkeypatch):
    """Without any secret in the connection, azure-identity's default chain finds what the environment offers."""
    monkeypatch.setenv("AZURE_TENANT_ID", TENANT_ID)
    monkeypatch.setenv("AZURE_CLIENT_ID", CLIENT_ID)
    monkeypatch.setenv("AZURE_CLIENT_SECRET", CLIENT_SECRET)
    extra = {"authority": tls_synapse.url, "verify": str(tls_synapse.ca_file), "allow_custom_host": True}
    identity = connection(host=tls_synapse.url, login=None, password=None, extra=extra).identity
    token = TokenCache(identity).get()
    assert tls_synapse.server.entra.authorization_error(f"Bearer {token}") is None


def test_ready_made_token():
    """A ready-made token is used as it is, also to renew it: there is no other."""
    identity = connection(host="http://localhost", login=None, password="abc", extra={"auth_type": "token"}).identity
    tokens = TokenCache(identity)
    assert tokens.get() == "abc"
    assert tokens.fresh_token() == "abc"
    assert tokens.renew(rejected="abc") == "abc"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"password": "wrong"}, "AADSTS7000215.\\.\nFix: write the secret's value.*Invalid client secret"),
        ({"login": "nobody"}, "AADSTS700016.\\.\nFix: correct the client id.*'nobody' was not found"),
        (
            {"tenantId": "elsewhere"},
            "AADSTS90002.\\.\nFix: correct the tenant id.*AADSTS90002: Tenant 'elsewhere' not found",
        ),
    ],
)
def test_refusals(tls_synapse, changes, words):
    """If Microsoft Entra ID refuses, the error has its code, the remedy for that and its own words."""
    with pytest.raises(SynapseLivyAuthenticationError, match=f"(?s)gave no token .client_secret.: .*{words}"):
        TokenCache(service_principal(tls_synapse, **changes)).get()


def test_unreachable_token_endpoint(tls_synapse):
    """A token endpoint that can't be reached is unavailable, in the same words as any broken connection."""
    with ScriptedServer(http(200)) as gone:
        authority = gone.url.replace("http:", "https:")
    with pytest.raises(SynapseLivyUnavailableError, match=f"(?s)Synapse: the server refused .*{authority}"):
        TokenCache(service_principal(tls_synapse, authority=authority)).get()


def test_token_endpoint_that_breaks_off(tmp_path):
    """A token endpoint that breaks the connection off is unavailable, also after it answered another request."""
    ca_file = tmp_path / "ca.pem"
    with ScriptedServer(reset, tls=server_context(ca_file, "127.0.0.1")) as entra:
        _, endpoints = Entra.openid_configuration(entra.url, TENANT_ID)
        entra.script.insert(0, http(200, endpoints))
        extra = {"tenantId": TENANT_ID, "authority": entra.url, "verify": str(ca_file)}
        identity = connection(host="http://localhost", extra=extra).identity
        with pytest.raises(SynapseLivyUnavailableError, match=f"(?s)broke the connection off.*{entra.url}") as caught:
            TokenCache(identity).get()
    assert not caught.value.may_have_been_processed  # Synapse itself was sent nothing
    assert [request.split(" ")[0] for request in entra.requests] == ["GET", "POST"]


def test_default_chain_whose_authority_is_gone(monkeypatch):
    """The default chain is unavailable if the authority does not answer, though the chain keeps no cause."""
    with ScriptedServer(http(200)) as gone:
        authority = gone.url.replace("http:", "https:")
    for name, value in {"TENANT_ID": TENANT_ID, "CLIENT_ID": CLIENT_ID, "CLIENT_SECRET": CLIENT_SECRET}.items():
        monkeypatch.setenv(f"AZURE_{name}", value)
    extra = {"auth_type": "default", "authority": authority, "allow_custom_host": True}
    with pytest.raises(SynapseLivyUnavailableError, match="^DefaultAzureCredential gave no token"):
        TokenCache(connection(host="http://localhost", login=None, password=None, extra=extra).identity).get()


@pytest.mark.parametrize("status", [429, 500, 503])
def test_token_endpoint_in_trouble(tmp_path, status):
    """A token endpoint that is overloaded or down is unavailable, and is asked once: retries are decided elsewhere."""
    ca_file = tmp_path / "ca.pem"
    with ScriptedServer(http(status, b"busy"), tls=server_context(ca_file, "127.0.0.1")) as entra:
        extra = {"tenantId": TENANT_ID, "authority": entra.url, "verify": str(ca_file)}
        identity = connection(host="http://localhost", extra=extra).identity
        with pytest.raises(SynapseLivyUnavailableError, match=f"gave no token .*it answered {status}") as caught:
            TokenCache(identity).get()
    assert caught.value.status == status
    assert len(entra.requests) == 1


def test_token_endpoint_that_asks_for_a_pause(tmp_path):
    """The pause that Microsoft Entra ID asks for is in the error and in its message."""
    ca_file = tmp_path / "ca.pem"
    busy = http(429, b"busy", Retry_After="17")
    with ScriptedServer(busy, tls=server_context(ca_file, "127.0.0.1")) as entra:
        extra = {"tenantId": TENANT_ID, "authority": entra.url, "verify": str(ca_file)}
        identity = connection(host="http://localhost", extra=extra).identity
        with pytest.raises(SynapseLivyUnavailableError, match="(?s)it answered 429\\..*asks to wait 17 s") as caught:
            TokenCache(identity).get()
    assert caught.value.retry_after == 17


def test_redirects_of_the_token_endpoint_are_not_followed(tmp_path):
    """A redirect of the token endpoint is not followed, so that the secret is not sent elsewhere."""
    ca_file = tmp_path / "ca.pem"
    with ScriptedServer(http(200)) as other:
        redirect = http(307, location=f"{other.url}/tenant/oauth2/v2.0/token")
        with ScriptedServer(redirect, tls=server_context(ca_file)) as entra:
            extra = {"tenantId": TENANT_ID, "authority": entra.url, "verify": str(ca_file)}
            with pytest.raises(SynapseLivyError, match="gave no token"):
                TokenCache(connection(host="http://localhost", extra=extra).identity).get()
    assert len(entra.requests) == 1
    assert other.requests == []


def test_certificate_of_the_token_endpoint(tls_synapse):
    """A token endpoint whose certificate is not trusted is a configuration error, as it does not mend itself."""
    identity = service_principal(tls_synapse, verify=None)
    with pytest.raises(
        SynapseLivyConfigurationError, match="The token for Synapse: the certificate of .* is not trusted"
    ):
        TokenCache(identity).get()


@pytest.mark.parametrize("extra", [{"tenantId": "not a tenant"}, {"authority": "http://127.0.0.1"}])
def test_what_azure_identity_refuses_itself(tls_synapse, extra):
    """A tenant or authority that azure-identity refuses without a request is a configuration error."""
    with pytest.raises(SynapseLivyConfigurationError, match="gave no token"):
        TokenCache(service_principal(tls_synapse, **extra)).get()


def test_token_is_kept_until_shortly_before_its_end(monkeypatch):
    """A token is used until five minutes before its end, and replaced then."""
    now = [1_000_000.0]
    with SynapseEmulator(tls=True, token_lifetime=3600) as synapse:
        tokens = TokenCache(service_principal(synapse))
        first = tokens.get()
        monkeypatch.setattr("time.time", lambda: now[0])
        expires_at = tokens._held.refresh_at
        now[0] = expires_at - 1
        assert (tokens.fresh_token(), tokens.get()) == (first, first)
        now[0] = expires_at
        assert tokens.fresh_token() is None
        assert tokens.get() != first
        assert synapse.server.entra.issued == 2


@pytest.mark.parametrize(("lifetime", "margin"), [(3600, 300), (60, 30)])
def test_short_lived_tokens_are_kept_for_half_their_life(lifetime, margin):
    """A token is replaced five minutes before its end, or at half its life if that is shorter."""
    with SynapseEmulator(tls=True, token_lifetime=lifetime) as synapse:
        began = time.time()
        tokens = TokenCache(service_principal(synapse))
        tokens.get()
        assert tokens._held.refresh_at == pytest.approx(began + lifetime - margin, abs=10)


def test_renewal_spares_a_token_that_is_new_already(tls_synapse):
    """Of many callers whose token was rejected, the first renews it; the others get the new one."""
    tokens = TokenCache(service_principal(tls_synapse))
    rejected = tokens.get()
    renewed = tokens.renew(rejected)
    assert renewed != rejected
    assert tokens.renew(rejected) == renewed


def test_many_renew_once(tls_synapse):
    """Fifty threads whose token was rejected together make one request for a new one."""
    tokens = TokenCache(service_principal(tls_synapse))
    rejected = tokens.get()
    issued = tls_synapse.server.entra.issued
    threads = [threading.Thread(target=tokens.renew, args=[rejected]) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tls_synapse.server.entra.issued == issued + 1


def test_log_is_not_flooded(tls_synapse, caplog):
    """azure-identity's dozen lines on each request are kept out of the task's log."""
    identity = service_principal(tls_synapse)
    caplog.set_level(logging.INFO, logger="azure")
    caplog.set_level(logging.INFO)
    caplog.clear()
    TokenCache(identity).get()
    assert [record.getMessage() for record in caplog.records] == ["ClientSecretCredential.get_token succeeded"]


def test_many_ask_once(tls_synapse):
    """Fifty threads that need the first token together make one request for it."""
    tokens = TokenCache(service_principal(tls_synapse))
    issued = tls_synapse.server.entra.issued
    threads = [threading.Thread(target=tokens.get) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tls_synapse.server.entra.issued == issued + 1


def test_process_has_one_cache_for_an_identity(tls_synapse):
    """Connections with the same identity share its token cache, whatever else they say."""
    one = to_emulator(tls_synapse, "etl").identity
    two = to_emulator(tls_synapse, "adhoc").identity
    assert token_cache(one) is token_cache(two)
    assert token_cache(one) is not token_cache(service_principal(tls_synapse, login="another"))


def test_secrets_stay_out_of_errors_and_logs(tls_synapse, caplog):
    """No secret and no token is in an error or a log, at any level of logging, after success and after failure."""
    caplog.set_level(logging.DEBUG)
    token = TokenCache(service_principal(tls_synapse)).get()
    with pytest.raises(SynapseLivyAuthenticationError) as caught:
        TokenCache(service_principal(tls_synapse, password="another-secret")).get()
    written = caplog.text + str(caught.value) + repr(caught.value) + repr(caught.value.__cause__)
    for secret in (CLIENT_SECRET, "another-secret", token):
        assert secret not in written


def entra_that_hangs(tmp_path, hang):
    """Return a server that issues one token, as Microsoft Entra ID would, and hangs upon each later request."""
    entra = ScriptedServer(hang, tls=server_context(tmp_path / "ca.pem", "127.0.0.1"))
    _, endpoints = Entra.openid_configuration(entra.url, TENANT_ID)

    token = http(200, {"access_token": "first", "expires_in": 3600, "token_type": "Bearer"})
    entra.script[:0] = [http(200, endpoints), token]
    return entra


def make_refresh_due(tokens):
    """Set the time of the early refresh to one that has passed."""
    tokens._held = tokens._held._replace(refresh_at=0)


def test_old_token_is_used_while_a_refresh_hangs(tmp_path, caplog):
    """While a refresh hangs, other callers get the old token as long as it is valid; its failure is logged."""
    hung, asked = threading.Event(), threading.Event()

    def hang(_connection):
        asked.set()
        hung.wait(timeout=10)

    with entra_that_hangs(tmp_path, hang) as entra:
        extra = {"tenantId": TENANT_ID, "authority": entra.url, "verify": str(tmp_path / "ca.pem")}
        tokens = TokenCache(connection(host="http://localhost", extra=extra).identity)
        first = tokens.get()
        make_refresh_due(tokens)
        renewing = threading.Thread(target=tokens.get)
        renewing.start()
        assert asked.wait(timeout=10)
        assert tokens.get() == first
        assert renewing.is_alive()
        hung.set()
        renewing.join(timeout=10)
    assert tokens.fresh_token() == first  # for a while, since the refresh failed
    (warning,) = (record.getMessage() for record in caplog.records if record.name == TokenCache.__module__)
    assert warning.startswith("The early token refresh failed. The old token is valid for another 3")
    assert "broke the connection off" in warning


def test_triggerer_uses_the_old_token_while_a_refresh_hangs(tmp_path):
    """On an event loop as well, a client uses the old token while it is valid and its refresh hangs."""

    async def authenticate_twice(livy_connection):
        client = await AsyncLivyClient.open(livy_connection)
        try:
            return [await asyncio.wait_for(client.authenticate(), 5) for _ in range(2)]
        finally:
            await client.close()

    with entra_that_hangs(tmp_path, nothing) as entra:
        extra = {"tenantId": TENANT_ID, "authority": entra.url, "verify": str(tmp_path / "ca.pem"), "timeout": 1}
        livy_connection = connection(host="http://localhost", extra=extra)
        tokens = token_cache(livy_connection.identity)
        first = tokens.get()
        make_refresh_due(tokens)
        assert asyncio.run(authenticate_twice(livy_connection)) == [first, first]


@pytest.mark.parametrize("mode", ["poke", "deferrable"])
def test_tokens_expire_during_a_wait(connect, mode):
    """Tokens that are valid for three seconds are renewed in time throughout a wait: no poll has its token rejected."""
    with SynapseEmulator(tls=True, time_scale=0.13, token_lifetime=3) as synapse:
        connect(synapse.airflow_connection("etl"))
        session_id = synapse.create_session("etl")
        outcome = run(mode, session_id=session_id, target_states={"idle"}, poke_interval=0.1)
        polls = [seen for seen in synapse.recorded_requests if seen.path.endswith(f"/{session_id}")]
    assert outcome.state == "success"
    assert {poll.status for poll in polls} == {200}
    assert 4 <= synapse.server.entra.issued <= 8  # one for each half life, on some 7 seconds
