"""What an Airflow connection of the type ``synapse_livy`` says, checked before anything is sent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_synapse_livy.connection.clouds import CLOUDS, Cloud
from airflow_provider_synapse_livy.connection.fields import AirflowConnection, ConnectionFields
from airflow_provider_synapse_livy.connection.identity import AuthType, Identity, read_identity
from airflow_provider_synapse_livy.connection.network import Network, is_loopback, read_network
from airflow_provider_synapse_livy.connection.workspace import read_workspace
from airflow_provider_synapse_livy.livy.errors import SynapseLivyConfigurationError
from airflow_provider_synapse_livy.livy.responses import (
    DEFAULT_LIVY_API_VERSION,
    SparkSessionRequest,
    spark_session_request,
)

__all__ = ["CLOUDS", "AuthType", "Cloud", "Identity", "Network", "SynapseLivyConnection", "is_loopback"]

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
    :param identity: who asks.
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
    def from_airflow(cls, connection: AirflowConnection, extra: Mapping[str, Any]) -> SynapseLivyConnection:
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

    @property
    def studio_host(self) -> str:
        """The host of Synapse Studio in the workspace's cloud."""
        return self.cloud.studio_host

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
            f"Connection {self.conn_id}: no Spark pool is named. Give the task spark_pool_name, or write it into the "
            'field "Spark pool" (extra "spark_pool_name").'
        )


def _workspace_resource_id(fields: ConnectionFields) -> str | None:
    value = fields.text("workspace_resource_id")
    if value is None or re.fullmatch(_RESOURCE_ID, value, re.IGNORECASE):
        return value
    raise fields.error(
        f'the extra "workspace_resource_id" is {value!r}. Write the one that Azure portal > the workspace > '
        "Properties shows, /subscriptions/<id>/resourceGroups/<name>/providers/Microsoft.Synapse/workspaces/<name>."
    )
