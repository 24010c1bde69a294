"""
The Livy API of Synapse: how a request is built and what an answer means. Nothing here does I/O.

Both transports, the worker's and the triggerer's, take their requests from here and bring their answers back
here, so a session, an error and its words come out the same on either.

Source: `Spark Session - Get Spark Session
<https://learn.microsoft.com/rest/api/synapse/data-plane/spark-session/get-spark-session>`__, and recordings of
the live service, which answers errors in more shapes than the page shows.
"""

from __future__ import annotations

import re
import socket
import ssl
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from pydantic import BaseModel, ValidationError
from pydantic_core import to_json

from airflow_provider_synapse_livy.livy.errors import (
    InvalidSparkSessionIdError,
    SparkSessionNotFoundError,
    SynapseLivyAuthenticationError,
    SynapseLivyConfigurationError,
    SynapseLivyError,
    SynapseLivyPermissionError,
    SynapseLivyResponseError,
    SynapseLivyUnavailableError,
)
from airflow_provider_synapse_livy.livy.strict_json import AmbiguousJsonError, is_cut_short, read_json, without_nul
from airflow_provider_synapse_livy.models import SparkJobType, SparkSession, SparkSessionResultType

__all__ = [
    "DEFAULT_LIVY_API_VERSION",
    "MAX_BODY_BYTES",
    "MAX_PAGE_SIZE",
    "REQUEST_HEADERS",
    "LivyRequest",
    "LivyResponse",
    "Snapshot",
    "SparkSessionPage",
    "SparkSessionPageRequest",
    "SparkSessionRequest",
    "causes",
    "connection_error",
    "list_spark_sessions_request",
    "read_spark_session",
    "read_spark_session_list",
    "spark_session_request",
    "validate_session_id",
]

DEFAULT_LIVY_API_VERSION = "2020-12-01"

#: What every request asks for.
REQUEST_HEADERS = {"Accept": "application/json", "Accept-Encoding": "gzip"}

#: How many bytes of a body are of use, packed or decompressed; a session has about 2,000, a page of twenty 60,000.
#: The transports read one more at the most, which tells that there are more.
MAX_BODY_BYTES = 4 * 2**20
#: How many sessions a page may have; also how many it has if nothing else is asked for.
MAX_PAGE_SIZE = 20

_LARGEST_SESSION_ID = 2**31 - 1

#: The longest piece of the service's own words that an error repeats; a 500 may carry a stack trace of 4 kB.
_LONGEST_QUOTE = 400

#: How much of a body that is no JSON is looked at for words.
_LONGEST_LOOK = 10_000

#: The longest ``Retry-After`` that is believed, in seconds: a week.
_LONGEST_RETRY_AFTER = 7 * 24 * 3600.0


@dataclass(frozen=True)
class LivyRequest:
    """
    A GET request, ready to be sent.

    :param url: the whole address, every part of it quoted.
    :param subject: what is asked for, in the words that begin an error message.
    """

    url: str
    subject: str


@dataclass(frozen=True)
class SparkSessionRequest(LivyRequest):
    """The request for one session."""

    session_id: int


@dataclass(frozen=True)
class SparkSessionPageRequest(LivyRequest):
    """The request for one page of a pool's sessions."""

    size: int


