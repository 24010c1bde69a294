"""
The child process of a session: it starts Spark, runs statements, and says what comes of them.

It reads requests and writes events as lines of JSON.

Requests:
    ``{"start": {"name": ..., "conf": {...}}}``, once;
    ``{"run": id, "kind": ..., "code": ...}``, one at a time;
    ``{"cancel": id, "seconds": ...}``.

Events:
    ``{"ready": number of the JVM's process}`` or ``{"failed": why}``;
    ``{"id": id, "progress": part}`` and ``{"id": id, "output": ...}``;
    ``{"jvm": "ended"}``.

When the requests end, because the emulator has closed them or is no more, it ends at once, whatever its code does, and
with it all that it has started. A process that its code forks can neither read requests nor write events: else it would
speak for the interpreter, and hide that this has ended.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any, TextIO

from airflow_provider_synapse_livy.emulator.spark.local_spark import LocalSpark
from airflow_provider_synapse_livy.emulator.spark.outputs import Output, error_output
from airflow_provider_synapse_livy.emulator.spark.python_code import new_namespace, run_python

__all__ = ["main"]

#: Seconds between two counts of the tasks that have run.
_PROGRESS_INTERVAL = 0.5


class _Interpreter:
    """
    Runs statements in this thread, while others read requests and count tasks.

    :param requests: where requests come from.
    :param events: where events go.
    """

    def __init__(self, requests: TextIO, events: TextIO) -> None:
        self._requests, self._events = requests, events
        self._write_lock = threading.Lock()
        self._to_run: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._running: int | None = None
        self._spark: LocalSpark | None = None
        self._namespace: dict[str, Any] = new_namespace()

    def run(self) -> None:
        """Start Spark and run statements until the process is ended."""
        start = json.loads(self._requests.readline() or "{}").get("start")
        threading.Thread(target=self._read_requests, name="requests", daemon=True).start()
        if start is None:
            return
        try:
            spark = self._spark = LocalSpark(start["name"], start["conf"])
            self._namespace |= spark.names()
        except Exception as error:  # noqa: BLE001, whatever it is, the emulator tells it
            self._send({"failed": f"{type(error).__name__}: {error}"})
            return
        spark.watch(on_end=lambda: self._send({"jvm": "ended"}))
        threading.Thread(target=self._count_tasks, args=(spark,), name="progress", daemon=True).start()
        self._send({"ready": spark.pid})
        while True:
            self._run_statement(spark, self._to_run.get())

    def _run_statement(self, spark: LocalSpark, request: dict[str, Any]) -> None:
        number, code = request["run"], request["code"]
        spark.begin(str(number))
        output = spark.run_sql(code) if request["kind"] == "sql" else run_python(code, self._namespace)
        self._running = None
        self._send({"id": number, "output": _encodable(output)})

    def _send(self, event: dict[str, Any]) -> None:
        line = json.dumps(event)
        with self._write_lock:
            self._events.write(f"{line}\n")
            self._events.flush()

    def _read_requests(self) -> None:
        for line in self._requests:
            request = json.loads(line)
            if "run" in request:
                self._running = request["run"]  # from here on, and not from when it begins: it may be cancelled next
                self._to_run.put(request)
            elif "cancel" in request and self._spark:
                self._cancel(self._spark, request["cancel"], time.monotonic() + request["seconds"])
        self._end()

    def _cancel(self, spark: LocalSpark, number: int, deadline: float) -> None:
        spark.cancel(str(number), until=lambda: self._running != number or time.monotonic() > deadline)

    def _count_tasks(self, spark: LocalSpark) -> None:
        told: tuple[int | None, float] = (None, 0.0)
        while True:
            time.sleep(_PROGRESS_INTERVAL)
            number = self._running
            if number is None:
                continue
            now = (number, spark.progress(str(number)))
            if now != told and self._running == number:
                self._send({"id": number, "progress": now[1]})
                told = now

    def _end(self) -> None:
        """End this process and what it has started, without a word to the code that runs."""
        if self._spark:
            self._spark.kill()
        shutil.rmtree(Path.cwd(), ignore_errors=True)
        if os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os._exit(0)


def _encodable(output: Output) -> Output:
    try:
        json.dumps(output)
    except (TypeError, ValueError, RecursionError) as error:
        return error_output(type(error).__name__, f"cannot json-ify the output: {error}")
    return output


def main() -> None:
    """Run the interpreter on standard input and output, which the code of users gets new ones of."""
    requests = os.fdopen(os.dup(0), encoding="utf-8")
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)

    def keep_apart() -> None:
        for stream in (requests, events):
            os.dup2(nothing, stream.fileno(), inheritable=False)

    os.register_at_fork(after_in_child=keep_apart)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115, open as long as the process is
    _Interpreter(requests, events).run()


if __name__ == "__main__":
    main()
