"""Reading the contacts that a user keeps in a CSV file.

``read_contacts`` checks the whole file before the demo writes anything.
"""

from __future__ import annotations

import csv
import io
import textwrap
from collections.abc import Collection, Iterable
from importlib.resources.abc import Traversable
from pathlib import Path
from uuid import UUID, uuid5

import attrs

from campaign_model.cli.console import UserError

__all__ = ["Contact", "ContactFile", "read_contacts"]

_COLUMN_SYNONYMS = {
    "company_name": "company",
    "e_mail": "email_address",
    "e_mail_address": "email_address",
    "email": "email_address",
    "job": "job_title",
    "linkedin": "linkedin_url",
    "linkedin_profile": "linkedin_url",
    "organisation": "company",
    "organization": "company",
    "phone_number": "phone",
    "position": "job_title",
    "surname": "last_name",
    "title": "job_title",
}


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

    def id(self, tenant_id: UUID) -> UUID:
        """Return an id made from the contact's address, so that a second run finds the contact."""
        if self.email_address:
            return uuid5(tenant_id, f"email:{self.email_address.casefold()}")
        if self.linkedin_url:
            return uuid5(tenant_id, f"linkedin:{self.linkedin_url.casefold()}")
        return uuid5(tenant_id, f"name:{self.name}, {self.company}".casefold())

    def gaps(self, required_fields: Iterable[str]) -> tuple[str, ...]:
        """Return the required fields that are missing."""
        return tuple(field for field in required_fields if getattr(self, field) is None)


@attrs.frozen
class ContactFile:
    """The contacts of a file by id, and how many rows repeat an earlier contact."""

    contacts: dict[UUID, Contact]
    repeated: int


_FIELDS = tuple(field.name for field in attrs.fields(Contact))


def read_contacts(
    file: Traversable, required_columns: Collection[str], tenant_id: UUID
) -> ContactFile:
    """Read the contacts of a CSV file; ``tenant_id`` is the namespace of their ids.

    Raise ``UserError`` if the file cannot be read, lacks a required column or has no contacts.
    """
    text = _read_text(file)
    # A spreadsheet program separates columns by comma, semicolon or tab, depending on the country.
    header_line = text.partition("\n")[0]
    delimiter = max(",;\t", key=header_line.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        lines = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise UserError(f"{file.name}, line {reader.line_num}: {error}") from None
    if not lines:
        raise UserError(f"{file.name} is empty")
    (_, header), *rows = lines
    columns = _parse_header(file.name, header, required_columns)
    contacts: dict[UUID, Contact] = {}
    for line_number, row in rows:
        if len(row) > len(columns):
            raise UserError(
                f"{file.name}, line {line_number}: {len(row)} cells but {len(columns)} columns; "
                "put quotes around text that contains the separator"
            )
        cells = {
            column: cell.strip()
            for column, cell in zip(columns, row, strict=False)
            if column in _FIELDS and cell.strip()
        }
        contact = Contact(**cells)
        contacts.setdefault(contact.id(tenant_id), contact)
    if not contacts:
        raise UserError(f"{file.name} has a header but no contacts")
    return ContactFile(contacts, len(rows) - len(contacts))


def _read_text(file: Traversable) -> str:
    """Read a file of UTF-8 text. Raise ``UserError`` if it cannot be read or is not text."""
    try:
        content = file.read_bytes()
    except OSError as error:
        path = str(file) if isinstance(file, Path) else file.name
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{file.name} is not UTF-8 text; save it as CSV UTF-8") from None
    if "\0" in text:
        raise UserError(f"{file.name} is not a CSV file: it contains NUL characters")
    return text


def _parse_header(file_name: str, header: list[str], required: Collection[str]) -> list[str]:
    """Return the header's column names in our spelling, such as ``email_address`` for "E-Mail"."""
    normalized = ("_".join(cell.strip().lower().replace("-", " ").split()) for cell in header)
    columns = [_COLUMN_SYNONYMS.get(name, name) for name in normalized]
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
