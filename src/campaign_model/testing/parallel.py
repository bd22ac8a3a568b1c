"""Run transactions in parallel and in a known order, without sleeping.

:func:`run_while_open` runs transactions while another transaction is open.
:class:`BackgroundTransactions` runs transactions in threads and, on PostgreSQL, waits until each of
them waits for a lock or has ended. SQLite cannot say which connections wait for a lock; there,
later transactions that write wait until the first one ends, because only one can write at a time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from campaign_model.errors import CampaignModelError
from campaign_model.store import CampaignStore
from campaign_model.testing._event_loop import run_for_driver
from campaign_model.testing.sample_campaigns import Tenant

__all__ = [
    "PATIENCE",
    "BackgroundTransactions",
    "Work",
    "answer_of",
    "background_transactions",
    "run_while_open",
    "wait_until",
]

Work = Callable[[CampaignStore], Any]
"""The calls that a test makes in one transaction, and their answer."""

PATIENCE = 20.0
"""Seconds to wait for something that should happen at once."""

# Of these server processes, the number that wait for a lock.
_COUNT_BLOCKED = sa.text(
    "SELECT count(*) FROM unnest(CAST(:pids AS integer[])) AS pid"
    " WHERE cardinality(pg_blocking_pids(pid)) > 0"
)
# The same in a Citus cluster, where a process may also wait for a lock on another node.
_COUNT_BLOCKED_IN_CITUS = sa.text(
    f"{_COUNT_BLOCKED}"  # noqa: S608 - a constant
    " OR pid IN (SELECT citus_pid_for_gpid(waiting_gpid) FROM citus_lock_waits)"
)


def answer_of(call: Callable[..., Any], *arguments: Any) -> Any:
    """Make a call. Return its result, or the library's error that it raises."""
    try:
        return call(*arguments)
    except CampaignModelError as refusal:
        return refusal


def wait_until(condition: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
    """Return once ``condition()`` is true. Raise ``AssertionError`` after ``patience`` seconds."""
    tick = threading.Event()
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if condition():
            return
        tick.wait(0.005)
    raise AssertionError(f"did not happen within {patience:g} seconds: {what}")


class BackgroundTransactions:
    """Transactions of one tenant that run in threads of their own."""

    def __init__(self, tenant: Tenant, pool: ThreadPoolExecutor) -> None:
        self._tenant = tenant
        self._pool = pool
        self._is_postgresql = tenant.engine.dialect.name == "postgresql"
        self._futures: list[Future[Any]] = []
        self._pids: dict[int, int] = {}
        """On PostgreSQL, the server process of each transaction, by its index in ``_futures``."""

    def start(self, work: Work, **options: Any) -> Future[Any]:
        """Start ``work(store)`` in a thread and a transaction of its own; return its Future.

        ``options`` are those of ``transact``, such as ``attempts=1``.
        """
        index = len(self._futures)

        def note_pid_and_work(store: CampaignStore) -> Any:
            if self._is_postgresql:
                # Behind a pooler, every transaction may have another server process.
                query = sa.select(sa.func.pg_backend_pid())
                self._pids[index] = store.connection.execute(query).scalar_one()
            return work(store)

        def transact() -> Any:
            return self._tenant.transact(note_pid_and_work, **options)

        future = self._pool.submit(run_for_driver, self._tenant.engine.dialect, transact)
        self._futures.append(future)
        return future

    def wait_until_blocked(self, connection: sa.Connection) -> bool:
        """Wait until every started transaction waits for a lock or has ended.

        Return ``True`` if all of them wait for a lock, ``False`` if one has ended. ``connection``
        runs the query for locks; it may have an open transaction. On SQLite return ``False`` at
        once, without waiting.
        """
        if not self._is_postgresql:
            return False
        in_citus = connection.scalar(sa.text("SELECT to_regclass('citus_lock_waits')")) is not None
        count_blocked = _COUNT_BLOCKED_IN_CITUS if in_citus else _COUNT_BLOCKED
        running: list[int] = []

        def all_running_are_blocked() -> bool:
            nonlocal running
            running = [i for i, future in enumerate(self._futures) if not future.done()]
            # A running transaction that has not begun yet has no process, so it is not in pids.
            # Then fewer are blocked than are running.
            pids = [self._pids[i] for i in running if i in self._pids]
            return bool(connection.scalar(count_blocked, {"pids": pids}) == len(running))

        wait_until(
            all_running_are_blocked,
            f"each of {len(self._futures)} parallel transactions waits for a lock or ends (are "
            "there enough connections in the engine's pool and in the pooler?)",
        )
        return len(running) == len(self._futures)  # None has ended.


@contextmanager
def background_transactions(tenant: Tenant, number: int = 2) -> Iterator[BackgroundTransactions]:
    """Provide threads for ``number`` transactions. The end of the block waits for all of them.

    Begin your own transaction inside the block, so that it ends before the block does. Otherwise
    the end of the block would wait for ever for a transaction that waits for yours.
    """
    with ThreadPoolExecutor(number) as pool:
        yield BackgroundTransactions(tenant, pool)


def run_while_open(
    tenant: Tenant,
    *,
    first: Work,
    others: Sequence[Work],
    then: Work | None = None,
    commit: bool = True,
    must_wait: bool = False,
    **options: Any,
) -> list[Any]:
    """Run ``others`` while the transaction of ``first`` is open, and return their answers.

    The answers have the order of ``others``; there is none for ``first`` and ``then``. An answer is
    what the work returned, or the library's error that it raised.

    1. Begin a transaction and run ``first`` in it.
    2. Start the others in their order, each in a transaction of its own. On PostgreSQL, each starts
       when all before it wait for a lock or have ended. With ``must_wait=True``, fail there if one
       has ended, because every one of them should wait for the transaction of ``first``.
    3. Run ``then`` in the transaction of ``first``. Commit that transaction, or roll it back if
       ``commit`` is false.
    4. Wait for the others.

    ``options`` are those of ``transact`` for the others.
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
            assert all_wait, "a transaction did not wait for the open transaction of `first`"
        if then is not None:
            then(store)
        if not commit:
            transaction.rollback()
    return [answer_of(future.result, PATIENCE) for future in futures]
