"""Log records of workers: what they say, and what they keep to themselves."""

from __future__ import annotations

import logging
import sys
from datetime import timedelta
from subprocess import run
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from campaign_model.campaign import Campaign
from campaign_model.claims import Generated, Outcome
from campaign_model.lifecycle import Status
from campaign_model.store import CampaignStore
from campaign_model.testing.sample_campaigns import Tenant
from campaign_model.worker import Task
from support.paths import TESTS
from support.tenants import HOST, contact_rows
from support.workers import COST, PRICE, RunWorker, an_hour_later, slot_values

ODD = "odd <data> of a contact"
STANDARD_FIELDS = set(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


def fields(record: logging.LogRecord) -> dict[str, Any]:
    """Return the fields that the library gave in ``extra``."""
    return {name: value for name, value in vars(record).items() if name not in STANDARD_FIELDS}


def records_of(caplog: pytest.LogCaptureFixture, logger: str) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.name == f"campaign_model.{logger}"]


def traceback_of(record: logging.LogRecord) -> str:
    assert record.exc_info
    return logging.Formatter().formatException(record.exc_info)


def task_fields(tenant: Tenant, campaign: Campaign, contact_id: UUID) -> dict[str, Any]:
    row = contact_rows(tenant, campaign.id)[contact_id]
    return {
        "tenant_id": str(tenant.id),
        "campaign_id": str(campaign.id),
        "campaign_contact_id": str(row.id),
        "contact_id": str(contact_id),
        "attempts": 1,
        "actor": "worker",
    }


def test_exceptions_of_the_hosts_functions_are_logged_with_their_tracebacks(
    tenant: Tenant, run_worker: RunWorker, caplog: pytest.LogCaptureFixture
) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=3)
    first, second, third = contact_rows(tenant, campaign.id)

    def generate_badly(task: Task) -> Outcome:
        if task.contact_id == first:
            raise RuntimeError("a typo")
        if task.contact_id == second:
            return None  # type: ignore[return-value]
        return Generated(COST)

    def save_badly(_connection: sa.Connection, task: Task, _outcome: Outcome) -> None:
        if task.contact_id == third:
            raise KeyError("body")

    def report_badly(_progress: object) -> None:
        raise ZeroDivisionError

    run_worker(tenant, campaign, generate_badly, save=save_badly, report=report_badly)
    records = records_of(caplog, "worker")
    reports = [record for record in records if record.getMessage().startswith("report")]
    assert [record.getMessage() for record in reports] == ["report raised ZeroDivisionError"] * 3
    raised, returned, saved = (record for record in records if record not in reports)
    assert {record.levelname for record in records} == {"ERROR"}
    assert raised.getMessage() == "generate raised RuntimeError"
    assert "in generate_badly" in traceback_of(raised)
    assert "RuntimeError: a typo" in traceback_of(raised)
    expected = task_fields(tenant, campaign, first) | {"error": "RuntimeError"}
    assert fields(raised) == expected | {"error_code": "generate_failed"}
    assert returned.getMessage().startswith("generate returned NoneType")
    assert saved.getMessage() == "save raised KeyError"
    assert "in save_badly" in traceback_of(saved)
    expected = task_fields(tenant, campaign, third) | {"error": "KeyError"}
    assert fields(saved) == expected | {"error_code": "save_failed"}


