"""Claims and reports: special cases that the state machine does not reach."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import attrs
import pytest
import sqlalchemy as sa

from campaign_model import clear_caches
from campaign_model.claims import (
    MAX_DURATION,
    Claim,
    Cursor,
    Generated,
    Outcome,
    Recorded,
    StopReason,
    Unfinished,
)
from campaign_model.errors import InvalidArgument, LeaseLost
from campaign_model.lifecycle import Action
from campaign_model.store import CampaignStore, claiming
from campaign_model.store.claiming import MAX_CLAIM
from campaign_model.store.statements import MAX_REPORTED_TOKENS
from campaign_model.store.tables import campaign_totals
from campaign_model.testing.clock import FrozenClock
from campaign_model.testing.sample_campaigns import CENT, LEASE, Tenant
from support.tenants import claim_long_ago, contact_rows, execute
from support.transactions import open_store, refused


def statuses(tenant: Tenant, campaign_id: UUID) -> list[str]:
    """The statuses of a campaign's contacts, in the order of generation."""
    return [row.status for row in contact_rows(tenant, campaign_id).values()]


# Claims.


def test_a_contact_missing_from_the_totals_can_be_taken_over(tenant: Tenant) -> None:
    # A program without the library has written the contacts.
    campaign = tenant.campaign("generating", contacts=2)
    of_campaign = campaign_totals.c.campaign_id == campaign.id
    execute(tenant, sa.update(campaign_totals).where(of_campaign).values(pending=0))
    clock = FrozenClock()
    first = tenant.claim(campaign.id, 3, clock=clock)
    clock.forward(2 * LEASE)
    second = tenant.claim(campaign.id, 3, clock=clock)
    assert {claim.id for claim in second} == {claim.id for claim in first}
    assert len(second) == 2


def test_a_claim_after_the_caches_were_cleared_reads_the_documents_again(tenant: Tenant) -> None:
    campaign = tenant.campaign("generating", contacts=2)
    assert len(tenant.claim(campaign.id, 1)) == 1
    cache = claiming.documents_last_read
    known = cache.get(campaign.id)
    assert known is not None
    assert cache.max_bytes >= cache.size >= len(known.template_config)
    clear_caches()
    assert cache.get(campaign.id) is None
    assert len(tenant.claim(campaign.id, 1)) == 1
    assert cache.get(campaign.id) == known


def test_a_short_claim_tells_the_moment_to_try_again(tenant: Tenant) -> None:
    campaign = tenant.campaign("generating", contacts=3)
    clock = FrozenClock()
    with open_store(tenant, clock=clock) as store:
        generation = store.generation

        def claim_nothing() -> tuple[StopReason | None, datetime | None]:
            batch = generation.claim(campaign.id, 9, LEASE)
            assert batch.claims == ()
            return batch.stop, batch.retry_at

        (first,) = generation.claim(campaign.id, 1, LEASE).claims
        clock.forward(timedelta(seconds=1))
        batch = generation.claim(campaign.id, 9, LEASE)
        second, third = batch.claims
        # The earliest of two leases.
        assert (batch.stop, batch.retry_at) == (StopReason.LEASES_PENDING, first.expires_at)
        generation.record({first: Generated(CENT)})
        assert claim_nothing() == (StopReason.LEASES_PENDING, second.expires_at)
        # A pause that ends before the lease, and one that ends after it.
        generation.record({second: Unfinished(timedelta(minutes=1))})
        assert claim_nothing() == (StopReason.LEASES_PENDING, clock.now + timedelta(minutes=1))
        clock.forward(timedelta(minutes=1))
        (resumed,) = generation.claim(campaign.id, 9, LEASE).claims
        generation.record({resumed: Unfinished(timedelta(hours=1))})
        assert claim_nothing() == (StopReason.LEASES_PENDING, third.expires_at)
        # Only a pause is left, and then nothing.
        generation.record({third: Generated(CENT)})
        assert claim_nothing() == (StopReason.LEASES_PENDING, clock.now + timedelta(hours=1))
        clock.forward(timedelta(hours=1))
        (last,) = generation.claim(campaign.id, 9, LEASE).claims
        generation.record({last: Generated(None)})
        assert claim_nothing() == (StopReason.DRAINED, None)
    tenant.check_totals(campaign.id)


@pytest.mark.parametrize("limit", [2, 3])
@pytest.mark.parametrize("from_a_cursor", [False, True])
def test_an_exhausted_contact_does_not_use_up_the_limit(
    tenant: Tenant, limit: int, *, from_a_cursor: bool
) -> None:
    ids = tenant.contacts(3)
    campaign = tenant.campaign("generating", contacts=ids)
    (claim,) = tenant.claim(campaign.id, 1)
    tenant.record({claim: Unfinished(cost=CENT)})
    (waiting, *_) = statuses(tenant, campaign.id)
    cursor = Cursor(contact_rows(tenant, campaign.id)[ids[0]].rank) if from_a_cursor else None
    claims = tenant.claim(campaign.id, limit, cursor=cursor, max_attempts=1)
    assert [claim.contact_id for claim in claims] == ids[1:]
    # Only a claim that comes up short fails the contacts that are out of attempts.
    first = "failed" if limit == 3 else waiting
    assert statuses(tenant, campaign.id) == [first, "generating", "generating"]
    tenant.check_totals(campaign.id)


