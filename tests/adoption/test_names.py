"""Names of the host's tables that need care, other schemas, and other ways to write SQL's texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa

from campaign_model import db
from campaign_model.campaign import Campaign
from campaign_model.errors import InvalidArgument, NotFound
from campaign_model.store import CampaignStore, HostTables
from support.adoption import EXTENDED, LegacyDatabases, execute, normalize_times, read_rows
from support.legacy_rows import contact_id, make_id, owner_id, sample_rows
from support.psql import read_psql

NewDatabase = Callable[..., str]

STRANGE = {
    "tenants": 'Kun"den',
    "owners": "50% staff",
    "contacts": "con\\tacts' :x",
    "messages": "user %s",
}
OPTIONS: dict[str, Any] = {"status_map": {"in\\progress": "ready"}, "enforce": True}
TENANT = UUID(make_id("tenants", 1))


def quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def rename(engine: sa.Engine, names: Mapping[str, str]) -> None:
    with engine.begin() as connection:
        for old, new in names.items():
            statement = f"ALTER TABLE {quote(old)} RENAME TO {quote(new)}"
            connection.exec_driver_sql(statement.replace("%", "%%"))


def write_backslash(engine: sa.Engine) -> None:
    """Give a campaign a status word that only the status map explains."""
    execute(
        engine,
        "UPDATE campaigns SET status = :word WHERE id = CAST(:id AS uuid)",
        word="in\\progress",
        id=make_id("campaigns", 4),
    )


def set_defaults(engine: sa.Engine) -> None:
    """Give the database other defaults, and put the host's contacts into another schema."""
    for statement in (
        "CREATE SCHEMA crm",
        "ALTER TABLE contacts SET SCHEMA crm",
        f"ALTER DATABASE {engine.url.database} SET search_path = public, crm",
        f"ALTER DATABASE {engine.url.database} SET standard_conforming_strings = off",
    ):
        execute(engine, statement)
    engine.dispose()


def use_host_tables(engine: sa.Engine, host: HostTables) -> None:
    """Call what reads the host's tables in the store."""
    with engine.connect() as connection:
        store = CampaignStore(connection, TENANT, host=host)
        owner = UUID(owner_id(1, 1))
        campaign = store.campaigns.add(Campaign(name="New", owner_id=owner))
        unknown = uuid4()
        answer = store.contacts.assign(campaign.id, [UUID(contact_id(1, 1)), unknown])
        assert unknown in answer.unknown
        with pytest.raises(NotFound, match="owner"):
            store.campaigns.add(Campaign(name="No owner", owner_id=unknown))
        connection.rollback()


def test_any_name_of_a_host_table_works_in_any_schema_of_the_search_path(
    legacies: LegacyDatabases,
) -> None:
    host = HostTables(STRANGE["tenants"], STRANGE["owners"], STRANGE["contacts"])
    named: dict[str, Any] = {"host": host, "messages": STRANGE["messages"]}
    with legacies.database(EXTENDED, sample_rows) as engine:
        write_backslash(engine)
        db.adopt(engine, **OPTIONS)
        expected = normalize_times(read_rows(engine))
    for write_script in (False, True):
        with legacies.database(EXTENDED, sample_rows) as engine:
            set_defaults(engine)
            rename(engine, STRANGE)
            if write_script:
                assert read_psql(legacies, engine, db.sql(engine, enforce=True, **named))[0] == 0
            else:
                write_backslash(engine)
                dry_run = db.adopt(engine, dry_run=True, **named, **OPTIONS)
                report = db.adopt(engine, **named, **OPTIONS)
                assert (report.added, report.repaired) == (dry_run.added, dry_run.repaired)
            assert db.verify(engine, **named).pending == ()
            assert db.adopt(engine, enforce=True, **named).added == ()
            use_host_tables(engine, host)
            rename(engine, {new: old for old, new in STRANGE.items()})
            execute(engine, "ALTER TABLE contacts SET SCHEMA public")
            if not write_script:
                assert normalize_times(read_rows(engine)) == expected


def test_init_works_with_any_name_in_any_schema(
    legacies: LegacyDatabases, new_database: NewDatabase
) -> None:
    host = HostTables(STRANGE["tenants"], STRANGE["owners"], STRANGE["contacts"])
    engine = sa.create_engine(new_database(legacies.engine_name))
    with engine.begin() as connection:
        db.MinimalHost(host).create_referred(connection)
    for statement in (
        "CREATE SCHEMA crm",
        f"ALTER TABLE {quote(host.owners)} SET SCHEMA crm".replace("%", "%%"),
        f"ALTER DATABASE {engine.url.database} SET search_path = public, crm",
        f"ALTER DATABASE {engine.url.database} SET standard_conforming_strings = off",
    ):
        with engine.begin() as connection:
            connection.exec_driver_sql(statement)
    engine.dispose()
    db.init(engine, host=host)
    assert db.verify(engine, host=host).shape == "current"
    engine.dispose()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("auth.users", "search_path"),
        ("campaigns", "library's"),
        ("ä" * 32, "63 bytes"),
        ("", "owners"),
    ],
)
def test_a_name_that_cannot_be_used_is_refused_by_every_command(name: str, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words) as caught:
        HostTables(owners=name)
    assert caught.value.argument == "owners"


def test_a_schema_translate_map_is_refused(
    legacies: LegacyDatabases, new_database: NewDatabase
) -> None:
    engine = sa.create_engine(new_database(legacies.engine_name))
    db.init(engine, with_host_tables=True)
    translated = engine.execution_options(schema_translate_map={None: "other"})
    dry_run = partial(db.adopt, dry_run=True)
    for call in (db.init, db.verify, db.adopt, dry_run, db.sql, db.generating):
        with pytest.raises(db.SetupError, match="schema_translate_map"):
            call(translated)
    with (
        translated.begin() as connection,
        pytest.raises(db.SetupError, match="schema_translate_map"),
    ):
        db.sync_presets(connection)
    engine.dispose()


def test_new_tables_would_be_in_another_schema_than_the_old_ones(legacies: LegacyDatabases) -> None:
    with legacies.database(EXTENDED) as engine:
        for statement in (
            'CREATE SCHEMA "App"',
            f'ALTER DATABASE {engine.url.database} SET search_path = "App", public',
        ):
            execute(engine, statement)
        engine.dispose()
        sentence = 'campaigns is in the schema public, but new tables would be created in "App"'
        with pytest.raises(db.SetupError, match=sentence):
            db.adopt(engine)
        assert any(sentence in obstacle for obstacle in db.verify(engine).pending)


def test_a_table_out_of_sight_that_refers_to_the_contacts_is_named(
    legacies: LegacyDatabases,
) -> None:
    with legacies.database(EXTENDED) as engine:
        execute(engine, "CREATE SCHEMA crm")
        execute(
            engine,
            "CREATE TABLE crm.notes (contact uuid NOT NULL REFERENCES campaign_contacts)",
        )
        with pytest.raises(db.SetupError, match=r"crm\.notes refers to campaign_contacts"):
            db.adopt(engine)
