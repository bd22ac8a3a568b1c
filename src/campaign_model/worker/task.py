"""The argument of the host's ``generate`` and ``push``: one contact to work on.

:class:`Task` is for functions that generate messages, :class:`AsyncTask` for coroutines, and
:class:`ExportTask` for functions that push messages. A task also remembers the costs of its
checkpoints for the worker loop. A checkpoint that failed could not book its cost, so the loop books
that cost with the contact's outcome.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable, Collection
from decimal import Decimal
from typing import TypeVar
from uuid import UUID, uuid4

import attrs
import sqlalchemy as sa

from campaign_model._values import exact_money, is_money, money
from campaign_model.claims import Claim, Recorded
from campaign_model.errors import LeaseLost
from campaign_model.generation_config import GenerationConfig
from campaign_model.steps import MessageSlot, StepSequence
from campaign_model.store import CampaignStore
from campaign_model.store.transactions import forbid_transact

Transact = Callable[[Callable[[CampaignStore], None]], None]
SaveMessage = Callable[[sa.Connection], None]


@attrs.frozen(eq=False)
class _Task:
    claim: Claim
    steps: StepSequence
    generation_config: GenerationConfig
    _transact: Transact = attrs.field(repr=False)
    _stop: threading.Event = attrs.field(factory=threading.Event, repr=False)
    _created_at: float = attrs.field(factory=time.monotonic, repr=False)
    _booked_costs: list[Decimal] = attrs.field(factory=list, repr=False)
    _failed_checkpoints: list[tuple[Exception, Decimal | None]] = attrs.field(
        factory=list, repr=False
    )

    @property
    def contact_id(self) -> UUID:
        """The id of the host's contact."""
        return self.claim.contact_id

    @property
    def slots(self) -> tuple[MessageSlot, ...]:
        """The messages of the contact, in order."""
        return self.steps.slots()

    @property
    def message_ids(self) -> tuple[UUID, ...]:
        """The ids of the contact's messages, in the order of :attr:`slots`.

        A message with another id comes from an earlier revision or from a step that is gone.
        """
        return tuple(self.message_id(slot) for slot in self.slots)

    @property
    def stopping(self) -> bool:
        """Whether this task should end soon.

        The worker stops, it lost the contact, or the task has run longer than ``task_timeout``.
        The worker still records the outcome.
        """
        return self._stop.is_set()

    def message_id(self, slot: MessageSlot) -> UUID:
        """Return the id of the slot's message for this contact. A takeover gets the same id."""
        return slot.message_id(self.claim.id, self.claim.revision)

    def _checkpoint(self, cost: Decimal | None, save: SaveMessage | None) -> None:
        # Refuse a cost that is no money here, as an error of `generate`: no outcome can book it.
        cost = None if cost is None else money(cost)
        call_id = uuid4()

        def book_and_save(store: CampaignStore) -> None:
            answer = store.generation.checkpoint(self.claim, cost, call_id=call_id)
            if save is not None and answer is Recorded.APPLIED:
                with forbid_transact(store.connection):
                    save(store.connection)

        try:
            self._transact(book_and_save)
        except Exception as error:
            self._failed_checkpoints.append((error, cost))
            raise
        self._booked_costs.append(cost or Decimal(0))

    @exact_money()
    def _sum_booked_costs(self) -> Decimal:
        return sum(self._booked_costs, Decimal(0))

    @exact_money()
    def _sum_unbooked_costs(self, errors: Collection[BaseException]) -> Decimal | None:
        """Sum the costs that no checkpoint could book.

        Return ``None`` if one of them is unknown, or if they pass the limit of one amount.

        ``errors`` are the error that ended ``generate``, and the errors that led to this error. A
        checkpoint that failed for another reason than a lost lease counts only if its error is one
        of ``errors``: otherwise ``generate`` caught it, and may have repeated the checkpoint.
        """
        costs = [
            cost
            for failure, cost in self._failed_checkpoints
            if isinstance(failure, LeaseLost) or failure in errors
        ]
        known_costs = [cost for cost in costs if cost is not None]
        total = sum(known_costs, Decimal(0))
        return total if len(known_costs) == len(costs) and is_money(total) else None


AnyTask = TypeVar("AnyTask", bound=_Task)


class Task(_Task):
    """One contact to generate messages for: the argument of ``run_worker``'s ``generate``."""

    def checkpoint(self, cost: Decimal | None, save: SaveMessage | None = None) -> None:
        """Book the cost of one paid call, and call ``save`` in the same transaction.

        Write the message that was paid for in ``save``. Leave this cost out of the outcome.

        Raises :class:`LeaseLost` if the worker lost the contact: stop working on it. Do not catch
        this error or database errors: the worker needs them to book the cost that the checkpoint
        could not. If ``save`` raises, the checkpoint raises the same error and books nothing. Let
        that pass, so that the contact fails with this cost booked, or repeat the checkpoint.

        Raises ``TypeError`` for a float or a text, and :class:`InvalidArgument` for an amount that
        cannot be booked. Then the contact fails with an unknown cost.
        """
        self._checkpoint(cost, save)


@attrs.frozen(eq=False)
class AsyncTask(_Task):
    """One contact to generate messages for: the argument of ``run_worker_async``'s ``generate``."""

    _run_in_thread: Callable[..., Awaitable[None]] = attrs.field(kw_only=True, repr=False)

    async def checkpoint(self, cost: Decimal | None, save: SaveMessage | None = None) -> None:
        """Book the cost of a paid call, as :meth:`Task.checkpoint` does.

        ``save`` runs where the worker's own ``save`` runs. A checkpoint that has begun is finished
        even if its coroutine is cancelled.
        """
        await self._run_in_thread(self._checkpoint, cost, save)


class ExportTask(_Task):
    """The argument of ``push``: one contact, whose messages ``push`` sends to the receiver.

    Push the messages of :attr:`slots` and pass :meth:`message_id` to the receiver as idempotency
    key: if the contact is pushed again, its messages have the same ids.
    """
