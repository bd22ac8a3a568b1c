"""Run workers while the database misbehaves, then check that every paid call is booked.

Workers of each isolation level work on campaigns of two tenants. Short timeouts end their waits and
statements. Meanwhile a :class:`Saboteur` terminates their connections, holds the locks that they
need, and makes the database read-only. A :class:`Ledger` in this process has every paid call, so no
fault of the database can reach it.

``nox -s chaos -- --hostile`` runs the long form. The last line of the output counts the faults that
the workers met, the lost contacts, and the contacts with an unbooked call. The exit code is 0 only
if nothing is lost or unbooked, nothing is doubled, and every kind of fault was met. ``--seed N``
repeats the random choices of an earlier run, but not its timing.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import random
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID

import attrs
import sqlalchemy as sa

from campaign_model import db
from campaign_model._values import exact_money
from campaign_model.errors import TransitionNotAllowed
from campaign_model.lifecycle import Action, ContactStatus, Status
from campaign_model.steps import MessageSlot
from campaign_model.store import CampaignStore
from campaign_model.store.database_errors import (
    DATABASE_ERRORS,
    Remedy,
    is_database_fault,
    remedy_for,
    sqlstate_or_code,
)
from campaign_model.store.tables import campaign_contacts, campaign_totals
from campaign_model.testing.sample_campaigns import STEPS, Tenant
from campaign_model.testing.totals_check import find_wrong_totals
from campaign_model.worker import Task, run_worker
from support import servers
from support.simulated_host import FINAL, REFUSED, SimulatedHost
from support.tenants import HOST, contact_rows, legacy_columns, new_tenant

ISOLATION_LEVELS = ("READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE")
LEASE = timedelta(seconds=1)
CONCURRENCY = 3
BUDGET = Decimal(1_000_000)
RESERVE = Decimal(1)
IMPATIENT_TRANSACTIONS = 0.2
"""The fraction of transactions with a timeout of a few milliseconds."""

MAX_PAUSE = 0.05
"""The most seconds between two acts of the saboteur."""

STUCK_AFTER = 120.0
"""Seconds without a finished contact after which the workers are stopped, and the run fails."""

WORKER_NAME = "hostile worker"
"""The name by which the server knows the connections of workers."""

NEEDED = {
    "25006": "the database is read-only",
    "40001": "a conflict of transactions",
    "55P03": "lock_timeout",
    "57014": "statement_timeout",
    "57P01": "a terminated connection",
}
"""The SQLSTATEs that the workers must meet, or the run has shown nothing."""

NO_SQLSTATE = "none"
IN_FAILED_TRANSACTION = "25P02"
MAX_ROUNDS = 5
MAX_PROBLEMS = 10
"""The most problems that are printed."""


# --- The host -------------------------------------------------------------------------------------


@attrs.frozen
class Ledger:
    """What the model was paid. Appending to a list is atomic, so threads need no lock."""

    calls: list[tuple[UUID, Decimal]] = attrs.field(factory=list)
    """The campaign contact and the cost of every paid call."""

    faults_of_generate: list[UUID] = attrs.field(factory=list)
    """The campaign contacts whose ``generate`` raised a database fault of its own query.

    The worker cannot know what ``generate`` has paid until then, so it books an unknown cost.
    """


class HostError(Exception):
    """What the host's repository raises instead of a database error."""


@attrs.frozen
class Host(SimulatedHost):
    """A host that keeps a ledger, and treats database errors in its own ways."""

    ledger: Ledger
    max_call = 0.01
    checkpointed = range(12, 20)

    def pay(self, task: Task) -> Decimal:
        """Make a paid call, and note it in the ledger."""
        cost = super().pay(task)
        self.ledger.calls.append((task.claim.id, cost))
        return cost

    def read_message_ids(self, task: Task) -> Collection[UUID]:
        """Read the ids of messages, and note a database fault in the ledger."""
        try:
            return super().read_message_ids(task)
        except DATABASE_ERRORS:
            self.ledger.faults_of_generate.append(task.claim.id)
            raise

    def insert(self, connection: sa.Connection, task: Task, slots: Iterable[MessageSlot]) -> None:
        """Insert messages, and treat a database error as one of several hosts does."""
        with _handling_database_errors(task):
            super().insert(connection, task, slots)


