"""What a broken connection means: names, TCP, TLS, proxies, malformed responses, whichever HTTP library noticed it."""

from __future__ import annotations

import errno
import http.client
import re
import socket
import ssl
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from airflow_provider_synapse_livy.connection.network import Network, server_address
from airflow_provider_synapse_livy.livy.errors import (
    SynapseLivyConfigurationError,
    SynapseLivyError,
    SynapseLivyUnavailableError,
    error_message,
)
from airflow_provider_synapse_livy.livy.responses import one_line

__all__ = [
    "MAX_HEADER_BYTES",
    "MalformedResponseError",
    "checked_headers",
    "connection_error",
    "exception_chain",
    "is_cut_off",
]

#: The longest line of a status or header that http.client takes, and aiohttp is set to. A proxy's may have 9,000.
MAX_HEADER_BYTES = 65536

#: How many headers http.client takes.
_MAX_HEADERS = 99


class MalformedResponseError(ValueError):
    """A response that one of the HTTP libraries takes and the other does not, so that neither may."""


def checked_headers(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """
    Return the headers of a response, of several of a name the first.

    :param headers: names and values as they came.
    :raises MalformedResponseError: if one of the HTTP libraries, and so the worker or the triggerer, would refuse them.
    """
    pairs = list(headers)
    first: dict[str, str] = {}
    for name, value in pairs:
        first.setdefault(name.lower(), value)
    length = first.get("content-length")
    if len(pairs) > _MAX_HEADERS:
        raise MalformedResponseError(f"there are more than {_MAX_HEADERS} headers")
    if any("\0" in value for value in first.values()):
        raise MalformedResponseError("there is a NUL in a header")
    if length is not None and not re.fullmatch("[0-9]+", length.strip()):
        raise MalformedResponseError("Content-Length is not a number")
    if length is not None and ("transfer-encoding" in first or _count(pairs, "content-length") > 1):
        raise MalformedResponseError("there are several lengths of the body")
    return first


def _count(pairs: list[tuple[str, str]], wanted: str) -> int:
    return sum(name.lower() == wanted for name, _ in pairs)


@dataclass(frozen=True)
class _Failure:
    """
    A way in which a connection fails.

    :param event: what happened, with a ``{}`` for the server, or the proxy before it.
    :param fix: what to do about it.
    :param is_cause: whether an error in the chain of causes shows this failure.
    :param may_have_been_processed: whether the service may have got the request.
    :param evidence: returns what the cause says about it.
    """

    event: str
    fix: str
    is_cause: Callable[[Any], bool] = lambda _: False
    may_have_been_processed: bool = False
    evidence: Callable[[Any], str] = lambda _: ""


def _is_unresolved(cause: BaseException) -> bool:
    return isinstance(cause, socket.gaierror) or _is_named(cause, "ClientConnectorDNSError", "NameResolutionError")


def _is_timeout(cause: BaseException) -> bool:
    is_timeout = type(cause).__name__ in ("ConnectTimeout", "ReadTimeout", "ConnectTimeoutError", "ReadTimeoutError")
    return is_timeout or isinstance(cause, TimeoutError)


def _is_unroutable(cause: BaseException) -> bool:
    return isinstance(cause, OSError) and cause.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN)


#: OpenSSL's reasons that come up while a connection is made, and not later.
_HANDSHAKE = re.compile(
    "PROTOCOL(?!_IS_SHUTDOWN)|VERSION|HANDSHAKE|CERTIFICATE|UNRECOGNIZED_NAME|CIPHER|SIGNATURE_ALG|KEY_TOO_SMALL"
)


def _is_handshake(cause: BaseException) -> bool:
    return isinstance(cause, ssl.SSLError) and _HANDSHAKE.search(_reason(cause)) is not None


def _reason(error: ssl.SSLError) -> str:
    """Return OpenSSL's reason; aiohttp's errors, which are of the same class, have none."""
    return getattr(error, "reason", None) or ""


def _is_unparsable(cause: BaseException) -> bool:
    """Return whether an HTTP library could not parse the response, rather than that there was too little of it."""
    if isinstance(cause, http.client.HTTPException):
        return not isinstance(cause, http.client.IncompleteRead | http.client.RemoteDisconnected)
    if isinstance(cause, ValueError) and "base 16" in str(cause):  # the size of a chunk, to http.client
        return not str(cause).endswith("b''")
    names = (
        "ClientResponseError",
        "HttpProcessingError",
        "InvalidHeader",
        "HeaderParsingError",
        "MalformedResponseError",
    )
    is_error = _is_named(cause, *names)
    return is_error and "Not enough data" not in str(cause)


