from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from campaign_model import db
from campaign_model.testing.sample_campaigns import Tenant
from support import (
    adoption,
    node,
    servers,
    strategies,  # noqa: F401 - sets the profile of Hypothesis
)
from support.given_server import GivenServer
from support.paths import TESTS
from support.tenants import drop_checks, new_tenant

pytest_plugins = ["support.seeds", "campaign_model.testing.plugin"]

DIRECTORY = pytest.StashKey[Path]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--whole-contract",
        action="store_true",
        help="run the whole store contract with each wrong store, not only the named tests",
    )


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        config.stash[DIRECTORY] = Path(config.workerinput["servers"])
    else:
        stack = ExitStack()
        config.stash[DIRECTORY] = stack.enter_context(servers.open_directory())
        config.add_cleanup(stack.close)


NOT_MEASURED = {"kit/test_documents.py", "kit/test_values.py", "domain/test_money.py"}
"""Modules that run the same lines many times. Other tests run these lines too."""


LONG_ON_SQLITE = {
    *("store/test_every_status.py", "store/test_model.py", "store/test_recount.py"),
    *("worker/test_database_faults.py", "worker/test_death.py", "worker/test_stop.py"),
}
"""Modules that try very many cases. Without the long tests, they run on PostgreSQL only."""


@pytest.hookimpl(tryfirst=True)  # Before pytest applies the option -m.
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark tests as ``long`` because of their engine, and choose the tests that measure coverage.

    With the URL of a server, deselect all tests that do not run there.
    """
    if config.getoption("--campaign-model-url"):
        deselected = {item for item in items if _engines(item) != {servers.ENGINES[-1]}}
        config.hook.pytest_deselected(items=[*deselected])
        items[:] = [item for item in items if item not in deselected]
    functions_on_sqlite = {_function(item) for item in items if "sqlite" in _engines(item)}
    for item in items:
        engines = _engines(item)
        # Measuring takes a quarter of the time. Servers measure only what SQLite does not run.
        is_repetition = engines - {"sqlite"} and _function(item) in functions_on_sqlite
        on_older_server = not engines.isdisjoint(adoption.POSTGRESQL[:-1])
        if on_older_server or (engines == {"sqlite"} and _file(item) in LONG_ON_SQLITE):
            item.add_marker(pytest.mark.long)
        if is_repetition or on_older_server or _file(item) in NOT_MEASURED:
            item.add_marker(pytest.mark.no_cover)
    # A long test comes first: at the end, the other processes would have nothing to do.
    items.sort(key=lambda item: _file(item) != "store/test_mixed_load.py")


def _file(item: pytest.Item) -> str:
    """Return the path of the test's file below ``tests``."""
    return item.path.relative_to(TESTS).as_posix() if item.path.is_relative_to(TESTS) else ""


def _function(item: pytest.Item) -> str:
    """Return the test's id without parameters."""
    return item.nodeid.partition("[")[0]


def _engines(item: pytest.Item) -> set[str]:
    """Return the engines that are parameters of the test."""
    callspec = getattr(item, "callspec", None)
    parameters = {} if callspec is None else callspec.params
    return {parameters[name] for name in ("engine_name", "legacies") if name in parameters}


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput["servers"] = str(node.config.stash[DIRECTORY])


def pytest_report_header(config: pytest.Config) -> str:
    url = config.getoption("--campaign-model-url")
    if url is not None:
        return f"campaign_model: {servers.ENGINES[-1]} is {GivenServer(url).describe()} at that URL"
    return servers.describe()


@pytest.fixture(scope="session")
def given_server(pytestconfig: pytest.Config) -> Iterator[GivenServer | None]:
    """Return the server of ``--campaign-model-url``, if there is one."""
    url = pytestconfig.getoption("--campaign-model-url")
    given = None if url is None else GivenServer(url)
    yield given
    if given is not None:
        given.close()


