"""Failure 30: ``run_export`` pushes a contact once, or again if its push has no known outcome."""

from __future__ import annotations

import itertools
import signal
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import attrs
import pytest
import sqlalchemy as sa

from campaign_model.campaign import Campaign
from campaign_model.claims import Progress, StopReason
from campaign_model.errors import InvalidArgument, NotFound, TransitionNotAllowed
from campaign_model.lifecycle import Action, Status
from campaign_model.testing.clock import FrozenClock
from campaign_model.testing.death import dying
from campaign_model.testing.parallel import PATIENCE, wait_until
from campaign_model.testing.sample_campaigns import LEASE, STEPS, Tenant
from campaign_model.worker import (
    PUSH_FAILED,
    ExportReport,
    ExportTask,
    WorkerStop,
    run_export,
)
from campaign_model.worker import run as worker_run
from support import worker_process
from support.tenants import contact_rows
from support.transactions import broken_commit, on_newest_postgresql, on_sqlite
from support.workers import an_hour_later, campaign_status, fill_the_disk, stopped_after_patience


@attrs.define
class Receiver:
    """The system that messages are pushed to. It counts the pushes of each message id."""

    pushed: Counter[UUID] = attrs.field(factory=Counter)
    after_push: Callable[[ExportTask], object] = lambda _task: None

    def push(self, task: ExportTask) -> None:
        self.pushed.update(task.message_ids)
        self.after_push(task)


def export(
    tenant: Tenant,
    campaign: Campaign,
    push: Callable[[ExportTask], object],
    *,
    stop: threading.Event | None = None,
    **options: Any,
) -> ExportReport:
    stop = stop or threading.Event()
    with stopped_after_patience(stop):
        return run_export(tenant.engine, tenant.id, campaign.id, push, stop=stop, **options)


def message_ids(tenant: Tenant, campaign: Campaign) -> set[UUID]:
    rows = contact_rows(tenant, campaign.id).values()
    return {slot.message_id(row.id, row.revision) for row in rows for slot in STEPS.slots()}


def check_all_exported(tenant: Tenant, campaign: Campaign, receiver: Receiver) -> None:
    """Assert that every contact is exported, and that the receiver has each message."""
    assert receiver.pushed.keys() == message_ids(tenant, campaign)
    rows = contact_rows(tenant, campaign.id)
    assert all(row.exported_at is not None for row in rows.values())
    assert tenant.progress(campaign.id).exported == len(rows)
    tenant.check_totals(campaign.id)


def done(exported: int) -> ExportReport:
    return ExportReport(WorkerStop.DRAINED, exported, lost=0, remaining=0)


# --- Each contact is pushed once -----------------------------------------------------------------


def test_an_export_pushes_each_contact_once_and_reports_its_progress(tenant: Tenant) -> None:
    campaign = tenant.campaign(Status.APPROVED, contacts=5)
    receiver, progress = Receiver(), list[Progress]()
    report = export(tenant, campaign, receiver.push, report=progress.append, actor="ann")
    assert report == done(5)
    assert [one.exported for one in progress] == [1, 2, 3, 4, 5]
    assert {*receiver.pushed.values()} == {1}
    check_all_exported(tenant, campaign, receiver)
    entry = tenant.transact(lambda store: store.campaigns.history(campaign.id))[-1]
    assert (entry.action, entry.actor) == (Action.EXPORT, "ann")
    # A second export finds nothing left.
    assert export(tenant, campaign, receiver.push) == done(0)
    assert {*receiver.pushed.values()} == {1}


