"""After an adoption: legacy services, the store, the demo and the store contract all work."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from datetime import timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from uuid import UUID

import attrs
import pytest
import sqlalchemy as sa

from campaign_model import db, presets
from campaign_model.campaign import Campaign
from campaign_model.claims import Generated, StopReason
from campaign_model.cli import doctor_checks, main
from campaign_model.cli.demo import workers
from campaign_model.lifecycle import Action, ReviewTally, Status
from campaign_model.steps import Step, StepSequence
from campaign_model.store import CampaignStore, transact
from campaign_model.wire import DEFAULT
from support import contract, servers
from support.adoption import (
    BARE,
    POSTGRESQL,
    SERVICE,
    DatabaseState,
    LegacyDatabases,
    adopt,
    execute,
    read_rows,
)
from support.drivers import call_with_engine
from support.legacy import Row
from support.legacy_rows import CONTACTS, STEPS, contact_id, encode, make_id, sample_rows
from support.paths import TESTS

TENANT = UUID(make_id("tenants", 1))


@pytest.fixture
def adopted(legacies: LegacyDatabases) -> Iterator[sa.Engine]:
    """An adopted database: a bare one on the oldest PostgreSQL, else an extended one."""
    shape = BARE if legacies.engine_name == POSTGRESQL[0] else SERVICE
    with legacies.database(shape, sample_rows) as engine:
        adopt(engine)
        yield engine


def test_legacy_readers_and_writers_still_work(adopted: sa.Engine) -> None:
    read = """SELECT name, status, total_contacts, generated_count, generation_cost,
        template_config FROM campaigns"""
    before = execute(adopted, read)
    assert len(before) == len(read_rows(adopted)["campaigns"])
    for name, status, total, generated, cost, steps in before:
        assert isinstance(name, str)
        assert status in {*Status}
        assert isinstance(total, int)
        assert isinstance(generated, int)
        assert isinstance(cost, Decimal)
        assert isinstance(steps, list)
    execute(
        adopted,
        "INSERT INTO campaigns (tenant_id, name) VALUES (:tenant, 'By hand')",
        tenant=TENANT,
    )
    ((campaign_id,),) = execute(adopted, "SELECT id FROM campaigns WHERE name = 'By hand'")
    assert isinstance(campaign_id, UUID)
    assert execute(adopted, f"{read} WHERE id = :id", id=campaign_id) == [
        ("By hand", "draft", 0, 0, Decimal(0), [])
    ]
    message = "INSERT INTO messages (tenant_id, campaign_id, body) VALUES (:tenant, :id, 'Hello')"
    execute(adopted, message, tenant=TENANT, id=campaign_id)

    def delete(store: CampaignStore) -> Campaign:
        campaign = store.campaigns.get(UUID(str(campaign_id)))
        assert store.campaigns.list().items[0].id == campaign.id
        return store.campaigns.apply(campaign.id, Action.DELETE)

    assert transact(adopted, TENANT, delete).status is Status.ARCHIVED


def test_an_adopted_campaign_can_be_generated_and_exported(adopted: sa.Engine) -> None:
    generate_and_export(adopted)


def test_psycopg2_adopts_generates_and_exports_with_any_string_syntax(
    newest: LegacyDatabases,
) -> None:
    def adopt_and_export(engine: sa.Engine) -> None:
        adopt(engine)
        generate_and_export(engine)

    with newest.database(SERVICE, sample_rows) as engine:
        settings = {"standard_conforming_strings": "off"}
        call_with_engine(engine.url, "psycopg2", adopt_and_export, settings)


def generate_and_export(adopted: sa.Engine) -> None:
    contacts = [UUID(contact_id(1, number)) for number in range(1, CONTACTS + 1)]

    def start(store: CampaignStore) -> Campaign:
        drafts = store.campaigns.list(status=[Status.DRAFT]).items
        campaign = store.campaigns.get(drafts[0].id)
        steps = campaign.steps.insert(1, Step("email", "Added"))
        campaign = store.campaigns.save(attrs.evolve(campaign, steps=steps))
        assigned = store.contacts.assign(campaign.id, contacts)
        assert assigned.added + assigned.already_there == CONTACTS
        store.contacts.set_readiness(campaign.id, dict.fromkeys(contacts, ()))
        store.campaigns.apply(campaign.id, Action.MARK_READY)
        return store.campaigns.apply(campaign.id, Action.START_GENERATION)

    campaign = transact(adopted, TENANT, start)
    cost = Decimal("0.000000123")

    def generate_batch(store: CampaignStore) -> int:
        batch = store.generation.claim(campaign.id, 2, timedelta(minutes=1))
        store.generation.record(dict.fromkeys(batch.claims, Generated(cost)))
        return len(batch.claims)

    def read_spent(store: CampaignStore) -> Decimal:
        return store.generation.progress(campaign.id).spent

    spent_before, generated = transact(adopted, TENANT, read_spent), 0
    while batch_size := transact(adopted, TENANT, generate_batch):
        generated += batch_size
    assert generated > 0
    assert transact(adopted, TENANT, read_spent) == spent_before + generated * cost

    def finish(store: CampaignStore) -> Campaign:
        for action in (Action.COMPLETE_GENERATION, Action.APPROVE, Action.EXPORT, Action.ARCHIVE):
            review = ReviewTally(1, 0, 0) if action is Action.APPROVE else None
            # The library does not know from which steps adopted contacts were generated.
            partial = action is Action.APPROVE
            moved_campaign = store.campaigns.apply(
                campaign.id, action, review=review, allow_partial=partial
            )
        actions = [entry.action for entry in store.campaigns.history(campaign.id)]
        assert actions[0] == "adopted"
        return moved_campaign

    assert transact(adopted, TENANT, finish).status is Status.ARCHIVED
    read = "SELECT total_contacts, generation_cost FROM campaigns WHERE id = :id"
    ((total_contacts, legacy_cost),) = execute(adopted, read, id=campaign.id)
    assert (legacy_cost, total_contacts) == (spent_before + generated * cost, CONTACTS)
    assert db.verify(adopted).shape == "current"


def is_double_encoded(row: Row) -> bool:
    return str(row["template_config"]).startswith('"')


def read_steps(campaign_id: UUID, store: CampaignStore) -> StepSequence:
    return store.campaigns.get(campaign_id).steps


@pytest.mark.parametrize("status", ["exported", "archived"])
def test_failure_30_an_adopted_campaign_that_was_exported_hands_out_no_contact(
    oldest: LegacyDatabases, status: str
) -> None:
    with oldest.database(SERVICE, sample_rows) as engine:
        execute(engine, "UPDATE campaigns SET status = :status, is_active = true", status=status)
        execute(engine, "UPDATE campaign_contacts SET status = 'generated'")
        run = adopt(engine)
        ((contacts,),) = execute(engine, "SELECT count(*) FROM campaign_contacts")
        assert contacts
        assert run.report.repaired["exported_before"] == contacts
        execute(engine, "UPDATE campaigns SET status = 'exported'")
        assert adopt(engine).findings == ()

        def hand_out(store: CampaignStore) -> None:
            for summary in store.campaigns.list().items:
                batch = store.export.claim(summary.id, 10, timedelta(minutes=1))
                assert (batch.claims, batch.stop) == ((), StopReason.DRAINED)
                progress = store.generation.progress(summary.id)
                assert progress.exported == progress.total

        transact(engine, TENANT, hand_out)


def test_failure_12_double_encoded_json_is_decoded_once_and_refused_afterwards(
    legacies: LegacyDatabases,
) -> None:
    with legacies.database(SERVICE, sample_rows) as engine:
        select_types = """
            SELECT DISTINCT jsonb_typeof(template_config), jsonb_typeof(generation_config)
            FROM campaigns
        """
        types = {type_ for pair in execute(engine, select_types) for type_ in pair}
        assert types > {"array", "string"}
        rows = [row for row in sample_rows(SERVICE)["campaigns"] if is_double_encoded(row)]
        assert len(rows) > 2
        adopt(engine)
        assert execute(engine, select_types) == [("array", "object")]
        for row in rows:
            steps = transact(engine, UUID(row["tenant_id"]), partial(read_steps, UUID(row["id"])))
            assert steps == DEFAULT.recover_template_config(encode(STEPS)).value
        for table, column, document in (
            ("campaigns", "template_config", []),
            ("campaigns", "generation_config", {}),
            ("campaign_templates", "steps", []),
            ("campaign_templates", "default_config", {}),
            ("campaign_contacts", "enrichment_gaps", []),
        ):
            update = f"UPDATE {table} SET {column} = CAST(:document AS jsonb)"  # noqa: S608
            with pytest.raises(sa.exc.IntegrityError, match=f"ck_{table}_{column}"):
                execute(engine, update, document=encode(document, 1))
            execute(engine, update, document=json.dumps(document))


def test_the_demo_runs_and_changes_no_row_of_the_host(
    oldest: LegacyDatabases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with oldest.database(SERVICE, sample_rows) as engine:
        adopt(engine)
        monkeypatch.setattr(workers, "SHORT_LEASE", timedelta(seconds=1))
        before = DatabaseState.read(engine)
        url = servers.plain(engine.url)
        out = io.StringIO()
        with redirect_stdout(out):
            assert main(["demo", "--url", url, "--out", str(tmp_path / "out.jsonl")]) == 0
        assert "The campaign is exported." in out.getvalue().splitlines()
        after = DatabaseState.read(engine)
        assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 191
        for table, rows in before.rows.items():
            assert after.rows[table].items() >= rows.items(), table
        assert after.rows["messages"] == before.rows["messages"]
        assert len(after.rows["campaigns"]) == len(before.rows["campaigns"]) + 1
        assert db.verify(engine).shape == "current"


def test_doctor_finds_nothing_in_an_adopted_database(
    newest: LegacyDatabases, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor_checks, "POSTGRESQL_SETTINGS", {})  # The server may lose data.
    with newest.database(SERVICE, sample_rows) as engine:
        adopt(engine)
        exit_code = main(["db", "doctor", "--url", servers.plain(engine.url)])
        assert exit_code == 0, capsys.readouterr().out


def test_system_templates_of_an_older_form_are_updated_unless_edited(
    newest: LegacyDatabases,
) -> None:
    """Legacy databases have fewer fields of each step, some of them double-encoded."""
    first, second, third = presets.load()
    older = [
        {
            "step": position,
            "channel": step.channel,
            "label": step.label,
            "enabled": step.enabled,
            "needs_pdf": step.needs_pdf,
        }
        for position, step in enumerate(first.steps, 1)
    ]
    update = """UPDATE campaign_templates SET steps = CAST(:steps AS jsonb), description = NULL
        WHERE id = :id"""
    with newest.database(SERVICE, sample_rows) as engine:
        execute(engine, update, steps=encode(older, 1), id=first.id)
        report = adopt(engine).report.presets
        # In the sample rows, the second is edited by hand and the third has fewer steps.
        edited = (second.name, third.name)
        assert report == db.SyncReport((), (first.name,), (), edited)
        stored = transact(engine, TENANT, lambda store: store.templates.get(first.id))
        assert (stored.steps, stored.description) == (first.steps, first.description)
        assert adopt(engine).report.presets == db.SyncReport((), (), (first.name,), edited)


HOST_ROWS = """
from uuid import uuid4

