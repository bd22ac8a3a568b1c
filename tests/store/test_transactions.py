"""Transactions: whose they are, what is tried again, what the store refuses to work on, its SQL."""

from __future__ import annotations

import itertools
import math
import re
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import attrs
import psycopg
import pytest
import sqlalchemy as sa

from campaign_model import db
from campaign_model.campaign import Campaign, CampaignTemplate
from campaign_model.claims import Failed, Generated, NotReady, Outcome, Unfinished
from campaign_model.errors import NotFound
from campaign_model.lifecycle import Action, ContactStatus, ReviewTally, Status
from campaign_model.store import CampaignStore, is_retryable, transact
from campaign_model.store.scope import SHARDS
from campaign_model.store.tables import metadata
from campaign_model.testing.clock import FrozenClock
from campaign_model.testing.sample_campaigns import STEPS
from support.parallel import PATIENCE, broken_commit, on_postgresql, others, sever, transaction
from support.transactions import CLAIMED_AT
from support.world import HOST, LEASE, World

on_sqlite = pytest.mark.parametrize("engine_name", ["sqlite"], indirect=True)


def names(world: World) -> set[str]:
    """The names of the tenant's campaigns."""
    page = world.transact(lambda store: store.campaigns.list())
    return {campaign.name for campaign in page.items}


# transact.


def test_transact_commits_and_gives_back_the_result(world: World) -> None:
    clock = FrozenClock()

    def work(store: CampaignStore) -> str:
        campaign = store.campaigns.add(Campaign("Kept", STEPS))
        assert campaign.created_at == clock.now
        store.contacts.assign(campaign.id, contacts)
        store.campaigns.apply(campaign.id, Action.MARK_READY)
        (entry,) = store.campaigns.history(campaign.id)
        assert entry.actor == "somebody"
        return campaign.name

    contacts = world.contacts(1)
    result = transact(world.engine, world.tenant_id, work, actor="somebody", clock=clock)
    assert result == "Kept"
    assert names(world) == {"Kept"}


@pytest.mark.parametrize(
    "error", [RuntimeError("mine"), NotFound("campaign", ()), KeyboardInterrupt()]
)
def test_any_other_error_rolls_back_and_passes_through_at_once(
    world: World, error: BaseException
) -> None:
    attempts = []

    def work(store: CampaignStore) -> None:
        attempts.append(store.campaigns.add(Campaign("Lost", STEPS)))
        raise error

    with pytest.raises(type(error)) as raised:
        world.transact(work)
    assert raised.value is error
    assert len(attempts) == 1
    assert names(world) == set()


def test_an_error_of_the_database_rolls_back_and_passes_through_at_once(world: World) -> None:
    attempts = []

    def work(store: CampaignStore) -> None:
        attempts.append(store.campaigns.add(Campaign("Lost", STEPS)))
        store.connection.execute(sa.text("SELECT * FROM nowhere"))

    with pytest.raises(sa.exc.DBAPIError, match="nowhere") as raised:
        world.transact(work, idempotent=True)
    assert not is_retryable(raised.value)
    assert len(attempts) == 1
    assert names(world) == set()


