"""The SQL that builds the schema, generated from the tables and the checks.

Migrations hold it as frozen text; a test compares what the two build.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from campaign_model.db.checks import checks
from campaign_model.store.tables import HostTables, metadata

__all__ = ["statements"]

_DIALECTS = {"postgresql": postgresql.dialect, "sqlite": sqlite.dialect}


def statements(dialect: str, host: HostTables) -> tuple[str, ...]:
    """``CREATE`` statements for the library's tables, in order, onto the host's tables."""
    rules = checks(dialect)
    copied = sa.MetaData(naming_convention=metadata.naming_convention)
    for name in (host.tenants, host.owners, host.contacts):
        sa.Table(name, copied, sa.Column("tenant_id"), sa.Column("id", primary_key=True))
    for table in metadata.sorted_tables:
        table.to_metadata(copied)
    _refer(copied.tables["campaigns"], ("tenant_id",), host.tenants)
    _refer(copied.tables["campaigns"], ("tenant_id", "owner_id"), host.owners)
    _refer(copied.tables["campaign_contacts"], ("tenant_id", "contact_id"), host.contacts)
    _refer(copied.tables["campaign_templates"], ("tenant_id",), host.tenants)
    compiled = _DIALECTS[dialect]()
    built = []
    for table in copied.sorted_tables:
        if table.name not in rules:
            continue
        for name, condition in rules[table.name].items():
            table.append_constraint(sa.CheckConstraint(sa.text(condition), name=name))
        built.append(str(sa.schema.CreateTable(table).compile(dialect=compiled)))
        built += [
            str(sa.schema.CreateIndex(index).compile(dialect=compiled))
            for index in sorted(table.indexes, key=_partial_ones_last)
        ]
    return tuple("\n".join(line.rstrip() for line in one.strip().splitlines()) for one in built)


def _partial_ones_last(index: sa.Index) -> tuple[bool, str]:
    # Of two indexes that serve a query equally well, SQLite takes the one that was made last.
    return index.dialect_options["sqlite"]["where"] is not None, str(index.name)


def _refer(table: sa.Table, columns: tuple[str, ...], host: str) -> None:
    names = ("id",) if columns == ("tenant_id",) else ("tenant_id", "id")
    table.append_constraint(sa.ForeignKeyConstraint(columns, [f"{host}.{name}" for name in names]))
