"""
The links from a task in Airflow's UI to its Spark session: Spark UI, driver's log, Synapse Studio.

The task leaves their addresses in XCom, in every mode and also when it fails, since Airflow 2 asks for a link in the
webserver, Airflow 3 on the worker, and the one can't do what the other can. Where an address is not known, or would
lead nowhere, there is no link.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

from airflow.providers.common.compat.sdk import BaseOperatorLink, XCom

from airflow_provider_synapse_livy.connection.synapse_livy import CLOUDS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.providers.common.compat.sdk import BaseOperator, Context, TaskInstanceKey

    from airflow_provider_synapse_livy.connection.synapse_livy import SynapseLivyConnection
    from airflow_provider_synapse_livy.models import SparkSession

__all__ = [
    "LINKS_KEY",
    "RETURN_VALUE",
    "SPARK_SESSION_LINKS",
    "DriverLogLink",
    "SparkUiLink",
    "SynapseStudioLink",
    "end_of_task_xcoms",
    "session_links",
]

log = logging.getLogger(__name__)

#: The XCom key of what a task returns. Airflow's own constant would load the metadata database's models.
RETURN_VALUE = "return_value"

#: The XCom key of the addresses, by the name of the link.
LINKS_KEY = "spark_session_links"


class _SparkSessionLink(BaseOperatorLink):
    """A link whose address the task has left in XCom."""

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002  (Airflow's)
        """
        Give the address, empty where there is none.

        :param operator: the task's operator.
        :param ti_key: the task.
        """
        links = XCom.get_value(ti_key=ti_key, key=LINKS_KEY) or {}
        return str(links.get(self.name, ""))


class SparkUiLink(_SparkSessionLink):
    """The Spark UI of the session's application, or its history."""

    name = "Spark UI"


class DriverLogLink(_SparkSessionLink):
    """The log of the session's driver."""

    name = "Driver log"


class SynapseStudioLink(_SparkSessionLink):
    """The session's page in Synapse Studio."""

    name = "Synapse Studio"


SPARK_SESSION_LINKS: tuple[BaseOperatorLink, ...] = (SparkUiLink(), DriverLogLink(), SynapseStudioLink())


def session_links(session: SparkSession, connection: SynapseLivyConnection) -> dict[str, str]:
    """
    Give the addresses of a session's links, by the links' names.

    :param session: the session.
    :param connection: the connection to its workspace.
    """
    info = session.app_info or {}
    addresses = {
        SparkUiLink.name: _in_studio(info.get("sparkUiUrl")),
        DriverLogLink.name: _in_studio(info.get("driverLogUrl")),
        SynapseStudioLink.name: _studio_page(session, connection),
    }
    return {name: address for name, address in addresses.items() if address}


def push_links(context: Context, links: Mapping[str, str]) -> None:
    """
    Leave the addresses of a task's links in its XCom, also if there are none: Airflow calls a missing XCom an error.

    A link is not worth a failure, so if that can't be, it is logged.

    :param context: Airflow's context of the task.
    :param links: the addresses, by the links' names.
    """
    task_instance = context.get("ti")  # which unit tests of DAGs leave out
    try:
        if task_instance:
            task_instance.xcom_push(key=LINKS_KEY, value=dict(links))
    except Exception:
        log.warning("The links to the Spark session can't be kept.", exc_info=True)


def end_of_task_xcoms(session: SparkSession, links: Mapping[str, str]) -> dict[str, Any]:
    """
    Give all XComs that a task has at a successful end: what it returns, and what Airflow 3 keeps of its links.

    :param session: the session.
    :param links: the addresses of its links.
    """
    kept = {link.xcom_key: links.get(link.name, "") for link in SPARK_SESSION_LINKS}
    return {RETURN_VALUE: session.to_dict(), LINKS_KEY: dict(links), **kept}


def _in_studio(url: Any) -> str | None:
    """Pass the addresses that a browser can reach. Old sessions have some that lead to nodes of their cluster."""
    try:
        parts = urlsplit(url if isinstance(url, str) else "")
    except ValueError:
        return None
    studios = tuple(cloud.studio_host for cloud in CLOUDS)
    return url if parts.scheme == "https" and (parts.hostname or "").endswith(studios) else None


def _studio_page(session: SparkSession, connection: SynapseLivyConnection) -> str | None:
    """Studio finds a workspace by its resource id alone, which no answer tells: without it there is no page."""
    if not (connection.workspace_resource_id and session.name and session.spark_pool_name):
        return None
    query = {
        "workspace": connection.workspace_resource_id,
        "livyId": session.id,
        "sparkPoolName": session.spark_pool_name,
    }
    page = f"https://{connection.studio_host}/en/monitoring/sparkapplication/{quote(session.name, safe='')}"
    return f"{page}?{urlencode(query)}"
