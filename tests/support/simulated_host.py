"""The host of ``chaos.py`` and ``hostile.py``: ``generate`` and ``save`` without a model."""

from __future__ import annotations

import random
import time
from collections.abc import Collection, Iterable
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import ClassVar
from uuid import UUID

import attrs
import sqlalchemy as sa

from campaign_model.claims import Failed, Generated, Outcome, Unfinished
from campaign_model.lifecycle import ContactStatus
from campaign_model.steps import MessageSlot
from campaign_model.worker import Task
from support.tenants import HOST
from support.workers import slot_values

REFUSED = "refused"
"""The error code of contacts that the host does not generate."""

FINAL = (ContactStatus.GENERATED, ContactStatus.FAILED)


@attrs.frozen
class SimulatedHost:
    """``generate`` and ``save`` of a host. The contact's id decides what happens to the contact."""

    engine: sa.Engine
    tenant_id: UUID
    rng: random.Random
    max_call: ClassVar[float]
    """The most seconds that a paid call takes."""

    checkpointed: ClassVar[Collection[int]]
    """Of 20 contacts, the numbers of those whose messages are written with checkpoints."""

    def generate(self, task: Task) -> Outcome:
        """Fail a contact, give it back, or generate it with or without checkpoints."""
        match task.contact_id.int % 20:
            case 0:
                return Failed(REFUSED, "the model would not", self.pay(task))
            case 1 if task.claim.attempts == 1:
                return Unfinished(timedelta(milliseconds=1), cost=self.pay(task))
        if not self._uses_checkpoints(task):
            return Generated(self.pay(task))
        existing_ids = self.read_message_ids(task)
        for slot in task.slots:
            if task.message_id(slot) not in existing_ids:
                task.checkpoint(self.pay(task), partial(self.insert, task=task, slots=[slot]))
        return Generated(Decimal(0))

    def save(self, connection: sa.Connection, task: Task, outcome: Outcome) -> None:
        """Insert the messages of a contact that used no checkpoints."""
        if isinstance(outcome, Generated) and not self._uses_checkpoints(task):
            self.insert(connection, task, task.slots)

    def pay(self, task: Task) -> Decimal:  # noqa: ARG002 - a subclass notes the contact
        """Make a paid call, and return its cost."""
        time.sleep(self.rng.random() * self.max_call)
        return Decimal(self.rng.randrange(1, 10**8)).scaleb(-9)

    def read_message_ids(self, task: Task) -> Collection[UUID]:
        """Return the ids of the contact's messages that exist."""
        messages = HOST.messages.c
        with self.engine.begin() as connection:
            return connection.scalars(
                sa.select(messages.id).where(
                    messages.tenant_id == self.tenant_id,
                    messages.campaign_contact_id == task.claim.id,
                )
            ).all()

    def insert(self, connection: sa.Connection, task: Task, slots: Iterable[MessageSlot]) -> None:
        """Insert messages of the contact."""
        rows = [slot_values(self.tenant_id, task.claim, slot) for slot in slots]
        connection.execute(sa.insert(HOST.messages), rows)

    def _uses_checkpoints(self, task: Task) -> bool:
        return task.contact_id.int % 20 in self.checkpointed
