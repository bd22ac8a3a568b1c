"""Run jobs that do nothing through two job queues on PostgreSQL, as their manuals describe."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import pgqueuer
import procrastinate
from pgqueuer.types import QueueExecutionMode
from sqlalchemy import make_url

from benchmarks.harness import Span

__all__ = ["enqueue", "work"]


async def _connection(url: str) -> Any:
    parts = make_url(url)
    return await asyncpg.connect(
        host=parts.query["host"], user=parts.username, database=parts.database
    )


async def _pgqueuer_enqueue(url: str, number: int) -> None:
    connection = await _connection(url)
    queries = pgqueuer.Queries(pgqueuer.AsyncpgDriver(connection))
    if not await queries.schema_is_installed():
        await queries.install()
    await queries.enqueue(["nothing"] * number, [None] * number, [0] * number)
    await connection.close()


async def _pgqueuer_work(url: str, batch: int, done: Callable[[], None]) -> None:
    connection = await _connection(url)
    queue = pgqueuer.QueueManager(pgqueuer.Queries(pgqueuer.AsyncpgDriver(connection)))

    @queue.entrypoint("nothing")
    async def nothing(_job: pgqueuer.Job) -> None:
        done()

    await queue.run(batch_size=batch, mode=QueueExecutionMode.drain)
    await connection.close()


def _app(url: str, done: Callable[[], None]) -> procrastinate.App:
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=url))

    @app.task(name="nothing")
    async def nothing() -> None:
        done()

    return app


async def _procrastinate_enqueue(url: str, number: int) -> None:
    async with _app(url, lambda: None).open_async() as app:
        if not await app.check_connection_async():
            await app.schema_manager.apply_schema_async()
        await app.tasks["nothing"].batch_defer_async(*({} for _ in range(number)))


async def _procrastinate_work(url: str, batch: int, done: Callable[[], None]) -> None:
    async with _app(url, done).open_async() as app:
        # The worker fetches one job at a time, and runs ``concurrency`` jobs at once.
        await app.run_worker_async(
            wait=False, concurrency=batch, install_signal_handlers=False, delete_jobs="never"
        )


_ENQUEUE = {"pgqueuer": _pgqueuer_enqueue, "procrastinate": _procrastinate_enqueue}
_WORK = {"pgqueuer": _pgqueuer_work, "procrastinate": _procrastinate_work}


def enqueue(queue: str, url: str, number: int) -> None:
    """Put ``number`` jobs into the queue."""
    asyncio.run(_ENQUEUE[queue](url, number))


def work(queue: str, url: str, batch: int) -> Span:
    """Run all jobs of the queue. Return when the first and the last of them ran."""
    times: list[float] = []
    asyncio.run(_WORK[queue](url, batch, lambda: times.append(time.monotonic())))
    return (times[0], times[-1]) if times else None
