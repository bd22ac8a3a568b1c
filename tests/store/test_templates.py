"""``store.templates``: the tenant's own templates, and system templates that are read-only."""

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

from campaign_model import db, presets
from campaign_model._json import JsonObject
from campaign_model.campaign import Campaign, CampaignTemplate
from campaign_model.errors import Conflict, InvalidDocument, NotFound
from campaign_model.generation_config import GenerationConfig
from campaign_model.lifecycle import Status
from campaign_model.steps import Step, StepSequence
from campaign_model.store import CampaignStore
from campaign_model.store.tables import campaign_templates
from campaign_model.store.templates import PRESET_IDS
from campaign_model.testing.parallel import Work
from campaign_model.testing.sample_campaigns import STEPS, Tenant
from campaign_model.testing.strategies import new_templates
from campaign_model.vocabulary import STANDARD, Channel
from campaign_model.wire import Codec
from support.tenants import new_tenant, update_row
from support.transactions import on_postgresql, open_store, refused, run_together, run_while_open

OTHER_CHANNEL = Codec(STANDARD.with_channel(Channel("carrier_pigeon")))


def template(name: str = "Own", **fields: Any) -> CampaignTemplate:
    config = GenerationConfig("direct", "en", extra={"x_seed": 1})
    return CampaignTemplate(
        name, **{"steps": STEPS, "generation_config": config, "description": "What for", **fields}
    )


def add(tenant: Tenant, new_template: CampaignTemplate) -> CampaignTemplate:
    return tenant.transact(lambda store: store.templates.add(new_template))


# Add, get and list.


@given(new_templates(vocabulary=OTHER_CHANNEL.vocabulary))
@settings(max_examples=15)
def test_an_added_template_is_read_unchanged(engine: sa.Engine, drawn: CampaignTemplate) -> None:
    new, steps = attrs.evolve(drawn, id=uuid4()), drawn.steps

    def work(store: CampaignStore) -> None:
        added = store.templates.add(new)
        assert added == attrs.evolve(new, created_at=added.created_at, updated_at=added.created_at)
        assert added.created_at is not None
        assert (added.is_system, added.version, added.repairs) == (False, 1, ())
        assert store.templates.get(new.id) == added
        other = store.templates.add(template("Another"))
        assert store.templates.replace_steps(other.id, steps).steps == steps
        assert store.templates.get(other.id).steps == steps

    new_tenant(engine).transact(work, codec=OTHER_CHANNEL)


def test_only_a_new_template_of_the_tenant_can_be_added(tenant: Tenant) -> None:
    for wrong_field in ({"is_system": True}, {"version": 7}):
        with pytest.raises(Conflict) as caught:
            add(tenant, template(**wrong_field))
        assert caught.value.reason == "read_only"


def test_a_list_has_system_templates_and_then_own_ones_by_name(tenant: Tenant) -> None:
    for name in ("b", "C", "a"):
        add(tenant, template(name))
    add(new_tenant(tenant.engine), template("of another tenant"))
    names = [one.name for one in tenant.transact(lambda store: store.templates.list())]
    system_names = sorted(preset.name for preset in presets.load())
    number = len(system_names)
    assert (names[:number], sorted(names[number:])) == (system_names, ["C", "a", "b"])
    assert names[-2:] == ["a", "b"]


# System templates.


def test_the_system_templates_are_the_presets(tenant: Tenant) -> None:
    with open_store(tenant) as store:
        for preset in presets.load():
            system_template = store.templates.get(preset.id)
            assert system_template.is_system
            for field in ("name", "steps", "generation_config", "description"):
                assert getattr(system_template, field) == getattr(preset, field)


def test_no_method_changes_a_system_template(tenant: Tenant) -> None:
    with open_store(tenant) as store:
        for system_template in store.templates.list():
            id_ = system_template.id
            changes: tuple[Callable[[], object], ...] = (
                lambda: store.templates.rename(id_, "Mine"),  # noqa: B023
                lambda: store.templates.replace_steps(id_, STEPS),  # noqa: B023
                lambda: store.templates.remove(id_),  # noqa: B023
            )
            for change in changes:
                with refused(store, Conflict) as caught:
                    change()
                assert caught.value.reason == "read_only"
            with refused(store, Conflict) as caught:
                store.templates.add(template(id=id_))
            assert caught.value.reason == "already_exists"


def test_a_copy_of_a_system_template_can_be_edited(tenant: Tenant) -> None:
    with open_store(tenant) as store:
        system_template = store.templates.list()[0]
        copy = store.templates.add(template(system_template.name, steps=system_template.steps))
        renamed = store.templates.rename(copy.id, "Renamed")
        assert (renamed.is_system, renamed.steps) == (False, system_template.steps)
        assert store.templates.get(system_template.id) == system_template


