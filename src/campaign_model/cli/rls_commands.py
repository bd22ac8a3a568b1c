"""The commands ``campaign-model db rls``: install, remove and check row-level security."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from campaign_model.cli.console import (
    FOUND_PROBLEMS,
    SUCCESS,
    make_printable,
    open_console,
    print_json,
)
from campaign_model.cli.database import open_database
from campaign_model.cli.options import GROUP_SETTINGS, Json, Url

if TYPE_CHECKING:
    from collections.abc import Callable

rls_app: typer.Typer = typer.Typer(
    **GROUP_SETTINGS, help="Let PostgreSQL itself keep the rows of tenants apart."
)

Print = Annotated[
    bool, typer.Option("--print", help="Print the SQL for psql, and execute nothing.")
]


@rls_app.command()
def install(*, url: Url, print_sql: Print = False) -> None:
    """Add row-level security to every table of the library.

    Run it as the owner of the tables. Run it again after db init, db adopt or db enforce.
    """
    from campaign_model import db

    _change(url, db.install_row_security, print_sql=print_sql)


@rls_app.command()
def remove(*, url: Url, print_sql: Print = False) -> None:
    """Drop the library's policies. Policies of your own stay."""
    from campaign_model import db

    _change(url, db.remove_row_security, print_sql=print_sql)


@rls_app.command()
def status(*, url: Url, as_json: Json = False) -> int:
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


def _change(url: str, change: Callable[..., tuple[str, ...]], *, print_sql: bool) -> None:
    """Execute the statements of ``change``, or print them as a transaction."""
    from campaign_model.db.setup import LOCK_TIMEOUT_MILLISECONDS

    with open_database(url, needs_schema=False) as engine:
        statements = change(engine, dry_run=print_sql)
    if not print_sql:
        console = open_console()
        console.print(f"Executed {len(statements)} statements" if statements else "Nothing to do")
        return
    typer.echo("BEGIN;")
    typer.echo(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MILLISECONDS};")
    for statement in statements:
        typer.echo(f"{statement};")
    typer.echo("COMMIT;")
