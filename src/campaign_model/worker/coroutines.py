"""A worker whose ``generate`` is a coroutine function: many at once, in one event loop.

The run itself, with all that it says to the database, is in a thread, and starts coroutines in
the loop. So nothing blocks the loop, and a loop that is blocked by others loses no lease.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

import sqlalchemy as sa

from campaign_model.claims import Outcome, Progress, Unfinished
from campaign_model.worker.run import Run, WorkerReport
from campaign_model.worker.sigterm import stopped_by_sigterm
from campaign_model.worker.task import AsyncTask

__all__ = ["run_worker_async"]

Result = TypeVar("Result")
Generate = Callable[[AsyncTask], Coroutine[Any, Any, Outcome]]
Save = Callable[[sa.Connection, AsyncTask, Outcome], None]

_THREADS = 5
"""One for the run, the others for checkpoints: as many as an engine keeps connections."""


async def run_worker_async(
    engine: sa.Engine,
    tenant_id: UUID,
    campaign_id: UUID,
    generate: Generate,
    *,
    save: Save | None = None,
    concurrency: int = 50,
    lease: timedelta = timedelta(minutes=5),
    reserve: Decimal | None = None,
    report: Callable[[Progress], None] | None = None,
    stop: threading.Event | None = None,
    wait: bool = True,
    actor: str | None = "worker",
    **options: Any,
) -> WorkerReport:
    """Do as :func:`run_worker` does, with ``concurrency`` coroutines instead of threads.

    ``await generate(task)`` and ``report`` run in the event loop, ``save`` in a thread. The engine
    is an ordinary one, on which transactions are short and in threads: there is nothing in them
    to await, and no need of greenlet. Let its pool have room for five connections of each worker.

    Cancelling this cancels what is being written: each contact is given back, its cost unknown
    unless its coroutine returns an outcome all the same. ``stop`` lets it finish instead.
    """
    loop = asyncio.get_running_loop()
    working: set[asyncio.Task[Any]] = set()
    stop = stop or threading.Event()
    pool = ThreadPoolExecutor(_THREADS)

    async def work(task: AsyncTask) -> Outcome:
        if run.ending:
            return Unfinished()
        current = asyncio.current_task()
        assert current is not None
        working.add(current)
        try:
            return await generate(task)
        finally:
            working.discard(current)

    def start(task: AsyncTask) -> Future[Outcome]:
        return asyncio.run_coroutine_threadsafe(work(task), loop)

    def tell(progress: Progress) -> None:
        assert report is not None
        loop.call_soon_threadsafe(report, progress)

    def end() -> None:
        run.ending = True
        for one in working:
            one.cancel()

    run = Run(
        engine=engine,
        tenant_id=tenant_id,
        campaign_id=campaign_id,
        new_task=partial(AsyncTask, in_thread=partial(_in_thread, pool)),
        start=start,
        save=save,
        concurrency=concurrency,
        lease=lease,
        reserve=reserve,
        report=report and tell,
        stop=stop,
        wait=wait,
        options={"actor": actor, **options},
    )
    with stopped_by_sigterm(stop):
        try:
            return await _in_thread(pool, run.until_done, on_cancel=end)
        finally:
            # Cancelled, or broken off: nobody records any more what still runs.
            end()
            if working:
                await asyncio.wait(working)
            pool.shutdown(wait=False)


async def _in_thread(
    pool: ThreadPoolExecutor,
    work: Callable[..., Result],
    *arguments: Any,
    on_cancel: Callable[[], None] = lambda: None,
) -> Result:
    """Await ``work(*arguments)`` in a thread; whoever is cancelled meanwhile waits for its end."""
    call = partial(contextvars.copy_context().run, work, *arguments)
    done = asyncio.get_running_loop().run_in_executor(pool, call)
    try:
        await asyncio.wait([done])
    except asyncio.CancelledError:
        on_cancel()
        await asyncio.wait([done])
        done.result()  # Its error says more than that somebody was in a hurry.
        raise
    return done.result()
