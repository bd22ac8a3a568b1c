"""The command ``campaign-model``: its subcommands that need no database, and the demo.

The groups of subcommands are in other modules, such as ``campaign_commands``. Exit codes and
messages of errors are in ``failures``.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from campaign_model._logs import setup_log
from campaign_model.cli.campaign_commands import campaigns_app
from campaign_model.cli.console import (
    FOUND_PROBLEMS,
    NAME,
    SUCCESS,
    USAGE_ERROR,
    UserError,
    open_console,
    print_error,
    print_json,
    print_table,
)
from campaign_model.cli.contact_commands import contacts_app
from campaign_model.cli.database_commands import database_app
from campaign_model.cli.document_files import Format, Kind, check_file, print_checked_files
from campaign_model.cli.failures import print_failure, wants_json
from campaign_model.cli.options import GROUP_SETTINGS, Json, Stored
from campaign_model.cli.template_commands import templates_app
from campaign_model.cli.tenant_commands import tenants_app

app: typer.Typer = typer.Typer(
    **GROUP_SETTINGS | {"add_completion": True}, pretty_exceptions_enable=False
)
app.add_typer(database_app, name="db")
app.add_typer(templates_app, name="templates")
app.add_typer(campaigns_app, name="campaigns")
app.add_typer(contacts_app, name="contacts")
app.add_typer(tenants_app, name="tenants")


def run(arguments: Sequence[str] | None) -> int:
    """Run a command and return its exit code. An exception is printed, and has an exit code too."""
    arguments = sys.argv[1:] if arguments is None else arguments
    as_json = wants_json(arguments)
    printer = _WarningPrinter(as_json=as_json)
    setup_log.addHandler(printer)
    try:
        exit_code: int | None = app(arguments, prog_name=NAME, standalone_mode=False)
    except Exception as error:  # noqa: BLE001 - a bug gets an exit code of its own
        return print_failure(error, as_json=as_json)
    else:
        return exit_code or SUCCESS
    finally:
        setup_log.removeHandler(printer)


class _WarningPrinter(logging.Handler):
    """Prints warnings of the library as errors are printed."""

    def __init__(self, *, as_json: bool) -> None:
        super().__init__()
        self._as_json = as_json

    def emit(self, record: logging.LogRecord) -> None:
        print_error(record.getMessage(), as_json=self._as_json, code="warning")


def _print_version(requested: bool) -> None:  # noqa: FBT001 - Typer passes it by position
    if requested:
        from campaign_model import __version__

        typer.echo(f"{NAME} {__version__}")
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
    continued_id: Annotated[
        UUID | None,
        typer.Option("--continue", metavar="ID", help="Continue an interrupted demo's campaign."),
    ] = None,
) -> int:
    """Run one campaign from template to export, in about five seconds.

    The demo creates the tables, assigns contacts and writes sample messages.
    It kills one worker on the way; the others take over its contacts.
    Then it reviews the messages, approves them and exports them to a file.
    It calls no language model and sends nothing.
    """
    from campaign_model.cli.demo import run_demo

    return run_demo(
        open_console(),
        url,
        contacts_path=contacts,
        template_name=template,
        out=out,
        continued_id=continued_id,
    )


@app.command()
def validate(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE", help="JSON files; - reads standard input.")
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
    output_format: Annotated[
        Format,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="full (a table for each file), concise (one line for each violation), github "
            "(annotations of GitHub Actions) or json.",
        ),
    ] = Format.FULL,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> int:
    """List every violation in JSON documents.

    Each has its line and column. The exit code is 1 if there are any.
    """
    if as_json:
        output_format = Format.JSON
    exit_code = SUCCESS
    checked_files = []
    for file in files:
        try:
            checked_files.append(check_file(file, document, stored=stored))
        except UserError as error:  # The other files are still checked.
            print_error(str(error), as_json=output_format is Format.JSON)
            exit_code = USAGE_ERROR
    print_checked_files(checked_files, output_format)
    if any(checked.violations for checked in checked_files):
        exit_code = max(exit_code, FOUND_PROBLEMS)
    return exit_code


@app.command()
def schema(
    name: Annotated[
        Kind | None,
        typer.Argument(metavar="KIND", help="Kind of document. Default: list the kinds."),
    ] = None,
    *,
    stored: Stored = False,
    bundle: Annotated[
        bool,
        typer.Option(
            "--bundle",
            help="Print one schema without references, with titles, defaults and examples, for "
            "editors and generators of code.",
        ),
    ] = False,
    as_typescript: Annotated[
        bool,
        typer.Option(
            "--typescript", help="Print the TypeScript types of all documents, a .d.ts file."
        ),
    ] = False,
) -> None:
    """Print the JSON Schema of a kind of document."""
    form = "stored" if stored else "submitted"
    if as_typescript:
        from campaign_model.bundles import typescript

        typer.echo(typescript(), nl=False)
    elif name is None:
        typer.echo("\n".join(Kind))
    elif bundle:
        from campaign_model.bundles import bundled_schema

        print_json(bundled_schema(name, form))
    else:
        from campaign_model.validation import document_schema

        print_json(document_schema(name, form))


@app.command("lifecycle")
def show_lifecycle(*, as_json: Json = False) -> None:
    """Print the lifecycle: the actions of campaigns and contacts, guards and permissions."""
    from campaign_model import lifecycle

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
