"""A worker claims, generates, records and completes; it waits for others or leaves."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import attrs
import pytest
import sqlalchemy as sa

from campaign_model.claims import Generated, Outcome, Progress, Recorded, Unfinished
from campaign_model.errors import NotFound
from campaign_model.lifecycle import Action, ContactStatus, Status
from campaign_model.store.generation import Generation
from campaign_model.testing.parallel import PATIENCE
from campaign_model.testing.sample_campaigns import STEPS, Tenant
from campaign_model.worker import Task, WorkerReport, WorkerStop
from campaign_model.worker import run as worker_run
from support.tenants import contact_rows
from support.workers import (
    COST,
    PRICE,
    SLOTS,
    RunWorker,
    campaign_status,
    check_all_generated_once,
    contact_statuses,
    count_messages,
    insert_message,
    save_messages,
    taking_over,
)

# --- Until the campaign is done ------------------------------------------------------------------


@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_worker_generates_every_contact_and_completes_generation(
    tenant: Tenant, run_worker: RunWorker, concurrency: int
) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=9)
    reported: list[Progress] = []
    threads = set()

    def generate(task: Task) -> Outcome:
        threads.add(threading.get_ident())
        assert (task.steps, task.generation_config) == (STEPS, campaign.generation_config)
        assert task.message_ids == tuple(task.message_id(slot) for slot in task.slots)
        assert not task.stopping
        return Generated(COST)

    report = run_worker(
        tenant,
        campaign,
        generate,
        save=save_messages,
        concurrency=concurrency,
        report=reported.append,
        actor="me",
    )
    assert report == WorkerReport(WorkerStop.DRAINED, {Recorded.APPLIED: 9}, 9 * COST, True)
    assert campaign_status(tenant, campaign) is Status.REVIEW
    check_all_generated_once(tenant, campaign)
    assert threading.get_ident() not in threads
    assert len(threads) <= concurrency
    assert all(state.assigned == 9 for state in reported)
    generated = [state.by_status[ContactStatus.GENERATED] for state in reported]
    assert generated == sorted(generated)
    assert generated[-1] == 9
    history = tenant.transact(lambda store: store.campaigns.history(campaign.id))
    assert (history[-1].action, history[-1].actor) == (Action.COMPLETE_GENERATION, "me")


def test_a_worker_generates_as_many_contacts_at_once_as_its_concurrency(
    tenant: Tenant, run_worker: RunWorker
) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=8)
    four_at_once = threading.Barrier(4)

    def generate(_task: Task) -> Outcome:
        four_at_once.wait(PATIENCE)
        return Generated(COST)

    report = run_worker(tenant, campaign, generate, concurrency=4)
    assert report.answers == {Recorded.APPLIED: 8}


def test_no_transaction_is_open_while_messages_are_generated(
    tenant: Tenant, run_worker: RunWorker
) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=2)

    def generate(_task: Task) -> Outcome:
        assert tenant.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
        # An open claim would block these moves: on SQLite by its transaction, on PostgreSQL by its
        # lock on the campaign row.
        tenant.apply(campaign.id, Action.CANCEL_GENERATION)
        tenant.apply(campaign.id, Action.START_GENERATION)
        return Generated(COST)

    assert run_worker(tenant, campaign, generate).stop is WorkerStop.DRAINED
    tenant.check_totals(campaign.id)


def test_a_worker_ends_when_the_budget_is_spent(tenant: Tenant, run_worker: RunWorker) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=5, budget=3 * COST)
    with pytest.raises(ValueError, match="reserve"):
        run_worker(tenant, campaign)
    report = run_worker(tenant, campaign, reserve=COST, concurrency=2)
    assert report == WorkerReport(WorkerStop.BUDGET, {Recorded.APPLIED: 3}, 3 * COST, True)
    assert campaign_status(tenant, campaign) is Status.REVIEW
    assert tenant.progress(campaign.id).spent == 3 * COST
    tenant.check_totals(campaign.id)


def test_a_worker_leaves_a_campaign_alone_that_is_not_generating(
    tenant: Tenant, run_worker: RunWorker
) -> None:
    campaign = tenant.campaign(Status.READY, contacts=2)

    def never_called(_task: Task) -> Outcome:
        raise AssertionError

    report = run_worker(tenant, campaign, never_called)
    assert report == WorkerReport(WorkerStop.NOT_GENERATING, {}, Decimal(0), False)
    assert campaign_status(tenant, campaign) is Status.READY


def test_a_worker_waits_for_contacts_with_a_retry_time(
    tenant: Tenant, run_worker: RunWorker
) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=2)
    attempts: dict[UUID, int] = {}

    def generate(task: Task) -> Outcome:
        attempts[task.contact_id] = attempts.get(task.contact_id, 0) + 1
        if attempts[task.contact_id] < 3:
            return Unfinished(timedelta(milliseconds=5), cost=PRICE)
        return Generated(COST)

    report = run_worker(tenant, campaign, generate, save=save_messages)
    assert report.stop is WorkerStop.DRAINED
    assert set(attempts.values()) == {3}
    assert report.cost == 2 * COST + 4 * PRICE
    check_all_generated_once(tenant, campaign, spent=2 * COST + 4 * PRICE)


def test_a_worker_with_wait_false_leaves_contacts_that_others_hold(
    tenant: Tenant, run_worker: RunWorker
) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=3)
    (claim_of_other,) = tenant.claim(campaign.id, 1, lease=timedelta(hours=1))

    outcomes = iter([Unfinished(timedelta(hours=1)), Generated(COST)])
    report = run_worker(
        tenant, campaign, lambda _task: next(outcomes), save=save_messages, wait=False
    )
    assert report == WorkerReport(
        WorkerStop.LEASES_PENDING, {Recorded.APPLIED: 2}, COST, completed=False
    )
    assert contact_rows(tenant, campaign.id)[claim_of_other.contact_id].status == "generating"
    assert contact_statuses(tenant, campaign) == ["generated", "generating", "pending"]
    assert campaign_status(tenant, campaign) is Status.GENERATING


def test_two_workers_share_a_campaign_and_one_of_them_completes_it(
    tenant: Tenant, run_worker: RunWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_run, "_POLL_INTERVAL", 0.02)
    campaign = tenant.campaign(Status.GENERATING, contacts=12)
    both_working = threading.Barrier(2)

    def run_one_worker() -> WorkerReport:
        first_call = iter([True])

        def generate(_task: Task) -> Outcome:
            if next(first_call, False):
                both_working.wait(PATIENCE)
            return Generated(COST)

        return run_worker(tenant, campaign, generate, save=save_messages)

    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(run_one_worker) for _ in range(2)]
        reports = [future.result() for future in futures]
    assert [report.completed for report in reports].count(True) == 1
    assert sum(report.answers[Recorded.APPLIED] for report in reports) == 12
    assert sum((report.cost for report in reports), Decimal(0)) == 12 * COST
    check_all_generated_once(tenant, campaign)
    assert campaign_status(tenant, campaign) is Status.REVIEW


def test_an_unknown_campaign_is_not_found(tenant: Tenant, run_worker: RunWorker) -> None:
    campaign = attrs.evolve(tenant.campaign(Status.GENERATING, contacts=1), id=uuid4())
    with pytest.raises(NotFound):
        run_worker(tenant, campaign)


def test_a_concurrency_of_zero_is_refused(tenant: Tenant, run_worker: RunWorker) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=1)
    with pytest.raises(ValueError, match="0"):
        run_worker(tenant, campaign, concurrency=0)


# --- Tasks that finish at the same time ----------------------------------------------------------


@contextmanager
def all_tasks_finish_together(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Make the worker wait for all of its tasks. Yield the sizes of the calls of ``record``."""
    sizes: list[int] = []
    record = Generation.record

    def wait_for_all(running: Any, **_: object) -> object:
        return wait(running, PATIENCE)

    def note_size(self: Generation, outcomes: Any, **options: Any) -> object:
        sizes.append(len(outcomes))
        return record(self, outcomes, **options)

    with monkeypatch.context() as patched:
        patched.setattr(worker_run, "wait", wait_for_all)
        patched.setattr(Generation, "record", note_size)
        yield sizes


