"""Reading the contacts that a user keeps in a CSV file, all of it before anything is done."""

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

__all__ = ["NEEDED_BY_TEXTS", "ContactFile", "Person", "read_contacts"]

NEEDED_BY_TEXTS = ("first_name", "company")
"""What the messages speak of, whatever their channel."""

_OTHER_NAMES = {
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
class Person:
    """A line of the file; what it doesn't say is ``None``."""

    first_name: str | None = None
    last_name: str | None = None
    company: str | None = None
    job_title: str | None = None
    email_address: str | None = None
    linkedin_url: str | None = None
    phone: str | None = None

    @property
    def name(self) -> str:
        """First and last name, as far as known."""
        return " ".join(filter(None, (self.first_name, self.last_name))) or "(no name)"

    def id(self, tenant_id: UUID) -> UUID:
        """The same id for the same person, so that a second campaign finds them again."""
        if self.email_address:
            return uuid5(tenant_id, f"email:{self.email_address.casefold()}")
        if self.linkedin_url:
            return uuid5(tenant_id, f"linkedin:{self.linkedin_url.casefold()}")
        return uuid5(tenant_id, f"name:{self.name}, {self.company}".casefold())

    def gaps(self, needed: Iterable[str]) -> tuple[str, ...]:
        """Which of the ``needed`` fields nobody filled in."""
        return tuple(field for field in needed if getattr(self, field) is None)


@attrs.frozen
class ContactFile:
    """The persons by their ids, and how many lines were left out because they repeat one."""

    people: dict[UUID, Person]
    repeated: int


_FIELDS = tuple(field.name for field in attrs.fields(Person))


def read_contacts(file: Traversable, needed: Collection[str], tenant_id: UUID) -> ContactFile:
    """The contacts in a CSV file that has at least the ``needed`` columns."""
    text = _text(file)
    first_line = text.partition("\n")[0]
    # Spreadsheets separate by whatever the user's country does not use in numbers.
    delimiter = max(",;\t", key=first_line.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        lines = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise UserError(f"{file.name}, line {reader.line_num}: {error}") from None
    if not lines:
        raise UserError(f"{file.name} is empty")
    (_, header), *rows = lines
    columns = _columns(file.name, header, needed)
    people: dict[UUID, Person] = {}
    for number, row in rows:
        if len(row) > len(columns):
            raise UserError(
                f"{file.name}, line {number}: {len(row)} cells under {len(columns)} columns; "
                "put texts with commas in quotes"
            )
        cells = {
            column: cell.strip()
            for column, cell in zip(columns, row, strict=False)
            if column in _FIELDS and cell.strip()
        }
        person = Person(**cells)
        people.setdefault(person.id(tenant_id), person)
    if not people:
        raise UserError(f"{file.name} has a header but no contacts")
    return ContactFile(people, len(rows) - len(people))


def _text(file: Traversable) -> str:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {_path(file)}: {error.strerror}") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{file.name} is not UTF-8 text; save it as CSV UTF-8") from None
    if "\0" in text:
        raise UserError(f"{file.name} is no CSV text: it holds NUL characters")
    return text


def _path(file: Traversable) -> str:
    return str(file) if isinstance(file, Path) else file.name


def _columns(name: str, header: list[str], needed: Collection[str]) -> list[str]:
    words = ["_".join(cell.strip().lower().replace("-", " ").split()) for cell in header]
    columns = [_OTHER_NAMES.get(word, word) for word in words]
    missing = [column for column in needed if column not in columns]
    if missing:
        found = textwrap.shorten(", ".join(columns), 100, placeholder=" ...")
        raise UserError(f"{name} has no column {', '.join(missing)}; it has {found}")
    twice = [column for column in _FIELDS if columns.count(column) > 1]
    if twice:
        raise UserError(f"{name} has two columns for {', '.join(twice)}")
    return columns
