"""What a PostgreSQL database says of its own tables, as frozen values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import attrs
import sqlalchemy as sa

__all__ = [
    "REFERENCES",
    "Catalog",
    "Column",
    "Constraint",
    "Index",
    "Table",
    "normal_forms",
    "read",
]


@attrs.frozen
class Column:
    """``labels`` are those of an enum; ``viewed`` says that a view shows the column."""

    type: str
    default: str | None = None
    not_null: bool = False
    labels: tuple[str, ...] = ()
    viewed: bool = False


@attrs.frozen
class Constraint:
    """``kind`` is as in pg_constraint; ``cascades`` says that it changes rows by itself."""

    kind: str
    columns: tuple[str, ...]
    definition: str
    valid: bool = True
    refers_to: str | None = None
    cascades: bool = False


@attrs.frozen
class Index:
    """``columns`` are the key's; ``touches`` adds those of its predicate and expressions."""

    definition: str
    columns: tuple[str, ...]
    touches: frozenset[str]
    unique: bool = False
    partial: bool = False
    valid: bool = True


@attrs.frozen
class Table:
    """``owned`` says that we may alter it, ``options`` are its storage options.

    ``triggers`` are those of others that run when a row is updated.
    """

    columns: Mapping[str, Column]
    constraints: Mapping[str, Constraint] = attrs.field(factory=dict)
    indexes: Mapping[str, Index] = attrs.field(factory=dict)
    kind: str = "r"
    owned: bool = True
    options: tuple[str, ...] = ()
    triggers: tuple[str, ...] = ()


Catalog = Mapping[str, Table]

_TABLES = """
SELECT oid, relname, relkind::text, pg_has_role(relowner, 'USAGE'), coalesce(reloptions, '{}'),
    ARRAY(
        SELECT tgname::text FROM pg_trigger
        WHERE tgrelid = pg_class.oid AND NOT tgisinternal AND tgtype & 16 <> 0 AND tgenabled <> 'D'
        ORDER BY tgname
    )
FROM pg_class
WHERE relname = ANY(%(names)s) AND relkind IN ('r', 'p', 'v', 'm', 'f')
    AND pg_table_is_visible(oid)
"""
_COLUMNS = """
SELECT attrelid, attname, format_type(atttypid, atttypmod), pg_get_expr(adbin, adrelid), attnotnull,
    ARRAY(SELECT enumlabel::text FROM pg_enum WHERE enumtypid = atttypid ORDER BY enumsortorder),
    EXISTS (
        SELECT FROM pg_depend
        WHERE classid = 'pg_rewrite'::regclass AND refclassid = 'pg_class'::regclass
            AND refobjid = attrelid AND refobjsubid = attnum
    )
FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE attrelid = ANY(%(tables)s) AND attnum > 0 AND NOT attisdropped
ORDER BY attrelid, attnum
"""
_CONSTRAINTS = """
SELECT conrelid, conname, contype::text,
    ARRAY(
        SELECT attname::text FROM unnest(conkey) WITH ORDINALITY AS key (number, position)
        JOIN pg_attribute ON attrelid = conrelid AND attnum = number ORDER BY position
    ),
    pg_get_constraintdef(oid), convalidated,
    (SELECT relname::text FROM pg_class WHERE pg_class.oid = confrelid),
    contype = 'f' AND (confdeltype NOT IN ('a', 'r') OR confupdtype NOT IN ('a', 'r'))
FROM pg_constraint
WHERE conrelid = ANY(%(tables)s) AND contype IN ('p', 'u', 'f', 'c')
ORDER BY conrelid, conname
"""
_INDEXES = """
SELECT indrelid, relname, pg_get_indexdef(indexrelid),
    ARRAY(
        SELECT attname::text FROM unnest(indkey) WITH ORDINALITY AS key (number, position)
        JOIN pg_attribute ON attrelid = indrelid AND attnum = number ORDER BY position
    ),
    ARRAY(
        SELECT attname::text FROM pg_attribute
        WHERE attrelid = indrelid AND (attnum = ANY (indkey) OR EXISTS (
            SELECT FROM pg_depend
            WHERE classid = 'pg_class'::regclass AND objid = indexrelid
                AND refclassid = 'pg_class'::regclass AND refobjid = indrelid
                AND refobjsubid = attnum
        ))
    ),
    indisunique, indpred IS NOT NULL, indisvalid
FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
WHERE indrelid = ANY(%(tables)s)
ORDER BY indrelid, relname
"""


REFERENCES = """
SELECT relname::text, source.attname::text, source.attnotnull
FROM pg_constraint JOIN pg_class ON pg_class.oid = conrelid
    JOIN pg_attribute AS target ON target.attrelid = confrelid AND target.attname = 'id'
    JOIN pg_attribute AS source ON source.attrelid = conrelid
        AND source.attnum = conkey[array_position(confkey, target.attnum)]
WHERE contype = 'f' AND confrelid = to_regclass('campaign_contacts')
ORDER BY 1, 2
"""
"""Which columns refer to a campaign contact: table, column, and whether it must not be NULL."""


def read(connection: sa.Connection, names: Iterable[str]) -> Catalog:
    """The tables of these names that SQL on ``connection`` would find; missing ones are left out.

    A name may turn out to be a view; its ``kind`` says so, as in pg_class.
    """
    found = connection.exec_driver_sql(_TABLES, {"names": sorted(names)}).all()
    tables = {"tables": [row[0] for row in found]}

    def parts(query: str) -> dict[int, list[Any]]:
        of_table: dict[int, list[Any]] = {oid: [] for oid in tables["tables"]}
        for row in connection.exec_driver_sql(query, tables):
            of_table[row[0]].append(
                [tuple(one) if isinstance(one, list) else one for one in row[1:]]
            )
        return of_table

    columns, constraints, indexes = parts(_COLUMNS), parts(_CONSTRAINTS), parts(_INDEXES)
    return {
        name: Table(
            columns={one: Column(*rest) for one, *rest in columns[oid]},
            constraints={
                one: Constraint(kind, of, definition.removesuffix(" NOT VALID"), *rest)
                for one, kind, of, definition, *rest in constraints[oid]
            },
            indexes={
                one: Index(_body(definition), of, frozenset(touched), *rest)
                for one, definition, of, touched, *rest in indexes[oid]
            },
            kind=kind,
            owned=owned,
            options=tuple(options),
            triggers=tuple(triggers),
        )
        for oid, name, kind, owned, options, triggers in found
    }


def normal_forms(connection: sa.Connection, create: Iterable[str]) -> dict[str, str]:
    """How the server spells each constraint and index that the statements of ``create`` make.

    They are run on temporary tables, in a transaction that is rolled back.
    """
    with connection.begin() as transaction:
        names = set()
        for statement in create:
            temporary = statement.replace("CREATE TABLE ", "CREATE TEMPORARY TABLE ", 1)
            connection.exec_driver_sql(temporary.replace("%", "%%"))
            names |= set(re.findall(r'^CREATE TABLE "?(.+?)"? \(', statement))
        tables = read(connection, names)
        transaction.rollback()
    # A unique constraint and its index share a name: the constraint is what is compared.
    return {
        name: part.definition
        for table in tables.values()
        for parts in (table.indexes, table.constraints)
        for name, part in parts.items()
    }


def _body(definition: str) -> str:
    """What stands after the names in a CREATE INDEX."""
    return definition[definition.index(" USING ") + 1 :]
