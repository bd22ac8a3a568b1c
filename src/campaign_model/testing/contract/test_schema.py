"""The tables are equal to those that the library's migrations build. These tests only read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain

import pytest
import sqlalchemy as sa

from campaign_model.db import HostTables
from campaign_model.db.schema import build_tables
from campaign_model.testing.contract import catalog


@pytest.fixture
def tables(reader: sa.Connection, host: HostTables) -> tuple[sa.Table, ...]:
    """Return the library's tables that exist. ``test_every_table_exists`` reports the others."""
    present = set(sa.inspect(reader).get_table_names())
    return tuple(
        table for table in build_tables(reader.dialect.name, host) if table.name in present
    )


def fail_if_any(faults: Iterable[str]) -> None:
    """Fail the test and list the faults, if there are any."""
    lines = [*faults]
    if lines:
        pytest.fail("\n".join(lines), pytrace=False)


def fail_if_any_table_has(
    find_faults: Callable[[sa.Inspector, sa.Table], Iterator[str]],
    reader: sa.Connection,
    tables: tuple[sa.Table, ...],
) -> None:
    """Fail the test and list the faults that ``find_faults`` yields for any table."""
    inspector = sa.inspect(reader)
    fail_if_any(chain.from_iterable(find_faults(inspector, table) for table in tables))


def test_every_table_exists(reader: sa.Connection, host: HostTables) -> None:
    """All tables of the store exist.

    If this fails, check which migrations ran, and search_path.
    """
    present = set(sa.inspect(reader).get_table_names())
    needed = {table.name for table in build_tables(reader.dialect.name, host)}
    missing = {*needed, host.tenants, host.owners, host.contacts} - present
    fail_if_any(f"there is no table {name}" for name in sorted(missing))


def test_every_column_has_the_right_type(
    reader: sa.Connection, tables: tuple[sa.Table, ...]
) -> None:
    """Every value fits: money with nine decimals, moments with a time zone, documents as JSON.

    If this fails, check the columns in the message. A column of another type silently rounds money
    or shifts moments. A column without its default breaks writers that leave it out.
    """
    fail_if_any_table_has(catalog.column_faults, reader, tables)


def test_every_unique_key_exists(reader: sa.Connection, tables: tuple[sa.Table, ...]) -> None:
    """A contact is in a campaign once, a version is written once, an id is used once.

    If this fails, add the keys in the message. The store relies on them when two users do the same
    in parallel.
    """
    fail_if_any_table_has(catalog.missing_unique_keys, reader, tables)


def test_every_foreign_key_exists(reader: sa.Connection, tables: tuple[sa.Table, ...]) -> None:
    """No row refers to a row of another tenant, and no row disappears without being counted.

    If this fails, check the keys in the message. The tenant is part of every key. No key deletes in
    cascade, because the totals would be wrong afterwards. The host's tables need UNIQUE (tenant_id,
    id).
    """
    fail_if_any_table_has(catalog.foreign_key_faults, reader, tables)


def test_every_index_exists(reader: sa.Connection, tables: tuple[sa.Table, ...]) -> None:
    """A claim takes as long in a campaign of ten contacts as in one of a million.

    If this fails, create the indexes in the message.
    """
    fail_if_any_table_has(catalog.missing_indexes, reader, tables)


def test_every_checked_column_has_a_check(
    reader: sa.Connection, tables: tuple[sa.Table, ...]
) -> None:
    """No program can store what the library cannot read.

    If this fails, check the columns in the message. This test only finds columns without any CHECK;
    ``test_refusals`` tries what the CHECKs refuse.
    """
    fail_if_any_table_has(catalog.missing_checks, reader, tables)


@pytest.mark.usefixtures("postgresql")
def test_every_constraint_is_validated(reader: sa.Connection, tables: tuple[sa.Table, ...]) -> None:
    """The constraints hold for every row, also for rows that are older than the constraints.

    If this fails, repair what the message names. Validate a constraint that was added NOT VALID
    with ALTER TABLE ... VALIDATE CONSTRAINT. Enable the triggers of foreign keys with ALTER TABLE
    ... ENABLE TRIGGER ALL. Drop an invalid index and create it again.
    """
    names = [table.name for table in tables]
    query = sa.text(
        """
        SELECT conrelid::regclass || ': constraint ' || conname || ' is not validated'
        FROM pg_constraint WHERE NOT convalidated AND conrelid::regclass::text = ANY (:names)
        UNION ALL
        SELECT tgrelid::regclass || ': trigger ' || tgname || ' is disabled'
        FROM pg_trigger
        WHERE tgisinternal AND tgenabled = 'D' AND tgrelid::regclass::text = ANY (:names)
        UNION ALL
        SELECT indrelid::regclass || ': index ' || indexrelid::regclass || ' is not valid'
        FROM pg_index WHERE NOT indisvalid AND indrelid::regclass::text = ANY (:names)
        """
    )
    fail_if_any(reader.scalars(query, {"names": names}))
