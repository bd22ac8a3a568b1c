"""The examples in docs import only public names, and the tests of the message engine pass."""

from __future__ import annotations

import ast
import importlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from public_names import MODULES as PUBLIC_MODULES
from support import contract
from support.paths import DOCS, ROOT

EXAMPLE = DOCS / "message_engine"
MODULES = [*sorted(EXAMPLE.glob("*.py")), *sorted((DOCS / "examples").glob("*/*.py"))]

PUBLIC = {*PUBLIC_MODULES}
KNOWN = {
    *sys.stdlib_module_names,
    *("attrs", "fastapi", "hypothesis", "pydantic", "service", "sqlalchemy", "uvicorn"),
    *(module.stem for module in MODULES),
}


def top_package(module: str) -> str:
    return module.partition(".")[0]


def find_private_imports(source: str) -> Iterator[str]:
    """Find the imports in ``source`` that a service outside this repository may not use."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names):
                yield from (alias.name for alias in names if top_package(alias.name) not in KNOWN)
            case ast.ImportFrom(str(module), names) if top_package(module) == "campaign_model":
                exported = importlib.import_module(module).__dict__.get("__all__", ())
                for alias in names:
                    full_name = f"{module}.{alias.name}"
                    is_exported = module in PUBLIC and alias.name in exported
                    if full_name not in PUBLIC and not is_exported:
                        yield full_name
            case ast.ImportFrom(module) if module is None or top_package(module) not in KNOWN:
                yield str(module)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.stem)
def test_an_example_imports_only_public_names(module: Path) -> None:
    assert [*find_private_imports(module.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize(
    ("source", "private_imports"),
    [
        ("from campaign_model.store import CampaignStore, transact", []),
        ("from campaign_model.store import tables", []),
        ("from campaign_model.store.tables import Uuid", []),
        ("from campaign_model.testing import documents", []),
        ("from campaign_model import canonical", ["campaign_model.canonical"]),
        ("from campaign_model import wire", ["campaign_model.wire"]),
        ("from campaign_model.steps import Step", ["campaign_model.steps.Step"]),
        ("from campaign_model.store.types import Uuid", ["campaign_model.store.types.Uuid"]),
        ("from campaign_model.testing import _parts", ["campaign_model.testing._parts"]),
        (
            "from campaign_model.testing._parts import texts",
            ["campaign_model.testing._parts.texts"],
        ),
        ("import campaign_model.wire", ["campaign_model.wire"]),
        ("from world import World", ["world"]),
        ("import world", ["world"]),
        ("from . import world", ["None"]),
    ],
)
def test_the_check_finds_private_imports(source: str, private_imports: list[str]) -> None:
    assert [*find_private_imports(source)] == private_imports


@pytest.mark.long
def test_the_tests_of_the_message_engine_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = shutil.copytree(EXAMPLE, tmp_path / "service")
    monkeypatch.setenv("HYPOTHESIS_STORAGE_DIRECTORY", str(ROOT / ".hypothesis"))
    completed = contract.run_pytest(service, "-p", "hypothesispytest")
    assert completed.returncode == 0, completed.stdout + completed.stderr
    assert f"rootdir: {service}" in completed.stdout
