"""How Sphinx builds the pages."""

from __future__ import annotations

from airflow_provider_synapse_livy import __version__

project = "airflow-provider-synapse-livy"
author = "The maintainers of airflow-provider-synapse-livy"
release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_copybutton"]
exclude_patterns = ["integration-logos"]
# Pages that come with later features are listed by pattern, and may not be there yet.
suppress_warnings = ["toc.empty_glob"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_class_signature = "mixed"
# A public name of ours that leads nowhere is an error. Others' names, and those inside, have no page here.
_PUBLIC = r"(exceptions|hooks|links|models|(operators|sensors|triggers)\.spark|emulator\.[A-Z])"
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
html_copy_source = False
copybutton_exclude = ".linenos, .gp"
