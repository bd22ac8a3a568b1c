"""Real parallel transactions: whoever commits second has seen what the first one did.

The order is made with locks and events. On SQLite, where a transaction that is open keeps every
other from beginning, the second one simply begins after the first one's end.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import attrs
import pytest
import sqlalchemy as sa

from campaign_model.campaign import Campaign
from campaign_model.claims import Claim, ClaimBatch, Cursor, Failed, Generated, Recorded, StopReason
from campaign_model.errors import LeaseLost, TransitionNotAllowed
from campaign_model.lifecycle import PERMISSIONS, Action, Permission, Status
from campaign_model.steps import StepSequence
from campaign_model.store import CampaignStore, claiming
from campaign_model.store.tables import (
    campaign_contacts,
    campaign_erased_claims,
    campaign_totals,
    campaigns,
)
from campaign_model.testing.clock import FrozenClock
from support.parallel import PATIENCE, on_postgresql, others, transaction
from support.world import HOST, LEASE, World

on_sqlite = pytest.mark.parametrize("engine_name", ["sqlite"], indirect=True)

CENT = Decimal("0.01")
SIXTY = Decimal("0.6")
TENTH = Decimal("0.1")


def ids_of(claims: tuple[Claim, ...]) -> set[UUID]:
    return {claim.id for claim in claims}


# Two at once on the same campaign.


def test_failure_01_of_two_starts_at_once_one_is_refused(world: World) -> None:
    campaign = world.campaign(2, Status.READY)
    start = Action.START_GENERATION
    with others(world) as other, transaction(world) as store:
        store.campaigns.apply(campaign.id, start)
        second = other.start(lambda store: store.campaigns.apply(campaign.id, start))
        other.wait()
    assert isinstance(second.exception(), TransitionNotAllowed)
    history = world.transact(lambda store: store.campaigns.history(campaign.id))
    assert [entry.action for entry in history].count(start) == 1


def test_failure_01_no_contact_is_given_to_two_workers(world: World) -> None:
    number = 40
    campaign = world.campaign(number, Status.GENERATING)

    def claim(store: CampaignStore) -> tuple[Claim, ...]:
        return store.generation.claim(campaign.id, 7, LEASE).claims

    with others(world, 8) as other:
        with transaction(world) as store:
            # Everybody stands before this door, and is let in at the same moment.
            store.campaigns.get(campaign.id, lock=True)
            claiming = [other.start(claim, attempts=1) for _ in range(8)]
            other.wait()
        batches = [one.result() for one in claiming]
    assert all(len(batch) <= 7 for batch in batches)
    claimed = [claim.id for batch in batches for claim in batch]
    assert len(set(claimed)) == len(claimed)
    # Whom a claim found locked was perhaps let go again; nobody is lost.
    claimed += ids_of(world.claim(campaign.id))
    assert len(set(claimed)) == len(claimed) == number
    world.check(campaign.id)


@on_postgresql
def test_a_claim_waits_for_no_contact_and_leaves_others_theirs(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each with a shard of the totals of its own.
    shards = itertools.count()
    monkeypatch.setattr("campaign_model.store.scope.random.randrange", lambda _: next(shards))
    campaign = world.campaign(5, Status.GENERATING)
    with transaction(world) as first, transaction(world) as second:
        second.connection.execute(sa.text("SET LOCAL lock_timeout = '5s'"))
        one = first.generation.claim(campaign.id, 3, LEASE)
        other = second.generation.claim(campaign.id, 3, LEASE)
        assert (len(one.claims), one.stop) == (3, None)
        assert (len(other.claims), other.stop) == (2, StopReason.LEASES_PENDING)
        assert ids_of(one.claims).isdisjoint(ids_of(other.claims))
        # The three may come back at any moment; that is no time in the past.
        assert other.retry_at is not None
        assert other.at < other.retry_at <= other.at + timedelta(seconds=1)
    world.check(campaign.id)


@on_postgresql
def test_due_contacts_that_somebody_holds_locked_are_asked_for_again_later(world: World) -> None:
    campaign = world.campaign(2, Status.GENERATING)
    clock = FrozenClock()
    world.claim(campaign.id, clock=clock)
    clock.forward(2 * LEASE)
    with transaction(world, clock=clock) as first, transaction(world, clock=clock) as second:
        second.connection.execute(sa.text("SET LOCAL lock_timeout = '5s'"))
        assert len(first.generation.claim(campaign.id, 2, LEASE).claims) == 2
        # Every row of totals, as if whoever is first had used the one that comes second's way.
        first.connection.execute(sa.select(campaign_totals.c.shard).with_for_update(key_share=True))
        batch = second.generation.claim(campaign.id, 2, LEASE)
        assert (batch.claims, batch.stop) == ((), StopReason.LEASES_PENDING)
        assert batch.retry_at is not None
        assert batch.retry_at > batch.at


@on_postgresql
def test_contacts_whose_messages_are_being_written_can_be_claimed(world: World) -> None:
    # The message's foreign key locks the contact's row for as long as its transaction lasts.
    campaign = world.campaign(2, Status.GENERATING)
    rows = world.rows(campaign.id)
    with transaction(world) as second, world.engine.begin() as connection:
        second.connection.execute(sa.text("SET LOCAL lock_timeout = '5s'"))
        connection.execute(
            sa.insert(HOST.messages),
            [
                {
                    "id": uuid4(),
                    "tenant_id": world.tenant_id,
                    "campaign_id": campaign.id,
                    "campaign_contact_id": row.id,
                    "contact_id": contact_id,
                    "channel": "email",
                    "body": "Hello",
                }
                for contact_id, row in rows.items()
            ],
        )
        claims = second.generation.claim(campaign.id, 2, LEASE).claims
        assert ids_of(claims) == {row.id for row in rows.values()}
        # Nor does it keep anybody from moving the campaign.
        second.campaigns.apply(campaign.id, Action.CANCEL_GENERATION)


def test_a_result_that_waits_for_a_takeover_has_lost_its_lease(world: World) -> None:
    campaign = world.campaign(2, Status.GENERATING)
    clock = FrozenClock()
    claims = world.claim(campaign.id, clock=clock)
    clock.forward(LEASE)
    outcomes = dict.fromkeys(claims, Generated(CENT))
    with others(world) as other:
        with transaction(world, clock=clock) as store:
            over = store.generation.claim(campaign.id, 1, LEASE).claims
            late = other.start(lambda store: store.generation.record(outcomes))
            other.wait()
        lost = late.exception()
    assert isinstance(lost, LeaseLost)
    assert set(lost.ids) == ids_of(over)
    assert {row.status for row in world.rows(campaign.id).values()} == {"generating"}
    world.check(campaign.id)


def test_a_takeover_that_meets_a_result_finds_nothing(world: World) -> None:
    campaign = world.campaign(1, Status.GENERATING)
    clock = FrozenClock()
    (claim,) = world.claim(campaign.id, clock=clock)
    clock.forward(LEASE)
    with others(world) as other:
        with transaction(world, clock=clock) as store:
            assert store.generation.record({claim: Generated(CENT)}) == {claim: Recorded.APPLIED}
            taking = other.start(
                lambda store: store.generation.claim(campaign.id, 1, LEASE), clock=clock
            )
            other.wait()
        assert taking.result().claims == ()
    assert world.claim(campaign.id, clock=clock) == ()
    world.check(campaign.id)


def test_a_result_that_waits_for_an_exclusion_stays_excluded(world: World) -> None:
    ids = world.contacts(1)
    campaign = world.campaign(ids, Status.GENERATING)
    (claim,) = world.claim(campaign.id)
    with others(world) as other:
        with transaction(world) as store:
            store.contacts.exclude(campaign.id, ids)
            late = other.start(lambda store: store.generation.record({claim: Generated(CENT)}))
            other.wait()
        assert late.result() == {claim: Recorded.EXCLUDED}
    world.check(campaign.id)
    assert world.rows(campaign.id)[ids[0]].generation_cost == CENT


def test_a_result_that_waits_for_an_erasure_is_booked(world: World) -> None:
    ids = world.contacts(2)
    campaign = world.campaign(ids, Status.GENERATING)
    claims = world.claim(campaign.id)
    outcomes = dict.fromkeys(claims, Generated(CENT))
    gone = ids[:1]
    with others(world) as other:
        with transaction(world) as store:
            store.contacts.erase(gone)
            late = other.start(lambda store: store.generation.record(outcomes, on_lost="book"))
            other.wait()
        assert late.result() == {
            claim: Recorded.BOOKED if claim.contact_id in gone else Recorded.APPLIED
            for claim in claims
        }
    world.check(campaign.id)


def test_a_result_that_waits_for_other_steps_is_queued_again(world: World) -> None:
    campaign = world.campaign(1, Status.GENERATING)
    (claim,) = world.claim(campaign.id)
    with others(world) as other:
        with transaction(world) as store:
            cancelled = store.campaigns.apply(campaign.id, Action.CANCEL_GENERATION)
            first = attrs.evolve(cancelled.steps[0], label="Another")
            steps = StepSequence((first, *cancelled.steps[1:]))
            store.campaigns.save(attrs.evolve(cancelled, steps=steps))
            late = other.start(lambda store: store.generation.record({claim: Generated(CENT)}))
            other.wait()
        assert late.result() == {claim: Recorded.REQUEUED}
    world.check(campaign.id)


@on_postgresql
def test_a_call_that_cost_nothing_keeps_no_other_worker_waiting(world: World) -> None:
    campaign = world.campaign(2, Status.GENERATING, budget=Decimal(1))
    first, second = world.claim(campaign.id, reserve=CENT)
    with others(world) as other, transaction(world) as store:
        store.generation.checkpoint(first, Decimal(0))
        done = other.start(lambda store: store.generation.record({second: Generated(CENT)}))
        assert done.result(PATIENCE) == {second: Recorded.APPLIED}


def test_the_last_two_workers_out_complete_once(world: World) -> None:
    campaign = world.campaign(2, Status.GENERATING)
    world.generate(campaign.id)
    complete = Action.COMPLETE_GENERATION
    with others(world) as other:
        with transaction(world) as store:
            store.campaigns.apply(campaign.id, complete)
            second = other.start(lambda store: store.campaigns.apply(campaign.id, complete))
            other.wait()
        assert isinstance(second.exception(), TransitionNotAllowed)
    assert world.transact(lambda store: store.campaigns.get(campaign.id)).status is Status.REVIEW


# Failure 25: no deadlock, for there is one order of locks.


@on_postgresql
@pytest.mark.parametrize("call", ["record", "renew"])
def test_failure_25_contacts_are_locked_in_the_order_of_their_ids(world: World, call: str) -> None:
    campaign = world.campaign(40, Status.GENERATING)
    claims = sorted(world.claim(campaign.id), key=lambda claim: claim.id)

    def work(store: CampaignStore) -> None:
        # The rows come in the order in which they lie on disk, unless they are sorted.
        for plan in ("indexscan", "bitmapscan"):
            store.connection.execute(sa.text(f"SET LOCAL enable_{plan} = off"))
        if call == "record":
            store.generation.record(dict.fromkeys(reversed(claims), Generated(CENT)))
        else:
            store.generation.renew(reversed(claims), LEASE)

    table = campaign_contacts
    with others(world) as other, world.engine.begin() as connection:
        middle = sa.select(table.c.id).where(table.c.id == claims[20].id).with_for_update()
        connection.execute(middle)
        waiting = other.start(work, attempts=1)
        other.wait()
        assert not waiting.done()
        free = connection.scalars(
            sa.select(table.c.id)
            .where(table.c.campaign_id == campaign.id)
            .with_for_update(skip_locked=True)
        ).all()
        # Locked are those before the one it waits for, and none after it.
        assert set(free) == {claim.id for claim in claims[20:]}
        connection.rollback()
        assert waiting.exception() is None
    world.check(campaign.id)


@on_postgresql
def test_failure_25_claims_of_erased_contacts_are_booked_in_the_order_of_their_ids(
    world: World,
) -> None:
    campaign = world.campaign(6, Status.GENERATING)
    claims = sorted(world.claim(campaign.id), key=lambda claim: claim.id)
    contacts = [claim.contact_id for claim in claims]
    world.transact(lambda store: store.contacts.erase(contacts))
    outcomes = dict.fromkeys(reversed(claims), Generated(CENT))
    table = campaign_erased_claims
    with others(world) as other, world.engine.begin() as connection:
        first = table.c.campaign_contact_id == claims[0].id
        connection.execute(sa.select(table).where(first).with_for_update())
        booking = other.start(
            lambda store: store.generation.record(outcomes, on_lost="book"), attempts=1
        )
        other.wait()
        free = sa.select(table).where(table.c.campaign_id == campaign.id)
        assert len(connection.execute(free.with_for_update(skip_locked=True)).all()) == 6
        connection.rollback()
        assert set(booking.result().values()) == {Recorded.BOOKED}
    world.check(campaign.id)


@pytest.mark.parametrize("budget", [None, Decimal(100)], ids=["shards", "budget"])
def test_failure_25_batches_recorded_in_crossed_order_do_not_deadlock(
    world: World, budget: Decimal | None
) -> None:
    campaign = world.campaign(20, Status.GENERATING, budget=budget)
    clock = FrozenClock()
    stale = world.claim(campaign.id, reserve=CENT, clock=clock)
    clock.forward(LEASE)
    fresh = world.claim(campaign.id, reserve=CENT, clock=clock)
    half = [claim for claim in fresh if claim.id in ids_of(stale[:10])]
    rest = [claim for claim in fresh if claim.id not in ids_of(stale[:10])]
    outcome = Generated(CENT)

    def record(claims: list[Claim]) -> Callable[[CampaignStore], object]:
        return lambda store: store.generation.record(dict.fromkeys(claims, outcome), on_lost="book")

    with others(world, 4) as other:
        with transaction(world) as store:
            store.campaigns.get(campaign.id, lock=True)
            recording = [
                other.start(record(claims), attempts=1)
                for claims in (half, rest, [*stale], [*reversed(stale)])
            ]
            other.wait()
        for one in recording:
            assert one.exception() is None
    progress = world.transact(lambda store: store.generation.progress(campaign.id))
    assert progress.spent == 40 * CENT
    world.check(campaign.id)


def test_failure_25_a_claim_that_holds_the_totals_waits_for_no_contact(world: World) -> None:
    campaign = world.campaign(2, Status.GENERATING, budget=Decimal(1))
    clock = FrozenClock()
    (claim,) = world.claim(campaign.id, 1, reserve=TENTH, clock=clock)
    with others(world) as other:
        with transaction(world, clock=clock) as store:
            store.generation.claim(campaign.id, 1, LEASE, reserve=TENTH)
            # It has its contact's row, and waits for the totals that we hold.
            recording = other.start(
                lambda store: store.generation.record({claim: Generated(CENT)}), attempts=1
            )
            other.wait()
            clock.forward(LEASE)
            over = store.generation.claim(campaign.id, 2, LEASE, reserve=TENTH).claims
        answer = recording.exception() or recording.result()
    if claim.id in ids_of(over):
        # On SQLite the other had not begun.
        assert isinstance(answer, LeaseLost)
    else:
        assert answer == {claim: Recorded.APPLIED}
    world.check(campaign.id)


# Failure 27: nothing commits into a campaign that was moved a moment before.


@attrs.frozen
class Late:
    """A change that may come too late, and the statuses in which it never does."""

    permission: Permission
    work: Callable[[CampaignStore, UUID], int]


LATE = {
    "claim": Late(
        Permission.CLAIM,
        lambda store, id_: len(store.generation.claim(id_, 1, LEASE, reserve=TENTH).claims),
    ),
    "retry": Late(
        Permission.RETRY_FAILED, lambda store, id_: store.generation.retry_failed(id_).changed
    ),
    "regenerate": Late(
        Permission.REGENERATE, lambda store, id_: store.generation.regenerate(id_).changed
    ),
}
MOVES = {
    "cancelled": (Action.CANCEL_GENERATION,),
    "completed": (Action.COMPLETE_GENERATION,),
    "deleted": (Action.CANCEL_GENERATION, Action.RETURN_TO_DRAFT, Action.DELETE),
}
ENDS = {"cancelled": Status.READY, "completed": Status.REVIEW, "deleted": Status.ARCHIVED}


@pytest.fixture
def spent(world: World) -> Campaign:
    """A campaign in generation with one failed, one generated and two that wait.

    It can be completed, for the budget has no room for another of those that were claimed; and
    claimed from, for it has room for a cheaper one.
    """
    campaign = world.campaign(4, Status.GENERATING, budget=Decimal("1.5"))
    failed, done = world.claim(campaign.id, 2, reserve=SIXTY)
    world.transact(
        lambda store: store.generation.record(
            {failed: Failed("no", "no", SIXTY), done: Generated(SIXTY)}
        )
    )
    assert world.claim(campaign.id, 1, reserve=SIXTY) == ()
    return campaign


def move(store: CampaignStore, campaign_id: UUID, moved: str) -> None:
    for action in MOVES[moved]:
        store.campaigns.apply(campaign_id, action)


@pytest.mark.parametrize("moved", MOVES)
@pytest.mark.parametrize("late", LATE)
def test_failure_27_too_late_for_a_campaign_that_has_moved_on(
    world: World, spent: Campaign, late: str, moved: str
) -> None:
    before = world.rows(spent.id)
    with others(world) as other:
        with transaction(world) as store:
            move(store, spent.id, moved)
            trying = other.start(lambda store: LATE[late].work(store, spent.id))
            other.wait()
            assert not trying.done() or world.engine.dialect.name == "sqlite"
        result = trying.exception() or trying.result()
    if ENDS[moved] in PERMISSIONS[LATE[late].permission]:
        assert result == 1
    else:
        # A claim answers with nothing and a reason; everything else is refused.
        assert result == 0 if late == "claim" else isinstance(result, TransitionNotAllowed)
        assert world.rows(spent.id) == before
    assert world.transact(lambda store: store.campaigns.get(spent.id)).status is ENDS[moved]
    world.check(spent.id)


@pytest.mark.parametrize("moved", MOVES)
@pytest.mark.parametrize("late", LATE)
def test_failure_27_in_time_before_a_campaign_moves_on(
    world: World, spent: Campaign, late: str, moved: str
) -> None:
    with others(world) as other:
        with transaction(world) as store:
            assert LATE[late].work(store, spent.id) == 1
            moving = other.start(lambda store: move(store, spent.id, moved))
            other.wait()
            assert not moving.done() or world.engine.dialect.name == "sqlite"
        refused = moving.exception()
    status = world.transact(lambda store: store.campaigns.get(spent.id)).status
    if (late, moved) == ("claim", "completed"):
        assert isinstance(refused, TransitionNotAllowed)
        assert "nothing_in_flight" in [unmet.guard for unmet in refused.unmet]
        assert status is Status.GENERATING
    else:
        assert refused is None
        assert status is ENDS[moved]
    changed = {"claim": "generating", "retry": "pending", "regenerate": "pending"}[late]
    statuses = [row.status for row in world.rows(spent.id).values()]
    assert statuses.count(changed) == (1 if late == "claim" else 3)
    world.check(spent.id)


@pytest.mark.parametrize("work", ["claim", "cancel"])
def test_failure_27_nor_past_a_writer_that_knows_nothing_of_this_library(
    world: World, spent: Campaign, work: str
) -> None:
    """It asks for no lock of ours; the campaign's row is the one that both know."""
    before = world.rows(spent.id)

    def late(store: CampaignStore) -> object:
        if work == "claim":
            return LATE["claim"].work(store, spent.id)
        return store.campaigns.apply(spent.id, Action.CANCEL_GENERATION)

    with others(world) as other:
        with world.engine.begin() as connection:
            connection.execute(
                sa.update(campaigns)
                .where(campaigns.c.id == spent.id)
                .values(status=Status.ARCHIVED, is_active=False)
            )
            trying = other.start(late)
            other.wait()
            assert not trying.done() or world.engine.dialect.name == "sqlite"
        result = trying.exception() or trying.result()
    assert result == 0 if work == "claim" else isinstance(result, TransitionNotAllowed)
    assert world.rows(spent.id) == before
    world.check(spent.id)


