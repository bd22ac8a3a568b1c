"""Opening the database that a user named, or saying in one line why it can't be."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from campaign_model import db
from campaign_model.cli.console import UserError

__all__ = ["explanation", "open_database", "open_engine", "parse_url"]

_POSTGRESQL = "postgresql+psycopg"
_DRIVERS = {
    "sqlite": "sqlite",
    "sqlite+pysqlite": "sqlite",
    "postgres": _POSTGRESQL,
    "postgresql": _POSTGRESQL,
    _POSTGRESQL: _POSTGRESQL,
}
"""Those that the store understands the errors of."""

_ANSWER_SECONDS = 10

_INSUFFICIENT_PRIVILEGE = "42501"
_PRIMARY_CODE = 0xFF


def parse_url(text: str) -> sa.URL:
    """The URL, with the driver that this library works with."""
    try:
        url = sa.make_url(text)
        return url.set(drivername=_DRIVERS[url.drivername])
    except (sa.exc.ArgumentError, KeyError):
        # Without repeating it: there may be a password in it.
        raise UserError(
            "--url has to look like sqlite:///campaigns.db or postgresql://user@host/name"
        ) from None


def open_engine(url: sa.URL) -> sa.Engine:
    """An engine on that database, prepared for the store. Nothing is connected yet."""
    try:
        return db.prepare_engine(sa.create_engine(url, connect_args=_patience(url)))
    except ModuleNotFoundError as error:
        if error.name != url.get_driver_name():
            raise
        raise UserError(
            "for PostgreSQL, run  pip install 'campaign-model[postgres]'  first"
        ) from None


@contextmanager
def open_database(url: sa.URL, *, create: bool = False, schema: bool = True) -> Iterator[sa.Engine]:
    """The database at ``url``, which answers.

    ``create`` lets an SQLite file be made that is not there; ``schema`` asks for our tables.
    """
    if url.get_backend_name() == "sqlite":
        _check_file(url, create=create)
    engine = open_engine(url)
    shown = url.render_as_string()
    try:
        try:
            with engine.connect():
                pass
        except sa.exc.DBAPIError as error:
            if explanation(error) is None:
                raise
            raise UserError(f"cannot open {shown}: {error.orig}") from None
        if schema and not sa.inspect(engine).has_table(db.VERSION_TABLE):
            raise UserError(f"{shown} has no campaign tables; run  campaign-model db init  first")
        yield engine
    finally:
        engine.dispose()


def explanation(error: sa.exc.DBAPIError) -> str | None:
    """What to tell the user of an error that the database's surroundings caused.

    ``None`` for an error that only a fault of this program explains.
    """
    original = error.orig
    if isinstance(original, sqlite3.Error):
        code = getattr(original, "sqlite_errorcode", 0) & _PRIMARY_CODE
        ours = code in (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISUSE)
    else:
        denied = getattr(original, "sqlstate", None) == _INSUFFICIENT_PRIVILEGE
        ours = not (isinstance(error, sa.exc.OperationalError) or denied)
    return None if ours else f"the database says: {original}"


def _patience(url: sa.URL) -> dict[str, int]:
    # A server that never answers would otherwise be waited for as long as TCP does.
    if url.get_driver_name() == "psycopg" and "connect_timeout" not in url.query:
        return {"connect_timeout": _ANSWER_SECONDS}
    return {}


def _check_file(url: sa.URL, *, create: bool) -> None:
    if not url.database or ":memory:" in url.database:
        raise UserError(
            "a database in memory ends with this command; name a file: sqlite:///campaigns.db"
        )
    if not create and "uri" not in url.query and not Path(url.database).exists():
        raise UserError(f"there is no database file {url.database}")
