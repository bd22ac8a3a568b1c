"""Every contact is generated once, even if workers crash, report late or report twice."""

from __future__ import annotations

import sqlite3
from datetime import timedelta
from decimal import Decimal
from uuid import UUID, uuid4

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
    Renewal,
    StopReason,
    Unfinished,
)
from campaign_model.errors import LeaseLost
from campaign_model.lifecycle import Action, ContactStatus, Status
from campaign_model.store import CampaignStore
from campaign_model.store.connection import Clock, database_time
from campaign_model.store.tables import campaign_contacts
from campaign_model.store.tenant_setting import choose_tenant
from campaign_model.store.types import database_clock
from campaign_model.testing.clock import FrozenClock
from campaign_model.testing.parallel import Work, run_while_open
from campaign_model.testing.sample_campaigns import CENT, LEASE, Tenant

TICK = timedelta(microseconds=1)
FAILURE = Failed("no_answer", "the language model gave no answer", CENT)
WORKERS = 8


def claiming(campaign: Campaign, limit: int) -> Work:
    """Return work that claims up to ``limit`` contacts."""
    return lambda store: store.generation.claim(campaign.id, limit, LEASE)


def claim_one(tenant: Tenant, clock: Clock = database_time) -> tuple[Campaign, Claim]:
    """Make a running campaign with one contact, and claim the contact."""
    campaign = tenant.campaign("generating", contacts=1)
    (claim,) = tenant.claim(campaign.id, clock=clock)
    return campaign, claim


def test_claims_follow_priority_then_assignment_order(tenant: Tenant) -> None:
    """Contacts with a higher priority get their messages first.

    If this fails, check the column rank.
    """
    campaign = tenant.campaign(contacts=0)
    low, lower, high, highest = tenant.contacts(4)
    tenant.transact(
        lambda store: store.contacts.assign(campaign.id, [low, (high, 1), lower, (highest, 2)])
    )
    tenant.apply(campaign.id, Action.MARK_READY, Action.START_GENERATION)
    order = [tenant.claim(campaign.id, 1)[0].contact_id for _ in range(4)]
    assert order == [highest, high, low, lower]


def test_no_contact_is_claimed_by_two_workers(tenant: Tenant) -> None:
    """When eight workers claim in parallel, no two of them write to the same person.

    If this fails, check the isolation level, and whether a proxy forwards SKIP LOCKED.
    """
    campaign = tenant.campaign("generating", contacts=40)
    batches: list[ClaimBatch] = run_while_open(
        tenant,
        # All workers wait for this lock and continue at the same moment.
        first=lambda store: store.campaigns.get(campaign.id, lock=True),
        others=[claiming(campaign, 7)] * WORKERS,
    )
    assert all(len(batch.claims) <= 7 for batch in batches)
    claimed = [claim.id for batch in batches for claim in batch.claims]
    assert len(set(claimed)) == len(claimed)
    claimed += [claim.id for claim in tenant.claim(campaign.id)]
    assert len(set(claimed)) == len(claimed) == 40
    tenant.check_totals(campaign.id)


def test_a_claim_skips_contacts_locked_by_another_claim(tenant: Tenant) -> None:
    """Contacts of a claim that is not committed yet are not claimed by another worker.

    If this fails, check the isolation level.
    """
    campaign = tenant.campaign("generating", contacts=5)
    first_ids: set[UUID] = set()

    def claim_three(store: CampaignStore) -> None:
        batch = store.generation.claim(campaign.id, 3, LEASE)
        first_ids.update(claim.id for claim in batch.claims)

    (second_batch,) = run_while_open(tenant, first=claim_three, others=[claiming(campaign, 3)])
    second_ids = {claim.id for claim in second_batch.claims}
    assert (len(first_ids), len(second_ids)) == (3, 2)
    assert first_ids.isdisjoint(second_ids)
    tenant.check_totals(campaign.id)


