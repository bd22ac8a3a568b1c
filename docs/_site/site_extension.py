"""The Sphinx extension of the documentation site.

* The directive ``command-reference`` describes every command of ``campaign-model``.
* The directive ``public-names`` describes every public name of a module.
* Links of the pages to files outside ``docs/`` go to the pages that show these files.
* The names of files stand above blocks of code, and the other marks of blocks disappear.
* The diagrams become a part of the page, so that they have the colours of the page.
* The build warns of every public name of the library that the reference does not have.
"""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path
from typing import Any

import attrs
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


def show_names_of_files(_app: Sphinx, _docname: str, source: list[str]) -> None:
    """Turn the marks of blocks (tests/support/pages.py) into captions, or remove them."""
    source[0] = re.sub(
        r"^<!-- file: (\S+) -->\n```(\w+)\n",
        r"```{code-block} \2\n:caption: \1\n\n",
        source[0],
        flags=re.MULTILINE,
    )
    marks = r"^<!-- (hidden|run by|not run|continues)\b.*?-->\n"
    source[0] = re.sub(marks, "", source[0], flags=re.MULTILINE | re.DOTALL)


def inline_diagrams(app: Sphinx, document: nodes.document) -> None:
    """Replace the images of the diagrams by the text of their files."""
    for image in [*document.findall(nodes.image)]:
        path = Path(app.srcdir, image["uri"])
        if path.parent.name == "diagrams":
            svg = path.read_text(encoding="utf-8")
            image.replace_self(nodes.raw("", f'<div class="picture">{svg}</div>', format="html"))


def show_attrs_defaults(
    _app: Sphinx, _what: str, _name: str, value: Any, _options: Any, *signature: str | None
) -> tuple[str | None, str | None]:
    """Show the defaults of a value type. ``...`` is one that is made for each value, or is long."""
    arguments, returned = signature
    if arguments and isinstance(value, type) and attrs.has(value):
        fields = attrs.fields_dict(value)

        def show_default(match: re.Match[str]) -> str:
            default = fields[match[1]].default
            is_word = isinstance(default, Enum)
            text = f"{type(default).__name__}.{default.name}" if is_word else repr(default)
            return text if len(text) < 30 else "..."

        arguments = re.sub(r"attr_dict\['(\w+)'\]\.default", show_default, arguments)
        arguments = arguments.replace("NOTHING", "...")
    return arguments, returned


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
    app.connect("source-read", show_names_of_files)
    app.connect("include-read", link_to_pages)
    app.connect("doctree-read", inline_diagrams)
    app.connect("autodoc-process-signature", show_attrs_defaults)
    app.connect("build-finished", check_public_names)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
