"""Database connections: which of them the store accepts, and helpers for statements and errors.

:func:`check_connection` refuses connections on which the store cannot keep its promises;
:func:`check_driver` and :func:`check_session` are the parts of it that other modules need too.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice
from typing import Any, TypeVar
from uuid import UUID
from weakref import WeakKeyDictionary

import attrs
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from campaign_model._values import checked_id
from campaign_model.store.types import database_clock

PREPARED = "campaign_model.prepared"
"""Set in ``Connection.info`` of SQLite connections that ``db.prepare_engine`` has prepared."""

LONGEST_WAIT = "campaign_model_longest_wait"
"""Execution option: the milliseconds that a transaction waits for SQLite's lock at the most."""

_DRIVERS = {
    "postgresql": ("psycopg", "psycopg2", "asyncpg"),
    "sqlite": ("pysqlite", "aiosqlite"),
}
"""The drivers that pass the store contract, by dialect. The name ``pysqlite`` means ``sqlite3``."""

_RIGHT_SETTINGS = {"server_encoding": "UTF8", "client_encoding": "UTF8", "DateStyle": "ISO"}
"""Settings of PostgreSQL that texts and times depend on, each with a right value."""

_UTF8 = {"UTF8", "UNICODE"}
"""How PostgreSQL writes the encoding. It keeps the old name if the client asked for that one."""

_SAMPLES: dict[int, tuple[str, str, Any]] = {
    20: ("bigint", "1", 1),
    1184: ("timestamptz", "2026-01-01 00:00:00+00", datetime(2026, 1, 1, tzinfo=UTC)),
    1700: ("numeric", "1.5", Decimal("1.5")),
    2950: ("uuid", "00000000-0000-0000-0000-000000000001", UUID(int=1)),
}
"""By the number (oid) of a type of PostgreSQL: its name, a value in text, and what Python reads."""

_READS_TYPES = "campaign_model.reads_types"
"""Set in ``Connection.info`` if the driver reads the :data:`_SAMPLES` as it should."""

_CHUNK = 10_000
"""The most ids that one statement gets."""

_listen_lock = threading.Lock()
_listeners: WeakKeyDictionary[sa.Dialect, set[object]] = WeakKeyDictionary()
"""The listeners that :func:`listen_once` has added to each dialect."""

_FOREIGN_KEY_VIOLATION = "23503"
_UNIQUE_VIOLATION = "23505"
_SQLSTATE_OF_SQLITE_ERROR = {
    "SQLITE_CONSTRAINT_FOREIGNKEY": _FOREIGN_KEY_VIOLATION,
    "SQLITE_CONSTRAINT_UNIQUE": _UNIQUE_VIOLATION,
    "SQLITE_CONSTRAINT_PRIMARYKEY": _UNIQUE_VIOLATION,
}

Clock = Callable[[sa.Connection], datetime]
"""A function that returns the present time; leases and pauses are measured by it."""

T = TypeVar("T")


def database_time(connection: sa.Connection) -> datetime:
    """Return the database's time, the one clock that all workers share."""
    now: datetime = connection.execute(sa.select(database_clock())).scalar_one()
    return now


def listen_once(dialect: sa.Dialect, *listeners: tuple[str, Callable[..., Any]]) -> None:
    """Add listeners, each with the name of its event, to ``dialect``, unless it has them already.

    An engine shares its dialect with every engine that its ``execution_options()`` returns.
    """
    if listeners in _listeners.get(dialect, ()):
        return
    with _listen_lock:
        present = _listeners.setdefault(dialect, set())
        if listeners not in present:
            for event, function in listeners:
                sa.event.listen(dialect, event, function)
            present.add(listeners)


def check_connection(connection: sa.Connection) -> None:
    """Raise ``ValueError`` for a connection on which the store could not keep its promises.

    The store needs SQLite (with an engine that ``db.prepare_engine`` has prepared) or PostgreSQL, a
    driver that it knows, a transaction, and no option that :func:`find_unusable_option` finds. What
    :func:`check_session` refuses is refused here too.
    """
    check_session(connection)
    if connection.dialect.name == "sqlite":
        # Check the engine too: an unprepared engine can share a pool with a prepared one.
        if not (connection.info.get(PREPARED) and count_begin_immediate(connection)):
            raise ValueError(
                "this SQLite engine is not prepared; call campaign_model.db.prepare_engine(engine) "
                "before its first connection"
            )
        autocommit = connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT"
    else:
        # Ask the driver: an engine can be made with AUTOCOMMIT without any execution option.
        driver: Any = connection.connection.dbapi_connection
        autocommit = driver.autocommit
    unusable = find_unusable_option(connection)
    if unusable is not None:
        raise ValueError(unusable)
    if autocommit:
        raise ValueError("the store needs a transaction; this connection is in AUTOCOMMIT")


