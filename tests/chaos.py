"""Workers killed and paused at random, and the server killed; after it all is there, once.

``nox -s chaos`` runs the long form. Its last line says what became of it, and it ends with 0 only
if nothing was lost or doubled and no money is missing. ``-- --seed N`` makes the choices of an
earlier run again, though who meets whom is up to the machine.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import random
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from decimal import Decimal
from functools import partial
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from operator import itemgetter
from typing import Any
from uuid import UUID, uuid4

import attrs
import sqlalchemy as sa

from campaign_model import db
from campaign_model._values import exactly
from campaign_model.claims import Claim, Failed, Generated, Outcome, Recorded, Unfinished
from campaign_model.lifecycle import Action, ContactStatus, Status
from campaign_model.steps import MessageSlot
from campaign_model.store.generation import ATTEMPTS_EXHAUSTED, Generation
from campaign_model.store.tables import campaign_contacts
from campaign_model.store.types import Money, Uuid
from campaign_model.testing.parallel import wait_until
from campaign_model.testing.sample_campaigns import STEPS, Tenant
from campaign_model.testing.totals_check import find_wrong_totals
from campaign_model.worker import Task, run_worker
from support import servers
from support.tenants import HOST, legacy_columns, new_tenant

LEASE = timedelta(seconds=1)
CONCURRENCY = 4
LONGEST_CALL = 0.004
"""Seconds that it takes at most, here, to write a contact's messages."""

LONGEST_LIFE = 200
"""Steps after which, at the latest, a worker that is to kill itself does so."""

WAITING = 3.0
"""Seconds in which nobody finishes anything, and after which the paused are woken."""

STUCK = 60.0
"""Seconds of the same, after which a run counts as stuck."""

OUTAGE = 75
"""Exit code of a worker that the database has failed."""

REFUSED = "refused"
MOST_LINES = 10
FINAL = (ContactStatus.GENERATED, ContactStatus.FAILED)

