"""Workers: to the end, told to stop, cancelled, broken off, beside others, and found dead.

Each test holds of threads and of coroutines. Run as a program, this file is the worker process
that the tests send signals to.
"""

from __future__ import annotations

import asyncio
import itertools
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import attrs
import pytest
import sqlalchemy as sa

from campaign_model import db
from campaign_model.campaign import Campaign
from campaign_model.claims import Claim, Failed, Generated, Outcome, Progress, Recorded, Unfinished
from campaign_model.errors import LeaseLost, NotFound, TransitionNotAllowed
from campaign_model.lifecycle import Action, ContactStatus, Status
from campaign_model.steps import MessageSlot
from campaign_model.store.generation import Generation
from campaign_model.store.scope import database_time
from campaign_model.testing.clock import FrozenClock
from campaign_model.testing.death import Death, dying
from campaign_model.testing.parallel import PATIENCE, wait_until
from campaign_model.testing.sample_campaigns import LEASE, STEPS, Tenant
from campaign_model.worker import (
    GENERATE_FAILED,
    SAVE_FAILED,
    AsyncTask,
    Task,
    WorkerReport,
    WorkerStop,
    run_worker,
    run_worker_async,
)
from campaign_model.worker import run as worker_run
from support import servers
from support.paths import TESTS
from support.tenants import HOST, contact_rows, new_owner, new_tenant
from support.transactions import broken_commit, on_postgresql

# Their statements are the store's, whose tests run on every server.
pytestmark = pytest.mark.newest


SLOTS = len(STEPS.slots())
PRICE = Decimal("0.00144")
COST = SLOTS * PRICE


def insert_message(connection: sa.Connection, task: Task, slot: MessageSlot) -> None:
    connection.execute(
        sa.insert(HOST.messages).values(
            id=task.message_id(slot),
            tenant_id=connection.scalar(
                sa.select(HOST.contacts.c.tenant_id).where(HOST.contacts.c.id == task.contact_id)
            ),
            campaign_id=task.claim.campaign_id,
            campaign_contact_id=task.claim.id,
            contact_id=task.contact_id,
            step_key=slot.step_key,
            variant=slot.variant,
            channel=slot.channel,
            body="Hello",
            generation_cost=PRICE,
        )
    )


def save(connection: sa.Connection, task: Task, outcome: Outcome) -> None:
    """The host's ``save``: all of a contact's messages, each of which may exist only once."""
    if isinstance(outcome, Generated):
        for slot in task.slots:
            insert_message(connection, task, slot)


def generate(_task: Task) -> Outcome:
    return Generated(COST)


def run_coroutines(
    engine: sa.Engine,
    tenant_id: UUID,
    campaign_id: UUID,
    generate: Callable[[Any], Outcome],
    *,
    concurrency: int = 1,
    **options: Any,
) -> WorkerReport:
    """``run_worker_async``, with coroutines that wait for functions written for threads."""

    async def main(pool: ThreadPoolExecutor) -> WorkerReport:
        loop = asyncio.get_running_loop()

        async def work(task: AsyncTask) -> Outcome:
            def checkpoint(*arguments: Any) -> None:
                asyncio.run_coroutine_threadsafe(task.checkpoint(*arguments), loop).result()

            blocking = Blocking(task, checkpoint)
            return await loop.run_in_executor(pool, generate, blocking)

        return await run_worker_async(
            engine, tenant_id, campaign_id, work, concurrency=concurrency, **options
        )

    with ThreadPoolExecutor(max(concurrency, 1)) as pool:
        return asyncio.run(main(pool))


@attrs.frozen
class Blocking:
    """An asynchronous task as a task of threads."""

    task: AsyncTask
    checkpoint: Callable[..., None]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.task, name)


FORMS: dict[str, Callable[..., WorkerReport]] = {
    "threads": run_worker,
    "coroutines": run_coroutines,
}
form_of_this_test: list[str] = []
only_threads = pytest.mark.parametrize("form", ["threads"], indirect=True)


@pytest.fixture(autouse=True, params=FORMS)
def form(request: pytest.FixtureRequest) -> Iterator[None]:
    """Each form of a worker in turn."""
    form_of_this_test.append(request.param)
    yield
    form_of_this_test.clear()


def run(
    tenant: Tenant,
    campaign: Campaign,
    how: Any = generate,
    *,
    stop: threading.Event | None = None,
    **options: Any,
) -> WorkerReport:
    """Run a worker, and stop one that does not come to an end by itself."""
    stop = stop or threading.Event()
    timer = threading.Timer(PATIENCE, stop.set)
    timer.daemon = True
    timer.start()
    try:
        work = FORMS[form_of_this_test[0]]
        return work(tenant.engine, tenant.id, campaign.id, how, stop=stop, **options)
    finally:
        timer.cancel()


def status(tenant: Tenant, campaign: Campaign) -> Status:
    return tenant.transact(lambda store: store.campaigns.get(campaign.id)).status


def progress(tenant: Tenant, campaign: Campaign) -> Progress:
    return tenant.transact(lambda store: store.generation.progress(campaign.id))


