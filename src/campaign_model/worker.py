"""A worker: claims contacts, has messages written for them, records what came of it.

It owns its transactions, all of them short: none is open while messages are written.
"""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from types import FrameType
from typing import Any, TypeVar
from uuid import UUID

import attrs
import sqlalchemy as sa

from campaign_model._values import exactly
from campaign_model.errors import LeaseLost, TransitionNotAllowed
from campaign_model.generation import (
    Claim,
    ClaimBatch,
    Cursor,
    Failed,
    GenerationConfig,
    Outcome,
    Progress,
    Recorded,
    StopReason,
    Unfinished,
)
from campaign_model.lifecycle import Action
from campaign_model.steps import MessageSlot, StepSequence
from campaign_model.store import CampaignStore, transact

__all__ = ["GENERATE_FAILED", "SAVE_FAILED", "Task", "WorkerReport", "WorkerStop", "run_worker"]

GENERATE_FAILED = "generate_failed"
"""Error code of a contact for which ``generate`` raised."""

SAVE_FAILED = "save_failed"
"""Error code of a contact for which ``save`` raised."""

_LONGEST_UNHEARD = 10.0
"""Seconds after which leases are renewed at the latest: so a busy worker hears of a cancel."""

_BEAT = 1.0
"""Seconds after which a worker looks up from waiting, to see whether it was told to stop."""

Result = TypeVar("Result")


class WorkerStop(StrEnum):
    """Why a worker came to an end."""

    DRAINED = "drained"
    BUDGET = "budget"
    NOT_GENERATING = "not_generating"
    STOPPED = "stopped"


@attrs.frozen
class WorkerReport:
    """What one worker did.

    ``answers`` counts what became of its outcomes; ``cost`` is what it reported in them and in
    checkpoints; ``completed`` says that it was the one that completed the campaign's generation.
    """

    stop: WorkerStop
    answers: Mapping[Recorded, int] = attrs.field(eq=dict)
    cost: Decimal
    completed: bool


@attrs.frozen(eq=False)
class Task:
    """One contact to write messages for, as ``generate`` is given it."""

    claim: Claim
    steps: StepSequence
    generation_config: GenerationConfig
    _transact: Callable[[Callable[[CampaignStore], None]], None] = attrs.field(repr=False)
    _stop: threading.Event = attrs.field(repr=False)
    _spent: list[Decimal] = attrs.field(factory=list, repr=False)

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

    def checkpoint(
        self, cost: Decimal | None, save: Callable[[sa.Connection], None] | None = None
    ) -> None:
        """Book a paid call at once, and write with ``save`` what it paid for, together.

        Leave its cost out of the outcome then. Raises :class:`LeaseLost`: stop working on it.
        """

        def work(store: CampaignStore) -> None:
            store.generation.checkpoint(self.claim, cost)
            if save is not None:
                save(store.connection)

        self._transact(work)
        self._spent.append(cost or Decimal(0))


Generate = Callable[[Task], Outcome]
Save = Callable[[sa.Connection, Task, Outcome], None]


def run_worker(
    engine: sa.Engine,
    tenant_id: UUID,
    campaign_id: UUID,
    generate: Generate,
    *,
    save: Save | None = None,
    concurrency: int = 1,
    lease: timedelta = timedelta(minutes=5),
    reserve: Decimal | None = None,
    report: Callable[[Progress], None] | None = None,
    stop: threading.Event | None = None,
    actor: str | None = "worker",
    **options: Any,
) -> WorkerReport:
    """Work on a campaign until nothing is left, the budget is spent, it is cancelled, or ``stop``.

    ``generate(task)`` runs in one of ``concurrency`` threads, with no transaction open, and
    returns an outcome; an exception from it fails the contact. ``save(connection, task,
    outcome)`` writes the host's rows in the transaction that applies the outcome, once; an
    exception from it, other than the database's ``OperationalError``, fails the contact instead.
    It may meet messages of an attempt before, under the same ids: insert what is missing, or
    update. Leases are renewed while ``generate`` runs.
    ``reserve`` is what one contact may cost, required with a budget. ``report`` is given the
    progress whenever something was recorded. The worker that finishes last completes generation.

    Setting ``stop``, or SIGTERM when this runs in the main thread, ends it in good order:
    nothing more is claimed, what is being written is finished and recorded. ``options`` are those
    of :class:`CampaignStore`. Raises :class:`NotFound`, and database errors, on which every
    contact in flight comes back when its lease runs out.
    """
    run = _Run(
        engine=engine,
        tenant_id=tenant_id,
        campaign_id=campaign_id,
        generate=generate,
        save=save,
        concurrency=concurrency,
        lease=lease,
        reserve=reserve,
        report=report,
        stop=stop or threading.Event(),
        options={"actor": actor, **options},
    )
    with _stopped_by_sigterm(run.stop), ThreadPoolExecutor(concurrency) as pool:
        return run.until_done(pool)


