"""Broken connections in words: names, TCP, TLS, proxies, whichever HTTP library noticed it."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator
from urllib.parse import urlsplit

from airflow_provider_synapse_livy.livy.errors import (
    SynapseLivyConfigurationError,
    SynapseLivyError,
    SynapseLivyUnavailableError,
)

__all__ = ["connection_error", "exception_chain"]

#: How a connection breaks, in words that are the same whichever library noticed it.
_BREAKS: tuple[tuple[type[BaseException], str], ...] = (
    (
        socket.gaierror,
        "{}: its name can't be resolved. See whether the host is spelled right, and exists.",
    ),
    (TimeoutError, "{} did not answer in time. See whether a firewall or a proxy is in between."),
    (ConnectionRefusedError, "{} refused the connection. See whether host and port are right."),
)
_BROKEN_OFF = "{} broke the connection off before its answer was complete. Try later."
_NO_TLS = "{} does not speak TLS. See whether the port is right, and the scheme: http is for loopback addresses only."
_UNTRUSTED = (
    "the certificate of {} is not trusted ({}; trusted are those of {}). If a proxy or an emulator signs its own, name "
    'its CA bundle in the connection (extra "verify").'
)
_THROUGH_PROXY = "{} could not be reached through the proxy {} ({}). See whether it is the right one."
_WRONG_NAME = "the certificate of {} is for another name ({}). See whether the host is right, and look at proxies."

#: What is wrong with a certificate that another CA bundle would not mend, by OpenSSL's number of the fault.
_BAD_CERTIFICATES = {
    9: "the certificate of {} is not valid yet ({}). See whether this machine's clock is right.",
    10: "the certificate of {} has expired ({}). Have it renewed, or see whether this machine's clock is right.",
    62: _WRONG_NAME,
    64: _WRONG_NAME,  # where the host is an address
}


def connection_error(
    subject: str, url: str, error: BaseException, *, proxy: str | None = None, ca_bundle: str | bool = True
) -> SynapseLivyError:
    """
    Say what a broken connection means. One whose TLS can't be right will not mend itself, all else may.

    :param subject: what was asked for.
    :param url: where.
    :param error: what the HTTP library raised.
    :param proxy: the proxy in between, if any.
    :param ca_bundle: the certificates that were trusted.
    """
    address = _address(url)
    chain = list(exception_chain(error))
    for cause in reversed(chain):  # aiohttp's own error is a certificate error as well, but does not know why
        if isinstance(cause, ssl.SSLCertVerificationError):
            words = _BAD_CERTIFICATES.get(getattr(cause, "verify_code", 0), _UNTRUSTED)
            why = str(getattr(cause, "verify_message", cause)).rstrip(".")
            return SynapseLivyConfigurationError(f"{subject}: {words.format(address, why, ca_bundle)}")
        if isinstance(cause, ssl.SSLError) and getattr(cause, "reason", None) == "WRONG_VERSION_NUMBER":
            return SynapseLivyConfigurationError(f"{subject}: {_NO_TLS.format(address)}")
    if proxy and any("Proxy" in type(cause).__name__ for cause in chain):  # as requests, urllib3 and aiohttp call it
        words = _THROUGH_PROXY.format(address, _address(proxy), _proxy_trouble(chain))
        return SynapseLivyUnavailableError(f"{subject}: {words}")
    breaks = (words for kind, words in _BREAKS if any(isinstance(cause, kind) for cause in chain))
    return SynapseLivyUnavailableError(f"{subject}: {next(breaks, _BROKEN_OFF).format(address)}")


def _address(url: str) -> str:
    """Shorten a URL to the server's address, without the user and password that a proxy's may hold."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _proxy_trouble(chain: list[BaseException]) -> str:
    """Say what a proxy did, in words that are the same whichever library noticed it."""
    for cause in chain:
        tunnel = re.search(r"Tunnel connection failed: (\d+)", str(cause))  # http.client's words
        if status := (tunnel[1] if tunnel else getattr(cause, "status", None)):
            return f"it answered {status}"
    return "it refused the connection" if any(isinstance(c, ConnectionRefusedError) for c in chain) else "it failed"


def exception_chain(error: BaseException | None) -> Iterator[BaseException]:
    """
    Go from an error to what it was raised from, and on to the first cause.

    :param error: where to begin.
    """
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
