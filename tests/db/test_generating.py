"""``db.generating``: the campaigns that need a worker, across all tenants."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal

import sqlalchemy as sa

from campaign_model import db
from campaign_model.claims import Claim, Failed, Generated, Outcome
from campaign_model.lifecycle import Status
from campaign_model.testing.sample_campaigns import Tenant
from campaign_model.worker import run_worker
from support.drivers import new_async_engine
from support.tenants import generate_all, new_tenant
from support.transactions import recorded_statements

COST = Decimal("0.00144")


def list_generating(*tenants: Tenant) -> list[db.Generating]:
    """List the campaigns of these tenants only: other tests use the same database."""
    tenant_ids = {tenant.id for tenant in tenants}
    return [
        generating
        for generating in db.generating(tenants[0].engine)
        if generating.tenant_id in tenant_ids
    ]


def test_generating_campaigns_of_all_tenants_are_listed_the_longest_running_first(
    tenant: Tenant,
) -> None:
    other = new_tenant(tenant.engine)
    running = []
    for status in Status:
        for one in (tenant, other):
            campaign = one.campaign(status, contacts=2)
            if status is Status.GENERATING:
                running.append(db.Generating(one.id, campaign.id, waiting=2, in_flight=0))
    assert list_generating(tenant, other) == running


def test_a_database_is_set_up_and_listed_with_an_async_engine(
    engine_name: str, new_database: Callable[[str], str]
) -> None:
    async def main() -> tuple[db.Generating, ...]:
        engine = new_async_engine(sa.make_url(new_database(engine_name)))
        async with engine.connect() as connection:
            report = await connection.run_sync(
                lambda connection: db.init(connection.engine, with_host_tables=True)
            )
            assert len(report.inserted) == 3
            generating = await connection.run_sync(db.generating)
        await engine.dispose()
        return generating

    assert asyncio.run(main()) == ()


def test_waiting_contacts_and_contacts_in_flight_are_counted(tenant: Tenant) -> None:
    ids = tenant.contacts(10)
    campaign = tenant.campaign(Status.GENERATING, contacts=ids)

    def counts() -> tuple[int, int]:
        (generating,) = list_generating(tenant)
        return generating.waiting, generating.in_flight

    claims = tenant.claim(campaign.id, 4)
    assert counts() == (6, 4)
    outcomes: dict[Claim, Outcome] = {
        claims[0]: Generated(COST),
        claims[1]: Failed("no", "no", COST),
    }
    tenant.record(outcomes)
    assert counts() == (6, 2)
    excluded = [claims[2].contact_id, *(set(ids) - {claim.contact_id for claim in claims})][:2]
    tenant.transact(lambda store: store.contacts.exclude(campaign.id, excluded))
    assert counts() == (5, 1)


def test_a_campaign_that_only_has_to_be_completed_is_listed(tenant: Tenant) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=1)
    # A worker that dies after its last record leaves a campaign in this state.
    generate_all(tenant, campaign.id)
    (generating,) = list_generating(tenant)
    assert (generating.waiting, generating.in_flight) == (0, 0)
    report = run_worker(
        tenant.engine,
        generating.tenant_id,
        generating.campaign_id,
        lambda _task: Generated(COST),
        wait=False,
    )
    assert report.completed
    assert list_generating(tenant) == []


def test_the_query_reads_only_generating_campaigns(tenant: Tenant) -> None:
    postgresql = tenant.engine.dialect.name == "postgresql"
    with recorded_statements(tenant.engine) as statements:
        db.generating(tenant.engine)
    query, parameters = statements[-1]
    with tenant.engine.connect() as connection:
        if postgresql:
            # PostgreSQL reads a small table as a whole, unless it is told not to.
            connection.execute(sa.text("SET LOCAL enable_seqscan = off"))
        explain = "EXPLAIN" if postgresql else "EXPLAIN QUERY PLAN"
        plan = connection.exec_driver_sql(f"{explain} {query}", parameters).all()
    assert "ix_campaigns_running" in str(plan)
