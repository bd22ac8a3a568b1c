"""A failing random test prints its seed, and the seed repeats it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from support.paths import TESTS

RANDOM_TEST = """
import random


def test_that_fails(seed):
    numbers = random.random(), random.Random(seed).random()
    assert not numbers
"""


def test_a_failing_random_test_prints_how_to_repeat_it(tmp_path: Path) -> None:
    file = tmp_path / "test_random.py"
    file.write_text(RANDOM_TEST, encoding="utf-8")

    def run(*options: str) -> tuple[str, str]:
        """Return the option that pytest prints, and the numbers in the failed assertion."""
        output = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "support.seeds", file, *options],
            cwd=tmp_path,
            env={"PYTHONPATH": str(TESTS)},
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        ).stdout
        (option,) = re.findall(r"^(--seed \d+) repeats", output, re.MULTILINE)
        (numbers,) = re.findall(r"assert not (\(.*\))$", output, re.MULTILINE)
        return option, numbers

    option, numbers = run()
    assert run(*option.split()) == (option, numbers)
    assert run()[1] != numbers
