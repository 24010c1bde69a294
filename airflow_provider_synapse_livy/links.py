"""
The links from a task in Airflow's UI to its Spark session or batch job: Spark UI, driver log, Synapse Studio.

The task pushes their URLs to XCom, in every mode and also when it fails, since XCom can be read wherever Airflow asks
for a link: Airflow 2 asks in the webserver, Airflow 3 on the worker. A URL that is unknown, or that no browser can
reach, gets no link.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

from airflow_provider_synapse_livy.airflow_compat.sdk import BaseOperatorLink, XCom
from airflow_provider_synapse_livy.airflow_compat.task_state import pull_own_xcom
from airflow_provider_synapse_livy.connection.clouds import CLOUDS
from airflow_provider_synapse_livy.models import SparkJob

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_synapse_livy.airflow_compat.sdk import BaseOperator, Context, TaskInstanceKey
    from airflow_provider_synapse_livy.connection.synapse_livy import SynapseLivyConnection

__all__ = [
    "LINKS_KEY",
    "RETURN_VALUE",
    "SPARK_SESSION_LINKS",
    "DriverLogLink",
    "SparkUiLink",
    "SynapseStudioLink",
    "has_links",
    "link_xcoms",
    "push_links",
    "session_links",
]

log = logging.getLogger(__name__)

#: The XCom key of a task's return value. Importing Airflow's constant would load the models of its database.
RETURN_VALUE = "return_value"

#: The XCom key of the URLs, which are a dict by the names of the links.
LINKS_KEY = "spark_session_links"


class _SparkSessionLink(BaseOperatorLink):
    """A link whose URL the task has pushed to XCom."""

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002  (Airflow's)
        """
        Return the URL, empty if there is no link.

        :param operator: the task's operator.
        :param ti_key: the key of the task instance.
        """
        links = XCom.get_value(ti_key=ti_key, key=LINKS_KEY) or {}
        return str(links.get(self.name, ""))


class SparkUiLink(_SparkSessionLink):
    """The Spark UI of the session's application; the history server's once it has ended."""

    name = "Spark UI"


class DriverLogLink(_SparkSessionLink):
    """The log of the session's driver."""

    name = "Driver log"


class SynapseStudioLink(_SparkSessionLink):
    """The session's page in Synapse Studio."""

    name = "Synapse Studio"


SPARK_SESSION_LINKS: tuple[BaseOperatorLink, ...] = (SparkUiLink(), DriverLogLink(), SynapseStudioLink())


def session_links(session: SparkJob, connection: SynapseLivyConnection) -> dict[str, str]:
    """
    Return the URLs of the links of a session or batch job, by their names; none for a record of another kind.

    :param session: the session or batch job.
    :param connection: the connection to its workspace.
    """
    if not isinstance(session, SparkJob):
        return {}
    info = session.app_info or {}
    urls = {
        SparkUiLink.name: _reachable(info.get("sparkUiUrl")),
        DriverLogLink.name: _reachable(info.get("driverLogUrl")),
        SynapseStudioLink.name: _studio_page(session, connection),
    }
    return {name: url for name, url in urls.items() if url}


def push_links(context: Context, links: Mapping[str, str]) -> None:
    """
    Push the URLs of a task's links to XCom, also if there are none: Airflow logs an error if the XCom is missing.

    If the push fails, log it and go on: a link is not worth failing the task.

    :param context: the task's context.
    :param links: the URLs, by the names of the links.
    """
    task_instance = context.get("ti")  # which unit tests of DAGs leave out
    try:
        if task_instance:
            task_instance.xcom_push(key=LINKS_KEY, value=dict(links))
    except Exception:
        log.warning("The links to the Spark session could not be pushed to XCom.", exc_info=True)


def has_links(context: Context) -> bool:
    """
    Return whether links of this try of the task were pushed to XCom before, by the task or for it by the triggerer.

    :param context: the task's context.
    """
    try:
        return bool(pull_own_xcom(context, LINKS_KEY))
    except Exception:
        log.warning("The links to the Spark session could not be read from XCom.", exc_info=True)
        return False


def link_xcoms(links: Mapping[str, str]) -> dict[str, Any]:
    """
    Return the XComs that a task's links are read from, for a task that is in the triggerer.

    :param links: the URLs of its links, by the names of the links.
    """
    # Airflow 3 reads each link from an XCom of its own, which otherwise a worker makes.
    keys = {link.name: getattr(link, "xcom_key", None) for link in SPARK_SESSION_LINKS}
    of_airflow = {key: links.get(name, "") for name, key in keys.items() if key}
    return {LINKS_KEY: dict(links), **of_airflow}


def _reachable(url: Any) -> str | None:
    """Return a URL that a browser can reach. Those of old sessions lead to nodes inside their cluster."""
    try:
        parts = urlsplit(url if isinstance(url, str) else "")
    except ValueError:
        return None
    studios = tuple(cloud.studio_host for cloud in CLOUDS)
    return url if parts.scheme == "https" and (parts.hostname or "").endswith(studios) else None


def _studio_page(session: SparkJob, connection: SynapseLivyConnection) -> str | None:
    """Return the session's page. Studio needs the workspace's resource id, which only the connection may know."""
    if not (connection.workspace_resource_id and session.name and session.spark_pool_name):
        return None
    query = {
        "workspace": connection.workspace_resource_id,
        "livyId": session.id,
        "sparkPoolName": session.spark_pool_name,
    }
    page = f"https://{connection.cloud.studio_host}/en/monitoring/sparkapplication/{quote(str(session.name), safe='')}"
    return f"{page}?{urlencode(query)}"
