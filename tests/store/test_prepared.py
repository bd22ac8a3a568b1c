"""Statements that go past Core: they are what Core would send, and the driver remembers them."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Iterator
from decimal import Decimal
from importlib import import_module
from typing import Any, cast

import attrs
import psycopg as driver
import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import psycopg

from campaign_model import store as parts
from campaign_model.claims import Claim, Cursor, Failed, Generated, Outcome, Recorded
from campaign_model.errors import LeaseLost
from campaign_model.lifecycle import Status
from campaign_model.store import CampaignStore, transact
from campaign_model.store.prepared import Prepared, _is_plain
from campaign_model.testing.sample_campaigns import LEASE, Tenant
from support.tenants import new_tenant
from support.transactions import on_postgresql

REMEMBERED = 4096
"""Characters: longer ones psycopg takes apart each time."""


def found(value: Any) -> Iterator[Prepared]:
    if isinstance(value, Prepared):
        yield value
    elif isinstance(value, dict):
        yield from found((*value.values(),))
    elif isinstance(value, tuple):
        for one in value:
            yield from found(one)


PREPARED = {
    (module.name, name, place): prepared
    for module in pkgutil.iter_modules(parts.__path__, "campaign_model.store.")
    for name, value in vars(import_module(module.name)).items()
    for place, prepared in enumerate(found(value))
}


def test_all_of_them_are_looked_at() -> None:
    assert len({*PREPARED.values()}) >= 6


@pytest.mark.parametrize("prepared", PREPARED.values(), ids=map(str, PREPARED))
def test_the_driver_remembers_them(prepared: Prepared) -> None:
    assert len(prepared._text) <= REMEMBERED


@pytest.mark.parametrize("prepared", PREPARED.values(), ids=map(str, PREPARED))
def test_all_that_they_take_is_given(prepared: Prepared) -> None:
    binds = prepared.statement.compile(dialect=psycopg.dialect()).binds  # type: ignore[no-untyped-call]
    assert [name for name, bind in binds.items() if not bind.required] == []


def reports(tenant: Tenant) -> tuple[object, ...]:
    """What three claims of four contacts come to."""
    campaign = tenant.campaign(Status.GENERATING, contacts=4)
    claims = tenant.claim(campaign.id, 3)
    tenant.transact(lambda store: store.generation.checkpoint(claims[0], Decimal("0.1")))
    renewal = tenant.transact(lambda store: store.generation.renew(claims, LEASE))
    outcomes: dict[Claim, Outcome] = {
        claims[0]: Generated(Decimal("0.2")),
        claims[1]: Failed("odd", "it's odd: ☃", None),
    }
    answers = tenant.transact(lambda store: store.generation.record(outcomes))
    with pytest.raises(LeaseLost):
        tenant.transact(lambda store: store.generation.checkpoint(claims[0], Decimal(1)))
    progress = tenant.transact(lambda store: store.generation.progress(campaign.id))
    return [*answers.values()], renewal.lost, progress.by_status, progress.spent


@on_postgresql
def test_another_driver_gets_them_from_core(engine: sa.Engine) -> None:
    """Psycopg under another name: what is done, and what comes of it, is the same."""
    other = sa.create_engine(engine.url)
    other.dialect.driver = "another"
    answers, _, _, spent = here = reports(new_tenant(engine))
    assert (answers, spent) == ([Recorded.APPLIED] * 2, Decimal("0.3"))
    assert reports(new_tenant(other)) == here
    other.dispose()


# Past Core's results, as long as nobody could tell.


def listen_to_the_engine(connection: sa.Connection, note: Callable[..., None]) -> None:
    sa.event.listen(connection.engine, "before_cursor_execute", note)


def listen_to_the_connection(connection: sa.Connection, note: Callable[..., None]) -> None:
    sa.event.listen(connection, "after_cursor_execute", note)


def listen_to_the_dialect(connection: sa.Connection, note: Callable[..., None]) -> None:
    sa.event.listen(connection.engine, "do_execute", note)


LISTENING = [listen_to_the_engine, listen_to_the_connection, listen_to_the_dialect]


@pytest.fixture
def own(engine: sa.Engine) -> Iterator[sa.Engine]:
    """An engine with no listener of another test's."""
    own = sa.create_engine(engine.url)
    yield own
    own.dispose()


