"""``store.campaigns`` on every engine: kept whole, edited by compare-and-set, moved by one door."""

from __future__ import annotations

import ast
import itertools
import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import attrs
import pytest
import sqlalchemy as sa
from hypothesis import given, settings

from campaign_model import lifecycle
from campaign_model import store as store_package
from campaign_model._json import JsonObject
from campaign_model.campaign import Campaign, CampaignTemplate, HistoryEntry
from campaign_model.claims import Failed, Generated, StopReason
from campaign_model.errors import Conflict, InvalidDocument, NotFound, TransitionNotAllowed
from campaign_model.generation_config import GenerationConfig
from campaign_model.lifecycle import (
    PERMISSIONS,
    Action,
    ContactStatus,
    Facts,
    Permission,
    ReviewTally,
    Status,
)
from campaign_model.steps import Step, StepSequence
from campaign_model.store import CampaignStore
from campaign_model.store.connection import database_time
from campaign_model.store.tables import (
    campaign_contacts,
    campaign_erased_claims,
    campaign_history,
    campaign_templates,
    campaign_totals,
    campaigns,
    metadata,
)
from campaign_model.testing.sample_campaigns import STEPS
from campaign_model.testing.strategies import drafts
from campaign_model.vocabulary import STANDARD, Channel
from campaign_model.wire import Codec
from support.parallel import transaction
from support.transactions import behind, contents, execute, refused, together, undone
from support.world import HOST, LEASE, World

EVERYWHERE = Codec(STANDARD.with_channel(Channel("carrier_pigeon")))

MOMENT = datetime(2026, 3, 1, 12, 30, 0, 123456, tzinfo=UTC)
RICH = Campaign(
    "Spring, Frühling 🌱",
    StepSequence(
        (
            Step("email", "Intro", key="intro", config={"tone": "casual", "n": [1, 1.5, None]}),
            Step("call_script", "Call", enabled=False, variant_count=3, extra={"x_a": {"b": True}}),
        )
    ),
    GenerationConfig(
        "direct", "de-AT", "Be brief", 2, Decimal("12.345678901"), extra={"x_seed": 7}
    ),
    description="Line one\nline two",
)


def raw(world: World, campaign_id: UUID) -> sa.Row[Any]:
    with world.engine.begin() as connection:
        return connection.execute(sa.select(campaigns).where(campaigns.c.id == campaign_id)).one()


def set_raw(world: World, campaign_id: UUID, **values: Any) -> None:
    execute(world, sa.update(campaigns).where(campaigns.c.id == campaign_id).values(**values))


def other_owner(world: World) -> UUID:
    id_ = uuid4()
    execute(world, sa.insert(HOST.owners).values(id=id_, tenant_id=world.tenant_id, name="another"))
    return id_


@contextmanager
def statements(engine: sa.Engine) -> Iterator[list[str]]:
    found: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        found.append(statement)

    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)


# Kept whole.


def test_a_campaign_comes_back_as_it_was_put_in(world: World) -> None:
    given_ = attrs.evolve(RICH, owner_id=world.owner_id)
    added = world.transact(lambda store: store.campaigns.add(given_))
    got = world.transact(lambda store: store.campaigns.get(given_.id))
    assert added == got
    assert got == attrs.evolve(given_, created_at=got.created_at, updated_at=got.created_at)
    assert got.created_at is not None
    assert got.repairs == ()
    assert world.transact(lambda store: store.campaigns.history(given_.id)) == ()
    world.check(given_.id)


@given(drafts(vocabulary=EVERYWHERE.vocabulary))
@settings(max_examples=20)
def test_any_campaign_comes_back_as_it_was_put_in(engine: sa.Engine, draft: Campaign) -> None:
    world = World(engine)
    campaign = attrs.evolve(draft, id=uuid4())

    def work(store: CampaignStore) -> Campaign:
        store.campaigns.add(campaign)
        return store.campaigns.get(campaign.id)

    found = world.transact(work, codec=EVERYWHERE)
    assert found == attrs.evolve(campaign, created_at=found.created_at, updated_at=found.updated_at)
    assert found.steps.fingerprint == campaign.steps.fingerprint


def test_the_store_tells_the_time_by_its_clock(world: World) -> None:
    at = iter(MOMENT + timedelta(seconds=n) for n in range(100))
    campaign = Campaign("Clocked", STEPS)

    def work(store: CampaignStore) -> tuple[Campaign, Campaign, Campaign]:
        added = store.campaigns.add(campaign)
        saved = store.campaigns.save(attrs.evolve(added, name="Renamed"))
        return added, saved, store.campaigns.apply(campaign.id, Action.DELETE)

    added, saved, moved = world.transact(work, clock=lambda _: next(at))
    assert added.created_at == added.updated_at == MOMENT
    assert saved.created_at == moved.created_at == MOMENT
    assert added.updated_at < saved.updated_at < moved.updated_at  # type: ignore[operator]
    (entry,) = world.transact(lambda store: store.campaigns.history(campaign.id))
    assert entry.at == moved.updated_at


def test_only_a_fresh_draft_is_added(world: World) -> None:
    stale: list[tuple[str, Any]] = [("is_active", False), ("version", 2)]
    stale += [("status", status) for status in Status if status is not Status.DRAFT]

    def work(store: CampaignStore) -> None:
        for name, value in stale:
            with refused(store, Conflict) as caught:
                store.campaigns.add(attrs.evolve(RICH, **{name: value}))
            assert (caught.value.reason, name in str(caught.value)) == ("read_only", True)

    world.transact(work)


def test_an_id_is_taken_once_whoever_has_it(world: World, engine: sa.Engine) -> None:
    campaign = world.campaign(1)

    def work(store: CampaignStore) -> None:
        with refused(store, Conflict, world.tenant_id) as caught:
            store.campaigns.add(attrs.evolve(RICH, id=campaign.id))
        assert caught.value.reason == "already_exists"

    world.transact(work)
    World(engine).transact(work)


def test_an_unknown_campaign_is_not_found_by_any_method(world: World) -> None:
    strange = attrs.evolve(RICH, id=uuid4())

    def work(store: CampaignStore) -> None:
        calls: tuple[Callable[[], object], ...] = (
            lambda: store.campaigns.get(strange.id),
            lambda: store.campaigns.get(strange.id, lock=True),
            lambda: store.campaigns.save(strange),
            lambda: store.campaigns.apply(strange.id, Action.DELETE),
            lambda: store.campaigns.actions(strange.id),
            lambda: store.campaigns.clone(strange.id),
            lambda: store.campaigns.history(strange.id),
        )
        for call in calls:
            with refused(store, NotFound) as caught:
                call()
            assert (caught.value.kind, caught.value.ids) == ("campaign", (strange.id,))

    world.transact(work)


