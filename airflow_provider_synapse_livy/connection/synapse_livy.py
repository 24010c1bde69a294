"""What an Airflow connection of the type ``synapse_livy`` says, checked before anything is sent."""

from __future__ import annotations

import re
from dataclasses import dataclass

from airflow_provider_synapse_livy.connection.clouds import CLOUDS, Cloud
from airflow_provider_synapse_livy.connection.fields import AirflowConnection, ConnectionFields
from airflow_provider_synapse_livy.connection.identity import AuthType, Identity, read_identity
from airflow_provider_synapse_livy.connection.network import Network, read_network
from airflow_provider_synapse_livy.connection.workspace import read_workspace
from airflow_provider_synapse_livy.livy.errors import SynapseLivyConfigurationError, error_message
from airflow_provider_synapse_livy.livy.requests import DEFAULT_LIVY_API_VERSION, Pool

__all__ = ["CLOUDS", "AuthType", "Network", "SynapseLivyConnection"]

_RESOURCE_ID = "/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft.Synapse/workspaces/[^/]+"


@dataclass(frozen=True)
class SynapseLivyConnection:
    """
    A workspace, and the identity to use there.

    :param conn_id: the id of the Airflow connection.
    :param endpoint: the workspace's development endpoint, without a slash at the end.
    :param cloud: the cloud that the workspace is in, or that it behaves like.
    :param spark_pool_name: the Spark pool, for tasks that name none.
    :param livy_api_version: the version of the Livy API, for tasks that name none.
    :param identity: who signs in, and how.
    :param network: how to reach the workspace.
    :param workspace_resource_id: the workspace's resource id in Azure, by which Studio finds it.
    """

    conn_id: str
    endpoint: str
    cloud: Cloud
    spark_pool_name: str | None
    livy_api_version: str
    identity: Identity
    network: Network
    workspace_resource_id: str | None

    @classmethod
    def from_airflow(cls, connection: AirflowConnection, extra: object) -> SynapseLivyConnection:
        """
        Read and check an Airflow connection.

        :param connection: the connection.
        :param extra: its extra fields; null and empty ones count as missing.
        :raises SynapseLivyConfigurationError: if it can't work; the message says what to write where.
        """
        fields = ConnectionFields.of(connection, extra)
        workspace = read_workspace(fields)
        network = read_network(fields)
        return cls(
            conn_id=connection.conn_id,
            endpoint=workspace.endpoint,
            cloud=workspace.cloud,
            spark_pool_name=fields.text("spark_pool_name"),
            livy_api_version=fields.text("livy_api_version") or DEFAULT_LIVY_API_VERSION,
            identity=read_identity(fields, workspace, network),
            network=network,
            workspace_resource_id=_workspace_resource_id(fields),
        )

    def pool(self, spark_pool_name: str | None = None, livy_api_version: str | None = None) -> Pool:
        """
        Return the Spark pool of a task. White space around a value, as templates may leave it, is removed.

        :param spark_pool_name: the task's pool; None for the connection's. An empty one does not become that: the
            template of the task rendered to nothing, and sessions of different pools have the same numbers.
        :param livy_api_version: the task's version of the Livy API; None for the connection's.
        :raises SynapseLivyConfigurationError: if neither task nor connection names a pool.
        """
        name = self.spark_pool_name if spark_pool_name is None else spark_pool_name
        version = self.livy_api_version if livy_api_version is None else livy_api_version
        if name is None:
            raise SynapseLivyConfigurationError(
                error_message(
                    f"Connection {self.conn_id}: no Spark pool is named.",
                    'set spark_pool_name on the task, or the field "Spark pool" (extra "spark_pool_name").',
                )
            )
        return Pool(self.endpoint, _stripped(name), _stripped(version))


def _stripped(value: str) -> str:
    """Return a text without white space around it; what is no text is refused where the request is built."""
    return value.strip() if isinstance(value, str) else value


def _workspace_resource_id(fields: ConnectionFields) -> str | None:
    value = fields.text("workspace_resource_id")
    if value is None or re.fullmatch(_RESOURCE_ID, value, re.IGNORECASE):
        return value
    raise fields.error(
        'the extra "workspace_resource_id" is not the resource id of a workspace.',
        "write the one that Azure portal > the workspace > Properties shows.",
        f"It is {value!r}.",
        "Its form is /subscriptions/<id>/resourceGroups/<name>/providers/Microsoft.Synapse/workspaces/<name>.",
    )
