"""What people and programs are shown, and the mistakes of users."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import attrs
from rich import box
from rich.console import Console
from rich.table import Table

from campaign_model._values import MONEY_DECIMALS
from campaign_model.errors import CampaignModelError
from campaign_model.generation_config import GenerationConfig
from campaign_model.steps import StepSequence
from campaign_model.wire import dump_generation_config, dump_template_config

__all__ = [
    "UserError",
    "amount",
    "moment",
    "open_console",
    "print_json",
    "print_json_line",
    "print_table",
    "printable",
]

_ENDLESS = 10_000


class UserError(Exception):
    """Something the user can put right; the message is the one line that says it."""


def open_console() -> Console:
    """A console on standard output, which takes nothing in a text for markup."""
    console = Console(markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        # Whatever reads this looks for lines, not for columns of a screen.
        console.width = _ENDLESS
    return console


def printable(text: str) -> str:
    """``text`` in one line and without what a terminal would obey."""
    return "".join(one if one.isprintable() else " " for one in text)


def amount(value: Decimal) -> str:
    """Money for people: exact, with two decimals or as many as it has."""
    whole, _, decimals = _shortest(value).partition(".")
    return f"{whole}.{decimals:0<2}"


def _shortest(value: Decimal) -> str:
    return f"{value.normalize():f}"  # The same for amounts of both engines.


def moment(value: datetime | None) -> str:
    """A point in time for people, in UTC."""
    return "" if value is None else f"{value:%Y-%m-%d %H:%M:%S}"


def print_table(
    console: Console,
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    title: str | None = None,
    wraps: str | None = None,
) -> None:
    """Print a table; numbers stand to the right.

    Where room is short, the texts of column ``wraps`` are broken into lines, by default the last.
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
        numbers = bool(rows) and all(isinstance(row[index], int | Decimal) for row in rows)
        table.add_column(
            column,
            justify="right" if numbers else "left",
            no_wrap=column != (wraps or columns[-1]),
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    console.print(table)
    if title is not None:
        console.print()


def _cell(value: object) -> str:
    if isinstance(value, Decimal):
        return f"{value:.{MONEY_DECIMALS}f}"  # Not shorter, so that points stand under points.
    return printable(str(value))


def print_json(value: Any) -> None:
    """Print ``value`` as JSON for programs: ids, moments and money as text."""
    sys.stdout.write(json.dumps(_plain(value), indent=2, ensure_ascii=False) + "\n")


def print_json_line(value: Any) -> None:
    """Print ``value`` as one line of JSON, to be read while more of them come."""
    sys.stdout.write(json.dumps(_plain(value), ensure_ascii=False) + "\n")


def _plain(value: Any) -> Any:
    match value:
        case None | str() | bool() | int() | float():
            return value
        case Decimal():
            return _shortest(value)
        case datetime():
            return value.isoformat()
        case UUID():
            return str(value)
        case StepSequence():
            return dump_template_config(value)
        case GenerationConfig():
            return dump_generation_config(value)
        case CampaignModelError():
            return value.to_dict()
        case Mapping():
            return {str(name): _plain(one) for name, one in value.items()}
        case _ if attrs.has(type(value)):
            return {
                field.name: _plain(getattr(value, field.name))
                for field in attrs.fields(type(value))
            }
        case _:
            return [_plain(one) for one in value]
