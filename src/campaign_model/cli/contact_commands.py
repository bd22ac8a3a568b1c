"""The commands ``campaign-model contacts``: import contacts, and list those of a campaign."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from campaign_model.cli.console import (
    FOUND_PROBLEMS,
    SUCCESS,
    UserError,
    format_count,
    format_value,
    open_console,
    print_error,
    print_json,
    print_labelled,
    print_table,
)
from campaign_model.cli.contacts_csv import FIELDS, ContactsFile, read_contacts_file
from campaign_model.cli.database import open_database, run_in_transaction
from campaign_model.cli.options import GROUP_SETTINGS, After, ContactsTable, Json, Tenant, Url
from campaign_model.lifecycle import ContactStatus

if TYPE_CHECKING:
    from campaign_model.campaign import CampaignContact

_SHOWN_FAULTS = 20

contacts_app: typer.Typer = typer.Typer(
    **GROUP_SETTINGS, help="Import contacts, and list those of a campaign."
)


@contacts_app.command("list")
def list_contacts(
    id_: Annotated[UUID, typer.Argument(metavar="CAMPAIGN", help="Id of the campaign.")],
    *,
    url: Url,
    tenant: Tenant,
    status: Annotated[
        ContactStatus | None,
        typer.Option(metavar="STATUS", help="List only contacts with this status."),
    ] = None,
    limit: Annotated[
        int, typer.Option(metavar="NUMBER", min=1, max=10_000, help="Contacts per page.")
    ] = 50,
    after: After = None,
    contacts: ContactsTable = "contacts",
    as_json: Json = False,
) -> None:
    """List the contacts of a campaign in the order of generation, and why they wait or failed.

    Names are those of your table of contacts, if it has the column first_name, last_name or
    email_address.

    Example:  campaign-model contacts list CAMPAIGN --status failed
    """
    from campaign_model.cli.contact_table import load_names
    from campaign_model.store import transact

    with open_database(url) as engine:
        page = transact(
            engine,
            tenant,
            lambda store: store.contacts.list(id_, status=status, limit=limit, after=after),
        )
        ids = [contact.contact_id for contact in page.items]
        names = {} if as_json else load_names(engine, contacts, tenant, ids)
    if as_json:
        print_json(page)
        return
    console = open_console()
    if not page.items:
        console.print(
            f"No contact of this campaign has status {status}." if status else "No contact."
        )
        return
    columns: dict[str, list[object]] = {
        "contact": [*ids],
        "name": [names.get(id_, "") for id_ in ids],
        "status": [contact.status for contact in page.items],
        "claims": [contact.attempts for contact in page.items],
        "why": [_explain_status(contact) for contact in page.items],
    }
    if not any(names.values()):
        del columns["name"]
    print_table(console, [*columns], zip(*columns.values(), strict=True))
    if page.next is not None:
        console.print(f"For the next page, add  --after {page.next}", soft_wrap=True)


def _explain_status(contact: CampaignContact) -> str:
    """Say why the contact has its status, as far as its row tells."""
    match contact.status:
        case ContactStatus.GENERATING:
            return f"claimed until {format_value(contact.lease_expires_at)} UTC"
        case ContactStatus.ENRICHMENT_NEEDED:
            return f"lacks {', '.join(contact.enrichment_gaps or ())}"
        case ContactStatus.GENERATED if contact.exported_at is not None:
            return f"exported at {format_value(contact.exported_at)} UTC"
        case ContactStatus.GENERATED if contact.stale:
            return "generated from other steps than the present ones"
        case _:
            return ": ".join(filter(None, (contact.error_code, contact.error)))


@contacts_app.command("import")
def import_contacts(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV file of contacts.")],
    *,
    url: Url,
    tenant: Tenant,
    columns: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="COLUMN=FIELD",
            help="Read this column as this field; an empty field ignores the column. Repeat it for "
            "several columns.",
        ),
    ] = None,
    skip_invalid: Annotated[
        bool, typer.Option("--skip-invalid", help="Import the other rows if some are wrong.")
    ] = False,
    contacts: ContactsTable = "contacts",
    as_json: Json = False,
) -> int:
    """Import contacts from a CSV file, such as an export of Apollo, HubSpot, lemlist or LinkedIn.

    Fields: first_name, last_name, company, job_title, email_address, linkedin_url, phone.

    A contact that the tenant has already stays as it is: a second import adds none.
    If rows are wrong, they are listed by line and nothing is imported; the exit code is 1.
    The import puts no contact into a campaign: your service does, with store.contacts.assign.

    Example:  campaign-model contacts import people.csv --map Employer=company
    """
    from campaign_model.cli.contact_table import insert_contacts

    read = read_contacts_file(file, fields_by_column=_parse_map(columns or ()))
    is_refused = bool(read.faults) and not skip_invalid
    added = 0
    if not is_refused:
        added = run_in_transaction(
            url, lambda connection: insert_contacts(connection, contacts, tenant, read)
        )
    counts = {
        "added": added,
        "already_there": 0 if is_refused else len(read.contacts) - added,
        "repeated": read.repeated,
    }
    if as_json:
        columns_of_file = {"columns": read.columns, "ignored_columns": read.ignored_columns}
        print_json(counts | columns_of_file | {"faults": read.faults})
    else:
        _print_import(file, read, None if is_refused else counts)
    return FOUND_PROBLEMS if is_refused else SUCCESS


def _parse_map(texts: Iterable[str]) -> dict[str, str]:
    """Return the fields of ``--map`` by column. Raise ``UserError``."""
    fields = {}
    for text in texts:
        column, equals, field = (part.strip() for part in text.rpartition("="))
        if not (column and equals and field in ("", *FIELDS)):
            raise UserError(
                f"--map is COLUMN=FIELD, not {text!r}; the fields are {', '.join(FIELDS)}"
            )
        fields[column] = field
    return fields


def _print_import(file: Path, read: ContactsFile, counts: dict[str, int] | None) -> None:
    """Print what was read, and what was imported: ``counts``, or None if nothing was."""
    console = open_console()
    columns = (
        f"{field} from {', or else '.join(map(repr, names))}"
        for field, names in read.columns.items()
    )
    print_labelled(console, "Columns", "; ".join(columns))
    if read.ignored_columns:
        ignored = textwrap.shorten(", ".join(read.ignored_columns), 120, placeholder=" ...")
        print_labelled(console, "Ignored", ignored)
    if read.repeated:
        repeated = f"{format_count(read.repeated, 'row')} of an earlier contact"
        print_labelled(console, "Repeated", repeated)
    if read.faults:
        shown = [(fault.line, fault.message) for fault in read.faults[:_SHOWN_FAULTS]]
        console.print()
        print_table(console, ("line", "fault"), shown, title="Wrong rows")
        if len(read.faults) > len(shown):
            console.print(f"and {len(read.faults) - len(shown)} more; --json lists them all")
    if counts is None:
        print_error(
            f"nothing was imported; wrong in {file.name}: {format_count(len(read.faults), 'row')}; "
            "correct them, or import the others with  --skip-invalid"
        )
        return
    imported = f"{counts['added']} added, {counts['already_there']} already there"
    if read.faults:
        imported += f", skipped {format_count(len(read.faults), 'wrong row')}"
    print_labelled(console, "Imported", imported)