def test_failure_30_two_exporters_at_once_push_each_contact_once(tenant: Tenant) -> None:
    campaign = tenant.campaign(Status.APPROVED, contacts=12)
    receiver, both_started = Receiver(), threading.Barrier(2)

    def run(_: int) -> ExportReport:
        both_started.wait(PATIENCE)
        return export(tenant, campaign, receiver.push, concurrency=2)

    with ThreadPoolExecutor(2) as pool:
        reports = [*pool.map(run, range(2))]
    assert sum(report.exported for report in reports) == 12
    assert {report.stop for report in reports} == {WorkerStop.DRAINED}
    assert {*receiver.pushed.values()} == {1}
    check_all_exported(tenant, campaign, receiver)
    history = tenant.transact(lambda store: store.campaigns.history(campaign.id))
    assert [entry.action for entry in history].count(Action.EXPORT) == 1


@on_newest_postgresql
@pytest.mark.parametrize("isolation_level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_exporters_under_strict_isolation_end_without_an_error(
    tenant: Tenant, isolation_level: str
) -> None:
    campaign = tenant.campaign(Status.APPROVED, contacts=20)
    strict = attrs.evolve(
        tenant, engine=tenant.engine.execution_options(isolation_level=isolation_level)
    )
    receiver, all_started = Receiver(), threading.Barrier(3)

    def run(_: int) -> ExportReport:
        all_started.wait(PATIENCE)
        return export(strict, campaign, receiver.push)

    with ThreadPoolExecutor(3) as pool:
        reports = [*pool.map(run, range(3))]
    assert sum(report.exported for report in reports) == 20
    assert {*receiver.pushed.values()} == {1}
    check_all_exported(tenant, campaign, receiver)


@pytest.mark.parametrize("committed", [True, False], ids=["committed", "not-committed"])
def test_failure_30_a_connection_that_is_lost_between_push_and_mark_repeats_no_push(
    tenant: Tenant,
    monkeypatch: pytest.MonkeyPatch,
    committed: bool,  # noqa: FBT001
) -> None:
    campaign = tenant.campaign(Status.APPROVED, contacts=3)
    with broken_commit(tenant, monkeypatch, done=committed) as armed:
        receiver = Receiver(after_push=lambda _task: armed.set())
        assert export(tenant, campaign, receiver.push) == done(3)
    assert {*receiver.pushed.values()} == {1}
    check_all_exported(tenant, campaign, receiver)


def test_failure_30_only_the_contact_of_a_killed_exporter_is_pushed_again(tenant: Tenant) -> None:
    campaign = tenant.campaign(Status.APPROVED, contacts=4)
    with worker_process.started(tenant, campaign, "exports") as process:
        process.kill()
        assert process.wait(PATIENCE) == -signal.SIGKILL
    assert campaign_status(tenant, campaign) is Status.EXPORTED
    # It has marked two contacts, and pushed a third one.
    rows = contact_rows(tenant, campaign.id).values()
    assert [row.exported_at is not None for row in rows] == [True, True, False, False]
    receiver = Receiver()
    before = export(tenant, campaign, receiver.push, wait=False)
    assert before == ExportReport(WorkerStop.LEASES_PENDING, exported=1, lost=0, remaining=1)
    assert export(tenant, campaign, receiver.push, clock=an_hour_later) == done(1)
    third, fourth = [*rows][2:]
    assert receiver.pushed.keys() == {
        slot.message_id(row.id, row.revision) for row in (third, fourth) for slot in STEPS.slots()
    }
    tenant.check_totals(campaign.id)


@on_sqlite
def test_failure_30_an_exporter_may_die_before_any_of_its_statements_and_after_any_push(
    tenant: Tenant,
) -> None:
    clock = FrozenClock()
    for moment in itertools.count():
        campaign, survived = tenant.campaign(Status.APPROVED, contacts=2), False
        receiver = Receiver()
        with dying(tenant.engine, moment) as may_die:
            receiver.after_push = lambda _task: may_die()
            survived = export(tenant, campaign, receiver.push, clock=clock, lease=LEASE) == done(2)
        clock.forward(LEASE)
        receiver.after_push = lambda _task: None
        export(tenant, campaign, receiver.push, clock=clock, lease=LEASE)
        check_all_exported(tenant, campaign, receiver)
        # At most the contact whose outcome died with the exporter is pushed again.
        assert [*receiver.pushed.values()].count(2) in (0, len(STEPS.slots()))
        assert max(receiver.pushed.values()) <= 2
        if survived:
            break
    assert moment > 10


