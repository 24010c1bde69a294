"""Which workspace a connection leads to, in which cloud, and whether a token may be sent there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from airflow_provider_synapse_livy.connection.clouds import CLOUDS, PUBLIC_CLOUD, Cloud, scope_of
from airflow_provider_synapse_livy.connection.fields import ConnectionFields
from airflow_provider_synapse_livy.connection.host_names import has_server, is_host_name
from airflow_provider_synapse_livy.connection.network import authority_url, is_loopback
from airflow_provider_synapse_livy.livy.errors import SynapseLivyConfigurationError
from airflow_provider_synapse_livy.livy.responses import one_line

__all__ = ["Workspace", "read_workspace"]

_HOST_FIX = "write https://<workspace>.dev.azuresynapse.net (Azure portal > the workspace > Overview shows it)."
_OTHER_HOSTS = (
    'A host outside Microsoft\'s clouds gets a token only if the extra "endpoint_suffix" names its domain, '
    'or "allow_custom_host" is true.'
)
_CONTRADICTION_FIX = "correct one of them."


@dataclass(frozen=True)
class Workspace:
    """
    Where a connection leads.

    :param endpoint: the workspace's development endpoint, without a slash at the end.
    :param cloud: the cloud that it is in, or that it behaves like.
    :param scope: the scope of a token for it.
    :param authority: the host of Microsoft Entra ID.
    :param is_trusted: whether any token that the identity gets may be sent there.
    """

    endpoint: str
    cloud: Cloud
    scope: str
    authority: str
    is_trusted: bool


def read_workspace(fields: ConnectionFields) -> Workspace:
    """
    Read where a connection leads.

    :param fields: the connection's fields.
    :raises SynapseLivyConfigurationError: if no token may be sent there, or it is in two clouds at once.
    """
    return _WorkspaceFields(fields).workspace()


@dataclass(frozen=True)
class _WorkspaceFields:
    """The fields that say where a connection leads, which bear on each other."""

    fields: ConnectionFields

    def workspace(self) -> Workspace:
        url = self.url()
        custom = self.fields.flag("allow_custom_host")
        host = None if is_loopback(url.geturl()) else self.host(url, custom=custom)
        cloud = self.cloud(host)
        scope = self.scope(cloud)
        return Workspace(
            endpoint=f"{url.scheme}://{self.with_port(url, host)}",
            cloud=cloud,
            scope=scope,
            authority=self.authority(cloud),
            is_trusted=custom or _cloud_of(host) is not None or self.is_of_own_cloud(scope),
        )

    def url(self) -> SplitResult:
        text = self.fields.host
        if not text:
            raise self.fields.error("the host is missing.", _HOST_FIX)
        scheme, _, rest = text.rpartition("://")
        try:
            url = urlsplit(f"{scheme or 'https'}://{rest}")
            url.port  # noqa: B018  (reading it is what checks it)
        except ValueError:
            raise self.host_error("is not an address.") from None
        if not url.hostname:
            raise self.host_error("is not an address.")
        if url.hostname.lower().endswith(tuple(cloud.studio_host for cloud in CLOUDS)):
            raise self.host_error("is the address of Synapse Studio.")
        if url.path not in ("", "/") or url.query or url.fragment or url.username is not None:
            raise self.host_error("has more than the workspace's address.")
        return url

    def host(self, url: SplitResult, *, custom: bool) -> str:
        """Return the name of a host that is not this machine, if a token may be sent there."""
        if url.scheme != "https":
            raise self.host_error("would get the token unencrypted: http is for loopback addresses only.")
        host = self.full_name((url.hostname or "").lower(), custom=custom)
        workspace, _, below = host.partition(".")
        if self.suffix() and not custom and below != self.suffix():
            written = self.fields.text("endpoint_suffix")
            event = 'the host is not below the extra "endpoint_suffix".'
            raise self.fields.error(event, _CONTRADICTION_FIX, f"The host is {host}, the suffix {written!r}.")
        is_name = re.fullmatch(r"[a-z0-9-]+", workspace) is not None and is_host_name(host)
        if is_name and (below == self.suffix() or _cloud_of(host)):
            return host
        if not custom:
            raise self.host_error("is not the development endpoint of a workspace.", _OTHER_HOSTS)
        if "_" in host or not is_host_name(host):
            raise self.host_error("is not the name of a host.")
        return f"[{host}]" if ":" in host else host

    def full_name(self, host: str, *, custom: bool) -> str:
        """Return the host's name with the cloud's suffix, if it is the bare name of a workspace."""
        is_url = "://" in self.fields.host  # a host with its scheme is what it is, not the name of a workspace
        if "." in host or ":" in host or (custom and is_url):
            return host
        return f"{host}.{self.suffix() or (self.named_cloud() or PUBLIC_CLOUD).endpoint_suffix}"

    def suffix(self) -> str | None:
        value = (self.fields.text("endpoint_suffix") or "").strip(".").lower()
        if not value or re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", value):
            return value or None
        raise self.fields.wrong_extra(
            "endpoint_suffix",
            f"write what follows the workspace's name in its endpoint, such as {PUBLIC_CLOUD.endpoint_suffix}.",
        )

    def is_of_own_cloud(self, scope: str) -> bool:
        """Return whether a token is for an air-gapped cloud alone, and of no use at Microsoft's."""
        suffix = self.suffix()
        return suffix is not None and scope == scope_of(suffix) and suffix not in {c.endpoint_suffix for c in CLOUDS}

    def named_cloud(self) -> Cloud | None:
        name = self.fields.text("cloud_environment")
        found = next((cloud for cloud in CLOUDS if cloud.name == name), None)
        if name and not found:
            names = ", ".join(cloud.name for cloud in CLOUDS)
            raise self.fields.wrong_extra("cloud_environment", f"write one of {names}.")
        return found

    def cloud(self, host: str | None) -> Cloud:
        """Return the cloud that the host is in, else ``cloud_environment``. They may not differ."""
        named, by_host = self.named_cloud(), _cloud_of(host)
        if named and by_host and named is not by_host:
            event = f'the host is in {by_host.name}, but the extra "cloud_environment" is {named.name}.'
            raise self.fields.error(event, _CONTRADICTION_FIX, f"The host is {host}.")
        return by_host or named or PUBLIC_CLOUD

    def authority(self, cloud: Cloud) -> str:
        value = self.fields.text("authority")
        if value is None:
            return cloud.authority
        if not _is_authority(value):
            raise self.fields.wrong_extra("authority", f"write https://{cloud.authority}, or another host.")
        name = value.removeprefix("https://").rstrip("/").lower()
        other = next((other for other in CLOUDS if other.authority == name), cloud)
        if other is not cloud:
            event = f'the workspace is in {cloud.name}, but the extra "authority" is the one of {other.name}.'
            raise self.fields.error(event, _CONTRADICTION_FIX, f"The authority is {value}.")
        return name if name == cloud.authority else value.rstrip("/")

    def scope(self, cloud: Cloud) -> str:
        """Return the scope of a token. A resource without a permission stands for all that the identity has."""
        value = self.fields.text("scope")
        if value is None:
            suffix = self.suffix()
            return scope_of(suffix) if suffix else cloud.scope
        return value if value.endswith("/.default") else f"{value.rstrip('/')}/.default"

    def with_port(self, url: SplitResult, host: str | None) -> str:
        field = self.fields.port
        if url.port and field not in (None, url.port):
            raise self.fields.error(f"the host has port {url.port}, the field Port {field}.", "write it once.")
        port = url.port or field
        host = host or url.netloc.removesuffix(f":{url.port}")
        return host if port in (None, 443) else f"{host}:{port}"

    def host_error(self, problem: str, *evidence: str) -> SynapseLivyConfigurationError:
        shown = re.sub(r"[^/]*@", "...@", self.fields.host)  # a password could stand there
        return self.fields.error(f"the host {problem}", _HOST_FIX, f"The host is {one_line(repr(shown))}.", *evidence)


def _is_authority(value: str) -> bool:
    """Return whether a text is a host, or an https address of one; plain http is for loopback addresses."""
    url = authority_url(value)
    parts = urlsplit(url) if has_server(url) else None
    if parts is None or parts.username is not None or parts.path.strip("/") or parts.query or parts.fragment:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(url))


def _cloud_of(host: str | None) -> Cloud | None:
    suffix = (host or "").partition(".")[2]
    return next((cloud for cloud in CLOUDS if cloud.endpoint_suffix == suffix), None)