# Names, ids and edits.


def test_a_name_is_unique_in_a_tenant_and_an_id_in_all_tenants(tenant: Tenant) -> None:
    first, second = add(tenant, template("One")), add(tenant, template("Two"))
    of_other_tenant = add(new_tenant(tenant.engine), template("One"))
    with open_store(tenant) as store:
        calls: tuple[Callable[[], object], ...] = (
            lambda: store.templates.add(template("One")),
            lambda: store.templates.add(template("Three", id=first.id)),
            lambda: store.templates.add(template("Three", id=of_other_tenant.id)),
            lambda: store.templates.rename(second.id, "One"),
        )
        for call in calls:
            with refused(store, Conflict) as caught:
                call()
            assert caught.value.reason == "already_exists"
        # A template may keep its own name.
        assert store.templates.rename(first.id, "One").version == 2


def test_an_id_of_another_tenant_is_taken_like_any_other(tenant: Tenant) -> None:
    """Nothing in the answer tells whose template has the id, not even for a future preset."""
    own, other = add(tenant, template("Own")), add(new_tenant(tenant.engine), template("Other"))
    preset = presets.load()[0]
    future_preset_id = UUID(int=preset.id.int + 1000)
    assert all(one.id.int in PRESET_IDS for one in presets.load())
    answers = []
    with open_store(tenant) as store:
        for id_ in (own.id, other.id, preset.id, future_preset_id):
            with refused(store, Conflict) as caught:
                store.templates.add(template("New", id=id_))
            answers.append(caught.value.to_dict())
    assert answers == [answers[0]] * 4
    assert answers[0]["reason"] == "already_exists"


def test_a_tenant_cannot_take_the_id_of_a_preset_before_it_is_synced(tenant: Tenant) -> None:
    """Whoever adds the template first has the id, because it is the primary key."""
    last = max(presets.load(), key=lambda preset: preset.id)
    following = attrs.evolve(last, id=UUID(int=last.id.int + 1), name="Next version")
    with open_store(tenant) as store, refused(store, Conflict):
        store.templates.add(template(id=following.id))
    with tenant.engine.connect() as connection:
        report = db.sync_presets(connection, (following,))
        connection.rollback()
    assert report.inserted == ("Next version",)


def test_an_edit_changes_one_field_and_the_version(tenant: Tenant) -> None:
    present = add(tenant, template())
    renamed = tenant.transact(lambda store: store.templates.rename(present.id, "New", version=1))
    assert renamed == attrs.evolve(present, name="New", version=2, updated_at=renamed.updated_at)
    steps = STEPS.move("s1", 3)
    replaced = tenant.transact(
        lambda store: store.templates.replace_steps(present.id, steps, version=2)
    )
    assert replaced == attrs.evolve(renamed, steps=steps, version=3, updated_at=replaced.updated_at)
    assert tenant.transact(lambda store: store.templates.get(present.id)) == replaced


def test_wrong_templates_and_stale_versions_are_refused(tenant: Tenant) -> None:
    present = add(tenant, template())
    unknown_channel = StepSequence((*STEPS[:2], Step("carrier_pigeon", "Fly")))
    unknown_tone = GenerationConfig(tone="sarcastic")
    refusals: tuple[tuple[Callable[[CampaignStore], object], type[Exception]], ...] = (
        (lambda store: store.templates.rename(present.id, " "), InvalidDocument),
        (lambda store: store.templates.rename(present.id, "x", version=2), Conflict),
        (lambda store: store.templates.replace_steps(present.id, STEPS, version=0), Conflict),
        (lambda store: store.templates.remove(present.id, version=2), Conflict),
        (lambda store: store.templates.get(uuid4()), NotFound),
        (lambda store: store.templates.rename(uuid4(), "x"), NotFound),
        (lambda store: store.templates.replace_steps(uuid4(), STEPS), NotFound),
        (lambda store: store.templates.remove(uuid4()), NotFound),
        (
            lambda store: store.templates.add(template("Odd", steps=unknown_channel)),
            InvalidDocument,
        ),
        (lambda store: store.templates.replace_steps(present.id, unknown_channel), InvalidDocument),
        (
            lambda store: store.templates.add(template("Odd", generation_config=unknown_tone)),
            InvalidDocument,
        ),
    )
    with open_store(tenant) as store:
        for call, error_type in refusals:
            with refused(store, error_type) as caught:
                call(store)
            error = caught.value
            if isinstance(error, Conflict):
                assert error.reason == "stale_version"
            if isinstance(error, NotFound):
                assert error.kind == "template"
            if isinstance(error, InvalidDocument):
                paths = {violation.path for violation in error.violations}
                assert paths <= {"/name", "/2/channel", "/tone"}
        assert store.templates.get(present.id) == present


