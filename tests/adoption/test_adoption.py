from __future__ import annotations

import json
import re
import subprocess
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from campaign_model import db
from campaign_model.cli import main
from campaign_model.db import schema
from campaign_model.db.adoption import catalog
from campaign_model.db.adoption.functions import CREATE_FUNCTIONS
from campaign_model.store.tables import HostTables, metadata
from campaign_model.wire import DEFAULT
from support import catalogs, legacy, legacy_data, servers

NewDatabase = Callable[..., str]

POSTGRESQL = servers.postgresql()
HOST = HostTables()


@contextmanager
def opened(url: str) -> Iterator[sa.Engine]:
    engine = sa.create_engine(url)
    try:
        yield engine
    finally:
        engine.dispose()


def read(engine: sa.Engine) -> catalogs.Catalog:
    with engine.connect() as connection:
        return catalogs.read(connection)


def constraints(found: catalogs.Catalog) -> set[tuple[str, str]]:
    """Of each table, what its constraints say."""
    return {(table, what[0]) for (kind, table, _), what in found.items() if kind == "constraint"}


@pytest.mark.parametrize("postgresql", POSTGRESQL)
def test_nothing_is_planned_for_a_fresh_schema(new_database: NewDatabase, postgresql: str) -> None:
    with opened(new_database(postgresql)) as engine:
        assert db.verify(engine).shape == "empty"
        db.init(engine, with_host_tables=True)
        assert db.verify(engine) == db.Verdict("current", (), ())
        before = read(engine)
        assert db.adopt(engine).added == ()
        assert read(engine) == before


def test_a_contact_takes_no_rows_of_ours_along(new_database: NewDatabase) -> None:
    shape = legacy.Shape(extended=True)
    with opened(new_database(POSTGRESQL[0])) as engine:
        with engine.begin() as connection:
            legacy.build(connection, shape)
            legacy.fill(connection, legacy_data.sample(shape))
        before = constraints(read(engine))
        db.adopt(engine)
        # All that is gone: everything else has its old name or ours.
        assert before - constraints(read(engine)) == {
            ("campaign_contacts", f"FOREIGN KEY ({one}_id) REFERENCES {one}s(id) ON DELETE CASCADE")
            for one in ("campaign", "contact")
        }


@pytest.mark.parametrize("quarantine", [False, True])
def test_what_a_writer_brings_in_after_the_audit_is_not_overwritten(
    new_database: NewDatabase, *, quarantine: bool
) -> None:
    shape = legacy.Shape(extended=True)
    with opened(new_database(POSTGRESQL[0])) as engine:
        with engine.begin() as connection:
            legacy.build(connection, shape)
            legacy.fill(connection, legacy_data.sample(shape))

        written: list[str] = []

        def write(_connection: object, _cursor: object, statement: str, *_: object) -> None:
            if "ADD COLUMN" in statement and not written:
                written.append(statement)
                with engine.begin() as beside:
                    beside.exec_driver_sql(
                        "UPDATE campaigns SET template_config = '5' WHERE id = %(id)s",
                        {"id": legacy_data.uid("campaigns", 1)},
                    )

        sa.event.listen(engine, "before_cursor_execute", write)
        if quarantine:
            db.adopt(engine, quarantine=True)
            query = "SELECT value FROM campaign_quarantine WHERE column_name = 'template_config'"
        else:
            with pytest.raises(db.AdoptionRefused, match="1 x not_steps"):
                db.adopt(engine)
            query = "SELECT template_config FROM campaigns WHERE template_config = '5'"
        with engine.begin() as connection:
            assert connection.exec_driver_sql(query).scalars().all() == [5]


