"""Which drivers and session settings of PostgreSQL are right, and which are refused in a sentence.

``kit/test_contract.py`` runs the whole store contract with each driver.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import asyncpg  # type: ignore[import-untyped]
import psycopg
import psycopg2.extensions  # type: ignore[import-untyped]
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from campaign_model import db
from campaign_model.campaign import Campaign
from campaign_model.claims import Claim, Failed, Generated, NotReady, Outcome, Unfinished
from campaign_model.lifecycle import Status
from campaign_model.store import CampaignStore, transact
from campaign_model.store.tables import campaigns
from campaign_model.store.types import LAST_MOMENT
from campaign_model.testing.sample_campaigns import CENT, LEASE, STEPS
from campaign_model.worker import run_worker, run_worker_async
from support.drivers import DRIVERS, call_with_engine
from support.tenants import execute, new_tenant
from support.transactions import on_postgresql, recorded_statements

ODD = r"""100% it's \d \' "quoted" %s %(x)s :name E'\n' $1 {} ☃ 🙂"""
"""A text with everything that a driver could take for syntax."""


def use_store(engine: sa.Engine) -> None:
    """Write odd texts, money and times with the store, and read the same again."""
    tenant = new_tenant(engine)
    campaign = tenant.campaign(Status.GENERATING, contacts=4, name=ODD, budget=Decimal(1))
    claims = tenant.claim(campaign.id, reserve=CENT)
    failure = Failed(ODD, ODD, None)
    outcomes: list[Outcome] = [failure, NotReady((ODD,)), Unfinished(LEASE), Generated(CENT)]
    answers: dict[Claim, Outcome] = dict(zip(claims, outcomes, strict=True))
    tenant.record(answers)
    contacts = [*tenant.campaign_contacts(campaign.id).values()]
    assert (contacts[0].error_code, contacts[0].error) == (ODD, ODD)
    assert contacts[1].enrichment_gaps == (ODD,)
    waits = contacts[2].retry_at
    assert waits is not None
    assert abs(waits - claims[0].expires_at) < LEASE / 2
    assert tenant.progress(campaign.id).spent == CENT
    tenant.check_totals(campaign.id)


def read_an_infinite_time(engine: sa.Engine) -> None:
    """List a campaign with a time that Python does not have."""
    tenant = new_tenant(engine)
    draft = tenant.transact(lambda store: store.campaigns.add(Campaign(ODD, STEPS)))
    forever: sa.ColumnElement[Any] = sa.literal_column("'infinity'")
    id_ = campaigns.c.id == draft.id
    execute(tenant, sa.update(campaigns).where(id_).values(updated_at=forever))
    # Texts that look like syntax stand in literals of the store, too.
    (listed,) = tenant.transact(lambda store: store.campaigns.list()).items
    assert (listed.name, listed.updated_at) == (ODD, LAST_MOMENT)


@on_postgresql
@pytest.mark.parametrize("driver", DRIVERS)
def test_every_driver_reads_an_infinite_time(unchecked_engine: sa.Engine, driver: str) -> None:
    call_with_engine(unchecked_engine.url, driver, read_an_infinite_time)


HARMLESS = {
    "standard_conforming_strings": "off",
    "IntervalStyle": "sql_standard",
    "TimeZone": "America/St_Johns",
    "extra_float_digits": "-5",
    "bytea_output": "escape",
    "DateStyle": "ISO, DMY",
}


@on_postgresql
@pytest.mark.parametrize("driver", DRIVERS)
def test_settings_that_the_store_need_not_refuse_are_right(engine: sa.Engine, driver: str) -> None:
    call_with_engine(engine.url, driver, use_store, HARMLESS)


@on_postgresql
def test_cursors_that_write_parameters_into_the_text_work(engine: sa.Engine) -> None:
    """Some poolers need such cursors, because they cannot prepare statements."""
    writing = sa.create_engine(engine.url, connect_args={"cursor_factory": psycopg.ClientCursor})
    use_store(writing)
    tenant = new_tenant(writing)
    campaign = tenant.campaign(Status.EXPORTED, contacts=2)
    batch = tenant.transact(lambda store: store.export.claim(campaign.id, 10, LEASE))
    assert len(batch.claims) == 2
    tenant.transact(lambda store: store.export.record(batch.claims))
    assert tenant.progress(campaign.id).exported == 2
    writing.dispose()


