"""Mixed load: many workers make random calls on one campaign.

``nox -s mixed_load -- --minutes 60`` runs it on a server of its own. No call is retried, so the
first deadlock or other database error ends the run. Wrong totals end it as well: the workers
compare them with the contacts all the time.
"""

from __future__ import annotations

import argparse
import math
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID, uuid5

import attrs
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from campaign_model import db
from campaign_model.claims import (
    Claim,
    Cursor,
    Failed,
    Generated,
    NotReady,
    Outcome,
    Recorded,
    Unfinished,
)
from campaign_model.errors import Conflict, LeaseLost, TransitionNotAllowed
from campaign_model.lifecycle import Action, Status
from campaign_model.store import CampaignStore, transact
from campaign_model.store.connection import sqlstate
from campaign_model.store.tables import campaign_contacts
from campaign_model.testing.sample_campaigns import CENT, LEASE, Tenant
from campaign_model.testing.totals_check import find_wrong_totals
from support import servers
from support.tenants import HOST, message_values, new_tenant

ALREADY_EXPIRED = timedelta(microseconds=1)
CONTACTS = 60
WORKERS = 8
LOCK_NOT_AVAILABLE = "55P03"
REMEMBERED_CLAIMS = 30
"""The claims that a worker remembers, to report on them late."""

MOVES = {
    Action.START_GENERATION: 8,
    Action.REQUEST_CHANGES: 8,
    Action.MARK_READY: 8,
    Action.CANCEL_GENERATION: 1,
    Action.COMPLETE_GENERATION: 1,
    Action.SUBMIT_FOR_REVIEW: 1,
    Action.RETURN_TO_DRAFT: 2,
}
"""Moves and their weights. The campaign is generating most of the time."""

OUTCOMES: tuple[Outcome, ...] = (
    Generated(CENT),
    Generated(None),
    Failed("no", "no", CENT),
    NotReady(("email",)),
    Unfinished(),
    Unfinished(timedelta(milliseconds=1), cost=CENT),
)