@pytest.mark.parametrize(
    "moves", [(Action.DELETE,), (Action.MARK_READY, Action.START_GENERATION)], ids=len
)
def test_failure_27_no_assignment_into_a_campaign_that_has_moved_on(
    world: World, moves: tuple[Action, ...]
) -> None:
    campaign = world.campaign(1)
    more = world.contacts(1)
    with others(world) as other:
        with transaction(world) as store:
            for action in moves:
                store.campaigns.apply(campaign.id, action)
            late = other.start(lambda store: store.contacts.assign(campaign.id, more))
            other.wait()
        assert isinstance(late.exception(), TransitionNotAllowed)
    assert len(world.rows(campaign.id)) == 1
    world.check(campaign.id)


def test_a_move_counts_what_was_assigned_a_moment_before(world: World) -> None:
    campaign = world.campaign(0)
    more = world.contacts(3)
    with others(world) as other:
        with transaction(world) as store:
            store.contacts.assign(campaign.id, more)
            moving = other.start(
                lambda store: store.campaigns.apply(campaign.id, Action.MARK_READY)
            )
            other.wait()
        assert moving.result().status is Status.READY
    assert world.legacy(campaign.id)[0] == 3


# Failure 29: however many claim at once, the budget is not passed.


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_failure_29_sixteen_claimers_at_once_keep_to_the_budget(world: World, limit: int) -> None:
    budget, each = Decimal("1.0"), Decimal("0.3")
    campaign = world.campaign(50, Status.GENERATING, budget=budget)

    def claim(store: CampaignStore) -> tuple[Claim, ...]:
        return store.generation.claim(campaign.id, limit, LEASE, reserve=each).claims

    spent = Decimal(0)
    # Three fit; then, as they turn out cheap, three again; then two; then one for the rest.
    for cost, fit in ((TENTH, 3), (TENTH, 2), (Decimal("0.05"), 1), (Decimal(0), 1)):
        with others(world, 16) as other:
            with transaction(world) as store:
                store.campaigns.get(campaign.id, lock=True)
                claiming = [other.start(claim, attempts=1) for _ in range(16)]
                other.wait()
            claims = [claim for one in claiming for claim in one.result()]
        assert len(claims) == fit
        progress = world.transact(lambda store: store.generation.progress(campaign.id))
        assert progress.reserved == fit * each
        assert progress.spent + progress.reserved <= budget
        outcomes = dict.fromkeys(claims, Generated(cost))
        world.transact(lambda store: store.generation.record(outcomes))  # noqa: B023
        spent += fit * cost
        world.check(campaign.id)
    progress = world.transact(lambda store: store.generation.progress(campaign.id))
    assert (progress.spent, progress.reserved) == (spent, Decimal(0))


