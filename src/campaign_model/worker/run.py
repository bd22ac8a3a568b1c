"""What every worker does, whether its messages are written by threads or by coroutines."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, Generic, TypeVar
from uuid import UUID

import attrs
import sqlalchemy as sa

from campaign_model._values import exactly
from campaign_model.claims import (
    Claim,
    ClaimBatch,
    Cursor,
    Failed,
    Outcome,
    Progress,
    Recorded,
    StopReason,
    Unfinished,
)
from campaign_model.errors import LeaseLost, TransitionNotAllowed
from campaign_model.generation_config import GenerationConfig
from campaign_model.lifecycle import Action
from campaign_model.steps import StepSequence
from campaign_model.store import CampaignStore, transact
from campaign_model.worker.task import AnyTask, Transact

__all__ = ["GENERATE_FAILED", "SAVE_FAILED", "Run", "WorkerReport", "WorkerStop"]

GENERATE_FAILED = "generate_failed"
"""Error code of a contact for which ``generate`` raised."""

SAVE_FAILED = "save_failed"
"""Error code of a contact for which ``save`` raised."""

_LONGEST_UNHEARD = 10.0
"""Seconds after which leases are renewed at the latest: so a busy worker hears of a cancel."""

_BEAT = 1.0
"""Seconds after which a worker looks up from waiting, to see whether it was told to stop."""

_PATIENCE = timedelta(minutes=1)
"""How long a database that has answered before, and does so no more, is waited for."""

Result = TypeVar("Result")


class WorkerStop(StrEnum):
    """Why a worker came to an end."""

    DRAINED = "drained"
    BUDGET = "budget"
    LEASES_PENDING = "leases_pending"
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


class _SaveError(Exception):
    """The host's ``save`` raised ``cause``."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


