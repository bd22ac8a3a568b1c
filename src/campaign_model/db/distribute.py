"""``distribute_sql``: the SQL that spreads the tables over the nodes of a Citus cluster, by tenant.

All rows of a tenant get into the same shard of every table, so each statement of the store runs on
one node. Tables whose rows every tenant reads (tenants, templates) become reference tables, of
which each node has a copy.

The SQL is generated from the tables. Every key of a distributed table ends with the tenant: Citus
demands the tenant in each key, and a key that began with it would be the index that PostgreSQL
chooses for a tenant that its statistics do not contain yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import sqlalchemy as sa

from campaign_model.db.minimal_host import MinimalHost
from campaign_model.db.revisions import VERSION_TABLE
from campaign_model.db.schema import build_tables, quote
from campaign_model.store.tables import HostTables, campaigns, metadata

TENANT = "tenant_id"

_HEADER = """\
-- Spread the tables over the nodes of a Citus cluster, by tenant.
--
-- Read all of it first. Then run it once, on the coordinator, as the owner of the tables, while no
-- service and no worker is running: psql -X -v ON_ERROR_STOP=1 -f FILE
--
-- What you decide:
-- * Your own tables ({host_tables}): the lines below have the names
--   that PostgreSQL gives to keys by default, as in {contacts}_pkey. Change them to your names.
-- * Each other table of yours with a foreign key to one of these tables: drop the key in step 1,
--   distribute the table by its {tenant} in step 3, and add the key with the {tenant} in
--   step 4. A key of yours that must be unique needs the {tenant}, too.
-- * The number of shards: citus.shard_count, before step 3. Changing it later moves every row.
"""

_CLEAN_UP = """\
-- The rows that were here before are now on the nodes. Once you have seen them there, free the
-- space of the old copies: SELECT truncate_local_data_after_distributing_table(...) of each table.
"""


def distribute_sql(*, host: HostTables | None = None, messages: str = "messages") -> str:
    """Return the SQL, for psql, that distributes the tables of a database with Citus.

    ``host`` names the host's tables, ``messages`` the host's table of messages. The SQL says in
    comments what the operator decides. Raises :class:`InvalidArgument` if two of these tables have
    the same name.
    """
    host = host or HostTables()
    minimal = MinimalHost(host, messages)
    own = build_tables("postgresql", host)
    host_tables = [minimal.owners, minimal.contacts, minimal.messages]
    tables = [minimal.tenants, *host_tables[:2], *own, minimal.messages]
    header = _HEADER.format(
        host_tables=", ".join(quote(table.name) for table in (minimal.tenants, *host_tables)),
        contacts=host.contacts,
        tenant=TENANT,
    )
    steps = {
        "1. Drop the foreign keys. They need the keys that step 2 replaces.": drop_foreign_keys(
            tables
        ),
        "2. Let the keys end with the tenant.": swap_keys(tables),
        "3. Copy the reference tables to each node, and distribute the others by tenant.": [
            f"SELECT create_reference_table('{VERSION_TABLE}')",
            *map(distribute_table, sorted(tables, key=_in_order_of_distribution)),
        ],
        "4. Add the foreign keys again, one by one.": add_foreign_keys(tables),
    }
    parts = [
        "\n".join([f"-- {title}", *(f"{sql};" for sql in steps[title]), ""]) for title in steps
    ]
    # With more than one connection per node, the transaction would not see its own tables there.
    begin = "BEGIN;\nSET LOCAL citus.multi_shard_modify_mode = 'sequential';\n"
    return "\n".join([header, begin, *parts, "COMMIT;\n", _CLEAN_UP])


def key_statements(tables: Iterable[sa.Table]) -> Iterator[str]:
    """Yield the statements that give tables the keys of a distributed database."""
    tables = [*tables]
    yield from drop_foreign_keys(tables)
    yield from swap_keys(tables)
    yield from add_foreign_keys(tables)


def is_distributed(table: sa.Table) -> bool:
    """Return True if every row of the table belongs to a tenant."""
    return TENANT in table.c and not table.c[TENANT].nullable


def drop_foreign_keys(tables: Iterable[sa.Table]) -> Iterator[str]:
    """Yield a statement for each foreign key."""
    for table in tables:
        for key in _foreign_keys(table):
            name = key.name or _default_name(table, key.column_keys, "fkey")
            yield _drop_constraint(table, name)


def swap_keys(tables: Iterable[sa.Table]) -> Iterator[str]:
    """Yield the statements that let each key of the distributed tables end with the tenant.

    A key of the host that already contains the tenant stays as it is.
    """
    for table in filter(is_distributed, tables):
        is_own = table.name in metadata.tables
        unique: list[set[str]] = []
        for key in _unique_keys(table):
            columns = key.columns.keys()
            wanted = [*(name for name in columns if name != TENANT), TENANT]
            is_primary = isinstance(key, sa.PrimaryKeyConstraint)
            is_repetition = {*wanted} in unique
            unique.append({*wanted})
            if not is_repetition and columns == wanted:
                continue
            if not is_own and TENANT in columns:
                continue
            old_columns = () if is_primary else columns
            suffix = "pkey" if is_primary else "key"
            yield _drop_constraint(table, key.name or _default_name(table, old_columns, suffix))
            if is_repetition:
                continue
            if is_primary:
                name = key.name or _default_name(table, (), suffix)
            elif is_own:
                name = f"uq_{table.name}_{'_'.join(wanted)}"
            else:
                name = _default_name(table, wanted, suffix)
            kind = "PRIMARY KEY" if is_primary else "UNIQUE"
            yield _add_constraint(table, name, f"{kind} ({_list(wanted)})")


def distribute_table(table: sa.Table) -> str:
    """Return the call of Citus for a table. The table of campaigns is distributed first."""
    name = _literal(table.name)
    if not is_distributed(table):
        return f"SELECT create_reference_table({name})"
    others = "" if table.name == campaigns.name else f", colocate_with => '{campaigns.name}'"
    return f"SELECT create_distributed_table({name}, '{TENANT}'{others})"


def add_foreign_keys(tables: Iterable[sa.Table]) -> Iterator[str]:
    """Yield a statement for each foreign key, with the tenant between distributed tables."""
    for table in tables:
        for key in _foreign_keys(table):
            columns = key.column_keys
            referred = [element.column.name for element in key.elements]
            if is_distributed(key.referred_table) and TENANT not in columns:
                columns, referred = [TENANT, *columns], [TENANT, *referred]
            name = key.name or _default_name(table, columns, "fkey")
            yield _add_constraint(
                table,
                name,
                f"FOREIGN KEY ({_list(columns)}) REFERENCES {quote(key.referred_table.name)} "
                f"({_list(referred)})",
            )


def _in_order_of_distribution(table: sa.Table) -> tuple[bool, bool]:
    return is_distributed(table), table.name != campaigns.name


def _foreign_keys(table: sa.Table) -> list[sa.ForeignKeyConstraint]:
    return sorted(table.foreign_key_constraints, key=lambda key: [*key.column_keys])


def _unique_keys(table: sa.Table) -> list[sa.PrimaryKeyConstraint | sa.UniqueConstraint]:
    """Return the primary key, then the unique keys."""
    unique = [key for key in table.constraints if isinstance(key, sa.UniqueConstraint)]
    return [table.primary_key, *sorted(unique, key=lambda key: key.columns.keys())]


def _default_name(table: sa.Table, columns: Sequence[str], suffix: str) -> str:
    """Return the name that PostgreSQL gives to a constraint without a name."""
    return "_".join([table.name, *columns, suffix])


def _drop_constraint(table: sa.Table, name: object) -> str:
    return f"ALTER TABLE {quote(table.name)} DROP CONSTRAINT {quote(str(name))}"


def _add_constraint(table: sa.Table, name: object, definition: str) -> str:
    return f"ALTER TABLE {quote(table.name)} ADD CONSTRAINT {quote(str(name))} {definition}"


def _list(columns: Iterable[str]) -> str:
    return ", ".join(map(quote, columns))


def _literal(table_name: str) -> str:
    """Return a table's name as the string that Citus casts to ``regclass``."""
    name = quote(table_name).replace("'", "''")
    return f"'{name}'"
