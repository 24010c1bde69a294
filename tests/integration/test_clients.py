"""Both transports, the worker's and the triggerer's: most test bodies here run through both."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging

import pytest
import requests

from airflow_provider_synapse_livy.emulator.entra import CLIENT_ID, CLIENT_SECRET, TENANT_ID
from airflow_provider_synapse_livy.exceptions import (
    SynapseLivyAuthenticationError,
    SynapseLivyConfigurationError,
    SynapseLivyUnavailableError,
)
from airflow_provider_synapse_livy.livy.resources import SPARK_SESSION
from airflow_provider_synapse_livy.transport import async_client
from airflow_provider_synapse_livy.transport.async_client import shared_client
from airflow_provider_synapse_livy.transport.sync_client import LivyClient
from tests.support import sample_sessions as samples
from tests.support.connections import connection, to_emulator, to_server
from tests.support.fast_loop import SPEED
from tests.support.scripted_server import ScriptedServer, http, nothing
from tests.support.transports import Triggerer, Worker
from tests.support.tunnel_proxy import TunnelProxy

GOOD = http(200, samples.IDLE, x_ms_activity_id="activity-1")


def test_session_is_read(transport):
    """A snapshot has the session and the response's activity id; the request has the token and asks for JSON."""
    with ScriptedServer(GOOD) as server:
        snapshot = transport.read(to_server(server.url))
    assert (snapshot.record.state, snapshot.activity_id) == ("idle", "activity-1")
    path = "/livyApi/versions/2020-12-01/sparkPools/etl/sessions/12?detailed=true"
    assert server.requests[0].startswith(f"GET {path} HTTP/1.1")
    assert "Accept: application/json" in server.requests[0]
    assert server.tokens == ["ready-made-token"]


@pytest.mark.parametrize("pool", ["a/b", "a?b", "%2e%2e", "a#b", "ü%"])
def test_path_parts_arrive_as_they_were_quoted(transport, pool):
    """Neither HTTP library quotes again, or unquotes, what the request has quoted."""
    with ScriptedServer(GOOD) as server:
        livy_connection = to_server(server.url)
        transport.read(livy_connection, pool=pool)
    expected = SPARK_SESSION.get(livy_connection.pool(pool), 12).url.removeprefix(server.url)
    assert server.requests[0].startswith(f"GET {expected} HTTP/1.1")


def test_attempts_are_bounded_by_time(transport):
    """When the time for retries is over, the last error is raised."""
    with ScriptedServer(http(503, {"code": "Down"}, x_ms_activity_id="last")) as server:
        with pytest.raises(SynapseLivyUnavailableError, match="503") as caught:
            transport.read(to_server(server.url), retry_timeout=20)
        assert len(server.requests) >= 2
    assert (caught.value.status, caught.value.code, caught.value.activity_id) == (503, "Down", "last")


def test_last_attempt_of_a_worker_is_at_the_end_of_the_time():
    """A worker's pauses grow, and the last one ends when the time for retries does."""
    worker = Worker()
    with ScriptedServer(http(503)) as server, pytest.raises(SynapseLivyUnavailableError):
        worker.read(to_server(server.url), retry_timeout=20)
    assert len(server.requests) == len(worker.pauses) + 1
    *growing, last = worker.pauses
    assert growing == sorted(growing)
    assert sum(worker.pauses) == pytest.approx(20, abs=5)  # the rest of the time passed in the attempts
    assert last <= 20 - sum(growing)


def test_attempts_are_not_bounded_by_number(transport):
    """However often a server fails at once, requests are sent again while there is time: outages last a minute."""
    with ScriptedServer(*[http(503)] * 20, GOOD) as server:
        assert transport.read(to_server(server.url), retry_timeout=100_000).record.state == "idle"
    assert len(server.requests) == 21


def test_unreachable_server(transport, caplog):
    """A refused connection is tried again, and then is an error in the same words with both transports."""
    with ScriptedServer(GOOD) as server:
        pass
    with pytest.raises(SynapseLivyUnavailableError, match=f"(?s)12 in pool etl: the server refused .*{server.url}"):
        transport.read(to_server(server.url), retry_timeout=5)
    assert "refused the connection, retrying" in caplog.text


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("value", ["7", "2"])
def test_retry_after_of_a_worker(status, value):
    """A worker's pause is as long as Synapse asks for."""
    worker = Worker()
    with ScriptedServer(http(status, Retry_After=value), GOOD) as server:
        worker.read(to_server(server.url))
    assert worker.pauses == [float(value)]


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("value", ["7", "2"])
def test_retry_after_of_the_triggerer(status, value):
    """A triggerer sends nothing for as long as Synapse asks for."""
    with ScriptedServer(http(status, Retry_After=value), GOOD) as server:
        Triggerer().read(to_server(server.url))
    first, second = server.times
    assert second - first >= float(value) / SPEED


