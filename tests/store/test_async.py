"""``transact_async`` with both asynchronous drivers, and the store in an ``AsyncSession``."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Generator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from campaign_model.campaign import Campaign
from campaign_model.errors import InvalidArgument, NotFound
from campaign_model.lifecycle import Action
from campaign_model.store import CampaignStore, asynchronous, transact_async, transactions
from campaign_model.store.database_errors import Remedy, remedy_for
from campaign_model.testing.clock import FrozenClock
from campaign_model.testing.parallel import PATIENCE
from campaign_model.testing.sample_campaigns import STEPS, Tenant
from support.drivers import new_async_engine
from support.transactions import open_store

Result = TypeVar("Result")


def run(tenant: Tenant, main: Callable[[AsyncEngine], Awaitable[Result]], **options: Any) -> Result:
    """Run ``main(engine)`` with an ``AsyncEngine`` on the tenant's database."""

    async def run_with_engine() -> Result:
        engine = new_async_engine(tenant.engine.url, **options)
        try:
            return await asyncio.wait_for(main(engine), PATIENCE)
        finally:
            await engine.dispose()

    return asyncio.run(run_with_engine())


def adding(tenant: Tenant) -> Callable[[CampaignStore], UUID]:
    """Return work that writes rows of several tables."""
    contacts = tenant.contacts(2)

    def add(store: CampaignStore) -> UUID:
        id_ = store.campaigns.add(Campaign("Asynchronous", STEPS)).id
        store.contacts.assign(id_, contacts)
        store.campaigns.apply(id_, Action.MARK_READY)
        return id_

    return add


def count_campaigns(store: CampaignStore) -> int:
    return len(store.campaigns.list().items)


def test_transact_async_commits_and_returns_the_result(tenant: Tenant) -> None:
    clock = FrozenClock()

    async def main(engine: AsyncEngine) -> UUID:
        return await transact_async(engine, tenant.id, adding(tenant), actor="ada", clock=clock)

    id_ = run(tenant, main)
    with open_store(tenant) as store:
        entry = store.campaigns.history(id_)[-1]
        assert (entry.actor, entry.at) == ("ada", clock.now)


def test_an_error_of_the_work_rolls_back_and_is_raised(tenant: Tenant) -> None:
    add = adding(tenant)

    def work(store: CampaignStore) -> None:
        add(store)
        raise NotFound("campaign", ())

    async def main(engine: AsyncEngine) -> int:
        with pytest.raises(NotFound):
            await transact_async(engine, tenant.id, work)
        return await transact_async(engine, tenant.id, count_campaigns)

    assert run(tenant, main) == 0


def test_a_server_that_does_not_answer_is_an_error_of_the_database(tmp_path: Path) -> None:
    url = f"postgresql+asyncpg://user@/db?host={tmp_path}"

    async def main() -> None:
        engine = create_async_engine(url)
        with pytest.raises(sa.exc.OperationalError) as raised:
            await transact_async(engine, uuid4(), count_campaigns, attempts=2)
        assert isinstance(raised.value.orig, OSError)
        assert remedy_for(raised.value) is Remedy.RECONNECT

    asyncio.run(main())


