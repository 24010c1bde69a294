"""The fields of one Airflow connection, as they were written, and how to complain about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from airflow_provider_synapse_livy.livy.errors import SynapseLivyConfigurationError

__all__ = ["AirflowConnection", "ConnectionFields"]

#: How extra fields were called before Airflow 2.3, and still are in connections that are as old.
_OLD_PREFIXES = ("extra__azure_synapse__", "extra__synapse_livy__")


class AirflowConnection(Protocol):
    """What is read of Airflow's own connection object."""

    conn_id: str
    conn_type: str | None
    host: str | None
    port: int | None
    login: str | None
    password: str | None


@dataclass(frozen=True)
class ConnectionFields:
    """
    Gives the fields of one Airflow connection; null and empty ones count as missing.

    :param connection: the connection.
    :param extra: its extra fields, by their present names.
    """

    connection: AirflowConnection
    extra: Mapping[str, Any] = field(repr=False)

    @classmethod
    def of(cls, connection: AirflowConnection, extra: Mapping[str, Any]) -> ConnectionFields:
        """
        Take over a connection.

        :param connection: the connection.
        :param extra: its extra fields; those under an old name give way to those under the present one.
        """
        filled = {key: value for key, value in extra.items() if value is not None and str(value).strip()}
        old = {key.removeprefix(prefix): filled[key] for prefix in _OLD_PREFIXES for key in filled if prefix in key}
        return cls(connection, old | filled)

    def error(self, what: str) -> SynapseLivyConfigurationError:
        """
        Say what is wrong with the connection.

        :param what: the field, and what to write there instead.
        """
        return SynapseLivyConfigurationError(f"Connection {self.connection.conn_id}: {what}")

    def text(self, name: str) -> str | None:
        """
        Give an extra field, without spaces around it; None where it is missing.

        :param name: its name.
        """
        value = self.extra.get(name)
        return None if value is None else str(value).strip()

    def flag(self, name: str) -> bool:
        """
        Give an extra field that is true or false, also in a string as URIs write it; false where it is missing.

        The Test button of Airflow 2 says "y" for a box that is ticked.

        :param name: its name.
        """
        value = self.text(name) or "false"
        if value.lower() in ("true", "false", "y"):
            return value.lower() != "false"
        raise self.error(f'the extra "{name}" is {value!r}. Write true or false.')

    @property
    def login(self) -> str:
        """The login, empty where it is missing."""
        return (self.connection.login or "").strip()

    @property
    def password(self) -> str:
        """The password, likewise. A line break at its end comes from a file, not from Azure."""
        return (self.connection.password or "").strip()
