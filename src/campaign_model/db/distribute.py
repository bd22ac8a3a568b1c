"""``distribute_sql``: the SQL that spreads the tables over the nodes of a Citus cluster, by tenant.

All rows of a tenant are on one node, so each statement of the store runs on one node. Tables whose
rows every tenant reads (tenants, templates) become reference tables: each node has a copy of them.

The SQL is generated from the tables. Every key of a distributed table ends with the tenant. Citus
demands the tenant in each key. If a key began with the tenant, PostgreSQL would choose it for a
tenant that its statistics do not contain yet, and read all rows of this tenant.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import sqlalchemy as sa

from campaign_model.db.minimal_host import MinimalHost
from campaign_model.db.revisions import VERSION_TABLE
from campaign_model.db.schema import build_tables, quote, quote_text
from campaign_model.store.tables import HostTables, campaigns, metadata

TENANT = "tenant_id"

_HEADER = """\
-- Spread the tables over the nodes of a Citus cluster, by tenant.
--
-- Read the whole file first. Then run it once, on the coordinator, as the owner of the tables,
-- while no service and no worker is running: psql -X -v ON_ERROR_STOP=1 -f FILE
--
-- What you decide:
-- * Your own tables ({host_tables}): the statements below have the names
--   that PostgreSQL gives to keys by default, such as {contacts}_pkey. Change them to your names.
-- * Each other table of yours with a foreign key to one of these tables: drop the key in step 1,
--   distribute the table by its {tenant} in step 3, and add the key with the {tenant} in
--   step 4. Every unique key of such a table must contain the {tenant}, too.
-- * The number of shards: set citus.shard_count before step 3. A later change moves every row.
"""

_CLEAN_UP = """\
-- The rows are now on the nodes, and the coordinator still has its old copies. Once you have seen
-- the rows on the nodes, free the space of the old copies: call
-- SELECT truncate_local_data_after_distributing_table(...) for each table.
"""


def distribute_sql(*, host: HostTables | None = None, messages: str = "messages") -> str:
    """Return the SQL, for psql, that distributes the tables of a database with Citus.

    ``host`` names the host's tables, ``messages`` the host's table of messages. The comments of the
    SQL say what the operator decides. Raises :class:`InvalidArgument` if two of the host's tables
    have the same name.
    """
    host = host or HostTables()
    minimal = MinimalHost(host, messages)
    # Each table comes after the tables to which it refers.
    referred_tables = [minimal.tenants, minimal.owners, minimal.contacts]
    library_tables = build_tables("postgresql", host)
    tables = [*referred_tables, *library_tables, minimal.messages]
    header = _HEADER.format(
        host_tables=", ".join(quote(table.name) for table in (*referred_tables, minimal.messages)),
        contacts=host.contacts,
        tenant=TENANT,
    )
    steps = {
        "1. Drop the foreign keys. They need the keys that step 2 replaces.": drop_foreign_keys(
            tables
        ),
        "2. Replace the keys by keys that end with the tenant.": swap_keys(tables),
        "3. Copy the reference tables to each node, and distribute the others by tenant.": [
            f"SELECT create_reference_table('{VERSION_TABLE}')",
            # Reference tables first, then campaigns, then the other tables.
            *map(
                distribute_table,
                sorted(tables, key=lambda one: (is_distributed(one), one.name != campaigns.name)),
            ),
        ],
        "4. Add the foreign keys again, one by one.": add_foreign_keys(tables),
    }
    parts = [
        "\n".join([f"-- {title}", *(f"{sql};" for sql in statements), ""])
        for title, statements in steps.items()
    ]
    # In its parallel mode, Citus uses several connections to a node. A connection does not see the
    # tables that the same transaction has created on another connection.
    begin = "BEGIN;\nSET LOCAL citus.multi_shard_modify_mode = 'sequential';\n"
    return "\n".join([header, begin, *parts, "COMMIT;\n", _CLEAN_UP])


def key_statements(tables: Sequence[sa.Table]) -> tuple[str, ...]:
    """Return the statements that give the tables the keys of a distributed database.

    They are steps 1, 2 and 4 of :func:`distribute_sql`.
    """
    return (*drop_foreign_keys(tables), *swap_keys(tables), *add_foreign_keys(tables))


def is_distributed(table: sa.Table) -> bool:
    """Return True if every row of the table belongs to a tenant."""
    return TENANT in table.c and not table.c[TENANT].nullable


def drop_foreign_keys(tables: Iterable[sa.Table]) -> Iterator[str]:
    """Yield, for each foreign key, the statement that drops it."""
    for table in tables:
        for key in _sort_foreign_keys(table):
            yield _drop_constraint(table, key.name)


def swap_keys(tables: Iterable[sa.Table]) -> Iterator[str]:
    """Yield the statements that replace keys of the distributed tables.

    Each new key has the columns of the old one, and ends with the tenant. A unique key with the
    same columns as an earlier key of its table is only dropped. A key of the host that already
    contains the tenant stays as it is.
    """
    for table in filter(is_distributed, tables):
        earlier_keys: list[set[str]] = []
        for key in _sort_unique_keys(table):
            columns = key.columns.keys()
            new_columns = [*(name for name in columns if name != TENANT), TENANT]
            is_repetition = {*new_columns} in earlier_keys
            earlier_keys.append({*new_columns})
            if TENANT in columns and table.name not in metadata.tables:
                continue
            if columns == new_columns and not is_repetition:
                continue
            yield _drop_constraint(table, key.name)
            if is_repetition:
                continue
            kind, name = "PRIMARY KEY", key.name
            if isinstance(key, sa.UniqueConstraint):
                kind, name = "UNIQUE", f"uq_{table.name}_{'_'.join(new_columns)}"
            yield _add_constraint(table, name, f"{kind} ({_join_columns(new_columns)})")


def distribute_table(table: sa.Table) -> str:
    """Return the SQL statement that distributes the table, or makes it a reference table.

    Execute the statement of the table of campaigns first: the other tables get their shards where
    those of the campaigns are.
    """
    name = quote_text(quote(table.name))  # Citus casts it to regclass.
    if not is_distributed(table):
        return f"SELECT create_reference_table({name})"
    others = "" if table.name == campaigns.name else f", colocate_with => '{campaigns.name}'"
    return f"SELECT create_distributed_table({name}, '{TENANT}'{others})"


def add_foreign_keys(tables: Iterable[sa.Table]) -> Iterator[str]:
    """Yield, for each foreign key, the statement that adds it."""
    for table in tables:
        for key in _sort_foreign_keys(table):
            referred_columns = _join_columns(element.column.name for element in key.elements)
            yield _add_constraint(
                table,
                key.name,
                f"FOREIGN KEY ({_join_columns(key.column_keys)}) REFERENCES "
                f"{quote(key.referred_table.name)} ({referred_columns})",
            )


def _sort_foreign_keys(table: sa.Table) -> list[sa.ForeignKeyConstraint]:
    return sorted(table.foreign_key_constraints, key=lambda key: [*key.column_keys])


def _sort_unique_keys(table: sa.Table) -> list[sa.PrimaryKeyConstraint | sa.UniqueConstraint]:
    """Return the primary key, then the unique keys by their columns."""
    unique = [key for key in table.constraints if isinstance(key, sa.UniqueConstraint)]
    return [table.primary_key, *sorted(unique, key=lambda key: key.columns.keys())]


def _drop_constraint(table: sa.Table, name: object) -> str:
    return f"ALTER TABLE {quote(table.name)} DROP CONSTRAINT {quote(str(name))}"


def _add_constraint(table: sa.Table, name: object, definition: str) -> str:
    return f"ALTER TABLE {quote(table.name)} ADD CONSTRAINT {quote(str(name))} {definition}"


def _join_columns(columns: Iterable[str]) -> str:
    return ", ".join(map(quote, columns))
