"""``transact_async``: :func:`~campaign_model.store.transactions.transact` with an ``AsyncEngine``.

The store is ordinary, synchronous code. SQLAlchemy runs such code in a greenlet: a statement awaits
the database, and the event loop runs other tasks meanwhile. An ``AsyncEngine`` belongs to one event
loop, because its connections do.

Invariant: a cancelled transaction is rolled back, and its connection goes back to the pool or is
closed. A second cancel must not interrupt that, so the greenlet runs in a task of its own, which is
cancelled once (:func:`run_in_greenlet`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, TypeVar, Unpack
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.util import greenlet_spawn

from campaign_model.store.store import CampaignStore, StoreOptions
from campaign_model.store.transactions import transact

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine  # Importing it needs greenlet.

Result = TypeVar("Result")


async def transact_async(
    engine: AsyncEngine,
    tenant_id: UUID,
    work: Callable[[CampaignStore], Result],
    *,
    attempts: int = 5,
    patience: timedelta = timedelta(0),
    idempotent: bool = False,
    actor: str | None = None,
    **options: Unpack[StoreOptions],
) -> Result:
    """Run ``work(store)`` in a transaction of ``engine``, commit, and return what it returned.

    ``work`` is an ordinary function, as for :func:`transact`: it awaits nothing itself, but the
    event loop runs other tasks while a statement of ``work`` waits for the database. Apart
    from ``engine``, the arguments, attempts and errors are those of :func:`transact`.

    If the task that awaits this is cancelled, the transaction is rolled back and not tried again,
    and then ``CancelledError`` is raised. If the cancel arrives during the commit, either all of
    the transaction is committed or nothing of it.
    """
    sync_engine = find_sync_engine(engine)
    if sync_engine is None:
        raise TypeError(
            f"engine must be an AsyncEngine of SQLAlchemy, not {type(engine).__name__}; for an "
            "ordinary engine, call transact; for an AsyncConnection, call its method run_sync"
        )
    return await run_in_greenlet(
        partial(
            transact,
            sync_engine,
            tenant_id,
            work,
            attempts=attempts,
            patience=patience,
            idempotent=idempotent,
            actor=actor,
            **options,
        )
    )


async def run_in_greenlet(function: Callable[[], Result]) -> Result:
    """Call a synchronous function that uses an ``AsyncEngine``, and return its result.

    A cancelled caller cancels the function once, and waits for its end.
    """
    task: asyncio.Task[Result] = asyncio.create_task(greenlet_spawn(function))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        # The end of an event loop cancels all tasks, also this one.
        if not task.cancelling():
            task.cancel()
        while not task.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # Otherwise asyncio would log that nothing retrieved it.
        raise


def find_sync_engine(engine: object) -> sa.Engine | None:
    """Return the ordinary engine within an ``AsyncEngine``, or None if ``engine`` is none."""
    if isinstance(engine, sa.Engine):
        return None
    try:
        from sqlalchemy.ext.asyncio import AsyncEngine  # noqa: PLC0415 - it needs greenlet
    except ImportError:
        return None
    return engine.sync_engine if isinstance(engine, AsyncEngine) else None