@pytest.mark.usefixtures("postgresql")
def test_a_claim_does_not_wait_for_locked_contacts(tenant: Tenant) -> None:
    """Workers do not wait for each other, so that eight workers do eight times the work of one.

    If this fails, check how a proxy treats SKIP LOCKED.
    """
    campaign = tenant.campaign("generating", contacts=5)
    of_tenant = campaign_contacts.c.tenant_id == tenant.id
    of_campaign = campaign_contacts.c.campaign_id == campaign.id
    with tenant.engine.begin() as other, tenant.engine.begin() as connection:
        # 1. Another transaction locks three of the five contacts as a claim does.
        choose_tenant(other, tenant.id)
        other.execute(
            sa.select(campaign_contacts.c.id)
            .where(of_tenant, of_campaign)
            .limit(3)
            .with_for_update(key_share=True)
        ).all()
        # 2. A claim gets the other two. If it waited for a lock, the timeout would end it.
        connection.execute(sa.text("SET LOCAL lock_timeout = '2s'"))
        store = CampaignStore(connection, tenant.id, host=tenant.host)
        batch = store.generation.claim(campaign.id, 3, LEASE)
        assert (len(batch.claims), batch.stop) == (2, StopReason.LEASES_PENDING)


def test_a_lease_expires_at_its_exact_moment(tenant: Tenant, clock: FrozenClock) -> None:
    """A dead worker's contact can be claimed again, and a living worker's contact cannot.

    If this fails, look for columns of type timestamp(n), which round.
    """
    campaign, first = claim_one(tenant, clock)
    clock.forward(LEASE - TICK)
    assert tenant.claim(campaign.id, clock=clock) == ()
    clock.forward(TICK)
    (second,) = tenant.claim(campaign.id, clock=clock)
    assert second.id == first.id
    assert second.token != first.token
    assert (second.attempts, second.revision) == (2, first.revision)
    assert second.expires_at == first.expires_at + LEASE


def test_leases_use_the_databases_clock(tenant: Tenant) -> None:
    """A worker whose clock is wrong does not take contacts from other workers.

    If this fails, check clock_timestamp() in the database: do all connections see the same clock?
    """
    campaign = tenant.campaign("generating", contacts=1)
    now = sa.select(database_clock())
    with tenant.engine.connect() as connection, connection.begin() as transaction:
        _set_database_clock(connection, "2035-05-05 05:05:05.555")
        before = connection.scalar(now)
        store = CampaignStore(connection, tenant.id, host=tenant.host)
        batch = store.generation.claim(campaign.id, 1, LEASE)
        after = connection.scalar(now)
        transaction.rollback()
        # No other test may get a connection with this clock.
        connection.invalidate()
    assert before <= batch.at <= after
    assert batch.claims[0].expires_at == batch.at + LEASE


def _set_database_clock(connection: sa.Connection, moment: str) -> None:
    """On SQLite, set the clock of this connection to a time that the machine's clock does not have.

    On PostgreSQL do nothing.
    """
    driver = connection.connection.driver_connection
    # On SQLite the store asks strftime() for the time.
    if isinstance(driver, sqlite3.Connection):
        driver.create_function("strftime", -1, lambda *_: f"{moment}000")


def test_a_lost_claim_records_nothing(tenant: Tenant, clock: FrozenClock) -> None:
    """When two workers work on the same contact, one's messages count and the other is told.

    If this fails, check the column claim_token, and look for other programs that write it.
    """
    # 1. A second worker takes the contact over from the first one.
    campaign, lost = claim_one(tenant, clock)
    clock.forward(LEASE)
    (takeover,) = tenant.claim(campaign.id, clock=clock)
    # 2. Every call with the lost claim says so and writes nothing.
    late = {lost: Generated(CENT)}
    with pytest.raises(LeaseLost) as refused:
        tenant.record(late)
    assert refused.value.ids == (lost.id,)
    with pytest.raises(LeaseLost):
        tenant.transact(lambda store: store.generation.checkpoint(lost, CENT))
    renewal = tenant.transact(lambda store: store.generation.renew([lost], LEASE))
    assert renewal.lost == (lost.id,)
    assert tenant.record(late, on_lost="skip") == {lost: Recorded.SKIPPED}
    assert tenant.progress(campaign.id).spent == 0
    # 3. If the first worker asks for it, its cost is booked. The second worker's result counts.
    assert tenant.record(late, on_lost="book") == {lost: Recorded.BOOKED}
    assert tenant.record({takeover: Generated(CENT)}) == {takeover: Recorded.APPLIED}
    assert tenant.progress(campaign.id).spent == 2 * CENT
    tenant.check_totals(campaign.id)


