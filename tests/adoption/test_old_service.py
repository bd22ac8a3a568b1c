"""Between the steps expand and enforce, an old service and the library share a database."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from campaign_model import db
from campaign_model.campaign import Campaign
from campaign_model.claims import Generated
from campaign_model.errors import CampaignModelError, TransitionNotAllowed
from campaign_model.lifecycle import Action, ContactStatus, ReviewTally, Status
from campaign_model.steps import Step, StepSequence
from campaign_model.store import CampaignStore, transact
from campaign_model.testing.totals_check import find_wrong_totals
from support.adoption import SERVICE, LegacyDatabases, adopt, execute
from support.legacy_rows import CONTACTS, contact_id, make_id, owner_id, sample_rows
from support.old_service import OldService

TENANT = UUID(make_id("tenants", 1))
PEOPLE = [UUID(contact_id(1, number)) for number in range(1, CONTACTS + 1)]
STEPS = [{"channel": "email", "label": None}, {"step": 9, "channel": "linkedin"}]


@contextmanager
def expanded(legacies: LegacyDatabases) -> Iterator[sa.Engine]:
    """Open a database after the step expand."""
    with legacies.database(SERVICE, sample_rows) as engine:
        adopt(engine, enforce=False)
        assert db.verify(engine).shape == "expanded"
        yield engine


def read_everything(store: CampaignStore) -> set[UUID]:
    """Read all that the library shows of the tenant's campaigns. Return their ids."""
    summaries = store.campaigns.list(deleted=True, limit=500).items
    for summary in summaries:
        store.campaigns.get(summary.id)
        store.campaigns.actions(summary.id)
        store.campaigns.history(summary.id)
        store.generation.progress(summary.id)
        store.contacts.list(summary.id)
    for template in store.templates.list():
        store.templates.get(template.id)
    return {summary.id for summary in summaries}