@dataclass(frozen=True)
class LivyResponse:
    """
    An answer as it came.

    :param status: the HTTP status.
    :param headers: the headers; the letter case of the names does not matter.
    :param body: the body as it came, packed if it was; no more of it than a byte beyond :data:`MAX_BODY_BYTES`.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    def header(self, name: str) -> str | None:
        """Give the value of a header as a short line of text, None where the answer has none."""
        value = next((value for key, value in self.headers.items() if key.lower() == name.lower()), None)
        return value and _shorten(value.encode("utf-8", "replace").decode())

    def decompressed(self) -> bytes:
        """
        Give the body decompressed; no more of it than a byte beyond :data:`MAX_BODY_BYTES`, whatever it would unpack to.

        :raises ValueError: if it can't be.
        """
        encoding = (self.header("content-encoding") or "").strip().lower()
        if encoding not in ("gzip", "x-gzip"):  # no other was asked for
            return self.body
        unpacking = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        try:
            body = unpacking.decompress(self.body, MAX_BODY_BYTES + 1)
        except zlib.error as error:
            raise ValueError(f"this is no gzip: {error}") from None
        if not unpacking.eof and len(body) <= MAX_BODY_BYTES:
            raise ValueError("this gzip has no end")
        return body


class Snapshot(NamedTuple):
    """
    A session as an answer described it.

    :param session: the session.
    :param activity_id: the ``x-ms-activity-id`` of the answer, which Microsoft's support asks for.
    :param digest: what tells one description from another, without keeping it.
    """

    session: SparkSession
    activity_id: str | None
    digest: int = 0


@dataclass(frozen=True)
class SparkSessionPage:
    """
    One page of a pool's sessions.

    :param items: the sessions as the page has them, not read yet, by their ids.
    :param is_last: whether no page follows.
    :param activity_id: the ``x-ms-activity-id`` of the answer.
    :param body: the answer's body.
    """

    items: dict[int, dict[str, Any]]
    is_last: bool
    activity_id: str | None
    body: bytes

    def digest(self, session_id: int) -> int:
        """
        Tell one description of a session from another, in a fraction of the time that it takes to read it.

        :param session_id: a session of the page.
        """
        return _digest(self.items[session_id])

    def read(self, session_id: int) -> Snapshot | None:
        """
        Give a session; None if the page does not say all that a look at it alone would, or is not clear.

        :param session_id: a session of the page.
        """
        try:
            session = SparkSession.from_dict(self.items[session_id])
        except ValueError:
            return None
        if not (_is_complete(session) and self._is_clear):
            return None
        return Snapshot(session, self.activity_id, self.digest(session_id))

    @cached_property
    def _is_clear(self) -> bool:
        """Whether all readers would see the same in it. To tell takes longer than all else here."""
        try:
            read_json(self.body)
        except ValueError:
            return False
        return True


def validate_session_id(session_id: object) -> int:
    """
    Check what was given, or rendered, as the id of a session.

    :param session_id: a whole number from 0 up, or one written in digits.
    :raises InvalidSparkSessionIdError: if it is anything else; the message names the likely cause.
    """
    number = session_id
    if isinstance(number, str) and re.fullmatch(r"-?[0-9]{1,100}", number.strip()):
        number = int(number)
    if isinstance(number, int) and not isinstance(number, bool) and 0 <= number <= _LARGEST_SESSION_ID:
        return number
    raise InvalidSparkSessionIdError(
        f"{_shorten(repr(session_id))} is not the id of a Spark session, which is a whole number from 0 to "
        f"{_LARGEST_SESSION_ID}. {_likely_cause(number)}"
    )


def _likely_cause(session_id: object) -> str:  # noqa: PLR0911  (a table, in effect)
    match session_id:
        case None | "None" | "":
            return "What it should come from gave nothing: see whether that task's id is right, and what it pushed."
        case str() if "{" in session_id:
            return "It looks like a template that was not rendered: see whether the field is a template field."
        case bool() | float():
            return "It is a number of another kind: take the id as the service gave it."
        case int() if session_id < 0:
            return "Livy clients use -1 for a session that was not created."
        case int():
            return "It is too large."
        case Mapping():
            return "It looks like a whole session: take its ['id']."
        case list() | tuple() | set():
            return "It holds several: map the task over them, with expand(session_id=...)."
        case _:
            return "Only digits are."


def spark_session_request(
    *, endpoint: str, spark_pool_name: str, livy_api_version: str, session_id: object, detailed: bool = True
) -> SparkSessionRequest:
    """
    Build the request for one session.

    :param endpoint: the workspace's development endpoint.
    :param spark_pool_name: the Spark pool.
    :param livy_api_version: the version of the Livy API.
    :param session_id: the session's id.
    :param detailed: whether to ask for everything, rather than for id, application, state and log alone.
    :raises SynapseLivyConfigurationError: if a part is missing or can't stand in a path.
    """
    number = validate_session_id(session_id)
    return SparkSessionRequest(
        url=f"{_sessions_url(endpoint, livy_api_version, spark_pool_name)}/{number}?detailed={_bool(detailed)}",
        subject=f"Spark session {number} in pool {spark_pool_name}",
        session_id=number,
    )


def list_spark_sessions_request(
    *,
    endpoint: str,
    spark_pool_name: str,
    livy_api_version: str,
    start: int = 0,
    size: int = MAX_PAGE_SIZE,
    detailed: bool = False,
) -> SparkSessionPageRequest:
    """
    Build the request for one page of a pool's sessions.

    :param endpoint: the workspace's development endpoint.
    :param spark_pool_name: the Spark pool.
    :param livy_api_version: the version of the Livy API.
    :param start: how many sessions to pass over.
    :param size: how many sessions at the most; the service gives no more than 20.
    :param detailed: whether to ask for everything.
    :raises SynapseLivyConfigurationError: if a part is missing or can't stand in a path.
    """
    sessions = _sessions_url(endpoint, livy_api_version, spark_pool_name)
    return SparkSessionPageRequest(
        url=f"{sessions}?from={start}&size={size}&detailed={_bool(detailed)}",
        subject=f"The Spark sessions of pool {spark_pool_name}",
        size=size,
    )


def _sessions_url(endpoint: str, livy_api_version: str, spark_pool_name: str) -> str:
    version = _path_part("livy_api_version", livy_api_version)
    pool = _path_part("spark_pool_name", spark_pool_name)
    return f"{endpoint}/livyApi/versions/{version}/sparkPools/{pool}/sessions"


def _path_part(name: str, value: object) -> str:
    """Quote a part of the path. Dots alone survive quoting and would lead out of it, so they are refused."""
    if isinstance(value, str) and value.strip(". ") not in ("", "None"):
        with suppress(UnicodeEncodeError):  # half a pair of surrogates is no character
            return quote(value, safe="")
    raise SynapseLivyConfigurationError(f"{name}={value!r} is not a name. Give it to the task or the connection.")


def _bool(value: bool) -> str:
    return str(value).lower()


def read_spark_session(request: SparkSessionRequest, answer: LivyResponse) -> Snapshot:
    """
    Read the answer to the request for a session.

    :param request: the request.
    :param answer: what came back.
    :raises SynapseLivyError: the kind that fits, if it is not the session that was asked for.
    """
    document = _read_document(request, answer)
    session = _parse_session(request, answer, document)
    if session.id != request.session_id:
        raise _unexpected_response(request, answer, f"with the session {session.id} instead")
    if session.job_type == SparkJobType.SPARK_BATCH:
        raise _unexpected_response(request, answer, "with a Spark batch job, which is no session")
    return Snapshot(session, _activity_id(answer), _digest(document))


def _digest(document: dict[str, Any]) -> int:
    return hash(to_json(document))


def _parse_session(request: LivyRequest, answer: LivyResponse, document: Any) -> SparkSession:
    try:
        return SparkSession.model_validate(document)
    except ValidationError as error:
        fields = ", ".join(sorted({".".join(map(str, e["loc"])) or "the whole" for e in error.errors()}))
        raise _unexpected_response(request, answer, f"that is not a Spark session (see {_shorten(fields)})") from None


def _read_body(request: LivyRequest, answer: LivyResponse) -> bytes:
    """Give the body of an answer that is a success, decompressed, or raise what it means that there is none."""
    _raise_for_status(request, answer)
    try:
        body = answer.decompressed()
    except ValueError:
        raise _truncated(request, answer) from None
    if max(len(body), len(answer.body)) > MAX_BODY_BYTES:
        raise _unexpected_response(
            request, answer, f"with more than {MAX_BODY_BYTES // 2**20} MB, which nothing of it needs"
        )
    return body


def _read_document(request: LivyRequest, answer: LivyResponse) -> Any:
    """Give the JSON of an answer that is a success, or raise what it means that there is none."""
    body = _read_body(request, answer)
    try:
        return read_json(body)
    except AmbiguousJsonError as error:
        raise _unexpected_response(request, answer, f"with JSON that is not clear: {_shorten(str(error))}") from None
    except ValueError as error:
        if is_cut_short(body):
            raise _truncated(request, answer) from None
        raise _unexpected_response(request, answer, f"that is not JSON ({_body_excerpt(answer)}; {error})") from None


def _truncated(request: LivyRequest, answer: LivyResponse) -> SynapseLivyUnavailableError:
    return SynapseLivyUnavailableError(
        f"{request.subject}: {_BROKEN_OFF.format('Synapse')}", status=answer.status, activity_id=_activity_id(answer)
    )


class _Page(BaseModel):
    """A page as it stands. An item that is no session makes the others no less readable."""

    sessions: list[Any]
    total: int | None = None

    def items(self) -> dict[int, dict[str, Any]]:
        """Give the items that may be sessions, by their ids."""
        return {item["id"]: item for item in self.sessions if isinstance(item, dict) and type(item.get("id")) is int}


def read_spark_session_list(request: SparkSessionPageRequest, answer: LivyResponse) -> SparkSessionPage:
    """
    Read the answer to the request for a page of sessions.

    :param request: the request.
    :param answer: what came back.
    :raises SynapseLivyError: the kind that fits, if it is not a list of sessions.
    """
    body = _read_body(request, answer)
    try:
        page = _Page.model_validate_json(without_nul(body))
    except ValueError:
        raise _unexpected_response(
            request, answer, f"that is not a list of sessions ({_body_excerpt(answer)})"
        ) from None
    # The total is that of the answer, and nothing else tells the end of the list.
    is_last = not page.sessions or (len(page.sessions) if page.total is None else page.total) < request.size
    return SparkSessionPage(page.items(), is_last, _activity_id(answer), body)


def _is_complete(session: SparkSession) -> bool:
    """Tell whether an item of a list can stand for a look at the session alone; if in doubt, it can't."""
    if session.job_type == SparkJobType.SPARK_BATCH or None in (session.state, session.result):
        return False
    if session.outcome is SparkSessionResultType.FAILED and not session.is_settling and not session.error_info:
        return False
    return session.scheduler_info is not None and session.plugin_info is not None


