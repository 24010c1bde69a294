"""Which texts are the name of a host, or its address, to both HTTP libraries and to the system's resolver alike."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

__all__ = ["has_server", "is_host_name"]

#: The longest name of a host that DNS knows, without the dot that may end it.
_MAX_NAME = 253

#: A part of a name; the underscore is in the names of containers.
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.IGNORECASE | re.ASCII)

#: Some of them urlsplit passes over, and the HTTP libraries do not.
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f]")


def is_host_name(name: str) -> bool:
    """
    Return whether a text is the name of a host in ASCII, or an IP address.

    :param name: the text, without the brackets of an IPv6 address.
    """
    if ":" in name:
        return _is_ip_address(name)
    labels = name.removesuffix(".").split(".")
    return len(name) <= _MAX_NAME + 1 and all(map(_LABEL.fullmatch, labels))


def _is_ip_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return "%" not in name  # with which the interface of a machine follows


def has_server(address: str) -> bool:
    """
    Return whether an address has a host and, if it names one, a port, as both HTTP libraries read it.

    :param address: the address, with its scheme.
    """
    try:
        parts = urlsplit(address)
        is_server = is_host_name(parts.hostname or "") and parts.port != 0
    except ValueError:
        return False
    return is_server and not _CONTROL_CHARACTERS.search(address)
