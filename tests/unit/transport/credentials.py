"""Credential classes such as a user writes, which the tests name by their dotted paths."""

from __future__ import annotations

import time
from typing import Any, ClassVar

from azure.core.credentials import AccessToken
from azure.core.exceptions import HttpResponseError


class Counting:
    """Returns a new token upon each request, valid for an hour."""

    requests: ClassVar[int] = 0
    lifetime: ClassVar[float] = 3600

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        """Return the next token."""
        Counting.requests += 1
        return AccessToken(f"token-{Counting.requests}", int(time.time() + Counting.lifetime))


class Response:
    """A response as azure-core's errors carry it."""

    reason = "reason"

    def __init__(self, status: int, headers: Any) -> None:
        self.status_code = status
        self.headers = headers


class Refused(Counting):
    """Returns one token, and fails with the response that a test sets from then on."""

    response: ClassVar[Response | None] = None

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        """Return the token, or fail."""
        if Refused.response is None:
            return super().get_token(*scopes, **options)
        raise HttpResponseError("s0me words\nand more of them", response=Refused.response)  # type: ignore[arg-type]
