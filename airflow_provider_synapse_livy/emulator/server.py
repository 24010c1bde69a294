"""The HTTP server: routes, checks before them, and responses in the form of the live service's."""

from __future__ import annotations

import logging
import time
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from aiohttp import web

from airflow_provider_synapse_livy.emulator.batches import BATCH_SCENARIOS, DEFAULT_BATCH_SCENARIO, EmulatedBatch
from airflow_provider_synapse_livy.emulator.clock import Clock
from airflow_provider_synapse_livy.emulator.creation import (
    DEFAULT_NAME,
    MAX_REQUEST_BYTES,
    creation_options,
    size_error,
)
from airflow_provider_synapse_livy.emulator.entra import OBJECT_ID, Entra
from airflow_provider_synapse_livy.emulator.errors import (
    WORKSPACE,
    bad_request,
    livy_failure,
    not_emulated,
    pool_error,
    request_too_large,
    session_not_active,
    session_not_found,
    session_not_running,
    statement_not_found,
    too_many_requests,
)
from airflow_provider_synapse_livy.emulator.faults import Faults, transient_fault
from airflow_provider_synapse_livy.emulator.pools import Pools
from airflow_provider_synapse_livy.emulator.scenarios import DEFAULT_SCENARIO, SCENARIOS, Scenario
from airflow_provider_synapse_livy.emulator.sessions import EmulatedSession
from airflow_provider_synapse_livy.emulator.spark.supervisor import SparkSupervisor
from airflow_provider_synapse_livy.emulator.statements import KINDS, UNSCRIPTED, Script, statement_fields

__all__ = ["SCENARIO_TAG", "RecordedRequest", "SynapseServer"]

#: Name of the tag, in the request that creates a session, that chooses its scenario.
SCENARIO_TAG = "emulator.scenario"

_LIVY_API_VERSIONS = ("2019-11-01-preview", "2020-12-01", "2022-02-22-preview")
_MAX_PAGE_SIZE = 20  # the live service's limit

#: The orders of a list of sessions.
NEWEST_FIRST = "newest_first"
LIST_ORDERS = (NEWEST_FIRST, "oldest_first")

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_StatementHandler = Callable[[web.Request, EmulatedSession, float], web.Response]

_log = logging.getLogger(__name__)


class RecordedRequest(NamedTuple):
    """A request, and the HTTP status of its response: 0 if the emulator closed the connection instead."""

    method: str
    path: str
    status: int


