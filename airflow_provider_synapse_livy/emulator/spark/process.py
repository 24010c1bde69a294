"""The emulator's side of an interpreter: starts the child process, talks to it, and ends it with all it has started."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil

__all__ = ["InterpreterProcess"]

_MODULE = "airflow_provider_synapse_livy.emulator.spark.interpreter"

#: Of the environment, what would lead to another Spark, or what is none of the business of code that runs in Synapse.
_DROPPED_VARIABLES = ("SPARK_", "PYSPARK_", "AIRFLOW", "PYTEST")
#: Seconds that the interpreter, and then what it has started, are given to end by themselves.
_END_SECONDS = 5.0
#: How many of the last lines it wrote are told when it has died.
_LOG_LINES = 20


class InterpreterProcess:
    """
    One interpreter, from its start to its end. Its files are in a temporary folder, which is removed in the end.

    :param name: the name of the Spark application.
    :param conf: the settings that the session was created with.
    :param on_event: called with each event, in a thread of its own.
    :param on_end: called with the last lines of its log when it has ended by itself, in that thread.
    """

    def __init__(
        self,
        name: str,
        conf: Mapping[str, str],
        *,
        on_event: Callable[[dict[str, Any]], None],
        on_end: Callable[[str], None],
    ) -> None:
        self._on_event, self._on_end = on_event, on_end
        self._folder = Path(tempfile.mkdtemp(prefix="synapse-livy-spark-"))
        self._closing = threading.Lock()
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603, it is ourselves
                [sys.executable, "-u", "-m", _MODULE],
                cwd=self._folder,
                env=_environment(self._folder),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the emulator, which then ends it
                text=True,
                encoding="utf-8",
            )
        self._is_closed = False
        self._jvm: psutil.Process | None = None
        self._send({"start": {"name": name, "conf": dict(conf)}})
        self._reader = threading.Thread(target=self._read_events, name="spark-events", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    def run(self, number: int, kind: str, code: str) -> None:
        """Run a statement; one at a time."""
        self._send({"run": number, "kind": kind, "code": code})

    def cancel(self, number: int, seconds: float) -> None:
        """Cancel the Spark jobs of a statement, and those that it starts within some seconds."""
        self._send({"cancel": number, "seconds": seconds})

    def close(self) -> None:
        """End the process and all that it has started, and wait until it is gone."""
        with self._closing:
            if self._is_closed:
                return
            self._is_closed = True
            self._end()
            shutil.rmtree(self._folder, ignore_errors=True)

    def _end(self) -> None:
        family = self._family()
        with contextlib.suppress(OSError):
            if self._process.stdin:
                self._process.stdin.close()  # upon which it ends, and takes the JVM along
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_SECONDS)
        self._process.kill()
        self._process.wait()
        with contextlib.suppress(OSError):
            os.killpg(self.pid, signal.SIGKILL)  # what the code of users has started, and not waited for
        _, left = psutil.wait_procs(family, timeout=_END_SECONDS)
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=_END_SECONDS)
        self._close_events()

    def _close_events(self) -> None:
        is_reader = threading.current_thread() is self._reader
        if not is_reader:
            self._reader.join(_END_SECONDS)
        # Closing waits for a read that goes on, and that would be for as long as any process holds the other end.
        if self._process.stdout and (is_reader or not self._reader.is_alive()):
            self._process.stdout.close()

    def _family(self) -> list[psutil.Process]:
        """Return the JVM and Spark's workers, while they can be found by their parents."""
        family = [self._jvm] if self._jvm else []
        for parent in (self._process, self._jvm):  # the interpreter may be gone, and its JVM not yet
            with contextlib.suppress(psutil.NoSuchProcess):
                family += psutil.Process(parent.pid).children(recursive=True) if parent else []
        return family

    def _send(self, request: dict[str, Any]) -> None:
        # If it has died, the end of its events says so.
        with contextlib.suppress(OSError, ValueError):
            assert self._process.stdin is not None  # noqa: S101, for mypy
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()

    def _read_events(self) -> None:
        for line in self._process.stdout or ():
            event = json.loads(line)
            if jvm := event.get("ready"):
                with contextlib.suppress(psutil.NoSuchProcess):
                    self._jvm = psutil.Process(jvm)
            if not self._is_closed:
                self._on_event(event)
        if not self._is_closed:
            self._on_end(self._last_lines())

    def _last_lines(self) -> str:
        with contextlib.suppress(OSError):
            lines = (self._folder / "log").read_text(errors="replace").splitlines()
            return "\n".join(lines[-_LOG_LINES:])
        return ""


def _environment(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_DROPPED_VARIABLES)}
    return kept | {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1", "TMPDIR": str(folder)}
