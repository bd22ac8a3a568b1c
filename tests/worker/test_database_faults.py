"""When the database fails, no contact fails, nothing is doubled, and the campaign can go on."""

from __future__ import annotations

import itertools
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from campaign_model import db
from campaign_model.claims import Generated, Outcome, Recorded
from campaign_model.errors import LeaseLost
from campaign_model.lifecycle import Action, Status
from campaign_model.steps import MessageSlot
from campaign_model.store.connection import database_time
from campaign_model.store.generation import Generation
from campaign_model.testing.parallel import PATIENCE, wait_until
from campaign_model.testing.sample_campaigns import Tenant
from campaign_model.worker import (
    GENERATE_FAILED,
    SAVE_FAILED,
    Task,
    WorkerReport,
    WorkerStop,
    database_calls,
)
from campaign_model.worker import run_worker as run_in_threads
from support import servers
from support.tenants import contact_rows, new_tenant
from support.transactions import broken_commit, on_postgresql
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
    insert_message,
    save_messages,
    succeed,
)

# --- The answer to a commit is lost --------------------------------------------------------------


@pytest.mark.parametrize("committed", [True, False], ids=["committed", "not-committed"])
def test_failure_28_a_lost_answer_to_a_commit_doubles_nothing(
    tenant: Tenant,
    run_worker: RunWorker,
    monkeypatch: pytest.MonkeyPatch,
    committed: bool,  # noqa: FBT001
) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=2, budget=Decimal(1))
    saved = []
    with broken_commit(tenant, monkeypatch, done=committed) as armed:

        def save_and_break(connection: sa.Connection, task: Task, outcome: Outcome) -> None:
            save_messages(connection, task, outcome)
            saved.append(task.contact_id)
            if len(saved) == 1:
                armed.set()

        report = run_worker(tenant, campaign, save=save_and_break, reserve=COST)
    if committed:
        assert report.answers == {Recorded.ALREADY: 1, Recorded.APPLIED: 1}
        assert len(saved) == 2
    else:
        assert report.answers == {Recorded.APPLIED: 2}
        assert len(saved) == 3
    assert (report.stop, report.cost) == (WorkerStop.DRAINED, 2 * COST)
    check_all_generated_once(tenant, campaign)


@pytest.mark.parametrize("committed", [True, False], ids=["committed", "not-committed"])
def test_a_checkpoint_whose_answer_is_lost_is_booked_once(
    tenant: Tenant,
    run_worker: RunWorker,
    monkeypatch: pytest.MonkeyPatch,
    committed: bool,  # noqa: FBT001
) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=1)
    saved = []
    with broken_commit(tenant, monkeypatch, done=committed) as armed:

        def save(connection: sa.Connection, task: Task, slot: MessageSlot) -> None:
            insert_message(connection, task, slot)
            saved.append(slot)

        def generate(task: Task) -> Outcome:
            for slot in task.slots:
                if not saved:
                    armed.set()
                task.checkpoint(PRICE, lambda connection: save(connection, task, slot))  # noqa: B023
            return Generated(Decimal(0))

        report = run_worker(tenant, campaign, generate)
    assert (report.answers, report.cost) == ({Recorded.APPLIED: 1}, COST)
    assert len(saved) == SLOTS + (not committed)
    check_all_generated_once(tenant, campaign)


# --- A task or save meets a fault ----------------------------------------------------------------


def exhaust_the_pool(*_: object) -> Any:
    raise sa.exc.TimeoutError


def raise_a_group_of_groups(task: Task) -> Outcome:
    error = sa.exc.OperationalError("SELECT 1", {}, Exception("out of memory"))
    raise ExceptionGroup("two", [LeaseLost((task.claim.id,)), ExceptionGroup("one", [error])])


def fail_in_a_checkpoint(task: Task) -> Outcome:
    task.checkpoint(PRICE, fill_the_disk)
    raise AssertionError


def raise_another_error(_task: Task) -> Outcome:
    try:
        return fill_the_disk()  # type: ignore[no-any-return]
    except sa.exc.OperationalError as error:
        raise LookupError("the contact's history") from error


