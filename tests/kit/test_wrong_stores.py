"""The store contract catches every wrong store.

The first line of each patch in ``wrong_stores`` says what the patch breaks. The next lines name the
engine and the contract tests that catch it. These tests run here. ``nox -s wrong_stores`` runs the
whole contract with each patch and prints every test that catches it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

from support import contract, servers
from support.paths import ROOT, SCHEMAS, TESTS

PATCHES = sorted((TESTS / "wrong_stores").glob("*.patch"))


@attrs.frozen
class WrongStore:
    """A patch and the lines at its top."""

    path: Path
    fault: str
    engine: str
    tests: tuple[str, ...]


def read(path: Path) -> WrongStore:
    head, _, _ = path.read_text().partition("--- a/")
    fault, *lines = [line for line in head.splitlines() if line]
    fields = [line.partition(": ") for line in lines]
    assert {name for name, _, _ in fields} == {"Engine", "Caught by"}, path.name
    (engine,) = [value for name, _, value in fields if name == "Engine"]
    tests = tuple(value for name, _, value in fields if name == "Caught by")
    return WrongStore(path, fault, engine, tests)


WRONG_STORES = [read(path) for path in PATCHES]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the library's source, with a directory beside it to run the contract in."""
    package = Path("src", "campaign_model")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / package, tmp_path / package, ignore=ignored)
    shutil.copytree(SCHEMAS, tmp_path / "schemas")
    (tmp_path / "service").mkdir()
    return tmp_path


def apply(patch: Path, copy: Path) -> None:
    done = subprocess.run(
        ["git", "apply", patch],  # noqa: S607
        cwd=copy,
        # The copy may be inside a repository. Git must not use that one.
        env=os.environ | {"GIT_CEILING_DIRECTORIES": str(copy.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{patch.name} does not apply any more:\n{done.stderr}"


def run(copy: Path, url: str, *tests: str) -> subprocess.CompletedProcess[str]:
    return contract.run(copy / "service", url, source=copy / "src", tests=tests)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "wrong" not in metafunc.fixturenames:
        return
    whole = metafunc.config.getoption("--whole-contract")
    cases = [
        pytest.param(wrong, engine_name, id=f"{wrong.path.stem}-{engine_name}")
        for wrong in WRONG_STORES
        for engine_name in servers.available()
        if engine_name.startswith(wrong.engine) and (whole or engine_name != "postgresql-15")
    ]
    metafunc.parametrize(("wrong", "engine_name"), cases)


@pytest.mark.long
def test_the_contract_catches_it(
    wrong: WrongStore,
    engine_name: str,
    copy: Path,
    schema: Callable[[str], str],
    request: pytest.FixtureRequest,
) -> None:
    apply(wrong.path, copy)
    whole = request.config.getoption("--whole-contract")
    done = run(copy, schema(engine_name), *(() if whole else wrong.tests))
    failed = contract.failures(done.stdout)
    if whole:
        print(f"{wrong.fault}\n  caught by {', '.join(sorted(failed['FAILED']))}")  # noqa: T201
    assert failed["FAILED"] >= {test.rpartition("::")[2] for test in wrong.tests}, (
        f"{wrong.fault}\n{done.stdout}{done.stderr}"
    )
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert not failed["ERROR"]


def test_the_unchanged_store_passes(copy: Path, schema: Callable[[str], str]) -> None:
    tests = dict.fromkeys(
        test for wrong in WRONG_STORES if wrong.engine == "sqlite" for test in wrong.tests
    )
    done = run(copy, schema("sqlite"), *tests)
    assert done.returncode == 0, done.stdout
    assert f"campaign-model: {copy}" in done.stdout
    assert f"{len(tests)} passed" in done.stdout


def test_each_wrong_store_has_a_fault_of_its_own() -> None:
    assert len(WRONG_STORES) >= 10
    assert len({wrong.fault for wrong in WRONG_STORES}) == len(WRONG_STORES)
    assert all(wrong.tests for wrong in WRONG_STORES)
