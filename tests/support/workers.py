"""Run workers on a test tenant, and look at what they left behind.

A worker runs in one of two forms: threads or coroutines. The fixture ``run_worker``, in
``worker/conftest.py``, runs a test once in each form.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Protocol
from uuid import UUID

import attrs
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from campaign_model.campaign import Campaign
from campaign_model.claims import Claim, Generated, Outcome
from campaign_model.lifecycle import Status
from campaign_model.steps import MessageSlot
from campaign_model.store.connection import database_time
from campaign_model.testing.clock import FrozenClock
from campaign_model.testing.parallel import PATIENCE, wait_until
from campaign_model.testing.sample_campaigns import LEASE, STEPS, Tenant
from campaign_model.worker import AsyncTask, Task, WorkerReport, run_worker, run_worker_async
from support.drivers import new_async_engine
from support.tenants import HOST, contact_rows, message_values

SLOTS = len(STEPS.slots())
PRICE = Decimal("0.00144")
"""The cost of one message."""

COST = SLOTS * PRICE
"""The cost of one contact."""


# --- The host's functions ------------------------------------------------------------------------


def succeed(_task: Task) -> Outcome:
    """A ``generate`` that generates every contact at ``COST``."""
    return Generated(COST)


def slot_values(tenant_id: UUID, claim: Claim, slot: MessageSlot) -> dict[str, Any]:
    """Return the row of one slot's message in the host's table."""
    return message_values(tenant_id, claim) | {
        "id": slot.message_id(claim.id, claim.revision),
        "step_key": slot.step_key,
        "variant": slot.variant,
        "channel": slot.channel,
        "generation_cost": PRICE,
    }


def insert_message(connection: sa.Connection, task: Task, slot: MessageSlot) -> None:
    """Insert the message of one slot. A message that exists already is an error."""
    contacts = HOST.contacts.c
    select_tenant_id = sa.select(contacts.tenant_id).where(contacts.id == task.contact_id)
    tenant_id = connection.execute(select_tenant_id).scalar_one()
    connection.execute(sa.insert(HOST.messages).values(slot_values(tenant_id, task.claim, slot)))


def save_messages(connection: sa.Connection, task: Task, outcome: Outcome) -> None:
    """A ``save`` that inserts all messages of a generated contact."""
    if isinstance(outcome, Generated):
        for slot in task.slots:
            insert_message(connection, task, slot)


def resuming(tenant: Tenant) -> Callable[[Task], Outcome]:
    """A ``generate`` that writes the missing messages, each with a checkpoint of its own."""

    def generate(task: Task) -> Outcome:
        messages = HOST.messages.c
        with tenant.engine.begin() as connection:
            existing_ids = connection.scalars(
                sa.select(messages.id).where(messages.campaign_contact_id == task.claim.id)
            ).all()
        for slot in task.slots:
            if task.message_id(slot) not in existing_ids:
                task.checkpoint(PRICE, lambda connection: insert_message(connection, task, slot))  # noqa: B023
        return Generated(Decimal(0))

    return generate


def fill_the_disk(*_: object) -> Any:
    """Raise the error of a full disk, as ``generate``, as ``save`` or in a checkpoint."""
    raise sa.exc.OperationalError("INSERT", {}, Exception("disk full"))


def an_hour_later(connection: sa.Connection) -> datetime:
    """A clock for a worker that comes after every lease has expired."""
    return database_time(connection) + timedelta(hours=1)


def taking_over(tenant: Tenant, campaign: Campaign) -> Callable[[], None]:
    """A function that lets another worker take over and generate one contact in flight."""

    def take_over() -> None:
        later = FrozenClock()
        with tenant.engine.begin() as connection:
            later.now = database_time(connection) + 2 * LEASE
        claims: list[Claim] = []

        def claim() -> bool:
            # A renewal may lock the row for a moment. Then the claim skips it.
            claims.extend(tenant.claim(campaign.id, 1, clock=later))
            return bool(claims)

        wait_until(claim, "the takeover")
        outcomes = dict.fromkeys(claims, Generated(COST))
        tenant.record(outcomes)

    return take_over


# --- Workers in both forms -----------------------------------------------------------------------


class RunWorker(Protocol):
    """The fixture ``run_worker``."""

    def __call__(
        self,
        tenant: Tenant,
        campaign: Campaign,
        generate: Any = succeed,
        *,
        stop: threading.Event | None = None,
        **options: Any,
    ) -> WorkerReport: ...


@contextmanager
def stopped_after_patience(stop: threading.Event) -> Iterator[None]:
    """Set ``stop`` if the block takes longer than ``PATIENCE``, so that no worker runs for ever."""
    timer = threading.Timer(PATIENCE, stop.set)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@attrs.frozen
class _BlockingTask:
    """An ``AsyncTask`` with the interface of a ``Task``."""

    task: AsyncTask
    checkpoint: Callable[..., None]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.task, name)


def run_with_coroutines(
    engine: sa.Engine,
    tenant_id: UUID,
    campaign_id: UUID,
    generate: Callable[[Any], Outcome],
    *,
    concurrency: int = 1,
    make_engine: Callable[[sa.URL], AsyncEngine] | None = None,
    **options: Any,
) -> WorkerReport:
    """Call ``run_worker_async`` with coroutines that run a ``generate`` written for threads.

    ``make_engine`` makes an ``AsyncEngine``, which the worker uses instead of ``engine``.
    """

    async def main(pool: ThreadPoolExecutor) -> WorkerReport:
        event_loop = asyncio.get_running_loop()

        async def generate_in_thread(task: AsyncTask) -> Outcome:
            def checkpoint(*arguments: Any) -> None:
                checkpointing = task.checkpoint(*arguments)
                asyncio.run_coroutine_threadsafe(checkpointing, event_loop).result()

            blocking_task = _BlockingTask(task, checkpoint)
            return await event_loop.run_in_executor(pool, generate, blocking_task)

        asynchronous = None if make_engine is None else make_engine(engine.url)
        try:
            return await run_worker_async(
                asynchronous or engine,
                tenant_id,
                campaign_id,
                generate_in_thread,
                concurrency=concurrency,
                **options,
            )
        finally:
            if asynchronous is not None:
                await asynchronous.dispose()

    with ThreadPoolExecutor(max(concurrency, 1)) as pool:
        return asyncio.run(main(pool))


def run_with_async_engine(engine: sa.Engine, *arguments: Any, **options: Any) -> WorkerReport:
    """Call ``run_worker_async`` with an ``AsyncEngine`` on the same database."""
    return run_with_coroutines(engine, *arguments, make_engine=new_async_engine, **options)


FORMS: dict[str, Callable[..., WorkerReport]] = {
    "threads": run_worker,
    "coroutines": run_with_coroutines,
    "async-engine": run_with_async_engine,
}


# --- What workers left behind --------------------------------------------------------------------


def campaign_status(tenant: Tenant, campaign: Campaign) -> Status:
    return tenant.transact(lambda store: store.campaigns.get(campaign.id)).status


def contact_statuses(tenant: Tenant, campaign: Campaign) -> list[str]:
    return sorted(row.status for row in contact_rows(tenant, campaign.id).values())


def count_messages(tenant: Tenant, campaign: Campaign) -> dict[UUID, int]:
    """Count the messages of each contact that has any."""
    messages = HOST.messages.c
    with tenant.engine.begin() as connection:
        return {
            row[0]: row[1]
            for row in connection.execute(
                sa.select(messages.contact_id, sa.func.count())
                .where(messages.campaign_id == campaign.id)
                .group_by(messages.contact_id)
            )
        }


def check_all_generated_once(
    tenant: Tenant, campaign: Campaign, *, spent: Decimal | None = None
) -> None:
    """Assert that every contact is generated, has each message once, and is paid for once."""
    rows = contact_rows(tenant, campaign.id)
    assert {row.status for row in rows.values()} == {"generated"}
    assert count_messages(tenant, campaign) == dict.fromkeys(rows, SLOTS)
    assert tenant.progress(campaign.id).spent == (len(rows) * COST if spent is None else spent)
    tenant.check_totals(campaign.id)