@contextmanager
def _stopped_by_sigterm(stop: threading.Event) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def on_sigterm(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    before = signal.signal(signal.SIGTERM, on_sigterm)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class _SaveError(Exception):
    """The host's ``save`` raised ``cause``."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


@attrs.define
class _Run:
    engine: sa.Engine
    tenant_id: UUID
    campaign_id: UUID
    generate: Generate
    save: Save | None
    concurrency: int
    lease: timedelta
    reserve: Decimal | None
    report: Callable[[Progress], None] | None
    stop: threading.Event
    options: dict[str, Any]
    cursor: Cursor = attrs.field(factory=Cursor)
    running: dict[Future[Outcome], Task] = attrs.field(factory=dict)
    answers: Counter[Recorded] = attrs.field(factory=Counter)
    cost: Decimal = Decimal(0)
    next_renewal: float = 0.0

    def transact(
        self, work: Callable[[CampaignStore], Result], *, idempotent: bool = False
    ) -> Result:
        return transact(self.engine, self.tenant_id, work, idempotent=idempotent, **self.options)

    def until_done(self, pool: ThreadPoolExecutor) -> WorkerReport:
        self._renewed()
        try:
            while True:
                batch = self._claim(pool)
                if self.running:
                    self._wait_and_record()
                elif self.stop.is_set():
                    return self._finished(WorkerStop.STOPPED)
                elif batch is not None and batch.stop is StopReason.LEASES_PENDING:
                    assert batch.retry_at is not None
                    pause = (batch.retry_at - batch.at).total_seconds()
                    self.stop.wait(min(max(pause, 0.0), _BEAT))
                elif batch is not None and batch.stop is not None:
                    return self._finished(WorkerStop(batch.stop.value))
        except BaseException:
            # What still runs cannot be recorded any more: let it come to an end soon.
            self._tell(self.running.values())
            raise

    def _finished(self, stop: WorkerStop) -> WorkerReport:
        completed = False
        if stop in (WorkerStop.DRAINED, WorkerStop.BUDGET):
            completed = self.transact(self._complete)
        return WorkerReport(stop, dict(self.answers), self.cost, completed)

    def _complete(self, store: CampaignStore) -> bool:
        try:
            store.campaigns.apply(self.campaign_id, Action.COMPLETE_GENERATION)
        except TransitionNotAllowed:
            return False
        return True

    def _claim(self, pool: ThreadPoolExecutor) -> ClaimBatch | None:
        free = self.concurrency - len(self.running)
        if self.stop.is_set() or not free:
            return None
        batch = self.transact(
            lambda store: store.generation.claim(
                self.campaign_id, free, self.lease, reserve=self.reserve, cursor=self.cursor
            )
        )
        self.cursor = batch.cursor
        if batch.stop is StopReason.NOT_GENERATING:
            self._tell(self.running.values())
        for claim in batch.claims:
            task = Task(
                claim, batch.steps, batch.generation_config, self.transact, threading.Event()
            )
            self.running[pool.submit(self.generate, task)] = task
        return batch

    def _wait_and_record(self) -> None:
        pause = min(max(self.next_renewal - time.monotonic(), 0.0), _BEAT)
        done, _ = wait(self.running, timeout=pause, return_when=FIRST_COMPLETED)
        for future in done:
            self._record(self.running[future], _outcome(future))
            del self.running[future]
        if done and self.report is not None:
            self.report(self.transact(lambda store: store.generation.progress(self.campaign_id)))
        if self.stop.is_set():
            self._tell(self.running.values())
        if self.running and time.monotonic() >= self.next_renewal:
            self._renew()

    def _renew(self) -> None:
        claims = [task.claim for task in self.running.values()]
        renewal = self.transact(lambda store: store.generation.renew(claims, self.lease))
        self._tell(
            task
            for task in self.running.values()
            if renewal.cancelled or task.claim.id in renewal.lost
        )
        self._renewed()

    def _tell(self, tasks: Iterable[Task]) -> None:
        """Let tasks know that they should come to an end."""
        for task in tasks:
            task._stop.set()  # noqa: SLF001

    def _renewed(self) -> None:
        pause = min(self.lease.total_seconds() / 3, _LONGEST_UNHEARD)
        self.next_renewal = time.monotonic() + pause

    @exactly()
    def _record(self, task: Task, outcome: Outcome) -> None:
        try:
            answer = self.transact(
                lambda store: self._record_and_save(store, task, outcome), idempotent=True
            )
        except LeaseLost:
            answer = self._book(task, outcome)
        except _SaveError as error:
            outcome = Failed(SAVE_FAILED, _described(error.cause), outcome.cost)
            answer = self._book(task, outcome)
        self.answers[answer] += 1
        self.cost += (outcome.cost or Decimal(0)) + sum(task._spent, Decimal(0))  # noqa: SLF001

    def _record_and_save(self, store: CampaignStore, task: Task, outcome: Outcome) -> Recorded:
        answer = store.generation.record({task.claim: outcome})[task.claim]
        if answer is Recorded.APPLIED and self.save is not None:
            try:
                self.save(store.connection, task, outcome)
            except sa.exc.OperationalError:
                # The database's fault and not the contact's; what may be retried is.
                raise
            except Exception as error:
                raise _SaveError(error) from error
        return answer

    def _book(self, task: Task, outcome: Outcome) -> Recorded:
        """Record without saving; of a claim that was lost, only its cost."""
        return self.transact(
            lambda store: store.generation.record({task.claim: outcome}, on_lost="book")[
                task.claim
            ],
            idempotent=True,
        )


def _outcome(future: Future[Outcome]) -> Outcome:
    try:
        outcome = future.result()
        if not isinstance(outcome, Outcome):
            raise TypeError(f"generate returned {outcome!r}, which is no outcome")  # noqa: TRY301
    except LeaseLost:
        return Unfinished()
    except Exception as error:  # noqa: BLE001 - whatever the host's code raises fails its contact
        return Failed(GENERATE_FAILED, _described(error), cost=None)
    return outcome


def _described(error: Exception) -> str:
    text = f"{type(error).__name__}: {error}".replace("\0", "")
    return text.encode(errors="replace").decode()
