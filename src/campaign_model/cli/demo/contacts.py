"""The demo's contacts: read from a CSV file, and saved in the tables of the host."""

from __future__ import annotations

import csv
import io
import textwrap
from collections.abc import Collection, Mapping, Sequence
from importlib.resources.abc import Traversable
from typing import Any
from uuid import UUID, uuid5

import attrs
import sqlalchemy as sa

from campaign_model import db
from campaign_model.cli.console import UserError
from campaign_model.store.connection import insert_into

TENANT = UUID("d3300000-0000-4000-8000-000000000001")
"""The demo's tenant. A constant, so that a second run finds the contacts of the first."""

_SYNONYMS = {
    "company": ("company_name", "organisation", "organization"),
    "email_address": ("e_mail", "e_mail_address", "email"),
    "job_title": ("job", "position", "title"),
    "last_name": ("surname",),
    "linkedin_url": ("linkedin", "linkedin_profile"),
    "phone": ("phone_number",),
}
_COLUMN_OF_SYNONYM = {word: column for column, words in _SYNONYMS.items() for word in words}


@attrs.frozen
class Contact:
    """A person in the file. An empty cell is ``None``."""

    first_name: str | None = None
    last_name: str | None = None
    company: str | None = None
    job_title: str | None = None
    email_address: str | None = None
    linkedin_url: str | None = None
    phone: str | None = None

    @property
    def name(self) -> str:
        """First and last name, without what is missing."""
        return " ".join(filter(None, (self.first_name, self.last_name))) or "(no name)"

    @property
    def id(self) -> UUID:
        """An id made from the best address, so that a second run finds the contact."""
        identity = self.email_address or self.linkedin_url or f"{self.name}, {self.company}"
        return uuid5(TENANT, identity.casefold())


_FIELDS = tuple(field.name for field in attrs.fields(Contact))


def read_contacts(
    file: Traversable, required_columns: Collection[str]
) -> tuple[dict[UUID, Contact], int]:
    """Return the contacts of a CSV file by id, and how many rows repeat an earlier contact.

    A row repeats a contact if both have the same id, which is made from the e-mail address (or the
    LinkedIn URL, or name and company). The first row counts. Raise ``UserError`` if the file cannot
    be read, lacks a required column or has no contacts.
    """
    try:
        text = file.read_text("utf-8-sig")
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{file.name} is not UTF-8 text; save it as CSV UTF-8") from None
    if "\0" in text:
        raise UserError(f"{file.name} is not a CSV file: it contains NUL characters")
    # A spreadsheet program separates columns by comma, semicolon or tab, depending on the country.
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    reader = csv.DictReader(io.StringIO(text), delimiter=delimiter, strict=True)
    contacts: dict[UUID, Contact] = {}
    repeated = 0
    try:
        columns = _parse_header(file.name, reader.fieldnames or (), required_columns)
        reader.fieldnames = columns
        for row in reader:
            if None in row:  # The reader puts surplus cells there.
                raise UserError(
                    f"{file.name}, line {reader.line_num}: {len(columns) + len(row[None])} cells "
                    f"but {len(columns)} columns; put quotes around text that contains the "
                    "separator"
                )
            cells = {name: cell.strip() for name, cell in row.items() if cell}
            if any(cells.values()):
                contact = Contact(**{name: cells.get(name) or None for name in _FIELDS})
                if contact.id in contacts:
                    repeated += 1
                else:
                    contacts[contact.id] = contact
    except csv.Error as error:
        raise UserError(f"{file.name}, line {reader.line_num}: {error}") from None
    if not contacts:
        raise UserError(f"{file.name} has a header but no contacts")
    return contacts, repeated


def _parse_header(file_name: str, header: Sequence[str], required: Collection[str]) -> list[str]:
    """Return the header's column names in our spelling, such as ``email_address`` for "E-Mail"."""
    if not header:
        raise UserError(f"{file_name} is empty, or its first line is")
    normalized = ("_".join(cell.lower().replace("-", " ").split()) for cell in header)
    columns = [_COLUMN_OF_SYNONYM.get(name, name) for name in normalized]
    missing = [column for column in required if column not in columns]
    if missing:
        present = textwrap.shorten(", ".join(columns), 100, placeholder=" ...")
        raise UserError(
            f"{file_name} has no column {', '.join(missing)}; its columns are {present}"
        )
    repeated = [column for column in _FIELDS if columns.count(column) > 1]
    if repeated:
        raise UserError(f"{file_name} has two columns for {', '.join(repeated)}")
    return columns


def save_contacts(connection: sa.Connection, contacts: Mapping[UUID, Contact]) -> None:
    """Insert the demo's tenant and the contacts, or update them."""
    host = db.MinimalHost(db.HostTables())
    _save_rows(connection, host.tenants, [{"id": TENANT, "name": "Demo"}])
    rows = [
        {"id": id_, "tenant_id": TENANT, **attrs.asdict(contact)}
        for id_, contact in contacts.items()
    ]
    _save_rows(connection, host.contacts, rows)


def _save_rows(connection: sa.Connection, table: sa.Table, rows: list[dict[str, Any]]) -> None:
    """Save rows in a table of the host, which may have other columns than ``table``.

    Columns that it lacks are left out. Required columns without a value get the row's id as text.
    Raise ``UserError`` if the table does not accept that.
    """
    columns = sa.inspect(connection).get_columns(table.name)
    required = {col["name"] for col in columns if not (col["nullable"] or col["default"])}
    names = required | {column["name"] for column in columns if column["name"] in rows[0]}
    complete_rows = [
        {name: row.get(name) or (str(row["id"]) if name in required else None) for name in names}
        for row in rows
    ]
    types = {name: table.c[name].type if name in table.c else sa.Text() for name in names}
    target = sa.Table(table.name, sa.MetaData(), *(sa.Column(*item) for item in types.items()))
    insert = insert_into(connection, target)
    updates = {name: insert.excluded[name] for name in names}
    try:
        connection.execute(
            insert.on_conflict_do_update(index_elements=["id"], set_=updates), complete_rows
        )
    except (sa.exc.DataError, sa.exc.IntegrityError, sa.exc.ProgrammingError) as error:
        raise UserError(
            f"the demo cannot fill table {table.name} ({error.orig}); use an empty database"
        ) from None
