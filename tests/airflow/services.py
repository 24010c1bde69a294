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
            **env,
        }

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Run all components."""
        self.cli("db", "migrate")
        with contextlib.ExitStack() as stack:
            components = [stack.enter_context(self._component(name)) for name in _COMPONENTS]
            try:
                yield
            finally:
                self._engine.dispose()
                for component in components:  # all at once, since each takes its time
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

    def run_dags(self, *dag_ids: str, conf: Mapping[str, Any], timeout: float) -> None:
        """Run DAGs side by side, once they are known, and wait until all have ended."""
        wait_for(lambda: self._known(dag_ids), f"the parsing of {dag_ids}", timeout=300)
        for dag_id in dag_ids:
            self.cli("dags", "trigger", dag_id, "--conf", json.dumps(conf))
        wait_for(self._ended, f"the end of {dag_ids}", timeout=timeout, interval=2)

    def clear(self, dag_id: str, task_id: str, *, timeout: float) -> None:
        """Clear a task, as one does to run it again, and wait until it has."""
        command = [
            sys.executable,
            "-c",
            _CLEAR,
            dag_id,
            task_id,
        ]  # the command line finds no runs without a logical date
        subprocess.run(command, env=self.env, check=True)
        wait_for(self._ended, f"the second end of {dag_id}", timeout=timeout, interval=2)

    def _known(self, dag_ids: tuple[str, ...]) -> bool | None:
        return {row[0] for row in self.rows("SELECT dag_id FROM serialized_dag")}.issuperset(dag_ids) or None

    def _ended(self) -> bool | None:
        return {row[0] for row in self.rows("SELECT state FROM dag_run")} <= {"success", "failed"} or None

    def log(self, dag_id: str, task_id: str) -> str:
        """Return all that a task has in its logs, its triggers' included."""
        files = sorted((self.home / "logs" / f"dag_id={dag_id}").glob(f"run_id=*/task_id={task_id}/**/*.log*"))
        return "\n".join(file.read_text() for file in files)