def test_failure_29_costs_booked_meanwhile_count_at_once(world: World) -> None:
    campaign = world.campaign(4, Status.GENERATING, budget=Decimal(1))
    (first,) = world.claim(campaign.id, 1, reserve=TENTH)
    with others(world) as other:
        with transaction(world) as store:
            # Ten times as dear as it was reserved: nothing is left.
            store.generation.record({first: Generated(Decimal(1))})
            claiming = other.start(
                lambda store: store.generation.claim(campaign.id, 2, LEASE, reserve=TENTH)
            )
            other.wait()
        batch = claiming.result()
    assert (batch.claims, batch.stop) == ((), StopReason.BUDGET)
    world.check(campaign.id)


# Failure 26: a claim costs the same, however many are done.


def emitted(world: World, work: Callable[[CampaignStore], object]) -> list[tuple[str, Any]]:
    """The statements, with parameters, of work that is rolled back."""
    found: list[tuple[str, Any]] = []

    def note(_c: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        found.append((statement, parameters))

    with world.engine.connect() as connection, connection.begin():
        sa.event.listen(connection, "before_cursor_execute", note)
        work(CampaignStore(connection, world.tenant_id))
        sa.event.remove(connection, "before_cursor_execute", note)
        connection.rollback()
    return found


def picking_plan(world: World, statement: str, parameters: Any) -> dict[str, Any]:
    """The picking part of a claim, as PostgreSQL has planned and counted it."""
    with world.engine.connect() as connection, connection.begin():
        connection.execute(sa.text("ANALYZE campaign_contacts"))
        explained: Any = connection.exec_driver_sql(
            f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", parameters
        ).scalar_one()
        connection.rollback()
    plans = [explained[0]["Plan"]]
    for plan in plans:
        if plan.get("Subplan Name") == "CTE fresh":
            return dict(plan)
        plans += plan.get("Plans", [])
    raise AssertionError(explained)


@on_postgresql
def test_failure_26_a_claim_reads_no_more_when_nearly_all_is_done(world: World) -> None:
    number, step = 1200, 60
    campaign = world.campaign(number, Status.GENERATING)
    cursor = Cursor()

    def claim(store: CampaignStore) -> ClaimBatch:
        return store.generation.claim(campaign.id, 10, LEASE, cursor=cursor)

    def drain(store: CampaignStore) -> Cursor:
        batch = store.generation.claim(campaign.id, step, LEASE, cursor=cursor)
        assert len(batch.claims) == step
        store.generation.record(dict.fromkeys(batch.claims, Generated(CENT)))
        return batch.cursor

    plans = {}
    # Somebody's old snapshot keeps the database from tidying up what was done since.
    strict = world.engine.execution_options(isolation_level="REPEATABLE READ")
    with strict.connect() as reader, reader.begin():
        reader.execute(sa.select(sa.func.count()).select_from(campaign_contacts))
        for done in range(step, number - step + 1, step):
            cursor = world.transact(drain)
            if done not in (step, number - step):
                continue
            statements = emitted(world, claim)
            (picking,) = (one for one in statements if "campaign_contacts" in one[0])
            plans[done] = picking_plan(world, *picking)
    first, last = (
        plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] for plan in plans.values()
    )
    assert last <= 2 * first + 10, plans
    assert last < 60, plans