@contextmanager
def _handling_database_errors(task: Task) -> Iterator[None]:
    """Do what hosts do with the database errors of their repositories."""
    try:
        yield
    except DATABASE_ERRORS as error:
        match task.contact_id.int // 20 % 5:
            case 0:  # Catch it.
                return
            case 1:  # Raise another error from it.
                raise HostError from error
            case 2:  # Raise another error while handling it.
                raise HostError  # noqa: B904
            case 3:  # Raise another error that hides it.
                raise HostError from None
        raise


# --- Workers --------------------------------------------------------------------------------------


@attrs.frozen
class Workers:
    """Threads that run workers on random campaigns until all campaigns are generated."""

    url: sa.URL
    campaigns: list[tuple[Tenant, UUID]]
    ledger: Ledger
    seed: int
    gave_up: threading.Event = attrs.field(factory=threading.Event)
    met: list[str] = attrs.field(factory=list)
    """The SQLSTATE of each fault that a worker met."""

    ends: list[str] = attrs.field(factory=list)
    """Why each worker ended."""

    problems: list[str] = attrs.field(factory=list)

    def work(self, number: int) -> None:
        """Run one worker after another, as a supervisor does."""
        rng = random.Random(f"{self.seed} {number}")
        engine = self._create_engine(ISOLATION_LEVELS[number % len(ISOLATION_LEVELS)], rng)
        try:
            while (generating := self._generating()) and not self.gave_up.is_set():
                tenant, campaign_id = rng.choice(generating)
                self._run_worker(Host(engine, tenant.id, rng, self.ledger), campaign_id)
        except BaseException as error:
            self.problems.append(f"worker {number} ended with {error!r}")
            self.gave_up.set()
            raise
        finally:
            engine.dispose()

    def _run_worker(self, host: Host, campaign_id: UUID) -> None:
        try:
            report = run_worker(
                host.engine,
                host.tenant_id,
                campaign_id,
                host.generate,
                save=host.save,
                concurrency=CONCURRENCY,
                lease=LEASE,
                reserve=RESERVE,
                stop=self.gave_up,
                wait=host.rng.random() < 0.5,
                max_attempts=1000,
            )
        except DATABASE_ERRORS as error:
            if not is_database_fault(error):
                raise
            self.ends.append(f"database fault {sqlstate_or_code(error)}")
        else:
            self.ends.append(report.stop.value)

    def _generating(self) -> list[tuple[Tenant, UUID]]:
        return [
            (tenant, id_)
            for tenant, id_ in self.campaigns
            if tenant.transact(partial(_read_status, id_=id_)) is Status.GENERATING
        ]

    def _create_engine(self, isolation_level: str, rng: random.Random) -> sa.Engine:
        engine = sa.create_engine(
            self.url,
            isolation_level=isolation_level,
            connect_args={"application_name": WORKER_NAME, "options": "-c deadlock_timeout=20ms"},
        )

        def set_timeout(connection: sa.Connection) -> None:
            if rng.random() < IMPATIENT_TRANSACTIONS:
                # Few transactions wait for a lock, but every one of them has statements.
                (setting,) = rng.choices(["lock_timeout", "statement_timeout"], [3, 1])
                connection.exec_driver_sql(f"SET LOCAL {setting} = {rng.randrange(1, 10)}")

        def count(context: sa.engine.ExceptionContext) -> None:
            error: Any = context.sqlalchemy_exception
            state = sqlstate_or_code(error) or NO_SQLSTATE
            if state != IN_FAILED_TRANSACTION and remedy_for(error) is not Remedy.GIVE_UP:
                self.met.append(state)

        sa.event.listen(engine, "begin", set_timeout)
        sa.event.listen(engine, "handle_error", count)
        return engine


