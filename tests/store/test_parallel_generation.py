"""Claims and reports in parallel with others. See test_model for overlaps of two calls."""

from __future__ import annotations

import itertools
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from uuid import UUID

import pytest
import sqlalchemy as sa

from campaign_model.claims import Claim, Failed, Generated, Outcome, Recorded, StopReason
from campaign_model.errors import LeaseLost, TransitionNotAllowed
from campaign_model.lifecycle import Action, ContactStatus, Status
from campaign_model.store import CampaignStore
from campaign_model.store.tables import campaign_totals
from campaign_model.testing.clock import FrozenClock
from campaign_model.testing.parallel import PATIENCE, background_transactions
from campaign_model.testing.sample_campaigns import CENT, LEASE, Tenant
from campaign_model.worker import Task, WorkerReport, WorkerStop, run_worker
from support.tenants import HOST, contact_rows, generate_all, legacy_columns, message_values
from support.transactions import on_postgresql, open_store, run_while_open

TENTH = Decimal("0.1")
PRICE = Decimal("0.000000144")
CANCEL, START = Action.CANCEL_GENERATION, Action.START_GENERATION
COMPLETE = Action.COMPLETE_GENERATION


def ids_of(claims: tuple[Claim, ...]) -> set[UUID]:
    return {claim.id for claim in claims}


def write_messages(store: CampaignStore, tenant: Tenant, claims: list[Claim]) -> None:
    """Write one message of the host for each claim, under the id of the claim."""
    rows = [message_values(tenant.id, claim) | {"id": claim.id} for claim in claims]
    store.connection.execute(sa.insert(HOST.messages), rows)


def message_ids(tenant: Tenant) -> set[UUID]:
    messages = HOST.messages.c
    with tenant.engine.begin() as connection:
        return {*connection.scalars(sa.select(messages.id).where(messages.tenant_id == tenant.id))}


# Claims and locked rows.


