"""The role has the rights that the store needs. Pooler and settings keep transactions whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from uuid import uuid4

import pytest
import sqlalchemy as sa

from campaign_model.campaign import CampaignTemplate
from campaign_model.db.grants import list_privileges
from campaign_model.errors import NotFound
from campaign_model.store import CampaignStore
from campaign_model.store.connection import sqlstate
from campaign_model.store.tables import campaign_templates
from campaign_model.testing.sample_campaigns import STEPS, Tenant

_REPETITIONS = 12
"""More often than a driver executes a statement before it prepares it (psycopg: five times)."""

_QUERY_CANCELED = "57014"
"""PostgreSQL's SQLSTATE for a statement that reached ``statement_timeout``."""


@contextmanager
def rolled_back(tenant: Tenant) -> Iterator[CampaignStore]:
    """Open a transaction that is rolled back at the end."""
    with tenant.engine.connect() as connection, connection.begin() as transaction:
        yield CampaignStore(connection, tenant.id, host=tenant.host)
        transaction.rollback()


def server_pid(connection: sa.Connection) -> int:
    """Return the id of the server process of this transaction."""
    pid: int = connection.execute(sa.select(sa.func.pg_backend_pid())).scalar_one()
    return pid


@pytest.mark.usefixtures("postgresql")
def test_the_role_has_the_rights_that_the_store_needs(tenant: Tenant) -> None:
    """The role has every right on the tables that any method of the store needs.

    If this fails, run the GRANT statements of the failure as the owner of the tables.
    """
    grants = []
    with tenant.engine.connect() as connection:
        role = connection.execute(sa.text("SELECT current_user")).scalar_one()
        has_privilege = sa.text("SELECT has_table_privilege(:table, :privilege)")
        for table, privileges in list_privileges(tenant.host).items():
            missing = [
                privilege
                for privilege in privileges.split(", ")
                if not connection.scalar(has_privilege, {"table": table, "privilege": privilege})
            ]
            if missing:
                grants.append(f'GRANT {", ".join(missing)} ON {table} TO "{role}";')
    if grants:
        pytest.fail("\n".join(grants), pytrace=False)


def test_a_transaction_commits_or_rolls_back_as_a_whole(tenant: Tenant) -> None:
    """Rows of the service and of the library are committed together, or none of them is.

    If this fails, check the pooler's mode (statement pooling breaks transactions) and autocommit.
    """
    template = CampaignTemplate(f"Rolled back {uuid4()}", STEPS)
    with rolled_back(tenant) as store:
        store.templates.add(template)
        with store.connection.begin_nested() as savepoint:
            store.templates.rename(template.id, "Renamed in a savepoint")
            savepoint.rollback()
        assert store.templates.get(template.id).name == template.name
    with rolled_back(tenant) as store, pytest.raises(NotFound):
        store.templates.get(template.id)


def test_a_refused_row_leaves_the_transaction_usable(tenant: Tenant) -> None:
    """After an error of the library, the caller can continue in the same transaction.

    If this fails, check how the pooler and the driver treat SAVEPOINT.
    """
    template = CampaignTemplate("Own", STEPS)
    with rolled_back(tenant) as store:
        store.templates.add(template)
        same_id = sa.insert(campaign_templates).values(
            id=template.id, tenant_id=tenant.id, name="Another"
        )
        savepoint = store.connection.begin_nested()
        with pytest.raises(sa.exc.IntegrityError):
            store.connection.execute(same_id)
        savepoint.rollback()
        assert store.templates.get(template.id).name == "Own"


@pytest.mark.usefixtures("postgresql")
def test_prepared_statements_survive_a_change_of_server(tenant: Tenant) -> None:
    """A worker's hundredth claim works like its first.

    A driver prepares a statement on the server after some repetitions. A pooler in transaction mode
    gives the next transaction to another server, which does not have the prepared statement.

    If this fails, check the pooler's max_prepared_statements, or switch prepared statements off
    (psycopg: connect_args={"prepare_threshold": None}).
    """
    with rolled_back(tenant) as store:
        template = store.templates.add(CampaignTemplate("Own", STEPS))
        for _ in range(_REPETITIONS):
            store.templates.get(template.id)
    with tenant.engine.connect() as connection, ExitStack() as busy:
        # After each round, another client opens a transaction and keeps the server that this client
        # had. The pooler has to give this client another server in the next round.
        for _ in range(3):
            with connection.begin():
                store = CampaignStore(connection, tenant.id, host=tenant.host)
                for _ in range(_REPETITIONS):
                    store.templates.list()
            CampaignStore(busy.enter_context(tenant.engine.begin()), tenant.id).templates.list()


@pytest.mark.usefixtures("postgresql")
def test_an_advisory_lock_excludes_other_transactions(tenant: Tenant) -> None:
    """A cancel succeeds soon, however many workers claim, because all of them queue at one lock.

    If this fails, check EXECUTE on pg_advisory_xact_lock and pg_advisory_xact_lock_shared, and
    whether a proxy distributes statements over several servers.
    """
    key = uuid4().int % 2**63
    attempt = sa.select(sa.func.pg_try_advisory_xact_lock(key))
    with rolled_back(tenant) as holder:
        holder.connection.execute(sa.select(sa.func.pg_advisory_xact_lock(key)))
        with rolled_back(tenant) as other:
            assert other.connection.scalar(attempt) is False
    with rolled_back(tenant) as other:
        assert other.connection.scalar(attempt) is True


@pytest.mark.usefixtures("postgresql")
def test_a_local_setting_ends_with_its_transaction(tenant: Tenant) -> None:
    """The settings of one client do not affect the next client.

    If this fails, check how the pooler treats SET LOCAL, and look for clients that use SET for the
    session.
    """
    show = sa.text("SHOW statement_timeout")
    with rolled_back(tenant) as store:
        before = store.connection.scalar(show)
        pid = server_pid(store.connection)
        store.connection.execute(sa.text("SET LOCAL statement_timeout = '17min'"))
        assert store.connection.scalar(show) == "17min"
        assert server_pid(store.connection) == pid
    with rolled_back(tenant) as store:
        assert store.connection.scalar(show) == before


@pytest.mark.usefixtures("postgresql")
def test_a_timeout_ends_the_statement_and_keeps_the_connection(tenant: Tenant) -> None:
    """A service that sets statement_timeout gets an error in time and can use the connection.

    If this fails, check how the pooler treats cancelled statements.
    """
    with rolled_back(tenant) as store:
        store.connection.execute(sa.text("SET LOCAL statement_timeout = '200ms'"))
        savepoint = store.connection.begin_nested()
        with pytest.raises(sa.exc.DBAPIError) as ended:
            store.connection.execute(sa.text("SELECT pg_sleep(60)"))
        savepoint.rollback()
        assert sqlstate(ended.value) == _QUERY_CANCELED
        assert store.connection.scalar(sa.select(1)) == 1


@pytest.mark.usefixtures("sqlite")
def test_writers_take_turns(tenant: Tenant) -> None:
    """Two processes that write in parallel both succeed, one after the other.

    If this fails, check the engine: call db.prepare_engine before its first connection.
    """
    with rolled_back(tenant) as store:
        pragmas = {
            name: store.connection.scalar(sa.text(f"PRAGMA {name}"))
            for name in ("foreign_keys", "journal_mode", "busy_timeout")
        }
        assert (pragmas["foreign_keys"], pragmas["journal_mode"]) == (1, "wal")
        assert pragmas["busy_timeout"] >= 1000
        driver = store.connection.connection.driver_connection
        assert driver is not None
        assert driver.in_transaction
