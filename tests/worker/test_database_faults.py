"""When the database fails, no contact fails, nothing is doubled, and the campaign can go on."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from campaign_model import db
from campaign_model.claims import Generated, Outcome, Recorded
from campaign_model.errors import LeaseLost
from campaign_model.lifecycle import Action, Status
from campaign_model.store.connection import database_time
from campaign_model.worker import Task, WorkerReport, WorkerStop
from support import servers
from support.parallel import PATIENCE, broken_commit, until
from support.workers import (
    COST,
    PRICE,
    SLOTS,
    RunWorker,
    an_hour_later,
    campaign_status,
    check_all_generated_once,
    contact_statuses,
    count_messages,
    fill_the_disk,
    save_messages,
)
from support.world import World

pytestmark = pytest.mark.newest


# --- The answer to a commit is lost --------------------------------------------------------------


@pytest.mark.parametrize("committed", [True, False], ids=["committed", "not-committed"])
def test_failure_28_a_lost_answer_to_a_commit_doubles_nothing(
    world: World,
    run_worker: RunWorker,
    monkeypatch: pytest.MonkeyPatch,
    committed: bool,  # noqa: FBT001
) -> None:
    campaign = world.campaign(2, Status.GENERATING, budget=Decimal(1))
    saved = []
    with broken_commit(world, monkeypatch, done=committed) as armed:

        def save_and_break(connection: sa.Connection, task: Task, outcome: Outcome) -> None:
            save_messages(connection, task, outcome)
            saved.append(task.contact_id)
            if len(saved) == 1:
                armed.set()

        report = run_worker(world, campaign, save=save_and_break, reserve=COST)
    if committed:
        assert report.answers == {Recorded.ALREADY: 1, Recorded.APPLIED: 1}
        assert len(saved) == 2
    else:
        assert report.answers == {Recorded.APPLIED: 2}
        assert len(saved) == 3
    assert (report.stop, report.cost) == (WorkerStop.DRAINED, 2 * COST)
    check_all_generated_once(world, campaign)


def test_a_checkpoint_whose_answer_is_lost_is_not_repeated(
    world: World, run_worker: RunWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The database cannot tell a repeated checkpoint from a second one. So the contact is given
    # back with an unknown cost.
    campaign = world.campaign(1, Status.GENERATING)
    with broken_commit(world, monkeypatch, done=True) as armed:

        def generate(task: Task) -> Outcome:
            armed.set()
            task.checkpoint(PRICE)
            raise AssertionError

        with pytest.raises(sa.exc.DBAPIError) as raised:
            run_worker(world, campaign, generate)
    assert raised.value.connection_invalidated
    (row,) = world.rows(campaign.id).values()
    assert (row.status, row.generation_cost, row.unknown_costs) == ("pending", PRICE, 1)
    world.check(campaign.id)


# --- A task or save meets a fault ----------------------------------------------------------------


def exhaust_the_pool(*_: object) -> Any:
    raise sa.exc.TimeoutError


def raise_a_group_of_groups(task: Task) -> Outcome:
    error = sa.exc.OperationalError("SELECT 1", {}, Exception("out of memory"))
    raise ExceptionGroup("two", [LeaseLost((task.claim.id,)), ExceptionGroup("one", [error])])


def fail_in_a_checkpoint(task: Task) -> Outcome:
    task.checkpoint(PRICE, fill_the_disk)
    raise AssertionError


FAULTS: dict[str, Callable[[Task], Outcome]] = {
    "generate": fill_the_disk,
    "pool": exhaust_the_pool,
    "group": raise_a_group_of_groups,
    "checkpoint": fail_in_a_checkpoint,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_database_fault_in_a_task_gives_its_contact_back_and_ends_the_worker(
    world: World, run_worker: RunWorker, fault: str
) -> None:
    campaign = world.campaign(3, Status.GENERATING)
    first, second, third = world.rows(campaign.id)
    both_working = threading.Barrier(2)

    def generate(task: Task) -> Outcome:
        both_working.wait(PATIENCE)
        if task.contact_id == first:
            return FAULTS[fault](task)
        until(lambda: task.stopping, "the task is asked to stop")
        return Generated(COST)

    with pytest.raises((sa.exc.OperationalError, sa.exc.TimeoutError)):
        run_worker(world, campaign, generate, save=save_messages, concurrency=2)
    rows = [world.rows(campaign.id)[id_] for id_ in (first, second, third)]
    assert [row.status for row in rows] == ["pending", "generated", "pending"]
    # The first contact's cost is unknown, the second is saved, the third was never claimed.
    assert [row.unknown_costs for row in rows] == [1, 0, 0]
    assert rows[2].attempts == 0
    assert count_messages(world, campaign) == {second: SLOTS}
    world.check(campaign.id)


@pytest.mark.parametrize("fault", [fill_the_disk, exhaust_the_pool])
def test_a_database_fault_in_save_fails_no_contact(
    world: World, run_worker: RunWorker, fault: Callable[..., object]
) -> None:
    campaign = world.campaign(1, Status.GENERATING)
    with pytest.raises((sa.exc.OperationalError, sa.exc.TimeoutError)):
        run_worker(world, campaign, save=fault)
    (row,) = world.rows(campaign.id).values()
    assert (row.status, row.generation_cost) == ("generating", Decimal(0))
    world.check(campaign.id)


# --- The server restarts -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[servers.Server, World]]:
    """A server that the tests of this module may kill, and a tenant on it."""
    directory, close = servers.open_directory(on_disk=True)
    oldest = servers.postgresql()[0]
    server = servers.Server(directory, oldest)
    engine = sa.create_engine(servers.Databases(directory).create(oldest))
    db.init(engine, with_host_tables=True)
    yield server, World(engine)
    engine.dispose()
    server.stop()
    close()


def test_a_worker_survives_a_restart_of_the_server(
    server: tuple[servers.Server, World], run_worker: RunWorker
) -> None:
    process, world = server
    campaign = world.campaign(4, Status.GENERATING)
    calls, killed, refused = itertools.count(), threading.Event(), threading.Event()

    def note_refused_connection(context: sa.engine.ExceptionContext) -> None:
        if context.connection is None:
            refused.set()

    def generate(task: Task) -> Outcome:
        match next(calls):
            case 0:
                process.kill()
                killed.set()
                assert refused.wait(PATIENCE)
                process.start()
            case 1:
                assert killed.wait(PATIENCE)
                task.checkpoint(PRICE)
        return Generated(COST)

    sa.event.listen(world.engine, "handle_error", note_refused_connection)
    report = run_worker(world, campaign, generate, save=save_messages, concurrency=2)
    sa.event.remove(world.engine, "handle_error", note_refused_connection)
    assert refused.is_set()
    assert report == WorkerReport(
        WorkerStop.DRAINED, {Recorded.APPLIED: 4}, 4 * COST + PRICE, completed=True
    )
    check_all_generated_once(world, campaign, spent=4 * COST + PRICE)


# --- The worker's own transactions fail ----------------------------------------------------------


class BreakableClock:
    """A clock whose statement fails once ``broken`` is set."""

    def __init__(self) -> None:
        self.broken = threading.Event()

    def __call__(self, connection: sa.Connection) -> datetime:
        if self.broken.is_set():
            connection.execute(sa.text("SELECT * FROM nowhere"))
        return database_time(connection)


def test_failure_05_an_error_before_the_loop_leaves_a_campaign_that_can_go_on(
    world: World, run_worker: RunWorker
) -> None:
    campaign = world.campaign(2, Status.GENERATING)
    clock = BreakableClock()
    clock.broken.set()
    with pytest.raises(sa.exc.DBAPIError, match="nowhere"):
        run_worker(world, campaign, clock=clock)
    assert contact_statuses(world, campaign) == ["pending"] * 2
    assert campaign_status(world, campaign) is Status.GENERATING
    # The campaign can be cancelled, and it can be run again.
    world.apply(campaign.id, Action.CANCEL_GENERATION)
    world.apply(campaign.id, Action.START_GENERATION)
    assert run_worker(world, campaign, save=save_messages).completed
    check_all_generated_once(world, campaign)


def test_failure_05_an_error_during_a_run_ends_the_worker_and_its_leases_expire(
    world: World, run_worker: RunWorker
) -> None:
    campaign = world.campaign(3, Status.GENERATING)
    clock = BreakableClock()
    both_working = threading.Barrier(2)
    asked_to_stop = []

    def generate(task: Task) -> Outcome:
        if both_working.wait(PATIENCE) == 0:
            clock.broken.set()
            return Generated(COST)
        until(lambda: task.stopping, "the task is asked to stop")
        asked_to_stop.append(task)
        return Generated(COST)

    with pytest.raises(sa.exc.DBAPIError, match="nowhere"):
        run_worker(world, campaign, generate, save=save_messages, concurrency=2, clock=clock)
    assert len(asked_to_stop) == 1
    assert count_messages(world, campaign) == {}
    world.check(campaign.id)
    assert run_worker(world, campaign, save=save_messages, clock=an_hour_later).completed
    check_all_generated_once(world, campaign)
