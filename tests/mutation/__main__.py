"""Mutation testing: ``nox -s mutation`` breaks the library in thousands of ways, one at a time.

Each of these breaks has to make some test fail. Those that don't are listed with a reason in
``survivors.toml``; one that is not listed there ends the run with exit code 1.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

LEAST_KILLED = 0.9

_HERE = Path(__file__).parent
_ROOT = _HERE.parents[1]
_COPIED = ("src", "tests", "schemas", "docs", "pyproject.toml", "noxfile.py", "README.md")
_SURVIVED = re.compile(
    r"^\s*(\S+__mutmut_\d+): (?!killed|timeout|caught by type check)", re.MULTILINE
)


class Part(NamedTuple):
    """Some modules, and the tests that have to notice a change of them."""

    modules: tuple[str, ...]
    tests: tuple[str, ...]
    options: tuple[str, ...] = ()


PARTS = {
    "lifecycle": Part(("lifecycle.py",), ("domain/test_lifecycle.py",)),
    "documents": Part(
        ("steps.py", "validation.py", "wire.py"),
        (
            *("domain/test_steps.py", "domain/test_values.py", "domain/test_wire.py"),
            *("domain/test_validation.py", "domain/test_messages.py", "domain/test_schemas.py"),
            "domain/test_fixtures.py",
        ),
    ),
    # What is called at import alone, as most that makes statements is, mutmut finds no tests of.
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
"""What is mutated: under ``src/campaign_model``, judged by tests under ``tests``."""


class Survivor(NamedTuple):
    """A mutant that no test noticed."""

    name: str
    change: str
    """Its lines as in a diff, those taken out before those put in."""


class Reason(NamedTuple):
    """Why mutants like these may live: ``pattern`` is searched in function and change."""

    pattern: re.Pattern[str]
    why: str

    def excuses(self, survivor: Survivor) -> bool:
        """Whether the survivor is one of these."""
        function = re.sub(r"__mutmut_\d+$", "", survivor.name)
        return self.pattern.search(f"{function}\n{survivor.change}") is not None


def reasons() -> list[Reason]:
    """What ``survivors.toml`` says."""
    with (_HERE / "survivors.toml").open("rb") as file:
        listed = tomllib.load(file)["survivors"]
    return [Reason(re.compile(one["pattern"], re.DOTALL), one["why"]) for one in listed]


def _mutmut(directory: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "mutmut", *arguments]
    done = subprocess.run(command, cwd=directory, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def _prepare(directory: Path, part: Part) -> None:
    """A copy of the project, with mutmut's settings, in the empty ``directory``."""
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
        # Whether a test fails is all that is asked: no time is spent on a smaller example.
        "pytest_add_cli_args": ["--hypothesis-profile=mutation", *part.options],
        # Forked off before any test ran: nothing is remembered that a mutant would do anew.
        "process_isolation": "forkserver",
    }
    with (directory / "pyproject.toml").open("a", encoding="utf-8") as file:
        file.write("\n[tool.mutmut]\n")
        file.writelines(f"{name} = {value!r}\n" for name, value in settings.items())


def _survivors(directory: Path) -> tuple[int, list[Survivor]]:
    """How many mutants there were, and those that live."""
    found = _mutmut(directory, "results", "--all", "true")
    survivors = []
    for name in _SURVIVED.findall(found):
        diff = _mutmut(directory, "show", name).splitlines()
        change = [line for line in diff if re.match(r"[-+](?![-+]{2} )", line)]
        survivors.append(Survivor(name, "\n".join(change)))
    return len(found.split()) // 2, survivors


def main(directory: Path, names: list[str]) -> int:
    """Mutate the parts of these names, all of them if there are none; the exit code."""
    known, mutants, unexplained, alive = reasons(), 0, 0, 0
    for name in names or PARTS:
        home = directory / name
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        _prepare(home, PARTS[name])
        _mutmut(home, "run")
        number, survivors = _survivors(home)
        mutants, alive = mutants + number, alive + len(survivors)
        for survivor in survivors:
            if not any(reason.excuses(survivor) for reason in known):
                unexplained += 1
                print(f"\nsurvived without a reason: {survivor.name}\n{survivor.change}")
    killed = mutants - alive
    print(
        f"mutation: {mutants} mutants, {killed} killed ({killed / mutants:.1%}), "
        f"{alive} survived, {unexplained} of them without a reason"
    )
    return int(unexplained > 0 or killed < LEAST_KILLED * mutants)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
