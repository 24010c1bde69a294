"""The fields of one Airflow connection, as they were written, and how an error about one of them begins."""

from __future__ import annotations

import json
import os
import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from airflow_provider_synapse_livy.livy.errors import SynapseLivyConfigurationError, error_message
from airflow_provider_synapse_livy.livy.responses import one_line

__all__ = ["AirflowConnection", "ConnectionFields", "is_pem"]

#: What the names of extra fields began with before Airflow 2.3, and still do in connections that are as old.
_OLD_PREFIXES = ("extra__azure_synapse__", "extra__synapse_livy__")

_EXTRA_FIX = 'write extra as an object, {"auth_type": "client_secret"}.'


class AirflowConnection(Protocol):
    """What is read of Airflow's own connection object."""

    conn_id: str
    conn_type: str | None
    host: str | None
    port: int | None
    login: str | None
    password: str | None
    extra: Any


@dataclass(frozen=True)
class ConnectionFields:
    """
    The fields of one Airflow connection. Null and empty ones count as missing; white space around a value is removed.

    :param connection: the connection.
    :param extra: its extra fields, by their present names.
    """

    connection: AirflowConnection
    extra: Mapping[str, Any] = field(repr=False)

    @classmethod
    def of(cls, connection: AirflowConnection, extra: object) -> ConnectionFields:
        """
        Return the fields of a connection.

        :param connection: the connection.
        :param extra: its extra fields, which any JSON can be. Present names take precedence over old ones.
        :raises SynapseLivyConfigurationError: if the extra fields are not a JSON object.
        """
        if not extra and not _is_json(connection.extra):  # which Airflow logs, and passes over
            raise cls(connection, {}).error("the field extra is not JSON.", _EXTRA_FIX)
        if not isinstance(extra, Mapping | None):
            raise cls(connection, {}).error("extra is JSON, but not an object.", _EXTRA_FIX)
        filled = {key: value for key, value in (extra or {}).items() if value is not None and str(value).strip()}
        old = {key.removeprefix(old): filled[key] for old in _OLD_PREFIXES for key in filled if key.startswith(old)}
        return cls(connection, old | filled)

    def error(self, event: str, fix: str, *evidence: str) -> SynapseLivyConfigurationError:
        """
        Return an error about the connection.

        :param event: the field and what is wrong with it, as a sentence.
        :param fix: what to write there instead.
        :param evidence: lines that support it.
        """
        event = f"Connection {self.connection.conn_id}: {event}"
        return SynapseLivyConfigurationError(error_message(event, fix, *evidence))

    def wrong_extra(self, name: str, fix: str, *evidence: str) -> SynapseLivyConfigurationError:
        """
        Return an error about an extra field that has a value of no use.

        :param name: its name; the value must be no secret.
        :param fix: what to write there instead.
        :param evidence: lines that support it.
        """
        shown = re.sub(r"[^/'\"]*@", "...@", repr(self.extra[name]))  # a password could stand there
        return self.error(f'the extra "{name}" is {one_line(shown, 40)}.', fix, *evidence)

    def text(self, name: str) -> str | None:
        """
        Return an extra field as text, None if it is missing.

        :param name: its name.
        """
        value = self.extra.get(name)
        return None if value is None else str(value).strip()

    def flag(self, name: str) -> bool:
        """
        Return an extra field that is true or false, also where it is text, as in a URI; false if it is missing.

        The Test button of Airflow 2 sends "y" for a ticked box.

        :param name: its name.
        :raises SynapseLivyConfigurationError: if it is neither.
        """
        value = self.text(name) or "false"
        if value.lower() in ("true", "false", "y"):
            return value.lower() != "false"
        raise self.wrong_extra(name, "write true or false.")

    @property
    def host(self) -> str:
        """The host, empty if it is missing."""
        return str(self.connection.host or "").strip()

    @property
    def port(self) -> int | None:
        """
        The port, None if it is missing.

        :raises SynapseLivyConfigurationError: if it is no port.
        """
        value = self.connection.port
        if value is None or (isinstance(value, int) and 0 < value < 2**16):
            return value
        raise self.error(
            f"the field Port is {one_line(repr(value), 40)}.", "write a number from 1 to 65535, or leave it blank."
        )

    @property
    def login(self) -> str:
        """The login, empty if it is missing."""
        return str(self.connection.login or "").strip()

    @property
    def password(self) -> str:
        """The password, empty if it is missing. A line break at its end is from a file, not from Azure."""
        return str(self.connection.password or "").strip()

    @property
    def pem(self) -> str:
        """
        The certificate and key that are written in the connection itself, empty if there are none.

        :raises SynapseLivyConfigurationError: if what stands in their place is something else.
        """
        extra = self.text("certificate_private_key")
        if extra and not is_pem(extra):
            raise self.error(
                'the extra "certificate_private_key" is no PEM.',
                'write PEM, with lines as -----BEGIN CERTIFICATE-----, or name a file in the extra "certificate_path".',
            )
        pem = extra or self.password
        return _with_line_breaks(pem) if is_pem(pem) else ""

    def find(self, *sources: str) -> str:
        """
        Return the first of several values that is filled in, empty if none is.

        :param sources: ``login``, ``password``, ``pem``, names of extra fields, or of variables of the environment.
        """
        return next(filter(None, map(self._find, sources)), "")

    def _find(self, source: str) -> str | None:
        if source in ("login", "password", "pem"):
            return str(getattr(self, source))
        return os.environ.get(source, "").strip() if source.isupper() else self.text(source)


def is_pem(text: str) -> bool:
    """
    Return whether a text is a certificate or key, rather than a secret or the name of a file.

    :param text: the text.
    """
    return "-----BEGIN " in text


def _is_json(extra: object) -> bool:
    """Return whether the text of the extra fields is JSON, if it is one; it may hold secrets, so nobody quotes it."""
    if not isinstance(extra, str) or not extra.strip():
        return True
    try:
        json.loads(extra)
    except ValueError:
        return False
    return True


def _with_line_breaks(pem: str) -> str:
    """Restore the line breaks that a form's one line, or JSON's escapes, took away."""
    blocks = re.findall(r"-----BEGIN ([A-Z0-9 ]+)-----(.*?)-----END \1-----", pem.replace("\\n", "\n"), re.DOTALL)
    if not blocks or any(":" in body for _, body in blocks):  # headers of an old kind of key, which can't be mended
        return pem
    return "".join(
        f"-----BEGIN {name}-----\n{textwrap.fill(''.join(body.split()), 64)}\n-----END {name}-----\n"
        for name, body in blocks
    )
