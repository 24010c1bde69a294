"""
What there is to ask Livy for, as data: a row says what a kind of thing is called, where it is, how it is read.

Sources: `Spark Session <https://learn.microsoft.com/rest/api/synapse/data-plane/spark-session>`__, `Spark Batch
<https://learn.microsoft.com/rest/api/synapse/data-plane/spark-batch>`__, and recordings of the live service.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from airflow_provider_synapse_livy.livy.errors import (
    InvalidIdError,
    SparkBatchJobNotFoundError,
    SparkSessionNotFoundError,
    SparkStatementNotFoundError,
    SynapseLivyConfigurationError,
    SynapseLivyError,
    error_message,
)
from airflow_provider_synapse_livy.livy.requests import LivyRequest, Pool
from airflow_provider_synapse_livy.livy.responses import (
    MAX_BODY_BYTES,
    Page,
    Problem,
    Record,
    Snapshot,
    one_line,
    read_nothing,
    read_page,
    read_record,
)
from airflow_provider_synapse_livy.models import (
    SparkBatchJob,
    SparkJob,
    SparkJobType,
    SparkSession,
    SparkSessionResultType,
    SparkStatement,
)

__all__ = [
    "CREATION_TIMEOUT",
    "MAX_PAGE_SIZE",
    "SPARK_BATCH",
    "SPARK_SESSION",
    "SPARK_STATEMENT",
    "Listing",
    "Resource",
    "pool_name",
    "validated_id",
]

R = TypeVar("R", bound=Record)

#: How many items a page of a list may have; also how many it has if nothing else is asked for.
MAX_PAGE_SIZE = 20

#: How many seconds the response to a creation may take, at the least; six were seen.
CREATION_TIMEOUT = 60.0

#: How many bytes of a statement, or of a session's statements, are read: Livy itself sends an output of up to 50 MB.
_MAX_STATEMENT_BYTES = 64 * 2**20

_MAX_ID = 2**31 - 1


@dataclass(frozen=True)
class Listing(Generic[R]):
    """
    The list of a resource's records.

    :param path: the path below the pool, with a ``{}`` for each id that leads to it.
    :param items_key: the field of a page that holds the items.
    :param is_complete: whether a record of the list has all that a request for it alone would bring.
    :param page_size: how many items a page has; None if the list has one page alone.
    """

    path: str
    items_key: str
    is_complete: Callable[[R], bool]
    page_size: int | None = MAX_PAGE_SIZE


@dataclass(frozen=True)
class Resource(Generic[R]):
    """
    A kind of thing that Livy runs and describes.

    :param noun: what one is called in messages.
    :param title: how one is named in messages, with a ``{}`` for each id.
    :param path: the path of one below the pool, with a ``{}`` for each id.
    :param model: what its record is read as.
    :param not_found: the error that 404 means.
    :param not_found_fix: what to do about it; None for what holds for anything.
    :param listing: the list of them; None if they are polled singly.
    :param problem: returns what is wrong with a record that could be read, None if nothing is.
    :param has_details: whether the service tells more of it when asked with ``detailed``.
    :param cancellation: the method that ends one, and the path below its own.
    :param harm: what one does that is left behind, in words that follow "it may still" and "it may still run, and".
    :param harm_fix: what to do about that.
    :param max_body_bytes: how many bytes of a record, or of a list that is searched, are read.
    :param numbers_as_text: whether numbers that Airflow can't store are part of a record, and are kept as text.
    :param runs_once: whether one runs to an end by itself, so that one that has succeeded is not created again.
    :param sibling: returns the resource whose ids may be taken for its own; None if there is none.
    :param reader: what waits for one, in words, for those who have taken its id for another thing's.
    :param parent: the resource that one is part of; None if that is the pool.
    """

    noun: str
    title: str
    path: str
    model: type[R]
    not_found: type[SynapseLivyError]
    not_found_fix: str | None = None
    listing: Listing[R] | None = None
    problem: Callable[[R], Problem | None] = lambda _: None
    has_details: bool = True
    cancellation: tuple[str, str] = ("DELETE", "")
    harm: str = "cost money"
    harm_fix: str = "cancel it in Synapse Studio > Monitor > Apache Spark applications."
    max_body_bytes: int = MAX_BODY_BYTES
    numbers_as_text: bool = False
    runs_once: bool = False
    sibling: Callable[[], Resource[Any]] | None = None
    reader: str = ""
    parent: Resource[Any] | None = None

    def name(self, *ids: object) -> str:
        """Return the name of one in messages, by the ids that lead to it."""
        return self.title.format(*ids)

    def validated_ids(self, ids: Iterable[object]) -> list[int]:
        """
        Return the ids that lead to one as numbers.

        :param ids: what was given, or rendered, its own last.
        :raises InvalidIdError: if one is none; the message says what it should be the id of.
        """
        *parents, own = ids
        noun = self.parent.noun if self.parent else self.noun
        return [*(validated_id(value, noun) for value in parents), validated_id(own, self.noun)]

    def get(self, pool: Pool, *ids: int, detailed: bool = True) -> LivyRequest[Snapshot[R]]:
        """
        Return the request for one record.

        :param pool: the pool.
        :param ids: the ids that lead to it, its own last.
        :param detailed: whether to ask for everything, rather than for id, application, state and log alone.
        :raises SynapseLivyConfigurationError: if an id is none, or the pool can't stand in a path.
        """
        numbers, url, subject = self._located(pool, ids)
        read = self._reader(subject, numbers[-1])
        return LivyRequest("GET", url + self._query(detailed), subject, read, max_body_bytes=self.max_body_bytes)

    def create(self, pool: Pool, *parent_ids: int, body: Mapping[str, Any]) -> LivyRequest[Snapshot[R]]:
        """
        Return the request that creates one. The service creates another one each time that it gets it.

        :param pool: the pool.
        :param parent_ids: the ids that lead to the list of them.
        :param body: what to create, under the documented names.
        :raises SynapseLivyConfigurationError: if the pool can't stand in a path.
        """
        subject = f"New {self.noun}{self._place(pool, parent_ids)}"
        url = f"{pool.url}/{self._list.path.format(*parent_ids)}{self._query(True)}"
        read = self._reader(subject, None)
        text = json.dumps(body).encode()
        return LivyRequest("POST", url, subject, read, text, is_idempotent=False, min_timeout=CREATION_TIMEOUT)

    def cancel(self, pool: Pool, *ids: int) -> LivyRequest[None]:
        """
        Return the request that ends one. A session takes about half a minute from then on.

        :param pool: the pool.
        :param ids: the ids that lead to it, its own last.
        :raises SynapseLivyConfigurationError: if an id is none, or the pool can't stand in a path.
        """
        method, below = self.cancellation
        return self._change(method, pool, ids, below)

    def reset_timeout(self, pool: Pool, *ids: int) -> LivyRequest[None]:
        """
        Return the request that begins its idle timeout anew.

        :param pool: the pool.
        :param ids: the ids that lead to it, its own last.
        :raises SynapseLivyConfigurationError: if an id is none, or the pool can't stand in a path.
        """
        return self._change("PUT", pool, ids, "/reset-timeout")

    def _change(self, method: str, pool: Pool, ids: tuple[int, ...], below: str = "") -> LivyRequest[None]:
        _, url, subject = self._located(pool, ids)
        read = partial(read_nothing, subject=subject, not_found=self.not_found, not_found_fix=self.not_found_fix)
        return LivyRequest(method, url + below, subject, read)

    def _located(self, pool: Pool, ids: tuple[int, ...]) -> tuple[list[int], str, str]:
        """Return the ids that lead to one as numbers, its address, and its name in messages."""
        numbers = self.validated_ids(ids)
        subject = f"{self.name(*numbers)} in pool {one_line(str(pool.name), 60)}"
        return numbers, f"{pool.url}/{self.path.format(*numbers)}", subject

    def _place(self, pool: Pool, parent_ids: tuple[int, ...]) -> str:
        """Return where a list of them is, in words that follow it."""
        owner = f" of {self.parent.name(*parent_ids)}" if self.parent else ""
        return f"{owner} in pool {one_line(str(pool.name), 60)}"

    def _query(self, detailed: bool) -> str:
        return f"?detailed={str(detailed).lower()}" if self.has_details else ""

    def _reader(self, subject: str, record_id: int | None) -> Callable[..., Snapshot[R]]:
        return partial(
            read_record,
            subject=subject,
            noun=self.noun,
            model=self.model,
            problem=self.problem,
            not_found=self.not_found,
            not_found_fix=self.not_found_fix,
            record_id=record_id,
            numbers_as_text=self.numbers_as_text,
        )

    def mistaken_for(self, sibling: Resource[Any], error: SynapseLivyError, record: SparkJob) -> SynapseLivyError:
        """
        Return the error for an id that is a sibling's: all that the error for an id that is nobody's tells, and whose.

        :param sibling: the resource that has the id.
        :param error: the error for an id that is nobody's.
        :param record: the sibling's record.
        """
        event = f"{self.name(record.id)}: there is none, {record.id} is the id of a {sibling.noun}."
        fix = f"wait for it with {sibling.reader}, or pass the id of a {self.noun}."
        words = str(error).splitlines()[2:]
        message = error_message(event, fix, f"{record} is {record.phase}.", *words)
        return type(error)(message, status=error.status, code=error.code, activity_id=error.activity_id, record=record)

    @property
    def _list(self) -> Listing[R]:
        if self.listing is None:
            raise ValueError(f"there is no list of {self.noun}s")
        return self.listing

    def page(
        self,
        pool: Pool,
        *parent_ids: int,
        start: int = 0,
        size: int | None = None,
        detailed: bool = True,
        max_body_bytes: int | None = None,
    ) -> LivyRequest[Page[R]]:
        """
        Return the request for one page of the list.

        :param pool: the pool.
        :param parent_ids: the ids that lead to the list.
        :param start: how many items to pass over.
        :param size: how many items at the most; None for as many as a page may have.
        :param detailed: whether to ask for everything.
        :param max_body_bytes: how many bytes of it are read; None for as many as of a record.
        :raises SynapseLivyConfigurationError: if the pool can't stand in a path.
        :raises ValueError: if there is no list.
        """
        listing = self._list
        page_size = size or listing.page_size
        paging = f"from={start}&size={page_size}" if page_size else ""
        details = f"detailed={str(detailed).lower()}" if self.has_details else ""
        query = "&".join(filter(None, (paging, details)))
        subject = f"The list of {self.noun}s{self._place(pool, parent_ids)}"
        read: Callable[..., Page[R]] = partial(
            read_page,
            subject=subject,
            model=self.model,
            items_key=listing.items_key,
            page_size=page_size,
            is_complete=listing.is_complete,
            not_found=self.not_found,
        )
        url = f"{pool.url}/{listing.path.format(*parent_ids)}"
        longest = max_body_bytes or self.max_body_bytes
        return LivyRequest("GET", f"{url}?{query}" if query else url, subject, read, max_body_bytes=longest)


def validated_id(value: object, noun: str) -> int:
    """
    Return an id as the number that it is.

    :param value: what was given, or rendered: a whole number from 0 up, one written in digits, or a record's dict, such
        as the XCom of the task that created it.
    :param noun: what it is the id of, in words.
    :raises InvalidIdError: if it is anything else; the message names the likely cause.
    """
    number = value.get("id") if isinstance(value, Mapping) else value
    if isinstance(number, str) and re.fullmatch(r"-?[0-9]{1,100}", number.strip()):
        number = int(number)
    if isinstance(number, int) and not isinstance(number, bool) and 0 <= number <= _MAX_ID:
        return number
    event = f"{one_line(repr(value), 60)} is not the id of a {noun}."
    raise InvalidIdError(error_message(event, _id_fix(number, noun), f"An id is a whole number from 0 to {_MAX_ID}."))


def pool_name(given: str | None, ids: Iterable[object]) -> str | None:
    """
    Return the pool that a task is told, or else the one that the record's dict names which was given as an id.

    An empty one is returned as it is, and refused where the request is built: the template of the task rendered to
    nothing, and the sessions of another pool have the same numbers.

    :param given: the pool that the task is told, None if it is not.
    :param ids: what was given, or rendered, as ids.
    :raises SynapseLivyConfigurationError: if the two differ.
    """
    names = (value.get("sparkPoolName") for value in ids if isinstance(value, Mapping))
    named = next((name for name in names if isinstance(name, str) and name), None)
    if given is None:
        return named
    is_name = isinstance(given, str) and given.strip()
    if is_name and named and given.strip().lower() != named.lower():
        event = f"The record is in pool {one_line(named, 40)}, and spark_pool_name is {one_line(given, 40)}."
        raise SynapseLivyConfigurationError(
            error_message(event, "leave spark_pool_name out: the record names its pool.")
        )
    return given


def _id_fix(value: object, noun: str) -> str:  # noqa: PLR0911  (a table, in effect)
    if isinstance(value, str):
        value = value.strip()
    match value:
        case None | "None" | "":
            return "check the upstream task_id, and what it pushed to XCom: the template rendered to nothing."
        case str() if value.startswith("{'"):
            return f"pass {noun}s by .output of the task, or ['id'] in the template: this is a whole one as text."
        case str() if "{" in value:
            return "pass it in a templated field: this template was not rendered."
        case bool() | float():
            return "pass the whole number that the service returned."
        case int() if value < 0:
            return f"check the task that created it: Livy clients use -1 for a {noun} that was not created."
        case int():
            return "check where the number comes from: it is too large."
        case list() | tuple() | set():
            return "map the task over the ids with expand(...): this is a collection."
        case _:
            return "use digits only."


def _is_complete(job: SparkJob) -> bool:
    """Return whether an item of a list can stand for the job's own record; if in doubt, it can't."""
    if _is_of_sibling(job) or None in (job.state, job.result):
        return False
    if job.outcome is SparkSessionResultType.FAILED and not job.is_settling and not job.error_info:
        return False
    return job.scheduler_info is not None and job.plugin_info is not None


def _is_of_sibling(job: SparkJob) -> bool:
    """Return whether a record says that it describes a batch job where a session was asked for, or the reverse."""
    return job.job_type == (SparkJobType.SPARK_SESSION if isinstance(job, SparkBatchJob) else SparkJobType.SPARK_BATCH)


def _kind_problem(job: SparkJob) -> Problem | None:
    """Return what is wrong with a record that describes the sibling of what was asked for."""
    if not _is_of_sibling(job):
        return None
    asked, found = (SPARK_BATCH, SPARK_SESSION) if isinstance(job, SparkBatchJob) else (SPARK_SESSION, SPARK_BATCH)
    fix = f"wait for it with {found.reader}, or pass the id of a {asked.noun}."
    return Problem(f"describes a {found.noun}, not a {asked.noun}", fix)


_NOT_FOUND_FIX = "check the id, and that the pool exists (Synapse Studio > Manage > Apache Spark pools). "

SPARK_SESSION: Resource[SparkSession] = Resource(
    noun="Spark session",
    title="Spark session {}",
    path="sessions/{}",
    model=SparkSession,
    not_found=SparkSessionNotFoundError,
    not_found_fix=f"{_NOT_FOUND_FIX}Batch jobs have other ids.",
    listing=Listing("sessions", "sessions", _is_complete),
    problem=_kind_problem,
    sibling=lambda: SPARK_BATCH,
    reader="SynapseSparkSessionSensor",
)

SPARK_BATCH: Resource[SparkBatchJob] = Resource(
    noun="Spark batch job",
    title="Spark batch job {}",
    path="batches/{}",
    model=SparkBatchJob,
    not_found=SparkBatchJobNotFoundError,
    not_found_fix=f"{_NOT_FOUND_FIX}Sessions have other ids.",
    # The items are under "sessions" here, too.
    listing=Listing("batches", "sessions", _is_complete),
    problem=_kind_problem,
    runs_once=True,
    sibling=lambda: SPARK_SESSION,
    reader="SynapseSparkBatchSensor",
)

SPARK_STATEMENT = Resource(
    noun="statement",
    title="Statement {1} of Spark session {0}",
    path="sessions/{}/statements/{}",
    model=SparkStatement,
    not_found=SparkStatementNotFoundError,
    not_found_fix="check session and statement: a session keeps its last 100 statements, and none when it has ended.",
    listing=Listing("sessions/{}/statements", "statements", lambda _: True, page_size=None),
    has_details=False,
    cancellation=("POST", "/cancel"),
    harm="keep its session busy",
    harm_fix="cancel its session if the code must not run on.",
    max_body_bytes=_MAX_STATEMENT_BYTES,
    numbers_as_text=True,
    runs_once=True,
    parent=SPARK_SESSION,
)
