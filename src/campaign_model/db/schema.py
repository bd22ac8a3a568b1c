"""The schema as it should be, generated from the tables, the CHECKs and the host's table names.

``create_statements`` gives it as CREATE statements. ``expected_tables`` gives it in parts, so that
adoption can compare a database with it and plan what is missing. The migrations hold the same
schema as frozen text; tests compare what all of these build.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

import attrs
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.compiler import DDLCompiler

from campaign_model.db.checks import checks
from campaign_model.store.tables import HostTables, metadata

__all__ = [
    "HOST_KEY",
    "ExpectedColumn",
    "ExpectedConstraint",
    "ExpectedTable",
    "build_tables",
    "create_statements",
    "expected_tables",
    "quote",
    "storage_options",
]

_DIALECTS = {"postgresql": postgresql.dialect, "sqlite": sqlite.dialect}

HOST_KEY = ("tenant_id", "id")
"""The columns of owners and contacts that the library's foreign keys refer to: a unique key."""


@attrs.frozen
class ExpectedColumn:
    """A column in the spelling of PostgreSQL's catalog; ``sql`` is its line in CREATE TABLE."""

    type: str
    default: str | None
    not_null: bool
    sql: str


@attrs.frozen
class ExpectedConstraint:
    """A constraint. ``kind`` is as in ``pg_constraint``: p, u, f or c.

    ``sql`` is the part of ADD CONSTRAINT that follows the name.
    """

    kind: str
    columns: tuple[str, ...]
    sql: str


@attrs.frozen
class ExpectedTable:
    """A table of the library on PostgreSQL, in parts.

    ``create`` creates the table without its foreign keys and indexes. ``indexes`` are CREATE INDEX
    CONCURRENTLY statements by name. ``options`` are storage options, spelled as in the catalog.
    """

    create: str = ""
    columns: Mapping[str, ExpectedColumn] = attrs.field(factory=dict)
    constraints: Mapping[str, ExpectedConstraint] = attrs.field(factory=dict)
    indexes: Mapping[str, str] = attrs.field(factory=dict)
    options: tuple[str, ...] = ()


def create_statements(dialect_name: str, host: HostTables) -> tuple[str, ...]:
    """Return the CREATE statements of the library's tables and indexes, in an order that works."""
    dialect = _DIALECTS[dialect_name]()
    statements = []
    for table in build_tables(dialect_name, host):
        statements.append(_compile(sa.schema.CreateTable(table), dialect))
        statements += [
            _compile(sa.schema.CreateIndex(index), dialect) for index in _sorted_indexes(table)
        ]
    return tuple(statements)


@cache
def expected_tables(host: HostTables) -> Mapping[str, ExpectedTable]:
    """Return the library's tables on PostgreSQL in parts, each after the tables it refers to."""
    dialect = _DIALECTS["postgresql"]()
    tables = {}
    for table in build_tables("postgresql", host):
        create = sa.schema.CreateTable(table, include_foreign_key_constraints=())
        tables[table.name] = ExpectedTable(
            create=_compile(create, dialect),
            columns={column.name: _expected_column(column, dialect) for column in table.columns},
            constraints=_expected_constraints(table, dialect),
            indexes={
                str(index.name): _create_concurrently(index, dialect)
                for index in _sorted_indexes(table)
            },
            options=storage_options(table),
        )
    return MappingProxyType(tables)


