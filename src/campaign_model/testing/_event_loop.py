"""Asynchronous drivers in the test kit: synchronous code runs in a greenlet of an event loop.

SQLAlchemy lets synchronous code use an asynchronous driver such as asyncpg in such a greenlet only;
``AsyncConnection.run_sync`` makes one too. A connection belongs to the event loop in which it was
opened. So each thread has an event loop of its own, and the engine has no pool.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

import pytest
import sqlalchemy as sa

from campaign_model.db import prepare_engine

Result = TypeVar("Result")


def make_engine(url: sa.URL) -> sa.Engine:
    """Make the synchronous engine of an asynchronous driver, without a pool."""
    # Importing this module needs greenlet.
    from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415

    return prepare_engine(create_async_engine(url, poolclass=sa.NullPool).sync_engine)


def run_for_driver(dialect: sa.Dialect, function: Callable[[], Result]) -> Result:
    """Call ``function`` so that it can use engines with this dialect in the present thread."""
    if not dialect.is_async:
        return function()
    result: Result = asyncio.run(sa.util.greenlet_spawn(function))
    return result


class RunTestsInEventLoop:
    """Pytest plugin that runs all tests and their fixtures in one greenlet of one event loop."""

    def __init__(self, dialect: sa.Dialect) -> None:
        self._dialect = dialect

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> object:
        """Call the other plugins, which run the tests."""
        plugins = session.config.pluginmanager
        others = plugins.subset_hook_caller("pytest_runtestloop", [self])
        return run_for_driver(self._dialect, lambda: others(session=session))