class _Meaning(NamedTuple):
    error: type[SynapseLivyError]
    remedy: str


#: What a status means, and what to do about it: if it is trouble that passes, try again. 5xx is in
#: :data:`_UNAVAILABLE`, all others in :data:`_UNKNOWN`.
_MEANING: dict[int, _Meaning] = {
    400: _Meaning(
        SynapseLivyResponseError,
        "The request was not understood: compare livy_api_version and spark_pool_name with the workspace's.",
    ),
    401: _Meaning(
        SynapseLivyAuthenticationError,
        "A renewed token is refused as well: see whether the identity is in the workspace's tenant and cloud, "
        "and, if the connection has a ready-made token, whether that is still good.",
    ),
    403: _Meaning(
        SynapseLivyPermissionError,
        'Give the identity the role "Synapse Compute Operator" on the workspace or the pool '
        "(Synapse Studio > Manage > Access control).",
    ),
    404: _Meaning(
        SparkSessionNotFoundError,
        "See whether the workspace has this pool (Synapse Studio > Manage > Apache Spark pools), and the pool such a "
        "session.",
    ),
    408: _Meaning(SynapseLivyUnavailableError, "Synapse timed out; try again later."),
    # To Azure, 409 and 423 mean that something else is at work on the resource, which ends: a request that only reads
    # is in conflict with nothing of its own.
    409: _Meaning(SynapseLivyUnavailableError, "The pool or the workspace is being changed; try again later."),
    423: _Meaning(SynapseLivyUnavailableError, "The pool or the workspace is locked; see by whom, or try again later."),
    429: _Meaning(SynapseLivyUnavailableError, "The workspace is asked too often; use a longer poke_interval."),
    # Not in any standard: the Livy API of Microsoft Fabric says so that Spark is asked for too much, or too often
    # (https://learn.microsoft.com/fabric/data-engineering/spark-job-concurrency-and-queueing).
    430: _Meaning(SynapseLivyUnavailableError, "Spark's limits are reached; try again later, or more seldom."),
}
_UNAVAILABLE = _Meaning(SynapseLivyUnavailableError, "Synapse is in trouble; try again later.")
_UNKNOWN = _Meaning(
    SynapseLivyResponseError, "Something else than Synapse may answer: look at the host and at proxies."
)

