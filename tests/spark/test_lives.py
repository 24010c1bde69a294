"""The Spark of a session from its start to its end, however it ends; nothing of it is left behind."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import requests

from airflow_provider_synapse_livy.emulator import SynapseEmulator
from airflow_provider_synapse_livy.emulator.entra import STATIC_TOKEN
from tests.spark.conftest import SparkTester, processes, wait_for

#: Code that no cancellation interrupts.
LOOP = "import time\nwhile True: time.sleep(0.1)"


def folder_of(session):
    """Return the folder in which a session's Spark has its files."""
    return Path(psutil.Process(session.runner.pid).cwd())


def jvm_of(session):
    """Return the process of a session's JVM."""
    return next(process for process in processes(session) if process.name() == "java")


@pytest.fixture(scope="module")
def shared(tester):
    """Return a session whose Spark runs, for tests that do it no harm."""
    session = tester.session(name="mine", conf={"spark.sql.shuffle.partitions": "7", "spark.driver.memory": "28g"})
    assert tester.run(session, "1")["status"] == "ok"
    return session


def test_sessions_without_statements_cost_nothing(tester):
    """A session starts no process before its first statement."""
    session = tester.session()
    session.runner.pump()
    assert (session.runner.pid, processes(session)) == (None, [])


def test_sessions_are_apart(tester, shared):
    """Each session has names, files and a Spark of its own; statements of both kinds share its tables."""
    other = tester.session()
    assert tester.run(shared, "x = 5; spark.range(x).createTempView('mine')")["status"] == "ok"
    assert tester.run(other, "x")["ename"] == "NameError"
    assert tester.run(other, "select * from mine", "sql")["ename"] == "Error"
    counted = tester.run(shared, "select count(*) from mine", "sql")
    assert counted["data"]["application/json"]["data"] == [[5]]
    assert folder_of(shared) != folder_of(other)


def test_names_and_settings(tester, shared):
    """Code finds Livy's names, the application's name, and the settings of the session that are Spark SQL's."""
    assert tester.run(shared, "sqlContext.range(3).count() == spark.range(3).count()")["data"]["text/plain"] == "True"
    code = "sc.appName, spark.conf.get('spark.sql.shuffle.partitions'), spark.conf.get('spark.driver.memory')"
    assert tester.run(shared, code)["data"]["text/plain"] == "('mine', '7', '1g')"
    code = "HiveContext.__name__, StreamingContext.__name__, cloudpickle.__name__"
    names = "('HiveContext', 'StreamingContext', 'pyspark.cloudpickle')"
    assert tester.run(shared, code)["data"]["text/plain"] == names


def test_distutils(tester, shared):
    """Code can import distutils, as pyspark does that makes frames of pandas, also in Pythons that have it no more."""
    assert tester.run(shared, "from distutils.version import LooseVersion")["status"] == "ok"


