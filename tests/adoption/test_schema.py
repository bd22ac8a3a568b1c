"""What adoption does to the schema around the rows, and the same as plain SQL."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from campaign_model import db
from campaign_model.store.tables import metadata
from support import catalogs, servers
from support.adoption import Legacies, State, adopt, settled
from support.legacy import Shape
from support.legacy_data import sample

SERVICE = Shape(extended=True, tags=True, full_name=True, service=True)
OURS = {table.name: {*table.columns.keys()} for table in metadata.sorted_tables}


def files(engine: sa.Engine) -> dict[str, int]:
    with engine.begin() as connection:
        return catalogs.files(connection)


def test_ours_is_what_a_fresh_schema_is_and_nothing_else_changes(
    legacies: Legacies, new_database: Callable[..., str]
) -> None:
    """An upgraded schema is a fresh one: there is one revision."""
    fresh = sa.create_engine(new_database(legacies.engine_name))
    db.init(fresh, with_host_tables=True)
    wanted = ours(State.of(fresh).catalog)
    fresh.dispose()
    for shape in (Shape(service=True), SERVICE):
        with legacies.database(shape, sample) as engine:
            before, on_disk = State.of(engine).catalog, files(engine)
            adopt(engine)
            after = State.of(engine).catalog
            # No table was written anew.
            assert files(engine).items() >= on_disk.items()
        assert ours(after) == wanted
        check_theirs(catalogs.changes(before, after))


def check_theirs(changes: catalogs.Changes) -> None:
    """Hold every change against what adoption may touch."""
    # Room for a row's next version, in pages to come: a storage option of its table.
    relations = {table for kind, table, _ in changes.changed if kind == "relation"}
    assert relations <= {"campaign_contacts"}
    for kind, table, column in changes.changed:
        if kind == "relation":
            continue
        assert kind == "column"
        assert column in OURS[table]
    # Constraints that ours replace: those that delete our rows by themselves, and some names.
    assert {key[0] for key in changes.removed} <= {"constraint", "index"}
    assert {key[1] for key in changes.removed} <= OURS.keys()
    kept = {
        (table, what) for (kind, table, _), what in changes.added.items() if kind == "constraint"
    }
    gone = {"campaign_contacts_contact_id_fkey", "campaign_contacts_campaign_id_fkey"}
    for (kind, table, name), what in changes.removed.items():
        renamed = (table, what) in kept
        assert renamed or kind == "index" or name in gone, name
    keys = {"owners": "uq_owners_tenant_id_id", "contacts": "uq_contacts_tenant_id_id"}
    for _, table, name in changes.added:
        assert table in {*OURS, db.VERSION_TABLE} or keys.get(table) == name, name


def ours(catalog: catalogs.Catalog) -> catalogs.Catalog:
    """What a fresh schema has, of a catalog that may have more."""
    constraints = {
        key: what
        for key, what in catalog.items()
        if key[0] in {"constraint", "index"} and key[1] in OURS
    }
    named = {
        key: what
        for key, what in constraints.items()
        if key[2].startswith(("ck_", "fk_", "uq_", "pk_", "ix_"))
    }
    columns = {
        key: what
        for key, what in catalog.items()
        if key[0] == "column"
        and key[2] in OURS.get(key[1], ())
        # Whoever wrote such rows before may rely on their default.
        and key[1:] not in {("campaign_contacts", "id"), ("campaign_templates", "id")}
    }
    return {**named, **columns}


# Plain SQL.


def psql(legacies: Legacies, engine: sa.Engine, sql: str, directory: Path) -> str:
    """Run ``sql`` by psql; what it said on standard error."""
    programs = legacies.databases.directory / legacies.engine_name / "bin"
    file = directory / "adoption.sql"
    file.write_text(sql)
    url = servers.plain(engine.url)
    done = subprocess.run(
        [programs / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", url, "-f", file],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def assert_same(engine: sa.Engine, wanted: State) -> None:
    """The schema that an adoption leaves, and the rows, once the templates are synced as well."""
    with engine.begin() as connection:
        db.sync_presets(connection)
    state = State.of(engine)
    assert catalogs.changes(wanted.catalog, state.catalog) == catalogs.Changes({}, {}, {})
    assert settled(state.contents) == settled(wanted.contents)


@pytest.mark.parametrize("name", ["empty", "bare", "extended"])
def test_plain_sql_leaves_what_an_adoption_leaves(
    legacies: Legacies, name: str, tmp_path: Path
) -> None:
    shape = Shape(extended=name == "extended")

    def prepare(engine: sa.Engine) -> None:
        if name == "empty":
            with engine.begin() as connection:
                connection.exec_driver_sql("DROP TABLE messages, campaigns")

    fill = None if name == "empty" else sample
    with legacies.database(shape, fill) as engine:
        prepare(engine)
        adopt(engine)
        wanted = State.of(engine)
    with legacies.database(shape, fill) as engine:
        prepare(engine)
        said = psql(legacies, engine, db.sql(name), tmp_path)
        assert said == ""
        assert_same(engine, wanted)
        state = State.of(engine)
        assert db.verify(engine).shape == "current"
        # And again: nothing is left to do.
        psql(legacies, engine, db.sql(engine), tmp_path)
        assert State.of(engine) == state


def test_plain_sql_for_a_database_that_was_looked_at(legacies: Legacies, tmp_path: Path) -> None:
    with legacies.database(SERVICE, sample) as engine:
        adopt(engine)
        wanted = State.of(engine)
    with legacies.database(SERVICE, sample) as engine:
        psql(legacies, engine, db.sql(engine), tmp_path)
        assert_same(engine, wanted)


def test_plain_sql_that_ended_half_way_is_gone_on_with(newest: Legacies, tmp_path: Path) -> None:
    with newest.database(SERVICE, sample) as engine:
        statements = db.sql(engine).split("\n\n")
        adopt(engine)
        wanted = State.of(engine)
    for part in (0.4, 0.8):
        with newest.database(SERVICE, sample) as engine:
            psql(newest, engine, "\n\n".join(statements[: int(len(statements) * part)]), tmp_path)
            assert db.verify(engine).shape == "unfinished"
            adopt(engine)
            assert_same(engine, wanted)


# What stays as it is, and is told.


def test_what_stays_and_will_be_felt_is_told(legacies: Legacies) -> None:
    with legacies.database(SERVICE) as engine:
        with engine.begin() as connection:
            for statement in (
                "ALTER TABLE campaigns SET (fillfactor = 100)",
                "CREATE INDEX waiting ON campaign_contacts (added_at) WHERE status = 'pending'",
                "ALTER TABLE campaigns ALTER COLUMN language SET NOT NULL",
            ):
                connection.exec_driver_sql(statement)
        told = db.verify(engine).warnings
        adopt(engine)
        afterwards = db.verify(engine).warnings
    for words in (
        ("messages.variant", "c", "ADD VALUE 'c'"),
        ("fillfactor=100", "campaigns"),
        ("waiting", "campaign_contacts", "HOT"),
        ("idx_campaigns_status", "HOT"),
        ("campaigns.language", "NULL"),
    ):
        for warnings in (told, afterwards):
            assert any(all(word in one for word in words) for one in warnings), words
    assert any("campaigns_updated_at" in one for one in told)
