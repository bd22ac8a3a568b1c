"""Printing: tables and labelled lines for people, JSON for programs, and the errors of commands.

``print_table`` and ``print_labelled`` remove control characters from everything they print, so
that text from a database or a file cannot control the terminal. ``UserError`` is the exception
for every mistake that the user can correct, ``DatabaseUnavailable`` the one for a database that
does not answer, ``Interruption`` the one after Ctrl-C. ``print_error`` hides passwords.

This module loads Rich and the library's documents only when it prints with them, so that
``--help`` and shell completion are fast.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

NAME = "campaign-model"

SUCCESS, FOUND_PROBLEMS, USAGE_ERROR, UNAVAILABLE, CRASH, INTERRUPTED = 0, 1, 2, 3, 70, 130
"""Exit codes. 70 is ``EX_SOFTWARE`` of sysexits.h."""

LABEL_WIDTH = 11
"""Columns of the label in ``print_labelled``."""

NARROW = 80
"""A table that does not fit into fewer columns than this becomes one block of lines per row."""

_READABLE_WIDTH = 10
"""The fewest columns in which a table wraps text."""

_UNLIMITED_WIDTH = 10_000

_PASSWORDS = (
    # The password of a URL ends at the last @ of its word, as it may contain @, / and : itself.
    re.compile(r"(?P<before>://[^\s:/@?#]*:)\S*(?P<after>@)"),
    # Parameters of a URL and of a key=value connection string. Their values may be quoted, and an
    # error message may have escaped the quotes.
    re.compile(
        r"(?P<before>(?:password|passwd|pwd)\s*=\s*)"
        r"(?:\\*(?P<quote>['\"])(?:\\+.|(?!(?P=quote)).)*(?P=quote)?|[^\s&;,'\"]+?(?=:?(?:[\s&;,'\"]|$)))(?P<after>)",
        re.IGNORECASE,
    ),
)


class UserError(Exception):
    """A mistake that the user can correct. The message is one line that says how."""

    code = "usage_error"
    exit_code = USAGE_ERROR


class DatabaseUnavailable(UserError):
    """The database cannot be reached, or it cannot work at the moment."""

    code = "database_unavailable"
    exit_code = UNAVAILABLE


class Interruption(Exception):
    """The user has interrupted the command. The message says how to go on."""

    code = "interrupted"
    exit_code = INTERRUPTED


def open_console() -> Console:
    """Open a console on standard output that prints text as it is, without markup."""
    from rich.console import Console

    console = Console(markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        # A program that reads the output needs each row on one line.
        console.width = _UNLIMITED_WIDTH
    return console


def print_error(
    message: str, *, as_json: bool = False, code: str = UserError.code, **data: Any
) -> None:
    """Print a message as one line on standard error, without passwords.

    With ``as_json``, the line is a JSON object of ``code``, ``message`` and ``data``.
    """
    message = hide_passwords(make_printable(_join_lines(message)))
    line = f"{NAME}: {message}"
    if as_json:
        line = json.dumps({"code": code, "message": message} | data, ensure_ascii=False)
    sys.stderr.write(f"{line}\n")


def _join_lines(text: str) -> str:
    """Return the lines of a message as one line, with a semicolon where a sentence has no end."""
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    ended = [line if line[-1] in ".,:;?!" else f"{line};" for line in lines[:-1]]
    return " ".join([*ended, *lines[-1:]])


def hide_passwords(text: str) -> str:
    """Replace each password in a URL or a connection string by ``***``."""
    for pattern in _PASSWORDS:
        text = pattern.sub(r"\g<before>***\g<after>", text)
    return text


def make_printable(text: str) -> str:
    """Replace line breaks and control characters by spaces."""
    return "".join(character if character.isprintable() else " " for character in text)


def format_amount(amount: Decimal) -> str:
    """Format money exactly, with at least two decimals."""
    from campaign_model._values import amount_text

    whole, _, decimals = amount_text(amount).partition(".")
    return f"{whole}.{decimals:0<2}"


def format_count(number: int, noun: str) -> str:
    """Format a number of things, such as ``1 contact`` and ``2 contacts``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def format_value(value: object) -> str:
    """Format a value for people. Times are UTC, without their time zone; ``None`` is empty."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case Decimal():
            return format_amount(value)
        case datetime():
            return f"{value:%Y-%m-%d %H:%M:%S}"
        case _:
            return str(value)


def print_labelled(console: Console, label: str, value: object) -> None:
    """Print a value with a bold label to its left; long text wraps beside the label."""
    from rich.table import Table

    grid = Table.grid(padding=(0, 1))
    # Before version 14.3, Rich makes a column with a fixed width one character too wide.
    grid.add_column(no_wrap=True, style="bold")
    grid.add_column(overflow="fold")
    grid.add_row(label.ljust(LABEL_WIDTH), make_printable(format_value(value)))
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

    A table with a title is left out if it has no rows.

    Only the column ``wraps`` breaks its text into lines (default: the last). A table that does not
    fit into the terminal becomes one block per row, with one labelled line per column.
    """
    from rich import box
    from rich.cells import cell_len
    from rich.measure import Measurement
    from rich.table import Table

    rows = list(rows)
    if title is not None and not rows:
        return
    texts = [*zip(*map(_format_column, zip(*rows, strict=True)), strict=True)]
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD if console.is_terminal else None,
        show_edge=False,
        pad_edge=False,
    )
    wrapped_index = columns.index(wraps or columns[-1])
    for index, column in enumerate(columns):
        is_numeric = bool(rows) and all(type(row[index]) in {int, Decimal} for row in rows)
        table.add_column(
            column,
            justify="right" if is_numeric else "left",
            no_wrap=index != wrapped_index,
            overflow="fold",
        )
    for text in texts:
        table.add_row(*text)
    unlimited = console.options.update(max_width=_UNLIMITED_WIDTH)
    width = Measurement.get(console, unlimited, table).maximum
    wrapped_width = max(cell_len(text[wrapped_index]) for text in (columns, *texts))
    width_if_wrapped = width - max(0, wrapped_width - _READABLE_WIDTH)
    is_too_wide = width > console.width < NARROW or width_if_wrapped > console.width
    if is_too_wide and len(columns) > 1 and rows:
        _print_blocks(console, columns, texts, title)
        return
    console.print(table)
    if title is not None:
        console.print()