@pytest.fixture(scope="session")
def databases(pytestconfig: pytest.Config, given_server: GivenServer | None) -> servers.Databases:
    """Make databases on any engine. Tests use ``new_database``, which also drops them."""
    return servers.Databases(pytestconfig.stash[DIRECTORY], given=given_server)


@pytest.fixture(scope="session")
def build_schema(given_server: GivenServer | None) -> Callable[[str], None]:
    """``build_schema(url)`` builds the schema and host tables in an empty database."""

    def build(url: str) -> None:
        if given_server is not None:
            given_server.build_schema(url)
            return
        engine = sa.create_engine(url)
        db.init(engine, with_host_tables=True)
        engine.dispose()

    return build


@pytest.fixture(scope="session", params=servers.available())
def engine_name(request: pytest.FixtureRequest) -> str:
    """Run the test on each engine."""
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def database_url(databases: servers.Databases, engine_name: str) -> str:
    """Make an empty database for all tests of this process on one engine."""
    return databases.create(engine_name)


@pytest.fixture
def new_database(databases: servers.Databases) -> Iterator[Callable[..., str]]:
    """``new_database(engine_name, template=None)`` makes a database for one test."""
    urls: list[str] = []

    def create(engine_name: str, template: str | None = None) -> str:
        urls.append(databases.create(engine_name, template))
        return urls[-1]

    yield create
    for url in urls:
        databases.drop(url)


@pytest.fixture(scope="session")
def template_url(
    databases: servers.Databases, build_schema: Callable[[str], None]
) -> Callable[[str], str]:
    """``template_url(engine_name)``: a database with the schema and host tables, to copy."""

    @cache
    def create(engine_name: str) -> str:
        url = databases.create(engine_name)
        build_schema(url)
        return url

    return create


@pytest.fixture
def schema(
    new_database: Callable[..., str], template_url: Callable[[str], str]
) -> Callable[[str], str]:
    """``schema(engine_name)`` makes a database with the schema and host tables for one test."""
    return lambda engine_name: new_database(engine_name, template_url(engine_name))


@pytest.fixture(scope="session")
def engine(build_schema: Callable[[str], None], database_url: str) -> Iterator[sa.Engine]:
    """Make an engine on a database with the schema and minimal host tables."""
    build_schema(database_url)
    engine = db.prepare_engine(sa.create_engine(database_url, pool_size=20))
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """Return the directory of the JavaScript tools. Their programs are in its ``.bin``."""
    return node.installed()


@pytest.fixture
def tenant(engine: sa.Engine) -> Tenant:
    """Make a tenant for one test."""
    return new_tenant(engine)


@pytest.fixture(scope="session")
def unchecked_engine(databases: servers.Databases, engine_name: str) -> Iterator[sa.Engine]:
    """Make an engine on a database like that of ``engine``, but without CHECKs."""
    engine = sa.create_engine(databases.create(engine_name), pool_size=20)
    db.init(engine, with_host_tables=True)
    drop_checks(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def unchecked_tenant(unchecked_engine: sa.Engine) -> Tenant:
    """Make a tenant of a database without CHECKs, as ``db adopt`` leaves it to ``db enforce``."""
    return new_tenant(unchecked_engine)


@pytest.fixture(scope="session", params=adoption.POSTGRESQL)
def legacies(
    request: pytest.FixtureRequest, databases: servers.Databases
) -> adoption.LegacyDatabases:
    """Legacy databases to adopt, on each PostgreSQL in turn."""
    return adoption.LegacyDatabases(databases, request.param)


@pytest.fixture(scope="session")
def newest(databases: servers.Databases) -> adoption.LegacyDatabases:
    """Legacy databases on the newest PostgreSQL, for what no version of it does differently."""
    return adoption.LegacyDatabases(databases, adoption.POSTGRESQL[-1])


@pytest.fixture(scope="session")
def oldest(databases: servers.Databases) -> adoption.LegacyDatabases:
    """Legacy databases on the oldest PostgreSQL."""
    return adoption.LegacyDatabases(databases, adoption.POSTGRESQL[0])