def test_a_row_that_nobody_can_read_is_refused_and_left_alone(world: World) -> None:
    campaign = world.campaign(2, Status.READY)
    # An object, as the CHECK demands, but of no meaning.
    set_raw(world, campaign.id, generation_config='{"words": 9007199254740993}')

    def work(store: CampaignStore) -> None:
        calls: tuple[Callable[[], object], ...] = (
            lambda: store.campaigns.get(campaign.id),
            lambda: store.campaigns.save(attrs.evolve(campaign, name="New")),
            lambda: store.campaigns.apply(campaign.id, Action.START_GENERATION),
            lambda: store.campaigns.actions(campaign.id),
            lambda: store.campaigns.clone(campaign.id),
            lambda: store.campaigns.clone(campaign.id, name="Clone"),
        )
        for call in calls:
            with refused(store, InvalidDocument) as caught:
                call()
            assert [fault.path for fault in caught.value.violations] == ["/words"]
        assert [one.id for one in store.campaigns.list().items] == [campaign.id]

    world.transact(work)
    world.check(campaign.id)


def test_stored_documents_are_repaired_when_read_and_left_alone_by_other_edits(
    world: World,
) -> None:
    campaign = world.campaign(1)
    config = '[{"channel": "email", "x_kept": 1, "unknown": 2}]'
    set_raw(world, campaign.id, template_config=config)
    before = raw(world, campaign.id).template_config

    def work(store: CampaignStore) -> Campaign:
        found = store.campaigns.get(campaign.id)
        assert {repair.code for repair in found.repairs} == {"defaulted"}
        return store.campaigns.save(attrs.evolve(found, name="Other"))

    assert world.transact(work).steps[0].extra == JsonObject({"x_kept": 1, "unknown": 2})
    assert raw(world, campaign.id).template_config == before


# Lists.


def test_a_list_is_walked_by_pages_whatever_the_filters_and_equal_moments(world: World) -> None:
    rng = random.Random(7)
    owners = (world.owner_id, other_owner(world), None)
    templates = world.transact(lambda store: [one.id for one in store.templates.list()])
    known: list[Campaign] = []

    def fill(store: CampaignStore) -> None:
        for number in range(14):
            campaign = store.campaigns.add(
                Campaign(
                    f"Number {number}",
                    STEPS,
                    owner_id=owners[number % 3],
                    template_id=templates[number % 2] if number % 4 else None,
                )
            )
            known.append(campaign)
            # Few moments for many campaigns, added in no order.
            moment = MOMENT + timedelta(microseconds=rng.randrange(3))
            store.connection.execute(
                sa.update(campaigns)
                .where(campaigns.c.id == campaign.id)
                .values(created_at=moment, status=rng.choice(list(Status)).value)
            )
        store.connection.execute(
            sa.update(campaigns)
            .where(campaigns.c.tenant_id == world.tenant_id, campaigns.c.status == "archived")
            .values(is_active=False)
        )

    world.transact(fill)
    World(world.engine).campaign(1)
    stored = world.transact(lambda store: [store.campaigns.get(one.id) for one in known])
    stored.sort(key=lambda one: (one.created_at, one.id), reverse=True)

    def expected(
        status: frozenset[Status] | None,
        owner: UUID | None,
        template: UUID | None,
        *,
        deleted: bool,
    ) -> list[UUID]:
        return [
            one.id
            for one in stored
            if (status is None or one.status in status)
            and (owner is None or one.owner_id == owner)
            and (template is None or one.template_id == template)
            and (deleted or one.is_active)
        ]

    def walk(store: CampaignStore) -> None:
        choices = itertools.product(
            (None, frozenset({Status.DRAFT, Status.ARCHIVED}), frozenset[Status]()),
            owners,
            (None, templates[0]),
            (False, True),
            (2, 5, 50),
        )
        for status, owner, template, deleted, limit in choices:
            found: list[UUID] = []
            after = None
            while True:
                page = store.campaigns.list(
                    status=status,
                    owner_id=owner,
                    template_id=template,
                    deleted=deleted,
                    limit=limit,
                    after=after,
                )
                found += [one.id for one in page.items]
                assert len(page.items) == limit or page.next is None
                after = page.next
                if after is None:
                    break
                assert page.items
            assert found == expected(status, owner, template, deleted=deleted)

    world.transact(walk)


def test_a_page_that_was_begun_goes_on_where_it_ended(world: World) -> None:
    for _ in range(4):
        world.campaign(0)

    def work(store: CampaignStore) -> None:
        everything = [one.id for one in store.campaigns.list().items]
        first = store.campaigns.list(limit=2)
        store.campaigns.add(attrs.evolve(RICH, id=uuid4()))  # Newer than all that are listed.
        rest = store.campaigns.list(limit=2, after=first.next)
        assert [one.id for one in (*first.items, *rest.items)] == everything
        assert rest.next is None

    world.transact(work)


def test_a_list_refuses_what_is_no_page(world: World) -> None:
    def work(store: CampaignStore) -> None:
        for limit in (0, -1, 501, 1.5, True, "1; --"):
            with refused(store, ValueError):
                store.campaigns.list(limit=limit)  # type: ignore[arg-type]
        early = (
            "MDAwMS0wMS0wMVQwMDowMDowMCswMjowMCA2YjFmNmEwZS0zYzU1LTRkMGItOWE1OC0wZjJiN2QxYzllNDc="
        )
        for after in ("", "x", "é", "\ud800", "bm9wZQ==", "bm9wZSBub3Bl", early):
            with refused(store, ValueError):
                store.campaigns.list(after=after)

    world.transact(work)


def test_a_summary_says_what_the_junction_and_the_legacy_columns_say(world: World) -> None:
    ids = world.contacts(8)
    campaign = world.campaign(ids, Status.GENERATING)
    first, second, third, _ = world.claim(campaign.id, 4)
    failed = Failed("no_email", "there is no address", Decimal(0))
    with transaction(world) as store:
        store.contacts.set_readiness(campaign.id, {ids[5]: [], ids[6]: ["phone"]})
        store.contacts.exclude(campaign.id, ids[7:])
        # Last, because the legacy columns do not hear of it before the campaign rests.
        store.generation.record(
            {first: Generated(Decimal("0.00144")), second: Generated(None), third: failed}
        )
    assert {row.status for row in world.rows(campaign.id).values()} == {*ContactStatus}
    (summary,) = world.transact(lambda store: store.campaigns.list().items)
    assert (
        summary.total_contacts,
        summary.generated_count,
        summary.generation_cost,
        summary.unknown_costs,
    ) == (7, 2, Decimal("0.00144"), 1)
    stored = world.transact(lambda store: store.campaigns.get(campaign.id))
    for field in ("id", "name", "status", "is_active", "owner_id", "template_id", "version"):
        assert getattr(summary, field) == getattr(stored, field)
    assert (summary.created_at, summary.updated_at) == (stored.created_at, stored.updated_at)
    world.apply(campaign.id, Action.CANCEL_GENERATION)
    assert world.legacy(campaign.id) == (7, 2, Decimal("0.00144"))
    world.check(campaign.id)


