"""The command ``campaign-model``. It needs the extra ``cli``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code.

    ``arguments`` default to those of this process. Exit codes: 0 success, 1 the command found
    problems, 2 a usage error, 130 interrupted by Ctrl-C.
    """
    try:
        from campaign_model.cli.app import run  # noqa: PLC0415 - the extra may be missing
    except ModuleNotFoundError as error:
        # pip installs the entry point even without the extra.
        if error.name not in {"typer", "rich"}:
            raise
        sys.stderr.write("campaign-model: run  pip install 'campaign-model[cli]'  first\n")
        return 2
    return run(arguments)
