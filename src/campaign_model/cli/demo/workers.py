"""The demo's workers: one process that kills itself, and the threads that finish its work.

``kill_one_worker`` leaves contacts behind that are claimed and half written. Their leases expire
after ``SHORT_LEASE``; then a worker of ``finish_generation`` takes them over.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import sqlalchemy as sa

from campaign_model.claims import Outcome, Progress
from campaign_model.cli.database import make_engine
from campaign_model.cli.demo.contacts import TENANT
from campaign_model.cli.demo.messages import CampaignMessages
from campaign_model.worker import Task, run_worker

WORKERS = 4
"""How many workers there are, with the one that is killed."""

SHORT_LEASE = timedelta(seconds=2)
"""Lease of the killed worker: how long its contacts stay claimed after its death."""


def kill_one_worker(
    engine: sa.Engine, messages: CampaignMessages, last_contact_number: int
) -> None:
    """Run a worker process that kills itself while it writes messages, and wait for its end.

    ``last_contact_number`` says at which of its contacts, counted from 1. Raise ``RuntimeError`` if
    the process ended in another way.
    """
    url = engine.url.render_as_string(hide_password=False)
    process = multiprocessing.get_context("spawn").Process(
        target=_work_and_kill_itself,
        args=(url, messages, last_contact_number, SHORT_LEASE),
        daemon=True,
    )
    process.start()
    process.join()
    if process.exitcode != -signal.SIGKILL:
        raise RuntimeError(
            f"the worker should have killed itself, but exited with {process.exitcode}"
        )


def _work_and_kill_itself(  # pragma: no cover - coverage is lost when its process is killed
    url: str, messages: CampaignMessages, last_contact_number: int, lease: timedelta
) -> None:
    """Work until the first message of contact ``last_contact_number`` is saved, then die."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the demo, and that ends this.
    engine = make_engine(sa.make_url(url))
    contact_numbers = itertools.count(1)

    def generate(task: Task) -> Outcome:
        if next(contact_numbers) == last_contact_number:
            messages.write(task, task.slots[0])
            os.kill(os.getpid(), signal.SIGKILL)
        return messages.write_missing(engine, task)

    campaign_id = messages.campaign_id
    run_worker(engine, TENANT, campaign_id, generate, concurrency=3, lease=lease, actor="worker-1")


def finish_generation(
    engine: sa.Engine,
    messages: CampaignMessages,
    show_progress: Callable[[Progress], None],
    say: Callable[[str], None],
) -> None:
    """Let the other workers generate the remaining contacts.

    ``say`` prints which worker takes over which contact. Raise what a worker raises.
    """
    stop = threading.Event()

    def work(number: int) -> None:
        actor = f"worker-{number}"

        def generate(task: Task) -> Outcome:
            if task.claim.attempts > 1:
                name = messages.contacts[task.contact_id].name
                say(f"{actor} took over {name} when the lease expired")
            return messages.write_missing(engine, task)

        run_worker(
            engine,
            TENANT,
            messages.campaign_id,
            generate,
            concurrency=2,
            report=show_progress,
            stop=stop,
            actor=actor,
        )

    numbers = range(2, WORKERS + 1)
    with ThreadPoolExecutor(len(numbers)) as pool:
        try:
            list(pool.map(work, numbers))
        finally:
            stop.set()  # After an error or Ctrl-C, the other workers stop.
