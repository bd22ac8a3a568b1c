"""Who is in a campaign, who is to be generated and exported, and who is not any more."""

from __future__ import annotations

from uuid import UUID

import pytest

from campaign_model.campaign_contact import Assigned
from campaign_model.claims import Failed, Generated, NotReady, Recorded
from campaign_model.errors import TransitionNotAllowed
from campaign_model.lifecycle import Action, ContactStatus, ReviewTally, Status
from campaign_model.store import CampaignStore
from campaign_model.testing.clock import FrozenClock
from campaign_model.testing.contract.parallel import behind
from campaign_model.testing.contract.work import (
    CENT,
    LEASE,
    apply,
    check_totals,
    claim,
    contacts,
    progress,
    record,
)
from campaign_model.testing.sample_campaigns import Tenant

EXCLUDED = ContactStatus.EXCLUDED


def test_a_contact_is_assigned_once_however_often(tenant: Tenant) -> None:
    """Two who assign the same contacts at once both succeed, and nobody is written to twice.

    Look at UNIQUE (tenant_id, campaign_id, contact_id), and at triggers on campaign_contacts.
    """
    campaign = tenant.campaign(contacts=0)
    ids = tenant.contacts(4)

    def assign(store: CampaignStore) -> Assigned:
        return store.contacts.assign(campaign.id, ids)

    (second,) = behind(tenant, assign, assign)
    assert second == Assigned(0, 4, ())
    assert [*contacts(tenant, campaign.id)] == ids
    check_totals(tenant, campaign.id)


def test_contacts_come_and_go_only_while_a_campaign_is_at_rest(tenant: Tenant) -> None:
    """Nobody gets into a campaign that is generated or reviewed already, and nobody out of it.

    Look at what else writes campaigns.status and campaign_contacts.
    """
    campaign = tenant.campaign("generating", contacts=2)

    def work(store: CampaignStore) -> None:
        ids = tenant.contacts(3)
        for change in (store.contacts.assign, store.contacts.remove, store.contacts.include):
            with pytest.raises(TransitionNotAllowed):
                change(campaign.id, ids)

    tenant.transact(work)
    assert progress(tenant, campaign.id).assigned == 2


def test_an_excluded_contact_gets_nothing(tenant: Tenant) -> None:
    """Whoever is taken out gets no message: it is not generated, and not exported if it was.

    Look at what else writes campaign_contacts.status.
    """
    campaign = tenant.campaign("generating", contacts=4)
    first, second, third, fourth = contacts(tenant, campaign.id)
    tenant.transact(lambda store: store.contacts.exclude(campaign.id, [first]))
    claims = claim(tenant, campaign.id)
    assert [one.contact_id for one in claims] == [second, third, fourth]
    tenant.transact(lambda store: store.contacts.exclude(campaign.id, [second]))
    failure = Failed("code", "message", CENT)
    assert record(
        tenant,
        *((claims[0], Generated(CENT)), (claims[1], Generated(CENT)), (claims[2], failure)),
    ) == [Recorded.EXCLUDED, Recorded.APPLIED, Recorded.APPLIED]
    found = contacts(tenant, campaign.id)
    assert found[second].status is EXCLUDED
    assert found[second].cost == CENT
    assert progress(tenant, campaign.id).spent == 3 * CENT
    assert progress(tenant, campaign.id).total == 2
    apply(tenant, campaign.id, Action.COMPLETE_GENERATION)
    apply(tenant, campaign.id, Action.APPROVE, review=ReviewTally(1, 0, 0))
    sent = tenant.transact(lambda store: [*store.contacts.exportable(campaign.id)])
    assert [one.contact_id for one in sent] == [third]
    tenant.transact(lambda store: store.contacts.exclude(campaign.id, [third]))
    assert tenant.transact(lambda store: [*store.contacts.exportable(campaign.id)]) == []
    check_totals(tenant, campaign.id)


def test_who_comes_back_comes_back_to_wait(tenant: Tenant) -> None:
    """Whoever is taken out and put back gets messages once, and none of a worker from before.

    Look at what else writes campaign_contacts.
    """
    campaign = tenant.campaign("generating", contacts=1)
    (before,) = claim(tenant, campaign.id)
    ids = [before.contact_id]
    tenant.transact(lambda store: store.contacts.exclude(campaign.id, ids))
    apply(tenant, campaign.id, Action.CANCEL_GENERATION)
    tenant.transact(lambda store: store.contacts.include(campaign.id, ids))
    assert contacts(tenant, campaign.id)[ids[0]].status is ContactStatus.PENDING
    assert record(tenant, (before, Generated(CENT)), on_lost="skip") == [Recorded.SKIPPED]
    apply(tenant, campaign.id, Action.START_GENERATION)
    (anew,) = claim(tenant, campaign.id)
    assert (anew.contact_id, anew.attempts) == (before.contact_id, 1)
    check_totals(tenant, campaign.id)


