"""``store.campaigns``: adding, listing, saving and cloning campaigns."""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import attrs
import pytest
import sqlalchemy as sa
from hypothesis import given, settings

from campaign_model._json import JsonObject
from campaign_model.campaign import Campaign, CampaignTemplate
from campaign_model.claims import Failed, Generated
from campaign_model.errors import Conflict, InvalidArgument, InvalidDocument
from campaign_model.generation_config import GenerationConfig
from campaign_model.lifecycle import Action, ContactStatus, Status
from campaign_model.steps import Step, StepSequence
from campaign_model.store import CampaignStore
from campaign_model.store.tables import campaign_templates, campaigns
from campaign_model.testing.sample_campaigns import LEASE, STEPS, Tenant
from campaign_model.testing.strategies import drafts
from campaign_model.vocabulary import STANDARD, Channel
from campaign_model.wire import DEFAULT, Codec
from support.tenants import (
    HOST,
    campaign_row,
    contact_rows,
    legacy_columns,
    message_values,
    new_owner,
    new_tenant,
    update_row,
)
from support.transactions import (
    all_rows,
    on_postgresql,
    open_store,
    recorded_statements,
    refused,
    rolled_back,
    run_together,
    run_while_open,
)

MOMENT = datetime(2026, 3, 1, 12, 30, 0, 123456, tzinfo=UTC)
OTHER_CHANNEL = Codec(STANDARD.with_channel(Channel("carrier_pigeon")))
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


def rich(**fields: Any) -> Campaign:
    """A campaign with a new id that uses every field."""
    return attrs.evolve(RICH, id=uuid4(), **fields)


# Add and get.


@given(drafts(vocabulary=OTHER_CHANNEL.vocabulary))
@settings(max_examples=20)
def test_an_added_campaign_is_read_unchanged(engine: sa.Engine, draft: Campaign) -> None:
    tenant = new_tenant(engine)
    campaign = attrs.evolve(draft, id=uuid4(), owner_id=new_owner(tenant))

    def add_and_get(store: CampaignStore) -> tuple[Campaign, Campaign]:
        return store.campaigns.add(campaign), store.campaigns.get(campaign.id)

    added, stored = tenant.transact(add_and_get, codec=OTHER_CHANNEL)
    assert added == stored
    assert stored == attrs.evolve(
        campaign, created_at=stored.created_at, updated_at=stored.created_at
    )
    assert stored.created_at is not None
    assert stored.steps.fingerprint == campaign.steps.fingerprint
    assert tenant.transact(lambda store: store.campaigns.history(campaign.id)) == ()


def test_only_a_new_draft_can_be_added(tenant: Tenant) -> None:
    wrong_fields: list[tuple[str, Any]] = [("is_active", False), ("version", 2)]
    wrong_fields += [("status", status) for status in Status if status is not Status.DRAFT]
    with open_store(tenant) as store:
        for name, value in wrong_fields:
            with refused(store, Conflict) as caught:
                store.campaigns.add(attrs.evolve(RICH, **{name: value}))
            assert (caught.value.reason, name in str(caught.value)) == ("read_only", True)


def test_an_id_of_another_tenant_is_taken_like_any_other(tenant: Tenant) -> None:
    """Nothing in the answer, or in the statements before it, tells whose campaign has the id."""
    other = new_tenant(tenant.engine)
    id_ = tenant.campaign("review", contacts=1).id
    answers = []
    for one in (tenant, other):
        own_owner = new_owner(one)
        for owner_id in (None, own_owner, uuid4()):
            with (
                open_store(one) as store,
                refused(store, Conflict, tenant.id, other.id) as caught,
                recorded_statements(store.connection) as statements,
            ):
                store.campaigns.add(attrs.evolve(RICH, id=id_, owner_id=owner_id))
            answers.append((caught.value.to_dict(), [sql for sql, _ in statements]))
    assert answers == [answers[0]] * 6
    assert answers[0][0]["reason"] == "already_exists"


