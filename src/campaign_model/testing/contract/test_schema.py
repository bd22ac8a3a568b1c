"""The tables are what the library's own migrations build, whoever built them. Only reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain

import pytest
import sqlalchemy as sa

from campaign_model.db import HostTables
from campaign_model.db.schema import build_tables
from campaign_model.testing.contract import catalog
from campaign_model.testing.contract.work import on_postgresql


@pytest.fixture
def tables(reader: sa.Connection, host: HostTables) -> tuple[sa.Table, ...]:
    """The library's tables that are there; what is missing is one test's to tell."""
    present = set(sa.inspect(reader).get_table_names())
    return tuple(
        table for table in build_tables(reader.dialect.name, host) if table.name in present
    )


def refute(found: Iterable[str]) -> None:
    """Fail with the faults that were found."""
    lines = [*found]
    if lines:
        pytest.fail("\n".join(lines), pytrace=False)


def none_of(
    find: Callable[[sa.Inspector, sa.Table], Iterator[str]],
    reader: sa.Connection,
    tables: tuple[sa.Table, ...],
) -> None:
    """Fail with what ``find`` finds in any of the tables."""
    inspector = sa.inspect(reader)
    refute(chain.from_iterable(find(inspector, table) for table in tables))


def test_every_table_is_there(reader: sa.Connection, host: HostTables) -> None:
    """The store works with all of its tables. Look at which migrations ran, and at search_path."""
    present = set(sa.inspect(reader).get_table_names())
    needed = {table.name for table in build_tables(reader.dialect.name, host)}
    missing = {*needed, host.tenants, host.owners, host.contacts} - present
    refute(f"there is no table {name}" for name in sorted(missing))


def test_every_column_is_as_it_has_to_be(
    reader: sa.Connection, tables: tuple[sa.Table, ...]
) -> None:
    """Every value fits: money to nine decimals, moments with their zone, documents as JSON.

    A column of another type rounds money or shifts moments without a word; one without its
    default breaks writers that leave it out. Look at the columns named.
    """
    none_of(catalog.columns, reader, tables)


def test_every_key_is_there(reader: sa.Connection, tables: tuple[sa.Table, ...]) -> None:
    """A contact is in a campaign once, a version is written once, an id is used once.

    The store counts on the database for that when two do the same at once. Look at the keys named.
    """
    none_of(catalog.unique_keys, reader, tables)


def test_every_foreign_key_is_there(reader: sa.Connection, tables: tuple[sa.Table, ...]) -> None:
    """No row refers to another tenant's, and none goes without being counted.

    The tenant is part of every key, and nothing is deleted in cascade: that would leave totals
    behind that are wrong. Look at the keys named; the host's tables need UNIQUE (tenant_id, id).
    """
    none_of(catalog.foreign_keys, reader, tables)


def test_every_index_is_there(reader: sa.Connection, tables: tuple[sa.Table, ...]) -> None:
    """A claim costs the same in a campaign of ten and of a million. Look at the indexes named."""
    none_of(catalog.indexes, reader, tables)


def test_every_checked_column_has_a_check(
    reader: sa.Connection, tables: tuple[sa.Table, ...]
) -> None:
    """No writer, of whatever program, can store what no reader can read. Look at the columns named.

    What the CHECKs refuse is tried out where writing is allowed.
    """
    none_of(catalog.checks, reader, tables)


@on_postgresql
def test_every_constraint_holds_for_old_rows_too(
    reader: sa.Connection,
    tables: tuple[sa.Table, ...],
) -> None:
    """What the constraints promise is true of every row, not only of those written since.

    A constraint that was added NOT VALID is validated with ALTER TABLE ... VALIDATE CONSTRAINT;
    triggers that enforce foreign keys are switched on with ALTER TABLE ... ENABLE TRIGGER ALL; an
    index whose building failed is dropped and built again.
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
    refute(reader.scalars(query, {"names": names}))
