"""The pages for contributors and users name only files, sections and commands that exist."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from support.paths import ROOT

PAGES = sorted(ROOT.glob("*.md"))
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


def test_each_promise_of_security_names_tests_that_exist() -> None:
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    _, _, promises = text.partition("## What the library promises")
    promises, _, _ = promises.partition("## What the library does not promise")
    for promise in promises.split("\n### ")[1:]:
        tests = re.findall(r"^- `(\S+)::(\w+)`$", promise, re.MULTILINE)
        assert tests, promise.splitlines()[0]
        for file, test in tests:
            functions = re.findall(r"^def (\w+)\(", (ROOT / file).read_text(), re.MULTILINE)
            assert test in functions, f"{file} has no test {test}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_to_a_file_and_a_heading(page: Path) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        if re.match("https?:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_every_nox_session_that_a_page_a_workflow_or_a_hook_names_exists() -> None:
    noxfile = (ROOT / "noxfile.py").read_text(encoding="utf-8")
    sessions = set(re.findall(r"^def (\w+)\(session", noxfile, re.MULTILINE))
    files = [*PAGES, *ROOT.glob(".github/**/*.*"), ROOT / ".pre-commit-config.yaml"]
    named = {
        (file.name, session)
        for file in files
        for names in re.findall(r"nox -s ((?:[a-z_]+ ?)+)", file.read_text(encoding="utf-8"))
        for session in names.split()
    }
    # The description of a command may follow its name in the same line.
    assert {name for name, _ in named} >= {"README.md", "CONTRIBUTING.md", "release.yml"}
    assert {(name, session) for name, session in named if session not in sessions} == set()


def test_the_readme_describes_every_extra() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*?) \|", readme, re.MULTILINE)
    described = set(re.findall("`(.*?)`", " ".join(rows)))
    assert set(PYPROJECT["project"]["optional-dependencies"]) - described == set()


def test_the_hooks_of_contributors_use_the_ruff_of_the_lint_session() -> None:
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    (ruff,) = (name for name in PYPROJECT["dependency-groups"]["lint"] if name.startswith("ruff"))
    assert set(re.findall(r'"(ruff.*?)"', hooks)) == {ruff}


def test_the_changelog_begins_with_this_version_and_names_the_kinds_of_changes() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    version = PYPROJECT["project"]["version"]
    assert re.findall(r"^## (\S+)", changelog, re.MULTILINE)[0] == version
    kinds = set(re.findall(r"^### (.*)$", changelog, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
