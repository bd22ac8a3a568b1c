"""The transition guard: raw SQL is refused with a sentence, and the library is not."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from campaign_model import db
from campaign_model.campaign import CampaignTemplate
from campaign_model.claims import Failed, Generated
from campaign_model.db.guard import REFUSED
from campaign_model.db.guard_rules import KEYS, rules
from campaign_model.lifecycle import (
    TRANSITIONS,
    Action,
    ContactAction,
    ContactStatus,
    Status,
    apply_contact,
    resting_status,
)
from campaign_model.store import CampaignStore, is_retryable
from campaign_model.store.connection import sqlstate
from campaign_model.store.database_errors import Remedy, remedy_for
from campaign_model.store.deleting import deleting
from campaign_model.store.tables import (
    campaign_contacts,
    campaign_history,
    campaign_templates,
    campaign_totals,
    campaigns,
    metadata,
)
from campaign_model.testing.sample_campaigns import CENT, STEPS, Tenant
from campaign_model.testing.store_machine import StoreMachine
from support import contract, servers
from support.adoption import EXTENDED, LegacyDatabases
from support.legacy_rows import sample_rows
from support.tenants import claim_long_ago, new_tenant, update_row
from support.transactions import on_postgresql, on_sqlite

FOREIGN_KEY_VIOLATION = "23503"
CLAIMED = {"claim_token": uuid4(), "lease_expires_at": datetime(2030, 1, 1, tzinfo=UTC)}
"""What a contact with any status may have, and a generating one must have."""

MISSING_WORDS = (None, "", "DRAFT", "unknown")


@pytest.fixture
def guarded_url(engine_name: str, schema: Callable[[str], str]) -> str:
    """A database that has the guard."""
    url = schema(engine_name)
    with connected(url) as engine:
        install(engine)
    return url


@pytest.fixture
def tenant(guarded_url: str) -> Iterator[Tenant]:
    """A tenant in a database that has the guard."""
    with connected(guarded_url) as engine:
        yield new_tenant(engine)


@contextmanager
def connected(url: str | sa.URL) -> Iterator[sa.Engine]:
    engine = db.prepare_engine(sa.create_engine(url))
    yield engine
    engine.dispose()


def install(engine: sa.Engine) -> db.GuardStatus:
    with engine.begin() as connection:
        return db.install_guard(connection)


def remove(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        db.remove_guard(connection)


def try_out(connection: sa.Connection, *statements: Any) -> str | None:
    """Execute statements as at the end of a transaction, and roll them back.

    Return the message of the database if it refuses them, and None if it does not.
    """
    savepoint = connection.begin_nested()
    try:
        for statement in statements:
            connection.execute(statement)
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SET CONSTRAINTS ALL IMMEDIATE")
    except sa.exc.IntegrityError as error:
        return str(error.orig)
    finally:
        savepoint.rollback()
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SET CONSTRAINTS ALL DEFERRED")
    return None


def moves(
    campaign_id: UUID, tenant: Tenant, source: str, target: Any, *, active: bool
) -> list[Any]:
    """Write the statements that move a campaign, which is at version 10, to another status."""
    lines = [line for line in TRANSITIONS if (line.source, line.target) == (source, target)]
    entry = {
        "id": uuid4(),
        "tenant_id": tenant.id,
        "campaign_id": campaign_id,
        "version": 11,
        "action": lines[0].action if lines else Action.ARCHIVE,
        "source": source,
        "target": target,
        "at": datetime.now(UTC),
    }
    move = sa.update(campaigns).where(campaigns.c.id == campaign_id)
    return [
        move.values(status=target, is_active=active, version=11),
        sa.insert(campaign_history).values(entry),
    ]


def test_every_pair_of_campaign_statuses_answers_as_the_lifecycle(tenant: Tenant) -> None:
    ids = {status: tenant.campaign(status, contacts=1).id for status in Status}
    for id_ in ids.values():
        update_row(tenant, campaigns, id_, version=10)
    legal = {(line.source, line.target, not line.deletes) for line in TRANSITIONS}
    allowed = set()
    with tenant.engine.begin() as connection:
        for source, id_ in ids.items():
            for target, active in itertools.product((*Status, *MISSING_WORDS), (True, False)):
                refusal = try_out(connection, *moves(id_, tenant, source, target, active=active))
                if refusal is None:
                    allowed.add((source, target, active))
                elif target in {*Status} and active and source is not target:
                    assert "store.campaigns.apply" in refusal
    assert allowed == legal
    assert len(legal) == 12


def test_every_pair_of_contact_statuses_answers_as_the_lifecycle(
    engine_name: str, schema: Callable[[str], str]
) -> None:
    all_gaps: dict[tuple[str, ...] | None, str | None] = {None: None, (): "[]", ("x",): '["x"]'}
    with connected(schema(engine_name)) as engine:
        tenant = new_tenant(engine)
        campaign = tenant.campaign(contacts=len(ContactStatus))
        ids = dict(zip(ContactStatus, tenant.campaign_contacts(campaign.id).values(), strict=True))
        for status, contact in ids.items():
            update_row(tenant, campaign_contacts, contact.id, status=status, **CLAIMED)
        install(engine)
        with engine.begin() as connection:
            words = (*ContactStatus, *MISSING_WORDS)
            for source, target in itertools.product(ContactStatus, words):
                is_contact = campaign_contacts.c.id == ids[source].id
                update = sa.update(campaign_contacts).where(is_contact)
                for gaps, document in all_gaps.items():
                    legal = {source, *(apply_contact(source, one, gaps) for one in ContactAction)}
                    refusal = try_out(
                        connection, update.values(status=target, enrichment_gaps=document)
                    )
                    is_legal = target is not None and target in legal
                    assert (refusal is None) == is_legal, (source, target, gaps)
                    if target in {*ContactStatus}:
                        assert is_legal or "store.generation" in str(refusal)


def writes_to_refuse(tenant: Tenant) -> Iterator[tuple[str, Any]]:
    """Yield writes, each with the name of the rule that refuses it."""
    other = new_tenant(tenant.engine)
    draft, exported = tenant.campaign(), tenant.campaign("exported", contacts=2)
    deleted = tenant.apply(tenant.campaign().id, Action.DELETE)
    running = tenant.campaign("generating", contacts=3)
    claims = tenant.claim(running.id, 2)
    tenant.record({claims[0]: Generated(CENT)})
    tenant.transact(lambda store: store.contacts.erase([claims[1].contact_id]))
    paid = next(iter(tenant.campaign_contacts(exported.id).values()))
    template = tenant.transact(lambda store: store.templates.add(CampaignTemplate("Own", STEPS)))

    def update(table: sa.Table, id_: UUID, **values: Any) -> sa.Update:
        return sa.update(table).where(table.c.id == id_).values(values)

    # Campaigns.
    fresh = {"id": uuid4(), "tenant_id": tenant.id, "name": "New"}
    insert = sa.insert(campaigns)
    yield "campaigns_insert", insert.values({**fresh, "status": "ready"})
    yield "campaigns_insert", insert.values({**fresh, "version": 2})
    yield "campaigns_insert", insert.values({**fresh, "status": "archived", "is_active": False})
    for status in ("ready", "draft", "exported"):
        reopened = {"status": status, "is_active": True, "version": 99}
        yield "campaigns_status", update(campaigns, deleted.id, **reopened)
    yield "campaigns_status", update(campaigns, exported.id, status="draft", version=99)
    yield "campaigns_status", update(campaigns, draft.id, status="archived", version=2)
    yield "campaigns_version", update(campaigns, exported.id, version=1)
    yield "campaigns_version", update(campaigns, exported.id, version=0)
    yield "campaigns_version", update(campaigns, draft.id, status="ready")
    yield "campaigns_delete", sa.delete(campaigns).where(campaigns.c.id == draft.id)
    yield "campaigns_delete", sa.delete(campaigns)
    yield "campaigns_keys", update(campaigns, draft.id, tenant_id=other.id)
    yield "campaigns_keys", update(campaigns, draft.id, id=uuid4())
    own = other.transact(lambda store: store.templates.add(CampaignTemplate("Other", STEPS)))
    yield "campaigns_template", insert.values({**fresh, "template_id": own.id})
    yield "campaigns_new_template", update(campaigns, draft.id, template_id=own.id)
    # Contacts.
    (contact_id,) = tenant.contacts(1)
    place = {"id": uuid4(), "tenant_id": tenant.id, "campaign_id": draft.id}
    for status in ContactStatus:
        if status is not resting_status(None):
            values = {**place, "contact_id": contact_id, "status": status.value, **CLAIMED}
            yield "contacts_insert", sa.insert(campaign_contacts).values(values)
    yield "contacts_status", update(campaign_contacts, paid.id, status="failed")
    yield "contacts_fall", update(campaign_contacts, paid.id, revision=-1)
    yield "contacts_fall", update(campaign_contacts, claims[0].id, generation_cost=0)
    yield "contacts_fall", update(campaign_contacts, claims[0].id, unknown_costs=-1)
    yield "contacts_fall", update(campaign_contacts, paid.id, claimed_at=None)
    yield "contacts_delete", sa.delete(campaign_contacts)
    yield "contacts_delete", sa.delete(campaign_contacts).where(campaign_contacts.c.id == paid.id)
    yield "contacts_keys", update(campaign_contacts, paid.id, campaign_id=draft.id)
    yield "contacts_keys", update(campaign_contacts, paid.id, contact_id=contact_id)
    yield "contacts_keys", update(campaign_contacts, paid.id, tenant_id=other.id)
    erased_claims = metadata.tables["campaign_erased_claims"]
    yield "erased_claims_keys", sa.update(erased_claims).values(campaign_id=draft.id)
    (of_other,) = other.campaign_contacts(other.campaign(contacts=1).id).values()
    erased = {"tenant_id": tenant.id, "campaign_id": draft.id, "token": uuid4(), "reserved": 0}
    yield (
        "erased_claims_insert",
        sa.insert(erased_claims).values({**erased, "campaign_contact_id": of_other.id}),
    )
    # The history.
    entry = {
        "id": uuid4(),
        "tenant_id": tenant.id,
        "campaign_id": draft.id,
        "version": 1,
        "action": "mark_ready",
        "source": "draft",
        "target": "ready",
        "at": datetime.now(UTC),
    }
    yield "history_insert", sa.insert(campaign_history).values(entry)
    entry |= {"action": "archive", "source": "exported", "target": "archived", "version": 50}
    entry["campaign_id"] = exported.id
    yield "history_insert", sa.insert(campaign_history).values(entry)
    yield "history_update", sa.update(campaign_history).values(actor="somebody else")
    yield "history_delete", sa.delete(campaign_history)
    # Totals.
    totals = campaign_totals
    yield "totals_delete", sa.delete(totals)
    yield "totals_delete", sa.delete(totals).where(totals.c.campaign_id == running.id)
    of_running = sa.update(totals).where(totals.c.campaign_id == running.id)
    yield "totals_keys", of_running.where(totals.c.shard == 0).values(shard=9)
    yield "totals_keys", of_running.where(totals.c.shard == 5).values(campaign_id=draft.id)
    of_exported = sa.update(totals).where(totals.c.campaign_id == exported.id)
    yield "totals_negative", of_exported.values(cost=-totals.c.cost - 1)
    yield "totals_negative", of_exported.values(unknown_costs=-1)
    # Templates.
    yield "templates_version", update(campaign_templates, template.id, version=0)
    is_system = {"tenant_id": None, "is_system": True}
    yield "templates_keys", update(campaign_templates, template.id, **is_system)
    yield "templates_keys", update(campaign_templates, template.id, tenant_id=other.id)
    is_of_library = campaign_templates.c.tenant_id.is_(None)
    yield "templates_delete", sa.delete(campaign_templates).where(is_of_library)
    # The cost of an erased contact.
    tenant.transact(lambda store: store.contacts.erase([claims[0].contact_id]))
    yield "totals_erased", of_running.where(totals.c.shard == 0).values(erased_cost=0, cost=100)


def refuse(tenant: Tenant, statement: Any) -> sa.exc.IntegrityError | None:
    """Execute a statement in a transaction of its own; return the error that refuses it."""
    try:
        with tenant.engine.begin() as connection:
            connection.execute(statement)
    except sa.exc.IntegrityError as error:
        return error
    return None


def test_every_rule_refuses_with_a_sentence_and_no_retry(tenant: Tenant) -> None:
    sentences = {rule.name: rule.sentence for rule in rules(tenant.engine.dialect.name)}
    refused = set()
    for name, statement in writes_to_refuse(tenant):
        error = refuse(tenant, statement)
        assert error is not None, f"{name} should refuse {statement}"
        # On PostgreSQL, a foreign key may refuse a move to another tenant first.
        if sqlstate(error) != FOREIGN_KEY_VIOLATION or not name.endswith("_keys"):
            assert sentences[name] in str(error.orig), (name, str(error))
            if tenant.engine.dialect.name == "postgresql":
                assert sqlstate(error) == REFUSED
        assert remedy_for(error) is Remedy.GIVE_UP
        assert not is_retryable(error)
        refused.add(name)
    assert refused == {*sentences}
    assert {*KEYS} | {"campaign_history"} == {*metadata.tables}


@on_postgresql
def test_truncate_is_refused_on_every_table(tenant: Tenant) -> None:
    tables = (*metadata.tables, "tenants")  # Of the host's table, only with CASCADE.
    for table in tables:
        with (
            pytest.raises(sa.exc.IntegrityError, match="TRUNCATE would delete") as caught,
            tenant.engine.begin() as connection,
        ):
            connection.exec_driver_sql(f"TRUNCATE {table} CASCADE")
        assert sqlstate(caught.value) == REFUSED


@on_sqlite
def test_insert_or_replace_is_refused_on_every_table_and_an_upsert_is_not(tenant: Tenant) -> None:
    tenant.campaign("exported", contacts=2)
    tenant.transact(lambda store: store.templates.add(CampaignTemplate("Own", STEPS)))
    (claim,) = tenant.claim(tenant.campaign("generating", contacts=1).id, 1)
    tenant.transact(lambda store: store.contacts.erase([claim.contact_id]))
    for table in metadata.tables:
        with (
            pytest.raises(sa.exc.IntegrityError, match="INSERT OR REPLACE deletes rows"),
            tenant.engine.begin() as connection,
        ):
            connection.exec_driver_sql(f"REPLACE INTO {table} SELECT * FROM {table}")  # noqa: S608
        with tenant.engine.begin() as connection:
            ignore = f"INSERT OR IGNORE INTO {table} SELECT * FROM {table}"  # noqa: S608
            assert connection.exec_driver_sql(ignore).rowcount == 0
            # UPDATE OR REPLACE deletes rows, too.
            for rowid in ("rowid", "OID", "_rowid_"):
                replace = sa.text(f"UPDATE OR REPLACE {table} SET {rowid} = 1 - {rowid}")  # noqa: S608
                assert "a row keeps its rowid" in str(try_out(connection, replace)), table


@on_postgresql
def test_a_change_of_status_needs_its_row_of_the_history_at_the_commit(tenant: Tenant) -> None:
    campaign = tenant.campaign(contacts=1)
    update_row(tenant, campaigns, campaign.id, version=10)
    move, entry = moves(campaign.id, tenant, Status.DRAFT, Status.READY, active=True)
    with (
        pytest.raises(sa.exc.IntegrityError, match="its history does not say so") as caught,
        tenant.engine.begin() as connection,
    ):
        connection.execute(move)
    assert sqlstate(caught.value) == REFUSED
    with tenant.engine.begin() as connection:
        connection.execute(move)
        connection.execute(entry)
    with tenant.engine.begin() as connection:
        tenant_store_apply(connection, tenant, campaign.id, Action.RETURN_TO_DRAFT)
        db.remove_tenant(connection, tenant.id)  # Then nobody asks for the history.


def tenant_store_apply(
    connection: sa.Connection, tenant: Tenant, campaign_id: UUID, action: Action
) -> None:
    CampaignStore(connection, tenant.id).campaigns.apply(campaign_id, action)


def test_an_entry_of_the_history_cannot_claim_another_move(tenant: Tenant) -> None:
    campaign = tenant.campaign(contacts=1)
    update_row(tenant, campaigns, campaign.id, version=10)
    move, entry = moves(campaign.id, tenant, Status.DRAFT, Status.READY, active=True)
    wrong_values: list[dict[str, Any]] = [
        {"version": 10},
        {"version": 12},
        {"action": "approve"},
        {"source": "review"},
        {"target": "review"},
        {"campaign_id": tenant.campaign().id},
    ]
    with tenant.engine.begin() as connection:
        for values in wrong_values:
            refusal = try_out(connection, move, entry.values(values))
            assert "a row of the history follows" in str(refusal), values
        assert try_out(connection, move, entry) is None
        # A change that is rolled back allows no entry.
        savepoint = connection.begin_nested()
        connection.execute(move)
        savepoint.rollback()
        assert "a row of the history follows" in str(try_out(connection, entry))


# --- The library ----------------------------------------------------------------------------------

without_newest = pytest.mark.parametrize("engine_name", servers.available()[:-1], indirect=True)
"""On the newest PostgreSQL, ``test_row_security.py`` runs the same in a database with the guard."""


@pytest.mark.long
@without_newest
def test_the_store_contract_passes_with_the_guard(guarded_url: str, tmp_path: Path) -> None:
    done = contract.run(tmp_path, guarded_url, measure=False)
    assert done.returncode == 0, done.stdout
    with connected(guarded_url) as engine, engine.begin() as connection:
        assert not db.read_guard(connection).missing
        assert not connection.scalar(sa.select(sa.func.count()).select_from(campaigns))


@without_newest
def test_every_call_of_the_state_machine_passes_with_the_guard(tenant: Tenant) -> None:
    machine = StoreMachine.on(tenant.engine, tenant.id, tenant.contacts(4))
    run_state_machine_as_test(machine, settings=settings(max_examples=10, stateful_step_count=30))


def erase(store: CampaignStore, *, contact_ids: list[UUID]) -> int:
    return store.contacts.erase(contact_ids)


def test_the_functions_of_the_owner_pass_with_the_guard(tenant: Tenant, engine_name: str) -> None:
    other = new_tenant(tenant.engine)
    with tenant.engine.begin() as connection:
        db.create_outbox(connection)
    for one in (tenant, other):
        for status in Status:
            one.campaign(status, contacts=2)
        # Erase contacts that were paid for and a contact in flight, and book its cost later.
        campaign = one.campaign("generating", contacts=3)
        paid, in_flight, exhausted = claim_long_ago(one, campaign.id, 3)
        one.record({paid: Generated(CENT), exhausted: Failed("no", "no", CENT)})
        erased_ids = [paid.contact_id, in_flight.contact_id]
        assert one.transact(partial(erase, contact_ids=erased_ids)) == 2
        one.record({in_flight: Generated(CENT)}, on_lost="book")
        one.apply(campaign.id, Action.CANCEL_GENERATION)
        one.check_totals(campaign.id)
        # Wrong totals are counted again, whatever the status is.
        for wrong, word in ((-5, "generating"), (5, "generating"), (5, "ready"), (-5, "ready")):
            recounted = one.campaign(word, contacts=2)
            of_it = campaign_totals.c.campaign_id == recounted.id
            with one.engine.begin() as connection:
                connection.execute(
                    sa.update(campaign_totals)
                    .where(of_it, campaign_totals.c.shard == 0)
                    .values(pending=wrong, generated=-wrong, cost=abs(wrong))
                )
            if word == "generating":
                one.apply(recounted.id, Action.CANCEL_GENERATION)
            else:
                one.apply(recounted.id, Action.RETURN_TO_DRAFT)
            one.check_totals(recounted.id)
    with tenant.engine.begin() as connection:
        assert db.take_moves(connection)
        removed = db.remove_tenant(connection, tenant.id)
    assert removed.campaigns == len(Status) + 5
    with tenant.engine.begin() as connection:
        # The note of the removal has ended: the rows of the other tenant are not deleted.
        for refused in (sa.delete(campaign_history), sa.delete(campaigns)):
            assert try_out(connection, refused) is not None
        edit = sa.update(campaign_templates).values(shipped_digest="old", name="Older words")
        connection.execute(edit.where(campaign_templates.c.is_system))
        assert len(db.sync_presets(connection).edited) == 3
        assert not db.read_guard(connection).missing
    db.init(tenant.engine)
    if engine_name != "sqlite":
        verdict = db.verify(tenant.engine)
        assert (verdict.shape, verdict.pending, verdict.warnings) == ("current", (), ())
        assert db.adopt(tenant.engine, enforce=True).added == ()


def test_a_deletion_that_fails_leaves_no_note(tenant: Tenant) -> None:
    campaign = tenant.campaign("generating", contacts=1)
    (claim,) = tenant.claim(campaign.id, 1)

    def fail(_: sa.Connection) -> None:
        raise ZeroDivisionError

    with tenant.engine.begin() as connection:
        store = CampaignStore(connection, tenant.id)
        with pytest.raises(ZeroDivisionError):
            store.contacts.erase([claim.contact_id], delete_messages=fail)
        with (
            pytest.raises(ZeroDivisionError),
            connection.begin_nested(),
            deleting(connection, tenant.id),
        ):
            fail(connection)
        assert "store.contacts.erase" in str(try_out(connection, sa.delete(campaign_contacts)))
        # A note is for one tenant.
        with deleting(connection, uuid4()):
            assert try_out(connection, sa.delete(campaign_contacts)) is not None


# --- Install, remove, status ----------------------------------------------------------------------


def test_the_guard_locks_the_tables_in_the_order_of_the_store() -> None:
    """Installing locks the tables as ``metadata`` lists them; another order could deadlock."""
    assert [*metadata.tables] == [
        *("campaigns", "campaign_contacts", "campaign_erased_claims", "campaign_totals"),
        *("campaign_history", "campaign_templates"),
    ]


def test_the_guard_is_installed_once_and_removed_without_a_trace(
    engine_name: str, schema: Callable[[str], str]
) -> None:
    with connected(schema(engine_name)) as engine:
        before = list_objects(engine)
        with engine.begin() as connection:
            status = db.read_guard(connection)
        assert status.installed == ()
        installed = install(engine)
        assert installed == db.GuardStatus(status.missing, ())
        objects = list_objects(engine)
        assert install(engine) == installed
        assert list_objects(engine) == objects != before
        remove(engine)
        remove(engine)
        assert list_objects(engine) == before
        tenant = new_tenant(engine)
        update_row(tenant, campaigns, tenant.campaign("exported").id, status="draft")


def list_objects(engine: sa.Engine) -> list[tuple[Any, ...]]:
    """List the triggers, functions and tables of a database."""
    query = """
        SELECT CAST(oid AS text), tgname, '' FROM pg_trigger
        UNION ALL
        SELECT CAST(oid AS text), proname, prosrc FROM pg_proc
        UNION ALL
        SELECT CAST(oid AS text), relname, '' FROM pg_class WHERE relkind = 'r'
        ORDER BY 1, 2
        """
    if engine.dialect.name == "sqlite":
        query = "SELECT rootpage, name, sql FROM sqlite_master ORDER BY type, name"
    with engine.begin() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(query)]


def test_status_names_what_is_missing_disabled_or_of_another_version(
    tenant: Tenant, engine_name: str
) -> None:
    names = [f"campaign_model_guard_{name}" for name in ("contacts_fall", "totals_delete")]
    on = "" if engine_name == "sqlite" else " ON campaign_contacts"
    with tenant.engine.begin() as connection:
        connection.exec_driver_sql(f"DROP TRIGGER {names[0]}{on}")
        if engine_name == "sqlite":
            connection.exec_driver_sql(f"DROP TRIGGER {names[1]}")
            connection.exec_driver_sql(
                f"CREATE TRIGGER {names[1]} BEFORE DELETE ON campaign_totals BEGIN SELECT 1; END"
            )
        else:
            connection.exec_driver_sql(f"ALTER TABLE campaign_totals DISABLE TRIGGER {names[1]}")
        assert [*db.read_guard(connection).missing] == names
        assert not db.install_guard(connection).missing
    tenant.campaign(contacts=1)
    assert refuse(tenant, sa.delete(campaign_totals)) is not None


def test_a_database_that_is_only_expanded_keeps_its_old_services(oldest: LegacyDatabases) -> None:
    with oldest.database(EXTENDED, sample_rows) as engine:
        for function in (db.install_guard, db.read_guard):
            with engine.begin() as connection, pytest.raises(db.SetupError, match="has no table"):
                function(connection)
        db.adopt(engine)
        with engine.begin() as connection, pytest.raises(db.SetupError, match="run db enforce"):
            db.install_guard(connection)
        db.enforce(engine)
        assert not install(engine).missing
        assert db.verify(engine).shape == "current"
        assert db.enforce(engine).added == ()
        # A repair writes what the guard refuses: adoption disables the triggers meanwhile.
        with engine.begin() as connection:
            for statement in (
                "ALTER TABLE campaigns DROP CONSTRAINT ck_campaigns_status, DISABLE TRIGGER USER",
                "UPDATE campaigns SET status = 'old' WHERE is_active",
                "ALTER TABLE campaigns ENABLE TRIGGER USER",
            ):
                connection.exec_driver_sql(statement)
        db.enforce(engine, status_map={"old": "draft"})
        with engine.begin() as connection:
            statuses = connection.scalars(sa.select(campaigns.c.status).distinct()).all()
            assert "old" not in statuses
            assert not db.read_guard(connection).missing


@pytest.mark.parametrize("missing", [False, True])
def test_the_guard_needs_the_schema_of_this_version(
    new_database: Callable[..., str], schema: Callable[[str], str], *, missing: bool
) -> None:
    url = new_database("sqlite") if missing else schema("sqlite")
    with connected(url) as engine, engine.begin() as connection:
        if not missing:
            connection.execute(sa.delete(sa.table(db.VERSION_TABLE)))
        words = "run campaign-model db init" if missing else "run db init, db adopt"
        with pytest.raises(db.SetupError, match=words):
            db.install_guard(connection)


@on_postgresql
def test_a_dump_restores_the_rows_and_the_guard(
    tenant: Tenant,
    engine_name: str,
    databases: servers.Databases,
    schema: Callable[[str], str],
    new_database: Callable[..., str],
) -> None:
    claims = tenant.claim(tenant.campaign("generating", contacts=3).id, 2)
    tenant.record({claims[0]: Generated(CENT)})
    tenant.campaign("archived", contacts=2)
    pg_dump = databases.directory / engine_name / "bin/pg_dump"

    def dump(*options: str) -> str:
        command = [str(pg_dump), "-d", servers.plain(tenant.engine.url), *options]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.decode()

    def restore(url: str, script: str) -> tuple[int, str]:
        code, _, err = databases.run_psql(engine_name, url, script, "-1", "-v", "ON_ERROR_STOP=1")
        return code, err

    def rows(url: str | sa.URL) -> list[str]:
        query = sa.select(campaign_contacts).order_by(campaign_contacts.c.id)
        with connected(url) as engine, engine.begin() as connection:
            assert not db.read_guard(connection).missing
            return [repr(row) for row in connection.execute(query)]

    # 1. A whole dump creates the triggers after it has copied the rows.
    empty = new_database(engine_name)
    assert restore(empty, dump()) == (0, "")
    assert rows(empty) == rows(tenant.engine.url)
    # 2. The rows alone go into a database that has the guard, if the dump disables the triggers.
    guarded = schema(engine_name)
    with connected(guarded) as engine, engine.begin() as connection:
        connection.execute(sa.delete(campaign_templates))
        db.install_guard(connection)
        connection.execute(sa.delete(sa.table(db.VERSION_TABLE)))
    code, err = restore(guarded, dump("--data-only"))
    assert (code != 0, "a new campaign is a draft" in err) == (True, True)
    assert restore(guarded, dump("--data-only", "--disable-triggers")) == (0, "")
    assert rows(guarded) == rows(tenant.engine.url)
