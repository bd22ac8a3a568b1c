"""A worker renews its leases. A lost lease saves nothing, and its cost is booked."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from campaign_model.claims import Generated, Outcome, Recorded, Unfinished
from campaign_model.errors import LeaseLost
from campaign_model.lifecycle import Status
from campaign_model.store.generation import Generation
from campaign_model.testing.clock import FrozenClock
from campaign_model.testing.parallel import wait_until
from campaign_model.testing.sample_campaigns import Tenant
from campaign_model.worker import Task, WorkerReport, WorkerStop
from support.tenants import contact_rows
from support.workers import (
    COST,
    PRICE,
    RunWorker,
    contact_statuses,
    count_messages,
    insert_message,
    save_messages,
    taking_over,
)


def test_leases_are_renewed_as_long_as_a_task_runs(
    tenant: Tenant, run_worker: RunWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=1)
    clock, lease = FrozenClock(), timedelta(milliseconds=30)
    renewals: list[object] = []
    renew = Generation.renew

    def note(self: Generation, *arguments: Any) -> object:
        renewal = renew(self, *arguments)
        renewals.append(renewal)
        return renewal

    monkeypatch.setattr(Generation, "renew", note)

    def generate(_task: Task) -> Outcome:
        for _ in range(4):
            clock.forward(lease * 0.8)
            # The first renewal may have begun before this moment, the second did not.
            enough = len(renewals) + 2
            wait_until(lambda: len(renewals) >= enough, "another renewal")  # noqa: B023
        assert tenant.claim(campaign.id, clock=clock) == ()
        return Generated(COST)

    report = run_worker(tenant, campaign, generate, lease=lease, clock=clock)
    assert report.answers == {Recorded.APPLIED: 1}
    tenant.check_totals(campaign.id)


def test_a_late_outcome_is_booked_and_not_saved(tenant: Tenant, run_worker: RunWorker) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=1)
    take_over = taking_over(tenant, campaign)

    def generate(task: Task) -> Outcome:
        task.checkpoint(PRICE)
        take_over()
        return Generated(COST)

    report = run_worker(tenant, campaign, generate, save=save_messages)
    assert report == WorkerReport(WorkerStop.DRAINED, {Recorded.BOOKED: 1}, COST + PRICE, True)
    assert count_messages(tenant, campaign) == {}
    assert tenant.progress(campaign.id).spent == 2 * COST + PRICE
    tenant.check_totals(campaign.id)


def test_a_checkpoint_raises_lease_lost_and_the_worker_books_its_cost(
    tenant: Tenant, run_worker: RunWorker
) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=1)
    (row,) = contact_rows(tenant, campaign.id).values()
    take_over = taking_over(tenant, campaign)
    lost_ids = []

    def generate(task: Task) -> Outcome:
        take_over()
        slot = task.slots[0]
        try:
            task.checkpoint(PRICE, lambda connection: insert_message(connection, task, slot))
        except LeaseLost as lost:
            lost_ids.append(lost.ids)
            raise
        return Generated(COST)

    report = run_worker(tenant, campaign, generate, save=save_messages)
    assert lost_ids == [(row.id,)]
    # The message of the checkpoint is not saved, and its cost is booked.
    assert (report.answers, report.cost) == ({Recorded.BOOKED: 1}, PRICE)
    assert count_messages(tenant, campaign) == {}
    assert tenant.progress(campaign.id).spent == COST + PRICE
    tenant.check_totals(campaign.id)


def test_a_renewal_asks_a_task_with_a_lost_lease_to_stop(
    tenant: Tenant, run_worker: RunWorker
) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=1)
    take_over = taking_over(tenant, campaign)

    def generate(task: Task) -> Outcome:
        take_over()
        wait_until(lambda: task.stopping, "the task is asked to stop")
        return Unfinished()

    report = run_worker(tenant, campaign, generate, lease=timedelta(milliseconds=30))
    assert report.answers == {Recorded.BOOKED: 1}
    assert contact_statuses(tenant, campaign) == ["generated"]
    tenant.check_totals(campaign.id)
