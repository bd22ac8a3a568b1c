"""What the functions that set up a database share: an error, locks, and checks of the session.

The setup lock lets only one ``init``, ``adopt``, ``install_row_security`` or
``remove_row_security`` run at a time on a database. It is an advisory lock of PostgreSQL, held for
a transaction, or for a session by ``adopt``, which commits many transactions. SQLite needs none:
its transactions that write already run one at a time.

:func:`require_all_rows` is for every function that acts across tenants.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import attrs
import sqlalchemy as sa

from campaign_model._logs import setup_log
from campaign_model.store.connection import find_unusable_option, sqlstate

T = TypeVar("T")

SETUP_LOCK = 0x63616D706169676E
"""The key of the advisory lock."""

SELECT_LOCK_HOLDER = f"""
SELECT
    'process ' || pid || ' (' || coalesce(nullif(application_name, ''), 'without a name')
        || ', connected since '
        || coalesce(
            to_char(backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'), 'unknown time'
        ) || ' UTC)'
FROM pg_locks
JOIN pg_stat_activity USING (pid)
WHERE locktype = 'advisory' AND granted
    AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND classid = {SETUP_LOCK >> 32} AND objid = {SETUP_LOCK & 0xFFFFFFFF} AND objsubid = 1
"""  # noqa: S608 - the key is a constant
"""The process that holds the lock, in words. A sentence can begin with it."""

READ_ONLY = (
    "this session is read-only (transaction_read_only is on); use a role, a database or a URL "
    "without default_transaction_read_only"
)

_RETRY_SECONDS = 0.05
_LONGEST_WAIT_SECONDS = 600

LOCK_TIMEOUT_MILLISECONDS = 500
"""How long a statement waits for the lock of a table. Meanwhile, other programs wait behind it."""

_SELECT_LOCK_TIMEOUT = """
SELECT CAST(setting AS integer)
FROM pg_settings
WHERE name = 'lock_timeout'
"""
_LONGEST_WAIT_FOR_TABLES_SECONDS = 60
_LONGEST_PAUSE_MILLISECONDS = 1000

RETRIED = {
    "40P01",  # a deadlock
    "55P03",  # lock_timeout ended the wait for a lock
}
"""The SQLSTATEs of errors after which a statement may get its lock at another attempt."""


class SetupError(Exception):
    """The command cannot work on this database. The message says what to do."""


def lock_setup(connection: sa.Connection, *, for_session: bool = False) -> None:
    """Wait until no other session holds the lock on this database, and take it.

    The lock ends with the transaction, or ``for_session`` with the connection, unless it is
    released before. The log names the process that holds it. Raises :class:`SetupError` after ten
    minutes.

    The wait is a loop, because a statement that blocks on the lock keeps its snapshot. The adoption
    that holds the lock would wait for that snapshot in ``CREATE INDEX CONCURRENTLY``: a deadlock.
    """
    if connection.dialect.name != "postgresql":
        return
    function = "pg_try_advisory_lock" if for_session else "pg_try_advisory_xact_lock"
    deadline = time.monotonic() + _LONGEST_WAIT_SECONDS
    holder = None
    while not connection.exec_driver_sql(f"SELECT {function}({SETUP_LOCK})").scalar_one():
        if holder is None:
            # The holder may have ended in the meantime: then the next attempt gets the lock.
            holder = connection.exec_driver_sql(SELECT_LOCK_HOLDER).scalar()
            if holder is not None:
                setup_log.warning("waiting for another db init, db adopt or db rls: %s", holder)
        if time.monotonic() > deadline:
            raise SetupError(
                "another db init, db adopt or db rls has been running on this database for ten "
                f"minutes: {holder or 'its process is unknown'}; wait for its end, or end that "
                "process, then run this command again"
            )
        time.sleep(_RETRY_SECONDS)


def change_tables(connection: sa.Connection, change: Callable[..., T], *arguments: object) -> T:
    """Call ``change(connection, *arguments)``, which changes the definitions of tables.

    Return its result.

    While a statement waits for the lock that it needs, all later users of the table wait behind it.
    So the wait for each lock ends after half a second. Then everything that ``change`` has done is
    rolled back, and it is called again, for a minute. Locks that the transaction took before are
    kept meanwhile, so call this at the beginning of a transaction. On SQLite, which has no locks of
    tables, ``change`` is called once.

    Raises :class:`SetupError` if a table is still locked after a minute, and in AUTOCOMMIT.
    """
    if connection.dialect.name != "postgresql":
        return change(connection, *arguments)
    driver: Any = connection.connection.dbapi_connection
    if driver.autocommit:
        raise SetupError("this call needs a transaction; the connection is in AUTOCOMMIT")
    deadline = time.monotonic() + _LONGEST_WAIT_FOR_TABLES_SECONDS
    while True:
        try:
            with connection.begin_nested():
                callers_timeout = connection.exec_driver_sql(_SELECT_LOCK_TIMEOUT).scalar_one()
                timeout = LOCK_TIMEOUT_MILLISECONDS
                if callers_timeout:  # 0 means no timeout.
                    timeout = min(timeout, callers_timeout)
                connection.exec_driver_sql(f"SET LOCAL lock_timeout = {timeout}")
                result = change(connection, *arguments)
                connection.exec_driver_sql(f"SET LOCAL lock_timeout = {callers_timeout}")
                return result
        except sa.exc.DBAPIError as error:
            if sqlstate(error) not in RETRIED:
                raise
            if time.monotonic() > deadline:
                raise SetupError(
                    "the tables are busy: other sessions have kept one of them locked for a "
                    "minute; end their long transactions, and run this command again"
                ) from error
        time.sleep(secrets.randbelow(_LONGEST_PAUSE_MILLISECONDS) / 1000)


def require_tables(connection: sa.Connection, names: Iterable[str]) -> None:
    """Raise :class:`SetupError` if the database lacks one of the library's tables ``names``."""
    inspector = sa.inspect(connection)
    missing = [name for name in names if not inspector.has_table(name)]
    if missing:
        raise SetupError(
            f"the database has no table {', '.join(sorted(missing))}; run campaign-model db init "
            "or db adopt first"
        )


def require_usable_options(source: sa.Engine | sa.Connection) -> None:
    """Raise :class:`SetupError` for an execution option with which the library cannot work."""
    unusable = find_unusable_option(source)
    if unusable is not None:
        raise SetupError(unusable)


def require_all_rows(connection: sa.Connection, tables: Iterable[str]) -> None:
    """Raise :class:`SetupError` if row-level security binds this role on one of the ``tables``.

    A table that the database does not have binds no role.
    """
    if connection.dialect.name != "postgresql":
        return
    select = sa.text(
        """
        SELECT relname, current_user
        FROM pg_class
        WHERE relname = ANY(CAST(:names AS text[]))
          AND relkind IN ('r', 'p')
          AND pg_table_is_visible(oid)
          AND row_security_active(oid)
        ORDER BY relname
        """
    )
    rows = connection.execute(select, {"names": [*tables]}).all()
    if rows:
        raise SetupError(
            f"row-level security hides rows of {', '.join(row.relname for row in rows)} from the "
            f"role {rows[0].current_user}, but this call needs the rows of all tenants: use a "
            "superuser or a role that bypasses it (ALTER ROLE ... BYPASSRLS)"
        )


@attrs.frozen
class Access:
    """What the session may do in a PostgreSQL database.

    ``read_only`` is true on a standby too. ``schema`` is the schema in which CREATE TABLE makes its
    table, in quotes if it needs them; ``None`` if there is none.
    """

    read_only: bool
    is_standby: bool
    may_create_temporary: bool
    schema: str | None
    may_create: bool

    @property
    def temporary_tables_obstacle(self) -> str | None:
        """Say why the session cannot create temporary tables; ``None`` if it can."""
        if self.is_standby:
            return (
                "this server is a standby, on which the library cannot create the temporary tables "
                "that it compares with yours: use the URL of the primary"
            )
        if not self.may_create_temporary:
            return (
                "this role cannot create the temporary tables that the library compares with "
                "yours: GRANT TEMPORARY ON DATABASE to the role"
            )
        return None

    @property
    def create_obstacle(self) -> str | None:
        """Say why the session cannot create tables and indexes; ``None`` if it can."""
        if self.schema is None:
            return "the search_path names no schema that exists, so no table can be created"
        if not self.may_create:
            return f"this role cannot create tables: GRANT CREATE ON SCHEMA {self.schema} to it"
        return None


def write_plain_names(connection: sa.Connection) -> None:
    """Let PostgreSQL write names without needless quotes until the present transaction ends.

    The setting ``quote_all_identifiers`` of a session would put all names into quotes, also in the
    definitions that are compared as texts.
    """
    connection.exec_driver_sql("SET LOCAL quote_all_identifiers = off")


def read_access(connection: sa.Connection) -> Access:
    """Read what the session may do, in the present transaction of ``connection``."""
    write_plain_names(connection)
    row = connection.exec_driver_sql(
        """
        SELECT
            CAST(current_setting('transaction_read_only') AS boolean),
            pg_is_in_recovery(),
            has_database_privilege(current_database(), 'TEMPORARY'),
            quote_ident(current_schema()),
            coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)
        """
    ).one()
    return Access(*row)