# Saved: compare-and-set, only what changed, and only where the status allows it.

EDITS: dict[str, Callable[[Campaign, World], dict[str, Any]]] = {
    "name": lambda _, __: {"name": "Other name"},
    "description": lambda _, __: {"description": "Other description"},
    "owner_id": lambda _, world: {"owner_id": world.owner_id},
    "template_config": lambda one, _: {"steps": one.steps.move("s1", 2)},
    "generation_config": lambda one, _: {
        "generation_config": attrs.evolve(one.generation_config, language="fr")
    },
}


def test_a_save_writes_the_changed_columns_and_no_others(world: World) -> None:
    campaign = world.campaign(1)

    def work(store: CampaignStore) -> None:
        for size in range(len(EDITS) + 1):
            for names in itertools.combinations(EDITS, size):
                changes: dict[str, Any] = {}
                for name in names:
                    changes |= EDITS[name](campaign, world)
                with undone(store), statements(world.engine) as found:
                    wanted = attrs.evolve(campaign, **changes)
                    saved = store.campaigns.save(wanted)
                    updates = [one for one in found if one.startswith("UPDATE")]
                    if not names:
                        assert (updates, saved) == ([], campaign)
                        continue
                    (update,) = updates
                    written = {
                        column.split("=")[0].strip()
                        for column in update.partition(" SET ")[2]
                        .partition(" WHERE ")[0]
                        .split(", ")
                    }
                    assert written == {*names, "version", "updated_at"}
                    assert saved == attrs.evolve(wanted, version=2, updated_at=saved.updated_at)
                    assert saved == store.campaigns.get(campaign.id)

    world.transact(work)


def test_what_others_count_on_the_row_survives_a_save(world: World) -> None:
    loaded = world.campaign(2)
    ids = world.contacts(2)

    def others(store: CampaignStore) -> None:
        store.contacts.assign(loaded.id, ids)
        store.campaigns.clone(loaded.id)

    world.transact(others)
    before = raw(world, loaded.id)
    world.transact(lambda store: store.campaigns.save(attrs.evolve(loaded, name="New")))
    after = raw(world, loaded.id)
    changed = {name for name in before._mapping if before._mapping[name] != after._mapping[name]}
    assert changed == {"name", "version", "updated_at"}
    assert (after.total_contacts, after.next_position, after.clone_count) == (4, 4, 1)


CONFIG = GenerationConfig(tone="casual", budget=Decimal(10))
CHANGES: dict[str, tuple[dict[str, Any], set[Permission]]] = {
    "nothing": ({}, set()),
    "name": ({"name": "Other"}, {Permission.EDIT_DETAILS}),
    "description": ({"description": "Other"}, {Permission.EDIT_DETAILS}),
    "owner": ({"owner_id": ...}, {Permission.EDIT_DETAILS}),
    "steps reordered": ({"steps": STEPS.move("s1", 3)}, {Permission.EDIT_STEPS}),
    "steps switched": ({"steps": STEPS.update("s1", enabled=False)}, {Permission.EDIT_STEPS}),
    "keys stamped": ({"steps": STEPS.move("s1", 1)}, {Permission.EDIT_STEPS}),
    "no steps": ({"steps": StepSequence()}, {Permission.EDIT_STEPS}),
    "tone": ({"generation_config": attrs.evolve(CONFIG, tone="direct")}, {Permission.EDIT_CONFIG}),
    "budget up": (
        {"generation_config": attrs.evolve(CONFIG, budget=Decimal(11))},
        {Permission.RAISE_BUDGET},
    ),
    "budget up by a nano-unit": (
        {"generation_config": attrs.evolve(CONFIG, budget=Decimal("10.000000001"))},
        {Permission.RAISE_BUDGET},
    ),
    "budget down": (
        {"generation_config": attrs.evolve(CONFIG, budget=Decimal(9))},
        {Permission.EDIT_CONFIG},
    ),
    "no budget": (
        {"generation_config": attrs.evolve(CONFIG, budget=None)},
        {Permission.EDIT_CONFIG},
    ),
    "budget up and tone": (
        {"generation_config": attrs.evolve(CONFIG, tone="direct", budget=Decimal(11))},
        {Permission.EDIT_CONFIG},
    ),
    "budget up and extra": (
        {"generation_config": attrs.evolve(CONFIG, budget=Decimal(11), extra={"x_a": 1})},
        {Permission.EDIT_CONFIG},
    ),
    "name and steps": (
        {"name": "Other", "steps": StepSequence()},
        {Permission.EDIT_DETAILS, Permission.EDIT_STEPS},
    ),
    "name and budget up": (
        {"name": "Other", "generation_config": attrs.evolve(CONFIG, budget=Decimal(11))},
        {Permission.EDIT_DETAILS, Permission.RAISE_BUDGET},
    ),
}


def test_every_kind_of_change_is_saved_in_the_statuses_that_allow_it_and_in_no_other(
    world: World,
) -> None:
    campaign = world.transact(lambda store: store.campaigns.add(Campaign("Edited", STEPS, CONFIG)))

    def work(store: CampaignStore) -> None:
        for status in Status:
            store.connection.execute(
                sa.update(campaigns).where(campaigns.c.id == campaign.id).values(status=status)
            )
            present = store.campaigns.get(campaign.id)
            for what, (changes, needed) in CHANGES.items():
                if "owner_id" in changes:
                    changes = {"owner_id": world.owner_id}  # noqa: PLW2901
                wanted = attrs.evolve(present, **changes)
                if all(status in PERMISSIONS[permission] for permission in needed):
                    with undone(store):
                        saved = store.campaigns.save(wanted)
                        assert saved.version == present.version + bool(changes), what
                        assert store.campaigns.get(campaign.id) == saved
                    continue
                with refused(store, TransitionNotAllowed) as caught:
                    store.campaigns.save(wanted)
                assert caught.value.source == status
                assert caught.value.action in needed, what

    world.transact(work)


def test_no_budget_becomes_a_budget_only_at_rest(world: World) -> None:
    campaign = world.campaign(1, Status.GENERATING)
    wanted = attrs.evolve(campaign, generation_config=CONFIG)

    def work(store: CampaignStore) -> None:
        with refused(store, TransitionNotAllowed) as caught:
            store.campaigns.save(wanted)
        assert caught.value.action == Permission.EDIT_CONFIG

    world.transact(work)