def test_pauses_do_not_exceed_the_time_given(transport):
    """A pause that would lead beyond the time for retries is not begun, however long Synapse asks for."""
    with ScriptedServer(http(429, Retry_After="61")) as server, pytest.raises(SynapseLivyUnavailableError):
        transport.read(to_server(server.url), retry_timeout=60)
    assert len(server.requests) == 1


def test_retries_are_logged(transport, caplog):
    """A retry is a line in the log, with its reason."""
    with ScriptedServer(http(503), GOOD) as server:
        transport.read(to_server(server.url))
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "Synapse answered 503, retrying" in caplog.text


def test_each_retry_of_a_worker_is_logged(caplog):
    """A worker logs each retry and the pause before it: somebody may be reading the log of the task."""
    worker = Worker()
    with ScriptedServer(http(503), http(500), GOOD) as server:
        worker.read(to_server(server.url))
    assert [message.rpartition(": ")[2] for message in caplog.messages] == [
        f"Synapse answered {status}, retrying in {pause:.1f} s."
        for status, pause in zip((503, 500), worker.pauses, strict=True)
    ]


def test_refused_token_is_renewed_once(transport, tls_synapse):
    """A token that Synapse no longer accepts is replaced, and the request sent again."""
    livy_connection = to_emulator(tls_synapse)
    session_id = tls_synapse.create_session("etl")
    transport.read(livy_connection, session_id)
    issued = tls_synapse.server.entra.issued
    tls_synapse.server.entra.revoke_all()
    assert transport.read(livy_connection, session_id).record.id == session_id
    assert tls_synapse.server.entra.issued == issued + 1


def test_second_refusal_is_an_error(transport):
    """If the new token is refused too, that is an error with the service's words, and there is no third attempt."""
    refusal = http(401, {"code": "InvalidTokenIssuer", "message": "The issuer is wrong."})
    words = r"(?s)answered 401 \(InvalidTokenIssuer\)\..*The issuer is wrong"
    with ScriptedServer(refusal) as server:
        with pytest.raises(SynapseLivyAuthenticationError, match=words):
            transport.read(to_server(server.url))
        assert len(server.requests) == 2


def test_token_is_requested_once(transport, tls_synapse):
    """All reads of a process share one token."""
    livy_connection = to_emulator(tls_synapse)
    session_id = tls_synapse.create_session("etl")
    transport.read(livy_connection, session_id)
    issued = tls_synapse.server.entra.issued
    for _ in range(3):
        transport.read(livy_connection, session_id)
    assert tls_synapse.server.entra.issued == issued


def test_certificate_that_is_not_trusted(transport, tls_synapse, caplog):
    """A certificate that is not trusted is an error at once, which says where to name the right one."""
    livy_connection = connection(
        host=tls_synapse.url,
        login=None,
        password="emulator-token",
        extra={"auth_type": "token", "spark_pool_name": "etl"},
    )
    trusted = livy_connection.network.ca_bundle
    with pytest.raises(
        SynapseLivyConfigurationError,
        match=f'(?s)is not trusted.*"verify".*self-signed certificate.*{trusted}.*{tls_synapse.url}',
    ):
        transport.read(livy_connection)
    assert "retrying" not in caplog.text


def test_server_without_tls(transport, synapse, caplog):
    """A server that speaks no TLS is an error at once."""
    with pytest.raises(SynapseLivyConfigurationError, match="(?s)the server does not speak TLS.*https://127.0.0.1:"):
        transport.read(to_server(synapse.url.replace("http:", "https:")))
    assert "retrying" not in caplog.text


def test_environment_does_not_overrule_the_connection(transport, tls_synapse, monkeypatch):
    """REQUESTS_CA_BUNDLE does not replace the bundle of the connection, as it would with requests alone."""
    livy_connection = to_emulator(tls_synapse)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tls_synapse.ca_file.parent))
    session_id = tls_synapse.create_session("etl")
    assert transport.read(livy_connection, session_id).record.id == session_id


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_certificates_need_not_be_verified(transport, tls_synapse):
    """With verify=false any certificate is accepted."""
    session_id = tls_synapse.create_session("etl")
    assert transport.read(to_emulator(tls_synapse, verify="false"), session_id).record.id == session_id


