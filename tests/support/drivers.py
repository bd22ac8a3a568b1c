"""Engines with each driver, asynchronous ones too, and with settings of the session."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from campaign_model import db
from campaign_model.testing._event_loop import run_for_driver

Result = TypeVar("Result")

DRIVERS = ("psycopg", "psycopg2", "asyncpg")


ASYNC_DRIVERS = {"postgresql": "postgresql+asyncpg", "sqlite": "sqlite+aiosqlite"}


def new_async_engine(url: sa.URL, **options: Any) -> AsyncEngine:
    """Make a prepared ``AsyncEngine`` on the database at ``url``."""
    url = url.set(drivername=ASYNC_DRIVERS[url.get_backend_name()])
    engine = create_async_engine(url, **options)
    db.prepare_engine(engine.sync_engine)
    return engine


def call_with_engine(
    url: sa.URL,
    driver: str,
    function: Callable[[sa.Engine], Result],
    settings: Mapping[str, str] | None = None,
) -> Result:
    """Call ``function(engine)`` with an engine whose sessions start with ``settings``."""
    url = url.set(drivername=f"postgresql+{driver}")
    if driver == "asyncpg":
        arguments: dict[str, Any] = {"server_settings": dict(settings or {})}
        asynchronous = create_async_engine(url, poolclass=sa.NullPool, connect_args=arguments)
        return run_for_driver(asynchronous.dialect, lambda: function(asynchronous.sync_engine))
    options = [
        f"-c {name}={value.replace(' ', chr(92) + ' ')}" for name, value in (settings or {}).items()
    ]
    engine = sa.create_engine(url, connect_args={"options": " ".join(options)})
    try:
        return function(engine)
    finally:
        engine.dispose()
