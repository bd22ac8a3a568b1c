"""Generation with others at it: woken too late, cancelled and resumed, out of money, watched."""

from __future__ import annotations

import itertools
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from uuid import UUID

import pytest
import sqlalchemy as sa

from campaign_model.claims import Claim, Failed, Generated, Outcome, Recorded, StopReason
from campaign_model.errors import LeaseLost, TransitionNotAllowed
from campaign_model.lifecycle import Action, ContactStatus, Status
from campaign_model.store import CampaignStore
from campaign_model.testing.clock import FrozenClock
from campaign_model.worker import Task, WorkerReport, WorkerStop, run_worker
from support.parallel import PATIENCE, others, transaction
from support.world import HOST, LEASE, World

CENT = Decimal("0.01")
TENTH = Decimal("0.1")
PRICE = Decimal("0.000000144")

CANCEL = Action.CANCEL_GENERATION
COMPLETE = Action.COMPLETE_GENERATION
START = Action.START_GENERATION


def write(store: CampaignStore, claims: list[Claim]) -> None:
    """The host's own rows: a message of each claim's contact."""
    store.connection.execute(
        sa.insert(HOST.messages),
        [
            {
                "id": claim.id,
                "tenant_id": store.tenant_id,
                "campaign_id": claim.campaign_id,
                "campaign_contact_id": claim.id,
                "contact_id": claim.contact_id,
                "channel": "email",
                "body": "Hello",
            }
            for claim in claims
        ],
    )


def written(world: World) -> set[UUID]:
    """The contacts of whom there is a message."""
    with world.engine.begin() as connection:
        query = sa.select(HOST.messages.c.campaign_contact_id)
        return {*connection.scalars(query.where(HOST.messages.c.tenant_id == world.tenant_id))}


def status(world: World, campaign_id: UUID) -> Status:
    return world.transact(lambda store: store.campaigns.get(campaign_id)).status


# Paused for longer than its lease, and woken again.


def test_who_wakes_up_too_late_loses_what_is_stale_with_its_messages_and_books_it(
    world: World,
) -> None:
    campaign = world.campaign(5, Status.GENERATING)
    clock = FrozenClock()
    claims = [*world.claim(campaign.id, clock=clock)]
    clock.forward(LEASE)
    over = world.claim(campaign.id, 2, clock=clock)
    stale = [claim for claim in claims if claim.id in {one.id for one in over}]
    held = [claim for claim in claims if claim not in stale]
    outcomes: dict[Claim, Outcome] = dict.fromkeys(claims, Generated(PRICE))

    def report(store: CampaignStore) -> None:
        write(store, claims)
        store.generation.record(outcomes)

    def checkpoint(store: CampaignStore) -> None:
        write(store, stale[:1])
        store.generation.checkpoint(stale[0], PRICE)

    with pytest.raises(LeaseLost) as lost:
        world.transact(report, clock=clock)
    assert sorted(lost.value.ids) == sorted(claim.id for claim in stale)
    with pytest.raises(LeaseLost) as lost:
        world.transact(checkpoint, clock=clock)
    assert lost.value.ids == (stale[0].id,)
    # Neither its messages nor its money are there; whoever took over is not disturbed.
    assert written(world) == set()
    renewal = world.transact(lambda store: store.generation.renew(claims, LEASE), clock=clock)
    assert sorted(renewal.lost) == sorted(claim.id for claim in stale)
    world.check(campaign.id)

    with transaction(world, clock=clock) as store:
        answers = store.generation.record(outcomes, on_lost="skip")
        write(store, [claim for claim, answer in answers.items() if answer is Recorded.APPLIED])
    assert answers == dict.fromkeys(held, Recorded.APPLIED) | dict.fromkeys(stale, Recorded.SKIPPED)
    with transaction(world, clock=clock) as store:
        assert store.generation.record(outcomes, on_lost="book") == (
            dict.fromkeys(held, Recorded.ALREADY) | dict.fromkeys(stale, Recorded.BOOKED)
        )
    with transaction(world, clock=clock) as store:
        store.generation.record(dict.fromkeys(over, Generated(CENT)))
        write(store, [*over])
    assert written(world) == {claim.id for claim in claims}
    # Three by the one who slept, two by the other, and two that were paid for twice.
    assert world.transact(lambda store: store.generation.progress(campaign.id)).spent == (
        5 * PRICE + 2 * CENT
    )
    assert {row.status for row in world.rows(campaign.id).values()} == {"generated"}
    world.check(campaign.id)


