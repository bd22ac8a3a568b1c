"""A tenant sees, changes and refers to nothing of another's, by any method."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

from campaign_model.campaign import Campaign, CampaignTemplate
from campaign_model.claims import Claim, Generated
from campaign_model.errors import NotFound
from campaign_model.lifecycle import Action
from campaign_model.store import CampaignStore
from campaign_model.testing.contract.work import CENT, LEASE, check_totals, claim, contacts
from campaign_model.testing.sample_campaigns import STEPS, Tenant


@attrs.frozen
class Belongings:
    """What the first tenant has."""

    draft: Campaign
    running: Campaign
    approved: Campaign
    template: CampaignTemplate
    claims: tuple[Claim, ...]


Call = Callable[[CampaignStore, Belongings], Any]

CALLS: dict[str, Call] = {
    "get": lambda store, of: store.campaigns.get(of.draft.id),
    "save": lambda store, of: store.campaigns.save(attrs.evolve(of.draft, name="x")),
    "apply": lambda store, of: store.campaigns.apply(of.draft.id, Action.DELETE),
    "add": lambda store, of: store.campaigns.add(Campaign("c", template_id=of.template.id)),
    "template": lambda store, of: store.templates.get(of.template.id),
    "rename": lambda store, of: store.templates.rename(of.template.id, "x"),
    "list": lambda store, of: store.contacts.list(of.running.id),
    "exportable": lambda store, of: list(store.contacts.exportable(of.approved.id)),
    "exclude": lambda store, of: store.contacts.exclude(of.running.id, [of.claims[0].contact_id]),
    "claim": lambda store, of: store.generation.claim(of.running.id, 5, LEASE),
    "renew": lambda store, of: store.generation.renew(of.claims, 2 * LEASE),
    "checkpoint": lambda store, of: store.generation.checkpoint(of.claims[0], CENT),
    "record": lambda store, of: store.generation.record(
        dict.fromkeys(of.claims, Generated(CENT)), on_lost="book"
    ),
    "progress": lambda store, of: store.generation.progress(of.running.id),
}


@pytest.fixture(scope="module")
def belongings(tenants: tuple[Tenant, Tenant]) -> Belongings:
    """Campaigns in three statuses, a template and claims."""
    tenant, _ = tenants
    running = tenant.campaign("generating", contacts=4)
    template = CampaignTemplate("Of the first tenant", STEPS)
    return Belongings(
        tenant.campaign(),
        running,
        tenant.campaign("approved"),
        tenant.transact(lambda store: store.templates.add(template)),
        claim(tenant, running.id, 2),
    )


@pytest.mark.parametrize("name", CALLS)
def test_another_tenants_rows_are_not_found(
    stranger: Tenant, belongings: Belongings, name: str
) -> None:
    """Another customer's campaign is not there, whoever knows its id.

    Look at views, policies and triggers between the role and the tables.
    """

    def work(store: CampaignStore) -> None:
        with pytest.raises(NotFound):
            CALLS[name](store, belongings)

    stranger.transact(work)


def test_another_tenants_rows_are_in_no_list(stranger: Tenant, belongings: Belongings) -> None:
    """A list has a tenant's own campaigns and templates only, and the shipped templates.

    Look at views, policies and triggers between the role and the tables.
    """

    def work(store: CampaignStore) -> None:
        own = store.campaigns.add(Campaign("own"))
        assert {one.id for one in store.campaigns.list(deleted=True, limit=500).items} >= {own.id}
        mine = {belongings.draft.id, belongings.running.id, belongings.approved.id}
        assert not mine & {one.id for one in store.campaigns.list(limit=500).items}
        assert belongings.template.id not in {one.id for one in store.templates.list()}

    stranger.transact(work)


def test_another_tenants_contacts_are_neither_taken_nor_erased(
    tenant: Tenant, stranger: Tenant, belongings: Belongings
) -> None:
    """No customer writes to another's contacts, and none loses his own by another's request.

    Look at the foreign key from campaign_contacts to the host's contacts.
    """
    theirs = [*contacts(tenant, belongings.running.id)]
    campaign = stranger.campaign(contacts=2)
    mixed = [*theirs[:2], *stranger.contacts(3)]
    assigned = stranger.transact(lambda store: store.contacts.assign(campaign.id, mixed))
    assert (assigned.added, assigned.already_there) == (1, 2)
    assert set(assigned.unknown) == set(theirs[:2])
    assert stranger.transact(lambda store: store.contacts.erase(theirs)) == 0
    assert [*contacts(tenant, belongings.running.id)] == theirs
    check_totals(tenant, belongings.running.id)
    check_totals(stranger, campaign.id)


def test_a_name_is_taken_in_one_tenant_only(tenant: Tenant, stranger: Tenant) -> None:
    """Two customers call a template the same. Look for a unique key on a name without tenant_id."""
    for one in (tenant, stranger):

        def work(store: CampaignStore) -> None:
            added = store.templates.add(CampaignTemplate("The same name", STEPS))
            store.templates.remove(added.id)

        one.transact(work)