def _print_blocks(
    console: Console, columns: Sequence[str], texts: Iterable[Sequence[str]], title: str | None
) -> None:
    """Print one block per row: its texts one below the other, with the columns as labels."""
    from rich.table import Table

    if title is not None:
        console.print(title, style="bold")
    for text in texts:
        block = Table.grid(padding=(0, 2))
        block.add_column(style="bold", no_wrap=True)
        block.add_column(overflow="fold")
        for column, cell in zip(columns, text, strict=True):
            if cell:
                block.add_row(column, cell)
        console.print(block)
        console.print()


def _format_column(values: Iterable[object]) -> list[str]:
    """Format the cells of a column. All amounts get the same decimals, to align their points."""
    values = list(values)
    amounts = [format_amount(value) for value in values if isinstance(value, Decimal)]
    decimals = max((len(amount.partition(".")[2]) for amount in amounts), default=0)
    return [
        f"{value:.{decimals}f}"
        if isinstance(value, Decimal)
        else make_printable(format_value(value))
        for value in values
    ]


def print_json(value: Any, *, indent: int | None = 2) -> None:
    """Print ``value`` as indented JSON, in the shapes of docs/json.md."""
    from campaign_model._answer import json_ready

    text = json.dumps(value, indent=indent, ensure_ascii=False, default=json_ready)
    sys.stdout.write(f"{text}\n")


def print_json_line(value: Any) -> None:
    """Print ``value`` as one line of JSON, for a stream of values."""
    print_json(value, indent=None)