def test_what_only_a_move_changes_cannot_be_saved(world: World) -> None:
    campaign = world.campaign(1)
    saved = {"name", "description", "owner_id", "steps", "generation_config"}
    answers = {"id", "version", "updated_at", "repairs"}
    others: dict[str, Any] = {
        "status": Status.READY,
        "is_active": False,
        "template_id": uuid4(),
        "created_at": MOMENT,
        "generation_started_at": MOMENT,
        "generation_completed_at": MOMENT,
    }
    assert saved | answers | others.keys() == {field.name for field in attrs.fields(Campaign)}

    def work(store: CampaignStore) -> None:
        for name, value in others.items():
            with refused(store, Conflict) as caught:
                store.campaigns.save(attrs.evolve(campaign, name="New", **{name: value}))
            assert (caught.value.reason, name in str(caught.value)) == ("read_only", True)
        odd = attrs.evolve(campaign, updated_at=None, repairs=())
        assert store.campaigns.save(odd) == campaign
        # Somebody who knows nothing of versions wrote in between.
        with refused(store, Conflict) as caught:
            store.campaigns.save(attrs.evolve(campaign, name="New", updated_at=MOMENT))
        assert caught.value.reason == "stale_version"

    world.transact(work)


def test_a_version_that_is_not_the_present_one_is_stale(world: World) -> None:
    campaign = world.campaign(1)

    def work(store: CampaignStore) -> None:
        for version in (0, 2, 99):
            for name in ("New", campaign.name):
                with refused(store, Conflict) as caught:
                    store.campaigns.save(attrs.evolve(campaign, version=version, name=name))
                assert caught.value.reason == "stale_version"
            for action in Action:
                with refused(store, Conflict) as caught:
                    store.campaigns.apply(campaign.id, action, version=version)
                assert caught.value.reason == "stale_version"
        moved = store.campaigns.apply(campaign.id, Action.MARK_READY, version=1)
        assert moved.version == 2

    world.transact(work)


def test_words_that_nobody_knows_are_refused_but_may_stay_where_they_stand(world: World) -> None:
    campaign = world.campaign(1)
    odd = Step("carrier_pigeon", "Fly")
    strange = GenerationConfig(tone="sarcastic")

    def refuse(store: CampaignStore) -> None:
        for value in (
            Campaign("New", (StepSequence((STEPS[0], odd)))),
            attrs.evolve(campaign, steps=campaign.steps.insert(2, odd)),
        ):
            with refused(store, InvalidDocument) as caught:
                (store.campaigns.add if value.name == "New" else store.campaigns.save)(value)
            assert [fault.path for fault in caught.value.violations] == ["/1/channel"]
            assert caught.value.document == "template_config"
        for value in (
            Campaign("New", STEPS, strange),
            attrs.evolve(campaign, generation_config=strange),
        ):
            with refused(store, InvalidDocument) as caught:
                (store.campaigns.add if value.name == "New" else store.campaigns.save)(value)
            assert [fault.path for fault in caught.value.violations] == ["/tone"]

    world.transact(refuse)
    # Another service, with words of its own, wrote them.
    set_raw(
        world,
        campaign.id,
        template_config=json.dumps([{"channel": "carrier_pigeon", "label": "Fly"}]),
        generation_config='{"tone": "sarcastic"}',
    )

    def stay(store: CampaignStore) -> None:
        present = store.campaigns.get(campaign.id)
        renamed = store.campaigns.save(attrs.evolve(present, name="Renamed"))
        again = store.campaigns.save(
            attrs.evolve(
                renamed,
                steps=renamed.steps.update("s1", label="Fly on"),
                generation_config=attrs.evolve(renamed.generation_config, language="en"),
            )
        )
        assert (again.steps[0].channel, again.generation_config.tone) == (
            "carrier_pigeon",
            "sarcastic",
        )

    world.transact(stay)


# Moved: every status and action, through the store, as the table and the facts say.

TALLIES = (None, ReviewTally(2, 1, 0), ReviewTally(0, 3, 0), ReviewTally(2, 0, 1))


def shape(world: World, name: str) -> UUID:
    """A campaign that is generating, with contacts in many ways."""
    if name == "empty":
        return world.transact(lambda store: store.campaigns.add(Campaign("Empty"))).id
    budget = Decimal("0.05") if name == "budget" else None
    campaign = world.campaign(5, Status.GENERATING, budget=budget)
    if name == "waiting":
        return campaign.id
    reserve = Decimal("0.01")
    if name == "flying":
        world.claim(campaign.id, 1, LEASE)
        world.claim_overdue(campaign.id, 1)
        claims = world.claim(campaign.id, 1)
        world.transact(
            lambda store: store.generation.record({claims[0]: Generated(Decimal("0.5"))})
        )
        return campaign.id
    claims = world.claim(campaign.id, 5 if name == "done" else 3, reserve=reserve)
    cost = Decimal("0.0166") if budget else Decimal("0.01")
    world.transact(
        lambda store: store.generation.record({claim: Generated(cost) for claim in claims})
    )
    if budget:
        world.claim(
            campaign.id, 1, reserve=reserve
        )  # It gets nothing: the budget is as good as spent.
    else:
        execute(
            world,
            sa.update(campaign_contacts)
            .where(campaign_contacts.c.id == claims[0].id)
            .values(steps_fingerprint="of other steps"),
        )
    return campaign.id


def counted(world: World, campaign_id: UUID, now: datetime) -> Facts:
    """The facts, counted from the junction and in no other way."""
    rows = world.rows(campaign_id).values()
    campaign = world.transact(lambda store: store.campaigns.get(campaign_id))
    flying = [row for row in rows if row.status == ContactStatus.GENERATING]
    expired = sum(row.lease_expires_at <= now for row in flying)
    waiting = sum(row.status in lifecycle.CLAIMABLE for row in rows)
    budget = campaign.generation_config.budget
    spent = sum((row.generation_cost + row.reserved for row in rows), Decimal(0))
    return Facts(
        enabled_steps=sum(step.enabled for step in campaign.steps),
        contacts=sum(row.status != ContactStatus.EXCLUDED for row in rows),
        claimable=waiting + expired,
        in_flight=len(flying) - expired,
        generated=sum(row.status == ContactStatus.GENERATED for row in rows),
        budget_exhausted=budget is not None and spent + Decimal("0.01") > budget,
    )


def same(error: TransitionNotAllowed | None, other: TransitionNotAllowed | None) -> bool:
    return (error and attrs.astuple(error)) == (other and attrs.astuple(other))


