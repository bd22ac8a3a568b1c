"""What is generating, across tenants."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from campaign_model import db
from campaign_model.claims import Claim, Failed, Generated, Outcome
from campaign_model.lifecycle import Status
from campaign_model.testing.sample_campaigns import Tenant
from campaign_model.worker import run_worker
from support.tenants import generate_all, new_tenant

COST = Decimal("0.00144")


def of(*worlds: Tenant) -> list[db.Generating]:
    """What is said of these tenants; others are in the database too."""
    tenants = {tenant.id for tenant in worlds}
    return [one for one in db.generating(worlds[0].engine) if one.tenant_id in tenants]


def test_it_lists_what_generates_of_every_tenant_the_longest_running_first(tenant: Tenant) -> None:
    other = new_tenant(tenant.engine)
    running = []
    for status in Status:
        for one in (tenant, other):
            campaign = one.campaign(status, contacts=2)
            if status is Status.GENERATING:
                running.append(db.Generating(one.id, campaign.id, waiting=2, in_flight=0))
    assert of(tenant, other) == running


def test_it_counts_who_waits_and_who_is_with_a_worker(tenant: Tenant) -> None:
    ids = tenant.contacts(10)
    campaign = tenant.campaign(Status.GENERATING, contacts=ids)

    def counts() -> tuple[int, int]:
        (one,) = of(tenant)
        return one.waiting, one.in_flight

    claims = tenant.claim(campaign.id, 4)
    assert counts() == (6, 4)
    outcomes: dict[Claim, Outcome] = {
        claims[0]: Generated(COST),
        claims[1]: Failed("no", "no", COST),
    }
    tenant.transact(lambda store: store.generation.record(outcomes))
    assert counts() == (6, 2)
    excluded = [claims[2].contact_id, *(set(ids) - {claim.contact_id for claim in claims})][:2]
    tenant.transact(lambda store: store.contacts.exclude(campaign.id, excluded))
    assert counts() == (5, 1)


def test_it_lists_what_only_has_to_be_completed(tenant: Tenant) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=1)
    # As a worker leaves it that dies after the last record.
    generate_all(tenant, campaign.id)
    (one,) = of(tenant)
    assert (one.waiting, one.in_flight) == (0, 0)
    report = run_worker(
        tenant.engine, one.tenant_id, one.campaign_id, lambda _task: Generated(COST), wait=False
    )
    assert report.completed
    assert of(tenant) == []


def test_it_looks_at_nothing_but_what_generates(tenant: Tenant) -> None:
    postgresql = tenant.engine.dialect.name == "postgresql"
    said: list[tuple[str, Any]] = []

    def note(_conn: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        said.append((statement, parameters))

    sa.event.listen(tenant.engine, "before_cursor_execute", note)
    db.generating(tenant.engine)
    sa.event.remove(tenant.engine, "before_cursor_execute", note)
    query, parameters = said[-1]
    with tenant.engine.connect() as connection:
        if postgresql:
            # Of few rows it would read all.
            connection.execute(sa.text("SET LOCAL enable_seqscan = off"))
        explain = "EXPLAIN" if postgresql else "EXPLAIN QUERY PLAN"
        plan = connection.exec_driver_sql(f"{explain} {query}", parameters).all()
    assert "ix_campaigns_running" in str(plan)
