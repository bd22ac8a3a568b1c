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

_DRIVERS = {"postgres": "postgresql+psycopg", "postgresql": "postgresql+psycopg"}
_EXTRAS = {"psycopg": "postgres"}
_ANSWER_SECONDS = 10

_INSUFFICIENT_PRIVILEGE = "42501"
_PRIMARY_CODE = 0xFF


def parse_url(text: str) -> sa.URL:
    """The URL, with the driver that this project is tested with where none is named."""
    try:
        url = sa.make_url(text)
    except sa.exc.ArgumentError:
        raise UserError(
            "--url is not a database URL; it looks like sqlite:///campaigns.db or "
            "postgresql://user@host/name"
        ) from None
    return url.set(drivername=_DRIVERS.get(url.drivername, url.drivername))


def open_engine(url: sa.URL) -> sa.Engine:
    """An engine on that database, prepared for the store. Nothing is connected yet."""
    try:
        engine = sa.create_engine(url, connect_args=_patience(url))
    except sa.exc.NoSuchModuleError:
        raise UserError(f"{url.drivername} is not a kind of database that is known") from None
    except ModuleNotFoundError as error:
        package = f"campaign-model[{_EXTRAS[error.name]}]" if error.name in _EXTRAS else error.name
        raise UserError(
            f"the driver for {url.drivername} is not installed; run  pip install '{package}'"
        ) from None
    if engine.dialect.is_async:
        raise UserError(f"{url.drivername} is an async driver; write postgresql:// instead")
    try:
        return db.prepare_engine(engine)
    except ValueError as error:
        raise UserError(str(error)) from None


@contextmanager
def open_database(url: sa.URL, *, create: bool = False) -> Iterator[sa.Engine]:
    """The database at ``url``, which answers; with our schema, unless ``create``."""
    if url.get_backend_name() == "sqlite":
        _check_file(url, create=create)
    engine = open_engine(url)
    try:
        with engine.connect():
            pass
        if not create and not sa.inspect(engine).has_table(db.VERSION_TABLE):
            raise UserError(
                f"the database {url.database} has no campaign tables yet; "
                "run  campaign-model db init  first"
            )
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
