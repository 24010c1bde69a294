"""The table of faults: all of them through both transports, one of each kind through all modes of the sensor."""

from __future__ import annotations

import contextlib
import logging
import re
import socket
import sys
import time
import tracemalloc

import pytest

from airflow_provider_synapse_livy.exceptions import (
    SparkSessionTimeoutError,
    SynapseLivyConfigurationError,
    SynapseLivyResponseError,
    SynapseLivyUnavailableError,
)
from airflow_provider_synapse_livy.models import SparkSession
from tests.support import sample_sessions as samples
from tests.support.certificates import Authority
from tests.support.connections import airflow_connection, to_server
from tests.support.faults import (
    CERTIFICATES,
    GOOD,
    LASTING,
    LASTING_KINDS,
    ODD,
    PASSING,
    PASSING_KINDS,
    SLOW,
    SLOW_HEADERS,
)
from tests.support.scripted_server import ScriptedServer, http
from tests.support.sensor_runner import MODES, run
from tests.support.transports import Triggerer

QUEUED = http(200, samples.NOT_STARTED)
IDLE = SparkSession.from_dict(samples.IDLE).to_dict()


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_transports_survive_what_passes(transport, fault):
    """A request that failed for a reason that may pass is sent again, as often as it takes."""
    with ScriptedServer(fault, fault, GOOD) as server:
        assert transport.read(to_server(server.url)).record.state == "idle"
    assert len(server.requests) == 3


OF_EACH_KIND = {name: PASSING[name] for name in PASSING_KINDS if name in PASSING}


@pytest.mark.parametrize("fault", OF_EACH_KIND.values(), ids=OF_EACH_KIND)
def test_passing_faults_are_unavailable_errors(transport, fault):
    """If there is no time to send a request again, a fault that may pass is an error that says so."""
    with ScriptedServer(fault) as server, pytest.raises(SynapseLivyUnavailableError):
        transport.read(to_server(server.url), retry_timeout=0)


@pytest.mark.parametrize("fault", SLOW.values(), ids=SLOW)
def test_attempts_are_bounded(transport, fault):
    """However slowly a response comes, one attempt ends at its timeout, and the request is sent again."""
    with ScriptedServer(fault, GOOD) as server:
        assert transport.read(to_server(server.url, timeout=transport.short_timeout)).record.state == "idle"
    assert len(server.requests) == 2


@pytest.mark.parametrize("fault", SLOW_HEADERS.values(), ids=SLOW_HEADERS)
def test_attempts_of_the_triggerer_are_bounded_while_headers_come(fault):
    """Headers that never end do not hold up a triggerer, where one wait would hold up others."""
    with ScriptedServer(fault, GOOD) as server:
        state = Triggerer().read(to_server(server.url, timeout=Triggerer.short_timeout)).record.state
    assert (state, len(server.requests)) == ("idle", 2)


@pytest.fixture
def little_memory():
    """Check that a test takes little memory."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("fault", LASTING.values(), ids=LASTING)
def test_transports_give_up_what_lasts(transport, fault):
    """What would be the same the next time is an error at once that says what came, and takes little memory."""
    with ScriptedServer(fault.action, GOOD) as server, pytest.raises(fault.error, match=fault.message) as caught:
        transport.read(to_server(server.url))
    assert type(caught.value) is fault.error
    assert len(server.requests) == 1
    assert len(str(caught.value)) < 1000
    assert len(str(caught.value).partition("\n")[0]) < 120


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("response", ODD.values(), ids=ODD)
def test_transports_read_what_is_odd(transport, response):
    """What no API should send, but can be read, is read, and takes little memory."""
    with ScriptedServer(response) as server:
        assert transport.read(to_server(server.url)).record.state == "idle"


def test_modes_meet_each_type_of_error():
    """The faults that all modes meet have every type of error that the table has."""
    assert {LASTING[name].error for name in LASTING_KINDS} == {fault.error for fault in LASTING.values()}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", PASSING_KINDS)
def test_modes_survive_what_passes(mode, name, monkeypatch):
    """A wait goes on after what has passed, and ends as it would have without it."""
    timeout = 0.3 if name in SLOW else 30
    with ScriptedServer(QUEUED, (PASSING | SLOW)[name], GOOD) as server:
        monkeypatch.setenv("AIRFLOW_CONN_SYNAPSE_LIVY_DEFAULT", airflow_connection(server.url, timeout=timeout))
        outcome = run(mode, target_states={"idle"})
    assert (outcome.state, outcome.returned) == ("success", IDLE)
    assert len(server.requests) == 3


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", LASTING_KINDS)
def test_modes_give_up_what_lasts(mode, name, monkeypatch):
    """A wait ends with the error, in the words of the transports."""
    fault = LASTING[name]
    with ScriptedServer(QUEUED, fault.action, GOOD) as server:
        monkeypatch.setenv("AIRFLOW_CONN_SYNAPSE_LIVY_DEFAULT", airflow_connection(server.url))
        outcome = run(mode, target_states={"idle"})
    assert (outcome.state, type(outcome.error)) == ("up_for_retry", fault.error)
    assert fault.message.search(str(outcome.error))
    assert len(server.requests) == (3 if name == "404" else 2)  # the id may be a batch job's


@contextlib.contextmanager
def when_retried(act):
    """Call a function whenever the package logs that it is going to send a request again."""
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: "retrying" in record.getMessage() and act()
    logger = logging.getLogger("airflow_provider_synapse_livy")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def test_transports_survive_a_refused_connection(transport):
    """After a refused connection, the request is sent again until the server is there."""
    refused = []
    with ScriptedServer(GOOD, closed=True) as server, when_retried(lambda: refused.append(server.listen())):
        assert transport.read(to_server(server.url)).record.state == "idle"
    assert refused


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


def test_transports_survive_a_name_server_that_fails(transport, monkeypatch):
    """If a name can't be resolved, another attempt is made, and another."""
    monkeypatch.setattr(socket, "getaddrinfo", names := Names(2))
    with ScriptedServer(GOOD) as server:
        assert transport.read(to_server(server.url.replace("127.0.0.1", "localhost"))).record.state == "idle"
    assert names.failures == 0