@attrs.define
class Worker:
    """A worker that makes random calls."""

    tenant_id: UUID
    campaign_id: UUID
    contacts: list[UUID]
    rng: random.Random
    cursor: Cursor = attrs.field(factory=Cursor)
    claims: list[Claim] = attrs.field(factory=list)

    def claim(self, store: CampaignStore) -> None:
        """Claim some contacts, sometimes with a lease that expires at once."""
        lease = self.rng.choice([LEASE, ALREADY_EXPIRED])
        limit = self.rng.randrange(1, 10)
        batch = store.generation.claim(
            self.campaign_id, limit, lease, reserve=CENT, cursor=self.cursor, max_attempts=1000
        )
        self.cursor = batch.cursor
        self.claims = [*self.claims, *batch.claims][-REMEMBERED_CLAIMS:]

    def record(self, store: CampaignStore) -> None:
        """Record outcomes of claims, some of them lost, and write messages for applied ones."""
        outcomes = {claim: self.rng.choice(OUTCOMES) for claim in self._some_claims()}
        on_lost: Any = self.rng.choice(["raise", "skip", "book"])
        answers = store.generation.record(outcomes, on_lost=on_lost)
        applied = [claim for claim, answer in answers.items() if answer is Recorded.APPLIED]
        self._write(store.connection, applied)

    def checkpoint(self, store: CampaignStore) -> None:
        """Book the cost of a call and write its message."""
        for claim in self._some_claims()[:1]:
            store.generation.checkpoint(claim, CENT)
            self._write(store.connection, [claim])

    def renew(self, store: CampaignStore) -> None:
        """Renew leases, some of them lost."""
        if claims := self._some_claims():
            store.generation.renew(claims, LEASE)

    def release(self, store: CampaignStore) -> None:
        """Give some contacts back."""
        store.generation.release(self._some_claims())

    def retry(self, store: CampaignStore) -> None:
        """Retry all failed contacts, or some."""
        store.generation.retry_failed(self.campaign_id, self._some_contacts_or_none())

    def regenerate(self, store: CampaignStore) -> None:
        """Regenerate all contacts, or some, or only stale ones."""
        store.generation.regenerate(
            self.campaign_id, self._some_contacts_or_none(), only_stale=self._sometimes()
        )

    def assign(self, store: CampaignStore) -> None:
        """Assign contacts, many of which are assigned already."""
        store.contacts.assign(
            self.campaign_id, [(one, self.rng.randrange(3)) for one in self._some_contacts()]
        )

    def remove(self, store: CampaignStore) -> None:
        """Remove some contacts."""
        store.contacts.remove(self.campaign_id, self._some_contacts())

    def exclude(self, store: CampaignStore) -> None:
        """Exclude some contacts, in flight or not."""
        store.contacts.exclude(self.campaign_id, self._some_contacts())

    def include(self, store: CampaignStore) -> None:
        """Include all contacts."""
        store.contacts.include(self.campaign_id, self.contacts)

    def set_readiness(self, store: CampaignStore) -> None:
        """Write gaps for some contacts, and no gaps for the others."""
        gaps: dict[UUID, list[str]] = {one: [] for one in self.contacts}
        store.contacts.set_readiness(
            self.campaign_id, gaps | {one: ["email"] for one in self._some_contacts()}
        )

    def erase(self, store: CampaignStore) -> None:
        """Erase a contact, with or without its messages."""
        ids = self._some_contacts()[:1]
        messages = sa.delete(HOST.messages).where(HOST.messages.c.contact_id.in_(ids))
        store.contacts.erase(
            ids,
            delete_messages=lambda connection: self._sometimes() and connection.execute(messages),
        )

    def move(self, store: CampaignStore) -> None:
        """Move the campaign."""
        (action,) = self.rng.choices([*MOVES], [*MOVES.values()])
        store.campaigns.apply(self.campaign_id, action)

    def edit(self, store: CampaignStore) -> None:
        """Edit the steps or the budget."""
        campaign = store.campaigns.get(self.campaign_id)
        if self._sometimes():
            first = campaign.steps.steps[0]
            steps = campaign.steps.update(first.key or "s1", needs_pdf=not first.needs_pdf)
            store.campaigns.save(attrs.evolve(campaign, steps=steps))
        else:
            budget = self.rng.choice([None, Decimal(100), Decimal(1_000_000)])
            config = attrs.evolve(campaign.generation_config, budget=budget)
            store.campaigns.save(attrs.evolve(campaign, generation_config=config))

    def progress(self, store: CampaignStore) -> None:
        """Compare progress, totals and contacts, all under one snapshot."""
        progress = store.generation.progress(self.campaign_id)
        wrong_totals = find_wrong_totals(store.connection, [self.tenant_id], [self.campaign_id])
        assert not wrong_totals, wrong_totals
        contacts = campaign_contacts.c
        assigned = sa.select(sa.func.count()).where(contacts.campaign_id == self.campaign_id)
        assert progress.assigned == store.connection.scalar(assigned)

    def _sometimes(self) -> bool:
        return self.rng.random() < 0.3

    def _some_claims(self) -> list[Claim]:
        return self.rng.sample(self.claims, min(len(self.claims), self.rng.randrange(10)))

    def _some_contacts(self) -> list[UUID]:
        return self.rng.sample(self.contacts, self.rng.randrange(1, 10))

    def _some_contacts_or_none(self) -> list[UUID] | None:
        return self._some_contacts() if self._sometimes() else None

    def _write(self, connection: sa.Connection, claims: list[Claim]) -> None:
        """Insert rows of the host that refer to the contacts. Some exist already."""
        rows = [
            message_values(self.tenant_id, claim)
            | {"id": uuid5(claim.id, str(self.rng.randrange(3)))}
            for claim in sorted(claims, key=lambda claim: claim.id)
        ]
        if rows:
            dialect = {"postgresql": postgresql, "sqlite": sqlite}[connection.dialect.name]
            insert: Any = dialect.insert(HOST.messages)
            connection.execute(insert.on_conflict_do_nothing(), rows)


