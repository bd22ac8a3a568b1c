"""The commands that install, remove and check row-level security."""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa

from campaign_model import db
from campaign_model.store.tables import metadata
from support import servers
from support.commands import Command
from support.row_security import secured_database

NEWEST = servers.available()[-1]


def count_policies(engine: sa.Engine) -> int:
    with engine.begin() as connection:
        return int(connection.exec_driver_sql("SELECT count(*) FROM pg_policy").scalar_one())


def test_the_command_installs_prints_and_checks(
    schema: Callable[[str], str], databases: servers.Databases, command: Command
) -> None:
    url = schema(NEWEST)
    engine = sa.create_engine(url)

    status = command("db", "rls", "status", "--url", url, "--json")
    assert status.code == 1
    names = sorted({*metadata.tables, db.VERSION_TABLE})
    assert [table["table"] for table in status.json["tables"]] == names
    assert "row-level security is not enabled" in status.json["tables"][0]["missing"]
    assert "campaigns: there is no policy" in command("db", "rls", "status", "--url", url).out

    printed = command("db", "rls", "install", "--url", url, "--print")
    assert printed.code == 0
    assert count_policies(engine) == 0
    assert databases.run_psql(NEWEST, url, printed.out)[0] == 0
    assert command("db", "rls", "install", "--url", url).out == "Nothing to do\n"
    status = command("db", "rls", "status", "--url", url)
    assert (status.code, status.out) == (0, "".join(f"{name}: ok\n" for name in names))

    printed = command("db", "rls", "remove", "--url", url, "--print")
    executed = command("db", "rls", "remove", "--url", url)
    assert executed.out == f"Executed {printed.out.count(';') - 3} statements\n"
    assert command("db", "rls", "status", "--url", url).code == 1
    engine.dispose()


def test_the_doctor_refuses_a_role_that_sees_some_rows_only(
    schema: Callable[[str], str], command: Command
) -> None:
    with secured_database(schema(NEWEST)) as secured:
        url, operator_url = (
            engine.url.render_as_string() for engine in (secured.owner, secured.operator)
        )
        answer = command("db", "doctor", "--url", url)
        answer.assert_usage_error("row-level security", "BYPASSRLS")
        assert "totals      ok" in command("db", "doctor", "--url", operator_url).out


def test_sqlite_has_no_row_level_security(schema: Callable[[str], str], command: Command) -> None:
    url = schema("sqlite")
    for name in ("install", "remove", "status"):
        answer = command("db", "rls", name, "--url", url)
        answer.assert_usage_error("row-level security is a feature of PostgreSQL")


def test_a_database_without_the_library_is_refused(
    new_database: Callable[[str], str], command: Command
) -> None:
    answer = command("db", "rls", "install", "--url", new_database(NEWEST))
    answer.assert_usage_error("the database has no table campaign_contacts", "db init")