class TwoServices(RuleBasedStateMachine):
    """An old service and the library write into one database, in any order.

    Every write of the old service works, the library can read everything, and after a move of a
    campaign its numbers are those of its contacts.
    """

    engine: sa.Engine

    def __init__(self) -> None:
        super().__init__()
        self.old = OldService(self.engine, TENANT)
        self.campaigns: list[UUID] = []
        self.people = [*PEOPLE]

    def use(self, work: Callable[[CampaignStore], Any]) -> Any:
        return transact(self.engine, TENANT, work)

    def choose(self, data: st.DataObject) -> UUID:
        return data.draw(st.sampled_from(self.campaigns))

    def read(self) -> None:
        assert self.use(read_everything) >= {*self.campaigns}

    # The old service.

    @rule(
        layers=st.integers(0, 2),
        status=st.sampled_from([None, "draft", "ready", "paused"]),
        is_active=st.sampled_from([None, True, False]),
        tone=st.sampled_from([None, "", "warm", "x" * 60]),
    )
    def old_create(
        self, *, layers: int, status: str | None, is_active: bool | None, tone: str | None
    ) -> None:
        config = json.dumps(json.dumps({"tone": tone, "cancelled": True}))
        self.campaigns.append(
            self.old.create(
                STEPS,
                layers=layers,
                name="Old",
                owner_id=UUID(owner_id(1, 1)),
                status=status,
                is_active=is_active,
                generation_config=config,
            )
        )
        self.read()

    @precondition(lambda self: self.campaigns)
    @rule(data=st.data())
    def old_clone(self, data: st.DataObject) -> None:
        self.campaigns.append(self.old.clone(self.choose(data)))
        self.read()

    @precondition(lambda self: self.campaigns)
    @rule(data=st.data(), is_active=st.booleans(), cost=st.sampled_from([None, "0.1000000000001"]))
    def old_update(self, *, data: st.DataObject, is_active: bool, cost: str | None) -> None:
        self.old.update(
            self.choose(data),
            name="Renamed",
            is_active=is_active,
            generation_cost=None if cost is None else Decimal(cost),
            template_config=json.dumps(json.dumps(STEPS)),
        )
        self.read()

    @precondition(lambda self: self.campaigns)
    @rule(data=st.data())
    def old_assign(self, data: st.DataObject) -> None:
        self.old.assign(self.choose(data), self.people)
        self.read()

    @precondition(lambda self: self.campaigns)
    @rule(data=st.data(), cost=st.sampled_from(["0.0144", "0.014400000000000001", "NaN", "-1"]))
    def old_generate(self, data: st.DataObject, cost: str) -> None:
        self.old.generate(self.choose(data), cost)
        self.read()

    @precondition(lambda self: self.campaigns)
    @rule(data=st.data())
    def old_review(self, data: st.DataObject) -> None:
        self.old.update(self.choose(data), status="approved")
        self.read()

    @precondition(lambda self: self.campaigns)
    @rule(data=st.data())
    def old_send(self, data: st.DataObject) -> None:
        self.old.send(self.choose(data))
        self.read()

    @precondition(lambda self: self.campaigns)
    @rule(data=st.data())
    def old_delete(self, data: st.DataObject) -> None:
        campaign_id = self.choose(data)
        self.campaigns.remove(campaign_id)
        self.old.delete(campaign_id)
        self.read()

    @precondition(lambda self: len(self.people) > 1)
    @rule()
    def old_delete_contact(self) -> None:
        self.old.delete_contact(self.people.pop())
        self.read()

    @rule()
    def old_template(self) -> None:
        self.old.add_template("The same name")
        self.read()

    # The library.

    @rule()
    def create(self) -> None:
        campaign = Campaign("New", StepSequence((Step("email", "First"),)))
        self.use(lambda store: store.campaigns.add(campaign))
        self.campaigns.append(campaign.id)

    @precondition(lambda self: self.campaigns)
    @rule(data=st.data())
    def assign(self, data: st.DataObject) -> None:
        campaign_id, people = self.choose(data), self.people

        def work(store: CampaignStore) -> None:
            store.contacts.assign(campaign_id, people)
            store.contacts.set_readiness(campaign_id, dict.fromkeys(people, ()))

        with suppress(CampaignModelError):
            self.use(work)

    @precondition(lambda self: self.campaigns)
    @rule(data=st.data(), action=st.sampled_from(Action))
    def move(self, data: st.DataObject, action: Action) -> None:
        campaign_id = self.choose(data)

        def work(store: CampaignStore) -> None:
            review = ReviewTally(1, 0, 0) if action is Action.APPROVE else None
            store.campaigns.apply(campaign_id, action, review=review)

        try:
            self.use(work)
        except CampaignModelError:
            return
        with self.engine.begin() as connection:
            assert not find_wrong_totals(connection, [TENANT], [campaign_id])
        ((total, generated),) = execute(
            self.engine,
            "SELECT total_contacts, generated_count FROM campaigns WHERE id = :id",
            id=campaign_id,
        )
        progress = self.use(lambda store: store.generation.progress(campaign_id))
        assert (progress.total, progress.by_status[ContactStatus.GENERATED]) == (total, generated)

    @precondition(lambda self: self.campaigns)
    @rule(data=st.data())
    def generate(self, data: st.DataObject) -> None:
        campaign_id = self.choose(data)

        def work(store: CampaignStore) -> None:
            claims = store.generation.claim(campaign_id, 3, timedelta(minutes=1)).claims
            store.generation.record(dict.fromkeys(claims, Generated(Decimal("0.01"))))

        with suppress(CampaignModelError):
            self.use(work)

    def teardown(self) -> None:
        self.read()
        db.enforce(self.engine, quarantine=True)
        assert db.verify(self.engine).shape == "current"
        self.read()


@pytest.mark.long
def test_an_old_service_and_the_library_write_in_any_order(legacies: LegacyDatabases) -> None:
    with expanded(legacies) as original:
        original.dispose()  # A database with connections cannot be copied.

        class OnCopies(TwoServices):
            def __init__(self) -> None:
                self.url = legacies.databases.create(
                    legacies.engine_name, original.url.render_as_string(hide_password=False)
                )
                self.engine = db.prepare_engine(sa.create_engine(self.url))
                super().__init__()

            def teardown(self) -> None:
                try:
                    super().teardown()
                finally:
                    self.engine.dispose()
                    legacies.databases.drop(self.url)

        run_state_machine_as_test(
            OnCopies,
            settings=settings(
                max_examples=3,
                stateful_step_count=25,
                phases=(Phase.explicit, Phase.reuse, Phase.generate),
                suppress_health_check=[*HealthCheck],
                deadline=None,
            ),
        )


