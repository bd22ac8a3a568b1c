"""Everything that may be done to one campaign, by many at once, for as long as is asked.

``nox -s mixed_load -- --minutes 60`` runs it on a server of its own. No call is tried again: the
first deadlock, and any other error of the database, ends it. So do totals that say anything else
than the contacts do, which are compared all the time.
"""

from __future__ import annotations

import argparse
import os
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
from campaign_model.store.connection import insert_into
from campaign_model.store.tables import campaign_contacts
from campaign_model.testing.contract.totals import disagreements
from support import servers
from support.world import HOST, LEASE, World

CENT = Decimal("0.01")
ALREADY_OVER = timedelta(microseconds=1)
CONTACTS = 60
WORKERS = 8
KEPT = 30
"""Claims that a worker remembers, to report on them late."""

MOVES = {
    Action.START_GENERATION: 8,
    Action.REQUEST_CHANGES: 8,
    Action.MARK_READY: 8,
    Action.CANCEL_GENERATION: 1,
    Action.COMPLETE_GENERATION: 1,
    Action.SUBMIT_FOR_REVIEW: 1,
    Action.RETURN_TO_DRAFT: 2,
}
"""Moves by how often they are tried: so that mostly it is generating."""

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
    """One of those at it: what it does next, and to whom, is chance."""

    tenant_id: UUID
    campaign_id: UUID
    contacts: list[UUID]
    chance: random.Random
    cursor: Cursor = attrs.field(factory=Cursor)
    claims: list[Claim] = attrs.field(factory=list)

    def claim(self, store: CampaignStore) -> None:
        """Claim a few, some with a lease that is over at once."""
        lease = self.chance.choice([LEASE, ALREADY_OVER])
        limit = self.chance.randrange(1, 10)
        batch = store.generation.claim(
            self.campaign_id, limit, lease, reserve=CENT, cursor=self.cursor, max_attempts=1000
        )
        self.cursor = batch.cursor
        self.claims = [*self.claims, *batch.claims][-KEPT:]

    def record(self, store: CampaignStore) -> None:
        """Report on claims, late ones among them, and write messages for those that count."""
        outcomes = {claim: self.chance.choice(OUTCOMES) for claim in self._some_claims()}
        on_lost: Any = self.chance.choice(["raise", "skip", "book"])
        answers = store.generation.record(outcomes, on_lost=on_lost)
        applied = [claim for claim, answer in answers.items() if answer is Recorded.APPLIED]
        self._write(store.connection, applied)

    def checkpoint(self, store: CampaignStore) -> None:
        """Book a call, and write the message it has paid for."""
        for claim in self._some_claims()[:1]:
            store.generation.checkpoint(claim, CENT)
            self._write(store.connection, [claim])

    def renew(self, store: CampaignStore) -> None:
        """Renew leases, lost ones among them."""
        if claims := self._some_claims():
            store.generation.renew(claims, LEASE)

    def release(self, store: CampaignStore) -> None:
        """Give some back."""
        store.generation.release(self._some_claims())

    def retry(self, store: CampaignStore) -> None:
        """Let all that failed be tried again, or some."""
        store.generation.retry_failed(self.campaign_id, self._some_contacts_or_none())

    def regenerate(self, store: CampaignStore) -> None:
        """Have all written anew, or some, or those of other steps."""
        store.generation.regenerate(
            self.campaign_id, self._some_contacts_or_none(), only_stale=self._at_times()
        )

    def assign(self, store: CampaignStore) -> None:
        """Assign some contacts, of which many are there already."""
        store.contacts.assign(
            self.campaign_id, [(one, self.chance.randrange(3)) for one in self._some_contacts()]
        )

    def remove(self, store: CampaignStore) -> None:
        """Remove some."""
        store.contacts.remove(self.campaign_id, self._some_contacts())

    def exclude(self, store: CampaignStore) -> None:
        """Exclude some, in flight or not."""
        store.contacts.exclude(self.campaign_id, self._some_contacts())

    def include(self, store: CampaignStore) -> None:
        """Bring some back."""
        store.contacts.include(self.campaign_id, self.contacts)

    def set_readiness(self, store: CampaignStore) -> None:
        """Say of some that they lack something, and of others that they lack nothing."""
        gaps: dict[UUID, list[str]] = {one: [] for one in self.contacts}
        store.contacts.set_readiness(
            self.campaign_id, gaps | {one: ["email"] for one in self._some_contacts()}
        )

    def erase(self, store: CampaignStore) -> None:
        """Erase one with its messages, or try to without."""
        ids = self._some_contacts()[:1]
        messages = sa.delete(HOST.messages).where(HOST.messages.c.contact_id.in_(ids))
        store.contacts.erase(
            ids,
            delete_messages=lambda connection: self._at_times() and connection.execute(messages),
        )

    def move(self, store: CampaignStore) -> None:
        """Cancel, resume, complete, go back."""
        (action,) = self.chance.choices([*MOVES], [*MOVES.values()])
        store.campaigns.apply(self.campaign_id, action)

    def edit(self, store: CampaignStore) -> None:
        """Change the steps, or give it a budget, or take it away."""
        campaign = store.campaigns.get(self.campaign_id)
        if self._at_times():
            first = campaign.steps.steps[0]
            steps = campaign.steps.update(first.key or "s1", needs_pdf=not first.needs_pdf)
            store.campaigns.save(attrs.evolve(campaign, steps=steps))
        else:
            budget = self.chance.choice([None, Decimal(100), Decimal(1_000_000)])
            config = attrs.evolve(campaign.generation_config, budget=budget)
            store.campaigns.save(attrs.evolve(campaign, generation_config=config))

    def progress(self, store: CampaignStore) -> None:
        """Ask how far it is, and see that the contacts say the same; under one snapshot."""
        progress = store.generation.progress(self.campaign_id)
        scope = ({self.tenant_id}, {self.campaign_id})
        wrong = [*disagreements(store.connection, *scope)]
        assert not wrong, wrong
        contacts = campaign_contacts.c
        assigned = sa.select(sa.func.count()).where(contacts.campaign_id == self.campaign_id)
        assert progress.assigned == store.connection.scalar(assigned)

    def _at_times(self) -> bool:
        return self.chance.random() < 0.3

    def _some_claims(self) -> list[Claim]:
        return self.chance.sample(self.claims, min(len(self.claims), self.chance.randrange(10)))

    def _some_contacts(self) -> list[UUID]:
        return self.chance.sample(self.contacts, self.chance.randrange(1, 10))

    def _some_contacts_or_none(self) -> list[UUID] | None:
        return self._some_contacts() if self._at_times() else None

    def _write(self, connection: sa.Connection, claims: list[Claim]) -> None:
        """The host's own rows, which refer to the contacts'; some are there already."""
        rows = [
            {
                "id": uuid5(claim.id, str(self.chance.randrange(3))),
                "tenant_id": self.tenant_id,
                "campaign_id": claim.campaign_id,
                "campaign_contact_id": claim.id,
                "contact_id": claim.contact_id,
                "channel": "email",
                "body": "Hello",
            }
            for claim in sorted(claims, key=lambda claim: claim.id)
        ]
        if rows:
            insert = insert_into(connection, HOST.messages).on_conflict_do_nothing()
            connection.execute(insert, rows)


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
"""What a worker does, by how often."""


