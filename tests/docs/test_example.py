"""The worked example in docs: its own tests pass, with nothing but what is public."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from campaign_model import testing
from support import contract
from support.paths import DOCS, ROOT

EXAMPLE = DOCS / "message_engine"
MODULES = sorted(EXAMPLE.glob("*.py"))

PUBLIC = {f"campaign_model{name}" for name in ("", ".store", ".db", ".worker")} | {
    f"campaign_model.testing.{module.name}"
    for module in pkgutil.iter_modules(testing.__path__)
    if not module.name.startswith("_")
}
KNOWN = {*sys.stdlib_module_names, "attrs", "hypothesis", "sqlalchemy", *(m.stem for m in MODULES)}


def package(module: str) -> str:
    return module.partition(".")[0]


def not_public(source: str) -> Iterator[str]:
    """What ``source`` uses that a service of somebody else has not got."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names):
                yield from (one.name for one in names if package(one.name) not in KNOWN)
            case ast.ImportFrom(str(module), names) if package(module) == "campaign_model":
                offered = importlib.import_module(module).__dict__.get("__all__", ())
                for one in names:
                    full = f"{module}.{one.name}"
                    if full not in PUBLIC and not (module in PUBLIC and one.name in offered):
                        yield full
            case ast.ImportFrom(module) if module is None or package(module) not in KNOWN:
                yield str(module)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.stem)
def test_it_uses_nothing_but_what_is_public(module: Path) -> None:
    assert [*not_public(module.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from campaign_model.store import CampaignStore, transact", []),
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
def test_what_is_not_public_is_found(source: str, found: list[str]) -> None:
    assert [*not_public(source)] == found


def test_its_own_tests_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = shutil.copytree(EXAMPLE, tmp_path / "service")
    monkeypatch.setenv("HYPOTHESIS_STORAGE_DIRECTORY", str(ROOT / ".hypothesis"))
    done = contract.run_pytest(service, "-p", "hypothesispytest")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"rootdir: {service}" in done.stdout