@pytest.mark.parametrize("is_exempt", [True, False])
def test_proxy_of_the_environment(transport, monkeypatch, is_exempt):
    """Requests go through the proxy that the environment names, unless no_proxy exempts the host; it gets no token."""
    livy_connection = connection(login=None, extra={"auth_type": "token", "spark_pool_name": "etl"})
    with ScriptedServer(http(403)) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", ".azuresynapse.net" if is_exempt else "")
        with pytest.raises(SynapseLivyUnavailableError):
            transport.read(livy_connection, retry_timeout=0)
    requested = [request.split(" HTTP")[0] for request in proxy.requests]
    assert requested == ([] if is_exempt else ["CONNECT ws.dev.azuresynapse.net:443"])
    assert proxy.tokens == []


LOGIN, WORKSPACE = "login.microsoftonline.com", "ws.dev.azuresynapse.net"


@pytest.mark.parametrize("named_in", ["connection", "environment"])
def test_proxy_sees_token_request_and_api_call(transport, monkeypatch, tmp_path, tls_synapse, named_in):
    """Token request and API call go through the proxy, and both trust the proxy's own certificates."""
    session_id = tls_synapse.create_session("etl")
    with TunnelProxy(tmp_path, tls_synapse.url, [LOGIN, WORKSPACE]) as proxy:
        extra = {"tenantId": TENANT_ID, "spark_pool_name": "etl", "verify": str(proxy.ca_file)}
        if named_in == "connection":
            extra["proxies"] = proxy.url
        else:
            monkeypatch.setenv("https_proxy", proxy.url)
        livy_connection = connection(login=CLIENT_ID, password=CLIENT_SECRET, extra=extra)
        assert transport.read(livy_connection, session_id).record.id == session_id
    assert list(dict.fromkeys(proxy.tunnels)) == [f"{LOGIN}:443", f"{WORKSPACE}:443"]


@pytest.mark.parametrize("refusal", [403, 407, None])
@pytest.mark.parametrize("for_token", [True, False])
def test_proxy_that_fails(transport, tmp_path, tls_synapse, refusal, for_token):
    """A proxy that refuses, or is not there, is named without its password, for the token as for the API call."""
    with TunnelProxy(tmp_path, tls_synapse.url, [], refusal=refusal or 403) as proxy:
        pass
    with (
        TunnelProxy(tmp_path, tls_synapse.url, [], refusal=refusal)
        if refusal
        else contextlib.nullcontext(proxy) as proxy
    ):
        url = proxy.url.replace("//", "//user:s3cr3t-value@")
        extra = {"spark_pool_name": "etl", "proxies": url} | (
            {"tenantId": "t"} if for_token else {"auth_type": "token"}
        )
        event = f"answered {refusal}" if refusal else "refused the connection"
        host = LOGIN if for_token else WORKSPACE
        words = f"(?s)the server could not be reached through the proxy.*roxy {proxy.url} {event}.*https://{host}"
        with pytest.raises(SynapseLivyUnavailableError, match=words) as caught:
            transport.read(connection(extra=extra), retry_timeout=0)
    assert "s3cr3t-value" not in str(caught.value)


@pytest.mark.parametrize("for_token", [True, False])
def test_proxy_that_does_not_exist(transport, for_token):
    """A proxy whose name can't be resolved is what the error is about, and not the workspace or the authority."""
    url = "http://user:s3cr3t-value@no-such-proxy.invalid:3128"
    extra = {"spark_pool_name": "etl", "proxies": url} | ({"tenantId": "t"} if for_token else {"auth_type": "token"})
    host = LOGIN if for_token else WORKSPACE
    words = "name of the proxy http://no-such-proxy.invalid:3128 can't be resolved"
    with pytest.raises(SynapseLivyUnavailableError, match=f"(?s)through the proxy.*{words}.*https://{host}") as caught:
        transport.read(connection(extra=extra), retry_timeout=0)
    assert "s3cr3t-value" not in str(caught.value)


