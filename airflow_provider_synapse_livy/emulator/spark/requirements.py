"""What a real Spark needs of the machine: Java and pyspark."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

__all__ = ["MissingRequirementError", "check_requirements"]

_EXTRA = "airflow-provider-synapse-livy[spark]"


class MissingRequirementError(RuntimeError):
    """Java or pyspark is not installed. The message says how to install it."""


def check_requirements() -> None:
    """
    Check that Spark could be started.

    :raises MissingRequirementError: if Java or pyspark is missing.
    """
    missing = []
    if not _has_java():
        missing.append(("Java", "apt-get install default-jre-headless, or set JAVA_HOME"))
    if any(importlib.util.find_spec(name) is None for name in ("pyspark", "psutil")):
        missing.append(("pyspark", f"pip install '{_EXTRA}'"))
    if missing:
        names, fixes = (" and ".join(part) for part in zip(*missing, strict=True))
        raise MissingRequirementError(f"Spark needs {names}, which this machine does not have.\nFix: {fixes}.")


def _has_java() -> bool:
    home = os.environ.get("JAVA_HOME")
    return Path(home, "bin", "java").exists() if home else shutil.which("java") is not None
