"""Which contacts are in a campaign, which of them are generated, and which are exported."""

from __future__ import annotations

from uuid import UUID

import pytest

from campaign_model.campaign import Assigned, Changed
from campaign_model.claims import Failed, Generated, NotReady, Recorded
from campaign_model.errors import TransitionNotAllowed
from campaign_model.lifecycle import Action, ContactStatus, ReviewTally, Status
from campaign_model.store import CampaignStore
from campaign_model.testing.clock import FrozenClock
from campaign_model.testing.parallel import run_while_open
from campaign_model.testing.sample_campaigns import CENT, LEASE, Tenant

EXCLUDED = ContactStatus.EXCLUDED


def test_a_contact_assigned_twice_has_one_row(tenant: Tenant) -> None:
    """Two users who assign the same contacts in parallel both succeed; no contact is doubled.

    If this fails, check UNIQUE (tenant_id, campaign_id, contact_id), and the triggers on
    campaign_contacts.
    """
    campaign = tenant.campaign(contacts=0)
    ids = tenant.contacts(4)

    def assign(store: CampaignStore) -> Assigned:
        return store.contacts.assign(campaign.id, ids)

    (second_answer,) = run_while_open(tenant, first=assign, others=[assign])
    assert second_answer == Assigned(added=0, already_there=4, unknown=())
    assert [*tenant.campaign_contacts(campaign.id)] == ids
    tenant.check_totals(campaign.id)


def test_contacts_cannot_be_added_or_removed_during_generation(tenant: Tenant) -> None:
    """The contacts of a campaign change only before generation and after its cancellation.

    If this fails, look for other programs that write campaigns.status or campaign_contacts.
    """
    campaign = tenant.campaign("generating", contacts=2)

    def work(store: CampaignStore) -> None:
        ids = tenant.contacts(3)
        for change in (store.contacts.assign, store.contacts.remove, store.contacts.include):
            with pytest.raises(TransitionNotAllowed):
                change(campaign.id, ids)

    tenant.transact(work)
    assert tenant.progress(campaign.id).assigned == 2


def test_an_excluded_contact_is_neither_generated_nor_exported(tenant: Tenant) -> None:
    """An excluded contact gets no message, whether it was excluded before or after generation.

    If this fails, look for other programs that write campaign_contacts.status.
    """
    campaign = tenant.campaign("generating", contacts=4)
    first, second, third, fourth = tenant.campaign_contacts(campaign.id)
    # 1. Exclude the first contact before a worker claims it. It is not claimed.
    tenant.transact(lambda store: store.contacts.exclude(campaign.id, [first]))
    claims = tenant.claim(campaign.id)
    assert [claim.contact_id for claim in claims] == [second, third, fourth]
    # 2. Exclude the second contact while a worker generates it. Its cost is booked nevertheless.
    tenant.transact(lambda store: store.contacts.exclude(campaign.id, [second]))
    answers = tenant.record(
        {
            claims[0]: Generated(CENT),
            claims[1]: Generated(CENT),
            claims[2]: Failed("code", "message", CENT),
        }
    )
    assert [*answers.values()] == [Recorded.EXCLUDED, Recorded.APPLIED, Recorded.APPLIED]
    contacts = tenant.campaign_contacts(campaign.id)
    assert contacts[second].status is EXCLUDED
    assert contacts[second].cost == CENT
    assert tenant.progress(campaign.id).spent == 3 * CENT
    assert tenant.progress(campaign.id).total == len([third, fourth])  # Without excluded contacts.
    # 3. Exclude the third contact after its generation. It is not exported any more.
    tenant.apply(campaign.id, Action.COMPLETE_GENERATION)
    review = ReviewTally(approved=1, rejected=0, undecided=0)
    tenant.apply(campaign.id, Action.APPROVE, review=review)

    def exportable(store: CampaignStore) -> list[UUID]:
        return [contact.contact_id for contact in store.contacts.exportable(campaign.id)]

    assert tenant.transact(exportable) == [third]
    tenant.transact(lambda store: store.contacts.exclude(campaign.id, [third]))
    assert tenant.transact(exportable) == []
    tenant.check_totals(campaign.id)


def test_an_included_contact_waits_again(tenant: Tenant, clock: FrozenClock) -> None:
    """A contact that was excluded and included again gets messages once, from a new claim only.

    While a worker still holds it, it stays excluded. If this fails, look for other programs that
    write campaign_contacts.
    """
    campaign = tenant.campaign("generating", contacts=1)
    (old_claim,) = tenant.claim(campaign.id, clock=clock)
    ids = [old_claim.contact_id]

    def include(store: CampaignStore) -> Changed:
        return store.contacts.include(campaign.id, ids)

    tenant.transact(lambda store: store.contacts.exclude(campaign.id, ids))
    tenant.apply(campaign.id, Action.CANCEL_GENERATION)
    assert tenant.transact(include, clock=clock) == Changed(0, tuple(ids))
    clock.forward(LEASE)
    assert tenant.transact(include, clock=clock) == Changed(1, ())
    assert tenant.campaign_contacts(campaign.id)[ids[0]].status is ContactStatus.PENDING
    # The result of the claim from before the exclusion does not count.
    late = {old_claim: Generated(CENT)}
    assert tenant.record(late, on_lost="skip") == {old_claim: Recorded.SKIPPED}
    tenant.apply(campaign.id, Action.START_GENERATION)
    (new_claim,) = tenant.claim(campaign.id)
    assert (new_claim.contact_id, new_claim.attempts) == (old_claim.contact_id, 1)
    tenant.check_totals(campaign.id)


