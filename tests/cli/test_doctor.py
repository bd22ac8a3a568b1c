"""``db doctor``: every check finds what it is for, and a repair loses nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import attrs
import pytest
import sqlalchemy as sa

from campaign_model.campaign import Campaign
from campaign_model.cli import doctor, doctor_checks
from campaign_model.cli.doctor_checks import replay
from campaign_model.lifecycle import Action
from campaign_model.store.tables import (
    campaign_contacts,
    campaign_history,
    campaign_templates,
    campaigns,
)
from campaign_model.store.types import FIRST_MOMENT, LAST_MOMENT
from campaign_model.testing.sample_campaigns import Tenant
from support.commands import Command
from support.tenants import HOST, claim_long_ago, contact_rows, execute, legacy_columns, new_tenant
from support.transactions import on_newest_postgresql, on_sqlite

CONTACT = campaign_contacts.c
SETTINGS = doctor_checks.POSTGRESQL_SETTINGS


@pytest.fixture(autouse=True)
def accept_test_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The servers of the tests are fast, and lose data in a crash: do not look at them."""
    monkeypatch.setattr(doctor_checks, "POSTGRESQL_SETTINGS", {})


def execute_unchecked(tenant: Tenant, *statements: sa.Executable) -> None:
    """Execute statements as a program that circumvents CHECK constraints and foreign keys."""
    on_sqlite = tenant.engine.dialect.name == "sqlite"
    with tenant.engine.connect() as connection:
        if on_sqlite:  # This setting has no effect within a transaction.
            driver: Any = connection.connection.dbapi_connection
            driver.execute("PRAGMA foreign_keys = OFF")
            driver.execute("PRAGMA ignore_check_constraints = ON")
        else:
            connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
        for statement in statements:
            connection.execute(statement)
        connection.commit()
        connection.invalidate()


def drop_checks(tenant: Tenant, table: str) -> None:
    """Drop the CHECK constraints of a table on PostgreSQL."""
    if tenant.engine.dialect.name == "postgresql":
        for check in sa.inspect(tenant.engine).get_check_constraints(table):
            execute(tenant, sa.text(f'ALTER TABLE {table} DROP CONSTRAINT "{check["name"]}"'))


def find(command: Command, *options: str) -> list[tuple[str, UUID | None, str]]:
    """Return the check, the campaign and the message of each problem."""
    answer = command("db", "doctor", "--json", *options)
    problems = answer.json["problems"]
    assert answer.code == (1 if problems else 0)
    assert all(problem["remedy"] for problem in problems)
    return [
        (each["check"], each["campaign_id"] and UUID(each["campaign_id"]), each["message"])
        for each in problems
    ]


def test_a_healthy_database_has_no_problem(command: Command, operated_tenant: Tenant) -> None:
    for status in ("draft", "generating", "review", "exported", "archived"):
        operated_tenant.campaign(status)
    running = operated_tenant.campaign("generating", contacts=4)
    operated_tenant.claim(running.id, 1)
    deleted = operated_tenant.campaign("draft")
    operated_tenant.transact(lambda store: store.campaigns.apply(deleted.id, Action.DELETE))
    new_tenant(operated_tenant.engine)
    assert find(command) == []
    printed = command("db", "doctor").out
    assert printed.count("ok: ") == len(doctor_checks.CHECKS) == 7


def test_repair_counts_wrong_totals_again(command: Command, operated_tenant: Tenant) -> None:
    right = operated_tenant.campaign("generating")
    wrong = operated_tenant.campaign("review")
    is_of_campaign = CONTACT.campaign_id == wrong.id
    execute(
        operated_tenant,
        sa.update(campaign_contacts).where(is_of_campaign).values(status="failed"),
    )
    ((check, campaign_id, message),) = find(command)
    assert (check, campaign_id) == ("totals", wrong.id)
    assert "generated is 3 in the totals, but 0 in the contacts; failed is 0 in" in message
    before = contact_rows(operated_tenant, wrong.id)
    repaired = command("db", "doctor", "--repair")
    assert repaired.code == 0
    assert f"repaired    campaign {wrong.id}: generated is 3" in repaired.out
    assert find(command, "--repair") == []
    for campaign in (right, wrong):
        operated_tenant.check_totals(campaign.id)
    assert contact_rows(operated_tenant, wrong.id) == before
    assert legacy_columns(operated_tenant, wrong.id)[:2] == (3, 0)