@pytest.mark.parametrize("name", ["empty", "waiting", "flying", "done", "budget"])
def test_every_action_from_every_status_does_what_the_table_says(world: World, name: str) -> None:
    campaign_id = shape(world, name)
    now = world.transact(lambda store: database_time(store.connection))
    facts = counted(world, campaign_id, now)
    assert (facts.in_flight, facts.claimable) == {
        "empty": (0, 0),
        "waiting": (0, 5),
        "flying": (1, 3),
        "done": (0, 0),
        "budget": (0, 2),
    }[name]

    def moved(store: CampaignStore, before: Campaign, action: Action, **options: Any) -> None:
        line = lifecycle.apply(before.status, action, attrs.evolve(facts, **options))
        after = store.campaigns.apply(campaign_id, action, reason="why", **options)
        assert after == store.campaigns.get(campaign_id)
        assert (after.status, after.is_active) == (line.target, not line.deletes)
        assert after.version == before.version + 1
        started = action is Action.START_GENERATION
        completed = action is Action.COMPLETE_GENERATION
        assert (after.generation_started_at != before.generation_started_at) == started
        assert after.generation_completed_at == (after.updated_at if completed else None)
        changed = {"status", "is_active", "version", "updated_at"}
        changed |= {"generation_started_at", "generation_completed_at"}
        others = {field: getattr(before, field) for field in changed}
        assert attrs.evolve(after, **others) == before
        (entry,) = store.campaigns.history(campaign_id)[-1:]
        assert entry == HistoryEntry(
            after.updated_at, action, before.status, line.target, after.version, "ann", "why"
        )

    def every(
        store: CampaignStore, before: Campaign, only: Action | None = None, **options: Any
    ) -> None:
        known = attrs.evolve(facts, **options)
        states = store.campaigns.actions(campaign_id, **options)
        assert [state.action for state in states] == list(Action)
        for state in states:
            if only not in (None, state.action):
                continue
            expected = lifecycle.why_not(before.status, state.action, known)
            assert same(state.error, expected), state.action
            if expected is None:
                with undone(store):
                    moved(store, before, state.action, **options)
                continue
            with pytest.raises(TransitionNotAllowed) as caught:
                store.campaigns.apply(campaign_id, state.action, **options)
            assert same(caught.value, expected), state.action

    def from_everywhere(store: CampaignStore) -> None:
        for status in Status:
            store.connection.execute(
                sa.update(campaigns).where(campaigns.c.id == campaign_id).values(status=status)
            )
            before = contents(store.connection, world.tenant_id)
            present = store.campaigns.get(campaign_id)
            every(store, present)
            if status in lifecycle.sources(Action.APPROVE):
                for review, empty in itertools.product(TALLIES, (False, True)):
                    every(store, present, Action.APPROVE, review=review, allow_empty=empty)
            # What was allowed is undone, what was refused has written nothing.
            assert contents(store.connection, world.tenant_id) == before

    world.transact(from_everywhere, actor="ann")
    world.check(campaign_id)


def test_a_status_is_not_an_action(world: World) -> None:
    campaign = world.campaign(1)

    def work(store: CampaignStore) -> None:
        for word in ("generating", "Delete", ""):
            with refused(store, ValueError):
                store.campaigns.apply(campaign.id, word)  # type: ignore[arg-type]
        with refused(store, ValueError):
            store.campaigns.apply(campaign.id, Action.DELETE, reason="a\0b")
        assert store.campaigns.apply(campaign.id, "delete").status is Status.ARCHIVED  # type: ignore[arg-type]

    world.transact(work)


def test_the_history_tells_who_moved_what_when_and_why(world: World) -> None:
    campaign = world.campaign(2, Status.READY)
    path = (
        (Action.RETURN_TO_DRAFT, "ann", "too early"),
        (Action.MARK_READY, "bob", None),
        (Action.START_GENERATION, None, None),
        (Action.CANCEL_GENERATION, "ann", "Grüße 🌱"),
    )
    for action, actor, reason in path:
        world.transact(
            lambda store, action=action, reason=reason: store.campaigns.apply(  # type: ignore[misc]
                campaign.id, action, reason=reason
            ),
            actor=actor,
        )
    world.transact(
        lambda store: store.campaigns.save(
            attrs.evolve(store.campaigns.get(campaign.id), name="An edit is no move")
        )
    )
    _, *history = world.transact(lambda store: store.campaigns.history(campaign.id))
    assert [(one.action, one.actor, one.reason) for one in history] == list(path)
    assert [one.version for one in history] == [3, 4, 5, 6]
    assert all(a.target is b.source for a, b in itertools.pairwise(history))
    assert all(a.at <= b.at for a, b in itertools.pairwise(history))
    assert world.transact(lambda store: store.campaigns.get(campaign.id)).version == 7


def test_reviews_are_counted_on_the_stores_connection_once_the_campaign_is_locked(
    world: World,
) -> None:
    campaign = world.campaign(1, Status.REVIEW)
    seen: list[sa.Connection] = []

    def work(store: CampaignStore) -> None:
        def tally(connection: sa.Connection) -> ReviewTally:
            seen.append(connection)
            if connection.dialect.name == "postgresql":
                with world.engine.connect() as other, pytest.raises(sa.exc.OperationalError):
                    other.execute(
                        sa.select(campaigns.c.id)
                        .where(campaigns.c.id == campaign.id)
                        .with_for_update(read=True, nowait=True)
                    )
            return ReviewTally(1, 0, 0)

        assert store.campaigns.apply(campaign.id, Action.APPROVE, review=tally).status == "approved"
        assert seen == [store.connection]

    world.transact(work)


def test_a_review_that_cannot_be_counted_moves_nothing(world: World) -> None:
    campaign = world.campaign(1, Status.REVIEW)

    def broken(_: sa.Connection) -> ReviewTally:
        raise LookupError

    def work(store: CampaignStore) -> None:
        with refused(store, LookupError):
            store.campaigns.apply(campaign.id, Action.APPROVE, review=broken)

    world.transact(work)


def test_a_message_that_came_in_while_approval_waited_is_counted(world: World) -> None:
    campaign = world.campaign(1, Status.REVIEW)
    (contact,) = world.rows(campaign.id).values()

    def regenerated(store: CampaignStore) -> None:
        store.campaigns.get(campaign.id, lock=True)
        store.connection.execute(
            sa.insert(HOST.messages).values(
                id=uuid4(),
                tenant_id=world.tenant_id,
                campaign_id=campaign.id,
                campaign_contact_id=contact.id,
                contact_id=contact.contact_id,
                channel="email",
                body="new",
            )
        )

    def approve(store: CampaignStore) -> Campaign:
        def tally(connection: sa.Connection) -> ReviewTally:
            messages = sa.select(sa.func.count()).where(
                HOST.messages.c.campaign_id == campaign.id, HOST.messages.c.status == "draft"
            )
            return ReviewTally(1, 0, connection.execute(messages).scalar_one())

        return store.campaigns.apply(campaign.id, Action.APPROVE, review=tally)

    (answer,) = behind(world, regenerated, approve)
    assert isinstance(answer, TransitionNotAllowed)
    assert [unmet.guard for unmet in answer.unmet] == ["nothing_undecided"]


def test_a_locked_campaign_holds_off_every_change_until_the_end(world: World) -> None:
    campaign = world.campaign(1)
    changes: tuple[Callable[[CampaignStore], object], ...] = (
        lambda store: store.campaigns.save(attrs.evolve(campaign, name="Renamed")),
        lambda store: store.campaigns.apply(campaign.id, Action.MARK_READY).status,
        lambda store: store.campaigns.get(campaign.id, lock=True).name,
        lambda store: store.campaigns.clone(campaign.id).name,
    )
    for change in changes:
        (answer,) = behind(world, lambda store: store.campaigns.get(campaign.id, lock=True), change)
        assert not isinstance(answer, Exception)


