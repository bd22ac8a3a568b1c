"""The worker loop: claim contacts, have their messages generated, record the outcomes.

``run_worker`` and ``run_worker_async`` both run a :class:`WorkerLoop`. A *task* is one claimed
contact. ``run_export`` and ``run_export_async`` run the loop too, with another job (``jobs.py``):
its tasks push messages, and what it records is that they were pushed. The loop repeats these steps:

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
  records their outcomes. Then it ends. No transaction takes longer than ``stop_patience`` now.
* Too many tasks in a row fail in the same way (``max_equal_failures``). The loop ends as if it were
  stopped, so that a revoked key does not fail every contact.
* A lease is lost, because another worker took the contact over, or the contact was excluded,
  released or erased. The next renewal says so, and the loop asks the task to stop. It drops the
  task's outcome and books only its cost.
* A task meets a database fault in ``generate`` or in a checkpoint. The loop gives the contact back
  with an unknown cost, ends as if it were stopped, and raises the fault.
* A claim raises another error: the campaign cannot be read, or has a budget although the worker has
  no ``reserve``. The loop ends as if it were stopped, and raises the error.
* The loop itself meets a database fault. ``transact`` retries for up to a minute, or for up to five
  seconds once the worker is stopping (``database_calls.py``). If that does not help, the loop asks
  its tasks to stop and raises the fault. Their contacts can be claimed again when their leases
  expire. While tasks run, the loop tries a claim, a renewal or the query of the progress three
  times only, and again in its next round. So it can soon record the outcomes of these tasks.

Invariants:

* A contact's messages are saved once. The store applies an outcome only while the claim's token is
  in the contact's row, and ``save`` runs in that transaction (step 4).
* Every cost is booked once. Recording an outcome a second time changes nothing, so the loop does
  that if the answer to a commit was lost. A task repeats a checkpoint too, which books the cost of
  one paid call before the task is done: the checkpoint has the id of the call. The loop does not
  repeat the action that completes the generation (step 6).
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

from campaign_model._logs import worker_log
from campaign_model._values import exact_money
from campaign_model.claims import (
    Claim,
    ClaimBatch,
    Cursor,
    Failed,
    Generated,
    Outcome,
    Progress,
    Recorded,
    StopReason,
    Unfinished,
)
from campaign_model.errors import CampaignModelError, LeaseLost
from campaign_model.generation_config import GenerationConfig
from campaign_model.steps import StepSequence
from campaign_model.store import CampaignStore
from campaign_model.store.database_errors import find_database_error, is_database_fault
from campaign_model.store.transactions import check_transaction, find_cause, forbid_transact
from campaign_model.worker.database_calls import DatabaseCalls
from campaign_model.worker.host_errors import (
    GENERATE_FAILED,
    PUSH_FAILED,
    SAVE_FAILED,
    describe,
    flatten_groups,
    log_exception,
)
from campaign_model.worker.jobs import Job
from campaign_model.worker.task import AnyTask, Transact

MAX_EQUAL_FAILURES = 10
"""The default of ``max_equal_failures``: this many equal failures in a row end a worker."""

_MAX_RENEWAL_INTERVAL = 10.0
"""The most seconds between two renewals, so that a busy worker notices a cancel."""

_POLL_INTERVAL = 1.0
"""The most seconds that the loop waits before it looks at ``stop`` again."""

_FIRST_PAUSE = timedelta(seconds=1)
_LONGEST_PAUSE = timedelta(minutes=1)
"""The pauses of a contact that ``generate`` gives back again and again without a pause."""


Result = TypeVar("Result")


class WorkerStop(StrEnum):
    """Why a worker ended."""

    DRAINED = "drained"
    BUDGET = "budget"
    LEASES_PENDING = "leases_pending"
    NOT_GENERATING = "not_generating"
    NOT_EXPORTED = "not_exported"
    STOPPED = "stopped"
    EQUAL_FAILURES = "equal_failures"


@attrs.frozen
class WorkerReport:
    """What one worker did.

    ``answers`` counts the answers to its outcomes. ``cost`` is the sum of all costs that it
    reported, in outcomes and checkpoints. ``completed`` is true if this worker completed the
    campaign's generation. ``failures`` counts the contacts that failed by their error code.
    """

    stop: WorkerStop
    answers: Mapping[Recorded, int] = attrs.field(eq=dict)
    cost: Decimal
    completed: bool
    failures: Mapping[str, int] = attrs.field(factory=dict, eq=dict)


class _SaveError(Exception):
    """The host's ``save`` raised the error in ``args``."""


