"""What a PostgreSQL database has: its tables as frozen values, read from the system catalogs.

``read_catalog`` reads tables by name, ``read_references`` the columns that refer to campaign
contacts. ``read_expected`` gives the library's own tables in the same form, so that the two can be
compared. All three only read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import attrs
import sqlalchemy as sa

from campaign_model.db.distribute import key_statements
from campaign_model.db.schema import HOST_KEY, build_tables, create_statements, quote
from campaign_model.db.setup import write_plain_names
from campaign_model.store.tables import HostTables, metadata

T = TypeVar("T")


@attrs.frozen
class Column:
    """A column.

    ``labels`` are those of an enum. ``in_view`` is true if a view shows the column, and
    ``generated`` if PostgreSQL computes its values and refuses others.
    """

    type: str
    default: str | None = None
    not_null: bool = False
    labels: tuple[str, ...] = ()
    in_view: bool = False
    generated: bool = False


PRIMARY_KEY, UNIQUE_KEY, FOREIGN_KEY, CHECK = "p", "u", "f", "c"
"""The letters of ``pg_constraint.contype``."""

PLAIN_TABLE = "r"
"""The letter of ``pg_class.relkind`` for a table that is no partition, view or foreign table."""


@attrs.frozen
class Constraint:
    """A constraint. ``kind`` is one of the four letters above.

    ``cascades`` is true if a foreign key deletes or changes rows of its own table. ``on_delete`` is
    its action when a row of ``refers_to`` is deleted: CASCADE, SET NULL or SET DEFAULT. It is
    ``None`` if the foreign key refuses that.
    """

    kind: str
    columns: tuple[str, ...]
    definition: str
    valid: bool = True
    cascades: bool = False
    on_delete: str | None = None
    refers_to: str | None = None


@attrs.frozen
class Index:
    """An index. ``definition`` is the part of CREATE INDEX that begins with USING.

    ``columns`` are those of the key; ``used_columns`` also has those of the predicate and of
    expressions. ``is_key`` is true if foreign keys can refer to the columns.
    """

    definition: str
    columns: tuple[str, ...]
    used_columns: tuple[str, ...]
    is_key: bool = False
    valid: bool = True


@attrs.frozen
class Table:
    """A relation. ``kind`` is a letter of ``pg_class.relkind``, such as r (table) or v (view).

    ``owned`` is true if the current role may alter it, ``may_read`` if the role may read all of its
    rows, ``may_refer`` if the role may add foreign keys to it. ``schema`` is in quotes if it needs
    them. ``options`` are its storage options. ``triggers`` run when a row is updated.
    """

    columns: Mapping[str, Column]
    constraints: Mapping[str, Constraint] = attrs.field(factory=dict)
    indexes: Mapping[str, Index] = attrs.field(factory=dict)
    kind: str = PLAIN_TABLE
    owned: bool = True
    options: tuple[str, ...] = ()
    triggers: tuple[str, ...] = ()
    schema: str = "public"
    may_read: bool = True
    may_refer: bool = True

    @property
    def key(self) -> tuple[str, ...]:
        """The columns of the primary key; none if there is no primary key."""
        constraints = self.constraints.values()
        keys = (constraint.columns for constraint in constraints if constraint.kind == PRIMARY_KEY)
        return next(keys, ())


Catalog = Mapping[str, Table]
"""Tables by name."""


@attrs.frozen
class Reference:
    """A column, of the host or of another service, that refers to campaign contacts.

    If unqualified SQL does not find the table, ``table_name`` has its schema, and ``table`` has no
    columns.
    """

    table_name: str
    column: str
    table: Table

    @property
    def not_null(self) -> bool:
        """Whether a row of the table needs a campaign contact."""
        return self.table.columns[self.column].not_null


# The columns of the next four queries are in the order of the fields of their classes.

# The relations of some names that unqualified SQL would find.
_SELECT_TABLES = """
SELECT
    oid, relname, CAST(relkind AS text), pg_has_role(relowner, 'USAGE'), coalesce(reloptions, '{}'),
    ARRAY(
        SELECT CAST(tgname AS text)
        FROM pg_trigger
        WHERE tgrelid = pg_class.oid AND NOT tgisinternal
            AND tgtype & 16 <> 0  -- It runs on UPDATE.
            AND tgenabled <> 'D'
        ORDER BY tgname
    ),
    CAST(CAST(relnamespace AS regnamespace) AS text),
    has_table_privilege(oid, 'SELECT') AND NOT row_security_active(oid),
    has_table_privilege(oid, 'REFERENCES')