def test_reading_waits_for_nobody(world: World) -> None:
    if world.engine.dialect.name == "sqlite":
        return  # One transaction at a time: everybody waits.
    campaign = world.campaign(1)
    reads: tuple[Callable[[CampaignStore], object], ...] = (
        lambda store: store.campaigns.get(campaign.id).status,
        lambda store: store.campaigns.list().items[0].status,
        lambda store: store.campaigns.actions(campaign.id)[0].allowed,
        lambda store: len(store.campaigns.history(campaign.id)),
        lambda store: store.generation.progress(campaign.id).total,
        lambda store: len(store.contacts.list(campaign.id).items),
    )
    for read in reads:
        behind(
            world,
            lambda store: store.campaigns.apply(campaign.id, Action.MARK_READY),
            read,
            commit=False,
            waiting=False,
        )


# Cloned.


def test_a_clone_has_everything_but_the_run(world: World) -> None:
    original = world.transact(
        lambda store: store.campaigns.add(
            attrs.evolve(
                RICH,
                id=uuid4(),
                owner_id=world.owner_id,
                template_id=store.templates.list()[0].id,
            )
        )
    )
    clone = world.transact(lambda store: store.campaigns.clone(original.id))
    assert clone == attrs.evolve(
        original,
        id=clone.id,
        name=f"{original.name} (copy)",
        created_at=clone.created_at,
        updated_at=clone.updated_at,
    )
    assert clone.id != original.id
    assert world.transact(lambda store: store.campaigns.get(original.id)) == original


@pytest.mark.parametrize("status", Status)
def test_failure_14_a_clone_carries_no_state_of_the_run_along(world: World, status: Status) -> None:
    original = world.campaign(2, status, budget=Decimal(5))
    clone = world.transact(lambda store: store.campaigns.clone(original.id, name="Clone"))
    assert (clone.name, clone.status, clone.version, clone.is_active) == (
        "Clone",
        Status.DRAFT,
        1,
        True,
    )
    assert (clone.steps, clone.generation_config) == (original.steps, original.generation_config)
    row = raw(world, clone.id)
    fresh = raw(
        world, world.transact(lambda store: store.campaigns.add(attrs.evolve(RICH, id=uuid4()))).id
    )
    content = {"id", "name", "description", "template_config", "generation_config"}
    content |= {"created_at", "updated_at"}
    assert {name: row._mapping[name] for name in row._mapping.keys() - content} == {
        name: fresh._mapping[name] for name in row._mapping.keys() - content
    }
    assert world.rows(clone.id) == {}
    assert world.transact(lambda store: store.campaigns.history(clone.id)) == ()
    world.check(clone.id)


def test_failure_14_clones_made_at_once_have_names_of_their_own(world: World) -> None:
    original = world.transact(
        lambda store: store.campaigns.add(
            attrs.evolve(RICH, id=uuid4(), name="N" * 500, owner_id=world.owner_id)
        )
    )
    clones = together(world, *[lambda store: store.campaigns.clone(original.id)] * 6)
    (last,) = behind(
        world,
        lambda store: store.campaigns.clone(original.id),
        lambda store: store.campaigns.clone(original.id),
    )
    endings = ["(copy)", *(f"(copy {number})" for number in range(2, 9))]
    assert sorted(clone.name[-8:].strip("N ") for clone in (*clones, last)) == sorted(
        one for one in endings if one != "(copy 7)"
    )
    for clone in (*clones, last):
        assert len(clone.name) == 500
        assert (clone.steps, clone.generation_config, clone.description, clone.owner_id) == (
            RICH.steps,
            RICH.generation_config,
            RICH.description,
            world.owner_id,
        )


def test_a_clone_that_waited_for_a_save_has_what_was_saved(world: World) -> None:
    campaign = world.campaign(1)
    steps = campaign.steps.remove("s1")
    (clone,) = behind(
        world,
        lambda store: store.campaigns.save(attrs.evolve(campaign, steps=steps)),
        lambda store: store.campaigns.clone(campaign.id),
    )
    assert (clone.steps, clone.name) == (steps, "Campaign (copy)")


def test_a_clone_of_a_name_that_no_campaign_may_have_leaves_nothing(world: World) -> None:
    campaign = world.campaign(1)

    def work(store: CampaignStore) -> None:
        for name in ("", " ", "N" * 501, "a\0b"):
            with refused(store, InvalidDocument):
                store.campaigns.clone(campaign.id, name=name)
        assert store.campaigns.clone(campaign.id).name == "Campaign (copy)"

    world.transact(work)


# Failure modes.


def test_failure_01_of_many_starts_at_once_exactly_one_wins(world: World) -> None:
    def start(store: CampaignStore) -> Campaign:
        return store.campaigns.apply(campaign.id, Action.START_GENERATION)

    campaign = world.campaign(3, Status.READY)
    answers = together(world, *[start] * 6)
    won = [one for one in answers if isinstance(one, Campaign)]
    lost = [one for one in answers if isinstance(one, TransitionNotAllowed)]
    assert (len(won), len(lost)) == (1, 5)
    assert {(one.source, one.unmet) for one in lost} == {(Status.GENERATING, ())}
    history = world.transact(lambda store: store.campaigns.history(campaign.id))
    assert [one.action for one in history] == [Action.MARK_READY, Action.START_GENERATION]
    assert len(world.claim(campaign.id)) == 3
    world.check(campaign.id)


@pytest.mark.parametrize("commit", [True, False])
def test_failure_01_the_second_start_waits_for_what_becomes_of_the_first(
    world: World, *, commit: bool
) -> None:
    def start(store: CampaignStore) -> Campaign:
        return store.campaigns.apply(campaign.id, Action.START_GENERATION)

    campaign = world.campaign(3, Status.READY)
    answers = behind(world, start, start, start, commit=commit)
    won = [one for one in answers if isinstance(one, Campaign)]
    assert len(won) == (0 if commit else 1)
    for lost in answers:
        if isinstance(lost, TransitionNotAllowed):
            assert (lost.source, lost.unmet) == (Status.GENERATING, ())
    assert raw(world, campaign.id).version == campaign.version + 1
    world.check(campaign.id)


def test_failure_02_after_a_cancel_the_next_run_goes_to_its_end(world: World) -> None:
    campaign = world.campaign(4, Status.GENERATING)
    for _ in range(2):
        world.claim_overdue(campaign.id, 1)
        world.apply(campaign.id, Action.CANCEL_GENERATION)
        batch = world.transact(lambda store: store.generation.claim(campaign.id, 9, LEASE))
        assert (batch.claims, batch.stop) == ((), StopReason.NOT_GENERATING)
        started = world.apply(campaign.id, Action.START_GENERATION)
        assert started.status is Status.GENERATING
    world.generate(campaign.id)
    batch = world.transact(lambda store: store.generation.claim(campaign.id, 9, LEASE))
    assert batch.stop is StopReason.DRAINED
    done = world.apply(campaign.id, Action.COMPLETE_GENERATION)
    assert done.status is Status.REVIEW
    assert world.legacy(campaign.id) == (4, 4, Decimal("0.04"))
    world.check(campaign.id)