def _parser_says(cause: BaseException) -> str:
    return f"The parser says: {one_line(str(getattr(cause, 'message', '') or cause), 200)}"


#: How connections fail, in words that are the same whichever library noticed it; the first that fits is meant.
_FAILURES = (
    _Failure("the name of {} can't be resolved.", "check that the host is spelled right, and exists.", _is_unresolved),
    _Failure("{} did not answer in time.", "check the firewalls and proxies in between.", _is_timeout, True),
    _Failure(
        "{} refused the connection.", "check host and port.", lambda cause: isinstance(cause, ConnectionRefusedError)
    ),
    _Failure("there is no route to {}.", "check this machine's network, and the firewalls.", _is_unroutable, True),
    _Failure(
        "the TLS handshake with {} failed.",
        "check the host, and the proxies in between that read TLS.",
        _is_handshake,
        True,
        evidence=lambda cause: f"OpenSSL says: {_reason(cause)}.",
    ),
    _Failure(
        "the response of {} could not be parsed.",
        "check the port, and the proxies in between: a header may be too long or malformed.",
        _is_unparsable,
        True,
        _parser_says,
    ),
)
_BROKEN_OFF = _Failure(
    "{} broke the connection off.",
    "if it lasts, check the proxies and firewalls in between.",
    may_have_been_processed=True,
)

_NO_TLS = _Failure("{} does not speak TLS.", "check the port, and the scheme: http is for loopback addresses only.")
_UNTRUSTED = _Failure(
    "the certificate of {} is not trusted.",
    'if a proxy or an emulator signs its own, name its CA bundle in the connection (extra "verify").',
)
_WRONG_NAME = _Failure("the certificate of {} is for another name.", "check the host, and the proxies in between.")

_NOT_STRICT = _Failure(
    "the certificate of {} breaks a rule of RFC 5280.",
    "have it, or the CA's that signs it, issued anew by that rule; Python minds it from 3.13 on.",
)

#: What is wrong with a certificate that another CA bundle would not mend, by OpenSSL's number of the fault.
_BAD_CERTIFICATES = {
    9: _Failure("the certificate of {} is not valid yet.", "check this machine's clock."),
    10: _Failure("the certificate of {} has expired.", "have it renewed, or check this machine's clock."),
    62: _WRONG_NAME,
    64: _WRONG_NAME,  # where the host is an address
    # X509_V_ERR_PATHLEN_INVALID_FOR_NON_CA to X509_V_ERR_EXTENSIONS_REQUIRE_VERSION_3: what X509_STRICT finds.
    **dict.fromkeys(range(80, 94), _NOT_STRICT),
}

_SERVER = "the server"

_THROUGH_PROXY = "{} could not be reached through the proxy."
_PROXY_FIX = 'check the proxy: the extra "proxies" of the connection, or https_proxy.'
_PROXY_PASSWORD_FIX = "write user and password into the proxy's address, http://user:password@proxy.example:3128."


def connection_error(subject: str, url: str, error: BaseException, network: Network) -> SynapseLivyError:
    """
    Return what a broken connection means.

    TLS that can't be right does not mend itself, so it is an error of the configuration. All else may pass.

    :param subject: what was asked for, in the words that begin an error message.
    :param url: where.
    :param error: what the HTTP library raised.
    :param network: how the connection was made.
    """
    chain = list(exception_chain(error))
    where = f"The server is {server_address(url)}."  # in the last line: it may be long
    if words := _tls_message(where, chain, network):
        return SynapseLivyConfigurationError(f"{subject}: {words}")
    if any(_is_of_proxy(cause, url, network) for cause in chain):
        return SynapseLivyUnavailableError(f"{subject}: {_proxy_message(url, where, chain, network)}")
    failure, evidence = _failure(chain)
    message = error_message(f"{subject}: {failure.event.format(_SERVER)}", failure.fix, evidence, where)
    is_uncertain = failure.may_have_been_processed and not any(map(_is_before_request, chain))
    return SynapseLivyUnavailableError(message, may_have_been_processed=is_uncertain)