FAULTS: dict[str, Callable[[Task], Outcome]] = {
    "generate": fill_the_disk,
    "pool": exhaust_the_pool,
    "wrapped": raise_another_error,
    "group": raise_a_group_of_groups,
    "checkpoint": fail_in_a_checkpoint,
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.usefixtures("impatient")
def test_a_database_fault_in_a_task_gives_its_contact_back_and_ends_the_worker(
    tenant: Tenant, run_worker: RunWorker, fault: str
) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=3)
    first, second, third = contact_rows(tenant, campaign.id)
    both_working = threading.Barrier(2)

    def generate(task: Task) -> Outcome:
        both_working.wait(PATIENCE)
        if task.contact_id == first:
            return FAULTS[fault](task)
        wait_until(lambda: task.stopping, "the task is asked to stop")
        return Generated(COST)

    with pytest.raises((sa.exc.OperationalError, sa.exc.TimeoutError)):
        run_worker(tenant, campaign, generate, save=save_messages, concurrency=2)
    rows = [contact_rows(tenant, campaign.id)[id_] for id_ in (first, second, third)]
    assert [row.status for row in rows] == ["pending", "generated", "pending"]
    # The first contact's cost is unknown, the second is saved, the third was never claimed.
    assert [row.unknown_costs for row in rows] == [1, 0, 0]
    assert rows[2].attempts == 0
    assert count_messages(tenant, campaign) == {second: SLOTS}
    tenant.check_totals(campaign.id)


@pytest.mark.parametrize("fault", [fill_the_disk, exhaust_the_pool])
@pytest.mark.usefixtures("impatient")
def test_a_database_fault_in_save_fails_no_contact(
    tenant: Tenant, run_worker: RunWorker, fault: Callable[..., object]
) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=1)
    with pytest.raises((sa.exc.OperationalError, sa.exc.TimeoutError)):
        run_worker(tenant, campaign, save=fault)
    (row,) = contact_rows(tenant, campaign.id).values()
    assert (row.status, row.generation_cost) == ("generating", Decimal(0))
    tenant.check_totals(campaign.id)


@pytest.mark.parametrize("fault", [fill_the_disk, exhaust_the_pool])
def test_a_database_fault_in_save_that_passes_costs_no_call(
    tenant: Tenant, run_worker: RunWorker, fault: Callable[..., object]
) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=2)
    attempts = itertools.count(1)
    calls = []

    def generate(task: Task) -> Outcome:
        calls.append(task)
        return Generated(COST)

    def save(connection: sa.Connection, task: Task, outcome: Outcome) -> None:
        # More failures than a transaction has attempts, unless the worker is patient.
        if next(attempts) <= 7:
            fault()
        save_messages(connection, task, outcome)

    report = run_worker(tenant, campaign, generate, save=save)
    assert (report.answers, len(calls)) == ({Recorded.APPLIED: 2}, 2)
    check_all_generated_once(tenant, campaign)


@pytest.mark.parametrize("call", ["claim", "renew", "progress"])
@pytest.mark.usefixtures("impatient")
def test_a_fault_of_the_worker_while_tasks_run_loses_no_outcome(
    tenant: Tenant, run_worker: RunWorker, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=2)
    first, _ = contact_rows(tenant, campaign.id)
    failing, failures = threading.Event(), []
    original = getattr(Generation, call)

    def fail_while_tasks_run(*arguments: Any, **options: Any) -> Any:
        if failing.is_set():
            failures.append(call)
            fill_the_disk()
        return original(*arguments, **options)

    def generate(task: Task) -> Outcome:
        if not failures:
            failing.set()
        # The worker asks for the progress after it has recorded an outcome.
        if call != "progress" or task.contact_id != first:
            wait_until(lambda: len(failures) >= 3, f"{call} fails")
            failing.clear()
        return Generated(COST)

    monkeypatch.setattr(Generation, call, fail_while_tasks_run)
    report = run_worker(
        tenant,
        campaign,
        generate,
        save=save_messages,
        # With a free place the worker claims while tasks run.
        concurrency=3 if call == "claim" else 2,
        lease=timedelta(seconds=0.9 if call == "renew" else 60),
        report=lambda _progress: None,
    )
    assert report.answers == {Recorded.APPLIED: 2}
    check_all_generated_once(tenant, campaign)