def test_failure_03_one_of_two_saves_at_once_is_told_and_nothing_is_erased(world: World) -> None:
    loaded = world.campaign(1)
    languages = attrs.evolve(
        loaded, generation_config=attrs.evolve(loaded.generation_config, language="fr")
    )
    tones = attrs.evolve(
        loaded, generation_config=attrs.evolve(loaded.generation_config, tone="direct")
    )
    (answer,) = behind(
        world,
        lambda store: store.campaigns.save(languages),
        lambda store: store.campaigns.save(tones),
    )
    assert isinstance(answer, Conflict)
    assert answer.reason == "stale_version"
    stored = world.transact(lambda store: store.campaigns.get(loaded.id))
    assert stored.generation_config == languages.generation_config
    fresh = World(world.engine)
    again = fresh.campaign(1)
    answers = together(
        fresh,
        *[
            lambda store, name=name: store.campaigns.save(attrs.evolve(again, name=name))
            for name in ("One", "Two", "Three")
        ],
    )
    (won,) = (one for one in answers if isinstance(one, Campaign))
    lost = [one for one in answers if isinstance(one, Conflict)]
    assert [one.reason for one in lost] == ["stale_version"] * 2
    assert fresh.transact(lambda store: store.campaigns.get(again.id)) == won


@pytest.mark.parametrize("saved_first", [True, False])
def test_failure_03_a_save_erases_no_cancel(world: World, *, saved_first: bool) -> None:
    loaded = world.campaign(1, Status.GENERATING, budget=Decimal(1))
    raised = attrs.evolve(
        loaded, generation_config=attrs.evolve(loaded.generation_config, budget=Decimal(2))
    )

    def save(store: CampaignStore) -> Campaign:
        return store.campaigns.save(raised)

    def cancel(store: CampaignStore) -> Campaign:
        return store.campaigns.apply(loaded.id, Action.CANCEL_GENERATION)

    first, second = (save, cancel) if saved_first else (cancel, save)
    (answer,) = behind(world, first, second)
    stored = world.transact(lambda store: store.campaigns.get(loaded.id))
    assert stored.status is Status.READY
    if saved_first:
        assert answer == stored
        assert stored.generation_config.budget == 2
    else:
        assert isinstance(answer, Conflict)
        assert answer.reason == "stale_version"
        assert stored.generation_config.budget == 1


def test_failure_08_the_database_refuses_a_status_that_is_none(world: World) -> None:
    campaign = world.campaign(2)
    one = next(iter(world.rows(campaign.id).values()))
    refusals: list[sa.Executable] = []
    for word in (None, "", "Draft", "draft ", "running", "deleted"):
        refusals += [
            sa.update(campaigns).where(campaigns.c.id == campaign.id).values(status=word),
            sa.update(campaign_contacts)
            .where(campaign_contacts.c.id == one.id)
            .values(status=word),
        ]
    refusals += [
        sa.update(campaigns)
        .where(campaigns.c.id == campaign.id)
        .values(status=status, is_active=False)
        for status in Status
        if status is not Status.ARCHIVED
    ]
    for statement in refusals:
        with pytest.raises(sa.exc.IntegrityError):
            execute(world, statement)
    for campaign_status in Status:
        set_raw(world, campaign.id, status=campaign_status)
    for contact_status in ContactStatus:
        execute(
            world,
            sa.update(campaign_contacts)
            .where(campaign_contacts.c.id == one.id)
            .values(status=contact_status),
        )


