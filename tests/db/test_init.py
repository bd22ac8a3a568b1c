"""Building the schema with ``db.init``: what it creates, refuses, and leaves alone."""

from __future__ import annotations

import ast
import asyncio
import re
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, closing, contextmanager
from datetime import timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID, uuid4

import attrs
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from campaign_model import db, presets
from campaign_model.campaign import Assigned, Campaign
from campaign_model.db import engine as db_engine
from campaign_model.db import schema
from campaign_model.errors import NotFound
from campaign_model.lifecycle import Action, ReviewTally, Status
from campaign_model.store import CampaignStore, transact
from campaign_model.store.connection import sqlite_in_transaction
from campaign_model.store.tables import HostTables, metadata
from campaign_model.store.types import Uuid, database_clock
from campaign_model.testing.sample_campaigns import STEPS, Tenant
from support import servers
from support.tenants import generate_all, legacy_columns, new_owner

LIBRARY_TABLES = set(metadata.tables)
HOST = HostTables()
OTHER_NAMES = HostTables('Tenants x"', "50% @owners@", "user")
VERSIONS = Path(db.__file__).parent / "migrations" / "versions"

Catalog = dict[tuple[str, ...], Any]
NewDatabase = Callable[..., str]


@contextmanager
def opened(url: str) -> Iterator[sa.Engine]:
    engine = db.prepare_engine(sa.create_engine(url))
    try:
        yield engine
    finally:
        engine.dispose()


def execute(engine: sa.Engine, *statements: str) -> list[tuple[Any, ...]]:
    with engine.begin() as connection:
        for statement in statements:
            result = connection.exec_driver_sql(statement)
        return [tuple(row) for row in result] if result.returns_rows else []


# The catalog of a database: (kind, table, name) -> definition.

POSTGRESQL_CATALOG = """
    WITH mine AS (SELECT * FROM pg_class WHERE relnamespace = current_schema()::regnamespace)
    SELECT 'relation', relname, relkind::text,
        concat_ws(' ', relpersistence, reloptions::text, relrowsecurity) FROM mine
    UNION ALL
    SELECT 'column', relname, attname, concat_ws(' ', attnum, format_type(atttypid, atttypmod),
        attnotnull, pg_get_expr(adbin, adrelid), attidentity, attgenerated, attcollation)
        FROM mine JOIN pg_attribute ON attrelid = mine.oid AND attnum > 0
        LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum WHERE relkind = 'r'
    UNION ALL
    SELECT 'constraint', relname, conname, concat_ws(' ', pg_get_constraintdef(c.oid), convalidated)
        FROM mine JOIN pg_constraint c ON conrelid = mine.oid WHERE contype <> 'n'
    UNION ALL
    SELECT 'index', t.relname, i.relname, concat_ws(' ', pg_get_indexdef(i.oid), indisvalid)
        FROM pg_index JOIN mine t ON t.oid = indrelid JOIN mine i ON i.oid = indexrelid
    UNION ALL
    SELECT 'trigger', relname, tgname, pg_get_triggerdef(t.oid)
        FROM mine JOIN pg_trigger t ON tgrelid = mine.oid WHERE NOT tgisinternal
    UNION ALL
    SELECT 'function', '', proname, '' FROM pg_proc
        WHERE pronamespace = current_schema()::regnamespace
"""


def split_create_table(create_table: str) -> tuple[str, ...]:
    """Return the columns of a CREATE TABLE in order, then its constraints by name."""
    body = create_table[create_table.index("(") + 1 : create_table.rindex(")")]
    members, depth = [""], 0
    for part in re.findall(r"'[^']*'|\"[^\"]*\"|\s+|.", body):
        depth += {"(": 1, ")": -1}.get(part, 0)
        if part == "," and not depth:
            members.append("")
        else:
            members[-1] += part if part.strip() else " "
    stripped = [member.strip() for member in members]
    columns = [member for member in stripped if not member.startswith("CONSTRAINT ")]
    return (*columns, *sorted(set(stripped) - set(columns)))


def read_catalog(engine: sa.Engine) -> Catalog:
    if engine.dialect.name == "postgresql":
        return {row[:3]: row[3] for row in execute(engine, POSTGRESQL_CATALOG)}
    rows = execute(engine, "SELECT type, tbl_name, name, sql FROM sqlite_master")
    return {
        (kind, table, name): split_create_table(sql)
        if kind == "table"
        else sql and " ".join(sql.split())
        for kind, table, name, sql in rows
    }