def build_tables(dialect_name: str, host: HostTables) -> list[sa.Table]:
    """Copy the library's tables and add the CHECKs and the foreign keys to the host's tables.

    Return them in an order in which they can be created.
    """
    conditions = checks(dialect_name)
    copies = sa.MetaData(naming_convention=metadata.naming_convention)
    for name in attrs.astuple(host):
        sa.Table(name, copies, sa.Column("tenant_id"), sa.Column("id", primary_key=True))
    for table in metadata.sorted_tables:
        table.to_metadata(copies)
    for table_name, columns, target in (
        ("campaigns", ("tenant_id",), (f"{host.tenants}.id",)),
        ("campaigns", ("tenant_id", "owner_id"), _host_key(host.owners)),
        ("campaign_contacts", ("tenant_id", "contact_id"), _host_key(host.contacts)),
        ("campaign_templates", ("tenant_id",), (f"{host.tenants}.id",)),
    ):
        foreign_key = sa.ForeignKeyConstraint(columns, target)
        copies.tables[table_name].append_constraint(foreign_key)
    tables = [table for table in copies.sorted_tables if table.name in conditions]
    for table in tables:
        for name, condition in conditions[table.name].items():
            table.append_constraint(sa.CheckConstraint(sa.text(condition), name=name))
    return tables


def quote(name: str) -> str:
    """Return ``name`` as an identifier of PostgreSQL, in quotes if it needs them."""
    identifier: str = _DIALECTS["postgresql"]().identifier_preparer.quote(name)
    return identifier


def storage_options(table: sa.Table) -> tuple[str, ...]:
    """Return the storage options of a table, spelled as in PostgreSQL's catalog."""
    options = table.dialect_options["postgresql"]["with"] or {}
    return tuple(f"{name}={value}" for name, value in options.items())


def _host_key(table_name: str) -> tuple[str, ...]:
    return tuple(f"{table_name}.{column}" for column in HOST_KEY)


def _expected_column(column: sa.Column[object], dialect: Dialect) -> ExpectedColumn:
    sql = _compile(sa.schema.CreateColumn(column), dialect)
    type_ = column.type.compile(dialect).lower()
    compiler = sa.schema.CreateColumn(column).compile(dialect=dialect)
    assert isinstance(compiler, DDLCompiler)
    default = compiler.get_column_default_string(column)
    # The catalog shows a text default such as 'draft' with its type, and 0 without quotes.
    if default is not None and default.startswith("'"):
        default = default.strip("'") if type_ == "integer" else f"{default}::{type_}"
    return ExpectedColumn(type_, default, not column.nullable, sql)


_CONSTRAINT_KINDS: dict[type[sa.Constraint], str] = {
    sa.PrimaryKeyConstraint: "p",
    sa.UniqueConstraint: "u",
    sa.ForeignKeyConstraint: "f",
    sa.CheckConstraint: "c",
}


def _expected_constraints(table: sa.Table, dialect: Dialect) -> dict[str, ExpectedConstraint]:
    """Return the constraints by name: unique keys before the foreign keys that need them."""
    constraints = {}
    for constraint in table.constraints:
        name = dialect.identifier_preparer.format_constraint(constraint)
        assert name is not None
        add = _compile(sa.schema.AddConstraint(constraint, isolate_from_table=False), dialect)
        _, _, sql = add.partition(f" ADD CONSTRAINT {name} ")
        columns: tuple[str, ...] = ()
        if isinstance(constraint, sa.schema.ColumnCollectionConstraint):
            columns = tuple(constraint.columns.keys())
        kind = _CONSTRAINT_KINDS[type(constraint)]
        constraints[name] = ExpectedConstraint(kind, columns, sql)
    return dict(sorted(constraints.items(), key=lambda item: ("pufc".index(item[1].kind), item[0])))


def _create_concurrently(index: sa.Index, dialect: Dialect) -> str:
    index.dialect_options["postgresql"]["concurrently"] = True
    return _compile(sa.schema.CreateIndex(index), dialect)


def _sorted_indexes(table: sa.Table) -> list[sa.Index]:
    """Sort the indexes of a table by name, partial ones last.

    Of two indexes that serve a query equally well, SQLite uses the one created last.
    """
    return sorted(
        table.indexes,
        key=lambda index: (index.dialect_options["sqlite"]["where"] is not None, str(index.name)),
    )


def _compile(element: sa.ClauseElement, dialect: Dialect) -> str:
    sql = str(element.compile(dialect=dialect))
    return "\n".join(line.rstrip() for line in sql.strip().splitlines())