def test_a_late_result_during_a_takeover_is_refused(tenant: Tenant, clock: FrozenClock) -> None:
    """A result that arrives while another worker takes the contact over is not counted.

    If this fails, check the isolation level and row locks.
    """
    campaign, claim = claim_one(tenant, clock)
    clock.forward(LEASE)

    def take_over(store: CampaignStore) -> None:
        # By the test's clock the lease has expired, but ``store`` uses the database's clock.
        store_with_clock = CampaignStore(store.connection, tenant.id, clock=clock, host=tenant.host)
        assert len(store_with_clock.generation.claim(campaign.id, 1, LEASE).claims) == 1

    (answer_to_late_result,) = run_while_open(
        tenant,
        first=take_over,
        others=[lambda store: store.generation.record({claim: Generated(CENT)})],
    )
    assert isinstance(answer_to_late_result, LeaseLost), answer_to_late_result
    assert tenant.progress(campaign.id).by_status[ContactStatus.GENERATING] == 1
    tenant.check_totals(campaign.id)


def test_a_late_result_counts_if_nobody_took_over(tenant: Tenant, clock: FrozenClock) -> None:
    """Finished work is not thrown away because its lease has expired: the token decides.

    If this fails, look for other programs that write claim_token.
    """
    campaign, claim = claim_one(tenant, clock)
    clock.forward(10 * LEASE)
    assert tenant.record({claim: Generated(CENT)}) == {claim: Recorded.APPLIED}
    assert tenant.progress(campaign.id).by_status[ContactStatus.GENERATED] == 1


@pytest.mark.parametrize(
    "outcome",
    [Generated(CENT), FAILURE, Unfinished(cost=CENT)],
    ids=lambda outcome: type(outcome).__name__,
)
def test_a_repeated_outcome_counts_once(
    tenant: Tenant, outcome: Generated | Failed | Unfinished
) -> None:
    """If the answer to a commit is lost and the worker repeats the call, nothing is paid twice.

    If this fails, check the column reported_tokens.
    """
    campaign, claim = claim_one(tenant)
    assert tenant.record({claim: outcome}) == {claim: Recorded.APPLIED}
    assert tenant.record({claim: outcome}) == {claim: Recorded.ALREADY}
    # Another worker records an outcome of the contact, if it waits again.
    for other in tenant.claim(campaign.id):
        tenant.record({other: Generated(CENT)})
    spent = tenant.progress(campaign.id).spent
    assert tenant.record({claim: outcome}) == {claim: Recorded.ALREADY}
    assert tenant.progress(campaign.id).spent == spent
    tenant.check_totals(campaign.id)


def test_a_record_call_writes_all_outcomes_or_none(tenant: Tenant, clock: FrozenClock) -> None:
    """A call of ``record`` writes all outcomes or none, even if one of many leases is lost.

    If this fails, check the pooler's mode and autocommit.
    """
    campaign = tenant.campaign("generating", contacts=3)
    claims = tenant.claim(campaign.id, clock=clock)
    clock.forward(LEASE)
    (taken_over,) = tenant.claim(campaign.id, 1, clock=clock)
    outcomes = dict.fromkeys(claims, Generated(CENT))

    def work(store: CampaignStore) -> None:
        with pytest.raises(LeaseLost) as lost:
            store.generation.record(outcomes)
        assert lost.value.ids == (taken_over.id,)
        assert store.generation.progress(campaign.id).spent == 0

    tenant.transact(work)
    answers = tenant.record(outcomes, on_lost="skip")
    assert sorted(answers.values()) == [Recorded.APPLIED, Recorded.APPLIED, Recorded.SKIPPED]
    tenant.check_totals(campaign.id)


