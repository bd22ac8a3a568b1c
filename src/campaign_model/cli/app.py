"""The commands, and what becomes of their errors."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

import attrs
import sqlalchemy as sa
import typer

import campaign_model
from campaign_model import db, lifecycle
from campaign_model.cli import document_files
from campaign_model.cli.adopt_report import (
    adoption_progress,
    pairs,
    print_report,
    print_verdict,
    status_cases,
)
from campaign_model.cli.console import (
    UserError,
    moment,
    open_console,
    print_json,
    print_json_line,
    print_table,
    printable,
)
from campaign_model.cli.database import explanation, open_database, parse_url
from campaign_model.cli.demo import run_demo
from campaign_model.cli.document_files import Kind
from campaign_model.cli.views import print_campaign, print_lifecycle
from campaign_model.errors import CampaignModelError
from campaign_model.lifecycle import Status
from campaign_model.store import HostTables, transact
from campaign_model.validation import document_schema

__all__ = ["app", "run"]

_NAME = "campaign-model"
_FINE, _FAULTY, _MISTAKEN = 0, 1, 2

_WIDE = 110
"""Columns of a terminal that has room for every column of a list."""

_HOST = HostTables()
_SUBCOMMANDS: dict[str, Any] = {"no_args_is_help": True, "add_completion": False}

app = typer.Typer(**_SUBCOMMANDS, pretty_exceptions_enable=False)
database_app = typer.Typer(**_SUBCOMMANDS, help="The schema in a database.")
templates_app = typer.Typer(**_SUBCOMMANDS, help="Templates that campaigns start from.")
campaigns_app = typer.Typer(**_SUBCOMMANDS, help="Campaigns of a tenant.")
app.add_typer(database_app, name="db")
app.add_typer(templates_app, name="templates")
app.add_typer(campaigns_app, name="campaigns")

Url = Annotated[
    str,
    typer.Option(
        metavar="URL", envvar="CAMPAIGN_MODEL_URL", help="The database, as SQLAlchemy names it."
    ),
]
Tenant = Annotated[
    UUID, typer.Option(envvar="CAMPAIGN_MODEL_TENANT", help="The tenant's id.", metavar="UUID")
]
TenantsTable = Annotated[str, typer.Option("--tenants", help="Your table of tenants.")]
OwnersTable = Annotated[str, typer.Option("--owners", help="Your table of owners.")]
ContactsTable = Annotated[str, typer.Option("--contacts", help="Your table of contacts.")]
MessagesTable = Annotated[str, typer.Option("--messages", help="Your table of messages.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Stored = Annotated[
    bool, typer.Option("--stored", help="The form that databases hold, not the submitted one.")
]


def run(arguments: Sequence[str] | None) -> int:
    """Run a command; its exit code. A mistake of the user's is told in one line."""
    try:
        code: int | None = app(arguments, prog_name=_NAME, standalone_mode=False)
    except typer.TyperException as error:
        message = error.format_message()
    except (UserError, CampaignModelError, db.SetupError) as error:
        message = str(error)
    except sa.exc.DBAPIError as error:
        told = explanation(error)
        if told is None:
            raise
        message = told
    else:
        return code or _FINE
    if message:
        _complain(message)
    return _MISTAKEN


