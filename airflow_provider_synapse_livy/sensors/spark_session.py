"""The sensor that waits for a Spark session of Azure Synapse."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_synapse_livy.exceptions import SparkSessionFailedError, SparkSessionTimeoutError
from airflow_provider_synapse_livy.hooks.synapse_livy import SynapseLivyHook
from airflow_provider_synapse_livy.links import SPARK_SESSION_LINKS
from airflow_provider_synapse_livy.operators.waiting import in_one_order
from airflow_provider_synapse_livy.sensors.base import LivySensor
from airflow_provider_synapse_livy.triggers.spark_session import SynapseSparkSessionTrigger

if TYPE_CHECKING:
    from airflow_provider_synapse_livy.airflow_compat.sdk import BaseOperatorLink

__all__ = ["SynapseSparkSessionSensor"]


class SynapseSparkSessionSensor(LivySensor):
    """
    Wait for a Livy Spark session of Azure Synapse: for a state such as ``idle``, or for its end.

    The outcome is the same in poke, reschedule and deferrable mode. The task returns the session, and so pushes it to
    XCom, as a dict under the names of the documentation page; it is there as well when the task fails.

    With ``target_states`` the sensor succeeds as soon as the session is in one of them, and fails if it ends
    instead. Without, it waits for the end, which is a success if the result is one of ``accepted_results``. Note
    that sessions hardly ever end as ``Succeeded``: they are cancelled, or idle out.

    The sensor never cancels the session.

    Source: `Spark Session - Get Spark Session
    <https://learn.microsoft.com/rest/api/synapse/data-plane/spark-session/get-spark-session>`__

    :param session_id: the session's id in the pool, from 0 up (templated).
    :param spark_pool_name: the Spark pool; None for the connection's (templated).
    :param target_states: the Livy states to wait for, such as ``{"idle"}``; None to wait for the end (templated).
    :param accepted_results: in a wait for the end, with which results it is a success: any of ``Succeeded``,
        ``Failed`` and ``Cancelled`` (templated).
    :param accept_idle_timeout: in a wait for the end, whether it is a success as well if Synapse ended the session
        because nothing ran in it.
    :param livy_api_version: the version of the Livy API; None for the connection's (templated).
    :param synapse_livy_conn_id: the id of the Airflow connection to the workspace (templated).
    :param poke_interval: seconds, or how long, between two polls; 10 seconds by default, 60 in reschedule mode.
    :param deferrable: whether to wait in the triggerer, without a worker's slot; Airflow's
        ``[operators] default_deferrable`` by default.
    :param settle_timeout: once the session has ended for Livy, for how many seconds, or how long, to wait for the
        result that Synapse gives it; up to 31 seconds were seen.
    :param start_from_trigger: whether to wait in the triggerer from the start, so that no worker's slot is taken until
        the wait ends. Needs Airflow 3.3; before, for mapped tasks, for any but a first try, and for templates that the
        triggerer renders otherwise than a worker, the task defers from a worker, and its log says why.
    :param end_from_trigger: whether to end the task in the triggerer if it succeeds, so that no worker's slot is taken
        at the end either. Needs Airflow 3.3, and a task without what Airflow passes over then: callbacks, hooks,
        outlets and ``multiple_outputs``.
    :raises SparkSessionFailedError: if the session ended in another way.
    :raises SparkSessionTimeoutError: if the sensor's ``timeout`` passed first.
    :raises SynapseLivyError: if the session can't be read. The kinds are in
        :mod:`airflow_provider_synapse_livy.exceptions`.
    """

    trigger_class = SynapseSparkSessionTrigger
    failed_error = SparkSessionFailedError
    timeout_error = SparkSessionTimeoutError

    template_fields: Sequence[str] = (
        "session_id",
        "spark_pool_name",
        "target_states",
        "accepted_results",
        "livy_api_version",
        "synapse_livy_conn_id",
    )

    operator_extra_links: Collection[BaseOperatorLink] = SPARK_SESSION_LINKS

    def __init__(
        self,
        *,
        session_id: Any,
        spark_pool_name: str | None = None,
        target_states: Collection[str] | None = None,
        accepted_results: Collection[str] = ("Succeeded",),
        accept_idle_timeout: bool = False,
        livy_api_version: str | None = None,
        synapse_livy_conn_id: str = SynapseLivyHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            spark_pool_name=spark_pool_name,
            livy_api_version=livy_api_version,
            synapse_livy_conn_id=synapse_livy_conn_id,
            **kwargs,
        )
        self.session_id = session_id
        self.target_states = in_one_order(target_states)
        self.accepted_results = in_one_order(accepted_results)
        self.accept_idle_timeout = accept_idle_timeout
        self._check_constants()
        self._prepare_start_from_trigger()
