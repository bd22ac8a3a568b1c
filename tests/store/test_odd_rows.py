"""Rows that other programs have written past the library: one odd row does not hide the others."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa

from campaign_model import db, lifecycle
from campaign_model.campaign import Campaign, CampaignSummary
from campaign_model.claims import Failed, Generated, Progress, Recorded
from campaign_model.errors import InvalidDocument, TransitionNotAllowed
from campaign_model.lifecycle import Action, ContactStatus, ReviewTally, Status
from campaign_model.store.tables import (
    campaign_contacts,
    campaign_erased_claims,
    campaign_totals,
    campaigns,
)
from campaign_model.testing.sample_campaigns import CENT, Tenant
from campaign_model.worker import run_worker
from support.tenants import execute, new_tenant, update_row
from support.transactions import on_sqlite

TIMES = {
    "postgresql": ["infinity", "-infinity", "12000-01-01 00:00+00", "0044-03-15 00:00+00 BC"],
    "sqlite": ["soon", "", "12000-01-01 00:00:00.000000"],
}
"""Times that Python does not have."""


def write_times(tenant: Tenant, table: sa.Table, id: UUID, value: str) -> None:
    """Write a time into every column of a campaign, or of a campaign's contacts."""
    of_campaign = (table.c.id if table is campaigns else table.c.campaign_id) == id
    names = [column.name for column in table.c if column.name.endswith("_at")]
    odd_time: sa.ColumnElement[Any] = sa.literal_column(f"'{value}'")
    execute(tenant, sa.update(table).where(of_campaign).values(dict.fromkeys(names, odd_time)))


def codes(value: Campaign | CampaignSummary | Progress) -> list[str]:
    """Return the codes of what was reported about a value."""
    return [repair.code for repair in value.repairs]


def list_pages(tenant: Tenant) -> list[UUID]:
    """Return the ids of all campaigns, read page by page."""
    ids, after = [], None
    while True:
        page = tenant.transact(lambda store: store.campaigns.list(limit=1, after=after))  # noqa: B023
        ids += [campaign.id for campaign in page.items]
        after = page.next
        if after is None:
            return ids


def test_a_campaign_with_odd_times_is_listed_reported_and_generated(
    unchecked_tenant: Tenant,
) -> None:
    tenant = unchecked_tenant
    campaign_ids = [tenant.campaign(contacts=1).id]
    for value in TIMES[tenant.engine.dialect.name]:
        odd = tenant.campaign(Status.GENERATING, contacts=1).id
        twin = tenant.campaign().id
        campaign_ids += [odd, twin]
        write_times(tenant, campaigns, twin, value)
        write_times(tenant, campaigns, odd, value)
        campaign = tenant.transact(lambda store: store.campaigns.get(odd))  # noqa: B023
        assert codes(campaign) == ["time_out_of_range"] * 4
        assert tenant.progress(odd).total == 1
        assert codes(tenant.progress(odd)) == ["time_out_of_range"] * 2
        assert odd in {one.campaign_id for one in db.generating(tenant.engine)}
        assert run_worker(tenant.engine, tenant.id, odd, lambda _: Generated(CENT)).completed
        write_times(tenant, campaign_contacts, odd, value)
        assert len(tenant.campaign_contacts(odd)) == 1
        write_times(tenant, campaigns, odd, value)
        assert sorted(list_pages(tenant)) == sorted(campaign_ids)
    summaries = tenant.transact(lambda store: store.campaigns.list()).items
    assert {one.id: codes(one) for one in summaries} == {
        id_: ["time_out_of_range"] * 2 * (id_ != campaign_ids[0]) for id_ in campaign_ids
    }


def test_costs_whose_sum_passes_the_limit_of_one_amount_are_read(tenant: Tenant) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=1)
    cost = Decimal(600_000_000)
    tenant.record({tenant.claim(campaign.id)[0]: Failed("no", "no", cost)})
    tenant.transact(lambda store: store.generation.retry_failed(campaign.id))
    tenant.record({tenant.claim(campaign.id)[0]: Generated(cost)})
    (contact,) = tenant.campaign_contacts(campaign.id).values()
    assert contact.cost == 2 * cost
    (summary,) = tenant.transact(lambda store: store.campaigns.list()).items
    assert summary.generation_cost == tenant.progress(campaign.id).spent == 2 * cost
    assert tenant.apply(campaign.id, Action.COMPLETE_GENERATION).status is Status.REVIEW


@on_sqlite
def test_a_sum_that_does_not_fit_hides_no_campaign_from_a_pool(tenant: Tenant) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=1)
    of_campaign = campaign_totals.c.campaign_id == campaign.id
    most: sa.ColumnElement[Any] = sa.literal_column(str(2**63 - 1))
    execute(tenant, sa.update(campaign_totals).where(of_campaign).values(cost=most))
    other = new_tenant(tenant.engine).campaign(Status.GENERATING, contacts=1)
    ids = {one.campaign_id for one in db.generating(tenant.engine)}
    assert {campaign.id, other.id} <= ids
    execute(tenant, sa.update(campaign_totals).where(of_campaign).values(cost=0))


HUGE = {"postgresql": "1e40", "sqlite": str(2**63 - 1)}
"""A cost that no program of the library can book."""