# --- A push fails --------------------------------------------------------------------------------


def test_a_push_that_raises_is_tried_again_by_the_next_export_only(
    tenant: Tenant, caplog: pytest.LogCaptureFixture
) -> None:
    campaign = tenant.campaign(Status.APPROVED, contacts=4)
    refused = [*contact_rows(tenant, campaign.id)][1]
    receiver, attempts = Receiver(), Counter[UUID]()

    def push(task: ExportTask) -> None:
        attempts[task.contact_id] += 1
        if task.contact_id == refused:
            raise RuntimeError("POST https://receiver/?key=secret")
        receiver.push(task)

    report = export(tenant, campaign, push)
    assert report == ExportReport(
        WorkerStop.DRAINED, exported=3, lost=0, remaining=1, failures={PUSH_FAILED: 1}
    )
    assert {*attempts.values()} == {1}
    (record,) = [one for one in caplog.records if one.levelname == "ERROR"]
    assert record.getMessage() == "push raised RuntimeError"
    assert record.exc_info is not None
    assert {"contact_id", "error_code", "actor"} <= vars(record).keys()
    row = contact_rows(tenant, campaign.id)[refused]
    assert (row.status, row.claim_token, row.error) == ("generated", None, None)
    tenant.check_totals(campaign.id)
    assert export(tenant, campaign, receiver.push) == done(1)
    check_all_exported(tenant, campaign, receiver)


def test_equal_failures_in_a_row_end_an_export(tenant: Tenant) -> None:
    campaign = tenant.campaign(Status.APPROVED, contacts=5)

    def push(_task: ExportTask) -> None:
        raise ConnectionRefusedError

    report = export(tenant, campaign, push, max_equal_failures=2)
    assert report == ExportReport(
        WorkerStop.EQUAL_FAILURES, exported=0, lost=0, remaining=5, failures={PUSH_FAILED: 2}
    )
    receiver = Receiver()
    assert export(tenant, campaign, receiver.push) == done(5)


def test_a_database_fault_in_a_push_ends_the_export_and_gives_the_contact_back(
    tenant: Tenant,
) -> None:
    campaign = tenant.campaign(Status.APPROVED, contacts=2)
    with pytest.raises(sa.exc.OperationalError):
        export(tenant, campaign, fill_the_disk)
    assert {row.claim_token for row in contact_rows(tenant, campaign.id).values()} == {None}
    receiver = Receiver()
    assert export(tenant, campaign, receiver.push) == done(2)


# --- Contacts and campaigns that change meanwhile ------------------------------------------------


def test_a_contact_that_is_erased_during_its_push_counts_apart(tenant: Tenant) -> None:
    campaign = tenant.campaign(Status.APPROVED, contacts=4)
    erased, *_ = contact_rows(tenant, campaign.id)
    all_pushing = threading.Barrier(2)

    def push(task: ExportTask) -> None:
        if task.contact_id == erased:
            tenant.transact(lambda store: store.contacts.erase([erased]))
        all_pushing.wait(PATIENCE)

    report = export(tenant, campaign, push, concurrency=2)
    assert report == ExportReport(WorkerStop.DRAINED, exported=3, lost=1, remaining=0)
    tenant.check_totals(campaign.id)


def test_a_contact_that_was_taken_over_is_marked_by_its_new_exporter(tenant: Tenant) -> None:
    campaign = tenant.campaign(Status.APPROVED, contacts=1)

    def push(task: ExportTask) -> None:
        def take_over() -> bool:
            batch = tenant.transact(
                lambda store: store.export.claim(campaign.id, 1, LEASE), clock=an_hour_later
            )
            assert batch.stop in (None, StopReason.LEASES_PENDING)
            tenant.transact(lambda store: store.export.record(batch.claims))
            return bool(batch.claims)

        wait_until(take_over, "the takeover")
        assert task.claim.attempts == 1

    report = export(tenant, campaign, push)
    assert report == ExportReport(WorkerStop.DRAINED, exported=0, lost=1, remaining=0)
    tenant.check_totals(campaign.id)