def test_loopback_only(tester, shared):
    """What a session's Spark listens on is the loopback address, and it has no UI."""
    tester.run(shared, "sc.parallelize(range(2)).map(lambda x: x).collect()")
    listening = [
        connection.laddr.ip
        for process in processes(shared)
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert listening
    assert {ip.removeprefix("::ffff:") for ip in listening} == {"127.0.0.1"}
    assert tester.run(shared, "sc.uiWebUrl is None")["data"]["text/plain"] == "True"


@pytest.mark.parametrize("kind", ["spark", "sparkr", "dotnetspark", "csharp"])
def test_kinds_that_are_not_offered(tester, shared, kind):
    """A statement of another language answers that its kind is not offered, and the session goes on."""
    output = tester.run(shared, "val x = 1", kind)
    assert output["ename"] == "InterpreterError"
    assert output["evalue"].startswith("Fail to start interpreter: the emulator runs statements of the kinds pyspark")
    assert output["evalue"].endswith(f"not {kind}")
    assert tester.session_state(shared) == "idle"


def test_progress(tester, shared):
    """While the tasks of a statement run, its progress says which part of them has ended."""
    code = "import time; sc.parallelize(range(4), 4).map(lambda x: time.sleep(x)).collect()"
    number = tester.post(shared, code)
    seen = [wait_for(lambda: tester.get(shared, number).json()["progress"]), 1.0]
    assert 0 < seen[0] <= 1
    assert tester.ended(shared, number)["progress"] == 1.0


def test_scripts_go_before(tester, shared):
    """What ``answer_statement()`` was told is answered by the script, in its turn; all else runs."""
    tester.synapse.answer_statement(contains="# scripted", output={"status": "ok", "data": {"text/plain": "made up"}})
    numbers = [tester.post(shared, code) for code in ("y = 1", "y # scripted", "y + 1")]
    outputs = [tester.ended(shared, number)["output"]["data"]["text/plain"] for number in numbers]
    assert outputs == ["", "made up", "2"]


def test_output_that_is_no_json(tester, shared):
    """A value that JSON can't hold makes ``%json`` fail, and not the interpreter."""
    output = tester.run(shared, "s = {1, 2}\n%json s")
    assert (output["status"], output["ename"]) == ("error", "TypeError")


def test_code_has_streams_of_its_own(tester, shared):
    """Code that reads its input, or writes to the file descriptors below it, does not disturb the interpreter."""
    assert tester.run(shared, "input()")["ename"] == "EOFError"
    assert tester.run(shared, "import os; os.write(1, b'x'); os.write(2, b'x')")["data"]["text/plain"] == "1"


def test_cancelled_loop(tester):
    """
    A cancellation does not interrupt Python.

    The statement is cancelling for 30 seconds, then cancelled without an output; its code runs on, and the next waits.
    """
    session = tester.session()
    number = tester.running(session, LOOP)
    tester.cancel(session, number)
    waiting = tester.post(session, "'next'")
    assert tester.state(session, number) == "cancelling"
    tester.synapse.advance(30)
    states = [(record["state"], record["output"]) for record in tester.synapse.statements("etl", session.id)]
    assert states == [("cancelled", None), ("waiting", None)]
    assert tester.session_state(session) == "busy"
    tester.cancel(session, waiting)
    assert tester.state(session, waiting) == "cancelled"
    tester.synapse.finish("etl", session.id)


def test_interpreter_that_dies(tester):
    """When the Python process ends, its statement and those that wait say so, and the session is in error."""
    session = tester.session()
    tester.run(session, "1")
    everything = processes(session)
    numbers = [tester.post(session, code) for code in ("import os, time; time.sleep(1); os._exit(3)", "1+1")]
    outputs = [tester.ended(session, number)["output"] for number in numbers]
    assert [output["ename"] for output in outputs] == ["Error", "Error"]
    assert all(output["evalue"].startswith("Interpreter died:\n") for output in outputs)
    assert tester.session_state(session) == "error"
    psutil.wait_procs(everything)


@pytest.mark.parametrize("busy", [True, False])
def test_jvm_that_dies(tester, busy):
    """When the JVM ends, the session is dead, and its statements are lost; nothing of its Spark is left."""
    session = tester.session()
    tester.run(session, "1")
    everything = processes(session)
    if busy:
        number = tester.post(session, "sc._jvm.java.lang.System.exit(1)")
    else:
        number = 0
        jvm_of(session).kill()
    wait_for(lambda: tester.session_state(session) == "dead")
    assert "requirement failed: Session isn't active." in tester.get(session, number).text
    psutil.wait_procs(everything)


def cancel(tester, session):
    """Cancel a session, and let it shut down."""
    tester.synapse.cancel_session("etl", session.id)
    tester.synapse.advance(2)


ENDS = {
    "cancelled": cancel,
    "finished": lambda tester, session: tester.synapse.finish("etl", session.id),
    "idled out": lambda tester, session: tester.synapse.advance(61),
    "pool made anew": lambda tester, session: tester.synapse.recreate_pool("etl"),
}


@pytest.mark.parametrize(("end", "code"), [("cancelled", LOOP), *((end, None) for end in list(ENDS)[1:])])
def test_nothing_is_left_of_a_session(end, code):
    """However a session ends, also while code runs, all processes and files of its Spark are gone soon."""
    with SynapseEmulator(time_scale=1, spark=True) as synapse:
        tester = SparkTester(synapse)
        session = tester.session("idles_out")
        tester.run(session, "sc.parallelize(range(2)).map(lambda x: x).collect()")
        everything, folder = processes(session), folder_of(session)
        if code:
            tester.running(session, code)
        ENDS[end](tester, session)
        assert len(everything) >= 3  # Python, Java, and Spark's worker
        psutil.wait_procs(everything)
        wait_for(lambda: not folder.exists())


def test_nothing_is_left_of_an_emulator():
    """When the emulator has stopped, nothing of its Sparks is left, whether they run code or have just been started."""
    with SynapseEmulator(time_scale=1, spark=True) as synapse:
        tester = SparkTester(synapse)
        sessions = [tester.session() for _ in range(2)]
        tester.running(sessions[0], LOOP)
        tester.post(sessions[1], "1")
        everything = [process for session in sessions for process in processes(session)]
        folders = [folder_of(session) for session in sessions]
    assert [process for process in everything if process.is_running()] == []
    assert [folder for folder in folders if folder.exists()] == []


@contextlib.contextmanager
def command():
    """Run the command with a real Spark, and yield its process and the URL of its sessions."""
    arguments = ["--spark", "--port", "0", "--time-scale", "0.001"]
    module = "airflow_provider_synapse_livy.emulator"
    with subprocess.Popen([sys.executable, "-m", module, *arguments], stdout=subprocess.PIPE, text=True) as process:
        try:
            url = re.search(r"http://\S+", process.stdout.readline())[0]
            yield process, f"{url}/livyApi/versions/2020-12-01/sparkPools/etl/sessions"
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_of_the_command(number):
    """When the command is stopped or killed, all that it has started ends, also if code runs that never ends."""
    headers = {"Authorization": f"Bearer {STATIC_TOKEN}"}
    with command() as (process, url):
        session = f"{url}/{requests.post(url, json={'name': 'mine'}, headers=headers).json()['id']}"
        wait_for(lambda: requests.get(session, headers=headers).json()["state"] == "idle")
        body = json.dumps({"kind": "pyspark", "code": LOOP})
        requests.post(f"{session}/statements", data=body, headers=headers)
        wait_for(lambda: requests.get(f"{session}/statements/0", headers=headers).json()["state"] == "running")
        everything = psutil.Process(process.pid).children(recursive=True)
        folder = Path(everything[0].cwd())
        assert {child.name() for child in everything} >= {"java"}
        os.kill(process.pid, number)
        psutil.wait_procs(everything)
        wait_for(lambda: not folder.exists())


def test_spark_that_cannot_start(tester, monkeypatch):
    """If Spark can't start, the statement says why, and the next one tries again."""
    session = tester.session()
    monkeypatch.setenv("JAVA_HOME", "/nowhere")
    output = tester.run(session, "1")
    assert output["ename"] == "InterpreterError"
    assert output["evalue"].startswith("Fail to start interpreter: ")
    monkeypatch.delenv("JAVA_HOME")
    assert tester.run(session, "1")["data"]["text/plain"] == "1"


def test_no_idle_timeout_while_spark_starts():
    """A statement that waits for Spark keeps its session, however fast that ages."""
    with SynapseEmulator(time_scale=0.001, spark=True) as synapse:  # a session idles out after 60 ms
        tester = SparkTester(synapse)
        session = tester.session("idles_out")
        number = tester.post(session, "1+1")
        wait_for(lambda: session.statements[number].live.output)
        assert session.statements[number].live.output["data"] == {"text/plain": "2"}
