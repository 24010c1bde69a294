"""How Sphinx builds the pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from airflow_provider_synapse_livy import __version__

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "airflow-provider-synapse-livy"
author = "The maintainers of airflow-provider-synapse-livy"
release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_copybutton"]
exclude_patterns = ["integration-logos"]
autodoc_default_options = {"exclude-members": "model_config"}

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_class_signature = "mixed"
# A public name of ours that leads nowhere is an error. Others' names, and those inside, have no page here.
_PUBLIC = r"(exceptions|hooks\.synapse_livy|links|models|(operators|sensors|triggers)\.spark|emulator\.local)"
nitpick_ignore_regex = [("py:.*", rf"(?!airflow_provider_synapse_livy\.{_PUBLIC}).*"), ("py:.*", r".*\.(_\w+|[A-Z])")]

html_theme = "furo"
html_title = f"{project} {release}"
html_logo = "integration-logos/synapse-livy.svg"
html_favicon = html_logo
html_theme_options = {
    "source_repository": "https://github.com/airflow-provider-synapse-livy/airflow-provider-synapse-livy/",
    "source_branch": "main",
    "source_directory": "docs/",
}
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_copy_source = False
html_show_copyright = False
copybutton_exclude = ".linenos, .gp"


def short_signature(_app: Sphinx, _what: str, _name: str, documented: Any, *_: Any) -> tuple[str, None] | None:
    """Return an empty signature for a model: its parameters stand below, and pydantic's types would fill the page."""
    return ("", None) if isinstance(documented, type) and issubclass(documented, BaseModel) else None


def setup(app: Sphinx) -> None:
    """Have Sphinx ask for signatures."""
    app.connect("autodoc-process-signature", short_signature)
