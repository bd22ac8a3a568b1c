"""The first step of an adoption: what a database has, and what follows from it.

``inspect_database`` reads the catalog and returns an :class:`Inspection`: the shape, what makes an
adoption impossible (obstacles), the planned statements and the warnings.
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import sqlalchemy as sa

from campaign_model.db.adoption.advice import give_advice
from campaign_model.db.adoption.catalog import (
    Catalog,
    Reference,
    read_catalog,
    read_references,
    spell_definitions,
)
from campaign_model.db.adoption.plan import Plan, plan_statements
from campaign_model.db.revisions import compare_version
from campaign_model.db.schema import (
    HOST_KEY,
    ExpectedTable,
    create_statements,
    expected_tables,
    quote,
)
from campaign_model.store.tables import HostTables, metadata

__all__ = ["Inspection", "inspect_database"]

_LEGACY_COLUMNS = {
    "campaigns": ("id", "tenant_id", "name"),
    "campaign_contacts": ("id", "campaign_id", "contact_id"),
    "campaign_templates": ("id", "tenant_id", "name"),
}
"""Columns that a table must have, because adoption cannot derive their values."""

_WIDENED_TYPES = {"numeric": "numeric(", "text": "character varying"}
"""Types that a column can get without a rewrite of its table, and what the old type begins with."""


@attrs.frozen
class Inspection:
    """What a database has. The plan is empty if ``obstacles`` make an adoption impossible."""

    shape: str
    tables: Catalog
    references: tuple[Reference, ...]
    plan: Plan
    obstacles: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def is_stamped(self) -> bool:
        """True if a version is recorded. Then workers of this library may be running."""
        return self.shape in {"current", "changed", "outdated", "newer"}

    @property
    def missing_statements(self) -> tuple[str, ...]:
        """The planned statements as SQL."""
        return tuple(statement.sql for statement in self.plan.statements)

    @property
    def pending(self) -> tuple[str, ...]:
        """What is to be done, as SQL or sentences."""
        if self.shape == "newer":
            return (
                "a newer version of this library has set up this database: upgrade the library",
            )
        if self.obstacles:
            return self.obstacles
        if self.shape == "outdated":
            return ("run the newer revisions of this library: db.init",)
        if self.is_stamped:
            return self.missing_statements
        return (*self.missing_statements, "check every row: db.adopt, or first its dry run")


def inspect_database(connection: sa.Connection, host: HostTables, messages: str) -> Inspection:
    """Inspect the database. It needs a connection without a transaction, and leaves none."""
    with connection.begin():
        tables = read_catalog(connection, {*metadata.tables, *attrs.astuple(host), messages})
        references = read_references(connection)
        version = compare_version(connection)
    obstacles = tuple(_find_obstacles(tables, host))
    plan = Plan()
    if not obstacles:
        plan = plan_statements(tables, host, _spell_schema(connection, host))
    shape = version or _classify_legacy(tables)
    if shape == "current" and (obstacles or plan.statements):
        shape = "changed"
    warnings = tuple(give_advice(tables, messages, adopting=shape != "current"))
    return Inspection(shape, tables, references, plan, obstacles, warnings)


def _spell_schema(connection: sa.Connection, host: HostTables) -> dict[str, str]:
    """Return the server's spelling of the library's constraints and indexes, by name."""
    host_tables = attrs.astuple(host)
    key = ", ".join(HOST_KEY)
    create_host_tables = [
        f"CREATE TABLE {quote(name)} (tenant_id uuid, id uuid PRIMARY KEY, UNIQUE ({key}))"
        for name in host_tables
    ]
    return spell_definitions(
        connection,
        [*create_host_tables, *create_statements("postgresql", host)],
        {*host_tables, *metadata.tables},
    )


def _classify_legacy(tables: Catalog) -> str:
    """Return the shape of a database without a recorded version."""
    names = tables.keys() & metadata.tables.keys()
    if not names:
        return "empty"
    # No legacy database has these tables; an adoption creates them first.
    if names & {"campaign_totals", "campaign_history", "campaign_erased_claims"}:
        return "unfinished"
    if names == {"campaigns"} and "status" not in tables["campaigns"].columns:
        return "bare"
    return "extended"


def _find_obstacles(tables: Catalog, host: HostTables) -> Iterator[str]:
    """Yield a sentence for everything that makes an adoption impossible."""
    yield from _find_host_obstacles(tables, host)
    expected_by_name = expected_tables(host)
    for name, table in tables.items():
        if name in (*expected_by_name, host.owners, host.contacts) and not table.owned:
            yield f"the table {name} has another owner; adopt as its owner"
        if name not in expected_by_name:
            continue
        if table.kind != "r":
            yield f"{name} must be a plain table, and it is not"
        for column in _LEGACY_COLUMNS.get(name, ()):
            if column not in table.columns:
                yield f"{name} has no column {column}, which adoption cannot fill in"
        yield from _find_type_obstacles(name, tables, expected_by_name[name])


def _find_host_obstacles(tables: Catalog, host: HostTables) -> Iterator[str]:
    """Check that the library's foreign keys can refer to the host's tables."""
    for name in attrs.astuple(host):
        table = tables.get(name)
        if table is None:
            yield f"there is no table {name}; name your own table with HostTables"
            continue
        if table.kind != "r":
            yield f"{name} is not a plain table, so foreign keys cannot refer to it"
        for column in ("id",) if name == host.tenants else HOST_KEY:
            if column not in table.columns:
                yield f"{name} has no column {column}, which the library's keys refer to"
            elif table.columns[column].type != "uuid":
                yield f"{name}.{column} is of type {table.columns[column].type}, not uuid"
        if not any(index.unique and index.columns == ("id",) for index in table.indexes.values()):
            yield f"{name}.id is not unique, so foreign keys cannot refer to it"


def _find_type_obstacles(name: str, tables: Catalog, expected: ExpectedTable) -> Iterator[str]:
    """Find columns that cannot get their type without a rewrite of the table, or below a view."""
    for column_name, expected_column in expected.columns.items():
        column = tables[name].columns.get(column_name)
        type_ = expected_column.type
        if column is None or column.type == type_:
            continue
        if not column.type.startswith(_WIDENED_TYPES.get(type_, type_)):
            yield (
                f"{name}.{column_name} is of type {column.type}; change it to {type_} first (that "
                "rewrites the table, which adoption never does)"
            )
        elif column.in_view:
            yield (
                f"a view shows {name}.{column_name}, whose type {column.type} must become "
                f"{type_}; drop the view first, and create it again afterwards"
            )
