"""Kill workers and the server at random, then check that nothing is lost or doubled.

A run has two phases: in the first only workers are killed and paused, in the second the server is
killed as well. ``nox -s chaos`` runs the long form. The last line of the output counts lost and
doubled contacts. The exit code is 0 only if both are 0 and no money is missing. ``-- --seed N``
repeats the random choices of an earlier run, but not its timing.
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
from campaign_model.store.generation import Generation
from campaign_model.store.statements import ATTEMPTS_EXHAUSTED
from campaign_model.store.tables import campaign_contacts
from campaign_model.store.types import Money, Uuid
from campaign_model.testing.parallel import wait_until
from campaign_model.testing.sample_campaigns import STEPS, Tenant
from campaign_model.testing.totals_check import find_wrong_totals
from campaign_model.worker import Task, run_worker
from support import servers
from support.tenants import HOST, legacy_columns, new_tenant
from support.workers import slot_values

LEASE = timedelta(seconds=1)
CONCURRENCY = 4
MAX_CALL = 0.004
"""The most seconds that generating one contact takes."""

MAX_STEPS = 200
"""A worker that kills itself does so after at most so many steps."""

WAKE_AFTER = 3.0
"""Seconds without a finished contact after which paused workers are woken."""

STUCK_AFTER = 60.0
"""Seconds without a finished contact after which the run fails."""

DATABASE_FAULT = 75
"""Exit code of a worker that ended with a database fault."""

REFUSED = "refused"
MAX_PROBLEMS = 10
"""The most problems that are printed of one phase."""

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
"""The host's own record of every outcome and checkpoint, written in the same transaction."""


# --- A worker process ----------------------------------------------------------------------------


def run_worker_process(tenant: Tenant, campaign_id: UUID, seed: int, last_step: int | None) -> None:
    """Work on a campaign until nothing is left, or until this process kills itself."""
    engine = sa.create_engine(
        tenant.engine.url, connect_args={"application_name": str(os.getpid())}
    )
    if last_step is not None:
        die_at_step(engine, last_step)
    write_reports_into_ledger()
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
        sys.exit(DATABASE_FAULT)


def die_at_step(engine: sa.Engine, last_step: int) -> None:
    """Kill this process at a step: before or after a statement, or before a commit."""
    steps = itertools.count(1)

    def count_step(*_: Any) -> None:
        if next(steps) == last_step:
            os.kill(os.getpid(), signal.SIGKILL)

    for event in ("before_cursor_execute", "after_cursor_execute", "commit"):
        sa.event.listen(engine, event, count_step)


def write_reports_into_ledger() -> None:
    """Patch ``Generation``: this process writes each of its reports into the ledger too."""
    record, checkpoint = Generation.record, Generation.checkpoint

    def insert(generation: Generation, claim: Claim, **values: Any) -> None:
        generation._scope.connection.execute(
            sa.insert(ledger).values(
                id=uuid4(), campaign_contact_id=claim.id, token=claim.token, **values
            )
        )

    def record_with_ledger(
        self: Generation, outcomes: Mapping[Claim, Outcome], **options: Any
    ) -> dict[Claim, Recorded]:
        answers = record(self, outcomes, **options)
        for claim, answer in answers.items():
            if answer not in (Recorded.ALREADY, Recorded.SKIPPED):
                outcome = outcomes[claim]
                kind = type(outcome).__name__
                insert(self, claim, kind=kind, answer=answer.value, cost=outcome.cost)
        return answers

    def checkpoint_with_ledger(
        self: Generation, claim: Claim, cost: Decimal | None, **options: Any
    ) -> Recorded:
        answer = checkpoint(self, claim, cost, **options)
        if answer is Recorded.APPLIED:
            insert(self, claim, kind="checkpoint", cost=cost)
        return answer

    Generation.record = record_with_ledger  # type: ignore[method-assign]
    Generation.checkpoint = checkpoint_with_ledger  # type: ignore[method-assign]


