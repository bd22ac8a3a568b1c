"""The pytest plugin: fixtures with sample campaigns, and the options of the store contract.

The plugin is loaded only on request: with ``-p campaign_model.testing.plugin``, or with
``pytest_plugins = ["campaign_model.testing.plugin"]`` in the top ``conftest.py``. The types of the
fixtures are in ``campaign_model.testing.sample_campaigns`` and ``campaign_model.testing.clock``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import attrs
import pytest
import sqlalchemy as sa

import campaign_model
from campaign_model.db import HostTables, MinimalHost, prepare_engine, sync_presets
from campaign_model.db.schema import create_statements
from campaign_model.store import CampaignStore
from campaign_model.testing import hooks
from campaign_model.testing._event_loop import RunTestsInEventLoop, make_engine
from campaign_model.testing.clock import FrozenClock
from campaign_model.testing.sample_campaigns import (
    CampaignFactory,
    Tenant,
    add_minimal_contacts,
    add_minimal_tenant,
)

__all__ = ["campaign_clock", "campaign_factory", "campaign_store", "campaign_tenant"]

_HOST = HostTables()


def _parse_url(text: str) -> sa.URL:
    """Parse the value of ``--campaign-model-url``."""
    try:
        return sa.make_url(text)
    except sa.exc.ArgumentError:
        # Do not repeat the text in the error: it may contain a password.
        raise argparse.ArgumentTypeError(
            "a URL looks like postgresql+psycopg://user@host/name or sqlite:///file.db"
        ) from None


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the store contract.

    Each of them states its default. A test module may load this plugin after pytest has read the
    command line, and pytest before version 9.1 then finds only options with a stated default.
    """
    group = parser.getgroup("campaign-model", "the store contract of campaign-model")
    group.addoption(
        "--campaign-model-url",
        metavar="URL",
        type=_parse_url,
        default=None,
        help="SQLAlchemy URL of the database to test; the tests insert rows for tenants of their "
        "own and delete them at the end",
    )
    group.addoption(
        "--campaign-model-read-only",
        action="store_true",
        default=False,
        help="run only the tests that write nothing, in read-only transactions (for copies of "
        "production)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Run the tests in an event loop if the driver of the URL is asynchronous."""
    url = config.getoption("--campaign-model-url")
    try:
        dialect = None if url is None else url.get_dialect()
    except sa.exc.SQLAlchemyError:
        return  # The contract's engine fixture reports an unknown driver.
    if dialect is not None and dialect.is_async:
        config.pluginmanager.register(RunTestsInEventLoop(dialect))


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Add the hooks with which a service describes its database."""
    pluginmanager.add_hookspecs(hooks)


def pytest_report_header(config: pytest.Config) -> str | None:
    """Name the library and the database under test."""
    url = config.getoption("--campaign-model-url")
    if url is None:
        return None
    (package,) = campaign_model.__path__
    return f"campaign-model: {package} on {url.render_as_string()}"


@pytest.hookimpl(trylast=True)
def pytest_campaign_model_engine(url: sa.URL) -> sa.Engine:
    """Make an engine with SQLAlchemy's defaults."""
    if url.get_dialect().is_async:
        return make_engine(url)
    return prepare_engine(sa.create_engine(url))


@pytest.hookimpl(trylast=True)
def pytest_campaign_model_host_tables() -> HostTables:
    """Return the names of the minimal host tables."""
    return _HOST


@pytest.hookimpl(trylast=True)
def pytest_campaign_model_host_rows(
    connection: sa.Connection, host: HostTables, contacts: int
) -> tuple[UUID, Sequence[UUID]]:
    """Insert a tenant and contacts into the minimal host tables."""
    tenant_id = add_minimal_tenant(connection, host)
    return tenant_id, add_minimal_contacts(connection, host, tenant_id, contacts)


@pytest.hookimpl(trylast=True)
def pytest_campaign_model_remove_host_rows(
    connection: sa.Connection, host: HostTables, tenant_id: UUID, contact_ids: Sequence[UUID]
) -> bool:
    """Delete the rows by their ids."""
    tables = MinimalHost(host)
    contacts = tables.contacts
    of_tenant = contacts.c.tenant_id == tenant_id
    connection.execute(sa.delete(contacts).where(of_tenant, contacts.c.id.in_(contact_ids)))
    connection.execute(sa.delete(tables.tenants).where(tables.tenants.c.id == tenant_id))
    return True


@attrs.frozen
class _Database:
    """An SQLite database in memory with the library's schema, minimal host tables and no tenant.

    ``image`` is the same database as the content of an SQLite file.
    """

    engine: sa.Engine
    image: bytes


@pytest.fixture(scope="session")
def _campaign_model_database() -> Iterator[_Database]:
    # All tests share one connection, because each connection to an SQLite database in memory has a
    # database of its own. One engine for all tests also compiles each statement only once.
    engine = sa.create_engine(
        "sqlite://", poolclass=sa.StaticPool, connect_args={"check_same_thread": False}
    )
    minimal = MinimalHost(_HOST)
    with prepare_engine(engine).begin() as connection:
        minimal.create_referred(connection)
        for statement in create_statements("sqlite", _HOST):
            connection.exec_driver_sql(statement)
        minimal.create_referring(connection)
        sync_presets(connection)
    with engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        image = driver.serialize()  # Each test begins with this content.
    yield _Database(engine, image)
    engine.dispose()


@pytest.fixture
def campaign_clock() -> FrozenClock:
    """Return the clock of ``campaign_store``. It stands still until a test moves it forward."""
    return FrozenClock()


@pytest.fixture
def campaign_store(
    _campaign_model_database: _Database, campaign_clock: FrozenClock
) -> Iterator[CampaignStore]:
    """Return a store for a new tenant, on SQLite in memory. The end of the test rolls it back.

    The database has the system templates and minimal host tables. Use ``campaign_tenant`` for code
    that opens its own transactions, such as ``transact`` and ``run_worker``.
    """
    with _campaign_model_database.engine.connect() as connection:
        transaction = connection.begin()
        tenant_id = add_minimal_tenant(connection, _HOST)
        yield CampaignStore(connection, tenant_id, clock=campaign_clock)
        if not transaction.is_active:
            pytest.fail(
                "the test committed, rolled back or closed the transaction of campaign_store; for "
                "code that ends its own transactions, use campaign_tenant instead, which has a "
                "database of its own",
                pytrace=False,
            )
        transaction.rollback()


@pytest.fixture
def campaign_factory(campaign_store: CampaignStore, campaign_clock: FrozenClock) -> CampaignFactory:
    """Return a factory of campaigns: ``campaign_factory("review", contacts=5, failed=1)``."""
    return CampaignFactory(campaign_store, campaign_clock)


@pytest.fixture
def campaign_tenant(_campaign_model_database: _Database, tmp_path: Path) -> Iterator[Tenant]:
    """Return a new tenant in an SQLite file, for code that opens its own transactions.

    Pass its ``engine`` and ``id`` to ``transact`` and ``run_worker``.
    """
    file = tmp_path / "campaigns.sqlite"
    file.write_bytes(_campaign_model_database.image)
    engine = prepare_engine(sa.create_engine(f"sqlite:///{file}"))
    # The database of a test need not survive a power cut, so nothing waits for the disk.
    sa.event.listen(engine, "connect", lambda raw, _: raw.execute("PRAGMA synchronous = OFF"))
    with engine.begin() as connection:
        tenant_id = add_minimal_tenant(connection, _HOST)

    def contacts(number: int) -> list[UUID]:
        with engine.begin() as connection:
            return add_minimal_contacts(connection, _HOST, tenant_id, number)

    yield Tenant(engine, tenant_id, contacts)
    engine.dispose()
