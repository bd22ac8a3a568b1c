"""Commands in sessions that may not do everything: read-only, on a standby, without privileges."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import attrs
import pytest
import sqlalchemy as sa

from campaign_model import db
from campaign_model.cli import main
from support import servers
from support.adoption import BARE, EXTENDED, DatabaseState, LegacyDatabases, adopt, execute
from support.interruption import observe_statements
from support.legacy_rows import sample_rows

NewDatabase = Callable[..., str]


@contextmanager
def open_engine(url: str | sa.URL) -> Iterator[sa.Engine]:
    engine = sa.create_engine(url)
    try:
        yield engine
    finally:
        engine.dispose()


def set_default(engine: sa.Engine, name: str, value: str) -> None:
    """Change the default of a setting for the new sessions of a database."""
    execute(engine, f"ALTER DATABASE {engine.url.database} SET {name} = {value}")
    engine.dispose()


def test_in_a_read_only_session_verify_and_the_dry_run_work(legacies: LegacyDatabases) -> None:
    with legacies.database(EXTENDED, sample_rows) as engine:
        verdict, script = db.verify(engine), db.sql(engine)
        expected = adopt(engine, dry_run=True)
        before = DatabaseState.read(engine)
        set_default(engine, "default_transaction_read_only", "on")
        assert (db.verify(engine), db.sql(engine)) == (verdict, script)
        dry = adopt(engine, dry_run=True)
        assert dry.findings == expected.findings
        # The samples have present times.
        assert attrs.evolve(dry.report, samples={}) == attrs.evolve(expected.report, samples={})
        for call in (db.adopt, db.init):
            with pytest.raises(db.SetupError, match="this session is read-only"):
                call(engine)
        # The connection was given back as it was.
        with engine.connect() as connection:
            assert connection.exec_driver_sql("SHOW transaction_read_only").scalar() == "on"
        assert DatabaseState.read(engine) == before


def test_an_engine_in_autocommit_gets_transactions(
    legacies: LegacyDatabases, new_database: NewDatabase
) -> None:
    with legacies.database(EXTENDED) as engine:
        before, verdict = DatabaseState.read(engine), db.verify(engine)
        autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
        assert db.verify(autocommit) == verdict
        assert db.sql(autocommit) == db.sql(engine)
        assert DatabaseState.read(engine) == before

    class InterruptionError(Exception):
        pass

    def interrupt(_driver: Any, statement: str) -> None:
        if statement.lstrip().startswith("CREATE TABLE campaign_totals"):
            raise InterruptionError

    with open_engine(new_database(legacies.engine_name)) as engine:
        autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
        with observe_statements(sa.Engine, interrupt), pytest.raises(InterruptionError):
            db.init(autocommit, with_host_tables=True)
        assert sa.inspect(engine).get_table_names() == []


def test_on_a_standby_every_command_says_that_it_needs_the_primary(
    legacies: LegacyDatabases, new_database: NewDatabase
) -> None:
    url = new_database(legacies.engine_name)
    with open_engine(url) as primary:
        db.init(primary, with_host_tables=True)
    with servers.standby(url) as standby_url, open_engine(standby_url) as standby:
        verdict = db.verify(standby)
        assert verdict.shape == "unknown"
        (sentence,) = verdict.pending
        assert sentence.startswith("this server is a standby")
        for call in (db.adopt, db.sql, lambda engine: db.adopt(engine, dry_run=True)):
            with pytest.raises(db.SetupError) as caught:
                call(standby)
            assert str(caught.value) == sentence
        with pytest.raises(db.SetupError, match="read-only"):
            db.init(standby)


def test_keys_that_are_no_uuids_are_one_line_from_every_command(
    engine_name: str, new_database: NewDatabase, capsys: pytest.CaptureFixture[str]
) -> None:
    url = new_database(engine_name)
    with open_engine(url) as engine:
        execute(engine, "CREATE TABLE tenants (id BIGINT PRIMARY KEY)")
        for name in ("owners", "contacts"):
            execute(
                engine,
                f"CREATE TABLE {name} (id BIGINT PRIMARY KEY, tenant_id BIGINT NOT NULL, "
                "UNIQUE (tenant_id, id))",
            )
    commands = ("init",) if engine_name == "sqlite" else ("init", "adopt", "sql")
    for command in commands:
        assert main(["db", command, "--url", url.replace("+psycopg", "")]) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n"), "tenants.id is of type" in err) == ("", 1, True)


def test_init_names_the_unique_key_that_a_host_table_lacks(
    legacies: LegacyDatabases, new_database: NewDatabase
) -> None:
    with open_engine(new_database(legacies.engine_name)) as engine:
        for statement in (
            "CREATE TABLE tenants (id uuid PRIMARY KEY)",
            "CREATE TABLE owners (id uuid PRIMARY KEY, tenant_id uuid, UNIQUE (tenant_id, id))",
            "CREATE TABLE contacts (id uuid PRIMARY KEY, tenant_id uuid NOT NULL)",
        ):
            execute(engine, statement)
        with pytest.raises(db.SetupError) as caught:
            db.init(engine)
        sentence, _, statement = str(caught.value).partition(": ")
        assert sentence == "contacts has no unique key that foreign keys can refer to"
        execute(engine, statement)
        db.init(engine)
        assert db.verify(engine).shape == "current"


@contextmanager
def open_as_role(engine: sa.Engine) -> Iterator[sa.Engine]:
    """Open an engine with a new role that owns every table; drop the role at the end."""
    role = f"operator_{uuid4().hex[:8]}"
    execute(engine, f"CREATE ROLE {role} LOGIN")
    execute(engine, f"GRANT CREATE ON SCHEMA public TO {role}")
    for name in sa.inspect(engine).get_table_names():
        execute(engine, f"ALTER TABLE {name} OWNER TO {role}")
    try:
        with open_engine(engine.url.set(username=role)) as engine_of_role:
            yield engine_of_role
    finally:
        execute(engine, f"DROP OWNED BY {role}")
        execute(engine, f"DROP ROLE {role}")


MISSING_PRIVILEGES = (
    # What is missing, how it is given back, and a part of the sentence.
    (
        "REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC",
        "GRANT TEMPORARY ON DATABASE {database} TO PUBLIC",
        "GRANT TEMPORARY ON DATABASE",
    ),
    (
        "REVOKE CREATE ON SCHEMA public FROM {role}",
        "GRANT CREATE ON SCHEMA public TO {role}",
        "GRANT CREATE ON SCHEMA public",
    ),
    (
        "ALTER TABLE campaigns OWNER TO postgres; GRANT ALL ON campaigns TO {role}",
        "ALTER TABLE campaigns OWNER TO {role}",
        "the table campaigns has another owner",
    ),
    (
        "ALTER TABLE contacts OWNER TO postgres; GRANT ALL ON contacts TO {role}",
        "ALTER TABLE contacts OWNER TO {role}",
        "the table contacts has another owner",
    ),
    (
        "ALTER TABLE tenants OWNER TO postgres; GRANT SELECT ON tenants TO {role}",
        "GRANT REFERENCES ON tenants TO {role}",
        "GRANT REFERENCES ON tenants",
    ),
    (
        "ALTER TABLE messages OWNER TO postgres",
        "GRANT SELECT ON messages TO {role}",
        "GRANT SELECT ON messages",
    ),
    (
        "ALTER TABLE messages ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE messages DISABLE ROW LEVEL SECURITY",
        "row-level security",
    ),
)


def test_verify_finds_missing_privileges_and_adopt_refuses_before_any_change(
    legacies: LegacyDatabases,
) -> None:
    with legacies.database(BARE) as engine, open_as_role(engine) as operator:
        before = DatabaseState.read(engine)
        for take, give_back, sentence in MISSING_PRIVILEGES:
            names = {"database": engine.url.database, "role": operator.url.username}
            for statement in take.split("; "):
                execute(engine, statement.format(**names))
            (obstacle,) = db.verify(operator).pending
            assert sentence in obstacle
            with pytest.raises(db.SetupError) as caught:
                db.adopt(operator)
            assert str(caught.value) == obstacle
            execute(engine, give_back.format(**names))
        assert DatabaseState.read(engine).rows == before.rows
        db.adopt(operator, enforce=True)
        assert db.verify(operator).pending == ()
        # A complete database can be verified without any of these privileges.
        execute(engine, f"REASSIGN OWNED BY {operator.url.username} TO postgres")
        execute(engine, f"GRANT SELECT ON {db.VERSION_TABLE} TO {operator.url.username}")
        assert db.verify(operator).shape == "current"
