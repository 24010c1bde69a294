"""The hook's methods for Spark batch jobs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from airflow_provider_synapse_livy.livy.resources import SPARK_BATCH, Resource
from airflow_provider_synapse_livy.livy.responses import Page, Record, Snapshot
from airflow_provider_synapse_livy.models import LivyState
from airflow_provider_synapse_livy.waiting.goals import known_names

if TYPE_CHECKING:
    from airflow_provider_synapse_livy.models import SparkBatchJob, SparkBatchJobOptions, SparkJob

__all__ = ["BatchesMixin", "in_states"]

R = TypeVar("R", bound=Record)
J = TypeVar("J", bound="SparkJob")


class _Sender(Protocol):
    """What the methods need of the hook."""

    def create(self, resource: Resource[R], *parent_ids: int, body: Mapping[str, Any]) -> Snapshot[R]: ...
    def cancel(self, resource: Resource[R], *ids: object) -> None: ...
    def pages(self, resource: Resource[R], *parent_ids: int, detailed: bool = True) -> Iterator[Page[R]]: ...
    def read(self, resource: Resource[R], *ids: object, detailed: bool = True) -> Snapshot[R]: ...


class BatchesMixin:
    """Creates, reads and cancels Spark batch jobs, as the hook does sessions."""

    def get_spark_batch_job(self: _Sender, batch_id: object, *, detailed: bool = True) -> SparkBatchJob:
        """
        Return a Spark batch job.

        What may pass is retried for up to three minutes.

        :param batch_id: the job's id in the pool, from 0 up: a number, digits, or a job's dict, which may name the pool
            as well.
        :param detailed: whether to ask for everything; otherwise the response has little but id, application, state
            and log: no result.
        :raises SynapseLivyError: if it can't be read. The kinds are in
            :mod:`airflow_provider_synapse_livy.exceptions`.
        """
        return self.read(SPARK_BATCH, batch_id, detailed=detailed).record

    def get_spark_batch_jobs(
        self: _Sender, *, states: Collection[str] | None = None, detailed: bool = True
    ) -> Iterator[SparkBatchJob]:
        """
        Return the pool's Spark batch jobs, in the service's order, those that ended long ago included.

        :param states: only jobs in these Livy states, such as ``{"running"}``; None for all.
        :raises SynapseLivyConfigurationError: at once, if there is no such state.
        :param detailed: as for :meth:`get_spark_batch_job`.
        :raises SynapseLivyError: as for :meth:`get_spark_batch_job`.
        """
        return in_states(self.pages(SPARK_BATCH, detailed=detailed), states)

    def create_spark_batch_job(self: _Sender, options: SparkBatchJobOptions) -> SparkBatchJob:
        """
        Create a Spark batch job, and return it as it is then: not started.

        A refusal that may pass is retried for up to three minutes. An error whose ``may_have_been_processed`` is true
        may have created the job, and a second request creates a second one, of the same name.
        ``SynapseRunSparkBatchOperator`` finds it again.

        Source: `Spark Batch - Create Spark Batch Job
        <https://learn.microsoft.com/rest/api/synapse/data-plane/spark-batch/create-spark-batch-job>`__

        :param options: what to create.
        :raises SynapseLivyError: if it is refused, or it is not known whether it was created.
        """
        return self.create(SPARK_BATCH, body=options.to_body()).record

    def cancel_spark_batch_job(self: _Sender, batch_id: object) -> None:
        """
        Cancel a Spark batch job. It takes a while to end; cancelling twice does no harm.

        Source: `Spark Batch - Cancel Spark Batch Job
        <https://learn.microsoft.com/rest/api/synapse/data-plane/spark-batch/cancel-spark-batch-job>`__

        :param batch_id: the job's id in the pool: a number, digits, or its dict.
        :raises SparkBatchJobNotFoundError: if there is no such job.
        :raises SynapseLivyError: as for :meth:`get_spark_batch_job`.
        """
        self.cancel(SPARK_BATCH, batch_id)


def in_states(pages: Iterable[Page[J]], states: Collection[str] | None) -> Iterator[J]:
    """
    Return the sessions or batch jobs of a list's pages that are in one of some Livy states.

    :param pages: the pages.
    :param states: the states, whatever their letter case; one may stand alone. None for all.
    :raises SynapseLivyConfigurationError: if there is no such state.
    """
    wanted = None if states is None else known_names("states", states, list(LivyState))
    return (job for page in pages for job in page.records() if wanted is None or job.state in wanted)
