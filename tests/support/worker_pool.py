"""Processes that work on a campaign, and that are killed and replaced at random.

A :class:`Phase` is one campaign and the faults that its processes meet. ``chaos.py`` has the phases
in which messages are generated, ``chaos_export.py`` those in which they are exported.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import random
import signal
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from operator import itemgetter
from typing import Any, ClassVar
from uuid import UUID

import attrs
import sqlalchemy as sa

from campaign_model.testing.parallel import wait_until
from campaign_model.testing.sample_campaigns import Tenant
from support import servers

DATABASE_FAULT = 75
"""Exit code of a worker that ended with a database fault."""

MAX_PROBLEMS = 10
"""The most problems that are printed of one phase."""

MAX_STEPS = 200
"""A worker that kills itself does so within this number of steps."""

WAKE_AFTER = 3.0
"""Seconds without a finished contact after which paused workers are woken."""

STUCK_AFTER = 60.0
"""Seconds without a finished contact after which the run fails."""

Event = tuple[int, Callable[[], None]]
"""A function, and the number of finished contacts after which it is called."""


@attrs.define
class WorkerPool:
    """``size`` processes that run ``work(seed, last_step)``. A process that ends is replaced."""

    engine: sa.Engine
    size: int
    rng: random.Random
    work: Callable[[int, int | None], None]
    """Work until nothing is left, or until the process kills itself at ``last_step``."""

    count_finished: Callable[[], int]
    is_finished: Callable[[], bool]
    workers: list[BaseProcess] = attrs.field(factory=list)
    exit_codes: dict[int | None, int | None] = attrs.field(factory=dict)
    """The exit code of each process that ended."""

    _paused: list[BaseProcess] = attrs.field(factory=list)
    _last_step: int | None = None
    """The step at which the next new worker kills itself, if it does."""

    def run(self, events: Iterable[Event]) -> None:
        """Run until everything is finished and every event has happened."""
        pending = sorted(events, key=itemgetter(0))
        finished, finished_at = -1, time.monotonic()
        try:
            while pending or not self.is_finished():
                self._replace_ended(self.rng.random() / 50)
                finished_before, finished = finished, self.count_finished()
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
                self.exit_codes[worker.pid] = worker.exitcode
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
        with self.engine.connect() as connection:
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
            self.exit_codes[worker.pid] = worker.exitcode
        while len(self.workers) < self.size:
            # A fork starts at once. It is safe, because this process has one thread and, between
            # its transactions, no connection.
            worker = multiprocessing.get_context("fork").Process(
                target=self.work, args=(self.rng.randrange(2**32), self._last_step)
            )
            worker.start()
            self.workers.append(worker)
            self._last_step = None


def _send(worker: BaseProcess, number: signal.Signals) -> None:
    # After a process has ended, its id may belong to another process.
    if worker.is_alive():
        assert worker.pid is not None
        os.kill(worker.pid, number)


def die_at_step(engine: sa.Engine, last_step: int) -> None:
    """Kill this process at a step: before or after a statement, or before a commit."""
    steps = itertools.count(1)

    def count_step(*_: Any) -> None:
        if next(steps) == last_step:
            os.kill(os.getpid(), signal.SIGKILL)

    for event in ("before_cursor_execute", "after_cursor_execute", "commit"):
        sa.event.listen(engine, event, count_step)


@attrs.define
class Findings:
    """The faults of a campaign after a phase."""

    lost: set[UUID] = attrs.field(factory=set)
    """Campaign contacts without an outcome or a push, or without one of their messages."""

    doubled: set[UUID] = attrs.field(factory=set)
    """Campaign contacts with two outcomes, two messages in one slot, or a needless second push."""

    problems: list[str] = attrs.field(factory=list)
    """A sentence for every other fault."""

    repeated: int = 0
    """What was done twice although no fault of the library is the reason: see each phase."""


@attrs.define
class Phase(ABC):
    """One campaign: its contacts, its workers, and how often what is killed or paused."""

    tenant: Tenant
    server: servers.Server
    contacts: int
    workers: int
    kills: int
    pauses: int
    server_kills: int = 0
    outages: list[tuple[float, float]] = attrs.field(factory=list)
    """When the server was killed, and when it accepted connections again."""

    repeated: ClassVar[str]
    """What :attr:`Findings.repeated` counts."""

    @abstractmethod
    def create_campaign(self) -> UUID:
        """Make a campaign for this phase, and return its id."""

    @abstractmethod
    def work(self, campaign_id: UUID, seed: int, last_step: int | None) -> None:
        """Work on the campaign, in a process of its own."""

    @abstractmethod
    def count_finished(self, campaign_id: UUID) -> int:
        """Count the contacts that need no more work."""

    @abstractmethod
    def is_finished(self, campaign_id: UUID) -> bool:
        """Tell whether the campaign needs no more work."""

    @abstractmethod
    def audit(self, campaign_id: UUID, exit_codes: Mapping[int | None, int | None]) -> Findings:
        """Find the faults after the phase."""

    def run(self, rng: random.Random) -> tuple[int, Findings]:
        """Run this phase. Return the number of kills and the faults after it."""
        begun = time.monotonic()
        id_ = self.create_campaign()
        pool = WorkerPool(
            self.tenant.engine,
            self.workers,
            rng,
            partial(self.work, id_),
            partial(self.count_finished, id_),
            partial(self.is_finished, id_),
        )
        functions = [
            *[pool.kill_one] * self.kills,
            *[pool.pause_one] * self.pauses,
            *[self._restart_server] * self.server_kills,
        ]
        # Every event happens while at least a quarter of the contacts is left.
        pool.run([(rng.randrange(self.contacts * 3 // 4), function) for function in functions])
        wait_until(self._is_only_session, "the sessions of killed workers end")
        findings = self.audit(id_, pool.exit_codes)
        codes = Counter(pool.exit_codes.values())
        killed = codes[-signal.SIGKILL]
        expected_codes = {0, -signal.SIGKILL, *([DATABASE_FAULT] if self.server_kills else [])}
        findings.problems += [
            f"a worker ended with {code}" for code in codes.keys() - expected_codes
        ]
        if killed < self.kills:
            findings.problems.append(f"only {killed} of {self.kills} workers were killed")
        print(
            f"{self.contacts} contacts, {self.workers} workers: {killed} workers killed, "
            f"{self.pauses} paused, {codes[DATABASE_FAULT]} ended with a database fault, "
            f"{self.server_kills} server kills, {findings.repeated} {self.repeated}; "
            f"{len(findings.lost)} lost, {len(findings.doubled)} doubled, "
            f"{time.monotonic() - begun:.0f} seconds",
            flush=True,
        )
        for problem in findings.problems[:MAX_PROBLEMS]:
            print(f"  {problem}")
        return killed + self.server_kills, findings

    def _restart_server(self) -> None:
        killed_at = time.time()
        self.server.kill()
        self.server.start()
        self.outages.append((killed_at, time.time()))

    def _is_only_session(self) -> bool:
        count_others = sa.text(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        with self.tenant.engine.connect() as connection:
            return bool(connection.scalar(count_others) == 0)
