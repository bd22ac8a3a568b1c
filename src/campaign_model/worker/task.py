"""What ``generate`` is given: one contact to write messages for, and where to keep what it paid."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import TypeVar
from uuid import UUID

import attrs
import sqlalchemy as sa

from campaign_model._values import exactly
from campaign_model.claims import Claim
from campaign_model.errors import LeaseLost
from campaign_model.generation_config import GenerationConfig
from campaign_model.steps import MessageSlot, StepSequence
from campaign_model.store import CampaignStore

__all__ = ["AnyTask", "AsyncTask", "SaveMessage", "Task", "Transact"]

Transact = Callable[[Callable[[CampaignStore], None]], None]
SaveMessage = Callable[[sa.Connection], None]


@attrs.frozen(eq=False)
class _Task:
    """One contact to write messages for."""

    claim: Claim
    steps: StepSequence
    generation_config: GenerationConfig
    _transact: Transact = attrs.field(repr=False)
    _stop: threading.Event = attrs.field(factory=threading.Event, repr=False)
    _booked: list[Decimal] = attrs.field(factory=list, repr=False)
    _lost: list[Decimal | None] = attrs.field(factory=list, repr=False)

    @property
    def contact_id(self) -> UUID:
        """The host's contact."""
        return self.claim.contact_id

    @property
    def slots(self) -> tuple[MessageSlot, ...]:
        """The messages to write, in order."""
        return self.steps.slots()

    @property
    def stopping(self) -> bool:
        """Whether the worker was told to stop, or lost this contact: come to an end soon.

        What is finished is recorded all the same; return ``Unfinished`` to give the rest back.
        """
        return self._stop.is_set()

    def message_id(self, slot: MessageSlot) -> UUID:
        """The id of that slot's message for this contact, the same on every attempt."""
        return slot.message_id(self.claim.id, self.claim.revision)

    def _checkpoint(self, cost: Decimal | None, save: SaveMessage | None) -> None:
        def work(store: CampaignStore) -> None:
            store.generation.checkpoint(self.claim, cost)
            if save is not None:
                save(store.connection)

        try:
            self._transact(work)
        except LeaseLost:
            self._lost.append(cost)
            raise
        self._booked.append(cost or Decimal(0))

    @exactly()
    def _spent(self) -> Decimal:
        """What its checkpoints booked."""
        return sum(self._booked, Decimal(0))

    @exactly()
    def _unbooked(self) -> Decimal | None:
        """What checkpoints could not book because the lease was lost."""
        known = [cost for cost in self._lost if cost is not None]
        return sum(known, Decimal(0)) if len(known) == len(self._lost) else None


AnyTask = TypeVar("AnyTask", bound=_Task)


class Task(_Task):
    """One contact to write messages for, as the ``generate`` of ``run_worker`` is given it."""

    def checkpoint(self, cost: Decimal | None, save: SaveMessage | None = None) -> None:
        """Book a paid call at once, and write with ``save`` what it paid for, together.

        Leave its cost out of the outcome then. Raises :class:`LeaseLost`: stop working on the
        contact. Let it pass, as any error of the database, and the cost is booked all the same.
        """
        self._checkpoint(cost, save)


@attrs.frozen(eq=False)
class AsyncTask(_Task):
    """One contact to write messages for, as the coroutine of ``run_worker_async`` is given it."""

    _in_thread: Callable[..., Awaitable[None]] = attrs.field(kw_only=True, repr=False)

    async def checkpoint(self, cost: Decimal | None, save: SaveMessage | None = None) -> None:
        """Do as :meth:`Task.checkpoint` does, in a thread; ``save`` is called there.

        A checkpoint that has begun is finished, even if its coroutine is cancelled meanwhile.
        """
        await self._in_thread(self._checkpoint, cost, save)