def statuses(tenant: Tenant, campaign: Campaign) -> list[str]:
    return sorted(row.status for row in contact_rows(tenant, campaign.id).values())


def messages(tenant: Tenant, campaign: Campaign) -> dict[UUID, int]:
    """The number of messages of each contact."""
    table = HOST.messages.c
    with tenant.engine.begin() as connection:
        return {
            row[0]: row[1]
            for row in connection.execute(
                sa.select(table.contact_id, sa.func.count())
                .where(table.campaign_id == campaign.id)
                .group_by(table.contact_id)
            )
        }


def check_whole(tenant: Tenant, campaign: Campaign, *, spent: Decimal | None = None) -> None:
    """Everybody generated once, each message written once, every cost counted once."""
    rows = contact_rows(tenant, campaign.id)
    assert {row.status for row in rows.values()} == {"generated"}
    assert messages(tenant, campaign) == dict.fromkeys(rows, SLOTS)
    assert progress(tenant, campaign).spent == (len(rows) * COST if spent is None else spent)
    tenant.check_totals(campaign.id)


# To the end.


@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_run_goes_on_until_all_is_done_and_completes_it(tenant: Tenant, concurrency: int) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=9)
    seen: list[Progress] = []
    threads = set()

    def work(task: Task) -> Outcome:
        threads.add(threading.get_ident())
        assert (task.steps, task.generation_config) == (STEPS, campaign.generation_config)
        assert not task.stopping
        return Generated(COST)

    report = run(
        tenant, campaign, work, save=save, concurrency=concurrency, report=seen.append, actor="me"
    )
    assert report == WorkerReport(WorkerStop.DRAINED, {Recorded.APPLIED: 9}, 9 * COST, True)
    assert status(tenant, campaign) is Status.REVIEW
    check_whole(tenant, campaign)
    assert threading.get_ident() not in threads
    assert len(threads) <= concurrency
    assert all(one.assigned == 9 for one in seen)
    done = [one.by_status[ContactStatus.GENERATED] for one in seen]
    assert done == sorted(done)
    assert done[-1] == 9
    history = tenant.transact(lambda store: store.campaigns.history(campaign.id))
    assert (history[-1].action, history[-1].actor) == (Action.COMPLETE_GENERATION, "me")


def test_as_many_contacts_are_worked_on_at_once_as_there_are_threads(tenant: Tenant) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=8)
    together = threading.Barrier(4)

    def work(_task: Task) -> Outcome:
        together.wait(PATIENCE)
        return Generated(COST)

    report = run(tenant, campaign, work, concurrency=4)
    assert report.answers == {Recorded.APPLIED: 8}


def test_no_transaction_is_open_while_messages_are_written(tenant: Tenant) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=2)

    def work(_task: Task) -> Outcome:
        assert tenant.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
        # On SQLite this would wait for ever, on PostgreSQL for the claim's share of the lock.
        tenant.apply(campaign.id, Action.CANCEL_GENERATION)
        tenant.apply(campaign.id, Action.START_GENERATION)
        return Generated(COST)

    assert run(tenant, campaign, work).stop is WorkerStop.DRAINED
    tenant.check_totals(campaign.id)


def test_a_run_within_a_budget_ends_when_it_is_spent(tenant: Tenant) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=5, budget=3 * COST)
    with pytest.raises(ValueError, match="reserve"):
        run(tenant, campaign)
    report = run(tenant, campaign, reserve=COST, concurrency=2)
    assert report == WorkerReport(WorkerStop.BUDGET, {Recorded.APPLIED: 3}, 3 * COST, True)
    assert status(tenant, campaign) is Status.REVIEW
    assert progress(tenant, campaign).spent == 3 * COST
    tenant.check_totals(campaign.id)


def test_a_campaign_that_is_not_generating_is_left_alone(tenant: Tenant) -> None:
    campaign = tenant.campaign(Status.READY, contacts=2)

    def never(_task: Task) -> Outcome:
        raise AssertionError

    report = run(tenant, campaign, never)
    assert report == WorkerReport(WorkerStop.NOT_GENERATING, {}, Decimal(0), False)
    assert status(tenant, campaign) is Status.READY


def test_a_contact_put_off_is_waited_for(tenant: Tenant) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=2)
    attempts: dict[UUID, int] = {}

    def work(task: Task) -> Outcome:
        attempts[task.contact_id] = attempts.get(task.contact_id, 0) + 1
        if attempts[task.contact_id] < 3:
            return Unfinished(timedelta(milliseconds=5), cost=PRICE)
        return Generated(COST)

    report = run(tenant, campaign, work, save=save)
    assert report.stop is WorkerStop.DRAINED
    assert set(attempts.values()) == {3}
    assert report.cost == 2 * COST + 4 * PRICE
    check_whole(tenant, campaign, spent=2 * COST + 4 * PRICE)


