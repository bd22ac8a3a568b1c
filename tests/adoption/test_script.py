"""The adoption as an SQL script: it leaves what the adoption leaves, and a linter accepts it."""

from __future__ import annotations

import re
import subprocess
import sysconfig
from pathlib import Path

import pytest

from campaign_model import db
from campaign_model.db.adoption.session import PSQL_SESSION_CHECK
from support.adoption import (
    BARE,
    EXTENDED,
    DatabaseState,
    LegacyDatabases,
    adopt,
    describe_shape,
    execute,
    read_rows,
    read_with_store,
)
from support.legacy import Shape
from support.legacy_rows import make_id, sample_rows
from support.psql import assert_same_after_sync, run_script

SERVICE = Shape(extended=True, tags=True, full_name=True, service=True)


@pytest.mark.parametrize("shape", [BARE, EXTENDED, SERVICE], ids=describe_shape)
def test_the_script_for_an_inspected_database_leaves_what_an_adoption_leaves(
    legacies: LegacyDatabases, shape: Shape
) -> None:
    with legacies.database(shape, sample_rows) as engine:
        adopt(engine, enforce=False)
        expanded = DatabaseState.read(engine)
        adopt(engine)
        enforced = DatabaseState.read(engine)
    with legacies.database(shape, sample_rows) as engine:
        for enforce, shape_after, expected in (
            (False, "expanded", expanded),
            (True, "current", enforced),
        ):
            sql = db.sql(engine, enforce=enforce)
            assert run_script(legacies, engine, sql) == ""
            assert_same_after_sync(engine, expected)
            state = DatabaseState.read(engine)
            assert db.verify(engine).shape == shape_after
            # Another script for the same step has nothing to do.
            run_script(legacies, engine, db.sql(engine, enforce=enforce))
            assert DatabaseState.read(engine) == state


@pytest.mark.parametrize("inspected", [False, True])
def test_the_script_for_an_empty_database_leaves_what_an_adoption_leaves(
    legacies: LegacyDatabases, *, inspected: bool
) -> None:
    with legacies.database(BARE) as engine:
        execute(engine, "DROP TABLE messages, campaigns")
        adopt(engine)
        expected = DatabaseState.read(engine)
    with legacies.database(BARE) as engine:
        execute(engine, "DROP TABLE messages, campaigns")
        sql = db.sql(engine, enforce=True) if inspected else db.sql()
        assert run_script(legacies, engine, sql) == ""
        assert_same_after_sync(engine, expected)
        assert db.verify(engine).shape == "current"


def test_an_adoption_continues_a_script_that_ended_early(
    newest: LegacyDatabases,
) -> None:
    with newest.database(SERVICE, sample_rows) as engine:
        parts = db.sql(engine, enforce=True).split("\n\n")
        adopt(engine)
        expected = DatabaseState.read(engine)
    for fraction in (0.4, 0.8):
        with newest.database(SERVICE, sample_rows) as engine:
            beginning = "\n\n".join(parts[: int(len(parts) * fraction)])
            run_script(newest, engine, beginning)
            assert db.verify(engine).shape == "unfinished"
            adopt(engine)
            assert_same_after_sync(engine, expected)


def test_the_script_repairs_a_contact_that_is_added_to_a_repaired_campaign(
    newest: LegacyDatabases,
) -> None:
    with newest.database(SERVICE, sample_rows) as engine:
        call, new_id = "CALL pg_temp.repair_campaigns();", make_id("campaign_contacts", 500)
        add_contact = f"""
            INSERT INTO campaign_contacts (id, campaign_id, contact_id, status, generation_cost)
            SELECT '{new_id}', campaign.id, contact.id, 'generated', NULL
            FROM campaigns AS campaign
            JOIN contacts AS contact ON contact.tenant_id = campaign.tenant_id
            WHERE campaign.id = '{make_id("campaigns", 1)}'
                AND contact.id NOT IN (
                    SELECT contact_id FROM campaign_contacts WHERE campaign_id = campaign.id
                )
            LIMIT 1;
        """  # noqa: S608
        sql = db.sql(engine, enforce=True).replace(call, call + add_contact, 1)
        run_script(newest, engine, sql)
        assert db.verify(engine).shape == "current"
        contact = read_rows(engine)["campaign_contacts"][new_id]
        assert (contact["status"], contact["unknown_costs"]) == ("generated", "1")
        read_with_store(engine)


@pytest.mark.parametrize("shape", [None, BARE, EXTENDED], ids=["empty", "bare", "extended"])
def test_a_linter_of_migrations_finds_only_exceptions_with_a_reason(
    oldest: LegacyDatabases, shape: Shape | None, tmp_path: Path
) -> None:
    file = tmp_path / "adoption.sql"

    def lint(sql: str) -> tuple[int, str]:
        # The linter knows no variables of psql.
        file.write_text(sql.replace(PSQL_SESSION_CHECK, ""))
        linter = Path(sysconfig.get_path("scripts")) / "squawk"
        command = [str(linter), "--pg-version", "15", "--reporter", "gcc", str(file)]
        process = subprocess.run(command, capture_output=True, text=True, check=False)
        return process.returncode, process.stdout

    if shape is None:
        sql = db.sql()
    else:
        with oldest.database(shape) as engine:
            sql = db.sql(engine, enforce=True)
    assert lint(sql) == (0, "")
    # The linter does report the exceptions if they are not declared.
    code, output = lint(re.sub(r"-- squawk-ignore.*", "", sql))
    assert (code, "prefer-robust-stmts" in output) == (1, True)