# --- The host catches a database error -----------------------------------------------------------

DEADLOCK = "DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '40P01'; END $$"
TERMINATION = "SELECT pg_terminate_backend(pg_backend_pid())"


class HostError(Exception):
    """What the host raises instead of a database error."""


@contextmanager
def handling_database_errors(handling: str) -> Iterator[None]:
    """Do what hosts do with database errors."""
    try:
        yield
    except sa.exc.DBAPIError as error:
        if handling == "raise from":
            raise HostError from error
        if handling == "raise":
            raise HostError  # noqa: B904
        if handling == "raise from none":
            raise HostError from None


@on_postgresql
@pytest.mark.parametrize("place", ["save", "checkpoint"])
@pytest.mark.parametrize("handling", ["raise from", "raise", "raise from none", "ignore"])
@pytest.mark.parametrize("statement", [DEADLOCK, TERMINATION], ids=["deadlock", "termination"])
def test_a_fault_that_the_host_hides_fails_no_contact_and_costs_no_call(
    tenant: Tenant, run_worker: RunWorker, place: str, handling: str, statement: str
) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=2)
    attempts = itertools.count(1)
    calls = []

    def save(connection: sa.Connection, task: Task, outcome: Outcome) -> None:
        with handling_database_errors(handling):
            if next(attempts) == 1:
                connection.exec_driver_sql(statement)
            save_messages(connection, task, outcome)

    def generate(task: Task) -> Outcome:
        calls.append(task)
        if place == "checkpoint":
            task.checkpoint(COST, lambda connection: save(connection, task, Generated(None)))
            return Generated(Decimal(0))
        return Generated(COST)

    report = run_worker(tenant, campaign, generate, save=save if place == "save" else None)
    assert (report.answers, report.failures, len(calls)) == ({Recorded.APPLIED: 2}, {}, 2)
    check_all_generated_once(tenant, campaign)


@pytest.mark.parametrize("handling", ["raise from", "raise"])
def test_a_fault_in_a_savepoint_that_led_to_another_error_fails_no_contact(
    tenant: Tenant, run_worker: RunWorker, handling: str
) -> None:
    # The savepoint keeps the transaction usable. So only the error itself tells of the fault.
    campaign = tenant.campaign(Status.GENERATING, contacts=1)
    attempts = itertools.count(1)

    def save(connection: sa.Connection, task: Task, outcome: Outcome) -> None:
        with handling_database_errors(handling), connection.begin_nested():
            if next(attempts) == 1:
                fill_the_disk()
        save_messages(connection, task, outcome)

    report = run_worker(tenant, campaign, save=save)
    assert report.failures == {}
    check_all_generated_once(tenant, campaign)


@pytest.mark.parametrize("error", [ValueError("a bug"), sa.exc.IntegrityError("", {}, Exception())])
def test_a_checkpoint_whose_save_raises_fails_its_contact_and_its_cost_is_booked(
    tenant: Tenant, run_worker: RunWorker, error: Exception
) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=3)
    first, second, _ = contact_rows(tenant, campaign.id)

    def fail(_connection: sa.Connection) -> None:
        raise error

    def generate(task: Task) -> Outcome:
        task.checkpoint(PRICE)
        if task.contact_id == first:
            task.checkpoint(PRICE, fail)
        if task.contact_id == second:
            with suppress(type(error)):
                task.checkpoint(PRICE, fail)
            task.checkpoint(PRICE)
            raise LookupError
        return Generated(Decimal(0))

    report = run_worker(tenant, campaign, generate)
    rows = [*contact_rows(tenant, campaign.id).values()]
    codes = [SAVE_FAILED, GENERATE_FAILED, None]
    assert [row.error_code for row in rows] == codes
    # The second contact repeated the checkpoint. What it has paid since then is unknown.
    assert [row.generation_cost for row in rows] == [2 * PRICE, 2 * PRICE, PRICE]
    assert [row.unknown_costs for row in rows] == [0, 1, 0]
    assert report.cost == 5 * PRICE
    tenant.check_totals(campaign.id)


