"""Workers and exporters with psycopg2. All other tests of workers use psycopg."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from campaign_model.guards import ReviewTally
from campaign_model.lifecycle import Action, Status
from campaign_model.testing.sample_campaigns import Tenant
from campaign_model.worker import run_export
from support.drivers import call_with_engine
from support.tenants import contact_rows, new_tenant
from support.transactions import on_postgresql
from support.workers import COST, FORMS, SLOTS, check_all_generated_once, resuming


@on_postgresql
@pytest.mark.parametrize("form", ["threads", "coroutines"])
def test_a_campaign_is_generated_and_exported_with_psycopg2(engine: sa.Engine, form: str) -> None:
    def generate_and_export(engine: sa.Engine) -> None:
        tenant: Tenant = new_tenant(engine)
        # With a budget, claims and checkpoints reserve and book money.
        campaign = tenant.campaign(Status.GENERATING, contacts=5, budget=Decimal(1))
        options: dict[str, Any] = {"concurrency": 2, "reserve": COST}
        report = FORMS[form](engine, tenant.id, campaign.id, resuming(tenant), **options)
        assert report.completed
        check_all_generated_once(tenant, campaign)

        review = ReviewTally(approved=5 * SLOTS, rejected=0, undecided=0)
        tenant.apply(campaign.id, Action.APPROVE, review=review)
        pushed = []
        run_export(engine, tenant.id, campaign.id, lambda task: pushed.append(task.contact_id))
        assert {*pushed} == contact_rows(tenant, campaign.id).keys()
        assert tenant.progress(campaign.id).exported == len(pushed) == 5

    call_with_engine(engine.url, "psycopg2", generate_and_export)
