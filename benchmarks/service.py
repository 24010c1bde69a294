"""
A fake Synapse workspace for all designs, with a fake Microsoft Entra ID, and a rate limit as Synapse has it.

It runs in a process of its own, so that its cost is not measured. Spark sessions are starting until they are told to
become idle. Synapse's batch jobs are the same ones, which run until then and have succeeded from then on. The triggers
of other providers see them as pipeline runs or Livy batches.

The service can fail on demand: in an *outage* it answers 503 to each request, and in a *hang* it accepts requests and
answers them only when the hang is over. Tokens are issued all the time.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import ipaddress
import json
import ssl
import tempfile
import time
import uuid
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import web

TENANT_ID = "bench-tenant"
CLIENT_ID = "bench-client"
CLIENT_SECRET = "bench-secret"

#: A token that is always valid, for triggers that cannot request one.
STATIC_TOKEN = "bench-token"

#: The first batch id of each pool is a multiple of this number. Livy's batches belong to no pool.
BATCH_IDS_PER_POOL = 1_000_000

#: In the name of a batch job, for how many seconds it runs.
SECONDS_IN_NAME = "seconds-"

_POOL = "/livyApi/versions/{version}/sparkPools/{pool}"
_MAX_PAGE_SIZE = 20
_TOKEN_SECONDS = 3600

_STATEMENTS = "/livyApi/versions/{version}/sparkPools/{pool}/sessions/{id}/statements"

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class FakeSession:
    """A Spark session that is starting until ``idle_at``, in seconds since the epoch, and idle from then on."""

    def __init__(self, pool: str, session_id: int) -> None:
        self.idle_at = float("inf")
        record = _session_record(pool, session_id)
        self._starting = json.dumps(record)
        record["state"] = record["livyInfo"]["currentState"] = "idle"
        self._idle = json.dumps(record)
        record |= {"jobType": "SparkBatch", "state": "running"}
        self._running = json.dumps(record)
        scheduler = record["schedulerInfo"] | {"currentState": "Ended", "endedAt": "2026-11-25T20:47:55.0913516+00:00"}
        self._succeeded = json.dumps(record | {"state": "success", "result": "Succeeded", "schedulerInfo": scheduler})

    @property
    def is_idle(self) -> bool:
        """Whether the session is idle now."""
        return self.idle_at <= time.time()

    def body(self, kind: str) -> str:
        """Return the record of the session, or of the batch job, as JSON."""
        if kind == "batches":
            return self._succeeded if self.is_idle else self._running
        return self._idle if self.is_idle else self._starting


class FakeService:
    """
    The workspace, its Entra ID and the counters of both.

    :param rate_limit: how many requests per second are answered; the others get a 429.
    """

    def __init__(self, rate_limit: int) -> None:
        self._rate_limit = rate_limit
        self._recent_requests: deque[float] = deque()
        self._sessions: dict[str, list[FakeSession]] = {}
        self._lists_sessions = True
        self._statements: dict[int, list[float]] = {}  # when each of a session's ends
        self._tokens = {STATIC_TOKEN}
        self._connections: set[object] = set()  # kept, so that no address in memory is used twice
        self._counters: Counter[str] = Counter()
        self._in_flight = 0
        self._max_in_flight = 0
        self._fault: dict[str, Any] = {"kind": None}
        self._fault_is_over = asyncio.Event()

    def application(self) -> web.Application:
        """Build the web application."""
        app = web.Application(middlewares=[self._count, self._fail, self._check_token])
        app.add_routes(
            [
                web.post("/bench/sessions", self._create_sessions),
                web.post("/bench/idle", self._make_idle),
                web.post("/bench/fault", self._set_fault),
                web.post("/bench/statements", self._create_statements),
                web.post("/bench/available", self._end_statements),
                web.get("/bench/counters", self._report_counters),
                web.get("/{tenant}/v2.0/.well-known/openid-configuration", self._openid_configuration),
                web.post("/{tenant}/oauth2/v2.0/token", self._issue_token),
                web.get(f"{_POOL}/{{kind:sessions|batches}}", self._list_sessions),
                web.get(f"{_POOL}/{{kind:sessions|batches}}/{{id}}", self._get_session),
                web.get(f"{_POOL}/sessions/{{id}}/statements", self._list_statements),
                web.get(f"{_POOL}/sessions/{{id}}/statements/{{number}}", self._get_statement),
                web.post(f"{_POOL}/batches", self._create_batch),
                web.get("/pipelineruns/{name}", self._get_pipeline_run),
                web.post("/pipelineruns/{name}/cancel", self._get_pipeline_run),
                web.get("/batches/{id}/state", self._get_batch_state),
                web.get("/batches/{id}/log", self._get_batch_log),
            ]
        )
        return app

    @web.middleware
    async def _count(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Count connections, and requests by their outcome."""
        if request.path.startswith("/bench/"):
            return await handler(request)
        if request.protocol not in self._connections:
            self._connections.add(request.protocol)
            self._counters["connections"] += 1
        if _is_for_entra(request):
            return await handler(request)
        self._counters["requests"] += 1
        self._in_flight += 1
        self._max_in_flight = max(self._max_in_flight, self._in_flight)
        try:
            response = await handler(request)
        finally:
            self._in_flight -= 1
        self._counters["throttled" if response.status == 429 else "answered"] += 1
        return response

    @web.middleware
    async def _fail(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Apply the fault that is set, and the rate limit."""
        if request.path.startswith("/bench/") or _is_for_entra(request):
            return await handler(request)
        if self._fault["kind"] == "outage":
            retry_after = self._fault.get("retry_after")
            headers = {"Retry-After": str(retry_after)} if retry_after else {}
            return web.Response(text="<html><title>Service Unavailable</title></html>", status=503, headers=headers)
        if self._exceeds_rate_limit():
            return web.Response(text="layered throttling rate-limit", status=429, headers={"Retry-After": "1"})
        if self._fault["kind"] == "hang":
            await self._fault_is_over.wait()
        return await handler(request)

    @web.middleware
    async def _check_token(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if request.path.startswith("/livyApi/") and token not in self._tokens:
            body = {"code": "AuthenticationFailed", "message": "Token Authentication failed."}
            return web.json_response(body, status=401)
        response = await handler(request)
        response.headers["x-ms-activity-id"] = response.headers["x-ms-request-id"] = str(uuid.uuid4())
        return response

    def _exceeds_rate_limit(self) -> bool:
        now = time.monotonic()
        while self._recent_requests and self._recent_requests[0] <= now - 1:
            self._recent_requests.popleft()
        if len(self._recent_requests) >= self._rate_limit:
            return True
        self._recent_requests.append(now)
        return False

    async def _create_sessions(self, request: web.Request) -> web.Response:
        wanted = await request.json()
        self._lists_sessions = wanted["listed"]
        for number in range(wanted["n"]):
            pool = f"pool{number % wanted['pools']}"
            sessions = self._sessions.setdefault(pool, [])
            sessions.append(FakeSession(pool, len(sessions)))
        return web.json_response({})

    async def _create_statements(self, request: web.Request) -> web.Response:
        """Create sessions with statements that run until they are told to end."""
        wanted = await request.json()
        for number in range(wanted["n"]):
            self._statements.setdefault(number % wanted["sessions"], []).append(float("inf"))
        self._sessions["pool0"] = [FakeSession("pool0", number) for number in range(wanted["sessions"])]
        for session in self._sessions["pool0"]:
            session.idle_at = 0.0
        return web.json_response({})

    async def _end_statements(self, request: web.Request) -> web.Response:
        for name, at in (await request.json()).items():
            session, number = map(int, name.split("-"))
            self._statements[session][number] = at
        return web.json_response({})

    async def _list_statements(self, request: web.Request) -> web.Response:
        """Return all statements of a session, of which it keeps the last 100."""
        session = int(request.match_info["id"])
        numbers = range(len(self._statements[session]))[-100:]
        statements = [self._statement(session, number) for number in numbers]
        return web.json_response({"total_statements": len(statements), "statements": statements})

    async def _get_statement(self, request: web.Request) -> web.Response:
        return web.json_response(self._statement(int(request.match_info["id"]), int(request.match_info["number"])))

    def _statement(self, session: int, number: int) -> dict[str, Any]:
        has_ended = self._statements[session][number] <= time.time()
        output = {"status": "ok", "execution_count": number, "data": {"text/plain": "42"}}
        return {
            "id": number,
            "code": "spark.table('orders').count()",
            "state": "available" if has_ended else "running",
            "sourceId": "default",
            "output": output if has_ended else None,
        }

    async def _create_batch(self, request: web.Request) -> web.Response:
        """Create a batch job, which succeeds after as many seconds as its name says."""
        pool, wanted = request.match_info["pool"], await request.json()
        sessions = self._sessions.setdefault(pool, [])
        sessions.append(FakeSession(pool, len(sessions)))
        sessions[-1].idle_at = time.time() + float(wanted["name"].removeprefix(SECONDS_IN_NAME).partition("_")[0])
        return web.Response(text=sessions[-1].body("batches"), content_type="application/json")

    async def _make_idle(self, request: web.Request) -> web.Response:
        """Make sessions idle at the given times; without any, all of them at once. Return the time now."""
        now = time.time()
        times = await request.json()
        for name, at in times.items():
            self._find(name).idle_at = at
        if not times:
            for session in (session for sessions in self._sessions.values() for session in sessions):
                session.idle_at = now
        return web.json_response(now)

    async def _set_fault(self, request: web.Request) -> web.Response:
        """Begin the fault of kind ``outage`` or ``hang``, or end it if the kind is None."""
        self._fault = await request.json()
        if self._fault["kind"]:
            self._fault_is_over.clear()
            self._max_in_flight = self._in_flight
        else:
            self._fault_is_over.set()
        return web.json_response({})

    async def _report_counters(self, _: web.Request) -> web.Response:
        return web.json_response({**self._counters, "max_in_flight": self._max_in_flight})

    async def _openid_configuration(self, request: web.Request) -> web.Response:
        tenant = f"{request.scheme}://{request.host}/{request.match_info['tenant']}"
        return web.json_response(
            {
                "issuer": f"{tenant}/v2.0",
                "authorization_endpoint": f"{tenant}/oauth2/v2.0/authorize",
                "token_endpoint": f"{tenant}/oauth2/v2.0/token",
            }
        )

    async def _issue_token(self, _: web.Request) -> web.Response:
        self._counters["tokens"] += 1
        token = uuid.uuid4().hex
        self._tokens.add(token)
        return web.json_response({"token_type": "Bearer", "expires_in": _TOKEN_SECONDS, "access_token": token})

    def _find(self, name: str) -> FakeSession:
        """Find the session with a name like ``pool0-17``."""
        pool, _, session_id = name.partition("-")
        return self._sessions[pool][int(session_id)]

    async def _list_sessions(self, request: web.Request) -> web.Response:
        """Return a page of a pool's sessions, newest first."""
        start, size = int(request.query.get("from", 0)), int(request.query.get("size", _MAX_PAGE_SIZE))
        sessions = self._sessions[request.match_info["pool"]][::-1] if self._lists_sessions else []
        page = [
            session.body(request.match_info["kind"]) for session in sessions[start : start + min(size, _MAX_PAGE_SIZE)]
        ]
        text = f'{{"from": {start}, "total": {len(page)}, "sessions": [{", ".join(page)}]}}'
        return web.Response(text=text, content_type="application/json")

    async def _get_session(self, request: web.Request) -> web.Response:
        session = self._find(f"{request.match_info['pool']}-{request.match_info['id']}")
        return web.Response(text=session.body(request.match_info["kind"]), content_type="application/json")

    async def _get_pipeline_run(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        status = "Succeeded" if self._find(name).is_idle else "InProgress"
        return web.json_response({"runId": name, "pipelineName": "nightly", "status": status})

    async def _get_batch_state(self, request: web.Request) -> web.Response:
        pool, session_id = divmod(int(request.match_info["id"]), BATCH_IDS_PER_POOL)
        state = "success" if self._find(f"pool{pool}-{session_id}").is_idle else "running"
        return web.json_response({"id": 0, "state": state})

    async def _get_batch_log(self, _: web.Request) -> web.Response:
        return web.json_response({"id": 0, "from": 0, "total": 0, "log": []})


def _is_for_entra(request: web.Request) -> bool:
    return request.path.endswith(("/token", "/openid-configuration"))


def _session_record(pool: str, session_id: int) -> dict[str, Any]:
    """Return the record of a session that is starting, about 2 kB of JSON, with the fields that Synapse sends."""
    app_id = f"application_1795639051091_{session_id + 1:04}"
    page = f"workspaces/bench/sparkpools/{pool}/sessions/{session_id}/applications/{app_id}"
    studio = f"https://web.azuresynapse.net/sparkui/{uuid.UUID(int=session_id)}"
    livy_times = ("notStarted", "starting", "idle", "dead", "shuttingDown", "killed", "recovering", "busy", "error")
    return {
        "livyInfo": {
            **{f"{state}At": None for state in livy_times},
            "startingAt": "2026-11-25T20:37:55.1913514+00:00",
            "currentState": "starting",
            "jobCreationRequest": {"conf": {}, "name": f"session {session_id}"},
        },
        "name": f"session {session_id}",
        "workspaceName": "bench",
        "computeName": pool,
        "sparkPoolName": pool,
        "submitterId": str(uuid.UUID(int=14)),
        "artifactId": "Livy",
        "jobType": "SparkSession",
        "result": "Uncertain",
        "schedulerInfo": {
            "submittedAt": "2026-11-25T20:37:31.0913516+00:00",
            "queuedAt": "2026-11-25T20:37:31.2913516+00:00",
            "scheduledAt": "2026-11-25T20:37:46.8913514+00:00",
            "endedAt": None,
            "cancellationRequestedAt": None,
            "currentState": "Scheduled",
        },
        "pluginInfo": {
            "preparationStartedAt": "2026-11-25T20:37:48.8913514+00:00",
            "resourceAcquisitionStartedAt": "2026-11-25T20:37:50.8913514+00:00",
            "submissionStartedAt": "2026-11-25T20:37:55.0913516+00:00",
            "monitoringStartedAt": "2026-11-25T20:37:57.1913514+00:00",
            "cleanupStartedAt": None,
            "currentState": "Monitoring",
        },
        "tags": {},
        "id": session_id,
        "appId": app_id,
        "appInfo": {
            "sparkUiUrl": f"{studio}/{page}",
            "impulseErrorCode": None,
            "isStreamingQueryExists": None,
            "impulseClassification": None,
            "impulseTsg": None,
            "isSessionTimedOut": "false",
            "driverLogUrl": f"{studio}/api/v1/{page}/driverlog/stderr",
        },
        "state": "starting",
        "log": ["stdout: ", "\nstderr: ", "26/01/01 00:00:00 INFO ContextHandler: Started", "\nYARN Diagnostics: "],
        "registeredSources": ["default"],
    }


def _tls_context(ca_file: Path) -> ssl.SSLContext:
    """Create a self-signed certificate for 127.0.0.1, write it to ``ca_file``, and return the context that uses it."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "synapse-livy-bench")])
    now = dt.datetime.now(dt.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    ca_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pkcs8, unencrypted = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as key_file:
        key_file.write(key.private_bytes(serialization.Encoding.PEM, pkcs8, unencrypted))
        key_file.flush()
        context.load_cert_chain(ca_file, key_file.name)
    return context


async def _serve(ca_file: Path, rate_limit: int) -> None:
    # A request whose client has gone is no longer in flight.
    runner = web.AppRunner(FakeService(rate_limit).application(), access_log=None, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=_tls_context(ca_file)).start()
    print(f"https://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.Event().wait()


def main() -> None:
    """Print the service's URL, and serve until the process is killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--ca-file", type=Path, required=True)
    parser.add_argument("--rate-limit", type=int, required=True)
    arguments = parser.parse_args()
    asyncio.run(_serve(arguments.ca_file, arguments.rate_limit))


if __name__ == "__main__":
    main()
