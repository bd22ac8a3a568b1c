from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import campaign_model

HEAVY = {"alembic", "cattrs", "hypothesis", "jsonschema", "rich", "sqlalchemy", "typer"}

FRESH = """
import sys
before = set(sys.modules)
{statement}
print(*sorted({{name.partition(".")[0] for name in set(sys.modules) - before}}))
"""


def loaded_by(statement: str) -> set[str]:
    """The packages that it loads in a new process."""
    return printed_by(FRESH.format(statement=statement))


def printed_by(code: str) -> set[str]:
    """The words that it prints in a new process."""
    command = [sys.executable, "-c", code]
    return {*subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()}


def test_importing_the_package_loads_no_other() -> None:
    assert loaded_by("import campaign_model") - sys.stdlib_module_names == {"campaign_model"}


def test_everything_public_loads_nothing_heavy() -> None:
    loaded = loaded_by("from campaign_model import *")
    assert "attr" in loaded
    assert not loaded & HEAVY


def test_every_public_name_is_what_type_checkers_take_it_for() -> None:
    tree = ast.parse(Path(campaign_model.__file__).read_text(encoding="utf-8"))
    seen: dict[str, Any] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.col_offset:
            home = import_module(node.module)
            seen |= {one.name: getattr(home, one.name, None) for one in node.names}
    del seen["version"]
    everything: dict[str, Any] = {}
    exec("from campaign_model import *", everything)  # noqa: S102
    del everything["__builtins__"]
    assert everything == seen
    assert sorted(everything) == sorted(campaign_model.__all__)
    assert {*everything} <= printed_by("import campaign_model; print(*dir(campaign_model))")