class SynapseServer:
    """
    One workspace and its Microsoft Entra ID, as an aiohttp application.

    Tests read ``recorded_requests``, the last 10,000 requests, ask for errors in ``faults``, and put into ``scripts``
    what statements do: the first one counts whose text is in the code. Each request is also logged, with level DEBUG.

    :param time_scale: real seconds per emulated second.
    :param rate_limit: requests per second; further ones get 429.
    :param token_lifetime: real seconds until an issued token expires.
    :param vcore_limit: the vcores of the workspace: a request for a larger session gets 400; None for no limit.
    :param list_order: ``newest_first``, as lists were recorded in 2025, or ``oldest_first``, as in 2019 to 2021.
    :param spark: run statements that have no script in a real Spark; each session has its own.
    :param scenarios: further scenarios by name, of sessions and batch jobs.
    :raises MissingRequirementError: with ``spark``, if Java or pyspark is not installed.
    """

    def __init__(
        self,
        *,
        time_scale: float,
        rate_limit: int,
        token_lifetime: float,
        vcore_limit: int | None = None,
        list_order: str = NEWEST_FIRST,
        spark: bool = False,
        scenarios: Mapping[str, Scenario] | None = None,
    ) -> None:
        if list_order not in LIST_ORDERS:
            fix = f"use one of these orders: {', '.join(LIST_ORDERS)}."
            raise ValueError(f"list_order {list_order!r}: there is no such order.\nFix: {fix}")
        self.time_scale = time_scale
        self.rate_limit = rate_limit
        self.vcore_limit = vcore_limit
        self.list_order = list_order
        self.entra = Entra(token_lifetime)
        self.clock = Clock()
        self.pools = Pools()
        self.spark = SparkSupervisor(self.clock, self.pools.has) if spark else None
        self.recorded_requests: deque[RecordedRequest] = deque(maxlen=10_000)
        self.faults = Faults()
        self.scripts: tuple[Script, ...] = ()
        self.scenarios = SCENARIOS | dict(scenarios or {})
        self.batch_scenarios = BATCH_SCENARIOS | dict(scenarios or {})
        self._recent_times: deque[float] = deque()

    def application(self) -> web.Application:
        """Build the aiohttp application with the routes and checks."""
        app = web.Application(middlewares=[self._record_request, self._check_request])
        pool = "/livyApi/versions/{version}/sparkPools/{pool}"
        both = pool + "/{kind:sessions|batches}"
        app.router.add_get(both, self._list)
        app.router.add_post(both, self._create)
        app.router.add_get(both + "/{id}", self._get)
        app.router.add_delete(both + "/{id}", self._cancel)
        sessions = pool + "/sessions"
        app.router.add_put(sessions + "/{id}/reset-timeout", self._reset_timeout)
        statements = sessions + "/{id}/statements"
        app.router.add_post(statements, self._create_statement)
        app.router.add_get(statements, self._with_statements(_list_statements))
        app.router.add_get(statements + "/{number}", self._with_statements(_get_statement))
        app.router.add_post(statements + "/{number}/cancel", self._with_statements(_cancel_statement))
        app.router.add_get("/{tenant}/v2.0/.well-known/openid-configuration", self._openid_configuration)
        app.router.add_post("/{tenant}/oauth2/v2.0/token", self._token)
        app.router.add_route("*", "/{path:.*}", not_emulated)
        if self.spark:
            app.cleanup_ctx.append(self.spark.lifespan)
        return app

    def create_session(self, pool: str, options: dict[str, Any], *, age: float = 0.0) -> EmulatedSession:
        """
        Create a session, as a POST request does, but of any size, and with a name if it has none.

        :param options: the JSON body of the request; it is not checked but for the scenario.
        :param age: how long ago it was created, in emulated seconds.
        :raises ValueError: if its tag names a scenario that does not exist.
        """
        return self._new(EmulatedSession, _scenario(options, self.scenarios, DEFAULT_SCENARIO), pool, options, age)

    def create_batch(self, pool: str, options: dict[str, Any], *, age: float = 0.0) -> EmulatedSession:
        """
        Create a batch job, as :meth:`create_session` does a session.

        :param options: the JSON body of the request; it is not checked but for the scenario.
        :param age: how long ago it was created, in emulated seconds.
        :raises ValueError: if its tag names a scenario that does not exist.
        """
        scenario = _scenario(options, self.batch_scenarios, DEFAULT_BATCH_SCENARIO)
        return self._new(EmulatedBatch, scenario, pool, options, age)

    def _new(
        self, kind: type[EmulatedSession], scenario: Scenario, pool: str, options: dict[str, Any], age: float
    ) -> EmulatedSession:
        session = self.pools.create(
            pool,
            kind,
            workspace=WORKSPACE,
            options={"name": DEFAULT_NAME} | options,
            scenario=scenario,
            created_at=self.clock.now() - age * self.time_scale,
            time_scale=self.time_scale,
            submitter_id=OBJECT_ID,
        )
        if self.spark and kind is EmulatedSession:
            self.spark.attach(session)
        return session

    @web.middleware
    async def _record_request(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        response = await handler(request)
        is_closed = request.transport is None or request.transport.is_closing()
        status = 0 if is_closed else response.status
        self.recorded_requests.append(RecordedRequest(request.method, request.path, status))
        _log.debug("%s %s %s", request.method, request.raw_path, status or "connection closed")
        return response

    @web.middleware
    async def _check_request(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Check outage, token, faults, rate limit, API version and pool before the route; add the id headers."""
        if not request.path.startswith("/livyApi/"):
            return await handler(request)
        if (unavailable := self.faults.out_of_service(request)) is not None:
            return unavailable
        if error := self.entra.authorization_error(request.headers.get("Authorization")):
            code, message = error
            # The live service sends no x-ms-activity-id with a 401.
            return web.json_response({"code": code, "message": message}, status=401)
        response = self._early_error(request)
        if response is None:  # not "if not response": an aiohttp response can be falsy
            response = self.faults.after_work(request, await handler(request), self.rate_limit)
        response.headers["x-ms-activity-id"] = str(uuid.uuid4())
        response.headers["x-ms-request-id"] = str(uuid.uuid4())
        return response

    def _early_error(self, request: web.Request) -> web.StreamResponse | None:
        if (fault := self.faults.before_work(request, self.rate_limit)) is not None:
            return fault
        if self._exceeds_rate_limit():
            return too_many_requests(self.rate_limit)
        if request.match_info.get("version") not in (None, *_LIVY_API_VERSIONS):
            return bad_request(f"The api-version '{request.match_info['version']}' is not supported.")
        return pool_error(request)

    def _exceeds_rate_limit(self) -> bool:
        now = time.monotonic()
        while self._recent_times and self._recent_times[0] <= now - 1:
            self._recent_times.popleft()
        if len(self._recent_times) >= self.rate_limit:
            return True
        self._recent_times.append(now)
        return False

    async def _create(self, request: web.Request) -> web.Response:
        body = await _body(request)
        if body is None:
            return request_too_large(MAX_REQUEST_BYTES)
        pool = request.match_info["pool"]
        try:
            is_batch = _kind(request) is EmulatedBatch
            options = creation_options(body, ("name", "file") if is_batch else ("name",))
            if (error := size_error(pool, options, self.vcore_limit)) is not None:
                return error
            create = self.create_batch if is_batch else self.create_session
            return self._session_response(create(pool, options), request)
        except ValueError as refused:
            return bad_request(str(refused))

    async def _get(self, request: web.Request) -> web.StreamResponse:
        session = self._find(request)
        if session is None:
            return session_not_found(request)
        session.read_count += 1
        if session.scenario.flaky and session.read_count % 2:
            return await transient_fault(session.read_count // 2, request)
        return self._session_response(session, request)

    async def _list(self, request: web.Request) -> web.Response:
        try:
            start, size = int(request.query.get("from", 0)), int(request.query.get("size", _MAX_PAGE_SIZE))
        except ValueError as error:
            return bad_request(str(error))
        if size > _MAX_PAGE_SIZE:
            return bad_request(f"The size {size} is larger than {_MAX_PAGE_SIZE}.")
        newest_first = self.list_order == NEWEST_FIRST
        page = self.pools.page(
            request.match_info["pool"], max(start, 0), max(size, 0), newest_first=newest_first, kind=_kind(request)
        )
        now, detailed = self.clock.now(), _is_detailed(request)
        sessions = [session.record(now, detailed=detailed) for session in page]
        return web.json_response({"from": start, "total": len(sessions), "sessions": sessions})

    async def _cancel(self, request: web.Request) -> web.Response:
        session = self._find(request)
        if session is None:
            return session_not_found(request)
        session.cancel(self.clock.now())
        return web.Response()

    async def _reset_timeout(self, request: web.Request) -> web.Response:
        session = self._find(request)
        if session is None:
            return session_not_found(request)
        session.reset_timeout(self.clock.now())
        return web.Response()

    async def _create_statement(self, request: web.Request) -> web.Response:
        body = await _body(request)
        if body is None:
            return request_too_large(MAX_REQUEST_BYTES)
        session, now = self._find(request), self.clock.now()
        if session is None:
            return session_not_found(request)
        if not session.takes_statements(now):
            return session_not_running(session.record(now))
        try:
            code, kind = statement_fields(body)
        except ValueError as refused:
            return bad_request(str(refused))
        if kind not in KINDS:
            return livy_failure(f"java.lang.IllegalArgumentException: Invalid kind: {kind}")
        script = next((script for script in self.scripts if script.contains in code), UNSCRIPTED)
        live_kind = kind if script is UNSCRIPTED else None
        record = session.add_statement(code, script, now, live_kind=live_kind)
        if session.runner:
            session.runner.pump()
        return web.json_response(record)

    def _with_statements(self, answer: _StatementHandler) -> _Handler:
        """Return the handler of a request for statements that there must be: it checks the session before."""

        async def handle(request: web.Request) -> web.Response:
            session, now = self._find(request), self.clock.now()
            if session is None:
                return session_not_found(request)
            return session_not_active() if session.has_lost_statements(now) else answer(request, session, now)

        return handle

    def _session_response(self, session: EmulatedSession, request: web.Request) -> web.Response:
        record = session.record(self.clock.now())
        body = record if _is_detailed(request) else session.basic(record)
        return web.json_response(body, headers=_job_headers(record))

    def _find(self, request: web.Request) -> EmulatedSession | None:
        number = request.match_info["id"]
        if not number.isdecimal():
            return None
        found = self.pools.find(request.match_info["pool"], int(number))
        return found if type(found) is _kind(request) else None

    async def _openid_configuration(self, request: web.Request) -> web.Response:
        base_url = f"{request.scheme}://{request.host}"
        status, body = self.entra.openid_configuration(base_url, request.match_info["tenant"])
        return web.json_response(body, status=status)

    async def _token(self, request: web.Request) -> web.Response:
        status, body = self.entra.token(request.match_info["tenant"], dict(await request.post()))
        return web.json_response(body, status=status)


def _scenario(options: dict[str, Any], scenarios: dict[str, Scenario], default: str) -> Scenario:
    """Return the scenario that a tag chooses."""
    name = (options.get("tags") or {}).get(SCENARIO_TAG, default)
    if name not in list(scenarios):  # a list, because the tag's value may be unhashable
        raise ValueError(f"there is no scenario {name!r}, but {', '.join(scenarios)}")
    return scenarios[name]


async def _body(request: web.Request) -> bytes | None:
    """Return the body of a request, or None if it is larger than the service takes."""
    try:
        body = await request.read()
    except web.HTTPRequestEntityTooLarge:  # which aiohttp raises for more than 1 MB
        return None
    return body if len(body) <= MAX_REQUEST_BYTES else None


def _list_statements(_: web.Request, session: EmulatedSession, now: float) -> web.Response:
    records = session.statement_records(now)
    return web.json_response({"total_statements": len(records), "statements": records})


def _get_statement(request: web.Request, session: EmulatedSession, now: float) -> web.Response:
    number = request.match_info["number"]
    records = session.statement_records(now, only=int(number)) if number.isdecimal() else []
    return web.json_response(records[0]) if records else statement_not_found(request)


def _cancel_statement(request: web.Request, session: EmulatedSession, now: float) -> web.Response:
    """Cancel a statement. As in Livy, the answer is the same for one that has ended or does not exist."""
    if (number := request.match_info["number"]).isdecimal():
        session.cancel_statement(int(number), now)
    return web.json_response({"msg": "canceled"})


def _kind(request: web.Request) -> type[EmulatedSession]:
    """Return the class of what a request is about."""
    return EmulatedBatch if request.match_info.get("kind") == "batches" else EmulatedSession


def _is_detailed(request: web.Request) -> bool:
    return request.query.get("detailed", "").lower() == "true"


def _job_headers(record: dict[str, Any]) -> dict[str, str]:
    """Return the headers that the service adds to the response for a single session."""
    scheduler, plugin = record["schedulerInfo"], record["pluginInfo"]
    return {
        "x-ms-job-type": "SparkServiceBatch" if record["jobType"] == "SparkBatch" else "SparkServiceSession",
        "x-ms-job-internal-id": str(record["id"]),
        "x-ms-job-result": record["result"],
        "x-ms-job-scheduler-state": scheduler["currentState"],
        "x-ms-job-submitted-on": _header_time(scheduler["submittedAt"]),
        "x-ms-job-queued-on": _header_time(scheduler["queuedAt"]),
        "x-ms-job-scheduled-on": _header_time(scheduler["scheduledAt"]),
        "x-ms-job-clusterrequested-on": _header_time(plugin["resourceAcquisitionStartedAt"]),
        "x-ms-job-livysubmission-on": _header_time(plugin["submissionStartedAt"]),
        "x-ms-job-ended-on": _header_time(scheduler["endedAt"]) if scheduler["endedAt"] else "",
    }


def _header_time(stamp: str | None) -> str:
    """Format a time as the service does in headers: in the US format, with a 12-hour clock."""
    at = datetime.fromisoformat(stamp) if stamp else datetime(1, 1, 1, tzinfo=UTC)
    return f"{at.month}/{at.day}/{at.year:04} {at:%I:%M:%S %p} +00:00".replace(" 0", " ", 1)
