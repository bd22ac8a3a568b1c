"""The commands ``db verify``, ``db adopt`` and ``db sql``, and their refusal on SQLite."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa

from campaign_model import db
from campaign_model.cli import main
from campaign_model.db import setup
from support import legacy, servers
from support.adoption import EXTENDED, POSTGRESQL, LegacyDatabases
from support.interruption import observe_statements, open_other_connection
from support.legacy_rows import list_faults, rows_with_faults

NewDatabase = Callable[..., str]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Run a command: return its exit code, standard output and standard error."""
    exit_code = main(arguments)
    out, err = capsys.readouterr()
    return exit_code, out, err


def test_the_commands_verify_refuse_and_adopt(
    oldest: LegacyDatabases, capsys: pytest.CaptureFixture[str]
) -> None:
    faults = [fault for fault in list_faults(EXTENDED) if fault.name == "an unknown word"]
    with oldest.database(EXTENDED) as engine:
        with engine.begin() as connection:
            legacy.fill(connection, rows_with_faults(EXTENDED, faults))
        at_url = ("--url", servers.plain(engine.url))

        code, out, _ = run(capsys, "db", "verify", *at_url)
        assert (code, "extended" in out, "ADD COLUMN" in out) == (1, True, True)

        code, out, err = run(capsys, "db", "adopt", "--dry-run", *at_url)
        assert (code, err) == (1, "")
        assert "unknown_status" in out
        assert "sent becomes exported" in out

        code, out, err = run(capsys, "db", "adopt", "--json", *at_url)
        assert "--status-map" in err
        assert "--quarantine" in err
        *findings, report = map(json.loads, out.splitlines())
        error = json.loads(err)
        assert (code, error["code"], "2 x unknown_status" in error["message"]) == (
            1,
            "needs_decision",
            True,
        )
        assert report["refused"] == {"unknown_status": 2}
        assert len(findings) == sum([*report["refused"].values(), *report["repaired"].values()])
        assert run(capsys, "db", "verify", *at_url)[0] == 1

        code, _, err = run(capsys, "db", "init", *at_url)
        assert (code, "db adopt" in err) == (2, True)

        options = ("--status-map", "in_progress=ready", "--status-rule", "sent=review")
        code, out, err = run(capsys, "db", "adopt", *options, "--quarantine", *at_url)
        assert (code, err) == (0, "")
        assert "sent becomes review" in out

        code, out, _ = run(capsys, "db", "verify", "--json", *at_url)
        assert (code, json.loads(out)["shape"]) == (1, "expanded")

        with engine.begin() as connection:
            connection.exec_driver_sql("UPDATE campaigns SET status = NULL")
        code, out, err = run(capsys, "db", "enforce", "--dry-run", *at_url)
        assert (code, err) == (0, "")
        assert "Writes that db enforce will refuse" in out
        assert run(capsys, "db", "enforce", *at_url)[0] == 0
        code, out, _ = run(capsys, "db", "verify", "--json", *at_url)
        assert (code, json.loads(out)["shape"]) == (0, "current")

        code, out, err = run(capsys, "db", "adopt", *at_url)
        assert (code, out.count("\n"), err) == (0, 1, "")
        assert out.startswith("Nothing to do")


def interrupt(_driver: Any, _engine: sa.Engine) -> None:
    raise KeyboardInterrupt


def end_server_process(driver: Any, engine: sa.Engine) -> None:
    with open_other_connection(engine) as other:
        other.execute("SELECT pg_terminate_backend(%s, 20000)", [driver.info.backend_pid])


@pytest.mark.parametrize(
    ("disturb", "expected_code"), [(interrupt, 130), (end_server_process, 3)], ids=["ctrl-c", "end"]
)
def test_after_an_interruption_the_command_says_that_it_continues(
    legacies: LegacyDatabases,
    capsys: pytest.CaptureFixture[str],
    disturb: Callable[[Any, sa.Engine], None],
    expected_code: int,
) -> None:
    with legacies.database(EXTENDED) as engine:
        disturbed: list[str] = []

        def disturb_once(driver: Any, statement: str) -> None:
            if statement.startswith("ALTER TABLE campaigns") and not disturbed:
                disturbed.append(statement)
                disturb(driver, engine)

        command = ("db", "adopt", "--url", servers.plain(engine.url))
        with observe_statements(sa.Engine, disturb_once):
            code, out, err = run(capsys, *command)
        assert (code, out) == (expected_code, "")
        assert err.endswith("; run it again, it continues\n")
        assert run(capsys, *command)[0] == 0
        assert db.verify(engine).shape == "expanded"


