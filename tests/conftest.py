from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from campaign_model import db
from support import (
    adoption,
    node,
    servers,
    strategies,  # noqa: F401 - how Hypothesis runs here
)
from support.paths import TESTS
from support.world import World

DIRECTORY = pytest.StashKey[Path]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--whole-contract",
        action="store_true",
        help="run the whole store contract with each wrong store",
    )


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        config.stash[DIRECTORY] = Path(config.workerinput["servers"])
    else:
        config.stash[DIRECTORY], close = servers.open_directory()
        config.add_cleanup(close)


UNMEASURED = {"kit/test_documents.py", "kit/test_values.py", "domain/test_money.py"}
"""They run lines again and again that others run too."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = {item for item in items if _on_older(item) and item.get_closest_marker("newest")}
    config.hook.pytest_deselected(items=[*left_out])
    items[:] = [item for item in items if item not in left_out]
    on_sqlite = {_function(item) for item in items if "sqlite" in _engines(item)}
    for item in items:
        # Measuring takes a quarter of the time: on a server only of what SQLite does not run.
        again = _engines(item) - {"sqlite"} and _function(item) in on_sqlite
        if again or _on_older(item) or _file(item) in UNMEASURED:
            item.add_marker(pytest.mark.no_cover)
    # A minute at the end would be a minute for one process alone.
    items.sort(key=lambda item: _file(item) != "store/test_mixed_load.py")


def _file(item: pytest.Item) -> str:
    """Its path below ``tests``."""
    return item.path.relative_to(TESTS).as_posix() if item.path.is_relative_to(TESTS) else ""


def _function(item: pytest.Item) -> str:
    """Its name without parameters."""
    return item.nodeid.partition("[")[0]


def _engines(item: pytest.Item) -> set[str]:
    """What it runs on, if it says so."""
    parameters = getattr(item, "callspec", None)
    named = {} if parameters is None else parameters.params
    return {named[name] for name in ("engine_name", "legacies") if name in named}


def _on_older(item: pytest.Item) -> bool:
    """Whether it runs on a PostgreSQL that is not the newest."""
    return not _engines(item).isdisjoint(adoption.POSTGRESQL[:-1])


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput["servers"] = str(node.config.stash[DIRECTORY])


def pytest_report_header() -> str:
    return servers.describe()


@pytest.fixture(scope="session")
def databases(pytestconfig: pytest.Config) -> servers.Databases:
    """Makes databases on any engine; those that a test makes for itself, ``new_database`` drops."""
    return servers.Databases(pytestconfig.stash[DIRECTORY])


@pytest.fixture(scope="session", params=servers.available())
def engine_name(request: pytest.FixtureRequest) -> str:
    """Each engine in turn."""
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def database_url(databases: servers.Databases, engine_name: str) -> str:
    """One database that begins empty, for all tests of one process on that engine."""
    return databases.create(engine_name)


@pytest.fixture
def new_database(databases: servers.Databases) -> Iterator[Callable[..., str]]:
    """``new_database(engine_name, template=None)``: a test's own, dropped at its end."""
    urls: list[str] = []

    def create(engine_name: str, template: str | None = None) -> str:
        urls.append(databases.create(engine_name, template))
        return urls[-1]

    yield create
    for url in urls:
        databases.drop(url)


@pytest.fixture(scope="session")
def template_url(databases: servers.Databases) -> Callable[[str], str]:
    """``template_url(engine_name)``: a database with our schema and host tables, to copy."""

    @cache
    def create(engine_name: str) -> str:
        url = databases.create(engine_name)
        engine = sa.create_engine(url)
        db.init(engine, with_host_tables=True)
        engine.dispose()
        return url

    return create


@pytest.fixture
def schema(
    new_database: Callable[..., str], template_url: Callable[[str], str]
) -> Callable[[str], str]:
    """``schema(engine_name)``: a test's own database with our schema and host tables."""
    return lambda engine_name: new_database(engine_name, template_url(engine_name))


@pytest.fixture(scope="session")
def engine(database_url: str) -> Iterator[sa.Engine]:
    """An engine on a database with our schema and minimal host tables."""
    engine = sa.create_engine(database_url, pool_size=20)
    db.init(engine, with_host_tables=True)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """Where the JavaScript tools are installed; their programs are in its ``.bin``."""
    return node.installed()


@pytest.fixture
def world(engine: sa.Engine) -> World:
    """A tenant of its own for one test."""
    return World(engine)


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
