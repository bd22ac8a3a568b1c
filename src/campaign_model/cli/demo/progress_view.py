"""Showing the progress of a generation: a moving bar, or one line per quarter in a pipe."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn
from rich.progress import Progress as ProgressBar

from campaign_model.claims import Progress
from campaign_model.cli.console import LABEL_WIDTH, format_amount, print_labelled
from campaign_model.lifecycle import ContactStatus

__all__ = ["ProgressView", "open_progress_view"]

_QUARTERS = 4


class ProgressView:
    """Shows the progress of ``total`` contacts. Threads may share it."""

    def __init__(self, console: Console, bar: ProgressBar, total: int) -> None:
        self._console, self._bar, self._total = console, bar, total
        self._task = bar.add_task("", total=total, spent="")
        self._lock = threading.Lock()
        self._last_quarter = 0

    def update(self, progress: Progress) -> None:
        """Show how many contacts are done and what was spent."""
        counts = progress.by_status
        done = counts[ContactStatus.GENERATED] + counts[ContactStatus.FAILED]
        spent = f"{format_amount(progress.spent)} spent"
        with self._lock:
            if not self._bar.disable:
                self._bar.update(self._task, completed=done, spent=spent)
            elif (quarter := done * _QUARTERS // self._total) > self._last_quarter:
                self._last_quarter = quarter
                self.print(f"{done} of {self._total} contacts done, {spent}")

    def print(self, text: str) -> None:
        """Print a line above the bar."""
        print_labelled(self._console, "", text)


@contextmanager
def open_progress_view(console: Console, total: int) -> Iterator[ProgressView]:
    """Open a view of the generation of ``total`` contacts for the block."""
    bar = ProgressBar(
        TextColumn(" " * LABEL_WIDTH),
        SpinnerColumn(finished_text="\N{CHECK MARK}"),
        BarColumn(20),
        MofNCompleteColumn(),
        TextColumn("contacts, {task.fields[spent]}"),
        console=console,
        disable=not console.is_terminal,
    )
    with bar:
        yield ProgressView(console, bar, total)