def test_a_conflict_is_tried_again_without_blocking_the_event_loop(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without ``sleep``, a pause that blocks the event loop fails.
    monkeypatch.setattr(transactions, "time", SimpleNamespace(monotonic=time.monotonic))
    attempts: list[int] = []
    add = adding(tenant)

    def work(store: CampaignStore) -> UUID:
        attempts.append(count_campaigns(store))
        id_ = add(store)
        if len(attempts) < 3:
            raise sa.exc.OperationalError("", None, Conflict())
        return id_

    async def main(engine: AsyncEngine) -> int:
        await transact_async(engine, tenant.id, work)
        with pytest.raises(sa.exc.OperationalError):
            await transact_async(engine, tenant.id, always_in_conflict, attempts=2)
        return await transact_async(engine, tenant.id, count_campaigns)

    def always_in_conflict(store: CampaignStore) -> None:
        attempts.append(count_campaigns(store))
        raise sa.exc.OperationalError("", None, Conflict())

    assert run(tenant, main) == 1
    assert attempts == [0, 0, 0, 1, 1]


class Conflict(Exception):
    """What a driver raises for a serialization failure."""

    sqlstate = "40001"


def test_two_transactions_of_one_event_loop_take_turns(tenant: Tenant) -> None:
    """The second one waits for the lock of the first one, and the event loop does not."""
    campaign = tenant.campaign()
    order: list[str] = []

    def lock(name: str) -> Callable[[CampaignStore], None]:
        def work(store: CampaignStore) -> None:
            store.campaigns.get(campaign.id, lock=True)
            order.append(f"{name} has the lock")
            for _ in range(20):
                sa.util.await_only(asyncio.sleep(0))
            order.append(f"{name} ends")

        return work

    async def main(engine: AsyncEngine) -> None:
        await asyncio.gather(
            *(transact_async(engine, tenant.id, lock(name)) for name in ("one", "two"))
        )

    run(tenant, main)
    assert len(order) == 4
    for first, second in (order[:2], order[2:]):
        assert second == f"{first.partition(' ')[0]} ends"


@pytest.mark.parametrize(
    ("make_arguments", "error_type", "message"),
    [
        (lambda engine: (engine.sync_engine, len), TypeError, "an AsyncEngine .* not Engine; for"),
        (lambda engine: (engine.connect(), len), TypeError, "not AsyncConnection; .* run_sync"),
        (lambda engine: (engine, asyncio.sleep), TypeError, "ordinary function, not async def"),
    ],
    ids=["engine", "connection", "coroutine"],
)
def test_wrong_arguments_are_refused(
    tenant: Tenant, make_arguments: Any, error_type: type[Exception], message: str
) -> None:
    async def main(engine: AsyncEngine) -> None:
        given, work = make_arguments(engine)
        with pytest.raises(error_type, match=message):
            await transact_async(given, tenant.id, work)
        with pytest.raises(InvalidArgument, match="at least 1"):
            await transact_async(engine, tenant.id, count_campaigns, attempts=0)

    run(tenant, main)


class CancelledAt:
    """Awaits a coroutine, and cancels ``caller`` again and again from its n-th wait on."""

    def __init__(self, coroutine: Awaitable[Any], caller: asyncio.Task[Any], number: int) -> None:
        self._coroutine, self._caller, self._number = coroutine, caller, number

    def __await__(self) -> Generator[Any, Any, Any]:
        steps: Any = self._coroutine.__await__()
        resume, value = steps.send, None
        try:
            while True:
                waits_for = resume(value)
                self._number -= 1
                if self._number < 0:
                    self._caller.cancel()
                try:
                    resume, value = steps.send, (yield waits_for)
                except BaseException as error:  # noqa: BLE001 - passed on
                    resume, value = steps.throw, error
        except StopIteration as end:
            return end.value


def test_a_cancel_at_any_wait_commits_all_or_nothing_and_leaks_no_connection(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    spawn = sa.util.greenlet_spawn

    def add(store: CampaignStore) -> UUID:
        return store.campaigns.add(Campaign("Asynchronous", STEPS)).id

    async def cancel_at(engine: AsyncEngine, number: int) -> asyncio.Task[UUID]:
        """Cancel a transaction at its wait with this number, and return its ended task."""

        async def spawn_and_cancel(function: Callable[[], Any]) -> Any:
            return await CancelledAt(spawn(function), calling, number)

        calling = asyncio.create_task(transact_async(engine, tenant.id, add))
        with monkeypatch.context() as patched:
            patched.setattr(asynchronous, "greenlet_spawn", spawn_and_cancel)
            await asyncio.wait([calling])
        return calling

    async def main(engine: AsyncEngine) -> int:
        committed = 0
        for number in range(1000):
            task = await cancel_at(engine, number)
            assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]
            assert len(asyncio.all_tasks()) == 2  # This one, and that of wait_for.
            # With one connection at the most, a lock that was left would make this wait.
            found = await transact_async(engine, tenant.id, count_campaigns)
            assert found - committed in ({0, 1} if task.cancelled() else {1})
            committed = found
            if not task.cancelled():
                return number
            await engine.dispose()  # The next transaction begins with a new connection.
        raise AssertionError

    waits = run(tenant, main, pool_size=1, max_overflow=0)
    assert waits > 10
    gc.collect()  # A connection that was forgotten would warn.


def test_an_async_session_shares_its_transaction_with_the_store(tenant: Tenant) -> None:
    add = adding(tenant)

    async def main(engine: AsyncEngine) -> list[int]:
        counts = []
        for ends_with in ("rollback", "commit"):
            async with AsyncSession(engine) as session:
                await session.run_sync(
                    lambda session: add(CampaignStore(session.connection(), tenant.id))
                )
                await getattr(session, ends_with)()
            counts.append(await transact_async(engine, tenant.id, count_campaigns))
        return counts

    assert run(tenant, main) == [0, 1]
