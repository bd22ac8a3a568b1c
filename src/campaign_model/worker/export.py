"""``run_export``: push the messages of a campaign's contacts to another system, each contact once.

``run_export`` and ``run_export_async`` run the worker loop (``run.py``) with an :class:`ExportJob`.
``store/export.py`` tells the protocol. Invariant: a contact is pushed again only if the outcome of
its push is unknown.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Unpack
from uuid import UUID

import attrs
import sqlalchemy as sa

from campaign_model.claims import Outcome, Progress, Recorded
from campaign_model.errors import TransitionNotAllowed
from campaign_model.lifecycle import Action, ContactStatus, Permission, is_permitted
from campaign_model.store import CampaignStore, StoreOptions
from campaign_model.worker.database_calls import STOP_PATIENCE
from campaign_model.worker.jobs import PUSHED, ExportJob
from campaign_model.worker.run import MAX_EQUAL_FAILURES, WorkerLoop, WorkerStop
from campaign_model.worker.runners import run_in_event_loop, run_in_threads
from campaign_model.worker.task import ExportTask

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine  # Importing it needs greenlet.


@attrs.frozen
class ExportReport:
    """What one call of ``run_export`` or ``run_export_async`` did.

    ``stop`` says why it ended. ``exported`` is the number of contacts that it pushed and marked as
    exported, ``lost`` the number of those that it pushed but could not mark, because they were
    erased or taken over meanwhile. ``failures`` counts the contacts whose push raised, by code
    (``push_failed``, ``task_timed_out``). ``remaining`` is the number of contacts of the campaign
    that are not exported yet.
    """

    stop: WorkerStop
    exported: int
    lost: int
    remaining: int
    failures: Mapping[str, int] = attrs.field(factory=dict, eq=dict)


def _export_all(export_loop: WorkerLoop[ExportTask]) -> ExportReport:
    """Apply the action ``export`` to the campaign, run the loop, and report what it did."""
    database, campaign_id = export_loop.database, export_loop.job.campaign_id

    def start(store: CampaignStore) -> None:
        try:
            store.campaigns.apply(campaign_id, Action.EXPORT)
        except TransitionNotAllowed as error:
            if not is_permitted(Permission.EXPORT_CONTACTS, error.source):
                raise
            # An earlier start has exported the campaign: go on.

    database.transact(start)
    done = export_loop.run()
    progress = database.transact(lambda store: store.generation.progress(campaign_id))
    return ExportReport(
        stop=done.stop,
        exported=done.answers.get(Recorded.APPLIED, 0) + done.answers.get(Recorded.ALREADY, 0),
        # A skipped contact was pushed, and its claim was lost.
        lost=done.answers.get(Recorded.SKIPPED, 0),
        # An exported contact keeps the status ``generated``.
        remaining=progress.by_status[ContactStatus.GENERATED] - progress.exported,
        failures=done.failures,
    )


def run_export(
    engine: sa.Engine,
    tenant_id: UUID,
    campaign_id: UUID,
    push: Callable[[ExportTask], object],
    *,
    concurrency: int = 1,
    lease: timedelta = timedelta(minutes=5),
    report: Callable[[Progress], None] | None = None,
    stop: threading.Event | None = None,
    wait: bool = True,
    actor: str | None = "exporter",
    max_equal_failures: int | None = MAX_EQUAL_FAILURES,
    task_timeout: timedelta | None = None,
    stop_patience: timedelta = STOP_PATIENCE,
    **options: Unpack[StoreOptions],
) -> ExportReport:
    """Push the messages of every contact of an approved campaign, each contact once.

    First apply ``export``, if the campaign is approved. If it is exported already, go on with the
    contacts that are left: so a later call continues an export that was interrupted, and several
    calls may run at once. Then claim one contact after another, call ``push``, and mark the contact
    as exported when ``push`` has returned.

    * ``push(task)`` sends the messages of one contact. It runs in one of ``concurrency`` threads,
      without an open transaction. Give :meth:`ExportTask.message_id` to the receiver as idempotency
      key. A contact whose push raises is given back and not tried again by this call, but by the
      next one.
    * ``report(progress)`` is called after contacts were marked; ``progress.exported`` is their
      number.
    * ``wait=False``: end when only contacts are left that other calls hold. By default the call
      waits for these contacts, and pushes those whose exporter has died.
    * ``actor`` is the exporter's name, in the history and in log records.
    * ``max_equal_failures``: end after this number of pushes in a row that raise errors of the same
      type. ``None``: no such limit.
    * ``task_timeout``: after this time, ``task.stopping`` is true.
    * ``lease``, ``stop``, ``stop_patience`` and ``options`` mean what they mean in ``run_worker``.

    A contact is pushed a second time only if the outcome of its first push is unknown: ``push``
    raised, or the process died between push and mark, or the database was gone for longer than a
    minute. If a contact is erased during its push, it counts as ``lost`` in the report; that does
    not disturb other contacts.

    Raises :class:`NotFound`, :class:`TransitionNotAllowed` for a campaign that is neither approved
    nor exported, ``TypeError`` and ``ValueError`` for arguments of a wrong type or value, and
    database errors as ``run_worker`` does.
    """
    arguments = locals()

    def push_one(task: ExportTask) -> Outcome:
        push(task)
        return PUSHED

    job = ExportJob(campaign_id, lease)
    return run_in_threads(arguments, job, ExportTask, push_one, _export_all)


async def run_export_async(
    engine: sa.Engine | AsyncEngine,
    tenant_id: UUID,
    campaign_id: UUID,
    push: Callable[[ExportTask], Coroutine[Any, Any, object]],
    *,
    concurrency: int = 50,
    lease: timedelta = timedelta(minutes=5),
    report: Callable[[Progress], None] | None = None,
    stop: threading.Event | None = None,
    wait: bool = True,
    actor: str | None = "exporter",
    max_equal_failures: int | None = MAX_EQUAL_FAILURES,
    task_timeout: timedelta | None = None,
    stop_patience: timedelta = STOP_PATIENCE,
    **options: Unpack[StoreOptions],
) -> ExportReport:
    """Push the messages of an approved campaign, with ``concurrency`` coroutines, not threads.

    Arguments, result and errors are those of :func:`run_export`, with these differences.
    ``await push(task)`` and ``report`` run in the event loop. The transactions use one connection
    of the engine's pool. With an ordinary engine they run in a thread, with an ``AsyncEngine`` in
    the event loop (see ``run_worker_async``).

    If the caller cancels this coroutine, its running pushes are cancelled too. So is a push that
    runs for longer than ``task_timeout``; it counts as a failure with the code ``task_timed_out``.
    The outcome of a cancelled push is unknown: its contact is given back, and the next call pushes
    it again. Set ``stop`` instead to let running pushes finish.
    """
    arguments = locals()

    async def push_one(task: ExportTask) -> Outcome:
        await push(task)
        return PUSHED

    job, pool = ExportJob(campaign_id, lease), ThreadPoolExecutor(1)
    return await run_in_event_loop(arguments, job, ExportTask, push_one, _export_all, pool)
