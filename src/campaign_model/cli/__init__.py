"""The command ``campaign-model``; it needs the extra ``cli``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command (by default with the arguments of this process); its exit code.

    0 is fine, 1 found something wrong, 2 is a mistake in how it was called or in what it was given.
    """
    try:
        from campaign_model.cli.app import run  # noqa: PLC0415 - may find its extra missing
    except ModuleNotFoundError as error:
        # The entry point is there even where the extra isn't.
        if error.name not in {"typer", "rich"}:
            raise
        sys.stderr.write("campaign-model: run  pip install 'campaign-model[cli]'  first\n")
        return 2
    return run(arguments)
