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
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import requests
import sqlalchemy
from airflow import __version__ as airflow_version
from local_airflow import free_ports, wait_for

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
    """

    def __init__(self, home: Path, dags: Path, database: str, env: Mapping[str, str]) -> None:
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        self.home = home
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

    def log(self, dag_id: str, task_id: str) -> str:
        """Return all that a task has in its logs, its triggers' included."""
        files = sorted((self.home / "logs" / f"dag_id={dag_id}").glob(f"run_id=*/task_id={task_id}/**/*.log*"))
        return "\n".join(file.read_text() for file in files)
