"""Reading contacts from a CSV file: the exports of Apollo, HubSpot, lemlist, LinkedIn and others.

:func:`read_contacts_file` finds the header, decides which column is which field of a contact, and
returns the contacts and the faults of the file. A row with a fault is never read as a contact.

1. The header is the line, among the first ones, that has the most column names that we know. Lines
   above it, such as the notes of LinkedIn, are ignored. The line ``sep=;`` names the separator.
2. Column names are compared without spaces, punctuation and case: "E-Mail", "email" and "Email" are
   the same name.
3. If several columns are the same field (such as mobile phone and office phone), the first one that
   is not empty counts, in the order of ``_COLUMN_NAMES``.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
import textwrap
from collections.abc import Collection, Mapping, Sequence
from importlib.resources.abc import Traversable
from uuid import UUID, uuid5

import attrs

from campaign_model.cli.console import UserError

_COLUMN_NAMES: dict[str, tuple[str, ...]] = {
    "first_name": ("firstname givenname",),
    "last_name": ("lastname surname familyname",),
    "company": (
        "company companyname organisation organization employer",
        "associatedcompany primaryassociatedcompany",
        "companynameforemails",
    ),
    "job_title": ("jobtitle job position title role",),
    "email_address": ("email emailaddress workemail", "secondaryemail personalemail"),
    "linkedin_url": (
        "linkedinurl linkedin linkedinprofile linkedinprofileurl personlinkedinurl profileurl",
        "linkedinbio",
    ),
    "phone": (
        "phone phonenumber workdirectphone directphone",
        "mobilephone mobilephonenumber mobile",
        "corporatephone companyphone",
        "homephone",
        "otherphone",
    ),
}
"""Names of the columns of each field. A later text has names that count only if a column of the
earlier texts is missing or empty. Two names of one text are an error: which one is meant?"""

_COLUMN_NAMES_OF_LINKEDIN = {"url": ("linkedin_url", 1)}
"""In LinkedIn's list of connections only. In other files, "URL" is the website of the company."""

_LINKEDIN_ONLY = "connectedon"
"""The name of a column that only LinkedIn's list of connections has."""

_FIELD_AND_RANK = {
    name: (field, rank)
    for field, texts in _COLUMN_NAMES.items()
    for rank, names in enumerate(texts)
    for name in names.split()
}

_SEPARATORS = ",;\t"
"""A spreadsheet program separates columns by comma, semicolon or tab, depending on the country."""

_HEADER_LINES = 20
"""The header is one of so many first lines."""

_ENCODINGS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
"""By the byte order mark at the beginning of the file. Excel writes UTF-16 as "Unicode text"."""


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
    def identity(self) -> str:
        """The best address, in lower case. Two rows with the same identity are one contact."""
        identity = self.email_address or self.linkedin_url or f"{self.name}, {self.company}"
        return identity.casefold()

    def id_in(self, tenant_id: UUID) -> UUID:
        """Return an id made from the identity, so that a second import finds the contact."""
        return uuid5(tenant_id, self.identity)


FIELDS = tuple(field.name for field in attrs.fields(Contact))


@attrs.frozen
class RowFault:
    """A row that cannot be read as a contact, by the line of the file in which it begins."""

    line: int
    message: str


@attrs.frozen
class ContactsFile:
    """What a file contains.

    ``columns`` has the names of the columns of each field, in the order in which they count, and
    ``ignored_columns`` the names of all other columns. ``contacts`` has each contact once;
    ``repeated`` is the number of rows that repeat an earlier one.
    """

    columns: Mapping[str, Sequence[str]]
    ignored_columns: Sequence[str]
    contacts: tuple[Contact, ...]
    repeated: int
    faults: tuple[RowFault, ...]


def read_contacts_file(
    file: Traversable,
    *,
    fields_by_column: Mapping[str, str] | None = None,
    required: Collection[str] = (),
) -> ContactsFile:
    """Read the contacts of a CSV file.

    ``fields_by_column`` says which field a column is, or with an empty text that it is none;
    ``required`` are fields that must have a column. Raise ``UserError`` if the file cannot be read,
    lacks a required column, has two columns of the same name for a field, or ends within quotes.
    """
    lines = _read_lines(file)
    header = _find_header(file.name, lines, fields_by_column or {}, required)
    reader = csv.reader(lines[header.line + 1 :], delimiter=header.separator, strict=True)
    contacts: dict[str, Contact] = {}
    repeated = 0
    faults = []
    while True:
        line_number = header.line + reader.line_num + 2  # Counted from 1.
        try:
            contact = _make_contact(header, next(reader))
        except StopIteration:
            break
        except csv.Error as error:
            if "unexpected end" in str(error):
                # The rows within the quotes are lost, and their number is unknown: skip none.
                raise UserError(
                    f"{file.name}, line {line_number}: unexpected end of the file within the "
                    "quotes that begin here"
                ) from None
            faults.append(RowFault(line_number, f"{error}; write a quote within quotes twice"))
        except ValueError as error:
            faults.append(RowFault(line_number, str(error)))
        else:
            if contact is not None:
                repeated += contact.identity in contacts
                contacts.setdefault(contact.identity, contact)
    if not contacts and not faults:
        raise UserError(f"{file.name} has a header but no contacts")
    used_indexes = {*itertools.chain(*header.indexes.values())}
    return ContactsFile(
        columns={
            field: [header.cells[index] for index in indexes]
            for field, indexes in header.indexes.items()
        },
        ignored_columns=[
            cell for index, cell in enumerate(header.cells) if cell and index not in used_indexes
        ],
        contacts=tuple(contacts.values()),
        repeated=repeated,
        faults=tuple(faults),
    )


