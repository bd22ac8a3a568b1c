"""Rows that would break a key: the audit finds them before anything is changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial

import pytest
import sqlalchemy as sa

from campaign_model import db
from campaign_model.cli import main
from support import servers
from support.adoption import DatabaseState, LegacyDatabases, execute, read_rows
from support.psql import read_psql

TENANT, NOWHERE = (f"10000000-0000-0000-0000-00000000000{n}" for n in (1, 9))
PERSON = "20000000-0000-0000-0000-000000000001"
CAMPAIGN = "30000000-0000-0000-0000-000000000001"
ROWS = tuple(f"40000000-0000-0000-0000-00000000000{n}" for n in range(1, 5))

BASE = (
    "CREATE TABLE tenants (id uuid PRIMARY KEY)",
    "CREATE TABLE owners (id uuid PRIMARY KEY, tenant_id uuid)",
    "CREATE TABLE contacts (id uuid PRIMARY KEY, tenant_id uuid)",
    "CREATE TABLE campaigns (id uuid, tenant_id uuid, name text, status text)",
    "CREATE TABLE campaign_templates (id uuid, tenant_id uuid, name text)",
    "CREATE TABLE campaign_contacts (id uuid, campaign_id uuid, contact_id uuid, status text)",
    f"INSERT INTO tenants VALUES ('{TENANT}')",  # noqa: S608
    f"INSERT INTO contacts VALUES ('{PERSON}', '{TENANT}')",  # noqa: S608
    f"INSERT INTO campaigns VALUES ('{CAMPAIGN}', '{TENANT}', 'One', 'draft')",  # noqa: S608
)
"""A minimal legacy database, without any key that could refuse a row."""


def contact(row: str | None, campaign: str | None, person: str | None = PERSON) -> str:
    """Write the INSERT of a campaign contact."""
    values = ("NULL" if value is None else f"'{value}'" for value in (row, campaign, person))
    columns = "id, campaign_id, contact_id, status"
    return f"INSERT INTO campaign_contacts ({columns}) VALUES ({', '.join(values)}, 'pending')"  # noqa: S608


@pytest.fixture
def legacy_engine(newest: LegacyDatabases) -> Iterator[sa.Engine]:
    url = newest.databases.create(newest.engine_name)
    engine = db.prepare_engine(sa.create_engine(url))
    for statement in BASE:
        execute(engine, statement)
    yield engine
    engine.dispose()
    newest.databases.drop(url)


BROKEN_KEYS = (
    (
        [contact(row, CAMPAIGN) for row in ROWS[:3]],
        [("campaign_contacts", row, "contact_id", "duplicate_contact") for row in ROWS[1:3]],
    ),
    (
        [contact(ROWS[3], CAMPAIGN)] * 2,
        [
            *[("campaign_contacts", ROWS[3], "contact_id", "duplicate_contact")] * 2,
            *[("campaign_contacts", ROWS[3], "id", "duplicate_id")] * 2,
        ],
    ),
    (
        [f"INSERT INTO campaigns VALUES ('{ROWS[0]}', '{NOWHERE}', 'Two')"],  # noqa: S608
        [("campaigns", ROWS[0], "tenant_id", "no_tenant")],
    ),
    (
        [f"INSERT INTO campaigns VALUES ('{ROWS[1]}', NULL, 'Three')"],  # noqa: S608
        [("campaigns", ROWS[1], "tenant_id", "no_tenant")],
    ),
    (
        [f"INSERT INTO campaigns VALUES ('{ROWS[2]}', '{TENANT}', 'Four')"] * 2,  # noqa: S608
        [("campaigns", ROWS[2], "id", "duplicate_id")] * 2,
    ),
    (
        [f"INSERT INTO campaigns VALUES (NULL, '{TENANT}', 'Five')"],  # noqa: S608
        [
            (
                "campaigns",
                f'{{"id": null, "name": "Five", "status": null, "tenant_id": "{TENANT}"}}',
                "id",
                "duplicate_id",
            )
        ],
    ),
    (
        [f"INSERT INTO campaign_templates VALUES ('{ROWS[0]}', '{NOWHERE}', 'One')"],  # noqa: S608
        [("campaign_templates", ROWS[0], "tenant_id", "no_tenant")],
    ),
)
"""Statements that break a key, and the findings about them."""


def test_rows_that_break_a_key_are_refused_before_any_change(
    newest: LegacyDatabases, legacy_engine: sa.Engine
) -> None:
    found = []
    for statements, findings_of_rows in BROKEN_KEYS:
        for statement in statements:
            execute(legacy_engine, statement)
        found += findings_of_rows
    state = read_state(legacy_engine)
    findings: list[db.Finding] = []
    db.adopt(legacy_engine, dry_run=True, on_finding=findings.append)
    undecided = [finding for finding in findings if finding.undecided and finding.reason]
    assert sorted((one.table, str(one.row_id), one.column, one.kind) for one in undecided) == (
        sorted(found)
    )
    assert f"the row {ROWS[0]} has the same campaign and contact" in str(
        {finding.reason for finding in undecided}
    )

    # The quarantine takes none of them.
    with pytest.raises(db.AdoptionRefused) as refused:
        db.adopt(legacy_engine, quarantine=True)
    assert refused.value.report.refused == Counter(kind for *_, kind in found)
    assert "--quarantine" not in str(refused.value)
    code, _, message = read_psql(newest, legacy_engine, db.sql(legacy_engine))
    assert (code, "nothing was changed" in message) == (3, True)
    assert read_state(legacy_engine) == state


def test_a_contact_without_a_campaign_that_other_rows_need_is_refused(
    legacy_engine: sa.Engine,
) -> None:
    for statement in (
        contact(ROWS[0], None),
        "ALTER TABLE campaign_contacts ADD PRIMARY KEY (id)",
        "CREATE TABLE visits (contact uuid NOT NULL REFERENCES campaign_contacts)",
        f"INSERT INTO visits VALUES ('{ROWS[0]}')",  # noqa: S608
    ):
        execute(legacy_engine, statement)
    state = read_state(legacy_engine)
    with pytest.raises(db.AdoptionRefused) as refused:
        db.adopt(legacy_engine, quarantine=True)
    assert refused.value.report.refused == {"no_campaign_in_use": 1}
    assert read_state(legacy_engine) == state


def read_state(engine: sa.Engine) -> list[object]:
    """Read the tables and their rows, which may have no key."""
    tables = sa.inspect(engine).get_table_names()
    return [execute(engine, f"SELECT to_jsonb(t) FROM {table} AS t ORDER BY 1") for table in tables]  # noqa: S608


@pytest.mark.parametrize("enforce_later", [False, True])
def test_the_quarantine_takes_contacts_without_a_campaign_or_person(
    legacy_engine: sa.Engine, *, enforce_later: bool
) -> None:
    orphans = [
        contact(ROWS[0], None),
        contact(ROWS[1], NOWHERE),
        contact(ROWS[2], CAMPAIGN, NOWHERE),
    ]
    if enforce_later:
        db.adopt(legacy_engine)
        orphans = orphans[:1]  # The keys of the first step refuse the other rows.
    for orphan in orphans:
        execute(legacy_engine, orphan)
    step = db.enforce if enforce_later else db.adopt
    kinds = {"no_campaign": 1} if enforce_later else {"no_campaign": 2, "no_contact": 1}
    with pytest.raises(db.AdoptionRefused) as refused:
        step(legacy_engine)
    assert refused.value.report.refused == kinds
    assert step(legacy_engine, dry_run=True, quarantine=True).quarantined == kinds
    assert step(legacy_engine, quarantine=True).quarantined == kinds
    rows = read_rows(legacy_engine)
    moved = rows["campaign_quarantine"].values()
    assert sorted(str(row["kind"]) for row in moved) == sorted(
        kind for kind, number in kinds.items() for _ in range(number)
    )
    assert {row["row_id"] for row in moved} == {*ROWS[: len(orphans)]}
    assert rows["campaign_contacts"] == {}
    db.enforce(legacy_engine)
    assert db.verify(legacy_engine).shape == "current"
    state = DatabaseState.read(legacy_engine)
    db.adopt(legacy_engine, enforce=True)
    assert DatabaseState.read(legacy_engine) == state


def test_the_quarantine_keeps_the_values_of_messages_that_make_no_contact(
    legacy_engine: sa.Engine,
) -> None:
    columns = "campaign_id uuid, contact_id uuid, generation_cost_usd numeric"
    for statement in (
        f"CREATE TABLE messages (id bigserial PRIMARY KEY, {columns})",
        f"INSERT INTO tenants VALUES ('{ROWS[0]}')",  # noqa: S608
        f"INSERT INTO contacts VALUES ('{ROWS[0]}', '{ROWS[0]}')",  # noqa: S608
        *(
            "INSERT INTO messages (campaign_id, contact_id, generation_cost_usd)"  # noqa: S608
            f" VALUES ('{CAMPAIGN}', '{person}', {cost})"
            for person, cost in ((NOWHERE, 1), (ROWS[0], 2), (PERSON, -3))
        ),
    ):
        execute(legacy_engine, statement)
    before = execute(legacy_engine, "SELECT * FROM messages ORDER BY id")
    findings: list[db.Finding] = []
    run = partial(db.adopt, legacy_engine, contacts_from_messages=True, quarantine=True)
    report = run(dry_run=True, on_finding=findings.append)
    undecided = [
        ("1", "contact_id", "no_contact", NOWHERE),
        ("2", "contact_id", "other_tenant", ROWS[0]),
        ("3", "generation_cost_usd", "bad_amount", "-3"),
    ]
    assert report.quarantined == {"no_contact": 1, "other_tenant": 1, "bad_amount": 1}
    assert [
        (one.row_id, one.column, one.kind, str(one.before))
        for one in findings
        if one.table == "messages"
    ] == undecided
    assert run().quarantined == report.quarantined
    select = "SELECT row_id, column_name, kind, value #>> '{}' FROM campaign_quarantine ORDER BY 1"
    assert execute(legacy_engine, select) == undecided
    assert execute(legacy_engine, "SELECT * FROM messages ORDER BY id") == before
    assert execute(legacy_engine, "SELECT contact_id::text FROM campaign_contacts") == [(PERSON,)]


def test_doctor_says_that_a_contact_without_a_campaign_lacks_its_campaign(
    legacy_engine: sa.Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    db.adopt(legacy_engine)
    execute(legacy_engine, contact(ROWS[0], None))
    main(("db", "doctor", "--url", servers.plain(legacy_engine.url)))
    out = " ".join(capsys.readouterr().out.split())
    assert "campaign_id is not in campaigns: 1 row of campaign_contacts" in out
    assert "contact_id is not in contacts" not in out