@attrs.frozen
class Host:
    """``generate`` and ``save`` of a host. The contact's id decides what happens to the contact."""

    engine: sa.Engine
    tenant_id: UUID
    rng: random.Random

    def generate(self, task: Task) -> Outcome:
        """Fail a contact, give it back, or generate it with or without checkpoints."""
        time.sleep(self.rng.random() * MAX_CALL)
        match task.contact_id.int % 20:
            case 0:
                return Failed(REFUSED, "the model would not", self._draw_cost())
            case 1 if task.claim.attempts == 1:
                return Unfinished(cost=self._draw_cost())
        if not _uses_checkpoints(task):
            return Generated(self._draw_cost())
        return self._write_with_checkpoints(task)

    def save(self, connection: sa.Connection, task: Task, outcome: Outcome) -> None:
        """Insert the messages of a contact that used no checkpoints."""
        if isinstance(outcome, Generated) and not _uses_checkpoints(task):
            self._insert(connection, task, task.slots)

    def _write_with_checkpoints(self, task: Task) -> Outcome:
        """Write the messages that do not exist yet, each with a checkpoint."""
        messages = HOST.messages.c
        with self.engine.begin() as connection:
            existing_ids = connection.scalars(
                sa.select(messages.id).where(
                    messages.tenant_id == self.tenant_id,
                    messages.campaign_contact_id == task.claim.id,
                )
            ).all()
        for slot in task.slots:
            if task.message_id(slot) not in existing_ids:
                task.checkpoint(self._draw_cost(), partial(self._insert, task=task, slots=[slot]))
        return Generated(Decimal(0))

    def _insert(self, connection: sa.Connection, task: Task, slots: Iterable[MessageSlot]) -> None:
        connection.execute(
            sa.insert(HOST.messages),
            [slot_values(self.tenant_id, task.claim, slot) for slot in slots],
        )

    def _draw_cost(self) -> Decimal:
        return Decimal(self.rng.randrange(10**8)).scaleb(-9)


def _uses_checkpoints(task: Task) -> bool:
    return task.contact_id.int % 20 in (2, 3, 4)


# --- Killing and replacing workers ---------------------------------------------------------------

Event = tuple[int, Callable[[], None]]
"""A function, and the number of finished contacts after which it is called."""


@attrs.define
class WorkerPool:
    """``size`` worker processes of one campaign. A worker that ends is replaced."""

    tenant: Tenant
    campaign_id: UUID
    size: int
    rng: random.Random
    workers: list[BaseProcess] = attrs.field(factory=list)
    exit_codes: Counter[int | None] = attrs.field(factory=Counter)
    """How many workers ended with each exit code."""

    _paused: list[BaseProcess] = attrs.field(factory=list)
    _last_step: int | None = None
    """The step at which the next new worker kills itself, if it does."""

    def run(self, events: Iterable[Event]) -> None:
        """Run until generation is completed and every event has happened."""
        pending = sorted(events, key=itemgetter(0))
        finished, finished_at = -1, time.monotonic()
        try:
            while pending or self._campaign_status() is Status.GENERATING:
                self._replace_ended(self.rng.random() / 50)
                finished_before, finished = finished, self._count_finished()
                if finished != finished_before:
                    finished_at = time.monotonic()
                if time.monotonic() > finished_at + WAKE_AFTER:
                    # The running workers may wait for the leases of paused ones.
                    self._wake_paused()
                assert time.monotonic() < finished_at + STUCK_AFTER, f"stuck after {finished}"
                while pending and pending[0][0] <= finished:
                    pending.pop(0)[1]()
                    self._replace_ended(0)
            self._wake_paused()
            for worker in self.workers:
                worker.join(STUCK_AFTER)
                self.exit_codes[worker.exitcode] += 1
        finally:
            for worker in [*self.workers, *self._paused]:
                worker.kill()
                worker.join()

    def kill_one(self) -> None:
        """Kill a worker at any moment. Every second time, let its successor kill itself too."""
        worker = self.rng.choice(self.workers)
        worker.kill()
        worker.join()
        if self.rng.random() < 0.5:
            self._last_step = self.rng.randrange(1, MAX_STEPS)

    def pause_one(self) -> None:
        """Stop a worker between two transactions, so that others take over its contacts."""
        worker = self.workers.pop(self.rng.randrange(len(self.workers)))
        self._paused.append(worker)
        _send(worker, signal.SIGSTOP)
        while self._has_open_transaction(worker):
            _send(worker, signal.SIGCONT)
            wait([worker.sentinel], self.rng.random() / 50)
            _send(worker, signal.SIGSTOP)

    def _has_open_transaction(self, worker: BaseProcess) -> bool:
        count_busy = sa.text(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE application_name = :pid AND state <> 'idle'"
        )
        with self.tenant.engine.connect() as connection:
            return bool(connection.scalar(count_busy, {"pid": str(worker.pid)}))

    def _wake_paused(self) -> None:
        for worker in self._paused:
            _send(worker, signal.SIGCONT)
        self.workers += self._paused
        self._paused = []

    def _replace_ended(self, timeout: float) -> None:
        """Wait until a worker ends, at most ``timeout`` seconds, and replace all that ended."""
        wait([worker.sentinel for worker in self.workers], timeout)
        for worker in [worker for worker in self.workers if not worker.is_alive()]:
            self.workers.remove(worker)
            self.exit_codes[worker.exitcode] += 1
        while len(self.workers) < self.size:
            # A fork starts at once. It is safe, because this process has one thread and, between
            # its transactions, no connection.
            worker = multiprocessing.get_context("fork").Process(
                target=run_worker_process,
                args=(self.tenant, self.campaign_id, self.rng.randrange(2**32), self._last_step),
            )
            worker.start()
            self.workers.append(worker)
            self._last_step = None

    def _campaign_status(self) -> Status:
        return self.tenant.transact(lambda store: store.campaigns.get(self.campaign_id)).status

    def _count_finished(self) -> int:
        progress = self.tenant.progress(self.campaign_id)
        return sum(progress.by_status[status] for status in FINAL)


