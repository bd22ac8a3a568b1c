"""run_worker_async: fifty calls at once in one event loop, cancelled, stopped, and beside others.

What it has in common with run_worker stands in test_worker.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import signal
import threading
from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from decimal import Decimal
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
from support.tenants import contact_rows
from support.transactions import on_postgresql, open_store

COST = Decimal("0.00144")
Result = TypeVar("Result")


def run(main: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine, and cancel one that does not come to an end by itself."""

    async def patiently() -> Result:
        return await asyncio.wait_for(main, PATIENCE)

    return asyncio.run(patiently())


def worker(
    tenant: Tenant,
    campaign: Campaign,
    generate: Callable[[AsyncTask], Coroutine[Any, Any, Outcome]],
    **options: Any,
) -> Coroutine[Any, Any, WorkerReport]:
    return run_worker_async(tenant.engine, tenant.id, campaign.id, generate, **options)


async def generated(_task: AsyncTask) -> Outcome:
    return Generated(COST)


async def never(_task: AsyncTask) -> Outcome:
    raise AssertionError


async def forever() -> Outcome:
    await asyncio.Event().wait()
    raise AssertionError


def statuses(tenant: Tenant, campaign: Campaign) -> list[str]:
    return sorted(row.status for row in contact_rows(tenant, campaign.id).values())


def at_work(number: int) -> tuple[Callable[[], None], Callable[[], Awaitable[object]]]:
    """Call the first when at work; the second waits until so many are."""
    arrived: list[None] = []
    everybody = asyncio.Event()

    def arrive() -> None:
        arrived.append(None)
        if len(arrived) == number:
            everybody.set()

    return arrive, everybody.wait


async def a_lock_is_waited_for(tenant: Tenant) -> None:
    """Somebody waits for a lock; meanwhile the loop goes on."""
    waiting = sa.text(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )

    def look() -> bool:
        with tenant.engine.connect() as connection:
            return bool(connection.scalar(waiting))

    await asyncio.to_thread(wait_until, look, "somebody waits for a lock")


# Many at once, in one loop.


def test_fifty_calls_are_in_flight_at_once_and_hold_nothing(tenant: Tenant) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=60)
    before = threading.active_count()
    arrived: list[AsyncTask] = []
    everybody = asyncio.Event()

    async def generate(task: AsyncTask) -> Outcome:
        arrived.append(task)
        if len(arrived) == 50:
            check_nothing_is_held()
            everybody.set()
        await everybody.wait()
        return Generated(COST)

    def check_nothing_is_held() -> None:
        assert threading.active_count() - before <= 5
        assert tenant.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
        if tenant.engine.dialect.name == "postgresql":
            held = sa.text(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND state LIKE 'idle in transaction%'"
            )
            with tenant.engine.connect() as connection:
                assert connection.scalar(held) == 0

    report = run(worker(tenant, campaign, generate))
    assert report == WorkerReport(WorkerStop.DRAINED, {Recorded.APPLIED: 60}, 60 * COST, True)
    assert statuses(tenant, campaign) == ["generated"] * 60
    tenant.check_totals(campaign.id)


@on_postgresql
def test_the_loop_goes_on_while_a_claim_or_a_checkpoint_waits(tenant: Tenant) -> None:
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
            await a_lock_is_waited_for(tenant)
        await begun.wait()
        with open_store(tenant) as store:
            store.campaigns.get(campaign.id, lock=True)
            locked.set()
            await a_lock_is_waited_for(tenant)
        return await running

    assert run(main()).cost == 2 * COST


def test_a_loop_that_is_blocked_loses_no_lease(tenant: Tenant) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=1)

    def expiry() -> Any:
        (row,) = contact_rows(tenant, campaign.id).values()
        return row.lease_expires_at

    async def generate(_task: AsyncTask) -> Outcome:
        first = expiry()
        wait_until(lambda: expiry() > first, "the lease is renewed")
        return Generated(COST)

    assert run(worker(tenant, campaign, generate, lease=timedelta(milliseconds=300))).completed


def test_what_is_called_where(tenant: Tenant) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=1)
    of_the_caller = contextvars.ContextVar[str]("of_the_caller")
    places: dict[str, tuple[int, str]] = {}

    def note(what: str) -> None:
        places[what] = threading.get_ident(), of_the_caller.get()

    async def generate(task: AsyncTask) -> Outcome:
        note("generate")
        await task.checkpoint(COST, lambda _connection: note("checkpoint"))
        return Generated(COST)

    def save(_connection: sa.Connection, _task: AsyncTask, _outcome: Outcome) -> None:
        note("save")

    def report(_progress: Progress) -> None:
        note("report")

    async def main() -> None:
        of_the_caller.set("seen")
        await worker(tenant, campaign, generate, save=save, report=report)

    run(main())
    loop = threading.get_ident()
    assert {what for what, (thread, _) in places.items() if thread == loop} == {
        "generate",
        "report",
    }
    assert set(places) == {"generate", "report", "checkpoint", "save"}
    assert {seen for _, seen in places.values()} == {"seen"}


# Cancelled, stopped, broken off.


