"""The tables that a service has beside the library's: tenants, contacts and messages.

``choose_host`` decides where the demo keeps its contacts and messages, so that it never writes
into tables that have another shape than its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import attrs
import sqlalchemy as sa

from campaign_model import db
from campaign_model.cli.console import UserError
from campaign_model.cli.demo.contacts_csv import Contact
from campaign_model.store.connection import insert_into
from campaign_model.store.types import Uuid

__all__ = ["HOST", "TENANT", "choose_host", "create_tables", "save_contacts"]

HOST = db.MinimalHost(db.HostTables())
"""The demo's tables in a database that it has to itself."""

_SEPARATE_HOST = db.MinimalHost(
    db.HostTables(contacts="campaign_model_demo_contacts"), messages="campaign_model_demo_messages"
)
"""The demo's tables in a database whose contacts and messages have another shape."""

TENANT = UUID("d3300000-0000-4000-8000-000000000001")
"""The demo's tenant. A constant, so that a second run finds the contacts of the first."""


def choose_host(engine: sa.Engine) -> db.MinimalHost:
    """Return the tables in which the demo keeps contacts and messages in this database.

    Raise ``UserError`` if the database has host tables of another shape and does not have the
    library's tables.
    """
    inspector = sa.inspect(engine)
    for table in (HOST.tenants, HOST.contacts, HOST.messages):
        if not inspector.has_table(table.name):
            continue
        present = {column["name"] for column in inspector.get_columns(table.name)}
        differing = [name for name in table.c.keys() if name not in present]  # noqa: SIM118
        differing += [
            name for name in _required_columns(inspector, table.name) if name not in table.c
        ]
        if differing and inspector.has_table(db.VERSION_TABLE):
            return _SEPARATE_HOST
        if differing:
            raise UserError(
                f"the database already has a table {table.name} with other columns "
                f"({', '.join(differing)}); use an empty database, or run  "
                "campaign-model db adopt  first"
            )
    return HOST


def create_tables(engine: sa.Engine, host: db.MinimalHost) -> None:
    """Create the library's tables and the host tables, where they are missing."""
    db.init(engine, with_host_tables=host is HOST)
    with engine.begin() as connection:
        host.create_referred(connection)
        host.create_referring(connection)


def save_contacts(
    connection: sa.Connection, host: db.MinimalHost, contacts: Mapping[UUID, Contact]
) -> None:
    """Insert the demo's tenant and the contacts; update contacts that exist already."""
    _insert_missing(connection, HOST.tenants.name, [{"id": TENANT, "name": "Demo"}])
    ids = [{"id": id_, "tenant_id": TENANT} for id_ in contacts]
    if host is not HOST:
        # Campaign contacts refer to the service's own table, which needs a row per contact too.
        _insert_missing(connection, HOST.contacts.name, ids)
    insert = insert_into(connection, host.contacts)
    fields = {field.name: insert.excluded[field.name] for field in attrs.fields(Contact)}
    connection.execute(
        insert.on_conflict_do_update(index_elements=["id"], set_=fields),
        [row | attrs.asdict(contact) for row, contact in zip(ids, contacts.values(), strict=True)],
    )


def _insert_missing(connection: sa.Connection, table: str, rows: list[dict[str, Any]]) -> None:
    """Insert the rows that do not exist into a host table with columns that the demo cannot know.

    Required text columns beyond those of ``rows`` get the row's id as their value. Raise
    ``UserError`` if the table requires a column that is not text.
    """
    inspector = sa.inspect(connection)
    extra = [name for name in _required_columns(inspector, table) if name not in rows[0]]
    text_columns = {
        column["name"]
        for column in inspector.get_columns(table)
        if isinstance(column["type"], sa.String)
    }
    if not text_columns.issuperset(extra):
        raise UserError(
            f"table {table} requires {', '.join(extra)}, for which the demo has no values; use an "
            "empty database"
        )
    complete_rows = [row | {name: str(row["id"]) for name in extra} for row in rows]
    columns = (
        sa.Column(name, Uuid if isinstance(value, UUID) else sa.Text)
        for name, value in complete_rows[0].items()
    )
    target = sa.Table(table, sa.MetaData(), *columns)
    connection.execute(insert_into(connection, target).on_conflict_do_nothing(), complete_rows)


def _required_columns(inspector: sa.Inspector, table: str) -> list[str]:
    """Return the columns that need a value in every new row."""
    return [
        column["name"]
        for column in inspector.get_columns(table)
        if not column["nullable"] and not column["default"]
    ]
