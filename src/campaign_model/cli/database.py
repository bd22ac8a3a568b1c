"""Opening the database of ``--url``, and explaining in one line why it cannot be opened.

``open_database`` opens it for a block, ``run_in_transaction`` and ``run_as_tenant`` for one
transaction. SQLAlchemy is imported within the functions, because ``--help`` loads this module too.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from campaign_model.cli.console import NAME, DatabaseUnavailable, UserError, hide_passwords

if TYPE_CHECKING:
    import sqlalchemy as sa

    from campaign_model.store import CampaignStore

Result = TypeVar("Result")

_POSTGRESQL = "postgresql+psycopg"
_DRIVERS = {
    "sqlite": "sqlite",
    "sqlite+pysqlite": "sqlite",
    "postgres": _POSTGRESQL,
    "postgresql": _POSTGRESQL,
    _POSTGRESQL: _POSTGRESQL,
}
"""Accepted driver names, and the SQLAlchemy driver that each of them stands for."""

_DENIED = {"42501", "25006"}
"""SQLSTATEs of a missing privilege, and of a transaction that only reads."""

_PRIMARY_CODE_MASK = 0xFF
"""SQLite's extended error codes hold the primary code in their lowest byte."""


def parse_url(text: str) -> sa.URL:
    """Parse a database URL and choose its driver. Raise ``UserError`` if it is not supported."""
    import sqlalchemy as sa

    try:
        text.encode()
        url = sa.make_url(text)
        if "@" in (url.host or ""):  # The host begins with a part of the password.
            raise UserError("--url: write the character @ in a password as %40")
        return url.set(drivername=_DRIVERS[url.drivername])
    except (sa.exc.ArgumentError, KeyError, ValueError):
        # ValueError: the port is no number, or the text has half of a surrogate pair.
        # The message does not repeat the URL, which may contain a password.
        raise UserError(
            "--url must look like sqlite:///campaigns.db or postgresql://user@host/name"
        ) from None


def show_url(url: sa.URL) -> str:
    """Return the URL as text without its passwords."""
    return hide_passwords(url.render_as_string())


def make_engine(url: sa.URL) -> sa.Engine:
    """Make an engine with the command's own defaults. Raise as ``create_engine`` does.

    The errors of its statements have no parameters, which may be private.
    """
    import sqlalchemy as sa

    from campaign_model import db

    connect_arguments: dict[str, Any] = {}
    if url.get_driver_name() == "psycopg":
        # Without a limit, a server that never answers blocks the command for minutes. Without an
        # encoding, the database's own is used, in which not every text can be sent.
        defaults = {"connect_timeout": 10, "client_encoding": "utf8"}
        connect_arguments = {
            name: value for name, value in defaults.items() if name not in url.query
        }
    engine = sa.create_engine(url, connect_args=connect_arguments, hide_parameters=True)
    return db.prepare_engine(engine)


@contextmanager
def open_database(
    url_text: str, *, may_create: bool = False, needs_schema: bool = True
) -> Iterator[sa.Engine]:
    """Open an engine for the block, after one connection has shown that the database answers.

    ``may_create`` creates an SQLite file that does not exist. ``needs_schema`` requires the
    library's tables. Raise ``DatabaseUnavailable`` if the database does not answer, and
    ``UserError`` if the driver is not installed, the URL is wrong or the tables are missing.
    """
    import sqlalchemy as sa

    from campaign_model import db
    from campaign_model.store.connection import check_session

    url = parse_url(url_text)
    if url.get_backend_name() == "sqlite":
        _check_sqlite_file(url, may_create=may_create)
    shown_url = show_url(url)
    try:
        engine = make_engine(url)
    except ModuleNotFoundError as error:
        if error.name != url.get_driver_name():
            raise
        raise UserError(
            "for PostgreSQL, run  pip install 'campaign-model[postgres]'  first"
        ) from None
    except ValueError:  # A number in the URL is none, for example.
        raise UserError(f"cannot open {shown_url}: a value in it has a wrong form") from None
    try:
        try:
            with engine.connect() as connection:
                check_session(connection)
        except sa.exc.DBAPIError as error:
            # Without a statement, the driver refused the URL, or no connection could be made.
            if error.statement is not None and explain_database_error(error) is None:
                raise
            is_refused = isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError)
            raise (DatabaseUnavailable if is_refused else UserError)(
                "; ".join([f"cannot open {shown_url}: {error.orig}", *error.detail])
            ) from None
        except ValueError as error:
            raise UserError(f"cannot use {shown_url}: {error}") from None
        if needs_schema and not sa.inspect(engine).has_table(db.VERSION_TABLE):
            raise UserError(f"{shown_url} has no campaign tables; run  {NAME} db init  first")
        yield engine
    finally:
        engine.dispose()


