"""The Sphinx extension of the documentation site.

* The directive ``command-reference`` describes every command of ``campaign-model``.
* The directive ``public-names`` describes every public name of a module.
* Links of the pages to files outside ``docs/`` go to the pages that show these files.
* The build warns of every public name of the library that the reference does not have.
"""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from command_line import command_reference
from public_names import public_names
from python_reference import module_reference

_log = logging.getLogger(__name__)

_OUTSIDE = {
    r"schemas(?:/README\.md|/fixtures)?": "/reference/schemas.md",
    r"fixtures/README\.md": "/reference/schema-fixtures.md",
    r"docs/([\w/-]+\.md)": r"/\1",
    r"CHANGELOG\.md": "/changelog.md",
}
"""Paths from the root of the repository, and the page that shows the file."""


class CommandReference(SphinxDirective):
    """Describe every command of ``campaign-model``."""

    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes(command_reference(), allow_section_headings=True)


class PublicNames(SphinxDirective):
    """Describe every public name of the module that is the argument."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes(
            module_reference(self.arguments[0]), allow_section_headings=True
        )


def link_to_pages(_app: Sphinx, *event: Any) -> None:
    """Replace links to files outside ``docs/`` by links to the pages that show them."""
    text = event[-1]
    for path, page in _OUTSIDE.items():
        text[0] = re.sub(rf"\]\((?:\.\./)*{path}(?=[#)])", f"]({page}", text[0])
    text[0] = text[0].replace("```mermaid", "```text")


def list_decisions(_app: Sphinx, docname: str, source: list[str]) -> None:
    """Add a table of contents to the first page of the decisions."""
    if docname == "adr/README":
        source[0] += "\n```{toctree}\n:glob:\n\n0*\n```\n"


def check_public_names(app: Sphinx, _exception: Exception | None) -> None:
    """Warn of every public name that the reference does not have."""
    if app.builder.format != "html" or _exception:
        return
    described = app.env.domains.python_domain.objects
    for module, names in public_names().items():
        for name in names:
            if f"{module}.{name}" not in described:
                _log.warning("the reference does not have %s.%s", module, name)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the parts of the extension."""
    app.add_directive("command-reference", CommandReference)
    app.add_directive("public-names", PublicNames)
    app.connect("source-read", link_to_pages)
    app.connect("source-read", list_decisions)
    app.connect("include-read", link_to_pages)
    app.connect("build-finished", check_public_names)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
