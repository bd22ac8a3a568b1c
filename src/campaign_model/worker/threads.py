"""A worker whose ``generate`` is a function, called in threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from campaign_model.claims import Outcome, Progress
from campaign_model.worker.run import Run, WorkerReport
from campaign_model.worker.sigterm import stopped_by_sigterm
from campaign_model.worker.task import Task

__all__ = ["run_worker"]

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
    wait: bool = True,
    actor: str | None = "worker",
    **options: Any,
) -> WorkerReport:
    """Work on a campaign until nothing is left, the budget is spent, it is cancelled, or ``stop``.

    ``generate(task)`` runs in one of ``concurrency`` threads, with no transaction open, and
    returns an outcome; an exception from it fails the contact. ``save(connection, task,
    outcome)`` writes the host's rows in the transaction that applies the outcome, once; an
    exception from it fails the contact instead. It may meet messages of an attempt before, under
    the same ids: insert what is missing, or update. Leases are renewed while ``generate`` runs.
    ``reserve`` is what one contact may cost, required with a budget. ``report`` is given the
    progress whenever something was recorded. The worker that finishes last completes generation;
    without ``wait`` one does not stay for contacts that others work on or that were put off.

    Setting ``stop``, or SIGTERM when this runs in the main thread, ends it in good order:
    nothing more is claimed, what is being written is finished and recorded. ``options`` are those
    of :class:`CampaignStore`.

    A fault of the database (SQLAlchemy's ``OperationalError``, a lost connection, an exhausted
    pool) fails no contact. A server that cannot be reached, as while it restarts, is waited for
    for a minute. A fault out of ``generate`` or a checkpoint gives its contact back, its cost
    unknown; the worker ends in good order and raises it. Raises :class:`NotFound`, and other
    errors of the database at once: then every contact in flight comes back when its lease runs
    out.
    """
    stop = stop or threading.Event()
    with stopped_by_sigterm(stop), ThreadPoolExecutor(concurrency) as pool:
        return Run(
            engine=engine,
            tenant_id=tenant_id,
            campaign_id=campaign_id,
            new_task=Task,
            start=lambda task: pool.submit(generate, task),
            save=save,
            concurrency=concurrency,
            lease=lease,
            reserve=reserve,
            report=report,
            stop=stop,
            wait=wait,
            options={"actor": actor, **options},
        ).until_done()
