"""Tokens: real azure-identity credentials against the local Synapse's token endpoint."""

from __future__ import annotations

import asyncio
import logging
import threading
import time

import pytest
from connections import connection, to_emulator
from running import run
from scripted_server import ScriptedServer, http, nothing, reset

from airflow_provider_synapse_livy.aiohttp_client import AsyncLivyClient
from airflow_provider_synapse_livy.credentials import TokenSource, token_source
from airflow_provider_synapse_livy.emulator import SynapseEmulator
from airflow_provider_synapse_livy.emulator.entra import CLIENT_ID, CLIENT_SECRET, TENANT_ID, Entra
from airflow_provider_synapse_livy.emulator.tls import server_context
from airflow_provider_synapse_livy.exceptions import (
    SynapseLivyAuthenticationError,
    SynapseLivyConfigurationError,
    SynapseLivyError,
    SynapseLivyUnavailableError,
)


def service_principal(emulator, *, login=CLIENT_ID, password=CLIENT_SECRET, **extra):
    """Give the identity of a client secret at the local token endpoint."""
    known = {"tenantId": TENANT_ID, "authority": emulator.url, "verify": str(emulator.ca_file)}
    return connection(host=emulator.url, login=login, password=password, extra=known | extra).identity


def test_client_secret(tls_synapse):
    """A client secret gets a token that Synapse takes."""
    token = TokenSource(service_principal(tls_synapse)).get()
    assert tls_synapse.server.entra.authorization_error(f"Bearer {token}") is None


def test_default_chain(tls_synapse, monkeypatch):
    """Without any secret in the connection, azure-identity's default chain finds what the environment offers."""
    monkeypatch.setenv("AZURE_TENANT_ID", TENANT_ID)
    monkeypatch.setenv("AZURE_CLIENT_ID", CLIENT_ID)
    monkeypatch.setenv("AZURE_CLIENT_SECRET", CLIENT_SECRET)
    extra = {"authority": tls_synapse.url, "verify": str(tls_synapse.ca_file), "allow_custom_host": True}
    identity = connection(host=tls_synapse.url, login=None, password=None, extra=extra).identity
    token = TokenSource(identity).get()
    assert tls_synapse.server.entra.authorization_error(f"Bearer {token}") is None


def test_ready_made_token():
    """A token that was obtained elsewhere is handed on as it is; there is no other to renew it with."""
    identity = connection(host="http://localhost", login=None, password="abc", extra={"auth_type": "token"}).identity
    tokens = TokenSource(identity)
    assert tokens.get() == "abc"
    assert tokens.peek() == "abc"
    assert tokens.renew(rejected="abc") == "abc"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"password": "wrong"}, "AADSTS7000215.*Invalid client secret"),
        ({"login": "nobody"}, "AADSTS700016.*'nobody' was not found"),
        ({"tenantId": "elsewhere"}, "AADSTS90002: Tenant 'elsewhere' not found. Correct the tenant id"),
    ],
)
def test_refusals(tls_synapse, changes, words):
    """If Microsoft Entra ID refuses, its words are told, and nothing is tried again."""
    with pytest.raises(SynapseLivyAuthenticationError, match=f"gave no token .client_secret.: .*{words}"):
        TokenSource(service_principal(tls_synapse, **changes)).get()


def test_unreachable_token_endpoint(tls_synapse):
    """If Microsoft Entra ID can't be reached, that may pass, and is told in the words of any broken connection."""
    with ScriptedServer(http(200)) as gone:
        authority = gone.url.replace("http:", "https:")
    with pytest.raises(SynapseLivyUnavailableError, match=f"The token for Synapse: {authority} refused the connection"):
        TokenSource(service_principal(tls_synapse, authority=authority)).get()


def test_token_endpoint_that_breaks_off(tmp_path):
    """If the request for the token breaks off, though the one before it was answered, that may pass."""
    ca_file = tmp_path / "ca.pem"
    with ScriptedServer(reset, tls=server_context(ca_file, "127.0.0.1")) as entra:
        _, endpoints = Entra.openid_configuration(entra.url, TENANT_ID)
        entra.script.insert(0, http(200, endpoints))
        extra = {"tenantId": TENANT_ID, "authority": entra.url, "verify": str(ca_file)}
        identity = connection(host="http://localhost", extra=extra).identity
        with pytest.raises(SynapseLivyUnavailableError, match=f"{entra.url} broke the connection off"):
            TokenSource(identity).get()
    assert [request.split(" ")[0] for request in entra.requests] == ["GET", "POST"]


