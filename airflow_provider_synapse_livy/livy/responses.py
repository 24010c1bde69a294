"""
Reading responses of the Livy API: a record, a page of a list, an error body, ``Retry-After``.

Both transports, the worker's and the triggerer's, bring their responses here, so a record, an error and its words
come out the same on either.

Source: `Spark Session - Get Spark Session
<https://learn.microsoft.com/rest/api/synapse/data-plane/spark-session/get-spark-session>`__, and recordings of the
live service, which sends errors in more shapes than the page shows.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Generic, NamedTuple, Protocol, Self, TypeVar

from pydantic import ValidationError
from pydantic_core import from_json, to_json

from airflow_provider_synapse_livy.livy.errors import (
    SynapseLivyError,
    SynapseLivyResponseError,
    SynapseLivyUnavailableError,
    error_message,
)
from airflow_provider_synapse_livy.livy.retry_after import announced_words, retry_after
from airflow_provider_synapse_livy.livy.statuses import UNDOCUMENTED_FIX, refusal_fix, status_rule
from airflow_provider_synapse_livy.livy.strict_json import BYTE_ORDER_MARK, is_truncated, read_json

__all__ = [
    "MAX_BODY_BYTES",
    "LivyResponse",
    "Page",
    "Problem",
    "Record",
    "Snapshot",
    "one_line",
    "read_document",
    "read_nothing",
    "read_page",
    "read_record",
]

#: How many bytes of a body are of use, compressed or not, where a request asks for no more; a session has about 2,000,
#: a page of twenty 60,000. The transports read one more at the most, which shows that there are more.
MAX_BODY_BYTES = 4 * 2**20

#: The longest piece of the service's own words that an error repeats; a 500 may carry a stack trace of 4 kB.
_MAX_QUOTE = 400

#: How many bytes of a body that is not JSON are searched for words.
_MAX_EXCERPT_BYTES = 10_000

#: The remedy for a response of Synapse's that its documentation does not describe.
_OTHER_FORM_FIX = "report this to the makers of this package: Synapse sent a field in another form than documented."


class Record(Protocol):
    """What a model of a record is to this module."""

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Return the record that a dict with the documented names describes."""
        ...

    @property
    def id(self) -> int:
        """The record's number."""
        ...


R = TypeVar("R", bound=Record)


class Problem(NamedTuple):
    """
    What is wrong with a record that could be read.

    :param event: what is wrong, in words that follow "Synapse's response".
    :param fix: what to do about it.
    """

    event: str
    fix: str


@dataclass(frozen=True)
class LivyResponse:
    """
    A response as it came.

    :param status: the HTTP status.
    :param headers: the headers; the letter case of the names does not matter.
    :param body: the body as it came, compressed if it was; no more of it than a byte beyond ``max_bytes``.
    :param max_bytes: how many bytes of it are of use, compressed or not.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    max_bytes: int = MAX_BODY_BYTES

    def header(self, name: str) -> str | None:
        """Return the value of a header as a short line of text, None where the response has none."""
        value = next((value for key, value in self.headers.items() if key.lower() == name.lower()), None)
        return value and one_line(value.encode("utf-8", "replace").decode())

    @property
    def activity_id(self) -> str | None:
        """The ``x-ms-activity-id``, which Microsoft's support asks for."""
        return self.header("x-ms-activity-id")

    def decompressed(self) -> bytes:
        """
        Return the body decompressed; no more of it than a byte beyond ``max_bytes``.

        :raises ValueError: if it is not gzip, or not all of it.
        """
        encoding = (self.header("content-encoding") or "").strip().lower()
        if encoding not in ("gzip", "x-gzip"):  # no other was asked for
            return self.body
        decompressor = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        try:
            body = decompressor.decompress(self.body, self.max_bytes + 1)
        except zlib.error as error:
            raise ValueError(f"it is not gzip: {error}") from None
        if not decompressor.eof and len(body) <= self.max_bytes:
            raise ValueError("its gzip has no end")
        return body