def _read_status(store: CampaignStore, id_: UUID) -> Status:
    return store.campaigns.get(id_).status


# --- The saboteur ---------------------------------------------------------------------------------


@attrs.define
class Saboteur:
    """Makes faults at random moments until ``ended`` is set."""

    engine: sa.Engine
    """An engine whose connections are never read-only."""

    campaigns: list[tuple[Tenant, UUID]]
    rng: random.Random
    ended: threading.Event = attrs.field(factory=threading.Event)
    made: Counter[str] = attrs.field(factory=Counter)

    def run(self) -> None:
        """Make one fault after another: each kind once, then each kind again in another order."""
        kinds = [
            *[self.terminate_one] * 3,
            *[self.lock_campaign, self.lock_rows, self.lock_in_wrong_order] * 3,
            self.fail_over,
        ]
        while True:
            for make_fault in self.rng.sample(kinds, len(kinds)):
                if self.ended.wait(self.rng.random() * MAX_PAUSE):
                    return
                with suppress(sa.exc.OperationalError):  # The victim of a deadlock, for example.
                    make_fault()
                    self.made[make_fault.__name__] += 1

    def terminate_one(self) -> None:
        """Terminate a connection, if possible one that has an open transaction."""
        self._terminate(1)

    def fail_over(self) -> None:
        """Make the database read-only for new connections, and end the old ones.

        Connections of this time stay read-only, as those to an old primary do.
        """
        with self._autocommit() as connection:
            name = connection.dialect.identifier_preparer.quote(str(self.engine.url.database))
            setting = f"ALTER DATABASE {name} SET default_transaction_read_only ="
            connection.exec_driver_sql(f"{setting} on")
            try:
                self._terminate(None)
                self._wait()
            finally:
                connection.exec_driver_sql(f"{setting} off")

    def lock_campaign(self) -> None:
        """Hold the exclusive lock of a campaign for a moment."""
        tenant, id_ = self.rng.choice(self.campaigns)
        with self._transaction() as connection:
            CampaignStore(connection, tenant.id).campaigns.get(id_, lock=True)
            self._wait()

    def lock_rows(self) -> None:
        """Hold the locks of some contacts of a campaign for a moment."""
        _, id_ = self.rng.choice(self.campaigns)
        contacts = campaign_contacts.c
        with self._transaction() as connection:
            connection.execute(
                sa.select(contacts.id)
                .where(contacts.campaign_id == id_, contacts.status == ContactStatus.GENERATING)
                .limit(3)
                .with_for_update()
            ).all()
            self._wait()

    def lock_in_wrong_order(self) -> None:
        """Lock the totals of a campaign before the campaign, which makes deadlocks."""
        tenant, id_ = self.rng.choice(self.campaigns)
        totals = campaign_totals.c
        with self._transaction() as connection:
            connection.execute(
                sa.select(totals.campaign_id).where(totals.campaign_id == id_).with_for_update()
            ).all()
            self._wait()
            CampaignStore(connection, tenant.id).campaigns.get(id_, lock=True)

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        with self.engine.connect() as connection, connection.begin() as transaction:
            yield connection
            transaction.rollback()

    def _autocommit(self) -> sa.Connection:
        return self.engine.execution_options(isolation_level="AUTOCOMMIT").connect()

    def _terminate(self, number: int | None) -> None:
        """Terminate connections of workers, those in a transaction first. ``None``: all."""
        terminate = sa.text(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = :name"
            " ORDER BY state = 'idle', random() LIMIT :number"
        )
        with self._autocommit() as connection:
            connection.execute(terminate, {"name": WORKER_NAME, "number": number})

    def _wait(self) -> None:
        self.ended.wait(0.01 + self.rng.random() / 10)


