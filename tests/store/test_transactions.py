"""Transactions: ``transact`` and its retries, and connections that the store refuses."""

from __future__ import annotations

import itertools
import math
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID, uuid4

import attrs
import psycopg
import pytest
import sqlalchemy as sa

from campaign_model import db
from campaign_model.campaign import Campaign
from campaign_model.claims import Generated
from campaign_model.errors import NotFound
from campaign_model.lifecycle import Action, Status
from campaign_model.store import CampaignStore, is_retryable, transact
from campaign_model.store.scope import SHARDS
from campaign_model.testing.clock import FrozenClock
from campaign_model.testing.death import Death
from campaign_model.testing.interference import (
    before_statement,
    close_connection,
    die,
)
from campaign_model.testing.parallel import PATIENCE, background_transactions
from campaign_model.testing.sample_campaigns import LEASE, STEPS, Tenant
from support.tenants import HOST, contact_rows, legacy_columns
from support.transactions import (
    broken_commit,
    on_postgresql,
    sever_connection,
    statements_of,
)

on_sqlite = pytest.mark.parametrize("engine_name", ["sqlite"], indirect=True)


def campaign_names(tenant: Tenant) -> set[str]:
    page = tenant.transact(lambda store: store.campaigns.list())
    return {campaign.name for campaign in page.items}


# transact.


def test_transact_commits_and_returns_the_result(tenant: Tenant) -> None:
    clock = FrozenClock()

    def work(store: CampaignStore) -> str:
        campaign = store.campaigns.add(Campaign("Kept", STEPS))
        assert campaign.created_at == clock.now
        store.contacts.assign(campaign.id, contacts)
        store.campaigns.apply(campaign.id, Action.MARK_READY)
        (entry,) = store.campaigns.history(campaign.id)
        assert entry.actor == "ada"
        return campaign.name

    contacts = tenant.contacts(1)
    result = transact(tenant.engine, tenant.id, work, actor="ada", clock=clock)
    assert result == "Kept"
    assert campaign_names(tenant) == {"Kept"}


@pytest.mark.parametrize(
    "error", [RuntimeError("mine"), NotFound("campaign", ()), KeyboardInterrupt()]
)
def test_an_error_of_the_work_rolls_back_and_is_raised_at_once(
    tenant: Tenant, error: BaseException
) -> None:
    attempts = []

    def work(store: CampaignStore) -> None:
        attempts.append(store.campaigns.add(Campaign("Lost", STEPS)))
        raise error

    with pytest.raises(type(error)) as raised:
        tenant.transact(work)
    assert raised.value is error
    assert len(attempts) == 1
    assert campaign_names(tenant) == set()


def test_an_error_in_sql_rolls_back_and_is_raised_at_once(tenant: Tenant) -> None:
    attempts = []

    def work(store: CampaignStore) -> None:
        attempts.append(store.campaigns.add(Campaign("Lost", STEPS)))
        store.connection.execute(sa.text("SELECT * FROM nowhere"))

    with pytest.raises(sa.exc.DBAPIError, match="nowhere") as raised:
        tenant.transact(work, idempotent=True)
    assert not is_retryable(raised.value)
    assert len(attempts) == 1
    assert campaign_names(tenant) == set()


