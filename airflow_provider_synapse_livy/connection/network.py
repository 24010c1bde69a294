"""How Synapse and Microsoft Entra ID are reached: proxies, certificates to trust, timeouts."""

from __future__ import annotations

import ipaddress
import json
import os
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from airflow_provider_synapse_livy.connection.fields import ConnectionFields
from airflow_provider_synapse_livy.connection.host_names import has_server
from airflow_provider_synapse_livy.livy.errors import SynapseLivyConfigurationError, error_message

__all__ = ["Network", "authority_url", "is_loopback", "read_network", "server_address"]

#: Seconds, if the connection has no ``timeout``.
_DEFAULT_TIMEOUT = 30.0

#: The longest timeout in seconds: a day. Sockets take no number beyond all bounds.
_MAX_TIMEOUT = 24 * 3600.0

_PROXY_FIX = 'name an HTTP proxy, http://proxy.example:3128, in the extra "proxies" or in https_proxy.'
_PROXIES_FIX = 'write one, http://proxy.example:3128, or several as {"https": "http://proxy.example:3128"}.'


@dataclass(frozen=True)
class Network:
    """
    How to reach other machines.

    :param ca_bundle: the file or folder of certificates to trust; False trusts any.
    :param timeout: how many seconds to wait for a connection, and as long again for the response.
    :param proxies: the proxies by what they are for, in the terms of requests; None for those of the environment.
    """

    ca_bundle: str | bool
    timeout: float
    proxies: tuple[tuple[str, str], ...] | None = field(default=None, repr=False)  # which may hold a password

    def passwords(self) -> set[str]:
        """Return the passwords in the proxies' addresses, as they stand there and as they are."""
        written = {urlsplit(proxy).password for _, proxy in self.proxies or ()} - {None, ""}
        return {form for password in written if password for form in (password, unquote(password))}

    def ssl_context(self) -> ssl.SSLContext | bool:
        """
        Return the certificates to trust, loaded; False where any is trusted.

        :raises OSError: if there are none.
        """
        if isinstance(self.ca_bundle, bool):
            return self.ca_bundle
        if Path(self.ca_bundle).is_dir():
            return ssl.create_default_context(capath=self.ca_bundle)
        return ssl.create_default_context(cafile=self.ca_bundle)

    def proxy(self, url: str) -> str | None:
        """
        Return the proxy for an address, by the rules of requests: the connection's, else the environment's.

        Loopback addresses have none: no proxy could reach them, and plain http would show it the token.

        :param url: the address.
        :raises SynapseLivyConfigurationError: if it is one that the package can't use, such as a SOCKS proxy.
        """
        from requests.utils import get_environ_proxies, select_proxy

        if is_loopback(url):
            return None
        proxies = get_environ_proxies(url) if self.proxies is None else dict(self.proxies)
        proxy = (select_proxy(url, proxies) or "").strip()
        if proxy and "://" not in proxy:  # as curl takes it
            proxy = f"http://{proxy.lstrip('/')}"
        if problem := proxy and _proxy_problem(proxy):
            raise _unusable_proxy(url, problem)
        return proxy or None


def _unusable_proxy(url: str, problem: str) -> SynapseLivyConfigurationError:
    """Return the error for a proxy of the environment; the connection's own are checked when it is read."""
    event = f"The environment names {problem}."
    what = f"It is the one for {server_address(url)}."
    where = "It is set in https_proxy, http_proxy or all_proxy; no_proxy lists the hosts that need none."
    return SynapseLivyConfigurationError(error_message(event, _PROXY_FIX, what, where))


def is_loopback(url: str) -> bool:
    """
    Return whether an address leads nowhere but to this machine.

    :param url: the address.
    """
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ("%" not in host and ipaddress.ip_address(host).is_loopback)
    except ValueError:
        return False


def authority_url(authority: str) -> str:
    """
    Return the address of an authority, which may be a bare host.

    :param authority: the host of Microsoft Entra ID.
    """
    return authority if "://" in authority else f"https://{authority}"


