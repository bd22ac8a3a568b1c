"""Making an engine fit for the store."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from campaign_model.store.scope import PREPARED

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
    for pragma in (
        "foreign_keys = ON",
        f"busy_timeout = {_BUSY_MILLISECONDS}",
        "journal_mode = WAL",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
    record.info[PREPARED] = True


def _on_begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
