"""Fields of other programs survive every edit in the store, and the way to a browser and back."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import attrs
import pytest
import sqlalchemy as sa
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st

from campaign_model._json import canonical, pointer_to, same_member
from campaign_model.campaign import Campaign, CampaignTemplate
from campaign_model.errors import InvalidDocument
from campaign_model.fields import DocumentFields
from campaign_model.forms import SHORTENED, allows_empty
from campaign_model.generation_config import GENERATION_FIELDS, GenerationConfig
from campaign_model.lifecycle import Action
from campaign_model.steps import MAX_STEPS, STEP_FIELDS, Step, StepSequence, effective_key
from campaign_model.store import CampaignStore
from campaign_model.store.tables import campaign_templates, campaigns
from campaign_model.testing.documents import KINDS, valid
from campaign_model.testing.sample_campaigns import Tenant
from campaign_model.vocabulary import STANDARD, Condition
from campaign_model.wire import DEFAULT
from support.sample_documents import a_step
from support.tenants import generate_all

Json = Any
Touched = dict[str, set[str]]
"""The fields that an edit changes, by step key."""


def read(text: str) -> Json:
    """Read JSON with every number as a double: ``jsonb`` writes large doubles as integers."""
    return json.loads(text, parse_int=float)


def same(one: Json, other: Json) -> bool:
    return canonical(one) == canonical(other)


def by_key(steps: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {effective_key(step.get("key"), index): step for index, step in enumerate(steps)}


# --- Edits of every kind -------------------------------------------------------------------------

NEW_STEP = Step("email", "New", config={"subject": "Hello"}, extra={"x_new": 1})
UPDATES: dict[str, st.SearchStrategy[Any]] = {
    "channel": st.just("call_script"),
    "label": st.just("Changed"),
    "enabled": st.booleans(),
    "needs_pdf": st.booleans(),
    "variant_count": st.integers(1, 3),
    "day_offset": st.none(),
    "condition": st.sampled_from([None, *Condition]),
    "config": st.sampled_from([None, {}, {"tone": "casual"}]),
}
CONFIG_UPDATES: dict[str, st.SearchStrategy[Any]] = {
    "tone": st.sampled_from([None, "casual"]),
    "language": st.sampled_from([None, "de"]),
    "custom_instructions": st.sampled_from([None, "", "Be brief."]),
    "default_variant_count": st.sampled_from([None, 3]),
    "budget": st.sampled_from([None, Decimal("7.50")]),
}


def update(data: st.DataObject, steps: StepSequence) -> tuple[StepSequence, Touched]:
    key, name = data.draw(st.sampled_from(steps.keys)), data.draw(st.sampled_from(list(UPDATES)))
    return steps.update(key, **{name: data.draw(UPDATES[name])}), {key: {name}}


def move(data: st.DataObject, steps: StepSequence) -> tuple[StepSequence, Touched]:
    key, position = data.draw(st.sampled_from(steps.keys)), data.draw(st.integers(1, len(steps)))
    # Day offsets belong to positions.
    return steps.move(key, position), {key: {"day_offset"} for key in steps.keys}


def insert(data: st.DataObject, steps: StepSequence) -> tuple[StepSequence, Touched]:
    return steps.insert(data.draw(st.integers(1, len(steps) + 1)), NEW_STEP), {}


def remove(data: st.DataObject, steps: StepSequence) -> tuple[StepSequence, Touched]:
    return steps.remove(data.draw(st.sampled_from(steps.keys))), {}


def edit_in_a_browser(data: st.DataObject, steps: StepSequence) -> tuple[StepSequence, Touched]:
    """Send all steps back with one changed label, as a browser does that shows only labels."""
    document = DEFAULT.dump_template_config(steps)
    index = data.draw(st.integers(0, len(steps) - 1))
    document[index]["label"] = "From a browser"
    edited = DEFAULT.parse_template_config(json.dumps(document), previous=steps)
    return edited, {steps.keys[index]: {"label"}}


Edit = Callable[[st.DataObject, StepSequence], tuple[StepSequence, Touched]]
EDITS: tuple[Edit, ...] = (update, move, insert, remove, edit_in_a_browser)


def edited(data: st.DataObject, steps: StepSequence, *edits: Edit) -> tuple[StepSequence, Touched]:
    """Return ``steps`` after up to three of these edits, and the changed fields."""
    touched: Touched = defaultdict(set)
    for _ in range(data.draw(st.integers(0, 3))):
        possible = [
            edit
            for edit in edits or EDITS
            if (len(steps) < MAX_STEPS if edit is insert else len(steps) > 0)
        ]
        steps, more = data.draw(st.sampled_from(possible))(data, steps)
        for key, names in more.items():
            touched[key] |= names
    return steps, touched


def reconfigured(
    data: st.DataObject, config: GenerationConfig
) -> tuple[GenerationConfig, set[str]]:
    names = data.draw(st.sets(st.sampled_from(list(CONFIG_UPDATES)), max_size=2))
    changes = {name: data.draw(CONFIG_UPDATES[name]) for name in names}
    if data.draw(st.booleans()):
        document = DEFAULT.dump_generation_config(config)
        config = DEFAULT.parse_generation_config(json.dumps(document), previous=config)
    return attrs.evolve(config, **changes), names


def is_same_field(name: str, before: Json, after: Json, fields: DocumentFields) -> bool:
    """Return True if the member ``name`` is the same, or repaired: empty is absent, long is cut.

    A document that an edit does not change stays as it is.
    """
    value = before[name]
    if name in fields and (value is None or (value == "" and not allows_empty(fields[name]))):
        return True
    is_cut = name in SHORTENED and after.get(name) == value[:200]
    return name in after and (is_cut or same(value, after[name]))


def check_steps(before: Json, after: Json, steps: StepSequence, touched: Touched) -> None:
    """Check that the untouched fields of the steps are the same, and that there are no new ones."""
    steps_before, steps_after = by_key(before), by_key(after)
    assert tuple(steps_after) == steps.keys
    for key in steps_after.keys() & steps_before.keys():
        for name in steps_before[key].keys() - {"step", *touched.get(key, ())}:
            pair = steps_before[key], steps_after[key]
            assert is_same_field(name, *pair, STEP_FIELDS), (key, name)
        assert steps_after[key].keys() <= steps_before[key].keys() | set(STEP_FIELDS)


def check_config(before: Json, after: Json, touched: set[str]) -> None:
    for name in before.keys() - touched:
        assert is_same_field(name, before, after, GENERATION_FIELDS), name
    assert after.keys() <= before.keys() | touched


# --- From a row to a row -------------------------------------------------------------------------

stored_steps = valid("template_config", "stored")
stored_config = valid("generation_config", "stored")
# Without shrinking, which takes minutes: drawn documents are small.
on_one_database = settings(max_examples=25, phases=(Phase.explicit, Phase.reuse, Phase.generate))


def write(tenant: Tenant, table: sa.Table, id: Any, **documents: Json) -> None:
    """Write documents into a row as a service does that does not use the library."""
    texts = {name: json.dumps(document) for name, document in documents.items()}
    with tenant.engine.begin() as connection:
        assert connection.execute(sa.update(table).where(table.c.id == id).values(texts)).rowcount


def row(tenant: Tenant, table: sa.Table, id: Any) -> Any:
    with tenant.engine.begin() as connection:
        return connection.execute(sa.select(table).where(table.c.id == id)).one()


def test_unknown_fields_of_a_campaign_survive_every_edit(tenant: Tenant) -> None:
    id_ = tenant.campaign(contacts=0).id

    @on_one_database
    @given(steps=stored_steps, config=stored_config, data=st.data())
    def check_edits(steps: Json, config: Json, data: st.DataObject) -> None:
        write(tenant, campaigns, id_, template_config=steps, generation_config=config)
        before = row(tenant, campaigns, id_)
        campaign = tenant.transact(lambda store: store.campaigns.get(id_))
        new_steps, touched = edited(data, campaign.steps)
        new_config, names = reconfigured(data, campaign.generation_config)
        changed = attrs.evolve(
            campaign,
            name=data.draw(st.sampled_from(["Spring", "Autumn"])),
            steps=new_steps,
            generation_config=new_config,
        )
        saved = tenant.transact(lambda store: store.campaigns.save(changed))
        assert (saved.steps, saved.generation_config) == (
            new_steps.succeeding(campaign.steps),
            new_config,
        )

        after = row(tenant, campaigns, id_)
        check_steps(steps, read(after.template_config), new_steps, touched)
        check_config(config, read(after.generation_config), names)
        if new_steps == campaign.steps:
            assert after.template_config == before.template_config
        if new_config == campaign.generation_config:
            assert after.generation_config == before.generation_config

    check_edits()


def test_unknown_fields_of_a_template_survive_every_edit(tenant: Tenant) -> None:
    id_ = tenant.transact(
        lambda store: store.templates.add(CampaignTemplate("Template", StepSequence()))
    ).id

    @on_one_database
    @given(steps=stored_steps, config=stored_config, data=st.data())
    def check_edits(steps: Json, config: Json, data: st.DataObject) -> None:
        write(tenant, campaign_templates, id_, steps=steps, default_config=config)
        template = tenant.transact(lambda store: store.templates.get(id_))
        new_steps, touched = edited(data, template.steps)

        def edit(store: CampaignStore) -> None:
            store.templates.replace_steps(id_, new_steps)
            store.templates.rename(id_, data.draw(st.sampled_from(["Spring", "Autumn"])))

        tenant.transact(edit)
        after = row(tenant, campaign_templates, id_)
        check_steps(steps, read(after.steps), new_steps, touched)
        check_config(config, read(after.default_config), set())

    check_edits()


def test_unknown_fields_are_copied_into_clones_and_templates(tenant: Tenant) -> None:
    steps = [
        {"channel": "fax", "owner": {"id": 7.205759403792251e16}, "config": {"a": [None]}},
        a_step(2, note=[{}]),
    ]
    config = {"tone": "gruff", "model": {"name": "large"}, "budget": "2.50"}
    campaign = tenant.campaign(contacts=0)
    write(tenant, campaigns, campaign.id, template_config=steps, generation_config=config)

    def copies(store: CampaignStore) -> list[Campaign | CampaignTemplate]:
        original = store.campaigns.get(campaign.id)
        template = CampaignTemplate.from_campaign(original, "Template")
        return [
            store.campaigns.clone(campaign.id),
            store.campaigns.clone(store.campaigns.clone(campaign.id).id),
            template,
            Campaign.from_template(template, "Another"),
        ]

    for copy in tenant.transact(copies):
        check_steps(steps, DEFAULT.dump_template_config(copy.steps), copy.steps, {})
        expected = (
            config
            if isinstance(copy, Campaign) and copy.template_id is None
            else {name: value for name, value in config.items() if name != "budget"}
        )
        check_config(expected, DEFAULT.dump_generation_config(copy.generation_config), set())


def test_moves_and_generation_do_not_change_the_documents(tenant: Tenant) -> None:
    campaign = tenant.campaign(contacts=2)
    write(
        tenant,
        campaigns,
        campaign.id,
        template_config=[{"channel": "email", "owner": 7, "step": 9}],
        generation_config={"model": "large"},
    )

    def documents() -> tuple[str, str]:
        campaign_row = row(tenant, campaigns, campaign.id)
        return campaign_row.template_config, campaign_row.generation_config

    before = documents()
    for action in (Action.MARK_READY, Action.START_GENERATION):
        tenant.apply(campaign.id, action)
    generate_all(tenant, campaign.id)
    tenant.apply(campaign.id, Action.COMPLETE_GENERATION)
    tenant.transact(
        lambda store: store.campaigns.save(
            attrs.evolve(store.campaigns.get(campaign.id), name="Renamed")
        )
    )
    assert documents() == before


# --- To a browser and back -----------------------------------------------------------------------

every_kind = pytest.mark.parametrize("kind", KINDS)
few = settings(max_examples=30)
where_steps_are = pytest.mark.parametrize("kind", ["template_config", "campaign_template"])


def recovered(kind: str, document: Json) -> Any:
    return getattr(DEFAULT, f"recover_{kind}")(document).value


def sent_to_browser(kind: str, value: Any) -> Json:
    """Return the document as a browser receives it."""
    return json.loads(json.dumps(getattr(DEFAULT, f"dump_{kind}")(value)))


def accepted(kind: str, document: Json, previous: Any) -> Any:
    value = getattr(DEFAULT, f"parse_{kind}")(json.dumps(document), previous=previous)
    assert DEFAULT.violations(document, kind, previous=previous) == ()
    return value


def refusal(kind: str, document: Json, previous: Any) -> list[tuple[str, str]]:
    try:
        accepted(kind, document, previous)
    except InvalidDocument as error:
        return [(violation.path, violation.code) for violation in error.violations]
    return []


def part(kind: str, whole: Any, name: str) -> Any:
    """Return the steps or settings ``name`` of a template; any other value is them itself."""
    if kind != "campaign_template":
        return whole
    return whole[name] if isinstance(whole, dict) else getattr(whole, name)


@every_kind
@few
@given(data=st.data())
def test_a_browser_may_send_back_the_document_that_it_was_given(
    kind: str, data: st.DataObject
) -> None:
    previous = recovered(kind, data.draw(valid(kind, "stored")))
    assert accepted(kind, sent_to_browser(kind, previous), previous) == previous


@where_steps_are
@few
@given(data=st.data())
def test_failure_19_a_document_that_comes_back_without_keys_changes_no_key(
    kind: str, data: st.DataObject
) -> None:
    previous = recovered(kind, data.draw(valid(kind, "stored")))
    if data.draw(st.booleans()):  # Every step has a key of its own, as after an edit.
        steps = part(kind, previous, "steps")
        steps = StepSequence(
            attrs.evolve(step, key=key) for key, step in zip(steps.keys, steps, strict=True)
        )
        previous = attrs.evolve(previous, steps=steps.steps if kind == "template_config" else steps)
    document = sent_to_browser(kind, previous)
    for step in part(kind, document, "steps"):
        step.pop("key", None)
    steps = part(kind, accepted(kind, document, previous), "steps")
    assert steps.keys == part(kind, previous, "steps").keys
    assert steps.succeeding(part(kind, previous, "steps")).keys == steps.keys


def rearranged(data: st.DataObject, steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return some of the steps in any order, each with its key, and some new steps."""
    keyed = [{**step, "key": key} for key, step in by_key(steps).items()]
    order = data.draw(st.lists(st.sampled_from(keyed), unique_by=id)) if keyed else []
    for number in range(data.draw(st.integers(0 if order else 1, 2))):
        new = a_step(key=f"new-{number}", x_new=number)
        order.insert(data.draw(st.integers(0, len(order))), new)
    order = order[:MAX_STEPS]
    days = iter(sorted(step["day_offset"] for step in order if "day_offset" in step))
    return [
        {**step, "step": index + 1} | ({"day_offset": next(days)} if "day_offset" in step else {})
        for index, step in enumerate(order)
    ]