#: The one 403 that has nothing to do with roles.
_FIREWALL_CODE = "ClientIpAddressNotAuthorized"
_FIREWALL_REMEDY = (
    "The workspace's firewall does not let this address in: allow it (Azure portal > the workspace > Networking). "
    "A new rule takes about a minute to work."
)


def _raise_for_status(request: LivyRequest, answer: LivyResponse) -> None:
    """Raise what any answer but 200 means; nothing else ever holds a session."""
    if answer.status == 200:
        return
    code, words = _service_error(answer)
    meaning = _MEANING.get(answer.status, _UNAVAILABLE if answer.status >= 500 else _UNKNOWN)
    remedy = _FIREWALL_REMEDY if code == _FIREWALL_CODE else meaning.remedy
    details: dict[str, Any] = {"status": answer.status, "code": code, "activity_id": _activity_id(answer)}
    if meaning.error is SynapseLivyUnavailableError:
        details["retry_after"] = _retry_after(answer)
    raise meaning.error(f"{request.subject}: Synapse answered {_event(answer, code, words)}. {remedy}", **details)


def _unexpected_response(request: LivyRequest, answer: LivyResponse, what: str) -> SynapseLivyResponseError:
    return SynapseLivyResponseError(
        f"{request.subject}: Synapse answered {_event(answer, None, '')} {what}. {_UNKNOWN.remedy}",
        status=answer.status,
        activity_id=_activity_id(answer),
    )


