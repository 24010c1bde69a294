"""What an Airflow connection of the type ``synapse_livy`` says, checked before anything is sent."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, NoReturn, Protocol
from urllib.parse import SplitResult, urlsplit

from airflow_provider_synapse_livy.api import (
    DEFAULT_LIVY_API_VERSION,
    SparkSessionRequest,
    spark_session_request,
)
from airflow_provider_synapse_livy.exceptions import SynapseLivyConfigurationError

__all__ = ["CLOUDS", "AuthType", "Cloud", "Identity", "SynapseLivyConnection"]


@dataclass(frozen=True)
class Cloud:
    """
    A cloud of Microsoft's, in which Synapse has its own names.

    :param endpoint_suffix: what follows the workspace's name in its development endpoint.
    :param authority: the host of Microsoft Entra ID.
    :param studio_host: the host of Synapse Studio.
    """

    endpoint_suffix: str
    authority: str
    studio_host: str

    @property
    def scope(self) -> str:
        """What a token for Synapse is asked for."""
        return f"https://{self.endpoint_suffix}/.default"


PUBLIC_CLOUD = Cloud("dev.azuresynapse.net", "login.microsoftonline.com", "web.azuresynapse.net")

CLOUDS = (
    PUBLIC_CLOUD,
    Cloud("dev.azuresynapse.azure.cn", "login.chinacloudapi.cn", "web.azuresynapse.azure.cn"),
    Cloud("dev.azuresynapse.usgovcloudapi.net", "login.microsoftonline.us", "web.azuresynapse.usgovcloudapi.net"),
)


class AuthType(StrEnum):
    """How the identity proves itself: the values of the connection's ``auth_type``."""

    CLIENT_SECRET = "client_secret"
    DEFAULT = "default"
    TOKEN = "token"


@dataclass(frozen=True)
class Identity:
    """
    Who asks for a token, and where.

    :param auth_type: how the identity proves itself.
    :param scope: what the token is for.
    :param authority: the host of Microsoft Entra ID.
    :param tenant_id: the tenant; empty where the kind of identity needs none.
    :param client_id: the application's client id, likewise.
    :param secret: the client secret or the ready-made token, likewise.
    :param ca_file: the certificates to trust; False trusts any.
    """

    auth_type: AuthType
    scope: str
    authority: str
    tenant_id: str
    client_id: str
    secret: str = field(repr=False)
    ca_file: str | bool


class AirflowConnection(Protocol):
    """What is read of Airflow's own connection object."""

    conn_id: str
    host: str | None
    port: int | None
    login: str | None
    password: str | None


@dataclass(frozen=True)
class SynapseLivyConnection:
    """
    A workspace, and the identity to use there.

    :param conn_id: the id of the Airflow connection.
    :param endpoint: the workspace's development endpoint, without a slash at the end.
    :param spark_pool_name: the Spark pool, for tasks that name none.
    :param livy_api_version: the version of the Livy API, for tasks that name none.
    :param identity: who asks.
    :param ca_file: the certificates to trust; False trusts any.
    """

    conn_id: str
    endpoint: str
    spark_pool_name: str | None
    livy_api_version: str
    identity: Identity
    ca_file: str | bool

    @classmethod
    def from_airflow(cls, connection: AirflowConnection, extra: Mapping[str, Any]) -> SynapseLivyConnection:
        """
        Read and check an Airflow connection.

        :param connection: the connection.
        :param extra: its extra fields; null and empty ones count as missing.
        :raises SynapseLivyConfigurationError: if it can't work; the message says what to write where.
        """
        reader = _Reader(connection, {key: value for key, value in extra.items() if value not in (None, "")})
        endpoint, cloud = reader.endpoint()
        ca_file = reader.ca_file()
        return cls(
            conn_id=connection.conn_id,
            endpoint=endpoint,
            spark_pool_name=reader.text("spark_pool_name"),
            livy_api_version=reader.text("livy_api_version") or DEFAULT_LIVY_API_VERSION,
            identity=reader.identity(cloud, ca_file),
            ca_file=ca_file,
        )

    def spark_session_request(
        self,
        session_id: object,
        *,
        spark_pool_name: str | None = None,
        livy_api_version: str | None = None,
        detailed: bool = True,
    ) -> SparkSessionRequest:
        """
        Build the request for a session of this workspace.

        :param session_id: the session's id.
        :param spark_pool_name: the Spark pool; None for the connection's.
        :param livy_api_version: the version of the Livy API; None for the connection's.
        :param detailed: whether to ask for everything.
        :raises SynapseLivyConfigurationError: if the id is none, or no pool is named.
        """
        return spark_session_request(
            endpoint=self.endpoint,
            spark_pool_name=self.pool(spark_pool_name),
            livy_api_version=livy_api_version or self.livy_api_version,
            session_id=session_id,
            detailed=detailed,
        )

    def pool(self, spark_pool_name: str | None) -> str:
        """
        Choose the pool: the one that is named, else the connection's.

        :param spark_pool_name: the pool that the task names, if any.
        :raises SynapseLivyConfigurationError: if neither names one.
        """
        chosen = spark_pool_name or self.spark_pool_name
        if chosen:
            return chosen
        raise SynapseLivyConfigurationError(
            f"No Spark pool is named. Give the task spark_pool_name, or write it into the connection "
            f'{self.conn_id} (field "Spark pool", extra "spark_pool_name").'
        )


