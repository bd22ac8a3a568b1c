"""Every contact is generated once, whoever crashes, comes late or repeats itself."""

from __future__ import annotations

import sqlite3
from datetime import timedelta
from decimal import Decimal
from typing import Any

import attrs
import pytest
import sqlalchemy as sa

from campaign_model.campaign import Campaign
from campaign_model.claims import (
    Claim,
    ClaimBatch,
    Failed,
    Generated,
    Recorded,
    StopReason,
    Unfinished,
)
from campaign_model.errors import LeaseLost
from campaign_model.lifecycle import Action, ContactStatus, Status
from campaign_model.store import CampaignStore
from campaign_model.store.tables import campaign_contacts
from campaign_model.store.types import database_clock
from campaign_model.testing.clock import FrozenClock
from campaign_model.testing.contract.parallel import Work, behind
from campaign_model.testing.contract.work import (
    CENT,
    LEASE,
    apply,
    check_totals,
    claim,
    contacts,
    on_postgresql,
    progress,
    record,
)
from campaign_model.testing.sample_campaigns import Tenant

TICK = timedelta(microseconds=1)
FAILURE = Failed("no_answer", "the model gave no answer", CENT)
WORKERS = 8


def claiming(campaign: Campaign, limit: int) -> Work:
    """Claim up to ``limit`` contacts."""
    return lambda store: store.generation.claim(campaign.id, limit, LEASE)


def one_claim(tenant: Tenant, clock: FrozenClock | None = None) -> tuple[Campaign, Claim]:
    """A running campaign of one contact, which a worker has claimed."""
    campaign = tenant.campaign("generating", contacts=1)
    (claimed,) = claim(tenant, campaign.id, clock=clock)
    return campaign, claimed


def test_contacts_come_by_priority_and_then_in_the_order_of_assignment(tenant: Tenant) -> None:
    """The contacts that matter most are written to first. Look at the column rank."""
    campaign = tenant.campaign(contacts=0)
    first, second, third, fourth = tenant.contacts(4)
    tenant.transact(
        lambda store: store.contacts.assign(campaign.id, [fourth, (second, 1), third, (first, 2)])
    )
    apply(tenant, campaign.id, Action.MARK_READY, Action.START_GENERATION)
    order = [claim(tenant, campaign.id, 1)[0].contact_id for _ in range(4)]
    assert order == [first, second, fourth, third]


def test_no_contact_is_given_to_two_workers(tenant: Tenant) -> None:
    """Of eight workers that claim at once no two write to the same person.

    Look at the isolation level, and at a proxy that does not pass SKIP LOCKED on.
    """
    campaign = tenant.campaign("generating", contacts=40)
    batches: list[ClaimBatch] = behind(
        tenant,
        # Everybody stands before this door, and is let in at the same moment.
        lambda store: store.campaigns.get(campaign.id, lock=True),
        *[claiming(campaign, 7)] * WORKERS,
    )
    assert all(len(batch.claims) <= 7 for batch in batches)
    claimed = [one.id for batch in batches for one in batch.claims]
    assert len(set(claimed)) == len(claimed)
    claimed += [one.id for one in claim(tenant, campaign.id)]
    assert len(set(claimed)) == len(claimed) == 40
    check_totals(tenant, campaign.id)


def test_what_another_is_about_to_take_is_not_taken(tenant: Tenant) -> None:
    """A claim that another one has not committed yet counts. Look at the isolation level."""
    campaign = tenant.campaign("generating", contacts=5)
    first: list[ClaimBatch] = []
    (second,) = behind(
        tenant, lambda store: first.append(claiming(campaign, 3)(store)), claiming(campaign, 3)
    )
    taken = [{one.id for one in batch.claims} for batch in (*first, second)]
    assert [len(ids) for ids in taken] == [3, 2]
    assert taken[0].isdisjoint(taken[1])
    check_totals(tenant, campaign.id)


@on_postgresql
def test_a_claim_waits_for_no_other_claim(tenant: Tenant) -> None:
    """Eight workers do eight times the work of one. Look at what a proxy makes of SKIP LOCKED."""
    campaign = tenant.campaign("generating", contacts=5)
    ours = campaign_contacts.c.campaign_id == campaign.id
    with tenant.engine.begin() as other, tenant.engine.begin() as connection:
        # Locked as a claim locks them.
        other.execute(
            sa.select(campaign_contacts.c.id).where(ours).limit(3).with_for_update(key_share=True)
        ).all()
        connection.execute(sa.text("SET LOCAL lock_timeout = '2s'"))
        store = CampaignStore(connection, tenant.id, host=tenant.host)
        batch = store.generation.claim(campaign.id, 3, LEASE)
        assert (len(batch.claims), batch.stop) == (2, StopReason.LEASES_PENDING)


