"""Small inputs that users of neighbouring packages met on the way to the service: connections, headers, bytes."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import socket
import struct
from dataclasses import dataclass, field
from typing import Self

import pytest

from airflow_provider_synapse_livy.exceptions import (
    SynapseLivyResponseError,
    SynapseLivyUnavailableError,
)
from airflow_provider_synapse_livy.hooks.connection_check import ConnectionCheck
from airflow_provider_synapse_livy.hooks.synapse_livy import SynapseLivyHook
from airflow_provider_synapse_livy.livy.requests import LivyRequest
from airflow_provider_synapse_livy.transport.async_client import AsyncLivyClient
from airflow_provider_synapse_livy.transport.sync_client import LivyClient
from tests.support import sample_sessions as samples
from tests.support.connections import to_server
from tests.support.scripted_server import ScriptedServer

BODY = samples.as_json(samples.IDLE)


def respond(*headers, status=b"HTTP/1.1 200 OK", has_length=True, end=b"Connection: close", body=BODY):
    """Return a response as it goes over the wire."""
    length = [b"Content-Length: %d" % len(body)] if has_length else []
    return b"\r\n".join([status, *headers, *length, end]) + b"\r\n\r\n" + body


SIZE = b"%x" % len(BODY)


def chunked(size=SIZE, trailers=b""):
    """Return a response in one chunk."""
    body = size + b"\r\n" + BODY + b"\r\n0\r\n" + trailers + b"\r\n"
    return respond(b"Transfer-Encoding: chunked", has_length=False, body=body)


def many_headers(number):
    """Return that many headers, less the two that each response has."""
    return [b"X-%d: a" % index for index in range(number - 2)]


@pytest.mark.parametrize(
    "response",
    [
        pytest.param(respond(), id="as usual"),
        pytest.param(respond(b"X-Proxy: " + b"x" * 9_000), id="header of 9 kB"),
        pytest.param(respond(b"X-Proxy: " + b"x" * 60_000), id="header of 60 kB"),
        pytest.param(respond(b"X" * 9_000 + b": a"), id="name of a header of 9 kB"),
        pytest.param(respond(status=b"HTTP/1.1 200 " + b"x" * 9_000), id="reason phrase of 9 kB"),
        pytest.param(respond(b"Server: a", b"Server: b"), id="two Server headers"),
        pytest.param(respond(*many_headers(99)), id="99 headers"),
        pytest.param(respond(b"X-A: a\r\n b"), id="folded header"),
        pytest.param(respond(b"X-A:"), id="empty header"),
        pytest.param(respond(b"X-A: \xfc"), id="header in Latin-1"),
        pytest.param(respond(status=b"HTTP/1.1 200"), id="no reason phrase"),
        pytest.param(respond(status=b"HTTP/1.1 200 "), id="empty reason phrase"),
        pytest.param(respond(status=b"HTTP/1.0 200 OK"), id="HTTP/1.0"),
        pytest.param(respond(status=b"HTTP/1.0 200 OK", has_length=False), id="HTTP/1.0, no length"),
        pytest.param(respond().replace(b"\r\n", b"\n"), id="lines that end without CR"),
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n" + respond(), id="100 before it"),
        pytest.param(chunked(), id="chunked"),
        pytest.param(chunked(trailers=b"X-T: a\r\n"), id="chunked, with a trailer"),
        pytest.param(chunked(SIZE + b";a=b"), id="chunked, with an extension"),
        pytest.param(respond(body=b"\xef\xbb\xbf" + BODY), id="byte order mark"),
        pytest.param(respond(b"Set-Cookie: \x01;;;==a"), id="odd cookie"),
        pytest.param(respond(b"Content-Type: ;;;"), id="odd Content-Type"),
    ],
)
def test_accepted_responses(transport, response):
    """Field cases 3, 7, 8: what is odd but clear is read by both transports."""
    with ScriptedServer(response) as server:
        assert transport.read(to_server(server.url), retry_timeout=0).record.state == "idle"


@pytest.mark.parametrize(
    "response",
    [
        pytest.param(respond(b"X-Proxy: " + b"x" * 70_000), id="header of 70 kB"),
        pytest.param(respond(status=b"HTTP/1.1 200 " + b"x" * 70_000), id="reason phrase of 70 kB"),
        pytest.param(respond(b"Content-Length: %d" % len(BODY)), id="twice the same Content-Length"),
        pytest.param(respond(b"Content-Length: abc", has_length=False), id="Content-Length in words"),
        pytest.param(respond(b"Content-Length: -1", has_length=False), id="negative Content-Length"),
        pytest.param(respond(b"Content-Length: +%d" % len(BODY), has_length=False), id="Content-Length with a plus"),
        pytest.param(respond(b"Content-Length: ", has_length=False), id="empty Content-Length"),
        pytest.param(chunked().replace(b"Connection", b"Content-Length: 9\r\nConnection"), id="chunked, and a length"),
        pytest.param(respond(b"X-A: a\0b"), id="NUL in a header"),
        pytest.param(respond(b"X-A: a\rb"), id="CR in a header"),
        pytest.param(respond(b"novelty"), id="header without a colon"),
        pytest.param(respond(b": a"), id="header without a name"),
        pytest.param(respond(b"X A: b"), id="space in the name of a header"),
        pytest.param(respond(b"X-A : b"), id="space after the name of a header"),
        pytest.param(respond(*many_headers(100)), id="100 headers"),
        pytest.param(respond(*many_headers(120)), id="120 headers"),
        pytest.param(respond(*many_headers(150)), id="150 headers"),
        pytest.param(respond(status=b"http/1.1 200 OK"), id="http in lower case"),
        pytest.param(respond(status=b"HTTP/2 200 OK"), id="HTTP/2"),
        pytest.param(respond(status=b"HTTP/2.0 200 OK"), id="HTTP/2.0"),
        pytest.param(respond(status=b"HTTP/1.1 2000 OK"), id="status of four digits"),
        pytest.param(respond(status=b"HTTP/1.1 abc OK"), id="status in words"),
        pytest.param(BODY, id="no status line"),
        pytest.param(chunked(b"zzz"), id="size of a chunk in words"),
        pytest.param(chunked(b"5"), id="size of a chunk too small"),
    ],
)
def test_malformed_responses(transport, response):
    """Field case 7: what is malformed is refused by both transports, and the words say so."""
    with ScriptedServer(response) as server:
        words = "12 in pool etl: the response of the server could not be parsed"
        with pytest.raises(SynapseLivyUnavailableError, match=words) as caught:
            transport.read(to_server(server.url), retry_timeout=0)
    assert caught.value.may_have_been_processed
    assert "\nThe parser says: " in str(caught.value)


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_two_lengths(transport):
    """Field case 7: a response with two lengths is malformed to both transports; urllib3 leaves its socket open."""
    with ScriptedServer(respond(b"Content-Length: 5")) as server:
        try:
            transport.read(to_server(server.url), retry_timeout=0)
        except SynapseLivyUnavailableError as error:
            words = str(error)
    assert "the response of the server could not be parsed" in words
    assert f"The server is {server.url}." in words
    gc.collect()


def test_first_of_several_headers_counts(transport):
    """Field case 7: of several headers of a name both transports take the first, as of the two Server headers."""
    twice = respond(b"x-ms-activity-id: one", b"x-ms-activity-id: two")
    with ScriptedServer(twice) as server:
        assert transport.read(to_server(server.url), retry_timeout=0).activity_id == "one"


#: How a server, or a load balancer before it, cuts a connection.
CUTS = {
    "reset": struct.pack("ii", 1, 0),
    "close": struct.pack("ii", 0, 0),
}


@dataclass
class CuttingServer:
    """
    Answers the first request on each connection, keeps it open, and cuts it when it is used again.

    :param cut: how.
    :param together: how many first requests to wait for before they are answered, so that as many connections are open.
    :param keeps: whether connections are cut at their second request alone; otherwise none is answered.
    """

    cut: str
    together: int = 1
    keeps: bool = True
    requests: list[str] = field(default_factory=list)
    connections: int = 0

    async def __aenter__(self) -> Self:
        self._barrier = asyncio.Barrier(self.together)
        self._open: dict[asyncio.Task[None] | None, asyncio.WriteTransport] = {}
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for transport in self._open.values():
            transport.abort()
        await asyncio.gather(*self._open)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open[asyncio.current_task()] = writer.transport
        is_first = self.keeps
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.requests.append(head.decode().split(" ", 1)[0])
                if not is_first:
                    break
                is_first = False
                if self.connections <= self.together:
                    await self._barrier.wait()
                writer.write(respond(end=b"X-Kept: open"))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        with contextlib.suppress(OSError):  # where it is closed already
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, CUTS[self.cut])
        writer.transport.abort()


class Worker:
    """A worker's client, whose pauses fail the test."""

    def __init__(self, connection):
        self.client = LivyClient(connection, sleep=lambda _: pytest.fail("there was a pause"))

    async def send(self, request):
        """Send a request."""
        return await asyncio.to_thread(self.client.send, request)

    async def close(self):
        """Close the connections."""
        self.client.session.close()