def test_an_unreadable_campaign_is_refused_and_not_changed(tenant: Tenant) -> None:
    campaign = tenant.campaign("ready", contacts=2)
    # The CHECK accepts any object, but no double can represent this number.
    update_row(tenant, campaigns, campaign.id, generation_config='{"words": 9007199254740993}')
    with open_store(tenant) as store:
        calls: tuple[Callable[[], object], ...] = (
            lambda: store.campaigns.get(campaign.id),
            lambda: store.campaigns.save(attrs.evolve(campaign, name="New")),
            lambda: store.campaigns.apply(campaign.id, Action.START_GENERATION),
            lambda: store.campaigns.clone(campaign.id),
            lambda: store.campaigns.clone(campaign.id, name="Clone"),
        )
        for call in calls:
            with refused(store, InvalidDocument) as caught:
                call()
            assert [violation.path for violation in caught.value.violations] == ["/words"]
        assert [summary.id for summary in store.campaigns.list().items] == [campaign.id]
    tenant.check_totals(campaign.id)


def test_a_repaired_document_is_not_written_by_other_edits(tenant: Tenant) -> None:
    campaign = tenant.campaign(contacts=1)
    steps = '[{"channel": "email", "label": null, "x_kept": 1, "unknown": 2}]'
    update_row(tenant, campaigns, campaign.id, template_config=steps)
    update_row(tenant, campaigns, campaign.id, generation_config='{"tone": null}')
    before = campaign_row(tenant, campaign.id).template_config
    with open_store(tenant) as store:
        stored = store.campaigns.get(campaign.id)
        assert {repair.code for repair in stored.repairs} == {"defaulted", "null_removed"}
        assert (stored.steps[0].label, stored.generation_config.tone) == ("Email", None)
        saved = store.campaigns.save(attrs.evolve(stored, name="Other"))
    assert saved.steps[0].extra == JsonObject({"x_kept": 1, "unknown": 2})
    assert campaign_row(tenant, campaign.id).template_config == before


# Lists.


def test_pages_contain_every_campaign_once_with_any_filter(tenant: Tenant) -> None:
    rng = random.Random(7)
    owners = (new_owner(tenant), new_owner(tenant), None)
    added: list[UUID] = []
    with open_store(tenant) as store:
        templates = [template.id for template in store.templates.list()]
        for number in range(14):
            campaign = store.campaigns.add(
                Campaign(
                    f"Number {number}",
                    STEPS,
                    owner_id=owners[number % 3],
                    template_id=templates[number % 2] if number % 4 else None,
                )
            )
            added.append(campaign.id)
            status = rng.choice(list(Status))
            # Several campaigns have the same creation time.
            store.connection.execute(
                sa.update(campaigns)
                .where(campaigns.c.id == campaign.id)
                .values(
                    created_at=MOMENT + timedelta(microseconds=rng.randrange(3)),
                    status=status.value,
                    is_active=status is not Status.ARCHIVED,
                )
            )
    new_tenant(tenant.engine).campaign(contacts=1)
    stored = tenant.transact(lambda store: [store.campaigns.get(id_) for id_ in added])
    stored.sort(key=lambda one: (one.created_at, one.id), reverse=True)

    def walk(store: CampaignStore, **options: Any) -> list[UUID]:
        ids: list[UUID] = []
        after = None
        while True:
            page = store.campaigns.list(after=after, **options)
            ids += [summary.id for summary in page.items]
            assert len(page.items) == options["limit"] or page.next is None
            if page.next is None:
                return ids
            after = page.next

    choices = itertools.product(
        (None, frozenset({Status.DRAFT, Status.ARCHIVED}), frozenset[Status]()),
        owners,
        (None, templates[0]),
        (False, True),
        (2, 5, 50),
    )
    with open_store(tenant) as store:
        for statuses, owner, template, deleted, limit in choices:
            expected = [
                one.id
                for one in stored
                if (statuses is None or one.status in statuses)
                and (owner is None or one.owner_id == owner)
                and (template is None or one.template_id == template)
                and (deleted or one.is_active)
            ]
            ids = walk(
                store,
                status=statuses,
                owner_id=owner,
                template_id=template,
                deleted=deleted,
                limit=limit,
            )
            assert ids == expected


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        ("spring", {"Spring 50%", "Late spring", "springtime_2"}),
        ("G 5", {"Spring 50%"}),
        ("%", {"Spring 50%"}),
        ("_", {"springtime_2"}),
        ("/", {"A/B"}),
        ("\\", {"C\\D"}),
        ("spring%", set()),
        ("É", {"Été"}),
        ("nothing", set()),
    ],
)
def test_a_search_finds_names_that_contain_the_text(
    tenant: Tenant, search: str, expected: set[str]
) -> None:
    names = ["Spring 50%", "Late spring", "springtime_2", "A/B", "C\\D", "Été", "Winter"]
    with open_store(tenant) as store:
        for name in names:
            store.campaigns.add(Campaign(name, STEPS))
        found = store.campaigns.list(search=search).items
        assert {one.name for one in found} == expected
        page = store.campaigns.list(search=search, limit=1)
        assert len(page.items) == min(1, len(expected))
        counts = store.campaigns.count_by_status(search=search)
        assert counts == dict.fromkeys(Status, 0) | {Status.DRAFT: len(expected)}