def test_an_archive_ends_an_export_and_the_running_push_counts(tenant: Tenant) -> None:
    campaign = tenant.campaign(Status.APPROVED, contacts=3)
    receiver = Receiver(after_push=lambda _task: tenant.apply(campaign.id, Action.ARCHIVE))
    report = export(tenant, campaign, receiver.push)
    assert report == ExportReport(WorkerStop.NOT_EXPORTED, exported=1, lost=0, remaining=2)
    tenant.check_totals(campaign.id)


@pytest.mark.parametrize("status", [one for one in Status if one is not Status.EXPORTED])
def test_only_an_approved_or_exported_campaign_is_exported(tenant: Tenant, status: Status) -> None:
    campaign = tenant.campaign(status, contacts=1)
    receiver = Receiver()
    if status is Status.APPROVED:
        assert export(tenant, campaign, receiver.push) == done(1)
        return
    with pytest.raises(TransitionNotAllowed) as caught:
        export(tenant, campaign, receiver.push)
    assert caught.value.source == status
    with pytest.raises(NotFound):
        run_export(tenant.engine, tenant.id, uuid4(), receiver.push)
    assert not receiver.pushed


# --- Stopping ------------------------------------------------------------------------------------


def test_a_stopped_export_marks_what_it_has_pushed_and_can_be_continued(tenant: Tenant) -> None:
    campaign = tenant.campaign(Status.APPROVED, contacts=4)
    stop = threading.Event()

    def stop_and_wait(task: ExportTask) -> None:
        stop.set()
        wait_until(lambda: task.stopping, "the task is asked to stop")

    receiver = Receiver(after_push=stop_and_wait)
    report = export(tenant, campaign, receiver.push, stop=stop)
    assert report == ExportReport(WorkerStop.STOPPED, exported=1, lost=0, remaining=3)
    receiver.after_push = lambda _task: None
    assert export(tenant, campaign, receiver.push) == done(3)
    check_all_exported(tenant, campaign, receiver)
    assert {*receiver.pushed.values()} == {1}


def test_an_exporter_renews_its_leases(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_run, "_POLL_INTERVAL", 0.02)
    campaign = tenant.campaign(Status.APPROVED, contacts=1)
    (row,) = contact_rows(tenant, campaign.id).values()

    def wait_for_renewal(task: ExportTask) -> None:
        def is_renewed() -> bool:
            present = contact_rows(tenant, campaign.id)[row.contact_id]
            return bool(present.lease_expires_at > task.claim.expires_at)

        wait_until(is_renewed, "the renewal")

    lease = timedelta(seconds=2)
    assert export(tenant, campaign, wait_for_renewal, lease=lease) == done(1)


# --- Arguments -----------------------------------------------------------------------------------


async def push_later(_task: ExportTask) -> None:
    pass


@on_sqlite
@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"push": push_later}, TypeError),
        ({"push": None}, TypeError),
        ({"engine": None}, TypeError),
        ({"campaign_id": "1"}, InvalidArgument),
        ({"report": push_later}, TypeError),
        ({"lease": 5}, TypeError),
        ({"concurrency": 0}, InvalidArgument),
        ({"max_equal_failures": 0}, InvalidArgument),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_exported(
    tenant: Tenant, wrong: dict[str, Any], error: type[Exception]
) -> None:
    campaign = tenant.campaign(Status.APPROVED, contacts=1)
    arguments: dict[str, Any] = {
        "engine": tenant.engine,
        "tenant_id": tenant.id,
        "campaign_id": campaign.id,
        "push": Receiver().push,
    }
    with pytest.raises(error):
        run_export(**arguments | wrong)
    assert campaign_status(tenant, campaign) is Status.APPROVED