def test_outcomes_of_the_same_moment_are_recorded_together(
    tenant: Tenant, run_worker: RunWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=8)
    with all_tasks_finish_together(monkeypatch) as sizes:
        report = run_worker(tenant, campaign, save=save_messages, concurrency=4)
    assert sizes == [4, 4]
    assert report == WorkerReport(WorkerStop.DRAINED, {Recorded.APPLIED: 8}, 8 * COST, True)
    check_all_generated_once(tenant, campaign)


def test_a_lost_lease_keeps_no_other_outcome_from_being_recorded(
    tenant: Tenant, run_worker: RunWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=4)
    take_over = taking_over(tenant, campaign)
    first_call = iter([True])

    def generate(_task: Task) -> Outcome:
        if next(first_call, False):
            take_over()
        return Generated(COST)

    with all_tasks_finish_together(monkeypatch) as sizes:
        report = run_worker(tenant, campaign, generate, save=save_messages, concurrency=4)
    # The worker that took over; all four together; one by one; the cost of the lost contact.
    assert sizes == [1, 4, 1, 1, 1, 1, 1]
    assert (report.answers, report.cost) == ({Recorded.APPLIED: 3, Recorded.BOOKED: 1}, 4 * COST)
    assert contact_statuses(tenant, campaign) == ["generated"] * 4
    assert sorted(count_messages(tenant, campaign).values()) == [SLOTS] * 3
    assert tenant.progress(campaign.id).spent == 5 * COST
    tenant.check_totals(campaign.id)


def test_a_failed_save_keeps_no_other_outcome_from_being_recorded(
    tenant: Tenant, run_worker: RunWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=4)
    ids = list(contact_rows(tenant, campaign.id))

    def save_one_message_twice(connection: sa.Connection, task: Task, outcome: Outcome) -> None:
        save_messages(connection, task, outcome)
        if task.contact_id == ids[2]:
            insert_message(connection, task, task.slots[0])

    with all_tasks_finish_together(monkeypatch) as sizes:
        report = run_worker(tenant, campaign, save=save_one_message_twice, concurrency=4)
    # All four together; one by one; the failure of the third contact.
    assert sizes == [4, 1, 1, 1, 1, 1]
    assert (report.answers, report.cost) == ({Recorded.APPLIED: 4}, 4 * COST)
    assert contact_statuses(tenant, campaign) == ["failed", "generated", "generated", "generated"]
    assert count_messages(tenant, campaign) == dict.fromkeys((ids[0], ids[1], ids[3]), SLOTS)
    assert tenant.progress(campaign.id).spent == 4 * COST
    tenant.check_totals(campaign.id)
