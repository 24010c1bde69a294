"""A real Airflow on the loopback address: scheduler, DAG processor, triggerer and API server in one folder."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import requests

_T = TypeVar("_T")

_COMPONENTS = ("metadatabase", "scheduler", "triggerer", "dag_processor")


def free_ports(count: int) -> list[int]:
    """Return free ports. They are all held at once, so that no two are the same."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [held.getsockname()[1] for held in sockets]


def wait_for(check: Callable[[], _T | None], what: str, *, timeout: float, interval: float = 0.5) -> _T:
    """Return what a function returns, as soon as that is not None."""
    deadline = time.monotonic() + timeout
    while (result := check()) is None:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not happen within {timeout:.0f} s")
        time.sleep(interval)
    return result


class LocalAirflow:
    """
    Airflow's ``standalone``, for the time of a ``with`` block. Nothing outlives it or changes outside its folder.

    :param home: its folder, which is emptied first.
    :param dags: the folder of DAGs.
    :param env: further environment variables.
    """

    def __init__(self, home: Path, dags: Path, env: Mapping[str, str] | None = None) -> None:
        self.home = home
        api, worker_logs, trigger_logs = free_ports(3)
        self.url = f"http://127.0.0.1:{api}"
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")},
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__FERNET_KEY": "",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(api),
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(worker_logs),
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(trigger_logs),
            # Airflow 3.3 fails tasks whose trigger fires before the worker's exit was noticed (apache/airflow#71580).
            "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
            **(env or {}),
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._http = requests.Session()

    def __enter__(self) -> Self:
        shutil.rmtree(self.home, ignore_errors=True)
        self.home.mkdir(parents=True)
        with (self.home / "standalone.log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "airflow", "standalone"],
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            wait_for(self._is_healthy, "the start of Airflow", timeout=180)
            self._log_in()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop()

    def _is_healthy(self) -> bool | None:
        if self._process is not None and self._process.poll() is not None:
            raise RuntimeError(f"Airflow ended unexpectedly; see {self.home / 'standalone.log'}")
        try:
            health = self._http.get(f"{self.url}/api/v2/monitor/health", timeout=5).json()
        except (requests.RequestException, ValueError):
            return None
        return all(health[component]["status"] == "healthy" for component in _COMPONENTS) or None

    def _log_in(self) -> None:
        token = self._http.get(f"{self.url}/auth/token", timeout=30).json()["access_token"]
        self._http.headers["Authorization"] = f"Bearer {token}"

    def _stop(self) -> None:
        """Stop the whole process group with SIGTERM, and with SIGKILL what is still alive then."""
        assert self._process is not None
        for signal_number, seconds in ((signal.SIGTERM, 15.0), (signal.SIGKILL, 15.0)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal_number)
            deadline = time.monotonic() + seconds
            while self._group_lives() and time.monotonic() < deadline:
                time.sleep(0.1)
        self._process.wait()

    def _group_lives(self) -> bool:
        assert self._process is not None
        self._process.poll()  # else it stays a zombie, which counts as alive
        try:
            os.killpg(self._process.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def call(self, method: str, path: str, **kwargs: Any) -> Any:
        """Call Airflow's REST API."""
        response = self._http.request(method, f"{self.url}/api/v2/{path}", timeout=30, **kwargs)
        if not response.ok:
            raise RuntimeError(f"{method} {path}: {response.status_code} {response.text}")
        return response.json() if response.content else None

    def add_connection(self, connection_id: str, **fields: Any) -> None:
        """Add a connection, as the form would."""
        self.call("POST", "connections", json={"connection_id": connection_id, **fields})

    def trigger(self, dag_id: str, conf: Mapping[str, Any]) -> str:
        """Trigger a DAG as soon as Airflow has parsed it, and return the id of the run."""
        wait_for(lambda: self._known_dag(dag_id), f"the parsing of {dag_id}", timeout=90)
        body = {"logical_date": None, "conf": dict(conf)}
        return self.call("POST", f"dags/{dag_id}/dagRuns", json=body)["dag_run_id"]

    def _known_dag(self, dag_id: str) -> bool | None:
        return any(dag["dag_id"] == dag_id for dag in self.call("GET", "dags")["dags"]) or None

    def task_states(self, dag_id: str, run_id: str) -> dict[str, str | None]:
        """Return the state of each task of a run."""
        tasks = self.call("GET", f"dags/{dag_id}/dagRuns/{run_id}/taskInstances")["task_instances"]
        return {task["task_id"]: task["state"] for task in tasks}

    def xcom(self, dag_id: str, run_id: str, task_id: str) -> Any:
        """Return what a task has returned."""
        path = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/return_value"
        return self.call("GET", path, params={"deserialize": "true"})["value"]

    def log(self, dag_id: str, run_id: str, task_id: str, try_number: int = 1) -> list[str]:
        """Return the lines of a task's log, as the UI shows them."""
        path = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{try_number}"
        content = self.call("GET", path, headers={"Accept": "application/json"})["content"]
        return [line["event"] if isinstance(line, dict) else line for line in content]