def test_failure_01_a_takeover_gives_the_same_message_ids(tenant: Tenant) -> None:
    campaign = tenant.campaign("generating", contacts=1)
    (first,) = claim_long_ago(tenant, campaign.id)
    (takeover,) = tenant.claim(campaign.id)

    def message_ids(claim: Claim) -> list[UUID]:
        return [slot.message_id(claim.id, claim.revision) for slot in campaign.steps.slots()]

    assert message_ids(first) == message_ids(takeover)
    assert len(set(message_ids(first))) == 3
    tenant.record({takeover: Generated(CENT)})
    tenant.transact(lambda store: store.generation.regenerate(campaign.id))
    (regeneration,) = tenant.claim(campaign.id)
    assert set(message_ids(regeneration)).isdisjoint(message_ids(first))


def test_a_claim_under_other_steps_gets_a_new_revision(tenant: Tenant) -> None:
    # Workers die after their first message, and then a user edits a step.
    campaign = tenant.campaign("generating", contacts=2)
    assert {claim.revision for claim in claim_long_ago(tenant, campaign.id)} == {0}
    assert {claim.revision for claim in claim_long_ago(tenant, campaign.id)} == {0}
    tenant.apply(campaign.id, Action.CANCEL_GENERATION)

    def edit_step(store: CampaignStore) -> None:
        present = store.campaigns.get(campaign.id)
        steps = present.steps.update("s1", label="Another invitation")
        store.campaigns.save(attrs.evolve(present, steps=steps))

    tenant.transact(edit_step)
    tenant.apply(campaign.id, Action.START_GENERATION)
    assert [claim.revision for claim in tenant.claim(campaign.id)] == [1, 1]
    tenant.check_totals(campaign.id)


@pytest.mark.parametrize(
    ("arguments", "error_type", "message"),
    [
        ({"limit": 0}, InvalidArgument, f"1 to {MAX_CLAIM}"),
        ({"limit": MAX_CLAIM + 1}, InvalidArgument, f"1 to {MAX_CLAIM}"),
        ({"limit": 2.5}, InvalidArgument, f"1 to {MAX_CLAIM}"),
        ({"lease": timedelta(0)}, InvalidArgument, f"at most {MAX_DURATION}"),
        (
            {"lease": MAX_DURATION + timedelta.resolution},
            InvalidArgument,
            f"at most {MAX_DURATION}",
        ),
        ({"max_attempts": 0}, InvalidArgument, "max_attempts"),
        ({"max_attempts": MAX_CLAIM + 1}, InvalidArgument, "max_attempts"),
        ({"reserve": None}, InvalidArgument, "reserve="),
        ({"reserve": 0.5}, TypeError, ""),
        ({"reserve": Decimal(-1)}, InvalidArgument, ""),
    ],
    ids=str,
)
def test_a_claim_with_a_wrong_argument_is_refused_and_writes_nothing(
    tenant: Tenant, arguments: dict[str, Any], error_type: type[Exception], message: str
) -> None:
    campaign = tenant.campaign("generating", contacts=2, budget=Decimal(1))
    with open_store(tenant) as store:
        options: dict[str, Any] = {"limit": 1, "lease": LEASE, "reserve": CENT} | arguments
        with refused(store, error_type) as caught:
            store.generation.claim(campaign.id, **options)
        caught.match(re.escape(message))
        assert len(store.generation.claim(campaign.id, 1, LEASE, reserve=CENT).claims) == 1
    tenant.check_totals(campaign.id)


def test_a_claim_with_the_largest_arguments_is_accepted(tenant: Tenant) -> None:
    campaign = tenant.campaign("generating", contacts=2)
    with open_store(tenant) as store:
        batch = store.generation.claim(campaign.id, MAX_CLAIM, MAX_DURATION, max_attempts=MAX_CLAIM)
    assert [claim.expires_at for claim in batch.claims] == [batch.at + MAX_DURATION] * 2


# Reports on claims.


def test_one_call_takes_claims_of_one_campaign_only(tenant: Tenant) -> None:
    campaigns = [tenant.campaign("generating", contacts=1) for _ in range(2)]
    claims = [claim for campaign in campaigns for claim in tenant.claim(campaign.id)]
    with open_store(tenant) as store:
        with pytest.raises(InvalidArgument, match="one campaign"):
            store.generation.renew(claims, LEASE)
        with pytest.raises(InvalidArgument, match="one campaign"):
            store.generation.renew([], LEASE)
        with pytest.raises(InvalidArgument, match="one campaign"):
            store.generation.record(dict.fromkeys(claims, Generated(CENT)))
        assert store.generation.record({}) == {}
    assert [statuses(tenant, campaign.id) for campaign in campaigns] == [["generating"]] * 2


