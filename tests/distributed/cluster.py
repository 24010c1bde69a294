"""
A distributed Airflow on the loopback address, started and stopped by the tests.

PostgreSQL, Redis, scheduler, DAG processor, API server, two Celery workers, two triggerers. Each is a process group of
its own, so each can be killed as if its machine had died.
"""

from __future__ import annotations

import base64
import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Self

import psutil
from local_airflow import LocalAirflow, free_ports, wait_for

from tests.support.project import PROJECT

AIRFLOW_PARTS = {
    "api-server": ["api-server"],
    "scheduler": ["scheduler", "--skip-serve-logs"],
    "dag-processor": ["dag-processor"],
    "triggerer-1": ["triggerer", "--skip-serve-logs"],
    "triggerer-2": ["triggerer", "--skip-serve-logs"],
    "worker-1": ["celery", "worker", "--concurrency", "12", "--celery-hostname", "worker-1@%h", "--skip-serve-logs"],
    "worker-2": ["celery", "worker", "--concurrency", "12", "--celery-hostname", "worker-2@%h", "--skip-serve-logs"],
}


def postgres_program(name: str) -> str:
    """Find one of PostgreSQL's programs, which Debian keeps out of the PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(found[-1]) if found else name


class Cluster(LocalAirflow):
    """
    A distributed Airflow.

    :param home: its folder, which is made anew.
    :param dags: the folder of DAGs.
    """

    def __init__(self, home: Path, dags: Path) -> None:
        self._database_port, self._redis_port = free_ports(2)
        self.database = f"postgresql+psycopg2://postgres@127.0.0.1:{self._database_port}/postgres"
        super().__init__(
            home,
            dags,
            {
                "PYTHONPATH": str(PROJECT),
                "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
                "AIRFLOW__CORE__PARALLELISM": "64",
                "AIRFLOW__CORE__FERNET_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
                "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": self.database,
                "AIRFLOW__API__MAXIMUM_PAGE_LIMIT": "1000",
                "AIRFLOW__CELERY__BROKER_URL": f"redis://127.0.0.1:{self._redis_port}/0",
                "AIRFLOW__CELERY__RESULT_BACKEND": f"db+{self.database}",
                "AIRFLOW__CELERY__WORKER_UMASK": "0o022",
                # What is dead is noticed within seconds, not minutes.
                "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "2",
                "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "15",
                "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC": "5",
                "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",
                "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
            },
        )
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.groups: list[int] = []
        self._data = Path(tempfile.mkdtemp(prefix="postgres-"))

    def __enter__(self) -> Self:
        shutil.rmtree(self.home, ignore_errors=True)
        self.home.mkdir(parents=True)
        try:
            self._start_services()
            subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], env=self.env, check=True, timeout=300)
            for part in AIRFLOW_PARTS:
                self.start(part)
            wait_for(self._is_healthy, "Airflow's coming up", timeout=240)
            self._log_in()
        except BaseException:
            self._stop()
            raise
        return self

    def _start_services(self) -> None:
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            shutil.chown(self._data, "postgres", "postgres")
        initdb = [postgres_program("initdb"), "-D", str(self._data), "-A", "trust", "-U", "postgres"]
        subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, cwd=self._data, **self._as_postgres())
        self.start("postgres")
        self.start("redis")
        for port in (self._database_port, self._redis_port):
            wait_for(lambda port=port: is_open(port), f"port {port} being open", timeout=30)

    @staticmethod
    def _as_postgres() -> dict[str, Any]:
        return {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}

    def start(self, part: str) -> None:
        """Start a part."""
        commands = {
            "postgres": [
                postgres_program("postgres"),
                *("-D", str(self._data), "-k", str(self._data)),
                *("-h", "127.0.0.1", "-p", str(self._database_port), "-c", "max_connections=300"),
            ],
            "redis": [
                "redis-server",
                *("--bind", "127.0.0.1", "--port", str(self._redis_port)),
                *("--save", "", "--dir", str(self.home)),
            ],
        }
        command = commands.get(part) or [sys.executable, "-m", "airflow", *AIRFLOW_PARTS[part]]
        user = self._as_postgres() if part == "postgres" else {}
        with (self.home / f"{part}.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                env=self.env,
                cwd=self._data if user else self.home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **user,
            )
        self.processes[part] = process
        self.groups.append(process.pid)

    def kill(self, part: str) -> None:
        """Kill a part and all that it has started, as if its machine had died."""
        process = self.processes.pop(part)
        for victim in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                victim.kill()
        process.wait()

    def revive(self) -> None:
        """Start again what has ended by itself, as systemd or Kubernetes would: without a database, parts give up."""
        for part, process in list(self.processes.items()):
            if process.poll() is not None:
                self.start(part)

    def triggerers(self) -> int:
        """Count the triggerers that live."""
        alive = self.call("GET", "jobs", params={"job_type": "TriggererJob", "is_alive": "true"})
        return len(alive["jobs"])  # total_entries counts the dead ones as well

    def restart_service(self, part: str, *, down: float) -> None:
        """Stop PostgreSQL or Redis, and start it again after some seconds."""
        process = self.processes.pop(part)
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)
        time.sleep(down)
        self.start(part)

    def _is_healthy(self) -> bool | None:
        for part, process in self.processes.items():
            if process.poll() is not None:
                raise RuntimeError(f"{part} ended by itself; see {self.home / part}.log")
        return super()._is_healthy()

    def _stop(self) -> None:
        """End all parts, politely first, those that others need last."""
        parts = [part for part in self.processes if part not in ("postgres", "redis")]
        for group in (parts, ["redis", "postgres"]):
            self._stop_parts([self.processes.pop(part) for part in group if part in self.processes])
        shutil.rmtree(self._data, ignore_errors=True)

    @staticmethod
    def _stop_parts(processes: list[subprocess.Popen[bytes]]) -> None:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGINT if "postgres" in process.args[0] else signal.SIGTERM)
        deadline = time.monotonic() + 30
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=max(0.1, deadline - time.monotonic()))
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def states(self, dag_id: str, run_id: str) -> dict[tuple[str, int], str | None]:
        """Return the state of each task of a run, by its id and map index."""
        path = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances"
        tasks = self.call("GET", path, params={"limit": 1000})["task_instances"]
        return {(task["task_id"], task["map_index"]): task["state"] for task in tasks}

    def session(self, dag_id: str, run_id: str, task_id: str, map_index: int) -> Any:
        """Return the session that a task has left in XCom."""
        path = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/return_value"
        return self.call("GET", path, params={"deserialize": "true", "map_index": map_index})["value"]


def is_open(port: int) -> bool | None:
    """Return whether somebody listens on a port."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return None


class Gate:
    """
    Passes connections on to a port, unless it is shut; then they are refused, and those that were open break off.

    :param target: the port.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        (self.port,) = free_ports(1)
        self._pairs: set[socket.socket] = set()
        self._listener: socket.socket | None = None

    def open(self) -> None:
        """Let connections through."""
        listener = self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._serve, args=[listener], daemon=True).start()

    def shut(self) -> None:
        """Refuse connections, and break off those that are open."""
        assert self._listener is not None
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for end in list(self._pairs):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._target))
            self._pairs |= {near, far}
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                sink.sendall(piece)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._pairs.discard(source)
        source.close()
