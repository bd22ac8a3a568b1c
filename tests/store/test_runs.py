"""Runs from start to end: cancelled, repeated, completed, their costs and their progress."""

from __future__ import annotations

from datetime import timedelta
from decimal import ROUND_UP, Decimal, localcontext
from uuid import UUID, uuid4

import pytest

from campaign_model.claims import (
    Estimate,
    Failed,
    Generated,
    Recorded,
    StopReason,
    Unfinished,
)
from campaign_model.errors import TransitionNotAllowed
from campaign_model.lifecycle import Action, ContactStatus, Status
from campaign_model.testing.clock import FrozenClock
from campaign_model.testing.sample_campaigns import CENT, LEASE, STEPS, Tenant
from support.tenants import contact_rows, generate_all, legacy_columns
from support.transactions import open_store

CANCEL, START = Action.CANCEL_GENERATION, Action.START_GENERATION
COMPLETE = Action.COMPLETE_GENERATION


def unmet_guards(tenant: Tenant, campaign_id: UUID, action: Action) -> list[str]:
    """The guards for which the action is refused."""
    with pytest.raises(TransitionNotAllowed) as refused:
        tenant.apply(campaign_id, action)
    return [unmet.guard for unmet in refused.value.unmet]


def test_failure_02_a_cancelled_run_can_start_again_and_end(tenant: Tenant) -> None:
    campaign = tenant.campaign("generating", contacts=4)
    held = tenant.claim(campaign.id, 2)
    for _ in range(2):
        assert tenant.apply(campaign.id, CANCEL).status is Status.READY
        batch = tenant.transact(lambda store: store.generation.claim(campaign.id, 9, LEASE))
        assert (batch.claims, batch.stop) == ((), StopReason.NOT_GENERATING)
        assert tenant.apply(campaign.id, START).status is Status.GENERATING
    assert not tenant.transact(lambda store: store.generation.renew(held, LEASE)).cancelled
    rest = tenant.claim(campaign.id)
    assert len(rest) == 2
    answers = tenant.record(dict.fromkeys([*held, *rest], Generated(CENT)))
    assert {*answers.values()} == {Recorded.APPLIED}
    assert tenant.apply(campaign.id, COMPLETE).status is Status.REVIEW
    assert legacy_columns(tenant, campaign.id) == (4, 4, 4 * CENT)
    tenant.check_totals(campaign.id)


def test_failure_04_a_dead_workers_contacts_come_back_when_the_lease_expires(
    tenant: Tenant,
) -> None:
    clock = FrozenClock()
    campaign = tenant.campaign("generating", contacts=3)
    dead = tenant.claim(campaign.id, clock=clock)
    for guard in ("nothing_in_flight", "nothing_left_to_claim"):
        with pytest.raises(TransitionNotAllowed) as refused:
            tenant.apply(campaign.id, COMPLETE, clock=clock)
        assert [unmet.guard for unmet in refused.value.unmet] == [guard]
        clock.forward(LEASE)
    taken_over = tenant.claim(campaign.id, clock=clock)
    assert {claim.id for claim in taken_over} == {claim.id for claim in dead}
    tenant.record(dict.fromkeys(taken_over, Generated(CENT)))
    assert tenant.apply(campaign.id, COMPLETE).status is Status.REVIEW
    tenant.check_totals(campaign.id)


@pytest.mark.parametrize(
    "actions",
    [
        (CANCEL,),
        (CANCEL, Action.RETURN_TO_DRAFT, Action.MARK_READY),
        (CANCEL, Action.SUBMIT_FOR_REVIEW, Action.REQUEST_CHANGES),
    ],
    ids=["cancelled", "returned to draft", "reviewed"],
)
def test_failure_06_counts_and_costs_survive_until_the_next_run(
    tenant: Tenant, actions: tuple[Action, ...]
) -> None:
    campaign = tenant.campaign("generating", contacts=5)
    one, two, three = tenant.claim(campaign.id, 3)
    tenant.record(
        {
            one: Generated(Decimal("0.1")),
            two: Failed("no", "no", Decimal("0.02")),
            three: Unfinished(cost=Decimal("0.003")),
        }
    )
    for action in actions:
        tenant.apply(campaign.id, action)
        assert legacy_columns(tenant, campaign.id) == (5, 1, Decimal("0.123"))
        tenant.check_totals(campaign.id)
    tenant.apply(campaign.id, START)
    progress = tenant.progress(campaign.id)
    assert progress.spent == Decimal("0.123")
    assert progress.by_status[ContactStatus.GENERATED] == 1
    assert progress.by_status[ContactStatus.FAILED] == 1
    generate_all(tenant, campaign.id, Decimal(1))
    tenant.apply(campaign.id, COMPLETE)
    assert legacy_columns(tenant, campaign.id) == (5, 4, Decimal("3.123"))
    tenant.check_totals(campaign.id)


