"""What the README shows works as it stands there."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from subprocess import run

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_the_example_runs_and_says_what_it_promises(tmp_path: Path) -> None:
    (example,) = blocks("python")
    done = run(
        [sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"# (\S+)$", example, re.MULTILINE)
    assert float(done.stdout) == float(example.rpartition("# ")[2])


def test_the_example_is_short() -> None:
    (example,) = blocks("python")
    code = [line for line in example.splitlines() if line.strip()]
    assert len(code) - sum(line.startswith(("import ", "from ")) for line in code) <= 20


def test_the_commands_are_single_lines() -> None:
    demo, tests = blocks("sh")[:2]
    assert demo.count("\n") == tests.count("\n") == 1
    assert demo.rstrip().endswith("campaign-model demo")
    assert tests.rstrip().endswith("nox -s tests")
