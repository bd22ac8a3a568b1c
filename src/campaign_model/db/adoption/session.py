"""The connection of an adoption, which changes schema and rows while other programs use them.

``open_session`` opens a :class:`Session`. A database has at most one at a time. If a statement
waits for a lock, the later statements of other programs wait behind it. So a statement gives up
after half a second, and the session tries it again, for ten minutes in all.

A session keeps settings, functions, a cursor and the setup lock in its server process. A pooler in
transaction mode gives every transaction another server process, and gives that process to other
clients in between. So ``open_session`` first finds out whether the session keeps its server
process.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

import sqlalchemy as sa

from campaign_model.db.adoption.functions import CREATE_FUNCTIONS, DROP_FUNCTIONS
from campaign_model.db.adoption.plan import Statement
from campaign_model.db.setup import (
    LOCK_TIMEOUT_MILLISECONDS,
    READ_ONLY,
    RETRIED,
    SETUP_LOCK,
    SetupError,
    lock_setup,
    read_access,
)
from campaign_model.store.connection import check_session, sqlstate

T = TypeVar("T")

OnProgress = Callable[[str, int, int], None]
"""Called with the name of a step, the number of things done, and their total number."""

_RETRY_SECONDS = 600
"""How long a statement that does not get its lock is tried again."""

_LONGEST_PAUSE_MILLISECONDS = 1000

_RETRIED = {"40001", *RETRIED}  # 40001: a conflict with another transaction
"""SQLSTATEs after which a statement is tried again. A cancel by an operator ends the adoption."""

_TIMEOUTS = "'statement_timeout', 'transaction_timeout', 'idle_in_transaction_session_timeout'"

# Switch off timeouts, because building an index may take long, and row-level security, because an
# adoption must see every row. A backslash in a text of the library's SQL is a backslash.
_PREPARE_SESSION = (
    "SET row_security = off",
    "SET standard_conforming_strings = on",
    f"SELECT set_config(name, '0', false) FROM pg_settings WHERE name IN ({_TIMEOUTS})",
    *CREATE_FUNCTIONS,
)

# Restore the settings of the connection, because it goes back to the pool, and release the lock.
_RESTORE_SESSION = (
    "CLOSE ALL",
    DROP_FUNCTIONS,
    "RESET row_security",
    "RESET standard_conforming_strings",
    "RESET lock_timeout",
    f"SELECT set_config(name, reset_val, false) FROM pg_settings WHERE name IN ({_TIMEOUTS})",
    f"SELECT pg_advisory_unlock({SETUP_LOCK})",
)

_POOLER = (
    "a pooler in transaction mode is between this program and the server, and an adoption needs a "
    "session of its own for its settings, functions and lock: connect to the server itself, or "
    "use the pooler in session mode; nothing was changed"
)

_SESSION_CHECKS = 5
"""How often the server process is compared. Each time takes four round trips."""

_PSQL_ROUND = """\
\\if :campaign_model_is_shared
\\else
    LISTEN campaign_model_adoption;
    \\connect
    BEGIN;
    SELECT count(*) > 0 AS campaign_model_is_shared
    FROM pg_listening_channels() AS channel
    WHERE channel = 'campaign_model_adoption'
    \\gset
    UNLISTEN campaign_model_adoption;
    COMMIT;
\\endif
"""

PSQL_SESSION_CHECK = f"""\
-- A pooler in transaction mode gives every transaction of the script another server process, or
-- gives its server process to other clients. The script notices the first by the process id. To
-- notice the second, it marks its session and connects again, three times: the new session has no
-- mark, unless it has the old server process. The role and the search_path stay as they were.
SELECT
    pg_backend_pid() AS campaign_model_pid,
    current_setting('role') AS campaign_model_role,
    current_setting('search_path') AS campaign_model_search_path
\\gset
SELECT pg_backend_pid() <> :campaign_model_pid AS campaign_model_is_shared \\gset
{_PSQL_ROUND * 3}\
\\if :campaign_model_is_shared
    DO $$ BEGIN RAISE EXCEPTION '{_POOLER}'; END $$;
\\endif
SELECT
    set_config('role', :'campaign_model_role', false) AS campaign_model_role,
    set_config('search_path', :'campaign_model_search_path', false) AS campaign_model_search_path