def server_address(url: str) -> str:
    """
    Return the server's part of an address, without the user and password that a proxy's may hold.

    :param url: the address.
    """
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def read_network(fields: ConnectionFields) -> Network:
    """
    Read how to reach other machines, once for both transports and the token.

    :param fields: the connection's fields.
    :raises SynapseLivyConfigurationError: if a proxy is none, or a bundle that is named holds no certificates.
    """
    from requests.utils import DEFAULT_CA_BUNDLE_PATH

    bundle = _ca_bundle(fields)
    network = Network(
        ca_bundle=DEFAULT_CA_BUNDLE_PATH if bundle is True else bundle,
        timeout=_timeout(fields),
        proxies=_proxies(fields),
    )
    if isinstance(bundle, str):
        _check_certificates(fields, network)
    return network


def _ca_bundle(fields: ConnectionFields) -> str | bool:
    value = fields.text("verify") or "true"
    if value.lower() != "true":
        return False if value.lower() == "false" else value
    return os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True


def _check_certificates(fields: ConnectionFields, network: Network) -> None:
    try:
        network.ssl_context()
    except (OSError, ValueError) as error:  # a path with a NUL in it is a ValueError
        raise fields.error(
            f"{network.ca_bundle} holds no certificates.",
            'name a file or folder of CA certificates, or true, in the extra "verify", or else in REQUESTS_CA_BUNDLE.',
            f"Reading it failed: {error}",
        ) from None


def _timeout(fields: ConnectionFields) -> float:
    value = fields.extra.get("timeout", _DEFAULT_TIMEOUT)
    with suppress(TypeError, ValueError, OverflowError):
        if 0 < (seconds := float(value)) <= _MAX_TIMEOUT:
            return seconds
    raise fields.wrong_extra("timeout", f"write a number of seconds, up to {_MAX_TIMEOUT:.0f}.")


def _proxies(fields: ConnectionFields) -> tuple[tuple[str, str], ...] | None:
    """Read one proxy for all, or a mapping as requests takes it. Nothing of it is quoted: it may hold a password."""
    value = fields.extra.get("proxies")
    if isinstance(value, str) and value.strip().startswith("{"):
        with suppress(ValueError):
            value = json.loads(value)
    if value is None:
        return None
    proxies = value if isinstance(value, Mapping) else {"all": value}
    proxies = {str(key).strip(): str(proxy).strip() for key, proxy in proxies.items()}
    for proxy in proxies.values():
        if problem := _proxy_problem(proxy):
            raise fields.error(f'the extra "proxies" names {problem}.', _PROXIES_FIX)
    return tuple(sorted((key, _with_password(fields, proxy)) for key, proxy in proxies.items()))


def _with_password(fields: ConnectionFields, proxy: str) -> str:
    """Write the proxy's password into its address, where it has a user alone."""
    password, parts = fields.text("proxy_password"), urlsplit(proxy)
    if password is None or parts.password is not None:
        return proxy
    if parts.username is None:
        event = 'the extra "proxy_password" is filled in, but the address of the proxy names no user.'
        raise fields.error(event, "write the user into it, http://user@proxy.example:3128.")
    if not _is_latin_1(password):
        event = 'the extra "proxy_password" has characters outside Latin-1, which HTTP has no form for.'
        raise fields.error(event, "give the proxy's user another password.")
    user, _, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user}:{quote(password, safe='')}@{host}"))


def _proxy_problem(proxy: str) -> str:
    """Return what a proxy is that no transport can use, without quoting it; empty if both can."""
    if proxy.lower().startswith("socks"):
        return "a SOCKS proxy, which is not supported"
    if not has_server(proxy) or urlsplit(proxy).scheme not in ("http", "https"):
        return "what is not the address of a proxy"
    parts = urlsplit(proxy)
    is_latin_1 = _is_latin_1(parts.username) and _is_latin_1(parts.password)
    return "" if is_latin_1 else "a proxy whose user or password is not Latin-1"


def _is_latin_1(text: str | None) -> bool:
    """Return whether a user or password of a proxy can be sent: HTTP libraries encode no other characters."""
    with suppress(UnicodeEncodeError):
        unquote(text or "").encode("latin-1")
        return True
    return False
