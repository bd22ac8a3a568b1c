"""The configuration of Sphinx for the documentation site: ``nox -s docs`` builds the site.

The pages are Markdown (MyST), and read well on GitHub too. Three parts of the reference are
written by the build: the Python names, from their docstrings; the commands, from their options;
and the check that every public name is there.
"""

import sys
from pathlib import Path

import campaign_model

sys.path.insert(0, str(Path(__file__).parent / "_site"))

project = "campaign-model"
author = "campaign-model maintainers"
copyright = author  # noqa: A001 - the name that Sphinx reads
version = release = campaign_model.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_copybutton", "site_extension"]
exclude_patterns = ["_build", "_site"]
source_suffix = {".md": "markdown"}

html_theme = "furo"
html_title = f"campaign-model {release}"
html_static_path = ["_site/static"]
html_theme_options = {
    "source_repository": "https://github.com/campaign-model/campaign-model/",
    "source_branch": "main",
    "source_directory": "docs/",
}
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False

myst_heading_anchors = 4
myst_enable_extensions = ["deflist", "fieldlist"]

autodoc_default_options = {
    "members": True,
    "undoc-members": True,
    "exclude-members": "cache_ok,impl",
}
autodoc_inherit_docstrings = False
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
add_module_names = False

# Every name of the library that a docstring or a signature refers to must have an entry. The
# inventories of other projects, such as SQLAlchemy, are on their sites; the build reads no site.
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(?!campaign_model).*"),
    # Type variables, private types, and the keyword arguments of Step.update and of campaigns.
    ("py:.*", r"campaign_model\..*\.(CampaignFields|Item|Remedy|Result|StepChanges|V|_\w+)"),
]

# Copying a shell session leaves the prompts out.
copybutton_prompt_text = r"\$ |>>> "
copybutton_prompt_is_regexp = True
