"""Writes of the library in a database with the transition guard, against one without it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import sqlalchemy as sa

from benchmarks.generation import drain
from benchmarks.harness import Bench, Pair, Row, in_turns
from campaign_model import db
from campaign_model.lifecycle import Action
from campaign_model.store import CampaignStore, transact
from campaign_model.testing.sample_campaigns import Tenant, make_campaign
from support.tenants import new_tenant

Work = Callable[[Tenant], float]


def processor_seconds(connection: sa.Connection, work: Callable[[], object]) -> float:
    """Measure the processor time of ``work`` in this process, and in the server's for it.

    Processor time, because other processes disturb such small differences.
    """
    pids = [os.getpid()]
    if connection.dialect.name == "postgresql":
        pids.append(connection.scalar(sa.text("SELECT pg_backend_pid()")))
        connection.rollback()

    def used() -> int:
        return sum(int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) for pid in pids)

    begun = used()
    work()
    return (used() - begun) / 1e9


def claim_and_record(tenant: Tenant, *, batch: int) -> float:
    """Measure how long one worker takes for ten batches of a new campaign."""
    contacts = tenant.contacts(batch * 10)
    campaign = tenant.transact(lambda store: make_campaign(store, contacts, "generating"))
    with tenant.engine.connect() as connection:
        transact(connection, tenant.id, lambda store: store.campaigns.get(campaign.id))
        return processor_seconds(
            connection, partial(drain, connection, tenant.id, campaign.id, batch)
        )


def assign(tenant: Tenant) -> float:
    """Measure how long the assignment of 2,000 contacts takes."""
    campaign = tenant.campaign(contacts=0)
    contacts = tenant.contacts(2_000)

    def add(store: CampaignStore) -> None:
        store.contacts.assign(campaign.id, contacts)

    with tenant.engine.connect() as connection:
        return processor_seconds(connection, lambda: transact(connection, tenant.id, add))


def apply(tenant: Tenant) -> float:
    """Measure twenty changes of a campaign's status."""
    campaign = tenant.campaign(contacts=10)
    moves = (Action.MARK_READY, Action.START_GENERATION, Action.CANCEL_GENERATION)

    def move(store: CampaignStore) -> None:
        for action in (*moves, Action.RETURN_TO_DRAFT):
            store.campaigns.apply(campaign.id, action)

    with tenant.engine.connect() as connection:

        def move_around() -> None:
            for _ in range(5):
                transact(connection, tenant.id, move)

        return processor_seconds(connection, move_around)


def with_and_without(bench: Bench, *, work: Work, on_sqlite: bool) -> Iterator[Pair]:
    """Yield the seconds of ``work`` with the guard, and without it."""
    tenants = []
    with TemporaryDirectory() as directory:
        for name in ("guarded", "plain"):
            url = f"sqlite:///{directory}/{name}.db" if on_sqlite else bench.database()
            engine = db.prepare_engine(sa.create_engine(url))
            db.init(engine, with_host_tables=True)
            if name == "guarded":
                with engine.begin() as connection:
                    db.install_guard(connection)
            tenants.append(new_tenant(engine))
        guarded, plain = (partial(work, tenant) for tenant in tenants)
        guarded()
        plain()
        yield from in_turns(guarded, plain, 9 if bench.quick else 101)
        for tenant in tenants:
            tenant.engine.dispose()


_WORKS: tuple[tuple[str, Work], ...] = (
    *(
        (f"claim + record, batches of {batch}", partial(claim_and_record, batch=batch))
        for batch in (1, 10, 100)
    ),
    ("assign 2,000 contacts", assign),
    ("changes of the status", apply),
)

ROWS = [
    Row(
        f"{name} with the transition guard, {'SQLite' if on_sqlite else 'PostgreSQL'}",
        "the same without the guard, in processor time",
        partial(with_and_without, work=work, on_sqlite=on_sqlite),
        at_most=1.05,
    )
    for on_sqlite, (name, work) in product((False, True), _WORKS)
]
