"""``contacts`` and ``tenants``: importing a CSV file, and lists of contacts and tenants."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest
import sqlalchemy as sa

from campaign_model.claims import NotReady
from campaign_model.cli import contact_commands, contact_table
from campaign_model.lifecycle import Action
from campaign_model.testing.sample_campaigns import Tenant
from support.commands import Command
from support.tenants import HOST, execute, new_tenant

PEOPLE = """\
First Name,Email,Company,Shoe size
Ada,ada@example.com,Engines,36
Bob,bob@example.com,Engines,44
Bobby,BOB@example.com,Engines,44
Eve,,Apples,38
"""
WRONG_ROWS = 'Zed,nowhere,Engines,1\n"Amy,amy@example.com,Engines,2"\n'

_CONTACT = HOST.contacts.c


def imported(tenant: Tenant) -> list[tuple[str, str | None]]:
    """Return first names and addresses of the tenant's contacts."""
    query = sa.select(_CONTACT.first_name, _CONTACT.email_address).order_by(_CONTACT.first_name)
    with tenant.engine.begin() as connection:
        rows = connection.execute(query.where(_CONTACT.tenant_id == tenant.id)).all()
    return [(row[0], row[1]) for row in rows]


def test_a_second_import_adds_nobody(
    command: Command, operated_tenant: Tenant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contact_table, "_ROWS_PER_INSERT", 2)
    (tmp_path / "people.csv").write_text(PEOPLE)
    expected = [("Ada", "ada@example.com"), ("Bob", "bob@example.com"), ("Eve", None)]
    first = command("contacts", "import", "people.csv", "--json")
    assert first.code == 0
    assert first.json == {
        "added": 3,
        "already_there": 0,
        "repeated": 1,
        "columns": {
            "first_name": ["First Name"],
            "company": ["Company"],
            "email_address": ["Email"],
        },
        "ignored_columns": ["Shoe size"],
        "faults": [],
    }
    assert imported(operated_tenant) == expected
    printed = command("contacts", "import", "people.csv").out
    assert "0 added, 3 already there" in printed
    assert "Shoe size" in printed
    assert "1 row of an earlier" in printed
    assert imported(operated_tenant) == expected


def test_a_contact_that_a_service_added_is_found_by_its_address(
    command: Command, operated_tenant: Tenant, tmp_path: Path
) -> None:
    row = {"id": uuid4(), "tenant_id": operated_tenant.id, "email_address": "Ada@Example.com"}
    other = new_tenant(operated_tenant.engine)
    execute(operated_tenant, sa.insert(HOST.contacts).values(row))
    execute(
        other,
        sa.insert(HOST.contacts).values(
            id=uuid4(), tenant_id=other.id, email_address="bob@example.com"
        ),
    )
    (tmp_path / "people.csv").write_text(PEOPLE)
    answer = command("contacts", "import", "people.csv", "--json").json
    assert (answer["added"], answer["already_there"]) == (2, 1)


def test_wrong_rows_are_listed_and_nothing_is_imported_unless_they_are_skipped(
    command: Command, operated_tenant: Tenant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contact_commands, "_SHOWN_FAULTS", 1)
    (tmp_path / "people.csv").write_text(PEOPLE + WRONG_ROWS)
    refused = command("contacts", "import", "people.csv")
    assert refused.code == 1
    assert "6  'nowhere' is no e-mail address" in refused.out
    assert "and 1 more" in refused.out
    assert "nothing was imported; wrong in people.csv: 2 rows" in refused.err
    assert imported(operated_tenant) == []
    as_json = command("contacts", "import", "people.csv", "--json")
    assert as_json.code == 1
    assert [fault["line"] for fault in as_json.json["faults"]] == [6, 7]
    assert (as_json.json["added"], as_json.json["already_there"]) == (0, 0)
    skipped = command("contacts", "import", "people.csv", "--skip-invalid")
    assert skipped.code == 0
    assert "3 added, 0 already there, skipped 2 wrong rows" in skipped.out
    assert len(imported(operated_tenant)) == 3


def test_map_chooses_the_field_of_a_column(
    command: Command, operated_tenant: Tenant, tmp_path: Path
) -> None:
    (tmp_path / "people.csv").write_text("Vorname,Email\nAda,ada@example.com\n")
    command("contacts", "import", "people.csv", "--map", "Vorname=first_name", "--map", "Email=")
    assert imported(operated_tenant) == [("Ada", None)]
    for text in ("Vorname", "=first_name", "Vorname=name"):
        command("contacts", "import", "people.csv", "--map", text).assert_usage_error("--map is")


def test_an_import_that_the_database_cannot_take_is_a_usage_error(
    command: Command, operated_tenant: Tenant, tmp_path: Path
) -> None:
    (tmp_path / "people.csv").write_text(PEOPLE)
    import_people = ("contacts", "import", "people.csv")
    command(*import_people, "--tenant", uuid4()).assert_usage_error("tenants list")
    command(*import_people, "--contacts", "persons").assert_usage_error("no table persons")
    command(*import_people, "--contacts", "owners").assert_usage_error(
        "owners has no column company, email_address, first_name"
    )
    assert imported(operated_tenant) == []


