"""``run_worker`` calls ``generate`` in threads, ``run_worker_async`` awaits it in an event loop.

Both run a :class:`WorkerLoop`, and so do ``run_export`` and ``run_export_async``:
:func:`run_in_threads` runs a loop whose tasks run in threads, :func:`run_in_event_loop` one whose
tasks are coroutines. For coroutines, the loop with all of its database work runs in a thread, and
starts the coroutines in the event loop. So the database never blocks the event loop, and a blocked
event loop loses no lease. With an ``AsyncEngine`` the thread lets each transaction run in the event
loop, to which the connections belong: there, code that blocks the event loop delays renewals too.

SIGTERM asks every worker of the main thread to stop, and then calls the program's own handler.
Invariant: that handler is installed whenever no worker runs.
"""

from __future__ import annotations

import asyncio
import contextvars
import signal
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar, Unpack
from uuid import UUID

import sqlalchemy as sa

from campaign_model.claims import Outcome, Progress, Unfinished
from campaign_model.store import StoreOptions
from campaign_model.store.asynchronous import find_sync_engine
from campaign_model.store.generation import MAX_ATTEMPTS
from campaign_model.worker.arguments import check_arguments
from campaign_model.worker.database_calls import STOP_PATIENCE, DatabaseCalls
from campaign_model.worker.jobs import GenerationJob, Job, TaskTimedOut
from campaign_model.worker.run import MAX_EQUAL_FAILURES, WorkerLoop, WorkerReport
from campaign_model.worker.task import AnyTask, AsyncTask, Task

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine  # Importing it needs greenlet.

Result = TypeVar("Result")
Save = Callable[[sa.Connection, AnyTask, Outcome], None]


def run_worker(
    engine: sa.Engine,
    tenant_id: UUID,
    campaign_id: UUID,
    generate: Callable[[Task], Outcome],
    *,
    save: Save[Task] | None = None,
    concurrency: int = 1,
    lease: timedelta = timedelta(minutes=5),
    reserve: Decimal | None = None,
    report: Callable[[Progress], None] | None = None,
    stop: threading.Event | None = None,
    wait: bool = True,
    actor: str | None = "worker",
    max_attempts: int = MAX_ATTEMPTS,
    max_equal_failures: int | None = MAX_EQUAL_FAILURES,
    task_timeout: timedelta | None = None,
    stop_patience: timedelta = STOP_PATIENCE,
    **options: Unpack[StoreOptions],
) -> WorkerReport:
    """Generate the messages of a campaign until nothing is left, or the worker must stop.

    The worker ends when every contact is finished, when the budget is spent, when the campaign is
    cancelled, or when it is asked to stop. It renews its leases while ``generate`` runs. The last
    worker to finish completes the campaign's generation.

    * ``generate(task)`` returns an outcome. It runs in one of ``concurrency`` threads, without an
      open transaction. If it raises, the contact fails.
    * ``save(connection, task, outcome)`` writes the host's rows. It runs once for each applied
      outcome, in the transaction that records the outcome. If it raises, the contact fails and
      nothing is written. Messages of an earlier attempt may exist under the same ids: insert those
      that are missing, or update.
    * ``reserve`` is the most that one contact may cost. A campaign with a budget needs it.
    * ``report(progress)`` is called after outcomes are recorded.
    * ``wait=False``: end when only contacts are left that other workers hold or that wait for a
      retry. By default the worker waits for them.
    * ``actor`` is the worker's name, in the history and in log records.
    * ``max_attempts``: a contact that was claimed this often without an outcome fails.
    * ``max_equal_failures``: end after this number of failures in a row with the same code (and,
      for exceptions, the same type). The campaign stays generating. ``None``: no such limit.
    * ``task_timeout`` is the time limit of one task. A thread cannot be ended: after this time
      ``task.stopping`` is true, and what ``generate`` returns still counts.
    * ``stop_patience`` is how long one transaction may take once the worker is stopping.
    * ``options`` are options of :class:`CampaignStore`.

    Set ``stop`` to stop the worker, or send SIGTERM if it runs in the main thread. It then claims
    nothing more, and finishes and records the contacts that it has. A handler of the program for
    SIGTERM is called at once too; if it raises, the worker raises that error at its end.

    If ``generate`` returns ``Unfinished()`` without a pause, the contact can be claimed again after
    one second. This time doubles each time the same contact is given back in this way, up to one
    minute. If the worker is stopping, the contact can be claimed again at once.

    ``generate``, ``save`` and ``report`` may raise: the worker logs that and goes on.

    A database fault fails no contact. Such a fault means that the database cannot work at the
    moment (:data:`~campaign_model.store.database_errors.REMEDIES`). The worker tries its own
    transactions again for up to one minute, with ``save`` and checkpoints. If ``generate`` raises
    such a fault, the contact is given back with an unknown cost; the worker then stops as above and
    raises the fault.

    Raises :class:`NotFound` for an unknown campaign, :class:`InvalidDocument` for one whose
    documents another program has written so that they cannot be read, ``TypeError`` and
    :class:`InvalidArgument` for arguments of a wrong type or value (also if a budget appears during
    the run and there is no ``reserve``), each after the contacts in flight are recorded. Raises
    every other database error at once: the contacts in flight can be claimed again when their
    leases expire.
    """
    arguments = locals()
    job = GenerationJob(campaign_id, lease, reserve, max_attempts)
    return run_in_threads(arguments, job, Task, generate, WorkerLoop.run)