def test_loopback_needs_no_proxy(transport, monkeypatch):
    """A request to a loopback address passes by the proxy of the environment."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with ScriptedServer(GOOD) as server:
        assert transport.read(to_server(server.url)).record.state == "idle"


@pytest.mark.parametrize("beginning", [b"", GOOD[:100]], ids=["nothing", "half a response"])
def test_servers_that_hang(transport, beginning):
    """An attempt at a server that sends nothing, or nothing more, ends at the timeout, and another one is made."""

    def hang(connection):
        connection.sendall(beginning)
        nothing(connection)

    with ScriptedServer(hang, GOOD) as server:
        assert transport.read(to_server(server.url, timeout=transport.short_timeout)).record.state == "idle"
    assert len(server.requests) == 2


def test_netrc_does_not_replace_the_token(transport, monkeypatch, tmp_path):
    """A .netrc with a password for the host does not take the token's place."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password something\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with ScriptedServer(GOOD) as server:
        transport.read(to_server(server.url))
    assert server.tokens == ["ready-made-token"]


def test_session_of_requests_authenticates_for_the_workspace_alone():
    """The session of get_conn sends the token to the workspace, and to no other host or port."""
    with ScriptedServer(GOOD) as server, ScriptedServer(GOOD) as other:
        client = LivyClient(to_server(server.url))
        with client.session:
            client.session.get(server.url)
            client.session.get(other.url)
    assert server.tokens == ["ready-made-token"]
    assert other.tokens == []


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("https://ws.dev.azuresynapse.net/a", True),
        ("https://ws.dev.azuresynapse.net:443/a", True),
        ("https://WS.dev.azuresynapse.net/a", True),
        ("http://ws.dev.azuresynapse.net/a", False),
        ("http://ws.dev.azuresynapse.net:443/a", False),
        ("https://ws.dev.azuresynapse.net:8443/a", False),
        ("https://other.dev.azuresynapse.net/a", False),
        ("https://ws.dev.azuresynapse.net@evil.example/a", False),
        ("https://ws.dev.azuresynapse.net.evil.example/a", False),
    ],
)
def test_where_the_token_goes(url, sent):
    """The token goes to scheme, host and port of the endpoint, however they are written, and nowhere else."""
    livy_connection = connection(login=None, extra={"auth_type": "token", "spark_pool_name": "etl"})
    with LivyClient(livy_connection).session as session:
        prepared = session.prepare_request(requests.Request("GET", url))
    assert ("Authorization" in prepared.headers) is sent


def test_redirects_do_not_carry_the_token_to_another_host():
    """The token does not go to another host even if the caller follows redirects."""
    with ScriptedServer(GOOD) as other, ScriptedServer(http(307, location=other.url)) as server:
        client = LivyClient(to_server(server.url))
        with client.session:
            client.session.get(server.url)
    assert (server.tokens, other.tokens) == (["ready-made-token"], [])


def test_waits_of_a_loop_share_a_client():
    """All who use a connection on an event loop share one client, and the last to leave closes it."""

    async def scenario():
        livy_connection = to_server("http://127.0.0.1:9")
        async with shared_client(livy_connection) as one:
            async with shared_client(livy_connection) as two, shared_client(to_server("http://127.0.0.1:8")) as other:
                assert one is two
                assert one is not other
            assert other._session.closed
            assert not one._session.closed
        assert one._session.closed
        async with shared_client(livy_connection) as later:
            assert later is not one

    asyncio.run(scenario())


def test_shared_clients_are_opened_once():
    """Those who come while a client is being opened wait for that one."""

    async def use(livy_connection, together):
        async with shared_client(livy_connection) as client:
            await together.wait()
            return client

    async def scenario():
        together = asyncio.Barrier(20)
        livy_connection = to_server("http://127.0.0.1:9")
        return await asyncio.gather(*(use(livy_connection, together) for _ in range(20)))

    assert len(set(asyncio.run(scenario()))) == 1


def test_cancelled_waits_leave_nothing_open():
    """A wait that is cancelled, while it opens the client or later, leaves it like any other."""

    async def use(livy_connection, entered):
        async with shared_client(livy_connection):
            entered.set()
            await asyncio.sleep(60)

    async def scenario():
        livy_connection = to_server("http://127.0.0.1:9")
        entered = asyncio.Event()
        tasks = [asyncio.create_task(use(livy_connection, entered)) for _ in range(3)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        await entered.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert async_client._shared[asyncio.get_running_loop()] == {}

    asyncio.run(scenario())
    gc.collect()  # an aiohttp session that was left open would warn, and warnings are errors
