"""Broken connections: what each means, and whether the request may have been processed."""

from __future__ import annotations

import errno
import http.client
import socket
import ssl

import aiohttp
import pytest
import requests
import urllib3
from aiohttp import http_exceptions

from airflow_provider_synapse_livy.connection.network import Network
from airflow_provider_synapse_livy.livy.errors import SynapseLivyConfigurationError, SynapseLivyUnavailableError
from airflow_provider_synapse_livy.transport.failures import connection_error, exception_chain

ENDPOINT = "https://ws.dev.azuresynapse.net"
SUBJECT = "Spark session 12 in pool etl"
PROXY = "http://user:s3cr3t-value@proxy.example:3128"


def wrapped(cause):
    """Return an error as an HTTP library raises it, with the true cause two steps down."""
    inner, outer = OSError("inner"), RuntimeError("outer")
    inner.__context__ = cause
    outer.__cause__ = inner
    return outer


def error_for(cause, *, proxies=()):
    """Return what a cause means to a request for a session."""
    network = Network("/ca.pem", 30.0, tuple(proxies))
    return connection_error(SUBJECT, f"{ENDPOINT}/livyApi", wrapped(cause), network)


def tls(cause_class, reason=None, **attributes):
    """Return an error of OpenSSL's, with the attributes that it would have."""
    cause = cause_class(1, f"[SSL: {reason}]")
    cause.reason = reason
    for name, value in attributes.items():
        setattr(cause, name, value)
    return cause


def aiohttp_connector(kind, cause):
    """Return an error of aiohttp's about a connection that never came about."""
    key = aiohttp.client_reqrep.ConnectionKey("ws", 443, True, True, None, None, None)
    error = kind(key, cause)
    error.__cause__ = cause
    return error


def untrusted(code, message="why"):
    """Return the error about a certificate with a fault, by OpenSSL's number."""
    return tls(ssl.SSLCertVerificationError, "CERTIFICATE_VERIFY_FAILED", verify_code=code, verify_message=message)


READ_TIMEOUT = urllib3.exceptions.ReadTimeoutError(None, "/", "Read timed out.")
NEW_CONNECTION = urllib3.exceptions.NewConnectionError(None, "failed")
HANDSHAKE = tls(ssl.SSLError, "SSLV3_ALERT_HANDSHAKE_FAILURE")

#: What passes: the cause, what the message says of it, whether the request may have been processed.
PASSING = [
    (socket.gaierror(-2, "x"), "the name of the server can't be", False),
    (aiohttp_connector(aiohttp.ClientConnectorDNSError, OSError(None, "x")), "the name of the server can't be", False),
    (urllib3.exceptions.NameResolutionError("ws", None, "x"), "the name of the server can't be", False),
    (ConnectionRefusedError("x"), "refused the connection", False),
    (aiohttp_connector(aiohttp.ClientConnectorError, ConnectionRefusedError()), "refused the connection", False),
    (OSError(errno.EHOSTUNREACH, "x"), "no route to the server", True),
    (OSError(errno.ENETUNREACH, "x"), "no route to the server", True),
    (requests.ConnectTimeout("x"), "did not answer in time", False),
    (urllib3.exceptions.ConnectTimeoutError("x"), "did not answer in time", False),
    (aiohttp.ConnectionTimeoutError("x"), "did not answer in time", False),
    (TimeoutError("_ssl.c:989: The handshake operation timed out"), "did not answer in time", False),
    (aiohttp.SocketTimeoutError("x"), "did not answer in time", True),
    (requests.ReadTimeout("x"), "did not answer in time", True),
    (READ_TIMEOUT, "did not answer in time", True),
    (TimeoutError("x"), "did not answer in time", True),
    (HANDSHAKE, "the TLS handshake with .* failed.*SSLV3_ALERT_HANDSHAKE_FAILURE", True),
    (tls(ssl.SSLError, "TLSV13_ALERT_CERTIFICATE_REQUIRED"), "the TLS handshake with .* failed", True),
    (aiohttp_connector(aiohttp.ClientConnectorSSLError, HANDSHAKE), "the TLS handshake with .* failed", False),
    (aiohttp_connector(aiohttp.ClientConnectorError, ConnectionResetError()), "broke the connection off", False),
    (NEW_CONNECTION, "broke the connection off", False),
    (ConnectionResetError("x"), "broke the connection off", True),
    (BrokenPipeError("x"), "broke the connection off", True),
    (tls(ssl.SSLEOFError, "UNEXPECTED_EOF_WHILE_READING"), "broke the connection off", True),
    (tls(ssl.SSLError, "DECRYPTION_FAILED_OR_BAD_RECORD_MAC"), "broke the connection off", True),
    (http.client.RemoteDisconnected("x"), "broke the connection off", True),
    (http.client.IncompleteRead(b"", 5), "broke the connection off", True),
    (ValueError("invalid literal for int() with base 16: b''"), "broke the connection off", True),
    (aiohttp.ServerDisconnectedError(), "broke the connection off", True),
    (aiohttp.ClientPayloadError("x"), "broke the connection off", True),
    (http_exceptions.ContentLengthError("Not enough data to satisfy content length header."), "broke the", True),
    (http_exceptions.TransferEncodingError("Not enough data to satisfy transfer length."), "broke the", True),
    (ValueError("x"), "broke the connection off", True),
    (http.client.LineTooLong("header line"), "the response of .* could not be parsed.*more than 65536 bytes", True),
    (http.client.BadStatusLine("SSH-2.0"), "the response of .* could not be parsed.*SSH-2.0", True),
    (http.client.HTTPException("got more than 100 headers"), "could not be parsed.*more than 100 headers", True),
    (ValueError("invalid literal for int() with base 16: b'zzz'"), "could not be parsed.*zzz", True),
    (urllib3.exceptions.InvalidHeader("Content-Length"), "could not be parsed", True),
    (http_exceptions.BadHttpMessage("Duplicate 'Server' header found."), "could not be parsed.*Duplicate", True),
    (http_exceptions.LineTooLong("x" * 9000, 8190), "could not be parsed.*The parser says: Got more than 8190", True),
    (http_exceptions.InvalidHeader("x"), "could not be parsed", True),
]


