"""The phase of ``chaos.py`` in which exporters are killed and lose their connections.

The receiver of the messages is an SQLite file, so that no kill of the server reaches it. It knows
every push, and who made it. An exporter that dies between push and mark, or whose connection was
lost with the server, may have another one push the contact again. No other contact is pushed twice.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import sqlite3
import sys
import time
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

import attrs
import sqlalchemy as sa

from campaign_model.lifecycle import ContactStatus, Status
from campaign_model.testing.sample_campaigns import STEPS
from campaign_model.testing.totals_check import find_wrong_totals
from campaign_model.worker import ExportTask, run_export
from support.tenants import contact_rows
from support.worker_pool import DATABASE_FAULT, Findings, Phase, die_at_step

LEASE = timedelta(seconds=3)
"""Longer than a busy machine lets a process wait."""

CONCURRENCY = 4
MAX_CALL = 0.004
"""The most seconds that a push takes."""

MAX_PUSHES = 20
"""An exporter that kills itself between push and mark does so within this number of pushes."""

CUTS = 0.02
"""The fraction of pushes after which an exporter loses its connections."""


class Push(NamedTuple):
    """One push of one contact, as the receiver knows it."""

    pid: int
    contact_id: UUID
    at: float


@attrs.frozen
class Receiver:
    """The system to which messages are exported: a file that many processes write."""

    file: Path

    def create(self) -> None:
        """Make the tables. A message id is a primary key, so that a repeated push is noticed."""
        with self._transaction() as connection:
            connection.execute("CREATE TABLE received (message_id TEXT PRIMARY KEY, pushes INT)")
            connection.execute("CREATE TABLE pushes (pid INT, contact_id TEXT, at REAL)")

    def receive(self, push: Push, message_ids: list[UUID]) -> None:
        """Receive the messages of one contact. Count messages that came before."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO pushes VALUES (?, ?, ?)", (push.pid, str(push.contact_id), push.at)
            )
            connection.executemany(
                "INSERT INTO received VALUES (?, 1)"
                " ON CONFLICT (message_id) DO UPDATE SET pushes = pushes + 1",
                [(str(id_),) for id_ in message_ids],
            )

    def read(self) -> tuple[list[Push], dict[UUID, int]]:
        """Return all pushes in order, and how often each message was pushed."""
        with self._transaction() as connection:
            pushes = connection.execute("SELECT * FROM pushes ORDER BY rowid").fetchall()
            received = connection.execute("SELECT * FROM received").fetchall()
        return (
            [Push(pid, UUID(contact_id), at) for pid, contact_id, at in pushes],
            {UUID(message_id): number for message_id, number in received},
        )

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self.file, timeout=60, isolation_level=None)
        try:
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
        finally:
            connection.close()


@attrs.frozen
class Exporter:
    """``push`` of a host, in a process that may kill itself or its connections."""

    administration: sa.Engine
    receiver: Receiver
    rng: random.Random
    last_push: int | None
    """The process kills itself between this push and its mark."""

    _numbers: Iterator[int] = attrs.field(factory=lambda: itertools.count(1))

    def push(self, task: ExportTask) -> None:
        """Push the messages of a contact. Then die, or lose all connections, before the mark."""
        time.sleep(self.rng.random() * MAX_CALL)
        self.receiver.receive(
            Push(os.getpid(), task.claim.id, time.time()),
            [task.message_id(slot) for slot in task.slots],
        )
        if next(self._numbers) == self.last_push:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.rng.random() < CUTS:
            # While the server is down, the connections are lost anyway.
            with suppress(sa.exc.OperationalError):
                self._cut_connections()

    def _cut_connections(self) -> None:
        terminate = sa.text(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = :name"
        )
        with self.administration.connect() as connection:
            connection.execute(terminate, {"name": str(os.getpid())})


@attrs.define
class ExportPhase(Phase):
    """A campaign whose messages are exported. Every twentieth contact has failed and has none."""

    receiver: Receiver = attrs.field(kw_only=True)
    repeated = "repeated pushes"

    def create_campaign(self) -> UUID:
        """Make an approved campaign."""
        failed = self.contacts // 20
        return self.tenant.campaign(Status.APPROVED, contacts=self.contacts, failed=failed).id

    def work(self, campaign_id: UUID, seed: int, last_step: int | None) -> None:
        """Export until nothing is left. ``last_step`` is a step (even), or a push (odd)."""
        engine = sa.create_engine(
            self.tenant.engine.url, connect_args={"application_name": str(os.getpid())}
        )
        last_push = None
        if last_step is not None and last_step % 2:
            last_push = last_step % MAX_PUSHES
        elif last_step is not None:
            die_at_step(engine, last_step)
        exporter = Exporter(self.tenant.engine, self.receiver, random.Random(seed), last_push)
        try:
            run_export(
                engine,
                self.tenant.id,
                campaign_id,
                exporter.push,
                concurrency=CONCURRENCY,
                lease=LEASE,
            )
        except sa.exc.OperationalError:
            sys.exit(DATABASE_FAULT)

    def count_finished(self, campaign_id: UUID) -> int:
        """Count the exported contacts."""
        return self.tenant.progress(campaign_id).exported

    def is_finished(self, campaign_id: UUID) -> bool:
        """Tell whether every generated contact is exported."""
        progress = self.tenant.progress(campaign_id)
        return progress.exported == progress.by_status[ContactStatus.GENERATED]

    def audit(self, campaign_id: UUID, exit_codes: Mapping[int | None, int | None]) -> Findings:
        """Compare the contacts with what the receiver knows."""
        findings = Findings()
        pushes, received = self.receiver.read()
        pushes_of = defaultdict(list)
        last_pushes: dict[int, deque[Push]] = defaultdict(lambda: deque(maxlen=CONCURRENCY))
        for push in pushes:
            pushes_of[push.contact_id].append(push)
            last_pushes[push.pid].append(push)

        def may_repeat(push: Push, next_push: Push) -> bool:
            # Only the last pushes of a dead process can lack a mark.
            has_died = exit_codes[push.pid] != 0 and push in last_pushes[push.pid]
            # During an outage no lease can be renewed, so a contact that was claimed before may be
            # pushed, and then be taken over, until the lease has run out after the restart.
            lease = LEASE.total_seconds()
            return has_died or any(
                killed_at < next_push.at and restarted_at + lease > push.at
                for killed_at, restarted_at in self.outages
            )

        for row in contact_rows(self.tenant, campaign_id).values():
            own_pushes = pushes_of.pop(row.id, [])
            findings.repeated += max(len(own_pushes) - 1, 0)
            if not all(may_repeat(*pair) for pair in pairwise(own_pushes)):
                findings.doubled.add(row.id)
            ids = [slot.message_id(row.id, row.revision) for slot in STEPS.slots()]
            counts = {received.pop(id_, 0) for id_ in ids}
            if counts != {len(own_pushes)}:
                findings.problems.append(f"{row.id}: {len(own_pushes)} pushes, {counts} messages")
            if row.status == ContactStatus.GENERATED:
                if row.exported_at is None or not own_pushes:
                    findings.lost.add(row.id)
            elif row.exported_at is not None or own_pushes:
                findings.problems.append(f"{row.id} was exported although it is {row.status}")
        if pushes_of or received:
            findings.problems.append("the receiver knows contacts or messages that do not exist")
        with self.tenant.engine.connect() as connection:
            findings.problems += find_wrong_totals(connection, {self.tenant.id}, {campaign_id})
        return findings
