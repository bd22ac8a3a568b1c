"""Fixtures of the contract tests: the service's engine, two tenants, a read-only connection.

This module also chooses the tests that can run, sorts them, and adds docstrings to failure reports.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Generator, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from campaign_model.db import HostTables
from campaign_model.store.deleting import deleting
from campaign_model.store.tables import metadata
from campaign_model.store.tenant_setting import choose_tenant
from campaign_model.testing.clock import FrozenClock
from campaign_model.testing.sample_campaigns import Tenant

CONTACTS = (40, 5)
"""The number of contacts of the tests' tenant, and that of the other tenant."""

_HERE = Path(__file__).parent
_RUN_FIRST = {"test_schema", "test_session"}
"""Modules that run first: what they find wrong makes tests of other modules fail, too."""

_USAGE = (
    "pytest -p campaign_model.testing.plugin --pyargs campaign_model.testing.contract "
    "--campaign-model-url URL"
)
_ENGINE_FIXTURES = {"postgresql", "sqlite"}
"""Empty fixtures that mark tests: a test that uses one of them runs on that engine only."""

_WRITING_FIXTURE = "tenants"
"""Every test that writes uses this fixture, directly or through another fixture."""


class LeftoverRowsWarning(UserWarning):
    """The contract tests could not delete the rows that they inserted."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the contract tests that cannot run, and run those of ``_RUN_FIRST`` first.

    Tests of the other engine cannot run. With ``--campaign-model-read-only``, tests that write
    cannot run either. The fixtures of a test show its engine and whether it writes. Tests of a
    service that run in the same session are neither deselected nor moved behind contract tests.
    """
    # 1. Find the fixtures that cannot be used.
    url = config.getoption("--campaign-model-url", None)
    unusable = _ENGINE_FIXTURES - {url.get_backend_name()} if url else set()
    if config.getoption("--campaign-model-read-only", default=False):
        unusable.add(_WRITING_FIXTURE)
    # 2. Sort the tests into those that cannot run, those that run first, and the others.
    deselected: list[pytest.Item] = []
    first: list[pytest.Item] = []
    others: list[pytest.Item] = []
    for item in items:
        is_contract_test = item.path.parent == _HERE
        if is_contract_test and unusable.intersection(getattr(item, "fixturenames", ())):
            deselected.append(item)
        elif is_contract_test and item.path.stem not in _RUN_FIRST:
            others.append(item)
        else:
            first.append(item)
    items[:] = first + others
    config.hook.pytest_deselected(items=deselected)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the test's docstring to the report of a failure."""
    report = yield
    if report.failed and isinstance(item, pytest.Function):
        report.sections.append(("What this means", inspect.getdoc(item.obj) or ""))
    return report


@pytest.fixture(scope="session")
def postgresql() -> None:
    """Do nothing. A test that uses this fixture runs on PostgreSQL only."""


@pytest.fixture(scope="session")
def sqlite() -> None:
    """Do nothing. A test that uses this fixture runs on SQLite only."""


@pytest.fixture(scope="session")
def host(pytestconfig: pytest.Config) -> HostTables:
    """Return the names of the service's tables."""
    names: HostTables = pytestconfig.hook.pytest_campaign_model_host_tables()
    return names


@pytest.fixture(scope="session")
def engine(pytestconfig: pytest.Config) -> Iterator[sa.Engine]:
    """Return the service's engine. End the run if no connection to the database is possible."""
    url = pytestconfig.getoption("--campaign-model-url", None)
    if url is None:
        pytest.exit(f"the store contract needs a database: {_USAGE}", pytest.ExitCode.USAGE_ERROR)
    reads_file_only = (
        pytestconfig.getoption("--campaign-model-read-only") and url.get_backend_name() == "sqlite"
    )
    try:
        # The store's way to prepare an SQLite engine writes into the file (PRAGMA journal_mode).
        make_engine = (
            sa.create_engine if reads_file_only else pytestconfig.hook.pytest_campaign_model_engine
        )
        engine: sa.Engine = make_engine(url=url)
        with engine.connect():
            pass
    except (sa.exc.SQLAlchemyError, ModuleNotFoundError) as error:
        pytest.exit(
            f"the database of the store contract cannot be reached: {error}",
            pytest.ExitCode.USAGE_ERROR,
        )
    if engine.dialect.name == "sqlite" and engine.url.database in {None, "", ":memory:"}:
        pytest.exit(
            "the store contract needs a database that several connections share; name a file",
            pytest.ExitCode.USAGE_ERROR,
        )
    yield engine
    engine.dispose()