def removed(world: World, statement: str, parameters: Any, *, by: str) -> int:
    """How many rows a statement, rolled back, has looked at in vain."""
    with world.engine.connect() as connection:
        explained: Any = connection.exec_driver_sql(
            f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters
        ).scalar_one()
    plans = [explained[0]["Plan"]]
    for plan in plans:
        plans += plan.get("Plans", [])
    return sum(plan.get(f"Rows Removed by {by}", 0) * plan["Actual Loops"] for plan in plans)


@on_postgresql
def test_failure_26_whom_a_worker_holds_is_found_without_reading_the_others(world: World) -> None:
    """However little the database's statistics know of a tenant, or of a campaign, that is new."""
    with world.engine.begin() as connection:
        connection.execute(sa.text("ANALYZE campaign_contacts"))
    campaign = world.campaign(2_000, Status.GENERATING)
    claims = world.claim(campaign.id, 5)
    works: list[Callable[[CampaignStore], object]] = [
        lambda store: store.generation.claim(campaign.id, 5, LEASE),
        lambda store: store.generation.renew(claims, LEASE),
        lambda store: store.generation.checkpoint(claims[0], CENT),
        lambda store: store.generation.record(dict.fromkeys(claims, Generated(CENT))),
    ]
    for work in works:
        for statement, parameters in emitted(world, work):
            assert removed(world, statement, parameters, by="Filter") < 100, statement


