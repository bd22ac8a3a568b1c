"""``transact``: run work in a transaction, commit it, and try it again after errors that may pass.

A transaction succeeds only if its COMMIT writes what the work wrote. Two things can make a COMMIT
that raises no error write nothing: PostgreSQL has aborted the transaction because of an error that
the work caught, or the work ended the transaction itself. :func:`check_transaction` finds both.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from datetime import timedelta
from typing import Any, TypeVar, Unpack
from uuid import UUID
from weakref import WeakKeyDictionary

import sqlalchemy as sa

from campaign_model._logs import store_log
from campaign_model._values import checked_instance
from campaign_model.errors import InvalidArgument, TransactionAborted, short_repr
from campaign_model.store.connection import listen_once, sqlite_in_transaction, sqlstate
from campaign_model.store.database_errors import (
    Remedy,
    describe_database_error,
    find_database_error,
    remedy_for,
    sqlstate_or_code,
    wrap_connection_error,
)
from campaign_model.store.store import CampaignStore, StoreOptions

Result = TypeVar("Result")

_NOTED_ERROR = "campaign_model_noted_error"
"""Execution option of a connection in :func:`transact`: a list of the last database error."""

_forbidden_database = ContextVar[sa.URL | None]("campaign_model_forbidden_database", default=None)
"""Set by :func:`forbid_transact`."""

_turns_lock = threading.Lock()
_turns: WeakKeyDictionary[sa.Pool, threading.RLock] = WeakKeyDictionary()
"""For each pool whose connections are all the same one: the lock of its transaction."""

_IN_FAILED_TRANSACTION = "25P02"

_LIBPQ_IN_ERROR = 3
"""``PQTRANS_INERROR``: the transaction is aborted, and COMMIT would roll it back."""

_LONGEST_PAUSE = {Remedy.RETRY: 250, Remedy.RECONNECT: 1000}
"""Milliseconds between two attempts, at the most. After a conflict, many short pauses are better:
a transaction that always meets others needs many attempts.
"""


def transact(
    bind: sa.Engine | sa.Connection,
    tenant_id: UUID,
    work: Callable[[CampaignStore], Result],
    *,
    attempts: int = 5,
    patience: timedelta = timedelta(0),
    idempotent: bool = False,
    actor: str | None = None,
    **options: Unpack[StoreOptions],
) -> Result:
    """Run ``work(store)`` in a transaction of its own, commit, and return what ``work`` returned.

    ``bind`` is an engine, or a connection without a transaction. A loop that claims and records
    many times a second should keep a connection: borrowing one from the engine's pool takes about
    as long as a claim.

    The work is run again from its beginning if nothing of it can have been committed and the error
    may pass: a conflict with another transaction, a timeout, a server that restarts or is full, a
    lost connection (:data:`~campaign_model.store.database_errors.REMEDIES` has all of them). It is
    also run again if it caught such an error and raised another one. There are up to ``attempts``
    attempts, and more until ``patience`` is over. If the connection was lost during the commit, the
    work is run again only if ``idempotent`` says that doing it twice does no harm. ``actor`` and
    ``options`` are those of :class:`CampaignStore`.

    Every other error rolls back and passes through. Raises :class:`TransactionAborted` if ``work``
    returned although its transaction cannot be committed, ``TypeError`` if ``work`` is a coroutine
    function, and :class:`InvalidArgument` for less than one attempt.

    With an ``AsyncEngine``, await :func:`transact_async`. With an ``AsyncConnection``, call its
    method ``run_sync``, and pass the connection that your function gets (docs/drivers.md).
    """
    if not isinstance(bind, sa.Engine | sa.Connection):
        raise TypeError(
            f"bind must be an sqlalchemy.Engine or Connection, not {type(bind).__name__}; for an "
            "AsyncEngine, await transact_async; for an AsyncConnection, call its method run_sync, "
            "which passes such a connection to your function"
        )
    checked_instance(patience, timedelta, "patience")
    if checked_instance(attempts, int, "attempts") < 1:
        raise InvalidArgument("attempts", f"attempts is at least 1, not {short_repr(attempts)}")
    deadline = time.monotonic() + patience.total_seconds()

    def is_over(attempt: int, _remedy: Remedy) -> bool:
        return attempt >= attempts and time.monotonic() >= deadline

    return run_attempts(
        bind, tenant_id, work, is_over, idempotent=idempotent, actor=actor, **options
    )


def run_attempts(
    bind: sa.Engine | sa.Connection,
    tenant_id: UUID,
    work: Callable[[CampaignStore], Result],
    is_over: Callable[[int, Remedy], bool],
    *,
    idempotent: bool,
    **options: Any,
) -> Result:
    """Run ``work(store)`` in a transaction, and again after an error that may pass.

    After each failed attempt, ``is_over`` gets the number of the attempt and the remedy of its
    error. If it returns True, there is no further attempt, and the error is raised. The other
    arguments and errors are those of :func:`transact`.
    """
    forbidden = _forbidden_database.get()
    if forbidden is not None and forbidden == _without_driver(bind.engine.url):
        raise RuntimeError(
            "save opens a transaction of its own while the worker's transaction is open, and would "
            "wait for it for ever; use CampaignStore(connection, tenant_id) with the connection "
            "that save gets"
        )
    listen_once(bind.dialect, ("handle_error", _note_error))
    attempt = 0
    while True:
        attempt += 1
        has_begun = is_committing = False
        cause: BaseException | None = None
        try:
            with _wait_for_turn(bind), bind.begin() as begun:
                has_begun = True
                connection = begun if isinstance(begun, sa.Connection) else begun.connection
                connection.execution_options(**{_NOTED_ERROR: []})
                try:
                    result = _run(connection, CampaignStore(connection, tenant_id, **options), work)
                except Exception as error:
                    cause = find_cause(connection, error)
                    if remedy_for(cause) is Remedy.RECONNECT and not connection.invalidated:
                        connection.invalidate(cause)
                    raise
                is_committing = True
        except Exception as error:
            # ``cause`` is None if the work raised no database error, if the COMMIT failed, or if no
            # transaction began. In the last case, the error may need wrapping by the library.
            cause = cause or (error if has_begun else wrap_connection_error(error))
            remedy = remedy_for(cause)
            may_retry = remedy is Remedy.RETRY or (
                remedy is Remedy.RECONNECT and (idempotent or not is_committing)
            )
            if not may_retry or is_over(attempt, remedy):
                if not has_begun and cause is not error:
                    raise cause from error
                raise
            _log_retry(tenant_id, attempt, cause, remedy)
        else:
            return result
        # A random pause, so that two transactions in conflict do not meet again.
        _pause(bind, secrets.randbelow(min(2**attempt * 10, _LONGEST_PAUSE[remedy])) / 1000)


def _wait_for_turn(bind: sa.Engine | sa.Connection) -> AbstractContextManager[object]:
    """Let the transactions of several threads on one connection of the driver run one by one.

    A ``StaticPool``, as for a database in memory, gives every thread the same connection. Then a
    thread would commit or roll back what another thread has half done.
    """
    pool = bind.engine.pool
    if not isinstance(pool, sa.StaticPool):
        return nullcontext()
    with _turns_lock:
        return _turns.setdefault(pool, threading.RLock())


@contextmanager
def forbid_transact(connection: sa.Connection) -> Iterator[None]:
    """Refuse :func:`transact` on the database of ``connection``, in this thread or coroutine.

    A worker runs the host's ``save`` in this block. On SQLite a second transaction waits for the
    first one, and on PostgreSQL it does so if it needs the same campaign.
    """
    token = _forbidden_database.set(_without_driver(connection.engine.url))
    try:
        yield
    finally:
        _forbidden_database.reset(token)


def _without_driver(url: sa.URL) -> sa.URL:
    """Return the URL of the same database, equal for every driver."""
    return url.set(drivername=url.get_backend_name())


def check_transaction(connection: sa.Connection) -> None:
    """Raise :class:`TransactionAborted` if a COMMIT on ``connection`` would write nothing.

    Within :func:`transact`, the error's cause is the database error that aborted the transaction.
    """
    if connection.invalidated or _is_aborted(connection):
        cause = _get_noted_error(connection)
        name = describe_database_error(cause) if cause else "a database error"
        raise TransactionAborted(
            f"the code caught {name}, after which the database accepts nothing more; let "
            "such errors pass, or run statements that may fail within connection.begin_nested()"
        ) from cause
    if not connection.in_transaction():
        raise TransactionAborted(
            "the code committed it or rolled it back itself; leave that to the caller"
        )


def _run(
    connection: sa.Connection, store: CampaignStore, work: Callable[[CampaignStore], Result]
) -> Result:
    """Run ``work``, check that its transaction can be committed, and return what it returned."""
    try:
        result = work(store)
    except sa.exc.PendingRollbackError:
        # The work caught the error of a lost connection, and used the connection again. Raise
        # TransactionAborted, which names the error that was caught.
        check_transaction(connection)
        raise
    check_transaction(connection)
    if inspect.iscoroutine(result):
        result.close()
        raise TypeError("work is an ordinary function, not async def: nothing awaits what it does")
    return result


def find_cause(connection: sa.Connection, error: Exception) -> BaseException | None:
    """Return the database error that made code on ``connection`` raise ``error``, or None.

    The database error is ``error`` itself, an error from which ``error`` was raised, or an earlier
    error that aborted the transaction and that the code caught.
    """
    cause = find_database_error(error)
    if cause is not None or connection.closed:
        return cause
    is_aborted = connection.invalidated or _is_aborted(connection)
    return _get_noted_error(connection) if is_aborted else None


def _get_noted_error(connection: sa.Connection) -> sa.exc.DBAPIError | None:
    """Return the last database error of the transaction, if it is one of :func:`transact`."""
    noted: list[sa.exc.DBAPIError] | None = connection.get_execution_options().get(_NOTED_ERROR)
    return noted[0] if noted else None


def _log_retry(tenant_id: UUID, attempt: int, error: BaseException | None, remedy: Remedy) -> None:
    """Log a failed attempt, without the error's text: it may contain data of contacts."""
    name = type(error).__name__
    if isinstance(error, sa.exc.DBAPIError):
        name = describe_database_error(error)
    store_log.log(
        logging.INFO if remedy is Remedy.RETRY else logging.WARNING,
        "attempt %d at a transaction met %s; trying again (%s)",
        attempt,
        name,
        remedy.value,
        extra={
            "tenant_id": str(tenant_id),
            "attempt": attempt,
            "sqlstate": sqlstate_or_code(error),
            "remedy": remedy.value,
            "error": name,
        },
    )


