"""The connection of an adoption, which changes schema and rows while other programs use them.

``open_session`` opens a :class:`Session`. A database has at most one at a time. If a statement
waits for a lock, the later statements of other programs wait behind it. So a statement gives up
after half a second, and the session tries it again, for ten minutes in all.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar
from uuid import UUID

import sqlalchemy as sa

from campaign_model.db.adoption.functions import CREATE_FUNCTIONS, DROP_FUNCTIONS
from campaign_model.db.adoption.plan import Statement
from campaign_model.db.setup import SETUP_LOCK, SetupError, lock_setup
from campaign_model.store.connection import check_session, sqlstate

T = TypeVar("T")

OnProgress = Callable[[str, int, int], None]
"""Called with the name of a step, the number of things done, and their total number."""

_LOCK_TIMEOUT_MILLISECONDS = 500
"""How long a statement waits for a lock. Later statements of other programs wait as long."""

_RETRY_SECONDS = 600
"""How long a statement that does not get its lock is tried again."""

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.05, 2.0

_RETRIED = {
    "40001",  # a conflict with another transaction
    "40P01",  # a deadlock
    "55P03",  # lock_timeout ended the wait for a lock
}
"""SQLSTATEs after which a statement is tried again. A cancel by an operator ends the adoption."""

_TIMEOUTS = "'statement_timeout', 'transaction_timeout', 'idle_in_transaction_session_timeout'"

# Switch off timeouts, because building an index may take long, and row-level security, because an
# adoption must see every row.
_PREPARE_SESSION = (
    "SET row_security = off",
    f"SELECT set_config(name, '0', false) FROM pg_settings WHERE name IN ({_TIMEOUTS})",
    *CREATE_FUNCTIONS,
)

# Restore the settings of the connection, because it goes back to the pool.
_RESTORE_SESSION = (
    "CLOSE ALL",
    DROP_FUNCTIONS,
    "RESET row_security",
    "RESET lock_timeout",
    f"SELECT set_config(name, reset_val, false) FROM pg_settings WHERE name IN ({_TIMEOUTS})",
    f"SELECT pg_advisory_unlock({SETUP_LOCK})",
)


class Session:
    """One connection, which runs single statements, or functions in short transactions.

    ``on_progress`` gets the progress of each step.
    """

    def __init__(self, connection: sa.Connection, on_progress: OnProgress | None) -> None:
        self.connection = connection
        self.report_progress = on_progress or (lambda _step, _done, _total: None)

    def use_autocommit(self) -> sa.Connection:
        """Make every statement a transaction of its own. Return the connection."""
        return self.connection.execution_options(isolation_level="AUTOCOMMIT")

    def use_transactions(self) -> sa.Connection:
        """End the open transaction, and go back from autocommit. Return the connection."""
        self.connection.rollback()
        return self.connection.execution_options(isolation_level="READ COMMITTED")

    def execute(self, sql: str, **parameters: Any) -> sa.CursorResult[*tuple[Any, ...]]:
        """Execute SQL in the current transaction. A parameter is written CAST(:name AS type)."""
        # All other colons, such as those in JSON texts, belong to the SQL.
        statement = sa.text(re.sub(r"(?<!CAST\():", r"\:", sql))
        return self.connection.execute(statement, parameters)

    def query(self, sql: str, **parameters: Any) -> Sequence[sa.Row[*tuple[Any, ...]]]:
        """Fetch all rows of a query in a transaction of its own."""
        self.use_autocommit()
        try:
            return self.execute(sql, **parameters).all()
        finally:
            self.connection.rollback()

    def fetch_batches(
        self, step: str, batches_query: str
    ) -> Iterator[tuple[Sequence[UUID], Sequence[UUID]]]:
        """Yield two lists for each batch: the ids of the owners, and the ids of the rows.

        ``batches_query`` comes from :func:`legacy_database.select_batches`. ``step`` is the name of
        the step for progress reports. A cursor on the server holds the batches that were not
        fetched yet; a session has one, so use only one such generator at a time.
        """
        self.use_autocommit()
        self.execute("CLOSE ALL")  # The cursor of the generator before.
        self.execute(f"DECLARE batches CURSOR WITH HOLD FOR\n{batches_query}")
        self.connection.rollback()
        done = 0
        while batch := self.query("FETCH NEXT FROM batches"):
            ids, rows, total = batch[0]
            yield ids, rows
            done += len(rows)
            self.report_progress(step, done, total)

    def run_statement(self, statement: Statement) -> None:
        """Run a schema statement; try it again until it gets its lock."""

        def run() -> None:
            """Execute the statement once. If it fails, undo what it left behind."""
            self.use_autocommit()
            # A concurrent statement waits for other transactions, but they do not wait for it.
            timeout = 0 if statement.concurrent else _LOCK_TIMEOUT_MILLISECONDS
            self.execute(f"SET lock_timeout = {timeout}")
            try:
                self.execute(statement.sql)
            except sa.exc.DBAPIError as error:
                if statement.undo is not None and not error.connection_invalidated:
                    self.connection.rollback()
                    self.execute(statement.undo)
                raise

        self._retry(run)

    def run_in_transaction(self, work: Callable[[], T]) -> T:
        """Call ``work`` in a transaction; try it again after a lock timeout or a deadlock."""

        def run() -> T:
            self.use_autocommit()
            self.execute(f"SET lock_timeout = {_LOCK_TIMEOUT_MILLISECONDS}")
            self.use_transactions()
            with self.connection.begin():
                return work()

        return self._retry(run)

    def _retry(self, run: Callable[[], T]) -> T:
        """Call ``run`` until it succeeds; raise :class:`SetupError` when the time is over."""
        deadline = time.monotonic() + _RETRY_SECONDS
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                return run()
            except sa.exc.DBAPIError as error:
                if sqlstate(error) not in _RETRIED:
                    raise
                if time.monotonic() > deadline:
                    raise SetupError(
                        "the database is too busy: others kept a table locked for ten minutes; "
                        "end their long transactions and adopt again, which continues from here"
                    ) from error
            finally:
                # SQLAlchemy may have begun a transaction by itself.
                self.connection.rollback()
            time.sleep(pause * (1 + secrets.randbelow(100) / 100))
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


@contextmanager
def open_session(engine: sa.Engine, on_progress: OnProgress | None) -> Iterator[Session]:
    """Wait until no other adoption runs, and open a session for the block.

    At the end, the settings of its connection are restored.
    """
    with engine.connect() as connection:
        check_session(connection)
        session = Session(connection, on_progress)
        try:
            lock_setup(session.use_autocommit(), for_session=True)
            for statement in _PREPARE_SESSION:
                session.execute(statement)
            connection.rollback()
            yield session
        finally:
            if not connection.invalidated:
                connection.rollback()
                session.use_autocommit()
                for statement in _RESTORE_SESSION:
                    session.execute(statement)