def test_read_catalog_tells_different_tables_apart(
    engine_name: str, new_database: NewDatabase
) -> None:
    """The comparisons below depend on it."""
    variants = (
        "CREATE TABLE t (a INTEGER, b TEXT)",
        "CREATE TABLE t (a INTEGER NOT NULL, b TEXT)",
        "CREATE TABLE t (a INTEGER DEFAULT 1, b TEXT)",
        "CREATE TABLE t (a BIGINT, b TEXT)",
        "CREATE TABLE t (b TEXT, a INTEGER)",
        "CREATE TABLE t (a INTEGER, b TEXT, CONSTRAINT c CHECK (a > 0))",
        "CREATE TABLE t (a INTEGER, b TEXT, CONSTRAINT c CHECK (a > 1))",
        "CREATE TABLE t (a INTEGER, b TEXT, CONSTRAINT t_c UNIQUE (a))",
        "CREATE TABLE t (a INTEGER, b TEXT, CONSTRAINT t_c UNIQUE (a, b))",
        "CREATE TABLE t (a INTEGER, b TEXT); CREATE INDEX t_i ON t (a)",
        "CREATE TABLE t (a INTEGER, b TEXT); CREATE INDEX t_i ON t (a) WHERE a > 0",
    )
    with opened(new_database(engine_name)) as engine:
        assert read_catalog(engine) == {}
        for number, variant in enumerate(variants):
            named = re.sub(r"\bt(?=[ _])", f"t{number}z", variant)
            execute(engine, *named.split(";"))
        catalogs = [
            {
                str(key).replace(name, "t"): str(value).replace(name, "t")
                for key, value in read_catalog(engine).items()
                if name in str(key)
            }
            for name in (f"t{number}z" for number in range(len(variants)))
        ]
    assert all(catalogs.count(catalog) == 1 for catalog in catalogs)


# What init creates.


def test_init_builds_the_schema_and_a_second_init_changes_nothing(
    engine_name: str, new_database: NewDatabase
) -> None:
    with opened(new_database(engine_name)) as engine:
        first = db.init(engine, with_host_tables=True)
        assert {len(names) for names in attrs.astuple(first)} == {3, 0}
        assert first.inserted == tuple(template.name for template in presets.load())
        built = read_catalog(engine)
        rows = execute(engine, "SELECT * FROM campaign_templates ORDER BY id")
        assert len(rows) == 3
        for with_host_tables in (True, False):
            again = db.init(engine, with_host_tables=with_host_tables)
            assert again == db.SyncReport((), (), first.inserted, ())
            assert read_catalog(engine) == built
            assert execute(engine, "SELECT * FROM campaign_templates ORDER BY id") == rows


def test_init_creates_host_tables_only_on_request(
    engine_name: str, new_database: NewDatabase
) -> None:
    with opened(new_database(engine_name)) as engine:
        with engine.begin() as connection:
            db.MinimalHost(HOST).create_referred(connection)
        before = read_catalog(engine)
        db.init(engine)
        after = read_catalog(engine)
        new_names = {table for _, table, _ in after} - {table for _, table, _ in before}
        tables = set(sa.inspect(engine).get_table_names())
        assert new_names & tables == {*LIBRARY_TABLES, db.VERSION_TABLE}
        assert after.items() >= before.items()


def test_the_migrations_build_the_same_schema_as_the_tables_and_checks(
    engine_name: str, new_database: NewDatabase
) -> None:
    for host in (HOST, OTHER_NAMES):
        minimal = db.MinimalHost(host)
        with opened(new_database(engine_name)) as migrated:
            db.init(migrated, host=host, with_host_tables=True)
            built = {
                key: value
                for key, value in read_catalog(migrated).items()
                if not key[1].startswith(db.VERSION_TABLE)
            }
        with opened(new_database(engine_name)) as generated:
            with generated.begin() as connection:
                minimal.create_referred(connection)
            statements = schema.create_statements(generated.dialect.name, host)
            if engine_name != "sqlite":  # The driver's own percent signs are doubled.
                statements = tuple(statement.replace("%", "%%") for statement in statements)
            execute(generated, *statements)
            with generated.begin() as connection:
                minimal.create_referring(connection)
            expected = read_catalog(generated)
        assert built == expected
        assert {table for _, table, _ in built} >= LIBRARY_TABLES


