"""A connection to change a schema on, while others go on to use it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import sqlalchemy as sa

from campaign_model.db import revisions
from campaign_model.db.plan import Statement
from campaign_model.db.revisions import SetupError
from campaign_model.db.rules import DROP_FUNCTIONS, FUNCTIONS
from campaign_model.store.connection import sqlstate
from campaign_model.store.transactions import is_retryable

__all__ = ["OnProgress", "Session", "session"]

T = TypeVar("T")

OnProgress = Callable[[str, int, int], None]

_LOCK_MILLISECONDS = 500
"""How long a statement waits for a lock: whoever comes after it waits as long."""

_PATIENCE_SECONDS = 600
"""How long a statement that gets no lock is tried again."""

_LOCK_NOT_AVAILABLE = "55P03"

_OTHER_SETTINGS = """SELECT set_config(name, {}, false) FROM pg_settings WHERE name IN
    ('statement_timeout', 'transaction_timeout', 'idle_in_transaction_session_timeout')"""
_SET = ("SET row_security = off", _OTHER_SETTINGS.format("'0'"))
"""To build an index takes as long as it takes; and no row is hidden from its table's owner."""
_RESET = ("RESET row_security", "RESET lock_timeout", _OTHER_SETTINGS.format("reset_val"))


class Session:
    """One connection to work on: statement by statement, or in short transactions."""

    def __init__(self, connection: sa.Connection, on_progress: OnProgress | None) -> None:
        self.connection = connection
        self.on_progress = on_progress

    def autocommit(self) -> sa.Connection:
        """The connection, on which every statement is a transaction of its own."""
        return self.connection.execution_options(isolation_level="AUTOCOMMIT")

    def execute(self, sql: str, **parameters: Any) -> sa.CursorResult[*tuple[Any, ...]]:
        """Run SQL with the tokens that stand for ``parameters``, in the transaction at hand."""
        # Not SQLAlchemy's colons: there are others in JSON paths and casts.
        sql = sql.replace("%", "%%")
        for name in parameters:
            kind = "uuid" if name in {"ids", "rows"} else "text"
            sql = sql.replace(f"@{name}@", f"%({name})s::{kind}[]")
        return self.connection.exec_driver_sql(sql, parameters or None)

    def rows(self, sql: str, **parameters: Any) -> Sequence[sa.Row[*tuple[Any, ...]]]:
        """What a query gives, in a transaction of its own."""
        self.autocommit()
        try:
            return self.execute(sql, **parameters).all()
        finally:
            self.connection.rollback()

    def run(self, statement: Statement) -> None:
        """Run one statement of a plan, as often as it takes to get its lock."""

        def work() -> None:
            self.autocommit()
            # One that is concurrent waits for other transactions, which wait for nothing then.
            self.execute(f"SET lock_timeout = {0 if statement.concurrent else _LOCK_MILLISECONDS}")
            try:
                self.execute(statement.sql)
            except sa.exc.DBAPIError as error:
                if statement.undo is not None and not error.connection_invalidated:
                    self.connection.rollback()
                    self.execute(statement.undo)
                raise

        self._patiently(work)

    def transact(self, work: Callable[[], T]) -> T:
        """Run ``work`` in a transaction, as often as it takes."""

        def begin() -> T:
            self.autocommit()
            self.execute(f"SET lock_timeout = {_LOCK_MILLISECONDS}")
            self.connection.rollback()
            self.connection.execution_options(isolation_level="READ COMMITTED")
            with self.connection.begin():
                return work()

        return self._patiently(begin)

    def _patiently(self, work: Callable[[], T]) -> T:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        pause = 0.05
        while True:
            try:
                return work()
            except sa.exc.DBAPIError as error:
                if not (is_retryable(error) or sqlstate(error) == _LOCK_NOT_AVAILABLE):
                    raise
                if time.monotonic() > deadline:
                    raise SetupError(
                        "the database is too busy: for minutes a table was locked by others; "
                        "end their long transactions and adopt again, which goes on from here"
                    ) from error
            finally:
                # Whatever there is left of a transaction that SQLAlchemy began by itself.
                self.connection.rollback()
            time.sleep(pause * (1 + secrets.randbelow(100) / 100))
            pause = min(2 * pause, 2.0)

    def progress(self, what: str, done: int, total: int) -> None:
        """Tell how far it is."""
        if self.on_progress is not None:
            self.on_progress(what, done, max(done, total))


@contextmanager
def session(engine: sa.Engine, on_progress: OnProgress | None) -> Iterator[Session]:
    """The only session of its kind at work on the database; it leaves the connection as it was."""
    with engine.connect() as connection:
        opened = Session(connection, on_progress)
        try:
            revisions.one_at_a_time(opened.autocommit(), session=True)
            for preparation in (*_SET, *FUNCTIONS):
                opened.execute(preparation)
            connection.rollback()
            yield opened
        finally:
            if not connection.invalidated:
                connection.rollback()
                opened.autocommit()
                for leftover in (DROP_FUNCTIONS, *_RESET, revisions.UNLOCK):
                    opened.execute(leftover)