def test_a_lease_runs_out_when_it_says(tenant: Tenant, clock: FrozenClock) -> None:
    """A dead worker's contacts come back, and a living one's are not given to another.

    Look for columns of timestamp(n), which round.
    """
    campaign, first = one_claim(tenant, clock)
    clock.forward(LEASE - TICK)
    assert claim(tenant, campaign.id, clock=clock) == ()
    clock.forward(TICK)
    (second,) = claim(tenant, campaign.id, clock=clock)
    assert second.id == first.id
    assert second.token != first.token
    assert (second.attempts, second.revision) == (2, first.revision)
    assert second.expires_at == first.expires_at + LEASE


def test_leases_are_measured_by_the_databases_clock(tenant: Tenant) -> None:
    """A worker whose clock is wrong takes nobody's contacts away.

    Look at what clock_timestamp() says there: is it one clock for all connections?
    """
    campaign = tenant.campaign("generating", contacts=1)
    now = sa.select(database_clock())
    with tenant.engine.connect() as connection, connection.begin() as opened:
        _set_clock(connection, "2035-05-05 05:05:05.555")
        before = connection.scalar(now)
        store = CampaignStore(connection, tenant.id, host=tenant.host)
        batch = store.generation.claim(campaign.id, 1, LEASE)
        after = connection.scalar(now)
        opened.rollback()
        connection.invalidate()  # Nobody else is to have this clock.
    assert before <= batch.at <= after
    assert batch.claims[0].expires_at == batch.at + LEASE


def _set_clock(connection: sa.Connection, moment: str) -> None:
    """Set the database's clock where one can, so that it differs from this machine's."""
    driver = connection.connection.driver_connection
    if isinstance(driver, sqlite3.Connection):
        driver.create_function("strftime", -1, lambda *_: f"{moment}000")


def test_a_lost_lease_records_nothing(tenant: Tenant, clock: FrozenClock) -> None:
    """Of two workers on the same contact one's messages count, and the other is told.

    Look at the column claim_token and at what else writes it.
    """
    campaign, stale = one_claim(tenant, clock)
    clock.forward(LEASE)
    (fresh,) = claim(tenant, campaign.id, clock=clock)
    with pytest.raises(LeaseLost) as lost:
        record(tenant, (stale, Generated(CENT)))
    assert lost.value.ids == (stale.id,)
    with pytest.raises(LeaseLost):
        tenant.transact(lambda store: store.generation.checkpoint(stale, CENT))
    renewal = tenant.transact(lambda store: store.generation.renew([stale], LEASE))
    assert renewal.lost == (stale.id,)
    assert record(tenant, (stale, Generated(CENT)), on_lost="skip") == [Recorded.SKIPPED]
    assert progress(tenant, campaign.id).spent == 0
    assert record(tenant, (stale, Generated(CENT)), on_lost="book") == [Recorded.BOOKED]
    assert record(tenant, (fresh, Generated(CENT))) == [Recorded.APPLIED]
    assert progress(tenant, campaign.id).spent == 2 * CENT
    check_totals(tenant, campaign.id)


def test_a_takeover_and_a_late_result_do_not_both_count(tenant: Tenant, clock: FrozenClock) -> None:
    """A result that comes while somebody takes the contact over is told, not mixed with his.

    Look at the isolation level and at row locks.
    """
    campaign, stale = one_claim(tenant, clock)
    clock.forward(LEASE)

    def take_over(store: CampaignStore) -> None:
        late = CampaignStore(store.connection, tenant.id, clock=clock, host=tenant.host)
        assert len(late.generation.claim(campaign.id, 1, LEASE).claims) == 1

    (late,) = behind(
        tenant, take_over, lambda store: store.generation.record({stale: Generated(CENT)})
    )
    assert isinstance(late, LeaseLost), late
    assert progress(tenant, campaign.id).by_status[ContactStatus.GENERATING] == 1
    check_totals(tenant, campaign.id)


def test_a_late_result_that_nobody_took_over_counts(tenant: Tenant, clock: FrozenClock) -> None:
    """Work that is done is not thrown away because a clock went on: the token decides.

    Look at what else writes claim_token.
    """
    campaign, late = one_claim(tenant, clock)
    clock.forward(10 * LEASE)
    assert record(tenant, (late, Generated(CENT))) == [Recorded.APPLIED]
    assert progress(tenant, campaign.id).by_status[ContactStatus.GENERATED] == 1


