"""
Check that a tag may be released: ``python dev/check_release.py v1.2.3 [address of the repository]``.

It needs nothing but Python, since it runs before anything is installed.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent


def version(project: Path) -> str:
    """Return the version that the package says it has."""
    text = (project / "airflow_provider_synapse_livy" / "__init__.py").read_text()
    found = re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    assert found, "the package has no version"
    return found[1]


def problems(project: Path, tag: str, repository: str | None = None) -> Iterator[str]:
    """
    Return what must be corrected before the release.

    :param project: the folder of the project.
    :param tag: the tag that is to be released.
    :param repository: the address of the repository that the tag is in; None if it does not matter.
    """
    ours = version(project)
    if tag != f"v{ours}":
        yield f"The tag is {tag}, but the version is {ours}: tag v{ours}, or correct __version__."
    changelog = (project / "CHANGELOG.md").read_text()
    if not re.search(rf"^## {re.escape(ours)} \(\d{{4}}-\d\d-\d\d\)$", changelog, re.MULTILINE):
        yield f'CHANGELOG.md has no heading "## {ours} (year-month-day)".'
    urls = tomllib.loads((project / "pyproject.toml").read_text())["project"]["urls"]
    if repository is not None and urls["Source"] != repository:
        yield f"The package's Source is {urls['Source']}, but this repository is {repository}: correct project.urls."


if __name__ == "__main__":
    found = list(problems(PROJECT, *sys.argv[1:3]))
    sys.exit("\n".join(found) if found else 0)