def open_store(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        CampaignStore(connection, uuid4())


def call_transact(engine: sa.Engine) -> None:
    transact(engine, uuid4(), lambda store: store.campaigns.list())


def sync_presets(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        db.sync_presets(connection)


@on_postgresql
@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("name", ["DateStyle", "client_encoding"])
def test_a_setting_is_right_or_refused_in_a_sentence(
    engine: sa.Engine, driver: str, name: str
) -> None:
    value = {"DateStyle": "German, DMY", "client_encoding": "LATIN1"}[name]
    # psycopg2 sets the DateStyle when it connects, and asyncpg receives times in binary form.
    is_right = name == "DateStyle" and driver != "psycopg"

    def refuse(engine: sa.Engine) -> None:
        for use in (open_store, call_transact, sync_presets):
            with pytest.raises(ValueError, match=f"the {name} of this connection is {value}"):
                use(engine)

    call_with_engine(engine.url, driver, use_store if is_right else refuse, {name: value})


@on_postgresql
@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_with_another_encoding_is_refused(
    engine: sa.Engine, driver: str, encoding: str
) -> None:
    name = f"encoding_{uuid4().hex}"

    def refuse(engine: sa.Engine) -> None:
        for use in (open_store, call_transact, sync_presets, db.init):
            with pytest.raises(ValueError, match=f"the encoding of this database is {encoding}"):
                use(engine)

    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(
            f"CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0 "
            "LC_COLLATE 'C' LC_CTYPE 'C'"
        )
        try:
            settings = {"client_encoding": "UTF8"}
            call_with_engine(engine.url.set(database=name), driver, refuse, settings)
        finally:
            connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")


@on_postgresql
def test_a_setting_that_changes_in_the_session_is_refused_too(engine: sa.Engine) -> None:
    def change(engine: sa.Engine) -> None:
        with engine.begin() as connection:
            connection.exec_driver_sql("SET LOCAL DateStyle = 'SQL'")
            with pytest.raises(ValueError, match=r"DateStyle .* psycopg2 cannot read times"):
                CampaignStore(connection, uuid4())

    call_with_engine(engine.url, "psycopg2", change)


FloatLoader = psycopg.adapters.get_loader(701, psycopg.pq.Format.TEXT)
"""Reads as psycopg reads a double precision."""

TextLoader = psycopg.adapters.get_loader(25, psycopg.pq.Format.TEXT)


def read_otherwise(driver: str, connection: Any, type_name: str) -> None:
    """Let a driver's connection read values of a type as the manuals of the drivers show."""
    cast = float if type_name == "numeric" else str
    if driver == "psycopg":
        loader = FloatLoader if type_name == "numeric" else TextLoader
        connection.adapters.register_loader(type_name, loader)
    elif driver == "psycopg2":
        oid = {"int8": 20, "timestamptz": 1184, "numeric": 1700, "uuid": 2950}[type_name]
        extensions = psycopg2.extensions
        caster = extensions.new_type((oid,), "OTHERWISE", lambda text, _: text and cast(text))
        extensions.register_type(caster, connection)
    else:
        connection.run_async(
            lambda connection: connection.set_type_codec(
                type_name, encoder=str, decoder=cast, schema="pg_catalog", format="text"
            )
        )


@on_postgresql
@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("type_name", ["int8", "timestamptz", "numeric", "uuid"])
def test_a_driver_that_reads_a_type_otherwise_is_refused(
    engine: sa.Engine, driver: str, type_name: str
) -> None:
    def refuse(engine: sa.Engine) -> None:
        @sa.event.listens_for(engine, "connect")
        def change(connection: Any, _record: object) -> None:
            read_otherwise(driver, connection, type_name)

        uses: list[Callable[[sa.Engine], object]] = [open_store, call_transact, sync_presets]
        if driver != "asyncpg":  # With asyncpg, the check needs a transaction.
            uses.append(db.init)
        for use in uses:
            with pytest.raises(ValueError, match=f"{driver} reads the type .* the library needs"):
                use(engine)

    call_with_engine(engine.url, driver, refuse)


SET_UP: dict[str, Callable[[Any], object]] = {
    "init": lambda engine: db.init(engine, with_host_tables=True),
    "adopt": db.adopt,
    "verify": db.verify,
    "sql": db.sql,
}


@on_postgresql
@pytest.mark.parametrize("function", SET_UP.values(), ids=SET_UP)
def test_set_up_refuses_settings_before_it_sends_anything(
    engine_name: str, new_database: Callable[[str], str], function: Callable[[Any], object]
) -> None:
    url = sa.make_url(new_database(engine_name))
    for name, value in {"DateStyle": "SQL", "client_encoding": "SQL_ASCII"}.items():

        def refuse(engine: sa.Engine) -> None:
            with (
                recorded_statements(engine) as statements,
                pytest.raises(ValueError, match=f"the {name} of this connection is {value}"),  # noqa: B023
            ):
                function(engine)
            assert statements == []

        call_with_engine(url, "psycopg", refuse, {name: value})
    assert (
        call_with_engine(url, "psycopg", lambda engine: sa.inspect(engine).get_table_names()) == []
    )


@on_postgresql
def test_set_up_works_with_psycopg2_and_any_string_syntax(
    engine_name: str, new_database: Callable[[str], str]
) -> None:
    url = sa.make_url(new_database(engine_name))

    def set_up(engine: sa.Engine) -> None:
        db.init(engine, with_host_tables=True)
        assert db.verify(engine).shape == "current"
        use_store(engine)

    call_with_engine(url, "psycopg2", set_up, {"standard_conforming_strings": "off"})


@on_postgresql
@pytest.mark.parametrize("function", SET_UP.values(), ids=SET_UP)
def test_set_up_needs_a_synchronous_driver(
    engine: sa.Engine, function: Callable[[Any], object]
) -> None:
    asynchronous = create_async_engine(engine.url.set(drivername="postgresql+asyncpg"))
    for given in (asynchronous, asynchronous.sync_engine):
        with pytest.raises(db.SetupError, match="need a synchronous driver"):
            function(given)


@on_postgresql
def test_an_async_engine_is_refused_where_a_plain_one_is_needed(engine: sa.Engine) -> None:
    asynchronous: Any = create_async_engine(engine.url.set(drivername="postgresql+asyncpg"))
    assert db.prepare_engine(asynchronous.sync_engine) is asynchronous.sync_engine
    with pytest.raises(TypeError, match="of an AsyncEngine, pass its sync_engine"):
        db.prepare_engine(asynchronous)
    with pytest.raises(TypeError, match="not AsyncEngine; for an AsyncEngine, await transact_a"):
        call_transact(asynchronous)
    for given, name in ((asynchronous, "AsyncEngine"), (asynchronous.sync_engine, "asyncpg")):
        with pytest.raises(TypeError, match=f"a synchronous driver such as psycopg, not {name}"):
            run_worker(given, uuid4(), uuid4(), lambda _: Generated(None))

    async def succeed(_task: object) -> Outcome:
        return Generated(None)

    async def open_store_on_async_connection() -> None:
        with pytest.raises(TypeError, match=r"an AsyncEngine too \(not its sync_engine\)"):
            await run_worker_async(asynchronous.sync_engine, uuid4(), uuid4(), succeed)
        async with asynchronous.connect() as connection:
            with pytest.raises(TypeError, match="not AsyncConnection; if you have"):
                CampaignStore(connection, uuid4())
        await asynchronous.dispose()

    asyncio.run(open_store_on_async_connection())


@on_postgresql
def test_transact_tries_again_to_connect_with_asyncpg(engine: sa.Engine) -> None:
    tenant = new_tenant(engine)
    failures = [ConnectionRefusedError(), asyncpg.CannotConnectNowError("the server starts")]

    def use(engine: sa.Engine) -> int:
        @sa.event.listens_for(engine, "do_connect")
        def connect(*_: object) -> None:
            if failures:
                raise failures.pop()

        return transact(engine, tenant.id, lambda store: len(store.campaigns.list().items))

    assert call_with_engine(engine.url, "asyncpg", use) == 0
    assert failures == []
    failures.append(asyncpg.InvalidPasswordError("wrong password"))
    with pytest.raises(sa.exc.OperationalError, match="wrong password"):
        call_with_engine(engine.url, "asyncpg", use)


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("postgresql+pg8000", "psycopg or postgresql.psycopg2 or postgresql.asyncpg"),
        ("postgresql+psycopg2cffi", "psycopg or postgresql.psycopg2 or postgresql.asyncpg"),
        ("sqlite+pysqlcipher", "sqlite.pysqlite or sqlite.aiosqlite"),
    ],
)
def test_other_drivers_are_refused_by_name(name: str, known: str) -> None:
    new_dialect: Callable[[], sa.Dialect] = sa.make_url(f"{name}://").get_dialect()
    engine = SimpleNamespace(dialect=new_dialect())
    uses: list[Callable[[Any], object]] = [
        db.prepare_engine,
        *SET_UP.values(),
        lambda connection: CampaignStore(connection, uuid4()),
    ]
    for use in uses:
        with pytest.raises(ValueError, match=f"driver {name.partition('+')[2]}; .* with .*{known}"):
            use(engine)


def test_workers_refuse_other_drivers_too() -> None:
    module = SimpleNamespace(paramstyle="format", __version__="1.31")
    engine = sa.create_engine("postgresql+pg8000://nowhere/none", module=module)
    with pytest.raises(ValueError, match="does not work with the driver pg8000"):
        run_worker(engine, uuid4(), uuid4(), lambda _: Generated(None))
