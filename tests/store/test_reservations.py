"""The budget holds: reserved money stays reserved while a worker may still spend it.

Contacts leave in flight: they are excluded or erased while a worker holds them. Legacy writers
change the budget of a running campaign.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from itertools import count
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa

from campaign_model.campaign import Changed
from campaign_model.claims import Claim, ClaimBatch, Generated, Outcome, Recorded, StopReason
from campaign_model.lifecycle import Action, Status
from campaign_model.store import CampaignStore
from campaign_model.store.tables import (
    campaign_contacts,
    campaign_erased_claims,
    campaigns,
)
from campaign_model.testing.clock import FrozenClock
from campaign_model.testing.sample_campaigns import CENT, LEASE, Tenant
from campaign_model.worker import Task, WorkerReport, WorkerStop, run_worker
from support.tenants import execute
from support.transactions import on_postgresql, open_store, run_while_open

LEAVE: dict[str, Callable[[CampaignStore, Claim], object]] = {
    "exclude": lambda store, claim: store.contacts.exclude(claim.campaign_id, [claim.contact_id]),
    "erase": lambda store, claim: store.contacts.erase([claim.contact_id]),
    "exclude, then erase": lambda store, claim: (
        store.contacts.exclude(claim.campaign_id, [claim.contact_id]),
        store.contacts.erase([claim.contact_id]),
    ),
}
"""How a contact leaves its campaign while a worker holds it."""


def check_budget(tenant: Tenant, campaign_id: UUID) -> None:
    progress = tenant.progress(campaign_id)
    assert progress.budget is not None
    assert progress.spent + progress.reserved <= progress.budget
    tenant.check_totals(campaign_id)


# --- Contacts that leave in flight ---------------------------------------------------------------


@pytest.mark.parametrize("end", ["outcome", "lease", "lease, then outcome"])
@pytest.mark.parametrize("paid", [Decimal(0), CENT], ids=["unpaid", "checkpoint"])
@pytest.mark.parametrize("way", [*LEAVE])
def test_a_contact_that_leaves_in_flight_keeps_its_reservation(
    tenant: Tenant, way: str, paid: Decimal, end: str
) -> None:
    clock = FrozenClock()
    campaign = tenant.campaign("generating", contacts=5, budget=5 * CENT)

    def claim() -> ClaimBatch:
        return tenant.transact(
            lambda store: store.generation.claim(campaign.id, 5, LEASE, reserve=2 * CENT),
            clock=clock,
        )

    # 1. A worker holds two contacts, and has paid for one of them. This contact leaves.
    leaving, other = claim().claims
    if paid:
        tenant.transact(lambda store: store.generation.checkpoint(leaving, paid), clock=clock)
    tenant.transact(lambda store: LEAVE[way](store, leaving), clock=clock)
    assert tenant.progress(campaign.id).reserved == 4 * CENT - paid
    tenant.record({other: Generated(2 * CENT)}, clock=clock)

    # 2. A second worker finds one cent, which is too little. It is to wait for the lease.
    batch = claim()
    assert (batch.claims, batch.stop) == ((), StopReason.LEASES_PENDING)
    assert batch.retry_at == leaving.expires_at
    check_budget(tenant, campaign.id)

    # 3. The reservation ends with the outcome or with the lease, and only once.
    late = {leaving: Generated(CENT - paid)}
    answers = {Recorded.EXCLUDED, Recorded.BOOKED}
    if end == "outcome":
        assert {*tenant.record(late, on_lost="book", clock=clock).values()} <= answers
    else:
        clock.forward(LEASE)
    (fresh,) = claim().claims
    assert tenant.progress(campaign.id).reserved == 2 * CENT
    check_budget(tenant, campaign.id)
    if end == "lease, then outcome":
        assert {*tenant.record(late, on_lost="book", clock=clock).values()} <= answers
        assert tenant.progress(campaign.id).reserved == 2 * CENT
        check_budget(tenant, campaign.id)
    spent = 2 * CENT + (paid if end == "lease" else CENT)
    assert tenant.progress(campaign.id).spent == spent

    # 4. The rest of the run. Nothing is reserved at its end.
    tenant.record({fresh: Generated(CENT)}, clock=clock)
    assert tenant.progress(campaign.id).reserved == 0
    assert tenant.apply(campaign.id, Action.CANCEL_GENERATION).status is Status.READY
    check_budget(tenant, campaign.id)


def test_a_worker_that_renews_keeps_the_reservation_of_an_excluded_contact(tenant: Tenant) -> None:
    clock = FrozenClock()
    campaign = tenant.campaign("generating", contacts=2, budget=CENT)
    (claim,) = tenant.claim(campaign.id, 1, clock=clock, reserve=CENT)
    tenant.transact(lambda store: store.contacts.exclude(campaign.id, [claim.contact_id]))
    for _ in range(3):
        clock.forward(LEASE / 2)
        renewal = tenant.transact(lambda store: store.generation.renew([claim], LEASE), clock=clock)
        assert renewal.lost == (claim.id,)
        assert tenant.claim(campaign.id, clock=clock, reserve=CENT) == ()
    check_budget(tenant, campaign.id)


def test_a_contact_is_not_included_while_a_worker_holds_it(tenant: Tenant) -> None:
    """Its outcome would be lost, and the contact paid for twice."""
    clock = FrozenClock()
    campaign = tenant.campaign("generating", contacts=2, budget=2 * CENT)
    first, second = tenant.claim(campaign.id, clock=clock, reserve=CENT)
    ids = [first.contact_id, second.contact_id]
    tenant.transact(lambda store: store.contacts.exclude(campaign.id, ids))
    tenant.apply(campaign.id, Action.CANCEL_GENERATION)

    def include() -> Changed:
        return tenant.transact(lambda store: store.contacts.include(campaign.id, ids), clock=clock)

    assert include().skipped == tuple(ids)
    tenant.record({first: Generated(CENT)}, clock=clock)
    assert include() == Changed(1, (second.contact_id,))
    assert tenant.progress(campaign.id).reserved == CENT
    clock.forward(LEASE)
    assert include().changed == 1
    assert tenant.progress(campaign.id).reserved == 0
    check_budget(tenant, campaign.id)


@on_postgresql
@pytest.mark.parametrize("leave", ["exclude", "erase"])
def test_a_claim_does_not_wait_for_a_reservation_that_another_call_is_ending(
    tenant: Tenant, leave: str
) -> None:
    clock = FrozenClock()
    campaign = tenant.campaign("generating", contacts=2, budget=CENT)
    (claim,) = tenant.claim(campaign.id, 1, clock=clock, reserve=CENT)
    tenant.transact(lambda store: LEAVE[leave](store, claim))
    clock.forward(LEASE)
    locked_id = {
        "exclude": campaign_contacts.c.id,
        "erase": campaign_erased_claims.c.campaign_contact_id,
    }[leave]
    with tenant.engine.begin() as connection:
        of_tenant = locked_id.table.c.tenant_id == tenant.id
        lock = sa.select(locked_id).where(of_tenant, locked_id == claim.id).with_for_update()
        assert len(connection.execute(lock).all()) == 1
        batch = tenant.transact(
            lambda store: store.generation.claim(campaign.id, 1, LEASE, reserve=CENT), clock=clock
        )
    assert (batch.claims, batch.stop) == ((), StopReason.LEASES_PENDING)
    assert len(tenant.claim(campaign.id, clock=clock, reserve=CENT)) == 1
    check_budget(tenant, campaign.id)


# --- A budget that changes during a run ----------------------------------------------------------

WORKERS = 4


def budget_update(campaign_id: UUID, budget: str | None) -> sa.Update:
    """Build the statement with which a program without the library writes the settings."""
    settings = "{}" if budget is None else f'{{"budget": "{budget}"}}'
    return (
        sa.update(campaigns).where(campaigns.c.id == campaign_id).values(generation_config=settings)
    )


def run_workers(
    tenant: Tenant, campaign_id: UUID, budgets: dict[int, str | None], reserve: Decimal
) -> list[WorkerReport]:
    """Let four workers generate at one cent, and write ``budgets`` after so many contacts."""
    numbers, lock = count(1), threading.Lock()

    def generate(_task: Task) -> Outcome:
        with lock:
            number = next(numbers)
            if number in budgets:
                execute(tenant, budget_update(campaign_id, budgets[number]))
        return Generated(CENT)

    def work(_number: int) -> WorkerReport:
        return run_worker(tenant.engine, tenant.id, campaign_id, generate, reserve=reserve)

    with ThreadPoolExecutor(WORKERS) as pool:
        return [*pool.map(work, range(WORKERS))]


@pytest.mark.parametrize(
    ("budgets", "most"),
    [
        ({12: "0.30"}, "0.30"),
        ({12: "0.40", 16: "0.30"}, "0.30"),
        ({12: "0.25", 16: "0.30"}, "0.30"),
        # Contacts that are claimed while there is no budget have no reservation.
        ({12: "0.40", 16: None, 24: "0.35"}, "0.39"),
        # What is spent is spent.
        ({12: "0.05"}, "0.16"),
    ],
    ids=["appears", "is lowered", "is raised", "appears again", "appears too late"],
)
def test_a_budget_that_changes_during_a_run_is_held(
    tenant: Tenant, budgets: dict[int, str | None], most: str
) -> None:
    campaign = tenant.campaign("generating", contacts=60)
    reports = run_workers(tenant, campaign.id, budgets, CENT)
    progress = tenant.progress(campaign.id)
    *_, last = budgets.values()
    assert last is not None
    assert Decimal(last) <= progress.spent <= Decimal(most)
    assert progress.reserved == 0
    assert {report.stop for report in reports} <= {WorkerStop.BUDGET, WorkerStop.NOT_GENERATING}
    assert progress.spent == sum(report.cost for report in reports)
    tenant.check_totals(campaign.id)


def test_a_budget_that_is_removed_during_a_run_ends_nothing(tenant: Tenant) -> None:
    campaign = tenant.campaign("generating", contacts=40, budget=20 * CENT)
    run_workers(tenant, campaign.id, {12: None}, CENT)
    progress = tenant.progress(campaign.id)
    assert (progress.spent, progress.reserved) == (40 * CENT, Decimal(0))
    tenant.check_totals(campaign.id)


def test_contacts_in_flight_count_when_a_budget_appears(tenant: Tenant) -> None:
    campaign = tenant.campaign("generating", contacts=6)
    in_flight = [claim for _ in range(3) for claim in tenant.claim(campaign.id, 1)]
    execute(tenant, budget_update(campaign.id, "0.05"))
    claims = tenant.claim(campaign.id, reserve=CENT)
    assert len(claims) == 2
    check_budget(tenant, campaign.id)
    tenant.record(dict.fromkeys((*in_flight, *claims), Generated(CENT)))
    assert tenant.claim(campaign.id, reserve=CENT) == ()
    assert tenant.progress(campaign.id).spent == 5 * CENT
    check_budget(tenant, campaign.id)


@on_postgresql
def test_a_budget_waits_for_a_claim_without_one(tenant: Tenant) -> None:
    campaign = tenant.campaign("generating", contacts=4)
    update = budget_update(campaign.id, "0.03")
    answers = run_while_open(
        tenant,
        first=lambda store: store.generation.claim(campaign.id, 2, LEASE),
        others=[lambda store: store.connection.execute(update).rowcount],
    )
    assert answers == [1]
    assert len(tenant.claim(campaign.id, reserve=CENT)) == 1
    check_budget(tenant, campaign.id)


def test_a_budget_in_a_campaign_without_totals_is_held(tenant: Tenant) -> None:
    """As for a campaign that a legacy service has made and started."""
    id_, contact_ids = uuid4(), tenant.contacts(4)
    row = {
        "id": id_,
        "tenant_id": tenant.id,
        "name": "Legacy",
        "status": "generating",
        "template_config": '[{"step": 1, "channel": "email"}]',
        "generation_config": '{"budget": "0.03"}',
    }
    execute(tenant, sa.insert(campaigns).values(row))
    contacts = [
        {"id": uuid4(), "tenant_id": tenant.id, "campaign_id": id_, "contact_id": contact_id}
        for contact_id in contact_ids
    ]
    execute(tenant, sa.insert(campaign_contacts).values(contacts))
    with open_store(tenant) as store:
        assert len(store.generation.claim(id_, 2, LEASE, reserve=CENT).claims) == 2
        assert len(store.generation.claim(id_, 2, LEASE, reserve=CENT).claims) == 1