def test_the_command_names_who_holds_the_setup_lock(
    oldest: LegacyDatabases, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup, "_LONGEST_WAIT_SECONDS", 0)
    with oldest.database(EXTENDED) as engine, open_other_connection(engine) as holder:
        holder.execute("SELECT pg_advisory_lock(%s)", [setup.SETUP_LOCK])
        code, out, err = run(capsys, "db", "adopt", "--url", servers.plain(engine.url))
        waiting, failure = err.splitlines()
        assert (code, out) == (2, "")
        for line in (waiting, failure):
            assert f"process {holder.info.backend_pid} " in line


def test_a_database_that_was_not_adopted_cannot_be_enforced(
    oldest: LegacyDatabases, capsys: pytest.CaptureFixture[str]
) -> None:
    with oldest.database(EXTENDED) as engine:
        code, _, err = run(capsys, "db", "enforce", "--url", servers.plain(engine.url))
        assert (code, err.count("\n")) == (2, 1)
        assert "adopt it first" in err


def test_the_command_prints_the_privileges_of_a_role(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "db", "grants", "--role", "my service", "--owners", "staff")
    assert code == 0
    assert out.splitlines() == [
        f"{grant};" for grant in db.grants("my service", host=db.HostTables(owners="staff"))
    ]
    assert 'GRANT SELECT ON staff TO "my service";' in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("adopt", "--status-map", "x"), "WORD=STATUS"),
        (("adopt", "--status-map", "x=y"), "is not a status"),
        (
            ("adopt", "--status-map", "x=draft", "--status-map", "x=ready"),
            "--status-map gives a status for x twice",
        ),
        (("adopt", "--status-rule", "nix=draft"), "sent, lemlist, otherwise"),
        (("adopt", "--status-rule", "sent=nix"), "archived"),
        (("adopt", "--status-map", "x=y"), "--status-map: 'x' cannot become 'y'"),
        (("adopt", "--owners", "auth.users"), "--owners: owners is the name of a table without"),
        (("init",), "--tenants, --owners and --contacts"),
        (("adopt", "--contacts", "people"), "name your own table with --contacts"),
    ],
)
def test_a_users_mistake_is_one_line_on_standard_error(
    new_database: NewDatabase,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    message: str,
) -> None:
    code, out, err = run(capsys, "db", *arguments, "--url", new_database(POSTGRESQL[0]))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_the_command_prints_the_sql_for_an_empty_or_an_inspected_database(
    oldest: LegacyDatabases, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, "db", "sql", "--tenants", "customers") == (
        0,
        db.sql(host=db.HostTables(tenants="customers")),
        "",
    )
    with oldest.database(EXTENDED) as engine:
        out = run(capsys, "db", "sql", "--url", servers.plain(engine.url))[1]
        assert out == db.sql(engine)


def test_an_adoption_is_refused_on_sqlite_and_writes_nothing(
    new_database: NewDatabase, capsys: pytest.CaptureFixture[str]
) -> None:
    url = new_database("sqlite")
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE campaigns (id TEXT PRIMARY KEY, name TEXT)")
        connection.exec_driver_sql("INSERT INTO campaigns VALUES ('1', 'By hand')")

    def dump() -> list[str]:
        with engine.connect() as connection:
            driver: Any = connection.connection.dbapi_connection
            return [*driver.iterdump()]

    before = dump()
    for call in (db.adopt, partial(db.adopt, dry_run=True), db.verify, db.sql):
        with pytest.raises(db.SetupError, match=r"is for PostgreSQL; db\.init .* SQLite"):
            call(engine)
    for command in ("adopt", "verify", "sql"):
        code, out, err = run(capsys, "db", command, "--url", url)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert "campaign-model db init" in err
        assert "campaign-model db doctor" in err
    assert dump() == before
    engine.dispose()