def test_a_renewal_extends_the_lease_and_reports_a_cancel(
    tenant: Tenant, clock: FrozenClock
) -> None:
    """A slow worker keeps its contact, and stops after the campaign was cancelled.

    If this fails, look for other programs that write lease_expires_at.
    """
    campaign, held = claim_one(tenant, clock)
    clock.forward(LEASE - TICK)

    def renew(store: CampaignStore) -> Renewal:
        return store.generation.renew([held], LEASE)

    renewal = tenant.transact(renew, clock=clock)
    assert (renewal.lost, renewal.cancelled) == ((), False)
    assert renewal.expires_at == clock.now + LEASE
    clock.forward(LEASE - TICK)
    assert tenant.claim(campaign.id, clock=clock) == ()
    tenant.apply(campaign.id, Action.CANCEL_GENERATION)
    assert tenant.transact(renew, clock=clock).cancelled


def test_a_result_after_a_cancel_counts(tenant: Tenant) -> None:
    """Paid results are kept. A contact is generated again only if the steps have changed.

    If this fails, look for other programs that write campaign_contacts.
    """
    campaign = tenant.campaign("generating", contacts=2)
    first, second = tenant.claim(campaign.id)
    tenant.apply(campaign.id, Action.CANCEL_GENERATION)
    assert tenant.record({first: Generated(CENT)}) == {first: Recorded.APPLIED}
    # Loaded after the result, which changes the campaign's row: a trigger may set updated_at.
    ready = tenant.transact(lambda store: store.campaigns.get(campaign.id))
    assert ready.status is Status.READY
    edited = attrs.evolve(ready, steps=ready.steps.update("s1", label="Another"))
    tenant.transact(lambda store: store.campaigns.save(edited))
    assert tenant.record({second: Generated(CENT)}) == {second: Recorded.REQUEUED}
    assert tenant.progress(campaign.id).spent == 2 * CENT
    contacts = tenant.campaign_contacts(campaign.id)
    assert contacts[first.contact_id].stale
    assert contacts[second.contact_id].status is ContactStatus.PENDING
    tenant.check_totals(campaign.id)


def test_checkpoints_survive_the_death_of_the_worker(tenant: Tenant, clock: FrozenClock) -> None:
    """A worker that dies after three of five messages loses neither the messages nor their cost.

    If this fails, check the pooler's mode and autocommit.
    """
    campaign, first = claim_one(tenant, clock)
    for _ in range(3):
        tenant.transact(lambda store: store.generation.checkpoint(first, CENT))
    # The worker dies, and another one takes the contact over.
    clock.forward(LEASE)
    (takeover,) = tenant.claim(campaign.id, clock=clock)
    # The same revision gives the same message ids.
    assert takeover.revision == first.revision
    tenant.record({takeover: Generated(2 * CENT)})
    assert tenant.progress(campaign.id).spent == 5 * CENT
    assert tenant.campaign_contacts(campaign.id)[first.contact_id].cost == 5 * CENT
    tenant.check_totals(campaign.id)


def test_a_repeated_checkpoint_counts_once(tenant: Tenant, clock: FrozenClock) -> None:
    """If the answer to a commit is lost and the worker repeats the call, nothing is paid twice.

    If this fails, check the column reported_tokens.
    """
    campaign, claim = claim_one(tenant, clock)
    call_id = uuid4()

    def book() -> Recorded:
        return tenant.transact(
            lambda store: store.generation.checkpoint(claim, CENT, call_id=call_id)
        )

    assert book() is Recorded.APPLIED
    assert book() is Recorded.ALREADY
    # Another worker takes the contact over and finishes it.
    clock.forward(LEASE)
    (takeover,) = tenant.claim(campaign.id, clock=clock)
    assert book() is Recorded.ALREADY
    tenant.record({takeover: Generated(CENT)})
    assert book() is Recorded.ALREADY
    assert tenant.progress(campaign.id).spent == 2 * CENT
    with pytest.raises(LeaseLost):
        tenant.transact(lambda store: store.generation.checkpoint(claim, CENT, call_id=uuid4()))
    tenant.check_totals(campaign.id)


def test_a_contact_fails_at_the_cap_on_attempts(tenant: Tenant, clock: FrozenClock) -> None:
    """No single contact blocks its campaign for ever.

    If this fails, check the column attempts.
    """
    campaign = tenant.campaign("generating", contacts=1)
    for attempt in range(1, 4):
        (claim,) = tenant.claim(campaign.id, clock=clock, max_attempts=3)
        assert claim.attempts == attempt
        clock.forward(LEASE)
    assert tenant.claim(campaign.id, clock=clock, max_attempts=3) == ()
    (contact,) = tenant.campaign_contacts(campaign.id).values()
    assert (contact.status, contact.error_code) == (ContactStatus.FAILED, "attempts_exhausted")
    assert contact.error
    tenant.check_totals(campaign.id)


