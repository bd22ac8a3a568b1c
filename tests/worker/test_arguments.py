"""Arguments of workers: wrong ones are refused before anything is claimed; what the others do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa

from campaign_model import db
from campaign_model.claims import Generated, Outcome, Progress, Recorded, Unfinished
from campaign_model.errors import InvalidArgument
from campaign_model.lifecycle import Status
from campaign_model.store import transact
from campaign_model.testing.parallel import PATIENCE, wait_until
from campaign_model.testing.sample_campaigns import Tenant
from campaign_model.worker import (
    GENERATE_FAILED,
    SAVE_FAILED,
    TASK_TIMED_OUT,
    AsyncTask,
    Task,
    WorkerStop,
    run_worker_async,
)
from campaign_model.worker import run as worker_run
from campaign_model.worker import run_worker as run_in_threads
from support.tenants import contact_rows
from support.workers import COST, PRICE, RunWorker, contact_statuses, succeed

on_sqlite = pytest.mark.parametrize("engine_name", ["sqlite"], indirect=True)


async def succeed_later(_task: AsyncTask) -> Outcome:
    return Generated(COST)


class CalledLater:
    """An object whose call is a coroutine function."""

    async def __call__(self, _task: AsyncTask) -> Outcome:
        return Generated(COST)


class AsyncEngine:
    """Stands for SQLAlchemy's class, which needs greenlet."""


# --- Wrong arguments -----------------------------------------------------------------------------

WRONG: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "engine": ({"engine": AsyncEngine()}, TypeError, "ordinary engine, .* not AsyncEngine"),
    "tenant_id": ({"tenant_id": "1"}, InvalidArgument, "tenant_id is a UUID"),
    "campaign_id": ({"campaign_id": 1}, TypeError, "campaign_id is a uuid.UUID"),
    "lease": ({"lease": 60}, TypeError, "lease is a timedelta, not 60"),
    "no-lease": ({"lease": timedelta(0)}, InvalidArgument, "a lease is longer than zero"),
    "reserve": ({"reserve": 0.05}, TypeError, "money is a Decimal or an int, not a float"),
    "stop": ({"stop": asyncio.Event()}, TypeError, "stop is a threading.Event"),
    "save": ({"save": succeed_later}, TypeError, "save is a plain function, not async def"),
    "report": ({"report": CalledLater()}, TypeError, "report is a plain function, not async def"),
    "not-callable": ({"report": 1}, TypeError, "report is a plain function, not int"),
    "generate": ({"generate": None}, TypeError, "generate is a function, not NoneType"),
    "concurrency": ({"concurrency": "1"}, TypeError, "concurrency is an int, not str"),
    "max_attempts": ({"max_attempts": 0}, InvalidArgument, "max_attempts is at least 1"),
    "max_equal_failures": (
        {"max_equal_failures": 0},
        InvalidArgument,
        "max_equal_failures is",
    ),
    "task_timeout": ({"task_timeout": 5}, TypeError, "task_timeout is a timedelta, not 5"),
    "no-time": (
        {"task_timeout": timedelta(0)},
        InvalidArgument,
        "task_timeout is longer than zero",
    ),
    "stop_patience": ({"stop_patience": None}, TypeError, "stop_patience is a timedelta"),
}


@on_sqlite
@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("form", ["threads", "coroutines"])
def test_a_wrong_argument_is_refused_before_anything_is_claimed(
    tenant: Tenant, form: str, wrong: str
) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=1)
    changes, error_type, message = WRONG[wrong]
    generate = succeed if form == "threads" else succeed_later
    arguments = {
        "engine": tenant.engine,
        "tenant_id": tenant.id,
        "campaign_id": campaign.id,
        "generate": generate,
        **changes,
    }

    def run() -> object:
        if form == "threads":
            return run_in_threads(**arguments)
        return asyncio.run(run_worker_async(**arguments))

    with pytest.raises(error_type, match=message):
        run()
    assert contact_statuses(tenant, campaign) == ["pending"]


@on_sqlite
@pytest.mark.parametrize("generate", [succeed_later, CalledLater(), partial(succeed_later)])
def test_run_worker_refuses_a_coroutine_function(tenant: Tenant, generate: Any) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=1)
    with pytest.raises(TypeError, match="use run_worker_async"):
        run_in_threads(tenant.engine, tenant.id, campaign.id, generate)
    assert contact_statuses(tenant, campaign) == ["pending"]
    report = asyncio.run(run_worker_async(tenant.engine, tenant.id, campaign.id, generate))
    assert report.completed