@pytest.mark.parametrize("file", [*VERSIONS.glob("*.py")], ids=lambda file: file.stem)
def test_a_revision_imports_nothing_of_the_library(file: Path) -> None:
    tree = ast.parse(file.read_text())
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module or "."]
            if isinstance(node, ast.ImportFrom)
            else [alias.name for alias in node.names]
        )
    }
    assert imported <= {"__future__", "collections", "re", "sqlalchemy"}
    assert not re.search(r"import_module|__import__|campaign_model", file.read_text())


def test_init_does_not_change_the_hosts_own_alembic_version(
    engine_name: str, new_database: NewDatabase
) -> None:
    with opened(new_database(engine_name)) as engine:
        execute(
            engine,
            "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)",
            "INSERT INTO alembic_version VALUES ('abc')",
        )
        db.init(engine, with_host_tables=True)
        assert execute(engine, "SELECT * FROM alembic_version") == [("abc",)]
        assert execute(engine, f"SELECT * FROM {db.VERSION_TABLE}") == [("0001",)]  # noqa: S608


# Rules that a sharded database needs, and that keep the database from changing rows by itself.


def test_every_table_has_a_primary_key(engine: sa.Engine) -> None:
    inspector = sa.inspect(engine)
    keys = {
        table: inspector.get_pk_constraint(table)["constrained_columns"]
        for table in (*LIBRARY_TABLES, db.VERSION_TABLE)
    }
    assert all(keys.values()), keys


def test_every_foreign_key_contains_the_tenant(engine: sa.Engine) -> None:
    inspector = sa.inspect(engine)
    references = set()
    for table in LIBRARY_TABLES:
        for key in inspector.get_foreign_keys(table):
            pairs = dict(zip(key["constrained_columns"], key["referred_columns"], strict=True))
            if key["referred_table"] == HOST.tenants:
                assert pairs == {"tenant_id": "id"}
            else:
                assert pairs.pop("tenant_id") == "tenant_id", key
                assert set(pairs.values()) == {"id"}, key
            # No key cascades, sets values to NULL or is deferred.
            assert key["options"] == {}, key
            references.add((table, key["referred_table"]))
    assert references == {
        ("campaigns", "tenants"),
        ("campaign_erased_claims", "campaigns"),
        ("campaigns", "owners"),
        ("campaign_contacts", "campaigns"),
        ("campaign_contacts", "contacts"),
        ("campaign_history", "campaigns"),
        ("campaign_totals", "campaigns"),
        ("campaign_templates", "tenants"),
    }


def test_only_primary_keys_are_unique_across_tenants(engine: sa.Engine) -> None:
    inspector = sa.inspect(engine)
    for table in LIBRARY_TABLES:
        for constraint in inspector.get_unique_constraints(table):
            assert "tenant_id" in constraint["column_names"], constraint
        for index in inspector.get_indexes(table):
            assert not index["unique"] or "tenant_id" in index["column_names"], index
    assert len(inspector.get_unique_constraints("campaign_contacts")) == 2


def test_the_schema_has_no_triggers_functions_or_views(engine: sa.Engine) -> None:
    assert {kind for kind, _, _ in read_catalog(engine)}.isdisjoint({"trigger", "function", "view"})


# What init refuses. It then leaves no trace.


@pytest.mark.parametrize("present", [(), ("tenants",), ("owners", "contacts")], ids=len)
def test_init_names_missing_host_tables_and_creates_nothing(
    engine_name: str, new_database: NewDatabase, present: tuple[str, ...]
) -> None:
    with opened(new_database(engine_name)) as engine:
        for table in present:
            execute(engine, f"CREATE TABLE {table} (id INTEGER PRIMARY KEY)")
        before = read_catalog(engine)
        missing = {"tenants", "owners", "contacts"} - {*present}
        with pytest.raises(db.SetupError, match="HostTables") as caught:
            db.init(engine)
        message = re.search(r"no table ([^;]*);", str(caught.value))
        assert message is not None
        assert set(message[1].split(", ")) == missing
        assert read_catalog(engine) == before


