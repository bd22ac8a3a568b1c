"""No campaign spends more than its budget, however many workers claim in parallel."""

from __future__ import annotations

from decimal import Decimal
from uuid import UUID

import attrs
import sqlalchemy as sa

from campaign_model.claims import ClaimBatch, Generated, StopReason
from campaign_model.lifecycle import Action, Status
from campaign_model.store import CampaignStore
from campaign_model.store.tables import campaigns
from campaign_model.store.tenant_setting import choose_tenant
from campaign_model.testing.clock import FrozenClock
from campaign_model.testing.parallel import run_while_open
from campaign_model.testing.sample_campaigns import LEASE, Tenant

TENTH = Decimal("0.1")


def claim_tenths(store: CampaignStore, campaign_id: UUID, limit: int = 5) -> ClaimBatch:
    """Claim contacts and reserve 0.1 for each of them."""
    return store.generation.claim(campaign_id, limit, LEASE, reserve=TENTH)


def test_claims_stop_at_the_budget(tenant: Tenant) -> None:
    """A claim that would exceed the budget gets fewer contacts or none.

    If this fails, look for other programs that write campaign_totals.
    """
    campaign = tenant.campaign("generating", contacts=10, budget=Decimal("0.45"))
    first = tenant.transact(lambda store: claim_tenths(store, campaign.id, 3))
    assert len(first.claims) == 3
    second = tenant.transact(lambda store: claim_tenths(store, campaign.id))
    assert len(second.claims) == 1
    assert tenant.progress(campaign.id).reserved == 4 * TENTH
    third = tenant.transact(lambda store: claim_tenths(store, campaign.id))
    assert third.claims == ()
    # The four contacts cost half of what was reserved, so the budget allows two more claims.
    tenant.record(dict.fromkeys((*first.claims, *second.claims), Generated(TENTH / 2)))
    fourth = tenant.transact(lambda store: claim_tenths(store, campaign.id))
    assert len(fourth.claims) == 2
    tenant.record(dict.fromkeys(fourth.claims, Generated(TENTH)))
    last = tenant.transact(lambda store: claim_tenths(store, campaign.id))
    assert (last.claims, last.stop) == ((), StopReason.BUDGET)
    assert tenant.progress(campaign.id).spent == 4 * TENTH
    tenant.check_totals(campaign.id)
    assert tenant.apply(campaign.id, Action.COMPLETE_GENERATION).status is Status.REVIEW


def test_a_run_ends_if_the_present_reservation_does_not_fit(tenant: Tenant) -> None:
    """A worker that reserves more than an earlier one can end the run when its money is short.

    If this fails, check the column unit_reserve.
    """
    campaign = tenant.campaign("generating", contacts=3, budget=3 * TENTH)
    (claim,) = tenant.claim(campaign.id, 1, reserve=TENTH)
    tenant.record({claim: Generated(TENTH)})
    batch = tenant.transact(
        lambda store: store.generation.claim(campaign.id, 1, LEASE, reserve=3 * TENTH)
    )
    assert (batch.claims, batch.stop) == ((), StopReason.BUDGET)
    assert tenant.apply(campaign.id, Action.COMPLETE_GENERATION).status is Status.REVIEW
    # The reservation of a later run decides anew.
    tenant.apply(campaign.id, Action.REQUEST_CHANGES, Action.START_GENERATION)
    assert len(tenant.claim(campaign.id, 1, reserve=TENTH)) == 1
    tenant.check_totals(campaign.id)


def test_parallel_claims_do_not_exceed_the_budget(tenant: Tenant) -> None:
    """Eight workers that claim in parallel get no more contacts than the budget pays for.

    If this fails, check the isolation level, and whether row locks on campaign_totals work.
    """
    campaign = tenant.campaign("generating", contacts=40, budget=Decimal("1.05"))
    batches: list[ClaimBatch] = run_while_open(
        tenant,
        # All workers wait for this lock and continue at the same moment.
        first=lambda store: store.campaigns.get(campaign.id, lock=True),
        others=[lambda store: claim_tenths(store, campaign.id)] * 8,
    )
    assert sum(len(batch.claims) for batch in batches) == 10
    assert tenant.progress(campaign.id).reserved == 10 * TENTH
    tenant.check_totals(campaign.id)


def test_a_claim_counts_the_reservation_of_an_uncommitted_claim(tenant: Tenant) -> None:
    """Two claims in open transactions do not exceed the budget together.

    If this fails, check the isolation level, and whether row locks on campaign_totals work.
    """
    campaign = tenant.campaign("generating", contacts=10, budget=Decimal("0.55"))
    (batch,) = run_while_open(
        tenant,
        first=lambda store: claim_tenths(store, campaign.id, 3),
        others=[lambda store: claim_tenths(store, campaign.id)],
    )
    # The budget pays for five contacts, and the first claim has reserved for three.
    assert len(batch.claims) == 2
    assert tenant.progress(campaign.id).reserved == 5 * TENTH
    tenant.check_totals(campaign.id)