def _pause(bind: sa.Engine | sa.Connection, seconds: float) -> None:
    """Wait. With an asynchronous driver, let the other tasks of the event loop run."""
    if bind.dialect.is_async:
        sa.util.await_only(asyncio.sleep(seconds))
    else:
        time.sleep(seconds)


def _is_aborted(connection: sa.Connection) -> bool:
    """Return True if the database has ended the transaction, or would answer COMMIT by ROLLBACK."""
    if connection.dialect.name == "sqlite":
        try:
            return connection.in_transaction() and not sqlite_in_transaction(connection)
        except (sqlite3.ProgrammingError, ValueError):
            return False  # The connection is closed, so the COMMIT will raise the same error.
    driver: Any = connection.connection.dbapi_connection
    info = getattr(driver, "info", None)
    if info is not None:  # psycopg and psycopg2
        return bool(info.transaction_status == _LIBPQ_IN_ERROR)
    if not connection.in_transaction():
        return False
    try:
        # asyncpg does not report the state of the transaction, so ask the server.
        connection.exec_driver_sql("SELECT 1")
    except sa.exc.DBAPIError as error:
        if sqlstate(error) == _IN_FAILED_TRANSACTION:
            return True
        raise
    return False


def _note_error(context: sa.engine.ExceptionContext) -> None:
    error, connection = context.sqlalchemy_exception, context.connection
    if connection is None or not isinstance(error, sa.exc.DBAPIError):
        return
    if sqlstate(error) == _IN_FAILED_TRANSACTION:
        return  # PostgreSQL refuses all statements after an error. The refusals are not the cause.
    noted = connection.get_execution_options().get(_NOTED_ERROR)
    if noted is not None:
        noted[:] = [error]