_THREADS = 5
"""One thread for the worker loop and four for checkpoints: the default pool size of an engine."""


async def run_worker_async(
    engine: sa.Engine | AsyncEngine,
    tenant_id: UUID,
    campaign_id: UUID,
    generate: Callable[[AsyncTask], Coroutine[Any, Any, Outcome]],
    *,
    save: Save[AsyncTask] | None = None,
    concurrency: int = 50,
    lease: timedelta = timedelta(minutes=5),
    reserve: Decimal | None = None,
    report: Callable[[Progress], None] | None = None,
    stop: threading.Event | None = None,
    wait: bool = True,
    actor: str | None = "worker",
    max_attempts: int = MAX_ATTEMPTS,
    max_equal_failures: int | None = MAX_EQUAL_FAILURES,
    task_timeout: timedelta | None = None,
    stop_patience: timedelta = STOP_PATIENCE,
    **options: Unpack[StoreOptions],
) -> WorkerReport:
    """Generate the messages of a campaign, with ``concurrency`` coroutines instead of threads.

    Arguments, result and errors are those of :func:`run_worker`, with these differences.
    ``await generate(task)`` and ``report`` run in the event loop. One worker uses up to five
    connections of the engine's pool.

    With an ordinary engine, all transactions run in threads, with ``save``; greenlet is not needed.
    With an ``AsyncEngine``, such as that of the service itself, they run in the event loop, through
    greenlet. ``save`` is an ordinary function there too, and gets an ordinary connection. Code that
    blocks the event loop delays the transactions: if it blocks for longer than ``lease``, other
    workers can take the contacts over.

    If the caller cancels this coroutine, its running coroutines are cancelled too. Their contacts
    are given back with an unknown cost, except where a coroutine still returns an outcome. Set
    ``stop`` instead to let them finish.

    A coroutine that runs for longer than ``task_timeout`` is cancelled too. Its contact fails with
    the code ``task_timed_out`` and an unknown cost, unless the coroutine still returns an outcome.
    """
    arguments = locals()
    job = GenerationJob(campaign_id, lease, reserve, max_attempts)
    pool = ThreadPoolExecutor(_THREADS)
    new_task = partial(AsyncTask, run_in_thread=partial(_run_in_thread, pool))
    return await run_in_event_loop(arguments, job, new_task, generate, WorkerLoop.run, pool)


def run_in_threads(
    arguments: Mapping[str, Any],
    job: Job,
    new_task: Callable[..., AnyTask],
    generate_or_push: Callable[[AnyTask], Outcome],
    run_loop: Callable[[WorkerLoop[AnyTask]], Result],
) -> Result:
    """Run a worker loop that works on each task in a thread. Return what ``run_loop`` returns.

    ``arguments`` are all arguments of ``run_worker`` or ``run_export``, by name; they are checked
    first. ``generate_or_push`` works on one task.
    """
    check_arguments(arguments)
    worker_loop = _make_loop(
        arguments,
        job,
        new_task,
        # The loop starts tasks when the block below has made the pool.
        start=lambda task: pool.submit(generate_or_push, task),
        report=arguments["report"],
    )
    with (
        stop_on_sigterm(worker_loop.stop),
        worker_loop.database.limit_waits_when_stopping(),
        ThreadPoolExecutor(worker_loop.concurrency) as pool,
    ):
        return run_loop(worker_loop)