def _send(worker: BaseProcess, number: signal.Signals) -> None:
    # After a process has ended, its id may belong to another process.
    if worker.is_alive():
        assert worker.pid is not None
        os.kill(worker.pid, number)


# --- Checking the result -------------------------------------------------------------------------


@attrs.define
class Findings:
    """The faults of a campaign after a run."""

    lost: set[UUID] = attrs.field(factory=set)
    """Campaign contacts without an outcome, or without one of their messages."""

    doubled: set[UUID] = attrs.field(factory=set)
    """Campaign contacts with two outcomes, or with two messages in one slot."""

    problems: list[str] = attrs.field(factory=list)
    """A sentence for every other fault."""

    late: int = 0
    """Outcomes whose lease was lost. That is no fault: their costs are booked."""


@exactly()
def audit(tenant: Tenant, campaign_id: UUID) -> Findings:
    """Compare the campaign, its contacts, their messages and the ledger with each other."""
    findings = Findings()
    messages, contacts = HOST.messages.c, campaign_contacts.c
    # 1. Read everything in one snapshot.
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
        messages_written = Counter(
            (row.campaign_contact_id, row.step_key, row.variant)
            for row in connection.execute(
                sa.select(messages.campaign_contact_id, messages.step_key, messages.variant).where(
                    messages.campaign_id == campaign_id
                )
            )
        )
        findings.problems += find_wrong_totals(connection, {tenant.id}, {campaign_id})
    # 2. Sum up the reports of each contact. A claim has at most one outcome.
    outcomes: Counter[UUID] = Counter()
    claims_with_outcome: set[tuple[UUID, UUID]] = set()
    costs: defaultdict[UUID, Decimal] = defaultdict(Decimal)
    unknown_costs: Counter[UUID] = Counter()
    for report in reports:
        id_ = report.campaign_contact_id
        is_final = report.kind in (Generated.__name__, Failed.__name__)
        outcomes[id_] += is_final and report.answer == Recorded.APPLIED
        costs[id_] += report.cost or 0
        unknown_costs[id_] += report.cost is None
        findings.late += report.answer == Recorded.BOOKED
        if report.answer is not None:
            if (id_, report.token) in claims_with_outcome:
                findings.doubled.add(id_)
            claims_with_outcome.add((id_, report.token))
    # 3. Compare each contact with its reports and messages.
    for row in rows:
        # The library itself fails a contact after too many attempts. No worker reports that.
        expected = int(row.error_code != ATTEMPTS_EXHAUSTED)
        slots = [messages_written[row.id, slot.step_key, slot.variant] for slot in STEPS.slots()]
        is_generated = row.status == ContactStatus.GENERATED
        if row.status not in FINAL or outcomes[row.id] < expected or (is_generated and 0 in slots):
            findings.lost.add(row.id)
        if outcomes[row.id] > expected or max(slots) > 1:
            findings.doubled.add(row.id)
        if row.error_code not in (None, REFUSED, ATTEMPTS_EXHAUSTED):
            findings.problems.append(f"{row.id} failed: {row.error_code}, {row.error}")
        if (row.generation_cost, row.unknown_costs) != (costs[row.id], unknown_costs[row.id]):
            findings.problems.append(
                f"{row.id} has cost {row.generation_cost} and {row.unknown_costs} unknown costs, "
                f"its ledger has {costs[row.id]} and {unknown_costs[row.id]}"
            )
    # 4. Compare the campaign with the ledger.
    spent = tenant.progress(campaign_id).spent
    paid = sum(costs.values(), Decimal(0))
    in_row = legacy_columns(tenant, campaign_id)[2]
    if not spent == in_row == paid:
        findings.problems.append(
            f"the campaign has spent {spent}, its row has {in_row}, the ledger has {paid}"
        )
    return findings


