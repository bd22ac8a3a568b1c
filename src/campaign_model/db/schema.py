"""The schema as it should be, generated from the tables, the CHECKs and the host's table names.

``create_statements`` returns CREATE statements. An adoption executes them for temporary tables, and
compares these tables with those of the database. The migrations contain the
same schema as frozen text; a test checks that both build the same schema.
"""

from __future__ import annotations

import attrs
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from campaign_model.db.checks import checks
from campaign_model.store.tables import STORAGE_PARAMETERS, HostTables, metadata

# The style "named" keeps a % in a name as it is; the default of PostgreSQL doubles it.
_DIALECTS = {
    "postgresql": postgresql.dialect(paramstyle="named"),  # type: ignore[no-untyped-call]
    "sqlite": sqlite.dialect(paramstyle="named"),
}

HOST_KEY = ("tenant_id", "id")
"""The columns of owners and contacts that the library's foreign keys refer to: a unique key."""

OUTBOX = "campaign_outbox"
"""The table of the outbox (:mod:`campaign_model.db.outbox`), which only some databases have."""


def create_statements(dialect_name: str, host: HostTables) -> tuple[str, ...]:
    """Return the CREATE statements of the library's tables and indexes.

    A table comes after those that its foreign keys refer to, and before its indexes.
    """
    statements = []
    for table in build_tables(dialect_name, host):
        statements.append(_create_table(sa.schema.CreateTable(table), dialect_name))
        statements += [
            _compile(sa.schema.CreateIndex(index), dialect_name) for index in _sorted_indexes(table)
        ]
    return tuple(statements)


def create_table_statements(host: HostTables) -> dict[str, str]:
    """Return the CREATE TABLE of each table on PostgreSQL, without foreign keys and indexes.

    Each table comes after the tables that it refers to.
    """
    return {
        table.name: _create_table(
            sa.schema.CreateTable(table, include_foreign_key_constraints=()), "postgresql"
        )
        for table in build_tables("postgresql", host)
    }


def build_tables(dialect_name: str, host: HostTables) -> list[sa.Table]:
    """Copy the library's tables, and add CHECKs and foreign keys to the host's tables.

    Return the copies in an order in which they can be created.
    """
    # 1. Copy the tables. Foreign keys also need the host's tables, with only the columns of keys.
    copies = sa.MetaData(naming_convention=metadata.naming_convention)
    for name in {*attrs.astuple(host)}:  # One table may have two uses.
        sa.Table(name, copies, sa.Column("tenant_id"), sa.Column("id", primary_key=True))
    for table in metadata.sorted_tables:
        table.to_metadata(copies)
    # 2. Add the foreign keys to the host's tables.
    for table_name, columns, target in (
        ("campaigns", ("tenant_id",), (f"{host.tenants}.id",)),
        ("campaigns", ("tenant_id", "owner_id"), _host_key(host.owners)),
        ("campaign_contacts", ("tenant_id", "contact_id"), _host_key(host.contacts)),
        ("campaign_templates", ("tenant_id",), (f"{host.tenants}.id",)),
    ):
        foreign_key = sa.ForeignKeyConstraint(columns, target)
        copies.tables[table_name].append_constraint(foreign_key)
    # 3. Leave out the host's tables, and add the CHECKs to the others.
    conditions = checks(dialect_name)
    tables = [table for table in copies.sorted_tables if table.name in metadata.tables]
    for table in tables:
        for name, condition in conditions[table.name].items():
            table.append_constraint(sa.CheckConstraint(sa.text(condition), name=name))
    return tables


def quote(name: str) -> str:
    """Return ``name`` as an identifier of PostgreSQL, in quotes if it needs them."""
    identifier: str = _DIALECTS["postgresql"].identifier_preparer.quote(name)
    return identifier


def quote_text(text: str) -> str:
    """Return ``text`` as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def _host_key(table_name: str) -> tuple[str, ...]:
    return tuple(f"{table_name}.{column}" for column in HOST_KEY)


def _sorted_indexes(table: sa.Table) -> list[sa.Index]:
    """Return the indexes of a table, sorted by name, partial indexes last.

    Of two indexes that serve a query equally well, SQLite uses the one created last.
    """
    return sorted(
        table.indexes,
        key=lambda index: (index.dialect_options["sqlite"]["where"] is not None, str(index.name)),
    )


def _create_table(element: sa.schema.CreateTable, dialect_name: str) -> str:
    sql = _compile(element, dialect_name)
    parameters = STORAGE_PARAMETERS.get(element.element.name)
    return f"{sql} WITH ({parameters})" if parameters and dialect_name == "postgresql" else sql


def _compile(element: sa.schema.CreateTable | sa.schema.CreateIndex, dialect_name: str) -> str:
    sql = str(element.compile(dialect=_DIALECTS[dialect_name]))
    return "\n".join(line.rstrip() for line in sql.strip().splitlines())
