"""Fuzz the targets with atheris for some time: ``python -m fuzz --seconds N``.

The mutations begin with the kept inputs (``corpus``) and the seeds. An input that breaks a promise
is written to ``faults``, once for each place that raises; the session then goes on. Its last line
is ``fuzz: N inputs, N faults``, and its exit code is 1 if there are faults. ``--keep`` adds the
short inputs that ran new code to the corpus.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from fuzz import CORPUS, FAULTS, seeds

MAX_LENGTH = 2048
"""The most bytes of an input."""

LONGEST_KEPT = 600
"""The most bytes of an input that is kept, so that the corpus stays small."""


def run_fuzzer(*arguments: str) -> str:
    """Run :mod:`fuzz.child`, which prints faults, and return what libFuzzer says."""
    command = [sys.executable, "-m", "fuzz.child", *arguments]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, errors="replace", check=False)
    if done.returncode:
        sys.stderr.write(done.stderr[-4000:])
    return done.stderr


def write_seeds(directory: Path) -> None:
    """Write each seed into a file of its own."""
    for data in seeds.inputs():
        (directory / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)


def write_dictionary(path: Path) -> None:
    """Write the words in the form of libFuzzer."""
    quoted = (word.replace("\\", "\\\\").replace('"', '\\"') for word in seeds.words())
    path.write_text("".join(f'"{word}"\n' for word in quoted), encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(prog="fuzz", description="Fuzz with atheris.")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0, help="0 chooses one")
    parser.add_argument("--keep", action="store_true", help="add inputs to the corpus")
    options = parser.parse_args()
    if find_spec("atheris") is None:
        print("fuzz: there is no atheris for this Python; the tests check the kept inputs")
        return 0
    shutil.rmtree(FAULTS, ignore_errors=True)
    CORPUS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        found, first = work / "found", work / "first"
        for directory in (found, first):
            directory.mkdir()
        write_seeds(first)
        write_dictionary(work / "words")
        limits = (f"-max_len={MAX_LENGTH}", "-timeout=60", "-rss_limit_mb=4096")
        said = run_fuzzer(
            *(*limits, f"-max_total_time={options.seconds}", f"-seed={options.seed}"),
            *("-print_final_stats=1", f"-dict={work / 'words'}", f"-artifact_prefix={work}/"),
            *map(str, (found, CORPUS, first)),
        )
        runs = re.search(r"stat::number_of_executed_units: (\d+)", said)
        if runs is None:
            print("fuzz: the fuzzer died")
            for path in work.glob("*-*"):
                FAULTS.mkdir(exist_ok=True)
                shutil.copy(path, FAULTS)
            return 1
        if options.keep:
            for path in found.iterdir():
                if path.stat().st_size <= LONGEST_KEPT:
                    shutil.copy(path, CORPUS)
    faults = len([*FAULTS.iterdir()]) if FAULTS.exists() else 0
    print(f"fuzz: {runs[1]} inputs, {faults} faults")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
