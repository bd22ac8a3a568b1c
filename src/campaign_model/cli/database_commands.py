"""The commands ``campaign-model db``: build, check, adopt and enforce the schema of a database."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from campaign_model.cli.console import (
    FOUND_PROBLEMS,
    SUCCESS,
    open_console,
    print_error,
    print_json,
    print_json_line,
)
from campaign_model.cli.database import open_database
from campaign_model.cli.options import (
    GROUP_SETTINGS,
    ContactsTable,
    Json,
    MessagesTable,
    OwnersTable,
    TenantsTable,
    Url,
)
from campaign_model.cli.protection_commands import guard_app, rls_app
from campaign_model.cli.template_commands import print_sync_report

if TYPE_CHECKING:
    from campaign_model import db

database_app: typer.Typer = typer.Typer(
    **GROUP_SETTINGS, help="Create, check and adopt the schema in a database."
)
database_app.add_typer(rls_app, name="rls")
database_app.add_typer(guard_app, name="guard")

DryRun = Annotated[bool, typer.Option("--dry-run", help="Print every finding, and write nothing.")]
StatusMap = Annotated[
    list[str] | None,
    typer.Option(metavar="WORD=STATUS", help="The status that an unknown word means."),
]
Quarantine = Annotated[
    bool, typer.Option("--quarantine", help="Move values that need a decision to a table.")
]
FindingsAsJson = Annotated[
    bool, typer.Option("--json", help="Print every finding, then the report, as JSON lines.")
]


@database_app.command()
def init(
    *,
    url: Url,
    with_host_tables: Annotated[
        bool, typer.Option("--with-host-tables", help="Create minimal host tables if missing.")
    ] = False,
    tenants: TenantsTable = "tenants",
    owners: OwnersTable = "owners",
    contacts: ContactsTable = "contacts",
    as_json: Json = False,
) -> None:
    """Build the schema in a fresh database, or upgrade it, and sync the system templates."""
    from campaign_model import db

    host = db.HostTables(tenants, owners, contacts)
    # `may_create` lets SQLite create the file of the database if there is none. A new file has no
    # host tables. So without --with-host-tables, `db.init` would fail and leave an empty file.
    with open_database(url, may_create=with_host_tables, needs_schema=False) as engine:
        report = db.init(engine, host=host, with_host_tables=with_host_tables)
    print_sync_report(report, as_json=as_json)


@database_app.command()
def verify(
    *,
    url: Url,
    tenants: TenantsTable = "tenants",
    owners: OwnersTable = "owners",
    contacts: ContactsTable = "contacts",
    messages: MessagesTable = "messages",
    as_json: Json = False,
) -> int:
    """Print the shape of a PostgreSQL database and what it lacks. Change nothing.

    The exit code is 1 if something is missing.
    """
    from campaign_model import db
    from campaign_model.cli.adopt_report import print_verdict

    host = db.HostTables(tenants, owners, contacts)
    with open_database(url, needs_schema=False) as engine:
        verdict = db.verify(engine, host=host, messages=messages)
    if as_json:
        print_json(verdict)
    else:
        print_verdict(open_console(), verdict)
    return FOUND_PROBLEMS if verdict.pending else SUCCESS


@database_app.command("doctor")
def examine_database(
    *,
    url: Url,
    repair: Annotated[
        bool, typer.Option("--repair", help="Correct totals and leases, which loses nothing.")
    ] = False,
    tenants: TenantsTable = "tenants",
    owners: OwnersTable = "owners",
    contacts: ContactsTable = "contacts",
    as_json: Json = False,
) -> int:
    """Examine the rows of all tenants, and say for each problem what to do.

    Checks: settings of the connection, version of the schema, totals, leases, documents that cannot
    be read, history that the lifecycle does not allow, and rows that refer to nothing. Use a role
    that sees the rows of every tenant. The exit code is 1 if problems are left.

    Example:  campaign-model db doctor --url postgresql://owner@host/name
    """
    from campaign_model.cli.doctor import examine
    from campaign_model.store import HostTables

    host = HostTables(tenants, owners, contacts)
    return examine(url, host, repair=repair, as_json=as_json)


@database_app.command()
def adopt(
    *,
    url: Url,
    dry_run: DryRun = False,
    enforce: Annotated[
        bool, typer.Option("--enforce", help="Also add all constraints, as db enforce does.")
    ] = False,
    status_map: StatusMap = None,
    status_rule: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CASE=STATUS",
            help="What campaigns without a status become: those with sent messages (sent), those "
            "with a Lemlist id (lemlist), and all others (otherwise).",
        ),
    ] = None,
    quarantine: Quarantine = False,
    contacts_from_messages: Annotated[
        bool,
        typer.Option(
            "--contacts-from-messages",
            help="Create the contacts of campaigns that have messages but no contacts.",
        ),
    ] = False,
    tenants: TenantsTable = "tenants",
    owners: OwnersTable = "owners",
    contacts: ContactsTable = "contacts",
    messages: MessagesTable = "messages",
    as_json: FindingsAsJson = False,
) -> int:
    """Bring a legacy PostgreSQL database to the schema, in place.

    Others can read and write meanwhile, and services without this library afterwards, too. Run it
    with --dry-run first. The exit code is 1 if values need a decision; then nothing was changed.
    """
    from campaign_model import db
    from campaign_model.cli.adopt_report import parse_pairs

    run_step = partial(
        db.adopt,
        host=db.HostTables(tenants, owners, contacts),
        messages=messages,
        dry_run=dry_run,
        enforce=enforce,
        status_map=parse_pairs("--status-map", status_map),
        status_rule=parse_pairs("--status-rule", status_rule),
        quarantine=quarantine,
        contacts_from_messages=contacts_from_messages,
    )
    return _run_step(run_step, url, dry_run=dry_run, as_json=as_json)


@database_app.command()
def enforce(
    *,
    url: Url,
    dry_run: DryRun = False,
    status_map: StatusMap = None,
    quarantine: Quarantine = False,
    tenants: TenantsTable = "tenants",
    owners: OwnersTable = "owners",
    contacts: ContactsTable = "contacts",
    messages: MessagesTable = "messages",
    as_json: FindingsAsJson = False,
) -> int:
    """Add the constraints that old services could violate. Run it when all of them are gone.

    With --dry-run, count the writes since the adoption that the constraints would have refused.
    The exit code is 1 if values need a --status-map or --quarantine; then nothing was changed.
    """
    from campaign_model import db
    from campaign_model.cli.adopt_report import parse_pairs

    run_step = partial(
        db.enforce,
        host=db.HostTables(tenants, owners, contacts),
        messages=messages,
        dry_run=dry_run,
        status_map=parse_pairs("--status-map", status_map),
        quarantine=quarantine,
    )
    return _run_step(run_step, url, dry_run=dry_run, as_json=as_json)


def _run_step(
    run_step: Callable[..., db.AdoptReport], url: str, *, dry_run: bool, as_json: bool
) -> int:
    """Run a step of an adoption, print its report and return the exit code."""
    from campaign_model import db
    from campaign_model.cli.adopt_report import adoption_progress, print_report

    refusal = ""
    with (
        open_database(url, needs_schema=False) as engine,
        adoption_progress() as on_progress,
    ):
        try:
            report = run_step(
                engine,
                on_progress=on_progress,
                on_finding=print_json_line if as_json else None,
            )
        except db.AdoptionRefused as error:
            report, refusal = error.report, str(error)
    if as_json:
        print_json_line(report)
    else:
        print_report(open_console(), report, dry_run=dry_run)
    if refusal:
        print_error(refusal, as_json=as_json, code="needs_decision")
    # A dry run raises no error: its report lists the values that a real run would refuse.
    return FOUND_PROBLEMS if report.refused else SUCCESS


@database_app.command("grants")
def print_grants(
    *,
    role: Annotated[str, typer.Option(metavar="ROLE", help="The role of your service.")],
    owners: OwnersTable = "owners",
    contacts: ContactsTable = "contacts",
) -> None:
    """Print the GRANT statements that let a PostgreSQL role use the store."""
    from campaign_model import db

    for grant in db.grants(role, host=db.HostTables(owners=owners, contacts=contacts)):
        typer.echo(f"{grant};")


@database_app.command("distribute")
def print_distribution(
    *,
    print_only: Annotated[  # noqa: ARG001 - says to the reader that the command changes nothing
        bool, typer.Option("--print", help="Print the SQL. The command does not run it.")
    ],
    tenants: TenantsTable = "tenants",
    owners: OwnersTable = "owners",
    contacts: ContactsTable = "contacts",
    messages: MessagesTable = "messages",
) -> None:
    """Print the SQL that spreads the tables over the nodes of a Citus cluster, by tenant."""
    from campaign_model import db

    host = db.HostTables(tenants, owners, contacts)
    typer.echo(db.distribute_sql(host=host, messages=messages), nl=False)


@database_app.command("sql")
def print_sql(
    *,
    url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Database to inspect. Default: SQL for one that has only your own tables.",
        ),
    ] = None,
    tenants: TenantsTable = "tenants",
    owners: OwnersTable = "owners",
    contacts: ContactsTable = "contacts",
    messages: MessagesTable = "messages",
    enforce: Annotated[
        bool, typer.Option("--enforce", help="Print the statements of db enforce, too.")
    ] = False,
) -> None:
    """Print an adoption as an SQL script for psql."""
    from campaign_model import db

    host = db.HostTables(tenants, owners, contacts)
    if url is None:
        typer.echo(db.sql(host=host), nl=False)
        return
    with open_database(url, needs_schema=False) as engine:
        typer.echo(db.sql(engine, host=host, messages=messages, enforce=enforce), nl=False)