@where_steps_are
@few
@given(data=st.data())
def test_a_step_that_a_browser_moves_keeps_its_unknown_fields(
    kind: str, data: st.DataObject
) -> None:
    previous = recovered(kind, data.draw(valid(kind, "stored")))
    document = sent_to_browser(kind, previous)
    steps = part(kind, document, "steps")
    steps[:] = rearranged(data, steps)
    before = part(kind, previous, "steps")
    after = part(kind, accepted(kind, document, previous), "steps")
    assert after.keys == tuple(by_key(steps))
    for key in set(after.keys) & set(before.keys):
        assert after.by_key(key).extra == before.by_key(key).extra


@where_steps_are
@few
@given(data=st.data())
def test_steps_that_were_removed_meanwhile_must_not_come_back_with_unknown_fields_or_words(
    kind: str, data: st.DataObject
) -> None:
    previous = recovered(kind, data.draw(valid(kind, "stored")))
    document = sent_to_browser(kind, previous)
    steps = part(kind, previous, "steps")
    # A step with the content of a removed one is taken for it.
    contents = [
        {**step, "step": 0, "day_offset": 0, "key": ""} for step in part(kind, document, "steps")
    ]
    assume(len({json.dumps(step, sort_keys=True) for step in contents}) == len(contents))
    later, _ = edited(data, steps, move, insert, remove)
    present = attrs.evolve(previous, steps=later.steps if kind == "template_config" else later)
    known_channels = {channel.name for channel in STANDARD.channels}
    prefix = "/steps" if kind == "campaign_template" else ""
    expected = {
        (prefix + pointer_to((index, name)), code)
        for index, (key, step) in enumerate(zip(steps.keys, steps, strict=True))
        if key not in later.keys
        for name, code in [
            *((name, "unknown_field") for name in step.extra if not name.startswith("x_")),
            *([] if step.channel in known_channels else [("channel", "unknown_value")]),
        ]
    }
    if not steps and later:
        expected = {(prefix, "too_few_items")}
    assert set(refusal(kind, document, present)) == expected