@pytest.mark.parametrize("engine_name", servers.postgresql())
def test_a_server_that_quotes_all_names_shows_the_same_schema(
    engine_name: str, new_database: NewDatabase
) -> None:
    engine = sa.create_engine(
        new_database(engine_name), connect_args={"options": "-c quote_all_identifiers=on"}
    )
    db.init(engine, with_host_tables=True)
    assert db.verify(engine).shape == "current"
    assert db.install_row_security(engine) != ()
    assert db.install_row_security(engine) == ()
    assert db.read_row_security(engine).is_complete
    engine.dispose()


@pytest.mark.parametrize("engine_name", servers.postgresql())
def test_init_says_why_no_table_can_be_created(engine_name: str, new_database: NewDatabase) -> None:
    engine = sa.create_engine(new_database(engine_name))
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE ROLE newcomer LOGIN")
    nowhere = sa.create_engine(engine.url, connect_args={"options": "-c search_path=nowhere"})
    newcomer = sa.create_engine(engine.url.set(username="newcomer"))
    for unable, reason in (
        (nowhere, "the search_path names no schema that exists"),
        (newcomer, "GRANT CREATE ON SCHEMA public"),
    ):
        with pytest.raises(db.SetupError, match=reason):
            db.init(unable, with_host_tables=True)
        unable.dispose()
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP ROLE newcomer")
    engine.dispose()


@pytest.mark.parametrize("with_host_tables", [False, True], ids=["host's", "minimal"])
@pytest.mark.parametrize("foreign", ["campaigns", "campaign_totals"])
@pytest.mark.parametrize("engine_name", servers.postgresql())
def test_init_does_not_touch_foreign_tables_with_names_of_the_library(
    engine_name: str, new_database: NewDatabase, foreign: str, *, with_host_tables: bool
) -> None:
    with opened(new_database(engine_name)) as engine:
        execute(
            engine, f"CREATE TABLE {foreign} (id INTEGER PRIMARY KEY, lemlist_campaign_id TEXT)"
        )
        execute(engine, f"INSERT INTO {foreign} VALUES (1, 'cam_1')")  # noqa: S608
        if not with_host_tables:
            with engine.begin() as connection:
                db.MinimalHost(HOST).create_referred(connection)
        before = read_catalog(engine)
        with pytest.raises(db.SetupError, match=rf"already has {foreign}, .*changed nothing"):
            db.init(engine, with_host_tables=with_host_tables)
        assert read_catalog(engine) == before
        assert execute(engine, f"SELECT * FROM {foreign}") == [(1, "cam_1")]  # noqa: S608


def test_init_refuses_a_database_of_a_newer_library(
    engine_name: str, new_database: NewDatabase
) -> None:
    with opened(new_database(engine_name)) as engine:
        db.init(engine, with_host_tables=True)
        execute(engine, f"UPDATE {db.VERSION_TABLE} SET version_num = '9999'")  # noqa: S608
        with pytest.raises(db.SetupError, match="9999"):
            db.init(engine)


class InterruptionError(Exception):
    pass


def test_an_init_interrupted_at_any_statement_leaves_nothing(
    engine_name: str, new_database: NewDatabase
) -> None:
    with opened(new_database(engine_name)) as engine:
        statements_left = [0]

        def interrupt(_connection: object, _cursor: object, statement: str, *_: object) -> None:
            if statement.lstrip().startswith(("CREATE", "INSERT")):
                statements_left[0] -= 1
                if not statements_left[0]:
                    raise InterruptionError

        sa.event.listen(engine, "before_cursor_execute", interrupt)
        for number in range(1, 100):
            statements_left[0] = number
            try:
                db.init(engine, with_host_tables=True)
            except InterruptionError:
                assert read_catalog(engine) == {}, number
            else:
                break
        # The CREATEs of the library and of the host, the version and its table, and the presets.
        assert number > len(LIBRARY_TABLES) + 4 + 2 + 3
        assert set(sa.inspect(engine).get_table_names()) >= LIBRARY_TABLES


def run_at_once(jobs: Sequence[Callable[[], db.SyncReport]]) -> list[db.SyncReport]:
    barrier = threading.Barrier(len(jobs))

    def run(job: Callable[[], db.SyncReport]) -> db.SyncReport:
        barrier.wait()
        return job()

    with ThreadPoolExecutor(len(jobs)) as pool:
        return [*pool.map(run, jobs)]


