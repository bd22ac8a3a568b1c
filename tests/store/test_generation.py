"""store.generation in one session: what is claimed, what is booked, what a repeat changes."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from decimal import ROUND_UP, Decimal, localcontext
from typing import Any
from uuid import UUID, uuid4

import attrs
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from campaign_model.campaign import Campaign
from campaign_model.claims import (
    MAX_DURATION,
    Claim,
    ClaimBatch,
    Cursor,
    Estimate,
    Failed,
    Generated,
    NotReady,
    Outcome,
    Recorded,
    StopReason,
    Unfinished,
)
from campaign_model.errors import LeaseLost, NotFound, TransitionNotAllowed
from campaign_model.lifecycle import (
    PERMISSIONS,
    Action,
    ContactStatus,
    Permission,
    ReviewTally,
    Status,
)
from campaign_model.store import CampaignStore
from campaign_model.store.connection import database_time
from campaign_model.store.generation import (
    ATTEMPTS_EXHAUSTED,
    MAX_ATTEMPTS,
    MAX_CLAIM,
    OnLost,
)
from campaign_model.store.statements import MAX_REPORTED_TOKENS
from campaign_model.store.tables import campaign_contacts, campaign_totals
from campaign_model.testing.clock import FrozenClock
from campaign_model.testing.sample_campaigns import STEPS
from support.parallel import transaction
from support.transactions import refused
from support.world import LEASE, World

CENT = Decimal("0.01")
SECOND = timedelta(seconds=1)
ON_LOST: tuple[OnLost, ...] = ("raise", "skip", "book")
OUTCOMES: tuple[Outcome, ...] = (
    Generated(Decimal("0.00144")),
    Generated(None),
    Failed("refused", "the model will not write this", Decimal("0.2")),
    Failed("refused", "nobody knows what it cost", None),
    NotReady(("email", "phone"), CENT),
    NotReady(("email",), None),
    Unfinished(cost=Decimal("0.3")),
    Unfinished(timedelta(minutes=2), None),
)


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


def contact_row(store: CampaignStore, claim: Claim) -> dict[str, Any] | None:
    """The claimed contact's row as this transaction sees it."""
    found = store.connection.execute(
        sa.select(campaign_contacts).where(campaign_contacts.c.id == claim.id)
    ).mappings()
    row = found.one_or_none()
    return None if row is None else dict(row)