def test_campaigns_are_counted_by_status_with_the_filters_of_the_list(tenant: Tenant) -> None:
    owner_id = new_owner(tenant)
    for status in Status:
        tenant.campaign(status, contacts=1)
    tenant.campaign(Status.READY, contacts=1, owner_id=owner_id)
    draft = tenant.campaign(owner_id=owner_id)
    tenant.apply(draft.id, Action.DELETE)
    new_tenant(tenant.engine).campaign()
    with open_store(tenant) as store:
        choices: tuple[dict[str, Any], ...] = (
            {},
            {"owner_id": owner_id},
            {"deleted": True},
            {"owner_id": uuid4()},
        )
        for filters in choices:
            listed = store.campaigns.list(**filters).items
            counts = store.campaigns.count_by_status(**filters)
            assert [*counts] == [*Status]
            assert Counter(counts) == Counter(summary.status for summary in listed)


def test_get_refuses_another_version_than_the_present_one(tenant: Tenant) -> None:
    campaign = tenant.campaign()
    with open_store(tenant) as store:
        assert store.campaigns.get(campaign.id, version=campaign.version) == campaign
        for version in (campaign.version + 1, campaign.version - 1):
            with refused(store, Conflict) as caught:
                store.campaigns.get(campaign.id, version=version)
            assert caught.value.reason == "stale_version"


@on_postgresql
def test_a_shared_lock_lets_workers_go_on_and_keeps_the_status(tenant: Tenant) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=4)

    def share(store: CampaignStore) -> Status:
        return store.campaigns.get(campaign.id, lock="share").status

    def claim(store: CampaignStore) -> int:
        return len(store.generation.claim(campaign.id, 1, LEASE).claims)

    def cancel(store: CampaignStore) -> Status:
        return store.campaigns.apply(campaign.id, Action.CANCEL_GENERATION).status

    assert run_while_open(tenant, first=share, others=[share, claim], must_wait=False) == [
        Status.GENERATING,
        1,
    ]
    assert run_while_open(tenant, first=share, others=[cancel]) == [Status.READY]


def test_a_new_campaign_does_not_shift_later_pages(tenant: Tenant) -> None:
    for _ in range(4):
        tenant.campaign(contacts=0)
    with open_store(tenant) as store:
        everything = [summary.id for summary in store.campaigns.list().items]
        first = store.campaigns.list(limit=2)
        store.campaigns.add(rich())
        rest = store.campaigns.list(limit=2, after=first.next)
        assert [summary.id for summary in (*first.items, *rest.items)] == everything
        assert rest.next is None


