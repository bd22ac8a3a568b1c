"""``nox -s bench``: measure every row, and print whether its ratio is within the limit."""

from __future__ import annotations

import argparse
import json
from importlib import import_module
from pathlib import Path

from rich.console import Console

from benchmarks.harness import Bench, Result, Row, measured, table
from support import servers

MODULES: tuple[str, ...] = ("assign", "generation", "guard", "reading", "light")


def main() -> None:
    """Measure, print the table and write the JSON. The last line counts the rows within limits."""
    parser = argparse.ArgumentParser(prog="nox -s bench --", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="within a minute, and less exact")
    parser.add_argument(
        "--only", metavar="WORD", default="", help="only rows whose text has this word"
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the results there too")
    options = parser.parse_args()
    rows: list[Row] = []
    for name in MODULES:
        rows += import_module(f"benchmarks.{name}").ROWS
    chosen = [row for row in rows if options.only in f"{row.work} {row.yardstick}"]
    if options.quick and not options.only:
        chosen = [row for row in chosen if not row.long]
    if not chosen:
        parser.error(f"no row has the word {options.only!r} in it")
    console = Console(width=160)
    results: list[Result] = []
    with servers.open_directory(on_disk=True) as directory:
        for result in measured(chosen, Bench(options.quick, directory), console):
            results.append(result)
            if options.json is not None:
                # Write after each row, so that an interrupted run leaves its results.
                documents = [one.document() for one in results]
                options.json.write_text(json.dumps(documents, indent=1) + "\n")
    console.print(table(results))
    judged = [one for one in results if one.row.reach]
    console.print(
        f"bench: {sum(one.ok for one in judged)} of {len(judged)} rows reach their figure"
    )


if __name__ == "__main__":
    main()
