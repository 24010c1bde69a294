"""The faults of the way to the service: failed and lost answers, outages, flaky sessions."""

from __future__ import annotations

from collections import deque

from aiohttp import web

from airflow_provider_synapse_livy.emulator.errors import too_many_requests

__all__ = ["Faults", "transient_fault"]


class Faults:
    """
    The faults that a test has asked for, as HTTP statuses; 0 closes the connection instead.

    ``before`` has one for each of the next Livy requests, which is answered so and not processed. ``after`` has one for
    each of the next POST and DELETE requests that are processed; it replaces their answer. While ``outage`` is set, all
    Livy requests are answered so, not processed, and take no other fault.
    """

    def __init__(self) -> None:
        self.before: deque[int] = deque()
        self.after: deque[int] = deque()
        self.outage: int | None = None

    def out_of_service(self, request: web.Request) -> web.Response | None:
        """Return the response of an outage, which is that of a gateway and in HTML; None if there is no outage."""
        if self.outage is None:
            return None
        return _unavailable(self.outage) if self.outage else _close_connection(request)

    def before_work(self, request: web.Request, rate_limit: int) -> web.Response | None:
        """Return the response to a request that is not to be processed; None to process it."""
        return _injected(self.before.popleft(), request, rate_limit) if self.before else None

    def after_work(self, request: web.Request, response: web.StreamResponse, rate_limit: int) -> web.StreamResponse:
        """Return the response to a request that was processed: the usual one, or a fault."""
        if not self.after or request.method not in ("POST", "DELETE"):
            return response
        status = self.after.popleft()
        if status == 200 and isinstance(response, web.Response):
            return _cut_off(response)
        return _injected(status, request, rate_limit)


def _injected(status: int, request: web.Request, rate_limit: int) -> web.Response:
    if status == 0:
        return _close_connection(request)
    if status == 429:
        return too_many_requests(rate_limit)
    message = "The emulator was told to answer so."
    return web.json_response({"error": {"code": "Emulated", "message": message}}, status=status)


def _cut_off(response: web.Response) -> web.Response:
    """Return the first half of a response's body, as a complete response, the way a proxy may pass it on."""
    text = (response.text or "")[: len(response.text or "") // 2]
    return web.Response(text=text, content_type="application/json")


async def transient_fault(number: int, request: web.Request) -> web.Response:
    """Return a transient error; successive numbers select 503, 429, 500 and a closed connection in turn."""
    match number % 4:
        case 0:
            return _unavailable(503)
        case 1:
            return too_many_requests(200)
        case 2:
            body = {"error": {"code": "UnknownError", "message": "An unexpected error occurred."}}
            return web.json_response(body, status=500, headers={"x-ms-failure-cause": "gateway"})
        case _:
            return _close_connection(request)


def _unavailable(status: int) -> web.Response:
    return web.Response(text="<html><title>Service Unavailable</title></html>", status=status)


def _close_connection(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