def _complain(message: str) -> None:
    sys.stderr.write(f"{_NAME}: {printable(' '.join(message.split()))}\n")


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - Typer calls it so
    if wanted:
        typer.echo(f"{_NAME} {campaign_model.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """What an outreach campaign is, what may happen to it, and how it is kept."""


@app.command()
def demo(
    *,
    url: Annotated[
        str,
        typer.Option(metavar="URL", help="The database, as SQLAlchemy names it; made if missing."),
    ] = "sqlite:///campaign-model-demo.db",
    contacts: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Your contacts, a CSV file; a sample comes along."),
    ] = None,
    template: Annotated[
        str | None, typer.Option(metavar="NAME", help="The preset to start from.")
    ] = None,
    workers: Annotated[int, typer.Option(min=2, max=16, help="One of them will die.")] = 4,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where to write the messages, as JSON Lines."),
    ] = None,
) -> int:
    """Run one campaign from template to export."""
    return run_demo(
        open_console(),
        parse_url(url),
        contacts=contacts,
        template=template,
        workers=workers,
        out=out,
    )


@app.command()
def validate(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="JSON files; - is standard input.")
    ],
    *,
    document: Annotated[
        Kind | None, typer.Option(help="What they are; told by their shape if not given.")
    ] = None,
    stored: Stored = False,
    as_json: Json = False,
) -> int:
    """Tell everything that is wrong with documents."""
    checked = []
    code = _FINE
    for file in files:
        try:
            checked.append(document_files.check(file, document, stored=stored))
        except UserError as error:
            _complain(str(error))
            code = _MISTAKEN
    if as_json:
        print_json(
            [
                ({"file": one.file} if len(files) > 1 else {}) | fault.to_dict()
                for one in checked
                for fault in one.faults
            ]
        )
    else:
        console = open_console()
        for one in checked:
            number = len(one.faults)
            file = "standard input" if one.file == document_files.STANDARD_INPUT else one.file
            title = f"{file}: {number or 'no'} fault{'s' * (number != 1)} as a {one.kind}"
            if one.faults:
                faults = [
                    (fault.path or "(whole)", fault.code, fault.message) for fault in one.faults
                ]
                print_table(console, ("location", "code", "message"), faults, title=title)
            else:
                console.print(printable(title))
    return max(code, _FAULTY if any(one.faults for one in checked) else _FINE)


@app.command()
def schema(
    name: Annotated[
        Kind | None, typer.Argument(help="The document; lists them if missing.")
    ] = None,
    *,
    stored: Stored = False,
) -> None:
    """Print the JSON Schema of a document."""
    if name is None:
        typer.echo("\n".join(Kind))
    else:
        print_json(document_schema(name, "stored" if stored else "submitted"))


@app.command("lifecycle")
def show_lifecycle(*, as_json: Json = False) -> None:
    """Show what may happen to campaigns and to contacts in them."""
    if as_json:
        print_json(lifecycle.document())
    else:
        print_lifecycle(open_console())


@database_app.command()
def init(
    *,
    url: Url,
    with_host_tables: Annotated[
        bool, typer.Option("--with-host-tables", help="Create minimal host tables if missing.")
    ] = False,
    tenants: TenantsTable = _HOST.tenants,
    owners: OwnersTable = _HOST.owners,
    contacts: ContactsTable = _HOST.contacts,
    as_json: Json = False,
) -> None:
    """Build the schema in a fresh database, or upgrade it, and sync the system templates."""
    host = HostTables(tenants, owners, contacts)
    with open_database(parse_url(url), create=with_host_tables, schema=False) as engine:
        report = db.init(engine, host=host, with_host_tables=with_host_tables)
    _print_sync(report, as_json=as_json)


@database_app.command()
def verify(
    *,
    url: Url,
    tenants: TenantsTable = _HOST.tenants,
    owners: OwnersTable = _HOST.owners,
    contacts: ContactsTable = _HOST.contacts,
    messages: MessagesTable = "messages",
    as_json: Json = False,
) -> int:
    """Print the shape of a PostgreSQL database and what it lacks. Change nothing.

    The exit code is 1 if something is missing.
    """
    host = HostTables(tenants, owners, contacts)
    with open_database(parse_url(url), schema=False) as engine:
        verdict = db.verify(engine, host=host, messages=messages)
    if as_json:
        print_json(verdict)
    else:
        print_verdict(open_console(), verdict)
    return _FAULTY if verdict.pending else _FINE


@database_app.command()
def adopt(
    *,
    url: Url,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print every finding, and write nothing.")
    ] = False,
    status_map: Annotated[
        list[str] | None,
        typer.Option(metavar="WORD=STATUS", help="The status that an unknown word means."),
    ] = None,
    status_rule: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CASE=STATUS",
            help="What campaigns without a status become: those with sent messages (sent), those "
            "with a Lemlist id (lemlist), and all others (otherwise).",
        ),
    ] = None,
    quarantine: Annotated[
        bool, typer.Option("--quarantine", help="Move values that need a decision to a table.")
    ] = False,
    contacts_from_messages: Annotated[
        bool,
        typer.Option(
            "--contacts-from-messages",
            help="Create the contacts of campaigns that have messages but no contacts.",
        ),
    ] = False,
    tenants: TenantsTable = _HOST.tenants,
    owners: OwnersTable = _HOST.owners,
    contacts: ContactsTable = _HOST.contacts,
    messages: MessagesTable = "messages",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print every finding, then the report, as JSON lines.")
    ] = False,
) -> int:
    """Bring a legacy PostgreSQL database to the schema, in place.

    Others can read and write meanwhile. Run it with --dry-run first.
    The exit code is 1 if values need a decision; then nothing was changed.
    """
    console = open_console()
    with (
        open_database(parse_url(url), schema=False) as engine,
        adoption_progress() as on_progress,
    ):
        try:
            report = db.adopt(
                engine,
                host=HostTables(tenants, owners, contacts),
                messages=messages,
                dry_run=dry_run,
                status_map=pairs("--status-map", status_map),
                status_rule=status_cases(status_rule),
                quarantine=quarantine,
                contacts_from_messages=contacts_from_messages,
                on_progress=on_progress,
                on_finding=print_json_line if as_json else None,
            )
        except db.AdoptionRefused as refusal:
            report = refusal.report
            _complain(str(refusal))
        except ValueError as error:
            raise UserError(str(error)) from None
    if as_json:
        print_json_line(report)
    else:
        print_report(console, report, dry_run=dry_run)
    return _FAULTY if report.refused else _FINE


@database_app.command("sql")
def print_sql(
    *,
    shape: Annotated[
        Literal["empty", "bare", "extended"] | None,
        typer.Option("--from", help="Shape of the database."),
    ] = None,
    url: Annotated[
        str | None, typer.Option(metavar="URL", help="Or the database itself, to inspect it.")
    ] = None,
    tenants: TenantsTable = _HOST.tenants,
    owners: OwnersTable = _HOST.owners,
    contacts: ContactsTable = _HOST.contacts,
    messages: MessagesTable = "messages",
) -> None:
    """Print an adoption as an SQL script for psql."""
    host = HostTables(tenants, owners, contacts)
    if (shape is None) == (url is None):
        raise UserError("give either --from or --url")
    if url is None:
        assert shape is not None
        typer.echo(db.sql(shape, host=host, messages=messages), nl=False)
        return
    with open_database(parse_url(url), schema=False) as engine:
        typer.echo(db.sql(engine, host=host, messages=messages), nl=False)


@templates_app.command("sync")
def sync_templates(*, url: Url, as_json: Json = False) -> None:
    """Bring the system templates in a database up to date."""
    with open_database(parse_url(url)) as engine, engine.begin() as connection:
        report = db.sync_presets(connection)
    _print_sync(report, as_json=as_json)


def _print_sync(report: db.SyncReport, *, as_json: bool) -> None:
    if as_json:
        print_json(report)
        return
    done = [(name, word) for word, names in attrs.asdict(report).items() for name in names]
    print_table(open_console(), ("system template", "was"), done)


@templates_app.command("list")
def list_templates(*, url: Url, tenant: Tenant, as_json: Json = False) -> None:
    """List the templates that a tenant sees."""
    with open_database(parse_url(url)) as engine:
        templates = transact(engine, tenant, lambda store: store.templates.list())
    if as_json:
        print_json(templates)
        return
    print_table(
        open_console(),
        ("id", "name", "steps", "messages", "whose"),
        [
            (
                template.id,
                template.name,
                len(template.steps.enabled),
                len(template.steps.slots()),
                "system" if template.is_system else "own",
            )
            for template in templates
        ],
        wraps="name",
    )


@campaigns_app.command("list")
def list_campaigns(
    *,
    url: Url,
    tenant: Tenant,
    status: Annotated[
        list[Status] | None, typer.Option(metavar="STATUS", help="Only these; may be repeated.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many at most.")] = 50,
    after: Annotated[
        str | None, typer.Option(metavar="PAGE", help="Go on where the last page ended.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List a tenant's campaigns, newest first."""
    with open_database(parse_url(url)) as engine:
        try:
            page = transact(
                engine,
                tenant,
                lambda store: store.campaigns.list(status=status, limit=limit, after=after),
            )
        except ValueError as error:
            raise UserError(str(error)) from None
    if as_json:
        print_json(page)
        return
    console = open_console()
    columns: tuple[str, ...] = ("id", "status", "done", "name", "cost", "created (UTC)")
    if console.width < _WIDE:
        columns = columns[:4]
    print_table(
        console,
        columns,
        [
            (
                one.id,
                one.status,
                f"{one.generated_count}/{one.total_contacts}",
                one.name,
                one.generation_cost,
                moment(one.created_at),
            )[: len(columns)]
            for one in page.items
        ],
        wraps="name",
    )
    if page.next is not None:
        console.print(f"More with --after {page.next}")


@campaigns_app.command("show")
def show_campaign(
    id_: Annotated[UUID, typer.Argument(metavar="ID", help="The campaign's id.")],
    *,
    url: Url,
    tenant: Tenant,
    as_json: Json = False,
) -> None:
    """Show a campaign: its steps, its progress, what may happen to it and what did."""
    with open_database(parse_url(url)) as engine:
        campaign, progress, actions, history = transact(
            engine,
            tenant,
            lambda store: (
                store.campaigns.get(id_),
                store.generation.progress(id_),
                store.campaigns.actions(id_),
                store.campaigns.history(id_),
            ),
        )
    if as_json:
        print_json(
            {
                "campaign": campaign,
                "progress": progress,
                "actions": [
                    attrs.asdict(one, recurse=False) | {"allowed": one.allowed} for one in actions
                ],
                "history": history,
            }
        )
    else:
        print_campaign(open_console(), campaign, progress, actions, history)