def test_failure_07_a_retried_contact_keeps_its_cost(tenant: Tenant) -> None:
    campaign = tenant.campaign("generating", contacts=2)
    failed, generated = tenant.claim(campaign.id)
    failure = Failed("refused", "the language model refused", Decimal("0.25"))
    tenant.record({failed: failure, generated: Generated(CENT)})
    row = contact_rows(tenant, campaign.id)[failed.contact_id]
    assert (row.error_code, row.error) == ("refused", "the language model refused")
    ids = [failed.contact_id, generated.contact_id, uuid4()]
    changed = tenant.transact(lambda store: store.generation.retry_failed(campaign.id, ids))
    assert (changed.changed, {*changed.skipped}) == (1, {*ids[1:]})
    row = contact_rows(tenant, campaign.id)[failed.contact_id]
    assert (row.status, row.error_code, row.error) == ("pending", None, None)
    assert (row.generation_cost, row.attempts, row.revision) == (Decimal("0.25"), 0, 0)
    (again,) = tenant.claim(campaign.id)
    tenant.record({again: Generated(CENT)})
    assert tenant.progress(campaign.id).spent == Decimal("0.27")
    tenant.check_totals(campaign.id)


def test_failure_09_a_campaign_never_gets_stuck_between_generation_and_review(
    tenant: Tenant,
) -> None:
    # Everything is generated when the run is cancelled.
    cancelled = tenant.campaign("generating", contacts=2)
    generate_all(tenant, cancelled.id)
    tenant.apply(cancelled.id, CANCEL)
    assert unmet_guards(tenant, cancelled.id, START) == ["has_contacts_to_generate"]
    assert tenant.apply(cancelled.id, Action.SUBMIT_FOR_REVIEW).status is Status.REVIEW

    # Everything was generated before a reviewer requests changes.
    reviewed = tenant.campaign("review", contacts=2)
    tenant.apply(reviewed.id, Action.REQUEST_CHANGES)
    assert unmet_guards(tenant, reviewed.id, START) == ["has_contacts_to_generate"]
    assert tenant.apply(reviewed.id, Action.SUBMIT_FOR_REVIEW).status is Status.REVIEW

    # All contacts fail.
    failed = tenant.campaign("generating", contacts=2)
    tenant.record(dict.fromkeys(tenant.claim(failed.id), Failed("no", "no", CENT)))
    assert tenant.apply(failed.id, COMPLETE).status is Status.REVIEW
    tenant.transact(lambda store: store.generation.retry_failed(failed.id))
    tenant.apply(failed.id, Action.REQUEST_CHANGES, START)
    assert len(tenant.claim(failed.id)) == 2

    # All contacts are excluded while the run is going on.
    excluded = tenant.campaign("generating", contacts=2)
    tenant.claim(excluded.id, 1)
    assert unmet_guards(tenant, excluded.id, COMPLETE) == [
        "nothing_left_to_claim",
        "nothing_in_flight",
    ]
    ids = [*contact_rows(tenant, excluded.id)]
    tenant.transact(lambda store: store.contacts.exclude(excluded.id, ids))
    assert tenant.apply(excluded.id, COMPLETE).status is Status.REVIEW
    for campaign in (cancelled, reviewed, failed, excluded):
        tenant.check_totals(campaign.id)


# Exact costs.


@pytest.mark.parametrize("budget", [None, Decimal(5000)], ids=["no budget", "budget"])
def test_failure_22_small_costs_are_kept_exactly(tenant: Tenant, budget: Decimal | None) -> None:
    campaign = tenant.campaign("generating", contacts=7, budget=budget)
    price = Decimal("0.00144")
    with open_store(tenant) as store:
        for claim in store.generation.claim(campaign.id, 7, LEASE, reserve=2 * price).claims:
            store.generation.checkpoint(claim, price)
            store.generation.record({claim: Generated(price)})
    costs = {row.generation_cost for row in contact_rows(tenant, campaign.id).values()}
    assert costs == {2 * price}
    assert tenant.progress(campaign.id).spent == 14 * price == Decimal("0.02016")
    tenant.check_totals(campaign.id)
    tenant.apply(campaign.id, COMPLETE)
    assert legacy_columns(tenant, campaign.id) == (7, 7, Decimal("0.02016"))


