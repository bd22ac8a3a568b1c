"""Printing to standard output: tables and labelled lines for people, JSON for programs.

``print_table`` and ``print_labelled`` remove control characters from everything they print, so
that text from a database or a file cannot control the terminal. ``UserError`` is the exception
for every mistake that the user can correct, ``Interruption`` the one after Ctrl-C.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from campaign_model._answer import json_ready
from campaign_model._values import MONEY_DECIMALS, amount_text

NAME = "campaign-model"

SUCCESS, FOUND_PROBLEMS, USAGE_ERROR, INTERRUPTED = 0, 1, 2, 130
"""Exit codes."""

LABEL_WIDTH = 11
"""Columns of the label in ``print_labelled``."""

_UNLIMITED_WIDTH = 10_000


class UserError(Exception):
    """A mistake that the user can correct. The message is one line that says how."""


class Interruption(Exception):
    """The user has interrupted the command. The message says how to go on."""


def open_console() -> Console:
    """Open a console on standard output that prints text as it is, without markup."""
    console = Console(markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        # A program that reads the output needs each row on one line.
        console.width = _UNLIMITED_WIDTH
    return console


def print_error(message: str) -> None:
    """Print a message as one line on standard error."""
    sys.stderr.write(f"{NAME}: {make_printable(' '.join(message.split()))}\n")


def make_printable(text: str) -> str:
    """Replace line breaks and control characters by spaces."""
    return "".join(character if character.isprintable() else " " for character in text)


def format_amount(amount: Decimal) -> str:
    """Format money exactly, with at least two decimals."""
    whole, _, decimals = amount_text(amount).partition(".")
    return f"{whole}.{decimals:0<2}"


def format_time(time: datetime | None) -> str:
    """Format a UTC time without its time zone; ``None`` gives an empty string."""
    return "" if time is None else f"{time:%Y-%m-%d %H:%M:%S}"


def print_labelled(console: Console, label: str, text: str) -> None:
    """Print ``text`` with a bold label to its left; long text wraps beside the label."""
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=LABEL_WIDTH, style="bold")
    grid.add_column(overflow="fold")
    grid.add_row(label, make_printable(text))
    console.print(grid)


def print_table(
    console: Console,
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    title: str | None = None,
    wraps: str | None = None,
) -> None:
    """Print a table. Columns of numbers are aligned to the right.

    On a narrow terminal only the column ``wraps`` breaks its text into lines (default: the last).
    """
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD if console.is_terminal else None,
        show_edge=False,
        pad_edge=False,
    )
    rows = list(rows)
    for index, column in enumerate(columns):
        is_numeric = bool(rows) and all(isinstance(row[index], int | Decimal) for row in rows)
        table.add_column(
            column,
            justify="right" if is_numeric else "left",
            no_wrap=column != (wraps or columns[-1]),
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(_format_cell(value) for value in row))
    console.print(table)
    if title is not None:
        console.print()


def _format_cell(value: object) -> str:
    if isinstance(value, Decimal):
        # All decimals, so that the decimal points of a column are aligned.
        return f"{value:.{MONEY_DECIMALS}f}"
    return make_printable(str(value))


def print_json(value: Any, *, indent: int | None = 2) -> None:
    """Print ``value`` as indented JSON, in the shapes of docs/json.md."""
    text = json.dumps(value, indent=indent, ensure_ascii=False, default=json_ready)
    sys.stdout.write(f"{text}\n")


def print_json_line(value: Any) -> None:
    """Print ``value`` as one line of JSON, for a stream of values."""
    print_json(value, indent=None)
