"""A message generation engine, with an exporter.

Only the language model and the system that sends messages are missing: they are functions that you
pass in.

``MessageEngine.run`` starts a worker of the library. For each contact that the worker claims, it
calls ``generate`` and then ``save``:

1. ``generate`` writes one message per enabled step and variant. A checkpoint stores each message
   and its cost in one transaction, before the next message is paid for.
2. ``save`` runs in the transaction that records the outcome. It withdraws outdated messages.

A worker can therefore die at any moment: the next worker finds the stored messages by their ids,
and writes only the missing ones.

``MessageEngine.export`` sends the approved messages of an approved campaign, one contact after
another. An exporter can die at any moment too: the next one goes on with the contacts that are not
marked as exported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from campaign_model import (
    STANDARD,
    Action,
    Campaign,
    Channel,
    Failed,
    Generated,
    JsonObject,
    NotReady,
    Outcome,
    ReviewTally,
    Step,
    Unfinished,
    effective_config,
)
from campaign_model.db import HostTables, MinimalHost
from campaign_model.store import CampaignStore, transact
from campaign_model.worker import (
    ExportReport,
    ExportTask,
    Task,
    WorkerReport,
    run_export,
    run_worker,
)

HOST = MinimalHost(HostTables())
CONTACTS, MESSAGES = HOST.contacts, HOST.messages
"""The library's minimal host tables. A service has its own instead."""

ZERO = Decimal(0)

Send = Callable[[sa.Row[Any]], None]
"""Sends a row of ``MESSAGES``. It gives the message id to the receiver as idempotency key."""


@dataclass(frozen=True)
class Prompt:
    """What the language model needs to write one message."""

    contact: Mapping[str, Any]
    channel: Channel
    step: Step
    variant: str
    settings: JsonObject


@dataclass(frozen=True)
class Reply:
    """What the language model wrote and its cost. A subject, if any, is the first line."""

    text: str
    cost: Decimal


class ModelBusy(Exception):
    """The language model accepts no call before ``retry_after`` has passed."""

    def __init__(self, retry_after: timedelta) -> None:
        super().__init__(f"busy for {retry_after}")
        self.retry_after = retry_after


class ModelError(Exception):
    """The language model refused to write. The cost of the call is unknown."""


