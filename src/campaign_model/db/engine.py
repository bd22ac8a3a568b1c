"""``prepare_engine``: configure an SQLAlchemy engine for the store.

Engines with a driver that the store does not know are refused. PostgreSQL needs nothing more.
``require_synchronous`` also refuses engines with which ``init`` and adoption cannot work, and
``begin_setup`` begins a transaction that changes the schema.

SQLite needs write transactions from the start (``BEGIN IMMEDIATE``),
enforced foreign keys, a write-ahead log, so that readers do not wait for a writer, and an end of
every connection whose transaction SQLite has rolled back by itself. The store refuses an SQLite
connection that was opened without them. The error of a locked file says what to do.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import sqlalchemy as sa

from campaign_model.db.setup import (
    READ_ONLY,
    SetupError,
    lock_setup,
    read_access,
    require_usable_options,
)
from campaign_model.store.connection import (
    PREPARED,
    begin_immediate,
    check_driver,
    check_session,
    count_begin_immediate,
    listen_once,
    sqlite_in_transaction,
)

_BUSY_MILLISECONDS = 30_000

_LOCKED = (
    "the SQLite file is locked: another connection did not end its transaction in time; run this "
    "transaction again, as store.transact does, and keep transactions short"
)
"""The sentence in the error of a locked file."""

_LOCKED_CODES = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_PRIMARY_CODE = 0xFF
"""The low byte of an SQLite result code; the other bits only add detail."""


def prepare_engine(engine: sa.Engine) -> sa.Engine:
    """Configure ``engine`` for the store, and return it.

    Call it before the engine opens its first connection. A second call changes nothing. The
    function also prepares the engines that ``engine.execution_options()`` returns, but not the
    engine whose ``execution_options()`` has returned ``engine``. Of an ``AsyncEngine``, pass the
    ``sync_engine``. Raises ``ValueError`` for a database that is neither SQLite nor PostgreSQL, and
    for a driver that the store does not work with. If the ``connect_args`` of an SQLite engine
    contain ``autocommit``, its first connection raises ``ValueError``.
    """
    check_driver(engine.dialect)
    if not isinstance(engine, sa.Engine):
        raise TypeError(
            f"engine is an sqlalchemy.Engine, not {type(engine).__name__}; of an AsyncEngine, pass "
            "its sync_engine"
        )
    if engine.dialect.name == "sqlite":
        if not count_begin_immediate(engine):
            sa.event.listen(engine, "connect", _on_connect)
            sa.event.listen(engine, "begin", begin_immediate)
            sa.event.listen(engine, "invalidate", _on_invalidate)
            listen_once(engine.dialect, ("handle_error", _on_error))
    elif engine.dialect.driver == "psycopg" and not sa.event.contains(
        engine, "connect", _refuse_sql_ascii
    ):
        # Before SQLAlchemy's own listener, which executes the first statements.
        sa.event.listen(engine, "connect", _refuse_sql_ascii, insert=True)
    return engine


def require_synchronous(engine: Any) -> sa.Engine:
    """Prepare ``engine``, and return it.

    Raise :class:`SetupError` if its driver is asynchronous, unless this is called within
    ``run_sync``, as Alembic's template for asynchronous projects does, and if the engine has an
    option with which the library cannot work. Otherwise raise as :func:`prepare_engine`.
    """
    check_driver(engine.dialect)  # An AsyncEngine has a dialect too.
    if engine.dialect.is_async and not (isinstance(engine, sa.Engine) and _is_within_run_sync()):
        raise SetupError(
            "db.init and adoption need a synchronous driver: pass an engine made by create_engine "
            "with postgresql+psycopg, postgresql+psycopg2 or sqlite; with an AsyncEngine, call "
            "connection.run_sync(lambda connection: db.init(connection.engine))"
        )
    require_usable_options(engine)
    return prepare_engine(engine)


@contextmanager
def begin_setup(engine: sa.Engine, *, only_reads: bool = False) -> Iterator[sa.Connection]:
    """Run the block in a transaction that may change the schema.

    Unless it ``only_reads``, hold the setup lock, and raise :class:`SetupError` if the database
    cannot be written. Raise as :func:`require_synchronous`, and ``ValueError`` for the settings of
    a session that the store refuses too.
    """
    with require_synchronous(engine).connect() as connection:
        on_postgresql = engine.dialect.name == "postgresql"
        if on_postgresql:
            # The engine's default may be AUTOCOMMIT, which has no transactions.
            connection.execution_options(isolation_level="READ COMMITTED")
        check_session(connection)
        with connection.begin():
            if not only_reads:
                lock_setup(connection)
                if on_postgresql and read_access(connection).read_only:
                    raise SetupError(READ_ONLY)
            yield connection


def _is_within_run_sync() -> bool:
    """Tell whether an asynchronous driver can be used here like a synchronous one."""
    nothing = asyncio.sleep(0)
    try:
        sa.util.await_only(nothing)
    except sa.exc.MissingGreenlet:
        nothing.close()
        return False
    return True


def _refuse_sql_ascii(connection: Any, _record: object) -> None:
    """Refuse psycopg with the encoding SQL_ASCII: it returns bytes, and SQLAlchemy expects texts.

    ``CampaignStore`` refuses other encodings than UTF8, unless another listener has changed them.
    """
    driver = getattr(connection, "driver_connection", connection)
    if driver.info.parameter_status("client_encoding") == "SQL_ASCII":
        connection.close()
        raise ValueError(
            "the client_encoding of this connection is SQL_ASCII, with which psycopg returns no "
            "texts; set client_encoding to utf8 in the engine's URL or connect_args"
        )


def _on_connect(connection: Any, record: Any) -> None:
    # With None, the sqlite3 module begins no transactions: begin_immediate does.
    connection.isolation_level = None
    cursor = connection.cursor()
    _refuse_autocommit(connection, cursor)
    _refuse_utf16(connection, cursor)
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute(f"PRAGMA busy_timeout = {_BUSY_MILLISECONDS}")
    _use_wal(cursor)
    cursor.close()
    record.info[PREPARED] = True


def _refuse_autocommit(connection: Any, cursor: Any) -> None:
    """Refuse a connection made with ``autocommit=True`` or ``False`` (Python 3.12 and later).

    With False, a transaction is always open, and SQLite ignores some PRAGMAs in a transaction. With
    True, ``commit()`` does nothing. aiosqlite does not tell which value it has, so this function
    tries a transaction.
    """
    driver = getattr(connection, "driver_connection", connection)
    if not driver.in_transaction:
        cursor.execute("BEGIN")
        connection.commit()
    if driver.in_transaction:
        cursor.close()
        connection.close()
        raise ValueError(
            "this SQLite engine has autocommit in its connect_args, with which the store cannot "
            "begin and commit transactions; leave autocommit out"
        )


def _refuse_utf16(connection: Any, cursor: Any) -> None:
    """Refuse a file in UTF-16: the CHECKs count the bytes of texts, and would refuse every id."""
    cursor.execute("PRAGMA encoding")
    ((encoding,),) = cursor.fetchall()
    if encoding != "UTF-8":
        cursor.close()
        connection.close()
        raise ValueError(
            f"the encoding of this SQLite file is {encoding}, which the library does not support; "
            "use a file with the encoding UTF-8, the default of SQLite"
        )


def _use_wal(cursor: Any) -> None:
    """Switch the database to a write-ahead log. The setting is stored in the file.

    If several processes open a new file at once, SQLite reports "busy" to some of them at once and
    ignores ``busy_timeout``, so this function waits itself.
    """
    deadline = time.monotonic() + _BUSY_MILLISECONDS / 1000
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            is_busy = error.sqlite_errorcode & _PRIMARY_CODE == sqlite3.SQLITE_BUSY
            if not is_busy or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _on_invalidate(connection: Any, _record: object, _error: object) -> None:
    """Roll back before SQLAlchemy closes a connection that it does not use again.

    SQLite keeps the transaction of a closed connection open as long as a cursor with unread rows
    exists. If a coroutine is cancelled, the traceback of its error keeps such a cursor.
    """
    with suppress(Exception):
        connection.rollback()


def _on_error(context: sa.engine.ExceptionContext) -> None:
    """Explain the error of a locked file. End a connection whose transaction is rolled back.

    After a full disk, for example, SQLite rolls back the whole transaction by itself. If the
    connection did not count as lost, later statements of the same transaction would be committed
    one by one.
    """
    code = getattr(context.original_exception, "sqlite_errorcode", 0) & _PRIMARY_CODE
    if code in _LOCKED_CODES and context.sqlalchemy_exception is not None:
        context.sqlalchemy_exception.add_detail(_LOCKED)
    connection = context.connection
    if context.is_disconnect or connection is None or not connection.in_transaction():
        return
    if not sqlite_in_transaction(connection):
        context.is_disconnect = True
        context.invalidate_pool_on_disconnect = False
