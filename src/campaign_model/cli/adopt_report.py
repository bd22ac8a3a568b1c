"""The output of ``db verify`` and ``db adopt`` for people, and the parsing of their options."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from campaign_model import db
from campaign_model.cli.console import (
    Interruption,
    UserError,
    make_printable,
    print_labelled,
    print_table,
)
from campaign_model.cli.database import explain_database_error

_CONTINUES = "run it again, it continues"

_LONGEST_VALUE = 60
_LONGEST_STATEMENT = 120


def parse_pairs(option: str, values: Iterable[str] | None) -> dict[str, str]:
    """Parse options of the form ``WORD=STATUS``. The word may contain ``=``, the status may not.

    Raise :class:`UserError` for another form, and for a word that is given twice.
    """
    statuses = {}
    for value in values or ():
        word, equals, status = value.rpartition("=")
        if not equals:
            raise UserError(f"{option} must have the form WORD=STATUS, not {value}")
        if word in statuses:
            raise UserError(f"{option} gives a status for {word} twice")
        statuses[word] = status
    return statuses


def print_verdict(console: Console, verdict: db.Verdict) -> None:
    """Print a database's shape, pending statements, tolerated differences, and warnings."""
    print_labelled(console, "Shape", verdict.shape)
    if verdict.distributed:
        print_labelled(console, "Distributed", "by tenant, over the nodes of a Citus cluster")
    _print_statements(console, verdict.pending, "Pending")
    _print_tolerated(console, verdict.tolerated)
    _print_warnings(console, verdict.warnings)


def print_report(console: Console, report: db.AdoptReport, *, dry_run: bool) -> None:
    """Print what an adoption adds, repairs and refuses; one line if that is nothing."""
    if _has_nothing_to_do(report):
        line = "Nothing to do: the database has the whole schema"
        if report.shape == "expanded":
            line = "Nothing to do: the database is adopted; campaign-model db enforce comes next"
        if report.warnings:
            line += f"; campaign-model db verify prints {len(report.warnings)} notes"
        if report.presets is not None and report.presets.edited:
            line += f"; templates edited by hand: {', '.join(report.presets.edited)}"
        console.print(make_printable(line))
        return
    print_labelled(console, "Shape", report.shape)
    if report.shape not in {"expanded", "changed"}:  # A campaign without a status is possible.
        rule = ", ".join(f"{case} becomes {status}" for case, status in report.status_rule.items())
        print_labelled(console, "No status", f"{rule} (--status-rule)")
    has_written = not (dry_run or report.refused)
    values = [
        (kind, number, outcome, db.KINDS[kind])
        for outcome, counts_by_kind in (
            ("repaired" if has_written else "will be repaired", report.repaired),
            ("quarantined" if has_written else "will be quarantined", report.quarantined),
            ("needs a decision", report.refused),
        )
        for kind, number in counts_by_kind.items()
    ]
    _print_statements(console, report.added, "Added" if has_written else "To be added")
    changes = [(change,) for change in report.changes]
    print_table(console, ("",), changes, title="What other programs notice")
    _print_tolerated(console, report.tolerated)
    print_table(console, ("kind", "values", "outcome", "meaning"), values, title="Values")
    samples = [
        (
            finding.kind,
            finding.table,
            finding.row_id,
            finding.column,
            _shorten_json(finding.before),
            (finding.reason or "?") if finding.undecided else _shorten_json(finding.after),
        )
        for findings in report.samples.values()
        for finding in findings
    ]
    headers = ("kind", "table", "row", "column", "before", "after")
    print_table(console, headers, samples, title="Samples (--json lists every value)")
    _print_warnings(console, report.warnings)
    if report.presets is not None and report.presets.edited:
        names = ", ".join(report.presets.edited)
        print_labelled(console, "Templates", f"edited by hand and left as they are: {names}")


def _has_nothing_to_do(report: db.AdoptReport) -> bool:
    """Return True if a step has found that it was done before, and has changed nothing."""
    presets = report.presets
    return report.shape in {"current", "expanded"} and not (
        *report.added,
        *report.repaired,
        *report.refused,
        *report.quarantined,
        *(() if presets is None else (*presets.inserted, *presets.updated)),
    )


def _print_statements(console: Console, statements: Iterable[str], title: str) -> None:
    rows = [(textwrap.shorten(sql, _LONGEST_STATEMENT, placeholder="..."),) for sql in statements]
    print_table(console, ("",), rows, title=f"{title}: {len(rows)}")


def _print_tolerated(console: Console, tolerated: Iterable[db.ToleratedWrites]) -> None:
    rows = [(each.table, each.broken, each.day, each.writes) for each in tolerated]
    headers = ("table", "column or constraint", "day", "writes")
    print_table(console, headers, rows, title="Writes that db enforce will refuse")


def _print_warnings(console: Console, warnings: Iterable[str]) -> None:
    for warning in warnings:
        print_labelled(console, "Note", warning)


def _shorten_json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 3]}..."


@contextmanager
def adoption_progress() -> Iterator[Callable[[str, int, int], None]]:
    """Show a progress bar on standard error during the block, if that is a terminal.

    After Ctrl-C, or an error of the database that is no bug, the message says how to go on.
    """
    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
    tasks: dict[str, Any] = {}
    with bar:

        def show_progress(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = bar.add_task(step)
            bar.update(tasks[step], completed=done, total=total)

        try:
            yield show_progress
        except KeyboardInterrupt:
            raise Interruption(f"interrupted; {_CONTINUES}") from None
        except sa.exc.DBAPIError as error:
            explanation = explain_database_error(error)
            if explanation is None:
                raise
            raise type(explanation)(f"{explanation}; {_CONTINUES}") from None
