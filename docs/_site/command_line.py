"""The reference of the command ``campaign-model``, as Markdown, from the commands themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import typer

from campaign_model.cli.app import app
from campaign_model.cli.console import NAME

__all__ = ["command_reference"]


def command_reference() -> str:
    """Return a section for every command: its usage, what it does, and its options."""
    return "\n\n".join(_section(*found) for found in _commands(NAME, typer.main.get_command(app)))


def _commands(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    """Yield name and object of ``command``, or of the commands in it if it is a group."""
    if not hasattr(command, "commands"):
        yield name, command
        return
    for child_name, child in command.commands.items():
        if not child.hidden:
            yield from _commands(f"{name} {child_name}", child)


def _section(name: str, command: Any) -> str:
    context = typer.Context(command, info_name=name)
    usage = " ".join(command.collect_usage_pieces(context))
    records = [record for one in command.params if (record := one.get_help_record(context))]
    rows = [f"| `{_cell(words)}` | {_cell(text, '[')} |" for words, text in records]
    table = ["| argument or option | meaning |", "| --- | --- |", *rows] if rows else []
    # "\b" keeps the line breaks of a paragraph in the terminal, "\f" ends the help.
    text = (command.help or "").partition("\f")[0].replace("\b\n", "").strip()
    parts = (f"## {name}", f"```text\n{name} {usage}\n```", text, "\n".join(table))
    return "\n\n".join(part for part in parts if part)


def _cell(text: str, escaped: str = "") -> str:
    """Return a text as one line, in which the marks of Markdown are escaped."""
    return re.sub(rf"([|{re.escape(escaped)}])", r"\\\1", re.sub(r"\s+", " ", text))
