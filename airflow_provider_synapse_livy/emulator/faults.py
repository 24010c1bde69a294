"""The faults of the way to the service: failed and lost answers, flaky sessions, outages."""

from __future__ import annotations

from aiohttp import web

from airflow_provider_synapse_livy.emulator.errors import too_many_requests

__all__ = ["injected_fault", "transient_fault"]


def injected_fault(status: int, request: web.Request, rate_limit: int) -> web.Response:
    """Return the response with a status that a test asks for; 0 closes the connection."""
    if status == 0:
        return _close_connection(request)
    if status == 429:
        return too_many_requests(rate_limit)
    message = "The emulator was told to answer so."
    return web.json_response({"error": {"code": "Emulated", "message": message}}, status=status)


async def transient_fault(number: int, request: web.Request) -> web.Response:
    """Return a transient error; successive numbers select 503, 429, 500 and a closed connection in turn."""
    match number % 4:
        case 0:
            return web.Response(text="<html><title>Service Unavailable</title></html>", status=503)
        case 1:
            return too_many_requests(200)
        case 2:
            body = {"error": {"code": "UnknownError", "message": "An unexpected error occurred."}}
            return web.json_response(body, status=500, headers={"x-ms-failure-cause": "gateway"})
        case _:
            return _close_connection(request)


def _close_connection(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
