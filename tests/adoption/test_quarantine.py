"""The quarantine: what it does to other tables, and how an operator puts values back."""

from __future__ import annotations

import re
from collections.abc import Iterator
from uuid import UUID

import pytest
import sqlalchemy as sa

from campaign_model import db, json_ready
from campaign_model.store import transact
from support.adoption import (
    EXTENDED,
    DatabaseState,
    LegacyDatabases,
    adopt,
    execute,
    read_rows,
    read_with_store,
)
from support.legacy_rows import contact_id, make_id, sample_rows
from support.paths import ROOT

MOVED, MESSAGE = make_id("campaign_contacts", 1), make_id("messages", 1)

REFERENCES = (
    """CREATE TABLE visits (
        day date, number int, contact uuid REFERENCES campaign_contacts(id),
        PRIMARY KEY (day, number))""",
    f"INSERT INTO visits VALUES ('2024-01-01', 1, '{MOVED}')",  # noqa: S608
    "INSERT INTO visits VALUES ('2024-01-01', 2, NULL)",
    "CREATE TABLE notes (contact uuid REFERENCES campaign_contacts(id), text text)",
    f"INSERT INTO notes VALUES ('{MOVED}', 'Hello')",  # noqa: S608
    f"UPDATE messages SET campaign_contact_id = '{MOVED}' WHERE id = '{MESSAGE}'",  # noqa: S608
)
"""Tables that refer to campaign contacts: one with a key of two columns, and one without a key."""

TRIGGERS = (
    """CREATE TRIGGER messages_updated_at BEFORE UPDATE ON messages
    FOR EACH ROW EXECUTE FUNCTION set_updated_at()""",
    "CREATE TABLE deleted (id uuid PRIMARY KEY)",
    """CREATE FUNCTION log_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO deleted VALUES (OLD.id);
        RETURN NULL;
    END $$""",
    """CREATE TRIGGER log_deleted AFTER DELETE ON campaign_contacts
    FOR EACH ROW EXECUTE FUNCTION log_deleted()""",
)


def undo_statements() -> list[str]:
    """Return the statements of the page on adoption that put values back."""
    page = (ROOT / "docs" / "adopting.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```sql\n(.*?)```", page.partition("### Put values back")[2], re.DOTALL)
    return [statement for statement in block.split(";\n") if statement.strip()]


@pytest.fixture
def misplaced(legacies: LegacyDatabases) -> Iterator[sa.Engine]:
    """A database with a contact of another tenant, and rows that refer to it."""
    with legacies.database(EXTENDED, sample_rows) as engine:
        for statement in (*REFERENCES, *TRIGGERS):
            execute(engine, statement)
        update = "UPDATE campaign_contacts SET contact_id = :contact WHERE id = :id"
        execute(engine, update, contact=contact_id(2, 4), id=MOVED)
        yield engine


def test_the_removal_of_references_is_listed_logged_and_undone(misplaced: sa.Engine) -> None:
    before = DatabaseState.read(misplaced)
    dry = adopt(misplaced, quarantine=True, dry_run=True)
    assert DatabaseState.read(misplaced) == before

    # 1. The dry run lists every row of another table, by its key, and the trigger.
    removed = {
        (finding.table, finding.row_id, finding.column, finding.before)
        for finding in dry.findings
        if finding.kind == "reference_removed"
    }
    assert removed == {
        ("messages", MESSAGE, "campaign_contact_id", MOVED),
        ("visits", '{"day": "2024-01-01", "number": 1}', "contact", MOVED),
        ("notes", f'{{"text": "Hello", "contact": "{MOVED}"}}', "contact", MOVED),
    }
    assert dry.report.repaired["reference_removed"] == 3
    assert any("messages_updated_at on messages" in warning for warning in dry.report.warnings)

    # 2. The adoption changes these rows and nothing else in them, and logs them.
    run = adopt(misplaced, quarantine=True)
    assert sorted(map(str, run.findings)) == sorted(map(str, dry.findings))
    after = read_rows(misplaced)
    logged = {
        (row["table_name"], row["row_id"], row["column_name"], str(row["value"]).strip('"'))
        for row in after["campaign_quarantine"].values()
        if row["kind"] == "reference_removed"
    }
    assert logged == removed
    assert after["messages"][MESSAGE] == {
        **before.rows["messages"][MESSAGE],
        "campaign_contact_id": None,
    }
    assert (after["deleted"], MOVED in after["campaign_contacts"]) == ({}, False)

    # 3. The triggers run again.
    execute(misplaced, "UPDATE messages SET subject = 'New' WHERE id = :id", id=MESSAGE)
    assert (
        read_rows(misplaced)["messages"][MESSAGE]["updated_at"]
        != (before.rows["messages"][MESSAGE]["updated_at"])
    )

    # 4. The statements of the page undo it, after the row has been corrected.
    correct, *undo = undo_statements()
    execute(misplaced, correct.replace("CONTACT", contact_id(1, 1)).replace("ROW", MOVED))
    for statement in undo:
        execute(misplaced, statement)
    after = read_rows(misplaced)
    assert after["campaign_contacts"][MOVED]["contact_id"] == contact_id(1, 1)
    assert after["messages"][MESSAGE]["campaign_contact_id"] == MOVED
    # The campaign's next call counts its contacts again.
    campaign = UUID(make_id("campaigns", 1))
    contact = {UUID(contact_id(1, 1)): ()}
    transact(
        misplaced,
        UUID(make_id("tenants", 1)),
        lambda store: store.contacts.set_readiness(campaign, contact),
    )
    read_with_store(misplaced)
    assert db.verify(misplaced).shape == "current"


def test_a_member_of_a_document_is_put_back_after_it_was_corrected(
    newest: LegacyDatabases,
) -> None:
    campaign_id = make_id("campaigns", 1)
    with newest.database(EXTENDED, sample_rows) as engine:
        document = """'{"tone": 5, "custom_instructions": "Be brief."}'"""
        update = f"UPDATE campaigns SET generation_config = {document} WHERE id = :id"  # noqa: S608
        execute(engine, update, id=campaign_id)
        adopt(engine, quarantine=True)
        select = "SELECT generation_config FROM campaigns WHERE id = :id"
        assert execute(engine, select, id=campaign_id) == [({"custom_instructions": "Be brief."},)]
        execute(engine, """UPDATE campaign_quarantine SET value = '"casual"' WHERE kind <> ''""")
        *_, undo = undo_statements()
        execute(engine, undo)
        assert execute(engine, select, id=campaign_id) == [
            ({"tone": "casual", "custom_instructions": "Be brief."},)
        ]


def test_a_finding_shows_the_numbers_of_a_document_as_numbers(newest: LegacyDatabases) -> None:
    long_number = "0.12345678901234567890123"
    with newest.database(EXTENDED, sample_rows) as engine:
        document = f'{{"budget": 12.5, "share": 1e-7, "exact": {long_number}, "cancelled": true}}'
        execute(
            engine,
            "UPDATE campaigns SET generation_config = CAST(:document AS jsonb) WHERE id = :id",
            document=document,
            id=make_id("campaigns", 1),
        )
        findings: list[db.Finding] = []
        db.adopt(engine, dry_run=True, on_finding=findings.append)
        (finding,) = (
            finding
            for finding in findings
            if finding.column == "generation_config"
            and str(finding.row_id) == make_id("campaigns", 1)
        )
        # A budget must be text. Of the numbers, only one that a float cannot hold becomes text.
        kept = {"share": 1e-7, "exact": long_number}
        assert json_ready(finding)["before"] == {**kept, "budget": 12.5, "cancelled": True}
        assert json_ready(finding)["after"] == kept
