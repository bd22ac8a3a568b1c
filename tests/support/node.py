"""The JavaScript tools of the tests: those that ``javascript/package.json`` names, by npm."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from pathlib import Path

from support.paths import TESTS

JAVASCRIPT = TESTS / "javascript"

_INSTALL = ("npm", "install", "--no-package-lock", "--no-audit", "--no-fund")


def installed() -> Path:
    """The ``node_modules`` with what ``package.json`` names, installed if it isn't yet."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            raise RuntimeError(f"no {program}: these tests need Node.js 20 or later, with its npm")
    modules = JAVASCRIPT / "node_modules"
    stamp = modules / ".installed-package.json"
    with (JAVASCRIPT / "package.json").open(encoding="utf-8") as file:
        # One test process installs, the others wait.
        fcntl.flock(file, fcntl.LOCK_EX)
        wanted = file.read()
        if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
            subprocess.run(_INSTALL, cwd=JAVASCRIPT, check=True)
            stamp.write_text(wanted, encoding="utf-8")
    return modules