def _tls_message(where: str, chain: list[BaseException], network: Network) -> str:
    """Return what is wrong with a server's TLS for good, empty if nothing is."""
    for cause in reversed(chain):  # aiohttp's own error is a certificate error as well, but does not know why
        if isinstance(cause, ssl.SSLCertVerificationError):
            failure = _BAD_CERTIFICATES.get(getattr(cause, "verify_code", 0), _UNTRUSTED)
            says = f"OpenSSL says: {str(getattr(cause, 'verify_message', cause)).rstrip('.')}."
            trusted = f"Trusted are the certificates of {network.ca_bundle}." if failure is _UNTRUSTED else ""
            return error_message(failure.event.format(_SERVER), failure.fix, says, trusted, where)
        if isinstance(cause, ssl.SSLError) and _reason(cause) == "WRONG_VERSION_NUMBER":
            return error_message(_NO_TLS.event.format(_SERVER), _NO_TLS.fix, where)
    return ""


def _is_of_proxy(cause: BaseException, url: str, network: Network) -> bool:
    """Return whether an error is about the proxy, which aiohttp does not call so if its name can't be resolved."""
    if "Proxy" in type(cause).__name__:  # as requests, urllib3 and aiohttp call it
        return True
    return _is_named(cause, "ClientConnectorDNSError") and _host(network.proxy(url)) == getattr(cause, "host", "")


def _host(url: str | None) -> str | None:
    return urlsplit(url or "").hostname


def _proxy_message(url: str, where: str, chain: list[BaseException], network: Network) -> str:
    """Return what a proxy did instead of making a connection."""
    proxy = network.proxy(url)
    address = f"the proxy {server_address(proxy)}" if proxy else "the proxy"
    status = next(filter(None, map(_proxy_status, chain)), None)
    event = f"{{}} answered {status}." if status else _failure(chain)[0].event
    says = event.format(address)
    fix = _PROXY_PASSWORD_FIX if status == 407 else _PROXY_FIX
    return error_message(_THROUGH_PROXY.format(_SERVER), fix, says[0].upper() + says[1:], where)


def _proxy_status(cause: BaseException) -> int | None:
    """Return the status that a proxy answered with, None if the cause names none."""
    tunnel = re.search(r"Tunnel connection failed: (\d+)", str(cause))  # http.client's words
    status = tunnel[1] if tunnel else getattr(cause, "status", None)
    return int(status) if status else None


def _failure(chain: list[BaseException]) -> tuple[_Failure, str]:
    """Return how a connection failed, and what the cause says about it."""
    for failure in _FAILURES:
        cause = next(filter(failure.is_cause, reversed(chain)), None)
        if cause is not None:
            return failure, failure.evidence(cause)
    return _BROKEN_OFF, ""


def is_cut_off(error: BaseException) -> bool:
    """
    Return whether an error is what a request meets on a connection that was cut while nobody used it.

    A server, or a load balancer before it, may cut such a connection in silence; the next request is the first to
    learn of it.

    :param error: what the HTTP library raised.
    """
    # Among the built-in ConnectionErrors are a reset, a broken pipe, and http.client's RemoteDisconnected.
    return any(
        isinstance(cause, ConnectionError | ssl.SSLEOFError) or _is_named(cause, "ServerDisconnectedError")
        for cause in exception_chain(error)
    )


def _is_before_request(cause: BaseException) -> bool:
    """Return whether a connection never came about: then nothing was sent, however it failed."""
    # aiohttp's, for names and TLS as well; requests'; urllib3's, whose NewConnectionError is one; aiohttp's.
    names = ("ClientConnectorError", "ConnectTimeout", "ConnectTimeoutError", "ConnectionTimeoutError")
    return _is_named(cause, *names) or (isinstance(cause, TimeoutError) and "handshake" in str(cause))


def _is_named(cause: BaseException, *names: str) -> bool:
    """Return whether an error is of a class of that name, without importing the HTTP libraries."""
    return any(kind.__name__ in names for kind in type(cause).__mro__)


def exception_chain(error: BaseException | None) -> Iterator[BaseException]:
    """
    Yield an error, what it was raised from, and so on to the first cause.

    :param error: where to begin.
    """
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
