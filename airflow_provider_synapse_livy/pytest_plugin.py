"""
The pytest fixture ``synapse_livy_emulator``, for tests of DAGs.

pytest loads this module in every project that has the package installed. So it imports nothing of Airflow or of the
emulator until the fixture is used, and changes nothing for a run of pytest in which no test file names the fixture.

For a run in which one does, Airflow is prepared, so that ``dag.test()`` works in a new folder, in all test files of
that run. Airflow reads its settings when it is imported, which is often when a test file imports its DAG. So they are
set before pytest imports the first test file, if there is one among those it was asked for in which, or in a
conftest.py above which, the name ``synapse_livy_emulator`` is written:

- The DAGs folder is the folder ``dags`` in pytest's root directory or, if there is none, in the next folder on the way
  down to the test file. When such a file is imported, it and its parent are appended to ``sys.path``: ``from
  dags.my_dag import dag`` works, and so do imports between files in ``dags``.
- If neither ``AIRFLOW_HOME`` nor ``AIRFLOW_CONFIG`` is set, ``AIRFLOW_HOME`` becomes a folder in pytest's cache, one
  for each version of Airflow; Airflow takes the DAGs folder from there, and leaves its examples out. ``airflow db
  migrate`` creates the database, which takes some ten seconds, once.

If they are set, Airflow is the user's own, with its database and its DAGs folder, and stays as it is.
"""

from __future__ import annotations

import fnmatch
import functools
import importlib.metadata
import inspect
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
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
#: Why there is no database in the home that this module has chosen.
_NO_DATABASE = pytest.StashKey[str]()
#: Whether Airflow was imported before this module could choose its home.
_IMPORTED_TOO_EARLY = pytest.StashKey[bool]()

