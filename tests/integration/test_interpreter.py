"""The interpreter of a session as a process, with a Spark that is none: what ends it, and what is left then."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import time

import psutil
import pytest

from airflow_provider_synapse_livy.emulator.spark.process import InterpreterProcess
from tests.support.project import PROJECT

#: Many times what anything here takes on a busy machine. It decides no test that does not hang.
PATIENCE = 120

#: Starts a process that outlives the code, and the code's answer is its number.
SLEEPER = "import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']).pid"
#: The same, as a fork of the interpreter.
FORK = """import multiprocessing, time, warnings
warnings.simplefilter("ignore")  # that it has threads
fork = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
fork.start()
fork.pid"""
#: The same, as a process whose parent has ended.
ORPHAN = "import subprocess\nint(subprocess.check_output('sleep 600 >/dev/null & echo $!', shell=True))"


class Listener:
    """Starts an interpreter, runs code in it, and hears what it says."""

    def __init__(self):
        self.events, self.ends = queue.SimpleQueue(), queue.SimpleQueue()
        self.interpreter = InterpreterProcess("mine", {}, on_event=self.events.put, on_end=self.ends.put)
        self._number = 0
        assert "ready" in self.events.get(timeout=PATIENCE)

    def begin(self, code):
        """Begin with a statement, and return its number."""
        self._number += 1
        self.interpreter.run(self._number, "pyspark", code)
        return self._number

    def text(self):
        """Return the text that the next statement answers."""
        while "output" not in (event := self.events.get(timeout=PATIENCE)):
            pass
        return event["output"]["data"]["text/plain"]

    def started(self, code):
        """Run code that starts a process, and return that."""
        self.begin(code)
        return psutil.Process(int(self.text()))


@pytest.fixture(autouse=True)
def fake_pyspark(monkeypatch):
    """Let interpreters find a Spark that starts at once, and is none."""
    fake = PROJECT / "tests" / "support" / "fake_pyspark"
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(fake), str(PROJECT), os.environ.get("PYTHONPATH", "")]))


@pytest.fixture
def listener():
    """Return an interpreter that runs."""
    listener = Listener()
    yield listener
    listener.interpreter.close()


def gone(process):
    """Wait until a process that was killed has ended, which takes a moment, and return whether it has."""
    deadline = time.monotonic() + PATIENCE
    while not has_ended(process) and time.monotonic() < deadline:
        time.sleep(0.01)
    return has_ended(process)


def has_ended(process):
    """Return whether a process has ended; nobody may have waited for it yet."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE or not process.is_running()
    except psutil.NoSuchProcess:
        return True


def test_cancellation_before_a_statement_has_begun(listener):
    """The Spark jobs of a statement are cancelled, also if it has not yet begun when its cancellation comes."""
    listener.begin("sc.waits = True")
    assert listener.text() == ""
    number = listener.begin("sc.cancelled[:1]")
    listener.interpreter.cancel(number, PATIENCE)
    assert listener.text() == str([str(number)])


@pytest.mark.parametrize("start", [SLEEPER, FORK], ids=["process", "fork"])
def test_interpreter_that_dies_before_what_it_has_started(listener, start):
    """When the interpreter dies, it is told at once, and what its code has started ends with it."""
    left = listener.started(start)
    listener.begin("import os; os._exit(3)")
    listener.ends.get(timeout=PATIENCE)
    os.waitid(os.P_PID, listener.interpreter.pid, os.WEXITED | os.WNOWAIT)
    listener.interpreter.close()
    assert gone(left)


def test_interpreter_that_is_ended(listener):
    """What the code has started ends when the interpreter is ended, also if it is no child of it any more."""
    left = listener.started(ORPHAN)
    listener.interpreter.close()
    assert gone(left)


def test_fork_says_nothing(listener):
    """A fork of the interpreter that goes on as if it were that writes no events: each statement has one output."""
    listener.begin("import os, sys, warnings\nwarnings.simplefilter('ignore')")
    assert listener.text() == ""
    listener.begin("child = os.fork()\nif not child: sys.exit()\nos.waitpid(child, 0)[0] == child")
    assert listener.text() == "True"
    listener.begin("'next'")
    assert listener.text() == "'next'"


EMULATOR_THAT_IS_KILLED = f"""
import os, queue, signal
from airflow_provider_synapse_livy.emulator.spark.process import InterpreterProcess

events = queue.SimpleQueue()
interpreter = InterpreterProcess("mine", {{}}, on_event=events.put, on_end=events.put)
interpreter.run(0, "pyspark", {SLEEPER!r})
while "output" not in (event := events.get()):
    pass
print(event["output"]["data"]["text/plain"], flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_emulator_that_is_killed():
    """When the emulator is killed, what the code of its sessions has started ends as well."""
    killed = subprocess.run([sys.executable, "-c", EMULATOR_THAT_IS_KILLED], stdout=subprocess.PIPE, check=False)
    psutil.wait_procs([psutil.Process(pid) for pid in {int(killed.stdout)} & set(psutil.pids())], timeout=PATIENCE)
    assert not psutil.pid_exists(int(killed.stdout))
