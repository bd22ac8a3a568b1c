"""A worker may die at any moment: another one takes its contacts over, and nothing is doubled."""

from __future__ import annotations

import itertools
import signal
from decimal import Decimal

import pytest
import sqlalchemy as sa

from campaign_model.claims import Recorded
from campaign_model.errors import TransitionNotAllowed
from campaign_model.lifecycle import Action, Status
from campaign_model.testing.clock import FrozenClock
from campaign_model.testing.death import Death, dying
from campaign_model.testing.parallel import PATIENCE
from campaign_model.testing.sample_campaigns import LEASE, Tenant
from campaign_model.worker import WorkerReport, WorkerStop
from support import worker_process
from support.tenants import contact_rows
from support.workers import (
    COST,
    PRICE,
    RunWorker,
    an_hour_later,
    campaign_status,
    check_all_generated_once,
    count_messages,
    resuming,
)


@pytest.mark.parametrize("run_worker", ["threads"], indirect=True)
@pytest.mark.parametrize("budget", [None, Decimal(1)], ids=["no-budget", "budget"])
def test_failure_04_a_contact_of_a_killed_worker_is_taken_over(
    tenant: Tenant, run_worker: RunWorker, budget: Decimal | None
) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=3, budget=budget)
    with worker_process.started(tenant, campaign, "hangs") as process:
        process.kill()
        assert process.wait(PATIENCE) == -signal.SIGKILL
    tenant.check_totals(campaign.id)
    (left_behind,) = (
        row for row in contact_rows(tenant, campaign.id).values() if row.status == "generating"
    )
    assert count_messages(tenant, campaign) == {left_behind.contact_id: 1}
    assert left_behind.generation_cost == PRICE
    with pytest.raises(TransitionNotAllowed):
        tenant.apply(campaign.id, Action.COMPLETE_GENERATION)
    report = run_worker(tenant, campaign, resuming(tenant), reserve=COST, clock=an_hour_later)
    # The message that the killed worker paid for is neither lost nor paid for again.
    assert report == WorkerReport(WorkerStop.DRAINED, {Recorded.APPLIED: 3}, 3 * COST - PRICE, True)
    check_all_generated_once(tenant, campaign)


@pytest.mark.parametrize("run_worker", ["coroutines"], indirect=True)
@pytest.mark.parametrize("engine_name", ["sqlite"], indirect=True)
def test_failure_04_a_worker_may_die_before_any_of_its_statements(
    tenant: Tenant, run_worker: RunWorker
) -> None:
    # The example in docs/message_engine proves this for threads, `nox -s chaos` for PostgreSQL.
    clock, survived = FrozenClock(), False
    for moment in itertools.count():
        campaign = tenant.campaign(Status.GENERATING, contacts=1)
        with dying(tenant.engine, moment):
            report = run_worker(tenant, campaign, resuming(tenant), clock=clock, lease=LEASE)
            survived = report.completed
        clock.forward(LEASE)
        run_worker(tenant, campaign, resuming(tenant), clock=clock, lease=LEASE)
        assert campaign_status(tenant, campaign) is Status.REVIEW
        check_all_generated_once(tenant, campaign)
        if survived:
            break
    assert moment > 20


def test_a_dead_engine_executes_no_statement(tenant: Tenant) -> None:
    with dying(tenant.engine, 1) as moment:
        moment()
        for _ in range(2):
            with pytest.raises(Death):
                moment()
        with pytest.raises(Death), tenant.engine.begin() as connection:
            connection.execute(sa.select(1))
    assert tenant.contacts(1)
