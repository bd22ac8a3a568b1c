"""A worker ends in good order when the campaign is cancelled, on ``stop`` and on SIGTERM."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from campaign_model.campaign import Campaign
from campaign_model.claims import Generated, Outcome, Recorded, Unfinished
from campaign_model.lifecycle import Action, Status
from campaign_model.store import CampaignStore
from campaign_model.store.transactions import run_attempts
from campaign_model.testing.parallel import PATIENCE, wait_until
from campaign_model.testing.sample_campaigns import Tenant
from campaign_model.worker import Task, WorkerReport, WorkerStop, database_calls
from campaign_model.worker import run as worker_run
from support import worker_process
from support.transactions import on_postgresql
from support.workers import (
    COST,
    PRICE,
    SLOTS,
    RunWorker,
    an_hour_later,
    campaign_status,
    check_all_generated_once,
    contact_statuses,
    count_messages,
    insert_message,
    save_messages,
)


def test_failure_02_a_worker_stops_on_cancel_and_the_next_run_works(
    tenant: Tenant, run_worker: RunWorker
) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=3)

    def cancel_and_generate(_task: Task) -> Outcome:
        tenant.apply(campaign.id, Action.CANCEL_GENERATION)
        return Generated(COST)

    for generated in (1, 2):
        report = run_worker(tenant, campaign, cancel_and_generate, save=save_messages)
        # The task that was running is finished and its outcome counts.
        assert report == WorkerReport(WorkerStop.NOT_GENERATING, {Recorded.APPLIED: 1}, COST, False)
        assert campaign_status(tenant, campaign) is Status.READY
        assert sum(count_messages(tenant, campaign).values()) == generated * SLOTS
        tenant.check_totals(campaign.id)
        tenant.apply(campaign.id, Action.START_GENERATION)
    assert run_worker(tenant, campaign, save=save_messages).completed
    check_all_generated_once(tenant, campaign)


def test_a_renewal_asks_running_tasks_to_stop_after_a_cancel(
    tenant: Tenant, run_worker: RunWorker
) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=2)

    def cancel_and_wait(task: Task) -> Outcome:
        if task.claim.attempts == 1 and not count_messages(tenant, campaign):
            tenant.apply(campaign.id, Action.CANCEL_GENERATION)
        wait_until(lambda: task.stopping, "the task is asked to stop")
        return Unfinished()

    # With a short lease, the first renewal comes soon.
    report = run_worker(tenant, campaign, cancel_and_wait, lease=timedelta(milliseconds=30))
    assert report.stop is WorkerStop.NOT_GENERATING
    assert report.answers == {Recorded.APPLIED: 1}
    assert contact_statuses(tenant, campaign) == ["pending"] * 2
    tenant.check_totals(campaign.id)


def test_the_next_claim_asks_running_tasks_to_stop_after_a_cancel(
    tenant: Tenant, run_worker: RunWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_run, "_POLL_INTERVAL", 0.02)
    campaign = tenant.campaign(Status.GENERATING, contacts=1)

    def cancel_and_wait(task: Task) -> Outcome:
        tenant.apply(campaign.id, Action.CANCEL_GENERATION)
        wait_until(lambda: task.stopping, "the task is asked to stop")
        return Unfinished()

    # With a long lease no renewal comes, and with a free place the worker claims again.
    report = run_worker(tenant, campaign, cancel_and_wait, lease=timedelta(days=1), concurrency=2)
    assert report.stop is WorkerStop.NOT_GENERATING


def test_a_stopped_worker_finishes_its_tasks_and_claims_no_more(
    tenant: Tenant, run_worker: RunWorker
) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=6)
    stop = threading.Event()
    both_working = threading.Barrier(2)

    def generate(task: Task) -> Outcome:
        if both_working.wait(PATIENCE) == 0:
            stop.set()
            return Generated(COST)
        wait_until(lambda: task.stopping, "the task is asked to stop")
        return Unfinished(cost=PRICE)

    report = run_worker(tenant, campaign, generate, save=save_messages, concurrency=2, stop=stop)
    assert report == WorkerReport(WorkerStop.STOPPED, {Recorded.APPLIED: 2}, COST + PRICE, False)
    assert contact_statuses(tenant, campaign) == ["generated", *["pending"] * 5]
    assert campaign_status(tenant, campaign) is Status.GENERATING
    tenant.check_totals(campaign.id)
    assert run_worker(tenant, campaign, save=save_messages).completed
    check_all_generated_once(tenant, campaign, spent=6 * COST + PRICE)


def test_a_worker_stopped_before_it_starts_claims_nothing(
    tenant: Tenant, run_worker: RunWorker
) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=1)
    stop = threading.Event()
    stop.set()
    report = run_worker(tenant, campaign, stop=stop)
    assert (report.stop, report.answers) == (WorkerStop.STOPPED, {})
    assert contact_statuses(tenant, campaign) == ["pending"]


def test_a_worker_that_waits_for_others_stops_at_once(
    tenant: Tenant, run_worker: RunWorker
) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=1)
    tenant.claim(campaign.id, lease=timedelta(hours=1))
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run_worker, tenant, campaign, stop=stop)
        stop.set()
        assert running.result(PATIENCE).stop is WorkerStop.STOPPED


def test_a_worker_restores_the_programs_own_sigterm_handler(
    tenant: Tenant, run_worker: RunWorker
) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=1)
    handler_before = signal.getsignal(signal.SIGTERM)
    handlers_during = []

    def generate(_task: Task) -> Outcome:
        handlers_during.append(signal.getsignal(signal.SIGTERM))
        return Generated(COST)

    run_worker(tenant, campaign, generate)
    assert signal.getsignal(signal.SIGTERM) is handler_before
    assert handlers_during != [handler_before]


def test_a_worker_leaves_a_sigterm_handler_alone_that_it_could_not_restore(
    tenant: Tenant, run_worker: RunWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python reads a handler that is written in C, as in an embedded Python, as None."""
    campaign = tenant.campaign(Status.GENERATING, contacts=1)
    handler_before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(signal, "getsignal", lambda _number: None)
    assert run_worker(tenant, campaign).completed
    monkeypatch.undo()
    assert signal.getsignal(signal.SIGTERM) is handler_before


