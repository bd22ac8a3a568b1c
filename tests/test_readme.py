"""What the README shows works as it stands there."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from subprocess import check_output, run

ROOT = Path(__file__).parents[1]


def blocks(language: str, page: str = "README.md") -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_the_example_runs_and_says_what_it_promises(tmp_path: Path) -> None:
    (example,) = blocks("python")
    done = run(
        [sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"# (\S+)$", example, re.MULTILINE)
    assert float(done.stdout) == float(example.rpartition("# ")[2])


def test_the_example_about_the_lifecycle_says_what_it_promises() -> None:
    (example,) = blocks("python", "docs/lifecycle.md")
    said = check_output([sys.executable, "-c", example], text=True)
    assert said == "".join(re.findall(r"^# (.*\n)", example, re.MULTILINE))


def test_the_example_is_short() -> None:
    (example,) = blocks("python")
    code = [line for line in example.splitlines() if line.strip()]
    assert len(code) - sum(line.startswith(("import ", "from ")) for line in code) <= 20


def test_the_commands_are_single_lines() -> None:
    demo, tests = blocks("sh")[:2]
    assert demo.count("\n") == tests.count("\n") == 1
    assert demo.rstrip().endswith("campaign-model demo")
    assert tests.rstrip().endswith("nox -s tests")