class Snapshot(NamedTuple, Generic[R]):
    """
    A record as one response described it.

    :param record: the record.
    :param activity_id: the ``x-ms-activity-id`` of the response.
    :param digest: a hash of the description, by which a change is noticed.
    """

    record: R
    activity_id: str | None
    digest: int = 0


@dataclass(frozen=True)
class Page(Generic[R]):
    """
    One page of a list.

    :param items: the items as the page has them, not validated yet, by their ids.
    :param is_last: whether no page follows.
    :param activity_id: the ``x-ms-activity-id`` of the response.
    :param model: what an item is read as.
    :param is_complete: whether a record of the list has all that a request for it alone would bring.
    """

    items: dict[int, dict[str, Any]]
    is_last: bool
    activity_id: str | None
    model: type[R]
    is_complete: Callable[[R], bool]

    def records(self) -> Iterator[R]:
        """Return the items as records, but for those that can't be read as one."""
        for item in self.items.values():
            with suppress(ValueError):
                yield self.model.from_dict(item)

    def digest(self, record_id: int) -> int:
        """Return a hash of an item, in a fraction of the time that it takes to read it."""
        return _digest(self.items[record_id])

    def read(self, record_id: int) -> Snapshot[R] | None:
        """Return an item; None if the list does not have all that a request for it alone would bring."""
        try:
            record = self.model.from_dict(self.items[record_id])
        except ValueError:
            return None
        return Snapshot(record, self.activity_id, self.digest(record_id)) if self.is_complete(record) else None


def _digest(document: Mapping[str, Any]) -> int:
    return hash(to_json(document))


def read_record(
    response: LivyResponse,
    *,
    subject: str,
    noun: str,
    model: type[R],
    problem: Callable[[R], Problem | None],
    not_found: type[SynapseLivyError],
    not_found_fix: str | None,
    record_id: int | None,
    numbers_as_text: bool = False,
) -> Snapshot[R]:
    """
    Return the record that a response describes.

    :param response: the response.
    :param subject: what was asked for, in the words that begin an error message.
    :param noun: what the record describes, in words.
    :param model: what the record is read as.
    :param problem: returns what is wrong with a record that could be read, None if nothing is.
    :param not_found: the error that 404 means.
    :param not_found_fix: what to do about it; None for what holds for anything.
    :param record_id: the number of the record that was asked for; None if it is new.
    :param numbers_as_text: whether to keep numbers that can't be stored, and NaN, as text.
    :raises SynapseLivyError: if it is not the record that was asked for; the kind that fits.
    """
    reading = _Reading(subject, response, not_found, not_found_fix)
    document = reading.document(numbers_as_text=numbers_as_text)
    try:
        record = model.from_dict(document)
    except (ValidationError, TypeError) as error:
        raise _not_a_record(reading, noun, document, error) from None
    if record_id is not None and record.id != record_id:
        raise reading.unexpected(f"is about {noun} {record.id} instead")
    if what := problem(record):
        raise reading.unexpected(what.event, fix=what.fix)
    return Snapshot(record, response.activity_id, _digest(document))


def _not_a_record(
    reading: _Reading, noun: str, document: Any, error: ValidationError | TypeError
) -> SynapseLivyResponseError:
    """Return the error for JSON that is not a record: sent by something else than Synapse, or in another form."""
    errors = error.errors() if isinstance(error, ValidationError) else []
    names = sorted({_path(document, e["loc"]) for e in errors})
    if not isinstance(document, dict) or not all(names):
        return reading.unexpected(f"is not a {noun}", "It is not a JSON object.")
    wrong = one_line(f"Wrong fields: {', '.join(names)}.")
    if any(e["type"] == "missing" for e in errors):
        return reading.unexpected(f"is not a {noun}", wrong)
    return reading.unexpected("has another form than documented", wrong, fix=_OTHER_FORM_FIX)