def test_a_claim_forged_for_another_campaign_changes_nothing(tenant: Tenant) -> None:
    mine, other = (tenant.campaign("generating", contacts=1) for _ in range(2))
    (claim,) = tenant.claim(mine.id)
    forged = attrs.evolve(claim, campaign_id=other.id)
    before = contact_rows(tenant, mine.id)
    with open_store(tenant) as store:
        assert store.generation.renew([forged], LEASE).lost == (claim.id,)
        with pytest.raises(LeaseLost):
            store.generation.checkpoint(forged, CENT)
        with pytest.raises(LeaseLost):
            store.generation.record({forged: Generated(CENT)})
    book = {forged: Generated(CENT)}
    assert tenant.record(book, on_lost="book") == {forged: Recorded.SKIPPED}
    assert contact_rows(tenant, mine.id) == before
    # The claim of an erased contact is booked in its own campaign only.
    tenant.transact(lambda store: store.contacts.erase([claim.contact_id]))
    assert tenant.record(book, on_lost="book") == {forged: Recorded.SKIPPED}
    assert tenant.record({claim: Generated(CENT)}, on_lost="book") == {claim: Recorded.BOOKED}
    assert [tenant.progress(one.id).spent for one in (mine, other)] == [CENT, 0]
    for campaign in (mine, other):
        tenant.check_totals(campaign.id)


@pytest.mark.parametrize("order", [1, -1], ids=["old first", "new first"])
def test_an_old_and_a_new_claim_of_a_contact_can_be_recorded_in_one_call(
    tenant: Tenant, order: int
) -> None:
    campaign = tenant.campaign("generating", contacts=1)
    (old,) = claim_long_ago(tenant, campaign.id)
    (new,) = tenant.claim(campaign.id)
    outcomes: list[tuple[Claim, Outcome]] = [
        (old, Generated(Decimal("0.1"))),
        (new, Generated(Decimal("0.2"))),
        # The same token a second time.
        (attrs.evolve(new, attempts=9), Generated(Decimal("0.4"))),
    ]
    answers = tenant.record(dict(outcomes[::order]), on_lost="book")
    assert answers[old] is Recorded.BOOKED
    assert sorted(answers.values()) == ["already", "applied", "booked"]
    (row,) = contact_rows(tenant, campaign.id).values()
    assert row.status == "generated"
    assert row.generation_cost == Decimal("0.3" if order == 1 else "0.5")
    tenant.check_totals(campaign.id)


def test_the_last_hundred_reports_of_a_contact_are_remembered(tenant: Tenant) -> None:
    campaign = tenant.campaign("generating", contacts=1)
    reports: list[dict[Claim, Outcome]] = []
    with open_store(tenant) as store:
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
    tenant.check_totals(campaign.id)


def test_a_contact_remembers_its_last_hundred_paid_calls(tenant: Tenant) -> None:
    campaign = tenant.campaign("generating", contacts=1)
    (claim,) = tenant.claim(campaign.id)
    calls = [UUID(int=number) for number in range(MAX_REPORTED_TOKENS + 1)]
    with open_store(tenant) as store:

        def book(call_id: UUID) -> Recorded:
            return store.generation.checkpoint(claim, CENT, call_id=call_id)

        assert {book(call_id) for call_id in calls} == {Recorded.APPLIED}
        assert {book(call_id) for call_id in calls[1:]} == {Recorded.ALREADY}
        assert book(calls[0]) is Recorded.APPLIED
    (row,) = contact_rows(tenant, campaign.id).values()
    assert len(json.loads(row.reported_tokens)) == MAX_REPORTED_TOKENS
    assert row.generation_cost == CENT * (len(calls) + 1)
    tenant.check_totals(campaign.id)


@pytest.mark.parametrize(
    "cost", [0.1, "0.1", Decimal(-1), Decimal("NaN"), Decimal("1e-10")], ids=repr
)
def test_a_checkpoint_refuses_a_cost_that_is_not_money(tenant: Tenant, cost: Any) -> None:
    campaign = tenant.campaign("generating", contacts=1)
    (claim,) = tenant.claim(campaign.id)
    before = contact_rows(tenant, campaign.id)
    with pytest.raises((TypeError, ValueError)):
        tenant.transact(lambda store: store.generation.checkpoint(claim, cost))
    assert contact_rows(tenant, campaign.id) == before


def test_a_report_with_a_wrong_argument_is_refused_and_writes_nothing(tenant: Tenant) -> None:
    campaign = tenant.campaign("generating", contacts=2)
    first, second = tenant.claim(campaign.id)
    not_an_outcome: Any = "generated"
    not_a_rule: Any = "rise"
    with open_store(tenant) as store:
        record = store.generation.record
        with refused(store, TypeError) as caught:
            record({first: Generated(CENT), second: not_an_outcome})
        caught.match("'generated'")
        with refused(store, InvalidArgument) as wrong_rule:
            record({first: Generated(CENT)}, on_lost=not_a_rule)
        wrong_rule.match("raise, skip, book, not 'rise'")
