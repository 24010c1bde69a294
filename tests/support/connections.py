"""Connections as Airflow passes them to the package, without Airflow."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_synapse_livy.connection.synapse_livy import SynapseLivyConnection


@dataclass
class Fields:
    """The fields of an Airflow connection; the default is a working service principal."""

    conn_id: str = "synapse_livy_default"
    conn_type: str = "synapse_livy"
    host: str | None = "https://ws.dev.azuresynapse.net"
    port: int | None = None
    login: str | None = "client"
    password: str | None = "s3cr3t-value"
    extra: Any = field(default_factory=lambda: {"tenantId": "tenant"})


def connection(**changes: Any) -> SynapseLivyConnection:
    """Return what the package reads of a connection, with some of its fields changed."""
    fields = Fields(**changes)
    return SynapseLivyConnection.from_airflow(fields, fields.extra)


def to_emulator(emulator: Any, spark_pool_name: str | None = "etl", **extra: Any) -> SynapseLivyConnection:
    """Return what the package reads of the connection to a local Synapse."""
    fields = json.loads(emulator.airflow_connection(spark_pool_name, **extra))
    return connection(**{"login": None, **fields})


def to_server(url: str, **extra: Any) -> SynapseLivyConnection:
    """Return what the package reads of a connection to any local server, with a ready-made token."""
    token = {"auth_type": "token", "spark_pool_name": "etl"}
    return connection(host=url, login=None, password="ready-made-token", extra=token | extra)


def airflow_connection(url: str, **changes: Any) -> str:
    """Return a connection to any local server, with a ready-made token, as an Airflow variable holds it."""
    extra = {"auth_type": "token", "spark_pool_name": "etl"} | changes
    return json.dumps({"conn_type": "synapse_livy", "host": url, "password": "ready-made-token", "extra": extra})
