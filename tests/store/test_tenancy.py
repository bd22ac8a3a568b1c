"""A store of one tenant never reads, changes or refers to rows of another tenant."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import attrs
import pytest
import sqlalchemy as sa

from campaign_model.campaign import Assigned, Campaign, CampaignTemplate
from campaign_model.claims import Claim, Generated, Recorded
from campaign_model.errors import NotFound
from campaign_model.lifecycle import Action
from campaign_model.store import CampaignStore
from campaign_model.store.tables import (
    campaign_contacts,
    campaign_history,
    campaign_templates,
    campaign_totals,
    campaigns,
    metadata,
)
from campaign_model.store.types import Uuid
from campaign_model.testing.sample_campaigns import CENT, LEASE, STEPS, Tenant
from support.tenants import (
    HOST,
    claim_long_ago,
    contact_rows,
    execute,
    new_owner,
    new_tenant,
    update_row,
)
from support.transactions import all_rows, on_sqlite, open_store, refused, rolled_back


@attrs.frozen
class Belongings:
    """The rows of one tenant: campaigns with claimed and waiting contacts, a template."""

    tenant: Tenant
    owner_id: UUID
    draft: Campaign
    running: Campaign
    approved: Campaign
    template: CampaignTemplate
    contacts: tuple[UUID, ...]
    new_contact: UUID
    claims: tuple[Claim, ...]
    exported: Campaign
    export_claims: tuple[Claim, ...]

    def check_totals(self) -> None:
        for campaign in (self.draft, self.running, self.approved, self.exported):
            self.tenant.check_totals(campaign.id)


def make_belongings(engine: sa.Engine) -> Belongings:
    tenant = new_tenant(engine)
    *contacts, new_contact = tenant.contacts(4)
    running = tenant.campaign("generating", contacts=contacts)
    template = CampaignTemplate("Own", STEPS)
    exported = tenant.campaign("exported", contacts=contacts)
    return Belongings(
        tenant=tenant,
        owner_id=new_owner(tenant),
        draft=tenant.campaign(contacts=contacts),
        running=running,
        approved=tenant.campaign("approved", contacts=contacts),
        template=tenant.transact(lambda store: store.templates.add(template)),
        contacts=tuple(contacts),
        new_contact=new_contact,
        claims=tenant.claim(running.id, 2),
        exported=exported,
        export_claims=tenant.transact(
            lambda store: store.export.claim(exported.id, 2, LEASE).claims
        ),
    )


Call = Callable[[CampaignStore, Belongings], Any]

CALLS: dict[str, Call] = {
    "campaigns.add": lambda store, owned: store.campaigns.add(
        Campaign("New", STEPS, owner_id=owned.owner_id, template_id=owned.template.id)
    ),
    "campaigns.get": lambda store, owned: (
        store.campaigns.get(owned.draft.id),
        store.campaigns.get(owned.draft.id, lock=True),
        store.campaigns.get(owned.draft.id, lock="share"),
    ),
    "campaigns.list": lambda store, owned: store.campaigns.list(
        owner_id=owned.owner_id, template_id=owned.template.id
    ),
    "campaigns.count_by_status": lambda store, owned: store.campaigns.count_by_status(
        owner_id=owned.owner_id, template_id=owned.template.id
    ),
    "campaigns.save": lambda store, owned: store.campaigns.save(
        attrs.evolve(owned.draft, name="Changed")
    ),
    "campaigns.apply": lambda store, owned: store.campaigns.apply(owned.draft.id, Action.DELETE),
    "campaigns.actions": lambda store, owned: store.campaigns.actions(owned.running.id),
    "campaigns.clone": lambda store, owned: store.campaigns.clone(owned.draft.id),
    "campaigns.history": lambda store, owned: store.campaigns.history(owned.running.id),
    "campaigns.present_messages": lambda store, owned: store.campaigns.present_messages(
        owned.approved.id, HOST.messages
    ),
    "campaigns.review_tally": lambda store, owned: store.campaigns.review_tally(
        owned.approved.id, HOST.messages, is_approved=sa.true(), is_rejected=sa.false()
    ),
    "templates.add": lambda store, owned: store.templates.add(
        attrs.evolve(owned.template, id=uuid4(), name="New")
    ),
    "templates.get": lambda store, owned: store.templates.get(owned.template.id),
    "templates.list": lambda store, _: store.templates.list(),
    "templates.rename": lambda store, owned: store.templates.rename(owned.template.id, "Changed"),
    "templates.replace_steps": lambda store, owned: store.templates.replace_steps(
        owned.template.id, STEPS.move("s1", 2)
    ),
    "templates.remove": lambda store, owned: store.templates.remove(owned.template.id),
    "contacts.assign": lambda store, owned: store.contacts.assign(
        owned.draft.id, [owned.new_contact], skip_active=True, cooldown=LEASE
    ),
    "contacts.remove": lambda store, owned: store.contacts.remove(owned.draft.id, owned.contacts),
    "contacts.exclude": lambda store, owned: store.contacts.exclude(
        owned.running.id, owned.contacts
    ),
    "contacts.include": lambda store, owned: store.contacts.include(owned.draft.id, owned.contacts),
    "contacts.set_readiness": lambda store, owned: store.contacts.set_readiness(
        owned.running.id, dict.fromkeys(owned.contacts, ("phone",))
    ),
    "contacts.erase": lambda store, owned: store.contacts.erase(owned.contacts),
    "contacts.list": lambda store, owned: store.contacts.list(owned.running.id),
    "contacts.exportable": lambda store, owned: list(store.contacts.exportable(owned.approved.id)),
    "contacts.overlaps": lambda store, owned: store.contacts.overlaps(owned.running.id),
    "generation.claim": lambda store, owned: store.generation.claim(owned.running.id, 5, LEASE),
    "generation.renew": lambda store, owned: store.generation.renew(owned.claims, LEASE),
    "generation.checkpoint": lambda store, owned: store.generation.checkpoint(
        owned.claims[0], CENT
    ),
    "generation.record": lambda store, owned: store.generation.record(
        dict.fromkeys(owned.claims, Generated(CENT))
    ),
    "generation.release": lambda store, owned: store.generation.release(owned.claims),
    "generation.retry_failed": lambda store, owned: store.generation.retry_failed(owned.running.id),
    "generation.regenerate": lambda store, owned: store.generation.regenerate(owned.running.id),
    "generation.progress": lambda store, owned: store.generation.progress(owned.running.id),
    "generation.estimate": lambda store, owned: store.generation.estimate(owned.running.id),
    "export.claim": lambda store, owned: store.export.claim(owned.exported.id, 5, LEASE),
    "export.renew": lambda store, owned: store.export.renew(owned.export_claims, LEASE),
    "export.record": lambda store, owned: store.export.record(owned.export_claims),
    "export.release": lambda store, owned: store.export.release(owned.export_claims),
}
"""Every public method, called with ids of some tenant."""

IS_EMPTY: dict[str, Callable[[Any], bool]] = {
    "campaigns.list": lambda answer: answer.items == (),
    "campaigns.count_by_status": lambda answer: not any(answer.values()),
    "templates.list": lambda answer: all(template.is_system for template in answer),
    "contacts.erase": lambda answer: bool(answer == 0),
    "templates.add": lambda answer: answer.version == 1,
}
"""Methods that raise no error for another tenant, and how their answer shows that."""


def test_every_public_method_of_the_store_is_called(tenant: Tenant) -> None:
    with open_store(tenant) as store:
        methods = {
            f"{group}.{name}"
            for group in CampaignStore.__annotations__
            for name, _ in inspect.getmembers(getattr(store, group), inspect.ismethod)
            if not name.startswith("_")
        }
    assert methods == CALLS.keys()


def test_failure_13_no_method_reaches_rows_of_another_tenant(engine: sa.Engine) -> None:
    theirs = make_belongings(engine)
    with open_store(new_tenant(engine)) as store:
        before = all_rows(store.connection, theirs.tenant.id)
        for name, call in CALLS.items():
            if name in IS_EMPTY:
                with rolled_back(store):
                    assert IS_EMPTY[name](call(store, theirs)), name
                    assert all_rows(store.connection, theirs.tenant.id) == before, name
                continue
            with refused(store, NotFound, theirs.tenant.id) as caught:
                call(store, theirs)
            group = name.partition(".")[0]
            kinds = {"campaigns.add": {"template", "owner"}, "templates": {"template"}}
            expected = kinds.get(name) or kinds.get(group) or {"campaign"}
            assert caught.value.kind in expected, name


def test_every_method_reaches_rows_of_its_own_tenant(engine: sa.Engine) -> None:
    own = make_belongings(engine)
    with open_store(own.tenant) as store:
        for call in CALLS.values():
            with rolled_back(store):
                call(store, own)


def test_no_method_changes_or_counts_rows_of_another_tenant(engine: sa.Engine) -> None:
    theirs, own = make_belongings(engine), make_belongings(engine)
    with open_store(own.tenant) as store:
        before = all_rows(store.connection, theirs.tenant.id)
        for name in (
            *("contacts.assign", "contacts.exclude", "contacts.set_readiness"),
            *("generation.record", "export.record", "campaigns.clone", "campaigns.apply"),
            *("contacts.erase", "templates.remove"),
        ):
            CALLS[name](store, own)
        assert all_rows(store.connection, theirs.tenant.id) == before
    summaries = theirs.tenant.transact(lambda store: store.campaigns.list().items)
    assert [summary.total_contacts for summary in summaries] == [3, 3, 3, 3]
    theirs.check_totals()
    own.check_totals()


def test_failure_13_owners_templates_and_contacts_of_another_tenant_are_refused(
    engine: sa.Engine,
) -> None:
    theirs, own = make_belongings(engine), make_belongings(engine)
    draft_id = own.draft.id
    with open_store(own.tenant) as store:
        for owner_id in (theirs.owner_id, uuid4()):
            with refused(store, NotFound) as caught:
                store.campaigns.add(Campaign("New", STEPS, owner_id=owner_id))
            assert (caught.value.kind, caught.value.ids) == ("owner", (owner_id,))
            with refused(store, NotFound) as caught:
                store.campaigns.save(attrs.evolve(own.draft, owner_id=owner_id))
            assert (caught.value.kind, caught.value.ids) == ("owner", (owner_id,))
        for template_id in (theirs.template.id, uuid4()):
            with refused(store, NotFound) as caught:
                store.campaigns.add(Campaign("New", STEPS, template_id=template_id))
            assert (caught.value.kind, caught.value.ids) == ("template", (template_id,))
        unknown = [*theirs.contacts, uuid4()]
        assigned = store.contacts.assign(draft_id, [unknown[0], own.new_contact, *unknown[1:]])
        assert (assigned.added, {*assigned.unknown}) == (1, {*unknown})
        by_query = sa.select(HOST.contacts.c.id).where(HOST.contacts.c.id.in_(theirs.contacts))
        assigned = store.contacts.assign(draft_id, by_query)
        assert assigned == Assigned(0, 0, assigned.unknown)
        assert {*assigned.unknown} == {*theirs.contacts}
        for change in (store.contacts.exclude, store.contacts.include):
            changed = change(draft_id, unknown)
            assert (changed.changed, {*changed.skipped}) == (0, {*unknown})
        removed = store.contacts.remove(draft_id, unknown)
        assert (removed.removed, removed.kept) == (0, ())
    own.check_totals()


def test_an_unknown_tenant_can_add_no_campaign(tenant: Tenant) -> None:
    unknown = attrs.evolve(tenant, id=uuid4())
    with open_store(unknown) as store:
        with refused(store, NotFound) as caught:
            store.campaigns.add(Campaign("New", STEPS))
        assert (caught.value.kind, caught.value.ids) == ("tenant", (unknown.id,))


def test_a_tenant_takes_over_its_own_expired_contacts_only(engine: sa.Engine) -> None:
    theirs, own = make_belongings(engine), new_tenant(engine)
    campaign = own.campaign("generating", contacts=2)
    claim_long_ago(own, campaign.id, 2)
    assert {claim.campaign_id for claim in own.claim(campaign.id, 10)} == {campaign.id}
    renewal = theirs.tenant.transact(lambda store: store.generation.renew(theirs.claims, LEASE))
    assert renewal.lost == ()


def test_failure_13_the_database_refuses_a_row_that_joins_two_tenants(engine: sa.Engine) -> None:
    theirs, own = make_belongings(engine), make_belongings(engine)
    tenant_id, their_id = own.tenant.id, theirs.tenant.id

    def contact(**values: Any) -> sa.Executable:
        row = {
            "id": uuid4(),
            "tenant_id": tenant_id,
            "campaign_id": own.draft.id,
            "contact_id": own.new_contact,
        }
        return sa.insert(campaign_contacts).values(**row | values)

    def message(**values: Any) -> sa.Executable:
        row = {"id": uuid4(), "tenant_id": tenant_id, "contact_id": own.contacts[0]}
        return sa.insert(HOST.messages).values(**row | {"channel": "email", "body": "b"} | values)

    def campaign(**values: Any) -> sa.Executable:
        return sa.update(campaigns).where(campaigns.c.id == own.draft.id).values(**values)

    def template(**values: Any) -> sa.Executable:
        own_template = campaign_templates.c.id == own.template.id
        return sa.update(campaign_templates).where(own_template).values(**values)

    # Rows of one tenant are accepted.
    execute(own.tenant, contact(id=(id_ := uuid4())))
    execute(own.tenant, sa.delete(campaign_contacts).where(campaign_contacts.c.id == id_))
    own_row = contact_rows(own.tenant, own.draft.id)[own.contacts[0]]
    execute(own.tenant, message(campaign_contact_id=own_row.id))

    their_row = contact_rows(theirs.tenant, theirs.draft.id)[theirs.contacts[0]]
    entry: dict[str, Any] = {"action": "approve", "source": "review", "target": "approved"}
    entry |= {"id": uuid4(), "version": 99}
    crossing: dict[str, sa.Executable] = {
        "another tenant's contact": contact(contact_id=theirs.contacts[0]),
        "an unknown contact": contact(contact_id=uuid4()),
        "another tenant's campaign": contact(campaign_id=theirs.draft.id),
        "another tenant, own campaign": contact(tenant_id=their_id),
        "no tenant": contact(tenant_id=None),
        "a campaign contact moved to another tenant": sa.update(campaign_contacts)
        .where(campaign_contacts.c.campaign_id == own.draft.id)
        .values(tenant_id=their_id),
        "another tenant's owner": campaign(owner_id=theirs.owner_id),
        "an unknown owner": campaign(owner_id=uuid4()),
        "a campaign moved to another tenant": campaign(tenant_id=their_id),
        "a campaign without a tenant": campaign(tenant_id=None),
        "totals of another tenant's campaign": sa.insert(campaign_totals).values(
            tenant_id=tenant_id, campaign_id=theirs.draft.id, shard=3
        ),
        "history of another tenant's campaign": sa.insert(campaign_history).values(
            tenant_id=tenant_id, campaign_id=theirs.draft.id, at=own.draft.created_at, **entry
        ),
        "a message to another tenant's campaign contact": message(campaign_contact_id=their_row.id),
        "a message to another tenant's contact": message(contact_id=theirs.contacts[0]),
        "a message of another tenant's campaign": message(campaign_id=theirs.draft.id),
        "a contact of another tenant's owner": sa.update(HOST.contacts)
        .where(HOST.contacts.c.id == own.new_contact)
        .values(owner_id=theirs.owner_id),
        "a tenant's template without its tenant": template(tenant_id=None),
        "a template of an unknown tenant": template(tenant_id=uuid4()),
        "a system template with a tenant": sa.update(campaign_templates)
        .where(campaign_templates.c.is_system)
        .values(tenant_id=tenant_id),
    }
    for what, statement in crossing.items():
        try:
            execute(own.tenant, statement)
        except sa.exc.IntegrityError:
            continue
        pytest.fail(f"the database accepted {what}")
    theirs.check_totals()
    own.check_totals()


def test_the_two_references_without_a_foreign_key_lead_to_no_other_tenant(
    engine: sa.Engine,
) -> None:
    """Both columns name rows that may be gone (ADR 42), so the database accepts any id."""
    theirs, own = make_belongings(engine), make_belongings(engine)
    # 1. The campaign names another tenant's template.
    update_row(own.tenant, campaigns, own.draft.id, template_id=theirs.template.id)
    with open_store(own.tenant) as store:
        copy = store.campaigns.clone(own.draft.id)
        for id_ in (own.draft.id, copy.id):
            assert store.campaigns.get(id_).template_id == theirs.template.id
        with refused(store, NotFound):
            store.templates.get(theirs.template.id)
        assert theirs.template.id not in {template.id for template in store.templates.list()}
    # 2. An erased claim names another tenant's contact and has the token of its claim.
    with engine.connect() as connection:
        their_rows = all_rows(connection, theirs.tenant.id)
    their_claim = theirs.claims[0]
    erased_claim = {"campaign_contact_id": their_claim.id, "token": their_claim.token}
    of_own_campaign = {"tenant_id": own.tenant.id, "campaign_id": own.running.id}
    insert = sa.insert(metadata.tables["campaign_erased_claims"])
    execute(own.tenant, insert.values(erased_claim | of_own_campaign))
    own_claim = attrs.evolve(their_claim, campaign_id=own.running.id)
    with open_store(own.tenant) as store:
        recorded = store.generation.record({own_claim: Generated(CENT)}, on_lost="book")
        assert recorded == {own_claim: Recorded.BOOKED}
        assert store.generation.progress(own.running.id).spent == CENT
    with engine.connect() as connection:
        assert all_rows(connection, theirs.tenant.id) == their_rows


@on_sqlite
def test_sqlite_stores_every_id_with_32_characters(engine: sa.Engine) -> None:
    own = make_belongings(engine)
    with open_store(own.tenant) as store:
        for table in metadata.sorted_tables:
            for column in table.columns:
                if isinstance(column.type, Uuid):
                    lengths = store.connection.scalars(
                        sa.select(sa.func.length(column)).where(column.is_not(None)).distinct()
                    ).all()
                    assert {*lengths} <= {32}, column