class Triggerer:
    """A triggerer's client."""

    def __init__(self, connection):
        self.connection = connection
        self.client = None

    async def send(self, request):
        """Send a request."""
        self.client = self.client or await AsyncLivyClient.open(self.connection)
        return await self.client.send(request)

    async def close(self):
        """Close the connections."""
        await self.client.close()


def request_to(server, method="GET", is_idempotent=True):
    """Return a request whose result is the status of its response."""
    return LivyRequest(
        method, f"{server.url}/", "The thing", lambda response: response.status, is_idempotent=is_idempotent
    )


def run(scenario):
    """Run a coroutine, for no longer than half a minute."""

    async def bounded():
        async with asyncio.timeout(30):
            await scenario

    asyncio.run(bounded())


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("client_class", [Worker, Triggerer])
def test_connection_that_was_cut_while_idle(client_class, method, cut):
    """Field case 4: a request that may be sent twice is sent again at once if its connection is stale."""

    async def scenario():
        async with CuttingServer(cut) as server:
            client = client_class(to_server(server.url))
            for _ in range(3):
                assert await client.send(request_to(server, method)) == 200
            await client.close()
        assert server.requests == [method] * 5
        assert server.connections == 3

    run(scenario())


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("client_class", [Worker, Triggerer])
def test_request_that_may_not_be_sent_twice(client_class, cut):
    """Field case 4: a request that may not be sent twice is not, as it may have been processed."""

    async def scenario():
        async with CuttingServer(cut) as server:
            client = client_class(to_server(server.url))
            request = request_to(server, "POST", is_idempotent=False)
            assert await client.send(request) == 200
            with pytest.raises(SynapseLivyUnavailableError, match="broke the connection off") as caught:
                await client.send(request)
            await client.close()
        assert caught.value.may_have_been_processed
        assert server.requests == ["POST", "POST"]

    run(scenario())