def test_a_list_refuses_a_wrong_limit_or_page(tenant: Tenant) -> None:
    too_early = (
        "MDAwMS0wMS0wMVQwMDowMDowMCswMjowMCA2YjFmNmEwZS0zYzU1LTRkMGItOWE1OC0wZjJiN2QxYzllNDc="
    )
    with open_store(tenant) as store:
        for limit in (0, -1, 501, 1.5, True, "1; --"):
            with refused(store, InvalidArgument):
                store.campaigns.list(limit=limit)  # type: ignore[arg-type]
        for after in ("", "x", "é", "\ud800", "bm9wZQ==", "bm9wZSBub3Bl", too_early):
            with refused(store, InvalidArgument):
                store.campaigns.list(after=after)


def test_a_summary_counts_every_status_before_the_legacy_columns_do(tenant: Tenant) -> None:
    ids = tenant.contacts(8)
    campaign = tenant.campaign("generating", contacts=ids)
    first, second, third, _ = tenant.claim(campaign.id, 4)
    failure = Failed("no_email", "there is no address", Decimal(0))
    with open_store(tenant) as store:
        store.contacts.set_readiness(campaign.id, {ids[5]: [], ids[6]: ["phone"]})
        store.contacts.exclude(campaign.id, ids[7:])
        store.generation.record(
            {first: Generated(Decimal("0.00144")), second: Generated(None), third: failure}
        )
    assert {row.status for row in contact_rows(tenant, campaign.id).values()} == {*ContactStatus}
    (summary,) = tenant.transact(lambda store: store.campaigns.list().items)
    assert (
        summary.total_contacts,
        summary.generated_count,
        summary.generation_cost,
        summary.unknown_costs,
    ) == (7, 2, Decimal("0.00144"), 1)
    stored = tenant.transact(lambda store: store.campaigns.get(campaign.id))
    shared = ("id", "name", "status", "is_active", "owner_id", "template_id", "version")
    for field in (*shared, "created_at", "updated_at"):
        assert getattr(summary, field) == getattr(stored, field)
    tenant.apply(campaign.id, Action.CANCEL_GENERATION)
    assert legacy_columns(tenant, campaign.id) == (7, 2, Decimal("0.00144"))
    tenant.check_totals(campaign.id)


# Save. See test_every_status for permissions.


def test_a_save_writes_only_the_changed_columns(tenant: Tenant) -> None:
    campaign = tenant.campaign(contacts=1)
    config = attrs.evolve(campaign.generation_config, language="fr")
    edits: dict[str, dict[str, Any]] = {
        "name": {"name": "Other name"},
        "description": {"description": "Other description"},
        "owner_id": {"owner_id": new_owner(tenant)},
        "template_config": {"steps": campaign.steps.move("s1", 2)},
        "generation_config": {"generation_config": config},
    }

    def written_columns(statement: str) -> set[str]:
        assignments = statement.partition(" SET ")[2].partition(" WHERE ")[0]
        return {assignment.split("=")[0].strip() for assignment in assignments.split(", ")}

    with open_store(tenant) as store:
        for size in range(len(edits) + 1):
            for columns in itertools.combinations(edits, size):
                changes: dict[str, Any] = {}
                for column in columns:
                    changes |= edits[column]
                edited = attrs.evolve(campaign, **changes)
                with rolled_back(store), recorded_statements(tenant.engine) as statements:
                    saved = store.campaigns.save(edited)
                    updates = [text for text, _ in statements if text.startswith("UPDATE")]
                    if not columns:
                        assert (updates, saved) == ([], campaign)
                        continue
                    (update,) = updates
                    assert written_columns(update) == {*columns, "version", "updated_at"}
                    assert saved == attrs.evolve(edited, version=2, updated_at=saved.updated_at)
                    assert saved == store.campaigns.get(campaign.id)


def test_a_save_keeps_the_counters_of_the_row(tenant: Tenant) -> None:
    loaded = tenant.campaign(contacts=2)
    ids = tenant.contacts(2)
    tenant.transact(lambda store: store.contacts.assign(loaded.id, ids))
    tenant.transact(lambda store: store.campaigns.clone(loaded.id))
    before = campaign_row(tenant, loaded.id)._asdict()
    tenant.transact(lambda store: store.campaigns.save(attrs.evolve(loaded, name="New")))
    after = campaign_row(tenant, loaded.id)._asdict()
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"name", "version", "updated_at"}
    assert (after["total_contacts"], after["next_position"], after["clone_count"]) == (4, 4, 1)


