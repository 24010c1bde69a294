"""The emulator's package imports what it offers when that is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

from airflow_provider_synapse_livy import emulator


def test_names_exist():
    """Every name that the package offers exists, and no other."""
    assert all(getattr(emulator, name) is not None for name in emulator.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'missing'"):
        _ = emulator.missing


def test_interpreter_needs_no_web_server():
    """Spark's interpreter, of which each session has one, imports neither a web server nor Airflow."""
    program = "import sys, airflow_provider_synapse_livy.emulator.spark.interpreter; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert not {"aiohttp", "airflow", "pytest"} & set(loaded)
