"""Transactions in tests: refused calls that write nothing, parallel calls, broken connections."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.engine.default import DefaultDialect

from campaign_model.store import CampaignStore
from campaign_model.store.tables import metadata
from campaign_model.testing import parallel
from campaign_model.testing.parallel import PATIENCE, Work
from campaign_model.testing.sample_campaigns import Tenant
from support import servers
from support.tenants import HOST

Error = TypeVar("Error", bound=BaseException)

on_postgresql = pytest.mark.parametrize("engine_name", servers.postgresql(), indirect=True)
"""Run the test on each PostgreSQL and not on SQLite."""

on_newest_postgresql = pytest.mark.parametrize(
    "engine_name", servers.available()[-1:], indirect=True
)
on_sqlite = pytest.mark.parametrize("engine_name", ["sqlite"], indirect=True)


_TABLES = (*metadata.sorted_tables, HOST.messages)


def all_rows(connection: sa.Connection, *tenant_ids: UUID) -> dict[str, list[str]]:
    """Return every row of these tenants, of the system templates and of the host's messages."""
    rows = {}
    for table in _TABLES:
        tenant_id = table.c.tenant_id
        query = sa.select(table).where(tenant_id.in_(tenant_ids) | tenant_id.is_(None))
        rows[table.name] = sorted(repr(row) for row in connection.execute(query))
    return rows


@contextmanager
def open_store(tenant: Tenant, **options: Any) -> Iterator[CampaignStore]:
    """Open a transaction in this thread; commit it at the end unless the block raises."""
    with tenant.engine.begin() as connection:
        yield CampaignStore(connection, tenant.id, **options)


@contextmanager
def rolled_back(store: CampaignStore) -> Iterator[None]:
    """Roll back to a savepoint at the end of the block."""
    savepoint = store.connection.begin_nested()
    try:
        yield
    finally:
        savepoint.rollback()


@contextmanager
def refused(
    store: CampaignStore, error_type: type[Error], *other_tenants: UUID
) -> Iterator[pytest.ExceptionInfo[Error]]:
    """Check that the block raises the error, writes nothing and leaves the transaction usable.

    The rows of ``other_tenants`` must not change either.
    """
    tenants = (store.tenant_id, *other_tenants)
    before = all_rows(store.connection, *tenants)
    with pytest.raises(error_type) as caught:
        yield caught
    assert all_rows(store.connection, *tenants) == before
    assert not store.connection.in_nested_transaction()


@contextmanager
def recorded_statements(target: sa.Engine | sa.Connection) -> Iterator[list[tuple[str, Any]]]:
    """Collect every executed statement with its parameters."""
    statements: list[tuple[str, Any]] = []

    def note(_c: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        statements.append((statement, parameters))

    sa.event.listen(target, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        sa.event.remove(target, "before_cursor_execute", note)


def statements_of(tenant: Tenant, work: Work) -> list[tuple[str, Any]]:
    """Return the statements of work that is rolled back, with their parameters."""
    with (
        tenant.engine.connect() as connection,
        connection.begin() as transaction,
        recorded_statements(connection) as statements,
    ):
        work(CampaignStore(connection, tenant.id))
        transaction.rollback()
    return statements


def run_while_open(
    tenant: Tenant, *, first: Work, others: Sequence[Work], **options: Any
) -> list[Any]:
    """Run ``others`` while the transaction of ``first`` is open. Return one answer for each.

    On PostgreSQL all others must wait for the first transaction, unless ``must_wait=False``. Each
    has one attempt, so that a deadlock fails the test. See :func:`parallel.run_while_open`.
    """
    return parallel.run_while_open(
        tenant, first=first, others=others, **{"must_wait": True, "attempts": 1, **options}
    )


def run_together(tenant: Tenant, *works: Work) -> list[Any]:
    """Run each work in a transaction of its own, all at the same time, and return their answers.

    An answer is what the work returned, or the library's error that it raised.
    """
    barrier = threading.Barrier(len(works))

    def run(work: Work) -> Any:
        barrier.wait(PATIENCE)
        return parallel.answer_of(tenant.transact, work)

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(run, works))


def sever_connection(driver: Any, engine: sa.Engine) -> None:
    """End a driver's connection from outside, as a dying server does, and raise the error."""
    if engine.dialect.name == "sqlite":
        driver.close()
        driver.cursor().execute("SELECT 1")
    if hasattr(driver, "info"):
        pid = driver.info.backend_pid
    else:
        pid = driver.driver_connection.get_server_pid()  # asyncpg
    with engine.connect() as connection:
        connection.execute(sa.select(sa.func.pg_terminate_backend(pid)))
    for _ in range(2):
        # The termination may arrive after the first statement.
        driver.execute("SELECT 1")


@contextmanager
def broken_commit(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch, *, done: bool
) -> Iterator[threading.Event]:
    """When the event is set, the next commit loses its connection: after it is done, or before."""
    armed = threading.Event()
    commit: Callable[[Any, Any], None] = DefaultDialect.do_commit

    def do_commit(dialect: Any, connection: Any) -> None:
        if not armed.is_set():
            commit(dialect, connection)
            return
        armed.clear()
        if done:
            commit(dialect, connection)
        sever_connection(connection.dbapi_connection, tenant.engine)

    with monkeypatch.context() as patched:
        patched.setattr(DefaultDialect, "do_commit", do_commit)  # Of every driver.
        yield armed