def change(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> dict[str, Any]:
    """The columns that differ, as they are now."""
    assert before is not None
    assert after is not None
    return {name: value for name, value in after.items() if value != before[name]}


def statuses(world: World, campaign: Campaign) -> list[str]:
    """The statuses of a campaign's contacts in the order of generation."""
    rows = sorted(world.rows(campaign.id).values(), key=lambda row: row.rank)
    return [row.status for row in rows]


def edit_steps(world: World, campaign_id: UUID) -> None:
    """Make what was generated so far stale."""

    def work(store: CampaignStore) -> None:
        campaign = store.campaigns.get(campaign_id)
        steps = campaign.steps.update(campaign.steps.keys[0], label="Another invitation")
        store.campaigns.save(attrs.evolve(campaign, steps=steps))

    world.transact(work)


# What a claim takes, and what it says when there is no more.


@attrs.define
class Contact:
    """One contact as the model below believes it to be."""

    id: UUID
    rank: int
    status: ContactStatus = ContactStatus.PENDING
    lease: datetime | None = None
    token: UUID | None = None
    retry_at: datetime | None = None
    attempts: int = 0
    cost: Decimal = Decimal(0)
    unknown: int = 0
    reserved: Decimal = Decimal(0)

    def expired(self, now: datetime) -> bool:
        return self.status == "generating" and self.lease is not None and self.lease <= now

    def waits(self, now: datetime) -> bool:
        return self.status == "pending" and (self.retry_at is None or self.retry_at <= now)


@attrs.define
class Model:
    """What claims and outcomes should come to, told apart from how the store does it."""

    contacts: dict[UUID, Contact]
    budget: Decimal | None
    cap: int
    now: datetime

    @property
    def used(self) -> Decimal:
        return sum((one.cost + one.reserved for one in self.contacts.values()), Decimal(0))

    def room(self, each: Decimal, limit: int) -> int:
        if self.budget is None:
            return limit
        return max(0, min(limit, int((self.budget - self.used) // each)))

    def expect_fresh(self, cursor: Cursor, upto: int) -> tuple[list[Contact], list[Contact]]:
        """Whom a claim takes among those that wait, and whom it gives up as poison on the way."""
        waiting = sorted(
            (one for one in self.contacts.values() if one.waits(self.now)),
            key=lambda one: (one.rank < cursor.rank, one.rank),
        )
        taken: list[Contact] = []
        poison: list[Contact] = []
        for one in waiting:
            if len(taken) == upto:
                break
            (poison if one.attempts >= self.cap else taken).append(one)
        return taken, poison

    def claimed(self, batch: ClaimBatch, cursor: Cursor, limit: int, each: Decimal) -> None:
        """Hold a batch against the model, and follow it."""
        granted = self.room(each, limit)
        taken, poison = self.expect_fresh(cursor, granted)
        assert [claim.id for claim in batch.claims[: len(taken)]] == [one.id for one in taken]
        over = [self.contacts[claim.id] for claim in batch.claims[len(taken) :]]
        expired = [one for one in self.contacts.values() if one.expired(self.now)]
        assert all(one.expired(self.now) for one in over)
        if len(batch.claims) < limit:
            poison += [one for one in expired if one.attempts >= self.cap]
            assert {one.id for one in over} == {
                one.id for one in expired if one.attempts < self.cap
            }
        elif over:
            # The earliest first; those of one batch ran out together.
            latest = max(one.lease for one in over if one.lease)
            earlier = [one for one in expired if one.lease and one.lease < latest]
            poison += [one for one in earlier if one.attempts >= self.cap]
            assert all(one in over for one in earlier if one.attempts < self.cap)
        for one in taken:
            one.reserved = each if self.budget is not None else Decimal(0)
        for claim in batch.claims:
            one = self.contacts[claim.id]
            one.attempts += 1
            assert (claim.attempts, claim.reserved) == (one.attempts, one.reserved)
            assert claim.expires_at == self.now + LEASE
            one.status, one.lease = ContactStatus.GENERATING, claim.expires_at
            one.token, one.retry_at = claim.token, None
        for one in poison:
            one.status, one.lease, one.token = ContactStatus.FAILED, None, None
            one.reserved = Decimal(0)
        assert (batch.stop, batch.retry_at) == self._reason(
            short=len(batch.claims) < limit,
            short_of_money=len(taken) == granted < limit,
        )

    def _reason(
        self, *, short: bool, short_of_money: bool
    ) -> tuple[StopReason | None, datetime | None]:
        if not short:
            return None, None
        leases = [one.lease for one in self.contacts.values() if one.status == "generating"]
        waiting = [one for one in self.contacts.values() if one.status == "pending"]
        if not leases and not waiting:
            return StopReason.DRAINED, None
        if short_of_money and waiting:
            pauses = []
            if not leases:
                return StopReason.BUDGET, None
        else:
            pauses = [one.retry_at for one in waiting]
        return StopReason.LEASES_PENDING, min(one for one in [*leases, *pauses] if one)

    def recorded(self, claim: Claim, outcome: Outcome) -> Recorded:
        one = self.contacts[claim.id]
        if one.token != claim.token:
            return Recorded.SKIPPED
        one.token = one.lease = None
        one.reserved = Decimal(0)
        one.cost += outcome.cost or 0
        one.unknown += outcome.cost is None
        if one.status == "excluded":
            return Recorded.EXCLUDED
        match outcome:
            case Generated():
                one.status = ContactStatus.GENERATED
            case Failed():
                one.status = ContactStatus.FAILED
            case NotReady():
                one.status = ContactStatus.ENRICHMENT_NEEDED
                one.attempts -= 1
            case Unfinished(retry_after):
                one.status = ContactStatus.PENDING
                one.attempts -= outcome.cost == 0
                one.retry_at = self.now + retry_after if retry_after else None
        return Recorded.APPLIED


WORKERS = 3
events = st.one_of(
    st.tuples(st.just("claim"), st.integers(0, WORKERS - 1), st.integers(1, 4)),
    st.tuples(st.just("record"), st.integers(0, 30), st.sampled_from(OUTCOMES)),
    st.tuples(st.just("forward"), st.sampled_from([SECOND, timedelta(minutes=2), LEASE])),
    st.tuples(st.just("exclude"), st.integers(0, 7)),
)


@settings(
    max_examples=15,
    # Shrinking a script takes longer than a run of tests may hang; put it back to look into one.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    priorities=st.lists(st.integers(-2, 2), min_size=1, max_size=8),
    budget=st.none() | st.sampled_from([Decimal("0.3"), Decimal("1.1"), Decimal(50)]),
    cap=st.integers(1, 3),
    script=st.lists(events, min_size=5, max_size=30),
)
def test_nothing_is_forgotten_and_nothing_given_twice(
    world: World,
    priorities: list[int],
    budget: Decimal | None,
    cap: int,
    script: list[tuple[Any, ...]],
) -> None:
    clock, each = FrozenClock(), Decimal("0.1")
    campaign = world.campaign(0, budget=budget)
    ids = world.contacts(len(priorities))

    def set_up(store: CampaignStore) -> None:
        store.contacts.assign(campaign.id, list(zip(ids, priorities, strict=True)))
        store.campaigns.apply(campaign.id, Action.MARK_READY)
        store.campaigns.apply(campaign.id, Action.START_GENERATION)

    world.transact(set_up)
    order = sorted(range(len(ids)), key=lambda index: (-priorities[index], index))
    rows = world.rows(campaign.id)
    assert order == sorted(range(len(ids)), key=lambda index: rows[ids[index]].rank)
    model = Model(
        {row.id: Contact(row.id, row.rank) for row in rows.values()}, budget, cap, clock.now
    )
    cursors = [Cursor()] * WORKERS
    held: list[Claim] = []
    for step in script:
        # A moment of its own for every step, so that no two batches run out together.
        clock.forward(timedelta(milliseconds=1))
        model.now = clock.now
        with transaction(world, clock=clock) as store:
            match step:
                case ("claim", worker, limit):
                    batch = store.generation.claim(
                        campaign.id,
                        limit,
                        LEASE,
                        reserve=each,
                        cursor=cursors[worker],
                        max_attempts=cap,
                    )
                    model.claimed(batch, cursors[worker], limit, each)
                    cursors[worker] = batch.cursor
                    held += batch.claims
                case ("record", index, outcome) if held:
                    claim = held.pop(index % len(held))
                    expected = model.recorded(claim, outcome)
                    answer = store.generation.record({claim: outcome}, on_lost="skip")
                    assert answer == {claim: expected}
                case ("forward", by):
                    clock.forward(by)
                case ("exclude", index):
                    contact_id = ids[index % len(ids)]
                    changed = store.contacts.exclude(campaign.id, [contact_id])
                    one = model.contacts[rows[contact_id].id]
                    assert changed.changed == (one.status != "excluded")
                    one.status, one.reserved = ContactStatus.EXCLUDED, Decimal(0)
            progress = store.generation.progress(campaign.id)
        believed = model.contacts.values()
        assert progress.assigned == len(believed)
        assert dict(progress.by_status) == {
            status: sum(one.status == status for one in believed) for status in ContactStatus
        }
        assert progress.spent == sum(one.cost for one in believed)
        assert progress.unknown_costs == sum(one.unknown for one in believed)
        assert progress.reserved == sum(one.reserved for one in believed)
        assert progress.budget == budget
    world.check(campaign.id)
    now = world.rows(campaign.id).values()
    assert {row.id: (row.status, row.attempts, row.generation_cost) for row in now} == {
        one.id: (one.status, one.attempts, one.cost) for one in model.contacts.values()
    }


def test_contacts_come_by_priority_then_as_assigned(world: World) -> None:
    campaign = world.campaign(0)
    ids = world.contacts(6)
    priorities = [0, 5, -1, 5, 0, 2]

    def work(store: CampaignStore) -> None:
        store.contacts.assign(campaign.id, list(zip(ids, priorities, strict=True)))
        store.campaigns.apply(campaign.id, Action.MARK_READY)
        store.campaigns.apply(campaign.id, Action.START_GENERATION)

    world.transact(work)
    cursor, claimed = Cursor(), []
    for _ in range(3):
        batch = world.transact(
            lambda store: store.generation.claim(campaign.id, 2, LEASE, cursor=cursor)  # noqa: B023
        )
        cursor = batch.cursor
        claimed += [claim.contact_id for claim in batch.claims]
    assert claimed == [ids[index] for index in (1, 3, 5, 0, 4, 2)]


def test_a_contact_that_comes_back_behind_the_cursor_is_found_again(world: World) -> None:
    campaign = world.campaign(5, Status.GENERATING)

    def claim(limit: int, cursor: Cursor) -> ClaimBatch:
        return world.transact(
            lambda store: store.generation.claim(campaign.id, limit, LEASE, cursor=cursor)
        )

    first = claim(2, Cursor())
    second = claim(1, first.cursor)
    world.transact(lambda store: store.generation.release(first.claims))
    third = claim(10, second.cursor)
    ranks = {row.id: row.rank for row in world.rows(campaign.id).values()}
    order = sorted(ranks, key=lambda id_: ranks[id_])
    assert [one.id for one in third.claims] == [*order[3:], *order[:2]]
    assert third.stop is StopReason.LEASES_PENDING
    world.check(campaign.id)


def test_a_batch_brings_what_to_generate_by(world: World, clock: FrozenClock) -> None:
    campaign = world.campaign(2, Status.GENERATING)
    with transaction(world, clock=clock) as store:
        batch = store.generation.claim(campaign.id, 2, LEASE)
    assert (batch.steps, batch.generation_config) == (STEPS, campaign.generation_config)
    assert (batch.stop, batch.retry_at, batch.at) == (None, None, clock.now)
    one, other = batch.claims
    assert one.token == other.token
    assert one.id != other.id
    for claim in batch.claims:
        assert claim.campaign_id == campaign.id
        assert claim.expires_at == clock.now + LEASE
        assert (claim.attempts, claim.revision, claim.reserved) == (1, 0, Decimal(0))
        assert claim.steps_fingerprint == STEPS.fingerprint


NOT_GENERATING: dict[Status, tuple[Action, ...]] = {
    Status.DRAFT: (Action.CANCEL_GENERATION, Action.RETURN_TO_DRAFT),
    Status.READY: (Action.CANCEL_GENERATION,),
    Status.REVIEW: (Action.COMPLETE_GENERATION,),
    Status.APPROVED: (Action.COMPLETE_GENERATION, Action.APPROVE),
    Status.EXPORTED: (Action.COMPLETE_GENERATION, Action.APPROVE, Action.EXPORT),
    Status.ARCHIVED: (Action.CANCEL_GENERATION, Action.RETURN_TO_DRAFT, Action.DELETE),
}


def move(world: World, campaign_id: UUID, actions: tuple[Action, ...]) -> None:
    """Apply actions one after the other."""
    for action in actions:
        world.apply(
            campaign_id,
            action,
            review=ReviewTally(1, 0, 0) if action is Action.APPROVE else None,
        )


def test_every_status_but_generating_forbids_claims() -> None:
    assert NOT_GENERATING.keys() == set(Status) - PERMISSIONS[Permission.CLAIM]


@pytest.mark.parametrize("status", NOT_GENERATING)
def test_a_campaign_that_is_not_generating_gives_nothing(world: World, status: Status) -> None:
    campaign = world.campaign(2, Status.GENERATING, budget=Decimal(1))
    if Action.COMPLETE_GENERATION in NOT_GENERATING[status]:
        # Completed for want of money, so that somebody still waits.
        world.transact(
            lambda store: store.generation.record(
                dict.fromkeys(
                    store.generation.claim(campaign.id, 2, LEASE, reserve=Decimal(1)).claims,
                    Generated(Decimal(1)),
                )
            )
        )
    move(world, campaign.id, NOT_GENERATING[status])
    before = world.rows(campaign.id)
    assert "pending" in statuses(world, campaign)
    cursor = Cursor(2048)
    batch = world.transact(
        lambda store: store.generation.claim(
            campaign.id, 5, LEASE, reserve=Decimal(0), cursor=cursor
        )
    )
    assert batch.claims == ()
    assert (batch.stop, batch.retry_at) == (StopReason.NOT_GENERATING, None)
    assert (batch.cursor, batch.steps) == (cursor, campaign.steps)
    assert world.rows(campaign.id) == before
    world.check(campaign.id)


def test_contacts_that_totals_never_counted_come_back_too(world: World, clock: FrozenClock) -> None:
    """As if another service had written their rows."""
    campaign = world.campaign(2, Status.GENERATING)
    with world.engine.begin() as connection:
        connection.execute(
            sa.update(campaign_totals)
            .where(campaign_totals.c.campaign_id == campaign.id)
            .values(pending=0)
        )
    first = world.claim(campaign.id, 3, clock=clock)
    clock.forward(2 * LEASE)
    again = world.claim(campaign.id, 3, clock=clock)
    assert {one.id for one in again} == {one.id for one in first}
    assert len(again) == 2


def test_drained_pending_leases_and_pauses_say_when_to_come_again(
    world: World, clock: FrozenClock
) -> None:
    campaign = world.campaign(3, Status.GENERATING)
    with transaction(world, clock=clock) as store:
        generation = store.generation

        def again() -> tuple[StopReason | None, datetime | None]:
            batch = generation.claim(campaign.id, 9, LEASE)
            assert batch.claims == ()
            assert batch.at == clock.now
            return batch.stop, batch.retry_at

        first = generation.claim(campaign.id, 1, LEASE)
        clock.forward(SECOND)
        second = generation.claim(campaign.id, 9, LEASE)
        assert len(second.claims) == 2
        assert second.stop is StopReason.LEASES_PENDING
        assert second.retry_at == first.claims[0].expires_at
        assert again() == (StopReason.LEASES_PENDING, first.claims[0].expires_at)
        generation.record({first.claims[0]: Generated(CENT)})
        assert again() == (StopReason.LEASES_PENDING, second.claims[0].expires_at)
        generation.record({second.claims[0]: Unfinished(timedelta(minutes=1))})
        # A pause that ends before the lease does, and one that ends after it.
        assert again() == (StopReason.LEASES_PENDING, clock.now + timedelta(minutes=1))
        generation.record({second.claims[1]: Unfinished(timedelta(hours=1))})
        clock.forward(timedelta(minutes=1))
        (woken,) = generation.claim(campaign.id, 9, LEASE).claims
        assert woken.id == second.claims[0].id
        generation.record({woken: Generated(CENT)})
        pause_ends = clock.now + timedelta(minutes=59)
        assert again() == (StopReason.LEASES_PENDING, pause_ends)
        clock.forward(timedelta(minutes=59))
        (last,) = generation.claim(campaign.id, 9, LEASE).claims
        generation.record({last: Failed("no", "no", None)})
        assert again() == (StopReason.DRAINED, None)
    world.check(campaign.id)


def test_whoever_has_no_readiness_to_generate_is_not_waited_for(world: World) -> None:
    ids = world.contacts(3)
    campaign = world.campaign(ids, Status.GENERATING)
    world.transact(
        lambda store: store.contacts.set_readiness(
            campaign.id, {ids[0]: ["email"], ids[1]: [], ids[2]: ["email", "phone"]}
        )
    )
    batch = world.transact(lambda store: store.generation.claim(campaign.id, 9, LEASE))
    assert [claim.contact_id for claim in batch.claims] == [ids[1]]
    world.transact(
        lambda store: store.generation.record(dict.fromkeys(batch.claims, Generated(CENT)))
    )
    batch = world.transact(lambda store: store.generation.claim(campaign.id, 9, LEASE))
    assert (batch.claims, batch.stop) == ((), StopReason.DRAINED)


def test_who_lost_the_lease_is_taken_over_with_reservation_and_revision(
    world: World, clock: FrozenClock
) -> None:
    campaign = world.campaign(2, Status.GENERATING, budget=Decimal(1))
    first = world.claim(campaign.id, 2, reserve=Decimal("0.5"), clock=clock)
    assert world.claim(campaign.id, 2, reserve=Decimal("0.5"), clock=clock) == ()
    clock.forward(LEASE - timedelta(microseconds=1))
    assert world.claim(campaign.id, 2, reserve=Decimal("0.5"), clock=clock) == ()
    clock.forward(timedelta(microseconds=1))
    # All the money is reserved: that of a contact taken over is not reserved anew.
    second = world.claim(campaign.id, 2, reserve=Decimal("0.5"), clock=clock)
    assert {claim.id for claim in second} == {claim.id for claim in first}
    assert {claim.token for claim in second}.isdisjoint(claim.token for claim in first)
    for claim in second:
        assert (claim.attempts, claim.revision, claim.reserved) == (2, 0, Decimal("0.5"))
    world.check(campaign.id)


def test_failure_01_a_takeover_writes_the_same_message_ids(
    world: World, clock: FrozenClock
) -> None:
    campaign = world.campaign(1, Status.GENERATING)
    (first,) = world.claim(campaign.id, clock=clock)
    clock.forward(LEASE)
    (second,) = world.claim(campaign.id, clock=clock)

    def message_ids(claim: Claim) -> list[UUID]:
        return [slot.message_id(claim.id, claim.revision) for slot in campaign.steps.slots()]

    assert message_ids(first) == message_ids(second)
    assert len(set(message_ids(first))) == 3
    # On purpose, and only so, there are new ones.
    world.transact(lambda store: store.generation.record({second: Generated(CENT)}))
    world.transact(lambda store: store.generation.regenerate(campaign.id))
    (third,) = world.claim(campaign.id)
    assert set(message_ids(third)).isdisjoint(message_ids(first))


def test_a_poison_contact_fails_at_the_cap_and_frees_its_money(
    world: World, clock: FrozenClock
) -> None:
    campaign = world.campaign(3, Status.GENERATING, budget=Decimal(3))
    for attempt in range(1, MAX_ATTEMPTS + 1):
        claims = world.claim(campaign.id, 3, reserve=Decimal(1), clock=clock)
        assert [claim.attempts for claim in claims] == [attempt] * 3
        world.transact(lambda store: store.generation.checkpoint(claims[0], CENT))  # noqa: B023
        clock.forward(LEASE)
    batch = world.transact(
        lambda store: store.generation.claim(campaign.id, 2, LEASE, reserve=Decimal(1)),
        clock=clock,
    )
    # More of them than the limit: none of them hides that there is nothing left.
    assert (batch.claims, batch.stop) == ((), StopReason.DRAINED)
    for row in world.rows(campaign.id).values():
        assert (row.status, row.error_code) == ("failed", ATTEMPTS_EXHAUSTED)
        assert row.error
        assert (row.claim_token, row.lease_expires_at, row.reserved) == (None, None, 0)
    progress = world.transact(lambda store: store.generation.progress(campaign.id))
    assert (progress.spent, progress.reserved) == (MAX_ATTEMPTS * CENT, Decimal(0))
    world.check(campaign.id)
    # Retried, they may be claimed as often again.
    assert world.transact(lambda store: store.generation.retry_failed(campaign.id)).changed == 3
    assert [one.attempts for one in world.claim(campaign.id, 3, reserve=CENT)] == [1] * 3
    world.check(campaign.id)


def test_only_claims_that_come_to_nothing_count_towards_the_cap(world: World) -> None:
    campaign = world.campaign(1, Status.GENERATING)
    for _ in range(2 * MAX_ATTEMPTS):
        claims = world.claim(campaign.id)
        assert [claim.attempts for claim in claims] == [1]
        answers = world.transact(lambda store: store.generation.release(claims))  # noqa: B023
        assert list(answers.values()) == [Recorded.APPLIED]
    world.check(campaign.id)


# Money.


def test_a_budget_wants_to_know_what_a_contact_may_cost(world: World) -> None:
    campaign = world.campaign(1, Status.GENERATING, budget=Decimal(1))
    with transaction(world) as store:
        for reserve, error in ((None, ValueError), (0.5, TypeError), (Decimal(-1), ValueError)):
            with pytest.raises(error):
                store.generation.claim(campaign.id, 1, LEASE, reserve=reserve)  # type: ignore[arg-type]
        assert len(store.generation.claim(campaign.id, 1, LEASE, reserve=Decimal(1)).claims) == 1
    world.check(campaign.id)


def test_the_budget_grants_as_many_as_it_has_room_for(world: World) -> None:
    campaign = world.campaign(9, Status.GENERATING, budget=Decimal(1))
    each = Decimal("0.3")
    with transaction(world) as store:
        generation = store.generation
        batch = generation.claim(campaign.id, 5, LEASE, reserve=each)
        assert [claim.reserved for claim in batch.claims] == [each] * 3
        assert batch.stop is StopReason.LEASES_PENDING
        assert batch.retry_at == batch.claims[0].expires_at
        assert generation.progress(campaign.id).reserved == 3 * each
        # Cheaper than reserved: there is room for one more, and exactly one.
        generation.record({batch.claims[0]: Generated(Decimal("0.1"))})
        (fourth,) = generation.claim(campaign.id, 5, LEASE, reserve=each).claims
        # Dearer than reserved: that is booked all the same, and claims stop.
        outcome = Generated(Decimal("0.6"))
        generation.record(dict.fromkeys([*batch.claims[1:], fourth], outcome))
        last = generation.claim(campaign.id, 5, LEASE, reserve=each)
        assert (last.claims, last.stop, last.retry_at) == ((), StopReason.BUDGET, None)
        progress = generation.progress(campaign.id)
        assert (progress.spent, progress.reserved) == (Decimal("1.9"), Decimal(0))
    world.check(campaign.id)
    assert world.apply(campaign.id, Action.COMPLETE_GENERATION).status is Status.REVIEW


def test_a_drained_campaign_is_drained_however_little_money_is_left(world: World) -> None:
    campaign = world.campaign(2, Status.GENERATING, budget=Decimal(1))
    world.generate(campaign.id, cost="0.5")
    batch = world.transact(
        lambda store: store.generation.claim(campaign.id, 5, LEASE, reserve=Decimal("0.5"))
    )
    assert batch.stop is StopReason.DRAINED


def test_a_pause_is_no_want_of_money(world: World, clock: FrozenClock) -> None:
    # The money reaches for two; two wait, and both were told to slow down.
    campaign = world.campaign(2, Status.GENERATING, budget=Decimal(1))
    claims = world.claim(campaign.id, 2, reserve=Decimal("0.5"), clock=clock)
    outcome = Unfinished(timedelta(minutes=1))
    world.transact(
        lambda store: store.generation.record(dict.fromkeys(claims, outcome)), clock=clock
    )
    batch = world.transact(
        lambda store: store.generation.claim(campaign.id, 5, LEASE, reserve=Decimal("0.5")),
        clock=clock,
    )
    assert (batch.claims, batch.stop) == ((), StopReason.LEASES_PENDING)
    assert batch.retry_at == clock.now + timedelta(minutes=1)
    world.check(campaign.id)


def test_a_raised_budget_lets_the_run_go_on(world: World) -> None:
    campaign = world.campaign(4, Status.GENERATING, budget=Decimal(1))

    def save(budget: str) -> Campaign:
        def work(store: CampaignStore) -> Campaign:
            present = store.campaigns.get(campaign.id)
            config = attrs.evolve(present.generation_config, budget=Decimal(budget))
            return store.campaigns.save(attrs.evolve(present, generation_config=config))

        return world.transact(work)

    assert len(world.claim(campaign.id, 4, reserve=Decimal("0.5"))) == 2
    assert world.claim(campaign.id, 4, reserve=Decimal("0.5")) == ()
    with pytest.raises(TransitionNotAllowed):
        save("0.5")
    assert save("1.5").generation_config.budget == Decimal("1.5")
    assert len(world.claim(campaign.id, 4, reserve=Decimal("0.5"))) == 1
    world.check(campaign.id)


@pytest.mark.parametrize("budget", [None, Decimal(5000)])
def test_failure_22_small_costs_are_kept_exactly(world: World, budget: Decimal | None) -> None:
    campaign = world.campaign(7, Status.GENERATING, budget=budget)
    claims = world.claim(campaign.id, 7, reserve=Decimal("0.002"))
    price = Decimal("0.00144")
    with transaction(world) as store:
        for claim in claims:
            store.generation.checkpoint(claim, price)
            store.generation.record({claim: Generated(price)})
    assert {row.generation_cost for row in world.rows(campaign.id).values()} == {2 * price}
    progress = world.transact(lambda store: store.generation.progress(campaign.id))
    assert progress.spent == 14 * price == Decimal("0.02016")
    world.check(campaign.id)
    world.apply(campaign.id, Action.COMPLETE_GENERATION)
    assert world.legacy(campaign.id) == (7, 7, Decimal("0.02016"))


def test_failure_22_the_callers_decimal_context_changes_no_cost(world: World) -> None:
    campaign = world.campaign(2, Status.GENERATING, budget=Decimal(1_000_000))
    price = Decimal("1234.123456789")
    with localcontext(prec=4):
        claims = world.claim(campaign.id, 2, reserve=price)
        world.transact(lambda store: store.generation.checkpoint(claims[0], price))
        world.transact(
            lambda store: store.generation.record(dict.fromkeys(claims, Generated(price)))
        )
        spent = world.transact(lambda store: store.generation.progress(campaign.id)).spent
        world.apply(campaign.id, Action.COMPLETE_GENERATION)
    assert spent == 3 * price
    world.check(campaign.id)
    assert world.legacy(campaign.id)[2] == 3 * price


def test_failure_22_the_callers_decimal_context_changes_no_reservation(
    world: World, clock: FrozenClock
) -> None:
    campaign = world.campaign(3, Status.GENERATING, budget=Decimal(1_000_000))
    price = Decimal("1234.123456789")
    with localcontext(prec=4):
        # For seven there is money, and for four of them nobody to spend it on.
        assert len(world.claim(campaign.id, 7, clock=clock, reserve=price)) == 3
    world.check(campaign.id)
    clock.forward(2 * LEASE)
    with localcontext(prec=4):
        given_up = world.transact(
            lambda store: store.generation.claim(
                campaign.id, 3, LEASE, reserve=price, max_attempts=1
            ),
            clock=clock,
        )
    assert given_up.claims == ()
    world.check(campaign.id)


def test_failure_22_the_callers_decimal_context_changes_no_guard(world: World) -> None:
    """0.05 still fits in; counted with four digits, it would not."""
    campaign = world.campaign(2, Status.GENERATING, budget=Decimal("1000.5"))
    (claim,) = world.claim(campaign.id, 1, reserve=Decimal("0.05"))
    world.transact(lambda store: store.generation.record({claim: Generated(Decimal("1000.44"))}))
    with localcontext(prec=4, rounding=ROUND_UP), pytest.raises(TransitionNotAllowed):
        world.apply(campaign.id, Action.COMPLETE_GENERATION)
    world.check(campaign.id)


def test_an_unknown_cost_is_counted_and_never_zero(world: World) -> None:
    campaign = world.campaign(5, Status.GENERATING)
    one, two, three, four, five = world.claim(campaign.id)
    with transaction(world) as store:
        generation = store.generation
        generation.checkpoint(one, None)
        generation.record(
            {
                one: Generated(CENT),
                two: Generated(None),
                three: Failed("broken", "broken", None),
                four: Failed("broken", "broken", CENT),
            }
        )
        generation.record({five: NotReady(("email",), None)})
        progress = generation.progress(campaign.id)
    assert (progress.spent, progress.unknown_costs) == (2 * CENT, 4)
    world.check(campaign.id)


# Renewal and checkpoints.


def test_renewal_extends_what_is_held_and_names_what_is_lost(
    world: World, clock: FrozenClock
) -> None:
    ids = world.contacts(5)
    campaign = world.campaign(ids, Status.GENERATING)
    kept, excluded, recorded, taken, erased = claims = world.claim(campaign.id, clock=clock)
    world.transact(lambda store: store.contacts.exclude(campaign.id, [excluded.contact_id]))
    world.transact(lambda store: store.contacts.erase([erased.contact_id]))
    world.transact(lambda store: store.generation.record({recorded: Generated(CENT)}))
    clock.forward(LEASE)
    world.transact(lambda store: store.generation.renew([kept, excluded], LEASE), clock=clock)
    (again,) = world.claim(campaign.id, clock=clock)
    assert again.id == taken.id
    clock.forward(SECOND)
    renewal = world.transact(lambda store: store.generation.renew(claims, 2 * LEASE), clock=clock)
    assert set(renewal.lost) == {excluded.id, recorded.id, taken.id, erased.id}
    assert renewal.expires_at == clock.now + 2 * LEASE
    assert not renewal.cancelled
    rows = {row.id: row for row in world.rows(campaign.id).values()}
    assert rows[kept.id].lease_expires_at == renewal.expires_at
    assert rows[taken.id].lease_expires_at == again.expires_at
    assert rows[recorded.id].lease_expires_at is None
    # One whose lease ran out, but whom nobody took over, is held all the same.
    clock.forward(3 * LEASE)
    renewal = world.transact(lambda store: store.generation.renew([kept], LEASE), clock=clock)
    assert renewal.lost == ()
    assert world.claim(campaign.id, clock=clock) == (
        attrs.evolve(
            again, token=world_token(world, again), expires_at=clock.now + LEASE, attempts=3
        ),
    )
    world.check(campaign.id)


def world_token(world: World, claim: Claim) -> UUID:
    """The token that a contact's row has now."""
    token: UUID = next(
        row.claim_token for row in world.rows(claim.campaign_id).values() if row.id == claim.id
    )
    return token


def test_renewal_tells_of_a_cancel(world: World) -> None:
    campaign = world.campaign(2, Status.GENERATING)
    claims = world.claim(campaign.id)
    world.apply(campaign.id, Action.CANCEL_GENERATION)
    renewal = world.transact(lambda store: store.generation.renew(claims, LEASE))
    assert (renewal.lost, renewal.cancelled) == ((), True)


def test_claims_of_several_campaigns_or_of_none_are_refused(world: World) -> None:
    one, other = (world.campaign(1, Status.GENERATING) for _ in range(2))
    claims = [*world.claim(one.id), *world.claim(other.id)]
    with transaction(world) as store:
        with pytest.raises(ValueError, match="one campaign"):
            store.generation.renew(claims, LEASE)
        with pytest.raises(ValueError, match="one campaign"):
            store.generation.renew([], LEASE)
        with pytest.raises(ValueError, match="one campaign"):
            store.generation.record(dict.fromkeys(claims, Generated(CENT)))
        assert store.generation.record({}) == {}
    assert statuses(world, one) == statuses(world, other) == ["generating"]


def test_a_checkpoint_books_at_once_and_lowers_what_is_reserved(world: World) -> None:
    campaign = world.campaign(1, Status.GENERATING, budget=Decimal(2))
    (claim,) = world.claim(campaign.id, reserve=Decimal(1))

    def booked() -> tuple[Decimal, Decimal, int]:
        progress = world.transact(lambda store: store.generation.progress(campaign.id))
        return progress.spent, progress.reserved, progress.unknown_costs

    for cost, expected in (
        (Decimal("0.25"), (Decimal("0.25"), Decimal("0.75"), 0)),
        (None, (Decimal("0.25"), Decimal("0.75"), 1)),
        (Decimal(0), (Decimal("0.25"), Decimal("0.75"), 1)),
        # Beyond what was reserved: booked, and nothing is reserved any more, never less.
        (Decimal("0.8"), (Decimal("1.05"), Decimal(0), 1)),
    ):
        world.transact(lambda store: store.generation.checkpoint(claim, cost))  # noqa: B023
        assert booked() == expected
        world.check(campaign.id)
    world.transact(lambda store: store.generation.record({claim: Generated(CENT)}))
    assert booked() == (Decimal("1.06"), Decimal(0), 1)
    world.check(campaign.id)


@pytest.mark.parametrize(
    "cost", [0.1, "0.1", Decimal(-1), Decimal("NaN"), Decimal("1e-10")], ids=repr
)
def test_a_checkpoint_of_anything_but_money_books_nothing(world: World, cost: Any) -> None:
    campaign = world.campaign(1, Status.GENERATING)
    (claim,) = world.claim(campaign.id)
    before = world.rows(campaign.id)
    with pytest.raises((TypeError, ValueError)):
        world.transact(lambda store: store.generation.checkpoint(claim, cost))
    assert world.rows(campaign.id) == before


# What record makes of every outcome in every state that the row may have come to meanwhile.


@attrs.frozen
class Situation:
    """A world with a budget in which everybody is claimed, and what may befall the claims."""

    world: World
    clock: FrozenClock
    campaign: Campaign
    claims: tuple[Claim, ...]

    @property
    def contacts(self) -> list[UUID]:
        return [claim.contact_id for claim in self.claims]

    @contextmanager
    def store(self) -> Iterator[CampaignStore]:
        with transaction(self.world, clock=self.clock) as store:
            yield store

    def record(self, outcome: Outcome, claims: tuple[Claim, ...] | None = None) -> None:
        with self.store() as store:
            store.generation.record(dict.fromkeys(claims or self.claims, outcome))

    def apply(self, *actions: Action) -> None:
        move(self.world, self.campaign.id, actions)

    # The token is still the claim's.

    def live(self) -> None:
        pass

    def expired(self) -> None:
        self.clock.forward(2 * LEASE)

    def checkpointed(self) -> None:
        with self.store() as store:
            for claim in self.claims:
                store.generation.checkpoint(claim, Decimal("0.004"))

    def cancelled(self) -> None:
        self.apply(Action.CANCEL_GENERATION)

    def started_again(self) -> None:
        self.apply(Action.CANCEL_GENERATION, Action.START_GENERATION)

    def steps_changed(self) -> None:
        self.apply(Action.CANCEL_GENERATION)
        edit_steps(self.world, self.campaign.id)
        self.apply(Action.START_GENERATION)

    def excluded(self) -> None:
        with self.store() as store:
            store.contacts.exclude(self.campaign.id, self.contacts)

    def excluded_after_cancel(self) -> None:
        self.cancelled()
        self.excluded()

    # Recorded before.

    def generated_already(self) -> None:
        self.record(Generated(CENT))

    def failed_already(self) -> None:
        self.record(Failed("no", "no", CENT))

    def excluded_already(self) -> None:
        self.excluded()
        self.record(Generated(CENT))

    def released(self) -> None:
        with self.store() as store:
            store.generation.release(self.claims)

    def failed_and_retried(self) -> None:
        self.failed_already()
        with self.store() as store:
            store.generation.retry_failed(self.campaign.id)

    def generated_and_regenerated(self) -> None:
        self.generated_already()
        with self.store() as store:
            store.generation.regenerate(self.campaign.id)

    def released_and_claimed_by_another(self) -> None:
        self.released()
        self.world.claim(self.campaign.id, reserve=CENT, clock=self.clock)

    def lost_and_booked(self) -> None:
        self.taken_over()
        with self.store() as store:
            store.generation.record(
                dict.fromkeys(self.claims, Unfinished(cost=CENT)), on_lost="book"
            )

    # Recorded before, and others have reported since.

    def claim_and_record(self, outcome: Outcome) -> None:
        claims = self.world.claim(self.campaign.id, reserve=CENT, clock=self.clock)
        assert len(claims) == len(self.claims)
        self.record(outcome, claims)

    def released_and_generated_by_another(self) -> None:
        self.released()
        self.claim_and_record(Generated(CENT))

    def generated_twice_since(self) -> None:
        for _ in range(2):
            self.generated_and_regenerated()
            self.claim_and_record(Generated(CENT))

    def lost_and_booked_and_lost_by_the_next(self) -> None:
        self.lost_and_booked()
        self.clock.forward(LEASE)
        over = self.world.claim(self.campaign.id, reserve=CENT, clock=self.clock)
        self.clock.forward(LEASE)
        self.claim_and_record(Generated(CENT))
        with self.store() as store:
            late = dict.fromkeys(over, Generated(CENT))
            store.generation.record(late, on_lost="book")

    # Somebody else's now.

    def taken_over(self) -> None:
        self.clock.forward(LEASE)
        over = self.world.claim(self.campaign.id, reserve=CENT, clock=self.clock)
        assert len(over) == len(self.claims)

    def taken_over_and_generated(self) -> None:
        self.clock.forward(LEASE)
        over = self.world.claim(self.campaign.id, reserve=CENT, clock=self.clock)
        self.record(Generated(CENT), over)

    def taken_over_and_released(self) -> None:
        self.clock.forward(LEASE)
        over = self.world.claim(self.campaign.id, reserve=CENT, clock=self.clock)
        self.record(Unfinished(), over)

    def given_up(self) -> None:
        self.clock.forward(LEASE)
        claims = self.world.claim(self.campaign.id, reserve=CENT, clock=self.clock, max_attempts=1)
        assert claims == ()

    def excluded_and_included(self) -> None:
        self.cancelled()
        self.excluded()
        with self.store() as store:
            store.contacts.include(self.campaign.id, self.contacts)

    # Gone.

    def erased(self) -> None:
        with self.store() as store:
            store.contacts.erase(self.contacts)


HELD = (
    Situation.live,
    Situation.expired,
    Situation.checkpointed,
    Situation.cancelled,
    Situation.started_again,
    Situation.steps_changed,
    Situation.excluded,
    Situation.excluded_after_cancel,
)
RECORDED = (
    Situation.generated_already,
    Situation.failed_already,
    Situation.excluded_already,
    Situation.released,
    Situation.failed_and_retried,
    Situation.generated_and_regenerated,
    Situation.released_and_claimed_by_another,
    Situation.lost_and_booked,
    Situation.released_and_generated_by_another,
    Situation.generated_twice_since,
    Situation.lost_and_booked_and_lost_by_the_next,
)
LOST = (
    Situation.taken_over,
    Situation.taken_over_and_generated,
    Situation.taken_over_and_released,
    Situation.given_up,
    Situation.excluded_and_included,
    Situation.erased,
)
Befall = Callable[[Situation], None]
COMBINATIONS = list(itertools.product(OUTCOMES, ON_LOST))


def name_of(befall: Befall) -> str:
    name: str = befall.__name__
    return name


@pytest.fixture
def situation(world: World, clock: FrozenClock) -> Situation:
    """As many claims as there are combinations of outcome and ``on_lost``."""
    campaign = world.campaign(len(COMBINATIONS), Status.GENERATING, budget=Decimal(50))
    claims = world.claim(campaign.id, reserve=Decimal("0.005"), clock=clock)
    assert len(claims) == len(COMBINATIONS)
    return Situation(world, clock, campaign, claims)


def booked_by(outcome: Outcome, row: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that booking an outcome's cost changes."""
    if outcome.cost is None:
        return {"unknown_costs": row["unknown_costs"] + 1}
    return {"generation_cost": row["generation_cost"] + outcome.cost}


def settled_by(outcome: Outcome, row: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """The columns that an outcome changes, besides its cost and the end of the claim."""
    match outcome:
        case Generated():
            return {
                "status": "generated",
                "generated_at": now,
                "steps_fingerprint": STEPS.fingerprint,
            }
        case Failed():
            return {"status": "failed", "error_code": outcome.code, "error": outcome.message}
        case NotReady():
            return {"status": "enrichment_needed", "attempts": row["attempts"] - 1}
        case Unfinished():
            back: dict[str, Any] = {"status": "pending"}
            if outcome.cost == 0:
                back["attempts"] = row["attempts"] - 1
            if outcome.retry_after:
                back["retry_at"] = now + outcome.retry_after
            return back


@pytest.mark.parametrize("befall", HELD, ids=name_of)
def test_whoever_holds_the_token_records(situation: Situation, befall: Befall) -> None:
    befall(situation)
    excluded = befall in (Situation.excluded, Situation.excluded_after_cancel)
    now = situation.clock.now
    with situation.store() as store:
        for claim, (outcome, on_lost) in zip(situation.claims, COMBINATIONS, strict=True):
            before = contact_row(store, claim)
            answer = store.generation.record({claim: outcome}, on_lost=on_lost)
            expected = Recorded.APPLIED
            assert before is not None
            changes = settled_by(outcome, before, now)
            if excluded:
                expected, changes = Recorded.EXCLUDED, {}
            elif befall is Situation.steps_changed and isinstance(outcome, Generated):
                expected = Recorded.REQUEUED
                changes = {"status": "pending", "attempts": before["attempts"] - 1}
            changes.pop("steps_fingerprint", None)  # The claim has left it there already.
            assert answer == {claim: expected}
            after = contact_row(store, claim)
            changed = change(before, after)
            if isinstance(outcome, NotReady):
                assert changed.pop("enrichment_gaps")
            ended = {
                "claim_token": None,
                "lease_expires_at": None,
                **booked_by(outcome, before),
                **changes,
            }
            if before["reserved"]:
                ended["reserved"] = 0
            assert after is not None
            assert json.loads(after["reported_tokens"])[-1] == str(claim.token)
            del changed["reported_tokens"]
            assert changed == ended
            # The same once more, by whichever name, is known and changes nothing.
            for repeat in ON_LOST:
                assert store.generation.record({claim: outcome}, on_lost=repeat) == {
                    claim: Recorded.ALREADY
                }
            with pytest.raises(LeaseLost):
                store.generation.checkpoint(claim, CENT)
            assert contact_row(store, claim) == after
    situation.world.check(situation.campaign.id)


@pytest.mark.parametrize("befall", RECORDED, ids=name_of)
def test_failure_28_a_repeat_is_known_and_counted_once(
    situation: Situation, befall: Befall
) -> None:
    befall(situation)
    with situation.store() as store:
        spent = store.generation.progress(situation.campaign.id)
        for claim, (outcome, on_lost) in zip(situation.claims, COMBINATIONS, strict=True):
            before = contact_row(store, claim)
            answer = store.generation.record({claim: outcome}, on_lost=on_lost)
            assert answer == {claim: Recorded.ALREADY}
            assert contact_row(store, claim) == before
        after = store.generation.progress(situation.campaign.id)
        assert attrs.evolve(after, per_second=None, seconds_left=None) == attrs.evolve(
            spent, per_second=None, seconds_left=None
        )
    situation.world.check(situation.campaign.id)


@pytest.mark.parametrize("befall", LOST, ids=name_of)
def test_a_lost_claim_records_nothing_but_its_cost(situation: Situation, befall: Befall) -> None:
    befall(situation)
    gone = befall is Situation.erased
    with situation.store() as store:
        for claim, (outcome, on_lost) in zip(situation.claims, COMBINATIONS, strict=True):
            before = contact_row(store, claim)
            assert (before is None) == gone
            with pytest.raises(LeaseLost) as lost:
                store.generation.checkpoint(claim, CENT)
            assert lost.value.ids == (claim.id,)
            if on_lost == "raise":
                with pytest.raises(LeaseLost) as lost:
                    store.generation.record({claim: outcome})
                assert lost.value.ids == (claim.id,)
            elif on_lost == "skip":
                answer = store.generation.record({claim: outcome}, on_lost=on_lost)
                assert answer == {claim: Recorded.SKIPPED}
            elif gone:  # No row is left, but the claim is remembered until it is booked.
                for expected in (Recorded.BOOKED, Recorded.SKIPPED):
                    answer = store.generation.record({claim: outcome}, on_lost=on_lost)
                    assert answer == {claim: expected}
            else:
                answer = store.generation.record({claim: outcome}, on_lost=on_lost)
                assert answer == {claim: Recorded.BOOKED}
                booked = contact_row(store, claim)
                changed = change(before, booked)
                assert booked is not None
                assert json.loads(booked["reported_tokens"])[-1] == str(claim.token)
                del changed["reported_tokens"]
                assert before is not None
                paid = outcome.cost is None or outcome.cost > 0
                assert changed == (booked_by(outcome, before) if paid else {})
                for repeat in ON_LOST:
                    assert store.generation.record({claim: outcome}, on_lost=repeat) == {
                        claim: Recorded.ALREADY
                    }
                before = booked
            assert contact_row(store, claim) == before
    situation.world.check(situation.campaign.id)


def test_gaps_that_were_found_decide_where_the_contact_waits(world: World) -> None:
    ids = world.contacts(2)
    campaign = world.campaign(ids, Status.GENERATING)
    claims = world.claim(campaign.id)
    world.transact(
        lambda store: store.generation.record(
            dict.fromkeys(claims, NotReady(("email", "phone"), CENT))
        )
    )
    page = world.transact(lambda store: store.contacts.list(campaign.id)).items
    assert {one.enrichment_gaps for one in page} == {("email", "phone")}
    assert world.claim(campaign.id) == ()
    world.transact(lambda store: store.contacts.set_readiness(campaign.id, {ids[0]: []}))
    (claim,) = world.claim(campaign.id)
    assert claim.contact_id == ids[0]
    # Known to be ready, it does not fall back to being unknown.
    world.transact(lambda store: store.generation.release([claim]))
    assert world.rows(campaign.id)[ids[0]].status == "enrichment_ok"
    world.check(campaign.id)


def test_all_of_a_batch_is_recorded_or_nothing(world: World, clock: FrozenClock) -> None:
    campaign = world.campaign(5, Status.GENERATING, budget=Decimal(5))
    claims = world.claim(campaign.id, 5, reserve=CENT, clock=clock)
    world.transact(lambda store: store.generation.renew(claims[:3], 3 * LEASE), clock=clock)
    clock.forward(LEASE)
    over = world.claim(campaign.id, 5, reserve=CENT, clock=clock)
    stale = {claim.id for claim in over}
    assert stale == {claim.id for claim in claims[3:]}
    before = world.rows(campaign.id)
    outcomes: dict[Claim, Outcome] = dict.fromkeys(claims, Generated(Decimal(1)))
    with transaction(world) as store:
        with pytest.raises(LeaseLost) as lost:
            store.generation.record(outcomes)
        assert set(lost.value.ids) == stale
    assert world.rows(campaign.id) == before
    world.check(campaign.id)
    with transaction(world) as store:
        with pytest.raises(LeaseLost):
            store.generation.record(outcomes)
        # The transaction is as good as before, for the rest of them.
        answers = store.generation.record(outcomes, on_lost="skip")
    assert [answers[claim] for claim in claims] == [Recorded.APPLIED] * 3 + [Recorded.SKIPPED] * 2
    progress = world.transact(lambda store: store.generation.progress(campaign.id))
    assert (progress.spent, progress.reserved) == (Decimal(3), 2 * CENT)
    world.check(campaign.id)
    # Applied, applied again and lost in one call: booked once.
    answers = world.transact(lambda store: store.generation.record(outcomes, on_lost="book"))
    assert [answers[claim] for claim in claims] == [Recorded.ALREADY] * 3 + [Recorded.BOOKED] * 2
    progress = world.transact(lambda store: store.generation.progress(campaign.id))
    assert progress.spent == Decimal(5)
    world.check(campaign.id)


@pytest.mark.parametrize("order", [1, -1], ids=["old-first", "new-first"])
def test_an_old_claim_and_a_new_one_on_the_same_contact_in_one_call(
    world: World, clock: FrozenClock, order: int
) -> None:
    campaign = world.campaign(1, Status.GENERATING)
    (old,) = world.claim(campaign.id, clock=clock)
    clock.forward(LEASE)
    (new,) = world.claim(campaign.id, clock=clock)
    pairs: list[tuple[Claim, Outcome]] = [
        (old, Generated(Decimal("0.1"))),
        (new, Generated(Decimal("0.2"))),
        (attrs.evolve(new, attempts=9), Generated(Decimal("0.4"))),
    ]
    answers = world.transact(
        lambda store: store.generation.record(dict(pairs[::order]), on_lost="book")
    )
    assert answers[old] is Recorded.BOOKED
    assert sorted(answers.values()) == ["already", "applied", "booked"]
    (row,) = world.rows(campaign.id).values()
    assert row.status == "generated"
    assert row.generation_cost == Decimal("0.3" if order == 1 else "0.5")
    world.check(campaign.id)


# Putting contacts back.


def test_failure_07_a_failed_contact_is_retried_and_its_cost_stays(world: World) -> None:
    campaign = world.campaign(4, Status.GENERATING)
    claims = world.claim(campaign.id)
    failed, other, *rest = claims
    outcome = Failed("refused", "the model refused", Decimal("0.25"))
    world.transact(
        lambda store: store.generation.record(
            {failed: outcome, other: outcome} | dict.fromkeys(rest, Generated(CENT))
        )
    )
    row = world.rows(campaign.id)[failed.contact_id]
    assert (row.error_code, row.error) == ("refused", "the model refused")
    assert row.generation_cost == Decimal("0.25")
    with transaction(world) as store:
        stranger = uuid4()
        named = [failed.contact_id, rest[0].contact_id, stranger]
        changed = store.generation.retry_failed(campaign.id, named)
        assert changed.changed == 1
        assert set(changed.skipped) == {rest[0].contact_id, stranger}
    row = world.rows(campaign.id)[failed.contact_id]
    assert (row.status, row.error_code, row.error) == ("pending", None, None)
    assert (row.generation_cost, row.attempts, row.revision) == (Decimal("0.25"), 0, 0)
    world.check(campaign.id)
    changed = world.transact(lambda store: store.generation.retry_failed(campaign.id))
    assert (changed.changed, changed.skipped) == (1, ())
    again = world.claim(campaign.id)
    assert {claim.id for claim in again} == {failed.id, other.id}
    world.transact(lambda store: store.generation.record(dict.fromkeys(again, Generated(CENT))))
    progress = world.transact(lambda store: store.generation.progress(campaign.id))
    assert progress.spent == Decimal("0.54")
    world.check(campaign.id)


@pytest.mark.parametrize("status", [Status.READY, Status.GENERATING, Status.REVIEW])
def test_retry_and_regenerate_are_for_campaigns_that_may_still_generate(
    world: World, status: Status
) -> None:
    campaign = world.campaign(2, Status.GENERATING)
    failed, done = world.claim(campaign.id)
    world.transact(
        lambda store: store.generation.record(
            {failed: Failed("no", "no", CENT), done: Generated(CENT)}
        )
    )
    if status is not Status.GENERATING:
        move(world, campaign.id, NOT_GENERATING[status])
    assert world.transact(lambda store: store.generation.retry_failed(campaign.id)).changed == 1
    assert world.transact(lambda store: store.generation.regenerate(campaign.id)).changed == 1
    assert statuses(world, campaign) == ["pending", "pending"]
    world.check(campaign.id)
    assert world.legacy(campaign.id) == (2, 0, 2 * CENT)


@pytest.mark.parametrize(
    "status", [one for one in Status if one not in PERMISSIONS[Permission.RETRY_FAILED]]
)
def test_retry_and_regenerate_are_refused_elsewhere(world: World, status: Status) -> None:
    campaign = world.campaign(2, Status.GENERATING)
    failed, done = world.claim(campaign.id)
    world.transact(
        lambda store: store.generation.record(
            {failed: Failed("no", "no", CENT), done: Generated(CENT)}
        )
    )
    move(world, campaign.id, NOT_GENERATING[status])
    before = world.rows(campaign.id)
    with transaction(world) as store:
        for call in (store.generation.retry_failed, store.generation.regenerate):
            with pytest.raises(TransitionNotAllowed) as refused:
                call(campaign.id)
            assert refused.value.source == status
        store.generation.progress(campaign.id)
    assert world.rows(campaign.id) == before


def test_regenerate_all_or_the_given_ones_under_a_new_revision(world: World) -> None:
    campaign = world.campaign(3, Status.REVIEW)
    ids = [*world.rows(campaign.id)]
    changed = world.transact(
        lambda store: store.generation.regenerate(campaign.id, [ids[0], uuid4()])
    )
    assert (changed.changed, len(changed.skipped)) == (1, 1)
    assert {row.contact_id: row.revision for row in world.rows(campaign.id).values()} == {
        ids[0]: 1,
        ids[1]: 0,
        ids[2]: 0,
    }
    changed = world.transact(lambda store: store.generation.regenerate(campaign.id))
    assert changed.changed == 2
    world.apply(campaign.id, Action.REQUEST_CHANGES)
    world.apply(campaign.id, Action.START_GENERATION)
    claims = world.claim(campaign.id)
    assert [(claim.revision, claim.attempts) for claim in claims] == [(1, 1)] * 3
    world.transact(lambda store: store.generation.record(dict.fromkeys(claims, Generated(CENT))))
    progress = world.transact(lambda store: store.generation.progress(campaign.id))
    assert progress.spent == 6 * CENT
    world.check(campaign.id)


def test_regenerate_only_those_made_from_other_steps(world: World) -> None:
    campaign = world.campaign(4, Status.GENERATING)
    first = world.claim(campaign.id, 2)
    world.transact(lambda store: store.generation.record(dict.fromkeys(first, Generated(CENT))))
    regenerate = lambda store: store.generation.regenerate(campaign.id, only_stale=True)  # noqa: E731
    assert world.transact(regenerate).changed == 0
    world.apply(campaign.id, Action.CANCEL_GENERATION)
    edit_steps(world, campaign.id)
    world.apply(campaign.id, Action.START_GENERATION)
    second = world.claim(campaign.id)
    world.transact(lambda store: store.generation.record(dict.fromkeys(second, Generated(CENT))))
    stale = {
        one.contact_id
        for one in world.transact(lambda store: store.contacts.list(campaign.id)).items
        if one.stale
    }
    assert stale == {claim.contact_id for claim in first}
    named = [first[0].contact_id, second[0].contact_id]
    changed = world.transact(
        lambda store: store.generation.regenerate(campaign.id, named, only_stale=True)
    )
    assert (changed.changed, changed.skipped) == (1, (second[0].contact_id,))
    assert world.transact(regenerate).changed == 1
    assert {claim.id for claim in world.claim(campaign.id)} == {claim.id for claim in first}
    world.check(campaign.id)


# Runs that end early, begin again and end for good.


def test_failure_02_cancel_leaves_nothing_that_stops_the_next_run(world: World) -> None:
    campaign = world.campaign(4, Status.GENERATING)
    claims = world.claim(campaign.id, 2)
    for _ in range(2):
        assert world.apply(campaign.id, Action.CANCEL_GENERATION).status is Status.READY
        assert world.claim(campaign.id) == ()
        assert world.apply(campaign.id, Action.START_GENERATION).status is Status.GENERATING
    renewal = world.transact(lambda store: store.generation.renew(claims, LEASE))
    assert not renewal.cancelled
    rest = world.claim(campaign.id)
    assert len(rest) == 2
    outcomes = dict.fromkeys([*claims, *rest], Generated(CENT))
    answers = world.transact(lambda store: store.generation.record(outcomes))
    assert set(answers.values()) == {Recorded.APPLIED}
    assert world.apply(campaign.id, Action.COMPLETE_GENERATION).status is Status.REVIEW
    world.check(campaign.id)


def test_failure_04_whoever_died_comes_back_by_the_lease(world: World, clock: FrozenClock) -> None:
    campaign = world.campaign(3, Status.GENERATING)
    dead = world.claim(campaign.id, clock=clock)
    with pytest.raises(TransitionNotAllowed) as refused:
        world.transact(
            lambda store: store.campaigns.apply(campaign.id, Action.COMPLETE_GENERATION),
            clock=clock,
        )
    assert [unmet.guard for unmet in refused.value.unmet] == ["nothing_in_flight"]
    clock.forward(LEASE)
    with pytest.raises(TransitionNotAllowed) as refused:
        world.transact(
            lambda store: store.campaigns.apply(campaign.id, Action.COMPLETE_GENERATION),
            clock=clock,
        )
    assert [unmet.guard for unmet in refused.value.unmet] == ["nothing_left_to_claim"]
    over = world.claim(campaign.id, clock=clock)
    assert {claim.id for claim in over} == {claim.id for claim in dead}
    world.transact(lambda store: store.generation.record(dict.fromkeys(over, Generated(CENT))))
    assert world.apply(campaign.id, Action.COMPLETE_GENERATION).status is Status.REVIEW
    world.check(campaign.id)


@pytest.mark.parametrize(
    "way_back",
    [
        (Action.CANCEL_GENERATION,),
        (Action.CANCEL_GENERATION, Action.RETURN_TO_DRAFT, Action.MARK_READY),
        (Action.CANCEL_GENERATION, Action.SUBMIT_FOR_REVIEW, Action.REQUEST_CHANGES),
    ],
    ids=["cancel", "to-draft", "from-review"],
)
def test_failure_06_counts_and_cost_outlive_every_way_back(
    world: World, way_back: tuple[Action, ...]
) -> None:
    campaign = world.campaign(5, Status.GENERATING)
    one, two, three = world.claim(campaign.id, 3)
    world.transact(
        lambda store: store.generation.record(
            {
                one: Generated(Decimal("0.1")),
                two: Failed("no", "no", Decimal("0.02")),
                three: Unfinished(cost=Decimal("0.003")),
            }
        )
    )
    for action in way_back:
        world.apply(campaign.id, action)
        assert world.legacy(campaign.id) == (5, 1, Decimal("0.123"))
        world.check(campaign.id)
    world.apply(campaign.id, Action.START_GENERATION)
    progress = world.transact(lambda store: store.generation.progress(campaign.id))
    assert progress.spent == Decimal("0.123")
    assert progress.by_status[ContactStatus.GENERATED] == 1
    assert progress.by_status[ContactStatus.FAILED] == 1
    world.generate(campaign.id, cost="1")
    world.apply(campaign.id, Action.COMPLETE_GENERATION)
    assert world.legacy(campaign.id) == (5, 4, Decimal("3.123"))
    assert [row.status for row in world.rows(campaign.id).values()].count("failed") == 1
    world.check(campaign.id)


def test_failure_09_everything_generated_can_go_to_review(world: World) -> None:
    campaign = world.campaign(2, Status.GENERATING)
    world.generate(campaign.id)
    # Cancelled at the last moment: there is nothing to start, and a way on all the same.
    world.apply(campaign.id, Action.CANCEL_GENERATION)
    with pytest.raises(TransitionNotAllowed) as refused:
        world.apply(campaign.id, Action.START_GENERATION)
    assert [unmet.guard for unmet in refused.value.unmet] == ["has_contacts_to_generate"]
    assert world.apply(campaign.id, Action.SUBMIT_FOR_REVIEW).status is Status.REVIEW


def test_failure_09_a_run_in_which_all_failed_can_be_completed_and_retried(world: World) -> None:
    campaign = world.campaign(2, Status.GENERATING)
    outcome = Failed("no", "no", CENT)
    claims = world.claim(campaign.id)
    world.transact(lambda store: store.generation.record(dict.fromkeys(claims, outcome)))
    assert world.apply(campaign.id, Action.COMPLETE_GENERATION).status is Status.REVIEW
    world.transact(lambda store: store.generation.retry_failed(campaign.id))
    world.apply(campaign.id, Action.REQUEST_CHANGES)
    world.apply(campaign.id, Action.START_GENERATION)
    assert len(world.claim(campaign.id)) == 2


def test_a_result_after_a_cancel_counts(world: World) -> None:
    campaign = world.campaign(2, Status.GENERATING, budget=Decimal(1))
    claims = world.claim(campaign.id, 2, reserve=CENT)
    world.apply(campaign.id, Action.CANCEL_GENERATION)
    answers = world.transact(
        lambda store: store.generation.record(dict.fromkeys(claims, Generated(CENT)))
    )
    assert set(answers.values()) == {Recorded.APPLIED}
    world.check(campaign.id)
    assert world.apply(campaign.id, Action.SUBMIT_FOR_REVIEW).status is Status.REVIEW
    assert world.legacy(campaign.id) == (2, 2, 2 * CENT)


def test_a_result_for_steps_that_changed_is_paid_for_and_made_anew(world: World) -> None:
    campaign = world.campaign(1, Status.GENERATING)
    (claim,) = world.claim(campaign.id)
    world.apply(campaign.id, Action.CANCEL_GENERATION)
    edit_steps(world, campaign.id)
    answers = world.transact(lambda store: store.generation.record({claim: Generated(CENT)}))
    assert answers == {claim: Recorded.REQUEUED}
    world.apply(campaign.id, Action.START_GENERATION)
    (again,) = world.claim(campaign.id)
    assert again.steps_fingerprint != claim.steps_fingerprint
    world.transact(lambda store: store.generation.record({again: Generated(CENT)}))
    assert world.transact(lambda store: store.generation.progress(campaign.id)).spent == 2 * CENT
    world.check(campaign.id)


# Progress and estimate.


def test_progress_is_of_the_campaign_that_is_asked_for(world: World) -> None:
    campaigns = {number: world.campaign(number, Status.GENERATING) for number in (3, 1, 2)}

    def work(store: CampaignStore) -> None:
        for number, campaign in campaigns.items():
            assert store.generation.progress(campaign.id).assigned == number
        with pytest.raises(NotFound):
            store.generation.progress(uuid4())

    world.transact(work)


def test_progress_tells_rate_and_time_left_of_this_run(world: World, clock: FrozenClock) -> None:
    campaign = world.campaign(0)
    ids = world.contacts(12)
    with transaction(world, clock=clock) as store:
        generation = store.generation

        def pace() -> tuple[float | None, float | None]:
            progress = generation.progress(campaign.id)
            return progress.per_second, progress.seconds_left

        store.contacts.assign(campaign.id, ids)
        store.contacts.exclude(campaign.id, ids[:1])
        assert pace() == (None, None)
        store.campaigns.apply(campaign.id, Action.MARK_READY)
        store.campaigns.apply(campaign.id, Action.START_GENERATION)
        progress = generation.progress(campaign.id)
        assert (progress.assigned, progress.total) == (12, 11)
        assert pace() == (None, None)
        claims = generation.claim(campaign.id, 6, LEASE).claims
        generation.record({claims[0]: Generated(CENT)})
        # One, and no time to speak of: that is no rate yet.
        assert pace() == (None, None)
        clock.forward(timedelta(seconds=0.5))
        assert pace() == (2, 5)
        generation.record(dict.fromkeys(claims[1:4], Generated(CENT)))
        generation.record({claims[4]: Failed("no", "no", CENT)})
        clock.forward(timedelta(seconds=9.5))
        # 5 in 10 seconds; 1 in flight and 5 waiting are left.
        assert pace() == (0.5, 12)
        store.campaigns.apply(campaign.id, Action.CANCEL_GENERATION)
        clock.forward(timedelta(hours=1))
        store.campaigns.apply(campaign.id, Action.START_GENERATION)
        # What earlier runs finished says nothing about this one.
        clock.forward(timedelta(seconds=4))
        assert pace() == (None, None)
        rest = generation.claim(campaign.id, 9, LEASE).claims
        generation.record(dict.fromkeys([*rest, claims[5]], Generated(CENT)), on_lost="skip")
        progress = generation.progress(campaign.id)
        assert progress.by_status[ContactStatus.GENERATED] == 4 + len(rest)
        assert progress.per_second == len(rest) / 4
        store.campaigns.apply(campaign.id, Action.COMPLETE_GENERATION)
        # Over: the clock no longer runs.
        clock.forward(timedelta(hours=1))
        assert pace() == (len(rest) / 4, 0)
    world.check(campaign.id)


def test_an_estimate_goes_by_what_known_ones_cost(world: World) -> None:
    campaign = world.campaign(6, Status.GENERATING)
    slots = len(STEPS.slots())
    with transaction(world) as store:
        generation = store.generation
        assert generation.estimate(campaign.id) == Estimate(6, 6 * slots, None)
        claims = generation.claim(campaign.id, 4, LEASE).claims
        generation.record({claims[0]: Generated(None)})
        assert generation.estimate(campaign.id) == Estimate(5, 5 * slots, None)
        generation.record({claims[1]: Generated(CENT), claims[2]: Failed("no", "no", 2 * CENT)})
        # 0.03 for two of known cost; one in flight and two waiting are left.
        assert generation.estimate(campaign.id) == Estimate(3, 3 * slots, Decimal("0.045"))
        generation.record({claims[3]: Generated(CENT)})
        # A third of 0.04, twice: rounded to the decimals that money has.
        assert generation.estimate(campaign.id).cost == Decimal("0.026666667")


# One tenant, and campaigns that are not there.


def test_another_tenants_campaign_is_not_there(world: World) -> None:
    campaign = world.campaign(2, Status.GENERATING)
    claims = world.claim(campaign.id)
    stranger = World(world.engine)
    before = world.rows(campaign.id)
    with transaction(stranger) as store:
        generation = store.generation
        for call in (
            lambda: generation.claim(campaign.id, 1, LEASE),
            lambda: generation.renew(claims, LEASE),
            lambda: generation.checkpoint(claims[0], CENT),
            lambda: generation.record(dict.fromkeys(claims, Generated(CENT))),
            lambda: generation.release(claims),
            lambda: generation.retry_failed(campaign.id),
            lambda: generation.regenerate(campaign.id),
            lambda: generation.progress(campaign.id),
            lambda: generation.estimate(campaign.id),
        ):
            with pytest.raises(NotFound) as missing:
                call()
            assert (missing.value.kind, missing.value.ids) == ("campaign", (campaign.id,))
    assert world.rows(campaign.id) == before


def test_a_claim_forged_for_another_campaign_reaches_nothing(world: World) -> None:
    mine, other = (world.campaign(1, Status.GENERATING) for _ in range(2))
    (claim,) = world.claim(mine.id)
    forged = attrs.evolve(claim, campaign_id=other.id)
    before = world.rows(mine.id)
    with transaction(world) as store:
        assert store.generation.renew([forged], LEASE).lost == (claim.id,)
        with pytest.raises(LeaseLost):
            store.generation.checkpoint(forged, CENT)
        with pytest.raises(LeaseLost):
            store.generation.record({forged: Generated(CENT)})
        assert store.generation.record({forged: Generated(CENT)}, on_lost="book") == {
            forged: Recorded.SKIPPED
        }
    assert world.rows(mine.id) == before
    world.check(mine.id)
    world.check(other.id)


def test_a_claim_forged_for_another_campaign_books_no_erased_contact(world: World) -> None:
    mine, other = (world.campaign(1, Status.GENERATING) for _ in range(2))
    (claim,) = world.claim(mine.id)
    world.transact(lambda store: store.contacts.erase([claim.contact_id]))
    forged = attrs.evolve(claim, campaign_id=other.id)
    with transaction(world) as store:
        for one, expected in ((forged, Recorded.SKIPPED), (claim, Recorded.BOOKED)):
            answers = store.generation.record({one: Generated(CENT)}, on_lost="book")
            assert answers == {one: expected}
        assert store.generation.progress(other.id).spent == 0
        assert store.generation.progress(mine.id).spent == CENT


def test_the_database_tells_the_time(world: World) -> None:
    campaign = world.campaign(1, Status.GENERATING)
    batch = world.transact(lambda store: store.generation.claim(campaign.id, 1, LEASE))
    with world.engine.begin() as connection:
        now = database_time(connection)
    assert campaign.created_at is not None
    assert campaign.created_at < batch.at <= now
    (row,) = world.rows(campaign.id).values()
    assert (row.claimed_at, row.lease_expires_at) == (batch.at, batch.at + LEASE)


@pytest.mark.parametrize("moves", [(), (Action.EXPORT,), (Action.EXPORT, Action.ARCHIVE)])
def test_a_result_after_the_review_is_booked_and_never_exportable(
    world: World, moves: tuple[Action, ...]
) -> None:
    campaign = world.campaign(2, Status.GENERATING)
    early, late = world.claim_overdue(campaign.id)
    world.transact(lambda store: store.generation.record({early: Generated(Decimal("0.01"))}))
    world.apply(campaign.id, Action.CANCEL_GENERATION)
    world.apply(campaign.id, Action.SUBMIT_FOR_REVIEW)
    assert world.rows(campaign.id)[late.contact_id].status == ContactStatus.PENDING
    world.apply(campaign.id, Action.APPROVE, review=ReviewTally(1, 0, 0))
    for action in moves:
        world.apply(campaign.id, action)
    with pytest.raises(LeaseLost):
        world.transact(lambda store: store.generation.record({late: Generated(Decimal("0.02"))}))
    answer = world.transact(
        lambda store: store.generation.record({late: Generated(Decimal("0.02"))}, on_lost="book")
    )
    assert answer == {late: Recorded.BOOKED}
    rows = world.rows(campaign.id)
    assert rows[late.contact_id].status == ContactStatus.PENDING
    assert rows[late.contact_id].generation_cost == Decimal("0.02")
    if Action.ARCHIVE not in moves:
        exportable = world.transact(
            lambda store: [one.contact_id for one in store.contacts.exportable(campaign.id)]
        )
        assert exportable == [early.contact_id]
    world.check(campaign.id)


def test_a_contact_excluded_in_flight_is_reported_on_whoever_else_died(world: World) -> None:
    campaign = world.campaign(3, Status.GENERATING)
    claims = world.claim_overdue(campaign.id)
    done, dead, excluded = claims
    world.transact(lambda store: store.generation.record({done: Generated(None)}))
    world.transact(lambda store: store.contacts.exclude(campaign.id, [excluded.contact_id]))
    world.apply(campaign.id, Action.CANCEL_GENERATION)
    world.apply(campaign.id, Action.SUBMIT_FOR_REVIEW)
    assert world.rows(campaign.id)[dead.contact_id].status == ContactStatus.PENDING
    late = {excluded: Generated(Decimal("0.02"))}
    answer = world.transact(lambda store: store.generation.record(late))
    assert answer == {excluded: Recorded.EXCLUDED}
    world.check(campaign.id)


def test_messages_under_other_steps_are_other_messages(world: World) -> None:
    """A worker dies after its first message; meanwhile the step is rewritten."""
    campaign = world.campaign(2, Status.GENERATING)
    claims = world.claim_overdue(campaign.id)
    assert {claim.revision for claim in claims} == {0}
    same = world.claim_overdue(campaign.id)
    assert {claim.revision for claim in same} == {0}
    world.apply(campaign.id, Action.CANCEL_GENERATION)

    def rewrite(store: CampaignStore) -> None:
        present = store.campaigns.get(campaign.id)
        steps = present.steps.update(present.steps.keys[0], label="Completely new")
        store.campaigns.save(attrs.evolve(present, steps=steps))
        store.campaigns.apply(campaign.id, Action.START_GENERATION)

    world.transact(rewrite)
    after = world.claim(campaign.id)
    assert {claim.id for claim in after} == {claim.id for claim in claims}
    assert {claim.revision for claim in after} == {1}
    world.check(campaign.id)


def test_failure_28_a_repeated_report_is_known_however_many_came_between(world: World) -> None:
    campaign = world.campaign(1, Status.GENERATING)
    cost = Decimal("1.5")
    (first,) = world.claim(campaign.id)
    reports: list[tuple[Claim, Outcome]] = [(first, Unfinished(cost=cost))]
    world.transact(lambda store: store.generation.record(dict(reports[-1:])))
    late = world.claim_overdue(campaign.id)
    reports += [(claim, Failed("late", "Too late", cost)) for claim in late]
    (last,) = world.claim(campaign.id)
    reports.append((last, Generated(cost)))
    for _ in range(3):
        for claim, outcome in reports:
            with transaction(world) as store:
                store.generation.record({claim: outcome}, on_lost="book")
    (row,) = world.rows(campaign.id).values()
    assert (row.status, row.generation_cost) == (ContactStatus.GENERATED, 3 * cost)
    world.check(campaign.id)


def test_of_very_many_reports_the_last_are_remembered(world: World) -> None:
    campaign = world.campaign(1, Status.GENERATING)
    reports: list[dict[Claim, Outcome]] = []
    with transaction(world) as store:
        record = store.generation.record
        for number in range(MAX_REPORTED_TOKENS + 1):
            (claim,) = store.generation.claim(campaign.id, 1, LEASE).claims
            reports.append(
                {claim: Generated(CENT) if number == MAX_REPORTED_TOKENS else Unfinished()}
            )
            record(reports[-1])
        with pytest.raises(LeaseLost):
            record(reports[0])
        answers = {answer for report in reports[1:] for answer in record(report).values()}
    assert answers == {Recorded.ALREADY}
    world.check(campaign.id)


def test_what_was_spent_on_a_contact_erased_in_flight_is_booked_once(world: World) -> None:
    campaign = world.campaign(2, Status.GENERATING)
    one, other = world.claim(campaign.id)
    world.transact(lambda store: store.generation.checkpoint(one, Decimal(1)))
    assert world.transact(lambda store: store.contacts.erase([one.contact_id])) == 1
    book = {one: Generated(Decimal(5)), other: Generated(None)}
    answers = [
        world.transact(lambda store: store.generation.record(book, on_lost="book"))
        for _ in range(2)
    ]
    assert answers == [
        {one: Recorded.BOOKED, other: Recorded.APPLIED},
        {one: Recorded.SKIPPED, other: Recorded.ALREADY},
    ]
    progress = world.transact(lambda store: store.generation.progress(campaign.id))
    assert (progress.spent, progress.unknown_costs, progress.assigned) == (Decimal(6), 1, 1)
    world.check(campaign.id)


def test_work_that_costs_and_never_ends_comes_to_the_cap(world: World) -> None:
    campaign = world.campaign(1, Status.GENERATING)
    for attempt in range(MAX_ATTEMPTS):
        (claim,) = world.claim(campaign.id)
        assert claim.attempts == attempt + 1
        with transaction(world) as store:
            store.generation.record({claim: Unfinished(cost=CENT)})
    assert world.claim(campaign.id) == ()
    (row,) = world.rows(campaign.id).values()
    assert (row.status, row.error_code) == (ContactStatus.FAILED, ATTEMPTS_EXHAUSTED)
    assert row.generation_cost == MAX_ATTEMPTS * CENT
    world.check(campaign.id)


@pytest.mark.parametrize("limit", [2, 3])
@pytest.mark.parametrize("from_a_cursor", [False, True])
def test_who_is_at_the_cap_takes_nobodys_place(
    world: World, limit: int, *, from_a_cursor: bool
) -> None:
    ids = world.contacts(3)
    campaign = world.campaign(ids, Status.GENERATING)
    (claim,) = world.claim(campaign.id, 1)
    with transaction(world) as store:
        store.generation.record({claim: Unfinished(cost=CENT)})
    cursor = Cursor(world.rows(campaign.id)[ids[0]].rank) if from_a_cursor else None
    with transaction(world) as store:
        batch = store.generation.claim(campaign.id, limit, LEASE, cursor=cursor, max_attempts=1)
    assert [claim.contact_id for claim in batch.claims] == ids[1:]
    assert statuses(world, campaign) == ["failed", "generating", "generating"]
    world.check(campaign.id)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"limit": 0}, f"1 to {MAX_CLAIM}"),
        ({"limit": MAX_CLAIM + 1}, f"1 to {MAX_CLAIM}"),
        ({"limit": 2.5}, f"1 to {MAX_CLAIM}"),
        ({"lease": timedelta(0)}, f"at most {MAX_DURATION}"),
        ({"lease": MAX_DURATION + timedelta.resolution}, f"at most {MAX_DURATION}"),
        ({"max_attempts": 0}, "max_attempts is from 1"),
        ({"max_attempts": MAX_CLAIM + 1}, "max_attempts is from 1"),
        ({"reserve": None}, "reserve= what one contact may cost"),
    ],
    ids=str,
)
def test_a_claim_of_nonsense_is_refused_before_anything_is_written(
    world: World, wrong: dict[str, Any], says: str
) -> None:
    campaign = world.campaign(2, Status.GENERATING, budget=Decimal(1))

    def work(store: CampaignStore) -> None:
        options: dict[str, Any] = {"limit": 1, "lease": LEASE, "reserve": CENT} | wrong
        with refused(store, ValueError) as caught:
            store.generation.claim(campaign.id, **options)
        caught.match(re.escape(says))
        assert len(store.generation.claim(campaign.id, 1, LEASE, reserve=CENT).claims) == 1

    world.transact(work)
    world.check(campaign.id)
    assert sum(row.reserved for row in world.rows(campaign.id).values()) == CENT


def test_a_claim_may_be_as_large_and_as_long_as_its_limits_say(world: World) -> None:
    campaign = world.campaign(2, Status.GENERATING)
    with transaction(world) as store:
        batch = store.generation.claim(campaign.id, MAX_CLAIM, MAX_DURATION, max_attempts=MAX_CLAIM)
    assert [claim.expires_at for claim in batch.claims] == [batch.at + MAX_DURATION] * 2


def test_a_report_of_nonsense_is_refused_before_anything_is_written(world: World) -> None:
    campaign = world.campaign(2, Status.GENERATING)
    one, other = world.claim(campaign.id)
    nonsense: Any = "generated"
    never: Any = "rise"
    with transaction(world) as store:
        record = store.generation.record
        with refused(store, TypeError) as caught:
            record({one: Generated(CENT), other: nonsense})
        caught.match("not an outcome: 'generated'")
        with refused(store, ValueError) as told:
            record({one: Generated(CENT)}, on_lost=never)
        told.match("raise, skip, book, not 'rise'")


def test_who_releases_what_was_taken_over_is_told_and_the_rest_is_free(world: World) -> None:
    campaign = world.campaign(2, Status.GENERATING)
    stale = world.claim_overdue(campaign.id, 1)
    over = world.claim(campaign.id, 2)
    mine = [claim for claim in over if claim.id != stale[0].id]
    with transaction(world) as store:
        answers = store.generation.release([*stale, *mine])
    assert list(answers.values()) == [Recorded.SKIPPED, Recorded.APPLIED]
    assert sorted(statuses(world, campaign)) == ["generating", "pending"]
    world.check(campaign.id)