# --- A run ---------------------------------------------------------------------------------------


@attrs.frozen
class Phase:
    """One campaign: its contacts, its workers, and how often what is killed or paused."""

    contacts: int
    workers: int
    kills: int
    pauses: int
    server_kills: int = 0

    def run(
        self, tenant: Tenant, server: servers.Server, rng: random.Random
    ) -> tuple[int, Findings]:
        """Run this phase. Return the number of kills and the faults after it."""
        begun = time.monotonic()
        campaign = tenant.campaign(Status.GENERATING, contacts=self.contacts)
        pool = WorkerPool(tenant, campaign.id, self.workers, rng)

        def restart_server() -> None:
            server.kill()
            server.start()

        functions = [
            *[pool.kill_one] * self.kills,
            *[pool.pause_one] * self.pauses,
            *[restart_server] * self.server_kills,
        ]
        # Every event happens while at least a quarter of the contacts is left.
        pool.run([(rng.randrange(self.contacts * 3 // 4), function) for function in functions])
        wait_until(lambda: _is_only_session(tenant.engine), "the sessions of killed workers end")
        # A move refreshes the legacy columns: costs were booked after the completion.
        tenant.apply(campaign.id, Action.REQUEST_CHANGES)
        findings = audit(tenant, campaign.id)
        killed = pool.exit_codes[-signal.SIGKILL]
        expected_codes = {0, -signal.SIGKILL, *([DATABASE_FAULT] if self.server_kills else [])}
        unexpected_codes = pool.exit_codes.keys() - expected_codes
        findings.problems += [f"a worker ended with {code}" for code in unexpected_codes]
        if killed < self.kills:
            findings.problems.append(f"only {killed} of {self.kills} workers were killed")
        print(
            f"{self.contacts} contacts, {self.workers} workers: {killed} workers killed, "
            f"{self.pauses} paused, {pool.exit_codes[DATABASE_FAULT]} ended with a database fault, "
            f"{self.server_kills} server kills, {findings.late} late outcomes; "
            f"{len(findings.lost)} lost, {len(findings.doubled)} doubled, "
            f"{time.monotonic() - begun:.0f} seconds",
            flush=True,
        )
        for problem in findings.problems[:MAX_PROBLEMS]:
            print(f"  {problem}")
        return killed + self.server_kills, findings


def _is_only_session(engine: sa.Engine) -> bool:
    count_others = sa.text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )
    with engine.connect() as connection:
        return bool(connection.scalar(count_others) == 0)


def main() -> int:
    """Run both phases. Return 0 if they left no fault."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--engine", default=servers.available()[-1])
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--contacts", type=int, default=20_000)
    parser.add_argument("--kills", type=int, default=200, help="kills of workers")
    parser.add_argument("--server-contacts", type=int, default=5_000)
    parser.add_argument("--server-kills", type=int, default=5)
    options = parser.parse_args()
    print(f"seed: {options.seed}", flush=True)
    rng = random.Random(options.seed)
    kills, server_kills = options.kills, options.server_kills
    phases = [
        Phase(options.contacts, options.workers, kills, pauses=kills // 5),
        Phase(options.server_contacts, options.workers, server_kills, server_kills, server_kills),
    ]
    directory, close = servers.open_directory(on_disk=True)
    server = servers.Server(directory, options.engine)
    try:
        url = servers.Databases(directory).create(options.engine)
        engine = sa.create_engine(url, poolclass=sa.NullPool)
        db.init(engine, with_host_tables=True)
        ledger.create(engine)
        tenant = new_tenant(engine)
        results = [phase.run(tenant, server, rng) for phase in phases]
    finally:
        server.stop()
        close()
    total_kills = sum(killed for killed, _ in results)
    contacts = sum(phase.contacts for phase in phases)
    all_findings = [findings for _, findings in results]
    lost = sum(len(findings.lost) for findings in all_findings)
    doubled = sum(len(findings.doubled) for findings in all_findings)
    print(f"chaos: {total_kills} kills, {contacts} contacts, {lost} lost, {doubled} doubled")
    return int(lost or doubled or any(findings.problems for findings in all_findings))


if __name__ == "__main__":
    sys.exit(main())
