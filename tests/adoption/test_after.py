"""Life after an adoption: for legacy readers and writers, for the store, for the demo."""

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
from campaign_model.claims import Generated
from campaign_model.cli import main
from campaign_model.cli.demo import workers
from campaign_model.lifecycle import Action, ReviewTally, Status
from campaign_model.steps import Step, StepSequence
from campaign_model.store import CampaignStore, transact
from campaign_model.wire import DEFAULT
from support import contract, servers
from support.adoption import POSTGRESQL, Legacies, State, adopt, contents
from support.legacy import Row, Shape
from support.legacy_data import CONTACTS, STEPS, contact_of, encoded, sample, uid
from support.paths import TESTS

SERVICE = Shape(extended=True, service=True)
TENANT = UUID(uid("tenants", 1))


@pytest.fixture
def adopted(legacies: Legacies) -> Iterator[sa.Engine]:
    """A database that was adopted, with what it held: a bare one, and an extended one."""
    shape = Shape() if legacies.engine_name == POSTGRESQL[0] else SERVICE
    with legacies.database(shape, sample) as engine:
        adopt(engine)
        yield engine


def execute(engine: sa.Engine, statement: str, **values: object) -> list[tuple[object, ...]]:
    with engine.begin() as connection:
        result = connection.execute(sa.text(statement), values)
        return [tuple(row) for row in result] if result.returns_rows else []


def test_legacy_readers_and_writers_go_on(adopted: sa.Engine) -> None:
    read = """SELECT name, status, total_contacts, generated_count, generation_cost,
        template_config FROM campaigns"""
    before = execute(adopted, read)
    assert len(before) == len(contents(adopted)["campaigns"])
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
    ((id_,),) = execute(adopted, "SELECT id FROM campaigns WHERE name = 'By hand'")
    assert isinstance(id_, UUID)
    assert execute(adopted, f"{read} WHERE id = :id", id=id_) == [
        ("By hand", "draft", 0, 0, Decimal(0), [])
    ]
    message = "INSERT INTO messages (tenant_id, campaign_id, body) VALUES (:tenant, :id, 'Hello')"
    execute(adopted, message, tenant=TENANT, id=id_)

    def go_on(store: CampaignStore) -> Campaign:
        campaign = store.campaigns.get(UUID(str(id_)))
        assert store.campaigns.list().items[0].id == campaign.id
        return store.campaigns.apply(campaign.id, Action.DELETE)

    assert transact(adopted, TENANT, go_on).status is Status.ARCHIVED


def test_a_campaign_goes_its_way_to_the_end(adopted: sa.Engine) -> None:
    contacts = [UUID(contact_of(1, number)) for number in range(1, CONTACTS + 1)]

    def begin(store: CampaignStore) -> Campaign:
        drafts = store.campaigns.list(status=[Status.DRAFT]).items
        campaign = store.campaigns.get(drafts[0].id)
        steps = campaign.steps.insert(1, Step("email", "Added"))
        campaign = store.campaigns.save(attrs.evolve(campaign, steps=steps))
        assigned = store.contacts.assign(campaign.id, contacts)
        assert assigned.added + assigned.already_there == CONTACTS
        store.contacts.set_readiness(campaign.id, dict.fromkeys(contacts, ()))
        store.campaigns.apply(campaign.id, Action.MARK_READY)
        return store.campaigns.apply(campaign.id, Action.START_GENERATION)

    campaign = transact(adopted, TENANT, begin)
    cost = Decimal("0.000000123")

    def generate(store: CampaignStore) -> int:
        batch = store.generation.claim(campaign.id, 2, timedelta(minutes=1))
        store.generation.record(dict.fromkeys(batch.claims, Generated(cost)))
        return len(batch.claims)

    def spent(store: CampaignStore) -> Decimal:
        return store.generation.progress(campaign.id).spent

    before, claims = transact(adopted, TENANT, spent), 0
    while claimed := transact(adopted, TENANT, generate):
        claims += claimed
    assert claims > 0
    assert transact(adopted, TENANT, spent) == before + claims * cost

    def end(store: CampaignStore) -> Campaign:
        for action in (Action.COMPLETE_GENERATION, Action.APPROVE, Action.EXPORT, Action.ARCHIVE):
            review = ReviewTally(1, 0, 0) if action is Action.APPROVE else None
            campaign_ = store.campaigns.apply(campaign.id, action, review=review)
        history = [entry.action for entry in store.campaigns.history(campaign.id)]
        assert history[0] == "adopted"
        return campaign_

    archived = transact(adopted, TENANT, end)
    assert archived.status is Status.ARCHIVED
    read = "SELECT total_contacts, generation_cost FROM campaigns WHERE id = :id"
    ((total, legacy_cost),) = execute(adopted, read, id=campaign.id)
    assert (legacy_cost, total) == (before + claims * cost, CONTACTS)
    assert db.verify(adopted).shape == "current"