@pytest.mark.parametrize("postgresql", POSTGRESQL)
def test_what_went_missing_is_made_again(new_database: NewDatabase, postgresql: str) -> None:
    damage = (
        "ALTER TABLE campaigns DROP CONSTRAINT ck_campaigns_status",
        "ALTER TABLE campaigns ADD CONSTRAINT ck_campaigns_status CHECK (status <> '')",
        "ALTER TABLE campaigns DROP CONSTRAINT fk_campaigns_tenant_id_owner_id",
        "ALTER TABLE campaigns ALTER version DROP NOT NULL, ALTER status DROP DEFAULT",
        "ALTER TABLE campaign_history DROP CONSTRAINT pk_campaign_history",
        "ALTER TABLE campaign_contacts DROP COLUMN retry_at",
        "DROP INDEX ix_campaigns_page",
        "ALTER TABLE campaign_contacts RESET (fillfactor)",
        "DROP INDEX ix_campaign_contacts_contact",
        "CREATE INDEX ix_campaign_contacts_contact ON campaign_contacts (status)",
        "DROP TABLE campaign_erased_claims",
        # As an interrupted CREATE INDEX CONCURRENTLY leaves it.
        """UPDATE pg_index SET indisvalid = false
        WHERE indexrelid = 'ix_campaign_contacts_rank'::regclass""",
    )
    with opened(new_database(postgresql)) as engine:
        db.init(engine, with_host_tables=True)
        before = read(engine)
        for statement in damage:
            with engine.begin() as connection:
                connection.exec_driver_sql(statement)
        verdict = db.verify(engine)
        assert (verdict.shape, len(verdict.pending) > len(damage)) == ("changed", True)
        assert db.adopt(engine).added == verdict.pending
        assert db.verify(engine) == db.Verdict("current", (), ())
        assert read(engine) == before


def test_the_plan_knows_how_the_server_spells_columns(new_database: NewDatabase) -> None:
    with opened(new_database(POSTGRESQL[0])) as engine:
        db.init(engine, with_host_tables=True)
        with engine.connect() as connection:
            found = catalog.read_catalog(connection, metadata.tables)
    for name, table in schema.expected_tables(HOST).items():
        for column, wanted in table.columns.items():
            present = found[name].columns[column]
            assert (wanted.type, wanted.default, wanted.not_null) == (
                present.type,
                present.default,
                present.not_null,
            ), (name, column)


STEPS = st.lists(st.sampled_from(legacy_data.STEPS), max_size=4)


@pytest.fixture(scope="module")
def helpers(databases: servers.Databases) -> Iterator[sa.Connection]:
    """A connection with the helpers of the repairs."""
    with opened(databases.create(POSTGRESQL[0])) as engine, engine.connect() as connection:
        for function in CREATE_FUNCTIONS:
            connection.exec_driver_sql(function.replace("%", "%%"))
        yield connection


@given(steps=STEPS, layers=st.integers(0, 3))
@settings(max_examples=50)
def test_steps_are_filled_as_the_codec_fills_them(
    helpers: sa.Connection, steps: list[dict[str, Any]], layers: int
) -> None:
    stored = legacy_data.encoded(steps, layers)
    decoded, filled = helpers.execute(
        sa.text(
            "SELECT pg_temp.decode_json(d)::text, pg_temp.fill_steps(pg_temp.decode_json(d))::text"
            " FROM (SELECT CAST(:stored AS jsonb)) AS document (d)"
        ),
        {"stored": stored},
    ).one()
    assert json.loads(decoded) == steps
    read, raw = DEFAULT.recover_template_config(filled), json.loads(filled)
    assert read.value == DEFAULT.recover_template_config(stored).value
    assert {repair.code for repair in read.repairs} <= {"renumbered"}
    # Nothing that stood there has changed.
    assert [
        {name: after[name] for name in before} for before, after in zip(steps, raw, strict=True)
    ] == steps