@pytest.mark.parametrize("attempts", [0, -1])
def test_transact_needs_at_least_one_attempt(tenant: Tenant, attempts: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        tenant.transact(lambda store: store.campaigns.list(), attempts=attempts)


@pytest.mark.parametrize("options", [{"patience": 60}, {"patience": None}, {"attempts": "5"}])
def test_options_of_transact_have_the_right_types(tenant: Tenant, options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises(TypeError, match=f"{name} is a"):
        tenant.transact(lambda store: store.campaigns.list(), **options)


def test_the_store_never_ends_the_callers_transaction(tenant: Tenant) -> None:
    campaign = tenant.campaign(Status.GENERATING)
    before = contact_rows(tenant, campaign.id)
    with tenant.engine.connect() as connection:
        transaction = connection.begin()
        store = CampaignStore(connection, tenant.id)
        claims = store.generation.claim(campaign.id, 3, LEASE).claims
        store.generation.checkpoint(claims[0], Decimal(1))
        store.generation.record(dict.fromkeys(claims, Generated(Decimal(1))))
        store.campaigns.apply(campaign.id, Action.COMPLETE_GENERATION)
        assert transaction.is_active
        transaction.rollback()
    assert contact_rows(tenant, campaign.id) == before
    assert tenant.transact(lambda store: store.campaigns.get(campaign.id)) == campaign
    tenant.check_totals(campaign.id)


# Retries.


@on_postgresql
def test_a_serialization_failure_is_retried(tenant: Tenant) -> None:
    campaign = tenant.campaign(contacts=1)
    attempts = []

    def work(store: CampaignStore) -> Campaign:
        present = store.campaigns.get(campaign.id)
        attempts.append(present.version)
        if len(attempts) == 1:
            # Another transaction saves after the snapshot and before the lock.
            tenant.transact(
                lambda store: store.campaigns.save(attrs.evolve(present, description="first"))
            )
        return store.campaigns.save(
            attrs.evolve(store.campaigns.get(campaign.id, lock=True), name="Second")
        )

    strict = tenant.engine.execution_options(isolation_level="SERIALIZABLE")
    saved = transact(strict, tenant.id, work)
    assert attempts == [1, 2]
    assert (saved.name, saved.description, saved.version) == ("Second", "first", 3)


@on_postgresql
@pytest.mark.parametrize("cancelled", [False, True], ids=["running", "cancelled"])
def test_a_move_under_one_snapshot_does_not_use_old_totals(
    tenant: Tenant,
    monkeypatch: pytest.MonkeyPatch,
    cancelled: bool,  # noqa: FBT001
) -> None:
    # Under REPEATABLE READ, the move must notice a record that was committed after its snapshot.
    # Each store gets another shard, so that the record may add a row of totals.
    shards = itertools.cycle(range(1, SHARDS))
    monkeypatch.setattr("random.randrange", lambda _: next(shards))
    campaign = tenant.campaign(Status.GENERATING, contacts=2)
    claims = tenant.claim(campaign.id)
    attempts = []

    def work(store: CampaignStore) -> Campaign:
        attempts.append(store.generation.progress(campaign.id).spent)
        if len(attempts) == 1:
            outcomes = dict.fromkeys(claims, Generated(Decimal("0.5")))
            tenant.record(outcomes)
        action = Action.RETURN_TO_DRAFT if cancelled else Action.CANCEL_GENERATION
        return store.campaigns.apply(campaign.id, action)

    if cancelled:
        tenant.apply(campaign.id, Action.CANCEL_GENERATION)
    one_snapshot = tenant.engine.execution_options(isolation_level="REPEATABLE READ")
    transact(one_snapshot, tenant.id, work)
    assert attempts == [0, 1]
    assert legacy_columns(tenant, campaign.id) == (2, 2, Decimal(1))
    tenant.check_totals(campaign.id)


@on_postgresql
def test_a_deadlock_is_retried(tenant: Tenant) -> None:
    first, second = tenant.campaign(contacts=1), tenant.campaign(contacts=1)
    both_locked = threading.Barrier(2)
    attempts: list[str] = []

    def lock_both(store: CampaignStore, name: str, *ids: UUID) -> str:
        store.connection.execute(sa.text("SET LOCAL deadlock_timeout = '20ms'"))
        store.campaigns.get(ids[0], lock=True)
        attempts.append(name)
        if attempts.count(name) == 1:
            both_locked.wait(PATIENCE)
        campaign = store.campaigns.get(ids[1], lock=True)
        store.campaigns.save(attrs.evolve(campaign, description=name))
        return name

    with background_transactions(tenant) as background:
        results = [
            background.start(lambda store: lock_both(store, "a", first.id, second.id)),
            background.start(lambda store: lock_both(store, "b", second.id, first.id)),
        ]
        assert [result.result() for result in results] == ["a", "b"]
    assert sorted(attempts) in (["a", "a", "b"], ["a", "b", "b"])


@on_postgresql
def test_the_error_of_the_last_attempt_is_raised(tenant: Tenant) -> None:
    attempts = []

    def work(store: CampaignStore) -> None:
        attempts.append(store)
        store.connection.execute(
            sa.text("DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '40001'; END $$")
        )

    with pytest.raises(sa.exc.DBAPIError) as raised:
        tenant.transact(work, attempts=3)
    assert is_retryable(raised.value)
    assert len(attempts) == 3
    # Every attempt has a new store in a new transaction.
    assert len({id(store) for store in attempts}) == 3


SAYS_WHAT_TO_DO = "the SQLite file is locked: .*; run this transaction again"


@contextmanager
def engine_without_waiting(tenant: Tenant) -> Iterator[sa.Engine]:
    """An engine on the same SQLite file that fails instead of waiting for other writers."""
    engine = db.prepare_engine(sa.create_engine(tenant.engine.url))

    @sa.event.listens_for(engine, "connect")
    def do_not_wait(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute("PRAGMA busy_timeout = 0")

    try:
        yield engine
    finally:
        engine.dispose()


@on_sqlite
def test_a_busy_sqlite_file_is_retried(tenant: Tenant) -> None:
    refused: list[sa.engine.ExceptionContext] = []
    with engine_without_waiting(tenant) as engine, tenant.engine.connect() as holder:
        holding = holder.begin()

        @sa.event.listens_for(engine, "handle_error")
        def release_after_three_errors(context: sa.engine.ExceptionContext) -> None:
            refused.append(context)
            if len(refused) == 3:
                holding.rollback()

        result = transact(engine, tenant.id, lambda store: len(store.templates.list()))
    assert result
    assert len(refused) == 3
    assert all(
        is_retryable(one.sqlalchemy_exception) for one in refused if one.sqlalchemy_exception
    )


@on_sqlite
def test_a_sqlite_file_that_stays_busy_is_an_error(tenant: Tenant) -> None:
    attempts: list[object] = []
    with (
        engine_without_waiting(tenant) as engine,
        tenant.engine.connect() as holder,
        holder.begin(),
    ):
        sa.event.listen(engine, "handle_error", attempts.append)
        with pytest.raises(sa.exc.OperationalError, match=SAYS_WHAT_TO_DO) as raised:
            transact(engine, tenant.id, lambda store: store.templates.list(), attempts=2)
        assert is_retryable(raised.value)
    assert len(attempts) == 2


def test_every_error_of_a_locked_sqlite_file_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("campaign_model.db.engine._BUSY_MILLISECONDS", 0)
    holder = sqlite3.connect(tmp_path / "file.db", isolation_level=None)
    holder.execute("CREATE TABLE t (x)")
    holder.execute("BEGIN EXCLUSIVE")
    engine = db.prepare_engine(sa.create_engine(f"sqlite:///{tmp_path / 'file.db'}"))

    def assert_says_what_to_do(call: Callable[[], object]) -> None:
        with pytest.raises(sa.exc.OperationalError, match=SAYS_WHAT_TO_DO) as raised:
            call()
        assert is_retryable(raised.value)
        assert str(raised.value).count("the SQLite file is locked") == 1

    # 1. No connection can be made, because the file cannot get its write-ahead log.
    assert_says_what_to_do(engine.connect)
    holder.execute("ROLLBACK")
    with engine.connect() as connection:
        # 2. A transaction cannot begin.
        holder.execute("BEGIN IMMEDIATE")
        assert_says_what_to_do(connection.begin)
        holder.execute("ROLLBACK")
        with connection.begin():
            connection.exec_driver_sql("INSERT INTO t VALUES (1)")
    holder.close()
    engine.dispose()


def test_a_connection_lost_before_the_commit_is_retried(tenant: Tenant) -> None:
    attempts: list[int] = []

    def work(store: CampaignStore) -> None:
        store.campaigns.add(Campaign(f"Attempt {len(attempts) + 1}", STEPS))
        attempts.append(len(attempts) + 1)
        if len(attempts) == 1:
            driver: Any = store.connection.connection.dbapi_connection
            with pytest.raises((psycopg.OperationalError, sqlite3.ProgrammingError)):
                sever_connection(driver, tenant.engine)
            store.connection.execute(sa.select(1))

    tenant.transact(work)
    assert campaign_names(tenant) == {"Attempt 2"}


def test_a_kept_connection_reconnects_after_a_loss(tenant: Tenant) -> None:
    attempts: list[int] = []

    def work(store: CampaignStore) -> sa.Connection:
        store.campaigns.add(Campaign(f"Attempt {len(attempts) + 1}", STEPS))
        attempts.append(len(attempts) + 1)
        if len(attempts) == 2:
            driver: Any = store.connection.connection.dbapi_connection
            with pytest.raises((psycopg.OperationalError, sqlite3.ProgrammingError)):
                sever_connection(driver, tenant.engine)
            store.connection.execute(sa.select(1))
        return store.connection

    with tenant.engine.connect() as connection:
        for _ in range(3):
            assert transact(connection, tenant.id, work) is connection
            assert not connection.in_transaction()
        assert campaign_names(tenant) == {"Attempt 1", "Attempt 3", "Attempt 4"}


def test_transact_refuses_a_connection_in_a_transaction(tenant: Tenant) -> None:
    with tenant.engine.connect() as connection:
        CampaignStore(connection, tenant.id).campaigns.add(Campaign("Mine", STEPS))
        with pytest.raises(sa.exc.InvalidRequestError, match="already initialized"):
            transact(connection, tenant.id, lambda store: store.templates.list())
        assert connection.in_transaction()
    assert campaign_names(tenant) == set()


@pytest.mark.parametrize("idempotent", [False, True])
@pytest.mark.parametrize("done", [False, True], ids=["not-committed", "committed"])
def test_a_connection_lost_in_the_commit_is_retried_only_for_idempotent_work(
    tenant: Tenant,
    monkeypatch: pytest.MonkeyPatch,
    idempotent: bool,  # noqa: FBT001
    done: bool,  # noqa: FBT001
) -> None:
    attempts: list[str] = []

    def work(store: CampaignStore) -> None:
        attempts.append(f"Attempt {len(attempts) + 1}")
        store.campaigns.add(Campaign(attempts[-1], STEPS))

    with broken_commit(tenant, monkeypatch, done=done) as armed:
        armed.set()
        if idempotent:
            tenant.transact(work, idempotent=True)
        else:
            with pytest.raises(sa.exc.DBAPIError) as raised:
                tenant.transact(work, patience=timedelta(seconds=PATIENCE))
            assert raised.value.connection_invalidated
            assert not is_retryable(raised.value)
    assert attempts == ["Attempt 1", "Attempt 2"][: 1 + idempotent]
    assert campaign_names(tenant) == {*attempts[not done :]}


@contextmanager
def engine_without_server(
    tenant: Tenant, times: float, error: type[Exception] | None = None
) -> Iterator[tuple[sa.Engine, list[object]]]:
    """An engine whose first connections fail, and the list of these failures."""
    engine = db.prepare_engine(sa.create_engine(tenant.engine.url))
    refused: list[object] = []
    nowhere = {"sqlite": {"database": "/nowhere/at/all"}, "postgresql": {"host": "/nowhere"}}

    @sa.event.listens_for(engine, "do_connect")
    def connect(dialect: Any, _record: object, _args: object, _options: object) -> Any:
        if len(refused) >= times:
            return None
        refused.append(None)
        if error is not None:
            raise error
        return dialect.connect(**nowhere[dialect.name])

    try:
        yield engine, refused
    finally:
        engine.dispose()


@pytest.mark.parametrize(
    ("refusals", "options"),
    [(2, {"attempts": 3}), (4, {}), (3, {"attempts": 1, "patience": timedelta(seconds=PATIENCE)})],
)
def test_an_unreachable_server_is_retried(
    tenant: Tenant, refusals: int, options: dict[str, Any]
) -> None:
    with engine_without_server(tenant, refusals) as (engine, refused):
        assert transact(engine, tenant.id, lambda store: store.templates.list(), **options)
    assert len(refused) == refusals


@pytest.mark.parametrize("attempts", [1, 3])
def test_a_server_that_stays_unreachable_is_an_error(tenant: Tenant, attempts: int) -> None:
    def never(_store: CampaignStore) -> None:
        raise AssertionError

    with engine_without_server(tenant, math.inf) as (engine, refused):
        with pytest.raises(sa.exc.OperationalError):
            transact(engine, tenant.id, never, attempts=attempts, idempotent=True)
        assert len(refused) == attempts
        with pytest.raises(sa.exc.OperationalError):
            transact(engine, tenant.id, never, patience=timedelta(milliseconds=1))


def test_a_wrong_connection_argument_is_not_retried(tenant: Tenant) -> None:
    wrong = tenant.engine.dialect.loaded_dbapi.ProgrammingError
    with (
        engine_without_server(tenant, math.inf, wrong) as (engine, refused),
        pytest.raises(sa.exc.ProgrammingError),
    ):
        transact(engine, tenant.id, lambda store: store.templates.list())
    assert len(refused) == 1


# Connections that the store refuses.


@on_sqlite
def test_an_unprepared_sqlite_engine_is_refused(tenant: Tenant) -> None:
    engine = sa.create_engine(tenant.engine.url)
    with engine.connect() as connection, pytest.raises(ValueError, match="prepare_engine"):
        CampaignStore(connection, tenant.id)
    # A connection that is already in the pool stays unprepared.
    db.prepare_engine(engine)
    with engine.connect() as connection, pytest.raises(ValueError, match="prepare_engine"):
        CampaignStore(connection, tenant.id)
    engine.dispose()
    with engine.begin() as connection:
        CampaignStore(connection, tenant.id).campaigns.list()
    engine.dispose()


@on_sqlite
def test_a_prepared_sqlite_engine_checks_foreign_keys_and_locks_at_begin(tenant: Tenant) -> None:
    engine = db.prepare_engine(db.prepare_engine(sa.create_engine(tenant.engine.url)))
    with engine_without_waiting(tenant) as other, engine.begin() as connection:
        assert connection.scalar(sa.text("PRAGMA foreign_keys")) == 1
        # The transaction has written nothing, and no other one can begin.
        with pytest.raises(sa.exc.OperationalError, match="locked"), other.begin():
            pass
        with pytest.raises(sa.exc.IntegrityError):
            connection.execute(sa.insert(HOST.contacts).values(id=uuid4(), tenant_id=uuid4()))
    engine.dispose()


@on_postgresql
def test_a_postgresql_engine_needs_no_preparation(tenant: Tenant) -> None:
    engine = sa.create_engine(tenant.engine.url)
    with engine.begin() as connection:
        CampaignStore(connection, tenant.id).campaigns.list()
    assert db.prepare_engine(engine) is engine
    engine.dispose()


def test_another_database_is_refused() -> None:
    driver = SimpleNamespace(paramstyle="format")
    engine = sa.create_engine("mysql+pymysql://nowhere/none", module=driver)
    with pytest.raises(ValueError, match="SQLite and PostgreSQL, not on mysql"):
        db.prepare_engine(engine)
    connection = SimpleNamespace(dialect=engine.dialect)
    with pytest.raises(ValueError, match="SQLite and PostgreSQL, not on mysql"):
        CampaignStore(cast("sa.Connection", connection), UUID(int=1))


def test_autocommit_is_refused(tenant: Tenant) -> None:
    autocommit = {"isolation_level": "AUTOCOMMIT"}
    with tenant.engine.connect() as connection, pytest.raises(ValueError, match="AUTOCOMMIT"):
        CampaignStore(connection.execution_options(**autocommit), tenant.id)
    engine = tenant.engine.execution_options(**autocommit)
    with engine.connect() as connection, pytest.raises(ValueError, match="AUTOCOMMIT"):
        CampaignStore(connection, tenant.id)


@on_postgresql
def test_autocommit_is_refused_from_an_engine_made_with_it(tenant: Tenant) -> None:
    # The execution options do not show it. (A prepared SQLite engine begins a transaction anyway.)
    engine = sa.create_engine(tenant.engine.url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection, pytest.raises(ValueError, match="AUTOCOMMIT"):
        CampaignStore(connection, tenant.id)
    engine.dispose()


@pytest.mark.parametrize("how", [die, close_connection])
def test_a_crash_before_any_statement_of_an_assignment_leaves_no_savepoint_open(
    tenant: Tenant, how: Callable[[sa.Connection], None]
) -> None:
    # SQLAlchemy warns of a savepoint that was left open, and the tests turn warnings into errors.
    campaign = tenant.campaign(contacts=0)
    contacts = [*tenant.contacts(2), uuid4()]
    statements = statements_of(tenant, lambda store: store.contacts.assign(campaign.id, contacts))
    for number in range(len(statements)):
        with tenant.engine.connect() as connection:
            store = CampaignStore(connection, tenant.id)
            with (
                pytest.raises((Death, sa.exc.DBAPIError, sa.exc.PendingRollbackError)),
                before_statement(connection, number, how),
            ):
                store.contacts.assign(campaign.id, contacts)
            connection.rollback()
            assert connection.scalar(sa.select(1)) == 1
    assert contact_rows(tenant, campaign.id) == {}