FIELDS_OF_OTHER_PROGRAMS = ["owner", "a/b~c", "", "Label", "extra", "is_system"]
small_values: st.SearchStrategy[Json] = st.sampled_from(
    [None, 0, 1, False, True, {}, [], {"id": 1}, "x"]
)


def check_new_field(
    data: st.DataObject, kind: str, document: Json, previous: Any, place: tuple[str | int, ...]
) -> None:
    """Add an unknown field at ``place``: it is accepted only if ``previous`` has the same there."""
    members, before = document, previous
    for token in place:
        members = members[token]
        before = getattr(before, token) if isinstance(token, str) else before[token]
    name, value = (
        data.draw(st.sampled_from([*before.extra, *FIELDS_OF_OTHER_PROGRAMS])),
        data.draw(small_values),
    )
    members[name] = value
    is_allowed = name.startswith("x_") or same_member(before.extra, name, value)
    expected = [] if is_allowed else [(pointer_to((*place, name)), "unknown_field")]
    assert refusal(kind, document, previous) == expected


@where_steps_are
@few
@given(data=st.data())
def test_a_browser_cannot_add_unknown_fields_to_a_step(kind: str, data: st.DataObject) -> None:
    previous = recovered(kind, data.draw(valid(kind, "stored")))
    document = sent_to_browser(kind, previous)
    steps = part(kind, document, "steps")
    assume(steps)
    index = data.draw(st.integers(0, len(steps) - 1))
    place = ("steps", index) if kind == "campaign_template" else (index,)
    check_new_field(data, kind, document, previous, place)


@pytest.mark.parametrize("kind", ["generation_config", "campaign_template"])
@few
@given(data=st.data())
def test_a_browser_cannot_add_unknown_fields_to_the_settings(
    kind: str, data: st.DataObject
) -> None:
    previous = recovered(kind, data.draw(valid(kind, "stored")))
    place = ("generation_config",) if kind == "campaign_template" else ()
    check_new_field(data, kind, sent_to_browser(kind, previous), previous, place)