def test_a_failed_contact_can_be_retried(tenant: Tenant) -> None:
    """A user can retry a failed contact: it waits, with no attempts, and its cost stays booked.

    If this fails, look for triggers and other programs that change rows of campaign_contacts.
    """
    # Of the two contacts, one has failed and has cost a cent.
    campaign = tenant.campaign("generating", contacts=2, failed=1)
    assert tenant.transact(lambda store: store.generation.retry_failed(campaign.id)).changed == 1
    claims = tenant.claim(campaign.id)
    assert [claim.attempts for claim in claims] == [1, 1]
    assert [claim.revision for claim in claims] == [0, 0]
    tenant.record(dict.fromkeys(claims, Generated(CENT)))
    assert tenant.progress(campaign.id).spent == 3 * CENT
    tenant.check_totals(campaign.id)


def test_only_a_regeneration_gives_new_message_ids(tenant: Tenant, clock: FrozenClock) -> None:
    """A takeover writes the same messages again; a regeneration writes new ones. Both cost money.

    If this fails, check the columns revision and steps_fingerprint.
    """
    campaign, first = claim_one(tenant, clock)
    clock.forward(LEASE)
    (takeover,) = tenant.claim(campaign.id, clock=clock)
    assert takeover.revision == first.revision
    tenant.record({takeover: Generated(CENT)})
    assert tenant.transact(lambda store: store.generation.regenerate(campaign.id)).changed == 1
    (regeneration,) = tenant.claim(campaign.id, clock=clock)
    assert regeneration.revision == first.revision + 1
    tenant.record({regeneration: Generated(CENT)})
    assert tenant.progress(campaign.id).spent == 2 * CENT
    tenant.check_totals(campaign.id)


def test_a_released_contact_can_be_claimed_again(tenant: Tenant, clock: FrozenClock) -> None:
    """A worker that stops gives its contacts back: at once, or after a pause that it asks for.

    If this fails, check the column retry_at.
    """
    campaign = tenant.campaign("generating", contacts=2)
    paused, released = tenant.claim(campaign.id, clock=clock)
    tenant.record({paused: Unfinished(timedelta(hours=1))}, clock=clock)
    tenant.transact(lambda store: store.generation.release([released]))
    (again,) = tenant.claim(campaign.id, clock=clock)
    assert (again.id, again.attempts) == (released.id, 1)
    clock.forward(timedelta(hours=1))
    (later,) = tenant.claim(campaign.id, 1, clock=clock)
    assert (later.id, later.attempts) == (paused.id, 1)
    tenant.check_totals(campaign.id)


def test_totals_are_exact_after_parallel_records_and_claims(tenant: Tenant) -> None:
    """Progress and cost are exact, however many workers report at the same moment.

    If this fails, look for other programs that write campaign_totals, and check the primary key of
    campaign_totals.
    """
    campaign = tenant.campaign("generating", contacts=40)
    held = tenant.claim(campaign.id, 32)

    def recording(worker: int) -> Work:
        """Return work that records one failure and three successes, then claims a contact."""
        outcomes = {
            claim: FAILURE if number == 0 else Generated(Decimal("0.00144"))
            for number, claim in enumerate(held[worker::WORKERS])
        }

        def work(store: CampaignStore) -> int:
            store.generation.record(outcomes)
            return len(store.generation.claim(campaign.id, 1, LEASE).claims)

        return work

    run_while_open(
        tenant,
        # All workers wait for this lock and continue at the same moment.
        first=lambda store: store.campaigns.get(campaign.id, lock=True),
        others=[recording(worker) for worker in range(WORKERS)],
    )
    progress = tenant.progress(campaign.id)
    assert progress.spent == 8 * CENT + 24 * Decimal("0.00144")
    assert progress.by_status[ContactStatus.FAILED] == 8
    assert progress.by_status[ContactStatus.GENERATED] == 24
    assert progress.assigned == 40
    tenant.check_totals(campaign.id)