# Cancelled, completed and begun again while others are at it.


@pytest.mark.parametrize("first", ["result", "cancel"])
def test_a_cancel_and_the_last_result_at_once_are_both_done(world: World, first: str) -> None:
    campaign = world.campaign(2, Status.GENERATING)
    done, last = world.claim(campaign.id)
    world.transact(lambda store: store.generation.record({done: Generated(CENT)}))

    def record(store: CampaignStore) -> object:
        return store.generation.record({last: Generated(CENT)})[last]

    def cancel(store: CampaignStore) -> object:
        return store.campaigns.apply(campaign.id, CANCEL).status

    one, other = (record, cancel) if first == "result" else (cancel, record)
    with others(world) as rest:
        with transaction(world) as store:
            answers = [one(store)]
            second = rest.start(other, attempts=1)
            rest.wait()
        answers.append(second.result())
    assert {*answers} == {Recorded.APPLIED, Status.READY}
    progress = world.transact(lambda store: store.generation.progress(campaign.id))
    assert (progress.by_status[ContactStatus.GENERATED], progress.spent) == (2, 2 * CENT)
    # There is nothing to resume, and the way to review is open.
    with pytest.raises(TransitionNotAllowed) as refused:
        world.apply(campaign.id, START)
    assert [unmet.guard for unmet in refused.value.unmet] == ["has_contacts_to_generate"]
    assert world.apply(campaign.id, Action.SUBMIT_FOR_REVIEW).status is Status.REVIEW
    assert world.legacy(campaign.id) == (2, 2, 2 * CENT)
    world.check(campaign.id)


@pytest.mark.parametrize("moves", [(CANCEL, COMPLETE), (COMPLETE, CANCEL)], ids=str)
def test_of_a_cancel_and_a_completion_at_once_the_first_holds(
    world: World, moves: tuple[Action, Action]
) -> None:
    campaign = world.campaign(1, Status.GENERATING)
    world.generate(campaign.id)
    first, second = moves
    with others(world) as other:
        with transaction(world) as store:
            after = store.campaigns.apply(campaign.id, first).status
            late = other.start(lambda store: store.campaigns.apply(campaign.id, second))
            other.wait()
        assert isinstance(late.exception(), TransitionNotAllowed)
    assert status(world, campaign.id) is after is not Status.GENERATING
    world.check(campaign.id)


def test_a_run_cancelled_and_begun_again_leaves_those_at_work_what_they_hold(world: World) -> None:
    campaign = world.campaign(3, Status.GENERATING)
    before = world.claim(campaign.id, 2)
    with others(world, 3) as other:
        with transaction(world) as store:
            store.campaigns.apply(campaign.id, CANCEL)
            late = other.start(lambda store: store.generation.claim(campaign.id, 3, LEASE))
            other.wait()
            starts = [other.start(lambda store: store.campaigns.apply(campaign.id, START))]
            starts.append(other.start(lambda store: store.campaigns.apply(campaign.id, START)))
        refused = [one.exception() for one in starts]
        late_claims = late.result().claims
    # One start of the two; the claim came before it, or after it.
    assert sorted(map(type, refused), key=str) == [type(None), TransitionNotAllowed]
    after = (*late_claims, *world.claim(campaign.id))
    assert len(after) == 1
    assert after[0].id not in {claim.id for claim in before}
    outcomes = dict.fromkeys([*before, *after], Generated(CENT))
    answers = world.transact(lambda store: store.generation.record(outcomes))
    assert {*answers.values()} == {Recorded.APPLIED}
    assert world.apply(campaign.id, COMPLETE).status is Status.REVIEW
    assert world.legacy(campaign.id) == (3, 3, 3 * CENT)
    world.check(campaign.id)


