"""What an adoption looks like to people."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from campaign_model import db
from campaign_model.cli.console import UserError, print_labelled, print_table
from campaign_model.lifecycle import Status

__all__ = ["adoption_progress", "pairs", "print_report", "print_verdict", "status_cases"]

_LONGEST_CELL = 60
_LONGEST_STATEMENT = 120

_FATES = {
    "repaired": ("will be repaired", "repaired"),
    "quarantined": ("will be moved aside", "moved aside"),
    "refused": ("needs a decision", "needs a decision"),
}


def pairs(option: str, values: Iterable[str] | None) -> dict[str, str]:
    """``WORD=STATUS`` several times as a mapping. Raises :class:`UserError`."""
    found = {}
    for value in values or ():
        word, equals, status = value.rpartition("=")
        if not equals:
            raise UserError(f"{option} has to look like WORD=STATUS, not {value}")
        found[word] = status
    return found


def status_cases(values: Iterable[str] | None) -> dict[str, Status]:
    """``CASE=STATUS`` several times as a mapping. Raises :class:`UserError`."""
    found = {}
    for case, status in pairs("--status-rule", values).items():
        if case not in db.STATUS_CASES or status not in {*Status}:
            raise UserError(
                f"--status-rule knows {', '.join(db.STATUS_CASES)} and the statuses "
                f"{', '.join(Status)}, not {case}={status}"
            )
        found[case] = Status(status)
    return found


def print_verdict(console: Console, verdict: db.Verdict) -> None:
    """Shape, what is pending, and what is worth knowing."""
    print_labelled(console, "Shape", verdict.shape)
    _print_statements(console, verdict.pending, "Pending")
    _print_warnings(console, verdict.warnings)


def print_report(console: Console, report: db.AdoptReport, *, dry_run: bool) -> None:
    """What an adoption adds and repairs, and what it refuses."""
    print_labelled(console, "Shape", report.shape)
    rule = ", ".join(f"{case} becomes {status}" for case, status in report.status_rule.items())
    print_labelled(console, "No status", f"{rule} (--status-rule)")
    changes = not (dry_run or report.refused)
    _print_statements(console, report.added, "Added" if changes else "To be added")
    fates = [
        (kind, number, fate)
        for name, fate in _FATES.items()
        for kind, number in getattr(report, name).items()
    ]
    print_table(
        console,
        ("kind", "values", "", "meaning"),
        [(kind, number, fate[changes], db.KINDS[kind]) for kind, number, fate in fates],
        title="Values",
    )
    print_table(
        console,
        ("kind", "table", "row", "column", "before", "after"),
        [
            (one.kind, one.table, one.row_id, one.column or "", _cell(one.before), _after(one))
            for found in report.samples.values()
            for one in found
        ],
        title="Some of them (--json lists all)",
    )
    _print_warnings(console, report.warnings)
    if report.presets is not None and report.presets.edited:
        names = ", ".join(report.presets.edited)
        print_labelled(console, "Templates", f"left as somebody has edited them: {names}")


def _print_statements(console: Console, statements: Iterable[str], title: str) -> None:
    lines = [" ".join(one.split()) for one in statements]
    if lines:
        shown = [one if len(one) <= _LONGEST_STATEMENT else f"{one[:117]}..." for one in lines]
        print_table(console, ("",), [(one,) for one in shown], title=f"{title}: {len(lines)}")


def _print_warnings(console: Console, warnings: Iterable[str]) -> None:
    for warning in warnings:
        print_labelled(console, "Note", warning)


def _after(finding: db.Finding) -> str:
    if finding.undecided:
        return finding.reason or "?"
    return _cell(finding.after)


def _cell(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST_CELL else f"{text[: _LONGEST_CELL - 3]}..."


@contextmanager
def adoption_progress() -> Iterator[Callable[[str, int, int], None]]:
    """A bar on standard error for as long as the block lasts, where it can move."""
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

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what)
            bar.update(tasks[what], completed=done, total=total)

        yield show
