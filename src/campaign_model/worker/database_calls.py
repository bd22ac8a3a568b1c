"""The transactions of a worker: how often they are tried, and how long they may wait.

A worker is patient while it works, so that no paid outcome is lost while a server restarts. Once
the worker is stopping, it must end within seconds, also if another transaction holds a lock that
it needs:

1. :meth:`DatabaseCalls.transact` does not try a transaction again after ``stop_patience``.
2. A thread cancels a statement that has waited for so long. Only a second connection can end the
   wait for a lock of PostgreSQL; the drivers psycopg and psycopg2 can do that, and asyncpg does it
   if the task that waits is cancelled. On SQLite a worker waits for the lock of the file for one
   second at a time.

The connections of an ``AsyncEngine`` belong to an event loop. So a thread that calls
:meth:`DatabaseCalls.transact` lets the transaction run there, and waits for its end.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

import attrs
import sqlalchemy as sa

from campaign_model.store import CampaignStore
from campaign_model.store.asynchronous import run_in_greenlet
from campaign_model.store.connection import LONGEST_WAIT
from campaign_model.store.database_errors import Remedy
from campaign_model.store.transactions import run_attempts

STOP_PATIENCE = timedelta(seconds=5)
"""How long one transaction may take, retries and locks included, once the worker is stopping."""

_ATTEMPTS = 20
"""Attempts at a transaction: enough for many workers that are in conflict with each other."""

_FEW_ATTEMPTS = 3
"""Attempts at a transaction that can wait."""

_PATIENCE = timedelta(minutes=1)
"""How long a worker tries again after database faults of a server that has answered before."""

_WATCH_INTERVAL = 1.0
"""Seconds between two looks at the running statements."""

_SQLITE_WAIT = 1000
"""The milliseconds that one attempt waits for SQLite's lock, before it looks for a stop."""

Result = TypeVar("Result")


def _limit_waits(engine: sa.Engine) -> sa.Engine:
    """Let no attempt wait long for SQLite's lock. Other databases have none: return the engine."""
    if engine.dialect.name != "sqlite":
        return engine
    return engine.execution_options(**{LONGEST_WAIT: _SQLITE_WAIT})


@attrs.define(eq=False)
class _Call:
    """Work that runs in a transaction: how to cancel its statement, and when it began."""

    cancel: Callable[[], object] | None
    begun: float = attrs.field(factory=time.monotonic)


