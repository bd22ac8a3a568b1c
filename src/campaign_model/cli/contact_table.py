"""Contacts in the host's table: insert imported ones, and load their names or all fields.

The table must have the columns of ``db.MinimalHost`` that are used.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from campaign_model import db
from campaign_model.cli.console import UserError
from campaign_model.cli.contacts_csv import FIELDS, Contact, ContactsFile
from campaign_model.cli.database import column_names, require_table
from campaign_model.store.connection import chunks, insert_into

_ROWS_PER_INSERT = 1000
_NAME_COLUMNS = ("first_name", "last_name", "email_address")


def insert_contacts(
    connection: sa.Connection, table_name: str, tenant_id: UUID, read: ContactsFile
) -> int:
    """Insert the contacts that the tenant does not have, and return their number.

    The tenant has a contact if its table has the id that is made from the contact's identity, or
    the contact's e-mail address. Raise ``UserError`` for a table or a tenant that cannot be used.
    """
    table = _contacts_table(table_name)
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
    """Return the e-mail addresses that the tenant's table has too, in lower case."""
    addresses = [contact.email_address.lower() for contact in contacts if contact.email_address]
    if not addresses:
        return ()
    address = sa.func.lower(table.c.email_address)
    return {
        *connection.scalars(
            sa.select(address).where(table.c.tenant_id == tenant_id, address.in_(addresses))
        )
    }


def load_names(
    engine: sa.Engine, table_name: str, tenant_id: UUID, ids: Collection[UUID]
) -> dict[UUID, str]:
    """Return the names of contacts by id. Without a name, a contact's e-mail address is taken.

    The result is empty if the table does not exist, has no such columns, or may not be read.
    """
    table = _contacts_table(table_name)
    present = column_names(engine, table.name)
    columns = [table.c[name] for name in _NAME_COLUMNS if name in present]
    if not columns or not {"id", "tenant_id"} <= present:
        return {}
    select = sa.select(table.c.id, *columns)
    of_tenant = select.where(table.c.tenant_id == tenant_id, table.c.id.in_(ids))
    try:
        with engine.begin() as connection:
            rows = [row._asdict() for row in connection.execute(of_tenant)]
    except sa.exc.ProgrammingError:  # The role has no right to read these columns.
        return {}
    names = {}
    for row in rows:
        words = [row[name] for name in ("first_name", "last_name") if row.get(name)]
        names[row["id"]] = " ".join(words) or row.get("email_address") or ""
    return names


def load_contact(
    table: sa.Table, tenant_id: UUID, connection: sa.Connection, id_: UUID
) -> dict[str, Any]:
    """Return all fields of a contact."""
    columns = table.c
    select = sa.select(*(columns[field] for field in FIELDS))
    is_it = sa.and_(columns.tenant_id == tenant_id, columns.id == id_)
    return connection.execute(select.where(is_it)).one()._asdict()


def _contacts_table(name: str) -> sa.Table:
    """Return the host's table of contacts, which may be its table of owners, too."""
    name = db.HostTables(contacts=name).contacts
    return db.MinimalHost(db.HostTables()).contacts.to_metadata(sa.MetaData(), name=name)
