"""Every statement of a store runs with the setting of its tenant, and no other transaction does."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from campaign_model.store import CampaignStore, scope, store, transact
from campaign_model.store.tenant_setting import TENANT_SETTING
from campaign_model.testing.sample_campaigns import Tenant
from support import pooler
from support.drivers import DRIVERS, call_with_engine
from support.tenants import new_tenant
from support.transactions import on_newest_postgresql, on_postgresql

CURRENT = sa.text(f"SELECT current_setting('{TENANT_SETTING}', true)")


def current(connection: sa.Connection) -> str | None:
    """Return the tenant that the server knows, as text; None or "" if there is none."""
    value: str | None = connection.scalar(CURRENT)
    return value


@pytest.fixture(params=DRIVERS)
def on_driver(engine: sa.Engine, request: pytest.FixtureRequest) -> Callable[..., Any]:
    """``on_driver(function)`` calls ``function(engine)`` with each driver."""
    return lambda function: call_with_engine(engine.url, request.param, function)


@on_postgresql
def test_transact_and_the_store_set_the_tenant_until_the_transaction_ends(
    tenant: Tenant, on_driver: Callable[..., Any]
) -> None:
    def check(engine: sa.Engine) -> None:
        with engine.connect() as connection:
            assert transact(connection, tenant.id, lambda s: current(s.connection)) == str(
                tenant.id
            )
            assert not current(connection)
            connection.rollback()

            # A store that is opened before the transaction begins, and in one that has begun.
            CampaignStore(connection, tenant.id)
            assert current(connection) == str(tenant.id)
            connection.rollback()
            assert not current(connection)
            CampaignStore(connection, tenant.id)
            assert current(connection) == str(tenant.id)
            connection.commit()
            assert not current(connection)

    on_driver(check)


@on_postgresql
def test_a_store_that_sends_nothing_leaves_no_tenant_behind(
    tenant: Tenant, on_driver: Callable[..., Any]
) -> None:
    def check(engine: sa.Engine) -> None:
        with engine.connect() as connection:
            with connection.begin():
                CampaignStore(connection, tenant.id)
            assert not current(connection)
        with engine.connect() as connection:
            CampaignStore(connection, tenant.id)
        with engine.connect() as connection:
            assert not current(connection)

    on_driver(check)


@on_postgresql
def test_an_unused_store_opens_no_transaction_on_a_connection_in_autocommit(
    tenant: Tenant, on_driver: Callable[..., Any]
) -> None:
    def check(engine: sa.Engine) -> None:
        with engine.connect() as connection:
            CampaignStore(connection, tenant.id)
            connection.execution_options(isolation_level="AUTOCOMMIT")
            connection.exec_driver_sql("CREATE TABLE kept ()")
        with tenant.engine.begin() as connection:
            connection.exec_driver_sql("DROP TABLE kept")

    on_driver(check)


@on_newest_postgresql
def test_engines_that_share_a_dialect_share_its_listeners(tenant: Tenant) -> None:
    def count_listeners() -> list[int]:
        dispatch: Any = tenant.engine.dialect.dispatch
        return [len([*dispatch.do_execute]), len([*dispatch.handle_error])]

    transact(tenant.engine, tenant.id, lambda s: s.campaigns.list())
    before = count_listeners()
    for _ in range(3):
        with_options = tenant.engine.execution_options(isolation_level="SERIALIZABLE")
        transact(with_options, tenant.id, lambda s: s.campaigns.list())
    assert count_listeners() == before


@on_postgresql
def test_each_of_several_stores_sets_its_own_tenant(
    engine: sa.Engine, on_driver: Callable[..., Any]
) -> None:
    one, other = new_tenant(engine), new_tenant(engine)

    def check(engine: sa.Engine) -> None:
        with engine.begin() as connection:
            stores = [CampaignStore(connection, tenant.id) for tenant in (one, other)]
            assert current(connection) == str(other.id)
            for one_store in (*stores, *reversed(stores)):
                one_store.campaigns.list()
                assert current(connection) == str(one_store.tenant_id)

    on_driver(check)


@on_postgresql
def test_a_rollback_to_a_savepoint_does_not_lose_the_tenant(
    engine: sa.Engine, on_driver: Callable[..., Any]
) -> None:
    one, other = new_tenant(engine), new_tenant(engine)

    def check(engine: sa.Engine) -> None:
        with engine.begin() as connection:
            savepoint = connection.begin_nested()
            first = CampaignStore(connection, one.id)
            first.campaigns.list()
            savepoint.rollback()
            assert not current(connection)
            first.campaigns.list()
            assert current(connection) == str(one.id)

            # Another tenant within a savepoint, that is rolled back or released.
            for end in ("rollback", "commit"):
                outer, inner = connection.begin_nested(), connection.begin_nested()
                CampaignStore(connection, other.id).campaigns.list()
                getattr(inner, end)()
                first.campaigns.list()
                assert current(connection) == str(one.id), end
                getattr(outer, end)()
                first.campaigns.list()
                assert current(connection) == str(one.id), end

            # A store that has not sent anything, after an error within a savepoint.
            savepoint = connection.begin_nested()
            with pytest.raises(sa.exc.DBAPIError):
                connection.exec_driver_sql("SELECT 1 / 0")
            CampaignStore(connection, other.id)
            savepoint.rollback()
            assert current(connection) == str(other.id)

    on_driver(check)


@on_postgresql
def test_the_tenant_is_set_before_a_statement_of_any_kind(
    engine: sa.Engine, tenant: Tenant, on_driver: Callable[..., Any]
) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TABLE IF NOT EXISTS noted (number int, tenant text DEFAULT "
            f"current_setting('{TENANT_SETTING}', true))"
        )
    insert = sa.text("INSERT INTO noted (number) VALUES (:number)")

    def check(engine: sa.Engine) -> None:
        statements: tuple[Callable[[sa.Connection], Any], ...] = (
            lambda connection: connection.execute(insert, [{"number": 1}, {"number": 2}]),
            lambda connection: connection.exec_driver_sql("INSERT INTO noted VALUES (3)"),
            lambda connection: connection.execution_options(no_parameters=True).exec_driver_sql(
                "INSERT INTO noted VALUES (4 % 5)"
            ),
        )
        for execute in statements:
            with engine.begin() as connection:
                CampaignStore(connection, tenant.id)
                execute(connection)
        with engine.begin() as connection:
            CampaignStore(connection, tenant.id)
            streamed = connection.execution_options(stream_results=True).execute(CURRENT)
            assert streamed.scalar() == str(tenant.id)
        with engine.begin() as connection:
            rows = connection.exec_driver_sql("DELETE FROM noted RETURNING number, tenant")
            assert sorted(map(tuple, rows)) == [(n, str(tenant.id)) for n in (1, 2, 3, 4)]

    on_driver(check)


@on_postgresql
@pytest.mark.parametrize("driver", DRIVERS)
def test_the_transaction_keeps_its_isolation_and_access_mode(tenant: Tenant, driver: str) -> None:
    options: dict[str, Any] = {
        "isolation_level": "SERIALIZABLE",
        "postgresql_readonly": True,
        "postgresql_deferrable": True,
    }
    names = ("isolation", "read_only", "deferrable")
    show = ", ".join(f"current_setting('transaction_{name}')" for name in names)

    def check(engine: sa.Engine) -> None:
        for chosen, expected in (
            (options, ("serializable", "on", "on")),
            ({"isolation_level": "REPEATABLE READ"}, ("repeatable read", "off", "off")),
        ):
            with engine.execution_options(**chosen).begin() as connection:
                CampaignStore(connection, tenant.id).campaigns.list()
                assert connection.exec_driver_sql(f"SELECT {show}").one() == expected

    call_with_engine(tenant.engine.url, driver, check)


@on_newest_postgresql
@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_the_tenant_takes_no_round_trip_of_its_own(
    tenant: Tenant, driver: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    answers = [0]
    until_ready = pooler._messages_until_ready

    def count(server: socket.socket) -> Iterator[bytes]:
        answers[0] += 1
        return until_ready(server)

    def count_round_trips(connection: sa.Connection) -> int:
        """Count the answers of the server to a transaction that lists campaigns."""
        for _ in range(7):  # The drivers prepare statements, which takes round trips at first.
            answers[0] = 0
            transact(connection, tenant.id, lambda s: s.campaigns.list())
        return answers[0]

    def check(engine: sa.Engine) -> None:
        with engine.connect() as connection:
            with_setting = count_round_trips(connection)
            for module in (store, scope):
                monkeypatch.setattr(module, "choose_tenant", lambda *_: None)
            assert with_setting == count_round_trips(connection)

    monkeypatch.setattr(pooler, "_messages_until_ready", count)
    with pooler.pooled(str(tenant.engine.url), tmp_path) as url:
        call_with_engine(sa.make_url(url), driver, check)


@on_postgresql
def test_a_lost_connection_is_reported_as_by_any_statement(
    tenant: Tenant, on_driver: Callable[..., Any]
) -> None:
    def check(engine: sa.Engine) -> None:
        with engine.connect() as connection:
            pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
            connection.rollback()
            with tenant.engine.begin() as another:
                another.execute(sa.select(sa.func.pg_terminate_backend(pid, 5000)))
            with pytest.raises(sa.exc.DBAPIError) as caught, connection.begin():
                CampaignStore(connection, tenant.id).campaigns.list()
            assert caught.value.connection_invalidated
            assert transact(connection, tenant.id, lambda s: current(s.connection)) == str(
                tenant.id
            )

    on_driver(check)
