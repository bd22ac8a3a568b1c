"""Mutation testing: ``nox -s mutation`` makes thousands of small changes to the library.

Each change is a *mutant*. The tests of its part must fail on it ("kill" it). ``survivors.toml``
lists the mutants that may survive, with reasons. The exit code is 1 if another mutant survives, or
if the tests kill fewer than ``MIN_KILLED`` of all mutants.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

MIN_KILLED = 0.9

_HERE = Path(__file__).parent
_ROOT = _HERE.parents[1]
_COPIED = ("src", "tests", "schemas", "docs", "pyproject.toml", "noxfile.py", "README.md")
_RESULT = re.compile(r"^\s*(\S+__mutmut_\d+): (.*)$", re.MULTILINE)
_KILLED = ("killed", "timeout", "caught by type check")
"""What mutmut says of a mutant that did not survive."""


class Part(NamedTuple):
    """Modules to mutate, the tests that must kill the mutants, and options of pytest."""

    modules: tuple[str, ...]
    tests: tuple[str, ...]
    options: tuple[str, ...] = ()


PARTS = {
    "lifecycle": Part(("guards.py", "lifecycle.py"), ("domain/test_lifecycle.py",)),
    "documents": Part(
        ("steps.py", "validation.py", "wire.py"),
        (
            *("domain/test_steps.py", "domain/test_values.py", "domain/test_wire.py"),
            *("domain/test_validation.py", "domain/test_messages.py", "domain/test_schemas.py"),
            *("domain/test_fixtures.py", "domain/test_hostile.py"),
        ),
    ),
    # mutmut finds no tests for code that runs only at import, such as most statements.
    "store": Part(
        ("store/*.py",),
        (
            *("store/test_campaigns.py", "store/test_contacts.py", "store/test_generation.py"),
            *("store/test_templates.py", "store/test_tenancy.py", "store/test_types.py"),
            "store/test_transactions.py",
        ),
        ("-k", "not postgresql-15"),
    ),
}
"""Modules are below ``src/campaign_model``, tests below ``tests``."""


class Survivor(NamedTuple):
    """A mutant on which no test failed."""

    name: str
    change: str
    """The changed lines as in a diff: removed lines with ``-``, then added lines with ``+``."""


class Reason(NamedTuple):
    """Why the mutants that match ``pattern`` may survive."""

    pattern: re.Pattern[str]
    why: str

    def applies_to(self, survivor: Survivor) -> bool:
        """Return whether the pattern matches the mutant's function name and change."""
        function = re.sub(r"__mutmut_\d+$", "", survivor.name)
        return self.pattern.search(f"{function}\n{survivor.change}") is not None


def load_reasons() -> list[Reason]:
    """Load ``survivors.toml``."""
    with (_HERE / "survivors.toml").open("rb") as file:
        entries = tomllib.load(file)["survivors"]
    return [Reason(re.compile(entry["pattern"], re.DOTALL), entry["why"]) for entry in entries]


def _run_mutmut(directory: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "mutmut", *arguments]
    completed = subprocess.run(
        command, cwd=directory, stdout=subprocess.PIPE, text=True, check=True
    )
    return completed.stdout


def _copy_project(directory: Path, part: Part) -> None:
    """Copy the project into the empty ``directory`` and add mutmut's settings for ``part``."""
    ignored = shutil.ignore_patterns("node_modules", "__pycache__", "mutants")
    for name in _COPIED:
        source = _ROOT / name
        if source.is_dir():
            shutil.copytree(source, directory / name, ignore=ignored)
        else:
            shutil.copy(source, directory)
    settings = {
        "source_paths": ["src"],
        "only_mutate": [f"src/campaign_model/{module}" for module in part.modules],
        "also_copy": [name for name in _COPIED if name not in {"src", "tests"}],
        "pytest_add_cli_args_test_selection": [f"tests/{test}" for test in part.tests],
        # The profile does not shrink failing examples: any failure kills the mutant.
        "pytest_add_cli_args": ["--hypothesis-profile=mutation", "-m", "", *part.options],
        # Each mutant starts from a process that has run no test, so that no cache hides it.
        "process_isolation": "forkserver",
    }
    with (directory / "pyproject.toml").open("a", encoding="utf-8") as file:
        file.write("\n[tool.mutmut]\n")
        file.writelines(f"{name} = {value!r}\n" for name, value in settings.items())


def _collect_results(directory: Path) -> tuple[int, list[Survivor]]:
    """Return the number of mutants and the survivors."""
    results = _RESULT.findall(_run_mutmut(directory, "results", "--all", "true"))
    survivors = []
    for name, result in results:
        if not result.startswith(_KILLED):
            diff = _run_mutmut(directory, "show", name).splitlines()
            change = [line for line in diff if re.match(r"[-+](?![-+]{2} )", line)]
            survivors.append(Survivor(name, "\n".join(change)))
    return len(results), survivors


def main(directory: Path, part_names: list[str]) -> int:
    """Mutate the named parts, or all parts, in ``directory``; return the exit code."""
    reasons = load_reasons()
    mutants = survived = unexplained = 0
    for name in part_names or PARTS:
        part_directory = directory / name
        shutil.rmtree(part_directory, ignore_errors=True)
        part_directory.mkdir(parents=True)
        _copy_project(part_directory, PARTS[name])
        _run_mutmut(part_directory, "run")
        part_mutants, survivors = _collect_results(part_directory)
        mutants, survived = mutants + part_mutants, survived + len(survivors)
        for survivor in survivors:
            if not any(reason.applies_to(survivor) for reason in reasons):
                unexplained += 1
                print(f"\nsurvived without a reason: {survivor.name}\n{survivor.change}")
    killed = mutants - survived
    print(
        f"mutation: {mutants} mutants, {killed} killed ({killed / mutants:.1%}), "
        f"{survived} survived, {unexplained} of them without a reason"
    )
    return int(unexplained > 0 or killed < MIN_KILLED * mutants)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