@attrs.define(eq=False)
class WorkerLoop(Generic[AnyTask]):
    """One worker of one campaign. ``start`` schedules a task and returns its future.

    ``job`` says what is done with contacts. ``stop`` is an event of the host, which other workers
    may share; ``ending`` ends this worker alone, after a failure. Once one of them is set, the loop
    claims nothing more, and records the outcomes of its tasks. ``database.is_impatient`` is set
    with ``ending`` if the loop raises or its caller is cancelled.
    """

    database: DatabaseCalls
    job: Job
    new_task: Callable[[Claim, StepSequence, GenerationConfig, Transact], AnyTask]
    start: Callable[[AnyTask], Future[Outcome]]
    save: Callable[[sa.Connection, AnyTask, Outcome], None] | None
    concurrency: int
    report: Callable[[Progress], Any] | None
    stop: threading.Event
    wait: bool
    max_equal_failures: int | None
    task_timeout: timedelta | None
    ending: bool = False
    end_reason: WorkerStop = WorkerStop.STOPPED
    cursor: Cursor = attrs.field(factory=Cursor)
    running: dict[Future[Outcome], AnyTask] = attrs.field(factory=dict)
    answers: Counter[Recorded] = attrs.field(factory=Counter)
    cost: Decimal = Decimal(0)
    next_renewal: float = 0.0
    error: Exception | None = None
    given_back: Counter[UUID] = attrs.field(factory=Counter)
    failures: Counter[str] = attrs.field(factory=Counter)
    equal_failures: int = 0
    last_failure: tuple[str, str] | None = None

    def run(self) -> WorkerReport:
        """Run the loop until it must end. Raise the error, if there is one, that made it end."""
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
                    self._ask_overdue_to_stop()
                    # 5. Renew
                    if self.running and time.monotonic() >= self.next_renewal:
                        self._renew()
                # 6. End
                elif self._must_end:
                    return self._finish(self.end_reason)
                elif batch is not None and batch.stop is not None:
                    if not (self.wait and batch.stop is StopReason.LEASES_PENDING):
                        return self._finish(WorkerStop(batch.stop.value))
                    assert batch.retry_at is not None
                    pause = (batch.retry_at - batch.at).total_seconds()
                    self.stop.wait(min(max(pause, 0.0), _POLL_INTERVAL))
        except BaseException:
            # The loop can record no outcome any more, so let its tasks end soon.
            self.ending = self.database.is_impatient = True
            self._ask_to_stop(self.running.values())
            raise

    @property
    def _must_end(self) -> bool:
        return self.ending or self.stop.is_set()

    def _extra(self, task: AnyTask | None = None) -> dict[str, Any]:
        """Return the fields of a log record."""
        extra = {
            "tenant_id": str(self.database.tenant_id),
            "campaign_id": str(self.job.campaign_id),
            "actor": self.database.options.get("actor"),
        }
        if task is not None:
            extra |= {
                "campaign_contact_id": str(task.claim.id),
                "contact_id": str(task.contact_id),
                "attempts": task.claim.attempts,
            }
        return extra

    def _claim_and_start(self) -> ClaimBatch | None:
        """Claim contacts for the free places and start their tasks. ``None``: no claim was made."""
        free_places = self.concurrency - len(self.running)
        if self._must_end or not free_places:
            return None
        # Idempotent: claims whose answer is lost can be claimed again when their leases expire.
        try:
            batch = self._transact_if_possible(
                lambda store: self.job.claim(store, free_places, self.cursor)
            )
        except CampaignModelError as error:
            # What is running has been paid for: record it, and raise the error at the end.
            self.error, self.ending = error, True
            name = type(error).__name__
            worker_log.error("a claim raised %s", name, extra=self._extra() | {"error": name})
            return None
        if batch is None:
            return None
        self.cursor = batch.cursor
        if batch.stop in (StopReason.NOT_GENERATING, StopReason.NOT_EXPORTED):
            self._ask_to_stop(self.running.values())
        for claim in batch.claims:
            task = self.new_task(
                claim, batch.steps, batch.generation_config, self.database.transact
            )
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
            progress = self._transact_if_possible(
                lambda store: store.generation.progress(self.job.campaign_id)
            )
            if progress is not None:
                self.call_report(self.report, progress)

    def _transact_if_possible(self, work: Callable[[CampaignStore], Result]) -> Result | None:
        """Run ``work`` in a transaction. While tasks run, make three attempts only.

        Return None if all of them met a database fault; the loop calls this method again later. In
        the meantime it can record the outcomes of its tasks.
        """
        try:
            return self.database.transact(work, patient=not self.running)
        except Exception as error:
            if self.running and is_database_fault(error):
                return None
            raise

    def call_report(self, report: Callable[[Progress], Any], progress: Progress) -> None:
        """Call the host's ``report``. Log an exception of it, and go on."""
        try:
            report(progress)
        except Exception as error:  # noqa: BLE001 - code of the host may raise anything
            log_exception("report", error, self._extra())

    def _get_outcome(self, future: Future[Outcome], task: AnyTask) -> Outcome:
        """Return the outcome of a finished task, or the outcome that its exception stands for."""
        try:
            outcome: Any = future.result()
        except CancelledError:
            return Unfinished(cost=None)
        except Exception as error:  # noqa: BLE001 - code of the host may raise anything
            return self._get_outcome_of_exception(error, task)
        if not isinstance(outcome, Outcome):
            returned = type(outcome).__name__
            message = f"generate returned {returned}; it must return an outcome, such as Generated"
            worker_log.error(message, extra=self._extra(task) | {"error_code": GENERATE_FAILED})
            return Failed(GENERATE_FAILED, message, cost=None)
        if not isinstance(outcome, Unfinished):
            self.given_back.pop(task.claim.id, None)
        elif not outcome.retry_after and not self._must_end:
            return attrs.evolve(outcome, retry_after=self._choose_pause(task.claim))
        return outcome

    def _get_outcome_of_exception(self, error: Exception, task: AnyTask) -> Outcome:
        """Return the outcome that an exception of the task stands for. Log the exception."""
        leaves = flatten_groups(error)
        faults = [find_database_error(leaf) for leaf in leaves if is_database_fault(leaf)]
        if faults:
            if self.error is None or not is_database_fault(self.error):
                self.error = faults[0]  # A fault matters more than a claim that was refused.
            self.ending = True
        outcome = Unfinished(cost=None) if faults else self.job.explain(error, task)
        if faults or isinstance(outcome, Failed):
            log_exception(self.job.function_name, error, self._extra(task), outcome)
        return outcome

    def _choose_pause(self, claim: Claim) -> timedelta:
        """Return a pause that doubles each time that the contact is given back without one."""
        self.given_back[claim.id] += 1
        doublings = min(self.given_back[claim.id] + claim.attempts - 2, 10)
        return min(_FIRST_PAUSE * (1 << doublings), _LONGEST_PAUSE)

    @exact_money()
    def _record(self, outcomes: dict[AnyTask, Outcome]) -> None:
        """Record outcomes in one transaction, or one by one if a lease is lost or a save fails."""
        try:
            answers = self.database.transact(lambda store: self._record_and_save(store, outcomes))
        except (LeaseLost, _SaveError) as error:
            if len(outcomes) > 1:
                for task, outcome in outcomes.items():
                    self._record({task: outcome})
                return
            ((task, outcome),) = outcomes.items()
            if isinstance(error, _SaveError):
                outcome = Failed(SAVE_FAILED, describe(error.args[0]), outcome.cost)
                log_exception("save", error.args[0], self._extra(task), outcome)
                outcomes = {task: outcome}
            # Record without ``save``.
            answers = self.database.transact(
                lambda store: self.job.record(store, {task.claim: outcome}, may_be_lost=True)
            )
        for task, outcome in outcomes.items():
            self.answers[answers[task.claim]] += 1
            self.cost += (outcome.cost or Decimal(0)) + task._sum_booked_costs()  # noqa: SLF001
            if answers[task.claim] in (Recorded.APPLIED, Recorded.ALREADY, Recorded.REQUEUED):
                self._count_failure(outcome)

    def _count_failure(self, outcome: Outcome) -> None:
        """Count a failure. End the worker after too many equal failures in a row.

        Failures with the same code are equal. Exceptions must have the same types too. Only
        ``Generated`` ends a row of failures.
        """
        if isinstance(outcome, Generated):
            self.equal_failures, self.last_failure = 0, None
        if not isinstance(outcome, Failed):
            return
        self.failures[outcome.code] += 1
        is_of_exception = outcome.code in (GENERATE_FAILED, SAVE_FAILED, PUSH_FAILED)
        failure = (outcome.code, outcome.message if is_of_exception else "")
        self.equal_failures = self.equal_failures + 1 if failure == self.last_failure else 1
        self.last_failure = failure
        is_first_time = self.end_reason is not WorkerStop.EQUAL_FAILURES
        if self.equal_failures == self.max_equal_failures and is_first_time:
            self.ending, self.end_reason = True, WorkerStop.EQUAL_FAILURES
            worker_log.error(
                "the worker ends after %d equal failures in a row (%s)",
                self.equal_failures,
                outcome.code,
                extra=self._extra() | {"error_code": outcome.code},
            )

    def _record_and_save(
        self, store: CampaignStore, outcomes: dict[AnyTask, Outcome]
    ) -> dict[Claim, Recorded]:
        """Record outcomes and call ``save`` for those that are applied.

        Raises :class:`LeaseLost`, ``_SaveError``, and the database faults of ``save`` themselves.
        """
        answers = self.job.record(
            store, {task.claim: outcome for task, outcome in outcomes.items()}
        )
        for task, outcome in outcomes.items():
            if answers[task.claim] is Recorded.APPLIED and self.save is not None:
                self.database.note_call(store.connection)
                try:
                    with forbid_transact(store.connection):
                        self.save(store.connection, task, outcome)
                    check_transaction(store.connection)
                except Exception as error:
                    # A database fault says nothing about the contact, even if ``save`` caught it.
                    if is_database_fault(find_cause(store.connection, error)):
                        raise
                    raise _SaveError(error) from error
        return answers

    def _renew(self) -> None:
        """Extend the leases of all running tasks. Ask those to stop whose contact is lost."""
        claims = [task.claim for task in self.running.values()]
        renewal = self._transact_if_possible(lambda store: self.job.renew(store, claims))
        if renewal is None:
            self.next_renewal = time.monotonic() + _POLL_INTERVAL
            return
        self._ask_to_stop(
            task
            for task in self.running.values()
            if renewal.cancelled or task.claim.id in renewal.lost
        )
        self._schedule_renewal()

    def _ask_overdue_to_stop(self) -> None:
        """Ask tasks to stop that have run for longer than ``task_timeout``."""
        if self.task_timeout is None:
            return
        for task in self.running.values():
            is_overdue = time.monotonic() - task._created_at >= self.task_timeout.total_seconds()  # noqa: SLF001
            if is_overdue and not task.stopping:
                worker_log.warning(
                    "a task has run for longer than %s, and is asked to stop",
                    self.task_timeout,
                    extra=self._extra(task),
                )
                self._ask_to_stop([task])

    def _schedule_renewal(self) -> None:
        pause = min(self.job.lease.total_seconds() / 3, _MAX_RENEWAL_INTERVAL)
        self.next_renewal = time.monotonic() + pause

    def _ask_to_stop(self, tasks: Iterable[AnyTask]) -> None:
        for task in tasks:
            task._stop.set()  # noqa: SLF001

    def _finish(self, stop: WorkerStop) -> WorkerReport:
        """Complete the job if nothing is left. Report what this worker did."""
        if self.error is not None:
            raise self.error
        completed = False
        if stop in (WorkerStop.DRAINED, WorkerStop.BUDGET):
            completed = self.database.transact(self.job.complete, idempotent=False)
        return WorkerReport(stop, dict(self.answers), self.cost, completed, dict(self.failures))
