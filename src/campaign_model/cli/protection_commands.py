"""The commands ``campaign-model db rls`` and ``db guard``: protections that a user may choose.

Row-level security lets PostgreSQL itself keep the rows of tenants apart. The guard consists of
triggers that refuse what the library never does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from campaign_model.cli.console import (
    FOUND_PROBLEMS,
    SUCCESS,
    format_count,
    make_printable,
    open_console,
    print_json,
)
from campaign_model.cli.database import open_database, run_in_transaction
from campaign_model.cli.options import GROUP_SETTINGS, Json, Url

if TYPE_CHECKING:
    from collections.abc import Callable

    from campaign_model import db

rls_app: typer.Typer = typer.Typer(
    **GROUP_SETTINGS, help="Let PostgreSQL itself keep the rows of tenants apart."
)
guard_app: typer.Typer = typer.Typer(
    **GROUP_SETTINGS, help="Let the database refuse changes that the library never makes."
)

Print = Annotated[
    bool, typer.Option("--print", help="Print the SQL for psql, and execute nothing.")
]


@rls_app.command("install")
def install_row_security(*, url: Url, print_sql: Print = False) -> None:
    """Add row-level security to every table of the library.

    Run it as the owner of the tables. Run it again after db init, db adopt or db enforce.
    """
    from campaign_model import db

    _change_row_security(url, db.install_row_security, print_sql=print_sql)


@rls_app.command("remove")
def remove_row_security(*, url: Url, print_sql: Print = False) -> None:
    """Drop the library's policies. Policies of your own stay."""
    from campaign_model import db

    _change_row_security(url, db.remove_row_security, print_sql=print_sql)


@rls_app.command("status")
def show_row_security(*, url: Url, as_json: Json = False) -> int:
    """Print, for each table of the library, "ok" or what its row-level security lacks.

    The exit code is 1 if something is missing.
    """
    from campaign_model import db

    with open_database(url, needs_schema=False) as engine:
        security = db.read_row_security(engine)
    if as_json:
        print_json(security)
    else:
        console = open_console()
        for table in security.tables:
            for line in table.missing or ("ok",):
                console.print(make_printable(f"{table.table}: {line}"))
    return SUCCESS if security.is_complete else FOUND_PROBLEMS


def _change_row_security(
    url: str, change: Callable[..., tuple[str, ...]], *, print_sql: bool
) -> None:
    """Execute the statements of ``change``, or print them as a transaction."""
    from campaign_model.db.setup import LOCK_TIMEOUT_MILLISECONDS

    with open_database(url, needs_schema=False) as engine:
        statements = change(engine, dry_run=print_sql)
    if not print_sql:
        console = open_console()
        console.print(f"Executed {len(statements)} statements" if statements else "Nothing to do")
        return
    set_timeout = f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MILLISECONDS}"
    for statement in ("BEGIN", set_timeout, *statements, "COMMIT"):
        typer.echo(f"{statement};")


@guard_app.command("install")
def install_guard(*, url: Url, as_json: Json = False) -> int:
    """Add the triggers of the guard, or replace those of another version.

    Use the role that owns the tables. First stop services that write without this library, and run
    db enforce. Other writers wait until the command ends.

    Example:  campaign-model db guard install --url postgresql://owner@host/name
    """
    from campaign_model import db

    return _print_guard(run_in_transaction(url, db.install_guard), as_json=as_json)


@guard_app.command("remove")
def remove_guard(*, url: Url, as_json: Json = False) -> None:
    """Remove the triggers of the guard."""
    from campaign_model import db

    run_in_transaction(url, db.remove_guard)
    if as_json:
        print_json(run_in_transaction(url, db.read_guard))
    else:
        open_console().print("the guard is removed")


@guard_app.command("status")
def show_guard(*, url: Url, as_json: Json = False) -> int:
    """Print which triggers of the guard are missing or disabled. Change nothing.

    The exit code is 1 if a trigger is missing or disabled.
    """
    from campaign_model import db

    return _print_guard(run_in_transaction(url, db.read_guard), as_json=as_json)


def _print_guard(guard: db.GuardStatus, *, as_json: bool) -> int:
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
