"""The command ``campaign-model``: its subcommands, and the exit code and message of every error.

The groups ``templates`` and ``campaigns`` are in ``campaign_commands``.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import sqlalchemy as sa
import typer

import campaign_model
from campaign_model import db, lifecycle
from campaign_model._logs import setup_log
from campaign_model.cli.adopt_report import (
    adoption_progress,
    pairs,
    print_report,
    print_verdict,
)
from campaign_model.cli.campaign_commands import campaigns_app, print_sync_report, templates_app
from campaign_model.cli.console import (
    Interruption,
    UserError,
    make_printable,
    open_console,
    print_json,
    print_json_line,
    print_table,
)
from campaign_model.cli.database import explain_database_error, open_database, parse_url
from campaign_model.cli.demo import run_demo
from campaign_model.cli.document_files import Kind, check_file, print_checked_file
from campaign_model.cli.options import GROUP_SETTINGS, Json, Stored, Url
from campaign_model.errors import CampaignModelError, InvalidArgument
from campaign_model.store import HostTables
from campaign_model.validation import document_schema

_NAME = "campaign-model"
_SUCCESS, _FOUND_PROBLEMS, _USAGE_ERROR, _INTERRUPTED = 0, 1, 2, 130
"""Exit codes."""

_ARGUMENT_OPTIONS = ("status_map", "status_rule", "tenants", "owners", "contacts", "messages")
"""Arguments of ``db`` that are options of its commands, with a dash for each underscore."""

_HOST = HostTables()

app = typer.Typer(**GROUP_SETTINGS, pretty_exceptions_enable=False)
database_app = typer.Typer(
    **GROUP_SETTINGS, help="Create, check and adopt the schema in a database."
)
app.add_typer(database_app, name="db")
app.add_typer(templates_app, name="templates")
app.add_typer(campaigns_app, name="campaigns")

TenantsTable = Annotated[str, typer.Option("--tenants", help="Your table of tenants.")]
OwnersTable = Annotated[str, typer.Option("--owners", help="Your table of owners.")]
ContactsTable = Annotated[str, typer.Option("--contacts", help="Your table of contacts.")]
MessagesTable = Annotated[str, typer.Option("--messages", help="Your table of messages.")]

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


def run(arguments: Sequence[str] | None) -> int:
    """Run a command and return its exit code.

    A user's mistake becomes one line on standard error and exit code 2. All other exceptions are
    bugs and propagate. The last line of a traceback is what the database said.
    """
    error_code = _USAGE_ERROR
    printer = _WarningPrinter()
    setup_log.addHandler(printer)
    try:
        exit_code: int | None = app(arguments, prog_name=_NAME, standalone_mode=False)
    except typer.TyperException as error:
        message = error.format_message()
    except InvalidArgument as error:
        message = _name_option(error)
    except (UserError, CampaignModelError, db.SetupError) as error:
        message = str(error)
    except (typer.Abort, Interruption) as interruption:
        message, error_code = str(interruption) or "interrupted", _INTERRUPTED
    except sa.exc.DBAPIError as error:
        explanation = explain_database_error(error)
        if explanation is None:
            error.add_note(f"{_NAME}: database error: {' '.join(str(error.orig).split())}")
            raise
        message = explanation
    else:
        return exit_code or _SUCCESS
    finally:
        setup_log.removeHandler(printer)
    if message:  # Empty after the help of a command that was called without arguments.
        _print_error(message)
    return error_code


class _WarningPrinter(logging.Handler):
    """Prints warnings of the library as errors are printed."""

    def emit(self, record: logging.LogRecord) -> None:
        _print_error(record.getMessage())


def _name_option(error: InvalidArgument) -> str:
    """Return the error's message. It begins with the option, if the argument is one."""
    if error.argument not in _ARGUMENT_OPTIONS:
        return str(error)
    message = str(error).removeprefix(f"{error.argument.replace('_', ' ')}: ")
    return f"--{error.argument.replace('_', '-')}: {message}"


def _print_error(message: str) -> None:
    sys.stderr.write(f"{_NAME}: {make_printable(' '.join(message.split()))}\n")


