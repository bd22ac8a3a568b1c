"""A message generation engine: all of it but the language model, which is passed in."""

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
    Channel,
    Failed,
    Generated,
    JsonObject,
    NotReady,
    Outcome,
    Step,
    Unfinished,
    effective_config,
)
from campaign_model.db import HostTables, MinimalHost
from campaign_model.worker import Task, WorkerReport, run_worker

HOST = MinimalHost(HostTables())
CONTACTS, MESSAGES = HOST.contacts, HOST.messages

NOTHING = Decimal(0)


@dataclass(frozen=True)
class Prompt:
    """What the language model is to write one message from."""

    contact: Mapping[str, Any]
    channel: Channel
    step: Step
    variant: str
    settings: JsonObject


@dataclass(frozen=True)
class Reply:
    """What it wrote and what that cost. Where there is a subject, it is the first line."""

    text: str
    cost: Decimal


class ModelBusy(Exception):
    """The language model takes nothing on before ``retry_after`` has passed."""

    def __init__(self, retry_after: timedelta) -> None:
        super().__init__(f"busy for {retry_after}")
        self.retry_after = retry_after


class ModelError(Exception):
    """The language model writes nothing for this contact; what that cost is unknown."""


@dataclass(frozen=True)
class MessageEngine:
    """Writes the messages of one tenant's campaigns."""

    database: sa.Engine
    tenant_id: UUID
    model: Callable[[Prompt], Reply]

    def run(self, campaign_id: UUID, **options: Any) -> WorkerReport:
        """Work on a campaign until nothing is left; ``options`` are those of ``run_worker``."""
        return run_worker(
            self.database, self.tenant_id, campaign_id, self.generate, save=self.save, **options
        )

    def generate(self, task: Task) -> Outcome:
        """Write one contact's messages, each of them kept before the next is paid for."""
        contact, written = self._known(task)
        channels = {}
        for step in task.steps.enabled:
            channel = STANDARD.channel(step.channel)
            if channel is None:
                return Failed("unknown_channel", f"we do not write for {step.channel}", NOTHING)
            channels[step.channel] = channel
        needed = {field for channel in channels.values() for field in channel.requires}
        gaps = sorted(field for field in needed if not contact[field])
        if gaps:
            return NotReady(gaps)
        for slot in task.slots:
            id_, channel = task.message_id(slot), channels[slot.channel]
            if id_ in written:
                continue
            step = task.steps.by_key(slot.step_key)
            settings = effective_config(task.generation_config, step)
            try:
                reply = self.model(Prompt(contact, channel, step, slot.variant, settings))
            except ModelBusy as busy:
                return Unfinished(busy.retry_after)
            except ModelError as error:
                return Failed("model_error", f"the language model says: {error}", cost=None)
            subject, body = in_form(channel, reply.text)
            if not body:
                return Failed("empty_reply", "the language model wrote nothing", reply.cost)
            row = {
                "id": id_,
                "tenant_id": self.tenant_id,
                "campaign_id": task.claim.campaign_id,
                "campaign_contact_id": task.claim.id,
                "contact_id": task.contact_id,
                "step_key": slot.step_key,
                "variant": slot.variant,
                "channel": slot.channel,
                "subject": subject,
                "body": body,
                "generation_cost": reply.cost,
            }
            task.checkpoint(reply.cost, partial(insert, row))
        return Generated(NOTHING)  # Each message's cost is booked already.

    def save(self, connection: sa.Connection, task: Task, outcome: Outcome) -> None:
        """Withdraw messages of earlier revisions, the moment that the new ones are complete."""
        if isinstance(outcome, Generated):
            current = [task.message_id(slot) for slot in task.slots]
            connection.execute(
                sa.update(MESSAGES)
                .where(self._of(task), MESSAGES.c.id.not_in(current))
                .values(status="withdrawn")
            )

    def _known(self, task: Task) -> tuple[Mapping[str, Any], set[UUID]]:
        """The contact, and the ids of those of its messages that are there already."""
        mine = sa.and_(CONTACTS.c.tenant_id == self.tenant_id, CONTACTS.c.id == task.contact_id)
        with self.database.begin() as connection:
            contact = connection.execute(sa.select(CONTACTS).where(mine)).one()._asdict()
            return contact, set(connection.scalars(sa.select(MESSAGES.c.id).where(self._of(task))))

    def _of(self, task: Task) -> sa.ColumnElement[bool]:
        columns = MESSAGES.c
        return sa.and_(
            columns.tenant_id == self.tenant_id, columns.campaign_contact_id == task.claim.id
        )


def in_form(channel: Channel, text: str) -> tuple[str | None, str]:
    """Subject and body as the channel takes them; without a body there is nothing to send."""
    subject, body = None, text.strip()
    if channel.has_subject:
        subject, _, body = body.partition("\n")
    return subject, body.strip()[: channel.max_length]


def insert(row: Mapping[str, Any], connection: sa.Connection) -> None:
    """Keep a message; that it cannot be there twice, its id sees to."""
    connection.execute(sa.insert(MESSAGES).values(row))
