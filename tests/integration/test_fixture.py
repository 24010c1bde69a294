"""The fixture ``synapse_livy_emulator`` in projects of users, and what it does to projects that do not use it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.readme import write_project

pytestmark = pytest.mark.wheel

#: Name the fixture, so that Airflow is prepared, without using it.
NAMED = "# synapse_livy_emulator\n"
#: Of a database that the user has set, none is made: it takes some ten seconds, and these tests use none.
NO_DATABASE = {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "postgresql://nobody@127.0.0.1:9/none"}


def run_pytest(project, *arguments, **environment):
    """Run pytest in a project whose user has set nothing about Airflow, and return exit code and output."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTEST", "COV"))}
    home = project.parent / "home"
    home.mkdir(exist_ok=True)
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *arguments],
        cwd=project,
        env=inherited | {"HOME": str(home)} | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert not list(home.iterdir())  # an Airflow without AIRFLOW_HOME would have made its folder there
    return run.returncode, run.stdout + run.stderr


@pytest.fixture
def project(tmp_path):
    """Return a function that writes a project's files, each given by its path, and returns its folder."""

    def write(files):
        folder = tmp_path / "project"
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        return folder

    return write


@pytest.fixture(scope="module")
def first_run(tmp_path_factory):
    """Run a plain ``pytest`` in a new folder with the README's DAG and tests; return exit code and output."""
    # Starting Airflow twice and creating its database may take longer than a test is given, so this is no part of one.
    folder = tmp_path_factory.mktemp("newcomer") / "project"
    write_project(folder)
    return run_pytest(folder, PYTEST_ADDOPTS="-rP")  # show the logs of tests that pass


def test_first_run_of_a_newcomer(first_run):
    """
    In a new folder with the README's DAG and test, a plain ``pytest`` passes at the first try.

    The task's log has no warning about a value of the connection that is too short to mask.
    """
    code, output = first_run
    assert (code, "3 passed" in output) == (0, True), output
    assert "Spark session 0 in pool " in output
    assert "Skipping masking" not in output


def test_other_projects_are_left_alone(project):
    """Where no test file names the fixture, environment and sys.path stay, and nothing of Airflow is imported."""
    test = """
import os, sys

def test_nothing_happened():
    assert [name for name in os.environ if name.startswith("AIRFLOW")] == []
    assert [path for path in sys.path if path.endswith("dags")] == []
    loaded = [name for name in sys.modules if name.startswith("airflow")]
    assert sorted(loaded) == ["airflow_provider_synapse_livy", "airflow_provider_synapse_livy.pytest_plugin"]
"""
    folder = project({"dags/mine.py": "", "tests/test_mine.py": test})
    code, output = run_pytest(folder)
    assert code == 0, output
    assert [path.name for path in (folder / ".pytest_cache").iterdir() if path.name == "d"] == []


@pytest.mark.parametrize("name", ["AIRFLOW_HOME", "AIRFLOW_CONFIG"])
def test_airflow_of_the_user_is_left_alone(project, tmp_path, name):
    """Where the user has set AIRFLOW_HOME or AIRFLOW_CONFIG, nothing else is set."""
    test = f"""{NAMED}
import os

def test_nothing_else_is_set():
    assert {{n: v for n, v in os.environ.items() if n.startswith("AIRFLOW")}} == {{{name!r}: "mine"}}
"""
    code, output = run_pytest(project({"dags/mine.py": "", "test_mine.py": test}), **{name: "mine"})
    assert code == 0, output


def test_single_settings_of_the_user_stay(project):
    """A DAGs folder and the choice of examples that the user has set stay."""
    test = f"""{NAMED}
import os

def test_settings():
    assert os.environ["AIRFLOW_HOME"]
    assert os.environ["AIRFLOW__CORE__DAGS_FOLDER"] == "elsewhere"
    assert os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] == "True"
"""
    settings = {"AIRFLOW__CORE__DAGS_FOLDER": "elsewhere", "AIRFLOW__CORE__LOAD_EXAMPLES": "True"} | NO_DATABASE
    code, output = run_pytest(project({"dags/mine.py": "", "test_mine.py": test}), **settings)
    assert code == 0, output