# Where the triggerer polls twice, the second poll needs no name server: aiohttp keeps names for ten seconds.
@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "start_from_trigger"])
def test_modes_survive_a_name_server_that_fails(mode, monkeypatch):
    """A wait goes on after a name that could not be resolved."""

    def break_names(connection):
        connection.sendall(QUEUED)
        names.failures = 1

    monkeypatch.setattr(socket, "getaddrinfo", names := Names(0))
    with ScriptedServer(break_names, GOOD) as server:
        url = server.url.replace("127.0.0.1", "localhost")
        monkeypatch.setenv("AIRFLOW_CONN_SYNAPSE_LIVY_DEFAULT", airflow_connection(url))
        assert run(mode, target_states={"idle"}).state == "success"
    assert names.failures == 0


@pytest.fixture
def authority(tmp_path):
    """Return a certificate authority that the connection trusts."""
    return Authority(tmp_path)


@pytest.mark.parametrize(("changes", "words"), CERTIFICATES.values(), ids=CERTIFICATES)
def test_transports_give_up_bad_certificates(transport, authority, changes, words):
    """A certificate that is wrong is an error at once, which says what is wrong with it; nothing is sent."""
    with ScriptedServer(GOOD, tls=authority.context(**changes)) as server, when_retried(pytest.fail):
        with pytest.raises(SynapseLivyConfigurationError, match=words):
            transport.read(to_server(server.url, verify=str(authority.ca_file)))
        assert server.requests == []
        server.tls = authority.context()
        assert transport.read(to_server(server.url, verify=str(authority.ca_file))).record.state == "idle"


@pytest.mark.skipif(sys.version_info < (3, 13), reason="Python minds these rules from 3.13 on")
def test_transports_give_up_certificates_against_rules(transport, authority):
    """A trusted certificate that a newer Python refuses is an error that says which rule it breaks."""
    words = r"of the server breaks a rule of RFC 5280\.\nFix: .*anew.*\nOpenSSL says: .*Key Identifier"
    with (
        ScriptedServer(GOOD, tls=authority.context(bare=True)) as server,
        when_retried(pytest.fail),
        pytest.raises(SynapseLivyConfigurationError, match=words),
    ):
        transport.read(to_server(server.url, verify=str(authority.ca_file)))


@pytest.mark.parametrize("mode", MODES)
def test_modes_give_up_bad_certificates(mode, authority, monkeypatch):
    """If the server's certificate goes bad in mid-wait, the wait ends with the same words."""
    changes, words = CERTIFICATES["expired"]

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
    """No redirect is followed: another host gets no request, least of all the token."""
    with (
        ScriptedServer(GOOD) as other,
        ScriptedServer(http(status, location=other.url)) as server,
        pytest.raises(SynapseLivyResponseError, match=rf"(?s)answered {status}\..*redirects to {other.url}, "),
    ):
        transport.read(to_server(server.url))
    assert (len(server.requests), other.requests) == (1, [])


def test_connections_are_used_again(transport):
    """A response that was read to its end leaves its connection to the next request."""
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
    """Return a function that makes an action during which this machine's clock is set, by so many seconds."""
    now = time.time

    def make(seconds):
        def answer(connection):
            monkeypatch.setattr(time, "time", lambda: now() + seconds)
            connection.sendall(QUEUED)

        return answer

    return make


#: A rescheduled task is another process each time, which knows nothing but the time of day.
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
    """A clock that is set does not delay the timeout: a wait of seconds never polls as often as one of a minute."""
    polls_of_a_minute = [QUEUED] * 6000  # at the most: one in each poke_interval
    script = [QUEUED, setting_the_clock(seconds), *polls_of_a_minute, http(404)]
    with ScriptedServer(*script) as server:
        monkeypatch.setenv("AIRFLOW_CONN_SYNAPSE_LIVY_DEFAULT", airflow_connection(server.url))
        outcome = run(mode, target_states={"idle"}, timeout=2)
    assert type(outcome.error) is SparkSessionTimeoutError
    assert len(server.requests) > 2
