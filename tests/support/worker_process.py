"""A worker in a process of its own, for tests that send it signals.

``started`` starts the process and waits until it is at work. Run as a program, this module is the
process.
"""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from uuid import UUID

import sqlalchemy as sa

from campaign_model import db
from campaign_model.campaign import Campaign
from campaign_model.claims import Outcome, Unfinished
from campaign_model.testing.parallel import wait_until
from campaign_model.testing.sample_campaigns import Tenant
from campaign_model.worker import ExportTask, Task, run_export, run_worker
from campaign_model.worker import run as worker_run
from support.paths import TESTS
from support.workers import COST, PRICE, insert_message


@contextmanager
def started(tenant: Tenant, campaign: Campaign, role: str) -> Iterator[subprocess.Popen[str]]:
    """Start a worker process and wait until it works on a contact.

    ``role`` is a key of ROLES, or ``exports``.
    """
    url = tenant.engine.url.render_as_string(hide_password=False)
    command = [
        *(sys.executable, "-m", "support.worker_process"),
        *(url, str(tenant.id), str(campaign.id), role),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=TESTS) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "working\n"
            yield process
        finally:
            process.kill()


def write_one_message_and_hang(task: Task) -> Outcome:
    slot = task.slots[0]
    task.checkpoint(PRICE, lambda connection: insert_message(connection, task, slot))
    print("working", flush=True)  # noqa: T201
    threading.Event().wait()
    raise AssertionError


def give_back_when_stopping(task: Task) -> Outcome:
    print("working", flush=True)  # noqa: T201
    wait_until(lambda: task.stopping, "SIGTERM")
    return Unfinished(cost=PRICE)


def fail(_task: Task) -> Outcome:
    raise RuntimeError("no model")


def push_and_hang_at_the_third(_task: ExportTask) -> None:
    if next(_pushes) == 3:
        print("working", flush=True)  # noqa: T201
        threading.Event().wait()


_pushes = itertools.count(1)

ROLES = {
    "hangs": write_one_message_and_hang,
    "stops": give_back_when_stopping,
    "exits": give_back_when_stopping,
    "fails": fail,
}


def print_and_exit(_signal: int, _frame: FrameType | None) -> None:
    print("own handler", flush=True)  # noqa: T201
    sys.exit(3)


def main(url: str, tenant_id: str, campaign_id: str, role: str) -> None:
    """Work on the campaign, and print the reason for the end and the answers."""
    worker_run._POLL_INTERVAL = 0.02
    # Without a handler of its own, the process must not have that of coverage, which ends it.
    signal.signal(signal.SIGTERM, print_and_exit if role == "exits" else signal.SIG_DFL)
    engine = db.prepare_engine(sa.create_engine(url))
    ids = UUID(tenant_id), UUID(campaign_id)
    if role == "exports":
        run_export(engine, *ids, push_and_hang_at_the_third)
        return
    report = run_worker(engine, *ids, ROLES[role], reserve=COST)
    answers = {str(answer): number for answer, number in report.answers.items()}
    print(report.stop.value, answers)  # noqa: T201
    engine.dispose()


if __name__ == "__main__":
    main(*sys.argv[1:])