CALLS = {
    Worker.claim: 20,
    Worker.record: 20,
    Worker.checkpoint: 10,
    Worker.renew: 5,
    Worker.release: 2,
    Worker.progress: 5,
    Worker.move: 10,
    Worker.edit: 3,
    Worker.retry: 3,
    Worker.regenerate: 3,
    Worker.assign: 5,
    Worker.remove: 2,
    Worker.exclude: 2,
    Worker.include: 2,
    Worker.set_readiness: 2,
    Worker.erase: 2,
}
"""The calls of a worker and their weights."""


@contextmanager
def detecting_deadlocks_soon(engine: sa.Engine) -> Iterator[sa.Engine]:
    """Make an engine on the same database where PostgreSQL detects deadlocks after 10 ms."""
    if engine.dialect.name == "sqlite":
        yield engine
        return
    options = {"options": "-c deadlock_timeout=10ms"}
    fast_engine = sa.create_engine(engine.url, pool_size=WORKERS, connect_args=options)
    try:
        yield fast_engine
    finally:
        fast_engine.dispose()


def run(
    tenant: Tenant,
    seed: int,
    *,
    calls: float = math.inf,
    seconds: float = math.inf,
    rest: float = 0,
) -> tuple[Counter[str], Counter[str]]:
    """Run the workers; return how often each call succeeded and how often it was refused.

    Each worker stops after its part of ``calls``, or when ``seconds`` are over. In each second, all
    workers pause together for ``rest`` seconds. Pauses at different times would make the workers
    meet less often.
    """
    contacts = tenant.contacts(CONTACTS)
    campaign = tenant.campaign(Status.GENERATING, contacts=contacts)
    one_snapshot = tenant.engine
    if one_snapshot.dialect.name == "postgresql":
        one_snapshot = one_snapshot.execution_options(isolation_level="REPEATABLE READ")
    start, stop = time.monotonic(), threading.Event()
    succeeded: Counter[str] = Counter()
    refused: Counter[str] = Counter()

    def work(number: int) -> None:
        rng = random.Random(f"{seed} {number}")
        worker = Worker(tenant.id, campaign.id, contacts, rng)
        made = 0
        while made < calls / WORKERS and time.monotonic() < start + seconds and not stop.is_set():
            made += 1
            (call,) = rng.choices([*CALLS], [*CALLS.values()])
            engine = one_snapshot if call is Worker.progress else tenant.engine
            try:
                transact(engine, tenant.id, partial(call, worker), attempts=1)
                succeeded[call.__name__] += 1
            except (TransitionNotAllowed, LeaseLost, Conflict):
                refused[call.__name__] += 1
            except sa.exc.OperationalError as error:
                # A late result does not wait for a lock while it holds one.
                if sqlstate(error) != LOCK_NOT_AVAILABLE:
                    stop.set()
                    raise
                refused[call.__name__] += 1
            except BaseException:
                stop.set()
                raise
            stop.wait(max(0, rest - time.monotonic() % 1))

    with ThreadPoolExecutor(WORKERS) as pool:
        for working in [pool.submit(work, number) for number in range(WORKERS)]:
            working.result()
    tenant.check_totals(campaign.id)
    return succeeded, refused


def main() -> None:
    """Run the load on a server of its own and print how often each call was made."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--engine", default=servers.available()[-1])
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    options = parser.parse_args()
    print(f"seed: {options.seed}", flush=True)
    with servers.open_directory() as directory:
        engine = sa.create_engine(
            servers.Databases(directory).create(options.engine), poolclass=sa.NullPool
        )
        db.init(engine, with_host_tables=True)
        with detecting_deadlocks_soon(engine) as fast_engine:
            succeeded, refused = run(
                new_tenant(fast_engine), options.seed, seconds=60 * options.minutes
            )
    for name, number in succeeded.most_common():
        print(f"{number:>9} x {name}, and {refused[name]} refused")
    print(f"mixed load: {succeeded.total()} calls in {options.minutes:g} minutes, no deadlock")


if __name__ == "__main__":
    main()
