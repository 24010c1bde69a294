"""What integration tests share; what bounds each of them: a hang is a failure."""

from __future__ import annotations

import signal

import pytest

from airflow_provider_synapse_livy.operators import creation
from airflow_provider_synapse_livy.triggers import base
from tests.support import statement_tasks
from tests.support.task_runner import TaskInstance, run_task

#: Many times what the longest test takes on a busy machine. It decides no test that does not hang.
LONGEST_TEST = 240


@pytest.fixture(autouse=True)
def bounded(request):
    """Fail a test that hangs."""

    def give_up(*_):
        pytest.fail(f"the test hung for {LONGEST_TEST} s")  # which is no Exception that a wait could tolerate

    if "wheel" in request.keywords:  # it bounds each of its commands
        yield
        return
    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(LONGEST_TEST)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(params=[False, True], ids=["on a worker", "deferred"])
def run_code(request):
    """Return a function that runs code as a try of a task, in each place where that can wait."""

    def run_code(code, task_instance=None, **options):
        def make():
            return statement_tasks.operator(code=code, deferrable=request.param, **options)

        return run_task(make, task_instance or TaskInstance("run"))

    return run_code


@pytest.fixture
def short_pauses(monkeypatch):
    """Let the pauses between two searches, and between two looks at an end, be short."""
    monkeypatch.setattr(creation, "_SEARCH_PAUSE", 0.05)
    monkeypatch.setattr(creation, "_END_INTERVAL", 0.05)
    monkeypatch.setattr(base, "_END_INTERVAL", 0.05)
