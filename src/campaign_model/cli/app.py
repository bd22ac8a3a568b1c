"""The command ``campaign-model``: its subcommands, and the exit code and message of every error.

The group ``db`` is in ``database_commands``, the groups ``templates`` and ``campaigns`` are in
``campaign_commands``.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import sqlalchemy as sa
import typer

import campaign_model
from campaign_model import db, lifecycle
from campaign_model._logs import setup_log
from campaign_model.cli.campaign_commands import campaigns_app, templates_app
from campaign_model.cli.console import (
    FOUND_PROBLEMS,
    INTERRUPTED,
    NAME,
    SUCCESS,
    USAGE_ERROR,
    Interruption,
    UserError,
    open_console,
    print_error,
    print_json,
    print_table,
)
from campaign_model.cli.database import explain_database_error, parse_url
from campaign_model.cli.database_commands import database_app
from campaign_model.cli.demo import run_demo
from campaign_model.cli.document_files import Kind, check_file, print_checked_file
from campaign_model.cli.options import GROUP_SETTINGS, Json, Stored
from campaign_model.errors import CampaignModelError, InvalidArgument
from campaign_model.validation import document_schema

_ARGUMENT_OPTIONS = ("status_map", "status_rule", "tenants", "owners", "contacts", "messages")
"""Arguments of ``db`` that are options of its commands, with a dash for each underscore."""

_TYPER_ERROR: Any = typer.BadParameter.__mro__[2]
"""The base class of Typer's errors. Only new versions of Typer export it under a name."""

app: typer.Typer = typer.Typer(**GROUP_SETTINGS, pretty_exceptions_enable=False)
app.add_typer(database_app, name="db")
app.add_typer(templates_app, name="templates")
app.add_typer(campaigns_app, name="campaigns")


def run(arguments: Sequence[str] | None) -> int:
    """Run a command and return its exit code.

    A user's mistake becomes one line on standard error and exit code 2. All other exceptions are
    bugs and propagate. The last line of a traceback is what the database said.
    """
    error_code = USAGE_ERROR
    printer = _WarningPrinter()
    setup_log.addHandler(printer)
    try:
        exit_code: int | None = app(arguments, prog_name=NAME, standalone_mode=False)
    except _TYPER_ERROR as error:
        message = error.format_message()
    except InvalidArgument as error:
        message = _name_option(error)
    except (UserError, CampaignModelError, db.SetupError) as error:
        message = str(error)
    except (typer.Abort, Interruption) as interruption:
        message, error_code = str(interruption) or "interrupted", INTERRUPTED
    except sa.exc.DBAPIError as error:
        explanation = explain_database_error(error)
        if explanation is None:
            error.add_note(f"{NAME}: database error: {' '.join(str(error.orig).split())}")
            raise
        message = explanation
    else:
        return exit_code or SUCCESS
    finally:
        setup_log.removeHandler(printer)
    if message:  # Empty after the help of a command that was called without arguments.
        print_error(message)
    return error_code


class _WarningPrinter(logging.Handler):
    """Prints warnings of the library as errors are printed."""

    def emit(self, record: logging.LogRecord) -> None:
        print_error(record.getMessage())


def _name_option(error: InvalidArgument) -> str:
    """Return the error's message. It begins with the option, if the argument is one."""
    if error.argument not in _ARGUMENT_OPTIONS:
        return str(error)
    message = str(error).removeprefix(f"{error.argument.replace('_', ' ')}: ")
    return f"--{error.argument.replace('_', '-')}: {message}"


def _print_version(requested: bool) -> None:  # noqa: FBT001 - Typer passes it by position
    if requested:
        typer.echo(f"{NAME} {campaign_model.__version__}")
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
    exit_code = SUCCESS
    checked_files = []
    for file in files:
        try:
            checked_files.append(check_file(file, document, stored=stored))
        except UserError as error:  # The other files are still checked.
            print_error(str(error))
            exit_code = USAGE_ERROR
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