@contextmanager
def impatient(engine: sa.Engine) -> Iterator[sa.Engine]:
    """The same database, where PostgreSQL looks for a deadlock as soon as somebody waits."""
    if engine.dialect.name == "sqlite":
        yield engine
        return
    options = {"options": "-c deadlock_timeout=10ms"}
    other = sa.create_engine(engine.url, pool_size=WORKERS, connect_args=options)
    try:
        yield other
    finally:
        other.dispose()


def run(
    world: World, seconds: float, seed: int, rest: float = 0
) -> tuple[Counter[str], Counter[str]]:
    """How often each call came through, and how often it was refused as it may be.

    For so much of each second all rest at once: one by one they would meet less when they work.
    """
    contacts = world.contacts(CONTACTS)
    campaign = world.campaign(contacts, Status.GENERATING)
    strict = world.engine
    if strict.dialect.name == "postgresql":
        strict = strict.execution_options(isolation_level="REPEATABLE READ")
    end, stop = time.monotonic() + seconds, threading.Event()
    through: Counter[str] = Counter()
    refused: Counter[str] = Counter()

    def work(number: int) -> None:
        chance = random.Random(f"{seed} {number}")
        worker = Worker(world.tenant_id, campaign.id, contacts, chance)
        while time.monotonic() < end and not stop.is_set():
            (call,) = chance.choices([*CALLS], [*CALLS.values()])
            engine = strict if call is Worker.progress else world.engine
            try:
                transact(engine, world.tenant_id, partial(call, worker), attempts=1)
                through[call.__name__] += 1
            except (TransitionNotAllowed, LeaseLost, Conflict):
                refused[call.__name__] += 1
            except BaseException:
                stop.set()
                raise
            stop.wait(max(0, rest - time.monotonic() % 1))

    # Whatever runs beside it comes first: it takes all the time that there is.
    with ThreadPoolExecutor(WORKERS, initializer=os.nice, initargs=(19,)) as pool:
        for working in [pool.submit(work, number) for number in range(WORKERS)]:
            working.result()
    world.check(campaign.id)
    return through, refused


def main() -> None:
    """Run it on a server of its own, and tell how often what was done."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--engine", default=servers.available()[-1])
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    options = parser.parse_args()
    print(f"seed: {options.seed}", flush=True)
    directory, close = servers.open_directory()
    try:
        engine = sa.create_engine(
            servers.Databases(directory).create(options.engine), poolclass=sa.NullPool
        )
        db.init(engine, with_host_tables=True)
        with impatient(engine) as quick:
            through, refused = run(World(quick), 60 * options.minutes, options.seed)
    finally:
        close()
    for name, number in through.most_common():
        print(f"{number:>9} x {name}, and {refused[name]} refused")
    print(f"mixed load: {through.total()} calls in {options.minutes:g} minutes, no deadlock")


if __name__ == "__main__":
    main()