def test_leases_that_expired_or_are_missing_or_far_away_are_problems(
    command: Command, operated_tenant: Tenant
) -> None:
    expired, unleased, far, held, cancelled = (
        operated_tenant.campaign("generating", contacts=2) for _ in range(5)
    )
    for campaign in (expired, cancelled):
        claim_long_ago(operated_tenant, campaign.id)
    operated_tenant.apply(cancelled.id, Action.CANCEL_GENERATION)
    for campaign, lease in ((unleased, 1), (far, 48), (held, 23)):
        operated_tenant.claim(campaign.id, 1, timedelta(hours=lease))
    drop_checks(operated_tenant, "campaign_contacts")
    execute_unchecked(
        operated_tenant,
        sa.update(campaign_contacts)
        .where(CONTACT.campaign_id == unleased.id)
        .values(lease_expires_at=None),
    )
    exported = operated_tenant.campaign("exported", contacts=1)
    execute(
        operated_tenant,
        sa.update(campaign_contacts)
        .where(CONTACT.campaign_id == exported.id)
        .values(claim_token=uuid4(), lease_expires_at=LAST_MOMENT, exported_at=FIRST_MOMENT),
    )

    def find_leases(*options: str) -> dict[UUID | None, str]:
        # SQLite also finds the row that breaks a CHECK constraint, in the check of settings.
        return {
            id_: message for check, id_, message in find(command, *options) if check == "leases"
        }

    problems = find_leases()
    assert problems.keys() == {expired.id, unleased.id, far.id}
    assert problems[expired.id].endswith("ago: 2 contacts")
    assert problems[unleased.id].startswith("generating without a lease")
    assert problems[far.id].startswith("leases that end more than 1 day")
    # The contact without a lease gets one that has expired, so that a worker can take it over.
    assert find_leases("--repair").keys() == {expired.id, far.id}
    assert len(operated_tenant.claim(unleased.id, 2)) == 2


def test_documents_that_cannot_be_read_are_problems(
    command: Command, operated_tenant: Tenant
) -> None:
    broken = operated_tenant.campaign("draft")
    for table in ("campaigns", "campaign_templates"):
        drop_checks(operated_tenant, table)
    execute_unchecked(
        operated_tenant,
        sa.update(campaigns)
        .where(campaigns.c.id == broken.id)
        .values(template_config='{"no": "steps"}', generation_config="[]", status="paused"),
        sa.insert(campaign_templates).values(
            id=uuid4(), tenant_id=operated_tenant.id, name="Broken", steps="7"
        ),
    )
    problems = find(command)
    documents = [(id_, message) for check, id_, message in problems if check == "documents"]
    assert [id_ for id_, _ in documents] == [broken.id] * 3 + [None]
    sentences = [message for _, message in documents]
    for sentence, words in zip(
        sentences, ("template_config", "generation_config", "'paused'", "template "), strict=True
    ):
        assert words in sentence
    # The other checks still run. SQLite finds the rows that break a CHECK constraint.
    others = [(check, message) for check, _, message in problems if check != "documents"]
    constraints = [message for check, message in others if check == "settings"]
    assert all("another program has written: CHECK" in message for message in constraints)
    assert bool(constraints) is (operated_tenant.engine.dialect.name == "sqlite")
    assert [check for check, _ in others if check != "settings"] == ["history"]


def test_a_history_that_does_not_lead_to_the_status_is_a_problem(
    command: Command, operated_tenant: Tenant
) -> None:
    moved, restored = operated_tenant.campaign("ready"), operated_tenant.campaign("ready")
    execute(
        operated_tenant,
        sa.update(campaigns).where(campaigns.c.id == moved.id).values(status="review"),
    )
    execute(
        operated_tenant,
        sa.update(campaign_history)
        .where(campaign_history.c.campaign_id == restored.id)
        .values(version=9),
    )
    problems = {campaign_id: message for check, campaign_id, message in find(command)}
    assert problems.keys() == {moved.id, restored.id}
    assert "it ends in ready, but the campaign is review" in problems[moved.id]
    assert "it has version 9, but the campaign 2" in problems[restored.id]


@attrs.frozen
class Entry:
    source: str
    action: str
    target: str


