"""``run_worker``: a worker whose ``generate`` is a function, called in threads."""

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
from campaign_model.worker.run import WorkerLoop, WorkerReport
from campaign_model.worker.sigterm import stop_on_sigterm
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
    """Generate the messages of a campaign until nothing is left, or the worker must stop.

    The worker ends when every contact is finished, when the budget is spent, when the campaign is
    cancelled, or when it is asked to stop. It renews its leases while ``generate`` runs. The last
    worker to finish completes the campaign's generation.

    * ``generate(task)`` returns an outcome. It runs in one of ``concurrency`` threads, without an
      open transaction. If it raises, the contact fails.
    * ``save(connection, task, outcome)`` writes the host's rows. It runs once for each applied
      outcome, in the transaction that records the outcome. If it raises, the contact fails and
      nothing is written. Messages of an earlier attempt may exist under the same ids: insert those
      that are missing, or update.
    * ``reserve`` is the most that one contact may cost. A campaign with a budget needs it.
    * ``report(progress)`` is called after outcomes are recorded.
    * ``wait=False``: end when only contacts are left that other workers hold or that wait for a
      retry. By default the worker waits for them.
    * ``options`` are options of :class:`CampaignStore`.

    Set ``stop`` to stop the worker, or send SIGTERM if it runs in the main thread. It then claims
    nothing more, and finishes and records the contacts that it has.

    A database fault fails no contact. Such a fault is an ``OperationalError`` of SQLAlchemy, a lost
    connection or an exhausted pool. If the server cannot be reached, for example while it restarts,
    the worker waits up to one minute. A fault in ``generate`` or in a checkpoint gives the contact
    back with an unknown cost; the worker then stops as above and raises the fault.

    Raises :class:`NotFound` for an unknown campaign, and every other database error at once: the
    contacts in flight can be claimed again when their leases expire.
    """
    stop = stop or threading.Event()
    with stop_on_sigterm(stop), ThreadPoolExecutor(concurrency) as pool:
        return WorkerLoop(
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
        ).run()
