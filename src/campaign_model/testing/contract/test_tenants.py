"""No method of the store reads or changes rows of another tenant, or refers to them."""

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
from campaign_model.testing.sample_campaigns import CENT, LEASE, STEPS, Tenant


@attrs.frozen
class Belongings:
    """Campaigns, a template and claims of the first tenant."""

    draft: Campaign
    running: Campaign
    approved: Campaign
    template: CampaignTemplate
    claims: tuple[Claim, ...]


Call = Callable[[CampaignStore, Belongings], Any]

# Calls that name rows of the first tenant. The second tenant makes them.
CALLS: dict[str, Call] = {
    "get": lambda store, owned: store.campaigns.get(owned.draft.id),
    "save": lambda store, owned: store.campaigns.save(attrs.evolve(owned.draft, name="x")),
    "apply": lambda store, owned: store.campaigns.apply(owned.draft.id, Action.DELETE),
    "add": lambda store, owned: store.campaigns.add(Campaign("c", template_id=owned.template.id)),
    "template": lambda store, owned: store.templates.get(owned.template.id),
    "rename": lambda store, owned: store.templates.rename(owned.template.id, "x"),
    "list": lambda store, owned: store.contacts.list(owned.running.id),
    "exportable": lambda store, owned: list(store.contacts.exportable(owned.approved.id)),
    "exclude": lambda store, owned: store.contacts.exclude(
        owned.running.id, [owned.claims[0].contact_id]
    ),
    "claim": lambda store, owned: store.generation.claim(owned.running.id, 5, LEASE),
    "renew": lambda store, owned: store.generation.renew(owned.claims, 2 * LEASE),
    "checkpoint": lambda store, owned: store.generation.checkpoint(owned.claims[0], CENT),
    "record": lambda store, owned: store.generation.record(
        dict.fromkeys(owned.claims, Generated(CENT)), on_lost="book"
    ),
    "progress": lambda store, owned: store.generation.progress(owned.running.id),
    "export claim": lambda store, owned: store.export.claim(owned.approved.id, 5, LEASE),
}


@pytest.fixture(scope="module")
def belongings(tenants: tuple[Tenant, Tenant]) -> Belongings:
    """Make campaigns in three statuses, a template and claims for the first tenant."""
    tenant, _ = tenants
    running = tenant.campaign("generating", contacts=4)
    template = CampaignTemplate("Of the first tenant", STEPS)
    return Belongings(
        tenant.campaign(),
        running,
        tenant.campaign("approved"),
        tenant.transact(lambda store: store.templates.add(template)),
        tenant.claim(running.id, 2),
    )


@pytest.mark.parametrize("name", CALLS)
def test_another_tenants_rows_are_not_found(
    other_tenant: Tenant, belongings: Belongings, name: str
) -> None:
    """A customer cannot reach another customer's campaign, even with its id.

    If this fails, check views, policies and triggers between the role and the tables.
    """

    def call_with_foreign_ids(store: CampaignStore) -> None:
        with pytest.raises(NotFound):
            CALLS[name](store, belongings)

    other_tenant.transact(call_with_foreign_ids)


def test_another_tenants_rows_are_in_no_list(other_tenant: Tenant, belongings: Belongings) -> None:
    """Lists contain only the tenant's own campaigns and templates, and the system templates.

    If this fails, check views, policies and triggers between the role and the tables.
    """

    def work(store: CampaignStore) -> None:
        own = store.campaigns.add(Campaign("own"))
        assert own.id in {one.id for one in store.campaigns.list(deleted=True, limit=500).items}
        foreign = {belongings.draft.id, belongings.running.id, belongings.approved.id}
        assert not foreign & {one.id for one in store.campaigns.list(limit=500).items}
        assert belongings.template.id not in {one.id for one in store.templates.list()}

    other_tenant.transact(work)


def test_another_tenants_contacts_are_neither_assigned_nor_erased(
    tenant: Tenant, other_tenant: Tenant, belongings: Belongings
) -> None:
    """No customer can write to another customer's contacts or erase them.

    If this fails, check the foreign key from campaign_contacts to the host's contacts.
    """
    foreign = [*tenant.campaign_contacts(belongings.running.id)]
    campaign = other_tenant.campaign(contacts=2)
    # Two contacts belong to the first tenant. Three belong to the other tenant, whose campaign has
    # two of them already.
    mixed = [*foreign[:2], *other_tenant.contacts(3)]
    assigned = other_tenant.transact(lambda store: store.contacts.assign(campaign.id, mixed))
    assert (assigned.added, assigned.already_there) == (1, 2)
    assert set(assigned.unknown) == set(foreign[:2])
    assert other_tenant.transact(lambda store: store.contacts.erase(foreign)) == 0
    assert [*tenant.campaign_contacts(belongings.running.id)] == foreign
    tenant.check_totals(belongings.running.id)
    other_tenant.check_totals(campaign.id)


def test_two_tenants_can_use_the_same_template_name(tenant: Tenant, other_tenant: Tenant) -> None:
    """Two customers can give a template the same name.

    If this fails, look for unique keys without tenant_id.
    """

    def add(store: CampaignStore) -> CampaignTemplate:
        return store.templates.add(CampaignTemplate("The same name", STEPS))

    first = tenant.transact(add)
    second = other_tenant.transact(add)
    tenant.transact(lambda store: store.templates.remove(first.id))
    other_tenant.transact(lambda store: store.templates.remove(second.id))
