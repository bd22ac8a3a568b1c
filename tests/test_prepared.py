"""Statements that go past Core: they are what Core would send, and the driver remembers them."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Iterator
from decimal import Decimal
from importlib import import_module
from typing import Any

import attrs
import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import psycopg

from campaign_model import store as parts
from campaign_model.errors import LeaseLost
from campaign_model.generation import Claim, Failed, Generated, Outcome, Recorded
from campaign_model.lifecycle import Status
from campaign_model.store import CampaignStore
from campaign_model.store.prepared import Prepared
from parallel import on_postgresql
from world import LEASE, World

REMEMBERED = 4096
"""Characters: longer ones psycopg takes apart each time."""


def found(value: Any) -> Iterator[Prepared]:
    if isinstance(value, Prepared):
        yield value
    elif isinstance(value, dict):
        yield from found((*value.values(),))
    elif isinstance(value, tuple):
        for one in value:
            yield from found(one)


PREPARED = {
    (module.name, name, place): prepared
    for module in pkgutil.iter_modules(parts.__path__, "campaign_model.store.")
    for name, value in vars(import_module(module.name)).items()
    for place, prepared in enumerate(found(value))
}


def test_all_of_them_are_looked_at() -> None:
    assert len({*PREPARED.values()}) >= 6


@pytest.mark.parametrize("prepared", PREPARED.values(), ids=map(str, PREPARED))
def test_the_driver_remembers_them(prepared: Prepared) -> None:
    assert len(prepared._text) <= REMEMBERED


@pytest.mark.parametrize("prepared", PREPARED.values(), ids=map(str, PREPARED))
def test_all_that_they_take_is_given(prepared: Prepared) -> None:
    binds = prepared.statement.compile(dialect=psycopg.dialect()).binds  # type: ignore[no-untyped-call]
    assert [name for name, bind in binds.items() if not bind.required] == []


def reports(world: World) -> tuple[object, ...]:
    """What three claims of four contacts come to."""
    campaign = world.campaign(4, Status.GENERATING)
    claims = world.claim(campaign.id, 3)
    world.transact(lambda store: store.generation.checkpoint(claims[0], Decimal("0.1")))
    renewal = world.transact(lambda store: store.generation.renew(claims, LEASE))
    outcomes: dict[Claim, Outcome] = {
        claims[0]: Generated(Decimal("0.2")),
        claims[1]: Failed("odd", "it's odd: ☃", None),
    }
    answers = world.transact(lambda store: store.generation.record(outcomes))
    with pytest.raises(LeaseLost):
        world.transact(lambda store: store.generation.checkpoint(claims[0], Decimal(1)))
    progress = world.transact(lambda store: store.generation.progress(campaign.id))
    return [*answers.values()], renewal.lost, progress.by_status, progress.spent


@on_postgresql
def test_another_driver_gets_them_from_core(engine: sa.Engine) -> None:
    """Psycopg under another name: what is done, and what comes of it, is the same."""
    other = sa.create_engine(engine.url)
    other.dialect.driver = "another"
    answers, _, _, spent = here = reports(World(engine))
    assert (answers, spent) == ([Recorded.APPLIED] * 2, Decimal("0.3"))
    assert reports(World(other)) == here
    other.dispose()


@on_postgresql
def test_they_go_to_the_schema_that_the_others_go_to(engine: sa.Engine) -> None:
    world = World(engine)
    campaign = world.campaign(1, Status.GENERATING)
    elsewhere = engine.execution_options(schema_translate_map={None: "elsewhere"})
    with elsewhere.connect() as connection:
        store = CampaignStore(connection, world.tenant_id)
        with pytest.raises(sa.exc.ProgrammingError, match=r"elsewhere\.campaigns"):
            store.generation.claim(campaign.id, 1, LEASE)


def test_what_is_no_id_is_refused_before_it_is_sent(world: World) -> None:
    campaign = world.campaign(1, Status.GENERATING)
    (claim,) = world.claim(campaign.id)
    odd = attrs.evolve(claim, id=str(claim.id))  # type: ignore[arg-type]
    calls: list[Callable[[CampaignStore], object]] = [
        lambda store: store.generation.record({odd: Generated(None)}),
        lambda store: store.generation.renew([odd], LEASE),
        lambda store: store.generation.checkpoint(odd, None),
    ]
    with world.engine.begin() as connection:
        store = CampaignStore(connection, world.tenant_id)
        for call in calls:
            with pytest.raises(TypeError, match="an id is a uuid"):
                call(store)
        # Nothing was sent that would have spoiled the transaction.
        assert store.generation.record({claim: Generated(None)}) == {claim: Recorded.APPLIED}
