"""What befalls a call of the store between two of its statements: a death, or other people."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from campaign_model.store.connection import sqlstate
from campaign_model.store.transactions import is_retryable

__all__ = ["ProcessDied", "at_statement", "close", "die", "impatient", "would_wait"]

_LOCK_NOT_AVAILABLE = "55P03"


class ProcessDied(Exception):
    """Nothing more of a call was executed, and its transaction was rolled back."""


@contextmanager
def at_statement(
    connection: sa.Connection, number: int, happen: Callable[[sa.Connection], None]
) -> Iterator[None]:
    """Have ``happen(connection)`` called before that statement of the block, or at its end.

    Once, and statements are counted from 0.
    """
    left = [happen]
    executed = 0

    def before(*_: Any) -> None:
        nonlocal executed
        executed += 1
        if executed > number and left:
            left.pop()(connection)

    sa.event.listen(connection, "before_cursor_execute", before)
    try:
        yield
    finally:
        sa.event.remove(connection, "before_cursor_execute", before)
    if left:
        left.pop()(connection)


def die(_connection: sa.Connection) -> None:
    """The process is gone."""
    raise ProcessDied


def close(connection: sa.Connection) -> None:
    """The connection is lost, and the database has noticed."""
    raw: Any = connection.connection.dbapi_connection
    raw.rollback()
    raw.close()


@contextmanager
def impatient(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A connection on which a statement that would wait for a lock fails instead."""
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL lock_timeout = 1")
            yield connection
            return
        raw: Any = connection.connection.dbapi_connection
        ((patience,),) = raw.execute("PRAGMA busy_timeout").fetchall()
        raw.execute("PRAGMA busy_timeout = 0")
        try:
            yield connection
        finally:
            raw.execute(f"PRAGMA busy_timeout = {patience}")


def would_wait(error: sa.exc.DBAPIError) -> bool:
    """Whether a statement failed because somebody else holds a lock."""
    return is_retryable(error) or sqlstate(error) == _LOCK_NOT_AVAILABLE
