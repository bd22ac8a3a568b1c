"""One tenant per store: nothing of another is seen, changed or referred to, by any method."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import attrs
import pytest
import sqlalchemy as sa

from campaign_model.campaign import Campaign, CampaignTemplate
from campaign_model.campaign_contact import Assigned
from campaign_model.claims import Claim, Generated
from campaign_model.errors import NotFound
from campaign_model.lifecycle import Action, Status
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
from campaign_model.testing.sample_campaigns import STEPS
from support.transactions import CLAIMED_AT, contents, execute, refused, undone
from support.world import HOST, LEASE, World

CENT = Decimal("0.01")


@attrs.frozen
class Belongings:
    """What one tenant has: campaigns with contacts in flight and at rest, a template."""

    world: World
    resting: Campaign
    running: Campaign
    approved: Campaign
    template: CampaignTemplate
    contacts: tuple[UUID, ...]
    new_contact: UUID
    claims: tuple[Claim, ...]


def belongings(engine: sa.Engine) -> Belongings:
    world = World(engine)
    contacts = world.contacts(3)
    template = world.transact(lambda store: store.templates.add(CampaignTemplate("Own", STEPS)))
    resting = world.campaign(contacts)
    running = world.campaign(contacts, Status.GENERATING)
    claims = world.claim(running.id, 2)
    approved = world.campaign(contacts, Status.APPROVED)
    return Belongings(
        world,
        resting,
        running,
        approved,
        template,
        tuple(contacts),
        world.contacts(1)[0],
        claims,
    )


Call = Callable[[CampaignStore, Belongings], Any]

# Every public method of the four groups, called with what belongs to somebody.
CALLS: dict[str, Call] = {
    "campaigns.add": lambda store, of: store.campaigns.add(
        Campaign("New", STEPS, owner_id=of.world.owner_id, template_id=of.template.id)
    ),
    "campaigns.get": lambda store, of: (
        store.campaigns.get(of.resting.id),
        store.campaigns.get(of.resting.id, lock=True),
    ),
    "campaigns.list": lambda store, of: store.campaigns.list(
        owner_id=of.world.owner_id, template_id=of.template.id
    ),
    "campaigns.save": lambda store, of: store.campaigns.save(
        attrs.evolve(of.resting, name="Changed")
    ),
    "campaigns.apply": lambda store, of: store.campaigns.apply(of.resting.id, Action.DELETE),
    "campaigns.actions": lambda store, of: store.campaigns.actions(of.running.id),
    "campaigns.clone": lambda store, of: store.campaigns.clone(of.resting.id),
    "campaigns.history": lambda store, of: store.campaigns.history(of.running.id),
    "templates.add": lambda store, of: store.templates.add(
        attrs.evolve(of.template, id=uuid4(), name="New")
    ),
    "templates.get": lambda store, of: store.templates.get(of.template.id),
    "templates.list": lambda store, _: store.templates.list(),
    "templates.rename": lambda store, of: store.templates.rename(of.template.id, "Changed"),
    "templates.replace_steps": lambda store, of: store.templates.replace_steps(
        of.template.id, STEPS.move("s1", 2)
    ),
    "templates.remove": lambda store, of: store.templates.remove(of.template.id),
    "contacts.assign": lambda store, of: store.contacts.assign(of.resting.id, [of.new_contact]),
    "contacts.remove": lambda store, of: store.contacts.remove(of.resting.id, of.contacts),
    "contacts.exclude": lambda store, of: store.contacts.exclude(of.running.id, of.contacts),
    "contacts.include": lambda store, of: store.contacts.include(of.resting.id, of.contacts),
    "contacts.set_readiness": lambda store, of: store.contacts.set_readiness(
        of.running.id, dict.fromkeys(of.contacts, ("phone",))
    ),
    "contacts.erase": lambda store, of: store.contacts.erase(of.contacts),
    "contacts.list": lambda store, of: store.contacts.list(of.running.id),
    "contacts.exportable": lambda store, of: list(store.contacts.exportable(of.approved.id)),
    "contacts.overlaps": lambda store, of: store.contacts.overlaps(of.running.id),
    "generation.claim": lambda store, of: store.generation.claim(of.running.id, 5, LEASE),
    "generation.renew": lambda store, of: store.generation.renew(of.claims, LEASE),
    "generation.checkpoint": lambda store, of: store.generation.checkpoint(of.claims[0], CENT),
    "generation.record": lambda store, of: store.generation.record(
        dict.fromkeys(of.claims, Generated(CENT))
    ),
    "generation.release": lambda store, of: store.generation.release(of.claims),
    "generation.retry_failed": lambda store, of: store.generation.retry_failed(of.running.id),
    "generation.regenerate": lambda store, of: store.generation.regenerate(of.running.id),
    "generation.progress": lambda store, of: store.generation.progress(of.running.id),
    "generation.estimate": lambda store, of: store.generation.estimate(of.running.id),
}

# With nothing of a campaign or a template to name, another tenant gets nothing instead of an error.
NOTHING: dict[str, Callable[[Any], bool]] = {
    "campaigns.list": lambda answer: answer.items == (),
    "templates.list": lambda answer: all(one.is_system for one in answer),
    "contacts.erase": lambda answer: bool(answer == 0),
    "templates.add": lambda answer: answer.version == 1,
}


def test_every_public_method_of_the_store_is_called_here(world: World) -> None:
    def work(store: CampaignStore) -> set[str]:
        return {
            f"{group}.{name}"
            for group in ("campaigns", "templates", "contacts", "generation")
            for name, _ in inspect.getmembers(getattr(store, group), inspect.ismethod)
            if not name.startswith("_")
        }

    assert world.transact(work) == CALLS.keys()
    assert set(CampaignStore.__annotations__) == {
        "campaigns",
        "templates",
        "contacts",
        "generation",
    }


def test_failure_13_no_method_reaches_what_is_another_tenants(engine: sa.Engine) -> None:
    theirs = belongings(engine)
    stranger = World(engine)

    def work(store: CampaignStore) -> None:
        def everything() -> dict[str, list[str]]:
            return contents(store.connection, theirs.world.tenant_id)

        before = everything()
        for name, call in CALLS.items():
            if name in NOTHING:
                with undone(store):
                    assert NOTHING[name](call(store, theirs)), name
                    assert everything() == before, name
                continue
            with refused(store, NotFound, theirs.world.tenant_id) as caught:
                call(store, theirs)
            kinds = {"campaigns.add": {"template", "owner"}, "templates": {"template"}}
            group = name.partition(".")[0]
            expected = kinds.get(name) or kinds.get(group) or {"campaign"}
            assert caught.value.kind in expected, name

    stranger.transact(work)


def test_what_is_ones_own_is_reached_by_every_method(engine: sa.Engine) -> None:
    own = belongings(engine)

    def work(store: CampaignStore) -> None:
        for call in CALLS.values():
            with undone(store):
                call(store, own)

    own.world.transact(work)


def test_nothing_of_another_tenant_is_changed_or_counted_by_ones_own_work(
    engine: sa.Engine,
) -> None:
    theirs, own = belongings(engine), belongings(engine)
    own.world.transact(
        lambda store: [
            CALLS[name](store, own)
            for name in (
                "contacts.assign",
                "contacts.exclude",
                "contacts.set_readiness",
                "generation.record",
                "campaigns.clone",
                "campaigns.apply",
                "contacts.erase",
                "templates.remove",
            )
        ]
    )

    def unchanged(store: CampaignStore) -> None:
        assert store.campaigns.get(theirs.resting.id) == theirs.resting
        assert store.templates.get(theirs.template.id) == theirs.template
        counts = [one.total_contacts for one in store.campaigns.list().items]
        assert counts == [3, 3, 3]

    theirs.world.transact(unchanged)
    for one in (theirs, own):
        for campaign in (one.resting, one.running, one.approved):
            one.world.check(campaign.id)


def test_failure_13_an_owner_template_or_contact_of_another_tenant_is_refused(
    engine: sa.Engine,
) -> None:
    theirs, own = belongings(engine), belongings(engine)

    def work(store: CampaignStore) -> None:
        def fresh(**fields: Any) -> Campaign:
            return Campaign("New", STEPS, **fields)

        for owner_id in (theirs.world.owner_id, uuid4()):
            changed = attrs.evolve(own.resting, owner_id=owner_id)
            for call in (
                lambda id_=owner_id: store.campaigns.add(fresh(owner_id=id_)),
                lambda one=changed: store.campaigns.save(one),
            ):
                with refused(store, NotFound) as caught:
                    call()  # type: ignore[no-untyped-call]
                assert (caught.value.kind, caught.value.ids) == ("owner", (owner_id,))
        for template_id in (theirs.template.id, uuid4()):
            with refused(store, NotFound) as caught:
                store.campaigns.add(fresh(template_id=template_id))
            assert (caught.value.kind, caught.value.ids) == ("template", (template_id,))
        strangers = [*theirs.contacts, uuid4()]
        mixed = [strangers[0], own.new_contact, *strangers[1:]]
        answer = store.contacts.assign(own.resting.id, mixed)
        assert (answer.added, set(answer.unknown)) == (1, set(strangers))
        by_query = sa.select(HOST.contacts.c.id).where(HOST.contacts.c.id.in_(theirs.contacts))
        answer = store.contacts.assign(own.resting.id, by_query)
        assert answer == Assigned(0, 0, answer.unknown)
        assert set(answer.unknown) == set(theirs.contacts)
        for change in (store.contacts.exclude, store.contacts.include):
            done = change(own.resting.id, strangers)
            assert (done.changed, set(done.skipped)) == (0, set(strangers))
        removed = store.contacts.remove(own.resting.id, strangers)
        assert (removed.removed, removed.kept) == (0, ())

    own.world.transact(work)
    own.world.check(own.resting.id)


def test_a_tenant_that_is_none_gets_no_campaign(engine: sa.Engine) -> None:
    nobody = World(engine)
    nobody.tenant_id = uuid4()

    def work(store: CampaignStore) -> None:
        with refused(store, NotFound) as caught:
            store.campaigns.add(Campaign("New", STEPS))
        assert (caught.value.kind, caught.value.ids) == ("tenant", (nobody.tenant_id,))

    nobody.transact(work)


def test_failure_13_the_database_refuses_a_row_that_reaches_across_tenants(
    engine: sa.Engine,
) -> None:
    theirs, own = belongings(engine), belongings(engine)
    tenant = own.world.tenant_id
    mine = sa.select(campaign_contacts.c.id).where(
        campaign_contacts.c.campaign_id == own.resting.id,
        campaign_contacts.c.contact_id == own.contacts[0],
    )

    def contact(**values: Any) -> sa.Executable:
        row = {
            "id": uuid4(),
            "tenant_id": tenant,
            "campaign_id": own.resting.id,
            "contact_id": own.new_contact,
        }
        return sa.insert(campaign_contacts).values(**row | values)

    def message(**values: Any) -> sa.Executable:
        row = {"id": uuid4(), "tenant_id": tenant, "contact_id": own.contacts[0]}
        return sa.insert(HOST.messages).values(**row | {"channel": "email", "body": "b"} | values)

    execute(own.world, contact(id=(kept := uuid4())))
    execute(own.world, sa.delete(campaign_contacts).where(campaign_contacts.c.id == kept))
    execute(own.world, message(campaign_contact_id=mine.scalar_subquery()))
    entry = {"id": uuid4(), "version": 99, "action": "x", "source": "x", "target": "x"}
    moment = own.resting.created_at
    (their_row, *_) = theirs.world.rows(theirs.resting.id).values()
    crossing: dict[str, sa.Executable] = {
        "a contact of theirs": contact(contact_id=theirs.contacts[0]),
        "a contact of nobody": contact(contact_id=uuid4()),
        "a campaign of theirs": contact(campaign_id=theirs.resting.id),
        "their tenant, our campaign": contact(tenant_id=theirs.world.tenant_id),
        "no tenant": contact(tenant_id=None),
        "a row given away": sa.update(campaign_contacts)
        .where(campaign_contacts.c.campaign_id == own.resting.id)
        .values(tenant_id=theirs.world.tenant_id),
        "an owner of theirs": sa.update(campaigns)
        .where(campaigns.c.id == own.resting.id)
        .values(owner_id=theirs.world.owner_id),
        "an owner of nobody": sa.update(campaigns)
        .where(campaigns.c.id == own.resting.id)
        .values(owner_id=uuid4()),
        "a campaign given away": sa.update(campaigns)
        .where(campaigns.c.id == own.resting.id)
        .values(tenant_id=theirs.world.tenant_id),
        "a campaign of no tenant": sa.update(campaigns)
        .where(campaigns.c.id == own.resting.id)
        .values(tenant_id=None),
        "totals of their campaign": sa.insert(campaign_totals).values(
            tenant_id=tenant, campaign_id=theirs.resting.id, shard=3
        ),
        "history of their campaign": sa.insert(campaign_history).values(
            tenant_id=tenant, campaign_id=theirs.resting.id, at=moment, **entry
        ),
        "a message to their campaign contact": message(campaign_contact_id=their_row.id),
        "a tenant's template for all": sa.update(campaign_templates)
        .where(campaign_templates.c.id == own.template.id)
        .values(tenant_id=None),
        "a system's template for one": sa.update(campaign_templates)
        .where(campaign_templates.c.is_system)
        .values(tenant_id=tenant),
        "a template of no tenant that is": sa.update(campaign_templates)
        .where(campaign_templates.c.id == own.template.id)
        .values(tenant_id=uuid4()),
    }
    for what, statement in crossing.items():
        try:
            execute(own.world, statement)
        except sa.exc.IntegrityError:
            continue
        pytest.fail(f"accepted: {what}")
    for one in (theirs, own):
        for campaign in (one.resting, one.running, one.approved):
            one.world.check(campaign.id)


# The rules of every statement (what a sharded database asks for, and a plain one forgives).

_OURS = "|".join(metadata.tables)
_CLOCKS = re.compile(r"\bnow\(|clock_timestamp|CURRENT_TIMESTAMP|strftime|gen_random_uuid|nextval")


def test_every_statement_of_the_store_names_its_tenant_for_every_table(engine: sa.Engine) -> None:
    own = belongings(engine)
    found: dict[str, str] = {}

    def work(store: CampaignStore) -> None:
        for name, call in CALLS.items():
            with undone(store):
                current[0] = name
                call(store, own)

    current = [""]

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        found.setdefault(" ".join(statement.split()), current[0])

    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        own.world.transact(work)
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)
    of_tables = {one: name for one, name in found.items() if re.search(rf"\b({_OURS})\b", one)}
    assert {one for text in of_tables for one in re.findall(_OURS, text)} == set(metadata.tables)
    for statement, name in of_tables.items():
        inserts = re.search(rf"INSERT INTO ({_OURS}) \(([^)]*)\)", statement)
        if inserts:
            assert "tenant_id" in inserts[2], (name, statement)
        else:
            tables = re.findall(rf"\b(?:FROM|JOIN|UPDATE) ({_OURS})\b", statement)
            compared = re.findall(r"tenant_id\S* (?:=|IS NULL)", statement)
            assert len(compared) >= len(tables) > 0, (name, statement)
        if re.search(r"INSERT INTO|UPDATE \w+ SET|DELETE FROM", statement):
            assert not _CLOCKS.search(statement.replace(CLAIMED_AT, "")), (name, statement)


def test_ids_are_uuids_whoever_wrote_them(engine: sa.Engine) -> None:
    if engine.dialect.name != "sqlite":
        return  # PostgreSQL has a type for them.
    own = belongings(engine)

    def stored(store: CampaignStore) -> None:
        for table in metadata.sorted_tables:
            for column in table.columns:
                if isinstance(column.type, Uuid):
                    lengths = store.connection.scalars(
                        sa.select(sa.func.length(column)).where(column.is_not(None)).distinct()
                    ).all()
                    assert set(lengths) <= {36}, column

    own.world.transact(stored)


def test_a_lease_of_another_tenant_does_not_run_out_by_ones_own(engine: sa.Engine) -> None:
    theirs, own = belongings(engine), World(engine)
    campaign = own.campaign(2, Status.GENERATING)
    own.claim_overdue(campaign.id, 2)
    taken = own.claim(campaign.id, 10)
    assert {claim.campaign_id for claim in taken} == {campaign.id}
    answer = theirs.world.transact(lambda store: store.generation.renew(theirs.claims, LEASE))
    assert answer.lost == ()