def _path(document: Any, location: tuple[str | int, ...]) -> str:
    """Return where in a document an error is, without the names that pydantic gives to the parts of a union."""
    names = [str(name) for name in location[:1]]
    for name, below in pairwise(location):
        document = document.get(name) if isinstance(document, dict) else None
        if not isinstance(document, dict) or below not in document:
            break
        names.append(str(below))
    return ".".join(names)


def read_page(
    response: LivyResponse,
    *,
    subject: str,
    model: type[R],
    items_key: str,
    page_size: int | None,
    is_complete: Callable[[R], bool],
    not_found: type[SynapseLivyError],
) -> Page[R]:
    """
    Return the page of a list that a response holds.

    :param response: the response.
    :param subject: what was asked for, in the words that begin an error message.
    :param model: what an item is read as.
    :param items_key: the field that holds the items.
    :param page_size: how many items a page has at the most; None if there is one page alone.
    :param is_complete: whether a record of the list has all that a request for it alone would bring.
    :param not_found: the error that 404 means.
    :raises SynapseLivyError: if it is not a page; the kind that fits.
    """
    reading = _Reading(subject, response, not_found)
    body = reading.body()
    try:
        # Items are checked when they are read: one that is no record makes the others no less readable.
        document = from_json(body.removeprefix(BYTE_ORDER_MARK))
        items, total = document[items_key], document.get("total")
    except (ValueError, KeyError, TypeError, AttributeError):
        if is_truncated(body):
            raise reading.truncated() from None
        items = total = None
    if not isinstance(items, list):
        raise reading.unexpected("is not a list", _body_excerpt(response))
    by_id = {item["id"]: item for item in items if isinstance(item, dict) and type(item.get("id")) is int}
    # The total is the number of items in this page, and nothing else shows the end of the list.
    is_last = not items or page_size is None or (total if isinstance(total, int) else len(items)) < page_size
    return Page(by_id, is_last, response.activity_id, model, is_complete)


def read_nothing(
    response: LivyResponse, *, subject: str, not_found: type[SynapseLivyError], not_found_fix: str | None
) -> None:
    """
    Check that a response is a success; what is in it says no more.

    :param response: the response.
    :param subject: what was asked for, in the words that begin an error message.
    :param not_found: the error that 404 means.
    :param not_found_fix: what to do about it; None for what holds for anything.
    :raises SynapseLivyError: if it is none; the kind that fits.
    """
    _Reading(subject, response, not_found, not_found_fix).raise_for_status()


def read_document(response: LivyResponse, *, subject: str, not_found: type[SynapseLivyError]) -> Any:
    """
    Return the JSON of a response, whatever it is; None if its body is empty.

    :param response: the response.
    :param subject: what was asked for, in the words that begin an error message.
    :param not_found: the error that 404 means.
    :raises SynapseLivyError: if it is no success, or not JSON; the kind that fits.
    """
    reading = _Reading(subject, response, not_found)
    return reading.document() if reading.body().strip() else None