def _print_version(requested: bool) -> None:  # noqa: FBT001 - Typer passes it by position
    if requested:
        typer.echo(f"{_NAME} {campaign_model.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Check campaign documents, set up databases, and show campaigns.

    Start with  campaign-model demo  to see one campaign from template to export.
    """


@app.command()
def demo(
    *,
    url: Annotated[
        str,
        typer.Option(
            metavar="URL",
            help="SQLAlchemy URL of the database. An SQLite file is created if missing.",
        ),
    ] = "sqlite:///campaign-model-demo.db",
    contacts: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="CSV file of contacts. Default: 40 sample contacts."),
    ] = None,
    template: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="System template to start from. Default: the first."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="File for the exported messages, as JSON Lines. Default: "
            "campaign-model-demo-ID.jsonl.",
        ),
    ] = None,
) -> int:
    """Run one campaign from template to export, in about five seconds.

    The demo creates the tables, assigns contacts and writes sample messages.
    It kills one worker on the way; the others take over its contacts.
    Then it reviews the messages, approves them and exports them to a file.
    It calls no language model and sends nothing.
    """
    return run_demo(
        open_console(),
        parse_url(url),
        contacts_path=contacts,
        template_name=template,
        out=out,
    )


@app.command()
def validate(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="JSON files; - reads standard input.")
    ],
    *,
    document: Annotated[
        Kind | None,
        typer.Option(
            metavar="KIND",
            help="Kind of the documents: template_config (steps), generation_config (settings) or "
            "campaign_template (both). Default: guessed from the shape.",
        ),
    ] = None,
    stored: Stored = False,
    as_json: Json = False,
) -> int:
    """List every violation in JSON documents.

    The exit code is 1 if there are any.
    """
    exit_code = _SUCCESS
    checked_files = []
    for file in files:
        try:
            checked_files.append(check_file(file, document, stored=stored))
        except UserError as error:  # The other files are still checked.
            _print_error(str(error))
            exit_code = _USAGE_ERROR
    if as_json:
        print_json(
            [
                ({"file": checked.file} if len(files) > 1 else {}) | violation.to_dict()
                for checked in checked_files
                for violation in checked.violations
            ]
        )
    else:
        console = open_console()
        for checked in checked_files:
            print_checked_file(console, checked)
    if any(checked.violations for checked in checked_files):
        exit_code = max(exit_code, _FOUND_PROBLEMS)
    return exit_code


@app.command()
def schema(
    name: Annotated[
        Kind | None,
        typer.Argument(metavar="KIND", help="Kind of document. Default: list the kinds."),
    ] = None,
    *,
    stored: Stored = False,
) -> None:
    """Print the JSON Schema of a kind of document."""
    if name is None:
        typer.echo("\n".join(Kind))
    else:
        print_json(document_schema(name, "stored" if stored else "submitted"))


@app.command("lifecycle")
def show_lifecycle(*, as_json: Json = False) -> None:
    """Print the lifecycle: the actions of campaigns and contacts, guards and permissions."""
    tables = lifecycle.to_dict()
    if as_json:
        print_json(tables)
        return
    console = open_console()
    print_table(
        console,
        ("from", "action", "to", "guards"),
        [
            (
                line["source"],
                line["action"],
                line["target"] + (" (deleted)" if line["deletes"] else ""),
                ", ".join(line["guards"]),
            )
            for line in tables["transitions"]
        ],
        title="Campaign actions",
    )
    print_table(console, ("guard", "holds when"), list(tables["guards"].items()), title="Guards")
    print_table(
        console,
        ("permission", "granted in"),
        [(name, ", ".join(statuses)) for name, statuses in tables["permissions"].items()],
        title="Permissions",
    )
    print_table(
        console,
        ("from", "action", "to"),
        [
            (
                line["source"],
                line["action"] + (" (lease expired)" if line["expired_lease"] else ""),
                line["target"] or "by its gaps",
            )
            for line in tables["contact_transitions"]
        ],
        title="Contact actions",
    )
    statuses = (
        f"{status} ({gaps.replace('_', ' ')})" for gaps, status in tables["resting_status"].items()
    )
    console.print(f"By its gaps: {', '.join(statuses)}")


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
    # `may_create` lets SQLite create the file of the database if there is none. A new file has no
    # host tables. So without --with-host-tables, `db.init` would fail and leave an empty file.
    with open_database(parse_url(url), may_create=with_host_tables, needs_schema=False) as engine:
        report = db.init(engine, host=host, with_host_tables=with_host_tables)
    print_sync_report(report, as_json=as_json)


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
    with open_database(parse_url(url), needs_schema=False) as engine:
        verdict = db.verify(engine, host=host, messages=messages)
    if as_json:
        print_json(verdict)
    else:
        print_verdict(open_console(), verdict)
    return _FOUND_PROBLEMS if verdict.pending else _SUCCESS


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
    tenants: TenantsTable = _HOST.tenants,
    owners: OwnersTable = _HOST.owners,
    contacts: ContactsTable = _HOST.contacts,
    messages: MessagesTable = "messages",
    as_json: FindingsAsJson = False,
) -> int:
    """Bring a legacy PostgreSQL database to the schema, in place.

    Others can read and write meanwhile, and services without this library afterwards, too. Run it
    with --dry-run first. The exit code is 1 if values need a decision; then nothing was changed.
    """
    run_step = partial(
        db.adopt,
        enforce=enforce,
        status_rule=pairs("--status-rule", status_rule),
        contacts_from_messages=contacts_from_messages,
    )
    return _run_step(
        run_step,
        url=url,
        host=HostTables(tenants, owners, contacts),
        messages=messages,
        dry_run=dry_run,
        status_map=status_map,
        quarantine=quarantine,
        as_json=as_json,
    )


@database_app.command()
def enforce(
    *,
    url: Url,
    dry_run: DryRun = False,
    status_map: StatusMap = None,
    quarantine: Quarantine = False,
    tenants: TenantsTable = _HOST.tenants,
    owners: OwnersTable = _HOST.owners,
    contacts: ContactsTable = _HOST.contacts,
    messages: MessagesTable = "messages",
    as_json: FindingsAsJson = False,
) -> int:
    """Add the constraints that db adopt leaves out for services without this library.

    With --dry-run, count the writes since the adoption that the constraints would have refused.
    The exit code is 1 if values need a decision; then nothing was changed.
    """
    return _run_step(
        db.enforce,
        url=url,
        host=HostTables(tenants, owners, contacts),
        messages=messages,
        dry_run=dry_run,
        status_map=status_map,
        quarantine=quarantine,
        as_json=as_json,
    )


def _run_step(
    run_step: Callable[..., db.AdoptReport],
    *,
    url: str,
    host: HostTables,
    messages: str,
    dry_run: bool,
    status_map: list[str] | None,
    quarantine: bool,
    as_json: bool,
) -> int:
    """Run a step of an adoption, print its report and return the exit code."""
    console = open_console()
    refusal = ""
    with (
        open_database(parse_url(url), needs_schema=False) as engine,
        adoption_progress() as on_progress,
    ):
        try:
            report = run_step(
                engine,
                host=host,
                messages=messages,
                dry_run=dry_run,
                status_map=pairs("--status-map", status_map),
                quarantine=quarantine,
                on_progress=on_progress,
                on_finding=print_json_line if as_json else None,
            )
        except db.AdoptionRefused as error:
            report, refusal = error.report, str(error)
    if as_json:
        print_json_line(report)
    else:
        print_report(console, report, dry_run=dry_run)
    if refusal:
        _print_error(refusal)
    return _FOUND_PROBLEMS if report.refused else _SUCCESS


@database_app.command("grants")
def print_grants(
    *,
    role: Annotated[str, typer.Option(help="The role of your service.")],
    owners: OwnersTable = _HOST.owners,
    contacts: ContactsTable = _HOST.contacts,
) -> None:
    """Print the GRANT statements that let a PostgreSQL role use the store."""
    for grant in db.grants(role, host=HostTables(owners=owners, contacts=contacts)):
        typer.echo(f"{grant};")


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
    tenants: TenantsTable = _HOST.tenants,
    owners: OwnersTable = _HOST.owners,
    contacts: ContactsTable = _HOST.contacts,
    messages: MessagesTable = "messages",
    enforce: Annotated[
        bool, typer.Option("--enforce", help="Print the statements of db enforce, too.")
    ] = False,
) -> None:
    """Print an adoption as an SQL script for psql."""
    host = HostTables(tenants, owners, contacts)
    if url is None:
        typer.echo(db.sql(host=host), nl=False)
        return
    with open_database(parse_url(url), needs_schema=False) as engine:
        typer.echo(db.sql(engine, host=host, messages=messages, enforce=enforce), nl=False)
