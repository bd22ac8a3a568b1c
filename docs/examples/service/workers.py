"""The workers: each is a process that generates and exports whatever the campaigns need.

A worker can be killed at any moment: when its leases expire, another one goes on.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from datetime import timedelta
from decimal import Decimal
from functools import partial
from multiprocessing import parent_process
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from campaign_model import Generated, NotReady, Outcome, Status, effective_config
from campaign_model.db import prepare_engine
from campaign_model.store import transact_async
from campaign_model.worker import (
    AsyncTask,
    ExportTask,
    WorkerStop,
    run_export_async,
    run_worker_async,
)
from service.generate import generate, send
from service.tables import CONTACTS, MESSAGES, TENANT

HIGHEST_COST = Decimal("0.05")
"""The most that one contact can cost. A campaign with a budget sets it aside for each contact."""

LEASE = timedelta(seconds=30)
"""How long the contacts of a dead worker stay claimed. A living worker renews its leases."""

SECONDS_BETWEEN_LOOKS = 0.3
"""How long an idle worker waits before it looks for work again."""


def make_engine(url: str) -> AsyncEngine:
    """Make an engine with an asynchronous driver, for SQLite or PostgreSQL."""
    drivers = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}
    parts = sa.make_url(url)
    engine = create_async_engine(parts.set(drivername=drivers[parts.get_backend_name()]))
    prepare_engine(engine.sync_engine)
    return engine


def run_worker_process(url: str, name: str) -> None:
    """Work until SIGTERM, or until the process that started this one is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # After Ctrl-C, the service sends SIGTERM.
    logging.basicConfig(level=logging.INFO, format=f"{name}: %(message)s")
    logging.getLogger(__name__).info("process %s", os.getpid())
    asyncio.run(work(make_engine(url), name))


async def work(engine: AsyncEngine, name: str) -> None:
    """Generate the messages of generating campaigns, and send those of exported ones."""
    set_aside: set[UUID] = set()
    parent = parent_process()
    options: dict[str, Any] = {"concurrency": 4, "lease": LEASE, "wait": False, "actor": name}
    while parent is None or parent.is_alive():
        campaigns = await transact_async(
            engine,
            TENANT,
            lambda store: store.campaigns.list(status=[Status.GENERATING, Status.EXPORTED]).items,
        )
        for campaign in campaigns:
            if campaign.id in set_aside:
                continue
            if campaign.status is Status.GENERATING:
                write = partial(write_messages, engine)
                worked = await run_worker_async(
                    engine,
                    TENANT,
                    campaign.id,
                    write,
                    save=withdraw_old_messages,
                    reserve=HIGHEST_COST,
                    **options,
                )
                stop, is_over = worked.stop, worked.stop is WorkerStop.EQUAL_FAILURES
            else:
                push = partial(send_messages, engine)
                sent = await run_export_async(engine, TENANT, campaign.id, push, **options)
                stop, is_over = sent.stop, sent.remaining == 0
            if stop is WorkerStop.STOPPED:  # By SIGTERM.
                return
            if is_over:  # All is sent; or every contact fails, until you change generate.py.
                set_aside.add(campaign.id)
        await asyncio.sleep(SECONDS_BETWEEN_LOOKS)


async def write_messages(engine: AsyncEngine, task: AsyncTask) -> Outcome:
    """Write the messages of one contact that do not exist yet; see docs/message_engine."""
    contact, messages = await load_contact(engine, task)
    missing = [field for field in task.steps.required_fields() if not contact[field]]
    if missing:
        return NotReady(missing)
    for slot in task.slots:
        message_id = task.message_id(slot)
        if message_id in messages:
            continue
        step = task.steps.by_key(slot.step_key)
        settings = effective_config(task.generation_config, step)
        message = await generate(contact, step, slot.variant, settings)
        row = {
            "id": message_id,
            "tenant_id": TENANT,
            "campaign_id": task.claim.campaign_id,
            "campaign_contact_id": task.claim.id,
            "contact_id": task.contact_id,
            "revision": task.claim.revision,
            "step_key": slot.step_key,
            "sequence_step": slot.position,
            "variant": slot.variant,
            "channel": slot.channel,
            "subject": message.subject,
            "body": message.body,
            "generation_cost": message.cost,
        }
        await task.checkpoint(message.cost, partial(insert_message, row))
    return Generated(Decimal(0))  # The checkpoints have booked the cost of every message.


async def send_messages(engine: AsyncEngine, task: ExportTask) -> None:
    """Send the approved messages of one contact, in order."""
    contact, messages = await load_contact(engine, task)
    for slot in task.slots:
        message = messages.get(task.message_id(slot))
        if message is not None and message["status"] == "approved":
            await send(contact, message)


def insert_message(row: dict[str, Any], connection: sa.Connection) -> None:
    """Insert a message, in the transaction that books its cost."""
    connection.execute(sa.insert(MESSAGES).values(row))


def withdraw_old_messages(connection: sa.Connection, task: AsyncTask, outcome: Outcome) -> None:
    """Withdraw the messages of earlier revisions and steps when the new ones are complete."""
    if isinstance(outcome, Generated):
        connection.execute(
            sa.update(MESSAGES)
            .where(belongs_to(task), MESSAGES.c.id.not_in(task.message_ids))
            .values(status="withdrawn")
        )


async def load_contact(
    engine: AsyncEngine, task: AsyncTask | ExportTask
) -> tuple[dict[str, Any], dict[UUID, Any]]:
    """Load the contact of a task, and the messages that exist for it, by id."""
    contact_query = sa.select(CONTACTS).where(
        CONTACTS.c.tenant_id == TENANT, CONTACTS.c.id == task.contact_id
    )
    async with engine.begin() as connection:
        contact = (await connection.execute(contact_query)).mappings().one()
        messages = await connection.execute(sa.select(MESSAGES).where(belongs_to(task)))
        return dict(contact), {row["id"]: row for row in messages.mappings()}


def belongs_to(task: AsyncTask | ExportTask) -> sa.ColumnElement[bool]:
    """Build the condition that selects the messages of the task's campaign contact."""
    return sa.and_(MESSAGES.c.tenant_id == TENANT, MESSAGES.c.campaign_contact_id == task.claim.id)
