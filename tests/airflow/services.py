"""A real Airflow of any supported version on the loopback address: its components as processes, on PostgreSQL."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import requests
import sqlalchemy
from airflow import __version__ as airflow_version
from local_airflow import free_ports, wait_for

#: A DAG's task, and the mode it waits in.
Case = tuple[str, str]

VERSION = tuple(int(part) for part in airflow_version.split(".")[:2])

_COMPONENTS = ["scheduler", "triggerer"]
if VERSION >= (3, 0):  # Airflow 2's scheduler parses the DAGs, and its tasks ask the database
    _COMPONENTS += ["dag-processor", "api-server"]

_CLEAR = """
import sys
from airflow.models.taskinstance import TaskInstance, clear_task_instances
from airflow.utils.session import create_session
with create_session() as session:
    tasks = session.query(TaskInstance).filter_by(dag_id=sys.argv[1], task_id=sys.argv[2]).all()
    clear_task_instances(tasks, session)
"""

#: What the buttons of Airflow 2's UI do.
_MARK = """
import sys
from airflow.models.dagbag import DagBag
dag_id, run_id, task_id, state = sys.argv[1:]
dag = DagBag(read_dags_from_db=True).get_dag(dag_id)
dag.set_task_instance_state(task_id=task_id, run_id=run_id, state=state, commit=True)
"""

#: Components are started again if they end: the scheduler of Airflow 3.0 crashes if a retry comes at a bad moment.
_FOR_EVER = 'while :; do "$@"; sleep 1; done'


@contextlib.contextmanager
def process(command: list[str], log: Path, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program and all that it starts, and end it as a group: politely first, then not."""
    with log.open("wb") as output:
        options |= {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": subprocess.STDOUT}
        running = subprocess.Popen(command, start_new_session=True, **options)
    try:
        yield running
    finally:
        send(running, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.wait(20)
        send(running, signal.SIGKILL)
        running.wait()


def send(running: subprocess.Popen[bytes], signal_number: int) -> None:
    """Send a signal to a process and all that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(running.pid, signal_number)


@contextlib.contextmanager
def postgres(log: Path) -> Iterator[str]:
    """Run PostgreSQL, as the user of that name where we are root, whom it refuses; give the address of a database."""
    (program,) = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1:] or [None]
    assert program, "PostgreSQL is missing: apt-get install postgresql"
    become = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    (port,) = free_ports(1)
    with tempfile.TemporaryDirectory() as folder:
        if become:
            shutil.chown(folder, "postgres")
        data = Path(folder) / "data"
        init = [program / "initdb", "--pgdata", data, "--username", "airflow", "--auth", "trust", "--encoding", "UTF8"]
        subprocess.run([*become, *init], check=True, stdout=subprocess.DEVNULL, cwd=folder)
        options = ["-D", str(data), "-p", str(port), "-k", folder, "-h", "127.0.0.1"]
        options += ["-c", "fsync=off", "-c", "max_connections=300"]
        with process([*become, str(program / "postgres"), *options], log, cwd=folder):
            url = f"postgresql+psycopg2://airflow@127.0.0.1:{port}/postgres"
            wait_for(lambda: _answers(url), "PostgreSQL's coming up", timeout=60)
            yield url


def _answers(url: str) -> bool | None:
    try:
        sqlalchemy.create_engine(url).connect().close()
    except sqlalchemy.exc.OperationalError:
        return None
    return True


class RealAirflow:
    """
    Airflow's components on PostgreSQL.

    :param home: a folder for its configuration and logs, which is made anew.
    :param dags: the folder of DAGs.
    :param database: the address of its metadata database.
    :param env: further environment variables.
    :param errors: a folder, in which tasks write down the errors that they end with.
    """

    def __init__(self, home: Path, dags: Path, database: str, env: Mapping[str, str], errors: Path) -> None:
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        self.home = home
        self._errors = errors
        self.database = database
        self._engine = sqlalchemy.create_engine(database)
        self._api, worker_logs, trigger_logs = free_ports(3)
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")},
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__PARALLELISM": "8",
            "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": "500",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{self._api}/execution/",
            "AIRFLOW__CORE__FERNET_KEY": "",
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database,
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(worker_logs),
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(trigger_logs),
            # Airflow 3.3 fails tasks whose trigger fires before the worker's exit was noticed (apache/airflow#71580).
            "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__API_AUTH__JWT_ISSUER": "tests",  # without one, 3.0 fails with a newer PyJWT
            # What is dead is noticed within seconds, not minutes.
            "AIRFLOW__SCHEDULER__JOB_HEARTBEAT_SEC": "2",
            # Airflow 2 asks for the failure of a killed task whenever it looks, until it reads the DAG's file again;
            # what it has asked for twice fails the next try as well.
            "AIRFLOW__SCHEDULER__ZOMBIE_DETECTION_INTERVAL": "25",
            **({"AIRFLOW__SCHEDULER__MIN_FILE_PROCESS_INTERVAL": "5"} if VERSION < (3, 0) else {}),
            "MATRIX_ERRORS": str(errors),
            "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "2",
            "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "15",
            **env,
        }
        self._components: dict[str, subprocess.Popen[bytes]] = {}

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Run all components."""
        self.cli("db", "migrate")
        with contextlib.ExitStack() as stack:
            self._components = {name: stack.enter_context(self._component(name)) for name in _COMPONENTS}
            try:
                yield
            finally:
                self._engine.dispose()
                for component in self._components.values():  # all at once, since each takes its time
                    send(component, signal.SIGTERM)

    def _component(self, name: str) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
        options = ["--host", "127.0.0.1", "--port", str(self._api), "--workers", "1"] if name == "api-server" else []
        command = ["sh", "-c", _FOR_EVER, "sh", sys.executable, "-m", "airflow", name, *options]
        return process(command, self.home / f"{name}.log", env=self.env, cwd=self.home)

    def cli(self, *arguments: str) -> None:
        """Run a command of Airflow's."""
        command = [sys.executable, "-m", "airflow", *arguments]
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(arguments)}: {done.stdout[-2000:]}{done.stderr[-2000:]}"

    def rows(self, statement: str) -> list[Any]:
        """Ask the metadata database."""
        with self._engine.connect() as connection:
            return list(connection.execute(sqlalchemy.text(statement)))

    def kill(self, component: str, signal_number: int) -> None:
        """Send a signal to a component; it is started again. With SIGKILL, all that it has started is killed, too."""
        (main,) = (child for child in psutil.Process(self._components[component].pid).children())
        for process in [main, *main.children(recursive=True)] if signal_number == signal.SIGKILL else [main]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal_number)

    def restart_triggerers(self, polls: Callable[[], int]) -> None:
        """
        Kill the triggerer with -9, and stop the next one politely, while a task is deferred to it.

        :param polls: how often the task's wait has asked so far; after each restart it is to go on.
        """
        wait_for(lambda: polls() >= 2 or None, "the first deferral", timeout=120)
        for signal_number in (signal.SIGKILL, signal.SIGTERM):
            before = polls()
            self.kill("triggerer", signal_number)
            # One poll may have been under way.
            wait_for(lambda n=before: polls() >= n + 2 or None, "the wait's going on", timeout=180)

    def run_dags(self, *dag_ids: str, conf: Mapping[str, Any], timeout: float) -> None:
        """Run DAGs side by side, once they are known, and wait until all have ended."""
        self.start(*dag_ids, conf=conf)
        self.wait_for_ends(timeout=timeout)

    def start(self, *dag_ids: str, conf: Mapping[str, Any]) -> None:
        """Begin to run DAGs side by side, once they are known."""
        wait_for(lambda: self._known(dag_ids), f"the parsing of {dag_ids}", timeout=300)
        for dag_id in dag_ids:
            self.cli("dags", "trigger", dag_id, "--conf", json.dumps(conf))

    def wait_for_ends(self, *, timeout: float) -> None:
        """Wait until all runs have ended."""
        wait_for(self._ended, "the end of all DAG runs", timeout=timeout, interval=2)

    def clear(self, dag_id: str, task_id: str, *, timeout: float) -> None:
        """Clear a task, as one does to run it again, and wait until it has."""
        self._run(_CLEAR, dag_id, task_id)  # the command line finds no runs without a logical date
        self.wait_for_ends(timeout=timeout)

    def user_clears(self, dag_id: str, *task_ids: str) -> None:
        """Clear tasks of a DAG's only run, as a user does."""
        if VERSION < (3, 0):
            for task_id in task_ids:
                self._run(_CLEAR, dag_id, task_id)
            return
        body = {"dry_run": False, "dag_run_id": self._run_id(dag_id), "task_ids": task_ids, "only_failed": False}
        self._call("POST", f"dags/{dag_id}/clearTaskInstances", body)

    def user_marks(self, dag_id: str, task_id: str, state: str) -> None:
        """Mark a task of a DAG's only run, as a user does: ``failed`` or ``success``."""
        run_id = self._run_id(dag_id)
        if VERSION < (3, 0):
            self._run(_MARK, dag_id, run_id, task_id, state)
        else:
            self._call("PATCH", f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}", {"new_state": state})

    def user_ends(self, dag_id: str, task_id: str, how: str) -> None:
        """End a task of a DAG's only run, as a user does: ``clear`` it, or mark it ``failed`` or ``success``."""
        if how == "clear":
            self.user_clears(dag_id, task_id)
        else:
            self.user_marks(dag_id, task_id, how)

    def _run(self, script: str, *arguments: str) -> None:
        subprocess.run([sys.executable, "-c", script, *arguments], env=self.env, check=True)

    def _call(self, method: str, path: str, body: Mapping[str, Any]) -> None:
        """Call Airflow 3's REST API, as its UI does."""
        url = f"http://127.0.0.1:{self._api}"
        token = requests.get(f"{url}/auth/token", timeout=60).json()["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        done = requests.request(method, f"{url}/api/v2/{path}", json=body, headers=headers, timeout=60)
        assert done.ok, f"{method} {path}: {done.status_code} {done.text}"

    def _run_id(self, dag_id: str) -> str:
        ((run_id,),) = self.rows(f"SELECT run_id FROM dag_run WHERE dag_id = '{dag_id}'")
        return str(run_id)

    def _known(self, dag_ids: tuple[str, ...]) -> bool | None:
        return {row[0] for row in self.rows("SELECT dag_id FROM serialized_dag")}.issuperset(dag_ids) or None

    def _ended(self) -> bool | None:
        return {row[0] for row in self.rows("SELECT state FROM dag_run")} <= {"success", "failed"} or None

    def tasks(self) -> dict[tuple[str, str, int], str]:
        """Return state and number of tries of each task, as ``success/1``, by DAG, task and map index."""
        rows = self.rows("SELECT dag_id, task_id, map_index, state, try_number FROM task_instance")
        return {(dag, task, index): f"{state}/{tries}" for dag, task, index, state, tries in rows}

    def xcoms(self) -> dict[tuple[str, str, int], dict[str, str]]:
        """Return the XComs of each task by their keys, as they stand in the database, by DAG, task and map index."""
        value = "value::text" if VERSION >= (3, 0) else "convert_from(value, 'UTF8')"
        found: dict[tuple[str, str, int], dict[str, str]] = {}
        for dag, task, index, key, text in self.rows(f"SELECT dag_id, task_id, map_index, key, {value} FROM xcom"):
            found.setdefault((dag, task, index), {})[key] = text
        return found

    def error(self, dag_id: str, task_id: str) -> tuple[str | None, str]:
        """Return class and words of the error that a task ended with; without one, None and nothing."""
        record = self._errors / f"{dag_id}.{task_id}.json"
        kind, words = json.loads(record.read_text()) if record.exists() else (None, "")
        return kind, words

    def log(self, dag_id: str, task_id: str) -> str:
        """Return all that a task has in its logs, its triggers' included."""
        files = sorted((self.home / "logs" / f"dag_id={dag_id}").glob(f"run_id=*/task_id={task_id}/**/*.log*"))
        return "\n".join(file.read_text() for file in files)


def as_they_wait(cases: Iterable[Case], waits: Callable[[Case], bool], *, timeout: float = 600) -> Iterator[Case]:
    """Yield each of some tasks as soon as it waits, in the order in which they come to it."""
    pending = set(cases)
    deadline = time.monotonic() + timeout
    while pending and time.monotonic() < deadline:
        for case in [case for case in pending if waits(case)]:
            yield case
            pending.remove(case)
        time.sleep(0.5)
    assert not pending, f"these tasks did not get as far as to wait: {pending}"


def read_all(left: Mapping[str, str]) -> dict[str, Any]:
    """Return the values of a task's XComs."""
    return {key: json.loads(text) for key, text in left.items()}