@pytest.fixture
def reader(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Return a read-only connection with one snapshot and a statement timeout."""
    if engine.dialect.name == "postgresql":
        with engine.connect() as plain:
            connection = plain.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )
            connection.exec_driver_sql("SET LOCAL statement_timeout = '30s'")
            yield connection
        return
    # On an engine that is prepared for the store, every transaction locks the file for writing.
    unprepared = sa.create_engine(engine.url)
    with unprepared.connect() as connection:
        connection.exec_driver_sql("PRAGMA query_only = ON")
        yield connection
    unprepared.dispose()


@pytest.fixture(scope="session")
def tenants(
    pytestconfig: pytest.Config, engine: sa.Engine, host: HostTables
) -> Iterator[tuple[Tenant, Tenant]]:
    """Insert two tenants with contacts. Delete their rows at the end of the run."""
    make_rows = pytestconfig.hook.pytest_campaign_model_host_rows
    try:
        with engine.begin() as connection:
            host_rows = [
                make_rows(connection=connection, host=host, contacts=number) for number in CONTACTS
            ]
    except sa.exc.SQLAlchemyError as error:
        pytest.exit(_explain_failed_insert(engine, host, error), pytest.ExitCode.USAGE_ERROR)
    first, second = (
        Tenant(engine, tenant_id, _first_of(contact_ids), host)
        for tenant_id, contact_ids in host_rows
    )
    yield first, second
    _remove_rows(pytestconfig, engine, host, host_rows)


@pytest.fixture
def tenant(tenants: tuple[Tenant, Tenant]) -> Tenant:
    """Return the tenant whose campaigns the tests make."""
    return tenants[0]


@pytest.fixture
def clock() -> FrozenClock:
    """Return a clock that stands still at the present moment.

    With it, the rows that tests write have plausible times while they are in the database.
    """
    return FrozenClock(datetime.now(UTC))


@pytest.fixture
def other_tenant(tenants: tuple[Tenant, Tenant]) -> Tenant:
    """Return the second tenant, which must not see or change rows of the first."""
    return tenants[1]


def _first_of(ids: Sequence[UUID]) -> Any:
    """Return the function ``Tenant.contacts``: it returns the first ids, and inserts nothing."""
    return lambda number: [*ids][:number]


def _explain_failed_insert(engine: sa.Engine, host: HostTables, error: Exception) -> str:
    """Return the message for a developer in whose tables the contract cannot insert rows.

    By default, the contract inserts a tenant with an id and a name, and contacts with an id and a
    tenant. The message shows the hook to write instead, and names the tables and columns that do
    not fit this default.
    """
    lines = [
        "the store contract cannot make rows in your tables; make them in your conftest.py:",
        "",
        "    def pytest_campaign_model_host_rows(connection, host, contacts):",
        "        ...  # INSERT a tenant, and this number of contacts of the tenant",
        "        return tenant_id, contact_ids",
        "",
    ]
    inserted_columns = {host.tenants: {"id", "name"}, host.contacts: {"id", "tenant_id"}}
    inspector = sa.inspect(engine)
    present = set(inspector.get_table_names())
    for table, inserted in inserted_columns.items():
        if table not in present:
            lines.append(
                f"There is no table {table}: name your table with "
                "pytest_campaign_model_host_tables."
            )
            continue
        columns = {column["name"]: column for column in inspector.get_columns(table)}
        required = {
            name
            for name, column in columns.items()
            if not column["nullable"] and column["default"] is None
        }
        lines += [f"{table} has no column {name}." for name in sorted(inserted - columns.keys())]
        lines += [f"{table}.{name} needs a value." for name in sorted(required - inserted)]
    return "\n".join(
        [*lines, f"The error of the database: {getattr(error, 'orig', None) or error}"]
    )


def _remove_rows(
    config: pytest.Config,
    engine: sa.Engine,
    host: HostTables,
    host_rows: Sequence[tuple[UUID, Sequence[UUID]]],
) -> None:
    """Delete all rows of the two tenants. If that fails, warn and print the SQL to run."""
    remove_host_rows = config.hook.pytest_campaign_model_remove_host_rows
    tables = [*reversed(metadata.sorted_tables)]
    try:
        with engine.begin() as connection:
            for tenant_id, contact_ids in host_rows:
                choose_tenant(connection, tenant_id)
                with deleting(connection, tenant_id):
                    for table in tables:
                        connection.execute(sa.delete(table).where(table.c.tenant_id == tenant_id))
                remove_host_rows(
                    connection=connection, host=host, tenant_id=tenant_id, contact_ids=contact_ids
                )
    except sa.exc.SQLAlchemyError as error:
        ids = ", ".join(f"'{tenant_id.hex}'" for tenant_id, _ in host_rows)
        deletes = "\n".join(
            f"DELETE FROM {table.name} WHERE tenant_id IN ({ids});"  # noqa: S608 - text for people
            for table in tables
        )
        warnings.warn(
            LeftoverRowsWarning(
                "the rows of the store contract are still in the database: deleting them failed "
                f"({getattr(error, 'orig', None) or error}). As the tables' owner, run\n"
                f"{deletes}\nand delete your own rows of these two tenants."
            ),
            stacklevel=1,
        )