@on_postgresql
def test_failure_26_many_are_recorded_at_once_without_comparing_each_with_all(world: World) -> None:
    with world.engine.begin() as connection:
        connection.execute(sa.text("ANALYZE campaign_contacts"))
    number, held = 5_000, 300
    campaign = world.campaign(number, Status.GENERATING)
    claims = world.claim(campaign.id, held)
    for statement, parameters in emitted(
        world, lambda store: store.generation.record(dict.fromkeys(claims, Generated(CENT)))
    ):
        assert removed(world, statement, parameters, by="Join Filter") <= held**2, statement


@on_sqlite
def test_failure_26_a_claim_walks_the_index_of_ranks(world: World) -> None:
    campaign = world.campaign(3, Status.GENERATING)
    world.claim_overdue(campaign.id, 1)
    statements = emitted(world, lambda store: store.generation.claim(campaign.id, 3, LEASE))
    looking = [one for one in statements if "rank >=" in one[0]]
    assert len(looking) >= 3
    with world.engine.begin() as connection:
        for statement, parameters in looking:
            explained = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            plan = " ".join(row.detail for row in explained)
            place = "campaign_id=? AND rank>?"
            assert f"USING INDEX ix_campaign_contacts_rank ({place}" in plan, statement
            # Whose lease ran out comes first; the others come as they stand.
            assert ("TEMP B-TREE" in plan) == ("ORDER BY campaign_contacts.lease" in statement)