async def run_in_event_loop(
    arguments: Mapping[str, Any],
    job: Job,
    new_task: Callable[..., AnyTask],
    generate_or_push: Callable[[AnyTask], Awaitable[Outcome]],
    run_loop: Callable[[WorkerLoop[AnyTask]], Result],
    pool: ThreadPoolExecutor,
) -> Result:
    """Run a worker loop whose tasks are coroutines. Return what ``run_loop`` returns.

    The worker loop runs in a thread of ``pool``, which is shut down at the end. The coroutine
    function ``generate_or_push`` works on one task, in the event loop of the caller.
    ``arguments`` are all arguments of ``run_worker_async`` or ``run_export_async``, by name; they
    are checked first.
    """
    check_arguments(arguments, is_async=True)
    event_loop = asyncio.get_running_loop()
    report, task_timeout = arguments["report"], arguments["task_timeout"]
    running: set[asyncio.Task[Any]] = set()
    worker_loop: WorkerLoop[AnyTask]  # Made below, from the functions that use it.

    async def work_on(task: AnyTask) -> Outcome:
        if worker_loop.ending:
            return Unfinished()
        current = asyncio.current_task()
        assert current is not None
        running.add(current)
        seconds = None if task_timeout is None else task_timeout.total_seconds()
        time_limit = asyncio.timeout(seconds)
        try:
            async with time_limit:
                return await generate_or_push(task)
        except TimeoutError as error:
            if time_limit.expired():
                message = f"{job.function_name} took longer than {task_timeout}"
                raise TaskTimedOut(message) from error
            raise
        finally:
            running.discard(current)

    def report_in_event_loop(progress: Progress) -> None:
        event_loop.call_soon_threadsafe(worker_loop.call_report, report, progress)

    def cancel_running() -> None:
        worker_loop.ending = worker_loop.database.is_impatient = True
        for coroutine in running:
            coroutine.cancel()

    worker_loop = _make_loop(
        arguments,
        job,
        new_task,
        start=lambda task: asyncio.run_coroutine_threadsafe(work_on(task), event_loop),
        report=report_in_event_loop if report else None,
        event_loop=event_loop,
    )
    with stop_on_sigterm(worker_loop.stop), worker_loop.database.limit_waits_when_stopping():
        try:
            return await _run_in_thread(pool, run_loop, worker_loop, on_cancel=cancel_running)
        finally:
            # The worker loop has ended. If it raised, coroutines may still run: leave none behind.
            cancel_running()
            if running:
                await asyncio.wait(running)
            pool.shutdown(wait=False)


def _make_loop(
    arguments: Mapping[str, Any],
    job: Job,
    new_task: Callable[..., AnyTask],
    start: Callable[[AnyTask], Future[Outcome]],
    report: Callable[[Progress], Any] | None,
    event_loop: asyncio.AbstractEventLoop | None = None,
) -> WorkerLoop[AnyTask]:
    """Make a worker loop with the options in ``arguments``.

    ``event_loop`` is the one of the caller, in which an ``AsyncEngine`` is used.
    """
    sync_engine = find_sync_engine(arguments["engine"])
    stop = arguments["stop"] or threading.Event()
    database = DatabaseCalls(
        engine=sync_engine or arguments["engine"],
        tenant_id=arguments["tenant_id"],
        options={"actor": arguments["actor"], **arguments["options"]},
        stop=stop,
        stop_patience=arguments["stop_patience"],
        event_loop=event_loop if sync_engine else None,
    )
    return WorkerLoop(
        database=database,
        job=job,
        new_task=new_task,
        start=start,
        save=arguments.get("save"),
        concurrency=arguments["concurrency"],
        report=report,
        stop=stop,
        wait=arguments["wait"],
        max_equal_failures=arguments["max_equal_failures"],
        task_timeout=arguments["task_timeout"],
    )


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


_stop_events: list[threading.Event] = []
"""One for each worker of the main thread. Several asynchronous workers can share that thread."""

_replaced_handlers: list[Any] = []
"""The program's own handler while at least one worker runs, else empty."""

_handler_errors: list[BaseException] = []
"""What the program's own handler has raised, such as SystemExit, while workers were running."""


@contextmanager
def stop_on_sigterm(stop: threading.Event) -> Iterator[None]:
    """Set ``stop`` on SIGTERM.

    Do nothing outside the main thread, which alone can set handlers. Do nothing if the program's
    own handler is written in C, because Python could not restore it.

    The first worker installs the handler. The last one to end restores the program's own handler,
    and raises the first error that this handler has raised.
    """
    handler = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread() or handler is None:
        yield
        return
    _stop_events.append(stop)
    try:
        if not _replaced_handlers:
            _replaced_handlers.append(handler)
            signal.signal(signal.SIGTERM, _handle_sigterm)
        yield
    finally:
        _stop_events.remove(stop)
        if not _stop_events:
            signal.signal(signal.SIGTERM, _replaced_handlers[0])
            _replaced_handlers.clear()
            errors = [*_handler_errors]
            _handler_errors.clear()
            if errors:
                raise errors[0]


def _handle_sigterm(signal_number: int, frame: FrameType | None) -> None:
    """Stop the workers, and call the program's own handler, such as that of a web server.

    What that handler raises waits for the end of the workers: raised at once, it would end the
    worker loop, and the outcomes of its tasks would be lost.
    """
    for stop in _stop_events:
        stop.set()
    own_handler = _replaced_handlers[0]
    if callable(own_handler):
        try:
            own_handler(signal_number, frame)
        except BaseException as error:  # noqa: BLE001 - SystemExit is the usual one
            _handler_errors.append(error)