def test_threads_that_init_one_database_at_once_build_it_once(
    engine_name: str, new_database: NewDatabase
) -> None:
    url = new_database(engine_name)

    def init() -> db.SyncReport:
        with opened(url) as engine:
            return db.init(engine, with_host_tables=True)

    reports = run_at_once([init] * 4)
    assert sorted(len(report.inserted) for report in reports) == [0, 0, 0, 3]
    assert sorted(len(report.unchanged) for report in reports) == [0, 3, 3, 3]


def test_threads_can_init_different_databases_at_once(new_database: NewDatabase) -> None:
    urls = [new_database("sqlite") for _ in range(4)]
    hosts = [HostTables(f"t{number}", f"o{number}", f"c{number}") for number in range(4)]

    def init(url: str, host: HostTables) -> db.SyncReport:
        with opened(url) as engine:
            return db.init(engine, host=host, with_host_tables=True)

    jobs = [partial(init, url, host) for url, host in zip(urls, hosts, strict=True)]
    assert [len(report.inserted) for report in run_at_once(jobs)] == [3] * 4
    for url, host in zip(urls, hosts, strict=True):
        with opened(url) as engine:
            tables = set(sa.inspect(engine).get_table_names())
            assert tables == {*LIBRARY_TABLES, *attrs.astuple(host), "messages", db.VERSION_TABLE}


PROCESS = """
import sys, sqlalchemy as sa
from campaign_model import db
for url in sys.argv[1:]:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    print("ready", flush=True)
    sys.stdin.readline()
    print(len(db.init(engine, with_host_tables=True).inserted), flush=True)
"""