FROM pg_class
WHERE relname = ANY(CAST(:names AS text[])) AND relkind IN ('r', 'p', 'v', 'm', 'f')
    AND pg_table_is_visible(oid)
"""

# Their columns, in order.
_SELECT_COLUMNS = """
SELECT
    attrelid, attname, format_type(atttypid, atttypmod), pg_get_expr(adbin, adrelid), attnotnull,
    ARRAY(
        SELECT CAST(enumlabel AS text)
        FROM pg_enum
        WHERE enumtypid = atttypid
        ORDER BY enumsortorder
    ),
    EXISTS (
        SELECT
        FROM pg_depend
        WHERE classid = CAST('pg_rewrite' AS regclass) AND refclassid = CAST('pg_class' AS regclass)
            AND refobjid = attrelid
            AND refobjsubid = attnum
    ),
    attgenerated <> '' OR attidentity = 'a'
FROM pg_attribute
LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE attrelid = ANY(CAST(:tables AS oid[])) AND attnum > 0 AND NOT attisdropped
ORDER BY attrelid, attnum
"""

# Their keys, unique constraints, foreign keys and checks.
_SELECT_CONSTRAINTS = """
SELECT
    conrelid, conname, CAST(contype AS text),
    ARRAY(
        SELECT CAST(attname AS text)
        FROM unnest(conkey) WITH ORDINALITY AS key (number, position)
        JOIN pg_attribute ON attrelid = conrelid AND attnum = number
        ORDER BY position
    ),
    regexp_replace(pg_get_constraintdef(oid), ' NOT VALID$', ''),
    convalidated,
    contype = 'f' AND (confdeltype NOT IN ('a', 'r') OR confupdtype NOT IN ('a', 'r')),
    CASE confdeltype
        WHEN 'c' THEN 'CASCADE'
        WHEN 'n' THEN 'SET NULL'
        WHEN 'd' THEN 'SET DEFAULT'
    END,
    (SELECT CAST(relname AS text) FROM pg_class WHERE oid = confrelid)
FROM pg_constraint
WHERE conrelid = ANY(CAST(:tables AS oid[])) AND contype IN ('p', 'u', 'f', 'c')
ORDER BY conrelid, conname
"""

# Their indexes, with the columns of the key and all columns that are used.
_SELECT_INDEXES = """
SELECT
    indrelid, relname, substring(pg_get_indexdef(indexrelid) FROM 'USING .*'),
    ARRAY(
        SELECT CAST(attname AS text)
        FROM unnest(indkey) WITH ORDINALITY AS key (number, position)
        JOIN pg_attribute ON attrelid = indrelid AND attnum = number
        WHERE position <= indnkeyatts -- The others are columns of an INCLUDE.
        ORDER BY position
    ),
    ARRAY(
        SELECT CAST(attname AS text)
        FROM pg_attribute
        WHERE attrelid = indrelid
            AND (
                attnum = ANY(indkey)
                OR EXISTS (
                    SELECT
                    FROM pg_depend
                    WHERE classid = CAST('pg_class' AS regclass) AND objid = indexrelid
                        AND refclassid = CAST('pg_class' AS regclass)
                        AND refobjid = indrelid
                        AND refobjsubid = attnum
                )
            )
    ),
    indisunique AND indimmediate AND indpred IS NULL AND indexprs IS NULL, indisvalid
FROM pg_index
JOIN pg_class ON pg_class.oid = indexrelid
WHERE indrelid = ANY(CAST(:tables AS oid[]))
ORDER BY indrelid, relname
"""

# The columns that refer to campaign_contacts.id.
_SELECT_REFERENCES = """
SELECT
    CASE
        WHEN pg_table_is_visible(conrelid) THEN CAST(relname AS text)
        ELSE CAST(CAST(conrelid AS regclass) AS text)
    END,
    CAST(source.attname AS text)
FROM pg_constraint
JOIN pg_class ON pg_class.oid = conrelid
JOIN pg_attribute AS target
    ON target.attrelid = confrelid AND target.attname = 'id'
