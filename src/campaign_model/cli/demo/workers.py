"""The demo's workers: one process that is killed, and the threads that finish its work.

``kill_one_worker`` leaves contacts behind that are claimed and half written. Their leases expire
after ``SHORT_LEASE``; then a worker of ``finish_generation`` takes them over.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from datetime import timedelta
from uuid import UUID

import sqlalchemy as sa

from campaign_model import db
from campaign_model.claims import Outcome, Progress
from campaign_model.cli.database import open_engine
from campaign_model.cli.demo.host_tables import TENANT, choose_host
from campaign_model.cli.demo.message_writer import write_messages
from campaign_model.store import transact
from campaign_model.worker import Task, run_worker

__all__ = ["finish_generation", "kill_one_worker"]

SHORT_LEASE = timedelta(seconds=2)
"""Lease of the killed worker: how long its contacts stay claimed after its death."""

_LEASE = timedelta(minutes=1)
_POLL_SECONDS = 0.1

ShowProgress = Callable[[Progress], None]


def kill_one_worker(
    engine: sa.Engine,
    campaign_id: UUID,
    actor: str,
    fatal_contact: int,
    show_progress: ShowProgress,
) -> None:
    """Run a worker process that is killed while it writes to its ``fatal_contact``-th contact.

    Return when the process is dead. Raise ``RuntimeError`` if it ended in another way.
    """
    url = engine.url.render_as_string(hide_password=False)
    process = multiprocessing.get_context("spawn").Process(
        target=_work_until_killed,
        args=(url, campaign_id, actor, fatal_contact, SHORT_LEASE),
        daemon=True,
    )
    # The new process inherits this setting. Ctrl-C then reaches only this process, which
    # terminates the daemon process when it exits.
    previous_handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    process.start()
    signal.signal(signal.SIGINT, previous_handler)
    while process.is_alive():
        process.join(_POLL_SECONDS)
        show_progress(
            transact(engine, TENANT, lambda store: store.generation.progress(campaign_id))
        )
    if process.exitcode != -signal.SIGKILL:
        raise RuntimeError(f"{actor} should have been killed, but exited with {process.exitcode}")


def _work_until_killed(  # pragma: no cover - coverage is lost when its process is killed
    url: str, campaign_id: UUID, actor: str, fatal_contact: int, lease: timedelta
) -> None:
    """Work until the first message of the ``fatal_contact``-th contact is saved, then die."""
    engine = open_engine(sa.make_url(url))
    host = choose_host(engine)
    contact_numbers = itertools.count(1)

    def kill_this_process() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def generate(task: Task) -> Outcome:
        is_fatal = next(contact_numbers) == fatal_contact
        return write_messages(engine, host, task, kill_this_process if is_fatal else None)

    run_worker(engine, TENANT, campaign_id, generate, concurrency=3, lease=lease, actor=actor)


def finish_generation(
    engine: sa.Engine,
    host: db.MinimalHost,
    campaign_id: UUID,
    actors: Sequence[str],
    show_progress: ShowProgress,
    on_takeover: Callable[[str, UUID], None],
) -> None:
    """Generate the remaining contacts with one worker per actor, and complete the generation.

    ``on_takeover(actor, contact_id)`` is called for each contact that the killed worker had
    claimed. Raise what a worker raises.
    """
    stop = threading.Event()

    def work(actor: str) -> None:
        def generate(task: Task) -> Outcome:
            if task.claim.attempts > 1:
                on_takeover(actor, task.contact_id)
            return write_messages(engine, host, task)

        run_worker(
            engine,
            TENANT,
            campaign_id,
            generate,
            concurrency=2,
            lease=_LEASE,
            report=show_progress,
            stop=stop,
            actor=actor,
        )

    with ThreadPoolExecutor(len(actors)) as pool:
        try:
            workers = [pool.submit(work, actor) for actor in actors]
            wait(workers, return_when=FIRST_COMPLETED)
        finally:
            # A worker ends when nothing is left or when it fails. Either way, stop the others.
            stop.set()
    for worker in workers:
        worker.result()
