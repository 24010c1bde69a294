"""The table of faults, through both transports and all modes of the sensor."""

from __future__ import annotations

import re
import socket
import time
import tracemalloc

import pytest

from airflow_provider_synapse_livy.exceptions import (
    SparkSessionTimeoutError,
    SynapseLivyConfigurationError,
    SynapseLivyResponseError,
)
from airflow_provider_synapse_livy.models import SparkSession
from tests.support import sample_sessions as samples
from tests.support.certificates import Authority
from tests.support.connections import airflow_connection, to_server
from tests.support.faults import CERTIFICATES, GOOD, LASTING, PASSING, SLOW
from tests.support.scripted_server import ScriptedServer, http
from tests.support.sensor_runner import MODES, run

QUEUED = http(200, samples.NOT_STARTED)
IDLE = SparkSession.from_dict(samples.IDLE).to_dict()


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_transports_survive_what_passes(transport, fault):
    """What may pass is tried again, with growing pauses in between, until it has passed."""
    with ScriptedServer(fault, fault, GOOD) as server:
        assert transport.read(to_server(server.url)).record.state == "idle"
    assert len(server.requests) == 3
    assert 1 <= len(transport.pauses) <= 2  # aiohttp repeats a request on its own, after a lost connection
    assert max(transport.pauses) < 2


@pytest.mark.parametrize("fault", SLOW.values(), ids=SLOW)
def test_transports_do_not_wait_for_ever(transport, fault):
    """However an answer is drawn out, an attempt takes no longer than the timeout for it, and is tried again."""
    with ScriptedServer(fault, GOOD) as server:
        began = time.monotonic()
        assert transport.read(to_server(server.url, timeout=0.3)).record.state == "idle"
        assert time.monotonic() - began < 10
    assert transport.pauses


@pytest.mark.parametrize("fault", LASTING.values(), ids=LASTING)
def test_transports_give_up_what_lasts(transport, fault):
    """What will be the same the next time is an error at once, in words that say what came, and no memory is lost."""
    tracemalloc.start()
    try:
        with ScriptedServer(fault.action, GOOD) as server, pytest.raises(fault.error, match=fault.words) as caught:
            transport.read(to_server(server.url))
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()
    assert len(server.requests) == 1
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fault", (PASSING | SLOW).values(), ids=PASSING | SLOW)
def test_modes_survive_what_passes(mode, fault, monkeypatch):
    """A wait goes on after what has passed, and ends as it would have without it."""
    timeout = 0.3 if fault in SLOW.values() else 30
    with ScriptedServer(QUEUED, fault, GOOD) as server:
        monkeypatch.setenv("AIRFLOW_CONN_SYNAPSE_LIVY_DEFAULT", airflow_connection(server.url, timeout=timeout))
        outcome = run(mode, target_states={"idle"})
    assert (outcome.state, outcome.returned) == ("success", IDLE)
    assert len(server.requests) == 3


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fault", LASTING.values(), ids=LASTING)
def test_modes_give_up_what_lasts(mode, fault, monkeypatch):
    """A wait ends with the error, in the words of the transports."""
    with ScriptedServer(QUEUED, fault.action, GOOD) as server:
        monkeypatch.setenv("AIRFLOW_CONN_SYNAPSE_LIVY_DEFAULT", airflow_connection(server.url))
        outcome = run(mode, target_states={"idle"})
    assert (outcome.state, type(outcome.error)) == ("up_for_retry", fault.error)
    assert re.search(fault.words, str(outcome.error))
    assert len(server.requests) == 2


def test_transports_survive_a_refused_connection(transport):
    """A server that is not there yet is waited for."""
    with ScriptedServer(GOOD, closed=True) as server:
        transport.while_pausing = server.listen
        assert transport.read(to_server(server.url)).record.state == "idle"
    assert transport.pauses


class Names:
    """Fails to resolve names, for some times."""

    def __init__(self, failures):
        self.failures = failures
        self._resolve = socket.getaddrinfo

    def __call__(self, host, *args, **kwargs):
        """Resolve a name."""
        if host == "localhost" and self.failures:
            self.failures -= 1
            raise socket.gaierror(-3, "Temporary failure in name resolution")
        return self._resolve(host, *args, **kwargs)


def test_transports_survive_a_name_server_in_trouble(transport, monkeypatch):
    """A name that can't be resolved is asked for again."""
    monkeypatch.setattr(socket, "getaddrinfo", Names(2))
    with ScriptedServer(GOOD) as server:
        assert transport.read(to_server(server.url.replace("127.0.0.1", "localhost"))).record.state == "idle"
    assert len(transport.pauses) == 2