def test_a_save_refuses_changes_of_read_only_fields(tenant: Tenant) -> None:
    campaign = tenant.campaign(contacts=1)
    editable = {"name", "description", "owner_id", "steps", "generation_config"}
    compared = {"id", "version", "updated_at", "repairs"}
    read_only: dict[str, Any] = {
        "status": Status.READY,
        "is_active": False,
        "template_id": uuid4(),
        "created_at": MOMENT,
        "generation_started_at": MOMENT,
        "generation_completed_at": MOMENT,
    }
    fields = {field.name for field in attrs.fields(Campaign)}
    assert editable | compared | read_only.keys() == fields
    with open_store(tenant) as store:
        for name, value in read_only.items():
            with refused(store, Conflict) as caught:
                store.campaigns.save(attrs.evolve(campaign, name="New", **{name: value}))
            assert (caught.value.reason, name in str(caught.value)) == ("read_only", True)
        unchanged = attrs.evolve(campaign, updated_at=None, repairs=())
        assert store.campaigns.save(unchanged) == campaign
        # A program without the library has written the row since.
        with refused(store, Conflict) as caught:
            store.campaigns.save(attrs.evolve(campaign, name="New", updated_at=MOMENT))
        assert caught.value.reason == "stale_version"


def test_unknown_words_are_refused_unless_they_are_stored_already(tenant: Tenant) -> None:
    campaign = tenant.campaign(contacts=1)
    unknown_step = Step("carrier_pigeon", "Fly")
    unknown_tone = GenerationConfig(tone="sarcastic")
    with open_store(tenant) as store:
        refusals = (
            (store.campaigns.add, Campaign("New", StepSequence((STEPS[0], unknown_step)))),
            (
                store.campaigns.save,
                attrs.evolve(campaign, steps=campaign.steps.insert(2, unknown_step)),
            ),
            (store.campaigns.add, Campaign("New", STEPS, unknown_tone)),
            (store.campaigns.save, attrs.evolve(campaign, generation_config=unknown_tone)),
        )
        for method, value in refusals:
            with refused(store, InvalidDocument) as caught:
                method(value)
            (violation,) = caught.value.violations
            assert (caught.value.document, violation.path) in {
                ("template_config", "/1/channel"),
                ("generation_config", "/tone"),
            }
    # Another service, with a vocabulary of its own, has written these words.
    update_row(
        tenant,
        campaigns,
        campaign.id,
        template_config=json.dumps([{"channel": "carrier_pigeon", "label": "Fly"}]),
        generation_config='{"tone": "sarcastic"}',
    )
    with open_store(tenant) as store:
        present = store.campaigns.get(campaign.id)
        renamed = store.campaigns.save(attrs.evolve(present, name="Renamed"))
        edited = store.campaigns.save(
            attrs.evolve(
                renamed,
                steps=renamed.steps.update("s1", label="Fly on"),
                generation_config=attrs.evolve(renamed.generation_config, language="en"),
            )
        )
    words = (edited.steps[0].channel, edited.generation_config.tone)
    assert words == ("carrier_pigeon", "sarcastic")


def test_failure_03_one_of_two_parallel_saves_is_refused(tenant: Tenant) -> None:
    loaded = tenant.campaign(contacts=1)
    config = loaded.generation_config
    french = attrs.evolve(loaded, generation_config=attrs.evolve(config, language="fr"))
    direct = attrs.evolve(loaded, generation_config=attrs.evolve(config, tone="direct"))
    (answer,) = run_while_open(
        tenant,
        first=lambda store: store.campaigns.save(french),
        others=[lambda store: store.campaigns.save(direct)],
    )
    assert isinstance(answer, Conflict)
    assert answer.reason == "stale_version"
    stored = tenant.transact(lambda store: store.campaigns.get(loaded.id))
    assert stored.generation_config == french.generation_config


