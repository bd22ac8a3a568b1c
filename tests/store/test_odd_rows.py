"""Rows that other programs have written past the library: one odd row does not hide the others."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from campaign_model import db
from campaign_model.claims import Failed, Generated
from campaign_model.lifecycle import Action, Status
from campaign_model.store.tables import campaign_contacts, campaign_totals, campaigns
from campaign_model.testing.sample_campaigns import CENT, Tenant
from campaign_model.worker import run_worker
from support.tenants import execute, new_tenant
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


def list_pages(tenant: Tenant) -> list[UUID]:
    """Return the ids of all campaigns, read page by page."""
    ids, after = [], None
    while True:
        page = tenant.transact(lambda store: store.campaigns.list(limit=1, after=after))  # noqa: B023
        ids += [campaign.id for campaign in page.items]
        after = page.next
        if after is None:
            return ids


def test_a_campaign_with_odd_times_is_listed_reported_and_generated(tenant: Tenant) -> None:
    good = tenant.campaign(contacts=1)
    odd_ids = []
    for value in TIMES[tenant.engine.dialect.name]:
        odd_ids.append(odd := tenant.campaign(Status.GENERATING, contacts=1).id)
        write_times(tenant, campaigns, odd, value)
        campaign = tenant.transact(lambda store: store.campaigns.get(odd))
        assert {repair.code for repair in campaign.repairs} == {"time_out_of_range"}
        assert len(campaign.repairs) == 4
        assert tenant.progress(odd).total == 1
        assert odd in {one.campaign_id for one in db.generating(tenant.engine)}
        assert run_worker(tenant.engine, tenant.id, odd, lambda _: Generated(CENT)).completed
        write_times(tenant, campaign_contacts, odd, value)
        assert len(tenant.campaign_contacts(odd)) == 1
        write_times(tenant, campaigns, odd, value)
        assert sorted(list_pages(tenant)) == sorted([good.id, *odd_ids])
        # Two campaigns with the same odd time could not be told apart by a page.
        tenant.apply(odd, Action.REQUEST_CHANGES, Action.RETURN_TO_DRAFT, Action.DELETE)
        odd_ids.pop()


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
