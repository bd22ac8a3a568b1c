"""Plausible wrong implementations of the store: the contract catches every one.

Each patch in ``wrong_stores`` says in its first line what it does wrong, then on which engine and
by which tests of the contract it is caught. Here only those tests run; ``nox -s wrong_stores``
runs the whole contract with each of them and tells every test that catches it.
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
    """What the head of a patch says."""

    path: Path
    what: str
    engine: str
    tests: tuple[str, ...]


def read(path: Path) -> WrongStore:
    head, _, _ = path.read_text().partition("--- a/")
    what, *lines = [line for line in head.splitlines() if line]
    said = [line.partition(": ") for line in lines]
    assert {name for name, _, _ in said} == {"Engine", "Caught by"}, path.name
    (engine,) = [value for name, _, value in said if name == "Engine"]
    return WrongStore(
        path, what, engine, tuple(value for name, _, value in said if name == "Caught by")
    )


WRONG = [read(path) for path in PATCHES]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the library's source; the contract runs in a directory beside it."""
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
        # Not as a part of a repository that the copy happens to lie in.
        env=os.environ | {"GIT_CEILING_DIRECTORIES": str(copy.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{patch.name} has rotted:\n{done.stderr}"


def run(copy: Path, url: str, *tests: str) -> subprocess.CompletedProcess[str]:
    return contract.run(copy / "service", url, source=copy / "src", tests=tests)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "wrong" not in metafunc.fixturenames:
        return
    whole = metafunc.config.getoption("--whole-contract")
    cases = [
        pytest.param(wrong, engine_name, id=f"{wrong.path.stem}-{engine_name}")
        for wrong in WRONG
        for engine_name in servers.available()
        if engine_name.startswith(wrong.engine) and (whole or engine_name != "postgresql-15")
    ]
    metafunc.parametrize(("wrong", "engine_name"), cases)


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
        print(f"{wrong.what}\n  caught by {', '.join(sorted(failed['FAILED']))}")  # noqa: T201
    assert failed["FAILED"] >= {test.rpartition("::")[2] for test in wrong.tests}, (
        f"{wrong.what}\n{done.stdout}{done.stderr}"
    )
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert not failed["ERROR"]


def test_the_right_store_is_not_caught(copy: Path, schema: Callable[[str], str]) -> None:
    tests = dict.fromkeys(
        test for wrong in WRONG if wrong.engine == "sqlite" for test in wrong.tests
    )
    done = run(copy, schema("sqlite"), *tests)
    assert done.returncode == 0, done.stdout
    assert f"campaign-model: {copy}" in done.stdout
    assert f"{len(tests)} passed" in done.stdout


def test_each_says_what_it_does_wrong() -> None:
    assert len(WRONG) >= 10
    assert len({wrong.what for wrong in WRONG}) == len(WRONG)
    assert all(wrong.tests for wrong in WRONG)
