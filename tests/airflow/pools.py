"""An emulator each of whose pools is one task's: it loses that task's answer, and can kill its worker meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiohttp import web

from airflow_provider_synapse_livy.emulator import SynapseEmulator
from airflow_provider_synapse_livy.emulator.batches import BATCH_SCENARIOS
from airflow_provider_synapse_livy.emulator.faults import Faults
from airflow_provider_synapse_livy.emulator.scenarios import SCENARIOS, Scenario
from airflow_provider_synapse_livy.emulator.server import RecordedRequest
from tests.airflow.lives import ENDLESS, HELD_BACK, KILLED, NAME, OVERLOADED
from tests.airflow.statement_lives import CODE

#: Real seconds per emulated second: a session is ready after five seconds.
TIME_SCALE = 0.1

#: What the pools of batch jobs' tasks begin with.
BATCHES = "batch_"

#: Two sessions, or batch jobs, that tasks have nothing to do with: one of the same name, and one of another task.
BYSTANDERS: tuple[dict[str, Any], ...] = (
    {"name": NAME},
    {"name": f"{NAME}_0123456789abcdef-1", "tags": {"airflow_task_key": "0123456789abcdef-1"}},
)


class LifecycleSynapse(SynapseEmulator):
    """
    The emulator, with two sessions, or batch jobs, in each pool from the start.

    :param answers: what becomes of the answer to the first request that creates a session, by pool.
    :param pools: the pools.
    :param notes: the folder with the processes of the tasks.
    """

    def __init__(self, answers: Mapping[str, int | str], pools: list[str], notes: Path) -> None:
        SCENARIOS[ENDLESS] = Scenario("never gets ready", ())
        BATCH_SCENARIOS[ENDLESS] = Scenario("never ends", ())
        super().__init__(time_scale=TIME_SCALE)
        self.faults = self.server.faults = _PoolFaults(answers, notes)
        self.bystanders = {(pool, self._bystander(pool, other)) for pool in pools for other in BYSTANDERS}

    def _bystander(self, pool: str, options: dict[str, Any]) -> int:
        if pool.startswith(BATCHES):
            tags = {"emulator.scenario": "runs_on", **options.get("tags", {})}
            return self.create_batch(pool, **options | {"tags": tags})
        return self.create_session(pool, **options)

    def created(self, pool: str) -> list[dict[str, Any]]:
        """Return the records of the sessions, or batch jobs, that the pool's task has created, oldest first."""
        records = self.batches(pool) if pool.startswith(BATCHES) else self.sessions(pool)
        return [record for record in records if (pool, record["id"]) not in self.bystanders]

    def requests(self, pool: str, session_id: int) -> list[RecordedRequest]:
        """Return the requests for one session, or batch job, so far."""
        paths = tuple(f"/sparkPools/{pool}/{kind}/{session_id}" for kind in ("sessions", "batches"))
        return [request for request in self.recorded_requests if request.path.endswith(paths)]

    def end(self, pool: str, session_id: int) -> None:
        """Cancel a session, or a batch job."""
        (self.cancel_batch if pool.startswith(BATCHES) else self.cancel_session)(pool, session_id)

    def left_alone(self) -> set[tuple[str, int]]:
        """Return pool and id of all sessions and batch jobs that have neither ended, nor has anybody cancelled them."""
        return {(s.pool, s.id) for s in self.server.pools.sessions() if s.is_left_alone(time.time())}

    def make_ready(self, pool: str, session_id: int) -> None:
        """Have an endless session be ready."""
        session = self.server.pools.find(pool, session_id)
        assert session is not None
        session.scenario = SCENARIOS["becomes_idle"]


class StatementSynapse(SynapseEmulator):
    """
    The emulator, with one idle session in each pool from the start.

    :param answers: what becomes of the answer to the first request that sends code, by pool.
    :param pools: the pools.
    :param notes: the folder with the processes of the tasks.
    """

    def __init__(self, answers: Mapping[str, int | str], pools: list[str], notes: Path) -> None:
        super().__init__(time_scale=TIME_SCALE)
        self.faults = self.server.faults = _PoolFaults(answers, notes)
        for pool in pools:
            self.create_session(pool, age=100)
        for code, script in CODE.items():
            self.answer_statement(contains=f"{code}(", **script)

    def post(self, pool: str, code: str) -> None:
        """Run code in the session of a pool, as somebody else does."""
        session = self.server.pools.find(pool, 0)
        assert session is not None
        script = next(script for script in self.server.scripts if script.contains in code)
        session.add_statement(code, script, time.time())


class _PoolFaults(Faults):
    """Each pool has a fault of its own, for the first request that creates a session."""

    def __init__(self, answers: Mapping[str, int | str], notes: Path) -> None:
        super().__init__()
        self.released: set[str] = set()
        self._answers = {pool: answer for pool, answer in answers.items() if answer != OVERLOADED}
        self._overloaded = [pool for pool, answer in answers.items() if answer == OVERLOADED] * 2
        self._notes = notes

    def before_work(self, request: web.Request, rate_limit: int) -> web.Response | None:
        """Return the response to a request that is not to be processed; None to process it."""
        pool = request.match_info.get("pool", "")
        if request.method == "DELETE" and pool in self._overloaded:
            self._overloaded.remove(pool)
            self.before.append(503)
        return super().before_work(request, rate_limit)

    def after_work(self, request: web.Request, response: web.StreamResponse, rate_limit: int) -> web.StreamResponse:
        """Return the response to a request that was processed: the usual one, or a fault."""
        pool = request.match_info.get("pool", "")
        if request.method != "POST" or pool not in self._answers:
            return response
        answer = self._answers.pop(pool)
        if answer == KILLED:
            os.kill(int((self._notes / f"{pool}.pid").read_text()), signal.SIGKILL)
        elif answer == HELD_BACK:
            return _HeldBack(self.released, pool, response)
        elif isinstance(answer, int):
            self.after.append(answer)
            return super().after_work(request, response, rate_limit)
        return response


class _HeldBack(web.Response):
    """A response that waits, for half a minute at most, until the test lets it go."""

    def __init__(self, released: set[str], pool: str, response: web.StreamResponse) -> None:
        assert isinstance(response, web.Response)
        super().__init__(body=response.body, status=response.status, content_type="application/json")
        self._released, self._pool = released, pool

    async def prepare(self, request: Any) -> Any:
        """Wait, then begin to send."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(30):
                while self._pool not in self._released:
                    await asyncio.sleep(0.1)
        return await super().prepare(request)
