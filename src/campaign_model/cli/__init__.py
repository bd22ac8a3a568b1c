"""The command ``campaign-model``. It needs the extra ``cli``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code.

    ``arguments`` default to those of this process. Exit codes: 0 success, 1 the command found
    problems, 2 a usage error, 3 the database cannot be reached or cannot work at the moment, 70 a
    bug of this program, 130 interrupted by Ctrl-C.
    """
    # pip installs the entry point even without the extra. Look for both packages here, because
    # most commands import Rich only when they print, after they have changed something.
    if not all(find_spec(name) for name in ("typer", "rich")):
        sys.stderr.write("campaign-model: run  pip install 'campaign-model[cli]'  first\n")
        return 2
    from campaign_model.cli.app import run

    return run(arguments)