def test_a_worker_that_is_not_to_wait_leaves_what_others_work_on(tenant: Tenant) -> None:
    campaign = tenant.campaign(Status.GENERATING)
    (theirs,) = tenant.claim(campaign.id, 1, lease=timedelta(hours=1))

    outcomes = iter([Unfinished(timedelta(hours=1)), Generated(COST)])
    report = run(tenant, campaign, lambda _task: next(outcomes), save=save, wait=False)
    assert report == WorkerReport(
        WorkerStop.LEASES_PENDING, {Recorded.APPLIED: 2}, COST, completed=False
    )
    assert contact_rows(tenant, campaign.id)[theirs.contact_id].status == "generating"
    assert statuses(tenant, campaign) == ["generated", "generating", "pending"]
    assert status(tenant, campaign) is Status.GENERATING


@contextmanager
def all_at_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Whatever is in flight finishes at the same moment; how many each call records."""
    recorded: list[int] = []
    record = Generation.record

    def wait_for_all(running: Any, **_: object) -> object:
        return wait(running, PATIENCE)

    def note(self: Generation, outcomes: Any, **options: Any) -> object:
        recorded.append(len(outcomes))
        return record(self, outcomes, **options)

    with monkeypatch.context() as patched:
        patched.setattr(worker_run, "wait", wait_for_all)
        patched.setattr(Generation, "record", note)
        yield recorded


def test_what_finishes_together_is_recorded_together(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=8)
    with all_at_once(monkeypatch) as recorded:
        report = run(tenant, campaign, save=save, concurrency=4)
    assert recorded == [4, 4]
    assert report == WorkerReport(WorkerStop.DRAINED, {Recorded.APPLIED: 8}, 8 * COST, True)
    check_whole(tenant, campaign)


def test_what_finishes_beside_one_that_is_lost_is_recorded_all_the_same(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=4)
    take = take_over(tenant, campaign)
    taken = iter([True])

    def work(_task: Task) -> Outcome:
        if next(taken, False):
            take()
        return Generated(COST)

    with all_at_once(monkeypatch) as recorded:
        report = run(tenant, campaign, work, save=save, concurrency=4)
    # By whoever took it over; all together; one by one; the cost of the one that is lost.
    assert recorded == [1, 4, 1, 1, 1, 1, 1]
    assert (report.answers, report.cost) == ({Recorded.APPLIED: 3, Recorded.BOOKED: 1}, 4 * COST)
    assert statuses(tenant, campaign) == ["generated"] * 4
    assert sorted(messages(tenant, campaign).values()) == [SLOTS] * 3
    assert progress(tenant, campaign).spent == 5 * COST
    tenant.check_totals(campaign.id)


def test_what_finishes_beside_one_that_is_not_saved_is_recorded_all_the_same(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=4)
    ids = list(contact_rows(tenant, campaign.id))

    def save_badly(connection: sa.Connection, task: Task, outcome: Outcome) -> None:
        save(connection, task, outcome)
        if task.contact_id == ids[2]:
            insert_message(connection, task, task.slots[0])

    with all_at_once(monkeypatch) as recorded:
        report = run(tenant, campaign, save=save_badly, concurrency=4)
    # All together; one by one; the failure of the one that is not saved.
    assert recorded == [4, 1, 1, 1, 1, 1]
    assert (report.answers, report.cost) == ({Recorded.APPLIED: 4}, 4 * COST)
    assert statuses(tenant, campaign) == ["failed", "generated", "generated", "generated"]
    assert messages(tenant, campaign) == dict.fromkeys((ids[0], ids[1], ids[3]), SLOTS)
    assert progress(tenant, campaign).spent == 4 * COST
    tenant.check_totals(campaign.id)


def test_two_workers_side_by_side_share_the_work_and_one_completes(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_run, "_BEAT", 0.02)
    campaign = tenant.campaign(Status.GENERATING, contacts=12)
    both = threading.Barrier(2)

    def worker_of_its_own() -> WorkerReport:
        first = iter([True])

        def work(_task: Task) -> Outcome:
            if next(first, False):
                both.wait(PATIENCE)
            return Generated(COST)

        return run(tenant, campaign, work, save=save)

    with ThreadPoolExecutor(2) as pool:
        reports = [one.result() for one in [pool.submit(worker_of_its_own) for _ in range(2)]]
    assert [report.completed for report in reports].count(True) == 1
    assert sum(report.answers[Recorded.APPLIED] for report in reports) == 12
    assert sum((report.cost for report in reports), Decimal(0)) == 12 * COST
    check_whole(tenant, campaign)
    assert status(tenant, campaign) is Status.REVIEW


# Told to stop.


def test_failure_02_cancelled_in_mid_run_it_stops_and_the_next_run_works(tenant: Tenant) -> None:
    campaign = tenant.campaign(Status.GENERATING)

    def work(_task: Task) -> Outcome:
        tenant.apply(campaign.id, Action.CANCEL_GENERATION)
        return Generated(COST)

    for done in (1, 2):
        report = run(tenant, campaign, work, save=save)
        # What was being written is finished, and counts.
        assert report == WorkerReport(WorkerStop.NOT_GENERATING, {Recorded.APPLIED: 1}, COST, False)
        assert status(tenant, campaign) is Status.READY
        assert sum(messages(tenant, campaign).values()) == done * SLOTS
        tenant.check_totals(campaign.id)
        tenant.apply(campaign.id, Action.START_GENERATION)
    assert run(tenant, campaign, save=save).completed
    check_whole(tenant, campaign)


def test_a_cancel_is_told_to_whoever_is_at_work(tenant: Tenant) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=2)

    def work(task: Task) -> Outcome:
        if task.claim.attempts == 1 and not messages(tenant, campaign):
            tenant.apply(campaign.id, Action.CANCEL_GENERATION)
        wait_until(lambda: task.stopping, "the task is told to stop")
        return Unfinished()

    # The renewal tells, and comes soon with a short lease.
    report = run(tenant, campaign, work, lease=timedelta(milliseconds=30))
    assert report.stop is WorkerStop.NOT_GENERATING
    assert report.answers == {Recorded.APPLIED: 1}
    assert {row.status for row in contact_rows(tenant, campaign.id).values()} == {"pending"}
    tenant.check_totals(campaign.id)


def test_a_cancel_is_told_by_the_next_claim_where_a_thread_is_free(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_run, "_BEAT", 0.02)
    campaign = tenant.campaign(Status.GENERATING, contacts=1)

    def work(task: Task) -> Outcome:
        tenant.apply(campaign.id, Action.CANCEL_GENERATION)
        wait_until(lambda: task.stopping, "the task is told to stop")
        return Unfinished()

    report = run(tenant, campaign, work, lease=timedelta(days=1), concurrency=2)
    assert report.stop is WorkerStop.NOT_GENERATING


def test_told_to_stop_it_finishes_what_it_has_and_claims_no_more(tenant: Tenant) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=6)
    stop = threading.Event()
    both = threading.Barrier(2)

    def work(task: Task) -> Outcome:
        if both.wait(PATIENCE) == 0:
            stop.set()
            return Generated(COST)
        wait_until(lambda: task.stopping, "the task is told to stop")
        return Unfinished(cost=PRICE)

    report = run(tenant, campaign, work, save=save, concurrency=2, stop=stop)
    assert report == WorkerReport(WorkerStop.STOPPED, {Recorded.APPLIED: 2}, COST + PRICE, False)
    assert statuses(tenant, campaign) == ["generated", *["pending"] * 5]
    assert status(tenant, campaign) is Status.GENERATING
    tenant.check_totals(campaign.id)
    assert run(tenant, campaign, save=save).completed
    check_whole(tenant, campaign, spent=6 * COST + PRICE)


def test_told_to_stop_before_it_began_it_claims_nothing(tenant: Tenant) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=1)
    stop = threading.Event()
    stop.set()
    report = run(tenant, campaign, stop=stop)
    assert (report.stop, report.answers) == (WorkerStop.STOPPED, {})
    assert {row.status for row in contact_rows(tenant, campaign.id).values()} == {"pending"}


def test_told_to_stop_while_it_waits_for_others_it_waits_no_longer(tenant: Tenant) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=1)
    tenant.claim(campaign.id, lease=timedelta(hours=1))
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run, tenant, campaign, stop=stop)
        stop.set()
        assert running.result(PATIENCE).stop is WorkerStop.STOPPED


def test_the_programs_own_handler_of_sigterm_comes_back(tenant: Tenant) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=1)
    before = signal.getsignal(signal.SIGTERM)
    during = []

    def work(_task: Task) -> Outcome:
        during.append(signal.getsignal(signal.SIGTERM))
        return Generated(COST)

    run(tenant, campaign, work)
    assert signal.getsignal(signal.SIGTERM) is before
    assert during != [before]


# What the host's own code raises.


def test_whatever_generate_raises_fails_its_contact_and_no_other(tenant: Tenant) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=4)
    ids = list(contact_rows(tenant, campaign.id))

    def work(task: Task) -> Outcome:
        if task.contact_id == ids[0]:
            raise RuntimeError("no such\0 model \ud800")
        if task.contact_id == ids[1]:
            return None  # type: ignore[return-value]
        if task.contact_id == ids[2]:
            task.checkpoint(PRICE)
            raise ExceptionGroup("two", [KeyError("later"), ValueError("too")])
        return Generated(COST)

    report = run(tenant, campaign, work, save=save)
    assert (report.stop, report.answers) == (WorkerStop.DRAINED, {Recorded.APPLIED: 4})
    rows = contact_rows(tenant, campaign.id)
    assert [rows[one].status for one in ids] == ["failed", "failed", "failed", "generated"]
    assert {rows[one].error_code for one in ids[:3]} == {GENERATE_FAILED}
    assert rows[ids[0]].error == "RuntimeError: no such model ?"
    assert "None" in rows[ids[1]].error
    assert rows[ids[2]].error == "KeyError: 'later'; ValueError: too"
    # Nobody knows what the attempt cost beyond what was booked on the way.
    assert [rows[one].unknown_costs for one in ids] == [1, 1, 1, 0]
    assert rows[ids[2]].generation_cost == PRICE
    assert messages(tenant, campaign) == {ids[3]: SLOTS}
    tenant.check_totals(campaign.id)


def test_whatever_save_raises_fails_its_contact_and_writes_nothing(tenant: Tenant) -> None:
    campaign = tenant.campaign(Status.GENERATING)
    ids = list(contact_rows(tenant, campaign.id))

    def save_badly(connection: sa.Connection, task: Task, outcome: Outcome) -> None:
        save(connection, task, outcome)
        if task.contact_id == ids[0]:
            raise RuntimeError("after the messages were written")
        if task.contact_id == ids[1]:
            insert_message(connection, task, task.slots[0])

    report = run(tenant, campaign, save=save_badly)
    assert (report.answers, report.cost) == ({Recorded.APPLIED: 3}, 3 * COST)
    rows = contact_rows(tenant, campaign.id)
    assert [rows[one].status for one in ids] == ["failed", "failed", "generated"]
    assert {rows[one].error_code for one in ids[:2]} == {SAVE_FAILED}
    assert rows[ids[0]].error == "RuntimeError: after the messages were written"
    assert messages(tenant, campaign) == {ids[2]: SLOTS}
    # Paid for all the same.
    assert progress(tenant, campaign).spent == 3 * COST
    tenant.check_totals(campaign.id)


def test_save_is_called_once_for_each_outcome_that_is_applied(tenant: Tenant) -> None:
    ids = tenant.contacts(3)
    campaign = tenant.campaign(Status.GENERATING, contacts=ids)
    saved = []

    def work(task: Task) -> Outcome:
        if task.contact_id == ids[0]:
            tenant.transact(lambda store: store.contacts.exclude(campaign.id, ids[:1]))
        return Failed("no", "no", PRICE) if task.contact_id == ids[1] else Generated(COST)

    def note(_connection: sa.Connection, task: Task, outcome: Outcome) -> None:
        saved.append((task.contact_id, type(outcome)))

    report = run(tenant, campaign, work, save=note)
    assert report.answers == {Recorded.APPLIED: 2, Recorded.EXCLUDED: 1}
    assert saved == [(ids[1], Failed), (ids[2], Generated)]
    tenant.check_totals(campaign.id)


@on_postgresql
def test_a_conflict_in_save_is_tried_again_with_all_of_its_transaction(tenant: Tenant) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=1)
    attempts = []

    def save_in_conflict(connection: sa.Connection, task: Task, outcome: Outcome) -> None:
        save(connection, task, outcome)
        attempts.append(task)
        if len(attempts) == 1:
            connection.execute(
                sa.text("DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '40001'; END $$")
            )

    report = run(tenant, campaign, save=save_in_conflict)
    assert report.answers == {Recorded.APPLIED: 1}
    assert len(attempts) == 2
    check_whole(tenant, campaign)


# Leases: renewed while it works, and lost.


@contextmanager
def renewals(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[object]]:
    """Every renewal that is over."""
    over: list[object] = []
    renew = Generation.renew

    def note(self: Generation, *arguments: Any) -> object:
        renewal = renew(self, *arguments)
        over.append(renewal)
        return renewal

    monkeypatch.setattr(Generation, "renew", note)
    yield over


def test_leases_are_renewed_for_as_long_as_it_takes(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=1)
    clock, lease = FrozenClock(), timedelta(milliseconds=30)

    with renewals(monkeypatch) as over:

        def work(_task: Task) -> Outcome:
            for _ in range(4):
                clock.forward(lease * 0.8)
                # One may have been on its way; the second began after that.
                enough = len(over) + 2
                wait_until(lambda: len(over) >= enough, "another renewal")  # noqa: B023
            assert tenant.claim(campaign.id, clock=clock) == ()
            return Generated(COST)

        report = run(tenant, campaign, work, lease=lease, clock=clock)
    assert report.answers == {Recorded.APPLIED: 1}
    tenant.check_totals(campaign.id)


def take_over(tenant: Tenant, campaign: Campaign) -> Callable[[], None]:
    """Have another worker take over a claimed contact, its lease having run out meanwhile."""

    def take() -> None:
        later = FrozenClock()
        with tenant.engine.begin() as connection:
            later.now = database_time(connection) + 2 * LEASE
        taken: list[Claim] = []

        def claim() -> bool:
            # A renewal may hold the row for a moment.
            taken.extend(tenant.claim(campaign.id, 1, clock=later))
            return bool(taken)

        wait_until(claim, "the takeover")
        outcomes = dict.fromkeys(taken, Generated(COST))
        tenant.transact(lambda store: store.generation.record(outcomes))

    return take


def test_a_result_whose_lease_is_lost_is_paid_for_and_not_saved(tenant: Tenant) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=1)
    take = take_over(tenant, campaign)

    def work(task: Task) -> Outcome:
        task.checkpoint(PRICE)
        take()
        return Generated(COST)

    report = run(tenant, campaign, work, save=save)
    assert report == WorkerReport(WorkerStop.DRAINED, {Recorded.BOOKED: 1}, COST + PRICE, True)
    assert messages(tenant, campaign) == {}
    assert progress(tenant, campaign).spent == 2 * COST + PRICE
    tenant.check_totals(campaign.id)


def test_whoever_lost_the_lease_learns_it_at_the_next_checkpoint(tenant: Tenant) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=1)
    (row,) = contact_rows(tenant, campaign.id).values()
    take = take_over(tenant, campaign)
    raised = []

    def work(task: Task) -> Outcome:
        take()
        slot = task.slots[0]
        try:
            task.checkpoint(PRICE, lambda connection: insert_message(connection, task, slot))
        except LeaseLost as lost:
            raised.append(lost.ids)
            raise
        return Generated(COST)

    report = run(tenant, campaign, work, save=save)
    assert raised == [(row.id,)]
    # What it paid for last is thrown away, and was paid for.
    assert (report.answers, report.cost) == ({Recorded.BOOKED: 1}, PRICE)
    assert messages(tenant, campaign) == {}
    assert progress(tenant, campaign).spent == COST + PRICE
    tenant.check_totals(campaign.id)


def test_whoever_lost_the_lease_is_told_by_the_renewal(tenant: Tenant) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=1)
    take = take_over(tenant, campaign)

    def work(task: Task) -> Outcome:
        take()
        wait_until(lambda: task.stopping, "the task is told that it is lost")
        return Unfinished()

    report = run(tenant, campaign, work, lease=timedelta(milliseconds=30))
    assert report.answers == {Recorded.BOOKED: 1}
    assert {row.status for row in contact_rows(tenant, campaign.id).values()} == {"generated"}
    tenant.check_totals(campaign.id)


# Failure 28: the answer to a commit is lost.


@pytest.mark.parametrize("done", [True, False], ids=["committed", "not-committed"])
def test_failure_28_a_lost_answer_to_a_commit_doubles_nothing(
    tenant: Tenant,
    monkeypatch: pytest.MonkeyPatch,
    done: bool,  # noqa: FBT001
) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=2, budget=Decimal(1))
    saved = []
    with broken_commit(tenant, monkeypatch, done=done) as armed:

        def save_and_break(connection: sa.Connection, task: Task, outcome: Outcome) -> None:
            save(connection, task, outcome)
            saved.append(task.contact_id)
            if len(saved) == 1:
                armed.set()

        report = run(tenant, campaign, save=save_and_break, reserve=COST)
    if done:
        assert report.answers == {Recorded.ALREADY: 1, Recorded.APPLIED: 1}
        assert len(saved) == 2
    else:
        assert report.answers == {Recorded.APPLIED: 2}
        assert len(saved) == 3
    assert (report.stop, report.cost) == (WorkerStop.DRAINED, 2 * COST)
    check_whole(tenant, campaign)


def test_a_checkpoint_whose_answer_is_lost_is_not_repeated(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nobody could tell a repeat from a second call: the contact comes back, its cost unknown.
    campaign = tenant.campaign(Status.GENERATING, contacts=1)
    with broken_commit(tenant, monkeypatch, done=True) as armed:

        def work(task: Task) -> Outcome:
            armed.set()
            task.checkpoint(PRICE)
            raise AssertionError

        with pytest.raises(sa.exc.DBAPIError) as raised:
            run(tenant, campaign, work)
    assert raised.value.connection_invalidated
    (row,) = contact_rows(tenant, campaign.id).values()
    assert (row.status, row.generation_cost, row.unknown_costs) == ("pending", PRICE, 1)
    tenant.check_totals(campaign.id)


# Failures 4 and 5: the database fails, or the worker dies.


def fill_the_disk(*_: object) -> Any:
    raise sa.exc.OperationalError("INSERT", {}, Exception("disk full"))


def exhaust_the_pool(*_: object) -> Any:
    raise sa.exc.TimeoutError


def fail_in_several_ways(task: Task) -> Outcome:
    error = sa.exc.OperationalError("SELECT 1", {}, Exception("out of memory"))
    raise ExceptionGroup("two", [LeaseLost((task.claim.id,)), ExceptionGroup("one", [error])])


def fail_in_a_checkpoint(task: Task) -> Outcome:
    task.checkpoint(PRICE, fill_the_disk)
    raise AssertionError


FAULTS: dict[str, Callable[[Task], Outcome]] = {
    "itself": fill_the_disk,
    "pool": exhaust_the_pool,
    "group": fail_in_several_ways,
    "checkpoint": fail_in_a_checkpoint,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_database_gives_the_contact_back_and_ends_the_worker(
    tenant: Tenant, fault: str
) -> None:
    campaign = tenant.campaign(Status.GENERATING)
    first, second, third = contact_rows(tenant, campaign.id)
    both = threading.Barrier(2)

    def work(task: Task) -> Outcome:
        both.wait(PATIENCE)
        if task.contact_id == first:
            return FAULTS[fault](task)
        wait_until(lambda: task.stopping, "the other is told to stop")
        return Generated(COST)

    with pytest.raises((sa.exc.OperationalError, sa.exc.TimeoutError)):
        run(tenant, campaign, work, save=save, concurrency=2)
    rows = contact_rows(tenant, campaign.id)
    assert [rows[one].status for one in (first, second, third)] == [
        "pending",
        "generated",
        "pending",
    ]
    # What it had cost nobody knows; the other's work is kept, and no more was begun.
    assert [rows[one].unknown_costs for one in (first, second, third)] == [1, 0, 0]
    assert rows[third].attempts == 0
    assert messages(tenant, campaign) == {second: SLOTS}
    tenant.check_totals(campaign.id)


@pytest.mark.parametrize("fault", [fill_the_disk, exhaust_the_pool])
def test_a_fault_of_the_database_in_save_fails_no_contact(
    tenant: Tenant, fault: Callable[..., object]
) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=1)
    with pytest.raises((sa.exc.OperationalError, sa.exc.TimeoutError)):
        run(tenant, campaign, save=fault)
    (row,) = contact_rows(tenant, campaign.id).values()
    assert (row.status, row.generation_cost) == (ContactStatus.GENERATING, Decimal(0))
    tenant.check_totals(campaign.id)


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[servers.Server, Tenant]]:
    """A server of these tests' own, and a tenant on it."""
    directory, close = servers.open_directory(on_disk=True)
    oldest = servers.postgresql()[0]
    server = servers.Server(directory, oldest)
    engine = sa.create_engine(servers.Databases(directory).create(oldest))
    db.init(engine, with_host_tables=True)
    yield server, new_tenant(engine)
    engine.dispose()
    server.stop()
    close()


