"""Failure 30: a contact is handed out to one exporter at a time, and is marked as exported once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa

from campaign_model.campaign import Campaign
from campaign_model.claims import Claim, ClaimBatch, Cursor, Generated, Recorded, StopReason
from campaign_model.errors import LeaseLost, NotFound
from campaign_model.lifecycle import Action, ContactStatus, Status
from campaign_model.store import CampaignStore, recount
from campaign_model.store.tables import campaign_contacts, campaign_erased_claims, campaigns
from campaign_model.testing.clock import FrozenClock
from campaign_model.testing.sample_campaigns import CENT, LEASE, Tenant
from support.tenants import claim_long_ago, contact_rows, execute, new_tenant, update_row
from support.transactions import (
    on_newest_postgresql,
    on_postgresql,
    open_store,
    refused,
    run_together,
    run_while_open,
    statements_of,
)

Call = Callable[[CampaignStore], Any]


def exported_campaign(tenant: Tenant, contacts: int = 3) -> Campaign:
    return tenant.campaign(Status.EXPORTED, contacts=contacts)


def hand_out(
    tenant: Tenant,
    campaign: Campaign,
    limit: int = 100,
    cursor: Cursor | None = None,
    **options: Any,
) -> ClaimBatch:
    return tenant.transact(
        lambda store: store.export.claim(campaign.id, limit, LEASE, cursor=cursor), **options
    )


def mark(tenant: Tenant, *claims: Claim) -> list[Recorded]:
    """Record that the contacts were pushed, check all totals, and return the answers."""
    answers = tenant.transact(lambda store: store.export.record(claims))
    assert [*answers] == [*claims]
    tenant.check_totals(claims[0].campaign_id)
    return [*answers.values()]


def exported_contacts(tenant: Tenant, campaign: Campaign) -> list[UUID]:
    return [id_ for id_, row in contact_rows(tenant, campaign.id).items() if row.exported_at]


# --- One contact after another -------------------------------------------------------------------


def test_failure_30_every_contact_is_handed_out_and_marked_once(tenant: Tenant) -> None:
    campaign = exported_campaign(tenant, 5)
    ids = [*contact_rows(tenant, campaign.id)]
    first = hand_out(tenant, campaign, 2)
    assert (first.stop, first.retry_at) == (None, None)
    assert [claim.contact_id for claim in first.claims] == ids[:2]
    assert first.steps == campaign.steps
    # Nobody else gets these two, with or without a cursor.
    second = hand_out(tenant, campaign, 2)
    assert [claim.contact_id for claim in second.claims] == ids[2:4]
    third = hand_out(tenant, campaign, 9, first.cursor)
    assert [claim.contact_id for claim in third.claims] == ids[4:]
    assert third.stop is StopReason.LEASES_PENDING
    assert third.retry_at == first.claims[0].expires_at
    for number, claim in enumerate((*first.claims, *second.claims, *third.claims), 1):
        assert mark(tenant, claim) == [Recorded.APPLIED]
        assert mark(tenant, claim) == [Recorded.ALREADY]
        assert tenant.progress(campaign.id).exported == number
    last = hand_out(tenant, campaign, 9)
    assert (last.claims, last.stop, last.retry_at) == ((), StopReason.DRAINED, None)
    contacts = tenant.campaign_contacts(campaign.id).values()
    assert {contact.status for contact in contacts} == {ContactStatus.GENERATED}
    assert all(contact.exported_at is not None for contact in contacts)


def test_only_generated_contacts_are_handed_out(tenant: Tenant) -> None:
    campaign = tenant.campaign(Status.EXPORTED, contacts=5, generated=2, failed=2)
    generated = [
        id_ for id_, row in contact_rows(tenant, campaign.id).items() if row.status == "generated"
    ]
    assert [claim.contact_id for claim in hand_out(tenant, campaign).claims] == generated


def test_a_released_contact_is_handed_out_to_a_claim_whose_cursor_is_not_after_it(
    tenant: Tenant,
) -> None:
    campaign = exported_campaign(tenant)
    batch = hand_out(tenant, campaign, 2)
    first, second = batch.claims
    answers = tenant.transact(lambda store: store.export.release([first]))
    assert answers == {first: Recorded.APPLIED}
    # The run that has failed to push it goes on, and does not try it again.
    (third,) = hand_out(tenant, campaign, 9, batch.cursor).claims
    assert mark(tenant, second, third) == [Recorded.APPLIED] * 2
    rest = hand_out(tenant, campaign, 9, batch.cursor)
    assert (rest.claims, rest.stop) == ((), StopReason.DRAINED)
    (again,) = hand_out(tenant, campaign).claims
    assert again.contact_id == first.contact_id
    assert tenant.transact(lambda store: store.export.release([first, second])) == {
        first: Recorded.SKIPPED,
        second: Recorded.ALREADY,
    }
    assert mark(tenant, again) == [Recorded.APPLIED]


def test_a_takeover_passes_over_released_contacts_before_the_cursor(tenant: Tenant) -> None:
    campaign = exported_campaign(tenant, 3)
    clock = FrozenClock()
    batch = hand_out(tenant, campaign, clock=clock)
    released, expired, renewed = batch.claims

    def release_and_renew(store: CampaignStore) -> None:
        store.export.release([released])
        store.export.renew([renewed], 3 * LEASE)

    tenant.transact(release_and_renew, clock=clock)
    clock.forward(LEASE)
    late = hand_out(tenant, campaign, 9, batch.cursor, clock=clock)
    assert [claim.id for claim in late.claims] == [expired.id]


def test_failure_30_an_expired_claim_is_taken_over_and_loses_its_contact(tenant: Tenant) -> None:
    campaign = exported_campaign(tenant, 3)
    clock = FrozenClock()
    old = hand_out(tenant, campaign, 2, clock=clock)
    fresh = hand_out(tenant, campaign, 2, old.cursor, clock=clock)
    assert len(fresh.claims) == 1
    clock.forward(LEASE)
    late = hand_out(tenant, campaign, 9, fresh.cursor, clock=clock)
    assert {claim.id for claim in late.claims} == {
        claim.id for claim in (*old.claims, *fresh.claims)
    }
    assert (late.stop, late.retry_at) == (StopReason.LEASES_PENDING, clock.now + LEASE)
    # The token decides, and no claim counts if one of them is lost.
    taken, *others = late.claims
    before = contact_rows(tenant, campaign.id)
    with open_store(tenant) as store, refused(store, LeaseLost) as caught:
        store.export.record([*others, *old.claims])
    assert {*caught.value.ids} == {claim.id for claim in old.claims}
    assert contact_rows(tenant, campaign.id) == before
    assert mark(tenant, taken, *others) == [Recorded.APPLIED] * 3


def test_a_renewed_claim_is_not_taken_over(tenant: Tenant) -> None:
    campaign = exported_campaign(tenant, 2)
    clock = FrozenClock()
    claims = hand_out(tenant, campaign, clock=clock).claims
    clock.forward(LEASE / 2)
    renewal = tenant.transact(lambda store: store.export.renew(claims, LEASE), clock=clock)
    assert (renewal.expires_at, renewal.lost) == (clock.now + LEASE, ())
    clock.forward(LEASE / 2)
    assert hand_out(tenant, campaign, clock=clock).claims == ()
    mark(tenant, claims[0])
    tenant.transact(lambda store: store.contacts.erase([claims[1].contact_id]))
    renewal = tenant.transact(lambda store: store.export.renew(claims, LEASE), clock=clock)
    assert {*renewal.lost} == {claim.id for claim in claims}


@pytest.mark.parametrize("status", Status)
def test_contacts_are_handed_out_in_exported_campaigns_only_and_marked_in_all(
    tenant: Tenant, status: Status
) -> None:
    campaign = exported_campaign(tenant, 2)
    (claim,) = hand_out(tenant, campaign, 1).claims
    update_row(tenant, campaigns, campaign.id, status=status)
    batch = hand_out(tenant, campaign)
    renewal = tenant.transact(lambda store: store.export.renew([claim], LEASE))
    if status is Status.EXPORTED:
        assert len(batch.claims) == 1
    else:
        assert (batch.claims, batch.stop) == ((), StopReason.NOT_EXPORTED)
    assert renewal.cancelled == (status is not Status.EXPORTED)
    assert mark(tenant, claim) == [Recorded.APPLIED]


# --- Other calls meanwhile -----------------------------------------------------------------------


@pytest.mark.parametrize("exporters", [2, 4])
def test_failure_30_exporters_at_once_share_no_contact(tenant: Tenant, exporters: int) -> None:
    campaign = exported_campaign(tenant, 8)
    batches = run_together(
        tenant, *[lambda store: store.export.claim(campaign.id, 3, LEASE)] * exporters
    )
    ids = [claim.id for batch in batches for claim in batch.claims]
    assert len(ids) == len({*ids}) == min(8, 3 * exporters)


def test_failure_30_a_claim_behind_an_archive_gets_nothing(tenant: Tenant) -> None:
    campaign = exported_campaign(tenant)
    (batch,) = run_while_open(
        tenant,
        first=lambda store: store.campaigns.apply(campaign.id, Action.ARCHIVE),
        others=[lambda store: store.export.claim(campaign.id, 3, LEASE)],
    )
    assert (batch.claims, batch.stop) == ((), StopReason.NOT_EXPORTED)


def test_failure_30_of_two_equal_records_one_is_applied(tenant: Tenant) -> None:
    campaign = exported_campaign(tenant)
    claims = hand_out(tenant, campaign).claims
    answers = run_together(tenant, *[lambda store: store.export.record(claims)] * 2)
    assert sorted([*answer.values()] for answer in answers) == [
        [Recorded.ALREADY] * 3,
        [Recorded.APPLIED] * 3,
    ]
    assert tenant.progress(campaign.id).exported == 3
    tenant.check_totals(campaign.id)


def test_an_erased_contact_is_lost_to_its_exporter_and_leaves_no_claim(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recount, "SMALL_CAMPAIGN", 0)  # The call does not count the contacts.
    campaign = exported_campaign(tenant)
    first, second, third = hand_out(tenant, campaign).claims
    mark(tenant, second)
    tenant.transact(lambda store: store.contacts.erase([first.contact_id, second.contact_id]))
    tenant.check_totals(campaign.id)
    assert tenant.progress(campaign.id).exported == 0
    with tenant.engine.begin() as connection:
        kept = sa.select(campaign_erased_claims).where(
            campaign_erased_claims.c.campaign_id == campaign.id
        )
        assert connection.execute(kept).all() == []
    with open_store(tenant) as store, refused(store, LeaseLost) as caught:
        store.export.record([first, third])
    assert caught.value.ids == (first.id,)
    assert mark(tenant, third) == [Recorded.APPLIED]


def test_failure_30_a_late_result_of_generation_does_not_disturb_an_export(tenant: Tenant) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=1)
    late = claim_long_ago(tenant, campaign.id)
    tenant.record(dict.fromkeys(tenant.claim(campaign.id), Generated(CENT)))
    update_row(tenant, campaigns, campaign.id, status=Status.EXPORTED)
    (claim,) = hand_out(tenant, campaign).claims
    outcomes = dict.fromkeys(late, Generated(CENT))
    assert {*tenant.record(outcomes, on_lost="book").values()} == {Recorded.BOOKED}
    row = contact_rows(tenant, campaign.id)[claim.contact_id]
    assert (row.claim_token, row.lease_expires_at) == (claim.token, claim.expires_at)
    assert mark(tenant, claim) == [Recorded.APPLIED]
    assert {*tenant.record(outcomes, on_lost="book").values()} == {Recorded.ALREADY}
    tenant.check_totals(campaign.id)


def test_the_claim_of_an_exporter_is_no_claim_for_generation(tenant: Tenant) -> None:
    campaign = exported_campaign(tenant, 1)
    (claim,) = hand_out(tenant, campaign).claims
    with open_store(tenant) as store:
        with refused(store, LeaseLost):
            store.generation.record({claim: Generated(CENT)})
        with refused(store, LeaseLost):
            store.generation.checkpoint(claim, CENT)
        assert store.generation.renew([claim], LEASE).lost == (claim.id,)
    assert mark(tenant, claim) == [Recorded.APPLIED]


def test_a_regenerated_contact_is_exported_again(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recount, "SMALL_CAMPAIGN", 0)  # The call does not count the contacts.
    campaign = exported_campaign(tenant, 2)
    mark(tenant, *hand_out(tenant, campaign).claims)
    # No action leads back from exported, but other programs may do that.
    update_row(tenant, campaigns, campaign.id, status=Status.REVIEW)
    (first, _) = exported_contacts(tenant, campaign)
    tenant.transact(lambda store: store.generation.regenerate(campaign.id, [first]))
    tenant.check_totals(campaign.id)
    assert tenant.progress(campaign.id).exported == 1
    update_row(
        tenant, campaign_contacts, contact_rows(tenant, campaign.id)[first].id, status="generated"
    )
    update_row(tenant, campaigns, campaign.id, status=Status.EXPORTED)
    assert [claim.contact_id for claim in hand_out(tenant, campaign).claims] == [first]


def test_totals_of_exported_contacts_heal_themselves(tenant: Tenant) -> None:
    campaign = exported_campaign(tenant)
    (claim,) = hand_out(tenant, campaign, 1).claims
    mark(tenant, claim)
    execute(tenant, sa.delete(campaign_contacts).where(campaign_contacts.c.id == claim.id))
    assert tenant.progress(campaign.id).exported == 1
    tenant.apply(campaign.id, Action.ARCHIVE)
    assert tenant.progress(campaign.id).exported == 0
    tenant.check_totals(campaign.id)


# --- Refusals ------------------------------------------------------------------------------------


@on_postgresql
def test_failure_13_another_tenant_holds_no_lock_after_a_refused_call(
    tenant: Tenant, engine: sa.Engine
) -> None:
    campaign = exported_campaign(tenant)
    claims = hand_out(tenant, campaign, 1).claims
    calls: tuple[Call, ...] = (
        lambda store: store.export.claim(campaign.id, 1, LEASE),
        lambda store: store.export.renew(claims, LEASE),
        lambda store: store.export.record(claims),
        lambda store: store.export.release(claims),
    )
    locks = sa.text(
        "SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory'"
    )
    with open_store(new_tenant(engine)) as store:
        for call in calls:
            with refused(store, NotFound, tenant.id):
                call(store)
            assert store.connection.scalar(locks) == 0


@on_newest_postgresql
def test_a_call_of_an_exporter_locks_campaign_and_contacts_in_one_round_trip(
    tenant: Tenant,
) -> None:
    campaign = exported_campaign(tenant, 2)
    claims = hand_out(tenant, campaign).claims
    calls: tuple[Callable[[CampaignStore], object], ...] = (
        lambda store: store.export.claim(campaign.id, 1, LEASE),
        lambda store: store.export.renew(claims, LEASE),
        lambda store: store.export.record(claims[:1]),
        lambda store: store.export.release(claims[1:]),
    )
    for call in calls:
        locking, *others = [sql for sql, _ in statements_of(tenant, call)]
        assert "FOR NO KEY UPDATE OF campaigns" in locking
        assert not any("pg_" in sql or "FOR SHARE" in sql for sql in others)


def test_arguments_of_an_export_are_checked(tenant: Tenant) -> None:
    campaign, other = exported_campaign(tenant, 1), exported_campaign(tenant, 1)
    claims = [*hand_out(tenant, campaign).claims, *hand_out(tenant, other).claims]
    with open_store(tenant) as store:
        export = store.export
        for limit in (0, 10_001, 1.5):
            with refused(store, ValueError):
                export.claim(campaign.id, limit, LEASE)  # type: ignore[arg-type]
        with refused(store, ValueError):
            export.claim(campaign.id, 1, timedelta(0))
        for call in (export.record, export.release, lambda claims: export.renew(claims, LEASE)):
            with refused(store, ValueError):
                call(claims)
        with refused(store, NotFound):
            export.claim(uuid4(), 1, LEASE)
        assert export.record([]) == export.release([]) == {}