def test_an_unknown_status_is_named_and_never_moved(newest: LegacyDatabases) -> None:
    with expanded(newest) as engine:
        old = OldService(engine, TENANT)
        campaign_id = old.create(STEPS, name="Paused", status="ready")
        old.assign(campaign_id, PEOPLE[:2])
        old.send(campaign_id)
        old.update(campaign_id, status="paused")

        def read(store: CampaignStore) -> None:
            campaign = store.campaigns.get(campaign_id)
            assert campaign.status is Status.ARCHIVED
            assert "unknown_status" in {repair.code for repair in campaign.repairs}
            (summary,) = [each for each in store.campaigns.list().items if each.id == campaign_id]
            assert [repair.code for repair in summary.repairs] == ["unknown_status"]
            assert not any(action.allowed for action in store.campaigns.actions(campaign_id))
            for contact in store.contacts.list(campaign_id).items:
                assert contact.status is ContactStatus.EXCLUDED
                assert contact.error_code == "unknown_status"
                assert "sent" in str(contact.error)
            for action in Action:
                with pytest.raises(TransitionNotAllowed):
                    store.campaigns.apply(campaign_id, action)

        transact(engine, TENANT, read)
        statuses = "SELECT status FROM campaigns WHERE id = :id"
        assert execute(engine, statuses, id=campaign_id) == [("paused",)]

        # The step enforce needs a decision.
        with pytest.raises(db.AdoptionRefused) as caught:
            db.enforce(engine)
        assert caught.value.report.refused == {"unknown_status": 3}
        db.enforce(engine, status_map={"paused": "ready", "sent": "generated"})
        campaign = transact(engine, TENANT, lambda store: store.campaigns.get(campaign_id))
        assert campaign.status is Status.READY
        assert "unknown_status" not in {repair.code for repair in campaign.repairs}


ENCODED = json.dumps(json.dumps([{"channel": "email"}]))

CAMPAIGN = (
    "INSERT INTO campaigns (tenant_id, name, {0}) VALUES (:tenant, 'Old', CAST(:value AS {1}))"
)
CONTACT = """
INSERT INTO campaign_contacts (tenant_id, campaign_id, contact_id, {0})
SELECT tenant_id, id, :contact, CAST(:value AS {1}) FROM campaigns WHERE name = 'Kept'
"""
TEMPLATE = """
INSERT INTO campaign_templates (tenant_id, name, {0})
VALUES (:tenant, gen_random_uuid()::text, CAST(:value AS {1}))
"""

GENERATING = str(ContactStatus.GENERATING)