def test_an_unknown_tenant_can_add_no_template(tenant: Tenant) -> None:
    unknown = attrs.evolve(tenant, id=uuid4())
    with open_store(unknown) as store:
        with refused(store, NotFound) as caught:
            store.templates.add(template())
        assert (caught.value.kind, caught.value.ids) == ("tenant", (unknown.id,))


def test_unknown_words_that_are_stored_already_may_stay(tenant: Tenant) -> None:
    present = add(tenant, template())
    update_row(
        tenant,
        campaign_templates,
        present.id,
        steps='[{"channel": "carrier_pigeon"}]',
        default_config='{"tone": "sarcastic"}',
    )
    with open_store(tenant) as store:
        stored = store.templates.get(present.id)
        assert {repair.code for repair in stored.repairs} == {"defaulted"}
        assert store.templates.rename(present.id, "Renamed").generation_config.tone == "sarcastic"
        steps = stored.steps.insert(2, Step("email", "Mail"))
        replaced = store.templates.replace_steps(present.id, steps)
        assert [step.channel for step in replaced.steps] == ["carrier_pigeon", "email"]
        assert replaced.generation_config.tone == "sarcastic"


# Templates and campaigns.


def test_a_campaign_keeps_the_steps_of_an_edited_or_removed_template(tenant: Tenant) -> None:
    steps = StepSequence([Step("email", "Old", extra={"x_a": 1})])
    source = add(tenant, template(steps=steps))
    with open_store(tenant) as store:
        campaign = store.campaigns.add(Campaign.from_template(source, "From it"))
        store.templates.replace_steps(source.id, STEPS)
        assert store.campaigns.get(campaign.id) == campaign
        store.templates.remove(source.id, version=2)
        with refused(store, NotFound):
            store.templates.get(source.id)
        assert (campaign.steps, campaign.template_id) == (steps, source.id)
        assert campaign.steps[0].extra == JsonObject({"x_a": 1})
        renamed = store.campaigns.save(attrs.evolve(campaign, name="Renamed"))
        assert (renamed.steps, renamed.template_id) == (steps, source.id)
        assert store.campaigns.clone(campaign.id).steps == steps
        with refused(store, NotFound) as caught:
            store.campaigns.add(Campaign.from_template(source, "Too late"))
        assert (caught.value.kind, caught.value.ids) == ("template", (source.id,))


@on_postgresql
def test_a_template_with_a_foreign_key_from_campaigns_cannot_be_removed(tenant: Tenant) -> None:
    # Legacy databases have such a key and keep it.
    key = "ALTER TABLE campaigns ADD FOREIGN KEY (template_id) REFERENCES campaign_templates (id)"
    with tenant.engine.connect() as connection, connection.begin() as transaction:
        connection.execute(sa.text(f"{key} NOT VALID"))
        store = CampaignStore(connection, tenant.id)
        present = store.templates.add(template())
        store.campaigns.add(Campaign.from_template(present, "From it"))
        with refused(store, Conflict) as caught:
            store.templates.remove(present.id)
        assert caught.value.reason == "still_referred_to"
        transaction.rollback()


def test_failure_20_a_disabled_step_stays_disabled_in_every_copy(tenant: Tenant) -> None:
    enabled = [True, True, False]

    def flags(steps: StepSequence) -> list[bool]:
        return [step.enabled for step in steps]

    assert flags(STEPS) == enabled
    with open_store(tenant) as store:
        campaign = store.campaigns.add(
            Campaign("First", STEPS, GenerationConfig("casual", budget=Decimal(5)))
        )
        saved = store.templates.add(CampaignTemplate.from_campaign(campaign, "From the first"))
        assert flags(saved.steps) == flags(store.templates.get(saved.id).steps) == enabled
        # A template has no budget: a budget belongs to one campaign.
        assert saved.generation_config == GenerationConfig("casual")
        applied = store.campaigns.add(Campaign.from_template(saved, "Second"))
        assert flags(applied.steps) == flags(store.campaigns.get(applied.id).steps) == enabled
        assert (applied.steps, applied.generation_config) == (STEPS, GenerationConfig("casual"))
        renamed = store.templates.rename(saved.id, "Renamed")
        replaced = store.templates.replace_steps(renamed.id, STEPS.move("s3", 1))
        assert flags(replaced.steps) == [False, True, True]
        clone = store.campaigns.clone(applied.id)
        assert flags(clone.steps) == enabled
        renamed_clone = store.campaigns.save(attrs.evolve(clone, name="Renamed"))
        assert flags(renamed_clone.steps) == enabled
        assert {slot.step_key for slot in renamed_clone.steps.slots()} == {"s1", "s2"}