@pytest.mark.parametrize("status", sorted(set(Status) - {Status.APPROVED, Status.EXPORTED}))
def test_nothing_is_exported_before_it_is_approved(tenant: Tenant, status: Status) -> None:
    """No message goes out that nobody has approved. Look at what else writes campaigns.status."""
    campaign = tenant.campaign(status, contacts=1)

    def work(store: CampaignStore) -> None:
        with pytest.raises(TransitionNotAllowed):
            store.contacts.exportable(campaign.id)

    tenant.transact(work)


def test_whoever_was_generated_for_is_kept(tenant: Tenant) -> None:
    """Removing a contact loses neither what was spent on it nor the messages that refer to it.

    Look at triggers on campaign_contacts.
    """
    campaign = tenant.campaign("draft", contacts=3, generated=1)
    generated, *others = contacts(tenant, campaign.id)
    removed = tenant.transact(
        lambda store: store.contacts.remove(campaign.id, [generated, *others])
    )
    assert (removed.removed, removed.kept) == (2, (generated,))
    assert {one.status for one in contacts(tenant, campaign.id).values()} == {EXCLUDED}
    assert progress(tenant, campaign.id).spent == CENT
    check_totals(tenant, campaign.id)
    tenant.transact(lambda store: store.contacts.include(campaign.id, [generated]))
    assert contacts(tenant, campaign.id)[generated].status is ContactStatus.PENDING
    check_totals(tenant, campaign.id)


def test_an_erased_contact_is_gone_and_its_cost_is_not(tenant: Tenant, clock: FrozenClock) -> None:
    """Erasure for privacy leaves no row of a person, and no money unaccounted for.

    The worker that was on it reports once. Look at the table campaign_erased_claims.
    """
    campaign = tenant.campaign("generating", contacts=3)
    stale, done = claim(tenant, campaign.id, 2, clock=clock)
    record(tenant, (done, Generated(CENT)))
    clock.forward(LEASE)
    (working,) = [
        one for one in claim(tenant, campaign.id, clock=clock) if one.contact_id == stale.contact_id
    ]
    erased = [done.contact_id, working.contact_id]
    # From other tests' campaigns too.
    assert tenant.transact(lambda store: store.contacts.erase(erased)) >= 2
    assert not {*erased} & contacts(tenant, campaign.id).keys()
    assert progress(tenant, campaign.id).spent == CENT
    assert record(tenant, (stale, Generated(CENT)), on_lost="book") == [Recorded.SKIPPED]
    late = (working, Generated(CENT))
    assert record(tenant, late, on_lost="book") == [Recorded.BOOKED]
    assert record(tenant, late, on_lost="book") == [Recorded.SKIPPED]
    apply(tenant, campaign.id, Action.CANCEL_GENERATION)
    assert progress(tenant, campaign.id).spent == 2 * CENT
    check_totals(tenant, campaign.id)


def test_a_contact_that_lacks_something_waits(tenant: Tenant) -> None:
    """No worker is given a contact whose address is missing, before somebody has found it.

    Look at the column enrichment_gaps.
    """
    campaign = tenant.campaign("generating", contacts=3)
    first, second, third = contacts(tenant, campaign.id)

    def lacking(gaps: dict[UUID, tuple[str, ...]]) -> None:
        tenant.transact(lambda store: store.contacts.set_readiness(campaign.id, gaps))

    lacking({first: ("email_address",), second: ()})
    claims = claim(tenant, campaign.id)
    assert [one.contact_id for one in claims] == [second, third]
    record(tenant, (claims[0], NotReady(("phone",))), (claims[1], Generated(CENT)))
    found = contacts(tenant, campaign.id)
    assert found[first].enrichment_gaps == ("email_address",)
    assert found[second].enrichment_gaps == ("phone",)
    assert claim(tenant, campaign.id) == ()
    lacking({first: (), second: ()})
    assert [one.contact_id for one in claim(tenant, campaign.id)] == [first, second]
    check_totals(tenant, campaign.id)