def test_no_record_has_data_of_contacts_or_parameters_of_statements(
    tenant: Tenant, run_worker: RunWorker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "campaign_model")
    campaign = tenant.campaign(Status.GENERATING, contacts=6)
    ids = list(contact_rows(tenant, campaign.id))
    tenant.claim(campaign.id, 1)
    attempts: list[Task] = []

    def insert_twice(connection: sa.Connection, task: Task) -> None:
        values = slot_values(tenant.id, task.claim, task.slots[0]) | {"body": ODD}
        for _ in range(2):
            connection.execute(sa.insert(HOST.messages).values(values))

    def generate(task: Task) -> Outcome:
        if task.contact_id == ids[1]:
            task.checkpoint(PRICE, lambda connection: insert_twice(connection, task))
        if task.contact_id == ids[2]:
            raise RuntimeError(ODD)
        return Generated(COST)

    def save(connection: sa.Connection, task: Task, _outcome: Outcome) -> None:
        if task.contact_id == ids[3]:
            insert_twice(connection, task)
        if task.contact_id == ids[4]:
            try:
                with connection.begin_nested():
                    insert_twice(connection, task)
            except sa.exc.IntegrityError as error:
                raise ExceptionGroup("two", [ValueError(ODD), LookupError(ODD)]) from error
        if task.contact_id == ids[5] and not attempts:
            attempts.append(task)
            raise sa.exc.OperationalError(ODD, {"body": ODD}, Exception(ODD))

    def report(_progress: object) -> None:
        raise ValueError(ODD)

    run_worker(tenant, campaign, generate, save=save, report=report, clock=an_hour_later)
    records = [record for record in caplog.records if record.name.startswith("campaign_model")]
    # A takeover, a retry, a move to review, four failures and reports that raise.
    assert {record.name for record in records} == {"campaign_model.store", "campaign_model.worker"}
    messages = " | ".join(record.getMessage() for record in records)
    for text in ("takes over", "trying again", "complete_generation moves", "generate raised"):
        assert text in messages
    for record in records:
        assert ODD not in record.getMessage()
        assert ODD not in str(fields(record))
        if record.exc_info:
            # The text of the host's own exceptions stays, that of database errors does not.
            raised = record.getMessage().partition(" raised ")[2]
            assert (ODD in traceback_of(record)) is (raised in ("RuntimeError", "ValueError"))
    rows = contact_rows(tenant, campaign.id)
    assert {ODD in str(row.error) for row in rows.values()} == {False}
    assert [rows[id_].status for id_ in ids] == ["generated", *["failed"] * 4, "generated"]


def test_takeovers_and_transitions_are_logged(
    tenant: Tenant, run_worker: RunWorker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "campaign_model")
    campaign = tenant.campaign(Status.GENERATING, contacts=2)
    first, _ = contact_rows(tenant, campaign.id)
    tenant.claim(campaign.id, 1)
    caplog.clear()
    run_worker(tenant, campaign, clock=an_hour_later, actor="night-shift")
    takeover, transition = records_of(caplog, "store")
    assert (takeover.levelname, transition.levelname) == ("WARNING", "INFO")
    expected = task_fields(tenant, campaign, first) | {"attempts": 2, "actor": "night-shift"}
    assert fields(takeover) == expected
    assert fields(transition) == {
        "tenant_id": str(tenant.id),
        "campaign_id": str(campaign.id),
        "action": "complete_generation",
        "source": "generating",
        "target": "review",
        "actor": "night-shift",
    }


def test_retries_of_transactions_are_logged(
    tenant: Tenant, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "campaign_model")
    attempts: list[int] = []

    class Conflict(Exception):
        sqlstate = "40001"

    def work(_store: CampaignStore) -> None:
        attempts.append(len(attempts) + 1)
        if len(attempts) == 1:
            raise sa.exc.DBAPIError("SELECT 1", {"body": ODD}, Conflict(ODD))
        if len(attempts) == 2:
            raise sa.exc.TimeoutError(ODD)

    tenant.transact(work)
    conflict, timeout = records_of(caplog, "store")
    assert conflict.getMessage() == (
        "attempt 1 at a transaction met Conflict (40001); trying again (retry)"
    )
    assert fields(conflict) == {
        "tenant_id": str(tenant.id),
        "attempt": 1,
        "sqlstate": "40001",
        "remedy": "retry",
        "error": "Conflict (40001)",
    }
    assert (conflict.levelname, timeout.levelname) == ("INFO", "WARNING")
    assert (fields(timeout)["attempt"], fields(timeout)["sqlstate"]) == (2, None)


@pytest.mark.parametrize("run_worker", ["threads"], indirect=True)
def test_a_program_without_logging_prints_nothing(tenant: Tenant, run_worker: RunWorker) -> None:
    campaign = tenant.campaign(Status.GENERATING, contacts=1)
    url = tenant.engine.url.render_as_string(hide_password=False)
    command = [
        *(sys.executable, "-m", "support.worker_process"),
        *(url, str(tenant.id), str(campaign.id), "fails"),
    ]
    process = run(command, capture_output=True, text=True, cwd=TESTS, check=True)
    assert (process.stdout, process.stderr) == ("drained {'applied': 1}\n", "")
    assert run_worker(tenant, campaign, stop_patience=timedelta(0)).stop.value == "not_generating"
