"""run_export_async: pushes in one event loop, with the promises of run_export."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from campaign_model.campaign import Campaign
from campaign_model.claims import Progress
from campaign_model.errors import TransitionNotAllowed
from campaign_model.lifecycle import Status
from campaign_model.store import transact_async
from campaign_model.testing.parallel import PATIENCE
from campaign_model.testing.sample_campaigns import LEASE, Tenant
from campaign_model.worker import (
    PUSH_FAILED,
    TASK_TIMED_OUT,
    ExportReport,
    ExportTask,
    WorkerStop,
    run_export,
    run_export_async,
)
from support.drivers import new_async_engine
from support.tenants import contact_rows
from support.transactions import on_sqlite

Push = Callable[[ExportTask], Awaitable[object]]


def export(tenant: Tenant, campaign: Campaign, push: Any, **options: Any) -> ExportReport:
    """Run an export to its end, and cancel it after ``PATIENCE``."""

    async def main() -> ExportReport:
        exporting = run_export_async(tenant.engine, tenant.id, campaign.id, push, **options)
        return await asyncio.wait_for(exporting, PATIENCE)

    return asyncio.run(main())


def exported_ids(tenant: Tenant, campaign: Campaign) -> set[UUID]:
    """Return the contacts that are marked as exported. Check the totals."""
    tenant.check_totals(campaign.id)
    rows = contact_rows(tenant, campaign.id)
    return {id_ for id_, row in rows.items() if row.exported_at is not None}


def test_an_export_uses_the_async_engine_of_its_service(tenant: Tenant) -> None:
    campaign = tenant.campaign(Status.APPROVED, contacts=5)
    pushed: Counter[UUID] = Counter()

    async def main() -> ExportReport:
        engine = new_async_engine(tenant.engine.url)

        async def push(task: ExportTask) -> None:
            pushed[task.contact_id] += await transact_async(
                engine, tenant.id, lambda store: len(store.campaigns.list().items)
            )

        try:
            return await run_export_async(engine, tenant.id, campaign.id, push, concurrency=3)
        finally:
            await engine.dispose()

    assert asyncio.run(main()) == ExportReport(WorkerStop.DRAINED, exported=5, lost=0, remaining=0)
    assert pushed == Counter(exported_ids(tenant, campaign))


def test_pushes_run_at_once_without_open_transactions_and_each_contact_once(tenant: Tenant) -> None:
    campaign = tenant.campaign(Status.APPROVED, contacts=25)
    pushed: Counter[UUID] = Counter()
    threads: set[int] = set()
    numbers: list[int] = []
    twenty_running = asyncio.Event()

    async def push(task: ExportTask) -> None:
        threads.add(threading.get_ident())
        pushed[task.contact_id] += 1
        if len(pushed) == 20:
            assert tenant.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
            twenty_running.set()
        await twenty_running.wait()

    def report(progress: Progress) -> None:
        threads.add(threading.get_ident())
        numbers.append(progress.exported)

    done = export(tenant, campaign, push, concurrency=20, report=report)
    assert done == ExportReport(WorkerStop.DRAINED, exported=25, lost=0, remaining=0)
    assert pushed == Counter(exported_ids(tenant, campaign))
    assert len(pushed) == 25
    assert threads == {threading.get_ident()}
    assert (numbers == sorted(numbers), numbers[-1]) == (True, 25)


def test_two_exporters_in_one_event_loop_push_each_contact_once(tenant: Tenant) -> None:
    campaign = tenant.campaign(Status.APPROVED, contacts=20)
    pushed: Counter[UUID] = Counter()

    async def push(task: ExportTask) -> None:
        pushed[task.contact_id] += 1

    async def main() -> list[ExportReport]:
        return await asyncio.gather(
            *(
                run_export_async(tenant.engine, tenant.id, campaign.id, push, concurrency=3)
                for _ in range(2)
            )
        )

    assert sum(one.exported for one in asyncio.run(main())) == 20
    assert pushed == Counter(exported_ids(tenant, campaign))


def test_a_cancelled_export_gives_its_contacts_back_and_can_be_continued(tenant: Tenant) -> None:
    campaign = tenant.campaign(Status.APPROVED, contacts=5)
    pushed: Counter[UUID] = Counter()

    async def main() -> None:
        all_wait = asyncio.Event()

        async def push(task: ExportTask) -> None:
            pushed[task.contact_id] += 1
            if len(pushed) > 2:
                if len(pushed) == 5:
                    all_wait.set()
                await asyncio.Event().wait()

        exporting = asyncio.create_task(
            run_export_async(tenant.engine, tenant.id, campaign.id, push, lease=LEASE)
        )
        await asyncio.wait_for(all_wait.wait(), PATIENCE)
        exporting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await exporting

    asyncio.run(main())
    marked = exported_ids(tenant, campaign)
    assert len(marked) == 2

    async def push_again(task: ExportTask) -> None:
        assert task.contact_id not in marked
        pushed[task.contact_id] += 1

    # No lease of the cancelled export is waited for.
    assert export(tenant, campaign, push_again, wait=False).exported == 3
    assert pushed == {id_: 1 if id_ in marked else 2 for id_ in exported_ids(tenant, campaign)}


@on_sqlite
def test_a_push_that_takes_too_long_or_raises_is_reported_and_tried_again(tenant: Tenant) -> None:
    campaign = tenant.campaign(Status.APPROVED, contacts=3)
    failures = iter([asyncio.sleep(PATIENCE), asyncio.Event().wait()])

    async def push(_task: ExportTask) -> None:
        for waiting in failures:
            await waiting
        raise ZeroDivisionError

    limit = timedelta(milliseconds=50)
    done = export(tenant, campaign, push, task_timeout=limit, max_equal_failures=None)
    assert done.failures == {TASK_TIMED_OUT: 2, PUSH_FAILED: 1}
    assert (done.exported, done.remaining) == (0, 3)

    async def succeed(_task: ExportTask) -> None:
        pass

    assert export(tenant, campaign, succeed, wait=False).exported == 3


@on_sqlite
def test_each_form_of_the_export_takes_its_own_kind_of_function(tenant: Tenant) -> None:
    campaign = tenant.campaign(Status.APPROVED, contacts=1)

    async def push_later(_task: ExportTask) -> None:
        raise AssertionError

    def push(_task: ExportTask) -> None:
        raise AssertionError

    wrong: Any = push_later
    with pytest.raises(TypeError, match="use run_export_async"):
        run_export(tenant.engine, tenant.id, campaign.id, wrong)
    with pytest.raises(TypeError, match=r"use run_export$"):
        export(tenant, campaign, push)
    assert exported_ids(tenant, campaign) == set()
    draft = tenant.campaign(Status.DRAFT, contacts=1)
    with pytest.raises(TransitionNotAllowed):
        export(tenant, draft, push_later)
