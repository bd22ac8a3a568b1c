"""What tests of the store ask of transactions: nothing written by a refusal, who waits for whom."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar
from uuid import UUID

import pytest
import sqlalchemy as sa

from campaign_model.errors import CampaignModelError
from campaign_model.store import CampaignStore
from campaign_model.store.tables import metadata
from campaign_model.store.types import Uuid
from support.parallel import PATIENCE, until
from support.world import HOST, World

Error = TypeVar("Error", bound=BaseException)

Work = Callable[[CampaignStore], Any]

CLAIMED_AT = "coalesce(%(now)s::TIMESTAMP WITH TIME ZONE, clock_timestamp())"
"""The one time that a writing statement asks for: read once, when the campaign is shared."""

_ROWS = {
    table.name: sa.text(
        f"SELECT * FROM {table.name} WHERE tenant_id IN :tenants"  # noqa: S608 - names of tables
        + (" OR tenant_id IS NULL" if table.c.tenant_id.nullable else "")
    ).bindparams(sa.bindparam("tenants", type_=Uuid, expanding=True))
    for table in (*metadata.sorted_tables, HOST.messages)
}


def contents(connection: sa.Connection, *tenant_ids: UUID) -> dict[str, list[str]]:
    """Every row of these tenants in the library's tables, the system's templates, and messages."""
    return {
        name: sorted(repr(row) for row in connection.execute(rows, {"tenants": tenant_ids}))
        for name, rows in _ROWS.items()
    }


@contextmanager
def refused(
    store: CampaignStore, kind: type[Error], *tenant_ids: UUID
) -> Iterator[pytest.ExceptionInfo[Error]]:
    """The block raises ``kind``, has written nothing, and leaves the transaction usable."""
    tenants = (store.campaigns._scope.tenant_id, *tenant_ids)
    before = contents(store.connection, *tenants)
    with pytest.raises(kind) as caught:
        yield caught
    assert contents(store.connection, *tenants) == before
    assert not store.connection.in_nested_transaction()


@contextmanager
def undone(store: CampaignStore) -> Iterator[None]:
    """Whatever the block does within the transaction is taken back at its end."""
    savepoint = store.connection.begin_nested()
    try:
        yield
    finally:
        savepoint.rollback()


def execute(world: World, statement: sa.Executable) -> None:
    """Run one statement in a transaction of its own: another writer, who knows no library."""
    with world.engine.begin() as connection:
        connection.execute(statement)


def together(world: World, *works: Work) -> list[Any]:
    """Run each work in a transaction of its own, all at once; what each returned or was told.

    An error of the library is an answer; any other error passes through.
    """
    barrier = threading.Barrier(len(works))

    def run(work: Work) -> Any:
        barrier.wait(PATIENCE)
        try:
            return world.transact(work)
        except CampaignModelError as error:
            return error

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(run, works))


def behind(
    world: World,
    first: Work,
    *others: Work,
    then: Work | None = None,
    commit: bool = True,
    waiting: bool = True,
) -> list[Any]:
    """What ``others`` were told who came while the transaction of ``first`` was still open.

    ``first`` commits (or rolls back), after it has done what is to be done ``then``, only when each
    of the others waits for it or has its answer.
    All of them must be seen waiting, unless ``waiting`` is false: nobody retries here, so that a
    deadlock fails the test.
    """
    pids: list[int] = []
    at_the_door = [threading.Event() for _ in others]

    def run(work: Work, event: threading.Event) -> Any:
        if world.engine.dialect.name == "sqlite":
            event.set()  # Its BEGIN waits for the file, which no other connection can see.
        with world.engine.connect() as connection:
            if world.engine.dialect.name == "postgresql":
                driver: Any = connection.connection.driver_connection
                pids.append(driver.info.backend_pid)
                connection.rollback()
                event.set()
            try:
                with connection.begin():
                    return work(CampaignStore(connection, world.tenant_id))
            except CampaignModelError as error:
                return error

    with ThreadPoolExecutor(len(others)) as pool, world.engine.connect() as connection:
        opened = connection.begin()
        try:
            first(CampaignStore(connection, world.tenant_id))
            answers = [pool.submit(run, *one) for one in zip(others, at_the_door, strict=True)]
            for event in at_the_door:
                assert event.wait(PATIENCE)
            if world.engine.dialect.name == "postgresql":
                waited = _wait(world.engine, pids, answers)
                assert waited == waiting, "somebody went on while the first transaction was open"
            if then is not None:
                then(CampaignStore(connection, world.tenant_id))
        finally:
            opened.commit() if commit else opened.rollback()
        return [answer.result(PATIENCE) for answer in answers]


def _wait(engine: sa.Engine, pids: Sequence[int], answers: Sequence[Future[Any]]) -> bool:
    """Return once every session waits for a lock or has ended: whether all of them wait."""
    blocked = sa.text(
        "SELECT count(*) FROM unnest(CAST(:pids AS integer[])) AS pid"
        " WHERE cardinality(pg_blocking_pids(pid)) > 0"
    )
    done = 0
    with engine.connect() as connection:

        def all_wait() -> bool:
            nonlocal done
            done = sum(answer.done() for answer in answers)
            waiting: int = connection.execute(blocked, {"pids": list(pids)}).scalar_one()
            return waiting + done >= len(answers)

        until(all_wait, "the others wait for a lock or have ended")
    return done == 0