def _event(answer: LivyResponse, code: str | None, words: str) -> str:
    """Describe an answer: the status, and in parentheses what the service says of it."""
    said = ": ".join(filter(None, (code, words)))
    activity_id = _activity_id(answer)
    note = "; ".join(filter(None, (said, activity_id and f"activity id {activity_id}")))
    return f"{answer.status} ({note})" if note else str(answer.status)


def _activity_id(answer: LivyResponse) -> str | None:
    return answer.header("x-ms-activity-id")


def _service_error(answer: LivyResponse) -> tuple[str | None, str]:
    """Find the code and the words of an error, in any of the shapes and letter cases that the service uses."""
    if 300 <= answer.status < 400:
        return None, _shorten(f"a redirect, which is not followed, to {answer.header('location')}")
    try:
        document = read_json(answer.decompressed())
    except ValueError:
        return None, _body_excerpt(answer)
    if not isinstance(document, dict):
        return None, _body_excerpt(answer)
    fields = _lower_keys(document)
    inner = fields.get("error")
    if isinstance(inner, dict):
        fields |= _lower_keys(inner)
    code = fields.get("code")
    words = fields.get("message") or inner or ""
    return None if code is None else _shorten(str(code)), _shorten(str(words))


def _lower_keys(document: dict[str, Any]) -> dict[str, Any]:
    return {key.lower(): value for key, value in document.items()}


def _body_excerpt(answer: LivyResponse) -> str:
    """Quote a body that is not what was expected."""
    try:
        text = answer.decompressed()[:_LONGEST_LOOK].decode("utf-8", "replace").strip()
    except ValueError as error:
        return f"a body that can't be decompressed, {error}"
    if not text:
        return "an empty body"
    if text.startswith("<"):
        title = re.search(r"<title[^>]*>(.*?)</title>", text, re.IGNORECASE | re.DOTALL)
        return _shorten(f"an HTML page, {title[1].strip()!r}" if title else "an HTML page")
    return _shorten(text)


def _shorten(text: str) -> str:
    """Make one line of a text, without the control characters that a database may refuse."""
    line = " ".join(re.sub(r"[\x00-\x1f\x7f]", " ", text).split())
    return line if len(line) <= _LONGEST_QUOTE else line[:_LONGEST_QUOTE] + "..."


def _retry_after(answer: LivyResponse) -> float | None:
    """Read ``Retry-After``, in seconds or a date; None where it is neither, past, or further off than is sensible."""
    value = (answer.header("retry-after") or "").strip()
    seconds = float(value) if re.fullmatch("[0-9]+", value) else _until(value, answer.header("date"))
    return seconds if seconds is not None and 0 < seconds <= _LONGEST_RETRY_AFTER else None


