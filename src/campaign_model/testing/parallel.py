"""Run transactions in parallel and bring them into a known order, without sleeping.

:class:`BackgroundTransactions` runs transactions in threads and tells when all of them wait for a
lock. :func:`run_behind` starts transactions while another one is open. On SQLite only one writing
transaction can be open, and no other connection can see which ones wait for it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from campaign_model.errors import CampaignModelError
from campaign_model.store import CampaignStore
from campaign_model.testing.sample_campaigns import Tenant

__all__ = [
    "PATIENCE",
    "BackgroundTransactions",
    "Work",
    "background_transactions",
    "run_behind",
    "wait_until",
]

Work = Callable[[CampaignStore], Any]

PATIENCE = 20.0
"""Seconds to wait for something that should happen at once."""

_BLOCKED = sa.text(
    "SELECT count(*) FROM unnest(CAST(:pids AS integer[])) AS pid"
    " WHERE cardinality(pg_blocking_pids(pid)) > 0"
)


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Return once ``condition()`` is true. Raise ``AssertionError`` after ``PATIENCE`` seconds."""
    tick = threading.Event()
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if condition():
            return
        tick.wait(0.005)
    raise AssertionError(f"did not happen within {PATIENCE:g} seconds: {what}")


class BackgroundTransactions:
    """Transactions of one tenant that run in threads of their own."""

    def __init__(self, tenant: Tenant, pool: ThreadPoolExecutor) -> None:
        self._tenant = tenant
        self._pool = pool
        self._is_postgresql = tenant.engine.dialect.name == "postgresql"
        self._futures: list[Future[Any]] = []
        self._pids: dict[int, int] = {}

    def start(self, work: Work, **options: Any) -> Future[Any]:
        """Run ``work(store)`` in a thread and a transaction of its own.

        ``options`` are those of ``transact``, such as ``attempts=1``.
        """
        number = len(self._futures)

        def work_with_known_pid(store: CampaignStore) -> Any:
            if self._is_postgresql:
                # Behind a pooler, every transaction may have another server process.
                query = sa.select(sa.func.pg_backend_pid())
                self._pids[number] = store.connection.execute(query).scalar_one()
            return work(store)

        future = self._pool.submit(lambda: self._tenant.transact(work_with_known_pid, **options))
        self._futures.append(future)
        return future

    def wait_until_blocked(self, connection: sa.Connection) -> bool:
        """Return once every started transaction waits for a lock or has ended.

        The return value tells whether all of them wait. ``connection`` is used to look; it may have
        an open transaction. On SQLite return ``False`` at once.
        """
        if not self._is_postgresql:
            return False
        running: list[int] = []

        def all_blocked() -> bool:
            running[:] = [n for n, future in enumerate(self._futures) if not future.done()]
            pids = [self._pids[n] for n in running if n in self._pids]
            return bool(connection.scalar(_BLOCKED, {"pids": pids}) == len(running))

        wait_until(
            all_blocked,
            f"each of {len(self._futures)} parallel transactions waits for a lock or ends (are "
            "there enough connections in the engine's pool and in the pooler?)",
        )
        return len(running) == len(self._futures)


@contextmanager
def background_transactions(tenant: Tenant, number: int = 2) -> Iterator[BackgroundTransactions]:
    """Provide threads for ``number`` transactions; at the end, wait for all of them.

    Open this context outside of your own transaction: the others may wait for that one.
    """
    with ThreadPoolExecutor(number) as pool:
        yield BackgroundTransactions(tenant, pool)


def run_behind(
    tenant: Tenant,
    first: Work,
    *others: Work,
    then: Work | None = None,
    commit: bool = True,
    must_wait: bool = False,
    **options: Any,
) -> list[Any]:
    """Run ``others`` while the transaction of ``first`` is open, and return their answers.

    1. Run ``first`` in an open transaction.
    2. Start the others one after the other; each starts when the ones before wait for a lock or
       have ended. With ``must_wait`` all of them must wait now.
    3. Run ``then`` in the transaction of ``first``; commit it, or roll it back.

    An answer is what the work returned, or the library's error that it raised. ``options`` are
    those of ``transact`` for the others.
    """
    with (
        background_transactions(tenant, len(others)) as background,
        tenant.engine.connect() as connection,
        connection.begin() as transaction,
    ):
        store = CampaignStore(connection, tenant.id, host=tenant.host)
        first(store)
        futures: list[Future[Any]] = []
        all_wait = False
        for work in others:
            futures.append(background.start(work, **options))
            all_wait = background.wait_until_blocked(connection)
        if must_wait and connection.dialect.name == "postgresql":
            assert all_wait, "a transaction did not wait for the first one"
        if then is not None:
            then(store)
        if not commit:
            transaction.rollback()
    return [_answer(future) for future in futures]


def _answer(future: Future[Any]) -> Any:
    try:
        return future.result(PATIENCE)
    except CampaignModelError as error:
        return error