ledger = sa.Table(
    "ledger",
    sa.MetaData(),
    sa.Column("id", Uuid, primary_key=True),
    sa.Column("campaign_contact_id", Uuid, nullable=False),
    sa.Column("token", Uuid, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("answer", sa.Text),
    sa.Column("cost", Money),
)
"""The host's own books: every outcome and checkpoint, written by the transaction it is in."""


# A worker's process.


def work(tenant: Tenant, campaign_id: UUID, seed: int, last_step: int | None) -> None:
    """Work on a campaign until nothing is left, or die at ``last_step``."""
    engine = sa.create_engine(
        tenant.engine.url, connect_args={"application_name": str(os.getpid())}
    )
    if last_step is not None:
        die_at(engine, last_step)
    keep_ledger()
    host = Host(engine, tenant.id, random.Random(seed))
    try:
        run_worker(
            engine,
            tenant.id,
            campaign_id,
            host.generate,
            save=host.save,
            concurrency=CONCURRENCY,
            lease=LEASE,
        )
    except sa.exc.OperationalError:
        sys.exit(OUTAGE)


def die_at(engine: sa.Engine, number: int) -> None:
    """Kill this process at the step of that number: before or after a statement or a commit."""
    steps = itertools.count(1)

    def step(*_: Any) -> None:
        if next(steps) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    for moment in ("before_cursor_execute", "after_cursor_execute", "commit"):
        sa.event.listen(engine, moment, step)


def keep_ledger() -> None:
    """Have every report that this process makes written into the ledger too."""
    record, checkpoint = Generation.record, Generation.checkpoint

    def note(reports: Generation, claim: Claim, **values: Any) -> None:
        reports._scope.connection.execute(
            sa.insert(ledger).values(
                id=uuid4(), campaign_contact_id=claim.id, token=claim.token, **values
            )
        )

    def recorded(
        self: Generation, outcomes: Mapping[Claim, Outcome], **options: Any
    ) -> dict[Claim, Recorded]:
        answers = record(self, outcomes, **options)
        for claim, answer in answers.items():
            if answer not in (Recorded.ALREADY, Recorded.SKIPPED):
                outcome = outcomes[claim]
                kind = type(outcome).__name__
                note(self, claim, kind=kind, answer=answer.value, cost=outcome.cost)
        return answers

    def checkpointed(self: Generation, claim: Claim, cost: Decimal | None) -> None:
        checkpoint(self, claim, cost)
        note(self, claim, kind="checkpoint", cost=cost)

    Generation.record = recorded  # type: ignore[method-assign]
    Generation.checkpoint = checkpointed  # type: ignore[method-assign]


@attrs.frozen
class Host:
    """``generate`` and ``save`` of a host; what it makes of a contact lies in the contact's id."""

    engine: sa.Engine
    tenant_id: UUID
    chance: random.Random

    def generate(self, task: Task) -> Outcome:
        """Fail some, put some off, write some with checkpoints and most at once."""
        time.sleep(self.chance.random() * LONGEST_CALL)
        match task.contact_id.int % 20:
            case 0:
                return Failed(REFUSED, "the model would not", self._cost())
            case 1 if task.claim.attempts == 1:
                return Unfinished(cost=self._cost())
        if not _is_careful(task):
            return Generated(self._cost())
        return self._one_by_one(task)

    def save(self, connection: sa.Connection, task: Task, outcome: Outcome) -> None:
        """Insert the messages that no checkpoint has kept."""
        if isinstance(outcome, Generated) and not _is_careful(task):
            self._insert(connection, task, task.slots)

    def _one_by_one(self, task: Task) -> Outcome:
        table = HOST.messages.c
        with self.engine.begin() as connection:
            there = connection.scalars(
                sa.select(table.id).where(
                    table.tenant_id == self.tenant_id, table.campaign_contact_id == task.claim.id
                )
            ).all()
        for slot in task.slots:
            if task.message_id(slot) not in there:
                task.checkpoint(self._cost(), partial(self._insert, task=task, slots=[slot]))
        return Generated(Decimal(0))

    def _insert(self, connection: sa.Connection, task: Task, slots: Iterable[MessageSlot]) -> None:
        connection.execute(
            sa.insert(HOST.messages),
            [
                {
                    "id": task.message_id(slot),
                    "tenant_id": self.tenant_id,
                    "campaign_id": task.claim.campaign_id,
                    "campaign_contact_id": task.claim.id,
                    "contact_id": task.contact_id,
                    "step_key": slot.step_key,
                    "variant": slot.variant,
                    "channel": slot.channel,
                    "body": "Hello",
                }
                for slot in slots
            ],
        )

    def _cost(self) -> Decimal:
        return Decimal(self.chance.randrange(10**8)).scaleb(-9)


def _is_careful(task: Task) -> bool:
    """Whether this contact's messages are each kept by a checkpoint."""
    return task.contact_id.int % 20 in (2, 3, 4)


# Those who kill, and those who come after.

Event = tuple[int, Callable[[], None]]
"""What happens once so many contacts are finished."""


@attrs.define
class Crew:
    """The workers of a campaign: whoever ends while there is work left is replaced."""

    tenant: Tenant
    campaign_id: UUID
    number: int
    chance: random.Random
    workers: list[BaseProcess] = attrs.field(factory=list)
    ends: Counter[int | None] = attrs.field(factory=Counter)
    """How often a worker ended with which exit code."""

    _last_step: int | None = None
    _asleep: list[BaseProcess] = attrs.field(factory=list)

    def run(self, events: Iterable[Event]) -> None:
        """Go on until generation is completed and all has happened that is to."""
        left = sorted(events, key=itemgetter(0))
        finished, at = -1, time.monotonic()
        try:
            while left or self._status() is Status.GENERATING:
                self._replace(self.chance.random() / 50)
                before, finished = finished, self._finished()
                at = at if finished == before else time.monotonic()
                if time.monotonic() > at + WAITING:
                    # Somebody may wait for one of them.
                    self._wake()
                assert time.monotonic() < at + STUCK, f"stuck with {finished} contacts finished"
                while left and left[0][0] <= finished:
                    left.pop(0)[1]()
                    self._replace(0)
            self._wake()
            for worker in self.workers:
                worker.join(STUCK)
                self.ends[worker.exitcode] += 1
        finally:
            for worker in [*self.workers, *self._asleep]:
                worker.kill()
                worker.join()

    def kill_one(self) -> None:
        """Kill a worker wherever it is; who comes next will, half of the time, kill itself."""
        victim = self.chance.choice(self.workers)
        victim.kill()
        victim.join()
        if self.chance.random() < 0.5:
            self._last_step = self.chance.randrange(1, LONGEST_LIFE)

    def pause_one(self) -> None:
        """Stop a worker between its transactions, until others have taken over what it holds."""
        sleeper = self.workers.pop(self.chance.randrange(len(self.workers)))
        self._asleep.append(sleeper)
        _signal(sleeper, signal.SIGSTOP)
        while self._at_the_database(sleeper):
            _signal(sleeper, signal.SIGCONT)
            wait([sleeper.sentinel], self.chance.random() / 50)
            _signal(sleeper, signal.SIGSTOP)

    def _at_the_database(self, worker: BaseProcess) -> bool:
        busy = sa.text(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE application_name = :pid AND state <> 'idle'"
        )
        with self.tenant.engine.connect() as connection:
            return bool(connection.scalar(busy, {"pid": str(worker.pid)}))

    def _wake(self) -> None:
        for sleeper in self._asleep:
            _signal(sleeper, signal.SIGCONT)
        self.workers += self._asleep
        self._asleep = []

    def _replace(self, seconds: float) -> None:
        """Wait so long or until a worker ends, and start others for those who have ended."""
        wait([worker.sentinel for worker in self.workers], seconds)
        for worker in [one for one in self.workers if not one.is_alive()]:
            self.workers.remove(worker)
            self.ends[worker.exitcode] += 1
        while len(self.workers) < self.number:
            # A copy of this process, which has one thread and, between its transactions, no
            # connection: it can begin at once.
            worker = multiprocessing.get_context("fork").Process(
                target=work,
                args=(self.tenant, self.campaign_id, self.chance.randrange(2**32), self._last_step),
            )
            worker.start()
            self.workers.append(worker)
            self._last_step = None

    def _status(self) -> Status:
        return self.tenant.transact(lambda store: store.campaigns.get(self.campaign_id)).status

    def _finished(self) -> int:
        progress = self.tenant.transact(lambda store: store.generation.progress(self.campaign_id))
        return sum(progress.by_status[one] for one in FINAL)


def _signal(worker: BaseProcess, number: signal.Signals) -> None:
    # Unless it has ended, and its id may be another's.
    if worker.is_alive():
        assert worker.pid is not None
        os.kill(worker.pid, number)


# What has become of it.


@attrs.define
class Findings:
    """What is wrong with a campaign that was worked on."""

    lost: set[UUID] = attrs.field(factory=set)
    """Contacts without an outcome, or without a message they should have."""

    doubled: set[UUID] = attrs.field(factory=set)
    """Contacts with two outcomes, of one claim or of two, or with two messages in one slot."""

    wrong: list[str] = attrs.field(factory=list)
    """Everything else, in words."""

    late: int = 0
    """Reports whose lease was lost: that is no fault, and their costs are booked."""


@exactly()
def audit(tenant: Tenant, campaign_id: UUID) -> Findings:
    """Hold the campaign, its contacts, their messages and the ledger against each other."""
    findings = Findings()
    messages, contacts = HOST.messages.c, campaign_contacts.c
    strict = tenant.engine.execution_options(isolation_level="REPEATABLE READ")
    with strict.begin() as connection:
        rows = connection.execute(
            sa.select(campaign_contacts).where(contacts.campaign_id == campaign_id)
        ).all()
        reports = connection.execute(
            sa.select(ledger)
            .join(campaign_contacts, contacts.id == ledger.c.campaign_contact_id)
            .where(contacts.campaign_id == campaign_id)
        ).all()
        written = Counter(
            (row.campaign_contact_id, row.step_key, row.variant)
            for row in connection.execute(
                sa.select(messages.campaign_contact_id, messages.step_key, messages.variant).where(
                    messages.campaign_id == campaign_id
                )
            )
        )
        findings.wrong += find_wrong_totals(connection, {tenant.id}, {campaign_id})
    outcomes: Counter[UUID] = Counter()
    claims: set[tuple[UUID, UUID]] = set()
    costs: defaultdict[UUID, Decimal] = defaultdict(Decimal)
    unknown: Counter[UUID] = Counter()
    for report in reports:
        id_ = report.campaign_contact_id
        final = report.kind in (Generated.__name__, Failed.__name__)
        outcomes[id_] += final and report.answer == Recorded.APPLIED
        costs[id_] += report.cost or 0
        unknown[id_] += report.cost is None
        findings.late += report.answer == Recorded.BOOKED
        if report.answer is not None:
            if (id_, report.token) in claims:
                findings.doubled.add(id_)
            claims.add((id_, report.token))
    for row in rows:
        # To fail a contact that kills its workers is the library's own outcome.
        expected = int(row.error_code != ATTEMPTS_EXHAUSTED)
        slots = [written[row.id, slot.step_key, slot.variant] for slot in STEPS.slots()]
        is_generated = row.status == ContactStatus.GENERATED
        if row.status not in FINAL or outcomes[row.id] < expected or (is_generated and 0 in slots):
            findings.lost.add(row.id)
        if outcomes[row.id] > expected or max(slots) > 1:
            findings.doubled.add(row.id)
        if row.error_code not in (None, REFUSED, ATTEMPTS_EXHAUSTED):
            findings.wrong.append(f"{row.id} failed: {row.error_code}, {row.error}")
        if (row.generation_cost, row.unknown_costs) != (costs[row.id], unknown[row.id]):
            findings.wrong.append(
                f"{row.id} cost {row.generation_cost} and {row.unknown_costs} times an unknown "
                f"amount, and the host has paid {costs[row.id]} and {unknown[row.id]} times one"
            )
    spent = tenant.transact(lambda store: store.generation.progress(campaign_id)).spent
    paid = sum(costs.values(), Decimal(0))
    if not spent == legacy_columns(tenant, campaign_id)[2] == paid:
        findings.wrong.append(
            f"the campaign spent {spent}, {legacy_columns(tenant, campaign_id)[2]} by its own row, "
            f"and the host has paid {paid}"
        )
    return findings


# A run of it.


@attrs.frozen
class Part:
    """So many contacts and workers, and who is killed how often."""

    contacts: int
    workers: int
    kills: int
    pauses: int
    server_kills: int = 0

    def run(
        self, tenant: Tenant, server: servers.Server, chance: random.Random
    ) -> tuple[int, Findings]:
        """The number of kills, and what is wrong after them."""
        begun = time.monotonic()
        campaign = tenant.campaign(Status.GENERATING, contacts=self.contacts)
        crew = Crew(tenant, campaign.id, self.workers, chance)

        def kill_server() -> None:
            server.kill()
            server.start()

        happens = [
            *[crew.kill_one] * self.kills,
            *[crew.pause_one] * self.pauses,
            *[kill_server] * self.server_kills,
        ]
        # All while there is still much to do.
        crew.run([(chance.randrange(self.contacts * 3 // 4), happen) for happen in happens])
        wait_until(lambda: _alone(tenant.engine), "what the dead have begun comes to an end")
        # By a move the campaign's own row learns what was booked since its completion.
        tenant.apply(campaign.id, Action.REQUEST_CHANGES)
        found = audit(tenant, campaign.id)
        killed = crew.ends[-signal.SIGKILL]
        fine = {0, -signal.SIGKILL, *([OUTAGE] if self.server_kills else [])}
        found.wrong += [f"a worker ended with {code}" for code in crew.ends.keys() - fine]
        if killed < self.kills:
            found.wrong.append(f"only {killed} of {self.kills} workers were killed")
        print(
            f"{self.contacts} contacts, {self.workers} workers: {killed} killed, "
            f"{crew.ends[OUTAGE]} at an end with the server, which was killed {self.server_kills} "
            f"times, {self.pauses} pauses, {found.late} results too late; {len(found.lost)} lost, "
            f"{len(found.doubled)} doubled, {time.monotonic() - begun:.0f} seconds",
            flush=True,
        )
        for line in found.wrong[:MOST_LINES]:
            print(f"  {line}")
        return killed + self.server_kills, found


def _alone(engine: sa.Engine) -> bool:
    others = sa.text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )
    with engine.connect() as connection:
        return bool(connection.scalar(others) == 0)


def main() -> int:
    """Run both parts; 0 if all is well after them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--engine", default=servers.available()[-1])
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--contacts", type=int, default=20_000)
    parser.add_argument("--kills", type=int, default=200, help="of workers")
    parser.add_argument("--server-contacts", type=int, default=5_000)
    parser.add_argument("--server-kills", type=int, default=5)
    options = parser.parse_args()
    print(f"seed: {options.seed}", flush=True)
    chance = random.Random(options.seed)
    of_workers, of_server = options.kills, options.server_kills
    parts = [
        Part(options.contacts, options.workers, of_workers, of_workers // 5),
        Part(options.server_contacts, options.workers, of_server, of_server, of_server),
    ]
    directory, close = servers.open_directory(on_disk=True)
    server = servers.Server(directory, options.engine)
    try:
        url = servers.Databases(directory).create(options.engine)
        engine = sa.create_engine(url, poolclass=sa.NullPool)
        db.init(engine, with_host_tables=True)
        ledger.create(engine)
        tenant = new_tenant(engine)
        results = [part.run(tenant, server, chance) for part in parts]
    finally:
        server.stop()
        close()
    kills = sum(killed for killed, _ in results)
    lost = sum(len(found.lost) for _, found in results)
    doubled = sum(len(found.doubled) for _, found in results)
    print(
        f"chaos: {kills} kills, {sum(part.contacts for part in parts)} contacts, "
        f"{lost} lost, {doubled} doubled"
    )
    return int(any(found.lost or found.doubled or found.wrong for _, found in results))


if __name__ == "__main__":
    sys.exit(main())
