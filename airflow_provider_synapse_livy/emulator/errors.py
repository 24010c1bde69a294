"""The errors that the service answers with: each cause has its own form of JSON, as in recordings."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from airflow_provider_synapse_livy.emulator.entra import OBJECT_ID

__all__ = [
    "FIREWALLED_POOL",
    "FORBIDDEN_POOL",
    "MISSING_POOL",
    "QUOTA_POOL",
    "SMALL_POOL",
    "WORKSPACE",
    "bad_request",
    "livy_failure",
    "not_emulated",
    "pool_capacity_exceeded",
    "pool_error",
    "request_too_large",
    "session_not_active",
    "session_not_found",
    "session_not_running",
    "statement_not_found",
    "too_many_requests",
    "vcore_quota_exceeded",
]

WORKSPACE = "emulator"

#: Names of the pools that answer every request with an error.
FORBIDDEN_POOL = "forbidden"
FIREWALLED_POOL = "firewalled"
MISSING_POOL = "missing"

#: The pool of a workspace without any vcores, and the one that holds no session larger than 12 vcores.
QUOTA_POOL = "quota"
SMALL_POOL = "small"


def too_many_requests(rate_limit: int) -> web.Response:
    """Return the response to a request beyond the rate limit."""
    message = (
        f"Your request has hit layered throttling rate-limit of {rate_limit} per 1 second(s). "
        "Please retry after 1 second(s)"
    )
    return web.Response(text=message, status=429, headers={"Retry-After": "1"})


def _traced(message: str, status: int = 400) -> web.Response:
    return web.json_response({"TraceId": str(uuid.uuid4()), "Message": message}, status=status)


def _livy_error(status: int, reason: str) -> web.Response:
    message = (
        f"The HTTP status code of the response was not expected ({status}).\n\nStatus: {status}\nResponse: \n{reason}"
    )
    return _traced(message, status)


def bad_request(reason: str) -> web.Response:
    """Return the response to a request that Livy, behind the service, refuses for this reason."""
    return _livy_error(400, reason)


def livy_failure(reason: str) -> web.Response:
    """Return the response to a request at which Livy fails. It is Livy's, in the form of what Livy refuses."""
    return _livy_error(500, reason)


def request_too_large(limit: int) -> web.Response:
    """Return the response to a request whose body has more bytes than the limit; the service's own is not public."""
    return _traced(f"The request is larger than {limit} bytes.", status=413)


def vcore_quota_exceeded(requested: int, limit: int) -> web.Response:
    """Return the response to a request for more vcores than the workspace may ever have."""
    # The words are those that Synapse Studio shows; the JSON around them is not public.
    return _traced(
        f"InvalidHttpRequestToLivy: Your Spark job requested {requested} vcores. However, the workspace has a {limit} "
        "core limit. Try reducing the numbers of vcores requested or increasing your vcore quota."
    )


def pool_capacity_exceeded(requested: int, capacity: int) -> web.Response:
    """Return the response to a request for more vcores than the pool holds."""
    message = f"Job was submitted with resources=[{requested}] when the compute has a capacity of=[{capacity}]"
    return bad_request(
        json.dumps({"ClassName": "Microsoft.Marlin.Common.Exception.MarlinException", "Message": message})
    )


def pool_error(request: web.Request) -> web.Response | None:
    """Return the error response of the pools that always answer one, and None for all others."""
    pool = request.match_info.get("pool")
    if pool == FORBIDDEN_POOL:
        message = (
            f"The principal '{OBJECT_ID}' does not have the required Synapse RBAC permission to perform this action. "
            "Required permission: Action: Microsoft.Synapse/workspaces/bigDataPools/useCompute/action, "
            f"Scope: workspaces/{WORKSPACE}/bigDataPools/{pool}."
        )
        return web.json_response({"error": {"code": "Unauthorized", "message": message}}, status=403)
    if pool == FIREWALLED_POOL:
        body = {"code": "ClientIpAddressNotAuthorized", "message": f"Client Ip address : {request.remote}"}
        return web.json_response(body, status=403)
    if pool == MISSING_POOL and request.method == "POST":
        return _traced("Spark Compute not Found")  # as recorded: 400 for a creation, unlike for all else
    if pool == MISSING_POOL:
        body = {"code": "NotFound", "message": f"Spark pool {pool} was not found in workspace {WORKSPACE}."}
        return web.json_response({"error": body}, status=404)
    return None


async def not_emulated(request: web.Request) -> web.Response:
    """Return the error response to a request that no route takes, in the form of the service's for what is missing."""
    message = (
        f"The emulator does not emulate {request.method} {request.path}. It emulates the Livy API's Spark sessions: "
        "list and create with GET and POST /livyApi/versions/<version>/sparkPools/<pool>/sessions, read and cancel "
        "with GET and DELETE .../sessions/<id>, restart the idle timeout with PUT .../sessions/<id>/reset-timeout; "
        "their statements: list and create with GET and POST .../sessions/<id>/statements, read with GET "
        ".../statements/<number>, cancel with POST .../statements/<number>/cancel; and batch jobs, as sessions, under "
        ".../batches. It emulates nothing of Synapse besides."
    )
    return web.json_response({"code": "NotFound", "message": message, "error": None}, status=404)


def session_not_found(request: web.Request) -> web.Response:
    """Return the response to a request for a session, or a batch job, that does not exist."""
    noun = "batch job" if request.match_info.get("kind") == "batches" else "session"
    message = f"Spark {noun} {request.match_info['id']} was not found in pool {request.match_info['pool']}."
    return web.json_response({"code": "NotFound", "message": message, "error": None}, status=404)


def session_not_running(record: Mapping[str, Any]) -> web.Response:
    """
    Return the response to a statement for a session that has ended, or is not ready yet.

    :param record: the record of the session.
    """
    return _traced(
        f"Session {record['id']} of workspace {WORKSPACE} on pool {record['sparkPoolName']} is not running. "
        "It is either completed or not fully yet ready. "
        f"Scheduler state : {record['schedulerInfo']['currentState']}. "
        f"Plugin state : {record['pluginInfo']['currentState']}. Livy state : {record['state']}."
    )


def session_not_active() -> web.Response:
    """Return the response to a request for what has been lost with its session. The words are Livy's."""
    return bad_request(json.dumps({"msg": "requirement failed: Session isn't active."}))


def statement_not_found(request: web.Request) -> web.Response:
    """Return the response to a request for a statement that does not exist, or not any more; its words are our own."""
    place = f"session {request.match_info['id']} in pool {request.match_info['pool']}"
    message = f"Statement {request.match_info['number']} was not found in {place}."
    return web.json_response({"code": "NotFound", "message": message, "error": None}, status=404)