REFUSED_WRITES: tuple[tuple[str, str, str, str | None], ...] = (
    ("campaigns", "status", CAMPAIGN.format("status", "text"), None),
    ("campaigns", "is_active", CAMPAIGN.format("is_active", "boolean"), None),
    ("campaigns", "ck_campaigns_is_active", CAMPAIGN.format("is_active", "boolean"), "false"),
    ("campaigns", "template_config", CAMPAIGN.format("template_config", "jsonb"), None),
    (
        "campaigns",
        "ck_campaigns_template_config",
        CAMPAIGN.format("template_config", "jsonb"),
        ENCODED,
    ),
    (
        "campaigns",
        "ck_campaigns_generation_config",
        CAMPAIGN.format("generation_config", "jsonb"),
        '"{}"',
    ),
    (
        "campaigns",
        "ck_campaigns_generation_cost",
        CAMPAIGN.format("generation_cost", "numeric"),
        "0.1000000000000001",
    ),
    ("campaigns", "created_at", CAMPAIGN.format("created_at", "timestamptz"), None),
    ("campaigns", "ck_campaigns_times", CAMPAIGN.format("updated_at", "timestamptz"), "infinity"),
    (
        "campaign_contacts",
        "ck_campaign_contacts_claim",
        CONTACT.format("status", "text"),
        GENERATING,
    ),
    (
        "campaign_contacts",
        "ck_campaign_contacts_times",
        CONTACT.format("generated_at", "timestamptz"),
        "0044-03-15 BC",
    ),
    ("campaign_contacts", "ck_campaign_contacts_error", CONTACT.format("error", "text"), "x" * 501),
    (
        "campaign_contacts",
        "tenant_id",
        CONTACT.replace("SELECT tenant_id,", "SELECT NULL,").format("error", "text"),
        None,
    ),
    ("campaign_contacts", "status", CONTACT.format("status", "text"), None),
    (
        "campaign_contacts",
        "ck_campaign_contacts_generation_cost",
        CONTACT.format("generation_cost", "numeric"),
        "NaN",
    ),
    (
        "campaign_contacts",
        "ck_campaign_contacts_enrichment_gaps",
        CONTACT.format("enrichment_gaps", "jsonb"),
        '"[]"',
    ),
    ("campaign_templates", "default_config", TEMPLATE.format("default_config", "jsonb"), None),
    (
        "campaign_templates",
        "ck_campaign_templates_default_config",
        TEMPLATE.format("default_config", "jsonb"),
        '"{}"',
    ),
    (
        "campaign_templates",
        "ck_campaign_templates_steps",
        TEMPLATE.format("steps", "jsonb"),
        '"[]"',
    ),
    (
        "campaign_templates",
        "ck_campaign_templates_is_system",
        TEMPLATE.format("is_system", "boolean"),
        "true",
    ),
)
"""Writes that the step expand tolerates: table, column or constraint, statement, value."""

ACCEPTED_WRITES: tuple[tuple[str, str | None], ...] = (
    (CAMPAIGN.format("status", "text"), "draft"),
    (CAMPAIGN.format("template_config", "jsonb"), json.dumps(STEPS)),
    (CAMPAIGN.format("generation_cost", "numeric"), "0.0144"),
    (CONTACT.format("status", "text"), "pending"),
    (TEMPLATE.format("steps", "jsonb"), json.dumps(STEPS)),
)


def test_enforce_refuses_exactly_what_it_announces(legacies: LegacyDatabases) -> None:
    with expanded(legacies) as engine:
        execute(
            engine,
            "INSERT INTO campaigns (tenant_id, name) VALUES (:tenant, 'Kept')",
            tenant=TENANT,
        )

        def write(statement: str, value: str | None) -> None:
            person = PEOPLE[0] if ":contact" in statement else None
            delete = "DELETE FROM campaign_contacts WHERE contact_id = :contact"
            if person is not None:
                execute(engine, delete, contact=person)
            parameters = {"tenant": TENANT, "value": value, "contact": person}
            used = {name: parameters[name] for name in parameters if f":{name}" in statement}
            execute(engine, statement, **used)

        # 1. Expanded: every write passes, and is counted if it breaks a constraint.
        for statement, value in ACCEPTED_WRITES:
            write(statement, value)
        assert db.verify(engine).tolerated == ()
        for _, _, statement, value in REFUSED_WRITES:
            write(statement, value)
        tolerated = db.verify(engine).tolerated
        assert {(each.table, each.broken) for each in tolerated} == {
            (table, broken) for table, broken, *_ in REFUSED_WRITES
        }
        assert all(each.writes >= 1 for each in tolerated)

        # 2. Enforce announces each of them.
        dry = db.enforce(engine, dry_run=True)
        assert dry.tolerated == tolerated
        for table, broken, *_ in REFUSED_WRITES:
            announced = [change for change in dry.changes if change.startswith(f"{table}: ")]
            assert any(broken in change for change in announced), broken
        report = db.enforce(engine)
        assert (report.changes, report.refused) == (dry.changes, {})
        assert db.verify(engine) == db.Verdict("current", (), db.verify(engine).warnings)

        # 3. Enforced: exactly these writes are refused.
        for statement, value in ACCEPTED_WRITES:
            write(statement, value)
        for _, broken, statement, value in REFUSED_WRITES:
            with pytest.raises(sa.exc.IntegrityError, match=broken):
                write(statement, value)