IMPORTING = """
import os
from pathlib import Path

from dags.mine import NUMBER

def test_import():
    assert NUMBER == 42
    assert os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] == "False"
    folder = Path(os.environ["AIRFLOW__CORE__DAGS_FOLDER"])
    assert folder.name == "dags" and (folder / "mine.py").exists()
"""


@pytest.mark.parametrize(
    ("dags", "test_file", "conftest", "mode"),
    [
        ("dags", "test_mine.py", None, "prepend"),
        ("dags", "test_mine.py", None, "importlib"),
        ("dags", "tests/dags/test_mine.py", None, "prepend"),
        ("team/dags", "team/tests/test_mine.py", None, "prepend"),
        ("dags", "tests/unit/test_mine.py", "conftest.py", "importlib"),
        ("dags", "tests/unit/test_mine.py", "tests/conftest.py", "prepend"),
    ],
)
def test_import_of_a_dag(project, dags, test_file, conftest, mode):
    """
    A test file imports from the uppermost folder ``dags``, and files there from each other, as in Airflow.

    The fixture's name may stand in the test file, or in a conftest.py above it.
    """
    files = {f"{dags}/mine.py": "from helper import NUMBER", f"{dags}/helper.py": "NUMBER = 42"}
    files |= {conftest: NAMED, test_file: IMPORTING} if conftest else {test_file: NAMED + IMPORTING}
    code, output = run_pytest(project(files), f"--import-mode={mode}", **NO_DATABASE)
    assert code == 0, output


TELLING_ITS_HOME = f"""{NAMED}
import os
from pathlib import Path

home = Path(os.environ["AIRFLOW_HOME"])
Path("homes", os.environ.get("PYTEST_XDIST_WORKER", "alone")).write_text(str(home))

def test_home():
    assert home.is_dir()
"""


def test_each_process_has_its_own_airflow(project):
    """With pytest-xdist, the tests of each process have an Airflow of their own: they would block one SQLite file."""
    folder = project({"test_mine.py": TELLING_ITS_HOME, "homes/gw0": "", "homes/gw1": ""})
    code, output = run_pytest(folder, "-n", "2", **NO_DATABASE)
    assert code == 0, output
    homes = {path.read_text() for path in (folder / "homes").iterdir()}
    assert [Path(home).parent for home in homes] == [folder / ".pytest_cache" / "d"] * 2


def test_without_a_cache(project):
    """Without pytest's cache, Airflow's home is a temporary folder that does not outlive the run."""
    folder = project({"test_mine.py": TELLING_ITS_HOME, "homes/alone": ""})
    code, output = run_pytest(folder, "-p", "no:cacheprovider", **NO_DATABASE)
    assert code == 0, output
    home = Path((folder / "homes" / "alone").read_text())
    assert folder not in home.parents
    assert not home.exists()


USING = """
def test_mine(synapse_livy_emulator):
    assert not "reached"
"""


def test_airflow_that_was_imported_too_early(project):
    """If Airflow was imported before it could be prepared, a test that fails says so, and what to do."""
    folder = project({"conftest.py": "import sys, types\nsys.modules['airflow'] = types.ModuleType('airflow')"})
    project({"test_mine.py": USING})
    code, output = run_pytest(folder)
    assert (code, "not 'reached'" in output) == (1, True), output
    assert "synapse_livy_emulator has not prepared Airflow: a conftest.py or an earlier test file had " in output
    assert "\nFix: import Airflow later" in output


def test_database_that_cannot_be_created(project):
    """If Airflow's database cannot be created, the test fails with a fix, and the next run tries again."""
    folder = project({"test_mine.py": USING})
    code, output = run_pytest(folder, AIRFLOW__LOGGING__LOGGING_CONFIG_CLASS="missing.module")
    assert (code, "not 'reached'" in output) == (1, False), output
    assert "airflow db migrate failed with exit code 1." in output
    assert "Fix: mend what the output says" in output
    assert "missing.module" in output
    assert list(folder.rglob("database-is-ready")) == []