import sqlalchemy as sa


def pytest_campaign_model_host_rows(connection, host, contacts):
    tenant, *ids = [uuid4() for _ in range(contacts + 1)]
    insert = "INSERT INTO tenants (id, name, slug) VALUES (:id, 'Contract', :slug)"
    connection.execute(sa.text(insert), {"id": tenant, "slug": str(tenant)})
    insert = sa.text("INSERT INTO contacts (id, tenant_id) VALUES (:id, :tenant)")
    connection.execute(insert, [{"id": id_, "tenant": tenant} for id_ in ids])
    return tenant, ids
"""


@pytest.mark.long
def test_the_store_contract_holds_on_an_adopted_database(
    oldest: LegacyDatabases, tmp_path: Path
) -> None:
    (tmp_path / "conftest.py").write_text(HOST_ROWS)
    with oldest.database(SERVICE, sample_rows) as engine:
        adopt(engine)
        before = read_rows(engine)
        process = contract.run(tmp_path, engine.url.render_as_string(hide_password=False))
        assert process.returncode == 0, process.stdout
        assert read_rows(engine) == before


@pytest.mark.long
def test_the_adoption_benchmark_runs_at_a_small_size(new_database: Callable[..., str]) -> None:
    command = TESTS / "benchmarks" / "adopt.py"
    process = subprocess.run(
        [
            *(sys.executable, command, "--campaigns", "50", "--contacts", "3"),
            *("--url", new_database(POSTGRESQL[-1])),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert process.returncode == 0, process.stderr
    expected = ("campaign contacts               150", "enforce:", "longest ACCESS EXCLUSIVE lock")
    for words in expected:
        assert words in process.stdout