#: Either means that Airflow is the user's own.
_USERS_VARIABLES = ("AIRFLOW_HOME", "AIRFLOW_CONFIG")
#: How many items of a list are looked at for DAGs.
_LOOKED_AT = 1000


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker that sets the emulator's options."""
    config.addinivalue_line(
        "markers",
        f"{_MARKER}(time_scale=0.05, poll_interval=0.1, database=True, ...): options of the fixture {_FIXTURE}; "
        "all others are those of SynapseEmulator",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Prepare Airflow before pytest imports any test file, if one of those to come uses the fixture."""
    config = session.config
    # With pytest-xdist, others collect than the process that has this plugin of it.
    if config.pluginmanager.has_plugin("dsession") or any(name in os.environ for name in _USERS_VARIABLES):
        return
    first = next((file for file in _test_files(config) if _uses_the_fixture(file, config)), None)
    if first:
        _choose_airflow_home(config, _dags_folder(first, config))


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> None:
    """Let a test file that uses the fixture import from the DAGs folder; prepare Airflow if nobody saw it coming."""
    if not _uses_the_fixture(module_path, parent.config):
        return
    if dags := _dags_folder(module_path, parent.config):
        sys.path += [path for path in (str(dags.parent), str(dags)) if path not in sys.path]
    _choose_airflow_home(parent.config, dags)


def _test_files(config: pytest.Config) -> Iterator[Path]:
    """Yield the files that pytest may import because of its arguments, and perhaps some that it will not."""
    patterns = [pattern.rpartition("/")[2] for pattern in config.getini("python_files")]
    for argument in config.args:
        path = Path(config.invocation_params.dir, argument.partition("::")[0])
        if path.is_file():
            yield path
        for folder, folders, names in os.walk(path):
            folders[:] = sorted(name for name in folders if not _is_skipped(Path(folder, name), config))
            yield from (Path(folder, name) for name in sorted(names) if _matches(name, [*patterns, "conftest.py"]))


def _is_skipped(folder: Path, config: pytest.Config) -> bool:
    return _matches(folder.name, config.getini("norecursedirs")) or (folder / "pyvenv.cfg").exists()


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)


def _uses_the_fixture(test_file: Path, config: pytest.Config) -> bool:
    """Return whether a test file, or a conftest.py above it, names the fixture."""
    conftests = [folder / "conftest.py" for folder in _folders(test_file, config)]
    return any(_names_the_fixture(file) for file in (test_file, *conftests))


@functools.cache
def _names_the_fixture(file: Path) -> bool:
    try:
        return _FIXTURE.encode() in file.read_bytes()
    except OSError:
        return False


def _folders(test_file: Path, config: pytest.Config) -> list[Path]:
    """Return the folders of a test file from pytest's root directory down."""
    root = config.rootpath
    return [f for f in test_file.parents if f == root or root in f.parents][::-1] or [test_file.parent]


def _dags_folder(test_file: Path, config: pytest.Config) -> Path | None:
    return next((folder / "dags" for folder in _folders(test_file, config) if (folder / "dags").is_dir()), None)


def _choose_airflow_home(config: pytest.Config, dags: Path | None) -> None:
    """Set Airflow's home and create its database, unless the user has chosen a home, or this was done before."""
    if any(name in os.environ for name in _USERS_VARIABLES):
        return
    if "airflow" in sys.modules:
        config.stash[_IMPORTED_TOO_EARLY] = True
        return
    home = config.stash[_HOME] = _home_folder(config)
    os.environ["AIRFLOW_HOME"] = str(home)
    os.environ.setdefault("AIRFLOW__CORE__LOAD_EXAMPLES", "False")
    os.environ.setdefault("AIRFLOW__CORE__DAGS_FOLDER", str(dags or home / "dags"))
    try:
        _create_database(home)
    except RuntimeError as error:
        config.stash[_NO_DATABASE] = str(error)  # for the tests that need it


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


def _create_database(home: Path) -> None:
    """
    Create Airflow's database, unless there is one, or the user has set another.

    :raises RuntimeError: if it cannot be created.
    """
    if "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN" in os.environ:
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
    runs twenty times as fast as that of Synapse. Tasks poll every 0.1 s if they, their DAGs, lists of those or the
    modules that they are in are among the names of the test file; for others, there is
    :func:`~airflow_provider_synapse_livy.testing.short_intervals`.

    ``@pytest.mark.synapse_livy(...)`` sets options: ``poll_interval``, the seconds between two polls, or None to leave
    the tasks as they are; ``database``, False for a test that does not mind if Airflow has no database; and any of
    :class:`SynapseEmulator`, such as ``time_scale=0.01``. For another connection, set ``AIRFLOW_CONN_...`` to the
    result of ``airflow_connection()``. What is done so that ``dag.test()`` works in a new folder, the documentation of
    this module says.
    """
    from airflow_provider_synapse_livy.emulator.local import DEFAULT_POOL, SynapseEmulator
    from airflow_provider_synapse_livy.testing import POLL_INTERVAL, short_intervals

    options = {"time_scale": 0.05, "poll_interval": POLL_INTERVAL, "database": True} | _options(request.node)
    interval, needs_database = options.pop("poll_interval"), options.pop("database")
    if request.config.stash.get(_IMPORTED_TOO_EARLY, False):
        request.node.add_report_section("setup", _FIXTURE, _IMPORTED_TOO_EARLY_MESSAGE)
    if needs_database and (failure := request.config.stash.get(_NO_DATABASE, None)):
        raise RuntimeError(failure)
    tasks = [] if interval is None else _imported_tasks(request.module, request.config.rootpath)
    with SynapseEmulator(**options) as emulator, short_intervals(tasks, interval or 0.0):
        monkeypatch.setenv("AIRFLOW_CONN_SYNAPSE_LIVY_DEFAULT", emulator.airflow_connection(DEFAULT_POOL))
        yield emulator


def _imported_tasks(test_file: ModuleType, root: Path) -> list[Any]:
    """Return the tasks among the names of a test file, in DAGs, lists, dicts and modules of the user as well."""
    tasks: list[Any] = []
    seen: set[int] = set()
    left = _values(test_file)
    while left:
        value = left.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(_attribute(value, "task_dict"), dict):
            tasks += value.task_dict.values()
        elif _attribute(value, "task_id") is not None:
            tasks.append(value)
        else:
            left += _inside(value, root)
    return tasks


def _values(module: ModuleType) -> list[Any]:
    return [value for name, value in vars(module).items() if not name.startswith("__")]


def _inside(value: Any, root: Path) -> Iterator[Any]:
    """Yield what a module of the user, a list or a dict holds."""
    items: Iterable[Any] = ()
    if isinstance(value, ModuleType):
        file = Path(getattr(value, "__file__", None) or "/")
        if root in file.parents and "site-packages" not in file.parts:
            items = _values(value)
    elif isinstance(value, dict):
        items = value.values()
    elif isinstance(value, list | tuple | set):
        items = value
    return itertools.islice(items, _LOOKED_AT)


def _attribute(value: Any, name: str) -> Any:
    """Return an attribute without running anybody's code, as a proxy's may raise anything."""
    return None if isinstance(value, type) else inspect.getattr_static(value, name, None)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """If a request to the database of the user's own Airflow has failed in a test with the fixture, say whose it is."""
    name = next((name for name in _USERS_VARIABLES if name in os.environ), None)
    is_users = name is not None and _HOME not in item.config.stash
    if not is_users or call.excinfo is None or _FIXTURE not in getattr(item, "fixturenames", ()):
        return
    if call.excinfo.type.__module__.startswith("sqlalchemy."):
        item.add_report_section(call.when, _FIXTURE, _DATABASE_OF_THE_USER_MESSAGE.format(name=name))


#: pytest shows it if the test fails.
_IMPORTED_TOO_EARLY_MESSAGE = (
    f"{_FIXTURE} has not prepared Airflow: a conftest.py or an earlier test file had imported Airflow before.\n"
    "Fix: import Airflow later or, before pytest starts, set AIRFLOW_HOME and run airflow db migrate."
)


_DATABASE_OF_THE_USER_MESSAGE = (
    "{name} is set, so its database is used as it is, and that has answered with an error.\n"
    f"Fix: run airflow db migrate, or unset {{name}}: then {_FIXTURE} prepares an Airflow."
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
