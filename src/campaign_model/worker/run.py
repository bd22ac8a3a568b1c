"""The worker loop: claim contacts, have their messages generated, record the outcomes.

``run_worker`` and ``run_worker_async`` both run a :class:`WorkerLoop`. A *task* is one claimed
contact. The loop repeats these steps:

1. Claim. Claim contacts for the free places, under a lease. The claim commits before a task starts,
   so no transaction is open while messages are generated.
2. Start. ``start`` schedules each task in a thread or a coroutine and returns its future.
3. Wait until a task is done, until the next renewal is due, or for one second.
4. Record. Record the outcomes of all finished tasks and call the host's ``save`` for those that
   are applied, in one transaction. If a lease is lost or ``save`` raises, that transaction writes
   nothing. Record the outcomes one by one then, so that no contact is held up by another.
5. Renew. After a third of the lease, or ten seconds if that is less, extend the leases of all
   running tasks. The answer names lost leases, and says if the run was cancelled.
6. End when no task runs and nothing can be claimed. If every contact is finished or the budget is
   spent, try to complete the campaign's generation. The last worker to finish succeeds.

Events that end tasks or the loop:

* The campaign is cancelled. The next claim or renewal says so, and the loop asks its tasks to stop
  (``task.stopping``). It still records their outcomes, which count. Then it ends.
* ``stop`` is set, for example by SIGTERM. The loop claims nothing more, asks its tasks to stop and
  records their outcomes. Then it ends. ``ending`` does the same for this loop alone.
* A lease is lost, because another worker took the contact over, or the contact was excluded,
  released or erased. The next renewal says so, and the loop asks the task to stop. It drops the
  task's outcome and books only its cost.
* A task meets a database fault in ``generate`` or in a checkpoint. The loop gives the contact back
  with an unknown cost, ends as if it were stopped, and raises the fault.
* The loop itself meets a database fault. ``transact`` retries for up to a minute. If that does not
  help, the loop asks its tasks to stop and raises the fault. Their contacts can be claimed again
  when their leases expire.

Invariants:

* A contact's messages are saved once. The store applies an outcome only while the claim's token is
  in the contact's row, and ``save`` runs in that transaction (step 4).
* Every cost is booked once. A repeated record changes nothing, so a lost answer to a commit is
  repeated. So is a checkpoint: it has the id of its paid call. A completion is not repeated.
* No contact stays with a worker that died: its lease expires (step 1). No live worker loses a
  contact by being slow: it renews (step 5).
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
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
from campaign_model.errors import LeaseLost, TransactionAborted, TransitionNotAllowed
from campaign_model.generation_config import GenerationConfig
from campaign_model.lifecycle import Action
from campaign_model.steps import StepSequence
from campaign_model.store import CampaignStore, transact
from campaign_model.store.database_errors import is_database_fault
from campaign_model.store.transactions import check_transaction
from campaign_model.worker.task import AnyTask, Transact

GENERATE_FAILED = "generate_failed"
"""Error code of a contact for which ``generate`` raised."""

SAVE_FAILED = "save_failed"
"""Error code of a contact for which ``save`` raised."""

_MAX_RENEWAL_INTERVAL = 10.0
"""The most seconds between two renewals, so that a busy worker notices a cancel."""

_POLL_INTERVAL = 1.0
"""The most seconds that the loop waits before it looks at ``stop`` again."""

_ATTEMPTS = 20
"""Attempts at a transaction: enough for many workers that are in conflict with each other."""

_PATIENCE = timedelta(minutes=1)
"""How long the loop tries again after database faults of a server that has answered before."""

Result = TypeVar("Result")


class WorkerStop(StrEnum):
    """Why a worker ended."""

    DRAINED = "drained"
    BUDGET = "budget"
    LEASES_PENDING = "leases_pending"
    NOT_GENERATING = "not_generating"
    STOPPED = "stopped"


@attrs.frozen
class WorkerReport:
    """What one worker did.

    ``answers`` counts the answers to its outcomes. ``cost`` is the sum of all costs that it
    reported, in outcomes and checkpoints. ``completed`` is true if this worker completed the
    campaign's generation.
    """

    stop: WorkerStop
    answers: Mapping[Recorded, int] = attrs.field(eq=dict)
    cost: Decimal
    completed: bool


class _SaveError(Exception):
    """The host's ``save`` raised the error in ``args``."""


