"""A pytest plugin: campaigns to test with, and the options of the store contract.

Nobody gets it who does not ask: ``-p campaign_model.testing.plugin``, or
``pytest_plugins = ["campaign_model.testing.plugin"]`` in the top ``conftest.py``. The types of what
the fixtures give stand in ``campaign_model.testing.sample_campaigns`` and ``.clock``.
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
from campaign_model.testing.clock import FrozenClock
from campaign_model.testing.sample_campaigns import (
    CampaignFactory,
    Tenant,
    add_minimal_contacts,
    add_minimal_tenant,
)

__all__ = [
    "campaign_clock",
    "campaign_factory",
    "campaign_store",
    "campaign_tenant",
]

_HOST = HostTables()


def _url(text: str) -> sa.URL:
    try:
        return sa.make_url(text)
    except sa.exc.ArgumentError:
        # Without repeating it: there may be a password in it.
        raise argparse.ArgumentTypeError(
            "a URL looks like postgresql+psycopg://user@host/name or sqlite:///file.db"
        ) from None


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of the contract."""
    group = parser.getgroup("campaign-model", "the store contract of campaign-model")
    group.addoption(
        "--campaign-model-url",
        metavar="URL",
        type=_url,
        help="the database to hold against the contract, as SQLAlchemy names it; the contract "
        "writes rows of tenants of its own and removes them",
    )
    group.addoption(
        "--campaign-model-read-only",
        action="store_true",
        help="run only what reads, in read-only transactions: for copies of production",
    )


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """The hooks by which a service tells of its database."""
    pluginmanager.add_hookspecs(hooks)


def pytest_report_header(config: pytest.Config) -> str | None:
    """Which library is held against which database."""
    url = config.getoption("--campaign-model-url")
    if url is None:
        return None
    (package,) = campaign_model.__path__
    return f"campaign-model: {package} on {url.render_as_string()}"


@pytest.hookimpl(trylast=True)
def pytest_campaign_model_engine(url: sa.URL) -> sa.Engine:
    """With SQLAlchemy's own defaults."""
    return prepare_engine(sa.create_engine(url))


@pytest.hookimpl(trylast=True)
def pytest_campaign_model_host_tables() -> HostTables:
    """By the names of the minimal host tables."""
    return _HOST


@pytest.hookimpl(trylast=True)
def pytest_campaign_model_host_rows(
    connection: sa.Connection, host: HostTables, contacts: int
) -> tuple[UUID, Sequence[UUID]]:
    """With no column but those that the minimal host tables need."""
    tenant_id = add_minimal_tenant(connection, host)
    return tenant_id, add_minimal_contacts(connection, host, tenant_id, contacts)


@pytest.hookimpl(trylast=True)
def pytest_campaign_model_remove_host_rows(
    connection: sa.Connection, host: HostTables, tenant_id: UUID, contact_ids: Sequence[UUID]
) -> bool:
    """By their ids."""
    tables = MinimalHost(host)
    connection.execute(sa.delete(tables.contacts).where(tables.contacts.c.id.in_(contact_ids)))
    connection.execute(sa.delete(tables.tenants).where(tables.tenants.c.id == tenant_id))
    return True


@attrs.frozen
class _Database:
    """An SQLite database in memory, with our schema, minimal host tables and no tenant.

    ``image`` is a file with the same content.
    """

    engine: sa.Engine
    image: bytes


@pytest.fixture(scope="session")
def _campaign_model_database() -> Iterator[_Database]:
    # One connection for all, so that there is one database and SQL is compiled once.
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
        image = driver.serialize()
    yield _Database(engine, image)
    engine.dispose()


@pytest.fixture
def campaign_clock() -> FrozenClock:
    """The clock of ``campaign_store``, which stands still until a test says ``forward``."""
    return FrozenClock()


@pytest.fixture
def campaign_store(
    _campaign_model_database: _Database, campaign_clock: FrozenClock
) -> Iterator[CampaignStore]:
    """A store on SQLite in memory, as a new tenant; what is written is rolled back at the end.

    The shipped templates are there, and minimal host tables. For code that opens transactions of
    its own, such as ``transact`` and ``run_worker``, there is ``campaign_tenant``.
    """
    with _campaign_model_database.engine.connect() as connection:
        transaction = connection.begin()
        tenant_id = add_minimal_tenant(connection, _HOST)
        yield CampaignStore(connection, tenant_id, clock=campaign_clock)
        if not transaction.is_active:
            pytest.fail(
                "the transaction of campaign_store was committed, rolled back or closed; code that "
                "does so is to be tested with campaign_tenant, which has a database of its own",
                pytrace=False,
            )
        transaction.rollback()


@pytest.fixture
def campaign_factory(campaign_store: CampaignStore, campaign_clock: FrozenClock) -> CampaignFactory:
    """Makes campaigns in any status: ``campaign_factory("review", contacts=5, failed=1)``."""
    return CampaignFactory(campaign_store, campaign_clock)


@pytest.fixture
def campaign_tenant(_campaign_model_database: _Database, tmp_path: Path) -> Iterator[Tenant]:
    """A new tenant in an SQLite file of its own, for code that opens transactions of its own.

    Pass its ``engine`` and ``id`` to ``transact`` and ``run_worker``.
    """
    file = tmp_path / "campaigns.sqlite"
    file.write_bytes(_campaign_model_database.image)
    engine = prepare_engine(sa.create_engine(f"sqlite:///{file}"))
    # A test's database need not outlast a power cut: nobody waits for the disk.
    sa.event.listen(engine, "connect", lambda raw, _: raw.execute("PRAGMA synchronous = OFF"))
    with engine.begin() as connection:
        tenant_id = add_minimal_tenant(connection, _HOST)

    def contacts(number: int) -> list[UUID]:
        with engine.begin() as connection:
            return add_minimal_contacts(connection, _HOST, tenant_id, number)

    yield Tenant(engine, tenant_id, contacts)
    engine.dispose()
