"""How Synapse and Microsoft Entra ID are reached: proxies, certificates to trust, timeouts."""

from __future__ import annotations

import ipaddress
import json
import math
import os
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from airflow_provider_synapse_livy.connection.fields import ConnectionFields
from airflow_provider_synapse_livy.livy.errors import SynapseLivyError
from airflow_provider_synapse_livy.livy.responses import connection_error

__all__ = ["Network", "is_loopback", "read_network"]

_TIMEOUT = 30.0


@dataclass(frozen=True)
class Network:
    """
    How to reach others.

    :param ca_bundle: the file or folder of certificates to trust; False trusts any.
    :param timeout: how many seconds to wait for a connection, and as long again for the answer.
    :param proxies: the proxies by what they are for, in the terms of requests; None for those of the environment.
    """

    ca_bundle: str | bool
    timeout: float
    proxies: tuple[tuple[str, str], ...] | None = field(default=None, repr=False)  # which may hold a password

    def ssl_context(self) -> ssl.SSLContext | bool:
        """
        Load the certificates to trust; False where any is.

        :raises OSError: if there are none.
        """
        if isinstance(self.ca_bundle, bool):
            return self.ca_bundle
        if Path(self.ca_bundle).is_dir():
            return ssl.create_default_context(capath=self.ca_bundle)
        return ssl.create_default_context(cafile=self.ca_bundle)

    def proxy(self, url: str) -> str | None:
        """
        Find the proxy for an address, by the rules of requests: the connection's, else the environment's.

        Loopback addresses have none: no proxy could reach them, and plain http would show it the token.

        :param url: the address.
        """
        from requests.utils import get_environ_proxies, prepend_scheme_if_needed, select_proxy

        if is_loopback(url):
            return None
        proxy = select_proxy(url, get_environ_proxies(url) if self.proxies is None else dict(self.proxies))
        # The environment's may have no scheme.
        return str(prepend_scheme_if_needed(proxy, "http")) if proxy else None  # type: ignore[no-untyped-call]

    def connection_error(self, subject: str, url: str, error: BaseException) -> SynapseLivyError:
        """
        Say what a broken connection means, and which proxy and certificates had a part in it.

        :param subject: what was asked for.
        :param url: where.
        :param error: what the HTTP library raised.
        """
        return connection_error(subject, url, error, proxy=self.proxy(url), ca_bundle=self.ca_bundle)


def is_loopback(url: str) -> bool:
    """
    Tell whether an address leads nowhere but to this machine.

    :param url: the address.
    """
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_network(fields: ConnectionFields) -> Network:
    """
    Read how to reach others, once for both transports and the token.

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
    except OSError as error:
        raise fields.error(
            f"{network.ca_bundle} holds no certificates ({error}). Name a file or folder of CA certificates, or "
            'true, in the extra "verify", or else in REQUESTS_CA_BUNDLE.'
        ) from None


def _timeout(fields: ConnectionFields) -> float:
    value = fields.extra.get("timeout", _TIMEOUT)
    with suppress(TypeError, ValueError):
        if 0 < (seconds := float(value)) < math.inf:
            return seconds
    raise fields.error(f'the extra "timeout" is {value!r}. Write a number of seconds.')


def _proxies(fields: ConnectionFields) -> tuple[tuple[str, str], ...] | None:
    """Read one proxy for all, or a mapping as requests takes it. Nothing of it is quoted: it may hold a password."""
    value = fields.extra.get("proxies")
    if isinstance(value, str) and value.strip().startswith("{"):
        with suppress(ValueError):
            value = json.loads(value)
    if value is None:
        return None
    proxies = value if isinstance(value, Mapping) else {"all": str(value).strip()}
    if all(_is_proxy(proxy) for proxy in proxies.values()):
        return tuple(sorted(proxies.items()))
    raise fields.error(
        'the extra "proxies" holds something else than addresses of proxies. Write one, http://proxy.example:3128, '
        'or several by what they are for, {"https": "http://proxy.example:3128"}.'
    )


def _is_proxy(value: object) -> bool:
    """Tell whether a value is the address of a proxy that both transports can use."""
    try:
        parts = urlsplit(str(value))
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