def find_unusable_option(source: sa.Engine | sa.Connection) -> str | None:
    """Say why the library cannot work with an execution option of ``source``; None if it can."""
    options = source.get_execution_options()
    if options.get("schema_translate_map"):
        return (
            "the library does not support schema_translate_map; set the search_path of the "
            "connection instead"
        )
    if source.dialect.name == "postgresql":
        for name in ("stream_results", "yield_per"):
            if options.get(name):
                return (
                    f"the option {name} of an engine or a connection opens a cursor on the server "
                    "for every statement, also for an INSERT or UPDATE; give the option to single "
                    f"statements, as in select(...).execution_options({name}=...)"
                )
    return None


def check_driver(dialect: sa.Dialect) -> None:
    """Raise ``ValueError`` for a database or a driver that the store does not know."""
    drivers = _DRIVERS.get(dialect.name)
    if drivers is None:
        raise ValueError(f"the store works on SQLite and PostgreSQL, not on {dialect.name}")
    if dialect.driver not in drivers:
        names = " or ".join(f"{dialect.name}+{driver}" for driver in drivers)
        raise ValueError(
            f"the store does not work with the driver {dialect.driver}; make an engine with {names}"
        )


def check_session(connection: sa.Connection) -> None:
    """Raise ``ValueError`` for a driver or settings with which texts or times would be misread.

    Only PostgreSQL has such settings. It reports them to the driver, so this sends no statement,
    except in the first transaction of a connection of asyncpg.
    ``standard_conforming_strings`` and ``IntervalStyle`` are not checked: every value works. Raise
    ``TypeError`` for a connection of another class.
    """
    check_driver(connection.dialect)
    if connection.dialect.name != "postgresql":
        return
    if not isinstance(connection, sa.Connection):
        raise TypeError(
            f"connection is an sqlalchemy.Connection, not {type(connection).__name__}; if you have "
            "an AsyncConnection, call its run_sync, which passes a Connection to your function"
        )
    settings = _reported_settings(connection)
    if settings["server_encoding"] not in _UTF8:
        raise ValueError(
            f"the encoding of this database is {settings['server_encoding']}, which the library "
            "does not support; create a database with the encoding UTF8"
        )
    if settings["client_encoding"] not in _UTF8:
        raise ValueError(
            f"the client_encoding of this connection is {settings['client_encoding']}, in which "
            "not every text can be sent; set it to UTF8 for this engine or role"
        )
    if not settings["DateStyle"].startswith("ISO"):
        raise ValueError(
            f"the DateStyle of this connection is {settings['DateStyle']}, in which the driver "
            f"{connection.dialect.driver} cannot read times; set it to ISO for this engine or role"
        )
    if not connection.info.get(_READS_TYPES):
        _check_types(connection)


def _check_types(connection: sa.Connection) -> None:
    """Raise ``ValueError`` if the driver reads a type of PostgreSQL in a way of the program's own.

    Money that is read as float would be written back rounded.
    """
    values = _read_samples(connection)
    if not values:
        return
    for (name, _, expected), value in zip(_SAMPLES.values(), values, strict=True):
        if not isinstance(value, type(expected)) or value != expected:
            raise ValueError(
                f"this program has changed how the driver {connection.dialect.driver} reads the "
                f"type {name}: as {type(value).__name__}, where the library needs "
                f"{type(expected).__name__}; change it only for connections of other engines"
            )
    connection.info[_READS_TYPES] = True


def _read_samples(connection: sa.Connection) -> Sequence[Any]:
    """Let the driver read the :data:`_SAMPLES`. Return nothing if it cannot read them now."""
    driver: Any = connection.connection.driver_connection
    if connection.dialect.driver == "asyncpg":
        # asyncpg does not tell how it reads a type, so it has to read a row.
        if not connection.in_transaction():
            return ()
        select = ", ".join(f"CAST('{sample}' AS {name})" for name, sample, _ in _SAMPLES.values())
        return connection.exec_driver_sql(f"SELECT {select}").one()
    if driver.closed:
        return ()
    if connection.dialect.driver == "psycopg":
        return [
            driver.adapters.get_loader(oid, 0)(oid, driver).load(sample.encode())  # 0: as text.
            for oid, (_, sample, _) in _SAMPLES.items()
        ]
    module: Any = connection.dialect.dbapi
    casters = {**module.extensions.string_types, **driver.string_types}
    return [casters[oid](sample, driver.cursor()) for oid, (_, sample, _) in _SAMPLES.items()]


