"""``store.templates`` on every engine: the tenant's own, and the system's, which nobody changes."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import attrs
import pytest
import sqlalchemy as sa
from hypothesis import given, settings

from campaign_model import presets
from campaign_model._json import JsonObject
from campaign_model.campaign import Campaign, CampaignTemplate
from campaign_model.errors import Conflict, InvalidDocument, NotFound
from campaign_model.generation_config import GenerationConfig
from campaign_model.lifecycle import Status
from campaign_model.steps import Step, StepSequence
from campaign_model.store import CampaignStore
from campaign_model.store.tables import campaign_templates
from campaign_model.testing.sample_campaigns import STEPS
from campaign_model.testing.strategies import new_templates
from campaign_model.vocabulary import STANDARD, Channel
from campaign_model.wire import Codec
from support.parallel import on_postgresql
from support.transactions import behind, execute, refused, together
from support.world import World

EVERYWHERE = Codec(STANDARD.with_channel(Channel("carrier_pigeon")))


def template(name: str = "Own", **fields: Any) -> CampaignTemplate:
    config = GenerationConfig("direct", "en", extra={"x_seed": 1})
    return CampaignTemplate(
        name, **{"steps": STEPS, "generation_config": config, "description": "What for", **fields}
    )


def add(world: World, given_: CampaignTemplate) -> CampaignTemplate:
    return world.transact(lambda store: store.templates.add(given_))


def set_raw(world: World, id_: UUID, **values: Any) -> None:
    execute(
        world,
        sa.update(campaign_templates).where(campaign_templates.c.id == id_).values(**values),
    )


def test_a_template_comes_back_as_it_was_put_in(world: World) -> None:
    given_ = template()
    added = add(world, given_)
    got = world.transact(lambda store: store.templates.get(given_.id))
    assert added == got
    assert got == attrs.evolve(given_, created_at=got.created_at, updated_at=got.created_at)
    assert got.created_at is not None
    assert (got.is_system, got.version, got.repairs) == (False, 1, ())


def test_nobody_adds_a_system_template_or_another_version(world: World) -> None:
    for wrong in ({"is_system": True}, {"version": 7}):
        with pytest.raises(Conflict) as caught:
            add(world, template(**wrong))
        assert caught.value.reason == "read_only"


@given(new_templates(vocabulary=EVERYWHERE.vocabulary))
@settings(max_examples=15)
def test_any_template_comes_back_as_it_was_put_in(
    engine: sa.Engine, drawn: CampaignTemplate
) -> None:
    world = World(engine)
    new, steps = attrs.evolve(drawn, id=uuid4()), drawn.steps

    def work(store: CampaignStore) -> None:
        first = store.templates.add(new)
        assert first == attrs.evolve(new, created_at=first.created_at, updated_at=first.updated_at)
        second = store.templates.add(template("Another"))
        assert store.templates.replace_steps(second.id, steps).steps == steps
        assert store.templates.get(second.id).steps == steps

    world.transact(work, codec=EVERYWHERE)


def test_the_list_is_the_systems_then_ones_own_each_by_name(world: World) -> None:
    for name in ("b", "C", "a"):
        add(world, template(name))
    add(World(world.engine), template("of another tenant"))
    names = [one.name for one in world.transact(lambda store: store.templates.list())]
    system = sorted(one.name for one in presets.load())
    assert (names[: len(system)], sorted(names[len(system) :])) == (system, ["C", "a", "b"])
    assert names[-2:] == ["a", "b"]


def test_the_systems_templates_are_those_that_ship(world: World) -> None:
    for shipped in presets.load():
        found = world.transact(lambda store, shipped=shipped: store.templates.get(shipped.id))  # type: ignore[misc]
        assert found.is_system
        for field in ("name", "steps", "generation_config", "description"):
            assert getattr(found, field) == getattr(shipped, field)


def test_the_systems_templates_are_changed_by_no_method(world: World) -> None:
    def work(store: CampaignStore) -> None:
        for system in store.templates.list():
            changes: tuple[Callable[[], object], ...] = (
                lambda id_=system.id: store.templates.rename(id_, "Mine"),  # type: ignore[misc]
                lambda id_=system.id: store.templates.replace_steps(id_, STEPS),  # type: ignore[misc]
                lambda id_=system.id: store.templates.remove(id_),  # type: ignore[misc]
            )
            for change in changes:
                with refused(store, Conflict) as caught:
                    change()
                assert caught.value.reason == "read_only"
            with refused(store, Conflict) as caught:
                store.templates.add(template(id=system.id))
            assert caught.value.reason == "already_exists"

    world.transact(work)


def test_a_copy_of_a_system_template_is_ones_own(world: World) -> None:
    def work(store: CampaignStore) -> None:
        system = store.templates.list()[0]
        copy = store.templates.add(template(system.name, steps=system.steps))
        renamed = store.templates.rename(copy.id, "Renamed")
        assert (renamed.is_system, renamed.steps) == (False, system.steps)
        assert store.templates.get(system.id) == system

    world.transact(work)


def test_a_name_is_taken_once_in_a_tenant(world: World) -> None:
    first, second = add(world, template("One")), add(world, template("Two"))
    add(World(world.engine), template("One"))

    def work(store: CampaignStore) -> None:
        calls: tuple[Callable[[], object], ...] = (
            lambda: store.templates.add(template("One")),
            lambda: store.templates.add(template("Three", id=first.id)),
            lambda: store.templates.rename(second.id, "One"),
        )
        for call in calls:
            with refused(store, Conflict) as caught:
                call()
            assert caught.value.reason == "already_exists"
        assert store.templates.rename(first.id, "One").version == 2  # Its own name is no other's.

    world.transact(work)


def test_an_id_of_another_tenant_is_taken_too(world: World) -> None:
    theirs = add(World(world.engine), template("One"))

    def work(store: CampaignStore) -> None:
        with refused(store, Conflict) as caught:
            store.templates.add(template("Three", id=theirs.id))
        assert caught.value.reason == "already_exists"

    world.transact(work)


def test_an_edit_changes_what_it_says_and_the_version(world: World) -> None:
    present = add(world, template())
    renamed = world.transact(lambda store: store.templates.rename(present.id, "New", version=1))
    assert renamed == attrs.evolve(present, name="New", version=2, updated_at=renamed.updated_at)
    steps = STEPS.move("s1", 3)
    replaced = world.transact(
        lambda store: store.templates.replace_steps(present.id, steps, version=2)
    )
    assert replaced == attrs.evolve(renamed, steps=steps, version=3, updated_at=replaced.updated_at)
    assert world.transact(lambda store: store.templates.get(present.id)) == replaced


def test_what_no_template_may_be_is_refused(world: World) -> None:
    present = add(world, template())
    odd = StepSequence((*STEPS[:2], Step("carrier_pigeon", "Fly")))
    refusals: tuple[tuple[Callable[[CampaignStore], object], type[Exception]], ...] = (
        (lambda store: store.templates.rename(present.id, " "), InvalidDocument),
        (lambda store: store.templates.rename(present.id, "x", version=2), Conflict),
        (lambda store: store.templates.replace_steps(present.id, STEPS, version=0), Conflict),
        (lambda store: store.templates.remove(present.id, version=2), Conflict),
        (lambda store: store.templates.get(uuid4()), NotFound),
        (lambda store: store.templates.rename(uuid4(), "x"), NotFound),
        (lambda store: store.templates.replace_steps(uuid4(), STEPS), NotFound),
        (lambda store: store.templates.remove(uuid4()), NotFound),
        (lambda store: store.templates.add(template("Odd", steps=odd)), InvalidDocument),
        (lambda store: store.templates.replace_steps(present.id, odd), InvalidDocument),
        (
            lambda store: store.templates.add(
                template("Odd", generation_config=GenerationConfig(tone="sarcastic"))
            ),
            InvalidDocument,
        ),
    )

    def work(store: CampaignStore) -> None:
        for call, kind in refusals:
            with refused(store, kind) as caught:
                call(store)
            error = caught.value
            if isinstance(error, Conflict):
                assert error.reason == "stale_version"
            if isinstance(error, NotFound):
                assert error.kind == "template"
            if isinstance(error, InvalidDocument):
                assert {fault.path for fault in error.violations} <= {
                    "/name",
                    "/2/channel",
                    "/tone",
                }
        assert store.templates.get(present.id) == present

    world.transact(work)


def test_a_tenant_that_is_none_gets_no_template(world: World) -> None:
    nobody = World(world.engine)
    nobody.tenant_id = uuid4()

    def work(store: CampaignStore) -> None:
        with refused(store, NotFound) as caught:
            store.templates.add(template())
        assert (caught.value.kind, caught.value.ids) == ("tenant", (nobody.tenant_id,))

    nobody.transact(work)


def test_words_that_stand_in_a_template_already_may_stay(world: World) -> None:
    present = add(world, template())
    set_raw(
        world,
        present.id,
        steps='[{"channel": "carrier_pigeon"}]',
        default_config='{"tone": "sarcastic"}',
    )

    def work(store: CampaignStore) -> None:
        found = store.templates.get(present.id)
        assert {repair.code for repair in found.repairs} == {"defaulted"}
        assert store.templates.rename(present.id, "Renamed").generation_config.tone == "sarcastic"
        steps = found.steps.insert(2, Step("email", "Mail"))
        replaced = store.templates.replace_steps(present.id, steps)
        assert [step.channel for step in replaced.steps] == ["carrier_pigeon", "email"]
        assert replaced.generation_config.tone == "sarcastic"

    world.transact(work)


def test_a_removed_template_is_gone_and_its_campaigns_stay(world: World) -> None:
    present = add(world, template())
    campaign = world.transact(
        lambda store: store.campaigns.add(Campaign.from_template(present, "From it"))
    )
    world.transact(lambda store: store.templates.replace_steps(present.id, StepSequence()))
    world.transact(lambda store: store.templates.remove(present.id, version=2))

    def work(store: CampaignStore) -> None:
        with refused(store, NotFound):
            store.templates.get(present.id)
        assert store.campaigns.get(campaign.id) == campaign
        assert campaign.template_id == present.id
        renamed = store.campaigns.save(attrs.evolve(campaign, name="Renamed"))
        assert (renamed.steps, renamed.template_id) == (STEPS, present.id)
        assert store.campaigns.clone(campaign.id).steps == STEPS
        with refused(store, NotFound) as caught:
            store.campaigns.add(Campaign.from_template(present, "Too late"))
        assert (caught.value.kind, caught.value.ids) == ("template", (present.id,))

    world.transact(work)


@on_postgresql
def test_a_template_that_a_key_of_the_hosts_holds_is_kept(world: World) -> None:
    # Databases from before this library have such keys, and keep them.
    key = "ALTER TABLE campaigns ADD FOREIGN KEY (template_id) REFERENCES campaign_templates (id)"
    with world.engine.connect() as connection, connection.begin() as transaction:
        connection.execute(sa.text(f"{key} NOT VALID"))
        store = CampaignStore(connection, world.tenant_id)
        present = store.templates.add(template())
        store.campaigns.add(Campaign.from_template(present, "From it"))
        with refused(store, Conflict) as caught:
            store.templates.remove(present.id)
        assert caught.value.reason == "still_referred_to"
        transaction.rollback()


def test_of_two_at_once_who_want_a_name_one_gets_it(world: World) -> None:
    for run in (together, behind):
        name = f"Wanted by {run.__name__}"
        answers = run(
            world,
            *[lambda store, name=name: store.templates.add(template(name))] * 3,
        )
        found = world.transact(lambda store: store.templates.list())
        assert [one.name for one in found].count(name) == 1
        refusals = [one for one in answers if isinstance(one, Conflict)]
        assert [one.reason for one in refusals] == ["already_exists"] * 2


def test_of_two_edits_at_once_none_is_lost(world: World) -> None:
    present = add(world, template())
    steps = STEPS.remove("s1")
    (answer,) = behind(
        world,
        lambda store: store.templates.rename(present.id, "Renamed"),
        lambda store: store.templates.replace_steps(present.id, steps),
    )
    assert (answer.name, answer.steps, answer.version) == ("Renamed", steps, 3)
    edits = behind(
        world,
        lambda store: store.templates.rename(present.id, "Renamed again", version=3),
        lambda store: store.templates.replace_steps(present.id, STEPS, version=3),
        lambda store: store.templates.remove(present.id, version=3),
    )
    assert [one.reason for one in edits] == ["stale_version"] * 2
    (answer,) = behind(
        world,
        lambda store: store.templates.remove(present.id),
        lambda store: store.templates.rename(present.id, "Too late"),
    )
    assert isinstance(answer, NotFound)


def test_failure_11_a_template_that_nobody_can_read_is_refused_and_left_alone(
    world: World,
) -> None:
    present = add(world, template())
    set_raw(world, present.id, default_config='{"words": 9007199254740993}')

    def work(store: CampaignStore) -> None:
        calls: tuple[Callable[[], object], ...] = (
            lambda: store.templates.get(present.id),
            lambda: store.templates.rename(present.id, "New"),
            lambda: store.templates.replace_steps(present.id, STEPS),
            lambda: store.templates.remove(present.id),
        )
        for call in calls:
            with refused(store, InvalidDocument):
                call()

    world.transact(work)
    # It would spoil the list of whoever comes next.
    set_raw(world, present.id, default_config="{}")


@pytest.mark.parametrize("junk", [{}, None, [{"channel": 1}], [{"channel": "x", "enabled": 1}]])
def test_failure_11_the_database_refuses_steps_that_are_none(world: World, junk: Any) -> None:
    present = add(world, template())
    with pytest.raises(sa.exc.IntegrityError):
        set_raw(world, present.id, steps=json.dumps(junk))
    assert world.transact(lambda store: store.templates.get(present.id)) == present


def test_failure_20_a_disabled_step_stays_disabled_wherever_it_is_copied(world: World) -> None:
    enabled = [True, True, False]

    def on(steps: StepSequence) -> list[bool]:
        return [step.enabled for step in steps]

    assert on(STEPS) == enabled

    def work(store: CampaignStore) -> None:
        campaign = store.campaigns.add(
            Campaign("First", STEPS, GenerationConfig("casual", budget=Decimal(5)))
        )
        saved = store.templates.add(CampaignTemplate.from_campaign(campaign, "From the first"))
        assert on(saved.steps) == on(store.templates.get(saved.id).steps) == enabled
        # A budget is one campaign's money, and no template's.
        assert saved.generation_config == GenerationConfig("casual")
        applied = store.campaigns.add(Campaign.from_template(saved, "Second"))
        assert on(applied.steps) == on(store.campaigns.get(applied.id).steps) == enabled
        assert (applied.steps, applied.generation_config) == (STEPS, GenerationConfig("casual"))
        renamed = store.templates.rename(saved.id, "Renamed")
        replaced = store.templates.replace_steps(renamed.id, STEPS.move("s3", 1))
        assert on(replaced.steps) == [False, True, True]
        clone = store.campaigns.clone(applied.id)
        assert on(clone.steps) == enabled
        renamed_campaign = store.campaigns.save(attrs.evolve(clone, name="Renamed"))
        assert on(renamed_campaign.steps) == enabled
        ids = {slot.step_key for slot in renamed_campaign.steps.slots()}
        assert ids == {"s1", "s2"}

    world.transact(work)


def test_failure_20_the_shipped_sequence_keeps_its_third_mail_switched_off(world: World) -> None:
    def work(store: CampaignStore) -> None:
        for preset in store.templates.list():
            campaign = store.campaigns.add(Campaign.from_template(preset, "From it"))
            copy = store.templates.add(CampaignTemplate.from_campaign(campaign, preset.name))
            for one in (campaign, copy):
                assert one.steps == preset.steps
            assert store.campaigns.get(campaign.id).status is Status.DRAFT

    world.transact(work)
    disabled = [
        step.label
        for preset in world.transact(lambda store: store.templates.list())
        if not preset.is_system
        for step in preset.steps
        if not step.enabled
    ]
    assert len(disabled) == 1


def test_a_campaign_copies_its_templates_steps_once(world: World) -> None:
    source = add(world, template(steps=StepSequence([Step("email", "Old", extra={"x_a": 1})])))
    campaign = world.transact(
        lambda store: store.campaigns.add(Campaign.from_template(source, "From it"))
    )
    world.transact(lambda store: store.templates.replace_steps(source.id, STEPS))
    found = world.transact(lambda store: store.campaigns.get(campaign.id))
    assert (found.steps, found.template_id) == (source.steps, source.id)
    assert found.steps[0].extra == JsonObject({"x_a": 1})
