"""
The pytest fixture ``synapse_livy_emulator``, for tests of DAGs.

pytest loads this module in every project that has the package installed. So it imports nothing of Airflow or of the
emulator until the fixture is used, and changes nothing for test files that do not name the fixture.

For a test file that does, Airflow is prepared, so that ``dag.test()`` works in a new folder. Airflow reads its settings
when it is imported, which is often when a test file imports its DAG. So they are set right before pytest imports the
first test file in which, or in a conftest.py above which, the name ``synapse_livy_emulator`` is written:

- The DAGs folder is the folder ``dags`` in pytest's root directory or, if there is none, in the next folder on the way
  down to the test file. It and its parent are appended to ``sys.path``: ``from dags.my_dag import dag`` works, and so
  do imports between files in ``dags``.
- If neither ``AIRFLOW_HOME`` nor ``AIRFLOW_CONFIG`` is set, ``AIRFLOW_HOME`` becomes a folder in pytest's cache, one
  for each version of Airflow; Airflow takes the DAGs folder from there, and leaves its examples out. Before the first
  test with the fixture, ``airflow db migrate`` creates the database, which takes some ten seconds, once.

If they are set, Airflow is the user's own, with its database and its DAGs folder, and stays as it is.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from airflow_provider_synapse_livy.emulator import SynapseEmulator

__all__ = ["synapse_livy_emulator"]

_FIXTURE = "synapse_livy_emulator"
_MARKER = "synapse_livy"

#: Where Airflow's home is if this module has chosen it.
_HOME = pytest.StashKey[Path]()
#: Whether Airflow was imported before this module could choose its home.
_IMPORTED_TOO_EARLY = pytest.StashKey[bool]()


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker that sets the emulator's options."""
    config.addinivalue_line(
        "markers",
        f"{_MARKER}(time_scale=0.05, poll_interval=0.1, database=True, ...): options of the fixture {_FIXTURE}; "
        "all others are those of SynapseEmulator",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> None:
    """Prepare Airflow before pytest imports the first test file that uses the fixture."""
    config, root = parent.config, parent.config.rootpath
    folders = [folder for folder in module_path.parents if folder == root or root in folder.parents]
    folders = folders[::-1] or [module_path.parent]  # from the root down
    if any(_names_the_fixture(file) for file in (module_path, *(folder / "conftest.py" for folder in folders))):
        dags = next((folder / "dags" for folder in folders if (folder / "dags").is_dir()), None)
        if dags:
            sys.path += [path for path in (str(dags.parent), str(dags)) if path not in sys.path]
        _choose_airflow_home(config, dags)


def _names_the_fixture(file: Path) -> bool:
    try:
        return _FIXTURE.encode() in file.read_bytes()
    except OSError:
        return False


def _choose_airflow_home(config: pytest.Config, dags: Path | None) -> None:
    if "AIRFLOW_HOME" in os.environ or "AIRFLOW_CONFIG" in os.environ:
        return
    if "airflow" in sys.modules:
        config.stash[_IMPORTED_TOO_EARLY] = True
        return
    home = config.stash[_HOME] = _home_folder(config)
    os.environ["AIRFLOW_HOME"] = str(home)
    os.environ.setdefault("AIRFLOW__CORE__LOAD_EXAMPLES", "False")
    os.environ.setdefault("AIRFLOW__CORE__DAGS_FOLDER", str(dags or home / "dags"))


def _home_folder(config: pytest.Config) -> Path:
    """Return a folder that only this version of Airflow and, with pytest-xdist, only this process use."""
    name = "-".join(["synapse-livy-airflow", _airflow_version(), os.environ.get("PYTEST_XDIST_WORKER", "main")])
    cache = getattr(config, "cache", None)
    if cache is not None:
        try:
            return Path(cache.mkdir(name))
        except OSError:
            pass  # a read-only project
    folder = tempfile.mkdtemp(prefix=f"{name}-")
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    return Path(folder)


def _airflow_version() -> str:
    for distribution in ("apache-airflow-core", "apache-airflow"):
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "unknown"


@pytest.fixture(scope="session")
def _airflow_database(pytestconfig: pytest.Config) -> None:
    """Create Airflow's database, if Airflow's home is ours and has none yet."""
    home = pytestconfig.stash.get(_HOME, None)
    if home is None or "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN" in os.environ:
        return
    is_ready = home / "database-is-ready"
    import fcntl  # Windows has none, and pytest loads this module there, too

    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until it is closed; another pytest may be at it
        if not is_ready.exists():
            for leftover in home.glob("airflow.db*"):
                leftover.unlink()
            _migrate_database(home)
            is_ready.touch()


def _migrate_database(home: Path) -> None:
    command = [sys.executable, "-m", "airflow", "db", "migrate"]
    migration = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)  # noqa: S603
    if migration.returncode:
        raise RuntimeError(
            f"Airflow's database in {home}: airflow db migrate failed with exit code {migration.returncode}.\n"
            "Fix: mend what the output says, or set AIRFLOW_HOME to an Airflow whose database exists.\n"
            f"{migration.stdout[-5000:]}{migration.stderr[-5000:]}"
        )