@on_sqlite
def test_run_worker_async_refuses_a_plain_function(tenant: Tenant) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=1)
    generate: Any = succeed
    with pytest.raises(TypeError, match="use run_worker"):
        asyncio.run(run_worker_async(tenant.engine, tenant.id, campaign.id, generate))
    assert contact_statuses(tenant, campaign) == ["pending"]


# --- Options -------------------------------------------------------------------------------------


def test_a_report_that_raises_does_not_end_the_worker(
    tenant: Tenant, run_worker: RunWorker, caplog: pytest.LogCaptureFixture
) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=2)

    def report_badly(_progress: Progress) -> None:
        raise ZeroDivisionError

    assert run_worker(tenant, campaign, report=report_badly).completed
    assert caplog.messages == ["report raised ZeroDivisionError"] * 2


def test_max_attempts_fails_a_contact_that_was_claimed_so_often(
    tenant: Tenant, run_worker: RunWorker
) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=1)
    pause = timedelta(milliseconds=1)
    report = run_worker(
        tenant, campaign, lambda _task: Unfinished(pause, cost=PRICE), max_attempts=2
    )
    assert report.answers == {Recorded.APPLIED: 2}
    (row,) = contact_rows(tenant, campaign.id).values()
    assert (row.status, row.error_code) == ("failed", "attempts_exhausted")


def test_a_task_over_its_time_limit_is_asked_to_stop(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(worker_run, "_POLL_INTERVAL", 0.02)
    campaign = tenant.campaign(Status.GENERATING, contacts=1)

    def generate(task: Task) -> Outcome:
        wait_until(lambda: task.stopping, "the task is asked to stop")
        return Generated(COST)

    report = run_in_threads(
        tenant.engine, tenant.id, campaign.id, generate, task_timeout=timedelta(milliseconds=50)
    )
    # The worker goes on, and the outcome counts.
    assert (report.stop, report.answers) == (WorkerStop.DRAINED, {Recorded.APPLIED: 1})
    (message,) = caplog.messages
    assert message == "a task has run for longer than 0:00:00.050000, and is asked to stop"


def test_a_coroutine_over_its_time_limit_is_cancelled_and_its_contact_fails(
    tenant: Tenant, caplog: pytest.LogCaptureFixture
) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=4)
    ids = list(contact_rows(tenant, campaign.id))

    async def generate(task: AsyncTask) -> Outcome:
        if task.contact_id == ids[0]:
            return Generated(COST)
        if task.contact_id == ids[1]:
            raise TimeoutError
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if task.contact_id == ids[2]:
                return Generated(PRICE)
            raise
        raise AssertionError

    limit = timedelta(milliseconds=200)
    report = asyncio.run(
        run_worker_async(tenant.engine, tenant.id, campaign.id, generate, task_timeout=limit)
    )
    assert report.failures == {GENERATE_FAILED: 1, TASK_TIMED_OUT: 1}
    rows = contact_rows(tenant, campaign.id)
    codes = [rows[id_].error_code for id_ in ids]
    assert codes == [None, GENERATE_FAILED, None, TASK_TIMED_OUT]
    assert rows[ids[3]].unknown_costs == 1
    assert "generate raised TaskTimedOut" in caplog.messages


# --- A transaction within the worker's transaction -----------------------------------------------


@pytest.mark.parametrize("place", ["save", "checkpoint"])
def test_save_cannot_open_a_transaction_of_its_own(
    tenant: Tenant, run_worker: RunWorker, place: str
) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=1)
    begun = time.monotonic()

    def open_another(*_: object) -> None:
        tenant.transact(lambda store: store.campaigns.get(campaign.id, lock=True))

    def generate(task: Task) -> Outcome:
        # Outside of save, a transaction is welcome.
        open_another()
        if place == "checkpoint":
            task.checkpoint(PRICE, open_another)
        return Generated(COST)

    save: Callable[..., None] | None = open_another if place == "save" else None
    report = run_worker(tenant, campaign, generate, save=save)
    assert time.monotonic() - begun < PATIENCE / 2
    assert report.failures == {SAVE_FAILED: 1}
    (row,) = contact_rows(tenant, campaign.id).values()
    assert row.error == "RuntimeError"


@on_sqlite
def test_save_may_use_another_database(tenant: Tenant, run_worker: RunWorker, schema: Any) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=1)
    other = sa.create_engine(schema("sqlite"))
    db.prepare_engine(other)

    def save(*_: object) -> None:
        transact(other, tenant.id, lambda store: store.campaigns.list())

    assert run_worker(tenant, campaign, save=save).failures == {}
    other.dispose()
