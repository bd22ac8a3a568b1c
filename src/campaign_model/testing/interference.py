"""Interference with a call of the store: a crash, overlapping calls, or another tenant as caller.

:class:`Crash`, :class:`Overlap` and :class:`OtherTenant` describe an interference as data;
``StoreMachine.next_call`` takes one of them. The functions of this module carry it out on a
connection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import sqlalchemy as sa

from campaign_model.testing.death import Death

__all__ = [
    "Crash",
    "Interference",
    "OtherTenant",
    "Overlap",
    "before_statement",
    "close_connection",
    "connection_without_waiting",
    "die",
]


def die(_connection: sa.Connection) -> None:
    """Let the process that makes the call die: raise :class:`Death`."""
    raise Death


def close_connection(connection: sa.Connection) -> None:
    """Close the connection of the call, after the database has rolled its transaction back."""
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
    """The next ``number`` calls run while the call after them, the outer call, is not committed.

    The machine keeps these calls back until the outer call reaches its statement ``at`` (from 0),
    or its commit. Then another worker makes them, in one transaction of its own.
    """

    at: int
    number: int = 1


@attrs.frozen
class OtherTenant:
    """Another tenant makes the next call. The call must find nothing and change nothing."""


Interference = Crash | Overlap | OtherTenant


@contextmanager
def before_statement(
    connection: sa.Connection, number: int, action: Callable[[sa.Connection], None]
) -> Iterator[None]:
    """Call ``action(connection)`` once: before statement ``number`` (from 0) of the block.

    If the block ends without that statement, call it at the end. If the block raises without having
    reached that statement, do not call it.
    """
    started = 0
    is_pending = True

    def act_once() -> None:
        nonlocal is_pending
        if is_pending:
            # Set first: statements of the action itself must not call it again.
            is_pending = False
            action(connection)

    def count_statement(*_: Any) -> None:
        nonlocal started
        started += 1
        if started > number:
            act_once()

    sa.event.listen(connection, "before_cursor_execute", count_statement)
    try:
        yield
    finally:
        sa.event.remove(connection, "before_cursor_execute", count_statement)
    act_once()


@contextmanager
def connection_without_waiting(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Open a connection on which a statement fails instead of waiting for a lock."""
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            # The shortest timeout, in milliseconds: 0 would switch it off.
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