def test_a_worker_lives_through_a_restart_of_the_server(
    server: tuple[servers.Server, Tenant],
) -> None:
    process, tenant = server
    campaign = tenant.campaign(Status.GENERATING, contacts=4)
    calls, stopped, refused = itertools.count(), threading.Event(), threading.Event()

    def note(context: sa.engine.ExceptionContext) -> None:
        if context.connection is None:
            refused.set()

    def work(task: Task) -> Outcome:
        match next(calls):
            case 0:
                process.kill()
                stopped.set()
                assert refused.wait(PATIENCE)
                process.start()
            case 1:
                assert stopped.wait(PATIENCE)
                task.checkpoint(PRICE)
        return Generated(COST)

    sa.event.listen(tenant.engine, "handle_error", note)
    report = run(tenant, campaign, work, save=save, concurrency=2)
    sa.event.remove(tenant.engine, "handle_error", note)
    assert refused.is_set()
    assert report == WorkerReport(
        WorkerStop.DRAINED, {Recorded.APPLIED: 4}, 4 * COST + PRICE, completed=True
    )
    check_whole(tenant, campaign, spent=4 * COST + PRICE)


class Broken:
    """A clock that asks the database for what it does not have, once it is told to."""

    def __init__(self) -> None:
        self.now = threading.Event()

    def __call__(self, connection: sa.Connection) -> datetime:
        if self.now.is_set():
            connection.execute(sa.text("SELECT * FROM nowhere"))
        return database_time(connection)


