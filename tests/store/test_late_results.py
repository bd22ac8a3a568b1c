"""Late results reach the legacy columns: outcomes of a campaign that is not generating any more."""

from __future__ import annotations

import logging
from collections.abc import Callable
from uuid import UUID

import pytest
import sqlalchemy as sa

from campaign_model.claims import Claim, Failed, Generated, Recorded, Unfinished
from campaign_model.lifecycle import Action, ContactStatus, ReviewTally, Status
from campaign_model.store import CampaignStore
from campaign_model.testing.interference import connection_without_waiting
from campaign_model.testing.parallel import Work
from campaign_model.testing.sample_campaigns import CENT, Tenant
from support.tenants import campaign_row, contact_rows, legacy_columns
from support.transactions import on_newest_postgresql, open_store, run_while_open

MOVES = {
    Status.READY: (Action.CANCEL_GENERATION,),
    Status.DRAFT: (Action.CANCEL_GENERATION, Action.RETURN_TO_DRAFT),
    Status.REVIEW: (Action.COMPLETE_GENERATION,),
    Status.APPROVED: (Action.COMPLETE_GENERATION, Action.APPROVE),
    Status.EXPORTED: (Action.COMPLETE_GENERATION, Action.APPROVE, Action.EXPORT),
    Status.ARCHIVED: (
        Action.COMPLETE_GENERATION,
        Action.APPROVE,
        Action.EXPORT,
        Action.ARCHIVE,
    ),
}
"""The actions after which a result arrives late, by the status that they lead to."""

CALLS: dict[str, Callable[[CampaignStore, Claim], object]] = {
    "generated": lambda store, claim: store.generation.record({claim: Generated(CENT)}),
    "failed": lambda store, claim: store.generation.record({claim: Failed("no", "no", CENT)}),
    "given back": lambda store, claim: store.generation.record({claim: Unfinished(cost=CENT)}),
    "checkpoint": lambda store, claim: store.generation.checkpoint(claim, CENT),
}


def check_legacy_columns(tenant: Tenant, campaign_id: UUID, cents: int) -> None:
    """The legacy columns say what the contacts say, and that so many cents were spent."""
    statuses = [row.status for row in contact_rows(tenant, campaign_id).values()]
    assert legacy_columns(tenant, campaign_id) == (
        len(statuses) - statuses.count(ContactStatus.EXCLUDED),
        statuses.count(ContactStatus.GENERATED),
        cents * CENT,
    )


@pytest.mark.parametrize("status", MOVES)
def test_the_cost_of_contacts_that_left_in_flight_reaches_the_legacy_columns(
    tenant: Tenant, status: Status
) -> None:
    campaign = tenant.campaign("generating", contacts=4, budget=4 * CENT)
    excluded, erased, *others = tenant.claim(campaign.id, reserve=CENT)
    tenant.record(dict.fromkeys(others, Generated(CENT)))
    tenant.transact(lambda store: store.contacts.exclude(campaign.id, [excluded.contact_id]))
    tenant.transact(lambda store: store.contacts.erase([erased.contact_id]))
    for action in MOVES[status]:
        tenant.apply(campaign.id, action, review=ReviewTally(1, 0, 0))
    assert campaign_row(tenant, campaign.id).status == status
    check_legacy_columns(tenant, campaign.id, 2)
    late = dict.fromkeys((excluded, erased), Generated(CENT))
    for answers in ({Recorded.EXCLUDED, Recorded.BOOKED}, {Recorded.ALREADY, Recorded.SKIPPED}):
        assert {*tenant.record(late, on_lost="book").values()} == answers
        check_legacy_columns(tenant, campaign.id, 4)
    assert tenant.progress(campaign.id).reserved == 0
    tenant.check_totals(campaign.id)


@pytest.mark.parametrize("call", CALLS)
def test_a_result_after_a_cancel_reaches_the_legacy_columns(tenant: Tenant, call: str) -> None:
    campaign = tenant.campaign("generating", contacts=2)
    (claim,) = tenant.claim(campaign.id, 1)
    tenant.apply(campaign.id, Action.CANCEL_GENERATION)
    tenant.transact(lambda store: CALLS[call](store, claim))
    check_legacy_columns(tenant, campaign.id, 1)
    tenant.check_totals(campaign.id)


def test_failure_25_late_results_wait_for_each_other_and_do_not_deadlock(tenant: Tenant) -> None:
    campaign = tenant.campaign("generating", contacts=1 + len(CALLS))
    first, *claims = tenant.claim(campaign.id)
    tenant.apply(campaign.id, Action.CANCEL_GENERATION)

    def calling(name: str, claim: Claim) -> Work:
        return lambda store: CALLS[name](store, claim)

    run_while_open(
        tenant,
        first=calling("checkpoint", first),
        others=[calling(name, claim) for name, claim in zip(CALLS, claims, strict=True)],
        then=calling("generated", first),
    )
    check_legacy_columns(tenant, campaign.id, 2 + len(CALLS))
    tenant.check_totals(campaign.id)


@on_newest_postgresql
def test_failure_25_results_that_wait_for_a_cancel_do_not_deadlock(
    tenant: Tenant, caplog: pytest.LogCaptureFixture
) -> None:
    """They get their shared lock when the cancel commits, and then need the exclusive one."""
    campaign = tenant.campaign("generating", contacts=4)
    claims = tenant.claim(campaign.id)

    def recording(claim: Claim) -> Work:
        return lambda store: store.generation.record({claim: Generated(CENT)})

    with caplog.at_level(logging.INFO, "campaign_model.store"):
        answers = run_while_open(
            tenant,
            first=lambda store: store.campaigns.apply(campaign.id, Action.CANCEL_GENERATION),
            others=[recording(claim) for claim in claims],
            attempts=20,
        )
    assert answers == [{claim: Recorded.APPLIED} for claim in claims]
    assert "40P01" not in [getattr(record, "sqlstate", None) for record in caplog.records]
    check_legacy_columns(tenant, campaign.id, 4)
    tenant.check_totals(campaign.id)


@on_newest_postgresql
@pytest.mark.parametrize("call", CALLS)
def test_failure_25_a_late_result_locks_nothing_before_the_exclusive_lock(
    tenant: Tenant, call: str
) -> None:
    """Two calls that first lock the row shared, and then exclusively, wait for each other."""
    campaign = tenant.campaign("generating", contacts=2)
    first, second = tenant.claim(campaign.id)
    tenant.apply(campaign.id, Action.CANCEL_GENERATION)
    late_calls: list[str] = []

    def record_without_waiting(_c: object, _cursor: object, statement: str, *_: object) -> None:
        if "FOR NO KEY UPDATE OF campaigns" in statement and not late_calls:
            late_calls.append(statement)
            with connection_without_waiting(tenant.engine) as connection:
                CALLS["generated"](CampaignStore(connection, tenant.id), second)
                connection.commit()

    with open_store(tenant) as store:
        sa.event.listen(store.connection, "before_cursor_execute", record_without_waiting)
        CALLS[call](store, first)
    assert late_calls
    check_legacy_columns(tenant, campaign.id, 2)
    tenant.check_totals(campaign.id)
