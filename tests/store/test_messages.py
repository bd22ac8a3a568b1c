"""The messages under review, as SQL finds them and as their ids say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Unpack
from uuid import UUID, uuid4

import attrs
import pytest
import sqlalchemy as sa

from campaign_model.campaign import Campaign
from campaign_model.errors import NotFound
from campaign_model.lifecycle import Action, ContactStatus, ReviewTally, Status
from campaign_model.steps import Step, StepChanges, StepSequence
from campaign_model.store import CampaignStore
from campaign_model.store.tables import campaign_contacts
from campaign_model.testing.sample_campaigns import Tenant
from support.tenants import HOST, contact_rows, execute, message_values, new_tenant, update_row
from support.transactions import open_store, recorded_statements, refused

STEPS = StepSequence(
    (Step("email", "One", variant_count=2, key="one"), Step("email", "Two", key="two"))
)
MESSAGES = HOST.messages.c
STATUSES = ("approved", "rejected", "draft")


def insert_messages(tenant: Tenant, campaign: Campaign) -> None:
    """Insert the messages of two revisions of every contact, with every status."""
    rows = contact_rows(tenant, campaign.id).values()
    messages = [
        message_values(tenant.id, row)
        | {
            "id": slot.message_id(row.id, revision),
            "revision": revision,
            "step_key": slot.step_key,
            "variant": slot.variant,
            "status": STATUSES[number],
        }
        for row in rows
        for revision in (0, 1)
        for number, slot in enumerate(campaign.steps.slots())
    ]
    execute(tenant, sa.insert(HOST.messages).values(messages))


def statuses_by_id(tenant: Tenant, campaign_id: UUID) -> dict[UUID, str]:
    """Return the ids that follow from the slots of generated contacts, with their statuses."""
    campaign = tenant.transact(lambda store: store.campaigns.get(campaign_id))
    ids = {
        slot.message_id(row.id, row.revision)
        for row in contact_rows(tenant, campaign_id).values()
        for slot in campaign.steps.slots()
        if row.status == ContactStatus.GENERATED
    }
    with tenant.engine.begin() as connection:
        query = sa.select(MESSAGES.id, MESSAGES.status).where(MESSAGES.id.in_(ids))
        return {row.id: row.status for row in connection.execute(query)}


def count(store: CampaignStore, campaign_id: UUID) -> ReviewTally:
    return store.campaigns.review_tally(
        campaign_id,
        HOST.messages,
        is_approved=MESSAGES.status == "approved",
        is_rejected=MESSAGES.status == "rejected",
    )


def nothing(_tenant: Tenant, _campaign: Campaign) -> None:
    pass


def regenerate(tenant: Tenant, campaign: Campaign) -> None:
    first, *_ = contact_rows(tenant, campaign.id)
    tenant.transact(lambda store: store.generation.regenerate(campaign.id, [first]))


def finish_again(tenant: Tenant, campaign: Campaign) -> None:
    regenerate(tenant, campaign)
    first, *_ = contact_rows(tenant, campaign.id).values()
    update_row(tenant, campaign_contacts, first.id, status="generated")


def exclude(tenant: Tenant, campaign: Campaign) -> None:
    first, *_ = contact_rows(tenant, campaign.id)
    tenant.transact(lambda store: store.contacts.exclude(campaign.id, [first]))


def edit(**changes: Unpack[StepChanges]) -> Callable[[Tenant, Campaign], None]:
    def save(tenant: Tenant, campaign: Campaign) -> None:
        edited = attrs.evolve(campaign, steps=campaign.steps.update("one", **changes))
        tenant.transact(lambda store: store.campaigns.save(edited))

    return save


def remove_all_steps(tenant: Tenant, campaign: Campaign) -> None:
    edited = attrs.evolve(campaign, steps=StepSequence())
    tenant.transact(lambda store: store.campaigns.save(edited))


CHANGES: dict[str, tuple[Callable[[Tenant, Campaign], None], int]] = {
    "nothing": (nothing, 9),
    "a contact waits": (regenerate, 6),
    "a contact has a new revision": (finish_again, 9),
    "a contact is excluded": (exclude, 6),
    "a step has fewer variants": (edit(variant_count=1), 6),
    "a step has more variants": (edit(variant_count=3), 9),
    "a step is disabled": (edit(enabled=False), 3),
    "no step is left": (remove_all_steps, 0),
}


@pytest.mark.parametrize("change", CHANGES)
def test_sql_finds_the_messages_that_the_slots_of_the_campaign_name(
    tenant: Tenant, change: str
) -> None:
    make_change, number = CHANGES[change]
    ids = tenant.contacts(3)
    campaign = tenant.campaign(Status.READY, contacts=ids, generated=3, steps=STEPS)
    for other in (campaign, tenant.campaign(Status.READY, contacts=ids, generated=3, steps=STEPS)):
        insert_messages(tenant, other)
    make_change(tenant, campaign)
    expected = statuses_by_id(tenant, campaign.id)
    with open_store(tenant) as store:
        present = store.campaigns.present_messages(campaign.id, HOST.messages)
        found = store.connection.scalars(sa.select(MESSAGES.id).where(present)).all()
        tally = count(store, campaign.id)
    assert sorted(found) == sorted(expected)
    assert len(found) == number
    statuses = [*expected.values()]
    assert tally == ReviewTally(*(statuses.count(status) for status in STATUSES))


def test_a_tally_takes_one_query_and_counts_what_an_approval_looks_at(tenant: Tenant) -> None:
    campaign = tenant.campaign(Status.REVIEW, contacts=3, steps=STEPS)
    insert_messages(tenant, campaign)
    of_messages = sa.update(HOST.messages).where(MESSAGES.campaign_id == campaign.id)
    execute(tenant, of_messages.values(status="approved"))
    with open_store(tenant) as store:
        with recorded_statements(tenant.engine) as statements:
            assert count(store, campaign.id) == ReviewTally(9, 0, 0)
        assert len([one for one, _ in statements if "messages" in one]) == 1
        # The condition works in an UPDATE too.
        present = store.campaigns.present_messages(campaign.id, HOST.messages)
        undecide = sa.update(HOST.messages).where(present, MESSAGES.variant == "b")
        assert store.connection.execute(undecide.values(status="draft")).rowcount == 3
        assert count(store, campaign.id) == ReviewTally(6, 0, 3)
        store.connection.execute(of_messages.values(status="approved"))
        approved = store.campaigns.apply(
            campaign.id, Action.APPROVE, review=lambda _: count(store, campaign.id)
        )
    assert approved.status is Status.APPROVED


def test_messages_of_another_tenant_and_tables_without_the_columns_are_refused(
    tenant: Tenant, engine: sa.Engine
) -> None:
    campaign = tenant.campaign(Status.REVIEW, contacts=1, steps=STEPS)
    insert_messages(tenant, campaign)
    with open_store(new_tenant(engine)) as store, refused(store, NotFound):
        count(store, campaign.id)
    with open_store(tenant) as store:
        with refused(store, NotFound):
            count(store, uuid4())
        with refused(store, ValueError) as caught:
            store.campaigns.present_messages(campaign.id, sa.table("m", sa.column("tenant_id")))
    assert "no column campaign_contact_id, revision, step_key, variant" in str(caught.value)