@pytest.mark.parametrize("shape", ["empty", "bare", "extended"])
def test_a_linter_of_migrations_finds_nothing_unexplained(shape: str, tmp_path: Path) -> None:
    file = tmp_path / "adoption.sql"

    def lint(sql: str) -> tuple[int, str]:
        file.write_text(sql)
        linter = Path(sysconfig.get_path("scripts")) / "squawk"
        command = [str(linter), "--pg-version", "15", "--reporter", "gcc", str(file)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout

    sql = db.sql(shape)
    assert lint(sql) == (0, "")
    # It looks: of what is explained, it would have told.
    code, told = lint(re.sub(r"-- squawk-ignore.*", "", sql))
    assert (code, "prefer-robust-stmts" in told) == (1, True)


def test_plain_sql_is_of_known_shapes_and_for_one_dialect() -> None:
    with pytest.raises(ValueError, match="empty, bare, extended"):
        db.sql("nix")


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(arguments)
    out, err = capsys.readouterr()
    return code, out, err


def test_the_command_tells_refuses_and_adopts(
    new_database: NewDatabase, capsys: pytest.CaptureFixture[str]
) -> None:
    url = new_database(POSTGRESQL[0])
    shape = legacy.Shape(extended=True)
    unknown = [one for one in legacy_data.faults(shape) if one.name == "an unknown word"]
    with opened(url) as engine, engine.begin() as connection:
        legacy.build(connection, shape)
        legacy.fill(connection, legacy_data.broken(shape, unknown))
    at = ("--url", url)
    code, out, _ = run(capsys, "db", "verify", *at)
    assert (code, "extended" in out, "ADD COLUMN" in out) == (1, True, True)
    code, out, err = run(capsys, "db", "adopt", "--dry-run", *at)
    assert (code, err) == (1, "")
    assert "unknown_status" in out
    assert "sent becomes exported" in out
    code, out, err = run(capsys, "db", "adopt", "--json", *at)
    *findings, report = map(json.loads, out.splitlines())
    assert (code, "2 x unknown_status" in err) == (1, True)
    assert report["refused"] == {"unknown_status": 2}
    assert len(findings) == sum([*report["refused"].values(), *report["repaired"].values()])
    assert run(capsys, "db", "verify", *at)[0] == 1
    code, out, err = run(capsys, "db", "init", *at)
    assert (code, "db adopt" in err) == (2, True)
    mapped = ("--status-map", "in_progress=ready", "--status-rule", "sent=review")
    code, out, err = run(capsys, "db", "adopt", *mapped, "--quarantine", *at)
    assert (code, err) == (0, "")
    assert "sent becomes review" in out
    code, out, err = run(capsys, "db", "verify", "--json", *at)
    assert (code, json.loads(out)["shape"]) == (0, "current")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("adopt", "--status-map", "x"), "WORD=STATUS"),
        (("adopt", "--status-map", "x=y"), "is not a status"),
        (("adopt", "--status-rule", "nix=draft"), "sent, lemlist, otherwise"),
        (("adopt", "--status-rule", "sent=nix"), "archived"),
        (("sql",), "--from or --url"),
        (("sql", "--from", "bare"), "--from or --url"),
        (("sql", "--from", "nix"), "nix"),
    ],
)
def test_mistakes_are_told_in_a_line(
    new_database: NewDatabase,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    told: str,
) -> None:
    url = new_database(POSTGRESQL[0])
    with_url = () if arguments == ("sql",) else ("--url", url)
    code, out, err = run(capsys, "db", *arguments, *with_url)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert told in err


def test_adoption_is_refused_on_sqlite_and_writes_nothing(
    new_database: NewDatabase, capsys: pytest.CaptureFixture[str]
) -> None:
    url = new_database("sqlite")
    with opened(url) as engine:
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
        assert dump() == before


def test_a_view_and_a_strange_type_stop_the_adoption(new_database: NewDatabase) -> None:
    with opened(new_database(POSTGRESQL[0])) as engine:
        with engine.begin() as connection:
            legacy.build(connection, legacy.Shape(extended=True))
            connection.exec_driver_sql("ALTER TABLE campaigns ALTER status TYPE varchar(20)")
            connection.exec_driver_sql("ALTER TABLE campaigns ALTER total_contacts TYPE bigint")
            connection.exec_driver_sql("CREATE VIEW spent AS SELECT generation_cost FROM campaigns")
        before = read(engine)
        with pytest.raises(db.SetupError) as caught:
            db.adopt(engine)
        pending = "; ".join(db.verify(engine).pending)
        assert str(caught.value) == pending
        assert "total_contacts is of type bigint" in pending
        assert "a view shows campaigns.generation_cost" in pending
        assert "status" not in pending
        assert read(engine) == before