# --- Checking the result --------------------------------------------------------------------------


@attrs.define
class Findings:
    """The faults of the campaigns after a run."""

    lost: set[UUID] = attrs.field(factory=set)
    """Campaign contacts that are not finished, or without one of their messages."""

    unbooked: set[UUID] = attrs.field(factory=set)
    """Campaign contacts whose booked cost is not the sum of their paid calls."""

    problems: list[str] = attrs.field(factory=list)
    """A sentence for every other fault."""


@exact_money()
def audit(campaigns: Iterable[tuple[Tenant, UUID]], ledger: Ledger) -> Findings:
    """Compare the campaigns, their contacts and their messages with the ledger."""
    findings = Findings()
    paid: defaultdict[UUID, Decimal] = defaultdict(Decimal)
    for id_, cost in ledger.calls:
        paid[id_] += cost
    unknown_costs = Counter(ledger.faults_of_generate)
    for tenant, campaign_id in campaigns:
        rows = contact_rows(tenant, campaign_id).values()
        messages = _count_messages(tenant, campaign_id)
        for row in rows:
            written = [messages[row.id, slot.step_key, slot.variant] for slot in STEPS.slots()]
            is_generated = row.status == ContactStatus.GENERATED
            is_refused = row.status == ContactStatus.FAILED and row.error_code == REFUSED
            if not (is_generated or is_refused) or (is_generated and 0 in written):
                findings.lost.add(row.id)
                findings.problems.append(f"{row.id} is {row.status}: {row.error_code}, {row.error}")
            if max(written) > 1:
                findings.problems.append(f"{row.id} has {written} messages")
            booked = (row.generation_cost, row.unknown_costs)
            if booked != (paid[row.id], unknown_costs[row.id]):
                findings.unbooked.add(row.id)
                findings.problems.append(
                    f"{row.id} has cost {booked[0]} and {booked[1]} unknown costs, its ledger has "
                    f"{paid[row.id]} and {unknown_costs[row.id]}"
                )
        total = sum((paid[row.id] for row in rows), Decimal(0))
        spent, in_row = tenant.progress(campaign_id).spent, legacy_columns(tenant, campaign_id)[2]
        if not spent == in_row == total:
            findings.problems.append(
                f"the campaign has spent {spent}, its row has {in_row}, the ledger has {total}"
            )
        with tenant.engine.connect() as connection:
            findings.problems += find_wrong_totals(connection, {tenant.id}, {campaign_id})
    return findings


def _count_messages(tenant: Tenant, campaign_id: UUID) -> Counter[tuple[UUID, str, str]]:
    messages = HOST.messages.c
    query = sa.select(messages.campaign_contact_id, messages.step_key, messages.variant).where(
        messages.campaign_id == campaign_id
    )
    with tenant.engine.connect() as connection:
        return Counter(tuple(row) for row in connection.execute(query))


# --- A run ----------------------------------------------------------------------------------------