JOIN pg_attribute AS source
    ON source.attrelid = conrelid AND source.attnum = conkey[array_position(confkey, target.attnum)]
WHERE contype = 'f' AND confrelid = to_regclass('campaign_contacts')
ORDER BY 1, 2
"""

# Select the names of the distributed tables and of the reference tables of Citus.
_SELECT_DISTRIBUTED_TABLES = """
SELECT relname
FROM pg_dist_partition
JOIN pg_class ON pg_class.oid = logicalrelid
WHERE pg_table_is_visible(logicalrelid)
"""


def read_catalog(connection: sa.Connection, names: Iterable[str]) -> Catalog:
    """Read the relations of these names that unqualified SQL finds; leave out missing ones.

    A name may belong to a view: see :attr:`Table.kind`. Call it in a transaction.
    """
    write_plain_names(connection)

    def read_rows(query: str, **parameters: Any) -> list[list[Any]]:
        """Run ``query``, and make its arrays tuples."""
        return [
            [tuple(value) if isinstance(value, list) else value for value in row]
            for row in connection.execute(sa.text(query), parameters)
        ]

    table_rows = read_rows(_SELECT_TABLES, names=sorted(names))
    oids = [row[0] for row in table_rows]

    def read_parts(query: str, part: Callable[..., T]) -> dict[int, dict[str, T]]:
        """Run a query for parts of the tables. Return them by table and name."""
        parts: dict[int, dict[str, T]] = {oid: {} for oid in oids}
        for oid, name, *values in read_rows(query, tables=oids):
            parts[oid][name] = part(*values)
        return parts

    columns = read_parts(_SELECT_COLUMNS, Column)
    constraints = read_parts(_SELECT_CONSTRAINTS, Constraint)
    indexes = read_parts(_SELECT_INDEXES, Index)
    return {
        name: Table(columns[oid], constraints[oid], indexes[oid], *values)
        for oid, name, *values in table_rows
    }


def read_references(connection: sa.Connection) -> tuple[Reference, ...]:
    """Read which columns refer to a campaign contact, and their tables."""
    references = connection.execute(sa.text(_SELECT_REFERENCES)).all()
    tables = read_catalog(connection, {name for name, _ in references})
    return tuple(
        Reference(name, column, tables.get(name, Table({}))) for name, column in references
    )


def read_distributed_tables(connection: sa.Connection) -> set[str]:
    """Read which tables of the library Citus spreads over its nodes; none without Citus."""
    if connection.scalar(sa.text("SELECT to_regclass('pg_dist_partition')")) is None:
        return set()
    return {*connection.scalars(sa.text(_SELECT_DISTRIBUTED_TABLES))} & metadata.tables.keys()


def keys_end_with_tenant(tables: Catalog) -> bool:
    """Return True if the tables have the keys that :mod:`campaign_model.db.distribute` makes."""
    return "campaigns" in tables and any(
        constraint.kind == PRIMARY_KEY and constraint.columns == ("id", "tenant_id")
        for constraint in tables["campaigns"].constraints.values()
    )


def read_expected(connection: sa.Connection, host: HostTables, *, for_citus: bool) -> Catalog:
    """Return the library's tables as the server would show them in its catalog.

    ``for_citus`` gives them the keys of a distributed database. The tables are created as temporary
    ones, in a transaction that is rolled back. This needs a server that is no standby, and the
    privilege TEMPORARY.
    """
    key = ", ".join(HOST_KEY)
    create_host_tables = [
        f"CREATE TABLE {quote(name)} (tenant_id uuid, id uuid PRIMARY KEY, UNIQUE ({key}))"
        for name in {*attrs.astuple(host)}
    ]
    with connection.begin() as transaction:
        # The session may be read-only by default.
        connection.exec_driver_sql("SET TRANSACTION READ WRITE")
        # CREATE TABLE makes its table in the first schema of the search path.
        connection.exec_driver_sql("SET LOCAL search_path = pg_temp")
        keys = key_statements(build_tables("postgresql", host)) if for_citus else ()
        for statement in (*create_host_tables, *create_statements("postgresql", host), *keys):
            connection.exec_driver_sql(statement.replace("%", "%%"))
        expected = read_catalog(connection, metadata.tables)
        transaction.rollback()
    return expected
