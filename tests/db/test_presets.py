"""``db.sync_presets``: inserted, updated, unchanged and edited system templates."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import attrs
import pytest
import sqlalchemy as sa

from campaign_model import db, presets
from campaign_model.campaign import Campaign, CampaignTemplate
from campaign_model.errors import Conflict
from campaign_model.generation_config import GenerationConfig
from campaign_model.steps import Step, StepSequence
from campaign_model.store import CampaignStore
from campaign_model.store.tables import campaign_templates
from campaign_model.testing.parallel import BackgroundTransactions
from campaign_model.testing.sample_campaigns import Tenant
from support import servers
from support.tenants import drop_checks, new_tenant

TABLE = campaign_templates
SHIPPED = presets.load()
NAMES = tuple(template.name for template in SHIPPED)
A_DAY = timedelta(days=1)
INTRO = Step("email", "Introduction", config={"words": 80, "tone": "casual"})

# Changes that an operator may make to a row with psql.
EDITS: dict[str, dict[str, Any]] = {
    "name": {"name": "Ours"},
    "description": {"description": "By hand"},
    "steps": {"steps": '[{"step": 1, "channel": "email", "label": "By hand"}]'},
    "a field of a step": {"steps": '[{"channel": "email", "x_by_hand": 1}]'},
    "settings": {"default_config": '{"tone": "direct"}'},
    "unreadable steps": {"steps": '[{"channel": "email", "words": 9007199254740993}]'},
    "unreadable settings": {"default_config": '{"words": 9007199254740993}'},
    "no name": {"name": " "},
}


@pytest.fixture(scope="module")
def synced(databases: servers.Databases, engine_name: str) -> Iterator[str]:
    """A database with the schema and the presets. Each test gets a copy."""
    url = databases.create(engine_name)
    engine = sa.create_engine(url)
    db.init(engine, with_host_tables=True)
    engine.dispose()
    yield url
    databases.drop(url)


@pytest.fixture
def host(new_database: Callable[..., str], engine_name: str, synced: str) -> Iterator[Tenant]:
    """A tenant in a database of its own."""
    engine = db.prepare_engine(sa.create_engine(new_database(engine_name, synced)))
    yield new_tenant(engine)
    engine.dispose()


def sync(host: Tenant, *shipped: CampaignTemplate) -> db.SyncReport:
    with host.engine.begin() as connection:
        return db.sync_presets(connection, shipped or None)


def rows(host: Tenant) -> dict[UUID, dict[str, Any]]:
    with host.engine.connect() as connection:
        table_rows = connection.execute(sa.select(TABLE)).mappings()
        return {row["id"]: dict(row) for row in table_rows}


def edit(host: Tenant, template: CampaignTemplate, **values: Any) -> None:
    with host.engine.begin() as connection:
        update = sa.update(TABLE).where(TABLE.c.id == template.id).values(values)
        assert connection.execute(update).rowcount == 1


def content(template: CampaignTemplate) -> CampaignTemplate:
    """Return a template without the fields that the database adds."""
    return attrs.evolve(template, version=1, created_at=None, updated_at=None)


def listed(host: Tenant) -> tuple[CampaignTemplate, ...]:
    return host.transact(lambda store: store.templates.list())


def next_release(template: CampaignTemplate) -> CampaignTemplate:
    """Return the preset as a later release may ship it."""
    return attrs.evolve(
        template,
        name=f"{template.name} 2",
        steps=template.steps.insert(1, INTRO),
        generation_config=GenerationConfig(tone="formal", language="de"),
    )


def test_three_presets_ship_with_the_ids_of_existing_databases() -> None:
    assert [(str(template.id), template.name) for template in SHIPPED] == [
        ("a0000000-0000-0000-0000-000000000001", "LinkedIn + Email Sequence"),
        ("a0000000-0000-0000-0000-000000000002", "Email 3-Step"),
        ("a0000000-0000-0000-0000-000000000003", "LinkedIn Only"),
    ]
    linkedin_email, email, linkedin = (template.steps for template in SHIPPED)
    assert [step.channel.partition("_")[0] for step in linkedin_email] == [
        *("linkedin", "email", "email", "linkedin", "email"),
    ]
    assert [step.enabled for step in linkedin_email] == [True] * 4 + [False]
    assert [step.needs_pdf for step in linkedin_email] == [False] * 3 + [True, False]
    assert [step.channel for step in email] == ["email"] * 3
    assert [step.channel for step in linkedin] == ["linkedin_connect", "linkedin_message"]
    settings = [(one.generation_config.tone, one.generation_config.language) for one in SHIPPED]
    assert settings == [("professional", "en"), ("professional", "en"), ("casual", "en")]


def test_a_sync_inserts_the_presets_and_every_tenant_reads_them(host: Tenant) -> None:
    with host.engine.begin() as connection:
        connection.execute(sa.delete(TABLE))
    assert sync(host) == db.SyncReport(NAMES, (), (), ())
    for tenant in (host, new_tenant(host.engine)):
        templates = sorted(listed(tenant), key=lambda template: template.id)
        assert tuple(map(content, templates)) == SHIPPED
        assert all(template.is_system and template.repairs == () for template in templates)
        with pytest.raises(Conflict, match="system template"):
            tenant.transact(lambda store: store.templates.rename(SHIPPED[0].id, "Mine"))


def test_a_sync_of_unchanged_presets_writes_nothing(host: Tenant) -> None:
    before = rows(host)
    assert {row["version"] for row in before.values()} == {1}
    for _ in range(2):
        assert sync(host) == db.SyncReport((), (), NAMES, ())
        assert rows(host) == before


def test_a_deleted_system_template_is_inserted_again(host: Tenant) -> None:
    with host.engine.begin() as connection:
        connection.execute(sa.delete(TABLE).where(TABLE.c.id == SHIPPED[1].id))
    assert sync(host) == db.SyncReport((NAMES[1],), (), (NAMES[0], NAMES[2]), ())
    assert {content(one) for one in listed(host)} == {*SHIPPED}


def test_only_the_system_template_whose_preset_changed_is_updated(host: Tenant) -> None:
    before = rows(host)
    new = next_release(SHIPPED[0])
    release = (new, *SHIPPED[1:])
    assert sync(host, *release) == db.SyncReport((), (new.name,), NAMES[1:], ())
    after = rows(host)
    changed = after.pop(new.id)
    old = before.pop(new.id)
    assert after == before
    assert changed["version"] == old["version"] + 1
    assert changed["created_at"] == old["created_at"]
    assert timedelta(0) <= changed["updated_at"] - old["updated_at"] < timedelta(minutes=5)
    assert changed["updated_at"] > changed["created_at"]
    assert content(next(one for one in listed(host) if one.id == new.id)) == new
    # Sync the same release again, then go back to the previous one.
    assert sync(host, *release) == db.SyncReport((), (), (new.name, *NAMES[1:]), ())
    assert sync(host, *SHIPPED) == db.SyncReport((), NAMES[:1], NAMES[1:], ())
    assert {content(one) for one in listed(host)} == {*SHIPPED}


def test_white_space_and_the_order_of_fields_do_not_count_as_a_change(host: Tenant) -> None:
    before = rows(host)
    for template in SHIPPED:
        steps = json.loads(before[template.id]["steps"])
        reordered = [dict(sorted(step.items(), reverse=True)) for step in steps]
        edit(host, template, steps=json.dumps(reordered, indent=2))
    assert sync(host) == db.SyncReport((), (), NAMES, ())


def test_a_row_edited_by_hand_is_reported_and_not_changed(host: Tenant) -> None:
    drop_checks(host.engine)
    original = rows(host)[SHIPPED[1].id]
    shipped = tuple(map(next_release, SHIPPED))
    for name, values in EDITS.items():
        edit(host, SHIPPED[1], **original | values)
        before = rows(host)[SHIPPED[1].id]
        assert sync(host, SHIPPED[1]).edited == (SHIPPED[1].name,), name
        report = sync(host, *shipped)
        assert report.edited == (shipped[1].name,), name
        assert len(report.updated + report.unchanged) == 2, name
        assert rows(host)[SHIPPED[1].id] == before, name


def test_an_edit_that_was_undone_does_not_count_as_an_edit(host: Tenant) -> None:
    original = rows(host)[SHIPPED[2].id]
    edit(host, SHIPPED[2], name="By hand")
    assert sync(host).edited == (NAMES[2],)
    edit(host, SHIPPED[2], name=original["name"])
    assert sync(host, *map(next_release, SHIPPED)).edited == ()


def test_a_row_without_a_digest_that_equals_its_preset_is_updated_from_then_on(
    host: Tenant,
) -> None:
    """Legacy databases hold the presets without a digest."""
    created_at = rows(host)[SHIPPED[1].id]["created_at"]
    edit(host, SHIPPED[0], shipped_digest=None)
    edit(host, SHIPPED[1], shipped_digest=None, name="By hand", updated_at=created_at + A_DAY)
    report = sync(host)
    assert (report.unchanged, report.edited) == ((NAMES[0], NAMES[2]), (NAMES[1],))
    report = sync(host, *map(next_release, SHIPPED))
    assert report.updated == (f"{NAMES[0]} 2", f"{NAMES[2]} 2")
    assert report.edited == (f"{NAMES[1]} 2",)


def test_a_row_with_fewer_fields_than_its_preset_is_updated_unless_a_field_differs(
    host: Tenant,
) -> None:
    """Legacy databases hold the presets without step keys, day offsets and conditions."""
    older = {
        template.id: {
            "shipped_digest": None,
            "description": None,
            "default_config": json.dumps({"tone": template.generation_config.tone}),
            "steps": json.dumps(
                [
                    {
                        "step": position,
                        "channel": step.channel,
                        "label": step.label,
                        "enabled": step.enabled,
                        "needs_pdf": step.needs_pdf,
                    }
                    for position, step in enumerate(template.steps, 1)
                ]
            ),
        }
        for template in SHIPPED
    }
    for template in SHIPPED:
        edit(host, template, **older[template.id])
    assert sync(host) == db.SyncReport((), NAMES, (), ())
    assert {content(one) for one in listed(host)} == {*SHIPPED}
    drop_checks(host.engine)
    original = rows(host)[SHIPPED[1].id] | older[SHIPPED[1].id]
    original |= {"version": 1, "updated_at": original["created_at"] + A_DAY}
    short = json.dumps([{"channel": "email"}])
    with_digest = {"shipped_digest": "of an earlier release"}
    for values in (*EDITS.values(), {"steps": "[]"}, {"steps": short}, with_digest):
        edit(host, SHIPPED[1], **original | values)
        before = rows(host)[SHIPPED[1].id]
        assert sync(host) == db.SyncReport((), (), (NAMES[0], NAMES[2]), (NAMES[1],)), values
        assert rows(host)[SHIPPED[1].id] == before, values


# Changes of a row that only differs in its words from a preset.
WORDING: dict[str, dict[str, Any]] = {
    "name": {"name": "LinkedIn"},
    "description": {"description": "Two messages"},
    "labels": {"steps": "label"},
    "a config": {"steps": "config"},
    "instructions": {"default_config": '{"tone": "casual", "custom_instructions": "Be brief."}'},
}


def reworded(template: CampaignTemplate, values: dict[str, Any]) -> dict[str, Any]:
    """Return the columns of an older form of a preset, with ``values`` in place of its words."""
    steps = [
        {
            "step": position,
            "channel": step.channel,
            "label": step.label,
            **({values["steps"]: {"subject": "x"}} if values.get("steps") == "config" else {}),
            **({"label": "Step"} if values.get("steps") == "label" else {}),
        }
        for position, step in enumerate(template.steps, 1)
    ]
    return {"shipped_digest": None, **values, "steps": json.dumps(steps)}


@pytest.mark.parametrize("values", WORDING.values(), ids=WORDING)
def test_a_row_in_other_words_is_updated_if_it_was_never_changed(
    host: Tenant, values: dict[str, Any]
) -> None:
    """Legacy services inserted the presets in their own words."""
    template = SHIPPED[2]
    row = rows(host)[template.id]
    moment = timedelta(microseconds=37)
    for updated_at, version, is_edited in (
        (row["created_at"] + moment, 1, False),
        (row["created_at"] + A_DAY, 1, True),
        (row["created_at"], 2, True),
    ):
        times = {"updated_at": updated_at, "version": version}
        edit(host, template, **row | reworded(template, values) | times)
        report = sync(host)
        assert (report.edited, report.updated) == (
            ((template.name,), ()) if is_edited else ((), (template.name,))
        )
        assert (rows(host)[template.id]["name"] == template.name) or is_edited


@pytest.mark.parametrize(
    "values",
    [
        {"steps": '[{"channel": "linkedin_connect"}]'},
        {"steps": '[{"channel": "linkedin_message"}, {"channel": "linkedin_connect"}]'},
        {"steps": '[{"channel": "linkedin_connect"}, {"channel": "linkedin_message", "x_a": 1}]'},
        {"default_config": '{"tone": "direct"}'},
    ],
)
def test_a_row_that_differs_in_more_than_words_is_edited(
    host: Tenant, values: dict[str, Any]
) -> None:
    edit(host, SHIPPED[2], shipped_digest=None, **values)
    assert sync(host).edited == (SHIPPED[2].name,)


def test_a_tenants_own_template_with_the_id_of_a_preset_is_not_changed(host: Tenant) -> None:
    preset = attrs.evolve(SHIPPED[0], id=uuid4(), name="New")
    host.transact(lambda store: store.templates.add(attrs.evolve(preset, is_system=False)))
    before = rows(host)[preset.id]
    assert sync(host, *SHIPPED, preset) == db.SyncReport((), (), NAMES, ("New",))
    assert rows(host)[preset.id] == before


def test_a_new_preset_needs_no_migration(host: Tenant) -> None:
    new = CampaignTemplate(
        name="Call first",
        steps=StepSequence((Step("call_script", "Call", day_offset=0), INTRO)),
        generation_config=GenerationConfig(tone="direct", language="pt-BR"),
        description='A preset with "quotes", a % and an é',
        id=UUID("a0000000-0000-0000-0000-000000000004"),
        is_system=True,
    )
    assert sync(host, *SHIPPED, new) == db.SyncReport(("Call first",), (), NAMES, ())
    assert {content(one) for one in listed(host)} == {*SHIPPED, new}
    # A later release without it leaves the row, because campaigns refer to it.
    assert sync(host) == db.SyncReport((), (), NAMES, ())
    assert len(listed(host)) == 4


def test_a_new_preset_file_needs_no_migration(
    host: Tenant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(str(presets.__file__)).parent
    for file in folder.glob("*.json"):
        shutil.copy(file, tmp_path)
    document = json.loads((folder / "email_3_step.json").read_text(encoding="utf-8"))
    document |= {"id": str(uuid4()), "name": "Brought by a file"}
    (tmp_path / "brought.json").write_text(json.dumps(document), encoding="utf-8")
    monkeypatch.setattr(presets, "files", lambda _package: tmp_path)
    assert sync(host) == db.SyncReport(("Brought by a file",), (), NAMES, ())
    assert "Brought by a file" in {template.name for template in listed(host)}


def test_concurrent_syncs_insert_each_preset_once_and_all_succeed(host: Tenant) -> None:
    with host.engine.begin() as connection:
        connection.execute(sa.delete(TABLE))
    barrier = threading.Barrier(4)

    def work(_number: int) -> db.SyncReport:
        barrier.wait()
        return sync(host)

    with ThreadPoolExecutor(4) as pool:
        reports = [*pool.map(work, range(4))]
    for name in NAMES:
        assert sum(name in report.inserted for report in reports) == 1
        assert sum(name in report.unchanged for report in reports) == 3
    assert len(rows(host)) == 3


def test_a_sync_waits_for_one_that_has_inserted_and_not_yet_committed(host: Tenant) -> None:
    """The concurrent syncs above meet in this order only sometimes."""
    with host.engine.begin() as connection:
        connection.execute(sa.delete(TABLE))

    def second(store: CampaignStore) -> db.SyncReport:
        return db.sync_presets(store.connection, SHIPPED)

    new = tuple(map(next_release, SHIPPED))
    for shipped, expected in (
        (SHIPPED, db.SyncReport((), (), NAMES, ())),
        (new, db.SyncReport((), NAMES, (), ())),
    ):
        with ThreadPoolExecutor(1) as pool:
            others = BackgroundTransactions(host, pool)
            with host.engine.begin() as connection:
                first = db.sync_presets(connection, shipped)
                assert first.inserted or first.updated
                waiting = others.start(second)
                others.wait_until_blocked(connection)
                assert not waiting.done()
            assert waiting.result() == expected


def test_a_rollback_of_the_caller_undoes_the_sync(host: Tenant) -> None:
    with host.engine.begin() as connection:
        connection.execute(sa.delete(TABLE))
    with host.engine.connect() as connection:
        assert db.sync_presets(connection).inserted == NAMES
        connection.rollback()
    assert rows(host) == {}


def test_a_campaign_made_from_a_preset_keeps_its_steps_when_the_preset_changes(
    host: Tenant,
) -> None:
    def add(store: CampaignStore) -> Campaign:
        template = store.templates.get(SHIPPED[0].id)
        return store.campaigns.add(Campaign.from_template(template, "From a preset"))

    campaign = host.transact(add)
    sync(host, *map(next_release, SHIPPED))
    again = host.transact(lambda store: store.campaigns.get(campaign.id))
    assert (again.steps, again.template_id) == (SHIPPED[0].steps, SHIPPED[0].id)
