"""What the contract's tests share: the service's engine, two tenants on it, and a reader."""

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
from campaign_model.store.tables import metadata
from campaign_model.testing.clock import FrozenClock
from campaign_model.testing.sample_campaigns import Tenant

CONTACTS = (40, 5)
"""How many contacts the tenant of the tests has, and the stranger beside it."""

_HERE = Path(__file__).parent
_FIRST = {"test_schema", "test_session"}
_STATEMENT_TIMEOUT = "30s"
_USAGE = (
    "pytest -p campaign_model.testing.plugin --pyargs campaign_model.testing.contract "
    "--campaign-model-url URL"
)
_ENGINES = {"postgresql", "sqlite"}
"""A test that asks for the fixture of one is for that one only."""


class LeftBehindWarning(UserWarning):
    """Rows that the contract made and could not remove."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is for the other engine and, where nothing may be written, what writes.

    What other failures follow from comes first.
    """
    url = config.getoption("--campaign-model-url", None)
    excluded = _ENGINES - {url.get_backend_name()} if url else set()
    if config.getoption("--campaign-model-read-only", default=False):
        excluded.add("tenants")
    left_out = [
        item
        for item in items
        if item.path.parent == _HERE and excluded.intersection(getattr(item, "fixturenames", ()))
    ]
    items[:] = sorted(
        (item for item in items if item not in left_out),
        key=lambda item: item.path.parent == _HERE and item.path.stem not in _FIRST,
    )
    config.hook.pytest_deselected(items=left_out)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Tell with every failure which promise is broken."""
    report = yield
    if report.failed and isinstance(item, pytest.Function):
        report.sections.append(("What this means", inspect.getdoc(item.obj) or ""))
    return report


@pytest.fixture(scope="session")
def postgresql() -> None:
    """Asked for by tests of what only PostgreSQL has."""


@pytest.fixture(scope="session")
def sqlite() -> None:
    """Asked for by tests of what only SQLite has."""


@pytest.fixture(scope="session")
def host(pytestconfig: pytest.Config) -> HostTables:
    """The names of the service's tables."""
    names: HostTables = pytestconfig.hook.pytest_campaign_model_host_tables()
    return names


@pytest.fixture(scope="session")
def engine(pytestconfig: pytest.Config) -> Iterator[sa.Engine]:
    """The service's engine, on a database that answers."""
    url = pytestconfig.getoption("--campaign-model-url", None)
    if url is None:
        pytest.exit(f"the store contract needs a database: {_USAGE}", pytest.ExitCode.USAGE_ERROR)
    reads_file = (
        pytestconfig.getoption("--campaign-model-read-only") and url.get_backend_name() == "sqlite"
    )
    try:
        # To prepare an engine for the store is to write into the file.
        make = sa.create_engine if reads_file else pytestconfig.hook.pytest_campaign_model_engine
        made: sa.Engine = make(url=url)
        with made.connect():
            pass
    except (sa.exc.SQLAlchemyError, ModuleNotFoundError) as error:
        pytest.exit(
            f"the database of the store contract cannot be reached: {error}",
            pytest.ExitCode.USAGE_ERROR,
        )
    if made.dialect.name == "sqlite" and made.url.database in {None, "", ":memory:"}:
        pytest.exit(
            "the store contract needs a database that several connections share; name a file",
            pytest.ExitCode.USAGE_ERROR,
        )
    yield made
    made.dispose()