def test_a_sigterm_that_arrives_at_once_stops_the_worker(
    tenant: Tenant, run_worker: RunWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=1)
    set_handler = signal.signal

    def set_handler_and_raise(number: int, handler: Any) -> Any:
        replaced = set_handler(number, handler)
        if number == signal.SIGTERM and callable(handler):
            signal.raise_signal(number)
        return replaced

    monkeypatch.setattr(signal, "signal", set_handler_and_raise)
    assert run_worker(tenant, campaign).stop is WorkerStop.STOPPED


@pytest.mark.parametrize("run_worker", ["threads"], indirect=True)
@pytest.mark.parametrize(
    ("role", "exit_code", "expected"),
    [
        ("stops", 0, "stopped {'applied': 1}\n"),
        # The program's own handler exits. It is called at once, and the worker ends first.
        ("exits", 3, "own handler\n"),
    ],
    ids=["default_handler", "own_handler"],
)
def test_sigterm_ends_a_worker_process_in_good_order(
    tenant: Tenant, run_worker: RunWorker, role: str, exit_code: int, expected: str
) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=3)
    with worker_process.started(tenant, campaign, role) as process:
        process.terminate()
        output, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == exit_code
    assert output == expected
    assert contact_statuses(tenant, campaign) == ["pending"] * 3
    assert tenant.progress(campaign.id).spent == PRICE
    tenant.check_totals(campaign.id)
    assert run_worker(tenant, campaign, save=save_messages).completed


# --- Stopped while it waits for a lock -----------------------------------------------------------

PATIENCE_OF_WORKER = timedelta(seconds=0.3)


