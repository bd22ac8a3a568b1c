"""Real parallel transactions, brought into a known order without sleeping."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest
import sqlalchemy as sa

from campaign_model.store import CampaignStore
from support import servers
from support.world import World

Result = TypeVar("Result")

on_postgresql = pytest.mark.parametrize("engine_name", servers.postgresql(), indirect=True)
"""On each PostgreSQL in turn, and not on SQLite."""

PATIENCE = 20.0
"""Seconds after which something that should happen at once counts as not happening."""

_WAITING = sa.text(
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


def until(condition: Callable[[], bool], what: str) -> None:
    """Return once ``condition`` holds; fail when it does not come true."""
    tick = threading.Event()
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if condition():
            return
        tick.wait(0.005)
    raise AssertionError(f"never happened: {what}")


def sever(driver: Any, engine: sa.Engine) -> None:
    """End a driver's connection from outside, as the end of the server would; raise its error."""
    if engine.dialect.name == "sqlite":
        driver.close()
        driver.execute("SELECT 1")
    with engine.connect() as connection:
        connection.execute(sa.select(sa.func.pg_terminate_backend(driver.info.backend_pid)))
    for _ in range(2):
        # The first may still have been on its way.
        driver.execute("SELECT 1")


@contextmanager
def broken_commit(
    world: World, monkeypatch: pytest.MonkeyPatch, *, done: bool
) -> Iterator[threading.Event]:
    """Once the event is set, the next commit loses its connection: after it is done, or before."""
    armed = threading.Event()
    dialect: Any = world.engine.dialect
    commit = dialect.do_commit

    def do_commit(connection: Any) -> None:
        if not armed.is_set():
            commit(connection)
            return
        armed.clear()
        if done:
            commit(connection)
        sever(connection.dbapi_connection, world.engine)

    with monkeypatch.context() as patched:
        patched.setattr(dialect, "do_commit", do_commit)
        yield armed


@contextmanager
def transaction(world: World, **options: Any) -> Iterator[CampaignStore]:
    """A transaction that stays open in this thread; committed unless the block raises."""
    with world.engine.begin() as connection:
        yield CampaignStore(connection, world.tenant_id, **options)


class Others:
    """Threads with transactions of their own."""

    def __init__(self, world: World, pool: ThreadPoolExecutor) -> None:
        self._world = world
        self._pool = pool
        self._futures: list[Future[Any]] = []

    def start(self, work: Callable[[CampaignStore], Result], **options: Any) -> Future[Result]:
        """Begin ``work(store)`` in a transaction of its own, in a thread of its own."""
        future = self._pool.submit(lambda: self._world.transact(work, **options))
        self._futures.append(future)
        return future

    def wait(self) -> None:
        """Return once every started thread that has not ended waits for a lock.

        On SQLite nobody can see who waits, and nobody needs to: the transaction that is open keeps
        all others from beginning.
        """
        if self._world.engine.dialect.name == "sqlite":
            return
        with self._world.engine.connect() as connection:
            watching = connection.execution_options(isolation_level="AUTOCOMMIT")

            def all_wait() -> bool:
                going = sum(not future.done() for future in self._futures)
                return bool(watching.scalar(_WAITING) == going)

            until(all_wait, "the others wait for a lock or have ended")


@contextmanager
def others(world: World, number: int = 2) -> Iterator[Others]:
    """Threads for other transactions. Open it outside of your own, which they may wait for."""
    with ThreadPoolExecutor(number) as pool:
        yield Others(world, pool)