def test_failure_20_the_preset_keeps_its_third_e_mail_disabled(tenant: Tenant) -> None:
    copies = []
    with open_store(tenant) as store:
        for system_template in store.templates.list():
            campaign = store.campaigns.add(Campaign.from_template(system_template, "From it"))
            name = system_template.name
            copies.append(store.templates.add(CampaignTemplate.from_campaign(campaign, name)))
            assert campaign.steps == copies[-1].steps == system_template.steps
            assert campaign.status is Status.DRAFT
    disabled = [step.label for copy in copies for step in copy.steps if not step.enabled]
    assert len(disabled) == 1


# Parallel calls.


def test_one_of_several_parallel_templates_with_a_name_is_added(tenant: Tenant) -> None:
    def adding(name: str) -> Work:
        return lambda store: store.templates.add(template(name))

    added_together = run_together(tenant, *[adding("Together")] * 3)
    added_behind_the_first = run_while_open(
        tenant, first=adding("One by one"), others=[adding("One by one")] * 2
    )
    names = [one.name for one in tenant.transact(lambda store: store.templates.list())]
    assert (names.count("Together"), names.count("One by one")) == (1, 1)
    for answers in (added_together, added_behind_the_first):
        refusals = [answer for answer in answers if isinstance(answer, Conflict)]
        assert [refusal.reason for refusal in refusals] == ["already_exists"] * 2


def test_parallel_edits_do_not_overwrite_each_other(tenant: Tenant) -> None:
    present = add(tenant, template())
    steps = STEPS.remove("s1")
    (answer,) = run_while_open(
        tenant,
        first=lambda store: store.templates.rename(present.id, "Renamed"),
        others=[lambda store: store.templates.replace_steps(present.id, steps)],
    )
    assert (answer.name, answer.steps, answer.version) == ("Renamed", steps, 3)
    answers = run_while_open(
        tenant,
        first=lambda store: store.templates.rename(present.id, "Renamed again", version=3),
        others=[
            lambda store: store.templates.replace_steps(present.id, STEPS, version=3),
            lambda store: store.templates.remove(present.id, version=3),
        ],
    )
    assert [answer.reason for answer in answers] == ["stale_version"] * 2
    (answer,) = run_while_open(
        tenant,
        first=lambda store: store.templates.remove(present.id),
        others=[lambda store: store.templates.rename(present.id, "Too late")],
    )
    assert isinstance(answer, NotFound)


# Stored documents.


def test_failure_11_an_unreadable_template_is_refused_and_not_changed(tenant: Tenant) -> None:
    present = add(tenant, template())
    document = '{"words": 9007199254740993}'
    update_row(tenant, campaign_templates, present.id, default_config=document)
    with open_store(tenant) as store:
        calls: tuple[Callable[[], object], ...] = (
            lambda: store.templates.get(present.id),
            lambda: store.templates.rename(present.id, "New"),
            lambda: store.templates.replace_steps(present.id, STEPS),
        )
        for call in calls:
            with refused(store, InvalidDocument):
                call()


@pytest.mark.parametrize(
    "values", [{"default_config": '{"words": 9007199254740993}'}, {"name": " "}]
)
def test_an_unreadable_template_is_reported_beside_the_others_and_can_be_removed(
    unchecked_tenant: Tenant, values: dict[str, Any]
) -> None:
    tenant = unchecked_tenant
    good, bad = add(tenant, template("Good")), add(tenant, template("Bad"))
    update_row(tenant, campaign_templates, bad.id, **values)
    templates = {one.id: one for one in tenant.transact(lambda store: store.templates.list())}
    assert templates[good.id] == good
    assert not templates[good.id].repairs
    unreadable = templates[bad.id]
    assert ([one.code for one in unreadable.repairs], len(unreadable.steps)) == (["unreadable"], 0)
    with pytest.raises(InvalidDocument):
        Campaign.from_template(unreadable, "Empty")
    tenant.transact(lambda store: store.templates.remove(bad.id))
    assert bad.id not in {one.id for one in tenant.transact(lambda store: store.templates.list())}


@pytest.mark.parametrize("document", [{}, None, [{"channel": 1}], [{"channel": "x", "enabled": 1}]])
def test_failure_11_the_database_refuses_unreadable_steps(tenant: Tenant, document: Any) -> None:
    present = add(tenant, template())
    with pytest.raises(sa.exc.IntegrityError):
        update_row(tenant, campaign_templates, present.id, steps=json.dumps(document))
    assert tenant.transact(lambda store: store.templates.get(present.id)) == present