def is_encoded(row: Row) -> bool:
    return str(row["template_config"]).startswith('"')


def read_steps(id_: UUID, store: CampaignStore) -> StepSequence:
    return store.campaigns.get(id_).steps


def test_failure_12_double_encoded_json_is_read_and_never_written_again(
    legacies: Legacies,
) -> None:
    with legacies.database(SERVICE, sample) as engine:
        kinds = """SELECT DISTINCT jsonb_typeof(template_config), jsonb_typeof(generation_config)
            FROM campaigns"""
        assert {one for pair in execute(engine, kinds) for one in pair} > {"array", "string"}
        twice = [row["id"] for row in sample(SERVICE)["campaigns"] if is_encoded(row)]
        assert len(twice) > 2
        adopt(engine)
        assert execute(engine, kinds) == [("array", "object")]
        for id_ in twice:
            ((tenant,),) = execute(engine, "SELECT tenant_id FROM campaigns WHERE id = :id", id=id_)
            read = transact(engine, UUID(str(tenant)), partial(read_steps, UUID(id_)))
            assert read == DEFAULT.recover_template_config(encoded(STEPS)).value
        for table, column, document in (
            ("campaigns", "template_config", []),
            ("campaigns", "generation_config", {}),
            ("campaign_templates", "steps", []),
            ("campaign_templates", "default_config", {}),
            ("campaign_contacts", "enrichment_gaps", []),
        ):
            write = f"UPDATE {table} SET {column} = CAST(:document AS jsonb)"  # noqa: S608
            with pytest.raises(sa.exc.IntegrityError, match=f"ck_{table}_{column}"):
                execute(engine, write, document=encoded(document, 1))
            execute(engine, write, document=json.dumps(document))


def test_the_demo_runs_and_leaves_the_hosts_own_tables_alone(
    oldest: Legacies, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with oldest.database(SERVICE, sample) as engine:
        adopt(engine)
        monkeypatch.setattr(workers, "SHORT_LEASE", timedelta(seconds=1))
        before = State.of(engine)
        url = servers.plain(engine.url)
        out = io.StringIO()
        with redirect_stdout(out):
            assert main(["demo", "--url", url, "--out", str(tmp_path / "out.jsonl")]) == 0
        assert out.getvalue().splitlines()[-1] == "The campaign is exported."
        after = State.of(engine)
        assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 191
        for table, rows in before.contents.items():
            assert after.contents[table].items() >= rows.items(), table
        assert after.contents["messages"] == before.contents["messages"]
        assert len(after.contents["campaigns"]) == len(before.contents["campaigns"]) + 1
        assert db.verify(engine).shape == "current"


def test_presets_of_an_older_form_are_brought_up_to_date_unless_edited(newest: Legacies) -> None:
    """As legacy databases hold them: channel, label, on, with a PDF; double-encoded, even."""
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
    with newest.database(SERVICE, sample) as engine:
        execute(engine, update, steps=encoded(older, 1), id=first.id)
        report = adopt(engine).report.presets
        # The sample holds the second as somebody has edited it, and the third in part.
        names = (first.name,), (second.name, third.name)
        assert report == db.SyncReport((), names[0], (), names[1])
        stored = transact(engine, TENANT, lambda store: store.templates.get(first.id))
        assert (stored.steps, stored.description) == (first.steps, first.description)
        assert adopt(engine).report.presets == db.SyncReport((), (), names[0], names[1])


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


def test_the_store_contract_holds_on_an_adopted_database(oldest: Legacies, tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(HOST_ROWS)
    with oldest.database(SERVICE, sample) as engine:
        adopt(engine)
        before = contents(engine)
        done = contract.run(tmp_path, engine.url.render_as_string(hide_password=False))
        assert done.returncode == 0, done.stdout
        assert contents(engine) == before


def test_the_benchmark_runs(new_database: Callable[..., str]) -> None:
    """In small: its numbers are for those who run it at its full size."""
    command = TESTS / "benchmarks" / "adopt.py"
    done = subprocess.run(
        [
            *(sys.executable, command, "--campaigns", "50", "--contacts", "3"),
            *("--url", new_database(POSTGRESQL[-1])),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    for words in ("campaign contacts               150", "longest ACCESS EXCLUSIVE lock", " MB"):
        assert words in done.stdout
