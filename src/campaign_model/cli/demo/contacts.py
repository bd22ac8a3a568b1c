"""The demo's contacts: read from a CSV file, and saved in the tables of the host."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from importlib.resources.abc import Traversable
from typing import Any
from uuid import UUID

import attrs
import sqlalchemy as sa

from campaign_model import db
from campaign_model.cli.console import UserError
from campaign_model.cli.contacts_csv import Contact, read_contacts_file
from campaign_model.store.connection import insert_into

TENANT = UUID("d3300000-0000-4000-8000-000000000001")
"""The demo's tenant. A constant, so that a second run finds the contacts of the first."""


def read_contacts(
    file: Traversable, required_columns: Collection[str]
) -> tuple[dict[UUID, Contact], int]:
    """Return the contacts of a CSV file by id, and how many rows repeat an earlier contact.

    Raise ``UserError`` if the file or one of its rows cannot be used.
    """
    found = read_contacts_file(file, required=required_columns)
    for fault in found.faults:
        raise UserError(f"{file.name}, line {fault.line}: {fault.message}")
    return {contact.id_in(TENANT): contact for contact in found.contacts}, found.repeated


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