def test_default_chain_whose_authority_is_gone(monkeypatch):
    """The chain keeps no cause, but if what it chose gets no answer from Microsoft Entra ID, that may pass as well."""
    with ScriptedServer(http(200)) as gone:
        authority = gone.url.replace("http:", "https:")
    for name, value in {"TENANT_ID": TENANT_ID, "CLIENT_ID": CLIENT_ID, "CLIENT_SECRET": CLIENT_SECRET}.items():
        monkeypatch.setenv(f"AZURE_{name}", value)
    extra = {"auth_type": "default", "authority": authority, "allow_custom_host": True}
    with pytest.raises(SynapseLivyUnavailableError, match="^DefaultAzureCredential gave no token"):
        TokenSource(connection(host="http://localhost", login=None, password=None, extra=extra).identity).get()


@pytest.mark.parametrize("status", [429, 500, 503])
def test_token_endpoint_in_trouble(tmp_path, status):
    """If Microsoft Entra ID is overloaded or down, that may pass."""
    ca_file = tmp_path / "ca.pem"
    with ScriptedServer(http(status, b"busy"), tls=server_context(ca_file, "127.0.0.1")) as entra:
        extra = {"tenantId": TENANT_ID, "authority": entra.url, "verify": str(ca_file)}
        identity = connection(host="http://localhost", extra=extra).identity
        with pytest.raises(SynapseLivyUnavailableError, match="gave no token") as caught:
            TokenSource(identity).get()
    assert caught.value.status == status
    assert len(entra.requests) == 1  # when to try again is decided elsewhere


def test_redirects_of_the_token_endpoint_are_not_followed(tmp_path):
    """A token endpoint that sends elsewhere does not get the secret carried there."""
    ca_file = tmp_path / "ca.pem"
    with ScriptedServer(http(200)) as other:
        redirect = http(307, location=f"{other.url}/tenant/oauth2/v2.0/token")
        with ScriptedServer(redirect, tls=server_context(ca_file)) as entra:
            extra = {"tenantId": TENANT_ID, "authority": entra.url, "verify": str(ca_file)}
            with pytest.raises(SynapseLivyError, match="gave no token"):
                TokenSource(connection(host="http://localhost", extra=extra).identity).get()
    assert len(entra.requests) == 1
    assert other.requests == []


def test_certificate_of_the_token_endpoint(tls_synapse):
    """A token endpoint whose certificate is not trusted does not mend itself, so it is an error at once."""
    identity = service_principal(tls_synapse, verify=None)
    with pytest.raises(
        SynapseLivyConfigurationError, match="The token for Synapse: the certificate of .* is not trusted"
    ):
        TokenSource(identity).get()


@pytest.mark.parametrize("extra", [{"tenantId": "not a tenant"}, {"authority": "http://127.0.0.1"}])
def test_what_azure_identity_refuses_itself(tls_synapse, extra):
    """A tenant or authority that can't be one is an error of the configuration."""
    with pytest.raises(SynapseLivyConfigurationError, match="gave no token"):
        TokenSource(service_principal(tls_synapse, **extra)).get()


def test_token_is_kept_until_shortly_before_its_end(monkeypatch):
    """A token is used again until five minutes before its end, and replaced then."""
    now = [1_000_000.0]
    with SynapseEmulator(tls=True, token_lifetime=3600) as synapse:
        tokens = TokenSource(service_principal(synapse))
        first = tokens.get()
        monkeypatch.setattr("time.time", lambda: now[0])
        good_until = tokens._held.refresh_at
        now[0] = good_until - 1
        assert (tokens.peek(), tokens.get()) == (first, first)
        now[0] = good_until
        assert tokens.peek() is None
        assert tokens.get() != first
        assert synapse.server.entra.issued == 2


@pytest.mark.parametrize(("lifetime", "margin"), [(3600, 300), (60, 30)])
def test_short_lived_tokens_are_kept_for_half_their_life(lifetime, margin):
    """The margin is five minutes, or half the token's life if that is shorter, so that it is used at all."""
    with SynapseEmulator(tls=True, token_lifetime=lifetime) as synapse:
        began = time.time()
        tokens = TokenSource(service_principal(synapse))
        tokens.get()
        assert tokens._held.refresh_at == pytest.approx(began + lifetime - margin, abs=10)


def test_renewal_spares_a_token_that_is_new_already(tls_synapse):
    """Of many who were refused with the same token, the first renews it; the others get the new one."""
    tokens = TokenSource(service_principal(tls_synapse))
    rejected = tokens.get()
    renewed = tokens.renew(rejected)
    assert renewed != rejected
    assert tokens.renew(rejected) == renewed


