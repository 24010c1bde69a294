"""The wheel, as its users get it: what is in it, and a newcomer's way with it."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from local_airflow import free_ports

from tests.support.project import PROJECT
from tests.support.readme import PAGES, write_project

pytestmark = pytest.mark.wheel

#: The pages that lead from an empty folder to a DAG that has run; the README, too, once it does.
WAYS = [page for page in ("README", "quick-start") if "airflow dags test" in PAGES[page]]


def run(*command, **options):
    """Run a command that must succeed, and return its output."""
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, timeout=600, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel():
    """Return the wheel that ``make build`` has built."""
    (built,) = (PROJECT / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """Return the Python of an empty environment, in which ``pip`` is uv's, which installs in seconds."""
    venv = tmp_path_factory.mktemp("newcomer") / "venv"
    uv = Path(sys.executable).with_name("uv")
    run(uv, "venv", "--quiet", "--python", sys.executable, venv)
    pip = venv / "bin" / "pip"
    options = f"--quiet --constraint {PROJECT / 'constraints' / 'airflow-3.3.txt'}"
    pip.write_text(f'#!/bin/sh\nshift\nexec {uv} pip install --python {venv}/bin/python {options} "$@"\n')
    pip.chmod(0o755)
    return venv / "bin" / "python"


def environment(python, home):
    """Return the environment of a newcomer, who has set nothing about Airflow."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTEST", "PYTHON"))}
    return env | {"PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}", "HOME": str(home)}


def test_what_is_in_the_wheel(wheel):
    """The wheel has the types' marker, the example DAGs, the licence and links to the documentation, and no tests."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = (archive.read(name).decode() for name in names if name.endswith("/METADATA"))
    examples = {
        f"airflow_provider_synapse_livy/{path.relative_to(PROJECT)}" for path in PROJECT.glob("example_dags/*.py")
    }
    assert examples | {"airflow_provider_synapse_livy/py.typed"} <= set(names)
    assert [name for name in names if "tests/" in name] == []
    assert "License-File: LICENSE" in metadata
    assert "Project-URL: Documentation, " in metadata
    # A package index shows README beside no repository.
    assert re.findall(r"\]\((?!https://|#)[^)]*", metadata) == []
    assert "/main/docs/pictures/log.png)" in metadata


def test_readme_in_a_project_of_its_own(tmp_path, wheel, python):
    """In a project that has the wheel and nothing else of ours, the shown test of a DAG passes at the first try."""
    env = environment(python, tmp_path)
    run(python.with_name("pip"), "install", f"{wheel}[emulator]", env=env)
    project = tmp_path / "project"
    write_project(project)
    assert "3 passed" in run(python.with_name("pytest"), "-q", cwd=project, env=env)
    # pyproject.toml declares the command.
    version = run(python.with_name("synapse-livy-emulator"), "--version", cwd=project, env=env)
    assert version.startswith("synapse-livy-emulator ")


def as_typed(block, wheel):
    """
    Return commands as a newcomer types them. The local Synapse runs in the background, as in another terminal.

    :param block: the commands that a page shows.
    :param wheel: the wheel to install, as the package may not be published yet.
    """
    package = r"(?<=pip install )'?[\w-]+(\[\w+\])?'?"
    block = re.sub(package, lambda found: shlex.quote(f"{wheel}{found[1] or ''}"), block)
    background = r"\1 >emulator.log & trap 'kill %1' EXIT\nuntil grep -q . emulator.log; do sleep 0.2; done"
    return re.sub(r"^(synapse-livy-emulator .*)$", background, block, flags=re.MULTILINE)


def shell_script(page, port, wheel):
    """
    Return what a newcomer types who reads a page alone, from its beginning to the run of its DAG.

    :param page: the page.
    :param port: the port of the local Synapse.
    :param wheel: the wheel to install.
    """
    text = PAGES[page][: PAGES[page].index("airflow dags test")]
    text += PAGES[page][len(text) :].split("```")[0] + "```"
    lines = ["set -e"]
    for before, language, block in re.findall(r"(.*?)^```(\w+)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        if language == "bash":
            lines.append(as_typed(block, wheel))
        elif saved := re.search(r"`(dags/\w+\.py)`[^`]*$", before):
            lines.append(f"mkdir -p dags; cat >{saved[1]} <<'END OF FILE'\n{block}END OF FILE")
    return "\n".join(lines).replace("8998", str(port))


@pytest.mark.parametrize("page", WAYS)
def test_newcomer(tmp_path, wheel, python, page):
    """In an empty folder, the commands and files of one page alone lead to a DAG that runs and ends well."""
    (port,) = free_ports(1)
    script = shell_script(page, port, wheel)
    output = run("bash", "-c", script, cwd=tmp_path, env=environment(python, tmp_path / "home"))
    assert "state=success" in output, output
    assert re.search(r"Spark session 0 in pool sparkpool: .*→ idle", output), output
    assert (tmp_path / "dags" / "spark_session.py").is_file()