# Where the triggerer looks twice, the second look needs no name server: aiohttp remembers names for ten seconds.
@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "start_from_trigger"])
def test_modes_survive_a_name_server_in_trouble(mode, monkeypatch):
    """So it is in a wait."""

    def break_names(connection):
        connection.sendall(QUEUED)
        names.failures = 2

    monkeypatch.setattr(socket, "getaddrinfo", names := Names(0))
    with ScriptedServer(break_names, GOOD) as server:
        url = server.url.replace("127.0.0.1", "localhost")
        monkeypatch.setenv("AIRFLOW_CONN_SYNAPSE_LIVY_DEFAULT", airflow_connection(url))
        assert run(mode, target_states={"idle"}).state == "success"
    assert names.failures == 0


@pytest.fixture
def authority(tmp_path):
    """Give an authority that the connection trusts."""
    return Authority(tmp_path)


@pytest.mark.parametrize(("changes", "words"), CERTIFICATES.values(), ids=CERTIFICATES)
def test_transports_give_up_bad_certificates(transport, authority, changes, words):
    """A certificate that is not good is an error at once, which says what is wrong with it; nothing is sent."""
    with ScriptedServer(GOOD, tls=authority.context(**changes)) as server:
        with pytest.raises(SynapseLivyConfigurationError, match=words):
            transport.read(to_server(server.url, verify=str(authority.ca_file)))
        assert (server.requests, transport.pauses) == ([], [])
        server.tls = authority.context()
        assert transport.read(to_server(server.url, verify=str(authority.ca_file))).record.state == "idle"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("changes", "words"), CERTIFICATES.values(), ids=CERTIFICATES)
def test_modes_give_up_bad_certificates(mode, authority, changes, words, monkeypatch):
    """If the server's certificate goes bad in mid-wait, the wait ends with the same words."""

    def go_bad(connection):
        connection.sendall(QUEUED)
        server.tls = authority.context(**changes)

    with ScriptedServer(go_bad, GOOD, tls=authority.context()) as server:
        connection = airflow_connection(server.url, verify=str(authority.ca_file))
        monkeypatch.setenv("AIRFLOW_CONN_SYNAPSE_LIVY_DEFAULT", connection)
        outcome = run(mode, target_states={"idle"})
    assert (outcome.state, type(outcome.error)) == ("up_for_retry", SynapseLivyConfigurationError)
    assert re.search(words, str(outcome.error))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(transport, status):
    """No redirect is followed: another host hears nothing, the token least of all."""
    with (
        ScriptedServer(GOOD) as other,
        ScriptedServer(http(status, location=other.url)) as server,
        pytest.raises(SynapseLivyResponseError, match=f"answered {status} .a redirect, .* to {other.url}"),
    ):
        transport.read(to_server(server.url))
    assert (len(server.requests), other.requests) == (1, [])


def test_connections_are_used_again(transport):
    """An answer that was read to its end leaves its connection to the next request."""
    came = []

    def answer_twice(connection):
        connection.sendall(http(503, b"later").replace(b"Connection: close\r\n", b""))
        came.append(connection.recv(65536))
        connection.sendall(GOOD)

    with ScriptedServer(answer_twice) as server:
        assert transport.read(to_server(server.url)).record.state == "idle"
    assert came[0].startswith(b"GET ")
    assert len(server.requests) == 1  # of those that opened a connection


DAY = 24 * 3600


@pytest.fixture
def setting_the_clock(monkeypatch):
    """Give a function that makes an answer during which this machine's clock is set, by so many seconds."""
    now = time.time

    def make(seconds):
        def answer(connection):
            monkeypatch.setattr(time, "time", lambda: now() + seconds)
            connection.sendall(QUEUED)

        return answer

    return make


#: A rescheduled task is another process each time, which has nothing but the time of the day.
IN_ONE_PROCESS = [mode for mode in MODES if mode != "reschedule"]


@pytest.mark.parametrize("mode", IN_ONE_PROCESS)
@pytest.mark.parametrize("seconds", [DAY, -DAY])
def test_waits_survive_a_clock_that_is_set(mode, seconds, setting_the_clock, monkeypatch):
    """A clock that is set forward or back in mid-wait does not end the wait."""
    with ScriptedServer(QUEUED, QUEUED, setting_the_clock(seconds), GOOD) as server:
        monkeypatch.setenv("AIRFLOW_CONN_SYNAPSE_LIVY_DEFAULT", airflow_connection(server.url))
        outcome = run(mode, target_states={"idle"})
    assert (outcome.state, len(server.requests)) == ("success", 4)


@pytest.mark.parametrize("mode", IN_ONE_PROCESS)
@pytest.mark.parametrize("seconds", [DAY, -DAY])
def test_timeouts_survive_a_clock_that_is_set(mode, seconds, setting_the_clock, monkeypatch):
    """Nor does it draw the wait out."""
    with ScriptedServer(QUEUED, QUEUED, setting_the_clock(seconds), QUEUED) as server:
        monkeypatch.setenv("AIRFLOW_CONN_SYNAPSE_LIVY_DEFAULT", airflow_connection(server.url))
        began = time.monotonic()
        outcome = run(mode, target_states={"idle"}, timeout=1)
    assert type(outcome.error) is SparkSessionTimeoutError
    assert 1 <= time.monotonic() - began < 10
