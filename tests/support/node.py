"""The JavaScript tools of the tests. npm installs them from ``javascript/package.json``."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from pathlib import Path

from support.paths import TESTS

JAVASCRIPT = TESTS / "javascript"

_INSTALL = ("npm", "install", "--no-package-lock", "--no-audit", "--no-fund")


def installed() -> Path:
    """Install the tools if necessary, and return their ``node_modules`` directory."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            raise RuntimeError(f"{program} is missing: install Node.js 20 or later, with npm")
    modules = JAVASCRIPT / "node_modules"
    stamp = modules / ".installed-package.json"
    with (JAVASCRIPT / "package.json").open(encoding="utf-8") as file:
        # One test process installs the tools, and the others wait.
        fcntl.flock(file, fcntl.LOCK_EX)
        package = file.read()
        if not stamp.exists() or stamp.read_text(encoding="utf-8") != package:
            subprocess.run(_INSTALL, cwd=JAVASCRIPT, check=True)
            stamp.write_text(package, encoding="utf-8")
    return modules
