"""Claims and records of parallel workers, against the same statements sent with psycopg."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from functools import partial
from multiprocessing.connection import Connection
from statistics import median
from uuid import UUID

import sqlalchemy as sa

from benchmarks import by_hand, queues
from benchmarks.harness import Bench, Pair, Row, Span, in_turns, seconds
from campaign_model.claims import Claim, Cursor, Generated
from campaign_model.lifecycle import ContactStatus, Status
from campaign_model.store import transact
from campaign_model.testing.sample_campaigns import make_campaign
from support import servers
from support.tenants import new_tenant

LEASE = timedelta(minutes=5)
COST = Decimal("0.00144")
_spawn = multiprocessing.get_context("spawn")


def drain(connection: sa.Connection, tenant_id: UUID, campaign_id: UUID, batch: int) -> None:
    """Claim and record with the library until nothing is left."""
    cursor = Cursor()
    while True:
        found = transact(
            connection,
            tenant_id,
            lambda store: store.generation.claim(campaign_id, batch, LEASE, cursor=cursor),  # noqa: B023
        )
        cursor = found.cursor
        if not found.claims:
            return
        outcomes = dict.fromkeys(found.claims, Generated(COST))
        transact(connection, tenant_id, lambda store: store.generation.record(outcomes))  # noqa: B023


def work(url: str, tenant_id: UUID, pipe: Connection) -> None:
    """Run the jobs that the parent process sends. ``None`` ends this process."""
    plain = servers.plain(url)
    engine = sa.create_engine(url)
    with engine.connect() as ours, by_hand.connect(plain) as connection:
        pipe.send(None)
        while job := pipe.recv():
            way, campaign_id, batch = job
            begun = time.monotonic()
            if way == "ours":
                drain(ours, tenant_id, campaign_id, batch)
            elif way == "by hand":
                by_hand.drain(connection, tenant_id, campaign_id, batch)
            else:
                pipe.send(queues.work(way, plain, batch))
                continue
            pipe.send((begun, time.monotonic()))


@contextmanager
def processes(number: int, url: str, tenant_id: UUID) -> Iterator[list[Connection]]:
    """Start ``number`` processes of :func:`work`. Yield their pipes once all are connected."""
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


def used(engine: sa.Engine) -> None:
    """Fill a database with generated campaigns, so that the planner has statistics."""
    tenant = new_tenant(engine)
    contacts = tenant.contacts(1_000)
    for _ in range(20):
        tenant.transact(lambda store: make_campaign(store, contacts, Status.REVIEW))


def claim_and_record(bench: Bench, *, than: str, batch: int, workers: int) -> Iterator[Pair]:
    """Yield contacts per second of the library and by hand, or jobs per second of a queue."""
    number = {1: 600, 10: 4_000, 100: 16_000}[batch] * (1 if workers == 1 else 2)
    if than in QUEUES:
        number //= 2  # By hand, the last claims of each worker would count too much.
    number //= 4 if bench.quick else 1
    engine = sa.create_engine(bench.database("used", used))
    tenant = new_tenant(engine)
    contacts = tenant.contacts(number)
    url = engine.url.render_as_string(hide_password=False)
    with processes(workers, url, tenant.id) as pipes:

        def rate(way: str) -> float:
            if way in QUEUES:
                count = number // QUEUES[way]
                queues.enqueue(way, servers.plain(url), count)
                id_ = None
            else:
                count = number
                id_ = tenant.transact(
                    lambda store: make_campaign(store, contacts, Status.GENERATING)
                ).id
            for pipe in pipes:
                pipe.send((way, id_, batch))
            spans: list[Span] = [pipe.recv() for pipe in pipes]
            begun, ended = zip(*filter(None, spans), strict=True)
            lasted: float = max(ended) - min(begun)
            return count / lasted

        pairs = 3 if bench.quick else 9
        yield from in_turns(partial(rate, "ours"), partial(rate, than), pairs)
    engine.dispose()


def drained(bench: Bench) -> Iterator[Pair]:
    """Yield the seconds of a claim of ten contacts when 95% are generated, and when 5% are.

    Each claim starts from the cursor of the one before, as in a worker. An open snapshot prevents
    vacuum from removing the old row versions.
    """
    number = 40_000 if bench.quick else 1_000_000
    engine = sa.create_engine(bench.database())
    tenant = new_tenant(engine)
    campaign = tenant.campaign(Status.GENERATING, contacts=number)
    cursor = Cursor()

    def claim(limit: int) -> tuple[Claim, ...]:
        nonlocal cursor
        batch = tenant.transact(
            lambda store: store.generation.claim(campaign.id, limit, LEASE, cursor=cursor)
        )
        cursor = batch.cursor
        assert len(batch.claims) == limit
        return batch.claims

    def go_on_until(share: float) -> float:
        done = tenant.progress(campaign.id)
        left = int(number * share) - done.by_status[ContactStatus.GENERATED]
        for limit in [*[1_000] * (left // 1_000), left % 1_000]:
            if limit:
                outcomes = dict.fromkeys(claim(limit), Generated(COST))
                tenant.record(outcomes)
        return median(seconds(lambda: claim(10)) for _ in range(51))

    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as onlooker:
        onlooker.execute(sa.text("SELECT count(*) FROM campaigns"))
        early = go_on_until(0.05)
        yield go_on_until(0.95), early
    engine.dispose()


QUEUES = {"pgqueuer": 2, "procrastinate": 8}
"""Divisors of the number of jobs: slower queues get fewer jobs. The figure is jobs per second."""

SIDE_BY_SIDE = [(batch, workers) for batch in (1, 10, 100) for workers in (1, 4, 8)]


def _row(than: str, yardstick: str, at_least: float | None, batch: int, workers: int) -> Row:
    return Row(
        f"claim + record, batches of {batch}, {workers} worker{'s' if workers > 1 else ''}",
        f"{yardstick}, finished a second",
        partial(claim_and_record, than=than, batch=batch, workers=workers),
        at_least=at_least,
        long=(batch, workers) != (10, 1),
    )


BY_HAND = {1: 0.75, 10: 0.8, 100: 0.85}
"""The least ratio to psycopg by hand, by the size of a batch."""


def _figure(queue: str, batch: int, workers: int) -> float | None:
    """Return the least ratio to a queue, or ``None`` where the library need not be faster.

    A job of pgqueuer takes two round trips, a contact six. That matters for a single worker.
    """
    return None if queue == "pgqueuer" and workers == 1 and batch < 100 else 1


ROWS = [
    *(
        _row("by hand", "the same statements by hand in psycopg", BY_HAND[batch], batch, workers)
        for batch, workers in SIDE_BY_SIDE
    ),
    Row(
        "claim at 95 % drained, 1,000,000 contacts, an old snapshot held open",
        "claim at 5 %",
        drained,
        at_most=1.5,
    ),
    *(
        _row(queue, f"no-op jobs of {queue}", _figure(queue, batch, workers), batch, workers)
        for queue in QUEUES
        for batch, workers in SIDE_BY_SIDE
    ),
]
