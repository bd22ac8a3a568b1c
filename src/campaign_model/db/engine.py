"""Making an engine fit for the store."""

from __future__ import annotations

import sqlite3
import time
from typing import Any

import sqlalchemy as sa

from campaign_model.store.connection import PREPARED

__all__ = ["prepare_engine"]

_BUSY_MILLISECONDS = 30_000


def prepare_engine(engine: sa.Engine) -> sa.Engine:
    """Make ``engine`` keep the store's promises, and return it. Calling it twice is fine.

    On SQLite every transaction begins with ``BEGIN IMMEDIATE``, foreign keys are enforced and a
    busy database is waited for; on PostgreSQL there is nothing to do. Call it before the engine
    opens its first connection. Raises ``ValueError`` for any other database.
    """
    if engine.dialect.name == "sqlite":
        if not sa.event.contains(engine, "connect", _on_connect):
            sa.event.listen(engine, "connect", _on_connect)
            sa.event.listen(engine, "begin", _on_begin)
    elif engine.dialect.name != "postgresql":
        raise ValueError(
            f"campaign-model keeps campaigns in SQLite or PostgreSQL, not in {engine.dialect.name}"
        )
    return engine


def _on_connect(connection: Any, record: Any) -> None:
    # None: the sqlite3 module begins no transaction of its own; _on_begin does.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute(f"PRAGMA busy_timeout = {_BUSY_MILLISECONDS}")
    _use_wal(cursor)
    cursor.close()
    record.info[PREPARED] = True


def _use_wal(cursor: Any) -> None:
    """Have readers and a writer side by side; the database stays so once it is.

    Of several that open a new database at once SQLite tells some that it is busy, without the
    waiting that ``busy_timeout`` asks for.
    """
    deadline = time.monotonic() + _BUSY_MILLISECONDS / 1000
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY  # Of which there are kinds.
            if not busy or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _on_begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