@attrs.define(eq=False)
class DatabaseCalls:
    """The transactions of one worker, in all of its threads.

    Once ``stop`` is set, or ``is_impatient`` is true, no transaction may take longer than
    ``stop_patience``. ``event_loop`` is the one in which the transactions run if the engine is that
    of an ``AsyncEngine``, and None otherwise.
    """

    engine: sa.Engine = attrs.field(converter=_limit_waits)
    tenant_id: UUID
    options: dict[str, Any]
    stop: threading.Event
    stop_patience: timedelta
    event_loop: asyncio.AbstractEventLoop | None
    is_impatient: bool = False
    _has_answered: bool = False
    _stopping_since: float | None = None
    _lock: threading.Lock = attrs.field(factory=threading.Lock)
    _calls_by_driver: dict[Any, _Call] = attrs.field(factory=dict)

    def transact(
        self,
        work: Callable[[CampaignStore], Result],
        *,
        idempotent: bool = True,
        patient: bool = True,
    ) -> Result:
        """Run ``work`` in a transaction. Wait for a lost server, but only after a first success.

        A server that never answered is more likely a wrong URL than a restart. ``patient=False``:
        give up after a few attempts, because the caller has something more urgent to do.
        """
        begun = time.monotonic()

        def is_over(attempt: int, remedy: Remedy) -> bool:
            stopping_since = self._note_stopping_since()
            if stopping_since is not None:
                return _since(max(begun, stopping_since)) >= self.stop_patience
            if not patient:
                return attempt >= _FEW_ATTEMPTS
            # A server that reports a conflict or a timeout has answered.
            patience = _PATIENCE if self._has_answered or remedy is Remedy.RETRY else timedelta(0)
            return attempt >= _ATTEMPTS and _since(begun) >= patience

        call = partial(
            run_attempts,
            self.engine,
            self.tenant_id,
            lambda store: self._run_with_noted_begin(store, work),
            is_over,
            idempotent=idempotent,
            **self.options,
        )
        if self.event_loop is None:
            result = call()
        else:
            result = _run_in(
                self.event_loop,
                call,
                lambda attempt: not idempotent or is_over(attempt, Remedy.RECONNECT),
            )
        self._has_answered = True
        return result

    def note_call(self, connection: sa.Connection) -> None:
        """Note that a new call begins in a transaction: it may take ``stop_patience`` again."""
        driver = connection.connection.dbapi_connection
        with self._lock:
            if driver in self._calls_by_driver:
                self._calls_by_driver[driver].begun = time.monotonic()

    @contextmanager
    def limit_waits_when_stopping(self) -> Iterator[None]:
        """Start a thread that cancels statements that wait for too long once the worker stops.

        The thread ends with the block.
        """
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(_WATCH_INTERVAL):
                stopping_since = self._note_stopping_since()
                if stopping_since is not None:
                    self._cancel_long_waits(stopping_since)

        thread = threading.Thread(target=watch, name="campaign-model-watch", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _run_with_noted_begin(
        self, store: CampaignStore, work: Callable[[CampaignStore], Result]
    ) -> Result:
        """Run ``work`` while ``_calls_by_driver`` says when it began on which connection."""
        driver: Any = store.connection.connection.dbapi_connection
        cancel = getattr(driver, "cancel", None)
        if self.event_loop is not None:
            task = asyncio.current_task()
            assert task is not None
            # Only the thread of the event loop may cancel the task.
            cancel = partial(self.event_loop.call_soon_threadsafe, self._cancel_task, driver, task)
        with self._lock:
            self._calls_by_driver[driver] = _Call(cancel)
        try:
            return work(store)
        finally:
            with self._lock:
                self._calls_by_driver.pop(driver, None)

    def _cancel_task(self, driver: Any, task: asyncio.Task[Any]) -> None:
        """Cancel a task once, while it runs its work, and not while it commits or rolls back."""
        with self._lock:
            if self._calls_by_driver.pop(driver, None) is not None:
                task.cancel()

    def _note_stopping_since(self) -> float | None:
        """Return the moment since when the worker is stopping, or ``None``."""
        if self._stopping_since is None and (self.is_impatient or self.stop.is_set()):
            self._stopping_since = time.monotonic()
        return self._stopping_since

    def _cancel_long_waits(self, stopping_since: float) -> None:
        with self._lock:
            for call in self._calls_by_driver.values():
                is_over = _since(max(call.begun, stopping_since)) >= self.stop_patience
                if is_over and call.cancel is not None:
                    with suppress(Exception):  # The connection may have been lost just now.
                        call.cancel()


def _run_in(
    event_loop: asyncio.AbstractEventLoop,
    call: Callable[[], Result],
    is_over: Callable[[int], bool],
) -> Result:
    """Run a transaction in the event loop, and wait for its end in this thread.

    A cancelled transaction counts as a lost connection: the watching thread cancels one that waits
    for too long, and a program that ends cancels all tasks of its event loop. It is run again until
    ``is_over(attempt)``.
    """
    attempt = 0
    while True:
        attempt += 1
        try:
            return asyncio.run_coroutine_threadsafe(run_in_greenlet(call), event_loop).result()
        except CancelledError as error:
            if is_over(attempt):
                message = "the transaction was cancelled"
                raise sa.exc.OperationalError(message, None, error) from error


def _since(moment: float) -> timedelta:
    return timedelta(seconds=time.monotonic() - moment)