def insert_twice_and_ignore_it(connection: sa.Connection, task: Task) -> None:
    insert_message(connection, task, task.slots[0])
    with suppress(sa.exc.IntegrityError):
        insert_message(connection, task, task.slots[0])


@on_postgresql
@pytest.mark.parametrize("place", ["save", "checkpoint"])
def test_a_caught_database_error_fails_its_contact_alone_and_books_its_cost(
    tenant: Tenant, run_worker: RunWorker, place: str
) -> None:
    # PostgreSQL aborts the transaction at the caught error. A COMMIT would write nothing, silently.
    campaign = tenant.campaign(Status.GENERATING, contacts=3)
    first, *others = contact_rows(tenant, campaign.id)

    def save(connection: sa.Connection, task: Task, _outcome: Outcome | None = None) -> None:
        if task.contact_id == first:
            insert_twice_and_ignore_it(connection, task)

    def generate(task: Task) -> Outcome:
        for _ in task.slots:
            task.checkpoint(PRICE, lambda connection: save(connection, task))
        return Generated(Decimal(0))

    if place == "save":
        report = run_worker(tenant, campaign, save=save, concurrency=3)
    else:
        report = run_worker(tenant, campaign, generate, concurrency=3)
    rows = contact_rows(tenant, campaign.id)
    assert report.answers == {Recorded.APPLIED: 3}
    assert (rows[first].status, rows[first].error_code) == ("failed", SAVE_FAILED)
    assert re.search(r"UniqueViolation\w* \(23505\)", rows[first].error)
    # The first checkpoint of the first contact is paid for, and the contact ends there.
    assert rows[first].generation_cost == (COST if place == "save" else PRICE)
    assert rows[first].unknown_costs == 0
    for contact_id in others:
        row = rows[contact_id]
        assert (row.status, row.generation_cost) == ("generated", COST)
    assert count_messages(tenant, campaign) == {}
    assert report.cost == sum(row.generation_cost for row in rows.values())
    tenant.check_totals(campaign.id)


# --- Strict isolation ----------------------------------------------------------------------------


@on_postgresql
@pytest.mark.parametrize("isolation_level", ["REPEATABLE READ", "SERIALIZABLE"])
@pytest.mark.parametrize("budget", [None, Decimal(100)])
def test_four_workers_under_strict_isolation_end_without_an_error(
    tenant: Tenant, isolation_level: str, budget: Decimal | None
) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=40, budget=budget)
    engine = tenant.engine.execution_options(isolation_level=isolation_level)
    together = threading.Barrier(4)

    def work(_: int) -> WorkerReport:
        together.wait(PATIENCE)
        return run_in_threads(
            engine, tenant.id, campaign.id, succeed, save=save_messages, reserve=budget and COST
        )

    with ThreadPoolExecutor(4) as pool:
        reports = list(pool.map(work, range(4)))
    assert sum(report.answers.get(Recorded.APPLIED, 0) for report in reports) == 40
    check_all_generated_once(tenant, campaign)


