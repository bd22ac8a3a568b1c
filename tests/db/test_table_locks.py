"""Functions that change the definitions of tables wait for no lock for long."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa

from campaign_model import db
from campaign_model.db import setup
from support import servers
from support.drivers import DRIVERS, call_with_engine

NEWEST = servers.available()[-1]
LOCK_TIMEOUT = sa.text("SHOW lock_timeout")
Change = Callable[[sa.Engine], Any]


def in_a_transaction(function: Callable[[sa.Connection], Any]) -> Change:
    """Call ``function`` in a transaction, which keeps its own lock_timeout."""

    def change(engine: sa.Engine) -> None:
        with engine.begin() as connection:
            connection.exec_driver_sql("SET LOCAL lock_timeout = '5s'")
            try:
                function(connection)
            finally:
                assert connection.scalar(LOCK_TIMEOUT) == "5s"

    return change


PAIRS = {
    "row security": (db.install_row_security, db.remove_row_security),
    "guard": (in_a_transaction(db.install_guard), in_a_transaction(db.remove_guard)),
    "outbox": (in_a_transaction(db.create_outbox), in_a_transaction(db.drop_outbox)),
}
"""Functions that change the definitions of tables, each with the one that undoes it."""


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "_LONGEST_WAIT_FOR_TABLES_SECONDS", 0)
    monkeypatch.setattr(setup, "LOCK_TIMEOUT_MILLISECONDS", 10)


@contextmanager
def written_table(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Keep the history locked, as an open transaction that has written a row does."""
    with engine.connect() as connection:
        connection.exec_driver_sql("LOCK TABLE campaign_history IN ROW EXCLUSIVE MODE")
        yield connection


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("name", PAIRS)
def test_a_change_ends_in_a_sentence_while_a_table_is_locked(
    schema: Callable[[str], str], name: str
) -> None:
    """A change that waited longer would make every later use of the table wait behind it."""
    engine = sa.create_engine(schema(NEWEST))
    for change in PAIRS[name]:
        before = read_catalog(engine)
        with written_table(engine), pytest.raises(db.SetupError, match="the tables are busy"):
            change(engine)
        assert read_catalog(engine) == before
        change(engine)
        assert read_catalog(engine) != before
    engine.dispose()


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("name", PAIRS)
def test_a_change_is_tried_again_until_the_table_is_free(
    schema: Callable[[str], str], monkeypatch: pytest.MonkeyPatch, name: str, driver: str
) -> None:
    monkeypatch.setattr(setup, "LOCK_TIMEOUT_MILLISECONDS", 10)
    engine = sa.create_engine(schema(NEWEST))
    for change in PAIRS[name]:
        before = read_catalog(engine)
        with written_table(engine) as writer:
            clock = SimpleNamespace(monotonic=time.monotonic, sleep=lambda _: writer.rollback())
            monkeypatch.setattr(setup, "time", clock)
            call_with_engine(engine.url, driver, change)
            assert not writer.in_transaction()
        assert read_catalog(engine) != before
    engine.dispose()


@pytest.mark.usefixtures("impatient")
def test_nothing_is_locked_if_there_is_nothing_to_remove(schema: Callable[[str], str]) -> None:
    engine = sa.create_engine(schema(NEWEST))
    with written_table(engine):
        db.remove_row_security(engine)
        in_a_transaction(db.remove_guard)(engine)
    engine.dispose()


def test_a_shorter_timeout_of_the_caller_holds(schema: Callable[[str], str]) -> None:
    engine = sa.create_engine(schema(NEWEST))
    with engine.begin() as connection:
        connection.exec_driver_sql("SET LOCAL lock_timeout = 20")
        timeout = setup.change_tables(connection, lambda same: same.scalar(LOCK_TIMEOUT))
    engine.dispose()
    assert timeout == "20ms"


def test_a_change_needs_a_transaction(schema: Callable[[str], str]) -> None:
    engine = sa.create_engine(schema(NEWEST), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection, pytest.raises(db.SetupError, match="in AUTOCOMMIT"):
        db.create_outbox(connection)
    engine.dispose()


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("with_host_tables", [False, True])
def test_init_ends_in_a_sentence_while_a_host_table_is_written(
    new_database: Callable[[str], str], *, with_host_tables: bool
) -> None:
    engine = sa.create_engine(new_database(NEWEST))
    host = db.MinimalHost(db.HostTables())
    with engine.begin() as connection:
        host.create_referred(connection)
    with engine.begin() as connection:
        connection.execute(sa.insert(host.tenants).values(id=uuid4(), name="Acme"))
        with pytest.raises(db.SetupError, match="the tables are busy"):
            db.init(engine, with_host_tables=with_host_tables)
        assert not sa.inspect(engine).has_table("campaigns")
    db.init(engine, with_host_tables=with_host_tables)
    engine.dispose()


def read_catalog(engine: sa.Engine) -> tuple[Any, ...]:
    """Return how many triggers and policies there are, and which tables."""
    with engine.begin() as connection:
        return tuple(
            connection.exec_driver_sql(
                """
                SELECT (SELECT count(*) FROM pg_trigger),
                       (SELECT count(*) FROM pg_policy),
                       (SELECT count(*) FROM pg_class WHERE relrowsecurity),
                       (SELECT array_agg(relname ORDER BY relname) FROM pg_class)
                """
            ).one()
        )