def test_several_connections_that_were_cut_while_idle():
    """Field case 4: if all connections of a triggerer are stale, the request goes on to a new one all the same."""

    async def scenario():
        async with CuttingServer("reset", together=3) as server:
            client = await AsyncLivyClient.open(to_server(server.url))
            request = request_to(server)
            assert await asyncio.gather(*(client.send(request) for _ in range(3))) == [200] * 3
            assert await client.send(request) == 200
            await client.close()
        assert server.connections == 4
        assert len(server.requests) == 7

    run(scenario())


@pytest.mark.parametrize("cut", CUTS)
def test_new_connection_that_is_cut(cut):
    """Field case 4: a worker's new connection that is cut is a failed try: the server has learnt of the request."""

    async def scenario():
        async with CuttingServer(cut, keeps=False) as server:
            client = Worker(to_server(server.url))
            with pytest.raises(SynapseLivyUnavailableError, match="broke the connection off"):
                await client.send(request_to(server))
            await client.close()
        assert server.requests == ["GET"]

    run(scenario())


def test_stale_connection_and_then_a_broken_one():
    """Field case 4: the request is sent again once; if the new connection breaks as well, that is a failed try."""

    async def scenario():
        async with CuttingServer("reset") as server:
            client = Worker(to_server(server.url))
            assert await client.send(request_to(server)) == 200
            server.keeps = False
            with pytest.raises(SynapseLivyUnavailableError, match="broke the connection off"):
                await client.send(request_to(server))
            await client.close()
        assert server.requests == ["GET"] * 3

    run(scenario())