@pytest.mark.parametrize(
    "outcome", [Generated(CENT), FAILURE, Unfinished(cost=CENT)], ids=lambda one: type(one).__name__
)
def test_a_repeated_report_counts_once(
    tenant: Tenant, outcome: Generated | Failed | Unfinished
) -> None:
    """The answer to a commit is lost, the engine repeats it, and nothing is paid for twice.

    Look at the column reported_tokens.
    """
    campaign, claimed = one_claim(tenant)
    assert record(tenant, (claimed, outcome)) == [Recorded.APPLIED]
    assert record(tenant, (claimed, outcome)) == [Recorded.ALREADY]
    # Another worker's report in between changes nothing about that.
    for other in claim(tenant, campaign.id):
        record(tenant, (other, Generated(CENT)))
    spent = progress(tenant, campaign.id).spent
    assert record(tenant, (claimed, outcome)) == [Recorded.ALREADY]
    assert progress(tenant, campaign.id).spent == spent
    check_totals(tenant, campaign.id)


def test_a_report_is_kept_whole_or_not_at_all(tenant: Tenant, clock: FrozenClock) -> None:
    """One lost lease among ten results loses none of the others, and records none by halves.

    Look at the pooler's mode, and at autocommit.
    """
    campaign = tenant.campaign("generating", contacts=3)
    claims = claim(tenant, campaign.id, clock=clock)
    clock.forward(LEASE)
    (taken,) = claim(tenant, campaign.id, 1, clock=clock)
    outcomes = [(one, Generated(CENT)) for one in claims]

    def work(store: CampaignStore) -> None:
        with pytest.raises(LeaseLost) as lost:
            store.generation.record(dict(outcomes))
        assert lost.value.ids == (taken.id,)
        assert store.generation.progress(campaign.id).spent == 0

    tenant.transact(work)
    answers = record(tenant, *outcomes, on_lost="skip")
    assert sorted(answers) == [Recorded.APPLIED, Recorded.APPLIED, Recorded.SKIPPED]
    check_totals(tenant, campaign.id)


def test_a_renewed_lease_lasts_longer_and_tells_of_a_cancel(
    tenant: Tenant, clock: FrozenClock
) -> None:
    """A slow worker keeps its contact, and stops when the campaign was cancelled.

    Look at what else writes lease_expires_at.
    """
    campaign, held = one_claim(tenant, clock)
    clock.forward(LEASE - TICK)

    def renew(store: CampaignStore) -> Any:
        return store.generation.renew([held], LEASE)

    renewal = tenant.transact(renew, clock=clock)
    assert (renewal.lost, renewal.cancelled) == ((), False)
    assert renewal.expires_at == clock.now + LEASE
    clock.forward(LEASE - TICK)
    assert claim(tenant, campaign.id, clock=clock) == ()
    apply(tenant, campaign.id, Action.CANCEL_GENERATION)
    assert tenant.transact(renew, clock=clock).cancelled


def test_a_result_after_a_cancel_counts(tenant: Tenant) -> None:
    """What was paid for is kept, and generated again only if the steps are others now.

    Look at what else writes campaign_contacts.
    """
    campaign = tenant.campaign("generating", contacts=2)
    first, second = claim(tenant, campaign.id)
    ready = apply(tenant, campaign.id, Action.CANCEL_GENERATION)
    assert ready.status is Status.READY
    assert record(tenant, (first, Generated(CENT))) == [Recorded.APPLIED]
    other_steps = attrs.evolve(ready, steps=ready.steps.update("s1", label="Another"))
    tenant.transact(lambda store: store.campaigns.save(other_steps))
    assert record(tenant, (second, Generated(CENT))) == [Recorded.REQUEUED]
    assert progress(tenant, campaign.id).spent == 2 * CENT
    found = contacts(tenant, campaign.id)
    assert found[first.contact_id].stale
    assert found[second.contact_id].status is ContactStatus.PENDING
    check_totals(tenant, campaign.id)


def test_a_paid_call_is_booked_before_the_work_is_done(tenant: Tenant, clock: FrozenClock) -> None:
    """A worker that dies after three of five messages loses neither them nor their cost.

    Look at the pooler's mode, and at autocommit.
    """
    campaign, held = one_claim(tenant, clock)
    for _ in range(3):
        tenant.transact(lambda store: store.generation.checkpoint(held, CENT))
    clock.forward(LEASE)
    (again,) = claim(tenant, campaign.id, clock=clock)
    # The same messages, by their ids.
    assert again.revision == held.revision
    record(tenant, (again, Generated(2 * CENT)))
    assert progress(tenant, campaign.id).spent == 5 * CENT
    assert contacts(tenant, campaign.id)[held.contact_id].cost == 5 * CENT
    check_totals(tenant, campaign.id)


