"""Say whether a transaction should be tried again after a database error.

The SQLSTATE of the error decides, never its class: drivers sort errors into different classes, but
all of them pass on the SQLSTATE of the server. ``REMEDIES`` is the table of SQLSTATEs, and
:func:`remedy_for` looks an error up. SQLite has no SQLSTATEs, so its result codes are in the table
under their own names. ``docs/database-errors.md`` has the same table for operators.
"""

from __future__ import annotations

import sqlite3
from enum import StrEnum

import sqlalchemy as sa

from campaign_model.store.connection import sqlstate


class Remedy(StrEnum):
    """What to do after a database error."""

    RETRY = "retry"
    """Roll back, and run the transaction again. The database has rolled it back for certain."""

    RECONNECT = "reconnect"
    """Run the transaction again on a new connection. A COMMIT may have taken place."""

    GIVE_UP = "give up"
    """Raise the error: the same transaction would fail again."""


REMEDIES: dict[str, tuple[Remedy, str]] = {
    "08": (Remedy.RECONNECT, "the connection to the server was lost or could not be made"),
    "0A000": (Remedy.RECONNECT, "a prepared statement's columns changed (or an unknown feature)"),
    "25006": (Remedy.RECONNECT, "the server is read-only, as a standby is after a failover"),
    "25P03": (Remedy.RECONNECT, "idle_in_transaction_session_timeout ended the connection"),
    "25P04": (Remedy.RECONNECT, "transaction_timeout ended the connection"),
    "40": (Remedy.RETRY, "a deadlock, or a conflict with another transaction"),
    "53": (Remedy.RECONNECT, "the server has too many connections, or no disk space or memory"),
    "55P03": (
        Remedy.RETRY,
        "lock_timeout ended the wait for a lock, or a late result must not wait for one",
    ),
    "57014": (Remedy.RETRY, "statement_timeout or an operator cancelled the statement"),
    "57": (Remedy.RECONNECT, "the server shuts down, restarts or recovers"),
    "57P04": (Remedy.GIVE_UP, "the database was dropped"),
    "58": (Remedy.RECONNECT, "the server met an error of its operating system"),
    "XX": (Remedy.RECONNECT, "the server met an internal error, or in Citus a node failed"),
    "XX001": (Remedy.GIVE_UP, "the server found corrupted data"),
    "XX002": (Remedy.GIVE_UP, "the server found a corrupted index"),
    "SQLITE_BUSY": (Remedy.RETRY, "another connection has the database"),
    "SQLITE_LOCKED": (Remedy.RETRY, "another connection of this process has the table"),
    "SQLITE_INTERRUPT": (Remedy.RETRY, "the statement was interrupted"),
    "SQLITE_PROTOCOL": (Remedy.RETRY, "the lock of the file could not be taken"),
    "SQLITE_FULL": (Remedy.RECONNECT, "the disk is full"),
    "SQLITE_IOERR": (Remedy.RECONNECT, "the file could not be read or written"),
    "SQLITE_NOMEM": (Remedy.RECONNECT, "no memory is left"),
    "SQLITE_CANTOPEN": (Remedy.RECONNECT, "the file could not be opened"),
}
"""The remedy and its reason by SQLSTATE, class of SQLSTATEs (two characters) or SQLite's code.

An error that is not in the table is a fault of the statement or of its data: give up.
"""

DATABASE_ERRORS = (sa.exc.DBAPIError, sa.exc.TimeoutError)
"""The classes of database errors. A ``TimeoutError``: the engine's pool had no free connection."""

_SQLITE_NAMES = {getattr(sqlite3, name): name for name in REMEDIES if name.startswith("SQLITE_")}
_PRIMARY_CODE = 0xFF
"""The low byte of an SQLite result code; the other bits only add detail."""


def remedy_for(error: BaseException | None) -> Remedy:
    """Return what to do after ``error``.

    If the connection was lost or could not be made, the remedy is RECONNECT, also without an
    SQLSTATE. If a database error led to ``error``, the database error decides. Any other error,
    such as a ``ValueError``, is no reason to try again.
    """
    cause = find_database_error(error)
    if cause is None:
        return Remedy.GIVE_UP
    if not isinstance(cause, sa.exc.DBAPIError) or cause.connection_invalidated:
        return Remedy.RECONNECT
    if isinstance(cause.orig, sqlite3.Error):
        primary_code = getattr(cause.orig, "sqlite_errorcode", 0) & _PRIMARY_CODE
        return _look_up(_SQLITE_NAMES.get(primary_code, ""))
    state = sqlstate(cause)
    if state is None and isinstance(cause, sa.exc.OperationalError):
        # No server answered, so no server gave an SQLSTATE.
        return Remedy.RECONNECT
    return _look_up(state or "")


def wrap_connection_error(error: Exception) -> Exception:
    """Return ``error``, which prevented a connection, as SQLAlchemy's error of a database.

    SQLAlchemy does not wrap what asyncpg raises while it connects: an ``OSError``, or an error with
    the SQLSTATE of a server that starts or has too many connections.
    """
    if isinstance(error, OSError) or isinstance(getattr(error, "sqlstate", None), str):
        return sa.exc.OperationalError(None, None, error)
    return error


def find_database_error(error: BaseException | None) -> sa.exc.SQLAlchemyError | None:
    """Return the database error that ``error`` is, or that led to it, or ``None``."""
    causes = list_causes(error)
    return next((cause for cause in causes if isinstance(cause, DATABASE_ERRORS)), None)


def list_causes(error: BaseException | None) -> list[BaseException]:
    """Return an error and those that led to it, as a traceback shows them.

    Code raises an error from another one (``raise ... from``), or while it handles another one.
    """
    causes: list[BaseException] = []
    while error is not None and error not in causes:
        causes.append(error)
        context = None if error.__suppress_context__ else error.__context__
        error = error.__cause__ or context
    return causes


def _look_up(state: str) -> Remedy:
    remedy, _ = REMEDIES.get(state) or REMEDIES.get(state[:2]) or (Remedy.GIVE_UP, "")
    return remedy


def describe_database_error(error: sa.exc.DBAPIError) -> str:
    """Name a database error by its type and SQLSTATE. Its text may contain data of contacts."""
    return f"{type(error.orig).__name__} ({sqlstate_or_code(error) or 'no SQLSTATE'})"


def sqlstate_or_code(error: BaseException | None) -> str | None:
    """Return the SQLSTATE of a database error, or the result code that SQLite gives instead."""
    if not isinstance(error, sa.exc.DBAPIError):
        return None
    return sqlstate(error) or getattr(error.orig, "sqlite_errorname", None)


def is_retryable(error: BaseException) -> bool:
    """Return True if the database has rolled back, and the same transaction may succeed now.

    True for conflicts between transactions, deadlocks, timeouts of locks and statements, and on
    SQLite for a busy or locked database. False for a lost connection: the COMMIT may have taken
    place.
    """
    return remedy_for(error) is Remedy.RETRY


def is_database_fault(error: BaseException | None) -> bool:
    """Return True if the database could not work, whatever the statement and its data were."""
    return remedy_for(error) is not Remedy.GIVE_UP