@on_postgresql
@pytest.mark.parametrize("listen", LISTENING)
def test_whoever_listens_hears_them(own: sa.Engine, listen: Callable[..., None]) -> None:
    heard: list[object] = []

    def note(*args: object) -> None:
        heard.append(next(one for one in args if isinstance(one, str)))

    with own.connect() as connection:
        assert _is_plain(connection)
        listen(connection, note)
        assert FORTY_TWO.execute(connection, {}) == [(42,)]
    assert heard == [FORTY_TWO._text]


@on_postgresql
def test_they_are_logged_where_everything_is(
    engine: sa.Engine, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "sqlalchemy.engine.Engine"):
        own = sa.create_engine(engine.url)
        with own.connect() as connection:
            FORTY_TWO.execute(connection, {})
        own.dispose()
    assert FORTY_TWO._text in [record.getMessage() for record in caplog.records]


@on_postgresql
@pytest.mark.parametrize("listen", [None, *LISTENING])
def test_who_listens_changes_nothing(own: sa.Engine, listen: Callable[..., None] | None) -> None:
    if listen:
        with own.connect() as connection:
            listen(connection, lambda *_: None)
    answers, _, _, spent = reports(new_tenant(own))
    assert (answers, spent) == ([Recorded.APPLIED] * 2, Decimal("0.3"))


FORTY_TWO = Prepared(sa.select(sa.literal_column("42", sa.Integer)))
HARMFUL: dict[str, tuple[sa.Select[Any], object]] = {
    "refused": (sa.select(sa.literal_column("1 / 0", sa.Integer)), None),
    "lost": (sa.select(sa.literal_column("pg_terminate_backend(pg_backend_pid())")), None),
    "unfit": (sa.select(sa.bindparam("odd", type_=sa.Integer)), object()),
    "unwritable": (sa.select(sa.bindparam("odd", type_=sa.Text)), "\ud800"),
}


@on_postgresql
@pytest.mark.parametrize("harm", HARMFUL)
def test_errors_are_those_of_core(own: sa.Engine, harm: str) -> None:
    def harmed() -> tuple[object, ...]:
        with own.connect() as connection:
            statement, odd = HARMFUL[harm]
            with pytest.raises((sa.exc.StatementError, UnicodeError)) as raised:
                Prepared(statement).execute(connection, {"odd": odd})
            told = vars(raised.value)
            found = type(raised.value), type(told.get("orig")), told.get("statement")
            if connection.invalidated:
                with pytest.raises(sa.exc.PendingRollbackError):
                    FORTY_TWO.execute(connection, {})
            connection.rollback()
            assert FORTY_TWO.execute(connection, {}) == [(42,)]
        return *found, told.get("connection_invalidated")

    with own.connect() as other:
        old = other.connection.dbapi_connection
        plain = harmed()
    with own.connect() as one, own.connect() as another:
        pooled = [one.connection.dbapi_connection, another.connection.dbapi_connection]
    # One that was lost casts doubt on all that are older.
    assert (old in pooled) == (harm != "lost")
    sa.event.listen(own, "before_cursor_execute", lambda *_: None)
    assert harmed() == plain
    assert plain[-1] in {None, harm == "lost"}


