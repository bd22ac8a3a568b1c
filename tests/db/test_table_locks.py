"""Functions that change the definition of tables wait for no lock for long."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa

from campaign_model import db
from campaign_model.db import setup
from support import servers

Change = Callable[[sa.Engine], Any]


def in_a_transaction(function: Callable[[sa.Connection], Any]) -> Change:
    """Call ``function`` in a transaction of its own."""

    def change(engine: sa.Engine) -> None:
        with engine.begin() as connection:
            function(connection)

    return change


PAIRS = {
    "row security": (db.install_row_security, db.remove_row_security),
    "guard": (in_a_transaction(db.install_guard), in_a_transaction(db.remove_guard)),
    "outbox": (in_a_transaction(db.create_outbox), in_a_transaction(db.drop_outbox)),
}
"""Functions that change the definition of tables, each with the one that undoes it."""


@pytest.mark.parametrize("name", PAIRS)
def test_a_change_ends_in_a_sentence_while_a_table_is_locked(
    schema: Callable[[str], str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A change that waited longer would make every later use of the table wait behind it."""
    engine = sa.create_engine(schema(servers.available()[-1]))
    monkeypatch.setattr(setup, "_LONGEST_WAIT_FOR_TABLES_SECONDS", 0)
    monkeypatch.setattr(setup, "LOCK_TIMEOUT_MILLISECONDS", 10)
    for change in PAIRS[name]:
        before = read_catalog(engine)
        with engine.begin() as connection:
            connection.exec_driver_sql("LOCK TABLE campaign_history IN ROW EXCLUSIVE MODE")
            with pytest.raises(db.SetupError, match="the tables are busy"):
                change(engine)
            assert read_catalog(engine) == before
        change(engine)
        assert read_catalog(engine) != before
    engine.dispose()


def test_init_ends_in_a_sentence_while_a_host_table_is_written(
    new_database: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = sa.create_engine(new_database(servers.available()[-1]))
    monkeypatch.setattr(setup, "_LONGEST_WAIT_FOR_TABLES_SECONDS", 0)
    monkeypatch.setattr(setup, "LOCK_TIMEOUT_MILLISECONDS", 10)
    host = db.MinimalHost(db.HostTables())
    with engine.begin() as connection:
        host.create_referred(connection)
    with engine.begin() as connection:
        connection.execute(sa.insert(host.tenants).values(id=uuid4(), name="Acme"))
        with pytest.raises(db.SetupError, match="the tables are busy"):
            db.init(engine)
        assert not sa.inspect(engine).has_table("campaigns")
    db.init(engine)
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