def test_failure_11_the_database_refuses_documents_that_no_reader_can_read(
    tenant: Tenant,
) -> None:
    campaign = tenant.campaign(contacts=1)
    template = tenant.transact(
        lambda store: store.templates.add(CampaignTemplate.from_campaign(campaign, "Own"))
    )
    step = {"channel": "email"}
    wrong_steps: tuple[Any, ...] = (
        *({}, "[]", None, 5, {"steps": [step]}, [[step]], [step, None], ["email"], [{}]),
        *([{"channel": 5}], [{"channel": None}], [step | {"variant_count": 4}]),
        *(
            [step | {"variant_count": "2"}],
            [step | {"enabled": "yes"}],
            [step | {"enabled": [None]}],
        ),
        *([step | {"day_offset": -1}], [step | {"condition": "sometimes"}]),
        *([step | {"config": []}], [step] * 21),
    )
    columns: tuple[tuple[sa.Table, UUID, str, tuple[Any, ...]], ...] = (
        (campaigns, campaign.id, "template_config", wrong_steps),
        (campaign_templates, template.id, "steps", wrong_steps),
        (campaigns, campaign.id, "generation_config", ([], "{}", None, 5)),
        (campaign_templates, template.id, "default_config", ([], "{}", None, 5)),
    )
    before = tenant.transact(lambda store: all_rows(store.connection, tenant.id))
    for table, id_, column, documents in columns:
        for document in documents:
            with pytest.raises(sa.exc.IntegrityError):
                update_row(tenant, table, id_, **{column: json.dumps(document)})
    assert tenant.transact(lambda store: all_rows(store.connection, tenant.id)) == before


def test_failure_19_messages_keep_their_step_through_every_edit(tenant: Tenant) -> None:
    campaign = tenant.campaign("review", contacts=2)
    assert [step.key for step in campaign.steps] == [None, None, None]
    rows = list(contact_rows(tenant, campaign.id).values())
    slots = {slot.step_key: slot for slot in campaign.steps.slots() if slot.variant == "a"}
    message_ids = {
        (row.id, key): slot.message_id(row.id, revision=0)
        for row in rows
        for key, slot in slots.items()
    }
    messages = [
        message_values(tenant.id, row) | {"id": message_ids[row.id, key], "step_key": key}
        for row in rows
        for key in slots
    ]
    tenant.transact(lambda store: store.connection.execute(sa.insert(HOST.messages), messages))
    tenant.apply(campaign.id, Action.REQUEST_CHANGES)
    before = tenant.transact(lambda store: all_rows(store.connection, tenant.id)["messages"])
    labels = {key: campaign.steps.by_key(key).label for key in slots}
    edits: tuple[Callable[[StepSequence], StepSequence], ...] = (
        lambda steps: steps.move("s2", 1),
        lambda steps: steps.insert(1, Step("call_script", "Call")),
        lambda steps: steps.update("s3", enabled=True),
        lambda steps: steps.remove("s3"),
        lambda steps: steps.update(steps.keys[0], label="Ring"),
    )
    for edit in edits:
        with open_store(tenant) as store:
            present = store.campaigns.get(campaign.id)
            steps = store.campaigns.save(attrs.evolve(present, steps=edit(present.steps))).steps
        documents = json.loads(campaign_row(tenant, campaign.id).template_config)
        assert [document["key"] for document in documents] == list(steps.keys)
        assert {key: steps.by_key(key).label for key in labels} == labels
        edited_slots = {slot.step_key: slot for slot in steps.slots() if slot.variant == "a"}
        for (row_id, key), message_id in message_ids.items():
            assert edited_slots[key].message_id(row_id, 0) == message_id
    after = tenant.transact(lambda store: all_rows(store.connection, tenant.id)["messages"])
    assert after == before
    assert all(contact.stale for contact in tenant.campaign_contacts(campaign.id).values())