def test_many_renew_once(tls_synapse):
    """Fifty threads that were refused together make one request for a new token."""
    tokens = TokenSource(service_principal(tls_synapse))
    rejected = tokens.get()
    issued = tls_synapse.server.entra.issued
    threads = [threading.Thread(target=tokens.renew, args=[rejected]) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tls_synapse.server.entra.issued == issued + 1


def test_log_is_not_flooded(tls_synapse, caplog):
    """azure-identity's account of each request, a dozen lines long, is kept out of the task's log."""
    identity = service_principal(tls_synapse)
    caplog.set_level(logging.INFO, logger="azure")
    caplog.set_level(logging.INFO)
    caplog.clear()
    TokenSource(identity).get()
    assert [record.getMessage() for record in caplog.records] == ["ClientSecretCredential.get_token succeeded"]


def test_many_ask_once(tls_synapse):
    """Fifty threads that come together on a cold start make one request for a token."""
    tokens = TokenSource(service_principal(tls_synapse))
    issued = tls_synapse.server.entra.issued
    threads = [threading.Thread(target=tokens.get) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tls_synapse.server.entra.issued == issued + 1


def test_process_has_one_source_for_an_identity(tls_synapse):
    """All hooks and triggers with the same identity share its token, whatever else their connections say."""
    one = to_emulator(tls_synapse, "etl").identity
    two = to_emulator(tls_synapse, "adhoc").identity
    assert token_source(one) is token_source(two)
    assert token_source(one) is not token_source(service_principal(tls_synapse, login="another"))


def test_secrets_stay_out_of_errors_and_logs(tls_synapse, caplog):
    """Neither a success nor a failure writes the secret or the token anywhere, at any level of logging."""
    caplog.set_level(logging.DEBUG)
    token = TokenSource(service_principal(tls_synapse)).get()
    with pytest.raises(SynapseLivyAuthenticationError) as caught:
        TokenSource(service_principal(tls_synapse, password="another-secret")).get()
    told = caplog.text + str(caught.value) + repr(caught.value) + repr(caught.value.__cause__)
    for secret in (CLIENT_SECRET, "another-secret", token):
        assert secret not in told


def test_old_token_is_given_while_a_new_one_is_asked_for(tmp_path):
    """A token endpoint that hangs holds up nobody as long as the old token is good."""
    hung, asked = threading.Event(), threading.Event()

    def hang(_connection):
        asked.set()
        hung.wait(timeout=10)

    with SynapseEmulator(tls=True, token_lifetime=3600) as synapse:
        tokens = TokenSource(service_principal(synapse))
        first = tokens.get()
    with ScriptedServer(hang, tls=server_context(tmp_path / "ca.pem")) as entra:
        tokens._identity = service_principal(synapse, authority=entra.url, verify=str(tmp_path / "ca.pem"))
        tokens._held = tokens._held._replace(refresh_at=0)
        renewing = threading.Thread(target=tokens.get)
        renewing.start()
        assert asked.wait(timeout=10)
        assert tokens.get() == first
        assert renewing.is_alive()
        hung.set()
        renewing.join()
    assert tokens.peek() == first  # for a while, since there was no new one to be had


def test_triggerer_goes_on_with_the_old_token(tls_synapse, tmp_path):
    """On an event loop as well, nobody waits for a new token as long as the old one is good."""
    livy_connection = to_emulator(tls_synapse, tenantId=TENANT_ID, timeout=17)  # an identity of its own
    tokens = token_source(livy_connection.identity)
    first = tokens.get()

    async def ask_twice():
        client = await AsyncLivyClient.open(livy_connection)
        try:
            return [await asyncio.wait_for(client.authenticate(), 5) for _ in range(2)]
        finally:
            await client.close()

    with ScriptedServer(nothing, tls=server_context(tmp_path / "ca.pem")) as entra:
        changes = {"authority": entra.url, "verify": str(tmp_path / "ca.pem"), "timeout": 1}
        tokens._identity = service_principal(tls_synapse, **changes)
        tokens._held = tokens._held._replace(refresh_at=0)
        assert asyncio.run(ask_twice()) == [first, first]


@pytest.mark.parametrize("mode", ["poke", "deferrable"])
def test_tokens_expire_during_a_wait(connect, mode):
    """Tokens that are good for five seconds are renewed in time throughout a wait: no look is refused for its token."""
    with SynapseEmulator(tls=True, time_scale=0.25, token_lifetime=5) as synapse:
        connect(synapse.airflow_connection("etl"))
        session_id = synapse.create_session("etl")
        outcome = run(mode, session_id=session_id, target_states={"idle"}, poke_interval=0.1)
        looks = [seen for seen in synapse.recorded_requests if seen.path.endswith(f"/{session_id}")]
    assert outcome.state == "success"
    assert {look.status for look in looks} == {200}
    assert 4 <= synapse.server.entra.issued <= 8  # one for each half life, on some 13 seconds