@attrs.define(eq=False)
class WorkerLoop(Generic[AnyTask]):
    """One worker of one campaign. ``start`` schedules a task and returns its future.

    ``ending`` is true once this worker must end. ``stop`` may end other workers as well.
    """

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
    cursor: Cursor = attrs.field(factory=Cursor)
    running: dict[Future[Outcome], AnyTask] = attrs.field(factory=dict)
    answers: Counter[Recorded] = attrs.field(factory=Counter)
    cost: Decimal = Decimal(0)
    next_renewal: float = 0.0
    database_fault: Exception | None = None
    patience: timedelta = timedelta(0)

    def run(self) -> WorkerReport:
        """Run the loop until it must end. Raise the first database fault that a task met."""
        self._schedule_renewal()
        try:
            while True:
                # 1. Claim, 2. Start
                batch = self._claim_and_start()
                if self.running:
                    # 3. Wait, 4. Record
                    self._wait_and_record()
                    if self._must_end:
                        self._ask_to_stop(self.running.values())
                    # 5. Renew
                    if self.running and time.monotonic() >= self.next_renewal:
                        self._renew()
                # 6. End
                elif self._must_end:
                    return self._finish(WorkerStop.STOPPED)
                elif batch is not None and batch.stop is not None:
                    if not (self.wait and batch.stop is StopReason.LEASES_PENDING):
                        return self._finish(WorkerStop(batch.stop.value))
                    assert batch.retry_at is not None
                    pause = (batch.retry_at - batch.at).total_seconds()
                    self.stop.wait(min(max(pause, 0.0), _POLL_INTERVAL))
        except BaseException:
            # The loop can record no outcome any more, so let its tasks end soon.
            self._ask_to_stop(self.running.values())
            raise

    @property
    def _must_end(self) -> bool:
        return self.ending or self.stop.is_set()

    def _transact(
        self, work: Callable[[CampaignStore], Result], *, idempotent: bool = True
    ) -> Result:
        """Run ``work`` in a transaction. Wait for a lost server, but only after a first success.

        A server that never answered is more likely a wrong URL than a restart.
        """
        result = transact(
            self.engine,
            self.tenant_id,
            work,
            attempts=_ATTEMPTS,
            patience=self.patience,
            idempotent=idempotent,
            **self.options,
        )
        self.patience = _PATIENCE
        return result

    def _claim_and_start(self) -> ClaimBatch | None:
        """Claim contacts for the free places and start their tasks. ``None``: no claim was made."""
        free_places = self.concurrency - len(self.running)
        if self._must_end or not free_places:
            return None
        # Idempotent: claims whose answer is lost can be claimed again when their leases expire.
        batch = self._transact(
            lambda store: store.generation.claim(
                self.campaign_id, free_places, self.lease, reserve=self.reserve, cursor=self.cursor
            )
        )
        self.cursor = batch.cursor
        if batch.stop is StopReason.NOT_GENERATING:
            self._ask_to_stop(self.running.values())
        for claim in batch.claims:
            task = self.new_task(claim, batch.steps, batch.generation_config, self._transact)
            self.running[self.start(task)] = task
        return batch

    def _wait_and_record(self) -> None:
        """Wait for finished tasks, record their outcomes, and report the progress."""
        pause = min(max(self.next_renewal - time.monotonic(), 0.0), _POLL_INTERVAL)
        done, _ = wait(self.running, timeout=pause, return_when=FIRST_COMPLETED)
        if not done:
            return
        finished = {self.running.pop(future): future for future in done}
        self._record({task: self._get_outcome(future, task) for task, future in finished.items()})
        if self.report is not None:
            self.report(self._transact(lambda store: store.generation.progress(self.campaign_id)))

    def _get_outcome(self, future: Future[Outcome], task: AnyTask) -> Outcome:
        """Return the outcome of a finished task, or the outcome that its exception stands for."""
        try:
            outcome: Any = future.result()
        except CancelledError:
            return Unfinished(cost=None)
        except Exception as error:  # noqa: BLE001 - code of the host may raise anything
            errors = _flatten_groups(error)
            for leaf in errors:
                if is_database_fault(leaf):
                    self.database_fault = self.database_fault or leaf
                    self.ending = True
                    return Unfinished(cost=None)
            if any(isinstance(leaf, LeaseLost) for leaf in errors):
                return Unfinished(cost=task._sum_unbooked_costs())  # noqa: SLF001
            if any(isinstance(leaf, TransactionAborted) for leaf in errors):
                # The ``save`` of a checkpoint caught a database error.
                return Failed(SAVE_FAILED, _describe(error), task._sum_unbooked_costs())  # noqa: SLF001
            return Failed(GENERATE_FAILED, _describe(error), cost=None)
        if not isinstance(outcome, Outcome):
            returned = type(outcome).__name__
            message = f"generate returned {returned}; it must return an outcome, such as Generated"
            return Failed(GENERATE_FAILED, message, cost=None)
        return outcome

    @exactly()
    def _record(self, outcomes: dict[AnyTask, Outcome]) -> None:
        """Record outcomes in one transaction, or one by one if a lease is lost or a save fails."""
        try:
            answers = self._transact(lambda store: self._record_and_save(store, outcomes))
        except (LeaseLost, _SaveError) as error:
            if len(outcomes) > 1:
                for task, outcome in outcomes.items():
                    self._record({task: outcome})
                return
            ((task, outcome),) = outcomes.items()
            if isinstance(error, _SaveError):
                outcome = Failed(SAVE_FAILED, _describe(error.args[0]), outcome.cost)
            # Record without ``save``. If the lease is lost, book the cost alone.
            final_outcomes = {task.claim: outcome}
            answers = self._transact(
                lambda store: store.generation.record(final_outcomes, on_lost="book")
            )
        for task, outcome in outcomes.items():
            self.answers[answers[task.claim]] += 1
            self.cost += (outcome.cost or Decimal(0)) + task._sum_booked_costs()  # noqa: SLF001

    def _record_and_save(
        self, store: CampaignStore, outcomes: dict[AnyTask, Outcome]
    ) -> dict[Claim, Recorded]:
        """Record outcomes and call ``save`` for those that are applied.

        Raises :class:`LeaseLost`, ``_SaveError``, and the database faults of ``save`` themselves.
        """
        answers = store.generation.record(
            {task.claim: outcome for task, outcome in outcomes.items()}
        )
        for task, outcome in outcomes.items():
            if answers[task.claim] is Recorded.APPLIED and self.save is not None:
                try:
                    self.save(store.connection, task, outcome)
                    check_transaction(store.connection)
                except Exception as error:
                    # A lost connection says nothing about the contact, even if ``save`` hid it.
                    if is_database_fault(error) or store.connection.invalidated:
                        raise
                    raise _SaveError(error) from error
        return answers

    def _renew(self) -> None:
        """Extend the leases of all running tasks. Ask those to stop whose contact is lost."""
        claims = [task.claim for task in self.running.values()]
        renewal = self._transact(lambda store: store.generation.renew(claims, self.lease))
        self._ask_to_stop(
            task
            for task in self.running.values()
            if renewal.cancelled or task.claim.id in renewal.lost
        )
        self._schedule_renewal()

    def _schedule_renewal(self) -> None:
        pause = min(self.lease.total_seconds() / 3, _MAX_RENEWAL_INTERVAL)
        self.next_renewal = time.monotonic() + pause

    def _ask_to_stop(self, tasks: Iterable[AnyTask]) -> None:
        for task in tasks:
            task._stop.set()  # noqa: SLF001

    def _finish(self, stop: WorkerStop) -> WorkerReport:
        """Complete the campaign's generation if nothing is left. Report what this worker did."""
        if self.database_fault is not None:
            raise self.database_fault
        completed = False
        if stop in (WorkerStop.DRAINED, WorkerStop.BUDGET):
            completed = self._transact(self._complete_generation, idempotent=False)
        return WorkerReport(stop, dict(self.answers), self.cost, completed)

    def _complete_generation(self, store: CampaignStore) -> bool:
        """Complete generation. Return False if it is over or other workers still have contacts."""
        try:
            store.campaigns.apply(self.campaign_id, Action.COMPLETE_GENERATION)
        except TransitionNotAllowed:
            return False
        return True


def _flatten_groups(error: BaseException) -> list[Any]:
    """Return the errors in an exception group and in the groups inside it, or the error itself."""
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [leaf for nested in error.exceptions for leaf in _flatten_groups(nested)]


def _describe(error: Exception) -> str:
    """Return the types and messages of an error, as text that every database can store."""
    errors = _flatten_groups(error)
    text = "; ".join(f"{type(leaf).__name__}: {leaf}" for leaf in errors).replace("\0", "")
    return text.encode(errors="replace").decode()