def test_database_of_the_user(project):
    """A database that the user has set is not migrated."""
    code, output = run_pytest(project({"test_mine.py": USING}), **NO_DATABASE)
    assert (code, "not 'reached'" in output) == (1, True), output


SAYING_ITS_HOME = """
import os, sys

sys.modules["airflow"] = os  # as if this file had imported it, for all that come later

def test_home():
    assert "synapse-livy-airflow" in os.environ.get("AIRFLOW_HOME", "none")
"""


@pytest.mark.parametrize("arguments", [(), ("tests",)])
def test_earlier_test_file(project, arguments):
    """Airflow is prepared before the first test file of a run is imported, if a later one uses the fixture."""
    files = {"tests/dags/test_first.py": SAYING_ITS_HOME, "tests/spark/test_mine.py": NAMED + SAYING_ITS_HOME}
    code, output = run_pytest(project(files), *arguments, "--import-mode=importlib", **NO_DATABASE)
    assert (code, "2 passed" in output) == (0, True), output


def test_test_file_beside(project):
    """A test file in a run in which another uses the fixture finds Airflow's database, also while it is imported."""
    test = """
from airflow.models import Variable
from airflow.utils.session import create_session

with create_session() as session:
    NUMBER = session.query(Variable).count()

def test_database():
    assert NUMBER == 0
"""
    code, output = run_pytest(project({"tests/test_a.py": test, "tests/test_b.py": NAMED + "def test_b(): pass"}))
    assert code == 0, output


@pytest.mark.parametrize("name", ["AIRFLOW_HOME", "AIRFLOW_CONFIG"])
def test_own_airflow_without_a_database(project, tmp_path, name):
    """If a test fails because the user's own Airflow has no database, it says whose it is, and what to do."""
    test = """
from sqlalchemy.exc import OperationalError

def test_mine(synapse_livy_emulator):
    raise OperationalError("select", {}, Exception("no such table"))

def test_other():
    raise OperationalError("select", {}, Exception("no such table"))
"""
    code, output = run_pytest(project({"test_mine.py": test}), **{name: str(tmp_path)})
    assert (code, output.count(f"{name} is set, so its database is used as it is")) == (1, 1), output
    assert f"\nFix: run airflow db migrate, or unset {name}: " in output


def test_default_options(synapse_livy_emulator):
    """Without a marker, the emulator runs twenty times as fast as Synapse, over plain http."""
    assert synapse_livy_emulator.server.time_scale == 0.05
    assert synapse_livy_emulator.url.startswith("http://127.0.0.1:")


@pytest.mark.synapse_livy(time_scale=0.5, rate_limit=7)
class TestMarkers:
    """The marker ``synapse_livy``."""

    def test_on_the_class(self, synapse_livy_emulator):
        """A marker on the class sets the emulator's options."""
        assert (synapse_livy_emulator.server.time_scale, synapse_livy_emulator.server.rate_limit) == (0.5, 7)

    @pytest.mark.synapse_livy(time_scale=0.001, tls=True)
    def test_on_the_test(self, synapse_livy_emulator):
        """A marker on the test goes before that on its class; other options of the class stay."""
        assert (synapse_livy_emulator.server.time_scale, synapse_livy_emulator.server.rate_limit) == (0.001, 7)
        assert synapse_livy_emulator.url.startswith("https://")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("0.01", "@pytest.mark.synapse_livy(0.01,): it takes options by name only.\nFix: write @pytest.mark."),
        ("speed=2", "unexpected keyword argument 'speed'"),
    ],
)
def test_wrong_markers(project, arguments, message):
    """A marker with an option that does not exist, or without its name, is an error that says so."""
    test = f"import pytest\n\n@pytest.mark.synapse_livy({arguments}){USING}"
    code, output = run_pytest(project({"test_mine.py": test}), AIRFLOW_HOME="unused")
    assert (code, "not 'reached'" in output) == (1, False), output
    assert message in re.sub(r"\nE +", "\n", output)
