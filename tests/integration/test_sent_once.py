"""A request that may have been processed is never sent twice, unless it says that it may be; whatever goes wrong."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses

import pytest

from airflow_provider_synapse_livy.exceptions import SynapseLivyError
from airflow_provider_synapse_livy.livy.resources import SPARK_SESSION
from airflow_provider_synapse_livy.transport.async_client import AsyncLivyClient
from airflow_provider_synapse_livy.transport.sync_client import LivyClient
from tests.support import sample_sessions as samples
from tests.support.connections import to_server
from tests.support.faults import GOOD, LASTING, PASSING, SLOW, SLOW_HEADERS
from tests.support.scripted_server import ScriptedServer, http

BODY = b'{"name": "new"}'


class PostServer(ScriptedServer):
    """A scripted server whose requests have a body."""

    def _answer(self, connection):
        if request := read_request(connection):
            self.requests.append(request)
            action = self.script.pop(0) if len(self.script) > 1 else self.script[0]
            if callable(action):
                action(connection)
            else:
                connection.sendall(action)


def read_request(connection):
    """Return a request with its body, empty if the other side is gone."""
    data = b""
    while b"\r\n\r\n" not in data or (data.startswith(b"POST") and not data.endswith(BODY)):
        piece = connection.recv(65536)
        if not piece:
            return ""
        data += piece
    return data.decode()


def new_session(url, *, method="POST", body=BODY, is_idempotent=False):
    """Return a request that would begin a session each time it is sent."""
    get = SPARK_SESSION.get(to_server(url).pool("etl"), 12)
    return dataclasses.replace(get, method=method, body=body, is_idempotent=is_idempotent)


def send_sync(livy_connection, *requests, sleep=lambda _: None):
    """Send requests as a task does, one after the other, with retries whose pauses take no time."""
    client = LivyClient(livy_connection, sleep=sleep)
    with client.session:
        for request in requests:
            result = client.send(request, retry_timeout=60)
        return result


def send_async(livy_connection, *requests):
    """Send requests as a triggerer does, one after the other, each a single attempt."""

    async def send():
        client = await AsyncLivyClient.open(livy_connection)
        try:
            for request in requests:
                result = await client.send(request)
            return result
        finally:
            await client.close()

    return asyncio.run(send())


FAULTS = PASSING | SLOW | {name: fault.action for name, fault in LASTING.items()}

#: What says that the service has not done what it was asked for.
REFUSED = {name for name in PASSING if name.startswith(("429", "430"))}


def timeout_for(name):
    """Return the seconds that a request may take: few where it never ends, many where a busy machine may need them."""
    return 0.6 if name in SLOW | SLOW_HEADERS else 10


@pytest.mark.parametrize("name", FAULTS)
def test_task_sends_once_what_may_have_been_processed(name):
    """Of all that may go wrong, only what says that nothing was done has a task send a request a second time."""
    with PostServer(FAULTS[name], GOOD) as server:
        request = new_session(server.url)
        with contextlib.suppress(SynapseLivyError):
            send_sync(to_server(server.url, timeout=timeout_for(name)), request)
    assert len(server.requests) == (2 if name in REFUSED else 1)
    assert all(sent.endswith(BODY.decode()) for sent in server.requests)


@pytest.mark.parametrize("name", FAULTS | SLOW_HEADERS)
def test_triggerer_sends_once_what_may_have_been_processed(name):
    """The triggerer's client sends a request once, and its error says whether it may be sent again."""
    with PostServer((FAULTS | SLOW_HEADERS)[name], GOOD) as server:
        request = new_session(server.url)
        with pytest.raises(SynapseLivyError) as caught:
            send_async(to_server(server.url, timeout=timeout_for(name)), request)
    assert len(server.requests) == 1
    assert request.may_be_sent_again(caught.value) == (name in REFUSED)


@pytest.mark.parametrize("name", sorted(PASSING.keys() - REFUSED))
def test_task_sends_again_what_may_be_sent_twice(name):
    """The same faults do have a request sent again that says that it may be."""
    with PostServer(PASSING[name], GOOD) as server:
        assert send_sync(to_server(server.url), new_session(server.url, is_idempotent=True)).record.state == "idle"
    assert len(server.requests) == 2


@pytest.mark.parametrize("send", [send_sync, send_async])
def test_refused_token_has_it_sent_again(send):
    """A 401 has the request sent again, with its body: it says that nothing was done."""
    with PostServer(http(401), GOOD) as server:
        assert send(to_server(server.url), new_session(server.url)).record.state == "idle"
    assert [request.endswith(BODY.decode()) for request in server.requests] == [True, True]


def test_refused_connection_has_it_sent_again():
    """A connection that was refused has the request sent again: it never left."""
    with PostServer(GOOD, closed=True) as server:
        pauses = []

        def listen_later(pause):
            pauses.append(pause)
            if len(pauses) == 2:
                server.listen()

        assert send_sync(to_server(server.url), new_session(server.url), sleep=listen_later).record.state == "idle"
    assert len(server.requests) == 1
    assert len(pauses) == 2


def test_refused_connection_may_be_sent_again_by_the_triggerer():
    """The error of a refused connection says that the request may be sent again."""
    with PostServer(GOOD) as server:
        pass
    request = new_session(server.url)
    with pytest.raises(SynapseLivyError) as caught:
        send_async(to_server(server.url), request)
    assert request.may_be_sent_again(caught.value)


@pytest.mark.parametrize("send", [send_sync, send_async])
def test_connection_that_is_used_again_and_breaks_off(send):
    """A request on a connection that was used before, and breaks off then, is not sent again by the HTTP library."""
    posts = []

    def respond_and_break_off(connection):
        connection.sendall(http(200, samples.IDLE, Connection="keep-alive"))
        if request := read_request(connection):
            posts.append(request)

    with PostServer(respond_and_break_off) as server:
        get = new_session(server.url, method="GET", body=None, is_idempotent=True)
        post = new_session(server.url)
        with pytest.raises(SynapseLivyError) as caught:
            send(to_server(server.url), get, post)
    assert len(posts) + sum(request.startswith("POST") for request in server.requests) == 1
    assert caught.value.may_have_been_processed