def test_failure_26_a_full_claim_touches_contacts_in_one_statement_only(world: World) -> None:
    campaign = world.campaign(5, Status.GENERATING)
    cursor = world.transact(lambda store: store.generation.claim(campaign.id, 1, LEASE)).cursor
    statements = emitted(
        world, lambda store: store.generation.claim(campaign.id, 4, LEASE, cursor=cursor)
    )
    touching = [one for one, _ in statements if "campaign_contacts" in one]
    # On SQLite RETURNING shows no other table's columns, so that picking and claiming are two.
    assert len(touching) == (2 if world.engine.dialect.name == "sqlite" else 1)


def finish(world: World, claims: tuple[Claim, ...]) -> None:
    world.transact(lambda store: store.generation.record(dict.fromkeys(claims, Generated(CENT))))


def above_the_floor(world: World, campaign_id: UUID) -> int:
    """How many contacts somebody without a cursor has to look at."""
    mark = sa.select(sa.func.max(campaign_totals.c.low_watermark)).where(
        campaign_totals.c.campaign_id == campaign_id
    )
    above = sa.select(sa.func.count()).where(
        campaign_contacts.c.campaign_id == campaign_id,
        campaign_contacts.c.rank >= sa.func.coalesce(mark.scalar_subquery(), -1),
    )
    with world.engine.begin() as connection:
        return connection.execute(above).scalar_one()


