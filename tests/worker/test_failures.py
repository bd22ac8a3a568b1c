"""Failures are counted, stop a worker that fails all its contacts, and leave no secret in a row."""

from __future__ import annotations

import itertools
import threading
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from campaign_model.claims import Failed, Generated, NotReady, Outcome, Recorded, Unfinished
from campaign_model.lifecycle import Status
from campaign_model.testing.sample_campaigns import Tenant
from campaign_model.worker import GENERATE_FAILED, SAVE_FAILED, Task, WorkerStop
from campaign_model.worker import run as worker_run
from support.tenants import contact_rows
from support.workers import COST, PRICE, RunWorker, campaign_status, insert_message

SECRET = "https://model/?key=secret"  # noqa: S105 - not a real one


class KeyRevoked(Exception):
    """The exception of a model whose API key was revoked."""


def revoked(_task: Task) -> Outcome:
    raise KeyRevoked(SECRET)


# --- The circuit breaker -------------------------------------------------------------------------


def test_a_worker_stops_after_ten_equal_failures_in_a_row(
    tenant: Tenant, run_worker: RunWorker, caplog: pytest.LogCaptureFixture
) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=13)
    report = run_worker(tenant, campaign, revoked)
    assert report.stop is WorkerStop.EQUAL_FAILURES
    assert report.failures == {GENERATE_FAILED: 10}
    assert not report.completed
    assert "the worker ends after 10 equal failures in a row" in caplog.messages[-1]
    assert vars(caplog.records[-1])["error_code"] == GENERATE_FAILED
    # The campaign can be resumed, and the contacts that failed stay failed.
    assert campaign_status(tenant, campaign) is Status.GENERATING
    statuses = [row.status for row in contact_rows(tenant, campaign.id).values()]
    assert (statuses.count("failed"), statuses.count("pending")) == (10, 3)
    resumed = run_worker(tenant, campaign)
    assert (resumed.completed, resumed.answers) == (True, {Recorded.APPLIED: 3})
    tenant.check_totals(campaign.id)


def test_the_last_contact_may_be_the_one_that_stops_the_worker(
    tenant: Tenant, run_worker: RunWorker
) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=2)
    report = run_worker(tenant, campaign, revoked, max_equal_failures=2)
    assert (report.stop, report.completed) == (WorkerStop.EQUAL_FAILURES, False)
    assert campaign_status(tenant, campaign) is Status.GENERATING


def test_equal_failures_of_save_stop_a_worker(tenant: Tenant, run_worker: RunWorker) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=4)

    def save(connection: sa.Connection, task: Task, _outcome: Outcome) -> None:
        for _ in range(2):
            insert_message(connection, task, task.slots[0])

    report = run_worker(tenant, campaign, save=save, max_equal_failures=3)
    assert (report.stop, report.failures) == (WorkerStop.EQUAL_FAILURES, {SAVE_FAILED: 3})
    assert report.cost == 3 * COST


@pytest.mark.parametrize("maximum", [None, 3])
def test_no_maximum_or_no_row_of_equal_failures_stops_no_worker(
    tenant: Tenant, run_worker: RunWorker, maximum: int | None
) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=9)
    numbers = itertools.count()

    def generate(_task: Task) -> Outcome:
        number = next(numbers)
        if maximum is None:
            return Failed("refused", str(number), PRICE)
        # Two equal failures, then another one or a success. A code without a type is enough.
        outcomes: list[Outcome | Exception] = [
            *(KeyRevoked(), KeyRevoked(), RuntimeError()),
            *(KeyRevoked(), Failed("refused", "no", PRICE), Failed("refused", "never", PRICE)),
            *(Generated(COST), Failed("refused", "no", PRICE), NotReady(("phone",))),
        ]
        outcome = outcomes[number]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    report = run_worker(tenant, campaign, generate, max_equal_failures=maximum)
    assert report.stop is WorkerStop.DRAINED
    if maximum is None:
        assert report.failures == {"refused": 9}
    else:
        assert report.failures == {GENERATE_FAILED: 4, "refused": 3}


def test_failures_with_the_same_code_are_equal_whatever_their_message(
    tenant: Tenant, run_worker: RunWorker
) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=5)
    numbers = itertools.count()
    outcomes = [
        Failed("unauthorized", "request 1", None),
        NotReady(("phone",)),
        Failed("unauthorized", "request 2", None),
    ]
    report = run_worker(
        tenant, campaign, lambda _task: outcomes[next(numbers)], max_equal_failures=2
    )
    assert (report.stop, report.failures) == (WorkerStop.EQUAL_FAILURES, {"unauthorized": 2})


# --- What a contact's row keeps ------------------------------------------------------------------


