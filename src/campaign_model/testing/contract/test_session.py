"""The role may do what the store does, and pooler and settings leave transactions whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from uuid import uuid4

import pytest
import sqlalchemy as sa

from campaign_model.campaign import CampaignTemplate
from campaign_model.errors import NotFound
from campaign_model.store import CampaignStore
from campaign_model.store.connection import sqlstate
from campaign_model.store.tables import campaign_templates
from campaign_model.testing.contract.work import on_postgresql, on_sqlite
from campaign_model.testing.sample_campaigns import STEPS, Tenant

PRIVILEGES = {
    "campaigns": "SELECT, INSERT, UPDATE",
    "campaign_contacts": "SELECT, INSERT, UPDATE, DELETE",
    "campaign_erased_claims": "SELECT, INSERT, DELETE",
    "campaign_totals": "SELECT, INSERT, UPDATE, DELETE",
    "campaign_history": "SELECT, INSERT",
    "campaign_templates": "SELECT, INSERT, UPDATE, DELETE",
}
"""What the store does with its tables; of the host's contacts and owners it only reads."""

_PREPARED_AFTER = 12
"""Drivers prepare a statement that comes again and again: psycopg after five times."""

_QUERY_CANCELED = "57014"


@contextmanager
def transaction(tenant: Tenant) -> Iterator[CampaignStore]:
    """One that leaves nothing behind."""
    with tenant.engine.connect() as connection, connection.begin() as opened:
        yield CampaignStore(connection, tenant.id, host=tenant.host)
        opened.rollback()


def backend(connection: sa.Connection) -> int:
    """The server process of this transaction."""
    pid: int = connection.execute(sa.select(sa.func.pg_backend_pid())).scalar_one()
    return pid


@on_postgresql
def test_the_role_may_do_what_the_store_does(tenant: Tenant) -> None:
    """No method fails on a right that the role lacks, least of all the rare ones: erase, remove.

    Run the GRANTs named, as the owner of the tables.
    """
    needed = PRIVILEGES | {tenant.host.contacts: "SELECT", tenant.host.owners: "SELECT"}
    lacking = []
    with tenant.engine.connect() as connection:
        role = connection.execute(sa.text("SELECT current_user")).scalar_one()
        has = sa.text("SELECT has_table_privilege(:table, :privilege)")
        for table, privileges in needed.items():
            missing = [
                privilege
                for privilege in privileges.split(", ")
                if not connection.scalar(has, {"table": table, "privilege": privilege})
            ]
            if missing:
                lacking.append(f'GRANT {", ".join(missing)} ON {table} TO "{role}";')
    if lacking:
        pytest.fail("\n".join(lacking), pytrace=False)


def test_a_transaction_is_one(tenant: Tenant) -> None:
    """What a service writes with ours in a transaction is kept together with it, or not at all.

    Look at the pooler's mode (statement pooling breaks transactions) and at autocommit.
    """
    template = CampaignTemplate(f"Rolled back {uuid4()}", STEPS)
    with transaction(tenant) as store:
        store.templates.add(template)
        with store.connection.begin_nested() as savepoint:
            store.templates.rename(template.id, "Renamed in a savepoint")
            savepoint.rollback()
        assert store.templates.get(template.id).name == template.name
    with transaction(tenant) as store, pytest.raises(NotFound):
        store.templates.get(template.id)


def test_a_refused_row_leaves_the_transaction_usable(tenant: Tenant) -> None:
    """An error of the library has written nothing, and the caller goes on in his transaction.

    Look at what the pooler and the driver make of SAVEPOINT.
    """
    template = CampaignTemplate("Own", STEPS)
    with transaction(tenant) as store:
        store.templates.add(template)
        again = sa.insert(campaign_templates).values(
            id=template.id, tenant_id=tenant.id, name="Another"
        )
        savepoint = store.connection.begin_nested()
        with pytest.raises(sa.exc.IntegrityError):
            store.connection.execute(again)
        savepoint.rollback()
        assert store.templates.get(template.id).name == "Own"