def run(url: str, contacts: int, workers: int, seed: int) -> int:
    """Run on a database with the schema and host tables. Return 0 if that left no fault.

    A round has four campaigns, with ``contacts`` contacts in all. If the workers have not met every
    needed fault, another round follows, up to ``MAX_ROUNDS``.
    """
    calm_engine = sa.create_engine(
        url, connect_args={"options": "-c default_transaction_read_only=off"}
    )
    tenants = [new_tenant(calm_engine), new_tenant(calm_engine)]
    campaigns: list[tuple[Tenant, UUID]] = []
    ledger = Ledger()
    pool = Workers(sa.make_url(url), campaigns, ledger, seed)
    saboteur = Saboteur(calm_engine, campaigns, random.Random(seed))
    # 1. Run workers and make faults, until every campaign is generated.
    begun = time.monotonic()
    for first_number in range(0, MAX_ROUNDS * workers, workers):
        campaigns += [
            (tenant, _create_campaign(tenant, contacts // 4, budget))
            for tenant, budget in itertools.product(tenants, (None, BUDGET))
        ]
        _run_round(pool, saboteur, range(first_number, first_number + workers))
        if pool.gave_up.is_set() or NEEDED.keys() <= {*pool.met}:
            break
    seconds = time.monotonic() - begun
    # 2. Check and print the result.
    for tenant, campaign_id in campaigns:
        # A move refreshes the legacy columns: costs were booked after the completion.
        with suppress(TransitionNotAllowed):  # The run may have failed.
            tenant.apply(campaign_id, Action.REQUEST_CHANGES)
    findings = audit(campaigns, ledger)
    findings.problems = pool.problems + findings.problems
    findings.problems += [
        f"no worker met {state} ({reason})"
        for state, reason in NEEDED.items()
        if state not in pool.met
    ]
    _print_counts("made by the saboteur", saboteur.made)
    _print_counts("met by workers, by SQLSTATE", Counter(pool.met))
    _print_counts("ends of workers", Counter(pool.ends))
    print(f"{len(ledger.calls)} paid calls, {workers} workers, {seconds:.0f} seconds")
    for problem in findings.problems[:MAX_PROBLEMS]:
        print(f"  {problem}")
    lost, unbooked = len(findings.lost), len(findings.unbooked)
    print(
        f"hostile: {len(pool.met)} faults, {contacts // 4 * len(campaigns)} contacts, {lost} lost, "
        f"{unbooked} unbooked"
    )
    calm_engine.dispose()
    return int(bool(lost or unbooked or findings.problems))


def _create_campaign(tenant: Tenant, contacts: int, budget: Decimal | None) -> UUID:
    return tenant.campaign(Status.GENERATING, contacts=contacts, budget=budget).id


def _run_round(pool: Workers, saboteur: Saboteur, numbers: Collection[int]) -> None:
    """Run one worker of each number, and make faults, until every campaign is generated."""
    saboteur.ended.clear()
    with ThreadPoolExecutor(len(numbers) + 1) as threads:
        sabotage = threads.submit(saboteur.run)
        try:
            working = [threads.submit(pool.work, number) for number in numbers]
            _wait_while_finishing(pool, [future.done for future in working])
        except BaseException:
            pool.gave_up.set()
            raise
        finally:
            saboteur.ended.set()
        sabotage.result()


def _wait_while_finishing(pool: Workers, done: list[Callable[[], bool]]) -> None:
    """Wait until all workers have ended, or until no contact was finished for too long."""
    finished, finished_at = -1, time.monotonic()
    while not all(is_done() for is_done in done):
        time.sleep(0.1)
        progress = [tenant.progress(id_) for tenant, id_ in pool.campaigns]
        finished_before = finished
        finished = sum(one.by_status[status] for one in progress for status in FINAL)
        if finished != finished_before:
            finished_at = time.monotonic()
        if time.monotonic() > finished_at + STUCK_AFTER:
            pool.problems.append(f"stuck after {finished} contacts")
            pool.gave_up.set()


def _print_counts(title: str, counts: Counter[str]) -> None:
    print(f"{title}:")
    for name, number in sorted(counts.items()):
        print(f"{number:>8} x {name}")


def main() -> int:
    """Run on a server of its own. Return 0 if that left no fault."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--engine", default=servers.available()[-1])
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--workers", type=int, default=6)
    parser.add_argument("--contacts", type=int, default=4_000)
    options = parser.parse_args()
    print(f"seed: {options.seed}", flush=True)
    # The driver would warn of every connection that is lost.
    logging.getLogger("psycopg").setLevel(logging.ERROR)
    with servers.open_directory() as directory:
        url = servers.Databases(directory).create(options.engine)
        engine = sa.create_engine(url)
        db.init(engine, with_host_tables=True)
        engine.dispose()
        return run(url, options.contacts, options.workers, options.seed)


if __name__ == "__main__":
    sys.exit(main())
