"""The worker's way to Synapse, over requests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from tenacity import Retrying

from airflow_provider_synapse_livy.api import LivyAnswer, LivyRequest, broken_connection
from airflow_provider_synapse_livy.connection import SynapseLivyConnection
from airflow_provider_synapse_livy.credentials import TokenSource, token_source
from airflow_provider_synapse_livy.retry import retry_description

__all__ = ["LivyClient"]

_TIMEOUT = 30.0  # seconds, to connect and to read

_Request = TypeVar("_Request", bound=LivyRequest)
_Result = TypeVar("_Result")


class LivyClient:
    """
    Sends requests to one workspace, with the connection's identity.

    :param connection: the workspace and the identity.
    :param retry: keyword arguments of ``tenacity.Retrying``.
    """

    def __init__(self, connection: SynapseLivyConnection, *, retry: Mapping[str, Any] | None = None) -> None:
        self._tokens = token_source(connection.identity)
        self._retry = retry_description() if retry is None else retry
        self.session = requests.Session()
        self.session.auth = _BearerToken(connection.endpoint, self._tokens)
        self.session.headers["Accept"] = "application/json"
        for prefix in ("https://", "http://"):
            self.session.mount(prefix, _Adapter(connection.ca_file))

    def call(self, request: _Request, read: Callable[[_Request, LivyAnswer], _Result]) -> _Result:
        """
        Send a request, as often as it takes, and give what its answer means.

        :param request: the request.
        :param read: reads the answer, and raises what is wrong with it.
        :raises SynapseLivyError: if there is no good answer.
        """
        result: _Result = Retrying(**self._retry)(self._attempt, request, read)
        return result

    def _attempt(self, request: _Request, read: Callable[[_Request, LivyAnswer], _Result]) -> _Result:
        token = self._tokens.get()
        answer = self._send(request)
        if answer.status == 401:
            self._tokens.renew(rejected=token)
            answer = self._send(request)
        return read(request, answer)

    def _send(self, request: LivyRequest) -> LivyAnswer:
        try:
            response = self.session.get(request.url, allow_redirects=False)
        except requests.RequestException as error:
            raise broken_connection(request.subject, error) from None
        return LivyAnswer(response.status_code, response.headers, response.content)


class _BearerToken(requests.auth.AuthBase):
    """Adds the token to requests that go to the workspace, and to no other."""

    def __init__(self, endpoint: str, tokens: TokenSource) -> None:
        self._origin = urlsplit(endpoint)[:2]
        self._tokens = tokens

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if urlsplit(request.url or "")[:2] == self._origin:
            request.headers["Authorization"] = f"Bearer {self._tokens.get()}"
        return request


class _Adapter(HTTPAdapter):
    """
    Sets what requests has no setting of a session for.

    Without a timeout requests waits for ever, and ``Session.verify`` loses against ``REQUESTS_CA_BUNDLE``.
    """

    def __init__(self, ca_file: str | bool) -> None:
        super().__init__()
        self._ca_file = ca_file

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        kwargs["verify"] = self._ca_file
        kwargs["timeout"] = kwargs.get("timeout") or _TIMEOUT
        return super().send(request, *args, **kwargs)