@pytest.mark.parametrize("with_previous", [True, False])
def test_failure_19_steps_that_come_back_without_keys_keep_their_messages(
    tenant: Tenant, *, with_previous: bool
) -> None:
    campaign = tenant.campaign("ready", contacts=1, generated=1, steps=STEPS.move("s1", 2))
    assert campaign.steps.keys == ("s2", "s1", "s3")

    def put(change: Callable[[list[dict[str, Any]]], object]) -> Campaign:
        document = DEFAULT.dump_template_config(campaign.steps)
        for step in document:
            del step["key"]
        days = [step.get("day_offset") for step in document]
        change(document)
        for index, step in enumerate(document):
            step |= {"step": index + 1, "day_offset": days[index]}
        with open_store(tenant) as store:
            present = store.campaigns.get(campaign.id)
            steps = DEFAULT.parse_template_config(
                document, previous=present.steps if with_previous else None
            )
            return store.campaigns.save(attrs.evolve(present, steps=steps))

    assert put(list.copy).version == campaign.version
    assert not any(contact.stale for contact in tenant.campaign_contacts(campaign.id).values())
    assert put(list.reverse).steps.keys == ("s3", "s1", "s2")
    edited = put(lambda document: document[1].update(label="Edited"))
    assert edited.steps.keys == ("s2", "s1", "s3")
    assert edited.steps.by_key("s1").label == "Edited"


# Clone.


def test_a_clone_has_all_of_the_content(tenant: Tenant) -> None:
    owner_id = new_owner(tenant)
    with open_store(tenant) as store:
        template_id = store.templates.list()[0].id
        original = store.campaigns.add(rich(owner_id=owner_id, template_id=template_id))
        clone = store.campaigns.clone(original.id)
        assert store.campaigns.get(original.id) == original
    assert clone.id != original.id
    assert clone == attrs.evolve(
        original,
        id=clone.id,
        name=f"{original.name} (copy)",
        created_at=clone.created_at,
        updated_at=clone.updated_at,
    )


@pytest.mark.parametrize("status", Status)
def test_failure_14_a_clone_has_no_state_of_the_original(tenant: Tenant, status: Status) -> None:
    original = tenant.campaign(status, contacts=2, budget=Decimal(5))
    with open_store(tenant) as store:
        clone = store.campaigns.clone(original.id, name="Clone")
        new = store.campaigns.add(rich())
    assert (clone.name, clone.steps, clone.generation_config) == (
        "Clone",
        original.steps,
        original.generation_config,
    )
    content = {"id", "name", "description", "template_config", "generation_config"}
    content |= {"created_at", "updated_at"}
    clone_state, new_state = (
        {
            name: value
            for name, value in campaign_row(tenant, one.id)._asdict().items()
            if name not in content
        }
        for one in (clone, new)
    )
    assert clone_state == new_state
    assert contact_rows(tenant, clone.id) == {}
    assert tenant.transact(lambda store: store.campaigns.history(clone.id)) == ()
    tenant.check_totals(clone.id)


def test_failure_14_parallel_clones_have_different_names(tenant: Tenant) -> None:
    original = tenant.transact(lambda store: store.campaigns.add(rich(name="N" * 500)))

    def clone(store: CampaignStore) -> Campaign:
        return store.campaigns.clone(original.id)

    clones = run_together(tenant, *[clone] * 6)
    (eighth,) = run_while_open(tenant, first=clone, others=[clone])
    endings = {campaign.name[-8:].strip("N ") for campaign in (*clones, eighth)}
    assert endings == {"(copy)", *(f"(copy {number})" for number in (2, 3, 4, 5, 6, 8))}
    for campaign in (*clones, eighth):
        assert len(campaign.name) == 500
        assert (campaign.steps, campaign.generation_config, campaign.description) == (
            RICH.steps,
            RICH.generation_config,
            RICH.description,
        )


def test_a_clone_with_an_invalid_name_writes_nothing(tenant: Tenant) -> None:
    campaign = tenant.campaign(contacts=1)
    with open_store(tenant) as store:
        for name in ("", " ", "N" * 501, "a\0b"):
            with refused(store, InvalidDocument):
                store.campaigns.clone(campaign.id, name=name)
        assert store.campaigns.clone(campaign.id).name == "Campaign (copy)"
