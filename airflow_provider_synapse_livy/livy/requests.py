"""What one request to the Livy API is: method, URL, body, how its response is read, whether it may be sent again."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from airflow_provider_synapse_livy.livy.errors import (
    SparkSessionNotFoundError,
    SynapseLivyConfigurationError,
    SynapseLivyError,
    SynapseLivyUnavailableError,
    error_message,
)
from airflow_provider_synapse_livy.livy.responses import MAX_BODY_BYTES, LivyResponse, one_line, read_document

__all__ = ["DEFAULT_LIVY_API_VERSION", "REQUEST_HEADERS", "LivyRequest", "Pool", "any_request"]

T = TypeVar("T")

DEFAULT_LIVY_API_VERSION = "2020-12-01"

#: The methods that HTTP lets be sent twice (RFC 9110, 9.2.2).
_IDEMPOTENT = {"GET", "HEAD", "OPTIONS", "PUT", "DELETE"}

#: The headers of every request.
REQUEST_HEADERS = {"Accept": "application/json", "Accept-Encoding": "gzip"}


@dataclass(frozen=True)
class Pool:
    """
    A Spark pool, as one version of the Livy API shows it.

    :param endpoint: the workspace's development endpoint, without a slash at the end.
    :param name: the Spark pool's name.
    :param livy_api_version: the version of the Livy API.
    """

    endpoint: str
    name: str
    livy_api_version: str = DEFAULT_LIVY_API_VERSION

    @property
    def url(self) -> str:
        """
        The address that all paths of the pool begin with.

        :raises SynapseLivyConfigurationError: if a part is missing or can't stand in a path.
        """
        version = _path_part("livy_api_version", self.livy_api_version)
        return f"{self.endpoint}/livyApi/versions/{version}/sparkPools/{_path_part('spark_pool_name', self.name)}"


def _path_part(name: str, value: object) -> str:
    """Quote a part of the path. Dots alone survive quoting and would lead out of it, so they are refused."""
    if isinstance(value, str) and value.strip(". ") not in ("", "None"):
        with suppress(UnicodeEncodeError):  # half a pair of surrogates is no character
            return quote(value, safe="")
    raise SynapseLivyConfigurationError(
        error_message(f"{name}={one_line(repr(value), 60)} is not a name.", f"set {name} on the task or connection.")
    )


@dataclass(frozen=True)
class LivyRequest(Generic[T]):
    """
    One request, ready to be sent.

    :param method: the HTTP method.
    :param url: the whole address, every part of it quoted.
    :param subject: what is asked for, in the words that begin an error message.
    :param read: returns what the response means, or raises what is wrong with it.
    :param body: the JSON body, if there is one.
    :param is_idempotent: whether sending it twice does no more than sending it once.
    :param min_timeout: how many seconds its response may take, at the least.
    :param max_body_bytes: how many bytes of its response are read; more are an error.
    """

    method: str
    url: str
    subject: str
    read: Callable[[LivyResponse], T]
    body: bytes | None = None
    is_idempotent: bool = True
    min_timeout: float = 0.0
    max_body_bytes: int = MAX_BODY_BYTES

    def may_be_sent_again(self, error: SynapseLivyError) -> bool:
        """
        Return whether another attempt may succeed, and can do no harm.

        :param error: what the last attempt ended with.
        """
        passes = isinstance(error, SynapseLivyUnavailableError)
        return passes and (self.is_idempotent or not error.may_have_been_processed)


def any_request(pool: Pool, method: str, path: str, content: Any = None) -> LivyRequest[Any]:
    """
    Return a request that nothing else is known of.

    :param pool: the pool.
    :param method: the HTTP method.
    :param path: the path below the pool; with a slash in front, below the workspace's endpoint.
    :param content: what to send as JSON; None to send nothing.
    """
    subject = f"{method.upper()} {one_line(path, 60)}"
    url = f"{pool.endpoint}{path}" if path.startswith("/") else f"{pool.url}/{path}"
    read = partial(read_document, subject=subject, not_found=SparkSessionNotFoundError)
    body = None if content is None else json.dumps(content).encode()
    return LivyRequest(method.upper(), url, subject, read, body, is_idempotent=method.upper() in _IDEMPOTENT)
