"""
The service that all designs ask: the emulator, and what the neighbours' triggers ask instead of sessions.

It runs in a process of its own, so that its cost is not counted. A session turns idle when it is told to; seen as a
pipeline run or as a Livy batch, it has succeeded then.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

from aiohttp import web

from airflow_provider_synapse_livy.emulator.local import serve
from airflow_provider_synapse_livy.emulator.scenarios import Transition
from airflow_provider_synapse_livy.emulator.server import SynapseServer
from airflow_provider_synapse_livy.emulator.sessions import EmulatedSession

#: Where the numbers of the next pool's Livy batches begin; Livy itself knows no pools.
BATCHES_OF_POOL = 1_000_000

#: Old enough to have left the queue, with all the fields that a session then has.
_AGE = 400.0


class Service(SynapseServer):
    """The emulator with the fakes of the neighbours' endpoints, and with counters."""

    def __init__(self, rate_limit: int) -> None:
        super().__init__(time_scale=1.0, rate_limit=rate_limit, token_lifetime=3600.0)
        self._counts: Counter[str] = Counter()
        self._connections: set[object] = set()  # all of them, so that none counts twice

    def application(self) -> web.Application:
        """Make the application that serves it."""
        app = super().application()
        app.middlewares.insert(0, self._count)
        app.router.add_post("/bench/sessions", self._prepare)
        app.router.add_post("/bench/ready", self._ready)
        app.router.add_get("/bench/counts", self._tell_counts)
        app.router.add_get("/pipelineruns/{name}", self._pipeline_run)
        app.router.add_post("/pipelineruns/{name}/cancel", self._pipeline_run)
        app.router.add_get("/batches/{number}/state", self._batch)
        app.router.add_get("/batches/{number}/log", self._batch_log)
        return app

    @web.middleware
    async def _count(self, request: web.Request, handler: web.Handler) -> web.StreamResponse:
        if request.path.startswith("/bench/"):
            return await handler(request)
        if request.protocol not in self._connections:
            self._connections.add(request.protocol)
            self._counts["connections"] += 1
        response = await handler(request)
        if not request.path.endswith(("/token", "/openid-configuration")):
            self._counts["throttled" if response.status == 429 else "answered"] += 1
        return response

    async def _prepare(self, request: web.Request) -> web.Response:
        wanted = await request.json()
        for number in range(wanted["n"]):
            options = {"name": f"session {number}", "tags": {"emulator.scenario": "slow"}}
            self.create_session(f"pool{number % wanted['pools']}", options, age=_AGE)
        return web.json_response({})

    async def _ready(self, request: web.Request) -> web.Response:
        for name, at in (await request.json()).items():
            session = self._session(name)
            ready = {"state": "idle", "livyInfo": {"currentState": "idle"}}
            transitions = (*session.scenario.transitions[:3], Transition(at - session.created_at, ready))
            session.scenario = replace(session.scenario, transitions=transitions)
        return web.json_response({})

    async def _tell_counts(self, _: web.Request) -> web.Response:
        return web.json_response({**self._counts, "tokens": self.entra.issued})

    def _session(self, name: str) -> EmulatedSession:
        pool, _, number = name.partition("-")
        return self.pools.find(pool, int(number))

    def _is_ready(self, name: str) -> bool:
        return self._session(name).record(time.time())["state"] == "idle"

    async def _pipeline_run(self, request: web.Request) -> web.StreamResponse:
        if self._exceeds_rate_limit():
            return _throttled()
        status = "Succeeded" if self._is_ready(request.match_info["name"]) else "InProgress"
        return web.json_response({"runId": request.match_info["name"], "pipelineName": "nightly", "status": status})

    async def _batch(self, request: web.Request) -> web.StreamResponse:
        if self._exceeds_rate_limit():
            return _throttled()
        pool, session_id = divmod(int(request.match_info["number"]), BATCHES_OF_POOL)
        state = "success" if self._is_ready(f"pool{pool}-{session_id}") else "running"
        return web.json_response({"id": 0, "state": state})

    async def _batch_log(self, _: web.Request) -> web.StreamResponse:
        return web.json_response({"id": 0, "from": 0, "total": 0, "log": []})


def _throttled() -> web.Response:
    return web.Response(text="layered throttling rate-limit", status=429, headers={"Retry-After": "1"})


async def _serve(ca_file: Path, rate_limit: int) -> None:
    _, url = await serve(Service(rate_limit), "127.0.0.1", 0, ca_file=ca_file)
    print(url, flush=True)
    await asyncio.Event().wait()


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--ca-file", type=Path, required=True)
    parser.add_argument("--rate-limit", type=int, required=True)
    arguments = parser.parse_args()
    asyncio.run(_serve(arguments.ca_file, arguments.rate_limit))


if __name__ == "__main__":
    main()