@dataclass(frozen=True)
class _Reader:
    """Reads one Airflow connection, field by field."""

    connection: AirflowConnection
    extra: Mapping[str, Any]

    def fail(self, what: str) -> NoReturn:
        raise SynapseLivyConfigurationError(f"Connection {self.connection.conn_id}: {what}")

    def text(self, name: str) -> str | None:
        value = self.extra.get(name)
        return None if value is None else str(value).strip()

    def ca_file(self) -> str | bool:
        """Decide once for both transports and the token: a named bundle, else the environment's, else certifi's."""
        from requests.utils import DEFAULT_CA_BUNDLE_PATH

        value = self.extra.get("verify", True)
        if str(value).lower() == "false":
            return False
        if str(value).lower() != "true":
            return self.existing_file(str(value))
        return os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or DEFAULT_CA_BUNDLE_PATH

    def existing_file(self, path: str) -> str:
        if not Path(path).exists():
            self.fail(f'there is no file {path} (extra "verify"). Name a file of CA certificates, or true.')
        return path

    def endpoint(self) -> tuple[str, Cloud]:
        """Read the workspace's development endpoint, and the cloud that it is in."""
        url = self.url()
        host = (url.hostname or "").lower()
        if host in {cloud.studio_host for cloud in CLOUDS}:
            self.fail_host("is the address of Synapse Studio.")
        if _is_loopback(host):
            return f"{url.scheme}://{self.with_port(url)}", PUBLIC_CLOUD
        if url.scheme != "https":
            self.fail_host("would send the token unencrypted. Only https is allowed, but for loopback addresses.")
        if "." not in host:
            host = f"{host}.{PUBLIC_CLOUD.endpoint_suffix}"
        workspace, _, suffix = host.partition(".")
        cloud = next((cloud for cloud in CLOUDS if cloud.endpoint_suffix == suffix), None)
        if cloud is None or not re.fullmatch(r"[a-z0-9-]+", workspace):
            self.fail_host("is not the development endpoint of a workspace.")
        return f"https://{self.with_port(url, host)}", cloud

    def url(self) -> SplitResult:
        text = (self.connection.host or "").strip()
        scheme, _, rest = text.rpartition("://")
        try:
            url = urlsplit(f"{scheme or 'https'}://{rest}")
            url.port  # noqa: B018  (reading it is what checks it)
        except ValueError:
            self.fail_host("is not an address.")
        if not url.hostname:
            self.fail_host("is missing." if not text else "is not an address.")
        plain = url.path in ("", "/") and not (url.query or url.fragment or url.username)
        if not plain and "web." not in url.hostname:
            self.fail_host("has more than the workspace's address.")
        return url

    def with_port(self, url: SplitResult, host: str | None = None) -> str:
        if url.port and self.connection.port not in (None, url.port):
            self.fail(f"the host says port {url.port}, the field Port says {self.connection.port}. Write it once.")
        port = url.port or self.connection.port
        host = host or url.netloc.rpartition("@")[2].removesuffix(f":{url.port}")
        return host if port in (None, 443) else f"{host}:{port}"

    def fail_host(self, what: str) -> NoReturn:
        self.fail(
            f"the host {self.connection.host!r} {what} Write the workspace's development endpoint, "
            "https://<workspace>.dev.azuresynapse.net (Azure portal > the workspace > Overview)."
        )

    def identity(self, cloud: Cloud, ca_file: str | bool) -> Identity:
        """Read who asks, and see that what the kind of identity needs is there."""
        auth_type = self.auth_type()
        identity = Identity(
            auth_type=auth_type,
            scope=cloud.scope,
            authority=self.text("authority") or cloud.authority,
            tenant_id=self.text("tenantId") or "",
            client_id=(self.connection.login or "").strip(),
            secret=self.connection.password or "",
            ca_file=ca_file,
        )
        for name, where in _NEEDED[auth_type].items():
            if not getattr(identity, name):
                self.fail(f"{auth_type} needs {where}")
        return identity

    def auth_type(self) -> AuthType:
        """Read ``auth_type``; where it is blank, what else is filled in tells."""
        name = self.text("auth_type")
        if name is None:
            filled = self.connection.login or self.connection.password or self.text("tenantId")
            return AuthType.CLIENT_SECRET if filled else AuthType.DEFAULT
        try:
            return AuthType(name)
        except ValueError:
            self.fail(f'the extra "auth_type" is {name!r}. Write one of {", ".join(AuthType)}.')


_TENANT = (
    'the tenant id. Write it into the field "Tenant ID" (extra "tenantId"); '
    "Azure portal > Microsoft Entra ID > Overview shows it."
)
_CLIENT = (
    'the application\'s client id. Write it into the field "Client ID" (login); '
    "Azure portal > Microsoft Entra ID > App registrations shows it."
)
_SECRET = (
    'a client secret. Write it into the field "Client secret" (password); '
    "make one in Azure portal > App registrations > Certificates & secrets."
)
_TOKEN = 'a bearer token. Write it into the field "Client secret" (password).'

#: What each kind of identity can't do without, and where it is written.
_NEEDED: dict[AuthType, dict[str, str]] = {
    AuthType.CLIENT_SECRET: {"tenant_id": _TENANT, "client_id": _CLIENT, "secret": _SECRET},
    AuthType.DEFAULT: {},
    AuthType.TOKEN: {"secret": _TOKEN},
}


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
