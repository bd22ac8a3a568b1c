"""The commands ``campaign-model db guard``: triggers that refuse what the library never does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from campaign_model.cli.console import (
    FOUND_PROBLEMS,
    SUCCESS,
    format_count,
    open_console,
    print_json,
)
from campaign_model.cli.database import run_in_transaction
from campaign_model.cli.options import GROUP_SETTINGS, Json, Url

if TYPE_CHECKING:
    from campaign_model import db

guard_app: typer.Typer = typer.Typer(
    **GROUP_SETTINGS, help="Let the database refuse changes that the library never makes."
)


@guard_app.command()
def install(*, url: Url, as_json: Json = False) -> int:
    """Add the triggers of the guard, or replace those of another version.

    Use the role that owns the tables. First stop services that write without this library, and run
    db enforce. Other writers wait until the command ends.

    Example:  campaign-model db guard install --url postgresql://owner@host/name
    """
    from campaign_model import db

    return _print_status(run_in_transaction(url, db.install_guard), as_json=as_json)


@guard_app.command()
def remove(*, url: Url, as_json: Json = False) -> None:
    """Remove the triggers of the guard."""
    from campaign_model import db

    run_in_transaction(url, db.remove_guard)
    if as_json:
        print_json(run_in_transaction(url, db.read_guard))
    else:
        open_console().print("the guard is removed")


@guard_app.command()
def status(*, url: Url, as_json: Json = False) -> int:
    """Print which triggers of the guard are missing or disabled. Change nothing.

    The exit code is 1 if a trigger is missing or disabled.
    """
    from campaign_model import db

    return _print_status(run_in_transaction(url, db.read_guard), as_json=as_json)


def _print_status(guard: db.GuardStatus, *, as_json: bool) -> int:
    """Print how many triggers are in place and which are missing. Return the exit code."""
    if as_json:
        print_json(guard)
    else:
        console = open_console()
        installed = format_count(len(guard.installed), "trigger")
        console.print(f"{installed} in place, {len(guard.missing)} missing")
        for name in guard.missing:
            console.print(f"missing: {name}")
        if guard.missing:
            console.print("to add them, run  campaign-model db guard install")
    return FOUND_PROBLEMS if guard.missing else SUCCESS
