"""Which schema statements an adoption plans, and what makes one impossible."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa

from campaign_model import db
from support import catalogs
from support.adoption import EXTENDED, POSTGRESQL, LegacyDatabases, execute
from support.legacy_rows import sample_rows

NewDatabase = Callable[..., str]


@contextmanager
def open_engine(url: str) -> Iterator[sa.Engine]:
    engine = sa.create_engine(url)
    try:
        yield engine
    finally:
        engine.dispose()


def read(engine: sa.Engine) -> catalogs.Catalog:
    with engine.connect() as connection:
        return catalogs.read_catalog(connection)


@pytest.mark.parametrize("postgresql", POSTGRESQL)
def test_nothing_is_planned_for_a_fresh_schema(new_database: NewDatabase, postgresql: str) -> None:
    with open_engine(new_database(postgresql)) as engine:
        assert db.verify(engine).shape == "empty"
        db.init(engine, with_host_tables=True)
        assert db.verify(engine) == db.Verdict("current", (), ())
        before = read(engine)
        assert db.adopt(engine, enforce=True).added == ()
        assert read(engine) == before


@pytest.mark.parametrize("postgresql", POSTGRESQL)
def test_missing_and_incorrect_parts_of_the_schema_are_created_again(
    new_database: NewDatabase, postgresql: str
) -> None:
    damage = (
        "ALTER TABLE campaigns DROP CONSTRAINT ck_campaigns_status",
        "ALTER TABLE campaigns ADD CONSTRAINT ck_campaigns_status CHECK (status <> '')",
        "ALTER TABLE campaigns DROP CONSTRAINT fk_campaigns_tenant_id_owner_id",
        "ALTER TABLE campaigns ALTER version DROP NOT NULL, ALTER status DROP DEFAULT",
        "ALTER TABLE campaign_history DROP CONSTRAINT pk_campaign_history",
        "ALTER TABLE campaign_contacts DROP COLUMN retry_at",
        "DROP INDEX ix_campaigns_page",
        "ALTER TABLE campaign_contacts RESET (fillfactor)",
        "DROP INDEX ix_campaigns_running",
        "CREATE INDEX ix_campaigns_running ON campaigns (status)",
        "DROP TABLE campaign_erased_claims",
        # An interrupted CREATE INDEX CONCURRENTLY leaves an index in this state.
        """UPDATE pg_index SET indisvalid = false
        WHERE indexrelid = 'ix_campaign_contacts_rank'::regclass""",
    )
    with open_engine(new_database(postgresql)) as engine:
        db.init(engine, with_host_tables=True)
        before = read(engine)
        for statement in damage:
            execute(engine, statement)
        verdict = db.verify(engine)
        assert (verdict.shape, len(verdict.pending) > len(damage)) == ("changed", True)
        assert db.adopt(engine, enforce=True).added == verdict.pending
        assert db.verify(engine) == db.Verdict("current", (), ())
        assert read(engine) == before


def test_one_table_may_hold_the_owners_and_the_contacts(new_database: NewDatabase) -> None:
    people = db.HostTables(owners="people", contacts="people")
    with open_engine(new_database(POSTGRESQL[-1])) as engine:
        execute(engine, "CREATE TABLE tenants (id uuid PRIMARY KEY)")
        execute(engine, "CREATE TABLE people (id uuid PRIMARY KEY, tenant_id uuid NOT NULL)")
        db.adopt(engine, host=people, enforce=True)
        assert db.verify(engine, host=people).shape == "current"
    assert db.sql(host=people).count("ADD CONSTRAINT uq_people_tenant_id_id") == 1


def test_a_key_that_foreign_keys_cannot_refer_to_does_not_count(new_database: NewDatabase) -> None:
    with open_engine(new_database(POSTGRESQL[-1])) as engine:
        for statement in (
            "CREATE TABLE tenants (id uuid PRIMARY KEY)",
            """CREATE TABLE owners (
                id uuid PRIMARY KEY, tenant_id uuid, UNIQUE (tenant_id, id) DEFERRABLE)""",
            "CREATE TABLE contacts (id uuid PRIMARY KEY, tenant_id uuid, name text)",
            "CREATE UNIQUE INDEX ON contacts (tenant_id, id, lower(name))",
            "CREATE UNIQUE INDEX ON contacts (id) INCLUDE (tenant_id)",
        ):
            execute(engine, statement)
        db.adopt(engine, enforce=True)
        assert db.verify(engine).shape == "current"


def test_a_database_whose_server_quotes_all_names_can_be_adopted(
    new_database: NewDatabase,
) -> None:
    options = {"options": "-c quote_all_identifiers=on"}
    engine = sa.create_engine(new_database(POSTGRESQL[-1]), connect_args=options)
    for table in ("tenants", "owners", "contacts"):
        execute(engine, f"CREATE TABLE {table} (id uuid PRIMARY KEY, tenant_id uuid)")
    db.adopt(engine)
    db.adopt(engine, enforce=True)
    assert db.verify(engine).shape == "current"
    engine.dispose()


def constraint_definitions(catalog: catalogs.Catalog) -> set[tuple[str, str]]:
    """Return the table and the definition of every constraint."""
    return {
        (table, properties[0])
        for (kind, table, _), properties in catalog.items()
        if kind == "constraint"
    }


def test_keys_that_delete_rows_of_the_library_are_dropped(oldest: LegacyDatabases) -> None:
    with oldest.database(EXTENDED, sample_rows) as engine:
        before = constraint_definitions(read(engine))
        db.adopt(engine, enforce=True)
        # Every other constraint is still there, with its old name or the library's.
        assert before - constraint_definitions(read(engine)) == {
            (
                "campaign_contacts",
                f"FOREIGN KEY ({name}_id) REFERENCES {name}s(id) ON DELETE CASCADE",
            )
            for name in ("campaign", "contact")
        }


def test_of_two_equal_constraints_only_one_is_renamed(newest: LegacyDatabases) -> None:
    with newest.database(EXTENDED, sample_rows) as engine:
        for name in ("second_key", "third_key"):
            execute(
                engine,
                f"ALTER TABLE campaigns ADD CONSTRAINT {name}"
                " FOREIGN KEY (tenant_id) REFERENCES tenants(id)",
            )
        db.adopt(engine, enforce=True)
        assert db.verify(engine).shape == "current"
        names = {name for kind, _, name in read(engine) if kind == "constraint"}
        assert "fk_campaigns_tenant_id" in names
        assert len(names & {"campaigns_tenant_id_fkey", "second_key", "third_key"}) == 2


def test_a_view_on_a_column_and_an_unknown_type_make_the_adoption_impossible(
    oldest: LegacyDatabases,
) -> None:
    with oldest.database(EXTENDED) as engine:
        execute(engine, "ALTER TABLE campaigns ALTER status TYPE varchar(20)")
        execute(engine, "ALTER TABLE campaigns ALTER total_contacts TYPE bigint")
        execute(engine, "CREATE VIEW spent AS SELECT generation_cost FROM campaigns")
        before = read(engine)
        with pytest.raises(db.SetupError) as caught:
            db.adopt(engine, enforce=True)
        pending = "; ".join(db.verify(engine).pending)
        assert str(caught.value) == pending
        assert "total_contacts is of type bigint" in pending
        assert "a view shows campaigns.generation_cost" in pending
        assert "status" not in pending
        assert read(engine) == before
