"""The schema as it should be, generated from the tables and the checks.

Migrations hold it as frozen text, and adoption compares a database with it; tests compare what
all three build.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

import attrs
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect

from campaign_model.db.checks import checks
from campaign_model.store.tables import HostTables, metadata

__all__ = [
    "HOST_KEY",
    "Column",
    "Constraint",
    "Table",
    "complete",
    "options",
    "quoted",
    "statements",
    "tables",
]

_DIALECTS = {"postgresql": postgresql.dialect, "sqlite": sqlite.dialect}

HOST_KEY = ("tenant_id", "id")
"""What is unique in the host's tables that our keys point at."""


@attrs.frozen
class Column:
    """A column as PostgreSQL says it in its catalog; ``sql`` is its line in CREATE TABLE."""

    type: str
    default: str | None
    not_null: bool
    sql: str


@attrs.frozen
class Constraint:
    """``kind`` is as in pg_constraint: p, u, f or c. ``sql`` is what follows the name."""

    kind: str
    columns: tuple[str, ...]
    sql: str


@attrs.frozen
class Table:
    """A table of ours, in parts; ``create`` makes it without its foreign keys and indexes.

    ``options`` are its storage options, as PostgreSQL says them.
    """

    create: str
    columns: Mapping[str, Column]
    constraints: Mapping[str, Constraint]
    indexes: Mapping[str, str]
    options: tuple[str, ...] = ()


def statements(dialect: str, host: HostTables) -> tuple[str, ...]:
    """``CREATE`` statements for the library's tables, in order, onto the host's tables."""
    compiled = _DIALECTS[dialect]()
    built = []
    for table in complete(dialect, host):
        built.append(_text(sa.schema.CreateTable(table), compiled))
        built += [_text(sa.schema.CreateIndex(index), compiled) for index in _indexes(table)]
    return tuple(built)


@cache
def tables(host: HostTables) -> Mapping[str, Table]:
    """The library's tables on PostgreSQL, in parts, each after those that it refers to."""
    dialect = _DIALECTS["postgresql"]()
    found = {}
    for table in complete(dialect.name, host):
        constraints = {}
        for constraint in table.constraints:
            name = dialect.identifier_preparer.format_constraint(constraint)
            assert name is not None
            adding = sa.schema.AddConstraint(constraint, isolate_from_table=False)
            _, _, sql = _text(adding, dialect).partition(f" {name} ")
            columns: tuple[str, ...] = ()
            if isinstance(constraint, sa.schema.ColumnCollectionConstraint):
                columns = tuple(constraint.columns.keys())
            constraints[name] = Constraint(_KINDS[type(constraint)], columns, sql)
        found[table.name] = Table(
            create=_text(sa.schema.CreateTable(table, include_foreign_key_constraints=()), dialect),
            columns={column.name: _column(column, dialect) for column in table.columns},
            constraints=dict(sorted(constraints.items(), key=_as_made)),
            indexes={
                str(index.name): _text(sa.schema.CreateIndex(index), dialect)
                for index in _indexes(table)
            },
            options=options(table),
        )
    return MappingProxyType(found)


def quoted(name: str) -> str:
    """``name`` as PostgreSQL's SQL writes it, with quotes where it needs them."""
    written: str = _DIALECTS["postgresql"]().identifier_preparer.quote(name)
    return written


_KINDS: dict[type[sa.Constraint], str] = {
    sa.PrimaryKeyConstraint: "p",
    sa.UniqueConstraint: "u",
    sa.ForeignKeyConstraint: "f",
    sa.CheckConstraint: "c",
}


def _as_made(named: tuple[str, Constraint]) -> tuple[int, str]:
    # A foreign key needs the unique one that it points at.
    return "pufc".index(named[1].kind), named[0]


def _column(column: sa.Column[object], dialect: Dialect) -> Column:
    sql = _text(sa.schema.CreateColumn(column), dialect)
    type_ = column.type.compile(dialect).lower()
    default = None
    if column.server_default is not None:
        _, _, default = sql.removesuffix(" NOT NULL").partition(" DEFAULT ")
        if default.startswith("'"):
            default = default.strip("'") if type_ == "integer" else f"{default}::{type_}"
    return Column(type_, default, not column.nullable, sql)


def complete(dialect: str, host: HostTables) -> list[sa.Table]:
    """Our tables with their CHECKs and their keys onto the host's, in the order of creation."""
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
    ours = [table for table in copied.sorted_tables if table.name in rules]
    for table in ours:
        for name, condition in rules[table.name].items():
            table.append_constraint(sa.CheckConstraint(sa.text(condition), name=name))
    return ours


def options(table: sa.Table) -> tuple[str, ...]:
    """Storage options on PostgreSQL, as it says them."""
    given = table.dialect_options["postgresql"]["with"] or {}
    return tuple(f"{name}={value}" for name, value in given.items())


def _indexes(table: sa.Table) -> list[sa.Index]:
    # Of two indexes that serve a query equally well, SQLite takes the one that was made last.
    return sorted(
        table.indexes,
        key=lambda index: (index.dialect_options["sqlite"]["where"] is not None, str(index.name)),
    )


def _refer(table: sa.Table, columns: tuple[str, ...], host: str) -> None:
    names = ("id",) if columns == ("tenant_id",) else HOST_KEY
    table.append_constraint(sa.ForeignKeyConstraint(columns, [f"{host}.{name}" for name in names]))


def _text(element: sa.ClauseElement, dialect: Dialect) -> str:
    compiled = str(element.compile(dialect=dialect))
    return "\n".join(line.rstrip() for line in compiled.strip().splitlines())