def test_contacts_list_says_why_contacts_wait_or_failed(
    command: Command, operated_tenant: Tenant
) -> None:
    campaign = operated_tenant.campaign("generating", contacts=5, generated=1, failed=1)
    claim, _, _ = operated_tenant.claim(campaign.id, 3)
    operated_tenant.record({claim: NotReady(("company",))})
    failed = command("contacts", "list", campaign.id, "--status", "failed")
    header, line = failed.out.splitlines()
    assert header.split() == ["contact", "name", "status", "claims", "why"]
    assert "test_failure: failed because a test wanted it to" in line
    (item,) = command("contacts", "list", campaign.id, "--status", "failed", "--json").json["items"]
    assert item["contact_id"] in line
    assert item["error"] == "failed because a test wanted it to"
    everything = command("contacts", "list", campaign.id).out
    assert everything.count("claimed until 20") == 2
    assert everything.count("lacks company") == 1
    page = command("contacts", "list", campaign.id, "--limit", 1)
    (option,) = [line for line in page.out.splitlines() if "--after" in line]
    next_page = command("contacts", "list", campaign.id, *option.split()[-2:], "--json").json
    assert len(next_page["items"]) == 4
    assert (
        "has status excluded"
        in command(*("contacts", "list", campaign.id), "--status", "excluded").out
    )
    assert "No contact." in command("contacts", "list", operated_tenant.campaign(contacts=0).id).out
    command("contacts", "list", uuid4()).assert_usage_error("no campaign")
    command("contacts", "list", campaign.id, "--status", "fail").assert_usage_error("'failed'")


def test_contacts_list_has_the_names_that_the_table_of_contacts_has(
    command: Command, operated_tenant: Tenant
) -> None:
    campaign = operated_tenant.campaign("generating", contacts=3)
    first, second, _ = (id_ for id_ in operated_tenant.campaign_contacts(campaign.id))
    update = sa.update(HOST.contacts)
    execute(
        operated_tenant,
        update.where(_CONTACT.id == first).values(
            first_name="Ada", last_name="Byron", email_address="ada@example.com"
        ),
    )
    execute(
        operated_tenant,
        update.where(_CONTACT.id == second).values(
            first_name=None, last_name=None, email_address="bob@example.com"
        ),
    )
    header, *lines = command("contacts", "list", campaign.id).out.splitlines()
    assert header.split() == ["contact", "name", "status", "claims", "why"]
    assert [line for line in lines if "Ada Byron" in line and str(first) in line]
    assert [line for line in lines if "bob@example.com" in line and str(second) in line]
    # No such table; a table without names; a table whose names cannot be read by these ids.
    execute(operated_tenant, sa.text("CREATE TABLE nameless (id integer, tenant_id integer)"))
    execute(
        operated_tenant, sa.text("CREATE TABLE odd (id integer, tenant_id integer, last_name text)")
    )
    for table in ("missing", "nameless", "odd"):
        answer = command("contacts", "list", campaign.id, "--contacts", table)
        assert (answer.code, answer.out.split()[:4]) == (0, ["contact", "status", "claims", "why"])


def test_contacts_list_marks_stale_and_exported_contacts(
    command: Command, operated_tenant: Tenant
) -> None:
    campaign = operated_tenant.campaign("review", contacts=1)
    assert "other steps" not in command("contacts", "list", campaign.id).out
    execute(operated_tenant, sa.text("UPDATE campaign_contacts SET steps_fingerprint = 'old'"))
    assert "generated from other steps" in command("contacts", "list", campaign.id).out
    execute(
        operated_tenant,
        sa.text("UPDATE campaign_contacts SET exported_at = '2026-01-02 03:04:05.000000'"),
    )
    assert "exported at 2026-01-0" in command("contacts", "list", campaign.id).out


def test_tenants_list_counts_the_campaigns_of_every_tenant(
    command: Command, operated_tenant: Tenant
) -> None:
    other = new_tenant(operated_tenant.engine)
    for status in ("draft", "generating"):
        operated_tenant.campaign(status)
    deleted = operated_tenant.campaign("draft")
    operated_tenant.transact(lambda store: store.campaigns.apply(deleted.id, Action.DELETE))
    counts = {
        row["id"]: (row["name"], row["campaigns"], row["generating"])
        for row in command("tenants", "list", "--json").json
    }
    assert counts == {
        str(operated_tenant.id): (f"Tenant {operated_tenant.id}", 2, 1),
        str(other.id): (f"Tenant {other.id}", 0, 0),
    }
    assert str(other.id) in command("tenants", "list").out
    # A table of tenants needs no column but its id.
    execute(operated_tenant, sa.text("CREATE TABLE firms AS SELECT id FROM tenants"))
    (first, _) = command("tenants", "list", "--tenants", "firms", "--json").json
    assert first["name"] == ""
    command("tenants", "list", "--tenants", "persons").assert_usage_error("no table persons")