@dataclass(frozen=True)
class MessageEngine:
    """Writes the messages of one tenant's campaigns."""

    database: sa.Engine
    tenant_id: UUID
    model: Callable[[Prompt], Reply]

    def run(self, campaign_id: UUID, **options: Any) -> WorkerReport:
        """Generate a campaign's messages until nothing is left to do.

        ``options`` are those of ``run_worker``.
        """
        return run_worker(
            self.database, self.tenant_id, campaign_id, self.generate, save=self.save, **options
        )

    def generate(self, task: Task) -> Outcome:
        """Write the messages of one contact that do not exist yet."""
        contact, existing_ids = self._load_contact(task)

        # 1. Check everything that can fail before the first call costs money.
        channels = {}
        for step in task.steps.enabled:
            channel = STANDARD.channel(step.channel)
            if channel is None:
                return Failed("unknown_channel", f"no texts for channel {step.channel}", ZERO)
            channels[step.channel] = channel
        gaps = [field for field in task.steps.required_fields() if not contact[field]]
        if gaps:
            return NotReady(gaps)

        # 2. Write each message and store it at once.
        for slot in task.slots:
            message_id, channel = task.message_id(slot), channels[slot.channel]
            if message_id in existing_ids:
                continue
            step = task.steps.by_key(slot.step_key)
            settings = effective_config(task.generation_config, step)
            try:
                reply = self.model(Prompt(contact, channel, step, slot.variant, settings))
            except ModelBusy as busy:
                return Unfinished(busy.retry_after)
            except ModelError as error:
                return Failed("model_error", f"the language model refused: {error}", cost=None)
            subject, body = format_reply(channel, reply.text)
            if not body:
                return Failed("empty_reply", "the language model wrote no text", reply.cost)
            row = {
                "id": message_id,
                "tenant_id": self.tenant_id,
                "campaign_id": task.claim.campaign_id,
                "campaign_contact_id": task.claim.id,
                "contact_id": task.contact_id,
                "revision": task.claim.revision,
                "step_key": slot.step_key,
                "variant": slot.variant,
                "channel": slot.channel,
                "subject": subject,
                "body": body,
                "generation_cost": reply.cost,
            }
            task.checkpoint(reply.cost, partial(insert_message, row))
        return Generated(ZERO)  # The checkpoints have booked the cost of every message.

    def save(self, connection: sa.Connection, task: Task, outcome: Outcome) -> None:
        """Withdraw the messages of earlier revisions and steps when the new ones are complete."""
        if isinstance(outcome, Generated):
            connection.execute(
                sa.update(MESSAGES)
                .where(self._belongs_to(task), MESSAGES.c.id.not_in(task.message_ids))
                .values(status="withdrawn")
            )

    def approve(self, campaign_id: UUID, **options: Any) -> Campaign:
        """Approve a campaign. Every message under review must be approved or rejected.

        ``options`` are those of ``campaigns.apply``.
        """

        def work(store: CampaignStore) -> Campaign:
            def count_messages(_connection: sa.Connection) -> ReviewTally:
                return store.campaigns.review_tally(
                    campaign_id,
                    MESSAGES,
                    is_approved=MESSAGES.c.status == "approved",
                    is_rejected=MESSAGES.c.status == "rejected",
                )

            return store.campaigns.apply(
                campaign_id, Action.APPROVE, review=count_messages, **options
            )

        return transact(self.database, self.tenant_id, work)

    def export(self, campaign_id: UUID, send: Send, **options: Any) -> ExportReport:
        """Send a campaign's approved messages until nothing is left to send.

        ``options`` are those of ``run_export``.
        """
        push = partial(self.push, send)
        return run_export(self.database, self.tenant_id, campaign_id, push, **options)

    def push(self, send: Send, task: ExportTask) -> None:
        """Send the approved messages of one contact, in order."""
        query = sa.select(MESSAGES).where(
            self._belongs_to(task),
            MESSAGES.c.id.in_(task.message_ids),
            MESSAGES.c.status == "approved",
        )
        with self.database.begin() as connection:
            messages_by_id = {row.id: row for row in connection.execute(query)}
        for slot in task.slots:
            if (message := messages_by_id.get(task.message_id(slot))) is not None:
                send(message)

    def _load_contact(self, task: Task) -> tuple[Mapping[str, Any], set[UUID]]:
        """Load the contact, and the ids of the messages that exist for it in this campaign."""
        contact_query = sa.select(CONTACTS).where(
            CONTACTS.c.tenant_id == self.tenant_id, CONTACTS.c.id == task.contact_id
        )
        ids_query = sa.select(MESSAGES.c.id).where(self._belongs_to(task))
        with self.database.begin() as connection:
            contact = connection.execute(contact_query).one()._asdict()
            return contact, set(connection.scalars(ids_query))

    def _belongs_to(self, task: Task | ExportTask) -> sa.ColumnElement[bool]:
        """Build the condition that selects the messages of the task's campaign contact."""
        columns = MESSAGES.c
        return sa.and_(
            columns.tenant_id == self.tenant_id, columns.campaign_contact_id == task.claim.id
        )


def format_reply(channel: Channel, text: str) -> tuple[str | None, str]:
    """Split the text into subject and body, and cut the body to the channel's limit."""
    subject, body = None, text.strip()
    if channel.has_subject:
        subject, _, body = body.partition("\n")
    return subject, body.strip()[: channel.max_length]


def insert_message(row: Mapping[str, Any], connection: sa.Connection) -> None:
    """Insert a message; the primary key refuses a second message with the same id."""
    connection.execute(sa.insert(MESSAGES).values(row))
