"""What is generating, across tenants."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from campaign_model import db
from campaign_model.claims import Claim, Failed, Generated, Outcome
from campaign_model.lifecycle import Status
from campaign_model.worker import run_worker
from support.world import World

COST = Decimal("0.00144")


def of(*worlds: World) -> list[db.Generating]:
    """What is said of these tenants; others are in the database too."""
    tenants = {world.tenant_id for world in worlds}
    return [one for one in db.generating(worlds[0].engine) if one.tenant_id in tenants]


def test_it_lists_what_generates_of_every_tenant_the_longest_running_first(world: World) -> None:
    other = World(world.engine)
    running = []
    for status in Status:
        for one in (world, other):
            campaign = one.campaign(2, status)
            if status is Status.GENERATING:
                running.append(db.Generating(one.tenant_id, campaign.id, waiting=2, in_flight=0))
    assert of(world, other) == running


def test_it_counts_who_waits_and_who_is_with_a_worker(world: World) -> None:
    ids = world.contacts(10)
    campaign = world.campaign(ids, Status.GENERATING)

    def counts() -> tuple[int, int]:
        (one,) = of(world)
        return one.waiting, one.in_flight

    claims = world.claim(campaign.id, 4)
    assert counts() == (6, 4)
    outcomes: dict[Claim, Outcome] = {
        claims[0]: Generated(COST),
        claims[1]: Failed("no", "no", COST),
    }
    world.transact(lambda store: store.generation.record(outcomes))
    assert counts() == (6, 2)
    excluded = [claims[2].contact_id, *(set(ids) - {claim.contact_id for claim in claims})][:2]
    world.transact(lambda store: store.contacts.exclude(campaign.id, excluded))
    assert counts() == (5, 1)


def test_it_lists_what_only_has_to_be_completed(world: World) -> None:
    campaign = world.campaign(1, Status.GENERATING)
    # As a worker leaves it that dies after the last record.
    world.generate(campaign.id)
    (one,) = of(world)
    assert (one.waiting, one.in_flight) == (0, 0)
    report = run_worker(
        world.engine, one.tenant_id, one.campaign_id, lambda _task: Generated(COST), wait=False
    )
    assert report.completed
    assert of(world) == []


def test_it_looks_at_nothing_but_what_generates(world: World) -> None:
    postgresql = world.engine.dialect.name == "postgresql"
    said: list[tuple[str, Any]] = []

    def note(_conn: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        said.append((statement, parameters))

    sa.event.listen(world.engine, "before_cursor_execute", note)
    db.generating(world.engine)
    sa.event.remove(world.engine, "before_cursor_execute", note)
    query, parameters = said[-1]
    with world.engine.connect() as connection:
        if postgresql:
            # Of few rows it would read all.
            connection.execute(sa.text("SET LOCAL enable_seqscan = off"))
        explain = "EXPLAIN" if postgresql else "EXPLAIN QUERY PLAN"
        plan = connection.exec_driver_sql(f"{explain} {query}", parameters).all()
    assert "ix_campaigns_running" in str(plan)