def test_failure_05_an_error_before_the_loop_leaves_a_campaign_that_can_go_on(
    tenant: Tenant,
) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=2)
    clock = Broken()
    clock.now.set()
    with pytest.raises(sa.exc.DBAPIError, match="nowhere"):
        run(tenant, campaign, clock=clock)
    assert {row.status for row in contact_rows(tenant, campaign.id).values()} == {"pending"}
    assert status(tenant, campaign) is Status.GENERATING
    # Both ways on are open: to run it again, and to cancel it.
    tenant.apply(campaign.id, Action.CANCEL_GENERATION)
    tenant.apply(campaign.id, Action.START_GENERATION)
    assert run(tenant, campaign, save=save).completed
    check_whole(tenant, campaign)


def test_failure_05_an_error_in_mid_run_ends_it_and_leases_bring_everybody_back(
    tenant: Tenant,
) -> None:
    campaign = tenant.campaign(Status.GENERATING)
    clock = Broken()
    both = threading.Barrier(2)
    told = []

    def work(task: Task) -> Outcome:
        if both.wait(PATIENCE) == 0:
            clock.now.set()
            return Generated(COST)
        wait_until(lambda: task.stopping, "the other is told to stop")
        told.append(task)
        return Generated(COST)

    with pytest.raises(sa.exc.DBAPIError, match="nowhere"):
        run(tenant, campaign, work, save=save, concurrency=2, clock=clock)
    assert len(told) == 1
    assert messages(tenant, campaign) == {}
    tenant.check_totals(campaign.id)
    assert run(tenant, campaign, save=save, clock=an_hour_later).completed
    check_whole(tenant, campaign)


