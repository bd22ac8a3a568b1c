"""run_worker_async: many coroutines in one event loop; it can be cancelled and stopped.

The other modules of this folder test what it has in common with run_worker.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import signal
import threading
from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from typing import Any, TypeVar

import pytest
import sqlalchemy as sa

from campaign_model.campaign import Campaign
from campaign_model.claims import Generated, Outcome, Progress, Recorded, Unfinished
from campaign_model.lifecycle import Status
from campaign_model.testing.parallel import PATIENCE, wait_until
from campaign_model.testing.sample_campaigns import Tenant
from campaign_model.worker import AsyncTask, WorkerReport, WorkerStop, run_worker_async
from campaign_model.worker import run as worker_run
from support.drivers import new_async_engine
from support.tenants import contact_rows
from support.transactions import on_postgresql, open_store
from support.workers import COST, contact_statuses, fill_the_disk

Result = TypeVar("Result")


def run(main: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine, and cancel it after ``PATIENCE``."""

    async def run_with_timeout() -> Result:
        return await asyncio.wait_for(main, PATIENCE)

    return asyncio.run(run_with_timeout())


@pytest.fixture(autouse=True, params=["engine", "async-engine"])
def engine_kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let workers use an ordinary engine, and then an ``AsyncEngine``."""
    kind: str = request.param
    monkeypatch.setattr(f"{__name__}.uses_async_engine", kind == "async-engine", raising=False)
    return kind


only_with_threads = pytest.mark.parametrize("engine_kind", ["engine"], indirect=True)
only_with_async_engine = pytest.mark.parametrize("engine_kind", ["async-engine"], indirect=True)

uses_async_engine = False


async def worker(
    tenant: Tenant,
    campaign: Campaign,
    generate: Callable[[AsyncTask], Coroutine[Any, Any, Outcome]],
    **options: Any,
) -> WorkerReport:
    if not uses_async_engine:
        return await run_worker_async(tenant.engine, tenant.id, campaign.id, generate, **options)
    engine = new_async_engine(tenant.engine.url)
    try:
        return await run_worker_async(engine, tenant.id, campaign.id, generate, **options)
    finally:
        await engine.dispose()


async def succeed(_task: AsyncTask) -> Outcome:
    return Generated(COST)


async def never_called(_task: AsyncTask) -> Outcome:
    raise AssertionError


async def wait_forever() -> Outcome:
    await asyncio.Event().wait()
    raise AssertionError


def barrier(parties: int) -> tuple[Callable[[], None], Callable[[], Awaitable[object]]]:
    """Return ``arrive`` and ``all_arrived``, which waits until ``arrive`` was called so often.

    Unlike ``asyncio.Barrier``, the test can wait without being one of the parties.
    """
    arrivals: list[None] = []
    complete = asyncio.Event()

    def arrive() -> None:
        arrivals.append(None)
        if len(arrivals) == parties:
            complete.set()

    return arrive, complete.wait


async def wait_for_blocked_session(tenant: Tenant) -> None:
    """Wait until a database session waits for a lock. The event loop stays free."""
    count_blocked = sa.text(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )

    def is_blocked() -> bool:
        with tenant.engine.connect() as connection:
            return bool(connection.scalar(count_blocked))

    await asyncio.to_thread(wait_until, is_blocked, "a session waits for a lock")


# --- Many coroutines in one event loop -----------------------------------------------------------


def test_fifty_coroutines_run_at_once_without_open_transactions(tenant: Tenant) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=60)
    threads_before = threading.active_count()
    tasks: list[AsyncTask] = []
    fifty_running = asyncio.Event()

    async def generate(task: AsyncTask) -> Outcome:
        tasks.append(task)
        if len(tasks) == 50:
            check_no_open_transaction()
            fifty_running.set()
        await fifty_running.wait()
        return Generated(COST)

    def check_no_open_transaction() -> None:
        assert threading.active_count() - threads_before <= 5
        assert tenant.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
        if tenant.engine.dialect.name == "postgresql":
            count_idle = sa.text(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND state LIKE 'idle in transaction%'"
            )
            with tenant.engine.connect() as connection:
                assert connection.scalar(count_idle) == 0

    report = run(worker(tenant, campaign, generate))
    assert report == WorkerReport(WorkerStop.DRAINED, {Recorded.APPLIED: 60}, 60 * COST, True)
    assert contact_statuses(tenant, campaign) == ["generated"] * 60
    tenant.check_totals(campaign.id)


@on_postgresql
def test_the_event_loop_is_free_while_a_claim_or_a_checkpoint_waits_for_a_lock(
    tenant: Tenant,
) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=1)
    begun = asyncio.Event()
    locked = asyncio.Event()

    async def generate(task: AsyncTask) -> Outcome:
        begun.set()
        await locked.wait()
        await task.checkpoint(COST)
        return Generated(COST)

    async def main() -> WorkerReport:
        with open_store(tenant) as store:
            store.campaigns.get(campaign.id, lock=True)
            running = asyncio.create_task(worker(tenant, campaign, generate))
            await wait_for_blocked_session(tenant)
        await begun.wait()
        with open_store(tenant) as store:
            store.campaigns.get(campaign.id, lock=True)
            locked.set()
            await wait_for_blocked_session(tenant)
        return await running

    assert run(main()).cost == 2 * COST


@only_with_threads
def test_leases_are_renewed_while_the_event_loop_is_blocked(tenant: Tenant) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=1)

    def expiry() -> Any:
        (row,) = contact_rows(tenant, campaign.id).values()
        return row.lease_expires_at

    async def generate(_task: AsyncTask) -> Outcome:
        first_expiry = expiry()
        wait_until(lambda: expiry() > first_expiry, "the lease is renewed")
        return Generated(COST)

    assert run(worker(tenant, campaign, generate, lease=timedelta(milliseconds=300))).completed


def test_generate_and_report_run_in_the_event_loop_and_save_with_the_engine(
    tenant: Tenant, engine_kind: str
) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=1)
    context_variable = contextvars.ContextVar[str]("context_variable")
    calls: dict[str, tuple[int, str]] = {}

    def note(function: str) -> None:
        calls[function] = threading.get_ident(), context_variable.get()

    async def generate(task: AsyncTask) -> Outcome:
        note("generate")
        await task.checkpoint(COST, lambda _connection: note("checkpoint"))
        return Generated(COST)

    def save(_connection: sa.Connection, _task: AsyncTask, _outcome: Outcome) -> None:
        note("save")

    def report(_progress: Progress) -> None:
        note("report")

    async def main() -> None:
        context_variable.set("set by the caller")
        await worker(tenant, campaign, generate, save=save, report=report)

    run(main())
    event_loop_thread = threading.get_ident()
    in_event_loop = {name for name, (thread, _) in calls.items() if thread == event_loop_thread}
    assert set(calls) == {"generate", "report", "checkpoint", "save"}
    in_threads = set() if engine_kind == "async-engine" else {"checkpoint", "save"}
    assert set(calls) - in_event_loop == in_threads
    assert {value for _, value in calls.values()} == {"set by the caller"}


# --- Cancelled, stopped, or ended by an error ----------------------------------------------------


def test_a_cancelled_worker_gives_its_contacts_back(tenant: Tenant) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=4)
    first, *_ = contact_rows(tenant, campaign.id)
    stop = threading.Event()
    arrive, all_arrived = barrier(3)

    async def generate(task: AsyncTask) -> Outcome:
        arrive()
        try:
            return await wait_forever()
        except asyncio.CancelledError:
            if task.contact_id != first:
                raise
            return Unfinished(cost=COST)

    async def main() -> None:
        running = asyncio.create_task(worker(tenant, campaign, generate, concurrency=3, stop=stop))
        await all_arrived()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    run(main())
    assert not stop.is_set()
    rows = contact_rows(tenant, campaign.id)
    assert contact_statuses(tenant, campaign) == ["pending"] * 4
    assert (rows[first].generation_cost, rows[first].unknown_costs) == (COST, 0)
    assert sum(row.unknown_costs for row in rows.values()) == 2
    tenant.check_totals(campaign.id)
    assert run(worker(tenant, campaign, succeed)).completed


@on_postgresql
def test_a_cancelled_worker_finishes_a_checkpoint_that_has_begun(tenant: Tenant) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=1)
    begun, locked, saved = asyncio.Event(), asyncio.Event(), threading.Event()
    saved_on_return: list[bool] = []

    async def generate(task: AsyncTask) -> Outcome:
        begun.set()
        await locked.wait()
        try:
            await task.checkpoint(COST, lambda _connection: saved.set())
        finally:
            saved_on_return.append(saved.is_set())
        raise AssertionError

    async def main() -> None:
        running = asyncio.create_task(worker(tenant, campaign, generate))
        await begun.wait()
        with open_store(tenant) as store:
            store.campaigns.get(campaign.id, lock=True)
            locked.set()
            await wait_for_blocked_session(tenant)
            running.cancel()
            # The coroutine has every chance to end, and still waits for its checkpoint.
            for _ in range(100):
                await asyncio.sleep(0)
            assert saved_on_return == []
        with pytest.raises(asyncio.CancelledError):
            await running

    run(main())
    assert saved_on_return == [True]
    (row,) = contact_rows(tenant, campaign.id).values()
    assert (row.status, row.generation_cost) == ("pending", COST)
    tenant.check_totals(campaign.id)


@on_postgresql
def test_a_worker_cancelled_during_a_claim_starts_no_coroutine(tenant: Tenant) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=3)

    async def main() -> None:
        with open_store(tenant) as store:
            store.campaigns.get(campaign.id, lock=True)
            running = asyncio.create_task(worker(tenant, campaign, never_called))
            await wait_for_blocked_session(tenant)
            running.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await running

    run(main())
    rows = contact_rows(tenant, campaign.id).values()
    assert {(row.status, row.attempts, row.unknown_costs) for row in rows} == {("pending", 0, 0)}
    tenant.check_totals(campaign.id)


@only_with_async_engine
def test_the_end_of_the_event_loop_loses_no_outcome(tenant: Tenant) -> None:
    """``asyncio.run`` cancels every task at its end, also that of a transaction."""
    campaign = tenant.campaign(Status.GENERATING, contacts=1)
    saved: list[str] = []
    main_task: asyncio.Task[Any] | None = None

    def save(connection: sa.Connection, _task: AsyncTask, _outcome: Outcome) -> None:
        saved.append(connection.dialect.name)
        if len(saved) == 1:
            for task in asyncio.all_tasks() - {main_task}:
                task.cancel()
            connection.execute(sa.select(1))

    async def main() -> None:
        nonlocal main_task
        main_task = asyncio.current_task()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.create_task(worker(tenant, campaign, succeed, save=save))

    asyncio.run(main())
    assert len(saved) == 2
    (row,) = contact_rows(tenant, campaign.id).values()
    assert (row.status, row.generation_cost) == ("generated", COST)
    tenant.check_totals(campaign.id)


@pytest.mark.usefixtures("impatient")
def test_a_cancelled_worker_raises_a_database_fault_of_its_last_record(tenant: Tenant) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=1)
    arrive, all_arrived = barrier(1)

    async def generate(_task: AsyncTask) -> Outcome:
        arrive()
        try:
            return await wait_forever()
        except asyncio.CancelledError:
            return Generated(COST)

    async def main() -> None:
        running = asyncio.create_task(worker(tenant, campaign, generate, save=fill_the_disk))
        await all_arrived()
        running.cancel()
        await running

    with pytest.raises(sa.exc.OperationalError, match="disk full"):
        run(main())


@pytest.mark.usefixtures("impatient")
def test_a_worker_that_raises_leaves_no_coroutine_behind(tenant: Tenant) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=2)
    arrive, all_arrived = barrier(2)
    ended: list[AsyncTask] = []

    async def generate(task: AsyncTask) -> Outcome:
        arrive()
        await all_arrived()
        if not ended:
            ended.append(task)
            return Generated(COST)
        try:
            return await wait_forever()
        finally:
            ended.append(task)

    async def main() -> None:
        with pytest.raises(sa.exc.OperationalError, match="disk full"):
            await worker(tenant, campaign, generate, save=fill_the_disk)
        assert len(ended) == 2
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())
    assert contact_statuses(tenant, campaign) == ["generating"] * 2


def test_sigterm_stops_every_worker_of_the_event_loop(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_run, "_POLL_INTERVAL", 0.02)
    first_campaign, second_campaign = (
        tenant.campaign(Status.GENERATING, contacts=2) for _ in range(2)
    )
    signals: list[int] = []
    handler_before = signal.signal(signal.SIGTERM, lambda number, _frame: signals.append(number))
    arrive, all_arrived = barrier(2)

    async def finish(_task: AsyncTask) -> Outcome:
        arrive()
        await all_arrived()
        return Generated(COST)

    async def work_until_stopped(task: AsyncTask) -> Outcome:
        arrive()
        await asyncio.to_thread(wait_until, lambda: task.stopping, "the task is asked to stop")
        return Unfinished()

    async def main() -> tuple[WorkerReport, WorkerReport]:
        first = asyncio.create_task(worker(tenant, first_campaign, finish, concurrency=1))
        await asyncio.sleep(0)
        second = asyncio.create_task(
            worker(tenant, second_campaign, work_until_stopped, concurrency=1)
        )
        first_report = await first
        # The first worker has ended, and the handler still serves the second one.
        os.kill(os.getpid(), signal.SIGTERM)
        return first_report, await second

    try:
        first_report, second_report = run(main())
        assert (first_report.stop, second_report.stop) == (WorkerStop.DRAINED, WorkerStop.STOPPED)
        # The program's own handler was called too. Without a worker, it is back.
        assert signals == [signal.SIGTERM]
        signal.raise_signal(signal.SIGTERM)
        assert signals == [signal.SIGTERM] * 2
    finally:
        signal.signal(signal.SIGTERM, handler_before)
