"""What an Airflow connection of the type ``synapse_livy`` says, checked before anything is sent."""

from __future__ import annotations

import ipaddress
import math
import os
import re
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import SplitResult, urlsplit

from airflow_provider_synapse_livy.api import (
    DEFAULT_LIVY_API_VERSION,
    SparkSessionRequest,
    spark_session_request,
)
from airflow_provider_synapse_livy.exceptions import SynapseLivyConfigurationError

__all__ = ["CLOUDS", "AuthType", "Cloud", "Identity", "Network", "SynapseLivyConnection", "is_loopback"]

_TIMEOUT = 30.0

_RESOURCE_ID = "/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft.Synapse/workspaces/[^/]+"


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
class Network:
    """
    How to reach others.

    :param ca_bundle: the file or folder of certificates to trust; False trusts any.
    :param timeout: how many seconds to wait for a connection, and for each piece of an answer.
    """

    ca_bundle: str | bool
    timeout: float

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
        Find the proxy that the environment names for an address, by the rules of requests.

        Loopback addresses have none: no proxy could reach them, and plain http would show it the token.

        :param url: the address.
        """
        from requests.utils import get_environ_proxies, select_proxy

        return None if is_loopback(url) else select_proxy(url, get_environ_proxies(url))


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
    :param network: how to reach Microsoft Entra ID.
    """

    auth_type: AuthType
    scope: str
    authority: str
    tenant_id: str
    client_id: str
    secret: str = field(repr=False)
    network: Network


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
    :param network: how to reach the workspace.
    :param studio_host: the host of Synapse Studio in the workspace's cloud.
    :param workspace_resource_id: the workspace's resource id in Azure, by which Studio finds it.
    """

    conn_id: str
    endpoint: str
    spark_pool_name: str | None
    livy_api_version: str
    identity: Identity
    network: Network
    studio_host: str
    workspace_resource_id: str | None

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
        network = reader.network()
        return cls(
            conn_id=connection.conn_id,
            endpoint=endpoint,
            spark_pool_name=reader.text("spark_pool_name"),
            livy_api_version=reader.text("livy_api_version") or DEFAULT_LIVY_API_VERSION,
            identity=reader.identity(cloud, network),
            network=network,
            studio_host=cloud.studio_host,
            workspace_resource_id=reader.workspace_resource_id(),
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
            livy_api_version=self.livy_api_version if livy_api_version is None else livy_api_version,
            session_id=session_id,
            detailed=detailed,
        )

    def pool(self, spark_pool_name: str | None) -> str:
        """
        Choose the pool: the one that is named, else the connection's.

        :param spark_pool_name: the pool that the task names, if any.
        :raises SynapseLivyConfigurationError: if neither names one.
        """
        chosen = self.spark_pool_name if spark_pool_name is None else spark_pool_name
        if chosen is not None:
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

    def error(self, what: str) -> SynapseLivyConfigurationError:
        return SynapseLivyConfigurationError(f"Connection {self.connection.conn_id}: {what}")

    def text(self, name: str) -> str | None:
        value = self.extra.get(name)
        return None if value is None else str(value).strip()

    def workspace_resource_id(self) -> str | None:
        value = self.text("workspace_resource_id")
        if value is None or re.fullmatch(_RESOURCE_ID, value, re.IGNORECASE):
            return value
        raise self.error(
            f'the extra "workspace_resource_id" is {value!r}. Write the one that Azure portal > the workspace > '
            "Properties shows, /subscriptions/<id>/resourceGroups/<name>/providers/Microsoft.Synapse/workspaces/<name>."
        )

    def network(self) -> Network:
        """Read how to reach others, once for both transports and the token: a bundle that is named must be one."""
        from requests.utils import DEFAULT_CA_BUNDLE_PATH

        bundle = self.ca_bundle()
        network = Network(ca_bundle=DEFAULT_CA_BUNDLE_PATH if bundle is True else bundle, timeout=self.timeout())
        if isinstance(bundle, str):
            self.check_certificates(network)
        return network

    def ca_bundle(self) -> str | bool:
        value = str(self.extra.get("verify", True)).strip()
        if value.lower() != "true":
            return False if value.lower() == "false" else value
        return os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True

    def check_certificates(self, network: Network) -> None:
        try:
            network.ssl_context()
        except OSError as error:
            raise self.error(
                f"{network.ca_bundle} holds no certificates ({error}). Name a file or folder of CA certificates, or "
                'true, in the extra "verify", or else in REQUESTS_CA_BUNDLE.'
            ) from None

    def timeout(self) -> float:
        value = self.extra.get("timeout", _TIMEOUT)
        with suppress(TypeError, ValueError):
            if 0 < (seconds := float(value)) < math.inf:
                return seconds
        raise self.error(f'the extra "timeout" is {value!r}. Write a number of seconds.')

    def endpoint(self) -> tuple[str, Cloud]:
        """Read the workspace's development endpoint, and the cloud that it is in."""
        url = self.url()
        host = (url.hostname or "").lower()
        if host.endswith(tuple(cloud.studio_host for cloud in CLOUDS)):
            raise self.host_error("is the address of Synapse Studio.")
        if is_loopback(url.geturl()):
            return f"{url.scheme}://{self.with_port(url)}", PUBLIC_CLOUD
        if url.scheme != "https":
            raise self.host_error("would send the token unencrypted. http is for loopback addresses only.")
        if "." not in host:
            host = f"{host}.{PUBLIC_CLOUD.endpoint_suffix}"
        workspace, _, suffix = host.partition(".")
        cloud = next((cloud for cloud in CLOUDS if cloud.endpoint_suffix == suffix), None)
        if cloud is None or not re.fullmatch(r"[a-z0-9-]+", workspace):
            raise self.host_error("is not the development endpoint of a workspace.")
        return f"https://{self.with_port(url, host)}", cloud

    def url(self) -> SplitResult:
        text = (self.connection.host or "").strip()
        if not text:
            raise self.error(f"the host is missing. {_RIGHT_HOST}")
        scheme, _, rest = text.rpartition("://")
        try:
            url = urlsplit(f"{scheme or 'https'}://{rest}")
            url.port  # noqa: B018  (reading it is what checks it)
        except ValueError:
            raise self.host_error("is not an address.") from None
        if not url.hostname:
            raise self.host_error("is not an address.")
        plain = url.path in ("", "/") and not (url.query or url.fragment or url.username)
        if not plain and "web." not in url.hostname:
            raise self.host_error("has more than the workspace's address.")
        return url

    def with_port(self, url: SplitResult, host: str | None = None) -> str:
        if url.port and self.connection.port not in (None, url.port):
            raise self.error(f"the host says port {url.port}, the field Port {self.connection.port}. Write it once.")
        port = url.port or self.connection.port
        host = host or url.netloc.rpartition("@")[2].removesuffix(f":{url.port}")
        return host if port in (None, 443) else f"{host}:{port}"

    def host_error(self, what: str) -> SynapseLivyConfigurationError:
        shown = re.sub(r"//.*@", "//...@", self.connection.host or "")  # a password could stand there
        return self.error(f"the host {shown!r} {what} {_RIGHT_HOST}")

    def identity(self, cloud: Cloud, network: Network) -> Identity:
        """Read who asks, and see that what the kind of identity needs is there."""
        auth_type = self.auth_type()
        identity = Identity(
            auth_type=auth_type,
            scope=cloud.scope,
            authority=self.text("authority") or cloud.authority,
            tenant_id=self.text("tenantId") or "",
            client_id=(self.connection.login or "").strip(),
            secret=self.connection.password or "",
            network=network,
        )
        for name, where in _NEEDED[auth_type].items():
            if not getattr(identity, name):
                raise self.error(f"{auth_type} needs {where}")
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
            raise self.error(f'the extra "auth_type" is {name!r}. Write one of {", ".join(AuthType)}.') from None


_RIGHT_HOST = (
    "Write the workspace's development endpoint, https://<workspace>.dev.azuresynapse.net "
    "(Azure portal > the workspace > Overview)."
)
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