def test_processes_that_init_one_database_at_once_build_it_once(new_database: NewDatabase) -> None:
    urls = [new_database(name) for name in servers.available()]

    def read_line(process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        return process.stdout.readline()

    with ExitStack() as stack:
        processes = []
        for _ in range(2):
            process = subprocess.Popen(
                [sys.executable, "-c", PROCESS, *urls],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                bufsize=1,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            processes.append(process)
        for url in urls:
            assert [read_line(process) for process in processes] == ["ready\n"] * 2
            for process in processes:
                assert process.stdin is not None
                process.stdin.write("go\n")
            assert sorted(read_line(process) for process in processes) == ["0\n", "3\n"], url
        assert [process.wait(timeout=60) for process in processes] == [0, 0]


def test_prepare_engine_configures_sqlite_and_refuses_other_databases(
    engine_name: str, new_database: NewDatabase
) -> None:
    engine = sa.create_engine(new_database(engine_name), poolclass=sa.NullPool)
    assert db.prepare_engine(db.prepare_engine(engine)) is engine
    with_options = db.prepare_engine(engine.execution_options(one=1))
    for prepared in (engine, with_options):
        with prepared.begin() as connection:
            assert connection.execute(sa.select(1)).scalar_one() == 1
            if engine.dialect.name == "sqlite":
                assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar_one() == 1
                assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one() >= 10_000
                assert connection.connection.driver_connection is not None
                assert connection.connection.driver_connection.in_transaction
    oracle = cast("sa.Engine", SimpleNamespace(dialect=SimpleNamespace(name="oracle")))
    with pytest.raises(ValueError, match="SQLite and PostgreSQL, not on oracle"):
        db.prepare_engine(oracle)
    with pytest.raises(ValueError, match="oracle"):
        db.init(oracle)


@pytest.mark.parametrize(
    "order",
    [[], ["original"], ["options"], ["original", "options"], ["options", "original"]],
    ids=lambda order: " ".join(order) or "neither",
)
def test_the_store_has_a_transaction_whichever_engine_of_a_pool_is_prepared(
    new_database: NewDatabase, order: list[str]
) -> None:
    original = sa.create_engine(new_database("sqlite"))
    engines = {"original": original, "options": original.execution_options(one=1)}
    for name in order:
        db.prepare_engine(engines[name])
    for name, engine in engines.items():
        with engine.begin() as connection:
            if name in order or order == ["original"]:
                CampaignStore(connection, uuid4())
                assert sqlite_in_transaction(connection)
            else:
                with pytest.raises(ValueError, match="not prepared"):
                    CampaignStore(connection, uuid4())
    original.dispose()


def test_engines_of_one_pool_say_once_that_the_file_is_locked(
    new_database: NewDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(db_engine, "_BUSY_MILLISECONDS", 0)
    original = sa.create_engine(new_database("sqlite"))
    options = db.prepare_engine(original.execution_options(one=1))
    db.prepare_engine(original)
    for engine in (original, options):
        with original.begin(), engine.connect() as connection:
            with pytest.raises(sa.exc.OperationalError) as raised:
                connection.begin()
            assert str(raised.value).count("the SQLite file is locked") == 1
    original.dispose()


def test_two_transactions_on_one_sqlite_connection_are_refused() -> None:
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
    with (
        db.prepare_engine(engine).begin(),
        pytest.raises(sa.exc.OperationalError, match="within a transaction"),
    ):
        engine.connect().begin()
    engine.dispose()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sqlite3 has no autocommit")
@pytest.mark.parametrize("driver", ["pysqlite", "aiosqlite"])
@pytest.mark.parametrize("autocommit", [True, False])
def test_an_engine_with_sqlites_autocommit_is_refused(
    new_database: NewDatabase, driver: str, *, autocommit: bool
) -> None:
    url = sa.make_url(new_database("sqlite")).set(drivername=f"sqlite+{driver}")
    make = sa.create_engine if driver == "pysqlite" else create_async_engine
    made: Any = make(url, connect_args={"autocommit": autocommit})
    engine = db.prepare_engine(getattr(made, "sync_engine", made))

    async def connect() -> None:
        with pytest.raises(ValueError, match="leave autocommit out"):
            await sa.util.greenlet_spawn(engine.connect)

    asyncio.run(connect())


def test_an_sqlite_file_in_another_encoding_is_refused(new_database: NewDatabase) -> None:
    url = sa.make_url(new_database("sqlite"))
    assert url.database is not None
    with closing(sqlite3.connect(url.database)) as connection:
        connection.executescript("PRAGMA encoding = 'UTF-16le'; CREATE TABLE host (id TEXT)")
    with pytest.raises(ValueError, match="encoding of this SQLite file is UTF-16le"):
        db.init(sa.create_engine(url), with_host_tables=True)
    with closing(sqlite3.connect(url.database)) as connection:
        assert connection.execute("SELECT name FROM sqlite_schema").fetchall() == [("host",)]


def test_opening_an_sqlite_file_waits_for_another_program_that_writes_it(
    new_database: NewDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several processes that open a new file at once are in this situation, too."""
    url = new_database("sqlite")
    file = sa.make_url(url).database
    assert file is not None

    def read_journal_mode() -> str:
        with opened(url) as engine, engine.connect() as connection:
            return str(connection.exec_driver_sql("PRAGMA journal_mode").scalar_one())

    with (
        closing(sqlite3.connect(file, isolation_level=None)) as writer,
        ThreadPoolExecutor(1) as pool,
    ):
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("CREATE TABLE other (id INTEGER)")
        with monkeypatch.context() as short_wait:
            short_wait.setattr(db_engine, "_BUSY_MILLISECONDS", 50)
            with pytest.raises(sa.exc.OperationalError, match="locked"):
                read_journal_mode()
        journal_mode = pool.submit(read_journal_mode)
        assert not wait([journal_mode], timeout=0.2).done
        writer.execute("COMMIT")
        assert journal_mode.result(timeout=30) == "wal"


# Tables and rows of the host.


def test_the_store_works_on_host_tables_of_any_name(
    engine_name: str, new_database: NewDatabase
) -> None:
    tenant_id, owner_id, stranger = uuid4(), uuid4(), uuid4()
    contact_ids = [uuid4() for _ in range(3)]
    minimal = db.MinimalHost(OTHER_NAMES)
    with opened(new_database(engine_name)) as engine:
        db.init(engine, host=OTHER_NAMES, with_host_tables=True)
        with engine.begin() as connection:
            connection.execute(sa.insert(minimal.tenants).values(id=tenant_id, name="t"))
            connection.execute(
                sa.insert(minimal.owners).values(id=owner_id, tenant_id=tenant_id, name="o")
            )
            connection.execute(
                sa.insert(minimal.contacts),
                [{"id": one, "tenant_id": tenant_id} for one in contact_ids],
            )

        def work(store: CampaignStore) -> Campaign:
            with pytest.raises(NotFound, match=str(stranger)):
                store.campaigns.add(Campaign("Nobody's", owner_id=stranger))
            campaign = store.campaigns.add(Campaign("Ours", STEPS, owner_id=owner_id))
            assigned = store.contacts.assign(campaign.id, [*contact_ids, stranger])
            assert assigned == Assigned(3, 0, (stranger,))
            return store.campaigns.apply(campaign.id, Action.MARK_READY)

        ready = transact(engine, tenant_id, work, host=OTHER_NAMES)
        assert (ready.status, ready.owner_id) == (Status.READY, owner_id)
        with engine.begin() as connection, pytest.raises(NotFound, match="tenant"):
            CampaignStore(connection, uuid4(), host=OTHER_NAMES).campaigns.add(Campaign("None"))


def legacy_row(tenant: Tenant) -> UUID:
    """Insert a campaign like a legacy service. Return its id."""
    legacy = sa.table("campaigns", *(sa.column(name, Uuid) for name in ("id", "tenant_id")))
    legacy.append_column(sa.column("name", sa.Text))
    with tenant.engine.begin() as connection:
        inserted = sa.insert(legacy).values(tenant_id=tenant.id, name="Legacy")
        id_: UUID = connection.execute(inserted.returning(legacy.c.id)).scalar_one()
        return id_


def test_a_bare_legacy_row_can_be_read_listed_edited_and_generated(tenant: Tenant) -> None:
    with tenant.engine.begin() as connection:
        before = connection.execute(sa.select(database_clock())).scalar_one()
    ids = [legacy_row(tenant) for _ in range(5)]
    assert len(set(ids)) == 5
    id_ = ids[0]
    legacy = tenant.transact(lambda store: store.campaigns.get(id_))
    assert (legacy.status, legacy.is_active, legacy.version) == (Status.DRAFT, True, 1)
    assert (len(legacy.steps), legacy.repairs) == (0, ())
    assert legacy.created_at is not None
    assert legacy.updated_at is not None
    assert timedelta(milliseconds=-1) <= legacy.created_at - before < timedelta(minutes=1)
    listed = tenant.transact(lambda store: store.campaigns.list())
    assert {one.id for one in listed.items} == {*ids}
    assert {one.total_contacts for one in listed.items} == {0}
    assert {one.generation_cost for one in listed.items} == {Decimal(0)}

    edited = attrs.evolve(legacy, steps=STEPS, owner_id=new_owner(tenant))
    saved = tenant.transact(lambda store: store.campaigns.save(edited))
    assert [step.label for step in saved.steps] == [step.label for step in STEPS]
    contacts = tenant.contacts(2)
    tenant.transact(lambda store: store.contacts.assign(id_, contacts))
    tenant.apply(id_, Action.MARK_READY)
    tenant.apply(id_, Action.START_GENERATION)
    generate_all(tenant, id_, Decimal("0.00144"))
    tenant.apply(id_, Action.COMPLETE_GENERATION)
    tenant.apply(id_, Action.APPROVE, review=ReviewTally(1, 0, 0))
    assert tenant.apply(id_, Action.EXPORT).status is Status.EXPORTED
    tenant.check_totals(id_)
    assert legacy_columns(tenant, id_) == (2, 2, Decimal("0.00288"))
    clone = tenant.transact(lambda store: store.campaigns.clone(ids[1]))
    assert clone.name.startswith("Legacy")


def test_a_legacy_reader_finds_its_columns(tenant: Tenant) -> None:
    campaign = tenant.campaign(contacts=2)
    query = (
        "SELECT name, status, is_active, total_contacts, generated_count, generation_cost, "
        "template_config, generation_config, description, owner_id, generation_started_at, "
        "generation_completed_at, created_at, updated_at FROM campaigns WHERE id = :id"
    )
    contacts_query = (
        "SELECT id, contact_id, tenant_id, status, enrichment_gaps, generation_cost, error, "
        "added_at, generated_at FROM campaign_contacts WHERE campaign_id = :id"
    )
    templates_query = (
        "SELECT id, tenant_id, name, description, steps, default_config, is_system, created_at, "
        "updated_at FROM campaign_templates"
    )
    id_ = campaign.id if tenant.engine.dialect.name == "postgresql" else campaign.id.hex
    with closing(tenant.engine.connect()) as connection:
        row = connection.execute(sa.text(query), {"id": id_}).one()
        assert row[:5] == ("Campaign", "draft", True, 2, 0)
        assert len(connection.execute(sa.text(contacts_query), {"id": id_}).all()) == 2
        assert connection.execute(sa.text(templates_query)).all()
