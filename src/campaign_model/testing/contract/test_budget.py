"""No campaign spends more than it may, however many workers claim at once."""

from __future__ import annotations

from decimal import Decimal
from uuid import UUID

import attrs

from campaign_model.claims import ClaimBatch, Generated, StopReason
from campaign_model.lifecycle import Action, Status
from campaign_model.store import CampaignStore
from campaign_model.testing.clock import FrozenClock
from campaign_model.testing.contract.parallel import behind
from campaign_model.testing.contract.work import (
    LEASE,
    apply,
    check_totals,
    claim,
    progress,
    record,
)
from campaign_model.testing.sample_campaigns import Tenant

TENTH = Decimal("0.1")


def batch(store: CampaignStore, campaign_id: UUID, limit: int = 5) -> ClaimBatch:
    """A claim that sets a tenth aside for each contact."""
    return store.generation.claim(campaign_id, limit, LEASE, reserve=TENTH)


def test_claims_stop_at_the_budget(tenant: Tenant) -> None:
    """A claim that would go beyond the budget gets fewer contacts, or none.

    Look at what else writes campaign_totals.
    """
    campaign = tenant.campaign("generating", contacts=10, budget=Decimal("0.45"))
    first = tenant.transact(lambda store: batch(store, campaign.id, 3))
    assert len(first.claims) == 3
    second = tenant.transact(lambda store: batch(store, campaign.id))
    assert len(second.claims) == 1
    assert progress(tenant, campaign.id).reserved == 4 * TENTH
    third = tenant.transact(lambda store: batch(store, campaign.id))
    assert third.claims == ()
    # What is spent is less than what was set aside: there is room for more again.
    record(tenant, *((one, Generated(TENTH / 2)) for one in (*first.claims, *second.claims)))
    fourth = tenant.transact(lambda store: batch(store, campaign.id))
    assert len(fourth.claims) == 2
    record(tenant, *((one, Generated(TENTH)) for one in fourth.claims))
    last = tenant.transact(lambda store: batch(store, campaign.id))
    assert (last.claims, last.stop) == ((), StopReason.BUDGET)
    assert progress(tenant, campaign.id).spent == 4 * TENTH
    check_totals(tenant, campaign.id)
    assert apply(tenant, campaign.id, Action.COMPLETE_GENERATION).status is Status.REVIEW


def test_claims_at_once_do_not_pass_the_budget_together(tenant: Tenant) -> None:
    """Eight workers look at the budget at the same moment, and there is money for ten contacts.

    Look at the isolation level, and at row locks on campaign_totals.
    """
    campaign = tenant.campaign("generating", contacts=40, budget=Decimal("1.05"))
    batches: list[ClaimBatch] = behind(
        tenant,
        lambda store: store.campaigns.get(campaign.id, lock=True),
        *[lambda store: batch(store, campaign.id)] * 8,
    )
    assert sum(len(one.claims) for one in batches) == 10
    assert progress(tenant, campaign.id).reserved == 10 * TENTH
    check_totals(tenant, campaign.id)


def test_two_claims_in_open_transactions_do_not_pass_the_budget_together(tenant: Tenant) -> None:
    """A claim knows of what another one set aside a moment before, which is not committed yet.

    Look at the isolation level, and at row locks on campaign_totals.
    """
    campaign = tenant.campaign("generating", contacts=10, budget=Decimal("0.55"))
    (second,) = behind(
        tenant,
        lambda store: batch(store, campaign.id, 3),
        lambda store: batch(store, campaign.id),
    )
    assert len(second.claims) == 2
    assert progress(tenant, campaign.id).reserved == 5 * TENTH
    check_totals(tenant, campaign.id)


def test_what_was_set_aside_comes_free_again(tenant: Tenant, clock: FrozenClock) -> None:
    """Money that nobody spends is not lost to the campaign: not by a crash, not by an exclusion.

    Look at the column reserved, and at what else writes it.
    """
    campaign = tenant.campaign("generating", contacts=5, budget=Decimal("0.5"))
    held = claim(tenant, campaign.id, 3, clock=clock, reserve=TENTH)
    clock.forward(LEASE)
    # The takeovers keep what was set aside for them.
    again = claim(tenant, campaign.id, clock=clock, reserve=TENTH)
    assert len(again) == 5
    assert progress(tenant, campaign.id).reserved == 5 * TENTH
    tenant.transact(lambda store: store.generation.checkpoint(again[0], TENTH / 2))
    assert progress(tenant, campaign.id).reserved == Decimal("0.45")
    tenant.transact(lambda store: store.contacts.exclude(campaign.id, [again[1].contact_id]))
    tenant.transact(lambda store: store.generation.release([again[2]]))
    assert progress(tenant, campaign.id).reserved == Decimal("0.25")
    assert {one.id for one in held} < {one.id for one in again}
    check_totals(tenant, campaign.id)


def test_a_raised_budget_lets_claims_go_on(tenant: Tenant) -> None:
    """Nobody has to stop a running campaign to give it more money.

    Look at what else writes generation_config.
    """
    campaign = tenant.campaign("generating", contacts=3, budget=TENTH)
    assert len(claim(tenant, campaign.id, reserve=TENTH)) == 1

    def raise_it(store: CampaignStore) -> None:
        present = store.campaigns.get(campaign.id)
        config = attrs.evolve(present.generation_config, budget=Decimal(1))
        store.campaigns.save(attrs.evolve(present, generation_config=config))

    tenant.transact(raise_it)
    assert len(claim(tenant, campaign.id, reserve=TENTH)) == 2
    check_totals(tenant, campaign.id)