def test_workers_that_are_cancelled_and_called_back_again_and_again_finish_once(
    world: World,
) -> None:
    number, runs, cancelled_at = 24, 3, 6
    campaign = world.campaign(number, Status.GENERATING)
    lock = threading.Lock()
    worked_on: list[UUID] = []

    def work(task: Task) -> Outcome:
        with lock:
            worked_on.append(task.claim.id)
            place = next(places)
        if place == cancelled_at:
            world.apply(campaign.id, CANCEL)
            cancelled.set()
        elif place > cancelled_at:
            cancelled.wait(PATIENCE)
        return Generated(PRICE)

    def save(connection: sa.Connection, task: Task, _outcome: Outcome) -> None:
        write(CampaignStore(connection, world.tenant_id), [task.claim])

    def run() -> WorkerReport:
        return run_worker(
            world.engine, world.tenant_id, campaign.id, work, save=save, concurrency=2
        )

    reports: list[WorkerReport] = []
    for left in reversed(range(runs)):
        # The last run is left alone.
        places = itertools.count(1 if left else -number)
        cancelled = threading.Event()
        with ThreadPoolExecutor(3) as pool:
            running = [pool.submit(run) for _ in range(3)]
            reports += [one.result(PATIENCE) for one in running]
        world.check(campaign.id)
        if left:
            # What was being written is finished and counts; nobody is left in the middle of it.
            assert {report.stop for report in reports} == {WorkerStop.NOT_GENERATING}
            assert status(world, campaign.id) is Status.READY
            statuses = {row.status for row in world.rows(campaign.id).values()}
            assert statuses == {"pending", "generated"}
            world.apply(campaign.id, START)
    assert [report.completed for report in reports].count(True) == 1
    assert sum(report.answers.get(Recorded.APPLIED, 0) for report in reports) == number
    assert sorted(worked_on) == sorted(row.id for row in world.rows(campaign.id).values())
    assert sum((report.cost for report in reports), Decimal(0)) == number * PRICE
    assert world.legacy(campaign.id) == (number, number, number * PRICE)
    assert status(world, campaign.id) is Status.REVIEW


# Little money, and many who ask.


def test_a_budget_is_spent_on_the_best_however_many_claim(world: World) -> None:
    ids = world.contacts(20)
    priorities = dict(zip(ids, random.sample(range(-10, 10), 20), strict=True))
    campaign = world.campaign(0, budget=Decimal(1))

    def begin(store: CampaignStore) -> None:
        store.contacts.assign(campaign.id, [*priorities.items()])
        store.campaigns.apply(campaign.id, Action.MARK_READY)
        store.campaigns.apply(campaign.id, START)

    def claim(store: CampaignStore) -> tuple[Claim, ...]:
        return store.generation.claim(campaign.id, 2, LEASE, reserve=TENTH).claims

    world.transact(begin)
    with others(world, 16) as other:
        with transaction(world) as store:
            store.campaigns.get(campaign.id, lock=True)
            claiming = [other.start(claim, attempts=1) for _ in range(16)]
            other.wait()
        claims = [claim for one in claiming for claim in one.result()]
    best = sorted(ids, key=lambda one: -priorities[one])[:10]
    assert sorted(claim.contact_id for claim in claims) == sorted(best)
    world.check(campaign.id)


# Watched while it goes on.


def test_progress_adds_up_at_every_moment_while_workers_record(world: World) -> None:
    number = 30
    campaign = world.campaign(number, Status.GENERATING)

    def work() -> None:
        while True:
            batch = world.transact(lambda store: store.generation.claim(campaign.id, 3, LEASE))
            if batch.stop is StopReason.DRAINED:
                return
            outcomes: dict[Claim, Outcome] = {
                claim: Failed("no", "no", PRICE) if index else Generated(PRICE)
                for index, claim in enumerate(batch.claims)
            }
            world.transact(lambda store: store.generation.record(outcomes))  # noqa: B023

    seen = []
    with ThreadPoolExecutor(3) as pool:
        running = [pool.submit(work) for _ in range(3)]
        while not all(one.done() for one in running):
            seen.append(world.transact(lambda store: store.generation.progress(campaign.id)))
        for one in running:
            one.result()
    assert {one.assigned for one in seen} == {number}
    finished = [
        one.by_status[ContactStatus.GENERATED] + one.by_status[ContactStatus.FAILED] for one in seen
    ]
    assert finished == sorted(finished)
    # Each is one moment: so many outcomes, and what they cost.
    assert [one.spent for one in seen] == [PRICE * one for one in finished]
    world.check(campaign.id)