@pytest.mark.parametrize("attempts", [0, -1])
def test_no_attempt_at_all_is_refused(world: World, attempts: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        world.transact(lambda store: store.campaigns.list(), attempts=attempts)


def test_the_store_leaves_the_transaction_to_its_caller(world: World) -> None:
    campaign = world.campaign(3, Status.GENERATING)
    before = world.rows(campaign.id)
    with world.engine.connect() as connection:
        begun = connection.begin()
        store = CampaignStore(connection, world.tenant_id)
        claims = store.generation.claim(campaign.id, 3, LEASE).claims
        store.generation.checkpoint(claims[0], Decimal(1))
        store.generation.record(dict.fromkeys(claims, Generated(Decimal(1))))
        store.campaigns.apply(campaign.id, Action.COMPLETE_GENERATION)
        assert begun.is_active
        begun.rollback()
    assert world.rows(campaign.id) == before
    assert world.transact(lambda store: store.campaigns.get(campaign.id)) == campaign
    world.check(campaign.id)


# What is tried again.


class DriverError(Exception):
    """A driver's error with an SQLSTATE."""

    def __init__(self, sqlstate: str | None) -> None:
        super().__init__(sqlstate)
        self.sqlstate = sqlstate


def sqlite_error(name: str) -> sqlite3.Error:
    """What sqlite3 raises; its extended codes say more in the bits above the first eight."""
    error = sqlite3.OperationalError(name)
    error.sqlite_errorcode = getattr(sqlite3, name)
    return error


AGAIN: list[Exception] = [
    *map(DriverError, ("40001", "40P01")),
    *map(
        sqlite_error,
        (
            "SQLITE_BUSY",
            "SQLITE_BUSY_SNAPSHOT",
            "SQLITE_BUSY_RECOVERY",
            "SQLITE_LOCKED",
            "SQLITE_LOCKED_SHAREDCACHE",
        ),
    ),
]
NEVER: list[Exception] = [
    *map(DriverError, ("40002", "23505", "55P03", "57014", "08006", "57P01", None)),
    *map(sqlite_error, ("SQLITE_CONSTRAINT_UNIQUE", "SQLITE_IOERR", "SQLITE_FULL")),
    sqlite3.OperationalError("an error of Python's own, without a code"),
]


@pytest.mark.parametrize("error", AGAIN, ids=str)
def test_these_codes_are_retryable(error: Exception) -> None:
    assert is_retryable(sa.exc.OperationalError("SELECT 1", {}, error))
    # Bare, it did not come from the store.
    assert not is_retryable(error)


@pytest.mark.parametrize("error", NEVER, ids=str)
def test_these_codes_are_not(error: Exception) -> None:
    assert not is_retryable(sa.exc.OperationalError("SELECT 1", {}, error))


def test_errors_of_the_library_and_of_python_are_not_retryable() -> None:
    for error in (NotFound("campaign", ()), ValueError(), KeyboardInterrupt()):
        assert not is_retryable(error)


@on_postgresql
def test_a_serialization_failure_is_tried_again(world: World) -> None:
    campaign = world.campaign(1)
    attempts = []

    def work(store: CampaignStore) -> Campaign:
        present = store.campaigns.get(campaign.id)
        attempts.append(present.version)
        if len(attempts) == 1:
            # Somebody saves after our snapshot was taken, and before we lock.
            world.transact(
                lambda store: store.campaigns.save(attrs.evolve(present, description="first"))
            )
        return store.campaigns.save(
            attrs.evolve(store.campaigns.get(campaign.id, lock=True), name="Second")
        )

    strict = world.engine.execution_options(isolation_level="SERIALIZABLE")
    saved = transact(strict, world.tenant_id, work)
    assert attempts == [1, 2]
    assert (saved.name, saved.description, saved.version) == ("Second", "first", 3)


@on_postgresql
@pytest.mark.parametrize("late", [False, True], ids=["running", "cancelled"])
def test_an_action_under_one_snapshot_never_settles_old_totals(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    late: bool,  # noqa: FBT001
) -> None:
    # REPEATABLE READ: the facts would be those of before the record, were it not noticed. Nor may
    # a record hide in a row of totals that is newer than the snapshot: each gets another shard.
    shards = itertools.cycle(range(1, SHARDS))
    monkeypatch.setattr("campaign_model.store.scope.random.randrange", lambda _: next(shards))
    campaign = world.campaign(2, Status.GENERATING)
    claims = world.claim(campaign.id)
    attempts = []

    def work(store: CampaignStore) -> Campaign:
        attempts.append(store.generation.progress(campaign.id).spent)
        if len(attempts) == 1:
            outcomes = dict.fromkeys(claims, Generated(Decimal("0.5")))
            world.transact(lambda store: store.generation.record(outcomes))
        action = Action.RETURN_TO_DRAFT if late else Action.CANCEL_GENERATION
        return store.campaigns.apply(campaign.id, action)

    if late:
        world.apply(campaign.id, Action.CANCEL_GENERATION)
    strict = world.engine.execution_options(isolation_level="REPEATABLE READ")
    transact(strict, world.tenant_id, work)
    assert attempts == [0, 1]
    assert world.legacy(campaign.id) == (2, 2, Decimal(1))
    world.check(campaign.id)


@on_postgresql
def test_a_deadlock_is_tried_again(world: World) -> None:
    one, other = world.campaign(1), world.campaign(1)
    met = threading.Barrier(2)
    attempts: list[str] = []

    def lock_both(store: CampaignStore, name: str, first: UUID, second: UUID) -> str:
        store.connection.execute(sa.text("SET LOCAL deadlock_timeout = '20ms'"))
        store.campaigns.get(first, lock=True)
        attempts.append(name)
        if attempts.count(name) == 1:
            met.wait(30)
        campaign = store.campaigns.get(second, lock=True)
        store.campaigns.save(attrs.evolve(campaign, description=name))
        return name

    with others(world) as pair:
        results = [
            pair.start(lambda store: lock_both(store, "a", one.id, other.id)),
            pair.start(lambda store: lock_both(store, "b", other.id, one.id)),
        ]
        assert [result.result() for result in results] == ["a", "b"]
    assert sorted(attempts) in (["a", "a", "b"], ["a", "b", "b"])


@on_postgresql
def test_the_last_attempt_raises_what_stopped_it(world: World) -> None:
    attempts = []

    def work(store: CampaignStore) -> None:
        attempts.append(store)
        store.connection.execute(
            sa.text("DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '40001'; END $$")
        )

    with pytest.raises(sa.exc.DBAPIError) as raised:
        world.transact(work, attempts=3)
    assert is_retryable(raised.value)
    assert len(attempts) == 3
    # Each in a transaction of its own, on a connection that was clean again.
    assert len({id(store) for store in attempts}) == 3


@contextmanager
def impatient(world: World) -> Iterator[sa.Engine]:
    """An engine on the same SQLite file that does not wait for other writers."""
    engine = db.prepare_engine(sa.create_engine(world.engine.url))

    @sa.event.listens_for(engine, "connect")
    def do_not_wait(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute("PRAGMA busy_timeout = 0")

    try:
        yield engine
    finally:
        engine.dispose()


@on_sqlite
def test_a_busy_database_is_tried_again(world: World) -> None:
    refused: list[sa.engine.ExceptionContext] = []
    with impatient(world) as engine, world.engine.connect() as holder:
        holding = holder.begin()

        @sa.event.listens_for(engine, "handle_error")
        def let_go_in_time(context: sa.engine.ExceptionContext) -> None:
            refused.append(context)
            if len(refused) == 3:
                holding.rollback()

        result = transact(engine, world.tenant_id, lambda store: len(store.templates.list()))
    assert result
    assert len(refused) == 3
    assert all(
        is_retryable(one.sqlalchemy_exception) for one in refused if one.sqlalchemy_exception
    )


@on_sqlite
def test_a_database_that_stays_busy_is_given_up(world: World) -> None:
    attempts: list[object] = []
    with impatient(world) as engine, world.engine.connect() as holder, holder.begin():
        sa.event.listen(engine, "handle_error", attempts.append)
        with pytest.raises(sa.exc.OperationalError, match="locked"):
            transact(engine, world.tenant_id, lambda store: store.templates.list(), attempts=2)
    assert len(attempts) == 2


def test_a_connection_lost_before_the_commit_is_tried_again(world: World) -> None:
    attempts: list[int] = []

    def work(store: CampaignStore) -> None:
        store.campaigns.add(Campaign(f"Attempt {len(attempts) + 1}", STEPS))
        attempts.append(len(attempts) + 1)
        if len(attempts) == 1:
            driver: Any = store.connection.connection.dbapi_connection
            with pytest.raises((psycopg.OperationalError, sqlite3.ProgrammingError)):
                sever(driver, world.engine)
            store.connection.execute(sa.select(1))

    world.transact(work)
    assert names(world) == {"Attempt 2"}


def test_a_connection_that_is_kept_is_made_again_when_it_is_lost(world: World) -> None:
    attempts: list[int] = []

    def work(store: CampaignStore) -> sa.Connection:
        store.campaigns.add(Campaign(f"Attempt {len(attempts) + 1}", STEPS))
        attempts.append(len(attempts) + 1)
        if len(attempts) == 2:
            driver: Any = store.connection.connection.dbapi_connection
            with pytest.raises((psycopg.OperationalError, sqlite3.ProgrammingError)):
                sever(driver, world.engine)
            store.connection.execute(sa.select(1))
        return store.connection

    with world.engine.connect() as connection:
        for _ in range(3):
            assert transact(connection, world.tenant_id, work) is connection
            assert not connection.in_transaction()
        assert names(world) == {"Attempt 1", "Attempt 3", "Attempt 4"}


def test_a_connection_in_a_transaction_is_not_committed_by_the_way(world: World) -> None:
    with world.engine.connect() as connection:
        CampaignStore(connection, world.tenant_id).campaigns.add(Campaign("Mine", STEPS))
        with pytest.raises(sa.exc.InvalidRequestError, match="already initialized"):
            transact(connection, world.tenant_id, lambda store: store.templates.list())
        assert connection.in_transaction()
    assert names(world) == set()


@pytest.mark.parametrize("idempotent", [False, True])
@pytest.mark.parametrize("done", [False, True], ids=["not-committed", "committed"])
def test_a_connection_lost_in_the_commit_is_tried_again_only_if_that_does_no_harm(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    idempotent: bool,  # noqa: FBT001
    done: bool,  # noqa: FBT001
) -> None:
    attempts: list[str] = []

    def work(store: CampaignStore) -> None:
        attempts.append(f"Attempt {len(attempts) + 1}")
        store.campaigns.add(Campaign(attempts[-1], STEPS))

    with broken_commit(world, monkeypatch, done=done) as armed:
        armed.set()
        if idempotent:
            world.transact(work, idempotent=True)
        else:
            with pytest.raises(sa.exc.DBAPIError) as raised:
                world.transact(work, patience=timedelta(seconds=PATIENCE))
            assert raised.value.connection_invalidated
            assert not is_retryable(raised.value)
    assert attempts == ["Attempt 1", "Attempt 2"][: 1 + idempotent]
    assert names(world) == {*attempts[not done :]}


@contextmanager
def refusing(
    world: World, times: float, error: type[Exception] | None = None
) -> Iterator[tuple[sa.Engine, list[object]]]:
    """An engine on the same database that gets no connection so many times; each of these."""
    engine = db.prepare_engine(sa.create_engine(world.engine.url))
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
def test_a_server_that_cannot_be_reached_is_tried_again(
    world: World, refusals: int, options: dict[str, Any]
) -> None:
    with refusing(world, refusals) as (engine, refused):
        assert transact(engine, world.tenant_id, lambda store: store.templates.list(), **options)
    assert len(refused) == refusals


@pytest.mark.parametrize("attempts", [1, 3])
def test_a_server_that_stays_out_of_reach_is_given_up(world: World, attempts: int) -> None:
    def never(_store: CampaignStore) -> None:
        raise AssertionError

    with refusing(world, math.inf) as (engine, refused):
        with pytest.raises(sa.exc.OperationalError):
            transact(engine, world.tenant_id, never, attempts=attempts, idempotent=True)
        assert len(refused) == attempts
        with pytest.raises(sa.exc.OperationalError):
            transact(engine, world.tenant_id, never, patience=timedelta(milliseconds=1))


def test_a_connection_that_is_wrong_in_itself_is_not_tried_again(world: World) -> None:
    wrong = world.engine.dialect.loaded_dbapi.ProgrammingError
    with (
        refusing(world, math.inf, wrong) as (engine, refused),
        pytest.raises(sa.exc.ProgrammingError),
    ):
        transact(engine, world.tenant_id, lambda store: store.templates.list())
    assert len(refused) == 1


# What the store refuses to work on.


@on_sqlite
def test_an_sqlite_engine_that_is_not_prepared_is_refused(world: World) -> None:
    engine = sa.create_engine(world.engine.url)
    with engine.connect() as connection, pytest.raises(ValueError, match="prepare_engine"):
        CampaignStore(connection, world.tenant_id)
    # Prepared too late for the connection that is in the pool already.
    db.prepare_engine(engine)
    with engine.connect() as connection, pytest.raises(ValueError, match="prepare_engine"):
        CampaignStore(connection, world.tenant_id)
    engine.dispose()
    with engine.begin() as connection:
        CampaignStore(connection, world.tenant_id).campaigns.list()
    engine.dispose()


@on_sqlite
def test_prepared_means_foreign_keys_and_one_writer_from_the_beginning(world: World) -> None:
    engine = db.prepare_engine(db.prepare_engine(sa.create_engine(world.engine.url)))
    with impatient(world) as other, engine.begin() as connection:
        assert connection.scalar(sa.text("PRAGMA foreign_keys")) == 1
        # The transaction has written nothing yet, and nobody else may begin one.
        with pytest.raises(sa.exc.OperationalError, match="locked"), other.begin():
            pass
        with pytest.raises(sa.exc.IntegrityError):
            connection.execute(
                sa.insert(HOST.contacts).values(id=world.owner_id, tenant_id=world.owner_id)
            )
    engine.dispose()


@on_postgresql
def test_an_engine_on_postgresql_needs_no_preparation(world: World) -> None:
    engine = sa.create_engine(world.engine.url)
    with engine.begin() as connection:
        CampaignStore(connection, world.tenant_id).campaigns.list()
    assert db.prepare_engine(engine) is engine
    engine.dispose()


def test_another_database_is_refused() -> None:
    driver = SimpleNamespace(paramstyle="format")
    engine = sa.create_engine("mysql+pymysql://nowhere/none", module=driver)
    with pytest.raises(ValueError, match="SQLite or PostgreSQL, not in mysql"):
        db.prepare_engine(engine)
    connection = SimpleNamespace(dialect=engine.dialect)
    with pytest.raises(ValueError, match="SQLite and PostgreSQL, not on mysql"):
        CampaignStore(cast("sa.Connection", connection), UUID(int=1))


def test_autocommit_is_refused(world: World) -> None:
    autocommit = {"isolation_level": "AUTOCOMMIT"}
    with world.engine.connect() as connection, pytest.raises(ValueError, match="AUTOCOMMIT"):
        CampaignStore(connection.execution_options(**autocommit), world.tenant_id)
    engine = world.engine.execution_options(**autocommit)
    with engine.connect() as connection, pytest.raises(ValueError, match="AUTOCOMMIT"):
        CampaignStore(connection, world.tenant_id)


@on_postgresql
def test_autocommit_is_refused_from_an_engine_made_with_it(world: World) -> None:
    # It leaves no trace in the execution options. (On SQLite a prepared engine begins regardless.)
    engine = sa.create_engine(world.engine.url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection, pytest.raises(ValueError, match="AUTOCOMMIT"):
        CampaignStore(connection, world.tenant_id)
    engine.dispose()


# The rules that keep one code base right on SQLite, PostgreSQL and sharded PostgreSQL.

OURS = "|".join(metadata.tables)
NOT_OF_A_WRITER = re.compile(
    r"\bnow\(|clock_timestamp|CURRENT_TIME|CURRENT_DATE|LOCALTIME|gen_random_uuid|randomblob"
    r"|strftime|nextval|\brandom\(|\bset_config\(",
    re.IGNORECASE,
)


def everything(world: World) -> None:
    """Call each method of the store at least once, in the ways that have SQL of their own."""
    review = ReviewTally(1, 0, 0)
    contacts = world.contacts(12)
    own = CampaignTemplate("Mine", STEPS)
    budgeted = world.campaign(6, Status.READY, budget=Decimal(1))
    clock = FrozenClock()
    with transaction(world, clock=clock) as store:
        store.templates.add(own)
        store.templates.list()
        store.templates.rename(own.id, "Still mine")
        store.templates.replace_steps(own.id, STEPS)
        campaign = store.campaigns.add(
            attrs.evolve(Campaign.from_template(own, name="Mine"), owner_id=world.owner_id)
        )
        campaign = store.campaigns.save(attrs.evolve(campaign, description="words"))
        store.contacts.assign(campaign.id, contacts[:6])
        store.contacts.assign(
            campaign.id,
            sa.select(HOST.contacts.c.id, sa.literal(3)).where(HOST.contacts.c.id.in_(contacts)),
        )
        store.contacts.assign(campaign.id, [world.owner_id])
        store.contacts.remove(campaign.id, contacts[:1])
        store.contacts.set_readiness(campaign.id, {contacts[1]: ["email"], contacts[2]: []})
        store.contacts.exclude(campaign.id, contacts[3:4])
        store.contacts.include(campaign.id, contacts[3:4])
        store.contacts.list(campaign.id, status=ContactStatus.PENDING, limit=2)
        page = store.contacts.list(campaign.id, limit=2)
        store.contacts.list(campaign.id, limit=2, after=page.next)
        store.contacts.overlaps(campaign.id)
        store.campaigns.clone(campaign.id)
        store.campaigns.list(
            status=[Status.DRAFT], owner_id=world.owner_id, template_id=own.id, limit=1
        )
        summaries = store.campaigns.list(limit=1)
        store.campaigns.list(limit=1, after=summaries.next, deleted=True)
        store.campaigns.get(campaign.id, lock=True)
        store.campaigns.actions(campaign.id, review=review)
        for id_ in (campaign.id, budgeted.id):
            if id_ == campaign.id:
                store.campaigns.apply(id_, Action.MARK_READY)
            store.campaigns.apply(id_, Action.START_GENERATION)
            generation = store.generation
            first = generation.claim(id_, 2, LEASE, reserve=Decimal("0.01"))
            generation.renew(first.claims, LEASE)
            generation.checkpoint(first.claims[0], Decimal("0.001"))
            clock.forward(2 * LEASE)
            more = generation.claim(
                id_, 100, LEASE, reserve=Decimal("0.2"), cursor=first.cursor
            ).claims
            outcomes: list[Outcome] = [
                Generated(Decimal("0.01")),
                Failed("no", "no", None),
                NotReady(("email",)),
                Unfinished(timedelta(seconds=1)),
            ]
            generation.record(dict(zip(more, outcomes, strict=False)))
            generation.record(
                dict.fromkeys(first.claims, Generated(Decimal("0.01"))), on_lost="book"
            )
            generation.release(more)
            for claim in generation.claim(id_, 1, LEASE, reserve=Decimal("0.01")).claims:
                store.contacts.erase([claim.contact_id])
                generation.record({claim: Unfinished()}, on_lost="book")
            generation.claim(id_, 1, LEASE, reserve=Decimal(2))
            generation.retry_failed(id_)
            generation.retry_failed(id_, contacts)
            generation.regenerate(id_, contacts)
            generation.regenerate(id_, only_stale=True)
            generation.progress(id_)
            generation.estimate(id_)
        store.campaigns.apply(campaign.id, Action.CANCEL_GENERATION)
        store.contacts.erase(contacts[4:6])
        store.campaigns.history(campaign.id)
        store.campaigns.apply(campaign.id, Action.RETURN_TO_DRAFT)
        store.campaigns.apply(campaign.id, Action.DELETE, reason="because")
        store.templates.remove(own.id)
    approved = world.campaign(2, Status.APPROVED)
    with transaction(world) as store:
        list(store.contacts.exportable(approved.id))


@pytest.fixture
def statements(world: World) -> list[str]:
    """Every statement that ``everything`` has executed, with its white space made plain."""
    emitted: list[str] = []

    def note(_c: object, _cursor: object, statement: str, *_: object) -> None:
        emitted.append(" ".join(statement.split()))

    sa.event.listen(world.engine, "before_cursor_execute", note)
    try:
        everything(world)
    finally:
        sa.event.remove(world.engine, "before_cursor_execute", note)
    return [one for one in dict.fromkeys(emitted) if re.search(rf"\b({OURS})\b", one)]


def is_writing(statement: str) -> bool:
    return (
        re.search(r"\b(INSERT|UPDATE|DELETE)\b", statement.replace("FOR NO KEY UPDATE", ""))
        is not None
    )


def test_every_statement_keeps_to_the_rules_of_sharding(statements: list[str]) -> None:
    assert len(statements) > 40
    for statement in statements:
        assert "MERGE" not in statement, statement
        # Each of our tables that is read, joined or written is held to the tenant: by a parameter,
        # by the tenant of another table in the statement, or (system templates) by having none.
        touched = re.findall(rf"\b(?:FROM|JOIN|UPDATE) (?:{OURS})\b", statement)
        filled = re.findall(rf"\bINTO (?:{OURS}) \(([^)]*)\)", statement)
        assert touched or filled, statement
        assert all("tenant_id" in columns for columns in filled), statement
        held = re.findall(r"tenant_id (?:= |IS NULL)", statement)
        assert len(held) >= len(touched), statement


def test_no_writing_statement_asks_for_the_time_or_for_an_id(statements: list[str]) -> None:
    writing = [statement for statement in statements if is_writing(statement)]
    assert len(writing) > 20
    for statement in writing:
        assert not NOT_OF_A_WRITER.search(statement.replace(CLAIMED_AT, "")), statement
    # Nor does a default do so on its behalf.
    for table in metadata.tables.values():
        inserts = [one for one in writing if one.startswith(f"INSERT INTO {table.name} ")]
        assert inserts, table.name
        asks = {"id", "created_at", "updated_at", "added_at", "at"} & {*table.c.keys()}
        for statement in inserts:
            columns = re.split(r"[(), ]+", statement[: statement.index(")")])
            assert asks <= set(columns), statement


@on_postgresql
def test_claims_skip_what_is_locked_and_lock_no_more_than_they_need(statements: list[str]) -> None:
    claims = [one for one in statements if "picked AS" in one]
    assert len(claims) == 2
    assert all("FOR NO KEY UPDATE SKIP LOCKED" in one for one in claims)
    # FOR UPDATE of a campaign or a contact would make inserts of the host's messages wait.
    locking = [one for one in statements if re.search(r"FOR UPDATE\b", one)]
    assert all(" campaign_templates" in one for one in locking), locking


def test_workers_of_a_campaign_without_a_budget_spread_over_all_shards(world: World) -> None:
    with world.engine.begin() as connection:
        stores = [CampaignStore(connection, world.tenant_id) for _ in range(30 * SHARDS)]
    assert {store.generation._scope.shard for store in stores} == set(range(SHARDS))