@on_postgresql
def test_statements_that_come_again_and_again_go_on_working(tenant: Tenant) -> None:
    """A worker's hundredth claim works like its first.

    A driver prepares a statement on the server once it has come some times, and a pooler in
    transaction mode gives the next transaction another server, which has not heard of it. Look at
    the pooler's max_prepared_statements, or switch preparing off (psycopg: connect_args=
    {"prepare_threshold": None}).
    """
    with transaction(tenant) as store:
        template = store.templates.add(CampaignTemplate("Own", STEPS))
        for _ in range(_PREPARED_AFTER):
            store.templates.get(template.id)
    with tenant.engine.connect() as connection, ExitStack() as busy:
        # While others hold the servers that this client had, it gets one that it never had.
        for _ in range(3):
            with connection.begin():
                store = CampaignStore(connection, tenant.id, host=tenant.host)
                for _ in range(_PREPARED_AFTER):
                    store.templates.list()
            CampaignStore(busy.enter_context(tenant.engine.begin()), tenant.id).templates.list()


@on_postgresql
def test_an_advisory_lock_keeps_others_out(tenant: Tenant) -> None:
    """A cancel gets in at once, however many workers claim: all of them queue at a lock.

    Look at EXECUTE on pg_advisory_xact_lock and pg_advisory_xact_lock_shared, and at a proxy that
    spreads statements over servers.
    """
    key = uuid4().int % 2**63
    attempt = sa.select(sa.func.pg_try_advisory_xact_lock(key))
    with transaction(tenant) as holder:
        holder.connection.execute(sa.select(sa.func.pg_advisory_xact_lock(key)))
        with transaction(tenant) as other:
            assert other.connection.scalar(attempt) is False
    with transaction(tenant) as other:
        assert other.connection.scalar(attempt) is True


@on_postgresql
def test_a_setting_lasts_as_long_as_its_transaction(tenant: Tenant) -> None:
    """What one client sets is not what the next one works under.

    Look at what a pooler does with SET LOCAL, and at clients that SET for the session through it.
    """
    show = sa.text("SHOW statement_timeout")
    with transaction(tenant) as store:
        before = store.connection.scalar(show)
        pid = backend(store.connection)
        store.connection.execute(sa.text("SET LOCAL statement_timeout = '17min'"))
        assert store.connection.scalar(show) == "17min"
        assert backend(store.connection) == pid
    with transaction(tenant) as store:
        assert store.connection.scalar(show) == before


@on_postgresql
def test_a_statement_that_takes_too_long_is_ended_and_nothing_else(tenant: Tenant) -> None:
    """A service that sets statement_timeout gets an error in time, and a connection that works.

    Look at what a pooler does with cancelled statements.
    """
    with transaction(tenant) as store:
        store.connection.execute(sa.text("SET LOCAL statement_timeout = '10ms'"))
        savepoint = store.connection.begin_nested()
        with pytest.raises(sa.exc.DBAPIError) as ended:
            store.connection.execute(sa.text("SELECT pg_sleep(60)"))
        savepoint.rollback()
        assert sqlstate(ended.value) == _QUERY_CANCELED
        assert store.connection.scalar(sa.select(1)) == 1


@on_sqlite
def test_writers_take_turns(tenant: Tenant) -> None:
    """Two processes that write at once both succeed, one after the other.

    Look at the engine: db.prepare_engine has to see it before its first connection.
    """
    with transaction(tenant) as store:
        pragma = {
            name: store.connection.scalar(sa.text(f"PRAGMA {name}"))
            for name in ("foreign_keys", "journal_mode", "busy_timeout")
        }
        assert (pragma["foreign_keys"], pragma["journal_mode"]) == (1, "wal")
        assert pragma["busy_timeout"] >= 1000
        driver = store.connection.connection.driver_connection
        assert driver is not None
        assert driver.in_transaction