def test_failure_22_the_callers_decimal_context_changes_no_amount(tenant: Tenant) -> None:
    campaign = tenant.campaign("generating", contacts=3, budget=Decimal(1_000_000))
    price = Decimal("1234.123456789")
    clock = FrozenClock()
    with localcontext(prec=4):
        # The budget pays for seven contacts, but there are three.
        claims = tenant.claim(campaign.id, 7, clock=clock, reserve=price)
        tenant.transact(lambda store: store.generation.checkpoint(claims[0], price))
        tenant.record(dict.fromkeys(claims[:2], Generated(price)))
        spent = tenant.progress(campaign.id).spent
        tenant.check_totals(campaign.id)
        # The third contact fails at the cap on attempts, and its reservation is released.
        clock.forward(2 * LEASE)
        assert tenant.claim(campaign.id, clock=clock, reserve=price, max_attempts=1) == ()
        tenant.apply(campaign.id, COMPLETE)
    assert spent == 3 * price
    tenant.check_totals(campaign.id)
    assert legacy_columns(tenant, campaign.id) == (3, 2, 3 * price)


def test_failure_22_the_callers_decimal_context_changes_no_guard(tenant: Tenant) -> None:
    campaign = tenant.campaign("generating", contacts=2, budget=Decimal("1000.5"))
    (claim,) = tenant.claim(campaign.id, 1, reserve=Decimal("0.05"))
    tenant.record({claim: Generated(Decimal("1000.44"))})
    # The budget pays for another 0.05. With four digits it would not.
    with localcontext(prec=4, rounding=ROUND_UP):
        assert unmet_guards(tenant, campaign.id, COMPLETE) == ["nothing_left_to_claim"]
    tenant.check_totals(campaign.id)


# Progress and estimate.


def test_progress_reports_the_rate_and_the_time_left_of_the_present_run(tenant: Tenant) -> None:
    campaign = tenant.campaign(contacts=0)
    ids = tenant.contacts(12)
    clock = FrozenClock()
    with open_store(tenant, clock=clock) as store:
        generation = store.generation

        def pace() -> tuple[float | None, float | None]:
            progress = generation.progress(campaign.id)
            return progress.per_second, progress.seconds_left

        store.contacts.assign(campaign.id, ids)
        store.contacts.exclude(campaign.id, ids[:1])
        assert pace() == (None, None)
        store.campaigns.apply(campaign.id, Action.MARK_READY)
        store.campaigns.apply(campaign.id, START)
        progress = generation.progress(campaign.id)
        assert (progress.assigned, progress.total) == (12, 11)
        assert pace() == (None, None)
        claims = generation.claim(campaign.id, 6, LEASE).claims
        generation.record({claims[0]: Generated(CENT)})
        # No time has passed, so there is no rate.
        assert pace() == (None, None)
        clock.forward(timedelta(seconds=0.5))
        assert pace() == (2, 5)
        generation.record(dict.fromkeys(claims[1:4], Generated(CENT)))
        generation.record({claims[4]: Failed("no", "no", CENT)})
        clock.forward(timedelta(seconds=9.5))
        # Five contacts are finished after ten seconds; one is in flight and five wait.
        assert pace() == (0.5, 12)
        store.campaigns.apply(campaign.id, CANCEL)
        clock.forward(timedelta(hours=1))
        store.campaigns.apply(campaign.id, START)
        clock.forward(timedelta(seconds=4))
        # Earlier runs do not count.
        assert pace() == (None, None)
        rest = generation.claim(campaign.id, 9, LEASE).claims
        generation.record(dict.fromkeys([*rest, claims[5]], Generated(CENT)), on_lost="skip")
        progress = generation.progress(campaign.id)
        assert progress.by_status[ContactStatus.GENERATED] == 4 + len(rest)
        assert progress.per_second == len(rest) / 4
        store.campaigns.apply(campaign.id, COMPLETE)
        clock.forward(timedelta(hours=1))
        # A completed run keeps its rate and has no time left.
        assert pace() == (len(rest) / 4, None)
    tenant.check_totals(campaign.id)


def test_an_estimate_uses_the_average_of_known_costs(tenant: Tenant) -> None:
    campaign = tenant.campaign("generating", contacts=6)
    slots = len(STEPS.slots())
    with open_store(tenant) as store:
        generation = store.generation
        assert generation.estimate(campaign.id) == Estimate(6, 6 * slots, None)
        claims = generation.claim(campaign.id, 4, LEASE).claims
        generation.record({claims[0]: Generated(None)})
        assert generation.estimate(campaign.id) == Estimate(5, 5 * slots, None)
        generation.record({claims[1]: Generated(CENT), claims[2]: Failed("no", "no", 2 * CENT)})
        # Two contacts with known cost cost 0.03; one is in flight and two wait.
        assert generation.estimate(campaign.id) == Estimate(3, 3 * slots, Decimal("0.045"))
        generation.record({claims[3]: Generated(CENT)})
        # Two thirds of 0.04, rounded to the nine decimals of money.
        assert generation.estimate(campaign.id).cost == Decimal("0.026666667")
