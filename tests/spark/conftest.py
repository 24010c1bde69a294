"""Local Synapses with a real Spark, and what is seen of them: states over time, and processes."""

from __future__ import annotations

import os
import time

import psutil
import pytest

from airflow_provider_synapse_livy.emulator import SynapseEmulator
from tests.integration.test_emulator import call

#: Many times what anything here takes on a busy machine. It decides no test that does not hang.
PATIENCE = 120


def wait_for(condition):
    """Return what a function returns, as soon as that is true."""
    deadline = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited for {PATIENCE} s"
        time.sleep(0.02)
    return value


class SparkTester:
    """Runs statements in sessions of a local Synapse, by its API, and looks at what becomes of them."""

    def __init__(self, synapse):
        self.synapse = synapse

    def session(self, scenario="becomes_idle", **options):
        """Create a session that has just become idle."""
        return self.synapse.server.pools.find("etl", self.synapse.create_session("etl", scenario, age=60, **options))

    def post(self, session, code, kind="pyspark"):
        """Send a statement, and return its number."""
        body = {"code": code, "kind": kind}
        response = call(self.synapse, "POST", f"etl/sessions/{session.id}/statements", json=body)
        assert (response.status_code, response.json()["state"]) == (200, "waiting"), response.text
        return response.json()["id"]

    def get(self, session, number):
        """Read a statement."""
        return call(self.synapse, "GET", f"etl/sessions/{session.id}/statements/{number}")

    def cancel(self, session, number):
        """Cancel a statement."""
        assert call(self.synapse, "POST", f"etl/sessions/{session.id}/statements/{number}/cancel").status_code == 200

    def state(self, session, number):
        """Return the state of a statement."""
        return self.synapse.statements("etl", session.id)[number]["state"]

    def session_state(self, session):
        """Return the state of a session."""
        return session.record(self.synapse.server.clock.now())["state"]

    def running(self, session, code):
        """Send a statement, and return its number when it runs."""
        number = self.post(session, code)
        wait_for(lambda: self.state(session, number) == "running")
        return number

    def ended(self, session, number):
        """Return the record of a statement when its code has ended."""
        wait_for(lambda: self.state(session, number) in ("available", "cancelled"))
        return self.get(session, number).json()

    def run(self, session, code, kind="pyspark"):
        """Run a statement to its end, and return its output."""
        return self.ended(session, self.post(session, code, kind))["output"]


def states_over_time(statement, session):
    """Return the states that a statement has had, in their order."""
    times = [statement.posted_at, statement.live.started_at, statement.cancelled_at, statement.live.ended_at]
    times = sorted(at for at in times if at is not None and at < float("inf"))
    return list(dict.fromkeys(session.statement_records(at)[statement.id]["state"] for at in times))


def processes(session):
    """Return all processes of a session's Spark: they share a session of the operating system."""
    pid = session.runner.pid
    return [] if pid is None else [p for p in psutil.process_iter() if _leader(p.pid) == pid]


def _leader(pid):
    try:
        return os.getsid(pid)
    except OSError:
        return None


@pytest.fixture(scope="session")
def tester():
    """Return a local Synapse with real Sparks, whose sessions age in real time."""
    with SynapseEmulator(time_scale=1, spark=True) as synapse:
        yield SparkTester(synapse)
