"""Claims and records of workers side by side, against the same statements by hand in psycopg."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from functools import partial
from multiprocessing.connection import Connection
from uuid import UUID

import psycopg
import sqlalchemy as sa

from benchmarks import by_hand
from benchmarks.harness import Bench, Pair, Row, in_turns, seconds
from campaign_model.generation import Cursor, Generated
from campaign_model.lifecycle import Status
from campaign_model.store import transact
from campaign_model.testing.campaigns import make_campaign
from world import World

LEASE = timedelta(minutes=5)
COST = Decimal("0.00144")
_spawn = multiprocessing.get_context("spawn")


def drain(engine: sa.Engine, tenant_id: UUID, campaign_id: UUID, batch: int) -> None:
    """Claim and record until nothing is left: the library."""
    cursor = Cursor()
    while True:
        found = transact(
            engine,
            tenant_id,
            lambda store: store.generation.claim(campaign_id, batch, LEASE, cursor=cursor),  # noqa: B023
        )
        cursor = found.cursor
        if not found.claims:
            return
        outcomes = dict.fromkeys(found.claims, Generated(COST))
        transact(engine, tenant_id, lambda store: store.generation.record(outcomes))  # noqa: B023


def work(url: str, tenant_id: UUID, pipe: Connection) -> None:
    """Drain what the parent names, by the library or by hand, until it names nothing."""
    plain = sa.make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    engine = sa.create_engine(url)
    with engine.connect(), psycopg.connect(plain) as connection:
        pipe.send(None)
        while job := pipe.recv():
            ours, campaign_id, batch = job
            if ours:
                drain(engine, tenant_id, campaign_id, batch)
            else:
                by_hand.drain(connection, tenant_id, campaign_id, batch)
            pipe.send(None)


@contextmanager
def processes(number: int, url: str, tenant_id: UUID) -> Iterator[list[Connection]]:
    """So many workers, connected and waiting for a campaign to drain."""
    pipes, started = [], []
    for _ in range(number):
        pipe, end = _spawn.Pipe()
        started.append(_spawn.Process(target=work, args=(url, tenant_id, end), daemon=True))
        started[-1].start()
        end.close()
        pipes.append(pipe)
    for pipe in pipes:
        pipe.recv()
    yield pipes
    for pipe, process in zip(pipes, started, strict=True):
        pipe.send(None)
        process.join()


def claim_and_record(bench: Bench, *, batch: int, workers: int) -> Iterator[Pair]:
    """Contacts a second, ours and by hand."""
    number = {1: 600, 10: 4_000, 100: 16_000}[batch] * (1 if workers == 1 else 2)
    engine = sa.create_engine(bench.database())
    world = World(engine)
    contacts = world.contacts(number)
    url = engine.url.render_as_string(hide_password=False)
    with processes(workers, url, world.tenant_id) as pipes:

        def rate(ours: bool) -> float:  # noqa: FBT001
            campaign = world.transact(
                lambda store: make_campaign(store, contacts, Status.GENERATING)
            )

            def drained() -> None:
                for pipe in pipes:
                    pipe.send((ours, campaign.id, batch))
                for pipe in pipes:
                    pipe.recv()

            return number / seconds(drained)

        yield from in_turns(partial(rate, True), partial(rate, False), 3 if bench.quick else 9)
    engine.dispose()


ROWS = [
    Row(
        f"claim + record, batches of {batch}, {workers} worker{'s' if workers > 1 else ''}",
        "the same statements by hand in psycopg, contacts/s",
        partial(claim_and_record, batch=batch, workers=workers),
        at_least=0.8 if batch == 1 else 0.85,
    )
    for batch in (1, 10, 100)
    for workers in (1, 4, 8)
]