@pytest.mark.parametrize("conflict", [True, False])
def test_only_a_server_that_answers_is_waited_for_from_the_start(
    tenant: Tenant,
    run_worker: RunWorker,
    monkeypatch: pytest.MonkeyPatch,
    conflict: bool,  # noqa: FBT001
) -> None:
    # A server that never answered is more likely a wrong URL than a restart.
    monkeypatch.setattr(database_calls, "_ATTEMPTS", 2)
    campaign = tenant.campaign(Status.GENERATING, contacts=1)
    attempts = itertools.count(1)
    claim = Generation.claim

    def fail_four_times(*arguments: Any, **options: Any) -> Any:
        if next(attempts) <= 4:
            driver_error = Exception("refused")
            if conflict:
                driver_error.sqlstate = "40001"  # type: ignore[attr-defined]
            raise sa.exc.OperationalError("SELECT", {}, driver_error)
        return claim(*arguments, **options)

    monkeypatch.setattr(Generation, "claim", fail_four_times)
    if conflict:
        run_worker(tenant, campaign, save=save_messages)
        check_all_generated_once(tenant, campaign)
    else:
        with pytest.raises(sa.exc.OperationalError):
            run_worker(tenant, campaign, save=save_messages)
        assert next(attempts) == 3


# --- The server restarts -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[servers.Server, Tenant]]:
    """A server that the tests of this module may kill, and a tenant on it."""
    with servers.open_directory(on_disk=True) as directory:
        oldest = servers.postgresql()[0]
        server = servers.Server(directory, oldest)
        engine = sa.create_engine(servers.Databases(directory).create(oldest))
        db.init(engine, with_host_tables=True)
        yield server, new_tenant(engine)
        engine.dispose()
        server.stop()


def test_a_worker_survives_a_restart_of_the_server(
    server: tuple[servers.Server, Tenant], run_worker: RunWorker, caplog: pytest.LogCaptureFixture
) -> None:
    process, tenant = server
    campaign = tenant.campaign(Status.GENERATING, contacts=4)
    calls, killed = itertools.count(), threading.Event()

    def has_tried_to_connect() -> bool:
        return caplog.text.count("trying again (reconnect)") >= 2  # The first one was connected.

    def generate(task: Task) -> Outcome:
        match next(calls):
            case 0:
                process.kill()
                killed.set()
                wait_until(has_tried_to_connect, "the worker has tried to connect")
                process.start()
            case 1:
                assert killed.wait(PATIENCE)
                task.checkpoint(PRICE)
        return Generated(COST)

    report = run_worker(tenant, campaign, generate, save=save_messages, concurrency=2)
    assert report == WorkerReport(
        WorkerStop.DRAINED, {Recorded.APPLIED: 4}, 4 * COST + PRICE, completed=True
    )
    tenant.engine.dispose()  # The connections of this test are lost too.
    check_all_generated_once(tenant, campaign, spent=4 * COST + PRICE)


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
    tenant: Tenant, run_worker: RunWorker
) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=2)
    clock = BreakableClock()
    clock.broken.set()
    with pytest.raises(sa.exc.DBAPIError, match="nowhere"):
        run_worker(tenant, campaign, clock=clock)
    assert contact_statuses(tenant, campaign) == ["pending"] * 2
    assert campaign_status(tenant, campaign) is Status.GENERATING
    # The campaign can be cancelled, and it can be run again.
    tenant.apply(campaign.id, Action.CANCEL_GENERATION)
    tenant.apply(campaign.id, Action.START_GENERATION)
    assert run_worker(tenant, campaign, save=save_messages).completed
    check_all_generated_once(tenant, campaign)


def test_failure_05_an_error_during_a_run_ends_the_worker_and_its_leases_expire(
    tenant: Tenant, run_worker: RunWorker
) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=3)
    clock = BreakableClock()
    both_working = threading.Barrier(2)
    asked_to_stop = []

    def generate(task: Task) -> Outcome:
        if both_working.wait(PATIENCE) == 0:
            clock.broken.set()
            return Generated(COST)
        wait_until(lambda: task.stopping, "the task is asked to stop")
        asked_to_stop.append(task)
        return Generated(COST)

    with pytest.raises(sa.exc.DBAPIError, match="nowhere"):
        run_worker(tenant, campaign, generate, save=save_messages, concurrency=2, clock=clock)
    assert len(asked_to_stop) == 1
    assert count_messages(tenant, campaign) == {}
    tenant.check_totals(campaign.id)
    assert run_worker(tenant, campaign, save=save_messages, clock=an_hour_later).completed
    check_all_generated_once(tenant, campaign)