@pytest.mark.parametrize("status", sorted(set(Status) - {Status.APPROVED, Status.EXPORTED}))
def test_only_approved_campaigns_can_be_exported(tenant: Tenant, status: Status) -> None:
    """No message is sent that was not approved.

    If this fails, look for other programs that write campaigns.status.
    """
    campaign = tenant.campaign(status, contacts=1)

    def work(store: CampaignStore) -> None:
        with pytest.raises(TransitionNotAllowed):
            store.contacts.exportable(campaign.id)

    tenant.transact(work)


def test_removing_a_generated_contact_excludes_it(tenant: Tenant) -> None:
    """Removing a generated contact keeps its cost, and its row for the messages that refer to it.

    If this fails, check the triggers on campaign_contacts.
    """
    campaign = tenant.campaign("draft", contacts=3, generated=1)
    generated, *others = tenant.campaign_contacts(campaign.id)
    removed = tenant.transact(
        lambda store: store.contacts.remove(campaign.id, [generated, *others])
    )
    assert (removed.removed, removed.kept) == (2, (generated,))
    statuses = {contact.status for contact in tenant.campaign_contacts(campaign.id).values()}
    assert statuses == {EXCLUDED}
    assert tenant.progress(campaign.id).spent == CENT
    tenant.check_totals(campaign.id)
    tenant.transact(lambda store: store.contacts.include(campaign.id, [generated]))
    assert tenant.campaign_contacts(campaign.id)[generated].status is ContactStatus.PENDING
    tenant.check_totals(campaign.id)


def test_an_erased_contact_leaves_its_cost(tenant: Tenant, clock: FrozenClock) -> None:
    """Erasing a contact for privacy deletes its row and keeps its cost in the totals.

    The worker that held the contact can still report its cost, once.

    If this fails, check the table campaign_erased_claims.
    """
    campaign = tenant.campaign("generating", contacts=3)
    # 1. One contact is generated. A second worker takes the other over and still works on it.
    taken_over, done = tenant.claim(campaign.id, 2, clock=clock)
    tenant.record({done: Generated(CENT)})
    clock.forward(LEASE)
    (working,) = [
        claim
        for claim in tenant.claim(campaign.id, clock=clock)
        if claim.contact_id == taken_over.contact_id
    ]
    # 2. Erase both. The contacts are also in campaigns of other tests.
    erased = [done.contact_id, working.contact_id]
    assert tenant.transact(lambda store: store.contacts.erase(erased)) >= 2
    assert not {*erased} & tenant.campaign_contacts(campaign.id).keys()
    assert tenant.progress(campaign.id).spent == CENT
    # 3. Only the claim that held the contact can report its cost, and only once.
    late = {taken_over: Generated(CENT)}
    assert tenant.record(late, on_lost="book") == {taken_over: Recorded.SKIPPED}
    late = {working: Generated(CENT)}
    assert tenant.record(late, on_lost="book") == {working: Recorded.BOOKED}
    assert tenant.record(late, on_lost="book") == {working: Recorded.SKIPPED}
    # 4. A change of the campaign's status counts the contacts again, and keeps both costs.
    tenant.apply(campaign.id, Action.CANCEL_GENERATION)
    assert tenant.progress(campaign.id).spent == 2 * CENT
    tenant.check_totals(campaign.id)


def test_a_contact_with_gaps_is_not_claimed(tenant: Tenant) -> None:
    """No worker claims a contact that lacks an address until a user has added the address.

    If this fails, check the column enrichment_gaps.
    """
    campaign = tenant.campaign("generating", contacts=3)
    first, second, third = tenant.campaign_contacts(campaign.id)

    def set_gaps(gaps: dict[UUID, tuple[str, ...]]) -> None:
        tenant.transact(lambda store: store.contacts.set_readiness(campaign.id, gaps))

    set_gaps({first: ("email_address",), second: ()})
    claims = tenant.claim(campaign.id)
    assert [claim.contact_id for claim in claims] == [second, third]
    tenant.record({claims[0]: NotReady(("phone",)), claims[1]: Generated(CENT)})
    contacts = tenant.campaign_contacts(campaign.id)
    assert contacts[first].enrichment_gaps == ("email_address",)
    assert contacts[second].enrichment_gaps == ("phone",)
    assert tenant.claim(campaign.id) == ()
    set_gaps({first: (), second: ()})
    assert [claim.contact_id for claim in tenant.claim(campaign.id)] == [first, second]
    tenant.check_totals(campaign.id)