def test_batch_job_in_words(transport):
    """Field case 29: a batch job in place of a session is told by both transports, with what reads batch jobs."""
    with (
        ScriptedServer(respond(body=samples.as_json(samples.session(jobType="SparkBatch")))) as server,
        pytest.raises(SynapseLivyResponseError, match="(?s)Spark batch job, not a Spark session.*Fix: .*BatchSensor"),
    ):
        transport.read(to_server(server.url), retry_timeout=0)


@pytest.mark.parametrize(
    "changes",
    [{"tags": []}, {"artifactId": 5}, {"livyInfo": {"jobCreationRequest": {"driverCores": 0.5, "numExecutors": "2"}}}],
    ids=str,
)
def test_field_of_another_type(transport, changes):
    """Field case 16: a field of another type that nothing depends on ends no wait, on neither transport."""
    body = samples.session(**changes)
    with ScriptedServer(respond(body=samples.as_json(body))) as server:
        written = transport.read(to_server(server.url), retry_timeout=0).record.to_dict()
    for name, value in changes.items():
        if name != "livyInfo":
            assert written[name] == value
        else:
            asked = written[name]["jobCreationRequest"]
            assert (asked["driverCores"], asked["numExecutors"]) == (0.5, "2")


SECRET = "s3cr3t-value"


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"extra": f'["{SECRET}"]'}, id="extra is a list"),
        pytest.param({"extra": f'"{SECRET}"'}, id="extra is a text"),
        pytest.param({"extra": "5"}, id="extra is a number"),
        pytest.param({"extra": f'{{"x": "{SECRET}"'}, id="extra is half an object"),
        pytest.param({"extra": "[" * 100_000}, id="extra is nested without end"),
        pytest.param({"extra": [SECRET]}, id="extra is a real list"),
        pytest.param({"extra": {"auth_type": ["token"]}}, id="auth_type is a list"),
        pytest.param({"extra": {"auth_type": {"x": 1}}}, id="auth_type is an object"),
        pytest.param({"extra": {"auth_type": "token", "spark_pool_name": ["etl"]}}, id="pool is a list"),
        pytest.param({"extra": {"auth_type": "token", "proxies": [SECRET]}}, id="proxies is a list"),
        pytest.param({"extra": {"auth_type": "token", "verify": "\0"}}, id="verify is a NUL"),
        pytest.param({"extra": {"auth_type": "token", "timeout": {}}}, id="timeout is an object"),
        pytest.param({"extra": {"auth_type": "client_secret", "scopes": 5, "authority": []}}, id="authority is a list"),
        pytest.param({"host": ["x"], "password": SECRET}, id="host is a list"),
        pytest.param({"host": "https://[", "password": SECRET}, id="host is half an address"),
        pytest.param({"login": 5, "password": [SECRET]}, id="password is a list"),
        pytest.param({"port": "x", "password": SECRET}, id="port is a text"),
        pytest.param({"port": -1, "password": SECRET}, id="port is negative"),
        pytest.param([SECRET], id="the connection is a list"),
        pytest.param(None, id="the connection is null"),
    ],
)
def test_test_connection_never_raises(connect, fields):
    """Field case 11: whatever a connection holds, the Test button gets words, and no secret in them."""
    if isinstance(fields, dict):
        fields = {"conn_type": "synapse_livy", "host": "http://127.0.0.1:9", "password": "x-token"} | fields
    connect(json.dumps(fields))
    works, words = SynapseLivyHook().test_connection()
    assert not works
    assert words
    assert SECRET not in words


@pytest.mark.parametrize("error", [ValueError, AttributeError, RecursionError, KeyError, OSError, AssertionError])
def test_error_of_airflow_itself(error):
    """Field case 11: an error of another package becomes words with its class and place, not its message."""

    def read():
        raise RuntimeError(f"no connection with {SECRET}") from error(f"the extra is ['{SECRET}']")

    works, words = ConnectionCheck(read).run()
    assert not works
    first, fix, where = words.split("\n")
    assert first == f"Settings: the check broke off with RuntimeError from {error.__name__}."
    assert fix.startswith("Fix: correct the connection, above all extra")
    assert where.startswith("It was raised in test_field_cases_transport.py, line ")
    assert SECRET not in words
    assert max(map(len, words.split("\n"))) < 120