@pytest.mark.parametrize(("cause", "words", "may_have_been_processed"), PASSING, ids=lambda value: repr(value)[:60])
def test_broken_connections(cause, words, may_have_been_processed):
    """A broken connection may pass, and may have brought the request unless nothing can have been sent."""
    error = error_for(cause)
    assert type(error) is SynapseLivyUnavailableError
    assert error.may_have_been_processed is may_have_been_processed
    with pytest.raises(SynapseLivyUnavailableError, match=f"(?s)^{SUBJECT}: .*{words}"):
        raise error


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (ssl.SSLCertVerificationError(1, "x"), "certificate of .* is not trusted.*verify.*/ca.pem"),
        (untrusted(18, "self-signed certificate"), "is not trusted.*says: self-signed certificate.\n.*/ca.pem"),
        (untrusted(9), "certificate of .* is not valid yet.*clock.*says: why"),
        (untrusted(10), "certificate of .* has expired.*clock.*says: why"),
        (untrusted(62), "certificate of .* is for another name.*host.*says: why"),
        (untrusted(64), "certificate of .* is for another name.*host.*says: why"),
        (tls(ssl.SSLError, "WRONG_VERSION_NUMBER"), "does not speak TLS.*port.*http is for loopback"),
    ],
)
def test_tls_that_does_not_mend_itself(cause, words):
    """A wrong certificate and a port without TLS are configuration errors, as they do not mend themselves."""
    error = error_for(cause)
    assert type(error) is SynapseLivyConfigurationError
    assert not error.may_have_been_processed
    with pytest.raises(SynapseLivyConfigurationError, match=f"(?s)^{SUBJECT}: .*{words}"):
        raise error


class ProxyError(Exception):
    """An error with the name that the HTTP libraries give to those of proxies."""


def of_proxy(cause=None, **attributes):
    """Return the error of a proxy."""
    error = ProxyError("Cannot connect to proxy.")
    error.__cause__ = cause
    for name, value in attributes.items():
        setattr(error, name, value)
    return error


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (of_proxy(OSError("Tunnel connection failed: 407 Proxy Authentication Required")), "user and .* answered 407."),
        (of_proxy(status=407), "user and password into .*The proxy http://proxy.example:3128 answered 407."),
        (of_proxy(status=503), "check the proxy: .*proxies.*The proxy http://proxy.example:3128 answered 503."),
        (of_proxy(ConnectionRefusedError()), "The proxy http://proxy.example:3128 refused the connection."),
        (of_proxy(socket.gaierror()), "The name of the proxy http://proxy.example:3128 can't be resolved."),
        (of_proxy(READ_TIMEOUT), "The proxy http://proxy.example:3128 did not answer in time."),
        (of_proxy(), "The proxy http://proxy.example:3128 broke the connection off"),
    ],
)
def test_proxies(cause, words):
    """What a proxy refused was never sent to Synapse; the message says what the proxy did, without its password."""
    error = error_for(cause, proxies=[("https", PROXY)])
    assert not error.may_have_been_processed
    assert "s3cr3t-value" not in str(error)
    start = f"^{SUBJECT}: the server could not be reached through the proxy.\nFix: "
    with pytest.raises(SynapseLivyUnavailableError, match=f"(?s){start}.*{words}.*\nThe server is {ENDPOINT}.$"):
        raise error


@pytest.mark.parametrize("cause", [cause for cause, *_ in PASSING], ids=lambda value: repr(value)[:60])
def test_form_of_messages(cause):
    """The first line is under 120 characters, the second is the fix and as short, and all lines name no URL's path."""
    event, fix, *_ = str(error_for(cause)).splitlines()
    assert len(event) < 120
    assert fix.startswith("Fix: ")
    assert len(fix) < 125
    assert "livyApi" not in str(error_for(cause))


def test_exception_chain():
    """The chain leads from an error over its causes and contexts to the first cause."""
    cause = ValueError("cause")
    assert [str(error) for error in exception_chain(wrapped(cause))] == ["outer", "inner", "cause"]
    assert list(exception_chain(None)) == []