@pytest.mark.parametrize("budget", [None, Decimal(10)])
def test_costs_that_sum_up_to_more_than_64_bits_stop_no_call(
    tenant: Tenant, budget: Decimal | None
) -> None:
    good = tenant.campaign(contacts=1)
    campaign = tenant.campaign(Status.GENERATING, contacts=5, budget=budget)
    held, failing, late = tenant.claim(campaign.id, 3, reserve=CENT)
    huge: sa.ColumnElement[Any] = sa.literal_column(HUGE[tenant.engine.dialect.name])
    of_contacts = campaign_contacts.c.campaign_id == campaign.id
    execute(tenant, sa.update(campaign_contacts).where(of_contacts).values(generation_cost=huge))
    of_totals = campaign_totals.c.campaign_id == campaign.id
    execute(tenant, sa.update(campaign_totals).where(of_totals).values(cost=huge))
    of_totals &= campaign_totals.c.shard == 0
    execute(tenant, sa.update(campaign_totals).where(of_totals).values(erased_cost=huge))

    def check_that_all_is_readable() -> None:
        summaries = tenant.transact(lambda store: store.campaigns.list()).items
        on_sqlite = tenant.engine.dialect.name == "sqlite"
        odd = ["sum_out_of_range"] if on_sqlite else []
        assert {one.id: codes(one) for one in summaries} == {good.id: [], campaign.id: odd}
        progress = tenant.progress(campaign.id)
        assert codes(progress) == odd
        assert progress.spent >= 9 * 10**9
        tenant.transact(lambda store: store.campaigns.actions(campaign.id))
        tenant.transact(lambda store: store.generation.estimate(campaign.id))
        assert len(tenant.campaign_contacts(campaign.id)) == 5

    check_that_all_is_readable()
    tenant.transact(lambda store: store.generation.checkpoint(held, CENT))
    assert tenant.record({held: Generated(CENT)}) == {held: Recorded.APPLIED}
    assert tenant.record({failing: Failed("no", "no", CENT)}) == {failing: Recorded.APPLIED}
    tenant.claim(campaign.id, 1, reserve=CENT)
    check_that_all_is_readable()
    tenant.transact(lambda store: store.contacts.exclude(campaign.id, [late.contact_id]))
    assert tenant.record({late: Generated(CENT)}) == {late: Recorded.EXCLUDED}
    for _ in range(2):
        erased_claim = {"campaign_contact_id": uuid4(), "token": uuid4(), "reserved": huge}
        of_campaign = {"tenant_id": tenant.id, "campaign_id": campaign.id}
        execute(tenant, sa.insert(campaign_erased_claims).values(erased_claim | of_campaign))
    tenant.apply(campaign.id, Action.CANCEL_GENERATION)
    check_that_all_is_readable()
    tenant.apply(campaign.id, Action.RETURN_TO_DRAFT)
    contact_ids = list(tenant.campaign_contacts(campaign.id))
    execute(tenant, sa.update(campaign_contacts).where(of_contacts).values(reserved=huge))
    tenant.transact(lambda store: store.contacts.exclude(campaign.id, contact_ids))
    tenant.transact(lambda store: store.contacts.include(campaign.id, contact_ids))
    check_that_all_is_readable()
    tenant.transact(lambda store: store.contacts.erase(contact_ids))
    tenant.apply(campaign.id, Action.DELETE)


UNREADABLE = {
    "template_config": '[{"channel": "email", "words": 9007199254740993}]',
    "generation_config": '{"words": 9007199254740993}',
}
"""Documents that every CHECK accepts and no reader: no double holds the number."""

WAYS_OUT = {
    Status.GENERATING: Action.CANCEL_GENERATION,
    Status.READY: Action.RETURN_TO_DRAFT,
    Status.DRAFT: Action.DELETE,
    Status.REVIEW: Action.REQUEST_CHANGES,
    Status.APPROVED: Action.REOPEN_REVIEW,
    Status.EXPORTED: Action.ARCHIVE,
}
"""The only actions of a campaign whose documents cannot be read."""


@pytest.mark.parametrize("column", UNREADABLE)
@pytest.mark.parametrize("status", Status)
def test_an_unreadable_campaign_is_read_reported_and_led_out(
    tenant: Tenant, caplog: pytest.LogCaptureFixture, status: Status, column: str
) -> None:
    campaign = tenant.campaign(status, contacts=2, budget=Decimal(9))
    before = tenant.progress(campaign.id)
    update_row(tenant, campaigns, campaign.id, **{column: UNREADABLE[column]})
    progress = tenant.progress(campaign.id)
    assert (progress.by_status, progress.spent) == (before.by_status, before.spent)
    if column == "generation_config":
        assert (codes(progress), progress.budget) == (["unreadable"], None)
    contacts = tenant.campaign_contacts(campaign.id).values()
    assert len(contacts) == 2
    if column == "template_config":
        assert {contact.stale for contact in contacts} == {
            before.by_status[ContactStatus.GENERATED] == 2
        }
        assert str(campaign.id) in {getattr(one, "campaign_id", "") for one in caplog.records}
    # Every action is either allowed and succeeds, or refused and changes nothing.
    review = ReviewTally(1, 0, 0)
    states = tenant.transact(lambda store: store.campaigns.actions(campaign.id, review=review))
    way_out = WAYS_OUT.get(status)
    assert [state.action for state in states if state.allowed] == [way_out] * (way_out is not None)
    for state in states:
        if state.action is way_out:
            continue
        needs_documents = state.target is not None
        assert state.error is not None
        unmet = ["documents_readable"] * needs_documents
        assert [one.guard for one in state.error.unmet] == unmet
        with pytest.raises((InvalidDocument, TransitionNotAllowed)):
            tenant.apply(campaign.id, state.action, review=review)
    if way_out is not None:
        moved = tenant.apply(campaign.id, way_out)
        assert (moved.status, codes(moved)) == (lifecycle.target(way_out), ["unreadable"])