@contextmanager
def locked(tenant: Tenant, campaign: Campaign) -> Iterator[None]:
    """Hold the campaign's exclusive lock."""
    with tenant.engine.connect() as connection, connection.begin():
        CampaignStore(connection, tenant.id).campaigns.get(campaign.id, lock=True)
        yield


@pytest.mark.parametrize("place", ["claim", "record", "renew", "checkpoint", "save"])
def test_a_stopped_worker_does_not_wait_for_a_lock(
    tenant: Tenant, run_worker: RunWorker, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setattr(database_calls, "_WATCH_INTERVAL", 0.05)
    monkeypatch.setattr(database_calls, "_SQLITE_WAIT", 100)
    campaign = tenant.campaign(Status.GENERATING, contacts=1)
    stop = threading.Event()
    lock = ExitStack()

    def generate(task: Task) -> Outcome:
        if place != "save":
            lock.enter_context(locked(tenant, campaign))
        if place == "checkpoint":
            stop.set()
            task.checkpoint(COST)
        if place == "renew":
            wait_until(lambda: task.stopping, "the worker raises")
        stop.set()
        return Generated(COST)

    def save(connection: sa.Connection, task: Task, _outcome: Outcome) -> None:
        insert_message(connection, task, task.slots[0])
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SELECT pg_sleep(20)")
        raise sa.exc.OperationalError("INSERT", {}, Exception("locked"))

    def stop_and_run(*arguments: Any, **options: Any) -> Any:
        stop.set()
        return run_attempts(*arguments, **options)

    if place == "claim":
        lock.enter_context(locked(tenant, campaign))
        monkeypatch.setattr(database_calls, "run_attempts", stop_and_run)
    if place == "renew":
        threading.Timer(0.6, stop.set).start()
    begun = time.monotonic()
    with lock:
        with pytest.raises(sa.exc.OperationalError):
            run_worker(
                tenant,
                campaign,
                generate,
                save=save if place == "save" else None,
                lease=timedelta(seconds=1.2),
                stop=stop,
                stop_patience=PATIENCE_OF_WORKER,
            )
        assert time.monotonic() - begun < PATIENCE / 2
    monkeypatch.undo()
    # Nothing is lost but the outcome: the contact can be claimed again.
    assert campaign_status(tenant, campaign) is Status.GENERATING
    assert run_worker(tenant, campaign, clock=an_hour_later).completed
    tenant.check_totals(campaign.id)


def test_a_call_of_a_stopped_worker_has_its_own_patience(
    tenant: Tenant, run_worker: RunWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The patience counts for each call, not for everything that a worker does after the stop.
    monkeypatch.setattr(database_calls, "_WATCH_INTERVAL", 0.05)
    campaign = tenant.campaign(Status.GENERATING, contacts=3)
    stop = threading.Event()
    together = threading.Barrier(3)
    attempts = []

    def generate(_task: Task) -> Outcome:
        together.wait(PATIENCE)
        stop.set()
        time.sleep(0.5)
        return Generated(COST)

    def save(connection: sa.Connection, task: Task, outcome: Outcome) -> None:
        attempts.append(task)
        if len(attempts) == 1:
            raise sa.exc.OperationalError("INSERT", {}, Exception("for a moment"))
        save_messages(connection, task, outcome)
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SELECT pg_sleep(0.25)")

    report = run_worker(
        tenant,
        campaign,
        generate,
        save=save,
        stop=stop,
        concurrency=3,
        stop_patience=timedelta(seconds=0.45),
    )
    assert report.answers == {Recorded.APPLIED: 3}
    check_all_generated_once(tenant, campaign)


@on_postgresql
@pytest.mark.parametrize("run_worker", ["threads"], indirect=True)
def test_sigterm_ends_a_worker_process_that_waits_for_a_lock(
    tenant: Tenant, run_worker: RunWorker
) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=1)
    with worker_process.started(tenant, campaign, "stops") as process, locked(tenant, campaign):
        process.terminate()
        output, _ = process.communicate(timeout=PATIENCE)
    assert (process.returncode, output) == (1, "")
    assert run_worker(tenant, campaign, clock=an_hour_later).completed
