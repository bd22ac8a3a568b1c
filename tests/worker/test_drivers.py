"""Workers and exporters with psycopg2, and with one connection for all threads.

All other tests of workers use psycopg.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from campaign_model import db
from campaign_model.claims import Generated, Outcome
from campaign_model.guards import ReviewTally
from campaign_model.lifecycle import Action, Status
from campaign_model.testing.sample_campaigns import CENT, Tenant
from campaign_model.worker import Task, WorkerStop, run_export, run_worker
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


def test_threads_take_turns_on_one_connection() -> None:
    """A database in memory has one connection for all threads."""
    engine = sa.create_engine(
        "sqlite://", poolclass=sa.StaticPool, connect_args={"check_same_thread": False}
    )
    db.init(db.prepare_engine(engine), with_host_tables=True)
    tenant = new_tenant(engine)
    campaign = tenant.campaign(Status.GENERATING, contacts=40)

    def generate(task: Task) -> Outcome:
        task.checkpoint(CENT)
        task.checkpoint(CENT)
        return Generated(Decimal(0))

    report = run_worker(engine, tenant.id, campaign.id, generate, concurrency=8)
    assert (report.stop, report.failures) == (WorkerStop.DRAINED, {})
    assert tenant.progress(campaign.id).spent == 80 * CENT
    tenant.check_totals(campaign.id)
    engine.dispose()