@on_postgresql
def test_whoever_is_interrupted_loses_the_connection(
    own: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with own.connect() as connection:
        FORTY_TWO.execute(connection, {})
        monkeypatch.setattr(driver.Cursor, "execute", interrupted)
        with pytest.raises(KeyboardInterrupt):
            FORTY_TWO.execute(connection, {})
        assert connection.invalidated


@on_postgresql
def test_they_begin_what_core_will_commit(own: sa.Engine) -> None:
    tenant = new_tenant(own)
    campaign = tenant.campaign(Status.GENERATING, contacts=2)
    for end in ("rollback", "commit"):
        with own.connect() as connection:
            store = CampaignStore(connection, tenant.id)
            assert len(store.generation.claim(campaign.id, 2, LEASE).claims) == 2
            getattr(connection, end)()
    assert tenant.claim(campaign.id, 1) == ()


@on_postgresql
def test_a_transaction_that_is_over_is_refused_by_core(
    own: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_connection: object) -> None:
        raise driver.OperationalError

    with own.connect() as connection:
        transaction = connection.begin()
        monkeypatch.setattr(own.dialect, "do_commit", refused)
        with pytest.raises(sa.exc.OperationalError):
            transaction.commit()
        with pytest.raises(sa.exc.PendingRollbackError):
            FORTY_TWO.execute(connection, {})


@on_postgresql
@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_in_a_block_whose_savepoint_is_over_nothing_is_claimed(own: sa.Engine, end: str) -> None:
    tenant = new_tenant(own)
    campaign = tenant.campaign(Status.GENERATING, contacts=2)
    with own.begin() as connection:
        store = CampaignStore(connection, tenant.id)
        with connection.begin_nested() as savepoint:
            getattr(savepoint, end)()
            with pytest.raises(sa.exc.InvalidRequestError):
                store.generation.claim(campaign.id, 1, LEASE)
    assert len(tenant.claim(campaign.id)) == 2


def test_what_core_has_another_name_for_somebody_may_hear() -> None:
    class Unknown:
        engine = dialect = None

        def get_transaction(self) -> None:
            """None was begun."""

        get_nested_transaction = get_transaction

    assert not _is_plain(cast(sa.Connection, Unknown()))


# A plan is made once.


@on_postgresql
@pytest.mark.parametrize("number", [1, 7])
@pytest.mark.parametrize("known", [False, True])
def test_claims_and_reports_are_planned_once(
    own: sa.Engine,
    known: bool,  # noqa: FBT001
    number: int,
) -> None:
    """Whether or not the database's statistics know of the tenant and the campaign."""
    tenant = new_tenant(own)
    analyze = sa.text("ANALYZE campaign_contacts, campaigns, campaign_totals")
    with own.begin() as connection:
        connection.execute(analyze)
    campaign = tenant.campaign(Status.GENERATING, contacts=2_000)
    cursor = tenant.transact(lambda store: store.generation.claim(campaign.id, 1, LEASE)).cursor
    with own.connect() as connection:
        if known:
            connection.execute(analyze)
            connection.commit()

        def cycle(store: CampaignStore) -> Cursor:
            batch = store.generation.claim(campaign.id, number, LEASE, cursor=cursor)
            store.generation.record(dict.fromkeys(batch.claims, Generated(None)))
            return batch.cursor

        for _ in range(20):
            cursor = transact(connection, tenant.id, cycle)
        plans = connection.exec_driver_sql(
            "SELECT custom_plans, generic_plans > 0 FROM pg_prepared_statements "
            "WHERE statement LIKE 'WITH gate%%'"
        ).all()
    # PostgreSQL makes five for the values at hand, and then one that it keeps if it is as good.
    assert plans == [(5, True)] * 2


@on_postgresql
def test_they_go_to_the_schema_that_the_others_go_to(engine: sa.Engine) -> None:
    tenant = new_tenant(engine)
    campaign = tenant.campaign(Status.GENERATING, contacts=1)
    elsewhere = engine.execution_options(schema_translate_map={None: "elsewhere"})
    with elsewhere.connect() as connection:
        store = CampaignStore(connection, tenant.id)
        with pytest.raises(sa.exc.ProgrammingError, match=r"elsewhere\.campaigns"):
            store.generation.claim(campaign.id, 1, LEASE)


def test_what_is_no_id_is_refused_before_it_is_sent(tenant: Tenant) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=1)
    (claim,) = tenant.claim(campaign.id)
    odd = attrs.evolve(claim, id=str(claim.id))  # type: ignore[arg-type]
    calls: list[Callable[[CampaignStore], object]] = [
        lambda store: store.generation.record({odd: Generated(None)}),
        lambda store: store.generation.renew([odd], LEASE),
        lambda store: store.generation.checkpoint(odd, None),
    ]
    with tenant.engine.begin() as connection:
        store = CampaignStore(connection, tenant.id)
        for call in calls:
            with pytest.raises(TypeError, match="an id is a uuid"):
                call(store)
        # Nothing was sent that would have spoiled the transaction.
        assert store.generation.record({claim: Generated(None)}) == {claim: Recorded.APPLIED}