def _reported_settings(connection: sa.Connection) -> dict[str, str]:
    """Return the settings of :data:`_RIGHT_SETTINGS` that the server has reported to the driver.

    A setting that a proxy does not report, or that a closed connection does not know any more,
    counts as right: later statements on a closed connection raise an error anyway.
    """
    driver: Any = connection.connection.driver_connection
    settings: dict[str, str | None] = {}
    if connection.dialect.driver == "asyncpg":
        # asyncpg receives times in binary form, whatever the DateStyle is.
        for name in ("server_encoding", "client_encoding"):
            settings[name] = getattr(driver.get_settings(), name, None)
    elif connection.dialect.driver == "psycopg2":
        for name in _RIGHT_SETTINGS:
            settings[name] = driver.info.parameter_status(name)
    elif not driver.closed:
        # This takes a thirtieth of the time of driver.info, in every transaction.
        for name in _RIGHT_SETTINGS:
            value = driver.pgconn.parameter_status(name.encode())
            settings[name] = value and value.decode()
    return {name: settings.get(name) or right for name, right in _RIGHT_SETTINGS.items()}


def sqlite_in_transaction(connection: sa.Connection) -> bool:
    """Return True if a transaction is open in SQLite itself.

    SQLite rolls a transaction back by itself after some errors. Raise ``sqlite3.ProgrammingError``
    or ``ValueError`` for a closed connection, according to the driver.
    """
    driver: Any = connection.connection.driver_connection
    is_open: bool = driver.in_transaction
    return is_open


def begin_immediate(connection: sa.Connection) -> None:
    """Begin a transaction of SQLite that may write. ``db.prepare_engine`` lets engines call this.

    Wait for a locked file at most as long as the option :data:`LONGEST_WAIT` says.
    """
    # If an engine with options was prepared before its original, this function is called twice.
    if count_begin_immediate(connection) > 1 and sqlite_in_transaction(connection):
        return
    longest_wait = connection.get_execution_options().get(LONGEST_WAIT)
    if longest_wait is None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        return
    cursor = connection.connection.cursor()
    cursor.execute("PRAGMA busy_timeout")
    ((busy_timeout,),) = cursor.fetchall()
    cursor.execute(f"PRAGMA busy_timeout = {min(busy_timeout, longest_wait)}")
    try:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    finally:
        with suppress(sqlite3.Error):  # The connection is closed.
            cursor.execute(f"PRAGMA busy_timeout = {busy_timeout}")


def count_begin_immediate(target: sa.Engine | sa.Connection) -> int:
    """Return how often ``target`` calls :func:`begin_immediate` when a transaction begins.

    The listeners of an engine with options include those of its original.
    """
    listeners: Any = target.dispatch
    return [*listeners.begin].count(begin_immediate)


def insert_into(connection: sa.Connection, table: sa.Table) -> Any:
    """Build an INSERT that supports ``ON CONFLICT``, in the dialect of ``connection``."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    return dialect.insert(table)


def sqlstate(error: sa.exc.DBAPIError) -> str | None:
    """Return the SQLSTATE of a database error, or None.

    SQLite has no SQLSTATEs. If a key has refused a row, return the SQLSTATE of PostgreSQL for it.
    """
    state: str | None = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None)
    return state or _SQLSTATE_OF_SQLITE_ERROR.get(getattr(error.orig, "sqlite_errorname", ""))


@attrs.define
class Refusal:
    """Says after a block of :func:`savepoint` whether a key has refused one of its statements."""

    foreign_key_violated: bool = False
    unique_key_violated: bool = False


@contextmanager
def savepoint(connection: sa.Connection, *, catch_unique: bool = False) -> Iterator[Refusal]:
    """Run a block in a savepoint, and catch the error if a foreign key refuses it.

    With ``catch_unique``, catch the error of a unique key too. The block gets a :class:`Refusal`,
    which says after the block which kind of key has refused it. Everything that a refused block has
    written is rolled back. Other errors are raised.
    """
    refusal = Refusal()
    try:
        with connection.begin_nested():
            yield refusal
    except sa.exc.IntegrityError as error:
        # A row refers to nothing, or was deleted while others still refer to it.
        refusal.foreign_key_violated = sqlstate(error) == _FOREIGN_KEY_VIOLATION
        # A row with the same unique value exists already.
        refusal.unique_key_violated = catch_unique and sqlstate(error) == _UNIQUE_VIOLATION
        if not (refusal.foreign_key_violated or refusal.unique_key_violated):
            raise


def chunks(values: Iterable[T], size: int = _CHUNK) -> Iterator[list[T]]:
    """Yield lists of at most ``size`` values, in order."""
    iterator = iter(values)
    while chunk := list(islice(iterator, size)):
        yield chunk


def checked_ids(ids: Iterable[UUID]) -> list[UUID]:
    """Return the ids of contacts without repetition, in order. Raise as :func:`checked_id`."""
    return [checked_id(id_, "contact_ids") for id_ in dict.fromkeys(ids)]
