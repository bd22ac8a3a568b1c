"""docs/errors.md has every code that the library raises or stores, and no other one."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import campaign_model
from campaign_model import errors
from campaign_model.errors import CampaignModelError
from campaign_model.steps import StepSequence
from campaign_model.store.statements import ATTEMPTS_EXHAUSTED
from support.paths import DOCS

PACKAGE = Path(campaign_model.__file__).parent
PAGE = (DOCS / "errors.md").read_text(encoding="utf-8")


def rows(title: str) -> list[list[str]]:
    """Return the cells of the first table after a title. An empty title begins the page."""
    _, _, text = PAGE.partition(f"## {title}\n" if title else "# Errors\n")
    table = re.search(r"(?:^\|.*\|\n)+", text, re.MULTILINE)
    assert table is not None
    _head, _line, *lines = table[0].splitlines()
    cells = [[cell.strip().strip("`") for cell in line.strip("|").split(" | ")] for line in lines]
    assert all(all(row) for row in cells), "no cell is empty"
    return cells


def calls_of(name: str) -> Iterator[tuple[str, ast.expr]]:
    """Yield the module and the first argument of each call of ``name`` in the package."""
    for path in sorted(PACKAGE.rglob("*.py")):
        module = ".".join(("campaign_model", *path.relative_to(PACKAGE).with_suffix("").parts))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == name and node.args:
                yield module, node.args[0]


def test_the_page_has_the_code_the_class_and_the_http_status_of_every_error() -> None:
    classes = {
        cls
        for cls in vars(errors).values()
        if isinstance(cls, type)
        and issubclass(cls, CampaignModelError)
        and cls is not CampaignModelError
    }
    described = [tuple(row[:3]) for row in rows("")]
    assert sorted(described) == sorted(
        (cls.code, cls.__name__, str(cls.http_status)) for cls in classes
    )


def test_the_page_has_the_reason_of_every_conflict() -> None:
    raised = {
        reason.value
        for module, reason in calls_of("Conflict")
        if isinstance(reason, ast.Constant) and not module.startswith("campaign_model.testing")
    }
    assert raised
    described = [row[0] for row in rows("Conflicts")]
    in_docstring = re.findall(r"``(\w+_\w+)``", errors.Conflict.__doc__ or "")
    assert described == list(dict.fromkeys(in_docstring))
    assert {*described} == raised


def test_the_page_has_every_code_of_a_failed_contact() -> None:
    stored = {ATTEMPTS_EXHAUSTED} | {
        getattr(import_module(module), code.id)
        for module, code in calls_of("Failed")
        if isinstance(code, ast.Name) and module.startswith("campaign_model.worker")
    }
    assert len(stored) > 1
    assert {row[0] for row in rows("Codes of failed contacts")} == stored


def test_the_handler_of_the_page_answers_with_status_and_data() -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    guide: dict[str, Any] = {}
    exec(example, guide)  # noqa: S102
    status, body = guide["answer"](lambda: StepSequence().by_key("intro"))
    assert (status, body["code"], body["argument"]) == (422, "invalid_argument", "key")
    assert guide["answer"](lambda: 1) == (200, 1)