@pytest.fixture
def synapse_livy_emulator(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[SynapseEmulator]:
    """
    Run a local Synapse during the test, and point the Airflow connection ``synapse_livy_default`` at it.

    The connection's Spark pool is ``sparkpool``. A session is idle after three seconds, because the emulator's clock
    runs twenty times as fast as that of Synapse, and the tasks of the DAGs that the test file has imported poll every
    0.1 s. ``@pytest.mark.synapse_livy(...)`` sets options: ``poll_interval``, the seconds between two polls, or None to
    leave the tasks as they are; ``database``, False for a test that runs no DAG and needs no database of Airflow; and
    any of :class:`SynapseEmulator`, such as ``time_scale=0.01``. For another connection, set ``AIRFLOW_CONN_...`` to
    the result of ``airflow_connection()``. What is done so that ``dag.test()`` works in a new folder, the documentation
    of this module says.
    """
    from airflow_provider_synapse_livy.emulator.local import DEFAULT_POOL, SynapseEmulator
    from airflow_provider_synapse_livy.testing import POLL_INTERVAL, short_intervals

    options = {"time_scale": 0.05, "poll_interval": POLL_INTERVAL, "database": True} | _options(request.node)
    interval, needs_database = options.pop("poll_interval"), options.pop("database")
    if request.config.stash.get(_IMPORTED_TOO_EARLY, False):
        request.node.add_report_section("setup", _FIXTURE, _IMPORTED_TOO_EARLY_MESSAGE)
    if needs_database:
        request.getfixturevalue(_airflow_database.__name__)
    tasks = [] if interval is None else _imported_tasks(request.module)
    with SynapseEmulator(**options) as emulator, short_intervals(tasks, interval or 0.0):
        monkeypatch.setenv("AIRFLOW_CONN_SYNAPSE_LIVY_DEFAULT", emulator.airflow_connection(DEFAULT_POOL))
        yield emulator


def _imported_tasks(test_file: ModuleType) -> list[Any]:
    """Return the tasks of the DAGs that are among the names of a test file."""
    dags = [value for value in vars(test_file).values() if isinstance(getattr(value, "task_dict", None), dict)]
    return [task for dag in dags for task in dag.task_dict.values()]


#: pytest shows it if the test fails.
_IMPORTED_TOO_EARLY_MESSAGE = (
    f"{_FIXTURE} has not prepared Airflow: something, such as a conftest.py, had imported Airflow before.\n"
    "Fix: import Airflow later or, before pytest starts, set AIRFLOW_HOME and run airflow db migrate."
)


def _options(node: pytest.Item) -> dict[str, Any]:
    """Return the options of the emulator that markers set, those on the test before those on its class or module."""
    options: dict[str, Any] = {}
    for marker in reversed(list(node.iter_markers(_MARKER))):
        if marker.args:
            raise pytest.UsageError(
                f"@pytest.mark.{_MARKER}{marker.args}: it takes options by name only.\n"
                f"Fix: write @pytest.mark.{_MARKER}(time_scale=...)."
            )
        options |= marker.kwargs
    return options