def test_unused_reservations_are_released(tenant: Tenant, clock: FrozenClock) -> None:
    """Reserved money that a worker does not spend returns to the budget.

    If this fails, check the columns named reserved, and look for other programs that write them.
    """
    campaign = tenant.campaign("generating", contacts=5, budget=Decimal("0.5"))
    # 1. A takeover keeps the reservation of the claim before it, so five claims reserve 0.5.
    expired = tenant.claim(campaign.id, 3, clock=clock, reserve=TENTH)
    clock.forward(LEASE)
    claims = tenant.claim(campaign.id, clock=clock, reserve=TENTH)
    assert len(claims) == 5
    assert {claim.id for claim in expired} < {claim.id for claim in claims}
    assert tenant.progress(campaign.id).reserved == 5 * TENTH
    # 2. A checkpoint turns a part of its reservation into cost.
    tenant.transact(lambda store: store.generation.checkpoint(claims[0], TENTH / 2))
    assert tenant.progress(campaign.id).reserved == Decimal("0.45")
    # 3. A release returns what was reserved.
    tenant.transact(lambda store: store.generation.release([claims[2]]))
    assert tenant.progress(campaign.id).reserved == Decimal("0.35")
    tenant.check_totals(campaign.id)


def test_money_for_contacts_that_leave_in_flight_stays_reserved(
    tenant: Tenant, clock: FrozenClock
) -> None:
    """Nobody else spends what a worker may still spend for an excluded or an erased contact.

    The reservation ends with the worker's outcome, or with its lease. If this fails, check the
    columns reserved and lease_expires_at of campaign_contacts and campaign_erased_claims.
    """
    campaign = tenant.campaign("generating", contacts=4, budget=2 * TENTH)
    excluded, erased = tenant.claim(campaign.id, 2, clock=clock, reserve=TENTH)
    tenant.transact(lambda store: store.contacts.exclude(campaign.id, [excluded.contact_id]))
    tenant.transact(lambda store: store.contacts.erase([erased.contact_id]))

    def claim() -> ClaimBatch:
        return tenant.transact(lambda store: claim_tenths(store, campaign.id), clock=clock)

    batch = claim()
    assert (batch.claims, batch.stop) == ((), StopReason.LEASES_PENDING)
    assert batch.retry_at == excluded.expires_at
    tenant.record({erased: Generated(TENTH / 2)}, on_lost="book", clock=clock)
    assert tenant.progress(campaign.id).reserved == TENTH
    clock.forward(LEASE)
    assert len(claim().claims) == 1
    # A late outcome books its cost, and frees nothing a second time.
    tenant.record({excluded: Generated(TENTH / 2)}, clock=clock)
    assert tenant.progress(campaign.id).spent == TENTH
    assert tenant.progress(campaign.id).reserved == TENTH
    tenant.check_totals(campaign.id)


def test_a_budget_that_appears_during_a_run_is_held(tenant: Tenant) -> None:
    """A budget that another program writes into a running campaign counts what was spent before.

    Contacts in flight count as well. If this fails, check the row locks on campaigns.
    """
    campaign = tenant.campaign("generating", contacts=20)
    for _ in range(8):
        # Each call changes one of eight rows of campaign_totals, chosen at random.
        tenant.record(dict.fromkeys(tenant.claim(campaign.id, 1), Generated(TENTH)))
    (in_flight,) = tenant.claim(campaign.id, 1)
    with tenant.engine.begin() as connection:
        choose_tenant(connection, tenant.id)
        connection.execute(
            sa.update(campaigns)
            .where(campaigns.c.tenant_id == tenant.id, campaigns.c.id == campaign.id)
            .values(generation_config='{"budget": "1.1"}')
        )
    # The budget has room for three: one is in flight, so two can be claimed.
    batch = tenant.transact(lambda store: claim_tenths(store, campaign.id))
    assert len(batch.claims) == 2
    tenant.record(dict.fromkeys((in_flight, *batch.claims), Generated(TENTH)))
    batch = tenant.transact(lambda store: claim_tenths(store, campaign.id))
    assert (batch.claims, batch.stop) == ((), StopReason.BUDGET)
    assert tenant.progress(campaign.id).spent == 11 * TENTH
    tenant.check_totals(campaign.id)


def test_claims_continue_after_the_budget_is_raised(tenant: Tenant) -> None:
    """The budget of a running campaign can be raised, and workers continue without a new start.

    If this fails, look for other programs that write generation_config.
    """
    campaign = tenant.campaign("generating", contacts=3, budget=TENTH)
    assert len(tenant.claim(campaign.id, reserve=TENTH)) == 1

    def raise_budget(store: CampaignStore) -> None:
        stored = store.campaigns.get(campaign.id)
        config = attrs.evolve(stored.generation_config, budget=Decimal(1))
        store.campaigns.save(attrs.evolve(stored, generation_config=config))

    tenant.transact(raise_budget)
    assert len(tenant.claim(campaign.id, reserve=TENTH)) == 2
    tenant.check_totals(campaign.id)
