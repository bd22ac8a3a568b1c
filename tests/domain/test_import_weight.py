"""Importing ``campaign_model`` is cheap: it loads no database, schema or test library."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import campaign_model

HEAVY = {
    *("alembic", "cattrs", "fastapi", "hypothesis", "jsonschema", "pydantic", "rich", "sqlalchemy"),
    "typer",
}

FRESH = """
import sys
before = set(sys.modules)
{statement}
print(*sorted({{name.partition(".")[0] for name in set(sys.modules) - before}}))
"""


def loaded_by(statement: str) -> set[str]:
    """Run ``statement`` in a new process and return the top-level packages that it loads."""
    return printed_by(FRESH.format(statement=statement))


def printed_by(code: str) -> set[str]:
    """Run ``code`` in a new process and return the words that it prints."""
    command = [sys.executable, "-c", code]
    return {*subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()}


def test_importing_the_package_loads_no_other_package() -> None:
    assert loaded_by("import campaign_model") - sys.stdlib_module_names == {"campaign_model"}


def test_importing_every_public_name_loads_no_heavy_package() -> None:
    loaded = loaded_by("from campaign_model import *")
    assert "attr" in loaded
    assert not loaded & HEAVY


def test_every_public_name_is_the_object_that_type_checkers_see() -> None:
    tree = ast.parse(Path(campaign_model.__file__).read_text(encoding="utf-8"))
    for_type_checkers: dict[str, Any] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.col_offset:
            home = import_module(node.module)
            for_type_checkers |= {
                alias.name: getattr(home, alias.name, None) for alias in node.names
            }
    del for_type_checkers["version"]
    at_run_time: dict[str, Any] = {}
    exec("from campaign_model import *", at_run_time)  # noqa: S102
    del at_run_time["__builtins__"]
    assert at_run_time == for_type_checkers
    assert sorted(at_run_time) == sorted(campaign_model.__all__)
    assert {*at_run_time} <= printed_by("import campaign_model; print(*dir(campaign_model))")


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("from campaign_model import Step", {"Step", "StepSequence"}),
        ("from campaign_model import StepSequence; StepSequence().upd", {"update"}),
    ],
    ids=["names", "methods"],
)
def test_jedi_completes_public_names_as_in_ipython_and_jupyter(
    code: str, expected: set[str]
) -> None:
    jedi: Any = import_module("jedi")  # It has no types.
    assert {completion.name for completion in jedi.Interpreter(code, [{}]).complete()} >= expected
