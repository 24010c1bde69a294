"""A Spark session whose JVM is a process that sleeps."""

from __future__ import annotations

import subprocess
import sys
import threading
from types import SimpleNamespace


class SparkContext:
    """
    Notes which groups of jobs are cancelled.

    A group begins when it has been cancelled, and else after ten seconds.
    """

    def __init__(self):
        jvm = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        self._gateway = SimpleNamespace(proc=jvm)
        self.cancelled = []
        self._is_cancelled = threading.Event()
        self.waits = False

    def setJobGroup(self, group, description):  # noqa: N802
        """Begin with a group."""
        if self.waits:
            self._is_cancelled.wait(10)

    def cancelJobGroup(self, group):  # noqa: N802
        """Note a cancellation."""
        self.cancelled.append(group)
        self._is_cancelled.set()


class SparkSession:
    """Makes itself, however it is to be made."""

    def __init__(self):
        self.sparkContext = SparkContext()

    class builder:  # noqa: N801
        """Takes any setting, and leaves it."""

        @classmethod
        def appName(cls, _):  # noqa: N802
            """Take a name."""
            return cls

        @classmethod
        def config(cls, *_):
            """Take a setting."""
            return cls

        @staticmethod
        def getOrCreate():  # noqa: N802
            """Return a session."""
            return SparkSession()


def SQLContext(*_):  # noqa: N802
    """Return nothing: no test uses it."""