def test_a_contact_that_no_worker_survives_fails(tenant: Tenant, clock: FrozenClock) -> None:
    """One poisonous contact does not stop a campaign for ever. Look at the column attempts."""
    campaign = tenant.campaign("generating", contacts=1)
    for attempt in range(1, 4):
        (one,) = claim(tenant, campaign.id, clock=clock, max_attempts=3)
        assert one.attempts == attempt
        clock.forward(LEASE)
    assert claim(tenant, campaign.id, clock=clock, max_attempts=3) == ()
    (failed,) = contacts(tenant, campaign.id).values()
    assert (failed.status, failed.error_code) == (ContactStatus.FAILED, "attempts_exhausted")
    check_totals(tenant, campaign.id)


def test_failed_contacts_can_be_tried_again(tenant: Tenant) -> None:
    """A failure is no end: it is tried again when somebody says so, and what it cost stays booked.

    Look at what else writes campaign_contacts.
    """
    campaign = tenant.campaign("generating", contacts=2, failed=1)
    assert tenant.transact(lambda store: store.generation.retry_failed(campaign.id)).changed == 1
    claims = claim(tenant, campaign.id)
    assert [one.attempts for one in claims] == [1, 1]
    assert [one.revision for one in claims] == [0, 0]
    record(tenant, *((one, Generated(CENT)) for one in claims))
    assert progress(tenant, campaign.id).spent == 3 * CENT
    check_totals(tenant, campaign.id)


def test_only_what_is_generated_anew_gets_new_messages(tenant: Tenant, clock: FrozenClock) -> None:
    """A takeover repeats the same messages, a regeneration makes others, and both are paid for.

    Look at the columns revision and steps_fingerprint.
    """
    campaign, first = one_claim(tenant, clock)
    clock.forward(LEASE)
    (over,) = claim(tenant, campaign.id, clock=clock)
    assert over.revision == first.revision
    record(tenant, (over, Generated(CENT)))
    assert tenant.transact(lambda store: store.generation.regenerate(campaign.id)).changed == 1
    (anew,) = claim(tenant, campaign.id, clock=clock)
    assert anew.revision == first.revision + 1
    record(tenant, (anew, Generated(CENT)))
    assert progress(tenant, campaign.id).spent == 2 * CENT
    check_totals(tenant, campaign.id)


def test_work_given_back_is_done_by_another(tenant: Tenant, clock: FrozenClock) -> None:
    """A worker that is stopped gives its contacts back at once, or after a pause it asks for.

    Look at the column retry_at.
    """
    campaign = tenant.campaign("generating", contacts=2)
    first, second = claim(tenant, campaign.id, clock=clock)
    tenant.transact(
        lambda store: store.generation.record({first: Unfinished(timedelta(hours=1))}),
        clock=clock,
    )
    tenant.transact(lambda store: store.generation.release([second]))
    (back,) = claim(tenant, campaign.id, clock=clock)
    assert (back.id, back.attempts) == (second.id, 1)
    clock.forward(timedelta(hours=1))
    (later,) = claim(tenant, campaign.id, 1, clock=clock)
    assert (later.id, later.attempts) == (first.id, 1)
    check_totals(tenant, campaign.id)


def test_reports_and_claims_at_once_are_all_counted(tenant: Tenant) -> None:
    """Progress and cost are exact, however many workers report at the same moment.

    Look at what else writes campaign_totals, and at its primary key.
    """
    campaign = tenant.campaign("generating", contacts=40)
    held = claim(tenant, campaign.id, 32)

    def worker(index: int) -> Work:
        mine = held[index::WORKERS]
        outcomes = {
            one: FAILURE if place == 0 else Generated(Decimal("0.00144"))
            for place, one in enumerate(mine)
        }

        def work(store: CampaignStore) -> int:
            store.generation.record(outcomes)
            return len(store.generation.claim(campaign.id, 1, LEASE).claims)

        return work

    behind(
        tenant,
        lambda store: store.campaigns.get(campaign.id, lock=True),
        *(worker(index) for index in range(WORKERS)),
    )
    now = progress(tenant, campaign.id)
    assert now.spent == 8 * CENT + 24 * Decimal("0.00144")
    assert now.by_status[ContactStatus.FAILED] == 8
    assert now.by_status[ContactStatus.GENERATED] == 24
    assert now.assigned == 40
    check_totals(tenant, campaign.id)