@dataclass(frozen=True)
class _Reading:
    """The reading of one response, and the errors that it may end with."""

    subject: str
    response: LivyResponse
    not_found: type[SynapseLivyError]
    not_found_fix: str | None = None

    def document(self, *, numbers_as_text: bool = False) -> dict[str, Any]:
        """Return the JSON of a response that is a success, or raise why there is none."""
        body = self.body()
        try:
            document = read_json(body, numbers_as_text=numbers_as_text)
        except ValueError as error:
            if is_truncated(body):
                raise self.truncated() from None
            says = f"The parser says: {one_line(str(error), 200)}."
            raise self.unexpected("is not JSON", _body_excerpt(self.response), says) from None
        return document  # type: ignore[no-any-return]  # what is no object is refused by the model

    def body(self) -> bytes:
        """Return the body of a response that is a success, decompressed, or raise why there is none."""
        self.raise_for_status()
        try:
            body = self.response.decompressed()
        except ValueError:
            raise self.truncated() from None
        if max(len(body), len(self.response.body)) > self.response.max_bytes:
            raise self.unexpected(f"has more than {self.response.max_bytes // 2**20} MB")
        return body

    def raise_for_status(self) -> None:
        """Raise what any response but 200 means; nothing else ever holds a record."""
        if self.response.status == 200:
            return
        code, words = _service_error(self.response)
        rule = status_rule(self.response.status, code, words)
        details = self.details(may_have_been_processed=rule.may_have_been_processed) | {"code": code}
        if rule.error is SynapseLivyUnavailableError:
            details["retry_after"] = retry_after(self.response)
        event = f"{self.subject}: Synapse answered {self.response.status}{f' ({code})' if code else ''}."
        fix = refusal_fix(words) or (rule.fix if rule.error else (self.not_found_fix or rule.fix))
        message = error_message(event, fix, words, announced_words(details.get("retry_after")), self.activity())
        raise (rule.error or self.not_found)(message, **details)

    def unexpected(self, problem: str, *evidence: str, fix: str = UNDOCUMENTED_FIX) -> SynapseLivyResponseError:
        """Return the error for a response that is not documented."""
        event = f"{self.subject}: Synapse's response {self.response.status} {problem}."
        message = error_message(event, fix, *evidence, self.activity())
        return SynapseLivyResponseError(message, **self.details(may_have_been_processed=True))

    def truncated(self) -> SynapseLivyUnavailableError:
        """Return the error for a response that ends too early."""
        event = f"{self.subject}: Synapse's response {self.response.status} ended too early."
        message = error_message(event, "if this persists, check the proxies and firewalls in between.", self.activity())
        return SynapseLivyUnavailableError(message, **self.details(may_have_been_processed=True))

    def activity(self) -> str:
        """Return the line that names the activity id, empty where there is none."""
        return f"Activity id: {self.response.activity_id}" if self.response.activity_id else ""

    def details(self, *, may_have_been_processed: bool) -> dict[str, Any]:
        """Return what all errors about a response have in common."""
        return {
            "status": self.response.status,
            "activity_id": self.response.activity_id,
            "may_have_been_processed": may_have_been_processed,
        }


def _service_error(response: LivyResponse) -> tuple[str | None, str]:
    """Return the code and the words of an error, in any of the shapes and letter cases that the service uses."""
    if 300 <= response.status < 400:
        return None, one_line(f"It redirects to {response.header('location')}, which is not followed.")
    try:
        document = read_json(response.decompressed())
    except ValueError:
        return None, _body_excerpt(response)
    if not isinstance(document, dict):
        return None, _body_excerpt(response)
    fields = _lower_keys(document)
    inner = fields.get("error")
    if isinstance(inner, dict):
        fields |= _lower_keys(inner)
    code = fields.get("code")
    words = one_line(str(fields.get("message") or inner or ""))
    return None if code is None else one_line(str(code), 40), words and f"Synapse says: {words}"


def _lower_keys(document: dict[str, Any]) -> dict[str, Any]:
    return {key.lower(): value for key, value in document.items()}


def _body_excerpt(response: LivyResponse) -> str:
    """Return a line about a body that is not what was expected."""
    try:
        text = response.decompressed()[:_MAX_EXCERPT_BYTES].decode("utf-8", "replace").strip()
    except ValueError as error:
        return f"The body can't be decompressed: {error}."
    if not text:
        return "The body is empty."
    if response.status == 200 and text.lstrip("\ufeff \t\r\n")[:1] in ("{", "["):
        return "The body begins like JSON."  # and may hold the code of other tasks
    if text.startswith("<"):
        title = re.search(r"<title[^>]*>(.*?)</title>", text, re.IGNORECASE | re.DOTALL)
        return one_line(f"The body is an HTML page, {one_line(title[1])!r}." if title else "The body is an HTML page.")
    return f"The body begins: {one_line(text)}"


def one_line(text: str, longest: int = _MAX_QUOTE) -> str:
    """
    Return a text as one line, without the control characters that a database may refuse.

    :param text: the text.
    :param longest: after how many characters it is cut.
    """
    line = " ".join(re.sub(r"[\x00-\x1f\x7f]", " ", text).split())
    return line if len(line) <= longest else line[:longest] + "..."
