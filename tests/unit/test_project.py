"""What contributors and releases rely on: workflows, hooks, issue forms, the check of a tag, the package's metadata."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import metadata

import check_release
import pytest
import yaml
from packaging.requirements import Requirement

from airflow_provider_synapse_livy import __version__
from airflow_provider_synapse_livy.connection.identity import AuthType
from airflow_provider_synapse_livy.get_provider_info import get_provider_info
from tests.support.project import PROJECT

MAKEFILE = (PROJECT / "Makefile").read_text()
WORKFLOWS = sorted((PROJECT / ".github" / "workflows").glob("*.yml"))


def recipe(target):
    """Return the commands of a target of the Makefile."""
    found = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    return found[1].replace("$(BIN)/", "").strip().split("\n\t")


def steps(path):
    """Return the steps of a workflow's jobs."""
    jobs = yaml.safe_load(path.read_text())["jobs"].values()
    return [step for job in jobs for step in job.get("steps", [])]


def test_hooks_are_those_of_make_lint():
    """The hooks before a commit are the commands of make lint."""
    (repository,) = yaml.safe_load((PROJECT / ".pre-commit-config.yaml").read_text())["repos"]
    entries = [hook["entry"].removeprefix(".venv/airflow-3.3/bin/") for hook in repository["hooks"]]
    assert entries == recipe("lint")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_run_what_exists(path):
    """Every target and script that a workflow runs exists, and its jobs may only read, but for the publication."""
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    commands = " ".join(step.get("run", "") for step in steps(path)) + " ".join(
        f"make {target}"
        for job in workflow["jobs"].values()
        for target in job.get("strategy", {}).get("matrix", {}).get("target", [])
    )
    for target in re.findall(r"make ([a-z-]+)", commands):
        assert recipe(target), target
    for script in re.findall(r"python (\S+\.py)", commands):
        assert (PROJECT / script).is_file(), script


def test_matrix_is_what_is_supported():
    """CI tests every minor version of Airflow, and every Python that the package names."""
    matrix = yaml.safe_load((PROJECT / ".github/workflows/ci.yml").read_text())["jobs"]["test"]["strategy"]["matrix"]
    versions = re.search(r"^VERSIONS \?= (.*)$", MAKEFILE, re.MULTILINE)[1].split()
    assert set(matrix["set"]) == {f"airflow-{version}" for version in versions} | {"lowest"}
    named = re.findall(r"Python :: (3\.\d+)", (PROJECT / "pyproject.toml").read_text())
    assert {*matrix["python"], *(extra["python"] for extra in matrix["include"])} == set(named)


def test_only_the_publication_may_sign():
    """Trusted publishing is the last job, in an environment of its own, and attests to what CI has built."""
    jobs = yaml.safe_load((PROJECT / ".github/workflows/release.yml").read_text())["jobs"]
    assert [name for name, job in jobs.items() if "permissions" in job] == ["publish"]
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    assert (jobs["ci"]["needs"], jobs["publish"]["needs"], jobs["publish"]["environment"]) == ("check", "ci", "release")
    assert jobs["publish"]["steps"][-1]["with"] == {"attestations": True}


def test_no_registry_is_named():
    """Neither workflows nor documents name a package registry's host: whoever builds may use another."""
    written = [PROJECT / "CONTRIBUTING.md", PROJECT / "pyproject.toml", *(PROJECT / "docs").rglob("*.md")]
    for path in [*WORKFLOWS, *written]:
        assert not re.search(r"pypi\.org|pythonhosted|--index-url", path.read_text()), path


def test_issue_form_asks_for_what_is_needed():
    """Whoever reports a bug is asked for versions, activity id and identity, and can choose every identity."""
    form = yaml.safe_load((PROJECT / ".github/ISSUE_TEMPLATE/bug.yml").read_text())["body"]
    fields = {field["id"]: field for field in form if "id" in field}
    assert {name for name, field in fields.items() if field.get("validations", {}).get("required")} >= {
        "versions", "activity-id", "log", "identity"
    }  # fmt: skip
    assert set(AuthType) <= set(fields["identity"]["attributes"]["options"])


@pytest.fixture
def project(tmp_path):
    """Return a folder with what a release is checked by, ready to be released."""
    (tmp_path / "airflow_provider_synapse_livy").mkdir()
    (tmp_path / "airflow_provider_synapse_livy/__init__.py").write_text('__version__ = "1.2.3"\n')
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## 1.2.3 (2026-12-01)\n")
    (tmp_path / "pyproject.toml").write_text('[project.urls]\nSource = "https://host.example/us/it"\n')
    return tmp_path


def test_release_needs_tag_changelog_and_links(project):
    """A tag is released if it is the version, the changelog dates it, and the links lead to the repository."""
    assert list(check_release.problems(project, "v1.2.3", "https://host.example/us/it")) == []
    (wrong_tag,) = check_release.problems(project, "v1.2.4")
    assert "The tag is v1.2.4, but the version is 1.2.3" in wrong_tag
    (elsewhere,) = check_release.problems(project, "v1.2.3", "https://host.example/others/it")
    assert "this repository is https://host.example/others/it" in elsewhere
    (project / "CHANGELOG.md").write_text("## 1.2.3 (unreleased)\n")
    (undated,) = check_release.problems(project, "v1.2.3")
    assert "CHANGELOG.md has no heading" in undated
    assert check_release.version(PROJECT) == __version__


@pytest.mark.parametrize(("python", "has_distutils"), [("3.11", True), ("3.12", False), ("3.13", False)])
def test_spark_has_distutils(python, has_distutils):
    """With the extra [spark], setuptools is there where Python has no distutils, which pyspark imports."""
    extras = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    needed = [Requirement(line) for line in extras["spark"]]
    names = {one.name for one in needed if one.marker is None or one.marker.evaluate({"python_version": python})}
    assert ("setuptools" not in names) == has_distutils


def test_metadata_leads_to_the_documentation():
    """The package names its author, and where documentation, source, changelog and issues are."""
    declared = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    assert list(declared["urls"]) == ["Documentation", "Source", "Changelog", "Issues"]
    assert declared["authors"]
    installed = metadata("airflow-provider-synapse-livy").get_all("Project-URL")
    assert f"Documentation, {declared['urls']['Documentation']}" in installed


def test_pages_that_the_provider_info_names_exist():
    """The guides and the logo that the provider info names are in the project."""
    (integration,) = get_provider_info()["integrations"]
    for path in [*integration["how-to-guide"], f"/docs{integration['logo']}"]:
        assert (PROJECT / path.lstrip("/")).is_file(), path