@pytest.fixture
def reader(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A connection that cannot write, sees one moment, and ends statements that take too long."""
    if engine.dialect.name == "postgresql":
        with engine.connect() as plain:
            connection = plain.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )
            connection.exec_driver_sql(f"SET LOCAL statement_timeout = '{_STATEMENT_TIMEOUT}'")
            yield connection
        return
    # A prepared engine would begin by locking the file for writing.
    unprepared = sa.create_engine(engine.url)
    with unprepared.connect() as connection:
        connection.exec_driver_sql("PRAGMA query_only = ON")
        yield connection
    unprepared.dispose()


@pytest.fixture(scope="session")
def tenants(
    pytestconfig: pytest.Config, engine: sa.Engine, host: HostTables
) -> Iterator[tuple[Tenant, Tenant]]:
    """Two tenants, whose rows are removed at the end."""
    make_rows = pytestconfig.hook.pytest_campaign_model_host_rows
    try:
        with engine.begin() as connection:
            made = [
                make_rows(connection=connection, host=host, contacts=number) for number in CONTACTS
            ]
    except sa.exc.SQLAlchemyError as error:
        pytest.exit(_no_host_rows(engine, host, error), pytest.ExitCode.USAGE_ERROR)
    first, second = (
        Tenant(engine, tenant_id, _first_of(contact_ids), host) for tenant_id, contact_ids in made
    )
    yield first, second
    _remove(pytestconfig, engine, host, made)


@pytest.fixture
def tenant(tenants: tuple[Tenant, Tenant]) -> Tenant:
    """The tenant of the test."""
    return tenants[0]


@pytest.fixture
def clock() -> FrozenClock:
    """Stands still at what time it is: what the tests leave for a while looks like anybody's."""
    return FrozenClock(datetime.now(UTC))


@pytest.fixture
def stranger(tenants: tuple[Tenant, Tenant]) -> Tenant:
    """Another tenant, who is to see and to change nothing of the first."""
    return tenants[1]


def _first_of(ids: Sequence[UUID]) -> Any:
    return lambda number: [*ids][:number]


def _no_host_rows(engine: sa.Engine, host: HostTables, error: Exception) -> str:
    """What to tell a service whose tables are not the minimal ones."""
    lines = [
        "the store contract cannot make rows in your tables; make them yourself, in conftest.py:",
        "",
        "    def pytest_campaign_model_host_rows(connection, host, contacts):",
        "        ...  # INSERT a tenant, and so many contacts of its own",
        "        return tenant_id, contact_ids",
        "",
    ]
    known = {host.tenants: {"id", "name"}, host.contacts: {"id", "tenant_id"}}
    inspector = sa.inspect(engine)
    present = set(inspector.get_table_names())
    for table, filled in known.items():
        if table not in present:
            lines.append(
                f"There is no table {table}: say with pytest_campaign_model_host_tables what yours "
                "is called."
            )
            continue
        columns = {column["name"]: column for column in inspector.get_columns(table)}
        needed = {
            name
            for name, column in columns.items()
            if not column["nullable"] and column["default"] is None
        }
        lines += [f"{table} has no column {name}." for name in sorted(filled - columns.keys())]
        lines += [f"{table}.{name} has to be filled." for name in sorted(needed - filled)]
    return "\n".join([*lines, f"The database said: {getattr(error, 'orig', None) or error}"])


def _remove(
    config: pytest.Config,
    engine: sa.Engine,
    host: HostTables,
    made: Sequence[tuple[UUID, Sequence[UUID]]],
) -> None:
    remove_rows = config.hook.pytest_campaign_model_remove_host_rows
    tables = [*reversed(metadata.sorted_tables)]
    try:
        with engine.begin() as connection:
            for tenant_id, contact_ids in made:
                for table in tables:
                    connection.execute(sa.delete(table).where(table.c.tenant_id == tenant_id))
                remove_rows(
                    connection=connection, host=host, tenant_id=tenant_id, contact_ids=contact_ids
                )
    except sa.exc.SQLAlchemyError as error:
        ids = ", ".join(f"'{tenant_id}'" for tenant_id, _ in made)
        deletes = "\n".join(
            f"DELETE FROM {table.name} WHERE tenant_id IN ({ids});"  # noqa: S608 - to be read
            for table in tables
        )
        warnings.warn(
            LeftBehindWarning(
                "the contract's own rows are still in the database, because it refused to delete "
                f"them ({getattr(error, 'orig', None) or error}). As the tables' owner, run\n"
                f"{deletes}\nand remove your own rows of these two tenants."
            ),
            stacklevel=1,
        )
