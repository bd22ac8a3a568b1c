"""Database errors: which are worth another attempt, and which success was none."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from campaign_model import db
from campaign_model.campaign import Campaign
from campaign_model.errors import NotFound, TransactionAborted
from campaign_model.store import CampaignStore, is_retryable, transact
from campaign_model.store.database_errors import (
    REMEDIES,
    Remedy,
    is_database_fault,
    remedy_for,
)
from campaign_model.store.transactions import check_transaction
from campaign_model.testing.sample_campaigns import STEPS, Tenant
from support.drivers import call_with_engine
from support.transactions import on_newest_postgresql, on_postgresql, on_sqlite

DUPLICATE = "INSERT INTO campaign_templates SELECT * FROM campaign_templates"
PSYCOPG_AND_PSYCOPG2 = ("sqlstate", "pgcode")
OTHER_SQLSTATES = ("23505", "23503", "22003", "42P01", "42501", "25P02", "0L000", "25000", "55000")
"""SQLSTATEs that are faults of a statement, of its data or of its caller."""


def raised_by_driver(state: str, attribute: str = "sqlstate") -> DBAPIError:
    """Return an error as SQLAlchemy wraps it, of a class that says nothing about its SQLSTATE."""
    error: Exception
    if state.startswith("SQLITE_"):
        error = sqlite3.DatabaseError(state)
        error.sqlite_errorcode = getattr(sqlite3, state)
        error.sqlite_errorname = state
    else:
        error = Exception(state)
        setattr(error, attribute, state)
    return DBAPIError("SELECT 1", {}, error)


@pytest.mark.parametrize("state", REMEDIES)
@pytest.mark.parametrize("attribute", PSYCOPG_AND_PSYCOPG2)
def test_the_table_decides_by_sqlstate_and_not_by_the_class_of_the_error(
    state: str, attribute: str
) -> None:
    remedy, reason = REMEDIES[state]
    assert reason
    # A class of SQLSTATEs stands for all of it that has no line of its own.
    error = raised_by_driver(state if len(state) > 2 else f"{state}ZZZ", attribute)
    assert remedy_for(error) is remedy
    assert is_retryable(error) is (remedy is Remedy.RETRY)
    assert is_database_fault(error) is (remedy is not Remedy.GIVE_UP)
    assert not is_database_fault(error.orig or error), "not from SQLAlchemy, so not the store's"


@pytest.mark.parametrize("state", [*OTHER_SQLSTATES, "SQLITE_CONSTRAINT_UNIQUE", "SQLITE_ERROR"])
def test_an_error_that_is_not_in_the_table_is_raised_at_once(state: str) -> None:
    assert remedy_for(raised_by_driver(state)) is Remedy.GIVE_UP


@pytest.mark.parametrize(
    ("state", "remedy"),
    [
        ("SQLITE_BUSY_SNAPSHOT", Remedy.RETRY),
        ("SQLITE_LOCKED_SHAREDCACHE", Remedy.RETRY),
        ("SQLITE_IOERR_WRITE", Remedy.RECONNECT),
    ],
)
def test_the_detail_of_an_sqlite_code_does_not_matter(state: str, remedy: Remedy) -> None:
    assert remedy_for(raised_by_driver(state)) is remedy


def raise_another_error(error: Exception, how: str) -> None:
    """Raise a ``LookupError`` because of ``error``."""
    try:
        raise error  # noqa: TRY301
    except Exception as caught:
        if how == "raise from":
            raise LookupError from caught
        if how == "raise":
            raise LookupError  # noqa: B904
        raise LookupError from None


@pytest.mark.parametrize("how", ["raise from", "raise", "raise from none"])
@pytest.mark.parametrize("state", ["40001", "25006", "23505"])
def test_an_error_to_which_a_database_error_led_is_judged_by_it(state: str, how: str) -> None:
    cause = raised_by_driver(state)
    with pytest.raises(LookupError) as raised:
        raise_another_error(cause, how)
    expected = Remedy.GIVE_UP if how == "raise from none" else remedy_for(cause)
    assert remedy_for(raised.value) is expected


def test_errors_that_are_causes_of_each_other_are_judged() -> None:
    one, two = ValueError(), ValueError()
    one.__cause__, two.__cause__ = two, one
    assert remedy_for(one) is Remedy.GIVE_UP


def test_errors_without_an_sqlstate() -> None:
    unreachable = OperationalError("SELECT 1", {}, Exception("no route to host"))
    lost = DBAPIError("SELECT 1", {}, Exception("?"), connection_invalidated=True)
    for fault in (unreachable, lost, sa.exc.TimeoutError("the pool is exhausted")):
        assert remedy_for(fault) is Remedy.RECONNECT
    without_code = OperationalError("SELECT 1", {}, sqlite3.OperationalError("Python's own"))
    for error in (without_code, NotFound("campaign", ()), ValueError(), KeyboardInterrupt(), None):
        assert remedy_for(error) is Remedy.GIVE_UP


# --- A transaction that would not be committed ---------------------------------------------------


def add(store: CampaignStore, name: str = "Written") -> None:
    store.campaigns.add(Campaign(name, STEPS))


def names(tenant: Tenant) -> list[str]:
    page = tenant.transact(lambda store: store.campaigns.list())
    return [campaign.name for campaign in page.items]


@on_postgresql
@pytest.mark.parametrize("then", ["nothing", "another statement", "a savepoint"])
def test_a_caught_error_that_aborted_the_transaction_is_no_success(
    tenant: Tenant, then: str
) -> None:
    attempts = []

    def work(store: CampaignStore) -> None:
        attempts.append(then)
        add(store)
        with suppress(IntegrityError):
            store.connection.exec_driver_sql(DUPLICATE)
        try:
            if then == "another statement":
                store.connection.exec_driver_sql("SELECT 1")
            elif then == "a savepoint":
                store.connection.begin_nested()
        except DBAPIError:
            pass

    with pytest.raises(TransactionAborted, match=r"UniqueViolation \(23505\)") as raised:
        tenant.transact(work)
    assert isinstance(raised.value.__cause__, IntegrityError)
    assert names(tenant) == []
    assert len(attempts) == 1, "the same work would fail again"


def test_an_error_caught_around_a_savepoint_changes_nothing(tenant: Tenant) -> None:
    def work(store: CampaignStore) -> None:
        add(store)
        try:
            with store.connection.begin_nested():
                store.connection.exec_driver_sql(DUPLICATE)
        except IntegrityError:
            pass

    tenant.transact(work)
    assert names(tenant) == ["Written"]


@on_postgresql
@pytest.mark.parametrize("how", ["ignore", "raise from", "raise", "raise from none"])
@pytest.mark.parametrize(("state", "times"), [("40P01", 2), ("23505", 1)])
def test_a_caught_error_that_may_pass_is_retried(
    tenant: Tenant, how: str, state: str, times: int
) -> None:
    attempts = []

    def work(store: CampaignStore) -> None:
        attempts.append(store)
        add(store)
        if len(attempts) == 1:
            try:
                store.connection.exec_driver_sql(
                    f"DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{state}'; END $$"
                )
            except DBAPIError as error:
                if how != "ignore":
                    raise_another_error(error, how)

    if times == 2:
        tenant.transact(work)
    else:
        with pytest.raises(TransactionAborted if how == "ignore" else LookupError):
            tenant.transact(work)
    assert len(attempts) == times
    assert names(tenant) == ["Written"] * (times - 1)


@on_postgresql
@pytest.mark.parametrize("go_on", [True, False])
def test_a_caught_loss_of_the_connection_is_retried(
    tenant: Tenant,
    go_on: bool,  # noqa: FBT001
) -> None:
    attempts = []

    def work(store: CampaignStore) -> None:
        attempts.append(store)
        add(store)
        if len(attempts) > 1:
            return
        with suppress(DBAPIError):
            store.connection.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())")
        if go_on:
            store.campaigns.list()

    tenant.transact(work)
    assert len(attempts) == 2
    assert names(tenant) == ["Written"]


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_work_that_ends_the_transaction_itself_is_no_success(tenant: Tenant, end: str) -> None:
    def work(store: CampaignStore) -> None:
        add(store)
        getattr(store.connection, end)()

    with pytest.raises(TransactionAborted, match="itself"):
        tenant.transact(work)


@on_postgresql
@pytest.mark.parametrize("driver", ["psycopg2", "asyncpg"])
def test_other_drivers_tell_an_aborted_transaction_too(tenant: Tenant, driver: str) -> None:
    def check(engine: sa.Engine) -> None:
        with engine.connect() as connection:
            connection.exec_driver_sql("SELECT 1")
            check_transaction(connection)
            with suppress(IntegrityError):
                connection.exec_driver_sql(DUPLICATE)
            with pytest.raises(TransactionAborted, match="the code caught"):
                check_transaction(connection)
            connection.rollback()
            with connection.begin() as transaction:
                check_transaction(connection)
                transaction.commit()
                with pytest.raises(TransactionAborted, match="itself"):
                    check_transaction(connection)

    call_with_engine(tenant.engine.url, driver, check)


# --- A new connection ----------------------------------------------------------------------------


@on_postgresql
@pytest.mark.parametrize("keep_connection", [True, False])
def test_a_server_that_became_read_only_is_left_for_another_connection(
    tenant: Tenant,
    keep_connection: bool,  # noqa: FBT001
) -> None:
    # After a failover, pooled connections still lead to the old server, which is read-only.
    processes = []

    def work(store: CampaignStore) -> None:
        pid = store.connection.scalar(sa.select(sa.func.pg_backend_pid()))
        processes.append(pid)
        if len(processes) == 1:
            store.connection.exec_driver_sql("SET TRANSACTION READ ONLY")
        add(store)

    if keep_connection:
        with tenant.engine.connect() as connection:
            transact(connection, tenant.id, work)
    else:
        tenant.transact(work)
    assert len(set(processes)) == 2
    assert names(tenant) == ["Written"]


# --- An error of the COMMIT -----------------------------------------------------------------------

COMMIT_ERRORS = {
    # The transaction was rolled back for certain.
    "40001": {"first": True, "not idempotent": True, "idempotent": True},
    # The client cannot tell whether the server has committed.
    "08006": {"first": True, "not idempotent": False, "idempotent": True},
    "57P01": {"first": True, "not idempotent": False, "idempotent": True},
    "57P02": {"first": True, "not idempotent": False, "idempotent": True},
    "57P03": {"first": True, "not idempotent": False, "idempotent": True},
    "XX000": {"first": True, "not idempotent": False, "idempotent": True},
    # It would fail again.
    "23503": {"first": False, "not idempotent": False, "idempotent": False},
}
"""Whether the work is run again after an error of its first statement, and after one of COMMIT."""


@on_newest_postgresql
@pytest.mark.parametrize("case", ["first", "not idempotent", "idempotent"])
@pytest.mark.parametrize("state", COMMIT_ERRORS)
def test_after_an_error_of_the_commit_only_idempotent_work_is_run_again(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch, state: str, case: str
) -> None:
    attempts: list[str] = []
    method = "do_execute" if case == "first" else "do_commit"
    original = getattr(tenant.engine.dialect, method)

    def fail_once(*arguments: Any, **options: Any) -> None:
        if len(attempts) == 1:
            attempts.append("failed")
            raise psycopg.errors.lookup(state)("refused")
        original(*arguments, **options)

    def work(store: CampaignStore) -> None:
        attempts.append("run")
        store.connection.exec_driver_sql("SELECT 1")

    monkeypatch.setattr(tenant.engine.dialect, method, fail_once)
    is_run_again = COMMIT_ERRORS[state][case]
    try:
        tenant.transact(work, idempotent=case == "idempotent")
    except DBAPIError:
        assert not is_run_again
    assert attempts == ["run", "failed", "run"][: 2 + is_run_again]


# --- SQLite ends a transaction by itself ---------------------------------------------------------


@on_sqlite
@pytest.mark.parametrize("catch", [True, False])
def test_a_full_disk_ends_the_transaction_and_writes_nothing(
    tenant: Tenant,
    catch: bool,  # noqa: FBT001
) -> None:
    attempts = []

    def fill(connection: sa.Connection) -> None:
        connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS filling (content BLOB)")
        ((pages,),) = connection.exec_driver_sql("PRAGMA page_count").all()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        with connection.begin_nested():
            connection.exec_driver_sql("INSERT INTO filling VALUES (zeroblob(10000000))")

    def work(store: CampaignStore) -> None:
        attempts.append(store)
        add(store, "Lost")
        try:
            fill(store.connection)
        except DBAPIError:
            if not catch:
                raise
        add(store, "Refused")

    with pytest.raises((DBAPIError, TransactionAborted)) as raised:
        tenant.transact(work, attempts=2)
    cause: Any = raised.value.__cause__ if catch else raised.value
    assert cause.orig.sqlite_errorname == "SQLITE_FULL"
    assert len(attempts) == 2, "the disk may have space again"
    assert names(tenant) == []


@on_sqlite
def test_a_busy_file_does_not_end_the_connection(tenant: Tenant) -> None:
    with tenant.engine.connect() as holder, holder.begin():
        engine = db.prepare_engine(sa.create_engine(tenant.engine.url))
        with engine.connect() as connection:
            driver: Any = connection.connection.dbapi_connection
            driver.execute("PRAGMA busy_timeout = 0")
            with pytest.raises(OperationalError) as raised:
                connection.begin()
            assert not raised.value.connection_invalidated
            assert not connection.invalidated
        engine.dispose()