@on_postgresql
def test_a_claim_that_skipped_locked_contacts_asks_to_retry_soon(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Give every store another shard of the totals.
    shards = itertools.count()
    monkeypatch.setattr("random.randrange", lambda _: next(shards))
    campaign = tenant.campaign("generating", contacts=5)
    with open_store(tenant) as first, open_store(tenant) as second:
        second.connection.execute(sa.text("SET LOCAL lock_timeout = '5s'"))
        first_batch = first.generation.claim(campaign.id, 3, LEASE)
        batch = second.generation.claim(campaign.id, 3, LEASE)
        assert (len(first_batch.claims), first_batch.stop) == (3, None)
        assert (len(batch.claims), batch.stop) == (2, StopReason.LEASES_PENDING)
        assert ids_of(first_batch.claims).isdisjoint(ids_of(batch.claims))
        # The three contacts may be free again at any moment.
        assert batch.retry_at is not None
        assert batch.at < batch.retry_at <= batch.at + timedelta(seconds=1)
    tenant.check_totals(campaign.id)


@on_postgresql
def test_a_claim_that_skipped_locked_takeovers_asks_to_retry_later(tenant: Tenant) -> None:
    campaign = tenant.campaign("generating", contacts=2)
    clock = FrozenClock()
    tenant.claim(campaign.id, clock=clock)
    clock.forward(2 * LEASE)
    with open_store(tenant, clock=clock) as first, open_store(tenant, clock=clock) as second:
        second.connection.execute(sa.text("SET LOCAL lock_timeout = '5s'"))
        assert len(first.generation.claim(campaign.id, 2, LEASE).claims) == 2
        # Lock all shards of the totals, also the one that the second claim uses.
        first.connection.execute(sa.select(campaign_totals.c.shard).with_for_update(key_share=True))
        batch = second.generation.claim(campaign.id, 2, LEASE)
        assert (batch.claims, batch.stop) == ((), StopReason.LEASES_PENDING)
        assert batch.retry_at is not None
        assert batch.retry_at > batch.at


@on_postgresql
def test_contacts_with_uncommitted_messages_can_be_claimed(tenant: Tenant) -> None:
    # A foreign key of the messages locks the contacts until the transaction ends.
    campaign = tenant.campaign("generating", contacts=2)
    rows = contact_rows(tenant, campaign.id)
    with open_store(tenant) as store, tenant.engine.begin() as connection:
        store.connection.execute(sa.text("SET LOCAL lock_timeout = '5s'"))
        messages = [message_values(tenant.id, row) for row in rows.values()]
        connection.execute(sa.insert(HOST.messages), messages)
        claims = store.generation.claim(campaign.id, 2, LEASE).claims
        assert ids_of(claims) == {row.id for row in rows.values()}
        # The campaign can be moved as well.
        store.campaigns.apply(campaign.id, CANCEL)


@on_postgresql
def test_a_checkpoint_without_cost_does_not_delay_other_workers(tenant: Tenant) -> None:
    campaign = tenant.campaign("generating", contacts=2, budget=Decimal(1))
    first, second = tenant.claim(campaign.id, reserve=CENT)
    with background_transactions(tenant) as background, open_store(tenant) as store:
        store.generation.checkpoint(first, Decimal(0))
        done = background.start(lambda store: store.generation.record({second: Generated(CENT)}))
        assert done.result(PATIENCE) == {second: Recorded.APPLIED}


# Reports that come too late.


def test_a_worker_that_wakes_up_too_late_loses_messages_and_books_costs(tenant: Tenant) -> None:
    campaign = tenant.campaign("generating", contacts=5)
    clock = FrozenClock()
    claims = [*tenant.claim(campaign.id, clock=clock)]
    clock.forward(LEASE)
    taken_over = tenant.claim(campaign.id, 2, clock=clock)
    stale = [claim for claim in claims if claim.id in ids_of(taken_over)]
    held = [claim for claim in claims if claim not in stale]
    outcomes: dict[Claim, Outcome] = dict.fromkeys(claims, Generated(PRICE))

    def record(store: CampaignStore) -> None:
        write_messages(store, tenant, claims)
        store.generation.record(outcomes)

    def checkpoint(store: CampaignStore) -> None:
        write_messages(store, tenant, stale[:1])
        store.generation.checkpoint(stale[0], PRICE)

    # 1. A report with stale claims rolls back all messages and costs.
    with pytest.raises(LeaseLost) as lost:
        tenant.transact(record, clock=clock)
    assert {*lost.value.ids} == {claim.id for claim in stale}
    with pytest.raises(LeaseLost) as lost:
        tenant.transact(checkpoint, clock=clock)
    assert lost.value.ids == (stale[0].id,)
    assert message_ids(tenant) == set()
    tenant.check_totals(campaign.id)

    # 2. The worker records the claims that it still holds, and books the others.
    with open_store(tenant, clock=clock) as store:
        answers = store.generation.record(outcomes, on_lost="skip")
        applied = [claim for claim, answer in answers.items() if answer is Recorded.APPLIED]
        write_messages(store, tenant, applied)
    assert answers == dict.fromkeys(held, Recorded.APPLIED) | dict.fromkeys(stale, Recorded.SKIPPED)
    assert tenant.record(outcomes, on_lost="book") == (
        dict.fromkeys(held, Recorded.ALREADY) | dict.fromkeys(stale, Recorded.BOOKED)
    )

    # 3. The other worker records its claims.
    with open_store(tenant, clock=clock) as store:
        store.generation.record(dict.fromkeys(taken_over, Generated(CENT)))
        write_messages(store, tenant, [*taken_over])
    assert message_ids(tenant) == {claim.id for claim in claims}
    assert tenant.progress(campaign.id).spent == 5 * PRICE + 2 * CENT
    statuses = {row.status for row in contact_rows(tenant, campaign.id).values()}
    assert statuses == {ContactStatus.GENERATED}
    tenant.check_totals(campaign.id)


@pytest.mark.parametrize("first", ["record", "cancel"])
def test_a_cancel_and_the_last_result_are_both_applied(tenant: Tenant, first: str) -> None:
    campaign = tenant.campaign("generating", contacts=2)
    done, last = tenant.claim(campaign.id)
    tenant.record({done: Generated(CENT)})

    def record(store: CampaignStore) -> object:
        return store.generation.record({last: Generated(CENT)})[last]

    def cancel(store: CampaignStore) -> object:
        return store.campaigns.apply(campaign.id, CANCEL).status

    before, after = (record, cancel) if first == "record" else (cancel, record)
    (answer,) = run_while_open(tenant, first=before, others=[after])
    assert answer == (Status.READY if first == "record" else Recorded.APPLIED)
    progress = tenant.progress(campaign.id)
    assert (progress.by_status[ContactStatus.GENERATED], progress.spent) == (2, 2 * CENT)
    assert tenant.apply(campaign.id, Action.SUBMIT_FOR_REVIEW).status is Status.REVIEW
    assert legacy_columns(tenant, campaign.id) == (2, 2, 2 * CENT)
    tenant.check_totals(campaign.id)


@pytest.mark.parametrize(
    "actions", [(CANCEL, COMPLETE), (COMPLETE, CANCEL), (COMPLETE, COMPLETE)], ids=str
)
def test_the_first_of_two_parallel_ends_of_a_run_holds(
    tenant: Tenant, actions: tuple[Action, Action]
) -> None:
    campaign = tenant.campaign("generating", contacts=1)
    generate_all(tenant, campaign.id)
    first, second = actions
    (answer,) = run_while_open(
        tenant,
        first=lambda store: store.campaigns.apply(campaign.id, first),
        others=[lambda store: store.campaigns.apply(campaign.id, second)],
    )
    assert isinstance(answer, TransitionNotAllowed)
    stored = tenant.transact(lambda store: store.campaigns.get(campaign.id))
    assert stored.status is (Status.READY if first is CANCEL else Status.REVIEW)
    tenant.check_totals(campaign.id)


def test_workers_that_are_cancelled_and_started_again_generate_each_contact_once(
    tenant: Tenant,
) -> None:
    number, runs, cancelled_at = 24, 3, 6
    campaign = tenant.campaign("generating", contacts=number)
    lock = threading.Lock()
    generated_ids: list[UUID] = []

    def generate(task: Task) -> Outcome:
        with lock:
            generated_ids.append(task.claim.id)
            call = next(calls)
        if call == cancelled_at:
            tenant.apply(campaign.id, CANCEL)
            cancelled.set()
        elif call > cancelled_at:
            cancelled.wait(PATIENCE)
        return Generated(PRICE)

    def save(connection: sa.Connection, task: Task, _outcome: Outcome) -> None:
        write_messages(CampaignStore(connection, tenant.id), tenant, [task.claim])

    def run() -> WorkerReport:
        return run_worker(tenant.engine, tenant.id, campaign.id, generate, save=save, concurrency=2)

    reports: list[WorkerReport] = []
    for runs_left in reversed(range(runs)):
        # The last run is not cancelled.
        calls = itertools.count(1 if runs_left else -number)
        cancelled = threading.Event()
        with ThreadPoolExecutor(3) as pool:
            running = [pool.submit(run) for _ in range(3)]
            reports += [future.result(PATIENCE) for future in running]
        tenant.check_totals(campaign.id)
        if runs_left:
            # Messages that were being written are finished and count.
            assert {report.stop for report in reports} == {WorkerStop.NOT_GENERATING}
            statuses = {row.status for row in contact_rows(tenant, campaign.id).values()}
            assert statuses == {ContactStatus.PENDING, ContactStatus.GENERATED}
            tenant.apply(campaign.id, START)
    assert [report.completed for report in reports].count(True) == 1
    assert sum(report.answers.get(Recorded.APPLIED, 0) for report in reports) == number
    row_ids = sorted(row.id for row in contact_rows(tenant, campaign.id).values())
    assert sorted(generated_ids) == row_ids
    assert sum((report.cost for report in reports), Decimal(0)) == number * PRICE
    assert legacy_columns(tenant, campaign.id) == (number, number, number * PRICE)
    stored = tenant.transact(lambda store: store.campaigns.get(campaign.id))
    assert stored.status is Status.REVIEW


# Budgets and progress.


def test_failure_29_sixteen_parallel_claims_stay_within_the_budget(tenant: Tenant) -> None:
    budget, reserve = Decimal(1), Decimal("0.3")
    ids = tenant.contacts(20)
    priorities = dict(zip(ids, random.sample(range(-10, 10), 20), strict=True))
    campaign = tenant.campaign(contacts=0, budget=budget)
    tenant.transact(lambda store: store.contacts.assign(campaign.id, [*priorities.items()]))
    tenant.apply(campaign.id, Action.MARK_READY, START)

    def claim(store: CampaignStore) -> tuple[Claim, ...]:
        return store.generation.claim(campaign.id, 2, LEASE, reserve=reserve).claims

    spent = Decimal(0)
    claimed: list[UUID] = []
    # The costs leave room for three contacts, then for two, for one and for one.
    for cost, allowed in ((TENTH, 3), (TENTH, 2), (Decimal("0.05"), 1), (Decimal(0), 1)):
        batches = run_while_open(
            tenant,
            first=lambda store: store.campaigns.get(campaign.id, lock=True),
            others=[claim] * 16,
        )
        claims = [claim for batch in batches for claim in batch]
        assert len(claims) == allowed
        claimed += [claim.contact_id for claim in claims]
        progress = tenant.progress(campaign.id)
        assert progress.reserved == allowed * reserve
        assert progress.spent + progress.reserved <= budget
        tenant.record(dict.fromkeys(claims, Generated(cost)))
        spent += allowed * cost
        tenant.check_totals(campaign.id)
    progress = tenant.progress(campaign.id)
    assert (progress.spent, progress.reserved) == (spent, Decimal(0))
    # The money was spent on the contacts with the highest priorities.
    best = sorted(ids, key=lambda id_: -priorities[id_])[: len(claimed)]
    assert {*claimed} == {*best}


def test_failure_29_a_claim_counts_costs_of_a_record_before_it(tenant: Tenant) -> None:
    campaign = tenant.campaign("generating", contacts=4, budget=Decimal(1))
    (first,) = tenant.claim(campaign.id, 1, reserve=TENTH)
    # The contact costs ten times its reservation, so nothing is left.
    (batch,) = run_while_open(
        tenant,
        first=lambda store: store.generation.record({first: Generated(Decimal(1))}),
        others=[lambda store: store.generation.claim(campaign.id, 2, LEASE, reserve=TENTH)],
    )
    assert (batch.claims, batch.stop) == ((), StopReason.BUDGET)
    tenant.check_totals(campaign.id)


def test_progress_is_consistent_while_workers_record(tenant: Tenant) -> None:
    number = 30
    campaign = tenant.campaign("generating", contacts=number)

    def work() -> None:
        while True:
            batch = tenant.transact(lambda store: store.generation.claim(campaign.id, 3, LEASE))
            if batch.stop is StopReason.DRAINED:
                return
            tenant.record(
                {
                    claim: Failed("no", "no", PRICE) if index else Generated(PRICE)
                    for index, claim in enumerate(batch.claims)
                }
            )

    reports = []
    with ThreadPoolExecutor(3) as pool:
        running = [pool.submit(work) for _ in range(3)]
        while not all(future.done() for future in running):
            reports.append(tenant.progress(campaign.id))
        for future in running:
            future.result()
    assert {progress.assigned for progress in reports} == {number}
    finished = [
        progress.by_status[ContactStatus.GENERATED] + progress.by_status[ContactStatus.FAILED]
        for progress in reports
    ]
    assert finished == sorted(finished)
    # Counts and costs are from the same moment.
    assert [progress.spent for progress in reports] == [PRICE * count for count in finished]
    tenant.check_totals(campaign.id)
