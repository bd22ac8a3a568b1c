"""Printing commands that the user can paste into the same terminal."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

import sqlalchemy as sa
from rich.console import Console

from campaign_model.cli.console import NAME, make_printable
from campaign_model.cli.database import show_url


def compose_command(url: sa.URL, *arguments: object) -> str:
    """Compose a command of this program with the option ``--url``.

    If the URL has a password, the command has ``$CAMPAIGN_MODEL_URL`` in place of the URL.
    """
    whole_url = url.render_as_string(hide_password=False)
    has_password = show_url(url) != whole_url
    shown_url = '"$CAMPAIGN_MODEL_URL"' if has_password else shlex.quote(whole_url)
    return f"{_program()} {shlex.join(map(str, arguments))} --url {shown_url}"


def _program() -> str:
    """Return how the user can call this program again from the same directory."""
    script = Path(sys.argv[0])
    if script.name == "__main__.py":
        return f"{shlex.quote(sys.executable)} -m campaign_model"
    found = shutil.which(NAME)
    is_on_path = found is not None and script.exists() and script.samefile(found)
    return NAME if is_on_path or script.name != NAME else shlex.quote(str(script))


def print_commands(console: Console, title: str, *commands: str) -> None:
    """Print commands, each on one line, so that a terminal of any width copies them whole."""
    console.print(f"\n{title}:")
    if any("$CAMPAIGN_MODEL_URL" in command for command in commands):
        console.print("(CAMPAIGN_MODEL_URL stands for the URL of the database.)")
    for command in commands:
        console.print(f"  {make_printable(command)}", soft_wrap=True)