def _until(date: str, service_date: str | None) -> float | None:
    """Tell how far off a date is: by the service's own clock, where it shows it, as ours may be wrong."""
    at, now = _seconds(date), _seconds(service_date or "")
    return None if at is None else at - (time.time() if now is None else now)


def _seconds(date: str) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


#: How a connection breaks, in words that are the same whichever library noticed it.
_BREAKS: tuple[tuple[type[BaseException], str], ...] = (
    (
        socket.gaierror,
        "{}: its name can't be resolved. See whether the host is spelled right, and exists.",
    ),
    (TimeoutError, "{} did not answer in time. See whether a firewall or a proxy is in between."),
    (ConnectionRefusedError, "{} refused the connection. See whether host and port are right."),
)
_BROKEN_OFF = "{} broke the connection off before its answer was complete. Try later."
_NO_TLS = "{} does not speak TLS. See whether the port is right, and the scheme: http is for loopback addresses only."
_UNTRUSTED = (
    "the certificate of {} is not trusted ({}; trusted are those of {}). If a proxy or an emulator signs its own, name "
    'its CA bundle in the connection (extra "verify").'
)
_THROUGH_PROXY = "{} could not be reached through the proxy {} ({}). See whether it is the right one."
_WRONG_NAME = "the certificate of {} is for another name ({}). See whether the host is right, and look at proxies."

#: What is wrong with a certificate that another CA bundle would not mend, by OpenSSL's number of the fault.
_BAD_CERTIFICATES = {
    9: "the certificate of {} is not valid yet ({}). See whether this machine's clock is right.",
    10: "the certificate of {} has expired ({}). Have it renewed, or see whether this machine's clock is right.",
    62: _WRONG_NAME,
    64: _WRONG_NAME,  # where the host is an address
}


def connection_error(
    subject: str, url: str, error: BaseException, *, proxy: str | None = None, ca_bundle: str | bool = True
) -> SynapseLivyError:
    """
    Say what a broken connection means. One whose TLS can't be right will not mend itself, all else may.

    :param subject: what was asked for.
    :param url: where.
    :param error: what the HTTP library raised.
    :param proxy: the proxy in between, if any.
    :param ca_bundle: the certificates that were trusted.
    """
    address = _address(url)
    chain = list(causes(error))
    for cause in reversed(chain):  # aiohttp's own error is a certificate error as well, but does not know why
        if isinstance(cause, ssl.SSLCertVerificationError):
            words = _BAD_CERTIFICATES.get(getattr(cause, "verify_code", 0), _UNTRUSTED)
            why = str(getattr(cause, "verify_message", cause)).rstrip(".")
            return SynapseLivyConfigurationError(f"{subject}: {words.format(address, why, ca_bundle)}")
        if isinstance(cause, ssl.SSLError) and getattr(cause, "reason", None) == "WRONG_VERSION_NUMBER":
            return SynapseLivyConfigurationError(f"{subject}: {_NO_TLS.format(address)}")
    if proxy and any("Proxy" in type(cause).__name__ for cause in chain):  # as requests, urllib3 and aiohttp call it
        words = _THROUGH_PROXY.format(address, _address(proxy), _proxy_trouble(chain))
        return SynapseLivyUnavailableError(f"{subject}: {words}")
    breaks = (words for kind, words in _BREAKS if any(isinstance(cause, kind) for cause in chain))
    return SynapseLivyUnavailableError(f"{subject}: {next(breaks, _BROKEN_OFF).format(address)}")


def _address(url: str) -> str:
    """Shorten a URL to the server's address, without the user and password that a proxy's may hold."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _proxy_trouble(chain: list[BaseException]) -> str:
    """Say what a proxy did, in words that are the same whichever library noticed it."""
    for cause in chain:
        tunnel = re.search(r"Tunnel connection failed: (\d+)", str(cause))  # http.client's words
        if status := (tunnel[1] if tunnel else getattr(cause, "status", None)):
            return f"it answered {status}"
    return "it refused the connection" if any(isinstance(c, ConnectionRefusedError) for c in chain) else "it failed"


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """
    Go from an error to what it was raised from, and on to the first cause.

    :param error: where to begin.
    """
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