def _read_lines(file: Traversable) -> list[str]:
    """Return the lines of the file, with their ends. Raise ``UserError``."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from None
    encoding = next(
        (name for mark, name in _ENCODINGS.items() if content.startswith(mark)), "utf-8"
    )
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line_number = content.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{file.name} is not UTF-8 text (line {line_number}); save it as CSV UTF-8"
        ) from None
    if "\0" in text:
        raise UserError(f"{file.name} is not a CSV file: it contains NUL characters")
    return io.StringIO(text, newline="").readlines()


@attrs.frozen
class _Header:
    """The header of a file: its line (counted from 0), separator, cells and what they mean."""

    line: int
    separator: str
    cells: list[str]
    indexes: dict[str, list[int]] = attrs.field(factory=dict)


def _normalize(name: str) -> str:
    """Return the name of a column without spaces, punctuation and case."""
    return re.sub(r"[\W_]+", "", name).casefold()


def _find_header(
    file_name: str,
    lines: Sequence[str],
    fields_by_column: Mapping[str, str],
    required: Collection[str],
) -> _Header:
    """Find the header and what its columns mean. Raise ``UserError`` if it cannot be used."""
    chosen = {_normalize(column): field for column, field in fields_by_column.items()}
    separators = _SEPARATORS
    first_line = 0
    directive = re.fullmatch(r'"?sep=(.)"?', lines[0].strip("\r\n") if lines else "")
    if directive:
        separators, first_line = directive[1], 1

    def count_known(header: _Header) -> tuple[int, int]:
        names = [_normalize(cell) for cell in header.cells]
        known = sum(name in chosen or name in _FIELD_AND_RANK for name in names)
        return known, len(names) if known else 0

    candidates = [
        _Header(number, separator, cells)
        for number, line in enumerate(lines[:_HEADER_LINES])
        for separator in separators
        if number >= first_line and (cells := _split_line(line, separator))
    ]
    if not candidates:
        raise UserError(f"{file_name} is empty, or its first lines are")
    header = max(candidates, key=count_known)  # The first one of equal ones.
    header = attrs.evolve(header, indexes=_assign_columns(file_name, header.cells, chosen))
    names = {_normalize(cell) for cell in header.cells}
    missing = [column for column in fields_by_column if _normalize(column) not in names]
    missing = missing or [field for field in required if field not in header.indexes]
    if missing or not header.indexes:
        present = textwrap.shorten(", ".join(header.cells), 100, placeholder=" ...")
        lacks = f"has no column {', '.join(missing)}" if missing else "has no column that is known"
        raise UserError(f"{file_name} {lacks}; its columns are {present}")
    return header


def _split_line(line: str, separator: str) -> list[str]:
    """Return the cells of a line, or nothing if it is empty or no row by itself."""
    try:
        rows = list(csv.reader([line], delimiter=separator, strict=True))
    except csv.Error:
        return []
    cells = [cell.strip() for cell in rows[0]] if rows else []
    return cells if any(cells) else []


def _assign_columns(
    file_name: str, cells: Sequence[str], chosen: Mapping[str, str]
) -> dict[str, list[int]]:
    """Return for each field the indexes of its columns, in the order in which they count."""
    names = [_normalize(cell) for cell in cells]
    known = dict(_FIELD_AND_RANK)
    if _LINKEDIN_ONLY in names:
        known |= _COLUMN_NAMES_OF_LINKEDIN
    for field in chosen.values():  # A chosen column replaces all that we know for its field.
        known = {name: place for name, place in known.items() if place[0] != field}
    known |= {name: (field, 0) for name, field in chosen.items()}
    indexes_by_field = {}
    for field in FIELDS:
        ranked = sorted(
            (known[name][1], index)
            for index, name in enumerate(names)
            if name in known and known[name][0] == field
        )
        if len({rank for rank, _ in ranked}) < len(ranked):
            columns = ", ".join(repr(cells[index]) for _, index in ranked)
            raise UserError(f"{file_name} has two columns for {field}: {columns}; keep one of them")
        if ranked:
            indexes_by_field[field] = [index for _, index in ranked]
    return indexes_by_field


def _make_contact(header: _Header, cells: list[str]) -> Contact | None:
    """Make a contact of a row; None if the row is empty. Raise ``ValueError`` if it is wrong."""
    cells = [cell.strip() for cell in cells]
    if not any(cells):
        return None
    width = len(header.cells)
    if width > 1 and len(cells) == 1 and header.separator in cells[0]:
        raise ValueError(
            "the whole row is in quotes, so it is a single cell; put quotes around cells only"
        )
    if any(cells[width:]):
        raise ValueError(
            f"{len(cells)} cells but {width} columns; put quotes around text that contains the "
            "separator"
        )
    cells += [""] * (width - len(cells))
    contact = Contact(
        **{
            field: next((cells[index] for index in indexes if cells[index]), None)
            for field, indexes in header.indexes.items()
        }
    )
    if contact.phone:  # Apollo writes an apostrophe, so that a spreadsheet keeps the plus sign.
        contact = attrs.evolve(contact, phone=contact.phone.lstrip("'"))
    if contact.email_address and not re.fullmatch(r"[^@\s]+@[^@\s]+", contact.email_address):
        raise ValueError(f"{contact.email_address!r} is no e-mail address")
    if not (
        contact.email_address or contact.linkedin_url or contact.first_name or contact.last_name
    ):
        raise ValueError("no name, no e-mail address and no LinkedIn URL")
    return contact