def test_failure_26_who_has_no_cursor_begins_where_contacts_are_left(world: World) -> None:
    campaign = world.campaign(40, Status.GENERATING)
    finish(world, world.claim(campaign.id, 30))

    def left() -> int:
        return above_the_floor(world, campaign.id)

    world.claim(campaign.id, 1)
    assert left() == 10
    failed = world.claim(campaign.id, 2)
    world.transact(
        lambda store: store.generation.record(dict.fromkeys(failed, Failed("no", "no", CENT)))
    )
    again = [world.claim(campaign.id, 1)[0] for _ in range(7)]
    assert left() == 10, "the first of them is still out"
    assert world.claim(campaign.id, 1) == ()
    world.transact(lambda store: store.generation.retry_failed(campaign.id))
    assert {one.contact_id for one in world.claim(campaign.id, 9)} == {
        one.contact_id for one in failed
    }, "whoever is put back is found, wherever the others are"
    assert len(again) == 7


def test_failure_26_the_floor_rises_though_everybody_has_a_cursor(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each of them would walk over the whole campaign once it comes to the end."""
    stride = 4
    monkeypatch.setattr(claiming, "_WATERMARK_STRIDE", stride)
    number = 5 * stride
    campaign = world.campaign(number, Status.GENERATING)
    cursor, done, behind = Cursor(), 0, []
    for size in (1, 2, 3, 3, 2, 1, 1, 3):
        batch = world.transact(
            lambda store: store.generation.claim(campaign.id, size, LEASE, cursor=cursor)  # noqa: B023
        )
        behind.append(above_the_floor(world, campaign.id) - (number - done))
        finish(world, batch.claims)
        cursor, done = batch.cursor, done + size
    # It catches up with what is done in the claims that have the 1st, 5th, 9th and 13th contact.
    assert behind == [0, 1, 0, 0, 3, 5, 0, 1]


@on_postgresql
def test_failure_26_the_floor_is_raised_by_one_walk(world: World) -> None:
    with world.engine.begin() as connection:
        connection.execute(sa.text("ANALYZE campaign_contacts"))
    done = 900
    campaign = world.campaign(done + 100, Status.GENERATING)
    finish(world, world.claim(campaign.id, done))

    def walked() -> list[int]:
        statements = emitted(world, lambda store: store.generation.claim(campaign.id, 1, LEASE))
        return [removed(world, *one, by="Filter") for one in statements]

    before = walked()
    assert sum(before) < 2 * done + 200, "a claim and the raising of the floor"
    world.claim(campaign.id, 1)
    assert sum(walked()) < 200
    assert sum(before) > done


def test_failure_26_progress_is_one_query_that_looks_at_no_contact(world: World) -> None:
    campaign = world.campaign(5, Status.GENERATING)
    statements = emitted(world, lambda store: store.generation.progress(campaign.id))
    assert len(statements) == 1
    assert "campaign_contacts" not in statements[0][0]


@on_postgresql
def test_a_cancel_is_not_passed_by_those_who_claim_after_it(world: World) -> None:
    """Row locks alone let every new sharer in: a cancel would wait until nothing is left."""
    campaign = world.campaign(3, Status.GENERATING)
    with others(world, 2) as rest:
        with transaction(world) as store:
            first = store.generation.claim(campaign.id, 1, LEASE)
            assert len(first.claims) == 1
            cancel = rest.start(
                lambda store: store.campaigns.apply(campaign.id, Action.CANCEL_GENERATION)
            )
            rest.wait()
            late = rest.start(lambda store: store.generation.claim(campaign.id, 1, LEASE))
            rest.wait()
            assert not cancel.done()
            assert not late.done()
        assert cancel.result().status is Status.READY
        assert late.result().stop is StopReason.NOT_GENERATING
    world.check(campaign.id)