@pytest.mark.parametrize(
    ("entries", "status", "fault"),
    [
        ([], "draft", None),
        ([], "ready", "it ends in draft, but the campaign is ready"),
        ([Entry("draft", "mark_ready", "ready")], "ready", None),
        ([Entry("review", "adopted", "review")], "review", None),
        (
            [Entry("review", "adopted", "review"), Entry("review", "request_changes", "ready")],
            "ready",
            None,
        ),
        (
            [Entry("ready", "start_generation", "generating")],
            "generating",
            "start_generation begins in ready, but the campaign was draft",
        ),
        (
            [Entry("draft", "mark_ready", "review")],
            "review",
            "mark_ready does not lead from draft to review",
        ),
        (
            [Entry("draft", "mark_ready", "ready"), Entry("ready", "adopted", "ready")],
            "ready",
            "adopted does not lead from ready to ready",
        ),
    ],
)
def test_a_history_is_replayed(entries: list[Entry], status: str, fault: str | None) -> None:
    assert replay(entries, status) == fault


def test_rows_that_refer_to_nothing_are_problems(command: Command, operated_tenant: Tenant) -> None:
    ready = operated_tenant.campaign("ready", contacts=2)
    lost: Campaign = operated_tenant.campaign("ready", contacts=1)
    gone = new_tenant(operated_tenant.engine)
    gone.campaign("draft", contacts=0)
    contact_id, _ = contact_rows(operated_tenant, ready.id)
    execute_unchecked(
        operated_tenant,
        sa.delete(HOST.contacts).where(HOST.contacts.c.id == contact_id),
        sa.delete(campaigns).where(campaigns.c.id == lost.id),
        sa.delete(HOST.tenants).where(HOST.tenants.c.id == gone.id),
        sa.update(campaigns).where(campaigns.c.id == ready.id).values(owner_id=uuid4()),
    )
    problems = find(command)
    assert {check for check, _, _ in problems} == {"orphans"}
    assert sorted(message for _, _, message in problems) == [
        "campaign_id is not in campaigns: 1 row of campaign_contacts",
        "campaign_id is not in campaigns: 1 row of campaign_history",
        "campaign_id is not in campaigns: 1 row of campaign_totals",
        "contact_id is not in contacts: 1 row of campaign_contacts",
        "owner_id is not in owners: 1 row of campaigns",
        "tenant_id is not in tenants: 1 row of campaigns",
    ]


def test_many_problems_are_cut_for_people(
    command: Command, operated_tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_SHOWN_PROBLEMS", 1)
    for _ in range(3):
        operated_tenant.campaign("ready")
    execute(operated_tenant, sa.update(campaigns).values(status="approved"))
    printed = command("db", "doctor").out
    assert "history     found 3" in printed
    assert printed.count("Problem: ") == printed.count("To do: ") == 1
    assert "and 2 more" in printed


@pytest.mark.parametrize(
    ("revision", "words"),
    [
        ("DELETE FROM {}", "no version of the schema is recorded"),
        ("UPDATE {} SET version_num = 'future'", "a newer version"),
    ],
)
def test_another_schema_is_the_only_problem(
    command: Command, operated_tenant: Tenant, revision: str, words: str
) -> None:
    operated_tenant.campaign("ready")
    execute(operated_tenant, sa.update(campaigns).values(status="approved"))
    execute(operated_tenant, sa.text(revision.format("campaign_model_alembic_version")))
    ((check, _, message),) = find(command)
    assert check == "schema"
    assert words in message


@on_newest_postgresql
def test_settings_that_lose_data_are_problems(
    command: Command, operated_tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_checks, "POSTGRESQL_SETTINGS", SETTINGS)
    url = operated_tenant.engine.url.update_query_dict(
        {"options": "-c synchronous_commit=off -c default_transaction_read_only=on"}
    )
    messages = {
        message
        for _, _, message in find(command, "--url", url.render_as_string(hide_password=False))
    }
    assert {message.partition(":")[0] for message in messages} >= {
        "synchronous_commit is off",
        "default_transaction_read_only is on",
    }


@on_sqlite
@pytest.mark.usefixtures("operated_tenant")
def test_a_damaged_file_is_a_problem(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    select: Callable[..., Any] = doctor_checks.Examination.select

    def report_damage(self: Any, sql: str, **options: Any) -> Any:
        return [("wrong page 3",)] if "quick_check" in sql else select(self, sql, **options)

    monkeypatch.setattr(doctor_checks.Examination, "select", report_damage)
    assert find(command) == [("settings", None, "the file is damaged: wrong page 3")]


@pytest.mark.usefixtures("operated_tenant")
def test_a_missing_host_table_is_a_usage_error(command: Command) -> None:
    answer = command("db", "doctor", "--owners", "users")
    answer.assert_usage_error("no table users", "--owners")
