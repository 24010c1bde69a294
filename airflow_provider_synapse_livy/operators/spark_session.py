"""The operator that reads a Spark session of Azure Synapse."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_synapse_livy.airflow_compat.sdk import BaseOperator
from airflow_provider_synapse_livy.hooks.synapse_livy import SynapseLivyHook
from airflow_provider_synapse_livy.links import SPARK_SESSION_LINKS, push_links

if TYPE_CHECKING:
    from airflow_provider_synapse_livy.airflow_compat.sdk import BaseOperatorLink, Context

__all__ = ["SynapseGetSparkSessionOperator"]


class SynapseGetSparkSessionOperator(BaseOperator):
    """
    Read a Livy Spark session of Azure Synapse and push it to XCom.

    The XCom is a dict under the names of the documentation page; ``SparkSession.from_dict`` returns the typed session
    that it describes.

    Source: `Spark Session - Get Spark Session
    <https://learn.microsoft.com/rest/api/synapse/data-plane/spark-session/get-spark-session>`__

    :param session_id: the session's id in the pool, from 0 up (templated).
    :param spark_pool_name: the Spark pool; None for the connection's (templated).
    :param detailed: whether to ask for everything; otherwise the response has little but id, application, state
        and log.
    :param livy_api_version: the version of the Livy API; None for the connection's (templated).
    :param synapse_livy_conn_id: the id of the Airflow connection to the workspace (templated).
    :raises SynapseLivyError: if it can't be read. The kinds are in
        :mod:`airflow_provider_synapse_livy.exceptions`.
    """

    template_fields: Sequence[str] = ("session_id", "spark_pool_name", "livy_api_version", "synapse_livy_conn_id")
    operator_extra_links: Collection[BaseOperatorLink] = SPARK_SESSION_LINKS
    ui_color = "#d6e9f5"

    def __init__(
        self,
        *,
        session_id: int | str,
        spark_pool_name: str | None = None,
        detailed: bool = True,
        livy_api_version: str | None = None,
        synapse_livy_conn_id: str = SynapseLivyHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.session_id = session_id
        self.spark_pool_name = spark_pool_name
        self.detailed = detailed
        self.livy_api_version = livy_api_version
        self.synapse_livy_conn_id = synapse_livy_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        """
        Return the session.

        :param context: Airflow's context of the task.
        """
        hook = SynapseLivyHook(
            self.synapse_livy_conn_id,
            spark_pool_name=self.spark_pool_name,
            livy_api_version=self.livy_api_version,
        )
        links: dict[str, str] = {}
        try:
            session = hook.get_spark_session(self.session_id, detailed=self.detailed)
            links = hook.links(session)
        finally:
            push_links(context, links)
        self.log.info("%s is %s.", session, session.state)
        return session.to_dict()
