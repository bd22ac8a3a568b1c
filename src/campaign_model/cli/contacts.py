"""What the commands ``campaign-model contacts`` do: list contacts, and import them.

An import writes into the host's table of contacts, if it has the columns of ``db.MinimalHost``.
"""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from campaign_model import db
from campaign_model.campaign import CampaignContact
from campaign_model.cli.console import (
    FOUND_PROBLEMS,
    SUCCESS,
    UserError,
    format_count,
    format_time,
    open_console,
    print_error,
    print_json,
    print_labelled,
    print_table,
)
from campaign_model.cli.contacts_csv import FIELDS, Contact, ContactsFile, read_contacts_file
from campaign_model.cli.database import open_database, parse_url, require_table
from campaign_model.lifecycle import ContactStatus
from campaign_model.store import transact
from campaign_model.store.connection import chunks, insert_into

_ROWS_PER_INSERT = 1000
_SHOWN_FAULTS = 20


def print_contacts(
    url: str,
    tenant_id: UUID,
    campaign_id: UUID,
    *,
    status: ContactStatus | None,
    limit: int,
    after: str | None,
    as_json: bool,
) -> None:
    """Print a page of a campaign's contacts."""
    with open_database(parse_url(url)) as engine:
        page = transact(
            engine,
            tenant_id,
            lambda store: store.contacts.list(campaign_id, status=status, limit=limit, after=after),
        )
    if as_json:
        print_json(page)
        return
    console = open_console()
    if not page.items:
        console.print(
            f"No contact of this campaign has status {status}." if status else "No contact."
        )
        return
    print_table(
        console,
        ("contact", "status", "claims", "why"),
        [
            (contact.contact_id, contact.status, contact.attempts, _explain_status(contact))
            for contact in page.items
        ],
    )
    if page.next is not None:
        console.print(f"For the next page, add  --after {page.next}", soft_wrap=True)


def _explain_status(contact: CampaignContact) -> str:
    """Say why the contact has its status, as far as its row tells."""
    match contact.status:
        case ContactStatus.GENERATING:
            return f"claimed until {format_time(contact.lease_expires_at)} UTC"
        case ContactStatus.ENRICHMENT_NEEDED:
            return f"lacks {', '.join(contact.enrichment_gaps or ())}"
        case ContactStatus.GENERATED if contact.exported_at is not None:
            return f"exported at {format_time(contact.exported_at)} UTC"
        case ContactStatus.GENERATED if contact.stale:
            return "generated from other steps than the present ones"
        case _:
            return ": ".join(filter(None, (contact.error_code, contact.error)))


def import_file(
    url: str,
    tenant_id: UUID,
    file: Path,
    *,
    columns: Iterable[str],
    skip_invalid: bool,
    table_name: str,
    as_json: bool,
) -> int:
    """Import the contacts of a CSV file, print what was done, and return the exit code.

    ``columns`` are the texts of ``--map``. Raise ``UserError`` for a file, a table or a tenant that
    cannot be used.
    """
    read = read_contacts_file(file, fields_by_column=_parse_map(columns))
    is_refused = bool(read.faults) and not skip_invalid
    added = 0
    if not is_refused:
        with open_database(parse_url(url)) as engine, engine.begin() as connection:
            added = insert_contacts(connection, table_name, tenant_id, read)
    counts = {
        "added": added,
        "already_there": 0 if is_refused else len(read.contacts) - added,
        "repeated": read.repeated,
    }
    if as_json:
        print_json(
            counts
            | {
                "columns": read.columns,
                "ignored_columns": read.ignored_columns,
                "faults": read.faults,
            }
        )
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


def insert_contacts(
    connection: sa.Connection, table_name: str, tenant_id: UUID, read: ContactsFile
) -> int:
    """Insert the contacts that the tenant does not have, and return their number.

    The tenant has a contact if its table has the id that is made from the contact's identity, or
    the contact's e-mail address. Raise ``UserError`` for a table or a tenant that cannot be used.
    """
    name = db.HostTables(contacts=table_name).contacts
    table = db.MinimalHost(db.HostTables()).contacts.to_metadata(sa.MetaData(), name=name)
    require_table(
        connection,
        table_name,
        "--contacts",
        columns={"id", "tenant_id", *read.columns},
        otherwise="import with a program of your own, or leave a column of the file out with  "
        "--map COLUMN=",
    )
    added = 0
    for chunk in chunks(read.contacts, _ROWS_PER_INSERT):
        known = _load_addresses(connection, table, tenant_id, chunk)
        rows: list[dict[str, Any]] = [
            {
                "id": contact.id_in(tenant_id),
                "tenant_id": tenant_id,
                **{field: getattr(contact, field) for field in read.columns},
            }
            for contact in chunk
            if contact.email_address is None or contact.email_address.lower() not in known
        ]
        if not rows:
            continue
        insert = insert_into(connection, table).values(rows)
        try:
            inserted = connection.execute(
                insert.on_conflict_do_nothing(index_elements=["id"]).returning(table.c.id)
            )
        except (sa.exc.DataError, sa.exc.IntegrityError, sa.exc.ProgrammingError) as error:
            raise UserError(
                f"the table {table_name} refuses these contacts: {error.orig}; is {tenant_id} a "
                "tenant? See  campaign-model tenants list"
            ) from None
        added += len(inserted.all())
    return added


def _load_addresses(
    connection: sa.Connection, table: sa.Table, tenant_id: UUID, contacts: Iterable[Contact]
) -> Collection[str]:
    """Return those e-mail addresses of the contacts that the tenant has, in lower case."""
    addresses = [contact.email_address.lower() for contact in contacts if contact.email_address]
    if not addresses:
        return ()
    address = sa.func.lower(table.c.email_address)
    return {
        *connection.scalars(
            sa.select(address).where(table.c.tenant_id == tenant_id, address.in_(addresses))
        )
    }


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
        print_labelled(
            console, "Repeated", f"{format_count(read.repeated, 'row')} of an earlier contact"
        )
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
    skipped = f", skipped {format_count(len(read.faults), 'wrong row')}" if read.faults else ""
    print_labelled(
        console,
        "Imported",
        f"{counts['added']} added, {counts['already_there']} already there{skipped}",
    )