def test_an_unknown_campaign_is_not_found(tenant: Tenant) -> None:
    with pytest.raises(NotFound):
        FORMS[form_of_this_test[0]](tenant.engine, tenant.id, new_owner(tenant), generate)


def test_a_worker_that_could_do_nothing_is_refused(tenant: Tenant) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=1)
    with pytest.raises(ValueError, match="0"):
        run(tenant, campaign, concurrency=0)


def an_hour_later(connection: sa.Connection) -> datetime:
    return database_time(connection) + timedelta(hours=1)


@contextmanager
def process(tenant: Tenant, campaign: Campaign, role: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that works on a campaign, and has said that it is in the middle of it."""
    url = tenant.engine.url.render_as_string(hide_password=False)
    command = [
        sys.executable,
        "-m",
        "worker.test_worker",
        url,
        str(tenant.id),
        str(campaign.id),
        role,
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=TESTS) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "working\n"
            yield child
        finally:
            child.kill()


def resume(tenant: Tenant) -> Callable[[Task], Outcome]:
    """Write the messages that are not there yet, each paid for and kept by a checkpoint."""

    def work(task: Task) -> Outcome:
        with tenant.engine.begin() as connection:
            there = connection.scalars(
                sa.select(HOST.messages.c.id).where(
                    HOST.messages.c.campaign_contact_id == task.claim.id
                )
            ).all()
        for slot in task.slots:
            if task.message_id(slot) not in there:
                task.checkpoint(PRICE, lambda connection: insert_message(connection, task, slot))  # noqa: B023
        return Generated(Decimal(0))

    return work


@only_threads
@pytest.mark.parametrize("budget", [None, Decimal(1)], ids=["no-budget", "budget"])
def test_failure_04_a_worker_killed_in_mid_contact_is_taken_over(
    tenant: Tenant, budget: Decimal | None
) -> None:
    campaign = tenant.campaign(Status.GENERATING, budget=budget)
    with process(tenant, campaign, "dies") as child:
        child.kill()
        assert child.wait(PATIENCE) == -signal.SIGKILL
    tenant.check_totals(campaign.id)
    (dead,) = (
        row for row in contact_rows(tenant, campaign.id).values() if row.status == "generating"
    )
    assert messages(tenant, campaign) == {dead.contact_id: 1}
    assert dead.generation_cost == PRICE
    with pytest.raises(TransitionNotAllowed):
        tenant.apply(campaign.id, Action.COMPLETE_GENERATION)
    report = run(tenant, campaign, resume(tenant), reserve=COST, clock=an_hour_later)
    # What the dead one had paid for is not paid again, and no message is lost or doubled.
    assert report == WorkerReport(WorkerStop.DRAINED, {Recorded.APPLIED: 3}, 3 * COST - PRICE, True)
    check_whole(tenant, campaign)


@pytest.mark.parametrize("form", ["coroutines"], indirect=True)
@pytest.mark.parametrize("engine_name", ["sqlite"], indirect=True)
def test_a_worker_may_die_before_any_of_its_statements(tenant: Tenant) -> None:
    # Of threads this is what the example in docs holds, with PostgreSQL what nox -s chaos does.
    clock, survived = FrozenClock(), False
    for at in itertools.count():
        campaign = tenant.campaign(Status.GENERATING, contacts=1)
        with dying(tenant.engine, at):
            survived = run(tenant, campaign, resume(tenant), clock=clock, lease=LEASE).completed
        clock.forward(LEASE)
        run(tenant, campaign, resume(tenant), clock=clock, lease=LEASE)
        assert status(tenant, campaign) is Status.REVIEW
        check_whole(tenant, campaign)
        if survived:
            break
    assert at > 20


@only_threads
def test_the_dead_do_nothing_more(tenant: Tenant) -> None:
    with dying(tenant.engine, 1) as moment:
        moment()
        for _ in range(2):
            with pytest.raises(Death):
                moment()
        with pytest.raises(Death), tenant.engine.begin() as connection:
            connection.execute(sa.select(1))
    assert tenant.contacts(1)


@only_threads
def test_sigterm_ends_a_worker_in_good_order(tenant: Tenant) -> None:
    campaign = tenant.campaign(Status.GENERATING)
    with process(tenant, campaign, "ends") as child:
        child.terminate()
        output, _ = child.communicate(timeout=PATIENCE)
        assert child.returncode == 0
    assert output == "stopped {'applied': 1}\n"
    assert {row.status for row in contact_rows(tenant, campaign.id).values()} == {"pending"}
    assert progress(tenant, campaign).spent == PRICE
    tenant.check_totals(campaign.id)
    assert run(tenant, campaign, save=save).completed


def main(url: str, tenant_id: str, campaign_id: str, role: str) -> None:
    """Work on a campaign until a signal comes."""
    worker_run._BEAT = 0.02
    engine = db.prepare_engine(sa.create_engine(url))

    def dies(task: Task) -> Outcome:
        slot = task.slots[0]
        task.checkpoint(PRICE, lambda connection: insert_message(connection, task, slot))
        print("working", flush=True)  # noqa: T201
        threading.Event().wait()
        raise AssertionError

    def ends(task: Task) -> Outcome:
        print("working", flush=True)  # noqa: T201
        wait_until(lambda: task.stopping, "SIGTERM")
        return Unfinished(cost=PRICE)

    report = run_worker(
        engine,
        UUID(tenant_id),
        UUID(campaign_id),
        {"dies": dies, "ends": ends}[role],
        reserve=COST,
    )
    answers = {str(answer): number for answer, number in report.answers.items()}
    print(report.stop.value, answers)  # noqa: T201
    engine.dispose()


if __name__ == "__main__":
    main(*sys.argv[1:])