def test_failure_08_no_code_of_the_store_names_a_status() -> None:
    words = {str(word) for word in (*Status, *ContactStatus)}
    directory = Path(str(store_package.__file__)).parent
    found = []
    for file in sorted(directory.rglob("*.py")):
        tree = ast.parse(file.read_text("utf-8"))
        said = {
            id(node.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        }
        found += [
            f"{file.name}:{node.lineno}: {node.value!r}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in said
            and (node.value in words or any(f"'{word}'" in node.value for word in words))
        ]
    assert found == []


def test_failure_09_nothing_gets_stuck_in_generating(world: World) -> None:
    def unmet(campaign_id: UUID, action: Action) -> set[str]:
        with pytest.raises(TransitionNotAllowed) as caught:
            world.apply(campaign_id, action)
        return {one.guard for one in caught.value.unmet}

    silent = StepSequence(attrs.evolve(step, enabled=False) for step in STEPS)
    empty = world.transact(lambda store: store.campaigns.add(Campaign("Empty"))).id
    assert unmet(empty, Action.MARK_READY) == {"has_enabled_steps", "has_contacts"}
    mute = world.campaign(2, steps=silent)
    assert unmet(mute.id, Action.MARK_READY) == {"has_enabled_steps"}

    # What held when it became ready need not hold when it starts.
    ready = world.campaign(2, Status.READY)
    ids = list(world.rows(ready.id))
    world.transact(
        lambda store: store.campaigns.save(
            attrs.evolve(store.campaigns.get(ready.id), steps=silent)
        )
    )
    world.transact(lambda store: store.contacts.exclude(ready.id, ids[:1]))
    world.transact(lambda store: store.contacts.set_readiness(ready.id, {ids[1]: ["phone"]}))
    assert unmet(ready.id, Action.START_GENERATION) == {
        "has_enabled_steps",
        "has_contacts_to_generate",
    }
    assert unmet(ready.id, Action.SUBMIT_FOR_REVIEW) == {"something_generated"}

    # Everything generated: back to review without a run.
    done = world.campaign(2, Status.REVIEW)
    world.apply(done.id, Action.REQUEST_CHANGES)
    assert unmet(done.id, Action.START_GENERATION) == {"has_contacts_to_generate"}
    assert world.apply(done.id, Action.SUBMIT_FOR_REVIEW).status is Status.REVIEW

    # Everything excluded while it ran: the run can end.
    running = world.campaign(2, Status.GENERATING)
    world.claim(running.id, 1)
    assert unmet(running.id, Action.COMPLETE_GENERATION) == {
        "nothing_left_to_claim",
        "nothing_in_flight",
    }
    flying = list(world.rows(running.id))
    world.transact(lambda store: store.contacts.exclude(running.id, flying))
    assert world.apply(running.id, Action.COMPLETE_GENERATION).status is Status.REVIEW
    for campaign_id in (empty, mute.id, ready.id, done.id, running.id):
        world.check(campaign_id)


def test_failure_11_the_database_refuses_steps_that_no_reader_could_read(world: World) -> None:
    campaign = world.campaign(1)
    template = world.transact(
        lambda store: store.templates.add(CampaignTemplate.from_campaign(campaign, "Good"))
    )
    good = {"channel": "email"}
    junk: tuple[Any, ...] = (
        {},
        "[]",
        None,
        5,
        {"steps": [good]},
        [[good]],
        [good, None],
        ["email"],
        [{}],
        [{"channel": 5}],
        [{"channel": None}],
        [good | {"variant_count": 4}],
        [good | {"variant_count": "2"}],
        [good | {"enabled": "yes"}],
        [good | {"enabled": None}],
        [good | {"day_offset": -1}],
        [good | {"condition": "sometimes"}],
        [good | {"config": []}],
        [good] * 21,
    )
    before = world.transact(lambda store: contents(store.connection, world.tenant_id))
    for document in junk:
        for table, column, id_ in (
            (campaigns, "template_config", campaign.id),
            (campaign_templates, "steps", template.id),
        ):
            with pytest.raises(sa.exc.IntegrityError):
                execute(
                    world,
                    sa.update(table)
                    .where(table.c.id == id_)
                    .values({column: json.dumps(document)}),
                )
    for document in ([], "{}", None, 5):
        for table, column, id_ in (
            (campaigns, "generation_config", campaign.id),
            (campaign_templates, "default_config", template.id),
        ):
            with pytest.raises(sa.exc.IntegrityError):
                execute(
                    world,
                    sa.update(table)
                    .where(table.c.id == id_)
                    .values({column: json.dumps(document)}),
                )
    assert world.transact(lambda store: contents(store.connection, world.tenant_id)) == before


def test_failure_18_nothing_is_approved_by_accident(world: World) -> None:
    campaign = world.campaign(2, Status.REVIEW)

    def work(store: CampaignStore) -> None:
        for tally, guard in (
            (None, "review_counted"),
            (ReviewTally(0, 0, 0), "something_approved"),
            (ReviewTally(0, 4, 0), "something_approved"),
            (ReviewTally(4, 0, 1), "nothing_undecided"),
        ):
            for review in (tally, lambda _, tally=tally: tally):
                with refused(store, TransitionNotAllowed) as caught:
                    store.campaigns.apply(campaign.id, Action.APPROVE, review=review)
                assert [one.guard for one in caught.value.unmet] == [guard]
        with refused(store, TransitionNotAllowed):
            store.campaigns.apply(campaign.id, Action.APPROVE, allow_empty=True)
        with undone(store):
            meant = store.campaigns.apply(
                campaign.id, Action.APPROVE, review=ReviewTally(0, 4, 0), allow_empty=True
            )
            assert meant.status is Status.APPROVED
        some = store.campaigns.apply(campaign.id, Action.APPROVE, review=ReviewTally(1, 3, 0))
        assert some.status is Status.APPROVED

    world.transact(work)


def test_failure_19_messages_keep_their_step_however_the_steps_are_edited(world: World) -> None:
    campaign = world.campaign(2, Status.REVIEW)
    assert [step.key for step in campaign.steps] == [None, None, None]
    rows = list(world.rows(campaign.id).values())
    slots = {slot.step_key: slot for slot in campaign.steps.slots() if slot.variant == "a"}
    messages = {
        (row.id, slot.step_key): slot.message_id(row.id, row.revision)
        for row in rows
        for slot in slots.values()
    }
    world.transact(
        lambda store: store.connection.execute(
            sa.insert(HOST.messages),
            [
                {
                    "id": id_,
                    "tenant_id": world.tenant_id,
                    "campaign_id": campaign.id,
                    "campaign_contact_id": row_id,
                    "contact_id": next(row.contact_id for row in rows if row.id == row_id),
                    "step_key": key,
                    "channel": "email",
                    "body": "written before the edit",
                }
                for (row_id, key), id_ in messages.items()
            ],
        )
    )
    before = world.transact(
        lambda store: contents(store.connection, world.tenant_id)[HOST.messages.name]
    )
    world.apply(campaign.id, Action.REQUEST_CHANGES)
    labels = {key: campaign.steps.by_key(key).label for key in slots}
    edits: tuple[Callable[[StepSequence], StepSequence], ...] = (
        lambda steps: steps.move("s2", 1),
        lambda steps: steps.insert(1, Step("call_script", "Call")),
        lambda steps: steps.update("s3", enabled=True),
        lambda steps: steps.remove("s3"),
        lambda steps: steps.update(steps.keys[0], label="Ring"),
    )
    for edit in edits:
        stored = world.transact(
            lambda store, edit=edit: store.campaigns.save(  # type: ignore[misc]
                attrs.evolve(present := store.campaigns.get(campaign.id), steps=edit(present.steps))
            )
        ).steps
        documents = json.loads(raw(world, campaign.id).template_config)
        assert [one["key"] for one in documents] == list(stored.keys)
        assert {key: stored.by_key(key).label for key in labels} == labels
        now = {slot.step_key: slot for slot in stored.slots() if slot.variant == "a"}
        for row in rows:
            for key in slots:
                assert now[key].message_id(row.id, row.revision) == messages[row.id, key]
    after = world.transact(
        lambda store: contents(store.connection, world.tenant_id)[HOST.messages.name]
    )
    assert after == before
    page = world.transact(lambda store: store.contacts.list(campaign.id))
    assert [one.stale for one in page.items] == [True, True]


def test_failure_24_a_deleted_campaign_and_an_archived_one_are_told_apart(world: World) -> None:
    archived = world.campaign(1, Status.ARCHIVED)
    deleted = world.apply(world.campaign(1).id, Action.DELETE, reason="a mistake")
    assert (archived.status, archived.is_active) == (Status.ARCHIVED, True)
    assert (deleted.status, deleted.is_active) == (Status.ARCHIVED, False)

    def ids(**filters: Any) -> set[UUID]:
        page = world.transact(lambda store: store.campaigns.list(**filters))
        assert all(one.is_active == (one.id == archived.id) for one in page.items)
        return {one.id for one in page.items}

    assert ids() == {archived.id}
    assert ids(status={Status.ARCHIVED}) == {archived.id}
    assert ids(deleted=True) == {archived.id, deleted.id}
    for campaign, action in ((archived, Action.ARCHIVE), (deleted, Action.DELETE)):
        history = world.transact(
            lambda store, campaign=campaign: store.campaigns.history(campaign.id)  # type: ignore[misc]
        )
        assert history[-1].action is action
    # Only a draft is deleted, and neither comes back.
    for status in Status:
        campaign = world.campaign(1, status)
        if status is not Status.DRAFT:
            with pytest.raises(TransitionNotAllowed):
                world.apply(campaign.id, Action.DELETE)
    for campaign in (archived, deleted):
        for action in Action:
            with pytest.raises(TransitionNotAllowed):
                world.apply(campaign.id, action)


def test_every_table_of_the_library_is_compared_before_and_after() -> None:
    # What `refused` sees of the database is all that the store may write to.
    assert {
        table.name
        for table in (
            campaigns,
            campaign_contacts,
            campaign_erased_claims,
            campaign_totals,
            campaign_history,
            campaign_templates,
        )
    } == set(metadata.tables)
