"""``run_worker_async``: a worker whose ``generate`` is a coroutine function, in an event loop.

The worker loop, with all of its database work, runs in a thread. It starts the coroutines in the
event loop. So the database never blocks the event loop, and a blocked event loop loses no lease.
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
from campaign_model.worker.run import WorkerLoop, WorkerReport
from campaign_model.worker.sigterm import stop_on_sigterm
from campaign_model.worker.task import AsyncTask

__all__ = ["run_worker_async"]

Result = TypeVar("Result")
Generate = Callable[[AsyncTask], Coroutine[Any, Any, Outcome]]
Save = Callable[[sa.Connection, AsyncTask, Outcome], None]

_THREADS = 5
"""One thread for the worker loop and four for checkpoints: the default pool size of an engine."""


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
    """Do what :func:`run_worker` does, with ``concurrency`` coroutines instead of threads.

    ``await generate(task)`` and ``report`` run in the event loop, ``save`` runs in a thread.
    ``engine`` is an ordinary engine, because all transactions run in threads: greenlet is not
    needed. One worker uses up to five connections of the engine's pool.

    If the caller cancels this coroutine, its running coroutines are cancelled too. Their contacts
    are given back with an unknown cost, except where a coroutine still returns an outcome. Set
    ``stop`` instead to let them finish.
    """
    event_loop = asyncio.get_running_loop()
    running: set[asyncio.Task[Any]] = set()
    stop = stop or threading.Event()
    pool = ThreadPoolExecutor(_THREADS)

    async def generate_outcome(task: AsyncTask) -> Outcome:
        if worker_loop.ending:
            return Unfinished()
        current = asyncio.current_task()
        assert current is not None
        running.add(current)
        try:
            return await generate(task)
        finally:
            running.discard(current)

    def start(task: AsyncTask) -> Future[Outcome]:
        return asyncio.run_coroutine_threadsafe(generate_outcome(task), event_loop)

    def report_in_event_loop(progress: Progress) -> None:
        assert report is not None
        event_loop.call_soon_threadsafe(report, progress)

    def cancel_running() -> None:
        worker_loop.ending = True
        for coroutine in running:
            coroutine.cancel()

    worker_loop = WorkerLoop(
        engine=engine,
        tenant_id=tenant_id,
        campaign_id=campaign_id,
        new_task=partial(AsyncTask, run_in_thread=partial(_run_in_thread, pool)),
        start=start,
        save=save,
        concurrency=concurrency,
        lease=lease,
        reserve=reserve,
        report=report and report_in_event_loop,
        stop=stop,
        wait=wait,
        options={"actor": actor, **options},
    )
    with stop_on_sigterm(stop):
        try:
            return await _run_in_thread(pool, worker_loop.run, on_cancel=cancel_running)
        finally:
            # The worker loop has ended. If it raised, coroutines may still run: leave none behind.
            cancel_running()
            if running:
                await asyncio.wait(running)
            pool.shutdown(wait=False)


async def _run_in_thread(
    pool: ThreadPoolExecutor,
    work: Callable[..., Result],
    *arguments: Any,
    on_cancel: Callable[[], None] = lambda: None,
) -> Result:
    """Await ``work(*arguments)`` in a thread of ``pool``.

    A cancelled caller calls ``on_cancel`` and still waits for the end of ``work``, because a
    transaction in a thread cannot be interrupted.
    """
    call = partial(contextvars.copy_context().run, work, *arguments)
    future = asyncio.get_running_loop().run_in_executor(pool, call)
    try:
        await asyncio.wait([future])
    except asyncio.CancelledError:
        on_cancel()
        await asyncio.wait([future])
        future.result()  # An error of `work` is raised instead of the CancelledError.
        raise
    return future.result()