def test_cancelled_it_gives_back_what_it_has(tenant: Tenant) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=4)
    first, *_ = contact_rows(tenant, campaign.id)
    stop = threading.Event()
    arrive, everybody = at_work(3)

    async def generate(task: AsyncTask) -> Outcome:
        arrive()
        try:
            return await forever()
        except asyncio.CancelledError:
            if task.contact_id != first:
                raise
            return Unfinished(cost=COST)

    async def main() -> None:
        running = asyncio.create_task(worker(tenant, campaign, generate, concurrency=3, stop=stop))
        await everybody()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    run(main())
    assert not stop.is_set()
    rows = contact_rows(tenant, campaign.id)
    assert statuses(tenant, campaign) == ["pending"] * 4
    assert (rows[first].generation_cost, rows[first].unknown_costs) == (COST, 0)
    assert sum(row.unknown_costs for row in rows.values()) == 2
    tenant.check_totals(campaign.id)
    assert run(worker(tenant, campaign, generated)).completed


@on_postgresql
def test_cancelled_it_finishes_a_checkpoint_that_has_begun(tenant: Tenant) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=1)
    begun, locked, saved = asyncio.Event(), asyncio.Event(), threading.Event()
    left: list[bool] = []

    async def generate(task: AsyncTask) -> Outcome:
        begun.set()
        await locked.wait()
        try:
            await task.checkpoint(COST, lambda _connection: saved.set())
        finally:
            left.append(saved.is_set())
        raise AssertionError

    async def main() -> None:
        running = asyncio.create_task(worker(tenant, campaign, generate))
        await begun.wait()
        with open_store(tenant) as store:
            store.campaigns.get(campaign.id, lock=True)
            locked.set()
            await a_lock_is_waited_for(tenant)
            running.cancel()
            # Whoever would leave leaves now.
            for _ in range(100):
                await asyncio.sleep(0)
            assert left == []
        with pytest.raises(asyncio.CancelledError):
            await running

    run(main())
    assert left == [True]
    (row,) = contact_rows(tenant, campaign.id).values()
    assert (row.status, row.generation_cost) == ("pending", COST)
    tenant.check_totals(campaign.id)


@on_postgresql
def test_cancelled_while_it_claims_it_begins_nothing(tenant: Tenant) -> None:
    campaign = tenant.campaign(Status.GENERATING)

    async def main() -> None:
        with open_store(tenant) as store:
            store.campaigns.get(campaign.id, lock=True)
            running = asyncio.create_task(worker(tenant, campaign, never))
            await a_lock_is_waited_for(tenant)
            running.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await running

    run(main())
    rows = contact_rows(tenant, campaign.id).values()
    assert {(row.status, row.attempts, row.unknown_costs) for row in rows} == {("pending", 0, 0)}
    tenant.check_totals(campaign.id)


def fill_the_disk(*_: object) -> None:
    raise sa.exc.OperationalError("INSERT", {}, Exception("disk full"))


def test_cancelled_it_tells_what_the_database_said_last(tenant: Tenant) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=1)
    arrive, everybody = at_work(1)

    async def generate(_task: AsyncTask) -> Outcome:
        arrive()
        try:
            return await forever()
        except asyncio.CancelledError:
            return Generated(COST)

    async def main() -> None:
        running = asyncio.create_task(worker(tenant, campaign, generate, save=fill_the_disk))
        await everybody()
        running.cancel()
        await running

    with pytest.raises(sa.exc.OperationalError, match="disk full"):
        run(main())


def test_broken_off_it_leaves_no_coroutine_behind(tenant: Tenant) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=2)
    arrive, everybody = at_work(2)
    ended: list[AsyncTask] = []

    async def generate(task: AsyncTask) -> Outcome:
        arrive()
        await everybody()
        if not ended:
            ended.append(task)
            return Generated(COST)
        try:
            return await forever()
        finally:
            ended.append(task)

    async def main() -> None:
        with pytest.raises(sa.exc.OperationalError, match="disk full"):
            await worker(tenant, campaign, generate, save=fill_the_disk)
        assert len(ended) == 2
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())
    assert statuses(tenant, campaign) == ["generating"] * 2


def test_sigterm_stops_every_worker_of_the_loop(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_run, "_BEAT", 0.02)
    short, long = (tenant.campaign(Status.GENERATING, contacts=2) for _ in range(2))
    asked: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _frame: asked.append(number))
    arrive, everybody = at_work(2)

    async def finish(_task: AsyncTask) -> Outcome:
        arrive()
        await everybody()
        return Generated(COST)

    async def go_on(task: AsyncTask) -> Outcome:
        arrive()
        await asyncio.to_thread(wait_until, lambda: task.stopping, "it is told to stop")
        return Unfinished()

    async def main() -> tuple[WorkerReport, WorkerReport]:
        first = asyncio.create_task(worker(tenant, short, finish, concurrency=1))
        await asyncio.sleep(0)
        second = asyncio.create_task(worker(tenant, long, go_on, concurrency=1))
        ended = await first
        os.kill(os.getpid(), signal.SIGTERM)
        return ended, await second

    try:
        ended, stopped = run(main())
        assert (ended.stop, stopped.stop) == (WorkerStop.DRAINED, WorkerStop.STOPPED)
        assert asked == []
        signal.raise_signal(signal.SIGTERM)
        assert asked == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)
