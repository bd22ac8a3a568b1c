"""What can happen to a call of the store: a crash, an overlapping call, a foreign tenant.

:class:`Crash`, :class:`Overlap` and :class:`OtherTenant` describe it as data, and
``StoreMachine.next_call`` takes one of them. The functions below make it happen on a connection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import sqlalchemy as sa

from campaign_model.store import is_retryable
from campaign_model.testing._store_internals import sqlstate

__all__ = [
    "Crash",
    "Interference",
    "OtherTenant",
    "Overlap",
    "ProcessDied",
    "before_statement",
    "close_connection",
    "connection_without_waiting",
    "die",
    "had_to_wait",
]

_LOCK_NOT_AVAILABLE = "55P03"


class ProcessDied(Exception):
    """The process of a call died. Its transaction is rolled back."""


def die(_connection: sa.Connection) -> None:
    """Let the process of the call die."""
    raise ProcessDied


def close_connection(connection: sa.Connection) -> None:
    """Lose the connection of the call. The database has noticed it and rolled back."""
    driver: Any = connection.connection.dbapi_connection
    driver.rollback()
    driver.close()


@attrs.frozen
class Crash:
    """The next call crashes before its statement ``at`` (from 0), or before its commit.

    ``how`` is :func:`die` or :func:`close_connection`.
    """

    at: int
    how: Callable[[sa.Connection], None]


@attrs.frozen
class Overlap:
    """The next ``number`` calls overlap with the call that comes after them.

    They wait until that call reaches its statement ``at`` (from 0), or its commit. Then another
    worker makes them, in a transaction of its own.
    """

    at: int
    number: int = 1


@attrs.frozen
class OtherTenant:
    """Another tenant makes the next call. It must find nothing and change nothing."""


Interference = Crash | Overlap | OtherTenant


@contextmanager
def before_statement(
    connection: sa.Connection, number: int, action: Callable[[sa.Connection], None]
) -> Iterator[None]:
    """Call ``action(connection)`` once: before statement ``number`` of the block, or at its end.

    Statements are counted from 0.
    """
    pending = [action]
    executed = 0

    def count_statement(*_: Any) -> None:
        nonlocal executed
        executed += 1
        if executed > number and pending:
            pending.pop()(connection)

    sa.event.listen(connection, "before_cursor_execute", count_statement)
    try:
        yield
    finally:
        sa.event.remove(connection, "before_cursor_execute", count_statement)
    if pending:
        pending.pop()(connection)


@contextmanager
def connection_without_waiting(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Open a connection on which a statement fails instead of waiting for a lock."""
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL lock_timeout = 1")
            yield connection
            return
        driver: Any = connection.connection.dbapi_connection
        ((busy_timeout,),) = driver.execute("PRAGMA busy_timeout").fetchall()
        driver.execute("PRAGMA busy_timeout = 0")
        try:
            yield connection
        finally:
            driver.execute(f"PRAGMA busy_timeout = {busy_timeout}")


def had_to_wait(error: sa.exc.DBAPIError) -> bool:
    """Tell whether a statement failed because another transaction holds a lock."""
    return is_retryable(error) or sqlstate(error) == _LOCK_NOT_AVAILABLE
