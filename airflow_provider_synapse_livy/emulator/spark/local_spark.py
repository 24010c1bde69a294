"""
The Spark of an interpreter: its start, its jobs, and the statements of the kind ``sql``.

Spark runs in a JVM of this process' own, with a local master. It listens on the loopback address alone, has no UI, and
leaves its files in the folder in which the interpreter runs.
"""

from __future__ import annotations

import contextlib
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_synapse_livy.emulator.spark.outputs import Output, error_output, sql_table

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

__all__ = ["LocalSpark"]

_Result = TypeVar("_Result")

#: The heap of the JVM. Spark itself takes some 300 MB of it.
_HEAP = "1g"
#: Livy returns so many rows of a query.
_MAX_ROWS = 1000
#: Seconds between two requests to cancel the jobs of a statement, as it may start more; Livy's.
_CANCEL_INTERVAL = 0.1

#: Where the names are from that code finds besides those of the session.
_IMPORTED = (
    ("pyspark.sql", "HiveContext"), ("pyspark.streaming", "StreamingContext"), ("pyspark", "cloudpickle")
)  # fmt: skip

#: The settings that a session may have from its request. The others are those of a cluster.
_TAKEN_SETTINGS = "spark.sql."


def _settings(folder: Path) -> dict[str, str]:
    # The serial collector and the quick compiler: it is the start that counts, on a machine that others use.
    java = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"]
    java += [f"-Djava.io.tmpdir={folder}", f"-Dderby.system.home={folder}"]
    return {
        "spark.master": "local[2]",
        "spark.driver.memory": _HEAP,
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.extraJavaOptions": " ".join(java),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.local.dir": str(folder),
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        # The default of 200 is for a cluster: here, each would be a task in the same two threads.
        "spark.sql.shuffle.partitions": "2",
    }


class LocalSpark:
    """
    A Spark session, and its jobs.

    :param name: the name of the application.
    :param conf: the settings that the session was created with.
    """

    def __init__(self, name: str, conf: Mapping[str, str]) -> None:
        from pyspark.sql import SparkSession

        taken = {key: value for key, value in conf.items() if key.startswith(_TAKEN_SETTINGS)}
        builder = SparkSession.builder.appName(name)
        for key, value in (_settings(Path.cwd()) | taken).items():
            builder = builder.config(key, value)
        self.session: SparkSession = builder.getOrCreate()
        self._context = self.session.sparkContext
        gateway: Any = self._context._gateway  # noqa: SLF001, nothing public leads to the process
        self._jvm_process = gateway.proc

    @property
    def pid(self) -> int:
        """The number of the JVM's process."""
        return int(self._jvm_process.pid)

    def names(self) -> dict[str, Any]:
        """Return the names that code finds in Livy's interpreter."""
        from pyspark.sql import SQLContext

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # it is outdated, and Livy still has it
            sql_context = SQLContext(self._context, self.session)
        return {"spark": self.session, "sc": self._context, "sqlContext": sql_context, **_imported_names()}

    def begin(self, group: str) -> None:
        """Put the jobs that this thread starts from now on into a group."""
        # Fails once the code of a user has stopped Spark; what comes then is the answer of Spark to that code.
        _attempt(lambda: self._context.setJobGroup(group, f"Job group for statement {group}"))

    def run_sql(self, query: str) -> Output:
        """Run one query, and return its output."""
        try:
            result = self.session.sql(query)
            data = sql_table(result.schema.jsonValue(), result.take(_MAX_ROWS))
        except Exception as error:  # noqa: BLE001, whatever it is, it is the statement's
            return _sql_error(error)
        return {"status": "ok", "data": data}

    def cancel(self, group: str, until: Callable[[], bool]) -> None:
        """
        Cancel the jobs of a group again and again, in a thread of its own. Python itself is not interrupted.

        :param until: whether to stop.
        """

        def cancel() -> None:
            while not until():
                _attempt(lambda: self._context.cancelJobGroup(group))
                time.sleep(_CANCEL_INTERVAL)

        threading.Thread(target=cancel, name=f"cancel-{group}", daemon=True).start()

    def progress(self, group: str) -> float:
        """Return which part of the tasks of a group has run, as far as they are known: from 0 to 1."""
        counts = _attempt(lambda: list(self._task_counts(group))) or []
        total = sum(tasks for tasks, _ in counts)
        return sum(done for _, done in counts) / total if total else 0.0

    def _task_counts(self, group: str) -> Iterator[tuple[int, int]]:
        """Yield the numbers of tasks, and of those that have run, of each stage."""
        tracker = self._context.statusTracker()
        for job_id in tracker.getJobIdsForGroup(group):
            job = tracker.getJobInfo(job_id)
            for stage_id in job.stageIds if job else ():
                if stage := tracker.getStageInfo(stage_id):
                    yield stage.numTasks, stage.numCompletedTasks

    def watch(self, on_end: Callable[[], None]) -> None:
        """Call a function when the JVM has ended, in a thread of its own."""

        def wait() -> None:
            self._jvm_process.wait()
            on_end()

        threading.Thread(target=wait, name="jvm", daemon=True).start()

    def kill(self) -> None:
        """End the JVM at once; Spark's workers end with it."""
        self._jvm_process.kill()
        self._jvm_process.wait()


def _imported_names() -> dict[str, Any]:
    """Return what Livy's interpreter has imported besides, as far as this pyspark has it."""
    names: dict[str, Any] = {}
    for module, name in _IMPORTED:
        with contextlib.suppress(ImportError, AttributeError):
            names[name] = getattr(import_module(module), name)
    return names


def _attempt(call: Callable[[], _Result]) -> _Result | None:
    """Return what a call to Spark returns; None if it fails, as all do once Spark was stopped."""
    try:
        return call()
    except Exception:  # noqa: BLE001
        return None


def _sql_error(error: Exception) -> Output:
    """Return the output for an exception: its class is "Error" for all, and its traceback is that of Java."""
    origin = getattr(error, "_origin", None)
    java = _attempt(lambda: (origin.getMessage(), [str(frame) for frame in origin.getStackTrace()])) if origin else None
    message, frames = java or (str(error), [])
    return error_output("Error", message or str(error), frames)
