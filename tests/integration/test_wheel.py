"""The wheel, as its users get it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.project import PROJECT
from tests.support.readme import write_project

pytestmark = pytest.mark.wheel


def run(*command, **options):
    """Run a command that must succeed, and return its output."""
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, timeout=600, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_readme_in_a_project_of_its_own(tmp_path):
    """In a project that has the wheel and nothing else of ours, the README's test of a DAG passes at the first try."""
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path, cwd=PROJECT)
    (wheel,) = tmp_path.glob("*.whl")
    uv = Path(sys.executable).with_name("uv")
    python = tmp_path / "venv" / "bin" / "python"
    run(uv, "venv", "--quiet", "--python", sys.executable, tmp_path / "venv")
    constraints = PROJECT / "constraints" / "airflow-3.3.txt"
    run(uv, "pip", "install", "--quiet", "--python", python, "--constraint", constraints, f"{wheel}[emulator]")

    project = tmp_path / "project"
    write_project(project)
    env = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTEST"))}
    env |= {"PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}", "HOME": str(tmp_path)}
    assert "3 passed" in run(python.with_name("pytest"), "-q", cwd=project, env=env)
    # pyproject.toml declares the command.
    version = run(python.with_name("synapse-livy-emulator"), "--version", cwd=project, env=env)
    assert version.startswith("synapse-livy-emulator ")