def run_in_transaction(url: str, work: Callable[[sa.Connection], Result]) -> Result:
    """Open a database with the library's tables, and run ``work`` in a transaction."""
    with open_database(url) as engine, engine.begin() as connection:
        return work(connection)


def run_as_tenant(
    url: str,
    tenant_id: UUID,
    work: Callable[[CampaignStore], Result],
    *,
    actor: str | None = None,
) -> Result:
    """Open a database with the library's tables, and run ``work`` in a transaction of a tenant."""
    from campaign_model.store import transact

    with open_database(url) as engine:
        return transact(engine, tenant_id, work, actor=actor)


def column_names(bind: sa.Engine | sa.Connection, table: str) -> set[str]:
    """Return the names of the columns of a table; none if the database has no such table."""
    import sqlalchemy as sa

    inspector = sa.inspect(bind)
    if not inspector.has_table(table):
        return set()
    return {column["name"] for column in inspector.get_columns(table)}


def require_table(
    bind: sa.Engine | sa.Connection,
    table: str,
    option: str,
    *,
    columns: Collection[str] = (),
    otherwise: str = "",
) -> set[str]:
    """Return the names of the columns of a host's table.

    Raise ``UserError`` if the database has no such table, or if the table lacks some of
    ``columns``. ``option`` is the one that names the table, and ``otherwise`` says what else the
    user can do.
    """
    present = column_names(bind, table)
    if not present:
        raise UserError(f"there is no table {table}; name yours with  {option}")
    if missing := {*columns} - present:
        raise UserError(f"table {table} has no column {', '.join(sorted(missing))}; {otherwise}")
    return present


def explain_database_error(error: sa.exc.DBAPIError) -> UserError | None:
    """Return the error for the user, if the user can act on it: a lost connection, for example.

    It is :class:`DatabaseUnavailable` if the command may succeed later, as when a file is locked.
    ``None`` means that the error is a bug of this program, and its traceback must be shown.
    """
    import sqlalchemy as sa

    from campaign_model.store.connection import sqlstate

    driver_error = error.orig
    if isinstance(driver_error, sqlite3.Error):
        code = getattr(driver_error, "sqlite_errorcode", 0) & _PRIMARY_CODE_MASK
        is_bug = code in (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISUSE)
        is_denied = code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_NOTADB)
    else:
        is_denied = sqlstate(error) in _DENIED
        is_bug = not (isinstance(error, sa.exc.OperationalError) or is_denied)
    if is_bug:
        return None
    message = "; ".join([f"database error: {driver_error}", *error.detail])
    return UserError(message) if is_denied else DatabaseUnavailable(message)


def _check_sqlite_file(url: sa.URL, *, may_create: bool) -> None:
    if not url.database or ":memory:" in url.database:
        raise UserError(
            "a database in memory is lost when this command ends; name a file, such as "
            "sqlite:///campaigns.db"
        )
    if not may_create and "uri" not in url.query and not Path(url.database).exists():
        raise UserError(f"there is no database file {url.database}")
