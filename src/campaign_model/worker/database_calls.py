"""The transactions of a worker: how often they are tried, and how long they may wait.

A worker is patient while it works, so that no paid outcome is lost while a server restarts. Once
the worker is stopping, it must end within seconds, also if another transaction holds a lock that
it needs:

1. :meth:`DatabaseCalls.transact` does not try a transaction again after ``stop_patience``.
2. A thread cancels a statement that has waited for so long. Only a second connection can end the
   wait for a lock of PostgreSQL; the drivers psycopg and psycopg2 can do that. On SQLite a worker
   waits for the lock of the file for one second at a time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID

import attrs
import sqlalchemy as sa

from campaign_model.store import CampaignStore
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
    if engine.dialect.name != "sqlite":
        return engine
    return engine.execution_options(**{LONGEST_WAIT: _SQLITE_WAIT})


@attrs.define(eq=False)
class DatabaseCalls:
    """The transactions of one worker, in all of its threads.

    ``is_stopping()`` is true once no transaction may take longer than ``stop_patience``.
    """

    engine: sa.Engine = attrs.field(converter=_limit_waits)
    tenant_id: UUID
    options: dict[str, Any]
    is_stopping: Callable[[], bool]
    stop_patience: timedelta
    _has_answered: bool = False
    _stopping_since: float | None = None
    _lock: threading.Lock = attrs.field(factory=threading.Lock)
    _begun_by_driver: dict[Any, float] = attrs.field(factory=dict)

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

        result = run_attempts(
            self.engine,
            self.tenant_id,
            lambda store: self._run_with_noted_begin(store, work),
            is_over,
            idempotent=idempotent,
            **self.options,
        )
        self._has_answered = True
        return result

    def note_call(self, connection: sa.Connection) -> None:
        """Note that a new call begins in a transaction: it may take ``stop_patience`` again."""
        driver = connection.connection.dbapi_connection
        with self._lock:
            self._begun_by_driver[driver] = time.monotonic()

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
        """Run ``work`` while ``_begun_by_driver`` says when it began on which connection."""
        driver = store.connection.connection.dbapi_connection
        self.note_call(store.connection)
        try:
            return work(store)
        finally:
            with self._lock:
                del self._begun_by_driver[driver]

    def _note_stopping_since(self) -> float | None:
        """Return the moment since when the worker is stopping, or ``None``."""
        if self._stopping_since is None and self.is_stopping():
            self._stopping_since = time.monotonic()
        return self._stopping_since

    def _cancel_long_waits(self, stopping_since: float) -> None:
        with self._lock:
            for driver, begun in self._begun_by_driver.items():
                is_over = _since(max(begun, stopping_since)) >= self.stop_patience
                if is_over and hasattr(driver, "cancel"):
                    with suppress(Exception):  # The connection may have been lost just now.
                        driver.cancel()


def _since(moment: float) -> timedelta:
    return timedelta(seconds=time.monotonic() - moment)
