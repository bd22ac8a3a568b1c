"""Totals heal themselves: a legacy writer changes contacts with plain SQL, and the store notices.

The writer inserts, updates and deletes rows of ``campaign_contacts`` and knows nothing of totals.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from campaign_model import lifecycle
from campaign_model.claims import Failed, Generated
from campaign_model.errors import CampaignModelError, TransitionNotAllowed
from campaign_model.lifecycle import (
    CLAIMABLE,
    PERMISSIONS,
    Action,
    ContactStatus,
    Facts,
    Permission,
    ReviewTally,
    Status,
)
from campaign_model.store import CampaignStore, recount
from campaign_model.store.tables import campaign_contacts, campaign_totals
from campaign_model.testing.sample_campaigns import CENT, STEPS, Tenant
from campaign_model.testing.totals_check import find_wrong_totals
from campaign_model.worker import run_worker
from support.tenants import campaign_row, contact_rows, execute, legacy_columns, update_row

CONTACT = campaign_contacts.c
TALLY = ReviewTally(1, 0, 0)


def insert_by_hand(
    tenant: Tenant, campaign_id: UUID, contact_ids: list[UUID], **values: Any
) -> None:
    rows = [
        {"id": uuid4(), "tenant_id": tenant.id, "campaign_id": campaign_id, "contact_id": id_}
        for id_ in contact_ids
    ]
    execute(tenant, sa.insert(campaign_contacts).values([row | values for row in rows]))


def delete_by_hand(tenant: Tenant, campaign_id: UUID, *statuses: ContactStatus) -> None:
    chosen = sa.and_(CONTACT.campaign_id == campaign_id, CONTACT.status.in_(statuses))
    execute(tenant, sa.delete(campaign_contacts).where(chosen))


def contact_statuses(tenant: Tenant, campaign_id: UUID) -> list[str]:
    return sorted(row.status for row in contact_rows(tenant, campaign_id).values())


def totals_are_right(tenant: Tenant, campaign_id: UUID) -> bool:
    with tenant.engine.begin() as connection:
        return not find_wrong_totals(connection, [tenant.id], [campaign_id])


def generate_all(tenant: Tenant, campaign_id: UUID) -> None:
    """Start workers until one of them completes the generation, as a pool does.

    A worker that finds nothing more to claim counts the contacts before it ends. If some of them
    wait, the next worker finds them.
    """
    for _ in range(3):
        report = run_worker(tenant.engine, tenant.id, campaign_id, lambda _task: Generated(CENT))
        if report.completed:
            break
    assert campaign_row(tenant, campaign_id).status == Status.REVIEW
    assert {*contact_statuses(tenant, campaign_id)} <= {"generated", "failed"}
    tenant.check_totals(campaign_id)


# --- The failures that were seen -----------------------------------------------------------------


def test_a_campaign_whose_contacts_were_inserted_by_hand_can_be_made_ready(tenant: Tenant) -> None:
    campaign = tenant.campaign(contacts=0)
    insert_by_hand(tenant, campaign.id, tenant.contacts(10))
    (mark_ready,) = [
        state
        for state in tenant.transact(lambda store: store.campaigns.actions(campaign.id))
        if state.action is Action.MARK_READY
    ]
    assert mark_ready.error is None
    tenant.apply(campaign.id, Action.MARK_READY)
    assert legacy_columns(tenant, campaign.id) == (10, 0, Decimal(0))
    tenant.check_totals(campaign.id)


def test_a_campaign_whose_contacts_were_deleted_by_hand_is_not_made_ready(tenant: Tenant) -> None:
    campaign = tenant.campaign(contacts=3)
    delete_by_hand(tenant, campaign.id, ContactStatus.PENDING)
    with pytest.raises(TransitionNotAllowed, match="has no contacts"):
        tenant.apply(campaign.id, Action.MARK_READY)


def test_contacts_inserted_while_generating_are_generated_and_counted(tenant: Tenant) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=2)
    insert_by_hand(tenant, campaign.id, tenant.contacts(10))
    generate_all(tenant, campaign.id)
    assert legacy_columns(tenant, campaign.id) == (12, 12, 12 * CENT)


def test_a_campaign_is_completed_after_waiting_contacts_were_deleted(tenant: Tenant) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=5)
    tenant.record(dict.fromkeys(tenant.claim(campaign.id, 2), Generated(CENT)))
    delete_by_hand(tenant, campaign.id, ContactStatus.PENDING)
    generate_all(tenant, campaign.id)
    assert legacy_columns(tenant, campaign.id) == (2, 2, 2 * CENT)


def test_a_cost_that_was_written_by_hand_is_spent(tenant: Tenant) -> None:
    campaign = tenant.campaign(Status.REVIEW, contacts=2)
    first, _ = contact_rows(tenant, campaign.id).values()
    update_row(tenant, campaign_contacts, first.id, generation_cost=Decimal("1.5"))
    tenant.apply(campaign.id, Action.REQUEST_CHANGES)
    assert tenant.progress(campaign.id).spent == Decimal("1.51")
    tenant.check_totals(campaign.id)


# --- A campaign is never stuck in generating -----------------------------------------------------


def swap(tenant: Tenant, campaign_id: UUID) -> None:
    """Let a contact before the low-water mark wait, and no other: all sums stay the same."""
    first, second, third = contact_rows(tenant, campaign_id).values()
    of_campaign = campaign_totals.c.campaign_id == campaign_id
    execute(tenant, sa.update(campaign_totals).where(of_campaign).values(low_watermark=second.rank))
    update_row(tenant, campaign_contacts, first.id, status="pending")
    update_row(tenant, campaign_contacts, third.id, status="failed")
    assert totals_are_right(tenant, campaign_id)


def leave_generating(tenant: Tenant, campaign_id: UUID) -> None:
    insert_by_hand(tenant, campaign_id, tenant.contacts(2), status="generating")


def put_back(tenant: Tenant, campaign_id: UUID) -> None:
    of_campaign = CONTACT.campaign_id == campaign_id
    execute(tenant, sa.update(campaign_contacts).where(of_campaign).values(status="pending"))


@pytest.mark.parametrize("edit", [swap, leave_generating, put_back])
def test_a_campaign_is_never_stuck_in_generating(
    unchecked_tenant: Tenant, edit: Callable[[Tenant, UUID], None]
) -> None:
    tenant = unchecked_tenant
    campaign = tenant.campaign(Status.GENERATING, contacts=3)
    first, second = tenant.claim(campaign.id, 2)
    tenant.record({first: Failed("no", "no", CENT), second: Generated(CENT)})
    edit(tenant, campaign.id)
    generate_all(tenant, campaign.id)


# --- Every exclusive call ------------------------------------------------------------------------

Call = Callable[[CampaignStore, UUID, list[UUID]], object]
CALLS: Mapping[str, tuple[Permission | None, Call]] = {
    "assign": (Permission.ASSIGN_CONTACTS, lambda store, id_, ids: store.contacts.assign(id_, ids)),
    "remove": (Permission.REMOVE_CONTACTS, lambda store, id_, ids: store.contacts.remove(id_, ids)),
    "exclude": (
        Permission.EXCLUDE_CONTACTS,
        lambda store, id_, ids: store.contacts.exclude(id_, ids),
    ),
    "include": (
        Permission.INCLUDE_CONTACTS,
        lambda store, id_, ids: store.contacts.include(id_, ids),
    ),
    "set_readiness": (
        Permission.SET_READINESS,
        lambda store, id_, ids: store.contacts.set_readiness(id_, dict.fromkeys(ids, ())),
    ),
    "erase": (None, lambda store, _, ids: store.contacts.erase(ids)),
    "retry_failed": (
        Permission.RETRY_FAILED,
        lambda store, id_, _: store.generation.retry_failed(id_),
    ),
    "regenerate": (
        Permission.REGENERATE,
        lambda store, id_, _: store.generation.regenerate(id_),
    ),
}


def make_drift(tenant: Tenant, campaign_id: UUID) -> None:
    """Insert two contacts, update a third and delete a fourth."""
    insert_by_hand(tenant, campaign_id, tenant.contacts(2))
    *_, third, fourth = contact_rows(tenant, campaign_id).values()
    update_row(
        tenant, campaign_contacts, third.id, status="failed", generation_cost=CENT, unknown_costs=3
    )
    execute(tenant, sa.delete(campaign_contacts).where(CONTACT.id == fourth.id))
    assert not totals_are_right(tenant, campaign_id)


@pytest.mark.parametrize("status", [Status.DRAFT, Status.GENERATING])
@pytest.mark.parametrize("name", CALLS)
def test_every_call_corrects_the_totals_of_a_small_campaign(
    tenant: Tenant, name: str, status: Status
) -> None:
    permission, call = CALLS[name]
    if permission is not None and status not in PERMISSIONS[permission]:
        status = Status.READY
    campaign = tenant.campaign(status, contacts=4)
    make_drift(tenant, campaign.id)
    ids = [*contact_rows(tenant, campaign.id)][:1]
    tenant.transact(lambda store: call(store, campaign.id, ids))
    tenant.check_totals(campaign.id)
    counted = contact_statuses(tenant, campaign.id)
    assert legacy_columns(tenant, campaign.id)[0] == len(counted) - counted.count("excluded")


@pytest.mark.parametrize("name", ["exclude", "set_readiness"])
def test_a_small_call_on_a_large_campaign_leaves_the_count_to_the_next_move(
    tenant: Tenant, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recount, "SMALL_CAMPAIGN", 2)
    campaign = tenant.campaign(Status.GENERATING, contacts=4)
    make_drift(tenant, campaign.id)
    ids = [*contact_rows(tenant, campaign.id)][:1]
    tenant.transact(lambda store: CALLS[name][1](store, campaign.id, ids))
    assert not totals_are_right(tenant, campaign.id)
    tenant.apply(campaign.id, Action.CANCEL_GENERATION)
    tenant.check_totals(campaign.id)


# --- The log -------------------------------------------------------------------------------------


def test_a_difference_is_logged_once(tenant: Tenant, caplog: pytest.LogCaptureFixture) -> None:
    campaign = tenant.campaign(contacts=1)
    insert_by_hand(tenant, campaign.id, tenant.contacts(2), generation_cost=Decimal("0.5"))
    delete_by_hand(tenant, tenant.campaign(contacts=1).id, ContactStatus.PENDING)
    with caplog.at_level(logging.DEBUG, "campaign_model"):
        tenant.apply(campaign.id, Action.MARK_READY, Action.START_GENERATION)
    (logged,) = [record for record in caplog.records if hasattr(record, "difference")]
    assert logged.levelno == logging.WARNING
    start = f"corrected the totals of campaign {campaign.id}: pending +2, cost +1."
    assert logged.getMessage().startswith(start)
    extra: Any = logged
    assert (extra.tenant_id, extra.campaign_id) == (str(tenant.id), str(campaign.id))
    assert extra.difference.keys() == {"pending", "cost"}
    assert (extra.difference["pending"], Decimal(extra.difference["cost"])) == ("2", Decimal(1))


def test_nothing_is_logged_without_a_legacy_writer(
    tenant: Tenant, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "campaign_model"):
        campaign = tenant.campaign(Status.GENERATING, contacts=3)
        claims = tenant.claim(campaign.id)
        tenant.record({claims[0]: Generated(None)})
        tenant.transact(lambda store: store.contacts.exclude(campaign.id, [claims[1].contact_id]))
        tenant.transact(lambda store: store.contacts.erase([claims[2].contact_id]))
        tenant.record(dict.fromkeys(claims[1:], Generated(CENT)), on_lost="book")
        tenant.apply(campaign.id, Action.COMPLETE_GENERATION)
    assert not [record for record in caplog.records if hasattr(record, "difference")]


# --- Any edits and any calls ---------------------------------------------------------------------


def expected_facts(tenant: Tenant, campaign_id: UUID, review: ReviewTally | None) -> Facts:
    """Return the facts that the rows say."""
    rows = contact_rows(tenant, campaign_id).values()
    now = datetime.now(UTC)
    in_flight = [
        row
        for row in rows
        if row.status == ContactStatus.GENERATING
        and row.lease_expires_at is not None
        and row.lease_expires_at > now
    ]
    waiting = [row for row in rows if row.status in {*CLAIMABLE, ContactStatus.GENERATING}]
    return Facts(
        enabled_steps=len(STEPS.enabled),
        contacts=sum(row.status != ContactStatus.EXCLUDED for row in rows),
        claimable=len(waiting) - len(in_flight),
        in_flight=len(in_flight),
        generated=sum(row.status == ContactStatus.GENERATED for row in rows),
        stale=sum(
            row.status == ContactStatus.GENERATED and row.steps_fingerprint != STEPS.fingerprint
            for row in rows
        ),
        budget_exhausted=False,
        review=review,
    )


indexes = st.integers(0, 3)
edits = st.one_of(
    st.tuples(st.just("insert"), indexes, st.sampled_from([*ContactStatus])),
    st.tuples(st.just("update"), indexes, st.sampled_from([*ContactStatus])),
    st.tuples(st.just("pay"), indexes, st.just(CENT)),
    st.tuples(st.just("delete"), indexes, st.none()),
)
calls = st.tuples(st.just("call"), indexes, st.sampled_from([*CALLS]))
# Actions that lead on are drawn more often, so that examples reach generating and review.
actions = st.tuples(
    st.just("apply"),
    indexes,
    st.sampled_from([Action.MARK_READY, Action.START_GENERATION, Action.COMPLETE_GENERATION])
    | st.sampled_from([*Action]),
)
work = st.tuples(st.just("work"), indexes, st.none())
history = st.lists(st.one_of(edits, calls, actions, work), min_size=4, max_size=12)


@pytest.mark.parametrize("is_running", [False, True])
def test_no_difference_outlives_an_exclusive_call(
    unchecked_tenant: Tenant, *, is_running: bool
) -> None:
    tenant = unchecked_tenant
    contact_ids = tenant.contacts(4)

    @settings(max_examples=40, phases=(Phase.explicit, Phase.reuse, Phase.generate))
    @given(steps=history)
    def check(steps: list[tuple[str, int, Any]]) -> None:
        status = Status.GENERATING if is_running else Status.DRAFT
        id_ = tenant.campaign(status, contacts=contact_ids[:2]).id
        for kind, index, detail in steps:
            contact_id = contact_ids[index]
            row = contact_rows(tenant, id_).get(contact_id)
            if kind == "insert" and row is None:
                insert_by_hand(tenant, id_, [contact_id], status=detail)
            elif kind == "update" and row is not None:
                update_row(tenant, campaign_contacts, row.id, status=detail)
            elif kind == "pay" and row is not None:
                paid = row.generation_cost + detail
                update_row(tenant, campaign_contacts, row.id, generation_cost=paid)
            elif kind == "delete" and row is not None:
                execute(tenant, sa.delete(campaign_contacts).where(CONTACT.id == row.id))
            elif kind == "work":
                tenant.record(dict.fromkeys(tenant.claim(id_, index + 1), Generated(CENT)))
            elif kind == "call":
                try:
                    tenant.transact(
                        lambda store: CALLS[detail][1](store, id_, [contact_id])  # noqa: B023
                    )
                except CampaignModelError:
                    continue
                # An erasure of nothing touches no campaign.
                assert (detail == "erase" and row is None) or totals_are_right(tenant, id_)
            elif kind == "apply":
                facts = expected_facts(tenant, id_, TALLY)
                refusal = lifecycle.why_not(campaign_row(tenant, id_).status, detail, facts)
                if refusal is not None:
                    with pytest.raises(TransitionNotAllowed) as raised:
                        tenant.transact(
                            lambda store: store.campaigns.apply(id_, detail, review=TALLY)  # noqa: B023
                        )
                    assert raised.value.unmet == refusal.unmet
                    continue
                tenant.transact(lambda store: store.campaigns.apply(id_, detail, review=TALLY))  # noqa: B023
                assert totals_are_right(tenant, id_)

    check()