@attrs.define(eq=False)
class Run(Generic[AnyTask]):
    """One worker at work; ``start`` has a task's outcome made, where and how is its own matter."""

    engine: sa.Engine
    tenant_id: UUID
    campaign_id: UUID
    new_task: Callable[[Claim, StepSequence, GenerationConfig, Transact], AnyTask]
    start: Callable[[AnyTask], Future[Outcome]]
    save: Callable[[sa.Connection, AnyTask, Outcome], None] | None
    concurrency: int = attrs.field(validator=attrs.validators.ge(1))
    lease: timedelta
    reserve: Decimal | None
    report: Callable[[Progress], Any] | None
    stop: threading.Event
    wait: bool
    options: dict[str, Any]
    ending: bool = False
    """Whether this run alone is to end as if it were told to stop."""
    cursor: Cursor = attrs.field(factory=Cursor)
    running: dict[Future[Outcome], AnyTask] = attrs.field(factory=dict)
    answers: Counter[Recorded] = attrs.field(factory=Counter)
    cost: Decimal = Decimal(0)
    next_renewal: float = 0.0
    fault: Exception | None = None
    patience: timedelta = timedelta(0)

    def until_done(self) -> WorkerReport:
        """Work until there is a reason to end."""
        self._renewed()
        try:
            while True:
                batch = self._claim()
                if self.running:
                    self._wait_and_record()
                elif self._told_to_end:
                    return self._finished(WorkerStop.STOPPED)
                elif batch is not None and batch.stop is not None:
                    if not (self.wait and batch.stop is StopReason.LEASES_PENDING):
                        return self._finished(WorkerStop(batch.stop.value))
                    assert batch.retry_at is not None
                    pause = (batch.retry_at - batch.at).total_seconds()
                    self.stop.wait(min(max(pause, 0.0), _BEAT))
        except BaseException:
            # What still runs cannot be recorded any more: let it come to an end soon.
            self._tell(self.running.values())
            raise

    @property
    def _told_to_end(self) -> bool:
        return self.ending or self.stop.is_set()

    def _transact(
        self, work: Callable[[CampaignStore], Result], *, idempotent: bool = True
    ) -> Result:
        result = transact(
            self.engine,
            self.tenant_id,
            work,
            patience=self.patience,
            idempotent=idempotent,
            **self.options,
        )
        # Where it has answered once it will again; before that, a mistake is more likely.
        self.patience = _PATIENCE
        return result

    def _checkpoint(self, work: Callable[[CampaignStore], None]) -> None:
        self._transact(work, idempotent=False)

    def _finished(self, stop: WorkerStop) -> WorkerReport:
        if self.fault is not None:
            raise self.fault
        completed = False
        if stop in (WorkerStop.DRAINED, WorkerStop.BUDGET):
            completed = self._transact(self._complete, idempotent=False)
        return WorkerReport(stop, dict(self.answers), self.cost, completed)

    def _complete(self, store: CampaignStore) -> bool:
        try:
            store.campaigns.apply(self.campaign_id, Action.COMPLETE_GENERATION)
        except TransitionNotAllowed:
            return False
        return True

    def _claim(self) -> ClaimBatch | None:
        free = self.concurrency - len(self.running)
        if self._told_to_end or not free:
            return None
        # Claims whose answer is lost come back when their leases run out.
        batch = self._transact(
            lambda store: store.generation.claim(
                self.campaign_id, free, self.lease, reserve=self.reserve, cursor=self.cursor
            )
        )
        self.cursor = batch.cursor
        if batch.stop is StopReason.NOT_GENERATING:
            self._tell(self.running.values())
        for claim in batch.claims:
            task = self.new_task(claim, batch.steps, batch.generation_config, self._checkpoint)
            self.running[self.start(task)] = task
        return batch

    def _wait_and_record(self) -> None:
        pause = min(max(self.next_renewal - time.monotonic(), 0.0), _BEAT)
        done, _ = wait(self.running, timeout=pause, return_when=FIRST_COMPLETED)
        if done:
            self._record(
                {
                    self.running[future]: self._outcome(future, self.running[future])
                    for future in done
                }
            )
            for future in done:
                del self.running[future]
            if self.report is not None:
                self.report(
                    self._transact(lambda store: store.generation.progress(self.campaign_id))
                )
        if self._told_to_end:
            self._tell(self.running.values())
        if self.running and time.monotonic() >= self.next_renewal:
            self._renew()

    def _renew(self) -> None:
        claims = [task.claim for task in self.running.values()]
        renewal = self._transact(lambda store: store.generation.renew(claims, self.lease))
        self._tell(
            task
            for task in self.running.values()
            if renewal.cancelled or task.claim.id in renewal.lost
        )
        self._renewed()

    def _tell(self, tasks: Iterable[AnyTask]) -> None:
        """Let tasks know that they should come to an end."""
        for task in tasks:
            task._stop.set()  # noqa: SLF001

    def _renewed(self) -> None:
        pause = min(self.lease.total_seconds() / 3, _LONGEST_UNHEARD)
        self.next_renewal = time.monotonic() + pause

    def _outcome(self, future: Future[Outcome], task: AnyTask) -> Outcome:
        try:
            outcome = future.result()
            if not isinstance(outcome, Outcome):
                raise TypeError(f"generate returned {outcome!r}, which is no outcome")  # noqa: TRY301
        except CancelledError:
            return Unfinished(cost=None)
        except Exception as error:  # noqa: BLE001 - whatever the host's code raises is told of its contact
            for one in _each(error):
                if _is_databases_fault(one):
                    self.fault, self.ending = self.fault or one, True
                    return Unfinished(cost=None)
            if any(isinstance(one, LeaseLost) for one in _each(error)):
                return Unfinished(cost=task._unbooked())  # noqa: SLF001
            return Failed(GENERATE_FAILED, _described(error), cost=None)
        return outcome

    @exactly()
    def _record(self, outcomes: dict[AnyTask, Outcome]) -> None:
        """All together; one by one if any of them was lost or cannot be saved."""
        try:
            answers = self._transact(lambda store: self._record_and_save(store, outcomes))
        except (LeaseLost, _SaveError) as error:
            if len(outcomes) > 1:
                for task, outcome in outcomes.items():
                    self._record({task: outcome})
                return
            ((task, outcome),) = outcomes.items()
            if isinstance(error, _SaveError):
                outcome = Failed(SAVE_FAILED, _described(error.cause), outcome.cost)
            answers = self._book(task.claim, outcome)
        for task, outcome in outcomes.items():
            self.answers[answers[task.claim]] += 1
            self.cost += (outcome.cost or Decimal(0)) + task._spent()  # noqa: SLF001

    def _record_and_save(
        self, store: CampaignStore, outcomes: dict[AnyTask, Outcome]
    ) -> dict[Claim, Recorded]:
        answers = store.generation.record(
            {task.claim: outcome for task, outcome in outcomes.items()}
        )
        for task, outcome in outcomes.items():
            if answers[task.claim] is Recorded.APPLIED and self.save is not None:
                try:
                    self.save(store.connection, task, outcome)
                except Exception as error:
                    if _is_databases_fault(error):
                        raise
                    raise _SaveError(error) from error
        return answers

    def _book(self, claim: Claim, outcome: Outcome) -> dict[Claim, Recorded]:
        """Record without saving; of a claim that was lost, only its cost."""
        return self._transact(
            lambda store: store.generation.record({claim: outcome}, on_lost="book")
        )


def _each(error: BaseException) -> Iterator[Any]:
    """The errors themselves, of a group that may hold groups."""
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _each(one)
    else:
        yield error


def _is_databases_fault(error: BaseException) -> bool:
    """Whether the database could not do its work, whatever it was asked for."""
    lost = isinstance(error, sa.exc.DBAPIError) and error.connection_invalidated
    return lost or isinstance(error, sa.exc.OperationalError | sa.exc.TimeoutError)


def _described(error: Exception) -> str:
    text = "; ".join(f"{type(one).__name__}: {one}" for one in _each(error)).replace("\0", "")
    return text.encode(errors="replace").decode()