def test_the_row_of_a_failed_contact_has_types_and_codes_and_no_text_of_exceptions(
    tenant: Tenant, run_worker: RunWorker
) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=5)
    ids = list(contact_rows(tenant, campaign.id))

    def generate(task: Task) -> Outcome:
        match ids.index(task.contact_id):
            case 0:
                raise KeyRevoked(SECRET)
            case 1:
                raise ExceptionGroup(SECRET, [KeyRevoked(SECRET), KeyRevoked(), OSError(SECRET)])
            case 2:
                raise type("", (Exception,), {})(SECRET)
            case 3:
                return Failed("c" * 1000, "m" * 5_000_000, None)
            case _:
                return Generated(COST)

    def save(connection: sa.Connection, task: Task, _outcome: Outcome) -> None:
        if task.contact_id == ids[4]:
            for _ in range(2):
                insert_message(connection, task, task.slots[0])

    run_worker(tenant, campaign, generate, save=save)
    rows = contact_rows(tenant, campaign.id)
    assert [rows[id_].error for id_ in ids[:4]] == [
        "KeyRevoked",
        "KeyRevoked; OSError",
        "Exception",
        "m" * 500,
    ]
    assert rows[ids[3]].error_code == "c" * 500
    assert rows[ids[4]].error in (
        "UniqueViolation (23505)",
        "UniqueViolationError (23505)",
        "IntegrityError (23505)",
    )


# --- Contacts that are given back ----------------------------------------------------------------


def test_a_contact_that_is_given_back_without_a_pause_waits_longer_each_time(
    tenant: Tenant, run_worker: RunWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_run, "_FIRST_PAUSE", timedelta(milliseconds=10))
    monkeypatch.setattr(worker_run, "_LONGEST_PAUSE", timedelta(milliseconds=30))
    campaign = tenant.campaign(Status.GENERATING, contacts=1)
    calls = []
    pauses = []

    def note_pause(_connection: sa.Connection, _task: Task, outcome: Outcome) -> None:
        if isinstance(outcome, Unfinished):
            pauses.append(outcome.retry_after / timedelta(milliseconds=1))

    def generate(task: Task) -> Outcome:
        calls.append(task)
        if len(calls) == 4:
            return Unfinished(timedelta(milliseconds=1))
        return Unfinished() if len(calls) < 6 else Generated(COST)

    report = run_worker(tenant, campaign, generate, save=note_pause)
    assert report.completed
    assert pauses == [10, 20, 30, 1, 30]


def test_a_claim_that_cost_money_counts_towards_the_pause_of_another_worker(
    tenant: Tenant, run_worker: RunWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_run, "_FIRST_PAUSE", timedelta(hours=1))
    monkeypatch.setattr(worker_run, "_LONGEST_PAUSE", timedelta(hours=12))
    campaign = tenant.campaign(Status.GENERATING, contacts=1)
    (claim,) = tenant.claim(campaign.id)
    tenant.record({claim: Unfinished(cost=PRICE)})
    pauses = []
    report = run_worker(
        tenant,
        campaign,
        lambda _task: Unfinished(),
        save=lambda _connection, _task, outcome: pauses.append(outcome.retry_after),
        wait=False,
    )
    assert report.stop is WorkerStop.LEASES_PENDING
    assert pauses == [timedelta(hours=2)]


def test_a_worker_that_stops_gives_contacts_back_without_a_pause(
    tenant: Tenant, run_worker: RunWorker
) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=1)
    stop = threading.Event()

    def generate(_task: Task) -> Outcome:
        stop.set()
        return Unfinished()

    run_worker(tenant, campaign, generate, stop=stop)
    (claim,) = tenant.claim(campaign.id)
    # The store adds no pause either.
    assert tenant.transact(lambda store: store.generation.release([claim]))
    assert len(tenant.claim(campaign.id)) == 1


def test_two_costs_that_pass_the_limit_of_one_amount_do_not_end_the_worker(
    tenant: Tenant, run_worker: RunWorker
) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=2)

    def fail(_connection: sa.Connection) -> None:
        raise ZeroDivisionError

    def generate(task: Task) -> Outcome:
        try:
            task.checkpoint(Decimal(600_000_000), fail)
        except ZeroDivisionError:
            task.checkpoint(Decimal(600_000_000), fail)
        raise AssertionError

    report = run_worker(tenant, campaign, generate)
    assert (report.completed, report.failures) == (True, {SAVE_FAILED: 2})
    rows = contact_rows(tenant, campaign.id).values()
    assert [(row.generation_cost, row.unknown_costs) for row in rows] == [(0, 1)] * 2


def test_a_checkpoint_whose_cost_is_no_money_fails_its_contact_alone(
    tenant: Tenant, run_worker: RunWorker
) -> None:
    costs: list[Any] = [0.002, "1", True, -1, Decimal("NaN"), Decimal("1e-12"), Decimal(10) ** 10]
    campaign = tenant.campaign(Status.GENERATING, contacts=len(costs))
    number = itertools.count()

    def generate(task: Task) -> Outcome:
        task.checkpoint(costs[next(number)])
        raise AssertionError

    report = run_worker(tenant, campaign, generate)
    assert (report.completed, report.failures) == (True, {GENERATE_FAILED: len(costs)})
    # The calls were paid for, so their costs are unknown.
    rows = contact_rows(tenant, campaign.id).values()
    assert [(row.generation_cost, row.unknown_costs) for row in rows] == [(0, 1)] * len(costs)