\\gset"""
"""The same check for a script, before its first statement. The text is for psql."""


class Session:
    """One connection, which runs single statements, or functions in short transactions.

    ``on_progress`` gets the progress of each step.
    """

    def __init__(self, connection: sa.Connection, on_progress: OnProgress | None) -> None:
        self.connection = connection
        self.report_progress: OnProgress = on_progress or (lambda _step, _done, _total: None)

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
        """Fetch all rows of a query, and leave no transaction open."""
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

    def run_statements(self, step: str, statements: Sequence[Statement]) -> None:
        """Run schema statements one by one; try each again until it gets its lock."""
        for number, statement in enumerate(statements, 1):
            self._retry(partial(self._run_statement, statement))
            self.report_progress(step, number, len(statements))

    def _run_statement(self, statement: Statement) -> None:
        """Execute the statement once. If it fails, undo what it left behind."""
        self.use_autocommit()
        # A concurrent statement waits for other transactions, but they do not wait for it.
        timeout = 0 if statement.concurrent else LOCK_TIMEOUT_MILLISECONDS
        self.execute(f"SET lock_timeout = {timeout}")
        try:
            self.execute(statement.sql)
        except sa.exc.DBAPIError as error:
            if statement.undo is not None and not error.connection_invalidated:
                self.connection.rollback()
                self.execute(statement.undo)
            raise

    def run_in_transaction(self, work: Callable[[], T]) -> T:
        """Call ``work`` in a transaction; try it again after a lock timeout or a deadlock."""

        def run() -> T:
            with self.use_transactions().begin():
                self.execute(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MILLISECONDS}")
                return work()

        return self._retry(run)

    def _retry(self, run: Callable[[], T]) -> T:
        """Call ``run`` until it succeeds; raise :class:`SetupError` when the time is over."""
        deadline = time.monotonic() + _RETRY_SECONDS
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
            time.sleep(secrets.randbelow(_LONGEST_PAUSE_MILLISECONDS) / 1000)


@contextmanager
def open_session(
    engine: sa.Engine, on_progress: OnProgress | None, *, dry_run: bool = False
) -> Iterator[Session]:
    """Wait until no other adoption runs, and open a session for the block.

    Raise :class:`SetupError` if an adoption cannot run in this session: on a standby, without the
    right to create temporary tables, or behind a pooler in transaction mode. Only a ``dry_run`` may
    have a session that is read-only by default. At the end, restore the settings of the connection
    and release the setup lock.
    """
    with engine.connect() as connection:
        # 1. Find out whether an adoption can run in this session, before anything is changed.
        check_session(connection)
        session = Session(connection, on_progress)
        with session.use_transactions().begin():
            access = read_access(connection)
        if access.temporary_tables_obstacle is not None:
            raise SetupError(access.temporary_tables_obstacle)
        if access.read_only and not dry_run:
            raise SetupError(READ_ONLY)
        _require_own_process(engine, session)
        # 2. Take the setup lock, and prepare the session. If the connection is lost, its settings
        #    and the lock are gone with its server process.
        try:
            lock_setup(session.use_autocommit(), for_session=True)
            _run_in_writable_transaction(session, _PREPARE_SESSION)
            yield session
        finally:
            if not connection.invalidated:
                _run_in_writable_transaction(session, _RESTORE_SESSION)


def _run_in_writable_transaction(session: Session, statements: Sequence[str]) -> None:
    """Run statements in one transaction, also if the session is read-only by default."""
    connection = session.use_transactions()
    with connection.begin():
        connection.exec_driver_sql("SET TRANSACTION READ WRITE")
        for statement in statements:
            session.execute(statement)


def _require_own_process(engine: sa.Engine, session: Session) -> None:
    """Raise :class:`SetupError` if other clients can get the server process of the session.

    A second connection begins a transaction between two transactions of the session. A pooler in
    transaction mode gives it the process that the session has just left. If the pooler's free
    processes take turns, the session soon has another one.

    The check does not notice a pooler that happens to give the session the same process every
    time, and the second connection another one.
    """
    second_pool = engine.pool.recreate()  # The engine's own pool may have only one connection.
    second = second_pool.connect()
    try:
        cursor = second.cursor()
        own_process = _fetch_process(session)
        for _ in range(_SESSION_CHECKS):
            cursor.execute("BEGIN")
            cursor.execute("SELECT pg_backend_pid()")
            ((second_process,),) = cursor.fetchall()
            next_process = _fetch_process(session)
            cursor.execute("ROLLBACK")
            if second_process == own_process or next_process != own_process:
                raise SetupError(_POOLER)
    finally:
        second.close()
        second_pool.dispose()


def _fetch_process(session: Session) -> int:
    """Return the id of the server process that runs a transaction of the session."""
    ((process,),) = session.query("SELECT pg_backend_pid()")
    return int(process)
